package runs

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// What makes a version of a module.
const (
	ReleaseByTag  = "tag"  // a tag: the prefix, perhaps a v, and the number
	ReleaseByFile = "file" // module_version in .groundcrew.yml on the tracked branch
)

// ModuleFile is the file in a module's folder that declares its tests, and its version for [ReleaseByFile].
const ModuleFile = ".groundcrew.yml"

// A Module is a reusable module that is published from a folder of a project (PRODUCT §7). It is also the stored form:
// fields may be added, never renamed.
type Module struct {
	Slug        string `json:"slug"` // made once from the name, never changes
	Name        string `json:"name"`
	Provider    string `json:"provider"`  // the address is <host>/<namespace>/<name>/<provider>
	Namespace   string `json:"namespace"` // the first part of the project's path unless chosen otherwise
	Description string `json:"description,omitempty"`

	Project     int64  `json:"project"`      // GitLab's numeric id: survives renames
	ProjectPath string `json:"project_path"` // as last seen
	ProjectURL  string `json:"project_url,omitempty"`
	Branch      string `json:"branch"`       // the tracked branch
	ProjectRoot string `json:"project_root"` // folder of the module, "" for the top
	Release     string `json:"release"`      // ReleaseByTag or ReleaseByFile
	TagPrefix   string `json:"tag_prefix,omitempty"`

	Tool        string   `json:"tool"` // of the tests, unless one says otherwise
	ToolVersion string   `json:"tool_version,omitempty"`
	PerCase     bool     `json:"case_statuses"` // one commit status per test case beside that of the module
	Protect     bool     `json:"protect"`       // refuse deletion
	Labels      []string `json:"labels,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// conventional is the name of a project that says what module it holds: terraform-<provider>-<name>.
var conventional = regexp.MustCompile(`^terraform-([a-z0-9]+)-([a-z0-9][a-z0-9_-]*)$`)

// InferModule reads name and provider from a project's path, and the namespace from its group; they are "" where the path does not
// follow the convention terraform-<provider>-<name>.
func InferModule(projectPath string) (namespace, name, provider string) {
	parts := strings.Split(strings.ToLower(projectPath), "/")
	namespace = Slug(parts[0])
	if m := conventional.FindStringSubmatch(parts[len(parts)-1]); m != nil {
		return namespace, m[2], m[1]
	}
	return namespace, "", ""
}

// The parts of a module's address that the tools take, of at most partMost bytes, and what may stand before the version
// in a tag, of at most tagPrefixMost.
var (
	addressPart  = regexp.MustCompile(`^[0-9A-Za-z](?:[0-9A-Za-z_-]*[0-9A-Za-z])?$`)
	providerPart = regexp.MustCompile(`^[0-9a-z]+$`)
	tagPrefix    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._/-]*$`)
)

const partMost, tagPrefixMost = 64, 100

func isAddressPart(s string) bool  { return len(s) <= partMost && addressPart.MatchString(s) }
func isProviderPart(s string) bool { return len(s) <= partMost && providerPart.MatchString(s) }
func isTagPrefix(s string) bool {
	return len(s) <= tagPrefixMost && tagPrefix.MatchString(s) && !strings.Contains(s, "..")
}

// Validate checks what can be known of a module without asking anybody, and names the field at fault.
func (m Module) Validate() error {
	switch {
	case !isAddressPart(m.Name):
		return Invalidf("name", "“%s” cannot be a module's name: letters, digits, - and _ only, 64 at most. A project called terraform-<provider>-<name> gives it by itself.", Shorten(m.Name, 64))
	case Slug(m.Name) == "" || Slug(m.Name) == "new": // /modules/new is the form
		return Invalidf("name", "A module cannot be called “%s”: its address is made from it. Choose another name.", m.Name)
	case !isProviderPart(m.Provider):
		return Invalidf("provider", "“%s” cannot be a provider in a module's address: lower-case letters and digits only, like aws or azurerm.", Shorten(m.Provider, 64))
	case !isAddressPart(m.Namespace):
		return Invalidf("namespace", "“%s” cannot be a namespace in a module's address: letters, digits, - and _ only, 64 at most.", Shorten(m.Namespace, 64))
	case m.Project <= 0:
		return Invalidf("project", "Choose the GitLab project that holds the module.")
	case !validBranch(m.Branch):
		return Invalidf("branch", "“%s” cannot be a branch name. Choose the branch to track.", m.Branch)
	case m.Release != ReleaseByTag && m.Release != ReleaseByFile:
		return Invalidf("release", "“%s” makes no versions. Use tag or file.", m.Release)
	case m.TagPrefix != "" && !isTagPrefix(m.TagPrefix):
		return Invalidf("tag_prefix", "“%s” cannot begin a tag. Use letters, digits, dots, dashes and slashes, like network/ or vpc-.", Shorten(m.TagPrefix, 100))
	case m.Tool != OpenTofu && m.Tool != Terraform:
		return Invalidf("tool", "“%s” does not test modules. Use opentofu or terraform.", m.Tool)
	case len(m.Description) > 2000 || unprintable(strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(m.Description)):
		return Invalidf("description", "The description is longer than 2000 bytes or holds what cannot be printed.")
	case slices.ContainsFunc(m.Labels, func(l string) bool { return strings.TrimSpace(l) == "" || len(l) > 100 }):
		return Invalidf("labels", "A label is empty or longer than 100 bytes.")
	}
	return validRoot(m.ProjectRoot)
}

// moduleMark begins the scope of a module where runs and reports name their stack; no stack's slug can have it.
const moduleMark = "@"

// Scope stands for the module where runs, jobs and reports name a stack.
func (m Module) Scope() string { return moduleMark + m.Slug }

// ModuleOf is the slug of the module whose [Module.Scope] a run or report names, "" for that of a stack.
func ModuleOf(scope string) string {
	slug, is := strings.CutPrefix(scope, moduleMark)
	if !is {
		return ""
	}
	return slug
}

// Source is what of a module follows its project, in the terms of a stack: where it lies and which branch it tracks.
func (m Module) Source() Stack {
	st := Stack{
		Slug: m.Scope(), Name: m.Name, Project: m.Project, ProjectPath: m.ProjectPath, ProjectURL: m.ProjectURL,
		Branch: m.Branch, ProjectRoot: m.ProjectRoot, Tool: m.Tool, ToolVersion: m.ToolVersion, State: StateManaged, Plan: PlanHead,
	}
	if m.Release == ReleaseByTag {
		st.ReleaseTags = "**"
	}
	return st
}

// TagNumber reads the number of a version from a tag. ok is false for a tag that is none of this module's; then it is no mistake either.
// A tag that is meant to be a version and is none is an error.
func (m Module) TagNumber(tag string) (number string, ok bool, err error) {
	rest, ours := strings.CutPrefix(tag, m.TagPrefix)
	if m.Release != ReleaseByTag || !ours {
		return "", false, nil
	}
	number = strings.TrimPrefix(rest, "v")
	meant := number != "" && number[0] >= '0' && number[0] <= '9'
	if !meant && m.TagPrefix == "" {
		return "", false, nil
	}
	if _, err := ParseSemVer(number); err != nil {
		return "", true, Invalidf("version", "The tag %s is no version of %s: %s", Shorten(tag, 100), m.Slug, err.Error())
	}
	return number, true, nil
}

// Address is how code names the module on a host.
func (m Module) Address(host string) string {
	return host + "/" + m.Namespace + "/" + m.Name + "/" + m.Provider
}
