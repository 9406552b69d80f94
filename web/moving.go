package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"groundcrew/web/view"
)

// Pages that change by themselves. Their own address, asked for as text/event-stream, sends the parts that change: so who may see
// them, filters and pages of lists hold there as they do on the page. A page is looked at only while somebody watches it, when
// something was stored, and for what no commit tells (GitLab's word on who may see what, the hour) every lookIdle.
const (
	lookAgain = time.Second // at the earliest
	lookGrows = 2 * time.Second
	lookIdle  = 10 * time.Second
	lookRest  = 20 // times as long as the last look took, at least, so that one reader takes a twentieth of a core at most
)

// A builder finds what a page shows now.
type builder func(*request) (view.Page, view.Moving, error)

// moving answers with the page, or with the events that change it.
func (s *Server) moving(c *request, build builder) error {
	if wantsEvents(c.Request()) {
		return s.followPage(c, build)
	}
	at := mark{moment: s.hub.moment(s.hub.generation())}
	p, m, err := build(c)
	if err != nil {
		return err
	}
	p.Now, p.Here = p.Now.Truncate(time.Millisecond), address(c.Request().URL, ownQuery(c.Request().URL)) // as liveAddress says it
	parts, err := rendered(c, p, m)
	if err != nil {
		return err
	}
	at.sums = sumsOf(parts)
	p.Live = liveAddress(c.Request().URL, p.Now, at)
	return render(c, http.StatusOK, m.Whole(p))
}

// wantsEvents reports whether a page is asked for as a browser's EventSource does it.
func wantsEvents(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream")
}

// The parameters of a page's stream beside the page's own.
const (
	paramAt    = "at"     // the page's clock, ms: with the same one the same rows are the same bytes
	paramAfter = "after"  // the mark of what the reader has
	paramFresh = "fresh"  // the reader comes back to the page, so that its rows need not stay where they were
	paramShown = "shown-" // and the name of a list: the keys of its rows, with keySplit between them
	keySplit   = "*"
)

// ownQuery is what of an address asks for the page, its stream's parameters left out.
func ownQuery(u *url.URL) url.Values {
	q := u.Query()
	for name := range q {
		if name == paramAt || name == paramAfter || name == paramFresh || strings.HasPrefix(name, paramShown) {
			q.Del(name)
		}
	}
	return q
}

func address(u *url.URL, q url.Values) string {
	if len(q) == 0 {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + q.Encode()
}

func liveAddress(page *url.URL, now time.Time, at mark) string {
	q := ownQuery(page)
	q.Set(paramAt, strconv.FormatInt(now.UnixMilli(), 10))
	q.Set(paramAfter, at.String())
	return address(page, q)
}

// A mark is what a reader has: each part by its sum, and the moment it was made, as [hub.moment] names it.
type mark struct {
	moment string
	sums   []string
}

func (m mark) String() string { return m.moment + "-" + strings.Join(m.sums, ".") }

// readMark reads a mark. One that is not ours fits nothing, so all is sent.
func readMark(text string) mark {
	moment, sums, _ := strings.Cut(text, "-")
	return mark{moment, strings.Split(sums, ".")}
}

// A part is a rendered piece of a page.
type part struct{ id, html, sum string }

func rendered(c *request, p view.Page, m view.Moving) ([]part, error) {
	out := []part{{id: "places"}, {id: "banners"}}
	bodies := []templ.Component{view.Places(p), view.Banners(p)}
	for _, x := range m.Parts(p) {
		out, bodies = append(out, part{id: x.ID}), append(bodies, x.Body)
	}
	for i, body := range bodies {
		var buf bytes.Buffer
		if err := body.Render(c.Request().Context(), &buf); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(buf.Bytes())
		out[i].html, out[i].sum = buf.String(), hex.EncodeToString(sum[:6])
	}
	return out, nil
}

func sumsOf(parts []part) (out []string) {
	for _, p := range parts {
		out = append(out, p.sum)
	}
	return out
}

// A moved event replaces the part of the page with its id. Held says that rows keep their places: one that is missing leaves a gap.
type moved struct {
	fragment
	Held bool `json:"held"`
}

// A watched page belongs to the goroutine of its request.
type watched struct {
	s     *Server
	c     *request
	build builder
	st    *stream
	now   time.Time // the page's
	at    mark

	gen    uint64 // commits before the last look
	looked time.Time
	rest   time.Duration // until the next look, at least
	grows  bool
	held   bool            // rows keep their places
	needs  map[string]bool // what was said, or stood there when the page was opened
}

func (s *Server) followPage(c *request, build builder) error {
	l := &watched{s: s, c: c, build: build, now: time.Now().UTC(), at: readMark(c.QueryParam(paramAfter)), held: c.QueryParam(paramFresh) == "", needs: map[string]bool{}}
	if ms, err := strconv.ParseInt(c.QueryParam(paramAt), 10, 64); err == nil {
		l.now = time.UnixMilli(ms).UTC()
	}
	c.shown = readShown(c.QueryParams())
	for _, id := range c.shown["needs"] {
		l.needs[id] = true
	}
	if gen := s.hub.generation(); l.held && l.at.moment == s.hub.moment(gen) {
		l.looked, l.gen = time.Now(), gen // nothing was stored since
	} else {
		l.gen = gen - 1
	}
	var err error
	if l.st, err = s.openStream(c); err != nil {
		return err
	}
	defer l.st.close()
	return s.follow(l.st, l.look)
}

// due reports whether it is time to look: not before the last look has rested, and then only for a reason.
func (l *watched) due() bool {
	age := time.Since(l.looked)
	switch {
	case age < max(l.rest, lookAgain):
		return false
	case l.grows && age >= lookGrows:
		return true
	default:
		return age >= lookIdle || l.s.hub.generation() != l.gen
	}
}

// look sends the parts that are not what the reader has.
func (l *watched) look(bool) (end bool, err error) {
	if !l.due() || !l.s.turn(l.c, heartbeat/2) {
		return false, nil
	}
	gen := l.s.hub.generation()
	parts, m, err := l.render()
	if err != nil || l.c.unknown > 0 {
		return false, err // what GitLab was not asked about yet is not taken away: the next look knows it
	}
	was, held := l.at.sums, l.held
	l.held = true
	l.gen, l.at = gen, mark{l.s.hub.moment(gen), sumsOf(parts)}
	for i, p := range parts {
		if i < len(was) && was[i] == p.sum {
			continue
		}
		if err := l.st.send("fragment", l.at.String(), moved{fragment{p.id, p.html}, held}); err != nil {
			return false, err
		}
	}
	return false, l.say(m.Needs, !held)
}

// turn waits for a reader's turn to look, which who looks ends by taking a value out of turns. Without one the stream goes on, and
// looks again later: it may have ended, or its heartbeat is due.
func (s *Server) turn(c *request, atMost time.Duration) bool {
	late := time.NewTimer(atMost)
	defer late.Stop()
	select {
	case s.turns <- struct{}{}:
		return true
	case <-late.C:
	case <-s.done:
	case <-c.Request().Context().Done():
	}
	return false
}

// render makes the page anew. Readers take turns, so that all of them together never cost more than one core, and none waits
// meanwhile for GitLab.
func (l *watched) render() (parts []part, m view.Moving, err error) {
	defer func() { <-l.s.turns }()
	begin := time.Now()
	defer func() {
		l.looked = time.Now()
		l.rest = lookRest * l.looked.Sub(begin)
	}()
	l.c.waitUntil, l.c.unknown = begin, 0
	p, m, err := l.build(l.c)
	if err != nil {
		return nil, m, err
	}
	p.Now, p.Here, l.grows = l.now, address(l.c.Request().URL, ownQuery(l.c.Request().URL)), m.Grows
	parts, err = rendered(l.c, p, m)
	return parts, m, err
}

// mostSaid is how many runs are called by name at once.
const mostSaid = 3

// say tells who does not see the page which runs have begun to need a person; quiet only remembers them.
func (l *watched) say(needs map[string]string, quiet bool) error {
	var texts []string
	for id, text := range needs {
		if !l.needs[id] {
			texts = append(texts, text)
		}
		l.needs[id] = true
	}
	if quiet || len(texts) == 0 {
		return nil
	}
	slices.Sort(texts)
	text := strings.Join(texts, ", ")
	if len(texts) > mostSaid {
		text = view.Count(len(texts), "more run needs you", "more runs need you")
	}
	return l.st.send("say", l.at.String(), struct {
		Text string `json:"text"`
	}{text})
}
