package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
)

// A remoteRun is what the commands use of a run of the API.
type remoteRun struct {
	ID           string      `json:"id"`
	Stack        string      `json:"stack"`
	Type         runs.Type   `json:"type"`
	State        runs.State  `json:"state"`
	Reason       string      `json:"reason"`
	TriggeredBy  string      `json:"triggered_by"`
	Commit       string      `json:"commit"`
	Title        string      `json:"commit_title"`
	Branch       string      `json:"branch"`
	MergeRequest *int64      `json:"merge_request"`
	Delta        *runs.Delta `json:"delta"`
	Warnings     []string    `json:"warnings"`
	Fingerprint  string      `json:"fingerprint"`
	Approvals    *struct {
		Text string `json:"text"`
	} `json:"approvals"`
	CreatedAt time.Time `json:"created_at"`
	URL       string    `json:"url"`
}

// runID is the form of a run's id.
var runID = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

// findRun finds the run a person names: by its id, or by a stack's slug the newest of its runs that is in one of
// the states, none meaning any.
func (c *client) findRun(ctx context.Context, name string, states ...runs.State) (json.RawMessage, remoteRun, error) {
	var raw json.RawMessage
	var r remoteRun
	if runID.MatchString(name) {
		if err := c.call(ctx, http.MethodGet, "/runs/"+name, nil, &raw); err != nil {
			return nil, r, err
		}
		return raw, r, json.Unmarshal(raw, &r)
	}
	query := url.Values{}
	for _, s := range states {
		query.Add("state", string(s))
	}
	found, err := c.list(ctx, "/stacks/"+url.PathEscape(name)+"/runs", query, 1)
	if err != nil {
		return nil, r, err
	}
	if len(found) == 0 {
		what := "no run"
		if len(states) > 0 {
			what = "no run that is " + join(states)
		}
		return nil, r, &apiError{http.StatusNotFound, fmt.Sprintf("the stack %s has %s", name, what)}
	}
	return found[0], r, json.Unmarshal(found[0], &r)
}

func join(states []runs.State) string {
	var words []string
	for _, s := range states {
		words = append(words, string(s))
	}
	return strings.Join(words, " or ")
}

// A follower shows a run while it goes on.
type follower struct {
	run    string
	phase  runs.State // whose log is shown; "" = all
	out    *plainWriter
	notes  io.Writer // states and reasons
	json   bool      // events as JSON lines instead
	now    runs.State
	reason string
}

// see handles one event; it ends the stream when a person is waited for, and nothing else can come.
func (f *follower) see(e event) error {
	if f.json {
		if err := f.asJSON(e); err != nil {
			return err
		}
	}
	switch e.kind {
	case "state":
		return f.state(e.data)
	case "log":
		return f.log(e.data)
	}
	return nil
}

func (f *follower) asJSON(e event) error {
	line, err := json.Marshal(map[string]any{"event": e.kind, "data": json.RawMessage(e.data)})
	if err == nil {
		_, err = fmt.Fprintf(f.out.to, "%s\n", line)
	}
	return err
}

func (f *follower) state(data []byte) error {
	var s struct {
		State  runs.State `json:"state"`
		By     string     `json:"by"`
		Note   string     `json:"note"`
		Reason string     `json:"reason"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	f.now, f.reason = s.State, s.Reason
	if f.json {
		return nil
	}
	if err := f.out.reset(); err != nil {
		return err
	}
	said := strings.TrimSpace(mark(s.State) + " " + string(s.State))
	if s.By != "" {
		said += " by " + plain(s.By)
	}
	if text := firstOf(s.Note, s.Reason); text != "" {
		said += ": " + plain(text)
	}
	_, err := fmt.Fprintln(f.notes, said)
	return err
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func (f *follower) log(data []byte) error {
	var l struct {
		Phase runs.State `json:"phase"`
		Text  string     `json:"text"`
	}
	if err := json.Unmarshal(data, &l); err != nil || f.json {
		return err
	}
	if f.phase != "" && f.phase != l.Phase {
		return nil
	}
	_, err := io.WriteString(f.out, l.Text)
	return err
}

// follow shows a run from its beginning until it has ended or waits for a person, and says how it stands then.
func (c *client) follow(ctx context.Context, f *follower) error {
	err := c.events(ctx, f.run, func(e event) error {
		if err := f.see(e); err != nil {
			return err
		}
		// What stands in the stream may be history: only the present state says whether a person is waited for.
		if f.now != runs.Unconfirmed || e.kind != "state" {
			return nil
		}
		_, r, err := c.findRun(ctx, f.run)
		if err == nil && r.State == runs.Unconfirmed {
			return errDone
		}
		return err
	})
	if err := errors.Join(err, f.out.reset()); err != nil {
		return err
	}
	return ended(f.run, f.now, f.reason)
}

// ended says how a run stands as the exit code that scripts ask for: nil for finished.
func ended(id string, s runs.State, reason string) error {
	text := fmt.Sprintf("the run %s is %s", id, s)
	if reason != "" {
		text += ": " + plain(reason)
	}
	switch {
	case s == runs.Finished:
		return nil
	case s == runs.Unconfirmed:
		return exitError{exitWaits, fmt.Sprintf("the run waits for a yes: groundcrew confirm %s", id)}
	case s == runs.Failed:
		return exitError{exitRunFailed, text}
	case s.Terminal():
		return exitError{exitRunEnded, text}
	default:
		return exitError{exitFailed, fmt.Sprintf("the run %s is %s, and its stream has ended", id, s)}
	}
}

// mark is the shape of a state, as pages show it.
func mark(s runs.State) string {
	switch {
	case s == runs.Queued:
		return "○"
	case s == runs.Unconfirmed:
		return "◆"
	case s == runs.Finished:
		return "●"
	case s == runs.Failed:
		return "✕"
	case s.Terminal():
		return "–"
	default:
		return "◐"
	}
}

// logs prints what has been written of a run's logs until now.
func (c *client) logs(ctx context.Context, id string, phases []runs.State, out io.Writer) error {
	found := false
	for _, phase := range phases {
		req, err := c.request(ctx, http.MethodGet, "/runs/"+id+"/logs/"+string(phase), nil)
		if err != nil {
			return err
		}
		resp, err := c.send(req)
		var refused *apiError
		if errors.As(err, &refused) && refused.status == http.StatusNotFound {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		_, err = io.Copy(out, resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
	}
	if !found && len(phases) == 1 {
		return &apiError{http.StatusNotFound, fmt.Sprintf("the run %s has no log of the phase %s", id, phases[0])}
	}
	return nil
}

// logPhases are the states a run keeps a log of, in their order.
var logPhases = []runs.State{runs.Preparing, runs.Initializing, runs.Planning, runs.Applying, runs.Performing, runs.Destroying}

func knownPhase(s string) error {
	if !slices.Contains(logPhases, runs.State(s)) {
		return usageError{exitUsage, fmt.Sprintf("there is no phase %q. Phases: %s", s, join(logPhases))}
	}
	return nil
}

// printChanges writes a plan as lines of text.
func printChanges(out io.Writer, c runs.Changes) {
	if len(c.Resources)+len(c.Outputs) == 0 {
		fmt.Fprintln(out, "No changes.")
	}
	for _, r := range c.Resources {
		line := fmt.Sprintf("%s %s  %s", r.Action.Sign(), plain(r.Address), r.Action)
		if r.Reason != "" {
			line += " (" + plain(r.Reason) + ")"
		}
		fmt.Fprintln(out, line)
		for _, a := range r.Attributes {
			fmt.Fprintf(out, "    %s: %s\n", plain(a.Path), beforeAfter(a.Before, a.After, a.Unknown, a.Sensitive))
		}
	}
	for _, o := range c.Outputs {
		fmt.Fprintf(out, "%s output %s: %s\n", o.Action.Sign(), plain(o.Name), beforeAfter(o.Before, o.After, o.Unknown, o.Sensitive))
	}
	for _, r := range c.Drift {
		fmt.Fprintf(out, "! %s changed outside of the tool\n", plain(r.Address))
	}
}

func beforeAfter(before, after string, unknown, sensitive bool) string {
	switch {
	case sensitive:
		return "(sensitive)"
	case unknown:
		after = "(known after apply)"
	}
	if before == "" {
		return plain(after)
	}
	return plain(before) + " → " + plain(firstOf(after, "null"))
}
