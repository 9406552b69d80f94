package web

import (
	"groundcrew/runs"
	"groundcrew/store"
)

// invited finds whose one-time link a token is: one an admin made, or one of the server's command line.
func (s *Server) invited(token string) (u store.User, rescue bool, err error) {
	var ok bool
	err = s.st.View(func(tx *store.Tx) error {
		u, ok, err = tx.UserByInvite(token)
		return err
	})
	if err != nil || ok {
		return u, false, err
	}
	r, ok, err := s.st.Rescue(token)
	if err == nil && !ok {
		err = errWelcome
	}
	return store.User{Name: r.Name}, true, err
}

// rescued makes the holder of the command line's link an admin with a password, and lets passwords be used again.
func (s *Server) rescued(tx *store.Tx, name, hash string) (store.User, error) {
	u, known, err := tx.UserByName(name)
	if err != nil {
		return u, err
	}
	if known && onlyGitLab(u) {
		return u, runs.Conflictf("%s signs in with GitLab. Make the link again with another name: groundcrew admin --name …", u.Name)
	}
	if !known {
		u.Name = name
	}
	if u, err = setRescued(tx, u, hash); err != nil {
		return u, err
	}
	how, err := tx.SignIn()
	if err != nil {
		return u, err
	}
	note := "with a link made on the server's command line"
	if how.PasswordOff {
		how.PasswordOff = false
		note += "; passwords are allowed again"
		if err := tx.PutSignIn(how); err != nil {
			return u, err
		}
	}
	return u, tx.Audit(store.AuditEntry{Action: "user.rescue", Target: u.Name, Note: note})
}

func setRescued(tx *store.Tx, u store.User, hash string) (store.User, error) {
	u.Role, u.PasswordHash, u.InviteHash = store.Admin, hash, ""
	if err := setDisabled(false)(tx, &u); err != nil {
		return u, err
	}
	return tx.PutUser(u)
}
