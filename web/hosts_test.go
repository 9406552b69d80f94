package web

import (
	"net/netip"
	"strings"
	"testing"

	"groundcrew/store"
)

// TestS21NoForeignName: a page elsewhere whose name leads to this server's address gets nothing of it, signed in or not; people
// who came by a wrong name are told the right one; addresses, keys, webhooks and health checks are not asked for a name.
func TestS21NoForeignName(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	ck := s.signedIn(store.Admin).Jar.Cookies(mustURL(t, s.srv.URL))[0]
	cookie := ck.Name + "=" + ck.Value
	strict := func(o Options) {
		o.Store, o.Engine, o.ExternalURL, o.BootstrapToken = s.st, s.eng, "https://gc.example.com", bootstrap
		s.srv.Config.Handler = New(o).Handler()
	}
	ask := func(host, path, key string) answer {
		req := s.form(path)
		req.Method, req.Host = get, host
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		req.Header.Set("Cookie", cookie) // a jar would keep it from another host
		return s.do(noFollow, req)
	}
	strict(Options{StrictHost: true})
	for _, host := range []string{"evil.test", "evil.test:8080", "gc.example.com.evil.test", "127.0.0.1.evil.test", "Evil.Test.", "gc.example.org"} {
		for _, path := range []string{"/", "/login", "/stacks/a", "/api/v1/stacks", "/api/v1/openapi.json", "/setup?token=x", "/ui/find", "/metrics"} {
			got := ask(host, path, "")
			if got.status != 421 || !strings.Contains(got.body, "https://gc.example.com") || strings.Contains(got.body, "/stacks/a") || got.header.Get("Content-Security-Policy") != csp {
				t.Errorf("%s%s: status %d\n%.300s", host, path, got.status, got.body)
			}
		}
		if got := ask(host, "/api/v1/stacks", bootstrap); got.status != 200 {
			t.Errorf("%s with a key: status %d", host, got.status)
		}
		if got := ask(host, "/healthz", ""); got.status != 200 {
			t.Errorf("%s, a health check: status %d", host, got.status)
		}
	}
	for _, host := range []string{"gc.example.com", "GC.example.com:443", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "localhost:8080", "groundcrew:8080", "gc.localhost"} {
		if got := ask(host, "/stacks/a", ""); got.status != 200 {
			t.Errorf("%s: status %d", host, got.status)
		}
	}
	req := s.form("/webhooks/gitlab")
	req.Host = "groundcrew.internal.test"
	if got := s.do(noFollow, req); got.status != 401 {
		t.Errorf("a webhook by an inner name: status %d, want 401 for its secret", got.status)
	}
	strict(Options{StrictHost: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if got := ask("upstream.internal.test", "/stacks/a", ""); got.status != 200 {
		t.Errorf("by a proxy that was named: status %d", got.status)
	}
	strict(Options{})
	if got := ask("gc.lan.test", "/stacks/a", ""); got.status != 200 {
		t.Errorf("nobody chose a name: status %d", got.status)
	}
}

// TestS25OnlySignInIsLimited: who guesses passwords from an address uses up no tries of the programs and runs there.
func TestS25OnlySignInIsLimited(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.web.logins = strictLimiter()
	s.user("ann", store.Admin)
	limited := false
	for range 60 {
		limited = s.post(s.browser(), "/login", "username", "ann", "password", "wrong").status == 429 || limited
	}
	if !limited {
		t.Fatal("guessing is not limited")
	}
	for range 200 {
		if got := s.api(bootstrap, get, "/stacks", ""); got.status != 200 {
			t.Fatalf("the API: status %d", got.status)
		}
		req := s.form("/registry/modules/v1/a/b/c/versions")
		req.Method = get
		req.Header.Set("Authorization", "Bearer "+bootstrap)
		if got := s.do(noFollow, req); got.status != 404 {
			t.Fatalf("the registry: status %d", got.status)
		}
		if got := s.hook("hook-secret", `{"object_kind":"push"}`); got.status != 200 {
			t.Fatalf("a webhook: status %d", got.status)
		}
	}
}
