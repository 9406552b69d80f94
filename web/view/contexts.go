package view

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"groundcrew/runs"
)

// ContextsModel is the list of contexts.
type ContextsModel struct {
	Rows      []ContextRow
	Q         string
	Any       bool // there is at least one context, whatever the search says
	CanCreate bool
	Pager     Pager
}

// A ContextRow is a context in the list.
type ContextRow struct {
	Context                  runs.Context
	Variables, Files, Stacks int
}

// The tabs of a context, for [ContextHead.Tab].
const (
	TabContext         = ""
	TabContextStacks   = "stacks"
	TabContextSettings = "settings"
)

// ContextHead is what every tab of a context shows above itself.
type ContextHead struct {
	Context runs.Context
	Tab     string // one of the TabContext constants
	Stacks  int    // it is attached to
}

// ContextModel is the first tab of a context: what it holds.
type ContextModel struct {
	Head    ContextHead
	Entries EntriesModel
}

// ContextStacksModel is the tab of stacks that a context is attached to.
type ContextStacksModel struct {
	Head  ContextHead
	Rows  []ContextStackRow
	Pager Pager
}

// A ContextStackRow is a stack that a context is attached to, and why.
type ContextStackRow struct {
	Slug, Name  string
	ProjectPath string
	From        runs.Origin // why: priority, or label
}

// ContextForm is a context as the form holds it.
type ContextForm struct {
	Name        string // name
	Description string // description
	Labels      string // labels, separated by commas
}

// ContextFormModel makes a context, or is the tab of its settings.
type ContextFormModel struct {
	Head        *ContextHead // nil: a new one
	Values      ContextForm
	Errors      map[string]string
	Error       string
	Edit        Act
	Delete      Act
	DeleteError string
}

// StackContextsModel is the tab of a stack's contexts.
type StackContextsModel struct {
	Head     StackHead
	Rows     []StackContextRow
	Choices  []Option // contexts that nobody attached to it
	Attach   Act
	Context  string // as chosen
	Priority string // as typed
	Errors   map[string]string
	None     bool // there is no context at all
}

// A StackContextRow is a context of the stack; those that win come first.
type StackContextRow struct {
	From             runs.Origin
	By               string // who attached it
	Variables, Files int
}

// EntriesModel is a set of variables and mounted files with the forms that change them.
type EntriesModel struct {
	At        EntriesAt
	Variables []runs.Entry[runs.Variable] // values of secrets empty
	Files     []runs.Entry[runs.File]
	Origins   bool // entries come from several places, so each says from where
	Values    VariableForm
	Errors    map[string]string // of the form of a variable
	File      FileForm
	FileErr   map[string]string // of the form of a file
	Shown     *ShownFile        // the file whose content is looked at; nil: none
	Edit      Act
}

// EntriesAt are the addresses of a set of entries.
type EntriesAt struct {
	Page                    string // GET, with ?edit=NAME and ?file=PATH
	Set, Delete             string
	PutFile, DeleteFile     string
	NoVariables, NoneOfFile string // what is said where there are none
}

// FileForm is the form of one mounted file.
type FileForm struct {
	Path    string // path
	Content string // content: empty for a secret and for what is no text
	Secret  bool   // secret_file
	Binary  bool
	Editing bool // the file is there and is being changed
}

// A ShownFile is a plain file that somebody looks at who may not change it.
type ShownFile struct{ Path, Content string }

func contextURL(slug string) string { return "/contexts/" + url.PathEscape(slug) }

// StackEntriesAt are the addresses of a stack's environment.
func StackEntriesAt(slug string) EntriesAt {
	base := stackURL(slug) + "/environment"
	return EntriesAt{
		Page: base, Set: base, Delete: base + "/delete", PutFile: base + "/files", DeleteFile: base + "/files/delete",
		NoVariables: "Add the credentials and settings the code needs below, or attach a context that holds them.",
		NoneOfFile:  "Certificates, keys and *.auto.tfvars can be laid into the workspace of every run.",
	}
}

// ContextEntriesAt are the addresses of what a context holds.
func ContextEntriesAt(slug string) EntriesAt {
	base := contextURL(slug)
	return EntriesAt{
		Page: base, Set: base + "/variables", Delete: base + "/variables/delete", PutFile: base + "/files", DeleteFile: base + "/files/delete",
		NoVariables: "What is added here is set in every run of the stacks this is attached to.",
		NoneOfFile:  "Certificates, keys and *.auto.tfvars can be laid into the workspace of every run.",
	}
}

func contextTabs(h ContextHead) []tab {
	base := contextURL(h.Context.Slug)
	return []tab{
		{Text: "Entries", URL: base, Current: h.Tab == TabContext},
		{Text: "Stacks", URL: base + "/stacks", Current: h.Tab == TabContextStacks, Count: h.Stacks},
		{Text: "Settings", URL: base + "/settings", Current: h.Tab == TabContextSettings},
	}
}

// holdsText says how much a context holds.
func holdsText(variables, files int) string {
	var parts []string
	if variables > 0 {
		parts = append(parts, Count(variables, "variable", "variables"))
	}
	if files > 0 {
		parts = append(parts, Count(files, "file", "files"))
	}
	if len(parts) == 0 {
		return "nothing yet"
	}
	return strings.Join(parts, ", ")
}

// whyAttached says in words why a context is attached to a stack.
func whyAttached(o runs.Origin) string {
	switch {
	case o.Own():
		return ""
	case o.Auto && o.Label == "*":
		return "every stack"
	case o.Auto:
		return "label " + o.Label
	default:
		return fmt.Sprintf("priority %d", o.Priority)
	}
}

// autoText says in words which stacks a context or policy attaches itself to, "" for none.
func autoText(labels []string) string {
	switch {
	case len(labels) == 0:
		return ""
	case slices.Contains(labels, "*"):
		return "attached to every stack"
	default:
		return "attached to stacks labelled " + strings.Join(labels, " or ")
	}
}

// plainLabels are those of a context or policy that attach it to nothing.
func plainLabels(labels []string) (out []string) {
	for _, l := range labels {
		if !strings.HasPrefix(l, runs.AutoAttach) {
			out = append(out, l)
		}
	}
	return out
}

// fileHelp says what of a file's content the form cannot show.
func fileHelp(f FileForm) string {
	switch {
	case f.Editing && f.Secret:
		return "The content now in use is not shown. What you enter replaces it."
	case f.Editing && f.Binary:
		return "The file is not text, so it is not shown. Choose a file to replace it."
	default:
		return ""
	}
}

// fileSecret is the choice that keeps a file from being shown.
var fileSecret = field{Name: "secret_file", Label: "Secret", Help: "Write-only, and all of it is removed from logs and comments, line by line."}

// attachedWords says how a context came to a stack.
func attachedWords(o runs.Origin) string {
	switch {
	case o.Auto && o.Label == "*":
		return "attaches itself to every stack"
	case o.Auto:
		return "by the label " + o.Label
	default:
		return fmt.Sprintf("attached with priority %d", o.Priority)
	}
}

func contextFormURL(m ContextFormModel) string {
	if m.Head == nil {
		return "/contexts"
	}
	return contextURL(m.Head.Context.Slug) + "/settings"
}

func contextField(m ContextFormModel, name, label, value, help, placeholder string) field {
	return field{
		Name: name, Label: label, Value: value, Help: help, Placeholder: placeholder, Err: m.Errors[name],
		Required: name == "name", Off: m.Head != nil && !m.Edit.Can,
	}
}

// numberInput lets a field take a whole number.
var numberInput = templ.Attributes{"inputmode": "numeric", "autocomplete": "off"}

func deleteVariableAsk(e runs.Entry[runs.Variable]) string {
	return "Delete " + e.Value.Name + "? " + afterDelete(e.Over)
}

func deleteFileAsk(e runs.Entry[runs.File]) string {
	return "Delete " + e.Value.Path + "? " + afterDelete(e.Over)
}

// afterDelete says what runs get when an entry is gone.
func afterDelete(over []runs.Origin) string {
	if len(over) > 0 {
		return "Runs that start after this get that of " + over[0].Name + ". Its value cannot be brought back."
	}
	return "Runs that start after this do not get it. Its value cannot be brought back."
}

func fileVerb(e runs.Entry[runs.File]) string {
	if e.From.Own() {
		return "Change"
	}
	return "Override"
}

// fileRows makes room for a file's lines, within reason.
func fileRows(f FileForm) int { return max(3, min(20, 1+strings.Count(f.Content, "\n"))) }

// changedText says what of the environment changed while a plan waits, and what to do.
func changedText(names []string) string {
	const most = 6
	text := strings.Join(names[:min(most, len(names))], ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return "Changed since this plan was made: " + text + ". Applying it uses what the plan was made with. To use what there is now, discard this run and trigger another."
}
