package runs

import (
	"encoding/json"
	"testing"
)

func TestDeltaWords(t *testing.T) {
	for _, tc := range []struct {
		d         Delta
		want      string
		empty     bool
		resources int
	}{
		{Delta{}, "No changes", true, 0},
		{Delta{Add: 1}, "1 to add, 0 to change, 0 to destroy", false, 1},
		{Delta{Add: 1, Change: 2, Destroy: 3}, "1 to add, 2 to change, 3 to destroy", false, 6},
		{Delta{Import: 1}, "0 to add, 0 to change, 0 to destroy, 1 to import", false, 1},
		{Delta{Add: 1, Import: 2, Move: 3, Forget: 4}, "1 to add, 0 to change, 0 to destroy, 2 to import, 3 to move, 4 to forget", false, 10},
		{Delta{Outputs: 2}, "Only outputs change (2)", false, 0},
		{Delta{Change: 1, Outputs: 2}, "0 to add, 1 to change, 0 to destroy", false, 1},
		{Delta{Move: 1}, "0 to add, 0 to change, 0 to destroy, 1 to move", false, 1},
	} {
		if got := tc.d.String(); got != tc.want || tc.d.Empty() != tc.empty || tc.d.Resources() != tc.resources {
			t.Errorf("%+v: %q, empty %v, %d resources; want %q", tc.d, got, tc.d.Empty(), tc.d.Resources(), tc.want)
		}
	}
}

func TestActionSignsDiffer(t *testing.T) {
	seen := map[string]Action{}
	for _, a := range []Action{ActAdd, ActChange, ActReplace, ActDestroy, ActImport, ActMove, ActForget, ActRead} {
		if other, taken := seen[a.Sign()]; taken || len([]rune(a.Sign())) != 1 {
			t.Errorf("%s has the sign %q, like %s", a, a.Sign(), other)
		}
		seen[a.Sign()] = a
	}
}

func plan() Changes {
	return Changes{
		Resources: []ResourceChange{{
			Address: "aws_vpc.main", Type: "aws_vpc", Action: ActChange,
			Attributes: []AttributeChange{{Path: "tags.team", Before: `"a"`, After: `"b"`}},
		}},
		Outputs: []OutputChange{{Name: "id", Action: ActChange, Unknown: true}},
	}
}

func TestFingerprintIsStable(t *testing.T) {
	want := plan().Fingerprint(nil)
	if len(want) != 32 {
		t.Errorf("fingerprint %q", want)
	}
	drifted := plan()
	drifted.Drift = []ResourceChange{{Address: "aws_vpc.other"}}
	if drifted.Fingerprint(nil) != want {
		t.Error("what was found changed outside is no effect of the plan")
	}
	raw, err := json.Marshal(plan())
	if err != nil {
		t.Fatal(err)
	}
	var read Changes
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	if read.Fingerprint(nil) != want {
		t.Error("the fingerprint changes when the plan is stored and read")
	}
	if (Changes{}).Fingerprint(nil) != (Changes{Resources: []ResourceChange{}, Outputs: []OutputChange{}}).Fingerprint(nil) {
		t.Error("none and an empty list have different fingerprints")
	}
	// Approvals given before an upgrade must count after it.
	if known := "2117e4e069eee96e7100974412ea96b9"; want != known {
		t.Errorf("the fingerprint of a known plan was %s and is %s", known, want)
	}
}

func TestFingerprintTellsPlansApart(t *testing.T) {
	seen := map[string]string{"": "no fingerprint", plan().Fingerprint(nil): "the plan itself"}
	for name, change := range map[string]func(*Changes){
		"address":        func(c *Changes) { c.Resources[0].Address = "aws_vpc.other" },
		"action":         func(c *Changes) { c.Resources[0].Action = ActReplace },
		"new value":      func(c *Changes) { c.Resources[0].Attributes[0].After = `"c"` },
		"old value":      func(c *Changes) { c.Resources[0].Attributes[0].Before = `"c"` },
		"known later":    func(c *Changes) { c.Resources[0].Attributes[0].Unknown = true },
		"moved from":     func(c *Changes) { c.Resources[0].Previous = "aws_vpc.old" },
		"import id":      func(c *Changes) { c.Resources[0].ImportID = "vpc-1" },
		"one more":       func(c *Changes) { c.Resources = append(c.Resources, ResourceChange{Address: "x", Action: ActAdd}) },
		"no resource":    func(c *Changes) { c.Resources = nil },
		"no output":      func(c *Changes) { c.Outputs = nil },
		"another output": func(c *Changes) { c.Outputs[0].Name = "ids" },
		"hidden value":   func(c *Changes) { c.Resources[0].Attributes[0].Effect = "d1" },
		"hidden output":  func(c *Changes) { c.Outputs[0].Effect = "d1" },
		"code":           func(c *Changes) { c.Code = "d1" },
	} {
		c := plan()
		change(&c)
		if other, taken := seen[c.Fingerprint(nil)]; taken {
			t.Errorf("another %s: the fingerprint is that of %s", name, other)
		}
		seen[c.Fingerprint(nil)] = name
	}
	if plan().Fingerprint([]byte("k")) == plan().Fingerprint(nil) {
		t.Error("the key does not count")
	}
}
