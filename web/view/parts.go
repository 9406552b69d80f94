package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"groundcrew/runs"
	"groundcrew/static"
)

// A field is one labelled control of a form.
type field struct {
	Name, Label, Value string
	Type               string // of the input; "" is text
	Help, Err          string
	Placeholder        string
	Required, Optional bool
	Off                bool // disabled
	Mono               bool
	Rows               int // of a text area
	Attrs              templ.Attributes
}

func (f field) kind() string {
	if f.Type == "" {
		return "text"
	}
	return f.Type
}

// attrs are the attributes every control shares: what describes it and whether it was refused.
func (f field) attrs() templ.Attributes {
	a := templ.Attributes{"id": "f-" + f.Name, "name": f.Name}
	maps.Copy(a, f.Attrs)
	var by []string
	if f.Help != "" {
		by = append(by, "f-"+f.Name+"-help")
	}
	if f.Err != "" {
		by = append(by, "f-"+f.Name+"-err")
		a["aria-invalid"] = "true"
	}
	if len(by) > 0 {
		a["aria-describedby"] = strings.Join(by, " ")
	}
	if f.Required {
		a["required"] = true
	}
	if f.Off {
		a["disabled"] = true
	}
	if f.Placeholder != "" {
		a["placeholder"] = f.Placeholder
	}
	return a
}

// A choice is one radio button with an explanation.
type choice struct {
	Value, Text, Help string
}

// A tab is one of the tabs above a list or a noun's page.
type tab struct {
	Text, URL string
	Current   bool
	Count     int // 0 shows none
	Warn      bool
}

// An action is a button that posts a form of its own.
type action struct {
	URL, Label string
	Kind       string // primary, danger or ""
	Act        Act
	Ask        string // what a dialog asks before it is done; "" asks nothing
	Key        string // the key that does it, after asking
	Small      bool
	Fields     [][2]string // hidden fields
	Said       string      // id of the [whyNot] beside it that says why it is off; "" lets the button say it itself
}

func (a action) class() string {
	c := "btn"
	if a.Kind != "" {
		c += " " + a.Kind
	}
	if a.Small {
		c += " small"
	}
	return c
}

// keyAsk is what is asked when the action is chosen by its key, where a slip is easier than with a pointer.
func (a action) keyAsk() string {
	if a.Ask != "" {
		return a.Ask
	}
	return a.Label + "?"
}

// reasons are the different reasons why acts with a button are off. Those that differ only in the act become one: "Only an admin can
// sync, or unlock a stack."
func reasons(acts []Act) []string {
	var out []string
	verbs := map[string][]string{} // by sentence, with %s for the act
	for _, a := range acts {
		if a.Can || a.WhyNot == "" {
			continue
		}
		sentence, verb := splitReason(a.WhyNot)
		if !slices.Contains(out, sentence) {
			out = append(out, sentence)
		}
		if !slices.Contains(verbs[sentence], verb) {
			verbs[sentence] = append(verbs[sentence], verb)
		}
	}
	for i, sentence := range out {
		list := verbs[sentence]
		text := strings.Join(list[:len(list)-1], ", ")
		if text != "" {
			text += " or "
		}
		out[i] = strings.Replace(sentence, actMark, text+list[len(list)-1], 1)
	}
	return out
}

// actMark stands for the act in a reason; it is no text of anybody's.
const actMark = "\x00"

// splitReason takes the act out of "Only somebody can act." and "Only somebody can act; you are nobody."
func splitReason(why string) (sentence, verb string) {
	head, rest, ok := strings.Cut(why, " can ")
	end := strings.IndexAny(rest, ";.:")
	if !ok || end < 0 || !strings.HasPrefix(why, "Only ") {
		return why, ""
	}
	return head + " can " + actMark + rest[end:], rest[:end]
}

func icon(name string) string { return static.Path("icons.svg") + "#" + name }

// deltaPart is one count of a delta.
type deltaPart struct{ class, text string }

// deltaParts are the counts of a delta as lists show them: the three usual ones always, others when there
// are any.
func deltaParts(d runs.Delta) []deltaPart {
	parts := []deltaPart{
		{"add", fmt.Sprintf("+%d", d.Add)}, {"change", fmt.Sprintf("~%d", d.Change)}, {"destroy", fmt.Sprintf("−%d", d.Destroy)},
	}
	for i, n := range []int{d.Add, d.Change, d.Destroy} {
		if n == 0 {
			parts[i].class = "zero"
		}
	}
	for _, more := range []struct {
		a runs.Action
		n int
	}{{runs.ActImport, d.Import}, {runs.ActMove, d.Move}, {runs.ActForget, d.Forget}} {
		if more.n > 0 {
			parts = append(parts, deltaPart{string(more.a), fmt.Sprintf("%s%d", more.a.Sign(), more.n)})
		}
	}
	return parts
}

// stateOptions are the choices of a filter by state.
func stateOptions() []Option {
	opts := []Option{{"", "Every state"}}
	for _, s := range runs.States {
		opts = append(opts, Option{string(s), StateWord(s)})
	}
	return opts
}

// typeOptions are the choices of a filter by type.
func typeOptions() []Option {
	opts := []Option{{"", "Every type"}}
	for _, t := range runs.Types {
		opts = append(opts, Option{string(t), string(t)})
	}
	return opts
}
