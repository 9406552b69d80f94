package engine

import (
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// prefix changes the prefix of names as saving the integration does.
func (w *world) prefix(to string) {
	w.t.Helper()
	w.relink(func(in *store.Integration) { in.StatusPrefix = to })
	w.update(func(tx *store.Tx) error {
		if err := tx.RenameEnvironments(); err != nil {
			return err
		}
		return tx.ReportActive()
	})
}

// environments are the states of the project's environments by name.
func (w *world) environments() map[string]string {
	out := map[string]string{}
	for _, e := range w.sim.Environments(w.project.ID) {
		out[e.Name] = e.State
	}
	return out
}

// A new prefix leaves nothing behind that runs: statuses of the old name end, a deployment ends where it began, and then its
// environment is stopped. The old prefix again leaves its environment alone.
func TestANewPrefixLeavesNothingRunning(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		w.stack("dns")
		w.quiet()
		r := w.track("network", w.push("main"))
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		w.prefix("iac")
		time.Sleep(time.Hour)
		env := w.environments()
		if env["groundcrew/network"] != "available" || env["iac/network"] != "available" || env["iac/dns"] != "available" || env["groundcrew/dns"] != "stopped" {
			t.Errorf("while a run waits for its yes: %v", env)
		}
		if got := w.status(r.Commit.SHA, "iac/network"); got.State != "pending" {
			t.Errorf("the new status is %+v", got)
		}
		w.apply(r.ID, runs.Confirm{Meta: runs.Meta{By: "ada"}}, runs.Claimed{}, runs.Done{})
		w.quiet()
		if env := w.environments(); env["groundcrew/network"] != "stopped" || env["iac/network"] != "available" {
			t.Errorf("after the run: %v", env)
		}
		d := w.sim.Deployments(w.project.ID)
		if len(d) != 1 || d[0].Status != "success" || d[0].Environment != "groundcrew/network" {
			t.Errorf("deployments %+v", d)
		}
		if hang := w.hanging(); len(hang) != 0 {
			t.Errorf("hanging: %+v", hang)
		}
		w.unrefused()
		next := w.track("network", w.push("main"))
		w.told(next.ID, planned(runs.Delta{Add: 1}, false)...)
		w.prefix("groundcrew")
		w.prefix("iac")
		w.quiet()
		if env := w.environments(); env["iac/network"] != "available" {
			t.Errorf("there and back: %v", env)
		}
	})
}
