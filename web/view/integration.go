package view

import (
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// VCSModel is the list of VCS providers.
type VCSModel struct {
	GitLab   *Integration // nil: not set up
	Projects int
	Stacks   int
}

// IntegrationFormModel is the form to set up or change the integration.
type IntegrationFormModel struct {
	Edit           bool
	APIURL         string
	ExternalURL    string
	CAPEM          string
	StatusPrefix   string
	Aggregate      bool
	PassUntouched  bool
	AutoRotate     bool
	DestroyThreads bool
	RequireSigned  string            // always, never, or "" for as soon as a hook signs
	Errors         map[string]string // by field name
	Error          string
	Checks         []Check // of the last try; empty: none was made
}

// Title names the page: the first set-up, or a change.
func (m IntegrationFormModel) Title() string {
	if m.Edit {
		return "Change the GitLab integration"
	}
	return "Set up GitLab"
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
	AutoRotate   bool   // GitLab renews the token before it expires
	RotationText string // what came of the last renewal
	Token        Token
}

// Token is what GitLab says about the API token.
type Token struct {
	Name, Username string
	Scopes         []string
	ExpiresAt      time.Time // zero: never, or not known
	CheckedAt      time.Time
	Active         bool
	Kind           string // personal, project, group, service_account; "" when not known
	Human          bool   // belongs to a person's account, not to a machine user
}

// The states of a project's hook, for [HookRow.State].
const (
	HookInstalled = "installed"
	HookMissing   = "missing"
	HookDuplicate = "duplicate"
	HookEvents    = "wrong events"
	HookURL       = "wrong address"
	HookSecret    = "wrong secret"
	HookDisabled  = "disabled"
	HookMoving    = "new secret on its way"
	HookWaits     = "repair waits"
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
	TestedAt     time.Time // zero: never
	TestOK       bool
	TestText     string // what came of the last test
	// PassUntouched is on, off, or "" for what the integration says.
	PassUntouched string
}

// IntegrationModel is the page an admin comes back to.
type IntegrationModel struct {
	Integration
	Endpoint        string // address for webhooks
	EndpointWarning string // why GitLab may not reach it, "" when nothing is known
	Secret          string // shown only in answer to a reveal without JavaScript
	PreviousUntil   time.Time
	HooksOwed       int       // hooks that are still to get the new secret
	Projects        []HookRow // of this page of them
	Pager           Pager
	Checks          []Check // of a test just made
	Refused         int     // deliveries refused within the last day
	ReportsWaiting  int
	ReportsParked   int
	Stacks          int // that an unlink would detach
	CanAdmin        bool
	UnlinkError     string
}

var passChoices = []Option{{"", "as the integration says"}, {"on", "pass"}, {"off", "get no status"}}

// repair names the click that puts hooks right, "" when none is needed. Of the projects of other pages GitLab was not asked.
func (m IntegrationModel) repair() string {
	if m.Pager.Total > len(m.Projects) {
		return "Install or repair hooks"
	}
	n := m.wanting()
	if n == 0 {
		return ""
	}
	return "Install or repair " + Count(n, "hook", "hooks")
}

// wanting counts the projects of this page whose hook a click could put right.
func (m IntegrationModel) wanting() (n int) {
	for _, p := range m.Projects {
		if p.State != HookInstalled && p.State != HookUnknown && p.State != HookMoving && p.State != HookWaits {
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
	Event string // X-Gitlab-Event
	// Text is a part of the verdict, Since and Until dates.
	Text, Since, Until string
	// Project is a part of a path.
	Project string
	Any     bool
	Pager   Pager
}

func (m DeliveriesModel) filtered() bool {
	return m.State+m.Event+m.Text+m.Since+m.Until+m.Project != ""
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
	Cause       string // of the refusal, as far as known
	Mend        string // what a person can do about it
	Retry       Act    // may this one be tried again; the zero value: as the model says of all
}

// whyRetry is the id of what says why reports cannot be tried again.
const whyRetry = "why-retry"

// retry is whether a report may be tried again, and why not.
func (m ReportsModel) retry(r Report) Act {
	if r.Retry.Shown() {
		return r.Retry
	}
	return m.Retry
}

func (m ReportsModel) retries() []Act {
	var out []Act
	for _, r := range m.Rows {
		if r.State != ReportDelivered {
			out = append(out, m.retry(r))
		}
	}
	return out
}

// ReportsModel is the list of reports.
type ReportsModel struct {
	Rows  []Report
	State string
	Any   bool
	Retry Act
	Pager Pager
}

func integrationAction(m IntegrationFormModel) string {
	if m.Edit {
		return "/settings/vcs/gitlab/edit"
	}
	return "/settings/vcs/gitlab"
}

func (m IntegrationFormModel) apiURL() field {
	return field{
		Name: "api_url", Label: "API host URL", Value: m.APIURL, Err: m.Errors["api_url"], Required: true, Mono: true,
		Placeholder: "https://gitlab.example.com", Attrs: codeInput,
		Help: "Where this server reaches GitLab. A path below the host and plain http work too.",
	}
}

func (m IntegrationFormModel) externalURL() field {
	return field{
		Name: "external_url", Label: "User facing URL", Value: m.ExternalURL, Err: m.Errors["external_url"], Optional: true, Mono: true,
		Attrs: codeInput, Help: "Where people open GitLab, for links. Blank: the same.",
	}
}

func (m IntegrationFormModel) token() field {
	f := field{
		Name: "token", Label: "API token", Type: "password", Err: m.Errors["token"], Required: !m.Edit, Mono: true,
		Attrs: templ.Attributes{"autocomplete": "new-password"},
		Help:  "A personal, project, group or service account token with the scope api. Best of a machine user with the role Maintainer, so that it outlives people. It is kept sealed and never shown again.",
	}
	if m.Edit {
		f.Label, f.Help = "New API token", "Blank keeps the token in use. The new one is checked before it replaces the old."
		f.Optional = true
	}
	return f
}

func (m IntegrationFormModel) caPEM() field {
	return field{
		Name: "ca_pem", Label: "CA certificate", Value: m.CAPEM, Err: m.Errors["ca_pem"], Optional: true, Mono: true, Rows: 3,
		Placeholder: "-----BEGIN CERTIFICATE-----", Help: "PEM, when GitLab's certificate is from a private authority. TLS is never switched off.",
	}
}

func (m IntegrationFormModel) prefix() field {
	return field{
		Name: "status_prefix", Label: "Prefix", Value: m.StatusPrefix, Err: m.Errors["status_prefix"], Mono: true, Placeholder: "groundcrew",
		Attrs: codeInput, Help: "Statuses and environments are named prefix/stack. Change it when two installations share a GitLab. GitLab renames nothing: after a change, statuses of runs at work are ended under the old name and go on under the new one, environments of the new name are made, and the old ones stopped as soon as nothing deploys to them. What is finished keeps its old name.",
	}
}

func (m IntegrationFormModel) signed() field {
	return field{
		Name: "require_signed", Label: "Unsigned deliveries", Value: m.RequireSigned, Err: m.Errors["require_signed"],
		Help: "GitLab 19 and later signs deliveries. A hook that Groundcrew wrote signs from then on, also while secrets are rotated; an unsigned delivery with the right secret is then not from it.",
	}
}

var signedChoices = []Option{{"", "refuse them once the project's hook signs"}, {"always", "always refuse them"}, {"never", "take them"}}

// moreOpen unfolds the rarely used fields when one of them is not as it first was.
func (m IntegrationFormModel) moreOpen() bool {
	return m.Aggregate || m.PassUntouched || m.DestroyThreads || m.RequireSigned != "" || m.Errors["require_signed"] != "" || m.Errors["status_prefix"] != "" || m.StatusPrefix != "" && m.StatusPrefix != "groundcrew"
}

// kindText says what a token of its kind means for its rights.
func (t Token) kindText() string {
	switch t.Kind {
	case "project":
		return "A project access token: it sees and writes to this one project, and ends with it."
	case "group":
		return "A group access token: it sees the projects of its group."
	case "service_account":
		return "A service account's token: it sees the projects its account is a member of."
	}
	return ""
}

func (i Integration) resultsText() string {
	if i.Aggregate {
		return "One status for all stacks of a commit:"
	}
	return "One status for each stack:"
}

func (i Integration) statusExample() string {
	if i.Aggregate {
		return i.StatusPrefix + "/tracked"
	}
	return i.StatusPrefix + "/<stack>"
}

// tokenExpiry says when a token ends: "expires in 41 days (2 Jan 2027)".
func tokenExpiry(now time.Time, t Token) string {
	switch {
	case !t.Active:
		return "no longer active"
	case t.ExpiresAt.IsZero():
		return "does not expire"
	case t.ExpiresAt.Before(now):
		return "expired on " + t.ExpiresAt.UTC().Format("2 Jan 2006")
	default:
		return "expires " + Ago(now, t.ExpiresAt) + " (" + t.ExpiresAt.UTC().Format("2 Jan 2006") + ")"
	}
}

// hookHCL is the block that makes a project's hook with GitLab's Terraform provider.
func hookHCL(m IntegrationModel) string {
	project := "infra/network"
	if len(m.Projects) > 0 {
		project = m.Projects[0].Path
	}
	return `resource "gitlab_project_hook" "groundcrew" {
  project                 = ` + quoteHCL(project) + `
  url                     = ` + quoteHCL(m.Endpoint) + `
  token                   = var.groundcrew_webhook_secret
  push_events             = true
  tag_push_events         = true
  note_events             = true
  merge_requests_events   = true
  enable_ssl_verification = true
}`
}

// quoteHCL writes a string literal of HCL, in which ${ and %{ would begin an expression.
func quoteHCL(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}

func unlinkText(m IntegrationModel) string {
	text := "The token and the webhook secret are forgotten. "
	if m.Stacks > 0 {
		text += Count(m.Stacks, "stack becomes", "stacks become") + " detached: nothing runs until an integration is set up again. "
	}
	return text + "Stacks, runs and states stay."
}

// trafficLook is the shape and colour of a delivery's or a report's state.
func trafficLook(state string) string {
	switch state {
	case DeliveryDone, ReportDelivered:
		return lookGood
	case DeliveryIgnored:
		return lookEnded
	case DeliveryRefused, DeliveryFailed, ReportParked:
		return lookBad
	default:
		return lookIdle
	}
}

func filterOptions(all string, values ...string) []Option {
	opts := []Option{{"", all}}
	for _, v := range values {
		opts = append(opts, Option{v, v})
	}
	return opts
}

// noError says what there is instead of an error of GitLab's.
func noError(r Report) string {
	if r.State == ReportDelivered {
		return "GitLab shows it."
	}
	return "Not sent yet."
}

// settingsPlaces are the tabs of the settings: those a person may open.
func settingsPlaces(admin bool, current string) []tab {
	var out []tab
	for _, t := range []struct {
		key, text string
		admin     bool
	}{
		{"vcs", "VCS providers", false},
		{"users", "Users", false},
		{"sign-in", "Sign-in", true},
		{"notifications", "Notifications", true},
		{"keys", "API keys", true},
		{"audit", "Audit", true},
		{"system", "System", false},
	} {
		if admin || !t.admin {
			out = append(out, tab{Text: t.text, URL: "/settings/" + t.key, Current: t.key == current})
		}
	}
	return out
}

const ignoredFor = "ignored for "

// verdictParts takes apart what a verdict says: what was done, and of which stacks it says that they were not concerned. One stack
// stays in the sentence.
func verdictParts(text string) (did string, ignored []string) {
	var rest []string
	for part := range strings.SplitSeq(text, "; ") {
		if stack, ok := strings.CutPrefix(part, ignoredFor); ok {
			ignored = append(ignored, stack)
		} else {
			rest = append(rest, part)
		}
	}
	if len(ignored) < 2 {
		return text, nil
	}
	return strings.Join(rest, "; "), ignored
}
