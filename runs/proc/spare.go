package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// To start this program twice, as a shim and as a sandbox, takes as long as to fetch a commit. So after a job the server
// keeps one shim at hand, sandbox and all, that waits to be told what the next job is. It ends with the server: it reads
// the end of its input then. Where none is at hand, a job starts its own.

const (
	spareTime  = 10 * time.Minute      // how long one is kept: at rest there is none
	spareDelay = 50 * time.Millisecond // after a job, when its end has been told
)

// spareName stands where a shim's command line names its job's folder, until it has one. A longer path gets no spare.
var spareName = strings.Repeat("-", 1024)

// An order is what a shim is told, as JSON.
type order struct {
	Dir  string `json:"dir"`
	Spec Spec   `json:"spec"`
}

// A worker is the process of a shim as the server that started it sees it.
type worker struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser // takes the order
	spare bool           // it was started before its job was known
	ended chan struct{}  // closed when it has ended
	err   error          // how, when ended is closed
}

// launch starts a shim, which waits for its order. out takes what it has to say until then, nil for nothing.
func (r *Runner) launch(name string, out *os.File) (*worker, error) {
	cmd := exec.Command(r.Exe, "shim", name)
	cmd.Env = []string{}
	cmd.Dir = "/"
	if out != nil {
		cmd.Stdout, cmd.Stderr = out, out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the shim could not be started: %w", err)
	}
	w := &worker{cmd: cmd, stdin: stdin, spare: name == spareName, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.err = cmd.Wait()
	}()
	return w, nil
}

// dismiss ends a shim that gets no order; it leaves nothing. One that does not end by itself, because somebody stopped it, is
// killed, and its sandbox with it: nobody waits for it.
func (w *worker) dismiss() {
	_ = w.stdin.Close() // it may have ended by itself
	select {
	case <-w.ended:
	case <-time.After(lingering):
		_ = w.cmd.Process.Kill() // it may just have ended
		<-w.ended
	}
}

func (w *worker) hasEnded() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// takeSpare gives the shim that is at hand to the job of a folder, nil when there is none for it.
func (r *Runner) takeSpare(dir string) *worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.spare
	if w == nil || len(dir) > len(spareName) {
		return nil
	}
	r.spare = nil
	r.expiry.Stop()
	if w.hasEnded() {
		return nil
	}
	return w
}

// keepSpare has a shim at hand for the next job. When none can be started, the next job says why.
func (r *Runner) keepSpare() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.spare != nil && !r.spare.hasEnded() {
		return
	}
	w, err := r.launch(spareName, nil)
	if err != nil {
		return
	}
	r.spare = w
	r.expiry = time.AfterFunc(spareTime, r.dropSpare)
}

// dropSpare ends the shim at hand.
func (r *Runner) dropSpare() {
	r.mu.Lock()
	w := r.spare
	r.spare = nil
	r.mu.Unlock()
	if w != nil {
		w.dismiss()
	}
}

// Close ends what no job needs. Jobs at work live on.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.dropSpare()
}

// rename makes the process table show dir in the place of the argument that shown is: the server knows the processes of a
// job by it (see [CallerOf]), and so do people. os.Args lies where the kernel put the arguments, and where it reads them.
func rename(shown, dir string) error {
	if shown == dir {
		return nil
	}
	if len(dir) > len(shown) {
		return errors.New("the path of the job's folder is too long for a shim that was started before")
	}
	b := unsafe.Slice(unsafe.StringData(shown), len(shown))
	clear(b[copy(b, dir):])
	return nil
}
