package sim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A note of a merge request. Notes of one discussion share its id; a plain note is a discussion of its own that
// cannot be resolved (GOTCHAS 27).
type note struct {
	id               int64
	kind             string // "", "DiscussionNote" or "DiffNote"
	author           *User
	body             string
	system, internal bool
	discussion       string
	resolved         bool
	resolvedBy       *User
	resolvedAt       time.Time
	position         input
	created, updated time.Time
	updatedBy        *User
	edits            int
	commands         []string
}

const (
	maxNote        = 1_000_000 // characters (§6)
	notesPerMinute = 300       // for one user (§0.6)
)

func (n *note) resolvable() bool { return n.kind != "" }

func newDiscussionID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (mr *mergeRequest) discussionsResolved() bool {
	return !slices.ContainsFunc(mr.notes, func(n *note) bool { return n.resolvable() && !n.resolved })
}

func (mr *mergeRequest) userNotes() int {
	count := 0
	for _, n := range mr.notes {
		if !n.system {
			count++
		}
	}
	return count
}

func (s *Server) addNote(mr *mergeRequest, n *note) {
	n.id, n.created, n.updated = s.id("note"), s.now(), s.now()
	if n.discussion == "" {
		n.discussion = newDiscussionID()
	}
	mr.notes = append(mr.notes, n)
	if !n.system { // system notes fire nothing (§W5)
		mr.updated = s.now()
		s.fireNote(mr, n, "create")
	}
}

func (s *Server) systemNote(mr *mergeRequest, u *User, text string) {
	s.addNote(mr, &note{author: u, body: text, system: true})
}

// AddNote lets a person comment on a merge request. Lines of quick actions are executed, as by the API.
func (s *Server) AddNote(project, iid, user int64, body string) (id int64, err error) {
	err = s.withMergeRequest(project, iid, user, func(mr *mergeRequest, u *User) error {
		text, commands := quickActions(body)
		s.execute(mr, u, commands)
		if err := checkNote(text); err != nil {
			return err
		}
		n := &note{author: u, body: text, commands: commands}
		s.addNote(mr, n)
		id = n.id
		return nil
	})
	return id, err
}

func checkNote(body string) error {
	switch {
	case strings.TrimSpace(body) == "":
		return badNote("can't be blank")
	case utf8.RuneCountInString(body) > maxNote:
		return badNote("is too long (maximum is 1000000 characters)")
	default:
		return nil
	}
}

// createNote is POST …/notes; a body made only of quick actions is a 202 without a note (GOTCHAS 84).
func (c *call) createNote() error {
	n, err := c.newNote("", "")
	if err != nil || n == nil {
		return err
	}
	return c.answer(http.StatusCreated, c.noteEntity(c.mustMergeRequest(), n))
}

// mustMergeRequest is for handlers that have found it before.
func (c *call) mustMergeRequest() *mergeRequest {
	mr, _ := c.wantedMergeRequest()
	return mr
}

// newNote makes a note of a discussion ("" is a new one) from the parameters, or answers 202 and gives nil.
func (c *call) newNote(kind, discussion string) (*note, error) {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return nil, err
	}
	if c.limited(fmt.Sprintf("notes/%d", c.user.ID), notesPerMinute, time.Minute) {
		return nil, tooMany("endpoint")
	}
	if err := checkNote(c.in.text("body")); err != nil {
		return nil, err
	}
	text, commands := quickActions(c.in.text("body"))
	c.execute(mr, c.user, commands)
	if strings.TrimSpace(text) == "" {
		return nil, c.answer(http.StatusAccepted, object{"commands_changes": object{}, "summary": commands})
	}
	n := &note{
		kind: kind, discussion: discussion, author: c.user, body: text, commands: commands, internal: c.in.flag("internal"),
	}
	if c.in.has("position") {
		n.kind, n.position = "DiffNote", c.in.hash("position")
		if n.position.text("head_sha") == "" || n.position.text("new_path")+n.position.text("old_path") == "" {
			return nil, message(http.StatusBadRequest, `400 Bad request - Note {:line_code=>["can't be blank", "must be a valid line code"]}`)
		}
	}
	c.addNote(mr, n)
	return n, nil
}

func (s *Server) noteEntity(mr *mergeRequest, n *note) object {
	e := object{
		"id": n.id, "type": orNull(n.kind), "body": n.body, "attachment": nil, "author": s.basics(n.author), "created_at": isoTime(n.created),
		"updated_at": isoTime(n.updated), "system": n.system, "noteable_id": mr.id, "noteable_type": "MergeRequest",
		"project_id": mr.target.id, "resolvable": n.resolvable(), "confidential": n.internal, "internal": n.internal, "imported": false,
		"imported_from": "none", "noteable_iid": mr.iid, "commands_changes": object{},
	}
	if n.resolvable() {
		e["resolved"], e["resolved_by"], e["resolved_at"] = n.resolved, s.basics(n.resolvedBy), isoTime(n.resolvedAt)
	}
	if n.kind == "DiffNote" {
		e["commit_id"], e["position"], e["suggestions"] = nil, n.position, []any{}
	}
	return e
}

func (c *call) listNotes() error {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return err
	}
	notes := slices.Clone(mr.notes)
	switch c.in.text("activity_filter") {
	case "only_comments":
		notes = slices.DeleteFunc(notes, func(n *note) bool { return n.system })
	case "only_activity":
		notes = slices.DeleteFunc(notes, func(n *note) bool { return !n.system })
	}
	notes = slices.DeleteFunc(notes, func(n *note) bool { return n.internal && c.project.role(c.user) < Reporter })
	if c.in.text("order_by") == "updated_at" {
		slices.SortStableFunc(notes, func(a, b *note) int { return a.updated.Compare(b.updated) })
	}
	if c.in.text("sort") != "asc" {
		slices.Reverse(notes)
	}
	return page(c, notes, func(n *note) any { return c.noteEntity(mr, n) })
}

func (c *call) wantedNote() (*mergeRequest, *note, error) {
	mr, err := c.wantedMergeRequest()
	if err != nil {
		return nil, nil, err
	}
	id, _ := strconv.ParseInt(c.segment["note"], 10, 64) // 0 is none
	for _, n := range mr.notes {
		if n.id == id && (c.segment["discussion"] == "" || c.segment["discussion"] == n.discussion) {
			return mr, n, nil
		}
	}
	return nil, nil, noRecord()
}

func (c *call) getNote() error {
	mr, n, err := c.wantedNote()
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.noteEntity(mr, n))
}

// mayEdit: the author or a Maintainer; nobody edits system notes.
func (c *call) mayEdit(n *note) bool {
	return !n.system && (n.author == c.user || c.project.role(c.user) >= Maintainer)
}

// editNote changes the body, or in a discussion resolves the note.
func (c *call) editNote() error {
	mr, n, err := c.wantedNote()
	if err != nil {
		return err
	}
	if !c.mayEdit(n) {
		return forbidden("")
	}
	if c.in.has("resolved") && c.in.has("body") {
		return parameter(http.StatusBadRequest, "body, resolved are mutually exclusive")
	}
	if c.in.has("resolved") {
		return c.resolve(mr, n.discussion)
	}
	if !c.in.has("body") {
		return parameter(http.StatusBadRequest, "body is missing")
	}
	text, commands := quickActions(c.in.text("body"))
	if err := checkNote(text); err != nil {
		return err
	}
	c.execute(mr, c.user, commands)
	n.body, n.updated, n.updatedBy = text, c.now(), c.user
	n.commands = append(n.commands, commands...)
	n.edits++
	c.fireNote(mr, n, "update")
	return c.answer(http.StatusOK, c.noteEntity(mr, n))
}

func (c *call) deleteNote() error {
	mr, n, err := c.wantedNote()
	if err != nil {
		return err
	}
	if !c.mayEdit(n) {
		return forbidden("")
	}
	mr.notes = slices.DeleteFunc(mr.notes, func(other *note) bool { return other == n })
	return c.answer(http.StatusNoContent, nil)
}

// DeleteNote lets somebody who may delete a note.
func (s *Server) DeleteNote(project, iid, id int64) error {
	return s.withMergeRequest(project, iid, 0, func(mr *mergeRequest, _ *User) error {
		mr.notes = slices.DeleteFunc(mr.notes, func(n *note) bool { return n.id == id })
		return nil
	})
}

// Notes lists the notes of a merge request, system notes included, oldest first.
func (s *Server) Notes(project, iid int64) []Note {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return nil
	}
	mr := p.mergeRequest(iid)
	if mr == nil {
		return nil
	}
	var all []Note
	for _, n := range mr.notes {
		resolver := ""
		if n.resolvedBy != nil {
			resolver = n.resolvedBy.Username
		}
		all = append(all, Note{
			ID: n.id, Author: n.author.Username, Body: n.body, System: n.system, Internal: n.internal, Discussion: n.discussion,
			Resolvable: n.resolvable(), Resolved: n.resolved, ResolvedBy: resolver, Edits: n.edits, QuickActions: slices.Clone(n.commands),
			CreatedAt: n.created, UpdatedAt: n.updated, URL: s.noteURL(mr, n),
		})
	}
	return all
}

func (s *Server) noteURL(mr *mergeRequest, n *note) string {
	return fmt.Sprintf("%s#note_%d", s.mergeRequestURL(mr), n.id)
}
