package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// wantRights says for every address who may use it. One letter for each of the callers, in the order of [callers]:
//
//	nobody, a forged session, the session of a disabled person, an expired key;
//	reader, writer, admin (by session, and by key where keys count: the API and the metrics);
//	people from GitLab who are no member of the project, Reporter, Developer, Maintainer.
//
// "+" comes in, "?" is asked who it is, "-" is refused, "0" is told that it is not there, "*" is not judged here. A new route
// without a row fails.
var wantRights = []struct {
	need   need
	may    string
	routes []string
}{
	// Nothing is asked.
	{public, "++++ +++ ++++", []string{
		"GET /healthz", "GET /readyz", "GET /static/*", "GET /favicon.ico", "GET /login", "POST /login", "GET /login/gitlab", "GET /api/v1/openapi.json",
		"GET /.well-known/terraform.json",
	}},
	// They ask for a token or a secret of their own, whoever comes: TestSetupLink, TestRescue, TestWebhookRefusesStrangers, TestSignInWithGitLab.
	{public, "**** *** ****", []string{
		"POST /webhooks/gitlab", "GET /setup", "POST /setup", "GET /login/gitlab/callback", "GET /welcome", "POST /welcome",
	}},
	// A key, the token of a run or a ticket, which the handlers ask for themselves (registry_test.go); no session opens them.
	{bearer, "???? ??? ????", []string{
		"GET /registry/modules/v1/:namespace/:name/:provider/versions", "GET /registry/modules/v1/:namespace/:name/:provider/:version/download",
		"GET /registry/archives/:file", "GET /git/*", "POST /git/*", "GET /backup",
	}},
	// A browser that somebody signed in with.
	{session, "???? +++ ++++", []string{
		"POST /logout", "GET /account", "POST /account/password", "POST /account/gitlab", "POST /account/gitlab/disconnect", "POST /account/sessions/:session/end",
	}},
	// Lists and settings: everybody, and people from GitLab see what they may of it (TestNothingOfOtherProjects).
	{reader, "???? +++ ++++", []string{
		"GET /", "GET /stacks", "GET /runs", "GET /settings", "GET /settings/vcs", "GET /settings/vcs/gitlab", "GET /inbox",
		"GET /settings/vcs/gitlab/deliveries", "GET /settings/vcs/gitlab/reports", "GET /settings/system", "GET /settings/users", "GET /ui/stacks",
		"GET /ui/find", "GET /api/v1/integration", "GET /api/v1/projects", "GET /api/v1/stacks", "GET /api/v1/runs", "GET /api/v1/deliveries",
		"GET /api/v1/reports", "GET /api/v1/inbox",
		"GET /modules", "GET /api/v1/modules", "GET /contexts", "GET /api/v1/contexts", "GET /policies", "GET /api/v1/policies",
	}},
	// About all projects at once.
	{reader, "???? +++ ----", []string{"GET /metrics"}},
	// About a stack or a module: for people from GitLab it is there from Reporter on.
	{reader, "???? +++ 0+++", []string{
		"GET /stacks/:slug", "GET /stacks/:slug/merge-requests", "GET /stacks/:slug/environment", "GET /stacks/:slug/state", "GET /stacks/:slug/settings",
		"GET /runs/:id", "GET /runs/:id/live", "GET /runs/:id/logs/:phase", "GET /runs/:id/logs/:phase/earlier", "GET /runs/:id/changes.json", "GET /api/v1/stacks/:slug",
		"GET /api/v1/stacks/:slug/variables", "GET /api/v1/stacks/:slug/variables/:name", "GET /api/v1/stacks/:slug/state/versions",
		"GET /api/v1/stacks/:slug/runs", "GET /api/v1/runs/:id", "GET /api/v1/runs/:id/changes", "GET /api/v1/runs/:id/logs/:phase",
		"GET /api/v1/runs/:id/events",
		"GET /modules/:name", "GET /modules/:name/versions/:version", "GET /modules/:name/checks", "GET /modules/:name/checks/:check",
		"GET /modules/:name/settings", "GET /api/v1/modules/:name", "GET /api/v1/modules/:name/versions", "GET /api/v1/modules/:name/versions/:version",
		"GET /api/v1/modules/:name/versions/:version/tests", "GET /api/v1/modules/:name/checks", "GET /api/v1/modules/:name/users",
		"GET /api/v1/modules/:name/variables",
		"GET /stacks/:slug/contexts", "GET /api/v1/stacks/:slug/contexts", "GET /api/v1/stacks/:slug/environment", "GET /api/v1/stacks/:slug/files",
		"GET /api/v1/stacks/:slug/files/*", "GET /stacks/:slug/policies", "GET /api/v1/stacks/:slug/policies",
	}},
	// About a context: there for people from GitLab who may read a stack that has it.
	{reader, "???? +++ 0+++", []string{
		"GET /contexts/:slug", "GET /contexts/:slug/stacks", "GET /contexts/:slug/settings", "GET /api/v1/contexts/:slug", "GET /api/v1/contexts/:slug/stacks",
		"GET /api/v1/contexts/:slug/variables", "GET /api/v1/contexts/:slug/variables/:name", "GET /api/v1/contexts/:slug/files", "GET /api/v1/contexts/:slug/files/*",
	}},
	// About a policy: there for people from GitLab who may read a stack that it concerns.
	{reader, "???? +++ 0+++", []string{"GET /policies/:slug", "GET /api/v1/policies/:slug", "GET /api/v1/policies/:slug/samples"}},
	// It is about no project, so nobody from GitLab who is no admin does it.
	{writer, "???? -++ ----", []string{"POST /api/v1/policies/check"}},
	// A delivery of no known project is nobody's.
	{reader, "???? +++ 0000", []string{
		"GET /settings/vcs/gitlab/deliveries/:id",
	}},
	// A run that changes nothing: from Developer on (what changes something is refused by the handler: TestRightsFollowGitLab).
	{writer, "???? -++ 0-++", []string{
		"POST /stacks/:slug/runs", "POST /api/v1/stacks/:slug/runs",
	}},
	// Everything else about a stack or a module that a writer may: from Maintainer on.
	{writer, "???? -++ 0--+", []string{
		"POST /stacks/:slug/lock", "POST /stacks/:slug/unlock", "POST /stacks/:slug/sync", "POST /stacks/:slug/merge-requests/:iid/release",
		"POST /stacks/:slug/environment", "POST /stacks/:slug/environment/delete", "POST /stacks/:slug/destroy", "POST /runs/:id/confirm",
		"POST /runs/:id/approve", "POST /runs/:id/reject", "POST /api/v1/runs/:id/approve", "POST /api/v1/runs/:id/reject",
		"POST /runs/:id/discard", "POST /runs/:id/stop", "POST /runs/:id/prioritize", "POST /runs/:id/putback", "POST /runs/:id/retry",
		"POST /runs/:id/promote", "POST /api/v1/stacks/:slug/lock", "POST /api/v1/stacks/:slug/unlock", "POST /api/v1/stacks/:slug/sync",
		"PUT /api/v1/stacks/:slug/variables/:name", "DELETE /api/v1/stacks/:slug/variables/:name", "POST /api/v1/runs/:id/confirm",
		"POST /api/v1/runs/:id/discard", "POST /api/v1/runs/:id/stop", "DELETE /api/v1/runs/:id/prioritize", "POST /api/v1/runs/:id/prioritize",
		"POST /api/v1/runs/:id/retry", "POST /api/v1/runs/:id/promote",
		"POST /modules/:name/versions/:version/tests", "POST /modules/:name/versions/:version/yank", "POST /modules/:name/checks", "POST /modules/:name/merge-requests/:iid/release", "POST /modules/:name/users",
		"POST /modules/:name/variables", "POST /modules/:name/variables/delete", "POST /api/v1/modules/:name/versions/:version/tests",
		"POST /api/v1/modules/:name/versions/:version/yank", "POST /api/v1/modules/:name/checks", "POST /api/v1/modules/:name/users/runs",
		"PUT /api/v1/modules/:name/variables/:variable", "DELETE /api/v1/modules/:name/variables/:variable",
		"POST /stacks/:slug/environment/files", "POST /stacks/:slug/environment/files/delete", "PUT /api/v1/stacks/:slug/files/*",
		"DELETE /api/v1/stacks/:slug/files/*",
	}},
	// About a report or a notice; here about none, so that people from GitLab may not know of it.
	{writer, "???? -++ 0000", []string{
		"POST /inbox/dismiss", "POST /settings/vcs/gitlab/reports/retry", "POST /api/v1/reports/:id/retry", "POST /api/v1/inbox/:id/dismiss",
	}},
	// Admins.
	{admin, "???? --+ ----", []string{
		"GET /stacks/new", "POST /stacks", "GET /stacks/:slug/state/:version/download", "POST /stacks/:slug/settings", "POST /stacks/:slug/delete",
		"POST /settings/vcs/gitlab", "GET /settings/vcs/gitlab/edit", "POST /settings/vcs/gitlab/edit", "POST /settings/vcs/gitlab/test",
		"POST /settings/vcs/gitlab/unlink", "POST /settings/vcs/gitlab/secret", "POST /settings/vcs/gitlab/secret/rotate", "POST /settings/vcs/gitlab/hooks",
		"POST /settings/vcs/gitlab/hooks/test", "POST /settings/vcs/gitlab/projects/:project/hook", "POST /settings/vcs/gitlab/projects/:project/hook/test",
		"POST /settings/vcs/gitlab/projects/:project/settings", "POST /settings/vcs/gitlab/deliveries/:id/replay", "GET /settings/notifications",
		"POST /settings/notifications", "GET /settings/notifications/new", "GET /settings/notifications/:id", "POST /settings/notifications/:id",
		"POST /settings/notifications/:id/test", "POST /settings/notifications/:id/delete", "POST /settings/system", "POST /settings/system/retention",
		"POST /settings/users", "GET /settings/users/:id", "POST /settings/users/:id/role", "POST /settings/users/:id/disable",
		"POST /settings/users/:id/enable", "POST /settings/users/:id/link", "POST /settings/users/:id/gitlab/disconnect", "POST /settings/users/:id/sessions/end",
		"POST /settings/users/:id/sessions/:session/end", "GET /settings/sign-in", "POST /settings/sign-in", "POST /settings/sessions", "GET /settings/keys",
		"POST /settings/keys", "POST /settings/keys/:id/delete", "GET /settings/audit", "POST /settings/audit", "GET /settings/audit/export",
		"GET /ui/projects", "GET /ui/branches", "PUT /api/v1/integration", "DELETE /api/v1/integration", "POST /api/v1/integration/test",
		"POST /api/v1/integration/secret/rotate", "PATCH /api/v1/projects/:project", "POST /api/v1/projects/:project/hook",
		"POST /api/v1/projects/hooks/test", "POST /api/v1/projects/:project/hook/test", "POST /api/v1/stacks", "PATCH /api/v1/stacks/:slug",
		"DELETE /api/v1/stacks/:slug", "GET /api/v1/stacks/:slug/state", "POST /api/v1/deliveries/:id/replay", "GET /api/v1/audit",
		"GET /api/v1/audit/export", "GET /api/v1/settings", "GET /api/v1/sign-in", "PATCH /api/v1/sign-in", "PATCH /api/v1/settings",
		"GET /api/v1/notifications", "POST /api/v1/notifications", "GET /api/v1/notifications/:id", "PATCH /api/v1/notifications/:id",
		"DELETE /api/v1/notifications/:id", "POST /api/v1/notifications/:id/test", "GET /api/v1/api-keys", "POST /api/v1/api-keys",
		"DELETE /api/v1/api-keys/:id", "GET /api/v1/users", "PATCH /api/v1/users/:id", "POST /api/v1/users", "POST /api/v1/users/:id/link",
		"GET /api/v1/users/:id/sessions", "DELETE /api/v1/users/:id/gitlab", "DELETE /api/v1/users/:id/sessions", "DELETE /api/v1/users/:id/sessions/:session",
		"GET /modules/new", "POST /modules", "POST /modules/:name/settings", "POST /modules/:name/import", "POST /modules/:name/delete",
		"POST /settings/system/modules", "POST /api/v1/modules", "PATCH /api/v1/modules/:name", "DELETE /api/v1/modules/:name",
		"POST /api/v1/modules/:name/import", "GET /api/v1/settings/modules", "PUT /api/v1/settings/modules",
		"GET /contexts/new", "POST /contexts", "POST /contexts/:slug/variables", "POST /contexts/:slug/variables/delete", "POST /contexts/:slug/files",
		"POST /contexts/:slug/files/delete", "POST /contexts/:slug/settings", "POST /contexts/:slug/delete", "POST /stacks/:slug/contexts",
		"POST /stacks/:slug/contexts/detach", "POST /api/v1/contexts", "PATCH /api/v1/contexts/:slug", "DELETE /api/v1/contexts/:slug",
		"PUT /api/v1/contexts/:slug/variables/:name", "DELETE /api/v1/contexts/:slug/variables/:name", "PUT /api/v1/contexts/:slug/files/*",
		"GET /policies/new", "POST /policies", "POST /policies/:slug", "POST /policies/:slug/try", "POST /policies/:slug/switch", "POST /policies/:slug/delete",
		"POST /api/v1/policies", "PATCH /api/v1/policies/:slug", "DELETE /api/v1/policies/:slug", "POST /api/v1/policies/:slug/try",
		"GET /api/v1/policies/:slug/samples/:sample",
		"DELETE /api/v1/contexts/:slug/files/*", "PUT /api/v1/stacks/:slug/contexts/:context", "DELETE /api/v1/stacks/:slug/contexts/:context",
	}},
}

// callers are the columns of wantRights.
var callers = []string{
	"nobody", "forged", "disabled", "expired", "reader", "writer", "admin", "none", "reporter", "developer", "maintainer",
}

// TestWhoMayWhat asks every route as everybody. The stack and the run it asks for are there for people from GitLab, whose rights
// follow them; for the others there is nothing, so that an admin can be let in everywhere without breaking the site.
func TestWhoMayWhat(t *testing.T) {
	g := newGuild(t)
	want := wantedRights(t, g.web.table)
	expired, module := g.expiredKey(), g.module()
	g.update(func(tx *store.Tx) error {
		_, err := tx.AddContext(runs.Context{Name: "a"})
		_, err2 := tx.AddPolicy(runs.Policy{Name: "a", Type: runs.PolicyPlan, Body: "package groundcrew", Stacks: []string{"a"}})
		return errors.Join(err, err2, tx.Attach(runs.Attachment{Stack: "a", Context: "a"}))
	})
	browsers := map[string]*http.Client{"nobody": g.browser(), "expired": g.browser(), "forged": g.withSession(store.NewToken()), "disabled": g.disabled()}
	for _, role := range []store.Role{store.Reader, store.Writer, store.Admin} {
		browsers[string(role)] = g.signedIn(role)
	}
	keys := map[string]string{"expired": expired, "reader": g.key(store.Reader), "writer": g.key(store.Writer), "admin": g.key(store.Admin)}
	order := slices.Concat(callers[7:], callers[:7]) // admins last: they change how people sign in
	for _, caller := range order {
		column := slices.Index(callers, caller)
		there := strings.NewReplacer(":slug", "nothing", ":id", "01HZZZZZZZZZZZZZZZZZZZZZZZ")
		browser := browsers[caller]
		if column >= 7 {
			there, browser = strings.NewReplacer(":slug", "a", "runs/:id", "runs/"+g.waiting.ID, "modules/:name", "modules/"+module.Slug), g.people[caller]
		}
		for _, r := range g.web.table {
			name := r.method + " " + r.path
			path := nowhere(there.Replace(r.path))
			keyed := strings.HasPrefix(path, "/api/") || path == metricsPath
			try := func(how string, b *http.Client, key string, want byte) {
				if got := g.gate(b, key, r.method, path); want != '*' && got != want {
					t.Errorf("%s as %s %s: %c, want %c", name, caller, how, got, want)
				}
			}
			if name != "POST /logout" || want[name][column] != '+' { // it ends the session: TestLoginAndLogout
				try("by session", browser, "", want[name][column])
			}
			if key := keys[caller]; key != "" && keyed {
				try("by key", noFollow, key, want[name][column])
			} else if key != "" && r.need != bearer {
				try("by key where none counts", noFollow, key, want[name][0])
			}
		}
	}
}

// wantedRights are the letters of each route; whatever has no row, or another need than its row, is a mistake.
func wantedRights(t *testing.T, table []route) map[string]string {
	t.Helper()
	letters, needs := map[string]string{}, map[string]need{}
	for _, row := range wantRights {
		for _, name := range row.routes {
			if _, twice := letters[name]; twice {
				t.Errorf("%s has two rows", name)
			}
			letters[name], needs[name] = strings.ReplaceAll(row.may, " ", ""), row.need
		}
	}
	for _, r := range table {
		name := r.method + " " + r.path
		if _, ok := letters[name]; !ok {
			t.Fatalf("%s (%s) has no row in wantRights", name, r.need)
		}
		if needs[name] != r.need {
			t.Errorf("%s needs %s, want %s", name, r.need, needs[name])
		}
		delete(needs, name)
	}
	for name := range needs {
		t.Errorf("%s is not there", name)
	}
	return letters
}

// module is one in the project of the stack "a".
func (g *guild) module() (m runs.Module) {
	g.update(func(tx *store.Tx) (err error) {
		m, err = tx.AddModule(runs.Module{
			Name: "net", Provider: "aws", Namespace: "platform", Project: g.f.project.ID, ProjectPath: g.f.project.Path, Branch: "main",
			Release: runs.ReleaseByTag, Tool: runs.OpenTofu,
		})
		return err
	})
	return m
}

// gate asks an address and says with a letter of wantRights what came of it. It reads no more than that takes: streams stay open.
func (g *guild) gate(b *http.Client, key, method, path string) byte {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	defer cancel()
	req := g.form(path, "type", "proposed", "commit", "main").WithContext(ctx)
	if strings.HasPrefix(path, "/api/") {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(`{}`)), 2
	}
	if path == "/api/v1/stacks/a/runs" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(`{"type":"proposed","commit":"main"}`)), -1
	}
	req.Method = method
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := b.Do(req)
	must(g.t, err)
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusSeeOther && strings.HasPrefix(res.Header.Get("Location"), "/login?next="):
		return '?'
	case res.StatusCode == http.StatusForbidden:
		return '-'
	case res.StatusCode == http.StatusNotFound && b != noFollow && slices.Contains(g.members(), b):
		body, err := io.ReadAll(res.Body)
		must(g.t, err)
		for _, what := range []string{"stack", "run", "module", "delivery", "report", "notice", "context", "policy"} {
			if strings.Contains(string(body), "There is no "+what) {
				return '0'
			}
		}
	}
	return '+'
}

// members are the browsers of the people from GitLab.
func (g *guild) members() (list []*http.Client) {
	for _, b := range g.people {
		list = append(list, b)
	}
	return list
}

// expiredKey is the text of an admin's key whose time is over.
func (g *guild) expiredKey() (text string) {
	g.t.Helper()
	soon := time.Now().Add(20 * time.Millisecond)
	g.update(func(tx *store.Tx) (err error) {
		_, text, err = tx.AddAPIKey(store.APIKey{Name: "old", Role: store.Admin, ExpiresAt: &soon})
		return err
	})
	time.Sleep(time.Until(soon) + time.Millisecond) // the key's time has to pass
	return text
}

// disabled is the browser of an admin who was signed in and is disabled: the session is still in the store.
func (g *guild) disabled() *http.Client {
	g.t.Helper()
	var token string
	g.update(func(tx *store.Tx) error {
		u, err := tx.PutUser(store.User{Name: "gone", Role: store.Admin})
		if err != nil {
			return err
		}
		if token, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)}); err != nil {
			return err
		}
		u.DisabledAt = tx.Now()
		_, err = tx.PutUser(u)
		return err
	})
	return g.withSession(token)
}

func (g *guild) withSession(token string) *http.Client {
	b := g.browser()
	b.Jar.SetCookies(mustURL(g.t, g.srv.URL), []*http.Cookie{{Name: sessionCookie, Value: token}})
	return b
}
