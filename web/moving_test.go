package web

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A watcher is a page that somebody has open, as live.js has it.
type watcher struct {
	s    *site
	page string
	ch   <-chan event
}

// watch opens a page and the stream that its address names, with the rows it shows.
func (s *site) watch(b *http.Client, path string, shown map[string][]string) *watcher {
	s.t.Helper()
	page := s.get(b, path).body
	u := mustURL(s.t, liveOf(s.t, page))
	q := u.Query()
	for list, keys := range shown {
		q.Set(paramShown+list, strings.Join(keys, keySplit))
	}
	u.RawQuery = q.Encode()
	return &watcher{s, page, s.events(b, u.String(), "")}
}

func liveOf(t *testing.T, page string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `data-live="`)
	address, _, _ := strings.Cut(rest, `"`)
	if !ok || !strings.Contains(page, "live.") {
		t.Fatalf("the page does not change by itself: %.300s", page)
	}
	return html.UnescapeString(address)
}

// sees waits for a part of the page that fits, and returns it.
func (w *watcher) sees(id string, fits func(moved) bool) moved {
	w.s.t.Helper()
	var m moved
	await(w.s.t, w.ch, func(e event) bool {
		if e.name != "fragment" {
			return false
		}
		m = moved{}
		must(w.s.t, json.Unmarshal([]byte(e.data), &m))
		return m.ID == id && fits(m)
	})
	return m
}

func saying(texts ...string) func(moved) bool {
	return func(m moved) bool {
		return !slices.ContainsFunc(texts, func(x string) bool { return !strings.Contains(m.HTML, x) })
	}
}

// inOrder reports whether the texts stand in the part one after the other.
func inOrder(text string, list ...string) bool {
	for _, x := range list {
		i := strings.Index(text, x)
		if i < 0 {
			return false
		}
		text = text[i+len(x):]
	}
	return true
}

func key(r runs.Run) string { return `data-key="` + r.ID + `"` }

// TestListsMoveInPlace: rows of a list change where they stand, also when they do not belong to it any more; new runs are counted
// and push nothing away; a reader who comes back to the page gets it as it is.
func TestListsMoveInPlace(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	s.stack("b")
	first, second := s.request("a", runs.Proposed, "c1"), s.request("b", runs.Tracked, "c2")
	b := s.signedIn(store.Reader)
	shown := map[string][]string{"runs": {second.ID, first.ID}}
	plain := s.watch(b, "/runs", shown)
	w := s.watch(b, "/runs?state=queued", shown)
	s.planned(second.ID)
	got := w.sees("rows", saying("waits for confirmation"))
	if !got.Held || !inOrder(got.HTML, key(second), key(first)) {
		t.Errorf("held %t: %s", got.Held, got.HTML)
	}
	plain.sees("rows", saying("waits for confirmation"))
	third := s.request("b", runs.Proposed, "c3")
	if got := w.sees("new", saying("1 new run")); !strings.Contains(got.HTML, `href="/runs?state=queued"`) {
		t.Errorf("new: %s", got.HTML)
	}
	old := mustURL(t, liveOf(t, w.page))
	q := old.Query()
	q.Set(paramFresh, "1")
	old.RawQuery = q.Encode()
	back := &watcher{s, w.page, s.events(b, old.String(), "")}
	if got := back.sees("rows", saying(key(third))); got.Held || strings.Contains(got.HTML, key(second)) {
		t.Errorf("a page that is come back to: held %t, %s", got.Held, got.HTML)
	}
}

// TestStartPageMoves: a run that somebody watches stays in its row from the queue to the end, what waits is said aloud once, and
// the counts beside the places follow.
func TestStartPageMoves(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	w := s.watch(s.signedIn(store.Reader), "/", map[string][]string{"work": {r.ID}})
	if strings.Contains(w.page, "waits for confirmation") {
		t.Fatal("it waits already")
	}
	s.planned(r.ID)
	got := w.sees("start", saying(`data-rows="needs"`, `data-rows="work"`))
	if !inOrder(got.HTML, `data-rows="needs"`, key(r), "Review", `data-rows="work"`, key(r), "waits for confirmation") {
		t.Errorf("start page: %s", got.HTML)
	}
	said := await(t, w.ch, func(e event) bool { return e.name == "say" })
	if said.data != `{"text":"a waits for confirmation"}` {
		t.Errorf("said: %s", said.data)
	}
	s.stack("b")
	late := s.planned(s.request("b", runs.Tracked, "c2").ID)
	got = w.sees("start", saying("1 more waits"))
	if said := await(t, w.ch, func(e event) bool { return e.name == "say" }); said.data != `{"text":"b waits for confirmation"}` || !inOrder(got.HTML, `data-rows="needs"`, key(r), `data-rows="work"`) {
		t.Errorf("said %s, start page: %s", said.data, got.HTML)
	}
	s.apply(late.ID, runs.Discard{Meta: now()})
	s.apply(r.ID, runs.Discard{Meta: now()})
	w.sees("places", func(m moved) bool { return !strings.Contains(m.HTML, "waits") })
	got = w.sees("start", saying("over", "discarded"))
	if !strings.Contains(got.HTML, `<span class="count">0</span>`) {
		t.Errorf("after the no: %s", got.HTML)
	}
}

// TestNothingIsSentForNothing: a commit that changes nothing on the page sends nothing, and many at once send one thing.
func TestNothingIsSentForNothing(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	s.stack("b")
	r := s.request("b", runs.Proposed, "c0")
	b := s.signedIn(store.Reader)
	w := s.watch(b, "/stacks/b", map[string][]string{"runs": {r.ID}})
	for i := range 50 {
		s.request("a", runs.Proposed, fmt.Sprintf("c%d", i))
	}
	s.apply(r.ID, runs.Claimed{Meta: now()})
	w.sees("rows", saying("preparing"))
	s.web.Close()
	var rest []string
	for e := range w.ch {
		rest = append(rest, e.name+" "+e.data)
	}
	if len(rest) > 0 {
		t.Errorf("%d more events: %.2000s", len(rest), rest)
	}
}

// TestALookIsNotMadeTooOften: between two looks is a second, and more when a look takes long.
func TestALookIsNotMadeTooOften(t *testing.T) {
	s := newSite(t)
	at := time.Now()
	for _, tc := range []struct {
		age, rest time.Duration
		grows     bool
		behind    uint64
		want      bool
	}{
		{500 * time.Millisecond, 0, true, 1, false},
		{1100 * time.Millisecond, 0, false, 1, true},
		{1100 * time.Millisecond, 0, false, 0, false},
		{1100 * time.Millisecond, 5 * time.Second, true, 1, false},
		{2100 * time.Millisecond, 0, true, 0, true},
		{lookIdle + time.Second, 0, false, 0, true},
		{lookIdle + time.Second, time.Minute, true, 1, false},
	} {
		l := &watched{s: s.web, looked: at.Add(-tc.age), rest: tc.rest, grows: tc.grows, gen: s.web.hub.generation() - tc.behind}
		if l.due() != tc.want {
			t.Errorf("%+v: due %t", tc, !tc.want)
		}
	}
}

// TestStreamsEndWithTheRight: who signs out, or is closed out, is told so where the page asks again.
func TestStreamsEndWithTheRight(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	b := s.signedIn(store.Reader)
	live := liveOf(t, s.get(b, "/runs").body)
	asks := func(c *http.Client) answer {
		req, err := http.NewRequestWithContext(t.Context(), get, s.srv.URL+live, nil)
		must(t, err)
		req.Header.Set("Accept", "text/event-stream")
		return s.do(c, req)
	}
	if got := asks(s.browser()); got.status != 401 || !strings.Contains(got.header.Get("Content-Type"), "problem+json") {
		t.Errorf("nobody: status %d %s", got.status, got.header)
	}
	who := "reader"
	for range mostStreams {
		leave, err := s.web.hub.enter(who)
		must(t, err)
		defer leave()
	}
	if _, err := s.web.hub.enter(who); statusOf(err) != 409 {
		t.Errorf("one stream too many: %v", err)
	}
	if leave, err := s.web.hub.enter("another"); err != nil {
		t.Error(err)
	} else {
		leave()
	}
	if n := len(s.web.hub.streams); n != 1 {
		t.Errorf("%d readers are counted", n)
	}
	head, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.srv.URL+live, nil)
	must(t, err)
	head.Header.Set("Accept", "text/event-stream")
	if got := s.do(b, head); got.status != 200 || strings.Contains(got.header.Get("Content-Type"), "event-stream") {
		t.Errorf("HEAD: %d %v", got.status, got.header)
	}
}

// TestForeignMarks: what a reader says to have is believed only when it is ours, and rows named by somebody who may not see them
// are not shown.
func TestForeignMarks(t *testing.T) {
	for _, bad := range []string{"", "x", "a-b-c", "a--", "a-1", strings.Repeat("9", 40)} {
		if h := newHub(); readMark(bad).moment == h.moment(0) {
			t.Errorf("%q is taken for ours", bad)
		}
	}
	m := mark{"k2", []string{"aa", "bb"}}
	if got := readMark(m.String()); got.String() != m.String() {
		t.Errorf("%v became %v", m, got)
	}
	q := url.Values{"shown-runs": {"a*b"}, "shown-": {"x"}, "shown-work": {""}, "q": {"z"}, "shown-many": {strings.Repeat("k*", 1000)}}
	sh := readShown(q)
	if !slices.Equal(sh["runs"], []string{"a", "b"}) || len(sh["many"]) != mostShown || len(sh["work"]) != 0 || len(sh) != 3 {
		t.Errorf("shown: %v", sh)
	}
	if got := address(mustURL(t, "/runs?q=z&at=1&after=x&fresh=1&shown-runs=a"), ownQuery(mustURL(t, "/runs?q=z&at=1&after=x&fresh=1&shown-runs=a"))); got != "/runs?q=z" {
		t.Errorf("own address %s", got)
	}
}

// TestRefill: a row that is over keeps its place long enough to be read, and is then given to a new one.
func TestRefill(t *testing.T) {
	at := time.Now()
	old := func(id string, ago time.Duration) runs.Run {
		return runs.Run{ID: id, Transitions: []runs.Transition{{State: runs.Finished, At: at.Add(-ago)}}}
	}
	held := []runs.Run{old("1", time.Hour), old("2", time.Second), old("3", time.Hour), old("4", time.Hour)}
	over := func(r runs.Run) bool { return r.ID != "4" }
	list, rest := refill(held, []runs.Run{{ID: "5"}, {ID: "6"}, {ID: "7"}}, over, at)
	if !slices.Equal(idsOf(list), []string{"5", "2", "6", "4"}) || !slices.Equal(idsOf(rest), []string{"7"}) {
		t.Errorf("list %v, rest %v", idsOf(list), idsOf(rest))
	}
	if held[0].ID != "1" {
		t.Error("the list it was made of has changed")
	}
	if got := trim(held[:3], over, at); !slices.Equal(idsOf(got), []string{"1", "2"}) {
		t.Errorf("trimmed: %v", idsOf(got))
	}
}

// TestStreamsFollowRights: rows named by somebody who may not see them are not sent, and those of a project that GitLab does not let
// a person read any more go from the pages that are open.
func TestStreamsFollowRights(t *testing.T) {
	g := newGuild(t)
	shown := map[string][]string{"runs": {g.waiting.ID}}
	all := g.events(g.people["none"], "/runs?"+url.Values{paramShown + "runs": shown["runs"]}.Encode(), "") // without a mark: everything is sent
	none := &watcher{g.site, "", all}
	if got := none.sees("rows", func(moved) bool { return true }); strings.Contains(got.HTML, g.waiting.ID) {
		t.Errorf("a stranger names a row and gets it: %s", got.HTML)
	}
	w := g.watch(g.people["reporter"], "/runs", shown)
	if !strings.Contains(w.page, key(g.waiting)) {
		t.Fatal("a Reporter does not see the run")
	}
	g.web.asked.put(askedKey{g.ids["reporter"], g.f.project.ID}, 0)
	g.request("a", runs.Proposed, "c9")
	w.sees("rows", func(m moved) bool { return !strings.Contains(m.HTML, g.waiting.ID) })
}
