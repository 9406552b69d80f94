package store

import "time"

// Count returns how many rows an index has. It reads pages, not rows: a million take milliseconds.
func (tx *Tx) Count(bucket string) int { return tx.b.Bucket([]byte(bucket)).Stats().KeyN }

// OldestDue returns when the oldest report that waits was marked, the zero time when none waits. It reads the index
// alone, but for what an older version put there, which has no time.
func (tx *Tx) OldestDue() (time.Time, error) {
	var oldest time.Time
	err := each(tx, "due", "", func(target string, since []byte) (bool, error) {
		at, err := time.Parse(time.RFC3339, string(since))
		if err != nil {
			var r Report
			if r, _, err = tx.Report(target); err != nil {
				return false, err
			}
			at = r.MarkedAt
		}
		if !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
		return true, nil
	})
	return oldest, err
}
