package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

// TestSameDeliveryAtOnce sends one delivery 50 times at the same moment, small and large.
func TestSameDeliveryAtOnce(t *testing.T) {
	for name, body := range map[string][]byte{"in the database": []byte(`{"a":1}`), "as a file": bytes.Repeat([]byte("x"), inlineBody+1)} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			var wg sync.WaitGroup
			var mu sync.Mutex
			ids, fresh := map[string]int{}, 0
			for range 50 {
				wg.Go(func() {
					d, known, err := s.AddDelivery(Delivery{Key: "the same", Event: "Push Hook"}, body)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					ids[d.ID]++
					if !known {
						fresh++
					}
				})
			}
			wg.Wait()
			if fresh != 1 || len(ids) != 1 {
				t.Errorf("stored %d times, under the ids %v", fresh, ids)
			}
			rows := dump(t, s)
			for _, bucket := range []string{"deliveries", "delivery_keys", "inbox"} {
				if len(rows[bucket]) != 1 {
					t.Errorf("%d rows in %s", len(rows[bucket]), bucket)
				}
			}
			left, err := os.ReadDir(s.Path("deliveries"))
			if err != nil || len(left)+len(rows["bodies"]) != 1 {
				t.Errorf("%d files and %d rows hold the body, %v", len(left), len(rows["bodies"]), err)
			}
		})
	}
}

func TestDifferentDeliveriesAtOnce(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			key := fmt.Sprint("k", i/2) // pairs share a key, and two have none
			if i < 2 {
				key = ""
			}
			if _, _, err := s.AddDelivery(Delivery{Key: key}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx *Tx) error {
		ids, err := tx.Inbox(100)
		if len(ids) != 26 || !slices.IsSorted(ids) {
			t.Errorf("%d deliveries wait, sorted %v; want 26", len(ids), slices.IsSorted(ids))
		}
		return err
	})
}

func TestDeliveryBodies(t *testing.T) {
	s := open(t, quick)
	for _, size := range []int{0, 1, inlineBody, inlineBody + 1, 25 << 20} {
		body := bytes.Repeat([]byte{'x', 0, 0xff}, size/3+1)[:size]
		d, known, err := s.AddDelivery(Delivery{Event: "Push Hook"}, body)
		if err != nil || known {
			t.Fatal(known, err)
		}
		if d.InFile != (size > inlineBody) || d.Size != size || d.State != DeliveryWaiting || d.ReceivedAt.IsZero() {
			t.Errorf("%d bytes: %+v", size, d)
		}
		view(t, s, func(tx *Tx) error {
			stored, err := tx.Delivery(d.ID)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(d, stored); diff != "" {
				t.Errorf("%d bytes: returned and stored differ:\n%s", size, diff)
			}
			got, err := tx.DeliveryBody(stored)
			if !bytes.Equal(got, body) {
				t.Errorf("%d bytes: read %d others", size, len(got))
			}
			return err
		})
	}
	if s.Size() > 4<<20 {
		t.Errorf("the database grew to %d bytes with a large body", s.Size())
	}
}

func TestDeliveryStates(t *testing.T) {
	s := open(t, quick)
	d, _, err := s.AddDelivery(Delivery{Key: "k"}, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		view(t, s, func(tx *Tx) error { ids, err := tx.Inbox(100); n = len(ids); return err })
		return n
	}
	for _, tc := range []struct {
		state string
		want  int
	}{{DeliveryDone, 0}, {DeliveryWaiting, 1}, {DeliveryFailed, 0}, {DeliveryWaiting, 1}} { // "process again" is waiting again
		update(t, s, func(tx *Tx) error { d.State = tc.state; return tx.PutDelivery(d) })
		if got := waiting(); got != tc.want {
			t.Errorf("%s: %d wait", tc.state, got)
		}
	}
	view(t, s, func(tx *Tx) error {
		if _, err := tx.Delivery("absent"); !errors.Is(err, runs.ErrNotFound) {
			t.Error(err)
		}
		if _, err := tx.DeliveryBody(Delivery{ID: "absent", InFile: true}); !errors.Is(err, runs.ErrNotFound) {
			t.Error(err)
		}
		return nil
	})
}

// TestRefusedRequests: strangers cannot fill the disk, hold a key that a true delivery has, or push true ones out.
func TestRefusedRequests(t *testing.T) {
	s := open(t, quick)
	for i := range 130 {
		if err := s.AddRefused(Delivery{Key: "mine", Event: "Push Hook", Verdict: fmt.Sprint("refused ", i)}); err != nil {
			t.Fatal(err)
		}
		if i == 60 {
			if _, known, err := s.AddDelivery(Delivery{Key: "mine"}, nil); known || err != nil {
				t.Fatal("a refused request took the key of a true delivery:", known, err)
			}
		}
	}
	view(t, s, func(tx *Tx) error {
		page, _, err := tx.Deliveries(DeliveryRefused, "", 1000)
		if len(page) != 100 || page[0].Verdict != "refused 129" || page[99].Verdict != "refused 30" {
			t.Errorf("%d refused ones are kept, from %q", len(page), page[0].Verdict)
		}
		ids, err2 := tx.Inbox(100)
		if len(ids) != 1 {
			t.Errorf("%d wait", len(ids))
		}
		return errors.Join(err, err2)
	})
}

func TestPruneDeliveries(t *testing.T) {
	c := newClock()
	s := open(t, quick, withClock(c))
	add := func(key, state string, size int) Delivery {
		d, _, err := s.AddDelivery(Delivery{Key: key}, make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		update(t, s, func(tx *Tx) error { d.State = state; return tx.PutDelivery(d) })
		return d
	}
	add("done", DeliveryDone, 10)
	add("failed", DeliveryFailed, 10)
	large := add("large", DeliveryDone, inlineBody+1)
	waiting := add("waiting", DeliveryWaiting, inlineBody+1)
	if err := s.AddRefused(Delivery{}); err != nil {
		t.Fatal(err)
	}
	c.advance(7 * 24 * time.Hour)
	young := add("young", DeliveryDone, 10)

	if n, err := s.PruneDeliveries(8 * 24 * time.Hour); n != 0 || err != nil {
		t.Errorf("%d are older than 8 days, %v", n, err)
	}
	if n, err := s.PruneDeliveries(7 * 24 * time.Hour); n != 4 || err != nil {
		t.Errorf("%d were forgotten, want 4: %v", n, err)
	}
	rows := dump(t, s)
	want := map[string][]string{"deliveries": {waiting.ID, young.ID}, "delivery_keys": {"waiting", "young"}, "bodies": {young.ID}, "inbox": {waiting.ID}}
	for bucket, keys := range want {
		var got []string
		for k := range rows[bucket] {
			got = append(got, k)
		}
		slices.Sort(got)
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Errorf("%s:\n%s", bucket, diff)
		}
	}
	if _, err := os.Stat(s.Path("deliveries", large.ID)); !os.IsNotExist(err) {
		t.Errorf("the body's file is still there: %v", err)
	}
	if _, err := os.Stat(s.Path("deliveries", waiting.ID)); err != nil {
		t.Errorf("the body of a waiting one is gone: %v", err)
	}
	if _, known, err := s.AddDelivery(Delivery{Key: "done"}, nil); known || err != nil {
		t.Errorf("a forgotten key is still known: %v", err)
	}
}

func TestPruneManyDeliveries(t *testing.T) {
	c := newClock()
	s := open(t, quick, withClock(c))
	update(t, s, func(tx *Tx) error {
		for range 1500 {
			if err := tx.PutDelivery(Delivery{ID: tx.NewID(), State: DeliveryDone}); err != nil {
				return err
			}
		}
		return nil
	})
	c.advance(time.Hour)
	for _, want := range []int{1000, 500, 0} {
		if n, err := s.PruneDeliveries(time.Minute); n != want || err != nil {
			t.Errorf("forgot %d, want %d: %v", n, want, err)
		}
	}
}

func TestLastDelivery(t *testing.T) {
	s := open(t, quick)
	for _, d := range []Delivery{{ProjectID: 7}, {ProjectID: 8}, {ProjectID: 7, State: DeliveryRefused}} {
		add := s.AddRefused
		if d.State == "" {
			add = func(d Delivery) error { _, _, err := s.AddDelivery(d, nil); return err }
		}
		if err := add(d); err != nil {
			t.Fatal(err)
		}
	}
	view(t, s, func(tx *Tx) error {
		page, _, err := tx.Deliveries("", "", 3) // newest first: refused, 8, 7
		if err != nil {
			return err
		}
		for project, want := range map[int64]time.Time{7: page[2].ReceivedAt, 8: page[1].ReceivedAt, 9: {}} {
			if at, err := tx.LastDelivery(project); !at.Equal(want) || err != nil {
				t.Errorf("project %d: %v, want %v, %v", project, at, want, err)
			}
		}
		return nil
	})
}

// TestCountDeliveries counts and finds by state beside texts that look like a state, and what is older.
func TestCountDeliveries(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := open(t, quick, func(o *Options) { o.Now = func() time.Time { return now } })
	put := func(states ...string) {
		update(t, s, func(tx *Tx) (err error) {
			for _, state := range states {
				err = errors.Join(err, tx.PutDelivery(Delivery{
					ID: tx.NewID(), State: state, Verdict: `"state":"refused"`, Headers: map[string]string{"state": DeliveryFailed}, ReceivedAt: now,
				}))
			}
			return err
		})
	}
	put(DeliveryRefused, DeliveryDone)
	now = now.Add(25 * time.Hour)
	put(DeliveryDone, DeliveryRefused, DeliveryFailed, DeliveryRefused, DeliveryWaiting)
	view(t, s, func(tx *Tx) error {
		for _, tc := range []struct {
			since                    time.Time
			limit, received, refused int
		}{
			{now.Add(-24 * time.Hour), 100, 5, 2},
			{now.Add(-26 * time.Hour), 100, 7, 3},
			{now.Add(-26 * time.Hour), 2, 2, 1},
			{now.Add(time.Hour), 100, 0, 0},
		} {
			received, refused, err := tx.CountDeliveries(tc.since, tc.limit)
			if err != nil || received != tc.received || refused != tc.refused {
				t.Errorf("since %s: %d received, %d refused, %v; want %+v", tc.since, received, refused, err, tc)
			}
		}
		failed, err := tx.FailedDeliveries(10)
		if len(failed) != 1 || failed[0].State != DeliveryFailed || failed[0].Verdict != `"state":"refused"` {
			t.Errorf("failed: %+v", failed)
		}
		return err
	})
}
