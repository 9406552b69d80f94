package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"groundcrew/runs/redact"
)

const (
	exitUsage    = 2
	exitBusy     = 75 // another shim has the job
	defaultGrace = 10 * time.Second
	retryResult  = time.Second
)

var errBusy = errors.New("another shim has this job")

// Shim is the main function of `groundcrew shim DIR`: it reads an order as JSON from stdin, runs the Spec in it and leaves
// the result in the job's folder, which DIR is or will show. It returns the exit code of the process: 0 if there is a
// result, whatever the result.
func Shim(args []string, stdin io.Reader, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: groundcrew shim DIR (started by the server, not by hand)")
		return exitUsage
	}
	err := runShim(args[0], stdin, stderr)
	if errors.Is(err, errBusy) {
		return exitBusy
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// A shim runs the commands of one job, one after the other. Everything in it belongs to the goroutine of
// Shim; the goroutine that copies a command's output owns the log meanwhile.
type shim struct {
	dir      string
	stderr   io.Writer // shim.err
	spec     Spec
	secrets  *redact.Redactor
	asked    <-chan os.Signal // somebody wants the job to end
	deadline <-chan time.Time
	log      *logFile
	phase    string // whose log that is
	ready    *child // a sandbox that waits to be told; nil once it was
	group    *group // of the commands
	cause    string // why the job is being ended; "" as long as it is not
	result   Result
}

func runShim(shown string, stdin io.Reader, stderr io.Writer) error {
	// A child's death signal (see start) is bound to the thread that started it, so one thread stays the
	// parent of all commands.
	runtime.LockOSThread()
	// It will hold the secrets of the job in memory.
	if err := Hide(); err != nil {
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	// Caught, not ignored, because children inherit what is ignored. Nobody reads the channel.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)

	s := shim{stderr: stderr, asked: asked}
	// The first sandbox starts while the server still prepares the workspace. What it costs to start is then
	// no part of the run; if it is never needed, it dies with the shim.
	s.makeGroup()
	var launchErr error
	s.ready, launchErr = s.launch()
	in, err := io.ReadAll(stdin)
	if err != nil || len(in) == 0 { // there is no job after all
		s.dropReady()
		s.removeGroup()
		return err
	}
	var o order
	if err := json.Unmarshal(in, &o); err != nil {
		return fmt.Errorf("the order did not arrive whole: %w", err)
	}
	s.dir, s.spec = o.Dir, o.Spec
	if err := s.settle(shown); err != nil {
		return err
	}
	if launchErr != nil {
		return fmt.Errorf("starting a sandbox: %w", launchErr)
	}
	lock, err := takeUp(s.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if s.group != nil {
		s.lacksGroup(writeDurable(filepath.Join(s.dir, groupFile), s.group.dir))
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	s.secrets = redact.New(s.spec.Secrets)
	s.run()
	s.keepResult()
	return nil
}

// settle makes this process, which may have been started before there was a job, that of the job: by its name, and by
// where its words go, those of a crash too.
func (s *shim) settle(shown string) error {
	if shown == s.dir {
		return nil
	}
	errs, err := openErrors(s.dir)
	if err != nil {
		return err
	}
	s.stderr = errs
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(errs.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return rename(shown, s.dir)
}

// takeUp makes this process the one that runs the job, now and for ever. The lock keeps a second shim away
// that a restarted server may have started at the same moment; shim.json one that comes later.
func takeUp(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && exists(filepath.Join(dir, shimFile)) {
		err = errBusy
	}
	var me process
	if err == nil {
		me, err = identify(os.Getpid())
	}
	if err == nil {
		err = writeDurable(filepath.Join(dir, shimFile), me)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// run runs the commands and fills in the result.
func (s *shim) run() {
	if s.spec.Limits.Time > 0 {
		s.deadline = time.After(s.spec.Limits.Time)
	}
	if s.spec.Sandbox {
		s.result.Blocked = append(Isolation(s.spec.User != nil), s.result.Blocked...)
	}
	if exists(filepath.Join(s.dir, stopFile)) {
		s.cause = CauseStopped
	}
	s.result.Commands = []Ended{}
	s.lacksGroup(s.group.limit(s.spec.Limits))
	if err := s.handOver(); err != nil && len(s.spec.Commands) > 0 {
		s.fail(s.spec.Commands[0], "start: "+err.Error())
		return
	}
	for i, c := range s.spec.Commands {
		s.notice()
		if s.cause != "" {
			s.fail(c, s.cause)
			break
		}
		var next *Command
		if i+1 < len(s.spec.Commands) {
			next = &s.spec.Commands[i+1]
		}
		if !s.one(c, next) {
			break
		}
	}
	s.leaveNothing()
	s.closeLog()
	s.result.OK = s.result.Command == ""
	s.result.Message = s.secrets.String(s.result.Message)
}

// makeGroup gives the commands a control group where that is possible. Where it should be and is not, the result says so.
func (s *shim) makeGroup() {
	p, err := findPlace()
	if err != nil {
		return // Isolation says it
	}
	s.group, err = p.newGroup(fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()))
	s.lacksGroup(err)
}

// removeGroup removes the control group, in which nothing lives any more unless another shim has the job.
func (s *shim) removeGroup() {
	if err := s.group.remove(); err != nil {
		fmt.Fprintf(s.stderr, "the control group is removed at a next start: %v\n", err)
	}
}

// lacksGroup notes what control groups could not do for this job, if anything.
func (s *shim) lacksGroup(err error) {
	if err != nil {
		s.result.Blocked = append(s.result.Blocked, fmt.Sprintf("The control group of this run is not as it should be: %v. What the run takes together is looked at twice a second.", err))
	}
}

// handOver gives the workspace to the user the commands run as.
func (s *shim) handOver() error {
	if s.spec.User == nil {
		return nil
	}
	return handOver(*s.spec.User, append([]string{s.spec.WorkDir}, s.spec.ReadWrite...))
}

// notice takes up a request or deadline that came while no command ran.
func (s *shim) notice() {
	select {
	case <-s.asked:
		s.cause = CauseStopped
	case <-s.deadline:
		s.cause = CauseTimeout
	default:
	}
}

// one runs one command and reports whether the next one, nil for none, may follow.
func (s *shim) one(c Command, next *Command) bool {
	if err := s.switchLog(c.Phase); err != nil {
		s.fail(c, "start: the log cannot be written: "+err.Error())
		return false
	}
	s.log.prompt(s.secrets.String(commandLine(c.Args)))
	begin := time.Now()
	ch, err := s.start(c)
	if err != nil {
		s.fail(c, "start: "+err.Error())
		return false
	}
	exit, problem := s.await(ch, next)
	s.result.Exit = exit
	if ch.dump != nil && ch.dump.caught != nil {
		s.result.Dump = ch.dump.caught
	}
	s.result.Commands = append(s.result.Commands, Ended{c.Name, c.Phase, exit, begin, time.Now()})
	switch {
	case problem != "":
		s.fail(c, problem)
	case exit == 0:
		s.keep(c)
		return true
	case s.cause != "":
		s.fail(c, s.cause)
	case s.group.excess() != "":
		s.fail(c, s.group.excess())
	case exit > 128 && ch.signaled():
		s.fail(c, "signal: "+syscall.Signal(exit-128).String())
	default:
		s.result.Hint = s.spec.Limits.hint(exit, ch.tail)
		s.fail(c, "")
	}
	return false
}

// switchLog makes phase's log the current one.
func (s *shim) switchLog(phase string) error {
	if s.log != nil && s.phase == phase {
		return nil
	}
	s.closeLog()
	log, err := openLog(s.spec.LogDir, phase, s.spec.Limits.LogBytes)
	s.log, s.phase = log, phase
	return err
}

func (s *shim) closeLog() {
	if s.log == nil {
		return
	}
	if err := errors.Join(s.log.err, s.log.f.Close()); err != nil {
		s.say(fmt.Sprintf("The log of %s is incomplete, because it could not be written: %v.", s.phase, err))
	}
	s.log = nil
}

func (s *shim) say(sentence string) {
	s.result.Message = strings.TrimSpace(s.result.Message + " " + sentence)
}

// fail notes that the job ended with command c and why.
func (s *shim) fail(c Command, cause string) {
	s.result.Command, s.result.Cause = c.Name, cause
	s.say(s.explain(c.Name, cause))
}

// explain says a cause in words: what happened, why, and what to do where anything can be done.
func (s *shim) explain(name, cause string) string {
	l := s.spec.Limits
	switch {
	case cause == "":
		return strings.TrimSpace(fmt.Sprintf("%s ended with exit code %d. %s", name, s.result.Exit, s.result.Hint))
	case cause == CauseStopped && !exists(filepath.Join(s.dir, stopFile)):
		return name + " was stopped, because the system asked its process to end, as it does when the machine is shut down."
	case cause == CauseStopped:
		return name + " was stopped."
	case cause == CauseTimeout:
		return fmt.Sprintf("%s was stopped, because the run may take no longer than %s. If it needs more, raise --run-time, also under Settings › System.", name, l.Time)
	case cause == CauseSilence:
		return fmt.Sprintf("%s was stopped, because it printed nothing for %s. If it is just slow, raise --silence, also under Settings › System.", name, l.Silence)
	case cause == CauseLogLimit:
		return fmt.Sprintf("%s was stopped, because it printed more than %d times the %s that its log may hold. If it must, raise --run-log-size, also under Settings › System.", name, floodFactor, bytesText(l.LogBytes))
	case cause == CauseMemory:
		return fmt.Sprintf("%s was stopped, because the run took more than %s of memory. If it needs more, raise --run-memory, also under Settings › System.", name, bytesText(int64(l.MemoryBytes)))
	case cause == CauseProcesses:
		return fmt.Sprintf("%s was stopped, because the run had %d processes and threads, which is its limit. If it needs more, raise --run-processes, also under Settings › System.", name, l.Processes)
	case cause == "signal: file size limit exceeded":
		return fmt.Sprintf("%s was ended by the system, because a file may not grow beyond %s. If it must, raise --run-file-size, also under Settings › System.", name, bytesText(int64(l.FileBytes)))
	case cause == "signal: killed":
		return name + " was killed from outside. Most often that is the kernel, because memory ran out."
	case strings.HasPrefix(cause, "signal: "):
		return fmt.Sprintf("%s was ended by a signal (%s).", name, strings.TrimPrefix(cause, "signal: "))
	default:
		return fmt.Sprintf("%s could not be started: %s.", name, strings.TrimPrefix(cause, "start: "))
	}
}

// keepResult writes the result, and tries for as long as it takes: it is all that is known of what the
// commands did, and a full disk is emptied some day.
func (s *shim) keepResult() {
	for said := false; ; time.Sleep(retryResult) {
		err := writeDurable(filepath.Join(s.dir, resultFile), s.result)
		if err == nil {
			return
		}
		if !said {
			fmt.Fprintf(s.stderr, "The result cannot be written; trying again until it can: %v\n", err)
			said = true
		}
	}
}
