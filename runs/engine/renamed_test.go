package engine

import (
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/store"
)

// A stack that is renamed keeps its one comment, which says the new name. When the stack is deleted its comment says what became of
// the newest commit and stays; a new stack of the same name goes on with it.
func TestTheCommentOfARenamedOrDeletedStack(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.stack("network")
		sha := w.push("feature")
		mr := w.openMR("feature")
		r := w.propose("network", "feature", sha, mr)
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		st.Name = "Backbone"
		w.update(func(tx *store.Tx) error { return tx.PutStack(st) })
		next := w.propose("network", "feature", w.push("feature"), mr)
		w.told(next.ID, planned(runs.Delta{Change: 1}, false)...)
		notes := w.notes(mr.IID)
		if len(notes) != 1 || !strings.Contains(notes[0].Body, "Backbone: 0 to add, 1 to change") {
			t.Fatalf("after the new name: %+v", notes)
		}
		waits := w.propose("network", "feature", w.push("feature"), mr)
		w.quiet()
		w.update(func(tx *store.Tx) error { return tx.DeleteStack("network") })
		w.quiet()
		notes = w.notes(mr.IID)
		if len(notes) != 1 || !strings.Contains(notes[0].Body, "was not planned (canceled: the stack was deleted)") {
			t.Errorf("after the deletion: %+v", notes)
		}
		if got := w.status(w.run(waits.ID).Commit.SHA, "groundcrew/network"); got.State != "canceled" {
			t.Errorf("the status of the run that waited is %s", got.State)
		}
		w.stack("network")
		again := w.propose("network", "feature", w.push("feature"), mr)
		w.told(again.ID, planned(runs.Delta{Add: 7}, false)...)
		if notes = w.notes(mr.IID); len(notes) != 1 || !strings.Contains(notes[0].Body, "7 to add") {
			t.Errorf("a new stack of the name: %+v", notes)
		}
		w.unrefused()
	})
}

// Two merge requests of one commit have a thread each, and each is its own person's to resolve.
func TestThreadsOfTwoMergeRequestsOfOneCommit(t *testing.T) {
	inBubble(t, func(w *world) {
		w.relink(func(in *store.Integration) { in.DestroyThreads = true })
		w.stack("network")
		sha := w.push("one")
		first := w.openMR("one")
		r := w.propose("network", "one", sha, first)
		if err := w.sim.ForcePush(w.project.ID, "two", sha); err != nil {
			t.Fatal(err)
		}
		second := w.openMR("two")
		w.apply(r.ID, runs.LearnedMR{MR: *second})
		w.takes(r, "a.a")
		w.quiet()
		one, two := w.thread(first.IID), w.thread(second.IID)
		if one.Resolved || two.Resolved || one.Discussion == two.Discussion {
			t.Errorf("threads %+v, %+v", one, two)
		}
	})
}
