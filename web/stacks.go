package web

import (
	"maps"
	"slices"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// pageRows is how many rows a page of a list shows.
const pageRows = 50

// may says whether the actor has the role for an act; why-not names what is needed.
func (a actor) may(r store.Role, verb string) view.Act {
	if a.has(r) && r == store.Writer && a.restricted() {
		return a.access.act(verb)
	}
	if a.has(r) {
		return view.Act{Can: true}
	}
	if r == store.Admin {
		return view.Act{WhyNot: "Only an admin can " + verb + "."}
	}
	return view.Act{WhyNot: "Only a writer or an admin can " + verb + "."}
}

func (s *Server) getStacks(c *request) error { return s.moving(c, s.stacksPage) }

func (s *Server) stacksPage(c *request) (p view.Page, out view.Moving, err error) {
	if p, err = s.page(c, "Stacks", view.NavStacks); err != nil {
		return p, out, err
	}
	m := view.StacksModel{Q: c.QueryParam("q"), State: c.QueryParam("state"), Label: c.QueryParam("label"), CanCreate: c.who.has(store.Admin)}
	reads, err := s.reads(c)
	if err != nil {
		return p, out, err
	}
	err = s.st.View(func(tx *store.Tx) error { return fillStacks(tx, &m, c.QueryParam("cursor"), c.shown, reads) })
	if err != nil {
		return p, out, err
	}
	if c.QueryParam("cursor") != "" {
		m.Pager.FirstURL = more(c, "")
	}
	if m.Pager.NextURL != "" {
		m.Pager.NextURL = more(c, m.Pager.NextURL)
	}
	return p, m.Moving(), nil
}

// fillStacks finds the rows of the list; Pager.NextURL becomes the cursor of the next page.
func fillStacks(tx *store.Tx, m *view.StacksModel, cursor string, sh shown, reads func(int64) bool) error {
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	stacks = readable(stacks, reads)
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	m.Any, m.Connected, m.Labels = len(stacks) > 0, in.Linked, labelsOf(stacks)
	inState := func(string) bool { return true }
	if m.State != "" {
		found := map[string]bool{}
		tx.EachLatestIn(runs.State(m.State), blocking, func(slug, _ string) { found[slug] = true })
		inState = func(slug string) bool { return found[slug] }
	}
	for _, st := range stacks {
		if !stackMatches(st, m.Q, m.Label) || !inState(st.Slug) {
			continue
		}
		m.Pager.Total++
		switch {
		case st.Slug <= cursor:
		case len(m.Rows) < pageRows:
			m.Rows = append(m.Rows, view.StackRow{Stack: *st, Detached: !in.Linked})
		default:
			m.Pager.NextURL = m.Rows[pageRows-1].Stack.Slug
		}
	}
	m.Pager.Shown = len(m.Rows)
	holdStacks(m, stacks, cursor, sh)
	for i := range m.Rows {
		if m.Rows[i].Last, err = lastRun(tx, m.Rows[i].Stack.Slug); err != nil {
			return err
		}
	}
	return nil
}

// holdStacks keeps the rows that somebody reads where they are.
func holdStacks(m *view.StacksModel, stacks []*runs.Stack, cursor string, sh shown) {
	slugs := sh["stacks"]
	if len(slugs) == 0 {
		for _, r := range m.Rows {
			slugs = append(slugs, r.Stack.Slug)
		}
		sh.keep("stacks", slugs)
		return
	}
	fresh := m.Rows
	m.Rows = nil
	for _, slug := range slugs {
		if i, there := store.FindStack(stacks, slug); there {
			m.Rows = append(m.Rows, view.StackRow{Stack: *stacks[i], Detached: !m.Connected})
		}
	}
	if cursor != "" {
		return
	}
	for _, r := range fresh {
		if !slices.Contains(slugs, r.Stack.Slug) {
			m.New++
		}
	}
}

// readable are the stacks that somebody may see: the list itself, which is shared and must not be changed, when that is all.
func readable(stacks []*runs.Stack, reads func(project int64) bool) []*runs.Stack {
	hidden := slices.IndexFunc(stacks, func(st *runs.Stack) bool { return !reads(st.Project) })
	if hidden < 0 {
		return stacks
	}
	out := slices.Clone(stacks[:hidden])
	for _, st := range stacks[hidden:] {
		if reads(st.Project) {
			out = append(out, st)
		}
	}
	return out
}

// lastRun is the latest run that could change the stack, nil for none.
func lastRun(tx *store.Tx, slug string) (*runs.Run, error) {
	r, ok, err := tx.LatestRun(slug, blocking...)
	if err != nil || !ok {
		return nil, err
	}
	return &r, nil
}

func stackMatches(st *runs.Stack, q, label string) bool {
	if label != "" && !slices.Contains(st.Labels, label) {
		return false
	}
	return q == "" || holdsAll(st.Name+" "+st.Slug+" "+st.ProjectPath+" "+st.Branch+" "+st.ProjectRoot, q)
}

func labelsOf(stacks []*runs.Stack) []string {
	seen := map[string]bool{}
	for _, st := range stacks {
		for _, l := range st.Labels {
			seen[l] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// more is the address of this page with another cursor.
func more(c *request, cursor string) string {
	q := ownQuery(c.Request().URL)
	q.Del("cursor")
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return address(c.Request().URL, q)
}

// pager leads on from a page of n rows.
func pager(c *request, n int, next string) view.Pager {
	p := view.Pager{Shown: n}
	if c.QueryParam("cursor") != "" {
		p.FirstURL = more(c, "")
	}
	if next != "" {
		p.NextURL = more(c, next)
	}
	return p
}
