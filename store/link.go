package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"groundcrew/runs"
)

// A Hook is what is known and owed of one project's webhook. GitLab never shows a hook's secret, so that the
// present one still has to be brought to it is remembered here.
type Hook struct {
	Project   int64     `json:"project"`
	ID        int64     `json:"id,omitempty"` // of the hook in GitLab that was last written by us
	State     string    `json:"state,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	CheckedAt time.Time `json:"checked_at,omitzero"`
	WrittenAt time.Time `json:"written_at,omitzero"` // when GitLab last took our secret
	Signed    bool      `json:"signed,omitempty"`    // GitLab signs its deliveries

	// SignedAt is when a signed delivery of the project was first processed since its hook signs; zero before.
	SignedAt time.Time `json:"signed_at,omitzero"`

	TestedAt time.Time `json:"tested_at,omitzero"`
	TestOK   bool      `json:"test_ok,omitempty"`
	TestText string    `json:"test_text,omitempty"` // what came of the last test, in words

	Owed bool `json:"owed,omitempty"` // a new secret is on its way to the hook; the report of the hook brings it

	// Where the attempts were counted before hooks were reports; rows in the field have them.
	Attempts    int       `json:"attempts,omitempty"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	Refused     bool      `json:"refused,omitempty"` // GitLab refused it for good; a person must mend something
}

// Hook returns what is known of a project's webhook; the zero row when nothing is.
func (tx *Tx) Hook(project int64) (Hook, error) {
	h := Hook{Project: project}
	_, err := get(tx, "hooks", num(project), &h)
	return h, err
}

// HookTarget is the target of a project's webhook.
func HookTarget(project int64) string { return fmt.Sprintf("hook/%d", project) }

// ReportHook marks a project's webhook: GitLab must have ours there, as it has to be. With install it is made where there is
// none.
func (tx *Tx) ReportHook(project int64, install bool) error {
	return tx.mark(Report{Kind: ReportHook, Target: HookTarget(project), Project: project, Install: install})
}

// Signs reports whether the project's hook has been seen to sign: what comes unsigned then is not from it.
func (h Hook) Signs() bool { return h.Signed && !h.SignedAt.IsZero() }

// HeardSigned remembers that a signed delivery of a project came.
func (tx *Tx) HeardSigned(project int64) error {
	h, err := tx.Hook(project)
	if err != nil || !h.Signed || !h.SignedAt.IsZero() {
		return err
	}
	h.SignedAt = tx.now
	return tx.PutHook(h)
}

// Hooks returns what is known of all webhooks, by project. The list is shared as [Tx.Stacks] is.
func (tx *Tx) Hooks() ([]*Hook, error) { return tx.s.cached.hooks.rows(tx) }

// PutHook stores what is known of a project's webhook.
func (tx *Tx) PutHook(h Hook) error {
	tx.changed.Links = true
	if err := tx.s.cached.hooks.changed(tx, num(h.Project)); err != nil {
		return err
	}
	return put(tx, "hooks", num(h.Project), h)
}

// DropHook forgets a project's webhook.
func (tx *Tx) DropHook(project int64) error {
	if err := tx.s.cached.hooks.changed(tx, num(project)); err != nil {
		return err
	}
	return unmark(tx, "hooks", num(project))
}

// A Watch is how far a project was compared with GitLab, so that events nobody delivered are found.
type Watch struct {
	Project   int64     `json:"project"`
	Since     time.Time `json:"since"` // the first look; what was there before is known, not missed
	CheckedAt time.Time `json:"checked_at,omitzero"`
	TagsKnown bool      `json:"tags_known,omitempty"` // tags were recorded once
	Recovered int       `json:"recovered,omitempty"`  // events found that were not delivered
	FoundAt   time.Time `json:"found_at,omitzero"`    // when the last of them was found
	Trouble   string    `json:"trouble,omitempty"`    // why stacks of the project can't work, in words
	Cause     string    `json:"cause,omitempty"`      // one of the Watch constants
	Mend      string    `json:"mend,omitempty"`
}

// Watch returns how far a project was compared; ok is false before the first look.
func (tx *Tx) Watch(project int64) (w Watch, ok bool, err error) {
	w.Project = project
	ok, err = get(tx, "watches", num(project), &w)
	return w, ok, err
}

// PutWatch stores how far a project was compared.
func (tx *Tx) PutWatch(w Watch) error {
	if err := tx.s.cached.troubled.changed(tx, num(w.Project)); err != nil {
		return err
	}
	return put(tx, "watches", num(w.Project), w)
}

// Troubled returns how far the projects were compared whose stacks can't work, by project. The list is shared as [Tx.Stacks]
// is.
func (tx *Tx) Troubled() ([]*Watch, error) { return tx.s.cached.troubled.rows(tx) }

// Tags returns the tags seen in a project with what they point to.
func (tx *Tx) Tags(project int64) (map[string]string, error) {
	prefix := num(project) + "/"
	out := map[string]string{}
	err := each(tx, "tags", prefix, func(k string, raw []byte) (bool, error) {
		out[k[len(prefix):]] = string(raw)
		return true, nil
	})
	return out, err
}

// PutTag remembers what a tag points to; "" forgets it.
func (tx *Tx) PutTag(project int64, name, sha string) error {
	if sha == "" {
		return unmark(tx, "tags", num(project)+"/"+name)
	}
	return tx.b.Bucket([]byte("tags")).Put([]byte(num(project)+"/"+name), []byte(sha))
}

// A Notice is trouble in the background that needs a person. What is wrong is derived from the other rows;
// stored are only since when, and who has seen enough of it.
type Notice struct {
	Key       string    `json:"key"`
	Kind      string    `json:"kind"`  // bad, warn, info
	Text      string    `json:"text"`  // what happened
	Cause     string    `json:"cause"` // why, in words
	Mend      string    `json:"mend"`  // what to do
	LinkText  string    `json:"link_text,omitempty"`
	LinkURL   string    `json:"link_url,omitempty"` // on this server
	Stack     string    `json:"stack,omitempty"`
	Version   string    `json:"version,omitempty"` // another one is news: what was dismissed is shown again
	Since     time.Time `json:"since"`
	Last      time.Time `json:"last"` // when it last changed
	Dismissed time.Time `json:"dismissed,omitzero"`
	By        string    `json:"by,omitempty"` // who dismissed it

	Topic runs.Topic `json:"topic,omitempty"`  // it was told as
	Told  []Told     `json:"told,omitempty"`   // over which channels
	Gone  time.Time  `json:"gone_at,omitzero"` // when it was first not there any more
}

// Told is a notification that was put into a channel.
type Told struct {
	Channel string `json:"channel"`
	ID      string `json:"id"`
}

// Notices returns what is remembered of trouble, by key.
func (tx *Tx) Notices() ([]Notice, error) { return all[Notice](tx, "notices", "") }

// PutNotice remembers trouble.
func (tx *Tx) PutNotice(n Notice) error { return put(tx, "notices", n.Key, n) }

// DropNotice forgets trouble that is over.
func (tx *Tx) DropNotice(key string) error { return unmark(tx, "notices", key) }

// MergeNotices gives trouble that is there now the memory of the same trouble before: since when, and whether it
// was dismissed. A notice whose version or kind changed is news, and no longer dismissed. Newest first within a kind.
func MergeNotices(now, known []Notice, at time.Time) []Notice {
	old := map[string]Notice{}
	for _, n := range known {
		old[n.Key] = n
	}
	for i := range now {
		n := &now[i]
		o, ok := old[n.Key]
		switch {
		case !ok:
			n.Since, n.Last = at, at
		case o.Version != n.Version || o.Kind != n.Kind:
			n.Since, n.Last, n.Topic, n.Told = o.Since, at, o.Topic, o.Told
		default:
			n.Since, n.Last, n.Dismissed, n.By, n.Topic, n.Told = o.Since, o.Last, o.Dismissed, o.By, o.Topic, o.Told
		}
	}
	rank := map[string]int{"bad": 0, "warn": 1, "info": 2}
	slices.SortStableFunc(now, func(a, b Notice) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), b.Since.Compare(a.Since), cmp.Compare(a.Key, b.Key))
	})
	return now
}

// A Rotation is the one attempt to let GitLab renew the token. It is stored before the call, and after a lost
// answer it is never made again by itself: GitLab takes a second rotation of a used token for a theft and
// revokes the new one too.
type Rotation struct {
	State     string    `json:"state"` // one of the Rotation constants
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expires_at"` // asked for
	Text      string    `json:"text,omitempty"`
}

// The states of a [Rotation].
const (
	RotationTrying  = "trying"  // the call is under way, or its answer was lost with the process
	RotationDone    = "done"    // the new token is in use
	RotationRefused = "refused" // GitLab said no; the old token lives
	RotationLost    = "lost"    // nobody knows the new token: a person must set one
)
