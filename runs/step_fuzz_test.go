package runs

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seeds are lives to begin from: a type and events, two bytes each.
var seeds = []struct {
	typ  byte
	data []byte
}{
	{1, []byte{0, 0, 1, 0, 2, 2, 3, 4, 4, 1, 6, 0, 1, 0, 11, 0}},                 // plan, yes, apply
	{1, []byte{0, 0, 1, 0, 2, 2, 3, 4, 5, 9, 1, 0, 13, 0}},                       // autodeploy, cut off
	{1, []byte{0, 0, 1, 0, 2, 2, 3, 4, 4, 1, 7, 0, 1, 0, 2, 2, 3, 4, 4, 0}},      // confirmed too late
	{0, []byte{0, 0, 1, 0, 13, 0, 1, 0, 13, 0, 1, 0, 13, 0}},                     // lost three times
	{2, []byte{0, 0, 1, 0, 2, 2, 3, 8, 10, 0, 10, 1, 12, 0, 14, 0}},              // a task is stopped
	{4, []byte{0, 0, 1, 0, 2, 2, 3, 4, 3, 7, 11, 0, 1, 0, 3, 10, 11, 0}},         // a module's test
	{4, []byte{0, 0, 1, 0, 2, 2, 3, 4, 3, 7, 13, 0, 1, 0, 13, 0, 1, 0, 11, 0}},   // cut off twice
	{1, []byte{0, 0, 1, 0, 2, 2, 3, 4, 4, 1, 18, 24, 18, 16, 1, 0, 11, 0}},       // approved by two, deployed by itself
	{1, []byte{0, 0, 1, 0, 2, 2, 3, 4, 17, 1}},                                   // a policy forbids it
	{3, []byte{0, 0, 15, 0, 1, 0, 2, 2, 3, 9, 12, 0, 0, 0, 8, 0, 9, 0, 16, 255}}, // a destroy halts unasked
}

// FuzzStep feeds sequences of events, two bytes each, and checks what must hold whatever comes.
func FuzzStep(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed.typ, seed.data)
	}
	f.Fuzz(func(t *testing.T, typ byte, data []byte) { goThrough(t, typ, data) })
}

// TestStepRandomWalks does without a fuzzer what FuzzStep does: it lets whole lives go wrong at random places, and
// sees that every state is reached.
func TestStepRandomWalks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	chance := func(n int) bool { return random.IntN(n) == 0 }
	reached := map[State]int{}
	for range 1500 {
		seed := seeds[random.IntN(len(seeds))]
		var data []byte
		for i := 0; i+1 < len(seed.data); i += 2 {
			if chance(6) {
				data = append(data, byte(random.UintN(256)), byte(random.UintN(256)))
			}
			if !chance(12) {
				data = append(data, seed.data[i:i+2]...)
			}
		}
		for s := range goThrough(t, seed.typ, data) {
			reached[s]++
		}
	}
	for _, s := range States {
		if reached[s] == 0 {
			t.Errorf("no walk reached %s: %v", s, reached)
		}
	}
}

// goThrough sends the events in data and returns the states the run was in.
func goThrough(t *testing.T, typ byte, data []byte) map[State]bool {
	t.Helper()
	w := walk{t: t, typ: Types[int(typ)%len(Types)], at: noon}
	reached := map[State]bool{}
	for i := 0; i+1 < len(data) && i < 400; i += 2 {
		w.at = w.at.Add(time.Second)
		w.step(decode(data[i], data[i+1], w.typ, w.at))
		reached[w.r.State] = true
	}
	return reached
}

// decode makes an event of two bytes.
func decode(kind, detail byte, typ Type, at time.Time) Event {
	delta := Delta{Add: int(detail & 1), Outputs: int(detail >> 1 & 1)}
	var warnings []string
	if detail&4 != 0 {
		warnings = []string{"careful"}
	}
	m := Meta{At: at, Note: []string{"", "because"}[detail>>7]}
	switch kind % 19 {
	case 0:
		return Requested{Meta: m, Run: Run{ID: "01", Type: typ, EndedAt: noon}}
	case 1:
		return Claimed{Meta: m}
	case 2:
		return PhaseStarted{Meta: m, State: Initializing, Basis: &Basis{SHA: "abc"}, Reused: []string{"", "00"}[detail&1]}
	case 3:
		return PhaseStarted{Meta: m, State: every[int(detail)%len(every)]}
	case 4:
		return Planned{Meta: m, Delta: delta, Warnings: warnings, Fingerprint: "f"}
	case 5:
		return Planned{Meta: m, Delta: delta, Warnings: warnings, Autodeploy: true}
	case 6:
		return Confirm{Meta: m}
	case 7:
		return Confirm{Meta: m, Moved: "the state moved"}
	case 8:
		return Discard{m}
	case 9:
		return Cancel{m}
	case 10:
		m.By = []string{"", "bob"}[detail&1]
		return StopAsked{m}
	case 11:
		return Done{Meta: m, NewVersion: int(detail)}
	case 12:
		return Halted{Meta: m}
	case 13:
		return Lost{Meta: m}
	case 14:
		return []Event{Fail{Meta: m}, Skip{m}, Stale{m}, Fail{Meta: m}}[detail&3]
	case 15:
		return Prioritize{Meta: m, Back: detail%2 == 1}
	case 16:
		return LearnedMR{Meta: m, MR: MergeRequest{IID: int64(detail)}}
	case 17:
		return Denied{Meta: m, Delta: delta, Warnings: warnings, Fingerprint: "f"}
	default:
		e := Reviewed{Meta: m, Decision: []Decision{Approve, Reject, ""}[int(detail)%3], Unapproved: detail&8 != 0, Autodeploy: detail&16 != 0}
		if detail&32 != 0 {
			e.Refused = "The policy says no"
		}
		return e
	}
}

// A walk is one run's way through a sequence of events, and what was seen on it.
type walk struct {
	t    *testing.T
	typ  Type
	at   time.Time
	r    Run
	yes  bool // the plan at hand was confirmed, or deployed by itself without a warning
	jobs int  // job rows a store would hold
}

func (w *walk) step(ev Event) {
	before := deepCopy(w.r)
	next, effects, err := Step(w.r, ev)
	if !reflect.DeepEqual(before, w.r) {
		w.t.Fatalf("%T changed its argument:\n%s", ev, cmp.Diff(before, w.r))
	}
	if err != nil {
		wantRefusal(w.t, before, next, effects, err)
		return
	}
	w.r = next
	w.consent(before, ev)
	w.lifeGoesOn(before, ev, effects)
	w.effects(before, effects)
	state, text := CommitStatus(next)
	if n := len([]rune(text)); state == "" || n == 0 || n > maxDescription {
		w.t.Fatalf("status of a %s run: %q, %d characters", next.State, state, n)
	}
}

// consent: nothing is applied without a yes to the plan at hand.
func (w *walk) consent(before Run, ev Event) {
	switch e := ev.(type) {
	case Planned:
		w.yes = e.Autodeploy && len(e.Warnings) == 0
	case Confirm:
		w.yes = before.State == Unconfirmed && e.Moved == ""
	case Reviewed:
		w.yes = w.yes || before.State == Unconfirmed && e.Autodeploy && !e.Unapproved && len(before.Warnings) == 0
	}
	if w.r.Type == Test && w.r.State != Confirmed {
		return // it applies on a state of its own
	}
	if (w.r.State == Applying || w.r.State == Confirmed) && (!w.yes || w.r.Type != Tracked || w.r.Delta.Empty()) {
		w.t.Fatalf("a %s run is %s, yes %v, delta %v", w.r.Type, w.r.State, w.yes, w.r.Delta)
	}
}

// lifeGoesOn: terminal stays terminal, transitions only grow, times are kept, every move is told.
func (w *walk) lifeGoesOn(before Run, ev Event, effects []Effect) {
	r := w.r
	if before.State.Terminal() {
		if _, ok := ev.(LearnedMR); !ok {
			w.t.Fatalf("%T moved a %s run", ev, before.State)
		}
		before.MR, before.Also = r.MR, r.Also
		if !reflect.DeepEqual(before, r) {
			w.t.Fatalf("%T changed more than the merge request of an ended run:\n%s", ev, cmp.Diff(before, r))
		}
	}
	grown := len(r.Transitions) - len(before.Transitions)
	if grown < 0 || grown > 1 || !slices.Equal(before.Transitions, r.Transitions[:len(before.Transitions)]) {
		w.t.Fatalf("%T rewrote the past:\n%s", ev, cmp.Diff(before.Transitions, r.Transitions))
	}
	if grown == 1 {
		last := r.Transitions[len(r.Transitions)-1]
		if last.State != r.State || !last.At.Equal(w.at) || last.By == "" || r.Entered() != last.At {
			w.t.Fatalf("%T: last transition %+v, run %s", ev, last, r.State)
		}
	}
	if (grown == 1) != (count[Record](effects, "stop", "prioritize", "put_back", "approve", "reject") == 1) || grown == 1 && count[Report](effects) != 1 {
		w.t.Fatalf("%T: %d transitions and effects %s", ev, grown, words(effects))
	}
	if before.State != r.State && grown != 1 {
		w.t.Fatalf("%T moved %s to %s without a transition", ev, before.State, r.State)
	}
	if before.State != None && !r.CreatedAt.Equal(before.CreatedAt) {
		w.t.Fatalf("%T changed the time of the request", ev)
	}
	if r.State.Terminal() == r.EndedAt.IsZero() {
		w.t.Fatalf("a %s run ended at %v", r.State, r.EndedAt)
	}
	if r.Losses > MaxLosses {
		w.t.Fatalf("losses %d", r.Losses)
	}
}

// effects: a store that follows them holds exactly one job for a run that waits for a worker or is at work.
func (w *walk) effects(before Run, effects []Effect) {
	enqueues, dequeues := count[Enqueue](effects), count[Dequeue](effects)
	if enqueues > 1 || enqueues == 1 && dequeues > 0 {
		w.t.Fatalf("effects %s", words(effects))
	}
	if dequeues > 0 {
		w.jobs = 0
	}
	if enqueues > 0 {
		w.jobs = 1
	}
	if !before.State.Terminal() && w.r.State.Terminal() && dequeues != 1 {
		w.t.Fatalf("a run that became %s keeps its job: %s", w.r.State, words(effects))
	}
	want := 1
	if w.r.State.Terminal() || w.r.State == Unconfirmed {
		want = 0
	}
	if w.jobs != want {
		w.t.Fatalf("a %s run has %d jobs", w.r.State, w.jobs)
	}
	if count[Replan](effects) > 0 && (before.State != Applying || count[Flag](effects) != 1) {
		w.t.Fatalf("a %s run leads to %s", before.State, words(effects))
	}
}

// count counts effects of a type, leaving out records of the given actions.
func count[T Effect](effects []Effect, but ...string) int {
	n := 0
	for _, e := range effects {
		if rec, ok := e.(Record); ok && slices.Contains(but, rec.Action) {
			continue
		}
		if _, ok := e.(T); ok {
			n++
		}
	}
	return n
}

func TestErrorsSayTheirKind(t *testing.T) {
	for _, tc := range []struct {
		err  error
		kind error
		text string
	}{
		{NotFoundf("no %s", "run"), ErrNotFound, "no run"},
		{Conflictf("run %d", 1), ErrConflict, "run 1"},
		{Invalidf("name", "bad %q", "x"), ErrInvalid, `bad "x"`},
		{Forbiddenf("no"), ErrForbidden, "no"},
	} {
		for _, kind := range []error{ErrNotFound, ErrConflict, ErrInvalid, ErrForbidden} {
			if errors.Is(tc.err, kind) != (kind == tc.kind) {
				t.Errorf("%v is %v: %v", tc.err, kind, errors.Is(tc.err, kind))
			}
		}
		if tc.err.Error() != tc.text {
			t.Errorf("text %q, want %q", tc.err, tc.text)
		}
	}
	if e, ok := errors.AsType[*Error](Invalidf("name", "x")); !ok || e.Field != "name" {
		t.Errorf("field of %+v", e)
	}
}

// TestRefusalsAreSentences: every refusal says what the run is and what it cannot do.
func TestRefusalsAreSentences(t *testing.T) {
	for _, row := range table {
		_, _, err := Step(sample(Tracked, Finished), row.event)
		if _, learns := row.event.(LearnedMR); learns {
			continue
		}
		const begin, end = "The run is finished, so it cannot ", "."
		text := err.Error()
		if len(text) < len(begin)+5 || text[:len(begin)] != begin || text[len(text)-1:] != end {
			t.Errorf("%s: %q", row.name, text)
		}
	}
}
