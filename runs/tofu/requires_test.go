package tofu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func checkoutOf(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestRequirements(t *testing.T) {
	files := map[string]string{
		"prod/main.tf":          "terraform {\n  required_version = \">= 1.6\" # why\n}\nmodule \"m\" {\n  source = \"../modules/m\"\n}\n",
		"prod/more.tf.json":     `{"terraform": {"required_version": "< 2.0.0"}}`,
		"prod/broken.tf":        "resource \"x\" {",
		"prod/odd.tf":           "terraform {\n  required_version = var.x\n}\nmodule \"out\" {\n  source = \"../../../etc\"\n}\n",
		"prod/notes.txt":        "terraform {\n  required_version = \"= 0.1\"\n}\n",
		"prod/alt.tofu":         "terraform {\n  required_version = \">= 1.8\"\n}\n",
		"prod/alt.tf":           "terraform {\n  required_version = \">= 1.7\"\n}\n",
		"modules/m/versions.tf": "terraform {\n  required_version = \"~> 1.9\"\n}\nmodule \"again\" {\n  source = \"../../prod\"\n}\n",
	}
	root := checkoutOf(t, files)
	if err := os.Symlink("/etc/passwd", filepath.Join(root.Name(), "prod", "link.tf")); err != nil {
		t.Fatal(err)
	}
	for tool, want := range map[string][]Requirement{
		runs.Terraform: {{">= 1.7", "prod/alt.tf"}, {">= 1.6", "prod/main.tf"}, {"< 2.0.0", "prod/more.tf.json"}, {"~> 1.9", "modules/m/versions.tf"}},
		runs.OpenTofu:  {{">= 1.8", "prod/alt.tofu"}, {">= 1.6", "prod/main.tf"}, {"< 2.0.0", "prod/more.tf.json"}, {"~> 1.9", "modules/m/versions.tf"}},
	} {
		if diff := cmp.Diff(want, Requirements(root, "prod", tool)); diff != "" {
			t.Error(tool, diff)
		}
	}
	if got := Requirements(root, "absent", runs.Terraform); got != nil {
		t.Error(got)
	}
}

func TestChooseFor(t *testing.T) {
	var bins []Binary
	for _, v := range []string{"1.11.4", "1.9.8", "1.5.7", "1.12.0-beta1"} {
		bins = append(bins, Binary{Tool: runs.Terraform, Version: v, Path: "/b/terraform-" + v})
	}
	bins = append(bins, Binary{Tool: runs.OpenTofu, Version: "1.10.2"})
	for _, c := range []struct {
		constraint string
		requires   []string
		want       string // a version, or a part of the error
	}{
		{"", nil, "1.11.4"},
		{"", []string{"~> 1.5.0"}, "1.5.7"},
		{">= 1.9", []string{"< 1.10"}, "1.9.8"},
		{"", []string{">= 1.5", "< 1.9"}, "1.5.7"},
		{"1.9.8", []string{">= 1.10"}, "requires Terraform “>= 1.10” (main.tf), and the stack's settings allow “1.9.8”; no version on this server meets that. Present: 1.11.4, 1.9.8, 1.5.7, 1.12.0-beta1."},
		{"", []string{">= 9"}, "requires Terraform “>= 9” (main.tf); no version"},
		{"", []string{"rubbish"}, "“rubbish” (main.tf), which is no version constraint"},
		{"1.2.3", []string{">= 1"}, "meets “1.2.3”"},
	} {
		var requires []Requirement
		for _, r := range c.requires {
			requires = append(requires, Requirement{r, "main.tf"})
		}
		b, err := ChooseFor(bins, runs.Terraform, c.constraint, requires)
		if err == nil && b.Version != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q and %v: %s, %v", c.constraint, c.requires, b.Version, err)
		}
	}
}

// FuzzRequirements makes sure that no code, however odd, is more than not understood.
func FuzzRequirements(f *testing.F) {
	for _, s := range []string{"terraform {\n required_version = \">= 1\"\n}", `{"terraform":[{"required_version":"1"}]}`, "module \"a\" {\n source = \"./\"\n}", "\xff{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, code string) {
		for _, name := range []string{"a.tf", "a.tf.json"} {
			Requirements(checkoutOf(t, map[string]string{name: code}), "", runs.Terraform)
		}
	})
}
