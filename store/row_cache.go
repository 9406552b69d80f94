package store

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"groundcrew/runs"
)

// A rowCache keeps decoded rows of a bucket, all or those that are of interest. Every change of a row moves the sequence
// of the bucket, which is part of the transaction, so a reader knows exactly whether what is kept is what it would read;
// the journal says which rows make the difference.
type rowCache[T any] struct {
	bucket string
	index  string // the bucket that names the rows of interest and has the sequence; "": the bucket of the rows itself
	key    func(*T) string
	keep   func(*T) bool

	mu      sync.Mutex
	seq     uint64
	list    []*T // by key; shared by readers
	filled  bool
	journal journal
}

// cached are the rows that every page asks for, or what is in the inbox.
type cached struct {
	stacks   *rowCache[runs.Stack]
	active   *rowCache[runs.Run]
	hooks    *rowCache[Hook]
	troubled *rowCache[Watch]
	held     *rowCache[MergeRequest]
	policies *rowCache[runs.Policy]
}

func newCached() cached {
	return cached{
		stacks: &rowCache[runs.Stack]{
			bucket: "stacks", key: func(st *runs.Stack) string { return st.Slug }, keep: func(*runs.Stack) bool { return true },
		},
		active: &rowCache[runs.Run]{
			bucket: "runs", index: "active", key: func(r *runs.Run) string { return r.ID }, keep: func(r *runs.Run) bool { return !r.State.Terminal() },
		},
		hooks: &rowCache[Hook]{
			bucket: "hooks", key: func(h *Hook) string { return num(h.Project) }, keep: func(*Hook) bool { return true },
		},
		troubled: &rowCache[Watch]{
			bucket: "watches", key: func(w *Watch) string { return num(w.Project) }, keep: func(w *Watch) bool { return w.Trouble != "" },
		},
		policies: &rowCache[runs.Policy]{
			bucket: "policies", key: func(p *runs.Policy) string { return p.Slug }, keep: func(*runs.Policy) bool { return true },
		},
		held: &rowCache[MergeRequest]{
			bucket: "merge_requests", key: func(mr *MergeRequest) string { return mrKey(mr.Project, mr.IID) }, keep: func(mr *MergeRequest) bool { return mr.Held != "" && mr.State == "opened" },
		},
	}
}

// rows returns the rows as the transaction sees them. Neither the list nor what it points to may be changed.
func (c *rowCache[T]) rows(tx *Tx) ([]*T, error) {
	seq := tx.b.Bucket([]byte(c.names())).Sequence()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filled && c.seq == seq {
		return c.list, nil
	}
	list, err := c.read(tx, seq)
	// What a writer sees may never be committed, and an older reader must not put back what was.
	if err == nil && !tx.b.Writable() && (!c.filled || seq > c.seq) {
		c.seq, c.list, c.filled = seq, list, true
	}
	return list, err
}

func (c *rowCache[T]) names() string { return cmp.Or(c.index, c.bucket) }

// read makes the list, out of the one that is kept where it is known what changed between them.
func (c *rowCache[T]) read(tx *Tx, seq uint64) ([]*T, error) {
	keys, known := c.journal.between(c.seq, seq)
	if !c.filled || !known {
		return c.readAll(tx)
	}
	list := slices.Clone(c.list)
	for _, key := range keys {
		var row *T // stays nil where there is none
		if _, err := get(tx, c.bucket, key, &row); err != nil {
			return nil, err
		}
		list = c.place(list, key, row)
	}
	return list, nil
}

func (c *rowCache[T]) readAll(tx *Tx) (list []*T, err error) {
	rows := tx.b.Bucket([]byte(c.bucket))
	err = each(tx, c.names(), "", func(key string, raw []byte) (bool, error) {
		if c.index != "" {
			raw = rows.Get([]byte(key))
		}
		row := new(T)
		if err := json.Unmarshal(raw, row); err != nil {
			return false, fmt.Errorf("row %s/%s is damaged: %w", c.bucket, key, err)
		}
		if c.keep(row) {
			list = append(list, row)
		}
		return true, nil
	})
	return list, err
}

// place makes row the row of that key in the list; nil, and what is of no interest, takes it out.
func (c *rowCache[T]) place(list []*T, key string, row *T) []*T {
	i, there := slices.BinarySearchFunc(list, key, func(row *T, key string) int { return strings.Compare(c.key(row), key) })
	keep := row != nil && c.keep(row)
	switch {
	case there && keep:
		list[i] = row
	case there:
		return slices.Delete(list, i, i+1)
	case keep:
		return slices.Insert(list, i, row)
	}
	return list
}

// changed moves the sequence of the bucket, because a row is written or removed.
func (c *rowCache[T]) changed(tx *Tx, key string) error {
	seq, err := tx.b.Bucket([]byte(c.names())).NextSequence()
	if err == nil {
		c.journal.note(seq, key)
	}
	return err
}

// A journal knows which row each of the latest steps of a sequence was about. Steps are written down before they are
// committed. Those of a transaction that is given up are never asked for: the next writer takes the same numbers.
type journal struct {
	mu    sync.Mutex
	steps [512]struct {
		seq uint64
		key string
	}
}

func (j *journal) note(seq uint64, key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	step := &j.steps[seq%uint64(len(j.steps))]
	step.seq, step.key = seq, key
}

// between returns the rows that two states of the bucket may differ in. known is false when that was too long ago.
func (j *journal) between(a, b uint64) (keys []string, known bool) {
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
		keys = append(keys, step.key)
	}
	slices.Sort(keys)
	return slices.Compact(keys), true
}
