package web

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// A room is a page that shows a set of entries, of a stack or of a context, with the forms that change them.
type room struct {
	scope scoped
	at    func(slug string) view.EntriesAt
	need  store.Role // to change something
	show  func(c *request, status int, m view.EntriesModel) error
}

func (s *Server) stackRoom() room {
	return room{scope: s.stackScope, at: view.StackEntriesAt, need: store.Writer, show: s.environmentPage}
}

func (s *Server) contextRoom() room {
	return room{scope: s.contextScope, at: view.ContextEntriesAt, need: store.Admin, show: s.contextPage}
}

// environmentPage shows what the stack's runs get.
func (s *Server) environmentPage(c *request, status int, m view.EntriesModel) error {
	p, head, err := s.stackPage(c, view.TabEnvironment)
	if err != nil {
		return err
	}
	env, err := s.environmentOf(head.Stack.Slug)
	if err != nil {
		return err
	}
	m.Variables, m.Files, m.Origins = env.Variables, env.Files, true
	return render(c, status, view.EnvironmentPage(p, view.EnvironmentModel{Head: head, Entries: m}))
}

// getEntries shows the entries; ?edit= and ?file= fill the forms with one that is there, also with an inherited one that is to be
// overridden.
func (s *Server) getEntries(r room) handler {
	return func(c *request) error {
		m := view.EntriesModel{}
		if name := c.QueryParam("edit"); name != "" {
			e, ok, err := s.variableShown(c, r, name)
			if err != nil {
				return err
			}
			if ok {
				m.Values = view.VariableForm{Name: name, Value: e.Value.Value, Secret: e.Value.Secret, Editing: e.From.Own()}
			}
		}
		if path := c.QueryParam("file"); path != "" {
			if err := s.fillFile(c, r, path, &m); err != nil {
				return err
			}
		}
		return s.roomPage(c, r, http.StatusOK, m)
	}
}

func (s *Server) roomPage(c *request, r room, status int, m view.EntriesModel) error {
	m.At, m.Edit = r.at(c.Param("slug")), c.who.may(r.need, "change variables and files")
	return r.show(c, status, m)
}

// shown is what the page of a room lists, secrets hidden.
func (s *Server) shown(c *request, r room) (env runs.Environment, scope string, err error) {
	if scope, err = r.scope(c); err != nil {
		return env, scope, err
	}
	if runs.ContextOf(scope) == "" {
		env, err = s.environmentOf(scope)
		return env, scope, err
	}
	vars, files, err := s.entries(scope)
	return runs.Resolve([]runs.Source{{Variables: vars, Files: files}}), scope, err
}

func (s *Server) variableShown(c *request, r room, name string) (found runs.Entry[runs.Variable], ok bool, err error) {
	env, _, err := s.shown(c, r)
	for _, e := range env.Variables {
		if e.Value.Name == name {
			return e, true, nil
		}
	}
	return found, false, err
}

// fillFile puts a file into the form, or before the eyes of somebody who may only look. What is a secret or no text stays where it is.
func (s *Server) fillFile(c *request, r room, path string, m *view.EntriesModel) error {
	env, scope, err := s.shown(c, r)
	if err != nil {
		return err
	}
	for _, e := range env.Files {
		if e.Value.Path != path {
			continue
		}
		if !e.From.Own() {
			scope = runs.Context{Slug: e.From.Context}.Scope()
		}
		f, err := s.file(scope, path)
		if errors.Is(err, runs.ErrNotFound) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		m.File = view.FileForm{Path: path, Secret: f.Secret, Binary: f.Binary, Editing: e.From.Own()}
		if !f.Secret && !f.Binary {
			m.File.Content = string(f.Content)
		}
		if !c.who.has(r.need) && !f.Secret && !f.Binary {
			m.Shown = &view.ShownFile{Path: path, Content: string(f.Content)}
		}
	}
	return nil
}

// errNoSecret keeps a secret from being emptied by saving its form, which cannot show it.
var errNoSecret = runs.Invalidf("value", "Enter the secret's value again: it cannot be read back.")

func (s *Server) postVariable(r room) handler {
	return func(c *request) error {
		scope, err := r.scope(c)
		if err != nil {
			return err
		}
		v := runs.Variable{Name: strings.TrimSpace(c.FormValue("name")), Secret: c.FormValue("secret") != ""}
		v.Value = unixLines(c.FormValue("value"))
		err = errNoSecret
		if !v.Secret || v.Value != "" {
			err = s.eng.PutVariable(scope, v, c.who.Name)
		}
		if field, text, ok := fieldError(err); ok {
			m := view.EntriesModel{Errors: map[string]string{field: text}, Values: view.VariableForm{Name: v.Name, Value: v.Value, Secret: v.Secret}}
			if v.Secret {
				m.Values.Value = "" // never sent back
			}
			return s.roomPage(c, r, http.StatusUnprocessableEntity, m)
		}
		return s.after(c, err, r.at(c.Param("slug")).Page, v.Name+" is set. Runs have it from the next one on.")
	}
}

// unixLines takes back that browsers make CR LF of every line end.
func unixLines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

func (s *Server) postDeleteVariable(r room) handler {
	return func(c *request) error {
		scope, err := r.scope(c)
		if err != nil {
			return err
		}
		name := c.FormValue("name")
		return s.after(c, s.eng.DeleteVariable(scope, name, c.who.Name), r.at(c.Param("slug")).Page, name+" is deleted.")
	}
}

// errNoContent keeps a secret file from being emptied by saving its form, which cannot show it.
var errNoContent = runs.Invalidf("content", "Enter the file's content again, or choose the file: a secret one cannot be read back.")

func (s *Server) postFile(r room) handler {
	return func(c *request) error {
		scope, err := r.scope(c)
		if err != nil {
			return err
		}
		content, err := uploaded(c) // before the form's other fields are read: this reads them all
		if err != nil {
			return err
		}
		form := view.FileForm{Path: strings.TrimSpace(c.FormValue("path")), Content: unixLines(c.FormValue("content")), Secret: c.FormValue("secret_file") != ""}
		if content == nil {
			content = []byte(form.Content)
		}
		if form.Secret && len(content) == 0 {
			err = errNoContent
		} else {
			err = s.eng.PutFile(scope, mountOf(form.Path, content, form.Secret), c.who.Name)
		}
		if field, text, ok := fieldError(err); ok {
			if form.Secret {
				form.Content = "" // never sent back
			}
			return s.roomPage(c, r, http.StatusUnprocessableEntity, view.EntriesModel{FileErr: map[string]string{field: text}, File: form})
		}
		return s.after(c, err, r.at(c.Param("slug")).Page, form.Path+" is set. Runs have it from the next one on.")
	}
}

// uploaded reads the file that was chosen in the form; nil when none was.
func uploaded(c *request) ([]byte, error) {
	head, err := c.FormFile("upload")
	if errors.Is(err, http.ErrMissingFile) || errors.Is(err, http.ErrNotMultipart) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if head.Filename == "" && head.Size == 0 {
		return nil, nil
	}
	f, err := head.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if content == nil {
		content = []byte{}
	}
	return content, err
}

func (s *Server) postDeleteFile(r room) handler {
	return func(c *request) error {
		scope, err := r.scope(c)
		if err != nil {
			return err
		}
		path := c.FormValue("path")
		return s.after(c, s.eng.DeleteFile(scope, path, c.who.Name), r.at(c.Param("slug")).Page, path+" is deleted.")
	}
}
