package engine

import (
	"maps"
	"slices"
	"time"

	"groundcrew/gitlab"
)

// How many commands on a merge request are carried out and answered in any minute. The next one is told so; those after it are
// not answered, and GitLab is not asked about them.
const (
	maxOwn   = 10 // of one person
	maxCrowd = 40 // of all people together, but see passes
	few      = 5
)

// maxInVain is how often in any minute GitLab is asked about somebody whose commands are not answered: more than once, because
// they may have got a role since.
const maxInVain = 3

const crowded = "too many commands on this merge request within a minute"

// passes reports whether an order is heard however many others there are: nobody who writes much can shut out those who work here.
func (o *order) passes() bool { return o.level >= gitlab.Developer && o.own < few }

// A looked is what GitLab was asked about: a person in a project, or with iid on one merge request of it.
type looked struct{ project, iid, author int64 }

// floods says why an order is not even asked GitLab about, "" when it is. Only what GitLab confirmed is counted, so that nobody is
// shut out by deliveries that another one made up.
func (e *Engine) floods(o *order) string {
	switch {
	case o.own > maxOwn:
		return "too many commands on this merge request by one person within a minute"
	case e.inVain(looked{project: o.id, author: o.author}) >= maxInVain:
		return "GitLab said within this minute that the author is not a member of the project with at least the role Reporter"
	case o.crowd > maxCrowd && (o.own >= few || e.inVain(looked{o.id, o.iid, o.author}) >= maxInVain):
		return crowded
	default:
		return ""
	}
}

// lookedInVain remembers that GitLab was asked about somebody who is not answered. It is forgotten with the process, which costs
// asking again.
func (e *Engine) lookedInVain(l looked) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.vain, func(_ looked, at []time.Time) bool { return now.Sub(at[len(at)-1]) >= time.Minute })
	e.vain[l] = append(e.vain[l], now)
}

// inVain is how often that was in the last minute.
func (e *Engine) inVain(l looked) int {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.vain[l] = slices.DeleteFunc(e.vain[l], func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	n := len(e.vain[l])
	if n == 0 {
		delete(e.vain, l)
	}
	return n
}
