package runs

import (
	"slices"
	"strings"
	"time"
)

// A Type says what a run is for (PRODUCT §4).
type Type string

// The types of run. Tracked, task and destroy runs are blocking: one of them per stack at a time.
const (
	Proposed Type = "proposed" // plan only, for a branch or merge request
	Tracked  Type = "tracked"  // plan and, after a yes, apply, on the tracked branch
	Task     Type = "task"     // one command with the stack's state and environment
	Destroy  Type = "destroy"  // destroys what the stack manages
	Test     Type = "test"     // a module's test
)

// Types lists every type, in the order of PRODUCT §4.
var Types = []Type{Proposed, Tracked, Task, Destroy, Test}

// Blocking reports whether at most one run of this type may be between start and end on a stack.
func (t Type) Blocking() bool { return t == Tracked || t == Task || t == Destroy }

// A Trigger says what asked for a run.
type Trigger string

// What can ask for a run.
const (
	ByWebhook    Trigger = "webhook"
	ByPerson     Trigger = "person"
	BySchedule   Trigger = "schedule"
	ByDrift      Trigger = "drift"
	ByDependency Trigger = "dependency"
	ByAPI        Trigger = "api"
	ByComparison Trigger = "comparison" // GitLab did not deliver what happened; comparing with it showed it
	ByPolicy     Trigger = "policy"     // a trigger policy, after the run of another stack
	ByComment    Trigger = "comment"    // a command in a comment on a merge request
)

// A State is where a run stands (PRODUCT §4).
type State string

// The states of a run. The last six are terminal: nothing follows.
const (
	None         State = "" // not requested yet; only Requested leads out of it
	Queued       State = "queued"
	Preparing    State = "preparing"
	Initializing State = "initializing"
	Planning     State = "planning"
	Unconfirmed  State = "unconfirmed"
	Confirmed    State = "confirmed"
	Applying     State = "applying"
	Performing   State = "performing"
	Destroying   State = "destroying"
	Finished     State = "finished"
	Failed       State = "failed"
	Stopped      State = "stopped"
	Discarded    State = "discarded"
	Canceled     State = "canceled"
	Skipped      State = "skipped"
)

// States lists every state of a run that exists, in the order of a life.
var States = []State{
	Queued, Preparing, Initializing, Planning, Unconfirmed, Confirmed, Applying, Performing, Destroying,
	Finished, Failed, Stopped, Discarded, Canceled, Skipped,
}

// Terminal reports whether nothing can follow s.
func (s State) Terminal() bool {
	return slices.Contains([]State{Finished, Failed, Stopped, Discarded, Canceled, Skipped}, s)
}

// Working reports whether a process is, or is about to be, at work for a run in state s.
func (s State) Working() bool {
	return slices.Contains([]State{Preparing, Initializing, Planning, Applying, Performing, Destroying}, s)
}

// A Phase is a job of a run: one stretch of work on one worker. A run's job row is keyed run/phase.
type Phase string

// The phases. A tracked run has two of them, the plan and the apply, with a person between.
const (
	PhasePlan    Phase = "plan"
	PhaseApply   Phase = "apply"
	PhasePerform Phase = "perform"
	PhaseDestroy Phase = "destroy"
)

// A Commit is what a person recognises a version of the code by.
type Commit struct {
	SHA    string `json:"sha"`              // full hexadecimal id
	Title  string `json:"title,omitempty"`  // first line of the message
	Author string `json:"author,omitempty"` // the name in the commit; gives nobody any right (S11)
	URL    string `json:"url,omitempty"`
}

// Short returns the first eight digits of the commit's id.
func (c Commit) Short() string { return ShortSHA(c.SHA) }

// ShortSHA returns the first eight digits of a commit id.
func ShortSHA(sha string) string { return sha[:min(8, len(sha))] }

// A MergeRequest is the merge request a run speaks to.
type MergeRequest struct {
	IID          int64  `json:"iid"`
	Title        string `json:"title,omitempty"`
	SourceBranch string `json:"source_branch,omitempty"`
	TargetBranch string `json:"target_branch,omitempty"`
	URL          string `json:"url,omitempty"`
	Fork         bool   `json:"fork,omitempty"` // its code comes from another project
}

// A Basis says which commit was really planned: the merge result or the head (PRODUCT §4).
type Basis struct {
	SHA    string `json:"sha"`
	Kind   string `json:"kind"`             // PlanHead or PlanMergeResult
	Behind int    `json:"behind,omitempty"` // commits the branch is behind its target, when known
	Root   string `json:"root,omitempty"`   // the stack's project root at that moment: the apply is made there, whatever the settings say by then
}

// A Transition is one step in a run's life.
type Transition struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
	By    string    `json:"by,omitempty"` // person or "system"
	Note  string    `json:"note,omitempty"`
}

// MaxLosses is how often a plan whose machine or process was lost is started again before the run fails.
const MaxLosses = 2

// A Run is one job of a stack. It is also the stored form: fields may be added, never renamed.
type Run struct {
	ID          string         `json:"id"` // ULID: sorts by the time of the request
	Stack       string         `json:"stack"`
	Project     int64          `json:"project"`
	Type        Type           `json:"type"`
	State       State          `json:"state"`
	Trigger     Trigger        `json:"trigger"`
	TriggeredBy string         `json:"triggered_by,omitempty"`
	Author      Person         `json:"author,omitzero"`  // who pushed what it runs, or started it: who may not approve it
	Reason      string         `json:"reason,omitempty"` // why it ended as it did, or what it waits for
	Commit      Commit         `json:"commit"`
	Branch      string         `json:"branch,omitempty"`
	MR          *MergeRequest  `json:"merge_request,omitempty"`
	Also        []MergeRequest `json:"also,omitempty"` // further merge requests of the very same commit
	Basis       *Basis         `json:"basis,omitempty"`
	Command     string         `json:"command,omitempty"` // of a task
	RetryOf     string         `json:"retry_of,omitempty"`
	PromotedOf  string         `json:"promoted_of,omitempty"`

	Delta        *Delta   `json:"delta,omitempty"` // nil until planned
	Warnings     []string `json:"warnings,omitempty"`
	Fingerprint  string   `json:"fingerprint,omitempty"`
	Tool         string   `json:"tool,omitempty"`
	ToolVersion  string   `json:"tool_version,omitempty"`
	StateVersion int      `json:"state_version,omitempty"` // managed state the plan was made on; 0 = none yet
	TrackedAt    string   `json:"tracked_at,omitempty"`    // the stack's tracked commit when it was planned
	NewVersion   int      `json:"new_version,omitempty"`   // managed state version an apply made
	Reused       string   `json:"reused,omitempty"`        // the run whose init made what this one uses instead of an init of its own
	Afresh       bool     `json:"afresh,omitempty"`        // what was reused did not fit, so this run's own init is run

	Authors    []Person       `json:"authors,omitempty"`    // who wrote what brought its commit, as GitLab said when it was planned; one who is nobody: it could not be asked
	Unapproved bool           `json:"unapproved,omitempty"` // it waits for approvals, as far as was known when it last moved
	Reviews    []Review       `json:"reviews,omitempty"`    // that opened the way to what it did
	Policies   []PolicyResult `json:"policies,omitempty"`   // what policies said of it
	Weighed    string         `json:"weighed,omitempty"`    // names the approval policies and reviews that those of Policies are about
	Chain      []string       `json:"chain,omitempty"`      // stacks whose runs led to it through trigger policies, the first one first

	PrioritizedBy string       `json:"prioritized_by,omitempty"` // who put it before the others in the queue
	Attempt       int          `json:"attempt,omitempty"`        // times its first job was started; names the job's folder
	Losses        int          `json:"losses,omitempty"`         // of those, how many were lost since the last plan
	Test          *RunTest     `json:"test,omitempty"`           // of a module's test
	StopAsked     string       `json:"stop_asked,omitempty"`
	CreatedAt     time.Time    `json:"created_at"`
	EndedAt       time.Time    `json:"ended_at,omitzero"`
	Transitions   []Transition `json:"transitions"`
}

// A RunTest is what a run of type test is about and what came of it.
type RunTest struct {
	Module   string       `json:"module"` // slug
	Check    string       `json:"check"`
	Case     TestCase     `json:"case"`
	Version  string       `json:"version,omitempty"` // the number it is tested for
	Outcome  State        `json:"outcome,omitempty"` // what the test itself came to, while what it made is being destroyed
	Why      string       `json:"why,omitempty"`
	EndedBy  string       `json:"ended_by,omitempty"`
	Results  []TestResult `json:"results,omitempty"`  // of test files
	Leftover bool         `json:"leftover,omitempty"` // what it made may still be there
}

// A TestResult is one run block of a test file, as the tool tells of it.
type TestResult struct {
	File    string `json:"file"`
	Run     string `json:"run,omitempty"` // "" when the whole file could not be run
	Status  string `json:"status"`        // pass, fail, error or skip
	Message string `json:"message,omitempty"`
}

// FirstPhase is the job a run of this type starts with.
func (r Run) FirstPhase() Phase {
	switch r.Type {
	case Task:
		return PhasePerform
	case Destroy:
		return PhaseDestroy
	default:
		return PhasePlan
	}
}

// ForkOf is the number of the merge request if the run's code comes from its fork, 0 for code of the project itself.
func (r Run) ForkOf() int64 {
	if r.MR != nil && r.MR.Fork {
		return r.MR.IID
	}
	return 0
}

// In returns the merge request with the number when the run speaks to it, else nil.
func (r Run) In(iid int64) *MergeRequest {
	if r.MR != nil && r.MR.IID == iid {
		return r.MR
	}
	for _, mr := range r.Also {
		if mr.IID == iid {
			return &mr
		}
	}
	return nil
}

// NeedsPerson reports whether the run waits for a person's yes or approval.
func (r Run) NeedsPerson() bool { return r.State == Unconfirmed || r.State == Queued && r.Unapproved }

// Entered returns when the run last entered its present state.
func (r Run) Entered() time.Time {
	if n := len(r.Transitions); n > 0 {
		return r.Transitions[n-1].At
	}
	return r.CreatedAt
}

// Passed reports whether the run was ever in state s.
func (r Run) Passed(s State) bool {
	return slices.ContainsFunc(r.Transitions, func(t Transition) bool { return t.State == s })
}

// Blocker returns the blocking run that r has to wait for, given the stack's runs that have not ended,
// in any order. Only blocking runs wait for each other: for the oldest that has started, or else for the oldest.
func Blocker(r Run, active []*Run) (Run, bool) {
	if !r.Type.Blocking() || r.State != Queued {
		return Run{}, false
	}
	var started, before []*Run
	for _, o := range active {
		switch {
		case o.ID == r.ID || o.Stack != r.Stack || !o.Type.Blocking() || o.State.Terminal():
		case o.State != Queued:
			started = append(started, o)
		case o.ID < r.ID:
			before = append(before, o)
		}
	}
	if len(started) == 0 {
		started = before
	}
	if len(started) == 0 {
		return Run{}, false
	}
	return *slices.MinFunc(started, func(a, b *Run) int { return strings.Compare(a.ID, b.ID) }), true
}
