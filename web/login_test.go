package web

import (
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"groundcrew/store"
)

func TestPasswords(t *testing.T) {
	h := hashPassword("correct horse")
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", h)
	}
	if h == hashPassword("correct horse") {
		t.Error("two hashes of one password are the same: no salt")
	}
	if !passwordMatches(h, "correct horse") || passwordMatches(h, "correct hors") || passwordMatches(h, "") {
		t.Error("the right password must match, and no other")
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=19456,t=0,p=1$AAAA$AAAA", "$argon2id$v=1$m=1,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=8,t=1,p=1$AAAA$", nobodysHash} {
		if passwordMatches(bad, "") || passwordMatches(bad, "correct horse") {
			t.Errorf("%q matches", bad)
		}
	}
}

func TestSetupLink(t *testing.T) {
	s := newSite(t)
	link, ok, err := s.web.SetupLink()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	u, err := url.Parse(link)
	must(t, err)
	token := u.Query().Get("token")
	b := s.browser()
	if got := s.get(b, "/setup?token=wrong"); got.status != 403 {
		t.Errorf("wrong token: status %d", got.status)
	}
	if got := s.get(b, u.RequestURI()); got.status != 200 {
		t.Errorf("status %d\n%s", got.status, got.body)
	}
	for name, form := range map[string][]string{
		"short":  {"token", token, "name", "ann", "password", "short", "again", "short"},
		"differ": {"token", token, "name", "ann", "password", "correct horse", "again", "correct h0rse"},
		"noname": {"token", token, "name", " ", "password", "correct horse", "again", "correct horse"},
	} {
		if got := s.post(b, "/setup", form...); got.status != 422 {
			t.Errorf("%s: status %d, want 422", name, got.status)
		}
	}
	good := []string{"token", token, "name", "ann", "password", "correct horse", "again", "correct horse"}
	if got := s.post(b, "/setup", good...); got.status != 303 || got.header.Get("Location") != "/" {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if got := s.get(b, "/api/v1/audit"); got.status != 200 {
		t.Errorf("the first admin is not signed in as an admin: status %d", got.status)
	}
	if got := s.post(s.browser(), "/setup", good...); got.status != 403 {
		t.Errorf("the link worked twice: status %d", got.status)
	}
	if _, ok, err := s.web.SetupLink(); ok || err != nil {
		t.Errorf("a link was made though there is an account: %v %v", ok, err)
	}
}

func TestLoginAndLogout(t *testing.T) {
	s := newSite(t)
	s.user("Ann", store.Admin)
	b := s.browser()
	for name, form := range map[string][]string{
		"wrong password": {"username", "ann", "password", "wrong"},
		"unknown":        {"username", "bob", "password", "correct horse"},
		"empty":          {},
		"huge":           {"username", "ann", "password", strings.Repeat("x", 5000)},
	} {
		if got := s.post(b, "/login", form...); got.status != 422 || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: status %d, cookie %q", name, got.status, got.header.Get("Set-Cookie"))
		}
	}
	got := s.post(b, "/login", "username", "ANN", "password", "correct horse", "next", "/runs?state=failed")
	if got.status != 303 || got.header.Get("Location") != "/runs?state=failed" {
		t.Fatalf("status %d to %q", got.status, got.header.Get("Location"))
	}
	cookie := got.header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=34560000"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie without %s: %s", want, cookie)
		}
	}
	if got := s.get(b, "/api/v1/users"); got.status != 200 {
		t.Errorf("signed in: status %d", got.status)
	}
	if got := s.post(b, "/logout"); got.status != 303 {
		t.Errorf("sign out: status %d", got.status)
	}
	if got := s.get(b, "/api/v1/users"); got.status != 401 {
		t.Errorf("signed out: status %d", got.status)
	}
}

func TestSecureCookie(t *testing.T) {
	s := newSite(t)
	s.user("ann", store.Admin)
	s.srv.Config.Handler = New(Options{Store: s.st, Engine: s.eng, ExternalURL: "https://gc.test", Secure: true}).Handler()
	got := s.post(s.browser(), "/login", "username", "ann", "password", "correct horse")
	if !strings.Contains(got.header.Get("Set-Cookie"), "Secure") {
		t.Errorf("cookie %q", got.header.Get("Set-Cookie"))
	}
}

// TestWhereBrowsersInsistOnTLS: only where the name is ours alone, since they insist on it for every port of the name.
func TestWhereBrowsersInsistOnTLS(t *testing.T) {
	s := newSite(t)
	for external, want := range map[string]string{
		"https://gc.test": "max-age=31536000", "https://gc.test:8443": "", "https://[2001:db8::1]:8443": "", "http://gc.test": "", "": "",
	} {
		s.srv.Config.Handler = New(Options{Store: s.st, Engine: s.eng, ExternalURL: external, Secure: strings.HasPrefix(external, "https:")}).Handler()
		if got := s.get(noFollow, "/login").header.Get("Strict-Transport-Security"); got != want {
			t.Errorf("browsers of %q are told %q, want %q", external, got, want)
		}
	}
}

func TestNextStaysHere(t *testing.T) {
	for in, want := range map[string]string{
		"/runs?a=b": "/runs?a=b", "": "/", "//evil": "/", `/\evil`: "/", "https:evil": "/", "https://evil": "/", "evil": "/",
		"/\tevil": "/", "/a\r\nSet-Cookie: x": "/", "javascript:alert(1)": "/", `\\evil`: "/", "/%2f/evil": "/%2f/evil", "///evil": "/",
	} {
		if got := localPath(in); got != want {
			t.Errorf("localPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLoginLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoginLimiter()
		tries := func(account, address string, n int) (ok int) {
			for range n {
				if l.allow(account, address) {
					ok++
				}
			}
			return ok
		}
		if n := tries("ann", "10.0.0.1", 50); n != 5 {
			t.Errorf("one account from one address: %d tries, want 5", n)
		}
		if n := tries("ANN", "10.0.0.1", 1); n != 0 {
			t.Error("other letters are another account")
		}
		if n := tries("ann", "10.0.0.2", 3); n != 3 {
			t.Errorf("a stranger locked ann out: %d of 3 tries", n)
		}
		time.Sleep(30 * time.Second) // of the bubble's clock
		if n := tries("ann", "10.0.0.1", 50); n != 3 {
			t.Errorf("half a minute later: %d tries, want 3", n)
		}
		total := 0
		for i := range 300 {
			total += tries(strings.Repeat("u", i+1), "10.0.0.9", 1)
		}
		if total > 35 {
			t.Errorf("one address tried %d accounts, want about 30", total)
		}
	})
}

// strictLimiter gives no try back, however long a busy machine takes to look at passwords.
func strictLimiter() *loginLimiter {
	return &loginLimiter{pair: newSlotLimiter(time.Hour, 5), address: newSlotLimiter(time.Hour, 30), account: newSlotLimiter(time.Hour, 60)}
}

func TestLoginIsLimited(t *testing.T) {
	s := newSite(t)
	s.web.logins = strictLimiter()
	s.user("ann", store.Admin)
	for range 5 {
		s.post(s.browser(), "/login", "username", "ann", "password", "wrong")
	}
	got := s.post(s.browser(), "/login", "username", "ann", "password", "correct horse")
	if got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("status %d", got.status)
	}
}

func TestEnsureAdmin(t *testing.T) {
	s := newSite(t)
	if err := s.web.EnsureAdmin("short"); err == nil {
		t.Error("a short password was taken")
	}
	must(t, s.web.EnsureAdmin("correct horse"))
	must(t, s.web.EnsureAdmin("correct horse"))
	b := s.browser()
	s.post(b, "/login", "username", "admin", "password", "correct horse")
	if got := s.get(b, "/stacks"); got.status != 200 {
		t.Errorf("signed in: status %d", got.status)
	}
	must(t, s.web.EnsureAdmin("battery staple"))
	if got := s.get(b, "/stacks"); got.status != 303 {
		t.Errorf("a session of the old password: status %d", got.status)
	}
	if got := s.post(s.browser(), "/login", "username", "admin", "password", "battery staple"); got.status != 303 {
		t.Errorf("the new password: status %d", got.status)
	}
	if got := s.post(s.browser(), "/login", "username", "admin", "password", "correct horse"); got.status != 422 {
		t.Errorf("the old password: status %d", got.status)
	}
	var users []store.User
	must(t, s.st.View(func(tx *store.Tx) (err error) { users, err = tx.Users(); return err }))
	if len(users) != 1 || users[0].Role != store.Admin {
		t.Errorf("users: %+v", users)
	}
}

func TestExpiredSession(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	u := s.user("ann", store.Admin)
	var token string
	s.update(func(tx *store.Tx) (err error) {
		token, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(-time.Second)})
		return err
	})
	req := s.form("/logout")
	req.Header.Set("Cookie", sessionCookie+"="+token)
	if got := s.do(b, req); got.status != 303 || !strings.HasPrefix(got.header.Get("Location"), "/login?next=") {
		t.Errorf("status %d to %q", got.status, got.header.Get("Location"))
	}
}
