package proc

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// spareOf waits until the runner has a shim at hand.
func spareOf(t *testing.T, r *Runner) *worker {
	t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		w := r.spare
		r.mu.Unlock()
		if w != nil {
			return w
		}
	}
	t.Fatal("no shim is at hand")
	return nil
}

func runWith(t *testing.T, r *Runner, b *bench) Result {
	t.Helper()
	res, err := r.Run(t.Context(), b.job)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func shimOf(t *testing.T, b *bench) (p process) {
	t.Helper()
	if ok, err := readJSON(filepath.Join(b.job.Dir, shimFile), &p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return p
}

// The shim kept after one job is the next one's, with that job's sandbox, limits, log, name and errors.
func TestASpareTakesTheNextJob(t *testing.T) {
	r := &Runner{Exe: exe()}
	defer r.Close()
	if res := runWith(t, r, newBench(t, shell("first", "true"))); !res.OK {
		t.Fatalf("%+v", res)
	}
	spare := spareOf(t, r)
	b := newBench(t, shell("second", `echo "I have $WHAT"; tr '\\0' ' ' < /proc/$PPID/cmdline || true; ls ..; sleep 0.3`), shell("third", "exit 3"))
	b.spec.Env = append(b.spec.Env, "WHAT=what I was given")
	b.spec.Sandbox = true
	seen := ""
	b.job.Started = func(_, name string) {
		if s, err := readStat(spare.cmd.Process.Pid); err == nil && name == "second" {
			seen = shimDir(s)
		}
	}
	res := runWith(t, r, b)
	if res.Command != "third" || res.Exit != 3 {
		t.Errorf("%+v", res)
	}
	if p := shimOf(t, b); p.PID != spare.cmd.Process.Pid {
		t.Errorf("the job was run by process %d, and %d was at hand", p.PID, spare.cmd.Process.Pid)
	}
	if seen != b.job.Dir {
		t.Errorf("while it ran it was known by %q", seen)
	}
	if log := b.log("planning"); !strings.Contains(log, "I have what I was given") || strings.Contains(log, "shim.json") {
		t.Errorf("the log:\n%s", log)
	}
	if next := spareOf(t, r); next == spare {
		t.Error("the same shim is at hand again")
	}
}

// A spare that was killed costs nothing: the job starts its own.
func TestAKilledSpareIsReplaced(t *testing.T) {
	r := &Runner{Exe: exe()}
	defer r.Close()
	r.keepSpare()
	spare := spareOf(t, r)
	if err := spare.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-spare.ended
	b := newBench(t, shell("work", "true"))
	if res := runWith(t, r, b); !res.OK || shimOf(t, b).PID == spare.cmd.Process.Pid {
		t.Errorf("%+v", res)
	}
	// And one that is killed at the moment it gets its order.
	spare = spareOf(t, r)
	b = newBench(t, shell("work", "true"))
	spec := b.job.Spec
	b.job.Spec = func() (Spec, error) {
		if !spare.hasEnded() {
			_ = spare.cmd.Process.Kill() // it may end by itself
			<-spare.ended
		}
		return spec()
	}
	if res := runWith(t, r, b); !res.OK {
		t.Errorf("%+v", res)
	}
}

// With the server, by whatever end, its spare ends, and the sandbox of that.
func TestASpareEndsWithTheServer(t *testing.T) {
	r := &Runner{Exe: exe()}
	r.keepSpare()
	spare := spareOf(t, r)
	pid := spare.cmd.Process.Pid
	var sandbox []int
	for until := time.Now().Add(patience); len(sandbox) == 0; time.Sleep(5 * time.Millisecond) {
		all, err := allProcesses()
		if err != nil || time.Now().After(until) {
			t.Fatal("no sandbox waits", err)
		}
		sandbox = below(pid, all)
	}
	_ = spare.stdin.Close() // what a SIGKILL of the server does
	<-spare.ended
	for _, p := range append(sandbox, pid) {
		if err := syscall.Kill(p, 0); err == nil {
			t.Errorf("process %d lives", p)
		}
	}
	r.Close()
	r.keepSpare()
	if r.spare != nil {
		t.Error("a closed runner started a shim")
	}
}

// A job whose folder has a longer path than a spare could show starts its own shim.
func TestALongPathGetsNoSpare(t *testing.T) {
	r := &Runner{Exe: exe()}
	defer r.Close()
	r.keepSpare()
	spareOf(t, r)
	b := newBench(t, shell("work", "true"))
	b.job.Dir = filepath.Join(b.job.Dir, strings.Repeat(strings.Repeat("d", 200)+"/", 6))
	if err := os.MkdirAll(b.job.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if res := runWith(t, r, b); !res.OK {
		t.Errorf("%+v", res)
	}
}

// One that hangs does not keep the server from ending.
func TestAStoppedSpareIsKilled(t *testing.T) {
	r := &Runner{Exe: exe()}
	r.keepSpare()
	spare := spareOf(t, r)
	if err := spare.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if !spare.hasEnded() {
		t.Error("it lives")
	}
}
