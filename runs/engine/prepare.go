package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

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

// mayHaveBegun reports whether the job may have changed the world already: it is here again, and the workspace, which would tell how far
// it came, was lost with the machine.
func (t *task) mayHaveBegun() bool {
	if _, err := os.Stat(t.space.src()); !t.job.Claimed || !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	switch t.run.State {
	case runs.Applying:
		return true
	case runs.Initializing, runs.Performing, runs.Destroying:
		return changesAtOnce(t.run.Type)
	default:
		return false
	}
}

// giveUp gives a job up that may have begun. That it was past its init is recorded first, because a run that was not is done again.
func (t *task) giveUp() error {
	if t.run.State == runs.Initializing {
		t.started(map[runs.Type]string{runs.Task: string(runs.Performing), runs.Destroy: string(runs.Destroying)}[t.run.Type], "")
	}
	return ErrLost
}

func (t *task) layOut(ctx context.Context) (Spec, error) {
	if t.mayHaveBegun() {
		return Spec{}, t.giveUp()
	}
	if t.job.Phase == runs.PhaseApply {
		return t.layOutApply(ctx)
	}
	if t.run.Type == runs.Test && t.job.Phase == runs.PhaseDestroy {
		return t.layOutCleanUp(ctx)
	}
	log, err := t.openLog(runs.Preparing)
	if err != nil {
		return Spec{}, err
	}
	defer log.Close()
	go func() { // looking for tools takes as long as writing the files; what is found is remembered
		_, _ = t.e.prober.Probe(ctx, t.e.o.ToolDirs, t.e.o.ToolPath)
	}()
	if err := t.fixEnvironment(); err != nil {
		return Spec{}, err
	}
	basis, err := t.checkout(ctx, log)
	if err != nil {
		fmt.Fprintln(log, t.hide.String(err.Error()))
		return Spec{}, err
	}
	if err := t.mountFor(log); err != nil {
		return Spec{}, err
	}
	bin, err := t.e.binary(ctx, t.stack, t.requirements())
	if err != nil {
		fmt.Fprintln(log, err)
		return Spec{}, refusal{message(err)}
	}
	newest, state, err := t.newestState()
	if err != nil {
		return Spec{}, err
	}
	w := t.toolWork(bin)
	if err := t.openDoors(&w); err != nil {
		return Spec{}, err
	}
	if err := tofu.Prepare(w, state); err != nil {
		fmt.Fprintln(log, err)
		return Spec{}, refusal{err.Error()}
	}
	reused, err := t.warm(&w, state, log)
	if err != nil {
		return Spec{}, err
	}
	if w.Mirror != "" {
		fmt.Fprintln(log, "Providers come from the mirror in the data folder and from nowhere else")
	}
	fmt.Fprintf(log, "%s %s, state version %d\n", toolName(bin, t.stack), bin.Version, newest.Version)
	ev := runs.PhaseStarted{
		State: runs.Initializing, Basis: &basis, Tool: t.stack.Tool, ToolVersion: bin.Version,
		StateVersion: newest.Version, TrackedAt: t.stack.TrackedCommit.SHA,
		Reused: reused,
	}
	_, err = t.e.apply(t.run.ID, func(m runs.Meta) runs.Event { ev.Meta = m; return ev }, runs.System, "")
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
		Command: t.run.Command, Mirror: t.e.mirror(), Sealed: true, Path: t.e.o.ToolPath, Proxy: t.e.o.Proxy,
		Run: t.run.ID, Commit: t.run.Commit.SHA, Branch: t.run.Branch, Tmp: t.space.tmp(), Test: t.testKind(), Memory: t.e.Limits().Memory,
		Mount: t.space.mount(),
	}
}

// requirements are the versions of the tool that the checked-out code asks for.
func (t *task) requirements() []tofu.Requirement {
	if t.stack.Tool == runs.Custom {
		return nil
	}
	root, err := os.OpenRoot(t.space.src())
	if err != nil {
		return nil // preparing the workspace says so
	}
	defer root.Close()
	return tofu.Requirements(root, t.stack.ProjectRoot, t.stack.Tool)
}

// mirror is the folder of provider packages, "" when it holds none. When it holds some, providers come from nowhere else.
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
	if err := t.space.makeTmp(); err != nil {
		return Spec{}, err
	}
	if err := t.openDoors(&w); err != nil {
		return Spec{}, err
	}
	readOnly, readWrite := w.Access()
	return Spec{
		WorkDir: w.Root, LogDir: t.e.st.Path("logs", t.run.ID), Env: tofu.Env(w, t.vars), Commands: commands,
		Secrets: append(t.secrets(), t.token), ReadOnly: readOnly, ReadWrite: readWrite,
		Time: t.e.runTime(), Silence: t.e.silence(), Limits: t.e.Limits(),
	}, nil
}

// binary chooses the tool for a stack and what its code requires. A custom stack brings its own.
func (e *Engine) binary(ctx context.Context, st runs.Stack, requires []tofu.Requirement) (tofu.Binary, error) {
	if st.Tool == runs.Custom {
		return tofu.Binary{}, nil
	}
	bins, err := e.prober.Probe(ctx, e.o.ToolDirs, e.o.ToolPath)
	if err != nil {
		return tofu.Binary{}, err
	}
	return tofu.ChooseFor(bins, st.Tool, st.ToolVersion, requires)
}

// checkout brings the commit here and writes its files into a fresh workspace.
func (t *task) checkout(ctx context.Context, log io.Writer) (runs.Basis, error) {
	c, err := t.e.clientOf(t.in)
	if err != nil {
		return runs.Basis{}, err
	}
	behind := t.behind(ctx, c)
	var basis runs.Basis
	refs := []string{"refs/heads/" + t.run.Branch}
	if t.run.MR != nil {
		refs = append(refs, fmt.Sprintf("refs/merge-requests/%d/head", t.run.MR.IID), fmt.Sprintf("refs/merge-requests/%d/merge", t.run.MR.IID))
	}
	err = t.lending(ctx, func() error {
		basis = t.basis(ctx, c, log)
		basis.Root = t.stack.ProjectRoot
		return t.patiently(ctx, log, func() error {
			return t.e.o.Source.Fetch(ctx, c, t.stack.Project, t.stack.ProjectPath, basis.SHA, refs...)
		})
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
	basis.Behind = <-behind
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
	words := "the head of " + r.Branch
	if r.Branch == "" {
		words = "a tag"
	}
	if b.Kind == runs.PlanMergeResult && r.MR != nil {
		words = "the merge of " + r.MR.SourceBranch + " into " + r.MR.TargetBranch
	}
	if b.Behind > 0 && r.MR != nil {
		words += fmt.Sprintf(", which is %d %s behind %s", b.Behind, plural(b.Behind, "commit"), r.MR.TargetBranch)
	}
	return words
}

// behind asks GitLab, while the commit is fetched, how many commits the merge request's branch lacks of its target.
// It is nice to know and no reason to wait or fail: without an answer it is 0.
func (t *task) behind(ctx context.Context, c *gitlab.Client) <-chan int {
	answer := make(chan int, 1)
	if t.run.MR == nil {
		answer <- 0
		return answer
	}
	go func() {
		ctx, cancel := context.WithTimeout(ctx, behindTime)
		defer cancel()
		mr, err := c.MergeRequest(ctx, t.run.Project, t.run.MR.IID)
		if err != nil || mr.HeadSHA != t.run.Commit.SHA {
			mr.DivergedCommits = 0 // not known of this commit
		}
		answer <- mr.DivergedCommits
	}()
	return answer
}

// behindTime is how long an answer of GitLab that is only nice to have may take.
const behindTime = 5 * time.Second

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
	return slices.Contains(list, s)
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

// newestState reads the stack's newest managed state; version 0 and no bytes when there is none or it is not managed.
func (t *task) newestState() (store.StateVersion, []byte, error) {
	var v store.StateVersion
	err := t.e.st.View(func(tx *store.Tx) error {
		var err error
		v, _, err = tx.NewestState(t.stack.Slug)
		return err
	})
	if err != nil || v.Version == 0 || t.stack.State != runs.StateManaged {
		return store.StateVersion{}, nil, err // of a backend of its own there is at most what could not be written to it
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
	bin, err := t.e.binary(ctx, t.stack, nil) // what the code requires was met when it was planned
	if err != nil {
		return Spec{}, refusal{message(err)}
	}
	w := t.toolWork(bin)
	if _, err := os.Stat(w.Root); err != nil {
		return Spec{}, refusef("The run's workspace is gone, so nothing was applied. Start the run again.")
	}
	if err := t.again(&w); err != nil {
		return Spec{}, err
	}
	if err := t.mountAgain(); err != nil {
		return Spec{}, err
	}
	if err := layBack(w.PlanFile(), plan); err != nil {
		return Spec{}, err
	}
	if state != nil {
		if err := layBack(w.StateFile(), state); err != nil {
			return Spec{}, err
		}
	}
	return t.spec(w)
}

// layBack writes a file into a folder that a run could write to: whatever lies there under the name goes first,
// so that no link it left leads the server elsewhere.
func layBack(path string, data []byte) error {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Base(path)
	if err := dir.RemoveAll(name); err != nil {
		return err
	}
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// pinned is the stack with the very tool, version and folder the plan was made with: settings that were changed
// since are for the next run.
func pinned(st runs.Stack, r runs.Run) runs.Stack {
	if r.Basis != nil {
		st.Tool, st.ToolVersion, st.ProjectRoot = r.Tool, r.ToolVersion, r.Basis.Root
	}
	return st
}
