package engine

import (
	"context"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// SignIn is the linked GitLab as people sign in with it. It is asked to describe itself each time, so that a wrong setting
// is said at once and a changed one holds at once.
func (e *Engine) SignIn(ctx context.Context, how store.SignIn, redirectURL string) (*gitlab.SignIn, error) {
	_, in, err := e.attached("")
	if err != nil {
		return nil, err
	}
	s, err := gitlab.NewSignIn(ctx, gitlab.SignInOptions{
		APIURL: in.APIURL, BrowserURL: in.BrowserURL(), CA: []byte(in.CA), ClientID: how.ClientID, Secret: gitlab.Token(how.Secret.Reveal()),
		RedirectURL: redirectURL, Transport: e.o.Transport,
	})
	if err != nil {
		return nil, runs.Conflictf("Sign in with GitLab is not possible now: %s", sentence(err.Error()))
	}
	return s, nil
}

// MemberLevel asks GitLab for a person's access level in a project (CONTRACT §0.9), 0 for none.
func (e *Engine) MemberLevel(ctx context.Context, project, user int64) (int, error) {
	c, err := e.linkedClient()
	if err != nil {
		return 0, err
	}
	return c.MemberLevel(ctx, project, user)
}

// UserActive asks whether GitLab lets a person in.
func (e *Engine) UserActive(ctx context.Context, user int64) (bool, error) {
	c, err := e.linkedClient()
	if err != nil {
		return false, err
	}
	return c.UserActive(ctx, user)
}
