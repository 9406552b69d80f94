package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// Policies are asked outside of transactions, because asking takes time, and what they say comes in with the event it is about. What
// they are asked about is an input that is made here; the README describes it, and its fields may be added to, never renamed.

func reviewInput(list []runs.Review) []policy.Review {
	out := []policy.Review{}
	for _, v := range list {
		out = append(out, policy.Review{By: v.Name, Note: v.Note, At: v.At})
	}
	return out
}

// policiesOf are a stack's policies of one type.
func policiesOf(tx *store.Tx, st runs.Stack, t runs.PolicyType) ([]runs.Policy, error) {
	list, err := tx.PoliciesOf(st)
	return slices.DeleteFunc(list, func(p runs.Policy) bool { return p.Type != t }), err
}

// A matter is what policies are asked about.
type matter struct {
	policies []runs.Policy // all of one type
	stack    runs.Stack
	run      string // "" where there is none yet
	input    policy.Input
	hide     func(string) string // takes secrets out of what is kept and shown; nil where there are none
}

// ask asks policies of a type, and keeps what they said. A policy that cannot be asked is part of the verdict; an error means that ctx
// ended.
func (e *Engine) ask(ctx context.Context, t runs.PolicyType, m matter) (policy.Verdict, error) {
	now := e.now()
	if len(m.policies) == 0 {
		return policy.Judge(t, nil, now), nil
	}
	m.input.Request.Time, m.input.Stack = now.UTC(), policy.StackOf(m.stack)
	raw, err := json.Marshal(m.input)
	if err != nil {
		return policy.Verdict{}, err
	}
	var asked []policy.Asked
	for _, p := range m.policies {
		a, err := e.o.Court.Ask(ctx, p, raw)
		if ctx.Err() != nil {
			return policy.Verdict{}, ctx.Err()
		}
		if m.hide != nil { // before texts are cut: half a secret would not be found
			a, err = hideAnswer(a, m.hide), hideError(err, m.hide)
		}
		asked = append(asked, policy.Asked{Policy: p, Answer: a, Err: err})
	}
	v := policy.Judge(t, asked, now)
	if m.hide != nil {
		raw = hideInput(raw, m.hide)
	}
	for _, r := range v.Results {
		if err := e.st.AddSample(store.Sample{Policy: r.Policy, Stack: m.stack.Slug, Run: m.run, Result: r}, raw); err != nil {
			e.log.Error("what a policy said could not be kept", "policy", r.Policy, "error", err)
		}
	}
	return v, nil
}

func hideAnswer(a policy.Answer, hide func(string) string) policy.Answer {
	for _, list := range [][]string{a.Deny, a.Warn, a.Ignore, a.Reject} {
		for i := range list {
			list[i] = hide(list[i])
		}
	}
	return a
}

func hideError(err error, hide func(string) string) error {
	if err == nil {
		return nil
	}
	return errors.New(hide(err.Error()))
}

// hideInput takes secrets out of an input. One that stands there as a number cannot be taken out of JSON as text is: then the plan is
// left out.
func hideInput(raw []byte, hide func(string) string) []byte {
	hidden := []byte(hide(string(raw)))
	if json.Valid(hidden) {
		return hidden
	}
	var in policy.Input
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil
	}
	in.Plan = json.RawMessage(`"(left out: it holds secrets)"`)
	if raw, err := json.Marshal(in); err == nil && json.Valid([]byte(hide(string(raw)))) {
		return []byte(hide(string(raw)))
	}
	return nil
}
