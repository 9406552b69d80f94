package main

import (
	"context"
	"errors"

	"groundcrew/runs/engine"
	"groundcrew/runs/proc"
)

// Limits of a run that are not settings: generous for tools, too small for a bomb.
const (
	maxLogBytes  = 256 << 20
	maxFileBytes = 4 << 30
	maxOpenFiles = 4096
	maxProcesses = 4096
)

// runner lets the engine use package proc, which knows nothing of runs.
type runner struct{ proc *proc.Runner }

// Run brings a job to its end; see [engine.Runner].
func (r runner) Run(ctx context.Context, j engine.Job) (engine.Result, error) {
	res, err := r.proc.Run(ctx, proc.Job{
		Dir: j.Dir, Stop: j.Stop, Started: j.Started,
		Spec: func() (proc.Spec, error) {
			s, err := j.Spec()
			return procSpec(s), err
		},
	})
	if errors.Is(err, proc.ErrLost) {
		err = engine.ErrLost
	}
	return engine.Result{
		OK: res.OK, Command: res.Command, Message: res.Message, Stopped: res.Cause == proc.CauseStopped, Blocked: res.Blocked,
	}, err
}

func procSpec(s engine.Spec) proc.Spec {
	out := proc.Spec{
		WorkDir: s.WorkDir, LogDir: s.LogDir, Env: s.Env, Secrets: s.Secrets,
		ReadOnly: s.ReadOnly, ReadWrite: s.ReadWrite, Sandbox: true,
		Limits: proc.Limits{
			Time: s.Time, Silence: s.Silence, LogBytes: maxLogBytes, FileBytes: maxFileBytes,
			OpenFiles: maxOpenFiles, Processes: maxProcesses,
		},
	}
	for _, c := range s.Commands {
		out.Commands = append(out.Commands, proc.Command{Name: c.Name, Phase: string(c.Phase), Args: c.Args, Stdout: c.Stdout})
	}
	return out
}
