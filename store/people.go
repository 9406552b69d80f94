package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"groundcrew/runs"
)

// A Role is what a person or key may do everywhere.
type Role string

// The roles, each including the one after it.
const (
	Admin  Role = "admin"
	Writer Role = "writer"
	Reader Role = "reader"
)

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r == Admin || r == Writer || r == Reader }

// A User is a person who may sign in.
type User struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Role         Role      `json:"role"`
	PasswordHash string    `json:"password_hash,omitempty"` // argon2id, made by package web
	CreatedAt    time.Time `json:"created_at"`
	LastSeen     time.Time `json:"last_seen,omitzero"`
	DisabledAt   time.Time `json:"disabled_at,omitzero"` // zero: may sign in

	// Of a person who signs in with GitLab: the account's number, the GitLab's own address, and the person's name there.
	GitLabID    int64  `json:"gitlab_id,omitempty"`
	GitLabURL   string `json:"gitlab_url,omitempty"`
	DisplayName string `json:"display_name,omitempty"`
	// FormerGitLab is the number of the account that was disconnected last. It gives no right; reviews still know the person by it.
	FormerGitLab int64 `json:"former_gitlab,omitempty"`

	InviteHash  string    `json:"invite_hash,omitempty"` // of the one-time link's token
	InviteUntil time.Time `json:"invite_until,omitzero"`
}

// User returns a user by id, or ErrNotFound.
func (tx *Tx) User(id string) (User, error) {
	var u User
	ok, err := get(tx, "users", id, &u)
	if err == nil && !ok {
		err = notFound("user", id)
	}
	return u, err
}

// UserByName finds a user by name, letter case aside.
func (tx *Tx) UserByName(name string) (User, bool, error) {
	id := tx.b.Bucket([]byte("user_names")).Get([]byte(strings.ToLower(name)))
	if id == nil {
		return User{}, false, nil
	}
	u, err := tx.User(string(id))
	return u, err == nil, err
}

// Users returns all users, oldest first.
func (tx *Tx) Users() ([]User, error) { return all[User](tx, "users", "") }

// PutUser stores a user; a new one (without id) gets one. A taken name is an ErrConflict; a changed one frees
// the old.
func (tx *Tx) PutUser(u User) (User, error) {
	var old User
	if u.ID != "" {
		var err error
		if old, err = tx.User(u.ID); err != nil {
			return u, err
		}
	}
	if u.Name != old.Name || u.Name == "" { // who has a name from before something was asked of it still comes in
		if err := tx.freeName(u); err != nil {
			return u, err
		}
	}
	if u.ID == "" {
		u.ID, u.CreatedAt = tx.NewID(), tx.now
	} else if err := unmark(tx, "user_names", strings.ToLower(old.Name)); err != nil {
		return u, err
	}
	if err := tx.b.Bucket([]byte("user_names")).Put([]byte(strings.ToLower(u.Name)), []byte(u.ID)); err != nil {
		return u, err
	}
	return u, put(tx, "users", u.ID, u)
}

// freeName reports why a user cannot have the name, nil when they can.
func (tx *Tx) freeName(u User) error {
	if err := runs.CheckName(u.Name, "Give a user name of 1 to 100 bytes."); err != nil {
		return err
	}
	if ReservedName(u.Name) {
		return runs.Invalidf("name", "“%s” stands for something else in the audit log. Choose another name.", u.Name)
	}
	other, ok, err := tx.UserByName(u.Name)
	if err == nil && ok && other.ID != u.ID {
		err = &runs.Error{Kind: runs.ErrConflict, Field: "name", Message: "That user name is taken."}
	}
	return err
}

// A Session is a signed-in browser. Its token is never stored, only its hash.
type Session struct {
	User      string    `json:"user"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Agent     string    `json:"agent,omitempty"`
	Address   string    `json:"address,omitempty"` // of the last use
	LastSeen  time.Time `json:"last_seen,omitzero"`
	Via       string    `json:"via,omitempty"` // password, gitlab or link

	ID string `json:"-"` // see [SessionID]; set by [Tx.Sessions]
}

// NewToken returns 32 random bytes in base64url.
func NewToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// AddSession signs a user in and returns the cookie's token.
func (tx *Tx) AddSession(s Session) (string, error) {
	token := NewToken()
	s.CreatedAt, s.LastSeen = tx.now, tx.now
	return token, put(tx, "sessions", hashToken(token), s)
}

// Session returns the session and user of a token; expired, unused for too long, and unknown ones are not ok, nor are
// those of a disabled user.
func (tx *Tx) Session(token string) (Session, User, bool, error) {
	var s Session
	ok, err := get(tx, "sessions", hashToken(token), &s)
	if err != nil || !ok {
		return s, User{}, false, err
	}
	set, err := tx.Settings()
	if err != nil || !s.alive(tx.now, set) {
		return s, User{}, false, err
	}
	u, err := tx.User(s.User)
	if errors.Is(err, runs.ErrNotFound) || err == nil && !u.DisabledAt.IsZero() {
		return s, u, false, nil
	}
	return s, u, err == nil, err
}

// EndSession signs a browser out. Sessions that are over go with it.
func (tx *Tx) EndSession(token string) error {
	set, err := tx.Settings()
	if err != nil {
		return err
	}
	drop := []string{hashToken(token)}
	err = each(tx, "sessions", "", func(k string, _ []byte) (bool, error) {
		var s Session
		_, err := get(tx, "sessions", k, &s)
		if !s.alive(tx.now, set) {
			drop = append(drop, k)
		}
		return true, err
	})
	for _, k := range drop {
		err = errors.Join(err, unmark(tx, "sessions", k))
	}
	return err
}

// EndSessionsOf signs a user out everywhere, as when the password was changed.
func (tx *Tx) EndSessionsOf(user string) error {
	var drop []string
	err := each(tx, "sessions", "", func(k string, _ []byte) (bool, error) {
		var s Session
		_, err := get(tx, "sessions", k, &s)
		if s.User == user {
			drop = append(drop, k)
		}
		return true, err
	})
	for _, k := range drop {
		err = errors.Join(err, unmark(tx, "sessions", k))
	}
	return err
}

// An APIKey lets a script act with a role. Only its hash is stored.
type APIKey struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      Role       `json:"role"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by,omitempty"`
	Owner     string     `json:"owner,omitempty"` // id of the user who made it, whose reviews its reviews are; "" for none
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	LastUsed  time.Time  `json:"last_used,omitzero"` // to the minute
}

// AddAPIKey makes a key and returns it with its text, which is shown once.
func (tx *Tx) AddAPIKey(k APIKey) (APIKey, string, error) {
	if err := runs.CheckName(k.Name, "Give the key a name of 1 to 100 bytes that says what uses it."); err != nil {
		return k, "", err
	}
	if !k.Role.Valid() {
		return k, "", runs.Invalidf("role", "“%s” is no role. Use admin, writer or reader.", k.Role)
	}
	if k.ExpiresAt != nil && !k.ExpiresAt.After(tx.now) {
		return k, "", runs.Invalidf("expires_at", "The key would have expired already.")
	}
	k.ID, k.CreatedAt = tx.NewID(), tx.now
	text := "gck_" + NewToken()
	return k, text, put(tx, "api_keys", hashToken(text), k)
}

// APIKeyByText finds a key by its text; unknown and expired ones, and those whose maker's account is disabled, are not ok.
func (tx *Tx) APIKeyByText(text string) (APIKey, bool, error) {
	var k APIKey
	ok, err := get(tx, "api_keys", hashToken(text), &k)
	if err != nil || !ok || k.ExpiresAt != nil && !tx.now.Before(*k.ExpiresAt) {
		return k, false, err
	}
	_, ok, err = tx.KeyMaker(k)
	return k, ok, err
}

// KeyMaker returns who made a key, the zero User when that was nobody with an account. ok is false while the maker's account is
// disabled: somebody who was shown out keeps no key.
func (tx *Tx) KeyMaker(k APIKey) (u User, ok bool, err error) {
	if k.Owner == "" {
		return u, true, nil
	}
	u, err = tx.User(k.Owner)
	if errors.Is(err, runs.ErrNotFound) {
		return User{}, false, nil
	}
	return u, err == nil && u.DisabledAt.IsZero(), err
}

// APIKeys returns all keys, without their texts.
func (tx *Tx) APIKeys() ([]APIKey, error) { return all[APIKey](tx, "api_keys", "") }

// DeleteAPIKey ends a key and returns what it was.
func (tx *Tx) DeleteAPIKey(id string) (APIKey, error) {
	var found string
	var k APIKey
	err := each(tx, "api_keys", "", func(hash string, _ []byte) (bool, error) {
		k = APIKey{}
		_, err := get(tx, "api_keys", hash, &k)
		if k.ID == id {
			found = hash
		}
		return found == "", err
	})
	if err != nil {
		return k, err
	}
	if found == "" {
		return k, notFound("API key", id)
	}
	return k, unmark(tx, "api_keys", found)
}

// NewSetupToken makes the one-time token of the set-up link; an older one dies with it.
func (tx *Tx) NewSetupToken() (string, error) {
	token := NewToken()
	return token, tx.b.Bucket([]byte("meta")).Put([]byte("setup"), []byte(hashToken(token)))
}

// IsSetupToken reports whether token is the valid set-up token.
func (tx *Tx) IsSetupToken(token string) bool {
	want := tx.b.Bucket([]byte("meta")).Get([]byte("setup"))
	return len(want) > 0 && subtle.ConstantTimeCompare(want, []byte(hashToken(token))) == 1
}

// UseSetupToken ends the set-up link.
func (tx *Tx) UseSetupToken() error { return tx.b.Bucket([]byte("meta")).Delete([]byte("setup")) }
