package view

import (
	"net/url"
	"strings"
	"time"
)

// UsersModel is the list of people and, for an admin, the form that adds one.
type UsersModel struct {
	Rows        []UserRow
	Q           string
	Any         bool // somebody has an account, whatever the search says
	Pager       Pager
	CanAdmin    bool
	PasswordOff bool // people come with their GitLab account only
	Name, Role  string
	Errors      map[string]string
}

// A UserRow is one person with an account.
type UserRow struct {
	ID, Name, Display string
	Role              string
	CreatedAt         time.Time
	LastSeen          time.Time // zero: never signed in
	InvitedUntil      time.Time // zero: there is no one-time link
	Disabled          bool
	GitLab, Password  bool // ways the person signs in
}

// UserModel is one person's page for an admin. Link is a one-time link that was just made, shown once.
type UserModel struct {
	Row      UserRow
	Sessions []SessionRow
	Link     string
	Self     bool
}

// A SessionRow is one browser that is signed in.
type SessionRow struct {
	ID, Agent, Address, Via string
	Since, LastSeen, Ends   time.Time
	Own                     bool // the one that looks at it
}

// AccountModel is a person's own page. Password says whether there is one to change.
type AccountModel struct {
	Row      UserRow
	Sessions []SessionRow
	Password bool
	Errors   map[string]string

	Connect      bool   // the account can be connected to one in GitLab
	Disconnect   bool   // and this one can be disconnected: the password remains
	ContinueURL  string // leads to GitLab, after the password was given
	ConnectError string
}

// signsIn says how a person comes in.
func (u UserRow) signsIn() string {
	switch {
	case u.GitLab && u.Password:
		return "by password, or with GitLab as " + u.Display
	case u.GitLab && u.Display != u.Name:
		return "with GitLab, as " + u.Display
	case u.GitLab:
		return "with GitLab"
	case u.Password:
		return "by password"
	default:
		return "by password, which is not chosen yet"
	}
}

// WelcomeModel is the form behind a one-time link.
type WelcomeModel struct {
	Token, Name string
	Errors      map[string]string
}

// KeysModel is the list of API keys and the form that makes one. Key is the text of one just made, shown once.
type KeysModel struct {
	Rows                []KeyRow
	Name, Role, Expires string
	Errors              map[string]string
	Key, KeyName        string
}

// A KeyRow is one API key.
type KeyRow struct {
	ID, Name, Role, CreatedBy    string
	CreatedAt, LastUsed, Expires time.Time // zero: never
	Expired                      bool
	MakerDisabled                bool // so the key opens nothing
}

// AuditModel is a page of the audit log.
type AuditModel struct {
	Rows                             []AuditRow
	By, Action, Target, Since, Until string // the filter, as typed
	Any                              bool
	Pager                            Pager
	Days                             int // entries are kept
	Errors                           map[string]string
}

// An AuditRow is one entry.
type AuditRow struct {
	ID, By, Action, Target, Stack, Note, Address, Via string
	At                                                time.Time
	Changes                                           []AuditChange
}

// An AuditChange is one setting before and after.
type AuditChange struct{ Field, Before, After string }

// SignInModel is how people sign in.
type SignInModel struct {
	Linked               bool   // a GitLab is linked
	RedirectURL, AppsURL string // to copy, and the page of GitLab to paste it on
	GitLab, PasswordOff  bool
	ClientID             string
	HasSecret            bool
	Groups, Role         string // groups: one a line
	Idle, Life           string // hours, days
	Errors               map[string]string
	Error                string
}

var roleOptions = []Option{{"admin", "admin"}, {"writer", "writer"}, {"reader", "reader"}}

// agentName makes a browser's own long name short: browser and system.
func agentName(agent string) string {
	if agent == "" {
		return "a client without a name"
	}
	name := "another client"
	for _, b := range [][2]string{{"Firefox/", "Firefox"}, {"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"}} {
		if strings.Contains(agent, b[0]) {
			name = b[1]
			break
		}
	}
	for _, o := range [][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"}} {
		if strings.Contains(agent, o[0]) {
			return name + " on " + o[1]
		}
	}
	return name
}

// viaWords says how a session began.
func viaWords(via string) string {
	switch via {
	case "gitlab":
		return "with GitLab"
	case "link":
		return "with a one-time link"
	default:
		return "by password"
	}
}

func personURL(id string, more ...string) string {
	return "/settings/users/" + url.PathEscape(id) + strings.Join(more, "")
}

// exportURL leads to the export of what the filter shows.
func (m AuditModel) exportURL(format string) string {
	q := url.Values{"format": {format}}
	for name, v := range map[string]string{"by": m.By, "action": m.Action, "target": m.Target, "since": m.Since, "until": m.Until} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return "/settings/audit/export?" + q.Encode()
}

func (m AuditModel) filtered() bool {
	return m.By+m.Action+m.Target+m.Since+m.Until != ""
}

func (m SignInModel) secret() field {
	f := field{Name: "client_secret", Label: "Secret", Type: "password", Err: m.Errors["client_secret"], Mono: true, Attrs: map[string]any{"autocomplete": "off"}}
	if m.HasSecret {
		f.Help = "Kept encrypted. Blank keeps the present one."
	}
	return f
}

// disconnect says whether an admin can take GitLab off this account.
func (m UserModel) disconnect() Act {
	if m.Self && !m.Row.Password {
		return Act{WhyNot: "GitLab is your own only way in."}
	}
	return Act{Can: true}
}

func (m UserModel) disconnectAsk() string {
	ask := "Disconnect " + m.Row.Name + " from GitLab and sign them out everywhere?"
	if !m.Row.Password {
		ask += " They have no password, so they cannot sign in until you hand them a one-time link."
	}
	return ask
}
