package gitlab

import (
	"context"
	"errors"
)

var errTodo = errors.ErrUnsupported

func (c *Client) Version(ctx context.Context) (Version, error)     { return Version{}, errTodo }
func (c *Client) CurrentUser(ctx context.Context) (User, error)    { return User{}, errTodo }
func (c *Client) TokenSelf(ctx context.Context) (TokenInfo, error) { return TokenInfo{}, errTodo }
func (c *Client) Project(ctx context.Context, idOrPath string) (Project, error) {
	return Project{}, errTodo
}

func (c *Client) Projects(ctx context.Context, search string, limit int) ([]Project, error) {
	return nil, errTodo
}

func (c *Client) Branches(ctx context.Context, project int64, search string, limit int) ([]Branch, error) {
	return nil, errTodo
}

func (c *Client) Branch(ctx context.Context, project int64, name string) (Branch, error) {
	return Branch{}, errTodo
}

func (c *Client) Commit(ctx context.Context, project int64, ref string) (Commit, error) {
	return Commit{}, errTodo
}

func (c *Client) CompareFiles(ctx context.Context, project int64, from, to string) (files []string, complete bool, err error) {
	return nil, false, errTodo
}

func (c *Client) MergeRequest(ctx context.Context, project, iid int64) (MergeRequest, error) {
	return MergeRequest{}, errTodo
}

func (c *Client) MergeRequestFiles(ctx context.Context, project, iid int64) (files []string, complete bool, err error) {
	return nil, false, errTodo
}

func (c *Client) OpenMergeRequests(ctx context.Context, project int64, sourceBranch string) ([]MergeRequest, error) {
	return nil, errTodo
}

func (c *Client) MergeRequestsOfCommit(ctx context.Context, project int64, sha string) ([]MergeRequest, error) {
	return nil, errTodo
}

func (c *Client) MergeRef(ctx context.Context, project, iid int64) (sha string, err error) {
	return "", errTodo
}

func (c *Client) SetStatus(ctx context.Context, project int64, sha string, s Status) (StatusAnswer, error) {
	return StatusAnswer{}, errTodo
}

func (c *Client) Statuses(ctx context.Context, project int64, sha, name string) ([]StatusInfo, error) {
	return nil, errTodo
}

func (c *Client) Notes(ctx context.Context, project, iid int64) ([]Note, error) { return nil, errTodo }

func (c *Client) CreateNote(ctx context.Context, project, iid int64, body string) (Note, error) {
	return Note{}, errTodo
}

func (c *Client) UpdateNote(ctx context.Context, project, iid, noteID int64, body string) (Note, error) {
	return Note{}, errTodo
}

func (c *Client) Environment(ctx context.Context, project int64, name string) (Environment, bool, error) {
	return Environment{}, false, errTodo
}

func (c *Client) CreateEnvironment(ctx context.Context, project int64, e Environment) (Environment, error) {
	return Environment{}, errTodo
}

func (c *Client) UpdateEnvironment(ctx context.Context, project int64, e Environment) (Environment, error) {
	return Environment{}, errTodo
}
func (c *Client) StopEnvironment(ctx context.Context, project, id int64) error { return errTodo }
func (c *Client) CreateDeployment(ctx context.Context, project int64, d Deployment) (id int64, err error) {
	return 0, errTodo
}

func (c *Client) UpdateDeployment(ctx context.Context, project, id int64, status string) error {
	return errTodo
}

func (c *Client) Deployments(ctx context.Context, project int64, environment string, limit int) ([]DeploymentInfo, error) {
	return nil, errTodo
}

func (c *Client) Hooks(ctx context.Context, project int64) ([]ProjectHook, error) {
	return nil, errTodo
}

func (c *Client) CreateHook(ctx context.Context, project int64, h HookSpec) (ProjectHook, error) {
	return ProjectHook{}, errTodo
}

func (c *Client) UpdateHook(ctx context.Context, project, id int64, h HookSpec) (ProjectHook, error) {
	return ProjectHook{}, errTodo
}
func (c *Client) DeleteHook(ctx context.Context, project, id int64) error { return errTodo }
func (c *Client) TestHook(ctx context.Context, project, id int64, trigger string) error {
	return errTodo
}

func (c *Client) MemberLevel(ctx context.Context, project, userID int64) (int, error) {
	return 0, errTodo
}
