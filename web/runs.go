package web

import (
	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// manyStacks is how many stacks a drop-down may offer; beyond it a type-ahead does.
const manyStacks = 100

func (s *Server) getRuns(c *request) error { return s.moving(c, s.runsPage) }

func (s *Server) runsPage(c *request) (p view.Page, out view.Moving, err error) {
	f, err := runFilter(c)
	if err != nil {
		return p, out, err
	}
	if f, err = s.seen(c, f); err != nil {
		return p, out, err
	}
	reads, err := s.reads(c)
	if err != nil {
		return p, out, err
	}
	if p, err = s.page(c, "Runs", view.NavRuns); err != nil {
		return p, out, err
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
		if m.Rows, m.New, next, err = s.runRows(tx, c, f, func(r runs.Run) bool { return reads(r.Project) }); err != nil {
			return err
		}
		m.Any = tx.AnyRun(f.Projects)
		return nil
	})
	m.Pager = pager(c, len(m.Rows), next)
	return p, m.Moving(), err
}

// runRows are the rows of a page of runs, and how many runs are not among them because they came while it was read.
func (s *Server) runRows(tx *store.Tx, c *request, f store.RunFilter, may func(runs.Run) bool) (rows []view.RunRow, news int, next string, err error) {
	cursor := c.QueryParam("cursor")
	page, next, err := tx.Runs(f, cursor, pageRows)
	if err != nil {
		return nil, 0, "", err
	}
	page, more, err := c.shown.holdRuns(tx, "runs", page, may)
	if err != nil {
		return nil, 0, "", err
	}
	if next != "" && len(more) > 0 && len(page) > 0 {
		next = page[len(page)-1].ID // goes on below what is shown
	}
	if cursor == "" {
		news = len(more)
	}
	rows, err = s.rows(tx, page)
	return rows, news, next, err
}
