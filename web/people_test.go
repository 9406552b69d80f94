package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/store"
)

// aUser is the id of some user.
func (s *site) aUser() (id string) {
	must(s.t, s.st.View(func(tx *store.Tx) error {
		users, err := tx.Users()
		id = users[0].ID
		return err
	}))
	return id
}

func (s *site) audit() (all []store.AuditEntry) {
	must(s.t, s.st.View(func(tx *store.Tx) (err error) { all, _, err = tx.AuditLog("", 1000); return err }))
	return all
}

var linkOn = regexp.MustCompile(`<code>(http[^<]*/welcome\?token=[^<]*)</code>`)

// TestAPersonComesIn: an admin adds somebody, who sets a password with the link, once, and the admin changes, signs out,
// disables and enables the account.
func TestAPersonComesIn(t *testing.T) {
	s := newSite(t)
	boss := s.signedIn(store.Admin)
	if got := s.post(boss, "/settings/users", "name", "", "role", "reader"); got.status != 422 {
		t.Errorf("no name: status %d", got.status)
	}
	for _, name := range []string{"system", "API key ci", "Bootstrap Token"} {
		if got := s.post(boss, "/settings/users", "name", name, "role", "reader"); got.status != 422 {
			t.Errorf("the name %q was taken: status %d", name, got.status)
		}
	}
	got := s.post(boss, "/settings/users", "name", "bo", "role", "writer")
	m := linkOn.FindStringSubmatch(got.body)
	if got.status != 200 || m == nil {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	link, err := url.Parse(m[1])
	must(t, err)
	if again := s.get(boss, "/settings/users"); strings.Contains(again.body, link.Query().Get("token")) || !strings.Contains(again.body, "link not used yet") {
		t.Error("the list shows the link, or not that it waits")
	}
	bo := s.browser()
	if got := s.post(bo, "/login", "username", "bo", "password", ""); got.status != 422 {
		t.Errorf("sign-in without a password set: status %d", got.status)
	}
	if got := s.get(bo, link.RequestURI()); got.status != 200 {
		t.Fatalf("welcome: status %d", got.status)
	}
	form := []string{"token", link.Query().Get("token"), "password", "correct horse", "again", "correct horse"}
	if got := s.post(bo, "/welcome", form[0], form[1], "password", "short", "again", "short"); got.status != 422 {
		t.Errorf("short password: status %d", got.status)
	}
	if got := s.post(bo, "/welcome", form...); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if got := s.post(s.browser(), "/welcome", form...); got.status != 403 {
		t.Errorf("the link worked twice: status %d", got.status)
	}
	if got := s.get(bo, "/stacks"); got.status != 200 {
		t.Errorf("signed in: status %d", got.status)
	}
	var id string
	must(t, s.st.View(func(tx *store.Tx) error { u, _, err := tx.UserByName("bo"); id = u.ID; return err }))
	if got := s.post(boss, "/settings/users/"+id+"/role", "role", "reader"); got.status != 303 {
		t.Errorf("role: status %d", got.status)
	}
	if got := s.post(bo, "/inbox/dismiss", "key", "x"); got.status != 403 {
		t.Errorf("the new role does not hold: status %d", got.status)
	}
	if got := s.get(boss, "/settings/users/"+id); !strings.Contains(got.body, "127.0.0.1") || !strings.Contains(got.body, "one-time link") {
		t.Errorf("the session is not shown:\n%s", got.body)
	}
	s.post(boss, "/settings/users/"+id+"/sessions/end")
	if got := s.get(bo, "/stacks"); got.status != 303 {
		t.Errorf("signed out: status %d", got.status)
	}
	s.post(bo, "/login", "username", "bo", "password", "correct horse")
	s.post(boss, "/settings/users/"+id+"/disable")
	if got := s.get(bo, "/stacks"); got.status != 303 {
		t.Errorf("disabled: status %d", got.status)
	}
	if got := s.post(bo, "/login", "username", "bo", "password", "correct horse"); got.status != 422 || !strings.Contains(got.body, "The user name or the password is wrong.") {
		t.Errorf("a disabled person signs in, or is told apart: status %d", got.status)
	}
	s.post(boss, "/settings/users/"+id+"/enable")
	if got := s.post(bo, "/login", "username", "bo", "password", "correct horse"); got.status != 303 {
		t.Errorf("enabled: status %d", got.status)
	}
	var acts []string
	for _, e := range s.audit() {
		acts = append(acts, e.Action)
	}
	for _, want := range []string{"user.add", "user.password", "user.sign_in", "user.sign_in_refused", "user.role", "session.end_all", "user.disable", "user.enable"} {
		if !slices.Contains(acts, want) {
			t.Errorf("no entry %s in %v", want, acts)
		}
	}
}

func TestTheLastAdminStays(t *testing.T) {
	s := newSite(t)
	ann := s.user("ann", store.Admin)
	s.user("bob", store.Reader)
	key := s.key(store.Admin)
	for _, body := range []string{`{"role":"reader"}`, `{"disabled":true}`} {
		if got := s.api(key, patch, "/users/"+ann.ID, body); got.status != 409 {
			t.Errorf("%s: status %d", body, got.status)
		}
	}
	invited := s.apiOK(201, post, "/users", `{"name":"cy","role":"admin"}`)
	if got := s.api(key, patch, "/users/"+ann.ID, `{"role":"reader"}`); got.status != 409 {
		t.Errorf("an admin who cannot sign in yet counts: status %d", got.status)
	}
	if !strings.Contains(invited["link"].(string), "/welcome?token=") {
		t.Errorf("%v", invited)
	}
}

// TestSessionsEnd: by idling, by age, by their owner, and never by somebody else's.
func TestSessionsEnd(t *testing.T) {
	s := newSite(t)
	u := s.user("ann", store.Admin)
	other := s.user("bob", store.Reader)
	a, b, o := s.browser(), s.browser(), s.browser()
	for _, br := range []*http.Client{a, b} {
		s.post(br, "/login", "username", "ann", "password", "correct horse")
	}
	s.post(o, "/login", "username", "bob", "password", "correct horse")
	ids := func(user string) (out []string) {
		must(t, s.st.View(func(tx *store.Tx) error {
			list, err := tx.Sessions(user)
			for _, x := range list {
				out = append(out, x.ID)
			}
			return err
		}))
		return out
	}
	if got := s.post(o, "/account/sessions/"+ids(u.ID)[0]+"/end"); got.status != 404 {
		t.Errorf("bob ends a session of ann: status %d", got.status)
	}
	own := store.SessionID(a.Jar.Cookies(mustURL(t, s.srv.URL))[0].Value)
	for _, id := range ids(u.ID) {
		if id != own {
			if got := s.post(a, "/account/sessions/"+id+"/end"); got.status != 303 {
				t.Errorf("status %d", got.status)
			}
		}
	}
	if got := s.get(b, "/stacks"); got.status != 303 {
		t.Errorf("an ended session: status %d", got.status)
	}
	if got := s.post(a, "/account/password", "old", "wrong", "password", "battery staple", "again", "battery staple"); got.status != 422 {
		t.Errorf("wrong old password: status %d", got.status)
	}
	before := a.Jar.Cookies(mustURL(t, s.srv.URL))[0].Value
	s.post(b, "/login", "username", "ann", "password", "correct horse")
	if got := s.post(a, "/account/password", "old", "correct horse", "password", "battery staple", "again", "battery staple"); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if got := s.get(a, "/account"); got.status != 200 || a.Jar.Cookies(mustURL(t, s.srv.URL))[0].Value == before {
		t.Errorf("the browser of the change: status %d", got.status)
	}
	if got := s.get(b, "/stacks"); got.status != 303 {
		t.Errorf("another browser after the change: status %d", got.status)
	}
	_ = other
}

func TestAuditFilterAndExport(t *testing.T) {
	s := newSite(t)
	s.update(func(tx *store.Tx) error {
		for i := range 1200 {
			by := "ann"
			if i%2 == 0 {
				by = "=cmd|' /C calc'!A0"
			}
			if err := tx.Audit(store.AuditEntry{By: by, Action: "stack.lock", Target: "a", Changes: []store.AuditChange{{Field: "locked_by", After: by}}}); err != nil {
				return err
			}
		}
		return nil
	})
	b := s.signedIn(store.Admin)
	got := s.get(b, "/settings/audit/export?format=jsonl&by=ann")
	lines := strings.Split(strings.TrimSpace(got.body), "\n")
	var e map[string]any
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &e))
	if len(lines) != 600 || e["by"] != "ann" {
		t.Errorf("%d lines, %v", len(lines), e)
	}
	rows, err := csv.NewReader(strings.NewReader(s.get(b, "/settings/audit/export?format=csv&action=LOCK").body)).ReadAll()
	if err != nil || len(rows) != 1201 {
		t.Fatal(len(rows), err)
	}
	for _, r := range rows {
		for _, cell := range r {
			if strings.HasPrefix(cell, "=") {
				t.Fatalf("a formula: %q", r)
			}
		}
	}
	today := time.Now().UTC().Format(time.DateOnly)
	if got := s.get(b, "/settings/audit?by=ann&since="+today+"&until="+today); strings.Count(got.body, "<code>stack.lock</code>") != pageRows {
		t.Errorf("%d rows", strings.Count(got.body, "<code>stack.lock</code>"))
	}
	if got := s.get(b, "/settings/audit?until=2001-01-01"); !strings.Contains(got.body, "Nothing matches") {
		t.Error("old times match")
	}
	if got := s.get(b, "/settings/audit?since=yesterday"); got.status != 422 {
		t.Errorf("status %d", got.status)
	}
	if got := s.post(b, "/settings/audit", "audit_days", "5"); got.status != 422 {
		t.Errorf("5 days: status %d", got.status)
	}
	if got := s.apiOK(200, patch, "/settings", `{"audit_days":90,"session_idle_hours":1}`); got["audit_days"] != 90.0 {
		t.Error(got)
	}
}

// TestSecretsAreDigestsInTheAudit: a secret variable's entry tells two values apart and shows neither.
func TestSecretsAreDigestsInTheAudit(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	for _, v := range []string{"first-secret", "second-secret"} {
		s.apiOK(200, put, "/stacks/a/variables/KEY", `{"value":"`+v+`","secret":true}`)
	}
	e := s.audit()[0]
	if len(e.Changes) != 1 || !strings.HasPrefix(e.Changes[0].Before, "digest:") || !strings.HasPrefix(e.Changes[0].After, "digest:") || e.Changes[0].Before == e.Changes[0].After {
		t.Errorf("%+v", e)
	}
	if raw, err := json.Marshal(s.audit()); err != nil || strings.Contains(string(raw), "-secret\"") {
		t.Errorf("a secret in the audit log: %s %v", raw, err)
	}
}

// TestPeopleInPages: a long list of people comes in pages, oldest account first, and is searched.
func TestPeopleInPages(t *testing.T) {
	s := newSite(t)
	boss := s.signedIn(store.Admin)
	s.update(func(tx *store.Tx) error {
		for i := range 2*pageRows + 4 {
			role := store.Reader
			if i%10 == 0 {
				role = store.Writer
			}
			if _, err := tx.PutUser(store.User{Name: fmt.Sprintf("person-%03d", i), Role: role}); err != nil {
				return err
			}
		}
		return nil
	})
	person, next := regexp.MustCompile(`>person-\d\d\d</a>`), regexp.MustCompile(`href="([^"]*)" rel="next"`)
	seen := map[string]bool{}
	path := "/settings/users?q=PERSON-"
	for range 3 {
		page := s.get(boss, path).body
		for _, name := range person.FindAllString(page, -1) {
			seen[name] = true
		}
		if !strings.Contains(page, fmt.Sprintf(" of %d", 2*pageRows+4)) {
			t.Errorf("%s does not say how many there are", path)
		}
		if m := next.FindStringSubmatch(page); m != nil {
			path = html.UnescapeString(m[1])
		}
	}
	if len(seen) != 2*pageRows+4 || next.MatchString(s.get(boss, path).body) {
		t.Errorf("%d people on three pages, the last of them %s", len(seen), path)
	}
	if n := len(person.FindAllString(s.get(boss, "/settings/users?q=writer").body, -1)); n != 11 {
		t.Errorf("%d writers", n)
	}
	s.update(func(tx *store.Tx) error {
		u, _, err := tx.UserByName("person-004")
		u.DisabledAt = tx.Now()
		_, perr := tx.PutUser(u)
		return cmpErr(err, perr)
	})
	if rows := person.FindAllString(s.get(boss, "/settings/users?q=disabled").body, -1); !slices.Equal(rows, []string{">person-004</a>"}) {
		t.Errorf("disabled are %v", rows)
	}
	if got := s.get(boss, "/settings/users?q=nobody%3Cb%3E").body; !strings.Contains(got, "Nobody matches") || strings.Contains(got, "nobody<b>") {
		t.Error("a search without a result does not say so")
	}
}
