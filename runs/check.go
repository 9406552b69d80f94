package runs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A CheckState is where the check of a module at a commit stands.
type CheckState string

// The states of a check. All but the first two are terminal.
const (
	CheckReading  CheckState = "reading"  // the code is being fetched and looked at
	CheckTesting  CheckState = "testing"  // its tests are at work
	CheckPassed   CheckState = "passed"   // all of them passed, or there are none
	CheckFailed   CheckState = "failed"   // a test failed, or the code cannot be published
	CheckRefused  CheckState = "refused"  // the number of the version was wrong; nothing was tested
	CheckCanceled CheckState = "canceled" // a newer commit came, or the merge request was closed
)

// Open reports whether the check goes on by itself.
func (s CheckState) Open() bool { return s == CheckReading || s == CheckTesting }

// How a test of a module is made.
const (
	TestCaseKind = "case"  // init, plan, apply, destroy of a root module
	TestFileKind = "files" // the tool's own test files (*.tftest.hcl)
)

// A TestCase is one test of a module, as .groundcrew.yml declares it.
type TestCase struct {
	ID          string            `json:"id"` // unique in the module; names the commit status
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`                   // TestCaseKind or TestFileKind
	ProjectRoot string            `json:"project_root,omitempty"` // relative to the module's folder
	Tool        string            `json:"tool,omitempty"`
	ToolVersion string            `json:"tool_version,omitempty"`
	Negative    bool              `json:"negative,omitempty"` // it passes when plan or apply fails
	DependsOn   []string          `json:"depends_on,omitempty"`
	Inputs      map[string]string `json:"inputs,omitempty"`      // variables of the root module, as text or HCL
	Environment map[string]string `json:"environment,omitempty"` // variables of the process
}

// A CaseState is where one test of a check stands.
type CaseState string

// The states of a test case.
const (
	CaseWaiting CaseState = "waiting" // for a case it depends on
	CaseRunning CaseState = "running" // it has a run that has not ended
	CasePassed  CaseState = "passed"
	CaseFailed  CaseState = "failed"
	CaseSkipped CaseState = "skipped" // what it depends on did not pass
)

// Ended reports whether nothing more comes of the case.
func (s CaseState) Ended() bool { return s == CasePassed || s == CaseFailed || s == CaseSkipped }

// A CheckCase is a test case and what came of it.
type CheckCase struct {
	TestCase
	State  CaseState `json:"state"`
	Run    string    `json:"run,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// A Check is what is known of a module at one commit: whether it can be published, how its tests went, and how what its
// users see differs from the latest version. It is also the stored form.
type Check struct {
	ID      string        `json:"id"`
	Module  string        `json:"module"` // slug
	Project int64         `json:"project"`
	Commit  Commit        `json:"commit"`
	Branch  string        `json:"branch,omitempty"`
	Tag     string        `json:"tag,omitempty"`
	MR      *MergeRequest `json:"merge_request,omitempty"`
	// Version is the number it is to become, "" for none. Tracked says that the commit came to the tracked branch, so the
	// file may name a number.
	Version string  `json:"version,omitempty"`
	Tracked bool    `json:"tracked,omitempty"`
	Trigger Trigger `json:"trigger"`
	By      string  `json:"by,omitempty"`

	State     CheckState        `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	Cases     []CheckCase       `json:"cases,omitempty"`
	Against   string            `json:"against,omitempty"` // version it was compared with, "" for none
	Changes   []InterfaceChange `json:"changes,omitempty"`
	Notes     []string          `json:"notes,omitempty"` // what people should know although nothing failed
	CreatedAt time.Time         `json:"created_at"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
}

// Advance moves a check that is testing on: what came of its runs, which of its cases may begin now, and the end when
// all have one. run finds the run of a case. begin are the indexes of the cases a run is to be requested for.
func (c Check) Advance(run func(id string) (Run, bool)) (next Check, begin []int) {
	if c.State != CheckTesting {
		return c, nil
	}
	c.Cases = slices.Clone(c.Cases)
	for i, k := range c.Cases {
		if r, ok := run(k.Run); ok && k.State == CaseRunning && r.State.Terminal() {
			c.Cases[i].State, c.Cases[i].Reason = caseEnd(r)
		}
	}
	for moved := true; moved; { // a case that is skipped may skip others
		moved = false
		for i, k := range c.Cases {
			if k.State != CaseWaiting {
				continue
			}
			state, reason := c.dependencies(k)
			switch state {
			case CasePassed:
				begin = append(begin, i)
				c.Cases[i].State = CaseRunning
			case CaseSkipped:
				c.Cases[i].State, c.Cases[i].Reason = CaseSkipped, reason
				moved = true
			}
		}
	}
	if !slices.ContainsFunc(c.Cases, func(k CheckCase) bool { return !k.State.Ended() }) {
		c.State, c.Reason = c.verdict()
	}
	return c, begin
}

// caseEnd says what the end of a run means for its case.
func caseEnd(r Run) (CaseState, string) {
	if r.State == Finished {
		return CasePassed, r.Reason
	}
	return CaseFailed, cmp.Or(r.Reason, "The run was "+string(r.State)+".")
}

// dependencies says whether a case may begin (passed), has to wait, or is skipped.
func (c Check) dependencies(k CheckCase) (CaseState, string) {
	for _, id := range k.DependsOn {
		i := slices.IndexFunc(c.Cases, func(o CheckCase) bool { return o.ID == id })
		switch {
		case i < 0:
			return CaseSkipped, "there is no case “" + id + "”"
		case c.Cases[i].State == CaseFailed || c.Cases[i].State == CaseSkipped:
			return CaseSkipped, "“" + c.Cases[i].Name + "” did not pass"
		case c.Cases[i].State != CasePassed:
			return CaseWaiting, ""
		}
	}
	return CasePassed, ""
}

// verdict sums up cases that have all ended.
func (c Check) verdict() (CheckState, string) {
	var failed []string
	first := ""
	for _, k := range c.Cases {
		if k.State == CaseFailed {
			failed = append(failed, k.Name)
			first = cmp.Or(first, k.Reason)
		}
	}
	switch {
	case len(failed) == 1:
		return CheckFailed, fmt.Sprintf("Test “%s” failed: %s", failed[0], first)
	case len(failed) > 1:
		return CheckFailed, fmt.Sprintf("%d of %d tests failed (%s): %s", len(failed), len(c.Cases), strings.Join(failed, ", "), first)
	case len(c.Cases) == 0:
		return CheckPassed, "There are no tests."
	case len(c.Cases) == 1:
		return CheckPassed, "1 test passed."
	default:
		return CheckPassed, fmt.Sprintf("%d tests passed.", len(c.Cases))
	}
}

// Breaking are the changes that may break those who use the module.
func (c Check) Breaking() []string { return BreakingOf(c.Changes) }

// CheckStatus says what GitLab's commit status of a check must show now.
func CheckStatus(c Check) (CommitState, string) {
	what := ""
	if c.Version != "" {
		what = "Version " + c.Version + ": "
	}
	switch c.State {
	case CheckReading:
		return StatusPending, describe(what+"reading the code", "")
	case CheckTesting:
		ended := 0
		for _, k := range c.Cases {
			if k.State.Ended() {
				ended++
			}
		}
		return StatusRunning, describe(fmt.Sprintf("%s%d of %d tests ended", what, ended, len(c.Cases)), "")
	case CheckPassed:
		text := c.Reason
		if c.Version != "" {
			text = what + "usable. " + c.Reason
		}
		if n := len(c.Breaking()); n > 0 {
			text += fmt.Sprintf(" Breaking since %s: %s", c.Against, strings.Join(c.Breaking(), "; "))
		}
		return StatusSuccess, describe(text, "")
	case CheckCanceled:
		return StatusCanceled, describe("Canceled", c.Reason)
	case CheckRefused:
		return StatusFailed, describe(cmp.Or(c.Reason, "Refused"), "")
	default:
		return StatusFailed, describe(what+cmp.Or(c.Reason, "failed"), "")
	}
}

// SummarizeChecks says in one status what checks of several modules at a commit say, and which a person should look at.
// There is at least one.
func SummarizeChecks(list []Check) (CommitState, string, Check) {
	order := func(c Check) int {
		return slices.Index([]CommitState{StatusFailed, StatusRunning, StatusPending, StatusCanceled, StatusSuccess}, first(CheckStatus(c)))
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b Check) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Module, b.Module))
	})
	state, text := CheckStatus(list[0])
	if len(list) == 1 {
		return state, describe(list[0].Module, text), list[0]
	}
	ended := 0
	for _, c := range list {
		if !c.State.Open() {
			ended++
		}
	}
	if ended < len(list) {
		state = StatusRunning
	}
	return state, describe(fmt.Sprintf("%d of %d modules ended; %s", ended, len(list), list[0].Module), text), list[0]
}

func first[A, B any](a A, _ B) A { return a }
