package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (w *world) mr(iid int64) MergeRequest {
	w.t.Helper()
	mr, err := w.s.MergeRequest(w.project.ID, iid)
	w.check(err)
	return mr
}

func TestMergeRequestIsPreparedAfterAMoment(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.PrepareDelay = time.Hour })
	w.push("feature", map[string]string{"a.tf": "1\n"})
	iid, err := w.s.OpenMergeRequest(w.project.ID, "feature", "main", "T", 0)
	w.check(err)
	got := w.want(200, "developer", "GET", w.in("/merge_requests/%d", iid), nil).object()
	if got["detailed_merge_status"] != "preparing" || got["diff_refs"] != nil || got["changes_count"] != nil || got["prepared_at"] != nil {
		t.Errorf("%v %v %v %v", got["detailed_merge_status"], got["diff_refs"], got["changes_count"], got["prepared_at"])
	}
	w.check(w.s.Close())
	got = w.want(200, "developer", "GET", w.in("/merge_requests/%d", iid), nil).object()
	if got["detailed_merge_status"] != "mergeable" || got["changes_count"] != "1" || got["diff_refs"] == nil {
		t.Errorf("prepared: %v %v %v", got["detailed_merge_status"], got["changes_count"], got["diff_refs"])
	}
}

func TestMergeRequestLife(t *testing.T) {
	w := newWorld(t)
	p := w.project.ID
	w.push("feature", map[string]string{"stacks/dns/main.tf": "feature\n"})
	iid := w.openMR("feature")
	draft := "Draft: x"
	w.check(w.s.UpdateMergeRequest(p, iid, 0, MergeRequestEdit{Title: &draft}))
	if s := w.mr(iid).DetailedMergeStatus; s != "draft_status" {
		t.Errorf("a draft is %s", s)
	}
	if _, err := w.s.MergeMergeRequest(p, iid, 0); err == nil || !strings.Contains(err.Error(), "draft_status") {
		t.Errorf("merging a draft: %v", err)
	}
	w.want(405, "maintainer", "PUT", w.in("/merge_requests/%d/merge", iid), nil)
	w.want(401, "developer", "PUT", w.in("/merge_requests/%d/merge", iid), nil)
	w.want(200, "developer", "PUT", w.in("/merge_requests/%d", iid), map[string]any{"title": "Ready", "labels": "a,b"})
	if mr := w.mr(iid); mr.Title != "Ready" || !cmp.Equal(mr.Labels, []string{"a", "b"}) {
		t.Errorf("edited: %+v", mr)
	}
	got := w.want(409, "maintainer", "PUT", w.in("/merge_requests/%d/merge", iid), map[string]any{"sha": strings.Repeat("0", 40)})
	if want := "SHA does not match HEAD of source branch: " + w.mr(iid).SHA; got.object()["message"] != want {
		t.Errorf("message %v, want %s", got.object()["message"], want)
	}
	w.push("main", map[string]string{"stacks/dns/main.tf": "main\n"}) // now they conflict
	if s := w.mr(iid).DetailedMergeStatus; s != "conflict" {
		t.Errorf("conflicting: %s", s)
	}
	w.want(400, "developer", "GET", w.in("/merge_requests/%d/merge_ref", iid), nil)
	w.check(w.s.ForcePush(p, "feature", "main"))
	w.push("feature", map[string]string{"stacks/dns/main.tf": "again\n"})
	before := w.s.Head(p, "main")
	w.check(w.s.Configure(p, func(s *Settings) { s.RemoveSourceBranchAfter = true }))
	got = w.want(200, "maintainer", "PUT", w.in("/merge_requests/%d/merge", iid), map[string]any{"sha": w.mr(iid).SHA})
	merge := got.object()["merge_commit_sha"]
	if merge != w.s.Head(p, "main") || got.object()["state"] != "merged" {
		t.Errorf("merged: %v, main is %s", merge, w.s.Head(p, "main"))
	}
	c := w.want(200, "developer", "GET", w.in("/repository/commits/%s", merge), nil).object()
	if diff := cmp.Diff([]any{before, w.mr(iid).SHA}, c["parent_ids"]); diff != "" {
		t.Error(diff)
	}
	want := "Merge branch 'feature' into 'main'\n\nReady\n\nSee merge request acme/platform/infra-stack!1"
	if strings.TrimSpace(c["message"].(string)) != want {
		t.Errorf("message %q", c["message"])
	}
	if head := w.s.Head(p, "feature"); head != "" {
		t.Errorf("the source branch is still there: %s", head)
	}
	list := w.want(200, "developer", "GET", w.in("/repository/commits/%s/merge_requests", merge), nil).list()
	if len(list) != 1 {
		t.Errorf("%d merge requests of the merge commit", len(list))
	}
	w.want(405, "maintainer", "PUT", w.in("/merge_requests/%d/merge", iid), nil)
}

func TestMergeRequestRefusals(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"})
	open := func(source, target string) answer {
		return w.as("developer", "POST", w.in("/merge_requests"), map[string]any{"source_branch": source, "target_branch": target, "title": "T"})
	}
	if got := open("feature", "main"); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.raw)
	}
	for _, c := range []struct {
		source, target string
		status         int
	}{{"feature", "main", 409}, {"none", "main", 400}, {"feature", "none", 400}, {"main", "main", 422}} {
		if got := open(c.source, c.target); got.status != c.status {
			t.Errorf("%s into %s: %d %s, want %d", c.source, c.target, got.status, got.raw, c.status)
		}
	}
	w.check(w.s.DeleteBranch(w.project.ID, "feature"))
	if mr := w.mr(1); mr.State != "closed" {
		t.Errorf("the merge request is %s without its branch, want closed", mr.State)
	}
	if err := w.s.ReopenMergeRequest(w.project.ID, 1, 0); err == nil {
		t.Error("reopened without a branch")
	}
}

func TestSquashMerge(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"}, Then(Commit{Message: "second", Files: map[string]string{"b.tf": "2\n"}}))
	iid := w.openMR("feature")
	got := w.want(200, "maintainer", "PUT", w.in("/merge_requests/%d/merge", iid), map[string]any{"squash": true}).object()
	squash, _ := got["squash_commit_sha"].(string)
	parents := w.want(200, "developer", "GET", w.in("/repository/commits/%s", got["merge_commit_sha"]), nil).object()["parent_ids"].([]any)
	if squash == "" || parents[1] != squash {
		t.Errorf("squash commit %q, parents %v", squash, parents)
	}
}

func TestForkMergeRequest(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver("push_events", "merge_requests_events")
	fork := mustFork(t, w, "jane/infra-stack")
	sha, err := w.s.Push(fork.ID, "patch", "Patch", map[string]string{"a.tf": "1\n"})
	w.check(err)
	iid, err := w.s.OpenForkMergeRequest(w.project.ID, fork.ID, "patch", "main", "From a fork", 0)
	w.check(err)
	body := rc.next(t, "Merge Request Hook").body
	samePayload(t, "merge_request_open_from_fork", body)
	attributes := body["object_attributes"].(map[string]any)
	if attributes["source_project_id"] != float64(fork.ID) || attributes["target_project_id"] != float64(w.project.ID) {
		t.Errorf("projects %v → %v", attributes["source_project_id"], attributes["target_project_id"])
	}
	next, err := w.s.Push(fork.ID, "patch", "More", map[string]string{"a.tf": "2\n"})
	w.check(err)
	attributes = rc.next(t, "Merge Request Hook").body["object_attributes"].(map[string]any)
	if attributes["oldrev"] != sha || attributes["last_commit"].(map[string]any)["id"] != next {
		t.Errorf("oldrev %v, last commit %v", attributes["oldrev"], attributes["last_commit"])
	}
	rc.none(w) // the push hooks are the fork's
	if _, err := w.s.MergeMergeRequest(w.project.ID, iid, 0); err != nil {
		t.Error(err)
	}
}

func TestTargetBranchMovesSilently(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"})
	w.openMR("feature")
	rc := w.receiver("merge_requests_events")
	w.push("main", map[string]string{"b.tf": "1\n"})
	rc.none(w)
}

func TestNotes(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"})
	iid := w.openMR("feature")
	path := w.in("/merge_requests/%d/notes", iid)
	note := w.want(201, "developer", "POST", path, map[string]any{"body": "Plan\n\n```\n/close\n```\n"})
	one := fmt.Sprintf("%s/%d", path, note.id())
	w.want(403, "reporter", "PUT", one, map[string]any{"body": "mine"})
	w.want(400, "developer", "PUT", one, map[string]any{"body": ""})
	w.want(200, "developer", "PUT", one, map[string]any{"body": "Applied"})
	w.want(200, "maintainer", "PUT", one, map[string]any{"body": "Edited by a Maintainer"})
	got := w.s.Notes(w.project.ID, iid)
	if len(got) != 1 || got[0].Edits != 2 || got[0].Body != "Edited by a Maintainer" || len(got[0].QuickActions) != 0 {
		t.Errorf("notes %+v", got)
	}
	w.want(202, "developer", "POST", path, map[string]any{"body": "/label ~infra\n/close"})
	if mr := w.mr(iid); mr.State != "closed" || !cmp.Equal(mr.Labels, []string{"infra"}) {
		t.Errorf("after quick actions: %s %v", mr.State, mr.Labels)
	}
	if _, err := w.s.AddNote(w.project.ID, iid, 0, "text\n/reopen\n/title New title\n/draft"); err != nil {
		t.Error(err)
	}
	if mr := w.mr(iid); mr.State != "opened" || mr.Title != "Draft: New title" {
		t.Errorf("after quick actions: %s %q", mr.State, mr.Title)
	}
	if all := w.want(200, "developer", "GET", path+"?activity_filter=only_comments&sort=asc", nil).list(); len(all) != 2 {
		t.Errorf("%d comments, want 2", len(all))
	}
	if all := w.want(200, "developer", "GET", path+"?activity_filter=only_activity", nil).list(); len(all) != 2 {
		t.Errorf("%d system notes, want closed and reopened", len(all))
	}
	w.want(204, "developer", "DELETE", one, nil)
	w.want(404, "developer", "GET", one, nil)
}

func TestNoteLimitPerUser(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now } })
	w.push("feature", map[string]string{"a.tf": "1\n"})
	path := w.in("/merge_requests/%d/notes", w.openMR("feature"))
	for range notesPerMinute {
		w.want(201, "developer", "POST", path, map[string]any{"body": "x"})
	}
	w.want(429, "developer", "POST", path, map[string]any{"body": "x"})
	w.want(201, "maintainer", "POST", path, map[string]any{"body": "x"})
}

func TestDiscussionsBlockMerging(t *testing.T) {
	w := newWorld(t)
	w.check(w.s.Configure(w.project.ID, func(s *Settings) { s.DiscussionsMustResolve = true }))
	w.push("feature", map[string]string{"a.tf": "1\n"})
	iid := w.openMR("feature")
	path := w.in("/merge_requests/%d/discussions", iid)
	d := w.want(201, "maintainer", "POST", path, map[string]any{"body": "Wait"}).object()["id"].(string)
	if s := w.mr(iid).DetailedMergeStatus; s != "discussions_not_resolved" {
		t.Errorf("merge status %s", s)
	}
	w.want(201, "developer", "POST", path+"/"+d+"/notes", map[string]any{"body": "Why"})
	w.want(403, "reporter", "PUT", path+"/"+d+"?resolved=true", nil)
	w.want(200, "developer", "PUT", path+"/"+d+"?resolved=true", nil)
	if s := w.mr(iid).DetailedMergeStatus; s != "mergeable" {
		t.Errorf("merge status %s", s)
	}
	plain := w.want(201, "developer", "POST", w.in("/merge_requests/%d/notes", iid), map[string]any{"body": "plain"})
	var id string
	for _, n := range w.s.Notes(w.project.ID, iid) {
		if n.ID == plain.id() {
			id = n.Discussion
		}
	}
	w.want(403, "maintainer", "PUT", path+"/"+id+"?resolved=true", nil)
}

func TestApprovals(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"})
	mr := w.in("/merge_requests/%d", w.openMR("feature"))
	w.want(409, "developer", "POST", mr+"/approve", map[string]any{"sha": strings.Repeat("0", 40)})
	w.want(201, "developer", "POST", mr+"/approve", nil)
	w.want(401, "developer", "POST", mr+"/approve", nil)
	got := w.want(200, "maintainer", "GET", mr+"/approvals", nil).object()
	if got["approved"] != true || got["user_has_approved"] != false || got["user_can_approve"] != true {
		t.Errorf("approvals as another: %v", got)
	}
	w.want(201, "developer", "POST", mr+"/unapprove", nil)
}

func TestDeployments(t *testing.T) {
	w := newWorld(t)
	sha := w.s.Head(w.project.ID, "main")
	states := []string{"running", "success", "failed", "canceled"}
	for _, from := range states {
		for _, to := range states {
			body := map[string]any{"environment": "prod", "sha": sha, "ref": "main", "tag": false, "status": from}
			d := w.want(201, "developer", "POST", w.in("/deployments"), body)
			want := http.StatusOK
			if to == "running" || to == from {
				want = http.StatusBadRequest
			}
			got := w.as("developer", "PUT", w.in("/deployments/%d", d.id()), map[string]any{"status": to})
			if got.status != want {
				t.Errorf("%s → %s: %d %s, want %d", from, to, got.status, got.raw, want)
			}
		}
	}
	env := w.s.Environments(w.project.ID)[0]
	if env.Tier != "production" || env.State != "available" {
		t.Errorf("environment %v", env)
	}
	path := w.in("/environments/%d", env.ID)
	w.want(200, "developer", "POST", path+"/stop", nil)
	body := map[string]any{"environment": "prod", "sha": sha, "ref": "main", "tag": false, "status": "success"}
	last := w.want(201, "developer", "POST", w.in("/deployments"), body)
	if s := w.s.Environments(w.project.ID)[0].State; s != "available" {
		t.Errorf("a deployment left the environment %s", s)
	}
	got := w.want(200, "developer", "GET", path, nil).object()["last_deployment"].(map[string]any)
	if got["id"] != float64(last.id()) {
		t.Errorf("last deployment %v, want %d", got["id"], last.id())
	}
	w.want(400, "developer", "DELETE", w.in("/deployments/%d", last.id()), nil)
	if n := len(w.want(200, "developer", "GET", w.in("/deployments?environment=prod&status=canceled"), nil).list()); n == 0 {
		t.Error("no canceled deployment is listed")
	}
	all := w.s.Deployments(w.project.ID)
	if diff := cmp.Diff([]string{"running", "success"}, []string{all[1].History[0].Status, all[1].History[1].Status}); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentTiersAndSlugs(t *testing.T) {
	for name, want := range map[string]string{
		"production/net": "production", "live": "production", "staging": "staging", "qa-2": "testing", "review/x": "development", "network": "other",
	} {
		if got := guessTier(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
		slug := slugOf(name, 51)
		if len(slug) > 24 || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(slug) {
			t.Errorf("slug %q of %s", slug, name)
		}
	}
	if a, b := slugOf("a very long environment name/x", 1), slugOf("a very long environment name/x", 2); a == b || len(a) > 24 {
		t.Errorf("slugs %q and %q", a, b)
	}
}

func TestListCommitsOfMergeRequest(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"}, Then(Commit{Message: "second", Files: map[string]string{"b.tf": "2\n"}}))
	iid := w.openMR("feature")
	if n := len(w.want(200, "developer", "GET", w.in("/merge_requests/%d/commits", iid), nil).list()); n != 2 {
		t.Errorf("%d commits, want 2", n)
	}
	if n := len(w.want(200, "developer", "GET", w.in("/merge_requests/%d/changes", iid), nil).object()["changes"].([]any)); n != 2 {
		t.Errorf("%d changes, want 2", n)
	}
	if n := len(w.want(200, "developer", "GET", w.in("/merge_requests?state=opened&source_branch=feature"), nil).list()); n != 1 {
		t.Errorf("%d merge requests of the branch, want 1", n)
	}
}
