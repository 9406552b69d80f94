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
		if saysAll(r, text) && !newSieve(text).passes(raw) {
			t.Errorf("%q is not found in %s", text, raw)
		}
	})
}

// TestSieve holds back the rows that cannot be meant.
func TestSieve(t *testing.T) {
	row := []byte(`{"id":"01JABC","commit":{"sha":"00ff","title":"Make it larger"}}`)
	for text, want := range map[string]bool{
		"": true, "larger MAKE": true, "01jab": true, "smaller": false, "larger smaller": false, "!7 larger": true, "!7 smaller": false, `"`: true,
	} {
		if got := newSieve(text).passes(row); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
