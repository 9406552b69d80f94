package sim

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShapes holds the keys of our answers against recorded ones. Keys below a null on either side do not count, and
// neither do those a recording has from a newer or another edition (listed where needed).
func TestShapes(t *testing.T) {
	w := newWorld(t)
	head := w.push("feature/nat", map[string]string{"stacks/network/nat.tf": "x\n"}, By(w.users["developer"].ID))
	iid := w.openMR("feature/nat")
	w.check(w.s.CreateTag(w.project.ID, "v1.1.0", "main", "Release 1.1.0"))
	mr := w.in("/merge_requests/%d", iid)

	status := w.want(201, "developer", "POST", w.in("/statuses/%s", head), map[string]any{"state": "running", "name": "a/b", "ref": "feature/nat"})
	note := w.want(201, "developer", "POST", mr+"/notes", map[string]any{"body": "Plan: 2 to add"})
	hook := map[string]any{"url": "https://appliance.example.com/hooks", "token": "s"}
	env := map[string]any{"name": "production/network", "external_url": "https://a.example.com"}
	created := w.want(201, "developer", "POST", w.in("/environments"), env)
	deploy := map[string]any{"environment": "production/network", "sha": head, "ref": "feature/nat", "tag": false, "status": "running"}
	deployment := w.want(201, "developer", "POST", w.in("/deployments"), deploy)
	discussion := w.want(201, "developer", "POST", mr+"/discussions", map[string]any{"body": "Look"})
	project := w.in("")

	for _, c := range []struct {
		sample, who, method, path string
		body                      any
	}{
		{"version", "guest", "GET", "/version", nil},
		{"metadata", "guest", "GET", "/metadata", nil},
		{"user", "developer", "GET", "/user", nil},
		{"users_by_username", "developer", "GET", "/users?username=DEVELOPER", nil},
		{"project", "maintainer", "GET", project, nil},
		{"projects_list_simple", "maintainer", "GET", "/projects?simple=true&membership=true", nil},
		{"members_all", "developer", "GET", project + "/members/all", nil},
		{"branch", "maintainer", "GET", project + "/repository/branches/main", nil},
		{"commit", "maintainer", "GET", project + "/repository/commits/" + head, nil},
		{"commits_list", "maintainer", "GET", project + "/repository/commits?ref_name=main", nil},
		{"commit_refs", "maintainer", "GET", project + "/repository/commits/" + head + "/refs", nil},
		{"commit_merge_requests", "maintainer", "GET", project + "/repository/commits/" + head + "/merge_requests", nil},
		{"commit_statuses_list", "maintainer", "GET", project + "/repository/commits/" + head + "/statuses", nil},
		{"compare", "maintainer", "GET", project + "/repository/compare?from=main&to=feature%2Fnat", nil},
		{"tag", "maintainer", "GET", project + "/repository/tags/v1.1.0", nil},
		{"tree", "maintainer", "GET", project + "/repository/tree", nil},
		{"file", "maintainer", "GET", project + "/repository/files/stacks%2Fnetwork%2Fmain.tf?ref=main", nil},
		{"protected_branches_list", "maintainer", "GET", project + "/protected_branches", nil},
		{"merge_request", "maintainer", "GET", mr, nil},
		{"merge_requests_list", "maintainer", "GET", project + "/merge_requests", nil},
		{"merge_request_diffs", "maintainer", "GET", mr + "/diffs", nil},
		{"merge_request_versions", "maintainer", "GET", mr + "/versions", nil},
		{"merge_request_pipelines", "maintainer", "GET", mr + "/pipelines", nil},
		{"merge_request_approvals_ce", "maintainer", "GET", mr + "/approvals", nil},
		{"notes_list", "maintainer", "GET", mr + "/notes?sort=asc", nil},
		{"note_update", "developer", "PUT", mr + "/notes/" + itoa(note.id()), map[string]any{"body": "Applied."}},
		{"discussion_resolve", "developer", "PUT", mr + "/discussions/" + discussion.object()["id"].(string) + "?resolved=true", nil},
		{"hook_create", "maintainer", "POST", project + "/hooks", hook},
		{"hooks_list", "maintainer", "GET", project + "/hooks", nil},
		{"environment", "maintainer", "GET", project + "/environments/" + itoa(created.id()), nil},
		{"environments_list", "maintainer", "GET", project + "/environments", nil},
		{"deployments_list", "maintainer", "GET", project + "/deployments", nil},
		{"deployment_update", "developer", "PUT", project + "/deployments/" + itoa(deployment.id()), map[string]any{"status": "success"}},
		{"environment_stop", "developer", "POST", project + "/environments/" + itoa(created.id()) + "/stop", nil},
		{"personal_access_token_self", "reporter", "GET", "/personal_access_tokens/self", nil},
		{"personal_access_token_self_rotate", "reporter", "POST", "/personal_access_tokens/self/rotate", nil},
	} {
		t.Run(c.sample, func(t *testing.T) { sameShape(t, c.sample, w.as(c.who, c.method, c.path, c.body)) })
	}
	sameShape(t, "commit_status_post", status)
	sameShape(t, "note_create", note)
	sameShape(t, "environment_create", created)
	sameShape(t, "deployment_create", deployment)
	sameShape(t, "discussion_create_19", discussion)
}

// extra are keys of ours that a recording lacks because they are newer or depend on the version (INDEX of the recordings).
var extra = map[string][]string{
	"discussion_resolve": {"resolvable", "resolved"},
}

func sameShape(t *testing.T, name string, got answer) {
	t.Helper()
	status, body := sample(t, name)
	if got.status != status {
		t.Fatalf("%s: status %d %s, want %d", name, got.status, got.raw, status)
	}
	want, have := keys("", body, map[string]bool{}), keys("", got.body, map[string]bool{})
	for _, k := range extra[name] {
		delete(have, k)
	}
	nulls := nullPaths("", body, nulls("", got.body))
	for k := range want {
		if under(k, nulls) {
			delete(want, k)
		}
	}
	for k := range have {
		if under(k, nulls) {
			delete(have, k)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s: keys (-recorded +ours):\n%s", name, diff)
	}
}

func nulls(prefix string, v any) map[string]bool { return nullPaths(prefix, v, map[string]bool{}) }

// nullPaths collects the paths of nulls and empty lists.
func nullPaths(prefix string, v any, into map[string]bool) map[string]bool {
	switch v := v.(type) {
	case nil:
		into[prefix] = true
	case map[string]any:
		for k, inner := range v {
			nullPaths(prefix+k+".", inner, into)
		}
	case []any:
		if len(v) == 0 {
			into[prefix] = true
			break
		}
		nullPaths(prefix+"[].", v[0], into)
	}
	return into
}

func under(key string, nulls map[string]bool) bool {
	for n := range nulls {
		if strings.HasPrefix(key, n) && n != "" {
			return true
		}
	}
	return false
}

// TestErrors holds whole error answers, status and body, against the recorded ones.
func TestErrors(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RefuseLocalHooks = true })
	head := w.push("feature", map[string]string{"a.tf": "1\n"})
	iid := w.openMR("feature")
	project, mr := w.in(""), w.in("/merge_requests/%d", iid)
	statuses := project + "/statuses/" + head
	env := w.want(201, "developer", "POST", project+"/environments", map[string]any{"name": "prod"})
	deploy := func(sha, ref string) map[string]any {
		return map[string]any{"environment": "prod", "sha": sha, "ref": ref, "tag": false, "status": "success"}
	}
	deployment := w.want(201, "developer", "POST", project+"/deployments", deploy(head, "feature"))
	state := func(s string, more ...string) map[string]any {
		m := map[string]any{"state": s}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	if _, err := w.s.AddPipeline(w.project.ID, "main", "main", "push", "plan"); err != nil {
		t.Fatal(err)
	}
	w.want(201, "developer", "POST", statuses, state("pending", "name", "p"))
	w.want(201, "developer", "POST", statuses, state("running", "name", "r"))
	w.check(w.s.MoveProject(mustFork(t, w, "acme/moved").ID, "acme/elsewhere"))
	hidden, err := w.s.AddProject("secret/thing", "main", nil)
	w.check(err)

	for _, c := range []struct {
		sample, who, method, path string
		body                      any
	}{
		{"error_400_missing_param", "maintainer", "POST", project + "/hooks", map[string]any{"name": "x"}},
		{"error_401_no_or_bad_token", "", "GET", "/user", nil},
		{"error_403_forbidden", "reporter", "POST", statuses, state("success")},
		{"hook_forbidden", "developer", "GET", project + "/hooks", nil},
		{"error_404_branch", "developer", "GET", project + "/repository/branches/none", nil},
		{"error_404_file", "developer", "GET", project + "/repository/files/none.tf?ref=main", nil},
		{"error_404_project", "developer", "GET", "/projects/99999", nil},
		{"error_404_project", "developer", "GET", "/projects/" + itoa(hidden.ID), nil},
		{"error_404_project", "developer", "GET", "/projects/acme%252Fplatform%252Finfra-stack", nil},
		{"error_404_project", "developer", "GET", "/projects/infra-stack", nil},
		{"error_404_route", "developer", "GET", "/projects/acme/platform/infra-stack", nil},
		{"error_404_route", "developer", "GET", mr + "/approval_state", nil},
		{"error_404_route", "maintainer", "GET", project + "/protected_environments", nil},
		{"error_404_resource", "developer", "GET", mr + "0", nil},
		{"member_not_found", "developer", "GET", project + "/members/all/99", nil},
		{"error_405", "maintainer", "PATCH", project, nil},
		{"project_moved_write", "root", "POST", "/projects/acme%2Fmoved/hooks", map[string]any{"url": "https://a.example.com"}},
		{"commit_status_bad_state", "developer", "POST", statuses, state("done")},
		{"commit_status_no_state", "developer", "POST", statuses, map[string]any{}},
		{"commit_status_bad_target_url", "developer", "POST", statuses, state("pending", "target_url", "ftp://x")},
		{"commit_status_long_description", "developer", "POST", statuses, state("pending", "description", strings.Repeat("é", 256))},
		{"commit_status_unknown_commit", "developer", "POST", project + "/statuses/" + strings.Repeat("1", 40), state("pending")},
		{"commit_status_pipeline_id_mismatch", "developer", "POST", statuses, state("pending", "pipeline_id", "1")},
		{"commit_status_name_of_ci_job", "maintainer", "POST", project + "/statuses/" + w.s.Head(w.project.ID, "main"), state("pending", "name", "plan")},
		{"commit_status_same_pending", "developer", "POST", statuses, state("pending", "name", "p")},
		{"commit_status_same_running", "developer", "POST", statuses, state("running", "name", "r")},
		{"commit_status_running_to_pending", "developer", "POST", statuses, state("pending", "name", "r")},
		{"commit_status_running_to_skipped", "developer", "POST", statuses, state("skipped", "name", "r")},
		{"commit_status_reporter", "developer", "POST", project + "/statuses/" + w.s.Head(w.project.ID, "main"), state("pending")},
		{"deployment_bad_ref", "developer", "POST", project + "/deployments", deploy(head, "gone")},
		{"deployment_bad_sha", "developer", "POST", project + "/deployments", deploy(strings.Repeat("1", 40), "feature")},
		{"deployment_update_same_status", "developer", "PUT", project + "/deployments/" + itoa(deployment.id()), state2("success")},
		{"environment_bad_name", "developer", "POST", project + "/environments", map[string]any{"name": "prod:eu"}},
		{"environment_name_taken", "developer", "POST", project + "/environments", map[string]any{"name": "prod"}},
		{"environment_delete_not_stopped", "developer", "DELETE", project + "/environments/" + itoa(env.id()), nil},
		{"hook_url_local", "maintainer", "POST", project + "/hooks", map[string]any{"url": "http://127.0.0.1/x"}},
		{"note_empty", "developer", "POST", mr + "/notes", map[string]any{"body": "  "}},
		{"note_too_long", "developer", "POST", mr + "/notes", map[string]any{"body": strings.Repeat("a", maxNote+1)}},
		{"archive_not_found", "developer", "GET", project + "/repository/archive?sha=none", nil},
	} {
		t.Run(c.sample, func(t *testing.T) {
			got := w.as(c.who, c.method, c.path, c.body)
			status, body := sample(t, c.sample)
			if diff := cmp.Diff(body, got.body); got.status != status || diff != "" {
				t.Errorf("%s %s: %d %s, want %d (-recorded +ours):\n%s", c.method, c.path, got.status, got.raw, status, diff)
			}
			if got.header.Get("X-Request-Id") == "" {
				t.Error("an answer has no X-Request-Id")
			}
		})
	}
}

func state2(s string) map[string]any { return map[string]any{"status": s} }

func mustFork(t *testing.T, w *world, path string) Project {
	t.Helper()
	p, err := w.s.AddFork(w.project.ID, path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMovedProjectRedirects(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RelativeRoot = "/scm" })
	w.check(w.s.MoveProject(w.project.ID, "acme/infra"))
	got := w.want(http.StatusMovedPermanently, "developer", "GET", "/projects/acme%2Fplatform%2Finfra-stack/repository/branches?per_page=1", nil)
	want := w.url + "/api/v4" + w.in("/repository/branches?per_page=1")
	if got.header.Get("Location") != want {
		t.Errorf("Location %q, want %q", got.header.Get("Location"), want)
	}
	if got.raw != "This resource has been moved permanently to "+want {
		t.Errorf("body %q", got.raw)
	}
	w.want(404, "stranger", "GET", "/projects/acme%2Fplatform%2Finfra-stack", nil)
}
