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

// TestRefusedReportsAreForgotten: what GitLab refused goes when its run or project is gone, or after its time once its run has
// ended; the audit log says each. Before that it stays, with the webhook of a used project always.
func TestRefusedReportsAreForgotten(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		open := w.track("network", w.push("main"))
		w.told(open.ID, planned(runs.Delta{Add: 1}, false)...)
		ended := w.propose("network", "feature", w.push("feature"), nil)
		w.told(ended.ID, planned(runs.Delta{Add: 1}, false)...)
		park := func(r store.Report) {
			r.State, r.LastError, r.MarkedAt = store.ReportParked, "403 Forbidden", time.Now()
			w.update(func(tx *store.Tx) error { return tx.PutReport(r) })
		}
		p := w.project.ID
		park(store.Report{Kind: store.ReportStatus, Target: "status/1/old", Project: p, Stack: "network", Run: ended.ID})
		park(store.Report{Kind: store.ReportStatus, Target: "status/2/open", Project: p, Stack: "network", Run: open.ID})
		park(store.Report{Kind: store.ReportStatus, Target: "status/3/gone-run", Project: p, Run: "01HZZZZZZZZZZZZZZZZZZZZZZZ"})
		park(store.Report{Kind: store.ReportStatus, Target: "status/4/gone-project", Project: 999, Run: ended.ID})
		park(store.Report{Kind: store.ReportHook, Target: "hook/5", Project: p})
		park(store.Report{Kind: store.ReportHook, Target: "hook/6", Project: 999})
		parked := func() (list []string) {
			t.Helper()
			if err := w.e.prune(w.t.Context()); err != nil {
				t.Fatal(err)
			}
			err := w.st.View(func(tx *store.Tx) error {
				page, _, err := tx.Reports(store.ReportParked, "", 100)
				for _, r := range page {
					list = append(list, r.Target)
				}
				if n := tx.Count("parked"); n != len(list) {
					t.Errorf("%d stand in the index, %d are there", n, len(list))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		if got := strings.Join(parked(), " "); got != "hook/5 status/1/old status/2/open" {
			t.Errorf("at once: %s", got)
		}
		if n := w.parkedNotices(); len(n) == 0 || !strings.Contains(n[0].Mend, "forgotten after 90 days") {
			t.Errorf("the inbox says %+v", n)
		}
		time.Sleep(91 * 24 * time.Hour)
		if got := strings.Join(parked(), " "); got != "hook/5 status/2/open" {
			t.Errorf("after its time: %s", got)
		}
		told := map[string]string{}
		err := w.st.View(func(tx *store.Tx) error {
			list, _, err := tx.AuditSearch(store.AuditFilter{Action: "report.forget"}, "", 100)
			for _, e := range list {
				told[e.Target] = e.By + ": " + e.Note
			}
			return err
		})
		if err != nil || len(told) != 4 || told["status/1/old"] != "system: GitLab had refused it: 403 Forbidden" {
			t.Errorf("%v %v", told, err)
		}
	})
}

// parkedNotices are the notices with the reports that are parked.
func (w *world) parkedNotices() (list []store.Notice) {
	w.t.Helper()
	err := w.st.View(func(tx *store.Tx) error {
		parked, _, err := tx.Reports(store.ReportParked, "", ParkedLimit)
		if err == nil {
			list, err = Notices(tx, parked, runs.Room{})
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}
