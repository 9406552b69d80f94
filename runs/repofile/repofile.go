// Package repofile reads what a repository says of itself in .groundcrew.yml, and says in words what is wrong with it.
package repofile

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v2"

	"groundcrew/runs"
)

// MaxBytes is the most a file may have.
const MaxBytes = 256 << 10

// maxTests is the most test cases of a module.
const maxTests = 100

// A Module is what the file says of a module.
type Module struct {
	Version string // "" when it names none
	Tests   []runs.TestCase
}

// file is the whole file; what concerns stacks is left to those who read that.
type file struct {
	Version       any            `yaml:"version"`
	Stacks        any            `yaml:"stacks"`
	StackDefaults any            `yaml:"stack_defaults"`
	ModuleVersion scalar         `yaml:"module_version"`
	TestDefaults  test           `yaml:"test_defaults"`
	Tests         []test         `yaml:"tests"`
	Extra         map[string]any `yaml:",inline"`
}

type test struct {
	Name        string            `yaml:"name"`
	ID          string            `yaml:"id"`
	ProjectRoot string            `yaml:"project_root"`
	Tool        string            `yaml:"tool"`
	ToolVersion scalar            `yaml:"tool_version"`
	Terraform   scalar            `yaml:"terraform_version"`
	OpenTofu    scalar            `yaml:"opentofu_version"`
	Negative    bool              `yaml:"negative"`
	DependsOn   []string          `yaml:"depends_on"`
	Inputs      map[string]any    `yaml:"inputs"`
	Environment map[string]scalar `yaml:"environment"`
	Extra       map[string]any    `yaml:",inline"`
}

// A scalar is a single value as it was written: 1.10 is no number here.
type scalar string

// UnmarshalYAML takes any single value as text.
func (s *scalar) UnmarshalYAML(read func(any) error) error {
	var text string
	if err := read(&text); err != nil {
		return err
	}
	*s = scalar(text)
	return nil
}

// ReadModule reads the file. Its errors say where and what to do.
func ReadModule(raw []byte) (Module, error) {
	var f file
	if len(raw) > MaxBytes {
		return Module{}, wrong("it has %d bytes; %d is the most", len(raw), MaxBytes)
	}
	if err := yaml.UnmarshalStrict(raw, &f); err != nil {
		return Module{}, wrong("%s", plain(err))
	}
	if err := unknown("", f.Extra); err != nil {
		return Module{}, err
	}
	if f.TestDefaults.Name != "" || f.TestDefaults.ID != "" || f.TestDefaults.DependsOn != nil {
		return Module{}, wrong("test_defaults cannot have a name, an id or depends_on")
	}
	if len(f.Tests) > maxTests {
		return Module{}, wrong("it declares %d tests; %d is the most", len(f.Tests), maxTests)
	}
	m := Module{Version: string(f.ModuleVersion)}
	for i, t := range f.Tests {
		c, err := t.read(i, f.TestDefaults)
		if err != nil {
			return Module{}, err
		}
		m.Tests = append(m.Tests, c)
	}
	return m, checkIDs(m.Tests)
}

func wrong(format string, args ...any) error {
	return runs.Invalidf("", "%s cannot be used: %s.", runs.ModuleFile, fmt.Sprintf(format, args...))
}

// plain makes one line of what the library says.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.ReplaceAll(text, "unmarshal errors:\n  ", "")
	return runs.Shorten(strings.Join(strings.Fields(text), " "), 300)
}

func unknown(where string, extra map[string]any) error {
	for name := range extra {
		return wrong("there is no setting “%s”%s", runs.Shorten(name, 60), where)
	}
	return nil
}

var idForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`) // of at most 60 bytes

func (t test) read(i int, d test) (runs.TestCase, error) {
	where := fmt.Sprintf(" in test %d", i+1)
	if t.Name != "" {
		where = " in the test “" + runs.Shorten(t.Name, 60) + "”"
	}
	if err := unknown(where, t.Extra); err != nil {
		return runs.TestCase{}, err
	}
	c := runs.TestCase{
		Kind: runs.TestCaseKind, ID: t.ID, Name: strings.TrimSpace(t.Name), ProjectRoot: runs.CleanRoot(or(t.ProjectRoot, d.ProjectRoot)),
		Negative: t.Negative || d.Negative, DependsOn: t.DependsOn, Inputs: map[string]string{}, Environment: map[string]string{},
	}
	c.Tool, c.ToolVersion = tool(t, d)
	if c.ID == "" {
		c.ID = runs.Slug(c.Name)
	}
	switch {
	case c.Name == "":
		return c, wrong("test %d has no name", i+1)
	case len(c.Name) > 100 || strings.ContainsAny(c.Name, "\n\r\x00"):
		return c, wrong("the name of test %d is longer than 100 bytes or not one line", i+1)
	case len(c.ID) > 60 || !idForm.MatchString(c.ID):
		return c, wrong("the id “%s”%s is none: lower-case letters, digits and dashes only", runs.Shorten(c.ID, 60), where)
	case c.Tool != "" && c.Tool != runs.OpenTofu && c.Tool != runs.Terraform:
		return c, wrong("the tool “%s”%s is none; use opentofu or terraform", runs.Shorten(c.Tool, 60), where)
	case escapes(or(t.ProjectRoot, d.ProjectRoot)):
		return c, wrong("the project_root “%s”%s leads out of the module", runs.Shorten(or(t.ProjectRoot, d.ProjectRoot), 100), where)
	}
	return c, t.fill(&c, d, where)
}

// fill takes over inputs and environment, those of the test before those of all tests.
func (t test) fill(c *runs.TestCase, d test, where string) error {
	for _, from := range []test{d, t} {
		for name, v := range from.Inputs {
			text, err := input(v)
			if err == nil {
				err = runs.ValidateVariable(name, text)
			}
			if err != nil {
				return wrong("the input “%s”%s: %s", runs.Shorten(name, 60), where, err)
			}
			c.Inputs[name] = text
		}
		for name, v := range from.Environment {
			if err := runs.ValidateVariable(name, string(v)); err != nil {
				return wrong("the environment%s: %s", where, err)
			}
			c.Environment[name] = string(v)
		}
	}
	return nil
}

// input writes a value as the tools read it from a variable of the process: text as it is, the rest as HCL.
func input(v any) (string, error) {
	if text, ok := v.(string); ok {
		return text, nil
	}
	raw, err := json.Marshal(plainValue(v))
	return string(raw), err
}

// plainValue gives the maps of the library the names that JSON wants.
func plainValue(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := map[string]any{}
		for k, e := range v {
			out[fmt.Sprint(k)] = plainValue(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plainValue(e)
		}
		return out
	default:
		return v
	}
}

// tool is the tool of a test and its version; one word, terraform_version, says both.
func tool(t, d test) (name, version string) {
	for _, from := range []test{t, d} {
		switch {
		case from.Terraform != "":
			return runs.Terraform, string(from.Terraform)
		case from.OpenTofu != "":
			return runs.OpenTofu, string(from.OpenTofu)
		case from.Tool != "" || from.ToolVersion != "":
			return from.Tool, string(from.ToolVersion)
		}
	}
	return "", ""
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// escapes reports whether a folder leads out of the one it is relative to.
func escapes(dir string) bool {
	clean := path.Clean(strings.TrimPrefix(dir, "./"))
	return strings.HasPrefix(dir, "/") || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(dir, "\\\x00\n")
}

// checkIDs makes sure that each test has an id of its own and that none waits for itself.
func checkIDs(tests []runs.TestCase) error {
	find := func(id string) int { return slices.IndexFunc(tests, func(c runs.TestCase) bool { return c.ID == id }) }
	for i, c := range tests {
		if c.ID == TestFilesID {
			return wrong("the id “%s” is taken by the test files", c.ID)
		}
		if find(c.ID) != i {
			return wrong("two tests have the id %s", strconv.Quote(c.ID))
		}
		for _, d := range c.DependsOn {
			if find(d) < 0 && d != TestFilesID {
				return wrong("the test “%s” depends on “%s”, which is no test's id", c.Name, runs.Shorten(d, 60))
			}
		}
	}
	done := make([]bool, len(tests))
	for range tests {
		for i, c := range tests {
			done[i] = done[i] || !slices.ContainsFunc(c.DependsOn, func(d string) bool { at := find(d); return at >= 0 && !done[at] })
		}
	}
	if i := slices.Index(done, false); i >= 0 {
		return wrong("the test “%s” waits for itself, directly or through others", tests[i].Name)
	}
	return nil
}

// TestFilesID is the id of the case that runs the tool's own test files.
const TestFilesID = "test-files"
