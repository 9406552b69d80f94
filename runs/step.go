package runs

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Step is the whole state machine: it maps a run and an event to the run after it and what must follow.
// It is total: a pair of state and event is either a move listed here or an [ErrConflict] ([ErrNotFound] for a
// run that was never requested), and then the run comes back unchanged with no effects. It looks at nothing
// but its arguments and never changes what they point to.
func Step(r Run, ev Event) (Run, []Effect, error) {
	if ev, ok := ev.(LearnedMR); ok && r.State != None {
		return learn(r, ev)
	}
	if r.Type == Test {
		if n, eff, done, err := stepTest(r, ev); done {
			return n, eff, err
		}
	}
	switch r.State {
	case None:
		return stepNone(r, ev)
	case Queued:
		return stepQueued(r, ev)
	case Preparing, Initializing, Planning, Performing, Destroying:
		return stepWorking(r, ev)
	case Unconfirmed:
		return stepUnconfirmed(r, ev)
	case Confirmed, Applying:
		return stepApplying(r, ev)
	default:
		return refuse(r, ev)
	}
}

func stepNone(r Run, ev Event) (Run, []Effect, error) {
	e, ok := ev.(Requested)
	if !ok {
		return refuse(r, ev)
	}
	n := e.Run
	n.CreatedAt, n.EndedAt, n.Transitions = e.At, time.Time{}, nil
	return move(n, Queued, e.Meta, Enqueue{n.FirstPhase()})
}

func stepQueued(r Run, ev Event) (Run, []Effect, error) {
	switch e := ev.(type) {
	case Claimed:
		r.Attempt++
		r.Unapproved = false
		if changesAtOnce(r.Type) {
			return passed(r, Preparing, e.Meta, e.Reviews)
		}
		return move(r, Preparing, e.Meta)
	case Reviewed:
		return reviewed(r, e)
	case Discard:
		return discard(r, e)
	case Cancel:
		return end(r, Canceled, e.Meta)
	case Skip:
		return end(r, Skipped, e.Meta)
	case Fail:
		return end(r, Failed, e.Meta)
	case Prioritize:
		return prioritize(r, e)
	default:
		return refuse(r, ev)
	}
}

// prioritize changes when a waiting job is taken and nothing else. A second wish is no news.
func prioritize(r Run, e Prioritize) (Run, []Effect, error) {
	by := cmp.Or(e.By, System)
	switch first := r.PrioritizedBy != ""; {
	case first != e.Back:
		return r, nil, nil
	case e.Back:
		r.PrioritizedBy = ""
		return r, []Effect{Hurry{Back: true}, Record{"put_back", by, e.Note}}, nil
	default:
		r.PrioritizedBy = by
		return r, []Effect{Hurry{}, Record{"prioritize", by, e.Note}}, nil
	}
}

// stepWorking covers the states in which a process is at work that has not been told to change anything
// that was shown to a person: planning and its fore-runners, tasks, destroys.
func stepWorking(r Run, ev Event) (Run, []Effect, error) {
	switch e := ev.(type) {
	case PhaseStarted:
		return started(r, e)
	case Planned:
		return planned(r, e)
	case Denied:
		return denied(r, e)
	case Done:
		if r.State != Performing && r.State != Destroying {
			return refuse(r, ev)
		}
		r.NewVersion = e.NewVersion
		return end(r, Finished, e.Meta)
	case Fail:
		r.NewVersion = e.NewVersion
		return end(r, Failed, e.Meta)
	case StopAsked:
		return stopAsked(r, e)
	case Halted:
		return halted(r, e)
	case Lost:
		return lostWork(r, e)
	case Stale:
		return stale(r, e)
	default:
		return refuse(r, ev)
	}
}

func stepUnconfirmed(r Run, ev Event) (Run, []Effect, error) {
	switch e := ev.(type) {
	case Confirm:
		if e.Moved != "" {
			e.Note = e.Moved
			r.Delta, r.Fingerprint, r.Warnings, r.Policies = nil, "", nil, nil
			r.Losses, r.Unapproved = 0, false
			return move(r, Queued, e.Meta, Enqueue{PhasePlan})
		}
		return passed(r, Confirmed, e.Meta, e.Reviews, Enqueue{PhaseApply})
	case Reviewed:
		return reviewed(r, e)
	case Discard:
		return discard(r, e)
	case Cancel:
		return end(r, Canceled, e.Meta)
	default:
		return refuse(r, ev)
	}
}

func stepApplying(r Run, ev Event) (Run, []Effect, error) {
	switch e := ev.(type) {
	case Claimed:
		if r.State == Applying {
			return r, nil, nil // autodeploy: already applying when a worker takes the job
		}
		return move(r, Applying, e.Meta)
	case Prioritize:
		if r.State != Confirmed {
			return refuse(r, ev)
		}
		return prioritize(r, e)
	case Done:
		if r.State != Applying {
			return refuse(r, ev)
		}
		r.NewVersion = e.NewVersion
		return end(r, Finished, e.Meta)
	case Fail:
		if r.State != Applying {
			return refuse(r, ev)
		}
		r.NewVersion = e.NewVersion
		return end(r, Failed, e.Meta)
	case StopAsked:
		if r.State != Applying {
			return refuse(r, ev)
		}
		return stopAsked(r, e)
	case Halted:
		if r.State != Applying {
			return refuse(r, ev)
		}
		return halted(r, e)
	case Lost:
		if r.State != Applying {
			return refuse(r, ev)
		}
		return lostApply(r, e.Meta, e.NewVersion)
	default:
		return refuse(r, ev)
	}
}

// started moves forward through preparing → initializing → planning | performing | destroying. A start that was
// recorded before the process was really there is recorded again after a crash: that is no move.
func started(r Run, e PhaseStarted) (Run, []Effect, error) {
	again := r.State == Initializing && e.State == Initializing
	if !again && (e.State == None || e.State != after(r)) {
		return refuse(r, e)
	}
	if e.Basis != nil {
		r.Basis, r.Tool, r.ToolVersion = e.Basis, e.Tool, e.ToolVersion
		r.StateVersion, r.TrackedAt, r.Reused = e.StateVersion, e.TrackedAt, e.Reused
	}
	if again {
		return r, nil, nil
	}
	if r.StopAsked != "" {
		e.Note = cmp.Or(e.Note, r.Reason) // why it is to end outlives the last step it still took
	}
	return move(r, e.State, e.Meta)
}

// after is the state of work that follows the run's present one, None when there is none.
func after(r Run) State {
	switch r.State {
	case Preparing:
		return Initializing
	case Initializing:
		return workState(r.Type)
	default:
		return None
	}
}

func workState(t Type) State {
	switch t {
	case Task:
		return Performing
	case Destroy:
		return Destroying
	default:
		return Planning
	}
}

func planned(r Run, e Planned) (Run, []Effect, error) {
	if r.State != Planning {
		return refuse(r, e)
	}
	d := e.Delta
	r.Delta, r.Fingerprint, r.Warnings, r.Policies, r.Weighed, r.Authors = &d, e.Fingerprint, e.Warnings, e.Policies, e.Weighed, e.Authors
	switch {
	case r.Type != Tracked || d.Empty():
		return end(r, Finished, e.Meta)
	case r.StopAsked != "":
		return halted(r, Halted{Meta: e.Meta})
	case e.Refused != "": // it never waits, so nobody is told that it does
		return rejected(r, e.Meta, e.Refused)
	case e.Autodeploy && len(e.Warnings) == 0:
		return deployed(r, e.Meta, e.Reviews)
	default:
		r.Unapproved = e.Unapproved
		next, eff, err := move(r, Unconfirmed, e.Meta)
		return next, append([]Effect{Dequeue{}}, eff...), err
	}
}

// denied keeps the plan, so that people see what was forbidden, and ends the run.
func denied(r Run, e Denied) (Run, []Effect, error) {
	if r.State != Planning {
		return refuse(r, e)
	}
	d := e.Delta
	r.Delta, r.Fingerprint, r.Warnings, r.Policies = &d, e.Fingerprint, e.Warnings, e.Policies
	if r.StopAsked != "" {
		return halted(r, Halted{Meta: e.Meta})
	}
	return end(r, Failed, e.Meta)
}

// deployed goes on to the apply without a person.
func deployed(r Run, m Meta, reviews []Review) (Run, []Effect, error) {
	m.Note = "autodeploy"
	if len(reviews) > 0 {
		m.Note += ", approved by " + strings.Trim(names(reviews), " ()")
	}
	return passed(r, Applying, m, reviews, Enqueue{PhaseApply})
}

// passed moves to what changes the world, and uses up the reviews that opened the way.
func passed(r Run, to State, m Meta, reviews []Review, more ...Effect) (Run, []Effect, error) {
	r.Unapproved = false
	if len(reviews) > 0 {
		r.Reviews = slices.Clone(reviews)
	}
	if r.Fingerprint != "" {
		more = append(more, SpendReviews{r.Fingerprint})
	}
	return move(r, to, m, more...)
}

// discard ends what waits. Its reviews go with it: the next plan with the same effect is a new question.
func discard(r Run, e Discard) (Run, []Effect, error) {
	n, eff, err := end(r, Discarded, e.Meta)
	if r.Fingerprint != "" {
		eff = append(eff, SpendReviews{r.Fingerprint})
	}
	return n, eff, err
}

// rejected ends what an approval policy says no to for good. Its reviews go with it.
func rejected(r Run, m Meta, why string) (Run, []Effect, error) {
	m.Note = why
	n, eff, err := end(r, Failed, m)
	return n, append(eff, SpendReviews{r.Fingerprint}), err
}

// reviewed weighs what waits anew. It can open the way to an apply only where the stack needs nobody's confirmation.
func reviewed(r Run, e Reviewed) (Run, []Effect, error) {
	if r.State == Queued && !changesAtOnce(r.Type) {
		return refuse(r, e)
	}
	r.Policies, r.Weighed = withApprovals(r.Policies, e.Policies), e.Weighed
	switch {
	case e.Refused != "":
		n, eff, err := rejected(r, e.Meta, e.Refused)
		return n, append(eff, decided(e, e.Note)...), err
	case r.State == Unconfirmed && e.Autodeploy && !e.Unapproved && len(r.Warnings) == 0:
		n, eff, err := deployed(r, e.Meta, e.Reviews)
		return n, append(eff, decided(e, e.Note)...), err
	}
	opened := r.Unapproved && !e.Unapproved
	r.Unapproved = e.Unapproved
	eff := append([]Effect{Report{}}, decided(e, e.Note)...)
	if opened && r.State == Unconfirmed {
		eff = append(eff, Notify{OnWaiting}) // for a yes, now
	}
	return r, eff, nil
}

// decided records a person's review.
func decided(e Reviewed, note string) []Effect {
	if e.Decision == "" {
		return nil
	}
	return []Effect{Record{string(e.Decision), cmp.Or(e.By, System), note}}
}

// changesAtOnce reports whether a run of this type changes the world without a plan that is shown first.
func changesAtOnce(t Type) bool { return t == Task || t == Destroy }

// withApprovals replaces what approval policies said before.
func withApprovals(old, now []PolicyResult) []PolicyResult {
	kept := slices.DeleteFunc(slices.Clone(old), func(p PolicyResult) bool { return p.Type == PolicyApproval })
	return append(kept, now...)
}

func stopAsked(r Run, e StopAsked) (Run, []Effect, error) {
	if r.StopAsked != "" {
		return r, []Effect{Interrupt{}}, nil // asked twice: once more to the process, nothing new to tell
	}
	r.StopAsked = cmp.Or(e.By, System)
	r.Reason = e.Note
	return r, []Effect{Interrupt{}, Record{"stop", r.StopAsked, e.Note}}, nil
}

// halted ends a stopped run. A process that ended without having been asked to is a failure, and so is one
// that was changing the world: part of it may have happened (PRODUCT §4).
func halted(r Run, e Halted) (Run, []Effect, error) {
	if r.StopAsked == "" {
		return end(r, Failed, e.Meta)
	}
	e.By = r.StopAsked
	if r.State == Applying || r.State == Performing || r.State == Destroying {
		r.NewVersion = e.NewVersion
		e.Note = cmp.Or(e.Note, r.Reason, "Stopped while "+string(r.State)+"; part of it may have happened.")
		return end(r, Failed, e.Meta)
	}
	e.Note = cmp.Or(r.Reason, e.Note)
	return end(r, Stopped, e.Meta)
}

// lostWork starts a plan again, up to MaxLosses times. Tasks and destroys may have changed the world: never.
func lostWork(r Run, e Lost) (Run, []Effect, error) {
	switch {
	case r.Type == Destroy && r.Passed(Destroying), r.Type == Task && r.Passed(Performing):
		return lostApply(r, e.Meta, e.NewVersion)
	case r.StopAsked != "":
		return halted(r, Halted{Meta: e.Meta})
	case r.Losses < MaxLosses:
		r.Losses++
		return move(r, Queued, e.Meta, Enqueue{r.FirstPhase()})
	default:
		return end(r, Failed, e.Meta)
	}
}

// stale starts a plan again that stood on another run's init: once, because then it stands on its own.
func stale(r Run, e Stale) (Run, []Effect, error) {
	switch {
	case r.State != Planning || r.Reused == "" || r.Afresh:
		return refuse(r, e)
	case r.StopAsked != "":
		return halted(r, Halted{Meta: e.Meta})
	default:
		r.Reused, r.Afresh = "", true
		return move(r, Queued, e.Meta, Enqueue{r.FirstPhase()})
	}
}

// lostApply tells what is known and asks for a fresh plan; an apply is never repeated by guess.
func lostApply(r Run, m Meta, version int) (Run, []Effect, error) {
	r.NewVersion = version
	n, eff, err := end(r, Failed, m)
	eff = append(eff, Flag{Note: m.Note})
	if r.Type == Tracked {
		eff = append(eff, Replan{Note: "after run " + r.ID + " was cut off while applying"})
	}
	return n, eff, err
}

func learn(r Run, e LearnedMR) (Run, []Effect, error) {
	mr := e.MR
	switch {
	case r.MR == nil:
		r.MR = &mr
	case r.In(mr.IID) != nil:
		return r, nil, nil
	default:
		r.Also = append(slices.Clip(r.Also), mr)
	}
	return r, []Effect{Report{}}, nil
}

// end moves to a terminal state, where no job is left.
func end(r Run, to State, m Meta) (Run, []Effect, error) {
	r.EndedAt, r.Unapproved = m.At, false
	n, eff, err := move(r, to, m)
	if n.Type.Blocking() {
		eff = append(eff, Follow{})
	}
	return n, append([]Effect{Dequeue{}}, eff...), err
}

// move enters a state. Every move can be seen from outside, so every move reports and is recorded.
func move(r Run, to State, m Meta, more ...Effect) (Run, []Effect, error) {
	m.By = cmp.Or(m.By, System)
	r.State = to
	r.Reason = m.Note
	r.Transitions = append(slices.Clip(r.Transitions), Transition{State: to, At: m.At, By: m.By, Note: m.Note})
	more = append(more, Report{})
	if t := topicOf(r); t != "" {
		more = append(more, Notify{t})
	}
	return r, append(more, Record{string(to), m.By, m.Note}), nil
}

func refuse(r Run, ev Event) (Run, []Effect, error) {
	if r.State == None {
		return r, nil, NotFoundf("There is no such run.")
	}
	return r, nil, Conflictf("The run is %s, so it cannot %s.", r.State, verb(ev))
}

func verb(ev Event) string {
	switch e := ev.(type) {
	case Requested:
		return "be requested again"
	case Claimed:
		return "be taken by a worker"
	case PhaseStarted:
		return "go to " + string(e.State)
	case Planned, Denied:
		return "take a plan"
	case Reviewed:
		return "be reviewed"
	case Confirm:
		return "be confirmed"
	case Discard:
		return "be discarded"
	case Cancel:
		return "be canceled"
	case Skip:
		return "be skipped"
	case Prioritize:
		return "be put first: only a run that waits for a worker can"
	case StopAsked, Halted:
		return "be stopped"
	case Done:
		return "finish"
	case Lost:
		return "be lost"
	case Stale:
		return "begin again"
	default:
		return "fail"
	}
}
