package store

import (
	"encoding/json"
	"testing"

	"groundcrew/runs"
)

// FuzzSieve lets no run fall through that the text means, whatever is written in it.
func FuzzSieve(f *testing.F) {
	for _, seed := range [][2]string{
		{"Make it larger", "LARGER it"},
		{`say "yes" \ <b> & go`, `"yes" \ <b> &`},
		{"größer", "GRÖSSER grö"},
		{"\u212aelvin", "kelvin"},
		{"İstanbul", "istanbul"},
		{"a\u2028b", "a\u2028b"},
		{"bad \xff utf8", "\xff utf8"},
		{"tab\tbed", "bed"},
		{"x", "!7"},
		{"x", "00ff 01j"},
		{"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, said, text string) {
		raw, err := json.Marshal(runs.Run{
			ID: "01JABCDEFGHJKMNPQRSTVWXYZ0", Stack: "network", Branch: "Feature/" + said, MR: &runs.MergeRequest{IID: 7},
			Commit: runs.Commit{SHA: "00ff00ff", Title: said, Author: "Ann Lind"},
		})
		if err != nil {
			t.Fatal(err)
		}
		var r runs.Run // as it is read again
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		if saysAll(r, text) && !newTextSieve(text).passes(raw) {
			t.Errorf("%q is not found in %s", text, raw)
		}
	})
}

// FuzzFields lets no run fall through that a filter means, whatever is written in its texts.
func FuzzFields(f *testing.F) {
	f.Add(`","project":7,"`, int64(8), "failed")
	f.Add("\"state\":\"failed\"", int64(-1), "queued")
	f.Add("", int64(0), "")
	f.Fuzz(func(t *testing.T, said string, project int64, state string) {
		run := runs.Run{
			ID: said, Stack: said, Project: project, Type: runs.Task, State: runs.State(state), Branch: said, Commit: runs.Commit{Title: said, Author: said}, Command: said,
			Transitions: []runs.Transition{{State: runs.Queued, Note: said}},
		}
		raw, err := json.Marshal(run)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := projectIn(raw); !ok || got != project {
			t.Errorf("project %d, %v in %s", got, ok, raw)
		}
		for _, f := range []RunFilter{{Projects: []int64{project}}, {Types: []runs.Type{runs.Task}}, {States: []runs.State{runs.Failed, runs.Queued}}} {
			if f.match(run) && !newSieve(f).passes(raw) {
				t.Errorf("%+v holds back %s", f, raw)
			}
		}
		if newSieve(RunFilter{Projects: []int64{}}).passes(raw) {
			t.Errorf("nobody's project lets %s pass", raw)
		}
	})
}

// TestSieve holds back the rows that cannot be meant.
func TestSieve(t *testing.T) {
	row := []byte(`{"id":"01JABC","commit":{"sha":"00ff","title":"Make it larger"}}`)
	for text, want := range map[string]bool{
		"": true, "larger MAKE": true, "01jab": true, "smaller": false, "larger smaller": false, "!7 larger": true, "!7 smaller": false, `"`: true,
	} {
		if got := newTextSieve(text).passes(row); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
