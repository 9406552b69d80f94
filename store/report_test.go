package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func report(t *testing.T, s *Store, target string) Report {
	t.Helper()
	var r Report
	view(t, s, func(tx *Tx) error {
		got, ok, err := tx.Report(target)
		if err == nil && !ok {
			err = notFound("report", target)
		}
		r = got
		return err
	})
	return r
}

// delivered writes a report as the sender does after GitLab took it.
func delivered(t *testing.T, s *Store, r Report) {
	t.Helper()
	r.State, r.RemoteID, r.RemoteState, r.PipelineID = ReportDelivered, 99, "running", 5
	update(t, s, func(tx *Tx) error { return tx.PutReport(r) })
}

func due(t *testing.T, s *Store) []string {
	t.Helper()
	targets := []string{}
	view(t, s, func(tx *Tx) error {
		list, err := tx.DueReports()
		for _, r := range list {
			targets = append(targets, r.Target)
		}
		return err
	})
	return targets
}

func TestReportsOfALife(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	status, env, deployment := StatusTarget(7, "abc", "groundcrew/network"), "environment/network", "deployment/"+r.ID
	if diff := cmp.Diff([]string{env, status}, due(t, s)); diff != "" {
		t.Errorf("after the request:\n%s", diff)
	}
	first := report(t, s, status)
	apply(t, s, r.ID, toUnconfirmed()...)
	if diff := cmp.Diff([]string{deployment, env, status}, due(t, s)); diff != "" {
		t.Errorf("with a plan:\n%s", diff)
	}
	if now := report(t, s, status); now.Seq != first.Seq+4 || now.Run != r.ID {
		t.Errorf("after four moves the mark went from %d to %d, run %s", first.Seq, now.Seq, now.Run)
	}
}

func TestReportOfAMergeRequest(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Proposed, "abc", func(r *runs.Run) { r.MR = &runs.MergeRequest{IID: 3} })
	note := NoteTarget(7, 3, "network")
	view(t, s, func(tx *Tx) error {
		if _, ok, err := tx.Report(note); ok || err != nil {
			t.Errorf("a comment before there is anything to say: %v", err)
		}
		return nil
	})
	apply(t, s, r.ID, toUnconfirmed()...)
	if got := report(t, s, note); got.Kind != ReportNote || got.Run != r.ID || got.MR != 3 || got.Stack != "network" {
		t.Errorf("comment %+v", got)
	}
	// A run that learns of its merge request when it has ended already is told there too.
	late := request(t, s, "network", runs.Proposed, "def")
	apply(t, s, late.ID, toUnconfirmed()...)
	apply(t, s, late.ID, runs.LearnedMR{MR: runs.MergeRequest{IID: 4}})
	if got := report(t, s, NoteTarget(7, 4, "network")); got.Run != late.ID {
		t.Errorf("comment %+v", got)
	}
}

// TestMarkKeepsWhatGitLabShows: a new mark wakes the sender and forgets troubles, not what GitLab is known to show.
func TestMarkKeepsWhatGitLabShows(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	target := StatusTarget(7, "abc", "groundcrew/network")
	sent := report(t, s, target)
	sent.Attempts, sent.LastError, sent.NextAttempt, sent.State = 5, "503", time.Now().Add(time.Hour), ReportParked
	delivered(t, s, sent)
	if got := due(t, s); cmp.Diff([]string{"environment/network"}, got) != "" {
		t.Errorf("due after it was delivered: %v", got)
	}
	apply(t, s, r.ID, runs.Claimed{})
	got := report(t, s, target)
	if got.Seq != sent.Seq+1 || got.State != ReportWaiting || got.Attempts != 0 || got.LastError != "" || !got.NextAttempt.IsZero() {
		t.Errorf("marked: %+v", got)
	}
	if got.RemoteID != 99 || got.RemoteState != "running" || got.PipelineID != 5 {
		t.Errorf("what GitLab shows was forgotten: %+v", got)
	}
}

// TestOlderRunNeverTakesOver: two runs share a commit's status; it goes to the newer one and stays there.
func TestOlderRunNeverTakesOver(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	target := StatusTarget(7, "abc", "groundcrew/network")
	older := request(t, s, "network", runs.Proposed, "abc")
	newer := request(t, s, "network", runs.Tracked, "abc")
	before := report(t, s, target)
	apply(t, s, older.ID, runs.Claimed{}, runs.Fail{})
	if diff := cmp.Diff(before, report(t, s, target)); diff != "" {
		t.Errorf("the older run changed the report:\n%s", diff)
	}
	apply(t, s, newer.ID, runs.Claimed{})
	if got := report(t, s, target); got.Run != newer.ID || got.Seq != before.Seq+1 {
		t.Errorf("the newer run's move: %+v", got)
	}
}

func TestEnvironmentComesAndGoes(t *testing.T) {
	s := open(t, quick)
	const target = "environment/network"
	addStack(t, s, "Network")
	delivered(t, s, report(t, s, target))
	update(t, s, func(tx *Tx) error { return tx.DeleteStack("network") })
	if got := report(t, s, target); !got.Gone || got.RemoteID != 99 || got.State != ReportWaiting {
		t.Errorf("deleted: %+v", got)
	}
	delivered(t, s, report(t, s, target))
	addStack(t, s, "Network")
	if got := report(t, s, target); got.Gone || got.RemoteID != 99 || got.State != ReportWaiting {
		t.Errorf("made again in the same project: %+v", got)
	}
	update(t, s, func(tx *Tx) error { return tx.DeleteStack("network") })
	update(t, s, func(tx *Tx) error {
		st := stackNamed("Network")
		st.Project = 8
		_, err := tx.AddStack(st)
		return err
	})
	if got := report(t, s, target); got.Gone || got.Project != 8 || got.RemoteID != 0 || got.RemoteState != "" {
		t.Errorf("made again in another project: %+v", got)
	}
	delivered(t, s, report(t, s, target))
	update(t, s, func(tx *Tx) error { return tx.DeleteStack("network") })
	update(t, s, func(tx *Tx) error {
		if err := tx.PutIntegration(Integration{StatusPrefix: "iac", Linked: true}); err != nil {
			return err
		}
		st := stackNamed("Network")
		st.Project = 8
		_, err := tx.AddStack(st)
		return err
	})
	if got := report(t, s, target); got.Name != "iac/network" || got.RemoteID != 0 {
		t.Errorf("made again under another name: %+v", got)
	}
}

func TestRetryAndResume(t *testing.T) {
	s := open(t, quick)
	update(t, s, func(tx *Tx) error {
		for target, state := range map[string]string{"a": ReportDelivered, "b": ReportParked, "c": ReportWaiting} {
			if err := tx.PutReport(Report{Target: target, State: state, Seq: 4, NextAttempt: tx.Now().Add(time.Hour), LastError: "403"}); err != nil {
				return err
			}
		}
		return nil
	})
	err := s.Update(func(tx *Tx) error { _, err := tx.RetryReport("absent"); return err })
	if !errors.Is(err, runs.ErrNotFound) {
		t.Error(err)
	}
	update(t, s, func(tx *Tx) error { return tx.ResumeReports() })
	if diff := cmp.Diff([]string{"b", "c"}, due(t, s)); diff != "" {
		t.Error(diff)
	}
	for _, target := range []string{"b", "c"} {
		if r := report(t, s, target); !r.NextAttempt.IsZero() || r.Seq != 5 {
			t.Errorf("%s waits until %v, mark %d", target, r.NextAttempt, r.Seq)
		}
	}
	update(t, s, func(tx *Tx) error { _, err := tx.RetryReport("a"); return err })
	if diff := cmp.Diff([]string{"a", "b", "c"}, due(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestDueInTurn(t *testing.T) {
	s := open(t, quick)
	view(t, s, func(tx *Tx) error {
		if r, ok, err := tx.DueAfter(""); ok || err != nil {
			t.Errorf("nothing is due: %+v, %v", r, err)
		}
		return nil
	})
	update(t, s, func(tx *Tx) error {
		for target, state := range map[string]string{
			"note/a": ReportWaiting, "status/a": ReportWaiting, "status/ab": ReportWaiting, "status/b": ReportDelivered, "statuses/c": ReportParked,
		} {
			if err := tx.PutReport(Report{Target: target, State: state, NextAttempt: tx.Now().Add(time.Hour)}); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(tx *Tx) error {
		var turns []string
		for at := ""; len(turns) < 5; at = turns[len(turns)-1] {
			r, ok, err := tx.DueAfter(at)
			if err != nil || !ok {
				return errors.Join(err, errors.New("nothing is due"))
			}
			turns = append(turns, r.Target)
		}
		if diff := cmp.Diff([]string{"note/a", "status/a", "status/ab", "note/a", "status/a"}, turns); diff != "" {
			t.Errorf("each in turn:\n%s", diff)
		}
		for kind, want := range map[string]int{"status": 2, "note": 1, "stat": 0, "statuses": 0} {
			n := 0
			if err := tx.EachDue(kind, func(Report) bool { n++; return true }); n != want || err != nil {
				t.Errorf("%d of kind %s, want %d: %v", n, kind, want, err)
			}
		}
		n := 0
		err := tx.EachDue("status", func(Report) bool { n++; return false })
		if n != 1 {
			t.Errorf("%d were visited after the first was enough", n)
		}
		return err
	})
	update(t, s, func(tx *Tx) error { return tx.ReleaseReports(func(r Report) bool { return r.Target == "status/a" }) })
	for target, soon := range map[string]bool{"status/a": true, "status/ab": false, "note/a": false, "statuses/c": false} {
		if r := report(t, s, target); r.NextAttempt.IsZero() != soon {
			t.Errorf("%s waits until %v", target, r.NextAttempt)
		}
	}
}
