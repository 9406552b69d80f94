package proc

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes the test binary play all the parts of the real one, and a server that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "shim":
			os.Exit(Shim(os.Args[2:], os.Stdin, os.Stderr))
		case "sandbox":
			os.Exit(Sandbox(os.Args[2:]))
		case "server":
			os.Exit(server(os.Args[2:]))
		case "dial":
			os.Exit(dial(os.Args[2]))
		case "one-byte-writes":
			oneByteWrites(os.Args[2])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// server runs a job like a real server: DIR WORK LOGS SCRIPT.
func server(args []string) int {
	r := Runner{Exe: exe()}
	defer r.Close()
	_, err := r.Run(context.Background(), Job{Dir: args[0], Spec: func() (Spec, error) {
		return Spec{WorkDir: args[1], LogDir: args[2], Env: plainEnv, Commands: []Command{shell("work", args[3])}}, nil
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func dial(address string) int {
	network := "unix"
	if _, _, err := net.SplitHostPort(address); err == nil {
		network = "tcp"
	}
	c, err := net.Dial(network, address)
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	fmt.Println("REACHED", address)
	_ = c.Close()
	return 0
}

func oneByteWrites(text string) {
	for i := range len(text) {
		_, _ = os.Stdout.Write([]byte{text[i]})
	}
}

var plainEnv = []string{"PATH=/usr/bin:/bin"}

func exe() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

func shell(name, script string) Command {
	return Command{Name: name, Phase: "planning", Args: []string{"/bin/sh", "-c", script}}
}

// A bench is a place to run jobs in.
type bench struct {
	t    testing.TB
	spec Spec
	job  Job
	told []string
}

func newBench(t testing.TB, commands ...Command) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, spec: Spec{WorkDir: filepath.Join(dir, "work"), LogDir: filepath.Join(dir, "logs"), Env: plainEnv, Commands: commands}}
	b.job = Job{Dir: filepath.Join(dir, "job"), Spec: func() (Spec, error) { return b.spec, nil }}
	b.job.Started = func(phase, name string) { b.told = append(b.told, phase+"/"+name) }
	if err := os.Mkdir(b.spec.WorkDir, 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) try(ctx context.Context) (Result, error) {
	r := Runner{Exe: exe()}
	defer r.Close()
	return r.Run(ctx, b.job)
}

func (b *bench) run() Result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	res, err := b.try(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return res
}

func (b *bench) log(phase string) string {
	return read(b.t, filepath.Join(b.spec.LogDir, phase+".log"))
}

func (b *bench) work(name string) string { return filepath.Join(b.spec.WorkDir, name) }

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// pidIn waits until a script has written a process id to the file.
func pidIn(t testing.TB, path string) process {
	t.Helper()
	var p process
	waitFor(t, path, func() bool {
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 || b[len(b)-1] != '\n' {
			return false
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		if p, err = identify(pid); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return p
}

func TestCommandsInOrder(t *testing.T) {
	b := newBench(t,
		Command{Name: "init", Phase: "initializing", Args: []string{"echo", "hello init"}},
		shell("plan", "echo out; echo err >&2; pwd; printf 'no line end'"),
		shell("plan again", "echo second"),
		Command{Name: "show", Phase: "planning", Args: []string{"echo", "to a file"}})
	b.spec.Commands[3].Stdout = b.work("plan.json")
	b.spec.Env = []string{"PATH=/nowhere:/usr/bin:/bin"}
	res := b.run()
	if !res.OK || res.Exit != 0 || res.Command != "" || res.Cause != "" || res.Message != "" || len(res.Commands) != 4 {
		t.Errorf("result %+v", res)
	}
	for _, c := range res.Commands {
		if c.Exit != 0 || c.Started.IsZero() || c.Ended.Before(c.Started) {
			t.Errorf("command %+v", c)
		}
	}
	want := "\x1b[2m$ sh -c 'echo out; echo err >&2; pwd; printf '\\''no line end'\\'''\x1b[0m\nout\nerr\n" + b.spec.WorkDir +
		"\nno line end\n\x1b[2m$ sh -c 'echo second'\x1b[0m\nsecond\n\x1b[2m$ echo 'to a file'\x1b[0m\n"
	if diff := cmp.Diff(want, b.log("planning")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if got := b.log("initializing"); got != "\x1b[2m$ echo 'hello init'\x1b[0m\nhello init\n" {
		t.Errorf("log of init: %q", got)
	}
	if got := read(t, b.work("plan.json")); got != "to a file\n" {
		t.Errorf("plan.json: %q", got)
	}
	if diff := cmp.Diff([]string{"initializing/init", "planning/plan", "planning/plan again", "planning/show"}, b.told); diff != "" {
		t.Errorf("Started (-want +got):\n%s", diff)
	}
}

func TestFailures(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("neither script nor program"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args           []string
		exit           int
		cause, message string
	}{
		"exit":        {[]string{"/bin/sh", "-c", "exit 3"}, 3, "", "two ended with exit code 3."},
		"signal":      {[]string{"/bin/sh", "-c", "kill -KILL $$"}, 137, "signal: killed", "memory ran out"},
		"segfault":    {[]string{"/bin/sh", "-c", "kill -SEGV $$"}, 139, "signal: segmentation fault", "two was ended by a signal"},
		"missing":     {[]string{gone}, 127, "start: stat " + gone + ": no such file or directory", "two could not be started"},
		"not on PATH": {[]string{"no-such-tool"}, 127, "start: there is no program no-such-tool on the PATH /usr/bin:/bin", "could not"},
		"folder":      {[]string{"/usr"}, 127, "start: /usr is not a program that may be run", "could not"},
		"no program":  {[]string{text}, 127, "start: " + text + " is not a program for this machine", "could not"},
		"too large":   {[]string{"/bin/echo", strings.Repeat("x", 200<<10)}, 127, "start: arguments and variables", "mount large values as files"},
		"empty":       {[]string{""}, 127, "start: the command is empty", "could not"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, shell("one", "true"), Command{Name: "two", Phase: "planning", Args: tt.args}, shell("three", "touch three"))
			res := b.run()
			if res.OK || res.Command != "two" || res.Exit != tt.exit || !strings.HasPrefix(res.Cause, tt.cause) || !strings.Contains(res.Message, tt.message) {
				t.Errorf("result %+v", res)
			}
			if tt.cause == "" && res.Cause != "" || exists(b.work("three")) {
				t.Errorf("cause %q, third command ran: %v", res.Cause, exists(b.work("three")))
			}
		})
	}
}

// stubborn prints its process id to the file "pid" and cannot be talked into ending.
const stubborn = `trap 'echo got INT' INT; trap 'echo got TERM' TERM; echo $$ > pid; while :; do sleep 0.05; done`

func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		script  string
		limits  Limits
		cause   string
		message string
	}{
		"time":            {stubborn, Limits{Time: 300 * time.Millisecond}, CauseTimeout, "no longer than 300ms"},
		"silence":         {"for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; sleep 60", Limits{Silence: 400 * time.Millisecond}, CauseSilence, "printed nothing for 400ms"},
		"flood":           {"while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done", Limits{LogBytes: 2000}, CauseLogLimit, "10 times the 1 KiB"},
		"file":            {"head -c 100000 /dev/zero > big", Limits{FileBytes: 10000}, "", "may not grow beyond 9 KiB: if it must, raise --run-file-size"},
		"own file":        {"exec head -c 100000 /dev/zero > big", Limits{FileBytes: 10000}, "signal: file size limit exceeded", "a file may not grow beyond 9 KiB. If it must, raise --run-file-size"},
		"memory":          {"dd if=/dev/zero of=/dev/null bs=300M count=1", Limits{MemoryBytes: 200 << 20}, "", "no more than 200 MiB of memory: if it needs more, raise --run-memory"},
		"memory together": {"for i in 1 2 3; do head -c 60M /dev/zero | tail -c 50M | (sleep 60; cat) & done; wait", Limits{MemoryBytes: 100 << 20}, CauseMemory, "more than 100 MiB of memory. If it needs more, raise --run-memory"},
		"files":           {"for i in 3 4 5 6 7 8 9; do eval \"exec $i</dev/null\" || exit 1; done", Limits{OpenFiles: 6}, "", "exit code"},
		"processes":       {"for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait", Limits{Processes: 8}, CauseProcesses, "had 8 processes and threads, which is its limit. If it needs more, raise --run-processes"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.limits.Grace = 200 * time.Millisecond
			b := newBench(t, shell("work", tt.script))
			b.spec.Limits = tt.limits
			res := b.run()
			// Whether the kernel refuses first or the shim sees it first is a matter of the moment and of the user.
			refused := res.Hint != "" && (tt.cause == CauseMemory || tt.cause == CauseProcesses)
			if res.OK || res.Cause != tt.cause && !refused || !strings.Contains(strings.ToLower(res.Message), strings.ToLower(tt.message)) && !refused {
				t.Errorf("result %+v\n%.300s", res, b.log("planning"))
			}
		})
	}
}

func TestLogLimitDropsButGoesOn(t *testing.T) {
	b := newBench(t, shell("work", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; touch done"), shell("more", "echo more"))
	b.spec.Limits.LogBytes = 120
	if res := b.run(); !res.OK || !exists(b.work("done")) {
		t.Errorf("result %+v", res)
	}
	log := b.log("planning")
	const notice = "\x1b[0m\n\x1b[33mThis log has reached its limit of 120 bytes. The rest of the output is dropped.\x1b[0m\n"
	if len(log) != 120+len(notice) || !strings.HasSuffix(log, notice) {
		t.Errorf("log of %d bytes: %q", len(log), log)
	}
}

func TestStop(t *testing.T) {
	b := newBench(t, shell("work", stubborn), shell("next", "touch next"))
	b.spec.Limits.Grace = 400 * time.Millisecond
	stop := make(chan struct{})
	b.job.Stop = stop
	go func() {
		pidIn(t, b.work("pid"))
		close(stop)
	}()
	res := b.run()
	if res.OK || res.Cause != CauseStopped || res.Exit != 137 || res.Message != "work was stopped." || exists(b.work("next")) {
		t.Errorf("result %+v", res)
	}
	if got := b.log("planning"); !strings.Contains(got, "\ngot INT\n") || !strings.Contains(got, "\ngot TERM\n") {
		t.Errorf("log %q", got)
	}
}

func TestStopBeforeTheStart(t *testing.T) {
	b := newBench(t, shell("work", "touch ran"))
	if err := os.Mkdir(b.job.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := requestStop(b.job.Dir); err != nil {
		t.Fatal(err)
	}
	if res := b.run(); res.OK || res.Cause != CauseStopped || res.Command != "work" || len(res.Commands) != 0 || exists(b.work("ran")) {
		t.Errorf("result %+v", res)
	}
}

func TestACommandThatFinishesWhenAskedHasEndedWell(t *testing.T) {
	b := newBench(t, shell("work", "trap 'echo finishing; exit 0' INT; echo $$ > pid; while :; do sleep 0.02; done"))
	stop := make(chan struct{})
	b.job.Stop = stop
	go func() {
		pidIn(t, b.work("pid"))
		close(stop)
	}()
	if res := b.run(); !res.OK || res.Cause != "" {
		t.Errorf("result %+v", res)
	}
}

func TestNothingSurvives(t *testing.T) {
	// A child in the background, one that holds the log open in a session of its own, and a daemon that
	// forked twice and detached itself completely.
	b := newBench(t, shell("work", `
		sleep 1000 &
		echo $! > child
		setsid sleep 1000 &
		setsid sh -c '(setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > daemon)'
		while [ ! -s daemon ]; do sleep 0.01; done`))
	var left []process
	got := make(chan []process)
	go func() {
		got <- []process{pidIn(t, b.work("child")), pidIn(t, b.work("daemon"))}
	}()
	// They die within milliseconds, so take their identity before the command ends.
	b.spec.Commands[0].Args[2] += "; while [ ! -e seen ]; do sleep 0.01; done"
	go func() {
		left = <-got
		if err := os.WriteFile(b.work("seen"), nil, 0o600); err != nil {
			t.Error(err)
		}
	}()
	res := b.run()
	if !res.OK {
		t.Errorf("result %+v\n%s", res, b.log("planning"))
	}
	if len(left) != 2 {
		t.Fatal("the script's processes were not seen")
	}
	for _, p := range left {
		if p.alive() {
			t.Errorf("process %d lives", p.PID)
		}
	}
}

func TestALogThatCannotBeOpened(t *testing.T) {
	b := newBench(t, shell("work", "touch ran"))
	if err := os.WriteFile(b.spec.LogDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := b.run(); res.OK || !strings.Contains(res.Message, "the log cannot be written") || exists(b.work("ran")) {
		t.Errorf("result %+v", res)
	}
}

func TestSecretsNeverReachTheLog(t *testing.T) {
	const secret = "c0rrect-h0rse-battery"
	coded := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	b := newBench(t,
		Command{Name: "slow", Phase: "planning", Args: []string{exe(), "one-byte-writes", "a " + secret + " b " + coded + " c\n"}},
		shell("split", "printf c0rrect-; sleep 0.2; printf 'h0rse-battery\\n'; exit 1"))
	b.spec.Secrets = []string{secret}
	b.spec.Env = append(b.spec.Env, "TOKEN="+secret)
	res := b.run()
	log := b.log("planning")
	if strings.Contains(log, secret) || strings.Contains(log, coded[8:24]) || strings.Count(log, "[secret]") < 4 {
		t.Errorf("log %q", log)
	}
	if res.Command != "split" {
		t.Errorf("result %+v", res)
	}
	err := filepath.WalkDir(b.job.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(read(t, path), secret) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOneEndlessLineTakesNoMemory(t *testing.T) {
	b := newBench(t, shell("work", "head -c 200000000 /dev/zero | tr '\\0' x; touch printed; while [ ! -e go ]; do sleep 0.01; done"))
	b.spec.Secrets = []string{"not in the log"}
	done := make(chan Result)
	go func() { done <- b.run() }()
	waitFor(t, "200 MB printed", func() bool { return exists(b.work("printed")) })
	var shim process
	if ok, err := readJSON(filepath.Join(b.job.Dir, shimFile), &shim); !ok || err != nil {
		t.Fatal(ok, err)
	}
	_, peak, _ := strings.Cut(read(t, fmt.Sprintf("/proc/%d/status", shim.PID)), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(peak)[0])
	if err != nil {
		t.Fatal(err)
	}
	if kib > 100<<10 {
		t.Errorf("the shim took %d KiB", kib)
	}
	if err := os.WriteFile(b.work("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-done
	if info, err := os.Stat(filepath.Join(b.spec.LogDir, "planning.log")); err != nil || info.Size() < 200000000 {
		t.Errorf("log: %v, %v", info, err)
	}
}

func BenchmarkRun(b *testing.B) {
	for _, sandbox := range []bool{false, true} {
		b.Run(fmt.Sprintf("sandbox=%v", sandbox), func(b *testing.B) {
			for b.Loop() {
				one := Command{Name: "true", Phase: "planning", Args: []string{"/bin/true"}}
				n := newBench(b, one, one, one)
				n.spec.Sandbox = sandbox
				if res := n.run(); !res.OK {
					b.Fatal(res)
				}
			}
		})
	}
}
