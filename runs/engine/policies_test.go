package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// policy makes a policy for stacks, or for all of them.
func (w *world) policy(name string, t runs.PolicyType, body string, stacks ...string) runs.Policy {
	w.t.Helper()
	p := runs.Policy{Name: name, Type: t, Body: "package groundcrew\n" + body, Stacks: stacks}
	if len(stacks) == 0 {
		p.Labels = []string{runs.AutoAttach + "*"}
	}
	w.update(func(tx *store.Tx) (err error) {
		p, err = tx.AddPolicy(p)
		return err
	})
	return p
}

// policies starts the pump that asks them; it ends with the test.
func (w *world) policies() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.e.pump(ctx, "policies", w.e.policiesWake, w.e.askAll)
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// settled waits, for an hour at most, until the run is in the state.
func (w *world) settled(id string, want runs.State) runs.Run {
	w.t.Helper()
	for range 3600 {
		if r := w.run(id); r.State == want {
			return r
		}
		time.Sleep(time.Second)
	}
	r := w.run(id)
	w.t.Fatalf("the run is %s (%s), want %s", r.State, r.Reason, want)
	return r
}

// An approval policy opens the way when it says so, and only then; it is asked again after each review.
func TestApprovalPolicies(t *testing.T) {
	inBubble(t, func(w *world) {
		w.policies()
		st := w.stack("net")
		w.policy("Seniors", runs.PolicyApproval, `
			approve if { some r in input.reviews.approvals; r.by == "bob" }
			approve if input.delta.add == 0
			reject contains msg if { some r in input.reviews.rejections; r.by == "cyd"; msg := concat(" ", ["cyd says", r.note]) }`)
		r := w.planWaits(st)
		time.Sleep(time.Minute)
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "the policy “Seniors” does not approve yet")
		w.mustReview(r, cyd, "cyd", runs.Approve)
		time.Sleep(time.Minute)
		_, err = w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "Seniors")
		w.mustReview(r, bob, "bob", runs.Approve)
		time.Sleep(time.Minute)
		if _, err := w.e.Confirm(r.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		w.apply(r.ID, runs.Claimed{}, runs.Done{})

		r = w.planWaits(st)
		w.mustReview(r, cyd, "cyd", runs.Reject)
		got := w.settled(r.ID, runs.Failed)
		if !strings.Contains(got.Reason, "The policy “Seniors” rejects it: cyd says as discussed") {
			t.Errorf("reason %q", got.Reason)
		}
		w.quiet()
	})
}

// A policy that cannot be asked approves nothing, and one that is switched off is not asked.
func TestABrokenApprovalPolicyKeepsTheDoorShut(t *testing.T) {
	inBubble(t, func(w *world) {
		w.policies()
		st := w.guarded("net", 0, autodeploys)
		p := w.policy("Broken", runs.PolicyApproval, `approve if 1 / (input.delta.add - 1) == 7`, st.Slug)
		r := w.planWaits(st)
		time.Sleep(time.Minute)
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "could not be asked", "divide by zero")
		w.update(func(tx *store.Tx) error {
			p, err = tx.Policy(p.Slug)
			if err == nil && p.LastError == "" {
				t.Error("the policy does not hold its error")
			}
			p.Off = true
			return tx.PutPolicy(p)
		})
		w.settled(r.ID, runs.Applying) // autodeploy: nothing but the policy was missing
	})
}

// A task waits for the approval policy too, and a changed policy is asked anew.
func TestTasksAskApprovalPolicies(t *testing.T) {
	inBubble(t, func(w *world) {
		w.policies()
		st := w.stack("net")
		w.update(func(tx *store.Tx) error {
			st.TrackedCommit = runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}
			return tx.PutStack(st)
		})
		p := w.policy("No tasks", runs.PolicyApproval, `approve if input.run.command == "true"`)
		ask := func(command string) runs.Run {
			t.Helper()
			r, err := w.e.Trigger(t.Context(), st.Slug, Request{Type: runs.Task, Command: command, By: "ann", Author: ann})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		jobs := func() int {
			t.Helper()
			list, err := w.e.ready()
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		r := ask("false")
		time.Sleep(time.Minute)
		if jobs() != 0 {
			t.Error("a task begins that the policy does not approve")
		}
		w.update(func(tx *store.Tx) error {
			p.Body = strings.Replace(p.Body, `"true"`, `"false"`, 1)
			return tx.PutPolicy(p)
		})
		time.Sleep(time.Minute)
		if jobs() != 1 || w.run(r.ID).Unapproved {
			t.Error("the changed policy was not asked")
		}
	})
}

// Trigger policies start runs of other stacks, once, and never in a circle.
func TestTriggerPolicies(t *testing.T) {
	inBubble(t, func(w *world) {
		head := runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}
		for _, name := range []string{"net", "app", "fresh"} {
			st := w.stack(name)
			if name != "fresh" {
				st.TrackedCommit = head
				w.update(func(tx *store.Tx) error { return tx.PutStack(st) })
			}
		}
		w.policy("After net", runs.PolicyTrigger, `
			trigger contains slug if { input.run.state == "finished"; input.delta.add > 0; some slug in ["app", "fresh", "gone"] }`, "net")
		w.policy("After app", runs.PolicyTrigger, `trigger contains "net"`, "app")
		w.policies()
		finish := func(id string, auto bool) {
			t.Helper()
			w.apply(id, append(planned(runs.Delta{Add: 1}, true), runs.Done{})...)
		}
		first := w.request(runs.Run{Stack: "net", Type: runs.Tracked, Branch: "main", Commit: head, Author: ann})
		finish(first.ID, true)
		time.Sleep(time.Minute)
		app := w.newest("app")
		if app.Trigger != runs.ByPolicy || len(app.Chain) != 1 || app.Chain[0] != "net" || app.Author != ann || !strings.Contains(app.Reason, first.ID) {
			t.Fatalf("%+v", app)
		}
		finish(app.ID, true)
		time.Sleep(time.Hour)
		if again := w.newest("net"); again.ID != first.ID {
			t.Errorf("round in a circle: %+v", again)
		}
		for target, why := range map[string]string{"fresh": "nothing was pushed", "gone": "there is no such stack", "net": "circle"} {
			if !w.audited("policy.trigger_refused", target, why) {
				t.Errorf("that %s was not started is not said: %s", target, why)
			}
		}
		w.quiet()
	})
}

func (w *world) newest(slug string) (r runs.Run) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) (err error) { r, _, err = tx.LatestRun(slug); return err }); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) audited(action, target, note string) (found bool) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) error {
		page, _, err := tx.AuditSearch(store.AuditFilter{Action: action}, "", 100)
		for _, e := range page {
			found = found || e.Target == target && strings.Contains(e.Note, note)
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return found
}

// A plan that an approval policy rejects at once never waits: people are told that the run failed, and nothing else.
func TestARunRejectedAtOnceIsToldOnce(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("all")
		st := w.stack("net")
		w.policy("Never", runs.PolicyApproval, `reject contains "not here"`)
		r := w.request(runs.Run{Stack: st.Slug, Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}, Author: ann})
		r = w.apply(r.ID, planned(runs.Delta{}, false)[:3]...)
		at := &task{e: w.e, run: r, stack: st}
		r, err := at.judged(w.t.Context(), tofu.Work{}, runs.Delta{Add: 1}, "f")
		if err != nil || r.State != runs.Failed || !strings.Contains(r.Reason, "The policy “Never” rejects it: not here") || r.Delta == nil {
			t.Fatalf("%s (%s), %v", r.State, r.Reason, err)
		}
		time.Sleep(time.Minute)
		if got := b.at("all.example"); len(got) != 1 || !strings.Contains(got[0].body, "net: run failed") {
			t.Errorf("told: %+v", got)
		}
	})
}
