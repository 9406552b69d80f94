package proc

import (
	"regexp"
	"strings"
	"testing"
)

// TestACommandGivesWay: the server goes before its runs, with the processor and when memory runs out.
func TestACommandGivesWay(t *testing.T) {
	b := newBench(t, shell("look", `cat /proc/self/oom_score_adj; awk '{print "nice " $19 ", policy " $41}' /proc/self/stat; cat /proc/self/autogroup 2>/dev/null || true`))
	if res := b.run(); !res.OK {
		t.Fatalf("%+v", res)
	}
	if log := b.log("planning"); !strings.Contains(log, "\n500\n") || !strings.Contains(log, "nice 10, policy 3") {
		t.Errorf("it runs as:\n%s", log)
	} else if grouped := exists("/proc/self/autogroup"); grouped && !regexp.MustCompile(`autogroup-[0-9]+ nice 10\n`).MatchString(log) {
		t.Errorf("its session does not give way:\n%s", log)
	}
}
