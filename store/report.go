package store

import (
	"fmt"
	"time"

	"groundcrew/runs"
)

// The kinds of report.
const (
	ReportStatus      = "status"
	ReportNote        = "note"
	ReportDeployment  = "deployment"
	ReportEnvironment = "environment"
	ReportHook        = "hook"   // of a project
	ReportThread      = "thread" // that has to be resolved, about what a plan takes away
	ReportReply       = "reply"  // to a comment with a command
)

// The states of a report.
const (
	ReportWaiting   = "waiting"
	ReportDelivered = "delivered"
	ReportParked    = "parked" // GitLab refused for good; a person must mend something and try again
)

// SumUntouched marks the status that says that a merge request concerns no stack.
const SumUntouched = "untouched"

// A Report is one thing that GitLab must show: a level, not a message. What it shows is rendered from the
// present run or stack when it is sent. Its target is its key and its idempotency.
type Report struct {
	Kind    string `json:"kind"`
	Target  string `json:"target"`
	Project int64  `json:"project"`
	Stack   string `json:"stack"`
	Run     string `json:"run,omitempty"`   // whose state it shows now; of a module's check, the check's id
	Check   string `json:"check,omitempty"` // the module's check it speaks of
	SHA     string `json:"sha,omitempty"`
	Name    string `json:"name,omitempty"` // of a commit status or environment
	MR      int64  `json:"mr,omitempty"`
	Gone    bool   `json:"gone,omitempty"`    // environment: the stack was deleted, so stop it
	Install bool   `json:"install,omitempty"` // hook: make it where there is none
	Sum     string `json:"sum,omitempty"`     // status: the group of runs it sums up, or SumUntouched; "" for one stack's
	Text    string `json:"text,omitempty"`    // reply: what it says
	Author  int64  `json:"author,omitempty"`  // reply: whom it answers, in GitLab

	Seq         uint64    `json:"seq"` // grows with each mark: a send clears only the mark it rendered
	State       string    `json:"state"`
	Attempts    int       `json:"attempts"`
	NextAttempt time.Time `json:"next_attempt_at,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	LastKind    string    `json:"last_kind,omitempty"` // what went wrong with the last send, as package gitlab names it
	Cause       string    `json:"cause,omitempty"`     // of a refusal, as far as known
	Mend        string    `json:"mend,omitempty"`      // what a person can do about it
	MarkedAt    time.Time `json:"marked_at"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"`

	// What GitLab is known to show, from its own answers.
	RemoteID    int64  `json:"remote_id,omitempty"` // note, deployment or environment
	PipelineID  int64  `json:"pipeline_id,omitempty"`
	RemoteState string `json:"remote_state,omitempty"`
	RemoteText  string `json:"remote_text,omitempty"`  // status description, or digest of a note
	RemoteRun   string `json:"remote_run,omitempty"`   // run the status last linked to
	RemoteSHA   string `json:"remote_sha,omitempty"`   // of a merged result's pipeline, when the status stands there
	PipelineMR  int64  `json:"pipeline_mr,omitempty"`  // merge request whose pipeline was looked for
	OwnPipeline bool   `json:"own_pipeline,omitempty"` // and it stands there
	Unsure      bool   `json:"unsure,omitempty"`       // a send went out whose answer never came
	Discussion  string `json:"discussion,omitempty"`   // thread: id of the discussion in GitLab; reply: of the one it goes into
	Takes       string `json:"takes,omitempty"`        // thread: digest of what it was last opened for
}

// StatusTarget is the target of a commit status.
func StatusTarget(project int64, sha, name string) string {
	return fmt.Sprintf("status/%d/%s/%s", project, sha, name)
}

// NoteTarget is the target of the comment of a stack on a merge request.
func NoteTarget(project, mr int64, stack string) string {
	return fmt.Sprintf("note/%d/%d/%s", project, mr, stack)
}

// reportRun marks everything GitLab shows of a run.
func (tx *Tx) reportRun(r runs.Run) error {
	in, _, err := tx.Integration()
	if r.Type == runs.Test && err == nil {
		return tx.reportCase(in, r)
	}
	if err == nil {
		err = tx.reportStatus(in, r)
	}
	if r.MR != nil && r.Type == runs.Proposed {
		for _, mr := range append([]runs.MergeRequest{*r.MR}, r.Also...) {
			if err == nil {
				err = tx.reportNote(r, mr.IID)
			}
			if err == nil {
				err = tx.reportThread(in, r, mr.IID)
			}
		}
	}
	if _, ok := runs.Deployment(r); err == nil && ok {
		err = tx.mark(Report{
			Kind: ReportDeployment, Target: "deployment/" + r.ID, Project: r.Project, Stack: r.Stack, Run: r.ID, SHA: r.Commit.SHA,
			Name: runs.EnvironmentName(in.Prefix(), r.Stack),
		})
	}
	return err
}

// reportStatus marks the status of a run, once more for each further merge request of the commit, whose pipeline is
// another one (GOTCHAS 10). What an earlier prefix or mode left unfinished is brought to its end as well.
func (tx *Tx) reportStatus(in Integration, r runs.Run) error {
	s := Report{Kind: ReportStatus, Project: r.Project, Stack: r.Stack, Run: r.ID, SHA: r.Commit.SHA, Name: in.Prefix() + "/" + r.Stack}
	if in.Aggregate {
		s.Stack, s.Sum = "", r.Type.Group()
		s.Name = in.Prefix() + "/" + s.Sum
	}
	s.Target = StatusTarget(r.Project, r.Commit.SHA, s.Name)
	if err := tx.mark(s); err != nil {
		return err
	}
	now, _, err := tx.Report(s.Target)
	if err != nil {
		return err
	}
	for _, mr := range r.Also {
		also := s
		also.Run, also.MR, also.Target = now.Run, mr.IID, fmt.Sprintf("%s!%d", s.Target, mr.IID)
		if err := tx.mark(also); err != nil {
			return err
		}
	}
	rows, err := all[Report](tx, "reports", StatusTarget(r.Project, r.Commit.SHA, ""))
	for _, old := range rows {
		ours := old.Sum == "" && old.Stack == r.Stack || old.Sum == r.Type.Group()
		also := old.Name == s.Name && old.MR != 0 && old.Run < now.Run // that an older run of the commit made
		if err == nil && ours && (also || old.Name != s.Name && old.hangs()) {
			old.Run = max(old.Run, r.ID)
			err = tx.mark(old)
		}
	}
	return err
}

// hangs reports whether GitLab is known to show a status that has to be brought to an end, or may do so.
func (r Report) hangs() bool {
	return r.Unsure || r.RemoteState == string(runs.StatusPending) || r.RemoteState == string(runs.StatusRunning)
}

// ReportActive marks everything GitLab shows of the runs that have not ended: the way it is shown has changed.
func (tx *Tx) ReportActive() error {
	list, err := tx.Active("")
	for _, r := range list {
		if err == nil {
			err = tx.reportRun(*r)
		}
	}
	return err
}

// ReportUntouched marks the passing status of a merge request that concerns no stack.
func (tx *Tx) ReportUntouched(mr MergeRequest) error {
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	if pass, err := tx.PassesUntouched(in, mr.Project); err != nil || !pass {
		return err
	}
	return tx.mark(Report{
		Kind: ReportStatus, Target: StatusTarget(mr.Project, mr.Head, in.Prefix()), Project: mr.Project, SHA: mr.Head,
		Name: in.Prefix(), MR: mr.IID, Sum: SumUntouched,
	})
}

// RunsOf returns the newest run of a group of each stack for a commit.
func (tx *Tx) RunsOf(project int64, sha, group string) ([]runs.Run, error) {
	stacks, err := tx.StacksOf(project)
	var out []runs.Run
	for _, st := range stacks {
		var newest runs.Run
		for _, t := range runs.Types {
			if t.Group() != group || err != nil {
				continue
			}
			var r runs.Run
			if r, _, err = tx.NewestRunOf(st.Slug, t, sha); r.ID > newest.ID {
				newest = r
			}
		}
		if newest.ID != "" {
			out = append(out, newest)
		}
	}
	return out, err
}

// reportNote marks the comment on a merge request. It speaks of the newest run that has something to say; while a
// newer one is at work, or when that came to nothing, it has to say so.
func (tx *Tx) reportNote(r runs.Run, mr int64) error {
	note := Report{
		Kind: ReportNote, Target: NoteTarget(r.Project, mr, r.Stack), Project: r.Project, Stack: r.Stack, Run: r.ID, MR: mr,
	}
	if runs.Comments(r) {
		return tx.mark(note)
	}
	old, ok, err := tx.Report(note.Target)
	if err != nil || !ok || old.Run >= r.ID || r.State != runs.Queued && !r.State.Terminal() {
		return err
	}
	note.Run = old.Run
	return tx.mark(note)
}

// reportStack marks the stack's environment.
func (tx *Tx) reportStack(st runs.Stack) error {
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	return tx.mark(Report{
		Kind: ReportEnvironment, Target: "environment/" + st.Slug, Project: st.Project, Stack: st.Slug, Name: runs.EnvironmentName(in.Prefix(), st.Slug),
	})
}

// retireStack marks the environment of a stack that is being deleted: it is to be stopped.
func (tx *Tx) retireStack(st runs.Stack) error {
	r, ok, err := tx.Report("environment/" + st.Slug)
	if err != nil || !ok {
		return err
	}
	r.Gone = true
	return tx.mark(r)
}

// mark says that GitLab must show something new at the target. What GitLab is known to show is kept. A
// status target that an older run owned goes to the newer one, never back.
func (tx *Tx) mark(r Report) error {
	old, ok, err := tx.Report(r.Target)
	if err != nil {
		return err
	}
	if ok {
		if r.Run < old.Run && r.Sum == "" {
			return nil
		}
		r.Run = max(r.Run, old.Run)
		if old.Project != r.Project || r.Kind == ReportEnvironment && old.Name != r.Name { // the id is another thing's
			old.RemoteID, old.RemoteState = 0, ""
		}
		if r.Kind == ReportDeployment {
			r.Name = old.Name // it stays in the environment it was begun in, whatever the prefix is by now
		}
		old.Install = r.Install || old.Install && old.State != ReportDelivered // what is still owed stays so
		old.Run, old.Gone, old.Project, old.Name, old.Check = r.Run, r.Gone, r.Project, r.Name, r.Check
		r = old
	} else if r.Unsure, err = tx.forgotten(r); err != nil {
		return err
	}
	r.Seq++
	r.State, r.MarkedAt, r.Attempts, r.NextAttempt = ReportWaiting, tx.now, 0, time.Time{}
	r.LastError, r.LastKind, r.Cause, r.Mend = "", "", "", ""
	return tx.PutReport(r)
}

// PutReport writes a report's row and its place among those that wait.
func (tx *Tx) PutReport(r Report) error {
	tx.changed.Reports = true
	if err := put(tx, "reports", r.Target, r); err != nil {
		return err
	}
	change := unmark
	if r.State == ReportParked {
		change = mark
		if k, _ := tx.b.Bucket([]byte("parked")).Cursor().First(); k == nil {
			tx.changed.Parked = true
		}
	}
	if err := change(tx, "parked", r.Target); err != nil {
		return err
	}
	if r.State != ReportWaiting {
		return unmark(tx, "due", r.Target)
	}
	return tx.b.Bucket([]byte("due")).Put([]byte(r.Target), []byte(r.MarkedAt.UTC().Format(time.RFC3339)))
}

// Report returns the report for a target.
func (tx *Tx) Report(target string) (Report, bool, error) {
	var r Report
	ok, err := get(tx, "reports", target, &r)
	return r, ok, err
}

// DueReports returns the reports GitLab has not been told yet, by target.
func (tx *Tx) DueReports() ([]Report, error) {
	var out []Report
	err := each(tx, "due", "", func(target string, _ []byte) (bool, error) {
		r, ok, err := tx.Report(target)
		if ok {
			out = append(out, r)
		}
		return true, err
	})
	return out, err
}

// EachDue visits the reports of one kind that GitLab has not been told yet, by target, until fn returns false.
func (tx *Tx) EachDue(kind string, fn func(Report) bool) error {
	return each(tx, "due", kind+"/", func(target string, _ []byte) (bool, error) {
		r, ok, err := tx.Report(target)
		return !ok || err == nil && fn(r), err
	})
}

// DoubtStatuses lets the statuses that were brought to their end since a moment be compared with what GitLab shows, the
// newest first and at most limit: after a restored backup, or a crash between an answer and its row, it may show more.
func (tx *Tx) DoubtStatuses(since time.Time, limit int) error {
	newest, _, err := tx.Runs(RunFilter{Since: since}, "", limit)
	if err != nil {
		return err
	}
	for _, r := range newest {
		list, err := all[Report](tx, "reports", StatusTarget(r.Project, r.Commit.SHA, ""))
		if err != nil {
			return err
		}
		for _, rep := range list {
			if rep.State != ReportDelivered || rep.DeliveredAt.Before(since) || rep.hangs() {
				continue
			}
			rep.Unsure, rep.State = true, ReportWaiting
			if err := tx.PutReport(rep); err != nil {
				return err
			}
		}
	}
	return nil
}

// DueAfter returns the report that GitLab has not been told yet whose target follows the given one, the first
// after the last.
func (tx *Tx) DueAfter(target string) (Report, bool, error) {
	c := tx.b.Bucket([]byte("due")).Cursor()
	k, _ := c.Seek([]byte(target + "\x00"))
	if k == nil {
		k, _ = c.First()
	}
	if k == nil {
		return Report{}, false, nil
	}
	return tx.Report(string(k))
}

// ResumeReportsOf lets the reports of one project that are parked try again at once: what kept GitLab from taking them is over.
func (tx *Tx) ResumeReportsOf(project int64) error {
	list, err := all[Report](tx, "reports", "")
	for _, r := range list {
		if err == nil && r.Project == project && r.State == ReportParked {
			_, err = tx.RetryReport(r.Target)
		}
	}
	return err
}

// ReleaseReports lets the waiting reports of which which is true try again at once.
func (tx *Tx) ReleaseReports(which func(Report) bool) error {
	list, err := tx.DueReports()
	for _, r := range list {
		if err == nil && !r.NextAttempt.IsZero() && which(r) {
			r.NextAttempt = time.Time{}
			err = tx.PutReport(r)
		}
	}
	return err
}

// Reports lists reports by target from the cursor on; state "" lists all.
func (tx *Tx) Reports(state, cursor string, limit int) (page []Report, next string, err error) {
	return tx.ReportsWhere(state, cursor, limit, func(Report) bool { return true })
}

// ReportsWhere is Reports of those that match. The cursor names none of the others.
func (tx *Tx) ReportsWhere(state, cursor string, limit int, match func(Report) bool) (page []Report, next string, err error) {
	index := "reports"
	switch state {
	case ReportWaiting:
		index = "due"
	case ReportParked:
		index = "parked"
	}
	c := tx.b.Bucket([]byte(index)).Cursor()
	for k, _ := c.Seek([]byte(cursor)); k != nil; k, _ = c.Next() {
		target := string(k)
		if target == cursor {
			continue
		}
		r, ok, err := tx.Report(target)
		if err != nil {
			return page, "", err
		}
		if !ok || state != "" && r.State != state || !match(r) {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1].Target, nil
		}
		page = append(page, r)
	}
	return page, "", nil
}

// RetryReport puts a report back among those that wait, at once.
func (tx *Tx) RetryReport(target string) (Report, error) {
	r, ok, err := tx.Report(target)
	if err == nil && !ok {
		err = notFound("report", target)
	}
	if err != nil {
		return r, err
	}
	r.Seq++
	r.State, r.NextAttempt = ReportWaiting, time.Time{}
	return r, tx.PutReport(r)
}

// ResumeReports lets every report that waits or is parked try again at once: the
// token or the address changed.
func (tx *Tx) ResumeReports() error {
	list, err := all[Report](tx, "reports", "")
	for _, r := range list {
		if err == nil && r.State != ReportDelivered {
			_, err = tx.RetryReport(r.Target)
		}
	}
	return err
}
