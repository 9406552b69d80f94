package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// The states of a project's hook.
const (
	HookOK        = "ok"
	HookMissing   = "missing"
	HookDuplicate = "duplicate"
	HookEvents    = "wrong_events"
	HookDisabled  = "disabled"
	HookUnknown   = "unknown"
)

// A Hook is how a project's webhook stands in GitLab.
type Hook struct {
	State        string
	Detail       string // in words
	LastDelivery time.Time
}

// A Project is a GitLab project that stacks use.
type Project struct {
	ID                          int64
	Path, DefaultBranch, WebURL string
	Stacks                      []string
	Hook                        Hook
}

// WebhookURL is the endpoint GitLab delivers to.
func (e *Engine) WebhookURL() string {
	return strings.TrimRight(e.o.ExternalURL, "/") + "/webhooks/gitlab"
}

// Projects lists the projects that stacks use, each with the state of its hook as GitLab tells it now.
func (e *Engine) Projects(ctx context.Context) ([]Project, error) {
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	list, err := e.usedProjects()
	if err != nil {
		return nil, err
	}
	for i := range list {
		p := &list[i]
		if found, err := c.Project(ctx, strconv.FormatInt(p.ID, 10)); err == nil {
			p.Path, p.DefaultBranch, p.WebURL = found.Path, found.DefaultBranch, found.WebURL
		}
		last := p.Hook.LastDelivery
		p.Hook = e.hookState(ctx, c, p.ID)
		p.Hook.LastDelivery = last
	}
	return list, nil
}

// usedProjects are the projects of the stacks, as far as known without asking GitLab.
func (e *Engine) usedProjects() ([]Project, error) {
	var out []Project
	err := e.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		if err != nil {
			return err
		}
		at := map[int64]int{}
		for _, st := range stacks {
			i, ok := at[st.Project]
			if !ok {
				i = len(out)
				at[st.Project] = i
				last, err := tx.LastDelivery(st.Project)
				if err != nil {
					return err
				}
				out = append(out, Project{ID: st.Project, Path: st.ProjectPath, WebURL: st.ProjectURL, Hook: Hook{LastDelivery: last}})
			}
			out[i].Stacks = append(out[i].Stacks, st.Slug)
		}
		return nil
	})
	return out, err
}

func (e *Engine) hookState(ctx context.Context, c *gitlab.Client, project int64) Hook {
	ours, err := e.ourHooks(ctx, c, project)
	if err != nil {
		return Hook{State: HookUnknown, Detail: message(gitlabError(err, "the project is gone, or the token's user is not its Maintainer"))}
	}
	switch {
	case len(ours) == 0:
		return Hook{State: HookMissing, Detail: "GitLab does not tell Groundcrew of pushes here. Install the hook."}
	case len(ours) > 1:
		return Hook{State: HookDuplicate, Detail: fmt.Sprintf("%d hooks point here: one is enough. Nothing runs twice.", len(ours))}
	}
	h := ours[0]
	switch {
	case h.AlertStatus == "disabled" || h.AlertStatus == "temporarily_disabled":
		return Hook{State: HookDisabled, Detail: "GitLab switched the hook off after failed deliveries. Test it to switch it on again."}
	case !h.PushEvents || !h.TagPushEvents || !h.MergeRequestsEvents:
		return Hook{State: HookEvents, Detail: "The hook needs push, tag push and merge request events."}
	default:
		return Hook{State: HookOK, Detail: "push, tags, merge requests"}
	}
}

// ourHooks are the project's hooks that point at this server, exactly: a partial match could be another's.
func (e *Engine) ourHooks(ctx context.Context, c *gitlab.Client, project int64) ([]gitlab.ProjectHook, error) {
	all, err := c.Hooks(ctx, project)
	var ours []gitlab.ProjectHook
	for _, h := range all {
		if h.URL == e.WebhookURL() {
			ours = append(ours, h)
		}
	}
	return ours, err
}

// InstallHook makes the project's hook right: creates it, or gives the present one our events and secret and
// removes doubles.
func (e *Engine) InstallHook(ctx context.Context, project int64, by string) (Hook, error) {
	_, in, err := e.attached("")
	if err != nil {
		return Hook{}, err
	}
	c, err := e.clientOf(in)
	if err != nil {
		return Hook{}, err
	}
	ours, err := e.ourHooks(ctx, c, project)
	if err != nil {
		return Hook{}, hookError(err)
	}
	spec := gitlab.HookSpec{
		URL: e.WebhookURL(), Token: gitlab.Token(in.Secret.Reveal()), Name: "Groundcrew",
		Push: true, TagPush: true, MergeRequests: true, Notes: true,
		SSLVerification: strings.HasPrefix(e.WebhookURL(), "https://"),
	}
	if len(ours) == 0 {
		_, err = c.CreateHook(ctx, project, spec)
	} else {
		_, err = c.UpdateHook(ctx, project, ours[0].ID, spec)
		for _, double := range ours[min(1, len(ours)):] {
			if err == nil {
				err = c.DeleteHook(ctx, project, double.ID)
			}
		}
	}
	if err != nil {
		return Hook{}, hookError(err)
	}
	err = e.st.Update(func(tx *store.Tx) error {
		return tx.Audit(store.AuditEntry{By: by, Action: "hook.install", Target: strconv.FormatInt(project, 10)})
	})
	return e.hookState(ctx, c, project), err
}

// hookError says what to do about GitLab's terse refusals of hooks (GOTCHAS 43).
func hookError(err error) error {
	switch kind := gitlab.KindOf(err); {
	case kind == "forbidden":
		return runs.Conflictf("GitLab lets only Maintainers install hooks. Give the token's user the role Maintainer in the project, or enter the three values by hand.")
	case kind == "invalid" && strings.Contains(err.Error(), "url"):
		return runs.Conflictf("GitLab refuses the webhook address (%s). When this server is in a private network, a GitLab admin must allow it: Admin area › Settings › Network › Outbound requests.", err.Error())
	default:
		return gitlabError(err, "the project was not found, or the token's user may not see it")
	}
}

// TestHook makes GitLab send a test delivery through the project's hook.
func (e *Engine) TestHook(ctx context.Context, project int64) error {
	c, err := e.linkedClient()
	if err != nil {
		return err
	}
	ours, err := e.ourHooks(ctx, c, project)
	if err != nil {
		return hookError(err)
	}
	if len(ours) == 0 {
		return runs.Conflictf("The project has no hook to test. Install it first.")
	}
	if err := c.TestHook(ctx, project, ours[0].ID, "push_events"); err != nil {
		return runs.Conflictf("GitLab could not deliver the test: %s Look at Admin area › Settings › Network › Outbound requests, the certificate of this server, and the proxy between them.", sentence(err.Error()))
	}
	return nil
}

// mergeRequestFiles asks GitLab what a merge request changes; nil when it can't say: then it concerns all.
func (e *Engine) mergeRequestFiles(ctx context.Context, project, iid int64) ([]string, error) {
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	files, complete, err := c.MergeRequestFiles(ctx, project, iid)
	if err != nil || !complete {
		return nil, err
	}
	return nonNil(files), nil
}

// nonNil tells "nothing changed" from "not known".
func nonNil(files []string) []string {
	if files == nil {
		return []string{}
	}
	return files
}

func commitOf(c gitlab.Commit) runs.Commit {
	return runs.Commit{SHA: c.SHA, Title: c.Title, Author: c.Author, URL: c.WebURL}
}
