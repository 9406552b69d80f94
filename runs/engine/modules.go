package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// CreateModule stores a new module after asking GitLab for its project and branch. What is not given is taken from the
// project's name (terraform-<provider>-<name>) and group. With installHook the project's hook is installed too, and with imports
// the versions that tags of the project name already are made; that one of these failed is a warning.
func (e *Engine) CreateModule(ctx context.Context, m runs.Module, project, by string, installHook, imports bool) (runs.Module, []string, error) {
	if err := e.locateModule(ctx, &m, project); err != nil {
		return m, nil, err
	}
	err := e.st.Update(func(tx *store.Tx) (err error) {
		if m, err = tx.AddModule(m); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "module.create", Target: m.Slug})
	})
	if err != nil {
		return m, nil, err
	}
	e.look(m.Project)
	var warnings []string
	if installHook {
		if _, err := e.InstallHook(ctx, m.Project, by); err != nil {
			warnings = append(warnings, "The module is there, but its project's webhook could not be installed: "+message(err))
		}
	}
	if imports {
		if _, err := e.ImportTags(ctx, m.Slug, by); err != nil {
			warnings = append(warnings, "The module is there, but its tags could not be imported: "+message(err))
		}
	}
	return m, warnings, nil
}

// UpdateModule stores changed settings of a module. The slug stays; versions that were published keep their archives.
func (e *Engine) UpdateModule(ctx context.Context, m runs.Module, project, by string) (runs.Module, error) {
	if err := e.locateModule(ctx, &m, project); err != nil {
		return m, err
	}
	err := e.st.Update(func(tx *store.Tx) error {
		old, err := tx.Module(m.Slug)
		if err != nil {
			return err
		}
		m.CreatedAt = old.CreatedAt
		if err := tx.PutModule(m); err != nil {
			return err
		}
		changes, err := store.Changed(old, m)
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "module.update", Target: m.Slug, Changes: changes})
	})
	return m, err
}

// locateModule fills in project, branch and name from GitLab and checks the whole module.
func (e *Engine) locateModule(ctx context.Context, m *runs.Module, project string) error {
	m.Tool, m.Release = cmp.Or(m.Tool, runs.OpenTofu), cmp.Or(m.Release, runs.ReleaseByTag)
	// What a stack needs of its project is what a module needs.
	st := runs.Stack{Name: "module", Branch: m.Branch, ProjectRoot: m.ProjectRoot, Tool: m.Tool, ToolVersion: m.ToolVersion}
	if err := e.locate(ctx, &st, runs.Stack{}, project); err != nil {
		return err
	}
	m.Project, m.ProjectPath, m.ProjectURL, m.Branch = st.Project, st.ProjectPath, st.ProjectURL, st.Branch
	namespace, name, provider := runs.InferModule(m.ProjectPath)
	m.Namespace = cmp.Or(strings.TrimSpace(m.Namespace), namespace)
	m.Name, m.Provider = cmp.Or(strings.TrimSpace(m.Name), name), cmp.Or(strings.TrimSpace(m.Provider), provider)
	return m.Validate()
}

// DeleteModule removes a module with its versions. Code that uses them does not find them any more.
func (e *Engine) DeleteModule(slug, by string) error {
	err := e.st.Update(func(tx *store.Tx) error {
		if err := tx.DeleteModule(slug); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "module.delete", Target: slug})
	})
	if err != nil {
		return err
	}
	return e.st.Remove("modules", slug)
}

// Yank marks a version as bad, for good: it is not listed any more, so the tools do not choose it for anybody. Its archive stays.
func (e *Engine) Yank(slug, number, by, note string) (v runs.ModuleVersion, err error) {
	note = strings.TrimSpace(note)
	if note == "" || len(note) > 1000 {
		return v, runs.Invalidf("note", "Say in a note why the version is bad, in 1000 bytes at most: those who use it will read it.")
	}
	err = e.st.Update(func(tx *store.Tx) error {
		if v, err = tx.ModuleVersion(slug, number); err != nil {
			return err
		}
		switch {
		case !v.Usable():
			return runs.Conflictf("Version %s is %s. Only a version that is usable can be yanked.", number, v.State)
		case v.Yanked():
			return runs.Conflictf("Version %s was yanked by %s already.", number, v.YankedBy)
		}
		v.YankedAt, v.YankedBy, v.YankNote = tx.Now(), by, note
		if err := tx.PutModuleVersion(v); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "module.yank", Target: slug + "/" + number, Note: note})
	})
	return v, err
}

// TestModule checks the head of a module's branch, or a version that failed, once more.
func (e *Engine) TestModule(ctx context.Context, slug, number, by string, trigger runs.Trigger) (runs.Check, error) {
	m, in, err := e.moduleAndLink(slug)
	if err != nil {
		return runs.Check{}, err
	}
	c := runs.Check{Branch: m.Branch, Trigger: trigger, By: by}
	if number == "" {
		if c.Commit, err = e.lookUp(ctx, in, m.Source(), m.Branch); err != nil {
			return c, err
		}
	}
	err = e.st.Update(func(tx *store.Tx) error {
		if number != "" {
			v, err := tx.ModuleVersion(slug, number)
			if err != nil {
				return err
			}
			if v.State != runs.VersionFailed {
				return runs.Conflictf("Version %s is %s. Only one that failed can be tried again.", number, v.State)
			}
			c.Commit, c.Version, c.Tag, c.Branch = v.Commit, number, v.Tag, ""
		}
		c, err = beginCheck(tx, m, c)
		return err
	})
	return c, err
}

func (e *Engine) moduleAndLink(slug string) (m runs.Module, in store.Integration, err error) {
	if _, in, err = e.attached(""); err != nil {
		return m, in, err
	}
	err = e.st.View(func(tx *store.Tx) error { m, err = tx.Module(slug); return err })
	return m, in, err
}

// ImportTags makes versions of the tags that are in the project already. It returns how many were begun.
func (e *Engine) ImportTags(ctx context.Context, slug, by string) (int, error) {
	m, in, err := e.moduleAndLink(slug)
	if err != nil {
		return 0, err
	}
	if m.Release != runs.ReleaseByTag {
		return 0, runs.Conflictf("This module makes its versions from %s, not from tags. Change that in its settings first.", runs.ModuleFile)
	}
	c, err := e.clientOf(in)
	if err != nil {
		return 0, err
	}
	tags, err := c.Tags(ctx, m.Project)
	if err != nil {
		return 0, gitlabError(err, "the project has no tags, or the token's user may not see it")
	}
	begun := 0
	err = e.st.Update(func(tx *store.Tx) error {
		begun = 0
		for _, t := range slices.Backward(tags) { // oldest first
			if err := tx.PutTag(m.Project, t.Name, t.Object); err != nil {
				return err
			}
			number, ok, err := m.TagNumber(t.Name)
			if err != nil || !ok {
				continue // a mistake of long ago is nobody's news
			}
			old, known, err := tx.FindModuleVersion(m.Slug, number)
			if err != nil || known && old.State != runs.VersionFailed {
				if err != nil {
					return err
				}
				continue
			}
			if _, err := beginCheck(tx, m, runs.Check{Commit: commitOf(t.Commit), Tag: t.Name, Version: number, Trigger: runs.ByPerson, By: by}); err != nil {
				return err
			}
			begun++
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "module.import", Target: m.Slug})
	})
	return begun, err
}

// StartUsers asks for a tracked run of each stack that was seen to use another version than the latest of a module: all of
// them, or those with one version, as far as may says yes. Stacks that could not be started are named in the warnings.
func (e *Engine) StartUsers(ctx context.Context, slug, version, by string, trigger runs.Trigger, may func(stack string) bool) (started []runs.Run, warnings []string, err error) {
	var stacks []string
	err = e.st.View(func(tx *store.Tx) error {
		if _, err := tx.Module(slug); err != nil {
			return err
		}
		latest, _, err := tx.LatestModuleVersion(slug)
		if err != nil {
			return err
		}
		uses, err := tx.ModuleUses(slug)
		for _, u := range uses {
			if u.Version != latest.Number && (version == "" || u.Version == version) && may(u.Stack) {
				stacks = append(stacks, u.Stack)
			}
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if len(stacks) == 0 {
		return nil, nil, runs.Conflictf("No stack was seen to use an older version.")
	}
	for _, st := range stacks {
		r, err := e.Trigger(ctx, st, Request{Type: runs.Tracked, By: by, Trigger: trigger})
		if err != nil {
			warnings = append(warnings, st+": "+message(err))
			continue
		}
		started = append(started, r)
	}
	return started, warnings, nil
}

// Archive is the content of a usable version's archive.
func (e *Engine) ArchiveFile(v runs.ModuleVersion) string { return e.st.Path(store.ArchivePath(v)...) }

// learnUses keeps which versions of modules a tracked run's init brought. That it can't be read is no trouble of the run.
func (t *task) learnUses() {
	if t.run.Type != runs.Tracked {
		return
	}
	w := t.toolWork(tofu.Binary{})
	raw, err := readLeft(w, w.ModuleManifest())
	if err != nil {
		raw = []byte("{}") // no modules were called
	}
	called, err := tofu.ReadCalledModules(raw)
	if err != nil {
		t.e.log.Warn("which modules a run uses could not be read", "run", t.run.ID, "error", err)
		return
	}
	err = t.e.st.Update(func(tx *store.Tx) error { return t.keepUses(tx, called) })
	if err != nil {
		t.e.log.Error("which modules a run uses could not be kept", "run", t.run.ID, "error", err)
	}
}

func (t *task) keepUses(tx *store.Tx, called []tofu.CalledModule) error {
	uses := map[string]runs.ModuleUse{}
	hosts, err := t.e.registryHosts(tx)
	if err != nil {
		return err
	}
	for _, c := range called {
		m, ok, err := moduleOf(tx, c.Source, hosts)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		u, seen := uses[m.Slug]
		if !seen || older(c.Version, u.Version) {
			u.Version = c.Version
		}
		u.Module, u.Stack, u.Run, u.At = m.Slug, t.stack.Slug, t.run.ID, tx.Now()
		if len(u.Calls) < 20 {
			u.Calls = append(u.Calls, runs.Shorten(c.Key, 200))
		}
		uses[m.Slug] = u
	}
	var list []runs.ModuleUse
	for _, u := range uses {
		list = append(list, u)
	}
	return tx.PutModuleUses(t.stack.Slug, list)
}

func older(a, b string) bool {
	x, errX := runs.ParseSemVer(a)
	y, errY := runs.ParseSemVer(b)
	return errX == nil && errY == nil && x.Compare(y) < 0
}

// moduleOf finds the module of this server that a source names, by one of its hosts.
func moduleOf(tx *store.Tx, source string, hosts []string) (runs.Module, bool, error) {
	source, _, _ = strings.Cut(source, "//")
	parts := strings.Split(source, "/")
	if len(parts) == 3 {
		parts = append([]string{"registry.terraform.io"}, parts...)
	}
	if len(parts) != 4 || !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, parts[0]) }) {
		return runs.Module{}, false, nil
	}
	return tx.ModuleAt(parts[1], parts[2], parts[3])
}

// tagCommit is the commit a tag's push is about.
func tagCommit(p *gitlab.Push) string { return cmp.Or(p.CheckoutSHA, p.After) }
