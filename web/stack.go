package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

var tabTitles = map[string]string{
	view.TabRuns: "Runs", view.TabMergeRequests: "Merge requests", view.TabEnvironment: "Environment", view.TabContexts: "Contexts", view.TabPolicies: "Policies",
	view.TabState: "State", view.TabSettings: "Settings",
}

// stackPage makes the frame and the head of a stack's tab.
func (s *Server) stackPage(c *request, tab string) (view.Page, view.StackHead, error) {
	var head view.StackHead
	err := s.st.View(func(tx *store.Tx) (err error) {
		head, err = s.stackHead(tx, c, tab)
		return err
	})
	if err != nil {
		return view.Page{}, head, err
	}
	st := head.Stack
	p, err := s.page(c, tabTitles[tab]+" · "+st.Name, view.NavStacks, view.Crumb{Text: "Stacks", URL: "/stacks"}, view.Crumb{Text: st.Name, URL: "/stacks/" + st.Slug})
	return p, head, err
}

func (s *Server) stackHead(tx *store.Tx, c *request, tab string) (view.StackHead, error) {
	h := view.StackHead{Tab: tab}
	var err error
	if h.Stack, err = tx.Stack(c.Param("slug")); err != nil {
		return h, err
	}
	if h.Last, err = lastRun(tx, h.Stack.Slug); err != nil {
		return h, err
	}
	in, _, err := tx.Integration()
	if err != nil {
		return h, err
	}
	h.Detached = !in.Linked
	watch, _, err := tx.Watch(h.Stack.Project)
	if err != nil {
		return h, err
	}
	h.ProjectTrouble, h.ProjectMend = watch.Trouble, watch.Mend
	mrs, err := openMRs(tx, h.Stack)
	if err != nil {
		return h, err
	}
	h.OpenMRs = len(mrs)
	for _, mr := range mrs {
		if mr.Held != "" {
			h.HeldForks++
		}
	}
	if sha := tx.Head(h.Stack.Project, h.Stack.Branch); strings.Trim(sha, "0") != "" && h.Stack.TrackedCommit.SHA != "" && sha != h.Stack.TrackedCommit.SHA {
		h.Ahead = &runs.Commit{SHA: sha}
	}
	h.Trigger, h.Sync, h.Lock = c.who.may(store.Writer, "trigger a run"), c.who.may(store.Writer, "sync"), c.who.may(store.Writer, "lock a stack")
	if h.Stack.LockedBy != "" {
		h.Lock = c.who.may(store.Writer, "unlock a stack")
	}
	if h.Detached {
		h.Trigger, h.Sync = view.Act{WhyNot: "GitLab is not linked."}, view.Act{WhyNot: "GitLab is not linked."}
	}
	return h, nil
}

// openMRs are the open merge requests that concern the stack: those known to, and held ones nobody looked into.
func openMRs(tx *store.Tx, st runs.Stack) ([]store.MergeRequest, error) {
	all, err := tx.MergeRequests(st.Project)
	var out []store.MergeRequest
	for _, mr := range all {
		if mr.State == "opened" && (slices.Contains(mr.Stacks, st.Slug) || mr.Held != "" && len(mr.Stacks) == 0) {
			out = append(out, mr)
		}
	}
	return out, err
}

func (s *Server) getStack(c *request) error { return s.moving(c, s.stackRunsPage) }

func (s *Server) stackRunsPage(c *request) (p view.Page, out view.Moving, err error) {
	f, err := runFilter(c)
	if err != nil {
		return p, out, err
	}
	f.Stack = c.Param("slug")
	p, head, err := s.stackPage(c, view.TabRuns)
	if err != nil {
		return p, out, err
	}
	m := view.StackRunsModel{Head: head, Type: c.QueryParam("type")}
	var next string
	err = s.st.View(func(tx *store.Tx) (err error) {
		m.Rows, m.New, next, err = s.runRows(tx, c, f, func(r runs.Run) bool { return r.Stack == f.Stack })
		return err
	})
	m.Pager = pager(c, len(m.Rows), next)
	return p, m.Moving(), err
}

func (s *Server) postTrigger(c *request) error {
	if err := c.mayStart(runs.Type(c.FormValue("type"))); err != nil {
		return err
	}
	r, err := s.eng.Trigger(c.Request().Context(), c.Param("slug"), engine.Request{
		Type: runs.Type(c.FormValue("type")), Commit: c.FormValue("commit"), Command: c.FormValue("command"),
		By: c.who.Name, Author: c.who.Person, Trigger: c.who.trigger(),
	})
	return s.after(c, err, "/runs/"+r.ID, "The run is queued.")
}

func (s *Server) postLock(c *request) error {
	_, err := s.eng.Lock(c.Param("slug"), c.who.Name, c.FormValue("note"))
	return s.after(c, err, "/stacks/"+c.Param("slug"), "The stack is locked: plans go on, nothing is applied.")
}

func (s *Server) postUnlock(c *request) error {
	_, err := s.eng.Unlock(c.Param("slug"), c.who.Name)
	return s.after(c, err, "/stacks/"+c.Param("slug"), "The stack is unlocked.")
}

func (s *Server) postSync(c *request) error {
	st, err := s.eng.Sync(c.Request().Context(), c.Param("slug"), c.who.Name)
	return s.after(c, err, "/stacks/"+c.Param("slug"), "The tracked commit is "+st.TrackedCommit.Short()+" now.")
}

func (s *Server) getMergeRequests(c *request) error {
	p, head, err := s.stackPage(c, view.TabMergeRequests)
	if err != nil {
		return err
	}
	m := view.StackMRsModel{Head: head}
	err = s.st.View(func(tx *store.Tx) error {
		mrs, err := openMRs(tx, head.Stack)
		if err != nil {
			return err
		}
		for _, mr := range mrs {
			row, err := mrRow(tx, c, head.Stack, mr)
			if err != nil {
				return err
			}
			m.Rows = append(m.Rows, row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, view.StackMRsPage(p, m))
}

func mrRow(tx *store.Tx, c *request, st runs.Stack, mr store.MergeRequest) (view.MRRow, error) {
	row := view.MRRow{MR: mr.MergeRequest, HeadSHA: mr.Head, Held: mr.Held != ""}
	if mr.Fork {
		row.ForkPath = "(branch " + mr.SourceBranch + ")" // GitLab tells no path of it
	}
	if row.Held {
		row.HeadSHA = mr.Held
		row.Release = c.who.may(store.Writer, "release a commit from a fork")
	}
	page, _, err := tx.Runs(store.RunFilter{Project: st.Project, MergeRequest: mr.IID, Stack: st.Slug}, "", 1)
	if len(page) > 0 {
		row.Run, row.Updated = &page[0], page[0].Entered()
	}
	return row, err
}

func (s *Server) postRelease(c *request) error {
	st, err := s.stack(c.Param("slug"))
	if err != nil {
		return err
	}
	iid, err := number(c, "iid")
	if err != nil {
		return err
	}
	list, err := s.eng.Release(c.Request().Context(), st.Project, iid, c.FormValue("sha"), c.who.Name)
	return s.after(c, err, "/stacks/"+st.Slug+"/merge-requests", "The commit is released: "+view.Count(len(list), "run is", "runs are")+" queued.")
}

// A tfState is what a page shows of a state: never a resource's attributes, and no value that is sensitive.
type tfState struct {
	TerraformVersion string `json:"terraform_version"`
	Outputs          map[string]struct {
		Value     any  `json:"value"`
		Sensitive bool `json:"sensitive"`
	} `json:"outputs"`
}

func (s *Server) getState(c *request) error {
	p, head, err := s.stackPage(c, view.TabState)
	if err != nil {
		return err
	}
	m := view.StateModel{Head: head, Download: c.who.may(store.Admin, "download a state: it can hold secrets")}
	var page []store.StateVersion
	var newest store.StateVersion
	var next string
	titles := map[string]string{}
	err = s.st.View(func(tx *store.Tx) (err error) {
		if page, next, err = tx.StateVersions(head.Stack.Slug, c.QueryParam("cursor"), pageRows); err != nil {
			return err
		}
		for _, v := range page {
			if r, err := tx.Run(v.Run); err == nil {
				titles[v.Run] = r.Commit.Title
			}
		}
		newest, _, err = tx.NewestState(head.Stack.Slug)
		return err
	})
	if err != nil {
		return err
	}
	for _, v := range page {
		m.Versions = append(m.Versions, view.StateVersion{
			Version: v.Version, Serial: v.Serial, Lineage: v.Lineage, RunID: v.Run, RunTitle: titles[v.Run], By: v.By,
			CreatedAt: v.CreatedAt, Size: v.Size,
		})
	}
	m.Pager = pager(c, len(page), next)
	if newest.Version > 0 {
		m.Resources = newest.Resources
		if err := s.showState(&m, newest); err != nil {
			return err
		}
	}
	return render(c, http.StatusOK, view.StatePage(p, m))
}

func (s *Server) getStateDownload(c *request) error {
	version, err := strconv.Atoi(c.Param("version"))
	if err != nil {
		return runs.NotFoundf("There is no state version %q.", c.Param("version"))
	}
	var v store.StateVersion
	err = s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Stack(c.Param("slug")); err != nil {
			return err
		}
		v, err = tx.StateVersion(c.Param("slug"), version)
		return err
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d-%s.tfstate", c.Param("slug"), version, v.CreatedAt.Format(time.DateOnly))
	c.Response().Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return s.sendState(c, v)
}

// showState reads what the page shows of the newest state.
func (s *Server) showState(m *view.StateModel, v store.StateVersion) error {
	raw, err := s.st.ReadState(v)
	if err != nil {
		return err
	}
	var state tfState
	if err := json.Unmarshal(raw, &state); err != nil {
		s.log.Warn("a state is not JSON", "stack", m.Head.Stack.Slug, "version", v.Version, "error", err)
		return nil
	}
	m.TerraformVersion = state.TerraformVersion
	for _, name := range slices.Sorted(maps.Keys(state.Outputs)) {
		o := state.Outputs[name]
		out := view.StateOutput{Name: name, Sensitive: o.Sensitive}
		if !o.Sensitive {
			text, err := json.Marshal(o.Value)
			if err != nil {
				return err
			}
			out.Value = cut(string(text), 2000)
		}
		m.Outputs = append(m.Outputs, out)
	}
	return nil
}
