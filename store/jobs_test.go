package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

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
