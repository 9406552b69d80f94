package view

import (
	"slices"

	"github.com/a-h/templ"
)

// A Moving page changes by itself while somebody reads it. It knows what it shows, not yet the frame around it.
type Moving struct {
	Whole func(Page) templ.Component
	// Parts are what changes by itself, the sidebar's counts aside.
	Parts func(Page) []Part
	// Needs says of each run on the page that needs a person what to say aloud when it begins to.
	Needs map[string]string
	// Grows says that something on the page goes on without anything being stored, such as the progress of an apply.
	Grows bool
}

// A Part is a piece of a page that is replaced when it changes; ID is its element's.
type Part struct {
	ID   string
	Body templ.Component
}

// newWords says how many rows a list would have that are not shown yet.
func newWords(n, most int, one, many string) string {
	if n >= most {
		return Count(most, one, many) + " or more"
	}
	return Count(n, one, many)
}

// Moving is the start page as it changes by itself: whole, because the first run makes another page of it.
func (m StartModel) Moving() Moving {
	out := Moving{
		Whole: func(p Page) templ.Component { return StartPage(p, m) },
		Parts: func(p Page) []Part { return []Part{{"start", startBody(p, m)}} },
		Needs: map[string]string{},
	}
	for _, r := range slices.Concat(m.Needs, m.Unseen) {
		if !r.Over {
			out.Needs[r.Run.ID] = r.StackName + " " + needWord(r.Run)
		}
	}
	for _, r := range m.Work {
		out.Grows = out.Grows || r.Run.State.Working() && r.Progress != ""
	}
	return out
}

// Moving is the list of runs as it changes by itself.
func (m RunsModel) Moving() Moving {
	return Moving{
		Whole: func(p Page) templ.Component { return RunsPage(p, m) },
		Parts: func(p Page) []Part { return []Part{{"new", newRuns(p, m.New)}, {"rows", runsBody(p, m)}} },
	}
}

// Moving is the first tab of a stack as it changes by itself.
func (m StackRunsModel) Moving() Moving {
	return Moving{
		Whole: func(p Page) templ.Component { return StackRunsPage(p, m) },
		Parts: func(p Page) []Part {
			return []Part{{"stack-head", stackHead(p, m.Head)}, {"new", newRuns(p, m.New)}, {"rows", stackRunsBody(p, m)}}
		},
	}
}

// Moving is the list of stacks as it changes by itself.
func (m StacksModel) Moving() Moving {
	return Moving{
		Whole: func(p Page) templ.Component { return StacksPage(p, m) },
		Parts: func(p Page) []Part { return []Part{{"new", newStacks(p, m.New)}, {"rows", stacksBody(p, m)}} },
	}
}

// Moving is the inbox as it changes by itself.
func (m InboxModel) Moving() Moving {
	return Moving{
		Whole: func(p Page) templ.Component { return InboxPage(p, m) },
		Parts: func(p Page) []Part { return []Part{{"new", newNotices(p, m.New)}, {"rows", inboxBody(p, m)}} },
	}
}
