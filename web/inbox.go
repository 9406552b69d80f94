package web

import (
	"encoding/base64"
	"errors"
	"net/http"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// getInbox shows what needs a person in the background, with cause and mend.
func (s *Server) getInbox(c *request) error { return s.moving(c, s.inboxPage) }

func (s *Server) inboxPage(c *request) (p view.Page, out view.Moving, err error) {
	if p, err = s.page(c, "Inbox", view.NavInbox); err != nil {
		return p, out, err
	}
	m := view.InboxModel{Dismiss: c.who.may(store.Writer, "dismiss a notice")}
	all, err := s.needsOf(c)
	if err != nil {
		return p, out, err
	}
	dismiss, err := s.dismissals(c, all.notices)
	if err != nil {
		return p, out, err
	}
	for i, n := range all.notices {
		v := view.Notice{
			Key: n.Key, Kind: n.Kind, Text: n.Text, Cause: n.Cause, Mend: n.Mend, LinkText: n.LinkText, LinkURL: n.LinkURL,
			Since: n.Since, DismissedBy: n.By, Dismiss: dismiss[i],
		}
		if n.Dismissed.IsZero() {
			m.Notices = append(m.Notices, v)
		} else {
			m.Dismissed = append(m.Dismissed, v)
		}
	}
	m.Notices, m.New = holdNotices(c.shown, "notices", m.Notices)
	m.Dismissed, _ = holdNotices(c.shown, "dismissed", m.Dismissed)
	return p, m.Moving(), nil
}

// holdNotices keeps the notices that somebody reads where they are, and counts those that came since.
func holdNotices(sh shown, list string, fresh []view.Notice) (held []view.Notice, more int) {
	keys := sh[list]
	if len(keys) == 0 {
		for _, n := range fresh {
			keys = append(keys, n.Key)
		}
		sh.keep(list, keys)
		return fresh, 0
	}
	at := map[string]view.Notice{}
	for _, n := range fresh {
		at[n.Key] = n
	}
	for _, k := range keys {
		if n, there := at[k]; there {
			held = append(held, n)
		}
	}
	return held, len(fresh) - len(held)
}

// dismissals says of each notice whether it may be dismissed: one of a stack by who may act on the stack.
func (s *Server) dismissals(c *request, notices []store.Notice) ([]view.Act, error) {
	out := make([]view.Act, len(notices))
	err := s.st.View(func(tx *store.Tx) error {
		for i, n := range notices {
			st, err := tx.Stack(n.Stack)
			switch {
			case n.Stack == "" || errors.Is(err, runs.ErrNotFound):
				out[i] = c.who.may(store.Writer, "dismiss a notice")
			case err != nil:
				return err
			default:
				out[i] = s.rowAct(c, st.Project, st.ProjectPath, "dismiss a notice")
			}
		}
		return nil
	})
	return out, err
}

func (s *Server) postDismiss(c *request) error {
	defer s.forgetNeeds()
	return s.after(c, s.eng.DismissNotice(c.FormValue("key"), c.who.Name), "/inbox", "Dismissed. It comes back when something about it changes.")
}

func noticeID(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func (s *Server) apiDismiss(c *request) error {
	key, err := base64.RawURLEncoding.DecodeString(c.Param("id"))
	if err != nil {
		return runs.NotFoundf("There is no notice %q.", c.Param("id"))
	}
	defer s.forgetNeeds()
	if err := s.eng.DismissNotice(string(key), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
