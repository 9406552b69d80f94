package gitlab

import (
	"errors"
	"net/http"
)

// HookKind is the kind of a webhook delivery, as far as this package reads it.
type HookKind string

// The kinds of delivery.
const (
	HookPush         HookKind = "push"
	HookTagPush      HookKind = "tag_push"
	HookMergeRequest HookKind = "merge_request"
	HookNote         HookKind = "note"
	HookOther        HookKind = "other"
)

// A Hook is a webhook delivery in its parsed form. Exactly one of Push (for both push kinds), MR and Note is set, none
// for HookOther. Rights are never derived from it: fields vanish by version and event; ask the API.
type Hook struct {
	Kind          HookKind
	EventName     string // X-Gitlab-Event, or the body's word for it
	ProjectID     int64
	ProjectPath   string
	ProjectURL    string
	DefaultBranch string
	User          HookUser
	Push          *Push
	MR            *MergeRequestHook
	Note          *NoteHook
}

// HookUser is who set off the event. E-mail addresses are never read: GitLab redacts them.
type HookUser struct {
	ID       int64
	Username string
	Name     string
}

// A Push of one branch or tag.
type Push struct {
	Ref         string
	Branch      string // without refs/heads/, "" for a tag
	Tag         string // without refs/tags/, "" for a branch
	Before      string
	After       string // the tag object for an annotated tag
	CheckoutSHA string // the commit; "" when deleted
	Created     bool
	Deleted     bool
	Head        Commit // of CheckoutSHA when listed
	Total       int    // commits in the push; the payload lists the newest 20 at most
	Files       []string
	Complete    bool // Files cover the whole push
}

// A MergeRequestHook is a merge request as a webhook shows it.
type MergeRequestHook struct {
	MergeRequest
	Action         string // open, update, close, reopen, merge, approval…; may be ""
	OldRev         string // only on an update that brought new commits
	Head           Commit
	MergeCommitSHA string
}

// Fork reports whether the merge request comes from another project, also one that is gone.
func (m *MergeRequestHook) Fork() bool { return m.SourceProject != m.TargetProject }

// A NoteHook is a comment.
type NoteHook struct {
	ID           int64
	Text         string
	Action       string // create or update; "" before GitLab 16.11
	NoteableType string // MergeRequest, Commit, Issue, Snippet
	System       bool
	Internal     bool
	AuthorID     int64
	MR           *MergeRequestHook
}

// ReadHook parses a delivery.
func ReadHook(h http.Header, body []byte) (Hook, error) { return Hook{}, errors.ErrUnsupported }

// DeliveryKey names a delivery, the same for each repetition of it.
func DeliveryKey(h http.Header, body []byte) string { return "" }

// Authentic reports whether the delivery carries one of the secrets.
func Authentic(h http.Header, secrets []Token) bool { return false }
