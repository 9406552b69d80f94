package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// askAll asks approval policies of the runs that wait for people, as often as policies or reviews change, and trigger policies of the
// runs that have ended. It is a pump: what is to be asked follows from the rows.
func (e *Engine) askAll(ctx context.Context) (time.Duration, error) {
	if err := e.askForApproval(ctx); err != nil {
		return 0, err
	}
	return idle, e.askWhatFollows(ctx)
}

// weighedOf names what approval policies were asked about: the policies as they are, the very plan, and what people said. "" for no
// policies.
func weighedOf(policies []runs.Policy, need int, r runs.Run, reviews []runs.Review) string {
	if len(policies) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, p := range policies {
		fmt.Fprintf(sum, "%s %s\n", p.Slug, p.UpdatedAt.UTC().Format(time.RFC3339Nano))
	}
	fmt.Fprintln(sum, need, r.ID, r.Fingerprint)
	reviews = slices.SortedFunc(slices.Values(reviews), func(a, b runs.Review) int { return strings.Compare(a.Person.Key(), b.Person.Key()) })
	for _, v := range reviews {
		fmt.Fprintf(sum, "%s %s %s\n", v.Person.Key(), v.Decision, v.At.UTC().Format(time.RFC3339Nano))
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// A weighing is what approval policies are to say of one run.
type weighing struct {
	run      runs.Run
	stack    runs.Stack
	policies []runs.Policy
	gate     runs.Gate
	of       string // weighedOf
}

// weighing is what approval policies are to say of the run now; its Gate has no policies yet.
func (e *Engine) weighing(tx *store.Tx, st runs.Stack, r runs.Run) (w weighing, err error) {
	w.run, w.stack = r, st
	if w.policies, err = policiesOf(tx, st, runs.PolicyApproval); err != nil {
		return w, err
	}
	if st.Approvals == 0 && len(w.policies) == 0 {
		return w, nil
	}
	kept, err := tx.Reviews(r.Stack, r.Fingerprint)
	if err != nil {
		return w, err
	}
	authors, err := authorsHere(tx, r, nil)
	if err != nil {
		return w, err
	}
	reviews, err := stillIn(tx, slices.Concat(r.Reviews, kept))
	if err != nil {
		return w, err
	}
	w.gate, w.of = runs.NewGate(st.Approvals, reviews, authors), weighedOf(w.policies, st.Approvals, r, reviews)
	if r.State == runs.Queued && changesAtOnce(r.Type) {
		now, err := e.intent(tx, st, r)
		if err != nil {
			return w, err
		}
		if now != r.Fingerprint {
			w.gate.Changed = "a variable or mounted file of the stack was changed since"
		}
	}
	return w, nil
}

// stillIn leaves out the approvals of people who may not sign in any more.
func stillIn(tx *store.Tx, reviews []runs.Review) (out []runs.Review, err error) {
	for _, v := range reviews {
		if v.Decision == runs.Approve && v.Person.User != "" {
			u, err := tx.User(v.Person.User)
			if errors.Is(err, runs.ErrNotFound) || err == nil && !u.DisabledAt.IsZero() {
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// intent names what a task or destroy run would do now, in the environment that it would get.
func (e *Engine) intent(tx *store.Tx, st runs.Stack, r runs.Run) (string, error) {
	env, err := resolve(tx, st)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, e.st.PlanKey())
	mac.Write(raw)
	return r.Intent(hex.EncodeToString(mac.Sum(nil))), nil
}

// askAgain is after how long an approval policy that did not approve is asked once more: it may look at the time, or could not be asked
// when the machine was busy.
const askAgain = 5 * time.Minute

// stale reports whether what approval policies said of a run is to be asked again.
func stale(r runs.Run, now time.Time) bool {
	return slices.ContainsFunc(r.Policies, func(p runs.PolicyResult) bool {
		return p.Type == runs.PolicyApproval && p.Outcome != runs.OutcomeApprove && now.Sub(p.At) >= askAgain
	})
}

// said is what the approval policies said of this very matter, or that they were not asked yet.
func (w weighing) said() (out []runs.PolicyResult) {
	for _, p := range w.policies {
		r := runs.PolicyResult{Policy: p.Slug, Name: p.Name, Type: p.Type, Outcome: runs.OutcomeUndecided, Messages: []string{"it is being asked"}}
		if w.run.Type == runs.Proposed {
			r.Messages = []string{"it is asked when a run waits that would do this"}
		}
		if i := slices.IndexFunc(w.run.Policies, func(old runs.PolicyResult) bool { return old.Policy == p.Slug && old.Type == p.Type }); i >= 0 && w.run.Weighed == w.of {
			r = w.run.Policies[i]
		}
		out = append(out, r)
	}
	return out
}

// asked is what approval policies say, asked now.
func (e *Engine) asked(ctx context.Context, w weighing) ([]runs.PolicyResult, error) {
	in := policy.Input{}.About(w.run)
	in.Reviews = &policy.Reviews{Approvals: reviewInput(w.gate.Approvals), Rejections: reviewInput(w.gate.Rejections)}
	v, err := e.ask(ctx, runs.PolicyApproval, matter{policies: w.policies, stack: w.stack, run: w.run.ID, input: in})
	return v.Results, err
}

// askForApproval asks approval policies of every run that waits and of which they were not asked as things are.
func (e *Engine) askForApproval(ctx context.Context) error {
	var todo []weighing
	e.mu.Lock()
	look := e.weighAnew // also when the last approval policy is gone
	e.weighAnew = false
	e.mu.Unlock()
	err := e.st.View(func(tx *store.Tx) error {
		all, err := tx.Policies()
		if err != nil || !look && !slices.ContainsFunc(all, func(p runs.Policy) bool { return p.Type == runs.PolicyApproval && !p.Off }) {
			return err
		}
		active, err := tx.Active("")
		for _, r := range active {
			if err != nil {
				return err
			}
			if r.Reviewable() != nil {
				continue
			}
			var st runs.Stack
			if st, err = tx.Stack(r.Stack); err != nil {
				err = notGone(err)
				continue
			}
			var w weighing
			if w, err = e.weighing(tx, st, *r); err == nil && (w.of != r.Weighed || w.of != "" && stale(*r, tx.Now())) {
				todo = append(todo, w)
			}
		}
		return err
	})
	for _, w := range todo {
		if err == nil {
			err = e.settleApproval(ctx, w)
		}
	}
	if err != nil {
		e.mu.Lock()
		e.weighAnew = e.weighAnew || look
		e.mu.Unlock()
	}
	return err
}

// settleApproval asks, and tells the run, unless something changed meanwhile: then it is asked again.
func (e *Engine) settleApproval(ctx context.Context, w weighing) error {
	results, err := e.asked(ctx, w)
	if err != nil {
		return err
	}
	var r runs.Run
	err = e.st.Update(func(tx *store.Tx) error {
		var err error
		if r, err = tx.Run(w.run.ID); err != nil || r.Reviewable() != nil {
			return notGone(err)
		}
		st, err := tx.Stack(r.Stack)
		if err != nil {
			return notGone(err)
		}
		now, err := e.weighing(tx, st, r)
		if err != nil || now.of != w.of || len(r.Transitions) != len(w.run.Transitions) {
			return err
		}
		r.Policies, r.Weighed = results, w.of
		r, err = e.weigh(tx, st, r, runs.Meta{At: tx.Now()}, "")
		return err
	})
	e.sweep(r)
	return err
}

// Limits of trigger policies.
const (
	maxChain     = 10 // runs of other stacks that follow one after the other
	maxTriggered = 50 // stacks that follow one run
)

// askWhatFollows asks trigger policies of the runs that have ended, and starts what they name.
func (e *Engine) askWhatFollows(ctx context.Context) error {
	var ids []string
	err := e.st.View(func(tx *store.Tx) (err error) {
		ids, err = tx.Follows()
		return err
	})
	for _, id := range ids {
		if err == nil {
			err = e.follow(ctx, id)
		}
	}
	return err
}

func (e *Engine) follow(ctx context.Context, id string) error {
	var r runs.Run
	m := matter{run: id}
	var stacks []policy.Stack
	err := e.st.View(func(tx *store.Tx) (err error) {
		if r, err = tx.Run(id); err != nil {
			return notGone(err)
		}
		if m.stack, err = tx.Stack(r.Stack); err != nil {
			return notGone(err)
		}
		if m.policies, err = policiesOf(tx, m.stack, runs.PolicyTrigger); err != nil || len(m.policies) == 0 {
			return err
		}
		all, err := tx.Stacks()
		for _, st := range all {
			stacks = append(stacks, policy.StackOf(*st))
		}
		return err
	})
	if err != nil {
		return err
	}
	m.input = policy.Input{Stacks: stacks}.About(r)
	v, err := e.ask(ctx, runs.PolicyTrigger, m)
	if err != nil {
		return err
	}
	return e.st.Update(func(tx *store.Tx) error {
		for i, slug := range v.Trigger {
			if i == maxTriggered {
				if err := refuseTrigger(tx, r, slug, fmt.Sprintf("%d stacks were named, and %d is the most", len(v.Trigger), maxTriggered)); err != nil {
					return err
				}
				break
			}
			if err := e.triggerAfter(tx, r, slug); err != nil {
				return err
			}
		}
		return tx.Followed(id)
	})
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
