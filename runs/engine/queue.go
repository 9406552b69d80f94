package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A slot is the place of a job that a worker has.
type slot struct {
	job     store.Job
	stop    chan struct{} // closed to interrupt the job's process
	since   time.Time     // it has the worker, unless that is lent
	lent    bool          // GitLab keeps it waiting, so another job may use its worker meanwhile
	waiting bool          // it wants its worker back
}

// A desk says who is at work and whose turn it is. It is guarded by Engine.mu.
type desk struct {
	slots map[string]*slot // by run
	// turns says when a project or stack last got a worker, in counts of such occasions: who waits longest is next.
	// It is forgotten with the process; after a restart age alone decides.
	turns  map[string]uint64
	turn   uint64
	shares shares
	again  bool // a job that was begun may be without a worker: look for it even if all are busy
}

// busy is how many workers are taken.
func (d *desk) busy() int {
	n := 0
	for _, s := range d.slots {
		if !s.lent || s.waiting {
			n++
		}
	}
	return n
}

func projectKey(j store.Job) string { return "project/" + strconv.FormatInt(j.Project, 10) }
func stackKey(j store.Job) string   { return "stack/" + j.Stack }

func newDesk() desk {
	return desk{slots: map[string]*slot{}, turns: map[string]uint64{}, shares: newShares(), again: true}
}

// take gives the job a worker.
func (d *desk) take(j store.Job, now time.Time) {
	d.slots[j.Run] = &slot{job: j, stop: make(chan struct{}), since: now}
	d.turn++
	d.turns[projectKey(j)], d.turns[stackKey(j)] = d.turn, d.turn
}

// leave takes the worker from the job of a run.
func (d *desk) leave(run string, now time.Time) {
	if s := d.slots[run]; s != nil && !s.lent {
		d.shares.charge(s.job, now.Sub(s.since))
	}
	delete(d.slots, run)
}

// lend lets another job use the worker.
func (d *desk) lend(run string, now time.Time) {
	if s := d.slots[run]; s != nil && !s.lent {
		d.shares.charge(s.job, now.Sub(s.since))
		s.lent = true
	}
}

// class orders jobs: what was begun, what a person put first, then blocking runs, proposed ones, drift.
func class(j store.Job) int {
	switch {
	case j.Claimed:
		return 0
	case j.First:
		return 1
	case j.Trigger == runs.ByDrift:
		return 4
	case j.Type.Blocking():
		return 2
	default:
		return 3
	}
}

// next chooses among the jobs that may be begun: by class, then fair between projects, then between the stacks of a
// project (who has least at work, then who had workers for the shortest time, then who waits longest for a turn), then
// oldest first.
func (d *desk) next(list []store.Job, workers int) (store.Job, bool) {
	room := d.busy() < workers
	atWork := map[string]int{}
	slow := map[int64]bool{}
	for _, s := range d.slots {
		atWork[projectKey(s.job)]++
		atWork[stackKey(s.job)]++
		slow[s.job.Project] = slow[s.job.Project] || s.lent
	}
	waiting := slices.DeleteFunc(slices.Clone(list), func(j store.Job) bool { return d.slots[j.Run] != nil })
	d.shares.lift(waiting)
	var best store.Job
	for _, j := range waiting {
		if !j.Claimed && (!room || slow[j.Project] && j.Phase != runs.PhaseApply) {
			continue
		}
		if best.Run == "" || d.compare(j, best, atWork) < 0 {
			best = j
		}
	}
	return best, best.Run != ""
}

func (d *desk) compare(a, b store.Job, atWork map[string]int) int {
	if c := cmp.Compare(class(a), class(b)); c != 0 {
		return c
	}
	project := projectKey(a)
	if other := projectKey(b); other != project {
		return d.fair("", project, other, atWork)
	}
	if c := d.fair(project, stackKey(a), stackKey(b), atWork); c != 0 {
		return c
	}
	return cmp.Compare(a.Run, b.Run)
}

// fair says whose turn it is of two projects, or of two stacks of one. It is 0 for one with itself.
func (d *desk) fair(among, x, y string, atWork map[string]int) int {
	had := func(key string) time.Duration { return d.shares.of(among, key).Truncate(grain) }
	return cmp.Or(cmp.Compare(atWork[x], atWork[y]), cmp.Compare(had(x), had(y)), cmp.Compare(d.turns[x], d.turns[y]))
}

// runnable leaves out the jobs of blocking runs whose stack has another one before them. list is oldest first; active are
// the runs that have not ended, with their stacks. Of those only one that waits for a person has no job.
func runnable(list []store.Job, active map[string]string) []store.Job {
	taken := map[string]bool{} // stacks with a blocking run between its start and its end
	hasJob := make(map[string]bool, len(list))
	for _, j := range list {
		hasJob[j.Run] = true
		if j.Type.Blocking() && (j.Claimed || j.Phase == runs.PhaseApply) {
			taken[j.Stack] = true
		}
	}
	for id, slug := range active {
		if !hasJob[id] {
			taken[slug] = true
		}
	}
	return slices.DeleteFunc(list, func(j store.Job) bool {
		if j.Claimed || !j.Type.Blocking() || j.Phase == runs.PhaseApply {
			return false
		}
		before := taken[j.Stack]
		taken[j.Stack] = true
		return before
	})
}

// slowFetch is how long a run may wait for GitLab before its worker is lent to another one.
const slowFetch = 2 * time.Second

// lending lends the job's worker to others if do takes long, and has it back afterwards.
func (t *task) lending(ctx context.Context, do func() error) error {
	e := t.e
	timer := time.AfterFunc(slowFetch, func() {
		now := e.now()
		e.mu.Lock()
		e.desk.lend(t.job.Run, now)
		e.mu.Unlock()
		wake(e.jobsWake)
	})
	err := do()
	timer.Stop()
	return cmp.Or(err, e.takeBack(ctx, t.job.Run))
}

// takeBack waits until a lent worker is free again. It comes before jobs that have not begun.
func (e *Engine) takeBack(ctx context.Context, run string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if e.tookBack(run, e.Workers()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (e *Engine) tookBack(run string, workers int) bool {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.desk.slots[run]
	if s == nil || !s.lent {
		return true
	}
	s.waiting = true // counts as busy from here on, so busy() includes this job itself
	if e.desk.busy()-e.desk.wanting() >= workers {
		return false
	}
	s.lent, s.waiting, s.since = false, false, now
	return true
}

// wanting is how many jobs want a lent worker back.
func (d *desk) wanting() int {
	n := 0
	for _, s := range d.slots {
		if s.waiting {
			n++
		}
	}
	return n
}

// A Queue says what runs wait for, as one transaction sees it. It is valid only inside that.
type Queue struct {
	e             *Engine
	tx            *store.Tx
	linked        bool
	busy, workers int
	slow          map[int64]bool
	room          runs.Room
	hitches       map[string]string
	active        map[string][]*runs.Run // by stack, as far as asked for
}

// Queue looks at the queue.
func (e *Engine) Queue(tx *store.Tx) (*Queue, error) {
	in, _, err := tx.Integration()
	if err != nil {
		return nil, err
	}
	l := e.limitsIn(tx)
	q := &Queue{e: e, tx: tx, linked: in.Linked, workers: int(l.Workers), slow: map[int64]bool{}, room: e.roomFor(l), active: map[string][]*runs.Run{}}
	e.mu.Lock()
	defer e.mu.Unlock()
	q.hitches = maps.Clone(e.hitches)
	q.busy = e.desk.busy()
	for _, s := range e.desk.slots {
		if s.lent {
			q.slow[s.job.Project] = true
		}
	}
	return q, nil
}

// Waiting says in words what a run waits for before it goes on by itself, "" when it does not. The blocker is the run it
// waits for, when that is one.
func (q *Queue) Waiting(r runs.Run) (text string, blocker *runs.Run, err error) {
	if r.State.Working() {
		return q.hitch(r), nil, nil
	}
	if r.State != runs.Queued && r.State != runs.Confirmed {
		return "", nil, nil
	}
	b, blocked, err := q.blocker(r)
	if err != nil {
		return "", nil, err
	}
	if blocked {
		blocker = &b
	}
	hold, err := q.hold(r)
	if err != nil {
		return "", nil, err
	}
	switch {
	case !q.linked:
		text = "the stack is detached: GitLab is not linked"
	case blocked:
		text = fmt.Sprintf("blocked by run %s (%s)", b.ID, b.State)
	case hold != "":
		text = hold
	case q.room.Short():
		text = fmt.Sprintf("waits for room on the disk of the data folder, which has less than %s left (--min-free)", runs.SizeText(q.room.Least))
	case q.slow[r.Project] && r.State == runs.Queued:
		text = "waits for GitLab, which is slow to hand over the code of this project"
	default:
		text = fmt.Sprintf("waits for a worker (%d of %d busy)", q.busy, q.workers)
	}
	if r.PrioritizedBy != "" {
		text += ", put first by " + r.PrioritizedBy
	}
	return text, blocker, nil
}

// hold says who or what keeps a task or destroy run from its begin.
func (q *Queue) hold(r runs.Run) (string, error) {
	if !changesAtOnce(r.Type) {
		return "", nil
	}
	st, err := q.tx.Stack(r.Stack)
	if err != nil {
		return "", notGone(err)
	}
	if lockedFor(st, r.TriggeredBy) {
		return st.LockedBy + " locked the stack" + because(st.LockNote), nil
	}
	g, err := q.e.Gate(q.tx, st, r)
	if err != nil || g.Open() {
		return "", err
	}
	return "waits for approval: " + g.Text(), nil
}

// Gate weighs the reviews of what a run would do; of a run whose stack is gone, and of a test, there are none.
func (q *Queue) Gate(r runs.Run) (runs.Gate, error) {
	if r.Test != nil {
		return runs.Gate{}, nil
	}
	st, err := q.tx.Stack(r.Stack)
	if err != nil {
		return runs.Gate{}, notGone(err)
	}
	return q.e.Gate(q.tx, st, r)
}

func (q *Queue) blocker(r runs.Run) (runs.Run, bool, error) {
	if r.State != runs.Queued || !r.Type.Blocking() {
		return runs.Run{}, false, nil
	}
	list, ok := q.active[r.Stack]
	if !ok {
		var err error
		if list, err = q.tx.Active(r.Stack); err != nil {
			return runs.Run{}, false, err
		}
		q.active[r.Stack] = list
	}
	b, blocked := runs.Blocker(r, list)
	return b, blocked, nil
}

// PutBack takes back that a waiting run was put first: it waits for its turn again.
func (e *Engine) PutBack(id, by string) (runs.Run, error) {
	return e.apply(id, func(m runs.Meta) runs.Event { return runs.Prioritize{Meta: m, Back: true} }, by, "")
}

// Prioritize puts a waiting run before all that have not begun. Blocking runs of one stack keep their order: one that
// waits for another of its stack is first in line once that has ended.
func (e *Engine) Prioritize(id, by string) (runs.Run, error) {
	return e.apply(id, func(m runs.Meta) runs.Event { return runs.Prioritize{Meta: m} }, by, "")
}
