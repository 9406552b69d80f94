package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// The states of a thread as we last left it. What people do with it afterwards is theirs.
const (
	threadOpen     = "open"
	threadResolved = "resolved"
)

// A thread is what the thread of a stack on a merge request has to be.
type thread struct {
	body  string
	takes string // digest of what the plan destroys and replaces; "" is nothing: then there is nothing to ask
}

// sendThread keeps the thread about what a plan takes away: opened when it does, edited in place, opened again when it
// takes other things, resolved by us when it takes nothing any more. A person who resolved it for the same things is
// right, and so is one who reopened what we resolved.
func (e *Engine) sendThread(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	want, err := e.threadOf(r)
	if err != nil {
		return err
	}
	if r.Discussion == "" && r.Unsure {
		if err := e.findThread(ctx, c, r); err != nil {
			return err
		}
	}
	if r.Discussion == "" {
		return e.openThread(ctx, c, r, want)
	}
	digest := digestOf(want.body)
	if digest == r.RemoteText && want.takes == r.Takes && (r.RemoteState == threadOpen) == (want.takes != "") {
		return nil
	}
	have, err := c.Discussion(ctx, r.Project, r.MR, r.Discussion)
	if gitlab.KindOf(err) == gitlab.KindNotFound || err == nil && (len(have.Notes) == 0 || have.Notes[0].ID != r.RemoteID) {
		r.Discussion, r.RemoteID, r.RemoteState, r.RemoteText, r.Takes = "", 0, "", "", "" // a person deleted it
		return e.openThread(ctx, c, r, want)
	}
	if err != nil {
		return err
	}
	if digest != r.RemoteText {
		if err := c.UpdateDiscussionNote(ctx, r.Project, r.MR, r.Discussion, r.RemoteID, want.body); err != nil {
			return err
		}
		r.RemoteText = digest
	}
	return turnThread(ctx, c, r, want, have.Resolved)
}

// turnThread resolves the thread or opens it again, where that is ours to do.
func turnThread(ctx context.Context, c *gitlab.Client, r *store.Report, want thread, resolved bool) error {
	state := threadOpen
	switch {
	case want.takes == "" && r.RemoteState == threadOpen:
		state = threadResolved
	case want.takes == "", want.takes == r.Takes:
		return nil // what people did with it holds
	}
	if should := state == threadResolved; should != resolved {
		if err := c.ResolveDiscussion(ctx, r.Project, r.MR, r.Discussion, should); err != nil {
			return err
		}
	}
	r.RemoteState, r.Takes = state, want.takes
	return nil
}

// openThread opens the thread, if there is something to ask.
func (e *Engine) openThread(ctx context.Context, c *gitlab.Client, r *store.Report, want thread) error {
	if want.takes == "" {
		r.Unsure = false
		return nil
	}
	r.Takes = want.takes
	if err := e.announce(r); err != nil {
		return err
	}
	made, err := c.CreateDiscussion(ctx, r.Project, r.MR, want.body)
	if err != nil {
		return unanswered(r, err)
	}
	r.Discussion, r.RemoteID, r.RemoteState, r.Unsure = made.ID, made.Notes[0].ID, threadOpen, false
	r.RemoteText = digestOf(want.body)
	return nil
}

// findThread looks for our thread after an answer that never came. What it says is not known, so that it is written again.
func (e *Engine) findThread(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	me, err := e.ourUser(ctx, c)
	if err != nil {
		return err
	}
	list, err := c.Discussions(ctx, r.Project, r.MR)
	if err != nil {
		return err
	}
	for _, d := range list {
		if first := d.Notes[0]; first.AuthorID == me && strings.Contains(first.Body, threadMarker(r.Stack)) {
			r.Discussion, r.RemoteID, r.RemoteState, r.RemoteText = d.ID, first.ID, threadOpen, ""
			break
		}
	}
	r.Unsure = false
	return nil
}

// threadMarker is how our thread is found again.
func threadMarker(stack string) string { return "<!-- groundcrew-thread:" + stack + " -->" }

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// threadOf renders the thread from the present.
func (e *Engine) threadOf(r *store.Report) (thread, error) {
	run, st, err := e.reported(r)
	if err != nil {
		return thread{}, err
	}
	wanted, deleted := false, false
	err = e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		wanted = st.WantsThreads(in.DestroyThreads)
		_, err = tx.Stack(r.Stack)
		deleted = errors.Is(err, runs.ErrNotFound)
		return nil
	})
	if err != nil {
		return thread{}, err
	}
	link := fmt.Sprintf("the plan of commit %s ([run](%s))", run.Commit.Short(), e.runURL(run.ID))
	switch {
	case deleted:
		return quietThread(r.Stack, st, "The stack was deleted."), nil
	case r.Gone:
		return quietThread(r.Stack, st, "The newest commit of the merge request does not concern this stack any more."), nil
	case !wanted:
		return quietThread(r.Stack, st, "Threads for destroys were switched off."), nil
	}
	changes, _, err := e.Changes(run.ID)
	if err != nil {
		return thread{}, err
	}
	return askingThread(r.Stack, st, run, changes, link), nil
}

// quietThread is the thread when there is nothing to ask, with the reason in a sentence.
func quietThread(slug string, st runs.Stack, why string) thread {
	return thread{body: fmt.Sprintf("%s\n**Groundcrew · %s:** nothing is destroyed or replaced any more.\n\n%s\n", threadMarker(slug), gitlab.Text(st.Name), why)}
}

// askingThread is the thread about what a plan destroys and replaces; a pure function of its arguments. A tool that does not
// say which resources it takes away is taken by its count.
func askingThread(slug string, st runs.Stack, run runs.Run, c runs.Changes, link string) thread {
	var rows []runs.ResourceChange
	destroyed, replaced := 0, 0
	takes := sha256.New()
	for _, rc := range c.Resources {
		switch rc.Action {
		case runs.ActDestroy:
			destroyed++
		case runs.ActReplace:
			replaced++
		default:
			continue
		}
		rows = append(rows, rc)
		fmt.Fprintf(takes, "%s\x00%s\x00", rc.Action, rc.Address)
	}
	if len(rows) == 0 {
		if run.Delta == nil || run.Delta.Destroy == 0 {
			return quietThread(slug, st, "So says "+link+".")
		}
		destroyed = run.Delta.Destroy
		fmt.Fprintf(takes, "%d", destroyed)
	}
	var parts []string
	if destroyed > 0 {
		parts = append(parts, fmt.Sprintf("destroys %s %s", thousands(destroyed), plural(destroyed, "resource")))
	}
	if replaced > 0 {
		parts = append(parts, fmt.Sprintf("replaces %s %s", thousands(replaced), plural(replaced, "resource")))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n**Groundcrew · %s:** this merge request %s.\n", threadMarker(slug), gitlab.Text(st.Name), strings.Join(parts, " and "))
	if len(rows) > 0 {
		b.WriteString("\n| | Resource | What |\n|---|---|---|\n")
	}
	for _, rc := range rows[:min(len(rows), maxRows)] {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", rc.Action.Sign(), gitlab.Inline(cut(rc.Address)), what(rc))
	}
	if more := len(rows) - maxRows; more > 0 {
		fmt.Fprintf(&b, "\nAnd %s more, which the run's page shows.\n", thousands(more))
	}
	fmt.Fprintf(&b, "\nResolve this thread when that is meant. It is opened again when a later commit destroys or replaces other things, and resolved by itself when none does any more. So says %s.\n", link)
	return thread{body: b.String(), takes: hex.EncodeToString(takes.Sum(nil)[:8])}
}
