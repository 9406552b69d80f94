package web

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

var continueLink = regexp.MustCompile(`href="([^"]*/oauth/authorize\?[^"]*)"`)

// byPassword is the browser of a person who signed in with the password "correct horse".
func (s *site) byPassword(name string) *http.Client {
	s.t.Helper()
	b := s.browser()
	if got := s.post(b, "/login", "username", name, "password", "correct horse"); got.status != 303 {
		s.t.Fatalf("status %d\n%s", got.status, got.body)
	}
	return b
}

// connecting begins to connect an account and returns the address GitLab sends the browser back to.
func (s *site) connecting(b *http.Client, f *forge, user int64) string {
	s.t.Helper()
	f.SetVisitor(user)
	s.web.logins = newLoginLimiter() // guessing has its own test
	got := s.post(b, "/account/gitlab", "current", "correct horse")
	link := continueLink.FindStringSubmatch(got.body)
	if got.status != 200 || link == nil {
		s.t.Fatalf("status %d\n%s", got.status, got.body)
	}
	res, err := noFollow.Get(strings.ReplaceAll(link[1], "&amp;", "&"))
	must(s.t, err)
	res.Body.Close()
	return strings.TrimPrefix(res.Header.Get("Location"), s.srv.URL)
}

func (s *site) person(name string) (u store.User) {
	s.t.Helper()
	must(s.t, s.st.View(func(tx *store.Tx) (err error) { u, _, err = tx.UserByName(name); return err }))
	return u
}

// TestConnectGitLab: the first admin, who has a password, connects the account in GitLab, comes in both ways, keeps name and
// role, and takes it off again.
func TestConnectGitLab(t *testing.T) {
	s, f := linked(t)
	s.user("admin", store.Admin)
	b := s.byPassword("admin")
	ada := f.AddUser("ada", "Ada Lind", false)
	if got := s.get(b, "/account"); strings.Contains(got.body, "Connect GitLab") {
		t.Error("offered while Sign in with GitLab is off")
	}
	if got := s.post(b, "/account/gitlab", "current", "correct horse"); got.status != 404 {
		t.Errorf("switched off: status %d", got.status)
	}
	s.openDoor(f, "")
	if got := s.get(b, "/account"); !strings.Contains(got.body, "Connect GitLab") {
		t.Error("not offered")
	}
	if got := s.post(b, "/account/gitlab", "current", "wrong"); got.status != 422 || continueLink.MatchString(got.body) || strings.Contains(got.header.Get("Set-Cookie"), flowCookie) {
		t.Errorf("a wrong password: status %d", got.status)
	}
	if got := s.get(b, s.connecting(b, f, ada.ID)); got.status != 303 || got.header.Get("Location") != "/account" {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	e := s.audit()[0]
	if e.Action != "user.connect" || e.By != "admin" || e.Address == "" || !strings.HasPrefix(e.Via, "session ") || !strings.Contains(fmt.Sprint(e.Changes), fmt.Sprint(ada.ID)) {
		t.Errorf("%+v", e)
	}
	if got := s.get(b, "/account"); !strings.Contains(got.body, "Ada Lind") || !strings.Contains(got.body, "Connected.") {
		t.Error("the page does not say so")
	}
	g := s.viaGitLab(f, ada.ID)
	if got := s.get(g, "/settings/audit"); got.status != 200 {
		t.Errorf("with GitLab: status %d, want an admin", got.status)
	}
	if users := s.people(); len(users) != 1 || users[0].Name != "admin" || users[0].GitLabID != ada.ID || users[0].Role != store.Admin {
		t.Fatalf("%+v", users)
	}
	if got := s.api(bootstrap, patch, "/sign-in", `{"password_off":true}`); got.status != 200 {
		t.Errorf("an admin comes in with GitLab, so passwords can go: status %d %s", got.status, got.body)
	}
	s.web.logins = newLoginLimiter()
	if got := s.post(b, "/account/gitlab/disconnect", "current", "correct horse"); got.status != 409 || !strings.Contains(got.body, "only way in") {
		t.Errorf("the only way in is given away: status %d", got.status)
	}
	if got := s.api(bootstrap, remove, "/users/"+s.people()[0].ID+"/gitlab", ""); got.status != 409 || !strings.Contains(got.body, "last admin") {
		t.Errorf("the last admin's only way in: status %d", got.status)
	}
	s.apiOK(200, patch, "/sign-in", `{"password_off":false}`)
	if got := s.post(b, "/account/gitlab/disconnect", "current", "wrong"); got.status != 422 {
		t.Errorf("a wrong password: status %d", got.status)
	}
	if got := s.post(b, "/account/gitlab/disconnect", "current", "correct horse"); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if e := s.audit()[0]; e.Action != "user.disconnect" || !strings.Contains(fmt.Sprint(e.Changes), fmt.Sprint(ada.ID)) {
		t.Errorf("%+v", e)
	}
	if got := s.get(g, "/account"); got.status != 303 {
		t.Errorf("the browser that came with GitLab: status %d", got.status)
	}
	if got := s.get(b, "/account"); got.status != 200 {
		t.Errorf("the browser that did it: status %d", got.status)
	}
	s.viaGitLab(f, ada.ID)
	if users := s.people(); len(users) != 2 || users[1].Name != "ada" || users[1].Role != store.Writer {
		t.Errorf("afterwards GitLab opens an account of its own: %+v", users)
	}
}

// TestConnectIsBoundToItsSession: an answer of GitLab connects the account of the session that asked for it, once, and nothing else.
func TestConnectIsBoundToItsSession(t *testing.T) {
	s, f := linked(t)
	s.openDoor(f, "")
	s.user("ann", store.Admin)
	s.user("eve", store.Reader)
	mine, theirs := f.AddUser("ann", "Ann", false), f.AddUser("mallory", "Mallory", false)
	ann, eve := s.byPassword("ann"), s.byPassword("eve")
	carry := func(from, to *http.Client) { // what a browser took along to GitLab is planted in another
		for _, ck := range from.Jar.Cookies(mustURL(t, s.srv.URL)) {
			if ck.Name == flowCookie {
				to.Jar.SetCookies(mustURL(t, s.srv.URL), []*http.Cookie{{Name: ck.Name, Value: ck.Value, Path: "/"}})
			}
		}
	}
	back := s.connecting(eve, f, theirs.ID)
	if got := s.get(ann, back); got.status != 403 {
		t.Errorf("without what the browser carried: status %d", got.status)
	}
	carry(eve, ann)
	if got := s.get(ann, back); got.status != 403 || !strings.Contains(got.body, "begun by somebody else") {
		t.Errorf("begun by eve, ended by ann: status %d\n%s", got.status, got.body)
	}
	back = s.connecting(ann, f, mine.ID)
	again := s.byPassword("ann")
	carry(ann, again)
	if got := s.get(again, back); got.status != 403 {
		t.Errorf("another session of hers: status %d", got.status)
	}
	back = s.connecting(ann, f, mine.ID)
	s.post(ann, "/logout")
	if got := s.get(ann, back); got.status != 403 {
		t.Errorf("signed out meanwhile: status %d", got.status)
	}
	ann = s.byPassword("ann")
	signIn := s.toGitLab(ann, f, theirs.ID, "/")
	state := mustURL(t, signIn).Query().Get("state")
	s.connecting(ann, f, mine.ID)
	if got := s.get(ann, callbackPath+"?code=x&state="+state); got.status != 403 {
		t.Errorf("the state of a sign-in: status %d", got.status)
	}
	back = s.connecting(ann, f, mine.ID)
	denied := callbackPath + "?error=access_denied&state=" + mustURL(t, back).Query().Get("state")
	if got := s.get(ann, denied); got.status != 403 || !strings.Contains(got.body, "nothing was connected") {
		t.Errorf("refused in GitLab: status %d", got.status)
	}
	for _, name := range []string{"ann", "eve"} {
		if u := s.person(name); u.GitLabID != 0 {
			t.Fatalf("%+v", u)
		}
	}
	back = s.connecting(ann, f, mine.ID)
	if got := s.get(ann, back); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if got := s.get(ann, back); got.status != 403 {
		t.Errorf("twice: status %d", got.status)
	}
	if got := s.post(ann, "/account/gitlab", "current", "correct horse"); got.status != 409 {
		t.Errorf("connected already: status %d", got.status)
	}
	s.web.logins = strictLimiter()
	for range 6 {
		s.post(eve, "/account/gitlab", "current", "guess")
	}
	if got := s.post(eve, "/account/gitlab", "current", "correct horse"); got.status != 422 || !strings.Contains(got.body, "Too many tries") {
		t.Errorf("guessing is not slowed: status %d", got.status)
	}
}

// TestConnectTakesNobodysIdentity: a number that opens another account stays there, until an admin frees it; equal names and
// addresses join nothing.
func TestConnectTakesNobodysIdentity(t *testing.T) {
	s, f := linked(t)
	s.openDoor(f, `,"groups":["ops"]`)
	s.user("ann", store.Admin)
	u, out := f.AddUser("ann", "Ann", false), f.AddUser("out", "Out", false)
	f.SetGroups(u.ID, "ops")
	theirs := s.viaGitLab(f, u.ID)
	if len(s.people()) != 2 {
		t.Fatalf("an equal name joined: %+v", s.people())
	}
	b := s.byPassword("ann")
	got := s.get(b, s.connecting(b, f, u.ID))
	if got.status != 409 || !strings.Contains(got.body, "signs in here as") || !strings.Contains(got.body, "Settings › Users") {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	if got := s.get(b, s.connecting(b, f, out.ID)); got.status != 403 || !strings.Contains(got.body, "certain groups") {
		t.Errorf("nobody of the groups: status %d", got.status)
	}
	back := s.connecting(b, f, u.ID)
	f.BlockUser(u.ID, true)
	if got := s.get(b, back); got.status == 303 || s.person("ann").GitLabID != 0 {
		t.Errorf("blocked: status %d", got.status)
	}
	f.BlockUser(u.ID, false)
	other := s.people()[1]
	if got := s.get(b, "/settings/users/"+other.ID); !strings.Contains(got.body, "Disconnect GitLab") {
		t.Error("an admin is not offered to disconnect it")
	}
	if got := s.post(b, "/settings/users/"+other.ID+"/gitlab/disconnect"); got.status != 303 {
		t.Fatalf("status %d", got.status)
	}
	if got := s.post(b, "/settings/users/"+other.ID+"/gitlab/disconnect"); got.status != 409 {
		t.Errorf("twice: status %d", got.status)
	}
	if got := s.get(theirs, "/account"); got.status != 303 {
		t.Errorf("the one who was disconnected is signed in still: status %d", got.status)
	}
	if got := s.get(b, s.connecting(b, f, u.ID)); got.status != 303 {
		t.Errorf("freed: status %d\n%s", got.status, got.body)
	}
	if got := s.post(b, "/settings/users/"+other.ID+"/link"); got.status != 200 || !strings.Contains(got.body, "/welcome?token=") {
		t.Errorf("a link for who has no way in: status %d", got.status)
	}
	if n := s.person("ann"); n.GitLabID != u.ID {
		t.Errorf("%+v", n)
	}
	stranger := f.AddUser("boss", "Boss", false)
	f.SetGroups(stranger.ID, "ops")
	boss := s.viaGitLab(f, stranger.ID)
	s.apiOK(200, patch, "/users/"+s.person("boss").ID, `{"role":"admin"}`)
	if got := s.post(boss, "/settings/users/"+s.person("boss").ID+"/gitlab/disconnect"); got.status != 409 {
		t.Errorf("an admin's own only way in: status %d", got.status)
	}
	if got := s.post(boss, "/account/gitlab/disconnect", "current", ""); got.status != 409 {
		t.Errorf("one's own only way in: status %d", got.status)
	}
}

// TestRightsOfAConnectedPerson: they follow GitLab however the person came in; an admin with a password comes in while GitLab is
// away; and a number of another GitLab is worth nothing.
func TestRightsOfAConnectedPerson(t *testing.T) {
	g := newGuild(t)
	g.user("wanda", store.Writer)
	g.user("root", store.Admin)
	wanda, root := g.byPassword("wanda"), g.byPassword("root")
	if got := g.get(wanda, "/stacks/hidden"); got.status != 200 {
		t.Fatalf("before: status %d", got.status)
	}
	dev := g.f.AddUser("w", "Wanda", false)
	g.f.AddMember(g.f.project.ID, dev.ID, sim.Developer)
	if got := g.get(wanda, g.connecting(wanda, g.f, dev.ID)); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	for name, b := range map[string]*http.Client{"the session that connected": wanda, "by password": g.byPassword("wanda"), "with GitLab": g.viaGitLab(g.f, dev.ID)} {
		if got := g.get(b, "/stacks/hidden"); got.status != 404 {
			t.Errorf("%s: what she may not read: status %d", name, got.status)
		}
		if got := g.post(b, "/stacks/a/lock"); got.status != 403 {
			t.Errorf("%s: a Developer locks: status %d", name, got.status)
		}
	}
	admin := g.f.AddUser("r", "Root", false)
	if got := g.get(root, g.connecting(root, g.f, admin.ID)); got.status != 303 {
		t.Fatalf("status %d", got.status)
	}
	came := g.viaGitLab(g.f, admin.ID)
	clear := g.f.Fault(sim.Fault{Status: 502, Body: "<html>"})
	if got := g.post(root, "/stacks/a/lock"); got.status != 303 {
		t.Errorf("GitLab is away, an admin by password: status %d", got.status)
	}
	if got := g.post(came, "/stacks/a/unlock"); got.status != 403 {
		t.Errorf("GitLab is away, an admin with GitLab: status %d", got.status)
	}
	clear()
	g.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		in.APIURL = "https://another.test"
		if err == nil {
			err = tx.PutIntegration(in)
		}
		return err
	})
	for name, b := range map[string]*http.Client{"a writer": g.byPassword("wanda"), "an admin": came} {
		if got := g.get(b, "/stacks"); got.status != 403 || !strings.Contains(got.body, "another GitLab") {
			t.Errorf("%s of another GitLab: status %d", name, got.status)
		}
	}
	if r := g.waiting; r.State != runs.Unconfirmed {
		t.Errorf("%s", r.State)
	}
}
