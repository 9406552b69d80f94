package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

// A clock goes on by a millisecond with each question, so that ids and times differ.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Millisecond)
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// open opens a fresh store that is closed with the test.
func open(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{Dir: t.TempDir(), Now: newClock().now}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it already
	return s
}

func withClock(c *clock) func(*Options) { return func(o *Options) { o.Now = c.now } }

// quick leaves out fsync where nothing about the disk is tested.
func quick(o *Options) { o.NoSync = true }

// update runs fn in a transaction that must succeed.
func update(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// view runs fn in a read-only transaction that must succeed.
func view(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.View(fn); err != nil {
		t.Fatal(err)
	}
}

// dump reads every row of every bucket.
func dump(t testing.TB, s *Store) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			rows := map[string]string{}
			all[string(name)] = rows
			return b.ForEach(func(k, v []byte) error {
				rows[string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func stackNamed(name string) runs.Stack {
	return runs.Stack{
		Name: name, Project: 7, ProjectPath: "ops/infra", Branch: "main", ProjectRoot: "infra",
		Tool: runs.Terraform, State: runs.StateManaged, Plan: runs.PlanMergeResult,
	}
}

func addStack(t testing.TB, s *Store, name string) runs.Stack {
	t.Helper()
	var st runs.Stack
	update(t, s, func(tx *Tx) (err error) {
		st, err = tx.AddStack(stackNamed(name))
		return err
	})
	return st
}

// request asks for a run of the stack and returns it.
func request(t testing.TB, s *Store, stack string, typ runs.Type, sha string, change ...func(*runs.Run)) runs.Run {
	t.Helper()
	var r runs.Run
	update(t, s, func(tx *Tx) (err error) {
		ask := runs.Run{Stack: stack, Project: 7, Type: typ, Trigger: runs.ByWebhook, Commit: runs.Commit{SHA: sha}, Branch: "main"}
		for _, c := range change {
			c(&ask)
		}
		r, err = tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now()}, Run: ask})
		return err
	})
	return r
}

// apply sends events that all have to be taken.
func apply(t testing.TB, s *Store, id string, events ...runs.Event) runs.Run {
	t.Helper()
	var r runs.Run
	for _, ev := range events {
		update(t, s, func(tx *Tx) (err error) {
			r, err = tx.Apply(id, ev)
			return err
		})
	}
	return r
}

// toUnconfirmed are the events from queued to a plan that waits for a person.
func toUnconfirmed() []runs.Event {
	return []runs.Event{
		runs.Claimed{}, runs.PhaseStarted{State: runs.Initializing}, runs.PhaseStarted{State: runs.Planning}, runs.Planned{Delta: runs.Delta{Add: 1}},
	}
}

func TestOpenFreshAndAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	addStack(t, s, "Network")
	update(t, s, func(tx *Tx) error {
		return tx.PutVariable("network", runs.Variable{Name: "A", Value: "hush", Secret: true})
	})
	want := dump(t, s)
	if s.db.NoSync || s.db.NoGrowSync { // a kill cannot show this: only a power cut would
		t.Error("commits are not forced to the disk")
	}
	if s.Size() == 0 || s.Dir() != dir || s.Path("logs", "x") != filepath.Join(dir, "logs", "x") {
		t.Errorf("size %d, dir %s", s.Size(), s.Dir())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"groundcrew.db", "master.key"} {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v, %v", info.Mode(), err)
	}

	again, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if diff := cmp.Diff(want, dump(t, again)); diff != "" {
		t.Errorf("opening changed the data:\n%s", diff)
	}
	view(t, again, func(tx *Tx) error {
		vars, err := tx.RevealVariables("network")
		if err == nil && vars[0].Value != "hush" {
			err = fmt.Errorf("got %+v", vars)
		}
		return err
	})
}

// refused opens a store that must not open, and checks that the error says the words and nothing on disk changed.
func refused(t *testing.T, o Options, words ...string) {
	t.Helper()
	before := files(t, o.Dir)
	s, err := Open(o)
	if err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if diff := cmp.Diff(before, files(t, o.Dir)); diff != "" {
		t.Errorf("something changed on disk:\n%s", diff)
	}
}

// files reads all files below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// closed makes a data folder with a stack in it and returns it closed.
func closed(t *testing.T) string {
	t.Helper()
	s := open(t)
	addStack(t, s, "Network")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.Dir()
}

func TestOpenRefuses(t *testing.T) {
	t.Run("a second server", func(t *testing.T) {
		s := open(t)
		refused(t, Options{Dir: s.Dir()}, "another Groundcrew is running on "+s.Dir(), "--data-dir")
		addStack(t, s, "Network") // the first one goes on
	})
	t.Run("a newer schema", func(t *testing.T) {
		s := open(t)
		err := s.db.Update(func(b *bolt.Tx) error {
			return b.Bucket([]byte("meta")).Put([]byte("schema"), fmt.Append(nil, len(migrations)+1))
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		refused(t, Options{Dir: s.Dir()}, fmt.Sprintf("schema %d", len(migrations)+1), fmt.Sprintf("up to %d", len(migrations)), "Nothing was changed")
	})
	t.Run("a schema that is no number", func(t *testing.T) {
		s := open(t)
		err := s.db.Update(func(b *bolt.Tx) error { return b.Bucket([]byte("meta")).Put([]byte("schema"), []byte("x")) })
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		refused(t, Options{Dir: s.Dir()}, "schema number is damaged", "Restore a backup")
	})
	t.Run("a wrong key", func(t *testing.T) {
		dir := closed(t)
		writeKey(t, dir, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
		refused(t, Options{Dir: dir}, "not the one this data was sealed with", "put the right key back", "Nothing was changed")
	})
	t.Run("a wrong key and an older schema", func(t *testing.T) {
		s := open(t)
		err := s.db.Update(func(b *bolt.Tx) error { return b.Bucket([]byte("meta")).Put([]byte("schema"), []byte("0")) })
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		writeKey(t, s.Dir(), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
		refused(t, Options{Dir: s.Dir()}, "not the one this data was sealed with") // before the migration, not after it
	})
	for name, text := range map[string]string{"empty": "", "not base64": "%%%", "too short": "c2hvcnQ=", "too long": base64.StdEncoding.EncodeToString(make([]byte, 33))} {
		t.Run("a key that is "+name, func(t *testing.T) {
			dir := closed(t)
			writeKey(t, dir, text)
			refused(t, Options{Dir: dir}, "is not 32 bytes in base64")
		})
	}
	t.Run("an absent key where there is data", func(t *testing.T) {
		dir := closed(t)
		if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
			t.Fatal(err)
		}
		refused(t, Options{Dir: dir}, "master key cannot be read", "--master-key-file")
	})
	t.Run("a file where the folder should be", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, Options{Dir: dir}, "data folder cannot be used", "--data-dir")
	})
	t.Run("a file that is no database", func(t *testing.T) {
		dir := closed(t)
		if err := os.WriteFile(filepath.Join(dir, "groundcrew.db"), bytes.Repeat([]byte("no database "), 4000), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, Options{Dir: dir}, "cannot be opened", "restore a backup")
	})
}

// TestOpenCutOff: a file that lost its end is refused in words, wherever it was cut, and not by a crash.
func TestOpenCutOff(t *testing.T) {
	s := open(t, quick)
	for i := range 20 {
		addStack(t, s, fmt.Sprint("stack ", i))
	}
	whole := s.Size()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []int64{100, 4096, 8192, 20000, whole / 2, whole - 4096, whole - 1} {
		dir := filepath.Join(t.TempDir(), "data")
		err := os.CopyFS(dir, os.DirFS(s.Dir()))
		if err == nil {
			err = os.Truncate(filepath.Join(dir, "groundcrew.db"), keep)
		}
		if err != nil {
			t.Fatal(err)
		}
		refused(t, Options{Dir: dir}, "cannot be opened", "restore a backup")
	}
}

func writeKey(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOpenReadOnly opens folders that may not be written. Root may write everywhere, so the thread becomes somebody
// else for the files; the thread ends with the goroutine.
func TestOpenReadOnly(t *testing.T) {
	full := closed(t)
	empty := t.TempDir()
	for _, dir := range []string{full, empty} {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	errs := make(chan [2]error)
	go func() {
		runtime.LockOSThread()
		var out [2]error
		if err := syscall.Setfsuid(65534); err != nil {
			out = [2]error{err, err}
		} else {
			for i, dir := range []string{full, empty} {
				_, out[i] = Open(Options{Dir: dir})
			}
		}
		errs <- out
	}()
	for i, err := range <-errs {
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "cannot be") {
			t.Errorf("folder %d: %v", i, err)
		}
	}
}

func TestMasterKeyFile(t *testing.T) {
	key := filepath.Join(t.TempDir(), "keys", "k")
	s := open(t, func(o *Options) { o.MasterKeyFile = key })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "master.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key in the data folder beside the one named: %v", err)
	}
	refused(t, Options{Dir: s.Dir()}, "--master-key-file")
	again, err := Open(Options{Dir: s.Dir(), MasterKeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestKeyMadeBeforeACrash: the key was written, the database not yet. The key is used, not made anew.
func TestKeyMadeBeforeACrash(t *testing.T) {
	dir := t.TempDir()
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	writeKey(t, dir, key)
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := os.ReadFile(filepath.Join(dir, "master.key")); err != nil || string(got) != key {
		t.Errorf("key %q, %v", got, err)
	}
}

// TestListenersHearCommits: after the commit, once, of what changed, and never of what was rolled back.
func TestListenersHearCommits(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	var heard []Change
	s.Listen(func(c Change) {
		view(t, s, func(tx *Tx) error { // what is told is on disk already
			for _, id := range c.Runs {
				if _, err := tx.Run(id); err != nil {
					return err
				}
			}
			return nil
		})
		heard = append(heard, c)
	})
	r := request(t, s, "network", runs.Tracked, "abc")
	if _, _, err := s.AddDelivery(Delivery{Key: "k"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, known, err := s.AddDelivery(Delivery{Key: "k"}, nil); err != nil || !known {
		t.Fatal(known, err)
	}
	wrong := errors.New("wrong")
	if err := s.Update(func(tx *Tx) error { _, err := tx.Apply(r.ID, runs.Claimed{}); return errors.Join(err, wrong) }); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	update(t, s, func(*Tx) error { return nil })
	want := []Change{
		{Jobs: true, Reports: true, Runs: []string{r.ID}, Moves: []Move{{Type: runs.Tracked, Stack: "network", To: runs.Queued}}},
		{Inbox: true, Received: 1},
	}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Error(diff)
	}
}

func TestIDsSort(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := open(t, quick, func(o *Options) { o.Now = func() time.Time { return at } }) // all in one millisecond
	last := idAt(at.Add(-time.Millisecond))
	for range 10000 {
		id := s.NewID()
		if len(id) != 26 || id <= last || id < idAt(at) || id >= idAt(at.Add(time.Millisecond)) {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
	if got := idAt(time.Time{}); got != strings.Repeat("0", 26) {
		t.Errorf("the smallest id of the beginning of time: %s", got)
	}
}

func TestDamagedRowsAreNamed(t *testing.T) {
	s := open(t, quick)
	err := s.db.Update(func(b *bolt.Tx) error { return b.Bucket([]byte("runs")).Put([]byte("01"), []byte("{")) })
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(func(tx *Tx) error {
		_, one := tx.Run("01")
		_, _, list := tx.Runs(RunFilter{}, "", 10)
		if one == nil || list == nil {
			t.Errorf("read: %v, listed: %v", one, list)
		}
		return one
	})
	if err == nil || !strings.Contains(err.Error(), "row runs/01 is damaged") {
		t.Error(err)
	}
}
