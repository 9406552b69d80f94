package sim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTokens(t *testing.T) {
	w := newWorld(t)
	u := w.users["developer"]
	token := func(scopes []string, expires time.Time) string { return w.s.AddToken(u.ID, "x", scopes, expires) }
	revoked, expired := token([]string{"api"}, time.Time{}), token([]string{"api"}, time.Time{})
	w.s.RevokeToken(revoked)
	w.s.ExpireToken(expired)
	w.tokens["read_api"] = token([]string{"read_api"}, time.Now().AddDate(0, 0, 1))
	w.tokens["read_repository"] = token([]string{"read_repository"}, time.Time{})
	w.tokens["read_user"] = token([]string{"read_user"}, time.Time{})
	w.tokens["revoked"], w.tokens["expired"], w.tokens["unknown"] = revoked, expired, "glpat-unknown"
	w.tokens["today"] = token([]string{"api"}, time.Now())

	status := w.in("/statuses/main")
	for _, c := range []struct {
		who, method, path string
		status            int
		sample            string // whole body, "" for any
	}{
		{"", "GET", "/version", 401, "error_401_no_or_bad_token"},
		{"unknown", "GET", "/version", 401, "error_401_no_or_bad_token"},
		{"unknown", "GET", "/projects", 401, "error_401_no_or_bad_token"},
		{"revoked", "GET", "/user", 401, "error_401_revoked"},
		{"expired", "GET", "/user", 401, "error_401_expired"},
		{"today", "GET", "/user", 401, "error_401_expired"},
		{"", "GET", "/projects", 200, ""},
		{"read_api", "GET", w.in(""), 200, ""},
		{"read_api", "POST", status, 403, "error_403_insufficient_scope"},
		{"read_user", "GET", "/user", 200, ""},
		{"read_user", "GET", w.in(""), 403, ""},
		{"read_repository", "GET", w.in("/repository/archive"), 200, ""},
		{"read_repository", "GET", w.in("/repository/files/README.md/raw"), 200, ""},
		{"read_repository", "GET", w.in("/repository/branches"), 403, ""},
		{"read_repository", "GET", "/personal_access_tokens/self", 200, ""},
		{"read_repository", "POST", "/personal_access_tokens/self/rotate", 403, ""},
	} {
		got := w.as(c.who, c.method, c.path, nil)
		if got.status != c.status {
			t.Errorf("%s %s with %q: %d %s, want %d", c.method, c.path, c.who, got.status, got.raw, c.status)
		}
		if c.sample == "" {
			continue
		}
		if _, want := sample(t, c.sample); !cmp.Equal(want, got.body) {
			t.Errorf("%s %s with %q: %s, want %v", c.method, c.path, c.who, got.raw, want)
		}
	}
	got := w.as("read_user", "GET", w.in(""), nil)
	if got.object()["scope"] != "api read_api" {
		t.Errorf("scope %v, want what would do", got.object()["scope"])
	}
	if h := w.as("revoked", "GET", "/user", nil).header.Get("WWW-Authenticate"); !strings.Contains(h, "invalid_token") {
		t.Errorf("WWW-Authenticate %q", h)
	}
}

func TestTokenTransports(t *testing.T) {
	w := newWorld(t)
	for name, set := range map[string]func(*http.Request){
		"header": func(r *http.Request) { r.Header.Set("PRIVATE-TOKEN", w.tokens["guest"]) },
		"bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+w.tokens["guest"]) },
		"query":  func(r *http.Request) { r.URL.RawQuery = "private_token=" + w.tokens["guest"] },
	} {
		req := w.request("GET", w.url+"/api/v4/user", nil)
		set(req)
		if got := w.do(req); got.object()["username"] != "guest" {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	for path, least := range map[string]string{
		"GET ": "guest", "GET /members/all": "guest", "GET /repository/branches": "reporter", "GET /merge_requests": "reporter",
		"GET /environments": "reporter", "POST /environments": "developer", "GET /hooks": "maintainer",
	} {
		method, path, _ := strings.Cut(path, " ")
		enough := false
		for _, who := range []string{"stranger", "guest", "reporter", "developer", "maintainer"} {
			enough = enough || who == least
			var body any
			if method == "POST" {
				body = map[string]any{"name": "env of " + who}
			}
			got := w.as(who, method, w.in("%s", path), body)
			want := map[bool]int{true: 403, false: 404}[who != "stranger"]
			if enough {
				want = map[string]int{"GET": 200, "POST": 201}[method]
			}
			if got.status != want {
				t.Errorf("%s %s as %s: %d %s, want %d", method, path, who, got.status, got.raw, want)
			}
		}
	}
	w.check(w.s.Configure(w.project.ID, func(s *Settings) { s.Visibility = "public" }))
	w.want(200, "", "GET", w.in("/repository/branches"), nil)
	w.want(401, "", "GET", w.in("/environments"), nil)
	w.check(w.s.Configure(w.project.ID, func(s *Settings) { s.Archived = true }))
	w.want(403, "maintainer", "POST", w.in("/environments"), map[string]any{"name": "x"})
}

func TestRotate(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now } })
	first := w.tokens["developer"]
	got := w.want(200, "developer", "POST", "/personal_access_tokens/self/rotate", nil)
	if got.object()["expires_at"] != "2026-03-09" {
		t.Errorf("expires_at %v, want one week ahead", got.object()["expires_at"])
	}
	w.want(401, "developer", "GET", "/user", nil)
	w.tokens["developer"] = got.object()["token"].(string)
	w.want(200, "developer", "GET", "/user", nil)
	got = w.want(400, "developer", "POST", "/personal_access_tokens/self/rotate", map[string]any{"expires_at": "2027-03-03"})
	if got.object()["message"] != "400 Bad request - Expiration date must be before 2027-03-02" {
		t.Errorf("message %v", got.object()["message"])
	}
	w.tokens["stolen"] = first
	w.want(401, "stolen", "POST", "/personal_access_tokens/self/rotate", nil)
	w.want(401, "developer", "GET", "/user", nil) // the whole family is dead
}

func TestPaging(t *testing.T) {
	w := newWorld(t)
	for i := range 45 {
		w.want(201, "developer", "POST", w.in("/environments"), map[string]any{"name": fmt.Sprintf("env-%02d", i)})
	}
	seen := map[string]bool{}
	path, pages := w.in("/environments?per_page=20&states=available&page=1"), 0
	for path != "" {
		got := w.want(200, "developer", "GET", path, nil)
		for _, e := range got.list() {
			seen[e.(map[string]any)["name"].(string)] = true
		}
		pages++
		if got.header.Get("X-Total") != "45" || got.header.Get("X-Total-Pages") != "3" || got.header.Get("X-Page") != fmt.Sprint(pages) {
			t.Errorf("page %d: headers %v", pages, got.header)
		}
		path = ""
		for link := range strings.SplitSeq(got.header.Get("Link"), ", ") {
			if address, ok := strings.CutSuffix(link, `>; rel="next"`); ok {
				path = strings.TrimPrefix(address, "<"+w.url+"/api/v4")
			}
		}
	}
	if pages != 3 || len(seen) != 45 {
		t.Errorf("%d pages with %d environments, want 3 with 45", pages, len(seen))
	}
	if got := w.want(200, "developer", "GET", w.in("/environments?per_page=200"), nil); got.header.Get("X-Per-Page") != "100" {
		t.Errorf("per_page 200 gives %q, want 100", got.header.Get("X-Per-Page"))
	}
	w.want(400, "developer", "GET", w.in("/environments?page=x"), nil)
	if got := w.want(200, "developer", "GET", w.in("/repository/commits"), nil); got.header.Get("X-Total") != "" {
		t.Error("the list of commits has a total")
	}
}

func TestKeysetProjects(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"acme/a", "acme/b", "other/c"} {
		p, err := w.s.AddProject(path, "main", nil)
		w.check(err)
		w.s.AddMember(p.ID, w.users["developer"].ID, Maintainer)
	}
	got := w.want(200, "developer", "GET", "/projects?pagination=keyset&order_by=id&sort=asc&per_page=3&membership=true", nil)
	if len(got.list()) != 3 || !strings.Contains(got.header.Get("Link"), `id_after=`) || got.header.Get("X-Page") != "" {
		t.Errorf("%d projects, headers %v", len(got.list()), got.header)
	}
	got = w.want(200, "developer", "GET", "/projects?min_access_level=40&search=acme&search_namespaces=true", nil)
	if len(got.list()) != 2 {
		t.Errorf("%d projects of acme where a developer is Maintainer, want 2", len(got.list()))
	}
}

func TestConditionalRequest(t *testing.T) {
	w := newWorld(t)
	etag := w.want(200, "guest", "GET", w.in(""), nil).header.Get("ETag")
	req := w.request("GET", w.url+"/api/v4"+w.in(""), nil)
	req.Header.Set("PRIVATE-TOKEN", w.tokens["guest"])
	req.Header.Set("If-None-Match", etag)
	if got := w.do(req); got.status != http.StatusNotModified || !strings.HasPrefix(etag, `W/"`) {
		t.Errorf("%d for %s, want 304", got.status, etag)
	}
}

func TestBodyFormats(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ kind, body string }{
		{"application/json", `{"name":"a","tier":"staging","x":null}`},
		{"application/x-www-form-urlencoded", "name=b&tier=staging"},
	} {
		req := w.request("POST", w.url+"/api/v4"+w.in("/environments"), nil)
		req.Body = http.NoBody
		req, err := http.NewRequestWithContext(t.Context(), "POST", req.URL.String(), strings.NewReader(c.body))
		w.check(err)
		req.Header.Set("Content-Type", c.kind)
		req.Header.Set("PRIVATE-TOKEN", w.tokens["developer"])
		if got := w.do(req); got.status != 201 || got.object()["tier"] != "staging" {
			t.Errorf("%s: %d %s", c.kind, got.status, got.raw)
		}
	}
	w.want(201, "developer", "POST", w.in("/environments?name=c"), nil)
	w.want(400, "developer", "POST", w.in("/environments?name=d&tier=moon"), nil)
}
