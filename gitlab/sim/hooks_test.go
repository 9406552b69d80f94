package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A receiver takes the hooks of a project.
type receiver struct {
	id  int64
	got chan received
}

type received struct {
	header http.Header
	raw    []byte
	body   map[string]any
}

// receiver registers a hook for the events, with a secret, and serves it.
func (w *world) receiver(events ...string) *receiver {
	w.t.Helper()
	rc := &receiver{got: make(chan received, 200)}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		var body map[string]any
		_ = json.Unmarshal(raw, &body)
		rc.got <- received{r.Header, raw, body}
	}))
	w.t.Cleanup(srv.Close)
	hook := map[string]any{"url": srv.URL, "token": "s3cret", "push_events": false}
	for _, e := range events {
		hook[e] = true
	}
	rc.id = w.want(201, "maintainer", "POST", w.in("/hooks"), hook).id()
	return rc
}

// next waits for the next delivery of a kind, dropping others.
func (rc *receiver) next(t *testing.T, event string) received {
	t.Helper()
	for {
		select {
		case r := <-rc.got:
			if r.header.Get("X-Gitlab-Event") == event {
				return r
			}
		case <-time.After(time.Minute):
			t.Fatalf("no %s arrived", event)
		}
	}
}

// rest takes all that has arrived and not been looked at, once every delivery is done.
func (rc *receiver) rest(w *world) []received {
	w.t.Helper()
	w.s.WaitHooks()
	var all []received
	for {
		select {
		case r := <-rc.got:
			all = append(all, r)
		default:
			return all
		}
	}
}

// none fails when anything is left.
func (rc *receiver) none(w *world) {
	w.t.Helper()
	for _, r := range rc.rest(w) {
		w.t.Errorf("a %s arrived: %s", r.header.Get("X-Gitlab-Event"), r.raw)
	}
}

func payload(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile("testdata/payloads/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// samePayload compares key sets; below a null or an empty list on either side nothing counts.
func samePayload(t *testing.T, name string, got map[string]any) {
	t.Helper()
	want := payload(t, name)
	skip := nullPaths("", want, nulls("", got))
	w, h := keys("", want, map[string]bool{}), keys("", got, map[string]bool{})
	for _, set := range []map[string]bool{w, h} {
		for k := range set {
			if under(k, skip) {
				delete(set, k)
			}
		}
	}
	if diff := cmp.Diff(w, h); diff != "" {
		t.Errorf("%s: keys (-recorded +ours):\n%s", name, diff)
	}
}

func TestHookPayloads(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver("push_events", "tag_push_events", "merge_requests_events", "note_events", "pipeline_events", "deployment_events")
	mr := func(action string) map[string]any {
		t.Helper()
		body := rc.next(t, "Merge Request Hook").body
		if got := body["object_attributes"].(map[string]any)["action"]; got != action {
			t.Errorf("action %v, want %s", got, action)
		}
		return body
	}
	edit := func(e MergeRequestEdit) { t.Helper(); w.check(w.s.UpdateMergeRequest(w.project.ID, 1, 0, e)) }

	w.push("main", map[string]string{"a.tf": "1\n"}, Deleting("stacks/network/old.tf"))
	samePayload(t, "push_branch_update", rc.next(t, "Push Hook").body)
	sha := w.push("feature/nat", map[string]string{"nat.tf": "1\n"})
	create := rc.next(t, "Push Hook").body
	samePayload(t, "push_branch_create", create)
	if create["before"] != strings.Repeat("0", 40) || create["total_commits_count"] != 1.0 {
		t.Errorf("branch create: before %v, %v commits", create["before"], create["total_commits_count"])
	}
	w.check(w.s.CreateTag(w.project.ID, "v1.0.0", sha, ""))
	samePayload(t, "tag_push_create_lightweight", rc.next(t, "Tag Push Hook").body)
	w.check(w.s.CreateTag(w.project.ID, "v1.1.0", sha, "Release 1.1.0"))
	tag := rc.next(t, "Tag Push Hook").body
	samePayload(t, "tag_push_create_annotated", tag)
	if tag["checkout_sha"] != sha || tag["after"] == sha || tag["message"] != "Release 1.1.0" {
		t.Errorf("annotated tag: after %v, checkout_sha %v, message %v", tag["after"], tag["checkout_sha"], tag["message"])
	}
	w.check(w.s.DeleteTag(w.project.ID, "v1.0.0"))
	samePayload(t, "tag_push_delete", rc.next(t, "Tag Push Hook").body)

	iid := w.openMR("feature/nat")
	samePayload(t, "merge_request_open", mr("open"))
	w.post(201, "developer", sha, "running", nil)
	samePayload(t, "pipeline_external", rc.next(t, "Pipeline Hook").body)
	name, labels := "Two NAT gateways", []string{"infra"}
	edit(MergeRequestEdit{Title: &name})
	samePayload(t, "merge_request_update_title", mr("update"))
	edit(MergeRequestEdit{Labels: labels})
	samePayload(t, "merge_request_update_labels", mr("update"))
	edit(MergeRequestEdit{Labels: []string{}})
	mr("update")
	w.push("feature/nat", map[string]string{"nat.tf": "2\n"})
	update := mr("update")
	samePayload(t, "merge_request_update_new_commit", update)
	if update["object_attributes"].(map[string]any)["oldrev"] != sha {
		t.Errorf("oldrev %v, want %s", update["object_attributes"].(map[string]any)["oldrev"], sha)
	}
	id, err := w.s.AddNote(w.project.ID, iid, 0, "terraform plan")
	w.check(err)
	samePayload(t, "note_on_merge_request", rc.next(t, "Note Hook").body)
	w.want(200, "maintainer", "PUT", w.in("/merge_requests/%d/notes/%d", iid, id), map[string]any{"body": "again"})
	samePayload(t, "note_on_merge_request_edited", rc.next(t, "Note Hook").body)
	w.check(w.s.ApproveMergeRequest(w.project.ID, iid, 0))
	samePayload(t, "merge_request_approved", mr("approved"))
	w.check(w.s.CloseMergeRequest(w.project.ID, iid, 0))
	samePayload(t, "merge_request_close", mr("close"))
	w.check(w.s.ReopenMergeRequest(w.project.ID, iid, 0))
	samePayload(t, "merge_request_reopen", mr("reopen"))
	_, err = w.s.MergeMergeRequest(w.project.ID, iid, 0)
	w.check(err)
	seen := map[string]int{}
	for _, r := range rc.rest(w) { // in any order
		switch kind := r.header.Get("X-Gitlab-Event"); {
		case kind == "Push Hook" && r.body["ref"] == "refs/heads/main":
			seen[kind]++
			samePayload(t, "push_merge_commit_to_default", r.body)
		case kind == "Merge Request Hook":
			seen[kind]++
			samePayload(t, "merge_request_merge", r.body)
		}
	}
	if diff := cmp.Diff(map[string]int{"Push Hook": 1, "Merge Request Hook": 1}, seen); diff != "" {
		t.Errorf("hooks of a merge: %s", diff)
	}
	deploy := map[string]any{"environment": "production", "sha": sha, "ref": "main", "tag": false, "status": "running"}
	d := w.want(201, "developer", "POST", w.in("/deployments"), deploy)
	samePayload(t, "deployment_running", rc.next(t, "Deployment Hook").body)
	w.want(200, "developer", "PUT", w.in("/deployments/%d", d.id()), map[string]any{"status": "success"})
	samePayload(t, "deployment_success", rc.next(t, "Deployment Hook").body)
	w.check(w.s.DeleteBranch(w.project.ID, "feature/nat"))
	samePayload(t, "push_branch_delete", rc.next(t, "Push Hook").body)
}

func TestHookHeaders(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RelativeRoot = "/scm" })
	rc := w.receiver("push_events")
	key := strings.Repeat("k", 32)
	w.want(200, "maintainer", "PUT", w.in("/hooks/%d", rc.id), map[string]any{
		"signing_token":  "whsec_" + base64.StdEncoding.EncodeToString([]byte(key)),
		"custom_headers": []any{map[string]any{"key": "X-Own", "value": "1"}, map[string]any{"key": "User-Agent", "value": "mine"}},
	})
	w.push("feature", map[string]string{"a.tf": "1\n"})
	got := rc.next(t, "Push Hook")
	text, err := os.ReadFile("testdata/payloads/headers.json")
	w.check(err)
	var recorded map[string]map[string]string
	w.check(json.Unmarshal(text, &recorded))
	for name := range recorded["push_branch_update.json"] {
		if got.header.Get(name) == "" {
			t.Errorf("the header %s is missing", name)
		}
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "GitLab/19.2.1", "X-Gitlab-Token": "s3cret", "X-Own": "1",
		"X-Gitlab-Instance": strings.TrimSuffix(w.url, "/scm"), "Webhook-Id": got.header.Get("Idempotency-Key"),
		"Webhook-Signature": sign([]byte(key), got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp"), got.raw),
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
		}
	}
	w.want(200, "maintainer", "PUT", w.in("/hooks/%d", rc.id), map[string]any{"url": "http://127.0.0.1:1/other"})
	if h := w.s.Hooks(w.project.ID)[0]; h.HasToken {
		t.Error("a new URL kept the secret token; GitLab resets it")
	}
	for _, body := range []string{w.want(200, "maintainer", "GET", w.in("/hooks"), nil).raw, fmt.Sprint(w.s.Hooks(w.project.ID))} {
		if strings.Contains(body, "s3cret") {
			t.Errorf("a secret is shown: %s", body)
		}
	}
}

func TestPushOfManyCommitsAndRefs(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver("push_events")
	var more []PushOption
	for i := range 24 {
		more = append(more, Then(Commit{Message: fmt.Sprint("Commit ", i), Files: map[string]string{"n.tf": fmt.Sprint(i)}}))
	}
	sha := w.push("feature", map[string]string{"a.tf": "1\n"}, more...)
	body := rc.next(t, "Push Hook").body
	commits := body["commits"].([]any)
	if len(commits) != 20 || body["total_commits_count"] != 25.0 || commits[19].(map[string]any)["id"] != sha {
		t.Errorf("%d commits of %v, the last %v", len(commits), body["total_commits_count"], commits[len(commits)-1])
	}
	w.check(w.s.PushMany(w.project.ID, []string{"a", "b", "c"}, "Three", map[string]string{"x": "1"}))
	for range 3 {
		rc.next(t, "Push Hook")
	}
	w.check(w.s.PushMany(w.project.ID, []string{"d", "e", "f", "g"}, "Four", map[string]string{"x": "1"}))
	rc.none(w)
}

func TestFailedDeliveryIsNotRepeated(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AutoDisableHooks = true })
	hits := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		hits <- r.Header.Get("Idempotency-Key")
		rw.WriteHeader(500)
	}))
	defer srv.Close()
	w.want(201, "maintainer", "POST", w.in("/hooks"), map[string]any{"url": srv.URL})
	for i := range 6 {
		w.push("feature", map[string]string{"a.tf": fmt.Sprint(i)})
		w.s.WaitHooks()
	}
	h := w.s.Hooks(w.project.ID)[0]
	if len(hits) != 4 || h.Failures != 4 || h.AlertStatus != "temporarily_disabled" {
		t.Errorf("%d deliveries, %+v; want 4 failures and a pause", len(hits), h)
	}
	deliveries := w.s.HookDeliveries(w.project.ID)
	if len(deliveries) != 4 || deliveries[0].Status != 500 {
		t.Fatalf("deliveries %+v", deliveries)
	}
	first := <-hits
	w.check(w.s.Redeliver(deliveries[0].ID))
	for len(hits) > 1 {
		<-hits
	}
	if again := <-hits; again != first || again == "" {
		t.Errorf("redelivered with key %q, want %q", again, first)
	}
}

func TestDeliverTwice(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver("push_events")
	w.s.DeliverTwice(true)
	w.push("feature", map[string]string{"a.tf": "1\n"})
	a, b := rc.next(t, "Push Hook"), rc.next(t, "Push Hook")
	if a.header.Get("Idempotency-Key") != b.header.Get("Idempotency-Key") || string(a.raw) != string(b.raw) {
		t.Error("the repetition differs")
	}
}

func TestHookSettings(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RefuseLocalHooks = true })
	for _, address := range []string{"ftp://a.example.com", "a.example.com", "http://", "http://10.1.2.3/x", "http://localhost:8080", "http://[::1]/", w.url + "/x", "http://169.254.1.1"} {
		got := w.want(422, "maintainer", "POST", w.in("/hooks"), map[string]any{"url": address})
		if got.object()["error"] != "Invalid url given" {
			t.Errorf("%s: %s", address, got.raw)
		}
	}
	got := w.want(201, "maintainer", "POST", w.in("/hooks"), map[string]any{"url": "https://a.example.com"})
	if got.object()["push_events"] != true || got.object()["merge_requests_events"] != false || got.object()["token_present"] != false {
		t.Errorf("defaults %s", got.raw)
	}
	path := w.in("/hooks/%d", got.id())
	w.want(400, "maintainer", "PUT", path, nil)
	w.want(422, "maintainer", "PUT", path, map[string]any{"custom_headers": []any{map[string]any{"key": "1 bad", "value": "x"}}})
	w.want(422, "maintainer", "PUT", path, map[string]any{"signing_token": "whsec_short"})
	w.want(204, "maintainer", "DELETE", path, nil)
	w.want(404, "maintainer", "DELETE", path, nil)
}

func TestHookTestAndResend(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver("push_events")
	path := w.in("/hooks/%d", rc.id)
	got := w.want(422, "maintainer", "POST", path+"/test/merge_requests_events", nil)
	if _, want := sample(t, "hook_test_no_data"); !cmp.Equal(want, got.body) {
		t.Errorf("body %s", got.raw)
	}
	w.want(201, "maintainer", "POST", path+"/test/push_events", nil)
	first := rc.next(t, "Push Hook")
	events := w.want(200, "maintainer", "GET", path+"/events", nil).list()
	if len(events) != 1 || strings.Contains(fmt.Sprint(events), "s3cret") {
		t.Fatalf("events %v", events)
	}
	id := int64(events[0].(map[string]any)["id"].(float64))
	got = w.want(201, "maintainer", "POST", fmt.Sprintf("%s/events/%d/resend", path, id), nil)
	if got.object()["response_status"] != 200.0 {
		t.Errorf("resend %s", got.raw)
	}
	if again := rc.next(t, "Push Hook"); again.header.Get("Idempotency-Key") != first.header.Get("Idempotency-Key") {
		t.Error("a resend has another key")
	}
	for range 3 {
		w.want(201, "maintainer", "POST", path+"/test/push_events", nil)
	}
	w.want(429, "maintainer", "POST", path+"/test/push_events", nil)
}

func TestBranchFilter(t *testing.T) {
	for _, c := range []struct {
		strategy, filter, branch string
		want                     bool
	}{
		{"wildcard", "release/*", "release/1/2", true},
		{"wildcard", "release/*", "main", false},
		{"wildcard", "", "main", true},
		{"regex", "^(main|dev)$", "dev", true},
		{"regex", "^(main|dev)$", "develop", false},
		{"all_branches", "main", "dev", true},
	} {
		h := &hook{strategy: c.strategy, branchFilter: c.filter}
		if h.passes(c.branch) != c.want {
			t.Errorf("%s %q lets %q pass: %v", c.strategy, c.filter, c.branch, !c.want)
		}
	}
}
