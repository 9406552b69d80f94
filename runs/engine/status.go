package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
func mustShow(r runs.Run) bool {
	return r.NeedsPerson() || r.State == runs.Unconfirmed || r.State == runs.Applying
}

// A subject is what a status report has to show now.
type subject struct {
	run     runs.Run // whose commit, branch and merge request it is about, and to which it links
	want    post
	between string // ends a record whose text has to change
	must    bool
	url     string
}

// subjectOf renders a status report from the present: of one run, of all runs of a group, or of a merge request
// that concerns no stack.
func (e *Engine) subjectOf(r *store.Report) (s subject, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		switch r.Sum {
		case "":
			s.run, err = tx.Run(r.Run)
			state, text := runs.CommitStatus(s.run)
			s.want, s.between, s.must = post{state, text}, text, mustShow(s.run)
			if s.run.Delta != nil {
				s.between = s.run.Delta.String()
			}
		case store.SumUntouched:
			var mr store.MergeRequest
			mr, _, err = tx.MergeRequest(r.Project, r.MR)
			s.run = runs.Run{Project: r.Project, Commit: runs.Commit{SHA: r.SHA}, Branch: mr.SourceBranch, MR: &mr.MergeRequest}
			s.want = post{runs.StatusSuccess, "No stack is concerned"}
		case store.SumModule, runs.GroupModules:
			return e.moduleSubject(tx, r, &s)
		default:
			var list []runs.Run
			if list, err = tx.RunsOf(r.Project, r.SHA, r.Sum); err != nil {
				return err
			}
			if len(list) == 0 { // the stacks were deleted since
				var last runs.Run
				last, err = tx.Run(r.Run)
				list = []runs.Run{last}
			}
			if err == nil {
				sum := runs.Summarize(list)
				s.run, s.want, s.between, s.must = sum.Lead, post{sum.State, sum.Text}, sum.Text, sum.Must
			}
		}
		return err
	})
	if s.url == "" {
		s.url = e.o.ExternalURL
	}
	if s.run.ID != "" {
		s.url = e.runURL(s.run.ID)
	}
	if err == nil && r.MR != 0 {
		err = e.forMergeRequest(&s.run, r.MR)
	}
	return s, err
}

// forMergeRequest makes a run speak to one of the further merge requests of its commit.
func (e *Engine) forMergeRequest(run *runs.Run, iid int64) error {
	mr := run.In(iid)
	if mr == nil {
		err := e.st.View(func(tx *store.Tx) error {
			row, ok, err := tx.MergeRequest(run.Project, iid)
			if ok {
				mr = &row.MergeRequest
			}
			return err
		})
		if err != nil || mr == nil {
			return err
		}
	}
	run.MR, run.Branch = mr, mr.SourceBranch
	return nil
}

// sendStatus writes a commit status.
func (e *Engine) sendStatus(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	s, err := e.subjectOf(r)
	if err != nil {
		return err
	}
	if r.Unsure {
		if err := e.readStatus(ctx, c, r); err != nil {
			return err
		}
	}
	if err := e.choosePipeline(ctx, c, r, s); err != nil {
		return err
	}
	if shown, err := e.shownThere(r, s); shown || err != nil {
		return err
	}
	for range 2 { // the second time from what GitLab really shows
		err = e.postStatus(ctx, c, r, s)
		if gitlab.KindOf(err) != gitlab.KindTransition {
			return err
		}
		if err := e.readStatus(ctx, c, r); err != nil {
			return err
		}
	}
	return err
}

// shownThere reports whether the status for a further merge request of the commit would stand in the very pipeline that the
// commit's own status is written to: merge requests without pipelines of their own share the branch's. A pipeline has one
// status of a name, so what was read there is the other's, and this report has none of its own.
func (e *Engine) shownThere(r *store.Report, s subject) (shown bool, err error) {
	if r.MR == 0 || r.Sum == store.SumUntouched {
		return false, nil
	}
	defer func() {
		if shown {
			r.RemoteState, r.RemoteText = "", ""
		}
	}()
	err = e.st.View(func(tx *store.Tx) error {
		own, ok, err := tx.Report(store.StatusTarget(r.Project, r.SHA, r.Name))
		if err != nil || !ok || own.PipelineID == 0 {
			return err
		}
		if r.PipelineID != 0 {
			shown = own.PipelineID == r.PipelineID && own.RemoteSHA == r.RemoteSHA
			return nil
		}
		if r.RemoteState != "" {
			return nil
		}
		run, err := tx.Run(own.Run) // without a pipeline GitLab goes by the branch
		shown = !own.OwnPipeline && run.Branch == s.run.Branch
		return err
	})
	return shown, err
}

func (e *Engine) postStatus(ctx context.Context, c *gitlab.Client, r *store.Report, s subject) error {
	shown := r.RemoteText
	if r.Stack != "" && r.RemoteRun != s.run.ID && final(r.RemoteState) {
		shown = "" // the same words of an older run: the link has to lead to this one
	}
	list := posts(r.RemoteState, shown, s.want, s.between, s.must)
	if len(list) == 0 {
		return nil
	}
	if err := e.announce(r); err != nil {
		return err
	}
	for _, p := range list {
		if err := e.post(ctx, c, r, s, p); err != nil {
			return unanswered(r, err)
		}
	}
	r.Unsure = false
	return nil
}

// post writes one status, into the pipeline it stood in before.
func (e *Engine) post(ctx context.Context, c *gitlab.Client, r *store.Report, s subject, p post) error {
	set := func() (gitlab.StatusAnswer, error) {
		return c.SetStatus(ctx, r.Project, cmp.Or(r.RemoteSHA, r.SHA), gitlab.Status{
			State: string(p.state), Name: r.Name, Ref: statusRef(r, s.run), TargetURL: s.url, Description: p.text, PipelineID: r.PipelineID,
		})
	}
	answer, err := set()
	if gitlab.KindOf(err) == gitlab.KindNotFound && r.PipelineID != 0 {
		stood := *r
		r.PipelineID, r.RemoteSHA = 0, "" // the pipeline was deleted or archived: let GitLab choose another
		if answer, err = set(); gitlab.KindOf(err) == gitlab.KindNotFound {
			r.PipelineID, r.RemoteSHA = stood.PipelineID, stood.RemoteSHA // or the whole project is out of our sight
		}
	}
	if err == nil {
		r.RemoteState, r.RemoteText, r.RemoteRun = string(p.state), p.text, s.run.ID
		r.PipelineID = cmp.Or(answer.PipelineID, r.PipelineID)
	}
	return err
}

// statusRef names the ref GitLab looks for a pipeline on. With a pipeline's id none is needed; a fork's commit is
// only known under the merge request's own ref (GOTCHAS 12).
func statusRef(r *store.Report, run runs.Run) string {
	switch {
	case r.PipelineID != 0:
		return ""
	case run.ForkOf() != 0:
		return fmt.Sprintf("refs/merge-requests/%d/head", run.MR.IID)
	default:
		return run.Branch
	}
}

// A place is the pipeline a status stands in.
type place struct {
	pipeline int64
	sha      string // of a merged result, "" for the commit's own
	own      bool   // the merge request's own pipeline, which decides the merge; none better will come
}

// choosePipeline looks for the merge request's pipeline, so that the status stands where the merge is decided (GOTCHAS
// 7, 9): before the first status, when the merge request becomes known, and once more before the end, because GitLab
// makes such a pipeline in the background. Otherwise the pipeline of the first answer is kept to (GOTCHAS 11).
func (e *Engine) choosePipeline(ctx context.Context, c *gitlab.Client, r *store.Report, s subject) error {
	first := r.PipelineID == 0 && r.RemoteState == ""
	known := s.run.MR != nil && r.PipelineMR == s.run.MR.IID
	last := final(string(s.want.state)) && !final(r.RemoteState)
	if s.run.MR == nil || s.run.MR.Fork || known && (r.OwnPipeline || !last) {
		return nil
	}
	to := mergePipeline(ctx, c, r.Project, r.SHA, s.run.MR.IID)
	r.PipelineMR, r.OwnPipeline = s.run.MR.IID, to.own
	switch {
	case to.pipeline == 0 || to.pipeline == r.PipelineID:
		return nil
	case first:
		r.PipelineID, r.RemoteSHA = to.pipeline, to.sha
		return nil
	case !to.own:
		return nil
	}
	return e.movePipeline(ctx, c, r, s, to)
}

// movePipeline ends the record where it stood, so that nothing hangs there, and begins anew in another pipeline.
func (e *Engine) movePipeline(ctx context.Context, c *gitlab.Client, r *store.Report, s subject, to place) error {
	if r.PipelineID != 0 && r.RemoteState != "" && !final(r.RemoteState) {
		if err := e.announce(r); err != nil {
			return err
		}
		err := e.post(ctx, c, r, s, post{runs.StatusCanceled, "Goes on in the merge request's pipeline"})
		if err != nil && gitlab.KindOf(err) != gitlab.KindTransition {
			return unanswered(r, err)
		}
	}
	r.PipelineID, r.RemoteSHA, r.RemoteState, r.RemoteText = to.pipeline, to.sha, "", ""
	return nil
}

// mergePipeline finds the pipeline of a merge request for a commit; none when GitLab shows none, or that of another
// commit. A merged result's pipeline has a commit of its own, whose second parent is ours (GOTCHAS 8).
func mergePipeline(ctx context.Context, c *gitlab.Client, project int64, sha string, iid int64) place {
	mr, err := c.MergeRequest(ctx, project, iid)
	own := strings.HasPrefix(mr.HeadPipelineRef, "refs/merge-requests/")
	switch {
	case err != nil || mr.HeadPipelineID == 0:
		return place{}
	case mr.HeadPipelineSHA == sha:
		return place{pipeline: mr.HeadPipelineID, own: own}
	case !own || !strings.HasSuffix(mr.HeadPipelineRef, "/merge") || mr.HeadSHA != sha:
		return place{}
	}
	merge, err := c.Commit(ctx, project, mr.HeadPipelineSHA)
	if err != nil || !slices.Contains(merge.ParentIDs, sha) {
		return place{}
	}
	return place{pipeline: mr.HeadPipelineID, sha: mr.HeadPipelineSHA, own: true}
}

// readStatus asks GitLab what it shows, after an answer that never came.
func (e *Engine) readStatus(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	list, err := c.Statuses(ctx, r.Project, cmp.Or(r.RemoteSHA, r.SHA), r.Name)
	if gitlab.KindOf(err) == gitlab.KindNotFound {
		if _, hidden := c.Project(ctx, strconv.FormatInt(r.Project, 10)); hidden != nil {
			return err // the whole project is out of our sight: nothing is known of the commit
		}
		r.Unsure = false // the commit is gone: nothing hangs
		return nil
	}
	if err != nil {
		return err
	}
	r.RemoteState, r.RemoteText, r.Unsure = "", "", false
	newest := int64(0)
	for _, s := range list {
		if s.Name == r.Name && s.ID > newest && (r.PipelineID == 0 || s.PipelineID == r.PipelineID) {
			newest = s.ID
			r.RemoteState, r.RemoteText, r.PipelineID = s.State, s.Description, s.PipelineID
			r.RemoteRun = strings.TrimPrefix(s.TargetURL, e.runURL(""))
		}
	}
	return nil
}
