package web

import (
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

// dayRuns is how many runs of the last day the start page counts at most.
const dayRuns = 5000

// getStart shows what needs a person now; until the first run, the way there.
func (s *Server) getStart(c *request) error {
	p, err := s.page(c, "What needs you", view.NavStart)
	if err != nil {
		return err
	}
	n, err := s.currentNeeds()
	if err != nil {
		return err
	}
	var m view.StartModel
	err = s.st.View(func(tx *store.Tx) (err error) {
		m, err = s.startModel(tx, n, p.Now)
		return err
	})
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, view.StartPage(p, m))
}

func (s *Server) startModel(tx *store.Tx, n needs, now time.Time) (view.StartModel, error) {
	var m view.StartModel
	names, slug, err := stackNames(tx)
	if err != nil {
		return m, err
	}
	if any, _, err := tx.Runs(store.RunFilter{}, "", 1); err != nil {
		return m, err
	} else if len(any) == 0 {
		in, _, err := tx.Integration()
		m.Steps = &view.FirstSteps{GitLab: in.Linked, Stack: slug != "", FirstSlug: slug}
		return m, err
	}
	m.Trouble = n.trouble
	if m.Waiting, err = s.rows(tx, n.waiting, names); err != nil {
		return m, err
	}
	if m.Failed, err = s.rows(tx, n.failed, names); err != nil {
		return m, err
	}
	if err := s.atWork(tx, &m, names); err != nil {
		return m, err
	}
	m.Day, err = day(tx, now)
	return m, err
}

// atWork fills in what is at work and what waits for it.
func (s *Server) atWork(tx *store.Tx, m *view.StartModel, names map[string]string) error {
	active, err := tx.Active("")
	if err != nil {
		return err
	}
	var working, queued []runs.Run
	for _, r := range active {
		switch {
		case r.State.Working():
			working = append(working, r)
		case r.State == runs.Queued, r.State == runs.Confirmed:
			queued = append(queued, r)
		}
	}
	if m.Working, err = s.rows(tx, working, names); err != nil {
		return err
	}
	m.Queued, err = s.rows(tx, queued, names)
	return err
}

// stackNames maps slugs to names; first is the first slug there is.
func stackNames(tx *store.Tx) (names map[string]string, first string, err error) {
	stacks, err := tx.Stacks()
	names = make(map[string]string, len(stacks))
	for _, st := range stacks {
		names[st.Slug] = st.Name
	}
	if len(stacks) > 0 {
		first = stacks[0].Slug
	}
	return names, first, err
}

// rows makes list rows of runs.
func (s *Server) rows(tx *store.Tx, list []runs.Run, names map[string]string) ([]view.RunRow, error) {
	q, err := s.eng.Queue(tx)
	if err != nil {
		return nil, err
	}
	var out []view.RunRow
	for _, r := range list {
		text, b, err := waiting(q, r)
		if err != nil {
			return nil, err
		}
		out = append(out, view.RunRow{Run: r, StackName: nameOf(names, r.Stack), Blocker: b, Waiting: text, Progress: s.progress(r)})
	}
	return out, nil
}

// nameOf is a stack's name; a deleted one is known by its slug.
func nameOf(names map[string]string, slug string) string {
	if n := names[slug]; n != "" {
		return n
	}
	return slug
}

// waiting says what a run waits for; the blocker is set when that is a run.
func waiting(q *engine.Queue, r runs.Run) (string, *view.RunRef, error) {
	text, b, err := q.Waiting(r)
	if err != nil || b == nil {
		return text, nil, err
	}
	return text, &view.RunRef{ID: b.ID, Title: b.Commit.Title, State: b.State}, nil
}

func day(tx *store.Tx, now time.Time) (view.Day, error) {
	var d view.Day
	since := now.Add(-24 * time.Hour)
	list, _, err := tx.Runs(store.RunFilter{Since: since}, "", dayRuns)
	for _, r := range list {
		d.Total++
		d.Hours[max(0, min(23, int(r.CreatedAt.Sub(since).Hours())))]++
		switch r.State {
		case runs.Finished:
			d.Finished++
		case runs.Failed:
			d.Failed++
		case runs.Discarded:
			d.Discarded++
		default:
			d.Other++
		}
	}
	return d, err
}
