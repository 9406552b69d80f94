package web

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// evil is what outsiders can write into commits, branches, merge requests, logs and GitLab's answers (S43).
const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// evilContext is a context that holds evil wherever it may.
func evilContext(tx *store.Tx) error {
	c, err := tx.AddContext(runs.Context{Name: "a"})
	c.Name, c.Description, c.Labels = evil, evil, []string{evil}
	return errors.Join(err, tx.PutContext(c), tx.Attach(runs.Attachment{Stack: "a", Context: "a", By: evil}), tx.PutVariable(c.Scope(), runs.Variable{Name: "Y", Value: evil}),
		tx.PutFile(c.Scope(), mountOf("evil", []byte(evil), false)), tx.PutFile("a", mountOf(strings.ReplaceAll(evil, "/", ""), []byte(evil), false)))
}

// evilPolicy is a policy that holds evil wherever it may, and said some.
func (s *site) evilPolicy(run string) {
	s.update(func(tx *store.Tx) error {
		p, err := tx.AddPolicy(runs.Policy{Name: "a", Type: runs.PolicyPlan, Body: "package groundcrew", Stacks: []string{"a"}})
		p.Name, p.Description, p.Labels, p.Body = evil, evil, []string{evil}, "package groundcrew\n\ndeny contains `"+evil+"`"
		return errors.Join(err, tx.PutPolicy(p))
	})
	said := runs.PolicyResult{Policy: "a", Name: evil, Type: runs.PolicyPlan, Outcome: runs.OutcomeError, Messages: []string{evil}}
	must(s.t, s.st.AddSample(store.Sample{Policy: "a", Stack: "a", Run: run, Result: said}, []byte(`{"a":"`+strings.ReplaceAll(evil, `"`, `\"`)+`"}`)))
}

// evilSite holds one of everything, with evil wherever an outsider could put it.
func evilSite(t *testing.T) (s *site, run runs.Run, delivery string) {
	s = newSite(t)
	s.link("http://127.0.0.1:1/" + "gitlab")
	s.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		in.Health.Name, in.Health.Username, in.Health.Version, in.Health.Trouble = evil, evil, evil, evil
		return tx.PutIntegration(in)
	})
	st := s.stack("a")
	s.update(func(tx *store.Tx) error {
		st.Description, st.ProjectPath, st.ProjectURL, st.Labels = evil, evil, "javascript:alert(3)", []string{evil}
		st.LockedBy, st.LockNote, st.Flag = "bob", evil, evil
		st.TrackedCommit = runs.Commit{SHA: "c0ffee00", Title: evil, Author: evil, URL: "javascript:alert(4)"}
		if err := tx.PutStack(st); err != nil {
			return err
		}
		if err := tx.PutVariable("a", runs.Variable{Name: "X", Value: evil}); err != nil {
			return err
		}
		if err := evilContext(tx); err != nil {
			return err
		}
		if err := tx.PutHead(7, "main", "deadbeef"); err != nil {
			return err
		}
		return tx.PutMergeRequest(store.MergeRequest{
			Project: 7, MergeRequest: runs.MergeRequest{IID: 3, Title: evil, SourceBranch: evil, TargetBranch: "main", URL: "javascript:alert(5)", Fork: true},
			State: "opened", Head: "c0ffee", HeadTitle: evil, Held: "c0ffee", Stacks: []string{"a"},
		})
	})
	s.update(func(tx *store.Tx) (err error) {
		run, err = tx.Apply(tx.NewID(), runs.Requested{Meta: now(), Run: runs.Run{
			Stack: "a", Project: 7, Type: runs.Tracked, Trigger: runs.ByWebhook, TriggeredBy: evil, Branch: evil,
			Commit: runs.Commit{SHA: "c0ffee00", Title: evil, Author: evil, URL: "javascript:alert(6)"},
			MR:     &runs.MergeRequest{IID: 3, Title: evil, SourceBranch: evil, URL: "javascript:alert(7)"},
		}})
		return err
	})
	run = s.apply(run.ID, runs.Claimed{Meta: now()}, runs.PhaseStarted{Meta: now(), State: runs.Initializing, Tool: evil, ToolVersion: evil, TrackedAt: "another"},
		runs.PhaseStarted{Meta: now(), State: runs.Planning},
		runs.Planned{Meta: now(), Delta: runs.Delta{Add: 1}, Fingerprint: "f1", Warnings: []string{evil}})
	s.writeLog(run.ID, runs.Planning, "\x1b[31m"+evil+"\x1b[0m\n\x1b]8;;javascript:alert(8)\x07link\x1b]8;;\x07\n")
	must(t, s.st.WriteFile([]byte(`{"resources":[{"address":`+fmt.Sprintf("%q", evil)+`,"type":"t","action":"add","attributes":[{"path":`+fmt.Sprintf("%q", evil)+`,"after":`+fmt.Sprintf("%q", evil)+`}]}]}`), "changes", run.ID+".json"))
	failed := s.request("a", runs.Proposed, "bad")
	s.apply(failed.ID, runs.Fail{Meta: runs.Meta{At: time.Now(), Note: evil}})
	a := s.hook("hook-secret", `{"x":"`+strings.ReplaceAll(evil, `"`, `\"`)+`"}`, "X-Gitlab-Event", evil, "X-Gitlab-Instance", evil)
	delivery = a.json(t)["id"].(string)
	s.update(func(tx *store.Tx) error {
		rep, _, err := tx.Report(store.StatusTarget(7, "c0ffee00", "groundcrew/a"))
		rep.State, rep.LastError = store.ReportParked, evil
		return cmpErr(err, tx.PutReport(rep))
	})
	v, err := s.st.WriteState("a", []byte(`{"outputs":{"o":{"value":`+fmt.Sprintf("%q", evil)+`}}}`))
	must(t, err)
	v.By, v.Lineage = evil, evil
	s.update(func(tx *store.Tx) error { _, err := tx.AddStateVersion("a", v); return err })
	s.update(func(tx *store.Tx) error {
		n := store.Notification{ID: run.ID, Channel: run.ID, Topic: runs.OnFailed, State: store.NotificationFailed, LastError: evil, Said: store.Said{Title: evil, Stack: evil}}
		return cmpErr(tx.PutChannel(store.Channel{ // under the run's id, which stands for any in the addresses below
			ID: run.ID, Name: evil, Kind: store.ChannelEmail, Topics: runs.Topics, Labels: []string{evil}, Stacks: []string{evil}, LastError: evil,
			SMTP: store.SMTP{Host: evil, Username: evil, From: evil, To: []string{evil}}, CA: evil,
		}), tx.PutNotification(n))
	})
	s.evilModule(evil, run)
	s.evilPolicy(run.ID)
	return s, run, delivery
}

// eachPage opens every page a role may, of the site that evilSite makes, and hands over what it shows.
func (s *site) eachPage(role store.Role, run runs.Run, delivery string, look func(r route, path, body string)) {
	s.t.Helper()
	b := s.signedIn(role)
	for _, r := range s.web.table {
		if r.method != get || r.stream || r.doc != nil || r.need == public || r.need == bearer || strings.HasSuffix(r.path, "/earlier") || rank[role] < rank[store.Role(r.need)] {
			continue
		}
		path := strings.NewReplacer(":slug", "a", ":version", "1", ":phase", "planning", ":name", "vpc", ":check", run.ID).Replace(r.path)
		if strings.HasPrefix(path, "/settings/users/") {
			path = strings.Replace(path, ":id", s.aUser(), 1)
		}
		path = strings.Replace(path, ":id", map[bool]string{true: delivery, false: run.ID}[strings.Contains(path, "deliveries")], 1)
		got := s.get(b, path)
		if got.status == http.StatusSeeOther && r.path == "/settings" || strings.HasPrefix(r.path, "/ui/") && got.status != 500 {
			continue // asks GitLab, which is not there
		}
		if got.status != 200 {
			s.t.Errorf("%s as %s: status %d\n%.500s", path, role, got.status, got.body)
			continue
		}
		if strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			look(r, path, got.body)
		}
	}
}

func TestEveryPageForEveryRole(t *testing.T) {
	s, run, delivery := evilSite(t)
	for _, role := range []store.Role{store.Reader, store.Writer, store.Admin} {
		s.eachPage(role, run, delivery, func(_ route, path, body string) {
			s.checkLinks(path, body)
			for _, bad := range []string{"<script>alert", "<img src=x", `href="javascript:`, "hook-secret", "glpat-very-secret"} {
				if i := strings.Index(body, bad); i >= 0 {
					t.Errorf("%s as %s holds %s: …%s…", path, role, bad, body[max(0, i-120):min(len(body), i+120)])
				}
			}
		})
	}
}

var links = regexp.MustCompile(`(?s)<(\w+)([^>]*?)\s(href|action|src|data-live|data-typeahead|data-secret)="(/[^"]*)"([^>]*)>`)

// checkLinks wants a route behind every address on a page.
func (s *site) checkLinks(page, body string) {
	s.t.Helper()
	found := links.FindAllStringSubmatch(body, -1)
	if len(found) < 5 {
		s.t.Errorf("%s has only %d links", page, len(found))
	}
	for _, m := range found {
		method := get
		if m[3] == "data-secret" || m[1] == "form" && strings.Contains(m[2]+m[5], `method="post"`) {
			method = post
		}
		address, _, _ := strings.Cut(html.UnescapeString(m[4]), "?")
		address, _, _ = strings.Cut(address, "#")
		if !s.leadsSomewhere(method, address) {
			s.t.Errorf("%s: %s %s leads nowhere", page, method, address)
		}
	}
}

func (s *site) leadsSomewhere(method, address string) bool {
	c := s.web.echo.NewContext(nil, nil)
	s.web.echo.Router().Find(method, address, c)
	return slices.ContainsFunc(s.web.table, func(r route) bool { return r.method == method && r.path == c.Path() })
}

func TestTooLargeForm(t *testing.T) {
	s := newSite(t)
	if got := s.post(s.browser(), "/login", "username", strings.Repeat("x", 2<<20)); got.status != 413 {
		t.Errorf("status %d, want 413", got.status)
	}
	req := s.form("/login")
	req.Body = io.NopCloser(strings.NewReader("a=%zz"))
	req.ContentLength = 5
	if got := s.do(s.browser(), req); got.status != 422 {
		t.Errorf("status %d, want 422", got.status)
	}
}

func TestStaticFiles(t *testing.T) {
	s := newSite(t)
	page := s.get(s.browser(), "/login").body
	css := regexp.MustCompile(`/static/app\.[0-9a-f]+\.css`).FindString(page)
	got := s.get(s.browser(), css)
	if got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(got.header.Get("Content-Type"), "text/css") {
		t.Errorf("%s: %d %v", css, got.status, got.header)
	}
	if got := s.get(s.browser(), "/favicon.ico"); got.status != 301 {
		t.Errorf("favicon: %d", got.status)
	}
}

func TestFiltersOfPages(t *testing.T) {
	s, _, _ := evilSite(t)
	s.stack("other thing")
	b := s.signedIn(store.Reader)
	for path, want := range map[string][2]string{
		"/stacks?q=OTHER+network":                       {"other-thing", `href="/stacks/a"`},
		"/stacks?state=unconfirmed":                     {`href="/stacks/a"`, "other-thing"},
		"/stacks?q=" + "nothing-like-it":                {"nothing-like-it", "other-thing"},
		"/settings/vcs/gitlab/deliveries?state=ignored": {"", "x"},
		"/settings/vcs/gitlab/reports?state=parked":     {"", "delivered to"},
		"/runs?stack=a&type=proposed&state=failed":      {"", "zzz"},
		"/stacks/a?type=tracked":                        {"", "zzz"},
	} {
		got := s.get(b, path)
		if got.status != 200 {
			t.Errorf("%s: status %d", path, got.status)
		}
		if want[0] != "" && (!strings.Contains(got.body, want[0]) || strings.Contains(got.body, want[1])) {
			t.Errorf("%s: want %q and not %q", path, want[0], want[1])
		}
	}
	if got := s.get(b, "/runs?type=nonsense"); got.status != 422 {
		t.Errorf("a wrong filter: status %d", got.status)
	}
}

func TestStartPageShowsTheWay(t *testing.T) {
	s := newSite(t)
	b := s.signedIn(store.Admin)
	if got := s.get(b, "/"); got.status != 200 || !strings.Contains(got.body, "/settings/vcs/gitlab") {
		t.Errorf("new installation: %d", got.status)
	}
	s.link("https://gitlab.test")
	if got := s.get(b, "/"); !strings.Contains(got.body, "/stacks/new") {
		t.Error("with GitLab: no way to a stack")
	}
}

// flashed follows a redirect and wants its message on the page.
func (s *site) flashed(b *http.Client, a answer, to, text string) {
	s.t.Helper()
	if a.status != 303 || !strings.HasPrefix(a.header.Get("Location"), to) {
		s.t.Errorf("status %d to %q, want %s\n%.600s", a.status, a.header.Get("Location"), to, a.body)
		return
	}
	if page := s.get(b, a.header.Get("Location")); !strings.Contains(page.body, text) {
		s.t.Errorf("%s does not say %q", to, text)
	}
	if page := s.get(b, a.header.Get("Location")); strings.Contains(page.body, text) {
		s.t.Errorf("%s says %q twice", to, text)
	}
}

func TestIntegrationPages(t *testing.T) {
	s, f := newSite(t), newForge(t)
	b := s.signedIn(store.Admin)
	bad := s.post(b, "/settings/vcs/gitlab", "api_url", f.URL(), "token", "glpat-wrong", "status_prefix", "kept-value")
	if bad.status != 422 || !strings.Contains(bad.body, "kept-value") || strings.Contains(bad.body, "glpat-wrong") {
		t.Errorf("refused form: %d", bad.status)
	}
	s.flashed(b, s.post(b, "/settings/vcs/gitlab", "api_url", f.URL(), "token", f.token), "/settings/vcs/gitlab", "GitLab is connected.")
	in, _, err := s.web.integration()
	must(t, err)
	page := s.get(b, "/settings/vcs/gitlab")
	if strings.Contains(page.body, in.Secret.Reveal()) || strings.Contains(page.body, f.token) || !strings.Contains(page.body, "/webhooks/gitlab") {
		t.Error("the page shows a secret or no endpoint")
	}
	req := s.form("/settings/vcs/gitlab/secret")
	req.Header.Set("Accept", "application/json")
	if got := s.do(b, req); got.status != 200 || got.json(t)["value"] != in.Secret.Reveal() {
		t.Errorf("reveal: %d %s", got.status, got.body)
	}
	if got := s.post(b, "/settings/vcs/gitlab/secret"); got.status != 200 || !strings.Contains(got.body, in.Secret.Reveal()) {
		t.Errorf("reveal without scripts: %d", got.status)
	}
	if got := s.post(b, "/settings/vcs/gitlab/test"); got.status != 200 || !strings.Contains(got.body, "The token is valid") {
		t.Errorf("test: %d", got.status)
	}
	s.flashed(b, s.post(b, "/settings/vcs/gitlab/edit", "api_url", f.URL(), "token", "", "status_prefix", "gc"), "/settings/vcs/gitlab", "GitLab is connected.")
	s.flashed(b, s.post(b, "/settings/vcs/gitlab/secret/rotate"), "/settings/vcs/gitlab", "new webhook secret")
	if got := s.post(b, "/settings/vcs/gitlab/unlink", "host", "another"); got.status != 422 {
		t.Errorf("unlink without its name: %d", got.status)
	}
	s.stack("a")
	s.flashed(b, s.post(b, "/settings/vcs/gitlab/unlink", "host", hostOf(f.URL())), "/settings/vcs", "GitLab is unlinked.")
	if got := s.get(b, "/stacks/a"); !strings.Contains(got.body, "detached") {
		t.Error("no banner says that the stack is detached")
	}
}

func TestStackPages(t *testing.T) {
	s, f := linked(t)
	b := s.signedIn(store.Admin)
	form := []string{"name", "Net", "project", "infra/network", "branch", "main", "project_root", "live", "globs", "a/**\r\n\r\nb/*", "tool", "terraform", "tool_version", "", "state", "managed", "plan", "head", "labels", "x, y,,", "install_hook", "on"}
	wrong := append([]string{}, form...)
	wrong[5] = "no-such-branch"
	if bad := s.post(b, "/stacks", wrong...); bad.status != 422 || !strings.Contains(bad.body, "no-such-branch") || !strings.Contains(bad.body, "x, y,,") {
		t.Errorf("refused form: %d", bad.status)
	}
	s.flashed(b, s.post(b, "/stacks", form...), "/stacks/net", "The stack is there")
	st, err := s.web.stack("net")
	must(t, err)
	if len(st.Globs) != 2 || len(st.Labels) != 2 || st.Plan != runs.PlanHead || st.Project != f.project.ID || len(f.Hooks(f.project.ID)) != 1 {
		t.Errorf("made: %+v", st)
	}
	s.flashed(b, s.post(b, "/stacks/net/settings", "name", "Net 2", "project", "infra/network", "branch", "main", "tool", "opentofu", "plan", "merge_result", "autodeploy", "on", "run_promotion", "on"), "/stacks/net/settings", "saved")
	if st, err = s.web.stack("net"); err != nil || st.Name != "Net 2" || !st.Autodeploy || st.ProjectRoot != "" || st.State != runs.StateManaged {
		t.Errorf("changed: %+v %v", st, err)
	}
	s.flashed(b, s.post(b, "/stacks/net/environment", "name", "CERT", "value", "one\r\ntwo\r\n"), "/stacks/net/environment", "CERT is set")
	vars, err := s.web.variables("net")
	if err != nil || len(vars) != 1 || vars[0].Value != "one\ntwo\n" {
		t.Errorf("variables: %+v %v", vars, err)
	}
	if got := s.post(b, "/stacks/net/environment", "name", "1X", "value", "kept", "secret", "on"); got.status != 422 || strings.Contains(got.body, ">kept<") {
		t.Errorf("bad variable: %d", got.status)
	}
	if got := s.post(b, "/stacks/net/environment", "name", "S", "value", "", "secret", "on"); got.status != 422 {
		t.Errorf("empty secret: %d", got.status)
	}
	s.flashed(b, s.post(b, "/stacks/net/environment/delete", "name", "CERT"), "/stacks/net/environment", "CERT is deleted")
	s.flashed(b, s.post(b, "/stacks/net/lock", "note", "until friday"), "/stacks/net", "The stack is locked:")
	if got := s.get(b, "/stacks/net"); !strings.Contains(got.body, "until friday") {
		t.Error("the lock's note is not shown")
	}
	s.flashed(b, s.post(b, "/stacks/net/unlock"), "/stacks/net", "The stack is unlocked.")
	s.update(func(tx *store.Tx) error {
		return tx.PutWatch(store.Watch{Project: f.project.ID, Cause: engine.ProjectArchived, Trouble: "The project infra/network is archived", Mend: "Unarchive it."})
	})
	if got := s.get(b, "/stacks/net"); !strings.Contains(got.body, "The project infra/network is archived. Unarchive it.") {
		t.Error("the project's trouble is not shown")
	}
	s.flashed(b, s.post(b, "/stacks/net/sync"), "/stacks/net", "tracked commit is")
	if got := s.post(b, "/stacks/net/runs", "type", "tracked"); got.status != 303 || !strings.HasPrefix(got.header.Get("Location"), "/runs/") {
		t.Errorf("trigger: %d", got.status)
	}
	if got := s.post(b, "/stacks/net/delete", "slug", "other"); got.status != 422 {
		t.Errorf("delete without its name: %d", got.status)
	}
	s.flashed(b, s.post(b, "/stacks/net/delete", "slug", "net"), "/stacks", "is deleted")
	s.flashed(b, s.post(b, "/settings/vcs/gitlab/hooks"), "/settings/vcs/gitlab", "0 hooks are installed")
}

// TestManyProjects shows the hooks of many projects page by page, and asks GitLab only for those on the page.
func TestManyProjects(t *testing.T) {
	s, f := linked(t)
	b := s.signedIn(store.Admin)
	s.update(func(tx *store.Tx) error {
		for i := range 2*pageRows + 3 {
			st := runs.Stack{
				Name: fmt.Sprintf("s%03d", i), Project: int64(9000 + i), ProjectPath: fmt.Sprintf("many/p%03d", i), Branch: "main", Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanHead,
			}
			if _, err := tx.AddStack(st); err != nil {
				return err
			}
		}
		return nil
	})
	path, seen := integrationURL, []string{}
	for path != "" {
		asked := len(f.Requests())
		page := s.get(b, path)
		shown := regexp.MustCompile(`/stacks\?q=many%2Fp\d{3}"`).FindAllString(page.body, -1)
		if !strings.Contains(page.body, fmt.Sprintf("%d of %d", len(shown), 2*pageRows+3)) || !strings.Contains(page.body, "Install or repair hooks") || len(shown) > pageRows {
			t.Errorf("%s: %d projects, or no count of all", path, len(shown))
		}
		if n := len(f.Requests()) - asked; n > 2*len(shown) {
			t.Errorf("%s asks GitLab %d times for %d projects", path, n, len(shown))
		}
		seen = append(seen, shown...)
		path = ""
		if m := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page.body); m != nil {
			path = m[1]
		}
	}
	if len(seen) != 2*pageRows+3 || !slices.IsSorted(seen) || len(slices.Compact(seen)) != 2*pageRows+3 {
		t.Errorf("%d projects on all pages, each once and in order: %v", len(seen), seen)
	}
	if got := s.post(b, integrationURL+"/test"); !strings.Contains(got.body, `href="`+integrationURL+`?cursor=`) {
		t.Error("the answer to a form does not lead to the next page")
	}
	if got := s.get(b, integrationURL+"?cursor=1"); got.status != 200 || !strings.Contains(got.body, "many/p000") {
		t.Errorf("after a project that is gone: %d", got.status)
	}
}

func TestTypeAhead(t *testing.T) {
	s, f := linked(t)
	b := s.signedIn(store.Admin)
	if got := s.get(b, "/ui/projects?q=netw"); got.status != 200 || !strings.Contains(got.body, `"value":"infra/network"`) {
		t.Errorf("projects: %d %s", got.status, got.body)
	}
	for _, project := range []string{"infra/network", "INFRA/network", fmt.Sprint(f.project.ID)} {
		if got := s.get(b, "/ui/branches?project="+project); got.status != 200 || !strings.Contains(got.body, `"value":"main"`) {
			t.Errorf("branches of %s: %d %s", project, got.status, got.body)
		}
	}
	if got := s.get(b, "/ui/branches?project=no/such"); got.status != 404 || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("no such project: %d", got.status)
	}
	if got := s.get(b, "/ui/stacks?q=zzz"); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("stacks: %s", got.body)
	}
}

func TestRunPageActs(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.planned(s.request("a", runs.Tracked, "c1").ID)
	next := s.request("a", runs.Tracked, "c2")
	b, reader := s.signedIn(store.Writer), s.signedIn(store.Reader)
	if got := s.get(reader, "/runs/"+r.ID); !strings.Contains(got.body, "Only a writer or an admin can confirm.") {
		t.Error("a reader is not told why they cannot confirm")
	}
	if got := s.get(b, "/runs/"+r.ID); !strings.Contains(got.body, "/runs/"+r.ID+"/confirm") || !strings.Contains(got.body, "/live?after=") {
		t.Error("no way to confirm, or not live")
	}
	if got := s.get(b, "/runs/"+next.ID); !strings.Contains(got.body, "/runs/"+r.ID) {
		t.Error("a queued run does not show its blocker")
	}
	stale := s.post(b, "/runs/"+r.ID+"/confirm", "fingerprint", "older")
	if stale.status != 409 || !strings.Contains(stale.body, "made again") {
		t.Errorf("a stale yes: %d", stale.status)
	}
	s.flashed(b, s.post(b, "/runs/"+r.ID+"/confirm", "fingerprint", "f1"), "/runs/"+r.ID, "Confirmed.")
	s.flashed(b, s.post(b, "/runs/"+next.ID+"/discard", "note", "no"), "/runs/"+next.ID, "The run is discarded.")
	again := s.post(b, "/runs/"+next.ID+"/retry")
	s.flashed(b, again, "/runs/", "the new run")
	id := strings.TrimPrefix(again.header.Get("Location"), "/runs/")
	s.flashed(b, s.post(b, "/runs/"+id+"/prioritize"), "/runs/"+id, "before all others")
	if page := s.get(b, "/runs/"+id).body; !strings.Contains(page, "put first by") || strings.Contains(page, "Put first") {
		t.Error("the page does not show who put the run first, or offers it twice")
	}
	s.flashed(b, s.post(b, "/runs/"+id+"/putback"), "/runs/"+id, "its turn again")
	if page := s.get(b, "/runs/"+id).body; strings.Contains(page, "put first by") || strings.Contains(page, "Put back") {
		t.Error("the run is still first")
	}
	s.flashed(b, s.post(b, "/runs/"+id+"/stop"), "/runs/"+id, "asked to stop")
}

func TestWorkersForm(t *testing.T) {
	s := newSite(t)
	b := s.signedIn(store.Admin)
	if got := s.post(b, "/settings/system", "workers", "many"); got.status != 422 || !strings.Contains(got.body, "many") {
		t.Errorf("status %d", got.status)
	}
	s.flashed(b, s.post(b, "/settings/system", "workers", "7"), "/settings/system", "Saved.")
	if s.eng.Workers() != 7 {
		t.Errorf("workers: %d", s.eng.Workers())
	}
}

func TestTokenBanner(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	soon := time.Now().Add(6*24*time.Hour + time.Hour)
	s.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		in.Health.ExpiresAt = &soon
		return cmpErr(err, tx.PutIntegration(in))
	})
	if got := s.get(s.signedIn(store.Admin), "/stacks"); !strings.Contains(got.body, "expires in 6 days") {
		t.Error("an admin is not warned of the token's end")
	}
	if got := s.get(s.signedIn(store.Reader), "/stacks"); strings.Contains(got.body, "expires in 6 days") {
		t.Error("a reader is warned of what they cannot mend")
	}
}
