package web

import (
	"net/http"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

func (s *Server) getKeys(c *request) error {
	return s.keysPage(c, http.StatusOK, view.KeysModel{Role: string(store.Reader)})
}

func (s *Server) keysPage(c *request, status int, m view.KeysModel) error {
	p, err := s.page(c, "API keys", view.NavSettings, view.Crumb{Text: "Settings", URL: "/settings"}, view.Crumb{Text: "API keys"})
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		keys, err := tx.APIKeys()
		for _, k := range keys {
			row := view.KeyRow{ID: k.ID, Name: k.Name, Role: string(k.Role), CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt, LastUsed: k.LastUsed}
			if k.ExpiresAt != nil {
				row.Expires, row.Expired = *k.ExpiresAt, !tx.Now().Before(*k.ExpiresAt)
			}
			_, live, err := tx.KeyMaker(k)
			if err != nil {
				return err
			}
			row.MakerDisabled = !live
			m.Rows = append(m.Rows, row)
		}
		return err
	})
	if err != nil {
		return err
	}
	return render(c, status, view.KeysPage(p, m))
}

func (s *Server) postKey(c *request) error {
	m := view.KeysModel{Name: c.FormValue("name"), Role: c.FormValue("role"), Expires: strings.TrimSpace(c.FormValue("expires"))}
	in := keyInput{Name: m.Name, Role: store.Role(m.Role)}
	var err error
	if m.Expires != "" {
		var day time.Time
		if day, err = time.Parse(time.DateOnly, m.Expires); err != nil {
			err = runs.Invalidf("expires_at", "“%s” is no day. Write it like 2027-01-31.", m.Expires)
		}
		in.ExpiresAt = &day
	}
	var k store.APIKey
	var text string
	if err == nil {
		k, text, err = s.addKey(c, in)
	}
	if field, message, ok := fieldError(err); ok {
		m.Errors = map[string]string{field: message}
		return s.keysPage(c, http.StatusUnprocessableEntity, m)
	}
	if err != nil {
		return err
	}
	return s.keysPage(c, http.StatusOK, view.KeysModel{Role: string(store.Reader), Key: text, KeyName: k.Name})
}

func (s *Server) postDeleteKey(c *request) error {
	return s.after(c, s.deleteKey(c, c.Param("id")), "/settings/keys", "The key is deleted. What uses it is refused from now on.")
}

// addKey makes a key; its text is returned once and never stored.
func (s *Server) addKey(c *request, in keyInput) (k store.APIKey, text string, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		k, text, err = tx.AddAPIKey(store.APIKey{Name: in.Name, Role: in.Role, ExpiresAt: in.ExpiresAt, CreatedBy: c.who.Name, Owner: c.who.Person.User})
		if err != nil {
			return err
		}
		return auditKey(tx, c, "api_key.create", nil, k)
	})
	return k, text, err
}

func (s *Server) deleteKey(c *request, id string) error {
	return s.st.Update(func(tx *store.Tx) error {
		k, err := tx.DeleteAPIKey(id)
		if err != nil {
			return err
		}
		k.LastUsed = time.Time{}
		return auditKey(tx, c, "api_key.delete", k, nil)
	})
}

func auditKey(tx *store.Tx, c *request, action string, before, after any) error {
	changes, err := store.Changed(before, after)
	if err != nil {
		return err
	}
	name := ""
	for _, v := range []any{before, after} {
		if k, ok := v.(store.APIKey); ok {
			name = k.Name
		}
	}
	return tx.Audit(store.AuditEntry{By: c.who.Name, Action: action, Target: name, Changes: changes})
}
