package store

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

const hush = "hush-hush-4711-do-not-tell"

// everySecret stores a secret wherever one can be and returns their texts.
func everySecret(t *testing.T, s *Store) []string {
	t.Helper()
	var told []string
	tell := func(what string) string {
		told = append(told, what+"-"+hush)
		return told[len(told)-1]
	}
	addStack(t, s, "Network")
	update(t, s, func(tx *Tx) error {
		return tx.PutIntegration(Integration{
			APIURL: "https://gitlab.example", Linked: true,
			Token: runs.Secret(tell("token")), Secret: runs.Secret(tell("secret")), OldSecret: runs.Secret(tell("old")), OldSecretUntil: tx.Now().Add(time.Hour),
		})
	})
	update(t, s, func(tx *Tx) error {
		return tx.PutVariable("network", runs.Variable{Name: "TF_VAR_password", Value: tell("variable"), Secret: true})
	})
	v, err := s.WriteState("network", []byte(`{"secret":"`+tell("state")+`"}`))
	if err == nil {
		err = s.Seal([]byte(tell("plan")), "plans", "01.sealed")
	}
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error { _, err := tx.AddStateVersion("network", v); return err })
	update(t, s, func(tx *Tx) error {
		u, err := tx.PutUser(User{Name: "alice", Role: Admin})
		if err != nil {
			return err
		}
		session, err := tx.AddSession(Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
		if err != nil {
			return err
		}
		_, key, err := tx.AddAPIKey(APIKey{Name: "ci", Role: Writer})
		if err != nil {
			return err
		}
		setup, err := tx.NewSetupToken()
		told = append(told, session, key, setup)
		return err
	})
	return told
}

// TestNoSecretInClear looks through every byte of every file of the data folder, the database's free pages included.
func TestNoSecretInClear(t *testing.T) {
	s := open(t)
	secrets := everySecret(t, s)
	update(t, s, func(tx *Tx) error { // old values stay on free pages
		return tx.PutVariable("network", runs.Variable{Name: "TF_VAR_password", Value: "another", Secret: true})
	})
	update(t, s, func(tx *Tx) error { return tx.DeleteVariable("network", "TF_VAR_password") })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found := files(t, s.Dir())
	if len(found) < 4 {
		t.Fatalf("only %d files", len(found))
	}
	for path, content := range found {
		for _, secret := range secrets {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:24], hex.EncodeToString([]byte(secret))} {
				if strings.Contains(content, form) {
					t.Errorf("%s holds %q", path, form)
				}
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
}

func TestSecretsComeBack(t *testing.T) {
	s := open(t, quick)
	everySecret(t, s)
	view(t, s, func(tx *Tx) error {
		in, ok, err := tx.Integration()
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		got := []string{in.Token.Reveal(), in.Secret.Reveal(), in.OldSecret.Reveal()}
		for i, what := range []string{"token", "secret", "old"} {
			if got[i] != what+"-"+hush {
				t.Errorf("%s: %q", what, got[i])
			}
		}
		shown, err := tx.Variables("network")
		if err != nil || shown[0].Value != "" || !shown[0].Secret {
			t.Errorf("shown to people: %+v, %v", shown, err)
		}
		open, err := tx.RevealVariables("network")
		if err != nil || open[0].Value != "variable-"+hush {
			t.Errorf("for the run: %+v, %v", open, err)
		}
		v, _, err := tx.NewestState("network")
		if err != nil {
			return err
		}
		state, err := s.ReadState(v)
		if err != nil || string(state) != `{"secret":"state-`+hush+`"}` || v.Size != int64(len(state)) {
			t.Errorf("state %q of %d bytes, %v", state, v.Size, err)
		}
		return nil
	})
	if plan, err := s.Unseal("plans", "01.sealed"); err != nil || string(plan) != "plan-"+hush {
		t.Errorf("plan %q, %v", plan, err)
	}
}

// TestSealsAreBound: a ciphertext that is copied to another record does not open there (S39).
func TestSealsAreBound(t *testing.T) {
	s := open(t, quick)
	everySecret(t, s)
	addStack(t, s, "Database")

	t.Run("a variable under another name or stack", func(t *testing.T) {
		for _, to := range [][2]string{{"network", "TF_VAR_region"}, {"database", "TF_VAR_password"}} {
			update(t, s, func(tx *Tx) error {
				var v runs.Variable
				_, err := get(tx, "variables", "network/TF_VAR_password", &v)
				v.Name = to[1]
				if err == nil {
					err = put(tx, "variables", to[0]+"/"+to[1], v)
				}
				return err
			})
			err := s.View(func(tx *Tx) error { _, err := tx.RevealVariables(to[0]); return err })
			wantSealed(t, err, "variables/"+to[0]+"/"+to[1])
		}
	})
	t.Run("the webhook secret as the token", func(t *testing.T) {
		err := s.Update(func(tx *Tx) error {
			var in Integration
			_, err := get(tx, "integration", "gitlab", &in)
			in.SealedToken = in.SealedSecret
			if err == nil {
				err = put(tx, "integration", "gitlab", in)
			}
			if err == nil {
				_, _, err = tx.Integration()
			}
			return err
		})
		wantSealed(t, err, "integration/gitlab/token")
	})
	t.Run("a file elsewhere", func(t *testing.T) {
		raw, err := os.ReadFile(s.Path("plans", "01.sealed"))
		if err == nil {
			err = s.WriteFile(raw, "plans", "02.sealed")
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Unseal("plans", "02.sealed")
		wantSealed(t, err, "plans/02.sealed")
	})
	t.Run("a changed or cut file", func(t *testing.T) {
		raw, err := os.ReadFile(s.Path("plans", "01.sealed"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1
			if _, err := s.seal.open("plans/01.sealed", bad); err == nil {
				t.Fatalf("byte %d was changed and it opened", i)
			}
			if _, err := s.seal.open("plans/01.sealed", raw[:i]); err == nil {
				t.Fatalf("cut at byte %d it opened", i)
			}
		}
	})
	t.Run("another key", func(t *testing.T) {
		other := open(t, quick)
		raw, err := os.ReadFile(s.Path("plans", "01.sealed"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = other.seal.open("plans/01.sealed", raw)
		wantSealed(t, err, "plans/01.sealed")
	})
}

// wantSealed checks that a seal did not open, that the error names the record, and that it says no more.
func wantSealed(t *testing.T, err error, record string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "sealed "+record+" does not open") || strings.Contains(err.Error(), hush) {
		t.Errorf("got %v, want that %s does not open", err, record)
	}
}

func TestSealsDiffer(t *testing.T) {
	s := open(t, quick)
	seen := map[string]bool{}
	for range 1000 {
		sealed := s.seal.lockText("r", "the same")
		if seen[sealed] || strings.Contains(sealed, "the same") {
			t.Fatal("the same text sealed twice looks the same")
		}
		seen[sealed] = true
	}
	if s.seal.lockText("r", "") != "" {
		t.Error("nothing is sealed as something")
	}
	if text, err := s.seal.openText("r", "%%"); err == nil || text != "" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestPlainRowsHoldNoSecret looks at keys and values as they are read, in whatever pages they lie.
func TestPlainRowsHoldNoSecret(t *testing.T) {
	s := open(t, quick)
	secrets := everySecret(t, s)
	err := s.db.View(func(b *bolt.Tx) error {
		return b.ForEach(func(name []byte, bucket *bolt.Bucket) error {
			return bucket.ForEach(func(k, v []byte) error {
				for _, secret := range secrets {
					if bytes.Contains(v, []byte(secret)) || bytes.Contains(k, []byte(secret)) {
						return fmt.Errorf("%s/%s holds a secret", name, k)
					}
				}
				return nil
			})
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUnlinkedIntegrationKeepsNoSecret(t *testing.T) {
	s := open(t, quick)
	everySecret(t, s)
	update(t, s, func(tx *Tx) error {
		in, _, err := tx.Integration()
		in.Token, in.Secret, in.OldSecret, in.Linked = "", "", "", false
		if err != nil {
			return err
		}
		return tx.PutIntegration(in)
	})
	var row Integration
	view(t, s, func(tx *Tx) error { _, err := get(tx, "integration", "gitlab", &row); return err })
	if row.SealedToken+row.SealedSecret+row.SealedOldSecret != "" || row.Linked {
		t.Errorf("left: %+v", row)
	}
}

func TestSecretsOfAMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := Integration{Secret: "new", OldSecret: "old", OldSecretUntil: now.Add(time.Hour)}
	for _, tc := range []struct {
		in   Integration
		at   time.Time
		want string
	}{
		{in, now, "new old"},
		{in, now.Add(time.Hour), "new"},
		{Integration{OldSecret: "old", OldSecretUntil: now.Add(time.Hour)}, now, "old"},
		{Integration{}, now, ""},
	} {
		var got []string
		for _, s := range tc.in.Secrets(tc.at) {
			got = append(got, s.Reveal())
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("valid: %v, want %s", got, tc.want)
		}
	}
	if in := (Integration{APIURL: "a"}); in.Prefix() != "groundcrew" || in.BrowserURL() != "a" {
		t.Errorf("%s, %s", in.Prefix(), in.BrowserURL())
	}
	if in := (Integration{APIURL: "a", ExternalURL: "b", StatusPrefix: "gc"}); in.Prefix() != "gc" || in.BrowserURL() != "b" {
		t.Errorf("%s, %s", in.Prefix(), in.BrowserURL())
	}
}

// TestFilesStayInside: no part of a name leads out of the data folder, or to a folder that holds other things.
func TestFilesStayInside(t *testing.T) {
	s := open(t, quick)
	outside := s.Dir() + "-outside"
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(outside)
	for _, parts := range [][]string{{"deliveries", ""}, {"deliveries", "."}, {"states", "a/.."}, {""}, {"states", ".."}, {"..", "x"}, {"states", "../../x"}, {"/etc/passwd"}, {"plans", "../../" + outside}} {
		_, read := s.Unseal(parts...)
		for what, err := range map[string]error{"write": s.WriteFile(nil, parts...), "seal": s.Seal(nil, parts...), "read": read, "remove": s.Remove(parts...)} {
			if err == nil || !strings.Contains(err.Error(), "does not name a file in the data folder") {
				t.Errorf("%s %q: %v", what, parts, err)
			}
		}
	}
	if _, err := os.Stat(s.Path("states")); err != nil {
		t.Error(err)
	}
	if err := s.Remove("states", "never-there"); err != nil {
		t.Errorf("removing what is absent: %v", err)
	}
	if _, err := s.Unseal("plans", "absent.sealed"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is absent: %v", err)
	}
}
