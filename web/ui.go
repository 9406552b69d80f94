package web

import (
	"context"
	"net/http"
	"path"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
)

// A suggestion is one line of a type-ahead.
type suggestion struct {
	Value string `json:"value"`
	Label string `json:"label"`
	Hint  string `json:"hint"`
}

func suggest(c *request, list []suggestion) error {
	if list == nil {
		list = []suggestion{}
	}
	return c.JSON(http.StatusOK, list)
}

func (s *Server) uiProjects(c *request) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	found, err := s.eng.SearchProjects(ctx, strings.TrimSpace(c.QueryParam("q")))
	if err != nil {
		return err
	}
	var out []suggestion
	for _, p := range found {
		if !p.Archived {
			out = append(out, suggestion{p.Path, p.Path, p.DefaultBranch})
		}
	}
	return suggest(c, out)
}

func (s *Server) uiBranches(c *request) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	id, err := s.projectID(ctx, strings.TrimSpace(c.QueryParam("project")))
	if err != nil {
		return err
	}
	found, err := s.eng.Branches(ctx, id, strings.TrimSpace(c.QueryParam("q")))
	if err != nil {
		return err
	}
	var out []suggestion
	for _, b := range found {
		out = append(out, suggestion{b.Name, b.Name, b.Title})
	}
	return suggest(c, out)
}

// projectID finds the numeric id of a project that is given by path or id.
func (s *Server) projectID(ctx context.Context, ref string) (int64, error) {
	if id, err := strconv.ParseInt(ref, 10, 64); err == nil && id > 0 {
		return id, nil
	}
	if ref == "" {
		return 0, runs.Invalidf("project", "Choose a project first.")
	}
	for _, q := range []string{ref, path.Base(ref)} { // an older GitLab searches names only, not paths
		found, err := s.eng.SearchProjects(ctx, q)
		if err != nil {
			return 0, err
		}
		for _, p := range found {
			if strings.EqualFold(p.Path, ref) {
				return p.ID, nil
			}
		}
	}
	return 0, runs.NotFoundf("GitLab has no project “%s”, or the token's user may not see it.", ref)
}

func (s *Server) uiStacks(c *request) error {
	var out []suggestion
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		for _, st := range stacks {
			if reads(st.Project) && stackMatches(st, c.QueryParam("q"), "") && len(out) < pageRows {
				out = append(out, suggestion{st.Slug, st.Name, st.ProjectPath})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return suggest(c, out)
}
