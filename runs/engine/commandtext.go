package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// What an answer lists at most, and how many runs of a merge request are looked at for it.
const (
	maxListed  = 20
	runsLooked = 2000
)

// shown are the plans that the merge request shows, by stack: the newest proposed run of each, finished where there is one.
func (o *order) shown(tx *store.Tx) (map[string]runs.Run, error) {
	list, _, err := tx.Runs(store.RunFilter{Project: o.id, MergeRequest: o.iid, Types: []runs.Type{runs.Proposed}, AtMost: runsLooked}, "", runsLooked)
	out := map[string]runs.Run{}
	for _, r := range list { // newest first
		if old, known := out[r.Stack]; !known || old.State != runs.Finished && r.State == runs.Finished {
			out[r.Stack] = r
		}
	}
	return out, err
}

// resolve takes digits that are a stack's name for that.
func (o *order) resolve(tx *store.Tx) error {
	if o.Stack != "" || o.Name == "" {
		return nil
	}
	all, err := tx.StacksOf(o.id)
	if slices.ContainsFunc(all, func(st runs.Stack) bool { return st.Slug == o.Name }) {
		o.Stack, o.Name = o.Name, ""
	}
	return err
}

// stacks are what a command is about: the stack it names, or those that have a run in the merge request. A stack of another
// project is not there.
func (o *order) stacks(tx *store.Tx, shown map[string]runs.Run) ([]runs.Stack, error) {
	all, err := tx.StacksOf(o.id)
	if err != nil {
		return nil, err
	}
	if o.Stack == "" {
		return keepIf(all, func(st runs.Stack) bool { return shown[st.Slug].ID != "" }), nil
	}
	named := keepIf(all, func(st runs.Stack) bool { return strings.EqualFold(st.Slug, o.Stack) })
	if len(named) == 0 {
		return nil, runs.NotFoundf("There is no stack “%s” of %s.", o.Stack, o.project)
	}
	return named, nil
}

// concerned are the stacks and modules that a plan is about: the one that is named, or those that a push of these files would
// concern, with those that push policies add; all of them where the files are not known (nil).
func (o *order) concerned(tx *store.Tx, mr store.MergeRequest, files []string) ([]runs.Stack, []runs.Module, error) {
	modules, err := tx.ModulesOf(o.id)
	if err != nil {
		return nil, nil, err
	}
	if o.Stack != "" {
		modules = keepIf(modules, func(m runs.Module) bool { return strings.EqualFold(m.Slug, o.Stack) })
		stacks, err := o.stacks(tx, nil)
		if errors.Is(err, runs.ErrNotFound) && len(modules) > 0 {
			err = nil
		}
		for _, st := range stacks {
			if st.Branch != mr.TargetBranch {
				err = runs.Conflictf("The stack %s tracks %s, and this merge request goes into %s.", st.Slug, st.Branch, mr.TargetBranch)
			}
		}
		return stacks, modules, err
	}
	stacks, err := tx.StacksOf(o.id)
	stacks = keepIf(stacks, func(st runs.Stack) bool {
		_, planned, e := tx.NewestRunOf(st.Slug, runs.Proposed, mr.Head)
		err = errors.Join(err, e)
		wish, _ := o.wish.of(st, runs.OutcomeIgnore, false)
		return st.Branch == mr.TargetBranch && (planned || st.Concerns(files, glob)) || wish != runs.OutcomeIgnore
	})
	modules = keepIf(modules, func(m runs.Module) bool { return m.Branch == mr.TargetBranch && m.Source().Concerns(files, glob) })
	return stacks, modules, err
}

// pick finds the one run a command means among those that have not ended: of the first kind that there is. It never guesses
// which of several stacks is meant.
func (o *order) pick(tx *store.Tx, shown map[string]runs.Run, waits string, kinds ...func(runs.Run) bool) (runs.Run, error) {
	stacks, err := o.stacks(tx, shown)
	if err != nil {
		return runs.Run{}, err
	}
	all, err := tx.Active("")
	if err != nil {
		return runs.Run{}, err
	}
	var active []runs.Run
	for _, r := range all {
		if slices.ContainsFunc(stacks, func(st runs.Stack) bool { return st.Slug == r.Stack }) {
			active = append(active, *r)
		}
	}
	for _, kind := range kinds {
		found := keepIf(active, kind)
		if len(found) == 0 {
			continue
		}
		for _, r := range found {
			if r.Stack != found[0].Stack {
				return runs.Run{}, runs.Conflictf("Several stacks have a run that %s: %s. Name one of them.", waits, runStacks(found))
			}
		}
		return found[0], nil
	}
	return runs.Run{}, runs.Conflictf("No run %s%s", waits, instead(tx, stacks, active))
}

// instead says how things stand where no run waits.
func instead(tx *store.Tx, stacks []runs.Stack, active []runs.Run) string {
	if len(stacks) == 0 {
		return ": this merge request has no run of a stack. Name a stack."
	}
	var parts []string
	for _, st := range stacks[:min(len(stacks), maxListed)] {
		state := "nothing of it is at work"
		i := slices.IndexFunc(active, func(r runs.Run) bool { return r.Stack == st.Slug && r.Type.Blocking() })
		if i >= 0 {
			_, state = runs.CommitStatus(active[i])
		} else if l, ok := tx.Latest(st.Slug, runs.Tracked); ok {
			state = "its newest tracked run is " + string(l.State)
		}
		parts = append(parts, st.Slug+" ("+state+")")
	}
	return ": " + strings.Join(parts, ", ") + "."
}

// standing is how a stack stands, in one line: what is at work or was last applied, what the merge request shows, its lock.
func (e *Engine) standing(tx *store.Tx, st runs.Stack, shown runs.Run) (string, error) {
	r, known, err := tx.LatestRun(st.Slug, runs.Tracked, runs.Destroy, runs.Task)
	if err != nil {
		return "", err
	}
	line := gitlab.Inline(st.Slug)
	if shown.ID != "" {
		_, text := runs.CommitStatus(shown)
		line += " · this merge request: " + gitlab.Text(text) + " ([run](" + e.runURL(shown.ID) + "))"
	}
	if known {
		_, text := runs.CommitStatus(r)
		line += " · " + gitlab.Text(st.Branch) + ": " + gitlab.Text(text) + " ([run](" + e.runURL(r.ID) + "))"
	}
	if st.LockedBy != "" {
		line += " · locked by " + gitlab.Text(st.LockedBy+because(st.LockNote))
	}
	return line, nil
}

// stackLine says what becomes of a stack, with a link to the run.
func (e *Engine) stackLine(slug, what string, r runs.Run) string {
	return "The stack " + gitlab.Inline(slug) + " " + what + " ([run](" + e.runURL(r.ID) + "))"
}

// help lists the commands.
func help(o *order) string {
	var b strings.Builder
	b.WriteString("Write a command at the beginning of a line of a new comment:\n\n")
	for _, verb := range verbs {
		r := rights[verb]
		fmt.Fprintf(&b, "- %s %s (%s)\n", o.line(verb, "[stack]"), r.does, gitlab.LevelName(r.level))
	}
	return b.String()
}

// bullets is a list of Markdown, cut to what somebody reads.
func bullets(lines []string) string {
	more := len(lines) - maxListed
	if more > 0 {
		lines = append(slices.Clone(lines[:maxListed]), fmt.Sprintf("%d more", more))
	}
	return "- " + strings.Join(lines, "\n- ") + "\n"
}

func keepIf[T any](list []T, ok func(T) bool) (out []T) {
	for _, x := range list {
		if ok(x) {
			out = append(out, x)
		}
	}
	return out
}

func slugs(stacks []runs.Stack) string {
	var names []string
	for _, st := range stacks {
		names = append(names, st.Slug)
	}
	return named(names)
}

func runStacks(list []runs.Run) string {
	var names []string
	for _, r := range list {
		names = append(names, r.Stack)
	}
	slices.SortFunc(names, cmp.Compare[string])
	return named(slices.Compact(names))
}

func named(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		names = append(slices.Clone(names[:maxListed]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
