package main

import (
	"testing"

	"github.com/chromedp/chromedp"

	"groundcrew/gitlab/sim"
)

// TestFourEyesInABrowser: who opened and merged a merge request cannot approve what it brought; another Maintainer does, and then
// the first one's yes applies it. A task waits for its approval before it begins.
func TestFourEyesInABrowser(t *testing.T) {
	r := newRig(t).serve().link()
	mia, noa := r.sim.AddUser("mia", "Mia Berg", false), r.sim.AddUser("noa", "Noa Falk", false)
	for _, u := range []sim.User{mia, noa} {
		r.sim.AddMember(r.project.ID, u.ID, sim.Maintainer)
	}
	admin := newBrowser(t, r.url, r.gitlab.URL+"/scm/oauth/", "data:", "about:", "chrome")
	admin.signIn(r.url)
	r.openDoorInABrowser(admin)
	r.stack("network", "infra", map[string]any{"approvals": 1})
	r.push("feature", "Open port 443", map[string]string{"infra/main.tf": resource("a", "1")})
	iid, err := r.sim.OpenMergeRequest(r.project.ID, "feature", "main", "Open port 443", mia.ID)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the plan of the merge request", func() bool { return len(r.items("/runs?type=proposed&state=finished")) == 1 })
	if _, err := r.sim.MergeMergeRequest(r.project.ID, iid, mia.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "the plan after the merge", func() bool { return len(r.items("/runs?type=tracked&state=unconfirmed")) == 1 })
	run := r.items("/runs?type=tracked")[0]["id"].(string)

	author, other := r.fromGitLab(mia.ID), r.fromGitLab(noa.ID)
	author.do("her own work", chromedp.Navigate(r.url+"/runs/"+run), chromedp.WaitVisible(`#reviews`),
		author.true(`document.querySelector("#reviews").textContent.includes("Approvals: 0 of 1")`),
		author.true(`document.querySelector('form[action$="/confirm"] button').disabled`),
		author.true(`document.querySelector("#run-plan").textContent.includes("It is not approved yet")`))
	author.look("approval-missing")
	other.do("approve", chromedp.Navigate(r.url+"/runs/"+run), chromedp.WaitVisible(`#reviews`), other.true(`(window.opened = "once") === "once"`),
		chromedp.SendKeys(`#review-note`, "Port is in the firewall plan"), chromedp.Click(`#reviews form button`), chromedp.WaitVisible(`.flash`))
	other.look("approval-given")
	author.do("confirm, without a reload", chromedp.WaitVisible(`form[action$="/confirm"] button:enabled`),
		author.true(`document.querySelector("#reviews").textContent.includes("Port is in the firewall plan")`),
		chromedp.Click(`form[action$="/confirm"] button`), chromedp.WaitVisible(`#run-head[data-state="finished"]`),
		author.true(`document.querySelector("#reviews").textContent.includes("Approved by 1 person")`))
	author.look("approval-used")

	task := r.must("POST", "/stacks/network/runs", map[string]any{"type": "task", "command": "true"}, 201)["id"].(string)
	other.do("the task", chromedp.Navigate(r.url+"/runs/"+task), chromedp.WaitVisible(`#reviews`),
		other.true(`document.querySelector("#run-plan").textContent.includes("Waits for approval: 0 of 2 approvals, 1 more than the stack asks for")`))
	other.look("approval-task") // nobody made the key that started it, so it may have been any of those who approve
	other.do("approve the task", chromedp.Click(`#reviews form button`), chromedp.WaitVisible(`.flash`))
	admin.do("approve it too", chromedp.Navigate(r.url+"/runs/"+task), chromedp.WaitVisible(`#reviews`), chromedp.Click(`#reviews form button`),
		chromedp.WaitVisible(`#run-head[data-state="finished"]`))
	r.quiet()
}
