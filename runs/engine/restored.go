package engine

import (
	"fmt"

	"groundcrew/runs"
	"groundcrew/store"
)

// restored does, once, what a server owes whose data was restored from a backup. What happened since then is not in it, so no plan
// from before is applied: a run that waits for a yes plans again, and one that had its yes may have applied it already, which
// is an apply that was cut off. Nothing deploys by itself to a stack whose state may be old before a person has said yes to a run.
// Runs at work have lost their process, and are met like any other after the machine died.
func (e *Engine) restored() error {
	return e.st.Update(func(tx *store.Tx) error {
		of, is, err := tx.Restored()
		if err != nil || !is {
			return err
		}
		note := "the data was restored from a backup of " + of.Made.Format("2006-01-02 15:04 MST")
		if err := flagAll(tx, note); err != nil {
			return err
		}
		active, err := tx.Active("")
		if err != nil {
			return err
		}
		for _, r := range active {
			if err := replan(tx, *r, note); err != nil {
				return err
			}
		}
		e.log.Warn("the data was restored from a backup", "made", of.Made, "restored", of.At)
		err = tx.Audit(store.AuditEntry{By: runs.System, Action: "backup.restore", Note: fmt.Sprintf("as of %s, restored at %s", of.Made.Format("2006-01-02T15:04:05Z"), of.At.Format("2006-01-02T15:04:05Z"))})
		if err != nil {
			return err
		}
		return tx.EndRestored()
	})
}

// flagAll says of each stack with a state here that it may be old.
func flagAll(tx *store.Tx, note string) error {
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	for _, known := range stacks {
		_, has, err := tx.NewestState(known.Slug)
		if err != nil {
			return err
		}
		if !has || known.State != runs.StateManaged {
			continue
		}
		st := *known
		st.Flag = note + ". What was applied after it is not in this state"
		if err := tx.PutStack(st); err != nil {
			return err
		}
	}
	return nil
}

// replan takes the plan back that a run waits with.
func replan(tx *store.Tx, r runs.Run, note string) error {
	m := runs.Meta{At: tx.Now(), By: runs.System, Note: note}
	switch r.State {
	case runs.Unconfirmed:
		_, err := tx.Apply(r.ID, runs.Confirm{Meta: m, Moved: note + ", so it is planned again"})
		return err
	case runs.Confirmed:
		if _, err := tx.Apply(r.ID, runs.Claimed{Meta: m}); err != nil {
			return err
		}
		m.Note = note + ", in which it was about to be applied. Some of the changes may have been made"
		_, err := tx.Apply(r.ID, runs.Lost{Meta: m})
		return err
	}
	return nil
}
