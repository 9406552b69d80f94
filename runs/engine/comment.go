package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// sendNote writes the comment of a stack on a merge request: one, edited in place.
func (e *Engine) sendNote(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	run, st, err := e.reported(r)
	if err != nil {
		return err
	}
	changes, _, err := e.Changes(run.ID)
	if err != nil {
		return err
	}
	body := comment(run, st, changes, e.runURL(run.ID))
	sum := sha256.Sum256([]byte(body))
	digest := hex.EncodeToString(sum[:8])
	if digest == r.RemoteText && !r.Unsure {
		return nil
	}
	if r.Unsure && r.RemoteID == 0 {
		if r.RemoteID, err = e.findNote(ctx, c, r); err != nil {
			return err
		}
	}
	if err := e.announce(r); err != nil {
		return err
	}
	var note gitlab.Note
	if r.RemoteID != 0 {
		note, err = c.UpdateNote(ctx, r.Project, r.MR, r.RemoteID, body)
		if gitlab.KindOf(err) == "not_found" {
			r.RemoteID = 0 // a person deleted it: it is made again
		}
	}
	if r.RemoteID == 0 {
		note, err = c.CreateNote(ctx, r.Project, r.MR, body)
	}
	if err != nil {
		return unanswered(r, err)
	}
	r.RemoteID, r.RemoteText, r.Unsure = note.ID, digest, false
	return nil
}

// marker is how our comment is found again. It is an HTML comment: people do not see it.
func marker(stack string) string { return "<!-- groundcrew:" + stack + " -->" }

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
		if n.AuthorID == me && !n.System && strings.Contains(n.Body, marker(r.Stack)) {
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
)

// comment renders the comment on a merge request (LOOK.md). It is a pure function of its arguments.
func comment(r runs.Run, st runs.Stack, c runs.Changes, url string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### Groundcrew · %s: %s\n\n", marker(st.Slug), gitlab.Text(st.Name), headline(r))
	fmt.Fprintf(&b, "%s\n", planLine(r, url))
	if r.State == runs.Failed {
		fmt.Fprintf(&b, "\n%s\n\nThe [log of the run](%s) says more. A new push plans again.\n", gitlab.Fence("", cmp.Or(r.Reason, "The run failed.")), url)
		return b.String()
	}
	rows(&b, c, url)
	diff(&b, c)
	if r.Delta != nil && !r.Delta.Empty() {
		b.WriteString("\nAfter merging, ")
		if st.Autodeploy {
			b.WriteString("Groundcrew applies this by itself.\n")
		} else {
			b.WriteString("a person confirms the apply in Groundcrew.\n")
		}
	}
	return b.String()
}

func headline(r runs.Run) string {
	switch {
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
	parts := []string{"Planned on " + what + " at " + r.Commit.Short()}
	if r.ToolVersion != "" {
		parts = append(parts, toolTitle(r.Tool)+" "+r.ToolVersion)
	}
	parts = append(parts, "[run]("+url+")")
	if !r.EndedAt.IsZero() {
		parts = append(parts, r.EndedAt.Sub(r.CreatedAt).Round(100*time.Millisecond).String())
	}
	return strings.Join(parts, " · ")
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

// rows writes the table of what would happen to each resource.
func rows(b *strings.Builder, c runs.Changes, url string) {
	if len(c.Resources)+len(c.Outputs) == 0 {
		return
	}
	b.WriteString("\n| | Resource | What |\n|---|---|---|\n")
	n := 0
	for _, r := range c.Resources {
		if n++; n > maxRows {
			break
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", r.Action.Sign(), gitlab.Inline(cut(r.Address)), what(r))
	}
	for _, o := range c.Outputs {
		if n++; n > maxRows {
			break
		}
		fmt.Fprintf(b, "| %s | %s | output |\n", o.Action.Sign(), gitlab.Inline(cut(o.Name)))
	}
	if all := len(c.Resources) + len(c.Outputs); all > maxRows {
		fmt.Fprintf(b, "\n%d more are on the [run's page](%s).\n", all-maxRows, url)
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
		return "import"
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

// cut shortens by characters.
func cut(s string) string {
	if r := []rune(s); len(r) > maxCell {
		return string(r[:maxCell-1]) + "…"
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
		lines = append(lines, diffSign(r.Action)+" "+r.Address)
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
	fmt.Fprintf(b, "\n<details><summary>Show the diff</summary>\n\n%s\n\n</details>\n", gitlab.Fence("diff", strings.Join(lines, "\n")))
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

func attributeLines(a runs.AttributeChange) []string {
	one := func(s string) string { return strings.ReplaceAll(cut(s), "\n", "\\n") }
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
