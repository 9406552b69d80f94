package store

import (
	"fmt"
	"slices"
	"strings"

	"groundcrew/runs"
)

// Context returns a context by its slug, or ErrNotFound.
func (tx *Tx) Context(slug string) (runs.Context, error) {
	var c runs.Context
	ok, err := get(tx, "contexts", slug, &c)
	if err == nil && !ok {
		err = notFound("context", slug)
	}
	return c, err
}

// Contexts returns all contexts by slug.
func (tx *Tx) Contexts() ([]runs.Context, error) { return all[runs.Context](tx, "contexts", "") }

// AddContext stores a new context under the slug of its name; a taken slug is an ErrConflict.
func (tx *Tx) AddContext(c runs.Context) (runs.Context, error) {
	if err := c.Validate(); err != nil {
		return c, err
	}
	c.Slug = runs.Slug(c.Name)
	if has(tx, "contexts", c.Slug) {
		return c, &runs.Error{Kind: runs.ErrConflict, Field: "name", Message: fmt.Sprintf("A context with the address “%s” exists already. Choose another name.", c.Slug)}
	}
	c.CreatedAt, c.UpdatedAt = tx.now, tx.now
	return c, put(tx, "contexts", c.Slug, c)
}

// PutContext stores changed fields of a context that is there.
func (tx *Tx) PutContext(c runs.Context) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c.UpdatedAt = tx.now
	return put(tx, "contexts", c.Slug, c)
}

// DeleteContext removes a context with its entries. One that stacks use is refused: they would lose what they run with.
func (tx *Tx) DeleteContext(slug string) error {
	c, err := tx.Context(slug)
	if err != nil {
		return err
	}
	uses, err := tx.ContextUses(c)
	if err != nil {
		return err
	}
	if len(uses) > 0 {
		return runs.Conflictf("The context is attached to %s, which would lose what it holds. %s", usedBy(uses), howToDetach(uses))
	}
	for _, b := range []string{"variables", "files", "file_contents"} {
		if err := tx.dropPrefix(b, c.Scope()+"/"); err != nil {
			return err
		}
	}
	return unmark(tx, "contexts", slug)
}

// usedBy names the stacks, a few of them where they are many.
func usedBy(uses []ContextUse) string {
	const most = 5
	var names []string
	for _, u := range uses[:min(most, len(uses))] {
		names = append(names, u.Stack)
	}
	text := strings.Join(names, ", ")
	if n := len(uses) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

func howToDetach(uses []ContextUse) string {
	byLabel := slices.ContainsFunc(uses, func(u ContextUse) bool { return u.Auto })
	byHand := slices.ContainsFunc(uses, func(u ContextUse) bool { return !u.Auto })
	switch {
	case byLabel && byHand:
		return "Detach it there, and take its " + runs.AutoAttach + " labels away, first."
	case byLabel:
		return "Take its " + runs.AutoAttach + " labels away first."
	default:
		return "Detach it there first."
	}
}

// A ContextUse is a stack that a context is attached to, and why.
type ContextUse struct {
	Stack    string // slug
	Priority int
	Auto     bool   // by a label
	Label    string // that label, “*” for all stacks
}

// ContextUses returns the stacks a context is attached to, by slug.
func (tx *Tx) ContextUses(c runs.Context) ([]ContextUse, error) {
	var out []ContextUse
	err := each(tx, "context_stacks", c.Slug+"/", func(k string, _ []byte) (bool, error) {
		var a runs.Attachment
		_, err := get(tx, "attachments", strings.TrimPrefix(k, c.Slug+"/")+"/"+c.Slug, &a)
		out = append(out, ContextUse{Stack: a.Stack, Priority: a.Priority})
		return true, err
	})
	if err != nil || len(c.AutoLabels()) == 0 {
		return out, err
	}
	stacks, err := tx.Stacks()
	if err != nil {
		return nil, err
	}
	byHand := map[string]bool{}
	for _, u := range out {
		byHand[u.Stack] = true
	}
	for _, st := range stacks {
		if byHand[st.Slug] {
			continue
		}
		if label, ok := c.Attaches(st.Labels); ok {
			out = append(out, ContextUse{Stack: st.Slug, Auto: true, Label: label})
		}
	}
	slices.SortFunc(out, func(a, b ContextUse) int { return strings.Compare(a.Stack, b.Stack) })
	return out, nil
}

// Attach attaches a context to a stack, or changes the priority of an attachment that is there.
func (tx *Tx) Attach(a runs.Attachment) error {
	if err := a.Validate(); err != nil {
		return err
	}
	if _, err := tx.Stack(a.Stack); err != nil {
		return err
	}
	if _, err := tx.Context(a.Context); err != nil {
		return err
	}
	a.At = tx.now
	if err := mark(tx, "context_stacks", a.Context+"/"+a.Stack); err != nil {
		return err
	}
	return put(tx, "attachments", a.Stack+"/"+a.Context, a)
}

// Detach takes an attachment back, or says that there is none.
func (tx *Tx) Detach(stack, context string) error {
	if !has(tx, "attachments", stack+"/"+context) {
		return runs.NotFoundf("The context %q is not attached to the stack %q by hand.", context, stack)
	}
	if err := unmark(tx, "context_stacks", context+"/"+stack); err != nil {
		return err
	}
	return unmark(tx, "attachments", stack+"/"+context)
}

// Attachments returns what people attached to a stack, by slug of the context.
func (tx *Tx) Attachments(stack string) ([]runs.Attachment, error) {
	return all[runs.Attachment](tx, "attachments", stack+"/")
}

// detachAll takes back all attachments of a stack.
func (tx *Tx) detachAll(stack string) error {
	list, err := tx.Attachments(stack)
	for _, a := range list {
		if err == nil {
			err = tx.Detach(stack, a.Context)
		}
	}
	return err
}

// ContextsOf returns the contexts of a stack in the order in which they win.
func (tx *Tx) ContextsOf(st runs.Stack) ([]runs.Origin, error) {
	attached, err := tx.Attachments(st.Slug)
	if err != nil {
		return nil, err
	}
	contexts, err := tx.Contexts()
	return runs.Precedence(st.Labels, attached, contexts), err
}

// EnvironmentOf returns what a stack's environment is made of, the stack's own first, then its contexts as they win. Values of secrets
// are hidden.
func (tx *Tx) EnvironmentOf(st runs.Stack) ([]runs.Source, error) {
	return tx.sources(st, (*Tx).Variables)
}

// RevealEnvironment is EnvironmentOf with the values of secret variables, for the one process that needs them.
func (tx *Tx) RevealEnvironment(st runs.Stack) ([]runs.Source, error) {
	return tx.sources(st, (*Tx).RevealVariables)
}

func (tx *Tx) sources(st runs.Stack, variables func(*Tx, string) ([]runs.Variable, error)) ([]runs.Source, error) {
	contexts, err := tx.ContextsOf(st)
	if err != nil {
		return nil, err
	}
	out := make([]runs.Source, 0, 1+len(contexts))
	for _, o := range append([]runs.Origin{{}}, contexts...) {
		s := runs.Source{Origin: o}
		scope := ScopeOf(st, o)
		if s.Variables, err = variables(tx, scope); err != nil {
			return nil, err
		}
		if s.Files, err = tx.Files(scope); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// ScopeOf is what the entries of a stack's source are stored under.
func ScopeOf(st runs.Stack, o runs.Origin) string {
	if o.Own() {
		return st.Slug
	}
	return runs.Context{Slug: o.Context}.Scope()
}

func fileRecord(key string) string { return "files/" + key }

// Files returns the mounted files of a scope by path, without what they hold.
func (tx *Tx) Files(scope string) ([]runs.File, error) {
	return all[runs.File](tx, "files", scope+"/")
}

// File returns one mounted file with what it holds, also of a secret one: whoever shows it looks first. ErrNotFound when there is
// none.
func (tx *Tx) File(scope, path string) (runs.Mount, error) {
	var m runs.Mount
	ok, err := get(tx, "files", scope+"/"+path, &m.File)
	if err == nil && !ok {
		err = notFound("file", path)
	}
	if err != nil {
		return m, err
	}
	m.Content, err = tx.s.seal.open(fileRecord(scope+"/"+path), tx.b.Bucket([]byte("file_contents")).Get([]byte(scope+"/"+path)))
	return m, err
}

// PutFile stores a mounted file of a scope. A file that cannot lie beside one that is there, and too many or too much, are refused.
func (tx *Tx) PutFile(scope string, m runs.Mount) error {
	if err := runs.ValidateFile(m.Path, m.Content, m.Secret); err != nil {
		return err
	}
	if err := tx.owner(scope); err != nil {
		return err
	}
	if err := tx.roomFor(scope, m); err != nil {
		return err
	}
	m.Size, m.UpdatedAt = len(m.Content), tx.now
	key := scope + "/" + m.Path
	if err := tx.b.Bucket([]byte("file_contents")).Put([]byte(key), tx.s.seal.lock(fileRecord(key), m.Content)); err != nil {
		return err
	}
	return put(tx, "files", key, m.File)
}

// roomFor refuses a file that does not fit beside those that are there.
func (tx *Tx) roomFor(scope string, m runs.Mount) error {
	files, err := tx.Files(scope)
	if err != nil {
		return err
	}
	count, total, secret := 1, len(m.Content), 0
	if m.Secret {
		secret = len(m.Content)
	}
	for _, f := range files {
		if f.Path == m.Path {
			continue
		}
		if runs.InTheWay(f.Path, m.Path) {
			return runs.Invalidf("path", "“%s” and “%s” cannot both be there: one is a file where the other needs a folder.", m.Path, f.Path)
		}
		count, total = count+1, total+f.Size
		if f.Secret {
			secret += f.Size
		}
	}
	switch {
	case count > runs.MaxFiles:
		return runs.Invalidf("path", "There are %d files already, the most there can be. Put several into one archive, or remove some.", runs.MaxFiles)
	case total > runs.MaxFilesTotal:
		return runs.Invalidf("content", "All files together would have %d bytes; %d is the most.", total, runs.MaxFilesTotal)
	case secret > runs.MaxSecrets:
		return runs.Invalidf("content", "All secret files together would have %d bytes; %d is the most, because all of it is looked for in every log.", secret, runs.MaxSecrets)
	}
	return nil
}

// DeleteFile removes a mounted file, or says that there is none.
func (tx *Tx) DeleteFile(scope, path string) error {
	if !has(tx, "files", scope+"/"+path) {
		return notFound("file", path)
	}
	if err := unmark(tx, "file_contents", scope+"/"+path); err != nil {
		return err
	}
	return unmark(tx, "files", scope+"/"+path)
}
