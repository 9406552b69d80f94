package tofu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"

	"groundcrew/runs"
)

// A Requirement is one required_version of the code and where it stands.
type Requirement struct {
	Constraint string
	File       string // path in the checkout
}

// maxModules bounds how many local modules are looked at; the tool looks at all.
const maxModules = 100

// Requirements reads the versions of the tool that the root module at dir requires, and the modules it uses from the same
// checkout. Code that can't be understood requires nothing here: the tool itself will say what is wrong with it. Links
// that lead out of the checkout are not followed.
func Requirements(checkout *os.Root, dir, tool string) []Requirement {
	var found []Requirement
	seen := map[string]bool{}
	for todo := []string{path.Clean("./" + dir)}; len(todo) > 0 && len(seen) < maxModules; {
		at := todo[0]
		todo = todo[1:]
		if seen[at] {
			continue
		}
		seen[at] = true
		for _, file := range codeFiles(checkout, at, tool) {
			requires, modules := readRequirements(checkout, file)
			found = append(found, requires...)
			for _, m := range modules {
				if to := path.Join(at, m); to != ".." && !strings.HasPrefix(to, "../") {
					todo = append(todo, to)
				}
			}
		}
	}
	return found
}

// maxCode is the most of one file of code that is looked at, in bytes.
const maxCode = 4 << 20

// codeFiles lists the files the tool reads in a folder. With OpenTofu a .tofu file takes the place of the .tf file of the
// same name.
func codeFiles(checkout *os.Root, dir, tool string) []string {
	entries, err := fs.ReadDir(checkout.FS(), dir)
	if err != nil {
		return nil // the tool says so
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasSuffix(name, ".tf") || strings.HasSuffix(name, ".tf.json")
		if tool == runs.OpenTofu {
			replaced := names[strings.Replace(name, ".tf", ".tofu", 1)]
			ours = ours && !replaced || strings.HasSuffix(name, ".tofu") || strings.HasSuffix(name, ".tofu.json")
		}
		if ours && !strings.HasPrefix(name, ".") {
			files = append(files, path.Join(dir, name))
		}
	}
	return files
}

var (
	fileSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "terraform"}, {Type: "module", LabelNames: []string{"name"}}}}
	coreSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "required_version"}}}
	callSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
)

// readRequirements returns what one file requires and the local modules it calls.
func readRequirements(checkout *os.Root, file string) (found []Requirement, modules []string) {
	src, err := readCode(checkout, file)
	if err != nil {
		return nil, nil
	}
	parser := hclparse.NewParser()
	parse := parser.ParseHCL
	if strings.HasSuffix(file, ".json") {
		parse = parser.ParseJSON
	}
	parsed, _ := parse(src, file)
	if parsed == nil {
		return nil, nil
	}
	content, _, _ := parsed.Body.PartialContent(fileSchema)
	for _, b := range content.Blocks {
		if b.Type == "terraform" {
			if v := literal(b.Body, coreSchema, "required_version"); v != "" {
				found = append(found, Requirement{v, file})
			}
			continue
		}
		if source := literal(b.Body, callSchema, "source"); strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") {
			modules = append(modules, source)
		}
	}
	return found, modules
}

// literal is the value of an attribute written as a plain string, else "".
func literal(body hcl.Body, schema *hcl.BodySchema, name string) string {
	content, _, _ := body.PartialContent(schema)
	attr, ok := content.Attributes[name]
	if !ok {
		return ""
	}
	var s string
	if diags := gohcl.DecodeExpression(attr.Expr, nil, &s); diags.HasErrors() {
		return ""
	}
	return s
}

func readCode(checkout *os.Root, file string) ([]byte, error) {
	info, err := checkout.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCode {
		return nil, errors.New("no file of code")
	}
	return checkout.ReadFile(file)
}

// ChooseFor is [Choose] among the binaries that also meet what the code requires. When one meets the stack's constraint
// and none of those what the code requires, the error names both.
func ChooseFor(bins []Binary, tool, constraint string, requires []Requirement) (Binary, error) {
	plain, err := Choose(bins, tool, constraint)
	if err != nil || tool == runs.Custom || len(requires) == 0 {
		return plain, err
	}
	var wanted []version.Constraints
	for _, r := range requires {
		c, err := version.NewConstraint(r.Constraint)
		if err != nil {
			return Binary{}, runs.Invalidf("tool_version", "The code requires version “%s” (%s), which is no version constraint. Write one like >= 1.6 or ~> 1.9.", r.Constraint, r.File)
		}
		wanted = append(wanted, c)
	}
	meets := func(b Binary) bool {
		v, err := version.NewVersion(b.Version)
		return err == nil && !slices.ContainsFunc(wanted, func(c version.Constraints) bool { return !c.Check(v) })
	}
	usable := slices.DeleteFunc(slices.Clone(bins), func(b Binary) bool { return b.Tool == tool && !meets(b) })
	if b, err := Choose(usable, tool, constraint); err == nil {
		return b, nil
	}
	return Binary{}, noneMeets(bins, tool, constraint, requires)
}

// noneMeets says what the code requires, what the stack allows, and what there is.
func noneMeets(bins []Binary, tool, constraint string, requires []Requirement) error {
	name, file := "OpenTofu", "tofu"
	if tool == runs.Terraform {
		name, file = "Terraform", "terraform"
	}
	var words, present []string
	for _, r := range requires {
		words = append(words, fmt.Sprintf("“%s” (%s)", r.Constraint, r.File))
	}
	for _, b := range bins {
		if b.Tool == tool && b.Problem == "" {
			present = append(present, b.Version)
		}
	}
	allowed := ""
	if strings.TrimSpace(constraint) != "" {
		allowed = fmt.Sprintf(", and the stack's settings allow “%s”", constraint)
	}
	return runs.Invalidf("tool_version", "The code requires %s %s%s; no version on this server meets that. Present: %s. Copy a binary named like %s-1.2.3 into the folder bin of the data folder, or change required_version or the stack's version.",
		name, strings.Join(slices.Compact(words), " and "), allowed, strings.Join(slices.Compact(present), ", "), file)
}
