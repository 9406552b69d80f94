package web

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"groundcrew/runs"
	"groundcrew/runs/logs"
	"groundcrew/store"
	"groundcrew/web/view"
)

func (s *Server) getRun(c *request) error {
	r, err := s.run(c.Param("id"))
	if err != nil {
		return err
	}
	p, err := s.runPage(c, r)
	if err != nil {
		return err
	}
	m, err := s.runModel(c, r)
	if err != nil {
		return err
	}
	at := newPlace()
	at.transitions, at.key, at.frame = len(m.Run.Transitions), runKey(m), frameKey(p)
	if m.LogsRemoved, err = s.eng.LogsRemoved(m.Run.ID); err != nil {
		return err
	}
	if m.Logs, err = s.logTails(m.Run, &at); err != nil {
		return err
	}
	m.ErrorText = errorText(m)
	if err := s.fillChanges(&m); err != nil {
		return err
	}
	if !m.Run.State.Terminal() {
		m.LiveURL = "/runs/" + r.ID + "/live?after=" + at.String()
	}
	return render(c, http.StatusOK, view.RunPage(p, m))
}

func (s *Server) runPage(c *request, r runs.Run) (view.Page, error) {
	title := r.Commit.Title
	if title == "" {
		title = "Run " + r.ID
	}
	if m := runs.ModuleOf(r.Stack); m != "" {
		return s.page(c, cut(title, 100)+" · "+m, view.NavRuns, view.Crumb{Text: "Modules", URL: "/modules"},
			view.Crumb{Text: m, URL: "/modules/" + m}, view.Crumb{Text: "test " + view.ShortID(r.ID)})
	}
	return s.page(c, cut(title, 100)+" · "+r.Stack, view.NavRuns, view.Crumb{Text: "Stacks", URL: "/stacks"},
		view.Crumb{Text: r.Stack, URL: "/stacks/" + r.Stack}, view.Crumb{Text: "run " + view.ShortID(r.ID)})
}

// runModel is the run page without logs and changes, also for the live parts.
func (s *Server) runModel(c *request, r runs.Run) (view.RunModel, error) {
	m := view.RunModel{StackName: r.Stack, StackGone: true}
	var st runs.Stack
	var gate runs.Gate
	linked := false
	err := s.st.View(func(tx *store.Tx) (err error) {
		if m.Run, err = tx.Run(r.ID); err != nil {
			return err
		}
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		linked = in.Linked
		q, err := s.eng.Queue(tx)
		if err != nil {
			return err
		}
		if m.Waiting, m.Blocker, err = waiting(q, m.Run); err != nil {
			return err
		}
		if slug := runs.ModuleOf(r.Stack); slug != "" {
			var mod runs.Module
			mod, err = tx.Module(slug)
			st = mod.Source()
		} else {
			st, err = tx.Stack(r.Stack)
		}
		if errors.Is(err, runs.ErrNotFound) {
			return nil
		}
		m.StackGone = false
		if err == nil {
			gate, err = q.Gate(m.Run)
		}
		return err
	})
	if err != nil {
		return m, err
	}
	if !m.StackGone {
		m.StackName, m.ProjectURL = st.Name, st.ProjectURL
		fillFromStack(&m, st)
		if m.Changed, err = s.eng.ChangedSincePlan(m.Run); err != nil {
			return m, err
		}
	}
	m.Isolation, m.Progress = s.o.Facts.Isolation, s.progress(m.Run)
	fillActs(&m, c.who, st, linked)
	fillReviews(&m, c.who, gate)
	return m, nil
}

// fillChanges reads the plan made readable, which can be large.
func (s *Server) fillChanges(m *view.RunModel) error {
	if m.Run.Delta == nil {
		return nil
	}
	changes, ok, err := s.eng.Changes(m.Run.ID)
	if ok {
		m.Changes = &changes
	}
	return err
}

// fillFromStack says what happened to the stack since the plan.
func fillFromStack(m *view.RunModel, st runs.Stack) {
	if m.Run.TrackedAt != "" && m.Run.State == runs.Unconfirmed && st.TrackedCommit.SHA != m.Run.TrackedAt {
		m.Newer = &st.TrackedCommit
	}
	if st.LockedBy != "" {
		m.Locked = st.LockedBy + " locked the stack"
		if st.LockNote != "" {
			m.Locked += ": " + st.LockNote
		}
		m.Locked += ". Nothing is applied until it is unlocked."
	}
}

// fillActs says which acts are possible now, and why one that looks possible is not.
func fillActs(m *view.RunModel, who actor, st runs.Stack, linked bool) {
	r := m.Run
	if r.State == runs.Unconfirmed {
		m.Confirm = who.may(store.Writer, "confirm")
		switch {
		case !m.Confirm.Can:
		case st.LockedBy != "" && st.LockedBy != who.Name:
			m.Confirm = view.Act{WhyNot: st.LockedBy + " locked the stack."}
		case !linked:
			m.Confirm = view.Act{WhyNot: "GitLab is not linked, so nothing can run."}
		}
	}
	if r.State == runs.Unconfirmed || r.State == runs.Queued {
		m.Discard = who.may(store.Writer, "discard a run")
	}
	if m.Waiting != "" && r.PrioritizedBy == "" {
		m.Prioritize = who.may(store.Writer, "put a run first")
	}
	if m.Waiting != "" && r.PrioritizedBy != "" {
		m.PutBack = who.may(store.Writer, "put a run back")
	}
	if r.State.Working() && r.StopAsked == "" {
		m.Stop = who.may(store.Writer, "stop a run")
	}
	if r.State.Terminal() && !m.StackGone {
		m.Retry = who.may(store.Writer, "start a run")
		if r.Type == runs.Proposed && r.State == runs.Finished && st.Promotion {
			m.Promote = who.blocking().may(store.Writer, "promote a run")
		}
		if !linked && m.Retry.Can {
			m.Retry, m.Promote = view.Act{WhyNot: "GitLab is not linked."}, view.Act{}
		}
	}
}

// tailBytes is how much of the end of a log a page holds; the rest is a click away.
const tailBytes = 64 << 10

// logTails reads the ends of the run's logs and moves the place behind them.
func (s *Server) logTails(r runs.Run, at *place) ([]view.PhaseLog, error) {
	var out []view.PhaseLog
	for _, phase := range logPhases {
		t, err := s.readTail(r.ID, phase)
		if err != nil {
			return nil, err
		}
		text, lines, size := t.text, t.before, t.size
		if size == 0 {
			continue
		}
		end := size
		if !r.State.Terminal() { // an unfinished last line comes with the stream
			i := int64(bytes.LastIndexByte(text, '\n') + 1)
			end -= int64(len(text)) - i
			text = text[:i]
		}
		at.offsets[phase], at.lines[phase] = end, lines+bytes.Count(text, []byte("\n"))
		out = append(out, view.PhaseLog{Phase: string(phase), Text: text, FirstLine: lines + 1, Size: size, CutBytes: end - int64(len(text)), EarlierURL: earlierURL(r.ID, phase, end-int64(len(text)), lines+1)})
	}
	return out, nil
}

// A tail is the end of a log.
type tail struct {
	text   []byte // the last whole lines, up to tailBytes
	before int    // lines before them
	size   int64  // of the whole log; 0: there is none
}

// readTail reads the end of a phase's log. Lines are counted once: from where the last count of this log ended.
func (s *Server) readTail(run string, phase runs.State) (t tail, err error) {
	f, err := s.eng.OpenLog(run, phase)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	defer f.Close()
	t.size = f.Size()
	cutAt := max(0, t.size-tailBytes)
	if t.before, err = s.countedTo.lines(f, run+"/"+string(phase), cutAt); err != nil {
		return t, err
	}
	if t.text, err = io.ReadAll(io.NewSectionReader(f, cutAt, t.size-cutAt)); err != nil {
		return t, err
	}
	if i := bytes.IndexByte(t.text, '\n'); cutAt > 0 && i >= 0 {
		t.text = t.text[i+1:]
		t.before++
	}
	return t, nil
}

// A lineCounter remembers how many lines logs have up to a place, so that a page of a huge log that still grows costs
// what is new in it and not its length.
type lineCounter struct {
	mu    sync.Mutex
	known map[string]countedTo // by run/phase
}

type countedTo struct {
	offset int64
	lines  int
}

// mostCounted bounds what a lineCounter remembers; it is forgotten at once and counted again.
const mostCounted = 200

func (c *lineCounter) lines(f *logs.Reader, log string, off int64) (int, error) {
	c.mu.Lock()
	from := c.known[log]
	c.mu.Unlock()
	if from.offset > off {
		from = countedTo{}
	}
	n, err := f.Lines(off, from.offset, from.lines)
	if err != nil || off == 0 {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) > mostCounted {
		c.known = map[string]countedTo{}
	}
	c.known[log] = countedTo{off, n}
	return n, nil
}

var (
	ansiCode  = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)?")
	boxed     = regexp.MustCompile(`(?m)^[│╷╵|] ?`)
	completed = regexp.MustCompile(`(?m): (Creation|Modifications|Destruction|Import) complete`)
)

// errorLines is how much of a tool's error the page quotes.
const errorLines = 40

// errorText is what the tool said when the run failed: from the first "Error:" in the log of its last phase on.
func errorText(m view.RunModel) string {
	if m.Run.State != runs.Failed || len(m.Logs) == 0 {
		return ""
	}
	text := ansiCode.ReplaceAllString(string(m.Logs[len(m.Logs)-1].Text), "")
	text = boxed.ReplaceAllString(text, "")
	i := strings.Index(text, "Error: ")
	if i < 0 {
		return ""
	}
	lines := strings.SplitN(text[i:], "\n", errorLines+1)
	return strings.TrimSpace(strings.Join(lines[:min(errorLines, len(lines))], "\n"))
}

// progress says how far an apply is: "4 of 9". "" when that is not known.
func (s *Server) progress(r runs.Run) string {
	if r.State != runs.Applying || r.Delta == nil || r.Delta.Resources() == 0 {
		return ""
	}
	t, err := s.readTail(r.ID, runs.Applying)
	if err != nil || t.size == 0 || t.size > tailBytes {
		return "" // a long log is not counted, a broken one is reported where it is shown
	}
	n := len(completed.FindAllIndex(ansiCode.ReplaceAll(t.text, nil), -1))
	return strconv.Itoa(n) + " of " + strconv.Itoa(r.Delta.Resources())
}

func (s *Server) postConfirm(c *request) error {
	return s.after(c, s.confirm(c, c.FormValue("fingerprint")), runPath(c), "Confirmed. A worker takes it next.")
}

func runPath(c *request) string { return "/runs/" + c.Param("id") }

func (s *Server) postDiscard(c *request) error {
	_, err := s.eng.Discard(c.Param("id"), c.who.Name, c.FormValue("note"))
	return s.after(c, err, runPath(c), "The run is discarded. Nothing was changed.")
}

func (s *Server) postStop(c *request) error {
	_, err := s.eng.Stop(c.Param("id"), c.who.Name, c.FormValue("note"))
	return s.after(c, err, runPath(c), "The run was asked to stop.")
}

func (s *Server) postPrioritize(c *request) error {
	_, err := s.eng.Prioritize(c.Param("id"), c.who.Name)
	return s.after(c, err, runPath(c), "The run is taken before all others that have not begun.")
}

func (s *Server) postPutBack(c *request) error {
	_, err := s.eng.PutBack(c.Param("id"), c.who.Name)
	return s.after(c, err, runPath(c), "The run waits for its turn again.")
}

func (s *Server) postRetry(c *request) error {
	r, err := s.eng.Retry(c.Param("id"), c.who.Name, c.who.Person, c.who.trigger())
	return s.after(c, err, "/runs/"+r.ID, "This is the new run, of the same commit.")
}

func (s *Server) postPromote(c *request) error {
	r, err := s.eng.Promote(c.Param("id"), c.who.Name, c.who.Person, c.who.trigger())
	return s.after(c, err, "/runs/"+r.ID, "This is the tracked run of the same commit.")
}
