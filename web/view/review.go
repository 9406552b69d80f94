package view

import (
	"fmt"
	"strings"

	"groundcrew/runs"
)

// A ReviewsModel is what people said of what a run would do.
type ReviewsModel struct {
	Need       int  // approvals the stack asks for
	Open       bool // nothing is missing
	Past       bool // they opened the way of a run that went on
	Approvals  []runs.Review
	Rejections []runs.Review
	Policies   []runs.PolicyResult // what approval policies say
	Review     Act                 // whether the one who looks may approve or reject
	Own        bool                // reject only: it is their own
	Approved   bool                // they did already
}

func (v ReviewsModel) head() string {
	switch {
	case v.Past:
		return "Approved by " + Count(len(v.Approvals), "person", "people")
	case len(v.Rejections) > 0:
		return "Rejected"
	case v.Need > 0:
		return fmt.Sprintf("Approvals: %d of %d", len(v.Approvals), v.Need)
	case v.Open:
		return "Approved"
	default:
		return "Not approved yet"
	}
}

func policyLook(o runs.PolicyOutcome) string {
	switch o {
	case runs.OutcomeApprove, runs.OutcomeAllow:
		return lookGood
	case runs.OutcomeReject, runs.OutcomeDeny, runs.OutcomeError:
		return lookBad
	default:
		return lookWait
	}
}

func policyWords(r runs.PolicyResult) string {
	text := "Policy " + r.Name
	if len(r.Messages) > 0 {
		text += ": " + strings.Join(r.Messages, "; ")
	}
	return text
}
