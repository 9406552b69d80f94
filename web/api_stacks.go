package web

import (
	"net/http"
	"strconv"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A stackJSON is a stack as the API answers it (PRODUCT §10).
type stackJSON struct {
	Slug        string        `json:"slug"`
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Project     string        `json:"project"` // path
	ProjectID   int64         `json:"project_id"`
	Branch      string        `json:"branch"`
	ProjectRoot string        `json:"project_root"`
	Globs       []string      `json:"globs"`
	Tool        string        `json:"tool"`
	ToolVersion string        `json:"tool_version"`
	Commands    runs.Commands `json:"commands"`
	State       string        `json:"state"`
	Autodeploy  bool          `json:"autodeploy"`
	Plan        string        `json:"plan"`
	Promotion   bool          `json:"run_promotion"`
	// DestroyThreads opens threads for what plans take away: on, off, or "" for what the integration says.
	DestroyThreads string    `json:"destroy_threads"`
	Protect        bool      `json:"protect"`
	Approvals      int       `json:"approvals"` // people other than the author who have to approve what changes the world
	ReleaseTags    string    `json:"release_tags"`
	Labels         []string  `json:"labels"`
	TrackedCommit  *string   `json:"tracked_commit"`
	Status         string    `json:"status"` // state of the latest tracked run, or "none"
	Detached       bool      `json:"detached"`
	LockedBy       string    `json:"locked_by"`
	LockNote       string    `json:"lock_note"`
	Flag           string    `json:"flag"`
	ProjectTrouble string    `json:"project_trouble"` // what keeps the GitLab project from being used, as last seen; "" = nothing
	URL            string    `json:"url"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	Warnings       []string  `json:"warnings,omitempty"` // of the creation
}

func (s *Server) stackJSON(tx *store.Tx, st runs.Stack) (stackJSON, error) {
	last, ok, err := tx.LatestRun(st.Slug, runs.Tracked)
	if err != nil {
		return stackJSON{}, err
	}
	status := "none"
	if ok {
		status = string(last.State)
	}
	watch, _, err := tx.Watch(st.Project)
	if err != nil {
		return stackJSON{}, err
	}
	in, _, err := tx.Integration()
	return stackJSON{
		ProjectTrouble: watch.Trouble,
		Slug:           st.Slug, Name: st.Name, Description: st.Description, Project: st.ProjectPath, ProjectID: st.Project,
		Branch: st.Branch, ProjectRoot: st.ProjectRoot, Globs: orEmpty(st.Globs), Tool: st.Tool, ToolVersion: st.ToolVersion,
		Commands: st.Commands, State: st.State, Autodeploy: st.Autodeploy, Plan: st.Plan, Promotion: st.Promotion, DestroyThreads: st.DestroyThreads, Approvals: st.Approvals,
		Protect: st.Protect, ReleaseTags: st.ReleaseTags, Labels: orEmpty(st.Labels), TrackedCommit: orNil(st.TrackedCommit.SHA),
		Status: status, Detached: !in.Linked, LockedBy: st.LockedBy, LockNote: st.LockNote, Flag: st.Flag,
		URL: s.o.ExternalURL + "/stacks/" + st.Slug, CreatedAt: st.CreatedAt.UTC(), UpdatedAt: st.UpdatedAt.UTC(),
	}, err
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// A stackInput is what a stack is made or changed with. Fields that are not given keep what they are.
type stackInput struct {
	Name           *string        `json:"name"`
	Description    *string        `json:"description"`
	Project        *projectRef    `json:"project"`
	Branch         *string        `json:"branch"`
	ProjectRoot    *string        `json:"project_root"`
	Globs          *[]string      `json:"globs"`
	Tool           *string        `json:"tool"`
	ToolVersion    *string        `json:"tool_version"`
	Commands       *runs.Commands `json:"commands"`
	State          *string        `json:"state"`
	Autodeploy     *bool          `json:"autodeploy"`
	Plan           *string        `json:"plan"`
	Promotion      *bool          `json:"run_promotion"`
	Protect        *bool          `json:"protect"`
	Approvals      *int           `json:"approvals"`
	DestroyThreads *string        `json:"destroy_threads"` // on, off, or "" for what the integration says
	ReleaseTags    *string        `json:"release_tags"`
	Labels         *[]string      `json:"labels"`
	InstallHook    *bool          `json:"install_hook"` // only when a stack is made
}

// give sets what is given.
func give[T any](to *T, given *T) {
	if given != nil {
		*to = *given
	}
}

// apply sets what is given, and answers which project is asked for.
func (in stackInput) apply(st *runs.Stack) string {
	give(&st.Name, in.Name)
	give(&st.Description, in.Description)
	give(&st.Branch, in.Branch)
	give(&st.ProjectRoot, in.ProjectRoot)
	give(&st.Globs, in.Globs)
	give(&st.Tool, in.Tool)
	give(&st.ToolVersion, in.ToolVersion)
	give(&st.Commands, in.Commands)
	give(&st.State, in.State)
	give(&st.Autodeploy, in.Autodeploy)
	give(&st.Plan, in.Plan)
	give(&st.Promotion, in.Promotion)
	give(&st.Protect, in.Protect)
	give(&st.Approvals, in.Approvals)
	give(&st.DestroyThreads, in.DestroyThreads)
	give(&st.ReleaseTags, in.ReleaseTags)
	give(&st.Labels, in.Labels)
	return givenProject(in.Project, st.Project)
}

func (s *Server) apiStacks(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	var items []stackJSON
	next := ""
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		all, err := tx.Stacks()
		if err != nil {
			return err
		}
		for _, st := range all {
			if st.Slug <= cursor || !reads(st.Project) {
				continue
			}
			if len(items) == limit {
				next = items[limit-1].Slug
				return nil
			}
			j, err := s.stackJSON(tx, *st)
			if err != nil {
				return err
			}
			items = append(items, j)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

func (s *Server) apiCreateStack(c *request) error {
	var in stackInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var st runs.Stack
	project := in.apply(&st)
	install := in.InstallHook != nil && *in.InstallHook
	st, warnings, err := s.eng.CreateStack(c.Request().Context(), st, project, c.who.Name, install)
	if err != nil {
		return err
	}
	j, err := s.oneStack(st.Slug)
	if err != nil {
		return err
	}
	j.Warnings = warnings
	return created(c, "/api/v1/stacks/"+st.Slug, j)
}

func (s *Server) oneStack(slug string) (j stackJSON, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(slug)
		if err != nil {
			return err
		}
		j, err = s.stackJSON(tx, st)
		return err
	})
	return j, err
}

func (s *Server) apiStack(c *request) error { return s.answerStack(c, nil) }

// answerStack answers the stack of the path, or the error of what was done to it.
func (s *Server) answerStack(c *request, err error) error {
	if err != nil {
		return err
	}
	j, err := s.oneStack(c.Param("slug"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, j)
}

func (s *Server) apiPatchStack(c *request) error {
	var in stackInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if in.InstallHook != nil {
		return runs.Invalidf("install_hook", "A hook is installed when a stack is made, or later with POST /api/v1/projects/{id}/hook.")
	}
	st, err := s.stack(c.Param("slug"))
	if err != nil {
		return err
	}
	_, err = s.eng.UpdateStack(c.Request().Context(), st, in.apply(&st), c.who.Name)
	return s.answerStack(c, err)
}

func (s *Server) stack(slug string) (st runs.Stack, err error) {
	err = s.st.View(func(tx *store.Tx) (err error) {
		st, err = tx.Stack(slug)
		return err
	})
	return st, err
}

func (s *Server) apiDeleteStack(c *request) error {
	if err := s.eng.DeleteStack(c.Param("slug"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A noteInput is the body of acts that take a note.
type noteInput struct {
	Note string `json:"note"`
}

func (s *Server) apiLock(c *request) error {
	var in noteInput
	if err := decode(c, &in); err != nil {
		return err
	}
	_, err := s.eng.Lock(c.Param("slug"), c.who.Name, in.Note)
	return s.answerStack(c, err)
}

func (s *Server) apiUnlock(c *request) error {
	_, err := s.eng.Unlock(c.Param("slug"), c.who.Name)
	return s.answerStack(c, err)
}

func (s *Server) apiSync(c *request) error {
	_, err := s.eng.Sync(c.Request().Context(), c.Param("slug"), c.who.Name)
	return s.answerStack(c, err)
}

// A variableJSON is a variable as the API answers it: the value of a secret is null.
type variableJSON struct {
	Name      string    `json:"name"`
	Value     *string   `json:"value"`
	Secret    bool      `json:"secret"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by"`
}

func variableOut(v runs.Variable) variableJSON {
	out := variableJSON{Name: v.Name, Secret: v.Secret, UpdatedAt: v.UpdatedAt.UTC(), UpdatedBy: v.UpdatedBy}
	if !v.Secret {
		out.Value = &v.Value
	}
	return out
}

// A variableInput sets a variable.
type variableInput struct {
	Value  *string `json:"value"`
	Secret bool    `json:"secret"`
}

func (s *Server) variables(slug string) (vars []runs.Variable, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Stack(slug); err != nil {
			return err
		}
		vars, err = tx.Variables(slug)
		return err
	})
	return vars, err
}

func (s *Server) apiVariables(c *request) error {
	vars, err := s.variables(c.Param("slug"))
	if err != nil {
		return err
	}
	var items []variableJSON
	for _, v := range vars {
		items = append(items, variableOut(v))
	}
	return listed(c, items, "")
}

// variable finds the variable of the path; ok is false when the stack has none of that name.
func (s *Server) variable(c *request) (runs.Variable, bool, error) {
	vars, err := s.variables(c.Param("slug"))
	for _, v := range vars {
		if v.Name == c.Param("name") {
			return v, true, nil
		}
	}
	return runs.Variable{}, false, err
}

func (s *Server) apiVariable(c *request) error {
	v, ok, err := s.variable(c)
	if err != nil {
		return err
	}
	if !ok {
		return runs.NotFoundf("The stack has no variable %q.", c.Param("name"))
	}
	return c.JSON(http.StatusOK, variableOut(v))
}

// apiPutVariable sets a variable. Like every PUT it answers 200, whether it was there before or not.
func (s *Server) apiPutVariable(c *request) error {
	var in variableInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if in.Value == nil {
		return runs.Invalidf("value", "Give the variable's value; it may be empty.")
	}
	if _, err := s.stack(c.Param("slug")); err != nil {
		return err
	}
	slug, name := c.Param("slug"), c.Param("name")
	if err := s.eng.PutVariable(slug, runs.Variable{Name: name, Value: *in.Value, Secret: in.Secret}, c.who.Name); err != nil {
		return err
	}
	v, _, err := s.variable(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, variableOut(v))
}

func (s *Server) apiDeleteVariable(c *request) error {
	if _, err := s.stack(c.Param("slug")); err != nil {
		return err
	}
	if err := s.eng.DeleteVariable(c.Param("slug"), c.Param("name"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A stateVersionJSON is a version of a stack's managed state.
type stateVersionJSON struct {
	Version   int       `json:"version"`
	Serial    uint64    `json:"serial"`
	Lineage   string    `json:"lineage"`
	Run       *string   `json:"run"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
	Size      int64     `json:"size"`
	Resources int       `json:"resources"`
}

func (s *Server) apiStateVersions(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	var page []store.StateVersion
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Stack(c.Param("slug")); err != nil {
			return err
		}
		page, next, err = tx.StateVersions(c.Param("slug"), cursor, limit)
		return err
	})
	if err != nil {
		return err
	}
	var items []stateVersionJSON
	for _, v := range page {
		items = append(items, stateVersionJSON{v.Version, v.Serial, v.Lineage, orNil(v.Run), v.By, v.CreatedAt.UTC(), v.Size, v.Resources})
	}
	return listed(c, items, next)
}

// apiState answers the bytes of the newest version. A state holds secrets: only admins get it (S34).
func (s *Server) apiState(c *request) error {
	var v store.StateVersion
	err := s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Stack(c.Param("slug")); err != nil {
			return err
		}
		var ok bool
		var err error
		if v, ok, err = tx.NewestState(c.Param("slug")); err == nil && !ok {
			err = runs.NotFoundf("The stack has no managed state yet.")
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.sendState(c, v)
}

// sendState sends a version's bytes and records who read them.
func (s *Server) sendState(c *request, v store.StateVersion) error {
	data, err := s.st.ReadState(v)
	if err != nil {
		return err
	}
	err = s.st.Update(func(tx *store.Tx) error {
		return tx.Audit(store.AuditEntry{
			By: c.who.Name, Action: "state.read", Target: c.Param("slug"), Stack: c.Param("slug"), Note: "version " + strconv.Itoa(v.Version),
			Address: c.RealIP(), Via: c.who.via(),
		})
	})
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/json", data)
}
