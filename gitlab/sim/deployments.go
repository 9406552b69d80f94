package sim

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

type deployment struct {
	id, iid          int64
	environment      *environment
	ref, sha         string
	tag              bool
	status           string
	user             *User
	created, updated time.Time
	finished         time.Time
	history          []DeploymentChange
}

// deploymentEvents are the names of the moves to a status, as they show in refusals.
var deploymentEvents = map[string]string{"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}

// current is the newest successful deployment of an environment, nil when there is none.
func (p *project) current(e *environment) *deployment {
	for _, d := range slices.Backward(p.deployments) {
		if d.environment == e && d.status == "success" {
			return d
		}
	}
	return nil
}

func (c *call) deploymentEntity(d *deployment) object {
	e := d.environment
	return object{
		"id": d.id, "iid": d.iid, "ref": d.ref, "sha": d.sha, "created_at": isoTime(d.created), "updated_at": isoTime(d.updated),
		"status": d.status, "user": c.basics(d.user), "deployable": nil,
		"environment": object{
			"id": e.id, "name": e.name, "slug": e.slug, "external_url": orNull(e.externalURL), "created_at": isoTime(e.created),
			"updated_at": isoTime(e.updated),
		},
	}
}

// createDeployment makes the environment if absent and a stopped one available; sha and ref must exist (§8).
func (c *call) createDeployment() error {
	p := c.project
	at := p.commitAt(c.in.text("sha"))
	if at == nil {
		return invalid(http.StatusBadRequest, "sha", "The commit does not exist")
	}
	if p.repo.resolve(c.in.text("ref")) == "" {
		return invalid(http.StatusBadRequest, "ref", "The branch or tag does not exist")
	}
	name := c.in.text("environment")
	e := p.environment(name)
	if e == nil {
		if err := checkEnvironmentName(name); err != nil {
			return err
		}
		e = c.newEnvironment(p, name)
	}
	e.stopped = false
	d := &deployment{
		id: c.id("deployment"), iid: p.iid("deployment"), environment: e, ref: c.in.text("ref"), sha: at.sha, tag: c.in.flag("tag"),
		user: c.user, created: c.now(),
	}
	p.deployments = append(p.deployments, d)
	c.moveDeployment(d, c.in.text("status"))
	return c.answer(http.StatusCreated, c.deploymentEntity(d))
}

func (c *call) moveDeployment(d *deployment, status string) {
	d.status, d.updated = status, c.now()
	if status != "running" {
		d.finished = c.now()
	}
	d.history = append(d.history, DeploymentChange{At: c.now(), Status: status})
	c.fireDeployment(c.project, d)
}

func (c *call) wantedDeployment() (*deployment, error) {
	id, _ := strconv.ParseInt(c.segment["deployment"], 10, 64) // 0 is none
	for _, d := range c.project.deployments {
		if d.id == id {
			return d, nil
		}
	}
	return nil, noRecord()
}

func (c *call) getDeployment() error {
	d, err := c.wantedDeployment()
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.deploymentEntity(d))
}

// updateDeployment never goes back to running and never to the status it has; success to failed is allowed (§8).
func (c *call) updateDeployment() error {
	d, err := c.wantedDeployment()
	if err != nil {
		return err
	}
	to := c.in.text("status")
	if to == "running" || to == d.status {
		return invalid(http.StatusBadRequest, "status", `cannot transition via "`+deploymentEvents[to]+`"`)
	}
	c.moveDeployment(d, to)
	return c.answer(http.StatusOK, c.deploymentEntity(d))
}

func (c *call) deleteDeployment() error {
	d, err := c.wantedDeployment()
	switch {
	case err != nil:
		return err
	case d.status == "running":
		return message(http.StatusBadRequest, "Cannot destroy running deployment")
	case c.project.current(d.environment) == d:
		return message(http.StatusBadRequest, "Deployment currently deployed to environment")
	}
	c.project.deployments = slices.DeleteFunc(c.project.deployments, func(other *deployment) bool { return other == d })
	return c.answer(http.StatusNoContent, nil)
}

func (c *call) listDeployments() error {
	var found []*deployment
	for _, d := range c.project.deployments {
		if (!c.in.has("environment") || c.in.text("environment") == d.environment.name) &&
			(!c.in.has("status") || c.in.text("status") == d.status) {
			found = append(found, d)
		}
	}
	slices.SortStableFunc(found, func(a, b *deployment) int {
		order := cmp.Compare(a.id, b.id)
		switch c.in.text("order_by") {
		case "updated_at":
			order = cmp.Or(a.updated.Compare(b.updated), order)
		case "finished_at":
			order = cmp.Or(a.finished.Compare(b.finished), order)
		case "ref":
			order = cmp.Or(cmp.Compare(a.ref, b.ref), order)
		}
		if c.in.text("sort") == "desc" {
			order = -order
		}
		return order
	})
	return page(c, found, func(d *deployment) any { return c.deploymentEntity(d) })
}

// listDeploymentMergeRequests are those a successful deployment brought to its environment first.
func (c *call) listDeploymentMergeRequests() error {
	d, err := c.wantedDeployment()
	if err != nil {
		return err
	}
	var found []*mergeRequest
	for _, mr := range c.project.mergeRequests {
		if d.status == "success" && mr.mergeCommit != "" && c.project.repo.ancestor(mr.mergeCommit, d.sha) && !c.deployedBefore(mr, d) {
			found = append(found, mr)
		}
	}
	return page(c, found, func(mr *mergeRequest) any { return c.mergeRequestItem(mr) })
}

func (c *call) deployedBefore(mr *mergeRequest, d *deployment) bool {
	return slices.ContainsFunc(c.project.deployments, func(o *deployment) bool {
		return o.id < d.id && o.environment == d.environment && o.status == "success" && c.project.repo.ancestor(mr.mergeCommit, o.sha)
	})
}

// Deployments lists the deployments of a project by id.
func (s *Server) Deployments(project int64) []Deployment {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return nil
	}
	var all []Deployment
	for _, d := range p.deployments {
		all = append(all, Deployment{
			ID: d.id, IID: d.iid, Environment: d.environment.name, Ref: d.ref, SHA: d.sha, Status: d.status, User: d.user.Username,
			CreatedAt: d.created, History: slices.Clone(d.history),
		})
	}
	return all
}
