package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
)

// Module returns a module by its slug, or ErrNotFound.
func (tx *Tx) Module(slug string) (runs.Module, error) {
	var m runs.Module
	ok, err := get(tx, "modules", slug, &m)
	if err == nil && !ok {
		err = notFound("module", slug)
	}
	return m, err
}

// Modules returns all modules by slug.
func (tx *Tx) Modules() ([]runs.Module, error) { return all[runs.Module](tx, "modules", "") }

// ModulesOf returns the modules of a project by slug.
func (tx *Tx) ModulesOf(project int64) ([]runs.Module, error) {
	prefix := num(project) + "/"
	var out []runs.Module
	err := each(tx, "project_modules", prefix, func(k string, _ []byte) (bool, error) {
		m, err := tx.Module(strings.TrimPrefix(k, prefix))
		out = append(out, m)
		return true, err
	})
	return out, err
}

// ModuleAt returns the module with an address, letter case aside, as the tools compare addresses.
func (tx *Tx) ModuleAt(namespace, name, provider string) (runs.Module, bool, error) {
	list, err := tx.Modules()
	for _, m := range list {
		if strings.EqualFold(m.Namespace, namespace) && strings.EqualFold(m.Name, name) && m.Provider == provider {
			return m, true, err
		}
	}
	return runs.Module{}, false, err
}

// SourcesOf returns what follows a project, stacks and modules, in the terms of stacks.
func (tx *Tx) SourcesOf(project int64) ([]runs.Stack, error) {
	stacks, err := tx.StacksOf(project)
	if err != nil {
		return nil, err
	}
	modules, err := tx.ModulesOf(project)
	return slices.Concat(stacks, sources(modules)), err
}

// Sources returns all that follows projects, stacks and modules, in the terms of stacks. It is shared as [Tx.Stacks] is.
func (tx *Tx) Sources() ([]*runs.Stack, error) {
	stacks, err := tx.Stacks()
	if err != nil {
		return nil, err
	}
	modules, err := tx.Modules()
	stacks = slices.Clip(stacks) // append copies
	for _, m := range modules {
		of := m.Source()
		stacks = append(stacks, &of)
	}
	return stacks, err
}

func sources(modules []runs.Module) (out []runs.Stack) {
	for _, m := range modules {
		out = append(out, m.Source())
	}
	return out
}

// AddModule stores a new module under the slug of its name; where another module has it, the provider is added. A taken
// address is an ErrConflict.
func (tx *Tx) AddModule(m runs.Module) (runs.Module, error) {
	if err := m.Validate(); err != nil {
		return m, err
	}
	if err := tx.freeAddress(m); err != nil {
		return m, err
	}
	m.Slug = runs.Slug(m.Name)
	if has(tx, "modules", m.Slug) {
		m.Slug = runs.Slug(m.Name + "-" + m.Provider)
	}
	for n := 2; has(tx, "modules", m.Slug); n++ {
		m.Slug = runs.Slug(m.Name + "-" + m.Provider + "-" + strconv.Itoa(n))
	}
	m.CreatedAt, m.UpdatedAt = tx.now, tx.now
	return m, tx.PutModule(m)
}

func (tx *Tx) freeAddress(m runs.Module) error {
	taken, ok, err := tx.ModuleAt(m.Namespace, m.Name, m.Provider)
	if err == nil && ok && taken.Slug != m.Slug {
		err = &runs.Error{Kind: runs.ErrConflict, Field: "name", Message: fmt.Sprintf("The module %s has the address %s already. Choose another name, or another namespace.", taken.Slug, strings.TrimPrefix(m.Address(""), "/"))}
	}
	return err
}

// PutModule writes a module's row. A module that moves to another project takes its index along.
func (tx *Tx) PutModule(m runs.Module) error {
	if err := tx.freeAddress(m); err != nil {
		return err
	}
	var old runs.Module
	known, err := get(tx, "modules", m.Slug, &old)
	if err != nil {
		return err
	}
	if known && old.Project != m.Project {
		if err := unmark(tx, "project_modules", num(old.Project)+"/"+m.Slug); err != nil {
			return err
		}
	}
	m.ProjectRoot = runs.CleanRoot(m.ProjectRoot)
	m.UpdatedAt = tx.now
	if err := mark(tx, "project_modules", num(m.Project)+"/"+m.Slug); err != nil {
		return err
	}
	tx.changed.Modules = true
	return put(tx, "modules", m.Slug, m)
}

// DeleteModule removes a module with its versions, checks, variables and the record of who uses it. The runs of its tests
// stay. One that is protected, or whose tests are at work, is refused. The caller removes the archives after the commit.
func (tx *Tx) DeleteModule(slug string) error {
	m, err := tx.Module(slug)
	if err != nil {
		return err
	}
	if m.Protect {
		return runs.Conflictf("The module is protected from deletion. Switch the protection off in its settings first.")
	}
	active, err := tx.Active(m.Scope())
	if err != nil {
		return err
	}
	for _, r := range active {
		if r.State.Working() {
			return runs.Conflictf("The test %s of this module is %s. Stop it or wait for its end first.", r.ID, r.State)
		}
		if _, err := tx.Apply(r.ID, runs.Cancel{Meta: runs.Meta{At: tx.now, Note: "the module was deleted"}}); err != nil {
			return err
		}
	}
	if err := each(tx, "module_checks", slug+"/", func(k string, _ []byte) (bool, error) {
		id := strings.TrimPrefix(k, slug+"/")
		if err := unmark(tx, "open_checks", id); err != nil {
			return false, err
		}
		return true, unmark(tx, "checks", id)
	}); err != nil {
		return err
	}
	for bucket, prefix := range map[string]string{
		"module_versions": slug, "module_checks": slug, "check_keys": slug, "module_uses": slug, "variables": m.Scope(), "run_keys": m.Scope(),
	} {
		if err := tx.dropPrefix(bucket, prefix+"/"); err != nil {
			return err
		}
	}
	tx.changed.Modules = true
	if err := unmark(tx, "project_modules", num(m.Project)+"/"+slug); err != nil {
		return err
	}
	return unmark(tx, "modules", slug)
}

// ModuleVersion returns a version of a module, or ErrNotFound.
func (tx *Tx) ModuleVersion(slug, number string) (runs.ModuleVersion, error) {
	v, ok, err := tx.FindModuleVersion(slug, number)
	if err == nil && !ok {
		err = notFound("version", number)
	}
	return v, err
}

// FindModuleVersion returns a version of a module, if there is one.
func (tx *Tx) FindModuleVersion(slug, number string) (v runs.ModuleVersion, ok bool, err error) {
	ok, err = get(tx, "module_versions", slug+"/"+number, &v)
	return v, ok, err
}

// ModuleVersions returns the versions of a module, the highest number first.
func (tx *Tx) ModuleVersions(slug string) ([]runs.ModuleVersion, error) {
	list, err := all[runs.ModuleVersion](tx, "module_versions", slug+"/")
	runs.SortVersions(list)
	return list, err
}

// LatestModuleVersion returns the version people should use, if there is one.
func (tx *Tx) LatestModuleVersion(slug string) (runs.ModuleVersion, bool, error) {
	list, err := tx.ModuleVersions(slug)
	v, ok := runs.Latest(list)
	return v, ok, err
}

// PutModuleVersion writes a version. One that was usable stays as it is, but for being yanked.
func (tx *Tx) PutModuleVersion(v runs.ModuleVersion) error {
	old, ok, err := tx.FindModuleVersion(v.Module, v.Number)
	if err != nil {
		return err
	}
	if ok && old.Usable() && (old.Digest != v.Digest || old.Commit.SHA != v.Commit.SHA || !v.Usable()) {
		return runs.Conflictf("Version %s was published from commit %s and never changes.", v.Number, old.Commit.Short())
	}
	if v.CreatedAt.IsZero() {
		v.CreatedAt = tx.now
	}
	tx.changed.Modules = true
	return put(tx, "module_versions", v.Module+"/"+v.Number, v)
}

// Check returns a check of a module, or ErrNotFound.
func (tx *Tx) Check(id string) (runs.Check, error) {
	var c runs.Check
	ok, err := get(tx, "checks", id, &c)
	if err == nil && !ok {
		err = notFound("check", id)
	}
	return c, err
}

// PutCheck writes a check, keeps its indexes true, and marks what GitLab shows of it.
func (tx *Tx) PutCheck(c runs.Check) error {
	tx.changed.Modules = true
	if err := put(tx, "checks", c.ID, c); err != nil {
		return err
	}
	if err := mark(tx, "module_checks", c.Module+"/"+c.ID); err != nil {
		return err
	}
	if err := tx.lead(c); err != nil {
		return err
	}
	change := unmark
	if c.State.Open() {
		change = mark
	}
	if err := change(tx, "open_checks", c.ID); err != nil {
		return err
	}
	return tx.reportCheck(c)
}

// lead makes the check the one that speaks for its commit, if it is the newest. What came of a tag speaks louder than what came of a
// branch, in whichever order GitLab tells of them: a refused version must not hide behind tests that passed.
func (tx *Tx) lead(c runs.Check) error {
	old, known, err := tx.NewestCheck(c.Module, c.Commit.SHA)
	if err != nil {
		return err
	}
	tagged := func(c runs.Check) bool { return c.Tag != "" || c.Version != "" }
	if known && old.ID != c.ID && (tagged(old) && !tagged(c) || tagged(old) == tagged(c) && old.ID > c.ID) {
		return nil
	}
	return tx.b.Bucket([]byte("check_keys")).Put([]byte(c.Module+"/"+c.Commit.SHA), []byte(c.ID))
}

// NewestCheck returns the check that speaks for a module at a commit.
func (tx *Tx) NewestCheck(slug, sha string) (runs.Check, bool, error) {
	id := tx.b.Bucket([]byte("check_keys")).Get([]byte(slug + "/" + sha))
	if id == nil {
		return runs.Check{}, false, nil
	}
	c, err := tx.Check(string(id))
	return c, err == nil, err
}

// ChecksAt returns the newest check of each module of a project at a commit.
func (tx *Tx) ChecksAt(project int64, sha string) ([]runs.Check, error) {
	modules, err := tx.ModulesOf(project)
	var out []runs.Check
	for _, m := range modules {
		if err != nil {
			break
		}
		var c runs.Check
		var ok bool
		if c, ok, err = tx.NewestCheck(m.Slug, sha); ok {
			out = append(out, c)
		}
	}
	return out, err
}

// OpenChecks returns the checks that go on by themselves, oldest first.
func (tx *Tx) OpenChecks() ([]runs.Check, error) {
	var out []runs.Check
	err := each(tx, "open_checks", "", func(id string, _ []byte) (bool, error) {
		c, err := tx.Check(id)
		out = append(out, c)
		return true, err
	})
	return out, err
}

// Checks lists the checks of a module, newest first, in pages as [Tx.Runs] does.
func (tx *Tx) Checks(slug, cursor string, limit int) (page []runs.Check, next string, err error) {
	err = eachBack(tx, "module_checks", slug+"/", cursor, func(k string, _ []byte) (bool, error) {
		if len(page) == limit {
			next = page[limit-1].ID
			return false, nil
		}
		c, err := tx.Check(strings.TrimPrefix(k, slug+"/"))
		page = append(page, c)
		return true, err
	})
	return page, next, err
}

// DropCheck forgets a check that has ended.
func (tx *Tx) DropCheck(c runs.Check) error {
	for bucket, key := range map[string]string{"checks": c.ID, "module_checks": c.Module + "/" + c.ID, "open_checks": c.ID} {
		if err := unmark(tx, bucket, key); err != nil {
			return err
		}
	}
	if newest := tx.b.Bucket([]byte("check_keys")).Get([]byte(c.Module + "/" + c.Commit.SHA)); string(newest) == c.ID {
		return unmark(tx, "check_keys", c.Module+"/"+c.Commit.SHA)
	}
	return nil
}

// SumModule marks the status of one module at a commit.
const SumModule = "module"

// reportCheck marks the status of a check's commit, and the comment on its merge request.
func (tx *Tx) reportCheck(c runs.Check) error {
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	lead, _, err := tx.NewestCheck(c.Module, c.Commit.SHA)
	if err != nil {
		return err
	}
	scope := runs.Module{Slug: c.Module}.Scope()
	status := Report{
		Kind: ReportStatus, Project: c.Project, Stack: scope, Run: c.ID, Check: lead.ID, SHA: c.Commit.SHA, Sum: SumModule, Name: in.Prefix() + "/" + c.Module,
	}
	if in.Aggregate {
		status.Stack, status.Sum, status.Name = "", runs.GroupModules, in.Prefix()+"/"+runs.GroupModules
	}
	status.Target = StatusTarget(c.Project, c.Commit.SHA, status.Name)
	if err := tx.mark(status); err != nil || c.MR == nil || c.State.Open() {
		return err
	}
	return tx.mark(Report{Kind: ReportNote, Target: NoteTarget(c.Project, c.MR.IID, scope), Project: c.Project, Stack: scope, Run: c.ID, Check: c.ID, MR: c.MR.IID})
}

// reportCase marks the status of one test case, where the module wants one.
func (tx *Tx) reportCase(in Integration, r runs.Run) error {
	m, err := tx.Module(runs.ModuleOf(r.Stack))
	if err != nil || !m.PerCase || in.Aggregate || r.Test == nil {
		if errors.Is(err, runs.ErrNotFound) {
			return nil // the module was deleted
		}
		return err
	}
	name := in.Prefix() + "/" + m.Slug + "/" + r.Test.Case.ID
	return tx.mark(Report{Kind: ReportStatus, Project: r.Project, Stack: r.Stack, Run: r.ID, SHA: r.Commit.SHA, Name: name, Target: StatusTarget(r.Project, r.Commit.SHA, name)})
}

// ModuleUses returns the stacks that were seen to use a module, by slug.
func (tx *Tx) ModuleUses(slug string) ([]runs.ModuleUse, error) {
	return all[runs.ModuleUse](tx, "module_uses", slug+"/")
}

// PutModuleUses replaces what is known of the modules a stack uses.
func (tx *Tx) PutModuleUses(stack string, uses []runs.ModuleUse) error {
	if err := tx.dropUses(stack); err != nil {
		return err
	}
	for _, u := range uses {
		if err := put(tx, "module_uses", u.Module+"/"+stack, u); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) dropUses(stack string) error {
	var keys []string
	err := each(tx, "module_uses", "", func(k string, _ []byte) (bool, error) {
		if _, user, _ := strings.Cut(k, "/"); user == stack {
			keys = append(keys, k)
		}
		return true, nil
	})
	for _, k := range keys {
		if err == nil {
			err = unmark(tx, "module_uses", k)
		}
	}
	return err
}

// ArchivePath is where the archive of a version lies in the data folder.
func ArchivePath(v runs.ModuleVersion) []string {
	return []string{"modules", v.Module, v.Digest + ".tar.gz"}
}

// CheckPath is where what was read of the code at a check lies in the data folder.
func CheckPath(c runs.Check) []string { return []string{"modules", c.Module, c.ID + ".json"} }

// Ticket makes a text that only this installation can make and read again, for one purpose. It holds what it says in
// cipher, and nothing is stored for it.
// The same thing has the same ticket always.
func (s *Store) Ticket(purpose, what string) string {
	return base64.RawURLEncoding.EncodeToString(s.seal.lockSame("ticket/"+purpose, []byte(what)))
}

// ReadTicket reads a text made by [Store.Ticket] for the same purpose; ok is false for anything else.
func (s *Store) ReadTicket(purpose, ticket string) (what string, ok bool) {
	if len(ticket) > 1000 {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(ticket)
	if err != nil {
		return "", false
	}
	plain, err := s.seal.open("ticket/"+purpose, raw)
	return string(plain), err == nil
}

// KeepChecks is how many checks of a module are kept at least; of those before, the ones that made no version go.
const KeepChecks = 200

// PruneChecks forgets the oldest checks of a module that belong to no version and returns them, so that their files can
// be removed after the commit.
func (tx *Tx) PruneChecks(slug string, before time.Time) ([]runs.Check, error) {
	list, _, err := tx.Checks(slug, "", 1<<20)
	if err != nil || len(list) <= KeepChecks {
		return nil, err
	}
	var gone []runs.Check
	for _, c := range list[KeepChecks:] {
		if c.State.Open() || c.Version != "" || c.EndedAt.After(before) {
			continue
		}
		if err := tx.DropCheck(c); err != nil {
			return nil, err
		}
		gone = append(gone, c)
	}
	return gone, nil
}
