package proc

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// The tools print their state when they can write it nowhere, as on a full disk: it is then all there is of what an apply
// did, and it holds secrets that nobody has declared (EmergencyDumpState in their sources).
const (
	dumpSaid = "(Here stood the state. Groundcrew keeps it.)\n"
	dumpMost = 256 << 20 // what is longer goes to the log, like all output
)

// A dumpForm is how a state is printed: what it begins with, what its end is, and what it must hold beside, because other programs
// print lines that begin like it.
type dumpForm struct{ begin, end, holds string }

var dumpForms = []dumpForm{
	{"{\n  \"version\": ", "\n}\n", ""},    // indented: Terraform, and OpenTofu before 1.12
	{`{"version":`, "}\n", `,"lineage":"`}, // on one line: OpenTofu
}

// A dumpCatcher takes a printed state out of a command's output and hands on the rest as it comes. It is for one
// goroutine; what it caught may be read after Close.
type dumpCatcher struct {
	to     io.Writer
	begun  *dumpForm // held holds the beginning of a state of this form, or what may be one
	inLine bool      // the last byte handed on was not a line end
	held   []byte    // not handed on yet
	caught []byte    // the state that was printed last, whole
}

// Write hands on p, or keeps it while it may be part of a state. It always reports success, as what it writes to.
func (d *dumpCatcher) Write(p []byte) (int, error) {
	d.held = append(d.held, p...)
	for len(d.held) > 0 && d.step() {
	}
	return len(p), nil
}

// step deals with the next line that is held, and reports whether there may be more to do.
func (d *dumpCatcher) step() bool {
	if d.begun != nil {
		return d.end(d.begun)
	}
	for i := range dumpForms {
		begin := []byte(dumpForms[i].begin)
		switch {
		case d.inLine:
		case bytes.HasPrefix(d.held, begin):
			d.begun = &dumpForms[i]
			return true
		case bytes.HasPrefix(begin, d.held):
			return false // it may become one
		}
	}
	i := bytes.IndexByte(d.held, '\n') + 1
	if i == 0 {
		i = len(d.held)
	}
	d.handOn(i)
	return true
}

// end looks for the end of the state that has begun.
func (d *dumpCatcher) end(form *dumpForm) bool {
	i := bytes.Index(d.held, []byte(form.end))
	whole := i + len(form.end)
	switch {
	case i >= 0 && json.Valid(d.held[:whole]) && bytes.Contains(d.held[:whole], []byte(form.holds)):
		d.caught = bytes.Clone(d.held[:whole])
		d.held = append([]byte(dumpSaid), d.held[whole:]...)
	case i < 0 && len(d.held) <= dumpMost && d.mayEnd(form):
		return false
	}
	i = bytes.IndexByte(d.held, '\n') + 1 // the word that takes its place, or the first line of what was none
	if i == 0 {
		i = len(d.held)
	}
	d.handOn(i)
	d.begun = nil
	return true
}

// mayEnd reports whether a state can still end: one on one line cannot once the line did.
func (d *dumpCatcher) mayEnd(form *dumpForm) bool {
	return strings.Contains(form.begin, "\n") || !bytes.Contains(d.held, []byte("\n"))
}

func (d *dumpCatcher) handOn(n int) {
	d.inLine = d.held[n-1] != '\n'
	_, _ = d.to.Write(d.held[:n]) // a log never fails
	d.held = append(d.held[:0], d.held[n:]...)
}

// Close hands on what is still held.
func (d *dumpCatcher) Close() {
	for d.begun = nil; len(d.held) > 0; {
		d.handOn(len(d.held))
	}
}
