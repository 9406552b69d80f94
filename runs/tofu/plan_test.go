package tofu

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"groundcrew/runs"
)

var update = flag.Bool("update", false, "write the golden files")

const password = "correct-horse"

const before = `
variable "password" {
  sensitive = true
}
resource "terraform_data" "keep" { input = "same" }
resource "terraform_data" "change" {
  input = { list = ["p"], deep = [{ port = 1, name = "x" }], "odd key" = true, gone = 1 }
}
resource "terraform_data" "replace" {
  input            = "r"
  triggers_replace = { image = "v1" }
}
resource "terraform_data" "gone" { input = "bye" }
resource "terraform_data" "old_name" { input = "moving" }
resource "terraform_data" "forgotten" { input = "left alone" }
resource "terraform_data" "counted" { count = 2 }
resource "terraform_data" "secret" { input = { user = "u", password = var.password } }
output "address" { value = "one" }
output "hidden" {
  value     = var.password
  sensitive = true
}
output "old" { value = 1 }
`

const after = `
variable "password" {
  sensitive = true
}
resource "terraform_data" "keep" { input = "same" }
resource "terraform_data" "change" {
  input = { list = ["p", "q"], deep = [{ port = 2, name = "x" }, { port = 3 }], "odd key" = false }
}
resource "terraform_data" "replace" {
  input            = "r"
  triggers_replace = { image = "v2" }
}
resource "terraform_data" "new_name" { input = "moving" }
moved {
  from = terraform_data.old_name
  to   = terraform_data.new_name
}
removed {
  from = terraform_data.forgotten
  lifecycle {
    destroy = false
  }
}
resource "terraform_data" "counted" { count = 1 }
resource "terraform_data" "secret" { input = { user = "u", password = "${var.password}2" } }
resource "terraform_data" "brought" {}
import {
  to = terraform_data.brought
  id = "some-id"
}
resource "terraform_data" "new" { input = { secret = var.password, shown = [1, 2.50, 12345678901234567890] } }
data "terraform_remote_state" "late" {
  backend = "local"
  config  = { path = terraform_data.replace.id }
}
output "address" { value = "two" }
output "hidden" {
  value     = "${var.password}2"
  sensitive = true
}
output "late" { value = terraform_data.new.id }
`

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// golden compares v as JSON with a file.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	got := uuid.ReplaceAll(b.Bytes(), []byte("some-uuid"))
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, file)), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

type answer struct {
	Changes runs.Changes
	Delta   runs.Delta
}

// Everything a plan can do to a resource, planned by the real tools: both must give the same.
func TestReadPlanOfRealTools(t *testing.T) {
	eachTool(t, func(t *testing.T, b Binary) {
		secret := runs.Variable{Name: "TF_VAR_password", Value: password}
		w := newWork(t, b, map[string]string{"main.tf": before})
		mustPrepare(t, w, nil)
		mustPerform(t, w, runs.PhasePlan, secret)
		mustPerform(t, w, runs.PhaseApply, secret)
		write(t, w.Root, map[string]string{"main.tf": after})
		mustPerform(t, w, runs.PhasePlan, secret)
		c, d := planOf(t, w)
		golden(t, "everything.golden.json", answer{c, d})
		if text := fmt.Sprint(c); strings.Contains(text, password) {
			t.Errorf("the secret is in %s", text)
		}
		if *update {
			write(t, "testdata", map[string]string{"everything.plan.json": string(read(t, w.PlanJSON()))})
		}

		// All of it, destroyed.
		again := w
		mustPerform(t, again, runs.PhaseDestroy, secret)
	})
}

func TestFingerprintIgnoresWhenAndWhere(t *testing.T) {
	text := read(t, "testdata/everything.plan.json")
	one, _, err := ReadPlan(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	later := regexp.MustCompile(`"timestamp":"[^"]*"`).ReplaceAll(text, []byte(`"timestamp":"2036-01-01T00:00:00Z"`))
	two, _, err := ReadPlan(bytes.NewReader(later))
	if err != nil {
		t.Fatal(err)
	}
	if one.Fingerprint(nil) != two.Fingerprint(nil) || bytes.Equal(text, later) {
		t.Error("the same plan at another time has another fingerprint")
	}
}

// unhashed leaves digests of values out of a comparison.
var unhashed = cmpopts.IgnoreFields(runs.AttributeChange{}, "Effect")

// What no page shows counts all the same: a sensitive value, the tail of a long one, what a provisioner will run.
func TestFingerprintCountsWhatIsNotShown(t *testing.T) {
	long := strings.Repeat("x", 3000)
	base := `"before":{"a":"1","long":"` + long + `"},"after":{"a":"2","long":"y` + long + `"},"after_sensitive":{"a":true}}}],"configuration":{"root_module":{
		"resources":[{"address":"a.b","provider_config_key":"a","provisioners":[{"type":"local-exec","expressions":{"command":{"constant_value":"true"}}}]},{"address":"a.other","x":1}]},
		"provider_config":{"a":{"name":"a","expressions":{"region":{"constant_value":"north"}}}}}}`
	of := func(text string) string {
		t.Helper()
		c, _, err := ReadPlan(strings.NewReader(`{"format_version":"1.2","resource_changes":[{"address":"a.b[\"k]\"]","change":{"actions":["update"],` + text))
		if err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(c)
		if err != nil || strings.Contains(string(shown), `"Effect"`) {
			t.Fatalf("%v: %s", err, shown)
		}
		return c.Fingerprint([]byte("key"))
	}
	for what, text := range map[string]string{
		"a sensitive value":            strings.Replace(base, `"a":"2"`, `"a":"3"`, 1),
		"the end of a long value":      strings.Replace(base, `"y`+long, `"y`+long+"z", 1),
		"the command of a provisioner": strings.Replace(base, `"constant_value":"true"`, `"constant_value":"false"`, 1),
		"which provider makes it":      strings.Replace(base, `"provider_config_key":"a"`, `"provider_config_key":"a.prod"`, 1),
		"how a provider is set up":     strings.Replace(base, `"north"`, `"south"`, 1),
	} {
		if text == base || of(text) == of(base) {
			t.Errorf("%s does not count", what)
		}
	}
	for what, text := range map[string]string{
		"white space": strings.ReplaceAll(base, `[{"type"`, `[ { "type"`),
		"the code of what does not change counts": strings.Replace(base, `"x":1`, `"x":2`, 1),
	} {
		if text == base || of(text) != of(base) {
			t.Error(what)
		}
	}
}

func change(actions, rest string) string {
	return `{"format_version":"1.2","planned_values":{"huge":[{}]},"resource_changes":[{"address":"a.b","mode":"managed","type":"a","name":"b","change":{"actions":` + actions + rest + `}}]}`
}

func TestReadPlanCases(t *testing.T) {
	type attr = runs.AttributeChange
	for name, tt := range map[string]struct {
		in    string
		delta runs.Delta
		want  *runs.ResourceChange
	}{
		"no-op":      {change(`["no-op"]`, `,"before":{"a":1},"after":{"a":1}`), runs.Delta{}, nil},
		"ephemeral":  {change(`["open"]`, ``), runs.Delta{}, nil},
		"null lists": {`{"format_version":"1.0","resource_changes":null,"resource_drift":null,"output_changes":null}`, runs.Delta{}, nil},
		"create before delete": {
			change(`["create","delete"]`, `,"before":{"a":"x"},"after":{"a":"y"},"replace_paths":[["a"]]`),
			runs.Delta{Add: 1, Destroy: 1},
			&runs.ResourceChange{Action: runs.ActReplace, Attributes: []attr{{Path: "a", Before: `"x"`, After: `"y"`, Replaces: true}}},
		},
		"create and forget": {
			change(`["create","forget"]`, `,"before":null,"after":null`), runs.Delta{Add: 1, Forget: 1}, &runs.ResourceChange{Action: runs.ActReplace},
		},
		"import and update": {
			change(`["update"]`, `,"before":{"a":1},"after":{"a":2},"importing":{"id":"i-1"}`),
			runs.Delta{Change: 1, Import: 1},
			&runs.ResourceChange{Action: runs.ActChange, ImportID: "i-1", Attributes: []attr{{Path: "a", Before: "1", After: "2"}}},
		},
		"import by identity": {
			change(`["no-op"]`, `,"importing":{"identity":{"region":"eu"}}`),
			runs.Delta{Import: 1},
			&runs.ResourceChange{Action: runs.ActImport, ImportID: `{"region":"eu"}`},
		},
		"all sensitive": {
			change(`["create"]`, `,"before":null,"after":{"a":"hunter2"},"after_sensitive":true`),
			runs.Delta{Add: 1},
			&runs.ResourceChange{Action: runs.ActAdd, Attributes: []attr{{Path: "(everything)", Sensitive: true}}},
		},
		"was sensitive, is not": {
			change(`["update"]`, `,"before":{"a":"hunter2"},"after":{"a":"hunter3"},"before_sensitive":{"a":true},"after_sensitive":{}`),
			runs.Delta{Change: 1},
			&runs.ResourceChange{Action: runs.ActChange, Attributes: []attr{{Path: "a", Sensitive: true}}},
		},
		"sensitive in a list": {
			change(`["update"]`, `,"before":{"a":["x","hunter2"]},"after":{"a":["y","hunter3"]},"before_sensitive":{"a":[false,true]},"after_sensitive":{"a":[false,true]}`),
			runs.Delta{Change: 1},
			&runs.ResourceChange{Action: runs.ActChange, Attributes: []attr{{Path: "a[0]", Before: `"x"`, After: `"y"`}, {Path: "a[1]", Sensitive: true}}},
		},
		"a mark of another shape withholds all": {
			change(`["update"]`, `,"before":{"a":{"k":"hunter2"}},"after":{"a":{"k":"hunter3"}},"after_sensitive":{"a":[true]}`),
			runs.Delta{Change: 1},
			&runs.ResourceChange{Action: runs.ActChange, Attributes: []attr{{Path: "a", Sensitive: true}}},
		},
		"sensitive, and copied by the provider": {
			change(`["delete"]`, `,"before":{"in":{"k":"hunter2","n":"pg"},"out":"pg://hunter2@db","n":"pg"},"after":null,"before_sensitive":{"in":{"k":true,"n":true}}`),
			runs.Delta{Destroy: 1},
			&runs.ResourceChange{Action: runs.ActDestroy, Attributes: []attr{{Path: "in.k", Sensitive: true}, {Path: "in.n", Sensitive: true}, {Path: "n", Before: `"pg"`}, {Path: "out", Sensitive: true}}},
		},
		"unknown": {
			change(`["update"]`, `,"before":{"a":"x","l":[1],"o":{"p":1}},"after":{"l":[1],"o":{"p":1}},"after_unknown":{"a":true,"l":[false,true],"o":{"q":true}}`),
			runs.Delta{Change: 1},
			&runs.ResourceChange{Action: runs.ActChange, Attributes: []attr{{Path: "a", Before: `"x"`, Unknown: true}, {Path: "l[1]", Unknown: true}, {Path: "o.q", Unknown: true}}},
		},
		"unknown and sensitive": {
			change(`["update"]`, `,"before":{"a":"hunter2"},"after":{},"after_unknown":{"a":true},"before_sensitive":{"a":true}`),
			runs.Delta{Change: 1},
			&runs.ResourceChange{Action: runs.ActChange, Attributes: []attr{{Path: "a", Unknown: true, Sensitive: true}}},
		},
		"types change": {
			change(`["update"]`, `,"before":{"a":{"b":1},"c":[1],"d":false},"after":{"a":[1],"c":"<&>","d":{"e":1}}`),
			runs.Delta{Change: 1},
			&runs.ResourceChange{Action: runs.ActChange, Attributes: []attr{{Path: "a", Before: `{"b":1}`, After: "[1]"}, {Path: "c", Before: "[1]", After: `"<&>"`}, {Path: "d", Before: "false", After: `{"e":1}`}}},
		},
		"forces by a part of it": {
			change(`["delete","create"]`, `,"before":{"a":[{"b":1,"bb":1}],"ab":1},"after":{"a":[{"b":2,"bb":2}],"ab":2},"replace_paths":[["a",0,"b"],[1.5]]`),
			runs.Delta{Add: 1, Destroy: 1},
			&runs.ResourceChange{Action: runs.ActReplace, Attributes: []attr{{Path: "a[0].b", Before: "1", After: "2", Replaces: true}, {Path: "a[0].bb", Before: "1", After: "2"}, {Path: "ab", Before: "1", After: "2"}}},
		},
		"too deep": {
			change(`["create"]`, `,"after":`+strings.Repeat(`{"a":`, 20)+`1`+strings.Repeat(`}`, 20)),
			runs.Delta{Add: 1},
			&runs.ResourceChange{Action: runs.ActAdd, Attributes: []attr{{Path: "a" + strings.Repeat(".a", maxDepth-1), After: strings.Repeat(`{"a":`, 8) + `1` + strings.Repeat(`}`, 8)}}},
		},
		"secret below the depth": {
			change(`["create"]`, `,"after":`+strings.Repeat(`{"a":`, 20)+`1`+strings.Repeat(`}`, 20)+`,"after_sensitive":`+strings.Repeat(`{"a":`, 20)+`true`+strings.Repeat(`}`, 20)),
			runs.Delta{Add: 1},
			&runs.ResourceChange{Action: runs.ActAdd, Attributes: []attr{{Path: "a" + strings.Repeat(".a", maxDepth-1), Sensitive: true}}},
		},
		"long value": {
			change(`["create"]`, `,"after":{"a":"`+strings.Repeat("ü", 3000)+`"}`),
			runs.Delta{Add: 1},
			&runs.ResourceChange{Action: runs.ActAdd, Attributes: []attr{{Path: "a", After: `"` + strings.Repeat("ü", maxValue-2) + "… (3002 characters, sha256 6538cf60dfca)"}}},
		},
		"deposed": {
			`{"format_version":"1.2","resource_changes":[{"address":"a.b","type":"a","deposed":"1234","action_reason":"some_new_reason","change":{"actions":["delete"]}}]}`,
			runs.Delta{Destroy: 1},
			&runs.ResourceChange{Address: "a.b (deposed object 1234)", Action: runs.ActDestroy, Reason: "some new reason"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, d, err := ReadPlan(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.delta, d); diff != "" {
				t.Errorf("delta (-want +got):\n%s", diff)
			}
			var want []runs.ResourceChange
			if tt.want != nil {
				tt.want.Type = "a"
				if tt.want.Address == "" {
					tt.want.Address = "a.b"
				}
				want = append(want, *tt.want)
			}
			if diff := cmp.Diff(want, c.Resources, unhashed); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadPlanErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "unexpected EOF",
		"Error: no plan":          "invalid character",
		"[]":                      "[ instead of {",
		"{}":                      `format version "" is not known`,
		`{"format_version":"2."}`: `format version "2." is not known`,
		`{"format_version":"1.2","resource_changes":{}}`:                                "{ instead of a list",
		`{"format_version":"1.2","resource_changes":[{"change":{"actions":"create"}}]}`: "in resource_changes",
		`{"format_version":"1.2","resource_changes":[`:                                  "unexpected EOF",
		`{"format_version":"1.2"`:                                                       "unexpected EOF",
	} {
		if _, _, err := ReadPlan(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestDriftAndOrder(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"format_version":"1.2","resource_drift":[
		{"address":"z.z","type":"z","change":{"actions":["update"],"before":{"a":1},"after":{"a":2}}},
		{"address":"a.a","type":"a","change":{"actions":["delete"],"before":{"a":1},"after":null}},
		{"address":"m.m","type":"m","previous_address":"m.n","change":{"actions":["no-op"]}}],"resource_changes":[`)
	for i := range 20000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"address":"a.x[%05d]","type":"a","change":{"actions":["create"],"before":null,"after":{"i":%d,"tags":{"a":"b"}},"after_unknown":{"id":true}}}`, (i*7919)%20000, i)
	}
	b.WriteString("]}")
	c, d, err := ReadPlan(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if d.Add != 20000 || len(c.Resources) != 20000 || c.Resources[0].Address != "a.x[00000]" || c.Resources[19999].Address != "a.x[19999]" {
		t.Errorf("%+v, %d resources", d, len(c.Resources))
	}
	want := []runs.ResourceChange{
		{Address: "a.a", Type: "a", Action: runs.ActDestroy, Attributes: []runs.AttributeChange{{Path: "a", Before: "1"}}},
		{Address: "z.z", Type: "z", Action: runs.ActChange, Attributes: []runs.AttributeChange{{Path: "a", Before: "1", After: "2"}}},
	}
	if diff := cmp.Diff(want, c.Drift, unhashed); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
}

func FuzzReadPlan(f *testing.F) {
	real, err := os.ReadFile("testdata/everything.plan.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(real)
	f.Add([]byte(change(`["update"]`, `,"before":{"a":["x","hunter2"]},"after":{"a":{}},"after_unknown":{"a":[true]},"before_sensitive":{"a":true},"replace_paths":[["a",0],[null]]`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, d, err := ReadPlan(bytes.NewReader(in))
		if err != nil {
			return
		}
		for _, r := range append(c.Resources, c.Drift...) {
			if r.Action == "" {
				t.Errorf("no action: %+v", r)
			}
			for _, a := range r.Attributes {
				if a.Path == "" || a.Sensitive && a.Before+a.After != "" || a.Unknown && a.After != "" {
					t.Errorf("attribute %+v", a)
				}
			}
		}
		if d.Outputs != len(c.Outputs) || d.Resources() < 0 {
			t.Errorf("delta %+v", d)
		}
		again, _, err := ReadPlan(bytes.NewReader(in))
		if err != nil || again.Fingerprint(nil) != c.Fingerprint(nil) {
			t.Errorf("read twice, two results: %v", err)
		}
	})
}

func TestReadState(t *testing.T) {
	state := `{"version":4,"terraform_version":"1.9.0","serial":7,"lineage":"l","outputs":{"a":{"value":{"k": [1, 2]},"type":"x"},"b":{"value":"hunter2","sensitive":true}},
		"resources":[{"mode":"managed","instances":[{},{}]},{"mode":"data","instances":[{}]}]}`
	got, err := ReadState([]byte(state))
	if err != nil {
		t.Fatal(err)
	}
	want := StateInfo{Version: 4, Serial: 7, Lineage: "l", Resources: 2, TerraformVersion: "1.9.0", Outputs: map[string]Output{"a": {Value: `{"k":[1,2]}`}, "b": {Sensitive: true}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = ReadState([]byte(`{"serial":3,"lineage":"l","meta":{},"encrypted_data":"xxx","encryption_version":"v0"}`))
	if diff := cmp.Diff(StateInfo{Serial: 3, Lineage: "l", Encrypted: true}, got); diff != "" || err != nil {
		t.Errorf("encrypted: %v (-want +got):\n%s", err, diff)
	}
	for in, want := range map[string]string{"": "no state file", "[]": "no state file", "{}": "format 0", `{"version":3}`: "format 3"} {
		if _, err := ReadState([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}
