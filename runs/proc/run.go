package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pollEvery is how often the server looks at a job's folder: how late it may show that the next command began. It looks
// more often in the beginning, when commands that are quick follow one another.
const (
	pollEvery   = 100 * time.Millisecond
	pollSooner  = 10 * time.Millisecond
	soonerLooks = 100
)

// A Runner runs jobs, each in processes of its own. Several goroutines may use it at once, but two must not
// run the same Dir.
//
// It keeps a process at hand for the next job; Close ends that.
type Runner struct {
	Exe string // path of this binary, which must dispatch "shim" and "sandbox" to Shim and Sandbox

	mu     sync.Mutex
	spare  *worker     // nil for none
	expiry *time.Timer // ends it
	closed bool
}

// Run brings the job to its end and returns its result. What it does depends on what lies in j.Dir: a result
// is returned as it is; a living shim is waited for; nothing there starts the job.
//
// When ctx is done Run returns its error and the job lives on; a later Run, also of another server, finds it
// again. When j.Stop is closed the job is asked to end, durably, and Run still returns its result.
//
// Errors: ErrLost; ctx's; one from j.Spec; any other means that the job could not be started or looked after
// and says why.
func (r *Runner) Run(ctx context.Context, j Job) (Result, error) {
	if err := os.MkdirAll(j.Dir, 0o700); err != nil {
		return Result{}, err
	}
	w := watch{job: j, stop: j.Stop}
	for {
		var p process
		started, err := readJSON(filepath.Join(j.Dir, shimFile), &p)
		if err != nil {
			return Result{}, err
		}
		if started && !p.alive() || exists(filepath.Join(j.Dir, resultFile)) {
			time.AfterFunc(spareDelay, r.keepSpare)
			return w.end()
		}
		var gone <-chan error
		if started {
			gone = attach(ctx, p)
		} else if gone, err = r.start(j); err != nil {
			return Result{}, err
		}
		if err := w.until(ctx, gone); err != nil {
			return Result{}, err
		}
	}
}

// start starts a shim, or takes the one at hand, and gives it its order. The channel gives an error if it ended without
// having taken up the job; it is closed when it ended.
func (r *Runner) start(j Job) (<-chan error, error) {
	dir, err := filepath.Abs(j.Dir)
	if err != nil {
		return nil, err
	}
	w, err := r.worker(dir)
	if err != nil {
		return nil, err
	}
	// The shim and its first sandbox start while the specification is being made.
	spec, err := j.Spec()
	var in []byte
	if err == nil {
		in, err = json.Marshal(order{dir, spec})
	}
	if err != nil {
		w.dismiss()
		return nil, err
	}
	gone := make(chan error, 1)
	go func() {
		defer close(gone)
		// If the shim does not take all of it, it ends, and says why.
		_, _ = w.stdin.Write(in)
		_ = w.stdin.Close()
		<-w.ended
		if w.cmd.ProcessState.ExitCode() == exitBusy {
			time.Sleep(pollEvery) // the other shim is about to write shim.json
			return
		}
		if w.err != nil && !w.spare && !exists(filepath.Join(dir, shimFile)) { // after a spare the job starts one of its own
			gone <- fmt.Errorf("the shim could not start the job: %w: %s", w.err, lastWords(filepath.Join(dir, errFile)))
		}
	}()
	return gone, nil
}

// worker is the shim at hand, or a new one.
func (r *Runner) worker(dir string) (*worker, error) {
	if w := r.takeSpare(dir); w != nil {
		return w, nil
	}
	errs, err := openErrors(dir)
	if err != nil {
		return nil, err
	}
	defer errs.Close()
	return r.launch(dir, errs)
}

func openErrors(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, errFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// lastWords is the end of a shim's error output.
func lastWords(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

// attach waits for a shim that another server started.
func attach(ctx context.Context, p process) <-chan error {
	gone := make(chan error)
	go func() {
		defer close(gone)
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for p.alive() {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return gone
}

// A watch follows one job for one Run.
type watch struct {
	job  Job
	stop <-chan struct{} // nil once the request has been passed on
	told int             // how many commands Started was told of
}

// until waits for the shim to end, passing on what happens meanwhile.
func (w *watch) until(ctx context.Context, gone <-chan error) error {
	tick := time.NewTicker(pollSooner)
	defer tick.Stop()
	for looks := 0; ; {
		select {
		case err := <-gone:
			if err == nil {
				err = ctx.Err() // an attached watcher also ends with ctx
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-w.stop:
			if err := requestStop(w.job.Dir); err != nil {
				return fmt.Errorf("the job could not be asked to stop: %w", err)
			}
			w.stop = nil
		case <-tick.C:
			if looks++; looks == soonerLooks {
				tick.Reset(pollEvery)
			}
			if err := w.tell(); err != nil {
				return err
			}
		}
	}
}

// requestStop leaves the request where a shim that is just starting finds it, and wakes one that runs.
func requestStop(dir string) error {
	if err := writeDurable(filepath.Join(dir, stopFile), struct{}{}); err != nil {
		return err
	}
	var p process
	started, err := readJSON(filepath.Join(dir, shimFile), &p)
	if err != nil || !started {
		return err
	}
	return p.signal(syscall.SIGTERM)
}

// tell passes on which commands have been started since it was last called.
func (w *watch) tell() error {
	steps, err := readSteps(w.job.Dir)
	if err != nil {
		return err
	}
	for ; w.told < len(steps); w.told++ {
		if w.job.Started != nil {
			w.job.Started(steps[w.told].Phase, steps[w.told].Name)
		}
	}
	return nil
}

// end returns the result of a shim that has ended. Without one it makes sure that nothing of the job runs
// any more and says ErrLost.
func (w *watch) end() (Result, error) {
	if err := w.tell(); err != nil {
		return Result{}, err
	}
	var res Result
	if ok, err := readJSON(filepath.Join(w.job.Dir, resultFile), &res); ok || err != nil {
		return res, err
	}
	steps, err := readSteps(w.job.Dir)
	if err != nil {
		return Result{}, err
	}
	if err := endGroup(w.job.Dir); err != nil {
		return Result{}, fmt.Errorf("the job was cut off and its control group could not be ended: %w", err)
	}
	var leaders []process
	for _, s := range steps {
		leaders = append(leaders, s.Proc)
	}
	if err := killSessions(leaders); err != nil {
		return Result{}, errors.Join(errors.New("the job was cut off and what is left of it still runs"), err)
	}
	return Result{}, ErrLost
}
