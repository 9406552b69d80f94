package engine

import (
	"context"
	"slices"
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

	traffic store.Traffic
}

// WebhookURL is the endpoint GitLab delivers to.
func (e *Engine) WebhookURL() string {
	return strings.TrimRight(e.o.ExternalURL, "/") + "/webhooks/gitlab"
}

// Projects lists the projects that stacks use, each with the state of its hook as GitLab tells it now.
func (e *Engine) Projects(ctx context.Context) ([]Project, error) {
	list, err := e.usedProjects()
	if err != nil {
		return nil, err
	}
	return list, e.AskProjects(ctx, list)
}

// AskProjects brings projects to what GitLab says of them now, a few at a time. While it is away the others are not asked after the
// first.
func (e *Engine) AskProjects(ctx context.Context, list []Project) error {
	c, err := e.linkedClient()
	if err != nil || len(list) == 0 {
		return err
	}
	ask := func(p *Project) error {
		found, err := c.Project(ctx, strconv.FormatInt(p.ID, 10))
		if err == nil {
			p.Path, p.DefaultBranch, p.WebURL = found.Path, found.DefaultBranch, found.WebURL
		}
		return err
	}
	if err := ask(&list[0]); away(gitlab.KindOf(err)) {
		return gitlabError(err, "the project was not found")
	}
	inLanes(len(list)-1, func(i int) { _ = ask(&list[1+i]) }) // what it says of the hooks tells what is wrong
	return e.askHooks(ctx, c, list)
}

// usedProjects are the projects of the stacks, as far as known without asking GitLab.
func (e *Engine) usedProjects() (list []Project, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		if list, err = projectsIn(tx); err != nil {
			return err
		}
		return know(tx, list)
	})
	return list, err
}

// ProjectsPage lists those of the used projects that reads lets through, as far as known without asking GitLab: at most limit
// of them after the one with the number after, 0 for the first page. total counts all; next is 0 on the last page.
func (e *Engine) ProjectsPage(reads func(project int64) bool, after int64, limit int) (page []Project, total int, next int64, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		list, err := projectsIn(tx)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(p Project) bool { return !reads(p.ID) })
		total = len(list)
		page = list[1+slices.IndexFunc(list, func(p Project) bool { return p.ID == after }):]
		if len(page) > limit {
			page = page[:limit]
			next = page[limit-1].ID
		}
		return know(tx, page)
	})
	return page, total, next, err
}

// projectsIn are the used projects in the order of their stacks.
func projectsIn(tx *store.Tx) (list []Project, err error) {
	stacks, err := tx.Sources()
	at := map[int64]int{}
	for _, st := range stacks {
		i, ok := at[st.Project]
		if !ok {
			i = len(list)
			at[st.Project] = i
			list = append(list, Project{ID: st.Project, Path: st.ProjectPath, WebURL: st.ProjectURL})
		}
		list[i].Stacks = append(list[i].Stacks, st.Slug)
	}
	return list, err
}

func idsOf(list []Project) (ids []int64) {
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return ids
}

// know fills in how the hooks of projects were last seen, and what is set of the projects.
func know(tx *store.Tx, list []Project) error {
	traffic, err := tx.Traffic(idsOf(list)...)
	if err != nil {
		return err
	}
	for i := range list {
		p := &list[i]
		row, err := tx.Hook(p.ID)
		if err != nil {
			return err
		}
		set, err := tx.Project(p.ID)
		if err != nil {
			return err
		}
		p.PassUntouched, p.traffic = set.PassUntouched, traffic[p.ID]
		if p.Hook, err = knownHook(tx, row, p.traffic); err != nil {
			return err
		}
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
	if err == nil && len(files) == 0 {
		err = prepared(ctx, c, project, iid)
	}
	if err != nil || !complete {
		return nil, err
	}
	return nonNil(files), nil
}

// prepared is a temporary error while GitLab is still making the diff of a merge request.
func prepared(ctx context.Context, c *gitlab.Client, project, iid int64) error {
	m, err := c.MergeRequest(ctx, project, iid)
	if err == nil && m.Preparing {
		err = &gitlab.Error{Kind: gitlab.KindConflict, Message: "GitLab is still preparing the merge request"}
	}
	return err
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
