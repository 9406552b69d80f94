package store

import (
	"testing"
	"time"
)

// TestOldestDue: the index alone says since when the oldest report waits; rows of older versions are asked.
func TestOldestDue(t *testing.T) {
	s := open(t, quick)
	base := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	oldest := func() (out time.Time) {
		t.Helper()
		view(t, s, func(tx *Tx) (err error) { out, err = tx.OldestDue(); return err })
		return out
	}
	if at := oldest(); !at.IsZero() {
		t.Errorf("none waits: %s", at)
	}
	put := func(target, state string, at time.Time) {
		t.Helper()
		update(t, s, func(tx *Tx) error { return tx.PutReport(Report{Target: target, State: state, MarkedAt: at}) })
	}
	put("status/1/a/x", ReportWaiting, base.Add(time.Hour))
	put("status/1/a/y", ReportWaiting, base.Add(time.Minute))
	put("status/1/a/z", ReportParked, base)
	if at := oldest(); !at.Equal(base.Add(time.Minute)) {
		t.Errorf("oldest %s", at)
	}
	put("status/1/a/y", ReportDelivered, base.Add(time.Minute))
	if at := oldest(); !at.Equal(base.Add(time.Hour)) {
		t.Errorf("after the delivery %s", at)
	}
	put("note/1/2/x", ReportWaiting, base.Add(time.Second))
	update(t, s, func(tx *Tx) error { return mark(tx, "due", "note/1/2/x") }) // as an older version wrote it
	if at := oldest(); !at.Equal(base.Add(time.Second)) {
		t.Errorf("a row of an older version: %s", at)
	}
	view(t, s, func(tx *Tx) error {
		if n := tx.Count("due"); n != 2 {
			t.Errorf("%d wait", n)
		}
		return nil
	})
}
