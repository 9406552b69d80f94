package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func addUser(t *testing.T, s *Store, name string) User {
	t.Helper()
	var u User
	update(t, s, func(tx *Tx) (err error) {
		u, err = tx.PutUser(User{Name: name, Role: Reader})
		return err
	})
	return u
}

func TestUsers(t *testing.T) {
	s := open(t, quick)
	alice, bob := addUser(t, s, "Alice"), addUser(t, s, "bob")
	put := func(u User) error { return s.Update(func(tx *Tx) error { _, err := tx.PutUser(u); return err }) }
	for name, err := range map[string]error{
		"a taken name": put(User{Name: "ALICE"}), "taking another's name": put(User{ID: bob.ID, Name: "alice"}),
	} {
		e, ok := errors.AsType[*runs.Error](err)
		if !ok || !errors.Is(err, runs.ErrConflict) || e.Field != "name" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "  ", strings.Repeat("x", 101), "a\nb", "a\x1b[31m", "a\xff"} {
		if err := put(User{Name: name}); !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := put(User{ID: "01ABSENT", Name: "carol"}); !errors.Is(err, runs.ErrNotFound) {
		t.Errorf("a user that is not there: %v", err)
	}
	alice.Name, alice.Role = "Alicia", Admin
	if err := put(alice); err != nil {
		t.Fatal(err)
	}
	view(t, s, func(tx *Tx) error {
		for name, want := range map[string]string{"alicia": alice.ID, "ALICIA": alice.ID, "Bob": bob.ID, "alice": "", "": ""} {
			if u, ok, err := tx.UserByName(name); u.ID != want || ok != (want != "") || err != nil {
				t.Errorf("%q is %+v, %v", name, u, err)
			}
		}
		if _, err := tx.User("01ABSENT"); !errors.Is(err, runs.ErrNotFound) {
			t.Error(err)
		}
		list, err := tx.Users()
		if diff := cmp.Diff([]User{alice, bob}, list); diff != "" {
			t.Error(diff)
		}
		return err
	})
	addUser(t, s, "alice") // the name is free again
}

// A name from before something was asked of names does not keep its owner out.
func TestAnOldNameGoesOn(t *testing.T) {
	s := open(t, quick)
	old := User{ID: "01OLD", Name: "two\nlines", Role: Reader}
	update(t, s, func(tx *Tx) error {
		return errors.Join(put(tx, "users", old.ID, old), tx.b.Bucket([]byte("user_names")).Put([]byte(old.Name), []byte(old.ID)))
	})
	old.Role = Writer
	update(t, s, func(tx *Tx) error { _, err := tx.PutUser(old); return err })
	view(t, s, func(tx *Tx) error {
		u, ok, err := tx.UserByName(old.Name)
		if !ok || u.Role != Writer {
			t.Errorf("%+v, %v", u, ok)
		}
		return err
	})
}

func TestSessions(t *testing.T) {
	c := newClock()
	s := open(t, quick, withClock(c))
	u := addUser(t, s, "alice")
	signIn := func(user string, d time.Duration) (token string) {
		update(t, s, func(tx *Tx) (err error) {
			token, err = tx.AddSession(Session{User: user, ExpiresAt: tx.Now().Add(d), Agent: "test"})
			return err
		})
		return token
	}
	valid := func(token string) (ok bool) {
		view(t, s, func(tx *Tx) error {
			session, user, is, err := tx.Session(token)
			if is && (user.ID != u.ID || session.Agent != "test" || session.CreatedAt.IsZero()) {
				t.Errorf("session %+v of %+v", session, user)
			}
			ok = is
			return err
		})
		return ok
	}
	short, long, orphan := signIn(u.ID, time.Minute), signIn(u.ID, time.Hour), signIn("01ABSENT", time.Hour)
	if len(short) < 43 || short == long {
		t.Errorf("tokens %q and %q", short, long)
	}
	if !valid(short) || !valid(long) || valid(orphan) || valid("") || valid("x") || valid(hashToken(short)) {
		t.Error("which sessions are valid")
	}
	c.advance(time.Minute)
	if valid(short) || !valid(long) {
		t.Error("an hour's session ends in an hour, a minute's in a minute")
	}
	end := signIn(u.ID, time.Hour)
	update(t, s, func(tx *Tx) error { return tx.EndSession(end) })
	if valid(end) || !valid(long) {
		t.Error("signing out ends one session")
	}
	if n := len(dump(t, s)["sessions"]); n != 2 {
		t.Errorf("%d sessions are kept; the expired one should be gone", n)
	}
	update(t, s, func(tx *Tx) error { return tx.EndSession("never there") })
}

func TestAPIKeys(t *testing.T) {
	c := newClock()
	s := open(t, quick, withClock(c))
	add := func(k APIKey) (key APIKey, text string, err error) {
		err = s.Update(func(tx *Tx) (err error) { key, text, err = tx.AddAPIKey(k); return err })
		return key, text, err
	}
	past, soon := c.now().Add(-time.Second), c.now().Add(time.Minute)
	for field, k := range map[string]APIKey{"name": {Role: Admin}, "role": {Name: "ci", Role: "root"}, "expires_at": {Name: "ci", Role: Admin, ExpiresAt: &past}} {
		_, _, err := add(k)
		if e, ok := errors.AsType[*runs.Error](err); !ok || e.Field != field || !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("%s: %v", field, err)
		}
	}
	forever, text, err := add(APIKey{Name: "ci", Role: Writer, CreatedBy: "alice"})
	if err != nil || !strings.HasPrefix(text, "gck_") || forever.ID == "" {
		t.Fatal(forever, text, err)
	}
	if _, _, err := add(APIKey{Name: "a\r\nb", Role: Writer}); !errors.Is(err, runs.ErrInvalid) {
		t.Errorf("a name of two lines: %v", err)
	}
	_, short, err := add(APIKey{Name: "ci", Role: Reader, ExpiresAt: &soon})
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text string) (ok bool) {
		view(t, s, func(tx *Tx) (err error) { _, ok, err = tx.APIKeyByText(text); return err })
		return ok
	}
	if !valid(text) || !valid(short) || valid("") || valid("gck_x") || valid(hashToken(text)) {
		t.Error("which keys are valid")
	}
	view(t, s, func(tx *Tx) error {
		k, _, err := tx.APIKeyByText(text)
		if diff := cmp.Diff(forever, k); diff != "" {
			t.Error(diff)
		}
		list, err2 := tx.APIKeys()
		if len(list) != 2 {
			t.Errorf("%d keys", len(list))
		}
		return errors.Join(err, err2)
	})
	c.advance(time.Minute)
	if valid(short) || !valid(text) {
		t.Error("a key ends when it expires, and only then")
	}
	if err := s.Update(func(tx *Tx) error { _, err := tx.DeleteAPIKey("absent"); return err }); !errors.Is(err, runs.ErrNotFound) {
		t.Error(err)
	}
	update(t, s, func(tx *Tx) error { _, err := tx.DeleteAPIKey(forever.ID); return err })
	if valid(text) {
		t.Error("a deleted key is valid")
	}
}

func TestSetupTokenIsForOnce(t *testing.T) {
	s := open(t, quick)
	token := func() (token string) {
		update(t, s, func(tx *Tx) (err error) { token, err = tx.NewSetupToken(); return err })
		return token
	}
	is := func(token string) (ok bool) {
		view(t, s, func(tx *Tx) error { ok = tx.IsSetupToken(token); return nil })
		return ok
	}
	if is("") || is("x") {
		t.Error("there is no token yet")
	}
	first := token()
	if !is(first) || is("") || is(first+"x") {
		t.Error("the first token")
	}
	second := token()
	if is(first) || !is(second) {
		t.Error("the second token ends the first")
	}
	update(t, s, func(tx *Tx) error { return tx.UseSetupToken() })
	if is(second) || is("") {
		t.Error("a used token is valid")
	}
}

func TestAudit(t *testing.T) {
	s := open(t, quick)
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.Audit(AuditEntry{Action: "a.b", ID: "forged"}), tx.Audit(AuditEntry{Action: "c.d", By: "alice", Note: "n"}))
	})
	view(t, s, func(tx *Tx) error {
		list, _, err := tx.AuditLog("", 10)
		if len(list) != 2 || list[0].By != "alice" || list[1].By != runs.System || list[1].ID == "forged" || list[1].At.IsZero() {
			t.Errorf("log %+v", list)
		}
		return err
	})
}

func TestSmallThings(t *testing.T) {
	s := open(t, quick)
	mr := MergeRequest{Project: 7, MergeRequest: runs.MergeRequest{IID: 3, Title: "T"}, State: "opened", Head: "abc"}
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.PutSettings(Settings{Workers: 3}), tx.PutHead(7, "main", "abc"), tx.PutHead(7, "feature/x", "def"), tx.PutHead(7, "gone", "x"), tx.PutHead(7, "gone", ""),
			tx.PutMergeRequest(mr), tx.PutMergeRequest(MergeRequest{Project: 77, State: "opened"}),
		)
	})
	view(t, s, func(tx *Tx) error {
		settings, err := tx.Settings()
		got, ok, err2 := tx.MergeRequest(7, 3)
		list, err3 := tx.MergeRequests(7)
		if settings.Workers != 3 || tx.Head(7, "main") != "abc" || tx.Head(7, "feature/x") != "def" || tx.Head(7, "gone") != "" || tx.Head(8, "main") != "" {
			t.Errorf("settings %+v, heads %q", settings, tx.Head(7, "main"))
		}
		if !ok || len(list) != 1 || cmp.Diff(mr, got) != "" || cmp.Diff(mr, list[0]) != "" {
			t.Errorf("merge request %+v, list %+v", got, list)
		}
		return errors.Join(err, err2, err3)
	})
	mr.State = "merged"
	update(t, s, func(tx *Tx) error { return tx.PutMergeRequest(mr) })
	view(t, s, func(tx *Tx) error {
		_, ok, err := tx.MergeRequest(7, 3)
		if ok {
			t.Error("a merged merge request is kept")
		}
		return err
	})
}
