package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// sendNote writes the comment of a stack on a merge request: one, edited in place.
func (e *Engine) sendNote(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	if r.Check != "" {
		body, err := e.noteOfCheck(r)
		if errors.Is(err, runs.ErrNotFound) { // the module was deleted: what was said stays
			return nil
		}
		if err != nil {
			return err
		}
		return e.showNote(ctx, c, r, body)
	}
	run, st, err := e.reported(r)
	if err != nil {
		return err
	}
	changes, _, err := e.Changes(run.ID)
	if err != nil {
		return err
	}
	if mr := run.In(r.MR); mr != nil {
		run.MR = mr
	}
	newer, err := e.newerRun(run, r.MR)
	if err != nil {
		return err
	}
	_, in, err := e.attached("")
	if err != nil {
		return err
	}
	body := comment(run, st, changes, newer, e.runURL, in.Prefix())
	return e.showNote(ctx, c, r, body)
}

// showNote writes a comment, one for each target, unless it stands there already.
func (e *Engine) showNote(ctx context.Context, c *gitlab.Client, r *store.Report, body string) error {
	digest := digestOf(body)
	if digest == r.RemoteText && !r.Unsure {
		return nil
	}
	var err error
	if r.Unsure && r.RemoteID == 0 {
		if r.RemoteID, err = e.findNote(ctx, c, r); err != nil {
			return err
		}
	}
	id, err := e.writeNote(ctx, c, r, body)
	if err != nil {
		return unanswered(r, err)
	}
	r.RemoteID, r.RemoteText, r.Unsure = id, digest, false
	return nil
}

// writeNote edits the comment, or makes it where there is none. One that GitLab doesn't find was deleted by a person, or we
// may not see it for the moment: only when the others can be seen without it, it is made again.
func (e *Engine) writeNote(ctx context.Context, c *gitlab.Client, r *store.Report, body string) (int64, error) {
	if err := e.announce(r); err != nil {
		return 0, err
	}
	if r.RemoteID != 0 {
		note, err := c.UpdateNote(ctx, r.Project, r.MR, r.RemoteID, body)
		if gitlab.KindOf(err) != gitlab.KindNotFound {
			return note.ID, err
		}
		there, err := e.findNote(ctx, c, r)
		if err != nil {
			return 0, err
		}
		r.RemoteID = there
		if err := e.announce(r); err != nil {
			return 0, err
		}
	}
	if r.RemoteID != 0 {
		note, err := c.UpdateNote(ctx, r.Project, r.MR, r.RemoteID, body)
		return note.ID, err
	}
	note, err := c.CreateNote(ctx, r.Project, r.MR, body)
	return note.ID, err
}

// marker is how our comment is found again. It is an HTML comment: people do not see it.
func marker(stack string) string { return ownMarks + ":" + stack + " -->" }

func markerOf(r *store.Report) string {
	if r.Kind == store.ReportReply {
		return replyMarker(r.Target)
	}
	return marker(r.Stack)
}

// findNote looks for our comment after an answer that never came.
func (e *Engine) findNote(ctx context.Context, c *gitlab.Client, r *store.Report) (int64, error) {
	me, err := e.ourUser(ctx, c)
	if err != nil {
		return 0, err
	}
	notes, err := c.Notes(ctx, r.Project, r.MR)
	if err != nil {
		return 0, err
	}
	for _, n := range notes {
		if n.AuthorID == me && !n.System && strings.Contains(n.Body, markerOf(r)) {
			return n.ID, nil
		}
	}
	return 0, nil
}

// ourUser is the id of the token's user, asked of GitLab only when the token's check did not say it.
func (e *Engine) ourUser(ctx context.Context, c *gitlab.Client) (int64, error) {
	_, in, err := e.attached("")
	if err != nil || in.Health.UserID != 0 {
		return in.Health.UserID, err
	}
	me, err := c.CurrentUser(ctx)
	return me.ID, err
}

// What a comment shows at most. GitLab takes a million characters (GOTCHAS 81); nobody reads them.
const (
	maxRows      = 100
	maxDiffLines = 400
	maxCell      = 200
	maxReason    = 4000
)

// newerRun is the newest proposed run of the stack on a merge request when it is not the one the comment speaks of.
func (e *Engine) newerRun(run runs.Run, iid int64) (newer *runs.Run, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		list, _, err := tx.Runs(store.RunFilter{Stack: run.Stack, Project: run.Project, MergeRequest: iid, Types: []runs.Type{runs.Proposed}}, "", 1)
		if len(list) > 0 && list[0].ID > run.ID {
			newer = &list[0]
		}
		return err
	})
	return newer, err
}

// comment renders the comment on a merge request (LOOK.md), with the commands that go on from there; word begins them. It is
// a pure function of its arguments.
func comment(r runs.Run, st runs.Stack, c runs.Changes, newer *runs.Run, url func(run string) string, word string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### Groundcrew · %s: %s\n\n", marker(st.Slug), gitlab.Text(st.Name), headline(r))
	fmt.Fprintf(&b, "%s\n", planLine(r, url(r.ID)))
	if r.State == runs.Failed {
		fmt.Fprintf(&b, "\n%s\n", gitlab.Fence("", clip(cmp.Or(r.Reason, "The run failed."), maxReason)))
	}
	switch {
	case r.State == runs.Failed && r.Delta == nil:
		fmt.Fprintf(&b, "The [log of the run](%s) says more. A new push plans again, and so does the comment %s.\n", url(r.ID), gitlab.Inline("/"+word+" plan "+st.Slug))
		outdated(&b, r, newer, url)
		return b.String()
	case r.State == runs.Failed:
		b.WriteString("This is what was planned. A new push plans again, and asks the policies again.\n")
	}
	careful(&b, c)
	warnings(&b, r)
	rows(&b, c, url(r.ID))
	diff(&b, c)
	if r.Delta != nil && !r.Delta.Empty() && newer == nil && r.State != runs.Failed {
		fmt.Fprintf(&b, "\nAfter merging, %s.\n", afterMerging(st, gitlab.Inline("/"+word+" apply "+st.Slug)))
	}
	outdated(&b, r, newer, url)
	return b.String()
}

// afterMerging says what follows a merge.
func afterMerging(st runs.Stack, command string) string {
	approved := ""
	switch st.Approvals {
	case 0:
	case 1:
		approved = "one person other than the author approved it"
	default:
		approved = fmt.Sprintf("%d people other than the author approved it", st.Approvals)
	}
	switch {
	case st.Deploys() && approved != "":
		return "Groundcrew applies this by itself once " + approved + ", which can be done before"
	case st.Deploys():
		return "Groundcrew applies this by itself"
	case approved != "":
		return "a person confirms the apply in Groundcrew or with the comment " + command + " once " + approved + ", which can be done before"
	default:
		return "a person confirms the apply in Groundcrew or with the comment " + command
	}
}

// outdated says that what the comment shows is not the last word, so that nobody takes an old plan for the present one.
func outdated(b *strings.Builder, r runs.Run, newer *runs.Run, url func(string) string) {
	if newer == nil {
		return
	}
	what := "has a plan on its way"
	if newer.State.Terminal() {
		what = "was not planned (" + string(newer.State) + ")"
		if newer.Reason != "" {
			what = "was not planned (" + string(newer.State) + ": " + gitlab.Text(clip(newer.Reason, maxCell)) + ")"
		}
	}
	fmt.Fprintf(b, "\n**This is not the newest commit.** Commit %s %s ([run](%s)); all of the above speaks of %s.\n", newer.Commit.Short(), what, url(newer.ID), r.Commit.Short())
}

// careful names what a plan takes away, before everything else.
func careful(b *strings.Builder, c runs.Changes) {
	var destroyed, replaced []string
	for _, r := range c.Resources {
		switch r.Action {
		case runs.ActDestroy:
			destroyed = append(destroyed, r.Address)
		case runs.ActReplace:
			replaced = append(replaced, r.Address)
		}
	}
	var parts []string
	if len(destroyed) > 0 {
		parts = append(parts, "destroys "+some(destroyed))
	}
	if len(replaced) > 0 {
		parts = append(parts, "replaces "+some(replaced))
	}
	if len(parts) > 0 {
		fmt.Fprintf(b, "\n**Careful:** this %s.\n", strings.Join(parts, " and "))
	}
}

// some names the first few and counts the rest.
func some(addresses []string) string {
	const few = 3
	var named []string
	for _, a := range addresses[:min(few, len(addresses))] {
		named = append(named, gitlab.Inline(cut(a)))
	}
	if more := len(addresses) - few; more > 0 {
		named = append(named, fmt.Sprintf("%d more", more))
	}
	if len(named) == 1 {
		return named[0]
	}
	return strings.Join(named[:len(named)-1], ", ") + " and " + named[len(named)-1]
}

func warnings(b *strings.Builder, r runs.Run) {
	const most = 10
	if len(r.Warnings) == 0 {
		return
	}
	b.WriteString("\nWarnings:\n\n")
	for _, w := range r.Warnings[:min(most, len(r.Warnings))] {
		fmt.Fprintf(b, "- %s\n", gitlab.Text(cut(w)))
	}
	if more := len(r.Warnings) - most; more > 0 {
		fmt.Fprintf(b, "- %d more\n", more)
	}
}

func headline(r runs.Run) string {
	switch {
	case r.State == runs.Failed && r.Delta != nil:
		return "a policy forbids the plan"
	case r.State == runs.Failed:
		return "the plan failed"
	case r.Delta == nil:
		return "finished"
	default:
		return strings.ToLower(r.Delta.String()[:1]) + r.Delta.String()[1:]
	}
}

// planLine says what was planned, with what, and how long it took.
func planLine(r runs.Run, url string) string {
	what := "the head of " + gitlab.Inline(r.Branch)
	if r.Basis != nil && r.Basis.Kind == runs.PlanMergeResult && r.MR != nil {
		what = "the merge of " + gitlab.Inline(r.MR.SourceBranch) + " into " + gitlab.Inline(r.MR.TargetBranch)
	}
	parts := []string{"Planned on " + what + " at " + r.Commit.Short() + behind(r)}
	if r.ToolVersion != "" {
		parts = append(parts, toolTitle(r.Tool)+" "+r.ToolVersion)
	}
	parts = append(parts, "[run]("+url+")")
	if !r.EndedAt.IsZero() {
		parts = append(parts, r.EndedAt.Sub(r.CreatedAt).Round(100*time.Millisecond).String())
	}
	return strings.Join(parts, " · ")
}

// behind says that the target branch has moved on since the branch left it.
func behind(r runs.Run) string {
	if r.Basis == nil || r.Basis.Behind == 0 || r.MR == nil {
		return ""
	}
	return fmt.Sprintf(" (%s is %d %s ahead)", gitlab.Inline(r.MR.TargetBranch), r.Basis.Behind, plural(r.Basis.Behind, "commit"))
}

func toolTitle(tool string) string {
	switch tool {
	case runs.OpenTofu:
		return "OpenTofu"
	case runs.Terraform:
		return "Terraform"
	default:
		return tool
	}
}

// rows writes the table of what would happen to each resource, what takes something away first.
func rows(b *strings.Builder, c runs.Changes, url string) {
	if len(c.Resources)+len(c.Outputs) == 0 {
		return
	}
	list := slices.Clone(c.Resources)
	slices.SortStableFunc(list, func(a, b runs.ResourceChange) int { return cmp.Compare(gravity(a.Action), gravity(b.Action)) })
	b.WriteString("\n| | Resource | What |\n|---|---|---|\n")
	shown := min(len(list), maxRows)
	for _, r := range list[:shown] {
		fmt.Fprintf(b, "| %s | %s | %s |\n", r.Action.Sign(), gitlab.Inline(cut(r.Address)), what(r))
	}
	outputs := min(len(c.Outputs), maxRows-shown)
	for _, o := range c.Outputs[:outputs] {
		fmt.Fprintf(b, "| %s | %s | %s |\n", o.Action.Sign(), gitlab.Inline(cut(o.Name)), output(o))
	}
	rest(b, list[shown:], len(c.Outputs)-outputs, url)
}

// gravity orders actions for people with little time.
func gravity(a runs.Action) int {
	switch a {
	case runs.ActDestroy:
		return 0
	case runs.ActReplace:
		return 1
	case runs.ActForget:
		return 2
	default:
		return 3
	}
}

// rest sums up what has no row of its own, by action and type.
func rest(b *strings.Builder, list []runs.ResourceChange, outputs int, url string) {
	if len(list)+outputs == 0 {
		return
	}
	const most = 10
	count := map[string]int{}
	for _, r := range list {
		count[string(r.Action)+" "+gitlab.Inline(cut(r.Type))]++
	}
	groups := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	fmt.Fprintf(b, "\nNot listed here are %s more, which the [run's page](%s) shows:\n\n", thousands(len(list)+outputs), url)
	for _, g := range groups[:min(most, len(groups))] {
		fmt.Fprintf(b, "- %s × %s\n", thousands(count[g]), g)
	}
	if len(groups) > most {
		fmt.Fprintf(b, "- and %d other kinds\n", len(groups)-most)
	}
	if outputs > 0 {
		fmt.Fprintf(b, "- %s %s\n", thousands(outputs), plural(outputs, "output"))
	}
}

// thousands writes a number as people read it: 19,900.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// output says what happens to an output's value.
func output(o runs.OutputChange) string {
	switch {
	case o.Sensitive:
		return "output (sensitive)"
	case o.Action == runs.ActDestroy:
		return "output, removed"
	case o.Unknown:
		return "output (known after apply)"
	case o.Before == "":
		return "output " + gitlab.Inline(cut(o.After))
	default:
		return "output " + gitlab.Inline(cut(o.Before)) + " → " + gitlab.Inline(cut(o.After))
	}
}

// what says in a few words what happens to a resource.
func what(r runs.ResourceChange) string {
	switch r.Action {
	case runs.ActChange:
		var names []string
		for _, a := range r.Attributes {
			names = append(names, a.Path)
		}
		return gitlab.Inline(cut(strings.Join(names, ", ")))
	case runs.ActReplace:
		return "replace" + forced(r)
	case runs.ActMove:
		return "move from " + gitlab.Inline(cut(r.Previous))
	case runs.ActImport:
		if r.ImportID != "" {
			return "import " + gitlab.Inline(cut(r.ImportID))
		}
		return "import"
	case runs.ActForget:
		return "forget: it stays, but is not managed any more"
	default:
		return string(r.Action)
	}
}

func forced(r runs.ResourceChange) string {
	var names []string
	for _, a := range r.Attributes {
		if a.Replaces {
			names = append(names, a.Path)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", because of " + gitlab.Inline(cut(strings.Join(names, ", ")))
}

// cut shortens to what fits a cell.
func cut(s string) string { return clip(s, maxCell) }

// clip shortens by characters.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// diff writes the folded attribute diff.
func diff(b *strings.Builder, c runs.Changes) {
	var lines []string
	for _, r := range c.Resources {
		if len(r.Attributes) == 0 {
			continue
		}
		lines = append(lines, diffSign(r.Action)+" "+oneLine(r.Address))
		for _, a := range r.Attributes {
			lines = append(lines, attributeLines(a)...)
		}
		if len(lines) > maxDiffLines {
			lines = append(lines[:maxDiffLines], "  … more on the run's page")
			break
		}
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n<details><summary>Show the diff</summary>\n\n%s\n</details>\n", gitlab.Fence("diff", strings.Join(lines, "\n")))
}

// diffSign is the sign GitLab colours in a diff.
func diffSign(a runs.Action) string {
	switch a {
	case runs.ActAdd, runs.ActImport:
		return "+"
	case runs.ActDestroy, runs.ActForget:
		return "-"
	default:
		return "!"
	}
}

// oneLine keeps a text on its line of the diff.
func oneLine(s string) string { return strings.ReplaceAll(cut(s), "\n", "\\n") }

func attributeLines(a runs.AttributeChange) []string {
	one := oneLine
	a.Path = one(a.Path)
	switch {
	case a.Sensitive:
		return []string{"!     " + a.Path + " = (sensitive)"}
	case a.Unknown && a.Before == "":
		return []string{"+     " + a.Path + " = (known after apply)"}
	case a.Unknown:
		return []string{"-     " + a.Path + " = " + one(a.Before), "+     " + a.Path + " = (known after apply)"}
	}
	var out []string
	if a.Before != "" {
		out = append(out, "-     "+a.Path+" = "+one(a.Before))
	}
	if a.After != "" {
		out = append(out, "+     "+a.Path+" = "+one(a.After))
	}
	return out
}
