package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Traces are what runs of a test could leave on the machine: whatever belongs to their users, or has their ids in its name.
type traces struct {
	dir   string // of the data
	runs  []string
	users []string // of the runs, where each has one of its own
	since time.Time
}

// tracesOf are those of all runs there are. Tests of other servers have other runs, whose users may, hardly ever, be the same.
func (r *rig) tracesOf() traces {
	r.t.Helper()
	a, err := defaultLimits.account()
	if err != nil {
		r.t.Fatal(err)
	}
	m := traces{dir: r.dir, since: time.Now()}
	for _, run := range r.items("/runs?limit=100") {
		id := run["id"].(string)
		m.runs = append(m.runs, id)
		if at, err := time.Parse(time.RFC3339Nano, run["created_at"].(string)); err != nil {
			r.t.Fatal(err)
		} else if at.Before(m.since) {
			m.since = at
		}
		if u := a.of(id); u != nil {
			m.users = append(m.users, strconv.Itoa(u.UID))
		}
	}
	if len(m.runs) == 0 {
		r.t.Fatal("there are no runs")
	}
	return m
}

// left lists, in words, what of it is on the machine now: processes, sockets, shared memory, control groups, files in the
// common folders.
func (m traces) left(t *testing.T) (list []string) {
	t.Helper()
	list = append(list, processesOf(t, m.dir)...)
	status, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, f := range status {
		if raw, err := os.ReadFile(f); err == nil && slices.Contains(m.users, field(raw, "Uid:", 1)) {
			list = append(list, "process "+f+": "+field(raw, "Name:", 1))
		}
	}
	for file, column := range map[string]int{"net/tcp": 7, "net/tcp6": 7, "net/udp": 7, "net/udp6": 7, "sysvipc/shm": 7, "sysvipc/sem": 4, "sysvipc/msg": 7} {
		raw, err := os.ReadFile("/proc/self/" + file)
		if err != nil {
			raw, err = os.ReadFile("/proc/" + file)
		}
		if err != nil && file != "net/tcp6" && file != "net/udp6" { // a machine may have no IPv6
			t.Error(err)
		}
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) > column && slices.Contains(m.users, f[column]) && (!strings.HasPrefix(file, "net/tcp") || f[3] != "06") {
				list = append(list, file+": "+line) // 06 is TIME_WAIT: the kernel's own, of a connection that is gone
			}
		}
	}
	if raw, err := os.ReadFile("/proc/net/unix"); err != nil {
		t.Error(err)
	} else {
		list = append(list, m.named("socket", strings.Split(string(raw), "\n"))...)
	}
	for _, top := range []string{"/sys/fs/cgroup", "/tmp", "/var/tmp", "/dev/shm", "/run/lock"} {
		list = append(list, m.below(top)...)
	}
	return list
}

// named are the names that hold the id of a run.
func (m traces) named(what string, names []string) (list []string) {
	for _, n := range names {
		if slices.ContainsFunc(m.runs, func(id string) bool { return strings.Contains(n, id) }) {
			list = append(list, what+" "+n)
		}
	}
	return list
}

// below are files of the runs in a folder that all share, but for the data folder.
func (m traces) below(top string) (list []string) {
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // of others, or gone meanwhile
		}
		if path == m.dir || strings.Count(path, "/") > strings.Count(top, "/")+6 {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && info.ModTime().After(m.since) && slices.Contains(m.users, strconv.Itoa(int(st.Uid))) || len(m.named("", []string{d.Name()})) > 0 {
			list = append(list, fmt.Sprintf("%s of user %d", path, st.Uid))
		}
		return nil
	})
	return list
}

// field is the nth word of the line that begins with a word.
func field(raw []byte, begins string, n int) string {
	for line := range bytes.Lines(raw) {
		if f := strings.Fields(string(line)); len(f) > n && f[0] == begins {
			return f[n]
		}
	}
	return ""
}

// leavesNothing is code for a run that makes everything which could outlive it: daemons in sessions of their own, one that holds
// a TCP port and an abstract socket named after the run, shared memory, a semaphore, a message queue, and files wherever it can.
const leavesNothing = `perl -e '
use Socket;
use POSIX qw(setsid);
for my $deep (1, 2) { fork and exit; setsid(); }
defined(shmget(0x4743, 65536, 01666)) or print "no shm: $!\n";
defined(semget(0x4743, 1, 01666)) or print "no sem: $!\n";
defined(msgget(0x4743, 01666)) or print "no msg: $!\n";
socket(my $u, PF_UNIX, SOCK_STREAM, 0); bind($u, pack("Sa*", AF_UNIX, "\0groundcrew-$ENV{GROUNDCREW_RUN}")) or print "no socket: $!\n"; listen($u, 5);
socket(my $t, PF_INET, SOCK_STREAM, 0); bind($t, sockaddr_in(0, INADDR_LOOPBACK)) or print "no port: $!\n"; listen($t, 5);
open(my $f, ">", "made-$ENV{GROUNDCREW_RUN}"); print $f "it is alive\n"; close $f;
open(STDOUT, ">", "/dev/null"); open(STDERR, ">", "/dev/null"); open(STDIN, "<", "/dev/null");
sleep 7000;
' && for n in $(seq 500); do test -s "made-$GROUNDCREW_RUN" && break; sleep 0.02; done; cat "made-$GROUNDCREW_RUN"
for d in /tmp /var/tmp /dev/shm /run/lock "$HOME" "$TMPDIR"; do touch "$d/made-$GROUNDCREW_RUN" 2>/dev/null || true; done
`

// TestRunsLeaveNothing: what a run makes of the machine's ends with it, however it ends.
func TestRunsLeaveNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set = func(c *config) { c.limits.silence = heavier * 2 * time.Second }
	r.serve().link()
	for name, end := range map[string]string{"well": "", "badly": "exit 7\n", "silent": "sleep 3000\n", "killed": "kill -9 $$\n", "stopped": "while :; do echo on; sleep 0.05; done\n"} {
		r.stack(name, "", map[string]any{"tool": "custom", "commands": map[string]any{"plan": leavesNothing + end + `echo '{"format_version":"1.2","resource_changes":[]}' > $GROUNDCREW_PLAN_JSON`, "apply": "true"}})
	}
	r.push("feature", "Leave things behind", map[string]string{"x": "x"})
	states := map[string]string{"well": "finished", "badly": "failed", "silent": "failed", "killed": "failed", "stopped": "stopped"}
	for name, state := range states {
		var id string
		until(t, "the run of "+name, func() bool {
			list := r.items("/runs?stack=" + name)
			if len(list) == 1 {
				id = list[0]["id"].(string)
			}
			return len(list) == 1
		})
		if name == "stopped" {
			until(t, "that it is at work", func() bool { return r.file("logs/"+id+"/planning.log", "on\n") })
			r.must("POST", "/runs/"+id+"/stop", nil, 200)
		}
		r.ended(id, state)
		if log := r.log(id, "planning"); !strings.Contains(log, "it is alive") || strings.Contains(log, "\nno ") {
			t.Errorf("%s made not all it should:\n%s", name, log)
		}
	}
	m := r.tracesOf()
	var left []string
	until(t, "an empty workspace", func() bool { left, _ = filepath.Glob(filepath.Join(r.dir, "work", "*")); return len(left) == 0 })
	if left = m.left(t); len(left) > 0 {
		t.Errorf("it left\n%s", strings.Join(left, "\n"))
	}
}
