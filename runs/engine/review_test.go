package engine

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// people of a world who can review.
var (
	ann = runs.Person{GitLab: 901}
	bob = runs.Person{GitLab: 902}
	cyd = runs.Person{GitLab: 903}
)

// guarded is a stack that asks for approvals.
func (w *world) guarded(name string, need int, more ...func(*runs.Stack)) runs.Stack {
	w.t.Helper()
	st := w.stack(name)
	st.Approvals = need
	for _, f := range more {
		f(&st)
	}
	w.update(func(tx *store.Tx) error { return tx.PutStack(st) })
	return st
}

func autodeploys(st *runs.Stack) { st.Autodeploy = true }

// waiting is a tracked run of the stack that ann started, with a plan that waits.
func (w *world) planWaits(st runs.Stack, warnings ...string) runs.Run {
	w.t.Helper()
	r := w.request(runs.Run{Stack: st.Slug, Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}, Author: ann})
	events := planned(runs.Delta{Add: 1}, false)
	events[3] = runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: "f", Unapproved: true, Warnings: warnings}
	return w.apply(r.ID, events...)
}

func (w *world) review(r runs.Run, who runs.Person, name string, d runs.Decision) (runs.Run, error) {
	return w.e.Review(w.t.Context(), r.ID, who, name, d, "as discussed", "")
}

func (w *world) mustReview(r runs.Run, who runs.Person, name string, d runs.Decision) runs.Run {
	w.t.Helper()
	r, err := w.review(r, who, name, d)
	if err != nil {
		w.t.Fatalf("%s cannot %s: %v", name, d, err)
	}
	return r
}

// wantConflict: the error is a conflict that says all of it.
func wantConflict(t *testing.T, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, runs.ErrConflict) {
		t.Fatalf("%v is no conflict", err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

// Two people other than the author have to approve; then anybody may confirm, and what was approved is used up.
func TestApprovalsOpenTheWayOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 2)
		r := w.planWaits(st)
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "not approved yet", "0 of 2 approvals")
		if _, err := w.review(r, ann, "ann", runs.Approve); !errors.Is(err, runs.ErrForbidden) {
			t.Errorf("the author's approval: %v", err)
		}
		w.mustReview(r, bob, "bob", runs.Approve)
		w.mustReview(r, bob, "bob", runs.Approve)
		_, err = w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "1 of 2 approvals (bob)")
		if got := w.mustReview(r, cyd, "cyd", runs.Approve); got.Unapproved || got.State != runs.Unconfirmed {
			t.Errorf("after two approvals: %s, unapproved %v", got.State, got.Unapproved)
		}
		w.mustReview(r, bob, "bob", runs.Reject)
		_, err = w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "rejected by bob (as discussed)")
		w.mustReview(r, bob, "bob", runs.Approve)
		done, err := w.e.Confirm(r.ID, "ann")
		if err != nil || done.State != runs.Confirmed || len(done.Reviews) != 2 {
			t.Fatalf("%v: %s with %d reviews", err, done.State, len(done.Reviews))
		}
		w.apply(r.ID, runs.Claimed{}, runs.Done{})
		again := w.planWaits(st)
		_, err = w.e.Confirm(again.ID, "ann")
		wantConflict(t, err, "0 of 2 approvals")
		w.quiet()
		w.unrefused()
	})
}

// What GitLab says of a run tells an approval from a confirmation.
func TestGitLabShowsWhatIsMissing(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.planWaits(w.guarded("net", 1))
		w.quiet()
		sha := r.Commit.SHA
		if s := w.status(sha, "groundcrew/net"); s.State != "pending" || !strings.HasPrefix(s.Description, "Waiting for approval: 1 to add") {
			t.Errorf("%s %q", s.State, s.Description)
		}
		w.mustReview(r, bob, "bob", runs.Approve)
		w.quiet()
		if s := w.status(sha, "groundcrew/net"); s.State != "pending" || !strings.HasPrefix(s.Description, "Waiting for confirmation: 1 to add") {
			t.Errorf("%s %q", s.State, s.Description)
		}
		w.unrefused()
	})
}

// A plan with the same effect has the approvals already, whatever commit it is of; one with another effect has none.
func TestApprovalsAreOfTheEffect(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		first := w.request(runs.Run{Stack: st.Slug, Type: runs.Proposed, Branch: "feature", Commit: runs.Commit{SHA: w.push("feature")}, Author: ann})
		first = w.apply(first.ID, planned(runs.Delta{Add: 1}, false)...)
		w.mustReview(first, bob, "bob", runs.Approve)
		if got := w.run(first.ID); got.State != runs.Finished || len(got.Transitions) != len(first.Transitions) {
			t.Errorf("the review moved a run that had ended: %+v", got.Transitions)
		}
		r := w.planWaits(st)
		if _, err := w.e.Confirm(r.ID, "ann"); err != nil {
			t.Errorf("the same effect: %v", err)
		}
		w.apply(r.ID, runs.Claimed{}, runs.Done{})
		other := w.request(runs.Run{Stack: st.Slug, Type: runs.Tracked, Branch: "main", Commit: r.Commit, Author: ann})
		events := planned(runs.Delta{Add: 1}, false)
		events[3] = runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: "another"}
		w.apply(other.ID, events...)
		_, err := w.e.Confirm(other.ID, "ann")
		wantConflict(t, err, "0 of 1 approval")
		w.quiet()
	})
}

// Who wrote a merge request cannot approve what it brought, whoever merged it, nor can those who pushed to it.
func TestAuthorsOfAMergeRequestCannotApprove(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		writer := w.sim.AddUser("writer", "Writer", false)
		w.sim.AddMember(w.project.ID, writer.ID, sim.Developer)
		sha := w.push("feature")
		iid, err := w.sim.OpenMergeRequest(w.project.ID, "feature", "main", "Feature", writer.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.sim.WaitHooks()
		link := &runs.MergeRequest{IID: iid, SourceBranch: "feature", TargetBranch: "main"}
		proposed := w.request(runs.Run{Stack: st.Slug, Type: runs.Proposed, Branch: "feature", Commit: runs.Commit{SHA: sha}, MR: link, Author: cyd})
		w.apply(proposed.ID, planned(runs.Delta{Add: 1}, false)...)
		if _, err := w.sim.MergeMergeRequest(w.project.ID, iid, 0); err != nil {
			t.Fatal(err)
		}
		w.sim.WaitHooks()
		r := w.planWaits(st) // ann merged it
		for name, who := range map[string]runs.Person{"writer": {User: "u-w", GitLab: writer.ID}, "cyd": cyd, "ann": ann} {
			if _, err := w.review(r, who, name, runs.Approve); !errors.Is(err, runs.ErrForbidden) {
				t.Errorf("%s approves their own work: %v", name, err)
			}
		}
		w.trouble(func(*http.Request) *http.Response { return refused })
		if _, err := w.review(r, bob, "bob", runs.Approve); err == nil {
			t.Error("approved without knowing who wrote it")
		}
		w.trouble(nil)
		w.mustReview(r, bob, "bob", runs.Approve)
		w.quiet()
	})
}

// With autodeploy nothing but the approvals was missing: the last one applies, unless the plan warns, the stack is locked, or what
// was planned is not what would happen any more.
func TestTheLastApprovalDeploys(t *testing.T) {
	for name, tc := range map[string]struct {
		warning string
		before  func(w *world, st runs.Stack)
		want    runs.State
	}{
		"all is well":             {want: runs.Applying},
		"a warning":               {warning: "deprecated", want: runs.Unconfirmed},
		"locked":                  {before: func(w *world, st runs.Stack) { _, _ = w.e.Lock(st.Slug, "eve", "") }, want: runs.Unconfirmed},
		"the state moved on":      {before: func(w *world, st runs.Stack) { w.addState(st) }, want: runs.Queued},
		"switched off meanwhile":  {before: func(w *world, st runs.Stack) { w.edit(st, func(s *runs.Stack) { s.Autodeploy = false }) }, want: runs.Unconfirmed},
		"one more is asked for":   {before: func(w *world, st runs.Stack) { w.edit(st, func(s *runs.Stack) { s.Approvals = 2 }) }, want: runs.Unconfirmed},
		"nobody is asked anymore": {before: func(w *world, st runs.Stack) { w.edit(st, func(s *runs.Stack) { s.Approvals = 0 }) }, want: runs.Applying},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				st := w.guarded("net", 1, autodeploys)
				var warnings []string
				if tc.warning != "" {
					warnings = []string{tc.warning}
				}
				r := w.planWaits(st, warnings...)
				if tc.before != nil {
					tc.before(w, st)
				}
				if now := w.run(r.ID); now.State == runs.Unconfirmed {
					w.mustReview(r, bob, "bob", runs.Approve)
				}
				if got := w.run(r.ID); got.State != tc.want {
					t.Errorf("the run is %s, want %s: %+v", got.State, tc.want, got.Transitions)
				}
				w.quiet()
			})
		})
	}
}

func (w *world) edit(st runs.Stack, f func(*runs.Stack)) {
	w.t.Helper()
	if _, err := w.e.editStack(st.Slug, "eve", "stack.update", "", func(s *runs.Stack) error { f(s); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) addState(st runs.Stack) {
	w.t.Helper()
	v, err := w.st.WriteState(st.Slug, []byte(`{"version":4,"serial":1,"lineage":"l"}`))
	if err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error { _, err := tx.AddStateVersion(st.Slug, v); return err })
}

// A discarded plan takes its reviews with it.
func TestReviewsEnd(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		r := w.planWaits(st)
		w.mustReview(r, bob, "bob", runs.Reject)
		if _, err := w.e.Discard(r.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
		r = w.planWaits(st)
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "0 of 1 approval")
	})
}

const aMonth = store.KeepReviews + 24*time.Hour

// forgets holds the nightly pruning of reviews to how many it forgets.
func (w *world) forgets(want int) {
	w.t.Helper()
	if n, err := w.st.PruneReviews(); n != want || err != nil {
		w.t.Errorf("%d reviews forgotten, %v, want %d", n, err, want)
	}
}

// What people said of a plan that waits counts however long it waits, a no as much as a yes.
func TestReviewsOfWhatWaitsStay(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		r := w.planWaits(st)
		w.mustReview(r, bob, "bob", runs.Reject)
		w.mustReview(r, cyd, "cyd", runs.Approve)
		time.Sleep(aMonth)
		w.forgets(0)
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "It is rejected: rejected by bob", "1 of 1 approval (cyd)")
		w.mustReview(r, bob, "bob", runs.Approve)
		time.Sleep(aMonth)
		w.forgets(0)
		if _, err := w.e.Confirm(r.ID, "ann"); err != nil {
			t.Error(err)
		}
	})
}

// What was rejected in a merge request stays so as long as it can be merged, and after the merge until it is applied; once it is
// closed and something else was applied, it is forgotten with its age.
func TestReviewsOfWhatCanComeBackStay(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 0)
		var mr *runs.MergeRequest
		show := func(fingerprint string) runs.Run {
			t.Helper()
			r := w.propose(st.Slug, "feature", w.push("feature"), mr)
			events := planned(runs.Delta{Add: 1}, false)
			events[3] = runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: fingerprint}
			return w.apply(r.ID, events...)
		}
		state := func(s string) {
			w.update(func(tx *store.Tx) error {
				return tx.PutMergeRequest(store.MergeRequest{Project: w.project.ID, State: s, MergeRequest: *mr})
			})
		}
		applyAnother := func() {
			w.apply(w.track(st.Slug, w.push("main")).ID, append(planned(runs.Delta{Add: 1}, true), runs.Done{Meta: runs.Meta{At: time.Now()}})...)
		}
		w.push("feature")
		mr = w.openMR("feature")
		state("opened")
		w.edit(st, func(s *runs.Stack) { s.Approvals = 1 })
		r := show("theirs")
		w.mustReview(r, bob, "bob", runs.Reject)
		show("another")
		w.edit(st, func(s *runs.Stack) { s.Approvals = 0 })
		time.Sleep(time.Hour)
		state("closed")
		w.apply(w.track(st.Slug, w.push("main")).ID, append(planned(runs.Delta{}, false)[:3], runs.Planned{Meta: runs.Meta{At: time.Now()}, Fingerprint: "f"})...)
		time.Sleep(aMonth)
		w.forgets(0) // a run without changes applied nothing
		state("opened")
		applyAnother()
		time.Sleep(aMonth)
		w.forgets(0) // the merge request is open
		state("closed")
		queued := w.track(st.Slug, w.push("main"))
		w.forgets(0) // what is on its way may come to the same
		w.apply(queued.ID, runs.Cancel{})
		w.forgets(1)

		state("opened")
		w.edit(st, func(s *runs.Stack) { s.Approvals = 1 })
		r = show("theirs")
		w.mustReview(r, bob, "bob", runs.Reject)
		state("merged")
		time.Sleep(aMonth)
		w.forgets(0) // nothing was applied since
		tracked := w.track(st.Slug, w.push("main"))
		events := planned(runs.Delta{Add: 1}, false)
		events[3] = runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: "theirs", Unapproved: true}
		w.apply(tracked.ID, events...)
		_, err := w.e.Confirm(tracked.ID, "ann")
		wantConflict(t, err, "rejected by bob")
	})
}

// A task that somebody has to approve does not begin before, and what was approved is that command at that commit.
func TestTasksWaitForApproval(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		w.edit(st, func(s *runs.Stack) { s.TrackedCommit = runs.Commit{SHA: w.sim.Head(w.project.ID, "main")} })
		ask := func(command string) runs.Run {
			t.Helper()
			r, err := w.e.Trigger(t.Context(), st.Slug, Request{Type: runs.Task, Command: command, By: "ann", Author: ann, Trigger: runs.ByPerson})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		ready := func() int {
			t.Helper()
			jobs, err := w.e.ready()
			if err != nil {
				t.Fatal(err)
			}
			return len(jobs)
		}
		r := ask("true")
		if !r.Unapproved || ready() != 0 {
			t.Fatalf("unapproved %v, %d jobs ready", r.Unapproved, ready())
		}
		w.wantWaits(r, "waits for approval: 0 of 1 approval")
		if _, err := w.review(r, ann, "ann", runs.Approve); !errors.Is(err, runs.ErrForbidden) {
			t.Errorf("who started it approves: %v", err)
		}
		w.mustReview(r, bob, "bob", runs.Approve)
		if ready() != 1 {
			t.Errorf("%d jobs ready after the approval", ready())
		}
		jobs, err := w.e.ready()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.e.claim(jobs[0]); err != nil {
			t.Fatal(err)
		}
		if got := w.run(r.ID); got.State != runs.Preparing || len(got.Reviews) != 1 {
			t.Errorf("%s with %d reviews", got.State, len(got.Reviews))
		}
		w.apply(r.ID, runs.Lost{}) // before it performed anything: the approval is still this run's
		if ready() != 1 {
			t.Error("a lost task has to be approved once more")
		}
		if _, err := w.e.Discard(r.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
		if other := ask("false"); !other.Unapproved || ready() != 0 {
			t.Error("another command has the approval of the first one")
		}
	})
}

func (w *world) wantWaits(r runs.Run, want string) {
	w.t.Helper()
	err := w.st.View(func(tx *store.Tx) error {
		q, err := w.e.Queue(tx)
		if err != nil {
			return err
		}
		text, _, err := q.Waiting(r)
		if text != want {
			w.t.Errorf("it %q, want %q", text, want)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Who cannot be reviewed says why.
func TestWhatCannotBeReviewed(t *testing.T) {
	inBubble(t, func(w *world) {
		free := w.planWaits(w.stack("free"))
		_, err := w.review(free, bob, "bob", runs.Approve)
		wantConflict(t, err, "asks for no approvals")
		st := w.guarded("net", 1)
		r := w.request(runs.Run{Stack: st.Slug, Type: runs.Tracked, Branch: "main", Commit: free.Commit})
		_, err = w.review(r, bob, "bob", runs.Approve)
		wantConflict(t, err, "The run is queued")
		w.apply(r.ID, planned(runs.Delta{}, false)...)
		_, err = w.review(r, bob, "bob", runs.Reject)
		wantConflict(t, err, "changes nothing")
		if _, err := w.e.Review(t.Context(), "01", bob, "bob", runs.Approve, "", ""); !errors.Is(err, runs.ErrNotFound) {
			t.Errorf("a run that is not there: %v", err)
		}
		if _, err := w.e.Review(t.Context(), w.planWaits(st).ID, bob, "bob", "perhaps", "", ""); !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("no decision: %v", err)
		}
		w.quiet()
	})
}

// user makes somebody with an account here.
func (w *world) user(name string, gitlab int64) (store.User, runs.Person) {
	w.t.Helper()
	u := store.User{Name: name, Role: store.Writer, GitLabID: gitlab}
	w.update(func(tx *store.Tx) (err error) {
		u, err = tx.PutUser(u)
		return err
	})
	return u, runs.Person{User: u.ID, GitLab: gitlab}
}

// Where an author is known only in GitLab, or not at all, one more person has to approve: then one of them is somebody else.
func TestAnAuthorNobodyKnowsCountsAmongThoseWhoApprove(t *testing.T) {
	for name, tc := range map[string]struct {
		author runs.Person
		bob    int64 // bob's account in GitLab
		need   int
	}{
		"known by GitLab, and so is who approves": {ann, 902, 1},
		"known by GitLab, who approves is not":    {ann, 0, 2},
		"known to nobody":                         {runs.Person{}, 902, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				st := w.guarded("net", 1)
				_, bob := w.user("bob", tc.bob)
				_, eve := w.user("eve", 0)
				r := w.planBy(st, tc.author)
				w.mustReview(r, bob, "bob", runs.Approve)
				_, err := w.e.Confirm(r.ID, "x")
				if tc.need == 1 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantConflict(t, err, "1 of 2 approvals (bob)", "1 more than the stack asks for")
				w.mustReview(r, eve, "eve", runs.Approve)
				if _, err := w.e.Confirm(r.ID, "x"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// planBy is a tracked run that somebody set off, with a plan that waits.
func (w *world) planBy(st runs.Stack, who runs.Person) runs.Run {
	w.t.Helper()
	r := w.request(runs.Run{Stack: st.Slug, Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}, Author: who})
	events := planned(runs.Delta{Add: 1}, false)
	events[3] = runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: "f", Unapproved: true}
	return w.apply(r.ID, events...)
}

// What was discarded is in the next plan all the same, and so are its authors; what was applied is not.
func TestAuthorsOfWhatWasNotAppliedStayAuthors(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		first := w.planBy(st, ann)
		if _, err := w.e.Discard(first.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
		second := w.planBy(st, bob)
		if _, err := w.review(second, ann, "ann", runs.Approve); !errors.Is(err, runs.ErrForbidden) {
			t.Errorf("ann approves what she pushed: %v", err)
		}
		w.mustReview(second, cyd, "cyd", runs.Approve)
		if _, err := w.e.Confirm(second.ID, "bob"); err != nil {
			t.Fatal(err)
		}
		w.apply(second.ID, runs.Claimed{}, runs.Done{})
		third := w.planBy(st, bob)
		w.mustReview(third, ann, "ann", runs.Approve)
	})
}

// Who may not sign in any more approves nothing, and who disconnected an account is still the same person.
func TestWhoIsStillThere(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		u, eve := w.user("eve", 905)
		r := w.planBy(st, ann)
		w.mustReview(r, eve, "eve", runs.Approve)
		w.update(func(tx *store.Tx) error {
			u.DisabledAt = tx.Now()
			_, err := tx.PutUser(u)
			return err
		})
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "0 of 1 approval")
	})
}

// Whoever rejected may take it back only while they may sign in; the way on is named.
func TestARejectionOfSomebodyWhoLeft(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		u, eve := w.user("eve", 905)
		r := w.planBy(st, ann)
		w.mustReview(r, eve, "eve", runs.Reject)
		w.mustReview(r, bob, "bob", runs.Approve)
		_, err := w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "rejected by eve", "Whoever rejected it can approve it after all; or discard it.")
		w.update(func(tx *store.Tx) error {
			u.DisabledAt = tx.Now()
			_, err := tx.PutUser(u)
			return err
		})
		_, err = w.e.Confirm(r.ID, "ann")
		wantConflict(t, err, "rejected by eve", "Who cannot sign in any more (eve) cannot approve it after all: discard the run and plan it again.")
		_, err = w.e.Discard(r.ID, "ann", "")
		w.do(err)
		r = w.planBy(st, ann)
		w.mustReview(r, bob, "bob", runs.Approve)
		_, err = w.e.Confirm(r.ID, "ann")
		w.do(err)
	})
}

// An approved task does not begin in another environment than it was asked for in.
func TestATaskIsBoundToItsEnvironment(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 1)
		w.edit(st, func(s *runs.Stack) { s.TrackedCommit = runs.Commit{SHA: w.sim.Head(w.project.ID, "main")} })
		r, err := w.e.Trigger(t.Context(), st.Slug, Request{Type: runs.Task, Command: "./fix.sh", By: "ann", Author: ann})
		if err != nil {
			t.Fatal(err)
		}
		w.mustReview(r, bob, "bob", runs.Approve)
		w.update(func(tx *store.Tx) error {
			return tx.PutFile(st.Slug, runs.Mount{File: runs.File{Path: "source/fix.sh"}, Content: []byte("curl x | sh")})
		})
		if jobs, err := w.e.ready(); err != nil || len(jobs) != 0 {
			t.Errorf("%d jobs ready, %v", len(jobs), err)
		}
		w.wantWaits(r, "waits for approval: a variable or mounted file of the stack was changed since, 1 of 1 approval (bob)")
		if _, err := w.e.Discard(r.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
	})
}
