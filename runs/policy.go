package runs

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A PolicyType says what a policy decides, and with that which rules it may have and what it is asked about.
type PolicyType string

// The types of policy.
const (
	PolicyPlan         PolicyType = "plan"         // whether what was planned may be applied
	PolicyPush         PolicyType = "push"         // what a push or merge request starts
	PolicyApproval     PolicyType = "approval"     // whether a run has the approvals it needs
	PolicyTrigger      PolicyType = "trigger"      // which stacks run after a run ended
	PolicyNotification PolicyType = "notification" // who is told what
)

// PolicyTypes lists every type, in the order of a run's life.
var PolicyTypes = []PolicyType{PolicyPush, PolicyPlan, PolicyApproval, PolicyTrigger, PolicyNotification}

// What bounds a policy.
const (
	MaxPolicyBody   = 64 << 10 // bytes of its text
	MaxPolicyStacks = 1000     // it is attached to by hand; labels attach it to any number
)

// A Policy is a rule in Rego that decides about the runs of the stacks it is attached to (PRODUCT §8). It is also the stored form:
// fields may be added, never renamed. Package runs/policy compiles and asks it.
type Policy struct {
	Slug        string     `json:"slug"` // made once from the name, never changes
	Name        string     `json:"name"`
	Type        PolicyType `json:"type"`
	Description string     `json:"description,omitempty"`
	Body        string     `json:"body"`             // Rego
	Stacks      []string   `json:"stacks,omitempty"` // slugs of those it is attached to by hand
	Labels      []string   `json:"labels,omitempty"` // one that begins with AutoAttach attaches the policy by itself
	Off         bool       `json:"off,omitempty"`    // switched off: it is not asked

	LastError   string    `json:"last_error,omitempty"` // why the last evaluation came to nothing; cleared by one that did not
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	LastErrorOf string    `json:"last_error_of,omitempty"` // the stack it was asked about; an answer about another one does not clear it

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
}

// Validate checks what can be known of a policy without compiling it, and names the field at fault.
func (p Policy) Validate() error {
	if err := validNamed("policy", p.Name, p.Description, p.Labels); err != nil {
		return err
	}
	switch {
	case !slices.Contains(PolicyTypes, p.Type):
		return Invalidf("type", "“%s” is no type of policy. Use plan, push, approval, trigger or notification.", p.Type)
	case strings.TrimSpace(p.Body) == "":
		return Invalidf("body", "The policy has no text. Write at least one rule.")
	case len(p.Body) > MaxPolicyBody:
		return Invalidf("body", "The text has %d bytes; %d is the most.", len(p.Body), MaxPolicyBody)
	case !utf8.ValidString(p.Body) || strings.ContainsRune(p.Body, 0):
		return Invalidf("body", "The text is not UTF-8, or holds a NUL byte.")
	case len(p.Stacks) > MaxPolicyStacks:
		return Invalidf("stacks", "The policy is attached to %d stacks by hand; %d is the most. Give them a label, and the policy a label %s<label>.", len(p.Stacks), MaxPolicyStacks, AutoAttach)
	}
	return nil
}

// AutoLabels are the labels of stacks that the policy attaches itself to; “*” stands for every stack.
func (p Policy) AutoLabels() []string { return autoLabels(p.Labels) }

// Concerns reports whether the policy is attached to the stack, and why: "" by hand, else the label, “*” for all stacks. That it
// may be switched off does not count.
func (p Policy) Concerns(st Stack) (label string, ok bool) {
	if slices.Contains(p.Stacks, st.Slug) {
		return "", true
	}
	return attaches(p.Labels, st.Labels)
}

// A PolicyOutcome is what a policy, or all of a type together, came to.
type PolicyOutcome string

// The outcomes.
const (
	OutcomeAllow     PolicyOutcome = "allow"     // plan: nothing against it; notification: told
	OutcomeWarn      PolicyOutcome = "warn"      // plan: a person must look
	OutcomeDeny      PolicyOutcome = "deny"      // plan: must not be applied
	OutcomeIgnore    PolicyOutcome = "ignore"    // push: starts nothing
	OutcomePropose   PolicyOutcome = "propose"   // push: a proposed run
	OutcomeTrack     PolicyOutcome = "track"     // push: a tracked run
	OutcomeApprove   PolicyOutcome = "approve"   // approval: enough
	OutcomeReject    PolicyOutcome = "reject"    // approval: never
	OutcomeUndecided PolicyOutcome = "undecided" // said nothing
	OutcomeTrigger   PolicyOutcome = "trigger"   // trigger: named stacks
	OutcomeMute      PolicyOutcome = "mute"      // notification: nobody is told
	OutcomeError     PolicyOutcome = "error"     // could not be evaluated
)

// PolicyOutcomes lists every outcome.
var PolicyOutcomes = []PolicyOutcome{
	OutcomeAllow, OutcomeWarn, OutcomeDeny, OutcomeIgnore, OutcomePropose, OutcomeTrack, OutcomeApprove, OutcomeReject, OutcomeUndecided,
	OutcomeTrigger, OutcomeMute, OutcomeError,
}

// A PolicyResult is what one policy said of one thing. It is also the stored form: fields may be added, never renamed.
type PolicyResult struct {
	Policy   string        `json:"policy"` // slug
	Name     string        `json:"name"`   // at that time
	Type     PolicyType    `json:"type"`
	Outcome  PolicyOutcome `json:"outcome"`
	Messages []string      `json:"messages,omitempty"`
	At       time.Time     `json:"at"`
}

// What bounds the messages of a PolicyResult.
const (
	MaxPolicyMessages = 20  // the last of them says how many were left out
	MaxPolicyMessage  = 500 // bytes of one
)

// BoundMessages shortens messages to what a [PolicyResult] may hold. What cannot be printed is replaced, and it is said what was
// left out.
func BoundMessages(messages []string) []string {
	left := 0
	if n := len(messages); n > MaxPolicyMessages {
		left = n - MaxPolicyMessages + 1
		messages = messages[:MaxPolicyMessages-1]
	}
	var out []string
	for _, m := range messages {
		out = append(out, boundMessage(m))
	}
	if left > 0 {
		out = append(out, fmt.Sprintf("… and %d more.", left))
	}
	return out
}

// boundMessage makes one printable line of a message; line breaks and tabs of its author become spaces.
func boundMessage(m string) string {
	m = strings.Join(strings.Fields(strings.ToValidUTF8(m, "�")), " ")
	m = strings.Map(func(r rune) rune {
		if unprintable(string(r)) {
			return '�'
		}
		return r
	}, m)
	if len(m) <= MaxPolicyMessage {
		return m
	}
	cut := MaxPolicyMessage - len("…")
	for !utf8.RuneStart(m[cut]) {
		cut--
	}
	return m[:cut] + "…"
}
