package view

import (
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
)

// NotificationsModel lists the ways people are told.
type NotificationsModel struct {
	Channels []ChannelRow
	Failures []NotificationRow // given up, newest first
}

// A ChannelRow is one way.
type ChannelRow struct {
	ID, Name, Kind string
	Where          string // whom it reaches, without what is secret of it
	Events, Stacks string // in words
	Off            bool
	Waiting        int    // notifications not told yet
	LastError      string // the peer's words, "" while it works
	ToldAt         time.Time
	FailedAt       time.Time
}

// A NotificationRow is one that was given up.
type NotificationRow struct {
	Title, Channel, Error string
	At                    time.Time
}

// ChannelFormModel is the form of one channel.
type ChannelFormModel struct {
	ID, Kind    string // ID "": a new one
	Name        string
	On          bool
	Events      []string
	Stacks      string // slugs, comma separated
	Labels      string
	Proposed    bool
	Host        string // of the address that is kept; the address itself is a secret
	CAPEM       string
	AllowLocal  bool
	GiveUp      string // minutes
	SMTP        SMTPForm
	HasPassword bool
	Signing     string // of a new webhook: shown once, to be copied
	Errors      map[string]string
	Error       string
}

// SMTPForm is how an e-mail channel sends.
type SMTPForm struct{ Host, Port, Security, Username, From, To string }

// The kinds of channel, as package store names them.
const (
	kindEmail   = "email"
	kindWebhook = "webhook"
	kindChat    = "chat"
)

// ChannelWord names a kind for people.
func ChannelWord(kind string) string {
	switch kind {
	case kindEmail:
		return "E-mail"
	case kindWebhook:
		return "Signed webhook"
	default:
		return "Slack or Mattermost"
	}
}

// eventWords say what each topic is about.
var eventWords = map[runs.Topic][2]string{
	runs.OnWaiting:   {"A run waits for confirmation or approval", ""},
	runs.OnFailed:    {"A run failed", ""},
	runs.OnFinished:  {"A run finished with changes", ""},
	runs.OnDiscarded: {"A run was discarded", ""},
	runs.OnFlagged:   {"A state needs a look", "An apply was cut off, or a state could not be kept as it should; the stack is flagged."},
	runs.OnToken:     {"GitLab refuses the token", "Revoked, expired, blocked, or without its scope."},
	runs.OnExpiry:    {"The token expires", "At 30, 14, 7 and 3 days and one day before."},
	runs.OnGitLab:    {"GitLab cannot be reached", ""},
	runs.OnHook:      {"A webhook is broken", "Missing, switched off, or with wrong settings."},
	runs.OnReport:    {"GitLab refused a report for good", ""},
	runs.OnTrouble:   {"Other trouble in the inbox", "Projects, forks that wait, deliveries nobody understood."},
}

// EventWord says a topic in words.
func EventWord(t runs.Topic) string { return eventWords[t][0] }

// usualEvents are ticked in a new form.
var usualEvents = []string{string(runs.OnWaiting), string(runs.OnFailed), string(runs.OnFlagged), string(runs.OnToken), string(runs.OnExpiry), string(runs.OnHook), string(runs.OnReport)}

// NewChannelForm is the form of a new channel of a kind.
func NewChannelForm(kind string) ChannelFormModel {
	return ChannelFormModel{Kind: kind, On: true, Events: usualEvents, SMTP: SMTPForm{Port: "587", Security: "starttls"}}
}

func (m ChannelFormModel) has(t runs.Topic) bool { return slices.Contains(m.Events, string(t)) }

// Title names the page: which kind is added, or which channel is changed.
func (m ChannelFormModel) Title() string {
	if m.ID == "" {
		return addWords[m.Kind]
	}
	return "Channel " + m.Name
}

// addWords says of each kind that one is added.
var addWords = map[string]string{kindEmail: "Add e-mail", kindChat: "Add Slack or Mattermost", kindWebhook: "Add a signed webhook"}

func (m ChannelFormModel) action() string {
	if m.ID == "" {
		return "/settings/notifications"
	}
	return "/settings/notifications/" + m.ID
}

func (m ChannelFormModel) field(name, label, value, help string) field {
	return field{Name: name, Label: label, Value: value, Help: help, Err: m.Errors[name]}
}

func (m ChannelFormModel) url() field {
	f := m.field("url", "Address", "", "The whole address. Who knows it can post there, so it is kept sealed and never shown again.")
	f.Type, f.Mono, f.Attrs = "password", true, map[string]any{"autocomplete": "off"}
	if m.Kind == kindChat {
		f.Placeholder = "https://mattermost.example.com/hooks/…"
	} else {
		f.Placeholder = "https://example.com/groundcrew"
	}
	if m.ID == "" {
		f.Required = true
	} else {
		f.Optional, f.Placeholder = true, "Blank keeps the present one, at "+m.Host
	}
	return f
}

func (m ChannelFormModel) signing() field {
	f := m.field("signing_secret", "Signing secret", m.Signing, "Each delivery is signed with it (Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature). Copy it to the receiver now; it is not shown again.")
	f.Mono, f.Attrs = true, map[string]any{"autocomplete": "off", "spellcheck": "false"}
	if m.ID != "" {
		f.Optional, f.Type, f.Placeholder = true, "password", "Blank keeps the present one"
		f.Help = "Another one counts at once: change the receiver first. whsec_ and 24 to 64 bytes in base64."
	}
	return f
}

func (m ChannelFormModel) password() field {
	f := m.field("smtp_password", "Password", "", "")
	f.Type, f.Optional, f.Attrs = "password", true, map[string]any{"autocomplete": "new-password"}
	if m.HasPassword {
		f.Placeholder = "Blank keeps the present one"
	}
	return f
}

var securityOptions = []Option{{"starttls", "STARTTLS (587)"}, {"tls", "TLS from the first byte (465)"}, {"none", "None: a relay on this machine or network (25)"}}

// look is the state of a channel: word and shape.
func (r ChannelRow) look() (string, string) {
	switch {
	case r.Off:
		return lookEnded, "off"
	case r.LastError != "":
		return lookBad, "does not arrive"
	case r.ToldAt.IsZero():
		return lookIdle, "not used yet"
	default:
		return lookGood, "works"
	}
}

func (r ChannelRow) what() string {
	return strings.Join(slices.DeleteFunc([]string{r.Events, r.Stacks}, func(s string) bool { return s == "" }), " · ")
}

func required(f field) field {
	f.Required = true
	return f
}
