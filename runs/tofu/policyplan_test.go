package tofu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tfjson "github.com/hashicorp/terraform-json"
)

func TestPolicyPlanOfRealTools(t *testing.T) {
	raw, err := PolicyPlan(bytes.NewReader(read(t, "testdata/everything.plan.json")))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), password) {
		t.Errorf("the secret is in %s", raw)
	}
	var plan any
	if err := json.Unmarshal(raw, &plan); err != nil {
		t.Fatal(err)
	}
	golden(t, "everything.policy.golden.json", plan)
}

func TestPolicyPlanCases(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"plain": {
			change(`["update"]`, `,"before":{"a":1.50},"after":{"a":2},"after_unknown":{"b":true}`),
			`{"actions":["update"],"before":{"a":1.50},"after":{"a":2},"after_unknown":{"b":true}}`,
		},
		"a delete says null": {change(`["delete"]`, `,"before":{"a":1}`), `{"actions":["delete"],"before":{"a":1},"after":null}`},
		"nothing happens":    {change(`["no-op"]`, `,"before":{"a":1},"after":{"a":1},"before_sensitive":{"b":true}`), `{"actions":["no-op"],"before":null,"after":null}`},
		"all sensitive":      {change(`["create"]`, `,"after":{"a":"hunter2"},"after_sensitive":true`), `{"actions":["create"],"before":null,"after":"(sensitive)","after_sensitive":true}`},
		"of another shape": {
			change(`["create"]`, `,"after":{"a":{"k":"hunter2"},"b":"pg://hunter2@db"},"after_sensitive":{"a":[true]}`),
			`{"actions":["create"],"before":null,"after":{"a":"(sensitive)","b":"(sensitive)"},"after_sensitive":{"a":[true]}}`,
		},
		"sensitive, and copied by the provider": {
			change(`["update"]`, `,"before":{"in":"hunter2","n":"pg"},"after":{"l":["x","hunter2!"],"m":{"hunter2":1,"k":2},"in":"other-secret"},"before_sensitive":{"in":true},"after_sensitive":{"in":true},"importing":{"id":"db/hunter2"},"generated_config":"password = hunter2","replace_paths":[["m","hunter2"]]`),
			`{"actions":["update"],"before":{"in":"(sensitive)","n":"pg"},"after":{"in":"(sensitive)","l":["x","(sensitive)"],"m":{"(sensitive) 1":1,"k":2}},"before_sensitive":{"in":true},"after_sensitive":{"in":true},"importing":{"id":"(sensitive)"},"replace_paths":[["m","(sensitive)"]]}`,
		},
		"a secret like the name of an attribute": {
			change(`["create"]`, `,"after":{"name":"name","port":1},"after_sensitive":{"name":true}`),
			`{"actions":["create"],"before":null,"after":{"name":"(sensitive)","port":1},"after_sensitive":{"name":true}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := PolicyPlan(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			want := `{"format_version":"1.2","resource_changes":[{"address":"a.b","mode":"managed","type":"a","name":"b","change":` + tt.want + `}]}`
			if diff := cmp.Diff(want, string(raw)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPolicyPlanOutputs(t *testing.T) {
	raw, err := PolicyPlan(strings.NewReader(`{"format_version":"1.2","terraform_version":"1.9.0","variables":{"p":{"value":"hunter2"}},"planned_values":{"x":"hunter2"},
		"output_changes":{"a":{"actions":["create"],"after":"v"},"b":{"actions":["create"],"after":"hunter2","after_sensitive":true},"c":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"format_version":"1.2","output_changes":{"a":{"actions":["create"],"before":null,"after":"v"},"b":{"actions":["create"],"before":null,"after":"(sensitive)","after_sensitive":true}},"terraform_version":"1.9.0"}`
	if string(raw) != want {
		t.Errorf("%s\nwant %s", raw, want)
	}
}

func TestPolicyPlanErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "unexpected EOF",
		"[]":                              "[ instead of {",
		`{"format_version":1}`:            "in format_version",
		`{"resource_changes":{}}`:         "{ instead of a list",
		`{"output_changes":[]}`:           "in output_changes",
		`{"resource_changes":[`:           "unexpected EOF",
		many(MaxPolicyPlan, `["create"]`): "more than 8388608 bytes",
	} {
		if _, err := PolicyPlan(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", in, err, want)
		}
	}
	if _, err := PolicyPlan(strings.NewReader(many(MaxPolicyPlan, `["no-op"]`))); err != nil {
		t.Errorf("a large state in which nothing changes: %v", err)
	}
}

// many is a plan with so many bytes of resources.
func many(bytes int, actions string) string {
	one := fmt.Sprintf(`{"address":"a.b","change":{"actions":%s,"after":{"a":"%s"}}}`, actions, strings.Repeat("x", 10_000))
	return `{"resource_changes":[` + strings.Repeat(one+",", bytes/len(one)) + one + `,` + one + `]}`
}

// FuzzPolicyPlan checks against another way to find what is sensitive that none of it is in what policies see.
func FuzzPolicyPlan(f *testing.F) {
	f.Add(read(f, "testdata/everything.plan.json"))
	f.Add([]byte(change(`["update"]`, `,"before":{"a":["x","hunter2"]},"after":{"a":{}},"after_unknown":{"a":[true]},"before_sensitive":{"a":true},"replace_paths":[["a",0],[null]]`)))
	f.Add([]byte(change(`["update"]`, `,"before":{"a":{"k":"hunter2"}},"after":{"z":{"hunter2":["hunter2"]}},"before_sensitive":{"a":[true]}`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		raw, err := PolicyPlan(bytes.NewReader(in))
		if err != nil {
			return
		}
		var was, is struct {
			ResourceChanges []tfjson.ResourceChange `json:"resource_changes"`
		}
		if err := json.Unmarshal(raw, &is); err != nil {
			t.Fatalf("%v of %s", err, raw)
		}
		if json.Unmarshal(in, &was) != nil {
			return
		}
		i := 0
		for _, rc := range was.ResourceChanges {
			if rc.Change == nil {
				continue
			}
			hidden := append(marked(rc.Change.Before, rc.Change.BeforeSensitive), marked(rc.Change.After, rc.Change.AfterSensitive)...)
			if i == len(is.ResourceChanges) {
				return // a key that is there twice
			}
			check(t, hidden, is.ResourceChanges[i].Change)
			i++
		}
	})
}

// marked lists the texts for which, on the way down, a mark says true or stops to fit.
func marked(v, mark any) (found []string) {
	text, _ := json.Marshal(mark)
	if !strings.Contains(string(text), "true") {
		return nil
	}
	for s := range texts(v) {
		found = append(found, s)
	}
	if m, ok := mark.(map[string]any); ok {
		if parts, ok := v.(map[string]any); ok {
			found = nil
			for k := range parts {
				found = append(found, marked(parts[k], m[k])...)
			}
		}
	}
	if m, ok := mark.([]any); ok {
		if parts, ok := v.([]any); ok {
			found = nil
			for i := range min(len(parts), len(m)) {
				found = append(found, marked(parts[i], m[i])...)
			}
		}
	}
	return found
}

func check(t *testing.T, hidden []string, c *tfjson.Change) {
	t.Helper()
	for _, v := range []any{c.Before, c.After} {
		if m, ok := v.(map[string]any); ok {
			for _, e := range m {
				checkTexts(t, hidden, e)
			}
			continue
		}
		checkTexts(t, hidden, v)
	}
}

func checkTexts(t *testing.T, hidden []string, v any) {
	t.Helper()
	for s := range texts(v) {
		for _, h := range hidden {
			if len(h) >= minSecret && strings.Contains(s, h) && !strings.HasPrefix(s, Withheld) {
				t.Errorf("%q is in %q", h, s)
			}
		}
	}
}
