package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
)

// logged asks for a run of a branch and gives it a log of some size; ended says that it has ended.
func (w *world) logged(branch string, size int, ended bool) string {
	w.t.Helper()
	r := w.request(runs.Run{Stack: "network", Type: runs.Proposed, Commit: runs.Commit{SHA: sha("a", len(branch))}, Branch: branch})
	if ended {
		w.apply(r.ID, runs.Cancel{Meta: runs.Meta{At: time.Now(), By: runs.System}})
	}
	path := w.e.LogFile(r.ID, runs.Planning)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

func (w *world) removed(id string) string {
	w.t.Helper()
	why, err := w.e.LogsRemoved(id)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := os.Stat(w.e.LogFile(id, runs.Planning)); (err == nil) != (why == "") {
		w.t.Errorf("run %s: the log is %v, and it is said %q", id, err, why)
	}
	return why
}

func TestLogsAreKeptAsLongAsIsSet(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		day := 24 * time.Hour
		w.e.o.Limits = runs.Limits{LogAge: int64(10 * day), LogTotal: 64 << 20}
		old := w.logged("a", 100, true)
		working := w.logged("bb", 100, false)
		time.Sleep(11 * day)
		one := w.logged("ccc", 40<<20, true)
		time.Sleep(time.Hour)
		two := w.logged("dddd", 40<<20, true)
		for range 2 { // again changes nothing
			if err := w.e.pruneLogs(t.Context()); err != nil {
				t.Fatal(err)
			}
			if why := w.removed(old); !strings.Contains(why, "after 10d") {
				t.Errorf("the old one: %q", why)
			}
			if why := w.removed(one); !strings.Contains(why, "had reached 64MiB") {
				t.Errorf("the first of two large ones: %q", why)
			}
			if why := w.removed(working) + w.removed(two); why != "" {
				t.Errorf("a log went that had to stay: %q", why)
			}
		}
	})
}
