package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// listening is a world whose GitLab delivers nothing at all: what happens there is found by comparing, at start and every ten
// minutes.
func listening(t *testing.T, f func(w *world), with ...func(*sim.Options)) {
	t.Helper()
	inBubble(t, func(w *world) {
		w.listen()
		f(w)
	}, with...)
}

// listen starts the pumps that look and react, beside the outbox.
func (w *world) listen() {
	w.halt()
	w.e.lookAll()
	ctx, cancel := context.WithCancel(context.Background())
	for name, p := range map[string]struct {
		wake chan struct{}
		work func(context.Context) (time.Duration, error)
	}{"watch": {w.e.watchWake, w.e.watch}, "inbox": {w.e.inboxWake, w.e.inbox}, "outbox": {w.e.reportsWake, w.e.outbox}} {
		w.e.wg.Go(func() { w.e.pump(ctx, name, p.wake, p.work) })
	}
	w.stop = func() { cancel(); w.e.wg.Wait() }
	time.Sleep(time.Second)
}

// later lets the next comparison pass.
func (w *world) later() { time.Sleep(watchEvery + time.Minute) }

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// runsOf lists the runs of a type, oldest first.
func (w *world) runsOf(typ runs.Type) (list []runs.Run) {
	w.t.Helper()
	w.do(w.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		for _, st := range stacks {
			page, _, err := tx.Runs(store.RunFilter{Stack: st.Slug, Types: []runs.Type{typ}}, "", 100)
			if err != nil {
				return err
			}
			list = append(list, page...)
		}
		return err
	}))
	slices.Reverse(list)
	return list
}

// found counts the events that were found by comparing.
func (w *world) found() (n int) {
	w.t.Helper()
	w.do(w.st.View(func(tx *store.Tx) error {
		watch, _, err := tx.Watch(w.project.ID)
		n = watch.Recovered
		return err
	}))
	return n
}

// saysFound holds a run to what it has to say of how it came to be.
func (w *world) saysFound(r runs.Run) {
	w.t.Helper()
	if r.Trigger != runs.ByComparison || len(r.Transitions) == 0 || !strings.Contains(r.Transitions[0].Note, "missed by the hook, found by comparison") {
		w.t.Errorf("the run says %q and %+v", r.Trigger, r.Transitions)
	}
}

// TestMissedPushesAreFound: of tracked branches, whatever the number of refs in the push, once each; a branch deleted and made
// again is a push. At start and by the clock.
func TestMissedPushesAreFound(t *testing.T) {
	listening(t, func(w *world) {
		w.stack("network")
		w.later()
		first := w.push("main")
		w.later()
		if list := w.runsOf(runs.Tracked); len(list) != 1 || list[0].Commit.SHA != first {
			t.Fatalf("runs %+v", list)
		}
		w.saysFound(w.runsOf(runs.Tracked)[0])
		// five branches in one push: GitLab sends nothing for any of them
		w.do(w.sim.PushMany(w.project.ID, []string{"main", "b", "c", "d", "e"}, "Many", map[string]string{"y.tf": "1"}))
		w.later()
		if list := w.runsOf(runs.Tracked); len(list) != 2 || list[1].Commit.SHA != w.sim.Head(w.project.ID, "main") {
			t.Errorf("runs %+v", list)
		}
		w.later() // nothing new is nothing new
		if n := w.found(); n != 2 {
			t.Errorf("%d events found, want 2", n)
		}
		// while the server is off
		w.halt()
		second := w.push("main")
		w.listen()
		if list := w.runsOf(runs.Tracked); len(list) != 3 || list[2].Commit.SHA != second {
			t.Errorf("runs after the start %+v", list)
		}
		w.do(w.sim.DeleteBranch(w.project.ID, "main"))
		w.later()
		if words := w.watched().Trouble; !strings.Contains(words, "The branch main") {
			t.Errorf("trouble %q", words)
		}
		w.do(w.sim.ForcePush(w.project.ID, "main", first))
		w.later()
		if w.watched().Trouble != "" || w.found() != 4 {
			t.Errorf("trouble %q, %d found", w.watched().Trouble, w.found())
		}
	})
}

func (w *world) watched() (watch store.Watch) {
	w.t.Helper()
	w.do(w.st.View(func(tx *store.Tx) (err error) { watch, _, err = tx.Watch(w.project.ID); return err }))
	return watch
}

// TestMissedTagsAreFound: where a stack releases from tags; what was there before the stack is no news, nor is a deleted tag.
func TestMissedTagsAreFound(t *testing.T) {
	listening(t, func(w *world) {
		w.do(w.sim.CreateTag(w.project.ID, "v0", "main", "before"))
		st := w.stack("network")
		w.update(func(tx *store.Tx) error {
			st.ReleaseTags = "v*"
			return tx.PutStack(st)
		})
		w.later()
		sha := w.push("main")
		w.do(w.sim.CreateTag(w.project.ID, "v1", sha, "annotated"))
		w.do(w.sim.CreateTag(w.project.ID, "other", sha, ""))
		w.later()
		list := w.runsOf(runs.Tracked)
		if len(list) != 1 || list[0].Commit.SHA != sha || !strings.HasPrefix(list[0].Transitions[0].Note, "tag v1, ") {
			t.Fatalf("runs %+v", list)
		}
		w.saysFound(list[0])
		w.do(w.sim.DeleteTag(w.project.ID, "v1"))
		w.later()
		if n := len(w.runsOf(runs.Tracked)); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

// TestMissedMergeRequestsAreFound: opened, pushed to, closed, opened again and merged while no hook was sent. Drafts are like
// others; what comes from a fork is held.
func TestMissedMergeRequestsAreFound(t *testing.T) {
	listening(t, func(w *world) {
		w.stack("network")
		w.later()
		first := w.push("feature")
		mr := w.openMR("feature")
		w.later()
		list := w.runsOf(runs.Proposed)
		if len(list) != 1 || list[0].Commit.SHA != first || list[0].MR == nil || list[0].MR.IID != mr.IID {
			t.Fatalf("runs %+v", list)
		}
		w.saysFound(list[0])
		second := w.push("feature")
		w.later()
		if list = w.runsOf(runs.Proposed); len(list) != 2 || list[1].Commit.SHA != second || list[0].State != runs.Canceled {
			t.Fatalf("runs after the update %+v", list)
		}
		w.do(w.sim.CloseMergeRequest(w.project.ID, mr.IID, 0))
		w.later()
		if r := w.run(list[1].ID); r.State != runs.Canceled || r.Reason != "the merge request was closed" {
			t.Errorf("the run of a closed merge request is %s (%s)", r.State, r.Reason)
		}
		w.do(w.sim.ReopenMergeRequest(w.project.ID, mr.IID, 0))
		w.later()
		if n := len(w.runsOf(runs.Proposed)); n != 3 {
			t.Errorf("%d runs after it was opened again", n)
		}
		if _, err := w.sim.MergeMergeRequest(w.project.ID, mr.IID, 0); err != nil {
			t.Fatal(err)
		}
		w.later()
		if list := w.runsOf(runs.Tracked); len(list) != 1 || list[0].Commit.SHA != w.sim.Head(w.project.ID, "main") {
			t.Errorf("runs of the merge %+v", list)
		}
		w.quiet()
		w.unrefused()
	})
}

// TestMergeRequestBeingPreparedIsLeftForLater: while GitLab makes its diff no file is known, which would mean all stacks (GOTCHAS 23).
func TestMergeRequestBeingPreparedIsLeftForLater(t *testing.T) {
	listening(t, func(w *world) {
		w.stack("network")
		w.stack("edge")
		w.update(func(tx *store.Tx) error {
			st, err := tx.Stack("edge")
			st.ProjectRoot = "edge"
			return errors.Join(err, tx.PutStack(st))
		})
		w.later()
		sha := w.push("feature")
		iid, err := w.sim.OpenMergeRequest(w.project.ID, "feature", "main", "Merge feature", 0)
		w.do(err)
		w.later()
		if _, err := w.e.mergeRequestFiles(context.Background(), w.project.ID, iid); !gitlab.KindOf(err).Temporary() {
			t.Errorf("the files of a merge request being prepared: %v", err)
		}
		if list := w.runsOf(runs.Proposed); len(list) != 0 || w.found() != 0 {
			t.Fatalf("while it is prepared: %d events, runs %+v", w.found(), list)
		}
		w.sim.WaitHooks()
		w.later()
		if list := w.runsOf(runs.Proposed); len(list) != 1 || list[0].Commit.SHA != sha || list[0].Stack != "network" {
			t.Errorf("runs %+v", list)
		}
		w.quiet()
		w.unrefused()
	}, func(o *sim.Options) { o.PrepareDelay = 2 * watchEvery })
}

func TestMissedDraftsAndForksAreFound(t *testing.T) {
	listening(t, func(w *world) {
		w.stack("network")
		w.later()
		w.push("draft")
		if _, err := w.sim.OpenMergeRequest(w.project.ID, "draft", "main", "Draft: not yet", 0); err != nil {
			t.Fatal(err)
		}
		fork, err := w.sim.AddFork(w.project.ID, "stranger/network")
		w.do(err)
		evil, err := w.sim.Push(fork.ID, "evil", "From outside", map[string]string{"x.tf": "evil"})
		w.do(err)
		iid, err := w.sim.OpenForkMergeRequest(w.project.ID, fork.ID, "evil", "main", "From outside", 0)
		w.do(err)
		w.sim.WaitHooks()
		w.later()
		if list := w.runsOf(runs.Proposed); len(list) != 1 || list[0].Branch != "draft" {
			t.Errorf("runs %+v", list)
		}
		w.do(w.st.View(func(tx *store.Tx) error {
			mr, _, err := tx.MergeRequest(w.project.ID, iid)
			if mr.Held != evil {
				t.Errorf("the fork's commit is not held: %+v", mr)
			}
			return err
		}))
	})
}

// TestALateDeliveryDoublesNothing: what was found by comparing and is delivered after all, in any order.
func TestALateDeliveryDoublesNothing(t *testing.T) {
	listening(t, func(w *world) {
		w.stack("network")
		w.later()
		before := w.sim.Head(w.project.ID, "main")
		one := w.push("main")
		two := w.push("main")
		head := w.push("feature")
		mr := w.openMR("feature")
		w.later()
		if tracked, proposed := len(w.runsOf(runs.Tracked)), len(w.runsOf(runs.Proposed)); tracked != 1 || proposed != 1 {
			t.Fatalf("%d tracked and %d proposed runs", tracked, proposed)
		}
		project := fmt.Sprintf(`"project_id":%d,"project":{"id":%[1]d,"path_with_namespace":%q,"default_branch":"main"}`, w.project.ID, w.project.Path)
		push := func(ref, from, to string) string {
			return fmt.Sprintf(`{"object_kind":"push","ref":%q,"before":%q,"after":%q,"checkout_sha":%[3]q,%s,"total_commits_count":1,"commits":[{"id":%[3]q,"title":"t","added":["x.tf"]}]}`, ref, from, to, project)
		}
		for i, body := range []string{
			push("refs/heads/main", one, two), push("refs/heads/main", before, one), push("refs/heads/feature", nowhere, head),
			fmt.Sprintf(`{"object_kind":"merge_request",%s,"object_attributes":{"iid":%d,"state":"opened","action":"open","source_branch":"feature","target_branch":"main","source_project_id":%[3]d,"target_project_id":%[3]d,"last_commit":{"id":%q}}}`,
				project, mr.IID, w.project.ID, head),
		} {
			d := store.Delivery{Event: "Push Hook", ProjectID: w.project.ID, Key: fmt.Sprint("late", i), ReceivedAt: time.Now(), Headers: map[string]string{"X-Gitlab-Event": "Push Hook"}}
			_, _, err := w.st.AddDelivery(d, []byte(body))
			w.do(err)
		}
		w.later()
		if tracked, proposed := len(w.runsOf(runs.Tracked)), len(w.runsOf(runs.Proposed)); tracked != 1 || proposed != 1 {
			t.Errorf("%d tracked and %d proposed runs after the late deliveries", tracked, proposed)
		}
		if n := w.found(); n != 2 {
			t.Errorf("%d events found, want the branch and the merge request", n)
		}
	})
}

// TestAComparisonCostsFewRequests: four for a project where nothing happened, and none while deliveries wait.
func TestAComparisonCostsFewRequests(t *testing.T) {
	listening(t, func(w *world) {
		st := w.stack("network")
		w.update(func(tx *store.Tx) error {
			st.ReleaseTags = "v*"
			return tx.PutStack(st)
		})
		w.later()
		before := len(w.sim.Requests())
		time.Sleep(watchEvery)
		if n := len(w.sim.Requests()) - before; n > 4 {
			t.Errorf("%d requests: %v", n, w.sim.Requests()[before:])
		}
	})
}

// TestRefusedForASharedReasonComesBack: what GitLab refuses while a project is archived or gone is told when it is back.
func TestRefusedForASharedReasonComesBack(t *testing.T) {
	for what, c := range map[string]struct {
		off, on func(w *world) error
		words   string
	}{
		"archived": {
			func(w *world) error {
				return w.sim.Configure(w.project.ID, func(s *sim.Settings) { s.Archived = true })
			},
			func(w *world) error {
				return w.sim.Configure(w.project.ID, func(s *sim.Settings) { s.Archived = false })
			},
			"is archived",
		},
		"deleted": {
			func(w *world) error { return w.sim.DeleteProject(w.project.ID) },
			func(w *world) error { return w.sim.RestoreProject(w.project.ID) },
			"does not show the project",
		},
	} {
		t.Run(what, func(t *testing.T) {
			listening(t, func(w *world) {
				w.stack("network")
				sha := w.push("feature")
				w.later()
				w.do(c.off(w))
				r := w.propose("network", "feature", sha, nil)
				w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
				time.Sleep(time.Minute)
				if words := w.watched().Trouble; !strings.Contains(words, c.words) {
					t.Errorf("trouble %q", words)
				}
				before := len(w.sim.Refused())
				time.Sleep(time.Hour)
				if n := len(w.sim.Refused()) - before; n > 10 { // the look every ten minutes is refused where the project is gone
					t.Errorf("%d refused requests in an hour", n)
				}
				w.do(c.on(w))
				w.later()
				w.quiet()
				if st := w.status(sha, "groundcrew/network"); st.State != "success" {
					t.Errorf("the status is %+v", st)
				}
				if w.watched().Trouble != "" {
					t.Errorf("still trouble: %q", w.watched().Trouble)
				}
			})
		})
	}
}

// TestDeliveredDuringTheLook: what GitLab delivers while a comparison asks it was not missed, whether the delivery still waits when the
// comparison has its answers or was processed by then.
func TestDeliveredDuringTheLook(t *testing.T) {
	for name, processed := range map[string]bool{"waits": false, "processed": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.stack("network")
				ctx := w.t.Context()
				c, err := w.e.linkedClient()
				w.do(err)
				_, err = w.e.compare(ctx, c, w.project.ID) // what is there is known
				w.do(err)
				before := w.sim.Head(w.project.ID, "main")
				after := w.push("main")
				var d store.Delivery
				w.trouble(func(r *http.Request) *http.Response {
					if d.ID == "" && strings.HasSuffix(r.URL.Path, "/merge_requests") { // asked for last: the branch is found by now
						d = w.pushed("main", before, after)
						if processed {
							_, err := w.e.process(ctx, d.ID)
							w.do(err)
						}
					}
					return nil
				})
				wait, err := w.e.compare(ctx, c, w.project.ID)
				if err != nil || wait == processed || d.ID == "" {
					t.Fatalf("wait %v, delivery %q, %v", wait, d.ID, err)
				}
				if n := w.found(); n != 0 || w.e.wanted(w.project.ID) != wait {
					t.Errorf("%d events found, wanted again %v", n, w.e.wanted(w.project.ID))
				}
				_, err = w.e.process(ctx, d.ID)
				w.do(err)
				wait, err = w.e.compare(ctx, c, w.project.ID)
				if err != nil || wait || w.found() != 0 {
					t.Errorf("wait %v, %d events found, %v", wait, w.found(), err)
				}
				if list := w.runsOf(runs.Tracked); len(list) != 1 || list[0].Trigger == runs.ByComparison {
					t.Errorf("%+v", list)
				}
			})
		})
	}
}

// TestWaitingDeliveriesAreOpenedWhenAProjectIsDue, and not at every look: there may be thousands.
func TestWaitingDeliveriesAreOpenedWhenAProjectIsDue(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		watch := func() time.Duration {
			t.Helper()
			next, err := w.e.watch(w.t.Context())
			w.do(err)
			return next
		}
		watch()
		d, _, err := w.st.AddDelivery(store.Delivery{Event: "Push Hook"}, make([]byte, 200<<10)) // in a file
		w.do(err)
		w.do(w.st.Remove("deliveries", d.ID))
		w.do(os.Mkdir(w.st.Path("deliveries", d.ID), 0o700)) // which cannot be read
		if next := watch(); next != idle {
			t.Errorf("nothing is due, and the next look is in %s", next)
		}
		time.Sleep(watchEvery)
		if _, err := w.e.watch(w.t.Context()); err == nil {
			t.Error("a project is due, and what waits was not opened")
		}
		w.do(os.Remove(w.st.Path("deliveries", d.ID)))
		w.pushed("main", sha("a", 1), sha("a", 2))
		if next := watch(); next != lookAgain {
			t.Errorf("a delivery of the project waits, and the next look is in %s", next)
		}
	})
}
