package runs

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// How a stack's state is kept.
const (
	StateManaged = "managed"     // by Groundcrew, in versions
	StateOwn     = "own backend" // by the backend block in the code; left alone
)

// Which commit of a merge request is planned.
const (
	PlanMergeResult = "merge_result" // what the target branch would be after the merge, when GitLab can make it
	PlanHead        = "head"         // the source branch as it is
)

// The tools.
const (
	OpenTofu  = "opentofu"
	Terraform = "terraform"
	Custom    = "custom" // commands from the stack's settings
)

// Commands are the shell commands of a custom stack. Each runs in the project root; see the README for the
// variables they get.
type Commands struct {
	Init    string `json:"init,omitempty"`
	Plan    string `json:"plan,omitempty"`
	Show    string `json:"show,omitempty"` // prints the plan as Terraform plan JSON
	Apply   string `json:"apply,omitempty"`
	Destroy string `json:"destroy,omitempty"`
}

// What a stack says of threads, see [Stack.DestroyThreads].
const (
	ThreadsOn  = "on"
	ThreadsOff = "off"
)

// A Stack is a root module at a project, branch and folder, with its state and settings (PRODUCT §2).
// It is also the stored form: fields may be added, never renamed.
type Stack struct {
	Slug        string `json:"slug"` // made once from the name, never changes
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`

	Project     int64  `json:"project"`      // GitLab's numeric id: survives renames
	ProjectPath string `json:"project_path"` // as last seen
	ProjectURL  string `json:"project_url,omitempty"`
	Branch      string `json:"branch"`       // the tracked branch
	ProjectRoot string `json:"project_root"` // folder of the root module, "" for the top
	// Globs are further paths that concern the stack (doublestar patterns).
	Globs []string `json:"globs,omitempty"`

	Tool        string   `json:"tool"`
	ToolVersion string   `json:"tool_version,omitempty"` // exact, a constraint, or "" for the newest present
	Commands    Commands `json:"commands,omitzero"`
	State       string   `json:"state"`
	Autodeploy  bool     `json:"autodeploy"`
	// ReleaseTags is a pattern of tags ("v*"). When it is set, tags make the tracked runs and pushes to the
	// tracked branch are only proposed.
	ReleaseTags string `json:"release_tags,omitempty"`
	Plan        string `json:"plan"`          // PlanMergeResult or PlanHead
	Promotion   bool   `json:"run_promotion"` // finished proposed runs may become tracked
	Protect     bool   `json:"protect"`       // refuse deletion
	// Approvals is how many people other than the author have to approve what changes the world, 0 for none.
	Approvals int      `json:"approvals,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	// DestroyThreads says whether a plan that takes something away opens a thread on its merge request: ThreadsOn,
	// ThreadsOff, or "" for what the integration says.
	DestroyThreads string `json:"destroy_threads,omitempty"`

	TrackedCommit Commit `json:"tracked_commit,omitzero"`
	LockedBy      string `json:"locked_by,omitempty"`
	LockNote      string `json:"lock_note,omitempty"`
	Flag          string `json:"flag,omitempty"` // what is not known after a cut-off apply; cleared by the next finished one
	// RestoredAt is when the data came back from a backup; the flag then stays until a run that a person said yes to has finished.
	RestoredAt time.Time `json:"restored_at,omitzero"`

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

var slugGap = regexp.MustCompile(`[^a-z0-9]+`)

// Slug makes a stack's lasting id from its name: lower-case letters, digits and dashes, at most 60 bytes.
// A name without a single letter or digit gives "".
func Slug(name string) string {
	s := strings.Trim(slugGap.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.Trim(s[:min(60, len(s))], "-")
}

// Concerns reports whether any of the changed files concerns the stack: it lies under the project root at a
// path boundary, or one of the stack's globs matches it by glob(pattern, file). Files that are not known
// (nil) concern every stack: when in doubt, concerned.
func (s Stack) Concerns(files []string, glob func(pattern, file string) bool) bool {
	if files == nil {
		return true
	}
	root := CleanRoot(s.ProjectRoot)
	return slices.ContainsFunc(files, func(f string) bool {
		f = strings.TrimPrefix(path.Clean("/"+f), "/")
		if root == "" || f == root || strings.HasPrefix(f, root+"/") {
			return true
		}
		return slices.ContainsFunc(s.Globs, func(g string) bool { return glob(g, f) })
	})
}

// Deploys reports whether what was planned for the stack may be applied without a person's yes: nobody locked it, and it is
// known what the last apply did.
func (s Stack) Deploys() bool { return s.Autodeploy && s.LockedBy == "" && s.Flag == "" }

// WantsThreads reports whether plans that take something away open a thread, where the integration says byDefault.
func (s Stack) WantsThreads(byDefault bool) bool {
	return s.DestroyThreads == ThreadsOn || byDefault && s.DestroyThreads == ""
}

// CleanRoot brings a project root to the form without leading, trailing or doubled slashes; "." is "".
func CleanRoot(root string) string { return strings.Trim(path.Clean("/"+root), "/") }

// Validate checks what can be known of a new stack without asking anybody, and names the field at fault.
// Globs and version constraints are checked by package engine, which owns their libraries.
func (s Stack) Validate() error { return s.ValidateChange(Stack{}) }

// ValidateChange is [Stack.Validate] for a stack that is stored as old. What people wrote there, its name and description, may stay as
// it is: an earlier version took longer texts, and they must not stand in the way of another change.
func (s Stack) ValidateChange(old Stack) error {
	if s.Name != old.Name || s.Name == "" {
		if err := checkStackName(s.Name); err != nil {
			return err
		}
	}
	if s.Description != old.Description {
		if err := checkText("description", s.Description, maxAbout); err != nil {
			return err
		}
	}
	return s.validateSettings()
}

func checkStackName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Invalidf("name", "Give the stack a name.")
	case unprintable(name):
		return Invalidf("name", "The name holds a line break or another character that cannot be printed.")
	case len(name) > 100:
		return Invalidf("name", "The name has %d bytes; 100 is the most.", len(name))
	case Slug(name) == "":
		return Invalidf("name", "The name needs at least one letter (a–z) or digit, because the stack's address is made from it.")
	case Slug(name) == "new": // /stacks/new is the form
		return Invalidf("name", "A stack cannot be called “%s”: that address is taken. Choose another name.", name)
	default:
		return nil
	}
}

func (s Stack) validateSettings() error {
	switch {
	case s.Project <= 0:
		return Invalidf("project", "Choose the GitLab project that holds the code.")
	case !validBranch(s.Branch):
		return Invalidf("branch", "“%s” cannot be a branch name. Choose the branch to track.", s.Branch)
	case !slices.Contains([]string{OpenTofu, Terraform, Custom}, s.Tool):
		return Invalidf("tool", "“%s” is no tool. Use opentofu, terraform or custom.", s.Tool)
	case s.State != StateManaged && s.State != StateOwn:
		return Invalidf("state", "“%s” is no way to keep state. Use “managed” or “own backend”.", s.State)
	case s.Approvals < 0 || s.Approvals > MaxApprovals:
		return Invalidf("approvals", "%d approvals cannot be asked for. Use a number from 0 to %d.", s.Approvals, MaxApprovals)
	case !slices.Contains([]string{"", ThreadsOn, ThreadsOff}, s.DestroyThreads):
		return Invalidf("destroy_threads", "“%s” is no choice. Use on, off, or nothing for what the integration says.", s.DestroyThreads)
	case s.Plan != PlanMergeResult && s.Plan != PlanHead:
		return Invalidf("plan", "“%s” cannot be planned. Use merge_result or head.", s.Plan)
	}
	if err := validRoot(s.ProjectRoot); err != nil {
		return err
	}
	if s.Tool == Custom && (s.Commands.Plan == "" || s.Commands.Apply == "") {
		return Invalidf("commands", "A custom tool needs at least a plan and an apply command.")
	}
	for _, l := range s.Labels {
		if strings.TrimSpace(l) == "" || len(l) > 100 {
			return Invalidf("labels", "A label is empty or longer than 100 bytes.")
		}
	}
	return nil
}

// validBranch takes the names git takes (git-check-ref-format), and none that a program could read as an option.
func validBranch(name string) bool {
	odd := strings.ContainsAny(name, ` ~^:?*[\`) || strings.Contains(name, "..") || strings.Contains(name, "@{")
	return name != "" && len(name) <= 250 && !odd && !unprintable(name) && !strings.HasPrefix(name, "-")
}

// unprintable reports control characters and bytes that are not UTF-8: they change on their way through JSON,
// logs and pages.
func unprintable(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}

// validRoot refuses every root that could lead out of the checkout (S26).
func validRoot(root string) error {
	if rest := strings.TrimLeft(root, "/"); rest != root && root != "/" {
		return Invalidf("project_root", "“%s” begins with a slash, as folders of the server do. The project root is a folder inside the project: leave the slash out.", root)
	}
	bad := strings.Contains(root, `\`) || strings.HasPrefix(root, "~") || len(root) > 500 || unprintable(root)
	for part := range strings.SplitSeq(root, "/") {
		bad = bad || part == ".." || part == ".git" || part == ".terraform"
	}
	if bad {
		return Invalidf("project_root", "“%s” is not a folder inside the project. Give a path like infra/network, without “..”.", root)
	}
	return nil
}

// A Variable is one entry of a run's environment. A secret's value is write-only: stored sealed, never shown.
type Variable struct {
	Name      string    `json:"name"`
	Value     string    `json:"value,omitempty"` // "" for a secret when read for a page
	Secret    bool      `json:"secret"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
}

var varName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reserved are names a variable may not have, because they would change what a run is or sees.
var reserved = []string{"PATH", "HOME", "TMPDIR", "SHELL", "TERM", "TF_DATA_DIR", "TF_CLI_CONFIG_FILE", "TF_IN_AUTOMATION", "TF_INPUT", "TF_WORKSPACE", "TF_PLUGIN_CACHE_DIR"}

// ValidateVariable checks a variable's name and value.
func ValidateVariable(name, value string) error {
	switch {
	case !varName.MatchString(name) || len(name) > 200:
		return Invalidf("name", "“%s” cannot be a variable's name: letters, digits and _ only, not beginning with a digit.", name)
	case strings.HasPrefix(name, "GROUNDCREW_") || strings.HasPrefix(name, "LD_") || slices.Contains(reserved, name):
		return Invalidf("name", "%s is set by Groundcrew itself and cannot be changed.", name)
	case strings.ContainsRune(value, 0):
		return Invalidf("value", "The value of %s holds a NUL byte, which no environment can carry.", name)
	case !utf8.ValidString(value):
		return Invalidf("value", "The value of %s is not UTF-8 text. Encode it, for example in base64.", name)
	case len(value) > 64<<10:
		return Invalidf("value", "The value of %s has %d bytes; 65536 is the most.", name, len(value))
	}
	return nil
}
