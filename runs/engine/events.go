package engine

import (
	"context"
	"slices"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// reactPush handles a push to a branch: tracked runs for the stacks that track it, proposed runs for the
// others, each only when the changed files concern it (PRODUCT §3).
func (e *Engine) reactPush(ctx context.Context, v *verdict, h gitlab.Hook) error {
	p := h.Push
	if p.Deleted {
		return e.st.Batch(func(tx *store.Tx) error {
			v.lines = []string{"ignored: the branch " + p.Branch + " was deleted"}
			stacks, err := tx.SourcesOf(h.ProjectID)
			if err != nil {
				return err
			}
			now := ""
			if slices.ContainsFunc(stacks, func(st runs.Stack) bool { return st.Branch == p.Branch }) {
				now = nowhere // when it is made again that is a push, also if nobody delivers it
				e.look(h.ProjectID)
			}
			if err := tx.PutHead(h.ProjectID, p.Branch, now); err != nil {
				return err
			}
			return v.store(tx, store.DeliveryDone)
		})
	}
	since, stale, err := e.follows(ctx, h)
	if err != nil {
		return err
	}
	if stale != "" {
		return e.judge(*v, store.DeliveryDone, "ignored: "+p.Branch+" has moved on to "+runs.ShortSHA(stale)+" already")
	}
	files, err := e.pushedFiles(ctx, v, h, since)
	if err != nil {
		return err
	}
	wish, err := e.askPush(ctx, h.ProjectID, pushInput(h, files), func(st runs.Stack) runs.PolicyOutcome { return ofPush(st, p.Branch, files) })
	if err != nil {
		return err
	}
	return e.st.Batch(func(tx *store.Tx) error {
		*v = verdict{delivery: v.delivery}
		stacks, err := tx.StacksOf(h.ProjectID)
		if err != nil {
			return err
		}
		again := tx.Head(h.ProjectID, p.Branch) == p.After
		for _, st := range stacks {
			if err := e.pushed(tx, v, st, h, files, wish, again); err != nil {
				return err
			}
		}
		if err := checkPushed(tx, v, h, files); err != nil {
			return err
		}
		if err := tx.PutHead(h.ProjectID, p.Branch, p.After); err != nil {
			return err
		}
		return v.store(tx, store.DeliveryDone)
	})
}

// follows finds out how a push follows on what was seen of its branch: GitLab's deliveries come in any order, and some
// never. It asks GitLab only when the push doesn't follow on what was seen. Then since is the commit that was seen, and what
// lies between it and the push was missed. stale is the branch's head when the push needs no answer: it was overtaken by
// what was seen, or by a head of a tracked branch whose own delivery, or the next look at the project, covers both.
func (e *Engine) follows(ctx context.Context, h gitlab.Hook) (since, stale string, err error) {
	var seen string
	tracked := false
	err = e.st.View(func(tx *store.Tx) error {
		seen = tx.Head(h.ProjectID, h.Push.Branch)
		stacks, err := tx.StacksOf(h.ProjectID)
		tracked = slices.ContainsFunc(stacks, func(st runs.Stack) bool { return st.Branch == h.Push.Branch })
		return err
	})
	if err != nil || seen == "" || seen == nowhere || seen == h.Push.Before || seen == h.Push.After {
		return "", "", err
	}
	c, err := e.linkedClient()
	if err != nil {
		return "", "", err
	}
	b, err := c.Branch(ctx, h.ProjectID, h.Push.Branch)
	switch {
	case gitlab.KindOf(err) == "not_found":
		return seen, "", nil // deleted since, which its own delivery says, or out of our sight: what was missed still counts
	case err != nil:
		return "", "", err
	case b.SHA != h.Push.After && (tracked || b.SHA == seen):
		return "", b.SHA, nil
	default:
		return seen, "", nil
	}
}

// pushedFiles lists what a push changed, nil when that can't be known. The push itself says it when it is
// small; else GitLab is asked (GOTCHAS 31, 34). So it is when since is not "": then pushes were missed that nothing else
// would find any more once this one is the branch's head.
func (e *Engine) pushedFiles(ctx context.Context, v *verdict, h gitlab.Hook, since string) ([]string, error) {
	p := h.Push
	if since == "" && (p.Complete || p.Created && p.Total > 0 && p.Total <= 20) {
		return nonNil(p.Files), nil
	}
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	from := p.Before
	switch {
	case since != "":
		from = since
	case p.Created:
		from = h.DefaultBranch
	}
	if from == "" || from == p.Branch {
		return nil, nil
	}
	files, complete, err := c.CompareFiles(ctx, h.ProjectID, from, p.After)
	switch {
	case e.worthWaiting(v.delivery, err):
		return nil, err
	case err != nil || !complete:
		return nil, nil
	}
	return nonNil(files), nil
}

// worthWaiting reports whether GitLab may say which files changed when it is asked again: within half of patience, then all
// stacks are concerned.
func (e *Engine) worthWaiting(d store.Delivery, err error) bool {
	return gitlab.KindOf(err).Temporary() && e.now().Sub(d.Asked()) <= patience/2
}

// pushed does what a push means for one stack. again says that the very same push was processed before.
func (e *Engine) pushed(tx *store.Tx, v *verdict, st runs.Stack, h gitlab.Hook, files []string, wish wishes, again bool) error {
	p := h.Push
	commit := headCommit(p.Head, p.After)
	otherwise := ofPush(st, p.Branch, files)
	outcome, because := wish.of(st, otherwise, st.Branch == p.Branch)
	if because != "" {
		v.say("%s: policies%s", st.Slug, because)
	}
	switch {
	case outcome == runs.OutcomeIgnore && otherwise == runs.OutcomeIgnore:
		v.say("ignored for %s: nothing under %s", st.Slug, rootWord(st))
		return nil
	case outcome == runs.OutcomeIgnore:
		v.say("ignored for %s: a policy says so", st.Slug)
		return nil
	case outcome == runs.OutcomePropose:
		mr, err := openMergeRequest(tx, h.ProjectID, p.Branch)
		if err != nil {
			return err
		}
		return e.proposeOne(tx, v, st, commit, p.Branch, mr, h.User)
	}
	if old, ok, err := tx.NewestRunOf(st.Slug, runs.Tracked, commit.SHA); err != nil {
		return err
	} else if ok && again {
		v.say("%s: run %s has this commit already", st.Slug, old.ID)
		return nil
	}
	st.TrackedCommit = commit
	if err := tx.PutStack(st); err != nil {
		return err
	}
	r, err := e.request(tx, st, runs.Run{
		Type: runs.Tracked, Trigger: v.trigger(), TriggeredBy: h.User.Username, Author: pusher(h.User), Commit: commit, Branch: p.Branch,
	}, v.note(""))
	v.runs = append(v.runs, r)
	return err
}

// pusher is who set off an event, as reviews tell people apart.
func pusher(u gitlab.HookUser) runs.Person { return runs.Person{GitLab: u.ID} }

func rootWord(st runs.Stack) string {
	if st.ProjectRoot == "" {
		return "the project"
	}
	return st.ProjectRoot + "/"
}

func headCommit(c gitlab.Commit, sha string) runs.Commit {
	if c.SHA != sha {
		return runs.Commit{SHA: sha}
	}
	return commitOf(c)
}

// openMergeRequest returns the merge request we know to be open from a branch of the project itself.
func openMergeRequest(tx *store.Tx, project int64, branch string) (*runs.MergeRequest, error) {
	list, err := tx.MergeRequests(project)
	if err != nil {
		return nil, err
	}
	for _, mr := range slices.Backward(list) {
		if mr.State == "opened" && mr.SourceBranch == branch && !mr.Fork {
			return &mr.MergeRequest, nil
		}
	}
	return nil, nil
}

// proposeOne asks for a proposed run unless the commit has one, and ends older ones of the branch. A run
// that was there before learns of the merge request.
func (e *Engine) proposeOne(tx *store.Tx, v *verdict, st runs.Stack, c runs.Commit, branch string, mr *runs.MergeRequest, by gitlab.HookUser) error {
	old, ok, err := tx.NewestRunOf(st.Slug, runs.Proposed, c.SHA)
	if err != nil {
		return err
	}
	if ok && old.State != runs.Canceled && old.State != runs.Stopped && old.StopAsked == "" {
		if mr != nil {
			if _, err := tx.Apply(old.ID, runs.LearnedMR{Meta: runs.Meta{At: tx.Now()}, MR: *mr}); err != nil {
				return err
			}
		}
		v.say("%s: run %s has this commit already", st.Slug, old.ID)
		return nil
	}
	next := runs.Run{Type: runs.Proposed, Trigger: v.trigger(), TriggeredBy: by.Username, Author: pusher(by), Commit: c, Branch: branch, MR: mr}
	if err := supersede(tx, st.Slug, next); err != nil {
		return err
	}
	r, err := e.request(tx, st, next, v.note(""))
	v.runs = append(v.runs, r)
	return err
}

// supersede ends the proposed runs of a branch that a newer push made old. Branches of forks are other branches,
// whatever their names.
func supersede(tx *store.Tx, slug string, next runs.Run) error {
	old, err := tx.Proposals(slug, next.Branch, next.ForkOf())
	if err != nil {
		return err
	}
	return endProposed(tx, old, "superseded by "+next.Commit.Short(), func(r runs.Run) bool { return r.Commit.SHA != next.Commit.SHA })
}

func endProposed(tx *store.Tx, active []runs.Run, note string, which func(runs.Run) bool) error {
	for _, r := range active {
		if r.Type == runs.Proposed && r.StopAsked == "" && which(r) {
			if _, err := stop(tx, r, runs.System, note); err != nil {
				return err
			}
		}
	}
	return nil
}

// reactTag handles a tag: a tracked run for the stacks that release from tags.
func (e *Engine) reactTag(ctx context.Context, v *verdict, h gitlab.Hook) error {
	p := h.Push
	if p.Deleted {
		return e.st.Batch(func(tx *store.Tx) error {
			v.lines = []string{"ignored: the tag " + p.Tag + " was deleted"}
			if err := tx.PutTag(h.ProjectID, p.Tag, ""); err != nil {
				return err
			}
			return v.store(tx, store.DeliveryDone)
		})
	}
	sha := p.CheckoutSHA // of an annotated tag, After is the tag object (GOTCHAS 32)
	if sha == "" {
		sha = p.After
	}
	wish, err := e.askPush(ctx, h.ProjectID, pushInput(h, nil), func(st runs.Stack) runs.PolicyOutcome { return ofTag(st, p.Tag) })
	if err != nil {
		return err
	}
	return e.st.Batch(func(tx *store.Tx) error {
		*v = verdict{delivery: v.delivery}
		stacks, err := tx.StacksOf(h.ProjectID)
		if err != nil {
			return err
		}
		for _, st := range stacks {
			outcome, because := wish.of(st, ofTag(st, p.Tag), true)
			if because != "" {
				v.say("%s: policies%s", st.Slug, because)
			}
			if outcome != runs.OutcomeTrack {
				continue // a tag is tracked or nothing: there is no branch that it could be proposed for
			}
			if old, ok, err := tx.NewestRunOf(st.Slug, runs.Tracked, sha); err != nil {
				return err
			} else if ok && st.TrackedCommit.SHA == sha {
				v.say("%s: run %s has this commit already", st.Slug, old.ID)
				continue
			}
			st.TrackedCommit = headCommit(p.Head, sha)
			if err := tx.PutStack(st); err != nil {
				return err
			}
			r, err := e.request(tx, st, runs.Run{
				Type: runs.Tracked, Trigger: v.trigger(), TriggeredBy: h.User.Username, Author: pusher(h.User), Commit: st.TrackedCommit, Branch: st.Branch,
			}, v.note("tag "+p.Tag))
			if err != nil {
				return err
			}
			v.runs = append(v.runs, r)
		}
		if _, err := checkTagged(tx, v, h); err != nil {
			return err
		}
		if len(v.runs)+len(v.lines) == 0 {
			v.say("ignored: no stack or module of this project releases from the tag %s", p.Tag)
		}
		if err := tx.PutTag(h.ProjectID, p.Tag, p.After); err != nil {
			return err
		}
		return v.store(tx, store.DeliveryDone)
	})
}
