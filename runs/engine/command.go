package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// reactNote carries out the command in a comment and marks its answer, in one commit, so that it is done once however often
// the comment is delivered. Errors of package gitlab mean that GitLab could not be asked: then nothing was done.
func (e *Engine) reactNote(ctx context.Context, v *verdict, h gitlab.Hook) error {
	_, in, err := e.attached("")
	if err != nil {
		return err
	}
	o, ignored := readOrder(h, in)
	if ignored != "" {
		return e.judge(*v, store.DeliveryDone, "ignored: "+ignored)
	}
	done, err := e.heard(&o)
	if err != nil {
		return err
	}
	if done {
		return e.judge(*v, store.DeliveryDone, "ignored: this comment has its answer already")
	}
	c, err := e.linkedClient()
	if err != nil {
		return err
	}
	refused := e.floods(&o)
	if refused == "" {
		if refused, err = e.believe(ctx, c, &o, h); err != nil {
			return err
		}
	}
	v.about = "command " + o.Verb + " by " + o.who
	if refused != "" {
		return e.judge(*v, store.DeliveryDone, "refused: "+refused)
	}
	err = e.mayOrder(ctx, c, &o, v.delivery.ReceivedAt)
	if err == nil {
		err = e.carryOut(ctx, v, &o)
	}
	return e.refuse(v, &o, err)
}

// heard reports whether a comment has its answer, and takes in what is known here: what the delivery says of it is not believed.
func (e *Engine) heard(o *order) (done bool, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		sources, err := tx.SourcesOf(o.id)
		if err != nil {
			return err
		}
		for _, st := range sources {
			o.project = st.ProjectPath
		}
		done = tx.Replied(o.id, o.iid, o.note)
		o.crowd, o.own, err = tx.Replies(o.id, o.iid, o.author, tx.Now().Add(-time.Minute))
		return err
	})
	return done, err
}

// refuse answers why a command was not carried out, when that is for people to know; it returns other errors.
func (e *Engine) refuse(v *verdict, o *order, why error) error {
	known, ok := errors.AsType[*runs.Error](why)
	if !ok {
		return why
	}
	text := gitlab.Text(known.Message)
	if _, is := rights[o.Verb]; !is {
		text += "\n\n" + help(o)
	}
	return e.st.Update(func(tx *store.Tx) error {
		v.lines, v.runs = []string{"refused: " + known.Message}, nil
		if err := tx.Reply(o.id, o.iid, o.note, o.author, o.thread, text); err != nil {
			return err
		}
		return v.store(tx, store.DeliveryDone)
	})
}

// An outcome is what a command did, said and left behind.
type outcome struct {
	text  string     // the answer, in Markdown
	says  string     // the verdict; "" says what started
	began []runs.Run // that it started
	ended []runs.Run // that it ended
}

// carryOut does what the command says, with its answer and verdict. What the audit log gets meanwhile names the comment.
func (e *Engine) carryOut(ctx context.Context, v *verdict, o *order) error {
	files, err := e.askBefore(ctx, o)
	if err != nil {
		return err
	}
	acts := e.st.Acting(o.by, store.Origin{Via: fmt.Sprintf("comment %d on %s!%d by %s", o.note, o.project, o.iid, o.who)})
	defer acts.End()
	var out outcome
	err = e.st.Update(func(tx *store.Tx) (err error) {
		if tx.Replied(o.id, o.iid, o.note) {
			return runs.Conflictf("This comment has its answer already.")
		}
		if out, err = e.obey(tx, o, files); err != nil {
			return err
		}
		v.lines, v.runs = nil, out.began
		if out.says != "" {
			v.say("%s", out.says)
		}
		if o.More {
			out.text += "\n\nOnly the first command of a comment counts."
		}
		if err := tx.Reply(o.id, o.iid, o.note, o.author, o.thread, out.text); err != nil {
			return err
		}
		return v.store(tx, store.DeliveryDone)
	})
	for _, r := range out.ended {
		if err == nil {
			e.sweep(r)
		}
	}
	return err
}

// askBefore asks for the files that a plan is about (nil: not known) and, where no stack is named, what push policies say of them.
func (e *Engine) askBefore(ctx context.Context, o *order) (files []string, err error) {
	if o.Verb != runs.CommandPlan || o.mr.State != "opened" {
		return nil, nil
	}
	if files, err = e.mergeRequestFiles(ctx, o.id, o.iid); gitlab.KindOf(err).Temporary() {
		return nil, err
	}
	if o.Stack != "" {
		return files, nil
	}
	var mr store.MergeRequest
	if err = e.st.View(func(tx *store.Tx) (err error) { mr, err = o.mergeRequest(tx); return err }); err != nil {
		return nil, err
	}
	o.wish, err = e.askProposals(ctx, mr, files)
	return files, err
}

func (e *Engine) obey(tx *store.Tx, o *order, files []string) (outcome, error) {
	if err := o.resolve(tx); err != nil {
		return outcome{}, err
	}
	switch o.Verb {
	case runs.CommandPlan:
		return e.orderPlan(tx, o, files)
	case runs.CommandApply:
		return e.orderApply(tx, o)
	case runs.CommandDiscard:
		return e.orderDiscard(tx, o)
	case runs.CommandUnlock:
		return e.orderUnlock(tx, o)
	default:
		return e.orderHelp(tx, o)
	}
}

// orderPlan asks for proposed runs of the merge request's newest commit, also where it was planned before.
func (e *Engine) orderPlan(tx *store.Tx, o *order, files []string) (out outcome, err error) {
	if o.mr.State != "opened" {
		return out, runs.Conflictf("The merge request is %s. Only an open one can be planned.", o.mr.State)
	}
	mr, err := o.record(tx)
	if err != nil {
		return out, err
	}
	stacks, modules, err := o.concerned(tx, mr, files)
	if err != nil {
		return out, err
	}
	var lines []string
	for _, st := range stacks {
		line, r, err := e.planAgain(tx, st, mr, o)
		if err != nil {
			return out, err
		}
		if r.ID != "" {
			out.began = append(out.began, r)
		}
		lines = append(lines, line)
	}
	for _, m := range modules {
		line, err := checkAgain(tx, m, mr, o)
		if err != nil {
			return out, err
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		out.says = "nothing to plan"
		out.text = "Nothing to plan: the merge request changes no files of a stack or module that follows " + gitlab.Inline(mr.TargetBranch) + ". Name a stack to plan it all the same."
		return out, nil
	}
	if len(out.began) == 0 {
		out.says = "no run was started"
	}
	out.text = "Commit " + runs.ShortSHA(mr.Head) + ":\n\n" + bullets(lines)
	return out, nil
}

// mergeRequest is the merge request as GitLab says it is.
func (o *order) mergeRequest(tx *store.Tx) (store.MergeRequest, error) {
	mr, _, err := tx.MergeRequest(o.id, o.iid)
	if err != nil {
		return mr, err
	}
	if mr.Head != o.mr.HeadSHA {
		mr.Head, mr.HeadTitle = o.mr.HeadSHA, ""
	}
	mr.Project, mr.State = o.id, o.mr.State
	mr.MergeRequest = runs.MergeRequest{
		IID: o.iid, Title: o.mr.Title, SourceBranch: o.mr.SourceBranch, TargetBranch: o.mr.TargetBranch, URL: o.mr.WebURL,
		Fork: o.mr.SourceProject != o.mr.TargetProject,
	}
	return mr, nil
}

// record is the merge request with the commit that is to be planned. A fork's has to be named by a Maintainer, which
// releases it: what runs here is what they looked at, and not what was pushed since. They name the whole id, because
// commits that begin with the same digits can be made at will.
func (o *order) record(tx *store.Tx) (store.MergeRequest, error) {
	mr, err := o.mergeRequest(tx)
	if err != nil {
		return mr, err
	}
	switch {
	case mr.Head == "":
		return mr, runs.Conflictf("GitLab is still preparing the merge request. Comment again in a moment.")
	case o.Name != "" && !strings.HasPrefix(mr.Head, o.Name):
		return mr, runs.Conflictf("The newest commit of the merge request is %s now, and you named %s. Look at it, then comment again.", runs.ShortSHA(mr.Head), o.Name)
	case !mr.Fork || slices.Contains(mr.Released, mr.Head):
		return mr, nil
	case o.level < gitlab.Maintainer:
		return mr, runs.Forbiddenf("The code comes from a fork. A Maintainer has to release commit %s before it runs here.", runs.ShortSHA(mr.Head))
	case o.Name != mr.Head:
		return mr, runs.Conflictf("The code comes from a fork, so name the commit that may run here by its whole id, once you have looked at it: “/%s plan %s”.", o.word, mr.Head)
	case mr.Held != mr.Head:
		return mr, runs.Conflictf("Commit %s has not come in from GitLab yet. Comment again in a moment.", runs.ShortSHA(mr.Head))
	}
	return mr, release(tx, &mr, o.by)
}

// planAgain begins a proposed run of a stack, unless one of the commit is at work, or push policies leave the stack out that
// neither was planned before nor is named.
func (e *Engine) planAgain(tx *store.Tx, st runs.Stack, mr store.MergeRequest, o *order) (line string, began runs.Run, err error) {
	link := mr.MergeRequest
	old, known, err := tx.NewestRunOf(st.Slug, runs.Proposed, mr.Head)
	if err != nil {
		return "", began, err
	}
	if known && !old.State.Terminal() && old.StopAsked == "" {
		if _, err := tx.Apply(old.ID, runs.LearnedMR{Meta: runs.Meta{At: tx.Now()}, MR: link}); err != nil {
			return "", began, err
		}
		return e.stackLine(st.Slug, "is being planned already", old), began, nil
	}
	if outcome, _ := o.wish.of(st, runs.OutcomePropose, false); outcome == runs.OutcomeIgnore && !known && o.Stack == "" {
		return "The stack " + gitlab.Inline(st.Slug) + " is left out: a policy says so", began, nil
	}
	next := runs.Run{
		Type: runs.Proposed, Trigger: runs.ByComment, TriggeredBy: o.by, Author: runs.Person{GitLab: o.author}, Commit: runs.Commit{SHA: mr.Head, Title: mr.HeadTitle},
		Branch: mr.SourceBranch, MR: &link, RetryOf: old.ID,
	}
	if known {
		next.Commit = old.Commit
	}
	if err := supersede(tx, st.Slug, next); err != nil {
		return "", began, err
	}
	began, err = e.request(tx, st, next, "asked for in a comment")
	return e.stackLine(st.Slug, "is being planned", began), began, err
}

// checkAgain begins a check of a module, unless one of the commit is at work.
func checkAgain(tx *store.Tx, m runs.Module, mr store.MergeRequest, o *order) (string, error) {
	old, known, err := tx.NewestCheck(m.Slug, mr.Head)
	if err != nil {
		return "", err
	}
	name := "The module " + gitlab.Inline(m.Slug)
	if known && old.State.Open() {
		return name + " is being checked already", nil
	}
	link := mr.MergeRequest
	_, err = beginCheck(tx, m, runs.Check{
		Commit: runs.Commit{SHA: mr.Head, Title: mr.HeadTitle}, Branch: mr.SourceBranch, MR: &link, Trigger: runs.ByComment, By: o.by,
	})
	return name + " is being checked", err
}

// orderApply says yes to the plan that waits, if it is the one that the merge request showed or the one that is named.
func (e *Engine) orderApply(tx *store.Tx, o *order) (out outcome, err error) {
	if o.mr.State != "merged" {
		return out, runs.Conflictf("The merge request is not merged. After the merge Groundcrew plans %s, and then “/%s apply” says yes to that plan.", o.mr.TargetBranch, o.word)
	}
	shown, err := o.shown(tx)
	if err != nil {
		return out, err
	}
	waiting, err := o.pick(tx, shown, "waits for a yes", func(r runs.Run) bool { return r.Type == runs.Tracked && r.State == runs.Unconfirmed })
	if err != nil {
		return out, err
	}
	if name := runs.PlanName(waiting); name != o.Name && (o.Name != "" || !runs.SamePlan(waiting, shown[waiting.Stack])) {
		out.says = "refused: " + waiting.ID + " is not the plan that was shown"
		out.text = "Nothing was applied: the plan that waits is not the one that " + o.meant() + ". " + e.stackLine(waiting.Stack, "waits with", waiting) + " " +
			gitlab.Text(waiting.Delta.String()) + ". Look at it; to apply it, comment " + o.line(runs.CommandApply, waiting.Stack, name) + "."
		return out, nil
	}
	r, err := e.confirm(tx, waiting.ID, o.by)
	if err != nil {
		return out, err
	}
	if r.State != runs.Confirmed {
		out.says = "not applied: " + lastStep(r).Note
		out.text = "Not applied: " + gitlab.Text(lastStep(r).Note) + ". " + e.stackLine(r.Stack, "waits for a yes again after that", r) + "."
		return out, nil
	}
	out.says = "confirmed " + r.ID
	out.text = e.stackLine(r.Stack, "is being applied", r) + ": " + gitlab.Text(r.Delta.String()) + ", at commit " + r.Commit.Short() + "."
	return out, nil
}

// meant is the plan that an order says yes to, in words.
func (o *order) meant() string {
	if o.Name != "" {
		return "you named"
	}
	return "this merge request showed"
}

func lastStep(r runs.Run) runs.Transition { return r.Transitions[len(r.Transitions)-1] }

// orderDiscard says no to the plan that waits, or else to a run that has not begun.
func (e *Engine) orderDiscard(tx *store.Tx, o *order) (out outcome, err error) {
	shown, err := o.shown(tx)
	if err != nil {
		return out, err
	}
	r, err := o.pick(tx, shown, "waits", func(r runs.Run) bool {
		return r.Type == runs.Tracked && r.State == runs.Unconfirmed
	}, func(r runs.Run) bool {
		return r.State == runs.Queued && (r.Type == runs.Tracked || r.Type == runs.Proposed && r.In(o.iid) != nil)
	})
	if err != nil {
		return out, err
	}
	if o.Name != "" && o.Name != runs.PlanName(r) {
		return out, runs.Conflictf("The plan %s does not wait any more. Look at the stack %s again.", o.Name, r.Stack)
	}
	r, err = tx.Apply(r.ID, runs.Discard{Meta: runs.Meta{At: tx.Now(), By: o.by, Note: "by a comment"}})
	if err != nil {
		return out, err
	}
	return outcome{
		text: e.stackLine(r.Stack, "was discarded", r) + ".", says: "discarded " + r.ID, ended: []runs.Run{r},
	}, nil
}

// orderUnlock ends the lock of the stack that is named, or of the only one that is locked.
func (e *Engine) orderUnlock(tx *store.Tx, o *order) (out outcome, err error) {
	shown, err := o.shown(tx)
	if err != nil {
		return out, err
	}
	stacks, err := o.stacks(tx, shown)
	if err != nil {
		return out, err
	}
	locked := keepIf(stacks, func(st runs.Stack) bool { return st.LockedBy != "" })
	switch {
	case len(locked) == 0 && o.Stack != "":
		return out, runs.Conflictf("The stack %s is not locked.", stacks[0].Slug)
	case len(locked) == 0:
		return out, runs.Conflictf("No stack of this merge request is locked.")
	case len(locked) > 1:
		return out, runs.Conflictf("Several stacks are locked: %s. Name one of them.", slugs(locked))
	}
	st, err := e.unlock(tx, locked[0].Slug, o.by)
	if err != nil {
		return out, err
	}
	return outcome{
		text: "The stack " + gitlab.Inline(st.Slug) + " is unlocked. The lock was " + gitlab.Text(locked[0].LockedBy) + "’s.",
		says: "unlocked " + st.Slug,
	}, nil
}

// orderHelp lists the commands and how the stacks stand.
func (e *Engine) orderHelp(tx *store.Tx, o *order) (out outcome, err error) {
	shown, err := o.shown(tx)
	if err != nil {
		return out, err
	}
	stacks, err := o.stacks(tx, shown)
	if err != nil {
		return out, err
	}
	var lines []string
	for _, st := range stacks {
		line, err := e.standing(tx, st, shown[st.Slug])
		if err != nil {
			return out, err
		}
		lines = append(lines, line)
	}
	out.text, out.says = help(o), "answered"
	if len(lines) > 0 {
		out.text += "\nHow the stacks of this merge request stand:\n\n" + bullets(lines)
	}
	return out, nil
}
