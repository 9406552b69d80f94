package web

import (
	"net/mail"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// linkLife is how long a one-time set-up link of a person is valid.
const linkLife = 7 * 24 * time.Hour

// addPerson makes an account that cannot sign in yet, and the one-time link that its person sets a password with.
func (s *Server) addPerson(c *request, name string, role store.Role) (u store.User, link string, err error) {
	if !role.Valid() {
		return u, "", badRole(role)
	}
	err = s.st.Update(func(tx *store.Tx) error {
		if err := passwordsAllowed(tx); err != nil {
			return err
		}
		if u, err = tx.PutUser(store.User{Name: strings.TrimSpace(name), Role: role}); err != nil {
			return err
		}
		if link, err = s.inviteLink(tx, u); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: c.who.Name, Action: "user.add", Target: u.Name,
			Changes: []store.AuditChange{{Field: "role", After: string(role)}},
		})
	})
	return u, link, err
}

func badRole(role store.Role) error {
	return runs.Invalidf("role", "“%s” is no role. Use admin, writer or reader.", role)
}

// passwordsAllowed refuses what leads to a password that could not be used.
func passwordsAllowed(tx *store.Tx) error {
	how, err := tx.SignIn()
	if err == nil && how.PasswordOff {
		err = runs.Conflictf("Sign-in by password is switched off, so people come with their GitLab account and need no link.")
	}
	return err
}

func (s *Server) inviteLink(tx *store.Tx, u store.User) (string, error) {
	token, err := tx.Invite(u, tx.Now().Add(linkLife))
	return s.o.ExternalURL + "/welcome?token=" + token, err
}

// newLink makes a new one-time link for a person, who sets a new password with it; an older link dies.
func (s *Server) newLink(c *request, id string) (u store.User, link string, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		if u, err = tx.User(id); err != nil {
			return err
		}
		switch {
		case onlyGitLab(u):
			return runs.Conflictf("%s signs in with GitLab and has no password here.", u.Name)
		case !u.DisabledAt.IsZero():
			return runs.Conflictf("%s is disabled. Enable the account first.", u.Name)
		}
		if err := passwordsAllowed(tx); err != nil {
			return err
		}
		if link, err = s.inviteLink(tx, u); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "user.link", Target: u.Name})
	})
	return u, link, err
}

// changePerson edits an account and writes down what changed. The last admin stays one; a disabled person is signed out.
func (s *Server) changePerson(c *request, id, action string, edit func(tx *store.Tx, u *store.User) error) (u store.User, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		old, err := tx.User(id)
		if err != nil {
			return err
		}
		u = old
		if err := edit(tx, &u); err != nil {
			return err
		}
		if err := keepAnAdmin(tx, old, u); err != nil {
			return err
		}
		if u, err = tx.PutUser(u); err != nil {
			return err
		}
		if !u.DisabledAt.IsZero() {
			if err := tx.EndSessionsOf(u.ID); err != nil {
				return err
			}
		}
		changes, err := store.Changed(old, u)
		if err != nil || len(changes) == 0 {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: action, Target: u.Name, Changes: changes})
	})
	return u, err
}

func setRole(role store.Role) func(*store.Tx, *store.User) error {
	return func(_ *store.Tx, u *store.User) error {
		if !role.Valid() {
			return badRole(role)
		}
		u.Role = role
		return nil
	}
}

func setDisabled(off bool) func(*store.Tx, *store.User) error {
	return func(tx *store.Tx, u *store.User) error {
		switch {
		case !off:
			u.DisabledAt = time.Time{}
		case u.DisabledAt.IsZero():
			u.DisabledAt, u.InviteHash, u.InviteUntil = tx.Now(), "", time.Time{}
		}
		return nil
	}
}

// onlyGitLab reports whether GitLab is a person's only way in. Who was invited and has no password yet is nobody's there.
func onlyGitLab(u store.User) bool { return u.GitLabID != 0 && u.PasswordHash == "" }

// canAdmin reports whether a person can sign in and is an admin.
func canAdmin(u store.User, how store.SignIn) bool {
	if u.Role != store.Admin || !u.DisabledAt.IsZero() {
		return false
	}
	return u.GitLabID != 0 && how.GitLab || u.PasswordHash != "" && !how.PasswordOff
}

// keepAnAdmin refuses to take their rights from the last admin who can sign in: nobody could give them back.
func keepAnAdmin(tx *store.Tx, old, now store.User) error {
	how, err := tx.SignIn()
	if err != nil || !canAdmin(old, how) || canAdmin(now, how) {
		return err
	}
	users, err := tx.Users()
	if err != nil {
		return err
	}
	for _, o := range users {
		if o.ID != now.ID && canAdmin(o, how) {
			return nil
		}
	}
	return runs.Conflictf("%s is the last admin who can sign in. Make another person an admin first.", old.Name)
}

// endSessions signs a person out everywhere.
func (s *Server) endSessions(c *request, id string) (u store.User, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		if u, err = tx.User(id); err != nil {
			return err
		}
		if err := tx.EndSessionsOf(id); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "session.end_all", Target: u.Name})
	})
	return u, err
}

// endSession ends one session of a person.
func (s *Server) endSession(c *request, user, session string) error {
	return s.st.Update(func(tx *store.Tx) error {
		u, err := tx.User(user)
		if err != nil {
			return err
		}
		if _, err := tx.EndSessionByID(session, u.ID); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "session.end", Target: u.Name, Note: "session " + session})
	})
}

// changePassword sets a person's own new password after looking at the old one, signs every other browser out and gives
// this one a new session.
func (s *Server) changePassword(c *request, old, now string) error {
	if err := validPassword(now); err != nil {
		return err
	}
	if !s.logins.allow(c.who.Name, c.RealIP()) {
		return runs.Invalidf("old", "Too many tries. Wait a minute, then try again.")
	}
	var u store.User
	err := s.st.View(func(tx *store.Tx) (err error) {
		u, err = tx.User(c.who.User)
		return err
	})
	if err != nil {
		return err
	}
	if onlyGitLab(u) {
		return runs.Conflictf("You sign in with GitLab and have no password here. Change it in GitLab.")
	}
	if ok, err := s.checkPassword(c.Request().Context(), u.PasswordHash, old); err != nil || !ok {
		if err == nil {
			err = runs.Invalidf("old", "This is not your present password.")
		}
		return err
	}
	hash := hashPassword(now)
	var token string
	err = s.st.Update(func(tx *store.Tx) error {
		if u, err = tx.User(u.ID); err != nil {
			return err
		}
		u.PasswordHash = hash
		if err := tx.Audit(store.AuditEntry{By: u.Name, Action: "user.password", Target: u.Name, Note: "all other sessions were ended"}); err != nil {
			return err
		}
		token, err = s.onlySession(tx, c, u, "password")
		return err
	})
	if err == nil {
		s.setSession(c, token)
	}
	return err
}

// displayName is how a person is shown: the name in GitLab, where there is one that is no e-mail address.
func displayName(u store.User) string {
	if _, err := mail.ParseAddress(u.DisplayName); u.DisplayName == "" || err == nil && strings.Contains(u.DisplayName, "@") {
		return u.Name
	}
	return u.DisplayName
}
