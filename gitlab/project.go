package gitlab

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// diffLimit is the least number of files at which GitLab may cut a list of diffs (its setting diff_max_files is 1,000
// to 3,000). A list that long is not trusted to be whole.
const diffLimit = 1000

type projectJSON struct {
	ID                               int64
	PathWithNamespace                string `json:"path_with_namespace"`
	Name                             string
	DefaultBranch                    string `json:"default_branch"`
	WebURL                           string `json:"web_url"`
	HTTPURLToRepo                    string `json:"http_url_to_repo"`
	Archived                         bool
	EmptyRepo                        bool `json:"empty_repo"`
	Visibility                       string
	ObjectFormat                     string `json:"repository_object_format"`
	OnlyAllowMergeIfPipelineSucceeds bool   `json:"only_allow_merge_if_pipeline_succeeds"`
	Permissions                      struct {
		ProjectAccess accessJSON `json:"project_access"`
		GroupAccess   accessJSON `json:"group_access"`
	}
}

type accessJSON struct {
	AccessLevel int `json:"access_level"`
}

func (p projectJSON) project() Project {
	return Project{
		ID: p.ID, Path: p.PathWithNamespace, Name: p.Name, DefaultBranch: p.DefaultBranch, WebURL: p.WebURL,
		HTTPURL: p.HTTPURLToRepo, Archived: p.Archived, Empty: p.EmptyRepo, Visibility: p.Visibility, ObjectFormat: p.ObjectFormat,
		AccessLevel:                      max(p.Permissions.ProjectAccess.AccessLevel, p.Permissions.GroupAccess.AccessLevel),
		OnlyAllowMergeIfPipelineSucceeds: p.OnlyAllowMergeIfPipelineSucceeds,
	}
}

// Project reads one project by its number or its full path. A path that was renamed is followed.
func (c *Client) Project(ctx context.Context, idOrPath string) (Project, error) {
	var p projectJSON
	err := c.get(ctx, at("projects", idOrPath), nil, &p)
	return p.project(), err
}

// Projects lists at most limit projects that the token's user is a member of as Developer or more, not archived,
// those with the latest activity first; search looks in names and paths, also of groups.
func (c *Client) Projects(ctx context.Context, search string, limit int) ([]Project, error) {
	query := url.Values{
		"membership": {"true"}, "min_access_level": {"30"}, "archived": {"false"},
		"order_by": {"last_activity_at"}, "sort": {"desc"},
	}
	if search != "" {
		query.Set("search", search)
		query.Set("search_namespaces", "true")
	}
	found, _, err := list[projectJSON](ctx, c, "projects", query, limit)
	return apply(found, projectJSON.project), err
}

// Absent reports whether GitLab showed the project and not the thing in it: a project that is gone or hidden from the token's
// user has the same status, and says nothing of what is in it (GOTCHAS 51).
func Absent(err error) bool {
	e, refused := errors.AsType[*Error](err)
	return refused && e.Kind == KindNotFound && !strings.Contains(e.Message, "Project")
}

// MemberLevel asks for a user's access level in a project, inherited ones included (CONTRACT §0.9: 20 Reporter,
// 30 Developer, 40 Maintainer, 50 Owner); 0 for somebody who is no member, blocked, or not yet accepted.
func (c *Client) MemberLevel(ctx context.Context, project, userID int64) (int, error) {
	var m struct {
		AccessLevel     int `json:"access_level"`
		State           string
		MembershipState string `json:"membership_state"`
	}
	err := c.get(ctx, at("projects", project, "members", "all", userID), nil, &m)
	switch {
	case Absent(err):
		return 0, nil
	case err != nil:
		return 0, err
	case m.State != "" && m.State != "active", m.MembershipState != "" && m.MembershipState != "active":
		return 0, nil
	}
	return m.AccessLevel, nil
}

type branchJSON struct {
	Name      string
	Default   bool
	Protected bool
	Commit    commitJSON
}

func (b branchJSON) branch() Branch {
	return Branch{
		Name: b.Name, SHA: b.Commit.ID, Title: b.Commit.Title, Author: b.Commit.AuthorName,
		Default: b.Default, Protected: b.Protected,
	}
}

// Branches lists at most limit branches whose name contains search ("^x" begins with, "x$" ends with).
func (c *Client) Branches(ctx context.Context, project int64, search string, limit int) ([]Branch, error) {
	query := url.Values{}
	if search != "" {
		query.Set("search", search)
	}
	found, _, err := list[branchJSON](ctx, c, at("projects", project, "repository", "branches"), query, limit)
	return apply(found, branchJSON.branch), err
}

// Branch reads one branch by its exact name.
func (c *Client) Branch(ctx context.Context, project int64, name string) (Branch, error) {
	var b branchJSON
	err := c.get(ctx, at("projects", project, "repository", "branches", name), nil, &b)
	return b.branch(), err
}

// Tags lists all tags of a project, the latest updated first.
func (c *Client) Tags(ctx context.Context, project int64) ([]Tag, error) {
	type tagJSON struct {
		Name   string
		Target string
		Commit commitJSON
	}
	query := url.Values{"order_by": {"updated"}, "sort": {"desc"}}
	found, _, err := list[tagJSON](ctx, c, at("projects", project, "repository", "tags"), query, 0)
	return apply(found, func(j tagJSON) Tag { return Tag{Name: j.Name, Object: j.Target, Commit: j.Commit.commit()} }), err
}

type commitJSON struct {
	ID            string
	Title         string
	Message       string
	AuthorName    string   `json:"author_name"`
	WebURL        string   `json:"web_url"`
	ParentIDs     []string `json:"parent_ids"`
	CommittedDate string   `json:"committed_date"`
}

func (j commitJSON) commit() Commit {
	return Commit{
		SHA: j.ID, Title: j.Title, Message: j.Message, Author: j.AuthorName, WebURL: j.WebURL,
		ParentIDs: j.ParentIDs, At: parseTime(j.CommittedDate),
	}
}

// Commit reads one commit by sha, branch or tag.
func (c *Client) Commit(ctx context.Context, project int64, ref string) (Commit, error) {
	var j commitJSON
	err := c.get(ctx, at("projects", project, "repository", "commits", ref), nil, &j)
	return j.commit(), err
}

type diffJSON struct {
	OldPath string `json:"old_path"`
	NewPath string `json:"new_path"`
}

// paths returns both paths of each diff, sorted, each once.
func paths(diffs []diffJSON) []string {
	var files []string
	for _, d := range diffs {
		files = append(files, d.OldPath, d.NewPath)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}

// CompareFiles lists the paths in which the trees of two commits differ, old and new path of each. It compares the
// commits themselves, not their merge base, so a branch that was moved back is seen too. complete is false when
// GitLab gave up or may have cut the list.
func (c *Client) CompareFiles(ctx context.Context, project int64, from, to string) (files []string, complete bool, err error) {
	var j struct {
		Diffs          []diffJSON
		Commits        []struct{ ID string }
		CompareTimeout bool `json:"compare_timeout"`
	}
	query := url.Values{"from": {from}, "to": {to}, "straight": {"true"}}
	if err := c.get(ctx, at("projects", project, "repository", "compare"), query, &j); err != nil {
		return nil, false, err
	}
	doubtful := len(j.Diffs) == 0 && len(j.Commits) > 0
	return paths(j.Diffs), !j.CompareTimeout && !doubtful && len(j.Diffs) < diffLimit, nil
}

// timeForms are the ways GitLab writes a time in the API and in webhooks (CONTRACT §0.8).
var timeForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700"}

// parseTime returns the zero time for what it can't read: times are shown, nothing is decided by them.
func parseTime(s string) time.Time {
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
