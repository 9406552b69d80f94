package sim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A pipeline holds the jobs of one commit and ref; ours are external ones that the first status of a commit makes (§4).
type pipeline struct {
	id, iid          int64
	sha, ref, source string
	user             *User
	created, updated time.Time
	jobs             []*job // oldest first, retried ones included
}

// A job is one record of a status, ours (external) or a CI job's.
type job struct {
	id                     int64
	name, ref              string
	user                   *User
	ci                     bool
	state                  string
	description, targetURL string
	coverage               any
	created                time.Time
	started, finished      time.Time
	retried                bool // hidden by a newer record of the same name
	history                []StatusChange
}

// AddPipeline adds a CI pipeline with running jobs, as a .gitlab-ci.yml would make; source is e.g. "push" or
// "merge_request_event". External statuses of the commit go into it, and may not use its jobs' names (§4).
func (s *Server) AddPipeline(project int64, sha, ref, source string, jobs ...string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u, _, err := s.begin(project, nil)
	if err != nil {
		return 0, err
	}
	at := p.repo.resolve(sha)
	if at == "" {
		return 0, fmt.Errorf("sim: there is no commit %q in %s", sha, p.path)
	}
	pl := s.newPipeline(p, u, at, ref, source)
	for _, name := range jobs {
		pl.jobs = append(pl.jobs, &job{
			id: s.id("job"), name: name, ref: ref, user: u, ci: true, state: "running", created: s.now(), started: s.now(),
		})
	}
	p.pipelines = append(p.pipelines, pl)
	s.attachPipeline(p, pl)
	return pl.id, nil
}

// newPipeline is not in the project yet: it is kept only once its first job is accepted.
func (s *Server) newPipeline(p *project, u *User, sha, ref, source string) *pipeline {
	return &pipeline{
		id: s.id("pipeline"), iid: p.iid("pipeline"), sha: sha, ref: ref, source: source, user: u, created: s.now(), updated: s.now(),
	}
}

// attachPipeline makes the pipeline the head pipeline of the open merge requests whose head it tests. A fork's merge
// request has only pipelines of the fork (§4, Effect on MRs).
func (s *Server) attachPipeline(p *project, pl *pipeline) {
	for _, target := range s.projects {
		for _, mr := range target.mergeRequests {
			branch := mr.source == p && mr.sourceBranch == pl.ref && mr.sha == pl.sha
			own := target == p && mr.source == p && strings.HasPrefix(pl.ref, fmt.Sprintf("refs/merge-requests/%d/", mr.iid))
			if mr.state == "opened" && (own || branch && !ownPipeline(mr, pl.sha)) {
				mr.headPipeline = pl
			}
		}
	}
}

// ownPipeline says that the merge request has a pipeline of its own for its head, which a branch's does not replace.
func ownPipeline(mr *mergeRequest, sha string) bool {
	return mr.headPipeline != nil && mr.sha == sha && strings.HasPrefix(mr.headPipeline.ref, "refs/merge-requests/")
}

// newestPipeline is the newest one of a commit, of one ref when given; nil when there is none.
func (p *project) newestPipeline(sha, ref string) *pipeline {
	for _, pl := range slices.Backward(p.pipelines) {
		if pl.sha == sha && (ref == "" || pl.ref == ref) {
			return pl
		}
	}
	return nil
}

func (p *project) pipeline(id int64) *pipeline {
	for _, pl := range p.pipelines {
		if pl.id == id {
			return pl
		}
	}
	return nil
}

func (pl *pipeline) latest() []*job {
	return slices.DeleteFunc(slices.Clone(pl.jobs), func(j *job) bool { return j.retried })
}

// status folds the latest jobs into one state, by GitLab's rules in their order.
func (pl *pipeline) status() string {
	only := func(states ...string) bool {
		return !slices.ContainsFunc(pl.latest(), func(j *job) bool { return !slices.Contains(states, j.state) })
	}
	switch {
	case len(pl.jobs) == 0:
		return "created"
	case only("skipped"):
		return "skipped"
	case only("success", "skipped"):
		return "success"
	case only("canceled", "success", "skipped"):
		return "canceled"
	case only("pending", "skipped"):
		return "pending"
	case !only("success", "failed", "canceled", "skipped"):
		return "running"
	default:
		return "failed"
	}
}

// times are when the first job started and, once nothing is left to run, when the last one ended.
func (pl *pipeline) times() (started, finished time.Time) {
	for _, j := range pl.latest() {
		if !j.started.IsZero() && (started.IsZero() || j.started.Before(started)) {
			started = j.started
		}
		if j.finished.After(finished) {
			finished = j.finished
		}
	}
	if s := pl.status(); s == "pending" || s == "running" {
		finished = time.Time{}
	}
	return started, finished
}

func (s *Server) pipelineURL(p *project, pl *pipeline) string {
	return s.webURL(p) + "/-/pipelines/" + strconv.FormatInt(pl.id, 10)
}

func (s *Server) pipelineBasics(p *project, pl *pipeline) object {
	return object{
		"id": pl.id, "iid": pl.iid, "project_id": p.id, "sha": pl.sha, "ref": pl.ref, "status": pl.status(), "source": pl.source,
		"created_at": isoTime(pl.created), "updated_at": isoTime(pl.updated), "web_url": s.pipelineURL(p, pl),
	}
}

func (s *Server) pipelineEntity(p *project, pl *pipeline) object {
	e := s.pipelineBasics(p, pl)
	state := pl.status()
	started, finished := pl.times()
	maps.Copy(e, (object{
		"before_sha": strings.Repeat("0", len(pl.sha)), "tag": false, "yaml_errors": nil, "user": s.basics(pl.user), "started_at": isoTime(started),
		"finished_at": isoTime(finished), "committed_at": nil, "duration": nil, "queued_duration": nil, "coverage": nil,
		"detailed_status": object{
			"icon": "status_" + state, "text": title(state), "label": state, "group": state, "tooltip": state, "has_details": false,
			"details_path": s.opt.RelativeRoot + "/" + p.path + "/-/pipelines/" + strconv.FormatInt(pl.id, 10),
			"illustration": nil, "favicon": "/assets/ci_favicons/favicon_status_" + state + ".png",
		},
		"archived": false,
	}))
	return e
}

func (c *call) listPipelines() error {
	var found []*pipeline
	for _, pl := range slices.Backward(c.project.pipelines) {
		ok := true
		for name, value := range map[string]string{"sha": pl.sha, "ref": pl.ref, "source": pl.source, "status": pl.status()} {
			ok = ok && (!c.in.has(name) || c.in.text(name) == value)
		}
		if ok {
			found = append(found, pl)
		}
	}
	return page(c, found, func(pl *pipeline) any { return c.pipelineBasics(c.project, pl) })
}

func (c *call) getPipeline() error {
	id, _ := strconv.ParseInt(c.segment["pipeline"], 10, 64) // 0 is none
	pl := c.project.pipeline(id)
	if pl == nil {
		return noRecord()
	}
	return c.answer(http.StatusOK, c.pipelineEntity(c.project, pl))
}
