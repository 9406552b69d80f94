package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// contextPages are the pages of contexts, and of what stacks have of them.
func (s *Server) contextPages() []route {
	p := func(method, path string, n need, h handler) route {
		return route{method: method, path: path, need: n, handle: h}
	}
	own, shared := s.stackRoom(), s.contextRoom()
	return []route{
		p(get, "/contexts", reader, s.getContexts),
		p(get, "/contexts/new", admin, s.getNewContext),
		p(post, "/contexts", admin, s.postNewContext),
		p(get, "/contexts/:slug", reader, s.getEntries(shared)),
		p(post, "/contexts/:slug/variables", admin, s.postVariable(shared)),
		p(post, "/contexts/:slug/variables/delete", admin, s.postDeleteVariable(shared)),
		p(post, "/contexts/:slug/files", admin, s.postFile(shared)),
		p(post, "/contexts/:slug/files/delete", admin, s.postDeleteFile(shared)),
		p(get, "/contexts/:slug/stacks", reader, s.getContextStacks),
		p(get, "/contexts/:slug/settings", reader, s.getContextSettings),
		p(post, "/contexts/:slug/settings", admin, s.postContextSettings),
		p(post, "/contexts/:slug/delete", admin, s.postDeleteContext),

		p(get, "/stacks/:slug/environment", reader, s.getEntries(own)),
		p(post, "/stacks/:slug/environment", writer, s.postVariable(own)),
		p(post, "/stacks/:slug/environment/delete", writer, s.postDeleteVariable(own)),
		p(post, "/stacks/:slug/environment/files", writer, s.postFile(own)),
		p(post, "/stacks/:slug/environment/files/delete", writer, s.postDeleteFile(own)),
		p(get, "/stacks/:slug/contexts", reader, s.getStackContexts),
		p(post, "/stacks/:slug/contexts", admin, s.postAttach),
		p(post, "/stacks/:slug/contexts/detach", admin, s.postDetach),
	}
}

func (s *Server) getContexts(c *request) error {
	p, err := s.page(c, "Contexts", view.NavContexts)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	m := view.ContextsModel{Q: c.QueryParam("q"), CanCreate: c.who.has(store.Admin)}
	next := ""
	err = s.st.View(func(tx *store.Tx) (err error) {
		next, err = s.fillContexts(tx, c, &m, reads)
		return err
	})
	if err != nil {
		return err
	}
	total := m.Pager.Total
	m.Pager = pager(c, len(m.Rows), next)
	m.Pager.Total = total
	return render(c, http.StatusOK, view.ContextsPage(p, m))
}

// fillContexts finds the rows of the list, and the cursor of the next page.
func (s *Server) fillContexts(tx *store.Tx, c *request, m *view.ContextsModel, reads func(int64) bool) (next string, err error) {
	all, err := tx.Contexts()
	if err != nil {
		return "", err
	}
	cursor := c.QueryParam("cursor")
	for _, ctx := range all {
		row := view.ContextRow{Context: ctx}
		onPage := contextMatches(ctx, m.Q) && ctx.Slug > cursor && len(m.Rows) < pageRows
		if onPage || c.who.restricted() {
			uses, seen, err := s.usesSeen(c, tx, ctx, reads)
			if err != nil {
				return "", err
			}
			if !seen {
				continue
			}
			row.Stacks = len(uses)
		}
		m.Any = true
		if !contextMatches(ctx, m.Q) {
			continue
		}
		m.Pager.Total++
		switch {
		case onPage:
			if row.Variables, row.Files, err = holds(tx, ctx.Scope()); err != nil {
				return "", err
			}
			m.Rows = append(m.Rows, row)
		case ctx.Slug > cursor:
			next = m.Rows[pageRows-1].Context.Slug
		}
	}
	return next, nil
}

// holds counts what a scope holds.
func holds(tx *store.Tx, scope string) (variables, files int, err error) {
	vars, err := tx.Variables(scope)
	if err != nil {
		return 0, 0, err
	}
	list, err := tx.Files(scope)
	return len(vars), len(list), err
}

// contextFrame makes the frame of a context's page and what stands above its tabs.
func (s *Server) contextFrame(c *request, tab string) (view.Page, view.ContextHead, []store.ContextUse, error) {
	ctx, uses, err := s.context(c)
	if err != nil {
		return view.Page{}, view.ContextHead{}, nil, err
	}
	title := strings.TrimPrefix(map[string]string{view.TabContextStacks: "Stacks", view.TabContextSettings: "Settings"}[tab]+" · "+ctx.Name, " · ")
	p, err := s.page(c, title, view.NavContexts, view.Crumb{Text: "Contexts", URL: "/contexts"}, view.Crumb{Text: ctx.Name, URL: "/contexts/" + ctx.Slug})
	return p, view.ContextHead{Context: ctx, Tab: tab, Stacks: len(uses)}, uses, err
}

// contextPage shows what a context holds.
func (s *Server) contextPage(c *request, status int, m view.EntriesModel) error {
	p, head, _, err := s.contextFrame(c, view.TabContext)
	if err != nil {
		return err
	}
	vars, files, err := s.entries(head.Context.Scope())
	if err != nil {
		return err
	}
	env := runs.Resolve([]runs.Source{{Variables: vars, Files: files}})
	m.Variables, m.Files = env.Variables, env.Files
	return render(c, status, view.ContextPage(p, view.ContextModel{Head: head, Entries: m}))
}

func (s *Server) getContextStacks(c *request) error {
	p, head, uses, err := s.contextFrame(c, view.TabContextStacks)
	if err != nil {
		return err
	}
	m := view.ContextStacksModel{Head: head}
	cursor, next := c.QueryParam("cursor"), ""
	err = s.st.View(func(tx *store.Tx) error {
		for _, u := range uses {
			if u.Stack <= cursor {
				continue
			}
			if len(m.Rows) == pageRows {
				next = m.Rows[pageRows-1].Slug
				return nil
			}
			st, err := tx.Stack(u.Stack)
			if err != nil {
				return err
			}
			m.Rows = append(m.Rows, view.ContextStackRow{
				Slug: st.Slug, Name: st.Name, ProjectPath: st.ProjectPath, From: runs.Origin{Context: head.Context.Slug, Priority: u.Priority, Auto: u.Auto, Label: u.Label},
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.Pager = pager(c, len(m.Rows), next)
	m.Pager.Total = len(uses)
	return render(c, http.StatusOK, view.ContextStacksPage(p, m))
}

func (s *Server) getNewContext(c *request) error {
	return s.newContextPage(c, http.StatusOK, view.ContextFormModel{})
}

func (s *Server) newContextPage(c *request, status int, m view.ContextFormModel) error {
	p, err := s.page(c, "New context", view.NavContexts, view.Crumb{Text: "Contexts", URL: "/contexts"}, view.Crumb{Text: "New context"})
	if err != nil {
		return err
	}
	return render(c, status, view.ContextFormPage(p, m))
}

func readContextForm(c *request) view.ContextForm {
	return view.ContextForm{Name: c.FormValue("name"), Description: unixLines(c.FormValue("description")), Labels: c.FormValue("labels")}
}

func fillContext(c *runs.Context, f view.ContextForm) {
	c.Name, c.Description, c.Labels = f.Name, f.Description, split(f.Labels, ",")
}

func (s *Server) postNewContext(c *request) error {
	m := view.ContextFormModel{Values: readContextForm(c)}
	var ctx runs.Context
	fillContext(&ctx, m.Values)
	ctx, err := s.eng.CreateContext(ctx, c.who.Name)
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.newContextPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/contexts/"+ctx.Slug, "The context is there. Add what it holds.")
}

func (s *Server) getContextSettings(c *request) error {
	ctx, _, err := s.context(c)
	if err != nil {
		return err
	}
	return s.contextSettingsPage(c, http.StatusOK, view.ContextFormModel{Values: contextForm(ctx)})
}

// contextForm is the form that shows a context.
func contextForm(ctx runs.Context) view.ContextForm {
	return view.ContextForm{Name: ctx.Name, Description: ctx.Description, Labels: strings.Join(ctx.Labels, ", ")}
}

func (s *Server) contextSettingsPage(c *request, status int, m view.ContextFormModel) error {
	p, head, _, err := s.contextFrame(c, view.TabContextSettings)
	if err != nil {
		return err
	}
	m.Head = &head
	m.Edit, m.Delete = c.who.may(store.Admin, "change a context"), c.who.may(store.Admin, "delete a context")
	if m.Delete.Can && head.Stacks > 0 {
		m.Delete = view.Act{WhyNot: "It is attached to " + view.Count(head.Stacks, "stack", "stacks") + ". Detach it there, or take the label away that attaches it, first."}
	}
	return render(c, status, view.ContextFormPage(p, m))
}

func (s *Server) postContextSettings(c *request) error {
	m := view.ContextFormModel{Values: readContextForm(c)}
	_, err := s.eng.EditContext(c.Param("slug"), c.who.Name, func(ctx *runs.Context) { fillContext(ctx, m.Values) })
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.contextSettingsPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/contexts/"+c.Param("slug")+"/settings", "The settings are saved. They hold from the next run on.")
}

func (s *Server) postDeleteContext(c *request) error {
	ctx, _, err := s.context(c)
	if err != nil {
		return err
	}
	m := view.ContextFormModel{Values: contextForm(ctx)}
	if c.FormValue("slug") != ctx.Slug {
		m.DeleteError = "That is not the context's address. Type " + ctx.Slug + " to delete it."
		return s.contextSettingsPage(c, http.StatusUnprocessableEntity, m)
	}
	err = s.eng.DeleteContext(ctx.Slug, c.who.Name)
	if _, text, ok := formErrors(err); ok {
		m.Error = text
		return s.contextSettingsPage(c, http.StatusConflict, m)
	}
	return s.after(c, err, "/contexts", "The context "+ctx.Name+" is deleted.")
}

func (s *Server) getStackContexts(c *request) error {
	return s.stackContextsPage(c, http.StatusOK, view.StackContextsModel{Priority: "0"})
}

func (s *Server) stackContextsPage(c *request, status int, m view.StackContextsModel) error {
	p, head, err := s.stackPage(c, view.TabContexts)
	if err != nil {
		return err
	}
	m.Head, m.Attach = head, c.who.may(store.Admin, "attach a context: it hands what it holds to the stack's code")
	err = s.st.View(func(tx *store.Tx) error { return fillStackContexts(tx, head.Stack, &m) })
	if err != nil {
		return err
	}
	return render(c, status, view.StackContextsPage(p, m))
}

func fillStackContexts(tx *store.Tx, st runs.Stack, m *view.StackContextsModel) error {
	attached, err := tx.Attachments(st.Slug)
	if err != nil {
		return err
	}
	contexts, err := tx.Contexts()
	if err != nil {
		return err
	}
	m.None = len(contexts) == 0
	by := map[string]string{}
	for _, a := range attached {
		by[a.Context] = a.By
	}
	for _, ctx := range contexts {
		if _, there := by[ctx.Slug]; !there && m.Attach.Can {
			m.Choices = append(m.Choices, view.Option{Value: ctx.Slug, Text: ctx.Name})
		}
	}
	for _, o := range runs.Precedence(st.Labels, attached, contexts) {
		row := view.StackContextRow{From: o, By: by[o.Context]}
		if row.Variables, row.Files, err = holds(tx, store.ScopeOf(st, o)); err != nil {
			return err
		}
		m.Rows = append(m.Rows, row)
	}
	return nil
}

func (s *Server) postAttach(c *request) error {
	slug, context := c.Param("slug"), c.FormValue("context")
	m := view.StackContextsModel{Context: context, Priority: strings.TrimSpace(c.FormValue("priority"))}
	priority, err := strconv.Atoi(m.Priority)
	if err != nil {
		err = runs.Invalidf("priority", "“%s” is no whole number. The lowest wins; 0 will do for one context.", m.Priority)
	} else {
		err = s.eng.AttachContext(slug, context, priority, c.who.Name)
	}
	if field, text, ok := fieldError(err); ok {
		m.Errors = map[string]string{field: text}
		return s.stackContextsPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/stacks/"+slug+"/contexts", "The context is attached. Runs have it from the next one on.")
}

func (s *Server) postDetach(c *request) error {
	slug := c.Param("slug")
	return s.after(c, s.eng.DetachContext(slug, c.FormValue("context"), c.who.Name), "/stacks/"+slug+"/contexts", "The context is detached.")
}

// contextsFound are the contexts that the palette offers.
func (s *Server) contextsFound(c *request, tx *store.Tx, q string, reads func(int64) bool) (out []suggestion, err error) {
	if q == "" {
		return nil, nil
	}
	all, err := tx.Contexts()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(ctx runs.Context) bool { return !contextMatches(ctx, q) })
	for _, ctx := range all {
		if len(out) == findContexts {
			break
		}
		if c.who.restricted() {
			if _, seen, err := s.usesSeen(c, tx, ctx, reads); err != nil || !seen {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		out = append(out, suggestion{"/contexts/" + ctx.Slug, ctx.Name, "context"})
	}
	return out, nil
}
