package sim

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (s *Server) mergeRequestURL(mr *mergeRequest) string {
	return fmt.Sprintf("%s/-/merge_requests/%d", s.webURL(mr.target), mr.iid)
}

// detailedStatus names one reason of several; GitLab's order is not documented, this one is the measured part of it (§5).
func (s *Server) detailedStatus(mr *mergeRequest) string {
	set := mr.target.settings
	switch {
	case !mr.open():
		return "not_open"
	case mr.prepared.IsZero():
		return "preparing"
	case mr.draft():
		return "draft_status"
	case mr.conflicts:
		return "conflict"
	case set.DiscussionsMustResolve && !mr.discussionsResolved():
		return "discussions_not_resolved"
	case set.PipelineMustSucceed:
		return mr.pipelineVerdict()
	default:
		return "mergeable"
	}
}

// pipelineVerdict judges the head pipeline if it is of the present head (§4, Effect on MRs).
func (mr *mergeRequest) pipelineVerdict() string {
	if mr.headPipeline == nil || mr.headPipeline.sha != mr.sha {
		return "ci_must_pass"
	}
	switch mr.headPipeline.status() {
	case "success":
		return "mergeable"
	case "pending", "running", "created":
		return "ci_still_running"
	default:
		return "ci_must_pass"
	}
}

// mergeStatus is the deprecated one: about conflicts only (GOTCHAS 21).
func (mr *mergeRequest) mergeStatus() string {
	switch {
	case mr.prepared.IsZero():
		return "preparing"
	case mr.conflicts:
		return "cannot_be_merged"
	default:
		return "can_be_merged"
	}
}

// mergeRequestItem is the entity of lists: without head_pipeline, diff_refs and changes_count (§5).
func (s *Server) mergeRequestItem(mr *mergeRequest) object {
	e := object{
		"id": mr.id, "iid": mr.iid, "project_id": mr.target.id, "title": mr.title, "description": mr.description, "state": mr.state,
		"created_at": isoTime(mr.created), "updated_at": isoTime(mr.updated), "merged_by": nil, "merge_user": nil, "merged_at": nil,
		"closed_by": nil, "closed_at": nil, "target_branch": mr.targetBranch, "source_branch": mr.sourceBranch,
		"user_notes_count": mr.userNotes(), "upvotes": 0, "downvotes": 0, "author": s.basics(mr.author), "assignees": []any{},
		"assignee": nil, "reviewers": []any{}, "source_project_id": mr.source.id, "target_project_id": mr.target.id,
		"labels": append([]string{}, mr.labels...), "draft": mr.draft(), "imported": false, "imported_from": "none",
		"work_in_progress": mr.draft(), "milestone": nil, "merge_when_pipeline_succeeds": false, "merge_status": mr.mergeStatus(),
		"detailed_merge_status": s.detailedStatus(mr), "merge_after": nil, "sha": mr.sha, "merge_commit_sha": orNull(mr.mergeCommit),
		"squash_commit_sha": orNull(mr.squashCommit), "discussion_locked": nil, "should_remove_source_branch": nil,
		"force_remove_source_branch": mr.target.settings.RemoveSourceBranchAfter, "prepared_at": isoTime(mr.prepared),
		"reference": fmt.Sprintf("!%d", mr.iid), "web_url": s.mergeRequestURL(mr), "squash": false, "squash_on_merge": false,
		"references": object{
			"short": fmt.Sprintf("!%d", mr.iid), "relative": fmt.Sprintf("!%d", mr.iid), "full": fmt.Sprintf("%s!%d", mr.target.path, mr.iid),
		},
		"time_stats":             object{"time_estimate": 0, "total_time_spent": 0, "human_time_estimate": nil, "human_total_time_spent": nil},
		"task_completion_status": object{"count": 0, "completed_count": 0}, "has_conflicts": mr.conflicts,
		"blocking_discussions_resolved": mr.discussionsResolved(),
	}
	switch mr.state {
	case "merged":
		e["merged_by"], e["merge_user"], e["merged_at"] = s.basics(mr.endedBy), s.basics(mr.endedBy), isoTime(mr.ended)
	case "closed":
		e["closed_by"], e["closed_at"] = s.basics(mr.endedBy), isoTime(mr.ended)
	}
	return e
}

// mergeRequestEntity is the entity of one; diff_refs and changes_count (a text) are null while it is prepared.
func (c *call) mergeRequestEntity(mr *mergeRequest) object {
	e := c.mergeRequestItem(mr)
	maps.Copy(e, (object{
		"subscribed": false, "changes_count": nil, "latest_build_started_at": nil, "latest_build_finished_at": nil,
		"first_deployed_to_production_at": nil, "pipeline": nil, "head_pipeline": nil, "diff_refs": nil, "merge_error": nil,
		"first_contribution": false, "user": object{"can_merge": mr.target.mayPush(c.user, mr.targetBranch)},
	}))
	if !mr.prepared.IsZero() {
		e["changes_count"] = strconv.Itoa(mr.files)
		e["diff_refs"] = object{"base_sha": mr.base, "head_sha": mr.sha, "start_sha": mr.start}
	}
	if pl := mr.headPipeline; pl != nil {
		started, finished := pl.times()
		e["pipeline"], e["head_pipeline"] = c.pipelineBasics(mr.source, pl), c.pipelineEntity(mr.source, pl)
		e["latest_build_started_at"], e["latest_build_finished_at"] = isoTime(started), isoTime(finished)
	}
	return e
}

func (c *call) wantedMergeRequest() (*mergeRequest, error) {
	iid, _ := strconv.ParseInt(c.segment["iid"], 10, 64) // 0 is none
	mr := c.project.mergeRequest(iid)
	if mr == nil {
		return nil, noRecord()
	}
	return mr, nil
}

func (c *call) listMergeRequests() error {
	var found []*mergeRequest
	for _, mr := range c.project.mergeRequests {
		if c.mergeRequestWanted(mr) {
			found = append(found, mr)
		}
	}
	slices.SortStableFunc(found, func(a, b *mergeRequest) int {
		order := cmp.Compare(a.id, b.id)
		if c.in.text("order_by") == "updated_at" {
			order = cmp.Or(a.updated.Compare(b.updated), order)
		}
		if c.in.text("sort") != "asc" {
			order = -order
		}
		return order
	})
	return page(c, found, func(mr *mergeRequest) any { return c.mergeRequestItem(mr) })
}

func (c *call) mergeRequestWanted(mr *mergeRequest) bool {
	if state := c.in.textOr("state", "all"); state != "all" && state != mr.state {
		return false
	}
	for name, value := range map[string]string{
		"source_branch": mr.sourceBranch, "target_branch": mr.targetBranch, "author_username": mr.author.Username,
	} {
		if c.in.has(name) && c.in.text(name) != value {
			return false
		}
	}
	if iids := c.in.list("iids"); len(iids) > 0 && !slices.Contains(iids, strconv.FormatInt(mr.iid, 10)) {
		return false
	}
	for _, label := range c.in.list("labels") {
		if !slices.Contains(mr.labels, label) {
			return false
		}
	}
	text := strings.ToLower(mr.title + "\n" + mr.description)
	return strings.Contains(text, strings.ToLower(c.in.text("search")))
}

func (c *call) getMergeRequest() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	e := c.mergeRequestEntity(mr)
	if c.in.flag("include_diverged_commits_count") {
		e["diverged_commits_count"] = mr.target.repo.behind(mr.sha, mr.targetBranch)
	}
	return c.answer(http.StatusOK, e)
}

// createMergeRequest opens one as the caller, from the same project.
func (c *call) createMergeRequest() error {
	mr, err := c.openMergeRequest(c.project, c.project, c.in.text("source_branch"), c.in.text("target_branch"),
		c.in.text("title"), c.in.text("description"), c.user)
	if err != nil {
		return err
	}
	return c.answer(http.StatusCreated, c.mergeRequestEntity(mr))
}

func (c *call) editMergeRequest() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	edit := MergeRequestEdit{}
	for name, field := range map[string]**string{"title": &edit.Title, "description": &edit.Description, "target_branch": &edit.TargetBranch} {
		if c.in.has(name) {
			text := c.in.text(name)
			*field = &text
		}
	}
	if c.in.has("labels") {
		edit.Labels = append([]string{}, c.in.list("labels")...)
	}
	if edit.Title != nil || edit.Description != nil || edit.TargetBranch != nil || edit.Labels != nil {
		c.edit(mr, c.user, edit)
	}
	switch {
	case c.in.text("state_event") == "close" && mr.open():
		err = c.closeMergeRequest(mr, c.user)
	case c.in.text("state_event") == "reopen" && mr.state == "closed":
		err = c.reopenMergeRequest(mr, c.user)
	}
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.mergeRequestEntity(mr))
}

// acceptMergeRequest refuses in GitLab's order: 401 for missing rights (the odd one), 409 for a moved head, 405 without a reason (§5).
func (c *call) acceptMergeRequest() error {
	mr, err := c.wantedMergeRequest()
	switch {
	case err != nil:
		return err
	case !c.project.mayPush(c.user, mr.targetBranch):
		return unauthorized()
	case c.in.has("sha") && c.in.text("sha") != mr.sha:
		return message(http.StatusConflict, "SHA does not match HEAD of source branch: "+mr.sha)
	case c.detailedStatus(mr) != "mergeable":
		return message(http.StatusMethodNotAllowed, "405 Method Not Allowed")
	}
	if err := c.merge(mr, c.user, c.in.text("merge_commit_message"), c.in.flag("squash")); err != nil {
		return err
	}
	if c.in.flag("should_remove_source_branch") && mr.source.repo.ref("refs/heads/"+mr.sourceBranch) != "" {
		if err := c.removeSource(mr, c.user); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, c.mergeRequestEntity(mr))
}

// getMergeRef is the commit of refs/merge-requests/<iid>/merge: head merged into the target as it is now.
func (c *call) getMergeRef() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	if sha := c.project.repo.ref(mr.ref("merge")); sha != "" && mr.open() {
		return c.answer(http.StatusOK, object{"commit_id": sha})
	}
	return message(http.StatusBadRequest, "Merge request is not mergeable")
}

func (c *call) diffs(mr *mergeRequest) ([]fileDiff, error) {
	if mr.base == "" {
		return nil, nil
	}
	return c.project.repo.diff(mr.base, mr.sha)
}

func (c *call) listDiffs() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	diffs, err := c.diffs(mr)
	if err != nil {
		return err
	}
	return page(c, diffs, fileDiff.entity)
}

func (c *call) getChanges() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	diffs, err := c.diffs(mr)
	if err != nil {
		return err
	}
	e := c.mergeRequestEntity(mr)
	e["changes"], e["overflow"] = renderAll(diffs, fileDiff.entity), false
	return c.answer(http.StatusOK, e)
}

func (c *call) listVersions() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	newest := slices.Clone(mr.versions)
	slices.Reverse(newest)
	return page(c, newest, func(v version) any {
		return object{
			"id": v.id, "head_commit_sha": v.head, "base_commit_sha": v.base, "start_commit_sha": v.start, "created_at": isoTime(v.at),
			"merge_request_id": mr.id, "state": "collected", "real_size": strconv.Itoa(v.files), "patch_id_sha": v.head,
		}
	})
}

// listMergeRequestPipelines has those of the source project for the branch or the merge request's ref, newest first.
func (c *call) listMergeRequestPipelines() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	var found []*pipeline
	for _, pl := range slices.Backward(mr.source.pipelines) {
		if pl.ref == mr.sourceBranch || pl.ref == mr.ref("head") {
			found = append(found, pl)
		}
	}
	return page(c, found, func(pl *pipeline) any { return c.pipelineBasics(mr.source, pl) })
}

func (c *call) listMergeRequestCommits() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	if mr.base == "" {
		return c.answer(http.StatusOK, []any{})
	}
	commits, err := c.project.repo.log(mr.base + ".." + mr.sha)
	if err != nil {
		return err
	}
	return page(c, commits, c.commitItem)
}

// listCommitMergeRequests finds those that brought the commit, the merge commit itself included (§3).
func (c *call) listCommitMergeRequests() error {
	at, err := c.wantedCommit()
	if err != nil {
		return err
	}
	var found []*mergeRequest
	for _, mr := range slices.Backward(c.project.mergeRequests) {
		if state := c.in.textOr("state", "all"); state != "all" && state != mr.state {
			continue
		}
		brought := mr.mergeCommit == at.sha || mr.squashCommit == at.sha ||
			mr.base != "" && c.project.repo.ancestor(at.sha, mr.sha) && !c.project.repo.ancestor(at.sha, mr.base)
		if brought {
			found = append(found, mr)
		}
	}
	return page(c, found, func(mr *mergeRequest) any { return c.mergeRequestItem(mr) })
}

// getApprovals has the four keys of the Community Edition; the first two are about the caller (§5).
func (c *call) getApprovals() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.approvals(mr))
}

func (c *call) approvals(mr *mergeRequest) object {
	approved := mr.approvedBy(c.user)
	by := renderAll(mr.approvals, func(a approval) any {
		return object{"user": c.basics(a.user), "approved_at": isoTime(a.at)}
	})
	return object{
		"user_has_approved": approved, "user_can_approve": !approved && c.project.role(c.user) >= Developer,
		"approved": len(mr.approvals) > 0, "approved_by": by,
	}
}

func (mr *mergeRequest) approvedBy(u *User) bool {
	return slices.ContainsFunc(mr.approvals, func(a approval) bool { return a.user == u })
}

// ApproveMergeRequest approves as a person. A second time is refused.
func (s *Server) ApproveMergeRequest(project, iid, user int64) error {
	return s.withMergeRequest(project, iid, user, s.approveMergeRequest)
}

func (s *Server) approveMergeRequest(mr *mergeRequest, u *User) error {
	if mr.approvedBy(u) || !mr.open() {
		return unauthorized()
	}
	mr.approvals = append(mr.approvals, approval{user: u, at: s.now()})
	s.fireMergeRequest(mr, u, "approved", "", s.touch(mr))
	return nil
}

func (c *call) approve() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	if c.in.has("sha") && c.in.text("sha") != mr.sha {
		return message(http.StatusConflict, "SHA does not match HEAD of source branch: "+mr.sha)
	}
	if err := c.approveMergeRequest(mr, c.user); err != nil {
		return err
	}
	return c.answer(http.StatusCreated, c.approvals(mr))
}

func (c *call) unapprove() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	if !mr.approvedBy(c.user) {
		return noRecord()
	}
	mr.approvals = slices.DeleteFunc(mr.approvals, func(a approval) bool { return a.user == c.user })
	c.fireMergeRequest(mr, c.user, "unapproved", "", c.touch(mr))
	return c.answer(http.StatusCreated, c.approvals(mr))
}
