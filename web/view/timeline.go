package view

import (
	"slices"
	"time"

	"groundcrew/runs"
)

// A step is one state of a run's timeline: behind it, present or to come.
type step struct {
	State    runs.State
	Look     string
	From, To time.Time // To is zero while it lasts
	By, Note string
	Present  bool
	Future   bool
}

// steps is the life of a run as its timeline shows it, with what is still to come when all goes well.
func steps(r runs.Run) []step {
	var out []step
	for i, t := range r.Transitions {
		s := step{State: t.State, Look: lookGood, From: t.At, By: t.By, Note: t.Note}
		if i+1 < len(r.Transitions) {
			s.To = r.Transitions[i+1].At
			if r.Transitions[i+1].State == runs.Failed {
				s.Look = lookBad
			}
		} else {
			s.Look, s.Present = look(t.State), true
		}
		out = append(out, s)
	}
	for _, next := range toCome(r) {
		out = append(out, step{State: next, Look: lookIdle, Future: true})
	}
	return out
}

// toCome are the states still ahead of a run.
func toCome(r runs.Run) []runs.State {
	if r.State.Terminal() {
		return nil
	}
	path := path(r.Type)
	at := slices.Index(path, r.State)
	if r.State == runs.Confirmed {
		at = slices.Index(path, runs.Unconfirmed)
	}
	return path[at+1:]
}

// path is the way of a run on which nothing goes wrong.
func path(t runs.Type) []runs.State {
	start := []runs.State{runs.Queued, runs.Preparing, runs.Initializing}
	switch t {
	case runs.Tracked:
		return append(start, runs.Planning, runs.Unconfirmed, runs.Applying, runs.Finished)
	case runs.Task:
		return append(start, runs.Performing, runs.Finished)
	case runs.Destroy:
		return append(start, runs.Destroying, runs.Finished)
	default:
		return append(start, runs.Planning, runs.Finished)
	}
}

// word is the step's name: shorter than the pill's, because steps stand side by side.
func (s step) word() string {
	if s.State == runs.Unconfirmed {
		if s.Future {
			return "confirm"
		}
		return "waits"
	}
	return string(s.State)
}

// timed reports whether the step lasts: what has ended lasts no longer.
func (s step) timed() bool { return !s.Future && !s.State.Terminal() }

// A logSection is one phase's place on the page.
type logSection struct {
	Phase string
	Log   PhaseLog // empty when nothing is printed yet
	Open  bool
}

// logSections are the logs of a run in the order of its life. While it lasts, the phases to come have their
// place already, so that nothing jumps when they begin; the latest with a log is open.
func (m RunModel) logSections() []logSection {
	var out []logSection
	last := -1
	for _, s := range path(m.Run.Type) {
		if !s.Working() || s == runs.Preparing {
			continue
		}
		log, ok := m.log(string(s))
		if !ok && m.Run.State.Terminal() {
			continue
		}
		out = append(out, logSection{Phase: string(s), Log: log})
		if ok || m.Run.State == s {
			last = len(out) - 1
		}
	}
	if last >= 0 {
		out[last].Open = true
	}
	return out
}

func (m RunModel) log(phase string) (PhaseLog, bool) {
	i := slices.IndexFunc(m.Logs, func(l PhaseLog) bool { return l.Phase == phase })
	if i < 0 {
		return PhaseLog{}, false
	}
	return m.Logs[i], true
}

// phaseStep is the latest step of a phase; ok is false when the run has not come there.
func (m RunModel) phaseStep(phase string) (step, bool) {
	all := steps(m.Run)
	for i := len(all) - 1; i >= 0; i-- {
		if string(all[i].State) != phase || all[i].Future {
			continue
		}
		return all[i], true
	}
	return step{}, false
}
