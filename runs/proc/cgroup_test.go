package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestGroupDir(t *testing.T) {
	const (
		unified = "24 31 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		bound   = "40 31 0:38 /docker/abc /with\\040space/cg rw shared:1 master:2 - cgroup2 none rw\n"
	)
	for _, c := range []struct{ mounts, groups, want string }{
		{unified, "0::/system.slice/groundcrew.service/server\n", "/sys/fs/cgroup/system.slice/groundcrew.service/server"},
		{unified, "0::/\n", "/sys/fs/cgroup"},
		{hybrid, "4:memory:/x\n0::/\n", "/sys/fs/cgroup/unified"},
		{bound, "0::/docker/abc/deep\n", "/with space/cg/deep"},
		{bound, "0::/docker/abcd\n", "not mounted"},
		{bound + unified, "0::/docker/abcd\n", "/sys/fs/cgroup/docker/abcd"},
		{unified, "0::/../outside\n", "no group"},
		{unified, "4:memory:/x\n", "no group"},
		{"", "0::/\n", "not mounted"},
		{"1 2 - cgroup2\nrubbish - \n\n", "0::/\n", "not mounted"},
	} {
		got, err := groupDir(c.mounts, c.groups)
		if got != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q in %q: %q, %v; want %q", c.groups, c.mounts, got, err, c.want)
		}
	}
}

// tree makes the files that the kernel would make in a group.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The limits are written where the controllers are, in a tree as systemd delegates it to a server in a group beside.
func TestGroupLimits(t *testing.T) {
	top := filepath.Join(t.TempDir(), "groundcrew.service")
	have := map[string]string{"cgroup.controllers": "cpuset cpu memory pids\n", "cgroup.subtree_control": "memory\n", "cgroup.procs": "", "cgroup.events": "", "cgroup.kill": ""}
	tree(t, top, have)
	tree(t, filepath.Join(top, "server"), have)
	tree(t, filepath.Join(top, "groundcrew"), map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "", "cpu.weight": ""})
	one := filepath.Join(top, "groundcrew", "RUN.plan-1")
	tree(t, one, map[string]string{"pids.max": "", "memory.max": "", "memory.swap.max": "", "memory.oom.group": "", "cgroup.kill": "", "memory.events": "low 0\noom_kill 0\n", "pids.events": "max 0\n"})
	p, err := placeOf(filepath.Join(top, "server"))
	if err != nil || p.own || p.top != top {
		t.Fatalf("%+v, %v", p, err)
	}
	if said := fmt.Sprint(p.lacks()); !strings.Contains(said, "controllers io:") {
		t.Errorf("it says %s", said)
	}
	g, err := p.newGroup("RUN.plan-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.limit(Limits{Processes: 64, MemoryBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	g.kill()
	for file, want := range map[string]string{
		"../cpu.weight": "25", "pids.max": "64", "memory.max": "1073741824", "memory.swap.max": "0", "memory.oom.group": "1",
		"cgroup.kill": "1", "../../cgroup.subtree_control": "+cpu", "../cgroup.subtree_control": "+cpu", // each is written by itself
	} {
		if got := read(t, filepath.Join(one, file)); !strings.HasPrefix(got, want) {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	for _, c := range []struct{ file, text, want string }{
		{"pids.events", "max 0\n", ""}, {"pids.events", "max 3\n", CauseProcesses}, {"memory.events", "low 0\nmax 9\noom_kill 2\n", CauseMemory},
	} {
		tree(t, one, map[string]string{c.file: c.text})
		if got := g.excess(); got != c.want {
			t.Errorf("%s %q: %q", c.file, c.text, got)
		}
	}
}

// A server in the group that it was given makes no limits there, and says what would give them.
func TestGroupOfTheServerItself(t *testing.T) {
	top := filepath.Join(t.TempDir(), "groundcrew.service")
	tree(t, top, map[string]string{"cgroup.controllers": "memory pids cpu io", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.events": "", "cgroup.kill": ""})
	p, err := placeOf(top)
	if err != nil || !strings.Contains(fmt.Sprint(p.lacks()), "DelegateSubgroup=server") {
		t.Fatalf("%+v, %v: %v", p, err, p.lacks())
	}
	if _, err := p.newGroup("RUN.plan-1"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(top, "cgroup.subtree_control")); got != "" {
		t.Errorf("it handed on %q", got)
	}
	if err := os.Remove(filepath.Join(top, "cgroup.kill")); err != nil {
		t.Fatal(err)
	}
	if _, err := placeOf(top); err == nil || !strings.Contains(err.Error(), "5.14") {
		t.Errorf("an old kernel: %v", err)
	}
	if _, err := placeOf(filepath.Join(top, "nowhere")); err == nil || !strings.Contains(err.Error(), "may not write") {
		t.Errorf("nowhere: %v", err)
	}
}

// needGroups skips where the kernel lets this test make no groups.
func needGroups(t *testing.T) place {
	t.Helper()
	p, err := findPlace()
	if err != nil {
		t.Skip(err)
	}
	return p
}

// A whole tree of daemons ends with its command, and with a shim that was killed, although none of them leads back to it.
func TestGroupEndsDaemons(t *testing.T) {
	p := needGroups(t)
	const deep = "for i in 1 2 3 4 5; do setsid sh -c '(setsid sh -c \"setsid sleep 7651.%[1]d & sleep 7651.%[1]d\" </dev/null >/dev/null 2>&1 &)'; done; sleep 0.3; cat /proc/self/cgroup; "
	daemons := func() int {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		n := 0
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && string(b) == fmt.Sprintf("sleep\x007651.%d\x00", os.Getpid()) {
				n++
			}
		}
		return n
	}
	script := fmt.Sprintf(deep, os.Getpid())
	b := newBench(t, shell("work", script+"exit 7"))
	res := b.run()
	var name string
	if ok, err := readJSON(filepath.Join(b.job.Dir, groupFile), &name); !ok || err != nil || filepath.Dir(name) != p.dir {
		t.Fatal(name, ok, err)
	}
	if log := b.log("planning"); !strings.Contains(log, "/groundcrew/"+filepath.Base(name)) || res.Exit != 7 {
		t.Errorf("%+v\n%s", res, log)
	}
	if n := daemons(); n != 0 || exists(name) {
		t.Errorf("%d daemons live, the group is there: %v", n, exists(name))
	}
	b = newBench(t, shell("work", script+"touch begun; sleep 7000"))
	done := make(chan error, 1)
	go func() { _, err := b.try(t.Context()); done <- err }()
	for until := time.Now().Add(patience); !exists(b.work("begun")); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not begin")
		}
	}
	if n := daemons(); n != 10 {
		t.Fatalf("%d daemons, want 10", n)
	}
	var shim process
	if _, err := readJSON(filepath.Join(b.job.Dir, shimFile), &shim); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(shim.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != ErrLost {
		t.Errorf("it ended with %v", err)
	}
	name = filepath.Join(p.dir, filepath.Base(filepath.Dir(b.job.Dir))+".job")
	if n := daemons(); n != 0 || exists(name) {
		t.Errorf("%d daemons live, the group is there: %v", n, exists(name))
	}
}

// At a start the groups in which nothing lives are removed, and no other.
func TestGroupsAreCleared(t *testing.T) {
	p := needGroups(t)
	left, err := p.newGroup(fmt.Sprintf("LEFT%d.plan-1", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := left.command(); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, shell("work", "touch begun; while [ ! -e end ]; do sleep 0.01; done"))
	done := make(chan error, 1)
	go func() {
		res, err := b.try(t.Context())
		if err == nil && !res.OK {
			err = fmt.Errorf("%+v", res)
		}
		done <- err
	}()
	for until := time.Now().Add(patience); !exists(b.work("begun")); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not begin")
		}
	}
	if err := ClearGroups(); err != nil {
		t.Error(err)
	}
	var name string
	if ok, err := readJSON(filepath.Join(b.job.Dir, groupFile), &name); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if exists(left.dir) || !exists(name) {
		t.Errorf("the left one is there: %v, the one at work: %v", exists(left.dir), exists(name))
	}
	if err := os.WriteFile(b.work("end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
