package repofile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func TestReadModule(t *testing.T) {
	got, err := ReadModule([]byte(`
version: 2
stack_defaults: {autodeploy: true}
module_version: 1.10.0
test_defaults:
  terraform_version: ~> 1.5
  environment: {AWS_REGION: eu-central-1}
tests:
  - name: Default inputs
    id: base
    project_root: examples/basic
    inputs: {cidr: 10.0.0.0/8, zones: [a, b], tags: {a: {b: 1}}, n: 3, on: true}
  - name: Rejects bad input
    negative: true
    depends_on: [base]
    opentofu_version: 1.10
    environment: {AWS_REGION: us-east-1, N: 1}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Module{Version: "1.10.0", Tests: []runs.TestCase{
		{
			ID: "base", Name: "Default inputs", Kind: "case", ProjectRoot: "examples/basic", Tool: "terraform", ToolVersion: "~> 1.5",
			Inputs:      map[string]string{"cidr": "10.0.0.0/8", "zones": `["a","b"]`, "tags": `{"a":{"b":1}}`, "n": "3", "on": "true"},
			Environment: map[string]string{"AWS_REGION": "eu-central-1"},
		},
		{
			ID: "rejects-bad-input", Name: "Rejects bad input", Kind: "case", Tool: "opentofu", ToolVersion: "1.10", Negative: true, DependsOn: []string{"base"},
			Inputs: map[string]string{}, Environment: map[string]string{"AWS_REGION": "us-east-1", "N": "1"},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if empty, err := ReadModule(nil); err != nil || empty.Version != "" || empty.Tests != nil {
		t.Errorf("nothing: %+v, %v", empty, err)
	}
}

func TestWrongFilesAreRefusedInWords(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"tests: 3", "cannot unmarshal"},
		{"a: [", "did not find"},
		{"modul_version: 1.0.0", "no setting “modul_version”"},
		{"tests: [{name: a, negativ: true}]", "no setting “negativ” in the test “a”"},
		{"tests: [{id: a}]", "test 1 has no name"},
		{"tests: [{name: a}, {name: A}]", `two tests have the id "a"`},
		{"tests: [{name: a, id: ../b}]", "the id “../b”"},
		{"tests: [{name: a, id: test-files}]", "taken by the test files"},
		{"tests: [{name: a, depends_on: [b]}]", "no test's id"},
		{"tests: [{name: a, depends_on: [b]}, {name: b, depends_on: [a]}]", "waits for itself"},
		{"tests: [{name: a, project_root: ../../etc}]", "leads out of the module"},
		{"tests: [{name: a, project_root: /etc}]", "leads out of the module"},
		{"tests: [{name: a, tool: pulumi}]", "the tool “pulumi”"},
		{"tests: [{name: a, environment: {PATH: /tmp}}]", "is set by Groundcrew itself"},
		{"tests: [{name: a, inputs: {a-b: 1}}]", "cannot be a variable's name"},
		{"module_version: 1\nmodule_version: 2", "already set"},
		{strings.Repeat("#", MaxBytes+1), "is the most"},
		{"tests:" + strings.Repeat("\n  - name: a", 101), "100 is the most"},
		{"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]", "excessive aliasing"},
	} {
		_, err := ReadModule([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %v, want %q", tc.text, err, tc.want)
		}
	}
}

func FuzzReadModule(f *testing.F) {
	f.Add("tests: [{name: a, depends_on: [b]}]")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ReadModule([]byte(text))
		for _, c := range m.Tests {
			if err == nil && (c.Name == "" || strings.Contains(c.ProjectRoot, "..")) {
				t.Errorf("%+v", c)
			}
		}
	})
}
