package engine

import (
	"context"
	"errors"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

var errDetached = runs.Conflictf("No GitLab is set up, so nothing can run. Set it up under VCS providers.")

// attached returns the stack and the integration, or says that there is none to run with.
func (e *Engine) attached(slug string) (st runs.Stack, in store.Integration, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		if in, _, err = tx.Integration(); err != nil {
			return err
		}
		if slug != "" {
			if st, err = tx.Stack(slug); err != nil {
				return err
			}
		}
		if !in.Linked {
			return errDetached
		}
		return nil
	})
	return st, in, err
}

// glob matches one of a stack's patterns; a pattern was checked when it was stored.
func glob(pattern, file string) bool {
	ok, err := doublestar.Match(pattern, file)
	return ok && err == nil
}

// checkStack completes and checks what can be known without GitLab. old is the stack as it is stored, the zero Stack for a new one.
func checkStack(st *runs.Stack, old runs.Stack) error {
	defaults(st)
	if err := st.ValidateChange(old); err != nil {
		return err
	}
	patterns := st.Globs
	if st.ReleaseTags != "" {
		patterns = append([]string{st.ReleaseTags}, patterns...)
	}
	for _, g := range patterns {
		if !doublestar.ValidatePattern(g) || strings.ContainsAny(g, "\x00\n") {
			return runs.Invalidf("globs", "“%s” is not a pattern. Use * ? [a-z] {a,b} and ** for any depth of folders.", g)
		}
	}
	if st.Tool != runs.Custom {
		if err := tofu.ValidConstraint(st.ToolVersion); err != nil {
			return runs.Invalidf("tool_version", "“%s” is not a version or constraint (like 1.9.1 or ~> 1.9).", st.ToolVersion)
		}
	}
	return nil
}

func defaults(st *runs.Stack) {
	st.Name = strings.TrimSpace(st.Name)
	st.ProjectRoot = strings.TrimSpace(st.ProjectRoot)
	if st.Tool == "" {
		st.Tool = runs.OpenTofu
	}
	if st.State == "" {
		st.State = runs.StateManaged
	}
	if st.Plan == "" {
		st.Plan = runs.PlanMergeResult
	}
}

// CreateStack stores a new stack after asking GitLab for its project and branch. project is a path or a
// numeric id; an empty branch is the project's default. With installHook the project's hook is installed
// too; that it could not be is a warning, because the stack is good without it.
func (e *Engine) CreateStack(ctx context.Context, st runs.Stack, project, by string, installHook bool) (runs.Stack, []string, error) {
	if err := e.locate(ctx, &st, runs.Stack{}, project); err != nil {
		return st, nil, err
	}
	err := e.st.Update(func(tx *store.Tx) error {
		var err error
		if st, err = tx.AddStack(st); err != nil {
			return err
		}
		changes, err := store.Changed(nil, st)
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "stack.create", Target: st.Slug, Stack: st.Slug, Changes: changes})
	})
	if err != nil {
		return st, nil, err
	}
	e.look(st.Project)
	if !installHook {
		return st, nil, nil
	}
	if _, err := e.InstallHook(ctx, st.Project, by); err != nil {
		return st, []string{"The stack is there, but its project's webhook could not be installed: " + message(err)}, nil
	}
	return st, nil, nil
}

// UpdateStack stores changed settings of a stack. The slug, the lock and the tracked commit stay as they are,
// but for a stack that moves to another project or branch, where the tracked commit is forgotten.
func (e *Engine) UpdateStack(ctx context.Context, st runs.Stack, project, by string) (runs.Stack, error) {
	var old runs.Stack
	err := e.st.View(func(tx *store.Tx) (err error) { old, err = tx.Stack(st.Slug); return err })
	if err != nil {
		return st, err
	}
	if err := e.locate(ctx, &st, old, project); err != nil {
		return st, err
	}
	defer e.look(st.Project) // perhaps it was mended with this
	return e.editStack(st.Slug, by, "stack.update", "", func(old *runs.Stack) error {
		st.CreatedAt, st.LockedBy, st.LockNote, st.Flag, st.RestoredAt = old.CreatedAt, old.LockedBy, old.LockNote, old.Flag, old.RestoredAt
		st.TrackedCommit = old.TrackedCommit
		if st.Project != old.Project || st.Branch != old.Branch {
			st.TrackedCommit = runs.Commit{}
		}
		if st.State != old.State {
			return runs.Invalidf("state", "How state is kept can't change once a stack exists. Make a new stack and import the state there.")
		}
		*old = st
		return nil
	})
}

// locate fills in the project and branch from GitLab and checks the whole stack, which is stored as old.
func (e *Engine) locate(ctx context.Context, st *runs.Stack, old runs.Stack, project string) error {
	_, in, err := e.attached("")
	if err != nil {
		return err
	}
	if project = strings.TrimSpace(project); project == "" {
		return runs.Invalidf("project", "Choose the GitLab project that holds the code.")
	}
	c, err := e.clientOf(in)
	if err != nil {
		return err
	}
	p, err := c.Project(ctx, project)
	if err != nil {
		return field("project", gitlabError(err, "project “"+project+"” was not found, or the token's user may not see it"))
	}
	st.Project, st.ProjectPath, st.ProjectURL = p.ID, p.Path, p.WebURL
	if st.Branch = strings.TrimSpace(st.Branch); st.Branch == "" {
		st.Branch = p.DefaultBranch
	}
	if st.Branch == "" {
		return runs.Invalidf("branch", "The project is empty: it has no branch yet. Name the branch that its first commit will be pushed to.")
	}
	if err := checkStack(st, old); err != nil {
		return err
	}
	if p.Empty {
		return nil // its first push makes the branch
	}
	if _, err := c.Branch(ctx, p.ID, st.Branch); err != nil {
		return field("branch", gitlabError(err, "branch “"+st.Branch+"” was not found in "+p.Path))
	}
	return nil
}

// field names the form field an error belongs to.
func field(name string, err error) error {
	var e *runs.Error
	if errors.As(err, &e) && (e.Kind == runs.ErrNotFound || e.Kind == runs.ErrInvalid) {
		return runs.Invalidf(name, "%s", e.Message)
	}
	return err
}

// DeleteStack removes a stack with its variables and managed state. What it manages stays in the world.
func (e *Engine) DeleteStack(slug, by string) error {
	err := e.st.Update(func(tx *store.Tx) error {
		st, err := tx.Stack(slug)
		if err != nil {
			return err
		}
		if err := tx.DeleteStack(slug); err != nil {
			return err
		}
		changes, err := store.Changed(st, nil)
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "stack.delete", Target: slug, Stack: slug, Changes: changes})
	})
	if err != nil {
		return err
	}
	return e.st.Remove("states", slug)
}

// PutVariable sets a variable of a stack's runs; slug may also be the scope of a module or a context.
func (e *Engine) PutVariable(slug string, v runs.Variable, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		v.UpdatedBy = by
		before, err := variableText(tx, slug, v.Name)
		if err != nil {
			return err
		}
		if err := tx.PutVariable(slug, v); err != nil {
			return err
		}
		after, err := variableText(tx, slug, v.Name)
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: by, Action: "variable.set", Target: slug + "/" + v.Name, Stack: stackIn(slug),
			Changes: []store.AuditChange{{Field: v.Name, Before: before, After: after}},
		})
	})
}

// DeleteVariable removes a variable of a stack's runs; slug may also be the scope of a module or a context.
func (e *Engine) DeleteVariable(slug, name, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		before, err := variableText(tx, slug, name)
		if err != nil {
			return err
		}
		if err := tx.DeleteVariable(slug, name); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{
			By: by, Action: "variable.delete", Target: slug + "/" + name, Stack: stackIn(slug),
			Changes: []store.AuditChange{{Field: name, Before: before}},
		})
	})
}

// variableText is a variable's value as the audit log may hold it: of a secret its digest. "" when there is none.
func variableText(tx *store.Tx, slug, name string) (string, error) {
	all, err := tx.RevealVariables(slug)
	for _, v := range all {
		switch {
		case v.Name != name:
		case v.Secret:
			return tx.Digest(slug+"/"+name, runs.Secret(v.Value)), nil
		default:
			return v.Value, nil
		}
	}
	return "", err
}

// SearchProjects asks GitLab for projects to choose from.
func (e *Engine) SearchProjects(ctx context.Context, q string) ([]gitlab.Project, error) {
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	list, err := c.Projects(ctx, q, 50)
	return list, gitlabError(err, "no project was found")
}

// Branches asks GitLab for branches of a project to choose from.
func (e *Engine) Branches(ctx context.Context, project int64, q string) ([]gitlab.Branch, error) {
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	list, err := c.Branches(ctx, project, q, 50)
	return list, gitlabError(err, "the project was not found")
}

// A Tool is a version of a tool that is present.
type Tool struct{ Tool, Version, Path, Problem string }

// Tools lists the tools that are present, newest first.
func (e *Engine) Tools(ctx context.Context) ([]Tool, error) {
	bins, err := e.prober.Probe(ctx, e.o.ToolDirs, e.o.ToolPath)
	out := make([]Tool, 0, len(bins))
	for _, b := range bins {
		out = append(out, Tool{b.Tool, b.Version, b.Path, b.Problem})
	}
	return out, err
}
