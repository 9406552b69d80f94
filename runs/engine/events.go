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
	return gitlab.KindOf(err).Temporary() && e.now().Sub(d.ReceivedAt) <= patience/2
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

// reactMergeRequest handles a merge request event. Only new code makes runs: labels, titles and the like are
// recorded (GOTCHAS 35).
func (e *Engine) reactMergeRequest(ctx context.Context, v *verdict, h gitlab.Hook) error {
	m := h.MR
	mr, err := e.seenMergeRequest(h)
	if err != nil {
		return err
	}
	switch {
	case m.Action == "close":
		return e.closed(v, mr)
	case m.Action == "merge":
		return e.recordMR(v, mr, "recorded: merged; the push to "+m.TargetBranch+" tracks")
	case m.State != "opened":
		return e.recordMR(v, mr, "recorded: the merge request is "+m.State)
	case m.Action == "open" || m.Action == "reopen" || m.Action == "update" && m.OldRev != "":
	default:
		return e.recordMR(v, mr, "recorded: no new code")
	}
	if mr.Fork && !slices.Contains(mr.Released, mr.Head) {
		mr.Held = mr.Head
		return e.recordMR(v, mr, "held: the code comes from a fork. A Maintainer can release commit "+runs.ShortSHA(mr.Head)+" on the stack's merge requests page")
	}
	var files []string
	if known, err := e.allKnown(mr); err != nil {
		return err
	} else if !known {
		if files, err = e.mergeRequestFiles(ctx, mr.Project, mr.IID); err != nil {
			if e.worthWaiting(v.delivery, err) {
				return err
			}
			files = nil
		}
	}
	wish, err := e.askProposals(ctx, mr, files)
	if err != nil {
		return err
	}
	return e.st.Batch(func(tx *store.Tx) error {
		*v = verdict{delivery: v.delivery}
		if err := tx.PutMergeRequest(mr); err != nil {
			return err
		}
		if err := e.propose(tx, v, mr, files, wish, pusher(h.User)); err != nil {
			return err
		}
		if err := untouched(tx, v, mr, files); err != nil {
			return err
		}
		return v.store(tx, store.DeliveryDone)
	})
}

// untouched passes a merge request that concerns no stack, where that is asked for: under "Pipelines must succeed" no
// status at all would mean that nobody can merge (GOTCHAS 13).
func untouched(tx *store.Tx, v *verdict, mr store.MergeRequest, files []string) error {
	if len(v.runs) > 0 || mr.Fork || files == nil {
		return nil
	}
	runsOf, err := tx.RunsOf(mr.Project, mr.Head, runs.GroupProposed)
	if err != nil || len(runsOf) > 0 {
		return err
	}
	if checks, err := tx.ChecksAt(mr.Project, mr.Head); err != nil || len(checks) > 0 {
		return err
	}
	return tx.ReportUntouched(mr)
}

// seenMergeRequest joins what the event says with what was known of the merge request.
func (e *Engine) seenMergeRequest(h gitlab.Hook) (store.MergeRequest, error) {
	m := h.MR
	var mr store.MergeRequest
	err := e.st.View(func(tx *store.Tx) error {
		var err error
		mr, _, err = tx.MergeRequest(h.ProjectID, m.IID)
		return err
	})
	mr.Project, mr.State = h.ProjectID, m.State
	mr.MergeRequest = runs.MergeRequest{IID: m.IID, Title: m.Title, SourceBranch: m.SourceBranch, TargetBranch: m.TargetBranch, URL: m.WebURL, Fork: m.Fork()}
	if m.HeadSHA != mr.Head {
		mr.Head, mr.HeadTitle, mr.Held = m.HeadSHA, m.Head.Title, ""
	}
	return mr, err
}

// recordMR stores a merge request and a verdict without runs.
func (e *Engine) recordMR(v *verdict, mr store.MergeRequest, text string) error {
	return e.st.Batch(func(tx *store.Tx) error {
		if err := tx.PutMergeRequest(mr); err != nil {
			return err
		}
		v.lines = []string{text}
		return v.store(tx, store.DeliveryDone)
	})
}

// closed ends what still runs for a closed merge request.
func (e *Engine) closed(v *verdict, mr store.MergeRequest) error {
	return e.st.Batch(func(tx *store.Tx) error {
		*v = verdict{delivery: v.delivery}
		mr.Held = ""
		if err := tx.PutMergeRequest(mr); err != nil {
			return err
		}
		active, err := tx.ActiveIn(mr.Project, mr.IID)
		if err != nil {
			return err
		}
		err = endProposed(tx, active, "the merge request was closed", func(r runs.Run) bool {
			return r.MR != nil && r.MR.IID == mr.IID && len(r.Also) == 0
		})
		if err != nil {
			return err
		}
		if err := closeChecks(tx, mr); err != nil {
			return err
		}
		v.say("recorded: closed; its runs that had not ended were canceled")
		return v.store(tx, store.DeliveryDone)
	})
}

// allKnown reports whether every stack the merge request could concern has a run of its head already, as
// when the push came first: then GitLab need not be asked for the files.
func (e *Engine) allKnown(mr store.MergeRequest) (bool, error) {
	known := true
	err := e.st.View(func(tx *store.Tx) error {
		stacks, err := tx.StacksOf(mr.Project)
		for _, st := range stacks {
			if st.Branch != mr.TargetBranch || err != nil {
				continue
			}
			var ok bool
			if _, ok, err = tx.NewestRunOf(st.Slug, runs.Proposed, mr.Head); !ok {
				known = false
			}
		}
		if err != nil {
			return err
		}
		modules, err := tx.ModulesOf(mr.Project)
		for _, m := range modules {
			var ok bool
			if _, ok, err = tx.NewestCheck(m.Slug, mr.Head); !ok || err != nil {
				known = false
			}
		}
		return err
	})
	return known, err
}

// propose asks for the proposed runs of a merge request's head, and notes which stacks it concerns. A stack that tracks another
// branch than the target only learns of the merge request, if a push gave it a run.
func (e *Engine) propose(tx *store.Tx, v *verdict, mr store.MergeRequest, files []string, wish wishes, author runs.Person) error {
	stacks, err := tx.StacksOf(mr.Project)
	if err != nil {
		return err
	}
	c := runs.Commit{SHA: mr.Head, Title: mr.HeadTitle}
	mr.Stacks = nil
	for _, st := range stacks {
		_, has, err := tx.NewestRunOf(st.Slug, runs.Proposed, mr.Head)
		otherwise := ofMergeRequest(st, mr, files)
		outcome, because := wish.of(st, otherwise, false)
		if because != "" && !has {
			v.say("%s: policies%s", st.Slug, because)
		}
		switch {
		case err != nil:
			return err
		case !has && outcome == runs.OutcomeIgnore && otherwise != runs.OutcomeIgnore:
			v.say("ignored for %s: a policy says so", st.Slug)
			continue
		case has || outcome != runs.OutcomeIgnore:
		case st.Branch != mr.TargetBranch:
			v.say("ignored for %s: it tracks %s, not %s", st.Slug, st.Branch, mr.TargetBranch)
			continue
		default:
			v.say("ignored for %s: nothing under %s", st.Slug, rootWord(st))
			if err := tx.RetireThread(mr.Project, mr.IID, st.Slug); err != nil {
				return err
			}
			continue
		}
		mr.Stacks = append(mr.Stacks, st.Slug)
		link := mr.MergeRequest
		if err := e.proposeOne(tx, v, st, c, mr.SourceBranch, &link, gitlab.HookUser{ID: author.GitLab}); err != nil {
			return err
		}
	}
	if err := tx.PutMergeRequest(mr); err != nil {
		return err
	}
	return checkProposed(tx, v, mr, files)
}
