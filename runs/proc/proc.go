// Package proc runs commands bounded in time and output, leaving no child behind; it knows no run.
//
// A job is a list of commands run one after the other until one fails. Three processes take part, all of them
// this same binary:
//
//	server ── groundcrew shim DIR ── groundcrew sandbox → execve(the command)
//
// The shim (shim.go) is in a session of its own and needs no living server: it runs the commands, owns their
// logs and writes result.json. The sandbox (sandbox.go) lays limits and Landlock on itself and becomes the
// command. The server (run.go) only watches the job's folder, so it can be killed and replaced at any moment
// and finds the job again by what lies there:
//
//	shim.json     which process the shim is; written, durably, before the first command starts
//	progress      one line of JSON for each command that was started
//	stop          there if the job was asked to stop
//	result.json   how it ended; appears whole or not at all
//	cgroup        the control group of the commands, where they have one
//	lock          locked by the shim for as long as it lives, so that there is never a second one
//	shim.err      what the shim had to say when it could not do its work
//
// The specification with its secrets goes to the shim through a pipe and is never written down. A shim may be started
// before its job is known (spare.go): that takes the start of two processes out of the run's way.
package proc

import (
	"errors"
	"time"
)

// A Command is one program to run.
type Command struct {
	Name   string   `json:"name"`             // for people, like "init"
	Phase  string   `json:"phase"`            // names the log: <LogDir>/<Phase>.log
	Args   []string `json:"args"`             // argv; Args[0] is absolute or found on the PATH in Spec.Env
	Stdout string   `json:"stdout,omitempty"` // absolute file that takes standard output instead of the log; "" = log
	Keep   *Keep    `json:"keep,omitempty"`   // what is copied when the command has ended well
	Dump   bool     `json:"dump,omitempty"`   // it is a tool that prints its state when it can write it nowhere: see Result.Dump
}

// A Keep is a copy that the shim makes of what a command left, when it has ended well and before the next one starts:
// nothing of the job is alive then. It is for a place that commands can't write, so what is there afterwards is what that
// command left, whatever those after it do. A copy that can't be made is left out, and the job goes on.
type Keep struct {
	Files []string `json:"files"` // absolute paths of files and folders; what is not there is left out
	To    string   `json:"to"`    // absolute path of a folder that is not there; it appears whole or not at all
}

// Limits bound a job. Zero means no limit.
type Limits struct {
	Time    time.Duration `json:"time,omitempty"`    // of all commands together
	Silence time.Duration `json:"silence,omitempty"` // without a byte of output
	// LogBytes is the size of one phase's log. What exceeds it is dropped, which the log says; the job goes
	// on, because output alone is no reason to cut off an apply. A phase that prints ten times as much is
	// taken for runaway and stopped.
	LogBytes    int64         `json:"log_bytes,omitempty"`
	FileBytes   uint64        `json:"file_bytes,omitempty"`   // of any one file a command writes
	MemoryBytes uint64        `json:"memory_bytes,omitempty"` // of all processes together, looked at twice a second; for each of them of private memory, by the kernel
	OpenFiles   uint64        `json:"open_files,omitempty"`   // for each process
	Processes   uint64        `json:"processes,omitempty"`    // threads counted: of the job, looked at twice a second; of the user, by the kernel, which does not hold root to it
	Grace       time.Duration `json:"grace,omitempty"`        // from the first word to the kill; 0 = 10 s
}

// A Spec says what to run, where and within what bounds. It holds secrets and never touches the disk.
type Spec struct {
	WorkDir  string    `json:"work_dir"` // where commands start; they may read and write it
	LogDir   string    `json:"log_dir"`  // logs are appended to
	Env      []string  `json:"env"`      // the whole environment of the commands
	Commands []Command `json:"commands"`
	Secrets  []string  `json:"secrets,omitempty"` // removed from logs and messages in every form (package redact)
	Limits   Limits    `json:"limits"`
	// ReadOnly and ReadWrite are files and folders that commands may use besides WorkDir, the system's
	// programs and libraries, and the folders of the commands themselves. They must exist.
	ReadOnly  []string `json:"read_only,omitempty"`
	ReadWrite []string `json:"read_write,omitempty"`
	Sandbox   bool     `json:"sandbox"` // enforce that with Landlock as far as the kernel can
	// User is who the commands run as; nil = the user of the server. Only root can say so. WorkDir and all of
	// ReadWrite are made the user's before the first command.
	User *User `json:"user,omitempty"`
	// Ports are the TCP ports commands may connect to, on any host; none = all. A kernel that cannot enforce
	// it (Landlock before version 4) refuses the job.
	Ports []uint16 `json:"ports,omitempty"`
}

// Causes of an end that was not the command's own exit. Besides these there are "signal: …" and "start: …",
// which name the signal and the reason.
const (
	CauseStopped   = "stopped"
	CauseTimeout   = "timeout"
	CauseSilence   = "silence"
	CauseLogLimit  = "log_limit"
	CauseMemory    = "memory"
	CauseProcesses = "processes"
)

// An Ended is one command that was run.
type Ended struct {
	Name    string    `json:"name"`
	Phase   string    `json:"phase"`
	Exit    int       `json:"exit"` // 128 + the signal's number if one ended it, as shells count
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
}

// A Result says how a job ended. A command that ends well although it was asked to stop has ended well.
type Result struct {
	OK       bool     `json:"ok"`                // every command ended with 0
	Command  string   `json:"command,omitempty"` // the one that failed
	Exit     int      `json:"exit"`              // as in Ended
	Cause    string   `json:"cause,omitempty"`   // "" = the command's own exit
	Message  string   `json:"message,omitempty"` // for people, without secrets
	Hint     string   `json:"hint,omitempty"`    // the limit that a command which failed by itself seems to have run into, in words
	Blocked  []string `json:"blocked,omitempty"` // what of the isolation this machine could not give, in words
	Commands []Ended  `json:"commands"`
	Dump     []byte   `json:"dump,omitempty"` // the state that a tool printed last because it could write it nowhere; it is not in the log
}

// A Job is one piece of work that outlives the server.
type Job struct {
	// Dir is a folder of the job's own, made with mode 0700 if it is not there. It must stay until Run has
	// returned a result, and must be a new one if the job is to be run again.
	Dir     string
	Spec    func() (Spec, error)     // called only if the job must be started
	Stop    <-chan struct{}          // closed to ask the job to end; nil = never
	Started func(phase, name string) // told of each command, in order, by the goroutine of Run; nil = nobody asks
}

// ErrLost says that the job was started, left no result, and that none of its processes is alive: the machine
// went down or somebody killed the shim. What its last command did is not known.
var ErrLost = errors.New("the process is gone and left no result")
