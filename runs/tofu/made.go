package tofu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The files of what init makes.
const (
	lockName    = ".terraform.lock.hcl"  // in Root
	backendName = "terraform.tfstate"    // in the data folder: the backend, not the state
	modulesName = "modules/modules.json" // in the data folder
	providers   = "providers"            // in the data folder, down to <host>/<namespace>/<type>/<version>/<platform>
	packageDeep = 5                      // folders below providers
)

// Made is what init made in one workspace, in a form that [Made.LayOut] brings into another with the same [Recipe]. It
// is only what is known to be the same wherever it is made: anything else refuses to be kept.
//
// It can't carry anything from one run to another but what init itself made. The copy it is read from is taken between
// init and the next command, when no process of the run is alive; code of the run can reach neither that copy nor
// where it is kept; and packages are kept as folders named by their content, read-only. At every command the tool
// compares them with the lock file, the backend with the code's, and the modules with the code's.
type Made struct {
	Files map[string][]byte `json:"files,omitempty"` // by path in the data folder
	Lock  []byte            `json:"lock,omitempty"`  // the lock file after init; nil = there was none
	// Packages are the providers, by path in the data folder: the absolute folder that holds one.
	Packages map[string]string `json:"packages,omitempty"`
}

// Keep says what to copy when init has ended, for [ReadMade].
func (w Work) Keep(to string) *Keep {
	return &Keep{Files: []string{filepath.Join(w.Aux, dataName), filepath.Join(w.Root, lockName)}, To: to}
}

// LockFile is the lock file as the commit has it, nil when it has none. It is read before init.
func (w Work) LockFile() ([]byte, error) {
	root, err := os.OpenRoot(w.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	lock, err := readCode(root, lockName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return lock, err
}

// ReadMade reads a copy that [Work.Keep] asked for. before is the lock file of the commit. Packages that are folders of
// the copy are named by their absolute path in it: who keeps them moves them. The error says why nothing can be kept.
func ReadMade(w Work, copied string, before []byte) (Made, error) {
	m := Made{Files: map[string][]byte{}, Packages: map[string]string{}}
	dir, err := os.OpenRoot(copied)
	if err != nil {
		return m, err
	}
	defer dir.Close()
	if m.Lock, err = readCode(dir, lockName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	err = fs.WalkDir(dir.FS(), dataName, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		in := strings.TrimPrefix(name, dataName+"/")
		switch {
		case isPackage(in):
			return m.addPackage(w, copied, name, in, d)
		case d.IsDir():
			return nil
		case !d.Type().IsRegular() || in != backendName && in != modulesName:
			return coldf("init made %s, which is not known here", in)
		}
		m.Files[in], err = readCode(dir, name)
		return err
	})
	if err != nil {
		return m, err
	}
	return m, m.check(w, before)
}

func isPackage(in string) bool {
	return strings.HasPrefix(in, providers+"/") && strings.Count(in, "/") == packageDeep
}

func (m *Made) addPackage(w Work, copied, name, in string, d fs.DirEntry) error {
	whole := filepath.Join(copied, filepath.FromSlash(name))
	if d.IsDir() {
		m.Packages[in] = whole
		return fs.SkipDir
	}
	if info, err := d.Info(); err == nil && info.Mode().IsRegular() && info.Size() == 0 && strings.HasSuffix(in, ".lock") {
		return nil // OpenTofu 1.12 locks a package while it installs it, and leaves the empty file
	}
	to, err := os.Readlink(whole)
	if err != nil {
		return coldf("init made %s, which is not known here", in)
	}
	rel, err := filepath.Rel(w.Mirror, to)
	if w.Mirror == "" || err != nil || !filepath.IsLocal(rel) {
		return coldf("init made a link out of the mirror, %s", in)
	}
	m.Packages[in] = to
	return nil
}

// check makes sure that init could not have made something else.
func (m *Made) check(w Work, before []byte) error {
	at, err := w.statePath()
	if err != nil {
		return err
	}
	var b struct {
		Backend struct {
			Type   string `json:"type"`
			Config struct {
				Path string `json:"path"`
			} `json:"config"`
		} `json:"backend"`
	}
	if err := json.Unmarshal(m.Files[backendName], &b); err != nil || b.Backend.Type != "local" || b.Backend.Config.Path != at {
		return coldf("init recorded another backend")
	}
	if err := localModules(m.Files[modulesName]); err != nil {
		return err
	}
	if w.Mirror != "" || len(m.Packages) == 0 {
		return nil
	}
	// Without a mirror only the commit's lock file says which packages they must be.
	was, err := locked(before)
	if err != nil {
		return err
	}
	is, err := locked(m.Lock)
	if err != nil {
		return err
	}
	if was != is {
		return coldf("the lock file of the commit does not hold the version of every provider. Run `init` by hand and commit %s", lockName)
	}
	return nil
}

// localModules refuses modules that were fetched.
func localModules(file []byte) error {
	if len(file) == 0 {
		return nil
	}
	var list struct {
		Modules []struct{ Key, Source, Dir string }
	}
	if err := json.Unmarshal(file, &list); err != nil {
		return coldf("init listed modules in a way that is not known here")
	}
	for _, m := range list.Modules {
		local := strings.HasPrefix(m.Source, "./") || strings.HasPrefix(m.Source, "../")
		if m.Key != "" && !local || path.IsAbs(m.Dir) {
			return coldf("the module %s comes from elsewhere", m.Key)
		}
	}
	return nil
}

// locked lists the providers of a lock file with their versions, in one text.
func locked(file []byte) (string, error) {
	parsed, diags := hclsyntax.ParseConfig(file, lockName, hcl.InitialPos)
	body, ok := parsed.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok {
		return "", coldf("the lock file can't be understood here")
	}
	var list strings.Builder
	for _, b := range body.Blocks {
		fmt.Fprintf(&list, "%q %q\n", b.Labels, written(file, b.Body, "version"))
	}
	return list.String(), nil
}

// stateProvider takes host, namespace and type out of what a state says of a resource's provider.
var stateProvider = regexp.MustCompile(`provider\["([^"]+)"\]`)

// Covers reports whether all providers of what the managed state holds are there: init gets them too, whether or not the
// code still uses them.
func (m Made) Covers(state []byte) bool {
	if len(state) == 0 {
		return true
	}
	var s struct {
		Version   int `json:"version"`
		Resources []struct {
			Provider string `json:"provider"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(state, &s); err != nil || s.Version != 4 {
		return false // encrypted by OpenTofu, or newer than we know
	}
	for _, r := range s.Resources {
		name := stateProvider.FindStringSubmatch(r.Provider)
		if name == nil || !strings.HasPrefix(name[1], "terraform.io/builtin/") && !m.has(name[1]) {
			return false
		}
	}
	return true
}

// has reports whether a package of a provider is there, by <host>/<namespace>/<type>.
func (m Made) has(provider string) bool {
	for name := range m.Packages {
		if strings.HasPrefix(name, providers+"/"+provider+"/") {
			return true
		}
	}
	return false
}

// LayOut brings what was made into a workspace that [Prepare] has laid out, in the place of init.
func (m Made) LayOut(w Work) error {
	data, err := os.OpenRoot(filepath.Join(w.Aux, dataName))
	if err != nil {
		return err
	}
	defer data.Close()
	for name, content := range m.Files {
		if err := data.MkdirAll(path.Dir(name), 0o700); err != nil {
			return err
		}
		if err := replaceFile(data, name, content); err != nil {
			return err
		}
	}
	for name, at := range m.Packages {
		if err := errors.Join(data.MkdirAll(path.Dir(name), 0o700), data.Symlink(at, name)); err != nil {
			return err
		}
	}
	if m.Lock == nil {
		return nil
	}
	root, err := os.OpenRoot(w.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if there, err := root.ReadFile(lockName); err == nil && bytes.Equal(there, m.Lock) {
		return nil
	}
	return replaceFile(root, lockName, m.Lock)
}

// ClearInit removes what init made, or what was laid out in its place.
func (w Work) ClearInit() error {
	aux, err := os.OpenRoot(w.Aux)
	if err != nil {
		return err
	}
	defer aux.Close()
	return errors.Join(aux.RemoveAll(dataName), aux.Mkdir(dataName, 0o700))
}

// Whole says whether everything the layout leads to is still there.
func (m Made) Whole() error {
	for _, at := range m.Packages {
		if _, err := os.Stat(at); err != nil {
			return err
		}
	}
	return nil
}

// wrong matches what the tools say when what init made does not fit the code, or is not whole.
var wrong = regexp.MustCompile(`(?i)\b(terraform|tofu) init\b|Backend initialization required|Required plugins are not installed|Inconsistent dependency lock file|Module (not installed|source has changed|version requirements have changed)|failed to instantiate provider|Failed to load plugin schemas|Could not load plugin`)

// SaysInit reports whether an error of plan is one that init mends: what was laid out in its place does not fit.
func SaysInit(log []byte) bool { return wrong.Match(log) }
