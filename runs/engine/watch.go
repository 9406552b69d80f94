package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// watch compares the projects that are due. It waits while deliveries do: what they say is not missed.
func (e *Engine) watch(ctx context.Context) (time.Duration, error) {
	var stacks []runs.Stack
	var busy bool
	due := map[int64]bool{}
	next := idle
	err := e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil || !in.Linked || in.Health.Trouble != "" && in.Health.Cause != causeNetwork {
			return err
		}
		waiting, err := tx.Inbox(1)
		if err != nil {
			return err
		}
		busy = len(waiting) > 0
		if stacks, err = tx.Stacks(); err != nil {
			return err
		}
		for _, st := range stacks {
			w, _, err := tx.Watch(st.Project)
			if err != nil {
				return err
			}
			wait := w.CheckedAt.Add(watchEvery).Sub(tx.Now())
			due[st.Project] = wait <= 0 || e.wanted(st.Project) || tx.Head(st.Project, st.Branch) == ""
			if !due[st.Project] {
				next = min(next, wait)
			}
		}
		return nil
	})
	if err != nil || len(stacks) == 0 {
		return idle, err
	}
	if busy {
		return time.Second, nil
	}
	c, err := e.linkedClient()
	if err != nil {
		return idle, nil // unlinked at this moment
	}
	e.takeAll()
	for project := range due {
		if !due[project] {
			continue
		}
		if err := e.compare(ctx, c, project); err != nil {
			return idle, err
		}
	}
	return next, nil
}

func (e *Engine) wanted(project int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unseenAll || e.unseen[project]
}

func (e *Engine) takeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unseenAll = false
	clear(e.unseen)
}

// Trouble of a project that keeps its stacks from working, for [store.Watch].
const (
	ProjectGone     = "gone"
	ProjectArchived = "archived"
	ProjectSHA256   = "sha256"
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
	made    []store.Delivery
	bodies  [][]byte
	notes   []func(tx *store.Tx) error // what is remembered without being processed
}

// compare looks at one project. Trouble with GitLab is no error: the next look is soon.
func (e *Engine) compare(ctx context.Context, c *gitlab.Client, project int64) error {
	k := comparison{e: e, c: c}
	err := e.st.View(func(tx *store.Tx) (err error) {
		var known bool
		if k.watch, known, err = tx.Watch(project); err != nil {
			return err
		}
		k.first = !known
		k.stacks, err = tx.StacksOf(project)
		return err
	})
	if err != nil || len(k.stacks) == 0 {
		return err
	}
	if k.first {
		k.watch.Since = e.now()
	}
	k.watch.Trouble, k.watch.Cause, k.watch.Mend = "", "", ""
	err = k.see(ctx, project)
	switch kind := gitlab.KindOf(err); {
	case ctx.Err() != nil:
		return nil
	case kind == "not_found":
		k.made, k.bodies, k.notes = nil, nil, nil
		k.trouble(ProjectGone, "GitLab does not show the project "+k.stacks[0].ProjectPath+" any more",
			"Restore the project, or make the token's user its Maintainer again. If it is gone for good, delete its stacks.")
	case kind != "":
		e.log.Warn("a project could not be compared with GitLab", "project", project, "error", err)
		if kind.TokenTrouble() {
			e.suspectToken()
		}
		return e.st.Update(func(tx *store.Tx) error { // tried; not at once again
			w, known, err := tx.Watch(project)
			if err != nil || !known {
				return err
			}
			w.CheckedAt = tx.Now().Add(time.Minute - watchEvery)
			return tx.PutWatch(w)
		})
	case err != nil:
		return err
	}
	return k.keep()
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
	if p := k.project; p.Path != k.stacks[0].ProjectPath || p.WebURL != k.stacks[0].ProjectURL {
		k.notes = append(k.notes, func(tx *store.Tx) error { return learnPath(tx, p.ID, p.Path, p.WebURL) })
	}
	switch {
	case k.project.Archived:
		k.trouble(ProjectArchived, "The project "+k.project.Path+" is archived",
			"Nothing can be written to it: no status, comment or deployment. Unarchive it in GitLab (Settings › General › Advanced), or delete its stacks.")
	case k.project.ObjectFormat == "sha256":
		k.trouble(ProjectSHA256, "The repository of "+k.project.Path+" uses SHA-256 commit ids",
			"Its sources can't be fetched yet. Move the code to a repository with SHA-1 ids.")
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
	return nil
}

func (k *comparison) seeBranches(ctx context.Context) error {
	var done []string
	for _, st := range k.stacks {
		if slices.Contains(done, st.Branch) {
			continue
		}
		done = append(done, st.Branch)
		b, err := k.c.Branch(ctx, k.project.ID, st.Branch)
		if gitlab.KindOf(err) == "not_found" {
			b, err = gitlab.Branch{Name: st.Branch, SHA: nowhere}, nil
			k.missingBranch(st)
		}
		if err != nil {
			return err
		}
		seen := ""
		err = k.e.st.View(func(tx *store.Tx) error { seen = tx.Head(k.project.ID, st.Branch); return nil })
		if err != nil {
			return err
		}
		switch {
		case seen == b.SHA:
		case seen == "", b.SHA == nowhere:
			k.notes = append(k.notes, func(tx *store.Tx) error {
				if tx.Head(k.project.ID, b.Name) != seen {
					return nil // a delivery was quicker
				}
				return tx.PutHead(k.project.ID, b.Name, b.SHA)
			})
		default:
			k.push("refs/heads/"+b.Name, seen, b.SHA, b.SHA, gitlab.Commit{SHA: b.SHA, Title: b.Title, Author: b.Author})
		}
	}
	return nil
}

func (k *comparison) missingBranch(st runs.Stack) {
	switch {
	case k.project.Empty || k.project.DefaultBranch == "":
		k.trouble(ProjectBranch, "The repository of "+k.project.Path+" is empty", "Push a first commit to "+st.Branch+".")
	default:
		k.trouble(ProjectBranch, "The branch "+st.Branch+" of "+k.project.Path+" is not there",
			fmt.Sprintf("The stack %s tracks it. The project's default branch is %s: if the branch was renamed, change it in the stack's settings.", st.Slug, k.project.DefaultBranch))
	}
}

func (k *comparison) seeTags(ctx context.Context) error {
	if !slices.ContainsFunc(k.stacks, func(st runs.Stack) bool { return st.ReleaseTags != "" }) {
		k.watch.TagsKnown = false // whoever releases from tags later begins with what is there then
		return nil
	}
	found, err := k.c.Tags(ctx, k.project.ID)
	if gitlab.KindOf(err) == "not_found" && k.project.Empty {
		found, err = nil, nil
	}
	if err != nil {
		return err
	}
	var known map[string]string
	err = k.e.st.View(func(tx *store.Tx) (err error) {
		known, err = tx.Tags(k.project.ID)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range slices.Backward(found) { // oldest first, so that the newest is tracked in the end
		switch was := known[t.Name]; {
		case was == t.Object:
		case !k.watch.TagsKnown:
			k.notes = append(k.notes, func(tx *store.Tx) error { return tx.PutTag(k.project.ID, t.Name, t.Object) })
		default:
			before := was
			if before == "" {
				before = nowhere
			}
			k.push("refs/tags/"+t.Name, before, t.Object, t.Commit.SHA, t.Commit)
		}
		delete(known, t.Name)
	}
	for gone := range known {
		k.notes = append(k.notes, func(tx *store.Tx) error { return tx.PutTag(k.project.ID, gone, "") })
	}
	k.watch.TagsKnown = true
	return nil
}

func (k *comparison) seeMergeRequests(ctx context.Context) error {
	open, err := k.c.OpenMergeRequests(ctx, k.project.ID, "")
	if kind := gitlab.KindOf(err); kind == "forbidden" || kind == "not_found" {
		return nil // merge requests are switched off in the project
	}
	if err != nil {
		return err
	}
	known := map[int64]store.MergeRequest{}
	err = k.e.st.View(func(tx *store.Tx) error {
		list, err := tx.MergeRequests(k.project.ID)
		for _, mr := range list {
			known[mr.IID] = mr
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(open) {
		mr, ok := known[m.IID]
		delete(known, m.IID)
		switch {
		case m.HeadSHA == "": // being prepared
		case k.first && !ok:
			k.notes = append(k.notes, func(tx *store.Tx) error { return rememberMR(tx, k.project.ID, m) })
		case !ok:
			k.mergeRequest(m, "open", "")
		case mr.State != "opened":
			k.mergeRequest(m, "reopen", "")
		case mr.Head != m.HeadSHA:
			k.mergeRequest(m, "update", mr.Head)
		case mr.Title != m.Title || mr.TargetBranch != m.TargetBranch:
			k.notes = append(k.notes, func(tx *store.Tx) error { return rememberMR(tx, k.project.ID, m) })
		}
	}
	return k.closedMergeRequests(ctx, known)
}

// closedMergeRequests asks for those that were open when last seen and are not in the list of open ones.
func (k *comparison) closedMergeRequests(ctx context.Context, known map[int64]store.MergeRequest) error {
	for _, mr := range known {
		if mr.State != "opened" {
			continue
		}
		m, err := k.c.MergeRequest(ctx, k.project.ID, mr.IID)
		switch {
		case gitlab.KindOf(err) == "not_found": // deleted
			m = gitlab.MergeRequest{
				IID: mr.IID, Title: mr.Title, State: "closed", SourceBranch: mr.SourceBranch, TargetBranch: mr.TargetBranch, HeadSHA: mr.Head,
				WebURL: mr.URL, SourceProject: k.project.ID, TargetProject: k.project.ID,
			}
			if mr.Fork {
				m.SourceProject = 0
			}
			k.mergeRequest(m, "close", "")
		case err != nil:
			return err
		case m.State == "closed":
			k.mergeRequest(m, "close", "")
		case m.State == "merged":
			k.mergeRequest(m, "merge", "")
		}
	}
	return nil
}

// rememberMR records a merge request without any consequence.
func rememberMR(tx *store.Tx, project int64, m gitlab.MergeRequest) error {
	mr, ok, err := tx.MergeRequest(project, m.IID)
	if err != nil {
		return err
	}
	if !ok {
		mr.Head = m.HeadSHA
	}
	mr.Project, mr.State = project, m.State
	mr.MergeRequest = runs.MergeRequest{
		IID: m.IID, Title: m.Title, SourceBranch: m.SourceBranch, TargetBranch: m.TargetBranch, URL: m.WebURL, Fork: m.SourceProject != m.TargetProject,
	}
	return tx.PutMergeRequest(mr)
}

// push makes the delivery of a push that was missed, in GitLab's own form, so that it is read like any other. How many
// commits it has is not known, which makes GitLab be asked for the changed files.
func (k *comparison) push(ref, before, after, commit string, head gitlab.Commit) {
	kind := "push"
	if strings.HasPrefix(ref, "refs/tags/") {
		kind = "tag_push"
	}
	k.add(fmt.Sprintf("%s %s..%s", ref, runs.ShortSHA(before), runs.ShortSHA(after)), map[string]any{
		"object_kind": kind, "event_name": kind, "ref": ref, "before": before, "after": after, "checkout_sha": commit,
		"project_id": k.project.ID, "project": k.projectBody(), "total_commits_count": 0,
		"commits": []any{map[string]any{
			"id": commit, "title": head.Title, "message": head.Title, "url": head.WebURL, "author": map[string]any{"name": head.Author},
		}},
	})
}

// mergeRequest makes the delivery of what happened to a merge request.
func (k *comparison) mergeRequest(m gitlab.MergeRequest, action, oldrev string) {
	attributes := map[string]any{
		"iid": m.IID, "title": m.Title, "state": m.State, "source_branch": m.SourceBranch, "target_branch": m.TargetBranch, "url": m.WebURL,
		"source_project_id": m.SourceProject, "target_project_id": k.project.ID, "draft": m.Draft, "action": action,
		"last_commit": map[string]any{"id": m.HeadSHA},
	}
	if oldrev != "" {
		attributes["oldrev"] = oldrev
	}
	k.add(fmt.Sprintf("!%d %s", m.IID, action), map[string]any{
		"object_kind": "merge_request", "event_type": "merge_request", "project": k.projectBody(), "object_attributes": attributes,
	})
}

func (k *comparison) projectBody() map[string]any {
	return map[string]any{
		"id": k.project.ID, "path_with_namespace": k.project.Path, "web_url": k.project.WebURL, "default_branch": k.project.DefaultBranch,
	}
}

func (k *comparison) add(what string, body map[string]any) {
	raw, err := json.Marshal(body)
	if err != nil {
		k.e.log.Error("a missed event could not be written down", "event", what, "error", err) // maps of texts and numbers: cannot happen
		return
	}
	k.made = append(k.made, store.Delivery{
		Event: EventMade, Project: k.project.Path, ProjectID: k.project.ID, Made: true, Headers: map[string]string{"What": what, "X-Gitlab-Event": EventMade},
	})
	k.bodies = append(k.bodies, raw)
}

// keep stores what was found in one transaction, so that a crash finds it again or not at all.
func (k *comparison) keep() error {
	w := k.watch
	err := k.e.st.Update(func(tx *store.Tx) error {
		stacks, err := tx.StacksOf(w.Project)
		if err != nil || len(stacks) == 0 {
			return err
		}
		for _, note := range k.notes {
			if err := note(tx); err != nil {
				return err
			}
		}
		for i, d := range k.made {
			if err := tx.AddMade(d, k.bodies[i]); err != nil {
				return err
			}
		}
		if len(k.made) > 0 {
			w.Recovered += len(k.made)
			w.FoundAt = tx.Now()
		}
		w.CheckedAt = tx.Now()
		return tx.PutWatch(w)
	})
	if err == nil && len(k.made) > 0 {
		k.e.log.Warn("events that GitLab did not deliver were found", "project", k.project.Path, "events", len(k.made))
	}
	return err
}

// learn takes a new path of a project from a delivery. Deliveries can be old, so GitLab is asked what is true now.
func (e *Engine) learn(ctx context.Context, h gitlab.Hook) {
	var stacks []runs.Stack
	err := e.st.View(func(tx *store.Tx) (err error) {
		stacks, err = tx.StacksOf(h.ProjectID)
		return err
	})
	if err != nil || len(stacks) == 0 || h.ProjectPath == "" || h.ProjectPath == stacks[0].ProjectPath {
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
