package proc

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// watchEvery is how often the shim looks at what its command's processes take together. Where looking is
// slow, because the machine has very many processes, it is done less often.
const watchEvery = 500 * time.Millisecond

// bursting is how far above its limit for memory, in parts of it, a job may get while it ends by itself.
const bursting = 4

// A usage is what all processes of a command take together.
type usage struct {
	bytes     uint64 // resident memory
	processes uint64 // threads counted, as RLIMIT_NPROC counts
}

// usageBelow adds up the descendants of a process but for one, which is none of the command's.
func usageBelow(pid, spare int) (usage, error) {
	all, err := allProcesses()
	if err != nil {
		return usage{}, err
	}
	byPID := make(map[int]stat, len(all))
	for _, s := range all {
		byPID[s.pid] = s
	}
	var u usage
	page := uint64(os.Getpagesize())
	for _, p := range below(pid, all) {
		if p == spare {
			continue
		}
		s := byPID[p]
		u.bytes += s.resident * page
		u.processes += s.threads
	}
	return u, nil
}

// excess says which limit the command has passed; cause is "" for none. A job far beyond is not asked first.
func (u usage) excess(l Limits) (cause string, far bool) {
	switch {
	case l.MemoryBytes > 0 && u.bytes > l.MemoryBytes:
		return CauseMemory, u.bytes > l.MemoryBytes+l.MemoryBytes/bursting
	case l.Processes > 0 && u.processes >= l.Processes:
		return CauseProcesses, true
	default:
		return "", false
	}
}

// A look is the next time to look at the usage. Without limits that need it there is none.
type look struct {
	limits Limits
	timer  *time.Timer
	due    <-chan time.Time
}

func newLook(l Limits) *look {
	if l.MemoryBytes == 0 && l.Processes == 0 {
		return &look{}
	}
	t := time.NewTimer(watchEvery)
	return &look{l, t, t.C}
}

// now looks, and says what is over its limit. What cannot be seen is not over.
func (k *look) now(spare int) (cause string, far bool) {
	begin := time.Now()
	u, err := usageBelow(os.Getpid(), spare)
	k.timer.Reset(max(watchEvery, 50*time.Since(begin)))
	if err != nil {
		return "", false
	}
	return u.excess(k.limits)
}

func (k *look) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}

// tailSize is how much of a command's last output is kept to see whether it ran into a limit.
const tailSize = 16 << 10

// A tail keeps the end of what was written to it, and whether a program in Go said that it got no thread: that stands at
// the beginning of a long report.
type tail struct {
	b        []byte
	noThread bool
}

const noThread = "failed to create new OS thread"

func (t *tail) Write(p []byte) (int, error) {
	t.noThread = t.noThread || bytes.Contains(p, []byte(noThread)) ||
		strings.Contains(string(t.b[max(0, len(t.b)-len(noThread)):])+string(p[:min(len(p), len(noThread))]), noThread)
	if len(p) >= tailSize {
		t.b = append(t.b[:0], p[len(p)-tailSize:]...)
		return len(p), nil
	}
	if over := len(t.b) + len(p) - tailSize; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	t.b = append(t.b, p...)
	return len(p), nil
}

// hint says which limit a command that failed by itself seems to have run into, by what programs print when
// the kernel refuses them something; "" for none.
func (l Limits) hint(exit int, t tail) string {
	out := strings.ToLower(string(t.b))
	says := func(list ...string) bool {
		for _, s := range list {
			if strings.Contains(out, s) {
				return true
			}
		}
		return false
	}
	switch {
	case says("no space left on device", "disk quota exceeded"):
		return "The disk seems to be full: make room on the one of Groundcrew's data folder, then start the run again."
	case l.FileBytes > 0 && (exit == 128+25 || says("exit status 153", "file size limit exceeded", "file too large")):
		return "A file may not grow beyond " + bytesText(int64(l.FileBytes)) + ": if it must, raise --run-file-size, also under Settings › System."
	case l.OpenFiles > 0 && says("too many open files"):
		return fmt.Sprintf("A process may have no more than %d open files: if it needs more, raise --run-open-files, also under Settings › System.", l.OpenFiles)
	case l.Processes > 0 && (t.noThread || says("cannot fork", "fork: resource temporarily unavailable", "fork: retry", "fork/exec", "pthread_create failed") && says("resource temporarily unavailable", "cannot fork", "errno=11")):
		return fmt.Sprintf("A run may have no more than %d processes and threads: if it needs more, raise --run-processes, also under Settings › System.", l.Processes)
	case l.MemoryBytes > 0 && says("cannot allocate memory", "out of memory", "memory exhausted"):
		return "A run may take no more than " + bytesText(int64(l.MemoryBytes)) + " of memory: if it needs more, raise --run-memory, also under Settings › System."
	default:
		return ""
	}
}
