package web

import (
	"net/http"

	"groundcrew/store"
	"groundcrew/web/view"
)

// manyStacks is how many stacks a drop-down may offer; beyond it a type-ahead does.
const manyStacks = 100

func (s *Server) getRuns(c *request) error {
	f, err := runFilter(c)
	if err != nil {
		return err
	}
	if f, err = s.seen(c, f); err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	p, err := s.page(c, "Runs", view.NavRuns)
	if err != nil {
		return err
	}
	m := view.RunsModel{Stack: f.Stack, Q: f.Text, Type: c.QueryParam("type"), State: c.QueryParam("state")}
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		if err != nil {
			return err
		}
		stacks = readable(stacks, reads)
		if m.ManyStacks = len(stacks) > manyStacks; !m.ManyStacks {
			for _, st := range stacks {
				m.Stacks = append(m.Stacks, view.Option{Value: st.Slug, Text: st.Name})
			}
		}
		page, n, err := tx.Runs(f, c.QueryParam("cursor"), pageRows)
		if err != nil {
			return err
		}
		next = n
		if m.Rows, err = s.rows(tx, page); err != nil {
			return err
		}
		any, _, err := tx.Runs(store.RunFilter{Visible: f.Visible, AtMost: f.AtMost}, "", 1)
		m.Any = len(any) > 0
		return err
	})
	if err != nil {
		return err
	}
	m.Pager = pager(c, len(m.Rows), next)
	return render(c, http.StatusOK, view.RunsPage(p, m))
}
