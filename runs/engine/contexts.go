package engine

import (
	"slices"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
)

// stackIn is the stack that an entry of the audit log is about, "" where it is about a module or a context.
func stackIn(scope string) string {
	if runs.ContextOf(scope) != "" {
		return ""
	}
	return scope
}

// CreateContext stores a new context.
func (e *Engine) CreateContext(c runs.Context, by string) (runs.Context, error) {
	tidyContext(&c)
	c.UpdatedBy = by
	err := e.st.Update(func(tx *store.Tx) (err error) {
		if c, err = tx.AddContext(c); err != nil {
			return err
		}
		return auditContext(tx, by, "context.create", c.Slug, nil, c)
	})
	return c, err
}

// EditContext changes a context by edit. Runs at work and runs that wait keep what they were planned with.
func (e *Engine) EditContext(slug, by string, edit func(*runs.Context)) (c runs.Context, err error) {
	err = e.st.Update(func(tx *store.Tx) error {
		old, err := tx.Context(slug)
		if err != nil {
			return err
		}
		c = old
		edit(&c)
		tidyContext(&c)
		c.Slug, c.CreatedAt, c.UpdatedBy = old.Slug, old.CreatedAt, by
		if err := tx.PutContext(c); err != nil {
			return err
		}
		return auditContext(tx, by, "context.update", slug, old, c)
	})
	return c, err
}

// DeleteContext removes a context that no stack uses.
func (e *Engine) DeleteContext(slug, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		old, err := tx.Context(slug)
		if err != nil {
			return err
		}
		if err := tx.DeleteContext(slug); err != nil {
			return err
		}
		return auditContext(tx, by, "context.delete", slug, old, nil)
	})
}

func tidyContext(c *runs.Context) {
	c.Name, c.Description = strings.TrimSpace(c.Name), strings.TrimSpace(c.Description)
	slices.Sort(c.Labels)
	c.Labels = slices.Compact(c.Labels)
}

func auditContext(tx *store.Tx, by, action, slug string, before, after any) error {
	changes, err := store.Changed(before, after)
	if err != nil {
		return err
	}
	changes = slices.DeleteFunc(changes, func(c store.AuditChange) bool { return c.Field == "updated_by" })
	return tx.Audit(store.AuditEntry{By: by, Action: action, Target: slug, Changes: changes})
}

// AttachContext attaches a context to a stack, or gives the attachment another priority.
func (e *Engine) AttachContext(stack, context string, priority int, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		before, err := priorityOf(tx, stack, context)
		if err != nil {
			return err
		}
		if err := tx.Attach(runs.Attachment{Stack: stack, Context: context, Priority: priority, By: by}); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: by, Action: "context.attach", Target: context, Stack: stack,
			Changes: []store.AuditChange{{Field: "priority", Before: before, After: strconv.Itoa(priority)}},
		})
	})
}

// DetachContext takes an attachment back.
func (e *Engine) DetachContext(stack, context, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		before, err := priorityOf(tx, stack, context)
		if err != nil {
			return err
		}
		if err := tx.Detach(stack, context); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: by, Action: "context.detach", Target: context, Stack: stack,
			Changes: []store.AuditChange{{Field: "priority", Before: before}},
		})
	})
}

// priorityOf is the priority of an attachment as the audit log says it, "" when there is none.
func priorityOf(tx *store.Tx, stack, context string) (string, error) {
	list, err := tx.Attachments(stack)
	for _, a := range list {
		if a.Context == context {
			return strconv.Itoa(a.Priority), nil
		}
	}
	return "", err
}

// PutFile mounts a file in a stack's runs; scope is its slug, or the scope of a context.
func (e *Engine) PutFile(scope string, m runs.Mount, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		m.UpdatedBy = by
		before, err := fileText(tx, scope, m.Path)
		if err != nil {
			return err
		}
		if err := tx.PutFile(scope, m); err != nil {
			return err
		}
		after, err := fileText(tx, scope, m.Path)
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: by, Action: "file.set", Target: scope + "/" + m.Path, Stack: stackIn(scope),
			Changes: []store.AuditChange{{Field: m.Path, Before: before, After: after}},
		})
	})
}

// DeleteFile takes a mounted file away.
func (e *Engine) DeleteFile(scope, path, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		before, err := fileText(tx, scope, path)
		if err != nil {
			return err
		}
		if err := tx.DeleteFile(scope, path); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: by, Action: "file.delete", Target: scope + "/" + path, Stack: stackIn(scope),
			Changes: []store.AuditChange{{Field: path, Before: before}},
		})
	})
}

// fileText is a file as the audit log says it, secret or not: its size and a digest. "" when there is none.
func fileText(tx *store.Tx, scope, path string) (string, error) {
	files, err := tx.Files(scope)
	if err != nil || !slices.ContainsFunc(files, func(f runs.File) bool { return f.Path == path }) {
		return "", err
	}
	m, err := tx.File(scope, path)
	if err != nil {
		return "", err
	}
	kind := "plain"
	if m.Secret {
		kind = "secret"
	}
	return kind + ", " + strconv.Itoa(m.Size) + " bytes, " + tx.Digest(scope+"/"+path, runs.Secret(m.Content)), nil
}
