package gitlab

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// listedCommits is how many commits a push payload lists at most (CONTRACT §W3).
const listedCommits = 20

type projectPayload struct {
	ID                int64
	PathWithNamespace string `json:"path_with_namespace"`
	WebURL            string `json:"web_url"`
	DefaultBranch     string `json:"default_branch"`
}

type userPayload struct {
	ID       int64
	Username string
	Name     string
}

type commitPayload struct {
	ID        string
	Message   string
	Title     string
	Timestamp string
	URL       string
	Author    struct{ Name string }
	Added     []string
	Modified  []string
	Removed   []string
}

func (p commitPayload) commit() Commit {
	title := p.Title
	if title == "" {
		title, _, _ = strings.Cut(p.Message, "\n")
	}
	return Commit{SHA: p.ID, Title: title, Message: p.Message, Author: p.Author.Name, WebURL: p.URL, At: parseTime(p.Timestamp)}
}

// envelope is what tells the kinds apart; the rest is read by kind, so that a strange field of an event nobody asked for
// is no error.
type envelope struct {
	ObjectKind string `json:"object_kind"`
	EventName  string `json:"event_name"`
	EventType  string `json:"event_type"`
}

func (e envelope) kind() HookKind {
	switch kind := HookKind(firstOf(e.ObjectKind, e.EventName, e.EventType)); kind {
	case HookPush, HookTagPush, HookMergeRequest, HookNote:
		return kind
	}
	return HookOther
}

// ReadHook parses a delivery. Kinds it doesn't know are HookOther and no error; the error of one it knows says for people
// what is wrong with the payload. Fields it doesn't know are ignored.
func ReadHook(h http.Header, body []byte) (Hook, error) {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return Hook{}, invalidHook("it is no JSON object")
	}
	var e envelope
	if err := decode(body, &e); err != nil {
		return Hook{}, err
	}
	hook := Hook{Kind: e.kind(), EventName: firstOf(h.Get(headerEvent), e.EventType, e.ObjectKind, e.EventName)}
	switch hook.Kind {
	case HookPush, HookTagPush:
		return readPush(hook, body)
	case HookMergeRequest:
		return readMergeRequest(hook, body)
	case HookNote:
		return readNote(hook, body)
	}
	return readOther(hook, body), nil
}

// readOther takes what it finds: such payloads are only shown.
func readOther(hook Hook, body []byte) Hook {
	var project struct {
		ProjectID int64 `json:"project_id"`
		Project   projectPayload
	}
	if decode(body, &project) == nil {
		hook.setProject(project.Project, project.ProjectID)
	}
	return hook
}

func (hook *Hook) setProject(p projectPayload, id int64) {
	hook.ProjectID = p.ID
	if hook.ProjectID == 0 {
		hook.ProjectID = id
	}
	hook.ProjectPath, hook.ProjectURL, hook.DefaultBranch = p.PathWithNamespace, p.WebURL, p.DefaultBranch
}

func readPush(hook Hook, body []byte) (Hook, error) {
	var p struct {
		Ref, Before, After string
		CheckoutSHA        string `json:"checkout_sha"`
		UserID             int64  `json:"user_id"`
		UserName           string `json:"user_name"`
		UserUsername       string `json:"user_username"`
		ProjectID          int64  `json:"project_id"`
		Project            projectPayload
		Commits            []commitPayload
		TotalCommitsCount  *int `json:"total_commits_count"`
	}
	if err := decode(body, &p); err != nil {
		return Hook{}, err
	}
	hook.setProject(p.Project, p.ProjectID)
	hook.User = HookUser{ID: p.UserID, Username: p.UserUsername, Name: p.UserName}
	push := &Push{
		Ref: p.Ref, Before: p.Before, After: p.After, CheckoutSHA: p.CheckoutSHA,
		Created: isZero(p.Before), Deleted: isZero(p.After), Total: len(p.Commits), Files: files(p.Commits),
	}
	if branch, ok := strings.CutPrefix(p.Ref, "refs/heads/"); ok {
		push.Branch = branch
	} else if tag, ok := strings.CutPrefix(p.Ref, "refs/tags/"); ok {
		push.Tag = tag
	}
	if !push.Deleted && push.CheckoutSHA == "" {
		push.CheckoutSHA = p.After
	}
	if p.TotalCommitsCount != nil {
		push.Total = *p.TotalCommitsCount
		push.Complete = !push.Created && push.Total == len(p.Commits) && push.Total <= listedCommits &&
			(push.Total > 0 || p.Before == p.After)
	}
	push.Head = head(p.Commits, push.CheckoutSHA)
	hook.Push = push
	switch {
	case hook.ProjectID <= 0:
		return Hook{}, invalidHook("a push without a project")
	case push.Branch == "" && push.Tag == "":
		return Hook{}, invalidHook("a push to %q, which is neither branch nor tag", flatten(p.Ref))
	case !isSHA(p.Before) || !isSHA(p.After) || push.CheckoutSHA != "" && !isSHA(push.CheckoutSHA):
		return Hook{}, invalidHook("a push whose commits are no commit ids")
	}
	return hook, nil
}

func files(commits []commitPayload) []string {
	var all []string
	for _, c := range commits {
		all = slices.Concat(all, c.Added, c.Modified, c.Removed)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func head(commits []commitPayload, sha string) Commit {
	for _, c := range commits {
		if c.ID == sha {
			return c.commit()
		}
	}
	return Commit{SHA: sha}
}

type mergeRequestPayload struct {
	IID             int64
	Title           string
	State           string
	SourceBranch    string `json:"source_branch"`
	TargetBranch    string `json:"target_branch"`
	URL             string
	SourceProjectID int64 `json:"source_project_id"`
	TargetProjectID int64 `json:"target_project_id"`
	Draft           bool
	WorkInProgress  bool          `json:"work_in_progress"`
	HeadPipelineID  int64         `json:"head_pipeline_id"`
	LastCommit      commitPayload `json:"last_commit"`
	Action          string
	OldRev          string
	MergeCommitSHA  string `json:"merge_commit_sha"`
}

func (p mergeRequestPayload) hook() (*MergeRequestHook, error) {
	switch {
	case p.IID <= 0:
		return nil, invalidHook("a merge request without its number (iid)")
	case p.TargetProjectID <= 0:
		return nil, invalidHook("a merge request without its target project")
	case p.LastCommit.ID != "" && !isSHA(p.LastCommit.ID), p.OldRev != "" && !isSHA(p.OldRev), p.MergeCommitSHA != "" && !isSHA(p.MergeCommitSHA):
		return nil, invalidHook("a merge request whose commits are no commit ids")
	}
	return &MergeRequestHook{
		MergeRequest: MergeRequest{
			IID: p.IID, Title: p.Title, State: p.State, SourceBranch: p.SourceBranch, TargetBranch: p.TargetBranch,
			HeadSHA: p.LastCommit.ID, WebURL: p.URL, SourceProject: p.SourceProjectID, TargetProject: p.TargetProjectID,
			Draft: p.Draft || p.WorkInProgress, HeadPipelineID: p.HeadPipelineID,
		},
		Action: p.Action, OldRev: p.OldRev, Head: p.LastCommit.commit(), MergeCommitSHA: p.MergeCommitSHA,
	}, nil
}

func readMergeRequest(hook Hook, body []byte) (Hook, error) {
	var p struct {
		User             userPayload
		Project          projectPayload
		ObjectAttributes mergeRequestPayload `json:"object_attributes"`
	}
	if err := decode(body, &p); err != nil {
		return Hook{}, err
	}
	hook.setProject(p.Project, p.ObjectAttributes.TargetProjectID)
	hook.User = HookUser(p.User)
	var err error
	hook.MR, err = p.ObjectAttributes.hook()
	if err != nil {
		return Hook{}, err
	}
	return hook, nil
}

func readNote(hook Hook, body []byte) (Hook, error) {
	var p struct {
		User             userPayload
		ProjectID        int64 `json:"project_id"`
		Project          projectPayload
		ObjectAttributes struct {
			ID           int64
			Note         string
			Action       string
			NoteableType string `json:"noteable_type"`
			System       bool
			Internal     bool
			AuthorID     int64  `json:"author_id"`
			DiscussionID string `json:"discussion_id"`
			Type         string // null for a plain comment
			CreatedAt    string `json:"created_at"`
			UpdatedAt    string `json:"updated_at"`
		} `json:"object_attributes"`
		MergeRequest *mergeRequestPayload `json:"merge_request"`
		EventType    string               `json:"event_type"`
	}
	if err := decode(body, &p); err != nil {
		return Hook{}, err
	}
	hook.setProject(p.Project, p.ProjectID)
	hook.User = HookUser(p.User)
	a := p.ObjectAttributes
	hook.Note = &NoteHook{
		ID: a.ID, Text: a.Note, Action: a.Action, NoteableType: a.NoteableType, System: a.System,
		Internal: a.Internal || strings.HasPrefix(p.EventType, "confidential"), AuthorID: a.AuthorID,
		New: a.Action == "create" || a.Action == "" && a.CreatedAt == a.UpdatedAt,
	}
	if a.Type != "" && isSHA(a.DiscussionID) {
		hook.Note.Discussion = a.DiscussionID
	}
	switch {
	case hook.ProjectID <= 0:
		return Hook{}, invalidHook("a comment without a project")
	case a.ID <= 0:
		return Hook{}, invalidHook("a comment without its id")
	case a.NoteableType != "MergeRequest":
		return hook, nil
	case p.MergeRequest == nil:
		return Hook{}, invalidHook("a comment on a merge request without the merge request")
	}
	var err error
	hook.Note.MR, err = p.MergeRequest.hook()
	if err != nil {
		return Hook{}, err
	}
	return hook, nil
}

func decode(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalidHook("its field %s is of the wrong kind (%s)", flatten(wrong.Field), flatten(wrong.Value))
	}
	if err != nil {
		return invalidHook("it is no JSON: %s", flatten(err.Error()))
	}
	return nil
}

func invalidHook(format string, args ...any) error {
	return invalidf("this delivery can't be read: "+format, args...)
}

// isSHA reports whether s is a full commit id, of a SHA-1 or a SHA-256 repository.
func isSHA(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// isZero reports whether s is the id that stands for "nothing": all zeros.
func isSHA256(s string) bool { return len(s) == 64 && isSHA(s) }

func isZero(s string) bool { return isSHA(s) && strings.Trim(s, "0") == "" }

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
