package proc

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a user without an account.
var nobody = User{UID: 98765, GID: 98766}

// asNobody makes the bench's commands run as that user, who can get to the workspace.
func (b *bench) asNobody() *bench {
	b.t.Helper()
	if os.Geteuid() != 0 {
		b.t.Skip("only root can run commands as another user")
	}
	b.spec.User = &nobody
	for dir := b.spec.WorkDir; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			b.t.Fatal(err)
		}
	}
	return b
}

func TestAnotherUser(t *testing.T) {
	b := newBench(t, shell("who", "id -u; id -g; id -G; cat given; echo mine > mine; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status; echo err > /dev/stderr; cat secret 2>&1; exit 0"),
		shell("server's", fmt.Sprintf("kill -0 %d; cat /proc/%d/environ; echo x > elsewhere/x; exit 0", os.Getpid(), os.Getpid()))).asNobody()
	if err := os.WriteFile(b.work("given"), []byte("given\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(secret, b.work("secret")); err != nil {
		t.Fatal(err)
	}
	// Not in the sandbox: what is refused here is refused to the user.
	res := b.run()
	log := b.log("planning")
	for _, want := range []string{"\n98765\n98766\n98766\ngiven\n", "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n", "err\n", "secret: Permission denied", "Operation not permitted", "Permission denied"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	if !res.OK || strings.Contains(log, "secret text") || read(t, b.work("mine")) != "mine\n" {
		t.Errorf("%+v\n%s", res, log)
	}
}

func TestAnotherUserInTheSandbox(t *testing.T) {
	needLandlock(t)
	b := newBench(t, shell("work", "echo x > f && mkdir d && mv f d/f && cat d/f"), Command{Name: "show", Phase: "planning", Args: []string{"/bin/echo", "shown"}}).asNobody()
	b.spec.Sandbox = true
	b.spec.Commands[1].Stdout = b.work("out")
	if res := b.run(); !res.OK || read(t, b.work("out")) != "shown\n" {
		t.Errorf("%+v\n%s", res, b.log("planning"))
	}
}

// The kernel forgets the death signal of a process that changes its user.
func TestAnotherUsersCommandDiesWithTheShim(t *testing.T) {
	b := newBench(t, shell("work", "echo $$ > pid; exec sleep 1000")).asNobody()
	done := make(chan error)
	go func() {
		_, err := b.try(t.Context())
		done <- err
	}()
	leader := pidIn(t, b.work("pid"))
	var shim process
	if ok, err := readJSON(filepath.Join(b.job.Dir, shimFile), &shim); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := shim.signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != ErrLost {
		t.Error(err)
	}
	if leader.alive() {
		t.Error("the command lives")
	}
}

func TestAFolderTheUserCannotEnterIsNamed(t *testing.T) {
	b := newBench(t, shell("work", "true")).asNobody()
	closed := filepath.Dir(b.spec.WorkDir)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if res := b.run(); !strings.Contains(res.Message, "may not enter "+closed+".") {
		t.Errorf("%+v", res)
	}
}

// A fork bomb is held by the kernel, seen by the shim and cleared away to the last process.
func TestForkBomb(t *testing.T) {
	b := newBench(t, shell("bomb", "bomb() { bomb | bomb & bomb; }; bomb")).asNobody()
	b.spec.Limits = Limits{Processes: 48, Time: 20 * time.Second}
	res := b.run()
	if res.Cause != CauseProcesses && res.Hint == "" || !strings.Contains(res.Message, "raise --run-processes") {
		t.Errorf("%+v", res)
	}
	all, err := allProcesses()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if info, err := os.Stat(fmt.Sprintf("/proc/%d", s.pid)); err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == nobody.UID && !s.dead() {
			t.Errorf("process %d is left", s.pid)
		}
	}
}

func TestPorts(t *testing.T) {
	if err := CanLimitPorts(); err != nil {
		t.Skip(err)
	}
	dial := func(allowed bool) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		b := newBench(t, Command{Name: "dial", Phase: "planning", Args: []string{exe(), "dial", fmt.Sprintf("127.0.0.1:%d", port)}})
		b.spec.Sandbox, b.spec.Ports = true, []uint16{443}
		if allowed {
			b.spec.Ports = []uint16{443, uint16(port)}
		}
		b.run()
		return b.log("planning")
	}
	if got := dial(true); !strings.Contains(got, "REACHED") {
		t.Errorf("allowed: %q", got)
	}
	if got := dial(false); !strings.Contains(got, "permission denied") {
		t.Errorf("refused: %q", got)
	}
}

func TestMapped(t *testing.T) {
	for _, tt := range []struct {
		table string
		want  bool
	}{
		{"         0          0 4294967295\n", true},
		{"         0     100000      65536\n", false},
		{"0 1000 1\n1 100000 200000\n", true},
		{"", false},
	} {
		if got := mapped(tt.table, 66000, 97999); got != tt.want {
			t.Errorf("%q: %v", tt.table, got)
		}
	}
}
