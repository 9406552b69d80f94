package engine

import (
	"context"
	"encoding/json"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// askPlan asks the stack's plan policies of the plan that was just made.
func (t *task) askPlan(ctx context.Context, w tofu.Work, delta runs.Delta, fingerprint string) (policy.Verdict, error) {
	run := t.run
	run.Delta, run.Fingerprint = &delta, fingerprint
	m := matter{stack: t.stack, run: run.ID, hide: t.hide.String, input: policy.Input{}.About(run)}
	err := t.e.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(t.stack.Slug) // its labels may be others by now
		if err != nil {
			return notGone(err)
		}
		m.stack = st
		m.policies, err = policiesOf(tx, st, runs.PolicyPlan)
		return err
	})
	if err != nil || len(m.policies) == 0 {
		return policy.Judge(runs.PolicyPlan, nil, t.e.now()), err
	}
	if m.input.Plan, err = policyPlan(w); err != nil {
		return policy.Verdict{}, refusef("The plan cannot be shown to the stack's policies, so it is not applied: %s", sentence(err.Error()))
	}
	return t.e.ask(ctx, runs.PolicyPlan, m)
}

func policyPlan(w tofu.Work) (json.RawMessage, error) {
	f, err := w.Open(w.PlanJSON())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return tofu.PolicyPlan(f)
}

// askApproval asks the stack's approval policies of a plan that is about to wait, so that one that needs nobody waits for nobody.
func (t *task) askApproval(ctx context.Context, planned runs.Run) (results []runs.PolicyResult, of string, err error) {
	if planned.Type != runs.Tracked || planned.Delta.Empty() {
		return nil, "", nil
	}
	var w weighing
	err = t.e.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(t.stack.Slug)
		if err != nil {
			return notGone(err)
		}
		w, err = t.e.weighing(tx, st, planned)
		return err
	})
	if err != nil || w.of == "" {
		return nil, "", err
	}
	results, err = t.e.asked(ctx, w)
	return results, w.of, err
}

// wroteIt asks who wrote what a tracked run of a stack that asks for approvals would apply: an approval may be there already, of a
// plan with the same effect. Where GitLab cannot be asked one who is nobody stands for them.
func (t *task) wroteIt(ctx context.Context) ([]runs.Person, error) {
	if t.run.Type != runs.Tracked {
		return nil, nil
	}
	asks := false
	err := t.e.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(t.stack.Slug)
		asks = st.Approvals > 0
		return notGone(err)
	})
	if err != nil || !asks {
		return nil, err
	}
	people, iids, err := t.e.authorsThere(ctx, t.run)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return []runs.Person{{}}, nil
	}
	err = t.e.st.View(func(tx *store.Tx) error {
		for _, iid := range iids {
			more, err := tx.AuthorsIn(t.run.Project, iid)
			if err != nil {
				return err
			}
			people = append(people, more...)
		}
		return nil
	})
	return people, err
}

// deniedBy is why a plan is not applied, for people.
func deniedBy(v policy.Verdict) string {
	return "A policy forbids it. " + strings.Join(v.Messages, " · ")
}
