package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"groundcrew/store"
)

// wantNeeds says for every address which role it needs. A new route without a row here fails.
var wantNeeds = map[need][]string{
	public: {
		"GET /healthz", "GET /readyz", "GET /static/*", "GET /favicon.ico", "POST /webhooks/gitlab",
		"GET /setup", "POST /setup", "GET /welcome", "POST /welcome", "GET /login", "POST /login", "GET /login/gitlab", "GET /login/gitlab/callback", "GET /api/v1/openapi.json",
		"GET /.well-known/terraform.json",
	},
	bearer: {
		"GET /registry/modules/v1/:namespace/:name/:provider/versions", "GET /registry/modules/v1/:namespace/:name/:provider/:version/download",
		"GET /registry/archives/:file", "GET /git/*", "POST /git/*",
	},
	session: {"POST /logout", "GET /account", "POST /account/password", "POST /account/sessions/:session/end"},
	reader: {
		"GET /", "GET /stacks", "GET /stacks/:slug", "GET /stacks/:slug/merge-requests", "GET /stacks/:slug/environment",
		"GET /stacks/:slug/state", "GET /stacks/:slug/settings", "GET /runs", "GET /runs/:id", "GET /runs/:id/live",
		"GET /runs/:id/logs/:phase", "GET /runs/:id/logs/:phase/earlier", "GET /runs/:id/changes.json", "GET /settings", "GET /settings/vcs", "GET /settings/vcs/gitlab",
		"GET /settings/vcs/gitlab/deliveries", "GET /settings/vcs/gitlab/deliveries/:id", "GET /settings/vcs/gitlab/reports",
		"GET /settings/system", "GET /settings/users", "GET /ui/stacks", "GET /ui/find", "GET /metrics",
		"GET /api/v1/integration", "GET /api/v1/projects", "GET /api/v1/stacks", "GET /api/v1/stacks/:slug",
		"GET /api/v1/stacks/:slug/variables", "GET /api/v1/stacks/:slug/variables/:name",
		"GET /api/v1/stacks/:slug/state/versions", "GET /api/v1/stacks/:slug/runs", "GET /api/v1/runs", "GET /api/v1/runs/:id",
		"GET /api/v1/runs/:id/changes", "GET /api/v1/runs/:id/logs/:phase", "GET /api/v1/runs/:id/events",
		"GET /api/v1/deliveries", "GET /api/v1/reports", "GET /api/v1/inbox", "GET /inbox",
		"GET /api/v1/modules", "GET /api/v1/modules/:name", "GET /api/v1/modules/:name/versions", "GET /api/v1/modules/:name/versions/:version",
		"GET /api/v1/modules/:name/versions/:version/tests", "GET /api/v1/modules/:name/checks", "GET /api/v1/modules/:name/users", "GET /api/v1/modules/:name/variables",
		"GET /modules", "GET /modules/:name", "GET /modules/:name/versions/:version", "GET /modules/:name/checks", "GET /modules/:name/checks/:check", "GET /modules/:name/settings",
	},
	writer: {
		"POST /api/v1/modules/:name/versions/:version/tests", "POST /api/v1/modules/:name/versions/:version/yank", "POST /api/v1/modules/:name/checks",
		"POST /api/v1/modules/:name/users/runs", "PUT /api/v1/modules/:name/variables/:variable", "DELETE /api/v1/modules/:name/variables/:variable",
		"POST /modules/:name/checks", "POST /modules/:name/versions/:version/tests", "POST /modules/:name/versions/:version/yank", "POST /modules/:name/users", "POST /modules/:name/merge-requests/:iid/release",
		"POST /modules/:name/variables", "POST /modules/:name/variables/delete",
		"POST /stacks/:slug/runs", "POST /stacks/:slug/lock", "POST /stacks/:slug/unlock", "POST /stacks/:slug/sync",
		"POST /stacks/:slug/merge-requests/:iid/release", "POST /stacks/:slug/environment", "POST /stacks/:slug/environment/delete",
		"POST /runs/:id/confirm", "POST /runs/:id/discard", "POST /runs/:id/stop", "POST /runs/:id/retry", "POST /runs/:id/prioritize", "POST /runs/:id/putback", "POST /stacks/:slug/destroy", "POST /runs/:id/promote",
		"POST /settings/vcs/gitlab/reports/retry", "POST /inbox/dismiss", "POST /api/v1/inbox/:id/dismiss",
		"POST /api/v1/stacks/:slug/lock", "POST /api/v1/stacks/:slug/unlock", "POST /api/v1/stacks/:slug/sync",
		"PUT /api/v1/stacks/:slug/variables/:name", "DELETE /api/v1/stacks/:slug/variables/:name",
		"POST /api/v1/stacks/:slug/runs", "POST /api/v1/runs/:id/confirm", "POST /api/v1/runs/:id/discard",
		"POST /api/v1/runs/:id/stop", "POST /api/v1/runs/:id/retry", "POST /api/v1/runs/:id/prioritize", "DELETE /api/v1/runs/:id/prioritize", "POST /api/v1/runs/:id/promote", "POST /api/v1/reports/:id/retry",
	},
	admin: {
		"GET /settings/notifications", "POST /settings/notifications", "GET /settings/notifications/new", "GET /settings/notifications/:id",
		"POST /settings/notifications/:id", "POST /settings/notifications/:id/test", "POST /settings/notifications/:id/delete",
		"GET /api/v1/notifications", "POST /api/v1/notifications", "GET /api/v1/notifications/:id", "PATCH /api/v1/notifications/:id",
		"DELETE /api/v1/notifications/:id", "POST /api/v1/notifications/:id/test",
		"POST /api/v1/modules", "PATCH /api/v1/modules/:name", "DELETE /api/v1/modules/:name", "POST /api/v1/modules/:name/import",
		"GET /api/v1/settings/modules", "PUT /api/v1/settings/modules",
		"GET /modules/new", "POST /modules", "POST /modules/:name/settings", "POST /modules/:name/delete", "POST /modules/:name/import", "POST /settings/system/modules",
		"GET /stacks/new", "POST /stacks", "GET /stacks/:slug/state/:version/download", "POST /stacks/:slug/settings",
		"POST /stacks/:slug/delete", "POST /settings/vcs/gitlab", "GET /settings/vcs/gitlab/edit", "POST /settings/vcs/gitlab/edit",
		"POST /settings/vcs/gitlab/test", "POST /settings/vcs/gitlab/unlink", "POST /settings/vcs/gitlab/secret",
		"POST /settings/vcs/gitlab/secret/rotate", "POST /settings/vcs/gitlab/hooks", "POST /settings/vcs/gitlab/hooks/test", "POST /settings/vcs/gitlab/projects/:project/hook",
		"POST /settings/vcs/gitlab/projects/:project/hook/test", "POST /settings/vcs/gitlab/deliveries/:id/replay",
		"GET /settings/sign-in", "POST /settings/sign-in", "POST /settings/sessions", "GET /api/v1/sign-in", "PATCH /api/v1/sign-in",
		"POST /settings/users", "GET /settings/users/:id", "POST /settings/users/:id/role", "POST /settings/users/:id/disable",
		"POST /settings/users/:id/enable", "POST /settings/users/:id/link", "POST /settings/users/:id/sessions/end",
		"POST /settings/users/:id/sessions/:session/end", "GET /settings/keys", "POST /settings/keys", "POST /settings/keys/:id/delete",
		"GET /settings/audit", "POST /settings/audit", "GET /settings/audit/export", "GET /api/v1/audit/export",
		"GET /api/v1/settings", "PATCH /api/v1/settings", "POST /api/v1/users", "POST /api/v1/users/:id/link",
		"GET /api/v1/users/:id/sessions", "DELETE /api/v1/users/:id/sessions", "DELETE /api/v1/users/:id/sessions/:session",
		"POST /settings/vcs/gitlab/projects/:project/settings", "POST /settings/system/retention", "PATCH /api/v1/projects/:project",
		"POST /settings/system", "GET /ui/projects", "GET /ui/branches",
		"PUT /api/v1/integration", "DELETE /api/v1/integration", "POST /api/v1/integration/test",
		"POST /api/v1/integration/secret/rotate", "POST /api/v1/projects/:project/hook", "POST /api/v1/projects/hooks/test", "POST /api/v1/projects/:project/hook/test",
		"POST /api/v1/stacks", "PATCH /api/v1/stacks/:slug", "DELETE /api/v1/stacks/:slug", "GET /api/v1/stacks/:slug/state",
		"POST /api/v1/deliveries/:id/replay", "GET /api/v1/audit", "GET /api/v1/api-keys", "POST /api/v1/api-keys",
		"DELETE /api/v1/api-keys/:id", "GET /api/v1/users", "PATCH /api/v1/users/:id",
	},
}

func TestEveryRouteHasItsNeed(t *testing.T) {
	s := newSite(t)
	want := map[string]need{}
	for n, list := range wantNeeds {
		for _, r := range list {
			want[r] = n
		}
	}
	for _, r := range s.web.table {
		name := r.method + " " + r.path
		n, ok := want[name]
		if !ok {
			t.Errorf("%s (%s) has no row in this test", name, r.need)
		} else if n != r.need {
			t.Errorf("%s needs %s, want %s", name, r.need, n)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}

// nowhere fills a route's path with things that do not exist.
func nowhere(path string) string {
	return strings.NewReplacer(":slug", "nothing", ":id", "01HZZZZZZZZZZZZZZZZZZZZZZZ", ":phase", "planning", ":project", "999",
		":name", "NOTHING", ":iid", "9", ":version", "9", ":session", "0123456789abcdef", "*", "nothing.css").Replace(path)
}

// TestRolesOpenAndCloseEveryRoute asks every route as everybody. Whom it is not for gets 401 or 403 (or the way
// to the sign-in page); whom it is for gets anything else: the things asked for do not exist.
func TestRolesOpenAndCloseEveryRoute(t *testing.T) {
	s := newSite(t)
	for _, role := range []store.Role{"", store.Reader, store.Writer, store.Admin} {
		browser, key := s.browser(), ""
		if role != "" {
			browser, key = s.signedIn(role), s.key(role)
		}
		for _, r := range s.web.table {
			if r.method == post && r.path == "/logout" && role != "" {
				continue // ends the session: TestLogout
			}
			path := nowhere(r.path)
			isAPI := strings.HasPrefix(path, "/api/")
			var got answer
			if isAPI {
				got = s.api(key, r.method, strings.TrimPrefix(path, "/api/v1"), "")
			} else {
				req := s.form(path)
				req.Method = r.method
				got = s.do(browser, req)
			}
			if r.need == bearer {
				if gate := gateOf(got); gate != "who" { // neither session nor role opens it: registry_test.go
					t.Errorf("%s %s as %q: status %d (%s), want who", r.method, r.path, role, got.status, gate)
				}
				continue
			}
			want := "in"
			switch {
			case r.need == public || r.need == session && role != "":
			case role == "":
				want = "who"
			case r.need != session && rank[role] < rank[store.Role(r.need)]:
				want = "no"
			}
			if gate := gateOf(got); gate != want && r.path != "/webhooks/gitlab" && !(slices.Contains([]string{"/setup", "/welcome", callbackPath}, r.path) && gate == "no") {
				t.Errorf("%s %s as %q: status %d (%s), want %s", r.method, r.path, role, got.status, gate, want)
			}
			if got.status >= 500 && r.need != admin {
				t.Errorf("%s %s as %q: status %d\n%s", r.method, r.path, role, got.status, got.body)
			}
		}
	}
}

func gateOf(a answer) string {
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusSeeOther && strings.HasPrefix(a.header.Get("Location"), "/login?next="):
		return "who"
	case a.status == http.StatusForbidden:
		return "no"
	default:
		return "in"
	}
}

func TestKeys(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"bootstrap":        {"Bearer " + bootstrap, 200},
		"small letters":    {"bearer " + bootstrap, 200},
		"wrong":            {"Bearer nothing", 401},
		"nearly bootstrap": {"Bearer " + bootstrap + "x", 401},
		"basic":            {"Basic YTpi", 401},
		"empty":            {"Bearer ", 401},
		"a reader's":       {"Bearer " + s.key(store.Reader), 403},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), get, s.srv.URL+"/api/v1/audit", nil)
			must(t, err)
			req.Header.Set("Authorization", c.header)
			got := s.do(noFollow, req)
			if got.status != c.want {
				t.Errorf("status %d, want %d", got.status, c.want)
			}
			if c.want == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate = %q", got.header.Get("WWW-Authenticate"))
			}
		})
	}
}

// A wrong key is refused even in a browser that is signed in: a script must learn that its key is wrong.
func TestWrongKeyIsNotNobody(t *testing.T) {
	s := newSite(t)
	b := s.signedIn(store.Admin)
	req, err := http.NewRequestWithContext(t.Context(), get, s.srv.URL+"/api/v1/stacks", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer nothing")
	if got := s.do(b, req); got.status != 401 {
		t.Errorf("status %d, want 401", got.status)
	}
	if got := s.get(b, "/api/v1/stacks"); got.status != 200 {
		t.Errorf("the session alone: status %d, want 200", got.status)
	}
}

func TestShortBootstrapTokenIsNone(t *testing.T) {
	s := newSite(t)
	short := New(Options{Store: s.st, Engine: s.eng, ExternalURL: s.srv.URL, BootstrapToken: "short"})
	s.srv.Config.Handler = short.Handler()
	if got := s.api("short", get, "/stacks", ""); got.status != 401 {
		t.Errorf("status %d, want 401", got.status)
	}
}

// TestCrossSite: what another site makes a browser send is refused, whoever is signed in (S42).
func TestCrossSite(t *testing.T) {
	s := newSite(t)
	b := s.signedIn(store.Admin)
	for _, r := range s.web.table {
		if r.method == get {
			continue
		}
		req := s.form(nowhere(r.path))
		req.Method = r.method
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		req.Header.Set("Origin", "https://evil.test")
		if got := s.do(b, req); got.status != 403 {
			t.Errorf("%s %s from another site: status %d, want 403", r.method, r.path, got.status)
		}
	}
	req := s.form("/logout")
	req.Header.Set("Origin", s.srv.URL)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if got := s.do(b, req); got.status != 303 {
		t.Errorf("our own form: status %d, want 303", got.status)
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/login", "/api/v1/stacks", "/nowhere", "/healthz"} {
		h := s.get(noFollow, path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": csp, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s = %q, want %q", path, name, h.Get(name), want)
			}
		}
		if h.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", path)
		}
	}
}
