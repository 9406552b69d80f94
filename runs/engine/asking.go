package engine

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// Policies are asked outside of transactions, because asking takes time, and what they say comes in with the event it is about. What
// they are asked about is an input that is made here; the README describes it, and its fields may be added to, never renamed.

// A policyInput is what a policy is asked about. Which parts are there depends on its type.
type policyInput struct {
	Request      policyRequest       `json:"request"`
	Stack        policyStack         `json:"stack"`
	Run          *policyRun          `json:"run,omitempty"`
	Delta        *policyDelta        `json:"delta,omitempty"`
	Plan         json.RawMessage     `json:"plan,omitempty"`          // plan
	Push         *policyPush         `json:"push,omitempty"`          // push
	MergeRequest *policyMR           `json:"merge_request,omitempty"` // push
	Default      runs.PolicyOutcome  `json:"default,omitempty"`       // push: what happens when no policy says anything
	Reviews      *policyReviews      `json:"reviews,omitempty"`       // approval
	Notification *policyNotification `json:"notification,omitempty"`  // notification
}

type policyRequest struct {
	Time time.Time `json:"time"`
}

type policyStack struct {
	Slug        string   `json:"slug"`
	Name        string   `json:"name"`
	Labels      []string `json:"labels"`
	Project     string   `json:"project"`
	ProjectRoot string   `json:"project_root"`
	Branch      string   `json:"branch"`
	Tool        string   `json:"tool"`
	Autodeploy  bool     `json:"autodeploy"`
	Approvals   int      `json:"approvals"`
	Locked      bool     `json:"locked"`
}

type policyRun struct {
	ID           string       `json:"id"`
	Type         runs.Type    `json:"type"`
	State        runs.State   `json:"state"`
	Trigger      runs.Trigger `json:"trigger"`
	TriggeredBy  string       `json:"triggered_by"`
	Branch       string       `json:"branch"`
	Commit       policyCommit `json:"commit"`
	MergeRequest *policyMR    `json:"merge_request"`
	Command      string       `json:"command"`
	Warnings     []string     `json:"warnings"`
	Chain        []string     `json:"chain"`
}

type policyCommit struct {
	SHA    string `json:"sha"`
	Title  string `json:"title"`
	Author string `json:"author"`
}

type policyMR struct {
	IID          int64  `json:"iid"`
	Title        string `json:"title"`
	SourceBranch string `json:"source_branch"`
	TargetBranch string `json:"target_branch"`
	Fork         bool   `json:"fork"`
}

type policyDelta struct {
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
	Import  int `json:"import"`
	Move    int `json:"move"`
	Forget  int `json:"forget"`
	Outputs int `json:"outputs"`
}

type policyReviews struct {
	Approvals  []policyReview `json:"approvals"`
	Rejections []policyReview `json:"rejections"`
}

type policyReview struct {
	Name string    `json:"name"`
	Note string    `json:"note"`
	At   time.Time `json:"at"`
}

func stackInput(st runs.Stack) policyStack {
	return policyStack{
		Slug: st.Slug, Name: st.Name, Labels: nonNil(st.Labels), Project: st.ProjectPath, ProjectRoot: st.ProjectRoot, Branch: st.Branch, Tool: st.Tool,
		Autodeploy: st.Autodeploy, Approvals: st.Approvals, Locked: st.LockedBy != "",
	}
}

func runInput(r runs.Run) *policyRun {
	in := &policyRun{
		ID: r.ID, Type: r.Type, State: r.State, Trigger: r.Trigger, TriggeredBy: r.TriggeredBy, Branch: r.Branch, Command: r.Command,
		Commit: policyCommit{r.Commit.SHA, r.Commit.Title, r.Commit.Author}, Warnings: nonNil(r.Warnings), Chain: nonNil(r.Chain),
	}
	if r.MR != nil {
		in.MergeRequest = mrInput(*r.MR)
	}
	return in
}

func mrInput(mr runs.MergeRequest) *policyMR {
	return &policyMR{mr.IID, mr.Title, mr.SourceBranch, mr.TargetBranch, mr.Fork}
}

func deltaInput(d *runs.Delta) *policyDelta {
	if d == nil {
		return nil
	}
	return &policyDelta{d.Add, d.Change, d.Destroy, d.Import, d.Move, d.Forget, d.Outputs}
}

func reviewInput(list []runs.Review) []policyReview {
	out := []policyReview{}
	for _, v := range list {
		out = append(out, policyReview{v.Name, v.Note, v.At})
	}
	return out
}

// policiesOf are a stack's policies of one type.
func policiesOf(tx *store.Tx, st runs.Stack, t runs.PolicyType) ([]runs.Policy, error) {
	list, err := tx.PoliciesOf(st)
	return slices.DeleteFunc(list, func(p runs.Policy) bool { return p.Type != t }), err
}

// A matter is what policies are asked about.
type matter struct {
	policies []runs.Policy // all of one type
	stack    runs.Stack
	run      string // "" where there is none yet
	input    policyInput
	hide     func(string) string // takes secrets out of what is kept and shown; nil where there are none
}

// ask asks policies of a type, and keeps what they said. A policy that cannot be asked is part of the verdict; an error means that ctx
// ended.
func (e *Engine) ask(ctx context.Context, t runs.PolicyType, m matter) (policy.Verdict, error) {
	now := e.now()
	if len(m.policies) == 0 {
		return policy.Judge(t, nil, now), nil
	}
	m.input.Request.Time, m.input.Stack = now.UTC(), stackInput(m.stack)
	raw, err := json.Marshal(m.input)
	if err != nil {
		return policy.Verdict{}, err
	}
	var asked []policy.Asked
	for _, p := range m.policies {
		a, err := e.o.Court.Ask(ctx, p, raw)
		if ctx.Err() != nil {
			return policy.Verdict{}, ctx.Err()
		}
		asked = append(asked, policy.Asked{Policy: p, Answer: a, Err: err})
	}
	v := policy.Judge(t, asked, now)
	if m.hide != nil {
		hideVerdict(&v, m.hide)
		raw = hideInput(raw, m.hide)
	}
	for _, r := range v.Results {
		if err := e.st.AddSample(store.Sample{Policy: r.Policy, Stack: m.stack.Slug, Run: m.run, Result: r}, raw); err != nil {
			e.log.Error("what a policy said could not be kept", "policy", r.Policy, "error", err)
		}
	}
	return v, nil
}

func hideVerdict(v *policy.Verdict, hide func(string) string) {
	for i := range v.Messages {
		v.Messages[i] = hide(v.Messages[i])
	}
	for _, r := range v.Results {
		for i := range r.Messages {
			r.Messages[i] = hide(r.Messages[i])
		}
	}
}

// hideInput takes secrets out of an input. One that stands there as a number cannot be taken out of JSON as text is: then the plan is
// left out.
func hideInput(raw []byte, hide func(string) string) []byte {
	hidden := []byte(hide(string(raw)))
	if json.Valid(hidden) {
		return hidden
	}
	var in policyInput
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil
	}
	in.Plan = json.RawMessage(`"(left out: it holds secrets)"`)
	if raw, err := json.Marshal(in); err == nil && json.Valid([]byte(hide(string(raw)))) {
		return []byte(hide(string(raw)))
	}
	return nil
}
