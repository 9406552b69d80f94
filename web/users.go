package web

import (
	"net/http"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

func (s *Server) getUsers(c *request) error {
	return s.usersPage(c, http.StatusOK, view.UsersModel{Role: string(store.Writer)})
}

func (s *Server) usersPage(c *request, status int, m view.UsersModel) error {
	p, err := s.page(c, "Users", view.NavSettings, view.Crumb{Text: "Settings", URL: "/settings"}, view.Crumb{Text: "Users"})
	if err != nil {
		return err
	}
	m.CanAdmin = c.who.has(store.Admin)
	err = s.st.View(func(tx *store.Tx) error {
		how, err := tx.SignIn()
		if err != nil {
			return err
		}
		m.PasswordOff = how.PasswordOff
		return fillUsers(tx, c, &m)
	})
	if err != nil {
		return err
	}
	return render(c, status, view.UsersPage(p, m))
}

// fillUsers chooses the people of one page, oldest account first.
func fillUsers(tx *store.Tx, c *request, m *view.UsersModel) error {
	users, err := tx.Users()
	if err != nil {
		return err
	}
	m.Q, m.Any = c.QueryParam("q"), len(users) > 0
	cursor, next, total := c.QueryParam("cursor"), "", 0
	for _, u := range users {
		if !userMatches(u, m.Q) {
			continue
		}
		total++
		switch {
		case u.ID <= cursor:
		case len(m.Rows) < pageRows:
			m.Rows = append(m.Rows, userRow(u, tx))
		default:
			next = m.Rows[pageRows-1].ID
		}
	}
	m.Pager = pager(c, len(m.Rows), next)
	m.Pager.Total = total
	return nil
}

// userMatches searches what the list shows of a person.
func userMatches(u store.User, q string) bool {
	text := strings.ToLower(u.Name + "\n" + displayName(u) + "\n" + string(u.Role))
	if !u.DisabledAt.IsZero() {
		text += "\ndisabled"
	}
	return strings.Contains(text, strings.ToLower(strings.TrimSpace(q)))
}

func userRow(u store.User, tx *store.Tx) view.UserRow {
	r := view.UserRow{
		ID: u.ID, Name: u.Name, Display: displayName(u), Role: string(u.Role), CreatedAt: u.CreatedAt, LastSeen: u.LastSeen,
		Disabled: !u.DisabledAt.IsZero(), GitLab: u.GitLabID != 0, Password: u.PasswordHash != "",
	}
	if u.InviteHash != "" && tx.Now().Before(u.InviteUntil) {
		r.InvitedUntil = u.InviteUntil
	}
	return r
}

func (s *Server) postUser(c *request) error {
	m := view.UsersModel{Name: c.FormValue("name"), Role: c.FormValue("role")}
	u, link, err := s.addPerson(c, m.Name, store.Role(m.Role))
	if field, text, ok := fieldError(err); ok {
		m.Errors = map[string]string{field: text}
		return s.usersPage(c, http.StatusUnprocessableEntity, m)
	}
	if err != nil {
		return err
	}
	return s.userPage(c, u.ID, view.UserModel{Link: link})
}

func (s *Server) getUser(c *request) error { return s.userPage(c, c.Param("id"), view.UserModel{}) }

func (s *Server) userPage(c *request, id string, m view.UserModel) error {
	err := s.st.View(func(tx *store.Tx) error {
		u, err := tx.User(id)
		if err != nil {
			return err
		}
		m.Row = userRow(u, tx)
		m.Sessions, err = sessionRows(tx, u.ID, c.who.Session)
		return err
	})
	if err != nil {
		return err
	}
	m.Self = id == c.who.User
	p, err := s.page(c, "User "+m.Row.Name, view.NavSettings, view.Crumb{Text: "Settings", URL: "/settings"}, view.Crumb{Text: "Users", URL: "/settings/users"}, view.Crumb{Text: m.Row.Name})
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, view.UserPage(p, m))
}

func sessionRows(tx *store.Tx, user, own string) ([]view.SessionRow, error) {
	set, err := tx.Settings()
	if err != nil {
		return nil, err
	}
	list, err := tx.Sessions(user)
	var out []view.SessionRow
	for _, x := range list {
		ends := x.CreatedAt.Add(set.Life())
		if x.ExpiresAt.Before(ends) {
			ends = x.ExpiresAt
		}
		out = append(out, view.SessionRow{
			ID: x.ID, Agent: x.Agent, Address: x.Address, Via: x.Via, Since: x.CreatedAt, LastSeen: x.Seen(), Ends: ends,
			Own: own != "" && x.ID == store.SessionID(own),
		})
	}
	return out, err
}

func userPath(id string) string { return "/settings/users/" + id }

func (s *Server) postUserRole(c *request) error {
	u, err := s.changePerson(c, c.Param("id"), "user.role", setRole(store.Role(c.FormValue("role"))))
	return s.after(c, err, userPath(u.ID), u.Name+" has the role "+string(u.Role)+" now.")
}

func (s *Server) postUserDisable(c *request) error {
	if c.Param("id") == c.who.User {
		return runs.Conflictf("You cannot disable yourself. Ask another admin.")
	}
	u, err := s.changePerson(c, c.Param("id"), "user.disable", setDisabled(true))
	return s.after(c, err, userPath(u.ID), u.Name+" is disabled and signed out everywhere. The API keys they made are refused.")
}

func (s *Server) postUserEnable(c *request) error {
	u, err := s.changePerson(c, c.Param("id"), "user.enable", setDisabled(false))
	return s.after(c, err, userPath(u.ID), u.Name+" may sign in again.")
}

func (s *Server) postUserLink(c *request) error {
	u, link, err := s.newLink(c, c.Param("id"))
	if err != nil {
		return err
	}
	return s.userPage(c, u.ID, view.UserModel{Link: link})
}

func (s *Server) postUserSessionsEnd(c *request) error {
	u, err := s.endSessions(c, c.Param("id"))
	return s.after(c, err, userPath(u.ID), u.Name+" is signed out everywhere.")
}

func (s *Server) postUserSessionEnd(c *request) error {
	err := s.endSession(c, c.Param("id"), c.Param("session"))
	return s.after(c, err, userPath(c.Param("id")), "The session is ended.")
}

// getAccount shows a person's own sessions and password.
func (s *Server) getAccount(c *request) error {
	return s.accountPage(c, http.StatusOK, view.AccountModel{})
}

func (s *Server) accountPage(c *request, status int, m view.AccountModel) error {
	p, err := s.page(c, "Your account", "", view.Crumb{Text: "Your account"})
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		u, err := tx.User(c.who.User)
		if err != nil {
			return err
		}
		how, err := tx.SignIn()
		if err != nil {
			return err
		}
		m.Row, m.Password = userRow(u, tx), !onlyGitLab(u) && !how.PasswordOff
		m.Connect = how.GitLab && u.GitLabID == 0 && u.PasswordHash != ""
		m.Disconnect = u.GitLabID != 0 && u.PasswordHash != "" && !how.PasswordOff
		m.Sessions, err = sessionRows(tx, u.ID, c.who.Session)
		return err
	})
	if err != nil {
		return err
	}
	return render(c, status, view.AccountPage(p, m))
}

func (s *Server) postPassword(c *request) error {
	var err error
	if c.FormValue("password") != c.FormValue("again") {
		err = runs.Invalidf("again", "The two passwords differ.")
	} else {
		err = s.changePassword(c, c.FormValue("old"), c.FormValue("password"))
	}
	if field, text, ok := fieldError(err); ok {
		return s.accountPage(c, http.StatusUnprocessableEntity, view.AccountModel{Errors: map[string]string{field: text}})
	}
	return s.after(c, err, "/account", "The password is changed. Every other browser is signed out.")
}

func (s *Server) postOwnSessionEnd(c *request) error {
	err := s.endSession(c, c.who.User, c.Param("session"))
	return s.after(c, err, "/account", "The session is ended.")
}

// errWelcome is answered to a one-time link that is not valid, whoever it once was of.
var errWelcome = runs.Forbiddenf("This link is not valid. It works once and for seven days; ask an admin for a new one.")

func (s *Server) getWelcome(c *request) error {
	u, _, err := s.invited(c.QueryParam("token"))
	if err != nil {
		return err
	}
	return s.welcomePage(c, http.StatusOK, view.WelcomeModel{Token: c.QueryParam("token"), Name: u.Name})
}

func (s *Server) welcomePage(c *request, status int, m view.WelcomeModel) error {
	return render(c, status, view.WelcomePage(s.doorPage("Choose a password"), m))
}

// postWelcome spends a one-time link: the person has the password then, and this browser is the only one signed in.
func (s *Server) postWelcome(c *request) error {
	m := view.WelcomeModel{Token: c.FormValue("token")}
	u, rescue, err := s.invited(m.Token)
	if err != nil {
		return err
	}
	m.Name = u.Name
	password := c.FormValue("password")
	if err = validPassword(password); err == nil && password != c.FormValue("again") {
		err = runs.Invalidf("again", "The two passwords differ.")
	}
	if field, text, ok := fieldError(err); ok {
		m.Errors = map[string]string{field: text}
		return s.welcomePage(c, http.StatusUnprocessableEntity, m)
	}
	hash := hashPassword(password)
	if rescue {
		if err := s.st.SpendRescue(); err != nil {
			return err
		}
	}
	var token string
	err = s.st.Update(func(tx *store.Tx) error {
		if rescue {
			u, err = s.rescued(tx, m.Name, hash)
		} else {
			u, err = spendInvite(tx, c, m.Token, hash)
		}
		if err != nil {
			return err
		}
		if err := tx.EndSessionsOf(u.ID); err != nil {
			return err
		}
		token, err = s.newSession(tx, c, u, "link")
		return err
	})
	if err != nil {
		return err
	}
	s.setSession(c, token)
	return c.Redirect(http.StatusSeeOther, "/")
}

// spendInvite gives the person of a one-time link the password, once.
func spendInvite(tx *store.Tx, c *request, token, hash string) (store.User, error) {
	u, ok, err := tx.UserByInvite(token)
	if err == nil && !ok {
		err = errWelcome
	}
	if err == nil {
		err = passwordsAllowed(tx)
	}
	if err != nil {
		return u, err
	}
	u.PasswordHash, u.InviteHash = hash, ""
	return u, tx.Audit(store.AuditEntry{By: u.Name, Action: "user.password", Target: u.Name, Note: "set with a one-time link", Address: c.RealIP()})
}
