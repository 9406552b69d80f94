package tofu

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"groundcrew/runs"
)

// A coldError is why what init makes can't be known beforehand, in words that follow “because”.
type coldError struct{ why string }

func (e coldError) Error() string { return e.why }

func coldf(format string, args ...any) error { return coldError{fmt.Sprintf(format, args...)} }

// recipeVersion changes whenever the meaning of a recipe does, so that nothing made by another rule is taken for the same.
const recipeVersion = "1"

// Recipe digests everything `init` reads for this run: the stack, the tool's binary, the mirror and how providers are
// found, the lock file, and of the code what init looks at (see skeleton). Two workspaces with the same recipe get the same
// from init, but for providers that only the managed state needs: see [Made.Covers]. The error says, in words, why there
// is none: then nothing may be reused and nothing kept.
//
// It reads the checkout as the commit has it, before anything of the run was executed.
func Recipe(w Work, vars []runs.Variable) (string, error) {
	if err := knowable(w, vars); err != nil {
		return "", err
	}
	h := sha256.New()
	put := func(what string, values ...string) { fmt.Fprintf(h, "%q %q\n", what, values) }
	put("recipe", recipeVersion, w.Stack.Slug)
	tool, err := fileIdentity(w.Binary.Path)
	if err != nil {
		return "", err
	}
	plain := w
	plain.Config = "" // where modules come from, and with what token: code that calls such modules has no recipe
	config, err := cliConfig(plain)
	if err != nil {
		return "", err
	}
	at, err := w.statePath()
	if err != nil {
		return "", err
	}
	put("state at", at)
	put("tool", w.Binary.Tool, w.Binary.Version, tool)
	put("config", config)
	if err := listing(h, w.Mirror); err != nil {
		return "", err
	}
	code, err := w.skeleton()
	if err != nil {
		return "", err
	}
	put("code", code...)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// knowable refuses what lets init depend on more than a recipe can hold.
func knowable(w Work, vars []runs.Variable) error {
	switch {
	case w.Stack.Tool == runs.Custom:
		return coldf("a custom tool's init command may do anything")
	case !w.Managed:
		return coldf("init sets up the stack's own backend")
	}
	if path, err := w.statePath(); err != nil || filepath.IsAbs(path) {
		return coldf("the project root is reached through a link")
	}
	for _, v := range vars {
		if steersInit(v.Name) {
			return coldf("the variable %s may change what init does", v.Name)
		}
	}
	return nil
}

// steersInit reports whether a variable may change what init makes. Those of the tools that are known not to are few:
// values of the code's variables, which init does not use (module sources that do are refused elsewhere), what is
// printed, credentials, and arguments of other commands.
func steersInit(name string) bool {
	if !strings.HasPrefix(name, "TF_") && !strings.HasPrefix(name, "TOFU_") && !strings.HasPrefix(name, "OPENTOFU_") {
		return false
	}
	for _, harmless := range []string{"TF_VAR_", "TF_LOG", "TF_TOKEN_"} {
		if strings.HasPrefix(name, harmless) {
			return false
		}
	}
	return !slices.Contains([]string{"TF_CLI_ARGS_plan", "TF_CLI_ARGS_show", "TF_CLI_ARGS_apply", "TF_CLI_ARGS_destroy", "TF_IN_AUTOMATION"}, name)
}

// fileIdentity tells one file from every other that ever had its name.
func fileIdentity(file string) (string, error) {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf("%s %d %d %d", real, info.Size(), info.ModTime().UnixNano(), inode), nil
}

// listing writes what lies in the mirror: names, sizes and times. Init chooses by the names; what it chose is compared
// with the lock file by the tool itself, at every command.
func listing(to io.Writer, mirror string) error {
	if mirror == "" {
		_, err := fmt.Fprintln(to, "no mirror")
		return err
	}
	return filepath.WalkDir(mirror, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			return err
		}
		_, err = fmt.Fprintf(to, "%q %d %d %s\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode())
		return err
	})
}

// skeleton lists what init reads of the root module and of the local modules it uses: the whole of every file that is
// not plain code (lock file, JSON, tests), and of plain code every block but those known not to concern it. A block
// of a kind that is not known here counts whole.
//
// Modules from elsewhere have no recipe, not even those whose address names a version or a commit: whether a run may have
// one is asked each time it is fetched (it may have been yanked, or the project taken from those that runs may read), a tag in
// git and a version of a public registry can be moved, and the modules that a module calls are known only when it is here.
func (w Work) skeleton() ([]string, error) {
	checkout, err := os.OpenRoot(w.checkout())
	if err != nil {
		return nil, err
	}
	defer checkout.Close()
	rel, err := filepath.Rel(w.checkout(), w.Root)
	if err != nil {
		return nil, err
	}
	r := reading{checkout: checkout, seen: map[string]bool{}}
	root := path.Clean(filepath.ToSlash(rel))
	r.read(path.Join(root, "tests"), func(name string) bool { return strings.Contains(name, "test.") })
	for todo := []string{root}; len(todo) > 0 && r.err == nil; todo = todo[1:] {
		if r.seen[todo[0]] {
			continue
		}
		r.seen[todo[0]] = true
		if len(r.seen) > maxModules {
			return nil, coldf("the code has more than %d modules", maxModules)
		}
		todo = append(todo, r.read(todo[0], func(string) bool { return true })...)
	}
	slices.Sort(r.items)
	return slices.Compact(r.items), r.err
}

// A reading gathers a skeleton.
type reading struct {
	checkout *os.Root
	seen     map[string]bool
	items    []string
	err      error // the first one
}

func (r *reading) note(words ...string) { r.items = append(r.items, fmt.Sprintf("%q", words)) }

func (r *reading) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// read takes up one folder and returns the local modules that its code calls. A folder that is not there has nothing.
func (r *reading) read(dir string, wanted func(name string) bool) (modules []string) {
	entries, err := fs.ReadDir(r.checkout.FS(), dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.fail(coldf("the folder %s can't be read", dir))
	}
	// With .tofu files beside .tf files of the same name the names decide what counts.
	named := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.Contains(e.Name(), ".tofu") })
	for _, e := range entries {
		name := e.Name()
		code := strings.HasSuffix(name, ".tf") || strings.HasSuffix(name, ".tofu")
		whole := strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".tf.json") || strings.HasSuffix(name, ".tofu.json") || strings.HasSuffix(name, "test.json")
		if !code && !whole || !wanted(name) || name == overrideName {
			continue
		}
		src, err := readCode(r.checkout, path.Join(dir, name))
		if err != nil {
			r.fail(coldf("the file %s can't be read", path.Join(dir, name)))
			return nil
		}
		if whole {
			if !strings.HasSuffix(name, ".hcl") && strings.Contains(string(src), `"module"`) {
				r.fail(coldf("the file %s calls modules in JSON", path.Join(dir, name)))
			}
			r.note(dir, name, string(src))
			continue
		}
		at := dir
		if named || overrideFile.MatchString(name) {
			at = path.Join(dir, name)
		}
		modules = append(modules, r.code(at, dir, name, src)...)
	}
	return modules
}

// code notes what init reads of one file of plain code, as of at, and returns the local modules it calls.
func (r *reading) code(at, dir, name string, src []byte) (modules []string) {
	parsed, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	body, ok := parsed.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok || len(body.Attributes) > 0 {
		r.fail(coldf("the file %s can't be understood here", path.Join(dir, name)))
		return nil
	}
	for _, b := range body.Blocks {
		item := append([]string{at, b.Type}, b.Labels...)
		switch b.Type {
		case "variable", "output", "locals", "moved":
			continue
		case "resource", "data", "ephemeral":
			// Only its type and its provider count: a second one of the same kind changes nothing.
			item = append([]string{at, b.Type}, b.Labels[:min(1, len(b.Labels))]...)
			item = append(item, written(src, b.Body, "provider")...)
		case "provider":
			item = append(item, written(src, b.Body, "version", "alias", "for_each")...)
		case "module":
			source := literal(b.Body, callSchema, "source")
			if !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, "../") {
				r.fail(coldf("the module %q comes from elsewhere", strings.Join(b.Labels, " ")))
				return nil
			}
			modules = append(modules, path.Join(dir, source))
			item = append(item, source)
			item = append(item, written(src, b.Body, "version", "providers")...)
		default:
			item = append(item, string(b.Range().SliceBytes(src)))
		}
		r.note(item...)
	}
	return modules
}

// written are the attributes of a block that are there, as they are written.
func written(src []byte, body *hclsyntax.Body, names ...string) []string {
	var list []string
	for _, n := range names {
		if a := body.Attributes[n]; a != nil {
			list = append(list, n, string(a.Expr.Range().SliceBytes(src)))
		}
	}
	return list
}
