package gitlab

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
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
	Before      string // all zeros when created
	After       string // all zeros when deleted; the tag object for an annotated tag
	CheckoutSHA string // the commit; "" when deleted
	Created     bool
	Deleted     bool
	Head        Commit   // of CheckoutSHA; only its SHA when the payload doesn't list it
	Total       int      // commits in the push; the payload lists the newest 20 at most
	Files       []string // of all listed commits, sorted
	Complete    bool     // Files cover every commit of the push. What a forced push took away is in no payload: compare
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
	Discussion   string            // of the thread it stands in; "" for a plain comment
	New          bool              // it was just written; false for an edit, by Action or, where that is not said, by its times
	MR           *MergeRequestHook // for NoteableType MergeRequest
}

const (
	headerEvent    = "X-Gitlab-Event"
	maxDeliveryKey = 128 // characters of an id that are believed to be one
)

// DeliveryKey names a delivery, the same for each repetition of it (GOTCHAS 41): the id GitLab gives it, else the
// event's, else the content. The body is part of the key wherever GitLab's id doesn't name the single delivery.
func DeliveryKey(h http.Header, body []byte) string {
	for _, name := range []string{"Webhook-Id", "Idempotency-Key"} {
		if id := h.Get(name); plausibleID(id) {
			return "id:" + id
		}
	}
	event := h.Get(headerEvent)
	sum := sha256.New()
	sum.Write([]byte(event + "\n"))
	sum.Write(body)
	content := hex.EncodeToString(sum.Sum(nil))
	if id := h.Get("X-Gitlab-Event-UUID"); plausibleID(id) {
		return "event:" + id + ":" + content
	}
	return "content:" + content
}

func plausibleID(id string) bool {
	return id != "" && len(id) <= maxDeliveryKey && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Authentic reports whether the delivery carries one of the secrets, in time that doesn't depend on how much of it is
// right. An empty secret is none; no secrets means no.
func Authentic(h http.Header, secrets []Token) bool {
	got := sha256.Sum256([]byte(h.Get("X-Gitlab-Token")))
	found := 0
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		want := sha256.Sum256([]byte(secret.Reveal()))
		found |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return found == 1
}
