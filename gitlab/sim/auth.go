package sim

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A token is a personal access token.
type token struct {
	id       int64
	value    string
	name     string
	user     *User
	scopes   []string
	created  time.Time
	lastUsed time.Time
	expires  time.Time // dead from this date's 00:00 UTC on; zero never ends
	revoked  bool
	family   int64 // the id of the first token that was rotated into this one
}

func (t *token) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

func (t *token) active(now time.Time) bool { return !t.revoked && !t.expired(now) }

// AddToken makes a personal access token and returns its value (glpat-…). Only the UTC date of expires counts: the
// token is dead from 00:00 of that date on (GOTCHAS 53). A zero expires never ends.
func (s *Server) AddToken(userID int64, name string, scopes []string, expires time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.newToken(s.userByID(userID), name, scopes, expires)
	t.family = t.id
	return t.value
}

func (s *Server) newToken(u *User, name string, scopes []string, expires time.Time) *token {
	t := &token{
		id: s.id("token"), value: "glpat-" + rand.Text()[:20], name: name, user: u,
		scopes: slices.Clone(scopes), created: s.now(), expires: startOfDay(expires),
	}
	s.tokens = append(s.tokens, t)
	return t
}

func startOfDay(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(24 * time.Hour)
}

// RevokeToken revokes a token by its value; an unknown one is left alone.
func (s *Server) RevokeToken(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokenByValue(value); t != nil {
		t.revoked = true
	}
}

// ExpireToken makes a token expired as of today; an unknown one is left alone.
func (s *Server) ExpireToken(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokenByValue(value); t != nil {
		t.expires = startOfDay(s.now())
	}
}

func (s *Server) tokenByValue(value string) *token {
	for _, t := range s.tokens {
		if t.value == value {
			return t
		}
	}
	return nil
}

// sentToken is the token of a request, from any of the three places GitLab takes one (§0.2).
func sentToken(r *http.Request) string {
	if v := r.Header.Get("PRIVATE-TOKEN"); v != "" {
		return v
	}
	if v, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return v
	}
	return r.URL.Query().Get("private_token")
}

// authenticate finds the caller and checks the token's scope (§0.2). A bad token is refused even where none is needed.
func (c *call) authenticate(rt *route) error {
	value := sentToken(c.r)
	if value == "" {
		if rt.public {
			return nil
		}
		return unauthorized()
	}
	t, err := c.usable(value)
	if err != nil {
		if old := c.tokenByValue(value); old != nil && old.revoked && strings.HasSuffix(rt.path, "/rotate") {
			c.revokeFamily(old.family)
		}
		return err
	}
	if len(rt.scopes) > 0 && !anyOf(t.scopes, rt.scopes) {
		return insufficientScope(rt.scopes)
	}
	c.token, c.user = t, t.user
	return nil
}

// usable is the token of a value, or why it is none; its last use is noted every ten minutes (§1).
func (s *Server) usable(value string) (*token, error) {
	t := s.tokenByValue(value)
	now := s.now()
	switch {
	case t == nil || t.user == nil:
		return nil, unauthorized()
	case t.revoked:
		return nil, tokenError("Token was revoked. You have to re-authorize from the user.")
	case t.expired(now):
		return nil, tokenError("Token is expired. You can either do re-authorization or token refresh.")
	}
	if now.Sub(t.lastUsed) >= 10*time.Minute {
		t.lastUsed = now
	}
	return t, nil
}

func anyOf(have, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool { return slices.Contains(have, w) })
}

// authorize checks the role in the project; the project itself is visible already.
func (c *call) authorize(need access) error {
	p, ok := c.project, true
	switch need {
	case toRead:
		ok = p.readable(c.user)
	case toDevelop:
		ok = p.role(c.user) >= Developer
	case toMaintain:
		ok = p.role(c.user) >= Maintainer
	}
	if !ok {
		return forbidden("")
	}
	if p.settings.Archived && c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return forbidden("")
	}
	return nil
}

func (t *token) entity(now time.Time) object {
	var expires any
	if !t.expires.IsZero() {
		expires = t.expires.Format(time.DateOnly)
	}
	return object{
		"id": t.id, "name": t.name, "revoked": t.revoked, "created_at": isoTime(t.created), "description": "",
		"scopes": t.scopes, "user_id": t.user.ID, "last_used_at": isoTime(t.lastUsed), "active": t.active(now),
		"granular": false, "expires_at": expires,
	}
}

func (c *call) getOwnToken() error {
	e := c.token.entity(c.now())
	e["last_used_ips"] = []string{}
	return c.answer(http.StatusOK, e)
}

func (c *call) revokeOwnToken() error {
	c.token.revoked = true
	return c.answer(http.StatusNoContent, nil)
}

// rotateOwnToken revokes the calling token at once; without expires_at the new one lives a week (§1).
func (c *call) rotateOwnToken() error {
	today := startOfDay(c.now())
	expires := today.AddDate(0, 0, 7)
	if c.in.has("expires_at") {
		expires, _ = time.Parse(time.DateOnly, c.in.text("expires_at")) // checked by the route's parameters
	}
	if limit := today.AddDate(0, 0, 365); expires.After(limit) {
		return message(http.StatusBadRequest, "400 Bad request - Expiration date must be before "+limit.Format(time.DateOnly))
	}
	c.token.revoked = true
	fresh := c.newToken(c.user, c.token.name, c.token.scopes, expires)
	fresh.family = c.token.family
	e := fresh.entity(c.now())
	e["token"] = fresh.value
	return c.answer(http.StatusOK, e)
}

// revokeFamily is GitLab's answer to a rotation with a revoked token: somebody stole it, so all of its line die (§1).
func (s *Server) revokeFamily(family int64) {
	for _, t := range s.tokens {
		if t.family == family {
			t.revoked = true
		}
	}
}

func (c *call) listTokens() error {
	var mine []*token
	for _, t := range c.tokens {
		state := c.in.text("state")
		if t.user == c.user && (state == "" || (state == "active") == t.active(c.now())) {
			mine = append(mine, t)
		}
	}
	return page(c, mine, func(t *token) any { return t.entity(c.now()) })
}
