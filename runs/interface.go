package runs

import (
	"fmt"
	"slices"
	"strings"
)

// An Interface is what of a module those who use it can see. It is also a stored form. Lists are sorted by name.
type Interface struct {
	Inputs    []Input       `json:"inputs,omitempty"`
	Outputs   []Output      `json:"outputs,omitempty"`
	Resources []string      `json:"resources,omitempty"` // "aws_vpc.this", "data.aws_region.here"
	Providers []ProviderReq `json:"providers,omitempty"`
	Modules   []ModuleCall  `json:"modules,omitempty"`
	Requires  []string      `json:"requires,omitempty"` // versions of the tool
}

// An Input is a variable of a module.
type Input struct {
	Name        string `json:"name"`
	Type        string `json:"type,omitempty"` // as written, "" for any
	Description string `json:"description,omitempty"`
	Default     string `json:"default,omitempty"` // as JSON, "" for none
	Required    bool   `json:"required,omitempty"`
	Sensitive   bool   `json:"sensitive,omitempty"`
}

// An Output is an output of a module.
type Output struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Sensitive   bool   `json:"sensitive,omitempty"`
}

// A ProviderReq is a provider a module needs.
type ProviderReq struct {
	Name     string   `json:"name"`
	Source   string   `json:"source,omitempty"`
	Versions []string `json:"versions,omitempty"`
	Aliases  []string `json:"aliases,omitempty"` // configurations that the caller has to hand in
}

// A ModuleCall is a module that a module uses itself.
type ModuleCall struct {
	Name    string `json:"name"`
	Source  string `json:"source"`
	Version string `json:"version,omitempty"`
}

// An InterfaceChange is one difference between two interfaces.
type InterfaceChange struct {
	Breaking bool   `json:"breaking,omitempty"` // code that uses the module may stop working
	What     string `json:"what"`               // "input", "output" or "provider"
	Name     string `json:"name"`
	How      string `json:"how"` // "removed", "type string → number", …
}

// String says the change in a few words.
func (c InterfaceChange) String() string { return c.What + " " + c.Name + ": " + c.How }

// CompareInterfaces lists what is different in now, breaking changes first.
func CompareInterfaces(old, now Interface) []InterfaceChange {
	out := slices.Concat(inputChanges(old.Inputs, now.Inputs), outputChanges(old.Outputs, now.Outputs), providerChanges(old.Providers, now.Providers))
	slices.SortStableFunc(out, func(a, b InterfaceChange) int {
		switch {
		case a.Breaking == b.Breaking:
			return 0
		case a.Breaking:
			return -1
		default:
			return 1
		}
	})
	return out
}

// BreakingOf are the breaking ones among changes, in words.
func BreakingOf(changes []InterfaceChange) []string {
	var out []string
	for _, c := range changes {
		if c.Breaking {
			out = append(out, c.String())
		}
	}
	return out
}

// byName pairs the things of two lists by name: each is handed to both with its partner, or to one with the zero value.
func byName[T any](old, now []T, name func(T) string, both func(o, n T), gone, added func(T)) {
	for _, o := range old {
		if i := slices.IndexFunc(now, func(n T) bool { return name(n) == name(o) }); i >= 0 {
			both(o, now[i])
		} else {
			gone(o)
		}
	}
	for _, n := range now {
		if !slices.ContainsFunc(old, func(o T) bool { return name(o) == name(n) }) {
			added(n)
		}
	}
}

func inputChanges(old, now []Input) (out []InterfaceChange) {
	add := func(breaking bool, name, how string) {
		out = append(out, InterfaceChange{breaking, "input", name, how})
	}
	byName(old, now, func(i Input) string { return i.Name }, func(o, n Input) {
		if typeOf(o) != typeOf(n) {
			add(typeOf(n) != "any", n.Name, "type "+Shorten(typeOf(o), 80)+" → "+Shorten(typeOf(n), 80))
		}
		switch {
		case n.Required && !o.Required:
			add(true, n.Name, "is required now; its default was "+Shorten(o.Default, 80))
		case !n.Required && o.Required:
			add(false, n.Name, "is optional now; its default is "+Shorten(n.Default, 80))
		case o.Default != n.Default:
			add(false, n.Name, "default "+Shorten(o.Default, 80)+" → "+Shorten(n.Default, 80))
		}
	}, func(o Input) { add(true, o.Name, "removed") }, func(n Input) {
		if n.Required {
			add(true, n.Name, "added, required")
		} else {
			add(false, n.Name, "added, optional")
		}
	})
	return out
}

// typeOf is the type of an input with its spaces made alike.
func typeOf(i Input) string {
	if i.Type == "" {
		return "any"
	}
	return strings.Join(strings.Fields(i.Type), " ")
}

func outputChanges(old, now []Output) (out []InterfaceChange) {
	byName(old, now, func(o Output) string { return o.Name }, func(o, n Output) {
		switch {
		case n.Sensitive && !o.Sensitive:
			out = append(out, InterfaceChange{true, "output", n.Name, "is sensitive now"})
		case o.Sensitive && !n.Sensitive:
			out = append(out, InterfaceChange{false, "output", n.Name, "is not sensitive any more"})
		}
	}, func(o Output) {
		out = append(out, InterfaceChange{true, "output", o.Name, "removed"})
	}, func(n Output) {
		out = append(out, InterfaceChange{false, "output", n.Name, "added"})
	})
	return out
}

func providerChanges(old, now []ProviderReq) (out []InterfaceChange) {
	byName(old, now, func(p ProviderReq) string { return p.Name }, func(o, n ProviderReq) {
		if o.Source != n.Source && o.Source != "" && n.Source != "" {
			out = append(out, InterfaceChange{true, "provider", n.Name, "source " + o.Source + " → " + n.Source})
		}
		if !slices.Equal(o.Versions, n.Versions) {
			out = append(out, InterfaceChange{true, "provider", n.Name, fmt.Sprintf("version %s → %s", versions(o), versions(n))})
		}
		for _, a := range n.Aliases {
			if !slices.Contains(o.Aliases, a) {
				out = append(out, InterfaceChange{true, "provider", n.Name, "needs a configuration " + a + " from its caller now"})
			}
		}
	}, func(o ProviderReq) {
		out = append(out, InterfaceChange{false, "provider", o.Name, "not needed any more"})
	}, func(n ProviderReq) {
		out = append(out, InterfaceChange{true, "provider", n.Name, "needed now (" + versions(n) + ")"})
	})
	return out
}

func versions(p ProviderReq) string {
	if len(p.Versions) == 0 {
		return "any version"
	}
	return Shorten(strings.Join(p.Versions, ", "), 80)
}
