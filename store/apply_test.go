package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
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
		"runs": r.ID, "stack_runs": "network/" + r.ID, "project_runs": "0000000007/" + r.ID, "mr_runs": "0000000007/0000000003/" + r.ID, "active": r.ID,
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
	want := map[string]map[string]string{"active": {}, "proposals": {}, "stack_runs": {}, "project_runs": {}, "mr_runs": {}, "run_keys": {}, "jobs": {}, "due": {}, "project_stacks": {}}
	list, err := all[runs.Run](tx, "runs", "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range list { // oldest first, so the newest of a key stays
		want["stack_runs"][r.Stack+"/"+r.ID] = ""
		want["project_runs"][num(r.Project)+"/"+r.ID] = string(r.State)
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
