package proc

import (
	"strings"
	"testing"
)

// TestACommandGivesWay: the server goes before its runs, with the processor and when memory runs out.
func TestACommandGivesWay(t *testing.T) {
	b := newBench(t, shell("look", `cat /proc/self/oom_score_adj; awk '{print "nice " $19 ", policy " $41}' /proc/self/stat`))
	if res := b.run(); !res.OK {
		t.Fatalf("%+v", res)
	}
	if log := b.log("planning"); !strings.Contains(log, "\n500\n") || !strings.Contains(log, "nice 10, policy 3") {
		t.Errorf("it runs as:\n%s", log)
	}
}
