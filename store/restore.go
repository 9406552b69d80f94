package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

// CheckBackup restores a backup in a folder of its own, as far as that takes to know that it can be done, and leaves nothing
// there: each file is what was written, the database is sound, and what it needs is there.
func CheckBackup(r io.Reader, dir string) (note BackupNote, err error) {
	temp, err := os.MkdirTemp(dir, ".backup-check-")
	if err != nil {
		return note, diskError(err)
	}
	defer os.RemoveAll(temp)
	states := map[string]bool{}
	note, err = readBackup(r, func(path string, r io.Reader) error {
		if strings.HasPrefix(path, "states/") {
			states[path] = true
		}
		if path != databaseFile {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		return unpackFile(filepath.Join(temp, path), r)
	})
	if err != nil {
		return note, err
	}
	return note, withDatabase(filepath.Join(temp, databaseFile), func(db *bolt.DB) error {
		return sound(db, note, func(path string) bool { return states[path] })
	})
}

// Restore makes a data folder of a backup. The folder may hold tools, mirrors and the master key, and no data: what is there is
// never overwritten. The key (file, or master.key in the folder) must be the one the data was sealed with. When it returns an
// error, or is cut off, the folder still holds no database, and it can be repeated. The next start learns of it ([Store.Restored]).
func Restore(r io.Reader, dir, keyFile string) (note BackupNote, err error) {
	if err := restorable(dir); err != nil {
		return note, err
	}
	temp := filepath.Join(dir, unpacked)
	if err := errors.Join(os.RemoveAll(temp), os.MkdirAll(temp, 0o700)); err != nil {
		return note, diskError(err)
	}
	note, err = unpack(r, temp, cmp.Or(keyFile, filepath.Join(dir, "master.key")))
	if err == nil {
		err = ownedLike(dir, temp)
	}
	if err != nil {
		return note, diskError(errors.Join(err, os.RemoveAll(temp)))
	}
	if err := moveIn(temp, dir); err != nil { // what was moved is known by the rest, which stays
		return note, diskError(err)
	}
	return note, diskError(os.RemoveAll(temp))
}

// unpack lays out in a folder what will be the data, and finds nothing wrong with it.
func unpack(r io.Reader, temp, keyFile string) (note BackupNote, err error) {
	note, err = readBackup(r, func(path string, r io.Reader) error { return unpackFile(filepath.Join(temp, path), r) })
	if err != nil {
		return note, err
	}
	return note, withDatabase(filepath.Join(temp, databaseFile), func(db *bolt.DB) error {
		there := func(path string) bool {
			_, err := os.Stat(filepath.Join(temp, path))
			return err == nil
		}
		if err := sound(db, note, there); err != nil {
			return err
		}
		if err := fits(db, keyFile); err != nil {
			return err
		}
		return markRestored(db, note)
	})
}

// unpacked is the folder in the data folder that a backup is unpacked in. With the mark in it, what is in the data folder came
// from there.
const (
	unpacked = ".restore"
	moving   = "moving"
)

// restorable refuses a folder that holds data.
func restorable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return diskError(err)
	}
	refuse := func(what string) error {
		return runs.Conflictf("%s holds %s of a Groundcrew, and what is there is never overwritten. Name an empty folder with --data-dir; only master.key, bin/ and mirror/ may be in it.", dir, what)
	}
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); !errors.Is(err, fs.ErrNotExist) {
		return refuse(databaseFile)
	}
	if _, err := os.Stat(filepath.Join(dir, unpacked, moving)); err == nil {
		return nil // a restore was cut off here
	}
	for _, folder := range append([]string{"work"}, backedUp...) {
		if entries, _ := os.ReadDir(filepath.Join(dir, folder)); len(entries) > 0 {
			return refuse(folder + "/")
		}
		if info, err := os.Lstat(filepath.Join(dir, folder)); err == nil && !info.IsDir() {
			return runs.Conflictf("%s is a link. Restore into a folder without links; move %s/ to another disk afterwards.", filepath.Join(dir, folder), folder)
		}
	}
	return nil
}

// ownedLike gives what root unpacked to the owner of the data folder: the server may run as somebody else.
func ownedLike(dir, temp string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(temp, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(owner.Uid), int(owner.Gid)))
	})
}

func unpackFile(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func withDatabase(path string, do func(*bolt.DB) error) error {
	db, err := openFile(path, false)
	if err != nil {
		return fmt.Errorf("its database cannot be opened: %w", err)
	}
	return errors.Join(do(db), db.Close())
}

// sound looks through the whole database, and for the files that nothing can do without: the states.
func sound(db *bolt.DB, note BackupNote, there func(path string) bool) error {
	return db.View(func(tx *bolt.Tx) error {
		var wrong error
		for err := range tx.Check() { // to its end, which it waits for
			wrong = cmp.Or(wrong, err)
		}
		if wrong != nil {
			return fmt.Errorf("its database is damaged: %w", wrong)
		}
		if schema, err := schemaOf(tx); err != nil || schema != note.Schema {
			return errors.Join(err, fmt.Errorf("its database has schema %d, not %d", schema, note.Schema))
		}
		if tx.Bucket([]byte("states")) == nil {
			return errors.New("its database is none of Groundcrew")
		}
		return each(&Tx{b: tx}, "states", "", func(key string, raw []byte) (bool, error) {
			var v StateVersion
			if err := json.Unmarshal(raw, &v); err != nil {
				return false, fmt.Errorf("row states/%s is damaged: %w", key, err)
			}
			if !there(filepath.ToSlash(v.File)) {
				return false, fmt.Errorf("version %d of a state is not in it: %s", v.Version, v.File)
			}
			return true, nil
		})
	})
}

// fits refuses a master key that is not the data's.
func fits(db *bolt.DB, keyFile string) error {
	s := &Store{db: db}
	sealed, err := s.keyCheck()
	if err != nil {
		return err
	}
	key, err := loadKey(keyFile, false)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the master key is not part of a backup, and %s is not there. Put the key of the server that was backed up there, or name it with --master-key-file", keyFile)
	}
	if err != nil {
		return err
	}
	if s.seal, err = newSealer(key); err != nil {
		return err
	}
	return s.checkKey(keyFile, sealed)
}

// moveIn brings the files of a folder into another one, the database last: without it nothing counts as restored.
func moveIn(temp, dir string) error {
	if err := os.WriteFile(filepath.Join(temp, moving), nil, 0o600); err != nil {
		return err
	}
	for _, folder := range backedUp {
		from, to := filepath.Join(temp, folder), filepath.Join(dir, folder)
		if err := os.MkdirAll(from, 0o700); err != nil {
			return err
		}
		if err := moveFolder(from, to); err != nil {
			return err
		}
	}
	syscall.Sync() // one for all the files
	if err := os.Rename(filepath.Join(temp, databaseFile), filepath.Join(dir, databaseFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

// moveFolder moves what is in a folder. What stands in its way is of a Restore that was cut off, or of no database.
func moveFolder(from, to string) error {
	err := syscall.Rmdir(to) // an empty one only, and no link to one
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return os.Rename(from, to)
	}
	names, err := os.ReadDir(from)
	for _, n := range names {
		path := filepath.Join(to, n.Name())
		err = errors.Join(err, os.RemoveAll(path), os.Rename(filepath.Join(from, n.Name()), path))
	}
	return err
}

// A Restored says that the data was restored from a backup and that nothing was done about it yet.
type Restored struct {
	Made time.Time `json:"made"` // what is in the data is as it was then
	At   time.Time `json:"at"`
}

const restoredRow = "restored"

// markRestored leaves word for the next start, and ends all sessions: whose session was ended since would have it again.
func markRestored(db *bolt.DB, note BackupNote) error {
	return db.Update(func(b *bolt.Tx) error {
		tx := &Tx{b: b}
		if err := put(tx, "meta", restoredRow, Restored{Made: note.Made, At: time.Now().UTC()}); err != nil {
			return err
		}
		return errors.Join(b.DeleteBucket([]byte("sessions")), onlyErr(b.CreateBucket([]byte("sessions"))))
	})
}

func onlyErr(_ *bolt.Bucket, err error) error { return err }

// Restored tells whether the data was restored since the last start; ok is false when not.
func (tx *Tx) Restored() (r Restored, ok bool, err error) {
	ok, err = get(tx, "meta", restoredRow, &r)
	return r, ok, err
}

// EndRestored says that all was done that a restored server owes.
func (tx *Tx) EndRestored() error { return unmark(tx, "meta", restoredRow) }
