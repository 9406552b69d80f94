package view

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"groundcrew/runs"
)

// movingID is the run that moves on the pages of these tests.
const movingID = "01JDA7Z3K8Q4W9R2T5Y7XNM6P9"

// movingRow is the run after some states of its life, as lists show it.
func movingRow(states ...runs.State) RunRow {
	r := queuedRun()
	r.ID, r.Stack = movingID, "mesh"
	r = lived(r, ago(40*time.Second), to(states...)...)
	row := RunRow{Run: r, StackName: "mesh"}
	switch r.State {
	case runs.Queued:
		row.Waiting = "waits for a worker"
	case runs.Applying:
		row.Progress = "4 of 9"
	}
	if r.Passed(runs.Unconfirmed) {
		row.Run.Delta = trackedRun().Delta
	}
	return row
}

// movingPages are the pages of a run that moves, by name; each is asked for the page as it is when the run has come so far.
func movingPages() map[string]func(RunRow) Moving {
	start := func(needs, work []RunRow) func(RunRow) Moving {
		return func(r RunRow) Moving {
			m := StartModel{Needs: needs, Work: append([]RunRow{r}, work...), Day: Day{Total: 31, Finished: 28}}
			if r.Run.Passed(runs.Initializing) && r.Run.State != runs.Initializing {
				m.Work = append(m.Work, RunRow{Run: applyingRun(), StackName: "dns"}) // it came meanwhile
			}
			m.Work[0].Over = !r.Run.State.Working() && r.Run.State != runs.Queued && r.Run.State != runs.Confirmed
			if r.Run.State == runs.Unconfirmed && len(needs) > 0 {
				m.Unseen = []RunRow{r}
			} else if r.Run.Passed(runs.Unconfirmed) && len(needs) == 0 {
				n := r
				n.Over = r.Run.State != runs.Unconfirmed
				m.Needs = []RunRow{n}
			}
			return m.Moving()
		}
	}
	return map[string]func(RunRow) Moving{
		"start":       start([]RunRow{rows()[0], rows()[4]}, rows()[1:3]),
		"start-quiet": start(nil, nil),
		"runs": func(r RunRow) Moving {
			return RunsModel{Any: true, Rows: append([]RunRow{rows()[0], r}, rows()[1:]...), New: len(r.Run.Transitions) / 3, Stacks: []Option{{"network-prod", "network-prod"}}, Pager: Pager{NextURL: "/runs?cursor=x", Shown: 8}}.Moving()
		},
		"stack": func(r RunRow) Moving {
			h := stackHeadFixture(TabRuns)
			h.Last = &r.Run
			return StackRunsModel{Head: h, Rows: append([]RunRow{r}, rows()[3:]...), New: len(r.Run.Transitions) / 3}.Moving()
		},
		"stacks": func(r RunRow) Moving {
			return StacksModel{Any: true, Rows: []StackRow{{Stack: networkStack(), Last: &r.Run}, {Stack: networkStack(), Last: new(finishedRun())}}, New: len(r.Run.Transitions) / 3}.Moving()
		},
	}
}

// TestNothingMovesOnLists: while somebody has a page open a run of it lives its life. It changes in its place: no row moves, the one
// who reads keeps the focus, and nothing is loaded anew.
func TestNothingMovesOnLists(t *testing.T) {
	s, b := watchShifts(t)
	life := []runs.State{runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed, runs.Confirmed, runs.Applying, runs.Finished}
	for _, at := range [][2]int64{{1280, 800}, {360, 740}} {
		for name, page := range movingPages() {
			b.run(t, size(at[0], at[1]))
			p := shell("Moving", NavRuns)
			p.Here, p.Live = "/moving-"+name, "/runs/x/live"
			s.pages["/moving-"+name] = sample{name, page(movingRow(life[0])).Whole(p)}
			s.opened(t, b, "/moving-"+name)
			get(t, b, chromedp.Evaluate[int](`window.shifts.length = 0, window.opened = true, document.querySelector("main a").focus(), window.focused = document.activeElement, 0`))
			for i := range life[1:] {
				row := movingRow(life[:i+2]...)
				p.NeedCount = i % 3
				send := []Part{{"places", Places(p)}}
				for _, part := range append(send, page(row).Parts(p)...) {
					s.live <- event("fragment", jsonOf(t, map[string]any{"id": part.ID, "html": mustRender(t, sample{"", part.Body}), "held": true}))
				}
				b.wants(t, fmt.Sprintf(`document.querySelector("main").textContent.includes(%q)`, StateWord(row.Run.State)))
				s.drawn(t, b)
			}
			sum := total(get(t, b, chromedp.Evaluate[[]shift](`window.shifts`)))
			t.Logf("%s at %d px: %.5f", name, at[0], sum.Value)
			if sum.Value >= mostShift {
				t.Errorf("%s at %d px moves by %.4f: %s", name, at[0], sum.Value, strings.Join(sum.Sources, "; "))
			}
			if !get(t, b, chromedp.Evaluate[bool](`window.opened && document.activeElement === window.focused`)) {
				t.Errorf("%s at %d px: the focus is gone, or the page was loaded again", name, at[0])
			}
			if *shots != "" {
				keep(t, fmt.Sprintf("moving-%s-%d.png", name, at[0]), get(t, b, chromedp.FullScreenshot(100)))
			}
		}
	}
	if bad := b.complaints(); len(bad) > 0 {
		t.Errorf("the browser complains: %q", bad)
	}
}

// TestRowsThatGoLeaveAGap: a row that is not there any more, because it is over or may not be seen any longer, is taken away, and
// what stands below it stays where it is.
func TestRowsThatGoLeaveAGap(t *testing.T) {
	s, b := watchShifts(t)
	all := rows()
	for _, at := range []int64{1280, 360} {
		b.run(t, size(at, 800))
		p := shell("Runs", NavRuns)
		p.Live = "/runs/x/live"
		page := func(rows []RunRow) Moving { return RunsModel{Any: true, Rows: rows}.Moving() }
		s.pages["/gaps"] = sample{"gaps", page(all).Whole(p)}
		s.opened(t, b, "/gaps")
		get(t, b, chromedp.Evaluate[int](`window.shifts.length = 0`))
		for n := range 3 { // twice the same, then one more
			left := append(append([]RunRow{}, all[0]), all[2+n/2:]...)
			part := page(left).Parts(p)[1]
			s.live <- event("fragment", jsonOf(t, map[string]any{"id": part.ID, "html": mustRender(t, sample{"", part.Body}), "held": true}))
			b.wants(t, fmt.Sprintf(`document.querySelectorAll(".gap").length === %d`, 1+n/2))
			s.drawn(t, b)
		}
		if sum := total(get(t, b, chromedp.Evaluate[[]shift](`window.shifts`))); sum.Value >= mostShift {
			t.Errorf("at %d px the page moves by %.4f: %s", at, sum.Value, strings.Join(sum.Sources, "; "))
		}
		if get(t, b, chromedp.Evaluate[bool](fmt.Sprintf(`document.body.textContent.includes(%q)`, "blocked by"))) {
			t.Error("what is gone is still there to be read")
		}
		s.live <- event("fragment", jsonOf(t, map[string]any{"id": "rows", "html": mustRender(t, sample{"", page(all).Parts(p)[1].Body}), "held": false}))
		b.wants(t, `document.querySelectorAll(".gap").length === 0`)
	}
	if bad := b.complaints(); len(bad) > 0 {
		t.Errorf("the browser complains: %q", bad)
	}
}

// drawn waits until what was sent is on the screen.
func (s *site) drawn(t *testing.T, b *browserTab) {
	t.Helper()
	get(t, b, chromedp.Evaluate[int](`window.settled = false, requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => (window.settled = true), 50))), 0`))
	b.wants(t, `window.settled`)
}

// TestStreamsOfAPage: a page has a stream while it is in sight. Who comes back to the top of it gets it as it is; who had read on
// finds the rows where they were. A stream that ends is opened again, and when that is refused the page says that it is old.
func TestStreamsOfAPage(t *testing.T) {
	s, b := newSite(t), browser(t)
	b.run(t, size(1280, 300), scheme(false))
	p := shell("Runs", NavRuns)
	p.Live = "/runs/x/live?at=1&after=m-1.2"
	s.pages["/streams"] = sample{"streams", RunsModel{Any: true, Rows: rows()}.Moving().Whole(p)}
	sight := func(hidden bool) {
		t.Helper()
		get(t, b, chromedp.Evaluate[int](fmt.Sprintf(`Object.defineProperty(document, "hidden", { value: %t, configurable: true }), document.dispatchEvent(new Event("visibilitychange")), 0`, hidden)))
	}
	wants := func(query string, texts ...string) {
		t.Helper()
		for _, x := range texts {
			if not, is := strings.CutPrefix(x, "!"); strings.Contains(query, not) == is {
				t.Errorf("the stream asks %q, want %q", query, x)
			}
		}
	}
	b.run(t, chromedp.Navigate(s.URL+"/streams"))
	first := rows()[0].Run.ID
	wants(s.awaitStreams(t, 1), "at=1", "after=m-1.2", "shown-runs="+first+"*", "!fresh")
	s.live <- "id: m-3.4\n" + event("say", `{"text":"edge waits"}`)
	b.wants(t, `document.querySelector("#announce").textContent === "edge waits"`)
	sight(true)
	s.awaitStreams(t, 0)
	sight(false)
	wants(s.awaitStreams(t, 1), "after=m-3.4", "fresh=1", "!shown")
	get(t, b, chromedp.Evaluate[int](`scrollTo(0, 200), 0`))
	sight(true)
	s.awaitStreams(t, 0)
	sight(false)
	wants(s.awaitStreams(t, 1), "shown-runs=", "!fresh")

	s.CloseClientConnections()
	s.awaitStreams(t, 0)
	wants(s.awaitStreams(t, 1), "shown-runs=", "after=m-3.4")
	s.refuse(true)
	s.CloseClientConnections()
	b.wants(t, `document.querySelector("#toasts").textContent.includes("You are signed out.")`)
	s.refuse(false)
	sight(true)
	sight(false)
	s.awaitStreams(t, 1)
	b.wants(t, `!document.querySelector("#toasts .stale")`)
	s.live <- event("end", "{}")
	s.awaitStreams(t, 0)
	sight(true)
	sight(false)
	b.wants(t, `!document.hidden`)
	s.awaitStreams(t, 0)
	b.complaints() // of the connections that were cut
}

// TestPhoneHeads: on the first screen of a phone are a stack's state, its first action, the tabs and its first run, and what else can
// be done is behind a button that needs no script.
func TestPhoneHeads(t *testing.T) {
	s, b := newSite(t), browser(t)
	b.run(t, size(360, 640), scheme(false))
	for page, list := range map[string][]string{
		"/stack-runs":      {"h1", "#stack-head .pill", `#stack-head form[action$="/runs"] button`, ".morebtn", ".tabs [aria-current]", ".list tbody tr:first-child .main .sub"},
		"/run-unconfirmed": {"h1", "#run-head .pill", `form[action$="/confirm"] button`, ".changelist li:first-child"},
		"/run-failed":      {"h1", "#run-head .pill", ".block.bad"},
		"/module-failed":   {"h1", ".tabs [aria-current]", ".note.kind-bad"},
		"/context":         {"h1", ".tabs [aria-current]", ".list tbody tr:first-child"},
		"/gitlab":          {"h1", ".head .acts", ".note.kind-warn"},
		"/start":           {"h1", ".needs .btn.primary", ".needs li:nth-child(2)"},
		"/runs":            {"h1", ".filter", ".list tbody tr:nth-child(2)"},
	} {
		b.run(t, chromedp.Navigate(s.URL+page))
		for _, sel := range list {
			at := get(t, b, chromedp.Evaluate[[]float64](fmt.Sprintf(`(({ top, bottom }) => [top, bottom])(document.querySelector(%q).getBoundingClientRect())`, sel)))
			bar := get(t, b, chromedp.Evaluate[float64](`document.querySelector("#places").getBoundingClientRect().top`))
			if at[0] < 0 || at[1] > bar {
				t.Errorf("%s: %s is at %.0f to %.0f px, and the first screen ends at %.0f", page, sel, at[0], at[1], bar)
			}
		}
	}
	b.run(t, call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.run(t, chromedp.Navigate(s.URL+"/stack-runs"), chromedp.WaitNotVisible(chromedp.CSS("#more-acts")), click(".morebtn"), chromedp.WaitVisible(chromedp.CSS(`#more-acts form[action$="/sync"] button`)))
	if *shots != "" {
		keep(t, "more.png", get(t, b, chromedp.FullScreenshot(100)))
	}
	b.run(t, click(`#more-acts summary`), chromedp.WaitVisible(chromedp.CSS(`#f-command`)))
	if *shots != "" {
		keep(t, "more-task.png", get(t, b, chromedp.FullScreenshot(100)))
	}
	b.run(t, chromedp.KeyEvent(kb.Escape), chromedp.WaitNotVisible(chromedp.CSS("#more-acts")))
	b.run(t, size(1280, 800), chromedp.WaitVisible(chromedp.CSS(`#more-acts form[action$="/sync"] button`)), chromedp.WaitNotVisible(chromedp.CSS(".morebtn")))
}

// manyPages is more pages in sight than a browser has connections to a server over HTTP/1.1.
const manyPages = 8

// TestManyPagesInSight: each of many pages loads; the four that were used last are live, and the others say that they rest, until
// somebody comes back to them.
func TestManyPagesInSight(t *testing.T) {
	s, first := newSite(t), browser(t)
	p := shell("Runs", NavRuns)
	p.Live = "/runs/x/live"
	s.pages["/many"] = sample{"many", RunsModel{Any: true, Rows: rows()}.Moving().Whole(p)}
	tabs := []*browserTab{first}
	for range manyPages - 1 {
		ctx, stop := chromedp.NewContext(first.ctx)
		t.Cleanup(stop)
		if err := chromedp.Do(ctx); err != nil { // makes the tab, which lives as long as its context
			t.Fatal(err)
		}
		tabs = append(tabs, &browserTab{ctx: ctx})
	}
	for i, tab := range tabs {
		tab.run(t, chromedp.Navigate(s.URL+"/many"))
		s.awaitStreams(t, min(i+1, 4))
	}
	const rests = `document.querySelector("#toasts").textContent.includes("4 other pages of Groundcrew are open in sight")`
	for _, tab := range tabs[:manyPages-4] {
		tab.wants(t, rests)
	}
	for _, tab := range tabs[manyPages-4:] {
		tab.wants(t, "!"+rests)
	}
	get(t, first, chromedp.Evaluate[int](`dispatchEvent(new Event("focus")), 0`))
	first.wants(t, "!"+rests)
	tabs[manyPages-4].wants(t, rests)
	s.awaitStreams(t, 4)
}

// TestPagesThatRestComeBack: a page whose stream is refused puts none to rest; one that works does, until one of them is left.
func TestPagesThatRestComeBack(t *testing.T) {
	s, first := newSite(t), browser(t)
	p := shell("Runs", NavRuns)
	p.Live = "/runs/x/live"
	s.pages["/many"] = sample{"many", RunsModel{Any: true, Rows: rows()}.Moving().Whole(p)}
	tabs := []*browserTab{first}
	for range 4 {
		ctx, stop := chromedp.NewContext(first.ctx)
		t.Cleanup(stop)
		if err := chromedp.Do(ctx); err != nil { // makes the tab, which lives as long as its context
			t.Fatal(err)
		}
		tabs = append(tabs, &browserTab{ctx: ctx})
	}
	last := tabs[4]
	for i, tab := range tabs[:4] {
		tab.run(t, chromedp.Navigate(s.URL+"/many"))
		s.awaitStreams(t, i+1)
	}
	s.refuse(true)
	last.run(t, chromedp.Navigate(s.URL+"/many"))
	last.wants(t, `document.querySelector("#toasts").textContent.includes("You are signed out.")`)
	const heard = `(window.told ??= new Promise((done) => (new BroadcastChannel("live").onmessage = done)).then(() => (window.heard = true)), window.heard === true)`
	get(t, first, chromedp.Evaluate[bool](heard))
	first.wants(t, heard) // the next try of the one that is refused
	for _, tab := range tabs[:4] {
		tab.wants(t, `!document.querySelector("#toasts .stale")`)
	}
	s.awaitStreams(t, 4)

	s.refuse(false)
	const rests = `document.querySelector("#toasts").textContent.includes("4 other pages of Groundcrew are open in sight")`
	first.wants(t, rests)
	s.awaitStreams(t, 4)
	last.run(t, chromedp.Navigate("about:blank"))
	first.wants(t, `!document.querySelector("#toasts .stale")`)
	s.awaitStreams(t, 4)
}

// TestBannersComeAndGo: what hinders everything is said on a page that was open before, beside it, so that nothing moves; what is
// over goes, and leaves its room.
func TestBannersComeAndGo(t *testing.T) {
	s, b := watchShifts(t)
	b.run(t, call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	for _, at := range [][2]int64{{1280, 800}, {360, 740}} {
		b.run(t, size(at[0], at[1]))
		p := shell("Runs", NavRuns)
		p.Live, p.Banners = "/runs/x/live", []Banner{{Kind: KindWarn, Text: "The token expires in 5 days."}}
		s.pages["/banners"] = sample{"banners", RunsModel{Any: true, Rows: rows()}.Moving().Whole(p)}
		s.opened(t, b, "/banners")
		get(t, b, chromedp.Evaluate[int](`window.shifts.length = 0`))
		says := func(list ...Banner) {
			p.Banners = list
			s.live <- event("fragment", jsonOf(t, map[string]any{"id": "banners", "html": mustRender(t, sample{"", Banners(p)}), "held": true}))
		}
		dead := Banner{Kind: KindBad, Text: "GitLab refuses the token.", LinkText: "Change token", LinkURL: "/x"}
		says(dead)
		b.wants(t, `document.querySelector("#toasts .note a[href='/x']") !== null && document.querySelector("#banners .note.over") !== null`)
		b.accessible(t, "banners", at[0])
		says(dead)
		says(p.Banners...)
		says()
		b.wants(t, `document.querySelector("#toasts .note") === null`)
		says(Banner{Kind: KindWarn, Text: "The token expires in 5 days."})
		b.wants(t, `document.querySelector("#banners .note:not(.over)") !== null && document.querySelectorAll(".note").length === 1`)
		if sum := total(get(t, b, chromedp.Evaluate[[]shift](`window.shifts`))); sum.Value >= mostShift {
			t.Errorf("at %d px the page moves by %.4f: %s", at[0], sum.Value, strings.Join(sum.Sources, "; "))
		}
	}
	if bad := b.complaints(); len(bad) > 0 {
		t.Errorf("the browser complains: %q", bad)
	}
}
