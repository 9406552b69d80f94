package sim

import (
	"net/http"
	"regexp"
	"strings"

	"groundcrew/gitlab/sim/spec"
)

// A route is one endpoint and what it asks for before its handler runs.
type route struct {
	method string
	path   string // segments; ":name" or "prefix:name" take one whole segment
	do     func(*call) error
	scopes []string // any one is enough; nil takes every token
	access access   // for projects/:id
	public bool     // no token needed where the project is public
	lease  bool     // one write of a commit at a time (§4)
	params []param
	parts  []string
}

// access is what a caller must be able to do in the project.
type access int

const (
	toSee      access = iota // the project is visible
	toRead                   // code, merge requests, environments: Reporter, or a public project
	toDevelop                // Developer
	toMaintain               // Maintainer
)

var (
	readScopes  = []string{"api", "read_api"}
	writeScopes = []string{"api"}
	codeScopes  = []string{"api", "read_api", "read_repository"}
)

func get(path string, need access, do func(*call) error) route {
	return route{method: http.MethodGet, path: path, do: do, scopes: readScopes, access: need}
}

func post(path string, need access, do func(*call) error) route {
	return route{method: http.MethodPost, path: path, do: do, scopes: writeScopes, access: need}
}

func put(path string, need access, do func(*call) error) route {
	return route{method: http.MethodPut, path: path, do: do, scopes: writeScopes, access: need}
}

func del(path string, need access, do func(*call) error) route {
	return route{method: http.MethodDelete, path: path, do: do, scopes: writeScopes, access: need}
}

// open marks a reading route that needs no token where the project is public.
func (rt route) open() route { rt.public = true; return rt }

func (rt route) leased() route { rt.lease = true; return rt }

func (rt route) scoped(scopes ...string) route { rt.scopes = scopes; return rt }

func (rt *route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(rt.parts) {
		return nil, false
	}
	named := map[string]string{}
	for i, part := range rt.parts {
		prefix, name, variable := strings.Cut(part, ":")
		rest, ok := strings.CutPrefix(segments[i], prefix)
		switch {
		case !variable && segments[i] != part, variable && (!ok || rest == ""):
			return nil, false
		case variable:
			named[name] = rest
		}
	}
	return named, true
}

const (
	projectPath = "projects/:id"
	repoPath    = "projects/:id/repository"
	mrPath      = "projects/:id/merge_requests"
	mrOnePath   = "projects/:id/merge_requests/:iid"
	hookPath    = "projects/:id/hooks"
	envPath     = "projects/:id/environments"
	deployPath  = "projects/:id/deployments"
)

var variable = regexp.MustCompile(`:\w+`)

// operation is a route as the published description names it.
func (rt *route) operation() string {
	return rt.method + " " + variable.ReplaceAllString(rt.path, "{}")
}

// apiRoutes is every endpoint of the simulated API. What a request may bring is what GitLab publishes of it.
func apiRoutes(published *spec.Table) []route {
	all := append(instanceRoutes(), projectRoutes()...)
	all = append(all, mergeRequestRoutes()...)
	all = append(all, deliveryRoutes()...)
	for i := range all {
		all[i].parts = strings.Split(all[i].path, "/")
		all[i].params = paramsOf(published.Operations[all[i].operation()])
	}
	return all
}

func instanceRoutes() []route {
	self := "personal_access_tokens/self"
	return []route{
		get("version", toSee, (*call).getVersion).scoped("api", "read_api", "read_user"),
		get("metadata", toSee, (*call).getMetadata).scoped("api", "read_api", "read_user"),
		get("user", toSee, (*call).getUser).scoped("api", "read_api", "read_user"),
		get("users", toSee, (*call).listUsers).scoped("api", "read_api", "read_user"),
		get("users/:user", toSee, (*call).getUserByID).scoped("api", "read_api", "read_user"),
		get(self, toSee, (*call).getOwnToken).scoped(),
		del(self, toSee, (*call).revokeOwnToken).scoped(),
		post(self+"/rotate", toSee, (*call).rotateOwnToken).scoped("api", "self_rotate"),
		get("personal_access_tokens", toSee, (*call).listTokens),
		get("projects", toSee, (*call).listProjects).open(),
	}
}

func projectRoutes() []route {
	commit := repoPath + "/commits/:sha"
	return []route{
		get(projectPath, toSee, (*call).getProject).open(),
		get(projectPath+"/members", toSee, (*call).listMembers),
		get(projectPath+"/members/all", toSee, (*call).listMembers),
		get(projectPath+"/members/all/:user", toSee, (*call).getMember),
		get(projectPath+"/members/:user", toSee, (*call).getMember),
		get(projectPath+"/protected_branches", toMaintain, (*call).listProtectedBranches),

		get(repoPath+"/branches", toRead, (*call).listBranches).open(),
		get(repoPath+"/branches/:branch", toRead, (*call).getBranch).open(),
		get(repoPath+"/tags", toRead, (*call).listTags).open(),
		get(repoPath+"/tags/:tag", toRead, (*call).getTag).open(),
		get(repoPath+"/commits", toRead, (*call).listCommits).open(),
		get(commit, toRead, (*call).getCommit).open(),
		get(commit+"/refs", toRead, (*call).listCommitRefs).open(),
		get(commit+"/merge_requests", toRead, (*call).listCommitMergeRequests).open(),
		get(commit+"/statuses", toRead, (*call).listStatuses),
		post(projectPath+"/statuses/:sha", toDevelop, (*call).setStatus).leased(),
		get(repoPath+"/tree", toRead, (*call).listTree).open(),
		get(repoPath+"/files/:path", toRead, (*call).getFile).open(),
		get(repoPath+"/files/:path/raw", toRead, (*call).getRawFile).open().scoped(codeScopes...),
		get(repoPath+"/archive", toRead, (*call).getArchive).open().scoped(codeScopes...),
		get(repoPath+"/archive.:format", toRead, (*call).getArchive).open().scoped(codeScopes...),
		get(repoPath+"/compare", toRead, (*call).compare).open(),
		get(repoPath+"/merge_base", toRead, (*call).mergeBase).open(),
	}
}

func mergeRequestRoutes() []route {
	notes, discussions := mrOnePath+"/notes", mrOnePath+"/discussions"
	return []route{
		get(mrPath, toRead, (*call).listMergeRequests).open(),
		post(mrPath, toDevelop, (*call).createMergeRequest),
		get(mrOnePath, toRead, (*call).getMergeRequest).open(),
		put(mrOnePath, toDevelop, (*call).editMergeRequest),
		put(mrOnePath+"/merge", toRead, (*call).acceptMergeRequest),
		get(mrOnePath+"/merge_ref", toRead, (*call).getMergeRef),
		get(mrOnePath+"/diffs", toRead, (*call).listDiffs).open(),
		get(mrOnePath+"/changes", toRead, (*call).getChanges).open(),
		get(mrOnePath+"/versions", toRead, (*call).listVersions).open(),
		get(mrOnePath+"/pipelines", toRead, (*call).listMergeRequestPipelines).open(),
		get(mrOnePath+"/commits", toRead, (*call).listMergeRequestCommits).open(),
		get(mrOnePath+"/approvals", toRead, (*call).getApprovals),
		post(mrOnePath+"/approve", toDevelop, (*call).approve),
		post(mrOnePath+"/unapprove", toDevelop, (*call).unapprove),

		get(notes, toRead, (*call).listNotes).open(),
		post(notes, toRead, (*call).createNote),
		get(notes+"/:note", toRead, (*call).getNote).open(),
		put(notes+"/:note", toRead, (*call).editNote),
		del(notes+"/:note", toRead, (*call).deleteNote),
		get(discussions, toRead, (*call).listDiscussions).open(),
		post(discussions, toRead, (*call).createDiscussion),
		get(discussions+"/:discussion", toRead, (*call).getDiscussion).open(),
		put(discussions+"/:discussion", toRead, (*call).resolveDiscussion),
		post(discussions+"/:discussion/notes", toRead, (*call).reply),
		put(discussions+"/:discussion/notes/:note", toRead, (*call).editNote),
		del(discussions+"/:discussion/notes/:note", toRead, (*call).deleteNote),

		get(projectPath+"/pipelines", toRead, (*call).listPipelines).open(),
		get(projectPath+"/pipelines/:pipeline", toRead, (*call).getPipeline).open(),
	}
}

func deliveryRoutes() []route {
	return []route{
		get(hookPath, toMaintain, (*call).listHooks),
		post(hookPath, toMaintain, (*call).createHook),
		get(hookPath+"/:hook", toMaintain, (*call).getHook),
		put(hookPath+"/:hook", toMaintain, (*call).editHook),
		del(hookPath+"/:hook", toMaintain, (*call).deleteHook),
		post(hookPath+"/:hook/test/:trigger", toMaintain, (*call).testHook),
		get(hookPath+"/:hook/events", toMaintain, (*call).listHookEvents),
		post(hookPath+"/:hook/events/:event/resend", toMaintain, (*call).resendHookEvent),

		get(envPath, toRead, (*call).listEnvironments),
		post(envPath, toDevelop, (*call).createEnvironment),
		get(envPath+"/:env", toRead, (*call).getEnvironment),
		put(envPath+"/:env", toDevelop, (*call).editEnvironment),
		del(envPath+"/:env", toDevelop, (*call).deleteEnvironment),
		post(envPath+"/:env/stop", toDevelop, (*call).stopEnvironment),

		get(deployPath, toRead, (*call).listDeployments),
		post(deployPath, toDevelop, (*call).createDeployment),
		get(deployPath+"/:deployment", toRead, (*call).getDeployment),
		put(deployPath+"/:deployment", toDevelop, (*call).updateDeployment),
		del(deployPath+"/:deployment", toDevelop, (*call).deleteDeployment),
		get(deployPath+"/:deployment/merge_requests", toRead, (*call).listDeploymentMergeRequests),
	}
}
