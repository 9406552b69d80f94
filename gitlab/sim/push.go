package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Commit of a push.
type Commit struct {
	Message string
	Files   map[string]string // path → content
	Delete  []string          // paths
}

// A PushOption changes a Push.
type PushOption func(*push)

type push struct {
	user int64
	from string
	del  []string
	then []Commit
}

// By names the user who pushes; without it the visitor of the pages does (see SetVisitor).
func By(user int64) PushOption { return func(p *push) { p.user = user } }

// Deleting removes files in the commit.
func Deleting(paths ...string) PushOption { return func(p *push) { p.del = paths } }

// Then adds another commit to the same push.
func Then(c Commit) PushOption { return func(p *push) { p.then = append(p.then, c) } }

// From names the branch, tag or commit a new branch starts from, instead of the default branch.
func From(ref string) PushOption { return func(p *push) { p.from = ref } }

// A refChange is one line of what a push changed: a full ref name and both sides, zeros where absent.
type refChange struct{ ref, before, after string }

// begin finds what every push needs. The caller holds mu.
func (s *Server) begin(project int64, opts []PushOption) (*project, *User, push, error) {
	var spec push
	for _, o := range opts {
		o(&spec)
	}
	p, err := s.projectByID(project)
	if err != nil {
		return nil, nil, spec, err
	}
	u, err := s.person(spec.user)
	return p, u, spec, err
}

// Push commits files to a branch (made from the default branch when absent), as a person's git push would: merge
// requests of the branch are updated and hooks sent. It returns the new head.
func (s *Server) Push(project int64, branch, message string, files map[string]string, opts ...PushOption) (sha string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, spec, err := s.begin(project, opts)
	if err != nil {
		return "", err
	}
	change, err := s.commitTo(p, u, branch, message, files, spec)
	if err != nil {
		return "", err
	}
	return change.after, s.pushed(p, u, []refChange{change})
}

func (s *Server) commitTo(p *project, u *User, branch, message string, files map[string]string, spec push) (refChange, error) {
	ref := "refs/heads/" + branch
	change := refChange{ref: ref, before: p.repo.ref(ref)}
	from := change.before
	if from == "" {
		change.before = p.repo.zero()
		start := spec.from
		if start == "" {
			start = p.defaultBranch
		}
		if from = p.repo.resolve(start); from == "" && start != "" {
			return change, fmt.Errorf("sim: a new branch cannot start from %q: there is no such commit", start)
		}
	}
	commits := append([]Commit{{Message: message, Files: files, Delete: spec.del}}, spec.then...)
	sha, err := p.repo.commit(branch, from, commits, u, s.now())
	change.after = sha
	return change, err
}

// PushMany pushes one commit each to many branches at once; more than 3 branches send no hook (§W2).
func (s *Server) PushMany(project int64, branches []string, message string, files map[string]string, opts ...PushOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, spec, err := s.begin(project, opts)
	if err != nil {
		return err
	}
	var changes []refChange
	for _, branch := range branches {
		change, err := s.commitTo(p, u, branch, message+" ("+branch+")", files, spec)
		if err != nil {
			return err
		}
		changes = append(changes, change)
	}
	return s.pushed(p, u, changes)
}

// ForcePush sets a branch to any commit of the repository.
func (s *Server) ForcePush(project int64, branch, sha string, opts ...PushOption) error {
	return s.moveRef(project, "refs/heads/"+branch, sha, opts)
}

// DeleteBranch deletes a branch; open merge requests from it are closed.
func (s *Server) DeleteBranch(project int64, branch string, opts ...PushOption) error {
	return s.moveRef(project, "refs/heads/"+branch, "", opts)
}

// DeleteTag deletes a tag.
func (s *Server) DeleteTag(project int64, name string, opts ...PushOption) error {
	return s.moveRef(project, "refs/tags/"+name, "", opts)
}

// moveRef points a ref at a commit, or deletes it when to is empty.
func (s *Server) moveRef(project int64, ref, to string, opts []PushOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, _, err := s.begin(project, opts)
	if err != nil {
		return err
	}
	change := refChange{ref: ref, before: p.repo.ref(ref), after: p.repo.zero()}
	if to != "" {
		if change.after = p.repo.resolve(to); change.after == "" {
			return fmt.Errorf("sim: there is no commit %q in %s", to, p.path)
		}
	}
	if change.before == "" {
		if to == "" {
			return fmt.Errorf("sim: there is no %s in %s", ref, p.path)
		}
		change.before = p.repo.zero()
	}
	if err := p.repo.setRef(ref, nonZero(change.after)); err != nil {
		return err
	}
	return s.pushed(p, u, []refChange{change})
}

// CreateTag makes a tag of a commit: annotated when message is not empty, else lightweight.
func (s *Server) CreateTag(project int64, name, sha, message string, opts ...PushOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, _, err := s.begin(project, opts)
	if err != nil {
		return err
	}
	at := p.repo.resolve(sha)
	if at == "" {
		return fmt.Errorf("sim: there is no commit %q in %s", sha, p.path)
	}
	ref := "refs/tags/" + name
	if p.repo.ref(ref) != "" {
		return fmt.Errorf("sim: the tag %s exists already", name)
	}
	target := at
	if message != "" {
		object := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger %s <%s> %d +0000\n\n%s\n", at, name, u.Name, u.email(), s.now().Unix(), message)
		if target, err = p.repo.feed(strings.NewReader(object), "mktag"); err != nil {
			return err
		}
	}
	if err := p.repo.setRef(ref, target); err != nil {
		return err
	}
	return s.pushed(p, u, []refChange{{ref: ref, before: p.repo.zero(), after: target}})
}

// Head is the commit of a branch, "" when there is no such branch.
func (s *Server) Head(project int64, branch string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return ""
	}
	return p.repo.ref("refs/heads/" + branch)
}

// pushHooksLimit is push_event_hooks_limit: a push of more branches or tags sends no hook at all for them (§W2).
const pushHooksLimit = 3

// pushed lets everything follow that follows a push: default branch, hooks, merge requests. The caller holds mu.
func (s *Server) pushed(p *project, u *User, changes []refChange) error {
	p.active = s.now()
	changes = slices.DeleteFunc(changes, func(c refChange) bool { return c.before == c.after })
	wasEmpty := p.defaultBranch == ""
	for _, c := range changes {
		if branch, ok := strings.CutPrefix(c.ref, "refs/heads/"); ok && wasEmpty && (p.defaultBranch == "" || branch == p.firstBranch) {
			p.defaultBranch = branch
		}
	}
	if wasEmpty && p.defaultBranch != "" {
		if _, err := p.repo.git("symbolic-ref", "HEAD", "refs/heads/"+p.defaultBranch); err != nil {
			return err
		}
	}
	var errs []error
	for _, kind := range []string{"refs/heads/", "refs/tags/"} {
		of := slices.DeleteFunc(slices.Clone(changes), func(c refChange) bool { return !strings.HasPrefix(c.ref, kind) })
		if len(of) > pushHooksLimit {
			continue
		}
		for _, c := range of {
			errs = append(errs, s.firePush(p, u, c))
		}
	}
	for _, c := range changes {
		if branch, ok := strings.CutPrefix(c.ref, "refs/heads/"); ok {
			errs = append(errs, s.refreshMergeRequests(p, u, branch, c))
		}
	}
	return errors.Join(errs...)
}
