package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The files a sandbox process inherits.
const (
	confFD   = 3 // its configuration, and then goAhead
	failedFD = 4 // takes its last words if the command cannot be started
)

// niceness is how far a command gives way to the server; see nice(2).
const niceness = 10

// oomScore makes the kernel take a command, and never the server, when the machine's memory runs out; see proc(5).
const oomScore = "500"

// goAhead is what a sandbox that has laid its limits on itself waits for, as JSON.
var goAhead = []byte("true")

// exitNotStarted is what shells exit with when a command is not found.
const exitNotStarted = 127

// sandboxed is what a sandbox process is told, as JSON.
type sandboxed struct {
	Args      []string `json:"args"`
	Dir       string   `json:"dir"`
	Env       []string `json:"env"`
	Stdout    string   `json:"stdout"`
	Parent    int      `json:"parent"` // the shim; without it the command must not run
	Limits    Limits   `json:"limits"`
	Landlock  bool     `json:"landlock"`
	ReadOnly  []string `json:"read_only"`
	ReadWrite []string `json:"read_write"`
	User      *User    `json:"user"`
	Ports     []uint16 `json:"ports"`
}

// Sandbox is the main function of `groundcrew sandbox`: it lays the limits it is told of on itself and becomes
// the command. It returns, with the exit code of the process, only if that fails.
func Sandbox(args []string) int {
	if len(args) != 0 {
		fmt.Fprintln(os.Stderr, "usage: groundcrew sandbox (started by groundcrew shim, not by hand)")
		return exitUsage
	}
	// Death signal, Landlock and limits of the thread that calls execve are those of the command.
	runtime.LockOSThread()
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil { // before Hide, which gives this folder to root
		fmt.Fprintln(os.Stderr, err)
		return exitNotStarted
	}
	leaveFirst()
	if err := Hide(); err != nil { // while it waits beside another command of its user; the command itself is as it likes
		fmt.Fprintln(os.Stderr, err)
		return exitNotStarted
	}
	failed := os.NewFile(failedFD, "failed")
	err := become(os.NewFile(confFD, "configuration"))
	if _, e := failed.WriteString(err.Error()); e != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return exitNotStarted
}

func become(in *os.File) error {
	var c sandboxed
	told := json.NewDecoder(in)
	if err := told.Decode(&c); err != nil {
		return fmt.Errorf("the sandbox was not told what to run: %w", err)
	}
	if err := dieWith(c.Parent); err != nil {
		return err
	}
	path, err := lookUp(c.Args, c.Env, c.Dir)
	if err != nil {
		return err
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up setuid programs: %w", err)
	}
	if c.Landlock {
		if err := errors.Join(ownIPC(), isolate(path, c)); err != nil {
			return err
		}
	}
	if err := giveWay(); err != nil {
		return err
	}
	// What this process catches is normal again for the command; what it inherited as ignored would stay
	// ignored. Go catches all signals but these from the start.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	// Until now the command before it may have been at work. As nobody whom that could touch, it waits.
	var begin bool
	if err := told.Decode(&begin); err != nil || !begin {
		return errors.Join(errors.New("the sandbox was not told to begin"), err)
	}
	if c.User != nil {
		if err := c.User.turnInto(); err != nil {
			return err
		}
		// The kernel forgets the death signal of a process that changes its user.
		if err := dieWith(c.Parent); err != nil {
			return err
		}
	}
	// After Landlock, so that a link planted in the workspace leads nowhere the command could not write itself.
	if err := redirect(c.Stdout); err != nil {
		return err
	}
	if err := os.Chdir(c.Dir); err != nil {
		if c.User != nil && errors.Is(err, unix.EACCES) {
			err = errors.Join(c.User.Enterable(c.Dir), err)
		}
		return err
	}
	syscall.Umask(0o022)
	// Last, because from here on this process itself may be over its limits.
	if err := limit(c.Limits); err != nil {
		return err
	}
	return execError(path, syscall.Exec(path, c.Args, c.Env))
}

// leaveFirst makes the whole session give way to others. Where the kernel gives each session a fair share (autogroup, see
// sched(7)), niceness counts only inside, and two runs would have as much of the processor as the server has. Kernels
// without it have no such file, and the thread's own niceness does it there.
func leaveFirst() {
	_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(niceness)), 0)
}

// giveWay makes the calling thread, and with it the command, leave the processor to the server.
func giveWay() error {
	// A run that takes all the processor must not take the server's share. The limits of time are not for that.
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, niceness); err != nil {
		return fmt.Errorf("giving way to the server: %w", err)
	}
	// Nor may it interrupt the server whenever it wakes up: it is a batch, which waits for its turn.
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Nice: niceness}, 0); err != nil {
		return fmt.Errorf("giving way to the server: %w", err)
	}
	return nil
}

// dieWith makes the kernel kill the command when the shim dies, and makes sure the shim has not died before.
func dieWith(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != parent {
		return errors.New("the shim has died")
	}
	return nil
}

// lookUp finds the program: absolute, relative to dir, or on the PATH of env.
func lookUp(args, env []string, dir string) (string, error) {
	if len(args) == 0 || args[0] == "" {
		return "", errors.New("the command is empty")
	}
	name := args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	path := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, d := range filepath.SplitList(path) {
		if p := filepath.Join(d, name); filepath.IsAbs(d) && executable(p) == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("there is no program %s on the PATH %s", name, path)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program that may be run", path)
	default:
		return nil
	}
}

// closeOnExec makes sure the command inherits nothing but its three standard files, whatever this process
// itself was started with.
func closeOnExec() error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if fd, err := strconv.Atoi(n); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

func redirect(stdout string) error {
	if stdout == "" {
		return nil
	}
	f, err := os.OpenFile(stdout, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return unix.Dup3(int(f.Fd()), 1, 0)
}

// limit sets the process limits. Memory is RLIMIT_DATA, private writable memory, because programs in Go
// reserve far more address space than they use.
func limit(l Limits) error {
	for _, r := range []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_FSIZE, l.FileBytes},
		{unix.RLIMIT_NOFILE, l.OpenFiles},
		{unix.RLIMIT_NPROC, l.Processes},
		{unix.RLIMIT_DATA, l.MemoryBytes},
	} {
		if r.value == 0 {
			continue
		}
		if err := lower(r.resource, r.value); err != nil {
			return err
		}
	}
	return lower(unix.RLIMIT_CORE, 0)
}

// lower sets a limit, or leaves it where it is lower already.
func lower(resource int, value uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("getrlimit %d: %w", resource, err)
	}
	value = min(value, now.Max)
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("setrlimit %d to %d: %w", resource, value, err)
	}
	return nil
}

func execError(path string, err error) error {
	switch {
	case errors.Is(err, unix.E2BIG):
		return errors.New("arguments and variables together are larger than the kernel allows; mount large values as files")
	case errors.Is(err, unix.EAGAIN):
		return errors.New("the run's user has as many processes as --run-processes allows")
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%s is not a program for this machine", path)
	default:
		return fmt.Errorf("%s: %w", path, err)
	}
}
