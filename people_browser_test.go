package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"groundcrew/gitlab/sim"
)

// TestThreePeopleInABrowser is the whole life as three people see it: an admin with a password sets up GitLab, lets people sign in
// with it and makes a stack with its hook in the wizard; a push starts a run, which a Maintainer watches without a reload; a
// Reporter is refused the yes with the reason beside the button; the Maintainer gives it, and the admin finds it in the audit log.
func TestThreePeopleInABrowser(t *testing.T) {
	r := newRig(t).serve()
	mia, rolf := r.sim.AddUser("mia", "Mia Berg", false), r.sim.AddUser("rolf", "Rolf Ek", false)
	r.sim.AddMember(r.project.ID, mia.ID, sim.Maintainer)
	r.sim.AddMember(r.project.ID, rolf.ID, sim.Reporter)

	admin := newBrowser(t, r.url, r.gitlab.URL+"/scm/oauth/", "data:", "about:", "chrome")
	admin.signIn(r.url)
	admin.do("GitLab", chromedp.Navigate(r.url+"/settings/vcs/gitlab"), chromedp.WaitVisible(`input[name=api_url]`),
		chromedp.SendKeys(`input[name=api_url]`, r.gitlab.URL+"/scm"), chromedp.SendKeys(`input[name=token]`, r.token),
		chromedp.Submit(`input[name=api_url]`), chromedp.WaitVisible(`[data-secret]`))
	r.openDoorInABrowser(admin)
	r.stackInABrowser(admin, "Network")

	maintainer, reporter := r.fromGitLab(mia.ID), r.fromGitLab(rolf.ID)
	goOn := r.sim.Fault(sim.Fault{Path: regexp.MustCompile(`network\.git/`), Delay: time.Minute}) // until the page is open
	r.push("main", "Open port 443", map[string]string{"infra/main.tf": resource("a", "1")})
	until(t, "the run of the push", func() bool { return len(r.items("/runs?type=tracked")) == 1 })
	run := r.items("/runs?type=tracked")[0]["id"].(string)
	maintainer.do("the run at work", chromedp.Navigate(r.url+"/runs/"+run), chromedp.WaitVisible(`#run-head`), maintainer.true(`["queued", "preparing"].includes(document.querySelector("#run-head").dataset.state)`),
		maintainer.true(`(window.opened = "once") === "once"`))
	maintainer.look("people-run-at-work")
	goOn()
	maintainer.do("the plan, without a reload", chromedp.WaitVisible(`#run-head[data-state="waits for confirmation"]`), maintainer.true(`window.opened === "once"`),
		chromedp.WaitVisible(`form[action$="/confirm"] button:enabled`),
		maintainer.true(`document.body.textContent.includes("terraform_data.a")`),
		maintainer.true(`document.querySelector("#log-planning").textContent.includes("terraform_data.a")`))
	maintainer.look("people-maintainer-run")

	reporter.do("the reason", chromedp.Navigate(r.url+"/runs/"+run), chromedp.WaitVisible(`#run-head`),
		reporter.true(`document.querySelector('form[action$="/confirm"] button').disabled`),
		reporter.true(`document.querySelector('form[action$="/confirm"]').closest("section").textContent.includes("Only a Maintainer of `+projectAt+` in GitLab can confirm or discard a run; you are a Reporter there.")`))
	reporter.look("people-reporter-run")
	reporter.do("switched on by hand", reporter.true(`document.querySelector('form[action$="/confirm"] button').disabled = false, true`),
		chromedp.Submit(`form[action$="/confirm"] button`), chromedp.WaitVisible(`.error`),
		reporter.true(`document.body.textContent.includes("Only a Maintainer of `+projectAt+`")`))
	reporter.look("people-refused")
	if got := r.must("GET", "/runs/"+run, nil, 200)["state"]; got != "unconfirmed" {
		t.Fatalf("after the no the run is %v", got)
	}

	maintainer.do("confirm", chromedp.Click(`form[action$="/confirm"] button`), chromedp.WaitVisible(`#run-head[data-state="finished"]`))
	maintainer.look("people-run-finished")
	admin.do("audit", chromedp.Navigate(r.url+"/settings/audit?action=run.confirm"), chromedp.WaitVisible(`table.audit`),
		admin.true(`[...document.querySelectorAll("table.audit tbody tr")].some(r => ["mia", "run.confirm", "127.0.0.1", "session "].every(w => r.textContent.includes(w)))`),
		admin.true(`![...document.querySelectorAll("table.audit tbody tr")].some(r => r.textContent.includes("rolf"))`))
	admin.look("people-audit")
	for name, path := range map[string]string{"people-users": "/settings/users", "people-keys": "/settings/keys", "people-audit-all": "/settings/audit", "people-account": "/account"} {
		admin.do(name, chromedp.Navigate(r.url+path), chromedp.WaitVisible(`h1`))
		admin.look(name)
	}
	r.connectInABrowser(admin)
	r.quiet()
}

// connectInABrowser lets the admin, who has a password, connect an account in GitLab and come in with it from then on.
func (r *rig) connectInABrowser(admin *browser) {
	r.t.Helper()
	ada := r.sim.AddUser("ada", "Ada Lind", false)
	r.sim.SetVisitor(ada.ID)
	admin.do("the password, asked again", chromedp.Navigate(r.url+"/account"), chromedp.WaitVisible(`input[name=current]`),
		chromedp.SendKeys(`input[name=current]`, adminPW), chromedp.Submit(`input[name=current]`), chromedp.WaitVisible(`a[href*="/oauth/authorize"]`))
	admin.look("people-connect")
	admin.do("to GitLab and back", chromedp.Click(`a[href*="/oauth/authorize"]`), chromedp.WaitVisible(`.flash`), admin.true(`location.pathname === "/account"`),
		admin.true(`document.body.textContent.includes("or with GitLab as Ada Lind")`))
	admin.look("people-connected")
	b := r.fromGitLab(ada.ID)
	b.do("an admin, with GitLab", chromedp.Navigate(r.url+"/settings/audit?action=user.connect"), chromedp.WaitVisible(`table.audit`),
		b.true(`document.querySelector("table.audit").textContent.includes("Ada Lind") || document.querySelector("table.audit").textContent.includes("as ada")`))
}

// openDoorInABrowser switches Sign in with GitLab on, as an admin does it.
func (r *rig) openDoorInABrowser(admin *browser) {
	r.t.Helper()
	id, secret := r.sim.AddApplication("Groundcrew", true, []string{"openid", "profile", "email"}, r.url+"/login/gitlab/callback")
	admin.do("settings", chromedp.Navigate(r.url+"/settings/sign-in"), chromedp.WaitVisible(`input[name=client_id]`),
		admin.true(`document.body.textContent.includes("`+r.url+`/login/gitlab/callback")`))
	admin.do("switch it on", chromedp.Click(`input[name=gitlab]`), chromedp.SendKeys(`input[name=client_id]`, id),
		chromedp.SendKeys(`input[name=client_secret]`, secret), chromedp.Submit(`input[name=client_id]`), chromedp.WaitVisible(`.flash`))
	admin.look("people-sign-in-settings")
}

// stackInABrowser goes through the four steps of the wizard.
func (r *rig) stackInABrowser(admin *browser, name string) {
	r.t.Helper()
	next := chromedp.Click(`[data-step-next]`)
	admin.do("wizard", chromedp.Navigate(r.url+"/stacks/new"), chromedp.WaitVisible(`input[name=project]`),
		chromedp.SendKeys(`input[name=project]`, projectAt), chromedp.SendKeys(`input[name=branch]`, "main"),
		chromedp.SendKeys(`input[name=project_root]`, "infra"), next, chromedp.WaitVisible(`select[name=tool]`),
		chromedp.SetValue(`select[name=tool]`, tool(r.t)), next, chromedp.WaitVisible(`input[name=state]`), next, chromedp.WaitVisible(`input[name=name]`),
		chromedp.SetValue(`input[name=name]`, name), admin.true(`document.querySelector("input[name=install_hook]").checked`))
	admin.look("people-wizard")
	admin.do("create", chromedp.Click(`[data-step-done]`), chromedp.WaitVisible(`.flash`), admin.true(`location.pathname === "/stacks/network"`))
}

// fromGitLab is a browser in which somebody signed in with GitLab.
func (r *rig) fromGitLab(user int64) *browser {
	r.t.Helper()
	r.sim.SetVisitor(user)
	b := newBrowser(r.t, r.url, r.gitlab.URL+"/scm/oauth/", "data:", "about:", "chrome")
	b.do("the page asked for", chromedp.Navigate(r.url+"/runs"), chromedp.WaitVisible(`a[href^="/login/gitlab"]`))
	b.look("people-login")
	b.do("sign in with GitLab", chromedp.Click(`a[href^="/login/gitlab"]`), chromedp.WaitVisible(`details.me`), b.true(`location.pathname === "/runs"`))
	return b
}

// TestAdminCommandWhileTheServerRuns: the link of the command line works against a running server and makes an admin.
func TestAdminCommandWhileTheServerRuns(t *testing.T) {
	r := newRig(t).serve()
	var out strings.Builder
	c := r.config()
	c.adminName, c.externalURL = "root", r.url
	if err := admin(c, &out); err != nil {
		t.Fatal(err)
	}
	link := strings.TrimSpace(out.String()[strings.Index(out.String(), r.url):])
	b := newBrowser(t, r.url, "data:", "about:", "chrome")
	b.do("link", chromedp.Navigate(link), chromedp.WaitVisible(`input[name=again]`), chromedp.SendKeys(`input[name=password]`, adminPW),
		chromedp.SendKeys(`input[name=again]`, adminPW), chromedp.Submit(`input[name=again]`), chromedp.WaitVisible(`nav`),
		chromedp.Navigate(r.url+"/settings/audit"), chromedp.WaitVisible(`table.audit`))
	b.look("people-rescued")
	c.dataDir = t.TempDir()
	if err := admin(c, &out); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("an empty folder: %v", err)
	}
}
