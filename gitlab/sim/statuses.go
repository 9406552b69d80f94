package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxStatusText is the limit of ref, target_url and description in characters; longer ones are refused, not cut (§4).
const maxStatusText = 255

// takeLease is the lock of one project and commit (§4). GitLab tries for two seconds; here an overlapping write is refused
// at once, since a client that overlaps is wrong either way. The caller holds mu.
func (c *call) takeLease(key string) (release func(), err error) {
	if c.leases[key] {
		return nil, message(http.StatusConflict, "Another update to this commit status is in progress")
	}
	c.leases[key] = true
	return func() {
		c.pause(c.opt.StatusHold)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.leases, key)
	}, nil
}

// setStatus is POST /projects/:id/statuses/:sha (§4).
func (c *call) setStatus() error {
	at := c.project.commitAt(c.segment["sha"])
	if at == nil {
		return notFound("Commit")
	}
	pl, fresh, err := c.choosePipeline(at.sha)
	if err != nil {
		return err
	}
	if c.project.protected(pl.ref) && c.project.role(c.user) < Maintainer {
		return forbidden("")
	}
	j, err := c.chooseJob(pl)
	if err != nil {
		return err
	}
	if err := c.transition(pl, j); err != nil {
		return err
	}
	if fresh {
		c.project.pipelines = append(c.project.pipelines, pl)
	}
	pl.updated = c.now()
	c.attachPipeline(c.project, pl)
	c.firePipeline(c.project, pl)
	return c.answer(http.StatusCreated, c.statusEntity(pl, j))
}

// choosePipeline follows the order of §4: the newest pipeline of the commit, of the ref and id if given, else a new external one.
func (c *call) choosePipeline(sha string) (pl *pipeline, fresh bool, err error) {
	ref := c.in.text("ref")
	if c.in.has("pipeline_id") {
		pl = c.project.pipeline(c.in.number("pipeline_id"))
		if pl == nil || pl.sha != sha || ref != "" && pl.ref != ref {
			return nil, false, notFound("Pipeline for pipeline_id, sha and ref")
		}
		return pl, false, nil
	}
	if pl = c.project.newestPipeline(sha, ref); pl != nil {
		return pl, false, nil
	}
	if ref == "" {
		if ref = c.project.branchWith(sha); ref == "" {
			return nil, false, notFound("References for commit")
		}
	}
	if err := tooLong("ref", ref); err != nil {
		return nil, false, err
	}
	return c.newPipeline(c.project, c.user, sha, ref, "external"), true, nil
}

// branchWith is the first branch that contains the commit, or "" (a fork's commit, known only by its merge request).
func (p *project) branchWith(sha string) string {
	out, err := p.repo.git("for-each-ref", "--contains", sha, "--count=1", "--format=%(refname)", "refs/heads")
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(out, "refs/heads/")
}

// chooseJob reuses the caller's own pending or running record of that name and ref, else makes one in state "created".
func (c *call) chooseJob(pl *pipeline) (*job, error) {
	name := c.in.textOr("name", c.in.textOr("context", "default"))
	ref := c.in.textOr("ref", pl.ref)
	for _, j := range pl.jobs {
		if j.ci && j.name == name {
			return nil, invalid(http.StatusBadRequest, "name", "has already been taken")
		}
		if j.name == name && j.ref == ref && j.user == c.user && (j.state == "pending" || j.state == "running") {
			return j, nil
		}
	}
	return &job{name: name, ref: ref, user: c.user, state: "created", created: c.now()}, nil
}

// transitions are the events a record in the given state refuses; everything else is allowed (§4).
var transitions = map[string]map[string]string{
	"pending": {"pending": "enqueue"},
	"running": {"pending": "enqueue", "running": "run", "skipped": "skip"},
}

// transition writes the new state and texts, all or nothing: a refused call changes no text either.
func (c *call) transition(pl *pipeline, j *job) error {
	state := c.in.text("state")
	if event, refused := transitions[j.state][state]; refused {
		return message(http.StatusBadRequest, fmt.Sprintf(
			`Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via "%s")`, event, j.state, event))
	}
	if err := c.checkStatusTexts(); err != nil {
		return err
	}
	if j.id == 0 {
		for _, older := range pl.jobs {
			older.retried = older.retried || older.name == j.name
		}
		j.id = c.id("job")
		pl.jobs = append(pl.jobs, j)
	}
	j.description = c.in.textOr("description", j.description)
	j.targetURL = c.in.textOr("target_url", j.targetURL)
	if v, err := strconv.ParseFloat(c.in.text("coverage"), 64); err == nil {
		j.coverage = v
	}
	j.state = state
	switch state {
	case "running":
		j.started = c.now()
	case "success", "failed", "canceled", "skipped":
		j.finished = c.now()
	}
	j.history = append(j.history, StatusChange{At: c.now(), State: state, Description: j.description, TargetURL: j.targetURL})
	return nil
}

func (c *call) checkStatusTexts() error {
	for _, field := range []string{"ref", "target_url", "description"} {
		if err := tooLong(field, c.in.text(field)); err != nil {
			return err
		}
	}
	if !c.in.has("target_url") || c.in.text("target_url") == "" {
		return nil
	}
	u, err := url.Parse(c.in.text("target_url"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return invalid(http.StatusBadRequest, "target_url", "is blocked: Only allowed schemes are http, https")
	}
	return nil
}

func tooLong(field, text string) error {
	if utf8.RuneCountInString(text) > maxStatusText {
		return invalid(http.StatusBadRequest, field, "is too long (maximum is 255 characters)")
	}
	return nil
}

func (c *call) statusEntity(pl *pipeline, j *job) any {
	return object{
		"id": j.id, "sha": pl.sha, "ref": j.ref, "status": j.state, "name": j.name, "target_url": orNull(j.targetURL),
		"description": orNull(j.description), "created_at": isoTime(j.created), "started_at": isoTime(j.started),
		"finished_at": isoTime(j.finished), "allow_failure": false, "coverage": j.coverage, "pipeline_id": pl.id, "author": c.basics(j.user),
	}
}

// listStatuses lists the latest records of a commit, or all; newest last by default (§4).
func (c *call) listStatuses() error {
	at, err := c.wantedCommit()
	if err != nil {
		return err
	}
	type record struct {
		pl *pipeline
		j  *job
	}
	var found []record
	for _, pl := range c.project.pipelines {
		for _, j := range pl.jobs {
			if pl.sha == at.sha && c.statusWanted(pl, j) {
				found = append(found, record{pl, j})
			}
		}
	}
	if c.in.text("sort") == "desc" {
		slices.Reverse(found)
	}
	return page(c, found, func(r record) any { return c.statusEntity(r.pl, r.j) })
}

func (c *call) statusWanted(pl *pipeline, j *job) bool {
	return (!j.retried || c.in.flag("all")) &&
		(!c.in.has("ref") || c.in.text("ref") == j.ref) &&
		(!c.in.has("name") || c.in.text("name") == j.name) &&
		(!c.in.has("pipeline_id") || c.in.number("pipeline_id") == pl.id)
}

// Statuses lists all external records of a commit, the retried ones included, oldest first.
func (s *Server) Statuses(project int64, sha string) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return nil
	}
	var all []Status
	for _, pl := range p.pipelines {
		for _, j := range pl.jobs {
			if pl.sha == sha && !j.ci {
				all = append(all, statusView(pl, j))
			}
		}
	}
	slices.SortFunc(all, func(a, b Status) int { return int(a.ID - b.ID) })
	return all
}

func statusView(pl *pipeline, j *job) Status {
	return Status{
		ID: j.id, Pipeline: pl.id, SHA: pl.sha, Ref: j.ref, Name: j.name, State: j.state, Description: j.description,
		TargetURL: j.targetURL, User: j.user.Username, Retried: j.retried, CreatedAt: j.created, History: slices.Clone(j.history),
	}
}
