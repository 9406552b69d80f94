package view

import (
	"strings"
	"time"

	"github.com/a-h/templ"

	"groundcrew/runs"
)

// StacksModel is the list of stacks.
type StacksModel struct {
	Rows []StackRow
	// Q, State and Label are the filter as given; State is a run state or "".
	Q, State, Label string
	Labels          []string // every label in use
	Any             bool     // there is at least one stack, whatever the filter says
	Connected       bool     // an integration is set up
	CanCreate       bool
	New             int // stacks that came to the list while the page was read
	Pager           Pager
}

// A StackRow is a stack in the list.
type StackRow struct {
	Stack    runs.Stack
	Last     *runs.Run // the latest blocking run; nil: none yet
	Detached bool
}

// The tabs of a stack, for [StackHead.Tab].
const (
	TabRuns          = "runs"
	TabMergeRequests = "merge-requests"
	TabEnvironment   = "environment"
	TabContexts      = "contexts"
	TabPolicies      = "policies"
	TabState         = "state"
	TabSettings      = "settings"
)

// StackHead is what every tab of a stack shows above itself.
type StackHead struct {
	Stack     runs.Stack
	Last      *runs.Run // the latest blocking run; nil: none yet
	Detached  bool
	Tab       string // one of the Tab constants
	OpenMRs   int
	HeldForks int
	Ahead     *runs.Commit // the branch head in GitLab, when it is not the tracked commit
	Trigger   Act
	Lock      Act // lock or unlock, whichever is next
	Sync      Act

	ProjectTrouble string // what keeps the project's stacks from working, "" when nothing does
	ProjectMend    string
}

// shownLabels is how many labels a row of the list shows.
const shownLabels = 6

// whyStack is the id of what says why buttons of a stack's head are off, whyRelease of what says why commits of forks
// cannot be released.
const (
	whyStack   = "why-stack"
	whyRelease = "why-release"
)

// acts are those with a button in the head.
func (h StackHead) acts() []Act {
	out := []Act{h.Trigger}
	if h.Ahead != nil {
		out = append(out, h.Sync)
	}
	if h.Stack.LockedBy != "" {
		out = append(out, h.Lock)
	}
	return out
}

// StackRunsModel is the first tab of a stack.
type StackRunsModel struct {
	Head  StackHead
	Rows  []RunRow
	Type  string // runs.Tracked, runs.Proposed, … or "" for all
	New   int    // runs that came while the page was read
	Pager Pager
}

// StackMRsModel is the tab of merge requests.
type StackMRsModel struct {
	Head StackHead
	Rows []MRRow
}

func (m StackMRsModel) releases() []Act {
	var out []Act
	for _, r := range m.Rows {
		out = append(out, r.Release)
	}
	return out
}

// An MRRow is an open merge request that concerns the stack.
type MRRow struct {
	MR       runs.MergeRequest
	HeadSHA  string
	Run      *runs.Run // the latest for it; nil: none
	ForkPath string    // the project it comes from, when that is a fork
	// Held says that the head commit is from a fork and nobody released it.
	Held    bool
	Release Act
	Updated time.Time
}

// EnvironmentModel is the tab of what the stack's runs get.
type EnvironmentModel struct {
	Head    StackHead
	Entries EntriesModel
}

// VariableForm is the form of one variable.
type VariableForm struct {
	Name, Value string
	Secret      bool
	Editing     bool // the variable is there and is being changed
}

// StateModel is the tab of state versions.
type StateModel struct {
	Head     StackHead
	Versions []StateVersion // newest first
	// Resources and Outputs are those of the newest version.
	Resources        int
	Outputs          []StateOutput
	TerraformVersion string
	Download         Act
	Pager            Pager
}

// A StateVersion is one version of a managed state.
type StateVersion struct {
	Version   int
	Serial    uint64
	Lineage   string
	RunID     string // the run that made it, "" when a person did
	RunTitle  string
	By        string
	Note      string // "rescued after the run was cut off"
	CreatedAt time.Time
	Size      int64 // bytes
}

// A StateOutput is an output of the root module. Value is JSON, empty for a sensitive one.
type StateOutput struct {
	Name, Value string
	Sensitive   bool
}

// StackForm is a stack as the form holds it: text as typed, so that a refused form keeps its values. The
// field names of the form are those in the comments.
type StackForm struct {
	Name        string        // name
	Description string        // description
	Project     string        // project: path or numeric id
	Branch      string        // branch
	ProjectRoot string        // project_root
	Globs       string        // globs, one per line
	Tool        string        // tool
	ToolVersion string        // tool_version
	Commands    runs.Commands // command_init, command_plan, command_show, command_apply, command_destroy
	State       string        // state
	Autodeploy  bool          // autodeploy=on
	Plan        string        // plan: merge_result or head
	Promotion   bool          // run_promotion=on
	Protect     bool          // protect=on
	Approvals   string        // approvals: a number
	Labels      string        // labels, separated by commas
	// DestroyThreads is destroy_threads: on, off, or "" for what the integration says.
	DestroyThreads string
	InstallHook    bool // install_hook=on
}

// NewStackForm is the form as it first appears.
func NewStackForm() StackForm {
	return StackForm{Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult, InstallHook: true}
}

// StackNewModel is the wizard.
type StackNewModel struct {
	Values     StackForm
	Errors     map[string]string // by field name
	Error      string            // that belongs to no field
	Connected  bool
	GitLabHost string
	Tools      []ToolVersion
}

// StackSettingsModel is the tab of settings.
type StackSettingsModel struct {
	Head        StackHead
	Values      StackForm
	Errors      map[string]string
	Error       string
	Tools       []ToolVersion
	Edit        Act
	Delete      Act
	DeleteError string // why the last try to delete was refused
	Destroy     Act
	// DestroyError is why the last try to destroy was refused.
	DestroyError string
	StateKept    int // versions of managed state the stack has
}

// branchAndRoot says where in its project a stack lives.
func branchAndRoot(s runs.Stack) string {
	if root := runs.CleanRoot(s.ProjectRoot); root != "" {
		return s.Branch + " · " + root
	}
	return s.Branch
}

func labelOptions(labels []string) []Option {
	opts := []Option{{"", "Every label"}}
	for _, l := range labels {
		opts = append(opts, Option{l, l})
	}
	return opts
}

func stackTabs(h StackHead) []tab {
	base := stackURL(h.Stack.Slug)
	at := func(name, text string) tab {
		return tab{Text: text, URL: base + "/" + name, Current: h.Tab == name}
	}
	first := tab{Text: "Runs", URL: base, Current: h.Tab == TabRuns}
	mrs := at(TabMergeRequests, "Merge requests")
	mrs.Count, mrs.Warn = h.OpenMRs, h.HeldForks > 0
	return []tab{first, mrs, at(TabEnvironment, "Environment"), at(TabContexts, "Contexts"), at(TabPolicies, "Policies"), at(TabState, "State"), at(TabSettings, "Settings")}
}

// lockText says who locked a stack and why.
func lockText(s runs.Stack) string {
	text := "Locked by " + s.LockedBy
	if s.LockNote != "" {
		text += ": " + s.LockNote
	}
	return strings.TrimRight(text, ".") + ". Plans go on; nothing is applied until it is unlocked."
}

// codeInput keeps browsers from correcting what is not prose.
var codeInput = templ.Attributes{"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}

func valueHelp(v VariableForm) string {
	if v.Editing && v.Secret {
		return "The value now in use is not shown. What you type replaces it."
	}
	return ""
}
