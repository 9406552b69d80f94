package engine

import (
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// reports counts the rows of each kind.
func (w *world) reports() map[string]int {
	w.t.Helper()
	n := map[string]int{}
	err := w.st.View(func(tx *store.Tx) error {
		list, _, err := tx.Reports("", "", 10000)
		for _, r := range list {
			n[r.Kind]++
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// What is over is forgotten after its time. What is needed to edit in place, to close or to tell apart stays, and a merge
// request that is opened again after that gets no second comment.
func TestReportsThatAreOverAreForgotten(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		sha := w.push("feature")
		mr := w.openMR("feature")
		known := func(state string) {
			w.update(func(tx *store.Tx) error {
				return tx.PutMergeRequest(store.MergeRequest{Project: w.project.ID, MergeRequest: *mr, State: state})
			})
		}
		known("opened")
		r := w.propose("network", "feature", sha, mr)
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		waits := w.track("network", w.push("main"))
		w.told(waits.ID, planned(runs.Delta{Add: 1}, false)...)
		prune := func(want int, why string) {
			t.Helper()
			if err := w.e.prune(w.t.Context()); err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, n := range w.reports() {
				total += n
			}
			if total != want {
				t.Errorf("%s: %d reports are kept, want %d: %v", why, total, want, w.reports())
			}
		}
		w.update(func(tx *store.Tx) error { return tx.PutSettings(store.Settings{ReportDays: 2}) })
		prune(5, "all is young")
		time.Sleep(49 * time.Hour)
		prune(4, "one status is over")
		known("merged")
		prune(3, "the comment is over too")
		known("opened")
		again := w.propose("network", "feature", w.push("feature"), mr)
		w.told(again.ID, planned(runs.Delta{Change: 1}, false)...)
		if notes := w.notes(mr.IID); len(notes) != 1 || !strings.Contains(notes[0].Body, "1 to change") {
			t.Errorf("%d comments, %+v", len(notes), notes)
		}
		w.told(waits.ID, runs.Discard{Meta: runs.Meta{By: "ada"}})
		for _, d := range w.sim.Deployments(w.project.ID) {
			if d.Status != "canceled" {
				t.Errorf("the deployment is %s", d.Status)
			}
		}
		w.unrefused()
	})
}

// Ten years of runs do not make the store grow for ever: of each stack the deployments stay that a lost answer is told from.
func TestDeploymentsAreKeptAsLongAsTheyAreLookedUp(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		head := w.push("main")
		for range store.LookedUpDeployments + 20 {
			r := w.track("network", head)
			w.apply(r.ID, planned(runs.Delta{Add: 1}, true)...)
			w.apply(r.ID, runs.Done{})
			time.Sleep(time.Minute)
		}
		w.quiet()
		w.update(func(tx *store.Tx) error { return tx.PutSettings(store.Settings{ReportDays: 1}) })
		time.Sleep(25 * time.Hour)
		if err := w.e.prune(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.reports(); n[store.ReportDeployment] != store.LookedUpDeployments || n[store.ReportStatus] != 0 {
			t.Errorf("reports %v", n)
		}
	})
}
