package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// countedCode applies once for each n, and says so in the log.
func countedCode(n int) string {
	return fmt.Sprintf(`resource "terraform_data" "slow" {
  triggers_replace = "%d"
  provisioner "local-exec" {
    command = "echo applied-$((%d+1000)); sleep 0.5; echo done-$((%d+1000))"
  }
}
`, n, n, n)
}

// TestKilledAtRandomMoments kills the server ten times while it plans and ten times while it applies: each run
// ends well, with its log whole, and is applied exactly once.
func TestKilledAtRandomMoments(t *testing.T) {
	for _, phase := range []string{"planning", "applying"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			r := newRig(t)
			r.spawn()
			r.link().stack("network", "infra", nil)
			r.quiet()
			for n := range 10 {
				sha := r.push("main", fmt.Sprintf("Change %d", n), map[string]string{"infra/main.tf": countedCode(n)})
				moment := func(most time.Duration) {
					time.Sleep(time.Duration(random.Int64N(int64(most)))) // the random moment itself
					r.kill()
					r.spawn()
				}
				if phase == "planning" {
					moment(900 * time.Millisecond)
				}
				id := r.ofCommit(sha, "unconfirmed")
				r.must("POST", "/runs/"+id+"/confirm", nil, 200)
				if phase == "applying" {
					moment(1200 * time.Millisecond)
				}
				r.ofCommit(sha, "finished")
				log := r.logs(id)
				for _, once := range []string{fmt.Sprintf("applied-%d\n", n+1000), fmt.Sprintf("done-%d\n", n+1000), "Apply complete"} {
					if got := strings.Count(log, once); got != 1 {
						t.Fatalf("%q stands %d times in the log of change %d:\n%s", once, got, n, log)
					}
				}
				if !strings.Contains(log, "to add, 0 to change") {
					t.Errorf("the log of plan %d is not whole:\n%s", n, log)
				}
			}
			r.quiet()
			if list := r.items("/runs?type=tracked&limit=50"); len(list) != 10 {
				t.Errorf("%d runs of 10 changes", len(list))
			}
			if v := r.items("/stacks/network/state/versions?limit=50"); len(v) != 10 {
				t.Errorf("%d state versions of 10 applies", len(v))
			}
		})
	}
}

// ofCommit waits until the tracked run of a commit is in a state, and returns its id.
func (r *rig) ofCommit(sha, state string) string {
	r.t.Helper()
	id := ""
	until(r.t, "the run of "+sha+" "+state, func() bool {
		for _, run := range r.items("/runs?type=tracked&limit=50") {
			if run["commit"] != sha {
				continue
			}
			id = run["id"].(string)
			if run["state"] == "failed" {
				r.t.Fatalf("failed: %v\n%s", run["reason"], r.logs(id))
			}
			return run["state"] == state
		}
		return false
	})
	return id
}

// TestUpgradeDuringAnApply replaces the binary, ends the old server and starts the new one, while a plan and
// then an apply are at work: both go on, with what is left of the old file.
func TestUpgradeDuringAnApply(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exe = filepath.Join(dataDir(t), "groundcrew")
	install := func() {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, self, r.exe+".new")
		if err := os.Rename(r.exe+".new", r.exe); err != nil {
			t.Fatal(err)
		}
	}
	upgrade := func() {
		install()
		if err := r.proc.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := r.proc.Wait(); err != nil {
			t.Fatalf("the old server: %v\n%s", err, r.out)
		}
		r.proc = nil
		r.spawn()
	}
	install()
	r.spawn()
	r.link().stack("network", "infra", nil)
	sha := r.push("main", "Slow", map[string]string{"infra/main.tf": slowCode})
	until(t, "the plan", func() bool { return r.file("work/*/plan-1/shim.json", "") })
	upgrade()
	id := r.ofCommit(sha, "unconfirmed")
	r.must("POST", "/runs/"+id+"/confirm", nil, 200)
	until(t, "the apply", func() bool { return r.file("logs/*/applying.log", "applied-42") })
	pid := r.shim(id, "apply-1")
	upgrade()
	if r.file("logs/*/applying.log", "done-42") {
		t.Log("the apply had ended before the new server was there")
	}
	if err := syscall.Kill(pid, 0); err != nil && !r.file("work/*/apply-1/result.json", "") && r.must("GET", "/runs/"+id, nil, 200)["state"] == "applying" {
		t.Errorf("the process of the apply is gone: %v", err)
	}
	r.ofCommit(sha, "finished")
	r.checkEnd(sha)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
