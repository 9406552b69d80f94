package store

import (
	"net/url"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

// proposalKey is where a proposed run stands that has not ended; "" for one that has, and for runs of other types.
func proposalKey(r runs.Run) string {
	if r.Type != runs.Proposed || r.State == runs.None || r.State.Terminal() {
		return ""
	}
	return proposalsOf(r.Stack, r.Branch, r.ForkOf()) + r.ID
}

func proposalsOf(stack, branch string, fork int64) string {
	return stack + "/" + num(fork) + "/" + url.PathEscape(branch) + "/"
}

// indexProposal keeps true which proposed runs of a branch have not ended.
func indexProposal(b *bolt.Tx, old, r runs.Run) error {
	was, is := proposalKey(old), proposalKey(r)
	if was == is {
		return nil
	}
	bucket := b.Bucket([]byte("proposals"))
	if was != "" {
		if err := bucket.Delete([]byte(was)); err != nil {
			return err
		}
	}
	if is == "" {
		return nil
	}
	return bucket.Put([]byte(is), []byte{})
}

// Proposals returns the proposed runs of a stack and branch that have not ended, oldest first. fork is the number of the
// merge request whose fork the branch is of, 0 for a branch of the project itself.
func (tx *Tx) Proposals(stack, branch string, fork int64) ([]runs.Run, error) {
	var out []runs.Run
	prefix := proposalsOf(stack, branch, fork)
	err := each(tx, "proposals", prefix, func(k string, _ []byte) (bool, error) {
		r, err := tx.Run(strings.TrimPrefix(k, prefix))
		out = append(out, r)
		return true, err
	})
	return out, err
}

// ActiveIn returns the runs in a merge request that have not ended, oldest first.
func (tx *Tx) ActiveIn(project, iid int64) ([]runs.Run, error) {
	var out []runs.Run
	prefix := mrKey(project, iid) + "/"
	active := tx.b.Bucket([]byte("active"))
	err := each(tx, "mr_runs", prefix, func(k string, _ []byte) (bool, error) {
		id := strings.TrimPrefix(k, prefix)
		if active.Get([]byte(id)) == nil {
			return true, nil
		}
		r, err := tx.Run(id)
		out = append(out, r)
		return true, err
	})
	return out, err
}

// AuthorsIn are those who set off the runs of a merge request: who opened it, and who pushed to it; one who is nobody where that is
// not known of one of them.
func (tx *Tx) AuthorsIn(project, iid int64) (people []runs.Person, err error) {
	prefix := mrKey(project, iid) + "/"
	err = each(tx, "mr_runs", prefix, func(k string, _ []byte) (bool, error) {
		r, err := tx.Run(strings.TrimPrefix(k, prefix))
		if !slices.Contains(people, r.Author) {
			people = append(people, r.Author)
		}
		return true, err
	})
	return people, err
}
