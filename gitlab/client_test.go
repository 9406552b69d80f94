package gitlab

import (
	"encoding/json"
	"fmt"
	"io"
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
	note := Note{ID: 5510, Body: "Plan: 2 to add, 0 to change, 0 to destroy.", AuthorID: 91, AuthorName: "project_42_bot_5a3f1c9e2b7d4f60", CreatedAt: time.Date(2026, 3, 3, 9, 12, 1, 0, time.UTC), UpdatedAt: time.Date(2026, 3, 3, 9, 12, 1, 0, time.UTC)}
	env := Environment{ID: 51, Name: "production/network", State: "available", Tier: "production", ExternalURL: "https://appliance.example.com/stacks/network"}
	hook := ProjectHook{
		ID: 301, URL: "https://appliance.example.com/webhooks/gitlab", PushEvents: true, TagPushEvents: true, MergeRequestsEvents: true,
		NoteEvents: true, SSLVerification: true, AlertStatus: "executable", Name: "terraform appliance", SigningTokenPresent: true,
	}
	disabled := hook
	disabled.AlertStatus, disabled.DisabledUntil = "temporarily_disabled", &until
	spec := HookSpec{URL: "https://g.example.com/hook", Token: "s3cret", Push: true, MergeRequests: true, SSLVerification: true, Name: "groundcrew"}
	specJSON := `{"url":"https://g.example.com/hook","token":"s3cret","push_events_branch_filter":"","push_events":true,"tag_push_events":false,"merge_requests_events":true,"note_events":false,"enable_ssl_verification":true,"name":"groundcrew"}`
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
			"user_project_bot", func(c *Client) result { u, err := c.User(t.Context(), 91); return all(u.Bot, err) }, "GET users/91",
			result{true, nil},
		},
		{
			"user_project_bot", func(c *Client) result { return all(c.CurrentUser(t.Context())) }, "GET user",
			result{User{91, "project_42_bot_5a3f1c9e2b7d4f60", "terraform-appliance", true, "active", "https://gitlab.example.com/project_42_bot_5a3f1c9e2b7d4f60", false}, nil},
		},
		{
			"personal_access_token_self", func(c *Client) result { return all(c.TokenSelf(t.Context())) }, "GET personal_access_tokens/self",
			result{TokenInfo{ID: 25, Name: "terraform-appliance", Scopes: []string{"api"}, Active: true, CreatedAt: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), ExpiresAt: &expiry}, nil},
		},
		{
			"project", func(c *Client) result { return all(c.Project(t.Context(), "acme/platform/infra-stack")) }, "GET projects/acme%2Fplatform%2Finfra-stack",
			result{Project{
				ID: 42, Path: "acme/platform/infra-stack", Name: "Infra Stack", DefaultBranch: "main", WebURL: "https://gitlab.example.com/acme/platform/infra-stack",
				HTTPURL: "https://gitlab.example.com/acme/platform/infra-stack.git", AccessLevel: 40, Visibility: "private", ObjectFormat: "sha1", OnlyAllowMergeIfPipelineSucceeds: true,
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
				WebURL: "https://gitlab.example.com/acme/platform/infra-stack/-/merge_requests/12", HeadPipelineID: 3301, HeadPipelineSHA: sha, HeadPipelineRef: "feature/nat", AuthorID: 7,
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
		{"note_create", func(c *Client) result { return all(c.Note(t.Context(), 42, 12, 5510)) }, "GET projects/42/merge_requests/12/notes/5510", result{note, nil}},
		{"note_create", func(c *Client) result { return all(c.Reply(t.Context(), 42, 12, "6a9c1750", "hi")) }, `POST projects/42/merge_requests/12/discussions/6a9c1750/notes {"body":"hi"}`, result{note, nil}},
		{"note_create", func(c *Client) result { return all(c.CreateNote(t.Context(), 42, 12, "hi")) }, `POST projects/42/merge_requests/12/notes {"body":"hi"}`, result{note, nil}},
		{
			"note_update", func(c *Client) result { n, err := c.UpdateNote(t.Context(), 42, 12, 5510, "ho"); return all(n.ID, err) },
			`PUT projects/42/merge_requests/12/notes/5510 {"body":"ho"}`,
			result{int64(5510), nil},
		},
		{
			"personal_access_token_self_no_expiry", func(c *Client) result { i, err := c.TokenSelf(t.Context()); return all(i.ExpiresAt, err) },
			"GET personal_access_tokens/self",
			result{(*time.Time)(nil), nil},
		},
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
