// Package redact removes known secret values from text: each stands there as [secret] instead, in whatever
// common form it was written.
//
// A secret is looked for as it is, line by line, in base64 (at any alignment, wrapped or not), in hexadecimal,
// and escaped for URLs, JSON (once and twice), HCL, shells and HTML; forms.go makes the list. All forms are
// searched at once by an automaton (automaton.go), so the cost is linear in the text whatever the number of
// secrets, and a stream may be cut anywhere.
package redact

import (
	"io"
	"strings"
)

// Mark stands where a secret was.
const Mark = "[secret]"

// A Redactor knows a set of secret values. It never changes, so several goroutines may use it at once.
type Redactor struct{ a *automaton }

// New makes a redactor for the values. Values of fewer than four bytes, after trimming white space, are left
// alone: they would turn up everywhere.
func New(secrets []string) *Redactor {
	a := newAutomaton()
	for _, s := range secrets {
		for _, f := range forms(s) {
			a.add(f)
		}
	}
	a.link()
	return &Redactor{a}
}

// String returns s with every form of every secret replaced by [Mark].
func (r *Redactor) String(s string) string {
	var b strings.Builder
	w := r.Writer(&b)
	// Writing to a strings.Builder cannot fail.
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// Writer returns a writer that passes what it is given on to w without the secrets. Call Close at the end of
// the stream.
func (r *Redactor) Writer(w io.Writer) *Writer { return &Writer{a: r.a, w: w} }

// maxStep bounds how much of one Write is looked at before it is passed on, and with it the memory in use.
const maxStep = 64 << 10

// A Writer removes secrets from a stream. It passes on at once whatever cannot be part of a secret any more
// and holds back only what could be the beginning of one: never more than the longest form, and nothing at
// all while the text looks like no secret. One goroutine at a time may use it.
type Writer struct {
	a     *automaton
	w     io.Writer
	state int32
	held  []byte // the part of the stream from offset base on that has not been passed on
	base  int
	found []span // parts of held that are secret, in order, apart from each other
	out   []byte
}

// A span is a secret part of the stream, [from, to) in bytes since its beginning. marked says that its Mark
// has been written already, while a later part of it was still held.
type span struct {
	from, to int
	marked   bool
}

// Write takes the next part of the stream. An error is the underlying writer's; what it refused is lost.
func (w *Writer) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		part := p[done:min(done+maxStep, len(p))]
		w.scan(part)
		if err := w.pass(w.base + len(w.held) - w.a.open(w.state)); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

// Close passes on everything held back. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.state = 0
	return w.pass(w.base + len(w.held))
}

// scan follows the automaton over p and notes what of it is secret.
func (w *Writer) scan(p []byte) {
	start := w.base + len(w.held)
	w.held = append(w.held, p...)
	s := w.state
	for i := 0; i < len(p); i++ {
		if s == 0 {
			for i < len(p) && w.a.root[p[i]] == 0 {
				i++
			}
			if i == len(p) {
				break
			}
		}
		s = w.a.next(s, p[i])
		if n := w.a.match(s); n > 0 {
			w.note(start+i+1-n, start+i+1)
		}
	}
	w.state = s
}

// note adds a secret part, joined with those before that it touches or overlaps. Ends only grow.
func (w *Writer) note(from, to int) {
	marked := false
	for n := len(w.found); n > 0 && w.found[n-1].to >= from; n-- {
		from, marked = min(from, w.found[n-1].from), marked || w.found[n-1].marked
		w.found = w.found[:n-1]
	}
	w.found = append(w.found, span{from, to, marked})
}

// pass writes the stream up to offset limit, with marks instead of secrets.
func (w *Writer) pass(limit int) error {
	w.out = w.out[:0]
	pos, kept := w.base, 0
	for i := range w.found {
		f := &w.found[i]
		if f.from >= limit {
			break
		}
		w.out = append(w.out, w.held[pos-w.base:max(f.from, pos)-w.base]...)
		if !f.marked {
			w.out = append(w.out, Mark...)
			f.marked = true
		}
		pos = min(f.to, limit)
		if f.to >= limit {
			break // a match to come may begin inside it or right after it and is joined then
		}
		kept = i + 1
	}
	w.found = append(w.found[:0], w.found[kept:]...)
	w.out = append(w.out, w.held[pos-w.base:limit-w.base]...)
	w.held = append(w.held[:0], w.held[limit-w.base:]...)
	w.base = limit
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.w.Write(w.out)
	return err
}
