package web

import (
	"net/http"
	"strings"
	"testing"

	"groundcrew/store"
)

// nowhere fills a route's path with things that do not exist.
func nowhere(path string) string {
	return strings.NewReplacer(":slug", "nothing", ":id", "01HZZZZZZZZZZZZZZZZZZZZZZZ", ":phase", "planning", ":project", "999",
		":name", "NOTHING", ":iid", "9", ":version", "9", ":session", "0123456789abcdef", "*", "nothing.css", ":context", "nothing", ":sample", "nothing").Replace(path)
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

// TestS42CrossSite: what another site makes a browser send is refused, whoever is signed in (S42).
func TestS42CrossSite(t *testing.T) {
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

func TestS44SecurityHeaders(t *testing.T) {
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
		if got := h.Get("Strict-Transport-Security"); got != "" {
			t.Errorf("%s: without TLS browsers are told %q", path, got)
		}
	}
}
