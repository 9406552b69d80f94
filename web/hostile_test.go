package web

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestS43NothingFromOutsideRuns walks every page in Chromium with hostile text wherever an outsider can put it: commit, branch,
// merge request, project, names of people, log with ANSI and OSC 8, plan values, errors of GitLab and of tools. Nothing of it
// may run, complain or ask another host.
func TestS43NothingFromOutsideRuns(t *testing.T) {
	s, run, delivery := evilSite(t)
	s.update(func(tx *store.Tx) error {
		u, err := tx.PutUser(store.User{Name: evil, DisplayName: evil, Role: store.Writer, GitLabID: 7, GitLabURL: "https://gitlab.test"})
		if err != nil {
			return err
		}
		if _, err := tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour), Agent: evil, Address: evil}); err != nil {
			return err
		}
		if _, _, err := tx.AddAPIKey(store.APIKey{Name: evil, Role: store.Reader, CreatedBy: evil}); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: evil, Action: evil, Target: evil, Note: evil, Address: evil, Via: evil, Changes: []store.AuditChange{{Field: evil, Before: evil, After: evil}}})
	})
	s.writeLog(run.ID, runs.Planning, "\x1b]8;;javascript:alert(9)\x1b\\"+evil+"\x1b]8;;\x1b\\ \x1b[31;<script>alert(10)</script>m\n\x1b]0;"+evil+"\x07\n")
	ctx, trouble := hostileBrowser(t, s.srv.URL)
	jar := s.signedIn(store.Admin).Jar.Cookies(mustURL(t, s.srv.URL))
	if _, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: jar[0].Name, Value: jar[0].Value, URL: s.srv.URL}); err != nil {
		t.Fatal(err)
	}
	var pages int
	for _, r := range s.web.table {
		if r.method != get || r.stream || r.doc != nil || strings.HasPrefix(r.path, "/ui/") || slices.Contains([]string{"/static/*", "/favicon.ico", "/metrics", "/login/gitlab", callbackPath}, r.path) ||
			strings.HasSuffix(r.path, "/download") || strings.HasSuffix(r.path, ".json") || strings.Contains(r.path, "/logs/") {
			continue
		}
		path := strings.NewReplacer(":slug", "a", ":version", "1", ":phase", "planning").Replace(r.path)
		switch {
		case strings.Contains(path, "/deliveries/"):
			path = strings.ReplaceAll(path, ":id", delivery)
		case strings.Contains(path, "/users/"):
			path = strings.ReplaceAll(path, ":id", s.aUser())
		default:
			path = strings.ReplaceAll(path, ":id", run.ID)
		}
		step, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err := chromedp.Do(step, chromedp.Navigate(s.srv.URL+path), chromedp.WaitReady("body"))
		cancel()
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, bad := range trouble() {
			t.Errorf("%s: %s", path, bad)
		}
		pages++
	}
	if pages < 25 {
		t.Errorf("only %d pages", pages)
	}
}

// hostileBrowser is a Chromium that writes down whatever runs that should not, is refused, or asks another host.
func hostileBrowser(t *testing.T, host string) (context.Context, func() []string) {
	t.Helper()
	path := "/usr/bin/chromium"
	if _, err := os.Stat(path); err != nil {
		t.Fatal("no Chromium: install Debian's package chromium to run the browser tests")
	}
	opts := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	opts = append(opts, chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var bad []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		bad = append(bad, text)
	}
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *page.EventJavascriptDialogOpening:
			note("a dialog opened: " + ev.Message)
		case *cdpruntime.EventExceptionThrown:
			note("script error: " + ev.ExceptionDetails.Text)
		case *cdpruntime.EventConsoleAPICalled:
			if ev.Type == "error" {
				note("console error")
			}
		case *cdplog.EventEntryAdded:
			if ev.Entry.Level == "error" && !strings.Contains(ev.Entry.Text, "status of") {
				note("the browser complains: " + ev.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, host+"/") && !strings.HasPrefix(ev.Request.URL, "data:") && !strings.HasPrefix(ev.Request.URL, "chrome") {
				note("request to " + ev.Request.URL)
			}
		}
	})
	must(t, err)
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := bad
		bad = nil
		return out
	}
}
