package tofu

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"groundcrew/runs"
)

// A Work is one run of a tool on a checkout. The run may write everywhere in the checkout and in Aux and leave
// links and worse there: whoever reads a file of it from outside the run does so with Open.
type Work struct {
	Stack       runs.Stack
	Binary      Binary   // as chosen; not used for a custom tool
	Root        string   // absolute folder of the root module, inside the folder that Aux is in
	Aux         string   // absolute folder of the run beside the checkout; see Tmp when it is longer than 80 bytes
	Managed     bool     // state is kept by Groundcrew, see StateFile
	Speculative bool     // the plan is never applied, so it takes no lock on an own backend
	Command     string   // of a task
	Mount       string   // absolute folder of mounted files beside the checkout; "" = none
	Test        string   // kind of a module's test, "" for what is none
	Config      string   // more of the tool's own configuration, as it is written
	CA          []byte   // certificates to trust instead of the system's, in PEM; nil = the system's
	Git         []string // NAME=value for git
	Mirror      string   // absolute folder of unpacked or packed providers, preferred to the network; "" = none
	Sealed      bool     // providers come from Mirror and from nowhere else
	Path        string   // PATH of the commands; "" = the system's usual one
	Proxy       []string // NAME=value of the proxy variables to hand on
	Tmp         string   // absolute folder for temporary files that Aux is too long for; "" = in Aux
	Made        *Made    // what LayOut brought here in the place of init; nil = init is run
	InitAgain   bool     // before an apply: what was laid out in the place of init is gone
	KeepInit    string   // absolute folder to copy what init made to; "" = none
	Memory      int64    // bytes that the commands may take, 0 = no limit
	Run         string   // facts the run may read in GROUNDCREW_ variables
	Commit      string
	Branch      string
}

// The files of a run in Aux.
const (
	planName   = "tfplan"
	jsonName   = "plan.json"
	stateName  = "terraform.tfstate"
	configName = "cli.tfrc"
	caName     = "trusted.pem"
	dataName   = "data" // TF_DATA_DIR: providers and modules
	homeName   = "home"
	tmpName    = "tmp"
	binName    = "bin" // the chosen tool under its plain name, first on the PATH
)

// overrideName is the file that puts managed state in the place of any backend in the code.
const overrideName = "groundcrew_override.tf"

// PlanFile is the plan as the tool saved it.
func (w Work) PlanFile() string { return filepath.Join(w.Aux, planName) }

// PlanJSON is the plan in JSON, for [ReadPlan].
func (w Work) PlanJSON() string { return filepath.Join(w.Aux, jsonName) }

// StateFile is the managed state. It is not there as long as there is none, and it may be empty when the tool
// was killed before it first wrote it.
func (w Work) StateFile() string { return filepath.Join(w.Aux, stateName) }

// ErroredState is where the tools leave a state that they could not write to its backend.
func (w Work) ErroredState() string { return filepath.Join(w.Root, "errored.tfstate") }

// Open opens a file that the run has left behind, by its path in Root or Aux. It refuses what a run could lay
// there to lead the server astray or hold it up: links out of the file's folder, pipes, devices, folders. A file that is not there is
// [fs.ErrNotExist].
func (w Work) Open(path string) (*os.File, error) {
	if _, err := os.Lstat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil, err // the run ended before there was a checkout
	}
	if err := inside(filepath.Dir(path), filepath.Dir(w.Aux)); err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// A pipe without a writer would block for ever without O_NONBLOCK; a regular file does not care.
	f, err := dir.OpenFile(filepath.Base(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if there, e := dir.Lstat(filepath.Base(path)); e == nil && !there.Mode().IsRegular() {
			err = runs.Invalidf("", "The run left something else in the place of the file %s (%s).", filepath.Base(path), there.Mode())
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = runs.Invalidf("", "The run left a %s in the place of %s.", info.Mode().Type(), filepath.Base(path))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Access lists what the commands must be able to read, and what to write, besides Root and the system: the
// whole checkout among it, because root modules use others beside them.
func (w Work) Access() (readOnly, readWrite []string) {
	if w.Binary.Path != "" {
		readOnly = append(readOnly, w.Binary.Path)
		// Not for an empty path, which is said to be the folder “.”.
		if real, err := filepath.EvalSymlinks(w.Binary.Path); err == nil && real != w.Binary.Path {
			readOnly = append(readOnly, real)
		}
	}
	if w.Mirror != "" {
		readOnly = append(readOnly, w.Mirror)
	}
	if w.Made != nil {
		readOnly = append(readOnly, slices.Sorted(maps.Values(w.Made.Packages))...)
	}
	readWrite = []string{w.checkout(), w.Aux}
	if w.Mount != "" {
		readWrite = append(readWrite, w.Mount)
	}
	if w.Tmp != "" {
		readWrite = append(readWrite, w.Tmp)
	}
	return readOnly, readWrite
}

func (w Work) tmp() string {
	if w.Tmp != "" {
		return w.Tmp
	}
	return filepath.Join(w.Aux, tmpName)
}

// checkout is the folder beside Aux that Root is in, or Root itself where that cannot be said.
func (w Work) checkout() string {
	run := filepath.Dir(w.Aux)
	rel, err := filepath.Rel(run, w.Root)
	if err != nil || !filepath.IsLocal(rel) {
		return w.Root
	}
	first, _, _ := strings.Cut(rel, string(filepath.Separator))
	return filepath.Join(run, first)
}

// Prepare lays out what the commands need: Aux with its folders, the tool's configuration, and for managed
// state the state (nil = none yet) and the override that leads to it. It may be called again for the same
// folders. It refuses code that would undo the override, and a Root that leads out of the checkout.
func Prepare(w Work, state []byte) error {
	if err := os.MkdirAll(w.Aux, 0o700); err != nil {
		return err
	}
	if err := inside(w.Root, filepath.Dir(w.Aux)); err != nil {
		return err
	}
	// All writing goes through os.Root, because links in the checkout or left by a former attempt lead anywhere.
	root, err := os.OpenRoot(w.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	aux, err := os.OpenRoot(w.Aux)
	if err != nil {
		return err
	}
	defer aux.Close()
	if err := layOut(aux, w); err != nil {
		return err
	}
	// Committed providers and backend settings would be somebody else's; ours are in TF_DATA_DIR.
	if err := root.RemoveAll(".terraform"); err != nil {
		return err
	}
	if w.Managed || w.Stack.Tool != runs.Custom {
		if err := refuseState(root, filepath.Base(w.ErroredState())); err != nil { // it would be taken for one that the tool left
			return err
		}
	}
	if !w.Managed || w.Stack.Tool == runs.Custom {
		return placeState(aux, w, state)
	}
	if err := refuseOverrides(root); err != nil {
		return err
	}
	if err := refuseState(root, stateName); err != nil { // the tool would want to move it to its new place, or refuse to go on
		return err
	}
	at, err := w.statePath()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("# Written by Groundcrew: this stack's state is managed.\nterraform {\n  backend \"local\" {\n    path = %s\n  }\n}\n", quote(at))
	if err := replaceFile(root, overrideName, []byte(text)); err != nil {
		return err
	}
	return placeState(aux, w, state)
}

// statePath is where the code finds the managed state.
func (w Work) statePath() (string, error) { return w.fromRoot(w.StateFile()) }

// fromRoot is how the code gets to a file of the run: relative to Root, so that what the tools record of it is the same in
// every workspace; absolute where a link leads to Root, because then “..” leads elsewhere.
func (w Work) fromRoot(file string) (string, error) {
	run := filepath.Dir(w.Aux)
	realRun, err := filepath.EvalSymlinks(run)
	if err != nil {
		return "", err
	}
	realRoot, err := filepath.EvalSymlinks(w.Root)
	if err != nil {
		return "", err
	}
	named, err := filepath.Rel(run, w.Root)
	if err != nil {
		return "", err
	}
	if real, err := filepath.Rel(realRun, realRoot); err != nil || real != named {
		return file, nil
	}
	return filepath.Rel(w.Root, file)
}

// inside refuses a root that a link in the checkout leads out of the run's folder.
func inside(root, folder string) error {
	realRoot, err := filepath.EvalSymlinks(root)
	if errors.Is(err, fs.ErrNotExist) {
		return runs.Invalidf("project_root", "The commit has no folder “%s”. Correct the stack's project root, or add the folder.", filepath.Base(root))
	}
	if err != nil {
		return err
	}
	realFolder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(realFolder, realRoot)
	if err != nil || !filepath.IsLocal(rel) {
		return runs.Invalidf("project_root", "The project root is a link that leads out of the project. Use a real folder.")
	}
	return nil
}

func layOut(aux *os.Root, w Work) error {
	for _, dir := range []string{dataName, homeName, tmpName, binName} {
		if err := aux.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for _, old := range []string{planName, jsonName} {
		if err := aux.RemoveAll(old); err != nil {
			return err
		}
	}
	if w.Stack.Tool != runs.Custom {
		link := filepath.Join(binName, plainName(w.Binary.Tool))
		if err := errors.Join(aux.RemoveAll(link), aux.Symlink(w.Binary.Path, link)); err != nil {
			return err
		}
	}
	if w.CA != nil {
		if err := replaceFile(aux, caName, w.CA); err != nil {
			return err
		}
	}
	config, err := cliConfig(w)
	if err != nil {
		return err
	}
	return replaceFile(aux, configName, []byte(config))
}

func plainName(tool string) string {
	if tool == runs.Terraform {
		return "terraform"
	}
	return "tofu"
}

// refuseState refuses a state that the code brings.
func refuseState(root *os.Root, name string) error {
	if _, err := root.Lstat(name); err != nil {
		return nil // not there; what else hinders, the tool will say
	}
	return runs.Invalidf("state", "The code contains a %s, but this stack's state is managed by Groundcrew. Remove the file from the repository, or set the stack's state to “own backend”.", name)
}

func placeState(aux *os.Root, w Work, state []byte) error {
	if w.Managed && len(state) > 0 {
		return replaceFile(aux, stateName, state)
	}
	return aux.RemoveAll(stateName)
}

// replaceFile writes a new file, whatever was there under its name.
func replaceFile(dir *os.Root, name string, data []byte) error {
	if err := dir.RemoveAll(name); err != nil {
		return err
	}
	return dir.WriteFile(name, data, 0o600)
}

// cliConfig is the tool's own configuration: no calls home, and providers from the mirror if there is one.
// What is in the mirror is never looked for on the network, so that an air gap is no failure.
func cliConfig(w Work) (string, error) {
	text := "disable_checkpoint = true\n" + w.Config
	if w.Mirror == "" {
		return text, nil
	}
	text += "provider_installation {\n  filesystem_mirror {\n    path = " + quote(w.Mirror) + "\n  }\n"
	if !w.Sealed {
		mirrored, err := filepath.Glob(filepath.Join(w.Mirror, "*", "*", "*"))
		if err != nil {
			return "", err
		}
		text += "  direct {\n    exclude = ["
		for i, dir := range mirrored {
			name, err := filepath.Rel(w.Mirror, dir)
			if err != nil {
				return "", err
			}
			if i > 0 {
				text += ", "
			}
			text += quote(filepath.ToSlash(name))
		}
		text += "]\n  }\n"
	}
	return text + "}\n", nil
}

// quote writes a string of HCL.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "${", "$${", "%{", "%%{").Replace(s) + `"`
}

var overrideFile = regexp.MustCompile(`^(.+_)?override\.(tf|tofu)(\.json)?$`)

// refuseOverrides refuses committed override files that set a backend: the last one wins over ours.
func refuseOverrides(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == overrideName || !overrideFile.MatchString(name) {
			continue
		}
		if strings.HasPrefix(name, "groundcrew_override.") {
			return runs.Invalidf("state", "The code contains %s, a name that Groundcrew needs for itself. Rename the file.", name)
		}
		b, err := root.ReadFile(name)
		if err != nil {
			return runs.Invalidf("state", "The override file %s cannot be read: %v.", name, err)
		}
		if setsBackend(name, b) {
			return runs.Invalidf("state", "The override file %s sets a backend, but this stack's state is managed by Groundcrew. Remove the block from the file, or set the stack's state to “own backend”.", name)
		}
	}
	return nil
}

// path is the PATH of the commands: the chosen tool first.
func (w Work) path() string {
	system := w.Path
	if system == "" {
		system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return filepath.Join(w.Aux, binName) + ":" + system
}

// Env is the whole environment of the commands, built from nothing: what the tools need, facts about the run,
// the proxies, and the stack's variables, revealed. A variable that is given twice has its last value.
//
// Facts: GROUNDCREW_STACK, GROUNDCREW_RUN, GROUNDCREW_COMMIT, GROUNDCREW_BRANCH, GROUNDCREW_TOOL, GROUNDCREW_MOUNT (the folder of
// mounted files; TF_VAR_groundcrew_mount is the same for the code, relative and so equal in every run), and for
// custom tools and tasks GROUNDCREW_PLAN (where to save the plan), GROUNDCREW_PLAN_JSON (where its JSON goes)
// and, for managed state, GROUNDCREW_STATE (the state file, to be read and written in place).
func Env(w Work, vars []runs.Variable) []string {
	env := []string{
		"PATH=" + w.path(),
		"HOME=" + filepath.Join(w.Aux, homeName),
		"TMPDIR=" + w.tmp(),
		"LANG=C.UTF-8",
		"TF_IN_AUTOMATION=1",
		"TF_INPUT=0",
		"TF_DATA_DIR=" + filepath.Join(w.Aux, dataName),
		"TF_CLI_CONFIG_FILE=" + filepath.Join(w.Aux, configName),
		"CHECKPOINT_DISABLE=1",
		"GIT_CONFIG_NOSYSTEM=1", // modules are cloned; the machine's own settings are not the run's
		"GROUNDCREW_STACK=" + w.Stack.Slug,
		"GROUNDCREW_RUN=" + w.Run,
		"GROUNDCREW_COMMIT=" + w.Commit,
		"GROUNDCREW_BRANCH=" + w.Branch,
		"GROUNDCREW_TOOL=" + w.Stack.Tool,
		"GROUNDCREW_PLAN=" + w.PlanFile(),
		"GROUNDCREW_PLAN_JSON=" + w.PlanJSON(),
	}
	if w.Managed {
		env = append(env, "GROUNDCREW_STATE="+w.StateFile())
	}
	if w.Mount != "" {
		at, err := w.fromRoot(w.Mount)
		if err != nil {
			at = w.Mount // the tools say what is wrong with Root
		}
		env = append(env, "GROUNDCREW_MOUNT="+w.Mount, "TF_VAR_groundcrew_mount="+at)
	}
	if w.CA != nil {
		ca := filepath.Join(w.Aux, caName)
		env = append(env, "SSL_CERT_FILE="+ca, "GIT_SSL_CAINFO="+ca)
	}
	env = append(env, w.collector()...)
	env = append(env, w.Git...)
	env = append(env, w.Proxy...)
	for _, v := range vars {
		env = append(env, v.Name+"="+v.Value)
	}
	return lastOfEach(env)
}

// collector says to programs in Go how to collect garbage. The tools and their providers make 20 MB of small things as
// they start, and with Go's own setting spend a quarter of the processor's time on looking through them again and again.
// They may take half as much more for it, but not near the limit of the run: there they collect rather than be stopped.
func (w Work) collector() []string {
	env := []string{"GOGC=200"}
	if w.Memory > 0 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(w.Memory/4*3, 10))
	}
	return env
}

// lastOfEach keeps the last value of each name: what a program makes of two is its own choice.
func lastOfEach(env []string) []string {
	last := map[string]int{}
	name := func(kv string) string { n, _, _ := strings.Cut(kv, "="); return n }
	for i, kv := range env {
		last[name(kv)] = i
	}
	kept := slices.Clone(env[:0])
	for i, kv := range env {
		if last[name(kv)] == i {
			kept = append(kept, kv)
		}
	}
	return kept
}
