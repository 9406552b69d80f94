package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func TestApplyWritesAllRows(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Proposed, "abc", func(r *runs.Run) { r.MR = &runs.MergeRequest{IID: 3} })
	rows := dump(t, s)
	status := "status/7/abc/groundcrew/network"
	for bucket, key := range map[string]string{
		"runs": r.ID, "stack_runs": "network/" + r.ID, "mr_runs": "0000000007/0000000003/" + r.ID, "active": r.ID,
		"run_keys": "network/proposed/abc", "jobs": r.ID + "/plan", "reports": status, "due": status,
	} {
		if _, ok := rows[bucket][key]; !ok {
			t.Errorf("no row %s/%s: %v", bucket, key, slices.Collect(maps.Keys(rows[bucket])))
		}
	}
	if n := len(rows["audit"]); n != 1 {
		t.Errorf("%d entries in the audit log", n)
	}
}

var errInjected = errors.New("injected")

// TestApplyIsAllOrNothing takes a run through its life; before each event that is kept the same event is applied in a
// transaction that fails afterwards, and must leave no trace.
func TestApplyIsAllOrNothing(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	events := append(toUnconfirmed(), runs.Confirm{Meta: runs.Meta{By: "alice"}}, runs.Claimed{}, runs.StopAsked{}, runs.Lost{Meta: runs.Meta{Note: "cut off"}})
	id := s.NewID()
	ask := runs.Requested{Run: runs.Run{Stack: "network", Project: 7, Type: runs.Tracked, Commit: runs.Commit{SHA: "abc"}}}
	for i, ev := range append([]runs.Event{ask}, events...) {
		before := dump(t, s)
		for name, write := range map[string]func(func(*Tx) error) error{"update": s.Update, "batch": s.Batch} {
			err := write(func(tx *Tx) error {
				_, err := tx.Apply(id, ev)
				return errors.Join(err, errInjected)
			})
			if !errors.Is(err, errInjected) {
				t.Fatalf("event %d, %T: %v", i, ev, err)
			}
			if diff := cmp.Diff(before, dump(t, s)); diff != "" {
				t.Fatalf("event %d, %T, %s: a failed transaction left:\n%s", i, ev, name, diff)
			}
		}
		apply(t, s, id, ev)
		if cmp.Equal(before, dump(t, s)) {
			t.Fatalf("event %d, %T changed nothing", i, ev)
		}
	}
	view(t, s, func(tx *Tx) error { // Lost while applying: the stack is flagged, and a fresh run waits
		st, err := tx.Stack("network")
		if err != nil || st.Flag != "cut off" {
			t.Errorf("flag %q, %v", st.Flag, err)
		}
		active, err := tx.Active("network")
		if err != nil || len(active) != 1 || active[0].RetryOf != id || active[0].Type != runs.Tracked || active[0].Commit.SHA != "abc" {
			t.Errorf("what waits: %+v, %v", active, err)
		}
		return nil
	})
}

func TestApplyRefusals(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	before := dump(t, s)
	for _, tc := range []struct {
		name string
		id   string
		ev   runs.Event
		kind error
	}{
		{"an unknown run", "01ABSENT", runs.Claimed{}, runs.ErrNotFound},
		{"a run learned of", "01ABSENT", runs.LearnedMR{}, runs.ErrNotFound},
		{"requested twice", r.ID, runs.Requested{Run: runs.Run{Stack: "network"}}, runs.ErrConflict},
		{"not its turn", r.ID, runs.Done{}, runs.ErrConflict},
	} {
		// The transaction commits, because a refusal alone is no reason to give up what else it does.
		update(t, s, func(tx *Tx) error {
			if _, err := tx.Apply(tc.id, tc.ev); !errors.Is(err, tc.kind) {
				t.Errorf("%s: %v", tc.name, err)
			}
			return nil
		})
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Errorf("%s changed:\n%s", tc.name, diff)
		}
	}
}

// TestIndexesStayTrue sends random events to many runs and compares every index with what a look at all runs says.
func TestIndexesStayTrue(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := world{t: t, s: open(t, quick), random: rand.New(rand.NewPCG(seed, 1))}
			for _, name := range []string{"Network", "Network 2", "Database"} {
				addStack(t, w.s, name)
			}
			for range 100 {
				update(t, w.s, func(tx *Tx) error {
					for range 10 {
						w.act(tx)
					}
					w.check(tx)
					return nil
				})
			}
			if w.taken < 100 || w.refused < 50 {
				t.Errorf("%d events were taken and %d refused", w.taken, w.refused)
			}
		})
	}
}

// A world is a store to which random things happen.
type world struct {
	t              *testing.T
	s              *Store
	random         *rand.Rand
	ids            []string
	taken, refused int
}

func (w *world) act(tx *Tx) {
	w.t.Helper()
	if len(w.ids) == 0 || w.random.IntN(5) == 0 {
		w.request(tx)
		return
	}
	id := w.ids[max(0, len(w.ids)-1-w.random.IntN(6))] // the young ones, mostly
	_, err := tx.Apply(id, w.event(tx))
	switch {
	case err == nil:
		w.taken++
	case errors.Is(err, runs.ErrConflict):
		w.refused++
	default:
		w.t.Fatal(err)
	}
}

func (w *world) request(tx *Tx) {
	r := runs.Run{
		Stack: []string{"network", "network-2", "database"}[w.random.IntN(3)], Project: 7,
		Type:   runs.Types[w.random.IntN(len(runs.Types)-1)], // a test belongs to a module
		Commit: runs.Commit{SHA: fmt.Sprint("sha", w.random.IntN(4))}, Branch: []string{"a", "a/b", "ä %2F\n"}[w.random.IntN(3)],
	}
	if w.random.IntN(3) == 0 {
		r.MR = &runs.MergeRequest{IID: int64(w.random.IntN(2) + 1), Fork: w.random.IntN(2) == 0}
	}
	id := tx.NewID()
	if _, err := tx.Apply(id, runs.Requested{Meta: runs.Meta{At: tx.Now()}, Run: r}); err != nil {
		w.t.Fatal(err)
	}
	w.ids = append(w.ids, id)
}

func (w *world) event(tx *Tx) runs.Event {
	m := runs.Meta{At: tx.Now()}
	started := func(s runs.State) runs.Event { return runs.PhaseStarted{Meta: m, State: s} }
	delta := runs.Delta{Add: w.random.IntN(2)}
	all := []runs.Event{
		runs.Claimed{Meta: m},
		started(runs.Initializing), started(runs.Planning), started(runs.Performing), started(runs.Destroying),
		runs.Planned{Meta: m, Delta: delta},
		runs.Planned{Meta: m, Delta: delta, Autodeploy: true},
		runs.Confirm{Meta: m},
		runs.Done{Meta: m},
		runs.Claimed{Meta: m},
		started(runs.Initializing), started(runs.Planning), started(runs.Performing), started(runs.Destroying), // likely
		runs.Confirm{Meta: m, Moved: "moved"},
		runs.Discard{Meta: m},
		runs.Cancel{Meta: m},
		runs.StopAsked{Meta: m},
		runs.Halted{Meta: m},
		runs.Fail{Meta: m},
		runs.Lost{Meta: m},
		runs.LearnedMR{Meta: m, MR: runs.MergeRequest{IID: 2}},
	}
	return all[w.random.IntN(len(all))]
}

// check compares every index with a scan of the runs.
func (w *world) check(tx *Tx) {
	w.t.Helper()
	want := map[string]map[string]string{"active": {}, "proposals": {}, "stack_runs": {}, "mr_runs": {}, "run_keys": {}, "jobs": {}, "due": {}, "project_stacks": {}}
	list, err := all[runs.Run](tx, "runs", "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range list { // oldest first, so the newest of a key stays
		want["stack_runs"][r.Stack+"/"+r.ID] = ""
		want["run_keys"][r.Stack+"/"+string(r.Type)+"/"+r.Commit.SHA] = r.ID
		if r.MR != nil {
			want["mr_runs"][mrKey(r.Project, r.MR.IID)+"/"+r.ID] = ""
			for _, mr := range r.Also {
				want["mr_runs"][mrKey(r.Project, mr.IID)+"/"+r.ID] = ""
			}
		}
		if r.State.Terminal() {
			continue
		}
		want["active"][r.ID] = r.Stack
		if r.Type == runs.Proposed {
			want["proposals"][r.Stack+"/"+num(r.ForkOf())+"/"+url.PathEscape(r.Branch)+"/"+r.ID] = ""
		}
		switch r.State {
		case runs.Unconfirmed:
		case runs.Confirmed, runs.Applying:
			want["jobs"][r.ID+"/apply"] = ""
		default:
			want["jobs"][r.ID+"/"+string(r.FirstPhase())] = ""
		}
	}
	if ids, err := tx.ActiveIDs(); err != nil || !maps.Equal(ids, want["active"]) {
		w.t.Fatalf("active ids %v, %v", ids, err)
	}
	reports, err := all[Report](tx, "reports", "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range reports {
		if r.State == ReportWaiting {
			want["due"][r.Target] = r.MarkedAt.UTC().Format(time.RFC3339)
		}
		if r.Kind == ReportStatus {
			w.owned(r, list)
		}
	}
	stacks, err := tx.Stacks()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, st := range stacks {
		want["project_stacks"][num(st.Project)+"/"+st.Slug] = ""
	}
	got := map[string]map[string]string{}
	for bucket := range want {
		got[bucket] = map[string]string{}
		err := each(tx, bucket, "", func(k string, v []byte) (bool, error) {
			if bucket == "jobs" {
				v = nil
			}
			got[bucket][k] = string(v)
			return true, nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("indexes (-what a scan says +what is stored):\n%s", diff)
	}
}

// owned: a status shows the newest run of its stack and commit.
func (w *world) owned(r Report, list []runs.Run) {
	w.t.Helper()
	newest := ""
	for _, run := range list {
		if run.Stack == r.Stack && run.Commit.SHA == r.SHA {
			newest = max(newest, run.ID)
		}
	}
	if r.Run != newest {
		w.t.Fatalf("%s shows run %s, the newest is %s", r.Target, r.Run, newest)
	}
}

func TestNewestRunOf(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	first := request(t, s, "network", runs.Proposed, "abc")
	second := request(t, s, "network", runs.Proposed, "abc")
	request(t, s, "network", runs.Tracked, "abc")
	apply(t, s, first.ID, runs.Cancel{})
	view(t, s, func(tx *Tx) error {
		r, ok, err := tx.NewestRunOf("network", runs.Proposed, "abc")
		if err != nil || !ok || r.ID != second.ID {
			t.Errorf("newest is %s, want %s (%v)", r.ID, second.ID, err)
		}
		if _, ok, err := tx.NewestRunOf("network", runs.Proposed, "ab"); ok || err != nil {
			t.Errorf("half a commit id is known: %v, %v", ok, err)
		}
		return nil
	})
}

func TestClaimJob(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	update(t, s, func(tx *Tx) error {
		j, ok, err := tx.Job(r.ID)
		if err != nil || !ok || j.Claimed || j.Phase != runs.PhasePlan || j.Stack != "network" {
			t.Errorf("job %+v, %v, %v", j, ok, err)
		}
		return tx.ClaimJob(j)
	})
	apply(t, s, r.ID, toUnconfirmed()[:3]...)
	view(t, s, func(tx *Tx) error { // a claimed job stays claimed through the phases
		list, err := tx.Jobs()
		if err != nil || len(list) != 1 || !list[0].Claimed || list[0].ClaimedAt.IsZero() {
			t.Errorf("jobs %+v, %v", list, err)
		}
		return nil
	})
	apply(t, s, r.ID, runs.Planned{Delta: runs.Delta{Add: 1}}, runs.Confirm{})
	view(t, s, func(tx *Tx) error { // the next phase is a job of its own, for any worker
		list, err := tx.Jobs()
		if err != nil || len(list) != 1 || list[0].Claimed || list[0].Phase != runs.PhaseApply {
			t.Errorf("jobs %+v, %v", list, err)
		}
		if _, ok, err := tx.Job("01ABSENT"); ok || err != nil {
			t.Errorf("a job of no run: %v, %v", ok, err)
		}
		return nil
	})
}

// TestJobsOfOlderRows: a job row says what the queue orders by; one that was written before it did is completed.
func TestJobsOfOlderRows(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	var want []Job
	view(t, s, func(tx *Tx) (err error) { want, err = tx.Jobs(); return err })
	if len(want) != 1 || want[0].Type != runs.Tracked || want[0].Project != 7 || want[0].Trigger != runs.ByWebhook || want[0].First {
		t.Fatalf("jobs %+v", want)
	}
	want[0].Claimed = true
	update(t, s, func(tx *Tx) error {
		return put(tx, "jobs", r.ID+"/plan", Job{Run: r.ID, Stack: "network", Phase: runs.PhasePlan, Claimed: true})
	})
	view(t, s, func(tx *Tx) error {
		got, err := tx.Jobs()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func TestFirstInTheQueue(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	apply(t, s, r.ID, runs.Prioritize{Meta: runs.Meta{By: "alice"}})
	first := func() bool {
		var j Job
		view(t, s, func(tx *Tx) (err error) { j, _, err = tx.Job(r.ID); return err })
		return j.First
	}
	if !first() {
		t.Error("the job does not know that it goes first")
	}
	apply(t, s, r.ID, runs.Claimed{}, runs.Lost{})
	if !first() {
		t.Error("queued again it lost its place")
	}
	apply(t, s, r.ID, runs.Prioritize{Back: true})
	if first() {
		t.Error("put back, the job still goes first")
	}
}

func TestDeleteStack(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	addStack(t, s, "Network 2") // its keys begin alike
	update(t, s, func(tx *Tx) error {
		for _, slug := range []string{"network", "network-2"} {
			if err := tx.PutVariable(slug, runs.Variable{Name: "A", Value: "1"}); err != nil {
				return err
			}
			if _, err := tx.AddStateVersion(slug, StateVersion{SHA256: "x"}); err != nil {
				return err
			}
		}
		return nil
	})
	waiting := request(t, s, "network", runs.Tracked, "abc")
	apply(t, s, waiting.ID, toUnconfirmed()...)
	queued := request(t, s, "network", runs.Proposed, "abc")
	other := request(t, s, "network-2", runs.Tracked, "abc")

	working := request(t, s, "network", runs.Proposed, "def")
	apply(t, s, working.ID, runs.Claimed{})
	remove := func(slug string) error { return s.Update(func(tx *Tx) error { return tx.DeleteStack(slug) }) }
	before := dump(t, s)
	if err := remove("network"); !errors.Is(err, runs.ErrConflict) || !strings.Contains(err.Error(), working.ID) {
		t.Errorf("with a run at work: %v", err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("a refused deletion changed:\n%s", diff)
	}
	apply(t, s, working.ID, runs.Fail{})
	update(t, s, func(tx *Tx) error {
		st, err := tx.Stack("network")
		st.Protect = true
		return errors.Join(err, tx.PutStack(st))
	})
	if err := remove("network"); !errors.Is(err, runs.ErrConflict) || !strings.Contains(err.Error(), "protected") {
		t.Errorf("protected: %v", err)
	}
	update(t, s, func(tx *Tx) error {
		st, err := tx.Stack("network")
		st.Protect = false
		return errors.Join(err, tx.PutStack(st))
	})
	if err := remove("network"); err != nil {
		t.Fatal(err)
	}
	if err := remove("network"); !errors.Is(err, runs.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	view(t, s, func(tx *Tx) error {
		for _, id := range []string{waiting.ID, queued.ID} {
			if r, err := tx.Run(id); err != nil || r.State != runs.Canceled || r.Reason != "the stack was deleted" {
				t.Errorf("run %s: %s, %q, %v", id, r.State, r.Reason, err)
			}
		}
		env, ok, err := tx.Report("environment/network")
		if err != nil || !ok || !env.Gone || env.State != ReportWaiting {
			t.Errorf("environment %+v, %v", env, err)
		}
		if r, err := tx.Run(other.ID); err != nil || r.State != runs.Queued {
			t.Errorf("the other stack's run: %s, %v", r.State, err)
		}
		return nil
	})
	rows := dump(t, s)
	for _, bucket := range []string{"variables", "states", "run_keys", "project_stacks", "stacks", "active", "jobs"} {
		for k, v := range rows[bucket] {
			if !strings.Contains(k+v, "network-2") && k != other.ID {
				t.Errorf("left: %s/%s", bucket, k)
			}
		}
		if len(rows[bucket]) != 1 {
			t.Errorf("%d rows in %s, want those of the other stack", len(rows[bucket]), bucket)
		}
	}
	addStack(t, s, "Network") // comes back, with an environment of its own
	view(t, s, func(tx *Tx) error {
		if env, _, err := tx.Report("environment/network"); err != nil || env.Gone {
			t.Errorf("environment of the new stack %+v, %v", env, err)
		}
		if _, known, err := tx.NewestRunOf("network", runs.Tracked, "abc"); known || err != nil {
			t.Errorf("the new stack takes the old one's run for its own: %v", err)
		}
		return nil
	})
}

func TestStacks(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	err := s.Update(func(tx *Tx) error { _, err := tx.AddStack(stackNamed("NETWORK!")); return err })
	if e, ok := errors.AsType[*runs.Error](err); !ok || !errors.Is(err, runs.ErrConflict) || e.Field != "name" {
		t.Errorf("a taken address: %v", err)
	}
	err = s.Update(func(tx *Tx) error { _, err := tx.AddStack(runs.Stack{Name: "x"}); return err })
	if !errors.Is(err, runs.ErrInvalid) {
		t.Errorf("an invalid stack: %v", err)
	}
	update(t, s, func(tx *Tx) error {
		st, err := tx.Stack("network")
		st.Project, st.ProjectRoot = 8, "/a//b/"
		return errors.Join(err, tx.PutStack(st))
	})
	view(t, s, func(tx *Tx) error {
		old, err := tx.StacksOf(7)
		now, err2 := tx.StacksOf(8)
		if len(old) != 0 || len(now) != 1 || now[0].ProjectRoot != "a/b" {
			t.Errorf("stacks of the old project %+v, of the new %+v", old, now)
		}
		_, err3 := tx.Stack("absent")
		if !errors.Is(err3, runs.ErrNotFound) {
			t.Error(err3)
		}
		return errors.Join(err, err2)
	})
	for name, err := range map[string]error{
		"a variable of no stack":   s.Update(func(tx *Tx) error { return tx.PutVariable("absent", runs.Variable{Name: "A"}) }),
		"deleting what is absent":  s.Update(func(tx *Tx) error { return tx.DeleteVariable("network", "A") }),
		"a variable without name":  s.Update(func(tx *Tx) error { return tx.PutVariable("network", runs.Variable{}) }),
		"a variable named as ours": s.Update(func(tx *Tx) error { return tx.PutVariable("network", runs.Variable{Name: "PATH"}) }),
	} {
		if !errors.Is(err, runs.ErrNotFound) && !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
