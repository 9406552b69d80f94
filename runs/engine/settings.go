package engine

import (
	"slices"
	"strconv"

	"groundcrew/runs"
	"groundcrew/store"
)

// SetProject changes what is set of a project that stacks use. Merge requests that are open and concern no stack get their
// passing status at once when that is switched on.
func (e *Engine) SetProject(id int64, edit func(*store.Project), by string) (p store.Project, err error) {
	err = e.st.Update(func(tx *store.Tx) error {
		stacks, err := tx.SourcesOf(id)
		if err != nil {
			return err
		}
		if len(stacks) == 0 {
			return runs.NotFoundf("No stack or module uses project %d.", id)
		}
		if p, err = tx.Project(id); err != nil {
			return err
		}
		edit(&p)
		if !slices.Contains([]string{"", store.PassOn, store.PassOff}, p.PassUntouched) {
			return runs.Invalidf("pass_untouched", "“%s” is no choice. Use on, off, or nothing for what the integration says.", p.PassUntouched)
		}
		if err := tx.PutProject(p); err != nil {
			return err
		}
		if err := tx.ReportAllUntouched(id); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "project.update", Target: strconv.FormatInt(id, 10), Note: "pass_untouched " + p.PassUntouched})
	})
	return p, err
}
