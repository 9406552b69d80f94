package store

import (
	"fmt"
	"time"
)

// ReplyTarget is the target of the answer to a comment on a merge request. Targets of one merge request sort as their
// comments were written.
func ReplyTarget(project, mr, note int64) string {
	return repliesOf(project, mr) + num(note)
}

func repliesOf(project, mr int64) string { return fmt.Sprintf("%s/%d/%d/", ReportReply, project, mr) }

// Replied reports whether a comment has its answer, also one that GitLab does not show yet.
func (tx *Tx) Replied(project, mr, note int64) bool {
	return has(tx, "reports", ReplyTarget(project, mr, note))
}

// Reply marks the answer to a comment of an author in GitLab, which goes into its thread, or with "" beside it. A comment has one
// answer: the first one stands.
func (tx *Tx) Reply(project, mr, note, author int64, thread, text string) error {
	if tx.Replied(project, mr, note) {
		return nil
	}
	return tx.mark(Report{
		Kind: ReportReply, Target: ReplyTarget(project, mr, note), Project: project, MR: mr, Author: author, Discussion: thread, Text: text,
	})
}

// Replies counts the comments of a merge request that got their answer since a moment, and how many of them are an author's.
func (tx *Tx) Replies(project, mr, author int64, since time.Time) (n, own int, err error) {
	err = eachBack(tx, "reports", repliesOf(project, mr), "", func(target string, _ []byte) (bool, error) {
		r, _, err := tx.Report(target)
		if err != nil || r.MarkedAt.Before(since) {
			return false, err
		}
		if n++; r.Author == author {
			own++
		}
		return true, nil
	})
	return n, own, err
}
