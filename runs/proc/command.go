package proc

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lingering is how long a pipe may stay open after all who held it are dead.
const lingering = 2 * time.Second

// A child is one running command: the sandbox process that becomes the command, leader of its own session.
type child struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the leader has ended
	became chan struct{} // closed when the sandbox has become the command, or never will
	copied chan struct{} // closed when all its output is in the log
	out    *os.File      // where its output comes from
	failed *os.File      // where the sandbox's last words come from
	words  []byte        // these, when became is closed; none when the command itself runs
	conf   *os.File      // takes the sandbox's configuration, and then the word to begin
	begin  chan struct{} // closed when it may begin, nil until it has its configuration
	ends   pipes         // all of these
	heard  atomic.Int64  // when it last printed, in nanoseconds since base
	base   time.Time
	group  *group       // nil for none
	tail   tail         // the end of what it printed; whole when copied is closed
	dump   *dumpCatcher // nil unless the command may print a state
}

// brief tells a sandbox what it is to become. It does all that can be done beforehand and waits for the word to begin.
func (s *shim) brief(ch *child, c Command) error {
	conf, err := json.Marshal(sandboxed{
		Args: c.Args, Dir: s.spec.WorkDir, Env: s.spec.Env, Stdout: c.Stdout, Parent: os.Getpid(), Limits: s.spec.Limits,
		Landlock: s.spec.Sandbox, ReadOnly: s.spec.ReadOnly, ReadWrite: s.spec.ReadWrite, User: s.spec.User, Ports: s.spec.Ports,
	})
	if err != nil {
		return err
	}
	begin := make(chan struct{})
	ch.begin = begin
	go func() {
		// If the sandbox does not take all of it, it says why.
		_, _ = ch.conf.Write(conf)
		<-begin
		_, _ = ch.conf.Write(goAhead)
		_ = ch.conf.Close()
	}()
	return nil
}

// start starts a command. It is on record in the progress file before the first of its instructions runs:
// the sandbox waits for the word until then.
func (s *shim) start(c Command) (*child, error) {
	ch, err := s.ready, error(nil)
	s.ready = nil
	if ch == nil {
		ch, err = s.launch()
	}
	if err == nil && ch.begin == nil {
		err = s.brief(ch, c)
	}
	if err != nil {
		return nil, err
	}
	ch.base = time.Now()
	id, err := identify(ch.cmd.Process.Pid)
	if err == nil {
		err = appendStep(s.dir, step{c.Phase, c.Name, id})
	}
	if err != nil {
		// Without the word the sandbox ends by itself.
		ch.ends.closeOurs()
		return nil, errors.Join(err, ch.cmd.Wait())
	}
	if c.Dump {
		ch.dump = &dumpCatcher{}
	}
	close(ch.begin)
	go ch.copyOutput(s)
	go func() {
		defer close(ch.became)
		ch.words, _ = io.ReadAll(ch.failed) // the kernel closes it when the command begins
	}()
	go func() {
		defer close(ch.ended)
		_ = ch.cmd.Wait() // the state is read from the Cmd
	}()
	return ch, nil
}

// spare is the id of the sandbox that waits for the next command, 0 for none.
func (s *shim) spare() int {
	if s.ready == nil {
		return 0
	}
	return s.ready.cmd.Process.Pid
}

// prepareNext starts the sandbox of the next command while one is at work. Without it that starts its own.
func (s *shim) prepareNext(c Command) {
	ch, err := s.launch()
	if err != nil {
		return
	}
	s.ready = ch
	if err := s.brief(ch, c); err != nil {
		s.dropReady()
	}
}

// leaveNothing ends the sandbox that was not needed, and makes sure that really nothing is left of the job.
func (s *shim) leaveNothing() {
	s.dropReady()
	if err := killDescendants(0); err != nil {
		s.say("What it started is still there: " + err.Error() + ".")
	}
	s.removeGroup()
}

// dropReady ends the sandbox that was not needed.
func (s *shim) dropReady() {
	if s.ready == nil {
		return
	}
	s.ready.ends.closeOurs()
	_ = s.ready.cmd.Process.Kill()
	_ = s.ready.cmd.Wait()
	s.ready = nil
}

// launch starts a sandbox process, which does nothing until it is told what to become. It is called by the
// goroutine that is bound to the shim's thread: with that thread the sandbox dies.
//
// It is made in a control group of its own: to be moved there would take the kernel tens of milliseconds.
func (s *shim) launch() (*child, error) {
	g, err := s.group.command()
	if err == nil && g != nil {
		var ch *child
		if ch, err = launchIn(g); err == nil {
			return ch, nil
		}
	}
	s.lacksGroup(err)
	return launchIn(nil)
}

func launchIn(g *group) (*child, error) {
	var ends pipes
	defer ends.closeTheirs()
	out, errOut := ends.fromChild()
	failed, errFailed := ends.fromChild()
	confIn, errConf := ends.toChild()
	if err := errors.Join(errOut, errFailed, errConf); err != nil {
		ends.closeOurs()
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", "sandbox") // this very binary, also if the file was replaced by an upgrade
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out.theirs, out.theirs
	cmd.ExtraFiles = []*os.File{confIn.theirs, failed.theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if g != nil {
		dir, err := os.Open(g.dir)
		if err != nil {
			ends.closeOurs()
			return nil, err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		ends.closeOurs()
		return nil, err
	}
	return &child{
		cmd: cmd, group: g, ended: make(chan struct{}), became: make(chan struct{}), copied: make(chan struct{}),
		out: out.ours, failed: failed.ours, conf: confIn.ours, ends: ends,
	}, nil
}

// copyOutput writes what the command prints to the log, without secrets, as it comes.
func (c *child) copyOutput(s *shim) {
	defer close(c.copied)
	clean := s.secrets.Writer(s.log)
	var out io.Writer = io.MultiWriter(clean, &c.tail)
	if c.dump != nil {
		c.dump.to, out = out, c.dump
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.out.Read(buf)
		if n > 0 {
			c.heard.Store(int64(time.Since(c.base)))
			_, _ = out.Write(buf[:n]) // a logFile never fails
		}
		if err != nil {
			break // the end, or the deadline set by finish
		}
	}
	if c.dump != nil {
		c.dump.Close()
	}
	_ = clean.Close()
}

// await waits for the command's end, ending it when it must, and leaves nothing of it behind. A problem is
// one that the exit code does not tell of, in the form of Result.Cause.
//
// The sandbox of the command that is next, nil for none, starts beside it, but not before it: there it would be in its way.
func (s *shim) await(c *child, next *Command) (exit int, problem string) {
	s.attend(c, next)
	c.group.kill()
	err := killDescendants(s.spare())
	_ = c.out.SetReadDeadline(time.Now().Add(lingering))
	<-c.copied
	<-c.became
	_, _ = c.out.Close(), c.failed.Close()
	exit = exitCode(c.cmd.ProcessState)
	switch {
	case len(c.words) > 0:
		return exit, "start: " + string(c.words)
	case err != nil:
		return exit, "start: what it started is still there: " + err.Error()
	default:
		return exit, ""
	}
}

// attend watches over the command until its leader has ended: the first reason to end it is asked of it
// politely (SIGINT, which the tools take as "finish what you are doing"), then firmly, then by force.
func (s *shim) attend(c *child, next *Command) {
	grace := s.spec.Limits.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	var firmly, byForce <-chan time.Time
	asked, deadline, flood, became := s.asked, s.deadline, s.log.flood, c.became
	quiet := newSilence(s.spec.Limits.Silence)
	defer quiet.stop()
	usage := newLook(s.spec.Limits)
	defer usage.stop()
	end := func(cause string) {
		s.cause = cause
		asked, deadline, flood = nil, nil, nil
		quiet.stop()
		c.signal(unix.SIGINT)
		firmly, byForce = time.After(grace/2), time.After(grace)
	}
	for {
		select {
		case <-c.ended:
			return
		case <-became:
			became = nil
			if next != nil {
				s.prepareNext(*next)
			}
		case <-asked:
			end(CauseStopped)
		case <-deadline:
			end(CauseTimeout)
		case <-flood:
			end(CauseLogLimit)
		case <-quiet.due:
			if quiet.over(time.Since(c.base) - time.Duration(c.heard.Load())) {
				end(CauseSilence)
			}
		case <-usage.due:
			cause, far := usage.now(s.spare())
			if cause != "" && s.cause == "" {
				end(cause)
			}
			if far {
				c.killAll()
			}
		case <-firmly:
			c.signal(unix.SIGTERM)
		case <-byForce:
			c.signal(unix.SIGKILL)
		}
	}
}

// signal signals the command's whole group. It may be gone already.
func (c *child) signal(sig syscall.Signal) { _ = unix.Kill(-c.cmd.Process.Pid, sig) }

// killAll kills the command and all it started. What turns up meanwhile is killed when the leader has ended.
func (c *child) killAll() {
	c.group.kill()
	_ = killBelow(os.Getpid(), 0) // without /proc at least the group
	c.signal(unix.SIGKILL)
}

func (c *child) signaled() bool {
	w, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && w.Signaled()
}

func exitCode(p *os.ProcessState) int {
	if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return p.ExitCode()
}

// A silence tells when the limit for silence may have been passed.
type silence struct {
	limit time.Duration
	timer *time.Timer
	due   <-chan time.Time // nil without a limit
}

func newSilence(limit time.Duration) *silence {
	if limit <= 0 {
		return &silence{}
	}
	t := time.NewTimer(limit)
	return &silence{limit, t, t.C}
}

// over reports whether it has been quiet for the whole limit, and looks again later if not.
func (s *silence) over(quiet time.Duration) bool {
	if quiet >= s.limit {
		return true
	}
	s.timer.Reset(s.limit - quiet)
	return false
}

func (s *silence) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.due = nil
}

// A pipe has an end for this process and one for the child.
type pipe struct{ ours, theirs *os.File }

// pipes are all pipes to one child, to be closed together.
type pipes []pipe

func (p *pipes) fromChild() (pipe, error) {
	r, w, err := os.Pipe()
	return p.add(pipe{ours: r, theirs: w}, err)
}

func (p *pipes) toChild() (pipe, error) {
	r, w, err := os.Pipe()
	return p.add(pipe{ours: w, theirs: r}, err)
}

func (p *pipes) add(one pipe, err error) (pipe, error) {
	if err == nil {
		*p = append(*p, one)
	}
	return one, err
}

func (p *pipes) closeTheirs() {
	for _, one := range *p {
		_ = one.theirs.Close()
	}
}

func (p *pipes) closeOurs() {
	for _, one := range *p {
		_ = one.ours.Close()
	}
}
