package engine

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// hook is the project's hook as pages show it without asking GitLab.
func (w *world) hook() Hook {
	w.t.Helper()
	list, err := w.e.usedProjects()
	if err != nil || len(list) != 1 {
		w.t.Fatal(list, err)
	}
	return list[0].Hook
}

// A hook that is installed while GitLab is away is installed when it is back, once, and says so meanwhile.
func TestHookRepairWaitsForGitLab(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		w.quiet()
		w.trouble(func(*http.Request) *http.Response { return refused })
		_, err := w.e.InstallHook(w.t.Context(), w.project.ID, "ada")
		if err == nil || !strings.Contains(err.Error(), "The repair waits: ") || !strings.Contains(err.Error(), "done by itself") {
			t.Errorf("the person is told %v", err)
		}
		time.Sleep(time.Hour)
		if h := w.hook(); h.State != HookWaits || !strings.Contains(h.Detail, "could not be reached") || h.Mendable() {
			t.Errorf("the hook is shown as %+v", h)
		}
		w.trouble(nil)
		w.sim.Fault(sim.Fault{Method: "POST", Path: regexp.MustCompile("/hooks$"), CutAfterWork: true, Times: 1})
		w.quiet()
		hooks := w.sim.Hooks(w.project.ID)
		if len(hooks) != 1 || hooks[0].URL != w.e.WebhookURL() {
			t.Errorf("hooks %+v", hooks)
		}
		if h := w.hook(); h.State != HookOK {
			t.Errorf("the hook is shown as %+v", h)
		}
	})
}

// What GitLab refuses is parked with what mends it, and goes when it is tried again.
func TestHookRepairThatIsRefused(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		w.quiet()
		mend := w.sim.Fault(sim.Fault{Method: "POST", Path: regexp.MustCompile("/hooks$"), Status: 403, Body: `{"message":"403 Forbidden"}`})
		_, err := w.e.InstallHook(w.t.Context(), w.project.ID, "ada")
		if err == nil || !strings.Contains(err.Error(), "403 Forbidden") || !strings.Contains(err.Error(), "Maintainer") {
			t.Errorf("the person is told %v", err)
		}
		if h := w.hook(); !strings.Contains(h.Detail, "GitLab refused the repair") || !strings.Contains(h.Detail, "Maintainer") {
			t.Errorf("the hook is shown as %+v", h)
		}
		mend()
		w.update(func(tx *store.Tx) error {
			parked, _, err := tx.Reports(store.ReportParked, "", 10)
			if err != nil || len(parked) != 1 || parked[0].Kind != store.ReportHook {
				t.Errorf("parked %+v %v", parked, err)
			}
			_, err = tx.RetryReport(store.HookTarget(w.project.ID))
			return err
		})
		w.quiet()
		if h := w.hook(); h.State != HookOK || len(w.sim.Hooks(w.project.ID)) != 1 {
			t.Errorf("the hook is shown as %+v", h)
		}
	})
}

// A new secret reaches the hooks after an outage; a project without our hook is left without one.
func TestNewSecretReachesHooksAfterAnOutage(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		if _, err := w.e.InstallHook(w.t.Context(), w.project.ID, "ada"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		w.trouble(func(*http.Request) *http.Response { return refused })
		if err := w.e.RotateSecret("ada"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		var notices []store.Notice
		err := w.st.View(func(tx *store.Tx) (err error) { notices, err = Notices(tx, nil, runs.Room{}); return err })
		if err != nil || len(notices) == 0 || !strings.Contains(notices[0].Text, "new webhook secret has not reached") {
			t.Errorf("notices %+v %v", notices, err)
		}
		w.trouble(nil)
		w.quiet()
		owed := -1
		err = w.st.View(func(tx *store.Tx) (err error) {
			owed, err = HookProgress(tx, func(int64) bool { return true })
			return err
		})
		if h := w.hook(); err != nil || owed != 0 || h.State != HookOK {
			t.Errorf("%d hooks are owed, %v; shown as %+v", owed, err, h)
		}
		if err := w.e.RotateSecret("ada"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		if n := len(w.sim.Hooks(w.project.ID)); n != 1 {
			t.Errorf("%d hooks", n)
		}
	})
}

// A hook that does not deliver comments, as one made by hand or of before commands, is said to be wrong and can be repaired.
func TestHookWithoutComments(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		h, err := w.e.InstallHook(w.t.Context(), w.project.ID, "ada")
		if err != nil || h.State != HookOK || h.Detail != "push, tags, comments, merge requests" {
			t.Fatalf("%+v, %v", h, err)
		}
		w.quiet()
		c, err := w.e.linkedClient()
		if err != nil {
			t.Fatal(err)
		}
		spec := w.e.hookSpec(w.integration())
		spec.Notes = false
		if _, err := c.UpdateHook(w.t.Context(), w.project.ID, w.sim.Hooks(w.project.ID)[0].ID, spec); err != nil {
			t.Fatal(err)
		}
		if h, err = w.e.lookAtHook(w.t.Context(), c, w.project.ID); err != nil || h.State != HookEvents || !strings.Contains(h.Detail, "does not deliver comments") || !h.Mendable() {
			t.Errorf("without comments: %+v, %v", h, err)
		}
		var notices []store.Notice
		err = w.st.View(func(tx *store.Tx) (err error) { notices, err = Notices(tx, nil, runs.Room{}); return err })
		if err != nil || len(notices) == 0 || !strings.Contains(notices[0].Text, "does not deliver everything") {
			t.Errorf("notices %+v %v", notices, err)
		}
		if h, err = w.e.InstallHook(w.t.Context(), w.project.ID, "ada"); err != nil || h.State != HookOK {
			t.Errorf("repaired: %+v, %v", h, err)
		}
	})
}
