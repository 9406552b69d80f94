package engine

import (
	"context"
	"fmt"

	"groundcrew/gitlab"
	"groundcrew/store"
)

// ownMarks begins the hidden mark of everything Groundcrew writes.
const ownMarks = "<!-- groundcrew"

// replyMarker is how our answer to a comment is found again.
func replyMarker(target string) string { return fmt.Sprintf("%s-%s -->", ownMarks, target) }

// sendReply writes the answer to a comment, once. After an answer of GitLab's that never came it is looked for first.
func (e *Engine) sendReply(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	if r.Unsure && r.RemoteID == 0 {
		there, err := e.findNote(ctx, c, r)
		if err != nil {
			return err
		}
		r.RemoteID, r.Unsure = there, false
	}
	if r.RemoteID != 0 {
		return nil
	}
	if err := e.announce(r); err != nil {
		return err
	}
	id, err := writeReply(ctx, c, r)
	if err != nil {
		return unanswered(r, err)
	}
	r.RemoteID, r.Unsure = id, false
	return nil
}

// writeReply answers in the thread that a comment stands in. A plain comment is answered beside it: a reply would make a
// thread of it, which can keep the merge request from being merged. So is one whose thread is gone or
// takes no answer.
func writeReply(ctx context.Context, c *gitlab.Client, r *store.Report) (int64, error) {
	body := replyMarker(r.Target) + "\n" + r.Text + "\n"
	if r.Discussion != "" {
		note, err := c.Reply(ctx, r.Project, r.MR, r.Discussion, body)
		switch gitlab.KindOf(err) {
		case gitlab.KindNotFound, gitlab.KindInvalid, gitlab.KindForbidden:
		default:
			return note.ID, err
		}
	}
	note, err := c.CreateNote(ctx, r.Project, r.MR, body)
	return note.ID, err
}
