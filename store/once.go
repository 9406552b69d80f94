package store

import (
	"errors"
	"time"
)

// A Once is a request that its sender may send again without it being done again: it carries an idempotency key.
// Its row is made before anything is done, and completed with the answer afterwards.
type Once struct {
	Digest   string    `json:"digest"` // of the request: another one with the same key is a mistake
	At       time.Time `json:"at"`
	Done     bool      `json:"done"` // false: it is at work, or was cut off
	Status   int       `json:"status,omitempty"`
	Location string    `json:"location,omitempty"`
	Body     string    `json:"body,omitempty"` // sealed: an answer may hold a new key
}

// OnceLife is how long a request is remembered.
const OnceLife = 24 * time.Hour

// onceRow is the key of a row: what the sender chose is hashed, with who sent it.
func onceRow(sender, key string) string { return hashToken(sender + "\x00" + key) }

// BeginOnce remembers a request before it is done. If one of this sender with this key is remembered already, that
// is returned instead, its Body opened, and nothing changes.
func (tx *Tx) BeginOnce(sender, key, digest string) (before Once, known bool, err error) {
	id := onceRow(sender, key)
	known, err = get(tx, "onces", id, &before)
	if err != nil || known && tx.now.Sub(before.At) < OnceLife {
		if err == nil {
			before.Body, err = tx.s.seal.openText("onces/"+id, before.Body)
		}
		return before, known, err
	}
	return Once{}, false, put(tx, "onces", id, Once{Digest: digest, At: tx.now})
}

// EndOnce completes the row of a request that was done with its answer.
func (tx *Tx) EndOnce(sender, key string, status int, location, body string) error {
	id := onceRow(sender, key)
	var o Once
	if ok, err := get(tx, "onces", id, &o); err != nil || !ok {
		return err
	}
	o.Done, o.Status, o.Location, o.Body = true, status, location, tx.s.seal.lockText("onces/"+id, body)
	return put(tx, "onces", id, o)
}

// ForgetOnce forgets a request that did nothing, so that it may be sent again, corrected or not.
func (tx *Tx) ForgetOnce(sender, key string) error { return unmark(tx, "onces", onceRow(sender, key)) }

// PruneOnces forgets requests older than OnceLife.
func (s *Store) PruneOnces() error {
	return s.Update(func(tx *Tx) error {
		var old []string
		err := each(tx, "onces", "", func(k string, _ []byte) (bool, error) {
			var o Once
			_, err := get(tx, "onces", k, &o)
			if tx.now.Sub(o.At) >= OnceLife {
				old = append(old, k)
			}
			return err == nil, err
		})
		for _, k := range old {
			err = errors.Join(err, unmark(tx, "onces", k))
		}
		return err
	})
}
