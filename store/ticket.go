package store

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// How a command on the server's machine reaches the server that runs: a file beside the database, because whoever may write the data
// folder owns the server.
const (
	rescueFile = "admin-link.json"    // [WriteRescue]
	backupFile = "backup-ticket.json" // [WriteBackupTicket]
	lastFile   = "last-backup.json"   // [NoteBackup]
)

// A Ticket is good for one thing, once.
type Ticket struct {
	Name  string    `json:"name,omitempty"` // of the account, in a rescue; it may be a new one
	Hash  string    `json:"hash"`           // of the token
	Until time.Time `json:"until"`
}

// writeTicket makes the token of a ticket. An older one of the same file dies.
func writeTicket(dir, file, name string, until time.Time) (token string, err error) {
	token = NewToken()
	return token, leave(dir, file, Ticket{name, hashToken(token), until.UTC()})
}

// leave writes a file beside the database of a data folder for the server of it, whether that runs or not.
func leave(dir, file string, v any) error {
	info, err := os.Stat(filepath.Join(dir, databaseFile))
	if err != nil {
		return fmt.Errorf("there is no Groundcrew in %s: %w. Name its folder with --data-dir", dir, err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, file)
	if err := writeFile(path, raw); err != nil {
		return fmt.Errorf("%s cannot be written: %w. Run this as the user of the server", path, err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 { // the server may run as somebody else
		err = os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}
	return err
}

// ticket finds what a token is good for; ok is false when it is for nothing, or too old.
func (s *Store) ticket(file, token string) (t Ticket, ok bool, err error) {
	raw, err := os.ReadFile(s.Path(file))
	if errors.Is(err, fs.ErrNotExist) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, false, fmt.Errorf("%s is damaged: %w. Call the command again", file, err)
	}
	return t, subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hashToken(token))) == 1 && s.now().Before(t.Until), nil
}

// spend ends a ticket. It must be called before what it is good for is done: a crash in between costs a ticket.
func (s *Store) spend(file string) error {
	if err := os.Remove(s.Path(file)); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// WriteRescue makes the one-time token of an admin's way back into the server of a data folder, whether it runs or not. An
// older one dies.
func WriteRescue(dir, name string, until time.Time) (token string, err error) {
	return writeTicket(dir, rescueFile, name, until)
}

// Rescue finds whose way back a token is; ok is false when it is none, or too old.
func (s *Store) Rescue(token string) (t Ticket, ok bool, err error) {
	return s.ticket(rescueFile, token)
}

// SpendRescue ends the link. It must be called before what the link is good for is done.
func (s *Store) SpendRescue() error { return s.spend(rescueFile) }

// WriteBackupTicket makes the token with which the server of a data folder hands out one backup.
func WriteBackupTicket(dir string, until time.Time) (token string, err error) {
	return writeTicket(dir, backupFile, "", until)
}

// SpendBackupTicket reports whether a token is good for a backup; then it was.
func (s *Store) SpendBackupTicket(token string) (bool, error) {
	_, ok, err := s.ticket(backupFile, token)
	if !ok || err != nil {
		return false, err
	}
	err = s.spend(backupFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // somebody was quicker
	}
	return err == nil, err
}

// A LastBackup says that a backup was made, and restored on trial.
type LastBackup struct {
	Made time.Time `json:"made"`
	Size int64     `json:"size"` // bytes, before they are compressed
}

// NoteBackup tells the server of a data folder of its newest backup.
func NoteBackup(dir string, l LastBackup) error { return leave(dir, lastFile, l) }

// LastBackup is the newest backup; ok is false when there is none yet.
func (s *Store) LastBackup() (l LastBackup, ok bool, err error) {
	raw, err := os.ReadFile(s.Path(lastFile))
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil {
		return l, false, fmt.Errorf("when the newest backup was made cannot be read: %w", err)
	}
	return l, true, nil
}
