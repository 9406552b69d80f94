package store

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"groundcrew/runs"
)

// TestIndexesSayWhatReadingAllSays makes runs at random and compares every filter with a reading of all runs, page by page.
func TestIndexesSayWhatReadingAllSays(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "a")
	addStack(t, s, "b")
	rnd := rand.New(rand.NewPCG(1, 2))
	var everything []string
	active := func(tx *Tx) error { asStored(t, tx, s.cached.active); return nil }
	for i := range 300 {
		view(t, s, active)
		r := request(t, s, []string{"a", "b"}[rnd.IntN(2)], []runs.Type{runs.Proposed, runs.Tracked, runs.Task, runs.Destroy}[rnd.IntN(4)], fmt.Sprintf("%040d", i),
			func(r *runs.Run) { r.Project = int64(7 + i%3) })
		everything = append(everything, r.ID)
		switch rnd.IntN(5) {
		case 0:
			apply(t, s, r.ID, runs.Cancel{})
		case 1:
			apply(t, s, r.ID, runs.Discard{})
		case 2:
			apply(t, s, r.ID, runs.Claimed{})
		case 3:
			apply(t, s, r.ID, runs.Claimed{}, runs.Fail{})
		}
	}
	view(t, s, active)
	view(t, s, func(tx *Tx) error {
		for _, f := range []RunFilter{
			{},
			{States: []runs.State{runs.Failed}},
			{States: []runs.State{runs.Queued}},
			{States: []runs.State{runs.Failed, runs.Queued, runs.Canceled, runs.Preparing}},
			{Types: []runs.Type{runs.Task}},
			{Types: []runs.Type{runs.Task, runs.Destroy}},
			{Types: []runs.Type{runs.Task, runs.Proposed}},
			{Types: []runs.Type{runs.Tracked}, States: []runs.State{runs.Discarded, runs.Failed}},
			{Stack: "a", States: []runs.State{runs.Failed}},
			{Stack: "b", Types: []runs.Type{runs.Destroy}},
			{States: []runs.State{runs.Finished}},
			{Projects: []int64{}},
			{Projects: []int64{7}},
			{Projects: []int64{5, 8, 9, 10}},
			{Projects: []int64{7, 9}, States: []runs.State{runs.Failed, runs.Queued}},
			{Projects: []int64{7, 8}, States: []runs.State{runs.Queued, runs.Preparing}},
			{Stack: "a", States: []runs.State{runs.Preparing}},
			{Projects: []int64{7, 8}, Types: []runs.Type{runs.Task}, Text: "0"},
			{Projects: []int64{8}, Stack: "b"},
			{Projects: everyOther(5 * manyProjects)},
			{Projects: everyOther(5 * manyProjects), Types: []runs.Type{runs.Task, runs.Destroy}},
		} {
			var want []string
			for _, id := range slices.Backward(everything) {
				if r, err := tx.Run(id); err != nil {
					return err
				} else if f.match(r) {
					want = append(want, id)
				}
			}
			for _, f.AtMost = range []int{0, 1, 7, 1000} {
				for _, limit := range []int{1, 13, 1000} {
					if d := diff.Diff(want, pages(t, tx, f, limit)); d != "" {
						t.Errorf("%+v by %d: %s", f, limit, d)
					}
				}
			}
		}
		for _, types := range [][]runs.Type{{runs.Tracked}, {runs.Task, runs.Destroy}, runs.Types} {
			all := map[string]Latest{}
			for _, state := range runs.States {
				tx.EachLatestIn(state, types, func(slug, id string) { all[slug] = Latest{id, state} })
			}
			for _, slug := range []string{"a", "b"} {
				page, _, err := tx.Runs(RunFilter{Stack: slug, Types: types}, "", 1)
				if err != nil {
					return err
				}
				one, ok := tx.Latest(slug, types...)
				if want := (Latest{page[0].ID, page[0].State}); one != want || !ok || all[slug] != want {
					t.Errorf("%s %v: %v and %v, want %v", slug, types, one, all[slug], want)
				}
			}
		}
		for _, projects := range [][]int64{{}, {8}, {7, 8, 9}} {
			compareHours(t, tx, projects)
		}
		hours, err := tx.Hours(24)
		var counted Hour
		for _, h := range hours {
			counted.Begun += h.Begun
			counted.Failed += h.Failed
			counted.Discarded += h.Discarded
			counted.Other += h.Other
		}
		var want Hour
		for _, id := range everything {
			r, err := tx.Run(id)
			if err != nil {
				return err
			}
			want.Begun++
			switch r.State {
			case runs.Failed:
				want.Failed++
			case runs.Discarded:
				want.Discarded++
			case runs.Canceled:
				want.Other++
			}
		}
		if d := diff.Diff(want, counted); d != "" {
			t.Error(d)
		}
		return err
	})
}

// everyOther are the odd numbers below a bound.
func everyOther(below int64) (list []int64) {
	for n := int64(1); n < below; n += 2 {
		list = append(list, n)
	}
	return list
}

// compareHours counts the runs of projects one by one.
func compareHours(t *testing.T, tx *Tx, projects []int64) {
	t.Helper()
	list, _, err := tx.Runs(RunFilter{Projects: projects}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]Hour, 24)
	for _, r := range list {
		h := &want[23-int(tx.Now().Truncate(time.Hour).Sub(r.CreatedAt.Truncate(time.Hour))/time.Hour)]
		h.Begun++
		h.ended(r.State)
	}
	got, err := tx.HoursOf(24, projects, 1000)
	if d := diff.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v: %v %s", projects, err, d)
	}
	if any := tx.AnyRun(projects); any != (len(list) > 0) || !tx.AnyRun(nil) || tx.AnyRun([]int64{1, 700}) {
		t.Errorf("%v: any %v of %d", projects, any, len(list))
	}
	newest, _, err := tx.Runs(RunFilter{Projects: projects, AtMost: 1}, "", 1)
	if err != nil || len(newest) != min(1, len(list)) {
		t.Errorf("%v: %d newest at the first look, whatever others have, %v", projects, len(newest), err)
	}
	few, err := tx.HoursOf(24, projects, 3)
	if begun := few[22].Begun + few[23].Begun; err != nil || begun != min(3, len(list)) {
		t.Errorf("%v: %d of the newest 3, %v", projects, begun, err)
	}
}

// pages reads a list to its end.
func pages(t *testing.T, tx *Tx, f RunFilter, limit int) (ids []string) {
	t.Helper()
	for cursor := ""; ; {
		page, next, err := tx.Runs(f, cursor, limit)
		if err != nil || len(page) > limit || !slices.IsSortedFunc(page, func(a, b runs.Run) int { return cmp.Compare(b.ID, a.ID) }) {
			t.Fatal(len(page), err)
		}
		for _, r := range page {
			ids = append(ids, r.ID)
		}
		if next == "" {
			return ids
		}
		if cursor != "" && next >= cursor {
			t.Fatalf("page after %s leads to %s", cursor, next)
		}
		cursor = next
	}
}

// TestStacksAreAsInTheTransaction reads the kept list beside writers: each reader sees its own moment.
func TestStacksAreAsInTheTransaction(t *testing.T) {
	s := open(t, quick)
	for i := range 20 {
		addStack(t, s, fmt.Sprintf("s%02d", i))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				err := s.View(func(tx *Tx) error {
					asStored(t, tx, s.cached.stacks)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			err := s.Update(func(tx *Tx) error {
				switch i % 4 {
				case 0:
					_, err := tx.AddStack(runs.Stack{
						Name: fmt.Sprintf("new%03d", i), Project: 7, ProjectPath: "a/b", Branch: "main", Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanHead,
					})
					return err
				case 1:
					return tx.DeleteStack(fmt.Sprintf("new%03d", i-1))
				case 2:
					st, err := tx.Stack("s07")
					if err != nil {
						return err
					}
					st.LockNote = fmt.Sprint(i)
					return tx.PutStack(st)
				default: // what is rolled back was never there
					st, err := tx.Stack("s03")
					if err != nil {
						return err
					}
					st.Name = "rolled back"
					if err := tx.PutStack(st); err != nil {
						return err
					}
					if seen, err := tx.Stacks(); err != nil || !slices.ContainsFunc(seen, func(st *runs.Stack) bool { return st.Name == "rolled back" }) {
						t.Errorf("a writer does not see its own change: %v", err)
					}
					return errRollback
				}
			})
			if err != nil && err != errRollback {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

// TestStacksAfterManyChanges lets more change between two looks than the journal of the list holds, a few changes, and none.
func TestStacksAfterManyChanges(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "kept")
	for _, changes := range []int{0, 1, 3, len(s.cached.stacks.journal.steps) - 1, len(s.cached.stacks.journal.steps), len(s.cached.stacks.journal.steps) + 1, 2} {
		update(t, s, func(tx *Tx) error {
			for i := range changes {
				st, err := tx.Stack("kept")
				if err != nil {
					return err
				}
				st.LockNote = fmt.Sprint(changes, "/", i)
				if err := tx.PutStack(st); err != nil {
					return err
				}
			}
			return nil
		})
		addStack(t, s, fmt.Sprintf("after-%d", changes))
		view(t, s, func(tx *Tx) error {
			asStored(t, tx, s.cached.stacks)
			return nil
		})
	}
}

// asStored compares what is kept of a bucket with its rows.
func asStored[T any](t *testing.T, tx *Tx, c *rowCache[T]) {
	t.Helper()
	have, err := c.rows(tx)
	want, err2 := c.readAll(tx)
	if d := diff.Diff(want, have, cmpopts.EquateEmpty()); d != "" || err != nil || err2 != nil {
		t.Errorf("%s: %v, %v %s", c.bucket, err, err2, d)
	}
}

// TestKeptRowsAreAsStored changes what pages ask for of webhooks, projects and merge requests, looks inside the transaction
// and after it, and gives every third one up.
func TestKeptRowsAreAsStored(t *testing.T) {
	s := open(t, quick)
	rnd := rand.New(rand.NewPCG(1, 2))
	look := func(tx *Tx) error {
		asStored(t, tx, s.cached.hooks)
		asStored(t, tx, s.cached.troubled)
		asStored(t, tx, s.cached.held)
		return nil
	}
	for i := range 300 {
		project, some := int64(1+rnd.IntN(5)), []string{"", "x"}[rnd.IntN(2)]
		err := s.Update(func(tx *Tx) error {
			err := errors.Join(
				tx.PutHook(Hook{Project: project, State: some}),
				tx.PutWatch(Watch{Project: project, Trouble: some}),
				tx.PutMergeRequest(MergeRequest{
					Project: project, MergeRequest: runs.MergeRequest{IID: int64(rnd.IntN(3))}, Held: some, State: []string{"opened", "opened", "merged"}[rnd.IntN(3)],
				}),
			)
			if rnd.IntN(4) == 0 {
				err = errors.Join(err, tx.DropHook(project))
			}
			if err = errors.Join(err, look(tx)); err == nil && i%3 == 0 {
				err = errRollback
			}
			return err
		})
		if err != nil && !errors.Is(err, errRollback) {
			t.Fatal(err)
		}
		if rnd.IntN(3) > 0 {
			view(t, s, look)
		}
	}
}

// TestJournal asks for what changed in either direction, and for what is too long ago.
func TestJournal(t *testing.T) {
	var j journal
	n := uint64(len(j.steps))
	for seq := uint64(1); seq <= n+2; seq++ {
		j.note(seq, fmt.Sprintf("s%d", seq%3))
	}
	j.note(n+3, "given up")
	j.note(n+3, "s9")
	for _, tc := range []struct {
		a, b  uint64
		want  []string
		known bool
	}{
		{n + 2, n + 3, []string{"s9"}, true},
		{n + 3, n + 2, []string{"s9"}, true},
		{5, 5, nil, true},
		{9, 4, []string{"s0", "s1", "s2"}, true}, // each once
		{3, n + 3, []string{"s0", "s1", "s2", "s9"}, true},
		{2, n + 3, nil, false},     // its first step was written over
		{n + 3, n + 4, nil, false}, // of another process, or none
	} {
		got, known := j.between(tc.a, tc.b)
		if !slices.Equal(got, tc.want) || known != tc.known {
			t.Errorf("between %d and %d: %v, %v; want %v, %v", tc.a, tc.b, got, known, tc.want, tc.known)
		}
	}
}

var errRollback = runs.Conflictf("rolled back")

// TestAnOldRunUnderWayIsFound at once, however many runs that ended are newer: in those of a stack and of a reader's projects too.
func TestAnOldRunUnderWayIsFound(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "a")
	of7 := func(r *runs.Run) { r.Project = 7 }
	old := request(t, s, "a", runs.Proposed, fmt.Sprintf("%040d", 0), of7)
	for i := range 20 {
		r := request(t, s, "a", runs.Proposed, fmt.Sprintf("%040d", i+1), of7)
		apply(t, s, r.ID, runs.Cancel{})
	}
	view(t, s, func(tx *Tx) error {
		for _, f := range []RunFilter{{}, {Stack: "a"}, {Projects: []int64{7}}} {
			f.States, f.AtMost = []runs.State{runs.Queued, runs.Unconfirmed}, 10
			page, _, err := tx.Runs(f, "", 5)
			if err != nil {
				return err
			}
			if len(page) != 1 || page[0].ID != old.ID {
				t.Errorf("%+v: %+v", f, page)
			}
		}
		return nil
	})
}
