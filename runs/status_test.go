package runs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestCommitStatusOfEveryState(t *testing.T) {
	type shown struct {
		state CommitState
		text  string
	}
	plain := map[State]shown{
		None:         {StatusCanceled, "Canceled"}, // nobody asks: there is no such run
		Queued:       {StatusPending, "Queued"},
		Preparing:    {StatusRunning, "Planning"},
		Initializing: {StatusRunning, "Planning"},
		Planning:     {StatusRunning, "Planning"},
		Unconfirmed:  {StatusPending, "Waiting for confirmation: 1 to add, 0 to change, 0 to destroy"},
		Confirmed:    {StatusPending, "Confirmed by system: 1 to add, 0 to change, 0 to destroy"},
		Applying:     {StatusRunning, "Applying: 1 to add, 0 to change, 0 to destroy"},
		Performing:   {StatusRunning, "Performing a task"},
		Destroying:   {StatusRunning, "Destroying"},
		Finished:     {StatusSuccess, "Finished"},
		Failed:       {StatusFailed, "Failed"},
		Stopped:      {StatusCanceled, "Stopped"},
		Discarded:    {StatusCanceled, "Discarded"},
		Canceled:     {StatusCanceled, "Canceled"},
		Skipped:      {StatusSuccess, "Skipped"},
	}
	for _, s := range every {
		state, text := CommitStatus(sample(Tracked, s))
		if got := (shown{state, text}); got != plain[s] {
			t.Errorf("%s: got %v, want %v", s, got, plain[s])
		}
		finished := slices.Contains([]CommitState{StatusSuccess, StatusFailed, StatusCanceled}, state)
		if s != None && finished != s.Terminal() {
			t.Errorf("%s shows as %s: a run that ended must not be left at work, nor the other way round", s, state)
		}
	}
}

// TestDescriptionsFit gives every state the longest and oddest reasons: GitLab refuses more than 255 characters.
func TestDescriptionsFit(t *testing.T) {
	reasons := []string{
		"", "  \n ", "short", strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("ä", 300), strings.Repeat("🌍", 300),
		strings.Repeat("e\u0301", 200), strings.Repeat("a\xff", 200), strings.Repeat("long words ", 9999),
	}
	for _, s := range States {
		for _, reason := range reasons {
			for _, d := range []*Delta{nil, {}, {Add: 1 << 60, Change: 1 << 60, Destroy: 1 << 60, Import: 1 << 60, Move: 1 << 60, Forget: 1 << 60}} {
				r := sample(Tracked, s)
				r.Reason, r.Delta, r.Transitions[len(r.Transitions)-1].By = reason, d, strings.Repeat("w", 300)
				_, text := CommitStatus(r)
				if n := utf8.RuneCountInString(text); n > 255 || strings.TrimSpace(text) == "" {
					t.Errorf("%s: %d characters: %q", s, n, text)
				}
				if utf8.ValidString(reason) && !utf8.ValidString(text) {
					t.Errorf("%s: cut inside a character: %q", s, text)
				}
			}
		}
	}
	r := sample(Tracked, Failed)
	r.Reason = strings.Repeat("ä", 300)
	if _, text := CommitStatus(r); text != strings.Repeat("ä", 254)+"…" {
		t.Errorf("a cut text is marked: %q", text)
	}
	r.Reason = strings.Repeat("ä", 255)
	if _, text := CommitStatus(r); text != r.Reason {
		t.Errorf("a text that fits is whole: %q", text)
	}
}

// lives are whole lives of runs, as events.
var lives = map[string]struct {
	typ    Type
	events []Event
	want   []string
}{
	"proposed": {Proposed, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Planning}, Planned{Delta: adds},
	}, []string{"pending Queued", "running Planning", "success 1 to add, 0 to change, 0 to destroy"}},
	"proposed, nothing to do": {Proposed, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Planning}, Planned{},
	}, []string{"pending Queued", "running Planning", "success No changes"}},
	"tracked": {Tracked, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Planning}, Planned{Delta: adds}, Confirm{Meta: alice}, Claimed{}, Done{},
	}, []string{
		"pending Queued", "running Planning", "pending Waiting for confirmation: 1 to add, 0 to change, 0 to destroy",
		"pending Confirmed by alice: 1 to add, 0 to change, 0 to destroy", "running Applying: 1 to add, 0 to change, 0 to destroy",
		"success 1 to add, 0 to change, 0 to destroy: applied",
	}},
	"autodeploy": {Tracked, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Planning}, Planned{Delta: adds, Autodeploy: true}, Claimed{}, Fail{Meta: Meta{Note: "Error: no such subnet"}},
	}, []string{"pending Queued", "running Planning", "running Applying: 1 to add, 0 to change, 0 to destroy", "failed Error: no such subnet"}},
	"discarded": {Tracked, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Planning}, Planned{Delta: adds}, Discard{Meta: alice},
	}, []string{"pending Queued", "running Planning", "pending Waiting for confirmation: 1 to add, 0 to change, 0 to destroy", "canceled Discarded: go on"}},
	"planned again": {Tracked, []Event{
		Claimed{},
		PhaseStarted{State: Initializing},
		PhaseStarted{State: Planning},
		Planned{Delta: adds},
		Confirm{Meta: alice, Moved: "the state moved"},
		Claimed{},
		PhaseStarted{State: Initializing},
		PhaseStarted{State: Planning},
		Planned{},
	}, []string{
		"pending Queued", "running Planning", "pending Waiting for confirmation: 1 to add, 0 to change, 0 to destroy",
		"pending Queued: the state moved", "running Planning", "success No changes",
	}},
	"lost and planned again": {Proposed, []Event{Claimed{}, Lost{}, Claimed{}, StopAsked{Meta: alice}, Halted{}}, []string{
		"pending Queued", "running Planning", "pending Queued", "running Planning", "canceled Stopped: go on",
	}},
	"task": {Task, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Performing}, Done{},
	}, []string{"pending Queued", "running Planning", "running Performing a task", "success Finished"}},
	"destroy": {Destroy, []Event{
		Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Destroying}, Done{},
	}, []string{"pending Queued", "running Planning", "running Destroying", "success Finished"}},
	"canceled":  {Proposed, []Event{Cancel{Meta: Meta{Note: "the merge request was closed"}}}, []string{"pending Queued", "canceled Canceled: the merge request was closed"}},
	"skipped":   {Tracked, []Event{Skip{Meta: Meta{Note: "upstream failed"}}}, []string{"pending Queued", "success Skipped: upstream failed"}},
	"abandoned": {Tracked, []Event{Fail{Meta: Meta{Note: "the stack is detached"}}}, []string{"pending Queued", "failed the stack is detached"}},
}

// direct says which moves GitLab takes as they are (CONTRACT §4): a level that is at work again after another needs
// a finished one in between, which the sender inserts. A level that differs in its words alone needs it too.
func direct(from, to CommitState) bool {
	switch from {
	case StatusPending:
		return to != StatusPending
	case StatusRunning:
		return to != StatusPending && to != StatusRunning
	default:
		return true
	}
}

func TestStatusAlongWholeLives(t *testing.T) {
	detours := map[string]bool{}
	for name, life := range lives {
		t.Run(name, func(t *testing.T) {
			r, _ := must(t, Run{}, Requested{Run: Run{ID: "01", Type: life.typ}})
			var got []string
			levels := []CommitState{""}
			see := func() {
				state, text := CommitStatus(r)
				if level := fmt.Sprintf("%s %s", state, text); len(got) == 0 || got[len(got)-1] != level {
					if from := levels[len(levels)-1]; from != "" && !direct(from, state) {
						detours[string(from)+" → "+string(state)] = true
					}
					got, levels = append(got, level), append(levels, state)
				}
			}
			see()
			for _, ev := range life.events {
				r, _ = must(t, r, ev)
				see()
			}
			if diff := cmp.Diff(life.want, got); diff != "" {
				t.Error(diff)
			}
			if !r.State.Terminal() {
				t.Fatalf("the life ends %s", r.State)
			}
			for i, level := range levels[1:] { // a finished level is the last: nothing may look at work after it
				if finished := level != StatusPending && level != StatusRunning; finished != (i == len(levels)-2) {
					t.Errorf("level %d of %v", i, levels[1:])
				}
			}
		})
	}
	want := map[string]bool{"running → pending": true, "pending → pending": true, "running → running": true}
	if diff := cmp.Diff(want, detours); diff != "" {
		t.Errorf("levels the sender must insert a finished one between:\n%s", diff)
	}
}

func TestDeployment(t *testing.T) {
	tracked := func(events ...Event) Run {
		r, _ := must(t, sample(Tracked, Planning), events...)
		return r
	}
	plan := Planned{Delta: adds}
	for _, tc := range []struct {
		name string
		r    Run
		want DeploymentState
	}{
		{"planning", tracked(), ""},
		{"changes nothing", tracked(Planned{}), ""},
		{"plan failed", tracked(Fail{}), ""},
		{"waits", tracked(plan), "running"},
		{"confirmed", tracked(plan, Confirm{}), "running"},
		{"discarded", tracked(plan, Discard{}), "canceled"},
		{"canceled", tracked(plan, Cancel{}), "canceled"},
		{"applying", tracked(plan, Confirm{}, Claimed{}), "running"},
		{"applied", tracked(plan, Confirm{}, Claimed{}, Done{}), "success"},
		{"apply failed", tracked(plan, Confirm{}, Claimed{}, Fail{}), "failed"},
		{"apply cut off", tracked(plan, Confirm{}, Claimed{}, Lost{}), "failed"},
		{"autodeployed", tracked(Planned{Delta: adds, Autodeploy: true}, Claimed{}, Done{}), "success"},
		{"moved, plans again", tracked(plan, Confirm{Moved: "x"}), "running"},
		{"moved, then nothing to do", tracked(plan, Confirm{Moved: "x"}, Claimed{}, PhaseStarted{State: Initializing}, PhaseStarted{State: Planning}, Planned{}), "canceled"},
		{"moved, then failed", tracked(plan, Confirm{Moved: "x"}, Claimed{}, Fail{}), "failed"},
		{"proposed", sample(Proposed, Finished), ""},
		{"task", sample(Task, Applying), ""},
	} {
		got, ok := Deployment(tc.r)
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: %q %v, want %q", tc.name, got, ok, tc.want)
		}
	}
}

func TestComments(t *testing.T) {
	for _, typ := range Types {
		for _, s := range every {
			r := sample(typ, s)
			if Comments(r) {
				t.Errorf("a %s run, %s, without a merge request comments", typ, s)
			}
			r.MR = &MergeRequest{IID: 1}
			if want := typ == Proposed && (s == Finished || s == Failed); Comments(r) != want {
				t.Errorf("a %s run, %s: comments %v", typ, s, !want)
			}
		}
	}
}
