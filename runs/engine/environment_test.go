package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func mountOf(path, content string, secret bool) runs.Mount {
	return runs.Mount{File: runs.File{Path: path, Secret: secret}, Content: []byte(content)}
}

// A commit, or a run before its apply, may lay whatever it likes where a file is to be mounted: nothing outside is written, and what is there is
// not taken away but for a file of that very name.
func TestMountedFilesFollowNoLink(t *testing.T) {
	outside := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "victim"), "untouched")
	for name, c := range map[string]struct {
		lay   func(dir string) error // what is there before
		path  string
		wants string // the error, "" for none
	}{
		"nothing there":           {nil, "a/b/c", ""},
		"a file of that name":     {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), []byte("theirs"), 0o600) }, "a", ""},
		"a link of that name":     {func(dir string) error { return os.Symlink(filepath.Join(outside, "victim"), filepath.Join(dir, "a")) }, "a", ""},
		"a link in the way":       {func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "a")) }, "a/victim", "link"},
		"a link that stays":       {func(dir string) error { return os.Symlink(".", filepath.Join(dir, "a")) }, "a/b", "link"},
		"a file in the way":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), nil, 0o600) }, "a/b", "file"},
		"a folder of that name":   {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "a/b"), 0o755) }, "a", "there is a folder"},
		"a broken link in a path": {func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "a")) }, "a/b", "link"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.lay != nil {
				if err := c.lay(dir); err != nil {
					t.Fatal(err)
				}
			}
			err := layFile(dir, c.path, mountOf(c.path, "ours", true))
			if c.wants != "" && (err == nil || !strings.Contains(err.Error(), c.wants)) || c.wants == "" && err != nil {
				t.Fatalf("%v, want %q", err, c.wants)
			}
			if raw, err := os.ReadFile(filepath.Join(outside, "victim")); err != nil || string(raw) != "untouched" {
				t.Errorf("outside there is %q, %v", raw, err)
			}
			if c.wants != "" {
				return
			}
			info, err := os.Lstat(filepath.Join(dir, c.path))
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestWhatChangedSinceThePlan(t *testing.T) {
	then := environment{
		Variables: []runs.Variable{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}, {Name: "GONE"}},
		Files:     []runs.Mount{mountOf("f", "x", false), mountOf("g", "x", true)},
	}
	now := environment{
		Variables: []runs.Variable{{Name: "A", Value: "1", Secret: true, UpdatedBy: "bo"}, {Name: "B", Value: "3"}, {Name: "NEW"}},
		Files:     []runs.Mount{mountOf("f", "y", false), mountOf("g", "x", false)},
	}
	if diff := cmp.Diff([]string{"B", "GONE", "NEW", "f"}, changedSince(then, now)); diff != "" {
		t.Error(diff)
	}
	if got := changedSince(then, then); got != nil {
		t.Errorf("the same changed: %v", got)
	}
}
