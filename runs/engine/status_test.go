package engine

import (
	"testing"

	"groundcrew/runs"
)

// legal is GitLab's table of moves of one status record (CONTRACT §4).
func legal(from, to string) bool {
	switch from {
	case "pending":
		return to != "pending"
	case "running":
		return final(to)
	default: // none or finished: a new record
		return true
	}
}

// A life is the order of states a run can go through.
var lives = [][]runs.State{
	{runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Finished},
	{runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Failed},
	{runs.Queued, runs.Preparing, runs.Planning, runs.Unconfirmed, runs.Confirmed, runs.Applying, runs.Finished},
	{runs.Queued, runs.Preparing, runs.Planning, runs.Unconfirmed, runs.Queued, runs.Preparing, runs.Planning, runs.Unconfirmed, runs.Discarded},
	{runs.Queued, runs.Preparing, runs.Planning, runs.Applying, runs.Failed},
	{runs.Queued, runs.Preparing, runs.Queued, runs.Preparing, runs.Planning, runs.Stopped},
	{runs.Queued, runs.Canceled},
	{runs.Queued, runs.Preparing, runs.Performing, runs.Finished},
}

// Whatever part of a run's life GitLab misses, each post is a legal move, the end is shown, and at the moments
// a person is asked something the question stands there.
func TestPostsAreLegalWhateverWasMissed(t *testing.T) {
	for _, life := range lives {
		for missed := range 1 << len(life) {
			state, text := "", ""
			run := runs.Run{Delta: &runs.Delta{Add: 1}}
			for i, s := range life {
				run.State = s
				run.Transitions = append(run.Transitions, runs.Transition{State: s, By: "ada"})
				if missed>>i&1 == 1 && i < len(life)-1 {
					continue
				}
				wantState, wantText := runs.CommitStatus(run)
				for _, p := range posts(state, text, post{wantState, wantText}, run.Delta.String(), mustShow(run)) {
					if !legal(state, string(p.state)) {
						t.Fatalf("%v missing %b: %s → %s is refused by GitLab", life, missed, state, p.state)
					}
					state, text = string(p.state), p.text
				}
				if shown := state == string(wantState) && text == wantText; !shown && (mustShow(run) || s.Terminal()) {
					t.Fatalf("%v missing %b: at %s GitLab shows %s %q, want %s %q", life, missed, s, state, text, wantState, wantText)
				}
			}
		}
	}
}

func TestPostsSaysNothingTwice(t *testing.T) {
	if got := posts("running", "Planning", post{runs.StatusRunning, "Planning"}, "", true); len(got) != 0 {
		t.Errorf("posted again: %v", got)
	}
}
