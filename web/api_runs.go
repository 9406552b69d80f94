package web

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// A runJSON is a run as the API answers it (PRODUCT §10).
type runJSON struct {
	ID           string           `json:"id"`
	Stack        string           `json:"stack"`
	Type         runs.Type        `json:"type"`
	State        runs.State       `json:"state"`
	Reason       string           `json:"reason"`
	Trigger      runs.Trigger     `json:"trigger"`
	TriggeredBy  string           `json:"triggered_by"`
	Commit       string           `json:"commit"`
	CommitTitle  string           `json:"commit_title"`
	CommitAuthor string           `json:"commit_author"`
	CommitURL    string           `json:"commit_url"`
	Branch       string           `json:"branch"`
	MergeRequest *int64           `json:"merge_request"` // its number in the project
	Basis        *runs.Basis      `json:"basis"`
	Command      *string          `json:"command"`
	RetryOf      *string          `json:"retry_of"`
	PromotedOf   *string          `json:"promoted_of"`
	BlockedBy    *string          `json:"blocked_by"`     // the run a queued one waits for
	Prioritized  *string          `json:"prioritized_by"` // who put it before the others
	Delta        *deltaJSON       `json:"delta"`          // null until planned
	Warnings     []string         `json:"warnings"`
	Approvals    *approvalsJSON   `json:"approvals"` // null where none are asked for
	Fingerprint  string           `json:"fingerprint"`
	Tool         string           `json:"tool"`
	ToolVersion  string           `json:"tool_version"`
	Reused       string           `json:"reused"`        // the run whose init this one used, empty: its own
	StateVersion int              `json:"state_version"` // the plan was made on, 0: none
	NewVersion   int              `json:"new_version"`   // of state an apply made, 0: none
	StopAsked    *string          `json:"stop_asked"`    // who asked
	CreatedAt    time.Time        `json:"created_at"`
	EndedAt      *time.Time       `json:"ended_at"`
	Transitions  []transitionJSON `json:"transitions"`
	URL          string           `json:"url"`
	Module       *string          `json:"module,omitempty"` // of a test
	Test         *runs.RunTest    `json:"test,omitempty"`
}

// A deltaJSON has every count, also those that are 0.
type deltaJSON struct {
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
	Import  int `json:"import"`
	Move    int `json:"move"`
	Forget  int `json:"forget"`
	Outputs int `json:"outputs"`
}

// A transitionJSON is one step of a run's life.
type transitionJSON struct {
	State runs.State `json:"state"`
	At    time.Time  `json:"at"`
	By    string     `json:"by"`
	Note  string     `json:"note"`
}

func transitionOut(t runs.Transition) transitionJSON {
	return transitionJSON{t.State, t.At.UTC(), t.By, t.Note}
}

func (s *Server) runJSON(q *engine.Queue, r runs.Run) (runJSON, error) {
	j := runJSON{
		ID: r.ID, Stack: r.Stack, Type: r.Type, State: r.State, Reason: r.Reason, Trigger: r.Trigger, TriggeredBy: r.TriggeredBy,
		Commit: r.Commit.SHA, CommitTitle: r.Commit.Title, CommitAuthor: r.Commit.Author, CommitURL: r.Commit.URL, Branch: r.Branch,
		Basis: r.Basis, Command: orNil(r.Command), RetryOf: orNil(r.RetryOf), PromotedOf: orNil(r.PromotedOf),
		Warnings: orEmpty(r.Warnings), Fingerprint: r.Fingerprint, Tool: r.Tool, ToolVersion: r.ToolVersion,
		Reused: r.Reused, StateVersion: r.StateVersion, NewVersion: r.NewVersion, StopAsked: orNil(r.StopAsked), Prioritized: orNil(r.PrioritizedBy),
		CreatedAt: r.CreatedAt.UTC(), EndedAt: at(r.EndedAt), Transitions: []transitionJSON{}, URL: s.o.ExternalURL + "/runs/" + r.ID,
	}
	if r.MR != nil {
		j.MergeRequest = &r.MR.IID
	}
	if r.Test != nil {
		j.Module, j.Test = orNil(r.Test.Module), r.Test
	}
	if d := r.Delta; d != nil {
		j.Delta = &deltaJSON{d.Add, d.Change, d.Destroy, d.Import, d.Move, d.Forget, d.Outputs}
	}
	for _, t := range r.Transitions {
		j.Transitions = append(j.Transitions, transitionOut(t))
	}
	if r.State == runs.Unconfirmed && j.Reason == "" {
		j.Reason = waitsFor(r)
	}
	if err := s.fillApprovals(q, &j, r); err != nil {
		return j, err
	}
	text, b, err := q.Waiting(r)
	if b != nil {
		j.BlockedBy = &b.ID
	}
	if text != "" && j.Reason != "" {
		text = j.Reason + "; " + text
	}
	j.Reason = cmp.Or(text, j.Reason)
	return j, err
}

// lookAt is how many runs one page of a list reads at most; one that few runs meet leads on until all were read.
const lookAt = 1000

// runFilter reads which runs are asked for.
func runFilter(c *request) (store.RunFilter, error) {
	f := store.RunFilter{Stack: c.QueryParam("stack"), Text: c.QueryParam("q"), AtMost: lookAt}
	for _, text := range many(c, "type") {
		if !slices.Contains(runs.Types, runs.Type(text)) {
			return f, runs.Invalidf("type", "“%s” is no type of run.", text)
		}
		f.Types = append(f.Types, runs.Type(text))
	}
	for _, text := range many(c, "state") {
		if !slices.Contains(runs.States, runs.State(text)) {
			return f, runs.Invalidf("state", "“%s” is no state of a run.", text)
		}
		f.States = append(f.States, runs.State(text))
	}
	for name, to := range map[string]*int64{"merge_request": &f.MergeRequest, "project": &f.Project} {
		if text := c.QueryParam(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 1 {
				return f, runs.Invalidf(name, "“%s” is no number of a %s.", text, strings.ReplaceAll(name, "_", " "))
			}
			*to = n
		}
	}
	return f, nil
}

// many reads a query parameter that may be repeated or hold several values between commas.
func many(c *request, name string) []string {
	var out []string
	for _, v := range c.QueryParams()[name] {
		for part := range strings.SplitSeq(v, ",") {
			if part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

func (s *Server) apiRuns(c *request) error {
	f, err := runFilter(c)
	if err != nil {
		return err
	}
	return s.listRuns(c, f)
}

func (s *Server) apiStackRuns(c *request) error {
	f, err := runFilter(c)
	if err != nil {
		return err
	}
	f.Stack = c.Param("slug")
	if _, err := s.stack(f.Stack); err != nil {
		return err
	}
	return s.listRuns(c, f)
}

func (s *Server) listRuns(c *request, f store.RunFilter) error {
	cursor, limit, err := idWindow(c)
	if err != nil {
		return err
	}
	if f, err = s.seen(c, f); err != nil {
		return err
	}
	var items []runJSON
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		var page []runs.Run
		q, err := s.eng.Queue(tx)
		if err != nil {
			return err
		}
		if page, next, err = tx.Runs(f, cursor, limit); err != nil {
			return err
		}
		for _, r := range page {
			j, err := s.runJSON(q, r)
			if err != nil {
				return err
			}
			items = append(items, j)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

// A runInput asks for a run.
type runInput struct {
	Type    runs.Type `json:"type"`
	Commit  string    `json:"commit"`
	Command string    `json:"command"`
}

func (s *Server) apiTrigger(c *request) error {
	var in runInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := c.mayStart(in.Type); err != nil {
		return err
	}
	r, err := s.eng.Trigger(c.Request().Context(), c.Param("slug"), engine.Request{
		Type: in.Type, Commit: in.Commit, Command: in.Command, By: c.who.Name, Author: c.who.Person, Trigger: c.who.trigger(),
	})
	return s.answerNewRun(c, r, err)
}

func (s *Server) answerNewRun(c *request, r runs.Run, err error) error {
	if err != nil {
		return err
	}
	j, err := s.oneRun(r.ID)
	if err != nil {
		return err
	}
	return created(c, "/api/v1/runs/"+r.ID, j)
}

func (s *Server) oneRun(id string) (j runJSON, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		r, err := tx.Run(id)
		if err != nil {
			return err
		}
		q, err := s.eng.Queue(tx)
		if err != nil {
			return err
		}
		j, err = s.runJSON(q, r)
		return err
	})
	return j, err
}

func (s *Server) run(id string) (r runs.Run, err error) {
	err = s.st.View(func(tx *store.Tx) (err error) {
		r, err = tx.Run(id)
		return err
	})
	return r, err
}

func (s *Server) apiRun(c *request) error { return s.answerRun(c, nil) }

// answerRun answers the run of the path, or the error of what was done to it.
func (s *Server) answerRun(c *request, err error) error {
	if err != nil {
		return err
	}
	j, err := s.oneRun(c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, j)
}

// A confirmInput may name the plan that was looked at.
type confirmInput struct {
	Fingerprint string `json:"fingerprint"`
}

func (s *Server) apiConfirm(c *request) error {
	var in confirmInput
	if err := decode(c, &in); err != nil {
		return err
	}
	return s.answerRun(c, s.confirm(c, in.Fingerprint))
}

// confirm says yes to the plan with the fingerprint, or ("") to whatever plan stands there.
func (s *Server) confirm(c *request, fingerprint string) error {
	r, err := s.run(c.Param("id"))
	if err != nil {
		return err
	}
	if fingerprint != "" && r.State == runs.Unconfirmed && fingerprint != r.Fingerprint {
		return runs.Conflictf("The plan was made again since you looked at it. Look at the new one, then confirm that.")
	}
	_, err = s.eng.Confirm(r.ID, c.who.Name)
	return err
}

func (s *Server) apiDiscard(c *request) error {
	var in noteInput
	if err := decode(c, &in); err != nil {
		return err
	}
	_, err := s.eng.Discard(c.Param("id"), c.who.Name, in.Note)
	return s.answerRun(c, err)
}

func (s *Server) apiStop(c *request) error {
	var in noteInput
	if err := decode(c, &in); err != nil {
		return err
	}
	_, err := s.eng.Stop(c.Param("id"), c.who.Name, in.Note)
	return s.answerRun(c, err)
}

func (s *Server) apiPrioritize(c *request) error {
	_, err := s.eng.Prioritize(c.Param("id"), c.who.Name)
	return s.answerRun(c, err)
}

func (s *Server) apiPutBack(c *request) error {
	_, err := s.eng.PutBack(c.Param("id"), c.who.Name)
	return s.answerRun(c, err)
}

func (s *Server) apiRetry(c *request) error {
	r, err := s.eng.Retry(c.Param("id"), c.who.Name, c.who.Person, c.who.trigger())
	return s.answerNewRun(c, r, err)
}

func (s *Server) apiPromote(c *request) error {
	r, err := s.eng.Promote(c.Param("id"), c.who.Name, c.who.Person, c.who.trigger())
	return s.answerNewRun(c, r, err)
}

func (s *Server) apiChanges(c *request) error {
	if _, err := s.run(c.Param("id")); err != nil {
		return err
	}
	changes, ok, err := s.eng.Changes(c.Param("id"))
	if err != nil {
		return err
	}
	if !ok {
		return runs.NotFoundf("The run has no plan to show: it was not made, or was cleaned up.")
	}
	if changes.Resources == nil {
		changes.Resources = []runs.ResourceChange{}
	}
	return c.JSON(http.StatusOK, changes)
}

// logPhases are the states a log is kept of, in the order they come.
var logPhases = []runs.State{runs.Preparing, runs.Initializing, runs.Planning, runs.Applying, runs.Performing, runs.Destroying}

// getLog sends the log of a phase. Ranges work, so that a reader can go on where it stopped.
func (s *Server) getLog(c *request) error {
	phase := runs.State(c.Param("phase"))
	r, err := s.run(c.Param("id"))
	if err != nil {
		return err
	}
	absent := runs.NotFoundf("The run has no log of the phase %q.", phase)
	if !slices.Contains(logPhases, phase) {
		return absent
	}
	f, err := s.eng.OpenLog(r.ID, phase)
	if errors.Is(err, fs.ErrNotExist) {
		if why, err := s.eng.LogsRemoved(r.ID); err != nil || why != "" {
			return cmp.Or(err, runs.NotFoundf("The run's logs are not kept any more. %s", why))
		}
		return absent
	}
	if err != nil {
		return err
	}
	defer f.Close()
	c.Response().Header().Set("Content-Type", "text/plain; charset=utf-8")
	if c.QueryParam("download") != "" {
		c.Response().Header().Set("Content-Disposition", `attachment; filename="`+r.ID+"-"+string(phase)+`.log"`)
	}
	return serveContent(c, time.Time{}, io.NewSectionReader(f, 0, f.Size()))
}
