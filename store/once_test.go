package store

import (
	"strings"
	"testing"
)

func TestOnces(t *testing.T) {
	c := newClock()
	s := open(t, quick, withClock(c))
	begin := func(sender, key, digest string) (o Once, known bool) {
		update(t, s, func(tx *Tx) (err error) {
			o, known, err = tx.BeginOnce(sender, key, digest)
			return err
		})
		return o, known
	}
	if _, known := begin("ann", "k", "d1"); known {
		t.Error("known before it was sent")
	}
	if o, known := begin("ann", "k", "d2"); !known || o.Done || o.Digest != "d1" {
		t.Errorf("at work: %+v %v", o, known)
	}
	update(t, s, func(tx *Tx) error { return tx.EndOnce("ann", "k", 201, "/x", "the body") })
	if o, known := begin("ann", "k", "d1"); !known || !o.Done || o.Body != "the body" || o.Status != 201 || o.Location != "/x" {
		t.Errorf("done: %+v %v", o, known)
	}
	for _, row := range dump(t, s)["onces"] {
		if row == "" || strings.Contains(row, "the body") {
			t.Error("the answer is not sealed")
		}
	}
	if _, known := begin("bob", "k", "d1"); known {
		t.Error("somebody else's key is known")
	}
	update(t, s, func(tx *Tx) error { return tx.ForgetOnce("bob", "k") })
	if _, known := begin("bob", "k", "d1"); known {
		t.Error("forgotten, and known")
	}
	c.advance(OnceLife)
	if _, known := begin("ann", "k", "d9"); known {
		t.Error("known after its life")
	}
	c.advance(OnceLife / 2)
	begin("cay", "k", "d")
	c.advance(OnceLife / 2)
	if err := s.PruneOnces(); err != nil {
		t.Fatal(err)
	}
	if n := len(dump(t, s)["onces"]); n != 1 {
		t.Errorf("%d rows after pruning, want cay's", n)
	}
}
