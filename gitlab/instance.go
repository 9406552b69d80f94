package gitlab

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"
)

// Version asks which GitLab this is. An answer that is not GitLab's has [KindNotGitLab].
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v struct{ Version, Revision string }
	if err := c.get(ctx, "version", nil, &v); err != nil {
		return Version{}, err
	}
	if v.Version == "" {
		return Version{}, &Error{Kind: KindNotGitLab, Method: "GET", Path: c.base.Path + "/api/v4/version", Message: "no version in it"}
	}
	return Version(v), nil
}

type userJSON struct {
	ID       int64
	Username string
	Name     string
	Bot      bool
	State    string
	WebURL   string `json:"web_url"`
	IsAdmin  bool   `json:"is_admin"`
}

// CurrentUser asks whose token this is.
func (c *Client) CurrentUser(ctx context.Context) (User, error) {
	var u userJSON
	err := c.get(ctx, "user", nil, &u)
	return User(u), err
}

// User reads one user. KindNotFound: there is none, or it is hidden from the token's user.
func (c *Client) User(ctx context.Context, id int64) (User, error) {
	var u userJSON
	err := c.get(ctx, at("users", id), nil, &u)
	return User(u), err
}

type tokenJSON struct {
	ID        int64
	Name      string
	Scopes    []string
	Active    bool
	Revoked   bool
	CreatedAt string  `json:"created_at"`
	ExpiresAt *string `json:"expires_at"`
	Token     string
}

func (t tokenJSON) info() (TokenInfo, error) {
	info := TokenInfo{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Active: t.Active, Revoked: t.Revoked, CreatedAt: parseTime(t.CreatedAt)}
	if t.ExpiresAt == nil {
		return info, nil
	}
	at, err := time.Parse(time.DateOnly, *t.ExpiresAt)
	if err != nil {
		return TokenInfo{}, &Error{Kind: KindNotGitLab, Message: "expires_at of the token is no date: " + flatten(*t.ExpiresAt)}
	}
	info.ExpiresAt = &at
	return info, nil
}

// TokenSelf asks about the token itself; any scope may. It works for personal, project and group access tokens.
func (c *Client) TokenSelf(ctx context.Context) (TokenInfo, error) {
	var t tokenJSON
	if err := c.get(ctx, "personal_access_tokens/self", nil, &t); err != nil {
		return TokenInfo{}, err
	}
	return t.info()
}

// The paths under which the bots of project and group access tokens are named (CONTRACT §1).
var botName = regexp.MustCompile(`^(project|group)_([0-9]+)_bot(_|$)`)

// RotateToken makes GitLab replace the client's token with a new one that dies at the day given, and returns it. The old
// token is dead from that moment on. After an error that is not a refusal (network, server) nobody knows whether it
// happened; the call must not be repeated with the old token, because GitLab takes that for a theft and revokes
// the new one (CONTRACT §1). username is the token's user: the tokens of projects and groups have an address of their own
// on versions that refuse them here with 405.
func (c *Client) RotateToken(ctx context.Context, username string, expires time.Time) (Token, TokenInfo, error) {
	t, err := c.rotate(ctx, "personal_access_tokens/self/rotate", expires)
	m := botName.FindStringSubmatch(username)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusMethodNotAllowed && m != nil {
		t, err = c.rotate(ctx, at(m[1]+"s", m[2], "access_tokens", "self", "rotate"), expires)
	}
	if err != nil {
		return "", TokenInfo{}, err
	}
	if t.Token == "" {
		return "", TokenInfo{}, &Error{Kind: KindNotGitLab, Message: "the answer to the rotation holds no token"}
	}
	info, err := t.info()
	if err != nil {
		info.ExpiresAt = &expires // the token itself is what must not be lost
	}
	return Token(t.Token), info, nil
}

func (c *Client) rotate(ctx context.Context, path string, expires time.Time) (tokenJSON, error) {
	var t tokenJSON
	err := c.send(ctx, http.MethodPost, path, map[string]string{"expires_at": expires.UTC().Format(time.DateOnly)}, &t)
	return t, err
}
