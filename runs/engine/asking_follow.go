package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// Limits of trigger policies.
const (
	maxChain     = 10 // runs of other stacks that follow one after the other
	maxTriggered = 50 // stacks that follow one run
)

// mendWithin is how long after a run a trigger policy that could not be asked of it is asked again when its text is mended. Later
// it would be a surprise.
const mendWithin = 24 * time.Hour

// maxAgain is how often a trigger policy that could not be asked of a run is asked again with the same text, each time after [askAgain]:
// time or memory may have been short.
const maxAgain = 3

// askWhatFollows asks trigger policies of the oldest runs that have ended, and starts what they name; more says that there are others.
// Those that could not be asked are asked again a few times, and when their text is another one.
func (e *Engine) askWhatFollows(ctx context.Context) (more bool, err error) {
	var due []store.Follow
	err = e.st.View(func(tx *store.Tx) error {
		list, err := tx.Follows()
		if err != nil || len(list) == 0 {
			return err
		}
		policies, err := tx.Policies()
		texts := textsOf(policies)
		due = keepIf(list, func(f store.Follow) bool {
			return f.At.IsZero() || tooLate(f, tx.Now()) || slices.ContainsFunc(f.Failed, func(u store.Unasked) bool { return again(u, texts, tx.Now()) })
		})
		return err
	})
	if err != nil {
		return false, err
	}
	n := min(len(due), lanes)
	errs := make([]error, n)
	inLanes(n, func(i int) { errs[i] = e.follow(ctx, due[i]) })
	return n < len(due), errors.Join(errs...)
}

// textsOf are digests of the texts of the trigger policies that are switched on, by slug.
func textsOf(policies []runs.Policy) map[string]string {
	texts := map[string]string{}
	for _, p := range policies {
		if p.Type == runs.PolicyTrigger && !p.Off {
			sum := sha256.Sum256([]byte(p.Body))
			texts[p.Slug] = hex.EncodeToString(sum[:16])
		}
	}
	return texts
}

// again reports whether a policy that could not be asked is to be asked again: it is there with another text, or with the same one that
// was last asked a while ago.
func again(u store.Unasked, texts map[string]string, now time.Time) bool {
	text, there := texts[u.Policy]
	return there && (text != u.Text || u.Again < maxAgain && now.Sub(u.At) >= askAgain)
}

func tooLate(f store.Follow, now time.Time) bool {
	return !f.At.IsZero() && now.Sub(f.At) >= mendWithin
}

// follow asks what follows a run: at first all trigger policies of its stack, then those that failed and are asked again.
func (e *Engine) follow(ctx context.Context, f store.Follow) error {
	if tooLate(f, e.now()) {
		return e.st.Update(func(tx *store.Tx) error { return giveUpFollow(tx, f) })
	}
	m, failed := matter{run: f.Run}, f.Failed
	var r runs.Run
	err := e.st.View(func(tx *store.Tx) (err error) {
		if r, err = whatFollows(tx, &f, &m); errors.Is(err, runs.ErrNotFound) {
			f.Failed, err = nil, nil // the run or its stack is gone
		}
		return err
	})
	if err != nil {
		return err
	}
	v, err := e.ask(ctx, runs.PolicyTrigger, m)
	if err != nil {
		return err
	}
	return e.st.Update(func(tx *store.Tx) error {
		if err := e.triggerAll(tx, r, &f, v.Trigger); err != nil {
			return err
		}
		keepUnasked(&f, failed, m.policies, v.Results, tx.Now())
		if len(f.Failed) == 0 {
			return tx.Followed(f.Run)
		}
		return tx.PutFollow(f)
	})
}

// whatFollows fills in what trigger policies are asked after a run, and takes those that are asked again from the failed ones.
func whatFollows(tx *store.Tx, f *store.Follow, m *matter) (r runs.Run, err error) {
	if r, err = tx.Run(f.Run); err != nil {
		return r, err
	}
	if m.stack, err = tx.Stack(r.Stack); err != nil {
		return r, err
	}
	if m.policies, err = policiesOf(tx, m.stack, runs.PolicyTrigger); err != nil {
		return r, err
	}
	if !f.At.IsZero() {
		all, err := tx.Policies()
		if err != nil {
			return r, err
		}
		texts := textsOf(all)
		due := keepIf(f.Failed, func(u store.Unasked) bool { return again(u, texts, tx.Now()) })
		f.Failed = keepIf(f.Failed, func(u store.Unasked) bool { return !slices.Contains(due, u) })
		m.policies = keepIf(m.policies, func(p runs.Policy) bool {
			return slices.ContainsFunc(due, func(u store.Unasked) bool { return u.Policy == p.Slug })
		})
	}
	if len(m.policies) == 0 {
		return r, nil
	}
	all, err := tx.Stacks()
	var stacks []policy.Stack
	for _, st := range all {
		stacks = append(stacks, policy.StackOf(*st))
	}
	m.input = policy.Input{Stacks: stacks}.About(r)
	return r, err
}

// triggerAll starts the stacks that policies name after a run, but for those that they named after it before.
func (e *Engine) triggerAll(tx *store.Tx, after runs.Run, f *store.Follow, named []string) error {
	for _, slug := range named {
		if slices.Contains(f.Triggered, slug) {
			continue
		}
		if len(f.Triggered) == maxTriggered {
			return refuseTrigger(tx, after, slug, fmt.Sprintf("%d stacks were named already, the most that follow one run", maxTriggered))
		}
		if err := e.triggerAfter(tx, after, slug); err != nil {
			return err
		}
		f.Triggered = append(f.Triggered, slug)
	}
	return nil
}

// keepUnasked notes which policies could not be asked, of those that were to be. failed are those that could not be asked before.
func keepUnasked(f *store.Follow, failed []store.Unasked, asked []runs.Policy, results []runs.PolicyResult, now time.Time) {
	if f.At.IsZero() {
		f.At = now
	}
	texts := textsOf(asked)
	for _, r := range results {
		if r.Outcome != runs.OutcomeError {
			continue
		}
		u := store.Unasked{Policy: r.Policy, Text: texts[r.Policy], Error: strings.Join(r.Messages, " "), At: now}
		for _, old := range failed {
			if old.Policy == u.Policy && old.Text == u.Text {
				u.Again = old.Again + 1
			}
		}
		f.Failed = append(f.Failed, u)
	}
}

// giveUpFollow says in the audit log that what might have followed a run did not.
func giveUpFollow(tx *store.Tx, f store.Follow) error {
	var slugs []string
	for _, u := range f.Failed {
		slugs = append(slugs, u.Policy)
	}
	r, err := tx.Run(f.Run)
	if notGone(err) != nil {
		return err
	}
	err = tx.Audit(store.AuditEntry{
		By: runs.System, Action: "policy.trigger_refused", Target: strings.Join(slugs, ", "), Stack: r.Stack,
		Note: fmt.Sprintf("After run %s it could not be asked which stacks run next, nor when it was asked again, and its text was not mended within %s, so for its part nothing was started.", f.Run, span(mendWithin)),
	})
	return errors.Join(err, tx.Followed(f.Run))
}

// triggerAfter starts a tracked run of a stack that a policy names after a run. What cannot be started is said in the audit log, and
// holds nothing up.
func (e *Engine) triggerAfter(tx *store.Tx, after runs.Run, slug string) error {
	why := ""
	st, err := tx.Stack(slug)
	chain := append(slices.Clone(after.Chain), after.Stack)
	switch {
	case errors.Is(err, runs.ErrNotFound):
		why = "there is no such stack"
	case err != nil:
		return err
	case slices.Contains(chain, slug):
		why = "it led to this run itself, so it would go round in a circle"
	case len(chain) > maxChain:
		why = fmt.Sprintf("%d runs followed one after the other already", maxChain)
	case st.TrackedCommit.SHA == "":
		why = "nothing was pushed to its branch yet"
	}
	if why != "" {
		return refuseTrigger(tx, after, slug, why)
	}
	if old, there, err := tx.NewestRunOf(slug, runs.Tracked, st.TrackedCommit.SHA); err != nil || there && old.State == runs.Queued {
		return err // one that waits comes after this one anyway
	}
	_, err = e.request(tx, st, runs.Run{
		Type: runs.Tracked, Trigger: runs.ByPolicy, TriggeredBy: runs.System, Author: after.Author, Commit: st.TrackedCommit, Branch: st.Branch, Chain: chain,
	}, "a trigger policy asks for it after run "+after.ID+" of "+after.Stack)
	return err
}

// refuseTrigger says in the audit log why a stack that a trigger policy named was not started.
func refuseTrigger(tx *store.Tx, after runs.Run, slug, why string) error {
	slug = clip(slug, maxCell)
	return tx.Audit(store.AuditEntry{
		By: runs.System, Action: "policy.trigger_refused", Target: slug, Stack: after.Stack,
		Note: fmt.Sprintf("After run %s a trigger policy named “%s”, and nothing was started: %s.", after.ID, slug, why),
	})
}
