package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process names one process for ever: ids are used again, but not with the same start in the same boot.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
	Boot  string `json:"boot"`  // the kernel's id of this boot
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// identify returns the process that has this id now.
func identify(pid int) (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	s, err := readStat(pid)
	return process{pid, s.start, boot}, err
}

// alive reports whether the process runs; one that ended and waits to be reaped does not.
func (p process) alive() bool {
	now, err := identify(p.PID)
	if err != nil || now != p {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && !s.dead()
}

// signal sends sig if the process is still the same one.
func (p process) signal(sig os.Signal) error {
	handle, err := os.FindProcess(p.PID) // holds the process itself where the kernel can, so the id cannot change hands
	if err != nil {
		return err
	}
	defer func() { _ = handle.Release() }()
	if !p.alive() {
		return nil
	}
	if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// A stat is what /proc/<pid>/stat tells of a process.
type stat struct {
	pid, parent, group, session int
	state                       byte
	start                       uint64
	threads                     uint64
	resident                    uint64 // pages
}

func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	// The name in parentheses may hold anything, so count fields from the last one: proc_pid_stat(5).
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 22 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	s := stat{pid: pid, state: f[0][0]}
	for i, to := range []*int{&s.parent, &s.group, &s.session} {
		if *to, err = strconv.Atoi(string(f[1+i])); err != nil {
			return stat{}, err
		}
	}
	for i, to := range map[int]*uint64{17: &s.threads, 19: &s.start, 21: &s.resident} {
		if *to, err = strconv.ParseUint(string(f[i]), 10, 64); err != nil {
			return stat{}, err
		}
	}
	return s, nil
}

// allProcesses lists every process; those that end meanwhile are left out.
func allProcesses() ([]stat, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []stat
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			if s, err := readStat(pid); err == nil {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// killPatience is how long killed processes may take to disappear; only one stuck in the kernel takes longer.
const killPatience = 30 * time.Second

// killDescendants kills whatever is left below this process but for one child (0 = none), and reaps it. The caller
// must be a subreaper, so that daemons too are below it, and must not wait for other children elsewhere meanwhile.
func killDescendants(spare int) error {
	for until := time.Now().Add(killPatience); ; time.Sleep(time.Millisecond) {
		if noChildren(spare) {
			return nil
		}
		if err := killBelow(os.Getpid(), spare); err != nil {
			return err
		}
		if time.Now().After(until) {
			return errors.New("processes of the command cannot be killed; they hang in the kernel")
		}
	}
}

// killBelow kills the descendants of a process but for one. It stops them first, until no more turn up: what is stopped
// does not fork, while every kill would make room for the next child of a fork bomb.
func killBelow(pid, spare int) error {
	held := map[int]bool{}
	for fresh := true; fresh; {
		all, err := allProcesses()
		if err != nil {
			return err
		}
		fresh = false
		for _, p := range below(pid, all) {
			if !held[p] && p != spare {
				held[p], fresh = true, true
				_ = unix.Kill(p, unix.SIGSTOP) // it may be gone
			}
		}
	}
	for p := range held {
		_ = unix.Kill(p, unix.SIGKILL) // it may be gone; if it cannot be killed, the caller's loop ends by its time
	}
	return nil
}

// noChildren reaps what has ended and reports whether nothing is left but for one child. With one, the kernel
// cannot say so by itself; then what hides from a look at all processes is found when the job ends.
func noChildren(spare int) bool {
	if spare != 0 {
		return noChildrenBut(spare)
	}
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.ECHILD) {
			return true
		}
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return false
		}
	}
}

func noChildrenBut(spare int) bool {
	if children, err := ownChildren(); err == nil && len(children) == 1 && children[0] == spare {
		return true // as it nearly always is; a look at all processes takes a hundred times as long
	}
	all, err := allProcesses()
	if err != nil {
		return false // the caller looks too, and says why
	}
	left := false
	for _, s := range all {
		if s.parent == os.Getpid() && s.pid != spare {
			pid, err := syscall.Wait4(s.pid, nil, syscall.WNOHANG, nil)
			left = left || pid == 0 || errors.Is(err, syscall.EINTR)
		}
	}
	return !left
}

// ownChildren lists the children of this process, orphans that came to it among them. Not every kernel can say it.
func ownChildren() ([]int, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err == nil && len(lists) == 0 {
		err = errors.ErrUnsupported
	}
	var pids []int
	for _, list := range lists {
		b, readErr := os.ReadFile(list)
		err = errors.Join(err, readErr)
		for word := range strings.FieldsSeq(string(b)) {
			pid, atoiErr := strconv.Atoi(word)
			err = errors.Join(err, atoiErr)
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// below lists the living descendants of a process.
func below(pid int, all []stat) []int {
	var found []int
	for parents := []int{pid}; len(parents) > 0; parents = parents[1:] {
		for _, s := range all {
			if s.parent == parents[0] && s.pid != pid {
				parents = append(parents, s.pid)
				if !s.dead() {
					found = append(found, s.pid)
				}
			}
		}
	}
	return found
}

// killSessions kills what is left of the sessions and groups that the processes led, and waits until it is
// gone. It is for a job whose shim was killed.
func killSessions(leaders []process) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	for until := time.Now().Add(killPatience); ; time.Sleep(5 * time.Millisecond) {
		all, err := allProcesses()
		if err != nil {
			return err
		}
		left := 0
		for _, l := range leaders {
			if l.Boot != boot {
				continue
			}
			for _, s := range ledBy(l, all) {
				left++
				if err := (process{s.pid, s.start, boot}).signal(unix.SIGKILL); err != nil {
					return fmt.Errorf("killing process %d that is left of the job: %w", s.pid, err)
				}
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d processes of the job cannot be killed; they hang in the kernel", left)
		}
	}
}

// ledBy lists the living processes of the leader's session or group. The kernel gives its id to nobody else
// while one of them lives: if another process has the id now, none is left.
func ledBy(leader process, all []stat) []stat {
	var list []stat
	for _, s := range all {
		if s.pid == leader.PID && s.start != leader.Start {
			return nil
		}
		if (s.session == leader.PID || s.group == leader.PID) && s.start >= leader.Start && !s.dead() {
			list = append(list, s)
		}
	}
	return list
}
