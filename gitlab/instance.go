package gitlab

import (
	"context"
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

// CurrentUser asks whose token this is.
func (c *Client) CurrentUser(ctx context.Context) (User, error) {
	var u struct {
		ID       int64
		Username string
		Name     string
		Bot      bool
		State    string
		WebURL   string `json:"web_url"`
	}
	err := c.get(ctx, "user", nil, &u)
	return User(u), err
}

// TokenSelf asks about the token itself; any scope may. It works for personal, project and group access tokens.
func (c *Client) TokenSelf(ctx context.Context) (TokenInfo, error) {
	var t struct {
		ID        int64
		Name      string
		Scopes    []string
		Active    bool
		Revoked   bool
		ExpiresAt *string `json:"expires_at"`
	}
	if err := c.get(ctx, "personal_access_tokens/self", nil, &t); err != nil {
		return TokenInfo{}, err
	}
	info := TokenInfo{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Active: t.Active, Revoked: t.Revoked}
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
