package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// lanes is how many targets are written to at once. Reports of one lane (a commit of a project, a merge
// request) go one after the other: GitLab refuses parallel statuses of one commit (GOTCHAS 5).
const lanes = 8

// outbox sends the reports that are due. It returns when the next one will be.
func (e *Engine) outbox(ctx context.Context) (time.Duration, error) {
	var due []store.Report
	var in store.Integration
	now := e.now()
	err := e.st.View(func(tx *store.Tx) error {
		var err error
		if in, _, err = tx.Integration(); err != nil || !in.Linked {
			return err
		}
		due, err = tx.DueReports()
		return err
	})
	if err != nil || len(due) == 0 {
		return idle, err
	}
	next := idle
	for _, r := range due {
		if wait := r.NextAttempt.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		if !e.enterLane(lane(r)) {
			continue // the one who has the lane wakes us when it is free
		}
		e.wg.Go(func() {
			defer e.leaveLane(lane(r))
			if err := e.deliver(ctx, in, r.Target); err != nil && ctx.Err() == nil {
				e.log.Error("report could not be recorded", "target", r.Target, "error", err)
			}
		})
	}
	return next, nil
}

func lane(r store.Report) string {
	if r.SHA != "" {
		return fmt.Sprintf("%d/%s", r.Project, r.SHA)
	}
	return r.Target
}

func (e *Engine) enterLane(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sending[name] || len(e.sending) >= lanes {
		return false
	}
	e.sending[name] = true
	return true
}

func (e *Engine) leaveLane(name string) {
	e.mu.Lock()
	delete(e.sending, name)
	e.mu.Unlock()
	wake(e.reportsWake)
}

// A sender brings one target up to date with the present run. It changes r's remote fields to what GitLab
// answered, also when it fails half-way.
type sender func(ctx context.Context, c *gitlab.Client, r *store.Report) error

// deliver renders one report from the present and sends it. The mark is cleared only when nothing changed
// meanwhile.
func (e *Engine) deliver(ctx context.Context, in store.Integration, target string) error {
	c, err := e.clientOf(in)
	if err != nil {
		return err
	}
	var r store.Report
	err = e.st.View(func(tx *store.Tx) error {
		var ok bool
		var err error
		if r, ok, err = tx.Report(target); err == nil && (!ok || r.State != store.ReportWaiting) {
			err = runs.NotFoundf("the report is not waiting any more")
		}
		return err
	})
	if errors.Is(err, runs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	sent := r
	sendErr := e.senderOf(r.Kind)(ctx, c, &sent)
	if ctx.Err() != nil {
		return nil // the row says that a send may have gone out; the next start looks it up
	}
	return e.st.Update(func(tx *store.Tx) error {
		now, ok, err := tx.Report(target)
		if err != nil || !ok {
			return err
		}
		remote(&now, sent)
		e.settle(&now, r.Seq, sendErr, tx.Now())
		return tx.PutReport(now)
	})
}

func (e *Engine) senderOf(kind string) sender {
	switch kind {
	case store.ReportStatus:
		return e.sendStatus
	case store.ReportNote:
		return e.sendNote
	case store.ReportDeployment:
		return e.sendDeployment
	default:
		return e.sendEnvironment
	}
}

// remote takes over what GitLab is known to show.
func remote(to *store.Report, from store.Report) {
	to.RemoteID, to.PipelineID, to.RemoteState, to.RemoteText = from.RemoteID, from.PipelineID, from.RemoteState, from.RemoteText
	to.RemoteRun, to.Unsure = from.RemoteRun, from.Unsure
}

// settle decides what becomes of a report after a send of the mark seq.
func (e *Engine) settle(r *store.Report, seq uint64, err error, now time.Time) {
	kind := gitlab.KindOf(err)
	switch {
	case err == nil:
		r.LastError, r.Attempts, r.NextAttempt = "", 0, time.Time{}
		if r.Seq == seq {
			r.State, r.DeliveredAt = store.ReportDelivered, now
		}
	case r.Seq != seq:
		r.NextAttempt = time.Time{} // something newer is to be said: at once
	case kind.Temporary(), kind.TokenTrouble(), kind == "":
		r.Attempts++
		r.LastError, r.NextAttempt = message(err), now.Add(pause(r.Attempts, err))
		e.log.Warn("GitLab could not be told; trying again", "target", r.Target, "attempt", r.Attempts, "error", err)
	default:
		r.Attempts++
		r.State, r.LastError = store.ReportParked, message(err)
		e.log.Error("GitLab refuses a report", "target", r.Target, "error", err)
	}
}

// pause is how long to wait after a failed attempt: what GitLab asks for, else doubling from one second to
// five minutes, with jitter so that a thousand targets do not come back at once.
func pause(attempt int, err error) time.Duration {
	var g *gitlab.Error
	if errors.As(err, &g) && g.RetryAfter > 0 {
		return g.RetryAfter + rand.N(time.Second)
	}
	d := min(time.Second<<min(attempt-1, 9), 5*time.Minute)
	return d/2 + rand.N(d/2+1)
}

// announce durably says that a send is about to go out, so that after a crash it is looked up, not repeated.
func (e *Engine) announce(r *store.Report) error {
	r.Unsure = true
	return e.st.Update(func(tx *store.Tx) error {
		now, ok, err := tx.Report(r.Target)
		if err != nil || !ok {
			return err
		}
		remote(&now, *r)
		return tx.PutReport(now)
	})
}

// reported returns the run and stack a report speaks of.
func (e *Engine) reported(r *store.Report) (run runs.Run, st runs.Stack, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		if r.Run != "" {
			if run, err = tx.Run(r.Run); err != nil {
				return err
			}
		}
		st, err = tx.Stack(r.Stack)
		if errors.Is(err, runs.ErrNotFound) {
			st, err = runs.Stack{Slug: r.Stack, Name: r.Stack, Branch: run.Branch}, nil // deleted since
		}
		return err
	})
	return run, st, err
}

func (e *Engine) runURL(id string) string { return e.o.ExternalURL + "/runs/" + id }
