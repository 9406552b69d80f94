package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"groundcrew/runs"
)

// backupOf makes a backup in memory.
func backupOf(t *testing.T, s *Store) ([]byte, BackupNote) {
	t.Helper()
	var buf bytes.Buffer
	note, err := s.Backup(t.Context(), "1.2.3", &buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), note
}

// keyed is a fresh data folder that holds the key of another one, and nothing else.
func keyed(t *testing.T, of *Store) string {
	t.Helper()
	key, err := os.ReadFile(of.Path("master.key"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "master.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// namesIn lists what a backup holds.
func namesIn(t *testing.T, raw []byte) (names []string) {
	t.Helper()
	_, err := readBackup(bytes.NewReader(raw), func(path string, r io.Reader) error {
		names = append(names, path)
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// filled is a store with a stack, two states, a secret, a session and a log.
func filled(t *testing.T) *Store {
	t.Helper()
	s := open(t)
	addStack(t, s, "network")
	for n := range 2 {
		v, err := s.WriteState("network", fmt.Appendf(nil, `{"serial":%d}`, n))
		if err != nil {
			t.Fatal(err)
		}
		update(t, s, func(tx *Tx) error { _, err := tx.AddStateVersion("network", v); return err })
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutVariable("network", runs.Variable{Name: "TOKEN", Value: "hunter2", Secret: true}), put(tx, "sessions", "s", Session{}))
	})
	if err := s.WriteFile([]byte("planned\n"), "logs", "R1", "planning.log"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBackupHoldsWhatItIsRestoredTo(t *testing.T) {
	s := filled(t)
	for _, other := range []string{"work/R1/x", "bin/tofu", "sources/1/HEAD", "warm/x"} {
		if err := s.WriteFile([]byte("x"), filepath.FromSlash(other)); err != nil {
			t.Fatal(err)
		}
	}
	raw, note := backupOf(t, s)
	names := namesIn(t, raw)
	if note.Files != 4 || len(names) != 4 || names[0] != databaseFile || names[1] != "logs/R1/planning.log" || !strings.HasPrefix(names[2], "states/network/") {
		t.Errorf("the backup holds %q", names)
	}
	if bytes.Contains(raw, []byte("hunter2")) {
		t.Error("the backup holds a secret in the open")
	}
	if left, _ := filepath.Glob(s.Path(".backup-*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if checked, err := CheckBackup(bytes.NewReader(raw), t.TempDir()); err != nil || checked != note || note.Version != "1.2.3" {
		t.Errorf("checked: %+v, %v", checked, err)
	}
	dir := keyed(t, s)
	if _, err := Restore(bytes.NewReader(raw), dir, ""); err != nil {
		t.Fatal(err)
	}
	restored, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	err = restored.View(func(tx *Tx) error {
		v, ok, err := tx.NewestState("network")
		if err != nil || !ok || v.Version != 2 {
			return fmt.Errorf("the newest state is %+v, %w", v, err)
		}
		if state, err := restored.ReadState(v); err != nil || string(state) != `{"serial":1}` {
			return fmt.Errorf("the state is %q, %w", state, err)
		}
		if has(tx, "sessions", "s") {
			t.Error("a session is still there")
		}
		if of, is, err := tx.Restored(); err != nil || !is || !of.Made.Equal(note.Made) {
			t.Errorf("restored: %+v %t %v", of, is, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if log, err := os.ReadFile(restored.Path("logs", "R1", "planning.log")); string(log) != "planned\n" || err != nil {
		t.Errorf("log %q, %v", log, err)
	}
}

// TestDamagedBackupsAreRefused: cut off anywhere, one bit wrong anywhere, of another program, of a newer one.
func TestDamagedBackupsAreRefused(t *testing.T) {
	s := filled(t)
	raw, _ := backupOf(t, s)
	refused := func(what string, raw []byte, words string) {
		t.Helper()
		dir := keyed(t, s)
		_, checked := CheckBackup(bytes.NewReader(raw), t.TempDir())
		_, err := Restore(bytes.NewReader(raw), dir, "")
		if err == nil || checked == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: restored: %v, checked: %v", what, err, checked)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s left %v", what, left)
		}
	}
	refused("nothing", nil, "cut off")
	refused("text", []byte("a backup, honestly"), "no backup of Groundcrew")
	for i := 1; i < 20; i++ {
		refused("a part", raw[:len(raw)*i/20], "")
		other := bytes.Clone(raw)
		other[len(raw)*i/20] ^= 0x10
		refused("a wrong bit", other, "")
	}
	refused("the half", raw[:len(raw)/2], "cut off")
	update(t, s, func(tx *Tx) error { return tx.b.Bucket([]byte("meta")).Put([]byte("schema"), []byte("999")) })
	newer, _ := backupOf(t, s)
	refused("of a newer schema", newer, "999")
}

func TestRestoreOverwritesNothing(t *testing.T) {
	s := filled(t)
	raw, _ := backupOf(t, s)
	if _, err := Restore(bytes.NewReader(raw), s.Dir(), ""); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("over data: %v", err)
	}
	if _, err := Restore(bytes.NewReader(raw), t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "master key is not part of a backup") {
		t.Errorf("without a key: %v", err)
	}
	wrong := keyed(t, open(t))
	if _, err := Restore(bytes.NewReader(raw), wrong, ""); err == nil || !strings.Contains(err.Error(), "not the one this data was sealed with") {
		t.Errorf("with a wrong key: %v", err)
	}
	dir := keyed(t, s)
	newer := filepath.Join(dir, "states", "network", "newer.sealed")
	if err := os.MkdirAll(filepath.Dir(newer), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(newer, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(bytes.NewReader(raw), dir, ""); !errors.Is(err, runs.ErrConflict) || !strings.Contains(err.Error(), "states/") {
		t.Errorf("over states without a database: %v", err)
	}
	if _, err := os.Stat(newer); err != nil {
		t.Error("a state that was there is gone")
	}
}

// TestRestoreThatWasKilledCanBeRepeated: in its middle, with some folders moved and others not.
func TestRestoreThatWasKilledCanBeRepeated(t *testing.T) {
	s := filled(t)
	raw, _ := backupOf(t, s)
	dir := keyed(t, s)
	for path, text := range map[string]string{filepath.Join(unpacked, moving): "", filepath.Join("states", "network", "half"): "x", filepath.Join(unpacked, "logs", "R1", "planning.log"): "pl"} {
		if err := writeFile(filepath.Join(dir, path), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Restore(bytes.NewReader(raw), dir, ""); err != nil {
		t.Fatal(err)
	}
	restored, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if log, err := os.ReadFile(restored.Path("logs", "R1", "planning.log")); string(log) != "planned\n" || err != nil {
		t.Errorf("log %q, %v", log, err)
	}
	if _, err := os.Stat(restored.Path(unpacked)); err == nil {
		t.Error("what it was unpacked in is still there")
	}
}

// TestBackupsWhileEverythingMoves: each is sound, and holds the file of each row, while others come and go.
func TestBackupsWhileEverythingMoves(t *testing.T) {
	s := filled(t)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				v, err := s.WriteState("network", fmt.Appendf(nil, `{"serial":%d,"writer":%d}`, n, w))
				if err == nil {
					err = s.Update(func(tx *Tx) error { _, err := tx.AddStateVersion("network", v); return err })
				}
				if err == nil {
					err = errors.Join(s.WriteFile([]byte("x"), "plans", fmt.Sprint(w)), s.Remove("plans", fmt.Sprint(w)))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	states := 0
	for range 10 {
		raw, _ := backupOf(t, s)
		note, err := CheckBackup(bytes.NewReader(raw), t.TempDir())
		if err != nil {
			t.Error(err)
		}
		states = max(states, note.Files)
	}
	stop()
	writers.Wait()
	if states < 10 {
		t.Errorf("%d files at most: nothing moved", states)
	}
}

// A stuck writer lets the first backup wait in its middle.
type stuckWriter struct{ begun, goOn chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	select {
	case w.begun <- struct{}{}:
		<-w.goOn
	case <-w.goOn:
	}
	return len(p), nil
}

func TestOneBackupAtATime(t *testing.T) {
	s := filled(t)
	w := stuckWriter{make(chan struct{}), make(chan struct{})}
	done := make(chan error)
	go func() { _, err := s.Backup(t.Context(), "dev", w); done <- err }()
	<-w.begun
	if _, err := s.Backup(t.Context(), "dev", io.Discard); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("a second one: %v", err)
	}
	close(w.goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	backupOf(t, s)
}

// TestBackupOfADamagedDatabaseIsNoBackup: it is what was written, and what was written is not sound.
func TestBackupOfADamagedDatabaseIsNoBackup(t *testing.T) {
	s := filled(t)
	update(t, s, func(tx *Tx) error {
		for n := range 2000 {
			if err := tx.Audit(AuditEntry{Action: "fill", Target: fmt.Sprint(n), Note: strings.Repeat("x", 200)}); err != nil {
				return err
			}
		}
		return nil
	})
	dir := s.Dir()
	if _, running, err := BackupOf(t.Context(), dir, "dev", io.Discard); !running || err != nil {
		t.Errorf("of a folder that is open: running %t, %v", running, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, databaseFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for page := int64(40); page < 60; page++ { // of the entries: the first pages are needed to open it at all
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xA5}, 2000), page*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	_, _, err = BackupOf(t.Context(), dir, "dev", &buf)
	if err == nil {
		_, err = CheckBackup(&buf, t.TempDir())
	}
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a backup of a damaged database: %v", err)
	}
}
