package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/redact"
	"groundcrew/store"
)

// What a run gets is fixed when its workspace is laid out for the first time, and kept, sealed, as long as the run is not over: the apply of a
// plan sees the very variables and files that the plan saw, whatever was changed in the stack or a context meanwhile. So a run
// at work or waiting is never hurt by a change, and what is applied is what was shown. A new attempt of a plan, after a crash, is
// a new plan and takes what there is then.

// An environment is what one run gets, revealed.
type environment struct {
	Variables []runs.Variable `json:"variables,omitempty"`
	Files     []runs.Mount    `json:"files,omitempty"`
	From      []string        `json:"from,omitempty"` // the contexts that something comes from, as they win
}

func environmentFile(run string) []string { return []string{"plans", run + ".env.sealed"} }

// resolve reads what the stack's runs get now.
func resolve(tx *store.Tx, st runs.Stack) (environment, error) {
	var env environment
	sources, err := tx.RevealEnvironment(st)
	if err != nil {
		return env, err
	}
	found := runs.Resolve(sources)
	of := map[runs.Origin]bool{}
	for _, v := range found.Variables {
		env.Variables = append(env.Variables, v.Value)
		of[v.From] = true
	}
	for _, f := range found.Files {
		m, err := tx.File(store.ScopeOf(st, f.From), f.Value.Path)
		if err != nil {
			return env, err
		}
		env.Files = append(env.Files, m)
		of[f.From] = true
	}
	for _, s := range sources {
		if !s.Own() && of[s.Origin] {
			env.From = append(env.From, s.Name)
		}
	}
	return env, nil
}

// presentEnvironment is what the task's run would get if it were laid out now.
func (t *task) presentEnvironment() (env environment, err error) {
	err = t.e.st.View(func(tx *store.Tx) error {
		if t.run.Test != nil {
			env, err = testEnvironment(tx, t.job.Stack, t.run.Test.Case)
			return err
		}
		st, err := tx.Stack(t.job.Stack)
		if err != nil {
			return err
		}
		env, err = resolve(tx, st)
		return err
	})
	return env, err
}

// keptEnvironment is what was fixed for a run; ok is false before it was laid out.
func (e *Engine) keptEnvironment(run string) (env environment, ok bool, err error) {
	raw, err := e.st.Unseal(environmentFile(run)...)
	if errors.Is(err, fs.ErrNotExist) {
		return env, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &env)
	}
	return env, err == nil, err
}

// recallEnvironment gives the task what was fixed for its run, or what there is now when nothing was.
func (t *task) recallEnvironment() error {
	env, ok, err := t.e.keptEnvironment(t.run.ID)
	if err == nil && !ok {
		env, err = t.presentEnvironment()
	}
	t.have(env)
	return err
}

// fixEnvironment fixes what the run gets.
func (t *task) fixEnvironment() error {
	env, err := t.presentEnvironment()
	if err != nil {
		return err
	}
	t.have(env)
	if len(env.Variables)+len(env.Files) == 0 && t.run.Type == runs.Proposed {
		return t.e.st.Remove(environmentFile(t.run.ID)...) // nothing to hide, and no apply to come
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return err
	}
	return t.e.st.Seal(raw, environmentFile(t.run.ID)...)
}

func (t *task) have(env environment) {
	t.vars, t.files, t.from = env.Variables, env.Files, env.From
	t.token = t.e.runToken(t.run)
	t.hide = redact.New(append(t.secrets(), t.token))
}

// secrets are the values that must not be seen of the run's variables and files.
func (t *task) secrets() []string { return append(secretsOf(t.vars), secretsOfFiles(t.files)...) }

func secretsOf(vars []runs.Variable) []string {
	var out []string
	for _, v := range vars {
		if v.Secret {
			out = append(out, v.Value)
		}
	}
	return out
}

func secretsOfFiles(files []runs.Mount) []string {
	var out []string
	for _, f := range files {
		if f.Secret {
			out = append(out, runs.SecretsOfFile(f.Content)...)
		}
	}
	return out
}

// secretsAround are the secrets of all that is attached to a stack now, or of a module: of a scope that is gone, none.
func secretsAround(tx *store.Tx, scope string) ([]string, error) {
	st, err := tx.Stack(scope)
	if errors.Is(err, runs.ErrNotFound) {
		vars, err := tx.RevealVariables(scope)
		return secretsOf(vars), err
	}
	if err != nil {
		return nil, err
	}
	env, err := resolve(tx, st)
	return append(secretsOf(env.Variables), secretsOfFiles(env.Files)...), err
}

// mount is the folder of mounted files.
func (s space) mount() string { return path.Join(s.dir, "mount") }

// mountFor lays out the run's files beside and in the fresh checkout, and says in the log where the environment comes from.
func (t *task) mountFor(log io.Writer) error {
	if err := t.layFiles(); err != nil {
		fmt.Fprintln(log, err)
		return err
	}
	if len(t.vars)+len(t.files) > 0 {
		words := fmt.Sprintf("Environment: %d %s, %d mounted %s", len(t.vars), plural(len(t.vars), "variable"), len(t.files), plural(len(t.files), "file"))
		if len(t.from) > 0 {
			words += "; among them from the " + plural(len(t.from), "context") + " " + strings.Join(t.from, ", ")
		}
		fmt.Fprintln(log, words)
	}
	return nil
}

// mountAgain brings the files back for the apply of a plan, and says in its log when what would be mounted or set now is something else.
func (t *task) mountAgain() error {
	if err := t.layFiles(); err != nil {
		return err
	}
	now, err := t.presentEnvironment()
	if err != nil {
		return err
	}
	changed := changedSince(environment{Variables: t.vars, Files: t.files}, now)
	if len(changed) == 0 {
		return nil
	}
	log, err := t.openLog(runs.Applying)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(log, "Changed since the plan: %s. This apply gets what the plan was made with; a new run gets what there is now.\n", strings.Join(changed, ", "))
	return errors.Join(err, log.Close())
}

// ChangedSincePlan names the variables and files that a run which waits for a yes was planned with, and that a new run would get
// otherwise. Of a run that does not wait there are none.
func (e *Engine) ChangedSincePlan(r runs.Run) ([]string, error) {
	if r.State != runs.Unconfirmed {
		return nil, nil
	}
	then, ok, err := e.keptEnvironment(r.ID)
	if err != nil || !ok {
		return nil, err
	}
	var now environment
	err = e.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(r.Stack)
		if err != nil {
			return err
		}
		now, err = resolve(tx, st)
		return err
	})
	if err != nil {
		return nil, notGone(err)
	}
	return changedSince(then, now), nil
}

// changedSince names the variables and files that are not the same in both, in no value.
func changedSince(then, now environment) []string {
	var names []string
	values := func(env environment) map[string]string {
		m := map[string]string{}
		for _, v := range env.Variables {
			m[v.Name] = v.Value
		}
		for _, f := range env.Files {
			m[f.Path] = string(f.Content)
		}
		return m
	}
	a, b := values(then), values(now)
	for name, v := range a {
		if w, ok := b[name]; !ok || v != w {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// layFiles writes the run's files: into the mount folder, or, below source/, over the code.
func (t *task) layFiles() error {
	if err := errors.Join(os.RemoveAll(t.space.mount()), os.Mkdir(t.space.mount(), 0o700)); err != nil {
		return err
	}
	for _, f := range t.files {
		dir, name := t.space.place(f.Path)
		if err := layFile(dir, name, f); store.Full(err) {
			return err // the run waits for room
		} else if err != nil {
			return refusef("The file “%s” could not be mounted: %s", f.Path, sentence(err.Error()))
		}
	}
	return nil
}

// place is where a mounted file belongs: a folder of the run, and its path in there.
func (s space) place(file string) (dir, name string) {
	if rest, over := strings.CutPrefix(file, runs.SourcePrefix); over {
		return s.src(), rest
	}
	return s.mount(), file
}

// layFile writes one file into a folder that code of a commit, or a run, may have filled: it follows no link and takes no folder away.
func layFile(dir, name string, f runs.Mount) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for i, c := range name {
		if c != '/' {
			continue
		}
		info, err := root.Lstat(name[:i])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = root.Mkdir(name[:i], 0o755)
		case err == nil && !info.IsDir():
			err = fmt.Errorf("%s is no folder there but a %s", name[:i], kindOf(info))
		}
		if err != nil {
			return err
		}
	}
	if info, err := root.Lstat(name); err == nil && info.IsDir() {
		return fmt.Errorf("there is a folder %s", name)
	} else if err == nil {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if f.Secret {
		mode = 0o600
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Content)
	return errors.Join(err, out.Close())
}

func kindOf(info fs.FileInfo) string {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return "link"
	case info.Mode().IsRegular():
		return "file"
	default:
		return info.Mode().Type().String()
	}
}

// unmount removes the mounted files of a run that waits.
func (e *Engine) unmount(s space) error {
	env, _, err := e.keptEnvironment(s.run.ID)
	err = errors.Join(err, os.RemoveAll(s.mount()))
	for _, f := range env.Files {
		dir, name := s.place(f.Path)
		if dir == s.mount() {
			continue
		}
		root, openErr := os.OpenRoot(dir)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		if rmErr := root.RemoveAll(name); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
		err = errors.Join(err, root.Close())
	}
	return err
}
