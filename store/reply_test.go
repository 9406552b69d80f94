package store

import (
	"testing"
	"time"
)

// A comment has one answer, the first that is given; answers of one merge request are counted by their age and whom they answer, and go with it.
func TestReplies(t *testing.T) {
	s := open(t, quick)
	update := func(f func(*Tx) error) {
		t.Helper()
		if err := s.Update(f); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *Tx) error {
		for note := range int64(5) {
			if err := tx.Reply(7, 9, note+1, 40+note%2, "", "first"); err != nil {
				return err
			}
		}
		return tx.Reply(7, 10, 9, 40, "abc", "another merge request")
	})
	update(func(tx *Tx) error { return tx.Reply(7, 9, 5, 41, "", "second") })
	view(t, s, func(tx *Tx) error {
		r, ok, err := tx.Report(ReplyTarget(7, 9, 5))
		if err != nil || !ok || r.Text != "first" || r.State != ReportWaiting || r.Seq != 1 {
			t.Errorf("%+v, %v, %v", r, ok, err)
		}
		if !tx.Replied(7, 10, 9) || tx.Replied(7, 9, 9) || tx.Replied(7, 1, 9) {
			t.Error("answers of merge requests are mixed up")
		}
		for _, c := range []struct {
			since     time.Time
			author    int64
			want, own int
		}{{tx.Now().Add(-time.Hour), 40, 5, 3}, {tx.Now().Add(-time.Hour), 41, 5, 2}, {tx.Now().Add(-time.Hour), 42, 5, 0}, {tx.Now().Add(time.Hour), 40, 0, 0}} {
			if n, own, err := tx.Replies(7, 9, c.author, c.since); err != nil || n != c.want || own != c.own {
				t.Errorf("since %s %d answers, %d to %d, %v, want %d and %d", c.since, n, own, c.author, err, c.want, c.own)
			}
		}
		return nil
	})
	update(func(tx *Tx) error {
		r, _, err := tx.Report(ReplyTarget(7, 9, 1))
		r.State, r.DeliveredAt = ReportDelivered, tx.Now().Add(-48*time.Hour)
		if err != nil {
			return err
		}
		return tx.PutReport(r)
	})
	if n, err := s.PruneReports(24 * time.Hour); err != nil || n == 0 {
		t.Errorf("%d reports forgotten, %v", n, err)
	}
	view(t, s, func(tx *Tx) error {
		if tx.Replied(7, 9, 1) || !tx.Replied(7, 9, 2) {
			t.Error("an old answer is kept, or one that waits is not")
		}
		return nil
	})
}
