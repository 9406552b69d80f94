package engine

import (
	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// checkPushed asks for a check of each module that a push to a branch concerns.
func checkPushed(tx *store.Tx, v *verdict, h gitlab.Hook, files []string) error {
	modules, err := tx.ModulesOf(h.ProjectID)
	if err != nil {
		return err
	}
	for _, m := range modules {
		c := runs.Check{Commit: headCommit(h.Push.Head, h.Push.After), Branch: h.Push.Branch, Tracked: h.Push.Branch == m.Branch, Trigger: runs.ByWebhook, By: h.User.Username}
		if !m.Source().Concerns(files, glob) {
			v.say("ignored for the module %s: nothing under %s", m.Slug, rootWord(m.Source()))
			continue
		}
		if !c.Tracked {
			if c.MR, err = openMergeRequest(tx, h.ProjectID, h.Push.Branch); err != nil {
				return err
			}
		}
		if err := checkOnce(tx, v, m, c); err != nil {
			return err
		}
	}
	return nil
}

// checkProposed asks for a check of each module that a merge request concerns.
func checkProposed(tx *store.Tx, v *verdict, mr store.MergeRequest, files []string) error {
	modules, err := tx.ModulesOf(mr.Project)
	if err != nil {
		return err
	}
	for _, m := range modules {
		_, known, err := tx.NewestCheck(m.Slug, mr.Head)
		switch {
		case err != nil:
			return err
		case !known && m.Branch != mr.TargetBranch:
			v.say("ignored for the module %s: it tracks %s, not %s", m.Slug, m.Branch, mr.TargetBranch)
			continue
		case !known && !m.Source().Concerns(files, glob):
			v.say("ignored for the module %s: nothing under %s", m.Slug, rootWord(m.Source()))
			continue
		}
		link := mr.MergeRequest
		err = checkOnce(tx, v, m, runs.Check{Commit: runs.Commit{SHA: mr.Head, Title: mr.HeadTitle}, Branch: mr.SourceBranch, MR: &link, Trigger: runs.ByWebhook})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkOnce begins a check of a branch's commit unless it has one, and ends older ones of the branch. One that was there
// before learns of the merge request.
func checkOnce(tx *store.Tx, v *verdict, m runs.Module, c runs.Check) error {
	old, known, err := tx.NewestCheck(m.Slug, c.Commit.SHA)
	if err != nil {
		return err
	}
	if known && old.State != runs.CheckCanceled && (old.Tracked || !c.Tracked) {
		v.say("the module %s: this commit is checked already", m.Slug)
		if old.MR == nil && c.MR != nil {
			old.MR = c.MR
			return tx.PutCheck(old)
		}
		return nil
	}
	if err := endChecks(tx, m.Slug, "superseded by "+c.Commit.Short(), func(o runs.Check) bool {
		return o.Version == "" && o.Tag == "" && o.Branch == c.Branch && o.Commit.SHA != c.Commit.SHA && forkMR(o.MR) == forkMR(c.MR)
	}); err != nil {
		return err
	}
	if _, err := beginCheck(tx, m, c); err != nil {
		return err
	}
	v.say("the module %s is being checked", m.Slug)
	return nil
}

// forkMR is the number of a merge request whose code comes from a fork, 0 for code of the project itself.
func forkMR(mr *runs.MergeRequest) int64 {
	if mr != nil && mr.Fork {
		return mr.IID
	}
	return 0
}

// beginCheck writes down that a commit of a module is to be checked; of a version, that its number is taken.
func beginCheck(tx *store.Tx, m runs.Module, c runs.Check) (runs.Check, error) {
	c.ID, c.Module, c.Project, c.State, c.CreatedAt = tx.NewID(), m.Slug, m.Project, runs.CheckReading, tx.Now()
	if c.Version != "" {
		if err := reserve(tx, c); err != nil {
			return c, err
		}
	}
	return c, tx.PutCheck(c)
}

// reserve keeps a number for the check's commit while it is tested.
func reserve(tx *store.Tx, c runs.Check) error {
	return tx.PutModuleVersion(runs.ModuleVersion{
		Module: c.Module, Number: c.Version, State: runs.VersionPending, Commit: c.Commit, Tag: c.Tag, Check: c.ID, By: c.By,
	})
}

// endChecks cancels the open checks of a module of which which is true, with their tests.
func endChecks(tx *store.Tx, slug, note string, which func(runs.Check) bool) error {
	open, err := tx.OpenChecks()
	if err != nil {
		return err
	}
	for _, c := range open {
		if c.Module != slug || !which(c) {
			continue
		}
		for _, k := range c.Cases {
			if k.Run == "" {
				continue
			}
			r, err := tx.Run(k.Run)
			if err != nil {
				return err
			}
			if !r.State.Terminal() && r.StopAsked == "" && (r.Test == nil || r.Test.Outcome == "") { // what cleans up goes on
				if _, err := stop(tx, r, runs.System, note); err != nil {
					return err
				}
			}
		}
		c.State, c.Reason, c.EndedAt = runs.CheckCanceled, note, tx.Now()
		if err := tx.PutCheck(c); err != nil {
			return err
		}
	}
	return nil
}

// closeChecks ends the checks of a merge request that was closed.
func closeChecks(tx *store.Tx, mr store.MergeRequest) error {
	modules, err := tx.ModulesOf(mr.Project)
	for _, m := range modules {
		if err == nil {
			err = endChecks(tx, m.Slug, "the merge request was closed", func(c runs.Check) bool { return c.MR != nil && c.MR.IID == mr.IID })
		}
	}
	return err
}

// checkTagged makes a version of each module whose tag it is. A wrong number is refused where its author sees it: by a
// failed status on the commit. used says that a module took the tag for its own.
func checkTagged(tx *store.Tx, v *verdict, h gitlab.Hook) (used bool, err error) {
	modules, err := tx.ModulesOf(h.ProjectID)
	if err != nil {
		return false, err
	}
	for _, m := range modules {
		number, ours, wrong := m.TagNumber(h.Push.Tag)
		if !ours {
			continue
		}
		used = true
		c := runs.Check{
			Commit: headCommit(h.Push.Head, tagCommit(h.Push)), Tag: h.Push.Tag, Version: number, Trigger: runs.ByWebhook, By: h.User.Username,
		}
		if err := publishOrRefuse(tx, v, m, c, wrong); err != nil {
			return used, err
		}
	}
	return used, nil
}

// publishOrRefuse begins the check of a version whose number may be used, and refuses another one.
func publishOrRefuse(tx *store.Tx, v *verdict, m runs.Module, c runs.Check, wrong error) error {
	if wrong != nil {
		c.Version = ""
		return refuseCheck(tx, v, m, c, wrong)
	}
	old, known, err := tx.FindModuleVersion(m.Slug, c.Version)
	if err != nil {
		return err
	}
	before := &old
	if !known {
		before = nil
	}
	again, wrong := runs.MayPublish(before, c.Version, c.Commit)
	switch {
	case wrong != nil:
		return refuseCheck(tx, v, m, c, wrong)
	case again:
		v.say("the module %s has version %s from this commit already", m.Slug, c.Version)
		return nil
	}
	if _, err := beginCheck(tx, m, c); err != nil {
		return err
	}
	v.say("the module %s: version %s is being checked", m.Slug, c.Version)
	return nil
}

// refuseCheck keeps a check that says no more than why there is no version.
func refuseCheck(tx *store.Tx, v *verdict, m runs.Module, c runs.Check, why error) error {
	if old, known, err := tx.NewestCheck(m.Slug, c.Commit.SHA); err != nil {
		return err
	} else if known && old.State == runs.CheckRefused && old.Tag == c.Tag {
		v.say("the module %s: the tag %s was refused already", m.Slug, c.Tag)
		return nil
	}
	c.ID, c.Module, c.Project, c.CreatedAt, c.EndedAt = tx.NewID(), m.Slug, m.Project, tx.Now(), tx.Now()
	c.State, c.Reason = runs.CheckRefused, why.Error()
	v.say("refused for the module %s: %s", m.Slug, why)
	return tx.PutCheck(c)
}
