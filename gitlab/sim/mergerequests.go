package sim

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A mergeRequest belongs to its target project; source differs for forks.
type mergeRequest struct {
	id, iid                    int64
	title, description         string
	state                      string // opened, closed, merged
	target, source             *project
	targetBranch, sourceBranch string
	sha                        string // head of the source branch
	base, start                string // of the newest diff
	files                      int    // in the newest diff
	conflicts                  bool
	author                     *User
	labels                     []string
	created, updated           time.Time
	prepared                   time.Time // zero while "preparing" (§5)
	edited                     time.Time
	editedBy                   *User
	ended                      time.Time // merged or closed
	endedBy                    *User
	mergeCommit, squashCommit  string
	headPipeline               *pipeline
	versions                   []version
	notes                      []*note
	approvals                  []approval
}

type version struct {
	id                int64
	head, base, start string
	files             int
	at                time.Time
}

type approval struct {
	user *User
	at   time.Time
}

func (mr *mergeRequest) draft() bool { return strings.HasPrefix(strings.ToLower(mr.title), "draft:") }

func (mr *mergeRequest) open() bool { return mr.state == "opened" }

func (mr *mergeRequest) ref(kind string) string {
	return fmt.Sprintf("refs/merge-requests/%d/%s", mr.iid, kind)
}

func (p *project) mergeRequest(iid int64) *mergeRequest {
	for _, mr := range p.mergeRequests {
		if mr.iid == iid {
			return mr
		}
	}
	return nil
}

// OpenMergeRequest opens a merge request inside a project and returns its iid. It is "preparing" for a moment; its hook
// follows then (§W4). The methods of merge requests act as people who may do what they ask: roles are the API's matter.
func (s *Server) OpenMergeRequest(project int64, source, target, title string, author int64) (iid int64, err error) {
	return s.OpenForkMergeRequest(project, project, source, target, title, author)
}

// OpenForkMergeRequest opens a merge request from a branch of fork into project.
func (s *Server) OpenForkMergeRequest(project, fork int64, source, target, title string, author int64) (iid int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to, err1 := s.projectByID(project)
	from, err2 := s.projectByID(fork)
	u, err3 := s.person(author)
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, err
	}
	mr, err := s.openMergeRequest(to, from, source, target, title, "", u)
	if err != nil {
		return 0, err
	}
	return mr.iid, nil
}

func (s *Server) openMergeRequest(to, from *project, source, target, title, description string, u *User) (*mergeRequest, error) {
	sha := from.repo.ref("refs/heads/" + source)
	switch {
	case sha == "":
		return nil, invalid(http.StatusBadRequest, "source_branch", "does not exist")
	case to.repo.ref("refs/heads/"+target) == "":
		return nil, invalid(http.StatusBadRequest, "target_branch", "does not exist")
	case to == from && source == target:
		return nil, message(http.StatusUnprocessableEntity, "You can't use same project/branch for source and target")
	}
	for _, other := range to.mergeRequests {
		if other.open() && other.source == from && other.sourceBranch == source && other.targetBranch == target {
			text := "Another open merge request already exists for this source branch: !" + strconv.FormatInt(other.iid, 10)
			return nil, &refusal{status: http.StatusConflict, body: object{"message": []string{text}}}
		}
	}
	mr := &mergeRequest{
		id: s.id("merge_request"), iid: to.iid("merge_request"), title: title, description: description, state: "opened",
		target: to, source: from, targetBranch: target, sourceBranch: source, author: u, created: s.now(), updated: s.now(),
	}
	if err := s.moveHead(mr, sha); err != nil {
		return nil, err
	}
	to.mergeRequests = append(to.mergeRequests, mr)
	s.spawn(func() {
		s.pause(s.opt.PrepareDelay)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.prepare(mr)
	})
	return mr, nil
}

// moveHead brings the head into the target's repository under refs/merge-requests/<iid>/head.
func (s *Server) moveHead(mr *mergeRequest, sha string) error {
	mr.sha = sha
	if mr.source == mr.target {
		return mr.target.repo.setRef(mr.ref("head"), sha)
	}
	_, err := mr.target.repo.git("fetch", "--quiet", "--no-tags", mr.source.repo.dir, "+refs/heads/"+mr.sourceBranch+":"+mr.ref("head"))
	return err
}

// prepare ends "preparing": the diff is made, then the hook is sent. A second call does nothing.
func (s *Server) prepare(mr *mergeRequest) {
	if !mr.prepared.IsZero() {
		return
	}
	changes := s.touch(mr)
	mr.prepared = mr.updated
	s.newVersion(mr)
	if pl := mr.source.newestPipeline(mr.sha, mr.sourceBranch); pl != nil {
		mr.headPipeline = pl
	}
	changes["merge_status"], changes["prepared_at"] = change("preparing", "checking"), change(nil, hookTime(mr.prepared))
	s.fireMergeRequest(mr, mr.author, "open", "", changes)
}

// newVersion makes a new diff of head against the target as it is now.
func (s *Server) newVersion(mr *mergeRequest) {
	r := mr.target.repo
	mr.start = r.ref("refs/heads/" + mr.targetBranch)
	mr.base = r.mergeBase(mr.start, mr.sha)
	mr.files = 0
	if diffs, err := r.diff(mr.base, mr.sha); err == nil { // unrelated histories have no base and no diff
		mr.files = len(diffs)
	}
	mr.versions = append(mr.versions, version{
		id: s.id("version"), head: mr.sha, base: mr.base, start: mr.start, files: mr.files, at: s.now(),
	})
	s.checkMerge(mr)
}

// checkMerge tries the merge and keeps refs/merge-requests/<iid>/merge up to date; it is absent on conflicts.
func (s *Server) checkMerge(mr *mergeRequest) {
	r := mr.target.repo
	tree, ok := r.mergeTree("refs/heads/"+mr.targetBranch, mr.sha)
	mr.conflicts = !ok
	target, commit := r.ref("refs/heads/"+mr.targetBranch), ""
	if ok {
		text := "Merge " + mr.sha + " into " + target
		made, err := r.commitTree(tree, text, mr.author, s.now(), target, mr.sha)
		if err != nil {
			s.log.Error("make a merge ref", "merge_request", mr.iid, "error", err)
		}
		commit = made
	}
	if err := r.setRef(mr.ref("merge"), commit); err != nil {
		s.log.Error("move a merge ref", "merge_request", mr.iid, "error", err)
	}
}

// refreshMergeRequests follows a push to a branch: merge requests from it get the new head, those into it are checked anew.
func (s *Server) refreshMergeRequests(p *project, u *User, branch string, c refChange) error {
	var errs []error
	for _, other := range s.projects {
		for _, mr := range other.mergeRequests {
			switch {
			case !mr.open():
			case mr.source == p && mr.sourceBranch == branch:
				errs = append(errs, s.sourceMoved(mr, u, c))
			case mr.target == p && mr.targetBranch == branch:
				s.targetMoved(mr, u, c)
			}
		}
	}
	return errors.Join(errs...)
}

// sourceMoved is the update with oldrev; a deleted source branch closes without a hook.
func (s *Server) sourceMoved(mr *mergeRequest, u *User, c refChange) error {
	if isZero(c.after) {
		s.prepare(mr)
		mr.state, mr.ended, mr.endedBy = "closed", s.now(), u
		return nil
	}
	old := mr.sha
	if err := s.moveHead(mr, c.after); err != nil {
		return err
	}
	if !mr.prepared.IsZero() {
		s.newVersion(mr)
	}
	s.systemNote(mr, u, "added commits, head is now "+c.after[:8])
	s.fireMergeRequest(mr, u, "update", old, s.touch(mr))
	return nil
}

// targetMoved sends nothing (GOTCHAS 37), unless the push brought the merge request's head along: then it is merged.
func (s *Server) targetMoved(mr *mergeRequest, u *User, c refChange) {
	r := mr.target.repo
	if isZero(c.after) {
		return
	}
	if r.ancestor(mr.sha, c.after) && !isZero(c.before) && !r.ancestor(mr.sha, c.before) {
		mr.mergeCommit = c.after
		s.merged(mr, u)
		return
	}
	if !mr.prepared.IsZero() {
		s.checkMerge(mr)
	}
}

// A MergeRequestEdit names what to change; nil fields stay.
type MergeRequestEdit struct {
	Title, Description, TargetBranch *string
	Labels                           []string // nil stays, empty clears
}

// UpdateMergeRequest edits a merge request; its hook has no oldrev.
func (s *Server) UpdateMergeRequest(project, iid, user int64, edit MergeRequestEdit) error {
	return s.withMergeRequest(project, iid, user, func(mr *mergeRequest, u *User) error {
		s.edit(mr, u, edit)
		return nil
	})
}

func (s *Server) edit(mr *mergeRequest, u *User, edit MergeRequestEdit) {
	changes := object{}
	wasDraft := mr.draft()
	for name, field := range map[string]struct{ now, to *string }{
		"title": {&mr.title, edit.Title}, "description": {&mr.description, edit.Description}, "target_branch": {&mr.targetBranch, edit.TargetBranch},
	} {
		if field.to != nil && *field.to != *field.now {
			changes[name] = change(*field.now, *field.to)
			*field.now = *field.to
		}
	}
	if mr.draft() != wasDraft {
		changes["draft"] = change(wasDraft, mr.draft())
	}
	if edit.Labels != nil && !slices.Equal(edit.Labels, mr.labels) {
		previous := s.labels(mr)
		mr.labels = slices.Clone(edit.Labels)
		changes["labels"] = change(previous, s.labels(mr))
	}
	if _, ok := changes["target_branch"]; ok && !mr.prepared.IsZero() {
		s.newVersion(mr)
	}
	if len(changes) > 0 {
		s.stampEdit(mr, u, changes)
	}
	s.fireMergeRequest(mr, u, "update", "", changes)
}

// stampEdit adds what an edit changes beside the fields: who and when. Labels alone are no edit of the text.
func (s *Server) stampEdit(mr *mergeRequest, u *User, changes object) {
	changes["updated_at"] = s.touch(mr)["updated_at"]
	if _, labels := changes["labels"]; labels && len(changes) == 2 {
		return
	}
	previousBy := any(nil)
	if mr.editedBy != nil {
		previousBy = mr.editedBy.ID
	}
	changes["last_edited_at"] = change(hookTime(mr.edited), hookTime(mr.updated))
	changes["last_edited_by_id"] = change(previousBy, u.ID)
	changes["updated_by_id"] = change(previousBy, u.ID)
	mr.edited, mr.editedBy = mr.updated, u
}

// CloseMergeRequest closes an open merge request.
func (s *Server) CloseMergeRequest(project, iid, user int64) error {
	return s.withMergeRequest(project, iid, user, s.closeMergeRequest)
}

func (s *Server) closeMergeRequest(mr *mergeRequest, u *User) error {
	if !mr.open() {
		return fmt.Errorf("sim: merge request !%d is %s, only an open one can be closed", mr.iid, mr.state)
	}
	s.prepare(mr) // "open" comes before "close", however soon
	mr.ended, mr.endedBy = s.now(), u
	s.setState(mr, u, "closed", "close")
	return nil
}

// ReopenMergeRequest reopens a closed merge request.
func (s *Server) ReopenMergeRequest(project, iid, user int64) error {
	return s.withMergeRequest(project, iid, user, s.reopenMergeRequest)
}

func (s *Server) reopenMergeRequest(mr *mergeRequest, u *User) error {
	if mr.state != "closed" {
		return fmt.Errorf("sim: merge request !%d is %s, only a closed one can be reopened", mr.iid, mr.state)
	}
	sha := mr.source.repo.ref("refs/heads/" + mr.sourceBranch)
	if sha == "" {
		return fmt.Errorf("sim: merge request !%d cannot be reopened: its source branch %s is gone", mr.iid, mr.sourceBranch)
	}
	if err := s.moveHead(mr, sha); err != nil {
		return err
	}
	mr.ended, mr.endedBy = time.Time{}, nil
	s.newVersion(mr)
	s.setState(mr, u, "opened", "reopen")
	return nil
}

var stateIDs = map[string]int{"opened": 1, "closed": 2, "merged": 3, "locked": 4}

// setState changes the state, tells it in a system note and fires the hook.
func (s *Server) setState(mr *mergeRequest, u *User, state, action string) {
	previous := stateIDs[mr.state]
	if state == "merged" {
		previous = stateIDs["locked"] // a merge locks first (§W4)
	}
	mr.state = state
	changes := s.touch(mr)
	changes["state_id"] = change(previous, stateIDs[state])
	s.systemNote(mr, u, strings.Replace(state, "opened", "reopened", 1))
	s.fireMergeRequest(mr, u, action, "", changes)
}

// touch moves updated_at and tells it as the changes of a hook.
func (s *Server) touch(mr *mergeRequest) object {
	before := mr.updated
	mr.updated = s.now()
	return object{"updated_at": change(hookTime(before), hookTime(mr.updated))}
}

func (s *Server) merged(mr *mergeRequest, u *User) {
	mr.ended, mr.endedBy = s.now(), u
	s.setState(mr, u, "merged", "merge")
}

// MergeMergeRequest merges with a merge commit and returns it; an unmergeable one is refused with its detailed status.
func (s *Server) MergeMergeRequest(project, iid, user int64) (sha string, err error) {
	err = s.withMergeRequest(project, iid, user, func(mr *mergeRequest, u *User) error {
		s.prepare(mr)
		if status := s.detailedStatus(mr); status != "mergeable" {
			return fmt.Errorf("sim: GitLab does not merge !%d: %s", mr.iid, status)
		}
		err := s.merge(mr, u, "", false)
		sha = mr.mergeCommit
		return err
	})
	return sha, err
}

// merge makes the commits and moves the target branch; hooks of push and merge request follow.
func (s *Server) merge(mr *mergeRequest, u *User, text string, squash bool) error {
	r, ref := mr.target.repo, "refs/heads/"+mr.targetBranch
	before := r.ref(ref)
	tree, ok := r.mergeTree(before, mr.sha)
	if !ok {
		return message(http.StatusUnprocessableEntity, "Branch cannot be merged")
	}
	if text == "" {
		text = fmt.Sprintf("Merge branch '%s' into '%s'\n\n%s\n\nSee merge request %s!%d",
			mr.sourceBranch, mr.targetBranch, mr.title, mr.target.path, mr.iid)
	}
	head := mr.sha
	if squash {
		made, err := r.commitTree(mr.sha+"^{tree}", mr.title+"\n", u, s.now(), mr.base)
		if err != nil {
			return err
		}
		head, mr.squashCommit = made, made
	}
	after, err := r.commitTree(tree, text, u, s.now(), before, head)
	if err != nil {
		return err
	}
	if err := r.setRef(ref, after); err != nil {
		return err
	}
	mr.mergeCommit = after
	s.merged(mr, u)
	changes := []refChange{{ref: ref, before: before, after: after}}
	if err := s.pushed(mr.target, u, changes); err != nil || !mr.target.settings.RemoveSourceBranchAfter {
		return err
	}
	return s.removeSource(mr, u)
}

func (s *Server) removeSource(mr *mergeRequest, u *User) error {
	ref := "refs/heads/" + mr.sourceBranch
	if mr.sourceBranch == mr.source.defaultBranch {
		return nil
	}
	if err := mr.source.repo.setRef(ref, ""); err != nil {
		return err
	}
	return s.pushed(mr.source, u, []refChange{{ref: ref, before: mr.sha, after: mr.source.repo.zero()}})
}

// MergeRequest is one merge request of a project.
func (s *Server) MergeRequest(project, iid int64) (MergeRequest, error) {
	var view MergeRequest
	err := s.withMergeRequest(project, iid, 0, func(mr *mergeRequest, _ *User) error {
		view = s.mergeRequestView(mr)
		return nil
	})
	return view, err
}

func (s *Server) mergeRequestView(mr *mergeRequest) MergeRequest {
	view := MergeRequest{
		ID: mr.id, IID: mr.iid, Project: mr.target.id, SourceProject: mr.source.id, Title: mr.title, Description: mr.description,
		State: mr.state, SourceBranch: mr.sourceBranch, TargetBranch: mr.targetBranch, SHA: mr.sha, MergeCommitSHA: mr.mergeCommit,
		Labels: slices.Clone(mr.labels), DetailedMergeStatus: s.detailedStatus(mr), WebURL: s.mergeRequestURL(mr),
	}
	if mr.headPipeline != nil {
		view.HeadPipelineID, view.HeadPipelineStatus = mr.headPipeline.id, mr.headPipeline.status()
	}
	return view
}

func (s *Server) withMergeRequest(project, iid, user int64, do func(*mergeRequest, *User) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, _, err := s.begin(project, []PushOption{By(user)})
	if err != nil {
		return err
	}
	mr := p.mergeRequest(iid)
	if mr == nil {
		return fmt.Errorf("sim: there is no merge request !%d in %s", iid, p.path)
	}
	return do(mr, u)
}
