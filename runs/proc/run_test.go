package proc

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResultIsKept(t *testing.T) {
	b := newBench(t, shell("count", "echo x >> runs"))
	first := b.run()
	b.job.Spec = func() (Spec, error) { return Spec{}, errors.New("asked for the specification of a job that has ended") }
	if diff := cmp.Diff(first, b.run()); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	if got := read(t, b.work("runs")); got != "x\n" {
		t.Errorf("ran %q times", got)
	}
}

func TestTheServerIsKilled(t *testing.T) {
	b := newBench(t)
	script := "echo once >> runs; echo $$ > pid; for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; while [ ! -e go ]; do sleep 0.02; done; echo end"
	cmd := exec.CommandContext(t.Context(), exe(), "server", b.job.Dir, b.spec.WorkDir, b.spec.LogDir, script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := pidIn(t, b.work("pid"))
	// Not only the server: everything in its group, as a terminal or a service manager does it.
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the server ended by itself")
	}
	if !p.alive() {
		t.Fatal("the command died with the server")
	}
	b.job.Spec = func() (Spec, error) { return Spec{}, errors.New("started twice") }
	ctx, cancel := context.WithCancel(t.Context())
	b.job.Started = func(string, string) { cancel() }
	if _, err := b.try(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("detaching: %v", err)
	}
	if !p.alive() {
		t.Fatal("the command died when the server let go of it")
	}
	if err := os.WriteFile(b.work("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := b.run(); !res.OK || len(res.Commands) != 1 {
		t.Errorf("result %+v", res)
	}
	if log := b.log("planning"); !strings.HasSuffix(log, "\nline 1\nline 2\nline 3\nline 4\nline 5\nend\n") {
		t.Errorf("log %q", log)
	}
	if got := read(t, b.work("runs")); got != "once\n" {
		t.Errorf("the command ran: %q", got)
	}
}

func TestStopAfterRestart(t *testing.T) {
	b := newBench(t, shell("work", "echo $$ > pid; exec sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	b.job.Started = func(string, string) { cancel() }
	if _, err := b.try(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	pidIn(t, b.work("pid"))
	stop := make(chan struct{})
	close(stop)
	b.job.Stop = stop
	if res := b.run(); res.Cause != CauseStopped {
		t.Errorf("result %+v", res)
	}
}

func TestTheShimIsKilled(t *testing.T) {
	b := newBench(t, shell("work", `trap "" INT TERM HUP; sleep 1000 & echo $! > child; echo $$ > pid; wait`))
	type end struct {
		res Result
		err error
	}
	done := make(chan end)
	go func() {
		res, err := b.try(t.Context())
		done <- end{res, err}
	}()
	leader, child := pidIn(t, b.work("pid")), pidIn(t, b.work("child"))
	var shim process
	if ok, err := readJSON(filepath.Join(b.job.Dir, shimFile), &shim); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := shim.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := <-done; !errors.Is(e.err, ErrLost) {
		t.Errorf("%+v, %v", e.res, e.err)
	}
	if leader.alive() || child.alive() {
		t.Errorf("alive: leader %v, child %v", leader.alive(), child.alive())
	}
	if _, err := b.try(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("asked again: %v", err)
	}
}

// A server that dies while it hands over the specification has started nothing.
func TestHalfASpecificationStartsNothing(t *testing.T) {
	b := newBench(t, shell("work", "echo ran >> runs"))
	if err := os.Mkdir(b.job.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if code := Shim([]string{b.job.Dir}, strings.NewReader(`{"work_dir":"/tmp","comm`), io.Discard); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if res := b.run(); !res.OK || read(t, b.work("runs")) != "ran\n" {
		t.Errorf("result %+v", res)
	}
}

func TestOneShimOnly(t *testing.T) {
	b := newBench(t, shell("work", "true"))
	b.run()
	if _, err := takeUp(b.job.Dir); !errors.Is(err, errBusy) {
		t.Errorf("taking up an ended job: %v", err)
	}
}

func TestAShimThatCannotStartSaysWhy(t *testing.T) {
	b := newBench(t, shell("work", "true"))
	r := Runner{Exe: filepath.Join(t.TempDir(), "gone")}
	if _, err := r.Run(t.Context(), b.job); err == nil || !strings.Contains(err.Error(), "gone: no such file") {
		t.Errorf("no binary: %v", err)
	}
	if err := os.Mkdir(filepath.Join(b.job.Dir, lockFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := b.try(t.Context()); err == nil || !strings.Contains(err.Error(), "lock: is a directory") {
		t.Errorf("no lock: %v", err)
	}
	want := errors.New("no source")
	b.job.Spec = func() (Spec, error) { return Spec{}, want }
	if _, err := b.try(t.Context()); !errors.Is(err, want) {
		t.Errorf("no specification: %v", err)
	}
}

// A machine that shuts down sends SIGTERM to everything: the command gets its chance to end well.
func TestTheSystemAsksToEnd(t *testing.T) {
	b := newBench(t, shell("work", "trap 'echo saved; exit 1' INT; echo $$ > pid; while :; do sleep 0.02; done"))
	go func() {
		pidIn(t, b.work("pid"))
		var shim process
		if ok, err := readJSON(filepath.Join(b.job.Dir, shimFile), &shim); !ok || err != nil {
			t.Error(ok, err)
		}
		if err := shim.signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}()
	res := b.run()
	if res.Cause != CauseStopped || res.Exit != 1 || !strings.Contains(res.Message, "the system asked its process to end") || !strings.HasSuffix(b.log("planning"), "saved\n") {
		t.Errorf("result %+v\n%s", res, b.log("planning"))
	}
}

// A full disk costs log, never the work or its result.
func TestFullDisk(t *testing.T) {
	b := newBench(t, shell("work", "echo text; touch done"))
	for _, dir := range []string{b.spec.LogDir, filepath.Join(b.job.Dir, resultFile+".tmp", "in the way")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/full", filepath.Join(b.spec.LogDir, "planning.log")); err != nil {
		t.Fatal(err)
	}
	go func() {
		waitFor(t, "the shim complains", func() bool {
			said, err := os.ReadFile(filepath.Join(b.job.Dir, errFile))
			return err == nil && strings.Contains(string(said), "The result cannot be written")
		})
		if err := os.RemoveAll(filepath.Join(b.job.Dir, resultFile+".tmp")); err != nil {
			t.Error(err)
		}
	}()
	if res := b.run(); !res.OK || !strings.Contains(res.Message, "The log of planning is incomplete") || !strings.Contains(res.Message, "no space left") || !exists(b.work("done")) {
		t.Errorf("result %+v", res)
	}
}
