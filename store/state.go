package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"
)

// A StateVersion is one version of a stack's managed state. Its bytes are a sealed file.
type StateVersion struct {
	Version   int       `json:"version"` // 1, 2, 3 …
	Serial    uint64    `json:"serial"`
	Lineage   string    `json:"lineage"`
	Run       string    `json:"run,omitempty"`
	By        string    `json:"by,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	Size      int64     `json:"size"`
	Resources int       `json:"resources"`
	SHA256    string    `json:"sha256"`
	File      string    `json:"file"`
}

// WriteState seals the bytes of a state and returns a version that names them, to be added in a
// transaction. The file is named by its content: writing the same state twice is one file.
func (s *Store) WriteState(stack string, data []byte) (StateVersion, error) {
	sum := sha256.Sum256(data)
	v := StateVersion{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	v.File = filepath.Join("states", stack, v.SHA256+".sealed")
	return v, s.Seal(data, v.File)
}

// ReadState returns the bytes of a version.
func (s *Store) ReadState(v StateVersion) ([]byte, error) { return s.Unseal(v.File) }

// AddStateVersion makes v the stack's newest version and returns it numbered. The same bytes as the newest
// version are no new one.
func (tx *Tx) AddStateVersion(stack string, v StateVersion) (StateVersion, error) {
	newest, _, err := tx.NewestState(stack)
	if err != nil || newest.SHA256 == v.SHA256 {
		return newest, err
	}
	v.Version, v.CreatedAt = newest.Version+1, tx.now
	return v, put(tx, "states", stack+"/"+num(int64(v.Version)), v)
}

// NewestState returns a stack's newest state version; version 0 when there is none yet.
func (tx *Tx) NewestState(stack string) (StateVersion, bool, error) {
	page, _, err := tx.StateVersions(stack, "", 1)
	if err != nil || len(page) == 0 {
		return StateVersion{}, false, err
	}
	return page[0], true, nil
}

// StateVersions lists a stack's versions, newest first, below the cursor.
func (tx *Tx) StateVersions(stack, cursor string, limit int) (page []StateVersion, next string, err error) {
	err = eachBack(tx, "states", stack+"/", cursor, func(k string, _ []byte) (bool, error) {
		if len(page) == limit {
			next = num(int64(page[limit-1].Version))
			return false, nil
		}
		var v StateVersion
		_, err := get(tx, "states", k, &v)
		page = append(page, v)
		return true, err
	})
	return page, next, err
}

// StateVersion returns one version, or ErrNotFound.
func (tx *Tx) StateVersion(stack string, version int) (StateVersion, error) {
	var v StateVersion
	ok, err := get(tx, "states", stack+"/"+num(int64(version)), &v)
	if err == nil && !ok {
		err = notFound("state version", fmt.Sprint(version))
	}
	return v, err
}

// idAt returns the smallest id of a moment.
func idAt(t time.Time) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(t)) // fails only after the year 10889
	return id.String()
}
