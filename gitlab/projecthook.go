package gitlab

import (
	"context"
	"net/http"
	"time"
)

type projectHookJSON struct {
	ID                  int64
	URL                 string
	PushEvents          bool       `json:"push_events"`
	TagPushEvents       bool       `json:"tag_push_events"`
	MergeRequestsEvents bool       `json:"merge_requests_events"`
	NoteEvents          bool       `json:"note_events"`
	SSLVerification     bool       `json:"enable_ssl_verification"`
	Name                string     `json:"name"`
	BranchFilter        string     `json:"push_events_branch_filter"`
	SigningTokenPresent bool       `json:"signing_token_present"`
	AlertStatus         string     `json:"alert_status"`
	DisabledUntil       *time.Time `json:"disabled_until"`
}

// Hooks lists the webhooks of a project; the token's user has to be Maintainer.
func (c *Client) Hooks(ctx context.Context, project int64) ([]ProjectHook, error) {
	found, _, err := list[projectHookJSON](ctx, c, at("projects", project, "hooks"), nil, 0)
	return apply(found, func(j projectHookJSON) ProjectHook { return ProjectHook(j) }), err
}

// CreateHook adds a webhook. GitLab refuses (KindInvalid, "Invalid url given") an address in a private network or its own
// unless an administrator allows it in Admin › Settings › Network › Outbound requests.
func (c *Client) CreateHook(ctx context.Context, project int64, h HookSpec) (ProjectHook, error) {
	return c.writeHook(ctx, http.MethodPost, at("projects", project, "hooks"), h)
}

// UpdateHook makes a webhook what h says.
func (c *Client) UpdateHook(ctx context.Context, project, id int64, h HookSpec) (ProjectHook, error) {
	return c.writeHook(ctx, http.MethodPut, at("projects", project, "hooks", id), h)
}

// writeHook sends every flag, because GitLab switches push events on when nothing is said.
func (c *Client) writeHook(ctx context.Context, method, path string, h HookSpec) (ProjectHook, error) {
	body := struct {
		URL                   string `json:"url"`
		Token                 string `json:"token"`
		SigningToken          string `json:"signing_token,omitempty"`
		BranchFilter          string `json:"push_events_branch_filter"`
		PushEvents            bool   `json:"push_events"`
		TagPushEvents         bool   `json:"tag_push_events"`
		MergeRequestsEvents   bool   `json:"merge_requests_events"`
		NoteEvents            bool   `json:"note_events"`
		EnableSSLVerification bool   `json:"enable_ssl_verification"`
		Name                  string `json:"name,omitempty"`
		Description           string `json:"description,omitempty"`
	}{
		h.URL, h.Token.Reveal(), h.SigningToken.Reveal(), "", h.Push, h.TagPush, h.MergeRequests, h.Notes, h.SSLVerification, h.Name, h.Description,
	}
	var j projectHookJSON
	err := c.send(ctx, method, path, body, &j)
	return ProjectHook(j), err
}

// DeleteHook removes a webhook.
func (c *Client) DeleteHook(ctx context.Context, project, id int64) error {
	return c.send(ctx, http.MethodDelete, at("projects", project, "hooks", id), nil, nil)
}

// TestHook makes GitLab send a sample delivery now (trigger "push_events", "merge_requests_events", …), five times a minute
// at most. nil means the receiver answered; KindInvalid that there was nothing to send or the delivery failed.
func (c *Client) TestHook(ctx context.Context, project, id int64, trigger string) error {
	return c.send(ctx, http.MethodPost, at("projects", project, "hooks", id, "test", trigger), nil, nil)
}
