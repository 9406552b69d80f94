package runs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	later  = noon.Add(time.Hour)
	system = Meta{At: later}
	alice  = Meta{At: later, By: "alice", Note: "go on"}
	adds   = Delta{Add: 1}

	approved = []Review{{Stack: "net", Fingerprint: "f1", Person: Person{User: "u2"}, Name: "bob", Decision: Approve, At: noon}}
)

// every is None and all states of a run that exists.
var every = append([]State{None}, States...)

// history is how a run came to a state; states that only some types reach are given to all, because Step is total.
var history = map[State][]State{
	Queued:       {Queued},
	Preparing:    {Queued, Preparing},
	Initializing: {Queued, Preparing, Initializing},
	Planning:     {Queued, Preparing, Initializing, Planning},
	Unconfirmed:  {Queued, Preparing, Initializing, Planning, Unconfirmed},
	Confirmed:    {Queued, Preparing, Initializing, Planning, Unconfirmed, Confirmed},
	Applying:     {Queued, Preparing, Initializing, Planning, Unconfirmed, Confirmed, Applying},
	Performing:   {Queued, Preparing, Initializing, Performing},
	Destroying:   {Queued, Preparing, Initializing, Destroying},
	Finished:     {Queued, Preparing, Initializing, Planning, Finished},
	Failed:       {Queued, Preparing, Failed},
	Stopped:      {Queued, Preparing, Stopped},
	Discarded:    {Queued, Discarded},
	Canceled:     {Queued, Canceled},
	Skipped:      {Queued, Skipped},
}

// sample is a run of type t that stands in state s.
func sample(t Type, s State) Run {
	r := Run{ID: "01", Stack: "net", Project: 7, Type: t, State: s, Commit: Commit{SHA: "0123456789abcdef"}}
	if s == None {
		return r
	}
	r.CreatedAt, r.Attempt = noon, 1
	for _, h := range history[s] {
		r.Transitions = append(r.Transitions, Transition{State: h, At: noon, By: System})
		if h == Unconfirmed {
			r.Delta, r.Fingerprint, r.Warnings = &Delta{Add: 1}, "f1", []string{"careful"}
		}
	}
	if s.Terminal() {
		r.EndedAt = noon
	}
	return r
}

// A row is one event (in one variant that matters) and where it leads from each state: the state after it and
// the effects, in order. From every state that is not listed the event is refused.
type row struct {
	name  string
	event Event
	types []Type // the types of run the row speaks of; nil: all
	given func(*Run)
	moves map[State]string
}

var (
	ends   = func(s State) string { return fmt.Sprintf("%s: dequeue, report, record %s", s, s) }
	asked  = func(r *Run) { r.StopAsked, r.Reason = "bob", "wrong branch" }
	reused = func(r *Run) { r.Reused = "00" }
	spent  = func(r *Run) { r.Losses = MaxLosses }
	named  = func(r *Run) { r.Fingerprint = "f1" }
	hasMR  = func(r *Run) { r.MR = &MergeRequest{IID: 3} }
	only   = func(t ...Type) []Type { return t }
	but    = func(out ...Type) []Type {
		return slices.DeleteFunc(slices.Clone(Types), func(t Type) bool { return slices.Contains(out, t) })
	}
)

const again = "queued: enqueue %s, report, record queued"

func same(text string, states ...State) map[State]string {
	m := map[State]string{}
	for _, s := range states {
		m[s] = text
	}
	return m
}

// with adds moves to moves.
func with(m map[State]string, more map[State]string) map[State]string {
	m = maps.Clone(m)
	maps.Copy(m, more)
	return m
}

var table = []row{
	{name: "requested", event: Requested{Meta: alice, Run: Run{Type: Tracked}}, moves: map[State]string{None: "queued: enqueue plan, report, record queued"}},
	{name: "requested, a proposed run", event: Requested{Run: Run{Type: Proposed}}, moves: map[State]string{None: "queued: enqueue plan, report, record queued"}},
	{name: "requested, a test", event: Requested{Run: Run{Type: Test}}, moves: map[State]string{None: "queued: enqueue plan, report, record queued"}},
	{name: "requested, a task", event: Requested{Run: Run{Type: Task}}, moves: map[State]string{None: "queued: enqueue perform, report, record queued"}},
	{name: "requested, a destroy", event: Requested{Run: Run{Type: Destroy}}, moves: map[State]string{None: "queued: enqueue destroy, report, record queued"}},

	{name: "claimed", event: Claimed{Meta: system}, types: but(Test), moves: map[State]string{
		Queued:    "preparing: report, record preparing",
		Confirmed: "applying: report, record applying",
		Applying:  "applying: ", // autodeploy: it was applying before a worker took the job
	}},

	{name: "claimed, approved", event: Claimed{Meta: system, Reviews: approved}, types: only(Task, Destroy), given: named, moves: map[State]string{
		Queued:    "preparing: spendreviews, report, record preparing",
		Confirmed: "applying: report, record applying",
		Applying:  "applying: ",
	}},

	{name: "initializing", event: PhaseStarted{Meta: system, State: Initializing}, moves: map[State]string{
		Preparing:    "initializing: report, record initializing",
		Initializing: "initializing: ", // recorded again after a crash
	}},
	{name: "planning", event: PhaseStarted{Meta: system, State: Planning}, types: but(Task, Destroy), moves: map[State]string{Initializing: "planning: report, record planning"}},
	{name: "planning", event: PhaseStarted{Meta: system, State: Planning}, types: only(Task, Destroy)},
	{name: "performing", event: PhaseStarted{Meta: system, State: Performing}, types: only(Task), moves: map[State]string{Initializing: "performing: report, record performing"}},
	{name: "performing", event: PhaseStarted{Meta: system, State: Performing}, types: but(Task, Test)},
	{name: "destroying", event: PhaseStarted{Meta: system, State: Destroying}, types: only(Destroy), moves: map[State]string{Initializing: "destroying: report, record destroying"}},
	{name: "destroying", event: PhaseStarted{Meta: system, State: Destroying}, types: but(Destroy, Test)},
	{name: "started nothing", event: PhaseStarted{Meta: system}},
	{name: "started what no phase is", event: PhaseStarted{Meta: system, State: Finished}},
	{name: "started applying", event: PhaseStarted{Meta: system, State: Applying}, types: but(Test)},

	{name: "planned, empty", event: Planned{Meta: system}, moves: map[State]string{Planning: ends(Finished)}},
	{name: "planned, empty, autodeploy", event: Planned{Meta: system, Autodeploy: true}, moves: map[State]string{Planning: ends(Finished)}},
	{name: "planned, empty, stop asked", event: Planned{Meta: system}, given: asked, moves: map[State]string{Planning: ends(Finished)}},
	{name: "planned, outputs only", event: Planned{Meta: system, Delta: Delta{Outputs: 1}}, types: only(Tracked), moves: map[State]string{Planning: "unconfirmed: dequeue, report, record unconfirmed"}},
	{name: "planned", event: Planned{Meta: system, Delta: adds}, types: only(Tracked), moves: map[State]string{Planning: "unconfirmed: dequeue, report, record unconfirmed"}},
	{name: "planned", event: Planned{Meta: system, Delta: adds}, types: but(Tracked), moves: map[State]string{Planning: ends(Finished)}},
	{name: "planned, autodeploy", event: Planned{Meta: system, Delta: adds, Autodeploy: true}, types: only(Tracked), moves: map[State]string{Planning: "applying: enqueue apply, report, record applying"}},
	{name: "planned, autodeploy", event: Planned{Meta: system, Delta: adds, Autodeploy: true}, types: but(Tracked), moves: map[State]string{Planning: ends(Finished)}},
	{name: "planned, autodeploy and a warning", event: Planned{Meta: system, Delta: adds, Autodeploy: true, Warnings: []string{"deprecated"}}, types: only(Tracked), moves: map[State]string{Planning: "unconfirmed: dequeue, report, record unconfirmed"}},
	{name: "planned, a warning", event: Planned{Meta: system, Delta: adds, Warnings: []string{"deprecated"}}, types: only(Tracked), moves: map[State]string{Planning: "unconfirmed: dequeue, report, record unconfirmed"}},
	{
		name: "planned, autodeploy and approved", event: Planned{Meta: system, Delta: adds, Fingerprint: "f1", Autodeploy: true, Reviews: approved}, types: only(Tracked),
		moves: map[State]string{Planning: "applying: enqueue apply, spendreviews, report, record applying"},
	},
	{name: "planned, not approved", event: Planned{Meta: system, Delta: adds, Unapproved: true}, types: only(Tracked), moves: map[State]string{Planning: "unconfirmed: dequeue, report, record unconfirmed"}},
	{name: "planned, refused by a policy", event: Planned{Meta: system, Delta: adds, Unapproved: true, Refused: "The policy says no"}, types: only(Tracked), moves: map[State]string{Planning: ends(Failed) + ", spendreviews"}},
	{name: "planned, refused by a policy", event: Planned{Meta: system, Delta: adds, Refused: "The policy says no"}, types: but(Tracked), moves: map[State]string{Planning: ends(Finished)}},
	{name: "denied", event: Denied{Meta: system, Delta: adds}, moves: map[State]string{Planning: ends(Failed)}},
	{name: "denied, stop asked", event: Denied{Meta: system, Delta: adds}, given: asked, moves: map[State]string{Planning: ends(Stopped)}},

	{name: "approved", event: Reviewed{Meta: alice, Decision: Approve}, types: only(Task, Destroy), moves: map[State]string{
		Queued: "queued: report, record approve", Unconfirmed: "unconfirmed: report, record approve",
	}},
	{name: "approved", event: Reviewed{Meta: alice, Decision: Approve}, types: but(Task, Destroy), moves: map[State]string{Unconfirmed: "unconfirmed: report, record approve"}},
	{name: "rejected", event: Reviewed{Meta: alice, Decision: Reject, Unapproved: true}, types: only(Tracked), moves: map[State]string{Unconfirmed: "unconfirmed: report, record reject"}},
	{name: "rules changed", event: Reviewed{Meta: system, Unapproved: true}, types: only(Tracked), moves: map[State]string{Unconfirmed: "unconfirmed: report"}},
	{
		name: "approved, nothing else was missing", event: Reviewed{Meta: alice, Decision: Approve, Autodeploy: true, Reviews: approved}, types: only(Tracked),
		given: func(r *Run) { r.Warnings = nil }, moves: map[State]string{Unconfirmed: "applying: enqueue apply, spendreviews, report, record applying, record approve"},
	},
	{
		name: "approved, with a warning", event: Reviewed{Meta: alice, Decision: Approve, Autodeploy: true, Reviews: approved}, types: only(Tracked),
		moves: map[State]string{Unconfirmed: "unconfirmed: report, record approve"},
	},
	{
		name: "approved once, autodeploy", event: Reviewed{Meta: alice, Decision: Approve, Autodeploy: true, Unapproved: true}, types: only(Tracked),
		given: func(r *Run) { r.Warnings = nil }, moves: map[State]string{Unconfirmed: "unconfirmed: report, record approve"},
	},
	{name: "refused by a policy", event: Reviewed{Meta: alice, Decision: Reject, Refused: "The policy says no"}, types: only(Tracked), moves: map[State]string{Unconfirmed: ends(Failed) + ", spendreviews, record reject"}},
	{
		name: "the last approval", event: Reviewed{Meta: alice, Decision: Approve, Reviews: approved}, types: only(Tracked), given: func(r *Run) { r.Unapproved = true },
		moves: map[State]string{Unconfirmed: "unconfirmed: report, record approve"},
	},

	{name: "planned, stop asked", event: Planned{Meta: system, Delta: adds}, types: only(Tracked), given: asked, moves: map[State]string{Planning: ends(Stopped)}},
	{name: "planned, stop asked, autodeploy", event: Planned{Meta: system, Delta: adds, Autodeploy: true}, types: only(Tracked), given: asked, moves: map[State]string{Planning: ends(Stopped)}},

	{name: "confirm", event: Confirm{Meta: alice}, moves: map[State]string{Unconfirmed: "confirmed: enqueue apply, spendreviews, report, record confirmed"}},
	{
		name: "confirm, approved", event: Confirm{Meta: alice, Reviews: approved},
		moves: map[State]string{Unconfirmed: "confirmed: enqueue apply, spendreviews, report, record confirmed"},
	},
	{name: "confirm, moved", event: Confirm{Meta: alice, Moved: "the state moved"}, moves: map[State]string{Unconfirmed: "queued: enqueue plan, report, record queued"}},
	{name: "discard", event: Discard{alice}, moves: map[State]string{Queued: ends(Discarded), Unconfirmed: ends(Discarded) + ", spendreviews"}},
	{name: "cancel", event: Cancel{system}, moves: same(ends(Canceled), Queued, Unconfirmed)},
	{name: "skip", event: Skip{system}, moves: same(ends(Skipped), Queued)},

	{name: "stop", event: StopAsked{alice}, moves: map[State]string{
		Preparing: "preparing: interrupt, record stop", Initializing: "initializing: interrupt, record stop",
		Planning: "planning: interrupt, record stop", Applying: "applying: interrupt, record stop",
		Performing: "performing: interrupt, record stop", Destroying: "destroying: interrupt, record stop",
	}},
	{name: "stop twice", event: StopAsked{alice}, given: asked, moves: map[State]string{
		Preparing: "preparing: interrupt", Initializing: "initializing: interrupt", Planning: "planning: interrupt",
		Applying: "applying: interrupt", Performing: "performing: interrupt", Destroying: "destroying: interrupt",
	}},
	{
		name: "halted as asked", event: Halted{Meta: system}, types: but(Test), given: asked, moves: with(
			same(ends(Stopped), Preparing, Initializing, Planning),
			same(ends(Failed), Applying, Performing, Destroying)), // part of it may have happened
	},
	{name: "halted by itself", event: Halted{Meta: system}, types: but(Test), moves: same(ends(Failed), Preparing, Initializing, Planning, Performing, Destroying, Applying)},

	{name: "done", event: Done{Meta: system, NewVersion: 2}, types: but(Test), moves: same(ends(Finished), Applying, Performing, Destroying)},
	{name: "fail", event: Fail{Meta: system}, types: but(Test), moves: same(ends(Failed), Queued, Preparing, Initializing, Planning, Performing, Destroying, Applying)},

	{
		name: "lost", event: Lost{Meta: system}, types: only(Tracked), moves: with(
			same(fmt.Sprintf(again, "plan"), Preparing, Initializing, Planning, Performing, Destroying),
			map[State]string{Applying: "failed: dequeue, report, record failed, flag, replan"}),
	},
	{
		name: "lost", event: Lost{Meta: system}, types: only(Proposed), moves: with(
			same(fmt.Sprintf(again, "plan"), Preparing, Initializing, Planning, Performing, Destroying),
			map[State]string{Applying: "failed: dequeue, report, record failed, flag"}),
	},
	{
		name: "lost", event: Lost{Meta: system}, types: only(Task), moves: with(
			same(fmt.Sprintf(again, "perform"), Preparing, Initializing, Planning, Destroying),
			same("failed: dequeue, report, record failed, flag", Performing, Applying)),
	},
	{
		name: "lost", event: Lost{Meta: system}, types: only(Destroy), moves: with(
			same(fmt.Sprintf(again, "destroy"), Preparing, Initializing, Planning, Performing),
			same("failed: dequeue, report, record failed, flag", Destroying, Applying)),
	},
	{
		name: "lost, no attempt left", event: Lost{Meta: system}, types: only(Tracked), given: spent, moves: with(
			same(ends(Failed), Preparing, Initializing, Planning, Performing, Destroying),
			map[State]string{Applying: "failed: dequeue, report, record failed, flag, replan"}),
	},
	{
		name: "lost, stop asked", event: Lost{Meta: system}, types: only(Tracked), given: asked, moves: with(
			same(ends(Stopped), Preparing, Initializing, Planning),
			with(same(ends(Failed), Performing, Destroying), map[State]string{Applying: "failed: dequeue, report, record failed, flag, replan"})),
	},

	{name: "prioritize", event: Prioritize{Meta: alice}, moves: map[State]string{
		Queued: "queued: hurry, record prioritize", Confirmed: "confirmed: hurry, record prioritize",
	}},
	{name: "stale, with an init of its own", event: Stale{system}},
	{name: "stale", event: Stale{system}, given: reused, moves: map[State]string{Planning: fmt.Sprintf(again, "plan")}, types: but(Task, Destroy)},
	{name: "stale twice", event: Stale{system}, given: func(r *Run) { r.Reused, r.Afresh = "00", true }},
	{name: "stale, stop asked", event: Stale{system}, given: func(r *Run) { asked(r); reused(r) }, types: but(Task, Destroy), moves: map[State]string{Planning: ends(Stopped)}},
	{
		name: "put back", event: Prioritize{Meta: alice, Back: true}, given: func(r *Run) { r.PrioritizedBy = "bob" },
		moves: map[State]string{Queued: "queued: hurry, record put_back", Confirmed: "confirmed: hurry, record put_back"},
	},
	{
		name: "put back what is not first", event: Prioritize{Meta: alice, Back: true},
		moves: map[State]string{Queued: "queued: ", Confirmed: "confirmed: "},
	},
	{
		name: "prioritize twice", event: Prioritize{Meta: alice}, given: func(r *Run) { r.PrioritizedBy = "bob" },
		moves: map[State]string{Queued: "queued: ", Confirmed: "confirmed: "},
	},

	{name: "learned of a merge request", event: LearnedMR{Meta: system, MR: MergeRequest{IID: 4}}, moves: staying("report")},
	{name: "learned of a second merge request", event: LearnedMR{Meta: system, MR: MergeRequest{IID: 4}}, given: hasMR, moves: staying("report")},
	{name: "learned of its merge request again", event: LearnedMR{Meta: system, MR: MergeRequest{IID: 3}}, given: hasMR, moves: staying("")},
}

// staying says that the run stays in its state, whichever that is.
func staying(effects string) map[State]string {
	m := map[State]string{}
	for _, s := range States {
		m[s] = string(s) + ": " + effects
	}
	return m
}

func TestStepEveryPair(t *testing.T) {
	pairs := 0
	for _, row := range slices.Concat(table, testTable) {
		types := row.types
		if types == nil {
			types = Types
		}
		for _, typ := range types {
			for _, s := range every {
				pairs++
				t.Run(fmt.Sprintf("%s/%s/%s", row.name, typ, s), func(t *testing.T) { row.check(t, typ, s) })
			}
		}
	}
	t.Logf("%d combinations of state, event and type", pairs)
}

func (row row) check(t *testing.T, typ Type, s State) {
	r := sample(typ, s)
	if row.given != nil && s != None {
		row.given(&r)
	}
	before := deepCopy(r)
	next, effects, err := Step(r, row.event)
	if diff := cmp.Diff(before, r); diff != "" {
		t.Errorf("Step changed its argument (-before +after):\n%s", diff)
	}
	want, legal := row.moves[s]
	if !legal {
		wantRefusal(t, before, next, effects, err)
		return
	}
	if err != nil {
		t.Fatalf("refused: %v, want %s", err, want)
	}
	if got := string(next.State) + ": " + words(effects); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	opened := before.Unapproved && !next.Unapproved && next.State == Unconfirmed
	wantNews(t, next, len(next.Transitions) > len(before.Transitions) || opened, effects)
}

// wantNews: people are told of a run exactly when it moved to where there is something to tell.
func wantNews(t *testing.T, r Run, moved bool, effects []Effect) {
	t.Helper()
	want := map[State]Topic{Unconfirmed: OnWaiting, Failed: OnFailed, Discarded: OnDiscarded, Finished: OnFinished}[r.State]
	if !moved || r.State == Finished && r.Type != Task && r.Type != Destroy && (r.Delta == nil || *r.Delta == Delta{}) {
		want = ""
	}
	var got []Topic
	for _, e := range effects {
		if n, ok := e.(Notify); ok {
			got = append(got, n.Topic)
		}
	}
	if follows := count[Follow](effects) == 1; follows != (moved && r.State.Terminal() && r.Type.Blocking()) {
		t.Errorf("a %s run that became %s: follows %v", r.Type, r.State, follows)
	}
	if want == "" && len(got) > 0 || want != "" && !slices.Equal(got, []Topic{want}) {
		t.Errorf("a run that became %s is news for %v, want %q", r.State, got, want)
	}
}

func wantRefusal(t *testing.T, before, next Run, effects []Effect, err error) {
	t.Helper()
	kind := ErrConflict
	if before.State == None {
		kind = ErrNotFound
	}
	if !errors.Is(err, kind) {
		t.Errorf("got state %q, error %v, want %v", next.State, err, kind)
	}
	if len(effects) > 0 {
		t.Errorf("a refusal has effects: %s", words(effects))
	}
	if !reflect.DeepEqual(before, next) {
		t.Errorf("a refusal changed the run (-before +after):\n%s", cmp.Diff(before, next))
	}
}

// words names effects: "enqueue plan, report, record queued".
func words(effects []Effect) string {
	var out []string
	for _, e := range effects {
		w := strings.ToLower(reflect.TypeOf(e).Name())
		switch e := e.(type) {
		case Notify, Follow:
			continue // wantNews looks at it
		case Enqueue:
			w += " " + string(e.Phase)
		case Record:
			w += " " + e.Action
		}
		out = append(out, w)
	}
	return strings.Join(out, ", ")
}

func deepCopy(r Run) Run {
	r.Transitions = slices.Clone(r.Transitions)
	r.Warnings = slices.Clone(r.Warnings)
	if r.Delta != nil {
		d := *r.Delta
		r.Delta = &d
	}
	if r.MR != nil {
		m := *r.MR
		r.MR = &m
	}
	return r
}

// TestTableIsComplete reads event.go, so that a new event or a type of run cannot be forgotten in the table.
func TestTableIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		st, ok := spec.Type.(*ast.StructType)
		for i := 0; ok && i < len(st.Fields.List); i++ {
			if id, isIdent := st.Fields.List[i].Type.(*ast.Ident); isIdent && id.Name == "Meta" && st.Fields.List[i].Names == nil {
				declared = append(declared, spec.Name.Name)
			}
		}
		return true
	})
	used, types := map[string]bool{}, map[string][]Type{}
	for _, row := range slices.Concat(table, testTable) {
		used[reflect.TypeOf(row.event).Name()] = true
		if row.types == nil {
			types[reflect.TypeOf(row.event).Name()] = Types
		}
		types[reflect.TypeOf(row.event).Name()] = append(types[reflect.TypeOf(row.event).Name()], row.types...)
	}
	slices.Sort(declared)
	if diff := cmp.Diff(declared, slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("events declared and events in the table differ:\n%s", diff)
	}
	for event, have := range types {
		for _, typ := range Types {
			if !slices.Contains(have, typ) {
				t.Errorf("the table says nothing of %s for a %s run", event, typ)
			}
		}
	}
	if len(history) != len(States) {
		t.Errorf("%d states have a history, of %d", len(history), len(States))
	}
}
