package runs

import (
	"cmp"
	"strings"
)

// A CommitState is one of GitLab's states of a commit status (CONTRACT §4).
type CommitState string

// The states of a commit status that we use.
const (
	StatusPending  CommitState = "pending"
	StatusRunning  CommitState = "running"
	StatusSuccess  CommitState = "success"
	StatusFailed   CommitState = "failed"
	StatusCanceled CommitState = "canceled"
)

// maxDescription is GitLab's limit for a status's description, in characters (GOTCHAS 14).
const maxDescription = 255

// CommitStatus says what GitLab's commit status of a run must show now (PRODUCT §5).
func CommitStatus(r Run) (CommitState, string) {
	if state, text, ok := testStatus(r); r.Type == Test && ok {
		return state, text
	}
	switch r.State {
	case Queued:
		if r.Unapproved {
			return StatusPending, describe("Waiting for approval", r.Reason)
		}
		return StatusPending, describe("Queued", r.Reason)
	case Unconfirmed:
		return StatusPending, describe(r.WaitsFor(), counts(r))
	case Confirmed:
		return StatusPending, describe("Confirmed by "+r.Transitions[len(r.Transitions)-1].By, counts(r))
	case Preparing, Initializing, Planning:
		return StatusRunning, "Planning"
	case Applying:
		return StatusRunning, describe("Applying", counts(r))
	case Performing:
		return StatusRunning, "Performing a task"
	case Destroying:
		return StatusRunning, "Destroying"
	case Finished:
		return StatusSuccess, describe(counts(r), applied(r))
	case Failed:
		return StatusFailed, describe(cmp.Or(strings.TrimSpace(r.Reason), "Failed"), "")
	case Stopped:
		return StatusCanceled, describe("Stopped", r.Reason)
	case Discarded:
		return StatusCanceled, describe("Discarded", r.Reason)
	case Skipped:
		return StatusSuccess, describe("Skipped", r.Reason)
	default:
		return StatusCanceled, describe("Canceled", r.Reason)
	}
}

// WaitsFor says what a run that waits for people waits for.
func (r Run) WaitsFor() string {
	if r.Unapproved {
		return "Waiting for approval"
	}
	return "Waiting for confirmation"
}

func counts(r Run) string {
	if r.Delta == nil {
		return "Finished"
	}
	return r.Delta.String()
}

func applied(r Run) string {
	if r.Passed(Applying) {
		return "applied"
	}
	return ""
}

// describe joins two texts and cuts them by characters to what GitLab takes.
func describe(head, rest string) string {
	text := head
	if rest = strings.TrimSpace(rest); rest != "" {
		text += ": " + rest
	}
	if r := []rune(text); len(r) > maxDescription {
		text = string(r[:maxDescription-1]) + "…"
	}
	return text
}

// A DeploymentState is one of GitLab's states of a deployment (CONTRACT §8).
type DeploymentState string

// Deployment says which state the deployment of a run must show now. ok is false for a run that has none:
// only tracked runs that change something are deployments, from the moment their plan is known.
func Deployment(r Run) (state DeploymentState, ok bool) {
	if r.Type != Tracked || !r.Passed(Unconfirmed) && !r.Passed(Applying) {
		return "", false
	}
	switch {
	case r.State == Finished && r.Transitions[max(0, len(r.Transitions)-2)].State == Applying:
		return "success", true
	case r.State == Failed:
		return "failed", true
	case r.State.Terminal(): // stopped, discarded, canceled, or planned again and found to change nothing
		return "canceled", true
	default:
		return "running", true
	}
}

// Comments reports whether the merge request comment of the run's stack must speak of this run now: it is
// a proposed run for a merge request and has something to say.
func Comments(r Run) bool {
	return r.MR != nil && r.Type == Proposed && (r.State == Finished || r.State == Failed)
}
