package main

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"groundcrew/gitlab/sim"
)

// TestPeopleFromGitLabInABrowser: an admin switches Sign in with GitLab on, a Developer comes in and is refused the yes with the
// reason beside the button, a Maintainer gives it, and the admin finds both in the audit log.
func TestPeopleFromGitLabInABrowser(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("Network", "infra", nil)
	dev := r.sim.AddUser("devi", "Devi Rao", false)
	r.sim.AddMember(r.project.ID, dev.ID, sim.Developer)
	id, secret := r.sim.AddApplication("Groundcrew", true, []string{"openid", "profile", "email"}, r.url+"/login/gitlab/callback")
	r.push("main", "Open port 443", map[string]string{"infra/main.tf": resource("a", "1")})
	run := r.run("tracked", "unconfirmed")["id"].(string)

	admin := newBrowser(t, r.url, r.gitlab.URL, "data:", "about:", "chrome")
	admin.signIn(r.url)
	admin.do("settings", chromedp.Navigate(r.url+"/settings/sign-in"), chromedp.WaitVisible(`input[name=client_id]`))
	admin.do("switch it on", chromedp.Click(`input[name=gitlab]`), chromedp.SendKeys(`input[name=client_id]`, id),
		chromedp.SendKeys(`input[name=client_secret]`, secret), chromedp.Submit(`input[name=client_id]`), chromedp.WaitVisible(`.flash`))
	admin.look("people-sign-in-settings")

	come := func(user int64) *browser {
		r.sim.SetVisitor(user)
		b := newBrowser(t, r.url, r.gitlab.URL, "data:", "about:", "chrome")
		b.do("the page asked for", chromedp.Navigate(r.url+"/runs/"+run), chromedp.WaitVisible(`a[href^="/login/gitlab"]`))
		b.look("people-login")
		b.do("sign in with GitLab", chromedp.Click(`a[href^="/login/gitlab"]`), chromedp.WaitVisible(`#run-head`))
		return b
	}
	devi := come(dev.ID)
	devi.do("who is signed in", devi.true(`document.querySelector("details.me summary").getAttribute("aria-label").includes("devi, writer")`))
	devi.do("the reason", devi.true(`document.body.innerHTML.includes("Only a Maintainer of `+projectAt+` in GitLab can confirm; you are a Developer there.")`),
		devi.true(`document.querySelector('form[action$="/confirm"] button').disabled`))
	devi.look("people-developer-run")
	devi.do("the account", chromedp.Navigate(r.url+"/account"), chromedp.WaitVisible(`table.sessions`))
	devi.look("people-account")
	devi.do("a refused page", chromedp.Navigate(r.url+"/settings/audit"), chromedp.WaitVisible(`.error`))
	devi.look("people-refused")

	ada := come(r.author.ID)
	ada.do("confirm", chromedp.Click(`form[action$="/confirm"] button`), chromedp.WaitVisible(`#run-head[data-state="finished"]`))
	admin.do("audit", chromedp.Navigate(r.url+"/settings/audit?action=run.confirm"), chromedp.WaitVisible(`table.audit`),
		admin.true(`[...document.querySelectorAll("table.audit tbody tr")].some(r => r.textContent.includes("ada") && r.textContent.includes("run.confirm") && r.textContent.includes("127.0.0.1") && r.textContent.includes("session "))`))
	admin.look("people-audit")
	for name, path := range map[string]string{"people-users": "/settings/users", "people-keys": "/settings/keys", "people-audit-all": "/settings/audit"} {
		admin.do(name, chromedp.Navigate(r.url+path), chromedp.WaitVisible(`h1`))
		admin.look(name)
	}
	r.quiet()
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
