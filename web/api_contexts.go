package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// contextAPI are the routes of the REST API that concern contexts and mounted files. Whoever attaches a context hands what it
// holds, secrets too, to everybody whose code the stack's runs execute: that is for admins, as are contexts themselves.
func (s *Server) contextAPI() []route {
	const v1 = "/api/v1"
	r := func(method, path string, n need, h handler, doc operation) route {
		return route{method: method, path: v1 + path, need: n, handle: h, doc: &doc}
	}
	page := []string{"cursor", "limit"}
	own, shared := s.stackScope, s.contextScope
	return []route{
		r(get, "/contexts", reader, s.apiContexts, operation{summary: "Contexts by slug", out: list[contextJSON]{}, query: append([]string{"search"}, page...)}),
		r(post, "/contexts", admin, s.apiCreateContext, operation{summary: "Create a context; a label autoattach:prod attaches it to stacks with the label prod, autoattach:* to all", in: contextInput{}, out: contextJSON{}, status: 201}),
		r(get, "/contexts/:slug", reader, s.apiContext, operation{summary: "A context", out: contextJSON{}}),
		r(patch, "/contexts/:slug", admin, s.apiPatchContext, operation{summary: "Change the given settings of a context", in: contextInput{}, out: contextJSON{}}),
		r(remove, "/contexts/:slug", admin, s.apiDeleteContext, operation{summary: "Delete a context that is attached to no stack", status: 204}),
		r(get, "/contexts/:slug/stacks", reader, s.apiContextStacks, operation{summary: "Stacks the context is attached to, and why", out: list[contextStackJSON]{}}),
		r(get, "/contexts/:slug/variables", reader, s.apiScopeVariables(shared), operation{summary: "Variables of a context; values of secrets are null", out: list[variableJSON]{}}),
		r(get, "/contexts/:slug/variables/:name", reader, s.apiScopeVariable(shared), operation{summary: "A variable of a context", out: variableJSON{}}),
		r(put, "/contexts/:slug/variables/:name", admin, s.apiPutScopeVariable(shared), operation{summary: "Set a variable of a context", in: variableInput{}, out: variableJSON{}}),
		r(remove, "/contexts/:slug/variables/:name", admin, s.apiDeleteScopeVariable(shared), operation{summary: "Delete a variable of a context", status: 204}),
		r(get, "/contexts/:slug/files", reader, s.apiFiles(shared), operation{summary: "Mounted files of a context, without what they hold", out: list[fileJSON]{}}),
		r(get, "/contexts/:slug/files/*", reader, s.apiFile(shared), operation{summary: "A mounted file of a context; the content of a secret one is null", out: fileJSON{}}),
		r(put, "/contexts/:slug/files/*", admin, s.apiPutFile(shared), operation{summary: "Set a mounted file of a context", in: fileInput{}, out: fileJSON{}}),
		r(remove, "/contexts/:slug/files/*", admin, s.apiDeleteFile(shared), operation{summary: "Delete a mounted file of a context", status: 204}),

		r(get, "/stacks/:slug/files", reader, s.apiFiles(own), operation{summary: "A stack's own mounted files, without what they hold", out: list[fileJSON]{}}),
		r(get, "/stacks/:slug/files/*", reader, s.apiFile(own), operation{summary: "A mounted file; the content of a secret one is null", out: fileJSON{}}),
		r(put, "/stacks/:slug/files/*", writer, s.apiPutFile(own), operation{summary: "Set a mounted file: below source/ it is laid over the code, else into the folder GROUNDCREW_MOUNT", in: fileInput{}, out: fileJSON{}}),
		r(remove, "/stacks/:slug/files/*", writer, s.apiDeleteFile(own), operation{summary: "Delete a mounted file", status: 204}),
		r(get, "/stacks/:slug/contexts", reader, s.apiStackContexts, operation{summary: "Contexts of a stack, those that win first", out: list[stackContextJSON]{}}),
		r(put, "/stacks/:slug/contexts/:context", admin, s.apiAttach, operation{summary: "Attach a context, or change its priority; the lowest wins", in: attachInput{}, out: stackContextJSON{}}),
		r(remove, "/stacks/:slug/contexts/:context", admin, s.apiDetach, operation{summary: "Detach a context", status: 204}),
		r(get, "/stacks/:slug/environment", reader, s.apiEnvironment, operation{summary: "What the next run gets, where from, and what that wins against; secrets are null", out: environmentJSON{}}),
	}
}

// A contextJSON is a context as the API answers it.
type contextJSON struct {
	Slug        string    `json:"slug"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Labels      []string  `json:"labels"`
	AutoAttach  []string  `json:"autoattach"` // labels of stacks it attaches itself to, from its own labels; “*” is every stack
	Stacks      int       `json:"stacks"`     // it is attached to, as far as one may see them
	URL         string    `json:"url"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	UpdatedBy   string    `json:"updated_by"`
}

func (s *Server) contextOut(c runs.Context, stacks int) contextJSON {
	return contextJSON{
		Slug: c.Slug, Name: c.Name, Description: c.Description, Labels: orEmpty(c.Labels), AutoAttach: orEmpty(c.AutoLabels()), Stacks: stacks,
		URL: s.o.ExternalURL + "/contexts/" + c.Slug, CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(), UpdatedBy: c.UpdatedBy,
	}
}

// A contextInput is what a context is made or changed with. Fields that are not given keep what they are.
type contextInput struct {
	Name        *string   `json:"name"`
	Description *string   `json:"description"`
	Labels      *[]string `json:"labels"`
}

func (in contextInput) apply(c *runs.Context) {
	give(&c.Name, in.Name)
	give(&c.Description, in.Description)
	give(&c.Labels, in.Labels)
}

// usesSeen are the stacks of a context that the one who asks may see. Somebody from GitLab who sees none of them does not see
// the context either.
func (s *Server) usesSeen(c *request, tx *store.Tx, ctx runs.Context, reads func(int64) bool) (uses []store.ContextUse, seen bool, err error) {
	uses, err = tx.ContextUses(ctx)
	if err != nil || !c.who.restricted() {
		return uses, true, err
	}
	stacks, err := tx.Stacks()
	if err != nil {
		return nil, false, err
	}
	uses = slices.DeleteFunc(uses, func(u store.ContextUse) bool {
		i, there := store.FindStack(stacks, u.Stack)
		return !there || !reads(stacks[i].Project)
	})
	return uses, len(uses) > 0, nil
}

// context is the context of the path with the stacks that use it, as far as the one who asks may see them.
func (s *Server) context(c *request) (ctx runs.Context, uses []store.ContextUse, err error) {
	reads, err := s.reads(c)
	if err != nil {
		return ctx, nil, err
	}
	err = s.st.View(func(tx *store.Tx) error {
		if ctx, err = tx.Context(c.Param("slug")); err != nil {
			return err
		}
		var seen bool
		if uses, seen, err = s.usesSeen(c, tx, ctx, reads); err == nil && !seen {
			err = runs.NotFoundf("There is no context %q.", ctx.Slug)
		}
		return err
	})
	return ctx, uses, err
}

func contextMatches(c runs.Context, q string) bool {
	return q == "" || holdsAll(c.Name+" "+c.Slug+" "+c.Description+" "+strings.Join(c.Labels, " "), q)
}

func (s *Server) apiContexts(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var items []contextJSON
	next := ""
	err = s.st.View(func(tx *store.Tx) error {
		all, err := tx.Contexts()
		for _, ctx := range all {
			if err != nil {
				return err
			}
			if ctx.Slug <= cursor || !contextMatches(ctx, c.QueryParam("search")) {
				continue
			}
			uses, seen, useErr := s.usesSeen(c, tx, ctx, reads)
			if err = useErr; err != nil || !seen {
				continue
			}
			if len(items) == limit {
				next = items[limit-1].Slug
				return nil
			}
			items = append(items, s.contextOut(ctx, len(uses)))
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

func (s *Server) apiCreateContext(c *request) error {
	var in contextInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var ctx runs.Context
	in.apply(&ctx)
	ctx, err := s.eng.CreateContext(ctx, c.who.Name)
	if err != nil {
		return err
	}
	uses := 0
	err = s.st.View(func(tx *store.Tx) error {
		list, err := tx.ContextUses(ctx)
		uses = len(list)
		return err
	})
	if err != nil {
		return err
	}
	return created(c, "/api/v1/contexts/"+ctx.Slug, s.contextOut(ctx, uses))
}

func (s *Server) apiContext(c *request) error {
	ctx, uses, err := s.context(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.contextOut(ctx, len(uses)))
}

func (s *Server) apiPatchContext(c *request) error {
	var in contextInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if _, err := s.eng.EditContext(c.Param("slug"), c.who.Name, in.apply); err != nil {
		return err
	}
	return s.apiContext(c)
}

func (s *Server) apiDeleteContext(c *request) error {
	if err := s.eng.DeleteContext(c.Param("slug"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A contextStackJSON is a stack that a context is attached to.
type contextStackJSON struct {
	Stack    string  `json:"stack"`
	Attached string  `json:"attached"` // by person or label
	Priority *int    `json:"priority"` // of an attachment by a person
	Label    *string `json:"label"`    // of one by label; “*” is every stack
}

func (s *Server) apiContextStacks(c *request) error {
	_, uses, err := s.context(c)
	if err != nil {
		return err
	}
	var items []contextStackJSON
	for _, u := range uses {
		how := attachedOut(runs.Origin{Priority: u.Priority, Auto: u.Auto, Label: u.Label})
		items = append(items, contextStackJSON{Stack: u.Stack, Attached: how.Attached, Priority: how.Priority, Label: how.Label})
	}
	return listed(c, items, "")
}

// A stackContextJSON is a context of a stack, and where an entry of its environment comes from: there, context is null for the
// stack itself.
type stackContextJSON struct {
	Context  *string `json:"context"`
	Name     string  `json:"name"`
	Attached string  `json:"attached"` // by person or label; own for the stack itself
	Priority *int    `json:"priority"` // of an attachment by a person; the lowest wins
	Label    *string `json:"label"`    // of one by label; “*” is every stack
}

func attachedOut(o runs.Origin) stackContextJSON {
	out := stackContextJSON{Context: orNil(o.Context), Name: o.Name, Attached: "person"}
	switch {
	case o.Auto:
		out.Attached, out.Label = "label", &o.Label
	default:
		out.Priority = &o.Priority
	}
	return out
}

func originOut(o runs.Origin) stackContextJSON {
	if o.Own() {
		return stackContextJSON{Attached: "own"}
	}
	return attachedOut(o)
}

func originsOut(list []runs.Origin) []stackContextJSON {
	out := make([]stackContextJSON, 0, len(list))
	for _, o := range list {
		out = append(out, originOut(o))
	}
	return out
}

// contextsOf are the contexts of the stack of the path.
func (s *Server) contextsOf(c *request) (list []runs.Origin, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(c.Param("slug"))
		if err != nil {
			return err
		}
		list, err = tx.ContextsOf(st)
		return err
	})
	return list, err
}

func (s *Server) apiStackContexts(c *request) error {
	contexts, err := s.contextsOf(c)
	if err != nil {
		return err
	}
	return listed(c, originsOut(contexts), "")
}

// An attachInput attaches a context.
type attachInput struct {
	Priority int `json:"priority"`
}

func (s *Server) apiAttach(c *request) error {
	var in attachInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := s.eng.AttachContext(c.Param("slug"), c.Param("context"), in.Priority, c.who.Name); err != nil {
		return err
	}
	contexts, err := s.contextsOf(c)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(contexts, func(o runs.Origin) bool { return o.Context == c.Param("context") })
	if i < 0 {
		return runs.NotFoundf("The context was detached meanwhile.")
	}
	return c.JSON(http.StatusOK, attachedOut(contexts[i]))
}

func (s *Server) apiDetach(c *request) error {
	if err := s.eng.DetachContext(c.Param("slug"), c.Param("context"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
