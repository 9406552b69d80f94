package engine

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path"

	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// ofModule fills in a task that is the test of a module: the case takes the place of a stack.
func (t *task) ofModule(tx *store.Tx) error {
	m, err := tx.Module(runs.ModuleOf(t.job.Stack))
	if err != nil {
		return err
	}
	if t.run.Test == nil {
		return runs.NotFoundf("The run %s says nothing of its test.", t.run.ID) // no version of ours writes such a row
	}
	k := t.run.Test.Case
	t.stack = m.Source()
	t.stack.ProjectRoot = path.Join(m.ProjectRoot, k.ProjectRoot)
	if k.Tool != "" || k.ToolVersion != "" {
		t.stack.Tool, t.stack.ToolVersion = cmp.Or(k.Tool, m.Tool), k.ToolVersion
	}
	if k.Kind == runs.TestFileKind {
		t.stack.State = runs.StateOwn // the tool keeps the state of test files itself
	}
	return nil
}

// testEnvironment is what the test of a module gets: the module's variables, and over them what the case says.
func testEnvironment(tx *store.Tx, scope string, k runs.TestCase) (env environment, err error) {
	if env.Variables, err = tx.RevealVariables(scope); err != nil {
		return env, err
	}
	for name, v := range k.Environment {
		env.Variables = append(env.Variables, runs.Variable{Name: name, Value: v})
	}
	for name, v := range k.Inputs {
		env.Variables = append(env.Variables, runs.Variable{Name: "TF_VAR_" + name, Value: v})
	}
	return env, nil
}

// testKind is the kind of the test this task is of, "" for none.
func (t *task) testKind() string {
	if t.run.Test == nil {
		return ""
	}
	return t.run.Test.Case.Kind
}

// layOutCleanUp goes on in the workspace that the test left: its state says what is to be destroyed.
func (t *task) layOutCleanUp(ctx context.Context) (Spec, error) {
	bin, err := t.e.binary(ctx, t.stack, nil) // what the code requires was met when it was tested
	if err != nil {
		return Spec{}, refusal{message(err)}
	}
	w := t.toolWork(bin)
	if _, err := os.Stat(w.Root); err != nil {
		return Spec{}, refusef("The test's workspace is gone, and with it the state of what it made.")
	}
	if err := t.layFiles(); err != nil {
		return Spec{}, err
	}
	return t.spec(w)
}

// endTest turns how a test's process ended into an event.
func (t *task) endTest(res Result, err error) (runs.Run, error) {
	var no refusal
	fail := func(note string, tool bool, results []runs.TestResult) (runs.Run, error) {
		return t.close(func(m runs.Meta) runs.Event { return runs.Fail{Meta: m, Tool: tool, Results: results} }, note)
	}
	switch {
	case errors.Is(err, ErrLost):
		return t.close(func(m runs.Meta) runs.Event { return runs.Lost{Meta: m} }, "the process was killed or the machine restarted in the middle")
	case errors.Is(err, errStopped):
		return t.close(func(m runs.Meta) runs.Event { return runs.Halted{Meta: m} }, "")
	case errors.As(err, &no):
		return fail(no.msg, false, nil)
	case errors.Is(err, runs.ErrConflict), errors.Is(err, runs.ErrInvalid):
		return fail(message(err), false, nil)
	case err != nil:
		return t.run, err
	}
	results := t.testResults()
	switch {
	case res.OK:
		return t.close(func(m runs.Meta) runs.Event { return runs.Done{Meta: m, Results: results} }, "")
	case res.Stopped:
		return t.close(func(m runs.Meta) runs.Event { return runs.Halted{Meta: m} }, "")
	case tofu.FirstFailure(results) != "" && !res.Limited:
		return fail(t.hide.String(tofu.FirstFailure(results)), true, results)
	default:
		return fail(t.reason(res), !res.Limited, results)
	}
}

// testResults are what the tool told of the run blocks of test files; none for other tests.
func (t *task) testResults() []runs.TestResult {
	if t.testKind() != runs.TestFileKind {
		return nil
	}
	log, err := t.e.OpenLog(t.run.ID, runs.Performing)
	if err != nil {
		return nil // init failed, so there is none
	}
	defer log.Close()
	return tofu.ReadTestLog(io.NewSectionReader(log, 0, log.Size()))
}
