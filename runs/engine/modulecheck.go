package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/pack"
	"groundcrew/runs/repofile"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// fetchPatience is how long the reading of one check may take before others have their turn.
const fetchPatience = 2 * time.Minute

// A tried is when a check was last tried to be read, of those that GitLab kept waiting.
type tried struct {
	since, next time.Time
}

// modules moves open checks on: it reads the code of new ones, begins their tests, and ends those whose tests have
// ended. It runs on one goroutine; tries is its own.
func (e *Engine) modules(ctx context.Context) (time.Duration, error) {
	var open []runs.Check
	linked := false
	err := e.st.View(func(tx *store.Tx) (err error) {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		linked = in.Linked
		open, err = tx.OpenChecks()
		return err
	})
	next := idle
	for _, c := range open {
		if err != nil || ctx.Err() != nil {
			break
		}
		if c.State == runs.CheckTesting {
			err = e.st.Update(func(tx *store.Tx) error { return advance(tx, c.ID) })
			continue
		}
		if !linked {
			continue
		}
		var wait time.Duration
		if wait, err = e.readCheck(ctx, c); wait > 0 {
			next = min(next, wait)
		}
	}
	return next, err
}

// readCheck fetches and reads the code of a check, or returns how long to wait for GitLab.
func (e *Engine) readCheck(ctx context.Context, c runs.Check) (time.Duration, error) {
	now := e.now()
	t, waiting := e.tries[c.ID]
	if wait := t.next.Sub(now); waiting && wait > 0 {
		return wait, nil
	}
	m, in, err := e.moduleAndLink(c.Module)
	if err != nil {
		return 0, notGone(err)
	}
	found, err := e.readCode(ctx, m, in, c)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case gitlab.KindOf(err).Temporary() && (!waiting || now.Sub(t.since) < patience):
		if !waiting {
			t.since = now
		}
		t.next = now.Add(max(time.Second, now.Sub(t.since)/10))
		e.tries[c.ID] = t
		return t.next.Sub(now), nil
	case gitlab.KindOf(err) != "":
		found.refusal = fmt.Sprintf("The commit %s could not be fetched: %s", c.Commit.Short(), sentence(err.Error()))
	case err != nil:
		return 0, err
	}
	delete(e.tries, c.ID)
	if err := e.keepCode(m, c, found); err != nil {
		return 0, err
	}
	return 0, e.st.Update(func(tx *store.Tx) error { return settleCode(tx, m, c.ID, found) })
}

// A CheckDoc is what was read of a module's code at a check.
type CheckDoc struct {
	Readme    string         `json:"readme,omitempty"`
	Interface runs.Interface `json:"interface"`
}

// code is what reading the code of a check gave.
type code struct {
	archive pack.Archive
	doc     CheckDoc
	number  string // module_version of the file
	cases   []runs.TestCase
	notes   []string
	refusal string // why it can't be published or tested
}

// readCode reads a module at a commit. Refusals of the code are in what it returns.
func (e *Engine) readCode(ctx context.Context, m runs.Module, in store.Integration, c runs.Check) (found code, err error) {
	client, err := e.clientOf(in)
	if err != nil {
		return found, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	if err := e.o.Source.Fetch(ctx, client, m.Project, m.ProjectPath, c.Commit.SHA, refsOf(c)...); err != nil {
		return found, err
	}
	var p pack.Packer
	more, err := e.o.Source.Walk(ctx, m.Project, c.Commit.SHA, m.ProjectRoot, pack.MaxFiles+1, func(f gitlab.Entry) error {
		return p.Add(pack.File{
			Path: f.Path, Regular: f.Kind == gitlab.EntryFile || f.Kind == gitlab.EntryExecutable, Executable: f.Kind == gitlab.EntryExecutable,
			What: f.Kind, Size: f.Size, Open: f.Open,
		})
	})
	if more {
		err = pack.TooMany()
	}
	if err == nil {
		found.archive, err = p.Archive()
	}
	if err != nil {
		return found, refusedCode(m, &found, err)
	}
	return found, e.describe(m, &p, &found)
}

// refusedCode keeps a refusal of the code; other errors are returned.
func refusedCode(m runs.Module, found *code, err error) error {
	var no *pack.Refusal
	switch {
	case errors.As(err, &no):
		found.refusal = no.Error()
	case errors.Is(err, fs.ErrNotExist):
		found.refusal = fmt.Sprintf("The commit has no folder %s/. Correct the folder in the module's settings, or push it.", m.ProjectRoot)
	default:
		return err
	}
	return nil
}

func refsOf(c runs.Check) []string {
	var refs []string
	if c.Branch != "" {
		refs = append(refs, "refs/heads/"+c.Branch)
	}
	if c.Tag != "" {
		refs = append(refs, "refs/tags/"+c.Tag)
	}
	if c.MR != nil {
		refs = append(refs, fmt.Sprintf("refs/merge-requests/%d/head", c.MR.IID))
	}
	return refs
}

// maxReadme is the most of a readme that is kept, in bytes.
const maxReadme = 256 << 10

// describe reads what the files say: tests and number, readme, interface.
func (e *Engine) describe(m runs.Module, p *pack.Packer, found *code) error {
	files := map[string][]byte{}
	testFiles := false
	for _, name := range p.Names() {
		if !strings.Contains(name, "/") {
			files[name] = p.Content(name)
		}
		if strings.EqualFold(name, "readme.md") {
			found.doc.Readme = strings.ToValidUTF8(string(p.Content(name)[:min(maxReadme, len(p.Content(name)))]), "")
		}
		testFiles = testFiles || isTestFile(name)
	}
	if _, wrong := files[".groundcrew.yaml"]; wrong {
		found.refusal = "The file is called " + runs.ModuleFile + ", not .groundcrew.yaml. Rename it."
		return nil
	}
	declared, err := repofile.ReadModule(files[runs.ModuleFile])
	if err != nil {
		found.refusal = err.Error()
		return nil
	}
	if testFiles {
		found.cases = append(found.cases, runs.TestCase{ID: repofile.TestFilesID, Name: "Test files", Kind: runs.TestFileKind})
	}
	found.number, found.cases = declared.Version, append(found.cases, declared.Tests...)
	if len(found.archive.LeftOut) > 0 {
		found.notes = append(found.notes, "Values of variables are not published: "+runs.Shorten(strings.Join(found.archive.LeftOut, ", "), 200))
	}
	dir, err := os.MkdirTemp(e.st.Path("work"), "inspect-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var notes []string
	found.doc.Interface, notes, err = tofu.Inspect(files, m.Tool, dir)
	found.notes = append(found.notes, notes...)
	return err
}

// isTestFile reports the files the tools run with `test`: at the module's top and in tests/.
func isTestFile(name string) bool {
	dir, base := path.Split(name)
	if dir != "" && dir != "tests/" {
		return false
	}
	return slices.ContainsFunc([]string{".tftest.hcl", ".tftest.json", ".tofutest.hcl", ".tofutest.json"}, func(end string) bool { return strings.HasSuffix(base, end) })
}

// keepCode writes what was read into the data folder, before any row names it.
func (e *Engine) keepCode(m runs.Module, c runs.Check, found code) error {
	if found.refusal != "" {
		return nil
	}
	raw, err := json.Marshal(found.doc)
	if err != nil {
		return err
	}
	if err := e.st.WriteFile(raw, store.CheckPath(c)...); err != nil {
		return err
	}
	if c.Version == "" && !(m.Release == runs.ReleaseByFile && c.Tracked) {
		return nil
	}
	return e.st.WriteFile(found.archive.Bytes, store.ArchivePath(runs.ModuleVersion{Module: m.Slug, Digest: found.archive.Digest})...)
}

// CheckDoc returns what was read of the code at a check; ok is false when nothing was.
func (e *Engine) CheckDoc(c runs.Check) (doc CheckDoc, ok bool, err error) {
	raw, err := os.ReadFile(e.st.Path(store.CheckPath(c)...))
	if errors.Is(err, fs.ErrNotExist) {
		return doc, false, nil
	}
	if err != nil {
		return doc, false, err
	}
	return doc, true, json.Unmarshal(raw, &doc)
}

// settleCode takes over what was read into the check, and begins its tests.
func settleCode(tx *store.Tx, m runs.Module, id string, found code) error {
	c, err := tx.Check(id)
	if err != nil || c.State != runs.CheckReading {
		return notGone(err)
	}
	if m, err = tx.Module(m.Slug); err != nil {
		return notGone(err)
	}
	c.Notes = found.notes
	if m.Release == runs.ReleaseByFile && found.refusal == "" {
		if err := numberOfFile(tx, &c, found.number); err != nil {
			return err
		}
	}
	if c.State == runs.CheckRefused {
		return tx.PutCheck(c)
	}
	if err := compare(tx, &c, found.doc.Interface); err != nil {
		return err
	}
	if found.refusal != "" {
		c.State, c.Reason, c.Changes, c.Against = runs.CheckFailed, found.refusal, nil, ""
		return conclude(tx, c)
	}
	c.State = runs.CheckTesting
	for _, k := range found.cases {
		c.Cases = append(c.Cases, runs.CheckCase{TestCase: k, State: runs.CaseWaiting})
	}
	if c.Version != "" {
		v, err := tx.ModuleVersion(c.Module, c.Version)
		if err != nil {
			return err
		}
		v.Digest, v.Size, v.Files = found.archive.Digest, int64(len(found.archive.Bytes)), found.archive.Files
		v.Interface, v.Breaking, v.Against = &found.doc.Interface, c.Breaking(), c.Against
		if err := tx.PutModuleVersion(v); err != nil {
			return err
		}
	}
	if err := tx.PutCheck(c); err != nil {
		return err
	}
	return advance(tx, c.ID)
}

// numberOfFile judges the number that the file names: on the tracked branch it makes the version, elsewhere it is only
// said what would come of it.
func numberOfFile(tx *store.Tx, c *runs.Check, number string) error {
	_, wrong := runs.ParseSemVer(number)
	if number == "" {
		wrong = runs.Invalidf("", "%s names no module_version, so no version can be made. Add one, like module_version: 1.0.0.", runs.ModuleFile)
	}
	again := false
	if wrong == nil {
		old, known, err := tx.FindModuleVersion(c.Module, number)
		if err != nil {
			return err
		}
		if known {
			again, wrong = runs.MayPublish(&old, number, c.Commit)
		}
	}
	switch {
	case again:
	case wrong != nil && c.Tracked:
		c.State, c.Reason, c.EndedAt = runs.CheckRefused, wrong.Error(), tx.Now()
	case wrong != nil:
		c.Notes = append(c.Notes, "After the merge no version could be made: "+wrong.Error())
	case c.Tracked:
		c.Version = number
		return reserve(tx, *c)
	default:
		c.Notes = append(c.Notes, "After the merge this becomes version "+number+".")
	}
	return nil
}

// compare says how the interface differs from that of the latest version.
func compare(tx *store.Tx, c *runs.Check, now runs.Interface) error {
	latest, ok, err := tx.LatestModuleVersion(c.Module)
	if err != nil || !ok || latest.Interface == nil || latest.Number == c.Version {
		return err
	}
	c.Against, c.Changes = latest.Number, runs.CompareInterfaces(*latest.Interface, now)
	old, errOld := runs.ParseSemVer(latest.Number)
	next, errNext := runs.ParseSemVer(c.Version)
	if errOld == nil && errNext == nil && len(c.Breaking()) > 0 && next.Compare(old) > 0 && !next.Allows(old) {
		c.Notes = append(c.Notes, fmt.Sprintf("%s breaks code that uses %s, which its number does not say: a new major version would.", c.Version, latest.Number))
	}
	return nil
}

// advance takes over what came of a check's runs, begins those whose turn it is, and ends the check when all have.
func advance(tx *store.Tx, id string) error {
	c, err := tx.Check(id)
	if err != nil || c.State != runs.CheckTesting {
		return notGone(err)
	}
	m, err := tx.Module(c.Module)
	if err != nil {
		return notGone(err)
	}
	var trouble error
	next, begin := c.Advance(func(run string) (runs.Run, bool) {
		if run == "" {
			return runs.Run{}, false
		}
		r, err := tx.Run(run)
		if err != nil {
			trouble = err
		}
		return r, err == nil
	})
	if trouble != nil {
		return trouble
	}
	for _, i := range begin {
		r, err := bring(tx, m.Source(), runs.Run{
			Type: runs.Test, Trigger: c.Trigger, TriggeredBy: c.By, Commit: c.Commit, Branch: c.Branch, MR: c.MR,
			Test: &runs.RunTest{Module: m.Slug, Check: c.ID, Case: next.Cases[i].TestCase, Version: c.Version},
		}, next.Cases[i].Name)
		if err != nil {
			return err
		}
		next.Cases[i].Run = r.ID
	}
	if !next.State.Open() {
		return conclude(tx, next)
	}
	if len(begin) == 0 && !ended(c, next) {
		return nil
	}
	return tx.PutCheck(next)
}

// ended reports whether a case has ended that had not.
func ended(before, now runs.Check) bool {
	return slices.ContainsFunc(now.Cases, func(k runs.CheckCase) bool {
		return slices.ContainsFunc(before.Cases, func(o runs.CheckCase) bool { return o.ID == k.ID && o.State != k.State })
	})
}

// conclude ends a check, and with it the version it was made for.
func conclude(tx *store.Tx, c runs.Check) error {
	c.EndedAt = tx.Now()
	if err := tx.PutCheck(c); err != nil || c.Version == "" {
		return err
	}
	v, err := tx.ModuleVersion(c.Module, c.Version)
	if err != nil || v.Check != c.ID {
		return notGone(err)
	}
	v.State, v.Reason = runs.VersionFailed, c.Reason
	if c.State == runs.CheckPassed {
		v.State, v.ActiveAt = runs.VersionActive, tx.Now()
	}
	if err := tx.PutModuleVersion(v); err != nil {
		return err
	}
	return tx.Audit(store.AuditEntry{By: runs.System, Action: "module.version." + string(v.State), Target: c.Module + "/" + c.Version, Note: c.Reason})
}

// checkDays is how long a check is kept, however many came after it.
const checkDays = 30

// pruneChecks forgets old checks that made no version, and what was read at them.
func (e *Engine) pruneChecks(ctx context.Context) error {
	var modules []runs.Module
	err := e.st.View(func(tx *store.Tx) (err error) { modules, err = tx.Modules(); return err })
	for _, m := range modules {
		if err != nil || ctx.Err() != nil {
			break
		}
		var gone []runs.Check
		err = e.st.Update(func(tx *store.Tx) (err error) {
			gone, err = tx.PruneChecks(m.Slug, tx.Now().AddDate(0, 0, -checkDays))
			return err
		})
		for _, c := range gone {
			err = errors.Join(err, e.st.Remove(store.CheckPath(c)...))
		}
	}
	return err
}
