package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A line is a desk with one worker, jobs that wait and how long the jobs of each stack take.
type line struct {
	desk    desk
	now     time.Time
	takes   map[string]time.Duration
	waiting []store.Job
	asked   int
}

func newLine(takes map[string]time.Duration) *line {
	return &line{desk: newDesk(), now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), takes: takes}
}

func (l *line) ask(project int64, stack string, n int) {
	for range n {
		l.asked++
		l.waiting = append(l.waiting, store.Job{Run: fmt.Sprintf("%03d", l.asked), Project: project, Stack: stack, Type: runs.Proposed})
	}
}

// serve lets n jobs have their turn and returns their stacks.
func (l *line) serve(t *testing.T, n int) (stacks []string) {
	t.Helper()
	for range n {
		j, ok := l.desk.next(l.waiting, 1)
		if !ok {
			t.Fatal("nobody's turn")
		}
		l.desk.take(j, l.now)
		l.now = l.now.Add(l.takes[j.Stack])
		l.desk.leave(j.Run, l.now)
		l.waiting = without(l.waiting, j)
		stacks = append(stacks, j.Stack)
	}
	return stacks
}

func last(list []string, s string) int {
	slices.Reverse(list)
	i := slices.Index(list, s)
	slices.Reverse(list)
	return len(list) - 1 - i
}

// Ten quick runs do not wait for ten slow ones: each stack has the workers for as long, not as often.
func TestQuickStacksDoNotWaitForSlowOnes(t *testing.T) {
	l := newLine(map[string]time.Duration{"slow": 10 * time.Second, "quick": time.Second, "quick2": time.Second})
	l.ask(1, "slow", 10)
	l.ask(1, "quick", 10)
	l.ask(1, "quick2", 10)
	got := l.serve(t, 30)
	if i := last(got, "quick"); i > 21 {
		t.Errorf("the last quick run was number %d: %v", i+1, got)
	}
	if n := len(slices.DeleteFunc(slices.Clone(got[:20]), func(s string) bool { return s != "slow" })); n == 0 {
		t.Errorf("the slow stack had no turn among the first 20: %v", got)
	}
}

// A stack that had nothing to do for long gets its turn at once, and no more than its share after that.
func TestWhoComesAnewHasNoClaimOnThePast(t *testing.T) {
	l := newLine(map[string]time.Duration{"busy": time.Second, "new": time.Second})
	l.ask(1, "busy", 60)
	l.serve(t, 50)
	l.ask(1, "new", 10)
	got := l.serve(t, 20)
	for i := 0; i < 20; i += 2 {
		if got[i] == got[i+1] {
			t.Fatalf("they do not take turns: %v", got)
		}
	}
}

// The same holds among projects, and between them it comes first.
func TestProjectsShareTimeBeforeStacks(t *testing.T) {
	l := newLine(map[string]time.Duration{"a1": 4 * time.Second, "a2": 4 * time.Second, "z": time.Second})
	l.ask(1, "a1", 5)
	l.ask(1, "a2", 5)
	l.ask(2, "z", 8)
	if i := last(l.serve(t, 12), "z"); i > 10 {
		t.Errorf("the last run of the quick project was number %d", i+1)
	}
}

// While GitLab keeps a job waiting its worker works for others, so that time is not the job's.
func TestALentWorkerIsNotCharged(t *testing.T) {
	l := newLine(nil)
	l.ask(1, "a", 1)
	j := l.waiting[0]
	l.desk.take(j, l.now)
	l.desk.lend(j.Run, l.now.Add(2*time.Second))
	l.desk.leave(j.Run, l.now.Add(time.Hour))
	if got := l.desk.shares.used["stack/a"]; got != 2*time.Second {
		t.Errorf("charged %v", got)
	}
}
