package proc

import (
	"bytes"
	"encoding/json"
	"io"
)

// The tools print their state when they can write it nowhere, as on a full disk: it is then all there is of what an apply
// did, and it holds secrets that nobody has declared. Terraform and OpenTofu write it as one indented object
// (EmergencyDumpState in their sources).
const (
	dumpBegin = "{\n  \"version\": "
	dumpEnd   = "}\n"
	dumpSaid  = "(Here stood the state. Groundcrew keeps it.)\n"
	dumpMost  = 256 << 20 // what is longer goes to the log, like all output
)

// A dumpCatcher takes a printed state out of a command's output and hands on the rest as it comes. It is for one
// goroutine; what it caught may be read after Close.
type dumpCatcher struct {
	to     io.Writer
	begun  bool   // held holds the beginning of a state, or what may be one
	inLine bool   // the last byte handed on was not a line end
	held   []byte // not handed on yet
	caught []byte // the state that was printed last, whole
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
	switch {
	case d.begun:
		return d.end()
	case !d.inLine && bytes.HasPrefix(d.held, []byte(dumpBegin)):
		d.begun = true
		return true
	case !d.inLine && bytes.HasPrefix([]byte(dumpBegin), d.held):
		return false // it may become one
	default:
		i := bytes.IndexByte(d.held, '\n') + 1
		if i == 0 {
			i = len(d.held)
		}
		d.handOn(i)
		return true
	}
}

// end looks for the end of the state that has begun.
func (d *dumpCatcher) end() bool {
	i := bytes.Index(d.held, []byte("\n"+dumpEnd))
	switch {
	case i >= 0 && json.Valid(d.held[:i+1+len(dumpEnd)]):
		i += 1 + len(dumpEnd)
		d.caught = bytes.Clone(d.held[:i])
		d.held = append([]byte(dumpSaid), d.held[i:]...)
	case i < 0 && len(d.held) <= dumpMost:
		return false
	}
	d.handOn(bytes.IndexByte(d.held, '\n') + 1) // the word that takes its place, or the first line of what was none
	d.begun = false
	return true
}

func (d *dumpCatcher) handOn(n int) {
	d.inLine = d.held[n-1] != '\n'
	_, _ = d.to.Write(d.held[:n]) // a log never fails
	d.held = append(d.held[:0], d.held[n:]...)
}

// Close hands on what is still held.
func (d *dumpCatcher) Close() {
	for d.begun = false; len(d.held) > 0; {
		d.handOn(len(d.held))
	}
}
