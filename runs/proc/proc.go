// Package proc runs commands bounded in time and output, leaving no child behind; it knows no run.
package proc

import (
	"context"
	"errors"
	"io"
	"time"
)

// A Command is one program to run.
type Command struct {
	Name   string   `json:"name"`             // for people, like "init"
	Phase  string   `json:"phase"`            // names the log: <LogDir>/<Phase>.log
	Args   []string `json:"args"`             // argv; Args[0] is absolute or found on the PATH in Spec.Env
	Stdout string   `json:"stdout,omitempty"` // absolute file that takes standard output instead of the log; "" = log
}

// Limits bound a job. Zero means no limit.
type Limits struct {
	Time        time.Duration `json:"time,omitempty"`       // of all commands together
	Silence     time.Duration `json:"silence,omitempty"`    // without a byte of output
	LogBytes    int64         `json:"log_bytes,omitempty"`  // of each phase's log
	FileBytes   uint64        `json:"file_bytes,omitempty"` // of any file a command writes
	MemoryBytes uint64        `json:"memory_bytes,omitempty"`
	OpenFiles   uint64        `json:"open_files,omitempty"`
	Processes   uint64        `json:"processes,omitempty"`
	Grace       time.Duration `json:"grace,omitempty"` // from the first word to KILL; 0 = 10 s
}

// A Spec says what to run, where and within what bounds. It holds secrets and never touches the disk.
type Spec struct {
	WorkDir   string    `json:"work_dir"`
	LogDir    string    `json:"log_dir"`
	Env       []string  `json:"env"` // the whole environment of the commands
	Commands  []Command `json:"commands"`
	Secrets   []string  `json:"secrets,omitempty"`
	Limits    Limits    `json:"limits"`
	ReadOnly  []string  `json:"read_only,omitempty"`
	ReadWrite []string  `json:"read_write,omitempty"`
	Sandbox   bool      `json:"sandbox"`
}

// Causes of an end that was not the command's own exit. "signal: …" and "start: …" carry more words.
const (
	CauseStopped  = "stopped"
	CauseTimeout  = "timeout"
	CauseSilence  = "silence"
	CauseLogLimit = "log_limit"
)

// An Ended is one command that was run.
type Ended struct {
	Name    string    `json:"name"`
	Phase   string    `json:"phase"`
	Exit    int       `json:"exit"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
}

// A Result says how a job ended.
type Result struct {
	OK       bool     `json:"ok"`
	Command  string   `json:"command,omitempty"` // the one that failed
	Exit     int      `json:"exit"`
	Cause    string   `json:"cause,omitempty"`   // "" = the command's own exit
	Message  string   `json:"message,omitempty"` // for people
	Blocked  []string `json:"blocked,omitempty"` // what of the isolation this kernel could not give
	Commands []Ended  `json:"commands"`
}

// A Job is one piece of work that outlives the server.
type Job struct {
	Dir     string                   // private folder: survives the server
	Spec    func() (Spec, error)     // called only if the job must be started
	Stop    <-chan struct{}          // closed to ask the job to end
	Started func(phase, name string) // each command, in order, at least once
}

// A Runner runs jobs.
type Runner struct {
	Exe string // path of this binary
}

// ErrLost: the job was started, left no result, and none of its processes is alive.
var ErrLost = errors.New("the process is gone and left no result")

// Run brings the job to its end and returns its result.
func (r *Runner) Run(ctx context.Context, j Job) (Result, error) {
	return Result{}, errors.New("not there yet")
}

// Shim is the main function of `groundcrew shim DIR`.
func Shim(args []string, stdin io.Reader, stderr io.Writer) int { return 2 }

// Sandbox is the main function of `groundcrew sandbox …`.
func Sandbox(args []string) int { return 2 }

// Isolation says in words what this kernel cannot give; nothing when all is there.
func Isolation() []string { return nil }
