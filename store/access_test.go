package store

import (
	"testing"
	"time"

	"groundcrew/runs"
)

func TestSessionsEndByIdlingAndAge(t *testing.T) {
	c := newClock()
	s := open(t, quick, func(o *Options) { o.Now = c.now })
	var token string
	update(t, s, func(tx *Tx) error {
		u, err := tx.PutUser(User{Name: "ann", Role: Reader})
		if err != nil {
			return err
		}
		token, err = tx.AddSession(Session{User: u.ID, ExpiresAt: tx.Now().Add(365 * 24 * time.Hour)})
		return err
	})
	alive := func() (ok bool) {
		t.Helper()
		if err := s.View(func(tx *Tx) (err error) { _, _, ok, err = tx.Session(token); return err }); err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for range 4 { // used every two days it lives on
		c.advance(48 * time.Hour)
		if !alive() {
			t.Fatal("a session in use ended")
		}
		update(t, s, func(tx *Tx) error { return tx.TouchSession(token, "10.0.0.1") })
	}
	c.advance(DefaultSessionIdle*time.Hour - time.Second)
	if !alive() {
		t.Error("ended before its idle time was over")
	}
	c.advance(time.Second)
	if alive() {
		t.Error("an idle session lives")
	}
	update(t, s, func(tx *Tx) error { return tx.PutSettings(Settings{SessionIdle: 5000, SessionLife: 12}) })
	if !alive() {
		t.Error("a longer setting does not hold for those signed in")
	}
	c.advance(24 * time.Hour)
	if alive() {
		t.Error("older than the longest life, and alive")
	}
}

func TestOriginsOfActs(t *testing.T) {
	s := open(t, quick)
	entry := func(by string) (e AuditEntry) {
		update(t, s, func(tx *Tx) error { return tx.Audit(AuditEntry{By: by, Action: "a.b"}) })
		if err := s.View(func(tx *Tx) error { page, _, err := tx.AuditLog("", 1); e = page[0]; return err }); err != nil {
			t.Fatal(err)
		}
		return e
	}
	one := s.Acting("ann", Origin{"10.0.0.1", "session a"})
	if e := entry("ann"); e.Address != "10.0.0.1" || e.Via != "session a" {
		t.Errorf("%+v", e)
	}
	two := s.Acting("ann", Origin{"10.0.0.2", "session b"})
	if e := entry("ann"); e.Address != "10.0.0.1 or 10.0.0.2" || e.Via != "session a or session b" {
		t.Errorf("%+v", e)
	}
	if e := entry("bob"); e.Address != "" {
		t.Errorf("%+v", e)
	}
	if n := one.End(); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
	two.End()
	if e := entry("ann"); e.Address != "" {
		t.Errorf("%+v", e)
	}
}

func TestTrimAuditAndSearch(t *testing.T) {
	c := newClock()
	s := open(t, quick, func(o *Options) { o.Now = c.now })
	for range 10 {
		update(t, s, func(tx *Tx) error { return tx.Audit(AuditEntry{By: "ann", Action: "a.b"}) })
		c.advance(24 * time.Hour)
	}
	var n int
	update(t, s, func(tx *Tx) (err error) { n, err = tx.TrimAudit(tx.Now().Add(-132*time.Hour), 3); return err })
	if n != 3 {
		t.Errorf("%d removed, want 3 at most", n)
	}
	update(t, s, func(tx *Tx) (err error) { n, err = tx.TrimAudit(tx.Now().Add(-132*time.Hour), 100); return err })
	if n != 2 {
		t.Errorf("%d removed, want 2", n)
	}
	if err := s.View(func(tx *Tx) error {
		page, next, err := tx.AuditSearch(AuditFilter{Until: tx.Now().Add(-60 * time.Hour)}, "", 2)
		if len(page) != 2 || next == "" || !page[0].At.Before(tx.Now().Add(-60*time.Hour)) {
			t.Errorf("%d, %q, %v", len(page), next, page)
		}
		rest, next, err2 := tx.AuditSearch(AuditFilter{Until: tx.Now().Add(-60 * time.Hour)}, next, 2)
		if len(rest) != 1 || next != "" || err2 != nil {
			t.Errorf("%d, %q, %v", len(rest), next, err2)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestSignInIsSealed(t *testing.T) {
	s := open(t, quick)
	update(t, s, func(tx *Tx) error {
		return tx.PutSignIn(SignIn{GitLab: true, ClientID: "id", Secret: runs.Secret("gloas-very-secret"), Groups: []string{"platform"}})
	})
	if err := s.View(func(tx *Tx) error {
		got, err := tx.SignIn()
		if got.Secret.Reveal() != "gloas-very-secret" || got.DefaultRole() != Writer {
			t.Errorf("%+v", got)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
