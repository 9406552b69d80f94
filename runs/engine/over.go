package engine

import (
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// overAfter is how long trouble has to stay away until those who were told of it are told that it is over: what is tried again
// is not there for a moment, and may come back.
const overAfter = time.Minute

// forget lets go of remembered trouble that is not there any more. Of what somebody was told, they are told the end.
func forget(tx *store.Tx, n store.Notice, now []store.Notice) error {
	switch {
	case len(n.Told) == 0:
		return tx.DropNotice(n.Key)
	case n.Gone.IsZero():
		n.Gone = tx.Now()
		return tx.PutNotice(n)
	case tx.Now().Sub(n.Gone) < overAfter:
		return nil
	}
	in, _, err := tx.Integration()
	if err == nil && tellsEnd(n, now, in.Linked) {
		began, ended := n.Since.UTC(), n.Gone.UTC()
		err = tx.NotifyOver(n.Told, store.Said{
			Title: "Over: " + n.Text, Text: "It was so from " + began.Format("2 January 2006 15:04") + " to " + ended.Format("2 January 2006 15:04") + " UTC, and is no longer.",
			Path: n.LinkURL, Stack: n.Stack, State: "info", Was: n.Topic,
		})
	}
	if err != nil {
		return err
	}
	return tx.DropNotice(n.Key)
}

// tellsEnd reports whether the end of trouble is worth a message: not of a mere request, nor when it goes on as another notice,
// nor when nobody looks any more because GitLab was unlinked.
func tellsEnd(n store.Notice, now []store.Notice, linked bool) bool {
	ofGitLab := n.Topic == runs.OnToken || n.Topic == runs.OnExpiry || n.Topic == runs.OnGitLab || n.Topic == runs.OnHook
	if n.Kind == "info" || ofGitLab && !linked {
		return false
	}
	return n.Topic != runs.OnExpiry || !slices.ContainsFunc(now, func(m store.Notice) bool { return strings.HasPrefix(m.Key, "token") })
}
