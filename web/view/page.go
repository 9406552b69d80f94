package view

import (
	"strings"
	"time"
)

// The places of the sidebar, for [Page.Nav].
const (
	NavStart    = "start"
	NavStacks   = "stacks"
	NavRuns     = "runs"
	NavModules  = "modules"
	NavContexts = "contexts"
	NavPolicies = "policies"
	NavInbox    = "inbox"
	NavSettings = "settings"
)

// A Page is what the shell around every page needs.
type Page struct {
	Title   string // of the window; the heading is the page's own
	Crumbs  []Crumb
	Nav     string // which place of the sidebar is lit: one of the Nav constants
	Here    string // the page's own address, of one that changes by itself
	Live    string // of the events that change it, "" when nothing does
	User    *User  // nil: nobody is signed in, and the shell shows no sidebar
	Now     time.Time
	Banners []Banner
	Flash   *Flash // what the last act did
	// NeedCount is how many things wait for a person; the sidebar shows it beside the start page.
	NeedCount int
	// InboxCount is how many notices nobody dismissed; the sidebar shows it beside the inbox.
	InboxCount int
	Version    string // of Groundcrew, for the foot of the sidebar
}

// A Crumb is one step of the path above a page's heading; the last one may have no URL.
type Crumb struct{ Text, URL string }

// A User is who is signed in.
type User struct {
	Name     string
	Role     string // admin, writer or reader
	Initials string // at most two letters
}

// Admin reports whether the user may change settings.
func (u *User) Admin() bool { return u != nil && u.Role == "admin" }

// Initials makes the one or two letters that stand for a person.
func Initials(name string) string {
	var out []rune
	for _, w := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" .-_@", r) }) {
		out = append(out, []rune(strings.ToUpper(w))[0])
	}
	return string(out[:min(2, len(out))])
}

// The kinds of a [Banner] and a [Flash].
const (
	KindInfo = "info"
	KindGood = "good"
	KindWarn = "warn"
	KindBad  = "bad"
)

// A Banner says above every page what hinders the whole installation.
type Banner struct {
	Kind     string // one of the Kind constants
	Text     string // what happened, why, what to do
	LinkText string // "" for none
	LinkURL  string
}

// DetachedBanner says that no GitLab is set up while stacks need one.
func DetachedBanner(stacks int) Banner {
	return Banner{
		Kind:     KindBad,
		Text:     "GitLab is not linked, so " + Count(stacks, "stack is", "stacks are") + " detached: no run starts until an integration is set up again.",
		LinkText: "Set up GitLab", LinkURL: "/settings/vcs/gitlab",
	}
}

// A Flash says once what the last act did.
type Flash struct{ Kind, Text string }

// A Pager leads through a list kept in pages by cursor. "" means there is none that way.
type Pager struct {
	FirstURL string // back to the beginning, when this is not it
	NextURL  string
	Shown    int // rows on this page
	Total    int // rows in all; 0 when nobody counted
}

// An Option is one choice of a drop-down.
type Option struct{ Value, Text string }

// An Act is something a person could do here. The zero value is not offered at all.
type Act struct {
	Can bool
	// WhyNot is shown beside the disabled button: "Only a writer or an admin can confirm."
	WhyNot string
}

// Shown reports whether the act has a button at all.
func (a Act) Shown() bool { return a.Can || a.WhyNot != "" }

// A ToolVersion is one tool binary this server has.
type ToolVersion struct {
	Tool    string // runs.OpenTofu, runs.Terraform
	Version string
	Path    string
	Broken  string // why it cannot be used, "" when it can
}

// windowTitle names the window: the page first, because twenty tabs are narrow.
func windowTitle(p Page) string {
	if p.Title == "" {
		return "Groundcrew"
	}
	return p.Title + " · Groundcrew"
}
