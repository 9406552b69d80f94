package sim

import (
	"errors"
	"net/http"
	"regexp"
	"time"
)

var errTODO = errors.New("sim: not there yet")

type (
	token     struct{}
	namespace struct{}
	project   struct{}
	fault     struct{}
	route     struct{}
	pages     struct{}
)

func apiRoutes() []route        { return nil }
func newPages() (*pages, error) { return &pages{}, nil }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// AddUser adds a person.
func (s *Server) AddUser(username, name string, admin bool) User { return User{} }

// AddBot adds a bot user, as a project access token has one.
func (s *Server) AddBot(username, name string) User { return User{} }

// AddToken makes a personal access token and returns its value (glpat-…). A zero expires never ends.
func (s *Server) AddToken(userID int64, name string, scopes []string, expires time.Time) string {
	return ""
}

// RevokeToken revokes a token by its value.
func (s *Server) RevokeToken(value string) {}

// ExpireToken makes a token expired as of now.
func (s *Server) ExpireToken(value string) {}

// AddProject makes a project, its namespaces and its repository with a first commit of files (nil: an empty repository).
func (s *Server) AddProject(path, defaultBranch string, files map[string]string) (Project, error) {
	return Project{}, errTODO
}

// AddFork makes a fork of a project under another path.
func (s *Server) AddFork(project int64, path string) (Project, error) { return Project{}, errTODO }

// AddMember gives a user a role in a project; level 0 takes it away.
func (s *Server) AddMember(project, user int64, level int) {}

// Configure changes settings of a project.
func (s *Server) Configure(project int64, change func(*Settings)) error { return errTODO }

// MoveProject renames or transfers a project; its old path redirects (§0.4).
func (s *Server) MoveProject(project int64, path string) error { return errTODO }

// Projects lists all projects by id.
func (s *Server) Projects() []Project { return nil }

// A Commit of a push.
type Commit struct {
	Message string
	Files   map[string]string // path → content
	Delete  []string          // paths
}

// A PushOption changes a Push.
type PushOption func(*push)

type push struct{}

// By names the user who pushes; without it the first person of the instance does.
func By(user int64) PushOption { return nil }

// Deleting removes files in the commit.
func Deleting(paths ...string) PushOption { return nil }

// Then adds another commit to the same push.
func Then(c Commit) PushOption { return nil }

// From names the branch, tag or commit a new branch starts from, instead of the default branch.
func From(ref string) PushOption { return nil }

// Push commits files to a branch (made from the default branch when absent), as a person's git push would: merge
// requests of the branch are updated and hooks sent. It returns the new head.
func (s *Server) Push(project int64, branch, message string, files map[string]string, opts ...PushOption) (sha string, err error) {
	return "", errTODO
}

// ForcePush sets a branch to any commit of the repository.
func (s *Server) ForcePush(project int64, branch, sha string, opts ...PushOption) error {
	return errTODO
}

// DeleteBranch deletes a branch.
func (s *Server) DeleteBranch(project int64, branch string, opts ...PushOption) error { return errTODO }

// CreateTag makes a tag of a commit: annotated when message is not empty, else lightweight.
func (s *Server) CreateTag(project int64, name, sha, message string, opts ...PushOption) error {
	return errTODO
}

// DeleteTag deletes a tag.
func (s *Server) DeleteTag(project int64, name string, opts ...PushOption) error { return errTODO }

// PushMany pushes one commit to many branches at once; more than 3 branches send no hook (§W2).
func (s *Server) PushMany(project int64, branches []string, message string, files map[string]string, opts ...PushOption) error {
	return errTODO
}

// Head is the commit of a branch, "" when there is no such branch.
func (s *Server) Head(project int64, branch string) string { return "" }

// OpenMergeRequest opens a merge request inside a project and returns its iid.
func (s *Server) OpenMergeRequest(project int64, source, target, title string, author int64) (iid int64, err error) {
	return 0, errTODO
}

// OpenForkMergeRequest opens a merge request from a branch of fork into project.
func (s *Server) OpenForkMergeRequest(project, fork int64, source, target, title string, author int64) (iid int64, err error) {
	return 0, errTODO
}

// A MergeRequestEdit names what to change; nil fields stay.
type MergeRequestEdit struct {
	Title, Description, TargetBranch *string
	Labels                           []string // nil stays, empty clears
}

// UpdateMergeRequest edits a merge request; its hook has no oldrev.
func (s *Server) UpdateMergeRequest(project, iid, user int64, edit MergeRequestEdit) error {
	return errTODO
}

// CloseMergeRequest closes an open merge request.
func (s *Server) CloseMergeRequest(project, iid, user int64) error { return errTODO }

// ReopenMergeRequest reopens a closed merge request.
func (s *Server) ReopenMergeRequest(project, iid, user int64) error { return errTODO }

// MergeMergeRequest merges with a merge commit and returns it; an unmergeable one is refused with its detailed status.
func (s *Server) MergeMergeRequest(project, iid, user int64) (sha string, err error) {
	return "", errTODO
}

// MergeRequest is one merge request of a project.
func (s *Server) MergeRequest(project, iid int64) (MergeRequest, error) {
	return MergeRequest{}, errTODO
}

// AddNote lets a person comment on a merge request.
func (s *Server) AddNote(project, iid, user int64, body string) (int64, error) { return 0, errTODO }

// AddPipeline adds a CI pipeline with running jobs, as a .gitlab-ci.yml would make.
func (s *Server) AddPipeline(project int64, sha, ref, source string, jobs ...string) (int64, error) {
	return 0, errTODO
}

// A Fault is trouble on purpose for requests whose method and path match.
type Fault struct {
	Method       string         // "" matches all
	Path         *regexp.Regexp // against the escaped path as sent, relative root included; nil matches all
	Times        int            // 0: until cleared
	Status       int            // answer with this; 0 goes on to the real work
	Header       http.Header
	Body         string
	Hang         bool          // never answer, until cleared, Close or the client goes away
	CutAfterWork bool          // do the work, then drop the connection without an answer
	CutAt        int           // do the work, send this many bytes of the body, then drop the connection
	Delay        time.Duration // wait first
}

// RateLimitedJSON is an application limit: 429 in JSON without Retry-After (§0.6).
func RateLimitedJSON() Fault { return Fault{} }

// Throttled is a Rack::Attack throttle: 429 in plain text with Retry-After (§0.6).
func Throttled(retryAfter time.Duration) Fault { return Fault{} }

// Conflict is a lost lock of a commit status: 409 (§4).
func Conflict() Fault { return Fault{} }

// Unavailable502HTML is a GitLab that is starting: 502 with a page (GOTCHAS 75).
func Unavailable502HTML() Fault { return Fault{} }

// Fault adds trouble; clear ends it and releases what hangs in it.
func (s *Server) Fault(f Fault) (clear func()) { return func() {} }

// Requests lists every request received.
func (s *Server) Requests() []Request { return nil }

// Refused lists the requests GitLab would have refused: API answers 400 to 499 that no Fault made.
func (s *Server) Refused() []Request { return nil }

// Statuses lists all records of a commit, oldest first.
func (s *Server) Statuses(project int64, sha string) []Status { return nil }

// Notes lists the notes of a merge request, oldest first.
func (s *Server) Notes(project, iid int64) []Note { return nil }

// Environments lists the environments of a project by id.
func (s *Server) Environments(project int64) []Environment { return nil }

// Deployments lists the deployments of a project by id.
func (s *Server) Deployments(project int64) []Deployment { return nil }

// Hooks lists the hooks of a project by id.
func (s *Server) Hooks(project int64) []Hook { return nil }

// HookDeliveries lists the deliveries of a project's hooks, oldest first.
func (s *Server) HookDeliveries(project int64) []HookDelivery { return nil }

// Redeliver sends a delivery again, with the same Idempotency-Key, and waits for the answer.
func (s *Server) Redeliver(delivery int64) error { return errTODO }

// DeliverTwice makes every hook arrive twice, with the same keys.
func (s *Server) DeliverTwice(on bool) {}

// SetVisitor says as whom the pages act; without it the first administrator.
func (s *Server) SetVisitor(user int64) {}
