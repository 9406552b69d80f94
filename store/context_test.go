package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"groundcrew/runs"
)

func addContext(t testing.TB, s *Store, name string, labels ...string) (c runs.Context) {
	t.Helper()
	update(t, s, func(tx *Tx) (err error) {
		c, err = tx.AddContext(runs.Context{Name: name, Labels: labels})
		return err
	})
	return c
}

func mountOf(path, content string, secret bool) runs.Mount {
	return runs.Mount{File: runs.File{Path: path, Secret: secret}, Content: []byte(content)}
}

func TestContextSlugs(t *testing.T) {
	s := open(t, quick)
	c := addContext(t, s, "AWS prod")
	if c.Slug != "aws-prod" || c.CreatedAt.IsZero() {
		t.Errorf("%+v", c)
	}
	err := s.Update(func(tx *Tx) error { _, err := tx.AddContext(runs.Context{Name: "aws PROD"}); return err })
	if !errors.Is(err, runs.ErrConflict) {
		t.Errorf("the same address again: %v", err)
	}
	for _, fn := range []func(tx *Tx) error{
		func(tx *Tx) error { _, err := tx.Context("none"); return err },
		func(tx *Tx) error { return tx.DeleteContext("none") },
		func(tx *Tx) error { return tx.PutVariable("context:none", runs.Variable{Name: "A"}) },
		func(tx *Tx) error { return tx.PutFile("context:none", mountOf("a", "", false)) },
		func(tx *Tx) error { return tx.PutFile("none", mountOf("a", "", false)) },
		func(tx *Tx) error { return tx.DeleteFile(c.Scope(), "a") },
		func(tx *Tx) error { _, err := tx.File(c.Scope(), "a"); return err },
		func(tx *Tx) error { return tx.Attach(runs.Attachment{Stack: "none", Context: c.Slug}) },
		func(tx *Tx) error { return tx.Detach("none", c.Slug) },
	} {
		if err := s.Update(fn); !errors.Is(err, runs.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	}
}

// A context that stacks use is not deleted; the refusal says which they are and what to do. Afterwards nothing of it is left.
func TestAContextInUseStays(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	addStack(t, s, "Edge")
	c := addContext(t, s, "AWS", "autoattach:prod")
	update(t, s, func(tx *Tx) error {
		st, err := tx.Stack("edge")
		st.Labels = []string{"prod"}
		return errors.Join(err, tx.PutStack(st), tx.Attach(runs.Attachment{Stack: "network", Context: "aws", Priority: 1}),
			tx.PutVariable(c.Scope(), runs.Variable{Name: "A", Value: "x"}), tx.PutFile(c.Scope(), mountOf("k", "v", true)))
	})
	refused := func(words ...string) {
		t.Helper()
		err := s.Update(func(tx *Tx) error { return tx.DeleteContext("aws") })
		if !errors.Is(err, runs.ErrConflict) {
			t.Fatalf("deleted: %v", err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
	refused("edge, network", "Detach it there", "autoattach:")
	update(t, s, func(tx *Tx) error { return tx.Detach("network", "aws") })
	refused("edge", "Take its autoattach: labels away")
	update(t, s, func(tx *Tx) error {
		c.Labels = nil
		return errors.Join(tx.PutContext(c), tx.Attach(runs.Attachment{Stack: "network", Context: "aws"}))
	})
	refused("network", "Detach it there first")
	update(t, s, func(tx *Tx) error { return tx.DeleteStack("network") })
	update(t, s, func(tx *Tx) error { return tx.DeleteContext("aws") })
	rows := dump(t, s)
	for _, bucket := range []string{"contexts", "attachments", "context_stacks", "variables", "files", "file_contents"} {
		if len(rows[bucket]) != 0 {
			t.Errorf("left in %s: %v", bucket, rows[bucket])
		}
	}
}

func TestUsersOfAContextAreNamedUpToFive(t *testing.T) {
	s := open(t, quick)
	addContext(t, s, "AWS", "autoattach:*")
	for i := range 8 {
		addStack(t, s, fmt.Sprint("stack ", i))
	}
	err := s.Update(func(tx *Tx) error { return tx.DeleteContext("aws") })
	if err == nil || !strings.Contains(err.Error(), "stack-0, stack-1, stack-2, stack-3, stack-4 and 3 more") {
		t.Error(err)
	}
}

// What a file holds is sealed and bound to its row; secret or not, nobody finds it in the database.
func TestFilesAreSealed(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	c := addContext(t, s, "AWS")
	const text = "very-findable-content"
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutFile("network", mountOf("a/b.pem", text, true)), tx.PutFile(c.Scope(), mountOf("c.pem", text, false)),
			tx.PutVariable(c.Scope(), runs.Variable{Name: "S", Value: text, Secret: true}))
	})
	for bucket, rows := range dump(t, s) {
		for k, v := range rows {
			if bytes.Contains([]byte(v), []byte(text)) {
				t.Errorf("%s/%s holds it in clear", bucket, k)
			}
		}
	}
	view(t, s, func(tx *Tx) error {
		m, err := tx.File("network", "a/b.pem")
		if err != nil || string(m.Content) != text || m.Size != len(text) || !m.Secret {
			t.Errorf("%+v, %v", m, err)
		}
		return nil
	})
	update(t, s, func(tx *Tx) error { // somebody who can write the database puts one file in the place of another
		b := tx.b.Bucket([]byte("file_contents"))
		return b.Put([]byte(c.Scope()+"/c.pem"), bytes.Clone(b.Get([]byte("network/a/b.pem"))))
	})
	view(t, s, func(tx *Tx) error {
		if m, err := tx.File(c.Scope(), "c.pem"); err == nil {
			t.Errorf("opened as another record: %q", m.Content)
		}
		return nil
	})
}

func TestRoomForFiles(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	put := func(m runs.Mount) error { return s.Update(func(tx *Tx) error { return tx.PutFile("network", m) }) }
	refused := func(m runs.Mount, field, words string) {
		t.Helper()
		var e *runs.Error
		if err := put(m); !errors.As(err, &e) || e.Field != field || !strings.Contains(e.Message, words) {
			t.Errorf("%s: %v", m.Path, err)
		}
	}
	must := func(m runs.Mount) {
		t.Helper()
		if err := put(m); err != nil {
			t.Fatal(err)
		}
	}
	must(mountOf("keys/a", "x", false))
	refused(mountOf("keys", "x", false), "path", "keys/a")
	refused(mountOf("keys/a/b", "x", false), "path", "keys/a")
	big := strings.Repeat("x", runs.MaxSecretFile)
	must(mountOf("s1", big, true))
	must(mountOf("s1", big, true)) // in its own place there is room
	must(mountOf("s2", big, true))
	refused(mountOf("s3", big, true), "content", "secret files together")
	huge := strings.Repeat("x", runs.MaxFile)
	for i := range 7 {
		must(mountOf(fmt.Sprint("h", i), huge, false))
	}
	refused(mountOf("h7", huge, false), "content", "All files together")
	for i := range runs.MaxFiles - 10 {
		must(mountOf(fmt.Sprint("n", i), "", false))
	}
	refused(mountOf("one more", "", false), "path", "the most there can be")
	must(mountOf("n0", "again", false))
}

func TestEnvironmentOf(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	a, b := addContext(t, s, "A"), addContext(t, s, "B", "autoattach:*")
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.Attach(runs.Attachment{Stack: "network", Context: "a", Priority: 4}),
			tx.PutVariable("network", runs.Variable{Name: "X", Value: "own", Secret: true}),
			tx.PutVariable(a.Scope(), runs.Variable{Name: "Y", Value: "of a", Secret: true}),
			tx.PutFile(b.Scope(), mountOf("f", "of b", true)))
	})
	view(t, s, func(tx *Tx) error {
		st, err := tx.Stack("network")
		if err != nil {
			return err
		}
		shown, err := tx.EnvironmentOf(st)
		if err != nil {
			return err
		}
		if len(shown) != 3 || !shown[0].Own() || shown[1].Context != "a" || shown[1].Priority != 4 || shown[2].Context != "b" || !shown[2].Auto || len(shown[2].Files) != 1 {
			t.Errorf("sources %+v", shown)
		}
		if text := fmt.Sprint(shown); strings.Contains(text, "own") || strings.Contains(text, "of a") || strings.Contains(text, "of b") {
			t.Errorf("a secret is shown: %s", text)
		}
		revealed, err := tx.RevealEnvironment(st)
		if err != nil || revealed[0].Variables[0].Value != "own" || revealed[1].Variables[0].Value != "of a" {
			t.Errorf("revealed %+v, %v", revealed, err)
		}
		return nil
	})
}
