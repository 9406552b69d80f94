package web

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

const (
	callbackPath = "/login/gitlab/callback"
	flowCookie   = "groundcrew_signin"
	flowLife     = 10 * time.Minute // as long as GitLab's code (CONTRACT §9)
)

// flows seal what a browser carries while it is at GitLab, and remember which of them came back: each does once. The key
// lives as long as the process, so a restart in between asks people to click once more.
type flows struct {
	aead cipher.AEAD
	mu   sync.Mutex
	used map[[sha256.Size]byte]time.Time // by hash of state, until when it could come again
}

// A flow is one sign-in on its way; with a User, that of somebody who connects an account (connect.go).
type flow struct {
	gitlab.Challenge
	Next    string
	Until   time.Time
	User    string // id of the one who connects
	Session string // [store.SessionID] it was begun in
}

func newFlows() *flows {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails since Go 1.24
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size it wants
	}
	return &flows{aead: aead, used: map[[sha256.Size]byte]time.Time{}}
}

func (f *flows) seal(x flow) (string, error) {
	raw, err := json.Marshal(x)
	return base64.RawURLEncoding.EncodeToString(f.aead.Seal(nil, nil, raw, []byte(flowCookie))), err
}

// open takes a flow that came back with a state; the second time, too late, or with another state it is none.
func (f *flows) open(sealed, state string, now time.Time) (flow, bool) {
	var x flow
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return x, false
	}
	if raw, err = f.aead.Open(nil, nil, raw, []byte(flowCookie)); err != nil || json.Unmarshal(raw, &x) != nil {
		return x, false
	}
	if state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(x.State)) != 1 || !now.Before(x.Until) {
		return x, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, until := range f.used {
		if now.After(until) {
			delete(f.used, k)
		}
	}
	key := sha256.Sum256([]byte(state))
	if _, again := f.used[key]; again {
		return x, false
	}
	f.used[key] = x.Until
	return x, true
}

func (s *Server) flowCookie() string {
	if s.o.Secure {
		return "__Host-" + flowCookie
	}
	return flowCookie
}

func (s *Server) redirectURL() string { return s.o.ExternalURL + callbackPath }

func (s *Server) signInSettings() (how store.SignIn, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		how, err = tx.SignIn()
		return err
	})
	return how, err
}

// getGitLabLogin sends a browser to GitLab.
func (s *Server) getGitLabLogin(c *request) error {
	next := localPath(c.QueryParam("next"))
	if !s.logins.address.allow(c.RealIP()) {
		c.Response().Header().Set("Retry-After", "60")
		return s.loginPage(c, http.StatusTooManyRequests, view.LoginModel{Next: next, Error: "Too many tries. Wait a minute, then try again."})
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	provider, err := s.provider(ctx)
	if err != nil {
		return s.signInRefused(c, next, err)
	}
	x := flow{Challenge: gitlab.NewChallenge(), Next: next, Until: time.Now().Add(flowLife)}
	if err := s.sendAlong(c, x); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, provider.URL(x.Challenge))
}

// sendAlong gives the browser what it carries to GitLab and back.
func (s *Server) sendAlong(c *request, x flow) error {
	sealed, err := s.flows.seal(x)
	if err == nil {
		c.SetCookie(s.cookie(s.flowCookie(), sealed, int(flowLife.Seconds())))
	}
	return err
}

func (s *Server) provider(ctx context.Context) (*gitlab.SignIn, error) {
	how, err := s.signInSettings()
	if err != nil {
		return nil, err
	}
	if !how.GitLab {
		return nil, runs.NotFoundf("Sign in with GitLab is not switched on.")
	}
	return s.eng.SignIn(ctx, how, s.redirectURL())
}

// signInRefused shows the sign-in page with the reason, for the four kinds of error and GitLab's refusals; others are errors.
func (s *Server) signInRefused(c *request, next string, err error) error {
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		return err
	}
	s.log.Warn("sign-in with GitLab refused", "address", c.RealIP(), "reason", messageOf(err, status))
	return s.loginPage(c, status, view.LoginModel{Next: next, Error: messageOf(err, status)})
}

// getGitLabCallback is where GitLab sends the browser back to.
func (s *Server) getGitLabCallback(c *request) error {
	sealed := ""
	if ck, err := c.Cookie(s.flowCookie()); err == nil {
		sealed = ck.Value
	}
	c.SetCookie(s.cookie(s.flowCookie(), "", -1))
	x, ok := s.flows.open(sealed, c.QueryParam("state"), time.Now())
	if !ok {
		return s.signInRefused(c, "/", runs.Forbiddenf("This sign-in was not begun in this browser, took longer than ten minutes, or is over already. Begin again."))
	}
	if x.User != "" {
		return s.finishConnect(c, x)
	}
	if c.QueryParam("error") != "" {
		return s.signInRefused(c, x.Next, deniedBy(c.QueryParam("error")))
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	u, err := s.signInWithGitLab(ctx, c, x)
	if err != nil {
		return s.signInRefused(c, x.Next, err)
	}
	if err := s.openSession(c, u, "gitlab"); err != nil {
		return err
	}
	if u.Role != store.Admin {
		s.askAhead(u.GitLabID)
	}
	return c.Redirect(http.StatusSeeOther, x.Next)
}

// deniedBy says what GitLab's refusal means. Its own text comes through the browser and is not shown.
func deniedBy(code string) error {
	switch code {
	case "access_denied":
		return runs.Forbiddenf("You did not let GitLab tell Groundcrew who you are, so you are not signed in.")
	case "invalid_scope":
		return runs.Conflictf("The application in GitLab lacks a scope. An admin of GitLab ticks openid, profile and email there.")
	default:
		return runs.Conflictf("GitLab refused the sign-in. Try again; if it happens again, an admin looks at Settings › Sign-in.")
	}
}

// signInWithGitLab finds out who came back and gives them their account.
func (s *Server) signInWithGitLab(ctx context.Context, c *request, x flow) (u store.User, err error) {
	provider, err := s.provider(ctx)
	if err != nil {
		return u, err
	}
	who, err := provider.Identify(ctx, c.QueryParam("code"), x.Challenge)
	if err != nil {
		return u, err
	}
	active, err := s.eng.UserActive(ctx, who.ID)
	if err != nil {
		return u, err
	}
	err = s.st.Update(func(tx *store.Tx) error {
		u, err = s.accountOf(tx, c, who, active)
		return err
	})
	return u, err
}

// accountOf finds or makes the account of somebody GitLab vouches for.
func (s *Server) accountOf(tx *store.Tx, c *request, who gitlab.Identity, active bool) (store.User, error) {
	how, err := tx.SignIn()
	if err != nil {
		return store.User{}, err
	}
	if err := mayComeIn(how, who, active); err != nil {
		return store.User{}, err
	}
	u, known, err := tx.UserByGitLab(who.Issuer, who.ID)
	if err != nil {
		return u, err
	}
	if known && !u.DisabledAt.IsZero() {
		return u, runs.Forbiddenf("Your account here is disabled. Ask an admin.")
	}
	old := u
	u.GitLabURL, u.GitLabID, u.DisplayName = who.Issuer, who.ID, cut(who.Name, 200)
	if !known {
		u.Role = how.DefaultRole()
	}
	if u.PasswordHash == "" { // a name that a person signs in with by password stays
		if u.Name, err = freeName(tx, u, who.Username); err != nil {
			return u, err
		}
	}
	if u, err = tx.PutUser(u); err != nil {
		return u, err
	}
	action, changes := "user.rename", []store.AuditChange{{Field: "name", Before: old.Name, After: u.Name}}
	if !known {
		action, changes = "user.add", []store.AuditChange{{Field: "role", After: string(u.Role)}, {Field: "gitlab_id", After: fmt.Sprint(u.GitLabID)}}
	} else if old.Name == u.Name {
		return u, nil
	}
	return u, tx.Audit(store.AuditEntry{By: u.Name, Action: action, Target: u.Name, Note: "signed in with GitLab", Address: c.RealIP(), Changes: changes})
}

func inGroup(groups []string, g string) bool {
	return slices.ContainsFunc(groups, func(want string) bool { return strings.EqualFold(want, g) })
}

// freeName is the person's username in GitLab, with the number there behind it when somebody else here has that name: a
// name is for reading and never opens another person's account.
func freeName(tx *store.Tx, u store.User, username string) (string, error) {
	if u.Name != "" && strings.EqualFold(u.Name, username) {
		return username, nil
	}
	other, taken, err := tx.UserByName(username)
	if err != nil || !store.ReservedName(username) && (!taken || other.ID == u.ID) {
		return cut(username, 80), err
	}
	return fmt.Sprintf("%s (GitLab %d)", cut(username, 70), u.GitLabID), nil
}
