package view

import "groundcrew/runs"

// StartModel is what needs a person now.
type StartModel struct {
	// Steps is set until the first run exists: then the page is the way there and nothing else.
	Steps *FirstSteps

	Needs   []RunRow  // unconfirmed, oldest first, then those that failed last on their stack
	Trouble []Trouble // token, reports, held forks
	Work    []RunRow  // a process is at work, then those that wait for a worker or a blocker
	Day     Day

	MoreWaiting, MoreFailed, MoreQueued int // that are not listed

	Unseen []RunRow // of Needs, that came while the page was read and are only counted
	New    int      // of Trouble, the same
}

// FirstSteps says how far a new installation is.
type FirstSteps struct {
	GitLab    bool // an integration is set up
	Stack     bool // there is at least one stack
	FirstSlug string
	Plan      Act // trigger the first plan by hand
	// NotMine says why the reader cannot do the first two steps; "" when they can.
	NotMine string
}

// Trouble is something that is wrong in the background and needs a person.
type Trouble struct {
	Key      string // of the notice
	Kind     string // KindWarn or KindBad
	Title    string // "GitLab token expires in 6 days"
	Detail   string // "groundcrew-bot"
	LinkText string // "Change token"
	LinkURL  string
}

// Day counts the runs that were requested within the last 24 hours.
type Day struct {
	Total, Finished, Failed, Discarded, Other int
	Hours                                     [24]int // oldest first
}

// A RunRow is a run as lists show it.
type RunRow struct {
	Run       runs.Run
	StackName string
	Blocker   *RunRef // what a queued run waits for, when that is a run
	Waiting   string  // what the run waits for before it goes on by itself
	Progress  string  // of an apply, "4 of 9"; "" when not known
	Over      bool    // it does not belong to its list any more, but stays where somebody reads it
}

// A RunRef is a link to a run.
type RunRef struct {
	ID    string
	Title string
	State runs.State
}

// quiet reports whether nothing waits for a person, nor did when the page was opened.
func (m StartModel) quiet() bool { return m.needs() == 0 && len(m.Needs) == 0 }

func (m StartModel) needs() int {
	return inPlace(m.Needs) + m.MoreWaiting + m.MoreFailed + len(m.Trouble) + m.unseen()
}

// unseen counts what needs a person and is not on the page, because it came while that was read.
func (m StartModel) unseen() int { return len(m.Unseen) + m.New }

// working counts the listed runs with a process at work.
func (m StartModel) working() int {
	n := 0
	for _, r := range m.Work {
		if r.Run.State.Working() {
			n++
		}
	}
	return n
}

// inPlace counts the rows that belong to their list.
func inPlace(rows []RunRow) int {
	n := 0
	for _, r := range rows {
		if !r.Over {
			n++
		}
	}
	return n
}

// needMark is the word of a run that needs a person, "" for one that doesn't.
func needMark(r runs.Run) string {
	switch {
	case r.NeedsPerson() && r.Unapproved:
		return "approve"
	case r.NeedsPerson():
		return "confirm"
	case r.State == runs.Failed:
		return "failed"
	default:
		return ""
	}
}

// needLook is the shape and colour of a run that needs a person.
func needLook(r runs.Run) string {
	if r.NeedsPerson() {
		return lookWait
	}
	return look(r.State)
}

// needWord says aloud what a run has come to that needs a person.
func needWord(r runs.Run) string {
	switch {
	case r.State == runs.Failed:
		return "failed"
	case r.Unapproved:
		return "waits for approval"
	default:
		return "waits for confirmation"
	}
}

// A bar is one hour of the day's chart, in units of the view box (240 × 32).
type bar struct {
	X, Y, Height int
	Text         string
}

// bars draws the day: the tallest hour fills the chart, an hour with any run is at least visible.
func (d Day) bars() []bar {
	top := 1
	for _, n := range d.Hours {
		top = max(top, n)
	}
	var out []bar
	for i, n := range d.Hours {
		h := 1
		if n > 0 {
			h = max(4, n*30/top)
		}
		out = append(out, bar{X: i * 10, Y: 32 - h, Height: h, Text: Count(n, "run", "runs")})
	}
	return out
}
