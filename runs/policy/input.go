package policy

import (
	"encoding/json"
	"time"

	"groundcrew/runs"
)

// An Input is what a policy is asked about, as its text sees it under “input”. Which parts are there depends on the type:
//
//	push          stack, request, push
//	plan          stack, request, run, delta, plan
//	approval      stack, request, run, delta, reviews
//	trigger       stack, request, run, delta, stacks
//	notification  stack, request, run, delta, event
type Input struct {
	Request Request         `json:"request"`
	Stack   Stack           `json:"stack"`
	Run     *Run            `json:"run,omitempty"`
	Delta   *Delta          `json:"delta,omitempty"` // once there is a plan
	Plan    json.RawMessage `json:"plan,omitempty"`  // see tofu.PolicyPlan
	Push    *Push           `json:"push,omitempty"`
	Reviews *Reviews        `json:"reviews,omitempty"`
	Stacks  []Stack         `json:"stacks,omitempty"` // all there are
	Event   *Event          `json:"event,omitempty"`
}

// A Request says when it was asked.
type Request struct {
	Time time.Time `json:"time"` // in UTC
}

// A Stack is one as policies see it.
type Stack struct {
	Slug        string   `json:"slug"`
	Name        string   `json:"name"`
	Labels      []string `json:"labels"` // never null
	Project     string   `json:"project"`
	ProjectRoot string   `json:"project_root"`
	Branch      string   `json:"branch"`
	Tool        string   `json:"tool"`
	Autodeploy  bool     `json:"autodeploy"`
	Approvals   int      `json:"approvals"` // that the stack asks for
	Locked      bool     `json:"locked"`
}

// A Run is one as policies see it.
type Run struct {
	ID           string        `json:"id"`
	Type         runs.Type     `json:"type"`
	State        runs.State    `json:"state"`
	Trigger      runs.Trigger  `json:"trigger"`
	TriggeredBy  string        `json:"triggered_by"`
	Branch       string        `json:"branch"`
	Commit       Commit        `json:"commit"`
	MergeRequest *MergeRequest `json:"merge_request"` // null for none
	Command      string        `json:"command"`       // of a task
	Warnings     []string      `json:"warnings"`      // never null
	Chain        []string      `json:"chain"`         // slugs of the stacks whose runs led to it through trigger policies; never null
}

// A Delta counts what a plan would do.
type Delta struct {
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
	Import  int `json:"import"`
	Move    int `json:"move"`
	Forget  int `json:"forget"`
	Outputs int `json:"outputs"`
}

// A Commit is one as policies see it. Its author is what the commit says and nothing that anybody vouches for.
type Commit struct {
	SHA    string `json:"sha"`
	Title  string `json:"title"`
	Author string `json:"author"`
}

// A MergeRequest is one as policies see it.
type MergeRequest struct {
	IID          int64  `json:"iid"`
	Title        string `json:"title"`
	SourceBranch string `json:"source_branch"`
	TargetBranch string `json:"target_branch"`
	Fork         bool   `json:"fork"` // its code comes from another project
}

// A Push is what happened in GitLab, before there is a run.
type Push struct {
	Branch       string        `json:"branch"`
	Tag          string        `json:"tag"` // "" but for a tag
	By           string        `json:"by"`  // username in GitLab
	Commit       Commit        `json:"commit"`
	Files        []string      `json:"files"` // that changed; null when they are not known
	MergeRequest *MergeRequest `json:"merge_request"`
	Would        string        `json:"would"` // what follows without policies: track, propose or ignore
}

// Reviews are what people said of a run.
type Reviews struct {
	Approvals  []Review `json:"approvals"`
	Rejections []Review `json:"rejections"`
}

// A Review is what one person said.
type Review struct {
	By   string    `json:"by"`
	Note string    `json:"note"`
	At   time.Time `json:"at"`
}

// An Event is what people would be told.
type Event struct {
	Topic   runs.Topic `json:"topic"`
	Title   string     `json:"title"`
	Text    string     `json:"text"`
	Channel string     `json:"channel"` // that would tell it, by name
}

// NewInput begins the input about a stack.
func NewInput(at time.Time, st runs.Stack) Input {
	return Input{Request: Request{at.UTC()}, Stack: StackOf(st)}
}

// StackOf is the stack as policies see it.
func StackOf(st runs.Stack) Stack {
	return Stack{
		Slug: st.Slug, Name: st.Name, Labels: append([]string{}, st.Labels...), Project: st.ProjectPath, ProjectRoot: st.ProjectRoot, Branch: st.Branch,
		Tool: st.Tool, Autodeploy: st.Autodeploy, Approvals: st.Approvals, Locked: st.LockedBy != "",
	}
}

// About adds a run and the counts of its plan.
func (in Input) About(r runs.Run) Input {
	if d := r.Delta; d != nil {
		in.Delta = &Delta{d.Add, d.Change, d.Destroy, d.Import, d.Move, d.Forget, d.Outputs}
	}
	in.Run = &Run{
		ID: r.ID, Type: r.Type, State: r.State, Trigger: r.Trigger, TriggeredBy: r.TriggeredBy, Branch: r.Branch, Commit: CommitOf(r.Commit),
		MergeRequest: MergeRequestOf(r.MR), Command: r.Command, Warnings: append([]string{}, r.Warnings...), Chain: append([]string{}, r.Chain...),
	}
	return in
}

// CommitOf is the commit as policies see it.
func CommitOf(c runs.Commit) Commit { return Commit{c.SHA, c.Title, c.Author} }

// MergeRequestOf is the merge request as policies see it, nil for none.
func MergeRequestOf(mr *runs.MergeRequest) *MergeRequest {
	if mr == nil {
		return nil
	}
	return &MergeRequest{mr.IID, mr.Title, mr.SourceBranch, mr.TargetBranch, mr.Fork}
}
