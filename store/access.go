package store

import (
	"cmp"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
)

// How long a sign-in lasts unless the settings say otherwise.
const (
	DefaultSessionIdle = 72  // hours without a request
	DefaultSessionLife = 14  // days from the sign-in, whatever happens
	DefaultAuditDays   = 730 // the audit log is kept
)

// Idle is how long a session may go unused.
func (s Settings) Idle() time.Duration {
	return time.Duration(cmp.Or(s.SessionIdle, DefaultSessionIdle)) * time.Hour
}

// Life is how long a session lasts at most.
func (s Settings) Life() time.Duration {
	return time.Duration(cmp.Or(s.SessionLife, DefaultSessionLife)) * 24 * time.Hour
}

// AuditFor is how long entries of the audit log are kept.
func (s Settings) AuditFor() time.Duration {
	return time.Duration(cmp.Or(s.AuditDays, DefaultAuditDays)) * 24 * time.Hour
}

// A SignIn says how people sign in: with GitLab, by password, or both. Its secret is sealed on disk and open in memory.
type SignIn struct {
	GitLab      bool        `json:"gitlab,omitempty"`    // Sign in with GitLab is switched on
	ClientID    string      `json:"client_id,omitempty"` // of the application in GitLab
	Secret      runs.Secret `json:"-"`                   // of the application
	Sealed      string      `json:"sealed_secret,omitempty"`
	Groups      []string    `json:"groups,omitempty"` // only members of one of these groups may sign in; none: everybody whom GitLab lets in
	Role        Role        `json:"role,omitempty"`   // of a person's first sign-in, "" is writer
	PasswordOff bool        `json:"password_off,omitempty"`
}

const signInRecord = "settings/sign_in/secret"

// DefaultRole is what a person gets at the first sign-in.
func (s SignIn) DefaultRole() Role { return cmp.Or(s.Role, Writer) }

// SignIn returns how people sign in; by password only, unless somebody changed that.
func (tx *Tx) SignIn() (SignIn, error) {
	var s SignIn
	if _, err := get(tx, "settings", "sign_in", &s); err != nil {
		return s, err
	}
	plain, err := tx.s.seal.openText(signInRecord, s.Sealed)
	s.Secret = runs.Secret(plain)
	return s, err
}

// PutSignIn seals and stores how people sign in.
func (tx *Tx) PutSignIn(s SignIn) error {
	s.Sealed = tx.s.seal.lockText(signInRecord, s.Secret.Reveal())
	return put(tx, "settings", "sign_in", s)
}

// UserByGitLab finds the person bound to an account of a GitLab: by the address that GitLab gives itself and the number
// of the account there, never by a name or an e-mail address, which change hands.
func (tx *Tx) UserByGitLab(issuer string, id int64) (User, bool, error) {
	users, err := tx.Users()
	i := slices.IndexFunc(users, func(u User) bool { return id != 0 && u.GitLabID == id && u.GitLabURL == issuer })
	if err != nil || i < 0 {
		return User{}, false, err
	}
	return users[i], true, nil
}

// Invite makes the one-time link's token of a person, valid until then; an older one dies with it.
func (tx *Tx) Invite(u User, until time.Time) (string, error) {
	token := NewToken()
	u.InviteHash, u.InviteUntil = hashToken(token), until
	_, err := tx.PutUser(u)
	return token, err
}

// UserByInvite finds whose one-time link a token is of; spent and expired ones are nobody's.
func (tx *Tx) UserByInvite(token string) (User, bool, error) {
	users, err := tx.Users()
	hash := []byte(hashToken(token))
	for _, u := range users {
		if u.InviteHash != "" && subtle.ConstantTimeCompare(hash, []byte(u.InviteHash)) == 1 && tx.now.Before(u.InviteUntil) && u.DisabledAt.IsZero() {
			return u, true, nil
		}
	}
	return User{}, false, err
}

// SessionID is what a session is called where its token must not be shown.
func SessionID(token string) string { return hashToken(token)[:16] }

// Sessions returns the sessions that are alive, of one user or ("") of all, the latest used first.
func (tx *Tx) Sessions(user string) ([]Session, error) {
	set, err := tx.Settings()
	if err != nil {
		return nil, err
	}
	var out []Session
	err = each(tx, "sessions", "", func(hash string, _ []byte) (bool, error) {
		var s Session
		_, err := get(tx, "sessions", hash, &s)
		if (user == "" || s.User == user) && s.alive(tx.now, set) {
			s.ID = hash[:16]
			out = append(out, s)
		}
		return true, err
	})
	slices.SortFunc(out, func(a, b Session) int { return b.Seen().Compare(a.Seen()) })
	return out, err
}

// alive reports whether a session has neither reached its end nor gone unused for too long. A row without a last use is
// of an older version and counts from its beginning.
func (s Session) alive(now time.Time, set Settings) bool {
	return now.Before(s.ExpiresAt) && now.Before(s.CreatedAt.Add(set.Life())) && now.Before(s.Seen().Add(set.Idle()))
}

// Seen is when the session was last used.
func (s Session) Seen() time.Time {
	if s.LastSeen.IsZero() {
		return s.CreatedAt
	}
	return s.LastSeen
}

// TouchSession notes that a session was used now, from an address.
func (tx *Tx) TouchSession(token, address string) error {
	var s Session
	ok, err := get(tx, "sessions", hashToken(token), &s)
	if err != nil || !ok {
		return err
	}
	s.LastSeen, s.Address = tx.now, address
	if err := put(tx, "sessions", hashToken(token), s); err != nil {
		return err
	}
	u, err := tx.User(s.User)
	if err != nil {
		return err
	}
	u.LastSeen = tx.now
	return put(tx, "users", u.ID, u)
}

// EndSessionByID ends the session of that [SessionID], or answers ErrNotFound. A user other than "" must own it.
func (tx *Tx) EndSessionByID(id, user string) (Session, error) {
	var found string
	var s Session
	err := each(tx, "sessions", id, func(hash string, _ []byte) (bool, error) {
		_, err := get(tx, "sessions", hash, &s)
		if len(id) == 16 && (user == "" || s.User == user) {
			found = hash
		}
		return found == "", err
	})
	if err == nil && found == "" {
		err = notFound("session", id)
	}
	if err != nil {
		return s, err
	}
	return s, unmark(tx, "sessions", found)
}

// touchEvery bounds how often the use of a session or key is written down.
const touchEvery = time.Minute

// Stale reports whether a last use is long enough ago to write a new one.
func Stale(last, now time.Time) bool { return now.Sub(last) >= touchEvery }

// TouchAPIKey notes that a key was used now.
func (tx *Tx) TouchAPIKey(text string) error {
	var k APIKey
	ok, err := get(tx, "api_keys", hashToken(text), &k)
	if err != nil || !ok {
		return err
	}
	k.LastUsed = tx.now
	return put(tx, "api_keys", hashToken(text), k)
}

// ReservedName reports whether a name is one that nobody may have, because it stands for something else in the audit log.
func ReservedName(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return name == strings.ToLower(runs.System) || name == "bootstrap token" || name == "metrics token" || name == "nobody" || name == "api key" || strings.HasPrefix(name, "api key ")
}
