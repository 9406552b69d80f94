package policy

import (
	"slices"
	"time"

	"groundcrew/runs"
)

// An Asked is a policy that was asked, and its answer or why there is none.
type Asked struct {
	Policy runs.Policy
	Answer Answer
	Err    error
}

// Result is what came of one policy, as runs and samples keep it.
func (a Asked) Result(at time.Time) runs.PolicyResult {
	r := runs.PolicyResult{Policy: a.Policy.Slug, Name: a.Policy.Name, Type: a.Policy.Type, At: at}
	if a.Err != nil {
		r.Outcome, r.Messages = runs.OutcomeError, runs.BoundMessages([]string{a.Err.Error()})
		return r
	}
	outcome, messages := outcome(a.Policy.Type, a.Answer)
	r.Outcome, r.Messages = outcome, runs.BoundMessages(messages)
	return r
}

// A Verdict is what all policies of a type come to together.
type Verdict struct {
	Outcome  runs.PolicyOutcome
	Messages []string // why, each after the name of the policy that says it
	Trigger  []string // slugs of stacks that policies of type trigger name
	Channels []string // the only ones that are told; nil is all of them
	Results  []runs.PolicyResult
}

// order is which outcome counts more, from the one that wins to the one that yields. An error counts as what it must lead to.
var order = map[runs.PolicyType][]runs.PolicyOutcome{
	runs.PolicyPlan:         {runs.OutcomeDeny, runs.OutcomeWarn, runs.OutcomeAllow},
	runs.PolicyPush:         {runs.OutcomeIgnore, runs.OutcomeTrack, runs.OutcomePropose, runs.OutcomeUndecided},
	runs.PolicyApproval:     {runs.OutcomeReject, runs.OutcomeUndecided, runs.OutcomeApprove},
	runs.PolicyTrigger:      {runs.OutcomeTrigger, runs.OutcomeUndecided},
	runs.PolicyNotification: {runs.OutcomeMute, runs.OutcomeAllow},
}

// failed is what a policy that could not be evaluated leads to: nothing is applied and nothing approved; the others go on as if it
// were not there.
func failed(t runs.PolicyType) runs.PolicyOutcome {
	switch t {
	case runs.PolicyPlan:
		return runs.OutcomeDeny
	case runs.PolicyNotification:
		return runs.OutcomeAllow
	default:
		return runs.OutcomeUndecided
	}
}

// Judge says what several policies of a type come to together. Of a plan one deny is enough, and else one warning. A push is ignored
// if one says so, else tracked if one says so, else proposed if one says so, else undecided: as without policies. An approval is
// rejected if one says so, and approved only if all do. Without any policy a plan is allowed, everybody is told, and all else is
// undecided.
func Judge(t runs.PolicyType, asked []Asked, at time.Time) Verdict {
	v := Verdict{Outcome: failed(t)}
	if len(asked) == 0 && t == runs.PolicyPlan {
		v.Outcome = runs.OutcomeAllow
	}
	for i, a := range asked {
		r := a.Result(at)
		v.Results = append(v.Results, r)
		for _, m := range r.Messages {
			v.Messages = append(v.Messages, a.Policy.Name+": "+m)
		}
		v.Trigger = append(v.Trigger, a.Answer.Trigger...)
		v.Channels = append(v.Channels, a.Answer.Channels...)
		counts := r.Outcome
		if counts == runs.OutcomeError {
			counts = failed(t)
		}
		if i == 0 || slices.Index(order[t], counts) < slices.Index(order[t], v.Outcome) {
			v.Outcome = counts
		}
	}
	v.Messages = runs.BoundMessages(v.Messages)
	v.Trigger, v.Channels = sorted(v.Trigger), sorted(v.Channels)
	return v
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
