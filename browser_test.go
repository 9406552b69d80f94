package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A browser is a headless Chromium that fails the test on anything wrong it sees: a script error, a refused
// style, a request to another host.
type browser struct {
	ctx   context.Context
	t     testing.TB
	shots string // folder for screenshots, "" for none
}

// newBrowser starts Chromium. GROUNDCREW_SHOTS names a folder that takes a screenshot of each page visited.
// Requests may only go to addresses that begin with one of hosts.
func newBrowser(t testing.TB, hosts ...string) *browser {
	t.Helper()
	opts := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	opts = append(opts, chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("window-size", "1280,900"))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx, t: t, shots: os.Getenv("GROUNDCREW_SHOTS")}
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *cdpruntime.EventExceptionThrown:
			t.Errorf("script error: %s", ev.ExceptionDetails.Text)
		case *cdpruntime.EventConsoleAPICalled:
			if ev.Type == "error" {
				t.Errorf("console error: %v", ev.Args)
			}
		case *network.EventRequestWillBeSent:
			if !slices.ContainsFunc(hosts, func(h string) bool { return strings.HasPrefix(ev.Request.URL, h) }) {
				t.Errorf("request to %s", ev.Request.URL)
			}
			if strings.HasPrefix(ev.DocumentURL, hosts[0]) && strings.HasPrefix(ev.Request.URL, "http") && !strings.HasPrefix(ev.Request.URL, hosts[0]) {
				t.Errorf("%s asks %s", ev.DocumentURL, ev.Request.URL)
			}
		case *cdplog.EventEntryAdded: // such as what the policy refuses; an answer like 403 is no complaint of the page
			if ev.Entry.Level == cdplog.EntryLevelError && !strings.Contains(ev.Entry.Text, "status of") {
				t.Errorf("the browser complains: %s %s", ev.Entry.Text, ev.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func chromium(t testing.TB) string {
	for _, p := range []string{"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Fatal("no Chromium: install Debian's package chromium to run the browser tests")
	return ""
}

// do runs steps for at most two minutes.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		where, _ := chromedp.Run(b.ctx, chromedp.Location()) // for the message below
		body, _ := chromedp.Run(b.ctx, chromedp.Text("body"))
		b.t.Fatalf("%s: %v\nat %s:\n%.2000s", what, err, where, body)
	}
}

// look takes screenshots of the page as it is: light, dark and phone.
func (b *browser) look(name string) {
	b.t.Helper()
	if b.shots == "" {
		return
	}
	scheme := func(s string) {
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s}},
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
	for _, v := range []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 360}} {
		scheme(v.scheme)
		b.do("size", chromedp.EmulateViewport(v.width, 900))
		png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.shots, name+"-"+v.name+".png"), png, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	scheme("light")
	b.do("back to normal", chromedp.ResetViewport())
}

func (b *browser) signIn(url string) {
	b.t.Helper()
	b.do("sign in", chromedp.Navigate(url+"/login"), chromedp.WaitVisible(`input[name=username]`),
		chromedp.SendKeys(`input[name=username]`, "admin"), chromedp.SendKeys(`input[name=password]`, adminPW),
		chromedp.Submit(`input[name=password]`), chromedp.WaitVisible(`nav`))
}

// TestDemoIsConfirmedInABrowser is the main job as a person sees it: the demo's run waits, a click applies it,
// and GitLab's environment page shows the deployment.
func TestDemoIsConfirmedInABrowser(t *testing.T) {
	g, err := newDemoGitLab(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.close() })
	r := &rig{t: t, dir: dataDir(t)}
	s, err := open(r.config(), slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	r.inside, r.url = s, s.url
	t.Cleanup(r.halt)
	if err := setScene(t.Context(), s, g); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, s.url, g.sim.URL(), "data:", "about:", "chrome")
	b.do("login page", chromedp.Navigate(s.url+"/login"), chromedp.WaitVisible(`input[name=username]`))
	b.look("login")
	b.signIn(s.url)
	b.look("start")
	for name, path := range map[string]string{
		"stacks": "/stacks", "stack": "/stacks/network-prod", "stack-mrs": "/stacks/network-prod/merge-requests",
		"stack-environment": "/stacks/network-prod/environment", "stack-state": "/stacks/network-prod/state",
		"stack-settings": "/stacks/network-prod/settings", "stack-new": "/stacks/new", "runs": "/runs",
		"vcs": "/settings/vcs", "integration": "/settings/vcs/gitlab", "integration-form": "/settings/vcs/gitlab/edit",
		"deliveries": "/settings/vcs/gitlab/deliveries", "reports": "/settings/vcs/gitlab/reports",
		"system": "/settings/system", "users": "/settings/users",
	} {
		b.do(name, chromedp.Navigate(s.url+path), chromedp.WaitVisible(`h1`))
		b.look(name)
	}
	b.do("run page", chromedp.Navigate(s.url+"/runs/"+g.tracked), chromedp.WaitVisible(`form[action$="/confirm"] button`))
	heading, err := chromedp.Run(b.ctx, chromedp.Text("h1"))
	if err != nil || !strings.Contains(heading, "Lay out the production network") {
		t.Errorf("heading %q, %v", heading, err)
	}
	b.look("run-waiting")
	b.do("confirm", chromedp.Click(`form[action$="/confirm"] button`))
	b.do("the end, without a reload", chromedp.WaitVisible(`#run-head[data-state="finished"]`))
	b.look("run-finished")
	r.quiet()
	b.do("environment", chromedp.Navigate(g.sim.URL()+"/"+demoPath+"/-/environments"), chromedp.WaitVisible(`[data-testid="deployment"][data-status="success"]`))
	b.look("gitlab-environments")
	b.do("merge request", chromedp.Navigate(g.mergeRequestURL()), chromedp.WaitVisible(`[data-testid="note"]`))
	b.look("gitlab-merge-request")
	if v := r.items("/stacks/network-prod/state/versions"); len(v) != 1 || v[0]["version"] != 1.0 {
		t.Errorf("state versions %v", v)
	}
}

// TestFirstStartInABrowser is a stranger's first five minutes: the one-time link, GitLab with a wrong and then the right
// token, the secret, a stack through the four steps of the wizard, and the run of the first push.
func TestFirstStartInABrowser(t *testing.T) {
	r := newRig(t)
	c := r.config()
	c.adminPassword = ""
	s, err := open(c, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	r.inside, r.url = s, s.url
	t.Cleanup(r.halt)
	link, fresh, err := s.web.SetupLink()
	if err != nil || !fresh {
		t.Fatalf("set-up link %q, %v, %v", link, fresh, err)
	}
	b := newBrowser(t, s.url, "data:", "about:", "chrome")
	b.do("set-up link", chromedp.Navigate(link), chromedp.WaitVisible(`input[name=again]`))
	b.look("first-setup")
	b.do("first admin", chromedp.SendKeys(`input[name=name]`, "root"), chromedp.SendKeys(`input[name=password]`, adminPW),
		chromedp.SendKeys(`input[name=again]`, adminPW), chromedp.Submit(`input[name=again]`), chromedp.WaitVisible(`nav`))
	b.look("first-start")
	b.do("GitLab form", chromedp.Navigate(s.url+"/settings/vcs/gitlab"), chromedp.WaitVisible(`input[name=api_url]`),
		chromedp.SendKeys(`input[name=api_url]`, r.gitlab.URL+"/scm"), chromedp.SendKeys(`input[name=token]`, "glpat-wrong"),
		chromedp.Submit(`input[name=api_url]`), chromedp.WaitVisible(`[aria-invalid=true], .err, .error`))
	b.look("first-gitlab-refused")
	b.do("right token", chromedp.SetValue(`input[name=token]`, r.token), chromedp.Submit(`input[name=api_url]`), chromedp.WaitVisible(`[data-secret]`))
	b.do("reveal", chromedp.Click(`[data-reveal] button`), b.true(`!document.querySelector("[data-secret-text]").textContent.includes("•")`))
	secret, err := chromedp.Run(b.ctx, chromedp.Text(`[data-secret-text]`))
	if err != nil || strings.TrimSpace(secret) != r.secret() {
		t.Errorf("revealed %q, %v", secret, err)
	}
	next := chromedp.Click(`[data-step-next]`)
	b.do("wizard", chromedp.Navigate(s.url+"/stacks/new"), chromedp.WaitVisible(`input[name=project]`),
		chromedp.SendKeys(`input[name=project]`, projectAt), chromedp.SendKeys(`input[name=branch]`, "main"),
		chromedp.SendKeys(`input[name=project_root]`, "infra"), next, chromedp.WaitVisible(`select[name=tool]`),
		chromedp.SetValue(`select[name=tool]`, tool(t)), next, chromedp.WaitVisible(`input[name=state]`), next, chromedp.WaitVisible(`input[name=name]`),
		chromedp.SetValue(`input[name=name]`, "First stack"))
	b.look("first-wizard")
	b.do("create", chromedp.Click(`[data-step-done]`), chromedp.WaitVisible(`form[action="/stacks/first-stack/runs"], [href="/stacks/first-stack/settings"]`))
	b.look("first-stack")
	r.push("main", "First push", map[string]string{"infra/main.tf": resource("a", "1")})
	run := r.run("tracked", "unconfirmed")
	b.do("run", chromedp.Navigate(s.url+"/runs/"+run["id"].(string)), chromedp.WaitVisible(`form[action$="/confirm"] button`))
}

// true waits until an expression is true in the page.
func (b *browser) true(expression string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Poll[bool](expression)(ctx, t)
		return chromedp.Void{}, err
	}
}
