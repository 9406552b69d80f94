package store

import (
	"fmt"

	"groundcrew/runs"
)

// ThreadTarget is the target of the thread of a stack on a merge request.
func ThreadTarget(project, mr int64, stack string) string {
	return fmt.Sprintf("thread/%d/%d/%s", project, mr, stack)
}

// reportThread marks the thread about what a plan takes away: when it does take something away and a thread is asked for,
// and whenever there is a thread. A plan that failed says nothing of what would be destroyed: the thread stays as it is.
func (tx *Tx) reportThread(in Integration, r runs.Run, mr int64) error {
	if r.State != runs.Finished || r.Delta == nil {
		return nil
	}
	t := Report{Kind: ReportThread, Target: ThreadTarget(r.Project, mr, r.Stack), Project: r.Project, Stack: r.Stack, Run: r.ID, MR: mr}
	if !has(tx, "reports", t.Target) {
		var st runs.Stack
		known, err := get(tx, "stacks", r.Stack, &st)
		if err != nil || !known || r.Delta.Destroy == 0 || !st.WantsThreads(in.DestroyThreads) {
			return err
		}
	}
	return tx.mark(t)
}

// ReportThreads marks the threads of all open merge requests, or with a slug those of one stack, because whether there
// are to be any has changed: those that stand in GitLab, and those that plans of before would have had.
func (tx *Tx) ReportThreads(slug string) error {
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	rows, err := all[Report](tx, "reports", ReportThread+"/")
	if err != nil {
		return err
	}
	for _, r := range rows {
		if _, open, err := tx.MergeRequest(r.Project, r.MR); err != nil {
			return err
		} else if open && (slug == "" || slug == r.Stack) {
			if err := tx.mark(r); err != nil {
				return err
			}
		}
	}
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	for _, st := range stacks {
		if slug != "" && slug != st.Slug || !st.WantsThreads(in.DestroyThreads) {
			continue
		}
		mrs, err := tx.MergeRequests(st.Project)
		if err != nil {
			return err
		}
		for _, mr := range mrs {
			newest, _, err := tx.Runs(RunFilter{Stack: st.Slug, Project: st.Project, MergeRequest: mr.IID, Types: []runs.Type{runs.Proposed}}, "", 1)
			if err == nil && len(newest) > 0 {
				err = tx.reportThread(in, newest[0], mr.IID)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// RetireThread marks a thread whose stack the newest commit of the merge request does not concern any more.
func (tx *Tx) RetireThread(project, mr int64, slug string) error {
	r, ok, err := tx.Report(ThreadTarget(project, mr, slug))
	if err != nil || !ok || r.Gone {
		return err
	}
	r.Gone = true
	return tx.mark(r)
}

// retireThreads marks the threads of a stack that is being deleted: they would block their merge requests for ever.
func (tx *Tx) retireThreads(st runs.Stack) error {
	mrs, err := tx.MergeRequests(st.Project)
	for _, mr := range mrs {
		if err == nil {
			err = tx.RetireThread(st.Project, mr.IID, st.Slug)
		}
	}
	return err
}
