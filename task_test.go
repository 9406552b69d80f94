package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// applied lays out the code and applies it, so that there is a state.
func (r *rig) applied(files map[string]string) string {
	r.t.Helper()
	sha := r.push("main", "Lay out", files)
	run := r.run("tracked", "unconfirmed")
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	until(r.t, "the apply", func() bool { return r.state(run["id"]) == "finished" })
	return sha
}

// ended waits for a run's end.
func (r *rig) ended(id, state string) map[string]any {
	r.t.Helper()
	var run map[string]any
	until(r.t, "the run that is "+state, func() bool {
		run = r.must("GET", "/runs/"+id, nil, 200)
		if s := run["state"]; s != state && (s == "failed" || s == "finished" || s == "stopped") {
			r.t.Fatalf("the run is %v: %v\n%s", s, run["reason"], r.logs(id))
		}
		return run["state"] == state
	})
	return run
}

func (r *rig) ask(typ, command string) string {
	r.t.Helper()
	body := map[string]any{"type": typ}
	if command != "" {
		body["command"] = command
	}
	return r.must("POST", "/stacks/network/runs", body, 201)["id"].(string)
}

func (r *rig) log(id, phase string) string {
	r.t.Helper()
	code, raw := r.api("GET", "/runs/"+id+"/logs/"+phase, nil)
	if code != 200 {
		r.t.Fatalf("the log of %s: %d %s", phase, code, raw)
	}
	return string(raw)
}

// TestTasksAndDestroy walks a stack to its end: a task reads the state, one changes it, a destroy run empties it, and then
// the stack goes.
func TestTasksAndDestroy(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	sha := r.applied(map[string]string{"infra/main.tf": resource("a", "1") + resource("b", "2")})
	bin := tool(t)
	if bin == "opentofu" {
		bin = "tofu"
	}

	read := r.ended(r.ask("task", bin+" state list; echo region=$TF_VAR_region"), "finished")
	if log := r.log(read["id"].(string), "performing"); !strings.Contains(log, "terraform_data.a\nterraform_data.b\n") {
		t.Errorf("the task printed:\n%s", log)
	}
	if v := r.items("/stacks/network/state/versions"); len(v) != 1 {
		t.Errorf("a task that changed nothing made a state version: %v", v)
	}
	r.ended(r.ask("task", bin+" state rm terraform_data.b"), "finished")
	if v := r.items("/stacks/network/state/versions"); len(v) != 2 || v[0]["resources"] != 1.0 {
		t.Errorf("after a task that changed the state: %v", v)
	}
	failed := r.ended(r.ask("task", "echo before; false; echo after"), "failed")
	if log := r.log(failed["id"].(string), "performing"); !strings.Contains(log, "before") || strings.Contains(log, "\nafter\n") {
		t.Errorf("the failing task printed:\n%s", log)
	}
	r.status(sha, "groundcrew/network", "failed")

	r.must("PATCH", "/stacks/network", map[string]any{"protect": true}, 200)
	if code, raw := r.api("POST", "/stacks/network/runs", map[string]any{"type": "destroy"}); code != http.StatusConflict {
		t.Errorf("a protected stack is destroyed: %d %s", code, raw)
	}
	r.must("PATCH", "/stacks/network", map[string]any{"protect": false}, 200)
	gone := r.ended(r.ask("destroy", ""), "finished")
	if log := r.log(gone["id"].(string), "destroying"); !strings.Contains(log, "Destroy complete! Resources: 1 destroyed") {
		t.Errorf("the destroy run printed:\n%s", log)
	}
	if v := r.items("/stacks/network/state/versions"); len(v) != 3 || v[0]["resources"] != 0.0 || v[0]["run"] != gone["id"] {
		t.Errorf("after the destroy run: %v", v)
	}
	r.status(sha, "groundcrew/network", "success")
	r.must("DELETE", "/stacks/network", nil, 204)
	r.quiet()
	r.unrefused()
}

// TestALockKeepsTasksAndDestroysFromBeginning: also one that came after the request.
func TestALockKeepsTasksAndDestroysFromBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "Lay out", map[string]string{"infra/main.tf": resource("a", "1")})
	standing := r.run("tracked", "unconfirmed")["id"].(string)
	queued := r.ask("destroy", "")
	if _, err := r.inside.engine.Lock("network", "ann", "migration"); err != nil {
		t.Fatal(err)
	}
	if code, raw := r.api("POST", "/stacks/network/runs", map[string]any{"type": "task", "command": "true"}); code != http.StatusConflict || !strings.Contains(string(raw), "ann locked the stack (migration)") {
		t.Errorf("a task on a locked stack: %d %s", code, raw)
	}
	r.must("POST", "/runs/"+standing+"/discard", nil, 200)
	until(t, "the reason", func() bool {
		return strings.Contains(r.must("GET", "/runs/"+queued, nil, 200)["reason"].(string), "ann locked the stack (migration)")
	})
	if s := r.state(queued); s != "queued" {
		t.Fatalf("it is %s", s)
	}
	r.must("POST", "/stacks/network/unlock", nil, 200)
	r.ended(queued, "finished")
}

// stubborn ignores every polite word, and so does its daemon in a session of its own.
const stubborn = `trap '' INT TERM; (setsid sh -c "trap '' INT TERM HUP; while :; do sleep 0.2; done" &) ; echo here-$((40+2)); while :; do sleep 0.2; done`

// TestStopLeavesNothing: first a word, then the whole group is killed, daemons among it.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.applied(map[string]string{"infra/main.tf": resource("a", "1")})
	id := r.ask("task", stubborn)
	until(t, "the task", func() bool { return r.file("logs/"+id+"/performing.log", "here-42") })
	if len(processesOf(t, r.dir)) < 3 {
		t.Fatalf("at work: %v", processesOf(t, r.dir))
	}
	r.must("POST", "/runs/"+id+"/stop", map[string]any{"note": "wrong stack"}, 200)
	run := r.ended(id, "failed") // part of it may have happened
	if run["stop_asked"] == nil || !strings.Contains(run["reason"].(string), "wrong stack") {
		t.Errorf("stopped by %v: %v", run["stop_asked"], run["reason"])
	}
	until(t, "the end of the last process", func() bool { return len(processesOf(t, r.dir)) == 0 })
	if v := r.items("/stacks/network/state/versions"); len(v) != 1 {
		t.Errorf("state versions %v", v)
	}
}

// crash kills what a power cut would: server, shim and what it runs.
func (r *rig) crash(run, job string) {
	r.t.Helper()
	pid := r.shim(run, job)
	r.kill()
	_ = syscall.Kill(pid, syscall.SIGKILL)
	until(r.t, "the end of what the shim ran", func() bool {
		left := processesOf(r.t, r.dir)
		for _, p := range left {
			if _, err := fmt.Sscan(p, &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
			}
		}
		return len(left) == 0
	})
}

// TestMachineCrash is the story of a power cut for each kind of run: a plan is made again; a task and a destroy that may
// have changed something fail with the state that is known, flag the stack, tell GitLab, and are never repeated.
func TestMachineCrash(t *testing.T) {
	t.Run("plan", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.spawn()
		r.link().stack("network", "infra", map[string]any{"tool": "custom", "commands": map[string]any{
			"plan": "echo plan-$((40+2)); sleep 2; touch $GROUNDCREW_PLAN; echo '{\"format_version\":\"1.2\",\"resource_changes\":[]}' > $GROUNDCREW_PLAN_JSON", "apply": "true",
		}})
		sha := r.push("feature", "Plan", map[string]string{"infra/main.tf": "x"})
		id := r.run("proposed", "planning")["id"].(string)
		until(t, "the plan", func() bool { return r.file("logs/"+id+"/planning.log", "plan-42") })
		r.crash(id, "plan-1")
		r.spawn()
		run := r.ended(id, "finished")
		if log := r.log(id, "planning"); strings.Count(log, "plan-42\n") != 2 {
			t.Errorf("planned:\n%s", log)
		}
		if !strings.Contains(fmt.Sprint(run["transitions"]), "the machine restarted while planning") {
			t.Errorf("the record does not say why it was planned twice: %v", run["transitions"])
		}
		r.status(sha, "groundcrew/network", "success")
	})
	for _, how := range []string{"task", "destroy", "task and its workspace", "destroy and its workspace"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			typ, _, lost := strings.Cut(how, " and ")
			r := newRig(t)
			r.spawn()
			r.link().stack("network", "infra", nil)
			code := resource("a", "1")
			if typ == "destroy" {
				code += `resource "terraform_data" "slow" {
  provisioner "local-exec" {
    when    = destroy
    command = "echo begun-$((40+2)); sleep 60"
  }
  depends_on = [terraform_data.a]
}
`
			}
			sha := r.applied(map[string]string{"infra/main.tf": code})
			job, phase, command := "destroy-1", "destroying", ""
			if typ == "task" {
				job, phase, command = "perform-1", "performing", "echo begun-$((40+2)); sleep 60"
			}
			id := r.ask(typ, command)
			until(t, "the work", func() bool { return r.file("logs/"+id+"/"+phase+".log", "begun-42") })
			r.crash(id, job)
			if lost {
				if err := os.RemoveAll(filepath.Join(r.dir, "work", id)); err != nil {
					t.Fatal(err)
				}
			}
			r.spawn()
			run := r.ended(id, "failed")
			if !strings.Contains(run["reason"].(string), "Some of the changes may have been made") {
				t.Errorf("reason %v", run["reason"])
			}
			if log := r.log(id, phase); strings.Count(log, "begun-42\n") != 1 {
				t.Errorf("done more than once:\n%s", log)
			}
			r.checkFlag(sha)
		})
	}
}

// checkFlag: the stack says what is not known and what to do, on its page too, until a tracked run finishes.
func (r *rig) checkFlag(sha string) {
	t := r.t
	t.Helper()
	r.status(sha, "groundcrew/network", "failed")
	if flag, _ := r.must("GET", "/stacks/network", nil, 200)["flag"].(string); !strings.Contains(flag, "Some of the changes may have been made") {
		t.Errorf("flag %q", flag)
	}
	if list := r.items("/runs?type=tracked"); len(list) != 1 {
		t.Errorf("%d tracked runs", len(list))
	}
	run := r.must("POST", "/stacks/network/runs", map[string]any{"type": "tracked"}, 201)["id"].(string)
	until(t, "the plan", func() bool { s := r.state(run); return s == "unconfirmed" || s == "finished" })
	if r.state(run) == "unconfirmed" {
		r.must("POST", "/runs/"+run+"/confirm", nil, 200)
	}
	r.ended(run, "finished")
	if flag := r.must("GET", "/stacks/network", nil, 200)["flag"]; flag != "" && flag != nil {
		t.Errorf("the flag stays: %v", flag)
	}
	r.quiet()
	r.unrefused()
}

// custom makes the stack one whose apply is a script.
func (r *rig) custom(apply string) {
	r.t.Helper()
	r.stack("network", "infra", map[string]any{"tool": "custom", "commands": map[string]any{
		"plan":  `touch $GROUNDCREW_PLAN; echo '{"format_version":"1.2","resource_changes":[{"address":"a.b","mode":"managed","type":"a","name":"b","change":{"actions":["create"],"before":null,"after":{}}}]}' > $GROUNDCREW_PLAN_JSON`,
		"apply": apply,
	}})
}

const aState = `{"version":4,"terraform_version":"1.9.0","serial":7,"lineage":"l","outputs":{},"resources":[{"mode":"managed","type":"a","name":"b","instances":[{}]}]}`

// TestErroredStateIsRescued: a tool that can't write its state leaves errored.tfstate in the project root, and that is
// newer than what lies in the state's place.
func TestErroredStateIsRescued(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().custom(`echo '{"version":4,"serial":6,"lineage":"l","resources":[]}' > $GROUNDCREW_STATE; echo '` + aState + `' > errored.tfstate; echo applied-$((40+2)); sleep 60`)
	sha := r.push("main", "Lay out", map[string]string{"infra/main.tf": "x"})
	id := r.run("tracked", "unconfirmed")["id"].(string)
	r.must("POST", "/runs/"+id+"/confirm", nil, 200)
	until(t, "the apply", func() bool { return r.file("logs/"+id+"/applying.log", "applied-42") })
	r.crash(id, "apply-1")
	r.spawn()
	r.ended(id, "failed")
	if v := r.items("/stacks/network/state/versions"); len(v) != 1 || v[0]["run"] != id || v[0]["serial"] != 7.0 || v[0]["resources"] != 1.0 {
		t.Errorf("state versions %v", v)
	}
	flag, _ := r.must("GET", "/stacks/network", nil, 200)["flag"].(string)
	if !strings.Contains(flag, "Some of the changes may have been made") || !strings.Contains(flag, "errored.tfstate, which was kept") {
		t.Errorf("flag %q", flag)
	}
	again := r.run("tracked", "unconfirmed")
	if again["id"] == id || again["commit"] != sha {
		t.Errorf("the fresh plan is %v", again)
	}
}

// TestAStateNobodyCanReadEndsTheRun: whatever lies in the state's place, the run ends, says so, and flags the stack.
func TestAStateNobodyCanReadEndsTheRun(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]string{
		"folder": "mkdir $GROUNDCREW_STATE", "link": "ln -s /etc/passwd $GROUNDCREW_STATE", "pipe": "mkfifo $GROUNDCREW_STATE", "half": `printf '{"version":4,"ser' > $GROUNDCREW_STATE`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).serve().link()
			r.custom(left)
			r.push("main", "Lay out", map[string]string{"infra/main.tf": "x"})
			id := r.run("tracked", "unconfirmed")["id"].(string)
			r.must("POST", "/runs/"+id+"/confirm", nil, 200)
			until(t, "the end", func() bool { s := r.state(id); return s == "failed" || s == "finished" })
			if v := r.items("/stacks/network/state/versions"); len(v) != 0 {
				t.Errorf("state versions %v", v)
			}
			if reason := r.must("GET", "/runs/"+id, nil, 200)["reason"].(string); !strings.Contains(reason, "can't be read") {
				t.Errorf("reason %q", reason)
			}
			if flag, _ := r.must("GET", "/stacks/network", nil, 200)["flag"].(string); !strings.Contains(flag, "can't be read") {
				t.Errorf("flag %q", flag)
			}
		})
	}
}

// TestStateThatCanNotBeWritten lets the real tool fail to write its state at the end of an apply: what it left instead is
// kept, the run fails and says so, and the stack is flagged until a fresh plan has been applied. A run that removes its state
// is noticed too.
func TestStateThatCanNotBeWritten(t *testing.T) {
	t.Parallel()
	const (
		kept      = "resource \"terraform_data\" \"a\" {\n  input = \"x\"\n}\n"
		provision = "resource \"terraform_data\" \"b\" {\n  provisioner \"local-exec\" { command = %q }\n}\n"
	)
	for name, c := range map[string]struct{ command, state, says, log string }{
		// The tool writes a backup of the state before the state.
		"full": {"mkdir $GROUNDCREW_STATE.backup", "failed", "errored.tfstate, which was kept", "errored.tfstate"},
		"gone": {"rm $GROUNDCREW_STATE", "finished", "removed the state it was given", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).serve().link()
			r.stack("network", "infra", map[string]any{"autodeploy": true})
			r.push("main", "First", map[string]string{"infra/main.tf": kept})
			r.run("tracked", "finished")
			sha := r.push("main", "Second", map[string]string{"infra/main.tf": kept + fmt.Sprintf(provision, c.command)})
			var id string
			until(t, "the second run", func() bool {
				list := r.items("/runs?type=tracked&limit=2")
				id = list[0]["id"].(string)
				return len(list) == 2
			})
			run := r.ended(id, c.state)
			if why, _ := run["reason"].(string); !strings.Contains(why, c.says) {
				t.Errorf("reason %q", why)
			}
			if log := r.log(id, "applying"); !strings.Contains(log, c.log) {
				t.Errorf("the tool did not fail as it should:\n%s", log)
			}
			if flag, _ := r.must("GET", "/stacks/network", nil, 200)["flag"].(string); !strings.Contains(flag, c.says) {
				t.Errorf("flag %q", flag)
			}
			versions := r.items("/stacks/network/state/versions")
			if c.state == "failed" {
				r.status(sha, "groundcrew/network", "failed")
				if len(versions) != 2 || versions[0]["run"] != id || versions[0]["resources"] != 2.0 {
					t.Errorf("state versions %v", versions)
				}
				r.push("main", "Third", map[string]string{"infra/main.tf": kept + "resource \"terraform_data\" \"b\" {}\n"})
				until(t, "the flag to go", func() bool {
					flag, _ := r.must("GET", "/stacks/network", nil, 200)["flag"].(string)
					return flag == ""
				})
				if log := r.logs(r.items("/runs?type=tracked&limit=1")[0]["id"].(string)); !strings.Contains(log, "No changes") {
					t.Errorf("the state that was kept is not what is there:\n%s", log)
				}
			} else if len(versions) != 1 {
				t.Errorf("state versions %v", versions)
			}
			r.quiet()
			r.unrefused()
		})
	}
}

// TestCommittedErroredState: a file of that name that a commit brings is no state that a tool left.
func TestCommittedErroredState(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", map[string]any{"autodeploy": true})
	sha := r.push("main", "Bring a state", map[string]string{"infra/main.tf": resource("a", "a"), "infra/errored.tfstate": aState})
	if st := r.status(sha, "groundcrew/network", "failed"); !strings.Contains(st.Description, "errored.tfstate") {
		t.Errorf("it says %q", st.Description)
	}
	if v := r.items("/stacks/network/state/versions"); len(v) != 0 {
		t.Errorf("state versions %v", v)
	}
}
