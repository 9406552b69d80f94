package runs

import (
	"strings"
	"testing"
)

var (
	cleaning = "destroying: enqueue destroy, report, record destroying"
	came     = func(to State) func(*Run) {
		return func(r *Run) { r.Test = &RunTest{Outcome: to, Why: "why", EndedBy: "bob"} }
	}
	negative = func(r *Run) { r.Test = &RunTest{Case: TestCase{Negative: true}} }
)

// testTable is what is different in the life of a module's test.
var testTable = []row{
	{name: "claimed", event: Claimed{Meta: system}, types: only(Test), moves: map[State]string{
		Queued:     "preparing: report, record preparing",
		Confirmed:  "applying: report, record applying",
		Applying:   "applying: ",
		Destroying: "destroying: ",
	}},
	{name: "performing", event: PhaseStarted{Meta: system, State: Performing}, types: only(Test), moves: map[State]string{Initializing: "performing: report, record performing"}},
	{name: "applying", event: PhaseStarted{Meta: system, State: Applying}, types: only(Test), moves: map[State]string{Planning: "applying: report, record applying"}},
	{name: "destroying", event: PhaseStarted{Meta: system, State: Destroying}, types: only(Test), moves: map[State]string{Destroying: "destroying: "}},
	{name: "done", event: Done{Meta: system}, types: only(Test), given: came(Finished), moves: map[State]string{
		Applying: cleaning, Performing: ends(Finished), Destroying: ends(Finished),
	}},
	{name: "done after a failed test", event: Done{Meta: system}, types: only(Test), given: came(Failed), moves: map[State]string{
		Applying: cleaning, Performing: ends(Finished), Destroying: ends(Failed),
	}},
	{name: "done after a stopped test", event: Done{Meta: system}, types: only(Test), given: came(Stopped), moves: map[State]string{
		Applying: cleaning, Performing: ends(Finished), Destroying: ends(Stopped),
	}},
	{name: "fail", event: Fail{Meta: system, Tool: true}, types: only(Test), moves: with(
		same(ends(Failed), Queued, Preparing, Initializing, Planning, Performing, Destroying), map[State]string{Applying: cleaning})},
	{name: "fail, wanted", event: Fail{Meta: system, Tool: true}, types: only(Test), given: negative, moves: with(
		same(ends(Failed), Queued, Preparing, Initializing, Performing, Destroying), map[State]string{Planning: ends(Finished), Applying: cleaning})},
	{name: "fail, not by the tool", event: Fail{Meta: system}, types: only(Test), given: negative, moves: with(
		same(ends(Failed), Queued, Preparing, Initializing, Planning, Performing, Destroying), map[State]string{Applying: cleaning})},
	{name: "halted as asked", event: Halted{Meta: system}, types: only(Test), given: asked, moves: with(
		same(ends(Stopped), Preparing, Initializing, Planning), map[State]string{Applying: cleaning, Performing: ends(Failed), Destroying: ends(Failed)})},
	{name: "halted by itself", event: Halted{Meta: system}, types: only(Test), moves: with(
		same(ends(Failed), Preparing, Initializing, Planning, Performing, Destroying), map[State]string{Applying: cleaning})},
	{name: "lost", event: Lost{Meta: system}, types: only(Test), moves: with(
		same("queued: enqueue plan, report, record queued", Preparing, Initializing, Planning),
		map[State]string{Applying: cleaning, Performing: ends(Failed), Destroying: cleaning})},
	{name: "lost, no attempt left", event: Lost{Meta: system}, types: only(Test), given: spent, moves: with(
		same(ends(Failed), Preparing, Initializing, Planning, Performing, Destroying), map[State]string{Applying: cleaning})},
}

// What a test made is destroyed whatever came of it, and the run then ends as the test did, in its words.
func TestTestsEndAsTheirTestDid(t *testing.T) {
	for _, tc := range []struct {
		name     string
		negative bool
		stop     bool
		ev       Event
		want     State
		words    string
	}{
		{"good", false, false, Done{Meta: system}, Finished, ""},
		{"bad", false, false, Fail{Meta: Meta{At: later, Note: "no such zone"}, Tool: true}, Failed, "no such zone"},
		{"wanted", true, false, Fail{Meta: Meta{At: later, Note: "no such zone"}, Tool: true}, Finished, "as it should: no such zone"},
		{"not wanted", true, false, Done{Meta: system}, Failed, "It was to fail and did not"},
		{"limited", true, false, Fail{Meta: Meta{At: later, Note: "took too long"}}, Failed, "took too long"},
		{"stopped", false, true, Halted{Meta: system}, Stopped, ""},
		{"cut off", false, false, Lost{Meta: Meta{At: later, Note: "the machine restarted"}}, Failed, "the machine restarted"},
	} {
		r := sample(Test, Applying)
		r.Test = &RunTest{Case: TestCase{Negative: tc.negative}}
		events := []Event{tc.ev, Claimed{Meta: system}, PhaseStarted{Meta: system, State: Destroying}, Done{Meta: system}}
		if tc.stop {
			events = append([]Event{StopAsked{alice}}, events...)
		}
		for _, ev := range events {
			var err error
			if r, _, err = Step(r, ev); err != nil {
				t.Fatalf("%s: %T: %v", tc.name, ev, err)
			}
		}
		if r.State != tc.want || !strings.Contains(r.Reason, tc.words) || r.Test.Leftover {
			t.Errorf("%s: %s (%s), leftover %v", tc.name, r.State, r.Reason, r.Test.Leftover)
		}
	}
}

// A clean-up that failed is said, whatever the test came to.
func TestLeftoverIsSaid(t *testing.T) {
	r := sample(Test, Destroying)
	r.Test = &RunTest{Outcome: Finished}
	r, _, err := Step(r, Fail{Meta: Meta{At: later, Note: "access denied"}, Tool: true})
	if err != nil || r.State != Failed || !r.Test.Leftover || !strings.Contains(r.Reason, "may still be there: access denied") {
		t.Errorf("%s (%s), %v, %v", r.State, r.Reason, r.Test, err)
	}
}
