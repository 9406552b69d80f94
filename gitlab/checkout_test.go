package gitlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckoutKeepsWhatIsHarmless(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	module := g.pipe("", "mktree")
	inner := g.pipe("100644 blob "+g.pipe("x", "hash-object", "-w", "--stdin")+"\tx\n", "mktree")
	sha := g.tree(map[string]string{
		"100644 main.tf": "main", "100755 run.sh": "#!/bin/sh", "100664 old.tf": "old mode",
		"120000 same": "main.tf", "120000 below": "sub/x", "120000 dangling": "not/there", "120000 dir": "sub", "120000 via": "dir/x",
		"040000 sub": inner, "040000 empty": module, "160000 vendored": strings.Repeat("ab", 20),
		"100644 .terraform.lock.hcl": "lock", "040000 .terraform": inner, "100644 big.iso": lfsHeader + "oid sha256:0\nsize 1\n",
		"100644 .gitmodules": "[submodule]",
	})
	mustFetch(t, s, g.client(), sha)
	dest := t.TempDir()
	warnings, err := s.Checkout(t.Context(), 42, sha, dest)
	must(t, err)
	want := map[string]string{
		"main.tf": "main", "run.sh": "#!/bin/sh", "old.tf": "old mode", "same": "-> main.tf", "below": "-> sub/x", "dangling": "-> not/there",
		"dir": "-> sub", "via": "-> dir/x", "sub": "/", "sub/x": "x", "empty": "/", "vendored": "/", ".terraform.lock.hcl": "lock",
		"big.iso": lfsHeader + "oid sha256:0\nsize 1\n", ".gitmodules": "[submodule]",
	}
	if diff := cmp.Diff(want, content(t, dest)); diff != "" {
		t.Error(diff)
	}
	wantWarnings := []string{
		"left out, because a run makes its own: .terraform",
		"submodules are not fetched, their folders are empty: vendored",
		"Git LFS files are not fetched, only their pointers are there: big.iso",
	}
	if diff := cmp.Diff(wantWarnings, warnings); diff != "" {
		t.Error(diff)
	}
	for name, perm := range map[string]fs.FileMode{"main.tf": 0o644, "run.sh": 0o755, "old.tf": 0o644, "sub": 0o755} {
		if info, err := os.Stat(filepath.Join(dest, name)); err != nil || info.Mode().Perm() != perm {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestCheckoutRefusesWhatLeadsOutside(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	blob := g.pipe("x", "hash-object", "-w", "--stdin")
	deep := g.pipe("120000 blob "+g.pipe("../..", "hash-object", "-w", "--stdin")+"\tup\n", "mktree")
	deep = g.pipe("040000 tree "+deep+"\tb\n", "mktree")
	for name, c := range map[string]struct {
		entries map[string]string
		words   string
	}{
		"absolute link":       {map[string]string{"120000 l": "/etc/passwd"}, "l → /etc/passwd"},
		"link above":          {map[string]string{"120000 l": "../x"}, "l → ../x"},
		"link to the parent":  {map[string]string{"120000 l": ".."}, "l → .."},
		"link in the middle":  {map[string]string{"120000 l": "a/../../x"}, "l → a/../../x"},
		"through other links": {map[string]string{"040000 a": deep, "120000 out": "a/b/up/../etc"}, "out → a/b/up/../etc"},
		"loop":                {map[string]string{"120000 l": "l"}, "l → l"},
		"empty link":          {map[string]string{"120000 l": ""}, "l → "},
		"backslash":           {map[string]string{`100644 a\..\b`: "x"}, "safely"},
		"parent":              {map[string]string{"100644 ..": "x"}, "safely"},
		"dot":                 {map[string]string{"040000 .": g.pipe("", "mktree")}, "safely"},
		"link and folder":     {map[string]string{"120000 a": "sub", "040000 a": g.pipe("100644 blob "+blob+"\tb\n", "mktree")}, "twice"},
		"file and link":       {map[string]string{"100644 ok": "x", "120000 a": "ok", "100755 a": "y"}, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			sha := g.tree(c.entries)
			mustFetch(t, s, g.client(), sha)
			outer := t.TempDir()
			write(t, filepath.Join(outer, "x"), "secret")
			dest := filepath.Join(outer, "dest")
			_, err := s.Checkout(t.Context(), 42, sha, dest)
			if KindOf(err) != KindInvalid || !strings.Contains(err.Error(), c.words) {
				t.Errorf("err = %v", err)
			}
			if diff := cmp.Diff(map[string]string{"x": "secret", "dest": "/"}, content(t, outer)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheckoutLeavesGitFoldersOut(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	hooks := g.pipe("100755 blob "+g.pipe("evil", "hash-object", "-w", "--stdin")+"\thook\n", "mktree")
	sha := g.tree(map[string]string{"040000 .GIT": hooks, "040000 .Terraform": hooks, "100644 a": "x"})
	mustFetch(t, s, g.client(), sha)
	if files, warnings := checkedOut(t, s, sha); len(files) != 1 || len(warnings) != 1 {
		t.Error(files, warnings)
	}
}

func TestCheckoutLimits(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.commit("main", map[string]string{"a": "12345", "b/c": "12345"})
	mustFetch(t, s, g.client(), sha)
	for name, c := range map[string]struct {
		bytes int64
		files int
		words string
	}{
		"bytes": {9, 10, "9 bytes"},
		"files": {100, 2, "2 files"},
	} {
		s.MaxBytes, s.MaxFiles = c.bytes, c.files
		dest := t.TempDir()
		_, err := s.Checkout(t.Context(), 42, sha, dest)
		if KindOf(err) != KindInvalid || !strings.Contains(err.Error(), c.words) || len(content(t, dest)) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.MaxBytes, s.MaxFiles = 10, 3
	if files, _ := checkedOut(t, s, sha); len(files) != 3 {
		t.Error(files)
	}
	full := t.TempDir()
	write(t, filepath.Join(full, "there"), "")
	if _, err := s.Checkout(t.Context(), 42, sha, full); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder that is not empty: %v", err)
	}
	if _, err := s.Checkout(t.Context(), 42, strings.Repeat("cd", 20), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a commit that was not fetched: %v", err)
	}
}

// A tree that holds itself many times over is tiny in git and endless on disk.
func TestCheckoutStopsAtATreeBomb(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	tree := g.pipe("100644 blob "+g.pipe("x", "hash-object", "-w", "--stdin")+"\tx\n", "mktree")
	for range 10 {
		var list strings.Builder
		for i := range 10 {
			fmt.Fprintf(&list, "040000 tree %s\td%d\n", tree, i)
		}
		tree = g.pipe(list.String(), "mktree")
	}
	sha := g.tree(map[string]string{"040000 bomb": tree})
	mustFetch(t, s, g.client(), sha)
	s.MaxFiles = 500
	if _, err := s.Checkout(t.Context(), 42, sha, t.TempDir()); KindOf(err) != KindInvalid || !strings.Contains(err.Error(), "500") {
		t.Errorf("err = %v", err)
	}
}
