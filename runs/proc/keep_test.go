package proc

import (
	"os"
	"path/filepath"
	"testing"
)

// The copy is of what the command left, not of what those after it make of it, and of none that failed; links are copied as
// links; what is not there is left out; and what can't be copied is no copy at all.
func TestKeep(t *testing.T) {
	first := shell("first", "mkdir -p made/deep && echo one > made/deep/file && chmod 700 made/deep/file && ln -s /etc made/link && ln -s made/deep/file list")
	second := shell("second", "echo two > made/deep/file; echo late > made/late; test ! -e kept || echo evil > kept/x")
	b := newBench(t, first, second)
	kept := filepath.Join(t.TempDir(), "kept")
	b.spec.Commands[0].Keep = &Keep{Files: []string{b.work("made"), b.work("absent")}, To: kept}
	if res := b.run(); !res.OK {
		t.Fatalf("%+v", res)
	}
	if got := read(t, filepath.Join(kept, "made", "deep", "file")); got != "one\n" {
		t.Errorf("kept %q", got)
	}
	if to, err := os.Readlink(filepath.Join(kept, "made", "link")); err != nil || to != "/etc" {
		t.Errorf("link to %q, %v", to, err)
	}
	if info, err := os.Stat(filepath.Join(kept, "made", "deep", "file")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("%v, %v: it can't be executed", info, err)
	}
	if exists(filepath.Join(kept, "made", "late")) || exists(kept+".tmp") {
		t.Error("more was kept than the first command left")
	}
}

func TestKeepNothing(t *testing.T) {
	for name, script := range map[string]string{
		"failed": "mkdir made; exit 1",
		"a pipe": "mkdir made && mkfifo made/pipe",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, shell("first", script), shell("second", "true"))
			kept := filepath.Join(t.TempDir(), "kept")
			b.spec.Commands[0].Keep = &Keep{Files: []string{b.work("made")}, To: kept}
			if res := b.run(); res.OK != (name == "a pipe") {
				t.Errorf("%+v", res)
			}
			if exists(kept) || exists(kept+".tmp") {
				t.Error("something is kept")
			}
		})
	}
}
