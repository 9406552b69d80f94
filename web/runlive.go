package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/a-h/templ"

	"groundcrew/runs"
	"groundcrew/web/view"
)

// runKey names what the live parts of a run page show of the run: the same key, the same parts, but for the time that passes.
func runKey(m view.RunModel) string {
	return keyOf(m.Run, m.Waiting, m.Blocker, m.Newer, m.Locked, m.Progress, m.Confirm, m.StackGone, m.Changed)
}

// frameKey names what the frame around a page shows, which changes by what happens anywhere.
func frameKey(p view.Page) string { return keyOf(p.NeedCount, p.InboxCount, p.Banners) }

func keyOf(shown ...any) string {
	raw, err := json.Marshal(shown)
	if err != nil {
		return "" // strings, numbers and times always marshal
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:6])
}

// A fragment replaces the part of the page with its id.
type fragment struct {
	ID   string `json:"id"`
	HTML string `json:"html"`
}

// A lines event is appended to a phase's log in the page.
type lines struct {
	Phase  runs.State `json:"phase"`
	HTML   string     `json:"html"`
	Offset int64      `json:"offset"` // behind the last byte shown
}

// getLive streams the parts of the run page that change, as package view's doc.go describes it.
func (s *Server) getLive(c *request) error {
	id := c.Param("id")
	r, err := s.run(id)
	if err != nil {
		return err
	}
	after := c.Request().Header.Get("Last-Event-ID")
	if after == "" {
		after = c.QueryParam("after")
	}
	l := &liveRun{s: s, c: c, id: r.ID, at: readPlace(after), pens: map[runs.State]view.Pen{}, sent: map[string]string{}}
	if l.st, err = s.openStream(c); err != nil {
		return err
	}
	defer l.st.close()
	return s.follow(l.st, l.look)
}

// modelEvery is how often a page is compared though no run changed: for the progress of an apply, a lock, a newer commit.
const modelEvery = 2 * time.Second

// How long a run page waits for its turn to make its frame: while it is followed its logs go on instead, and the next look tries
// again; the last frame is waited for.
const (
	frameTurn = time.Second
	lastTurn  = heartbeat / 2
)

// pageBehind is how far a page may be behind a log that grows faster than anybody reads before it is taken to the end.
const pageBehind = 1 << 20

// A liveRun is one watched run page. It belongs to the goroutine of its request.
type liveRun struct {
	s    *Server
	c    *request
	st   *stream
	id   string
	at   place
	pens map[runs.State]view.Pen
	sent map[string]string // fragments as they were sent last

	looked time.Time // at everything but the logs and the frame

	gen    uint64 // commits before the frame was made last
	framed time.Time
	rest   time.Duration // until the next frame, at least
}

// look sends what changed since it looked last.
func (l *liveRun) look(changed bool) (end bool, err error) {
	r, err := l.s.run(l.id) // before the logs: what a run that has ended printed is all there
	if err != nil {
		return false, err
	}
	err = l.s.readLogs(r, &l.at, pageBehind, func(g piece) error {
		html, pen := view.LogLines(string(g.phase), g.text, g.line, l.pens[g.phase])
		l.pens[g.phase] = pen
		if g.skipped > 0 {
			html = view.LogGap(g.skipped, g.line) + html
		}
		return l.st.send("log", l.at.String(), lines{g.phase, html, l.at.offsets[g.phase]})
	})
	if err != nil {
		return false, err
	}
	if !changed && !r.State.Terminal() && time.Since(l.looked) < modelEvery {
		return false, nil
	}
	l.looked = time.Now()
	m, err := l.s.runModel(l.c, r)
	if err != nil {
		return false, err
	}
	if key := runKey(m); key != l.at.key {
		l.at.key, l.at.transitions = key, len(m.Run.Transitions)
		if err := l.fragments(m); err != nil {
			return false, err
		}
	}
	return l.lookAround(m.Run, m.Run.State.Terminal() && r.State.Terminal())
}

// lookAround sends the frame when it is time to, and always before the end, which comes once it was made.
func (l *liveRun) lookAround(r runs.Run, last bool) (end bool, err error) {
	wait := frameTurn
	if last {
		wait = lastTurn
	}
	if !last && !l.frameDue() || !l.s.turn(l.c, wait) {
		return false, nil
	}
	if err := l.showFrame(r); err != nil || !last {
		return false, err
	}
	return true, l.st.send("end", l.at.String(), struct{}{})
}

// frameDue reports whether it is time to make the frame, as [watched.due] does it for a page.
func (l *liveRun) frameDue() bool {
	age := time.Since(l.framed)
	return age >= max(l.rest, modelEvery) && (age >= lookIdle || l.s.hub.generation() != l.gen)
}

// showFrame ends the turn and sends what changed around the run. Nobody waits for GitLab to count what somebody may see: until that
// is known, what the reader has stays.
func (l *liveRun) showFrame(r runs.Run) error {
	gen := l.s.hub.generation()
	p, err := l.makeFrame(r)
	if err != nil || l.c.unknown > 0 {
		return err
	}
	l.gen = gen
	key := frameKey(p)
	if key == l.at.frame {
		return nil
	}
	l.at.frame = key
	return l.send([]namedPart{{"places", view.Places(p)}, {"banners", view.Banners(p)}})
}

func (l *liveRun) makeFrame(r runs.Run) (view.Page, error) {
	defer func() { <-l.s.turns }()
	begin := time.Now()
	l.c.waitUntil, l.c.unknown = begin, 0
	p, err := l.s.runPage(l.c, r)
	l.framed = time.Now()
	l.rest = lookRest * l.framed.Sub(begin)
	return p, err
}

// A namedPart is a part of the page, with the id it has there.
type namedPart struct {
	id   string
	body templ.Component
}

// fragments sends the parts about the run that differ from what was sent last.
func (l *liveRun) fragments(m view.RunModel) (err error) {
	if m.Logs, err = l.s.logHeads(m.Run); err != nil {
		return err
	}
	m.ErrorText = errorText(m)
	if err := l.s.fillChanges(&m); err != nil {
		return err
	}
	p := view.Page{Now: time.Now().UTC()}
	parts := []namedPart{{"run-head", view.RunHead(p, m)}, {"run-plan", view.RunPlan(p, m)}, {"run-timeline", view.RunTimeline(p, m)}, {"run-details", view.RunDetails(p, m)}}
	for _, phase := range logPhases {
		parts = append(parts, namedPart{"log-head-" + string(phase), view.LogHead(p, m, string(phase))})
	}
	return l.send(parts)
}

func (l *liveRun) send(parts []namedPart) error {
	for _, part := range parts {
		var buf bytes.Buffer
		if err := part.body.Render(l.c.Request().Context(), &buf); err != nil {
			return err
		}
		if l.sent[part.id] == buf.String() {
			continue
		}
		l.sent[part.id] = buf.String()
		if err := l.st.send("fragment", l.at.String(), fragment{part.id, buf.String()}); err != nil {
			return err
		}
	}
	return nil
}

// logHeads are the logs for the parts above them; the lines are sent apart.
func (s *Server) logHeads(r runs.Run) ([]view.PhaseLog, error) {
	at := newPlace()
	return s.logTails(r, &at)
}
