package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync/atomic"

	"groundcrew/runs/engine"
	"groundcrew/runs/proc"
)

// runner lets the engine use package proc, which knows nothing of runs.
type runner struct {
	proc    *proc.Runner
	dataDir string
	limits  limits
	account account
	atWork  *atomic.Int64
	own     []uint16 // ports of this server, as runs find it
}

// Run brings a job to its end; see [engine.Runner].
func (r runner) Run(ctx context.Context, j engine.Job) (engine.Result, error) {
	r.atWork.Add(1)
	defer r.atWork.Add(-1)
	res, err := r.proc.Run(ctx, proc.Job{
		Dir: j.Dir, Stop: j.Stop, Started: j.Started,
		Spec: func() (proc.Spec, error) {
			s, err := j.Spec()
			if err != nil {
				return proc.Spec{}, err
			}
			return r.spec(filepath.Base(filepath.Dir(j.Dir)), s)
		},
	})
	if errors.Is(err, proc.ErrLost) {
		err = engine.ErrLost
	}
	return engine.Result{
		OK: res.OK, Command: res.Command, Message: res.Message, Stopped: res.Cause == proc.CauseStopped, Blocked: res.Blocked,
		Limited: limited(res.Cause), Hint: res.Hint, State: res.Dump,
	}, err
}

// limited reports whether a job was ended because it passed one of its limits.
func limited(cause string) bool {
	switch cause {
	case proc.CauseTimeout, proc.CauseSilence, proc.CauseLogLimit, proc.CauseMemory, proc.CauseProcesses:
		return true
	default:
		return false
	}
}

// ports are those that runs may connect to: where there is a limit, this server's is among them.
func (r runner) ports() []uint16 {
	if len(r.limits.ports) == 0 {
		return nil
	}
	return append(slices.Clip([]uint16(r.limits.ports)), r.own...)
}

func (r runner) spec(run string, s engine.Spec) (proc.Spec, error) {
	if err := r.account.open(r.dataDir, s.ReadOnly, append(s.ReadWrite[:len(s.ReadWrite):len(s.ReadWrite)], s.WorkDir)); err != nil {
		return proc.Spec{}, err
	}
	l := s.Limits
	out := proc.Spec{
		WorkDir: s.WorkDir, LogDir: s.LogDir, Env: s.Env, Secrets: s.Secrets,
		ReadOnly: s.ReadOnly, ReadWrite: s.ReadWrite, Sandbox: true,
		User: r.account.of(run), Ports: r.ports(),
		Limits: proc.Limits{
			Time: s.Time, Silence: s.Silence, LogBytes: l.LogSize, FileBytes: uint64(l.FileSize),
			MemoryBytes: uint64(l.Memory), OpenFiles: uint64(l.OpenFiles), Processes: uint64(l.Processes),
		},
	}
	for _, c := range s.Commands {
		out.Commands = append(out.Commands, proc.Command{Name: c.Name, Phase: string(c.Phase), Args: c.Args, Stdout: c.Stdout, Keep: (*proc.Keep)(c.Keep), Dump: c.Dump})
	}
	return out, nil
}
