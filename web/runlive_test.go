package web

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// TestTheFrameMovesAlone: what waits elsewhere changes the frame of an open run page and nothing of the run; what the run's end
// changes around it is sent before the stream ends.
func TestTheFrameMovesAlone(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	s.stack("b")
	r := s.planned(s.request("a", runs.Tracked, "c1").ID)
	b := s.signedIn(store.Writer)
	w := &watcher{s: s, page: s.get(b, "/runs/"+r.ID).body}
	live := mustURL(t, liveOf(t, w.page))
	was := readPlace(live.Query().Get("after"))
	w.ch = s.events(b, live.String(), "")
	s.planned(s.request("b", runs.Tracked, "c2").ID)
	count := func(text string) func(event) bool {
		return func(e event) bool {
			return e.name == "fragment" && strings.Contains(e.data, `"places"`) && strings.Contains(e.data, text)
		}
	}
	at := readPlace(await(t, w.ch, count("2 things wait")).id)
	if was.key == "" || at.key != was.key || at.frame == was.frame {
		t.Errorf("from %s to %s", was, at)
	}
	s.apply(r.ID, runs.Discard{Meta: now()})
	if first := w.sees("run-head", func(moved) bool { return true }); !strings.Contains(first.HTML, "discarded") {
		t.Errorf("the run was sent though it had not changed: %s", first.HTML)
	}
	await(t, w.ch, count("1 thing waits"))
	await(t, w.ch, func(e event) bool { return e.name == "end" })
}

// TestRunsGoOnWithoutATurn: who waits for a turn to make the frame sees the run go on, and its end when the turn came.
func TestRunsGoOnWithoutATurn(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.planned(s.request("a", runs.Tracked, "c1").ID)
	b := s.signedIn(store.Writer)
	live := liveOf(t, s.get(b, "/runs/"+r.ID).body)
	s.web.turns <- struct{}{}
	ch := s.events(b, live, "")
	s.apply(r.ID, runs.Discard{Meta: now()})
	around := false
	await(t, ch, func(e event) bool {
		around = around || e.name == "end" || strings.Contains(e.data, `"places"`)
		return e.name == "fragment" && strings.Contains(e.data, `"run-head"`) && strings.Contains(e.data, "discarded")
	})
	if around {
		t.Error("the frame was made without a turn")
	}
	<-s.web.turns
	await(t, ch, func(e event) bool { return e.name == "fragment" && strings.Contains(e.data, `"places"`) })
	await(t, ch, func(e event) bool { return e.name == "end" })
}

// TestAFrameThatIsNotKnownIsNotSent: while GitLab does not say what somebody may see, an open run page keeps the counts and banners
// it has, also when they are the first.
func TestAFrameThatIsNotKnownIsNotSent(t *testing.T) {
	g := newGuild(t)
	c := g.watching("reporter", "/runs/"+g.waiting.ID)
	out := httptest.NewRecorder()
	c.Response().Writer = out
	var err error
	l := &liveRun{s: g.web, c: c, id: g.waiting.ID, at: newPlace(), sent: map[string]string{}}
	l.st, err = g.web.openStream(c)
	must(t, err)
	defer l.st.close()
	look := func() string {
		t.Helper()
		g.web.turns <- struct{}{}
		must(t, l.showFrame(g.waiting))
		return out.Body.String()
	}
	clear := g.f.Fault(sim.Fault{Status: 502, Body: "<html>"})
	g.web.asked.mu.Lock()
	g.web.asked.known = nil
	g.web.asked.mu.Unlock()
	if got := look(); c.unknown == 0 || strings.Contains(got, "fragment") {
		t.Errorf("%d projects are unknown, and sent was %s", c.unknown, got)
	}
	clear()
	g.get(g.people["reporter"], "/api/v1/stacks") // a program waits until GitLab said all
	if got := look(); c.unknown != 0 || !strings.Contains(got, `"places"`) || !strings.Contains(got, `"banners"`) {
		t.Errorf("%d projects are unknown, and sent was %s", c.unknown, got)
	}
}

// TestWhenAFrameIsDue: not before the last one has rested, and then only for a reason.
func TestWhenAFrameIsDue(t *testing.T) {
	s := newSite(t)
	gen := s.web.hub.generation()
	for _, c := range []struct {
		age, rest time.Duration
		stored    bool
		due       bool
	}{
		{modelEvery / 2, 0, true, false},
		{modelEvery + time.Second, 0, true, true},
		{modelEvery + time.Second, 0, false, false},
		{modelEvery + time.Second, time.Minute, true, false},
		{lookIdle + time.Second, 0, false, true},
		{lookIdle + time.Second, time.Minute, true, false},
	} {
		l := &liveRun{s: s.web, framed: time.Now().Add(-c.age), rest: c.rest, gen: gen}
		if c.stored {
			l.gen--
		}
		if got := l.frameDue(); got != c.due {
			t.Errorf("%+v: due %t", c, got)
		}
	}
}
