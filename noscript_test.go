package main

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestWithoutScripts is the main job in a browser that runs no script: sign in, set up GitLab, make a stack with the wizard, trigger a
// run, read its changes and its log, confirm it, and read what it did. Only what moves by itself is missing: the pages are loaded
// again.
func TestWithoutScripts(t *testing.T) {
	r := newRig(t).serve()
	b := newBrowser(t, r.url, "data:", "about:", "chrome")
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.signIn(r.url)
	b.do("GitLab", chromedp.Navigate(r.url+"/settings/vcs/gitlab"), chromedp.WaitVisible(`input[name=api_url]`), chromedp.SendKeys(`input[name=api_url]`, r.gitlab.URL+"/scm"),
		chromedp.SendKeys(`input[name=token]`, r.token), chromedp.Click(`.form button[type=submit]`), chromedp.WaitVisible(`[data-secret]`))
	b.do("wizard, all steps at once", chromedp.Navigate(r.url+"/stacks/new"), chromedp.WaitVisible(`input[name=project]`), chromedp.WaitVisible(`input[name=name]`),
		chromedp.SendKeys(`input[name=project]`, projectAt), chromedp.SendKeys(`input[name=branch]`, "main"), chromedp.SendKeys(`input[name=project_root]`, "infra"),
		chromedp.SetValue(`select[name=tool]`, tool(t)), chromedp.SendKeys(`input[name=name]`, "Network"))
	b.look("noscript-wizard")
	b.do("create", chromedp.Click(`[data-step-done]`), chromedp.WaitVisible(`form[action="/stacks/network/runs"] button`))
	r.push("main", "Lay out the network", map[string]string{"infra/main.tf": resource("a", "1")})
	r.run("tracked", "unconfirmed")
	b.do("discard what the push began", chromedp.Navigate(r.url+"/runs/"+r.items("/runs")[0]["id"].(string)), chromedp.Click(`form[action$="/discard"] button`), chromedp.WaitVisible(`.flash`))
	b.do("trigger", chromedp.Navigate(r.url+"/stacks/network"), chromedp.Click(`form[action="/stacks/network/runs"] button`), chromedp.WaitVisible(`#run-head`))
	run := r.items("/runs")[0]["id"].(string)
	until(t, "the plan", func() bool { return r.must("GET", "/runs/"+run, nil, 200)["state"] == "unconfirmed" })
	reads := func(what string, wants ...string) {
		t.Helper()
		b.do(what, chromedp.Navigate(r.url+"/runs/"+run), chromedp.WaitVisible(`#run-head`))
		text, err := chromedp.Run(b.ctx, chromedp.Text("main"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page does not say %q:\n%.3000s", what, want, text)
			}
		}
	}
	reads("the plan", "waits for confirmation", "Plan: 1 to add", "terraform_data.a", "Apply 1 change", "will be created")
	b.do("unfold", chromedp.Click(`.changelist summary`), chromedp.WaitVisible(`.changelist .attrs`))
	b.look("noscript-plan")
	b.do("confirm", chromedp.Click(`form[action$="/confirm"] button`), chromedp.WaitVisible(`.flash`))
	until(t, "the end", func() bool { return r.must("GET", "/runs/"+run, nil, 200)["state"] == "finished" })
	reads("what was done", "Applied: 1 added", "Creation complete")
	b.look("noscript-finished")
	b.do("the whole log", chromedp.Click(`.log[open] a[href$="/logs/applying"]`), chromedp.WaitVisible(`pre`))
	r.quiet()
}
