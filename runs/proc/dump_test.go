package proc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A state is taken out of the output however it is cut into pieces, and nothing else ever is.
func TestDumpIsTakenOut(t *testing.T) {
	const state = "{\n  \"version\": 4,\n  \"outputs\": {\n    \"password\": \"hunter2\"\n  },\n  \"resources\": []\n}\n"
	const line = `{"version":4,"serial":1,"lineage":"l","outputs":{"password":{"value":"hunter2}"}}}` + "\n"
	for _, c := range []struct{ out, log, caught string }{
		{"", "", ""},
		{"a\n" + line + "\nError\n", "a\n" + dumpSaid + "\nError\n", line},
		{line + state + line, dumpSaid + dumpSaid + dumpSaid, line},
		{"x" + line, "x" + line, ""},
		{line[:40], line[:40], ""},
		{line[:40] + "\n" + line, line[:40] + "\n" + dumpSaid, line},
		{`{"version":1,"ok":true}` + "\nmore\n", `{"version":1,"ok":true}` + "\nmore\n", ""}, // of something else
		{`{"version":1` + "\nmore\n}\n", `{"version":1` + "\nmore\n}\n", ""},
		{"plain", "plain", ""},
		{"a\n" + state + "\nError: Failed to save state\n", "a\n" + dumpSaid + "\nError: Failed to save state\n", state},
		{state, dumpSaid, state},
		{state + state, dumpSaid + dumpSaid, state},
		{"x" + state, "x" + state, ""},                                                                   // not at the begin of a line
		{state[:40], state[:40], ""},                                                                     // cut off
		{"{\n", "{\n", ""},                                                                               // it might have become one
		{"{\n  \"versions\": 4\n}\n", "{\n  \"versions\": 4\n}\n", ""},                                   // of something else
		{"{\n  \"version\": nonsense\n}\n" + state, "{\n  \"version\": nonsense\n}\n" + dumpSaid, state}, // no JSON
	} {
		for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
			var log bytes.Buffer
			d := dumpCatcher{to: &log}
			for rest := []byte(c.out); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				_, _ = d.Write(rest[:min(piece, len(rest))])
			}
			d.Close()
			if log.String() != c.log || string(d.caught) != c.caught {
				t.Errorf("%q in pieces of %d: log %q, caught %q", c.out, piece, &log, d.caught)
			}
		}
	}
}

// Other output is handed on at once: a log is read while it is written.
func TestNothingWaitsForADump(t *testing.T) {
	var log bytes.Buffer
	d := dumpCatcher{to: &log}
	for _, c := range []struct{ p, want string }{{"Creating", "Creating"}, {"...\n{", "Creating...\n"}, {" x", "Creating...\n{ x"}} {
		_, _ = d.Write([]byte(c.p))
		if log.String() != c.want {
			t.Errorf("after %q: %q, want %q", c.p, &log, c.want)
		}
	}
}

func FuzzDump(f *testing.F) {
	f.Add("a\n{\n  \"version\": 4\n}\nb", 3)
	f.Fuzz(func(t *testing.T, out string, piece int) {
		piece = max(1, piece)
		var log bytes.Buffer
		d := dumpCatcher{to: &log}
		for rest := []byte(out); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			_, _ = d.Write(rest[:min(piece, len(rest))])
		}
		d.Close()
		if strings.Replace(log.String(), dumpSaid, string(d.caught), 1) != out && strings.Count(log.String(), dumpSaid) < 2 {
			t.Errorf("%q in pieces of %d became %q with %q", out, piece, &log, d.caught)
		}
	})
}

// What a command prints as its state is in the result and neither in the log nor in what hints are made of.
func TestDumpIsInTheResult(t *testing.T) {
	c := shell("work", "echo before; printf '{\\n  \"version\": 4,\\n  \"secret\": \"hunter2\"\\n}\\n\\n' >&2; echo after; exit 1")
	c.Dump = true
	b := newBench(t, c)
	res := b.run()
	if string(res.Dump) != "{\n  \"version\": 4,\n  \"secret\": \"hunter2\"\n}\n" || res.Exit != 1 {
		t.Errorf("result %+v", res)
	}
	if log := b.log("planning"); !strings.HasSuffix(log, fmt.Sprintf("before\n%s\nafter\n", dumpSaid)) {
		t.Errorf("log %q", log)
	}
}
