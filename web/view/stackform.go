package view

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"groundcrew/runs"
)

// A stackForm is what the fields of a stack need, in the wizard and in the settings.
type stackForm struct {
	V     StackForm
	Errs  map[string]string
	Tools []ToolVersion
	New   bool
	Off   bool // shown, but not to be changed
}

func (f stackForm) field(name, label, value string) field {
	return field{Name: name, Label: label, Value: value, Err: f.Errs[name], Off: f.Off}
}

func (f stackForm) code(name, label, value, help, placeholder string) field {
	d := f.field(name, label, value)
	d.Help, d.Placeholder, d.Mono = help, placeholder, true
	d.Attrs = codeInput
	return d
}

// project is the field with the type-ahead over GitLab's projects.
func (f stackForm) project() field {
	d := f.code("project", "Project", f.V.Project, "Its path in GitLab, or its numeric id.", "infra/network")
	d.Required = true
	d.Attrs = templ.Attributes{"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false", "data-typeahead": "/ui/projects", "data-fills": "branch"}
	return d
}

func (f stackForm) branch() field {
	d := f.code("branch", "Branch", f.V.Branch, "A push to it plans and, after a yes, applies. Other branches and merge requests only plan.", "main")
	d.Required = true
	d.Attrs = templ.Attributes{"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false", "data-typeahead": "/ui/branches", "data-with": "project"}
	return d
}

func (f stackForm) version() field {
	d := f.code("tool_version", "Version", f.V.ToolVersion, f.versionHelp(), "newest present")
	d.Optional = true
	d.Attrs = templ.Attributes{"list": "tool-versions", "autocomplete": "off", "spellcheck": "false"}
	return d
}

func (f stackForm) approvals() field {
	d := f.withHelp("approvals", "Approvals", "How many people other than the author have to approve before anything is changed: plans, tasks and destroy runs. 0 asks for none.")
	d.Value, d.Type, d.Required = cmp.Or(f.V.Approvals, "0"), "number", true
	d.Attrs = templ.Attributes{"min": "0", "max": strconv.Itoa(runs.MaxApprovals), "inputmode": "numeric"}
	return d
}

// versionHelp says which versions this server has, because no other can be used.
func (f stackForm) versionHelp() string {
	var have []string
	for _, t := range f.Tools {
		if t.Broken == "" {
			have = append(have, toolName(t.Tool, t.Version))
		}
	}
	if len(have) == 0 {
		return "An exact version or a constraint such as ~> 1.9. This server has no tool yet: put a binary in the data folder's bin/."
	}
	return "An exact version or a constraint such as ~> 1.9; blank for the newest present. Present: " + strings.Join(have, ", ") + "."
}

func (f stackForm) toolOptions() []Option {
	return []Option{{runs.OpenTofu, "OpenTofu"}, {runs.Terraform, "Terraform"}, {runs.Custom, "Custom commands"}}
}

var (
	planChoices = []choice{
		{runs.PlanMergeResult, "The merge result", "What the target branch would be after the merge, when GitLab can make it; else the head. The run says which."},
		{runs.PlanHead, "The head of the source branch", "The branch as it is, whatever the target did meanwhile."},
	}
	threadChoices = []Option{
		{"", "As the integration says"}, {runs.ThreadsOn, "On"}, {runs.ThreadsOff, "Off"},
	}
	stateChoices = []choice{
		{runs.StateManaged, "Managed by Groundcrew", "Kept sealed, in versions, with the run that made each. A backend block in the code is overridden."},
		{runs.StateOwn, "Its own backend", "The backend block in the code holds. Groundcrew leaves it alone."},
	}
)

// The steps of the wizard and which fields belong to each.
var wizardSteps = []struct {
	Title  string
	Fields []string
}{
	{"Integrate VCS", []string{"provider", "project", "branch", "project_root", "globs", "install_hook"}},
	{"Define behaviour", []string{"tool", "tool_version", "commands", "autodeploy", "approvals", "plan", "destroy_threads", "run_promotion", "protect"}},
	{"Configure state", []string{"state"}},
	{"Name", []string{"name", "labels", "description", ""}},
}

// firstWrong is the wizard's step that holds the first field at fault, 1 when none is.
func firstWrong(errs map[string]string) int {
	for i, s := range wizardSteps {
		for _, name := range s.Fields {
			if errs[name] != "" {
				return i + 1
			}
		}
	}
	return 1
}

func wrongText(errs map[string]string, text string) string {
	n := 0
	for _, e := range errs {
		if e != "" {
			n++
		}
	}
	if n == 0 {
		return text
	}
	return strings.TrimSpace(cmp.Or(text, fmt.Sprintf("Nothing was saved: %s to be mended below.", Count(n, "field has", "fields have"))))
}

func newForm(m StackNewModel) stackForm {
	return stackForm{V: m.Values, Errs: m.Errors, Tools: m.Tools, New: true}
}

func editForm(m StackSettingsModel) stackForm {
	return stackForm{V: m.Values, Errs: m.Errors, Tools: m.Tools, Off: !m.Edit.Can}
}

func optional(f field) field {
	f.Optional = true
	return f
}

func (f stackForm) withHelp(name, label, help string) field {
	d := f.field(name, label, "")
	d.Help = help
	return d
}

func (f stackForm) name() field {
	d := f.field("name", "Name", f.V.Name)
	d.Required = true
	d.Help = "Its address and its status in GitLab are made from it once."
	if !f.New {
		d.Help = "The address and the status in GitLab keep the first name."
	}
	d.Attrs = templ.Attributes{"autocomplete": "off", "data-suggest-name": true}
	return d
}

// deleteText says what deleting a stack does and does not do.
func deleteText(m StackSettingsModel) string {
	text := "The stack, its variables and its settings go; its runs stay as a record and its environment in GitLab is stopped. What it created in the world stays as it is: nothing is destroyed."
	if m.StateKept > 0 {
		text += fmt.Sprintf(" %s of managed state go too: download the newest first.", Count(m.StateKept, "version", "versions"))
	}
	return text
}

func (f stackForm) threads() field {
	d := f.field("destroy_threads", "Threads for destroys", f.V.DestroyThreads)
	d.Help = "A thread on the merge request when its plan destroys or replaces something, for a person to resolve."
	return d
}
