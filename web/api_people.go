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
	LastUsed  *time.Time `json:"last_used_at"` // to the minute
	Refused   bool       `json:"refused"`      // the account of who made it is disabled
	Key       string     `json:"key,omitempty"`
}

func keyOut(k store.APIKey, text string) keyJSON {
	j := keyJSON{ID: k.ID, Name: k.Name, Role: k.Role, CreatedAt: k.CreatedAt.UTC(), CreatedBy: k.CreatedBy, LastUsed: at(k.LastUsed), Key: text}
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
			_, live, err := tx.KeyMaker(k)
			if err != nil {
				return err
			}
			out := keyOut(k, "")
			out.Refused = !live
			items = append(items, out)
		}
		return err
	})
	if err != nil {
		return err
	}
	return pagedByID(c, items, func(k keyJSON) string { return k.ID })
}

func (s *Server) apiCreateKey(c *request) error {
	var in keyInput
	if err := decode(c, &in); err != nil {
		return err
	}
	k, text, err := s.addKey(c, in)
	if err != nil {
		return err
	}
	return created(c, "/api/v1/api-keys/"+k.ID, keyOut(k, text))
}

func (s *Server) apiDeleteKey(c *request) error {
	if err := s.deleteKey(c, c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A userJSON is a person with an account. Link is a one-time link, answered once when it is made.
type userJSON struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	DisplayName string     `json:"display_name"`
	Role        store.Role `json:"role"`
	GitLabID    *int64     `json:"gitlab_id"` // of a person who signs in with GitLab
	Password    bool       `json:"password"`  // the person has one
	Disabled    bool       `json:"disabled"`
	CreatedAt   time.Time  `json:"created_at"`
	LastSeen    *time.Time `json:"last_seen_at"`
	Link        string     `json:"link,omitempty"`
}

func userOut(u store.User) userJSON {
	j := userJSON{
		ID: u.ID, Name: u.Name, DisplayName: displayName(u), Role: u.Role, Disabled: !u.DisabledAt.IsZero(), Password: u.PasswordHash != "",
		CreatedAt: u.CreatedAt.UTC(), LastSeen: at(u.LastSeen),
	}
	if u.GitLabID != 0 {
		j.GitLabID = &u.GitLabID
	}
	return j
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
	return pagedByID(c, items, func(u userJSON) string { return u.ID })
}

// A newUserInput adds a person.
type newUserInput struct {
	Name string     `json:"name"`
	Role store.Role `json:"role"`
}

func (s *Server) apiCreateUser(c *request) error {
	var in newUserInput
	if err := decode(c, &in); err != nil {
		return err
	}
	u, link, err := s.addPerson(c, in.Name, in.Role)
	if err != nil {
		return err
	}
	j := userOut(u)
	j.Link = link
	return created(c, "/api/v1/users/"+u.ID, j)
}

// A userInput changes a person's account. Fields that are not given keep what they are.
type userInput struct {
	Role     *store.Role `json:"role"`
	Disabled *bool       `json:"disabled"`
}

func (s *Server) apiPatchUser(c *request) error {
	var in userInput
	if err := decode(c, &in); err != nil {
		return err
	}
	u, err := s.changePerson(c, c.Param("id"), "user.change", func(tx *store.Tx, u *store.User) error {
		if in.Role != nil {
			if err := setRole(*in.Role)(tx, u); err != nil {
				return err
			}
		}
		if in.Disabled == nil {
			return nil
		}
		if *in.Disabled && u.ID == c.who.User {
			return runs.Conflictf("You cannot disable yourself. Ask another admin.")
		}
		return setDisabled(*in.Disabled)(tx, u)
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, userOut(u))
}

func (s *Server) apiUserLink(c *request) error {
	u, link, err := s.newLink(c, c.Param("id"))
	if err != nil {
		return err
	}
	j := userOut(u)
	j.Link = link
	return c.JSON(http.StatusOK, j)
}

// A sessionJSON is a browser that is signed in. Its id is no secret.
type sessionJSON struct {
	ID        string    `json:"id"`
	Agent     string    `json:"agent"`
	Address   string    `json:"address"` // of the last use
	Via       string    `json:"via"`     // password, gitlab or link
	CreatedAt time.Time `json:"created_at"`
	LastSeen  time.Time `json:"last_seen_at"`
}

func (s *Server) apiSessions(c *request) error {
	var items []sessionJSON
	err := s.st.View(func(tx *store.Tx) error {
		u, err := tx.User(c.Param("id"))
		if err != nil {
			return err
		}
		list, err := tx.Sessions(u.ID)
		for _, x := range list {
			items = append(items, sessionJSON{x.ID, x.Agent, x.Address, x.Via, x.CreatedAt.UTC(), x.Seen().UTC()})
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, "")
}

func (s *Server) apiEndSessions(c *request) error {
	if _, err := s.endSessions(c, c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) apiEndSession(c *request) error {
	if err := s.endSession(c, c.Param("id"), c.Param("session")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
