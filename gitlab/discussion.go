package gitlab

import "context"

type discussionJSON struct {
	ID    string
	Notes []struct {
		noteJSON
		Resolvable bool
		Resolved   bool
	}
}

// discussion reads whether it is resolved from its notes: older versions don't say it of the whole (CONTRACT §6).
func (j discussionJSON) discussion() Discussion {
	d := Discussion{ID: j.ID}
	resolvable, open := false, false
	for _, n := range j.Notes {
		d.Notes = append(d.Notes, n.note())
		resolvable, open = resolvable || n.Resolvable, open || n.Resolvable && !n.Resolved
	}
	d.Resolved = resolvable && !open
	return d
}

// Discussions lists the threads of a merge request, oldest first; a plain comment is one of a single note.
func (c *Client) Discussions(ctx context.Context, project, iid int64) ([]Discussion, error) {
	found, _, err := list[discussionJSON](ctx, c, at("projects", project, "merge_requests", iid, "discussions"), nil, 0)
	return apply(found, discussionJSON.discussion), err
}

// Discussion reads one thread. KindNotFound: its notes were deleted, or the merge request.
func (c *Client) Discussion(ctx context.Context, project, iid int64, id string) (Discussion, error) {
	var j discussionJSON
	err := c.get(ctx, at("projects", project, "merge_requests", iid, "discussions", id), nil, &j)
	return j.discussion(), err
}

// CreateDiscussion opens a thread, which can be resolved. What is said of [Client.CreateNote] holds for its text.
func (c *Client) CreateDiscussion(ctx context.Context, project, iid int64, body string) (Discussion, error) {
	var j discussionJSON
	if err := c.send(ctx, "POST", at("projects", project, "merge_requests", iid, "discussions"), map[string]string{"body": body}, &j); err != nil {
		return Discussion{}, err
	}
	if j.ID == "" || len(j.Notes) == 0 {
		return Discussion{}, invalidf("GitLab made no thread of it: the text holds only quick actions")
	}
	return j.discussion(), nil
}

// Reply adds a note to a thread. A plain comment that is replied to becomes a thread, which can keep a merge request from
// being merged until somebody resolves it. What is said of [Client.CreateNote] holds for its text.
func (c *Client) Reply(ctx context.Context, project, iid int64, id, body string) (Note, error) {
	return c.writeNote(ctx, "POST", at("projects", project, "merge_requests", iid, "discussions", id, "notes"), body)
}

// UpdateDiscussionNote replaces the text of a note of a thread. Whether the thread is resolved stays as it is.
func (c *Client) UpdateDiscussionNote(ctx context.Context, project, iid int64, id string, note int64, body string) error {
	_, err := c.writeNote(ctx, "PUT", at("projects", project, "merge_requests", iid, "discussions", id, "notes", note), body)
	return err
}

// ResolveDiscussion resolves a thread or opens it again. Its author, the merge request's and Developers may (CONTRACT §0.9).
func (c *Client) ResolveDiscussion(ctx context.Context, project, iid int64, id string, resolved bool) error {
	return c.send(ctx, "PUT", at("projects", project, "merge_requests", iid, "discussions", id), map[string]bool{"resolved": resolved}, nil)
}
