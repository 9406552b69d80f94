package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"groundcrew/runs"
	"groundcrew/runs/logs"
)

// The rhythm of a stream. Log files are looked at only while somebody watches.
const (
	logPoll     = 150 * time.Millisecond
	heartbeat   = 15 * time.Second
	streamLife  = 30 * time.Minute // at most: then the reader reconnects, and its rights are asked again
	writeWithin = 20 * time.Second
	pieceBytes  = 64 << 10 // of a log in one event
)

// lifetime is how long a stream lives: pages that were opened together, as after a restart of the server, do not all come back in
// one moment again.
func lifetime() time.Duration { return streamLife - rand.N(streamLife/3) }

// A place is how far a reader got: so many transitions, and so many bytes of each phase's log. It is the id of
// every event, so that a reader that lost the connection goes on exactly where it was.
type place struct {
	transitions int
	key, frame  string // of what the page showed of the run and around it; only the page has them
	offsets     map[runs.State]int64
	lines       map[runs.State]int // lines before the offset; only the page counts them
}

func newPlace() place {
	return place{offsets: map[runs.State]int64{}, lines: map[runs.State]int{}}
}

// String is the form that stands in ids: "3-9f86d081884c-2c26b46b68ff.planning-4711-80".
func (p place) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d-%s", p.transitions, p.key)
	if p.frame != "" {
		b.WriteString("-" + p.frame)
	}
	for _, ph := range logPhases {
		if p.offsets[ph] > 0 {
			fmt.Fprintf(&b, ".%s-%d-%d", ph, p.offsets[ph], p.lines[ph])
		}
	}
	return b.String()
}

// readPlace reads an id. One that is not ours is the beginning.
func readPlace(id string) place {
	p := newPlace()
	head, rest, _ := strings.Cut(id, ".")
	count, keys, _ := strings.Cut(head, "-")
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return newPlace()
	}
	p.transitions = n
	p.key, p.frame, _ = strings.Cut(keys, "-")
	for part := range strings.SplitSeq(rest, ".") {
		f := strings.Split(part, "-")
		if len(f) != 3 {
			continue
		}
		off, err1 := strconv.ParseInt(f[1], 10, 64)
		lines, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && off >= 0 && lines >= 0 {
			p.offsets[runs.State(f[0])], p.lines[runs.State(f[0])] = off, lines
		}
	}
	return p
}

// A stream writes server-sent events.
type stream struct {
	c     *request
	ctl   *http.ResponseController
	gone  bool // the reader left: a write failed
	close func()
}

// openStream sends the headers at once: a reader knows that it is connected before anything happens. Close the stream that it
// returns; with an error there is none.
func (s *Server) openStream(c *request) (*stream, error) {
	leave, err := s.hub.enter(c.who.Name)
	if err != nil {
		return nil, err
	}
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	c.Response().WriteHeader(http.StatusOK)
	st := &stream{c: c, ctl: http.NewResponseController(c.Response()), close: leave}
	_ = st.write(": open\n\n") // a reader that is gone is noted, and followed no further
	return st, nil
}

// send writes one event. An error means that the reader is gone.
func (st *stream) send(event, id string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return st.write(fmt.Sprintf("event: %s\nid: %s\ndata: %s\n\n", event, id, raw))
}

func (st *stream) write(text string) error {
	err := st.ctl.SetWriteDeadline(time.Now().Add(writeWithin))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err = io.WriteString(st.c.Response(), text); err == nil {
		err = st.ctl.Flush()
	}
	st.gone = err != nil
	return err
}

// follow calls look until it reports the end: whenever a run changed, and at the rhythm of the logs.
func (s *Server) follow(st *stream, look func(changed bool) (end bool, err error)) error {
	changed, stop := s.hub.watch()
	defer stop()
	poll, beat, life := time.NewTicker(logPoll), time.NewTicker(heartbeat), time.NewTimer(lifetime())
	defer poll.Stop()
	defer beat.Stop()
	defer life.Stop()
	for change := true; !st.gone; {
		end, err := look(change)
		if err != nil || end {
			return s.streamEnd(st, err)
		}
		change = false
		select {
		case <-changed:
			change = true
		case <-poll.C:
		case <-beat.C:
			if !s.stillMay(st.c) {
				return nil // signed out, or no longer allowed: a reader that comes back is told why
			}
			if err := st.write(": still here\n\n"); err != nil {
				return s.streamEnd(st, err)
			}
		case <-life.C:
			return nil
		case <-s.done:
			return nil
		case <-st.c.Request().Context().Done():
			return nil
		}
	}
	return nil
}

// streamEnd says nothing of a reader that left; what is wrong here is logged.
func (s *Server) streamEnd(st *stream, err error) error {
	if st.gone {
		return nil
	}
	return err
}

// A stateEvent is a step of the run's life.
type stateEvent struct {
	transitionJSON
	Reason string `json:"reason"`
}

// A logEvent is a piece of a phase's log.
type logEvent struct {
	Phase  runs.State `json:"phase"`
	Offset int64      `json:"offset"` // of the first byte of Text in the log
	Text   string     `json:"text"`
}

// apiEvents streams the steps and logs of a run to scripts: events "state" and "log", and "end" when nothing
// can follow.
func (s *Server) apiEvents(c *request) error {
	if _, err := s.run(c.Param("id")); err != nil {
		return err
	}
	p := readPlace(c.Request().Header.Get("Last-Event-ID"))
	st, err := s.openStream(c)
	if err != nil {
		return err
	}
	defer st.close()
	return s.follow(st, func(bool) (bool, error) {
		r, err := s.run(c.Param("id"))
		if err != nil {
			return false, err
		}
		err = s.readLogs(r, &p, 0, func(l piece) error {
			return st.send("log", p.String(), logEvent{l.phase, l.offset, string(l.text)})
		})
		for _, t := range r.Transitions[min(p.transitions, len(r.Transitions)):] {
			if err != nil {
				break
			}
			p.transitions++
			reason := ""
			if p.transitions == len(r.Transitions) {
				reason = r.Reason
			}
			err = st.send("state", p.String(), stateEvent{transitionOut(t), reason})
		}
		if err == nil && r.State.Terminal() {
			err = st.send("end", p.String(), struct{}{})
		}
		return r.State.Terminal(), err
	})
}

// A piece is a stretch of a phase's log.
type piece struct {
	phase   runs.State
	skipped int64 // bytes before it that are not handed on
	offset  int64
	text    []byte
	line    int // number of its first line, from 1
}

// readLogs hands on what the run's logs have beyond the place, piece by piece, and moves the place along.
// A run that has ended hands on everything; one at work only whole lines, unless a line is very long. A reader who
// is more than atMost bytes behind is taken to the end, 0: never.
func (s *Server) readLogs(r runs.Run, p *place, atMost int64, to func(piece) error) error {
	for _, phase := range logPhases {
		if err := s.readLog(r, phase, p, atMost, to); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) readLog(r runs.Run, phase runs.State, p *place, atMost int64, to func(piece) error) error {
	f, err := s.eng.OpenLog(r.ID, phase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	skipped := int64(0)
	if behind := f.Size() - p.offsets[phase]; atMost > 0 && behind > atMost {
		if skipped, err = skip(f, phase, p); err != nil {
			return err
		}
	}
	for {
		text, err := readPiece(f, p.offsets[phase], r.State.Terminal())
		if err != nil || len(text) == 0 {
			return err
		}
		next := piece{phase, skipped, p.offsets[phase], text, p.lines[phase] + 1}
		skipped = 0
		p.offsets[phase] += int64(len(text))
		p.lines[phase] += bytes.Count(text, []byte("\n"))
		if err := to(next); err != nil {
			return err
		}
	}
}

// skip moves the place to the last tailBytes of the log and says how much it left out.
func skip(f *logs.Reader, phase runs.State, p *place) (int64, error) {
	from := p.offsets[phase]
	text, err := io.ReadAll(io.NewSectionReader(f, f.Size()-tailBytes, tailBytes))
	if err != nil {
		return 0, err
	}
	to := f.Size() - tailBytes + int64(bytes.IndexByte(text, '\n')+1)
	lines, err := f.Lines(to, from, p.lines[phase])
	if err != nil {
		return 0, err
	}
	p.offsets[phase], p.lines[phase] = to, lines
	return to - from, nil
}

// readPiece reads the next piece of a log; nothing when there is none yet.
func readPiece(f *logs.Reader, offset int64, ended bool) ([]byte, error) {
	buf := make([]byte, pieceBytes)
	n, err := f.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	buf = buf[:n]
	if i := bytes.LastIndexByte(buf, '\n'); i >= 0 {
		return buf[:i+1], nil
	}
	switch {
	case n == pieceBytes:
		return wholeRunes(buf), nil
	case ended:
		return buf, nil
	default:
		return nil, nil
	}
}

// wholeRunes drops the beginning of a character at the end.
func wholeRunes(b []byte) []byte {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}
