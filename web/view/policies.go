package view

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"groundcrew/runs"
)

// PoliciesModel is the list of policies.
type PoliciesModel struct {
	Rows      []PolicyRow
	Q         string
	Type      string // filter: a runs.PolicyType
	Any       bool   // there is at least one policy, whatever the search says
	CanCreate bool
	Pager     Pager
}

// A PolicyRow is a policy in the list.
type PolicyRow struct {
	Policy runs.Policy
	Stacks int // it concerns
}

// PolicyForm is a policy as the form holds it.
type PolicyForm struct {
	Name        string // name
	Description string // description
	Labels      string // labels, separated by commas
	Stacks      string // stacks: slugs, separated by commas
	Body        string // body
}

// PolicyNewModel makes a policy of a type.
type PolicyNewModel struct {
	Type   runs.PolicyType
	Rules  []string // that the type knows
	Values PolicyForm
	Errors map[string]string
	Error  string
}

// PolicyModel is the page of one policy.
type PolicyModel struct {
	Policy      runs.Policy
	Rules       []string      // that its type knows
	Stacks      []PolicyStack // that it concerns, some of them where they are many
	Total       int           // stacks it concerns
	Values      PolicyForm    // as typed
	Errors      map[string]string
	Error       string
	Samples     []PolicySample // newest first
	Try         PolicyTry
	Edit        Act
	Switch      Act
	Delete      Act
	DeleteError string
}

// A PolicyStack is a stack that a policy concerns, and why.
type PolicyStack struct {
	Slug  string
	Label string // that attaches it; "" by hand, “*” every stack
}

// A PolicySample is one evaluation of a policy.
type PolicySample struct {
	ID     string
	Stack  string // slug
	Run    string
	Kept   bool // its input is there to be tried on
	Result runs.PolicyResult
}

// PolicyTry is what a changed text is tried on, and what it said.
type PolicyTry struct {
	Sample string // id
	Input  string // JSON, instead of a sample
	Errors map[string]string
	Result *runs.PolicyResult // nil: nothing was tried
}

// StackPoliciesModel is the tab of a stack's policies.
type StackPoliciesModel struct {
	Head      StackHead
	Rows      []StackPolicyRow
	CanCreate bool
}

// A StackPolicyRow is a policy that concerns the stack, and why.
type StackPolicyRow struct {
	Policy runs.Policy
	Label  string // that attaches it; "" by hand, “*” every stack
}

func policyURL(slug string) string { return "/policies/" + url.PathEscape(slug) }

// typeWords says what policies of a type decide.
func typeWords(t runs.PolicyType) string {
	switch t {
	case runs.PolicyPush:
		return "Decides what a push or a merge request starts: a tracked run, a proposed run, or nothing."
	case runs.PolicyPlan:
		return "Decides whether what was planned may be applied, or a person must look first."
	case runs.PolicyApproval:
		return "Decides whether a run has the approvals it needs."
	case runs.PolicyTrigger:
		return "Decides which stacks run next when a run has ended."
	case runs.PolicyNotification:
		return "Decides who is told of a run."
	default:
		return ""
	}
}

// failureWords says what follows when policies of a type cannot be evaluated.
func failureWords(t runs.PolicyType) string {
	switch t {
	case runs.PolicyPlan:
		return "When it cannot be evaluated, nothing is applied."
	case runs.PolicyApproval:
		return "When it cannot be evaluated, nothing is approved."
	case runs.PolicyTrigger:
		return "When it cannot be evaluated, it starts nothing."
	case runs.PolicyNotification:
		return "When it cannot be evaluated, everybody is told."
	default:
		return "When it cannot be evaluated, what follows is what would follow without it."
	}
}

// ruleHelp says which rules a policy of the type is asked for.
func ruleHelp(rules []string) string {
	return "Rego, beginning with “package groundcrew”. It is asked for: " + strings.Join(rules, ", ") + ". All other rules are helpers of its own."
}

// inputParts names what policies of a type find under input.
func inputParts(t runs.PolicyType) []string {
	parts := []string{"stack", "request.time"}
	switch t {
	case runs.PolicyPush:
		return append(parts, "push")
	case runs.PolicyPlan:
		return append(parts, "run", "delta", "plan")
	case runs.PolicyApproval:
		return append(parts, "run", "delta", "reviews")
	case runs.PolicyTrigger:
		return append(parts, "run", "delta", "stacks")
	default:
		return append(parts, "run", "delta", "event")
	}
}

// outcomeLook is how an outcome is shown: its look and its word.
func outcomeLook(o runs.PolicyOutcome) (look, word string) {
	switch o {
	case runs.OutcomeAllow:
		return lookGood, "allowed"
	case runs.OutcomeWarn:
		return lookWait, "warned"
	case runs.OutcomeDeny:
		return lookBad, "denied"
	case runs.OutcomeIgnore:
		return lookEnded, "ignored"
	case runs.OutcomePropose:
		return lookGood, "proposed"
	case runs.OutcomeTrack:
		return lookGood, "tracked"
	case runs.OutcomeApprove:
		return lookGood, "approved"
	case runs.OutcomeReject:
		return lookBad, "rejected"
	case runs.OutcomeTrigger:
		return lookGood, "triggered"
	case runs.OutcomeMute:
		return lookEnded, "muted"
	case runs.OutcomeError:
		return lookBad, "error"
	default:
		return lookIdle, "undecided"
	}
}

// policyTypeOptions are the choices of a filter by type.
func policyTypeOptions() []Option {
	opts := []Option{{"", "Every type"}}
	for _, t := range runs.PolicyTypes {
		opts = append(opts, Option{string(t), string(t)})
	}
	return opts
}

// policyTypeTabs lead to the form of each type.
func policyTypeTabs(now runs.PolicyType) (tabs []tab) {
	for _, t := range runs.PolicyTypes {
		tabs = append(tabs, tab{Text: strings.ToUpper(string(t[:1])) + string(t[1:]), URL: query("/policies/new", "type", string(t)), Current: t == now})
	}
	return tabs
}

// whyConcerned says why a policy concerns a stack.
func whyConcerned(label string) string {
	switch label {
	case "":
		return "attached by hand"
	case "*":
		return "attaches itself to every stack"
	default:
		return "by the label " + label
	}
}

// A bodyError is one error in a policy's text, with the line it is on.
type bodyError struct {
	Place, Text, Line string
}

// bodyErrors takes apart what is wrong with a text: lines of line:column: message.
func bodyErrors(message, body string) (out []bodyError) {
	if message == "" {
		return nil
	}
	lines := strings.Split(body, "\n")
	for text := range strings.SplitSeq(message, "\n") {
		e := bodyError{Text: text}
		var row, col int
		if n, _ := fmt.Sscanf(text, "%d:%d: ", &row, &col); n == 2 {
			place := fmt.Sprintf("%d:%d: ", row, col)
			if rest, is := strings.CutPrefix(text, place); is {
				e.Place, e.Text = strings.TrimSuffix(place, ": "), rest
			}
			if row >= 1 && row <= len(lines) && e.Place != "" {
				e.Line = cut(strings.TrimSpace(lines[row-1]), 200)
			}
		}
		out = append(out, e)
	}
	return out
}

// bodyRows makes room for a text, within reason.
func bodyRows(body string) int { return max(12, min(36, 2+strings.Count(body, "\n"))) }

// sampleOptions are the evaluations whose input is kept, to choose from.
func sampleOptions(list []PolicySample) []Option {
	opts := []Option{{"", "None: the input below"}}
	for _, s := range list {
		if s.Kept {
			_, word := outcomeLook(s.Result.Outcome)
			opts = append(opts, Option{s.ID, strings.Join(slices.DeleteFunc([]string{s.Result.At.UTC().Format("2 Jan 15:04:05"), s.Stack, word}, func(t string) bool { return t == "" }), " · ")})
		}
	}
	return opts
}

func policyField(errs map[string]string, edit Act, name, label, value, help, placeholder string) field {
	return field{
		Name: name, Label: label, Value: value, Help: help, Placeholder: placeholder, Err: errs[name],
		Required: name == "name", Off: !edit.Can,
	}
}

// switchLabel is the button that switches a policy off or on.
func switchLabel(off bool) string {
	if off {
		return "Switch on"
	}
	return "Switch off"
}

func switchAction(m PolicyModel) action {
	a := action{URL: policyURL(m.Policy.Slug) + "/switch", Label: switchLabel(m.Policy.Off), Act: m.Switch}
	if !m.Policy.Off {
		a.Fields = [][2]string{{"off", "on"}}
		a.Ask = "Switch " + m.Policy.Name + " off? It is not asked any more until it is switched on."
	}
	return a
}
