package view

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"groundcrew/runs"
)

// planHead is the line above the plan: what would happen, or what has.
func (m RunModel) planHead() string {
	r := m.Run
	switch {
	case r.Type == runs.Task:
		return "Task"
	case r.Type == runs.Destroy && r.Delta == nil:
		return "Destroy everything this stack manages"
	case r.Delta == nil && r.State == runs.Failed:
		return "Failed before there was a plan"
	case r.Delta == nil && r.State.Terminal():
		return "No plan was made"
	case r.Delta == nil && r.State == runs.Queued:
		return "Not planned yet"
	case r.Delta == nil:
		return "Planning"
	case r.Delta.Empty():
		return "No changes"
	case r.State == runs.Applying:
		return "Applying: " + r.Delta.String()
	case m.applied() && r.State == runs.Finished:
		return "Applied: " + applied(*r.Delta)
	default:
		return "Plan: " + r.Delta.String()
	}
}

// applied says a delta in the past.
func applied(d runs.Delta) string {
	if d.Resources() == 0 {
		return Count(d.Outputs, "output", "outputs")
	}
	var text strings.Builder
	text.WriteString(fmt.Sprintf("%d added, %d changed, %d destroyed", d.Add, d.Change, d.Destroy))
	for _, more := range []struct {
		n    int
		word string
	}{{d.Import, "imported"}, {d.Move, "moved"}, {d.Forget, "forgotten"}} {
		if more.n > 0 {
			text.WriteString(fmt.Sprintf(", %d %s", more.n, more.word))
		}
	}
	return text.String()
}

func (m RunModel) applied() bool { return m.Run.Passed(runs.Applying) }

// planText says below the head what that means for the reader; "" when the head says it all.
func (m RunModel) planText() string {
	r := m.Run
	switch {
	case r.Delta == nil && !r.State.Terminal() && r.Type != runs.Task && r.Type != runs.Destroy:
		return "What would change appears here when the plan is made."
	case r.Delta == nil || r.State == runs.Failed:
		return ""
	case r.Delta.Empty():
		return "What is there matches the code at this commit."
	case r.Type == runs.Proposed:
		return "Nothing is applied by this run. After merging, a tracked run plans again and asks."
	case r.Delta.Resources() == 0:
		return "No resource changes, only outputs of the stack."
	default:
		return ""
	}
}

// changeCount is how many changes a person is asked to agree to.
func (m RunModel) changeCount() int {
	if m.Changes == nil {
		return m.Run.Delta.Resources()
	}
	n := 0
	for _, c := range m.Changes.Resources {
		if c.Action != runs.ActRead {
			n++
		}
	}
	return n
}

// confirmAction is the yes, with its effect in the label.
func (m RunModel) confirmAction() action {
	a := action{
		URL: runURL(m.Run.ID) + "/confirm", Kind: "primary", Act: m.Confirm, Key: "c",
		Fields: [][2]string{{"fingerprint", m.Run.Fingerprint}},
	}
	if m.Run.Delta == nil {
		a.Act = Act{}
		return a
	}
	d := *m.Run.Delta
	switch {
	case m.Newer != nil:
		a.Label = "Plan again at " + m.Newer.Short()
	case d.Resources() == 0:
		a.Label = "Apply " + Count(d.Outputs, "output change", "output changes")
	case d.Destroy > 0:
		a.Kind = "danger solid"
		a.Label = fmt.Sprintf("Apply %s, destroy %d", Count(m.changeCount(), "change", "changes"), d.Destroy)
		a.Ask = fmt.Sprintf("Apply to %s? %s destroyed, and that cannot be undone.", m.StackName, Count(d.Destroy, "resource is", "resources are"))
	default:
		a.Label = "Apply " + Count(m.changeCount(), "change", "changes")
	}
	return a
}

// reserved reports whether a page keeps room for a plan that is still to come: what is below it must not move when the plan
// arrives.
func (m RunModel) reserved() bool {
	return m.LiveURL != "" && m.Run.Delta == nil && m.Run.Type != runs.Task && m.Run.Type != runs.Destroy
}

// whyRun is the id of what says why buttons of a run are off.
const whyRun = "why-run"

// actions are the buttons beside the plan, the one most likely wanted first.
func (m RunModel) actions() []action {
	list := []action{
		m.confirmAction(),
		{URL: runURL(m.Run.ID) + "/promote", Label: "Promote to a tracked run", Kind: "primary", Act: m.Promote},
		{URL: runURL(m.Run.ID) + "/retry", Label: "Retry this commit", Act: m.Retry},
		{URL: runURL(m.Run.ID) + "/prioritize", Label: "Put first", Act: m.Prioritize},
		{URL: runURL(m.Run.ID) + "/putback", Label: "Put back", Act: m.PutBack},
		{URL: runURL(m.Run.ID) + "/discard", Label: "Discard", Act: m.Discard},
		m.stopAction(),
	}
	for i := range list {
		list[i].Said = whyRun
	}
	return list
}

func (m RunModel) acts() []Act {
	var out []Act
	for _, a := range m.actions() {
		out = append(out, a.Act)
	}
	return out
}

func (m RunModel) stopAction() action {
	a := action{URL: runURL(m.Run.ID) + "/stop", Kind: "danger", Act: m.Stop, Label: "Stop", Ask: "Stop this run?"}
	switch m.Run.State {
	case runs.Applying, runs.Destroying:
		a.Label = "Stop " + string(m.Run.State)
		a.Ask = "Stop " + string(m.Run.State) + "? What has happened until then stays, the state is kept, and the run fails."
	case runs.Planning, runs.Performing:
		a.Label = "Stop " + string(m.Run.State)
	}
	return a
}

// A changeView is one resource's change as the page shows it.
type changeView struct {
	runs.ResourceChange
	Shown  []runs.AttributeChange
	Hidden int // attributes the page leaves out
}

// changeViews are the first resources with as many of their attributes as the page has room for.
func changeViews(all []runs.ResourceChange) []changeView {
	room := maxAttributes
	var out []changeView
	for _, c := range all[:min(len(all), MaxResources)] {
		n := min(len(c.Attributes), maxPerResource, room)
		room -= n
		out = append(out, changeView{c, c.Attributes[:n], len(c.Attributes) - n})
	}
	return out
}

// An actionCount is one switch of the filter above the changes.
type actionCount struct {
	Action runs.Action
	N      int
}

func actionCounts(all []runs.ResourceChange) []actionCount {
	var out []actionCount
	for _, a := range []runs.Action{runs.ActAdd, runs.ActChange, runs.ActReplace, runs.ActDestroy, runs.ActImport, runs.ActMove, runs.ActForget, runs.ActRead} {
		n := 0
		for _, c := range all {
			if c.Action == a {
				n++
			}
		}
		if n > 0 {
			out = append(out, actionCount{a, n})
		}
	}
	return out
}

// gist says in one line what a change is about: `port 80 → 443, protocol "HTTP" → "HTTPS"`.
func (c changeView) gist() string {
	switch c.Action {
	case runs.ActMove:
		return "from " + c.Previous
	case runs.ActImport:
		return "by id " + c.ImportID
	case runs.ActAdd, runs.ActDestroy, runs.ActForget, runs.ActRead:
		return c.Reason
	}
	var parts []string
	if c.Action == runs.ActReplace {
		parts = replacers(c.Attributes)
	} else {
		for _, a := range c.Attributes[:min(len(c.Attributes), 6)] {
			parts = append(parts, gistOf(a))
		}
	}
	return cut(strings.Join(parts, ", "), 110)
}

func replacers(attrs []runs.AttributeChange) []string {
	var parts []string
	for _, a := range attrs {
		if a.Replaces {
			parts = append(parts, gistOf(a)+" forces replacement")
		}
	}
	return parts
}

func gistOf(a runs.AttributeChange) string {
	switch {
	case a.Sensitive:
		return a.Path
	case a.Unknown || len(a.Before)+len(a.After) > 60:
		return a.Path
	default:
		return fmt.Sprintf("%s %s → %s", a.Path, orNone(a.Before), orNone(a.After))
	}
}

func orNone(v string) string {
	if v == "" {
		return "none"
	}
	return v
}

// A diffLine is one line of a text before and after. Sign is '+', '-' or ' '.
type diffLine struct {
	Sign byte
	Text string
}

func (l diffLine) class() string {
	return map[byte]string{'+': "add", '-': "destroy"}[l.Sign]
}

func (l diffLine) sign() string {
	return map[byte]string{'+': "+", '-': "−", ' ': " "}[l.Sign]
}

// lineDiff compares two JSON texts line by line when either is a string of several lines; nil otherwise.
func lineDiff(before, after string) []diffLine {
	a, aLong := textLines(before)
	b, bLong := textLines(after)
	if !aLong && !bLong || len(a)*len(b) > 250_000 {
		return nil
	}
	return diffLines(a, b)
}

// textLines are the lines of a JSON string.
func textLines(v string) (lines []string, long bool) {
	if v == "" || v == "null" {
		return nil, false
	}
	var s string
	if json.Unmarshal([]byte(v), &s) != nil {
		return []string{v}, false
	}
	s = strings.TrimSuffix(s, "\n")
	return strings.Split(s, "\n"), strings.Contains(s, "\n")
}

// diffLines is the shortest edit from a to b by the longest common subsequence.
func diffLines(a, b []string) []diffLine {
	lcs := make([][]int, len(a)+1)
	for i := range lcs {
		lcs[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var out []diffLine
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, diffLine{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || lcs[i+1][j] >= lcs[i][j+1]):
			out = append(out, diffLine{'-', a[i]})
			i++
		default:
			out = append(out, diffLine{'+', b[j]})
			j++
		}
	}
	return out
}

// logHTML are the lines of a log, ready to stand in the page: [LogLines] escapes them.
func logHTML(l PhaseLog) templ.Component {
	html, _ := LogLines(l.Phase, l.Text, max(1, l.FirstLine), Pen{})
	return templ.Raw(html)
}

// basisText says what was really planned.
func basisText(r runs.Run) string {
	if r.Basis == nil {
		return ""
	}
	source, target := r.Branch, "the target branch"
	if r.MR != nil {
		source, target = r.MR.SourceBranch, r.MR.TargetBranch
	}
	text := "the head of " + source
	if r.Basis.Kind == runs.PlanMergeResult {
		text = "the merge of " + source + " into " + target
	}
	if r.Basis.Behind > 0 {
		text += fmt.Sprintf("; the branch is %s behind %s", Count(r.Basis.Behind, "commit", "commits"), target)
	}
	return text
}

// lastMove is the run's latest transition, the zero value when there is none.
func lastMove(r runs.Run) runs.Transition {
	if len(r.Transitions) == 0 {
		return runs.Transition{}
	}
	return r.Transitions[len(r.Transitions)-1]
}

// outcome says how a run that ended did so and by whom: "Discarded by anna: not today".
func outcome(r runs.Run) string {
	t := lastMove(r)
	if !r.State.Terminal() {
		return ""
	}
	text := ""
	if slices.Contains([]runs.State{runs.Discarded, runs.Stopped}, r.State) && t.By != "" {
		text = StateWord(r.State) + " by " + t.By
	}
	if r.Reason != "" && text != "" {
		return upperFirst(text) + ": " + r.Reason
	}
	return upperFirst(text + r.Reason)
}

func upperFirst(s string) string {
	if s == "" {
		return ""
	}
	r := []rune(s)
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

// stateMove says which version of the managed state the plan was made on and which one it led to.
func stateMove(r runs.Run) string {
	from := "planned on no state"
	if r.StateVersion > 0 {
		from = fmt.Sprintf("planned on version %d", r.StateVersion)
	}
	if r.NewVersion > 0 {
		return fmt.Sprintf("%s, made version %d", from, r.NewVersion)
	}
	return from
}
