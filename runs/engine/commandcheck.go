package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// How long after it was written a command counts: one that changes something must not come as a surprise when GitLab, or this
// server, was away meanwhile.
const (
	promptly = 15 * time.Minute
	thatDay  = 24 * time.Hour
)

// editedAfter is how long after it was written a comment may still be written to by GitLab itself.
const editedAfter = 2 * time.Second

// commandPatience is how long a command waits for GitLab to say who wrote it.
const commandPatience = thatDay

// A right is what a command needs of its author in GitLab, at that moment.
type right struct {
	level   int
	changes bool          // it changes something: a person's own yes or no
	counts  time.Duration // after it was written
	does    string
}

// rights are the commands, as help lists them.
var rights = map[string]right{
	runs.CommandPlan:    {gitlab.Developer, false, thatDay, "plans the newest commit of this merge request again"},
	runs.CommandApply:   {gitlab.Maintainer, true, promptly, "says yes to the plan that waits after the merge"},
	runs.CommandDiscard: {gitlab.Maintainer, true, promptly, "says no to the plan that waits, or to a run that has not begun"},
	runs.CommandUnlock:  {gitlab.Maintainer, true, promptly, "ends the lock of a stack"},
	runs.CommandHelp:    {gitlab.Reporter, false, thatDay, "lists the commands and how the stacks stand"},
}

// verbs is the order in which help lists the commands.
var verbs = []string{runs.CommandPlan, runs.CommandApply, runs.CommandDiscard, runs.CommandUnlock, runs.CommandHelp}

// An order is a command in a comment, with what GitLab itself says of the comment, its author and the merge request.
type order struct {
	runs.Command
	project string // path
	id      int64  // of the project
	iid     int64
	note    int64
	author  int64  // in GitLab; as the delivery says until GitLab says the same
	word    string // that begins commands here
	crowd   int    // commands of the merge request that were answered in the last minute
	own     int    // those of them that are the author's
	thread  string // the answer goes into it; "" for none
	written time.Time
	edited  bool   // it was changed after it was written
	wish    wishes // of push policies, for a plan that names no stack

	who   string // "@ann (GitLab 42)"
	by    string // what runs and the audit log call the author: the account here, or who
	level int    // access in GitLab, as far as the account here lets it count
	why   string // of the account that limits level
	mr    gitlab.MergeRequest
}

// line is a command as a person writes it.
func (o *order) line(words ...string) string {
	return gitlab.Inline(strings.Join(append([]string{"/" + o.word}, words...), " "))
}

// readOrder finds the command in a comment as it was delivered. ignored says why there is none.
func readOrder(h gitlab.Hook, in store.Integration) (o order, ignored string) {
	n := h.Note
	switch {
	case n.MR == nil:
		return o, "a comment on something else than a merge request"
	case n.System, n.AuthorID != 0 && n.AuthorID == in.Health.UserID, strings.Contains(n.Text, ownMarks):
		return o, "written by Groundcrew or by GitLab itself"
	}
	c, found := runs.ParseCommand(n.Text, in.Prefix())
	switch {
	case !found:
		return o, "a comment without a command"
	case !n.New:
		return o, "a comment that was changed; commands count when they are written"
	case n.Internal:
		return o, "an internal comment; commands are for all to see"
	}
	return order{
		Command: c, id: h.ProjectID, iid: n.MR.IID, note: n.ID, author: n.AuthorID, word: in.Prefix(), thread: n.Discussion,
		who: nameOf(n.AuthorID, h.User.Username),
	}, ""
}

// nameOf is what an account in GitLab is called here. The number says who it is, the name is for reading.
func nameOf(id int64, username string) string {
	return fmt.Sprintf("@%s (GitLab %d)", clip(username, maxCell), id)
}

// believe asks GitLab whether the comment stands there as it was delivered, because a delivery proves no more than that its
// sender knows the secret, and what its author may do at this moment. refused says why nobody is answered.
func (e *Engine) believe(ctx context.Context, c *gitlab.Client, o *order, h gitlab.Hook) (refused string, err error) {
	note, err := c.Note(ctx, o.id, o.iid, o.note)
	if gitlab.Absent(err) {
		return "GitLab shows no such comment on this merge request: it was deleted, or never written", nil
	}
	if err != nil {
		return "", err
	}
	now, found := runs.ParseCommand(note.Body, o.word)
	me, err := e.ourUser(ctx, c)
	switch {
	case err != nil:
		return "", err
	case note.AuthorID == me || note.System || note.Internal:
		return "the comment is Groundcrew's own, GitLab's or an internal one", nil
	case note.AuthorID != h.Note.AuthorID || !found || now != o.Command:
		return "the comment in GitLab says something else than its delivery: it was changed since, or the delivery is not GitLab's", nil
	}
	o.author, o.who, o.written = note.AuthorID, nameOf(note.AuthorID, note.AuthorName), note.CreatedAt
	o.edited = note.UpdatedAt.Sub(note.CreatedAt) > editedAfter
	if o.level, err = c.MemberLevel(ctx, o.id, note.AuthorID); err != nil {
		return "", err
	}
	if o.level < gitlab.Reporter {
		e.lookedInVain(looked{project: o.id, author: o.author})
		return o.who + " is not a member of the project in GitLab with at least the role Reporter", nil
	}
	if o.crowd > maxCrowd && !o.passes() {
		e.lookedInVain(looked{o.id, o.iid, o.author})
		return crowded, nil
	}
	if o.mr, err = c.MergeRequest(ctx, o.id, o.iid); err != nil {
		return "", err
	}
	return "", e.st.View(func(tx *store.Tx) error { return o.limit(tx, note.AuthorID) })
}

// limit lets the author's account here bound what their access in GitLab lets them do.
func (o *order) limit(tx *store.Tx, author int64) error {
	o.by = o.who
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	u, known, err := userOf(tx, in, author)
	if err != nil {
		return err
	}
	if known {
		o.by = u.Name
	}
	most, why, err := allowedHere(tx, u, known)
	if o.level > most {
		o.level, o.why = most, why
	}
	return err
}

// userOf is the account here that is bound to an account of the linked GitLab.
func userOf(tx *store.Tx, in store.Integration, id int64) (store.User, bool, error) {
	u, known, err := tx.UserByGitLab(strings.TrimRight(in.BrowserURL(), "/"), id)
	if err == nil && !known {
		u, known, err = tx.UserByGitLab(strings.TrimRight(in.APIURL, "/"), id)
	}
	return u, known, err
}

// allowedHere is the access level that a person's account here lets count at most, and why it is no higher. Somebody without
// an account is taken for what the first sign-in with GitLab would make of them; where nobody signs in with GitLab, or only
// members of some groups do, they can plan, as by a push, and no more. So can somebody whose account is left over: it has no way
// in any more, or nothing shows that they are still of the groups.
func allowedHere(tx *store.Tx, u store.User, known bool) (most int, why string, err error) {
	how, err := tx.SignIn()
	if err != nil {
		return 0, "", err
	}
	role := u.Role
	if !known {
		role = how.DefaultRole()
	}
	switch {
	case known && !u.DisabledAt.IsZero():
		return 0, "Your account in Groundcrew is disabled. Ask an admin there.", nil
	case role == store.Reader:
		return gitlab.Reporter, "In Groundcrew you are a reader, who looks and changes nothing. Ask an admin there.", nil
	case known:
		return comesIn(tx, u, how)
	case !how.GitLab:
		return gitlab.Developer, "People do not sign in to this Groundcrew with GitLab, so it does not know you. Do it on its pages.", nil
	case len(how.Groups) > 0:
		return gitlab.Developer, "Groundcrew does not know you yet. Sign in there with GitLab once, then comment again.", nil
	default:
		return gitlab.Owner, "", nil
	}
}

// comesIn is allowedHere for an account that is there and may change something.
func comesIn(tx *store.Tx, u store.User, how store.SignIn) (most int, why string, err error) {
	can := how.GitLab || u.PasswordHash != ""
	if len(how.Groups) > 0 {
		sessions, err := tx.Sessions(u.ID)
		if err != nil {
			return 0, "", err
		}
		can = len(sessions) > 0
	}
	if !can {
		return gitlab.Developer, "Groundcrew cannot tell whether your account may still come in there. Sign in to Groundcrew once, then comment again.", nil
	}
	return gitlab.Owner, "", nil
}

// age is how old a command is, by GitLab's word and by when it got here, whichever is older.
func (o *order) age(now, received time.Time) time.Duration {
	age := now.Sub(received)
	if !o.written.IsZero() {
		age = max(age, now.Sub(o.written))
	}
	return age
}

// mayOrder says why an order is not carried out, nil when it is.
func (e *Engine) mayOrder(ctx context.Context, c *gitlab.Client, o *order, received time.Time) error {
	r, known := rights[o.Verb]
	switch {
	case o.own >= maxOwn:
		return runs.Conflictf("You wrote %d commands on this merge request within a minute. This one was not carried out, and further ones are not answered until the minute is over.", maxOwn)
	case o.crowd >= maxCrowd && !o.passes():
		return runs.Conflictf("There were %d commands on this merge request within a minute. This one was not carried out, and further ones are not answered until the minute is over. A Developer who wrote few of them is heard all the same.", maxCrowd)
	case !known:
		return runs.Invalidf("", "“%s” is no command here.", o.Verb)
	case o.Extra:
		return runs.Invalidf("", "There are too many words behind the command. It takes the name of one stack.")
	case o.level < r.level && o.why != "":
		return runs.Forbiddenf("%s", o.why)
	case o.level < r.level:
		return runs.Forbiddenf("Only a %s of %s in GitLab can do this; you are a %s there.", gitlab.LevelName(r.level), o.project, gitlab.LevelName(o.level))
	case o.age(e.now(), received) > r.counts:
		return runs.Conflictf("Your comment got here too late: it is from %s, and a command like this counts for %s. Nothing was done. Comment again if you still mean it.",
			o.written.UTC().Format("2 Jan 15:04 UTC"), runs.SpanText(r.counts))
	case o.edited && (r.changes || o.Name != ""): // a name can release a fork's commit
		return runs.Conflictf("The comment was changed after it was written. Nothing was done. Write a new one if you still mean it.")
	case !r.changes:
		return nil
	}
	u, err := c.User(ctx, o.author)
	if gitlab.Absent(err) {
		return runs.Forbiddenf("GitLab does not show your account, so nobody can tell whether you are a person. Nothing was done.")
	}
	if err == nil && u.Bot {
		return runs.Forbiddenf("You are a bot in GitLab. Bots can plan; a yes or no is a person's.")
	}
	return err
}
