package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestS25ForwardedForIsBelievedFromProxiesOnly: who asks is the peer, unless the peer is a proxy that somebody named; then it is
// the last address in the header that is none of them, never one that a client wrote.
func TestS25ForwardedForIsBelievedFromProxiesOnly(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	for _, c := range []struct {
		trusted      []netip.Prefix
		peer, header string
		more         string // a second header of the name
		want         string
	}{
		{nil, "10.1.2.3:5", "6.6.6.6", "", "10.1.2.3"},
		{nil, "127.0.0.1:5", "6.6.6.6", "", "127.0.0.1"},
		{proxies, "192.0.2.9:5", "6.6.6.6", "", "192.0.2.9"},
		{proxies, "127.0.0.1:5", "6.6.6.6", "", "127.0.0.1"},
		{proxies, "10.1.2.3:5", "", "", "10.1.2.3"},
		{proxies, "10.1.2.3:5", "192.0.2.7", "", "192.0.2.7"},
		{proxies, "10.1.2.3:5", "6.6.6.6, 192.0.2.7", "", "192.0.2.7"},
		{proxies, "10.1.2.3:5", "6.6.6.6, 192.0.2.7, 10.1.9.9", "", "192.0.2.7"},
		{proxies, "10.1.2.3:5", "10.1.0.1, 192.0.2.7", "", "192.0.2.7"},
		{proxies, "10.1.2.3:5", "6.6.6.6", "192.0.2.7", "192.0.2.7"},
		{proxies, "10.1.2.3:5", "<script>", "", "10.1.2.3"},
		{proxies, "[2001:db8::1]:5", "192.0.2.7", "", "192.0.2.7"},
		{proxies, "10.1.2.3:5", "10.1.0.9", "", "10.1.0.9"},
	} {
		r := httptest.NewRequest(get, "/", nil)
		r.RemoteAddr = c.peer
		for _, h := range []string{c.header, c.more} {
			if h != "" {
				r.Header.Add("X-Forwarded-For", h)
			}
		}
		r.Header.Set("X-Real-Ip", "6.6.6.6")
		r.Header.Set("Forwarded", "for=6.6.6.6")
		if got := clientAddress(c.trusted)(r); got != c.want {
			t.Errorf("%s with %q, %q: %s, want %s", c.peer, c.header, c.more, got, c.want)
		}
	}
}

// TestS25TheLimitHoldsForTheTrueClient: a header cannot be used to get more tries, nor to use up another's.
func TestS25TheLimitHoldsForTheTrueClient(t *testing.T) {
	s := newSite(t)
	s.web.logins = strictLimiter()
	s.user("ann", store.Admin)
	try := func(forwarded, password string) int {
		req := s.form("/login", "username", "ann", "password", password)
		req.Header.Set("X-Forwarded-For", forwarded)
		return s.do(s.browser(), req).status
	}
	for i := range 6 {
		try(fmt.Sprintf("192.0.2.%d", i), "wrong")
	}
	if got := try("192.0.2.200", "correct horse"); got != 429 {
		t.Errorf("an untrusted peer changes its address: status %d, want 429", got)
	}
	behind := New(Options{
		Store: s.st, Engine: s.eng, ExternalURL: s.srv.URL, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	behind.logins = strictLimiter()
	s.srv.Config.Handler = behind.Handler()
	for range 6 {
		try("192.0.2.1", "wrong")
	}
	if got := try("192.0.2.1", "correct horse"); got != 429 {
		t.Errorf("behind the proxy, the one who guesses: status %d, want 429", got)
	}
	if got := try("192.0.2.2", "correct horse"); got != 303 {
		t.Errorf("behind the proxy, another: status %d, want 303", got)
	}
	if e := s.audit()[0]; e.Action != "user.sign_in" || e.Address != "192.0.2.2" {
		t.Errorf("%+v", e)
	}
}

// TestS24NoOpenRedirect: wherever an address comes in, the way leads to a page of this server.
func TestS24NoOpenRedirect(t *testing.T) {
	s, f := linked(t)
	s.openDoor(f, "")
	s.user("ann", store.Admin)
	u := f.AddUser("ada", "Ada", false)
	for _, next := range []string{"//evil.test", `/\evil.test`, "https:evil.test", "https://evil.test/", "javascript:alert(1)", "/\t/evil.test"} {
		if got := s.post(s.browser(), "/login", "username", "ann", "password", "correct horse", "next", next); got.status == 303 && got.header.Get("Location") != "/" {
			t.Errorf("%q: by password to %q", next, got.header.Get("Location"))
		}
		s.web.logins = newLoginLimiter()
		b := s.browser()
		if got := s.get(b, s.toGitLab(b, f, u.ID, next)); got.header.Get("Location") != "/" {
			t.Errorf("%q: with GitLab to %q", next, got.header.Get("Location"))
		}
	}
}

// TestCookies: for this host, not for scripts, not for other sites; with https only there, under a name no other host can set.
func TestCookies(t *testing.T) {
	s := newSite(t)
	s.user("ann", store.Admin)
	s.srv.Config.Handler = New(Options{Store: s.st, Engine: s.eng, ExternalURL: "https://gc.test", Secure: true}).Handler()
	got := s.post(s.browser(), "/login", "username", "ann", "password", "correct horse")
	for _, want := range []string{"__Host-groundcrew_session=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(got.header.Get("Set-Cookie"), want) {
			t.Errorf("%s is not in %q", want, got.header.Get("Set-Cookie"))
		}
	}
	if strings.Contains(got.header.Get("Set-Cookie"), "Domain") {
		t.Errorf("%q", got.header.Get("Set-Cookie"))
	}
	token, _, _ := strings.Cut(strings.TrimPrefix(got.header.Get("Set-Cookie"), secureSessionCookie+"="), ";")
	for name, want := range map[string]int{secureSessionCookie: 200, sessionCookie: 303} {
		req := s.form("/stacks")
		req.Method = get
		req.Header.Set("Cookie", name+"="+token)
		if got := s.do(noFollow, req); got.status != want {
			t.Errorf("%s: status %d, want %d", name, got.status, want)
		}
	}
}

// TestSessionFixation: a token that a browser brings along does not become a session, and dies at sign-in with its own.
func TestSessionFixation(t *testing.T) {
	s := newSite(t)
	s.user("ann", store.Admin)
	b := s.browser()
	b.Jar.SetCookies(mustURL(t, s.srv.URL), []*http.Cookie{{Name: sessionCookie, Value: "planted"}})
	if got := s.post(b, "/login", "username", "ann", "password", "correct horse"); got.status != 303 {
		t.Fatalf("status %d", got.status)
	}
	if v := b.Jar.Cookies(mustURL(t, s.srv.URL))[0].Value; v == "planted" || len(v) < 40 {
		t.Errorf("session %q", v)
	}
	planted := s.form("/stacks")
	planted.Method = get
	planted.Header.Set("Cookie", sessionCookie+"=planted")
	if got := s.do(noFollow, planted); got.status != 303 {
		t.Errorf("the planted one: status %d", got.status)
	}
}

// TestNoUserEnumeration: a wrong password, an unknown name, a disabled person and one without a password get the same answer, and
// it takes as long.
func TestNoUserEnumeration(t *testing.T) {
	s := newSite(t)
	s.user("ann", store.Admin)
	off := s.user("off", store.Reader)
	s.user("boss", store.Admin)
	s.apiOK(200, patch, "/users/"+off.ID, `{"disabled":true}`)
	s.apiOK(201, post, "/users", `{"name":"new","role":"reader"}`)
	took := map[string][]time.Duration{}
	bodies := map[string]string{}
	for range 9 {
		for _, name := range []string{"ann", "nobody", "off", "new"} {
			s.web.logins = newLoginLimiter()
			begin := time.Now()
			got := s.post(s.browser(), "/login", "username", name, "password", "wrong password")
			took[name] = append(took[name], time.Since(begin))
			body := strings.ReplaceAll(got.body, `value="`+name+`"`, `value="NAME"`)
			i := strings.Index(body, "<main")
			bodies[name] = body[i:]
			if got.status != 422 || bodies[name] != bodies["ann"] {
				t.Errorf("%s: status %d, or another page", name, got.status)
			}
		}
	}
	median := func(name string) time.Duration {
		slices.Sort(took[name])
		return took[name][len(took[name])/2]
	}
	for name := range took {
		if m := median(name); m < median("ann")/3 || m > median("ann")*3 {
			t.Errorf("%s takes %v, ann %v", name, m, median("ann"))
		}
	}
}

// TestRescue: the link of the command line makes an admin, once, within its time, and allows passwords again.
func TestRescue(t *testing.T) {
	s, f := linked(t)
	s.openDoor(f, "")
	boss := f.AddUser("boss", "Boss", false)
	s.viaGitLab(f, boss.ID)
	s.apiOK(200, patch, "/users/"+s.people()[0].ID, `{"role":"admin"}`)
	s.apiOK(200, patch, "/sign-in", `{"password_off":true}`)
	old, err := store.WriteRescue(s.st.Dir(), "root", time.Now().Add(time.Hour))
	must(t, err)
	token, err := store.WriteRescue(s.st.Dir(), "root", time.Now().Add(time.Hour))
	must(t, err)
	form := func(token string) []string {
		return []string{"token", token, "password", "correct horse", "again", "correct horse"}
	}
	for _, bad := range []string{"", "x", old} {
		if got := s.post(s.browser(), "/welcome", form(bad)...); got.status != 403 {
			t.Errorf("%q: status %d", bad, got.status)
		}
	}
	b := s.browser()
	if got := s.get(b, "/welcome?token="+token); got.status != 200 || !strings.Contains(got.body, "Welcome, root") {
		t.Fatalf("status %d", got.status)
	}
	if got := s.post(b, "/welcome", form(token)...); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if got := s.get(b, "/settings/audit"); got.status != 200 || !strings.Contains(got.body, "user.rescue") {
		t.Errorf("status %d", got.status)
	}
	if got := s.post(s.browser(), "/welcome", form(token)...); got.status != 403 {
		t.Errorf("twice: status %d", got.status)
	}
	if got := s.post(s.browser(), "/login", "username", "root", "password", "correct horse"); got.status != 303 {
		t.Errorf("by password afterwards: status %d", got.status)
	}
	late, err := store.WriteRescue(s.st.Dir(), "root", time.Now().Add(-time.Second))
	must(t, err)
	if got := s.post(s.browser(), "/welcome", form(late)...); got.status != 403 {
		t.Errorf("too late: status %d", got.status)
	}
	theirs, err := store.WriteRescue(s.st.Dir(), "boss", time.Now().Add(time.Hour))
	must(t, err)
	if got := s.post(s.browser(), "/welcome", form(theirs)...); got.status != 409 {
		t.Errorf("for somebody from GitLab: status %d", got.status)
	}
}

// TestS44EveryAnswerIsTame: every route, whatever it answers, and what is no route, says what a page may load, that nobody keeps
// it, frames it or guesses its type; streams too. Only static files, which have their content in their name, are kept.
func TestS44EveryAnswerIsTame(t *testing.T) {
	g := newGuild(t)
	g.visible()
	ended := g.apply(g.waiting.ID, runs.Discard{Meta: now()})
	b := g.signedIn(store.Admin)
	look := func(what string, got answer) {
		t.Helper()
		for name, want := range map[string]string{
			"Content-Security-Policy": csp, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s (%d): %s is %q", what, got.status, name, got.header.Get(name))
			}
		}
		if cc := got.header.Get("Cache-Control"); cc != "no-store" && !strings.HasPrefix(what, "GET /static/") {
			t.Errorf("%s (%d): Cache-Control is %q", what, got.status, cc)
		}
		for _, ck := range got.header.Values("Set-Cookie") {
			if !strings.Contains(ck, "HttpOnly") || !strings.Contains(ck, "SameSite=Lax") || !strings.Contains(ck, "Path=/") || strings.Contains(ck, "Domain") {
				t.Errorf("%s sets %s", what, ck)
			}
		}
	}
	for _, r := range g.web.table {
		if r.path == "/logout" {
			continue
		}
		there := strings.NewReplacer(":slug", "a", ":id", ended.ID)
		for who, client := range map[string]*http.Client{"an admin": b, "nobody": g.browser()} {
			for _, path := range []string{nowhere(there.Replace(r.path)), nowhere(r.path)} {
				req := g.form(path)
				req.Method = r.method
				look(r.method+" "+path+" as "+who, g.do(client, req))
			}
		}
	}
	for what, req := range map[string]*http.Request{
		"GET /nowhere": g.form("/nowhere"), "PUT /login": g.form("/login"), "POST too much": g.form("/login", "username", strings.Repeat("x", 2<<20)),
		"TRACE /": g.form("/"), "POST from elsewhere": g.form("/login"),
	} {
		switch method, _, _ := strings.Cut(what, " "); {
		case what == "POST from elsewhere":
			req.Header.Set("Sec-Fetch-Site", "cross-site")
		default:
			req.Method = method
		}
		got := g.do(g.browser(), req)
		if got.status < 400 {
			t.Errorf("%s: status %d", what, got.status)
		}
		look(what, got)
	}
}

// TestABodyThatNeverComesIsRefused: who begins a request and never ends it is told that nothing was done.
func TestABodyThatNeverComesIsRefused(t *testing.T) {
	s := newSite(t)
	s.srv = httptest.NewUnstartedServer(s.web.Handler())
	s.srv.Config.ReadTimeout = 200 * time.Millisecond // of the body, also on a machine that is slow to read the header
	s.srv.Config.ReadHeaderTimeout = 2 * time.Minute
	s.srv.Start()
	t.Cleanup(s.srv.Close)
	for path, media := range map[string]string{
		"/login": "application/x-www-form-urlencoded", "/api/v1/stacks": "application/json", "/api/v1/integration/secret/rotate": "application/json",
	} {
		c, err := net.Dial("tcp", s.srv.Listener.Addr().String())
		must(t, err)
		_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: k\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n{", path, bootstrap, media)
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, errors.Join(err, res.Body.Close(), c.Close()))
		if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), "did not arrive in time") || strings.Contains(string(body), "127.0.0.1") {
			t.Errorf("%s: %s %q", path, res.Status, body)
		}
	}
}
