package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// gate is a custom tool whose plan waits until the test opens the gate, so that a run stays at work as long as
// the test wants.
func (r *rig) gate(name string) (open func()) {
	r.t.Helper()
	return r.gateOf(name, `{"format_version":"1.2","resource_changes":[]}`)
}

// gateOf is a gate behind which the plan says what it is told to.
func (r *rig) gateOf(name, plan string) (open func()) {
	r.t.Helper()
	r.stack(name, "infra", map[string]any{"tool": "custom", "commands": map[string]any{
		"plan": "while ! test -e " + filepath.Join("..", "..", "aux", "open") + "; do sleep 0.02; done; touch $GROUNDCREW_PLAN; echo '" + plan + "' > $GROUNDCREW_PLAN_JSON", "apply": "true",
	}})
	return func() {
		dirs, err := filepath.Glob(filepath.Join(r.dir, "work", "*", "aux"))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, d := range dirs {
			if err := os.WriteFile(filepath.Join(d, "open"), nil, 0o600); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *rig) verdict(contains string) {
	r.t.Helper()
	until(r.t, "a verdict with "+contains, func() bool {
		for _, d := range r.items("/deliveries?limit=200") {
			if strings.Contains(d["verdict"].(string), contains) {
				return true
			}
		}
		return false
	})
}

func (r *rig) state(id any) string {
	return r.must("GET", "/runs/"+id.(string), nil, 200)["state"].(string)
}

func TestANewerPushEndsTheOlderProposedRun(t *testing.T) {
	r := newRig(t).serve().link()
	open := r.gate("network")
	first := r.push("feature", "One", map[string]string{"infra/main.tf": "1"})
	old := r.run("proposed", "planning")
	second := r.push("feature", "Two", map[string]string{"infra/main.tf": "2"})
	until(t, "the older run's end", func() bool { return r.state(old["id"]) == "stopped" })
	st := r.status(first, "groundcrew/network", "canceled")
	if !strings.Contains(st.Description, "superseded by "+second[:8]) {
		t.Errorf("status says %q", st.Description)
	}
	r.run("proposed", "planning")
	open()
	r.status(second, "groundcrew/network", "success")
	r.quiet()
	r.unrefused()
}

func TestClosingAMergeRequestEndsItsRuns(t *testing.T) {
	r := newRig(t).serve().link()
	r.gate("network")
	sha := r.push("feature", "One", map[string]string{"infra/main.tf": "1"})
	iid := r.openMR("feature", "One")
	until(t, "the run that knows its merge request", func() bool {
		list := r.items("/runs?state=planning")
		return len(list) == 1 && list[0]["merge_request"] == float64(iid)
	})
	if err := r.sim.CloseMergeRequest(r.project.ID, iid, r.author.ID); err != nil {
		t.Fatal(err)
	}
	r.status(sha, "groundcrew/network", "canceled")
	if got := r.run("proposed", "stopped")["reason"]; got != "the merge request was closed" {
		t.Errorf("reason %v", got)
	}
}

func TestOneBlockingRunPerStackAndTheBlockerIsNamed(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	first := r.run("tracked", "unconfirmed")
	second := r.push("main", "Two", map[string]string{"infra/main.tf": resource("a", "2")})
	waiting := r.run("tracked", "queued")
	if waiting["blocked_by"] != first["id"] || waiting["commit"] != second {
		t.Errorf("the second run is %v", waiting)
	}
	// A proposed run passes by, on a snapshot of the state.
	r.push("feature", "Three", map[string]string{"infra/b.tf": resource("b", "1")})
	r.run("proposed", "finished")

	t.Run("a yes after the branch moved plans again", func(t *testing.T) {
		answer := r.must("POST", "/runs/"+first["id"].(string)+"/confirm", nil, 200)
		if answer["state"] != "queued" || !strings.Contains(answer["reason"].(string), "moved to "+second[:8]) {
			t.Fatalf("the answer is %v", answer)
		}
		until(t, "the fresh plan", func() bool { return r.state(first["id"]) == "unconfirmed" })
		r.must("POST", "/runs/"+first["id"].(string)+"/confirm", nil, 200)
		until(t, "the end", func() bool { return r.state(first["id"]) == "finished" })
	})
	until(t, "the second plan", func() bool { return r.state(waiting["id"]) == "unconfirmed" })
	r.must("POST", "/runs/"+waiting["id"].(string)+"/discard", nil, 200)
	if code, _ := r.api("POST", "/runs/"+waiting["id"].(string)+"/confirm", nil); code != http.StatusConflict {
		t.Errorf("confirming a discarded run: %d", code)
	}
	r.quiet()
	r.unrefused()
}

func TestForksAreHeldUntilTheirCommitIsReleased(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "Start", map[string]string{"infra/main.tf": resource("a", "1")})
	r.run("tracked", "unconfirmed")
	fork, err := r.sim.AddFork(r.project.ID, "stranger/network")
	if err != nil {
		t.Fatal(err)
	}
	sha, err := r.sim.Push(fork.ID, "evil", "From outside", map[string]string{"infra/b.tf": resource("b", "1")})
	if err != nil {
		t.Fatal(err)
	}
	iid, err := r.sim.OpenForkMergeRequest(r.project.ID, fork.ID, "evil", "main", "From outside", r.author.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.verdict("held: the code comes from a fork")
	if n := len(r.items("/runs?type=proposed")); n != 0 {
		t.Fatalf("%d runs of a fork's code", n)
	}
	engine := r.inside.engine
	if _, err := engine.Release(t.Context(), r.project.ID, iid, "0000", "admin"); err == nil {
		t.Error("a commit that is not its head was released")
	}
	started, err := engine.Release(t.Context(), r.project.ID, iid, sha, "admin")
	if err != nil || len(started) != 1 {
		t.Fatalf("released %v, %v", started, err)
	}
	r.run("proposed", "finished")
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
}

func TestEventsThatStartNothingSayWhy(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("feature", "Elsewhere", map[string]string{"infrastructure/x.tf": "x", "README.md": "y"})
	r.verdict("ignored for network: nothing under infra/")
	if err := r.sim.DeleteBranch(r.project.ID, "feature"); err != nil {
		t.Fatal(err)
	}
	r.verdict("ignored: the branch feature was deleted")
	if err := r.sim.CreateTag(r.project.ID, "v1", r.sim.Head(r.project.ID, "main"), "release"); err != nil {
		t.Fatal(err)
	}
	r.verdict("ignored: no stack or module of this project releases from the tag v1")
	if n := len(r.items("/runs")); n != 0 {
		t.Errorf("%d runs", n)
	}
	r.must("PATCH", "/stacks/network", map[string]any{"release_tags": "v*"}, 200)
	sha := r.push("main", "Release me", map[string]string{"infra/main.tf": resource("a", "1")})
	r.run("proposed", "finished")
	if err := r.sim.CreateTag(r.project.ID, "v2", sha, "annotated"); err != nil {
		t.Fatal(err)
	}
	if run := r.run("tracked", "unconfirmed"); run["commit"] != sha {
		t.Errorf("tracked %v", run)
	}
}

func TestUnlinkDetachesAndANewTokenResumes(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	sha := r.push("main", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	run := r.run("tracked", "unconfirmed")
	r.quiet()
	old := r.secret()
	r.must("DELETE", "/integration", nil, 204)
	if got := r.deliver("Push Hook", old, []byte(`{}`)); got != http.StatusUnauthorized {
		t.Errorf("a delivery while unlinked: %d", got)
	}
	if code, raw := r.api("POST", "/stacks/network/runs", map[string]any{"type": "tracked"}); code != http.StatusConflict {
		t.Errorf("a run while detached: %d %s", code, raw)
	}
	r.must("POST", "/runs/"+run["id"].(string)+"/discard", nil, 200)
	r.link()
	if r.secret() == old {
		t.Error("the webhook secret of a new link is the old one")
	}
	r.status(sha, "groundcrew/network", "canceled")

	t.Run("a revoked token loses nothing", func(t *testing.T) {
		r.must("POST", "/projects/"+projectID(r)+"/hook", nil, 200)
		r.sim.RevokeToken(r.token)
		run := r.must("POST", "/runs/"+run["id"].(string)+"/retry", nil, 201)
		until(t, "a report that waits for a token", func() bool {
			for _, rep := range r.items("/reports?state=waiting") {
				if strings.Contains(rep["last_error"].(string), "revoked") {
					return true
				}
			}
			return false
		})
		r.token = r.sim.AddToken(r.bot.ID, "groundcrew 2", []string{"api"}, run2030)
		r.link()
		until(t, "the retried run", func() bool { return r.state(run["id"]) == "unconfirmed" || r.state(run["id"]) == "failed" })
		r.quiet()
	})
}

func TestABadLinkSaysWhatIsWrongAndKeepsWhatWas(t *testing.T) {
	r := newRig(t).serve().link()
	readOnly := r.sim.AddToken(r.bot.ID, "reader", []string{"read_api"}, run2030)
	for what, in := range map[string]struct {
		body map[string]any
		says string
	}{
		"scope":    {map[string]any{"api_url": r.gitlab.URL + "/scm", "token": readOnly}, "api is needed"},
		"token":    {map[string]any{"api_url": r.gitlab.URL + "/scm", "token": "glpat-unknown"}, "token"},
		"not here": {map[string]any{"api_url": "http://127.0.0.1:1", "token": "glpat-x"}, "reachable"},
		"scheme":   {map[string]any{"api_url": "file:///etc/passwd", "token": "glpat-x"}, "not an address"},
		"path":     {map[string]any{"api_url": r.gitlab.URL, "token": r.token}, ""},
	} {
		code, raw := r.api("PUT", "/integration", in.body)
		if code != 422 || !strings.Contains(string(raw), in.says) {
			t.Errorf("%s: %d %s", what, code, raw)
		}
	}
	in := r.must("GET", "/integration", nil, 200)
	if in["api_url"] != r.gitlab.URL+"/scm" || in["token"].(map[string]any)["active"] != true {
		t.Errorf("what was there is gone: %v", in)
	}
}

func TestOwnBackendIsLeftAlone(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("own", "infra", map[string]any{"state": "own backend"})
	r.push("main", "Own", map[string]string{"infra/main.tf": "terraform {\n  backend \"local\" {\n    path = \"own.tfstate\"\n  }\n}\n" + resource("a", "1")})
	run := r.run("tracked", "unconfirmed")
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	r.run("tracked", "finished")
	if n := len(r.items("/stacks/own/state/versions")); n != 0 {
		t.Errorf("%d managed versions of somebody else's state", n)
	}
}

var run2030 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func projectID(r *rig) string { return strconv.FormatInt(r.project.ID, 10) }

func TestSettingsChangedWhileAPlanWaitsAreForTheNextRun(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "One", map[string]string{"infra/main.tf": resource("a", "1"), "other/main.tf": resource("other", "1")})
	run := r.run("tracked", "unconfirmed")
	r.must("PATCH", "/stacks/network", map[string]any{"project_root": "other"}, 200)
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	r.run("tracked", "finished")
	code, state := r.api("GET", "/stacks/network/state", nil)
	if code != 200 || !strings.Contains(string(state), `"name": "a"`) {
		t.Errorf("the state is not the plan's: %d %s", code, state)
	}
}

// TestOwnBackendThatFails: what the tool could not write to the stack's own backend is kept here, and is no managed state.
func TestOwnBackendThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("own", "infra", map[string]any{"state": "own backend"})
	r.push("main", "Own", map[string]string{"infra/main.tf": "terraform {\n  backend \"local\" {\n    path = \"own.tfstate\"\n  }\n}\n" +
		"resource \"terraform_data\" \"new\" {\n  provisioner \"local-exec\" { command = \"mkdir own.tfstate.backup\" }\n}\n", "infra/own.tfstate": `{"version":4,"terraform_version":"1.9.0","serial":7,"lineage":"l","outputs":{},"resources":[]}`})
	run := r.run("tracked", "unconfirmed")["id"].(string)
	r.must("POST", "/runs/"+run+"/confirm", nil, 200)
	why := fmt.Sprint(r.ended(run, "failed")["reason"])
	if !strings.Contains(why, "errored.tfstate, which was kept here. Download it") {
		t.Errorf("the reason: %s\n%s", why, r.logs(run))
	}
	if v := r.items("/stacks/own/state/versions"); len(v) != 1 || v[0]["run"] != run {
		t.Errorf("versions %v", v)
	}
	r.push("main", "Again", map[string]string{"infra/main.tf": "terraform {\n  backend \"local\" {\n    path = \"other.tfstate\"\n  }\n}\n" + resource("b", "b")})
	until(t, "the next run", func() bool { return len(r.items("/runs?type=tracked")) == 2 })
	next := r.run("tracked", "unconfirmed")["id"].(string)
	if log := r.log(next, "planning"); !strings.Contains(log, "1 to add, 0 to change, 0 to destroy") {
		t.Errorf("it planned on what was kept:\n%s", log)
	}
}
