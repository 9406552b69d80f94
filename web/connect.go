package web

import (
	"context"
	"net/http"
	"slices"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// A person with a password can connect their account in GitLab: both ways lead to the one account then. It takes the
// password right before and a round trip to GitLab that is bound to the session it began in. Nothing is ever joined by a
// name or an e-mail address.

// errNotYourFlow is answered to a round trip that ends in another session than it began in.
var errNotYourFlow = runs.Forbiddenf("This was begun by somebody else, or before you signed in again. Begin again on this page.")

// postConnect begins: the password is asked, and the page then holds the link that leads to GitLab. A redirect could not
// go there: what a form of ours leads to stays here (form-action of the CSP).
func (s *Server) postConnect(c *request) error {
	refused := func(err error) error {
		status := statusOf(err)
		if status == http.StatusInternalServerError {
			return err
		}
		return s.accountPage(c, status, view.AccountModel{ConnectError: messageOf(err, status)})
	}
	u, err := s.sureOf(c, c.FormValue("current"))
	if err == nil && u.GitLabID != 0 {
		err = runs.Conflictf("Your account is connected already. Disconnect it first.")
	}
	if err != nil {
		return refused(err)
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	provider, err := s.provider(ctx)
	if err != nil {
		return refused(err)
	}
	x := flow{
		Challenge: gitlab.NewChallenge(), Next: "/account", Until: time.Now().Add(flowLife),
		User: u.ID, Session: store.SessionID(c.who.Session),
	}
	if err := s.sendAlong(c, x); err != nil {
		return err
	}
	return s.accountPage(c, http.StatusOK, view.AccountModel{ContinueURL: provider.URL(x.Challenge)})
}

// sureOf asks a person who is signed in for their password again: a browser that was left open is not enough for what
// opens an account to others.
func (s *Server) sureOf(c *request, password string) (u store.User, err error) {
	if !s.logins.allow(c.who.Name, c.RealIP()) {
		return u, runs.Invalidf("", "Too many tries. Wait a minute, then try again.")
	}
	err = s.st.View(func(tx *store.Tx) error {
		u, err = tx.User(c.who.User)
		return err
	})
	switch {
	case err != nil:
		return u, err
	case u.PasswordHash == "":
		return u, runs.Conflictf("Your account has no password, so GitLab is its only way in.")
	case len(password) > maxPassword:
		return u, errNotYourPassword
	}
	ok, err := s.checkPassword(c.Request().Context(), u.PasswordHash, password)
	if err == nil && !ok {
		err = errNotYourPassword
	}
	return u, err
}

var errNotYourPassword = runs.Invalidf("", "This is not your present password.")

// finishConnect is where GitLab sends the browser of somebody who connects back to.
func (s *Server) finishConnect(c *request, x flow) error {
	err := errNotYourFlow
	var name string
	if c.who.User == x.User && c.who.Session != "" && store.SessionID(c.who.Session) == x.Session {
		name, err = s.connect(c, x)
	}
	if err == nil {
		return s.flashTo(c, "/account", view.KindGood, "Connected. You can sign in with GitLab, as "+name+", and with your password.")
	}
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		return err
	}
	s.log.Warn("an account in GitLab was not connected", "user", c.who.Name, "address", c.RealIP(), "reason", messageOf(err, status))
	if c.who.Session == "" {
		return s.loginPage(c, status, view.LoginModel{Next: x.Next, Error: messageOf(err, status)})
	}
	return s.accountPage(c, status, view.AccountModel{ConnectError: messageOf(err, status)})
}

// connect binds the number of the account in GitLab that came back to the one who is signed in.
func (s *Server) connect(c *request, x flow) (name string, err error) {
	switch c.QueryParam("error") {
	case "":
	case "access_denied":
		return "", runs.Forbiddenf("You did not let GitLab tell Groundcrew who you are, so nothing was connected.")
	default:
		return "", deniedBy(c.QueryParam("error"))
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	provider, err := s.provider(ctx)
	if err != nil {
		return "", err
	}
	who, err := provider.Identify(ctx, c.QueryParam("code"), x.Challenge)
	if err != nil {
		return "", err
	}
	active, err := s.eng.UserActive(ctx, who.ID)
	if err != nil {
		return "", err
	}
	acts := s.st.Acting(c.who.Name, store.Origin{Address: c.RealIP(), Via: c.who.via()}) // the route is public, so nobody else says it
	defer acts.End()
	err = s.st.Update(func(tx *store.Tx) error { return bind(tx, x.User, who, active) })
	return who.Name, err
}

func bind(tx *store.Tx, user string, who gitlab.Identity, active bool) error {
	how, err := tx.SignIn()
	if err != nil {
		return err
	}
	if err := mayComeIn(how, who, active); err != nil {
		return err
	}
	old, err := tx.User(user)
	if err != nil {
		return err
	}
	other, taken, err := tx.UserByGitLab(who.Issuer, who.ID)
	switch {
	case err != nil:
		return err
	case taken && other.ID != user:
		return runs.Conflictf("%s in GitLab signs in here as “%s” already, and an account in GitLab opens one account here. If you want it for this one, have an admin disconnect it under Settings › Users › %s, then connect again.", who.Username, other.Name, other.Name)
	case old.GitLabID != 0:
		return runs.Conflictf("Your account is connected already. Disconnect it first.")
	}
	u := old
	u.GitLabURL, u.GitLabID, u.DisplayName = who.Issuer, who.ID, cut(who.Name, 200)
	return putIdentity(tx, "user.connect", old, u, u.Name, "with their password, after signing in to GitLab as "+cut(who.Username, 100))
}

// putIdentity stores a person whose identity in GitLab changed, and writes it down.
func putIdentity(tx *store.Tx, action string, old, u store.User, by, note string) error {
	if err := keepAnAdmin(tx, old, u); err != nil {
		return err
	}
	if _, err := tx.PutUser(u); err != nil {
		return err
	}
	changes, err := store.Changed(old, u)
	if err != nil {
		return err
	}
	return tx.Audit(store.AuditEntry{By: by, Action: action, Target: u.Name, Note: note, Changes: changes})
}

func withoutGitLab(u store.User) store.User {
	u.FormerGitLab = u.GitLabID
	u.GitLabID, u.GitLabURL, u.DisplayName = 0, "", ""
	return u
}

// postDisconnect lets a person take GitLab off their own account. The password proves that another way remains; every other
// browser is signed out.
func (s *Server) postDisconnect(c *request) error {
	u, err := s.sureOf(c, c.FormValue("current"))
	var token string
	if err == nil {
		err = s.st.Update(func(tx *store.Tx) error {
			how, err := tx.SignIn()
			if err != nil {
				return err
			}
			if u, err = tx.User(u.ID); err != nil {
				return err
			}
			switch {
			case u.GitLabID == 0:
				return runs.Conflictf("Your account is not connected to GitLab.")
			case how.PasswordOff:
				return runs.Conflictf("Sign-in by password is switched off, so GitLab is your only way in.")
			}
			if err := putIdentity(tx, "user.disconnect", u, withoutGitLab(u), u.Name, "with their password; all other sessions were ended"); err != nil {
				return err
			}
			token, err = s.onlySession(tx, c, withoutGitLab(u), "password")
			return err
		})
	}
	if status := statusOf(err); err != nil && status != http.StatusInternalServerError {
		return s.accountPage(c, status, view.AccountModel{ConnectError: messageOf(err, status)})
	}
	if err == nil {
		s.setSession(c, token)
	}
	return s.after(c, err, "/account", "Disconnected. You sign in with your password, and every other browser is signed out.")
}

// disconnect is an admin's way to take GitLab off somebody's account. Who had no other way in has none then, until an admin
// hands over a one-time link; the account in GitLab is free for another account here, or for a new one.
func (s *Server) disconnect(c *request, id string) (u store.User, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		old, err := tx.User(id)
		if err != nil {
			return err
		}
		if old.GitLabID == 0 {
			return runs.Conflictf("%s is not connected to GitLab.", old.Name)
		}
		if id == c.who.User && old.PasswordHash == "" {
			return runs.Conflictf("GitLab is your own only way in. Ask another admin.")
		}
		u = withoutGitLab(old)
		if err := putIdentity(tx, "user.disconnect", old, u, c.who.Name, "all sessions were ended"); err != nil {
			return err
		}
		return tx.EndSessionsOf(id)
	})
	return u, err
}

func (s *Server) postUserDisconnect(c *request) error {
	u, err := s.disconnect(c, c.Param("id"))
	text := u.Name + " is signed out everywhere and signs in by password."
	if u.PasswordHash == "" {
		text = u.Name + " is signed out everywhere and cannot sign in. A one-time link lets them choose a password."
	}
	return s.after(c, err, userPath(c.Param("id")), text)
}

func (s *Server) apiDisconnect(c *request) error {
	if _, err := s.disconnect(c, c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// mayComeIn says whom of those GitLab vouches for the settings let in.
func mayComeIn(how store.SignIn, who gitlab.Identity, active bool) error {
	switch {
	case !how.GitLab:
		return runs.NotFoundf("Sign in with GitLab is not switched on.")
	case !active:
		return runs.Forbiddenf("GitLab says that your account there is not active.")
	case len(how.Groups) > 0 && !slices.ContainsFunc(who.Groups, func(g string) bool { return inGroup(how.Groups, g) }):
		return runs.Forbiddenf("Only members of certain groups in GitLab may sign in here, and you are in none of them. Ask an admin.")
	default:
		return nil
	}
}
