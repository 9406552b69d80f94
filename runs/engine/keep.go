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
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/logs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// saved stores the state that an apply, task or destroy left as a new version, together with the closing
// event. errored.tfstate is what the tool writes when it could not write the state itself. A job that ended well has left one
// if it was given one.
func (t *task) saved(well bool, ev func(runs.Meta, int) runs.Event, note string) (runs.Run, error) {
	version, trouble, err := t.keepState()
	if err == nil && well && version == nil && trouble == "" {
		trouble, err = t.gone()
	}
	if err != nil {
		return t.run, err
	}
	if trouble != "" {
		note = strings.TrimSpace(note + " " + trouble)
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
		if r, err = tx.Apply(t.run.ID, ev(runs.Meta{At: tx.Now(), Note: note}, n)); err != nil {
			return err
		}
		if trouble != "" {
			return flagStack(tx, r, trouble)
		}
		return unflag(tx, r)
	})
	return r, err
}

// flagStack flags the run's stack and tells people, unless the run's own move just did, with this note in its.
func flagStack(tx *store.Tx, r runs.Run, note string) error {
	st, err := tx.Stack(r.Stack)
	if err != nil || strings.Contains(st.Flag, note) {
		return notGone(err)
	}
	st.Flag = note
	if err := tx.PutStack(st); err != nil {
		return err
	}
	return tx.Notify(runs.OnFlagged, store.Said{Title: "The state of " + st.Name + " needs a look", Text: note, Stack: st.Slug, Run: r.ID, Type: r.Type})
}

// unflag takes back that a stack's state of affairs is not known: a tracked run that finished has compared the world with
// the code and made them one, and a destroy run that finished has left nothing to know. With restored data the state it compared with
// and the code may be old, so there it takes a person's yes.
func unflag(tx *store.Tx, r runs.Run) error {
	if r.State != runs.Finished || r.Type != runs.Tracked && r.Type != runs.Destroy {
		return nil
	}
	st, err := tx.Stack(r.Stack)
	if err != nil || st.Flag == "" || !st.RestoredAt.IsZero() && !hadYes(r) {
		return notGone(err)
	}
	st.Flag, st.RestoredAt = "", time.Time{}
	return tx.PutStack(st)
}

// hadYes reports whether a person saw what the run would do and said yes, or asked for it to be done at once.
func hadYes(r runs.Run) bool {
	return r.Type == runs.Destroy || slices.ContainsFunc(r.Transitions, func(t runs.Transition) bool { return t.State == runs.Confirmed })
}

// keepState seals the state that the run left; nil when there is none to keep. Trouble says in words that it was not left as
// it should be: asking again would not help. Of a state in a backend of its own only what the tool could not write there
// is kept.
func (t *task) keepState() (_ *store.StateVersion, trouble string, _ error) {
	w := t.toolWork(tofu.Binary{})
	for _, place := range []struct {
		file string
		read func() ([]byte, error)
		says string
	}{
		{"printed", func() ([]byte, error) { return t.printed, nil }, "The tool could write its state nowhere and printed it, and that" + t.keptWords()},
		{w.ErroredState(), nil, "The tool could not write its state and left it in errored.tfstate, which" + t.keptWords()},
		{w.StateFile(), nil, ""},
	} {
		if place.says == "" && t.stack.State != runs.StateManaged {
			continue
		}
		if place.read == nil {
			place.read = func() ([]byte, error) { return readLeft(w, place.file) }
		}
		data, err := place.read()
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
			continue // never written, or cut off before the first byte
		}
		if err != nil && !errors.Is(err, runs.ErrInvalid) {
			return nil, "", err
		}
		var info tofu.StateInfo
		if err == nil {
			info, err = tofu.ReadState(data)
		}
		if err != nil {
			t.e.log.Error("the state a run left can't be read and is not kept", "run", t.run.ID, "file", place.file, "error", err)
			trouble = "The state that was left (" + filepath.Base(place.file) + ") can't be read, so it was not kept, and what changed is not on record: " + message(err)
			continue
		}
		v, err := t.e.st.WriteState(t.stack.Slug, data)
		v.Serial, v.Lineage, v.Resources, v.Run, v.By = info.Serial, info.Lineage, info.Resources, t.run.ID, t.run.TriggeredBy
		if place.says != "" {
			trouble = place.says
		}
		return &v, trouble, err
	}
	return nil, trouble, nil
}

// keptWords say where a state went that the tool could not write, and what to do.
func (t *task) keptWords() string {
	if t.stack.State != runs.StateManaged {
		return " was kept here. Download it from the stack's page (State), and bring it to the stack's own backend with “state push” before anything else."
	}
	return " was kept as the stack's newest state. Find out why in the log, and look at a fresh plan before anything else."
}

// gone says in words that a job which ended well left no state where it was given one.
func (t *task) gone() (trouble string, _ error) {
	if t.stack.State != runs.StateManaged {
		return "", nil
	}
	err := t.e.st.View(func(tx *store.Tx) error {
		v, ok, err := tx.NewestState(t.stack.Slug)
		if ok {
			trouble = fmt.Sprintf("The run removed the state it was given, so what it changed is not on record: version %d, from before it, is still the newest.", v.Version)
		}
		return err
	})
	return trouble, err
}

// planned stores the plan: the changes readable and without secrets, the plan file sealed, and then the run's
// move. After that nothing of the plan lies in clear.
func (t *task) planned(ctx context.Context) (runs.Run, error) {
	t.learnUses()
	w := t.toolWork(tofu.Binary{})
	changes, delta, fingerprint, err := t.readPlan(w)
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
		plan, err := readLeft(w, w.PlanFile())
		if err != nil {
			return t.fail("The plan file is not there: the plan command did not write it.")
		}
		if err := t.e.st.Seal(plan, "plans", t.run.ID+".sealed"); err != nil {
			return t.run, err
		}
	}
	r, err := t.judged(ctx, w, delta, fingerprint)
	if err == nil {
		t.e.scrub(t.space)
	}
	return r, err
}

// judged asks the policies of the plan and moves the run by what they and the reviews there are say.
func (t *task) judged(ctx context.Context, w tofu.Work, delta runs.Delta, fingerprint string) (r runs.Run, err error) {
	said, err := t.askPlan(ctx, w, delta, fingerprint)
	if no, refused := errors.AsType[refusal](err); refused {
		return t.fail(no.msg)
	}
	if err != nil {
		return t.run, err
	}
	ev := runs.Planned{Delta: delta, Fingerprint: fingerprint}
	if said.Outcome == runs.OutcomeWarn {
		ev.Warnings = said.Messages
	}
	planned := t.run
	planned.Delta, planned.Fingerprint, planned.Warnings = &delta, fingerprint, ev.Warnings
	if planned.Authors, err = t.wroteIt(ctx); err != nil {
		return t.run, err
	}
	ev.Authors = planned.Authors
	approval, of, err := t.askApproval(ctx, planned)
	if err != nil {
		return t.run, err
	}
	ev.Policies, ev.Weighed = append(said.Results, approval...), of
	planned.Policies, planned.Weighed = ev.Policies, of
	err = t.e.st.Update(func(tx *store.Tx) (err error) {
		m := runs.Meta{At: tx.Now()}
		if said.Outcome == runs.OutcomeDeny {
			m.Note = deniedBy(said)
			r, err = tx.Apply(t.run.ID, runs.Denied{Meta: m, Delta: delta, Fingerprint: fingerprint, Policies: said.Results})
			return err
		}
		st, err := tx.Stack(t.stack.Slug)
		if err != nil {
			return err
		}
		g, err := t.e.Gate(tx, st, planned)
		if err != nil {
			return err
		}
		ev.Meta, ev.Reviews, ev.Unapproved, ev.Refused = m, g.Approvals, !g.Open(), g.Refused()
		ev.Autodeploy = st.Deploys() && g.Open()
		if r, err = tx.Apply(t.run.ID, ev); err != nil {
			return err
		}
		return unflag(tx, r)
	})
	return r, err
}

// readPlan reads the plan's JSON, names its effect, and takes the secrets out of it.
func (t *task) readPlan(w tofu.Work) (changes runs.Changes, delta runs.Delta, fingerprint string, err error) {
	f, err := w.Open(w.PlanJSON())
	if errors.Is(err, fs.ErrNotExist) {
		return changes, delta, "", errors.New("the show command printed nothing")
	} else if err != nil {
		return changes, delta, "", err
	}
	defer f.Close()
	changes, delta, err = tofu.ReadPlan(f)
	if err != nil {
		return changes, delta, "", err
	}
	key := t.e.st.PlanKey()
	if t.run.Basis != nil && (changes.Unsaid || t.stack.Tool == runs.Custom) {
		key = append(slices.Clip(key), t.run.Basis.SHA...) // what it would do stands in the code alone, so it is bound to that
	}
	fingerprint = changes.Fingerprint(key)
	t.hideIn(&changes)
	return changes, delta, fingerprint, nil
}

// readLeft reads a file that a run left behind, without following where the run may have made it lead.
func readLeft(w tofu.Work, path string) ([]byte, error) {
	f, err := w.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
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

// scrub removes what lies in clear in a workspace while a plan waits: plan file, its JSON, state, mounted files. The apply gets them
// back.
func (e *Engine) scrub(s space) {
	w := tofu.Work{Aux: s.aux()}
	for _, f := range []string{w.PlanFile(), w.PlanJSON(), w.StateFile(), w.StateFile() + ".backup"} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.log.Error("a plan's file could not be removed", "run", s.run.ID, "file", f, "error", err)
		}
	}
	if err := e.unmount(s); err != nil {
		e.log.Error("mounted files could not be removed", "run", s.run.ID, "error", err)
	}
}

// OpenLog opens the log of a run's phase, compressed by now or not. Until the phase began it is [fs.ErrNotExist].
func (e *Engine) OpenLog(run string, phase runs.State) (*logs.Reader, error) {
	return logs.Open(e.LogFile(run, phase))
}

// packLogs compresses the logs of a run that has ended.
func (e *Engine) packLogs(run string) error {
	files, err := filepath.Glob(e.st.Path("logs", filepath.Base(run), "*.log"))
	for _, f := range files {
		err = errors.Join(err, logs.Compress(f))
	}
	return err
}

// LogFile is where the log of a run's phase is written. When the run has ended it is compressed: read it with OpenLog.
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
