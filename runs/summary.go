package runs

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The groups of runs that one aggregated status sums up. PRODUCT §5 names the statuses after them.
const (
	GroupProposed = "proposed"
	GroupTracked  = "tracked" // also tasks and destroys
	GroupModules  = "modules"
)

// Group returns the group of a type.
func (t Type) Group() string {
	switch t {
	case Proposed:
		return GroupProposed
	case Test:
		return GroupModules
	default:
		return GroupTracked
	}
}

// A Summary is what one status says of several stacks' runs of a commit.
type Summary struct {
	State CommitState
	Text  string
	Must  bool // the text has to stand there: it asks something of a person, or production is being changed
	Lead  Run  // the run a person should look at first
}

// Summarize sums up runs of one commit, at most one for each stack and at least one.
func Summarize(list []Run) Summary {
	list = slices.SortedFunc(slices.Values(list), func(a, b Run) int {
		return cmp.Or(cmp.Compare(urgency(a), urgency(b)), strings.Compare(a.Stack, b.Stack))
	})
	lead := list[0]
	if len(list) == 1 {
		state, text := CommitStatus(lead)
		return Summary{state, describe(lead.Stack, text), lead.NeedsPerson() || lead.State == Applying, lead}
	}
	g := grouped(list)
	s := Summary{Lead: lead, Must: len(g.applying) > 0 || len(g.waiting) > 0 && len(g.working) == 0}
	var text string
	switch {
	case len(g.applying) > 0:
		s.State, text = StatusRunning, fmt.Sprintf("Applying %d of %d", len(g.applying), len(list))
	case len(g.working) == 0 && len(g.waiting) > 0:
		s.State, text = StatusPending, fmt.Sprintf("%s: %d of %d (%s)", Run{Unapproved: g.unapproved}.WaitsFor(), len(g.waiting), len(list), strings.Join(g.waiting, ", "))
	case len(g.queued) == len(list):
		s.State, text = StatusPending, fmt.Sprintf("Queued: %d stacks", len(list))
	case len(g.queued)+len(g.working)+len(g.waiting) > 0:
		s.State, text = StatusRunning, fmt.Sprintf("%d of %d planned", g.planned, len(list))
	default:
		s.State, s.Text = ended(g, list)
		return s
	}
	s.Text = describe(text+unwell(g), "")
	return s
}

// groups are the stacks' slugs by what their runs do.
type groups struct {
	queued, working, applying, waiting, good, failed, canceled []string
	unapproved                                                 bool // one of those that wait lacks approvals
	planned                                                    int
	delta                                                      Delta
}

func grouped(list []Run) (g groups) {
	for _, r := range list {
		to := &g.canceled
		switch {
		case r.State == Queued && !r.Unapproved:
			to = &g.queued
		case r.State == Applying, r.State == Performing, r.State == Destroying:
			to = &g.applying
			g.working = append(g.working, r.Stack)
		case r.NeedsPerson():
			to = &g.waiting
			g.unapproved = g.unapproved || r.Unapproved
		case !r.State.Terminal():
			to = &g.working
		case r.State == Failed:
			to = &g.failed
		case r.State == Finished, r.State == Skipped:
			to = &g.good
		}
		*to = append(*to, r.Stack)
		if r.State.Terminal() || r.Delta != nil {
			g.planned++
		}
		if d := r.Delta; d != nil && r.State == Finished {
			g.delta.Add, g.delta.Change, g.delta.Destroy = g.delta.Add+d.Add, g.delta.Change+d.Change, g.delta.Destroy+d.Destroy
			g.delta.Import, g.delta.Move, g.delta.Forget = g.delta.Import+d.Import, g.delta.Move+d.Move, g.delta.Forget+d.Forget
			g.delta.Outputs += d.Outputs
		}
	}
	return g
}

// ended says how all of them ended: one that failed fails all.
func ended(g groups, list []Run) (CommitState, string) {
	if len(g.failed)+len(g.canceled) == 0 {
		return StatusSuccess, describe(fmt.Sprintf("%d succeeded", len(list)), g.delta.String())
	}
	var parts []string
	if len(g.good) > 0 {
		parts = append(parts, fmt.Sprintf("%d succeeded", len(g.good)))
	}
	state := StatusCanceled
	if len(g.failed) > 0 {
		state = StatusFailed
		parts = append(parts, fmt.Sprintf("%d failed (%s)", len(g.failed), strings.Join(g.failed, ", ")))
	}
	if len(g.canceled) > 0 {
		parts = append(parts, fmt.Sprintf("%d canceled (%s)", len(g.canceled), strings.Join(g.canceled, ", ")))
	}
	return state, describe(strings.Join(parts, ", "), "")
}

// unwell adds what has gone wrong already while others are at work.
func unwell(g groups) string {
	if len(g.failed) == 0 {
		return ""
	}
	return fmt.Sprintf(", %d failed (%s)", len(g.failed), strings.Join(g.failed, ", "))
}

// urgency orders runs by how much a person should look at them.
func urgency(r Run) int {
	switch {
	case r.State == Failed:
		return 0
	case r.NeedsPerson():
		return 1
	case r.State.Working(), r.State == Confirmed:
		return 2
	case r.State == Queued:
		return 3
	default:
		return 4
	}
}

var notEnvironment = regexp.MustCompile(`[^a-zA-Z0-9 _/${}.-]+`)

// EnvironmentName is the name of a stack's environment in GitLab, which takes fewer characters than a status's name
// does, none of them a slash at either end, and 255 in all (GOTCHAS 86).
func EnvironmentName(prefix, slug string) string {
	prefix = strings.Trim(notEnvironment.ReplaceAllString(prefix, "-"), "/ ")
	if over := len(prefix) + 1 + len(slug) - maxDescription; over > 0 {
		prefix = prefix[:max(0, len(prefix)-over)]
	}
	return strings.Trim(prefix+"/"+slug, "/ ")
}
