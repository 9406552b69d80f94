package sim

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// projectsPerMinute is how often one user may read single projects (§0.6).
const projectsPerMinute = 400

func (c *call) getProject() error {
	if c.user != nil && c.limited("project/"+itoa(c.user.ID), projectsPerMinute, time.Minute) {
		return tooMany("endpoint")
	}
	return c.answer(http.StatusOK, c.fullProject(c.project, c.user))
}

// listProjects lists what the caller may see; without a token that is the public ones (§2).
func (c *call) listProjects() error {
	var found []*project
	for _, p := range c.projects {
		if p.visible(c.user) && c.wanted(p) {
			found = append(found, p)
		}
	}
	if c.in.text("pagination") == "keyset" {
		return c.keysetProjects(found)
	}
	c.sortProjects(found)
	return page(c, found, c.projectItem)
}

func (c *call) wanted(p *project) bool {
	level := int(c.in.number("min_access_level"))
	switch {
	case c.in.flag("membership") && (c.user == nil || p.members[c.user.ID] == 0):
		return false
	case level > 0 && (c.user == nil || p.members[c.user.ID] < level):
		return false
	case c.in.has("archived") && c.in.flag("archived") != p.settings.Archived:
		return false
	case c.in.has("visibility") && c.in.text("visibility") != p.settings.Visibility:
		return false
	case c.in.has("id_after") && p.id <= c.in.number("id_after"):
		return false
	}
	return c.matchesSearch(p)
}

func (c *call) matchesSearch(p *project) bool {
	wanted := strings.ToLower(c.in.text("search"))
	where := title(p.slug()) + "\n" + p.slug() + "\n" + p.settings.Description
	if c.in.flag("search_namespaces") {
		where += "\n" + p.path + "\n" + spacedPath(p)
	}
	return strings.Contains(strings.ToLower(where), wanted)
}

func (c *call) sortProjects(found []*project) {
	by := c.in.textOr("order_by", "created_at")
	slices.SortStableFunc(found, func(a, b *project) int {
		order := cmp.Compare(a.id, b.id)
		switch by {
		case "name", "path":
			order = cmp.Or(strings.Compare(a.slug(), b.slug()), order)
		case "last_activity_at", "updated_at":
			order = cmp.Or(a.active.Compare(b.active), order)
		}
		if c.in.text("sort") != "asc" {
			order = -order
		}
		return order
	})
}

// keysetProjects pages by id: only Link rel="next", and none on the last page (§0.5).
func (c *call) keysetProjects(found []*project) error {
	if c.in.text("order_by") != "id" {
		return parameter(http.StatusMethodNotAllowed, "Keyset pagination is not yet available for this type of request")
	}
	_, size, err := c.paging()
	if err != nil {
		return err
	}
	c.sortProjects(found)
	if len(found) > size {
		found = found[:size]
		q := c.r.URL.Query()
		q.Set("id_after", strconv.FormatInt(found[size-1].id, 10))
		c.header.Set("Link", c.linkTo(q, "next"))
	}
	return c.answer(http.StatusOK, renderAll(found, c.projectItem))
}

func (c *call) projectItem(p *project) any {
	if c.in.flag("simple") || c.user == nil {
		return c.simpleProject(p, c.user)
	}
	return c.fullProject(p, c.user)
}

func spacedPath(p *project) string {
	parts := strings.Split(p.path, "/")
	for i, part := range parts {
		parts[i] = title(part)
	}
	return strings.Join(parts, " / ")
}

func (s *Server) sshURL(p *project) string {
	host := strings.TrimPrefix(strings.TrimPrefix(s.base, "https://"), "http://")
	host, _, _ = strings.Cut(host, ":")
	return "git@" + host + ":" + p.path + ".git"
}

// simpleProject is what simple=true leaves (§2). The default branch is for those who may read code.
func (s *Server) simpleProject(p *project, u *User) object {
	var branch, readme any
	if p.defaultBranch != "" && p.readable(u) {
		branch = p.defaultBranch
		readme = s.webURL(p) + "/-/blob/" + p.defaultBranch + "/README.md"
	}
	return object{
		"id": p.id, "description": orNull(p.settings.Description), "name": title(p.slug()), "name_with_namespace": spacedPath(p),
		"path": p.slug(), "path_with_namespace": p.path, "created_at": isoTime(p.created), "default_branch": branch,
		"tag_list": []string{}, "topics": []string{}, "ssh_url_to_repo": s.sshURL(p), "http_url_to_repo": s.webURL(p) + ".git",
		"web_url": s.webURL(p), "readme_url": readme, "forks_count": 0, "avatar_url": nil, "star_count": 0,
		"last_activity_at": isoTime(p.active), "visibility": p.settings.Visibility, "namespace": s.namespaceEntity(p.namespace),
	}
}

func (s *Server) namespaceEntity(n *namespace) object {
	kind, web, parent := "group", s.url()+"/groups/"+n.path, any(nil)
	if n.user {
		kind, web = "user", s.url()+"/"+n.path
	}
	if n.parent != nil {
		parent = n.parent.id
	}
	return object{
		"id": n.id, "name": n.name(), "path": n.path[strings.LastIndexByte(n.path, '/')+1:], "kind": kind, "full_path": n.path,
		"parent_id": parent, "avatar_url": nil, "web_url": web,
	}
}

func (s *Server) fullProject(p *project, u *User) object {
	e := s.simpleProject(p, u)
	self := fmt.Sprintf("%s/api/v4/projects/%d", s.url(), p.id)
	links := object{"self": self}
	for _, part := range []string{"issues", "merge_requests", "labels", "events", "members", "cluster_agents"} {
		links[part] = self + "/" + part
	}
	links["repo_branches"] = self + "/repository/branches"
	maps.Copy(e, (object{
		"container_registry_image_prefix": "registry.invalid/" + p.path, "_links": links, "marked_for_deletion_at": nil,
		"marked_for_deletion_on": nil, "packages_enabled": true, "empty_repo": p.defaultBranch == "", "archived": p.settings.Archived,
		"resolve_outdated_diff_discussions": false, "container_expiration_policy": nil, "repository_object_format": p.repo.format,
		"can_create_merge_request_in": p.role(u) >= Developer, "emails_disabled": false, "emails_enabled": true,
		"shared_runners_enabled": true, "creator_id": 1, "import_status": "none", "open_issues_count": 0,
		"description_html": "", "updated_at": isoTime(p.active), "ci_config_path": "", "public_jobs": true, "shared_with_groups": []any{},
		"only_allow_merge_if_pipeline_succeeds": p.settings.PipelineMustSucceed, "allow_merge_on_skipped_pipeline": nil,
		"request_access_enabled": true, "only_allow_merge_if_all_discussions_are_resolved": p.settings.DiscussionsMustResolve,
		"remove_source_branch_after_merge": p.settings.RemoveSourceBranchAfter, "printing_merge_request_link_enabled": true,
		"merge_method": "merge", "squash_option": "default_off", "enforce_auth_checks_on_uploads": true,
		"suggestion_commit_message": nil, "merge_commit_template": nil, "squash_commit_template": nil, "autoclose_referenced_issues": true,
	}))
	for _, feature := range []string{"issues", "merge_requests", "wiki", "jobs", "snippets", "container_registry", "lfs"} {
		e[feature+"_enabled"] = true
	}
	e["service_desk_enabled"] = false
	for _, feature := range []string{"issues", "repository", "merge_requests", "forking", "builds", "environments", "infrastructure"} {
		e[feature+"_access_level"] = "enabled"
	}
	s.addForkAndRights(e, p, u)
	return e
}

func (s *Server) addForkAndRights(e object, p *project, u *User) {
	if p.forkOf != nil && p.forkOf.visible(u) {
		e["forked_from_project"] = s.simpleProject(p.forkOf, u)
	}
	if u == nil {
		return
	}
	var direct any
	if level := p.members[u.ID]; level > 0 {
		direct = object{"access_level": level, "notification_level": 3}
	}
	e["permissions"] = object{"project_access": direct, "group_access": nil}
}

func (c *call) memberEntity(u *User) object {
	e := c.basics(u).(object)
	e["access_level"], e["created_at"] = c.project.members[u.ID], isoTime(c.project.joined[u.ID])
	e["expires_at"], e["membership_state"], e["created_by"] = nil, "active", nil
	return e
}

func (c *call) listMembers() error {
	var members []*User
	for _, u := range c.users {
		if c.project.members[u.ID] > 0 {
			members = append(members, u)
		}
	}
	return page(c, members, func(u *User) any { return c.memberEntity(u) })
}

func (c *call) getMember() error {
	id, _ := strconv.ParseInt(c.segment["user"], 10, 64) // 0 is nobody
	if c.project.members[id] == 0 {
		return noRecord()
	}
	return c.answer(http.StatusOK, c.memberEntity(c.userByID(id)))
}

func (c *call) listProtectedBranches() error {
	if c.project.defaultBranch == "" {
		return c.answer(http.StatusOK, []any{})
	}
	level := func(id int) object {
		return object{"id": id, "access_level": Maintainer, "access_level_description": "Maintainers"}
	}
	push := level(1)
	push["deploy_key_id"] = nil
	return c.answer(http.StatusOK, []any{object{
		"id": 1, "name": c.project.defaultBranch, "push_access_levels": []any{push},
		"merge_access_levels": []any{level(2)}, "allow_force_push": false,
	}})
}

// orNull is what Rails shows of an empty optional text.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
