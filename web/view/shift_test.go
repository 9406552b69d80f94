package view

import (
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"groundcrew/runs"
	"groundcrew/static"
)

// shiftWatch collects what moved by itself on a page, says when the first picture of it was drawn, and when it is settled.
//
//go:embed testdata/shifts.js
var shiftWatch string

// mostShift is how much of a page may move: a tenth of what the web vitals call good. 0.01 is a strip of a hundredth of the window
// that moves by its own height.
const mostShift = 0.01

// A shift is what a person saw move.
type shift struct {
	Value   float64
	Sources []string
}

// holdScripts serves the static files, and the scripts that change pages only after the page was drawn without them: what they do
// to the layout is then seen, however fast everything is.
func (s *site) holdScripts(w http.ResponseWriter, r *http.Request) {
	if painted := s.painted.Load(); painted != nil && strings.HasSuffix(r.URL.Path, ".js") && !strings.HasPrefix(r.URL.Path, static.Path("theme.js")) {
		select {
		case <-*painted:
		case <-time.After(patience):
		case <-r.Context().Done():
		}
	}
	static.Handler().ServeHTTP(w, r)
}

// opened opens a page as for the first time and waits until nothing happens to it any more.
func (s *site) opened(t *testing.T, b *browserTab, path string) {
	t.Helper()
	painted := make(chan struct{})
	s.painted.Store(&painted)
	b.run(t, chromedp.Navigate(s.URL+path))
	b.wants(t, `window.settled`)
}

func watchShifts(t *testing.T) (*site, *browserTab) {
	s, b := newSite(t), browser(t)
	b.run(t, scheme(false), call(page.Enable, page.EnableParams{}), call(network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}),
		call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: shiftWatch}))
	return s, b
}

// stillOnLoad wants that the page which was just opened did not move under the eyes of who opened it.
func (s *site) stillOnLoad(t *testing.T, b *browserTab, name string, width int64) {
	t.Helper()
	moved := func() shift { return total(get(t, b, chromedp.Evaluate[[]shift](`window.shifts`))) }
	sum := moved()
	if sum.Value >= mostShift { // the window's new size may have come in the middle of the first picture: a page that moves does so again
		s.opened(t, b, "/"+name)
		sum = moved()
	}
	if sum.Value >= mostShift {
		t.Errorf("%s at %d px moves by %.4f: %s", name, width, sum.Value, strings.Join(sum.Sources, "; "))
	} else if sum.Value > 0 {
		t.Logf("%s at %d px moves by %.5f", name, width, sum.Value)
	}
}

func total(list []shift) shift {
	var sum shift
	for _, s := range list {
		sum.Value += s.Value
		for _, x := range s.Sources {
			if !slices.Contains(sum.Sources, x) {
				sum.Sources = append(sum.Sources, x)
			}
		}
	}
	return sum
}

// TestNothingMovesWhileWatched: a run goes through its life while a person looks at its page, at the top of it or at the log.
// Nothing they look at moves. What may: what lies below the log that grows, which are later logs and the details.
func TestNothingMovesWhileWatched(t *testing.T) {
	s, b := watchShifts(t)
	for _, at := range [][2]int64{{1280, 800}, {360, 740}} {
		for _, scrolled := range []string{"", "#log-planning", "#run-timeline"} {
			for _, mr := range []bool{false, true} {
				b.run(t, size(at[0], at[1]))
				sum := s.watched(t, b, scrolled, mr)
				t.Logf("at %d px, from %q: %.5f", at[0], scrolled, sum.Value)
				if sum.Value >= mostShift {
					t.Errorf("at %d px, from %q, of a merge request %t, the page moves by %.4f: %s", at[0], scrolled, mr, sum.Value, strings.Join(sum.Sources, "; "))
				}
			}
		}
	}
}

// watched lets a run live while its page is open, and returns what moved.
func (s *site) watched(t *testing.T, b *browserTab, scrolled string, mr bool) shift {
	t.Helper()
	at := func(states ...runs.State) RunModel {
		r := trackedRun()
		r.Delta, r.Tool, r.ToolVersion, r.Fingerprint, r.StateVersion = nil, "", "", "", 0
		if mr {
			r.MR = proposedRun().MR
			r.Commit.Title = "Open it"
		}
		m := RunModel{StackName: "network-prod", LiveURL: "/runs/x/live", Discard: can(), Waiting: "waits for a worker", Prioritize: can(), ProjectURL: "https://gitlab.corp.example/x"}
		for i, st := range states {
			switch st {
			case runs.Preparing:
				m.Discard, m.Prioritize, m.Waiting, m.Stop = Act{}, Act{}, "", can()
			case runs.Initializing:
				r.Tool, r.ToolVersion = runs.OpenTofu, "1.12.6"
				if mr {
					r.Basis = proposedRun().Basis
				}
			case runs.Unconfirmed:
				r.Delta, r.Fingerprint, r.StateVersion, r.Warnings = trackedRun().Delta, "9f14c0de", 17, []string{"The lock file has no entry for hashicorp/random."}
				m.Changes, m.Confirm, m.Discard, m.Stop = planChanges(), can(), can(), Act{}
				m.Isolation = []string{"memory limits (no cgroup is delegated to this server)"}
			case runs.Confirmed, runs.Finished:
				m.Confirm, m.Discard, m.Stop = Act{}, Act{}, Act{}
			case runs.Applying:
				m.Progress, m.Stop = fmt.Sprintf("%d of 6", i), can()
			}
		}
		m.Run = lived(r, ago(40*time.Second), to(states...)...)
		return m
	}
	life := []runs.State{runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed, runs.Confirmed, runs.Applying, runs.Finished}
	s.pages["/run-watched"] = sample{"run-watched", runPage(at(runs.Queued))}
	s.opened(t, b, "/run-watched")
	if scrolled != "" {
		get(t, b, chromedp.Evaluate[int](fmt.Sprintf(`document.querySelector(%q).scrollIntoView(), 0`, scrolled)))
	}
	get(t, b, chromedp.Evaluate[int](`window.shifts.length = 0`))
	for i := range life[1:] {
		m := at(life[:i+2]...)
		for id, c := range map[string]templ.Component{"run-head": RunHead(shell("", ""), m), "run-plan": RunPlan(shell("", ""), m), "run-timeline": RunTimeline(shell("", ""), m)} {
			s.live <- event("fragment", fragmentJSON(t, id, c))
		}
		s.settle(t, b, m)
		if phase := string(m.Run.State); slices.Contains([]runs.State{runs.Initializing, runs.Planning, runs.Applying}, m.Run.State) {
			s.live <- event("fragment", fragmentJSON(t, "log-head-"+phase, LogHead(shell("", ""), m, phase)))
			for range 3 {
				lines, _ := LogLines(phase, []byte(strings.Repeat("aws_lb.edge: Refreshing state...\n", 12)), 1, Pen{})
				s.live <- event("log", jsonOf(t, map[string]any{"phase": phase, "html": lines, "offset": 10}))
			}
		}
		s.live <- event("fragment", fragmentJSON(t, "run-details", RunDetails(shell("", ""), m)))
		s.settle(t, b, m)
	}
	sum := total(get(t, b, chromedp.Evaluate[[]shift](`window.shifts.filter((s) => !s.below)`)))
	s.live <- event("end", "{}")
	return sum
}

// settle waits until the page shows the state and is drawn.
func (s *site) settle(t *testing.T, b *browserTab, m RunModel) {
	t.Helper()
	b.wants(t, fmt.Sprintf(`document.querySelector("#run-head").dataset.state === %q`, StateWord(m.Run.State)))
	for len(s.live) > 0 {
		time.Sleep(time.Millisecond)
	}
	s.drawn(t, b)
}
