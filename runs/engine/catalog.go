package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"groundcrew/gitlab"
)

// maxCatalog is how many projects the catalog lists: each costs a request for its hooks.
const maxCatalog = 100

// Catalog lists the projects a stack could be made of: those that stacks use first, then what else the token's
// user is a member of, by latest activity, as far as the search matches; each with the state of its hook.
func (e *Engine) Catalog(ctx context.Context, search string) ([]Project, error) {
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	found, err := c.Projects(ctx, search, maxCatalog)
	if err != nil {
		return nil, gitlabError(err, "no project was found")
	}
	list, err := e.usedProjects()
	if err != nil {
		return nil, err
	}
	if search != "" {
		list = slices.DeleteFunc(list, func(p Project) bool {
			return !slices.ContainsFunc(found, func(f gitlab.Project) bool { return f.ID == p.ID })
		})
	}
	traffic, err := e.traffic()
	if err != nil {
		return nil, err
	}
	used := len(list)
	for _, f := range found {
		p := Project{ID: f.ID, Path: f.Path, DefaultBranch: f.DefaultBranch, WebURL: f.WebURL, traffic: traffic[f.ID]}
		if i := slices.IndexFunc(list[:used], func(u Project) bool { return u.ID == f.ID }); i >= 0 {
			list[i].Path, list[i].DefaultBranch, list[i].WebURL = p.Path, p.DefaultBranch, p.WebURL
		} else {
			list = append(list, p)
		}
	}
	return list, e.askHooks(ctx, c, list)
}

// askHooks fills in the hook states, a few projects at a time.
func (e *Engine) askHooks(ctx context.Context, c *gitlab.Client, list []Project) error {
	errs := make([]error, len(list))
	inLanes(len(list), func(i int) {
		p := &list[i]
		p.Hook, errs[i] = e.hookState(ctx, c, p.ID, p.traffic, len(p.Stacks) > 0)
	})
	return errors.Join(errs...)
}

// inLanes does what is to be done n times, a few at a time, and waits for all of it.
func inLanes(n int, do func(i int)) {
	places := make(chan struct{}, lanes)
	var wg sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			do(i)
		})
	}
	wg.Wait()
}

// ProjectID finds a project's numeric id by its path or number.
func (e *Engine) ProjectID(ctx context.Context, ref string) (int64, error) {
	if id, err := strconv.ParseInt(ref, 10, 64); err == nil && id > 0 {
		return id, nil
	}
	c, err := e.linkedClient()
	if err != nil {
		return 0, err
	}
	p, err := c.Project(ctx, ref)
	return p.ID, gitlabError(err, "project “"+ref+"” was not found, or the token's user may not see it")
}
