package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"groundcrew/runs"
)

// addState writes and adds a state as the engine does after an apply.
func addState(t *testing.T, s *Store, stack, text string) StateVersion {
	t.Helper()
	v, err := s.WriteState(stack, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) (err error) { v, err = tx.AddStateVersion(stack, v); return err })
	return v
}

func TestStateVersions(t *testing.T) {
	s := open(t)
	view(t, s, func(tx *Tx) error {
		if v, ok, err := tx.NewestState("network"); ok || v.Version != 0 || err != nil {
			t.Errorf("before the first: %+v, %v", v, err)
		}
		return nil
	})
	one, same, two, back := addState(t, s, "network", "a"), addState(t, s, "network", "a"), addState(t, s, "network", "b"), addState(t, s, "network", "a")
	if one.Version != 1 || same.Version != 1 || two.Version != 2 || back.Version != 3 {
		t.Errorf("versions %d %d %d %d, want 1 1 2 3: the same bytes as the newest are no new one", one.Version, same.Version, two.Version, back.Version)
	}
	if !same.CreatedAt.Equal(one.CreatedAt) || !back.CreatedAt.After(two.CreatedAt) {
		t.Error("times of versions")
	}
	if other := addState(t, s, "network-2", "a"); other.Version != 1 {
		t.Errorf("another stack's first version is %d", other.Version)
	}
	view(t, s, func(tx *Tx) error {
		for version, want := range map[int]string{1: "a", 2: "b", 3: "a"} {
			v, err := tx.StateVersion("network", version)
			if err != nil {
				return err
			}
			if got, err := s.ReadState(v); err != nil || string(got) != want {
				t.Errorf("version %d is %q, %v", version, got, err)
			}
		}
		if _, err := tx.StateVersion("network", 4); !errors.Is(err, runs.ErrNotFound) {
			t.Error(err)
		}
		newest, ok, err := tx.NewestState("network")
		if newest.Version != 3 || !ok {
			t.Errorf("newest %+v", newest)
		}
		return err
	})
	left, err := os.ReadDir(s.Path("states", "network"))
	if err != nil || len(left) != 2 {
		t.Errorf("%d files for two contents, %v", len(left), err)
	}
}

// TestWriteFileIsWholeOrNot: a file that cannot be replaced stays as it was, and nothing is left beside it.
func TestWriteFileIsWholeOrNot(t *testing.T) {
	s := open(t)
	if err := s.WriteFile([]byte("one"), "changes", "a", "01.json"); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile([]byte("two"), "changes", "a", "01.json"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(s.Path("changes", "a", "01.json")); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.WriteFile([]byte("x"), "changes", "a"); err == nil { // a folder is there
		t.Error("a folder was replaced by a file")
	}
	if err := s.WriteFile([]byte("x"), "changes", "a", "01.json", "b"); err == nil {
		t.Error("a file was taken for a folder")
	}
	left, err := filepath.Glob(s.Path("changes", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if tmp, err := filepath.Glob(s.Path("changes", "*", ".tmp-*")); err != nil || len(tmp) > 0 {
		t.Errorf("left behind: %v, %v", tmp, err)
	}
}
