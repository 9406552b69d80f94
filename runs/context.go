package runs

import (
	"slices"
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

// AutoAttach begins a label of a context that attaches it to every stack with the label that follows, or to all with “*”.
const AutoAttach = "autoattach:"

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
func (c Context) Validate() error {
	switch {
	case strings.TrimSpace(c.Name) == "":
		return Invalidf("name", "Give the context a name.")
	case unprintable(c.Name):
		return Invalidf("name", "The name holds a line break or another character that cannot be printed.")
	case len(c.Name) > 100:
		return Invalidf("name", "The name has %d bytes; 100 is the most.", len(c.Name))
	case Slug(c.Name) == "":
		return Invalidf("name", "The name needs at least one letter (a–z) or digit, because the context's address is made from it.")
	case Slug(c.Name) == "new": // /contexts/new is the form
		return Invalidf("name", "A context cannot be called “%s”: that address is taken. Choose another name.", c.Name)
	case len(c.Description) > 2000:
		return Invalidf("description", "The description has %d bytes; 2000 is the most.", len(c.Description))
	case len(c.Labels) > 50:
		return Invalidf("labels", "There are %d labels; 50 is the most.", len(c.Labels))
	}
	for _, l := range c.Labels {
		if strings.TrimSpace(l) == "" || len(l) > 100 || unprintable(l) {
			return Invalidf("labels", "A label is empty, longer than 100 bytes, or holds what cannot be printed.")
		}
		if label, is := strings.CutPrefix(l, AutoAttach); is && strings.TrimSpace(label) == "" {
			return Invalidf("labels", "“%s” names no label. Write %sprod for stacks with the label prod, or %s* for all stacks.", l, AutoAttach, AutoAttach)
		}
	}
	return nil
}

// AutoLabels are the labels of stacks that the context attaches itself to; “*” stands for every stack.
func (c Context) AutoLabels() (labels []string) {
	for _, l := range c.Labels {
		if label, is := strings.CutPrefix(l, AutoAttach); is {
			labels = append(labels, strings.TrimSpace(label))
		}
	}
	return labels
}

// Attaches says by which of a stack's labels the context attaches itself to it; “*” where it does to every stack.
func (c Context) Attaches(labels []string) (label string, ok bool) {
	for _, l := range c.AutoLabels() {
		if l == "*" || slices.Contains(labels, l) {
			return l, true
		}
	}
	return "", false
}

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
