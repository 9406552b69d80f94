package proc

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// fileKB is how much of the process's memory are pages of files.
func fileKB(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(raw)
	if m == nil {
		t.Fatalf("no RssFile in %s", raw)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// touch reads all of the program's own file where it is mapped, as start-up reads parts of it.
func touch(t *testing.T) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(strings.TrimSpace(line), " "+exe) {
			if _, err := mem.ReadAt(make([]byte, to-from), int64(from)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A process that settles is smaller, and works on.
func TestSettle(t *testing.T) {
	touch(t)
	before := fileKB(t)
	if err := Settle(); err != nil {
		t.Fatal(err)
	}
	if after := fileKB(t); after >= before {
		t.Errorf("pages of files: %d kB before, %d kB after", before, after)
	}
	touch(t) // all of it is there as it was
}
