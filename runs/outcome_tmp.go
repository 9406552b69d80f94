package runs

import "time"

type PolicyType string

const (
	PolicyPlan         PolicyType = "plan"
	PolicyPush         PolicyType = "push"
	PolicyApproval     PolicyType = "approval"
	PolicyTrigger      PolicyType = "trigger"
	PolicyNotification PolicyType = "notification"
)

type PolicyOutcome string

const (
	OutcomeApprove PolicyOutcome = "approve"
	OutcomeReject  PolicyOutcome = "reject"
	OutcomeError   PolicyOutcome = "error"
)

type PolicyResult struct {
	Policy   string        `json:"policy"`
	Name     string        `json:"name"`
	Type     PolicyType    `json:"type"`
	Outcome  PolicyOutcome `json:"outcome"`
	Messages []string      `json:"messages,omitempty"`
	At       time.Time     `json:"at"`
}
