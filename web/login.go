package web

import (
	"errors"
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// The session's cookie. With https its name binds it to this host: no other host of the domain can plant one.
const (
	sessionCookie       = "groundcrew_session"
	secureSessionCookie = "__Host-" + sessionCookie
)

func (s *Server) sessionCookie() string {
	if s.o.Secure {
		return secureSessionCookie
	}
	return sessionCookie
}

func (s *Server) getLogin(c *request) error {
	next := localPath(c.QueryParam("next"))
	if c.who.Role != "" {
		return c.Redirect(http.StatusSeeOther, next)
	}
	m := view.LoginModel{Next: next}
	var err error
	if m.Error, err = s.noUsersYet(); err != nil {
		return err
	}
	return s.loginPage(c, http.StatusOK, m)
}

// noUsersYet says what to do when nobody can sign in, "" when somebody can.
func (s *Server) noUsersYet() (string, error) {
	var users []store.User
	err := s.st.View(func(tx *store.Tx) (err error) {
		users, err = tx.Users()
		return err
	})
	if err != nil || len(users) > 0 {
		return "", err
	}
	return "There is no account yet. Open the set-up link that the server printed when it started.", nil
}

func (s *Server) loginPage(c *request, status int, m view.LoginModel) error {
	how, err := s.signInSettings()
	if err != nil {
		return err
	}
	m.GitLab, m.PasswordOff = how.GitLab, how.PasswordOff
	return render(c, status, view.LoginPage(s.doorPage("Sign in"), m))
}

// doorPage is the frame of a page for somebody who is not signed in.
func (s *Server) doorPage(title string) view.Page {
	return view.Page{Title: title, Now: time.Now().UTC(), Version: s.o.Version}
}

func (s *Server) postLogin(c *request) error {
	name, password := c.FormValue("username"), c.FormValue("password")
	m := view.LoginModel{Username: name, Next: localPath(c.FormValue("next"))}
	if len(name) > 200 || len(password) > maxPassword {
		m.Username, m.Error = "", "The user name or the password is wrong."
		return s.loginPage(c, http.StatusUnprocessableEntity, m)
	}
	if !s.logins.allow(name, c.RealIP()) {
		m.Error = "Too many tries. Wait a minute, then try again."
		c.Response().Header().Set("Retry-After", "60")
		return s.loginPage(c, http.StatusTooManyRequests, m)
	}
	how, err := s.signInSettings()
	if err != nil {
		return err
	}
	if how.PasswordOff {
		return runs.Forbiddenf("Sign-in by password is switched off. Sign in with GitLab.")
	}
	u, ok, err := s.signIn(c, name, password)
	if err != nil {
		return err
	}
	if !ok {
		s.log.Warn("sign-in refused", "user", u.Name, "address", c.RealIP()) // an unknown name may be a password typed in the wrong field
		if err := s.auditRefused(c, u); err != nil {
			return err
		}
		m.Error = "The user name or the password is wrong."
		return s.loginPage(c, http.StatusUnprocessableEntity, m)
	}
	if err := s.openSession(c, u, "password"); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, m.Next)
}

// auditRefused writes down that a known person's sign-in was refused. It costs the same for an unknown one, whose name is
// not kept: it may be a password typed into the wrong field.
func (s *Server) auditRefused(c *request, u store.User) error {
	return s.st.Update(func(tx *store.Tx) error {
		by := u.Name
		if by == "" {
			by = "nobody"
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "user.sign_in_refused", Target: u.Name, Address: c.RealIP()})
	})
}

// signIn checks a name and password. It does the same work whether the name exists or not.
func (s *Server) signIn(c *request, name, password string) (u store.User, ok bool, err error) {
	err = s.st.View(func(tx *store.Tx) (err error) {
		u, ok, err = tx.UserByName(name)
		return err
	})
	if err != nil {
		return u, false, err
	}
	phc := nobodysHash
	if ok && u.PasswordHash != "" {
		phc = u.PasswordHash
	}
	match, err := s.checkPassword(c.Request().Context(), phc, password)
	return u, ok && match && u.DisabledAt.IsZero(), err
}

// openSession signs a person's browser in.
func (s *Server) openSession(c *request, u store.User, via string) error {
	var token string
	err := s.st.Update(func(tx *store.Tx) (err error) {
		token, err = s.newSession(tx, c, u, via)
		return err
	})
	if err == nil {
		s.setSession(c, token)
	}
	return err
}

// newSession writes the rows of a sign-in.
func (s *Server) newSession(tx *store.Tx, c *request, u store.User, via string) (string, error) {
	token, err := s.addSession(tx, c, u, via)
	if err != nil {
		return "", err
	}
	return token, tx.Audit(store.AuditEntry{
		By: u.Name, Action: "user.sign_in", Target: u.Name, Note: via, Address: c.RealIP(), Via: "session " + store.SessionID(token),
	})
}

// onlySession gives a person who proved to be there a new session and ends all others. It is no sign-in of its own.
func (s *Server) onlySession(tx *store.Tx, c *request, u store.User, via string) (string, error) {
	if err := tx.EndSessionsOf(u.ID); err != nil {
		return "", err
	}
	return s.addSession(tx, c, u, via)
}

// addSession writes the row of a session. Its token is always a new one: a token that a browser brings along never
// becomes a session.
func (s *Server) addSession(tx *store.Tx, c *request, u store.User, via string) (string, error) {
	u.LastSeen = tx.Now()
	if _, err := tx.PutUser(u); err != nil {
		return "", err
	}
	set, err := tx.Settings()
	if err != nil {
		return "", err
	}
	agent := c.Request().UserAgent()
	return tx.AddSession(store.Session{
		User: u.ID, ExpiresAt: tx.Now().Add(set.Life()), Agent: cut(agent, 200), Address: c.RealIP(), Via: via,
	})
}

// setSession gives the browser its session. The cookie has no end of its own: the row says when the session is over.
func (s *Server) setSession(c *request, token string) {
	c.SetCookie(s.cookie(s.sessionCookie(), token, int(sessionCookieLife.Seconds())))
}

// sessionCookieLife is longer than any session, so that a longer setting holds for those who are signed in.
const sessionCookieLife = 400 * 24 * time.Hour

// cookie makes one of ours: for this host only, and not for scripts.
func (s *Server) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: s.o.Secure, SameSite: http.SameSiteLaxMode,
	}
}

func (s *Server) postLogout(c *request) error {
	err := s.st.Update(func(tx *store.Tx) error {
		if err := tx.EndSession(c.who.Session); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "user.sign_out", Target: c.who.Name})
	})
	if err != nil {
		return err
	}
	c.SetCookie(s.cookie(s.sessionCookie(), "", -1))
	return c.Redirect(http.StatusSeeOther, "/login")
}

// errSetupLink is answered to a set-up link that is not the present one.
var errSetupLink = runs.Forbiddenf("This set-up link is not valid. It works once; a restart of the server prints a new one while there is no account.")

func (s *Server) getSetup(c *request) error {
	m := view.SetupModel{Token: c.QueryParam("token"), Name: "admin"}
	if err := s.st.View(func(tx *store.Tx) error { return setupToken(tx, m.Token) }); err != nil {
		return err
	}
	return s.setupPage(c, http.StatusOK, m)
}

func setupToken(tx *store.Tx, token string) error {
	if !tx.IsSetupToken(token) {
		return errSetupLink
	}
	return nil
}

func (s *Server) setupPage(c *request, status int, m view.SetupModel) error {
	return render(c, status, view.SetupPage(s.doorPage("Set up Groundcrew"), m))
}

func (s *Server) postSetup(c *request) error {
	m := view.SetupModel{Token: c.FormValue("token"), Name: c.FormValue("name")}
	password := c.FormValue("password")
	if err := s.st.View(func(tx *store.Tx) error { return setupToken(tx, m.Token) }); err != nil {
		return err
	}
	err := validPassword(password)
	if err == nil && password != c.FormValue("again") {
		err = runs.Invalidf("again", "The two passwords differ.")
	}
	var token string
	if err == nil {
		token, err = s.firstAdmin(c, m.Token, store.User{Name: m.Name, Role: store.Admin, PasswordHash: hashPassword(password)})
	}
	if field, text, ok := fieldError(err); ok {
		m.Errors = map[string]string{field: text}
		return s.setupPage(c, http.StatusUnprocessableEntity, m)
	}
	if err != nil {
		return err
	}
	s.setSession(c, token)
	return c.Redirect(http.StatusSeeOther, "/")
}

// firstAdmin spends the set-up link, makes the person and signs the browser in, all or nothing.
func (s *Server) firstAdmin(c *request, setup string, u store.User) (token string, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		if err := setupToken(tx, setup); err != nil {
			return err
		}
		if u, err = tx.PutUser(u); err != nil {
			return err
		}
		if err := tx.UseSetupToken(); err != nil {
			return err
		}
		if err := tx.Audit(store.AuditEntry{By: u.Name, Action: "user.add", Target: u.Name, Note: "the first admin, by the set-up link", Address: c.RealIP()}); err != nil {
			return err
		}
		token, err = s.newSession(tx, c, u, "link")
		return err
	})
	return token, err
}

// fieldError takes apart an error about a field of a form.
func fieldError(err error) (field, text string, ok bool) {
	var e *runs.Error
	if errors.As(err, &e) && (e.Field != "" || errors.Is(err, runs.ErrInvalid)) {
		return e.Field, e.Message, true
	}
	return "", "", false
}

// SetupLink makes the one-time link of the first admin while there is no account. ok is false when there is one.
func (s *Server) SetupLink() (link string, ok bool, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		users, err := tx.Users()
		if err != nil || len(users) > 0 {
			return err
		}
		token, err := tx.NewSetupToken()
		link, ok = s.o.ExternalURL+"/setup?token="+token, true
		return err
	})
	return link, ok, err
}

// EnsureAdmin makes sure that the user "admin" exists, is an admin and has this password
// (GROUNDCREW_ADMIN_PASSWORD). It ends a set-up link.
func (s *Server) EnsureAdmin(password string) error {
	if err := validPassword(password); err != nil {
		return err
	}
	return s.st.Update(func(tx *store.Tx) error {
		u, known, err := tx.UserByName("admin")
		if err != nil || known && u.Role == store.Admin && passwordMatches(u.PasswordHash, password) {
			return err
		}
		u.Name, u.Role, u.PasswordHash = "admin", store.Admin, hashPassword(password)
		if u, err = tx.PutUser(u); err != nil {
			return err
		}
		if err := errors.Join(tx.EndSessionsOf(u.ID), tx.UseSetupToken()); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{Action: "user.password", Target: u.Name, Note: "set from the server's configuration"})
	})
}
