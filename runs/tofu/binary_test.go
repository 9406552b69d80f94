package tofu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"groundcrew/runs"
)

// fake writes a program that says what it is told to and counts its calls.
func fake(t *testing.T, path, script string) {
	t.Helper()
	text := "#!/bin/sh\necho x >> " + filepath.Dir(path) + "/calls\n" + script + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestProbe(t *testing.T) {
	bin, other := t.TempDir(), t.TempDir()
	fake(t, filepath.Join(bin, "tofu-1.10.2"), "echo 'OpenTofu v1.10.2'; echo on linux_amd64")
	fake(t, filepath.Join(bin, "tofu-1.9.0"), "echo; echo 'Warning: x'; echo 'OpenTofu v1.9.0'")
	fake(t, filepath.Join(bin, "terraform"), "echo 'OpenTofu v1.6.0'") // renamed: what it says counts
	fake(t, filepath.Join(bin, "terraform_1.5.7"), "echo 'Terraform v1.5.7'; env | grep SERVER_SECRET && exit 1; exit 0")
	fake(t, filepath.Join(bin, "terraform1.4"), "echo broken library >&2; exit 127")
	fake(t, filepath.Join(bin, "tofu-2"), "echo hello")
	fake(t, filepath.Join(bin, "terraform-docs"), "echo 'Terraform v9.9.9'")
	fake(t, filepath.Join(bin, "terraform-provider-time_1.0"), "echo 'Terraform v9.9.9'")
	if err := os.Mkdir(filepath.Join(bin, "tofu"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"terraform": filepath.Join(bin, "terraform_1.5.7"), "tofu": filepath.Join(bin, "nowhere")} {
		if err := os.Symlink(to, filepath.Join(other, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SERVER_SECRET", "x")
	var p Prober
	probe := func() []Binary {
		t.Helper()
		list, err := p.Probe(t.Context(), []string{bin, "/no/such/folder"}, other+":relative::"+bin)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	want := []Binary{
		{Tool: runs.OpenTofu, Version: "1.10.2", Path: filepath.Join(bin, "tofu-1.10.2")},
		{Tool: runs.OpenTofu, Version: "1.9.0", Path: filepath.Join(bin, "tofu-1.9.0")},
		{Tool: runs.OpenTofu, Version: "1.6.0", Path: filepath.Join(bin, "terraform")},
		{Tool: runs.OpenTofu, Path: filepath.Join(bin, "tofu-2")},
		{Tool: runs.Terraform, Version: "1.5.7", Path: filepath.Join(bin, "terraform_1.5.7")},
		{Tool: runs.Terraform, Path: filepath.Join(bin, "terraform1.4")},
	}
	got := probe()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Binary{}, "Problem")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, b := range got {
		if (b.Version == "") != (b.Problem != "") {
			t.Errorf("problem of %+v", b)
		}
	}
	if !strings.Contains(got[3].Problem, "did not say which tool it is: hello") || !strings.Contains(got[5].Problem, "broken library") {
		t.Errorf("problems: %q, %q", got[3].Problem, got[5].Problem)
	}

	calls := string(read(t, filepath.Join(bin, "calls")))
	if diff := cmp.Diff(got, probe()); diff != "" || string(read(t, filepath.Join(bin, "calls"))) != calls {
		t.Errorf("asked again, or another answer:\n%s", diff)
	}
	fake(t, filepath.Join(bin, "tofu-2"), "echo 'OpenTofu v2.0.0'")
	if err := os.Chtimes(filepath.Join(bin, "tofu-2"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := probe(); got[0].Version != "2.0.0" {
		t.Errorf("a replaced binary is %+v", got[0])
	}
}

func TestChoose(t *testing.T) {
	bins := []Binary{
		{Tool: runs.OpenTofu, Version: "1.9.1", Path: "/a"},
		{Tool: runs.OpenTofu, Version: "1.10.0", Path: "/b"},
		{Tool: runs.OpenTofu, Version: "1.10.0", Path: "/c"},
		{Tool: runs.OpenTofu, Version: "1.11.0-beta1", Path: "/d"},
		{Tool: runs.OpenTofu, Path: "/e", Problem: "/e is broken."},
		{Tool: runs.Terraform, Version: "2.0.0-rc1", Path: "/f"},
	}
	for _, tt := range []struct{ tool, constraint, path, err string }{
		{runs.OpenTofu, "", "/b", ""},
		{runs.OpenTofu, " 1.9.1 ", "/a", ""},
		{runs.OpenTofu, "1.9", "/a", ""},
		{runs.OpenTofu, "v1.10", "/b", ""},
		{runs.OpenTofu, "~> 1.9", "/b", ""},
		{runs.OpenTofu, "~> 1.9.0", "/a", ""},
		{runs.OpenTofu, ">= 1.6, < 1.10", "/a", ""},
		{runs.OpenTofu, "1.11.0-beta1", "/d", ""},
		{runs.OpenTofu, "1.8", "", "No OpenTofu on this server meets “1.8”. Present: 1.9.1, 1.10.0, 1.11.0-beta1. /e is broken. Copy a binary named like tofu-1.2.3 into the folder bin"},
		{runs.OpenTofu, "new", "", "“new” is no version"},
		{runs.Terraform, "", "/f", ""},
		{runs.Terraform, "1", "", "No Terraform on this server meets “1”. Present: 2.0.0-rc1. Copy a binary named like terraform-1.2.3"},
		{runs.Custom, "anything", "", ""},
	} {
		got, err := Choose(bins, tt.tool, tt.constraint)
		if got.Path != tt.path || (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("Choose(%s, %q) = %+v, %v", tt.tool, tt.constraint, got, err)
		}
		if err != nil && !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("Choose(%s, %q): %v is not for people", tt.tool, tt.constraint, err)
		}
	}
	if _, err := Choose(nil, runs.OpenTofu, ""); err == nil || !strings.HasPrefix(err.Error(), "There is no OpenTofu on this server. Copy") {
		t.Errorf("nothing there: %v", err)
	}
}

func TestValidConstraint(t *testing.T) {
	for s, valid := range map[string]bool{"": true, " ": true, "1.2.3": true, "1.2": true, "~> 1.5, != 1.5.2": true, ">= 1": true, "latest": false, "1.2.x": false, ">=": false, "1,,2": false} {
		if err := ValidConstraint(s); (err == nil) != valid {
			t.Errorf("%q: %v", s, err)
		}
	}
}
