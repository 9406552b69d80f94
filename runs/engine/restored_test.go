package engine

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// restore goes on in a folder that a backup of this one was restored to.
func (w *world) restore() {
	w.t.Helper()
	w.halt()
	var backup bytes.Buffer
	_, err := w.st.Backup(w.t.Context(), "dev", &backup)
	w.do(err)
	key, err := os.ReadFile(w.st.Path("master.key"))
	w.do(err)
	w.do(w.st.Close())
	time.Sleep(time.Hour)
	dir := w.t.TempDir()
	w.do(os.WriteFile(filepath.Join(dir, "master.key"), key, 0o600))
	_, err = store.Restore(&backup, dir, "")
	w.do(err)
	w.st, err = store.Open(store.Options{Dir: dir, NoSync: true})
	w.do(err)
	src, err := gitlab.NewSource(w.t.TempDir())
	w.do(err)
	w.e, err = New(Options{Store: w.st, Source: src, Runner: noRunner{}, Transport: w, ExternalURL: "https://gc.example"})
	w.do(err)
	w.start()
}

// TestRestoredPlansAreNotApplied: what waited for a yes plans again, what had its yes counts as cut off, and nothing deploys by
// itself before somebody has confirmed a run.
func TestRestoredPlansAreNotApplied(t *testing.T) {
	inBubble(t, func(w *world) {
		waits, confirmed, plain, deploying := w.guarded("waits", 0), w.guarded("confirmed", 0), w.guarded("plain", 0), w.guarded("deploying", 1, autodeploys)
		first := w.planWaits(waits)
		second := w.planWaits(confirmed)
		if _, err := w.e.Confirm(second.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		for _, st := range []runs.Stack{waits, confirmed, deploying} {
			w.addState(st)
		}
		w.restore()
		if r := w.run(first.ID); r.State != runs.Queued || r.Delta != nil || !strings.Contains(r.Transitions[len(r.Transitions)-1].Note, "restored from a backup of ") {
			t.Errorf("the run that waited is %s: %+v", r.State, r.Transitions)
		}
		if r := w.run(second.ID); r.State != runs.Failed || !strings.Contains(r.Reason, "about to be applied") {
			t.Errorf("the run that had its yes is %s: %s", r.State, r.Reason)
		}
		if again := w.newest("confirmed"); again.RetryOf != second.ID {
			t.Errorf("no fresh plan was asked for: %+v", again)
		}
		flags := map[string]bool{}
		w.do(w.st.View(func(tx *store.Tx) error {
			list, err := tx.Stacks()
			for _, st := range list {
				flags[st.Slug] = st.Flag != ""
			}
			return err
		}))
		if !flags["waits"] || !flags["confirmed"] || !flags["deploying"] || !flags[plain.Slug] {
			t.Errorf("flagged: %v", flags)
		}
		r := w.planWaits(deploying)
		w.mustReview(r, bob, "bob", runs.Approve)
		if r = w.run(r.ID); r.State != runs.Unconfirmed {
			t.Errorf("a stack whose state may be old deploys by itself: %s", r.State)
		}
		if !w.audited("backup.restore", "", "as of ") {
			t.Error("the audit log does not know of it")
		}
		w.quiet()
		w.unrefused()
	})
}

// TestRestoredTasksDoNotRunAgain: a task and a destroy run that had not begun may have been done, or discarded, since.
func TestRestoredTasksDoNotRunAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.guarded("net", 0)
		w.guarded("dns", 0)
		destroy := w.request(runs.Run{Stack: "net", Type: runs.Destroy, Branch: "main"})
		task := w.request(runs.Run{Stack: "dns", Type: runs.Task, Branch: "main", Command: "terraform state rm a"})
		w.apply(task.ID, runs.Claimed{})
		tracked := w.request(runs.Run{Stack: "net", Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}})
		w.restore()
		if r := w.run(destroy.ID); r.State != runs.Canceled || !strings.Contains(r.Reason, "may have been done since") {
			t.Errorf("the destroy run is %s: %s", r.State, r.Reason)
		}
		if r := w.run(task.ID); r.State != runs.Failed || !strings.Contains(r.Reason, "may have been done since") {
			t.Errorf("the task is %s: %s", r.State, r.Reason)
		}
		if r := w.run(tracked.ID); r.State != runs.Queued {
			t.Errorf("the tracked run is %s", r.State)
		}
	})
}

// TestRestoredFlagNeedsAYes: a run that finds nothing to change in old code and old state says nothing about the world.
func TestRestoredFlagNeedsAYes(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 0, autodeploys)
		w.edit(st, func(s *runs.Stack) { s.Flag = "An older word" })
		w.restore()
		flag := func() (flag string) {
			w.do(w.st.View(func(tx *store.Tx) error { st, err := tx.Stack("net"); flag = st.Flag; return err }))
			return flag
		}
		if f := flag(); !strings.Contains(f, "An older word. ") || !strings.Contains(f, "restored from a backup") {
			t.Errorf("the flag: %q", f)
		}
		empty := w.request(runs.Run{Stack: "net", Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}})
		empty.State = runs.Finished
		w.update(func(tx *store.Tx) error { return unflag(tx, empty) })
		if flag() == "" {
			t.Error("a run without changes took the flag away")
		}
		empty.Transitions = append(empty.Transitions, runs.Transition{State: runs.Confirmed, By: "ann"})
		w.update(func(tx *store.Tx) error { return unflag(tx, empty) })
		if f := flag(); f != "" {
			t.Errorf("after a run that ann confirmed: %q", f)
		}
	})
}

func TestRestoredIsSettledOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.guarded("net", 0)
		w.restore()
		r := w.planWaits(st)
		w.do(w.e.restored())
		if got := w.run(r.ID); got.State != runs.Unconfirmed {
			t.Errorf("a plan of the time after is %s", got.State)
		}
	})
}
