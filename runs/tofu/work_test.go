package tofu

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func TestAccess(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"tofu-1.2.3": ""})
	link := filepath.Join(dir, "tofu")
	if err := os.Symlink("tofu-1.2.3", link); err != nil {
		t.Fatal(err)
	}
	if ro, _ := (Work{Root: "/run/source", Aux: "/run/aux"}).Access(); len(ro) > 0 {
		t.Errorf("a custom tool may read %q", ro)
	}
	ro, rw := Work{Binary: Binary{Path: link}, Mirror: "/m", Root: "/run/source/infra/net", Aux: "/run/aux"}.Access()
	if diff := cmp.Diff([][]string{{link, filepath.Join(dir, "tofu-1.2.3"), "/m"}, {"/run/source", "/run/aux"}}, [][]string{ro, rw}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a run leaves behind can be anything.
func TestOpen(t *testing.T) {
	w := newWork(t, Binary{Tool: runs.OpenTofu, Path: "/bin/true"}, nil)
	outside := t.TempDir()
	write(t, outside, map[string]string{"key": "precious", "plan.json": "precious"})
	mustPrepare(t, w, []byte("state"))
	write(t, w.Root, map[string]string{"errored.tfstate": "rescued"})
	for path, want := range map[string]string{w.StateFile(): "state", w.ErroredState(): "rescued"} {
		f, err := w.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(f); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", path, b, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.Open(w.PlanJSON()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for name, lay := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink(filepath.Join(outside, "key"), path) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		if err := errors.Join(os.RemoveAll(w.PlanJSON()), lay(w.PlanJSON())); err != nil {
			t.Fatal(err)
		}
		if f, err := w.Open(w.PlanJSON()); err == nil {
			t.Errorf("%s was opened: %v", name, f.Name())
		}
	}
	if err := errors.Join(os.RemoveAll(w.Root), os.Symlink(outside, w.Root)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Open(filepath.Join(w.Root, "plan.json")); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("a root that has become a link: %v", err)
	}
}
