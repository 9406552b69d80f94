package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

func (s *Server) getNewStack(c *request) error {
	v := view.NewStackForm()
	v.Project = c.QueryParam("project")
	return s.newStackPage(c, http.StatusOK, view.StackNewModel{Values: v})
}

func (s *Server) newStackPage(c *request, status int, m view.StackNewModel) error {
	p, err := s.page(c, "New stack", view.NavStacks, view.Crumb{Text: "Stacks", URL: "/stacks"}, view.Crumb{Text: "New stack"})
	if err != nil {
		return err
	}
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	m.Connected, m.GitLabHost, m.Tools = linked, hostOf(in.BrowserURL()), s.toolList(c)
	return render(c, status, view.StackNewPage(p, m))
}

// hostOf is the part of an address a person knows it by: host and path.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return u.Host + strings.TrimSuffix(u.Path, "/")
}

// toolList lists the tools that are present. That they cannot be listed is no reason to show no form.
func (s *Server) toolList(c *request) []view.ToolVersion {
	tools, err := s.eng.Tools(c.Request().Context())
	if err != nil {
		s.log.Warn("the tools could not be listed", "error", err)
	}
	var out []view.ToolVersion
	for _, t := range tools {
		out = append(out, view.ToolVersion{Tool: t.Tool, Version: t.Version, Path: t.Path, Broken: t.Problem})
	}
	return out
}

// readStackForm reads the fields as typed.
func readStackForm(c *request) view.StackForm {
	on := func(name string) bool { return c.FormValue(name) != "" }
	return view.StackForm{
		Name: c.FormValue("name"), Description: c.FormValue("description"), Project: c.FormValue("project"),
		Branch: c.FormValue("branch"), ProjectRoot: c.FormValue("project_root"), Globs: c.FormValue("globs"),
		Tool: c.FormValue("tool"), ToolVersion: c.FormValue("tool_version"), State: c.FormValue("state"),
		Autodeploy: on("autodeploy"), Plan: c.FormValue("plan"), Promotion: on("run_promotion"), DestroyThreads: c.FormValue("destroy_threads"), Protect: on("protect"),
		Approvals: strings.TrimSpace(c.FormValue("approvals")),
		Labels:    c.FormValue("labels"), InstallHook: on("install_hook"),
		Commands: runs.Commands{
			Init: script(c, "command_init"), Plan: script(c, "command_plan"), Show: script(c, "command_show"),
			Apply: script(c, "command_apply"), Destroy: script(c, "command_destroy"),
		},
	}
}

// script reads a text area of shell commands: browsers send lines that end in CR LF, shells want LF.
func script(c *request, name string) string {
	return strings.TrimSpace(strings.ReplaceAll(c.FormValue(name), "\r\n", "\n"))
}

// fill puts the form's fields into a stack and leaves what the form does not have.
func fill(st *runs.Stack, f view.StackForm) error {
	st.Name, st.Description = strings.TrimSpace(f.Name), strings.TrimSpace(f.Description)
	st.Branch, st.ProjectRoot = strings.TrimSpace(f.Branch), strings.TrimSpace(f.ProjectRoot)
	st.Globs, st.Labels = split(f.Globs, "\n"), split(f.Labels, ",")
	st.Tool, st.ToolVersion = f.Tool, strings.TrimSpace(f.ToolVersion)
	st.Commands, st.DestroyThreads = f.Commands, f.DestroyThreads
	st.Autodeploy, st.Plan, st.Promotion, st.Protect = f.Autodeploy, f.Plan, f.Promotion, f.Protect
	if f.State != "" {
		st.State = f.State
	}
	if f.Approvals == "" {
		return nil
	}
	n, err := strconv.Atoi(f.Approvals)
	if err != nil {
		return runs.Invalidf("approvals", "“%s” is no number of approvals. Use one from 0 to %d.", f.Approvals, runs.MaxApprovals)
	}
	st.Approvals = n
	return nil
}

// split gives the non-empty parts of a text, without blanks around them.
func split(text, sep string) []string {
	var out []string
	for part := range strings.SplitSeq(text, sep) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// formErrors sorts an error into a form: to its field, or above all fields. ok is false for one that does
// not belong on the form.
func formErrors(err error) (fields map[string]string, text string, ok bool) {
	var e *runs.Error
	if !errors.As(err, &e) || errors.Is(err, runs.ErrForbidden) {
		return nil, "", false
	}
	if e.Field == "" {
		return nil, e.Message, true
	}
	return map[string]string{e.Field: e.Message}, "", true
}

func (s *Server) postNewStack(c *request) error {
	m := view.StackNewModel{Values: readStackForm(c)}
	var st runs.Stack
	var warnings []string
	err := fill(&st, m.Values)
	if err == nil {
		st, warnings, err = s.eng.CreateStack(c.Request().Context(), st, m.Values.Project, c.who.Name, m.Values.InstallHook)
	}
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.newStackPage(c, http.StatusUnprocessableEntity, m)
	}
	if err != nil {
		return err
	}
	if len(warnings) > 0 {
		return s.flashTo(c, "/stacks/"+st.Slug, view.KindWarn, strings.Join(warnings, " "))
	}
	return s.flashTo(c, "/stacks/"+st.Slug, view.KindGood, "The stack is there. Trigger a run, or push.")
}

func (s *Server) getStackSettings(c *request) error {
	st, err := s.stack(c.Param("slug"))
	if err != nil {
		return err
	}
	return s.stackSettingsPage(c, http.StatusOK, view.StackSettingsModel{Values: formOf(st)})
}

// formOf is the form that shows a stack.
func formOf(st runs.Stack) view.StackForm {
	return view.StackForm{
		Name: st.Name, Description: st.Description, Project: st.ProjectPath, Branch: st.Branch, ProjectRoot: st.ProjectRoot,
		Globs: strings.Join(st.Globs, "\n"), Tool: st.Tool, ToolVersion: st.ToolVersion, Commands: st.Commands, State: st.State,
		Autodeploy: st.Autodeploy, Plan: st.Plan, Promotion: st.Promotion, Protect: st.Protect, DestroyThreads: st.DestroyThreads, Labels: strings.Join(st.Labels, ", "),
		Approvals: strconv.Itoa(st.Approvals),
	}
}

func (s *Server) stackSettingsPage(c *request, status int, m view.StackSettingsModel) error {
	p, head, err := s.stackPage(c, view.TabSettings)
	if err != nil {
		return err
	}
	m.Head, m.Tools = head, s.toolList(c)
	m.Edit, m.Delete = c.who.may(store.Admin, "change these settings"), c.who.may(store.Admin, "delete a stack")
	if head.Stack.Protect && m.Delete.Can {
		m.Delete = view.Act{WhyNot: "The stack is protected from deletion. Switch the protection off first."}
	}
	m.Destroy = c.who.may(store.Writer, "destroy what a stack manages")
	switch {
	case !m.Destroy.Can:
	case head.Stack.Protect:
		m.Destroy = view.Act{WhyNot: "The stack is protected from deletion, and so is what it manages. Switch the protection off first."}
	case head.Detached:
		m.Destroy = view.Act{WhyNot: "GitLab is not linked, so nothing can run."}
	}
	err = s.st.View(func(tx *store.Tx) error {
		v, _, err := tx.NewestState(head.Stack.Slug)
		m.StateKept = v.Version
		return err
	})
	if err != nil {
		return err
	}
	return render(c, status, view.StackSettingsPage(p, m))
}

func (s *Server) postStackSettings(c *request) error {
	st, err := s.stack(c.Param("slug"))
	if err != nil {
		return err
	}
	m := view.StackSettingsModel{Values: readStackForm(c)}
	project := typedProject(m.Values.Project, st.ProjectPath, st.Project)
	if err = fill(&st, m.Values); err == nil {
		_, err = s.eng.UpdateStack(c.Request().Context(), st, project, c.who.Name)
	}
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.stackSettingsPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/stacks/"+st.Slug+"/settings", "The settings are saved. They hold from the next run on.")
}

// typedProject is the project that a form asks for: what was typed, or the id of the one it was, which survives a rename in
// GitLab.
func typedProject(typed, was string, id int64) string {
	if typed = strings.TrimSpace(typed); typed == was {
		return strconv.FormatInt(id, 10)
	}
	return typed
}

// after answers a form whose work is done or was refused.
func (s *Server) after(c *request, err error, to, text string) error {
	if err != nil {
		return err
	}
	return s.flashTo(c, to, view.KindGood, text)
}

func (s *Server) postDestroy(c *request) error {
	st, err := s.stack(c.Param("slug"))
	if err != nil {
		return err
	}
	m := view.StackSettingsModel{Values: formOf(st)}
	if c.FormValue("confirm") != st.Slug {
		m.DestroyError = "That is not the stack's address. Type " + st.Slug + " to destroy everything it manages."
		return s.stackSettingsPage(c, http.StatusUnprocessableEntity, m)
	}
	r, err := s.eng.Trigger(c.Request().Context(), st.Slug, engine.Request{Type: runs.Destroy, By: c.who.Name, Author: c.who.Person, Trigger: c.who.trigger()})
	if _, text, ok := formErrors(err); ok {
		m.DestroyError = text
		return s.stackSettingsPage(c, http.StatusConflict, m)
	}
	return s.after(c, err, "/runs/"+r.ID, "The run that destroys everything is queued. Stop it here if that was wrong.")
}

func (s *Server) postDeleteStack(c *request) error {
	st, err := s.stack(c.Param("slug"))
	if err != nil {
		return err
	}
	m := view.StackSettingsModel{Values: formOf(st)}
	if c.FormValue("slug") != st.Slug {
		m.DeleteError = "That is not the stack's address. Type " + st.Slug + " to delete it."
		return s.stackSettingsPage(c, http.StatusUnprocessableEntity, m)
	}
	err = s.eng.DeleteStack(st.Slug, c.who.Name)
	if _, text, ok := formErrors(err); ok {
		m.DeleteError = text
		return s.stackSettingsPage(c, http.StatusConflict, m)
	}
	return s.after(c, err, "/stacks", "The stack "+st.Name+" is deleted. What it managed stays as it is.")
}
