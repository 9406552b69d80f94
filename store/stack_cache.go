package store

import (
	"slices"
	"strings"
	"sync"

	"groundcrew/runs"
)

// A stackCache keeps the decoded rows of all stacks. Every change of a stack moves the sequence of their bucket, which
// is part of the transaction, so a reader knows exactly whether what is kept is what it would read; the journal says
// which rows make the difference.
type stackCache struct {
	mu      sync.Mutex
	seq     uint64
	list    []*runs.Stack // by slug; shared by readers
	filled  bool
	journal stackJournal
}

// Stacks returns all stacks by slug. Neither the list nor what it points to may be changed: they are shared.
func (tx *Tx) Stacks() ([]*runs.Stack, error) {
	if tx.b.Writable() { // what it sees may never be committed, so it must not be kept
		return all[*runs.Stack](tx, "stacks", "")
	}
	c := &tx.s.stacks
	seq := tx.b.Bucket([]byte("stacks")).Sequence()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filled && c.seq == seq {
		return c.list, nil
	}
	list, err := c.read(tx, seq)
	if err == nil && (!c.filled || seq > c.seq) { // an older reader must not put back what was
		c.seq, c.list, c.filled = seq, list, true
	}
	return list, err
}

// read makes the list as the transaction sees it, out of the one that is kept where it is known what changed between them.
func (c *stackCache) read(tx *Tx, seq uint64) ([]*runs.Stack, error) {
	slugs, known := c.journal.between(c.seq, seq)
	if !c.filled || !known {
		return all[*runs.Stack](tx, "stacks", "")
	}
	list := slices.Clone(c.list)
	for _, slug := range slugs {
		var st *runs.Stack // stays nil where there is none
		if _, err := get(tx, "stacks", slug, &st); err != nil {
			return nil, err
		}
		list = placeStack(list, slug, st)
	}
	return list, nil
}

// placeStack makes st the stack of that slug in a list by slug; nil takes it out.
func placeStack(list []*runs.Stack, slug string, st *runs.Stack) []*runs.Stack {
	i, there := FindStack(list, slug)
	switch {
	case there && st == nil:
		return slices.Delete(list, i, i+1)
	case there:
		list[i] = st
	case st != nil:
		return slices.Insert(list, i, st)
	}
	return list
}

// FindStack finds a stack in a list by slug, as [Tx.Stacks] returns it, or where it would be.
func FindStack(list []*runs.Stack, slug string) (at int, there bool) {
	return slices.BinarySearchFunc(list, slug, func(st *runs.Stack, slug string) int { return strings.Compare(st.Slug, slug) })
}

// A stackJournal knows which stack each of the latest steps of the sequence was about. Steps are written down before they
// are committed. Those of a transaction that is given up are never asked for: the next writer takes the same numbers.
type stackJournal struct {
	mu    sync.Mutex
	steps [512]struct {
		seq  uint64
		slug string
	}
}

func (j *stackJournal) note(seq uint64, slug string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	step := &j.steps[seq%uint64(len(j.steps))]
	step.seq, step.slug = seq, slug
}

// between returns the stacks that two states of the bucket may differ in. known is false when that was too long ago.
func (j *stackJournal) between(a, b uint64) (slugs []string, known bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	low, high := min(a, b), max(a, b)
	if high-low > uint64(len(j.steps)) {
		return nil, false
	}
	for seq := low + 1; seq <= high; seq++ {
		step := j.steps[seq%uint64(len(j.steps))]
		if step.seq != seq {
			return nil, false
		}
		slugs = append(slugs, step.slug)
	}
	slices.Sort(slugs)
	return slices.Compact(slugs), true
}

// stackChanged moves the sequence of the stacks' bucket.
func (tx *Tx) stackChanged(slug string) error {
	seq, err := tx.b.Bucket([]byte("stacks")).NextSequence()
	if err == nil {
		tx.s.stacks.journal.note(seq, slug)
	}
	return err
}
