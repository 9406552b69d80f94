package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"groundcrew/runs"
)

// A Job is one phase of a run to be worked on. Its key run/phase is its idempotency: it exists once.
type Job struct {
	Run       string     `json:"run"`
	Stack     string     `json:"stack"`
	Phase     runs.Phase `json:"phase"`
	Claimed   bool       `json:"claimed"` // a worker has it; after a restart such a job is found again, not started anew
	ClaimedAt time.Time  `json:"claimed_at,omitzero"`

	// What the order of the queue is made of, so that a thousand waiting runs need not be read for it.
	// Rows of older versions lack it; [Tx.Jobs] fills it in.
	Project int64        `json:"project,omitempty"`
	Type    runs.Type    `json:"type,omitempty"`
	Trigger runs.Trigger `json:"trigger,omitempty"`
	First   bool         `json:"first,omitempty"` // a person put it before the others
}

func jobOf(r runs.Run, p runs.Phase) Job {
	return Job{
		Run: r.ID, Stack: r.Stack, Phase: p, Project: r.Project, Type: r.Type, Trigger: r.Trigger, First: r.PrioritizedBy != "",
	}
}

func jobKey(run string, p runs.Phase) string { return run + "/" + string(p) }

// Jobs returns all job rows, oldest run first.
func (tx *Tx) Jobs() ([]Job, error) {
	list, err := all[Job](tx, "jobs", "")
	for i, j := range list {
		if j.Type != "" || err != nil {
			continue
		}
		var r runs.Run
		if r, err = tx.Run(j.Run); err == nil {
			full := jobOf(r, j.Phase)
			full.Claimed, full.ClaimedAt = j.Claimed, j.ClaimedAt
			list[i] = full
		}
	}
	return list, err
}

// hurry marks the run's job to be taken first, or in its turn.
func (tx *Tx) hurry(run string, first bool) error {
	j, ok, err := tx.Job(run)
	if err != nil || !ok {
		return err
	}
	j.First = first
	tx.changed.Jobs = true
	return put(tx, "jobs", jobKey(j.Run, j.Phase), j)
}

// ActiveIDs returns the stack of each run that has not ended, by the run's id.
func (tx *Tx) ActiveIDs() (map[string]string, error) {
	out := map[string]string{}
	err := each(tx, "active", "", func(id string, slug []byte) (bool, error) {
		out[id] = string(slug)
		return true, nil
	})
	return out, err
}

// Job returns the run's job row.
func (tx *Tx) Job(run string) (Job, bool, error) {
	jobs, err := all[Job](tx, "jobs", run+"/")
	if err != nil || len(jobs) == 0 {
		return Job{}, false, err
	}
	return jobs[0], true, nil
}

// ClaimJob marks a job as taken by a worker, together with whatever else the transaction does.
func (tx *Tx) ClaimJob(j Job) error {
	j.Claimed, j.ClaimedAt = true, tx.now
	return put(tx, "jobs", jobKey(j.Run, j.Phase), j)
}

func (tx *Tx) dropJobs(run string) error {
	var keys []string
	err := each(tx, "jobs", run+"/", func(k string, _ []byte) (bool, error) {
		keys = append(keys, k)
		return true, nil
	})
	for _, k := range keys {
		if err == nil {
			err = unmark(tx, "jobs", k)
		}
	}
	return err
}

// Run returns a run, or ErrNotFound.
func (tx *Tx) Run(id string) (runs.Run, error) {
	r, ok, err := tx.findRun(id)
	if err == nil && !ok {
		err = notFound("run", id)
	}
	return r, err
}

func (tx *Tx) findRun(id string) (runs.Run, bool, error) {
	var r runs.Run
	ok, err := get(tx, "runs", id, &r)
	return r, ok, err
}

// putRun writes the row and keeps the indexes true.
func (tx *Tx) putRun(old, r runs.Run) error {
	tx.changed.Runs = append(tx.changed.Runs, r.ID)
	tx.changed.Moves = append(tx.changed.Moves, moves(old, r)...)
	if err := put(tx, "runs", r.ID, r); err != nil {
		return err
	}
	if err := errors.Join(indexRun(tx.b, old, r), indexProject(tx.b, old, r), indexProposal(tx.b, old, r)); err != nil {
		return err
	}
	if old.State == runs.None {
		if err := mark(tx, "stack_runs", r.Stack+"/"+r.ID); err != nil {
			return err
		}
		if err := tx.b.Bucket([]byte("run_keys")).Put([]byte(runKey(r.Stack, r.Type, r.Commit.SHA)), []byte(r.ID)); err != nil {
			return err
		}
	}
	if old.MR == nil && r.MR != nil {
		if err := mark(tx, "mr_runs", mrKey(r.Project, r.MR.IID)+"/"+r.ID); err != nil {
			return err
		}
	}
	for _, mr := range r.Also[min(len(old.Also), len(r.Also)):] {
		if err := mark(tx, "mr_runs", mrKey(r.Project, mr.IID)+"/"+r.ID); err != nil {
			return err
		}
	}
	if r.Type == runs.Test && r.State.Terminal() {
		tx.changed.Modules = true // its check goes on
	}
	if old.State.Terminal() {
		return nil // it is in no list of those that go on, and comes into none
	}
	if err := tx.s.cached.active.changed(tx, r.ID); err != nil {
		return err
	}
	if r.State.Terminal() {
		return unmark(tx, "active", r.ID)
	}
	return tx.b.Bucket([]byte("active")).Put([]byte(r.ID), []byte(r.Stack))
}

// moves are the steps a run took; an event takes one at most, and none changes nothing here.
func moves(old, r runs.Run) []Move {
	if len(r.Transitions) == len(old.Transitions) {
		return nil
	}
	m := Move{Type: r.Type, Stack: r.Stack, From: old.State, To: r.State}
	if old.State != runs.None {
		m.Took = max(r.Entered().Sub(old.Entered()), 0) // clocks may be set back
	}
	return []Move{m}
}

func runKey(stack string, t runs.Type, sha string) string {
	return stack + "/" + string(t) + "/" + sha
}

// NewestRunOf returns the newest run of a stack, type and commit: one commit makes one run of a type,
// however often GitLab tells us of it.
func (tx *Tx) NewestRunOf(stack string, t runs.Type, sha string) (runs.Run, bool, error) {
	id := tx.b.Bucket([]byte("run_keys")).Get([]byte(runKey(stack, t, sha)))
	if id == nil {
		return runs.Run{}, false, nil
	}
	return tx.findRun(string(id))
}

// Active returns the runs that have not ended, oldest first; of one stack, or of all when stack is "". The list is shared as
// [Tx.Stacks] is.
func (tx *Tx) Active(stack string) ([]*runs.Run, error) {
	if tx.b.Writable() {
		return tx.scanActive(stack)
	}
	list, err := tx.s.cached.active.rows(tx)
	if stack == "" || err != nil {
		return list, err
	}
	var out []*runs.Run
	for _, r := range list {
		if r.Stack == stack {
			out = append(out, r)
		}
	}
	return out, nil
}

// scanActive is for a writer: one may come after many changes that no reader has taken in, and wants one stack's.
func (tx *Tx) scanActive(stack string) (out []*runs.Run, err error) {
	err = each(tx, "active", "", func(id string, slug []byte) (bool, error) {
		if stack != "" && string(slug) != stack {
			return true, nil
		}
		r, err := tx.Run(id)
		out = append(out, &r)
		return true, err
	})
	return out, err
}

// A RunFilter selects runs; zero fields select all.
type RunFilter struct {
	Stack        string
	Project      int64 // goes with MergeRequest
	MergeRequest int64
	Types        []runs.Type
	Projects     []int64 // sorted; nil: all. Somebody may not know of the others
	States       []runs.State
	Since        time.Time
	Text         string // words, all of which are in the title, branch, author or stack, or begin the commit, the run's id or "!" and the merge request's number
	// AtMost bounds how many runs a page looks at, 0: as many as it takes. A filter that few runs meet
	// would read all there are.
	AtMost int
}

func (f RunFilter) match(r runs.Run) bool {
	return (f.Stack == "" || r.Stack == f.Stack) &&
		(f.MergeRequest == 0 || r.In(f.MergeRequest) != nil) &&
		(f.Project == 0 || r.Project == f.Project) &&
		(f.Projects == nil || f.allows(r.Project)) &&
		(len(f.Types) == 0 || slices.Contains(f.Types, r.Type)) &&
		(len(f.States) == 0 || slices.Contains(f.States, r.State)) &&
		(f.Since.IsZero() || !r.CreatedAt.Before(f.Since)) &&
		(f.Text == "" || saysAll(r, f.Text))
}

func (f RunFilter) allows(project int64) bool {
	_, ok := slices.BinarySearch(f.Projects, project)
	return ok
}

// A sieve lets rows of runs pass that may meet a filter, because reading a row costs ten times as much as looking at its bytes.
type sieve struct {
	words [][]byte // that a row must hold, letter case aside
	lower []byte   // the row that is looked at
	// Of each of these lists a row must hold one, as JSON writes it.
	oneOf [][][]byte
	// within are the projects, one of which the row must be of; nil: any.
	within func(project int64) bool
}

// newSieve takes of a filter what rows can be held back by.
func newSieve(f RunFilter) *sieve {
	s := newTextSieve(f.Text)
	s.mustHold("state", texts(f.States))
	s.mustHold("type", texts(f.Types))
	if f.Projects != nil {
		s.within = f.allows
	}
	return s
}

func texts[T ~string](list []T) (out []string) {
	for _, x := range list {
		out = append(out, string(x))
	}
	return out
}

// mustHold asks for a field with one of the values, anywhere in the row.
func (s *sieve) mustHold(field string, values []string) {
	var any [][]byte
	for _, v := range values {
		any = append(any, fmt.Appendf(nil, "%q:%q", field, v))
	}
	if any != nil {
		s.oneOf = append(s.oneOf, any)
	}
}

// newTextSieve takes the words that JSON writes as they are; one that begins with "!" may be the number of a merge request.
func newTextSieve(text string) *sieve {
	s := &sieve{}
	for word := range strings.FieldsSeq(strings.ToLower(text)) {
		escaped := func(r rune) bool { return r < ' ' || r >= utf8.RuneSelf || strings.ContainsRune(`"\<>&`, r) }
		if word[0] != '!' && !strings.ContainsFunc(word, escaped) {
			s.words = append(s.words, []byte(word))
		}
	}
	return s
}

// passes reports whether the row may be one of those that are meant. Letters beyond ASCII have rules of their own: it may.
func (s *sieve) passes(row []byte) bool {
	for _, values := range s.oneOf {
		if !slices.ContainsFunc(values, func(v []byte) bool { return bytes.Contains(row, v) }) {
			return false
		}
	}
	if project, ok := projectIn(row); ok && s.within != nil && !s.within(project) {
		return false
	}
	if len(s.words) == 0 {
		return true
	}
	s.lower = s.lower[:0]
	for _, b := range row {
		if b >= utf8.RuneSelf {
			return true
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		s.lower = append(s.lower, b)
	}
	return !slices.ContainsFunc(s.words, func(word []byte) bool { return !bytes.Contains(s.lower, word) })
}

// projectIn reads the project of a run's row. A text of somebody's cannot be taken for it, because JSON writes quotation marks in texts
// with a backslash.
func projectIn(row []byte) (project int64, ok bool) {
	_, after, ok := bytes.Cut(row, []byte(`"project":`))
	end := bytes.IndexAny(after, ",}")
	if !ok || end < 0 {
		return 0, false
	}
	project, err := strconv.ParseInt(string(after[:end]), 10, 64)
	return project, err == nil
}

// saysAll reports whether a run is one that somebody means who types these words.
func saysAll(r runs.Run, words string) bool {
	text := strings.ToLower(r.Commit.Title + "\n" + r.Branch + "\n" + r.Commit.Author + "\n" + r.Stack)
	mr := ""
	if r.MR != nil {
		mr = fmt.Sprintf("!%d", r.MR.IID)
	}
	for word := range strings.FieldsSeq(strings.ToLower(words)) {
		if !strings.Contains(text, word) && !strings.HasPrefix(r.Commit.SHA, word) && !strings.HasPrefix(strings.ToLower(r.ID), word) && mr != word {
			return false
		}
	}
	return true
}
