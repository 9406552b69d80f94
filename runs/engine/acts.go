package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"groundcrew/runs"
	"groundcrew/store"
)

// A Request asks for a run of a stack.
type Request struct {
	Type    runs.Type // "" is tracked
	Commit  string    // "" is the stack's tracked commit, or the branch's head when there is none yet
	Command string    // of a task
	By      string
	Author  runs.Person // who asks, for reviews
	Trigger runs.Trigger
}

// Trigger asks for a run of the stack at a commit.
func (e *Engine) Trigger(ctx context.Context, slug string, q Request) (runs.Run, error) {
	if q.Type == "" {
		q.Type = runs.Tracked
	}
	if !slices.Contains([]runs.Type{runs.Proposed, runs.Tracked, runs.Task, runs.Destroy}, q.Type) {
		return runs.Run{}, runs.Invalidf("type", "A run of type “%s” cannot be asked for. Use proposed, tracked, task or destroy.", q.Type)
	}
	if (q.Type == runs.Task) != (strings.TrimSpace(q.Command) != "") {
		return runs.Run{}, runs.Invalidf("command", "A task needs a command, and only a task has one.")
	}
	if err := validCommand(q.Command); err != nil {
		return runs.Run{}, err
	}
	st, in, err := e.attached(slug)
	if err != nil {
		return runs.Run{}, err
	}
	commit := st.TrackedCommit
	if q.Commit != "" && q.Commit != commit.SHA || commit.SHA == "" {
		if commit, err = e.lookUp(ctx, in, st, q.Commit); err != nil {
			return runs.Run{}, err
		}
	}
	var r runs.Run
	err = e.st.Update(func(tx *store.Tx) error {
		st, err := tx.Stack(slug)
		if err != nil {
			return err
		}
		if err := mayStart(st, q); err != nil {
			return err
		}
		if st.TrackedCommit.SHA == "" && q.Type.Blocking() {
			st.TrackedCommit = commit
			if err := tx.PutStack(st); err != nil {
				return err
			}
		}
		r, err = e.request(tx, st, runs.Run{
			Type: q.Type, Trigger: q.Trigger, TriggeredBy: q.By, Author: q.Author, Commit: commit, Branch: st.Branch, Command: q.Command,
		}, "")
		return err
	})
	return r, err
}

// lookUp finds a commit by anything GitLab understands; "" is the head of the tracked branch.
func (e *Engine) lookUp(ctx context.Context, in store.Integration, st runs.Stack, ref string) (runs.Commit, error) {
	c, err := e.clientOf(in)
	if err != nil {
		return runs.Commit{}, err
	}
	if ref == "" {
		ref = st.Branch
	}
	if strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, " \x00\n") {
		return runs.Commit{}, runs.Invalidf("commit", "“%s” cannot be a commit.", ref)
	}
	found, err := c.Commit(ctx, st.Project, ref)
	if err != nil {
		return runs.Commit{}, gitlabError(err, fmt.Sprintf("“%s” was not found in %s", ref, st.ProjectPath))
	}
	return commitOf(found), nil
}

// maxCommand is the longest command of a task. A longer one belongs into a script in the project.
const maxCommand = 8 << 10

func validCommand(c string) error {
	switch {
	case len(c) > maxCommand:
		return runs.Invalidf("command", "The command has %d bytes; %d is the most. Put it into a script in the project.", len(c), maxCommand)
	case !utf8.ValidString(c) || strings.ContainsRune(c, 0):
		return runs.Invalidf("command", "The command is not text.")
	default:
		return nil
	}
}

// mayStart refuses what a lock or the stack's protection forbids.
func mayStart(st runs.Stack, q Request) error {
	switch {
	case q.Type == runs.Destroy && st.Protect:
		return runs.Conflictf("The stack is protected from deletion, and so is what it manages. Switch the protection off in its settings first.")
	case changesAtOnce(q.Type) && lockedFor(st, q.By):
		return runs.Conflictf("%s locked the stack%s. Tasks and destroy runs wait until it is unlocked.", st.LockedBy, because(st.LockNote))
	default:
		return nil
	}
}

// changesAtOnce reports whether a run of this type changes the world without asking once more.
func changesAtOnce(t runs.Type) bool { return t == runs.Task || t == runs.Destroy }

// lockedFor reports whether somebody else has locked the stack.
func lockedFor(st runs.Stack, who string) bool { return st.LockedBy != "" && st.LockedBy != who }

// request brings a run of a stack into being inside a transaction.
func (e *Engine) request(tx *store.Tx, st runs.Stack, r runs.Run, note string) (runs.Run, error) {
	r.Stack, r.Project = st.Slug, st.Project
	if changesAtOnce(r.Type) {
		var err error
		if r.Fingerprint, err = e.intent(tx, st, r); err != nil {
			return r, err
		}
		g, err := e.Gate(tx, st, r)
		if err != nil {
			return r, err
		}
		r.Unapproved = !g.Open()
	}
	return bring(tx, st, r, note)
}

// bring brings a run into being that nobody has to approve.
func bring(tx *store.Tx, st runs.Stack, r runs.Run, note string) (runs.Run, error) {
	r.Stack, r.Project = st.Slug, st.Project
	return tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now(), By: r.TriggeredBy, Note: note}, Run: r})
}

// Confirm is a person's yes to the plan shown. When state or tracked commit moved since the plan was made,
// it is made again instead, and the run says so.
func (e *Engine) Confirm(id, by string) (r runs.Run, err error) {
	err = e.st.Update(func(tx *store.Tx) error {
		r, err = e.confirm(tx, id, by)
		return err
	})
	return r, err
}

// confirm is Confirm inside a transaction.
func (e *Engine) confirm(tx *store.Tx, id, by string) (runs.Run, error) {
	now, err := tx.Run(id)
	if err != nil {
		return now, err
	}
	ev := runs.Confirm{Meta: runs.Meta{At: tx.Now(), By: by}}
	if now.State == runs.Unconfirmed {
		st, err := tx.Stack(now.Stack)
		if err != nil {
			return now, err
		}
		if lockedFor(st, by) {
			return now, runs.Conflictf("%s locked the stack%s. Applies wait until it is unlocked.", st.LockedBy, because(st.LockNote))
		}
		if ev.Moved, err = moved(tx, st, now); err != nil {
			return now, err
		}
		g, err := e.Gate(tx, st, now)
		if err != nil {
			return now, err
		}
		if err := g.Err(); err != nil && ev.Moved == "" {
			return now, err
		}
		ev.Reviews = g.Approvals
	}
	return tx.Apply(id, ev)
}

func because(note string) string {
	if note == "" {
		return ""
	}
	return " (" + note + ")"
}

// moved says in words what changed under a plan since it was made, "" when nothing did.
func moved(tx *store.Tx, st runs.Stack, r runs.Run) (string, error) {
	newest, _, err := tx.NewestState(st.Slug)
	if err != nil {
		return "", err
	}
	switch {
	case st.State == runs.StateManaged && newest.Version != r.StateVersion:
		return fmt.Sprintf("the state moved from version %d to %d since this plan, so it is planned again", r.StateVersion, newest.Version), nil
	case r.TrackedAt != "" && st.TrackedCommit.SHA != r.TrackedAt:
		return fmt.Sprintf("%s moved to %s since this plan, so it is planned again", st.Branch, st.TrackedCommit.Short()), nil
	default:
		return "", nil
	}
}

// Discard is a person's no, to a plan or to a run that waits.
func (e *Engine) Discard(id, by, note string) (runs.Run, error) {
	if err := runs.CheckNote(note); err != nil {
		return runs.Run{}, err
	}
	r, err := e.apply(id, func(m runs.Meta) runs.Event { return runs.Discard{Meta: m} }, by, note)
	e.sweep(r)
	return r, err
}

// Stop ends a run: one that waits is discarded, one at work has its process asked to end and then killed.
func (e *Engine) Stop(id, by, note string) (runs.Run, error) {
	var r runs.Run
	if err := runs.CheckNote(note); err != nil {
		return r, err
	}
	err := e.st.Update(func(tx *store.Tx) error {
		var err error
		if r, err = tx.Run(id); err != nil {
			return err
		}
		r, err = stop(tx, r, by, note)
		return err
	})
	e.sweep(r)
	return r, err
}

// stop is Stop inside a transaction. By the system, a waiting run is canceled instead of discarded.
func stop(tx *store.Tx, r runs.Run, by, note string) (runs.Run, error) {
	m := runs.Meta{At: tx.Now(), By: by, Note: note}
	switch {
	case r.State.Working():
		return tx.Apply(r.ID, runs.StopAsked{Meta: m})
	case by == runs.System:
		return tx.Apply(r.ID, runs.Cancel{Meta: m})
	case r.State.Terminal():
		return r, runs.Conflictf("The run is %s, so it cannot be stopped.", r.State)
	default:
		return tx.Apply(r.ID, runs.Discard{Meta: m})
	}
}

// apply sends one event, made at the transaction's moment, through the one door.
func (e *Engine) apply(id string, ev func(runs.Meta) runs.Event, by, note string) (runs.Run, error) {
	var r runs.Run
	err := e.st.Update(func(tx *store.Tx) error {
		var err error
		r, err = tx.Apply(id, ev(runs.Meta{At: tx.Now(), By: by, Note: note}))
		return err
	})
	return r, err
}

// Retry asks for the same run again: same type, commit and merge request.
func (e *Engine) Retry(id, by string, author runs.Person, trigger runs.Trigger) (runs.Run, error) {
	return e.again(id, by, author, trigger, func(_ runs.Stack, old runs.Run) (runs.Run, error) {
		if !old.State.Terminal() {
			return runs.Run{}, runs.Conflictf("The run is %s. Only a run that has ended can be started again.", old.State)
		}
		return runs.Run{Type: old.Type, Commit: old.Commit, Branch: old.Branch, MR: old.MR, Command: old.Command, RetryOf: old.ID}, nil
	})
}

// Promote makes a tracked run of a finished proposed one, at its commit.
func (e *Engine) Promote(id, by string, author runs.Person, trigger runs.Trigger) (runs.Run, error) {
	return e.again(id, by, author, trigger, func(st runs.Stack, old runs.Run) (runs.Run, error) {
		switch {
		case old.Type != runs.Proposed || old.State != runs.Finished:
			return runs.Run{}, runs.Conflictf("Only a finished proposed run can be promoted; this one is %s and %s.", old.Type, old.State)
		case !st.Promotion:
			return runs.Run{}, runs.Conflictf("The stack does not allow promotion. Switch it on in the stack's settings.")
		}
		return runs.Run{Type: runs.Tracked, Commit: old.Commit, Branch: old.Branch, PromotedOf: old.ID}, nil
	})
}

func (e *Engine) again(id, by string, author runs.Person, trigger runs.Trigger, from func(runs.Stack, runs.Run) (runs.Run, error)) (runs.Run, error) {
	var r runs.Run
	err := e.st.Update(func(tx *store.Tx) error {
		old, err := tx.Run(id)
		if err != nil {
			return err
		}
		if m := runs.ModuleOf(old.Stack); m != "" {
			return runs.Conflictf("A test belongs to a check of the module %s. Check its branch or its version once more instead.", m)
		}
		st, err := tx.Stack(old.Stack)
		if err != nil {
			return err
		}
		if in, _, err := tx.Integration(); err != nil {
			return err
		} else if !in.Linked {
			return errDetached
		}
		next, err := from(st, old)
		if err != nil {
			return err
		}
		next.Trigger, next.TriggeredBy, next.Author = trigger, by, author
		if err := mayStart(st, Request{Type: next.Type, By: by}); err != nil {
			return err
		}
		r, err = e.request(tx, st, next, "")
		return err
	})
	return r, err
}

// Sync sets the stack's tracked commit to the head of its branch. It starts no run.
func (e *Engine) Sync(ctx context.Context, slug, by string) (runs.Stack, error) {
	st, in, err := e.attached(slug)
	if err != nil {
		return st, err
	}
	head, err := e.lookUp(ctx, in, st, st.Branch)
	if err != nil {
		return st, err
	}
	return e.editStack(slug, by, "stack.sync", "tracked commit "+head.Short(), func(st *runs.Stack) error {
		st.TrackedCommit = head
		return nil
	})
}

// Lock stops the stack's applies until it is unlocked; plans go on.
func (e *Engine) Lock(slug, by, note string) (runs.Stack, error) {
	if err := runs.CheckNote(note); err != nil {
		return runs.Stack{}, err
	}
	return e.editStack(slug, by, "stack.lock", note, func(st *runs.Stack) error {
		if st.LockedBy != "" {
			return runs.Conflictf("%s has locked the stack already%s.", st.LockedBy, because(st.LockNote))
		}
		st.LockedBy, st.LockNote = by, note
		return nil
	})
}

// Unlock ends a lock, whoever holds it; the audit log keeps who did it.
func (e *Engine) Unlock(slug, by string) (st runs.Stack, err error) {
	err = e.st.Update(func(tx *store.Tx) error {
		st, err = e.unlock(tx, slug, by)
		return err
	})
	return st, err
}

// unlock is Unlock inside a transaction.
func (e *Engine) unlock(tx *store.Tx, slug, by string) (runs.Stack, error) {
	return e.editStackIn(tx, slug, by, "stack.unlock", "", func(st *runs.Stack) error {
		if st.LockedBy == "" {
			return runs.Conflictf("The stack is not locked.")
		}
		st.LockedBy, st.LockNote = "", ""
		return nil
	})
}

func (e *Engine) editStack(slug, by, action, note string, edit func(*runs.Stack) error) (st runs.Stack, err error) {
	err = e.st.Update(func(tx *store.Tx) error {
		st, err = e.editStackIn(tx, slug, by, action, note, edit)
		return err
	})
	return st, err
}

func (e *Engine) editStackIn(tx *store.Tx, slug, by, action, note string, edit func(*runs.Stack) error) (runs.Stack, error) {
	st, err := tx.Stack(slug)
	if err != nil {
		return st, err
	}
	old := st
	if err := edit(&st); err != nil {
		return st, err
	}
	if err := tx.PutStack(st); err != nil {
		return st, err
	}
	if st.Approvals != old.Approvals {
		if err := e.Reweigh(tx, slug); err != nil {
			return st, err
		}
	}
	if st.DestroyThreads != old.DestroyThreads {
		if err := tx.ReportThreads(slug); err != nil {
			return st, err
		}
	}
	changes, err := store.Changed(old, st)
	if err != nil {
		return st, err
	}
	return st, tx.Audit(store.AuditEntry{By: by, Action: action, Target: slug, Stack: slug, Note: note, Changes: changes})
}

// Release lets one commit of a fork's merge request be planned: a person with Maintainer access says that
// this code may run here. A new push needs a new release (S8).
func (e *Engine) Release(ctx context.Context, project, iid int64, sha, by string) ([]runs.Run, error) {
	var mr store.MergeRequest
	err := e.st.View(func(tx *store.Tx) (err error) { mr, err = held(tx, project, iid, sha); return err })
	if err != nil {
		return nil, err
	}
	files, err := e.mergeRequestFiles(ctx, project, iid)
	if err != nil {
		return nil, err
	}
	wish, err := e.askProposals(ctx, mr, files)
	if err != nil {
		return nil, err
	}
	v := verdict{}
	err = e.st.Update(func(tx *store.Tx) error {
		mr, err := held(tx, project, iid, sha) // it may have moved while GitLab was asked
		if err != nil {
			return err
		}
		if err := release(tx, &mr, by); err != nil {
			return err
		}
		return e.propose(tx, &v, mr, files, wish, runs.Person{})
	})
	return v.runs, err
}

// held returns a merge request that waits for the release of this commit.
func held(tx *store.Tx, project, iid int64, sha string) (store.MergeRequest, error) {
	mr, ok, err := tx.MergeRequest(project, iid)
	switch {
	case err != nil:
		return mr, err
	case !ok:
		return mr, runs.NotFoundf("There is no merge request !%d here.", iid)
	case mr.Held == "" || mr.Held != sha:
		return mr, runs.Conflictf("Commit %s of merge request !%d does not wait for a release; its head may have moved. Look at the merge request again.", runs.ShortSHA(sha), iid)
	default:
		return mr, nil
	}
}

// release says that the commit a fork's merge request waits with may run here.
func release(tx *store.Tx, mr *store.MergeRequest, by string) error {
	sha := mr.Held
	mr.Held, mr.Released = "", append(mr.Released, sha)
	if err := tx.PutMergeRequest(*mr); err != nil {
		return err
	}
	return tx.Audit(store.AuditEntry{By: by, Action: "merge_request.release", Target: fmt.Sprintf("%d!%d", mr.Project, mr.IID), Note: sha})
}
