package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReads(t *testing.T) {
	w := newWorld(t)
	bot := w.s.AddBot("project_41_bot_ab12", "groundcrew")
	first := w.push("feature", map[string]string{"a.tf": "1\n"})
	second := w.push("from-feature", map[string]string{"b.tf": "1\n"}, From("feature"))
	w.check(w.s.CreateTag(w.project.ID, "v1", first, "One"))
	w.check(w.s.CreateTag(w.project.ID, "v2-light", second, ""))
	iid := w.openMR("feature")
	pipeline := int64(w.post(201, "developer", first, "success", nil).object()["pipeline_id"].(float64))
	body := map[string]any{"environment": "prod", "sha": second, "ref": "v1", "tag": true, "status": "success"}
	deployment := w.want(201, "developer", "POST", w.in("/deployments"), body)
	hook := w.want(201, "maintainer", "POST", w.in("/hooks"), map[string]any{"url": "https://a.example.com/x"})
	discussion := w.want(201, "developer", "POST", w.in("/merge_requests/%d/discussions", iid), map[string]any{"body": "x"}).object()["id"]

	for _, c := range []struct{ path, key, want string }{
		{w.in("/repository/tags?search=^v1"), "0.name", "v1"},
		{w.in("/repository/tags/v2-light"), "target", second},
		{w.in("/repository/tags/v2-light"), "message", ""},
		{w.in("/repository/tags/v1"), "message", "One"},
		{w.in("/repository/merge_base?refs[]=main&refs[]=feature"), "id", w.s.Head(w.project.ID, "main")},
		{w.in("/repository/commits/%s", second), "parent_ids.0", first},
		{w.in("/repository/commits/feature"), "id", first},
		{w.in("/repository/commits/%s/refs?type=tag", second), "0.name", "v2-light"},
		{w.in("/repository/branches?search=feature$"), "1.name", "from-feature"},
		{w.in("/pipelines?sha=%s", first), "0.id", itoa(pipeline)},
		{w.in("/pipelines/%d", pipeline), "status", "success"},
		{w.in("/deployments/%d", deployment.id()), "ref", "v1"},
		{w.in("/hooks/%d", hook.id()), "url", "https://a.example.com/x"},
		{w.in("/merge_requests/%d/discussions", iid), "0.id", discussion.(string)},
		{w.in("/merge_requests/%d/discussions/%s", iid, discussion), "notes.0.body", "x"},
		{w.in("/merge_requests?order_by=updated_at&sort=asc&iids[]=%d", iid), "0.iid", itoa(iid)},
		{w.in("/members/all/%d", w.users["developer"].ID), "access_level", "30"},
		{fmt.Sprintf("/users/%d", bot.ID), "bot", "true"},
		{"/personal_access_tokens?state=active", "0.name", "root-token"},
		{"/projects?search=infra-stack&archived=false&visibility=private", "0.path_with_namespace", w.project.Path},
	} {
		got := w.want(200, "root", "GET", c.path, nil)
		if v := dig(got.body, c.key); fmt.Sprint(v) != c.want {
			t.Errorf("%s: %s is %v, want %s", c.path, c.key, v, c.want)
		}
	}
	for _, path := range []string{"/repository/tags/none", "/pipelines/1", "/deployments/1", "/hooks/1", "/environments/1", "/merge_requests/1/discussions/x"} {
		w.want(404, "root", "GET", w.in("%s", path), nil)
	}
}

// dig follows a path of keys and indexes.
func dig(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i := 0
			_, _ = fmt.Sscan(key, &i)
			if i >= len(at) {
				return nil
			}
			v = at[i]
		}
	}
	if f, ok := v.(float64); ok {
		return int64(f)
	}
	return v
}

func TestDeploymentMergeRequests(t *testing.T) {
	w := newWorld(t)
	w.push("feature", map[string]string{"a.tf": "1\n"})
	iid := w.openMR("feature")
	sha, err := w.s.MergeMergeRequest(w.project.ID, iid, 0)
	w.check(err)
	deploy := func() int {
		body := map[string]any{"environment": "prod", "sha": sha, "ref": "main", "tag": false, "status": "success"}
		d := w.want(201, "developer", "POST", w.in("/deployments"), body)
		return len(w.want(200, "developer", "GET", w.in("/deployments/%d/merge_requests", d.id()), nil).list())
	}
	if first, again := deploy(), deploy(); first != 1 || again != 0 {
		t.Errorf("%d merge requests of the first deployment, %d of the second; want 1 and 0", first, again)
	}
}

func TestInput(t *testing.T) {
	r := &http.Request{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, URL: &url.URL{RawQuery: "a=1&refs[]=x&refs[]=y&b=query"}}
	in, err := readInput(r, []byte("b=body&p[head_sha]=abc&p[new_path]=f&flag=on"))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{in.number("a"), in.list("refs"), in.text("b"), in.hash("p").text("head_sha"), in.flag("flag"), in.has("none")}
	if diff := cmp.Diff([]any{int64(1), []string{"x", "y"}, "body", "abc", true, false}, got); diff != "" {
		t.Error(diff)
	}
	for kind, body := range map[string]string{"application/json": "{", "text/csv": "a"} {
		r.Header.Set("Content-Type", kind)
		if _, err := readInput(r, []byte(body)); err == nil {
			t.Errorf("%s %q is accepted", kind, body)
		}
	}
	problems := validate(input{"n": "x", "s": "moon"}, []param{{name: "url", required: true}, {name: "n", kind: "integer"}, {name: "s", values: []string{"sun"}}, {name: "absent", kind: "boolean"}})
	if want := "GitLab answers 400: url is missing, n is invalid, s does not have a valid value"; problems == nil || problems.Error() != want {
		t.Errorf("%v, want %s", problems, want)
	}
}

// direct sends hooks straight into a function.
type direct func(*http.Request) *http.Response

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) { return d(r), nil }

// TestInABottle runs the instance on a fake clock: everything that waits must wait for that one.
func TestInABottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		hooks := &http.Client{Transport: direct(func(r *http.Request) *http.Response {
			events = append(events, r.Header.Get("X-Gitlab-Event"))
			return &http.Response{StatusCode: 200, Body: http.NoBody}
		})}
		s, err := New(Options{Dir: t.TempDir(), HookClient: hooks, PrepareDelay: 6 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		root := s.AddUser("root", "Root", true)
		p, err := s.AddProject("acme/infra", "main", map[string]string{"a.tf": "1\n"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Push(p.ID, "feature", "Change", map[string]string{"a.tf": "2\n"}); err != nil {
			t.Fatal(err)
		}
		s.projects[0].hooks = []*hook{{id: 1, url: "http://gc.invalid/", flags: map[string]bool{"merge_requests_events": true}}}
		start := time.Now()
		iid, err := s.OpenMergeRequest(p.ID, "feature", "main", "T", root.ID)
		if err != nil {
			t.Fatal(err)
		}
		s.WaitHooks()
		if took := time.Since(start); took != 6*time.Hour {
			t.Errorf("prepared after %s of the bubble's time, want six hours", took)
		}
		if _, err := s.MergeMergeRequest(p.ID, iid, root.ID); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if want := []string{"Merge Request Hook", "Merge Request Hook"}; !cmp.Equal(want, events) {
			t.Errorf("hooks %v, want %v", events, want)
		}
	})
}
