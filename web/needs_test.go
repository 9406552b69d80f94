package web

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/store"
)

func TestNeeds(t *testing.T) {
	s := newSite(t)
	count := func() int {
		t.Helper()
		s.web.forgetNeeds()
		n, err := s.web.currentNeeds()
		must(t, err)
		return n.count()
	}
	s.link("https://gitlab.test")
	s.stack("a")
	s.stack("b")
	if n := count(); n != 0 {
		t.Errorf("nothing happened: %d needs", n)
	}
	r := s.planned(s.request("a", runs.Tracked, "c1").ID)
	if n := count(); n != 1 {
		t.Errorf("an unconfirmed run: %d needs, want 1", n)
	}
	bad := s.request("b", runs.Tracked, "c2")
	s.apply(bad.ID, runs.Fail{Meta: now()})
	if n := count(); n != 2 {
		t.Errorf("and a failed one: %d needs, want 2", n)
	}
	s.request("b", runs.Proposed, "c3")
	if n := count(); n != 2 {
		t.Errorf("a proposed run mends nothing: %d needs, want 2", n)
	}
	s.request("b", runs.Tracked, "c4")
	s.apply(r.ID, runs.Discard{Meta: now()})
	if n := count(); n != 0 {
		t.Errorf("a newer tracked run and a no: %d needs, want 0", n)
	}
}

// TestNothingSecretInTheLog: tokens come in queries, headers, cookies and bodies; none of them is logged.
func TestNothingSecretInTheLog(t *testing.T) {
	s := newSite(t)
	var log bytes.Buffer
	s.srv.Config.Handler = New(Options{
		Store: s.st, Engine: s.eng, ExternalURL: s.srv.URL, BootstrapToken: bootstrap,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}).Handler()
	s.link("https://gitlab.test")
	b := s.signedIn(store.Admin)
	s.get(b, "/setup?token=query-secret")
	s.get(b, "/nowhere?token=query-secret")
	s.api("key-secret", get, "/runs?x=query-secret", "")
	s.api(bootstrap, put, "/integration", `{"api_url":"http://127.0.0.1:1","token":"body-secret"}`)
	s.post(s.browser(), "/login", "username", "ann", "password", "form-secret")
	s.hook("header-secret", `{"a":"body-secret"}`)
	s.srv.Close() // every request is over: the log is whole
	text := log.String()
	if strings.Count(text, "msg=request") != 6 || !strings.Contains(text, "sign-in refused") {
		t.Errorf("the log lacks requests:\n%s", text)
	}
	for _, secret := range []string{"-secret", bootstrap, b.Jar.Cookies(mustURL(t, s.srv.URL))[0].Value} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
}

// Errors from inside are logged under the id that the person sees.
func TestErrorsAreLoggedUnderTheirID(t *testing.T) {
	s := newSite(t)
	var log bytes.Buffer
	s.web.log = slog.New(slog.NewTextHandler(&log, nil))
	s.web.table = []route{{method: get, path: "/boom", need: public, handle: func(*request) error { panic("what went wrong") }}}
	s.srv.Config.Handler = s.web.mount()
	got := s.get(s.browser(), "/boom")
	s.srv.Close()
	id := got.header.Get("X-Request-Id")
	if !strings.Contains(got.body, id) || !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "what went wrong") {
		t.Errorf("id %s\npage %.300s\nlog %.300s", id, got.body, log.String())
	}
}
