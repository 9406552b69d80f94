package engine

import (
	"errors"
	"fmt"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// moduleSubject renders the status of a module at a commit, or of all modules there, from the present.
func (e *Engine) moduleSubject(tx *store.Tx, r *store.Report, s *subject) error {
	c, err := tx.Check(r.Check)
	if errors.Is(err, runs.ErrNotFound) { // the module was deleted since
		s.run = runs.Run{Project: r.Project, Commit: runs.Commit{SHA: r.SHA}}
		s.want = post{runs.StatusCanceled, "The module was deleted"}
		return nil
	}
	if err != nil {
		return err
	}
	state, text := runs.CheckStatus(c)
	if r.Sum == runs.GroupModules {
		list, err := tx.ChecksAt(r.Project, r.SHA)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			state, text, c = runs.SummarizeChecks(list)
		}
	}
	s.run = runs.Run{Project: r.Project, Commit: c.Commit, Branch: c.Branch, MR: c.MR}
	s.want, s.between, s.url = post{state, text}, text, e.checkURL(c)
	return nil
}

func (e *Engine) checkURL(c runs.Check) string {
	return e.o.ExternalURL + "/modules/" + c.Module + "/checks/" + c.ID
}

// noteOfCheck renders the comment of a module on a merge request.
func (e *Engine) noteOfCheck(r *store.Report) (string, error) {
	var c runs.Check
	var m runs.Module
	results := map[string][]runs.TestResult{}
	err := e.st.View(func(tx *store.Tx) (err error) {
		if c, err = tx.Check(r.Check); err != nil {
			return err
		}
		if m, err = tx.Module(c.Module); err != nil {
			return err
		}
		for _, k := range c.Cases {
			if k.Run == "" {
				continue
			}
			run, err := tx.Run(k.Run)
			if err != nil {
				return err
			}
			if run.Test != nil {
				results[k.ID] = run.Test.Results
			}
		}
		return nil
	})
	return moduleComment(m, c, results, e.checkURL(c), e.runURL), err
}

// moduleComment is the comment on a merge request: what the tests came to, and what is different for those who use the
// module. It is a pure function of its arguments.
func moduleComment(m runs.Module, c runs.Check, results map[string][]runs.TestResult, url string, runURL func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### Groundcrew · module %s: %s\n\n", marker(m.Scope()), gitlab.Text(m.Name), gitlab.Text(checkHeadline(c)))
	fmt.Fprintf(&b, "Commit %s · [check](%s)\n", c.Commit.Short(), url)
	if c.State == runs.CheckFailed && len(c.Cases) == 0 || c.State == runs.CheckRefused {
		fmt.Fprintf(&b, "\n%s\n", gitlab.Fence("", clip(c.Reason, maxReason)))
	}
	caseRows(&b, c, results, runURL)
	changeRows(&b, c)
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "\n%s\n", gitlab.Text(n))
	}
	return b.String()
}

func checkHeadline(c runs.Check) string {
	parts := []string{"check " + string(c.State)}
	if len(c.Cases) > 0 {
		failed := 0
		for _, k := range c.Cases {
			if k.State == runs.CaseFailed {
				failed++
			}
		}
		parts = []string{fmt.Sprintf("%d of %d tests failed", failed, len(c.Cases))}
		if failed == 0 && c.State == runs.CheckPassed {
			parts = []string{fmt.Sprintf("%d %s passed", len(c.Cases), plural(len(c.Cases), "test"))}
		}
	} else if c.State == runs.CheckPassed {
		parts = []string{"no tests"}
	}
	if n := len(c.Breaking()); n > 0 {
		parts = append(parts, fmt.Sprintf("%d breaking %s since %s", n, plural(n, "change"), c.Against))
	}
	return strings.Join(parts, ", ")
}

func caseRows(b *strings.Builder, c runs.Check, results map[string][]runs.TestResult, runURL func(string) string) {
	if len(c.Cases) == 0 {
		return
	}
	b.WriteString("\n| Test | Result | |\n|---|---|---|\n")
	for _, k := range c.Cases {
		name := gitlab.Text(k.Name)
		if k.Run != "" {
			name = "[" + name + "](" + runURL(k.Run) + ")"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, caseWord(k.State), gitlab.Text(runs.Shorten(k.Reason, maxCell)))
	}
	for _, k := range c.Cases {
		resultRows(b, k, results[k.ID])
	}
}

func caseWord(s runs.CaseState) string {
	switch s {
	case runs.CasePassed:
		return "✓ passed"
	case runs.CaseFailed:
		return "✗ **failed**"
	case runs.CaseSkipped:
		return "– skipped"
	default:
		return string(s)
	}
}

// resultRows list the run blocks of test files that did not pass.
func resultRows(b *strings.Builder, k runs.CheckCase, results []runs.TestResult) {
	n := 0
	for _, t := range results {
		if t.Status == "pass" || n >= maxRows {
			continue
		}
		if n == 0 {
			fmt.Fprintf(b, "\n**%s**\n\n| File | Run | Result | |\n|---|---|---|---|\n", gitlab.Text(k.Name))
		}
		n++
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", gitlab.Text(t.File), gitlab.Text(t.Run), gitlab.Text(t.Status), gitlab.Text(runs.Shorten(t.Message, maxCell)))
	}
}

func changeRows(b *strings.Builder, c runs.Check) {
	switch {
	case c.Against == "":
		return
	case len(c.Changes) == 0:
		fmt.Fprintf(b, "\nInputs, outputs and providers are those of version %s.\n", gitlab.Text(c.Against))
		return
	case len(c.Breaking()) > 0:
		fmt.Fprintf(b, "\n**Breaking:** code that uses version %s may stop working.\n", gitlab.Text(c.Against))
	}
	fmt.Fprintf(b, "\n| Since %s | | What |\n|---|---|---|\n", gitlab.Text(c.Against))
	for _, ch := range c.Changes[:min(maxRows, len(c.Changes))] {
		word := "compatible"
		if ch.Breaking {
			word = "**breaking**"
		}
		fmt.Fprintf(b, "| %s %s | %s | %s |\n", ch.What, gitlab.Inline(cut(ch.Name)), word, gitlab.Text(runs.Shorten(ch.How, maxCell)))
	}
	if more := len(c.Changes) - maxRows; more > 0 {
		fmt.Fprintf(b, "\n%d more are in the check.\n", more)
	}
}
