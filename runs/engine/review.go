package engine

import (
	"cmp"
	"context"
	"slices"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// Gate weighs the reviews there are of what a run of the stack would do, and what approval policies said of them.
func (e *Engine) Gate(tx *store.Tx, st runs.Stack, r runs.Run) (runs.Gate, error) {
	w, err := e.weighing(tx, st, r)
	w.gate.Policies = w.said()
	return w.gate, err
}

// authorsHere are those who, as far as is known here, wrote or started what a run does: who set it off, who set off the runs it
// repeats, who pushed to its merge requests and the given ones, and, because a plan holds what was not applied before, who set off the
// stack's tracked runs since the last one that was applied. One who is nobody stands for those who are not known.
func authorsHere(tx *store.Tx, r runs.Run, more []int64) ([]runs.Person, error) {
	out, err := startedBy(tx, r)
	if err != nil {
		return nil, err
	}
	for _, iid := range append(mergeRequestsOf(r), more...) {
		people, err := tx.AuthorsIn(r.Project, iid)
		if err != nil {
			return nil, err
		}
		out = append(out, people...)
	}
	if r.Type == runs.Tracked {
		page, _, err := tx.Runs(store.RunFilter{Stack: r.Stack, Types: []runs.Type{runs.Tracked}}, r.ID, maxPending)
		if err != nil {
			return nil, err
		}
		for _, before := range page {
			if before.State == runs.Finished {
				break
			}
			out = append(append(out, before.Author), before.Authors...)
		}
	}
	return known(tx, out)
}

// maxPending is how many tracked runs of a stack are looked through for one that was applied.
const maxPending = 100

// startedBy are who set off a run and the runs it repeats, and who wrote its commit.
func startedBy(tx *store.Tx, r runs.Run) ([]runs.Person, error) {
	out := append([]runs.Person{r.Author}, r.Authors...)
	for range maxPending {
		id := cmp.Or(r.RetryOf, r.PromotedOf)
		if id == "" {
			return out, nil
		}
		var err error
		if r, err = tx.Run(id); err != nil {
			return nil, err
		}
		out = append(append(out, r.Author), r.Authors...)
	}
	return append(out, runs.Person{}), nil // too many to follow
}

// known gives those of whom only the account in GitLab is known the account here that is bound to it, and leaves out doubles.
func known(tx *store.Tx, people []runs.Person) (out []runs.Person, err error) {
	users, err := tx.Users()
	for _, p := range people {
		if i := slices.IndexFunc(users, func(u store.User) bool { return p.GitLab != 0 && u.GitLabID == p.GitLab }); p.User == "" && i >= 0 {
			p.User = users[i].ID
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, err
}

func mergeRequestsOf(r runs.Run) (iids []int64) {
	if r.MR != nil {
		iids = append(iids, r.MR.IID)
	}
	for _, mr := range r.Also {
		iids = append(iids, mr.IID)
	}
	return iids
}

// authorsThere asks GitLab which merge requests brought the run's commit, for their authors and numbers. What a tracked run
// runs was written by them, whoever merged it.
func (e *Engine) authorsThere(ctx context.Context, r runs.Run) (people []runs.Person, iids []int64, err error) {
	c, err := e.linkedClient()
	if err != nil {
		return nil, nil, err
	}
	list, err := c.MergeRequestsOfCommit(ctx, r.Project, r.Commit.SHA)
	if gitlab.Absent(err) {
		return []runs.Person{{}}, nil, nil // the commit is gone, and with it who brought it
	}
	if err != nil {
		return nil, nil, gitlabError(err, "the commit was not found")
	}
	for _, mr := range list {
		people = append(people, runs.Person{GitLab: mr.AuthorID})
		iids = append(iids, mr.IID)
	}
	return people, iids, nil
}

// Review records what a person says of what a run would do. Who wrote or started it may reject it and not approve it; GitLab is
// asked who wrote it. An approval that was the last one missing lets a run go on that needs nobody's confirmation.
//
// seen is the fingerprint of what was looked at, "" for what stands there when this is called.
func (e *Engine) Review(ctx context.Context, id string, who runs.Person, name string, d runs.Decision, note, seen string) (runs.Run, error) {
	var r runs.Run
	err := e.st.View(func(tx *store.Tx) (err error) {
		r, err = tx.Run(id)
		return err
	})
	if err != nil {
		return r, err
	}
	seen = cmp.Or(seen, r.Fingerprint)
	var theirs []runs.Person
	var iids []int64
	if d == runs.Approve {
		if theirs, iids, err = e.authorsThere(ctx, r); err != nil {
			return r, err
		}
	}
	err = e.st.Update(func(tx *store.Tx) (err error) {
		if r, err = tx.Run(id); err != nil {
			return err
		}
		st, err := e.reviewable(tx, r)
		if err != nil {
			return err
		}
		if r.Fingerprint != seen {
			return runs.Conflictf("The plan was made again since you looked at it. Look at the new one, then review that.")
		}
		authors, err := authorsHere(tx, r, iids)
		if err != nil {
			return err
		}
		if d == runs.Approve && slices.ContainsFunc(append(authors, theirs...), who.Is) {
			return runs.Forbiddenf("You wrote or started what this run would do. Somebody else has to approve it.")
		}
		v := runs.Review{Stack: r.Stack, Fingerprint: r.Fingerprint, Person: who, Name: name, Decision: d, Note: note, Run: r.ID}
		if err := tx.PutReview(v); err != nil {
			return err
		}
		r, err = e.weigh(tx, st, r, runs.Meta{At: tx.Now(), By: name, Note: note}, d)
		return err
	})
	e.sweep(r)
	return r, err
}

// reviewable returns the run's stack, or says why nobody can review the run.
func (e *Engine) reviewable(tx *store.Tx, r runs.Run) (runs.Stack, error) {
	st, err := tx.Stack(r.Stack)
	if err != nil {
		return st, err
	}
	if err := r.Reviewable(); err != nil {
		return st, err
	}
	g, err := e.Gate(tx, st, r)
	if err == nil && !g.Asked() {
		err = runs.Conflictf("The stack asks for no approvals. Say how many in its settings, or attach an approval policy.")
	}
	return st, err
}

// weigh tells a run what its reviews come to now. A proposed run has ended: its reviews are for the run that would do the same.
func (e *Engine) weigh(tx *store.Tx, st runs.Stack, r runs.Run, m runs.Meta, d runs.Decision) (runs.Run, error) {
	if r.State.Terminal() {
		return r, tx.Audit(store.AuditEntry{By: m.By, Action: "run." + string(d), Target: r.ID, Stack: r.Stack, Note: m.Note})
	}
	g, err := e.Gate(tx, st, r)
	if err != nil {
		return r, err
	}
	stale := ""
	if r.State == runs.Unconfirmed && st.Deploys() {
		if stale, err = moved(tx, st, r); err != nil {
			return r, err
		}
	}
	r, err = tx.Apply(r.ID, runs.Reviewed{
		Meta: m, Decision: d, Unapproved: !g.Open(), Refused: g.Refused(), Reviews: g.Approvals, Policies: g.Policies, Weighed: r.Weighed,
		Autodeploy: st.Deploys() && stale == "",
	})
	if err == nil && stale != "" && g.Open() && r.State == runs.Unconfirmed && len(r.Warnings) == 0 {
		return tx.Apply(r.ID, runs.Confirm{Meta: runs.Meta{At: tx.Now()}, Moved: stale}) // it would deploy by itself, so it plans again by itself
	}
	return r, err
}

// Reweigh tells the runs of a stack that wait what their reviews come to, after the stack's rules changed; of all stacks with "".
func (e *Engine) Reweigh(tx *store.Tx, slug string) error {
	active, err := tx.Active(slug)
	for _, r := range active {
		if err != nil {
			return err
		}
		if r.State.Terminal() || r.Reviewable() != nil {
			continue
		}
		var st runs.Stack
		if st, err = tx.Stack(r.Stack); err == nil {
			_, err = e.weigh(tx, st, *r, runs.Meta{At: tx.Now()}, "")
		}
	}
	return err
}

// approvalsToBegin are the approvals that a task or destroy run begins with; that some are missing is an ErrConflict.
func (e *Engine) approvalsToBegin(tx *store.Tx, r runs.Run) ([]runs.Review, error) {
	if !changesAtOnce(r.Type) {
		return nil, nil
	}
	st, err := tx.Stack(r.Stack)
	if err != nil {
		return nil, notGone(err)
	}
	g, err := e.Gate(tx, st, r)
	if err != nil {
		return nil, err
	}
	return g.Approvals, g.Err()
}
