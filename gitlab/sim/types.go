package sim

import (
	"net/http"
	"time"
)

// A User of the instance.
type User struct {
	ID       int64
	Username string
	Name     string
	Admin    bool
	Bot      bool
	created  time.Time
	blocked  bool
}

// A Project as tests and the demo see it.
type Project struct {
	ID            int64
	Path          string // with namespaces, e.g. "acme/platform/infra"
	DefaultBranch string // "" while the repository is empty
	WebURL        string
	CloneURL      string
}

// Access levels (§0.9).
const (
	Guest      = 10
	Reporter   = 20
	Developer  = 30
	Maintainer = 40
	Owner      = 50
)

// Settings of a project that change what GitLab allows.
type Settings struct {
	Visibility              string // "private" (default), "internal" or "public"
	Archived                bool
	PipelineMustSucceed     bool // "Pipelines must succeed"
	DiscussionsMustResolve  bool // "All threads must be resolved"
	RemoveSourceBranchAfter bool // delete the source branch when a merge request is merged
	Description             string
}

// A MergeRequest as tests and the demo see it.
type MergeRequest struct {
	ID, IID             int64
	Project             int64 // the target project
	SourceProject       int64
	Title               string
	Description         string
	State               string // opened, closed, merged
	SourceBranch        string
	TargetBranch        string
	SHA                 string // head of the source branch
	MergeCommitSHA      string
	Labels              []string
	DetailedMergeStatus string
	HeadPipelineID      int64
	HeadPipelineStatus  string
	WebURL              string
}

// A Status is one record of a commit status, the retried ones included (§4).
type Status struct {
	ID          int64
	Pipeline    int64
	SHA, Ref    string
	Name        string
	State       string
	Description string
	TargetURL   string
	User        string // username
	Retried     bool   // hidden by a newer record of the same name
	CreatedAt   time.Time
	History     []StatusChange // every accepted change, in order
}

// A StatusChange is one accepted write of a status.
type StatusChange struct {
	At                            time.Time
	State, Description, TargetURL string
}

// A Note of a merge request, system notes included.
type Note struct {
	ID           int64
	Author       string // username
	Body         string
	System       bool
	Internal     bool
	Discussion   string
	Resolvable   bool
	Resolved     bool
	ResolvedBy   string   // username
	Edits        int      // accepted changes of the body after creation
	QuickActions []string // lines that GitLab took as commands (§6)
	CreatedAt    time.Time
	UpdatedAt    time.Time
	URL          string
}

// An Environment of a project.
type Environment struct {
	ID                            int64
	Name, Slug, ExternalURL, Tier string
	State                         string // available or stopped
	Description                   string
	CreatedAt, UpdatedAt          time.Time
}

// A Deployment of an environment.
type Deployment struct {
	ID, IID     int64
	Environment string
	Ref, SHA    string
	Status      string
	User        string // username
	CreatedAt   time.Time
	History     []DeploymentChange // every accepted status, in order
}

// A DeploymentChange is one accepted status of a deployment.
type DeploymentChange struct {
	At     time.Time
	Status string
}

// A Hook of a project. Secrets are not shown, as in GitLab.
type Hook struct {
	ID          int64
	URL, Name   string
	Events      []string // the flags that are on, sorted, e.g. "push_events"
	HasToken    bool
	Failures    int    // failed deliveries in a row
	AlertStatus string // executable, temporarily_disabled or disabled
}

// A HookDelivery is one request sent to a hook, or tried to.
type HookDelivery struct {
	ID, HookID     int64
	Event          string // e.g. "Push Hook"
	URL            string
	IdempotencyKey string // the same for a delivery and its repetitions
	Header         http.Header
	Body           []byte
	Status         int    // 0 when nobody answered
	Error          string // why nobody answered
	ResponseBody   string // the first 8 kB
	At             time.Time
	Duration       time.Duration
}

// A Request the instance received, in order of arrival.
type Request struct {
	At      time.Time
	Method  string
	Path    string // as sent (escaped), relative root included
	Query   string
	Status  int    // as answered; 0 while under way or when the connection was cut
	Token   string // the token's name, never its value; "" without one
	Body    string // API requests only, at most 64 KiB
	Faulted bool   // a Fault answered or cut it
}
