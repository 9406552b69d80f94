package gitlab

import (
	"context"
	"net/url"
)

type mergeRequestJSON struct {
	IID             int64
	Title           string
	State           string
	SourceBranch    string `json:"source_branch"`
	TargetBranch    string `json:"target_branch"`
	SHA             string
	WebURL          string `json:"web_url"`
	SourceProjectID int64  `json:"source_project_id"`
	TargetProjectID int64  `json:"target_project_id"`
	Draft           bool
	Author          struct{ ID int64 }
	HeadPipeline    struct {
		ID  int64
		SHA string
		Ref string
	} `json:"head_pipeline"`
	DivergedCommitsCount int    `json:"diverged_commits_count"`
	DetailedMergeStatus  string `json:"detailed_merge_status"`
}

func (j mergeRequestJSON) mergeRequest() MergeRequest {
	return MergeRequest{
		IID: j.IID, Title: j.Title, State: j.State, SourceBranch: j.SourceBranch, TargetBranch: j.TargetBranch,
		HeadSHA: j.SHA, WebURL: j.WebURL, SourceProject: j.SourceProjectID, TargetProject: j.TargetProjectID,
		Draft: j.Draft, HeadPipelineID: j.HeadPipeline.ID, HeadPipelineSHA: j.HeadPipeline.SHA, HeadPipelineRef: j.HeadPipeline.Ref,
		DivergedCommits: j.DivergedCommitsCount, AuthorID: j.Author.ID, Preparing: j.DetailedMergeStatus == "preparing",
	}
}

// MergeRequest reads one merge request.
func (c *Client) MergeRequest(ctx context.Context, project, iid int64) (MergeRequest, error) {
	var j mergeRequestJSON
	query := url.Values{"include_diverged_commits_count": {"true"}}
	err := c.get(ctx, at("projects", project, "merge_requests", iid), query, &j)
	return j.mergeRequest(), err
}

// MergeRequestFiles lists the paths a merge request changes, old and new path of each. complete is false when GitLab may
// have cut the list, and when it is empty: right after opening the diff is not made yet.
func (c *Client) MergeRequestFiles(ctx context.Context, project, iid int64) (files []string, complete bool, err error) {
	diffs, complete, err := list[diffJSON](ctx, c, at("projects", project, "merge_requests", iid, "diffs"), nil, 0)
	if err != nil {
		return nil, false, err
	}
	return paths(diffs), complete && len(diffs) > 0 && len(diffs) < diffLimit, nil
}

// OpenMergeRequests lists the open merge requests of a project, of one source branch or, with "", all.
func (c *Client) OpenMergeRequests(ctx context.Context, project int64, sourceBranch string) ([]MergeRequest, error) {
	query := url.Values{"state": {"opened"}}
	if sourceBranch != "" {
		query.Set("source_branch", sourceBranch)
	}
	found, _, err := list[mergeRequestJSON](ctx, c, at("projects", project, "merge_requests"), query, 0)
	return apply(found, mergeRequestJSON.mergeRequest), err
}

// MergeRequestsOfCommit lists the merge requests that brought a commit, in any state.
func (c *Client) MergeRequestsOfCommit(ctx context.Context, project int64, sha string) ([]MergeRequest, error) {
	path := at("projects", project, "repository", "commits", sha, "merge_requests")
	found, _, err := list[mergeRequestJSON](ctx, c, path, nil, 0)
	return apply(found, mergeRequestJSON.mergeRequest), err
}

// MergeRef asks GitLab for the commit that merging now would make, at refs/merge-requests/<iid>/merge.
// KindInvalid or KindNotFound: it can't be made, because of conflicts for example.
func (c *Client) MergeRef(ctx context.Context, project, iid int64) (sha string, err error) {
	var j struct {
		CommitID string `json:"commit_id"`
	}
	if err := c.get(ctx, at("projects", project, "merge_requests", iid, "merge_ref"), nil, &j); err != nil {
		return "", err
	}
	if !isSHA(j.CommitID) {
		return "", &Error{Kind: KindNotGitLab, Message: "the merge ref has no commit"}
	}
	return j.CommitID, nil
}

type noteJSON struct {
	ID           int64
	Body         string
	System       bool
	Internal     bool
	Confidential bool   // the older name of Internal
	CreatedAt    string `json:"created_at"`
	UpdatedAt    string `json:"updated_at"`
	Author       struct {
		ID       int64
		Username string
	}
}

func (j noteJSON) note() Note {
	return Note{
		ID: j.ID, Body: j.Body, AuthorID: j.Author.ID, AuthorName: j.Author.Username, System: j.System,
		Internal: j.Internal || j.Confidential, CreatedAt: parseTime(j.CreatedAt), UpdatedAt: parseTime(j.UpdatedAt),
	}
}

// Note reads one comment of a merge request. [Absent]: it was deleted, or is not of this merge request.
func (c *Client) Note(ctx context.Context, project, iid, id int64) (Note, error) {
	var j noteJSON
	err := c.get(ctx, at("projects", project, "merge_requests", iid, "notes", id), nil, &j)
	return j.note(), err
}

// Notes lists all comments of a merge request, newest first, system notes included.
func (c *Client) Notes(ctx context.Context, project, iid int64) ([]Note, error) {
	query := url.Values{"sort": {"desc"}, "order_by": {"created_at"}}
	found, _, err := list[noteJSON](ctx, c, at("projects", project, "merge_requests", iid, "notes"), query, 0)
	return apply(found, noteJSON.note), err
}

// CreateNote writes a comment, at most 1,000,000 characters. Lines that begin with a slash would be executed by GitLab with
// the token's rights: foreign text goes through [Inline], [Fence] or [Text] first.
func (c *Client) CreateNote(ctx context.Context, project, iid int64, body string) (Note, error) {
	return c.writeNote(ctx, "POST", at("projects", project, "merge_requests", iid, "notes"), body)
}

// UpdateNote replaces the text of a comment.
func (c *Client) UpdateNote(ctx context.Context, project, iid, noteID int64, body string) (Note, error) {
	return c.writeNote(ctx, "PUT", at("projects", project, "merge_requests", iid, "notes", noteID), body)
}

// writeNote takes an answer without a note for a refusal: GitLab answers 202 to a text made only of quick actions.
func (c *Client) writeNote(ctx context.Context, method, path, body string) (Note, error) {
	var j noteJSON
	if err := c.send(ctx, method, path, map[string]string{"body": body}, &j); err != nil {
		return Note{}, err
	}
	if j.ID == 0 {
		return Note{}, invalidf("GitLab made no comment of it: the text holds only quick actions")
	}
	return j.note(), nil
}
