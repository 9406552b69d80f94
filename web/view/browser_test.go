package view

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"groundcrew/runs"
	"groundcrew/static"
)

// go test ./web/view -run Gallery -args -dir /tmp/shots -only run-unconfirmed takes pictures of the pages in
// light, dark and 360 px, to be looked at.
var (
	shots = flag.String("dir", "", "folder for pictures of every page")
	only  = flag.String("only", "", "take pictures only of pages whose name begins so")
)

// The policy pages are served under; they must do without anything it forbids.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// A site serves the samples as the real server would, and answers what scripts ask for.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	posts []string    // "path?form" of every form posted
	live  chan string // events for the stream of a page that is open
	asked []string    // queries of the streams that were opened
	open  int         // streams
	gone  bool        // streams are refused: who reads is signed out
	pages map[string]sample

	painted atomic.Pointer[chan struct{}] // closed when the page is drawn for the first time; nil: nobody waits for that
}

func newSite(t *testing.T) *site {
	s := &site{live: make(chan string, 16), pages: map[string]sample{}}
	for _, p := range samples() {
		s.pages["/"+p.Name] = p
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+static.Prefix, s.holdScripts)
	mux.HandleFunc("POST /painted", func(http.ResponseWriter, *http.Request) { close(*s.painted.Load()) })
	mux.HandleFunc("GET /ui/projects", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `[{"value":"infra/network","label":"infra/network","hint":"trunk"},{"value":"q=%s","label":"q","hint":""}]`, r.FormValue("q"))
	})
	mux.HandleFunc("GET /ui/find", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `[{"value":"/users","label":"found by %s","hint":"page"},{"value":"/vcs","label":"second","hint":"page"}]`, r.FormValue("q"))
	})
	mux.HandleFunc("GET /ui/branches", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `[{"value":"of-%s","label":"x"}]`, r.FormValue("project"))
	})
	mux.HandleFunc("POST /settings/vcs/gitlab/secret", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"value":"the-webhook-secret"}`)
	})
	mux.HandleFunc("GET /runs/{id}/live", s.stream)
	mux.HandleFunc("POST /", s.post)
	mux.HandleFunc("GET /", s.page)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s
}

func (s *site) page(w http.ResponseWriter, r *http.Request) {
	p, ok := s.pages[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = p.Page.Render(r.Context(), w)
}

func (s *site) post(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	s.posts = append(s.posts, r.URL.Path+"?"+r.PostForm.Encode())
	s.mu.Unlock()
	http.Redirect(w, r, "/users", http.StatusSeeOther)
}

func (s *site) posted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.posts...)
}

// patience is how long what must come is waited for: long, because the machine may be busy with other things.
const patience = time.Minute

// awaitPost waits for the nth form and the page it leads to, and returns it; more than n are a mistake of the page.
func (s *site) awaitPost(t *testing.T, b *browserTab, n int) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for len(s.posted()) < n && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	got := s.posted()
	if len(got) != n {
		t.Fatalf("%d forms were posted, want %d: %q", len(got), n, got)
	}
	b.wants(t, `location.pathname === "/users" && document.readyState === "complete"`)
	return got[n-1]
}

func (s *site) stream(w http.ResponseWriter, r *http.Request) {
	if !s.enter(r.URL.RawQuery) {
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	defer s.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.(http.Flusher).Flush()
	for {
		select {
		case ev := <-s.live:
			fmt.Fprint(w, ev)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (s *site) enter(query string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, query)
	if !s.gone {
		s.open++
	}
	return !s.gone
}

// refuse lets streams that are asked for from now on be refused, as to somebody who is signed out.
func (s *site) refuse(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = yes
}

func (s *site) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// awaitStreams waits until so many streams are open, and returns what the last one asked for.
func (s *site) awaitStreams(t *testing.T, n int) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s.mu.Lock()
		open, asked := s.open, s.asked
		s.mu.Unlock()
		if open == n {
			return asked[len(asked)-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are open, want %d: %q", open, n, asked)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A tab is a page open in a headless browser, with everything it complained about.
type browserTab struct {
	ctx context.Context
	mu  sync.Mutex
	bad []string
}

// browser starts a headless Chromium and opens a tab. GROUNDCREW_BROWSER names the binary; without one on
// this machine the test fails, because a page nobody looked at is not tested.
func browser(t *testing.T) *browserTab {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-sync", true), chromedp.Flag("force-color-profile", "srgb"))
	if path := os.Getenv("GROUNDCREW_BROWSER"); path != "" {
		opts = append(opts, chromedp.ExecPath(path))
	}
	alloc, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	tab := &browserTab{ctx: ctx}
	// The first action starts the browser, which lives as long as its context: it must have no time limit.
	if err := chromedp.Do(ctx, call(cdplog.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{})); err != nil {
		t.Fatalf("no headless Chromium starts here: %v. Install one, or name its binary in GROUNDCREW_BROWSER.", err)
	}
	go tab.listen(chromedp.Events(ctx, cdplog.EntryAdded))
	go tab.listenErrors(chromedp.Events(ctx, runtime.ExceptionThrown))
	return tab
}

// call makes an action of a protocol command.
func call[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

// listen collects what the browser complains about, such as what the policy refused. It ends with the tab.
func (b *browserTab) listen(events iter.Seq2[cdplog.EventEntryAdded, error]) {
	for ev, err := range events {
		if err != nil {
			return
		}
		if ev.Entry.Level == cdplog.EntryLevelError {
			b.complain(ev.Entry.Text + " " + ev.Entry.URL)
		}
	}
}

// listenErrors collects the errors of scripts. It ends with the tab.
func (b *browserTab) listenErrors(events iter.Seq2[runtime.EventExceptionThrown, error]) {
	for ev, err := range events {
		if err != nil {
			return
		}
		b.complain(fmt.Sprintf("%+v", ev.ExceptionDetails))
	}
}

func (b *browserTab) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bad = append(b.bad, text)
}

func (b *browserTab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	bad := b.bad
	b.bad = nil
	return bad
}

func (b *browserTab) run(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience) // an element that is not there is waited for
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// get returns what an action gives.
func get[T any](t *testing.T, b *browserTab, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wants waits until a script expression is true.
func (b *browserTab) wants(t *testing.T, expr string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expr)) // fails while the page changes
		if ok && err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never true: %s (%v)", expr, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func click(sel string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(sel)) }

// enter types into a control. (The library's SendKeys reads attributes while its listener changes them.)
func enter(sel, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.Focus(chromedp.CSS(sel)), chromedp.KeyEvent(text))
}

func size(w, h int64) chromedp.Action[chromedp.Void] { return chromedp.EmulateViewport(w, h) }

func scheme(dark bool) chromedp.Action[chromedp.Void] {
	value := "light"
	if dark {
		value = "dark"
	}
	return call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: value}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// TestGallery opens every page as for the first time, wide and at 360 px: no complaint of the browser (the policy holds, scripts
// run), nothing moves while it comes, everything fits, everybody can use it, and with -dir a picture of each.
func TestGallery(t *testing.T) {
	s, b := watchShifts(t)
	b.run(t, call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	for _, p := range samples() {
		if !strings.HasPrefix(p.Name, *only) {
			continue
		}
		for _, look := range []struct {
			name string
			w, h int64
			dark bool
		}{{"light", 1280, 800, false}, {"dark", 1280, 800, true}, {"phone", 360, 740, false}} {
			if *shots == "" && look.dark {
				continue // same layout as light
			}
			b.run(t, size(look.w, look.h), scheme(look.dark))
			s.opened(t, b, "/"+p.Name)
			s.stillOnLoad(t, b, p.Name, look.w)
			for _, text := range get(t, b, chromedp.Evaluate[[]string](fits)) {
				t.Errorf("%s at %d px: %s", p.Name, look.w, text)
			}
			if bad := b.complaints(); len(bad) > 0 {
				t.Errorf("%s: the browser complains: %q", p.Name, bad)
			}
			if *shots != "" && strings.HasPrefix(p.Name, "run-") && look.name == "light" {
				b.run(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
				keep(t, p.Name+"-print.png", get(t, b, chromedp.FullScreenshot(100)))
				b.run(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "screen"}))
			}
			if *shots != "" {
				keep(t, p.Name+"-"+look.name+".png", get(t, b, chromedp.FullScreenshot(100)))
			}
			b.accessible(t, p.Name, look.w)
		}
	}
}

func keep(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

// TestScripts uses the pages as a person would.
func TestScripts(t *testing.T) {
	s, b := newSite(t), browser(t)
	b.run(t, size(1280, 800), scheme(false))
	t.Run("live run", func(t *testing.T) { liveRun(t, s, b) })
	t.Run("ask and confirm", func(t *testing.T) { confirms(t, s, b) })
	t.Run("secret", func(t *testing.T) { reveals(t, s, b) })
	t.Run("wizard", func(t *testing.T) { wizard(t, s, b) })
	t.Run("palette", func(t *testing.T) { finds(t, s, b) })
	t.Run("without scripts", func(t *testing.T) { withoutScripts(t, s, b) })
	t.Run("theme and keys", func(t *testing.T) { themeAndKeys(t, s, b) })
	if bad := b.complaints(); len(bad) > 0 {
		t.Errorf("the browser complains: %q", bad)
	}
}

// liveRun: a fragment changes its element in place and leaves what the reader opened; log lines come at the end.
func liveRun(t *testing.T, s *site, b *browserTab) {
	b.run(t, chromedp.Navigate(s.URL+"/run-unconfirmed"))
	b.run(t, click(`.changelist summary`))
	get(t, b, chromedp.Evaluate[int](`window.was = document.querySelector(".changelist details"); 0`))
	m := unconfirmedModel()
	m.Run = applyingRun()
	m.Progress = "5 of 9"
	s.live <- event("fragment", fragmentJSON(t, "run-plan", RunPlan(shell("", ""), m)))
	s.live <- event("fragment", fragmentJSON(t, "run-head", RunHead(shell("", ""), m)))
	lines, _ := LogLines("applying", []byte("aws_lb.edge: Modifying...\n<b>not bold</b>\n"), 1, Pen{})
	s.live <- event("log", jsonOf(t, map[string]any{"phase": "applying", "html": lines, "offset": 10}))
	s.live <- event("end", "{}")
	b.wants(t, `document.querySelector("#plan-head").textContent.includes("5 of 9")`)
	b.wants(t, `document.querySelector("#run-head .pill").textContent.includes("applying")`)
	b.wants(t, `document.querySelector("#announce").textContent === "The run is applying"`)
	b.wants(t, `window.was.isConnected && window.was.open`)
	b.wants(t, `document.querySelector("#log-applying").open && document.querySelector("#applying-L2").textContent === "<b>not bold</b>"`)
	b.run(t, enter(`#find-planning`, "listener"))
	b.wants(t, `document.querySelectorAll("#log-planning li.hit").length === 2`)
	b.run(t, click(`[data-full="applying"]`))
	b.wants(t, `document.querySelector("#log-applying").getBoundingClientRect().height === innerHeight`)
	b.run(t, chromedp.KeyEvent(kb.Escape))
	b.wants(t, `!document.querySelector(".full")`)
}

// confirms: the button asks because the plan destroys; "no" posts nothing, "yes" posts the fingerprint once.
func confirms(t *testing.T, s *site, b *browserTab) {
	b.run(t, chromedp.Navigate(s.URL+"/run-unconfirmed"))
	b.run(t, chromedp.KeyEvent("c"))
	b.wants(t, `document.querySelector("#ask").open && document.querySelector("#ask-text").textContent.includes("cannot be undone")`)
	b.run(t, click(`#ask [value=no]`))
	b.wants(t, `!document.querySelector("#ask").open`)
	if got := s.posted(); len(got) > 0 {
		t.Fatalf("posted after a no: %q", got)
	}
	b.run(t, click(`form[action$="/confirm"] button`), click(`#ask-yes`))
	want := "/runs/" + unconfirmedRun().ID + "/confirm?fingerprint=" + unconfirmedRun().Fingerprint
	if got := s.awaitPost(t, b, 1); got != want {
		t.Fatalf("posted %q, want %q", got, want)
	}
}

func reveals(t *testing.T, s *site, b *browserTab) {
	b.run(t, chromedp.Navigate(s.URL+"/gitlab"))
	b.wants(t, `!document.body.textContent.includes("the-webhook-secret")`)
	b.run(t, click(`[data-reveal] button`))
	b.wants(t, `document.querySelector("[data-secret-text]").textContent === "the-webhook-secret"`)
	b.run(t, click(`[data-reveal] button`))
	b.wants(t, `document.querySelector("[data-secret-text]").textContent.startsWith("••")`)
}

// finds: control and K opens it anywhere, Enter goes to the first match, the arrows to another, Escape closes it.
func finds(t *testing.T, s *site, b *browserTab) {
	openIt := func() {
		b.run(t, chromedp.Navigate(s.URL+"/start"), chromedp.KeyEvent("k", chromedp.KeyModifiers(kb.ModifierCtrl)))
		b.wants(t, `document.querySelector("#palette").open && document.activeElement.id === "palette-q"`)
		b.run(t, enter(`#palette-q`, "peo"))
		b.wants(t, `document.querySelector("#palette [aria-selected=true]")?.textContent.startsWith("found by peo")`)
	}
	openIt()
	b.run(t, chromedp.KeyEvent(kb.Enter))
	b.wants(t, `location.pathname === "/users" && document.readyState === "complete"`)
	openIt()
	b.run(t, chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	b.wants(t, `location.pathname === "/vcs" && document.readyState === "complete"`)
	openIt()
	b.run(t, chromedp.KeyEvent(kb.Escape))
	b.wants(t, `!document.querySelector("#palette").open && location.pathname === "/start"`)
	b.run(t, click(`[data-find]`))
	b.wants(t, `document.querySelector("#palette").open`)
}

// wizard: one step at a time, the project from a list that fills the branch, the name made from both.
func wizard(t *testing.T, s *site, b *browserTab) {
	b.run(t, chromedp.Navigate(s.URL+"/stack-new"))
	b.wants(t, `document.querySelectorAll(".step.now").length === 1 && getComputedStyle(document.querySelector("#step-2")).display === "none"`)
	b.run(t, click(`[data-step-next]`))
	b.wants(t, `document.querySelector("#step-1").classList.contains("now")`) // the project is missing
	b.run(t, enter(`#f-project`, "net"))
	b.wants(t, `document.querySelectorAll("[role=option]").length === 2 && document.querySelectorAll("[role=option]")[1].dataset.value === "q=net"`)
	b.run(t, chromedp.KeyEvent(kb.ArrowDown))
	b.wants(t, `document.querySelector("[role=option]").ariaSelected === "true" && document.querySelector("#f-project").getAttribute("aria-activedescendant") === document.querySelector("[role=option]").id`)
	b.run(t, click(`[role=option]`))
	b.wants(t, `document.querySelector("#f-project").value === "infra/network" && document.querySelector("#f-branch").value === "trunk"`)
	b.run(t, enter(`#f-project_root`, "envs/prod"))
	b.run(t, click(`[data-step-next]`))
	b.wants(t, `document.querySelector("#step-2").classList.contains("now") && document.querySelector(".custom").hidden`)
	b.run(t, chromedp.SetValue(chromedp.CSS(`#f-tool`), runs.Custom))
	get(t, b, chromedp.Evaluate[bool](`document.querySelector("#f-tool").dispatchEvent(new Event("change", {bubbles: true}))`))
	b.wants(t, `!document.querySelector(".custom").hidden`)
	b.run(t, click(`[data-step-next]`), click(`[data-step-next]`))
	b.wants(t, `document.querySelector("#f-name").value === "network-prod" && !document.querySelector("[data-step-done]").hidden`)
	before := len(s.posted())
	b.run(t, click(`[data-step-done]`))
	got := s.awaitPost(t, b, before+1)
	for _, want := range []string{"project=infra%2Fnetwork", "branch=trunk", "name=network-prod", "install_hook=on", "tool=custom"} {
		if !strings.Contains(got, want) {
			t.Errorf("posted %q without %s", got, want)
		}
	}
	// A refused form opens at the first step with an error.
	b.run(t, chromedp.Navigate(s.URL+"/stack-new-errors"))
	b.wants(t, `document.querySelector("#step-1").classList.contains("now") && document.querySelector("#f-project_root").value === "../prod"`)
}

// withoutScripts: the same pages are plain forms; the wizard is one form with four sections, the yes posts at once.
func withoutScripts(t *testing.T, s *site, b *browserTab) {
	off := func(yes bool) chromedp.Action[chromedp.Void] {
		return call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: yes})
	}
	b.run(t, off(true))
	defer b.run(t, off(false))
	before := len(s.posted())
	b.run(t, chromedp.Navigate(s.URL+"/stack-new"), enter(`#f-project`, "infra/network"), enter(`#f-branch`, "main"), enter(`#f-name`, "edge"), click(`[data-step-done]`))
	if got := s.awaitPost(t, b, before+1); !strings.Contains(got, "name=edge") || !strings.Contains(got, "state=managed") {
		t.Errorf("posted %q", got)
	}
	b.run(t, chromedp.Navigate(s.URL+"/run-unconfirmed"), click(`.changelist summary`), click(`form[action$="/confirm"] button`))
	if got := s.awaitPost(t, b, before+2); !strings.Contains(got, "/confirm?fingerprint=") {
		t.Errorf("posted %q", got)
	}
}

func themeAndKeys(t *testing.T, s *site, b *browserTab) {
	b.run(t, chromedp.Navigate(s.URL+"/stacks"), click(`.me summary`), click(`[data-theme-next]`), click(`[data-theme-next]`))
	b.wants(t, `document.documentElement.dataset.theme === "dark" && getComputedStyle(document.body).colorScheme === "dark"`)
	b.run(t, chromedp.Navigate(s.URL+"/start"))
	b.wants(t, `document.documentElement.dataset.theme === "dark"`) // it lasts
	b.run(t, chromedp.KeyEvent("?"))
	b.wants(t, `document.querySelector("#keys").open`)
	b.run(t, chromedp.Navigate(s.URL+"/runs"), chromedp.KeyEvent("g"), chromedp.KeyEvent("s"))
	b.wants(t, `location.pathname === "/stacks" && document.readyState === "complete"`)
	b.run(t, chromedp.KeyEvent("/"))
	b.wants(t, `document.activeElement.id === "q-q"`)
	b.run(t, chromedp.Navigate(s.URL+"/run-unconfirmed"), chromedp.KeyEvent("g"), chromedp.KeyEvent("c")) // by itself the key would ask to confirm
	b.wants(t, `location.pathname === "/contexts" && document.readyState === "complete" && !document.querySelector("dialog[open]")`)
	b.run(t, chromedp.Navigate(s.URL+"/runs"), chromedp.KeyEvent("g"), chromedp.KeyEvent("p"))
	b.wants(t, `location.pathname === "/policies" && document.readyState === "complete"`)
}

func fragmentJSON(t *testing.T, id string, c templ.Component) string {
	return jsonOf(t, map[string]any{"id": id, "html": mustRender(t, sample{"", c})})
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
