package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

// A list is one of the store's paged lists: add makes a row and returns its key, page reads keys.
type list struct {
	name string
	add  func(*Tx, int) (string, error)
	page func(*Tx, string, int) ([]string, string, error)
	up   bool // sorted upwards by key, else newest first
}

func keys[T any](page []T, next string, err error, key func(T) string) ([]string, string, error) {
	var out []string
	for _, v := range page {
		out = append(out, key(v))
	}
	return out, next, err
}

func addRun(tx *Tx, stack string, mr int64) (string, error) {
	r := runs.Run{Stack: stack, Project: 7, Type: runs.Proposed, Commit: runs.Commit{SHA: tx.NewID()}}
	if mr != 0 {
		r.MR = &runs.MergeRequest{IID: mr}
	}
	r, err := tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now()}, Run: r})
	return r.ID, err
}

func runKeys(f RunFilter) func(*Tx, string, int) ([]string, string, error) {
	return func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.Runs(f, cursor, limit)
		return keys(page, next, err, func(r runs.Run) string { return r.ID })
	}
}

// lists have, beside their own rows, rows of neighbours that must not turn up.
var lists = []list{
	{"runs", func(tx *Tx, i int) (string, error) { return addRun(tx, "network", 0) }, runKeys(RunFilter{}), false},
	{"runs of a stack", func(tx *Tx, i int) (string, error) {
		for _, other := range []string{"netwo", "network-2", "zoo"} {
			if _, err := addRun(tx, other, 0); err != nil {
				return "", err
			}
		}
		return addRun(tx, "network", 0)
	}, runKeys(RunFilter{Stack: "network"}), false},
	{"runs of a merge request", func(tx *Tx, i int) (string, error) {
		for _, other := range []int64{0, 1, 31} {
			if _, err := addRun(tx, "network", other); err != nil {
				return "", err
			}
		}
		return addRun(tx, "network", 3)
	}, runKeys(RunFilter{Project: 7, MergeRequest: 3}), false},
	{"runs of some states", func(tx *Tx, i int) (string, error) {
		id, err := addRun(tx, "network", 0)
		if err == nil {
			_, err = tx.Apply(id, runs.Cancel{})
		}
		if _, err := addRun(tx, "network", 0); err != nil {
			return "", err
		}
		return id, err
	}, runKeys(RunFilter{States: []runs.State{runs.Canceled, runs.Failed}, Types: []runs.Type{runs.Proposed}}), false},
	{"deliveries", func(tx *Tx, i int) (string, error) {
		id := tx.NewID()
		return id, tx.PutDelivery(Delivery{ID: id, State: DeliveryDone})
	}, func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.Deliveries("", cursor, limit)
		return keys(page, next, err, func(d Delivery) string { return d.ID })
	}, false},
	{"failed deliveries", func(tx *Tx, i int) (string, error) {
		if err := tx.PutDelivery(Delivery{ID: tx.NewID(), State: DeliveryDone}); err != nil {
			return "", err
		}
		id := tx.NewID()
		return id, tx.PutDelivery(Delivery{ID: id, State: DeliveryFailed})
	}, func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.Deliveries(DeliveryFailed, cursor, limit)
		return keys(page, next, err, func(d Delivery) string { return d.ID })
	}, false},
	{"audit log", func(tx *Tx, i int) (string, error) {
		err := tx.Audit(AuditEntry{Action: "test.add"})
		if err != nil {
			return "", err
		}
		page, _, err := tx.AuditLog("", 1)
		return page[0].ID, err
	}, func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.AuditLog(cursor, limit)
		return keys(page, next, err, func(e AuditEntry) string { return e.ID })
	}, false},
	{"state versions", func(tx *Tx, i int) (string, error) {
		if _, err := tx.AddStateVersion("network-2", StateVersion{SHA256: tx.NewID()}); err != nil {
			return "", err
		}
		v, err := tx.AddStateVersion("network", StateVersion{SHA256: tx.NewID()})
		return num(int64(v.Version)), err
	}, func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.StateVersions("network", cursor, limit)
		return keys(page, next, err, func(v StateVersion) string { return num(int64(v.Version)) })
	}, false},
	{"reports", func(tx *Tx, i int) (string, error) {
		target := "status/" + tx.NewID()
		return target, tx.PutReport(Report{Target: target, State: ReportParked})
	}, func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.Reports("", cursor, limit)
		return keys(page, next, err, func(r Report) string { return r.Target })
	}, true},
	{"parked reports", func(tx *Tx, i int) (string, error) {
		if err := tx.PutReport(Report{Target: "note/" + tx.NewID(), State: ReportWaiting}); err != nil {
			return "", err
		}
		target := "status/" + tx.NewID()
		return target, tx.PutReport(Report{Target: target, State: ReportParked})
	}, func(tx *Tx, cursor string, limit int) ([]string, string, error) {
		page, next, err := tx.Reports(ReportParked, cursor, limit)
		return keys(page, next, err, func(r Report) string { return r.Target })
	}, true},
}

// TestListsHaveNoGaps reads every list page by page in every page size, while rows are added between the pages.
func TestListsHaveNoGaps(t *testing.T) {
	const rows = 7
	for _, l := range lists {
		for limit := 1; limit <= rows+1; limit++ {
			t.Run(fmt.Sprintf("%s/%d", l.name, limit), func(t *testing.T) { l.walk(t, rows, limit) })
		}
	}
}

func (l list) walk(t *testing.T, rows, limit int) {
	s := open(t, quick)
	addStack(t, s, "Network")
	update(t, s, func(tx *Tx) error { // what making the fixture itself left in the lists is not looked at
		return tx.dropPrefix("reports", "")
	})
	var want []string
	add := func(i int) (key string) {
		update(t, s, func(tx *Tx) (err error) { key, err = l.add(tx, i); return err })
		return key
	}
	for i := range rows {
		want = append(want, add(i))
	}
	var got []string
	cursor, pages := "", 0
	for {
		var page []string
		var next string
		view(t, s, func(tx *Tx) (err error) { page, next, err = l.page(tx, cursor, limit); return err })
		if len(page) > limit || next != "" && len(page) < limit {
			t.Fatalf("a page of %d of %d, next %q", len(page), limit, next)
		}
		got = append(got, page...)
		if pages++; next == "" {
			break
		}
		if pages > 3*rows {
			t.Fatal("the list does not end")
		}
		if cursor = next; pages > 3 {
			continue
		}
		if added := add(rows + pages); l.up { // newer rows lie behind the cursor, except in lists that go up
			want = append(want, added)
		}
	}
	if !l.up {
		slices.Reverse(want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-added +listed):\n%s", diff)
	}
}

// TestHostileCursors: cursors come from addresses; any text gives a page or nothing, never another list's rows.
func TestHostileCursors(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	for _, l := range lists {
		update(t, s, func(tx *Tx) error { _, err := l.add(tx, 0); return err })
	}
	for _, l := range lists {
		all := map[string]bool{}
		view(t, s, func(tx *Tx) error {
			page, _, err := l.page(tx, "", 1000)
			for _, k := range page {
				all[k] = true
			}
			return err
		})
		for _, cursor := range []string{"0", "zzz", "\x00", "\xff\xff", "../x", "network/", "{", string(make([]byte, 40000))} {
			view(t, s, func(tx *Tx) error {
				page, _, err := l.page(tx, cursor, 1000)
				for _, k := range page {
					if !all[k] {
						t.Errorf("%s from %q: %q is not of this list", l.name, cursor, k)
					}
				}
				return err
			})
		}
	}
}

func TestRunsSince(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	var all []runs.Run
	for range 5 {
		all = append(all, request(t, s, "network", runs.Tracked, "abc"))
	}
	for _, f := range []RunFilter{{}, {Stack: "network"}} {
		f.Since = all[2].CreatedAt
		view(t, s, func(tx *Tx) error {
			page, _, err := tx.Runs(f, "", 10)
			if len(page) != 3 || page[2].ID != all[2].ID {
				t.Errorf("%d runs since the third", len(page))
			}
			return err
		})
	}
}

func TestLatestRun(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	tracked := request(t, s, "network", runs.Tracked, "abc")
	proposed := request(t, s, "network", runs.Proposed, "def")
	view(t, s, func(tx *Tx) error {
		for want, types := range map[string][]runs.Type{proposed.ID: nil, tracked.ID: {runs.Tracked, runs.Destroy}, "": {runs.Test}} {
			if r, ok, err := tx.LatestRun("network", types...); r.ID != want || ok != (want != "") || err != nil {
				t.Errorf("%v: %s, want %s, %v", types, r.ID, want, err)
			}
		}
		return nil
	})
}
