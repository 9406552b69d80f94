package main

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/gitlab/sim"
)

// states lists the accepted changes of a status over all its records, in order.
func states(list []sim.Status, name string) []string {
	var out []string
	for _, s := range list {
		if s.Name != name {
			continue
		}
		for _, c := range s.History {
			out = append(out, c.State)
		}
	}
	return out
}

func TestMergeRequestIsPlannedAndCommented(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	first := r.push("feature/edge", "Add the edge", map[string]string{"infra/main.tf": resource("edge", "a")})
	iid := r.openMR("feature/edge", "Add the edge")
	run := r.run("proposed", "finished")
	st := r.status(first, "groundcrew/network", "success")
	if st.Description != "1 to add, 0 to change, 0 to destroy" || st.TargetURL != r.url+"/runs/"+run["id"].(string) {
		t.Errorf("status %+v", st)
	}
	// A run that begins at once may never be shown as pending.
	said := states(r.sim.Statuses(r.project.ID, first), "groundcrew/network")
	if d := cmp.Diff([]string{"running", "success"}, slices.DeleteFunc(said, func(s string) bool { return s == "pending" })); d != "" {
		t.Error(d)
	}
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	note := r.notes(iid)[0]
	for _, want := range []string{"network: 1 to add, 0 to change, 0 to destroy", "terraform_data.edge", "| + |"} {
		if !strings.Contains(note.Body, want) {
			t.Errorf("comment lacks %q:\n%s", want, note.Body)
		}
	}
	second := r.push("feature/edge", "Add another", map[string]string{"infra/more.tf": resource("more", "b")})
	r.status(second, "groundcrew/network", "success")
	until(t, "the edited comment", func() bool { return strings.Contains(r.notes(iid)[0].Body, "2 to add") })
	if n := r.notes(iid); len(n) != 1 || n[0].ID != note.ID || n[0].Edits < 1 || n[0].Edits > 2 {
		t.Errorf("comments %+v", n)
	}
	r.quiet()
	r.unrefused()
	if n := len(r.items("/runs")); n != 2 {
		t.Errorf("%d runs for two commits", n)
	}
}

func TestTrackedRunIsAppliedAfterAYes(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	sha := r.push("main", "Lay out", map[string]string{"infra/main.tf": resource("net", "a")})
	run := r.run("tracked", "unconfirmed")
	st := r.status(sha, "groundcrew/network", "pending")
	until(t, "the text", func() bool {
		st = r.status(sha, "groundcrew/network", "pending")
		return st.Description == "Waiting for confirmation: 1 to add, 0 to change, 0 to destroy"
	})
	until(t, "the deployment", func() bool { return len(r.sim.Deployments(r.project.ID)) == 1 })
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	done := r.run("tracked", "finished")
	if done["new_version"] != 1.0 {
		t.Errorf("state version %v", done["new_version"])
	}
	r.status(sha, "groundcrew/network", "success")
	until(t, "the deployment's end", func() bool { return r.sim.Deployments(r.project.ID)[0].Status == "success" })
	envs := r.sim.Environments(r.project.ID)
	if len(envs) != 1 || envs[0].Name != "groundcrew/network" || envs[0].ExternalURL != r.url+"/stacks/network" {
		t.Errorf("environments %+v", envs)
	}
	versions := r.items("/stacks/network/state/versions")
	if len(versions) != 1 || versions[0]["run"] != run["id"] {
		t.Errorf("state versions %v", versions)
	}
	r.quiet()
	r.unrefused()

	t.Run("no change", func(t *testing.T) {
		sha := r.push("main", "Only a comment", map[string]string{"infra/main.tf": "# the same\n" + resource("net", "a")})
		st := r.status(sha, "groundcrew/network", "success")
		if st.Description != "No changes" {
			t.Errorf("description %q", st.Description)
		}
		r.quiet()
		if n := len(r.sim.Deployments(r.project.ID)); n != 1 {
			t.Errorf("%d deployments", n)
		}
	})
	t.Run("change and destroy", func(t *testing.T) {
		r.push("main", "Change", map[string]string{"infra/main.tf": resource("net", "b"), "infra/x.tf": resource("x", "1")})
		run := r.run("tracked", "unconfirmed")
		if d := cmp.Diff(map[string]any{"add": 1.0, "change": 1.0, "destroy": 0.0, "import": 0.0, "move": 0.0, "forget": 0.0, "outputs": 0.0}, run["delta"]); d != "" {
			t.Error(d)
		}
		r.must("POST", "/runs/"+run["id"].(string)+"/discard", nil, 200)
		until(t, "canceled deployment", func() bool {
			d := r.sim.Deployments(r.project.ID)
			return len(d) == 2 && (d[0].Status == "canceled" || d[1].Status == "canceled")
		})
	})
	r.quiet()
	r.unrefused()
}

func TestBrokenCodeFailsWithItsFirstError(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	sha := r.push("feature", "Break it", map[string]string{"infra/main.tf": "resource \"terraform_data\" \"x\" {\n  inputs = 1\n}\n"})
	iid := r.openMR("feature", "Break it")
	st := r.status(sha, "groundcrew/network", "failed")
	if !strings.Contains(st.Description, "Unsupported argument") {
		t.Errorf("description %q", st.Description)
	}
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	if body := r.notes(iid)[0].Body; !strings.Contains(body, "Unsupported argument") || !strings.Contains(body, "the plan failed") {
		t.Errorf("comment %s", body)
	}
	r.quiet()
	r.unrefused()
}

func TestOneRunHoweverOftenToldOfACommit(t *testing.T) {
	r := newRig(t).serve().link()
	r.must("PUT", "/integration", map[string]any{"require_signed": "never"}, 200) // or only our own hook would be believed
	r.stack("network", "infra", nil)
	r.push("feature", "Once", map[string]string{"infra/main.tf": resource("a", "a")})
	r.openMR("feature", "Once")
	r.run("proposed", "finished")
	var push sim.HookDelivery
	until(t, "the push delivery", func() bool {
		for _, d := range r.sim.HookDeliveries(r.project.ID) {
			if d.Event == "Push Hook" && strings.Contains(string(d.Body), "feature") {
				push = d
			}
		}
		return push.ID != 0
	})
	// the same delivery again fifty times at once, and once more as another hook of the project would send it
	var wg sync.WaitGroup
	for i := range 51 {
		wg.Go(func() {
			req, err := http.NewRequest("POST", r.url+"/webhooks/gitlab", strings.NewReader(string(push.Body)))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header = push.Header.Clone()
			req.Header.Set("X-Gitlab-Token", r.secret())
			if i == 50 {
				req.Header.Set("Idempotency-Key", "another-hook")
				req.Header.Set("Webhook-Id", "another-hook")
				req.Header.Del("Webhook-Signature") // it would be of another secret
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	until(t, "verdicts", func() bool { return len(r.items("/deliveries?state=waiting")) == 0 })
	if list := r.items("/runs"); len(list) != 1 {
		t.Errorf("%d runs of one commit: %v", len(list), list)
	}
	sha := r.push("main", "Track it", map[string]string{"infra/main.tf": resource("a", "a")})
	r.run("tracked", "unconfirmed")
	r.quiet()
	if n := len(r.items("/runs?type=tracked")); n != 1 {
		t.Errorf("%d tracked runs of %s", n, sha)
	}
}

func (r *rig) secret() string {
	r.t.Helper()
	in := r.must("GET", "/integration", nil, 200)
	return in["webhook"].(map[string]any)["secret"].(string)
}

func TestAnOutageOfGitLabLosesNothing(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	sha := r.push("main", "Lay out", map[string]string{"infra/main.tf": resource("a", "a")})
	run := r.run("tracked", "unconfirmed")
	r.quiet()
	mrSHA := r.push("feature", "More", map[string]string{"infra/b.tf": resource("b", "b")})
	iid := r.openMR("feature", "More")
	r.run("proposed", "planning", "finished")
	end := r.sim.Fault(sim.Fault{Path: regexp.MustCompile(`/api/v4/`), Status: 500, Body: `{"message":"500 Internal Server Error"}`})
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	r.run("tracked", "finished")
	r.run("proposed", "finished")
	until(t, "failed attempts", func() bool {
		for _, rep := range r.items("/reports?state=waiting") {
			if rep["attempts"].(float64) >= 2 {
				return true
			}
		}
		return false
	})
	end()
	r.status(sha, "groundcrew/network", "success")
	r.status(mrSHA, "groundcrew/network", "success")
	until(t, "the deployment", func() bool {
		d := r.sim.Deployments(r.project.ID)
		return len(d) == 1 && d[0].Status == "success"
	})
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	r.quiet()
	r.unrefused()
}
