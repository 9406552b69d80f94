package proc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a job's folder; see the package comment.
const (
	shimFile     = "shim.json"
	progressFile = "progress"
	stopFile     = "stop"
	resultFile   = "result.json"
	lockFile     = "lock"
	errFile      = "shim.err"
)

// writeDurable writes v as JSON so that after it returns the file is there, whole, even if the power fails.
func writeDurable(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := writeSynced(temp, b); err != nil {
		_ = os.Remove(temp) // on a full disk it may have taken the last of it
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readJSON reads a file that writeDurable wrote. ok is false if it is not there.
func readJSON(path string, v any) (ok bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return true, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A step is one line of the progress file: a command about to run, and the leader of its session.
type step struct {
	Phase string  `json:"phase"`
	Name  string  `json:"name"`
	Proc  process `json:"proc"`
}

// appendStep adds a line. It need not survive a power cut, because then the processes do not either.
func appendStep(dir string, s step) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, progressFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}

// readSteps reads all whole lines; the last may still be on its way.
func readSteps(dir string) ([]step, error) {
	b, err := os.ReadFile(filepath.Join(dir, progressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []step
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return steps, nil
		}
		var s step
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("line %d of the progress file is damaged: %w", len(steps)+1, err)
		}
		steps, b = append(steps, s), rest
	}
}
