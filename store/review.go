package store

import (
	"slices"
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

// KeepReviews is how long a review is kept that nothing needs.
const KeepReviews = 30 * 24 * time.Hour

// PruneReviews forgets reviews that are older than [KeepReviews] and that nothing needs, and returns how many. One of what waits, or
// can come back, stays as long as that is so.
func (s *Store) PruneReviews() (n int, err error) {
	var old []string
	err = s.View(func(tx *Tx) error {
		return each(tx, "reviews", "", func(k string, _ []byte) (bool, error) {
			over, err := tx.reviewOver(k)
			if over {
				old = append(old, k)
			}
			return true, err
		})
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	err = s.Update(func(tx *Tx) error {
		n = 0
		for _, k := range old {
			over, err := tx.reviewOver(k)
			if err != nil {
				return err
			}
			if !over {
				continue
			}
			if err := unmark(tx, "reviews", k); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

func (tx *Tx) reviewOver(key string) (bool, error) {
	var v runs.Review
	ok, err := get(tx, "reviews", key, &v)
	if err != nil || !ok || tx.now.Sub(v.At) <= KeepReviews {
		return false, err
	}
	needed, err := tx.needsReview(v)
	return err == nil && !needed, err
}

// needsReview reports whether what a review was said of waits or can come back: nothing was applied in the stack since, a run may come
// to the same, or a merge request is open that would do the same.
func (tx *Tx) needsReview(v runs.Review) (bool, error) {
	applied, err := tx.appliedSince(v.Stack, v.At)
	if err != nil || !applied {
		return err == nil, err
	}
	active, err := tx.Active(v.Stack)
	may := func(r *runs.Run) bool { return r.Fingerprint == v.Fingerprint || r.Fingerprint == "" } // "": it is not planned yet
	if err != nil || slices.ContainsFunc(active, may) {
		return err == nil, err
	}
	return tx.proposedStill(v)
}

// appliedSince reports whether a tracked run of the stack applied something and ended after a time. One that had nothing to apply
// says nothing of what waits.
func (tx *Tx) appliedSince(stack string, at time.Time) (bool, error) {
	f := RunFilter{Stack: stack, Types: []runs.Type{runs.Tracked}, States: []runs.State{runs.Finished}}
	for cursor := ""; ; {
		page, next, err := tx.Runs(f, cursor, lookedThrough)
		if err != nil {
			return false, err
		}
		for _, r := range page { // those of a stack end in the order they began in
			if !r.EndedAt.After(at) {
				return false, nil
			}
			if r.Passed(runs.Applying) {
				return true, nil
			}
		}
		if cursor = next; next == "" {
			return false, nil
		}
	}
}

// proposedStill reports whether a merge request is open one of whose runs would do what a review was said of.
func (tx *Tx) proposedStill(v runs.Review) (bool, error) {
	st, err := tx.Stack(v.Stack)
	if err != nil {
		return false, err
	}
	list, err := tx.MergeRequests(st.Project)
	for _, mr := range list {
		if err != nil || mr.State != "opened" {
			continue
		}
		var page []runs.Run
		page, _, err = tx.Runs(RunFilter{Stack: v.Stack, Project: st.Project, MergeRequest: mr.IID, Types: []runs.Type{runs.Proposed}}, "", lookedThrough)
		if slices.ContainsFunc(page, func(r runs.Run) bool { return r.Fingerprint == v.Fingerprint }) {
			return true, err
		}
	}
	return false, err
}

// lookedThrough is how many runs of a stack in one merge request are looked through, the newest first, and how many of a stack are read
// at a time.
const lookedThrough = 200
