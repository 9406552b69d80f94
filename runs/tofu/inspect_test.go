package tofu

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func TestInspect(t *testing.T) {
	files := map[string][]byte{
		"main.tf":    []byte("terraform {\n  required_version = \">= 1.5\"\n  required_providers {\n    aws = {\n      source  = \"hashicorp/aws\"\n      version = \"~> 5.0\"\n      configuration_aliases = [aws.dr]\n    }\n  }\n}\nvariable \"cidr\" {\n  type = string\n}\nvariable \"tags\" {\n  type    = map(string)\n  default = { a = 1 }\n}\nresource \"aws_vpc\" \"this\" {}\ndata \"aws_region\" \"here\" {}\nmodule \"x\" {\n  source  = \"a/b/c\"\n  version = \"1.0.0\"\n}\n"),
		"out.tf":     []byte("output \"id\" {\n  value     = 1\n  sensitive = true\n}\n"),
		"out.tofu":   []byte("output \"other\" {\n  value = 1\n}\n"),
		"sub/x.tf":   []byte("output \"sub\" {}\n"),
		"README.md":  []byte("# x"),
		"deep.tf":    []byte("locals {\n  x = " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000) + "\n}\n"),
		"bangs.tf":   []byte("locals {\n  x = " + strings.Repeat("!", 100_000) + "true\n}\n"),
		"huge.tf":    []byte(strings.Repeat("# x\n", 100_000)),
		"nothing.tf": nil,
	}
	got, notes, err := Inspect(files, runs.Terraform, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := runs.Interface{
		Inputs:    []runs.Input{{Name: "cidr", Type: "string", Required: true}, {Name: "tags", Type: "map(string)", Default: `{"a":1}`}},
		Outputs:   []runs.Output{{Name: "id", Sensitive: true}},
		Resources: []string{"aws_vpc.this", "data.aws_region.here"},
		Providers: []runs.ProviderReq{{Name: "aws", Source: "hashicorp/aws", Versions: []string{"~> 5.0"}, Aliases: []string{"aws.dr"}}},
		Modules:   []runs.ModuleCall{{Name: "x", Source: "a/b/c", Version: "1.0.0"}},
		Requires:  []string{">= 1.5"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(notes) != 3 || !strings.HasPrefix(notes[0], "bangs.tf") || !strings.HasPrefix(notes[1], "deep.tf") || !strings.HasPrefix(notes[2], "huge.tf") {
		t.Errorf("notes %q", notes)
	}
	tofu, _, err := Inspect(files, runs.OpenTofu, t.TempDir())
	if err != nil || len(tofu.Outputs) != 1 || tofu.Outputs[0].Name != "other" {
		t.Errorf("with OpenTofu %+v, %v", tofu.Outputs, err)
	}
	if _, notes, err := Inspect(map[string][]byte{"main.tf": []byte("variable {")}, runs.Terraform, t.TempDir()); err != nil || len(notes) != 1 {
		t.Errorf("broken code: %q, %v", notes, err)
	}
}

func TestReadTestLog(t *testing.T) {
	log := "$ terraform test -json\n" +
		`{"@testfile":"tests/a.tftest.hcl","@testrun":"good","test_run":{"path":"tests/a.tftest.hcl","run":"good","progress":"complete","status":"pass"},"type":"test_run"}` + "\n" +
		`{"@testfile":"tests/a.tftest.hcl","@testrun":"bad","test_run":{"path":"tests/a.tftest.hcl","run":"bad","progress":"complete","status":"fail"},"type":"test_run"}` + "\n" +
		`{"@testfile":"tests/a.tftest.hcl","@testrun":"bad","diagnostic":{"severity":"error","summary":"Test assertion failed","detail":"n is not three"},"type":"diagnostic"}` + "\n" +
		"{broken\n" +
		`{"test_file":{"path":"tests/b.tftest.hcl","progress":"complete","status":"error"},"type":"test_file"}` + "\n"
	got := ReadTestLog(strings.NewReader(log))
	want := []runs.TestResult{
		{File: "tests/a.tftest.hcl", Run: "good", Status: "pass"}, {File: "tests/a.tftest.hcl", Run: "bad", Status: "fail", Message: "Test assertion failed: n is not three"}, {File: "tests/b.tftest.hcl", Status: "error"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if text := FirstFailure(got); text != "tests/a.tftest.hcl, run “bad” (fail): Test assertion failed: n is not three" {
		t.Errorf("%q", text)
	}
}
