package engine

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// jobs gives waiting jobs to free workers and passes on wishes to stop. A worker is a goroutine that lives
// as long as its job; the number at work is bounded by Workers. While all are busy a pass looks only at what is at
// work, however long the queue.
func (e *Engine) jobs(ctx context.Context) (time.Duration, error) {
	if err := e.passOnStops(); err != nil {
		return 0, err
	}
	if !e.mayBegin() {
		return idle, nil
	}
	list, err := e.ready()
	if err != nil {
		return 0, err
	}
	next := idle
	if e.Room().Short() {
		list, next = begun(list), lookForRoom
	}
	for {
		job, ok := e.reserve(list)
		if !ok {
			return next, nil
		}
		err := e.claim(job)
		if err == nil {
			e.wg.Go(func() { e.worker(ctx, job) })
			continue
		}
		e.release(job)
		if !errors.Is(err, runs.ErrConflict) && !errors.Is(err, runs.ErrNotFound) {
			return 0, err
		}
		list = without(list, job) // the run moved on in the meantime
	}
}

func without(list []store.Job, gone store.Job) []store.Job {
	var out []store.Job
	for _, j := range list {
		if j.Run != gone.Run {
			out = append(out, j)
		}
	}
	return out
}

// mayBegin reports whether a pass over the queue could begin anything.
func (e *Engine) mayBegin() bool {
	workers := e.Workers()
	e.mu.Lock()
	defer e.mu.Unlock()
	look := e.desk.again || e.desk.busy() < workers
	e.desk.again = false
	return look
}

// ready returns the jobs that could be worked on.
func (e *Engine) ready() ([]store.Job, error) {
	var out []store.Job
	err := e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		list, err := tx.Jobs()
		if err != nil {
			return err
		}
		active, err := tx.ActiveIDs()
		if err != nil {
			return err
		}
		for _, j := range runnable(list, active) {
			if !in.Linked && !j.Claimed {
				continue // detached: nothing new runs
			}
			if held, err := e.heldJob(tx, j); err != nil {
				return err
			} else if !held {
				out = append(out, j)
			}
		}
		return nil
	})
	return out, err
}

// heldJob reports whether a lock that came after the request, or missing approvals, keep a task or destroy run from its begin.
func (e *Engine) heldJob(tx *store.Tx, j store.Job) (bool, error) {
	if j.Claimed || !changesAtOnce(j.Type) {
		return false, nil
	}
	st, err := tx.Stack(j.Stack)
	if err != nil {
		return false, notGone(err)
	}
	r, err := tx.Run(j.Run)
	if err != nil {
		return false, err
	}
	g, err := e.Gate(tx, st, r)
	return lockedFor(st, r.TriggeredBy) || !g.Open(), err
}

// notGone forgives that a stack was deleted: its runs are ended where they begin.
func notGone(err error) error {
	if errors.Is(err, runs.ErrNotFound) {
		return nil
	}
	return err
}

// reserve takes a worker for the job whose turn it is. Jobs that were begun always get one: their processes
// are at work already.
func (e *Engine) reserve(list []store.Job) (store.Job, bool) {
	workers, now := e.Workers(), e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	j, ok := e.desk.next(list, workers)
	if ok {
		e.desk.take(j, now)
	}
	return j, ok
}

func (e *Engine) release(j store.Job) {
	now := e.now()
	e.mu.Lock()
	e.desk.leave(j.Run, now)
	e.mu.Unlock()
}

// passOnStops interrupts the jobs at work whose runs are to end.
func (e *Engine) passOnStops() error {
	e.mu.Lock()
	var atWork []string
	for run := range e.desk.slots {
		atWork = append(atWork, run)
	}
	e.mu.Unlock()
	return e.st.View(func(tx *store.Tx) error {
		for _, id := range atWork {
			r, err := tx.Run(id)
			if errors.Is(err, runs.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if r.StopAsked != "" {
				e.interrupt(id)
			}
		}
		return nil
	})
}

// interrupt asks the process at work for a run to end.
func (e *Engine) interrupt(run string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.desk.slots[run]
	if s == nil {
		return
	}
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
}

func (e *Engine) stopOf(run string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.desk.slots[run]; s != nil {
		return s.stop
	}
	return nil
}

// claim moves the run on and marks its job as taken, in one transaction. A blocking run that another of its stack
// got ahead of is an ErrConflict.
func (e *Engine) claim(j store.Job) error {
	if j.Claimed {
		return cmp.Or(e.st.View(func(tx *store.Tx) error { return stillThere(tx, j) }), e.passOnStops())
	}
	return e.st.Update(func(tx *store.Tx) error {
		if err := stillThere(tx, j); err != nil {
			return err
		}
		r, err := tx.Run(j.Run)
		if err != nil {
			return err
		}
		if r.Type.Blocking() && r.State == runs.Queued {
			active, err := tx.Active(r.Stack)
			if err != nil {
				return err
			}
			if b, blocked := runs.Blocker(r, active); blocked {
				return runs.Conflictf("Run %s is before it.", b.ID)
			}
		}
		approvals, err := e.approvalsToBegin(tx, r)
		if err != nil {
			return err
		}
		if _, err := tx.Apply(j.Run, runs.Claimed{Meta: runs.Meta{At: tx.Now()}, Reviews: approvals}); err != nil {
			return err
		}
		if err := tx.ClaimJob(j); err != nil || !changesAtOnce(r.Type) {
			return err
		}
		return e.Reweigh(tx, r.Stack) // it used up what others may have counted on
	})
}

// stillThere is an ErrConflict when the job has changed since it was listed: the worker that had it may have ended it in
// between, and its end must not be taken in twice.
func stillThere(tx *store.Tx, j store.Job) error {
	now, ok, err := tx.Job(j.Run)
	if err == nil && (!ok || now.Phase != j.Phase || now.Claimed != j.Claimed) {
		err = runs.Conflictf("The run has moved on.")
	}
	return err
}

// worker works on one job and then lets the next one have its place. What fails inside (a full disk, say)
// leaves the job claimed; it is taken up again after a pause.
func (e *Engine) worker(ctx context.Context, j store.Job) {
	err := e.work(ctx, j)
	e.hitch(j.Run, err)
	if err != nil && ctx.Err() == nil {
		e.log.Error("job failed inside and is taken up again", "run", j.Run, "phase", j.Phase, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	now := e.now()
	e.mu.Lock()
	e.desk.leave(j.Run, now)
	e.desk.again = e.desk.again || err != nil
	e.mu.Unlock()
	wake(e.jobsWake)
}

// sweep removes what a run that has ended leaves behind: workspace and saved plan. Changes stay, and
// logs, compressed.
func (e *Engine) sweep(r runs.Run) {
	if !r.State.Terminal() {
		return
	}
	packed := e.packLogs(r.ID)
	// The workspace goes last: as long as it is there, the next start tidies up again.
	err := errors.Join(e.spaceOf(r).removeTmp(), e.st.Remove("plans", r.ID+".sealed"), e.st.Remove(environmentFile(r.ID)...), e.st.Remove("work", r.ID))
	if store.Full(packed) {
		packed = e.packLogs(r.ID) // now there may be room
	}
	if err = errors.Join(packed, err); err != nil {
		e.log.Error("what an ended run left behind could not be tidied up", "run", r.ID, "error", err)
	}
}

// tidy does at start what a crash may have left undone: workspaces of ended runs go, and those of runs that
// wait for a person keep no plan or state in clear.
func (e *Engine) tidy() {
	dirs, err := os.ReadDir(e.st.Path("work"))
	if err != nil {
		e.log.Error("workspaces could not be listed", "error", err)
	}
	for _, d := range dirs {
		var r runs.Run
		err := e.st.View(func(tx *store.Tx) error {
			var err error
			r, err = tx.Run(d.Name())
			return err
		})
		switch {
		case errors.Is(err, runs.ErrNotFound):
			r = runs.Run{ID: d.Name(), State: runs.Canceled}
			fallthrough
		case err == nil && r.State.Terminal():
			e.sweep(r)
		case err == nil && r.State == runs.Unconfirmed:
			e.scrub(e.spaceOf(r))
		}
	}
	if err := e.tidyWarm(); err != nil {
		e.log.Error("what init made could not be tidied up", "error", err)
	}
}
