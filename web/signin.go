package web

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// A signInJSON is how people sign in; the application's secret is never answered.
type signInJSON struct {
	GitLab      bool       `json:"gitlab"`
	ClientID    string     `json:"client_id"`
	HasSecret   bool       `json:"has_secret"`
	Groups      []string   `json:"groups"`
	Role        store.Role `json:"default_role"`
	PasswordOff bool       `json:"password_off"`
	RedirectURL string     `json:"redirect_url"` // to register in GitLab
}

// A signInInput changes how people sign in. Fields that are not given keep what they are.
type signInInput struct {
	GitLab      *bool        `json:"gitlab"`
	ClientID    *string      `json:"client_id"`
	Secret      *runs.Secret `json:"client_secret"`
	Groups      *[]string    `json:"groups"`
	Role        *store.Role  `json:"default_role"`
	PasswordOff *bool        `json:"password_off"`
}

func (s *Server) signInOut(how store.SignIn) signInJSON {
	return signInJSON{how.GitLab, how.ClientID, how.Secret != "", orEmpty(how.Groups), how.DefaultRole(), how.PasswordOff, s.redirectURL()}
}

func (in signInInput) apply(how *store.SignIn) error {
	give(&how.GitLab, in.GitLab)
	give(&how.Secret, in.Secret)
	give(&how.PasswordOff, in.PasswordOff)
	if in.ClientID != nil {
		how.ClientID = strings.TrimSpace(*in.ClientID)
	}
	if in.Groups != nil {
		how.Groups = nil
		for _, g := range *in.Groups {
			if g = strings.Trim(strings.TrimSpace(g), "/"); g != "" && !slices.Contains(how.Groups, g) {
				how.Groups = append(how.Groups, g)
			}
		}
	}
	give(&how.Role, in.Role)
	switch {
	case how.Role != "" && !how.Role.Valid():
		return runs.Invalidf("default_role", "“%s” is no role. Use admin, writer or reader.", how.Role)
	case how.GitLab && how.ClientID == "":
		return runs.Invalidf("client_id", "Enter the application's id from GitLab.")
	case how.GitLab && how.Secret == "":
		return runs.Invalidf("client_secret", "Enter the application's secret from GitLab.")
	case how.PasswordOff && !how.GitLab:
		return runs.Invalidf("password_off", "Passwords can be switched off only while Sign in with GitLab is on.")
	}
	return nil
}

// changeSignIn checks new settings with GitLab and keeps them only when somebody can still administer this server.
func (s *Server) changeSignIn(c *request, in signInInput) (how store.SignIn, err error) {
	if how, err = s.signInSettings(); err != nil {
		return how, err
	}
	if err := in.apply(&how); err != nil {
		return how, err
	}
	if how.GitLab {
		ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
		defer cancel()
		if _, err := s.eng.SignIn(ctx, how, s.redirectURL()); err != nil {
			return how, err
		}
	}
	err = s.st.Update(func(tx *store.Tx) error {
		old, err := tx.SignIn()
		if err != nil {
			return err
		}
		if err := someAdmin(tx, old, how); err != nil {
			return err
		}
		if err := tx.PutSignIn(how); err != nil {
			return err
		}
		changes, err := store.Changed(old, how)
		if err != nil {
			return err
		}
		if old.Secret != how.Secret {
			changes = append(changes, store.AuditChange{Field: "client_secret", Before: tx.Digest("client_secret", old.Secret), After: tx.Digest("client_secret", how.Secret)})
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "settings.sign_in", Changes: changes})
	})
	return how, err
}

// someAdmin refuses a change after which no admin could sign in, when one could before.
func someAdmin(tx *store.Tx, old, now store.SignIn) error {
	users, err := tx.Users()
	if err != nil {
		return err
	}
	can := func(how store.SignIn) bool {
		return slices.ContainsFunc(users, func(u store.User) bool { return canAdmin(u, how) })
	}
	switch {
	case can(now) || !now.PasswordOff && !can(old):
		return nil
	case now.PasswordOff:
		return runs.Invalidf("password_off", "Nobody who signs in with GitLab is an admin yet. Sign in with GitLab once, and have your account there made an admin under Users; then passwords can go.")
	default:
		return runs.Invalidf("gitlab", "Every admin signs in with GitLab. Give an admin a password first.")
	}
}

func (s *Server) apiSignIn(c *request) error {
	how, err := s.signInSettings()
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.signInOut(how))
}

func (s *Server) apiPatchSignIn(c *request) error {
	var in signInInput
	if err := decode(c, &in); err != nil {
		return err
	}
	how, err := s.changeSignIn(c, in)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.signInOut(how))
}

func (s *Server) getSignIn(c *request) error {
	how, err := s.signInSettings()
	if err != nil {
		return err
	}
	return s.signInPage(c, http.StatusOK, view.SignInModel{
		GitLab: how.GitLab, PasswordOff: how.PasswordOff, ClientID: how.ClientID, HasSecret: how.Secret != "",
		Groups: strings.Join(how.Groups, "\n"), Role: string(how.DefaultRole()),
	})
}

func (s *Server) signInPage(c *request, status int, m view.SignInModel) error {
	p, err := s.page(c, "Sign-in", view.NavSettings, view.Crumb{Text: "Settings", URL: "/settings"}, view.Crumb{Text: "Sign-in"})
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		set, err := tx.Settings()
		if err != nil {
			return err
		}
		if m.Idle == "" {
			m.Idle, m.Life = strconv.Itoa(int(set.Idle().Hours())), strconv.Itoa(int(set.Life().Hours()/24))
		}
		in, _, err := tx.Integration()
		if m.Linked = in.Linked; m.Linked {
			m.AppsURL = in.BrowserURL() + "/admin/applications"
		}
		return err
	})
	if err != nil {
		return err
	}
	m.RedirectURL = s.redirectURL()
	return render(c, status, view.SignInPage(p, m))
}

func (s *Server) postSignIn(c *request) error {
	m := view.SignInModel{
		GitLab: c.FormValue("gitlab") != "", PasswordOff: c.FormValue("password_off") != "", ClientID: c.FormValue("client_id"),
		Groups: c.FormValue("groups"), Role: c.FormValue("default_role"),
	}
	role, groups := store.Role(m.Role), strings.FieldsFunc(m.Groups, func(r rune) bool { return r == '\n' || r == ',' || r == '\r' })
	in := signInInput{GitLab: &m.GitLab, ClientID: &m.ClientID, Groups: &groups, Role: &role, PasswordOff: &m.PasswordOff}
	if text := strings.TrimSpace(c.FormValue("client_secret")); text != "" {
		secret := runs.Secret(text)
		in.Secret = &secret
	}
	_, err := s.changeSignIn(c, in)
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.signInPage(c, statusOf(err), m)
	}
	return s.after(c, err, "/settings/sign-in", "Saved. It holds from the next sign-in on.")
}

// postSessions changes how long sign-ins last.
func (s *Server) postSessions(c *request) error {
	m := view.SignInModel{Idle: strings.TrimSpace(c.FormValue("session_idle_hours")), Life: strings.TrimSpace(c.FormValue("session_life_days"))}
	idle, err1 := strconv.Atoi(m.Idle)
	life, err2 := strconv.Atoi(m.Life)
	var err error
	switch {
	case err1 != nil:
		err = runs.Invalidf("session_idle_hours", "This is no number.")
	case err2 != nil:
		err = runs.Invalidf("session_life_days", "This is no number.")
	default:
		_, err = s.changeSettings(c, settingsInput{SessionIdle: &idle, SessionLife: &life})
	}
	if field, text, ok := fieldError(err); ok {
		how, err := s.signInSettings()
		if err != nil {
			return err
		}
		m.Errors = map[string]string{field: text}
		m.GitLab, m.PasswordOff, m.ClientID, m.HasSecret = how.GitLab, how.PasswordOff, how.ClientID, how.Secret != ""
		m.Groups, m.Role = strings.Join(how.Groups, "\n"), string(how.DefaultRole())
		return s.signInPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/settings/sign-in", "Saved. It holds at once, also for those who are signed in.")
}
