package engine

import (
	"context"
	"strconv"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// A Project is a GitLab project that stacks use.
type Project struct {
	ID                          int64
	Path, DefaultBranch, WebURL string
	Stacks                      []string
	Hook                        Hook
	PassUntouched               string // of store.Project
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
	}
	return list, e.askHooks(ctx, c, list)
}

// usedProjects are the projects of the stacks, as far as known without asking GitLab.
func (e *Engine) usedProjects() ([]Project, error) {
	var out []Project
	err := e.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Sources()
		if err != nil {
			return err
		}
		traffic, err := tx.Traffic()
		if err != nil {
			return err
		}
		at := map[int64]int{}
		for _, st := range stacks {
			i, ok := at[st.Project]
			if !ok {
				i = len(out)
				at[st.Project] = i
				row, err := tx.Hook(st.Project)
				if err != nil {
					return err
				}
				set, err := tx.Project(st.Project)
				if err != nil {
					return err
				}
				hook, err := knownHook(tx, row, traffic[st.Project])
				if err != nil {
					return err
				}
				out = append(out, Project{ID: st.Project, Path: st.ProjectPath, WebURL: st.ProjectURL, Hook: hook, PassUntouched: set.PassUntouched})
			}
			out[i].Stacks = append(out[i].Stacks, st.Slug)
		}
		return nil
	})
	return out, err
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
