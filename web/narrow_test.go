package web

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// moving matches what differs between two answers though nothing happened: moments, their distances, and ids of requests.
var moving = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(Z|\+00:00)|\d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d UTC|just now|\d+[smh] ago|"request_id":"[^"]*"|<code>[0-9A-Z]{26}</code>|[0-9.]+s</time>|after=[0-9a-z.-]+|at=\d{13}`)

// TestNothingOfOtherProjects crawls every address that a person from GitLab may ask for, as a Maintainer of one project of two:
// before anything happened in the other one, and after much did. Not a byte may differ, so neither names nor counts nor the
// length of a list tell of it; what is asked for by its name there is answered like what never was.
func TestNothingOfOtherProjects(t *testing.T) {
	g := newGuild(t)
	b := g.people["maintainer"]
	v := g.visible()
	before := g.crawl(b, v)
	if len(before) < 60 {
		t.Fatalf("only %d addresses were asked", len(before))
	}
	h := g.bustle()
	after := g.crawl(b, v)
	for path, was := range before {
		if now := after[path]; now != was {
			t.Errorf("%s differs by what happens in another project:\n%s", path, firstDifference(was, now))
		}
	}
	nothing := maps.Clone(h)
	for _, k := range []string{":slug", ":id", ":name", "delivery", "context", "policy"} {
		nothing[k] = "nothing-" + strings.Trim(k, ":")
	}
	hidden, absent := g.crawl(b, h), g.crawl(b, nothing)
	for path, got := range hidden {
		for _, bad := range h.needles() {
			if strings.Contains(strings.ReplaceAll(got, path, ""), bad) && !strings.Contains(path, bad) {
				t.Errorf("%s shows %q", path, bad)
			}
		}
	}
	replace := func(text string, with names) string {
		return strings.NewReplacer(with[":slug"], "SLUG", with[":id"], "ID", with[":name"], "NAME", with["delivery"], "DELIVERY", with["context"], "CONTEXT", with["policy"], "POLICY").Replace(text)
	}
	alike := map[string]string{}
	for path, got := range absent {
		alike[replace(path, nothing)] = replace(got, nothing)
	}
	for path, got := range hidden {
		if want := alike[replace(path, h)]; replace(got, h) != want {
			t.Errorf("%s tells that it is there:\n%s", path, firstDifference(want, replace(got, h)))
		}
	}
	for _, query := range []string{
		"/runs?stack=%s", "/runs?q=%s", "/api/v1/runs?stack=%s", "/stacks?q=%s", "/stacks?label=%s", "/ui/find?q=%s", "/ui/stacks?q=%s", "/api/v1/projects?search=%s",
		"/settings/vcs/gitlab/deliveries?project=%s", "/api/v1/deliveries?text=%s", "/modules?q=%s", "/api/v1/modules?search=%s", "/policies?q=%s", "/api/v1/policies?search=%s",
	} {
		for _, word := range []string{"sesame", "vault", "secretly", "crypt", h[":slug"]} {
			found, none := g.asked(b, fmt.Sprintf(query, word)), g.asked(b, fmt.Sprintf(query, "zzzz"))
			if strings.ReplaceAll(found, word, "zzzz") != none {
				t.Errorf(query+" finds something:\n%s", word, firstDifference(none, strings.ReplaceAll(found, word, "zzzz")))
			}
		}
	}
	if got := g.get(b, "/metrics"); got.status != 403 {
		t.Errorf("metrics of all projects: status %d", got.status)
	}
	if got := g.get(g.signedIn(store.Reader), "/metrics"); got.status != 200 {
		t.Errorf("metrics for a reader with a password: status %d", got.status)
	}
	g.checkStarts(b)
}

// names fill the parameters of routes.
type names map[string]string

func (n names) needles() []string {
	return []string{n[":slug"], n["context"], n["policy"], n[":id"], n["delivery"], n[":name"], n[":check"], "vault/keys", "Change of hidden", "of sesame", "secretly", "hush-label"}
}

// visible fills the stack "a" and its project with one of everything.
func (g *guild) visible() names {
	m := g.module()
	g.context("Common", "a")
	ended := g.apply(g.proposed.ID, runs.Claimed{Meta: now()}, runs.PhaseStarted{Meta: now(), State: runs.Initializing}, runs.PhaseStarted{Meta: now(), State: runs.Planning},
		runs.Planned{Meta: now(), Fingerprint: "f"})
	n := names{":slug": "a", ":id": ended.ID, ":phase": "planning", ":name": m.Slug, ":version": "1.0.0", ":check": g.st.NewID(), "context": "common", "policy": g.policy("Everywhere", "a")}
	n["delivery"] = g.fill(n, "openly", g.f.project, ended)
	return n
}

// context attaches a context, new or known, to a stack.
func (g *guild) context(name, stack string) (slug string) {
	g.t.Helper()
	var all []runs.Context
	must(g.t, g.st.View(func(tx *store.Tx) (err error) { all, err = tx.Contexts(); return err }))
	for _, c := range all {
		if c.Name == name {
			slug = c.Slug
		}
	}
	if slug == "" {
		c, err := g.eng.CreateContext(runs.Context{Name: name, Description: "of " + stack}, "ann")
		must(g.t, err)
		slug = c.Slug
	}
	must(g.t, g.eng.AttachContext(stack, slug, 1, "ann"))
	return slug
}

// policy attaches a policy, new or known, to a stack, and lets it say something of it.
func (g *guild) policy(name, stack string) (slug string) {
	g.t.Helper()
	slug = runs.Slug(name)
	p, err := g.eng.EditPolicy(g.t.Context(), slug, "ann", func(p *runs.Policy) { p.Stacks = append(p.Stacks, stack) })
	if errors.Is(err, runs.ErrNotFound) {
		p, err = g.eng.CreatePolicy(g.t.Context(), runs.Policy{Name: name, Description: "of " + stack, Type: runs.PolicyPlan, Body: anyPolicy, Stacks: []string{stack}}, "ann")
	}
	must(g.t, err)
	said := runs.PolicyResult{Policy: p.Slug, Name: p.Name, Type: p.Type, Outcome: runs.OutcomeError, Messages: []string{"of " + stack}}
	must(g.t, g.st.AddSample(store.Sample{Policy: p.Slug, Stack: stack, Result: said}, []byte("{}")))
	return slug
}

// fill puts records about a stack, its project, a module and a run into the store, and returns the id of a delivery.
func (g *guild) fill(n names, how string, p sim.Project, r runs.Run) string {
	g.t.Helper()
	slug, module := n[":slug"], n[":name"]
	d, _, err := g.st.AddDelivery(store.Delivery{Event: "Push Hook", Key: slug, Project: p.Path, ProjectID: p.ID, ReceivedAt: time.Now()}, []byte(`{"a":"`+how+`"}`))
	must(g.t, err)
	d.State, d.Verdict, d.Runs = store.DeliveryFailed, "failed "+how, []string{r.ID}
	check := runs.Check{ID: n[":check"], Module: module, Project: p.ID, Commit: runs.Commit{SHA: "c0ffee", Title: "Change of " + slug}, Branch: "main", State: runs.CheckFailed, Reason: "of " + slug}
	g.update(func(tx *store.Tx) error {
		return cmpErr(tx.PutDelivery(d), tx.PutCheck(check),
			tx.PutModuleVersion(runs.ModuleVersion{Module: module, Number: "1.0.0", State: runs.VersionActive, Check: check.ID, Commit: check.Commit, Digest: "d"}),
			tx.PutReport(store.Report{Kind: store.ReportEnvironment, Target: fmt.Sprintf("environment/%d/%s", p.ID, slug), Project: p.ID, Stack: slug, Name: slug, State: store.ReportWaiting, NextAttempt: time.Now().Add(time.Hour)}),
			tx.PutReport(store.Report{Kind: store.ReportStatus, Target: fmt.Sprintf("status/%d/c1/%s", p.ID, slug), Project: p.ID, Stack: slug, Name: slug, SHA: "c1", Run: r.ID, State: store.ReportParked, LastError: "refused for " + slug}),
			tx.PutVariable(slug, runs.Variable{Name: "OF", Value: slug}))
	})
	return d.ID
}

// bustle lets everything happen in the project that the guild's people may not read.
func (g *guild) bustle() names {
	var second runs.Stack
	var m runs.Module
	g.update(func(tx *store.Tx) (err error) {
		second, err = tx.AddStack(runs.Stack{
			Name: "Sesame", Project: g.hidden.ID, ProjectPath: g.hidden.Path, ProjectURL: g.hidden.WebURL, Branch: "main", ProjectRoot: "two",
			Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult, Labels: []string{"hush-label"}, Flag: "cut off secretly",
		})
		if err != nil {
			return err
		}
		m, err = tx.AddModule(runs.Module{
			Name: "crypt", Provider: "aws", Namespace: "platform", Project: g.hidden.ID, ProjectPath: g.hidden.Path, Branch: "main", Release: runs.ReleaseByTag, Tool: runs.OpenTofu,
		})
		if err != nil {
			return err
		}
		return cmpErr(err, tx.PutSettings(store.Settings{PublicModules: []string{"registry.secretly.test"}, GitProjects: []string{"vault/keys"}}),
			tx.PutModuleUses(second.Slug, []runs.ModuleUse{{Module: g.slugOf(tx), Stack: second.Slug, Version: "0.9.0", Run: g.secret.ID}}),
			tx.PutMergeRequest(store.MergeRequest{Project: g.hidden.ID, MergeRequest: runs.MergeRequest{IID: 3, Title: "secretly"}, State: "opened", Held: "c9", Stacks: []string{second.Slug}}),
			tx.PutWatch(store.Watch{Project: g.hidden.ID, Trouble: "vault/keys is gone"}))
	})
	for i, typ := range []runs.Type{runs.Tracked, runs.Proposed, runs.Proposed, runs.Proposed, runs.Tracked} {
		r := g.ofHidden(second.Slug, typ, i)
		switch i {
		case 1, 0:
			g.apply(r.ID, runs.Fail{Meta: now()})
		case 2:
			g.apply(r.ID, runs.Claimed{Meta: now()})
		}
	}
	n := names{":slug": second.Slug, ":id": g.secret.ID, ":phase": "planning", ":name": m.Slug, ":version": "1.0.0", ":check": g.st.NewID(), "context": g.context("Hush", second.Slug)}
	g.context("Common", second.Slug)
	n["policy"] = g.policy("Covert", second.Slug)
	g.policy("Everywhere", second.Slug)
	must(g.t, g.eng.PutVariable(runs.Context{Slug: n["context"]}.Scope(), runs.Variable{Name: "SECRETLY", Value: "secretly"}, "ann"))
	n["delivery"] = g.fill(n, "secretly", g.hidden, g.secret)
	must(g.t, g.st.AddRefused(store.Delivery{Event: "Push Hook", Verdict: "refused secretly"}))
	g.web.forgetNeeds()
	g.web.forgetParked()
	return n
}

func (g *guild) ofHidden(slug string, typ runs.Type, i int) (r runs.Run) {
	g.update(func(tx *store.Tx) (err error) {
		r, err = tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now(), By: "ann"}, Run: runs.Run{
			Stack: slug, Project: g.hidden.ID, Type: typ, Trigger: runs.ByPerson, TriggeredBy: "ann", Branch: "main",
			Commit: runs.Commit{SHA: fmt.Sprintf("d%d", i), Title: "Change of hidden"},
		}})
		return err
	})
	return r
}

// slugOf is the guild's module, which the hidden stack uses too.
func (g *guild) slugOf(tx *store.Tx) string {
	all, err := tx.Modules()
	must(g.t, err)
	return all[slices.IndexFunc(all, func(m runs.Module) bool { return m.Project == g.f.project.ID })].Slug
}

// crawl asks every GET route that is for readers, and returns the answers without what moves by itself. Streams are of a run
// that has ended, so they end.
func (g *guild) crawl(b *http.Client, n names) map[string]string {
	out := map[string]string{}
	for _, r := range g.web.table {
		if r.method != get || r.need != reader && r.need != session && r.need != public || strings.HasPrefix(r.path, "/static") || strings.HasPrefix(r.path, "/login") || r.path == "/metrics" {
			continue
		}
		path := r.path
		if strings.Contains(path, "/contexts/:slug") {
			path = strings.ReplaceAll(path, ":slug", n["context"])
		}
		if strings.Contains(path, "/policies/:slug") {
			path = strings.ReplaceAll(path, ":slug", n["policy"])
		}
		for _, k := range []string{":slug", ":phase", ":name", ":version", ":check"} {
			path = strings.ReplaceAll(path, k, n[k])
		}
		id := n[":id"]
		if strings.Contains(path, "/deliveries/") {
			id = n["delivery"]
		}
		path = strings.ReplaceAll(path, ":id", id)
		out[path] = g.asked(b, path)
	}
	return out
}

func (g *guild) asked(b *http.Client, path string) string {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), get, g.srv.URL+path, http.NoBody)
	must(g.t, err)
	res, err := b.Do(req)
	must(g.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(g.t, err)
	if res.StatusCode >= 500 {
		g.t.Errorf("%s: status %d", path, res.StatusCode)
	}
	return fmt.Sprint(res.StatusCode, " ", moving.ReplaceAllString(string(body), "*"))
}

// checkStarts: a Maintainer of a module's project starts runs of the stacks that use it only where they are one too.
func (g *guild) checkStarts(b *http.Client) {
	g.t.Helper()
	module := ""
	g.update(func(tx *store.Tx) error { module = g.slugOf(tx); return nil })
	count := func() (n int) {
		must(g.t, g.st.View(func(tx *store.Tx) error {
			page, _, err := tx.Runs(store.RunFilter{Stack: "sesame"}, "", 100)
			n = len(page)
			return err
		}))
		return n
	}
	was := count()
	if got := g.post(b, "/modules/"+module+"/users"); got.status != 409 || strings.Contains(got.body, "sesame") {
		g.t.Errorf("runs of stacks they may not read: status %d", got.status)
	}
	if got := g.do(b, g.form("/api/v1/modules/"+module+"/users/runs")); got.status != 409 || strings.Contains(got.body, "sesame") {
		g.t.Errorf("runs of stacks they may not read: status %d %s", got.status, got.body)
	}
	if is := count(); was == 0 || is != was {
		g.t.Errorf("%d runs before, %d after", was, is)
	}
	key := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "status/%d/c1/sesame", g.hidden.ID))
	if got := g.do(b, g.form("/api/v1/reports/"+key+"/retry")); got.status != 404 {
		g.t.Errorf("a report of theirs: status %d", got.status)
	}
}

// firstDifference shows two texts around where they part.
func firstDifference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	around := func(s string) string { return s[max(0, min(i, len(s))-120):min(len(s), i+200)] }
	return "  " + around(a) + "\n  " + around(b)
}
