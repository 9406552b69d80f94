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
	more, err := e.askWhatFollows(ctx)
	if more {
		return 0, err // approvals, which people wait for, have their turn first
	}
	return idle, err
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
	if w.gate.Gone, err = ofGone(tx, w.gate.Rejections); err != nil {
		return w, err
	}
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
	gone, err := ofGone(tx, reviews)
	return keepIf(reviews, func(v runs.Review) bool { return v.Decision != runs.Approve || !slices.Contains(gone, v) }), err
}

// ofGone are the reviews of people who have or had an account here and may not sign in any more.
func ofGone(tx *store.Tx, reviews []runs.Review) (out []runs.Review, err error) {
	for _, v := range reviews {
		if v.Person.User == "" {
			continue
		}
		u, err := tx.User(v.Person.User)
		if notGone(err) != nil {
			return nil, err
		}
		if err != nil || !u.DisabledAt.IsZero() {
			out = append(out, v)
		}
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
	if err == nil {
		errs := make([]error, len(todo))
		inLanes(len(todo), func(i int) { errs[i] = e.settleApproval(ctx, todo[i]) })
		err = errors.Join(errs...)
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
