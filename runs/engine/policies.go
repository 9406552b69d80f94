package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// CreatePolicy stores a new policy. Its text must compile.
func (e *Engine) CreatePolicy(ctx context.Context, p runs.Policy, by string) (runs.Policy, error) {
	tidyPolicy(&p)
	p.UpdatedBy = by
	if err := e.o.Court.Check(ctx, p); err != nil {
		return p, err
	}
	err := e.st.Update(func(tx *store.Tx) (err error) {
		if p, err = tx.AddPolicy(p); err != nil {
			return err
		}
		return auditPolicy(tx, by, "policy.create", p.Slug, nil, p)
	})
	return p, err
}

// EditPolicy changes a policy by edit; what runs were told before stays. A changed text must compile. The type never changes: what is
// kept of earlier evaluations would be of another one.
func (e *Engine) EditPolicy(ctx context.Context, slug, by string, edit func(*runs.Policy)) (p runs.Policy, err error) {
	old, err := e.policy(slug)
	if err != nil {
		return old, err
	}
	p = edited(old, by, edit)
	if p.Type != old.Type {
		return p, runs.Invalidf("type", "The type of a policy never changes. Make another policy of type %s.", p.Type)
	}
	if p.Body != old.Body {
		if err := e.o.Court.Check(ctx, p); err != nil {
			return p, err
		}
	}
	err = e.st.Update(func(tx *store.Tx) error {
		now, err := tx.Policy(slug)
		if err != nil {
			return err
		}
		if now.Body != old.Body { // compiling takes its time
			return runs.Conflictf("Somebody else changed the text in the same moment. Look at what it is now, and change that.")
		}
		p = edited(now, by, edit)
		if err := tx.PutPolicy(p); err != nil {
			return err
		}
		return auditPolicy(tx, by, "policy.update", slug, now, p)
	})
	return p, err
}

func (e *Engine) policy(slug string) (p runs.Policy, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		p, err = tx.Policy(slug)
		return err
	})
	return p, err
}

// edited is the policy after edit. What went wrong with an earlier text says nothing of a new one.
func edited(old runs.Policy, by string, edit func(*runs.Policy)) runs.Policy {
	p := old
	edit(&p)
	tidyPolicy(&p)
	p.Slug, p.CreatedAt, p.UpdatedBy = old.Slug, old.CreatedAt, by
	if p.Body != old.Body {
		p.LastError, p.LastErrorAt, p.LastErrorOf = "", time.Time{}, ""
	}
	return p
}

// DeletePolicy removes a policy with what is kept of its evaluations. Runs keep what it told them.
func (e *Engine) DeletePolicy(slug, by string) error {
	err := e.st.Update(func(tx *store.Tx) error {
		old, err := tx.Policy(slug)
		if err != nil {
			return err
		}
		if err := tx.DeletePolicy(slug); err != nil {
			return err
		}
		return auditPolicy(tx, by, "policy.delete", slug, old, nil)
	})
	if err != nil {
		return err
	}
	return e.st.Remove("samples", slug)
}

// TryPolicy asks a policy without keeping anything of it. A text that does not compile, or cannot be valid otherwise, is an
// ErrInvalid; an evaluation that fails is a result like any other.
func (e *Engine) TryPolicy(ctx context.Context, p runs.Policy, input json.RawMessage) (policy.Answer, runs.PolicyResult, error) {
	tidyPolicy(&p)
	answer, err := e.o.Court.Try(ctx, p, input)
	if err != nil && (ctx.Err() != nil || errors.Is(err, runs.ErrInvalid)) {
		return answer, runs.PolicyResult{}, err
	}
	return answer, policy.Asked{Policy: p, Answer: answer, Err: err}.Result(e.now()), nil
}

// CheckPolicy compiles a policy; what is wrong is an ErrInvalid.
func (e *Engine) CheckPolicy(ctx context.Context, p runs.Policy) error {
	return e.o.Court.Check(ctx, p)
}

func tidyPolicy(p *runs.Policy) {
	p.Name, p.Description = strings.TrimSpace(p.Name), strings.TrimSpace(p.Description)
	p.Labels, p.Stacks = sortedOnce(p.Labels), sortedOnce(p.Stacks)
}

// sortedOnce is a sorted copy without doubles.
func sortedOnce(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func auditPolicy(tx *store.Tx, by, action, slug string, before, after any) error {
	changes, err := store.Changed(before, after)
	if err != nil {
		return err
	}
	changes = slices.DeleteFunc(changes, func(c store.AuditChange) bool {
		return slices.Contains([]string{"updated_by", "last_error", "last_error_at", "last_error_of"}, c.Field)
	})
	return tx.Audit(store.AuditEntry{By: by, Action: action, Target: slug, Changes: changes})
}
