package store

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"groundcrew/runs"
)

// Options say where the data is. Now defaults to time.Now, Log to nothing.
type Options struct {
	Dir           string           // the data folder; made when absent
	MasterKeyFile string           // default: master.key in Dir, made when absent
	Now           func() time.Time // the clock of transactions
	Log           *slog.Logger
	NoSync        bool         // no fsync: only for tests and benchmarks that do not measure it
	Allow         func() error // optional: asked before each commit, and its error refuses it: how a simulation ends a server in the middle
}

// A Store is the open data folder. All methods may be called from any goroutine. Listeners are set before
// the first use and not changed after.
type Store struct {
	db        *bolt.DB
	dir       string
	seal      sealer
	now       func() time.Time
	allow     func() error
	log       *slog.Logger
	listeners []func(Change)
	cached    cached

	mu      sync.Mutex // guards entropy
	entropy *ulid.MonotonicEntropy

	digestKey []byte // of [Tx.Digest]
	planKey   []byte // of [Store.PlanKey]

	actingMu sync.Mutex // guards acting, see [Store.Acting]
	acting   map[string][]*Acts

	backingUp atomic.Bool // a backup is being made
}

// A Change says what a committed transaction touched, so that listeners know whom to wake.
type Change struct {
	Jobs     bool     // a job was queued or removed, or a run ended
	Inbox    bool     // a delivery waits
	Reports  bool     // GitLab must be told something
	News     bool     // somebody must be told something, or a channel changed
	Links    bool     // what is known of a webhook, or of the link to GitLab, changed
	Modules  bool     // a module, a version or a check changed, or a test ended
	Policies bool     // policies are to be asked: one changed, a review was given, a run waits for one or has ended
	Runs     []string // runs whose row changed

	Moves     []Move   // every step of a run's life
	Parked    bool     // GitLab refused a report for good, the first of those that are parked now
	Told      []string // what became of notifications: one of the Told constants each
	Received  int      // deliveries that were stored
	Processed []string // what became of deliveries: one of the Processed constants each
}

// A Move is one step of a run's life, as it was committed.
type Move struct {
	Type     runs.Type
	Stack    string
	From, To runs.State
	Took     time.Duration // how long the run was in From; 0 for a new one
}

// What becomes of a delivery that was processed.
const (
	ProcessedRuns    = "runs"    // it started runs
	ProcessedIgnored = "ignored" // understood, and nothing to do
	ProcessedFailed  = "failed"  // not understood, or it could not be processed
)

// batchDelay is how long a delivery waits for others to share its fsync: bbolt's default of 10 ms would be
// most of the time between a push and its first status.
const batchDelay = time.Millisecond

// Open opens the data folder, makes it when absent, and brings old data to the present schema.
// Its errors are for people: a second server, a wrong key, a newer schema, a folder that can't be written.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Allow == nil {
		o.Allow = func() error { return nil }
	}
	for _, d := range []string{"", "logs", "states", "plans", "sources", "work", "bin", "mirror", "deliveries", "changes", "modules", "samples"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("the data folder cannot be used: %w. Give a folder this user may write with --data-dir", err)
		}
	}
	path := filepath.Join(o.Dir, databaseFile)
	db, err := openFile(path, o.NoSync)
	if isRunning(err) {
		return nil, fmt.Errorf("another Groundcrew is running on %s. Stop it first, or use another --data-dir", o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("the database %s cannot be opened: %w. If the file is damaged, restore a backup", path, err)
	}
	db.MaxBatchDelay = batchDelay
	s := &Store{db: db, dir: o.Dir, now: o.Now, allow: o.Allow, log: o.Log, cached: newCached(), entropy: ulid.Monotonic(rand.Reader, 0)}
	if err := errors.Join(s.dropStages(), s.prepare(o)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// isRunning reports whether a database could not be opened because a server has it.
func isRunning(err error) bool { return errors.Is(err, bolterrors.ErrTimeout) }

// openFile opens the database file. bbolt panics, or reads beyond the end of the mapped file, where a file is
// damaged; that is an error for people like any other. The file then stays locked until the process ends.
func openFile(path string, noSync bool) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is damaged (%v)", p)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, NoSync: noSync})
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	var size int64
	err = db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil })
	if err == nil && info.Size() < size {
		err = fmt.Errorf("it is cut off: %d bytes of %d are there", info.Size(), size)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// prepare refuses a newer schema and a wrong key before it changes anything.
func (s *Store) prepare(o Options) error {
	if err := s.checkSchema(); err != nil {
		return err
	}
	file := o.MasterKeyFile
	if file == "" {
		file = filepath.Join(o.Dir, "master.key")
	}
	sealed, err := s.keyCheck()
	if err != nil {
		return err
	}
	key, err := loadKey(file, sealed == nil)
	if err != nil {
		return err
	}
	if s.seal, err = newSealer(key); err != nil {
		return err
	}
	s.digestKey, s.planKey = derive(key, "digests of the audit log"), derive(key, "fingerprints of plans")
	if err := s.checkKey(file, sealed); err != nil {
		return err
	}
	if err := s.migrate(); err != nil || sealed != nil {
		return err
	}
	return s.putKeyCheck()
}

// derive makes a key for one purpose of the master key.
func derive(key []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// PlanKey is the key of [runs.Changes.Fingerprint].
func (s *Store) PlanKey() []byte { return s.planKey }

// Close waits for open transactions and closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Dir returns the data folder.
func (s *Store) Dir() string { return s.dir }

// Path returns a path inside the data folder, as long as no part leads out of it.
func (s *Store) Path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// Size returns the size of the database file in bytes.
func (s *Store) Size() int64 {
	var n int64
	_ = s.db.View(func(tx *bolt.Tx) error { n = tx.Size(); return nil }) // View only fails on a closed database: size 0
	return n
}

// Listen adds a listener to committed changes. It is called after the commit on the committing goroutine
// and must not block. Call it before the store is used by others.
func (s *Store) Listen(fn func(Change)) { s.listeners = append(s.listeners, fn) }

// NewID returns a fresh ULID: 26 characters that sort by time, and strictly upwards within a millisecond.
func (s *Store) NewID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ulid.MustNew(ulid.Timestamp(s.now()), s.entropy).String()
}

// A Tx is one transaction. It is valid only inside the function it was handed to.
type Tx struct {
	b       *bolt.Tx
	s       *Store
	now     time.Time // one moment for all of the transaction
	changed Change
}

// Now is the moment of the transaction.
func (tx *Tx) Now() time.Time { return tx.now }

// NewID returns a fresh ULID.
func (tx *Tx) NewID() string { return tx.s.NewID() }

// View runs fn in a read-only transaction.
func (s *Store) View(fn func(*Tx) error) error {
	return s.db.View(func(b *bolt.Tx) error { return fn(&Tx{b: b, s: s, now: s.now().UTC()}) })
}

// Update runs fn in a read-write transaction: when it returns nil everything is on disk and the listeners
// have been told; when fn returns an error nothing happened.
func (s *Store) Update(fn func(*Tx) error) error {
	var tx *Tx
	var refused error
	err := s.db.Update(func(b *bolt.Tx) error {
		tx = &Tx{b: b, s: s, now: s.now().UTC()}
		if refused = fn(tx); refused != nil {
			return refused
		}
		return s.allow()
	})
	return s.committed(tx, err, refused)
}

// Batch is Update for many small concurrent writes: they share one fsync. fn may be called more than once.
func (s *Store) Batch(fn func(*Tx) error) error {
	var tx *Tx
	var refused error
	err := s.db.Batch(func(b *bolt.Tx) error {
		tx = &Tx{b: b, s: s, now: s.now().UTC()}
		if refused = fn(tx); refused != nil {
			return refused
		}
		return s.allow()
	})
	return s.committed(tx, err, refused)
}

// committed tells the listeners of a transaction that is on disk. An error that its function did not return
// is the disk's.
func (s *Store) committed(tx *Tx, err, refused error) error {
	switch {
	case err != nil && refused == nil:
		return notStored(err)
	case err != nil:
		return diskError(err)
	}
	c := tx.changed
	if c.Jobs || c.Inbox || c.Reports || c.Links || c.News || c.Modules || c.Policies || len(c.Runs) > 0 || len(c.Processed) > 0 {
		for _, fn := range s.listeners {
			fn(c)
		}
	}
	return nil
}

// get reads a row. An absent row is (false, nil).
func get[T any](tx *Tx, bucket, key string, v *T) (bool, error) {
	raw := tx.b.Bucket([]byte(bucket)).Get([]byte(key))
	if raw == nil {
		return false, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("row %s/%s is damaged: %w", bucket, key, err)
	}
	return true, nil
}

func put(tx *Tx, bucket, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("row %s/%s: %w", bucket, key, err)
	}
	return tx.b.Bucket([]byte(bucket)).Put([]byte(key), raw)
}

func mark(tx *Tx, bucket, key string) error {
	return tx.b.Bucket([]byte(bucket)).Put([]byte(key), []byte{})
}

func unmark(tx *Tx, bucket, key string) error {
	return tx.b.Bucket([]byte(bucket)).Delete([]byte(key))
}

func has(tx *Tx, bucket, key string) bool {
	return tx.b.Bucket([]byte(bucket)).Get([]byte(key)) != nil
}

// all decodes every row whose key begins with prefix, in key order.
func all[T any](tx *Tx, bucket, prefix string) ([]T, error) {
	var out []T
	err := each(tx, bucket, prefix, func(k string, raw []byte) (bool, error) {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return false, fmt.Errorf("row %s/%s is damaged: %w", bucket, k, err)
		}
		out = append(out, v)
		return true, nil
	})
	return out, err
}

// each visits rows whose key begins with prefix, in key order, until fn returns false.
func each(tx *Tx, bucket, prefix string, fn func(key string, raw []byte) (bool, error)) error {
	c := tx.b.Bucket([]byte(bucket)).Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && hasPrefix(k, prefix); k, v = c.Next() {
		if more, err := fn(string(k), v); err != nil || !more {
			return err
		}
	}
	return nil
}

// eachBack visits rows with the prefix from the newest key downwards, beginning below before ("" = the last).
func eachBack(tx *Tx, bucket, prefix, before string, fn func(key string, raw []byte) (bool, error)) error {
	c := tx.b.Bucket([]byte(bucket)).Cursor()
	for k, v := seekBack(c, prefix, before); k != nil && hasPrefix(k, prefix); k, v = c.Prev() {
		if more, err := fn(string(k), v); err != nil || !more {
			return err
		}
	}
	return nil
}

// seekBack finds the last key with the prefix, or the last one below before; it may find one without the prefix, or none.
func seekBack(c *bolt.Cursor, prefix, before string) (k, v []byte) {
	start := prefix + "\xff"
	if before != "" {
		start = prefix + before
	}
	if at, _ := c.Seek([]byte(start)); at == nil {
		return c.Last()
	}
	return c.Prev()
}

func hasPrefix(k []byte, prefix string) bool {
	return len(k) >= len(prefix) && string(k[:len(prefix)]) == prefix
}

// notFound makes the error for an absent thing.
func notFound(what, id string) error { return runs.NotFoundf("There is no %s %q.", what, id) }
