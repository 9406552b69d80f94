package gitlab

import (
	"context"
	"net/http"
	"net/url"
)

// SetStatus posts a commit status. GitLab answers KindTransition when the job is in that state already or can't go there,
// and then changes neither description nor link (CONTRACT §4); KindConflict when another post for the commit is under way.
func (c *Client) SetStatus(ctx context.Context, project int64, sha string, s Status) (StatusAnswer, error) {
	body := struct {
		State       string `json:"state"`
		Name        string `json:"name,omitempty"`
		Ref         string `json:"ref,omitempty"`
		TargetURL   string `json:"target_url,omitempty"`
		Description string `json:"description,omitempty"`
		PipelineID  int64  `json:"pipeline_id,omitempty"`
	}(s)
	var j struct {
		ID         int64
		PipelineID int64 `json:"pipeline_id"`
	}
	err := c.send(ctx, http.MethodPost, at("projects", project, "statuses", sha), body, &j)
	return StatusAnswer(j), err
}

type statusJSON struct {
	ID          int64
	Name        string
	Status      string
	Description string
	Ref         string
	TargetURL   string `json:"target_url"`
	PipelineID  int64  `json:"pipeline_id"`
	Author      struct{ ID int64 }
}

func (j statusJSON) info() StatusInfo {
	return StatusInfo{
		ID: j.ID, Name: j.Name, State: j.Status, Description: j.Description, Ref: j.Ref,
		TargetURL: j.TargetURL, PipelineID: j.PipelineID, AuthorID: j.Author.ID,
	}
}

// Statuses lists the statuses and CI jobs of a commit, the latest of each name; of one name unless name is "".
func (c *Client) Statuses(ctx context.Context, project int64, sha, name string) ([]StatusInfo, error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	path := at("projects", project, "repository", "commits", sha, "statuses")
	found, _, err := list[statusJSON](ctx, c, path, query, 0)
	return apply(found, statusJSON.info), err
}
