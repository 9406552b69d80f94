package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// buildExec puts a provider into a mirror whose data source executes a script: code that runs while a plan is made.
func buildExec(t *testing.T, mirror string) {
	t.Helper()
	platform := strings.TrimSpace(goEnv(t, "GOOS")) + "_" + strings.TrimSpace(goEnv(t, "GOARCH"))
	to, err := filepath.Abs(filepath.Join(mirror, "registry.terraform.io", "hashicorp", "exec", "1.0.0", platform, "terraform-provider-exec_v1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "-C", "tools/provider-exec", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	readable(t, mirror)
}

// The code that executes attack.sh beside it: while the plan is made, and by a provisioner of the apply.
const (
	duringPlan = `terraform {
  required_providers {
    exec = { source = "registry.terraform.io/hashicorp/exec" }
  }
}
data "exec_run" "attack" { script = "exec bash ./attack.sh" }
output "seen" { value = data.exec_run.attack.output }
`
	duringApply = `resource "terraform_data" "attack" {
  provisioner "local-exec" { command = "exec bash ./attack.sh" }
}
`
)

// What is planted where a run could look for it.
const (
	canaryServer = "CanaryOfTheServer7f31"
	canaryOther  = "CanaryOfAnotherStack9c02"
)

// TestTerraformFindsNothing lets a merge request's plan and a push's apply print all they can read, with the real tool, a
// real provider and a real provisioner, while a run with a secret is at work beside them.
func TestTerraformFindsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.env = []string{"CLOUD_SECRET_KEY=" + canaryServer}
	buildExec(t, filepath.Join(r.dir, "mirror"))
	r.spawn()
	r.link()
	r.stack("vault", "vault", map[string]any{"tool": "custom", "commands": map[string]any{"plan": "echo at work; sleep 3000", "apply": "true"}})
	r.must("PUT", "/stacks/vault/variables/VAULT_PASSWORD", map[string]any{"value": canaryOther, "secret": true}, 200)
	r.push("beside", "Work beside", map[string]string{"vault/x": "x"})
	vault := r.items("/runs?stack=vault")
	until(t, "the run beside", func() bool {
		vault = r.items("/runs?stack=vault")
		return len(vault) == 1 && strings.Contains(r.logs(vault[0]["id"].(string)), "at work")
	})
	r.stack("curious", "infra", map[string]any{"autodeploy": true})
	attack := r.curious()
	sha := r.push("feature", "Look while planning", map[string]string{"infra/main.tf": duringPlan, "infra/attack.sh": attack})
	iid := r.openMR("feature", "Look")
	r.status(sha, "groundcrew/curious", "success")
	r.push("main", "Look while applying", map[string]string{"infra/main.tf": duringApply, "infra/attack.sh": attack})
	r.run("tracked", "finished")
	r.quiet()
	for _, one := range []struct{ typ, phase string }{{"proposed", "planning"}, {"tracked", "applying"}} {
		id := r.items("/runs?stack=curious&type=" + one.typ)[0]["id"].(string)
		out := r.log(id, one.phase)
		if !strings.Contains(out, "LOOKED EVERYWHERE") || !strings.Contains(out, "GROUNDCREW_RUN="+id) || strings.Contains(out, "FOUND") {
			t.Errorf("%s saw:\n%s", one.typ, out)
		}
		if !strings.Contains(out, "403 Forbidden") || !strings.Contains(out, "Blocked: a process of this run dialed Groundcrew itself") {
			t.Errorf("%s: its call of the server:\n%s", one.typ, out)
		}
		_, changes := r.api("GET", "/runs/"+id+"/changes", nil)
		_, run := r.api("GET", "/runs/"+id, nil)
		for where, text := range map[string]string{"logs": r.logs(id), "changes": string(changes), "run": string(run)} {
			for _, secret := range []string{canaryServer, canaryOther, bootstrap, adminPW, r.token, "CLOUD_SECRET_KEY", "GROUNDCREW_BOOTSTRAP", "VAULT_PASSWORD"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s: %s hold %q", one.typ, where, secret)
				}
			}
		}
	}
	for _, n := range r.notes(iid) {
		if strings.Contains(n.Body, "Canary") {
			t.Errorf("a comment: %s", n.Body)
		}
	}
	r.must("POST", "/runs/"+vault[0]["id"].(string)+"/stop", nil, 200)
	r.ended(vault[0]["id"].(string), "stopped")
}

// curious is a script that prints whatever it can get hold of, as text.
func (r *rig) curious() string {
	server, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	gitlab, err := url.Parse(r.gitlab.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("exec 2>/dev/null\n(\nenv\n")
	pid := r.proc.Process.Pid
	for name, probe := range denied(r.dir, pid) {
		if strings.Contains(probe, "$PPID") { // its parent here is the tool, of the same run
			continue
		}
		fmt.Fprintf(&b, "if (%s) >/dev/null; then echo 'FOUND %s'; fi\n", probe, name)
	}
	fmt.Fprintf(&b, "for n in $(seq %d %d); do cat /proc/$n/environ /proc/$n/cmdline; done\n", pid, pid+300)
	fmt.Fprintf(&b, "cat /proc/self/mounts /proc/self/cgroup; cat %[1]s/* %[1]s/*/* %[1]s/*/*/* %[1]s/*/*/*/*/*; cat /root/.ssh/* /root/.* /home/*/.ssh/* /etc/shadow\n", r.dir)
	for host, path := range map[string]string{server.Host: "/api/v1/stacks", gitlab.Host: "/scm/api/v4/projects/" + fmt.Sprint(r.project.ID) + "/hooks"} {
		name, port, _ := strings.Cut(host, ":")
		fmt.Fprintf(&b, "(exec 3<>/dev/tcp/%s/%s; printf 'GET %s HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3)\n", name, port, path)
	}
	b.WriteString("echo LOOKED EVERYWHERE\n) | tr -cd '[:print:]\\n' | head -c 200000\nsleep 0.3\n")
	return b.String()
}

// TestTerraformCannotTakeTheMachine lets plans and applies of the real tool do what would take the machine down, while the
// server has to answer.
func TestTerraformCannotTakeTheMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a fork bomb is held back only for a user of its own, which a server that is not root can't give")
	}
	r := newRig(t)
	r.set = func(c *config) {
		c.workers = 3
		c.limits.time, c.limits.silence = 45*time.Second, time.Minute // long enough for a plan on a busy machine
		c.limits.memory, c.limits.fileSize, c.limits.processes = 1<<30, 64<<20, 200
	}
	buildExec(t, filepath.Join(r.dir, "mirror"))
	r.serve().link()
	marker := fmt.Sprintf("87654.%d", os.Getpid())
	daemon := "setsid bash -c '(setsid sleep " + marker + " </dev/null >/dev/null 2>&1 & disown)'; pgrep -f " + marker + " >/dev/null; sleep 0.2; echo it is alive"
	bomb := "bomb() { bomb | bomb & bomb; }; bomb"
	attacks := []struct{ name, code, script, says string }{
		{"plan-bomb", duringPlan, bomb, "--run-processes"},
		{"plan-file", duringPlan, "head -c 10G /dev/zero > big; exit $?", "--run-file-size"},
		{"plan-daemon", duringPlan, daemon, ""},
		{"apply-bomb", duringApply, bomb, "--run-processes"},
		{"apply-file", duringApply, "head -c 10G /dev/zero > big; exit $?", "--run-file-size"},
		{"apply-loop", duringApply, "while :; do :; done", "--run-time"},
		{"apply-daemon", duringApply, daemon, ""},
	}
	files := map[string]string{}
	for _, a := range attacks {
		r.stack(a.name, a.name, map[string]any{"autodeploy": true})
		files[a.name+"/main.tf"], files[a.name+"/attack.sh"] = a.code, a.script
	}
	done := make(chan struct{})
	slow := make(chan []time.Duration)
	go func() { slow <- answers(r.url+"/healthz", done) }()
	r.push("main", "Attack", files)
	for _, a := range attacks {
		if a.says != "" {
			if why := r.failed(a.name); !strings.Contains(why, a.says) {
				t.Errorf("%s: %q, want something of %s", a.name, why, a.says)
			}
			continue
		}
		var run map[string]any
		until(t, "the end of "+a.name, func() bool {
			run = r.items("/runs?stack=" + a.name)[0]
			return run["state"] == "finished" || run["state"] == "failed"
		})
		if log := r.logs(run["id"].(string)); run["state"] != "finished" || !strings.Contains(log, "it is alive") {
			t.Errorf("%s is %s: %s", a.name, run["state"], log)
		}
	}
	close(done)
	took := <-slow
	slices.Sort(took)
	late := slices.IndexFunc(took, func(d time.Duration) bool { return d > 200*time.Millisecond })
	t.Logf("%d answers, median %s, 99%% %s, worst %s", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if late >= 0 && len(took)-late > len(took)/100 {
		t.Errorf("%d of %d answers took more than 200 ms", len(took)-late, len(took))
	}
	if left := processesWith(t, marker); len(left) > 0 {
		t.Errorf("daemons live: %v", left)
	}
	if left := r.tracesOf().left(t); len(left) > 0 {
		t.Errorf("they left\n%s", strings.Join(left, "\n"))
	}
}
