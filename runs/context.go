package runs

import (
	"strings"
	"time"
)

// A Context is a set of variables and mounted files that stacks share (PRODUCT §6). It is also the stored form: fields may be
// added, never renamed. Its entries are stored under its [Context.Scope].
type Context struct {
	Slug        string   `json:"slug"` // made once from the name, never changes
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Labels      []string `json:"labels,omitempty"` // one that begins with AutoAttach attaches the context by itself

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
}

// contextMark begins the scope of a context's entries; no slug of a stack holds a colon.
const contextMark = "context:"

// Scope is what the entries of the context are stored under, where a stack's are under its slug.
func (c Context) Scope() string { return contextMark + c.Slug }

// ContextOf is the slug of the context whose [Context.Scope] this is, "" for any other scope.
func ContextOf(scope string) string {
	slug, is := strings.CutPrefix(scope, contextMark)
	if !is {
		return ""
	}
	return slug
}

// Validate checks a context's own fields and names the one at fault.
func (c Context) Validate() error { return validNamed("context", c.Name, c.Description, c.Labels) }

// AutoLabels are the labels of stacks that the context attaches itself to; “*” stands for every stack.
func (c Context) AutoLabels() []string { return autoLabels(c.Labels) }

// Attaches says by which of a stack's labels the context attaches itself to it; “*” where it does to every stack.
func (c Context) Attaches(labels []string) (label string, ok bool) { return attaches(c.Labels, labels) }

// An Attachment says that a person attached a context to a stack. Among the contexts of a stack the lowest priority wins.
type Attachment struct {
	Stack    string    `json:"stack"`   // slug
	Context  string    `json:"context"` // slug
	Priority int       `json:"priority"`
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty"`
}

// MaxPriority bounds the priority of an attachment, on both sides of 0.
const MaxPriority = 1_000_000

// Validate checks the attachment's priority.
func (a Attachment) Validate() error {
	if a.Priority < -MaxPriority || a.Priority > MaxPriority {
		return Invalidf("priority", "The priority %d is out of reach. Use a number from −%d to %d; the lowest wins.", a.Priority, MaxPriority, MaxPriority)
	}
	return nil
}
