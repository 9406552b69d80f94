package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"groundcrew/gitlab/sim"
)

// watching begins to note what moves by itself in a page, gives the focus to a control, and marks the page, so that one that was
// loaded again is seen.
const watching = `(() => {
  window.opened = true;
  window.moved = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((e) => (window.moved += e.hadRecentInput ? 0 : e.value))).observe({ type: "layout-shift" });
  window.chosen = document.querySelector("[data-find]");
  window.chosen.focus();
  return true;
})()`

// changing posts a form whose data change while the question is open, and says yes.
const changing = `(() => {
  document.querySelector("main").insertAdjacentHTML("beforeend", '<form action="/logout" method="post" data-ask="Sure?"><input type="hidden" name="plan" value="a"><button type="submit">Go</button></form>');
  const form = document.querySelector("main").lastElementChild;
  form.requestSubmit();
  form.elements.plan.value = "b";
  document.querySelector("#ask-yes").click();
  return true;
})()`

// still is true while the page is the one that was opened, and what was chosen has the focus; unmoved, when also nothing has moved.
const (
	still   = `window.opened && document.activeElement === window.chosen`
	unmoved = still + ` && window.moved <= 0.01`
)

// TestPagesMoveInABrowser: two people have the start page and the list of runs open while a run goes from the queue to the question
// whether to apply it. The rows change in place, what waits is said aloud, and a second run is counted, not pushed in. Who may not
// see the project in GitLab any more does not see it here either, and who is signed out is told that the page is old.
func TestPagesMoveInABrowser(t *testing.T) {
	r := newRig(t).serve()
	mia := r.sim.AddUser("mia", "Mia Berg", false)
	r.sim.AddMember(r.project.ID, mia.ID, sim.Maintainer)
	r.link()
	admin := newBrowser(t, r.url, r.gitlab.URL+"/scm/oauth/", "data:", "about:", "chrome")
	admin.signIn(r.url)
	r.openDoorInABrowser(admin)
	goOn := r.gateOf("Network", `{"format_version":"1.2","resource_changes":[{"address":"edge.a","mode":"managed","type":"edge","name":"a","change":{"actions":["create"]}}]}`)
	lists, start := r.fromGitLab(mia.ID), admin

	r.push("main", "Open port 443", map[string]string{"infra/main.tf": resource("a", "1")})
	first := r.run("tracked", "planning")["id"].(string)
	second := r.must("POST", "/stacks/network/runs", map[string]any{"type": "tracked"}, 201)["id"].(string)
	row := func(id, text string) string {
		return fmt.Sprintf(`[...document.querySelectorAll('[data-key="%s"]')].some((row) => row.textContent.includes(%q))`, id, text)
	}
	start.do("start page", chromedp.Navigate(r.url+"/"), start.true(row(first, "planning")), start.true(row(second, "queued")), start.true(watching))
	lists.do("runs", chromedp.Navigate(r.url+"/runs"), lists.true(row(first, "planning")), lists.true(row(second, "queued")), lists.true(watching))
	goOn()
	start.do("the plan, on the start page", start.true(row(first, "waits for confirmation")), start.true(row(first, "Review")), start.true(unmoved),
		start.true(`document.querySelector("#announce").textContent === "Network waits for confirmation"`),
		start.true(`document.querySelector('#places [href="/"] .count').textContent === "1"`))
	start.look("live-start")
	lists.do("the plan, in the list", lists.true(row(first, "waits for confirmation")), lists.true(row(second, "blocked by")), lists.true(unmoved))

	r.must("POST", "/runs/"+first+"/discard", map[string]any{}, 200)
	third := r.must("POST", "/stacks/network/runs", map[string]any{"type": "tracked"}, 201)["id"].(string)
	lists.do("the next one, in the list", lists.true(row(first, "discarded")), lists.true(`document.querySelector("#new").textContent.trim() === "1 new run"`),
		lists.true(`!document.querySelector('[data-key="`+third+`"]')`), lists.true(unmoved))
	start.do("what became of it, on the start page", start.true(row(first, "discarded")), start.true(row(third, "queued")), start.true(still))
	lists.look("live-runs")
	lists.do("the new one, when it is wanted", chromedp.Click(`#new a`), chromedp.WaitVisible(`[data-key="`+third+`"]`))

	lists.do("a yes to what changed while it was asked", lists.true(changing), lists.true(`document.querySelector("#toasts").textContent.includes("This changed meanwhile.")`), lists.true(`location.pathname === "/runs"`))
	r.sim.AddMember(r.project.ID, mia.ID, 0)
	lists.do("a try to act, which asks GitLab", lists.true(`(window.tried ??= fetch("/stacks/network/lock", { method: "POST" }).then((a) => (window.answer = a.status)), window.answer === 404)`))
	lists.do("what may not be seen any more goes", lists.true(`!document.querySelector("main [data-key]") && !document.querySelector("#rows").textContent.includes("Network")`))
	start.do("signed out elsewhere", start.true(still), start.true(`(window.out ??= fetch("/logout", { method: "POST" }).then(() => (window.left = true)), window.left === true)`))
	until(t, "the word that the page is old", func() bool {
		said, err := chromedp.Run(start.ctx, chromedp.Evaluate[bool](`document.querySelector("#toasts").textContent.includes("You are signed out.")`))
		return said && err == nil
	})
	start.look("live-signed-out")
	r.sim.AddMember(r.project.ID, mia.ID, sim.Maintainer)
}
