package engine

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// jobs gives waiting jobs to free workers and passes on wishes to stop. A worker is a goroutine that lives
// as long as its job; the number at work is bounded by Workers.
func (e *Engine) jobs(ctx context.Context) (time.Duration, error) {
	ready, err := e.ready()
	if err != nil {
		return 0, err
	}
	for _, c := range ready {
		if !e.reserve(c) {
			continue
		}
		job, err := e.claim(c)
		if err != nil {
			e.free(c.job)
			if errors.Is(err, runs.ErrConflict) || errors.Is(err, runs.ErrNotFound) {
				continue // the run moved on in the meantime
			}
			return 0, err
		}
		e.wg.Go(func() { e.worker(ctx, job) })
	}
	return idle, nil
}

// A candidate is a job that could be worked on now.
type candidate struct {
	job store.Job
	run runs.Run
}

// class orders candidates: what was begun, then blocking runs, then proposed ones, then drift.
func (c candidate) class() int {
	switch {
	case c.job.Claimed:
		return 0
	case c.run.Trigger == runs.ByDrift:
		return 3
	case c.run.Type.Blocking():
		return 1
	default:
		return 2
	}
}

// ready returns the jobs that could be worked on, in order: by class, then fair between stacks, then oldest first.
// It also passes on wishes to stop to jobs at work.
func (e *Engine) ready() ([]candidate, error) {
	var out []candidate
	atWork := map[string]int{}
	err := e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		list, err := tx.Jobs()
		if err != nil {
			return err
		}
		active := map[string][]runs.Run{}
		for _, j := range list {
			r, err := tx.Run(j.Run)
			if err != nil {
				return err
			}
			if e.isWorking(j) {
				atWork[j.Stack]++
				if r.StopAsked != "" {
					e.interrupt(r.ID)
				}
				continue
			}
			if !in.Linked && !j.Claimed {
				continue // detached: nothing runs
			}
			if r.State == runs.Queued && r.Type.Blocking() {
				if active[r.Stack] == nil {
					if active[r.Stack], err = tx.Active(r.Stack); err != nil {
						return err
					}
				}
				if _, blocked := runs.Blocker(r, active[r.Stack]); blocked {
					continue
				}
			}
			out = append(out, candidate{j, r})
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class(), b.class()), cmp.Compare(atWork[a.job.Stack], atWork[b.job.Stack]), cmp.Compare(a.run.ID, b.run.ID))
	})
	return out, err
}

func workKey(j store.Job) string { return j.Run + "/" + string(j.Phase) }

func (e *Engine) isWorking(j store.Job) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.working[workKey(j)]
}

// reserve takes a worker for a job, if one is free. Jobs that were begun always get one: their processes
// are at work already.
func (e *Engine) reserve(c candidate) bool {
	limit := e.Workers()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !c.job.Claimed && len(e.working) >= limit {
		return false
	}
	e.working[workKey(c.job)] = true
	e.stops[c.run.ID] = make(chan struct{})
	if c.run.StopAsked != "" {
		close(e.stops[c.run.ID])
	}
	return true
}

func (e *Engine) free(j store.Job) {
	e.mu.Lock()
	delete(e.working, workKey(j))
	delete(e.stops, j.Run)
	e.mu.Unlock()
	wake(e.jobsWake)
}

// interrupt asks the process at work for a run to end.
func (e *Engine) interrupt(run string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stop, ok := e.stops[run]
	if !ok {
		return
	}
	select {
	case <-stop:
	default:
		close(stop)
	}
}

func (e *Engine) stopOf(run string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stops[run]
}

// claim moves the run on and marks its job as taken, in one transaction.
func (e *Engine) claim(c candidate) (store.Job, error) {
	if c.job.Claimed {
		return c.job, nil
	}
	err := e.st.Update(func(tx *store.Tx) error {
		if _, err := tx.Apply(c.run.ID, runs.Claimed{Meta: runs.Meta{At: tx.Now()}}); err != nil {
			return err
		}
		return tx.ClaimJob(c.job)
	})
	return c.job, err
}

// worker works on one job and then lets the next one have its place. What fails inside (a full disk, say)
// leaves the job claimed; it is taken up again after a pause.
func (e *Engine) worker(ctx context.Context, j store.Job) {
	defer e.free(j)
	err := e.work(ctx, j)
	if err == nil || ctx.Err() != nil {
		return
	}
	e.log.Error("job failed inside and is taken up again", "run", j.Run, "phase", j.Phase, "error", err)
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
}

// sweep removes what a run that has ended leaves behind: workspace and saved plan. Logs and changes stay.
func (e *Engine) sweep(r runs.Run) {
	if !r.State.Terminal() {
		return
	}
	if err := errors.Join(e.st.Remove("work", r.ID), e.st.Remove("plans", r.ID+".sealed")); err != nil {
		e.log.Error("workspace could not be removed", "run", r.ID, "error", err)
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
}
