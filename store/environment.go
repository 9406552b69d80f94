package store

import "groundcrew/runs"

// EnvironmentTarget is the target of a stack's environment.
func EnvironmentTarget(stack string) string { return "environment/" + stack }

// retiredTarget is the target of an environment that a stack had under another name.
func retiredTarget(stack, name string) string { return "environment/" + stack + "/" + name }

// RenameEnvironments marks the environments of all stacks after the prefix of names changed. GitLab renames no environment
// (CONTRACT §8): those of the new name are made, and those of the old one stopped. One that gets its old name back is kept.
func (tx *Tx) RenameEnvironments() error {
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	for _, st := range stacks {
		name := runs.EnvironmentName(in.Prefix(), st.Slug)
		old, ok, err := tx.Report(EnvironmentTarget(st.Slug))
		if err != nil {
			return err
		}
		if !ok || old.Name == name {
			continue
		}
		gone := Report{
			Kind: ReportEnvironment, Target: retiredTarget(st.Slug, old.Name), Project: old.Project, Stack: st.Slug, Name: old.Name, Gone: true,
		}
		if err := tx.mark(gone); err != nil {
			return err
		}
		for _, bucket := range []string{"reports", "due", "parked"} {
			if err := unmark(tx, bucket, retiredTarget(st.Slug, name)); err != nil {
				return err
			}
		}
		if err := tx.reportStack(*st); err != nil {
			return err
		}
	}
	return nil
}

// Deploying returns the run whose deployment to an environment GitLab has still to see the end of, "" when there is none.
func (tx *Tx) Deploying(env Report) (run string, err error) {
	active, err := tx.Active(env.Stack)
	if err != nil {
		return "", err
	}
	for _, r := range active {
		d, ok, err := tx.Report("deployment/" + r.ID)
		if err != nil || ok && d.Name == env.Name {
			return r.ID, err
		}
	}
	err = tx.EachDue(ReportDeployment, func(d Report) bool {
		if d.Stack == env.Stack && d.Name == env.Name {
			run = d.Run
		}
		return run == ""
	})
	return run, err
}
