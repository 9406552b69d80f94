package runs

import "time"

// Meta is what every event carries: when it happened (Step has no clock), who did it ("system" or a
// person's name) and a note for the run's timeline.
type Meta struct {
	At   time.Time
	By   string
	Note string
}

func (m Meta) meta() Meta { return m }

// System is who acts when nobody does.
const System = "system"

// An Event is something that happened to a run. The list below is complete; [Step] knows them all.
type Event interface{ meta() Meta }

// The events.
type (
	// Requested brings a run into being; Run carries everything known of it but state and times.
	Requested struct {
		Meta
		Run Run
	}
	// Claimed: a worker took the run's waiting job. Reviews are those that opened the way to a task or destroy run.
	Claimed struct {
		Meta
		Reviews []Review
	}
	// PhaseStarted: the work of State (initializing, planning, performing, destroying) began.
	PhaseStarted struct {
		Meta
		State State
		// What the work stands on, set once it is laid out (with initializing) and kept with the run.
		Basis             *Basis
		Tool, ToolVersion string
		StateVersion      int
		TrackedAt         string
		Reused            string // the run whose init made what this one uses instead of an init of its own
	}
	// Stale: what was reused of another run's init does not fit. The run begins again, and this time reuses nothing.
	Stale struct{ Meta }
	// Planned: the plan is there and safely stored.
	Planned struct {
		Meta
		Delta       Delta
		Fingerprint string
		Warnings    []string
		// Autodeploy says that the stack applies without a person, asked at this moment: the switch is on,
		// the stack is not locked, and all approvals it asks for are there.
		Autodeploy bool
		Unapproved bool           // approvals are missing
		Refused    string         // why they will never be there: an approval policy rejects it
		Reviews    []Review       // that are there, of a plan with the same effect
		Policies   []PolicyResult // what plan and approval policies said; warnings of theirs are among Warnings
		Weighed    string         // see [Run]
		Authors    []Person       // see [Run]
	}
	// Denied: the plan is there, and a policy forbids it. Note names it.
	Denied struct {
		Meta
		Delta       Delta
		Fingerprint string
		Warnings    []string
		Policies    []PolicyResult
	}
	// Reviewed: what the run waits for was weighed anew, after somebody's review (Decision) or because the stack's rules
	// changed (no Decision).
	Reviewed struct {
		Meta
		Decision   Decision
		Unapproved bool   // approvals are still missing
		Refused    string // why it is over for good: an approval policy rejects it
		// Autodeploy says the same as in Planned: nothing but approvals was missing.
		Autodeploy bool
		Reviews    []Review
		Policies   []PolicyResult // of approval policies
		Weighed    string         // see [Run]
	}
	// Confirm: a person's yes to exactly the plan that was shown.
	Confirm struct {
		Meta
		// Moved says in words that state or tracked commit moved since the plan ("" when not): then the
		// plan shown is no longer the truth and is made again instead of being applied.
		Moved   string
		Reviews []Review // that opened the way
	}
	// Discard: a person's no.
	Discard struct{ Meta }
	// Cancel: the system's own no (superseded, merge request closed, stack deleted). Note says why.
	Cancel struct{ Meta }
	// Skip: the run is not needed any more.
	Skip struct{ Meta }
	// StopAsked: the process at work is to be ended. Note says why when the system asks.
	StopAsked struct{ Meta }
	// Halted: the process ended because it was asked to. NewVersion is the managed state version that a half
	// done apply, task or destroy left, 0 for none.
	Halted struct {
		Meta
		NewVersion int
	}
	// Done: apply, task or destroy ended well. NewVersion is the managed state version it made, 0 for none.
	Done struct {
		Meta
		NewVersion int
		Results    []TestResult // of a module's test files
	}
	// Fail: the work ended badly. Note is the first line of the error.
	Fail struct {
		Meta
		NewVersion int
		// Tool says that the tool itself said no, with no limit or trouble of ours: what a negative test wants.
		Tool    bool
		Results []TestResult // of a module's test files
	}
	// Lost: the process is gone and left no result (the machine died, or somebody killed it).
	Lost struct {
		Meta
		NewVersion int // the state rescued from an apply, 0 for none
	}
	// Prioritize: a person wants the run's waiting job taken before all others that have not begun, or, Back, in its
	// turn again.
	Prioritize struct {
		Meta
		Back bool
	}
	// LearnedMR: the run's commit turned out to be the head of a merge request, the first or one more. Changes no state.
	LearnedMR struct {
		Meta
		MR MergeRequest
	}
)

// An Effect is something that must follow a move. The store writes each as a row in the same transaction.
type Effect interface{ effect() }

// The effects.
type (
	// Enqueue puts the job of a phase on the queue.
	Enqueue struct{ Phase Phase }
	// Dequeue removes all job rows of the run: nothing is left to do for it.
	Dequeue struct{}
	// Hurry moves the run's waiting job to the front, or back to its place.
	Hurry struct{ Back bool }
	// SpendReviews uses up the reviews of what the run would do: they opened the way, or it was given up.
	SpendReviews struct{ Fingerprint string }
	// Follow asks which runs of other stacks are to follow, now that this one has ended.
	Follow struct{}
	// Interrupt asks the process at work for the run to end.
	Interrupt struct{}
	// Report marks everything GitLab shows of the run as out of date.
	Report struct{}
	// Flag marks the stack: an apply was cut off and what it changed is not known.
	Flag struct{ Note string }
	// Replan asks for a fresh tracked run of the stack at the same commit, for a person to confirm.
	Replan struct{ Note string }
	// Notify tells the people who chose to be told of the topic.
	Notify struct{ Topic Topic }
	// Record writes the move to the audit log.
	Record struct{ Action, By, Note string }
)

func (Enqueue) effect()      {}
func (Dequeue) effect()      {}
func (Hurry) effect()        {}
func (SpendReviews) effect() {}
func (Follow) effect()       {}
func (Interrupt) effect()    {}
func (Report) effect()       {}
func (Flag) effect()         {}
func (Replan) effect()       {}
func (Notify) effect()       {}
func (Record) effect()       {}
