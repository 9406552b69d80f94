package store

import (
	"time"

	"groundcrew/runs"
)

// reviewPrefix begins the keys of the reviews of what a run of the stack would do.
func reviewPrefix(stack, fingerprint string) string { return stack + "/" + fingerprint + "/" }

// PutReview stores what a person says of what a run would do, in place of what the same person said before.
func (tx *Tx) PutReview(v runs.Review) error {
	if err := v.Validate(); err != nil {
		return err
	}
	old, err := tx.Reviews(v.Stack, v.Fingerprint)
	if err != nil {
		return err
	}
	for _, o := range old { // an account may have been connected since
		if o.Person.Is(v.Person) {
			if err := unmark(tx, "reviews", reviewPrefix(v.Stack, v.Fingerprint)+o.Person.Key()); err != nil {
				return err
			}
		}
	}
	v.At = tx.now
	tx.changed.Jobs, tx.changed.Policies = true, true // a task, or an approval policy, may wait for it
	return put(tx, "reviews", reviewPrefix(v.Stack, v.Fingerprint)+v.Person.Key(), v)
}

// Reviews returns what people said of what a run of the stack would do, one of each person. Without a fingerprint nothing is
// known to be reviewed.
func (tx *Tx) Reviews(stack, fingerprint string) ([]runs.Review, error) {
	if fingerprint == "" {
		return nil, nil
	}
	return all[runs.Review](tx, "reviews", reviewPrefix(stack, fingerprint))
}

// spendReviews forgets the reviews that opened the way for a run, or that a discarded one had.
func (tx *Tx) spendReviews(stack, fingerprint string) error {
	if fingerprint == "" {
		return nil
	}
	return tx.dropPrefix("reviews", reviewPrefix(stack, fingerprint))
}

// PruneReviews forgets reviews that are too old to count, and returns how many.
func (s *Store) PruneReviews() (n int, err error) {
	err = s.Update(func(tx *Tx) error {
		n = 0
		var old []string
		err := each(tx, "reviews", "", func(k string, _ []byte) (bool, error) {
			var v runs.Review
			_, err := get(tx, "reviews", k, &v)
			if tx.now.Sub(v.At) > runs.MaxReviewAge+24*time.Hour { // a day's grace for pages that tell of it
				old = append(old, k)
			}
			return true, err
		})
		for _, k := range old {
			if err == nil {
				err = unmark(tx, "reviews", k)
				n++
			}
		}
		return err
	})
	return n, err
}
