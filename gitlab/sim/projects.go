package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A namespace is a group or a user's own; projects live in one.
type namespace struct {
	id     int64
	path   string // full path
	parent *namespace
	user   bool
}

func (n *namespace) name() string { return title(n.path[strings.LastIndexByte(n.path, '/')+1:]) }

// A project and all that belongs to it, guarded by the server's mu.
type project struct {
	id            int64
	path          string
	oldPaths      []string // redirect for GET (§0.4)
	namespace     *namespace
	defaultBranch string // "" while the repository is empty
	firstBranch   string // what the first push makes the default
	settings      Settings
	members       map[int64]int
	joined        map[int64]time.Time
	created       time.Time
	active        time.Time
	forkOf        *project
	repo          repo
	commits       map[string]*commit // read ones; commits never change
	lastIID       map[string]int64

	mergeRequests []*mergeRequest
	pipelines     []*pipeline
	environments  []*environment
	deployments   []*deployment
	hooks         []*hook
	deliveries    []*delivery
	labels        map[string]int64
}

func (p *project) iid(kind string) int64 { p.lastIID[kind]++; return p.lastIID[kind] }

func (p *project) slug() string { return p.path[strings.LastIndexByte(p.path, '/')+1:] }

// title makes a name of a path segment: "infra-stack" → "Infra Stack".
func title(segment string) string {
	words := strings.FieldsFunc(segment, func(r rune) bool { return r == '-' || r == '_' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

var pathForm = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*(/[a-zA-Z0-9_][a-zA-Z0-9_.-]*)+$`)

// AddProject makes a private project, its namespaces and its repository with a first commit of files. With nil files the
// repository stays empty and has no default branch until the first push. The path needs a namespace: "acme/infra".
func (s *Server) AddProject(path, defaultBranch string, files map[string]string) (Project, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.addProject(path, cmp.Or(defaultBranch, "main"), "sha1")
	if err != nil {
		return Project{}, err
	}
	return s.begun(p, files)
}

// AddSHA256Project is AddProject with a repository whose ids have 64 digits.
func (s *Server) AddSHA256Project(path, defaultBranch string, files map[string]string) (Project, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.addProject(path, cmp.Or(defaultBranch, "main"), "sha256")
	if err != nil {
		return Project{}, err
	}
	return s.begun(p, files)
}

// begun makes the first commit, unless the repository is to stay empty.
func (s *Server) begun(p *project, files map[string]string) (Project, error) {
	if files != nil {
		author, err := s.someone()
		if err != nil {
			author = &User{Username: "root", Name: "Administrator"}
		}
		first := Commit{Message: "Initial commit", Files: files}
		if _, err := p.repo.commit(p.firstBranch, "", []Commit{first}, author, s.now()); err != nil {
			return Project{}, err
		}
		p.defaultBranch = p.firstBranch
	}
	return s.projectView(p), nil
}

func (s *Server) addProject(path, branch, format string) (*project, error) {
	if !pathForm.MatchString(path) {
		return nil, fmt.Errorf("sim: %q is no project path; it needs a namespace, as in acme/infra", path)
	}
	if s.projectByPath(path) != nil {
		return nil, fmt.Errorf("sim: the project path %q has already been taken", path)
	}
	p := &project{
		id: s.id("project"), path: path, firstBranch: branch, created: s.now(), active: s.now(),
		members: map[int64]int{}, joined: map[int64]time.Time{}, commits: map[string]*commit{},
		lastIID: map[string]int64{}, labels: map[string]int64{},
	}
	p.settings.Visibility = "private"
	p.namespace = s.namespaceOf(path)
	p.repo = newRepo(filepath.Join(s.opt.Dir, fmt.Sprintf("%d.git", p.id)), format)
	if err := p.repo.init(branch); err != nil {
		return nil, err
	}
	s.projects = append(s.projects, p)
	return p, nil
}

// namespaceOf finds or makes the namespaces above a path.
func (s *Server) namespaceOf(path string) *namespace {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return nil
	}
	full := path[:i]
	for _, n := range s.namespaces {
		if strings.EqualFold(n.path, full) {
			return n
		}
	}
	n := &namespace{parent: s.namespaceOf(full), path: full, id: s.id("namespace")}
	n.user = n.parent == nil && slices.ContainsFunc(s.users, func(u *User) bool { return u.Username == full })
	s.namespaces = append(s.namespaces, n)
	return n
}

// AddFork makes a fork of a project, all its branches included, under another path.
func (s *Server) AddFork(project int64, path string) (Project, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, err := s.projectByID(project)
	if err != nil {
		return Project{}, err
	}
	p, err := s.addProject(path, from.firstBranch, from.repo.format)
	if err != nil {
		return Project{}, err
	}
	if _, err := p.repo.git("fetch", "--quiet", from.repo.dir, "+refs/heads/*:refs/heads/*"); err != nil {
		return Project{}, err
	}
	p.forkOf, p.defaultBranch = from, from.defaultBranch
	return s.projectView(p), nil
}

// AddMember gives a user a role in a project; level 0 takes it away. An unknown project is left alone.
func (s *Server) AddMember(project, user int64, level int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return
	}
	delete(p.members, user)
	if level > 0 {
		p.members[user], p.joined[user] = level, s.now()
	}
}

// Configure changes settings of a project.
func (s *Server) Configure(project int64, change func(*Settings)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return err
	}
	change(&p.settings)
	return nil
}

// MoveProject renames or transfers a project; GET by the old path redirects from now on (§0.4).
func (s *Server) MoveProject(project int64, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return err
	}
	if !pathForm.MatchString(path) || s.projectByPath(path) != nil {
		return fmt.Errorf("sim: the project path %q is taken or no path", path)
	}
	p.oldPaths = append(p.oldPaths, p.path)
	p.path, p.namespace = path, s.namespaceOf(path)
	return nil
}

// DeleteProject takes a project out of the instance: from now on it is as if it had never been there (GitLab 18 and later
// rename it as well and keep it for some days). Its hooks are silent.
func (s *Server) DeleteProject(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(id)
	if err != nil {
		return err
	}
	s.deleted = append(s.deleted, p)
	s.projects = slices.DeleteFunc(s.projects, func(other *project) bool { return other == p })
	return nil
}

// RestoreProject brings a deleted project back, with its id and all that belongs to it.
func (s *Server) RestoreProject(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.deleted, func(p *project) bool { return p.id == id })
	if i < 0 {
		return fmt.Errorf("sim: no project %d was deleted", id)
	}
	s.projects = append(s.projects, s.deleted[i])
	s.deleted = slices.Delete(s.deleted, i, i+1)
	return nil
}

// RenameBranch moves a branch to another name, as a person does who makes main of master: the new one is created, made the
// default if the old one was, and the old one deleted. GitLab tells a project's hooks of the two pushes and of nothing else
// (GOTCHAS 80); merge requests into the old branch stay as they are.
func (s *Server) RenameBranch(project int64, from, to string, opts ...PushOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, _, err := s.begin(project, opts)
	if err != nil {
		return err
	}
	head := p.repo.ref("refs/heads/" + from)
	if head == "" || p.repo.ref("refs/heads/"+to) != "" {
		return fmt.Errorf("sim: the branch %s of %s can't become %s", from, p.path, to)
	}
	if err := p.repo.setRef("refs/heads/"+to, head); err != nil {
		return err
	}
	if err := s.pushed(p, u, []refChange{{ref: "refs/heads/" + to, before: p.repo.zero(), after: head}}); err != nil {
		return err
	}
	if p.defaultBranch == from {
		p.defaultBranch = to
		if _, err := p.repo.git("symbolic-ref", "HEAD", "refs/heads/"+to); err != nil {
			return err
		}
	}
	if err := p.repo.setRef("refs/heads/"+from, ""); err != nil {
		return err
	}
	return s.pushed(p, u, []refChange{{ref: "refs/heads/" + from, before: head, after: p.repo.zero()}})
}

// Projects lists all projects by id.
func (s *Server) Projects() []Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Project
	for _, p := range s.projects {
		all = append(all, s.projectView(p))
	}
	return all
}

func (s *Server) projectView(p *project) Project {
	return Project{ID: p.id, Path: p.path, DefaultBranch: p.defaultBranch, WebURL: s.webURL(p), CloneURL: s.webURL(p) + ".git"}
}

func (s *Server) webURL(p *project) string { return s.url() + "/" + p.path }

func (s *Server) projectByID(id int64) (*project, error) {
	for _, p := range s.projects {
		if p.id == id {
			return p, nil
		}
	}
	return nil, fmt.Errorf("sim: there is no project %d", id)
}

func (s *Server) projectByPath(path string) *project {
	for _, p := range s.projects {
		if strings.EqualFold(p.path, path) {
			return p
		}
	}
	return nil
}

func (s *Server) projectByOldPath(path string) *project {
	for _, p := range s.projects {
		if slices.ContainsFunc(p.oldPaths, func(old string) bool { return strings.EqualFold(old, path) }) {
			return p
		}
	}
	return nil
}

// role is the access level of a user, 0 for none. An administrator may do all.
func (p *project) role(u *User) int {
	if u == nil {
		return 0
	}
	if u.Admin {
		return Owner
	}
	return p.members[u.ID]
}

// visible says whether the project exists for u at all.
func (p *project) visible(u *User) bool {
	return p.role(u) > 0 || p.settings.Visibility == "public" || p.settings.Visibility == "internal" && u != nil
}

// readable says whether u may read code and merge requests; a Guest of a private project may not (§0.9).
func (p *project) readable(u *User) bool {
	return p.role(u) >= Reporter || p.settings.Visibility != "private" && p.visible(u)
}

// protected says whether only a Maintainer may push to the branch; the default branch is.
func (p *project) protected(branch string) bool { return branch == p.defaultBranch }

func (p *project) mayPush(u *User, branch string) bool {
	if p.protected(branch) {
		return p.role(u) >= Maintainer
	}
	return p.role(u) >= Developer
}

var errMoved = errors.New("moved")

// lookup follows §0.1: a number is an id, a path needs a slash, and an old path answers errMoved.
func (s *Server) lookup(id string) (*project, error) {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		p, err := s.projectByID(n)
		if err != nil {
			return nil, notFound("Project")
		}
		return p, nil
	}
	if strings.Contains(id, "/") {
		if p := s.projectByPath(id); p != nil {
			return p, nil
		}
		if p := s.projectByOldPath(id); p != nil {
			return p, errMoved
		}
	}
	return nil, notFound("Project")
}

// findProject sets the call's project; an invisible one is as if absent (§0.2), a moved one redirects (§0.4).
func (c *call) findProject() error {
	p, err := c.lookup(c.segment["id"])
	if err != nil && !errors.Is(err, errMoved) {
		return err
	}
	if !p.visible(c.user) {
		return notFound("Project")
	}
	c.project = p
	if err == nil {
		return nil
	}
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return message(http.StatusMethodNotAllowed, "Non GET methods are not allowed for moved projects")
	}
	return c.redirect(p)
}

// redirect answers the address by number, with the rest of the path and the query.
func (c *call) redirect(p *project) error {
	parts := strings.SplitN(strings.TrimPrefix(c.r.URL.EscapedPath(), c.opt.RelativeRoot+"/api/v4/"), "/", 3)
	to := fmt.Sprintf("%s/api/v4/projects/%d", c.url(), p.id)
	if len(parts) == 3 {
		to += "/" + parts[2]
	}
	if c.r.URL.RawQuery != "" {
		to += "?" + c.r.URL.RawQuery
	}
	return &refusal{
		status: http.StatusMovedPermanently,
		text:   "This resource has been moved permanently to " + to,
		header: map[string]string{"Location": to, "Content-Type": "text/plain"},
	}
}
