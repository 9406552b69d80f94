package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"groundcrew/gitlab/sim"
)

// signIn lets people sign in with GitLab.
func (r *rig) signIn() {
	r.t.Helper()
	id, secret := r.sim.AddApplication("Groundcrew", true, []string{"openid", "profile", "email"}, r.url+"/login/gitlab/callback")
	r.must("PATCH", "/sign-in", map[string]any{"gitlab": true, "client_id": id, "client_secret": secret}, 200)
}

// TestCommandsInABrowser is a merge as its Maintainer sees it who never leaves GitLab: the plan stands in the merge request,
// the merge is a click there, and the comment “/groundcrew apply” applies what was shown and is answered beneath it. Somebody
// who may not gets the reason.
func TestCommandsInABrowser(t *testing.T) {
	r := newRig(t).serve().link()
	r.signIn()
	r.stack("network", "infra", nil)
	rolf := r.sim.AddUser("rolf", "Rolf Ek", false)
	r.sim.AddMember(r.project.ID, rolf.ID, sim.Reporter)
	r.push("feature/edge", "Add the edge", map[string]string{"infra/main.tf": resource("edge", "a")})
	iid := r.openMR("feature/edge", "Add the edge")
	r.run("proposed", "finished")
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })

	r.sim.SetVisitor(r.author.ID)
	b := newBrowser(t, r.gitlab.URL, "data:", "about:", "chrome")
	page := r.project.WebURL + "/-/merge_requests/1"
	comment := func(text string) {
		t.Helper()
		before := len(r.notes(iid))
		b.do("comment "+text, chromedp.Navigate(page), chromedp.SendKeys(`[data-testid="note-body"]`, text),
			chromedp.Click(`[data-testid="note-button"]`))
		until(t, "the answer to "+text, func() bool { return len(r.notes(iid)) == before+1 })
	}
	answered := func(parts ...string) {
		t.Helper()
		b.do("the answer", chromedp.Navigate(page), chromedp.WaitVisible(`[data-testid="note-form"]`))
		for _, p := range parts {
			b.do(p, b.true(`[...document.querySelectorAll('[data-testid="note"][data-author="Groundcrew"]')].at(-1).textContent.includes(`+"`"+p+"`"+`)`))
		}
	}
	comment("/groundcrew help")
	answered("/groundcrew apply [stack]", "1 to add")
	b.look("gitlab-command-help")
	b.do("merge", chromedp.Navigate(page), chromedp.Click(`[data-testid="merge-button"]`), chromedp.WaitVisible(`[data-testid="mr-state"][data-state="merged"]`))
	run := r.run("tracked", "unconfirmed")

	r.sim.SetVisitor(rolf.ID)
	comment("/groundcrew apply")
	answered("Only a Maintainer of " + projectAt + " in GitLab can do this; you are a Reporter there.")
	r.sim.SetVisitor(r.author.ID)
	comment("Merged, and now:\n/groundcrew apply network")
	answered("is being applied", "1 to add, 0 to change, 0 to destroy")
	b.look("gitlab-command-apply")
	if done := r.run("tracked", "finished"); done["id"] != run["id"] {
		t.Errorf("%v finished, not %v", done["id"], run["id"])
	}
	b.do("the link to the run", b.true(`[...document.querySelectorAll('[data-testid="note"][data-author="Groundcrew"] a')].at(-1).href === "`+r.url+`/runs/`+run["id"].(string)+`"`))
	r.quiet()
	r.unrefused()
	r.verdict("command apply by @ada (GitLab ")
	said := fmt.Sprint(r.items("/audit?action=run.confirmed"))
	if !strings.Contains(said, "ada") || !strings.Contains(said, "on "+projectAt+"!1 by @ada (GitLab") {
		t.Errorf("audit log: %s", said)
	}
}
