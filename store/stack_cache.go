package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"groundcrew/runs"
)

// A stackCache keeps the decoded rows of all stacks. Every change of a stack moves the sequence of their bucket, which
// is part of the transaction, so a reader knows exactly whether what is kept is what it would read.
type stackCache struct {
	mu     sync.Mutex
	seq    uint64
	list   []runs.Stack // by slug; shared by readers
	rows   [][]byte     // what list was decoded from
	filled bool
}

// Stacks returns all stacks by slug. The list is shared: it must not be changed.
func (tx *Tx) Stacks() ([]runs.Stack, error) {
	c := &tx.s.stacks
	seq := tx.b.Bucket([]byte("stacks")).Sequence()
	if tx.b.Writable() { // what it sees may never be committed, so it must not be kept
		return all[runs.Stack](tx, "stacks", "")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filled && c.seq == seq {
		return c.list, nil
	}
	list, rows, err := c.decode(tx)
	if err == nil && (!c.filled || seq > c.seq) { // an older reader must not put back what was
		c.seq, c.list, c.rows, c.filled = seq, list, rows, true
	}
	return list, err
}

// decode reads all rows, and decodes those that are not as they were.
func (c *stackCache) decode(tx *Tx) (list []runs.Stack, rows [][]byte, err error) {
	list, rows = make([]runs.Stack, 0, len(c.list)), make([][]byte, 0, len(c.rows))
	at := 0
	err = each(tx, "stacks", "", func(slug string, raw []byte) (bool, error) {
		for at < len(c.list) && c.list[at].Slug < slug {
			at++
		}
		if at < len(c.list) && c.list[at].Slug == slug && bytes.Equal(raw, c.rows[at]) {
			list, rows = append(list, c.list[at]), append(rows, c.rows[at])
			return true, nil
		}
		var st runs.Stack
		if err := json.Unmarshal(raw, &st); err != nil {
			return false, fmt.Errorf("row stacks/%s is damaged: %w", slug, err)
		}
		list, rows = append(list, st), append(rows, bytes.Clone(raw))
		return true, nil
	})
	return list, rows, err
}

// stacksChanged moves the sequence of the stacks' bucket.
func (tx *Tx) stacksChanged() error {
	_, err := tx.b.Bucket([]byte("stacks")).NextSequence()
	return err
}
