package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/redact"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// A space is the folder of one run: the checkout in src, what is never the checkout's business in aux (plan,
// state, tool data), and the private folder of each job's process beside them.
type space struct {
	run runs.Run
	dir string
}

func (e *Engine) spaceOf(r runs.Run) space { return space{r, e.st.Path("work", r.ID)} }

func (s space) src() string { return filepath.Join(s.dir, "src") }
func (s space) aux() string { return filepath.Join(s.dir, "aux") }
func (s space) job(p runs.Phase) string {
	return filepath.Join(s.dir, string(p)+"-"+strconv.Itoa(s.run.Attempt))
}

// Plugins make sockets in their folder for temporary files, and the path of a socket has at most 107 bytes
// (unix(7)). What they add to the folder's is less than socketName.
const (
	socketPath = 107
	socketName = 24
)

// tmp is the run's folder for temporary files where the one in aux would be too long for plugins, else "".
func (s space) tmp() string {
	if len(s.aux())+len("/tmp")+socketName <= socketPath {
		return ""
	}
	return filepath.Join("/tmp", "groundcrew-"+s.run.ID)
}

// makeTmp makes that folder anew. It refuses one that somebody else has put there.
func (s space) makeTmp() error {
	if s.tmp() == "" {
		return nil
	}
	if err := os.RemoveAll(s.tmp()); err != nil {
		return err
	}
	return os.Mkdir(s.tmp(), 0o700)
}

// removeTmp removes it.
func (s space) removeTmp() error {
	if s.tmp() == "" {
		return nil
	}
	return os.RemoveAll(s.tmp())
}

// A task is a job at work: everything that its preparation and its end need.
type task struct {
	e       *Engine
	job     store.Job
	run     runs.Run
	stack   runs.Stack
	in      store.Integration
	space   space
	vars    []runs.Variable
	files   []runs.Mount
	from    []string // the contexts that something of these comes from
	hide    *redact.Redactor
	token   string // of the run, for what this server gives it
	printed []byte // the state that the tool could write nowhere
	stop    <-chan struct{}
}

func (e *Engine) taskOf(j store.Job) (*task, error) {
	t := &task{e: e, job: j, stop: e.stopOf(j.Run)}
	err := e.st.View(func(tx *store.Tx) error {
		var err error
		if t.run, err = tx.Run(j.Run); err != nil {
			return err
		}
		if t.in, _, err = tx.Integration(); err != nil {
			return err
		}
		if runs.ModuleOf(j.Stack) != "" {
			return t.ofModule(tx)
		}
		t.stack, err = tx.Stack(j.Stack)
		return err
	})
	if err != nil {
		return t, err
	}
	if err := t.recallEnvironment(); err != nil {
		return t, err
	}
	if j.Phase == runs.PhaseApply || j.Phase == runs.PhaseDestroy && t.run.Type == runs.Test {
		t.stack = pinned(t.stack, t.run)
	}
	t.space = e.spaceOf(t.run)
	return t, nil
}

// work brings a job to its end and says so with one event. An error means that the end could not be
// recorded, and the job is taken up again.
func (e *Engine) work(ctx context.Context, j store.Job) error {
	t, err := e.taskOf(j)
	if errors.Is(err, runs.ErrNotFound) {
		_, err = e.apply(j.Run, func(m runs.Meta) runs.Event { return runs.Fail{Meta: m} }, runs.System, "the stack was deleted")
		return settled(err)
	}
	if err != nil {
		return err
	}
	res, err := e.o.Runner.Run(ctx, Job{
		Dir:     t.space.job(j.Phase),
		Spec:    func() (Spec, error) { return t.prepare(ctx) },
		Stop:    t.stop,
		Started: t.started,
	})
	if ctx.Err() != nil {
		return ctx.Err() // the process goes on; the next server finds it
	}
	ended, err := t.end(ctx, res, err)
	if err != nil {
		return settled(err)
	}
	t.takeIn()
	e.sweep(ended)
	return nil
}

// settled forgives a refused closing event: the run ended in another way meanwhile.
func settled(err error) error {
	if errors.Is(err, runs.ErrConflict) || errors.Is(err, runs.ErrNotFound) {
		return nil
	}
	return err
}

// started records that a phase's first command began. The same again, after a restart, is no news.
func (t *task) started(phase, _ string) {
	state := runs.State(phase)
	if state == runs.Applying && t.job.Phase == runs.PhaseApply {
		return
	}
	_, err := t.e.apply(t.run.ID, func(m runs.Meta) runs.Event { return runs.PhaseStarted{Meta: m, State: state} }, runs.System, "")
	if settled(err) != nil {
		t.e.log.Error("phase could not be recorded", "run", t.run.ID, "phase", phase, "error", err)
	}
}

// end turns how the process ended into the run's closing event.
func (t *task) end(ctx context.Context, res Result, err error) (runs.Run, error) {
	if t.run.Type == runs.Test {
		return t.endTest(res, err)
	}
	t.printed = res.State
	var no refusal
	switch {
	case errors.Is(err, ErrLost):
		return t.lost()
	case errors.Is(err, errStopped):
		return t.close(func(m runs.Meta) runs.Event { return runs.Halted{Meta: m} }, "")
	case errors.As(err, &no):
		return t.fail(no.msg)
	case errors.Is(err, runs.ErrConflict), errors.Is(err, runs.ErrInvalid):
		return t.fail(message(err))
	case err != nil:
		return t.run, err
	case res.OK && t.job.Phase == runs.PhasePlan:
		return t.planned(ctx)
	case res.OK:
		return t.saved(true, func(m runs.Meta, v int) runs.Event { return runs.Done{Meta: m, NewVersion: v} }, "")
	case res.Stopped && t.job.Phase == runs.PhasePlan:
		return t.close(func(m runs.Meta) runs.Event { return runs.Halted{Meta: m} }, "")
	case res.Stopped: // it may have changed the world: what it left is kept
		return t.saved(false, func(m runs.Meta, v int) runs.Event { return runs.Halted{Meta: m, NewVersion: v} }, "")
	case t.job.Phase == runs.PhasePlan && t.misfit(res):
		return t.stale()
	default:
		return t.fail(t.reason(res))
	}
}

// reason is the first line of the error, from the tool's own words where there are some.
func (t *task) reason(res Result) string {
	phase := t.lastPhase()
	if log, err := tail(t.e.LogFile(t.run.ID, phase), 1<<20); err == nil && !res.Limited && (res.Message == "" || !res.Stopped) {
		if first := tofu.FirstError(log); first != "" {
			return t.hide.String(strings.TrimSpace(t.explained(first) + " " + res.Hint))
		}
	}
	if res.Message != "" {
		return t.hide.String(res.Message)
	}
	return res.Command + " failed; the log says why"
}

// misfit reports whether the run failed because what took the place of its init does not fit.
func (t *task) misfit(res Result) bool {
	if t.e.larder.noteOf(t.space).Reused == nil || res.Limited || res.Stopped {
		return false
	}
	log, err := tail(t.e.LogFile(t.run.ID, runs.Planning), 64<<10)
	return err == nil && tofu.SaysInit(log)
}

// explained adds to an error of the tool what only we know of its cause.
func (t *task) explained(first string) string {
	if strings.Contains(first, "query available provider packages") && t.e.mirror() != "" {
		return strings.TrimSuffix(first, ".") + ": the mirror in the data folder does not hold what the code requires, and with a mirror providers come from nowhere else. Add the package to it; the log names it."
	}
	return first
}

func (t *task) lastPhase() runs.State {
	if t.job.Phase == runs.PhaseApply {
		return runs.Applying
	}
	var r runs.Run
	_ = t.e.st.View(func(tx *store.Tx) error { // the run was there a moment ago; without it there is no phase
		var err error
		r, err = tx.Run(t.run.ID)
		return err
	})
	return r.State
}

// tail reads at most n bytes from the end of a file.
func tail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-n)
	return io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
}

func (t *task) close(ev func(runs.Meta) runs.Event, note string) (runs.Run, error) {
	return t.e.apply(t.run.ID, ev, runs.System, note)
}

// fail ends the run badly. What an apply did until then is kept as a state version.
func (t *task) fail(reason string) (runs.Run, error) {
	ev := func(m runs.Meta, v int) runs.Event { return runs.Fail{Meta: m, NewVersion: v} }
	if t.job.Phase == runs.PhasePlan {
		return t.close(func(m runs.Meta) runs.Event { return ev(m, 0) }, reason)
	}
	return t.saved(false, ev, reason)
}

// lost ends, or starts again, a job whose process is gone without a result.
func (t *task) lost() (runs.Run, error) {
	if t.job.Phase == runs.PhasePlan {
		return t.close(func(m runs.Meta) runs.Event { return runs.Lost{Meta: m} }, "the process was killed or the machine restarted while planning")
	}
	note := "the process was killed or the machine restarted in the middle. Some of the changes may have been made; the state known last was kept"
	return t.saved(false, func(m runs.Meta, v int) runs.Event { return runs.Lost{Meta: m, NewVersion: v} }, note)
}
