package engine

import (
	"fmt"
	"slices"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
)

// restored does, once, what a server owes whose data was restored from a backup. What happened since then is not in it, so no plan
// from before is applied: a run that waits for a yes plans again, and one that had its yes may have applied it already, which
// is an apply that was cut off. Tasks and destroy runs that had not begun end. Nothing deploys by itself before a person has said yes to
// a run of the stack. Runs that were planning plan again, like any other after the machine died.
func (e *Engine) restored() error {
	is := false
	err := e.st.View(func(tx *store.Tx) (err error) { _, is, err = tx.Restored(); return err })
	if err != nil || !is {
		return err // almost always, and a start need not write for it
	}
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

// flagAll says of each stack that what is known of it may be old, beside what its flag said before. A stack without a state, or with
// one elsewhere, is no exception: the first apply of the one may not be in the backup, and the other may be planned from old code.
func flagAll(tx *store.Tx, note string) error {
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	for _, known := range stacks {
		st := *known
		st.Flag = strings.Join(slices.DeleteFunc([]string{st.Flag, note + ". What was applied after it is not known here"}, func(s string) bool { return s == "" }), ". ")
		st.RestoredAt = tx.Now()
		if err := tx.PutStack(st); err != nil {
			return err
		}
	}
	return nil
}

// replan takes the plan back that a run waits with, and the wish that a task or destroy run is, because it may have been done since.
func replan(tx *store.Tx, r runs.Run, note string) error {
	m := runs.Meta{At: tx.Now(), By: runs.System, Note: note}
	var events []runs.Event
	switch again := note + ", and this may have been done since. Ask for it again where it is still to be done"; {
	case r.State == runs.Unconfirmed:
		events = []runs.Event{runs.Confirm{Meta: runs.Meta{At: m.At, By: m.By}, Moved: note + ", so it is planned again"}}
	case r.State == runs.Confirmed:
		cut := runs.Meta{At: m.At, By: m.By, Note: note + ", in which it was about to be applied. Some of the changes may have been made"}
		events = []runs.Event{runs.Claimed{Meta: m}, runs.Lost{Meta: cut}}
	case r.State == runs.Applying || r.State == runs.Performing || r.State == runs.Destroying:
		events = []runs.Event{runs.Lost{Meta: runs.Meta{At: m.At, By: m.By, Note: note + ", in which it was at work. Some of the changes may have been made"}}}
	case changesAtOnce(r.Type) && r.State == runs.Queued:
		events = []runs.Event{runs.Cancel{Meta: runs.Meta{At: m.At, By: m.By, Note: again}}}
	case changesAtOnce(r.Type) && (r.State == runs.Preparing || r.State == runs.Initializing):
		events = []runs.Event{runs.Fail{Meta: runs.Meta{At: m.At, By: m.By, Note: again}}}
	}
	for _, ev := range events {
		if _, err := tx.Apply(r.ID, ev); err != nil {
			return err
		}
	}
	return nil
}
