package bottle

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// Days of the second kind are those with seeds from otherKind on. What a seed draws depends on all that may happen, so what
// came later is theirs alone, and the seeds before mean what they always meant. Here statuses may be aggregated, merge requests
// that concern no stack may pass, destroys may ask in threads, forks are released, projects move, and tokens are renewed.
const otherKind = 1_000_000

func (w *world) other() bool { return w.seed >= otherKind }

// moreActs happen on days of the second kind only.
func moreActs() []act {
	return []act{
		{8, "release", (*world).release},
		{4, "move", (*world).move},
		{3, "renew", (*world).renewToken},
		{5, "resolve", (*world).resolve},
		{2, "switch", (*world).switchModes},
	}
}

// A modes is how GitLab is spoken to.
type modes struct{ aggregate, pass, threads bool }

// setModes chooses how GitLab is spoken to on this day.
func (w *world) setModes() {
	if !w.other() {
		return
	}
	w.modes = modes{aggregate: w.chance(50), pass: w.chance(60), threads: w.chance(70)}
	w.must("PUT", "/integration", map[string]any{"aggregate": w.modes.aggregate, "pass_untouched": w.modes.pass, "destroy_threads": w.modes.threads})
	w.trace("person", "speaks to GitLab as %+v", w.modes)
}

// switchModes changes whether destroys ask in threads: what is there follows.
func (w *world) switchModes() {
	threads := w.chance(60)
	status, _ := w.api("PUT", "/integration", map[string]any{"destroy_threads": threads})
	if status != 0 {
		w.modes.threads = threads // an answer that is lost leaves it open, which heal decides
	}
	w.did(status, "integration.save", "")
	w.trace("person", "switches threads to %v: %d", threads, status)
}

// healModes says once more how GitLab is to be spoken to.
func (w *world) healModes() {
	if w.other() {
		status, _ := w.api("PUT", "/integration", map[string]any{"destroy_threads": w.modes.threads})
		w.did(status, "integration.save", "")
	}
}

// release lets one commit of a fork be planned.
func (w *world) release() {
	p := w.projects[0]
	var forks []*mergeRequest
	for _, m := range p.mrs {
		if strings.HasPrefix(m.branch, "theirs-") {
			forks = append(forks, m)
		}
	}
	m, ok := one(w, forks)
	l := w.alive()
	if !ok || l == nil {
		return
	}
	mr, err := w.sim.MergeRequest(p.ID, m.iid)
	if err != nil {
		w.breakf("merge request: %v", err)
		return
	}
	w.mu.Lock()
	w.released[mr.SHA] = true // from when it is asked for
	w.mu.Unlock()
	_, err = l.e.Release(context.Background(), p.ID, m.iid, mr.SHA, person)
	if err == nil && !l.isDead() {
		w.did(http.StatusOK, "merge_request.release", fmt.Sprintf("%d!%d", p.ID, m.iid))
		m.releasedAt, m.releasedSHA = time.Now(), mr.SHA
	}
	w.trace("person", "releases %s of !%d: %v", mr.SHA[:8], m.iid, err)
}

// move gives a project another path, as somebody with the rights does in GitLab.
func (w *world) move() {
	p := w.anyProject()
	p.moves++
	to := fmt.Sprintf("moved-%d/%s", p.moves, p.Path[strings.LastIndex(p.Path, "/")+1:])
	if err := w.sim.MoveProject(p.ID, to); err != nil {
		w.breakf("move: %v", err)
		return
	}
	w.trace("git", "moves %s to %s", p.Path, to)
	p.Path = to
}

// renewToken lets the server ask GitLab for a new token in the place of its own.
func (w *world) renewToken() {
	l := w.alive()
	if l == nil {
		return
	}
	err := l.e.RotateToken(context.Background(), person)
	w.trace("person", "renews the token: %v", err)
}

// resolve lets a person resolve one of our threads.
func (w *world) resolve() {
	p := w.anyProject()
	m, ok := one(w, p.mrs)
	if !ok {
		return
	}
	for _, n := range w.sim.Notes(p.ID, m.iid) {
		if threadStack(n) != "" && !n.Resolved {
			err := w.sim.ResolveThread(p.ID, m.iid, w.ada.ID, n.ID, true)
			w.trace("git", "resolves the thread of %s on !%d: %v", threadStack(n), m.iid, err)
			return
		}
	}
}

// threadStack is the stack that a thread of ours is about, "" when it is none.
func threadStack(n sim.Note) string {
	line, _, _ := strings.Cut(n.Body, "\n")
	slug, ok := strings.CutPrefix(line, "<!-- groundcrew-thread:")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(slug, " -->")
}

// forks: nothing of a fork is ever planned before that commit was released, and what was released is.
func (w *world) forks(tx *store.Tx) error {
	list, err := all(tx)
	if err != nil {
		return err
	}
	for _, p := range w.projects {
		for _, m := range p.mrs {
			if !strings.HasPrefix(m.branch, "theirs-") {
				continue
			}
			mr, err := w.sim.MergeRequest(p.ID, m.iid)
			if err != nil {
				return err
			}
			of := slices.DeleteFunc(slices.Clone(list), func(r runs.Run) bool { return r.Project != p.ID || r.Commit.SHA != mr.SHA })
			if !w.released[mr.SHA] && mr.State != "merged" && len(of) > 0 {
				w.breakf("%s is of a fork's commit that nobody released", w.name(of[0].ID))
			}
			if m.releasedAt.IsZero() || mr.State != "opened" || m.releasedSHA != mr.SHA {
				continue
			}
			concerned := w.changes(p, m.iid, "", "")
			stacks, err := tx.StacksOf(p.ID)
			if err != nil {
				return err
			}
			for _, st := range stacks {
				if slices.Contains(concerned, st.ProjectRoot) && st.CreatedAt.Before(m.releasedAt) && !slices.ContainsFunc(of, func(r runs.Run) bool { return r.Stack == st.Slug && r.State.Terminal() }) {
					w.breakf("the release of %s of !%d led to no run of %s", mr.SHA[:8], m.iid, st.Slug)
				}
			}
		}
	}
	return nil
}

// paths: every stack knows where its project is now.
func (w *world) paths(tx *store.Tx) error {
	stacks, err := tx.Stacks()
	for _, st := range stacks {
		if now := w.projectOf(st.Project).Path; st.ProjectPath != now {
			w.breakf("the stack %s looks for its project at %s, and it is at %s", st.Slug, st.ProjectPath, now)
		}
	}
	return err
}

// threads: where the newest plan of a merge request destroys something there is one thread about it, resolved by nobody but a
// person; where it does not, none is open.
func (w *world) threads(tx *store.Tx) error {
	list, err := all(tx)
	if err != nil {
		return err
	}
	newest := map[string]runs.Run{}
	for _, r := range list {
		if r.MR != nil && r.Type == runs.Proposed && r.State == runs.Finished && r.Delta != nil {
			for _, iid := range append([]int64{r.MR.IID}, also(r)...) {
				newest[fmt.Sprint(r.Project, "!", iid, " ", r.Stack)] = r
			}
		}
	}
	for _, p := range w.projects {
		for _, m := range p.mrs {
			mr, err := w.sim.MergeRequest(p.ID, m.iid)
			if err != nil {
				return err
			}
			count := map[string]int{}
			for _, n := range w.sim.Notes(p.ID, m.iid) {
				slug := threadStack(n)
				if slug == "" {
					continue
				}
				key := fmt.Sprint(p.ID, "!", m.iid, " ", slug)
				if count[key]++; count[key] > 1 {
					w.breakf("there are two threads on %s", key)
				}
				r, asked := newest[key]
				st, errStack := tx.Stack(slug)
				if quiet := !asked || r.Delta.Destroy == 0 || !w.modes.threads || errStack != nil; quiet && !n.Resolved && mr.State == "opened" {
					w.breakf("the thread on %s is open, and nothing is destroyed: %s", key, w.name(r.ID))
				} else if !quiet && n.Resolved && n.ResolvedBy != w.ada.Username && mr.State == "opened" && mr.SHA == r.Commit.SHA && st.CreatedAt.Before(r.CreatedAt) {
					w.breakf("the thread on %s was resolved by %q although %s destroys", key, n.ResolvedBy, w.name(r.ID))
				}
			}
			for key, r := range newest {
				if _, err := tx.Stack(r.Stack); err == nil && strings.HasPrefix(key, fmt.Sprint(p.ID, "!", m.iid, " ")) && mr.State == "opened" && mr.SHA == r.Commit.SHA && w.modes.threads && r.Delta.Destroy > 0 && count[key] == 0 && !w.wasDeleted(key, r.EndedAt) {
					w.breakf("%s destroys, and there is no thread on %s", w.name(r.ID), key)
				}
			}
		}
	}
	return nil
}

func also(r runs.Run) (iids []int64) {
	for _, mr := range r.Also {
		iids = append(iids, mr.IID)
	}
	return iids
}

// sums: of each group and commit GitLab shows the one status that sums up the newest runs, and none hangs. What was said stays
// said when a stack is deleted.
func (w *world) sums(tx *store.Tx) error {
	list, err := all(tx)
	if err != nil {
		return err
	}
	type about struct {
		project    int64
		sha, group string
	}
	stacks := map[about]map[string]bool{}
	for _, r := range list {
		a := about{r.Project, r.Commit.SHA, r.Type.Group()}
		if stacks[a] == nil {
			stacks[a] = map[string]bool{}
		}
		stacks[a][r.Stack] = true
	}
	for a, of := range stacks {
		now, err := tx.RunsOf(a.project, a.sha, a.group)
		if err != nil {
			return err
		}
		if len(now) < len(of) {
			continue // one is gone
		}
		want := runs.Summarize(now)
		name := "groundcrew/" + a.group
		shown := false
		for _, s := range w.sim.Statuses(a.project, a.sha) {
			if s.Name != name || s.Retried {
				continue
			}
			shown = shown || s.State == string(want.State) && s.Description == want.Text
			if s.State == "pending" || s.State == "running" {
				w.breakf("the status %s of %s hangs: %s “%s”", name, a.sha[:8], s.State, s.Description)
			}
		}
		if !shown {
			w.breakf("GitLab does not show %s of %s as %s “%s”: %+v", name, a.sha[:8], want.State, want.Text, w.sim.Statuses(a.project, a.sha))
			w.requests("/statuses/"+a.sha, "/commits/"+a.sha+"/statuses")
		}
	}
	return nil
}

// passes: a merge request that concerns no stack has its passing status, and one that does not want it has none. Where GitLab
// shows no difference at all, all stacks are taken to be concerned, and their runs speak.
func (w *world) passes(tx *store.Tx) error {
	list, err := all(tx)
	if err != nil {
		return err
	}
	for _, p := range w.projects {
		for _, m := range p.mrs {
			mr, err := w.sim.MergeRequest(p.ID, m.iid)
			if err != nil {
				return err
			}
			row, known, err := tx.MergeRequest(p.ID, m.iid)
			if err != nil {
				return err
			}
			shown := false
			for _, s := range w.sim.Statuses(p.ID, mr.SHA) {
				if s.Name == "groundcrew" {
					shown = true
					if s.State != "success" || !w.modes.pass {
						w.breakf("!%d of %s has the status %s “%s”", m.iid, p.Path, s.State, s.Description)
					}
				}
			}
			ran := slices.ContainsFunc(list, func(r runs.Run) bool { return r.Project == p.ID && r.Commit.SHA == mr.SHA })
			if known && !ran && w.modes.pass && mr.State == "opened" && !m.fork && row.Head == mr.SHA && len(w.changes(p, m.iid, "", "")) == 0 && !shown {
				w.breakf("!%d of %s concerns no stack and does not pass", m.iid, p.Path)
			}
		}
	}
	return nil
}
