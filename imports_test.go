package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport is the law: which of our packages each of them may import. What is absent is forbidden. A new package is a
// decision: it needs a row here and a sentence in doc.go.
var mayImport = map[string][]string{
	"main":            {"web", "web/metrics", "runs/engine", "runs/proc", "runs/tofu", "runs/policy", "store", "gitlab", "gitlab/sim", "runs", "static"},
	"web":             {"web/metrics", "runs/notify", "runs/policy", "web/view", "runs/engine", "store", "gitlab", "runs", "runs/logs", "static"},
	"web/view":        {"runs", "static"},
	"runs/engine":     {"store", "gitlab", "runs", "runs/tofu", "runs/redact", "runs/logs", "runs/pack", "runs/repofile", "runs/notify", "runs/policy"},
	"runs/notify":     {"runs"},
	"runs/policy":     {"runs"},
	"web/metrics":     {"runs/engine", "store", "gitlab", "runs"},
	"runs/tofu":       {"runs"},
	"runs/proc":       {"runs/redact"},
	"store":           {"runs"},
	"gitlab/sim":      {"gitlab", "gitlab/sim/spec"},
	"gitlab/sim/spec": {},
	"runs":            {},
	"runs/redact":     {},
	"runs/pack":       {},
	"runs/repofile":   {"runs"},
	"runs/logs":       {},
	"gitlab":          {},
	"static":          {},
}

// fences name the only packages that may import a library (by the beginning of its path). A library without a fence is
// refused: it would spread.
var fences = map[string][]string{
	"go.etcd.io/bbolt":               {"store"},
	"github.com/oklog/ulid":          {"store"},
	"golang.org/x/crypto/":           {"store", "web"}, // sealing; password hashes
	"github.com/labstack/echo":       {"web"},
	"golang.org/x/time/rate":         {"web"},
	"github.com/a-h/templ":           {"web", "web/view"},
	"github.com/xanzy/go-gitlab":     {"gitlab"},
	"github.com/go-git/":             {"gitlab"},
	"github.com/coreos/go-oidc/":     {"gitlab"},
	"golang.org/x/oauth2":            {"gitlab"},
	"github.com/yuin/goldmark":       {"gitlab/sim", "web/view"}, // readmes
	"github.com/spf13/cobra":         {"main"},
	"golang.org/x/term":              {"main"},
	"github.com/robfig/cron":         {"runs/engine"},
	"github.com/bmatcuk/doublestar":  {"runs/engine"},
	"github.com/hashicorp/":          {"runs/tofu"}, // version constraints, plan JSON
	"github.com/landlock-lsm/":       {"runs/proc"},
	"golang.org/x/sys/":              {"runs/proc"},
	"github.com/klauspost/compress/": {"runs/logs", "store"}, // logs; backups
	"go.yaml.in/yaml/":               {"runs/repofile"},
	"github.com/wneessen/go-mail":    {"runs/notify"},
	"github.com/prometheus/":         {"web/metrics"},
	"github.com/open-policy-agent/":  {"runs/policy"},
	"os/exec":                        {"runs/proc", "runs/tofu", "runs/policy", "gitlab/sim"}, // jobs; version probe; this program again; git for its repositories
}

func TestImports(t *testing.T) {
	found := production(t)
	for pkg, files := range found {
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("package %s has no row in the table of imports: give it one, and a sentence in doc.go", pkg)
			continue
		}
		for _, f := range files {
			for _, imp := range f.Imports {
				if trouble := judge(pkg, allowed, strings.Trim(imp.Path.Value, `"`)); trouble != "" {
					t.Errorf("%s: %s", fset.Position(imp.Pos()), trouble)
				}
			}
		}
	}
	for pkg := range mayImport {
		if _, there := found[pkg]; !there {
			t.Errorf("the table of imports has a row for %s, which is not there", pkg)
		}
	}
}

// judge says what is wrong with an import, "" when nothing is.
func judge(pkg string, allowed []string, path string) string {
	if ours, is := strings.CutPrefix(path, "groundcrew/"); is {
		if !slices.Contains(allowed, ours) {
			return fmt.Sprintf("package %s may not import %s", pkg, ours)
		}
		return ""
	}
	fence := ""
	for prefix := range fences { // the longest one counts
		if strings.HasPrefix(path, prefix) && len(prefix) > len(fence) {
			fence = prefix
		}
	}
	outside := strings.Contains(strings.Split(path, "/")[0], ".")
	switch {
	case fence == "" && outside:
		return fmt.Sprintf("%s has no fence: decide which one package it lives in", path)
	case fence != "" && !slices.Contains(fences[fence], pkg):
		return fmt.Sprintf("package %s may not import %s, only %v may", pkg, path, fences[fence])
	default:
		return ""
	}
}

// TestJudge tests the test: a wall that lets everything through looks like one that holds.
func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		pkg, path string
		ok        bool
	}{
		{"store", "groundcrew/runs", true},
		{"store", "groundcrew/runs/engine", false},
		{"runs", "groundcrew/store", false},
		{"runs/proc", "groundcrew/runs/redact", true},
		{"runs/proc", "groundcrew/runs", false},
		{"web/view", "groundcrew/store", false},
		{"web/view", "groundcrew/runs/policy", false},
		{"store", "go.etcd.io/bbolt/errors", true},
		{"runs/engine", "go.etcd.io/bbolt", false},
		{"web", "os/exec", false},
		{"runs/proc", "os/exec", true},
		{"gitlab", "github.com/xanzy/go-gitlab", true},
		{"runs/engine", "github.com/xanzy/go-gitlab", false},
		{"web", "github.com/robfig/cron/v3", false},
		{"runs/proc", "github.com/bmatcuk/doublestar/v4", false},
		{"web", "example.com/new/library", false},
		{"web", "net/http", true},
	} {
		if trouble := judge(tc.pkg, mayImport[tc.pkg], tc.path); (trouble == "") != tc.ok {
			t.Errorf("%s imports %s: %q", tc.pkg, tc.path, trouble)
		}
	}
}

// TestTheCoreIsPure: package runs has no clock, does no I/O and starts no goroutine (its own package comment).
func TestTheCoreIsPure(t *testing.T) {
	pure := []string{
		"cmp", "crypto/hmac", "crypto/sha256", "encoding/base64", "encoding/hex", "encoding/json", "errors", "fmt", "log/slog", "maps", "math", "path", "regexp", "slices", "sort",
		"strconv", "strings", "time", "unicode", "unicode/utf8",
	}
	impure := map[string][]string{
		"time": {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"},
		"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
		"slog": {"Info", "Warn", "Error", "Debug", "Log", "Default", "SetDefault"},
	}
	for _, f := range production(t)["runs"] {
		for _, imp := range f.Imports {
			if path := strings.Trim(imp.Path.Value, `"`); !slices.Contains(pure, path) {
				t.Errorf("%s: %s is not known to be pure", fset.Position(imp.Pos()), path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impure[x.Name], n.Sel.Name) {
					t.Errorf("%s: %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestTheTourIsWhole: doc.go has a sentence for every package, and every file and package it names is there.
func TestTheTourIsWhole(t *testing.T) {
	raw, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	tour := string(raw)
	for _, pkg := range slices.Sorted(maps.Keys(production(t))) {
		if pkg != "main" && !strings.Contains(tour, "//   - "+pkg+": ") {
			t.Errorf("doc.go has no sentence for package %s", pkg)
		}
	}
	for word := range strings.FieldsSeq(tour) {
		name := strings.Trim(word, ".,;:()")
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if _, err := os.Stat(filepath.Join("runs", "engine", name)); err != nil {
			t.Errorf("doc.go names %s, which is not there", name)
		}
	}
}

var fset = token.NewFileSet()

// production parses every file of this module that is no test, by package folder; the top is "main".
func production(t *testing.T) map[string][]*ast.File {
	t.Helper()
	found := map[string][]*ast.File{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(path, d.Name())
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = "main"
		}
		found[pkg] = append(found[pkg], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found["main"]) == 0 || len(found["runs"]) == 0 {
		t.Fatalf("only %d packages were found", len(found))
	}
	return found
}

// skip leaves out what is not of this module: hidden folders, test data and modules inside it.
func skip(path, name string) error {
	if path == "." {
		return nil
	}
	if strings.HasPrefix(name, ".") || name == "testdata" || name == "data" || name == "bin" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}
