package store

import (
	"fmt"

	"groundcrew/runs"
)

// Apply is the only door: it maps the run and the event through [runs.Step] and writes the new state and
// every effect as rows of this transaction. It returns the run as it is now. A move that the machine
// refuses is an ErrConflict and changes nothing.
func (tx *Tx) Apply(id string, ev runs.Event) (runs.Run, error) {
	r, known, err := tx.findRun(id)
	if err != nil {
		return r, err
	}
	if known == isRequest(ev) {
		if known {
			return r, runs.Conflictf("The run %s exists already.", id)
		}
		return r, notFound("run", id)
	}
	next, effects, err := runs.Step(r, ev)
	if err != nil {
		return r, err
	}
	next.ID = id
	if _, is := ev.(runs.Reviewed); is {
		tx.changed.Jobs = true // a task may have waited for it
	}
	if err := tx.putRun(r, next); err != nil {
		return r, err
	}
	for _, e := range effects {
		if err := tx.effect(next, e); err != nil {
			return r, err
		}
	}
	return next, nil
}

func isRequest(ev runs.Event) bool {
	_, ok := ev.(runs.Requested)
	return ok
}

// effect writes the row that stands for one effect.
func (tx *Tx) effect(r runs.Run, e runs.Effect) error {
	switch e := e.(type) {
	case runs.Enqueue:
		tx.changed.Jobs = true
		if err := tx.dropJobs(r.ID); err != nil { // a run has one job at a time
			return err
		}
		return put(tx, "jobs", jobKey(r.ID, e.Phase), jobOf(r, e.Phase))
	case runs.Dequeue:
		tx.changed.Jobs = true
		return tx.dropJobs(r.ID)
	case runs.Hurry:
		return tx.hurry(r.ID, !e.Back)
	case runs.Follow:
		return tx.follow(r)
	case runs.SpendReviews:
		return tx.spendReviews(r.Stack, e.Fingerprint)
	case runs.Interrupt:
		tx.changed.Jobs = true // the row itself carries the wish: run.StopAsked
		return nil
	case runs.Report:
		return tx.reportRun(r)
	case runs.Notify:
		return tx.notifyRun(e.Topic, r)
	case runs.Flag:
		st, err := tx.Stack(r.Stack)
		if err != nil {
			return err
		}
		st.Flag = e.Note
		if err := tx.PutStack(st); err != nil {
			return err
		}
		return tx.Notify(runs.OnFlagged, Said{Title: "The state of " + st.Name + " needs a look", Text: e.Note, Stack: st.Slug, Run: r.ID, Type: r.Type})
	case runs.Replan:
		_, err := tx.Apply(tx.NewID(), runs.Requested{
			Meta: runs.Meta{At: tx.now, By: runs.System, Note: e.Note},
			Run: runs.Run{
				Stack: r.Stack, Project: r.Project, Type: runs.Tracked, Trigger: r.Trigger, TriggeredBy: runs.System, Author: r.Author,
				Commit: r.Commit, Branch: r.Branch, RetryOf: r.ID,
			},
		})
		return err
	case runs.Record:
		return tx.Audit(AuditEntry{By: e.By, Action: "run." + e.Action, Target: r.ID, Stack: r.Stack, Note: e.Note})
	default:
		return fmt.Errorf("effect %T has no row", e)
	}
}
