package sim

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// discussion collects the notes of one discussion, oldest first.
func (mr *mergeRequest) discussion(id string) []*note {
	var notes []*note
	for _, n := range mr.notes {
		if n.discussion == id {
			notes = append(notes, n)
		}
	}
	return notes
}

func (s *Server) discussionEntity(mr *mergeRequest, id string) object {
	notes := mr.discussion(id)
	resolvable := slices.ContainsFunc(notes, (*note).resolvable)
	open := slices.ContainsFunc(notes, func(n *note) bool { return n.resolvable() && !n.resolved })
	return object{
		"id": id, "individual_note": notes[0].kind == "", "resolvable": resolvable, "resolved": resolvable && !open,
		"notes": renderAll(notes, func(n *note) any { return s.noteEntity(mr, n) }),
	}
}

func (c *call) listDiscussions() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	var ids []string
	for _, n := range mr.notes {
		if !slices.Contains(ids, n.discussion) {
			ids = append(ids, n.discussion)
		}
	}
	return page(c, ids, func(id string) any { return c.discussionEntity(mr, id) })
}

func (c *call) wantedDiscussion() (*mergeRequest, []*note, error) {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return nil, nil, err
	}
	notes := mr.discussion(c.segment["discussion"])
	if len(notes) == 0 {
		return nil, nil, notFound("Discussion")
	}
	return mr, notes, nil
}

func (c *call) getDiscussion() error {
	mr, notes, err := c.wantedDiscussion()
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.discussionEntity(mr, notes[0].discussion))
}

func (c *call) createDiscussion() error {
	n, err := c.newNote("DiscussionNote", "")
	if err != nil || n == nil {
		return err
	}
	return c.answer(http.StatusCreated, c.discussionEntity(c.mustMergeRequest(), n.discussion))
}

// reply adds a note to a discussion; a reply to a plain note makes it a discussion.
func (c *call) reply() error {
	mr, notes, err := c.wantedDiscussion()
	if err != nil {
		return err
	}
	n, err := c.newNote("DiscussionNote", notes[0].discussion)
	if err != nil || n == nil {
		return err
	}
	if notes[0].kind == "" {
		notes[0].kind = "DiscussionNote"
	}
	return c.answer(http.StatusCreated, c.noteEntity(mr, n))
}

func (c *call) resolveDiscussion() error {
	mr, notes, err := c.wantedDiscussion()
	if err != nil {
		return err
	}
	return c.resolve(mr, notes[0].discussion)
}

// resolve needs Developer, or the author of the thread or of the merge request (§0.9). A plain note cannot be resolved.
func (c *call) resolve(mr *mergeRequest, id string) error {
	if err := c.settle(mr, id, c.user, c.in.flag("resolved")); err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.discussionEntity(mr, id))
}

// settle resolves or reopens a discussion for somebody. Notes that are resolved already keep who resolved them. That all
// threads are resolved now is said by a system note and an update hook without changes (GOTCHAS 35).
func (s *Server) settle(mr *mergeRequest, id string, u *User, resolved bool) error {
	notes := mr.discussion(id)
	allowed := mr.target.role(u) >= Developer || mr.author == u || notes[0].author == u
	if !allowed || !notes[0].resolvable() {
		return forbidden("")
	}
	before := mr.discussionsResolved()
	for _, n := range notes {
		switch {
		case !resolved:
			n.resolved, n.resolvedBy, n.resolvedAt = false, nil, time.Time{}
		case !n.resolved:
			n.resolved, n.resolvedBy, n.resolvedAt = true, u, s.now()
		}
	}
	if !before && mr.discussionsResolved() {
		s.systemNote(mr, u, "resolved all threads")
		s.fireMergeRequest(mr, u, "update", "", object{})
	}
	return nil
}

// ResolveThread lets a person resolve or reopen the thread a note stands in.
func (s *Server) ResolveThread(project, iid, user, noteID int64, resolved bool) error {
	return s.withMergeRequest(project, iid, user, func(mr *mergeRequest, u *User) error {
		i := slices.IndexFunc(mr.notes, func(n *note) bool { return n.id == noteID })
		if i < 0 {
			return noRecord()
		}
		return s.settle(mr, mr.notes[i].discussion, u, resolved)
	})
}

// commandForm is a line GitLab takes as a quick action (GOTCHAS 82).
var commandForm = regexp.MustCompile(`^/(approve|assign|close|copy_metadata|done|draft|due|estimate|label|lock|merge|milestone|` +
	`ready|rebase|relabel|reopen|request_review|shrug|spend|submit_review|subscribe|target_branch|title|todo|unapprove|unassign|unlabel|unlock|unsubscribe)\b`)

// quickActions parts a body into its text and the commands at the starts of its lines; fenced lines are text.
func quickActions(body string) (text string, commands []string) {
	var kept []string
	fence := ""
	for line := range strings.SplitSeq(body, "\n") {
		mark := fenceMark(line)
		switch {
		case fence == "" && mark != "":
			fence = mark
		case fence != "" && strings.HasPrefix(mark, fence) && strings.Trim(line, " \t\r`~") == "":
			fence = ""
		case fence == "" && commandForm.MatchString(line):
			commands = append(commands, strings.TrimSpace(line))
			continue
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n"), commands
}

// fenceMark is the run of backticks or tildes a fence line begins with, or "".
func fenceMark(line string) string {
	text := strings.TrimLeft(line, " ")
	if len(line)-len(text) > 3 {
		return ""
	}
	for _, c := range []string{"`", "~"} {
		if run := len(text) - len(strings.TrimLeft(text, c)); run >= 3 {
			return text[:run]
		}
	}
	return ""
}

// execute does what the quick actions say that the simulator knows; the others change nothing here.
func (s *Server) execute(mr *mergeRequest, u *User, commands []string) {
	for _, command := range commands {
		name, rest, _ := strings.Cut(command, " ")
		title := mr.title
		switch name {
		case "/close":
			s.quietly(mr, s.closeMergeRequest(mr, u))
		case "/reopen":
			s.quietly(mr, s.reopenMergeRequest(mr, u))
		case "/approve":
			s.quietly(mr, s.approveMergeRequest(mr, u))
		case "/merge":
			if s.detailedStatus(mr) == "mergeable" {
				s.quietly(mr, s.merge(mr, u, "", false))
			}
		case "/title":
			title = rest
		case "/draft":
			title = "Draft: " + title
		case "/ready":
			if mr.draft() {
				title = strings.TrimSpace(title[len("draft:"):])
			}
		case "/label":
			labels := append(slices.Clone(mr.labels), strings.Fields(strings.ReplaceAll(rest, "~", " "))...)
			s.edit(mr, u, MergeRequestEdit{Labels: labels})
		}
		if title != mr.title {
			s.edit(mr, u, MergeRequestEdit{Title: &title})
		}
	}
}

// quietly logs a quick action that could not be done; GitLab tells it in the summary only.
func (s *Server) quietly(mr *mergeRequest, err error) {
	if err != nil {
		s.log.Info("a quick action was refused", "merge_request", mr.iid, "error", err)
	}
}
