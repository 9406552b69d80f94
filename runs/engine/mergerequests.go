package engine

import (
	"context"
	"slices"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

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
