package gitlab

import "time"

// Version is what GET /version says: "19.2.1" or "19.2.1-ee", and the short commit.
type Version struct {
	Version  string
	Revision string
}

// A User is an account, most often the owner of the token. Bot is true for project, group and service account tokens.
type User struct {
	ID       int64
	Username string
	Name     string
	Bot      bool
	State    string // "active", "blocked", …
	WebURL   string
	IsAdmin  bool // said only of administrators
}

// A TokenInfo describes the token itself.
type TokenInfo struct {
	ID        int64
	Name      string
	Scopes    []string
	Active    bool
	Revoked   bool
	CreatedAt time.Time  // zero when GitLab doesn't say
	ExpiresAt *time.Time // midnight UTC at which it dies (the last usable day is the day before); nil: never
}

// A Project is a GitLab repository with its settings.
type Project struct {
	ID            int64
	Path          string // path_with_namespace
	Name          string
	DefaultBranch string // "" for an empty repository or a caller without access to the code
	WebURL        string
	HTTPURL       string // http_url_to_repo: follows GitLab's external URL, which need not be the host we were given
	Archived      bool
	Empty         bool
	AccessLevel   int // the token's direct level (the higher of project and group), 0 if not said; inherited levels: MemberLevel
	Visibility    string
	ObjectFormat  string // "sha1" or "sha256"; "" on versions that don't say

	OnlyAllowMergeIfPipelineSucceeds bool
}

// A Branch and its head commit.
type Branch struct {
	Name      string
	SHA       string
	Title     string // of the head commit
	Author    string // of the head commit
	Default   bool
	Protected bool
}

// A Tag and the commit it leads to.
type Tag struct {
	Name   string
	Object string // of an annotated tag the tag object, else the commit
	Commit Commit
}

// A Commit as the API or a webhook shows it.
type Commit struct {
	SHA       string
	Title     string
	Message   string
	Author    string
	WebURL    string
	ParentIDs []string // not in webhooks
	At        time.Time
}

// A MergeRequest. From a list or a webhook the pipeline fields and DivergedCommits are empty.
type MergeRequest struct {
	IID             int64
	Title           string
	State           string // opened, closed, locked, merged
	SourceBranch    string
	TargetBranch    string
	HeadSHA         string
	WebURL          string
	SourceProject   int64 // 0 when the fork is gone or hidden
	TargetProject   int64
	Draft           bool
	HeadPipelineID  int64
	HeadPipelineSHA string // may be an older commit than HeadSHA: compare before using HeadPipelineID
	HeadPipelineRef string // a branch, or refs/merge-requests/<iid>/head or /merge for a pipeline of the merge request itself
	DivergedCommits int    // commits the target branch is ahead
	AuthorID        int64  // of the account that opened it
	Preparing       bool   // just opened: GitLab has not made its diff yet, and lists no changed file (CONTRACT §5, GOTCHAS 23)
}

// A Status is a commit status to post. GitLab allows 255 characters for Ref, TargetURL and Description and refuses
// more; State is pending, running, success, failed, canceled or skipped.
type Status struct {
	State       string
	Name        string
	Ref         string
	TargetURL   string
	Description string
	PipelineID  int64 // 0: GitLab chooses
}

// A StatusAnswer says which job in which pipeline a posted status became. Keep to its pipeline.
type StatusAnswer struct {
	ID         int64
	PipelineID int64
}

// A StatusInfo is a commit status or CI job as GitLab lists it.
type StatusInfo struct {
	ID          int64
	Name        string
	State       string
	Description string
	Ref         string
	TargetURL   string
	PipelineID  int64
	AuthorID    int64
}

// A Note is a comment on a merge request.
type Note struct {
	ID         int64
	Body       string
	AuthorID   int64
	AuthorName string // username, for reading only: it changes hands
	System     bool
	Internal   bool      // only members see it
	CreatedAt  time.Time // zero when GitLab doesn't say
	UpdatedAt  time.Time // of the text, or of its thread being resolved; zero when GitLab doesn't say
}

// A Discussion is a thread on a merge request.
type Discussion struct {
	ID       string
	Notes    []Note // oldest first
	Resolved bool
}

// An Environment of a project. Its name can't be changed after creation.
type Environment struct {
	ID          int64
	Name        string
	State       string // available, stopping, stopped; ignored when creating and updating
	Tier        string // production, staging, testing, development, other; "": GitLab guesses
	ExternalURL string
}

// A Deployment to create. Status is running, success, failed or canceled.
type Deployment struct {
	Environment string
	SHA         string
	Ref         string // must exist in the project
	Tag         bool
	Status      string
}

// A DeploymentInfo is a deployment as GitLab lists it.
type DeploymentInfo struct {
	ID          int64
	SHA         string
	Ref         string
	Status      string
	Environment string
	UserID      int64
}

// A ProjectHook is a webhook as GitLab shows it: never with its secret.
type ProjectHook struct {
	ID                  int64
	URL                 string
	PushEvents          bool
	TagPushEvents       bool
	MergeRequestsEvents bool
	NoteEvents          bool
	SSLVerification     bool
	Name                string // GitLab 17.1+
	BranchFilter        string // pushes to other branches are not delivered; "" delivers all
	SigningTokenPresent bool   // GitLab 19.0+: deliveries are signed
	AlertStatus         string // executable, temporarily_disabled, disabled; "" on versions that don't say
	DisabledUntil       *time.Time
}

// A HookSpec is a webhook to create, or what it is to become. GitLab forgets the secret when the URL changes unless it
// is sent again, so Token always goes with it.
type HookSpec struct {
	URL             string
	Token           Token
	SigningToken    Token // GitLab 19.0+, "whsec_" and 32 bytes in base64; "": none is sent
	Push            bool
	TagPush         bool
	MergeRequests   bool
	Notes           bool
	SSLVerification bool
	Name            string // GitLab 17.1+
	Description     string // GitLab 17.1+
}
