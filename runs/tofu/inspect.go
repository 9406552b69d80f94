package tofu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-config-inspect/tfconfig"

	"groundcrew/runs"
)

// The limits of what is parsed in the server itself: the parser descends as deep as the code is nested, and a stack that is
// used up ends the whole process.
const (
	maxInspected = 256 << 10 // of one file, in bytes
	maxNesting   = 200
)

// Inspect reads what of a module those who use it can see, from the files at its top. Code that cannot be understood
// gives what could be, and a note. dir is an empty folder to work in.
func Inspect(files map[string][]byte, tool, dir string) (out runs.Interface, notes []string, err error) {
	for name, src := range inspectable(files, tool) {
		if len(src) > maxInspected || nesting(src) > maxNesting {
			notes = append(notes, fmt.Sprintf("%s is too large or nested too deep to be described", name))
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), src, 0o600); err != nil {
			return out, notes, err
		}
	}
	slices.Sort(notes)
	defer func() {
		if p := recover(); p != nil { // the parser met what it was not made for
			out, err = runs.Interface{}, nil
			notes = append(notes, "the code could not be described")
		}
	}()
	mod, diags := tfconfig.LoadModule(dir)
	if diags.HasErrors() {
		notes = append(notes, "the code could not be understood in full: "+runs.Shorten(strings.Join(strings.Fields(diags[0].Summary+": "+diags[0].Detail), " "), 300))
	}
	if mod == nil {
		return out, notes, nil
	}
	return interfaceOf(mod), notes, nil
}

// inspectable are the files the tool would read, under names the library reads: with OpenTofu a .tofu file takes the place of the
// .tf file of its name.
func inspectable(files map[string][]byte, tool string) map[string][]byte {
	out := map[string][]byte{}
	for name, src := range files {
		if strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
			continue
		}
		if strings.HasSuffix(name, ".tf") || strings.HasSuffix(name, ".tf.json") {
			if _, replaced := files[strings.Replace(name, ".tf", ".tofu", 1)]; !replaced || tool != runs.OpenTofu {
				out[name] = src
			}
		}
		if tool == runs.OpenTofu && (strings.HasSuffix(name, ".tofu") || strings.HasSuffix(name, ".tofu.json")) {
			out[strings.Replace(name, ".tofu", ".tf", 1)] = src
		}
	}
	return out
}

// nesting is at least as deep as the code is nested; brackets in texts count too. Signs that stand in a row nest as well.
func nesting(src []byte) int {
	depth, deepest, row := 0, 0, 0
	for _, c := range src {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
		switch c {
		case '!', '-', '?', ':':
			row++
		case '\n':
			row = 0
		}
		deepest = max(deepest, depth, row/4)
	}
	return deepest
}

func interfaceOf(mod *tfconfig.Module) runs.Interface {
	var out runs.Interface
	for _, v := range mod.Variables {
		in := runs.Input{Name: v.Name, Type: v.Type, Description: v.Description, Required: v.Required, Sensitive: v.Sensitive}
		if !v.Required {
			raw, err := json.Marshal(v.Default)
			if err != nil {
				raw = []byte("null")
			}
			in.Default = string(raw)
		}
		out.Inputs = append(out.Inputs, in)
	}
	for _, o := range mod.Outputs {
		out.Outputs = append(out.Outputs, runs.Output{Name: o.Name, Description: o.Description, Sensitive: o.Sensitive})
	}
	for address := range mod.ManagedResources {
		out.Resources = append(out.Resources, address)
	}
	for address := range mod.DataResources {
		out.Resources = append(out.Resources, address)
	}
	for name, p := range mod.RequiredProviders {
		req := runs.ProviderReq{Name: name, Source: p.Source, Versions: p.VersionConstraints}
		for _, a := range p.ConfigurationAliases {
			req.Aliases = append(req.Aliases, a.Name+"."+a.Alias)
		}
		slices.Sort(req.Aliases)
		slices.Sort(req.Versions)
		out.Providers = append(out.Providers, req)
	}
	for _, c := range mod.ModuleCalls {
		out.Modules = append(out.Modules, runs.ModuleCall{Name: c.Name, Source: c.Source, Version: c.Version})
	}
	out.Requires = mod.RequiredCore
	slices.SortFunc(out.Inputs, func(a, b runs.Input) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Outputs, func(a, b runs.Output) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(out.Resources)
	slices.SortFunc(out.Providers, func(a, b runs.ProviderReq) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Modules, func(a, b runs.ModuleCall) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// A CalledModule is a module of a registry that init has brought.
type CalledModule struct{ Key, Source, Version string }

// maxManifest is the most of a manifest of modules that is read, in bytes.
const maxManifest = 4 << 20

// ReadCalledModules reads the manifest that init leaves ([Work.ModuleManifest]): the modules of registries with their versions.
func ReadCalledModules(raw []byte) ([]CalledModule, error) {
	var manifest struct{ Modules []CalledModule }
	if len(raw) > maxManifest {
		return nil, runs.Invalidf("", "The list of modules that init left is too long.")
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, runs.Invalidf("", "The list of modules that init left can't be read: %v.", err)
	}
	return slices.DeleteFunc(manifest.Modules, func(m CalledModule) bool { return m.Version == "" || m.Source == "" }), nil
}

// ModuleManifest is the file in which init notes the modules it brought.
func (w Work) ModuleManifest() string {
	return filepath.Join(w.Aux, dataName, "modules", "modules.json")
}
