package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// An event is one of a run's stream: state, log or end.
type event struct {
	kind string
	data []byte
}

// How a lost stream is taken up again: after these pauses, so that a restart of the server goes unnoticed.
const (
	firstPause = 200 * time.Millisecond
	longPause  = 5 * time.Second
	givingUp   = 5 * time.Minute // without any answer
)

// errDone is returned by the reader of a stream to end it.
var errDone = errors.New("done")

// events reads the stream of a run from its beginning until `each` returns errDone, the run has ended, or the
// context does. A lost connection is taken up where it broke; nothing is handed on twice.
func (c *client) events(ctx context.Context, run string, each func(event) error) error {
	last, pause, lost := "", firstPause, time.Time{}
	for {
		before := last
		err := c.stream(ctx, run, &last, each)
		var refused *apiError
		switch {
		case errors.Is(err, errDone):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && refused.status < 500:
			return err
		}
		if last != before || lost.IsZero() {
			pause, lost = firstPause, time.Now()
		}
		if time.Since(lost) > givingUp {
			return fmt.Errorf("the stream was lost: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// stream reads one connection. It never returns nil: a stream that the server closed is io.EOF.
func (c *client) stream(ctx context.Context, run string, last *string, each func(event) error) error {
	req, err := c.request(ctx, http.MethodGet, "/runs/"+run+"/events", nil)
	if err != nil {
		return err
	}
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 256<<10)
	var e event
	id := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && e.kind != "":
			if err := each(e); err != nil {
				return err
			}
			*last = id
			if e.kind == "end" {
				return errDone
			}
			e = event{}
		case name == "event":
			e.kind = value
		case name == "id":
			id = value
		case name == "data":
			e.data = []byte(value)
		}
	}
}

// A plainWriter hands text on to a terminal or file without what could act on it: escape sequences and control
// characters of a log are somebody else's. Colours stay where they are wanted.
type plainWriter struct {
	to       io.Writer
	colours  bool
	seq      []byte // an escape sequence that is not complete
	c2       bool   // the first byte of what may be a control character came
	coloured bool
}

// longestSequence is how long an escape sequence may be before it is given up as text.
const longestSequence = 4096

// Write takes text with whatever breaks between calls.
func (w *plainWriter) Write(p []byte) (int, error) {
	var out []byte
	for _, b := range p {
		if len(w.seq) > 0 {
			w.seq = append(w.seq, b)
			if end, keep := sequenceEnd(w.seq); end {
				if keep && w.colours {
					out, w.coloured = append(out, w.seq...), true
				}
				w.seq = w.seq[:0]
			}
			continue
		}
		if w.c2 {
			w.c2 = false
			if b >= 0x80 && b <= 0x9f { // a control character in UTF-8
				continue
			}
			out = append(out, 0xc2)
		}
		switch {
		case b == 0x1b:
			w.seq = append(w.seq, b)
		case b == 0xc2:
			w.c2 = true
		case b == '\n' || b == '\t' || b >= 0x20 && b != 0x7f:
			out = append(out, b)
		}
	}
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sequenceEnd says whether an escape sequence (ECMA-48) is complete, and whether it is one that only colours.
func sequenceEnd(seq []byte) (end, colours bool) {
	if len(seq) > longestSequence {
		return true, false
	}
	last := seq[len(seq)-1]
	switch {
	case len(seq) < 2:
		return false, false
	case seq[1] == '[': // control sequence: parameters, then one final byte
		return len(seq) > 2 && last >= 0x40 && last <= 0x7e, last == 'm'
	case strings.IndexByte("]PX^_", seq[1]) >= 0: // strings: until BEL or ESC \
		return last == 0x07 || len(seq) > 3 && last == '\\' && seq[len(seq)-2] == 0x1b, false
	default:
		return last < 0x20 || last >= 0x30, false
	}
}

// reset ends colours that a log has left on.
func (w *plainWriter) reset() error {
	if !w.coloured {
		return nil
	}
	w.coloured = false
	_, err := io.WriteString(w.to, "\x1b[0m")
	return err
}

// plain is text for one line of a terminal.
func plain(s string) string {
	var b strings.Builder
	w := plainWriter{to: &b}
	_, _ = w.Write([]byte(strings.ReplaceAll(s, "\n", " "))) // a builder takes everything
	return b.String()
}
