package runs

// A Topic is what a person can choose to be told of.
type Topic string

// The topics. Those of runs follow from [Step]; the others are trouble in the background.
const (
	OnWaiting   Topic = "run.waiting"   // a plan waits for a person's yes, or a task or destroy run for approvals
	OnFailed    Topic = "run.failed"    // also one that was stopped while it changed the world
	OnFinished  Topic = "run.finished"  // with changes: a plan or apply without any is no news
	OnDiscarded Topic = "run.discarded" // a person's no
	OnFlagged   Topic = "stack.flagged" // an apply was cut off, and what it changed is not known
	OnToken     Topic = "token.trouble" // GitLab refuses the token, or it could not be renewed
	OnExpiry    Topic = "token.expires" // at 30, 14, 7, 3 days and 1 day before its end
	OnGitLab    Topic = "gitlab.away"   // GitLab cannot be reached
	OnHook      Topic = "hook.broken"   // a project's webhook is missing, off or wrong
	OnReport    Topic = "report.parked" // GitLab refused for good what it was to show
	OnTrouble   Topic = "other.trouble" // of a project, a fork, a delivery: whatever else stands in the inbox
)

// OnOver says that trouble is over, to those who were told of it; nobody chooses it.
const OnOver Topic = "trouble.over"

// Topics lists every topic, in the order people choose from.
var Topics = []Topic{
	OnWaiting, OnFailed, OnFinished, OnDiscarded, OnFlagged, OnToken, OnExpiry, OnGitLab, OnHook, OnReport, OnTrouble,
}

// topicOf is what a run that just moved to its state is news for, "" for most states.
func topicOf(r Run) Topic {
	switch {
	case r.NeedsPerson():
		return OnWaiting
	case r.State == Failed:
		return OnFailed
	case r.State == Discarded:
		return OnDiscarded
	case r.State == Finished && (r.Type == Task || r.Type == Destroy || r.Delta != nil && !r.Delta.Empty()):
		return OnFinished
	default:
		return ""
	}
}
