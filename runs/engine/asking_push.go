package engine

import (
	"context"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

func pushInput(h gitlab.Hook, files []string) policy.Push {
	p := h.Push
	commit := policy.CommitOf(headCommit(p.Head, p.After))
	return policy.Push{Branch: p.Branch, Tag: p.Tag, By: h.User.Username, Commit: commit, Files: files}
}

// wishes are what push policies say of an event, by stack. A stack without any is not among them.
type wishes map[string]policy.Verdict

// of is what follows for a stack, where otherwise would follow without policies, and what the delivery's verdict says of it. Only what lies
// on the tracked branch, or a tag, can be tracked.
func (w wishes) of(st runs.Stack, otherwise runs.PolicyOutcome, trackable bool) (outcome runs.PolicyOutcome, because string) {
	v, asked := w[st.Slug]
	if !asked {
		return otherwise, ""
	}
	for _, m := range v.Messages {
		because += " · " + m
	}
	switch {
	case v.Outcome == runs.OutcomeUndecided:
		return otherwise, because
	case v.Outcome == runs.OutcomeTrack && !trackable:
		return runs.OutcomePropose, because + " · a policy asks to track what is not on the tracked branch, so it is only proposed"
	default:
		return v.Outcome, because
	}
}

// askPush asks the push policies of a project's stacks of an event. otherwise says what would follow without them.
func (e *Engine) askPush(ctx context.Context, project int64, push policy.Push, otherwise func(runs.Stack) runs.PolicyOutcome) (wishes, error) {
	var matters []matter
	err := e.st.View(func(tx *store.Tx) error {
		stacks, err := tx.StacksOf(project)
		for _, st := range stacks {
			if err != nil {
				return err
			}
			m := matter{stack: st}
			if m.policies, err = policiesOf(tx, st, runs.PolicyPush); err == nil && len(m.policies) > 0 {
				matters = append(matters, m)
			}
		}
		return err
	})
	out := wishes{}
	for _, m := range matters {
		if err != nil {
			break
		}
		of := push
		of.Would = string(otherwise(m.stack))
		m.input.Push = &of
		out[m.stack.Slug], err = e.ask(ctx, runs.PolicyPush, m)
	}
	return out, err
}

// ofPush is what a push to a branch means for a stack without policies.
func ofPush(st runs.Stack, branch string, files []string) runs.PolicyOutcome {
	switch {
	case !st.Concerns(files, glob):
		return runs.OutcomeIgnore
	case st.Branch != branch || st.ReleaseTags != "":
		return runs.OutcomePropose
	default:
		return runs.OutcomeTrack
	}
}

// ofTag is what a tag means for a stack without policies.
func ofTag(st runs.Stack, tag string) runs.PolicyOutcome {
	if st.ReleaseTags != "" && glob(st.ReleaseTags, tag) {
		return runs.OutcomeTrack
	}
	return runs.OutcomeIgnore
}

// askProposals asks the push policies of a project's stacks of a merge request's head.
func (e *Engine) askProposals(ctx context.Context, mr store.MergeRequest, files []string) (wishes, error) {
	push := policy.Push{
		Branch: mr.SourceBranch, Commit: policy.CommitOf(runs.Commit{SHA: mr.Head, Title: mr.HeadTitle}), Files: files, MergeRequest: policy.MergeRequestOf(&mr.MergeRequest),
	}
	return e.askPush(ctx, mr.Project, push, func(st runs.Stack) runs.PolicyOutcome { return ofMergeRequest(st, mr, files) })
}

// ofMergeRequest is what a merge request's head means for a stack without policies.
func ofMergeRequest(st runs.Stack, mr store.MergeRequest, files []string) runs.PolicyOutcome {
	if st.Branch != mr.TargetBranch || !st.Concerns(files, glob) {
		return runs.OutcomeIgnore
	}
	return runs.OutcomePropose
}
