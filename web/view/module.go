package view

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"groundcrew/runs"
)

// ModulesModel is the list of modules.
type ModulesModel struct {
	Rows      []ModuleRow
	Q         string
	Any       bool // there is at least one module, whatever the search says
	Connected bool
	CanCreate bool
	Pager     Pager
}

// A ModuleRow is a module in the list.
type ModuleRow struct {
	Module  runs.Module
	Address string // how code names it
	Latest  *runs.ModuleVersion
	Last    *runs.Check
	Users   int
}

// The tabs of a module.
const (
	TabModule   = "module"
	TabChecks   = "checks"
	TabModuleOf = "settings"
)

// ModuleHead is what every tab of a module shows above itself.
type ModuleHead struct {
	Module  runs.Module
	Address string
	Latest  *runs.ModuleVersion
	Tab     string
	Check   Act
}

// ModuleModel is the page of a module: one version of it, and all there are.
type ModuleModel struct {
	Head     ModuleHead
	Shown    *runs.ModuleVersion // nil: none is usable yet
	Readme   string
	Versions []runs.ModuleVersion
	Users    []runs.ModuleUse
	Failed   bool // failed versions are shown too
	Hidden   int  // failed versions that are not shown
	Yank     Act
	Start    Act
	Error    string
}

// ModuleChecksModel lists the checks of a module.
type ModuleChecksModel struct {
	Head  ModuleHead
	Rows  []runs.Check
	Held  []HeldMR
	Pager Pager
}

// A HeldMR is a merge request from a fork that waits for a person.
type HeldMR struct {
	IID   int64
	Title string
	SHA   string
}

// ModuleCheckModel is one check.
type ModuleCheckModel struct {
	Head    ModuleHead
	Check   runs.Check
	Results map[string][]runs.TestResult // by case, of test files
	Again   Act
}

// A ModuleForm is what the form of a module holds, as typed.
type ModuleForm struct {
	Name, Provider, Namespace, Description    string
	Project, Branch, ProjectRoot              string
	Release, TagPrefix                        string
	Tool, ToolVersion, Labels                 string
	PerCase, Protect, InstallHook, ImportTags bool
}

// NewModuleForm is the form as it is first shown.
func NewModuleForm() ModuleForm {
	return ModuleForm{Release: runs.ReleaseByTag, Tool: runs.OpenTofu, InstallHook: true}
}

// ModuleFormModel is the form that makes or changes a module.
type ModuleFormModel struct {
	Head        *ModuleHead // nil: a new one
	Values      ModuleForm
	Errors      map[string]string
	Error       string
	Tools       []ToolVersion
	Connected   bool
	GitLabHost  string
	Edit        Act
	Delete      Act
	Import      Act
	DeleteError string
	Variables   []runs.Variable
	Variable    Act
	VarErrors   map[string]string
}

func moduleURL(slug string) string { return "/modules/" + url.PathEscape(slug) }

func versionURL(v runs.ModuleVersion) string {
	return moduleURL(v.Module) + "/versions/" + url.PathEscape(v.Number)
}

func checkURL(c runs.Check) string { return moduleURL(c.Module) + "/checks/" + url.PathEscape(c.ID) }

func moduleTabs(h ModuleHead) []tab {
	at := moduleURL(h.Module.Slug)
	return []tab{
		{Text: "Overview", URL: at, Current: h.Tab == TabModule},
		{Text: "Checks", URL: at + "/checks", Current: h.Tab == TabChecks},
		{Text: "Settings", URL: at + "/settings", Current: h.Tab == TabModuleOf},
	}
}

// versionLook is how the state of a version looks, and its word.
func versionLook(v runs.ModuleVersion) (look, word string) {
	switch {
	case v.Yanked():
		return lookBad, "yanked"
	case v.State == runs.VersionActive:
		return lookGood, "usable"
	case v.State == runs.VersionFailed:
		return lookBad, "failed"
	default:
		return lookWork, "testing"
	}
}

func checkLook(c runs.Check) (look, word string) {
	switch c.State {
	case runs.CheckPassed:
		return lookGood, "passed"
	case runs.CheckFailed:
		return lookBad, "failed"
	case runs.CheckRefused:
		return lookBad, "refused"
	case runs.CheckCanceled:
		return lookEnded, "canceled"
	default:
		return lookWork, string(c.State)
	}
}

func caseLook(s runs.CaseState) (look, word string) {
	switch s {
	case runs.CasePassed:
		return lookGood, "passed"
	case runs.CaseFailed:
		return lookBad, "failed"
	case runs.CaseSkipped:
		return lookEnded, "skipped"
	case runs.CaseRunning:
		return lookWork, "running"
	default:
		return lookIdle, "waiting"
	}
}

func resultLook(status string) (look, word string) {
	switch status {
	case "pass":
		return lookGood, "pass"
	case "skip":
		return lookEnded, "skip"
	default:
		return lookBad, status
	}
}

// callBlock is the block that people copy: source, version, and what they have to fill in.
func callBlock(address string, v runs.ModuleVersion, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "module %q {\n  source  = %q\n  version = %q\n", name, address, constraintOf(v.Number))
	if v.Interface != nil {
		for _, in := range v.Interface.Inputs {
			if in.Required {
				fmt.Fprintf(&b, "\n  %s = # %s", in.Name, typeText(in.Type))
			}
		}
		if strings.Contains(b.String(), " = # ") {
			b.WriteString("\n")
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// constraintOf allows what does not break: later minor versions, or, of a pre-release, nothing else.
func constraintOf(number string) string {
	v, err := runs.ParseSemVer(number)
	switch {
	case err != nil || v.Pre != "":
		return number
	case v.Major == 0:
		return "~> " + number
	default:
		return fmt.Sprintf("~> %d.%d", v.Major, v.Minor)
	}
}

func typeText(t string) string {
	if t == "" {
		return "any"
	}
	return strings.Join(strings.Fields(t), " ")
}

// CheckTitle names the page of a check.
func CheckTitle(c runs.Check) string { return "Check of " + checkSource(c) }

// how says where a check came from.
func checkSource(c runs.Check) string {
	switch {
	case c.Tag != "":
		return "tag " + c.Tag
	case c.MR != nil:
		return fmt.Sprintf("!%d %s", c.MR.IID, c.MR.Title)
	case c.Branch != "":
		return c.Branch
	default:
		return c.Commit.Short()
	}
}

func requiredWord(in runs.Input) string {
	if in.Required {
		return "required"
	}
	return runs.Shorten(in.Default, 200)
}

func providerText(p runs.ProviderReq) string {
	if len(p.Versions) == 0 {
		return "any version"
	}
	return strings.Join(p.Versions, ", ")
}

// moduleForm is what the fields of a module need.
func moduleForm(m ModuleFormModel) stackForm {
	return stackForm{
		V:    StackForm{Project: m.Values.Project, Branch: m.Values.Branch, ProjectRoot: m.Values.ProjectRoot, Tool: m.Values.Tool, ToolVersion: m.Values.ToolVersion},
		Errs: m.Errors, Tools: m.Tools, New: m.Head == nil, Off: m.Head != nil && !m.Edit.Can,
	}
}

var releaseChoices = []choice{
	{runs.ReleaseByTag, "A tag", "Like v1.4.0, after the prefix below if there is one."},
	{runs.ReleaseByFile, "The file .groundcrew.yml", "Its module_version makes a version of each commit on the tracked branch that changes it."},
}

func moduleToolOptions() []Option {
	return []Option{{runs.OpenTofu, "OpenTofu"}, {runs.Terraform, "Terraform"}}
}

func usesOld(m ModuleModel) bool {
	for _, u := range m.Users {
		if m.Head.Latest != nil && u.Version != m.Head.Latest.Number {
			return true
		}
	}
	return false
}

func noVersionText(m runs.Module) string {
	if m.Release == runs.ReleaseByFile {
		return "Push a commit to " + m.Branch + " whose " + runs.ModuleFile + " names a module_version."
	}
	return "Push a tag like " + m.TagPrefix + "v1.0.0, or import those there are."
}

func testsText(v runs.ModuleVersion) string {
	if v.Reason != "" {
		return runs.Shorten(v.Reason, 160)
	}
	return "Tests"
}

func moduleFormURL(m ModuleFormModel) string {
	if m.Head == nil {
		return "/modules"
	}
	return moduleURL(m.Head.Module.Slug) + "/settings"
}

func moduleProject(m ModuleFormModel) field {
	d := moduleForm(m).project()
	d.Placeholder = "platform/terraform-aws-vpc"
	return d
}

func moduleBranch(m ModuleFormModel) field {
	d := moduleForm(m).branch()
	d.Help = "The tracked branch: merge requests to it are tested."
	return d
}

// The ids of what says why a version cannot be tested again, and why variables cannot be changed.
const (
	whyTest     = "why-test"
	whyVariable = "why-variable"
)

// failedShown reports whether a version that could be tested again is listed.
func (m ModuleModel) failedShown() bool {
	return slices.ContainsFunc(m.Versions, func(v runs.ModuleVersion) bool { return v.State == runs.VersionFailed })
}
