package store

import "groundcrew/runs"

// What a project says of merge requests that concern no stack, see [Project.PassUntouched].
const (
	PassOn  = "on"
	PassOff = "off"
)

// A Project is what is set and remembered of a GitLab project beside its stacks.
type Project struct {
	ID int64 `json:"id"`
	// PassUntouched says whether merge requests that concern no stack get a passing status: PassOn, PassOff, or "" for what
	// the integration says.
	PassUntouched string `json:"pass_untouched,omitempty"`
	// PrunedMR is the highest number of a merge request whose comment or thread was forgotten: one that is opened again is
	// looked at before anything is written there, so that nothing stands there twice.
	PrunedMR int64 `json:"pruned_mr,omitempty"`
}

// Project returns what is set of a project; the zero settings when nothing is.
func (tx *Tx) Project(id int64) (Project, error) {
	p := Project{ID: id}
	_, err := get(tx, "projects", num(id), &p)
	return p, err
}

// PutProject stores what is set of a project.
func (tx *Tx) PutProject(p Project) error { return put(tx, "projects", num(p.ID), p) }

// PassesUntouched reports whether merge requests of a project that concern no stack get a passing status.
func (tx *Tx) PassesUntouched(in Integration, project int64) (bool, error) {
	p, err := tx.Project(project)
	return p.PassUntouched == PassOn || p.PassUntouched == "" && in.PassUntouched, err
}

// ReportAllUntouched marks the passing status of the open merge requests of a project that concern no stack: whether they get
// one has changed.
func (tx *Tx) ReportAllUntouched(project int64) error {
	mrs, err := tx.MergeRequests(project)
	for _, mr := range mrs {
		if err != nil {
			return err
		}
		var list []runs.Run
		if list, err = tx.RunsOf(project, mr.Head, runs.GroupProposed); err == nil && len(list) == 0 && !mr.Fork && mr.Head != "" {
			err = tx.ReportUntouched(mr)
		}
	}
	return err
}
