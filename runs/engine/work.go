package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/redact"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// A space is the folder of one run: the checkout in src, what is never the checkout's business in aux (plan,
// state, tool data), and the private folder of each job's process beside them.
type space struct {
	run runs.Run
	dir string
}

func (e *Engine) spaceOf(r runs.Run) space { return space{r, e.st.Path("work", r.ID)} }

func (s space) src() string { return filepath.Join(s.dir, "src") }
func (s space) aux() string { return filepath.Join(s.dir, "aux") }
func (s space) job(p runs.Phase) string {
	return filepath.Join(s.dir, string(p)+"-"+strconv.Itoa(s.run.Attempt))
}

// A task is a job at work: everything that its preparation and its end need.
type task struct {
	e     *Engine
	job   store.Job
	run   runs.Run
	stack runs.Stack
	in    store.Integration
	space space
	vars  []runs.Variable
	hide  *redact.Redactor
	stop  <-chan struct{}
}

func (e *Engine) taskOf(j store.Job) (*task, error) {
	t := &task{e: e, job: j, stop: e.stopOf(j.Run)}
	err := e.st.View(func(tx *store.Tx) error {
		var err error
		if t.run, err = tx.Run(j.Run); err != nil {
			return err
		}
		if t.stack, err = tx.Stack(j.Stack); err != nil {
			return err
		}
		if t.in, _, err = tx.Integration(); err != nil {
			return err
		}
		t.vars, err = tx.RevealVariables(j.Stack)
		return err
	})
	t.space = e.spaceOf(t.run)
	t.hide = redact.New(secretsOf(t.vars))
	return t, err
}

func secretsOf(vars []runs.Variable) []string {
	var out []string
	for _, v := range vars {
		if v.Secret {
			out = append(out, v.Value)
		}
	}
	return out
}

// work brings a job to its end and says so with one event. An error means that the end could not be
// recorded, and the job is taken up again.
func (e *Engine) work(ctx context.Context, j store.Job) error {
	t, err := e.taskOf(j)
	if errors.Is(err, runs.ErrNotFound) {
		_, err = e.applyNow(j.Run, func(m runs.Meta) runs.Event { return runs.Fail{Meta: m} }, runs.System, "the stack was deleted")
		return settled(err)
	}
	if err != nil {
		return err
	}
	res, err := e.o.Runner.Run(ctx, Job{
		Dir:     t.space.job(j.Phase),
		Spec:    func() (Spec, error) { return t.prepare(ctx) },
		Stop:    t.stop,
		Started: t.started,
	})
	if ctx.Err() != nil {
		return ctx.Err() // the process goes on; the next server finds it
	}
	ended, err := t.end(res, err)
	if err != nil {
		return settled(err)
	}
	e.sweep(ended)
	return nil
}

// settled forgives a refused closing event: the run ended in another way meanwhile.
func settled(err error) error {
	if errors.Is(err, runs.ErrConflict) || errors.Is(err, runs.ErrNotFound) {
		return nil
	}
	return err
}

// started records that a phase's first command began. The same again, after a restart, is no news.
func (t *task) started(phase, _ string) {
	state := runs.State(phase)
	if state == runs.Applying {
		return
	}
	_, err := t.e.applyNow(t.run.ID, func(m runs.Meta) runs.Event { return runs.PhaseStarted{Meta: m, State: state} }, runs.System, "")
	if settled(err) != nil {
		t.e.log.Error("phase could not be recorded", "run", t.run.ID, "phase", phase, "error", err)
	}
}

var errStopped = errors.New("stopped")

// A refusal is why a job can't start, in words for people.
type refusal struct{ msg string }

func (r refusal) Error() string { return r.msg }

func refusef(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// prepare lays out the workspace and says what the process is to do. It runs only when the job's process
// does not exist yet; after a crash in the middle it simply runs again.
func (t *task) prepare(ctx context.Context) (Spec, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-t.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	spec, err := t.layOut(ctx)
	if err != nil && t.stopped() {
		return spec, errStopped
	}
	return spec, err
}

func (t *task) stopped() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

func (t *task) layOut(ctx context.Context) (Spec, error) {
	if t.job.Phase == runs.PhaseApply {
		return t.layOutApply(ctx)
	}
	log, err := t.openLog(runs.Preparing)
	if err != nil {
		return Spec{}, err
	}
	defer log.Close()
	basis, err := t.checkout(ctx, log)
	if err != nil {
		fmt.Fprintln(log, t.hide.String(err.Error()))
		return Spec{}, err
	}
	bin, err := t.e.binary(ctx, t.stack)
	if err != nil {
		fmt.Fprintln(log, err)
		return Spec{}, refusal{message(err)}
	}
	newest, state, err := t.newestState()
	if err != nil {
		return Spec{}, err
	}
	w := t.toolWork(bin)
	if err := tofu.Prepare(w, state); err != nil {
		fmt.Fprintln(log, err)
		return Spec{}, refusal{err.Error()}
	}
	fmt.Fprintf(log, "%s %s, state version %d\n", toolName(bin, t.stack), bin.Version, newest.Version)
	ev := runs.PhaseStarted{
		State: runs.Initializing, Basis: &basis, Tool: t.stack.Tool, ToolVersion: bin.Version,
		StateVersion: newest.Version, TrackedAt: t.stack.TrackedCommit.SHA,
	}
	_, err = t.e.applyNow(t.run.ID, func(m runs.Meta) runs.Event { ev.Meta = m; return ev }, runs.System, "")
	if err != nil {
		return Spec{}, err
	}
	return t.spec(w)
}

func toolName(b tofu.Binary, st runs.Stack) string {
	if b.Tool == "" {
		return st.Tool
	}
	return b.Tool
}

// toolWork says to package tofu what is worked on.
func (t *task) toolWork(bin tofu.Binary) tofu.Work {
	return tofu.Work{
		Stack: t.stack, Binary: bin, Root: filepath.Join(t.space.src(), filepath.FromSlash(t.stack.ProjectRoot)), Aux: t.space.aux(),
		Managed: t.stack.State == runs.StateManaged, Speculative: t.run.Type == runs.Proposed,
		Command: t.run.Command, Mirror: t.e.mirror(), Path: t.e.o.ToolPath, Proxy: t.e.o.Proxy,
		Run: t.run.ID, Commit: t.run.Commit.SHA, Branch: t.run.Branch,
	}
}

// mirror is the folder of provider packages, "" when it holds none.
func (e *Engine) mirror() string {
	dir := e.st.Path("mirror")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		return ""
	}
	return dir
}

// spec says what the process does.
func (t *task) spec(w tofu.Work) (Spec, error) {
	commands, err := tofu.Commands(w, t.job.Phase)
	if err != nil {
		return Spec{}, refusal{err.Error()}
	}
	if err := os.MkdirAll(t.e.st.Path("logs", t.run.ID), 0o700); err != nil {
		return Spec{}, err
	}
	s := Spec{
		WorkDir: w.Root, LogDir: t.e.st.Path("logs", t.run.ID), Env: tofu.Env(w, t.vars), Commands: commands,
		Secrets: secretsOf(t.vars), ReadWrite: []string{t.space.src(), t.space.aux()},
		Time: t.e.o.RunTime, Silence: t.e.o.Silence,
	}
	for _, dir := range append([]string{w.Mirror, filepath.Dir(w.Binary.Path)}, t.e.o.ToolDirs...) {
		if dir != "" && dir != "." {
			s.ReadOnly = append(s.ReadOnly, dir)
		}
	}
	return s, nil
}

// binary chooses the tool for a stack. A custom stack brings its own.
func (e *Engine) binary(ctx context.Context, st runs.Stack) (tofu.Binary, error) {
	if st.Tool == runs.Custom {
		return tofu.Binary{}, nil
	}
	bins, err := e.prober.Probe(ctx, e.o.ToolDirs, e.o.ToolPath)
	if err != nil {
		return tofu.Binary{}, err
	}
	b, err := tofu.Choose(bins, st.Tool, st.ToolVersion)
	if err != nil {
		return b, refusal{err.Error()}
	}
	return b, nil
}

// checkout brings the commit here and writes its files into a fresh workspace.
func (t *task) checkout(ctx context.Context, log io.Writer) (runs.Basis, error) {
	c, err := t.e.clientOf(t.in)
	if err != nil {
		return runs.Basis{}, err
	}
	basis := t.basis(ctx, c, log)
	refs := []string{"refs/heads/" + t.run.Branch}
	if t.run.MR != nil {
		refs = append(refs, fmt.Sprintf("refs/merge-requests/%d/head", t.run.MR.IID), fmt.Sprintf("refs/merge-requests/%d/merge", t.run.MR.IID))
	}
	err = t.patiently(ctx, log, func() error {
		return t.e.o.Source.Fetch(ctx, c, t.stack.Project, t.stack.ProjectPath, basis.SHA, refs...)
	})
	if err != nil {
		return basis, refusef("The commit %s could not be fetched: %s", runs.ShortSHA(basis.SHA), sentence(err.Error()))
	}
	if err := errors.Join(os.RemoveAll(t.space.src()), os.RemoveAll(t.space.aux()), os.MkdirAll(t.space.dir, 0o700), os.MkdirAll(t.space.aux(), 0o700)); err != nil {
		return basis, err
	}
	warnings, err := t.e.o.Source.Checkout(ctx, t.stack.Project, basis.SHA, t.space.src())
	if err != nil {
		return basis, refusef("The files of commit %s could not be written: %s", runs.ShortSHA(basis.SHA), sentence(err.Error()))
	}
	for _, w := range warnings {
		fmt.Fprintln(log, "Warning:", w)
	}
	fmt.Fprintf(log, "Checked out %s (%s)\n", basis.SHA, basisWords(basis, t.run))
	return basis, t.checkRoot()
}

// checkRoot makes sure that the project root is a folder inside the checkout, links and all (S26).
func (t *task) checkRoot() error {
	root, err := os.OpenRoot(t.space.src())
	if err != nil {
		return err
	}
	defer root.Close()
	dir := t.stack.ProjectRoot
	if dir == "" {
		dir = "."
	}
	info, err := root.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return refusef("The commit has no folder %s/. Correct the project root in the stack's settings, or push the folder.", t.stack.ProjectRoot)
	}
	if err != nil {
		return refusef("The project root %s leads out of the project.", t.stack.ProjectRoot)
	}
	return nil
}

func basisWords(b runs.Basis, r runs.Run) string {
	if b.Kind == runs.PlanMergeResult && r.MR != nil {
		return "the merge of " + r.MR.SourceBranch + " into " + r.MR.TargetBranch
	}
	return "the head of " + r.Branch
}

// basis decides which commit is planned: the merge result when the stack wants it and GitLab can make one of
// just this head, else the head.
func (t *task) basis(ctx context.Context, c *gitlab.Client, log io.Writer) runs.Basis {
	head := runs.Basis{SHA: t.run.Commit.SHA, Kind: runs.PlanHead}
	if t.run.MR == nil || t.run.Type != runs.Proposed || t.stack.Plan != runs.PlanMergeResult {
		return head
	}
	sha, err := c.MergeRef(ctx, t.run.Project, t.run.MR.IID)
	if err != nil {
		fmt.Fprintf(log, "GitLab has no merge result of !%d (%s); planning the head of %s.\n", t.run.MR.IID, err, t.run.Branch)
		return head
	}
	merge, err := c.Commit(ctx, t.run.Project, sha)
	if err != nil || !contains(merge.ParentIDs, t.run.Commit.SHA) {
		fmt.Fprintf(log, "GitLab's merge result of !%d is of another commit; planning the head of %s.\n", t.run.MR.IID, t.run.Branch)
		return head
	}
	return runs.Basis{SHA: sha, Kind: runs.PlanMergeResult}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// patiently repeats what GitLab could not answer for the moment, for up to patience.
func (t *task) patiently(ctx context.Context, log io.Writer, do func() error) error {
	pause := time.Second
	for until := t.e.now().Add(patience); ; pause = min(2*pause, 30*time.Second) {
		err := do()
		if !gitlab.KindOf(err).Temporary() || t.e.now().After(until) {
			return err
		}
		fmt.Fprintf(log, "%s Trying again in %s.\n", sentence(err.Error()), pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// newestState reads the stack's newest managed state; version 0 and no bytes when there is none.
func (t *task) newestState() (store.StateVersion, []byte, error) {
	var v store.StateVersion
	err := t.e.st.View(func(tx *store.Tx) error {
		var err error
		v, _, err = tx.NewestState(t.stack.Slug)
		return err
	})
	if err != nil || v.Version == 0 {
		return v, nil, err
	}
	state, err := t.e.st.ReadState(v)
	return v, state, err
}

// layOutApply brings back what the plan left: exactly the plan file that was shown, on exactly its state.
func (t *task) layOutApply(ctx context.Context) (Spec, error) {
	newest, state, err := t.newestState()
	if err != nil {
		return Spec{}, err
	}
	if t.stack.State == runs.StateManaged && newest.Version != t.run.StateVersion {
		return Spec{}, refusef("The state moved from version %d to %d after the plan was confirmed, so nothing was applied. Start the run again.", t.run.StateVersion, newest.Version)
	}
	plan, err := t.e.st.Unseal("plans", t.run.ID+".sealed")
	if err != nil {
		return Spec{}, refusef("The saved plan is gone, so nothing was applied. Start the run again.")
	}
	bin, err := t.e.binary(ctx, pinned(t.stack, t.run))
	if err != nil {
		return Spec{}, refusal{message(err)}
	}
	w := t.toolWork(bin)
	if _, err := os.Stat(w.Root); err != nil {
		return Spec{}, refusef("The run's workspace is gone, so nothing was applied. Start the run again.")
	}
	err = os.WriteFile(w.PlanFile(), plan, 0o600)
	if err == nil && state != nil {
		err = os.WriteFile(w.StateFile(), state, 0o600)
	}
	if err != nil {
		return Spec{}, err
	}
	return t.spec(w)
}

// pinned is the stack with the very version the plan was made with.
func pinned(st runs.Stack, r runs.Run) runs.Stack {
	if r.ToolVersion != "" {
		st.ToolVersion = r.ToolVersion
	}
	return st
}

// end turns how the process ended into the run's closing event.
func (t *task) end(res Result, err error) (runs.Run, error) {
	var no refusal
	switch {
	case errors.Is(err, ErrLost):
		return t.lost()
	case errors.Is(err, errStopped):
		return t.close(func(m runs.Meta) runs.Event { return runs.Halted{Meta: m} }, "")
	case errors.As(err, &no):
		return t.fail(no.msg)
	case errors.Is(err, runs.ErrConflict), errors.Is(err, runs.ErrInvalid):
		return t.fail(message(err))
	case err != nil:
		return t.run, err
	case res.OK && t.job.Phase == runs.PhasePlan:
		return t.planned()
	case res.OK:
		return t.saved(func(m runs.Meta, v int) runs.Event { return runs.Done{Meta: m, NewVersion: v} }, "")
	case res.Stopped && t.job.Phase != runs.PhaseApply:
		return t.close(func(m runs.Meta) runs.Event { return runs.Halted{Meta: m} }, "")
	default:
		return t.fail(t.reason(res))
	}
}

// reason is the first line of the error, from the tool's own words where there are some.
func (t *task) reason(res Result) string {
	phase := t.lastPhase()
	if log, err := tail(t.e.LogFile(t.run.ID, phase), 1<<20); err == nil && res.Message == "" || err == nil && !res.Stopped {
		if first := tofu.FirstError(log); first != "" {
			return t.hide.String(first)
		}
	}
	if res.Message != "" {
		return t.hide.String(res.Message)
	}
	return res.Command + " failed; the log says why"
}

func (t *task) lastPhase() runs.State {
	if t.job.Phase == runs.PhaseApply {
		return runs.Applying
	}
	var r runs.Run
	_ = t.e.st.View(func(tx *store.Tx) error { // the run was there a moment ago; without it there is no phase
		var err error
		r, err = tx.Run(t.run.ID)
		return err
	})
	return r.State
}

// tail reads at most n bytes from the end of a file.
func tail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-n)
	return io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
}

func (t *task) close(ev func(runs.Meta) runs.Event, note string) (runs.Run, error) {
	return t.e.applyNow(t.run.ID, ev, runs.System, note)
}

// fail ends the run badly. What an apply did until then is kept as a state version.
func (t *task) fail(reason string) (runs.Run, error) {
	ev := func(m runs.Meta, v int) runs.Event { return runs.Fail{Meta: m, NewVersion: v} }
	if t.job.Phase == runs.PhasePlan {
		return t.close(func(m runs.Meta) runs.Event { return ev(m, 0) }, reason)
	}
	return t.saved(ev, reason)
}

// lost ends, or starts again, a job whose process is gone without a result.
func (t *task) lost() (runs.Run, error) {
	if t.job.Phase == runs.PhasePlan {
		return t.close(func(m runs.Meta) runs.Event { return runs.Lost{Meta: m} }, "the process was killed or the machine restarted while planning")
	}
	note := "the process was killed or the machine restarted in the middle. Some of the changes may have been made; the state known last was kept"
	return t.saved(func(m runs.Meta, v int) runs.Event { return runs.Lost{Meta: m, NewVersion: v} }, note)
}

// saved stores the state that an apply, task or destroy left as a new version, together with the closing
// event. errored.tfstate is what the tool writes when it could not write the state itself.
func (t *task) saved(ev func(runs.Meta, int) runs.Event, note string) (runs.Run, error) {
	version, err := t.keepState()
	if err != nil {
		return t.run, err
	}
	var r runs.Run
	err = t.e.st.Update(func(tx *store.Tx) error {
		n := 0
		if version != nil {
			v, err := tx.AddStateVersion(t.stack.Slug, *version)
			if err != nil {
				return err
			}
			n = v.Version
		}
		var err error
		r, err = tx.Apply(t.run.ID, ev(runs.Meta{At: tx.Now(), Note: note}, n))
		if err != nil || r.State != runs.Finished || t.stack.Flag == "" {
			return err
		}
		st, err := tx.Stack(t.stack.Slug)
		if err != nil {
			return err
		}
		st.Flag = ""
		return tx.PutStack(st)
	})
	return r, err
}

// keepState seals the state in the workspace; nil when there is none to keep.
func (t *task) keepState() (*store.StateVersion, error) {
	if t.stack.State != runs.StateManaged {
		return nil, nil
	}
	w := t.toolWork(tofu.Binary{})
	for _, file := range []string{filepath.Join(w.Root, "errored.tfstate"), w.StateFile()} {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := tofu.ReadState(data)
		if err != nil {
			t.e.log.Error("the state an apply left can't be read and is not kept", "run", t.run.ID, "file", file, "error", err)
			continue
		}
		v, err := t.e.st.WriteState(t.stack.Slug, data)
		v.Serial, v.Lineage, v.Resources, v.Run, v.By = info.Serial, info.Lineage, info.Resources, t.run.ID, t.run.TriggeredBy
		return &v, err
	}
	return nil, nil
}

// planned stores the plan: the changes readable and without secrets, the plan file sealed, and then the run's
// move. After that nothing of the plan lies in clear.
func (t *task) planned() (runs.Run, error) {
	w := t.toolWork(tofu.Binary{})
	changes, delta, err := t.readPlan(w)
	if err != nil {
		return t.fail("The plan could not be read: " + err.Error())
	}
	raw, err := json.Marshal(changes)
	if err != nil {
		return t.run, err
	}
	if err := t.e.st.WriteFile(raw, "changes", t.run.ID+".json"); err != nil {
		return t.run, err
	}
	if t.run.Type == runs.Tracked && !delta.Empty() {
		plan, err := os.ReadFile(w.PlanFile())
		if err != nil {
			return t.fail("The plan file is not there: the plan command did not write it.")
		}
		if err := t.e.st.Seal(plan, "plans", t.run.ID+".sealed"); err != nil {
			return t.run, err
		}
	}
	var r runs.Run
	err = t.e.st.Update(func(tx *store.Tx) error {
		st, err := tx.Stack(t.stack.Slug)
		if err != nil {
			return err
		}
		r, err = tx.Apply(t.run.ID, runs.Planned{
			Meta: runs.Meta{At: tx.Now()}, Delta: delta, Fingerprint: changes.Fingerprint(),
			Autodeploy: st.Autodeploy && st.LockedBy == "",
		})
		return err
	})
	if err == nil {
		t.e.scrub(t.space)
	}
	return r, err
}

// readPlan reads the plan's JSON and takes the secrets out of it.
func (t *task) readPlan(w tofu.Work) (runs.Changes, runs.Delta, error) {
	f, err := os.Open(w.PlanJSON())
	if err != nil {
		return runs.Changes{}, runs.Delta{}, errors.New("the show command printed nothing")
	}
	defer f.Close()
	changes, delta, err := tofu.ReadPlan(f)
	if err != nil {
		return changes, delta, err
	}
	t.hideIn(&changes)
	return changes, delta, nil
}

func (t *task) hideIn(c *runs.Changes) {
	hide := func(list []runs.ResourceChange) {
		for i := range list {
			list[i].Address, list[i].ImportID = t.hide.String(list[i].Address), t.hide.String(list[i].ImportID)
			for k, a := range list[i].Attributes {
				list[i].Attributes[k].Path = t.hide.String(a.Path)
				list[i].Attributes[k].Before, list[i].Attributes[k].After = t.hide.String(a.Before), t.hide.String(a.After)
			}
		}
	}
	hide(c.Resources)
	hide(c.Drift)
	for i, o := range c.Outputs {
		c.Outputs[i].Before, c.Outputs[i].After = t.hide.String(o.Before), t.hide.String(o.After)
	}
}

// scrub removes what of a plan lies in clear in a workspace: plan file, its JSON, state.
func (e *Engine) scrub(s space) {
	w := tofu.Work{Aux: s.aux()}
	for _, f := range []string{w.PlanFile(), w.PlanJSON(), w.StateFile(), w.StateFile() + ".backup"} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.log.Error("a plan's file could not be removed", "run", s.run.ID, "file", f, "error", err)
		}
	}
}

// LogFile is the log of a run's phase. It is absent until the phase began.
func (e *Engine) LogFile(run string, phase runs.State) string {
	return e.st.Path("logs", filepath.Base(run), string(phase)+".log")
}

func (t *task) openLog(phase runs.State) (*os.File, error) {
	path := t.e.LogFile(t.run.ID, phase)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// Changes returns what a run's plan would change; ok is false when there is no plan.
func (e *Engine) Changes(run string) (c runs.Changes, ok bool, err error) {
	raw, err := os.ReadFile(e.st.Path("changes", filepath.Base(run)+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	return c, true, json.NewDecoder(bytes.NewReader(raw)).Decode(&c)
}
