package web

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"groundcrew/runs"
	"groundcrew/store"
)

// A scoped says whose entries a request is about: a stack's or a context's.
type scoped func(c *request) (scope string, err error)

func (s *Server) stackScope(c *request) (string, error) {
	st, err := s.stack(c.Param("slug"))
	return st.Slug, err
}

func (s *Server) contextScope(c *request) (string, error) {
	ctx, _, err := s.context(c)
	return ctx.Scope(), err
}

// entries reads the variables and files of a scope, secrets hidden.
func (s *Server) entries(scope string) (vars []runs.Variable, files []runs.File, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		if vars, err = tx.Variables(scope); err != nil {
			return err
		}
		files, err = tx.Files(scope)
		return err
	})
	return vars, files, err
}

func (s *Server) apiScopeVariables(of scoped) handler {
	return func(c *request) error {
		scope, err := of(c)
		if err != nil {
			return err
		}
		vars, _, err := s.entries(scope)
		if err != nil {
			return err
		}
		var items []variableJSON
		for _, v := range vars {
			items = append(items, variableOut(v))
		}
		return listed(c, items, "")
	}
}

func (s *Server) apiScopeVariable(of scoped) handler {
	return func(c *request) error {
		scope, err := of(c)
		if err != nil {
			return err
		}
		return s.answerVariable(c, scope)
	}
}

func (s *Server) answerVariable(c *request, scope string) error {
	vars, _, err := s.entries(scope)
	if err != nil {
		return err
	}
	for _, v := range vars {
		if v.Name == c.Param("name") {
			return c.JSON(http.StatusOK, variableOut(v))
		}
	}
	return runs.NotFoundf("There is no variable %q here.", c.Param("name"))
}

func (s *Server) apiPutScopeVariable(of scoped) handler {
	return func(c *request) error {
		var in variableInput
		if err := decode(c, &in); err != nil {
			return err
		}
		if in.Value == nil {
			return runs.Invalidf("value", "Give the variable's value; it may be empty.")
		}
		scope, err := of(c)
		if err != nil {
			return err
		}
		if err := s.eng.PutVariable(scope, runs.Variable{Name: c.Param("name"), Value: *in.Value, Secret: in.Secret}, c.who.Name); err != nil {
			return err
		}
		return s.answerVariable(c, scope)
	}
}

func (s *Server) apiDeleteScopeVariable(of scoped) handler {
	return func(c *request) error {
		scope, err := of(c)
		if err != nil {
			return err
		}
		if err := s.eng.DeleteVariable(scope, c.Param("name"), c.who.Name); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	}
}

// A fileJSON is a mounted file as the API answers it: the content of a secret is null, and that of all in lists.
type fileJSON struct {
	Path      string    `json:"path"`
	Secret    bool      `json:"secret"`
	Size      int       `json:"size"` // bytes
	Content   *string   `json:"content"`
	Encoding  string    `json:"encoding"` // of the content: text or base64
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by"`
}

// The ways a file's content is written in JSON.
const (
	asText   = "text"
	asBase64 = "base64"
)

func fileOut(f runs.File) fileJSON {
	out := fileJSON{Path: f.Path, Secret: f.Secret, Size: f.Size, Encoding: asText, UpdatedAt: f.UpdatedAt.UTC(), UpdatedBy: f.UpdatedBy}
	if f.Binary {
		out.Encoding = asBase64
	}
	return out
}

// A fileInput sets a mounted file.
type fileInput struct {
	Content  *string `json:"content"`
	Encoding string  `json:"encoding"` // text (also when it is not given) or base64
	Secret   bool    `json:"secret"`
}

func (in fileInput) bytes() ([]byte, error) {
	switch {
	case in.Content == nil:
		return nil, runs.Invalidf("content", "Give the file's content; it may be empty.")
	case in.Encoding == "" || in.Encoding == asText:
		return []byte(*in.Content), nil
	case in.Encoding == asBase64:
		raw, err := base64.StdEncoding.DecodeString(*in.Content)
		if err != nil {
			return nil, runs.Invalidf("content", "The content is not base64 (%s).", err)
		}
		return raw, nil
	default:
		return nil, runs.Invalidf("encoding", "“%s” is no encoding. Use text or base64.", in.Encoding)
	}
}

// mountOf makes a file of what it holds.
func mountOf(path string, content []byte, secret bool) runs.Mount {
	return runs.Mount{File: runs.File{Path: path, Secret: secret, Binary: !utf8.Valid(content)}, Content: content}
}

// filePath is the path of a mounted file that stands in the address. Echo hands it on as it was sent where it is escaped otherwise than
// Go would.
func filePath(c *request) (string, error) { return unescaped(c, "*") }

// unescaped is a part of the address that may hold escaped slashes.
func unescaped(c *request, param string) (string, error) {
	if c.Request().URL.RawPath == "" {
		return c.Param(param), nil
	}
	path, err := url.PathUnescape(c.Param(param))
	if err != nil {
		return "", runs.Invalidf("path", "The path in the address is not well escaped.")
	}
	return path, nil
}

func (s *Server) apiFiles(of scoped) handler {
	return func(c *request) error {
		scope, err := of(c)
		if err != nil {
			return err
		}
		_, files, err := s.entries(scope)
		if err != nil {
			return err
		}
		var items []fileJSON
		for _, f := range files {
			items = append(items, fileOut(f))
		}
		return listed(c, items, "")
	}
}

func (s *Server) apiFile(of scoped) handler {
	return func(c *request) error {
		scope, err := of(c)
		if err != nil {
			return err
		}
		path, err := filePath(c)
		if err != nil {
			return err
		}
		return s.answerFile(c, scope, path)
	}
}

func (s *Server) answerFile(c *request, scope, path string) error {
	m, err := s.file(scope, path)
	if err != nil {
		return err
	}
	out := fileOut(m.File)
	if !m.Secret {
		text := string(m.Content)
		if m.Binary {
			text = base64.StdEncoding.EncodeToString(m.Content)
		}
		out.Content = &text
	}
	return c.JSON(http.StatusOK, out)
}

// file reads a mounted file. The content of a secret one does not leave here.
func (s *Server) file(scope, path string) (m runs.Mount, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		m, err = tx.File(scope, path)
		return err
	})
	if m.Secret {
		m.Content = nil
	}
	return m, err
}

func (s *Server) apiPutFile(of scoped) handler {
	return func(c *request) error {
		var in fileInput
		if err := decode(c, &in); err != nil {
			return err
		}
		content, err := in.bytes()
		if err != nil {
			return err
		}
		scope, err := of(c)
		if err != nil {
			return err
		}
		path, err := filePath(c)
		if err != nil {
			return err
		}
		if err := s.eng.PutFile(scope, mountOf(path, content, in.Secret), c.who.Name); err != nil {
			return err
		}
		return s.answerFile(c, scope, path)
	}
}

func (s *Server) apiDeleteFile(of scoped) handler {
	return func(c *request) error {
		scope, err := of(c)
		if err != nil {
			return err
		}
		path, err := filePath(c)
		if err != nil {
			return err
		}
		if err := s.eng.DeleteFile(scope, path, c.who.Name); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	}
}

// An environmentJSON is what the next run of a stack gets.
type environmentJSON struct {
	Variables []environmentVariableJSON `json:"variables"`
	Files     []environmentFileJSON     `json:"files"`
}

type environmentVariableJSON struct {
	Name   string             `json:"name"`
	Value  *string            `json:"value"` // null for a secret
	Secret bool               `json:"secret"`
	From   stackContextJSON   `json:"from"`
	Over   []stackContextJSON `json:"overrides"`
}

type environmentFileJSON struct {
	Path   string             `json:"path"`
	Size   int                `json:"size"`
	Secret bool               `json:"secret"`
	From   stackContextJSON   `json:"from"`
	Over   []stackContextJSON `json:"overrides"`
}

// environmentOf resolves the environment of a stack, secrets hidden.
func (s *Server) environmentOf(slug string) (env runs.Environment, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(slug)
		if err != nil {
			return err
		}
		sources, err := tx.EnvironmentOf(st)
		env = runs.Resolve(sources)
		return err
	})
	return env, err
}

func (s *Server) apiEnvironment(c *request) error {
	env, err := s.environmentOf(c.Param("slug"))
	if err != nil {
		return err
	}
	out := environmentJSON{Variables: []environmentVariableJSON{}, Files: []environmentFileJSON{}}
	for _, e := range env.Variables {
		v := variableOut(e.Value)
		out.Variables = append(out.Variables, environmentVariableJSON{v.Name, v.Value, v.Secret, originOut(e.From), originsOut(e.Over)})
	}
	for _, e := range env.Files {
		out.Files = append(out.Files, environmentFileJSON{e.Value.Path, e.Value.Size, e.Value.Secret, originOut(e.From), originsOut(e.Over)})
	}
	return c.JSON(http.StatusOK, out)
}
