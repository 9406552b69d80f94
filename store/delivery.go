package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"
)

// The states of a delivery.
const (
	DeliveryWaiting = "waiting" // on disk, not processed yet
	DeliveryDone    = "done"
	DeliveryFailed  = "failed" // could not be understood; "process again" is offered
	DeliveryRefused = "refused"
)

// A Delivery is one webhook request received.
type Delivery struct {
	ID         string            `json:"id"`
	Key        string            `json:"key,omitempty"` // GitLab's own id of it: the same delivery twice is one
	Event      string            `json:"event"`         // X-Gitlab-Event
	Project    string            `json:"project,omitempty"`
	ProjectID  int64             `json:"project_id,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"` // without the secret
	ReceivedAt time.Time         `json:"received_at"`
	ReplayedAt time.Time         `json:"replayed_at,omitzero"` // when a person last asked for it to be processed again
	State      string            `json:"state"`
	Verdict    string            `json:"verdict,omitempty"`
	Runs       []string          `json:"runs,omitempty"`
	Size       int               `json:"size"`
	InFile     bool              `json:"in_file,omitempty"`
	Attempts   int               `json:"attempts,omitempty"`
	Echo       bool              `json:"echo,omitempty"`   // of a test of the hook: it starts nothing
	Signed     bool              `json:"signed,omitempty"` // by GitLab, and the signature was right
	Made       bool              `json:"made,omitempty"`   // by us, of an event that GitLab did not deliver
}

// Asked is when its processing was last asked for: by GitLab, or by a person later.
func (d Delivery) Asked() time.Time {
	if d.ReplayedAt.After(d.ReceivedAt) {
		return d.ReplayedAt
	}
	return d.ReceivedAt
}

// inlineBody is the largest body kept in the database; larger ones are files, so that the database does not
// grow with them.
const inlineBody = 128 << 10

// AddDelivery durably stores a delivery before it is answered. A key that is known already is the same
// delivery again: then known is true, out is the one that was stored first, and nothing is stored.
func (s *Store) AddDelivery(d Delivery, body []byte) (out Delivery, known bool, err error) {
	d.ID, d.Size, d.State = s.NewID(), len(body), DeliveryWaiting
	if d.InFile = len(body) > inlineBody; d.InFile {
		if err := s.WriteFile(body, "deliveries", d.ID); err != nil {
			return d, false, err
		}
	}
	err = s.Batch(func(tx *Tx) error {
		var err error
		if known = d.Key != "" && has(tx, "delivery_keys", d.Key); known {
			out, err = tx.Delivery(string(tx.b.Bucket([]byte("delivery_keys")).Get([]byte(d.Key))))
			return err
		}
		d.ReceivedAt = tx.now
		out = d
		tx.changed.Inbox = true
		tx.changed.Received++
		if d.Key != "" {
			if err := tx.b.Bucket([]byte("delivery_keys")).Put([]byte(d.Key), []byte(d.ID)); err != nil {
				return err
			}
		}
		if !d.InFile {
			if err := tx.b.Bucket([]byte("bodies")).Put([]byte(d.ID), body); err != nil {
				return err
			}
		}
		if err := mark(tx, "inbox", d.ID); err != nil {
			return err
		}
		return put(tx, "deliveries", d.ID, d)
	})
	if (err != nil || known) && d.InFile {
		err = errors.Join(err, s.Remove("deliveries", d.ID))
	}
	return out, known, err
}

// AddMade stores a delivery of our own making, in the caller's transaction; its body must be small.
func (tx *Tx) AddMade(d Delivery, body []byte) error {
	d.ID, d.Size, d.State, d.ReceivedAt, d.Made = tx.NewID(), len(body), DeliveryWaiting, tx.now, true
	if err := tx.b.Bucket([]byte("bodies")).Put([]byte(d.ID), body); err != nil {
		return err
	}
	return tx.PutDelivery(d)
}

// AddRefused records a request that was not authentic: without its body, and at most 100 of them are kept.
func (s *Store) AddRefused(d Delivery) error {
	return s.Update(func(tx *Tx) error {
		d.ID, d.State, d.ReceivedAt, d.Key = s.NewID(), DeliveryRefused, tx.now, ""
		if err := put(tx, "deliveries", d.ID, d); err != nil {
			return err
		}
		seen, scanned := 0, 0
		var drop []string
		err := eachBack(tx, "deliveries", "", "", func(k string, _ []byte) (bool, error) {
			var o Delivery
			if _, err := get(tx, "deliveries", k, &o); err != nil {
				return false, err
			}
			if o.State == DeliveryRefused {
				if seen++; seen > 100 {
					drop = append(drop, k)
				}
			}
			scanned++
			return len(drop) == 0 && scanned < 2000, nil // what lies deeper goes with its age
		})
		for _, k := range drop {
			err = errors.Join(err, unmark(tx, "deliveries", k))
		}
		return err
	})
}

// Delivery returns a delivery, or ErrNotFound.
func (tx *Tx) Delivery(id string) (Delivery, error) {
	var d Delivery
	ok, err := get(tx, "deliveries", id, &d)
	if err == nil && !ok {
		err = notFound("delivery", id)
	}
	return d, err
}

// DeliveryBody returns the raw body as received.
func (tx *Tx) DeliveryBody(d Delivery) ([]byte, error) {
	if d.InFile {
		b, err := os.ReadFile(tx.s.Path("deliveries", d.ID))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, notFound("body of delivery", d.ID)
		}
		return b, err
	}
	raw := tx.b.Bucket([]byte("bodies")).Get([]byte(d.ID))
	return append([]byte(nil), raw...), nil
}

// Inbox returns the ids of deliveries that wait to be processed, oldest first, at most limit of them.
func (tx *Tx) Inbox(limit int) ([]string, error) {
	var ids []string
	err := each(tx, "inbox", "", func(id string, _ []byte) (bool, error) {
		ids = append(ids, id)
		return len(ids) < limit, nil
	})
	return ids, err
}

// PutDelivery writes a delivery's row; only a waiting one stays in the inbox.
func (tx *Tx) PutDelivery(d Delivery) error {
	if d.State == DeliveryWaiting {
		tx.changed.Inbox = true
		if err := mark(tx, "inbox", d.ID); err != nil {
			return err
		}
	} else {
		tx.changed.Processed = append(tx.changed.Processed, processed(d))
		if err := unmark(tx, "inbox", d.ID); err != nil {
			return err
		}
	}
	return put(tx, "deliveries", d.ID, d)
}

// processed says what became of a delivery.
func processed(d Delivery) string {
	switch {
	case d.State == DeliveryFailed:
		return ProcessedFailed
	case len(d.Runs) > 0:
		return ProcessedRuns
	default:
		return ProcessedIgnored
	}
}

// Deliveries lists deliveries newest first below the cursor; state "" lists all.
func (tx *Tx) Deliveries(state, cursor string, limit int) (page []Delivery, next string, err error) {
	return tx.DeliveriesWhere(time.Time{}, time.Time{}, cursor, limit, func(d Delivery) bool { return state == "" || d.State == state })
}

// DeliveriesWhere lists the deliveries received from since on and before until (zero times bound nothing) for which match is
// true, newest first below the cursor.
func (tx *Tx) DeliveriesWhere(since, until time.Time, cursor string, limit int, match func(Delivery) bool) (page []Delivery, next string, err error) {
	first := ""
	if !since.IsZero() {
		first = idAt(since)
	}
	if last := idAt(until); !until.IsZero() && (cursor == "" || last < cursor) {
		cursor = last
	}
	err = eachBack(tx, "deliveries", "", cursor, func(k string, _ []byte) (bool, error) {
		if k < first {
			return false, nil
		}
		d, err := tx.Delivery(k)
		if err != nil || !match(d) {
			return err == nil, err
		}
		if len(page) == limit {
			next = page[limit-1].ID
			return false, nil
		}
		page = append(page, d)
		return true, nil
	})
	return page, next, err
}

// deliveryIn decodes a delivery's row if it is in the state. The others, nearly all, are told by their bytes: rows are
// written by encoding/json, which escapes the quotes of every text.
func deliveryIn(state, k string, raw []byte) (d Delivery, ok bool, err error) {
	if !bytes.Contains(raw, []byte(`"state":"`+state+`"`)) {
		return d, false, nil
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, false, fmt.Errorf("row deliveries/%s is damaged: %w", k, err)
	}
	return d, d.State == state, nil
}

// FailedDeliveries returns the newest deliveries that could not be processed, among the newest trafficRows.
func (tx *Tx) FailedDeliveries(limit int) ([]Delivery, error) {
	var out []Delivery
	n := 0
	err := eachBack(tx, "deliveries", "", "", func(k string, raw []byte) (bool, error) {
		d, ok, err := deliveryIn(DeliveryFailed, k, raw)
		if ok {
			out = append(out, d)
		}
		n++
		return n < trafficRows && len(out) < limit, err
	})
	return out, err
}

// CountDeliveries counts the deliveries received since a moment, limit at most, the newest first, and how many of them were
// refused.
func (tx *Tx) CountDeliveries(since time.Time, limit int) (received, refused int, err error) {
	first := idAt(since)
	err = eachBack(tx, "deliveries", "", "", func(k string, raw []byte) (bool, error) {
		if k < first || received == limit {
			return false, nil
		}
		received++
		_, ok, err := deliveryIn(DeliveryRefused, k, raw)
		if ok {
			refused++
		}
		return true, err
	})
	return received, refused, err
}

// LastDelivery returns when a project last reached us.
func (tx *Tx) LastDelivery(project int64) (time.Time, error) {
	var at time.Time
	n := 0
	err := eachBack(tx, "deliveries", "", "", func(k string, _ []byte) (bool, error) {
		d, err := tx.Delivery(k)
		if d.ProjectID == project && d.State != DeliveryRefused {
			at = d.ReceivedAt
		}
		n++
		return at.IsZero() && n < 1000, err
	})
	return at, err
}

// Traffic is when a project last reached us.
type Traffic struct {
	Last    time.Time // an authentic delivery
	Refused time.Time // one that says it is of this project, but had a wrong secret or none
}

// trafficRows bounds how far back the deliveries are looked at.
const trafficRows = 2000

// Traffic returns when projects last reached us, as far as the newest deliveries tell: the given ones, or all when none is given.
func (tx *Tx) Traffic(of ...int64) (map[int64]Traffic, error) {
	out := map[int64]Traffic{}
	n := 0
	err := eachBack(tx, "deliveries", "", "", func(k string, raw []byte) (bool, error) {
		if n++; saysNothingNew(raw, of, out) {
			return n < trafficRows, nil
		}
		var d struct { // of a Delivery what is needed: headers make most of the cost
			ProjectID  int64     `json:"project_id"`
			ReceivedAt time.Time `json:"received_at"`
			State      string    `json:"state"`
			Made       bool      `json:"made"`
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			return false, fmt.Errorf("row deliveries/%s is damaged: %w", k, err)
		}
		t := out[d.ProjectID]
		switch {
		case d.Made:
		case d.State == DeliveryRefused && t.Refused.IsZero():
			t.Refused = d.ReceivedAt
		case d.State != DeliveryRefused && t.Last.IsZero():
			t.Last = d.ReceivedAt
		}
		out[d.ProjectID] = t
		return n < trafficRows, nil
	})
	return out, err
}

// saysNothingNew reports whether a delivery, looked at as bytes, is of a project that nobody asks for, or tells no more than what is
// known of its project: decoding the newest thousands makes a page slow. What is unsure is decoded.
func saysNothingNew(raw []byte, of []int64, known map[int64]Traffic) bool {
	_, rest, found := bytes.Cut(raw, []byte(`"project_id":`))
	digits := rest[:max(0, bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }))]
	id, err := strconv.ParseInt(string(digits), 10, 64)
	switch {
	case !found || err != nil:
		return false
	case len(of) > 0 && !slices.Contains(of, id):
		return true
	default:
		return !known[id].Last.IsZero() && !bytes.Contains(raw, []byte(`"state":"`+DeliveryRefused+`"`))
	}
}

// PruneDeliveries forgets processed deliveries older than keep, the oldest 1000 at most, and returns how many.
func (s *Store) PruneDeliveries(keep time.Duration) (n int, err error) {
	var files []string
	err = s.Update(func(tx *Tx) error {
		var old []Delivery
		limit := idAt(tx.now.Add(-keep))
		err := each(tx, "deliveries", "", func(k string, _ []byte) (bool, error) {
			d, err := tx.Delivery(k)
			if k < limit && d.State != DeliveryWaiting {
				old = append(old, d)
			}
			return k < limit && len(old) < 1000, err
		})
		for _, d := range old {
			if d.InFile {
				files = append(files, d.ID)
			}
			if d.Key != "" {
				err = errors.Join(err, unmark(tx, "delivery_keys", d.Key))
			}
			err = errors.Join(err, unmark(tx, "bodies", d.ID), unmark(tx, "deliveries", d.ID))
		}
		n = len(old)
		return err
	})
	if err != nil {
		return 0, err // the rows are still there, and so are the bodies they name
	}
	for _, id := range files {
		err = errors.Join(err, s.Remove("deliveries", id))
	}
	return n, err
}
