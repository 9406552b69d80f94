package web

import (
	"errors"
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

// getStart shows what needs a person now; until the first run, the way there.
func (s *Server) getStart(c *request) error {
	p, err := s.page(c, "What needs you", view.NavStart)
	if err != nil {
		return err
	}
	n, err := s.needsOf(c)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var m view.StartModel
	err = s.st.View(func(tx *store.Tx) (err error) {
		m, err = s.startModel(tx, n, c.who, reads)
		return err
	})
	if m.Steps != nil {
		m.Steps.Plan = c.who.may(store.Writer, "trigger a run")
		m.Steps.NotMine = c.who.may(store.Admin, "do this").WhyNot
	}
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, view.StartPage(p, m))
}

func (s *Server) startModel(tx *store.Tx, n needs, who actor, reads func(int64) bool) (view.StartModel, error) {
	var m view.StartModel
	all := store.RunFilter{}
	if who.restricted() {
		all = theirs(all, reads)
	}
	any, _, err := tx.Runs(all, "", 1)
	if err == nil && len(any) == 0 {
		m.Steps, err = firstSteps(tx, reads)
		return m, err
	}
	if err != nil {
		return m, err
	}
	m.Trouble = n.trouble
	if m.Waiting, m.MoreWaiting, err = s.firstRows(tx, n.waiting); err != nil {
		return m, err
	}
	if m.Failed, err = s.rows(tx, n.failed); err != nil {
		return m, err
	}
	m.MoreFailed = n.failing - len(n.failed)
	if err := s.atWork(tx, &m, reads); err != nil {
		return m, err
	}
	if who.restricted() {
		m.Day, err = dayOf(tx, all)
	} else {
		m.Day, err = day(tx)
	}
	return m, err
}

// firstSteps says how far a new installation is.
func firstSteps(tx *store.Tx, reads func(int64) bool) (*view.FirstSteps, error) {
	in, _, err := tx.Integration()
	if err != nil {
		return nil, err
	}
	stacks, err := tx.Stacks()
	stacks = readable(stacks, reads)
	f := view.FirstSteps{GitLab: in.Linked, Stack: len(stacks) > 0}
	if f.Stack {
		f.FirstSlug = stacks[0].Slug
	}
	return &f, err
}

// firstRows makes rows of the first runs of a list and counts the others.
func (s *Server) firstRows(tx *store.Tx, list []runs.Run) (rows []view.RunRow, more int, err error) {
	shown := list[:min(needRows, len(list))]
	rows, err = s.rows(tx, shown)
	return rows, len(list) - len(shown), err
}

// atWork fills in what is at work and what waits for it.
func (s *Server) atWork(tx *store.Tx, m *view.StartModel, reads func(int64) bool) error {
	active, err := tx.Active("")
	if err != nil {
		return err
	}
	var working, queued []runs.Run
	for _, r := range active {
		switch {
		case !reads(r.Project):
		case r.State.Working():
			working = append(working, *r)
		case r.State == runs.Queued, r.State == runs.Confirmed:
			queued = append(queued, *r)
		}
	}
	if m.Working, err = s.rows(tx, working); err != nil {
		return err
	}
	m.Queued, m.MoreQueued, err = s.firstRows(tx, queued)
	return err
}

// rows makes list rows of runs.
func (s *Server) rows(tx *store.Tx, list []runs.Run) ([]view.RunRow, error) {
	q, err := s.eng.Queue(tx)
	if err != nil {
		return nil, err
	}
	var out []view.RunRow
	names := map[string]string{}
	for _, r := range list {
		name, err := stackName(tx, names, r.Stack)
		if err != nil {
			return nil, err
		}
		text, b, err := waiting(q, r)
		if err != nil {
			return nil, err
		}
		out = append(out, view.RunRow{Run: r, StackName: name, Blocker: b, Waiting: text, Progress: s.progress(r)})
	}
	return out, nil
}

// stackName is a stack's name, looked up once; a deleted one is known by its slug.
func stackName(tx *store.Tx, known map[string]string, slug string) (string, error) {
	if n := known[slug]; n != "" {
		return n, nil
	}
	st, err := tx.Stack(slug)
	if errors.Is(err, runs.ErrNotFound) {
		st.Name, err = slug, nil
	}
	known[slug] = st.Name
	return st.Name, err
}

// waiting says what a run waits for; the blocker is set when that is a run.
func waiting(q *engine.Queue, r runs.Run) (string, *view.RunRef, error) {
	text, b, err := q.Waiting(r)
	if err != nil || b == nil {
		return text, nil, err
	}
	return text, &view.RunRef{ID: b.ID, Title: b.Commit.Title, State: b.State}, nil
}

// day counts the runs of the last 24 hours, the present one included.
func day(tx *store.Tx) (view.Day, error) {
	var d view.Day
	hours, err := tx.Hours(len(d.Hours))
	for i, h := range hours {
		d.Hours[i] = h.Begun
		d.Total += h.Begun
		d.Finished += h.Finished
		d.Failed += h.Failed
		d.Discarded += h.Discarded
	}
	d.Other = d.Total - d.Finished - d.Failed - d.Discarded
	return d, err
}

// dayOf counts those runs of the last 24 hours that a filter lets through, as [day] counts all.
func dayOf(tx *store.Tx, f store.RunFilter) (view.Day, error) {
	var d view.Day
	first := tx.Now().Truncate(time.Hour).Add(-time.Duration(len(d.Hours)-1) * time.Hour)
	f.Since = first
	list, _, err := tx.Runs(f, "", f.AtMost)
	for _, r := range list {
		if i := int(r.CreatedAt.Sub(first) / time.Hour); i >= 0 && i < len(d.Hours) {
			d.Hours[i]++
		}
		switch r.State {
		case runs.Finished:
			d.Finished++
		case runs.Failed:
			d.Failed++
		case runs.Discarded:
			d.Discarded++
		}
	}
	d.Total = len(list)
	d.Other = d.Total - d.Finished - d.Failed - d.Discarded
	return d, err
}
