// Package tofu knows how OpenTofu, Terraform and custom tools are called and what they answer.
package tofu

import (
	"context"
	"errors"
	"io"

	"groundcrew/runs"
)

var errNotYet = errors.New("not there yet")

// A Binary is a tool present on this machine.
type Binary struct {
	Tool    string // runs.OpenTofu or runs.Terraform
	Version string
	Path    string
	Problem string // why it cannot be used, for people; "" = it can
}

// A Prober finds binaries and remembers their versions. The zero value is ready; safe for several goroutines.
type Prober struct{}

// Probe finds the tools in dirs and in the folders of path (the form of $PATH). A broken binary is listed with its Problem.
func (p *Prober) Probe(ctx context.Context, dirs []string, path string) ([]Binary, error) {
	return nil, errNotYet
}

// Choose picks the newest binary of tool that meets constraint ("" = any).
func Choose(bins []Binary, tool, constraint string) (Binary, error) { return Binary{}, errNotYet }

// ValidConstraint checks a version constraint as people write it in a form.
func ValidConstraint(s string) error { return errNotYet }

// A Work is one run of a tool on a checkout.
type Work struct {
	Stack       runs.Stack
	Binary      Binary
	Root        string   // absolute folder of the root module
	Aux         string   // absolute folder beside the checkout: plan file, state, plan.json, TF_DATA_DIR, home, tmp
	Managed     bool     // state is kept by Groundcrew
	Speculative bool     // the plan is never applied: it takes no lock on an own backend
	Command     string   // of a task
	Mirror      string   // filesystem mirror of providers, "" = none
	Path        string   // PATH of the commands; "" = a plain system PATH
	Proxy       []string // NAME=value of the proxy variables handed on
	Run         string   // facts for GROUNDCREW_* variables
	Commit      string
	Branch      string
}

// A Command is one program of a phase. It has the fields of proc.Command.
type Command struct {
	Name   string
	Phase  runs.State
	Args   []string
	Stdout string
}

// Prepare lays out what the commands need.
func Prepare(w Work, state []byte) error { return errNotYet }

// Commands lists the commands of a phase, in order.
func Commands(w Work, phase runs.Phase) ([]Command, error) { return nil, errNotYet }

// Env is the whole environment of the commands.
func Env(w Work, vars []runs.Variable) []string { return nil }

// PlanFile is the saved plan of w.
func (w Work) PlanFile() string { return w.Aux + "/tfplan" }

// PlanJSON is the file with the plan in JSON.
func (w Work) PlanJSON() string { return w.Aux + "/plan.json" }

// StateFile is the managed state of w; absent as long as there is none.
func (w Work) StateFile() string { return w.Aux + "/terraform.tfstate" }

// ReadPlan reads the tool's plan JSON.
func ReadPlan(r io.Reader) (runs.Changes, runs.Delta, error) {
	return runs.Changes{}, runs.Delta{}, errNotYet
}

// FirstError returns the first error in a log in plain text, "" when there is none.
func FirstError(log []byte) string { return "" }

// A StateInfo is what can be told of a state without showing its values.
type StateInfo struct {
	Version          int
	Serial           uint64
	Lineage          string
	Resources        int // instances of managed resources
	Outputs          map[string]Output
	TerraformVersion string
}

// An Output is one output in a state.
type Output struct {
	Value     string // compact JSON; "" when sensitive
	Sensitive bool
}

// ReadState reads a state file of version 4.
func ReadState(b []byte) (StateInfo, error) { return StateInfo{}, errNotYet }
