package engine

import (
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// proposed asks for a proposed run of a branch's commit for a merge request.
func (w *world) propose(stack, branch, sha string, mr *runs.MergeRequest) runs.Run {
	w.t.Helper()
	return w.request(runs.Run{Stack: stack, Type: runs.Proposed, Commit: runs.Commit{SHA: sha}, Branch: branch, MR: mr})
}

func (w *world) track(stack, sha string) runs.Run {
	w.t.Helper()
	return w.request(runs.Run{Stack: stack, Type: runs.Tracked, Commit: runs.Commit{SHA: sha}, Branch: "main"})
}

// told lets everything reach GitLab after each event, as in a life without hurry.
func (w *world) told(id string, events ...runs.Event) {
	w.t.Helper()
	for _, ev := range events {
		w.apply(id, ev)
		w.quiet()
	}
}

// The fewest requests that tell the truth at every moment, for a run in a quiet hour.
func TestRequestsOfARun(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		sha := w.push("feature")
		mr := w.openMR("feature")
		head := w.push("main")
		w.quiet()
		w.calls()
		r := w.propose("network", "feature", sha, mr)
		w.quiet()
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		calls := w.calls()
		t.Logf("a proposed run: %v", calls)
		if calls["POST statuses"] != 3 || calls["POST notes"] != 1 || calls["GET merge_requests"] > 2 || len(calls) != 3 {
			t.Errorf("a proposed run takes %v", calls)
		}
		r = w.track("network", head)
		w.quiet()
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		w.told(r.ID, runs.Confirm{Meta: runs.Meta{By: "ada"}}, runs.Claimed{}, runs.Done{})
		calls = w.calls()
		t.Logf("a tracked run with a person's yes: %v", calls)
		if calls["POST deployments"] != 1 || calls["PUT deployments"] != 1 || len(calls) != 3 || calls["POST statuses"] > 6 {
			t.Errorf("a tracked run takes %v", calls)
		}
		w.unrefused()
		w.truth([]runs.Run{r})
	})
}

// GOTCHAS 7: the merge request's own pipeline, made in the background, is gone over to; nothing hangs in the other.
func TestStatusGoesOverToTheMergeRequestsPipeline(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		sha := w.push("feature")
		mr := w.openMR("feature")
		r := w.propose("network", "feature", sha, mr)
		w.quiet()
		own, err := w.sim.AddPipeline(w.project.ID, sha, "refs/merge-requests/1/head", "merge_request_event", "test")
		if err != nil {
			t.Fatal(err)
		}
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		var states []string
		for _, s := range w.statuses(sha) {
			states = append(states, s.State)
			if s.State == "success" && s.Pipeline != own {
				t.Errorf("the end stands in pipeline %d, want the merge request's %d", s.Pipeline, own)
			}
		}
		if strings.Join(states, " ") != "canceled success" {
			t.Errorf("records %v, want the first ended and the last in the merge request's pipeline", states)
		}
		w.unrefused()
	})
}

// GOTCHAS 8: a merged result's pipeline has a commit of its own; there the status stands.
func TestStatusStandsInAMergedResultsPipeline(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		sha := w.push("feature")
		mr := w.openMR("feature")
		c, err := w.e.linkedClient()
		if err != nil {
			t.Fatal(err)
		}
		merge, err := c.MergeRef(w.t.Context(), w.project.ID, mr.IID)
		if err != nil {
			t.Fatal(err)
		}
		own, err := w.sim.AddPipeline(w.project.ID, merge, "refs/merge-requests/1/merge", "merge_request_event", "test")
		if err != nil {
			t.Fatal(err)
		}
		r := w.propose("network", "feature", sha, mr)
		w.quiet()
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		if got := w.status(merge, "groundcrew/network"); got.State != "success" || got.Pipeline != own {
			t.Errorf("in the merged result's pipeline %d stands %+v", own, got)
		}
		if got := w.statuses(sha); len(got) != 0 {
			t.Errorf("the branch's commit has %v as well", got)
		}
		w.unrefused()
	})
}

// GOTCHAS 10: a second merge request of the same commit gets a status and a comment of its own.
func TestTwoMergeRequestsOfOneCommit(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		sha := w.push("one")
		first := w.openMR("one")
		r := w.propose("network", "one", sha, first)
		if err := w.sim.ForcePush(w.project.ID, "two", sha); err != nil {
			t.Fatal(err)
		}
		second := w.openMR("two")
		w.apply(r.ID, runs.LearnedMR{MR: *second})
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		for _, mr := range []*runs.MergeRequest{first, second} {
			got, err := w.sim.MergeRequest(w.project.ID, mr.IID)
			if err != nil || got.HeadPipelineStatus != "success" || len(w.notes(mr.IID)) != 1 {
				t.Errorf("!%d: pipeline %q, %d comments, %v", mr.IID, got.HeadPipelineStatus, len(w.notes(mr.IID)), err)
			}
		}
		w.unrefused()
	})
}

// GOTCHAS 11: another integration's newer pipeline draws nothing of ours into it.
func TestStatusKeepsToItsPipeline(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		head := w.push("main")
		r := w.track("network", head)
		w.quiet()
		if _, err := w.sim.AddPipeline(w.project.ID, head, "main", "external", "other"); err != nil {
			t.Fatal(err)
		}
		w.told(r.ID, planned(runs.Delta{}, false)...)
		if got := w.statuses(head); len(got) != 1 || got[0].State != "success" {
			t.Errorf("records %v", got)
		}
		w.unrefused()
	})
}

// GOTCHAS 4: a token of another user makes a second job; the first does not hang beside it.
func TestANewBotEndsWhatTheOldOneBegan(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		head := w.push("main")
		r := w.track("network", head)
		w.told(r.ID, runs.Claimed{}, runs.PhaseStarted{State: runs.Initializing}, runs.PhaseStarted{State: runs.Planning})
		next := w.sim.AddUser("new-bot", "New", false)
		w.sim.AddMember(w.project.ID, next.ID, sim.Maintainer)
		w.token = w.sim.AddToken(next.ID, "new", []string{"api"}, time.Now().AddDate(0, 6, 0))
		w.relink(func(in *store.Integration) { in.Token, in.Health.UserID = runs.Secret(w.token), next.ID })
		w.told(r.ID, runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: "f"}, runs.Discard{Meta: runs.Meta{By: "ada"}})
		if got := w.statuses(head); len(got) != 1 || got[0].State != "canceled" || got[0].User != "new-bot" {
			t.Errorf("records %v", got)
		}
		w.unrefused()
	})
}

// relink changes the integration and lets all reports go, as saving it does.
func (w *world) relink(edit func(in *store.Integration)) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		edit(&in)
		if err := tx.PutIntegration(in); err != nil {
			return err
		}
		if err := tx.ResumeReports(); err != nil {
			return err
		}
		return tx.ReportActive()
	})
}

// One status for a commit's stacks; switching the mode while runs are at work leaves nothing hanging.
func TestAggregatedStatuses(t *testing.T) {
	inBubble(t, func(w *world) {
		for _, s := range []string{"a", "b", "c"} {
			w.stack(s)
		}
		head := w.push("main")
		a, b := w.track("a", head), w.track("b", head)
		w.quiet()
		w.relink(func(in *store.Integration) { in.Aggregate = true })
		c := w.track("c", head)
		w.quiet()
		see := func(state, text string) {
			t.Helper()
			if got := w.status(head, "groundcrew/tracked"); got.State != state || got.Description != text {
				t.Errorf("GitLab shows %s %q, want %s %q", got.State, got.Description, state, text)
			}
		}
		w.told(a.ID, planned(runs.Delta{Add: 1}, false)...)
		w.told(b.ID, planned(runs.Delta{Add: 2}, false)...)
		see("pending", "Waiting for confirmation: 2 of 3 (a, b)")
		w.told(c.ID, planned(runs.Delta{}, false)...)
		w.told(a.ID, runs.Confirm{Meta: runs.Meta{By: "ada"}}, runs.Claimed{})
		see("running", "Applying 1 of 3")
		w.told(a.ID, runs.Done{})
		w.told(b.ID, runs.Confirm{Meta: runs.Meta{By: "ada"}}, runs.Claimed{}, runs.Fail{Meta: runs.Meta{Note: "no"}})
		see("failed", "2 succeeded, 1 failed (b)")
		for _, s := range w.statuses(head) {
			if s.State == "pending" || s.State == "running" {
				t.Errorf("%s hangs: %s", s.Name, s.State)
			}
		}
		for _, e := range w.sim.Environments(w.project.ID) {
			if e.Name == "groundcrew/tracked" {
				t.Error("an environment is named after a group")
			}
		}
		w.unrefused()
	})
}

// GOTCHAS 13: a merge request that concerns no stack gets its passing status where that is asked for.
func TestUntouchedMergeRequestsPass(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		sha := w.push("docs")
		mr := w.openMR("docs")
		row := store.MergeRequest{Project: w.project.ID, MergeRequest: *mr, State: "opened", Head: sha}
		pass := func() { w.update(func(tx *store.Tx) error { return tx.ReportUntouched(row) }) }
		w.update(func(tx *store.Tx) error { return tx.PutMergeRequest(row) })
		pass()
		w.quiet()
		if got := w.statuses(sha); len(got) != 0 {
			t.Errorf("not asked for: %v", got)
		}
		if _, err := w.e.SetProject(w.project.ID, func(p *store.Project) { p.PassUntouched = store.PassOff }, "ada"); err != nil {
			t.Fatal(err)
		}
		w.relink(func(in *store.Integration) { in.PassUntouched = true })
		pass()
		w.quiet()
		if got := w.statuses(sha); len(got) != 0 {
			t.Errorf("not asked for in this project: %v", got)
		}
		w.relink(func(in *store.Integration) { in.PassUntouched = false })
		if _, err := w.e.SetProject(w.project.ID, func(p *store.Project) { p.PassUntouched = store.PassOn }, "ada"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		if got := w.status(sha, "groundcrew"); got.State != "success" || got.Description != "No stack is concerned" {
			t.Errorf("GitLab shows %+v", got)
		}
		w.unrefused()
	})
}

// The comment is one, edited in place; made again when a person deleted it; and says when it is not the last word.
func TestTheCommentIsOneAndTellsWhatItSpeaksOf(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		one := w.push("feature")
		mr := w.openMR("feature")
		r := w.propose("network", "feature", one, mr)
		w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
		two := w.push("feature")
		next := w.propose("network", "feature", two, mr)
		w.quiet()
		body := func() string {
			t.Helper()
			notes := w.notes(mr.IID)
			if len(notes) != 1 {
				t.Fatalf("%d comments", len(notes))
			}
			return notes[0].Body
		}
		if got := body(); !strings.Contains(got, "This is not the newest commit") || !strings.Contains(got, two[:8]) || !strings.Contains(got, one[:8]) {
			t.Errorf("while a newer commit waits the comment says %s", got)
		}
		w.told(next.ID, runs.Cancel{Meta: runs.Meta{Note: "superseded"}})
		if got := body(); !strings.Contains(got, "was not planned (canceled: superseded)") {
			t.Errorf("after the newer run was canceled the comment says %s", got)
		}
		id := w.notes(mr.IID)[0].ID
		if err := w.sim.DeleteNote(w.project.ID, mr.IID, id); err != nil {
			t.Fatal(err)
		}
		third := w.propose("network", "feature", w.push("feature"), mr)
		w.told(third.ID, planned(runs.Delta{Change: 1}, false)...)
		if got := body(); strings.Contains(got, "not the newest") || !strings.Contains(got, "0 to add, 1 to change") {
			t.Errorf("made again, the comment says %s", got)
		}
	})
}

// Every tracked run with changes is a deployment with an end, whatever the end is; the environment follows the stack.
func TestDeploymentsAndEnvironments(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.stack("network")
		only := func(id string) string {
			t.Helper()
			for _, d := range w.sim.Deployments(w.project.ID) {
				if d.SHA == w.run(id).Commit.SHA {
					return d.Status
				}
			}
			return ""
		}
		yes := runs.Confirm{Meta: runs.Meta{By: "ada"}}
		for _, end := range []struct {
			events []runs.Event
			want   string
		}{
			{[]runs.Event{yes, runs.Claimed{}, runs.Done{}}, "success"},
			{[]runs.Event{runs.Discard{Meta: runs.Meta{By: "ada"}}}, "canceled"},
			{[]runs.Event{yes, runs.Claimed{}, runs.Fail{Meta: runs.Meta{Note: "no"}}}, "failed"},
			{[]runs.Event{runs.Confirm{Meta: runs.Meta{By: "ada"}, Moved: "moved"}, runs.Claimed{}, runs.PhaseStarted{State: runs.Initializing}, runs.PhaseStarted{State: runs.Planning}, runs.Planned{Fingerprint: "g"}}, "canceled"},
		} {
			r := w.track("network", w.push("main"))
			w.told(r.ID, planned(runs.Delta{Add: 1}, false)...)
			if got := only(r.ID); got != "running" {
				t.Errorf("planned: the deployment is %q", got)
			}
			w.told(r.ID, end.events...)
			if got := only(r.ID); got != end.want {
				t.Errorf("%T: the deployment is %q, want %q", end.events[len(end.events)-1], got, end.want)
			}
		}
		w.unrefused()

		w.update(func(tx *store.Tx) error {
			st, _ = tx.Stack("network")
			st.Labels = []string{"tier:staging"}
			return tx.PutStack(st)
		})
		w.quiet()
		if got := w.sim.Environments(w.project.ID); len(got) != 1 || got[0].Tier != "staging" || got[0].Name != "groundcrew/network" {
			t.Errorf("environments %+v", got)
		}
		w.update(func(tx *store.Tx) error { return tx.DeleteStack("network") })
		w.quiet()
		if got := w.sim.Environments(w.project.ID); len(got) != 1 || got[0].State != "stopped" {
			t.Errorf("after the stack was deleted: %+v", got)
		}
	})
}

// GOTCHAS 88: a deployment of a branch that is gone names the project's default branch.
func TestDeploymentOfABranchThatIsGone(t *testing.T) {
	inBubble(t, func(w *world) {
		st := w.stack("network")
		sha := w.push("release")
		w.update(func(tx *store.Tx) error { st.Branch = "release"; return tx.PutStack(st) })
		r := w.track("network", sha)
		w.quiet()
		if err := w.sim.ForcePush(w.project.ID, "main", sha); err != nil {
			t.Fatal(err)
		}
		if err := w.sim.DeleteBranch(w.project.ID, "release"); err != nil {
			t.Fatal(err)
		}
		w.told(r.ID, planned(runs.Delta{Add: 1}, true)...)
		w.told(r.ID, runs.Done{})
		if got := w.sim.Deployments(w.project.ID); len(got) != 1 || got[0].Status != "success" || got[0].Ref != "main" {
			t.Errorf("deployments %+v", got)
		}
	})
}

// GOTCHAS 86: names of environments are legal whatever the prefix.
func TestEnvironmentNames(t *testing.T) {
	for prefix, want := range map[string]string{"groundcrew": "groundcrew/net", "/a:b@c#d/": "a-b-c-d/net", "grüße, du": "gr-e- du/net", "": "net", strings.Repeat("x", 300): strings.Repeat("x", 251) + "/net"} {
		if got := runs.EnvironmentName(prefix, "net"); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

// A status that hangs in GitLab although our row calls it delivered, as after a restored backup, is ended at the start.
func TestAtStartWhatHangsIsClosed(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		head := w.push("main")
		r := w.track("network", head)
		w.told(r.ID, planned(runs.Delta{}, false)...)
		c, err := w.e.linkedClient()
		if err != nil {
			t.Fatal(err)
		}
		hung := gitlab.Status{State: "running", Name: "groundcrew/network", PipelineID: w.status(head, "groundcrew/network").Pipeline}
		if _, err := c.SetStatus(w.t.Context(), w.project.ID, head, hung); err != nil {
			t.Fatal(err)
		}
		w.halt()
		w.calls()
		w.e.audit()
		w.start()
		w.quiet()
		if got := w.status(head, "groundcrew/network"); got.State != "success" || got.Description != "No changes" {
			t.Errorf("GitLab shows %s %q", got.State, got.Description)
		}
		w.halt()
		w.calls()
		w.e.audit()
		w.start()
		w.quiet()
		if calls := w.calls(); len(calls) != 1 || calls["GET statuses"] != 1 {
			t.Errorf("where nothing hangs a start asks %v", calls)
		}
	})
}
