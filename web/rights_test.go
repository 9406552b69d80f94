package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// A guild is a site with people of every access level in GitLab, and two stacks of two projects; nobody but the bot is a member of
// the second one.
type guild struct {
	*site
	f        *forge
	people   map[string]*http.Client
	ids      map[string]int64
	hidden   sim.Project
	waiting  runs.Run // unconfirmed, of the stack "a"
	proposed runs.Run // queued, of the stack "a"
	secret   runs.Run // unconfirmed, of the stack "hidden"
}

func newGuild(t *testing.T) *guild {
	s, f := linked(t)
	s.openDoor(f, "")
	g := &guild{site: s, f: f, people: map[string]*http.Client{}, ids: map[string]int64{}}
	var err error
	g.hidden, err = f.AddProject("vault/keys", "main", map[string]string{"live/main.tf": ""})
	must(t, err)
	for name, level := range map[string]int{"none": 0, "guest": sim.Guest, "reporter": sim.Reporter, "developer": sim.Developer, "maintainer": sim.Maintainer} {
		u := f.AddUser(name, name, false)
		if level > 0 {
			f.AddMember(f.project.ID, u.ID, level)
		}
		g.people[name], g.ids[name] = s.viaGitLab(f, u.ID), u.ID
	}
	s.update(func(tx *store.Tx) error {
		for name, p := range map[string]sim.Project{"a": f.project, "hidden": g.hidden} {
			if _, err := tx.AddStack(runs.Stack{
				Name: name, Project: p.ID, ProjectPath: p.Path, ProjectURL: p.WebURL, Branch: "main", ProjectRoot: "live",
				Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult, Promotion: true,
			}); err != nil {
				return err
			}
		}
		return nil
	})
	request := func(slug string, project int64, typ runs.Type) (r runs.Run) {
		s.update(func(tx *store.Tx) (err error) {
			r, err = tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now(), By: "ann"}, Run: runs.Run{
				Stack: slug, Project: project, Type: typ, Trigger: runs.ByPerson, TriggeredBy: "ann", Branch: "main",
				Commit: runs.Commit{SHA: "c1", Title: "Change of " + slug},
			}})
			return err
		})
		return r
	}
	g.waiting = s.planned(request("a", f.project.ID, runs.Tracked).ID)
	g.secret = s.planned(request("hidden", g.hidden.ID, runs.Tracked).ID)
	g.proposed = request("a", f.project.ID, runs.Proposed)
	return g
}

// TestRightsFollowGitLab: what each level may do with a stack, on pages and in the API, and that what a person may not read is
// not there for them.
func TestRightsFollowGitLab(t *testing.T) {
	g := newGuild(t)
	order := []string{"none", "guest", "reporter", "developer", "maintainer"}
	for _, c := range []struct {
		method, path, body string
		least              string
	}{
		{get, "/stacks/a", "", "reporter"},
		{get, "/stacks/a/settings", "", "reporter"},
		{get, "/runs/" + g.waiting.ID, "", "reporter"},
		{get, "/api/v1/stacks/a", "", "reporter"},
		{get, "/api/v1/runs/" + g.waiting.ID, "", "reporter"},
		{get, "/api/v1/stacks/a/variables", "", "reporter"},
		{post, "/api/v1/stacks/a/runs", `{"type":"proposed","commit":"main"}`, "developer"},
		{post, "/api/v1/stacks/a/runs", `{"type":"tracked"}`, "maintainer"},
		{post, "/api/v1/runs/" + g.proposed.ID + "/prioritize", "", "developer"},
		{post, "/api/v1/runs/" + g.waiting.ID + "/prioritize", "", "maintainer"},
		{post, "/api/v1/runs/" + g.proposed.ID + "/promote", "", "maintainer"},
		{post, "/api/v1/stacks/a/lock", "", "maintainer"},
		{post, "/api/v1/stacks/a/unlock", "", "maintainer"},
		{put, "/api/v1/stacks/a/variables/X", `{"value":"v"}`, "maintainer"},
		{post, "/stacks/a/merge-requests/9/release", "", "maintainer"},
		{post, "/stacks/a/destroy", "", "maintainer"},
		{post, "/api/v1/runs/" + g.waiting.ID + "/confirm", `{"fingerprint":"another"}`, "maintainer"},
		{post, "/api/v1/runs/" + g.waiting.ID + "/discard", "", "maintainer"},
		{remove, "/api/v1/stacks/a", "", "admin"},
		{get, "/api/v1/stacks/hidden", "", "admin"},
		{get, "/runs/" + g.secret.ID, "", "admin"},
		{get, "/runs/" + g.secret.ID + "/logs/planning", "", "admin"},
		{post, "/runs/" + g.secret.ID + "/confirm", "", "admin"},
		{post, "/inbox/dismiss", "", "admin"},
	} {
		for i, name := range order {
			req := g.form(c.path)
			if strings.HasPrefix(c.path, "/api/") {
				r, err := http.NewRequestWithContext(t.Context(), c.method, g.srv.URL+c.path, strings.NewReader(c.body))
				must(t, err)
				req = r
			}
			req.Method = c.method
			got := g.do(g.people[name], req)
			refused := got.status == 403 || got.status == 404 && strings.Contains(got.body, "There is no")
			if want := i < slices.Index(append(order, "admin"), c.least); refused != want && !(got.status == 404 && !want) {
				t.Errorf("%s %s as %s: status %d, refused %v, want %v\n%.300s", c.method, c.path, name, got.status, refused, want, got.body)
			}
			if hiding := i < 2 && c.least != "admin"; hiding && got.status != 404 {
				t.Errorf("%s %s as %s: status %d tells that it is there", c.method, c.path, name, got.status)
			}
		}
	}
}

// TestListsShowWhatMayBeRead: nothing of a project that somebody may not read is on any page or in any list.
func TestListsShowWhatMayBeRead(t *testing.T) {
	g := newGuild(t)
	for _, r := range g.web.table {
		if r.method != get || r.stream || strings.Contains(r.path, ":") || r.need != reader && r.need != session {
			continue
		}
		for _, name := range []string{"none", "maintainer"} {
			got := g.get(g.people[name], r.path)
			if got.status >= 500 {
				t.Errorf("%s as %s: status %d", r.path, name, got.status)
			}
			for _, bad := range []string{"vault/keys", g.secret.ID, "Change of hidden", "/stacks/hidden"} {
				if strings.Contains(got.body, bad) {
					t.Errorf("%s as %s shows %q", r.path, name, bad)
				}
			}
			if name == "none" && (strings.Contains(got.body, g.waiting.ID) || strings.Contains(got.body, "/stacks/a\"")) {
				t.Errorf("%s shows the stack a to nobody's member", r.path)
			}
		}
	}
	if got := g.get(g.people["maintainer"], "/ui/find?q=Change"); strings.Contains(got.body, g.secret.ID) || !strings.Contains(got.body, g.waiting.ID) {
		t.Errorf("the palette finds %s", got.body)
	}
	for path, want := range map[string]string{"/": g.waiting.ID, "/runs": g.waiting.ID, "/stacks": "/stacks/a", "/api/v1/runs": g.waiting.ID, "/api/v1/stacks": `"a"`, "/ui/stacks": `"a"`} {
		if got := g.get(g.people["reporter"], path); !strings.Contains(got.body, want) {
			t.Errorf("%s lacks %s for a reporter", path, want)
		}
	}
}

// TestNoProjectIsNotAllProjects: when no stack and no module is left, runs of those that were there are still nobody's who had no
// right to them.
func TestNoProjectIsNotAllProjects(t *testing.T) {
	g := newGuild(t)
	g.update(func(tx *store.Tx) error { return cmpErr(tx.DeleteStack("a"), tx.DeleteStack("hidden")) })
	addresses := []string{"/", "/runs", "/runs?state=discarded", "/api/v1/runs", "/ui/find?q=Change"}
	for _, path := range addresses {
		for _, name := range []string{"none", "maintainer"} {
			got := g.get(g.people[name], path)
			for _, bad := range []string{g.secret.ID, g.waiting.ID, g.proposed.ID, "Change of", "last 24 hours"} {
				if got.status != 200 || strings.Contains(got.body, bad) {
					t.Errorf("%s as %s: status %d, shows %q", path, name, got.status, bad)
				}
			}
		}
	}
	if got := g.get(g.signedIn(store.Reader), "/api/v1/runs"); !strings.Contains(got.body, g.secret.ID) {
		t.Errorf("a reader with a password lacks the runs: %s", got.body)
	}
}

// TestButtonsSayWhyNot: a Developer sees Confirm switched off, with the reason, and is refused with the same words.
func TestButtonsSayWhyNot(t *testing.T) {
	g := newGuild(t)
	const why = "Only a Maintainer of infra/network in GitLab can confirm; you are a Developer there."
	if got := g.get(g.people["developer"], "/runs/"+g.waiting.ID); !strings.Contains(got.body, why) {
		t.Error("the page does not say why")
	}
	if got := g.post(g.people["developer"], "/runs/"+g.waiting.ID+"/confirm"); got.status != 403 || !strings.Contains(got.body, "Only a Maintainer of infra/network") {
		t.Errorf("status %d", got.status)
	}
	if got := g.get(g.people["maintainer"], "/runs/"+g.waiting.ID); strings.Contains(got.body, why) {
		t.Error("a Maintainer is told that they are none")
	}
}

// TestS19RightsAreAskedAtTheMoment: an act asks GitLab anew, a page is at most a minute behind, and while GitLab is down nothing is
// done (S19, S45).
func TestS19RightsAreAskedAtTheMoment(t *testing.T) {
	g := newGuild(t)
	b, lock, unlock := g.people["maintainer"], "/api/v1/stacks/a/lock", "/api/v1/stacks/a/unlock"
	act := func(path string) answer { return g.do(b, g.form(path)) }
	if got := act(lock); got.status != 200 {
		t.Fatalf("status %d %s", got.status, got.body)
	}
	g.f.AddMember(g.f.project.ID, g.ids["maintainer"], sim.Developer)
	if got := act(unlock); got.status != 403 {
		t.Errorf("a level that was lowered a moment ago: status %d", got.status)
	}
	g.f.AddMember(g.f.project.ID, g.ids["maintainer"], sim.Maintainer)
	if got := act(unlock); got.status != 200 {
		t.Errorf("a level that was raised a moment ago: status %d", got.status)
	}
	clear := g.f.Fault(sim.Fault{Status: 502, Body: "<html>"})
	if got := act(lock); got.status != 403 || !strings.Contains(got.body, "GitLab cannot be asked") {
		t.Errorf("GitLab is down: status %d %s", got.status, got.body)
	}
	if got := g.get(b, "/stacks/a"); got.status != 200 {
		t.Errorf("GitLab is down, a page within the minute: status %d", got.status)
	}
	g.web.asked.mu.Lock()
	for k, v := range g.web.asked.known {
		v.at = time.Now().Add(-askedAge - time.Second)
		g.web.asked.known[k] = v
	}
	g.web.asked.mu.Unlock()
	if got := g.get(b, "/stacks/a"); got.status != 403 || !strings.Contains(got.body, "GitLab cannot be asked") {
		t.Errorf("GitLab is down for longer than a minute: status %d", got.status)
	}
	if got := g.api(bootstrap, post, "/stacks/a/lock", ""); got.status != 200 {
		t.Errorf("a key does not depend on GitLab: status %d", got.status)
	}
	clear()
	g.f.BlockUser(g.ids["maintainer"], true)
	if got := act(unlock); got.status != 404 && got.status != 403 {
		t.Errorf("blocked in GitLab: status %d", got.status)
	}
	g.web.asked.mu.Lock()
	g.web.asked.known = nil
	g.web.asked.mu.Unlock()
	if got := g.get(b, "/runs"); got.status != 403 {
		t.Errorf("blocked in GitLab, a list: status %d", got.status)
	}
	admin := g.f.AddUser("boss", "Boss", false)
	boss := g.viaGitLab(g.f, admin.ID)
	var id string
	must(t, g.st.View(func(tx *store.Tx) error { u, _, err := tx.UserByName("boss"); id = u.ID; return err }))
	g.apiOK(200, patch, "/users/"+id, `{"role":"admin"}`)
	if got := g.get(boss, "/runs/"+g.secret.ID); got.status != 200 {
		t.Errorf("an admin from GitLab: status %d", got.status)
	}
	g.f.BlockUser(admin.ID, true)
	if got := g.post(boss, "/settings/system", "workers", "3"); got.status != 403 {
		t.Errorf("an admin who is blocked in GitLab acts: status %d", got.status)
	}
}
