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

// rescueFile holds the one-time link of the command line. It is a file beside the database, because a server that runs
// holds the database and need not be stopped for it: whoever may write the data folder owns the server.
const rescueFile = "admin-link.json"

// A Rescue lets its holder become an admin with a password, once.
type Rescue struct {
	Name  string    `json:"name"` // of the account, which may be a new one
	Hash  string    `json:"hash"` // of the token
	Until time.Time `json:"until"`
}

// WriteRescue makes the one-time token of an admin's way back into the server of a data folder, whether it runs or not. An
// older one dies.
func WriteRescue(dir, name string, until time.Time) (token string, err error) {
	info, err := os.Stat(filepath.Join(dir, "groundcrew.db"))
	if err != nil {
		return "", fmt.Errorf("there is no Groundcrew in %s: %w. Name its folder with --data-dir", dir, err)
	}
	token = NewToken()
	raw, err := json.Marshal(Rescue{name, hashToken(token), until.UTC()})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, rescueFile)
	if err := writeFile(path, raw); err != nil {
		return "", fmt.Errorf("the link cannot be written: %w. Run this as the user of the server", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 { // the server may run as somebody else
		err = os.Chown(path, int(owner.Uid), int(owner.Gid))
	}
	return token, err
}

// Rescue finds whose way back a token is; ok is false when it is none, or too old.
func (s *Store) Rescue(token string) (r Rescue, ok bool, err error) {
	raw, err := os.ReadFile(s.Path(rescueFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, false, fmt.Errorf("%s is damaged: %w. Make a new link", rescueFile, err)
	}
	return r, subtle.ConstantTimeCompare([]byte(r.Hash), []byte(hashToken(token))) == 1 && s.now().Before(r.Until), nil
}

// SpendRescue ends the link. It must be called before what the link is good for is done: a crash in between costs a link.
func (s *Store) SpendRescue() error {
	if err := os.Remove(s.Path(rescueFile)); err != nil {
		return err
	}
	return syncDir(s.dir)
}
