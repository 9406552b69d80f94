package sim

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var allStates = []string{"pending", "running", "success", "failed", "canceled", "skipped"}

// refusedEvents is the table of §4: from an existing record to a new state, the event in the refusal.
var refusedEvents = map[string]string{
	"pending→pending": "enqueue", "running→pending": "enqueue", "running→running": "run", "running→skipped": "skip",
}

func (w *world) post(status int, who, sha, state string, more map[string]any) answer {
	w.t.Helper()
	body := map[string]any{"state": state}
	maps.Copy(body, more)
	return w.want(status, who, "POST", w.in("/statuses/%s", sha), body)
}

func TestStatusTransitions(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	for _, from := range append([]string{""}, allStates...) {
		for _, to := range allStates {
			t.Run(from+"→"+to, func(t *testing.T) {
				name := map[string]any{"name": "job " + from + " to " + to, "description": "first"}
				var before int64
				if from != "" {
					before = w.post(http.StatusCreated, "developer", sha, from, name).id()
				}
				name["description"] = "second"
				event, refused := refusedEvents[from+"→"+to]
				if refused {
					got := w.post(http.StatusBadRequest, "developer", sha, to, name)
					want := fmt.Sprintf("Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via %q)", event, from, event)
					if got.object()["message"] != want {
						t.Errorf("message %q, want %q", got.object()["message"], want)
					}
					if d := latest(t, w, sha, name["name"].(string)).Description; d != "first" {
						t.Errorf("a refused call changed the description to %q", d)
					}
					return
				}
				got := w.post(http.StatusCreated, "developer", sha, to, name)
				reused := from == "pending" || from == "running"
				if from != "" && (got.id() == before) != reused {
					t.Errorf("record %d after %d: reused must be %v", got.id(), before, reused)
				}
				if s := latest(t, w, sha, name["name"].(string)); s.State != to || s.Description != "second" {
					t.Errorf("the latest record is %s %q", s.State, s.Description)
				}
			})
		}
	}
}

func latest(t *testing.T, w *world, sha, name string) Status {
	t.Helper()
	var found []Status
	for _, s := range w.s.Statuses(w.project.ID, sha) {
		if s.Name == name && !s.Retried {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d latest records of %q, want one", len(found), name)
	}
	return found[0]
}

func TestStatusHistoryAndReuseByUser(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	job := map[string]any{"name": "groundcrew/network"}
	first := w.post(201, "developer", sha, "pending", job)
	second := w.post(201, "maintainer", sha, "pending", job)
	if first.id() == second.id() {
		t.Error("another user's post used the same record")
	}
	w.post(201, "developer", sha, "running", job)
	w.post(201, "developer", sha, "success", job)

	type row struct {
		User, State string
		Retried     bool
		History     []string
	}
	var got []row
	for _, s := range w.s.Statuses(w.project.ID, sha) {
		r := row{User: s.User, State: s.State, Retried: s.Retried}
		for _, h := range s.History {
			r.History = append(r.History, h.State)
		}
		got = append(got, r)
	}
	want := []row{
		{"developer", "success", true, []string{"pending", "running", "success"}},
		{"maintainer", "pending", false, []string{"pending"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(w.want(200, "reporter", "GET", w.in("/repository/commits/%s/statuses", sha), nil).list()); n != 1 {
		t.Errorf("%d latest statuses, want 1", n)
	}
	if n := len(w.want(200, "reporter", "GET", w.in("/repository/commits/%s/statuses?all=true", sha), nil).list()); n != 2 {
		t.Errorf("%d statuses with all=true, want 2", n)
	}
}

func TestStatusChoosesPipeline(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	mrRef := "refs/merge-requests/1/head"
	branch, err := w.s.AddPipeline(w.project.ID, sha, "feature", "push", "build")
	w.check(err)
	merge, err := w.s.AddPipeline(w.project.ID, sha, mrRef, "merge_request_event", "build")
	w.check(err)
	pipelineOf := func(more map[string]any) int64 {
		more["name"] = fmt.Sprint("job", len(w.s.Requests()))
		return int64(w.post(201, "developer", sha, "pending", more).object()["pipeline_id"].(float64))
	}
	for _, c := range []struct {
		name string
		with map[string]any
		want int64
	}{
		{"newest wins without ref", map[string]any{}, merge},
		{"the ref's own", map[string]any{"ref": "feature"}, branch},
		{"by id", map[string]any{"pipeline_id": branch}, branch},
	} {
		if got := pipelineOf(c.with); got != c.want {
			t.Errorf("%s: pipeline %d, want %d", c.name, got, c.want)
		}
	}
	if got := pipelineOf(map[string]any{"ref": "never-checked"}); got <= merge {
		t.Errorf("another ref went into pipeline %d, want a new one", got)
	}
	w.want(404, "developer", "POST", w.in("/statuses/%s", sha), map[string]any{"state": "pending", "pipeline_id": branch, "ref": mrRef})
}

func TestStatusOfForkCommit(t *testing.T) {
	w := newWorld(t)
	fork := mustFork(t, w, "jane/infra-stack")
	sha, err := w.s.Push(fork.ID, "patch", "Patch", map[string]string{"a.tf": "1\n"})
	w.check(err)
	iid, err := w.s.OpenForkMergeRequest(w.project.ID, fork.ID, "patch", "main", "From a fork", 0)
	w.check(err)
	w.s.WaitHooks()
	got := w.post(404, "developer", sha, "pending", nil)
	if got.object()["message"] != "404 References for commit Not Found" {
		t.Errorf("message %v", got.object()["message"])
	}
	w.post(201, "developer", sha, "pending", map[string]any{"ref": fmt.Sprintf("refs/merge-requests/%d/head", iid)})
	mr, err := w.s.MergeRequest(w.project.ID, iid)
	w.check(err)
	if mr.HeadPipelineID != 0 {
		t.Error("a status in the parent became the head pipeline of a fork's merge request")
	}
}

func TestStatusOnProtectedBranchNeedsMaintainer(t *testing.T) {
	w := newWorld(t)
	main := w.s.Head(w.project.ID, "main")
	w.post(403, "developer", main, "pending", nil)
	w.post(201, "maintainer", main, "pending", nil)
}

func TestStatusTextLimits(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	long := strings.Repeat("ü", 255)
	for i, field := range []string{"description", "ref"} {
		w.post(201, "developer", sha, "success", map[string]any{field: long, "name": fmt.Sprint(i)})
		w.post(400, "developer", sha, "success", map[string]any{field: long + "x"})
	}
	address := "https://a.example.com/"
	w.post(201, "developer", sha, "success", map[string]any{"target_url": address + strings.Repeat("x", 255-len(address))})
	w.post(400, "developer", sha, "success", map[string]any{"target_url": address + strings.Repeat("x", 256-len(address))})
}

func TestOverlappingStatusesAreRefused(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.StatusHold = time.Second })
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	other := w.push("other", map[string]string{"b.tf": "1\n"})
	var wg sync.WaitGroup
	post := func(target string) *int {
		status := new(int)
		wg.Go(func() {
			*status = w.as("developer", "POST", w.in("/statuses/%s", target), map[string]any{"state": "success"}).status
		})
		return status
	}
	first := post(sha)
	held := func() bool {
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		return w.s.leases[fmt.Sprintf("%d/%s", w.project.ID, sha)]
	}
	eventually(t, "the lease is taken", held)
	elsewhere := post(other)
	got := w.post(409, "developer", sha, "success", nil)
	if _, want := sample(t, "commit_status_conflict"); !cmp.Equal(want, got.body) {
		t.Errorf("body %s", got.raw)
	}
	wg.Wait()
	if *first != 201 || *elsewhere != 201 {
		t.Errorf("the first got %d, another commit's %d, want 201 for both", *first, *elsewhere)
	}
	if held() {
		t.Error("the lease outlived the answer")
	}
}

func TestHeadPipelineFollowsStatuses(t *testing.T) {
	w := newWorld(t)
	w.check(w.s.Configure(w.project.ID, func(s *Settings) { s.PipelineMustSucceed = true }))
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	iid := w.openMR("feature")
	for _, step := range []struct{ post, pipeline, merge string }{
		{"", "", "ci_must_pass"},
		{"pending", "pending", "ci_still_running"},
		{"running", "running", "ci_still_running"},
		{"failed", "failed", "ci_must_pass"},
		{"success", "success", "mergeable"},
	} {
		if step.post != "" {
			w.post(201, "developer", sha, step.post, map[string]any{"ref": "feature"})
		}
		mr, err := w.s.MergeRequest(w.project.ID, iid)
		w.check(err)
		if mr.HeadPipelineStatus != step.pipeline || mr.DetailedMergeStatus != step.merge {
			t.Errorf("after %q: head pipeline %q, merge status %q, want %q and %q",
				step.post, mr.HeadPipelineStatus, mr.DetailedMergeStatus, step.pipeline, step.merge)
		}
	}
	w.push("feature", map[string]string{"a.tf": "2\n"})
	mr, err := w.s.MergeRequest(w.project.ID, iid)
	w.check(err)
	if mr.HeadPipelineStatus != "success" || mr.DetailedMergeStatus != "ci_must_pass" {
		t.Errorf("after a push without a pipeline: %q, %q; the old pipeline stays but does not count", mr.HeadPipelineStatus, mr.DetailedMergeStatus)
	}
}

func TestPipelineStatus(t *testing.T) {
	for want, states := range map[string][]string{
		"created": nil, "skipped": {"skipped"}, "success": {"success", "skipped"}, "pending": {"pending", "skipped"},
		"running": {"failed", "pending"}, "failed": {"failed", "canceled", "success"}, "canceled": {"canceled", "success"},
	} {
		pl := &pipeline{}
		for _, s := range states {
			pl.jobs = append(pl.jobs, &job{state: s})
		}
		if got := pl.status(); got != want {
			t.Errorf("%v makes %q, want %q", states, got, want)
		}
	}
}
