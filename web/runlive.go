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

// keyOf names what the live parts of a run page show: the same key, the same parts, but for the time that passes.
func keyOf(p view.Page, m view.RunModel) string {
	raw, err := json.Marshal([]any{p.NeedCount, p.InboxCount, p.Banners, m.Run, m.Waiting, m.Blocker, m.Newer, m.Locked, m.Progress, m.Confirm, m.StackGone, m.Changed})
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

	frame view.Page // as it was when all was known that it counts

	looked time.Time // at everything but the logs
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
	p, err := l.page(m.Run)
	if err != nil {
		return false, err
	}
	if key := keyOf(p, m); key != l.at.key {
		l.at.key, l.at.transitions = key, len(m.Run.Transitions)
		if err := l.fragments(p, m); err != nil {
			return false, err
		}
	}
	if !m.Run.State.Terminal() || !r.State.Terminal() {
		return false, nil
	}
	return true, l.st.send("end", l.at.String(), struct{}{})
}

// page is the frame around the run. Nobody waits for GitLab to count what somebody may see: until that is known the counts stay.
func (l *liveRun) page(r runs.Run) (view.Page, error) {
	l.c.waitUntil, l.c.unknown = time.Now(), 0
	p, err := l.s.runPage(l.c, r)
	if err == nil && l.c.unknown == 0 {
		l.frame = p
	} else if l.frame.Title != "" {
		p.NeedCount, p.InboxCount, p.Banners = l.frame.NeedCount, l.frame.InboxCount, l.frame.Banners
	}
	return p, err
}

// fragments sends the parts that differ from what was sent last.
func (l *liveRun) fragments(p view.Page, m view.RunModel) (err error) {
	if m.Logs, err = l.s.logHeads(m.Run); err != nil {
		return err
	}
	m.ErrorText = errorText(m)
	if err := l.s.fillChanges(&m); err != nil {
		return err
	}
	parts := map[string]templ.Component{
		"places": view.Places(p), "banners": view.Banners(p),
		"run-head": view.RunHead(p, m), "run-plan": view.RunPlan(p, m), "run-timeline": view.RunTimeline(p, m), "run-details": view.RunDetails(p, m),
	}
	order := []string{"places", "banners", "run-head", "run-plan", "run-timeline", "run-details"}
	for _, phase := range logPhases {
		id := "log-head-" + string(phase)
		parts[id] = view.LogHead(p, m, string(phase))
		order = append(order, id)
	}
	for _, id := range order {
		var buf bytes.Buffer
		if err := parts[id].Render(l.c.Request().Context(), &buf); err != nil {
			return err
		}
		if l.sent[id] == buf.String() {
			continue
		}
		l.sent[id] = buf.String()
		if err := l.st.send("fragment", l.at.String(), fragment{id, buf.String()}); err != nil {
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
