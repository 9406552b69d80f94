package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// An event is one server-sent event.
type event struct{ name, id, data string }

// events opens a stream and hands its events on; the channel is closed when the stream ends.
func (s *site) events(b *http.Client, path, lastID string) <-chan event {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, get, s.srv.URL+path, nil)
	must(s.t, err)
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := b.Do(req)
	must(s.t, err)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("status %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	out := make(chan event, 1000)
	go func() {
		defer close(out)
		defer res.Body.Close()
		readEvents(res.Body, out)
	}()
	return out
}

func readEvents(r io.Reader, out chan<- event) {
	var e event
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				out <- e
			}
			e = event{}
		}
	}
}

// await takes events until one fits.
func await(t *testing.T, ch <-chan event, fits func(event) bool) event {
	t.Helper()
	for {
		select {
		case e, ok := <-ch:
			if !ok {
				t.Fatal("the stream ended before the event came")
			}
			if fits(e) {
				return e
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the event did not come")
		}
	}
}

func stateIs(state runs.State) func(event) bool {
	return func(e event) bool {
		return e.name == "state" && strings.Contains(e.data, `"state":"`+string(state)+`"`)
	}
}

func TestEventsForScripts(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	b := s.signedIn(store.Reader)
	path := "/api/v1/runs/" + r.ID + "/events"
	ch := s.events(b, path, "")
	await(t, ch, stateIs(runs.Queued))
	s.apply(r.ID, runs.Claimed{Meta: now()}, runs.PhaseStarted{Meta: now(), State: runs.Initializing}, runs.PhaseStarted{Meta: now(), State: runs.Planning})
	await(t, ch, stateIs(runs.Planning))
	s.writeLog(r.ID, runs.Planning, "line 1\nline 2\nhalf")
	first := await(t, ch, func(e event) bool { return e.name == "log" })
	if !strings.Contains(first.data, `"text":"line 1\nline 2\n"`) || !strings.Contains(first.data, `"offset":0`) {
		t.Errorf("first piece: %s", first.data)
	}

	s.writeLog(r.ID, runs.Planning, " a line\nno end")
	s.apply(r.ID, runs.Planned{Meta: now(), Delta: runs.Delta{Add: 1}})
	rest := await(t, ch, func(e event) bool { return e.name == "log" && strings.Contains(e.data, "no end") })
	await(t, ch, stateIs(runs.Finished))
	await(t, ch, func(e event) bool { return e.name == "end" })
	if _, open := <-ch; open {
		t.Error("the stream goes on after its end")
	}

	// A reader that lost the connection goes on where it was: nothing twice, nothing missing.
	var text, states string
	for e := range s.events(b, path, first.id) {
		var v struct{ Text, State string }
		must(t, json.Unmarshal([]byte(e.data), &v))
		text, states = text+v.Text, states+v.State+" "
	}
	if text != "half a line\nno end" || strings.TrimSpace(states) != "finished" {
		t.Errorf("resumed: %q, states %q", text, states)
	}
	if n := len(collect(s.events(b, path, rest.id))); n != 2 {
		t.Errorf("resumed at the end of the log: %d events, want the last state and the end", n)
	}
	if all := collect(s.events(b, path, "nonsense")); len(all) < 7 {
		t.Errorf("a foreign id: %d events, want all", len(all))
	}
}

func collect(ch <-chan event) []event {
	var all []event
	for e := range ch {
		all = append(all, e)
	}
	return all
}

func TestEventsOfAnUnknownRun(t *testing.T) {
	s := newSite(t)
	s.problemOf(404, get, "/runs/nothing/events", "")
	if got := s.get(s.signedIn(store.Reader), "/runs/nothing/live"); got.status != 404 {
		t.Errorf("status %d", got.status)
	}
}

func TestLivePage(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	s.apply(r.ID, runs.Claimed{Meta: now()}, runs.PhaseStarted{Meta: now(), State: runs.Initializing})
	s.writeLog(r.ID, runs.Initializing, "shown on the page\n")
	b := s.signedIn(store.Writer)
	page := s.get(b, "/runs/"+r.ID).body
	if !strings.Contains(page, "shown on the page") {
		t.Fatal("the page does not hold the log so far")
	}
	_, rest, _ := strings.Cut(page, `data-live="`)
	live, _, _ := strings.Cut(rest, `"`)
	ch := s.events(b, strings.ReplaceAll(live, "&amp;", "&"), "")

	s.writeLog(r.ID, runs.Initializing, "came \x1b[31mlater\x1b[0m <b>\n")
	log := await(t, ch, func(e event) bool { return e.name == "log" })
	var piece lines
	must(t, json.Unmarshal([]byte(log.data), &piece))
	if !strings.Contains(piece.HTML, `id="initializing-L2"`) || strings.Contains(piece.HTML, "shown") || strings.Contains(piece.HTML, "<b>") || piece.Phase != runs.Initializing {
		t.Errorf("piece: %+v", piece)
	}
	s.apply(r.ID, runs.PhaseStarted{Meta: now(), State: runs.Planning}, runs.Planned{Meta: now(), Delta: runs.Delta{Add: 1}, Fingerprint: "f"})
	plan := await(t, ch, func(e event) bool { return e.name == "fragment" && strings.Contains(e.data, "/confirm") })
	var f fragment
	must(t, json.Unmarshal([]byte(plan.data), &f))
	if f.ID != "run-plan" || !strings.Contains(f.HTML, `id="run-plan"`) {
		t.Errorf("fragment %s: %.200s", f.ID, f.HTML)
	}
	s.apply(r.ID, runs.Discard{Meta: now()})
	await(t, ch, func(e event) bool { return e.name == "fragment" && strings.Contains(e.data, "discarded") })
	end := await(t, ch, func(e event) bool { return e.name == "end" })
	if again := collect(s.events(b, "/runs/"+r.ID+"/live", end.id)); len(again) != 1 {
		t.Errorf("a reader that has seen all gets %d events, want the end only", len(again))
	}
}

// TestLiveFollowsWhatBlocks: a queued run's page learns that its blocker is gone, though its own row did not change.
func TestLiveFollowsWhatBlocks(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	first, second := s.request("a", runs.Tracked, "c1"), s.request("a", runs.Tracked, "c2")
	ch := s.events(s.signedIn(store.Reader), "/runs/"+second.ID+"/live", "")
	await(t, ch, func(e event) bool { return e.name == "fragment" && strings.Contains(e.data, first.ID) })
	s.apply(first.ID, runs.Discard{Meta: now()})
	await(t, ch, func(e event) bool {
		return e.name == "fragment" && strings.Contains(e.data, `"run-plan"`) && !strings.Contains(e.data, first.ID)
	})
}

// TestStreamsOutliveTheReadTimeout: a server's time-out for reading requests must not end a stream.
func TestStreamsOutliveTheReadTimeout(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	s.srv = httptest.NewUnstartedServer(s.web.Handler())
	s.srv.Config.ReadTimeout, s.srv.Config.ReadHeaderTimeout = 50*time.Millisecond, 2*time.Minute
	s.srv.Start()
	t.Cleanup(s.srv.Close)
	ch := s.events(s.signedIn(store.Reader), "/runs/"+r.ID+"/live", "")
	await(t, ch, func(e event) bool { return e.name == "fragment" })
	<-time.After(300 * time.Millisecond) // the time that must pass is the test
	s.apply(r.ID, runs.Discard{Meta: now()})
	await(t, ch, func(e event) bool { return e.name == "end" })
}

func TestCloseEndsStreams(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	ch := s.events(s.signedIn(store.Reader), "/runs/"+r.ID+"/live", "")
	await(t, ch, func(e event) bool { return e.name == "fragment" })
	s.web.Close()
	s.web.Close()
	collect(ch) // returns only when the stream ended
	if n := len(s.web.hub.watchers); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
}

func TestPlaces(t *testing.T) {
	p := newPlace()
	p.transitions, p.key = 4, "abc123"
	p.offsets[runs.Planning], p.lines[runs.Planning] = 4711, 80
	p.offsets[runs.Applying], p.lines[runs.Applying] = 5, 1
	if got := readPlace(p.String()); got.String() != p.String() {
		t.Errorf("%s became %s", p, got)
	}
	for _, bad := range []string{"", "x", "-1", "1-.planning", "1-.planning-x-y", "1-.planning--5-0", strings.Repeat("9", 50)} {
		if got := readPlace(bad); got.offsets[runs.Planning] != 0 {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestLogTails(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	var b strings.Builder
	n := 0
	for b.Len() < 3*tailBytes {
		n++
		fmt.Fprintf(&b, "this is line %d of a long log\n", n)
	}
	s.writeLog(r.ID, runs.Planning, b.String()+"not yet whole")
	at := newPlace()
	logs, err := s.web.logTails(r, &at)
	must(t, err)
	l := logs[0]
	if len(l.Text) > tailBytes || !strings.HasPrefix(string(l.Text), fmt.Sprintf("this is line %d of", l.FirstLine)) || !strings.HasSuffix(string(l.Text), fmt.Sprintf("line %d of a long log\n", n)) {
		t.Errorf("first line %d: %.60q … %.60q", l.FirstLine, l.Text, l.Text[len(l.Text)-60:])
	}
	if l.CutBytes+int64(len(l.Text)) != int64(b.Len()) || at.offsets[runs.Planning] != int64(b.Len()) || at.lines[runs.Planning] != n {
		t.Errorf("cut %d, text %d, place %s", l.CutBytes, len(l.Text), at)
	}
}

func TestErrorText(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	s.apply(r.ID, runs.Claimed{Meta: now()}, runs.PhaseStarted{Meta: now(), State: runs.Initializing}, runs.PhaseStarted{Meta: now(), State: runs.Planning})
	s.writeLog(r.ID, runs.Planning, "Planning…\n\x1b[31m╷\x1b[0m\n\x1b[31m│\x1b[0m \x1b[1mError: Unsupported argument\x1b[0m\n│ \n│   on main.tf line 3:\n╵\n")
	s.apply(r.ID, runs.Fail{Meta: runs.Meta{At: time.Now(), Note: "Unsupported argument"}})
	page := s.get(s.signedIn(store.Reader), "/runs/"+r.ID).body
	if !strings.Contains(page, "Error: Unsupported argument\n") || !strings.Contains(page, "  on main.tf line 3:</pre>") {
		i := strings.Index(page, "Unsupported argument")
		t.Errorf("the page does not quote the error: %s", page[max(0, i-200):i+300])
	}
}

// TestBannersAreLive: a page that is open, a list or a run's, shows that the token died meanwhile, and that it works again.
func TestBannersAreLive(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	b := s.signedIn(store.Admin)
	list := s.watch(b, "/runs", nil)
	run := &watcher{s, "", s.events(b, liveOf(t, s.get(b, "/runs/"+r.ID).body), "")}
	token := func(active bool, trouble string) {
		s.update(func(tx *store.Tx) error {
			in, _, err := tx.Integration()
			in.Health.Active, in.Health.Trouble = active, trouble
			return errors.Join(err, tx.PutIntegration(in))
		})
	}
	token(false, "It was revoked.")
	for _, w := range []*watcher{list, run} {
		w.sees("banners", saying("GitLab does not work with the token. It was revoked."))
	}
	token(true, "")
	for _, w := range []*watcher{list, run} {
		w.sees("banners", func(m moved) bool { return !strings.Contains(m.HTML, "revoked") })
	}
}

// TestLifetimesDiffer: streams that were opened together end one after the other, and none lives longer than rights may be old.
func TestLifetimesDiffer(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		d := lifetime()
		if d > streamLife || d < streamLife*2/3 {
			t.Fatalf("a stream lives %s", d)
		}
		seen[d.Truncate(time.Minute)] = true
	}
	if len(seen) < 5 {
		t.Errorf("100 streams end in %d minutes", len(seen))
	}
}
