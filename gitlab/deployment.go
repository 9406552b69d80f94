package gitlab

import (
	"context"
	"net/http"
	"net/url"
)

type environmentJSON struct {
	ID          int64
	Name        string
	State       string
	Tier        string
	ExternalURL string `json:"external_url"`
}

// Environment finds an environment by its exact name; false when there is none.
func (c *Client) Environment(ctx context.Context, project int64, name string) (Environment, bool, error) {
	found, _, err := list[environmentJSON](ctx, c, at("projects", project, "environments"), url.Values{"name": {name}}, 0)
	for _, j := range found {
		if j.Name == name {
			return Environment(j), true, err
		}
	}
	return Environment{}, false, err
}

type environmentSpec struct {
	Name        string `json:"name,omitempty"`
	ExternalURL string `json:"external_url,omitempty"`
	Tier        string `json:"tier,omitempty"`
}

// CreateEnvironment makes an environment. A name may hold letters, digits, spaces and -_/${}. but not begin or end with a
// slash; a name that is taken is KindInvalid.
func (c *Client) CreateEnvironment(ctx context.Context, project int64, e Environment) (Environment, error) {
	var j environmentJSON
	spec := environmentSpec{Name: e.Name, ExternalURL: e.ExternalURL, Tier: e.Tier}
	err := c.send(ctx, http.MethodPost, at("projects", project, "environments"), spec, &j)
	return Environment(j), err
}

// UpdateEnvironment changes link and tier of the environment e.ID; what is empty stays.
func (c *Client) UpdateEnvironment(ctx context.Context, project int64, e Environment) (Environment, error) {
	var j environmentJSON
	spec := environmentSpec{ExternalURL: e.ExternalURL, Tier: e.Tier}
	err := c.send(ctx, http.MethodPut, at("projects", project, "environments", e.ID), spec, &j)
	return Environment(j), err
}

// StopEnvironment stops an environment. A later deployment makes it available again.
func (c *Client) StopEnvironment(ctx context.Context, project, id int64) error {
	return c.send(ctx, http.MethodPost, at("projects", project, "environments", id, "stop"), nil, nil)
}

// CreateDeployment records a deployment and makes the environment when it is absent. Ref and commit have to exist in the
// project. It is not idempotent: a caller that lost the answer looks at [Client.Deployments] before it tries again.
func (c *Client) CreateDeployment(ctx context.Context, project int64, d Deployment) (id int64, err error) {
	body := struct {
		Environment string `json:"environment"`
		SHA         string `json:"sha"`
		Ref         string `json:"ref"`
		Tag         bool   `json:"tag"`
		Status      string `json:"status"`
	}(d)
	var j struct{ ID int64 }
	err = c.send(ctx, http.MethodPost, at("projects", project, "deployments"), body, &j)
	return j.ID, err
}

// UpdateDeployment changes the status. The status it has already, and running after an end, are KindTransition.
func (c *Client) UpdateDeployment(ctx context.Context, project, id int64, status string) error {
	return c.send(ctx, http.MethodPut, at("projects", project, "deployments", id), map[string]string{"status": status}, nil)
}

type deploymentJSON struct {
	ID          int64
	SHA         string
	Ref         string
	Status      string
	Environment struct{ Name string }
	User        struct{ ID int64 }
}

func (j deploymentJSON) info() DeploymentInfo {
	return DeploymentInfo{
		ID: j.ID, SHA: j.SHA, Ref: j.Ref, Status: j.Status, Environment: j.Environment.Name, UserID: j.User.ID,
	}
}

// Deployments lists at most limit deployments of an environment, newest first.
func (c *Client) Deployments(ctx context.Context, project int64, environment string, limit int) ([]DeploymentInfo, error) {
	query := url.Values{"environment": {environment}, "order_by": {"id"}, "sort": {"desc"}}
	found, _, err := list[deploymentJSON](ctx, c, at("projects", project, "deployments"), query, limit)
	return apply(found, deploymentJSON.info), err
}
