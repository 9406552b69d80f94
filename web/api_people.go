package web

import (
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A keyJSON is an API key; Key is its text, answered once when it is made.
type keyJSON struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      store.Role `json:"role"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	ExpiresAt *time.Time `json:"expires_at"`
	Key       string     `json:"key,omitempty"`
}

func keyOut(k store.APIKey, text string) keyJSON {
	j := keyJSON{ID: k.ID, Name: k.Name, Role: k.Role, CreatedAt: k.CreatedAt.UTC(), CreatedBy: k.CreatedBy, Key: text}
	if k.ExpiresAt != nil {
		j.ExpiresAt = at(*k.ExpiresAt)
	}
	return j
}

// A keyInput makes an API key.
type keyInput struct {
	Name      string     `json:"name"`
	Role      store.Role `json:"role"`
	ExpiresAt *time.Time `json:"expires_at"`
}

func (s *Server) apiKeys(c *request) error {
	var items []keyJSON
	err := s.st.View(func(tx *store.Tx) error {
		keys, err := tx.APIKeys()
		for _, k := range keys {
			items = append(items, keyOut(k, ""))
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, "")
}

func (s *Server) apiCreateKey(c *request) error {
	var in keyInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var k store.APIKey
	var text string
	err := s.st.Update(func(tx *store.Tx) (err error) {
		k, text, err = tx.AddAPIKey(store.APIKey{Name: in.Name, Role: in.Role, ExpiresAt: in.ExpiresAt, CreatedBy: c.who.Name})
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "api_key.create", Target: k.Name, Note: "role " + string(k.Role)})
	})
	if err != nil {
		return err
	}
	return created(c, "/api/v1/api-keys/"+k.ID, keyOut(k, text))
}

func (s *Server) apiDeleteKey(c *request) error {
	err := s.st.Update(func(tx *store.Tx) error {
		if err := tx.DeleteAPIKey(c.Param("id")); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "api_key.delete", Target: c.Param("id")})
	})
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A userJSON is a person with an account.
type userJSON struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      store.Role `json:"role"`
	CreatedAt time.Time  `json:"created_at"`
	LastSeen  *time.Time `json:"last_seen_at"`
}

func userOut(u store.User) userJSON {
	return userJSON{u.ID, u.Name, u.Role, u.CreatedAt.UTC(), at(u.LastSeen)}
}

func (s *Server) apiUsers(c *request) error {
	var items []userJSON
	err := s.st.View(func(tx *store.Tx) error {
		users, err := tx.Users()
		for _, u := range users {
			items = append(items, userOut(u))
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, "")
}

// A userInput changes a person's role.
type userInput struct {
	Role *store.Role `json:"role"`
}

func (s *Server) apiPatchUser(c *request) error {
	var in userInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var u store.User
	err := s.st.Update(func(tx *store.Tx) (err error) {
		if u, err = tx.User(c.Param("id")); err != nil || in.Role == nil {
			return err
		}
		if !in.Role.Valid() {
			return runs.Invalidf("role", "“%s” is no role. Use admin, writer or reader.", *in.Role)
		}
		if err := keepAnAdmin(tx, u, *in.Role); err != nil {
			return err
		}
		u.Role = *in.Role
		if u, err = tx.PutUser(u); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "user.role", Target: u.Name, Note: string(u.Role)})
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, userOut(u))
}

// keepAnAdmin refuses to take the role from the last admin: nobody could give it back.
func keepAnAdmin(tx *store.Tx, u store.User, to store.Role) error {
	if u.Role != store.Admin || to == store.Admin {
		return nil
	}
	users, err := tx.Users()
	if err != nil {
		return err
	}
	for _, o := range users {
		if o.ID != u.ID && o.Role == store.Admin {
			return nil
		}
	}
	return runs.Conflictf("%s is the last admin. Make another person an admin first.", u.Name)
}
