package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
	"groundcrew/store"
)

// problemOf wants a problem document with a status.
func (s *site) problemOf(want int, method, path, body string) problem {
	s.t.Helper()
	a := s.api(bootstrap, method, path, body)
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		s.t.Fatalf("%s %s: %v, %s\n%s", method, path, err, a.header.Get("Content-Type"), a.body)
	}
	if a.status != want || p.Status != want || p.Detail == "" || p.Title != http.StatusText(want) || p.RequestID == "" || p.Type != "about:blank" {
		s.t.Fatalf("%s %s: status %d, want %d\n%s", method, path, a.status, want, a.body)
	}
	return p
}

func TestIntegrationAPI(t *testing.T) {
	s, f := newSite(t), newForge(t)
	s.problemOf(404, get, "/integration", "")
	if p := s.problemOf(422, put, "/integration", `{"api_url":"`+f.URL()+`","token":"glpat-wrong"}`); p.Field != "token" {
		t.Errorf("a wrong token is a fault of %q", p.Field)
	}
	if p := s.problemOf(422, put, "/integration", `{"api_url":"ftp://x","token":"y"}`); p.Field != "api_url" {
		t.Errorf("a wrong address is a fault of %q", p.Field)
	}
	s.problemOf(404, get, "/integration", "") // nothing was kept
	s.problemOf(404, post, "/integration/test", "")
	s.problemOf(404, remove, "/integration", "")

	got := s.apiOK(200, put, "/integration", `{"api_url":"`+f.URL()+`/","token":"`+f.token+`"}`)
	hook, token := got["webhook"].(map[string]any), got["token"].(map[string]any)
	if hook["endpoint"] != s.srv.URL+"/webhooks/gitlab" || len(fmt.Sprint(hook["secret"])) < 30 {
		t.Errorf("webhook: %v", hook)
	}
	if token["username"] != "groundcrew-bot" || token["name"] != "gc" || token["active"] != true || token["checked_at"] == nil {
		t.Errorf("token: %v", token)
	}
	for body, field := range map[string]string{
		`{"status_prefix":"é"}`: "status_prefix", `{"status_prefix":"/gc"}`: "status_prefix", `{"status_prefix":"a\nb"}`: "status_prefix",
		`{"status_prefix":"` + strings.Repeat("x", 51) + `"}`: "status_prefix", `{"ca_pem":"no"}`: "ca_pem", `{"api_url":"http://169.254.169.254"}`: "api_url",
	} {
		if p := s.problemOf(422, put, "/integration", body); p.Field != field || strings.Contains(p.Detail, "GitLab refuses") {
			t.Errorf("%s: field %q, %s", body, p.Field, p.Detail)
		}
	}
	s.apiOK(200, put, "/integration", `{"status_prefix":"our ${x}/gc"}`)
	s.apiOK(200, put, "/integration", `{"status_prefix":"gc"}`)
	kept := s.apiOK(200, get, "/integration", "")
	if kept["api_url"] != f.URL() || kept["status_prefix"] != "gc" || kept["webhook"].(map[string]any)["secret"] != hook["secret"] {
		t.Errorf("after a change of one field: %v", kept)
	}
	s.problemOf(422, put, "/integration", `{"token":"glpat-wrong"}`)
	if again := s.apiOK(200, get, "/integration", ""); !cmp.Equal(again, kept) {
		t.Error("a refused change changed something:", cmp.Diff(kept, again))
	}
	if test := s.apiOK(200, post, "/integration/test", ""); test["ok"] != true || len(test["checks"].([]any)) < 3 {
		t.Errorf("test: %v", test)
	}
	if a := s.api(s.key(store.Reader), get, "/integration", ""); strings.Contains(a.body, fmt.Sprint(hook["secret"])) || strings.Contains(a.body, f.token) {
		t.Error("a reader sees a secret")
	}
	rotated := s.apiOK(200, post, "/integration/secret/rotate", "")["webhook"].(map[string]any)
	if rotated["secret"] == hook["secret"] || rotated["old_secret_until"] == nil {
		t.Errorf("rotated: %v", rotated)
	}
	s.apiOK(204, remove, "/integration", "")
	s.problemOf(404, get, "/integration", "")
}

func TestStrictBodies(t *testing.T) {
	s := newSite(t)
	for body, field := range map[string]string{
		`{"api_urll":"x"}`:             "api_urll",
		`{"aggregate":"yes"}`:          "aggregate",
		`{"api_url":5}`:                "api_url",
		`{`:                            "",
		`{} {}`:                        "",
		`[]`:                           "",
		`{"token":"x","token2":"y"} `:  "token2",
		`{"status_prefix":["a","b"]}`:  "status_prefix",
		"\x00":                         "",
		`{"api_url":"` + "\xff" + `"}`: "api_url",
	} {
		if p := s.problemOf(422, put, "/integration", body); p.Field != field {
			t.Errorf("%s: field %q, want %q", body, p.Field, field)
		}
	}
	if p := s.problemOf(422, put, "/integration", `[]`); p.Detail != "The body is JSON of the kind array. Send an object: {…}." {
		t.Errorf("a list: %s", p.Detail)
	}
	s.problemOf(413, put, "/integration", `{"ca_pem":"`+strings.Repeat("x", 2<<20)+`"}`)
}

func TestStacksAPI(t *testing.T) {
	s, f := linked(t)
	key := bootstrap
	a := s.api(key, post, "/stacks", `{"name":"Network prod","project":"infra/network","branch":"main","project_root":"live/","globs":["modules/**"],"tool":"terraform","labels":["prod"],"install_hook":true}`)
	if a.status != 201 || a.header.Get("Location") != "/api/v1/stacks/network-prod" {
		t.Fatalf("status %d %s\n%s", a.status, a.header.Get("Location"), a.body)
	}
	st := a.json(t)
	for name, want := range map[string]any{
		"slug": "network-prod", "name": "Network prod", "project": "infra/network", "project_id": float64(f.project.ID), "branch": "main",
		"project_root": "live", "tool": "terraform", "tool_version": "", "autodeploy": false, "state": "managed", "plan": "merge_result",
		"tracked_commit": nil, "status": "none", "detached": false, "url": s.srv.URL + "/stacks/network-prod", "description": "",
	} {
		if !cmp.Equal(st[name], want) {
			t.Errorf("%s = %v, want %v", name, st[name], want)
		}
	}
	if len(f.Hooks(f.project.ID)) != 1 {
		t.Errorf("hooks in GitLab: %v", f.Hooks(f.project.ID))
	}
	byID := s.apiOK(201, post, "/stacks", fmt.Sprintf(`{"name":"By id","project":%d}`, f.project.ID))
	if byID["project"] != "infra/network" || byID["branch"] != "main" {
		t.Errorf("by id: %v", byID)
	}
	changed := s.apiOK(200, patch, "/stacks/network-prod", `{"autodeploy":true,"labels":[]}`)
	if changed["autodeploy"] != true || changed["project_root"] != "live" || changed["tool"] != "terraform" || len(changed["labels"].([]any)) != 0 || len(changed["globs"].([]any)) != 1 {
		t.Errorf("changed: %v", changed)
	}

	if p := s.problemOf(422, post, "/stacks", `{"name":"x","project":"no/such"}`); p.Field != "project" {
		t.Errorf("field %q: %s", p.Field, p.Detail)
	}
	if p := s.problemOf(422, post, "/stacks", `{"name":"x","project":"infra/network","branch":"nope"}`); p.Field != "branch" {
		t.Errorf("field %q: %s", p.Field, p.Detail)
	}
	if p := s.problemOf(422, post, "/stacks", `{"name":"x","project":"infra/network","project_root":"../.."}`); p.Field != "project_root" {
		t.Errorf("field %q: %s", p.Field, p.Detail)
	}
	s.problemOf(422, post, "/stacks", `{"nmae":"x"}`)
	s.problemOf(422, post, "/stacks", `{"name":"x","project":["a"]}`)
	s.problemOf(409, post, "/stacks", `{"name":"network-PROD","project":"infra/network"}`)
	s.problemOf(404, get, "/stacks/nothing", "")
	s.problemOf(404, patch, "/stacks/nothing", `{}`)
	s.problemOf(404, remove, "/stacks/nothing", "")
	s.problemOf(422, patch, "/stacks/by-id", `{"install_hook":true}`)

	if locked := s.apiOK(200, post, "/stacks/by-id/lock", `{"note":"migration"}`); locked["locked_by"] != "bootstrap token" || locked["lock_note"] != "migration" {
		t.Errorf("locked: %v", locked)
	}
	s.problemOf(409, post, "/stacks/by-id/lock", "")
	s.apiOK(200, post, "/stacks/by-id/unlock", "")
	if synced := s.apiOK(200, post, "/stacks/by-id/sync", ""); len(fmt.Sprint(synced["tracked_commit"])) != 40 {
		t.Errorf("synced: %v", synced["tracked_commit"])
	}

	projects := s.apiOK(200, get, "/projects", "")["items"].([]any)
	p := projects[0].(map[string]any)
	if len(projects) != 1 || p["path"] != "infra/network" || p["default_branch"] != "main" || p["hook"].(map[string]any)["state"] != "ok" {
		t.Errorf("projects: %v", projects)
	}
	hook := s.apiOK(200, post, fmt.Sprintf("/projects/%d/hook", f.project.ID), "")
	if hook["hook"].(map[string]any)["state"] != "ok" {
		t.Errorf("hook: %v", hook)
	}
	s.apiOK(200, post, fmt.Sprintf("/projects/%d/hook/test", f.project.ID), "")
	if n := len(s.deliveries()); n == 0 {
		t.Error("the test delivery did not arrive")
	}
	if byPath := s.apiOK(200, post, "/projects/infra%2Fnetwork/hook", ""); byPath["id"] != hook["id"] {
		t.Errorf("by its path: %v", byPath)
	}
	s.problemOf(404, post, "/projects/abc/hook", "")

	s.apiOK(204, remove, "/stacks/by-id", "")
	s.problemOf(404, get, "/stacks/by-id", "")
}

func TestListsInPages(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	var want []string
	for i := range 7 {
		want = append(want, s.stack(fmt.Sprintf("stack %d", i)).Slug)
	}
	var ids []string
	for range 7 {
		ids = append(ids, s.request("stack-0", runs.Proposed, "c0ffee").ID)
	}
	slices.Reverse(ids)
	var people []string
	for i := range 7 {
		s.user(fmt.Sprint("reader", i), store.Reader)
	}
	for _, u := range s.apiOK(200, get, "/users", "")["items"].([]any) {
		people = append(people, u.(map[string]any)["id"].(string))
	}
	for path, c := range map[string]struct {
		key  string
		want []string
	}{"/stacks": {"slug", want}, "/runs": {"id", ids}, "/stacks/stack-0/runs": {"id", ids}, "/users": {"id", people}} {
		var got []string
		cursor, pages := "", 0
		for {
			page := s.apiOK(200, get, path+"?limit=3&cursor="+cursor, "")
			pages++
			for _, it := range page["items"].([]any) {
				got = append(got, it.(map[string]any)[c.key].(string))
			}
			if cursor = page["next_cursor"].(string); cursor == "" {
				break
			}
		}
		if !slices.Equal(got, c.want) || pages != 3 {
			t.Errorf("%s in %d pages: %v, want %v", path, pages, got, c.want)
		}
	}
	for _, bad := range []string{"0", "201", "-1", "x"} {
		s.problemOf(422, get, "/runs?limit="+bad, "")
	}
	for _, bad := range []string{"type=x", "state=x", "merge_request=x", "merge_request=0"} {
		s.problemOf(422, get, "/runs?"+bad, "")
	}
	if empty := s.api(bootstrap, get, "/stacks/stack-1/runs", ""); strings.TrimSpace(empty.body) != `{"items":[],"next_cursor":""}` {
		t.Errorf("an empty list is %s", empty.body)
	}
	for _, path := range []string{"/users", "/api-keys", "/inbox", "/notifications"} {
		if p := s.problemOf(422, get, path+"?cursor=zzz", ""); p.Field != "cursor" {
			t.Errorf("%s: field %q", path, p.Field)
		}
	}
	for _, path := range []string{"/runs", "/stacks/stack-0/runs", "/deliveries", "/audit"} {
		for _, cursor := range []string{"zzz", "%00%ff", strings.ToLower(ids[3]), ids[3] + "x"} {
			if p := s.problemOf(422, get, path+"?cursor="+cursor, ""); p.Field != "cursor" {
				t.Errorf("%s from %s: field %q", path, cursor, p.Field)
			}
		}
	}
}

// TestListsAreWholeUnlessPaged: who asks for no part gets all, however much it is; who does goes on behind what is gone meanwhile, in
// lists in the order of their ids.
func TestListsAreWholeUnlessPaged(t *testing.T) {
	s := newSite(t)
	const n = defaultLimit + 10
	s.update(func(tx *store.Tx) error {
		for i := range n {
			if _, err := tx.PutUser(store.User{Name: fmt.Sprint("reader", i), Role: store.Reader}); err != nil {
				return err
			}
			if _, _, err := tx.AddAPIKey(store.APIKey{Name: fmt.Sprint("key", i), Role: store.Reader}); err != nil {
				return err
			}
		}
		return nil
	})
	ids := func(path string) (out []string, next string) {
		page := s.apiOK(200, get, path, "")
		for _, it := range page["items"].([]any) {
			out = append(out, it.(map[string]any)["id"].(string))
		}
		return out, page["next_cursor"].(string)
	}
	for _, path := range []string{"/users", "/api-keys"} {
		all, next := ids(path)
		if len(all) != n || next != "" || !slices.IsSorted(all) {
			t.Errorf("%s: %d of %d, in the order of their ids: %v, then %q", path, len(all), n, slices.IsSorted(all), next)
		}
		if part, next := ids(path + "?cursor=" + all[0]); len(part) != defaultLimit || next != part[len(part)-1] {
			t.Errorf("%s: a part has %d and goes on at %q", path, len(part), next)
		}
	}
	all, _ := ids("/api-keys")
	s.apiOK(204, remove, "/api-keys/"+all[4], "")
	if part, _ := ids("/api-keys?limit=3&cursor=" + all[4]); !slices.Equal(part, all[5:8]) {
		t.Errorf("behind a key that is gone: %v, want %v", part, all[5:8])
	}
	s.problemOf(422, get, "/inbox?cursor=trouble/gone", "")
}

func TestVariablesAPI(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	plain := s.api(bootstrap, put, "/stacks/a/variables/TF_VAR_x", `{"value":"1"}`)
	if plain.status != 200 || plain.json(t)["value"] != "1" {
		t.Errorf("%d\n%s", plain.status, plain.body)
	}
	s.apiOK(200, put, "/stacks/a/variables/TF_VAR_x", `{"value":"2"}`)
	secret := s.apiOK(200, put, "/stacks/a/variables/AWS_SECRET", `{"value":"hunter2","secret":true}`)
	if secret["value"] != nil || secret["secret"] != true {
		t.Errorf("secret: %v", secret)
	}
	if list := s.api(bootstrap, get, "/stacks/a/variables", ""); strings.Contains(list.body, "hunter2") || !strings.Contains(list.body, `"value":"2"`) {
		t.Errorf("list: %s", list.body)
	}
	if one := s.api(bootstrap, get, "/stacks/a/variables/AWS_SECRET", ""); one.status != 200 || strings.Contains(one.body, "hunter2") {
		t.Errorf("one: %s", one.body)
	}
	s.problemOf(422, put, "/stacks/a/variables/TF_VAR_x", `{"secret":true}`)
	s.problemOf(422, put, "/stacks/a/variables/PATH", `{"value":"x"}`)
	s.problemOf(404, put, "/stacks/nothing/variables/X", `{"value":"x"}`)
	s.problemOf(404, get, "/stacks/a/variables/NOPE", "")
	s.apiOK(204, remove, "/stacks/a/variables/AWS_SECRET", "")
	s.problemOf(404, remove, "/stacks/a/variables/AWS_SECRET", "")
}

func TestStateAPI(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	s.problemOf(404, get, "/stacks/a/state", "")
	raw := `{"version":4,"serial":3,"outputs":{"p":{"value":"s3cret","sensitive":true},"q":{"value":"shown"}}}`
	v, err := s.st.WriteState("a", []byte(raw))
	must(t, err)
	v.Serial, v.Lineage, v.By = 3, "l", "ann"
	s.update(func(tx *store.Tx) error { _, err := tx.AddStateVersion("a", v); return err })
	if got := s.api(bootstrap, get, "/stacks/a/state", ""); got.body != raw {
		t.Errorf("state: %s", got.body)
	}
	versions := s.apiOK(200, get, "/stacks/a/state/versions", "")["items"].([]any)
	one := versions[0].(map[string]any)
	if len(versions) != 1 || one["version"] != 1.0 || one["serial"] != 3.0 || one["lineage"] != "l" || one["run"] != nil || one["size"] != float64(len(raw)) {
		t.Errorf("versions: %v", versions)
	}
	if got := s.api(s.key(store.Writer), get, "/stacks/a/state", ""); got.status != 403 {
		t.Errorf("a writer reads the state: %d (S34)", got.status)
	}
	page := s.get(s.signedIn(store.Reader), "/stacks/a/state")
	if page.status != 200 || strings.Contains(page.body, "s3cret") || !strings.Contains(page.body, "shown") {
		t.Errorf("state page: %d; sensitive shown: %v", page.status, strings.Contains(page.body, "s3cret"))
	}
	if got := s.get(s.signedIn(store.Admin), "/stacks/a/state/1/download"); got.body != raw || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("download: %d %s", got.status, got.header)
	}
}

func TestKeysAndUsersAPI(t *testing.T) {
	s := newSite(t)
	made := s.api(bootstrap, post, "/api-keys", `{"name":"ci","role":"writer","expires_at":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
	k := made.json(t)
	if made.status != 201 || !strings.HasPrefix(k["key"].(string), "gck_") || made.header.Get("Location") != "/api/v1/api-keys/"+k["id"].(string) {
		t.Fatalf("%d\n%s", made.status, made.body)
	}
	if list := s.api(bootstrap, get, "/api-keys", ""); strings.Contains(list.body, k["key"].(string)) || !strings.Contains(list.body, k["id"].(string)) {
		t.Errorf("list: %s", list.body)
	}
	if got := s.api(k["key"].(string), get, "/runs", ""); got.status != 200 {
		t.Errorf("the key does not work: %d", got.status)
	}
	for body, field := range map[string]string{
		`{"name":"x","role":"king"}`: "role", `{"role":"reader"}`: "name", `{"name":"x","role":"reader","expires_at":"2001-01-01T00:00:00Z"}`: "expires_at",
	} {
		if p := s.problemOf(422, post, "/api-keys", body); p.Field != field {
			t.Errorf("%s: field %q", body, p.Field)
		}
	}
	s.problemOf(422, post, "/api-keys", `{"name":"x","role":"reader","expires_at":"tomorrow"}`)
	s.apiOK(204, remove, "/api-keys/"+k["id"].(string), "")
	if got := s.api(k["key"].(string), get, "/runs", ""); got.status != 401 {
		t.Errorf("a deleted key works: %d", got.status)
	}
	s.problemOf(404, remove, "/api-keys/"+k["id"].(string), "")

	ann, bob := s.user("ann", store.Admin), s.user("bob", store.Reader)
	if list := s.api(bootstrap, get, "/users", ""); strings.Contains(list.body, "argon2") || strings.Count(list.body, `"name"`) != 2 {
		t.Errorf("users: %s", list.body)
	}
	s.problemOf(409, patch, "/users/"+ann.ID, `{"role":"reader"}`)
	s.apiOK(200, patch, "/users/"+bob.ID, `{"role":"admin"}`)
	s.apiOK(200, patch, "/users/"+ann.ID, `{"role":"reader"}`)
	s.problemOf(422, patch, "/users/"+bob.ID, `{"role":"king"}`)
	s.problemOf(404, patch, "/users/nobody", `{"role":"reader"}`)
	if log := s.api(bootstrap, get, "/audit", ""); !strings.Contains(log.body, "user.change") || !strings.Contains(log.body, "api_key.create") {
		t.Errorf("audit: %s", log.body)
	}
}

func TestRecordsAPI(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	s.hook("hook-secret", `{}`)
	list := s.apiOK(200, get, "/deliveries?state=waiting", "")["items"].([]any)
	d := list[0].(map[string]any)
	if want := []string{"event", "id", "project", "received_at", "runs", "state", "verdict"}; !slices.Equal(slices.Sorted(maps.Keys(d)), want) || d["event"] != "Push Hook" {
		t.Errorf("delivery: %v", d)
	}
	if again := s.apiOK(200, post, "/deliveries/"+d["id"].(string)+"/replay", ""); again["received_at"] != d["received_at"] || again["state"] != "waiting" {
		t.Errorf("processed again: %v, it was %v", again, d)
	}
	s.problemOf(404, post, "/deliveries/nothing/replay", "")
	s.problemOf(422, get, "/deliveries?state=x", "")

	reports := s.apiOK(200, get, "/reports?state=waiting", "")["items"].([]any)
	var status map[string]any
	for _, it := range reports {
		if rep := it.(map[string]any); rep["kind"] == "status" {
			status = rep
		}
	}
	if status["run"] != r.ID || status["attempts"] != 0.0 || status["target"] != "status/7/c1/groundcrew/a" || status["next_attempt_at"] != nil {
		t.Errorf("report: %v", status)
	}
	s.update(func(tx *store.Tx) error {
		rep, _, err := tx.Report(status["target"].(string))
		rep.State, rep.LastError = store.ReportParked, "no right"
		return cmpErr(err, tx.PutReport(rep))
	})
	inbox := s.api(bootstrap, get, "/inbox", "")
	if !strings.Contains(inbox.body, "GitLab refused 1 report") {
		t.Errorf("inbox: %s", inbox.body)
	}
	if again := s.apiOK(200, post, "/reports/"+status["id"].(string)+"/retry", ""); again["state"] != "waiting" {
		t.Errorf("retried: %v", again)
	}
	s.problemOf(404, post, "/reports/nothing/retry", "")
	s.problemOf(404, post, "/reports/!!/retry", "")
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestErrorsHideTheInside(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	must(t, os.MkdirAll(s.eng.LogFile(r.ID, runs.Planning), 0o700)) // a folder where a file should be
	s.web.table = append(s.web.table, route{method: get, path: "/boom", need: public, handle: func(*request) error { panic("inner secret") }})
	s.srv.Config.Handler = s.web.mount()
	for _, a := range []answer{s.get(noFollow, "/boom")} {
		if a.status != 500 || strings.Contains(a.body, "inner secret") || strings.Contains(a.body, "goroutine") {
			t.Errorf("%d\n%s", a.status, a.body)
		}
	}
	if a := s.get(s.browser(), "/nowhere"); a.status != 404 || !strings.Contains(a.header.Get("Content-Type"), "text/html") {
		t.Errorf("404 page: %d %s", a.status, a.header.Get("Content-Type"))
	}
	s.problemOf(404, get, "/nowhere", "")
	s.problemOf(405, remove, "/runs", "")
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	s := newSite(t)
	a := s.api("", get, "/openapi.json", "")
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]any }
	}
	must(t, json.Unmarshal([]byte(a.body), &doc))
	got := map[string]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			got[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, r := range s.web.echo.Routes() {
		if !strings.HasPrefix(r.Path, "/api/") || r.Method == http.MethodHead {
			continue
		}
		name := r.Method + " " + documented(r.Path)
		if !got[name] {
			t.Errorf("%s is not in the document", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is in the document and not in the server", name)
	}
	for _, part := range strings.Split(a.body, `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("schema %q is named and not there", name)
		}
	}
	run, _ := json.Marshal(doc.Components.Schemas["Run"])
	for _, field := range []string{`"merge_request"`, `"transitions"`, `"delta"`, `"unconfirmed"`} {
		if !strings.Contains(string(run), field) {
			t.Errorf("the schema of a run lacks %s: %s", field, run)
		}
	}
}
