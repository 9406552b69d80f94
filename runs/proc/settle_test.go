package proc

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// fileMB is how much of the process's memory are pages of files.
func fileMB(t *testing.T) int {
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
	return kb >> 10
}

// A process that settles is smaller, and works on.
func TestSettle(t *testing.T) {
	before := fileMB(t)
	if err := Settle(); err != nil {
		t.Fatal(err)
	}
	if after := fileMB(t); after >= before || regexp.MustCompile(`a+b`).FindString("xaab") != "aab" {
		t.Errorf("pages of files: %d MB before, %d MB after", before, after)
	}
}
