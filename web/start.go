package web

import (
	"errors"
	"slices"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

// getStart shows what needs a person now; until the first run, the way there.
func (s *Server) getStart(c *request) error { return s.moving(c, s.startPage) }

func (s *Server) startPage(c *request) (p view.Page, out view.Moving, err error) {
	if p, err = s.page(c, "What needs you", view.NavStart); err != nil {
		return p, out, err
	}
	n, err := s.needsOf(c)
	if err != nil {
		return p, out, err
	}
	reads, err := s.reads(c)
	if err != nil {
		return p, out, err
	}
	all, err := s.seen(c, store.RunFilter{})
	if err != nil {
		return p, out, err
	}
	var m view.StartModel
	err = s.st.View(func(tx *store.Tx) (err error) {
		m, err = s.startModel(tx, n, c, reads, all)
		return err
	})
	if m.Steps != nil {
		m.Steps.Plan = c.who.may(store.Writer, "trigger a run")
		m.Steps.NotMine = c.who.may(store.Admin, "do this").WhyNot
	}
	return p, m.Moving(), err
}

func (s *Server) startModel(tx *store.Tx, n needs, c *request, reads func(int64) bool, all store.RunFilter) (view.StartModel, error) {
	var m view.StartModel
	if !tx.AnyRun(all.Projects) {
		steps, err := firstSteps(tx, reads)
		m.Steps = steps
		return m, err
	}
	if err := s.needRows(tx, &m, n, c.shown, reads); err != nil {
		return m, err
	}
	if err := s.atWork(tx, &m, c.shown, reads); err != nil {
		return m, err
	}
	var err error
	m.Day, err = day(tx, all)
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

// needRows fills in what needs a person. While somebody reads it new rows only take the place of old ones.
func (s *Server) needRows(tx *store.Tx, m *view.StartModel, n needs, sh shown, reads func(int64) bool) error {
	waiting := n.waiting[:min(needRows, len(n.waiting))]
	m.MoreWaiting, m.MoreFailed = len(n.waiting)-len(waiting), n.failing-len(n.failed)
	fresh := slices.Concat(waiting, n.failed)
	seen := sh["needs"]
	held, more, err := sh.holdRuns(tx, "needs", fresh, func(r runs.Run) bool { return reads(r.Project) })
	if err != nil {
		return err
	}
	over := outside(fresh)
	held, more = refill(held, more, over, tx.Now())
	for _, t := range n.trouble {
		if len(seen) == 0 || slices.Contains(seen, t.Key) {
			m.Trouble = append(m.Trouble, t)
		} else {
			m.New++
		}
	}
	keys := idsOf(held)
	for _, t := range m.Trouble {
		keys = append(keys, t.Key)
	}
	sh.keep("needs", keys)
	if m.Unseen, err = s.rows(tx, more); err != nil {
		return err
	}
	m.Needs, err = s.overRows(tx, held, over)
	return err
}

// outside tells the runs that a list as it is now does not hold.
func outside(fresh []runs.Run) func(runs.Run) bool {
	in := map[string]bool{}
	for _, r := range fresh {
		in[r.ID] = true
	}
	return func(r runs.Run) bool { return !in[r.ID] }
}

// overRows makes list rows of runs, some of which do not belong there any more.
func (s *Server) overRows(tx *store.Tx, list []runs.Run, over func(runs.Run) bool) ([]view.RunRow, error) {
	rows, err := s.rows(tx, list)
	for i := range rows {
		rows[i].Over = over(rows[i].Run)
	}
	return rows, err
}

// atWork fills in what is at work and what waits for it. While somebody reads it new rows come to its end, where they push away
// nothing that waits for a click, or take the place of old ones.
func (s *Server) atWork(tx *store.Tx, m *view.StartModel, sh shown, reads func(int64) bool) error {
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
	first := queued[:min(needRows, len(queued))]
	m.MoreQueued = len(queued) - len(first)
	fresh := slices.Concat(working, first)
	held, more, err := sh.holdRuns(tx, "work", fresh, func(r runs.Run) bool { return reads(r.Project) })
	if err != nil {
		return err
	}
	over := outside(fresh)
	held, more = refill(held, more, over, tx.Now())
	held = slices.Concat(trim(held, over, tx.Now()), more)
	sh.keep("work", idsOf(held))
	m.Work, err = s.overRows(tx, held, over)
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

// day counts those runs of the last 24 hours that a filter of projects lets through, the present hour included.
func day(tx *store.Tx, f store.RunFilter) (d view.Day, err error) {
	var hours []store.Hour
	if f.Projects == nil {
		hours, err = tx.Hours(len(d.Hours))
	} else {
		hours, err = tx.HoursOf(len(d.Hours), f.Projects, f.AtMost)
	}
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
