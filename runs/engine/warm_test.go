package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs/tofu"
)

// copied lays down what a shim copied of a run: one package with the given content.
func copied(t *testing.T, l *larder, run, content string) entry {
	t.Helper()
	at := filepath.Join(l.copyOf(run), "data", "providers", "p")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "binary"), []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return entry{Run: run, At: time.Now(), Made: tofu.Made{Packages: map[string]string{"providers/p": at}}}
}

func names(t *testing.T, l *larder, folder string) []string {
	t.Helper()
	list := []string{}
	entries, err := os.ReadDir(l.path(folder))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// Equal packages are kept once; what was unused longest goes first when there is too much; a package goes with the last entry
// that names it, but not while a workspace uses it; and a changed package is replaced, not trusted.
func TestLarder(t *testing.T) {
	w := newWorld(t)
	l := &larder{st: w.st, max: 25}
	for i, content := range []string{"ten bytes.", "ten bytes.", "ten others"} {
		run := fmt.Sprint("run", i)
		if err := l.add(fmt.Sprint("recipe", i), copied(t, l, run, content)); err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(l.entry(fmt.Sprint("recipe", i)), used, used); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, l, "packages"); len(got) != 2 {
		t.Fatalf("packages %v", got)
	}
	binaries, err := filepath.Glob(l.path("packages", "*", "binary"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range binaries {
		if info, err := os.Stat(b); err != nil || info.Mode() != 0o555 {
			t.Errorf("%v, %v: not to be read and executed by all, and written by none", info.Mode(), err)
		}
	}
	if err := l.tidy(nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"recipe0.json", "recipe1.json", "recipe2.json"}, names(t, l, "entries")); diff != "" {
		t.Errorf("all fit:\n%s", diff)
	}
	if got := names(t, l, "new"); len(got) != 0 {
		t.Errorf("copies of runs that are gone: %v", got)
	}

	// A run of the first recipe is on its way; then one more package makes it too much.
	space := space{dir: w.st.Path("work", "living")}
	if err := os.MkdirAll(space.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n, err := l.find(space, note{Recipe: "recipe0"}, func(m tofu.Made) bool { return m.Whole() == nil })
	if err != nil || n.Reused == nil || n.Reused.Run != "run0" {
		t.Fatalf("%+v, %v", n, err)
	}
	if err := l.add("recipe3", copied(t, l, "run3", "ten more..")); err != nil {
		t.Fatal(err)
	}
	if err := l.tidy([]string{"living"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"recipe0.json", "recipe1.json", "recipe3.json"}, names(t, l, "entries")); diff != "" {
		t.Errorf("the longest unused goes:\n%s", diff)
	}
	l.max = 0
	if err := l.tidy([]string{"living"}); err != nil {
		t.Fatal(err)
	}
	if err := n.Reused.Made.Whole(); err != nil || len(names(t, l, "packages")) != 1 {
		t.Errorf("%v; packages %v", err, names(t, l, "packages"))
	}

	// The package is damaged and comes anew.
	binary := filepath.Join(n.Reused.Made.Packages["providers/p"], "binary")
	if err := os.Chmod(binary, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, []byte("evil"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.add("recipe0", copied(t, l, "run4", "ten bytes.")); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(binary); err != nil || string(raw) != "ten bytes." {
		t.Errorf("%q, %v", raw, err)
	}
	if err := l.tidy(nil); err != nil || len(names(t, l, "packages")) != 0 {
		t.Errorf("%v; packages %v", err, names(t, l, "packages"))
	}
}
