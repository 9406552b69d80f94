package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// Reconciliation: GitLab sends no hook for a push of more than three refs, never repeats a delivery that failed, and a
// hook may be off or missing (GOTCHAS 30, 40). So the heads of tracked branches, the tags where stacks release from tags, and
// the open merge requests of used projects are compared with what was last seen. What was missed becomes a delivery of
// our own making, event "Reconciliation", and goes the way of every delivery; when the real one comes late it finds
// the work done. It costs three or four requests per project.
//
// The first look at a project or branch only records: what was there before the stack is known, not missed. A new stack's
// first run is a push or a person's.

// EventMade is the event of deliveries that were found by comparing with GitLab instead of being delivered.
const EventMade = "Reconciliation"

// watchEvery is how often a project is compared, beside start, new stacks, tests of hooks and a token that works again.
const watchEvery = 10 * time.Minute

// nowhere stands in the memory of heads for a branch that was looked for and is not there.
const nowhere = "0000000000000000000000000000000000000000"

// look asks for a project to be compared soon.
func (e *Engine) look(project int64) {
	e.mu.Lock()
	e.unseen[project] = true
	e.mu.Unlock()
	wake(e.watchWake)
}

// lookAll asks for all projects to be compared soon.
func (e *Engine) lookAll() {
	e.mu.Lock()
	e.unseenAll = true
	e.mu.Unlock()
	wake(e.watchWake)
}

// lookAgain is how soon a project is looked at whose deliveries were still waiting. To find them costs opening all that wait.
const lookAgain = 5 * time.Second

// watch compares the projects that are due. A project waits while deliveries of it do: what they say is not missed.
func (e *Engine) watch(ctx context.Context) (time.Duration, error) {
	if !e.canStore() {
		return lookForRoom, nil
	}
	due, next, err := e.dueProjects()
	if err != nil || len(due) == 0 {
		return next, err
	}
	c, err := e.linkedClient()
	if err != nil {
		return idle, nil // unlinked at this moment
	}
	awaited, err := e.awaited()
	if err != nil {
		return idle, err
	}
	e.takeAll(due, awaited)
	for project := range due {
		wait := awaited[project]
		if !wait {
			if wait, err = e.compare(ctx, c, project); err != nil {
				return idle, err
			}
		}
		if wait {
			next = min(next, lookAgain)
		}
	}
	return next, nil
}

// dueProjects are the projects to be compared now, and how long the next one has to wait.
func (e *Engine) dueProjects() (due map[int64]bool, next time.Duration, err error) {
	due, next = map[int64]bool{}, idle
	err = e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil || !in.Linked || in.Health.Trouble != "" && in.Health.Cause != causeNetwork {
			return err
		}
		stacks, err := tx.Sources()
		if err != nil {
			return err
		}
		for _, st := range stacks {
			w, _, err := tx.Watch(st.Project)
			if err != nil {
				return err
			}
			wait := w.CheckedAt.Add(watchEvery).Sub(tx.Now())
			if wait <= 0 || e.wanted(st.Project) || tx.Head(st.Project, st.Branch) == "" {
				due[st.Project] = true
			} else {
				next = min(next, wait)
			}
		}
		return nil
	})
	return due, next, err
}

func (e *Engine) wanted(project int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unseenAll || e.unseen[project]
}

// takeAll takes the wishes for projects to be compared, but for those of projects that have to wait.
func (e *Engine) takeAll(due, awaited map[int64]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unseenAll = false
	clear(e.unseen)
	for project := range awaited {
		if due[project] {
			e.unseen[project] = true
		}
	}
}

// Trouble of a project that keeps its stacks from working, for [store.Watch].
const (
	ProjectGone     = "gone"
	ProjectArchived = "archived"
	ProjectBranch   = "branch"
)

// A comparison is one look at one project.
type comparison struct {
	e       *Engine
	c       *gitlab.Client
	project gitlab.Project
	stacks  []runs.Stack
	watch   store.Watch
	first   bool // nothing of the project is known
	made    []finding
	notes   []func(tx *store.Tx) error // what is remembered without being processed
	was     string                     // the cause of the trouble before this look
}

// A finding is an event that GitLab did not deliver, as far as was known when it was looked for.
type finding struct {
	delivery store.Delivery
	body     []byte
	still    func(tx *store.Tx) (bool, error) // what it was found by is as it was: no delivery of it was processed since
}

// compare looks at one project. Trouble with GitLab is no error: the next look is soon. wait says that a delivery of the project came
// meanwhile, so that nothing was kept and the project is to be looked at again.
func (e *Engine) compare(ctx context.Context, c *gitlab.Client, project int64) (wait bool, err error) {
	k := comparison{e: e, c: c}
	err = e.st.View(func(tx *store.Tx) (err error) {
		var known bool
		if k.watch, known, err = tx.Watch(project); err != nil {
			return err
		}
		k.first = !known
		k.stacks, err = tx.SourcesOf(project)
		return err
	})
	if err != nil || len(k.stacks) == 0 {
		return false, err
	}
	if k.first {
		k.watch.Since = e.now()
	}
	k.was = k.watch.Cause
	k.watch.Trouble, k.watch.Cause, k.watch.Mend = "", "", ""
	err = k.see(ctx, project)
	switch kind := gitlab.KindOf(err); {
	case ctx.Err() != nil:
		return false, nil
	case kind == "not_found":
		k.made, k.notes = nil, nil
		k.trouble(ProjectGone, "GitLab does not show the project "+k.stacks[0].ProjectPath+" any more",
			"Restore the project, or make the token's user its Maintainer again. If it is gone for good, delete its stacks.")
	case kind != "":
		e.log.Warn("a project could not be compared with GitLab", "project", project, "error", err)
		if kind.TokenTrouble() {
			e.suspectToken()
		}
		return false, e.lookLater(project)
	case err != nil:
		return false, err
	}
	if wait, err = k.delivered(); wait || err != nil {
		return wait, err
	}
	return false, k.keep()
}

// delivered reports whether something was found that may have been delivered since this look began. Then the project is wanted again.
func (k *comparison) delivered() (bool, error) {
	if len(k.made) == 0 {
		return false, nil
	}
	waits, err := k.e.isAwaited(k.project.ID)
	if err != nil || !waits {
		return false, err
	}
	k.e.mu.Lock()
	k.e.unseen[k.project.ID] = true // and nobody is woken: it may take a while
	k.e.mu.Unlock()
	return true, nil
}

// lookLater notes that a project could not be looked at, which is tried again in a minute.
func (e *Engine) lookLater(project int64) error {
	return e.st.Update(func(tx *store.Tx) error {
		w, known, err := tx.Watch(project)
		if err != nil || !known {
			return err
		}
		w.CheckedAt = tx.Now().Add(time.Minute - watchEvery)
		return tx.PutWatch(w)
	})
}

func (k *comparison) trouble(cause, text, mend string) {
	k.watch.Cause, k.watch.Trouble, k.watch.Mend = cause, text, mend
}

// see asks GitLab for the project, its branches, tags and merge requests.
func (k *comparison) see(ctx context.Context, id int64) error {
	var err error
	if k.project, err = k.c.Project(ctx, strconv.FormatInt(id, 10)); err != nil {
		return err
	}
	if p := k.project; !allAt(k.stacks, p.Path) || p.WebURL != k.stacks[0].ProjectURL {
		k.notes = append(k.notes, func(tx *store.Tx) error { return learnPath(tx, p.ID, p.Path, p.WebURL) })
	}
	if k.project.Archived {
		k.trouble(ProjectArchived, "The project "+k.project.Path+" is archived",
			"Nothing can be written to it: no status, comment or deployment. Unarchive it in GitLab (Settings › General › Advanced), or delete its stacks.")
	}
	if err := k.seeBranches(ctx); err != nil {
		return err
	}
	if err := k.seeTags(ctx); err != nil {
		return err
	}
	return k.seeMergeRequests(ctx)
}

// learnPath keeps where a project is now; its stacks know it by its number, whatever its name.
func learnPath(tx *store.Tx, project int64, path, address string) error {
	stacks, err := tx.StacksOf(project)
	if err != nil {
		return err
	}
	for _, st := range stacks {
		if st.ProjectPath == path && st.ProjectURL == address {
			continue
		}
		old := st.ProjectPath
		st.ProjectPath, st.ProjectURL = path, address
		if err := tx.PutStack(st); err != nil {
			return err
		}
		if old == path {
			continue
		}
		if err := tx.Audit(store.AuditEntry{By: runs.System, Action: "project.moved", Target: path, Stack: st.Slug, Note: "was " + old}); err != nil {
			return err
		}
	}
	return learnModulePath(tx, project, path, address)
}

func learnModulePath(tx *store.Tx, project int64, path, address string) error {
	modules, err := tx.ModulesOf(project)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if m.ProjectPath == path && m.ProjectURL == address {
			continue
		}
		old := m.ProjectPath
		m.ProjectPath, m.ProjectURL = path, address
		if err := tx.PutModule(m); err != nil {
			return err
		}
		if err := tx.Audit(store.AuditEntry{By: runs.System, Action: "project.moved", Target: path, Note: "was " + old + ", of the module " + m.Slug}); err != nil {
			return err
		}
	}
	return nil
}

// keep stores what was found in one transaction, so that a crash finds it again or not at all.
func (k *comparison) keep() error {
	w := k.watch
	found := 0
	err := k.e.st.Update(func(tx *store.Tx) error {
		stacks, err := tx.SourcesOf(w.Project)
		if err != nil || len(stacks) == 0 {
			return err
		}
		for _, note := range k.notes {
			if err := note(tx); err != nil {
				return err
			}
		}
		if found, err = k.addMade(tx); err != nil {
			return err
		}
		if err := k.resume(tx); err != nil {
			return err
		}
		if found > 0 {
			w.Recovered += found
			w.FoundAt = tx.Now()
		}
		w.CheckedAt = tx.Now()
		return tx.PutWatch(w)
	})
	if err == nil && found > 0 {
		k.e.log.Warn("events that GitLab did not deliver were found", "project", k.project.Path, "events", found)
	}
	return err
}

// addMade stores the deliveries of what was found and is still missing, and returns how many.
func (k *comparison) addMade(tx *store.Tx) (n int, err error) {
	for _, f := range k.made {
		still, err := f.still(tx)
		if err != nil {
			return n, err
		}
		if !still {
			continue
		}
		if err := tx.AddMade(f.delivery, f.body); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// resume lets what GitLab refused be tried again when the project is back, or is no longer archived.
func (k *comparison) resume(tx *store.Tx) error {
	if k.was != ProjectGone && k.was != ProjectArchived || k.watch.Cause == k.was {
		return nil
	}
	return tx.ResumeReportsOf(k.watch.Project)
}

// allAt reports whether all of a project's stacks know it by this path. One that was saved just after a move knows more than
// the others.
func allAt(stacks []runs.Stack, path string) bool {
	return !slices.ContainsFunc(stacks, func(st runs.Stack) bool { return st.ProjectPath != path })
}

// learn takes a new path of a project from a delivery. Deliveries can be old, so GitLab is asked what is true now.
func (e *Engine) learn(ctx context.Context, h gitlab.Hook) {
	var stacks []runs.Stack
	err := e.st.View(func(tx *store.Tx) (err error) {
		stacks, err = tx.SourcesOf(h.ProjectID)
		return err
	})
	if err != nil || len(stacks) == 0 || h.ProjectPath == "" || allAt(stacks, h.ProjectPath) {
		return
	}
	c, err := e.linkedClient()
	if err != nil {
		return
	}
	p, err := c.Project(ctx, strconv.FormatInt(h.ProjectID, 10))
	if err == nil {
		err = e.st.Update(func(tx *store.Tx) error { return learnPath(tx, p.ID, p.Path, p.WebURL) })
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		e.log.Warn("where a project is now could not be learned; it is tried again", "project", h.ProjectID, "error", err)
	}
}
