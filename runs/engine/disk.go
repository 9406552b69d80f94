package engine

import (
	"math"
	"slices"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A disk that gets full is met three times: below the least room no run begins; what a run came to is kept in its folder
// and stored again and again until it is; and when a delivery was refused, GitLab is asked what was missed as soon as
// something can be stored.

// lookForRoom is how soon it is looked again whether the disk has room.
const lookForRoom = 2 * time.Second

// Room looks at the disk of the data folder.
func (e *Engine) Room() runs.Room { return e.roomFor(e.Limits()) }

// roomFor looks at the disk. One that can't be asked has room: what fails then says so itself.
func (e *Engine) roomFor(l runs.Limits) runs.Room {
	free, err := e.st.Free()
	if err != nil {
		e.log.Warn("the free space of the data folder is not known", "error", err)
		free = math.MaxInt64
	}
	return runs.Room{Free: free, Least: l.MinFree}
}

// begun leaves the jobs that were begun already.
func begun(list []store.Job) []store.Job {
	return slices.DeleteFunc(list, func(j store.Job) bool { return !j.Claimed })
}

// roomNotices say that the disk is nearly full.
func roomNotices(r runs.Room) []store.Notice {
	if !r.Little() {
		return nil
	}
	kind := "warn"
	if r.Short() {
		kind = "bad"
	}
	return []store.Notice{{
		Key: "disk", Kind: kind, Version: "the number alone is no news", Text: "The disk is nearly full", Cause: r.Words(),
		Mend:     "Logs take the most of what Groundcrew keeps by itself: for how long is set on the page of the server.",
		LinkText: "See the server", LinkURL: "/settings/system",
	}}
}

// hitch notes why what a job came to could not be stored, nil = it was. It is forgotten with the process: the next one tries
// at once.
func (e *Engine) hitch(run string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil:
		delete(e.hitches, run)
	case store.Full(err):
		e.hitches[run] = "the disk of the data folder is full. Make room on it"
	default:
		e.hitches[run] = "of an error inside Groundcrew, which the server's log has"
	}
}

// full is the room with which hardly anything can be written.
const full = 1 << 20

// hitch says why a run at work can't go on or can't be stored, "" when all is well.
func (q *Queue) hitch(r runs.Run) string {
	switch why := q.hitches[r.ID]; {
	case why != "":
		return "what this run came to can't be stored, because " + why + ". Nothing is lost: its workspace is kept, and it goes on by itself"
	case q.room.Free < full:
		return "the disk of the data folder is full. Make room on it. What this run comes to is kept by its process and stored when there is room"
	default:
		return ""
	}
}

// Unstored says that a delivery was refused because it could not be stored: what was missed is looked for as soon as
// something can be stored again.
func (e *Engine) Unstored() {
	e.mu.Lock()
	e.unstored = true
	e.mu.Unlock()
	wake(e.watchWake)
}

// canStore reports whether nothing was refused or the disk takes something again. Then everything is compared.
func (e *Engine) canStore() bool {
	e.mu.Lock()
	refused := e.unstored
	e.mu.Unlock()
	if !refused {
		return true
	}
	if e.st.Try() != nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unstored, e.unseenAll = false, true
	return true
}
