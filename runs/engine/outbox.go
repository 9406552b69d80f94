package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// lanes is how many targets are written to at once. Reports of one lane (a commit of a project, a merge
// request) go one after the other: GitLab refuses parallel statuses of one commit (GOTCHAS 5).
const lanes = 8

// kinds are sent in this order: a status may be what a merge waits for, and what runs came to goes before answers to commands, of
// which anybody can ask for many.
var kinds = []string{store.ReportStatus, store.ReportThread, store.ReportDeployment, store.ReportNote, store.ReportReply, store.ReportEnvironment, store.ReportHook}

// What is compared with GitLab at each start: the statuses of the last day's ends, one request each.
const (
	auditSpan = 24 * time.Hour
	auditMost = 100
)

// audit doubts what was told last: nothing we posted may hang, also when a restored backup knows nothing of it.
func (e *Engine) audit() {
	err := e.st.Update(func(tx *store.Tx) error { return tx.DoubtStatuses(tx.Now().Add(-auditSpan), auditMost) })
	if err != nil {
		e.log.Error("the last statuses could not be compared with GitLab", "error", err)
	}
}

// outbox sends the reports that are due, within the budget. It returns when the next one will be.
func (e *Engine) outbox(ctx context.Context) (time.Duration, error) {
	now := e.now()
	next := idle
	err := e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil || !in.Linked {
			return err
		}
		e.budget.use(settingsKey(in), in)
		wait, probe := e.budget.wait(now)
		switch {
		case wait > 0:
			next = wait
			return nil
		case probe:
			return e.sendProbe(ctx, tx, in)
		}
		for _, kind := range kinds {
			wait, err := e.sendKind(ctx, tx, in, kind, now)
			if err != nil {
				return err
			}
			next = min(next, wait)
		}
		return nil
	})
	return next, err
}

// sendKind sends what is due of one kind as long as lanes are free. It returns when the next one is due.
func (e *Engine) sendKind(ctx context.Context, tx *store.Tx, in store.Integration, kind string, now time.Time) (time.Duration, error) {
	if wait := e.budget.kindWait(kind, now); wait > 0 {
		return wait, nil
	}
	next := idle
	err := tx.EachDue(kind, func(r store.Report) bool {
		if wait := r.NextAttempt.Sub(now); wait > 0 {
			next = min(next, wait)
			return true
		}
		free, full := e.enterLane(lane(r))
		if !free {
			return !full // the one who has the lane wakes us when it is free
		}
		if (r.Kind == store.ReportNote || r.Kind == store.ReportThread || r.Kind == store.ReportReply) && r.RemoteID == 0 {
			if wait := e.budget.note(r.Kind == store.ReportReply, now); wait > 0 {
				e.freeLane(lane(r))
				next = min(next, wait)
				return r.Kind != store.ReportReply // comments that are there already may be edited; an answer never is
			}
		}
		e.send(ctx, in, r)
		return true
	})
	return next, err
}

// sendProbe sends one report, another one each time, to find out whether GitLab is back.
func (e *Engine) sendProbe(ctx context.Context, tx *store.Tx, in store.Integration) error {
	r, ok, err := tx.DueAfter(e.budget.probed())
	if err != nil || !ok {
		return err
	}
	if free, _ := e.enterLane(lane(r)); !free {
		return nil // what is under way wakes us at its end
	}
	e.budget.probe(r.Target)
	e.send(ctx, in, r)
	return nil
}

// send delivers one report whose lane is taken, and frees the lane.
func (e *Engine) send(ctx context.Context, in store.Integration, r store.Report) {
	e.wg.Go(func() {
		defer e.leaveLane(lane(r))
		defer e.budget.done(r.Target)
		if err := e.deliver(ctx, in, r.Target); err != nil && ctx.Err() == nil {
			e.log.Error("report could not be recorded", "target", r.Target, "error", err)
		}
	})
}

// deliverNow delivers one report in the caller's time, for a person who waits for it.
func (e *Engine) deliverNow(ctx context.Context, in store.Integration, target string) error {
	name := lane(store.Report{Target: target})
	for {
		if free, _ := e.enterLane(name); free {
			break
		}
		select { // the outbox has it, or all lanes, for a moment
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	defer e.leaveLane(name)
	return e.deliver(ctx, in, target)
}

func lane(r store.Report) string {
	if r.SHA != "" {
		return fmt.Sprintf("%d/%s", r.Project, r.SHA)
	}
	return r.Target
}

// enterLane takes a lane; full says that no lane at all is free.
func (e *Engine) enterLane(name string) (free, full bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.sending) >= lanes {
		return false, true
	}
	if e.sending[name] {
		return false, false
	}
	e.sending[name] = true
	return true, false
}

func (e *Engine) freeLane(name string) {
	e.mu.Lock()
	delete(e.sending, name)
	e.mu.Unlock()
}

func (e *Engine) leaveLane(name string) {
	e.freeLane(name)
	wake(e.reportsWake)
}

// A sender brings one target up to date with the present run. It changes r's remote fields to what GitLab
// answered, also when it fails half-way.
type sender func(ctx context.Context, c *gitlab.Client, r *store.Report) error

// deliver renders one report from the present and sends it. The mark is cleared only when nothing changed
// meanwhile.
func (e *Engine) deliver(ctx context.Context, in store.Integration, target string) error {
	var r store.Report
	err := e.st.View(func(tx *store.Tx) error {
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
	c, sendErr := e.clientOf(in)
	if sendErr == nil {
		sendErr = e.senderOf(r.Kind)(ctx, c, &sent)
	}
	if ctx.Err() != nil {
		return nil // the row says that a send may have gone out; the next start looks it up
	}
	back := e.budget.sent(r, sendErr, e.now())
	return e.st.Update(func(tx *store.Tx) error {
		if back {
			if err := tx.ReleaseReports(func(r store.Report) bool { return away(gitlab.Kind(r.LastKind)) }); err != nil {
				return err
			}
		}
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
	case store.ReportReply:
		return e.sendReply
	case store.ReportHook:
		return e.sendHook
	case store.ReportThread:
		return e.sendThread
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
	to.Discussion, to.Takes = from.Discussion, from.Takes
	to.RemoteSHA, to.PipelineMR, to.OwnPipeline = from.RemoteSHA, from.PipelineMR, from.OwnPipeline
}

// settle decides what becomes of a report after a send of the mark seq.
func (e *Engine) settle(r *store.Report, seq uint64, err error, now time.Time) {
	kind := gitlab.KindOf(err)
	r.LastKind = string(kind)
	r.Cause, r.Mend = whyRefused(*r, err)
	if kind.TokenTrouble() {
		e.suspectToken()
	}
	switch {
	case err == nil:
		r.LastError, r.Attempts, r.NextAttempt = "", 0, time.Time{}
		if r.Seq == seq {
			r.State, r.DeliveredAt = store.ReportDelivered, now
		}
	case r.Seq != seq:
		r.NextAttempt = time.Time{} // something newer is to be said: at once
	case kind.Temporary(), away(kind), kind == "":
		r.Attempts++
		r.LastError, r.NextAttempt = message(err), now.Add(e.pause(r.Attempts, err))
		e.log.Warn("GitLab could not be told; trying again", "target", r.Target, "attempt", r.Attempts, "error", err)
	default:
		r.Attempts++
		r.State, r.LastError = store.ReportParked, message(err)
		if kind == gitlab.KindForbidden || kind == gitlab.KindNotFound {
			e.look(r.Project) // archived or gone, perhaps: then the inbox says so
		}
		e.log.Error("GitLab refuses a report", "target", r.Target, "error", err)
	}
}

// waitOf is how long GitLab asks to wait, 0 when it doesn't say.
func waitOf(err error) time.Duration {
	if g, ok := errors.AsType[*gitlab.Error](err); ok {
		return g.RetryAfter
	}
	return 0
}

// pause is how long to wait after a failed attempt: what GitLab asks for, else doubling from one second to
// five minutes, with jitter so that a thousand targets do not come back at once.
func (e *Engine) pause(attempt int, err error) time.Duration {
	if wait := waitOf(err); wait > 0 {
		return wait + e.o.Jitter(time.Second)
	}
	d := min(time.Second<<min(attempt-1, 9), 5*time.Minute)
	return d/2 + e.o.Jitter(d/2+1)
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

// unanswered keeps for certain what is: after a refusal, or where no connection was made, nothing was done and nothing
// needs to be looked up. It returns err.
func unanswered(r *store.Report, err error) error {
	switch gitlab.KindOf(err) {
	case gitlab.KindNetwork:
		op, ok := errors.AsType[*net.OpError](err)
		r.Unsure = !ok || op.Op != "dial"
	case gitlab.KindServer, gitlab.KindNotGitLab, "":
		r.Unsure = true
	default:
		r.Unsure = false
	}
	return err
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
