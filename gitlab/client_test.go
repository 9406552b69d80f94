package gitlab

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A sample is one file of testdata/responses.
type sample struct {
	Status  string
	Headers map[string]string
	Body    json.RawMessage
}

func readSample(t *testing.T, name string) sample {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "responses", name+".json"))
	must(t, err)
	var s sample
	must(t, json.Unmarshal(b, &s))
	return s
}

func (s sample) write(w http.ResponseWriter) {
	for k, v := range s.Headers {
		w.Header().Set(k, v)
	}
	status, _ := strconv.Atoi(s.Status)
	w.WriteHeader(status)
	var text string
	if json.Unmarshal(s.Body, &text) == nil { // a body that is no JSON on the wire
		fmt.Fprint(w, text)
		return
	}
	w.Write(s.Body)
}

// A fake answers every request with one thing and remembers what it was asked.
type fake struct {
	mu    sync.Mutex
	asked []string // "POST /api/v4/… {body}"
	last  *http.Request
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func newFake(t *testing.T, answer http.HandlerFunc) (*fake, *Client) {
	t.Helper()
	f := &fake{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.asked = append(f.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()[0:]+" "+string(body)))
		f.last = r
		f.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return f, newClient(t, server.URL+"/scm/")
}

func newClient(t *testing.T, base string) *Client {
	t.Helper()
	c, err := New(Options{BaseURL: base, Token: testToken, UserAgent: "groundcrew/test"})
	must(t, err)
	return c
}

func answers(t *testing.T, name string) (*fake, *Client) {
	t.Helper()
	s := readSample(t, name)
	return newFake(t, func(w http.ResponseWriter, _ *http.Request) { s.write(w) })
}

func TestCalls(t *testing.T) {
	sha := "302d471040220613c01a423f6d5708bdb9aebb40"
	head := "64f85095c7f77bb6aa31888cff62b382ae3e59f2"
	expiry := time.Date(2027, 2, 27, 0, 0, 0, 0, time.UTC)
	until := time.Date(2026, 3, 3, 9, 31, 0, 0, time.UTC)
	commit := Commit{
		SHA: head, Title: "Add a second NAT gateway", Message: "Add a second NAT gateway\n", Author: "Jane Doe", At: time.Date(2026, 3, 2, 9, 20, 0, 0, time.UTC),
		ParentIDs: []string{"c2526b83e77e36f3a577b75b15a1beec7cf5b4ff"}, WebURL: "https://gitlab.example.com/acme/platform/infra-stack/-/commit/" + head,
	}
	branch := Branch{Name: "main", SHA: head, Title: commit.Title, Author: "Jane Doe", Default: true, Protected: true}
	status := Status{
		State: "running", Name: "groundcrew/network", Ref: "feature/nat", TargetURL: "https://g.example.com/runs/17", Description: "Planning", PipelineID: 3301,
	}
	note := Note{ID: 5510, Body: "Plan: 2 to add, 0 to change, 0 to destroy.", AuthorID: 91}
	env := Environment{ID: 51, Name: "production/network", State: "available", Tier: "production", ExternalURL: "https://appliance.example.com/stacks/network"}
	hook := ProjectHook{
		ID: 301, URL: "https://appliance.example.com/webhooks/gitlab", PushEvents: true, TagPushEvents: true, MergeRequestsEvents: true,
		NoteEvents: true, SSLVerification: true, AlertStatus: "executable",
	}
	disabled := hook
	disabled.AlertStatus, disabled.DisabledUntil = "temporarily_disabled", &until
	spec := HookSpec{URL: "https://g.example.com/hook", Token: "s3cret", Push: true, MergeRequests: true, SSLVerification: true, Name: "groundcrew"}
	specJSON := `{"url":"https://g.example.com/hook","token":"s3cret","push_events":true,"tag_push_events":false,"merge_requests_events":true,"note_events":false,"enable_ssl_verification":true,"name":"groundcrew"}`
	type result = []any
	all := func(r ...any) result { return r }

	for _, c := range []struct {
		sample string
		call   func(*Client) result
		asked  string
		want   result
	}{
		{"version", func(c *Client) result { return all(c.Version(t.Context())) }, "GET version", result{Version{"19.2.1", "4b4a0f5c1d2"}, nil}},
		{
			"user_project_bot", func(c *Client) result { return all(c.CurrentUser(t.Context())) }, "GET user",
			result{User{91, "project_42_bot_5a3f1c9e2b7d4f60", "terraform-appliance", true, "active", "https://gitlab.example.com/project_42_bot_5a3f1c9e2b7d4f60"}, nil},
		},
		{
			"personal_access_token_self", func(c *Client) result { return all(c.TokenSelf(t.Context())) }, "GET personal_access_tokens/self",
			result{TokenInfo{ID: 25, Name: "terraform-appliance", Scopes: []string{"api"}, Active: true, ExpiresAt: &expiry}, nil},
		},
		{
			"project", func(c *Client) result { return all(c.Project(t.Context(), "acme/platform/infra-stack")) }, "GET projects/acme%2Fplatform%2Finfra-stack",
			result{Project{
				ID: 42, Path: "acme/platform/infra-stack", Name: "Infra Stack", DefaultBranch: "main", WebURL: "https://gitlab.example.com/acme/platform/infra-stack",
				HTTPURL: "https://gitlab.example.com/acme/platform/infra-stack.git", AccessLevel: 40, Visibility: "private", OnlyAllowMergeIfPipelineSucceeds: true,
			}, nil},
		},
		{"branch", func(c *Client) result { return all(c.Branch(t.Context(), 42, "feature/a.b")) }, "GET projects/42/repository/branches/feature%2Fa%2Eb", result{branch, nil}},
		{"commit", func(c *Client) result { return all(c.Commit(t.Context(), 42, head)) }, "GET projects/42/repository/commits/" + head, result{commit, nil}},
		{
			"compare", func(c *Client) result { return all(c.CompareFiles(t.Context(), 42, "a", "b")) }, "GET projects/42/repository/compare?from=a&straight=true&to=b",
			result{[]string{"stacks/network/main.tf"}, true, nil},
		},
		{
			"merge_request", func(c *Client) result { return all(c.MergeRequest(t.Context(), 42, 12)) }, "GET projects/42/merge_requests/12?include_diverged_commits_count=true",
			result{MergeRequest{
				IID: 12, Title: "NAT gateways", State: "opened", SourceBranch: "feature/nat", TargetBranch: "main", HeadSHA: sha, SourceProject: 42, TargetProject: 42,
				WebURL: "https://gitlab.example.com/acme/platform/infra-stack/-/merge_requests/12", HeadPipelineID: 3301, HeadPipelineSHA: sha,
			}, nil},
		},
		{
			"commit_status_post", func(c *Client) result { return all(c.SetStatus(t.Context(), 42, sha, status)) },
			`POST projects/42/statuses/` + sha + ` {"state":"running","name":"groundcrew/network","ref":"feature/nat","target_url":"https://g.example.com/runs/17","description":"Planning","pipeline_id":3301}`,
			result{StatusAnswer{88001, 3301}, nil},
		},
		{
			"commit_statuses_list", func(c *Client) result { return all(c.Statuses(t.Context(), 42, sha, "appliance/network")) },
			"GET projects/42/repository/commits/" + sha + "/statuses?name=appliance%2Fnetwork&page=1&per_page=100",
			result{[]StatusInfo{{88001, "appliance/network", "running", "Planning", "feature/nat", "https://appliance.example.com/runs/17", 3301, 91}}, nil},
		},
		{
			"notes_list", func(c *Client) result { return all(c.Notes(t.Context(), 42, 12)) },
			"GET projects/42/merge_requests/12/notes?order_by=created_at&page=1&per_page=100&sort=desc",
			result{[]Note{note}, nil},
		},
		{"note_create", func(c *Client) result { return all(c.CreateNote(t.Context(), 42, 12, "hi")) }, `POST projects/42/merge_requests/12/notes {"body":"hi"}`, result{note, nil}},
		{
			"environments_list", func(c *Client) result { return all(c.Environment(t.Context(), 42, "production/network")) },
			"GET projects/42/environments?name=production%2Fnetwork&page=1&per_page=100",
			result{env, true, nil},
		},
		{
			"environments_list", func(c *Client) result { return all(c.Environment(t.Context(), 42, "production")) },
			"GET projects/42/environments?name=production&page=1&per_page=100",
			result{Environment{}, false, nil},
		},
		{
			"environment_create", func(c *Client) result {
				return all(c.CreateEnvironment(t.Context(), 42, Environment{Name: "a/b", Tier: "other", ExternalURL: "https://x"}))
			},
			`POST projects/42/environments {"name":"a/b","external_url":"https://x","tier":"other"}`,
			result{env, nil},
		},
		{
			"environment_create", func(c *Client) result {
				return all(c.UpdateEnvironment(t.Context(), 42, Environment{ID: 51, Name: "a/b", ExternalURL: "https://x"}))
			},
			`PUT projects/42/environments/51 {"external_url":"https://x"}`,
			result{env, nil},
		},
		{"environment_stop", func(c *Client) result { return all(c.StopEnvironment(t.Context(), 42, 51)) }, "POST projects/42/environments/51/stop", result{nil}},
		{
			"deployment_create", func(c *Client) result {
				return all(c.CreateDeployment(t.Context(), 42, Deployment{"a/b", sha, "main", false, "running"}))
			},
			`POST projects/42/deployments {"environment":"a/b","sha":"` + sha + `","ref":"main","tag":false,"status":"running"}`,
			result{int64(642), nil},
		},
		{"deployment_update", func(c *Client) result { return all(c.UpdateDeployment(t.Context(), 42, 642, "success")) }, `PUT projects/42/deployments/642 {"status":"success"}`, result{nil}},
		{
			"deployments_list", func(c *Client) result { return all(c.Deployments(t.Context(), 42, "a b", 5)) },
			"GET projects/42/deployments?environment=a+b&order_by=id&page=1&per_page=5&sort=desc",
			result{[]DeploymentInfo{{642, "64db262264ce70c5b2b5b871318525461ab8eb77", "main", "running", "production/network", 91}}, nil},
		},
		{"hooks_list", func(c *Client) result { return all(c.Hooks(t.Context(), 42)) }, "GET projects/42/hooks?page=1&per_page=100", result{[]ProjectHook{hook}, nil}},
		{"hook_disabled", func(c *Client) result { return all(c.CreateHook(t.Context(), 42, spec)) }, "POST projects/42/hooks " + specJSON, result{disabled, nil}},
		{"hook_create", func(c *Client) result { return all(c.UpdateHook(t.Context(), 42, 301, spec)) }, "PUT projects/42/hooks/301 " + specJSON, result{hook, nil}},
		{"hook_delete", func(c *Client) result { return all(c.DeleteHook(t.Context(), 42, 301)) }, "DELETE projects/42/hooks/301", result{nil}},
		{"hook_test", func(c *Client) result { return all(c.TestHook(t.Context(), 42, 301, "push_events")) }, "POST projects/42/hooks/301/test/push_events", result{nil}},
		{"member_not_found", func(c *Client) result { return all(c.MemberLevel(t.Context(), 42, 7)) }, "GET projects/42/members/all/7", result{0, nil}},
	} {
		t.Run(c.sample, func(t *testing.T) {
			f, client := answers(t, c.sample)
			got := c.call(client)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			method, path, _ := strings.Cut(c.asked, " ")
			if diff := cmp.Diff([]string{method + " /scm/api/v4/" + path}, f.requests()); diff != "" {
				t.Error(diff)
			}
			if f.last.Header.Get("Authorization") != "Bearer "+testToken || f.last.Header.Get("Private-Token") != "" || f.last.UserAgent() != "groundcrew/test" {
				t.Errorf("headers %v", f.last.Header)
			}
		})
	}
}

func TestListsOfProjectsBranchesMergeRequests(t *testing.T) {
	f, c := answers(t, "projects_list_simple")
	projects, err := c.Projects(t.Context(), "infra", 30)
	if err != nil || len(projects) == 0 || projects[0].ID != 42 {
		t.Error(projects, err)
	}
	want := "GET /scm/api/v4/projects?archived=false&membership=true&min_access_level=30&order_by=last_activity_at&page=1&per_page=30&search=infra&search_namespaces=true&sort=desc"
	if diff := cmp.Diff([]string{want}, f.requests()); diff != "" {
		t.Error(diff)
	}
	_, c = answers(t, "branches_list")
	if branches, err := c.Branches(t.Context(), 42, "", 10); err != nil || len(branches) == 0 || branches[0].SHA == "" {
		t.Error(branches, err)
	}
	f, c = answers(t, "merge_requests_list")
	if found, err := c.OpenMergeRequests(t.Context(), 42, "feature/nat"); err != nil || len(found) != 1 || found[0].IID != 12 {
		t.Error(found, err)
	}
	if !strings.Contains(f.requests()[0], "source_branch=feature%2Fnat&state=opened") {
		t.Error(f.requests())
	}
	_, c = answers(t, "commit_merge_requests")
	if found, err := c.MergeRequestsOfCommit(t.Context(), 42, "abc"); err != nil || len(found) == 0 {
		t.Error(found, err)
	}
	_, c = answers(t, "merge_request_diffs")
	if files, complete, err := c.MergeRequestFiles(t.Context(), 42, 12); err != nil || !complete || len(files) == 0 {
		t.Error(files, complete, err)
	}
}

func TestMemberLevel(t *testing.T) {
	for body, want := range map[string]int{
		`{"access_level":40,"state":"active","membership_state":"active"}`: 40,
		`{"access_level":40}`:                                                40,
		`{"access_level":40,"state":"blocked"}`:                              0,
		`{"access_level":40,"state":"active","membership_state":"awaiting"}`: 0,
	} {
		_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if got, err := c.MemberLevel(t.Context(), 42, 7); got != want || err != nil {
			t.Errorf("%s: %d, %v", body, got, err)
		}
	}
	_, c := answers(t, "error_404_project")
	if _, err := c.MemberLevel(t.Context(), 42, 7); KindOf(err) != KindNotFound {
		t.Errorf("a project that is gone: %v", err)
	}
}

func TestMergeRef(t *testing.T) {
	sha := strings.Repeat("ab", 32) // of a SHA-256 repository
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"commit_id":%q}`, sha) })
	if got, err := c.MergeRef(t.Context(), 42, 12); got != sha || err != nil {
		t.Error(got, err)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"message":"Merge request is not mergeable"}`)
	})
	if _, err := c.MergeRef(t.Context(), 42, 12); KindOf(err) != KindInvalid || !strings.Contains(err.Error(), "not mergeable") {
		t.Error(err)
	}
}

func TestIncompleteFileLists(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"old_path":"a","new_path":"b"},`, diffLimit), ",")
	for name, body := range map[string]string{
		"time-out": `{"diffs":[{"old_path":"a","new_path":"b"}],"compare_timeout":true}`,
		"cut":      `{"diffs":[` + many + `]}`,
		"doubtful": `{"diffs":[],"commits":[{"id":"x"}]}`,
	} {
		_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if _, complete, err := c.CompareFiles(t.Context(), 42, "a", "b"); complete || err != nil {
			t.Errorf("%s: complete=%t, %v", name, complete, err)
		}
	}
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"diffs":[],"commits":[]}`) })
	if _, complete, err := c.CompareFiles(t.Context(), 42, "a", "a"); !complete || err != nil {
		t.Errorf("nothing between equal commits: complete=%t, %v", complete, err)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) })
	if _, complete, err := c.MergeRequestFiles(t.Context(), 42, 12); complete || err != nil {
		t.Errorf("a diff that is not made yet: complete=%t, %v", complete, err)
	}
}

// pages serves n notes, newest first, the way GitLab does.
func pages(n int, linkOnly bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		var items []string
		for i := (page - 1) * size; i < min(page*size, n); i++ {
			items = append(items, fmt.Sprintf(`{"id":%d}`, n-i))
		}
		if page*size < n {
			if linkOnly {
				w.Header().Set("Link", fmt.Sprintf(`<http://elsewhere.invalid/api?page=%d>; rel="next"`, page+1))
			} else {
				w.Header().Set("X-Next-Page", strconv.Itoa(page+1))
			}
		}
		fmt.Fprintf(w, "[%s]", strings.Join(items, ","))
	}
}

func TestPagination(t *testing.T) {
	for _, linkOnly := range []bool{false, true} {
		f, c := newFake(t, pages(250, linkOnly))
		notes, err := c.Notes(t.Context(), 42, 12)
		if err != nil || len(notes) != 250 || notes[0].ID != 250 || notes[249].ID != 1 || len(f.requests()) != 3 {
			t.Errorf("linkOnly=%t: %d notes with %d requests, %v", linkOnly, len(notes), len(f.requests()), err)
		}
	}
	f, c := newFake(t, pages(250, false))
	if branches, err := c.Branches(t.Context(), 42, "", 120); err != nil || len(branches) != 120 || len(f.requests()) != 2 {
		t.Errorf("%d branches with %d requests, %v", len(branches), len(f.requests()), err)
	}
	f, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) { // a server that always says page 1
		w.Header().Set("X-Next-Page", "1")
		fmt.Fprint(w, `[{"id":1}]`)
	})
	if _, err := c.Notes(t.Context(), 42, 12); err != nil || len(f.requests()) != 1 {
		t.Errorf("%d requests, %v", len(f.requests()), err)
	}
}

func TestErrorKinds(t *testing.T) {
	for name, want := range map[string]struct {
		kind  Kind
		words string
	}{
		"error_400_missing_param":            {KindInvalid, "is missing"},
		"error_401_expired":                  {KindExpired, "Token is expired"},
		"error_401_revoked":                  {KindRevoked, "Token was revoked"},
		"error_401_no_or_bad_token":          {KindUnauthorized, "401 Unauthorized"},
		"error_403_forbidden":                {KindForbidden, "403 Forbidden"},
		"error_403_ip_or_admin_mode":         {KindForbidden, ""},
		"error_403_insufficient_scope":       {KindScope, "higher privileges"},
		"error_404_project":                  {KindNotFound, "404 Project Not Found"},
		"error_404_route":                    {KindNotFound, "404 Not Found"},
		"error_404_branch":                   {KindNotFound, "Branch"},
		"error_404_resource":                 {KindNotFound, ""},
		"error_405":                          {KindInvalid, "405"},
		"error_429_throttle":                 {KindRateLimited, "Retry later"},
		"archive_rate_limited":               {KindRateLimited, "too many times"},
		"error_502_booting":                  {KindServer, "not responding"},
		"error_503_maintenance":              {KindServer, "read-only instance"},
		"commit_status_same_pending":         {KindTransition, "Cannot transition status via :enqueue from :pending"},
		"commit_status_same_running":         {KindTransition, ""},
		"commit_status_running_to_pending":   {KindTransition, ""},
		"commit_status_running_to_skipped":   {KindTransition, ""},
		"deployment_update_same_status":      {KindTransition, `status cannot transition via "succeed"`},
		"commit_status_conflict":             {KindConflict, "Another update"},
		"terraform_state_lock_conflict":      {KindConflict, ""},
		"commit_status_long_description":     {KindInvalid, "description is too long (maximum is 255 characters)"},
		"commit_status_bad_state":            {KindInvalid, "state does not have a valid value"},
		"commit_status_name_of_ci_job":       {KindInvalid, "name has already been taken"},
		"commit_status_no_branch_has_commit": {KindNotFound, "References for commit"},
		"commit_status_reporter":             {KindForbidden, ""},
		"environment_bad_name":               {KindInvalid, "can contain only letters"},
		"hook_url_local":                     {KindInvalid, "Invalid url given"},
		"hook_test_no_data":                  {KindInvalid, "Ensure the project has merge requests"},
		"hook_forbidden":                     {KindForbidden, ""},
		"note_empty":                         {KindInvalid, "can't be blank"},
		"note_only_quick_actions":            {KindInvalid, "only quick actions"},
		"project_moved_write":                {KindInvalid, "Non GET methods"},
		"deployment_bad_ref":                 {KindInvalid, "branch or tag does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := answers(t, name)
			_, err := c.CreateNote(t.Context(), 42, 12, "hi")
			if KindOf(err) != want.kind || !strings.Contains(err.Error(), want.words) {
				t.Errorf("%q: %v", KindOf(err), err)
			}
			if n := len(f.requests()); n != 1 {
				t.Errorf("the POST was sent %d times", n)
			}
		})
	}
}

func TestErrorFields(t *testing.T) {
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"message":{"base":["a\n%s"],"name":["is bad",["x"]],"n":5}}`, strings.Repeat("é", 600)+testToken)
	})
	err := c.DeleteHook(t.Context(), 42, 7)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != 400 || e.Method != "DELETE" || e.Path != "/scm/api/v4/projects/42/hooks/7" || len([]rune(e.Message)) > maxMessage || strings.Contains(e.Message, "\n") {
		t.Errorf("%+v", e)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "your token "+testToken+" is funny")
	})
	if err := c.DeleteHook(t.Context(), 42, 7); strings.Contains(err.Error(), testToken) || !strings.Contains(err.Error(), hidden) {
		t.Errorf("the token is in %v", err)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(502)
		fmt.Fprint(w, "<!DOCTYPE html><html><h1>Whoops")
	})
	if err := c.DeleteHook(t.Context(), 42, 7); KindOf(err) != KindServer || strings.Contains(err.Error(), "<") {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	date := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status  int
		headers map[string]string
		want    time.Duration
	}{
		"none":           {429, nil, 0},
		"seconds":        {429, map[string]string{"Retry-After": "30", "RateLimit-Reset": "1772528460"}, 30 * time.Second},
		"date":           {503, map[string]string{"Retry-After": date.Add(time.Minute).Format(http.TimeFormat)}, time.Minute},
		"reset":          {429, map[string]string{"RateLimit-Reset": strconv.FormatInt(date.Unix()+90, 10)}, 90 * time.Second},
		"reset of a 403": {403, map[string]string{"RateLimit-Reset": strconv.FormatInt(date.Unix()+90, 10)}, 0},
		"past":           {429, map[string]string{"RateLimit-Reset": "5"}, 0},
		"negative":       {429, map[string]string{"Retry-After": "-5"}, 0},
		"endless":        {429, map[string]string{"Retry-After": "2000000000"}, maxRetryAfter},
		"nonsense":       {429, map[string]string{"Retry-After": "soon"}, 0},
	} {
		_, client := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", date.Format(http.TimeFormat))
			for k, v := range c.headers {
				w.Header().Set(k, v)
			}
			w.WriteHeader(c.status)
		})
		_, err := client.Version(t.Context())
		if e, ok := errors.AsType[*Error](err); !ok || e.RetryAfter != c.want {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestKinds(t *testing.T) {
	for k := range words {
		if strings.TrimSpace((&Error{Kind: k}).Error()) == "." {
			t.Errorf("%s has no words", k)
		}
		if k.Temporary() && k.TokenTrouble() {
			t.Errorf("%s is both", k)
		}
	}
	if KindOf(fmt.Errorf("x: %w", &Error{Kind: KindScope})) != KindScope || KindOf(io.EOF) != "" || KindOf(nil) != "" {
		t.Error("KindOf")
	}
}

func TestAnswersThatAreNotGitLabs(t *testing.T) {
	for name, body := range map[string]string{
		"HTML": "<html>Sign in</html>", "empty": "", "other JSON": `{"hello":1}`, "a list": `[]`, "null": "null", "wrong type": `{"version":19}`, "half": `{"version":"19`,
	} {
		_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if _, err := c.Version(t.Context()); KindOf(err) != KindNotGitLab {
			t.Errorf("%s: %q %v", name, KindOf(err), err)
		}
	}
}

func TestNetworkTrouble(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	if _, err := newClient(t, closed.URL).Version(t.Context()); KindOf(err) != KindNetwork {
		t.Errorf("nobody there: %v", err)
	}
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"version":`)
	})
	if _, err := c.Version(t.Context()); KindOf(err) != KindNetwork {
		t.Errorf("cut off: %v", err)
	}
	_, c = newFake(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := c.CreateNote(t.Context(), 1, 1, "x"); KindOf(err) != KindNetwork {
		t.Errorf("aborted: %v", err)
	}
	release := make(chan struct{})
	_, c = newFake(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Version(ctx); KindOf(err) != KindNetwork || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too slow: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// deadlineTransport tells whether a request would end by itself.
type deadlineTransport struct{ found bool }

func (d *deadlineTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	until, ok := r.Context().Deadline()
	d.found = ok && time.Until(until) <= callTimeout
	return nil, io.ErrUnexpectedEOF
}

func TestEveryCallHasATimeout(t *testing.T) {
	d := &deadlineTransport{}
	c, err := New(Options{BaseURL: "http://gitlab.invalid", Token: testToken, Transport: d})
	must(t, err)
	if _, err := c.Version(t.Context()); KindOf(err) != KindNetwork || !d.found {
		t.Error(err, d.found)
	}
}

func TestRedirects(t *testing.T) {
	var leaked sync.Map
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked.Store(r.URL.Path, r.Header) }))
	defer other.Close()
	post := func(c *Client) error { _, err := c.CreateNote(t.Context(), 42, 12, "hi"); return err }
	get := func(c *Client) error { _, err := c.Version(t.Context()); return err }
	for name, c := range map[string]struct {
		call   func(*Client) error
		status int
		to     string
		kind   Kind
	}{
		"GET elsewhere":                 {get, 302, other.URL + "/x", KindRedirect},
		"GET to another scheme":         {get, 301, "https", KindRedirect},
		"POST elsewhere":                {post, 307, other.URL + "/x", KindRedirect},
		"POST 301 here":                 {post, 301, "/moved", KindRedirect},
		"POST 302 here":                 {post, 302, "/moved", KindRedirect},
		"POST 308 here":                 {post, 308, "/moved", KindRedirect},
		"GET here":                      {get, 301, "/moved", ""},
		"GET in a circle":               {get, 302, "/scm/api/v4/version", KindRedirect},
		"GET without a place to go":     {get, 301, "", KindRedirect},
		"GET 300":                       {get, 300, "", KindRedirect},
		"GET to the same host by //":    {get, 302, "//elsewhere.invalid/x", KindRedirect},
		"GET to a user at another host": {get, 302, "http://gitlab@elsewhere.invalid/x", KindRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			f, client := newFake(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/moved" {
					fmt.Fprint(w, `{"version":"19.2.1","id":1}`)
					return
				}
				to := c.to
				if to == "https" {
					to = "https://" + r.Host + r.URL.Path
				}
				if to != "" {
					w.Header().Set("Location", to)
				}
				w.WriteHeader(c.status)
			})
			if err := c.call(client); KindOf(err) != c.kind {
				t.Errorf("%q: %v", KindOf(err), err)
			}
			if c.kind == "" && f.last.Header.Get("Authorization") == "" {
				t.Error("the token was lost on the way within GitLab")
			}
		})
	}
	leaked.Range(func(path, header any) bool {
		t.Errorf("%s was asked elsewhere with %v", path, header)
		return true
	})
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"19.2.1"}`) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer server.Close()
	_, err := newClient(t, server.URL).Version(t.Context())
	if KindOf(err) != KindTLS || !strings.Contains(err.Error(), "CA certificate") {
		t.Errorf("an unknown CA: %v", err)
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := New(Options{BaseURL: server.URL, Token: testToken, CA: append([]byte("\n"), bundle...)})
	must(t, err)
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("a known CA: %v", err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if _, err := newClient(t, strings.Replace(plain.URL, "http:", "https:", 1)).Version(t.Context()); KindOf(err) != KindTLS {
		t.Errorf("plain HTTP behind https: %v", err)
	}
	for name, bad := range map[string]string{
		"no PEM": "hello", "a key": "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", "no certificate": "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
		"rubbish after": string(bundle) + "hello",
	} {
		if _, err := New(Options{BaseURL: server.URL, Token: testToken, CA: []byte(bad)}); KindOf(err) != KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNew(t *testing.T) {
	for raw, want := range map[string]string{
		"https://host":                  "https://host",
		" https://host/ ":               "https://host",
		"https://host/scm/":             "https://host/scm",
		"https://host/scm/api/v4":       "https://host/scm",
		"https://host/scm/api/v4/":      "https://host/scm",
		"http://127.0.0.1:8080/api/v4/": "http://127.0.0.1:8080",
		"http://10.1.2.3/a/b//":         "http://10.1.2.3/a/b",
		"http://[::1]:80":               "http://[::1]:80",
		"https://host/gitlab%20x":       "https://host/gitlab%20x",
	} {
		c, err := New(Options{BaseURL: raw, Token: testToken})
		if err != nil || c.BaseURL() != want {
			t.Errorf("%q: %v, %v", raw, c, err)
		}
	}
	for _, raw := range []string{
		"", "host", "host:80", "ftp://host", "file:///etc/passwd", "gopher://host", "https://", "https://user:pw@host", "https://host?x=1", "https://host/?",
		"https://host/#x", "http://169.254.169.254", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[::ffff:169.254.1.1]", "https://ho st", "%zz",
	} {
		if _, err := New(Options{BaseURL: raw, Token: testToken}); KindOf(err) != KindInvalid {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, token := range []Token{"", "a b", "a\nb", "glpat-x\n", "tökén"} {
		if _, err := New(Options{BaseURL: "https://host", Token: token}); KindOf(err) != KindInvalid {
			t.Errorf("token %q: %v", token.Reveal(), err)
		}
	}
}

// The name of a host may lead to a link-local address only when it is resolved.
func TestLinkLocalIsRefusedWhenDialled(t *testing.T) {
	for _, address := range []string{"169.254.169.254:80", "[fe80::1]:443", "[fe80::1%eth0]:443", "[::ffff:169.254.169.254]:80"} {
		if err := refuseLinkLocal("tcp", address, nil); !errors.Is(err, errLinkLocal) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"127.0.0.1:80", "10.0.0.1:80", "192.168.1.1:80", "[::1]:80", "[fd00::1]:80", "93.184.216.34:443"} {
		if err := refuseLinkLocal("tcp", address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	transport := newTransport(nil)
	transport.Proxy = nil
	conn, err := transport.DialContext(t.Context(), "tcp", "169.254.169.254:80")
	if !errors.Is(err, errLinkLocal) {
		t.Errorf("%v, %v", conn, err)
	}
	c, newErr := New(Options{BaseURL: "http://metadata.invalid", Token: testToken, Transport: dialing{err}})
	must(t, newErr)
	if _, err := c.Version(t.Context()); KindOf(err) != KindInvalid || KindOf(err).Temporary() {
		t.Errorf("%q: %v", KindOf(err), err)
	}
}

type dialing struct{ err error }

func (d dialing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: d.err}
}

func TestAnswersAreBounded(t *testing.T) {
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"version":"`)
		block := bytes.Repeat([]byte("x"), 1<<20)
		for range maxAnswer/len(block) + 2 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("an endless answer: %v", err)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		for range 1 << 10 {
			if _, err := fmt.Fprint(w, strings.Repeat("no ", 1<<10)); err != nil {
				return
			}
		}
	})
	if _, err := c.Version(t.Context()); KindOf(err) != KindServer {
		t.Errorf("an endless error: %v", err)
	}
}

func TestEmptyNamesAreNotLists(t *testing.T) {
	f, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	if _, err := c.Branch(t.Context(), 42, ""); KindOf(err) != KindInvalid {
		t.Error(err)
	}
	if _, err := c.Project(t.Context(), ""); KindOf(err) != KindInvalid {
		t.Error(err)
	}
	if len(f.requests()) != 0 {
		t.Error(f.requests())
	}
}

func TestTokenIsNotShown(t *testing.T) {
	token := Token("glpat-x")
	asJSON, err := json.Marshal(map[string]any{"t": token, "h": HookSpec{Token: token}})
	must(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "t", token, "o", Options{Token: token})
	all := fmt.Sprintf("%v %s %q %#v %+v %s %s", token, token, token, token, Options{Token: token}, asJSON, log.String())
	if strings.Contains(all, "glpat") || token.Reveal() != "glpat-x" {
		t.Error(all)
	}
}
