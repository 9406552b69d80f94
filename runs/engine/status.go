package engine

import (
	"cmp"
	"context"
	"fmt"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// A post is one commit status to write.
type post struct {
	state runs.CommitState
	text  string
}

func final(s string) bool {
	return s == "success" || s == "failed" || s == "canceled" || s == "skipped"
}

// posts lists the statuses to write so that GitLab, which shows the remote state and text now, shows want in
// the end. GitLab changes a text only together with a legal change of state (CONTRACT §4): where a person
// must be able to read the new text although no legal change leads there, the counts are posted as a success
// first, which ends the record and lets the next one say it.
func posts(remoteState, remoteText string, want post, between string, must bool) []post {
	switch {
	case remoteState == string(want.state) && remoteText == want.text:
		return nil
	case remoteState == "" || final(remoteState) || final(string(want.state)):
		return []post{want}
	case remoteState == "pending" && want.state == runs.StatusRunning:
		return []post{want}
	case must:
		return []post{{runs.StatusSuccess, between}, want}
	default:
		return nil // running → pending for a moment, or the same state in other words: not worth a new record
	}
}

// mustShow reports whether the text of a run's status has to stand in GitLab: it asks something of a person
// or says that production is being changed.
func mustShow(r runs.Run) bool { return r.State == runs.Unconfirmed || r.State == runs.Applying }

// sendStatus writes the commit status of a run.
func (e *Engine) sendStatus(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	run, _, err := e.reported(r)
	if err != nil {
		return err
	}
	if r.Unsure {
		if err := e.readStatus(ctx, c, r); err != nil {
			return err
		}
	}
	if r.PipelineID == 0 && r.RemoteState == "" && run.MR != nil && !run.MR.Fork {
		r.PipelineID = mergePipeline(ctx, c, run)
	}
	for range 2 { // the second time from what GitLab really shows
		err = e.postStatus(ctx, c, r, run)
		if gitlab.KindOf(err) != "transition" {
			return err
		}
		if err := e.readStatus(ctx, c, r); err != nil {
			return err
		}
	}
	return err
}

func (e *Engine) postStatus(ctx context.Context, c *gitlab.Client, r *store.Report, run runs.Run) error {
	state, text := runs.CommitStatus(run)
	between := text
	if run.Delta != nil {
		between = run.Delta.String()
	}
	list := posts(r.RemoteState, r.RemoteText, post{state, text}, between, mustShow(run))
	if len(list) == 0 {
		return nil
	}
	if err := e.announce(r); err != nil {
		return err
	}
	for _, p := range list {
		answer, err := c.SetStatus(ctx, run.Project, run.Commit.SHA, gitlab.Status{
			State: string(p.state), Name: r.Name, Ref: statusRef(r, run), TargetURL: e.runURL(run.ID), Description: p.text, PipelineID: r.PipelineID,
		})
		if gitlab.KindOf(err) == "not_found" && r.PipelineID != 0 {
			r.PipelineID = 0 // the pipeline was deleted or archived: let GitLab choose another
			answer, err = c.SetStatus(ctx, run.Project, run.Commit.SHA, gitlab.Status{
				State: string(p.state), Name: r.Name, Ref: statusRef(r, run), TargetURL: e.runURL(run.ID), Description: p.text,
			})
		}
		if err != nil {
			return unanswered(r, err)
		}
		r.RemoteState, r.RemoteText, r.RemoteRun = string(p.state), p.text, run.ID
		r.PipelineID = cmp.Or(answer.PipelineID, r.PipelineID)
	}
	r.Unsure = false
	return nil
}

// statusRef names the ref GitLab looks for a pipeline on. With a pipeline's id none is needed; a fork's commit is
// only known under the merge request's own ref (GOTCHAS 12).
func statusRef(r *store.Report, run runs.Run) string {
	switch {
	case r.PipelineID != 0:
		return ""
	case forkOf(run) != 0:
		return fmt.Sprintf("refs/merge-requests/%d/head", run.MR.IID)
	default:
		return run.Branch
	}
}

// mergePipeline finds the pipeline of the merge request, so that the status stands where the merge is
// decided; 0 when there is none of this commit (GOTCHAS 7, 9).
func mergePipeline(ctx context.Context, c *gitlab.Client, run runs.Run) int64 {
	mr, err := c.MergeRequest(ctx, run.Project, run.MR.IID)
	if err != nil || mr.HeadPipelineSHA != run.Commit.SHA {
		return 0
	}
	return mr.HeadPipelineID
}

// readStatus asks GitLab what it shows, after an answer that never came.
func (e *Engine) readStatus(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	list, err := c.Statuses(ctx, r.Project, r.SHA, r.Name)
	if err != nil {
		return err
	}
	r.RemoteState, r.RemoteText, r.Unsure = "", "", false
	newest := int64(0)
	for _, s := range list {
		if s.Name == r.Name && s.ID > newest && (r.PipelineID == 0 || s.PipelineID == r.PipelineID) {
			newest = s.ID
			r.RemoteState, r.RemoteText, r.PipelineID = s.State, s.Description, s.PipelineID
		}
	}
	return nil
}
