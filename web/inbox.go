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
func (s *Server) getInbox(c *request) error {
	p, err := s.page(c, "Inbox", view.NavInbox)
	if err != nil {
		return err
	}
	m := view.InboxModel{Dismiss: c.who.may(store.Writer, "dismiss a notice")}
	all, err := s.needsOf(c)
	if err != nil {
		return err
	}
	dismiss, err := s.dismissals(c, all.notices)
	if err != nil {
		return err
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
	return render(c, http.StatusOK, view.InboxPage(p, m))
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
