package sim

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// hookTime is how most hook bodies write a time; nil for none.
func hookTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// change is one entry of "changes" (§W4).
func change(previous, current any) object { return object{"previous": previous, "current": current} }

// hookUser has no e-mail address unless it is public (§W2).
func (s *Server) hookUser(u *User) object {
	return object{"id": u.ID, "name": u.Name, "username": u.Username, "avatar_url": s.avatar(u), "email": "[REDACTED]"}
}

var visibilityLevels = map[string]int{"private": 0, "internal": 10, "public": 20}

func (s *Server) hookProject(p *project) object {
	web, ssh := s.webURL(p), s.sshURL(p)
	return object{
		"id": p.id, "name": title(p.slug()), "description": orNull(p.settings.Description), "web_url": web, "avatar_url": nil,
		"git_ssh_url": ssh, "git_http_url": web + ".git", "namespace": p.namespace.name(),
		"visibility_level": visibilityLevels[p.settings.Visibility], "path_with_namespace": p.path, "default_branch": orNull(p.defaultBranch),
		"ci_config_path": nil, "homepage": web, "url": ssh, "ssh_url": ssh, "http_url": web + ".git",
	}
}

func (s *Server) hookRepository(p *project) object {
	return object{
		"name": title(p.slug()), "url": s.sshURL(p), "description": orNull(p.settings.Description), "homepage": s.webURL(p),
	}
}

func (s *Server) hookCommit(p *project, c *commit) object {
	return object{
		"id": c.sha, "message": c.message, "title": c.title(), "timestamp": c.authored.Format("2006-01-02T15:04:05-07:00"),
		"url": s.commitURL(p, c.sha), "author": object{"name": c.author, "email": c.authorEmail},
	}
}

func (s *Server) pushCommit(p *project, c *commit) any {
	e := s.hookCommit(p, c)
	e["added"], e["modified"], e["removed"] = append([]string{}, c.added...), append([]string{}, c.modified...), append([]string{}, c.removed...)
	return e
}

// maxPushCommits is how many commits a push hook lists; total_commits_count tells the truth (§W3).
const maxPushCommits = 20

func (s *Server) firePush(p *project, u *User, c refChange) error {
	e, err := s.pushEvent(p, u, c)
	if err != nil {
		return err
	}
	s.fire(p, e)
	return nil
}

// pushEvent is the Push Hook of a branch or the Tag Push Hook of a tag.
func (s *Server) pushEvent(p *project, u *User, c refChange) (event, error) {
	branch, isBranch := strings.CutPrefix(c.ref, "refs/heads/")
	commits, err := s.pushedCommits(p, branch, isBranch, c)
	if err != nil {
		return event{}, err
	}
	newest := commits[max(0, len(commits)-maxPushCommits):]
	body := object{
		"object_kind": "push", "event_name": "push", "before": c.before, "after": c.after, "ref": c.ref,
		"ref_protected": isBranch && p.protected(branch), "checkout_sha": orNull(p.repo.resolve(nonZero(c.after))),
		"message": nil, "user_id": u.ID, "user_name": u.Name, "user_username": u.Username, "user_email": nil, "user_avatar": s.avatar(u),
		"project_id": p.id, "project": s.hookProject(p), "commits": renderAll(newest, func(c *commit) any { return s.pushCommit(p, c) }),
		"total_commits_count": len(commits), "push_options": object{}, "repository": s.pushRepository(p),
	}
	if isBranch {
		return event{flag: "push_events", name: "Push Hook", branch: branch, body: body}, nil
	}
	body["object_kind"], body["event_name"] = "tag_push", "tag_push"
	if text, _ := p.repo.tagMessage(strings.TrimPrefix(c.ref, "refs/tags/")); text != "" {
		body["message"] = text
	}
	return event{flag: "tag_push_events", name: "Tag Push Hook", body: body}, nil
}

func (s *Server) pushRepository(p *project) object {
	e := s.hookRepository(p)
	e["git_http_url"], e["git_ssh_url"] = s.webURL(p)+".git", s.sshURL(p)
	e["visibility_level"] = visibilityLevels[p.settings.Visibility]
	return e
}

// pushedCommits are oldest first: of an update those new to the branch, of a new branch those not on the default branch,
// of a tag the tagged one, of a deletion none (§W3).
func (s *Server) pushedCommits(p *project, branch string, isBranch bool, c refChange) ([]*commit, error) {
	args := []string{"--reverse"}
	switch {
	case isZero(c.after):
		return nil, nil
	case !isBranch:
		args = []string{"-1", c.after}
	case !isZero(c.before):
		args = append(args, c.before+".."+c.after)
	case branch == p.defaultBranch:
		args = append(args, c.after)
	default:
		args = append(args, c.after, "--not", "refs/heads/"+p.defaultBranch)
	}
	return p.repo.log(args...)
}

func (s *Server) labels(mr *mergeRequest) []object {
	all := []object{}
	for _, name := range mr.labels {
		if mr.target.labels[name] == 0 {
			mr.target.labels[name] = s.id("label")
		}
		all = append(all, object{
			"id": mr.target.labels[name], "title": name, "color": "#428BCA", "project_id": mr.target.id,
			"created_at": hookTime(mr.target.created), "updated_at": hookTime(mr.target.created), "template": false, "description": nil,
			"type": "ProjectLabel", "group_id": nil,
		})
	}
	return all
}

// mergeRequestAttributes is the merge request as its own hook and the note hook show it, without an action.
func (s *Server) mergeRequestAttributes(mr *mergeRequest) object {
	status := s.detailedStatus(mr)
	e := object{
		"assignee_id": nil, "author_id": mr.author.ID, "blocking_discussions_resolved": mr.discussionsResolved(),
		"created_at": hookTime(mr.created), "description": mr.description, "draft": mr.draft(), "head_pipeline_id": nil, "id": mr.id,
		"iid": mr.iid, "last_edited_at": hookTime(mr.edited), "last_edited_by_id": nil, "merge_commit_sha": orNull(mr.mergeCommit),
		"merge_error": nil, "merge_params": object{"force_remove_source_branch": "1"}, "merge_status": mr.mergeStatus(),
		"merge_user_id": nil, "merge_when_pipeline_succeeds": false, "milestone_id": nil, "source_branch": mr.sourceBranch,
		"source_project_id": mr.source.id, "state_id": stateIDs[mr.state], "target_branch": mr.targetBranch,
		"target_project_id": mr.target.id, "time_estimate": 0, "title": mr.title, "updated_at": hookTime(mr.updated), "updated_by_id": nil,
		"prepared_at": hookTime(mr.prepared), "assignee_ids": []any{}, "detailed_merge_status": status, "first_contribution": false,
		"human_time_change": nil, "human_time_estimate": nil, "human_total_time_spent": nil, "labels": s.labels(mr),
		"last_commit": s.hookCommit(mr.source, mr.target.commitAt(mr.sha)), "reviewer_ids": []any{}, "source": s.hookProject(mr.source),
		"state": mr.state, "target": s.hookProject(mr.target), "time_change": 0, "total_time_spent": 0, "url": s.mergeRequestURL(mr),
		"work_in_progress": mr.draft(),
	}
	if mr.headPipeline != nil {
		e["head_pipeline_id"] = mr.headPipeline.id
	}
	if mr.editedBy != nil {
		e["last_edited_by_id"], e["updated_by_id"] = mr.editedBy.ID, mr.editedBy.ID
	}
	return e
}

func (s *Server) fireMergeRequest(mr *mergeRequest, u *User, action, oldrev string, changes object) {
	s.fire(mr.target, s.mergeRequestEvent(mr, u, action, oldrev, changes))
}

// mergeRequestEvent is the Merge Request Hook of the target project. Only new code has an oldrev, and test deliveries
// have no action (§W4).
func (s *Server) mergeRequestEvent(mr *mergeRequest, u *User, action, oldrev string, changes object) event {
	attributes := s.mergeRequestAttributes(mr)
	if action != "" {
		attributes["action"] = action
	}
	if oldrev != "" {
		attributes["oldrev"] = oldrev
	}
	return event{flag: "merge_requests_events", name: "Merge Request Hook", body: object{
		"object_kind": "merge_request", "event_type": "merge_request", "user": s.hookUser(u), "project": s.hookProject(mr.target),
		"object_attributes": attributes, "labels": s.labels(mr), "changes": changes, "repository": s.hookRepository(mr.target),
	}}
}

// fireNote sends the Note Hook, for internal notes the Confidential Note Hook (§W5).
func (s *Server) fireNote(mr *mergeRequest, n *note, action string) {
	e := event{flag: "note_events", name: "Note Hook"}
	kind, by := "note", n.author
	if n.internal {
		e, kind = event{flag: "confidential_note_events", name: "Confidential Note Hook"}, "confidential_note"
	}
	attributes := object{
		"attachment": nil, "author_id": n.author.ID, "change_position": nil, "commit_id": nil, "created_at": hookTime(n.created),
		"discussion_id": n.discussion, "id": n.id, "internal": n.internal, "line_code": nil, "note": n.body, "noteable_id": mr.id,
		"noteable_type": "MergeRequest", "original_position": nil, "position": nil, "project_id": mr.target.id, "resolved_at": nil,
		"resolved_by_id": nil, "resolved_by_push": nil, "st_diff": nil, "system": n.system, "type": orNull(n.kind),
		"updated_at": hookTime(n.updated), "updated_by_id": nil, "description": n.body, "url": s.noteURL(mr, n), "action": action,
	}
	if n.updatedBy != nil {
		attributes["updated_by_id"], by = n.updatedBy.ID, n.updatedBy
	}
	e.body = object{
		"object_kind": "note", "event_type": kind, "user": s.hookUser(by), "project_id": mr.target.id, "project": s.hookProject(mr.target),
		"object_attributes": attributes, "repository": s.hookRepository(mr.target), "merge_request": s.mergeRequestAttributes(mr),
	}
	s.fire(mr.target, e)
}

// firePipeline sends the Pipeline Hook, which our own statuses set off too (§W6).
func (s *Server) firePipeline(p *project, pl *pipeline) {
	started, finished := pl.times()
	var duration any
	if !finished.IsZero() && !started.IsZero() {
		duration = int(finished.Sub(started).Seconds())
	}
	builds := renderAll(pl.latest(), func(j *job) any {
		return object{
			"id": j.id, "stage": "external", "name": j.name, "status": j.state, "created_at": hookTime(j.created),
			"started_at": hookTime(j.started), "finished_at": hookTime(j.finished), "duration": nil, "queued_duration": nil,
			"failure_reason": nil, "when": nil, "manual": nil, "allow_failure": false, "user": s.hookUser(j.user), "runner": nil,
			"artifacts_file": object{"filename": nil, "size": nil}, "environment": nil,
		}
	})
	s.fire(p, event{flag: "pipeline_events", name: "Pipeline Hook", body: object{
		"object_kind": "pipeline", "merge_request": nil, "user": s.hookUser(pl.user), "project": s.hookProject(p),
		"commit": s.hookCommit(p, p.commitAt(pl.sha)), "builds": builds,
		"object_attributes": object{
			"id": pl.id, "iid": pl.iid, "name": nil, "ref": pl.ref, "tag": false, "sha": pl.sha, "before_sha": strings.Repeat("0", len(pl.sha)), "source": pl.source,
			"status": pl.status(), "detailed_status": pl.status(), "stages": []string{"external"}, "created_at": hookTime(pl.created),
			"finished_at": hookTime(finished), "duration": duration, "queued_duration": nil, "variables": []any{},
			"url": s.pipelineURL(p, pl),
		},
	}})
}

// fireDeployment sends the Deployment Hook for running, success, failed and canceled (§8).
func (s *Server) fireDeployment(p *project, d *deployment) {
	s.fire(p, event{flag: "deployment_events", name: "Deployment Hook", body: object{
		"object_kind": "deployment", "status": d.status, "status_changed_at": d.updated.Format("2006-01-02 15:04:05 -0700"),
		"deployment_id": d.id, "deployable_id": nil, "deployable_url": nil, "environment": d.environment.name,
		"environment_tier": d.environment.tier, "environment_slug": d.environment.slug,
		"environment_external_url": orNull(d.environment.externalURL), "project": s.hookProject(p), "short_sha": d.sha[:8],
		"user": s.hookUser(d.user), "user_url": s.url() + "/" + d.user.Username, "commit_url": s.commitURL(p, d.sha),
		"commit_title": p.commitAt(d.sha).title(), "ref": d.ref,
	}})
}

// sortedKeys are the keys of all maps, once each, in order.
func sortedKeys[V any](maps ...map[string]V) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
