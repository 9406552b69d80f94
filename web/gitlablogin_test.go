package web

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"groundcrew/gitlab/sim"
	"groundcrew/store"
)

// openDoor switches Sign in with GitLab on.
func (s *site) openDoor(f *forge, more string) {
	s.t.Helper()
	id, secret := f.AddApplication("Groundcrew", true, []string{"openid", "profile", "email"}, s.srv.URL+callbackPath)
	got := s.apiOK(200, patch, "/sign-in", fmt.Sprintf(`{"gitlab":true,"client_id":%q,"client_secret":%q%s}`, id, secret, more))
	if got["redirect_url"] != s.srv.URL+callbackPath || got["has_secret"] != true || got["client_secret"] != nil {
		s.t.Fatal(got)
	}
}

// toGitLab begins a sign-in and returns the address GitLab sends the browser back to.
func (s *site) toGitLab(b *http.Client, f *forge, user int64, next string) string {
	s.t.Helper()
	f.SetVisitor(user)
	got := s.get(b, "/login/gitlab?next="+url.QueryEscape(next))
	to := got.header.Get("Location")
	if got.status != 303 || !strings.HasPrefix(to, f.URL()+"/oauth/authorize?") {
		s.t.Fatalf("status %d to %q\n%s", got.status, to, got.body)
	}
	res, err := noFollow.Get(to)
	must(s.t, err)
	res.Body.Close()
	return strings.TrimPrefix(res.Header.Get("Location"), s.srv.URL)
}

// viaGitLab signs a user of the forge in.
func (s *site) viaGitLab(f *forge, user int64) *http.Client {
	s.t.Helper()
	b := s.browser()
	if got := s.get(b, s.toGitLab(b, f, user, "/")); got.status != 303 {
		s.t.Fatalf("status %d\n%s", got.status, got.body)
	}
	return b
}

func (s *site) people() (users []store.User) {
	must(s.t, s.st.View(func(tx *store.Tx) (err error) { users, err = tx.Users(); return err }))
	return users
}

func TestSignInWithGitLab(t *testing.T) {
	s, f := linked(t)
	if got := s.get(s.browser(), "/login/gitlab"); got.status != 404 {
		t.Errorf("switched off: status %d", got.status)
	}
	s.openDoor(f, "")
	ada := f.AddUser("ada", "Ada Lind", false)
	s.user("ADA", store.Admin) // somebody local who has that name already
	b := s.browser()
	if got := s.get(b, "/login"); !strings.Contains(got.body, "Sign in with GitLab") {
		t.Error("the page does not offer it")
	}
	back := s.toGitLab(b, f, ada.ID, "/runs?state=failed")
	stranger := s.browser()
	if got := s.get(stranger, back); got.status != 403 || len(stranger.Jar.Cookies(mustURL(t, s.srv.URL))) != 0 {
		t.Errorf("another browser ends the sign-in: status %d", got.status)
	}
	got := s.get(b, back)
	if got.status != 303 || got.header.Get("Location") != "/runs?state=failed" {
		t.Fatalf("status %d to %q\n%s", got.status, got.header.Get("Location"), got.body)
	}
	if got := s.get(b, back); got.status != 403 {
		t.Errorf("the same answer of GitLab twice: status %d", got.status)
	}
	users := s.people()
	u := users[len(users)-1]
	if len(users) != 2 || u.GitLabID != ada.ID || u.GitLabURL != f.URL() || u.Role != store.Writer || u.Name != fmt.Sprintf("ada (GitLab %d)", ada.ID) {
		t.Fatalf("%+v", users)
	}
	f.RenameUser(ada.ID, "ada-lind")
	s.viaGitLab(f, ada.ID)
	mallory := f.AddUser("ada", "Ada Lind", false) // takes the name over, and nothing else
	s.viaGitLab(f, mallory.ID)
	users = s.people()
	if len(users) != 3 || users[1].Name != "ada-lind" || users[1].GitLabID != ada.ID || users[2].GitLabID != mallory.ID {
		t.Errorf("%+v", users)
	}
	system := f.AddUser("system", "System", false)
	s.viaGitLab(f, system.ID)
	if u := s.people()[3]; u.Name == "system" {
		t.Error("a person has the system's name")
	}
	s.apiOK(200, patch, "/users/"+users[1].ID, `{"disabled":true}`)
	if got := s.get(b, "/stacks"); got.status != 303 {
		t.Errorf("disabled here: status %d", got.status)
	}
	if got := s.get(b, s.toGitLab(b, f, ada.ID, "/")); got.status != 403 || !strings.Contains(got.body, "disabled") {
		t.Errorf("disabled here: status %d", got.status)
	}
}

func TestWhoMaySignInWithGitLab(t *testing.T) {
	s, f := linked(t)
	s.openDoor(f, `,"groups":[" Platform/Network/ ","ops"],"default_role":"reader"`)
	in, out := f.AddUser("in", "In", false), f.AddUser("out", "Out", false)
	f.SetGroups(in.ID, "other", "platform/network")
	f.SetGroups(out.ID, "platform", "platform/network-x")
	s.viaGitLab(f, in.ID)
	b := s.browser()
	if got := s.get(b, s.toGitLab(b, f, out.ID, "/")); got.status != 403 || !strings.Contains(got.body, "certain groups") {
		t.Errorf("status %d\n%s", got.status, got.body)
	}
	if users := s.people(); len(users) != 1 || users[0].Role != store.Reader {
		t.Errorf("%+v", users)
	}
	for _, query := range []string{"", "?code=x", "?state=x&code=y", "?error=access_denied&error_description=%3Cscript%3E"} {
		if got := s.get(s.browser(), callbackPath+query); got.status != 403 || strings.Contains(got.body, "<script>alert") {
			t.Errorf("%q: status %d", query, got.status)
		}
	}
	denied := mustURL(t, s.srv.URL+s.toGitLab(b, f, in.ID, "/"))
	if got := s.get(b, callbackPath+"?error=access_denied&error_description=EVIL&state="+denied.Query().Get("state")); got.status != 403 || strings.Contains(got.body, "EVIL") || !strings.Contains(got.body, "You did not let GitLab") {
		t.Errorf("status %d\n%s", got.status, got.body)
	}
}

// TestPasswordsOff: only while an admin can come in with GitLab, and then no password is taken.
func TestPasswordsOff(t *testing.T) {
	s, f := linked(t)
	s.user("ann", store.Admin)
	if got := s.api(bootstrap, patch, "/sign-in", `{"password_off":true}`); got.status != 422 {
		t.Errorf("without GitLab: status %d", got.status)
	}
	s.openDoor(f, "")
	boss := f.AddUser("boss", "Boss", false)
	s.viaGitLab(f, boss.ID)
	if got := s.api(bootstrap, patch, "/sign-in", `{"password_off":true}`); got.status != 422 || !strings.Contains(got.body, "Nobody who signs in with GitLab is an admin") {
		t.Errorf("without an admin of GitLab: status %d %s", got.status, got.body)
	}
	id := s.people()[1].ID
	s.apiOK(200, patch, "/users/"+id, `{"role":"admin"}`)
	s.apiOK(200, patch, "/sign-in", `{"password_off":true}`)
	if got := s.post(s.browser(), "/login", "username", "ann", "password", "correct horse"); got.status != 403 {
		t.Errorf("a password is taken: status %d", got.status)
	}
	if got := s.get(s.browser(), "/login"); strings.Contains(got.body, `type="password"`) || !strings.Contains(got.body, "Sign in with GitLab") {
		t.Error("the page asks for a password")
	}
	for _, c := range []struct{ path, body string }{{"/users/" + id, `{"role":"reader"}`}, {"/users/" + id, `{"disabled":true}`}} {
		if got := s.api(bootstrap, patch, c.path, c.body); got.status != 409 {
			t.Errorf("%s: the last admin who can come in is lost: status %d", c.body, got.status)
		}
	}
	if got := s.api(bootstrap, post, "/users", `{"name":"x","role":"reader"}`); got.status != 409 {
		t.Errorf("an invitation nobody can use: status %d", got.status)
	}
	if got := s.api(bootstrap, patch, "/sign-in", `{"gitlab":false}`); got.status != 422 {
		t.Errorf("the only way in is switched off: status %d", got.status)
	}
}

// TestSignInSettingsAreChecked: what GitLab says of itself is read before anything is kept, and the secret never comes back.
func TestSignInSettingsAreChecked(t *testing.T) {
	s, f := linked(t)
	b := s.signedIn(store.Admin)
	if got := s.get(b, "/settings/sign-in"); !strings.Contains(got.body, s.srv.URL+callbackPath) || !strings.Contains(got.body, f.URL()+"/admin/applications") {
		t.Errorf("the redirect URL and the page of GitLab are not shown:\n%s", got.body)
	}
	if got := s.post(b, "/settings/sign-in", "gitlab", "on", "client_id", "", "default_role", "writer"); got.status != 422 {
		t.Errorf("no id: status %d", got.status)
	}
	f.Fault(sim.Fault{Path: regexp.MustCompile(`well-known`), Status: 502, Body: "<html>booting", Times: 1})
	if got := s.post(b, "/settings/sign-in", "gitlab", "on", "client_id", "id", "client_secret", "gloas-secret", "default_role", "writer"); got.status != 409 {
		t.Errorf("GitLab is down: status %d", got.status)
	}
	if got := s.post(b, "/settings/sign-in", "gitlab", "on", "client_id", "id", "client_secret", "gloas-secret", "default_role", "writer", "groups", "a/b\r\nc"); got.status != 303 {
		t.Fatalf("status %d\n%s", got.status, got.body)
	}
	got := s.get(b, "/settings/sign-in")
	if strings.Contains(got.body, "gloas-secret") || !strings.Contains(got.body, "a/b\nc") {
		t.Error("the secret is shown, or the groups are not")
	}
	if e := s.audit()[0]; e.Action != "settings.sign_in" || strings.Contains(fmt.Sprint(e), "gloas-secret") || !strings.Contains(fmt.Sprint(e), "digest:") {
		t.Errorf("%+v", e)
	}
	if got := s.post(b, "/settings/sessions", "session_idle_hours", "0", "session_life_days", "3"); got.status != 422 {
		t.Errorf("0 hours: status %d", got.status)
	}
	if got := s.post(b, "/settings/sessions", "session_idle_hours", "8", "session_life_days", "3"); got.status != 303 {
		t.Errorf("status %d", got.status)
	}
}
