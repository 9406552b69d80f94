package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// The token guardian looks at the token every hour (schedule.go), at once when GitLab refuses it (suspectToken), and while
// it is in trouble every minute, so that a mended network, an unblocked user or a moved clock is noticed.

// causeNetwork is the cause of trouble that says nothing of the token.
const causeNetwork = string(gitlab.KindNetwork)

// dead are the causes that only another token or a GitLab admin can mend.
var dead = []gitlab.Kind{gitlab.KindUnauthorized, gitlab.KindRevoked, gitlab.KindExpired, gitlab.KindBlocked, gitlab.KindScope}

// tokenDead reports whether it is the token that is in trouble, not the way to GitLab.
func tokenDead(h store.TokenHealth) bool { return slices.Contains(dead, gitlab.Kind(h.Cause)) }

// TokenDead reports whether GitLab refuses the token, as against a GitLab that cannot be reached.
func TokenDead(h store.TokenHealth) bool {
	return h.Trouble != "" && (tokenDead(h) || h.Cause == "" && !h.Active) // rows from before causes were kept have none
}

// suspectToken has the token looked at now: GitLab refused it.
func (e *Engine) suspectToken() {
	e.mu.Lock()
	e.suspected = true
	e.mu.Unlock()
	wake(e.tokenWake)
}

// recheck is how often a token in trouble is looked at.
const recheck = time.Minute

// guard looks at the token when something says that it may have died or come back.
func (e *Engine) guard(ctx context.Context) (time.Duration, error) {
	var in store.Integration
	err := e.st.View(func(tx *store.Tx) (err error) {
		in, _, err = tx.Integration()
		return err
	})
	if err != nil || !in.Linked {
		return idle, err
	}
	if in.Rotation != nil && in.Rotation.State == store.RotationTrying && !e.rotating() {
		if err := e.settleRotation(ctx); err != nil {
			return idle, err
		}
	}
	e.mu.Lock()
	suspected := e.suspected
	e.suspected = false
	e.mu.Unlock()
	known := in.Health.Trouble != ""
	if suspected && !known || known && e.now().Sub(in.Health.CheckedAt) >= recheck {
		return recheck, e.checkToken(ctx)
	}
	return recheck, nil
}

// rotateAhead is how long before its end a token is renewed: long enough for a person to step in when GitLab refuses.
const rotateAhead = 14 * 24 * time.Hour

// A rotation asks for as long a life as the token had, within what GitLab can allow.
const (
	shortestLife = 7 * 24 * time.Hour
	longestLife  = 364 * 24 * time.Hour
)

func (e *Engine) rotating() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inRotation
}

// rotateToken renews the token when that was asked for and is due. A refused attempt is made again after a day; one
// whose answer was lost is never made again (see [store.Rotation]).
func (e *Engine) rotateToken(ctx context.Context) error {
	var in store.Integration
	err := e.st.View(func(tx *store.Tx) (err error) {
		in, _, err = tx.Integration()
		return err
	})
	now := e.now()
	switch r := in.Rotation; {
	case err != nil:
		return err
	case !in.Linked || !in.AutoRotate || in.Health.ExpiresAt == nil || in.Health.Trouble != "":
		return nil
	case in.Health.ExpiresAt.Sub(now) > rotateAhead || !now.Before(*in.Health.ExpiresAt):
		return nil
	case r != nil && (r.State == store.RotationTrying || r.State == store.RotationLost || r.State == store.RotationRefused && now.Sub(r.At) < 24*time.Hour):
		return nil
	}
	return e.RotateToken(ctx, runs.System)
}

// RotateToken lets GitLab renew the token, with one attempt: that it is made is on disk before the call, and the new token
// before anything else is done with it.
func (e *Engine) RotateToken(ctx context.Context, by string) error {
	e.mu.Lock()
	if e.inRotation {
		e.mu.Unlock()
		return runs.Conflictf("The token is being renewed already.")
	}
	e.inRotation = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.inRotation = false
		e.mu.Unlock()
	}()
	in, err := e.beginRotation(by)
	if err != nil {
		return err
	}
	c, err := e.clientOf(in)
	if err != nil {
		return err
	}
	// The call outlives a stop of the server: an answer that is under way must be kept.
	callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	token, info, callErr := c.RotateToken(callCtx, in.Health.Username, in.Rotation.ExpiresAt)
	if callErr != nil {
		return e.rotationFailed(callCtx, in, callErr)
	}
	return e.keepToken(in, runs.Secret(token.Reveal()), info, by)
}

// beginRotation stores that the one attempt is made.
func (e *Engine) beginRotation(by string) (store.Integration, error) {
	var in store.Integration
	err := e.st.Update(func(tx *store.Tx) (err error) {
		var ok bool
		if in, ok, err = tx.Integration(); err != nil {
			return err
		}
		switch {
		case !ok || !in.Linked:
			return errDetached
		case in.Rotation != nil && (in.Rotation.State == store.RotationTrying || in.Rotation.State == store.RotationLost):
			return runs.Conflictf("The answer to the last renewal was lost, so another attempt with this token could make GitLab revoke its successor. Set a new token by hand.")
		case in.Health.ExpiresAt == nil:
			return runs.Conflictf("The token does not expire, or GitLab does not say when. There is nothing to renew.")
		}
		life := longestLife
		if !in.Health.CreatedAt.IsZero() {
			life = min(max(in.Health.ExpiresAt.Sub(in.Health.CreatedAt), shortestLife), longestLife)
		}
		in.Rotation = &store.Rotation{State: store.RotationTrying, At: tx.Now(), ExpiresAt: tx.Now().Add(life).Truncate(24 * time.Hour)}
		if err := tx.PutIntegration(in); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "token.rotate", Target: in.APIURL})
	})
	return in, err
}

// keepToken seals the new token before anything else. The disk may be full at this very moment, and there is no second
// chance: it is tried for a while.
func (e *Engine) keepToken(in store.Integration, token runs.Secret, info gitlab.TokenInfo, by string) error {
	var err error
	for attempt := range 10 {
		err = e.st.Update(func(tx *store.Tx) error {
			now, _, err := tx.Integration()
			if err != nil {
				return err
			}
			if now.Token != in.Token {
				return nil // a person set another one meanwhile: theirs is the one to use
			}
			now.Token = token
			now.Health.ExpiresAt, now.Health.CreatedAt = info.ExpiresAt, tx.Now()
			now.Health.Trouble, now.Health.Cause, now.Health.Active = "", "", true
			text := "GitLab renewed the token."
			if info.ExpiresAt != nil {
				text = "GitLab renewed the token. The new one expires on " + info.ExpiresAt.Format("2 January 2006") + "."
			}
			now.Rotation = &store.Rotation{State: store.RotationDone, At: tx.Now(), ExpiresAt: in.Rotation.ExpiresAt, Text: text}
			if err := tx.PutIntegration(now); err != nil {
				return err
			}
			if err := tx.ResumeReports(); err != nil {
				return err
			}
			return tx.Audit(store.AuditEntry{By: by, Action: "token.rotated", Target: in.APIURL})
		})
		if err == nil {
			return nil
		}
		e.log.Error("the renewed token could not be stored; trying again", "attempt", attempt+1, "error", err)
		time.Sleep(time.Second)
	}
	return errors.Join(errors.New("the renewed token could not be stored and is lost: set a new one"), err)
}

// rotationFailed tells a refusal, after which the old token lives, from an answer that was lost.
func (e *Engine) rotationFailed(ctx context.Context, in store.Integration, cause error) error {
	var own *gitlab.Error
	if errors.As(cause, &own) && own.Status >= 400 && own.Status < 500 {
		text := "GitLab refused to renew the token: " + sentence(cause.Error())
		if own.Kind == gitlab.KindForbidden || own.Kind == gitlab.KindScope || own.Kind == gitlab.KindNotFound {
			text += " Renewing needs GitLab 16.10 and a token with the scope api or self_rotate."
		}
		return errors.Join(e.endRotation(in, store.RotationRefused, text), runs.Conflictf("%s", text))
	}
	if err := e.settleRotation(ctx); err != nil {
		return err
	}
	return runs.Conflictf("The answer to the renewal did not arrive: %s", sentence(cause.Error()))
}

// settleRotation finds out what became of an attempt whose answer was lost, by asking GitLab about the old token. That is
// a question, not a second attempt.
func (e *Engine) settleRotation(ctx context.Context) error {
	var in store.Integration
	err := e.st.View(func(tx *store.Tx) (err error) {
		in, _, err = tx.Integration()
		return err
	})
	if err != nil || !in.Linked || in.Rotation == nil || in.Rotation.State != store.RotationTrying {
		return err
	}
	c, err := e.clientOf(in)
	if err != nil {
		return err
	}
	_, err = c.TokenSelf(ctx)
	switch kind := gitlab.KindOf(err); {
	case err == nil:
		return e.endRotation(in, store.RotationRefused, "The renewal of the token did not reach GitLab. The old token still works; it is tried again in a day.")
	case kind.TokenTrouble():
		text := fmt.Sprintf("GitLab renewed the token on %s, but its answer was lost, and with it the new token. The old one is dead. Make a new token in GitLab and set it here; the lost one, still named %q there, can be revoked.", in.Rotation.At.Format("2 January at 15:04 UTC"), in.Health.Name)
		e.suspectToken()
		return e.endRotation(in, store.RotationLost, text)
	default:
		return nil // asked again when GitLab can be reached
	}
}

func (e *Engine) endRotation(in store.Integration, state, text string) error {
	return e.st.Update(func(tx *store.Tx) error {
		now, _, err := tx.Integration()
		if err != nil || now.Rotation == nil || now.Token != in.Token {
			return err
		}
		now.Rotation.State, now.Rotation.Text = state, text
		return tx.PutIntegration(now)
	})
}
