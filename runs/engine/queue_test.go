package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// A crowd is an engine over a real store whose jobs do nothing but stand at work until they are sent home.
type crowd struct {
	t     testing.TB
	st    *store.Store
	e     *Engine
	began chan string // run ids, as their jobs begin
}

type standing struct {
	began chan string
	leave chan string
}

// Run tells that the job began and waits until its run is told to leave.
func (s standing) Run(ctx context.Context, j Job) (Result, error) {
	id := j.Dir[strings.LastIndex(j.Dir, "/work/")+len("/work/"):]
	id, _, _ = strings.Cut(id, "/")
	s.began <- id
	for {
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-j.Stop:
			return Result{Stopped: true}, nil
		case who := <-s.leave:
			if who == id {
				return Result{Message: "went home"}, nil
			}
			go func() { s.leave <- who }()
			time.Sleep(time.Millisecond)
		}
	}
}

func newCrowd(t testing.TB, workers int) (*crowd, standing) {
	t.Helper()
	now := time.Now() // the clock stands still: no job takes longer than another
	st, err := store.Open(store.Options{Dir: t.TempDir(), NoSync: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	src, err := gitlab.NewSource(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := standing{make(chan string, 5000), make(chan string)}
	e, err := New(Options{Store: st, Source: src, Runner: s, Workers: workers, ExternalURL: "http://here"})
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, st: st, e: e, began: s.began}
	c.update(func(tx *store.Tx) error {
		return tx.PutIntegration(store.Integration{APIURL: "http://127.0.0.1:1", Linked: true, Token: "x", Secret: "y"})
	})
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	t.Cleanup(func() {
		e.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	e.wg.Go(func() { <-ctx.Done() })
	return c, s
}

// work starts the pump of jobs, and no other.
func (c *crowd) work() {
	ctx, cancel := context.WithCancel(context.Background())
	old := c.e.cancel
	c.e.cancel = func() { old(); cancel() }
	c.e.wg.Go(func() { c.e.pump(ctx, "jobs", c.e.jobsWake, c.e.jobs) })
}

func (c *crowd) update(fn func(tx *store.Tx) error) {
	c.t.Helper()
	if err := c.st.Update(fn); err != nil {
		c.t.Fatal(err)
	}
}

// stacks makes stacks, all of one project.
func (c *crowd) stacks(project int64, names ...string) {
	c.t.Helper()
	c.update(func(tx *store.Tx) error {
		for _, n := range names {
			_, err := tx.AddStack(runs.Stack{
				Name: n, Project: project, ProjectPath: "a/b", Branch: "main", Tool: runs.Terraform, State: runs.StateManaged, Plan: runs.PlanHead,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *crowd) ask(project int64, stack string, typ runs.Type, trigger runs.Trigger, n int) []string {
	c.t.Helper()
	var ids []string
	c.update(func(tx *store.Tx) error {
		for i := range n {
			r, err := tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now()}, Run: runs.Run{
				Stack: stack, Project: project, Type: typ, Trigger: trigger, Branch: fmt.Sprint("b", i), Commit: runs.Commit{SHA: fmt.Sprintf("%040d", i)},
			}})
			if err != nil {
				return err
			}
			ids = append(ids, r.ID)
		}
		return nil
	})
	return ids
}

func (c *crowd) next() string {
	c.t.Helper()
	select {
	case id := <-c.began:
		return id
	case <-time.After(2 * time.Minute):
		c.t.Fatal("no job began")
		return ""
	}
}

func (c *crowd) run(id string) (r runs.Run) {
	c.t.Helper()
	err := c.st.View(func(tx *store.Tx) (err error) { r, err = tx.Run(id); return err })
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *crowd) waiting(id string) (text string) {
	c.t.Helper()
	err := c.st.View(func(tx *store.Tx) error {
		q, err := c.e.Queue(tx)
		if err != nil {
			return err
		}
		r, err := tx.Run(id)
		if err != nil {
			return err
		}
		text, _, err = q.Waiting(r)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// order lets the queue be worked off with so many workers and returns the stacks as they had their turn.
func (c *crowd) order(s standing, n int) (stacks []string) {
	for range n {
		id := c.next()
		stacks = append(stacks, c.run(id).Stack)
		s.leave <- id
	}
	return stacks
}

func TestSixtyRunsOfOneStackStarveNobody(t *testing.T) {
	c, s := newCrowd(t, 1)
	c.stacks(1, "big", "b", "c", "d", "e")
	c.ask(1, "big", runs.Proposed, runs.ByWebhook, 60)
	for _, n := range []string{"b", "c", "d", "e"} {
		c.ask(1, n, runs.Proposed, runs.ByWebhook, 2)
	}
	c.work()
	got := c.order(s, 68)
	want := []string{"big", "b", "c", "d", "e", "big", "b", "c", "d", "e", "big", "big"}
	if d := cmp.Diff(want, got[:12]); d != "" {
		t.Error(d)
	}
}

func TestProjectsTakeTurnsBeforeStacks(t *testing.T) {
	c, s := newCrowd(t, 1)
	c.stacks(1, "a1", "a2", "a3", "a4")
	c.stacks(2, "z")
	for _, n := range []string{"a1", "a2", "a3", "a4"} {
		c.ask(1, n, runs.Proposed, runs.ByWebhook, 1)
	}
	c.ask(2, "z", runs.Proposed, runs.ByWebhook, 2)
	c.work()
	if d := cmp.Diff([]string{"a1", "z", "a2", "z", "a3", "a4"}, c.order(s, 6)); d != "" {
		t.Error(d)
	}
}

func TestBlockingBeforeProposedBeforeDrift(t *testing.T) {
	c, s := newCrowd(t, 1)
	c.stacks(1, "a", "b", "c", "d")
	c.ask(1, "a", runs.Proposed, runs.ByDrift, 1)
	c.ask(1, "b", runs.Proposed, runs.ByWebhook, 1)
	c.ask(1, "c", runs.Tracked, runs.ByWebhook, 1)
	c.ask(1, "d", runs.Task, runs.ByPerson, 1)
	c.work()
	if d := cmp.Diff([]string{"c", "d", "b", "a"}, c.order(s, 4)); d != "" {
		t.Error(d)
	}
}

func TestAPersonPutsARunFirst(t *testing.T) {
	c, s := newCrowd(t, 1)
	c.stacks(1, "a", "b", "c")
	c.ask(1, "a", runs.Tracked, runs.ByWebhook, 1)
	blocking := c.ask(1, "b", runs.Tracked, runs.ByWebhook, 2)
	last := c.ask(1, "c", runs.Proposed, runs.ByDrift, 1)
	for _, id := range []string{last[0], blocking[1], last[0]} { // one of them twice
		if _, err := c.e.Prioritize(id, "ann"); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.waiting(last[0]); got != "waits for a worker (0 of 1 busy), put first by ann" {
		t.Errorf("waits: %s", got)
	}
	c.work()
	var got []string
	for range 4 {
		got = append(got, c.next())
		s.leave <- got[len(got)-1]
	}
	if got[0] != last[0] {
		t.Errorf("the run put first is number %d", slices.Index(got, last[0]))
	}
	if slices.Index(got, blocking[0]) > slices.Index(got, blocking[1]) {
		t.Error("blocking runs of one stack changed places")
	}
	if _, err := c.e.PutBack(last[0], "ann"); err == nil {
		t.Error("an ended run was put back")
	}
	if _, err := c.e.Prioritize(last[0], "ann"); err == nil || !strings.Contains(err.Error(), "only a run that waits for a worker") {
		t.Errorf("an ended run was put first: %v", err)
	}
}

func TestWorkersChangeAtOnceBothWays(t *testing.T) {
	c, s := newCrowd(t, 1)
	c.stacks(1, "a")
	ids := c.ask(1, "a", runs.Proposed, runs.ByWebhook, 6)
	c.work()
	first := []string{c.next()}
	if got := c.waiting(ids[5]); got != "waits for a worker (1 of 1 busy)" {
		t.Errorf("waits: %s", got)
	}
	if err := c.e.SetWorkers(3, "ann"); err != nil {
		t.Fatal(err)
	}
	first = append(first, c.next(), c.next())
	if err := c.e.SetWorkers(1, "ann"); err != nil {
		t.Fatal(err)
	}
	if got := c.waiting(ids[5]); got != "waits for a worker (3 of 1 busy)" {
		t.Errorf("waits: %s", got)
	}
	for _, id := range first[:2] {
		s.leave <- id
	}
	until(t, func() bool { return c.run(first[0]).State.Terminal() && c.run(first[1]).State.Terminal() })
	select {
	case id := <-c.began:
		t.Fatalf("%s began beside the one that is allowed", id)
	case <-time.After(100 * time.Millisecond): // nothing is what is waited for
	}
	s.leave <- first[2]
	if id := c.next(); id != ids[3] {
		t.Errorf("%s began, want %s", id, ids[3])
	}
}

// A list of jobs may be older than the end of one of them: that end is not taken in twice, nor is a job begun that is none.
func TestAJobThatEndedMeanwhileIsNotTakenUpAgain(t *testing.T) {
	c, s := newCrowd(t, 2)
	c.stacks(1, "a")
	id := c.ask(1, "a", runs.Proposed, runs.ByWebhook, 1)[0]
	listed := func() (j store.Job) {
		err := c.st.View(func(tx *store.Tx) (err error) { j, _, err = tx.Job(id); return err })
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	waiting := listed()
	c.work()
	if c.next() != id {
		t.Fatal("another run began")
	}
	atWork := listed()
	if err := c.e.claim(waiting); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("a job that was begun is begun again: %v", err)
	}
	s.leave <- id
	until(t, func() bool { return c.run(id).State.Terminal() })
	if err := c.e.claim(atWork); !atWork.Claimed || !errors.Is(err, runs.ErrConflict) {
		t.Errorf("a job that ended is taken up again: %v", err)
	}
}

func TestWhatARunWaitsFor(t *testing.T) {
	c, _ := newCrowd(t, 2)
	c.stacks(1, "a")
	ids := c.ask(1, "a", runs.Tracked, runs.ByWebhook, 2)
	if got := c.waiting(ids[1]); got != "blocked by run "+ids[0]+" (queued)" {
		t.Errorf("blocked: %s", got)
	}
	c.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		in.Linked = false
		if err != nil {
			return err
		}
		return tx.PutIntegration(in)
	})
	if got := c.waiting(ids[0]); got != "the stack is detached: GitLab is not linked" {
		t.Errorf("detached: %s", got)
	}
}

// TestASlowFetchLendsItsWorker: while GitLab keeps one project's run waiting, others use the worker, runs of the same
// project do not pile up beside it, and it has the worker back before anything new begins.
func TestASlowFetchLendsItsWorker(t *testing.T) {
	c, s := newCrowd(t, 1)
	c.stacks(1, "slow", "slow2")
	c.stacks(2, "quick")
	slow := c.ask(1, "slow", runs.Proposed, runs.ByWebhook, 1)[0]
	beside := c.ask(1, "slow2", runs.Proposed, runs.ByWebhook, 1)[0]
	c.work()
	if id := c.next(); id != slow {
		t.Fatalf("%s began", id)
	}
	tk := &task{e: c.e, job: store.Job{Run: slow, Project: 1}}
	back, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- tk.lending(t.Context(), func() error { <-back; return nil })
	}()
	until(t, func() bool { return strings.Contains(c.waiting(beside), "slow to hand over") })
	quick := c.ask(2, "quick", runs.Proposed, runs.ByWebhook, 2)
	if id := c.next(); id != quick[0] {
		t.Fatalf("%s began, want %s", id, quick[0])
	}
	close(back)
	until(t, func() bool { c.e.mu.Lock(); defer c.e.mu.Unlock(); return c.e.desk.slots[slow].waiting })
	s.leave <- quick[0]
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-c.began:
		t.Fatalf("%s began although the worker is back", id)
	case <-time.After(100 * time.Millisecond):
	}
	s.leave <- slow
	if id := c.next(); id != quick[1] && id != beside {
		t.Errorf("%s began", id)
	}
}

func until(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
	}
}

// TestAThousandWaitingRunsCostLittle: what a wake of the dispatcher costs must not grow with the queue while all
// workers are busy, and a pass over the queue must stay small.
func TestAThousandWaitingRunsCostLittle(t *testing.T) {
	c, _ := newCrowd(t, 2)
	for i := range 50 {
		name := fmt.Sprint("s", i)
		c.stacks(int64(1+i%10), name)
		c.ask(int64(1+i%10), name, runs.Proposed, runs.ByWebhook, 10)
		c.ask(int64(1+i%10), name, runs.Tracked, runs.ByWebhook, 10)
	}
	pass := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			if list, err := c.e.ready(); err != nil || len(list) != 550 {
				b.Fatalf("%d jobs, %v", len(list), err)
			}
		}
	})
	t.Logf("a pass over 1,000 waiting runs takes %v", time.Duration(pass.NsPerOp()))
	if d := time.Duration(pass.NsPerOp()); d > 100*time.Millisecond {
		t.Errorf("a pass over the queue takes %v", d)
	}
	if _, err := c.e.jobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.next()
	c.next()
	busy := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			if _, err := c.e.jobs(t.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	t.Logf("a wake while all are busy takes %v", time.Duration(busy.NsPerOp()))
	if d := time.Duration(busy.NsPerOp()); d > 5*time.Millisecond {
		t.Errorf("a wake takes %v while all are busy", d)
	}
}
