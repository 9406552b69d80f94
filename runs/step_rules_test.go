package runs

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestedStartsClean(t *testing.T) {
	old := sample(Tracked, Failed)
	old.RetryOf = "00"
	r, _, err := Step(Run{}, Requested{Meta: alice, Run: old})
	if err != nil {
		t.Fatal(err)
	}
	want := []Transition{{State: Queued, At: later, By: "alice", Note: "go on"}}
	if diff := cmp.Diff(want, r.Transitions); diff != "" {
		t.Error(diff)
	}
	if !r.CreatedAt.Equal(later) || !r.EndedAt.IsZero() || r.State != Queued || r.RetryOf != "00" {
		t.Errorf("created %v, ended %v, state %s, retry of %q", r.CreatedAt, r.EndedAt, r.State, r.RetryOf)
	}
}

// must steps through events that all have to be legal.
func must(t testing.TB, r Run, events ...Event) (Run, []Effect) {
	t.Helper()
	var effects []Effect
	for i, ev := range events {
		var err error
		if r, effects, err = Step(r, ev); err != nil {
			t.Fatalf("event %d, %T: %v", i, ev, err)
		}
	}
	return r, effects
}

func TestWhatAPlanStandsOnIsKept(t *testing.T) {
	basis := &Basis{SHA: "abc", Kind: PlanMergeResult, Behind: 2}
	r, _ := must(t, sample(Tracked, Preparing),
		PhaseStarted{State: Initializing, Basis: basis, Tool: Terraform, ToolVersion: "1.9.0", StateVersion: 4, TrackedAt: "t1"},
		PhaseStarted{State: Planning},
		Planned{Delta: adds, Fingerprint: "f2", Warnings: []string{"w"}})
	got := []any{r.Basis, r.Tool, r.ToolVersion, r.StateVersion, r.TrackedAt, *r.Delta, r.Fingerprint, r.Warnings}
	want := []any{basis, Terraform, "1.9.0", 4, "t1", adds, "f2", []string{"w"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What was reused is on the run, and a run that begins again because it did not fit reuses nothing any more.
func TestARunBeginsAgainOnceWithoutWhatItReused(t *testing.T) {
	started := PhaseStarted{State: Initializing, Basis: &Basis{SHA: "abc"}, Reused: "00"}
	r, _ := must(t, sample(Proposed, Preparing), started, PhaseStarted{State: Planning})
	if r.Reused != "00" || r.Afresh {
		t.Errorf("reused %q, afresh %v", r.Reused, r.Afresh)
	}
	r, _ = must(t, r, Stale{Meta{Note: "it does not fit"}})
	if r.Reused != "" || !r.Afresh || r.Reason != "it does not fit" || r.Losses != 0 {
		t.Errorf("%+v", r)
	}
	r, _ = must(t, r, Claimed{}, started, PhaseStarted{State: Planning})
	if _, _, err := Step(r, Stale{}); !errors.Is(err, ErrConflict) {
		t.Errorf("twice: %v", err)
	}
}

func TestConfirmOfAMovedPlanForgetsThePlan(t *testing.T) {
	r, _ := must(t, sample(Tracked, Unconfirmed), Confirm{Meta: alice, Moved: "the state moved to version 5"})
	if r.Delta != nil || r.Fingerprint != "" || r.Warnings != nil || r.Losses != 0 {
		t.Errorf("the old plan is still there: %+v", r)
	}
	if r.Reason != "the state moved to version 5" {
		t.Errorf("reason %q", r.Reason)
	}
}

func TestStopKeepsWhoAndWhy(t *testing.T) {
	for _, tc := range []struct {
		name     string
		state    State
		asked    StopAsked
		ending   Event
		end      State
		by, note string
	}{
		{"person", Planning, StopAsked{Meta{By: "bob", Note: "wrong branch"}}, Halted{}, Stopped, "bob", "wrong branch"},
		{"system", Planning, StopAsked{Meta{Note: "silent for 1 h"}}, Halted{}, Stopped, System, "silent for 1 h"},
		{"no reason given", Preparing, StopAsked{Meta{By: "bob"}}, Halted{Meta: Meta{Note: "ended by SIGINT"}}, Stopped, "bob", "ended by SIGINT"},
		{"the plan was quicker", Planning, StopAsked{Meta{By: "bob", Note: "wrong branch"}}, Planned{Delta: adds}, Stopped, "bob", "wrong branch"},
		{"the process was lost too", Initializing, StopAsked{Meta{By: "bob", Note: "wrong branch"}}, Lost{}, Stopped, "bob", "wrong branch"},
		{"apply", Applying, StopAsked{Meta{By: "bob"}}, Halted{}, Failed, "bob", "Stopped while applying; part of it may have happened."},
		{"destroy", Destroying, StopAsked{Meta{By: "bob", Note: "wait"}}, Halted{Meta: Meta{Note: "3 of 5 destroyed"}}, Failed, "bob", "3 of 5 destroyed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _ := must(t, sample(Tracked, tc.state), tc.asked, tc.ending)
			last := r.Transitions[len(r.Transitions)-1]
			if r.State != tc.end || last.By != tc.by || last.Note != tc.note || r.Reason != tc.note {
				t.Errorf("%s by %q: %q, reason %q; want %s by %q: %q", r.State, last.By, last.Note, r.Reason, tc.end, tc.by, tc.note)
			}
		})
	}
}

func TestNewStateVersionIsKept(t *testing.T) {
	for _, ev := range []Event{Done{NewVersion: 9}, Fail{NewVersion: 9}, Lost{NewVersion: 9}, Halted{NewVersion: 9}} {
		r, _ := must(t, sample(Tracked, Applying), StopAsked{}, ev)
		if r.NewVersion != 9 {
			t.Errorf("%T: version %d", ev, r.NewVersion)
		}
	}
}

func TestLostPlanIsTriedThreeTimes(t *testing.T) {
	r, _ := must(t, Run{}, Requested{Run: Run{Type: Tracked}})
	for range MaxLosses {
		r, _ = must(t, r, Claimed{}, Lost{})
		if r.State != Queued {
			t.Fatalf("after attempt %d: %s", r.Attempt, r.State)
		}
	}
	if r, _ = must(t, r, Claimed{}, Lost{Meta: Meta{Note: "the machine died"}}); r.State != Failed || r.Reason != "the machine died" {
		t.Errorf("after attempt %d: %s, %q", r.Attempt, r.State, r.Reason)
	}
}

func TestLostApplySaysWhatFollows(t *testing.T) {
	r := sample(Tracked, Applying)
	_, effects := must(t, r, Lost{Meta: Meta{Note: "cut off"}})
	want := []Effect{Dequeue{}, Report{}, Notify{OnFailed}, Record{"failed", System, "cut off"}, Follow{}, Flag{"cut off"}, Replan{"after run 01 was cut off while applying"}}
	if diff := cmp.Diff(want, effects); diff != "" {
		t.Error(diff)
	}
}
