package view

import "groundcrew/runs"

// RunsModel is the list of all runs.
type RunsModel struct {
	Rows               []RunRow
	Stacks             []Option // slug and name; none when there are many
	ManyStacks         bool
	Q                  string
	Stack, Type, State string // the filter as given
	Any                bool   // there is at least one run, whatever the filter says
	New                int    // runs that came while the page was read
	Pager              Pager
}

func (m RunsModel) filtered() bool { return m.Q+m.Stack+m.Type+m.State != "" }

// RunModel is the run page.
type RunModel struct {
	Run        runs.Run
	StackName  string
	StackGone  bool   // the stack was deleted since
	ProjectURL string // of the project in GitLab, to link commit and branch; "" when not known
	Blocker    *RunRef
	Waiting    string // what the run waits for before it goes on by itself
	Progress   string // of an apply, "4 of 9"

	// Changes is the plan made readable, nil until planned or after it was cleaned up. All resources may be
	// given: the page shows the first [MaxResources] and leads to changes.json for the rest.
	Changes *runs.Changes
	Logs    []PhaseLog // of the phases that have one

	Reviews *ReviewsModel // nil where nobody has to approve
	Confirm Act           // its WhyNot stands beside the plan
	Discard Act
	Stop    Act
	// Prioritize puts a waiting run before the others.
	Prioritize Act
	PutBack    Act // takes that back
	// LogsRemoved says when and why the logs were removed, "" when they were not.
	LogsRemoved string
	Retry       Act
	Promote     Act

	// Newer is set when the stack's tracked commit moved on since the plan; confirming then plans again.
	Newer *runs.Commit
	// Changed names the variables and files that are not now what the plan that waits was made with.
	Changed []string
	// Locked says who locked the stack and why; "" when it is not.
	Locked    string
	Isolation []string // what this kernel could not give the run, in words
	ErrorText string   // the tool's error, more than the first line, as plain text
	LiveURL   string   // address of the event stream, "" when the run has ended
}

// MaxResources is how many resources the run page shows; maxAttributes bounds the attributes of all of them
// together, and maxPerResource those of one, so that the page stays light whatever the plan holds.
const (
	MaxResources   = 100
	maxAttributes  = 200
	maxPerResource = 60
)

// A PhaseLog is what a phase printed.
type PhaseLog struct {
	Phase     string // initializing, planning, applying, performing, destroying
	Text      []byte // raw, with escape sequences; whole lines; at most about 64 kB, the end of the log
	FirstLine int    // number of the first line of Text, from 1
	Size      int64  // bytes of the whole log
	CutBytes  int64  // bytes before Text that the page does not show
	// EarlierURL is where the lines before Text are, as [EarlierLines].
	EarlierURL string
}
