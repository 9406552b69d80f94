package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
)

// slowCode applies once and says so in the log, slowly enough to be killed in the middle.
const slowCode = `resource "terraform_data" "slow" {
  input = "x"
  provisioner "local-exec" {
    command = "echo applied-$((40+2)); sleep 0.7; echo done-$((40+2))"
  }
}
`

// file reports whether any file of the pattern in the data folder holds the text.
func (r *rig) file(pattern, text string) bool {
	files, _ := filepath.Glob(filepath.Join(r.dir, pattern))
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && bytes.Contains(raw, []byte(text)) {
			return true
		}
	}
	return false
}

// asked reports whether GitLab was asked something, answered or not.
func (r *rig) asked(method, path string) bool {
	for _, q := range r.sim.Requests() {
		if q.Method == method && regexp.MustCompile(path).MatchString(q.Path) {
			return true
		}
	}
	return false
}

func (r *rig) shows(sha, text string) bool {
	for _, s := range r.sim.Statuses(r.project.ID, sha) {
		if strings.Contains(s.Description, text) {
			return true
		}
	}
	return false
}

// TestKilledBetweenAnyTwoArrows kills the server with SIGKILL at each arrow of the way of a tracked run and
// expects the next server to bring it to the same end: applied once, told once, nothing left hanging.
func TestKilledBetweenAnyTwoArrows(t *testing.T) {
	cut := func(method, path string) func(*rig) {
		return func(r *rig) {
			r.sim.Fault(sim.Fault{Method: method, Path: regexp.MustCompile(path), Times: 1, CutAfterWork: true})
		}
	}
	moments := []struct {
		name  string
		setUp func(*rig)
		now   func(r *rig, sha string) bool
	}{
		{"delivery answered", nil, func(r *rig, _ string) bool {
			for _, d := range r.sim.HookDeliveries(r.project.ID) {
				if d.Event == "Push Hook" && d.Status == 200 {
					return true
				}
			}
			return false
		}},
		{"first status sent, answer lost", cut("POST", "/statuses/"), func(r *rig, _ string) bool { return r.asked("POST", "/statuses/") }},
		{"pending in GitLab", nil, func(r *rig, sha string) bool { return len(r.sim.Statuses(r.project.ID, sha)) > 0 }},
		{"process started", nil, func(r *rig, _ string) bool { return r.file("work/*/plan-1/shim.json", "") }},
		{"planning", nil, func(r *rig, _ string) bool { return r.file("logs/*/planning.log", "") }},
		{"plan ended", nil, func(r *rig, _ string) bool { return r.file("work/*/plan-1/result.json", "") }},
		{"waiting in GitLab", nil, func(r *rig, sha string) bool { return r.shows(sha, "Waiting for confirmation") }},
		{"deployment made, answer lost", cut("POST", "/deployments"), func(r *rig, _ string) bool { return r.asked("POST", "/deployments") }},
		{"applying", nil, func(r *rig, _ string) bool { return r.file("logs/*/applying.log", "applied-42") }},
		{"apply ended", nil, func(r *rig, _ string) bool { return r.file("work/*/apply-1/result.json", "") }},
		{"deployment ended, answer lost", cut("PUT", "/deployments/"), func(r *rig, _ string) bool { return r.asked("PUT", "/deployments/") }},
	}
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.spawn()
			r.link().stack("network", "infra", nil)
			r.quiet()
			if m.setUp != nil {
				m.setUp(r)
			}
			sha := r.push("main", "Slow", map[string]string{"infra/main.tf": slowCode})
			confirmed := false
			confirm := func() {
				if list := r.items("/runs?type=tracked&limit=1"); !confirmed && len(list) == 1 && list[0]["state"] == "unconfirmed" {
					r.must("POST", "/runs/"+list[0]["id"].(string)+"/confirm", nil, 200)
					confirmed = true
				}
			}
			late := strings.HasPrefix(m.name, "apply") || m.name == "deployment ended, answer lost"
			until(t, m.name, func() bool {
				if late {
					confirm()
				}
				return m.now(r, sha)
			})
			r.kill()
			r.spawn()
			until(t, "the end of the run", func() bool {
				confirm()
				list := r.items("/runs?type=tracked")
				if len(list) > 0 && list[0]["state"] == "failed" {
					t.Fatalf("failed: %v\n%s", list[0]["reason"], r.logs(list[0]["id"].(string)))
				}
				return len(list) > 0 && list[0]["state"] == "finished"
			})
			r.checkEnd(sha)
		})
	}
}

// checkEnd checks that one run ended well, was applied once, and that GitLab shows just that.
func (r *rig) checkEnd(sha string) {
	t := r.t
	t.Helper()
	r.quiet()
	list := r.items("/runs?type=tracked")
	if len(list) != 1 {
		t.Fatalf("%d runs", len(list))
	}
	log := r.logs(list[0]["id"].(string))
	if n := strings.Count(log, "applied-42\n"); n != 1 {
		t.Errorf("applied %d times:\n%s", n, log)
	}
	if !strings.Contains(log, "done-42") || !strings.Contains(log, "Apply complete") {
		t.Errorf("the log is not whole:\n%s", log)
	}
	final := r.status(sha, "groundcrew/network", "success")
	if final.Description != "1 to add, 0 to change, 0 to destroy: applied" {
		t.Errorf("status says %q", final.Description)
	}
	pending := 0
	for _, s := range r.sim.Statuses(r.project.ID, sha) {
		if !s.Retried && (s.State == "pending" || s.State == "running") {
			pending++
		}
	}
	if pending > 0 {
		t.Errorf("%d statuses hang", pending)
	}
	if d := r.sim.Deployments(r.project.ID); len(d) != 1 || d[0].Status != "success" {
		t.Errorf("deployments %+v", d)
	}
	if v := r.items("/stacks/network/state/versions"); len(v) != 1 {
		t.Errorf("state versions %v", v)
	}
}

// TestKilledWhileCommenting loses the answer to the comment's creation and the server with it: there must be
// one comment in the end.
func TestKilledWhileCommenting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", nil)
	r.quiet()
	r.sim.Fault(sim.Fault{Method: "POST", Path: regexp.MustCompile("/notes"), Times: 1, CutAfterWork: true})
	r.push("feature", "Add", map[string]string{"infra/main.tf": resource("a", "a")})
	iid := r.openMR("feature", "Add")
	until(t, "the comment's request", func() bool { return r.asked("POST", "/notes") })
	r.kill()
	r.spawn()
	r.quiet()
	if n := r.notes(iid); len(n) != 1 {
		t.Errorf("%d comments", len(n))
	}
}

// TestMachineDiesWhileApplying kills the run's own processes too: an apply is never repeated by guess.
func TestMachineDiesWhileApplying(t *testing.T) {
	t.Run("and the workspace is there", func(t *testing.T) { dieWhileApplying(t, false) })
	t.Run("and the workspace is lost", func(t *testing.T) { dieWhileApplying(t, true) })
}

func dieWhileApplying(t *testing.T, loseWorkspace bool) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", nil)
	// What depends on the slow one never comes to be, so the fresh plan has something to add whatever state the tool left.
	code := strings.ReplaceAll(slowCode, "sleep 0.7", "sleep 30") + "resource \"terraform_data\" \"after\" {\n  input = terraform_data.slow.id\n  depends_on = [terraform_data.slow]\n}\n"
	sha := r.push("main", "Slow", map[string]string{"infra/main.tf": resource("quick", "a") + code})
	run := r.run("tracked", "unconfirmed")["id"].(string)
	r.must("POST", "/runs/"+run+"/confirm", nil, 200)
	until(t, "the apply", func() bool { return r.file("logs/*/applying.log", "applied-42") })
	r.crash(run, "apply-1")
	if loseWorkspace {
		if err := os.RemoveAll(filepath.Join(r.dir, "work", run)); err != nil {
			t.Fatal(err)
		}
	}
	r.spawn()
	until(t, "the failed run", func() bool { return r.must("GET", "/runs/"+run, nil, 200)["state"] == "failed" })
	if why := r.must("GET", "/runs/"+run, nil, 200)["reason"].(string); !strings.Contains(why, "Some of the changes may have been made") {
		t.Errorf("the reason: %s", why)
	}
	again := r.run("tracked", "unconfirmed")
	if again["id"] == run || again["commit"] != sha {
		t.Errorf("the fresh plan is %v", again)
	}
	if flag := r.must("GET", "/stacks/network", nil, 200)["flag"]; flag == "" {
		t.Error("the stack is not flagged")
	}
	if n := strings.Count(r.logs(run), "applied-42\n"); n != 1 {
		t.Errorf("applied %d times", n)
	}
	r.quiet()
	failed := false
	for _, d := range r.sim.Deployments(r.project.ID) {
		failed = failed || d.Status == "failed"
	}
	if !failed {
		t.Errorf("deployments %+v", r.sim.Deployments(r.project.ID))
	}
}

// shim is the pid of the process that runs a job.
func (r *rig) shim(run, job string) int {
	r.t.Helper()
	raw, err := os.ReadFile(filepath.Join(r.dir, "work", run, job, "shim.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	m := regexp.MustCompile(`"pid":\s*(\d+)`).FindSubmatch(raw)
	if m == nil {
		r.t.Fatalf("no pid in %s", raw)
	}
	pid := 0
	fmt.Sscan(string(m[1]), &pid)
	return pid
}

// TestStopEndsTheWholeGroup stops a run at work: the person's name stands in it, and nothing is left running.
func TestStopEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", map[string]any{"tool": "custom", "commands": map[string]any{"plan": "trap '' INT TERM; sleep 300", "apply": "true"}})
	sha := r.push("feature", "Hang", map[string]string{"infra/main.tf": resource("a", "a")})
	run := r.run("proposed", "planning")
	id := run["id"].(string)
	started := time.Now()
	if code, raw := r.api("POST", "/runs/"+id+"/stop", map[string]any{"note": "wrong branch"}); code != 200 {
		t.Fatalf("stop: %d %s", code, raw)
	}
	until(t, "the stopped run", func() bool { return r.must("GET", "/runs/"+id, nil, 200)["state"] == "stopped" })
	if d := time.Since(started); d > 30*time.Second {
		t.Errorf("it took %s", d)
	}
	st := r.status(sha, "groundcrew/network", "canceled")
	if !strings.Contains(st.Description, "wrong branch") {
		t.Errorf("status says %q", st.Description)
	}
}
