package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// ErrNotStored is wrapped by the errors of a disk: nothing happened, and the same may go well later.
var ErrNotStored = errors.New("nothing was stored")

// Full reports whether an error is of a disk, or a quota on it, that has no room left.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Free returns the bytes that are left for this user on the disk of a folder.
func Free(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("the free space of %s can't be told: %w", dir, err)
	}
	if fs.Bavail > math.MaxInt64/uint64(fs.Bsize) {
		return math.MaxInt64, nil
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// Free returns the bytes that are left on the disk of the data folder.
func (s *Store) Free() (int64, error) { return Free(s.dir) }

// probeBytes is more than what a small transaction takes.
const probeBytes = 256 << 10

// Try reports whether something can be stored.
func (s *Store) Try() error {
	name := filepath.Join("work", ".probe")
	return errors.Join(s.WriteFile(make([]byte, probeBytes), name), s.Remove(name))
}

// diskError says in words what a person can mend; other errors pass unchanged.
func diskError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return notStored(err)
	}
	return err
}

func notStored(err error) error {
	if Full(err) {
		return fmt.Errorf("%w, because the disk of the data folder is full: %w. Make room on it", ErrNotStored, err)
	}
	return fmt.Errorf("%w: %w. Check that the disk is not full and the data folder is writable", ErrNotStored, err)
}

// Check reads every page of the database and says what does not fit together. It takes time with the size of it.
func (s *Store) Check() error {
	return s.db.View(func(tx *bolt.Tx) error {
		var err error
		for wrong := range tx.Check() {
			err = errors.Join(err, fmt.Errorf("the database is damaged: %w. Restore a backup", wrong))
		}
		return err
	})
}
