package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// sendDeployment writes the deployment of a tracked run: created when its plan is known, then moved to its
// end. GitLab never lets one go back to running (GOTCHAS 87).
func (e *Engine) sendDeployment(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	run, st, err := e.reported(r)
	if err != nil {
		return err
	}
	want, ok := runs.Deployment(run)
	if !ok || string(want) == r.RemoteState && !r.Unsure {
		return nil
	}
	if r.Unsure {
		if err := e.findDeployment(ctx, c, r, run); err != nil {
			return err
		}
	}
	if r.RemoteID == 0 {
		return e.makeDeployment(ctx, c, r, run, st, want)
	}
	if r.RemoteState == string(want) || want == "running" {
		return nil
	}
	if err := e.announce(r); err != nil {
		return err
	}
	err = c.UpdateDeployment(ctx, run.Project, r.RemoteID, string(want))
	switch gitlab.KindOf(err) {
	case gitlab.KindTransition: // somebody moved it: what it shows is looked up, and is right or can't be mended
		if lookErr := e.findDeployment(ctx, c, r, run); lookErr != nil {
			return lookErr
		}
		if r.RemoteState == string(want) {
			return nil
		}
	case gitlab.KindNotFound: // a person deleted it, or we may not see it for the moment: only the list tells
		if lookErr := e.findDeployment(ctx, c, r, run); lookErr != nil {
			return lookErr
		}
		if r.RemoteID == 0 {
			return e.makeDeployment(ctx, c, r, run, st, want)
		}
	}
	if err != nil {
		return unanswered(r, err)
	}
	r.RemoteState, r.Unsure = string(want), false
	return nil
}

// makeDeployment creates the deployment, announced, so that it is looked for when no answer comes.
func (e *Engine) makeDeployment(ctx context.Context, c *gitlab.Client, r *store.Report, run runs.Run, st runs.Stack, want runs.DeploymentState) error {
	if err := e.announce(r); err != nil {
		return err
	}
	id, err := createDeployment(ctx, c, run.Project, gitlab.Deployment{Environment: r.Name, SHA: run.Commit.SHA, Ref: st.Branch, Status: string(want)})
	if err != nil {
		return unanswered(r, err)
	}
	r.RemoteID, r.RemoteState, r.Unsure = id, string(want), false
	return nil
}

// createDeployment takes the project's default branch when the stack's branch is gone: GitLab wants a ref that
// exists (GOTCHAS 88).
func createDeployment(ctx context.Context, c *gitlab.Client, project int64, d gitlab.Deployment) (int64, error) {
	id, err := c.CreateDeployment(ctx, project, d)
	if gitlab.KindOf(err) != gitlab.KindInvalid || !strings.Contains(err.Error(), "branch or tag") {
		return id, err
	}
	p, readErr := c.Project(ctx, strconv.FormatInt(project, 10))
	if readErr != nil || p.DefaultBranch == "" || p.DefaultBranch == d.Ref {
		return 0, err
	}
	d.Ref = p.DefaultBranch
	return c.CreateDeployment(ctx, project, d)
}

// findDeployment looks for the deployment of a run after an answer that never came: of this commit in this
// environment, and not known as another run's.
func (e *Engine) findDeployment(ctx context.Context, c *gitlab.Client, r *store.Report, run runs.Run) error {
	list, err := c.Deployments(ctx, run.Project, r.Name, 50)
	if err != nil {
		return err
	}
	others, err := e.otherDeployments(r)
	if err != nil {
		return err
	}
	r.Unsure = false
	for _, d := range list {
		if d.ID == r.RemoteID || r.RemoteID == 0 && d.SHA == run.Commit.SHA && !others[d.ID] {
			r.RemoteID, r.RemoteState = d.ID, d.Status
			return nil
		}
	}
	r.RemoteID, r.RemoteState = 0, ""
	return nil
}

func (e *Engine) otherDeployments(r *store.Report) (map[int64]bool, error) {
	known := map[int64]bool{}
	err := e.st.View(func(tx *store.Tx) error {
		list, _, err := tx.Runs(store.RunFilter{Stack: r.Stack, Types: []runs.Type{runs.Tracked}}, "", store.LookedUpDeployments)
		for _, other := range list {
			if other.ID == r.Run || err != nil {
				continue
			}
			var o store.Report
			o, _, err = tx.Report("deployment/" + other.ID)
			known[o.RemoteID] = true
		}
		return err
	})
	return known, err
}

// sendEnvironment makes the stack's environment be there with its link and tier, or be stopped when the
// stack is gone.
func (e *Engine) sendEnvironment(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	_, st, err := e.reported(r)
	if err != nil {
		return err
	}
	if r.Gone {
		if ours, err := e.mayStop(*r); err != nil || !ours {
			return err
		}
	}
	have, ok, err := c.Environment(ctx, r.Project, r.Name)
	if err != nil {
		return err
	}
	want := gitlab.Environment{ID: have.ID, Name: r.Name, ExternalURL: e.o.ExternalURL + "/stacks/" + st.Slug, Tier: tier(st)}
	switch {
	case r.Gone && (!ok || have.State == "stopped"):
	case r.Gone:
		err = c.StopEnvironment(ctx, r.Project, have.ID)
	case !ok:
		have, err = e.createEnvironment(ctx, c, r.Project, want)
	case have.ExternalURL != want.ExternalURL || want.Tier != "" && have.Tier != want.Tier:
		_, err = c.UpdateEnvironment(ctx, r.Project, want)
	}
	if err == nil {
		r.RemoteID = have.ID
	}
	return err
}

// mayStop reports whether an environment is to be stopped still: not when its stack has its name back. While something is
// deployed to it, the error says that it waits, because the end of a deployment would start it again (CONTRACT §8).
func (e *Engine) mayStop(r store.Report) (ours bool, err error) {
	run := ""
	err = e.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		_, err = tx.Stack(r.Stack)
		if err != nil && !errors.Is(err, runs.ErrNotFound) {
			return err
		}
		ours = err != nil || r.Name != runs.EnvironmentName(in.Prefix(), r.Stack)
		run, err = tx.Deploying(r)
		return err
	})
	if err == nil && ours && run != "" {
		err = runs.Conflictf("The environment is stopped when GitLab knows the end of run %s, which deploys to it.", run)
	}
	return ours, err
}

// createEnvironment makes an environment. A deployment that was created since we looked has made it already, without
// link and tier: then it gets them.
func (e *Engine) createEnvironment(ctx context.Context, c *gitlab.Client, project int64, want gitlab.Environment) (gitlab.Environment, error) {
	have, err := c.CreateEnvironment(ctx, project, want)
	if gitlab.KindOf(err) != gitlab.KindInvalid || !strings.Contains(err.Error(), "already been taken") {
		return have, err
	}
	have, ok, errLook := c.Environment(ctx, project, want.Name)
	if errLook != nil || !ok {
		return have, cmp.Or(errLook, err)
	}
	want.ID = have.ID
	return c.UpdateEnvironment(ctx, project, want)
}

// tiers are the words GitLab knows.
var tiers = []string{"production", "staging", "testing", "development", "other"}

// tier is the environment's tier from a label like tier:production; "", also for a word GitLab does not know, lets
// GitLab guess it by the name.
func tier(st runs.Stack) string {
	for _, l := range st.Labels {
		if t, ok := strings.CutPrefix(l, "tier:"); ok && slices.Contains(tiers, t) {
			return t
		}
	}
	return ""
}
