package view

import (
	"time"
)

// VCSModel is the list of VCS providers.
type VCSModel struct {
	GitLab   *Integration // nil: not set up
	Projects int
	Stacks   int
}

// IntegrationFormModel is the form to set up or change the integration.
type IntegrationFormModel struct {
	Edit         bool
	APIURL       string
	ExternalURL  string
	CAPEM        string
	StatusPrefix string
	Aggregate    bool
	Errors       map[string]string // by field name
	Error        string
	Checks       []Check // of the last try; empty: none was made
}

// A Check is one thing that was tried, and what came of it in words.
type Check struct {
	Name    string
	OK      bool
	Skipped bool // not tried, because one before it failed
	Message string
}

// The states of an integration, for [Integration.State].
const (
	Connected   = "connected"
	Unreachable = "unreachable" // the network, not the token
	TokenDead   = "token dead"  // expired, revoked, blocked: nothing can be sent
)

// Integration is the one GitLab.
type Integration struct {
	APIURL       string
	ExternalURL  string
	Version      string // GitLab's, "18.5.1-ee"
	State        string // one of the states above
	Detail       string // why it is not connected
	StatusPrefix string
	Aggregate    bool
	HasCA        bool
	Token        Token
}

// Token is what GitLab says about the API token.
type Token struct {
	Name, Username string
	Scopes         []string
	ExpiresAt      time.Time // zero: never, or not known
	CheckedAt      time.Time
	Active         bool
	Human          bool // belongs to a person's account, not to a machine user
}

// The states of a project's hook, for [HookRow.State].
const (
	HookInstalled = "installed"
	HookMissing   = "missing"
	HookDuplicate = "duplicate"
	HookEvents    = "wrong events"
	HookDisabled  = "disabled"
	HookUnknown   = "unknown"
)

// A HookRow is a project used by stacks and the state of its hook.
type HookRow struct {
	ID           int64
	Path, WebURL string
	State        string // one of the states above
	Detail       string // in words
	LastDelivery time.Time
	Stacks       int
}

// IntegrationModel is the page an admin comes back to.
type IntegrationModel struct {
	Integration
	Endpoint        string // address for webhooks
	EndpointWarning string // why GitLab may not reach it, "" when nothing is known
	Secret          string // shown only in answer to a reveal without JavaScript
	PreviousUntil   time.Time
	Projects        []HookRow
	Checks          []Check // of a test just made
	Refused         int     // deliveries refused within the last day
	ReportsWaiting  int
	ReportsParked   int
	Stacks          int // that an unlink would detach
	CanAdmin        bool
	UnlinkError     string
}

// Missing counts the projects whose hook a click could install.
func (m IntegrationModel) Missing() int {
	n := 0
	for _, p := range m.Projects {
		if p.State == HookMissing {
			n++
		}
	}
	return n
}

// The states of a delivery, for [Delivery.State].
const (
	DeliveryWaiting = "waiting"
	DeliveryDone    = "done"
	DeliveryIgnored = "ignored"
	DeliveryRefused = "refused"
	DeliveryFailed  = "failed"
)

// A Delivery is one webhook request that was received.
type Delivery struct {
	ID         string
	Event      string // "Push Hook"
	Project    string // path, when known
	ReceivedAt time.Time
	State      string // one of the states above
	Verdict    string // "started 2 runs"
	Runs       []string
}

// DeliveriesModel is the list of deliveries.
type DeliveriesModel struct {
	Rows  []Delivery
	State string // the filter as given
	Any   bool
	Pager Pager
}

// DeliveryModel is one delivery.
type DeliveryModel struct {
	Delivery
	Headers []Header // without the token
	Body    string   // indented JSON, or the text as it came
	BodyCut int64    // bytes of the body that are not shown
	Replay  Act
}

// A Header is one header of a request.
type Header struct{ Name, Value string }

// The states of a report, for [Report.State].
const (
	ReportWaiting   = "waiting"
	ReportDelivered = "delivered"
	ReportParked    = "parked"
)

// A Report is something GitLab must be told.
type Report struct {
	Key         string // names it when it is tried again
	Kind        string // status, note, deployment, environment
	Target      string // in words: "groundcrew/network-prod on 3f2a91c0"
	URL         string // of the target in GitLab, "" when not known
	RunID       string
	State       string // one of the states above
	Attempts    int
	NextAttempt time.Time // zero: none planned
	LastError   string
	Since       time.Time
}

// ReportsModel is the list of reports.
type ReportsModel struct {
	Rows  []Report
	State string
	Any   bool
	Retry Act
	Pager Pager
}
