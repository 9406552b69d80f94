package tofu

import (
	"groundcrew/runs"
)

// A Command is one program of a phase, in the terms of package proc.
type Command struct {
	Name   string
	Phase  runs.State // the state of the run while it is at work; names the log
	Args   []string
	Stdout string // file that takes standard output, "" = the log
	Keep   *Keep  // what is copied when the command has ended well and before anything else runs
	Dump   bool   // it prints the state when it can write it nowhere
}

// A Keep is a copy to be made of what a command left, under the names that the files and folders have. What is not
// there is left out. To appears whole or not at all.
type Keep struct {
	Files []string // absolute paths of files and folders
	To    string   // absolute path of a folder that is not there
}

// lockTimeout is how long a run waits for a lock on its own backend, which somebody's laptop may hold.
const lockTimeout = "-lock-timeout=60s"

// Commands lists the commands of a phase in order. They run in w.Root with Env, after Prepare. An apply runs
// in the folders its plan was made in.
func Commands(w Work, phase runs.Phase) ([]Command, error) {
	if w.Stack.Tool == runs.Custom {
		return customCommands(w, phase)
	}
	if w.Binary.Path == "" {
		return nil, runs.Invalidf("tool_version", "No tool was chosen for this run.")
	}
	tool := func(name string, state runs.State, args ...string) Command {
		return Command{Name: name, Phase: state, Args: append([]string{w.Binary.Path}, args...)}
	}
	if w.Test != "" {
		return testCommands(w, phase, tool)
	}
	init := tool("init", runs.Initializing, "init", "-input=false")
	if w.KeepInit != "" {
		init.Keep = w.Keep(w.KeepInit)
	}
	first := []Command{init}
	if w.Made != nil {
		first = nil
	}
	switch phase {
	case runs.PhasePlan:
		lock := lockTimeout
		if w.Speculative {
			lock = "-lock=false"
		}
		show := tool("show", runs.Planning, "show", "-json", w.PlanFile())
		show.Stdout = w.PlanJSON()
		return append(first, tool("plan", runs.Planning, "plan", "-input=false", lock, "-out="+w.PlanFile()), show), nil
	case runs.PhaseApply:
		apply := tool("apply", runs.Applying, "apply", "-input=false", lockTimeout, w.PlanFile())
		apply.Dump = true
		if w.InitAgain {
			return append(first, apply), nil
		}
		return []Command{apply}, nil
	case runs.PhaseDestroy:
		destroy := tool("destroy", runs.Destroying, "destroy", "-input=false", lockTimeout, "-auto-approve")
		destroy.Dump = true
		return append(first, destroy), nil
	case runs.PhasePerform:
		task, err := taskCommand(w)
		return append(first, task), err
	default:
		return nil, runs.Invalidf("", "There is no phase “%s”.", phase)
	}
}

// testCommands are those of a module's test: with test files the tool does all of it, else a plan is made and applied
// in one job, and what it made is destroyed in another.
func testCommands(w Work, phase runs.Phase, tool func(string, runs.State, ...string) Command) ([]Command, error) {
	first := tool("init", runs.Initializing, "init", "-input=false")
	if w.Test == runs.TestFileKind {
		return []Command{first, tool("test", runs.Performing, "test", "-json")}, nil
	}
	if phase == runs.PhaseDestroy {
		return []Command{
			tool("init", runs.Destroying, "init", "-input=false"),
			tool("destroy", runs.Destroying, "destroy", "-input=false", lockTimeout, "-auto-approve"),
		}, nil
	}
	return []Command{
		first, tool("plan", runs.Planning, "plan", "-input=false", "-out="+w.PlanFile()),
		tool("apply", runs.Applying, "apply", "-input=false", w.PlanFile()),
	}, nil
}

// customCommands takes the commands from the stack's settings. What it has none for is left out, unless the
// phase would then do nothing.
func customCommands(w Work, phase runs.Phase) ([]Command, error) {
	c := w.Stack.Commands
	var list []Command
	add := func(name string, state runs.State, script, stdout string) {
		if script != "" {
			list = append(list, shell(name, state, script, stdout))
		}
	}
	if phase != runs.PhaseApply {
		add("init", runs.Initializing, c.Init, "")
	}
	set := len(list)
	switch phase {
	case runs.PhasePlan:
		add("plan", runs.Planning, c.Plan, "")
		add("show", runs.Planning, c.Show, w.PlanJSON())
	case runs.PhaseApply:
		add("apply", runs.Applying, c.Apply, "")
	case runs.PhaseDestroy:
		add("destroy", runs.Destroying, c.Destroy, "")
	case runs.PhasePerform:
		task, err := taskCommand(w)
		return append(list, task), err
	default:
		return nil, runs.Invalidf("", "There is no phase “%s”.", phase)
	}
	if len(list) == set {
		return nil, runs.Invalidf("commands", "The stack has no command for %s. Add one in its settings.", phase)
	}
	return list, nil
}

func taskCommand(w Work) (Command, error) {
	if w.Command == "" {
		return Command{}, runs.Invalidf("command", "The task has no command.")
	}
	return shell("task", runs.Performing, w.Command, ""), nil
}

// shell runs a script that ends at its first failing command.
func shell(name string, state runs.State, script, stdout string) Command {
	return Command{Name: name, Phase: state, Args: []string{"/bin/sh", "-ec", script}, Stdout: stdout}
}
