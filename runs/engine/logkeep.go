package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// logsGone is left in the folder of a run whose logs were removed, and says why.
const logsGone = "removed"

// A loggedRun is a run that has ended, with what its logs take.
type loggedRun struct {
	dir   string
	ended time.Time
	bytes int64
}

// pruneLogs removes the logs of ended runs that are older than the limit, and beyond the limit for all together those
// that ended first. What is removed is said where it was.
func (e *Engine) pruneLogs(ctx context.Context) error {
	limits := e.Limits()
	list, err := e.loggedRuns(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	slices.SortFunc(list, func(a, b loggedRun) int { return a.ended.Compare(b.ended) })
	now, total := e.now(), int64(0)
	for _, l := range list {
		total += l.bytes
	}
	for _, l := range list {
		why := ""
		switch {
		case limits.LogAge != runs.Off && now.Sub(l.ended) > time.Duration(limits.LogAge):
			why = "after " + runs.SpanText(time.Duration(limits.LogAge))
		case limits.LogTotal != runs.Off && total > limits.LogTotal:
			why = "because all logs together had reached " + runs.SizeText(limits.LogTotal)
		default:
			continue
		}
		total -= l.bytes
		err = errors.Join(err, removeLogs(l.dir, now, why))
	}
	return err
}

// loggedRuns lists the ended runs that still have logs.
func (e *Engine) loggedRuns(ctx context.Context) ([]loggedRun, error) {
	dirs, err := os.ReadDir(e.st.Path("logs"))
	var out []loggedRun
	for _, d := range dirs {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var r runs.Run
		errRun := e.st.View(func(tx *store.Tx) (err error) { r, err = tx.Run(d.Name()); return err })
		if errRun != nil && !errors.Is(errRun, runs.ErrNotFound) {
			return nil, errRun
		}
		if errRun == nil && !r.State.Terminal() {
			continue
		}
		l := loggedRun{dir: e.st.Path("logs", d.Name())}
		files, errFiles := os.ReadDir(l.dir)
		err = errors.Join(err, errFiles)
		for _, f := range files {
			if info, errInfo := f.Info(); errInfo == nil && f.Name() != logsGone {
				l.bytes += info.Size()
				if info.ModTime().After(l.ended) {
					l.ended = info.ModTime()
				}
			}
		}
		if errRun == nil {
			l.ended = r.Entered()
		}
		if l.bytes > 0 {
			out = append(out, l)
		}
	}
	return out, err
}

// removeLogs removes the logs in dir; first it says so, so that after a crash in the middle none is missing without a word. On
// a full disk that takes the room which the first log had.
func removeLogs(dir string, now time.Time, why string) error {
	text := "Removed on " + now.UTC().Format(time.DateOnly) + " " + why + "."
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	said := sayRemoved(dir, text)
	for _, f := range files {
		if f.Name() == logsGone {
			continue
		}
		err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		if store.Full(said) {
			said = sayRemoved(dir, text)
		}
	}
	return errors.Join(err, said)
}

func sayRemoved(dir, text string) error {
	return os.WriteFile(filepath.Join(dir, logsGone), []byte(text), 0o600)
}

// LogsRemoved says in words when and why the logs of a run were removed, "" when they were not.
func (e *Engine) LogsRemoved(run string) (string, error) {
	raw, err := os.ReadFile(e.st.Path("logs", filepath.Base(run), logsGone))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(raw)), err
}
