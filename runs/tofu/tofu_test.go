package tofu

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

// eachTool runs a test with every real tool on the PATH.
func eachTool(t *testing.T, test func(t *testing.T, b Binary)) {
	t.Helper()
	var p Prober
	bins, err := p.Probe(t.Context(), nil, os.Getenv("PATH"))
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	for _, b := range bins {
		if b.Problem != "" || ran[b.Tool] {
			continue
		}
		ran[b.Tool] = true
		t.Run(b.Tool, func(t *testing.T) { test(t, b) })
	}
	if len(ran) == 0 {
		t.Skip("neither tofu nor terraform is on the PATH")
	}
}

// newWork makes a run's folders with the given files in the root module.
func newWork(t *testing.T, b Binary, files map[string]string) Work {
	t.Helper()
	dir := t.TempDir()
	w := Work{
		Stack: runs.Stack{Slug: "net", Tool: b.Tool}, Binary: b, Managed: true,
		Root: filepath.Join(dir, "source", "infra"), Aux: filepath.Join(dir, "aux"), Run: "01RUN", Commit: "abc", Branch: "main",
	}
	write(t, w.Root, files)
	return w
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// perform runs the commands of a phase as package proc would and returns the log.
func perform(t *testing.T, w Work, phase runs.Phase, vars ...runs.Variable) (log []byte, ok bool) {
	t.Helper()
	commands, err := Commands(w, phase)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, c := range commands {
		cmd := exec.CommandContext(t.Context(), c.Args[0], c.Args[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.Root, Env(w, vars), &out, &out
		if c.Stdout != "" {
			f, err := os.Create(c.Stdout)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd.Stdout = f
		}
		if err := cmd.Run(); err != nil {
			return out.Bytes(), false
		}
	}
	return out.Bytes(), true
}

func mustPerform(t *testing.T, w Work, phase runs.Phase, vars ...runs.Variable) []byte {
	t.Helper()
	log, ok := perform(t, w, phase, vars...)
	if !ok {
		t.Fatalf("%s failed:\n%s", phase, log)
	}
	return log
}

func mustPrepare(t *testing.T, w Work, state []byte) {
	t.Helper()
	if err := Prepare(w, state); err != nil {
		t.Fatal(err)
	}
}

func planOf(t *testing.T, w Work) (runs.Changes, runs.Delta) {
	t.Helper()
	c, d, err := ReadPlan(bytes.NewReader(read(t, w.PlanJSON())))
	if err != nil {
		t.Fatal(err)
	}
	return c, d
}

const oneResource = `
variable "size" { default = 1 }
resource "terraform_data" "x" { input = var.size }
output "size" { value = terraform_data.x.output }
`

// A whole life of a managed stack: planned, applied, its state carried to the next run's folder, changed, used
// by a task, destroyed.
func TestLife(t *testing.T) {
	eachTool(t, func(t *testing.T, b Binary) {
		w := newWork(t, b, map[string]string{"main.tf": oneResource})
		mustPrepare(t, w, nil)
		log := mustPerform(t, w, runs.PhasePlan)
		if !bytes.Contains(log, []byte("\x1b[")) {
			t.Errorf("the log has no colours:\n%s", log)
		}
		if _, d := planOf(t, w); d != (runs.Delta{Add: 1, Outputs: 1}) {
			t.Errorf("delta %+v", d)
		}
		if _, err := os.Stat(w.StateFile()); err == nil {
			t.Error("a plan made a state")
		}
		mustPerform(t, w, runs.PhaseApply)
		state := read(t, w.StateFile())
		info, err := ReadState(state)
		if err != nil {
			t.Fatal(err)
		}
		if info.Resources != 1 || info.Outputs["size"].Value != "1" || info.Version != 4 || info.Lineage == "" || info.TerraformVersion != b.Version {
			t.Errorf("state %+v", info)
		}

		next := newWork(t, b, map[string]string{"main.tf": oneResource})
		mustPrepare(t, next, state)
		mustPerform(t, next, runs.PhasePlan)
		if _, d := planOf(t, next); !d.Empty() {
			t.Errorf("second plan: %+v", d)
		}
		size := runs.Variable{Name: "TF_VAR_size", Value: "2"}
		mustPerform(t, next, runs.PhasePlan, size)
		if c, d := planOf(t, next); d != (runs.Delta{Change: 1, Outputs: 1}) || c.Resources[0].Attributes[0].Before != "1" {
			t.Errorf("changed plan: %+v %+v", d, c)
		}

		next.Command = plainName(b.Tool) + " state list; echo on $GROUNDCREW_BRANCH; false; echo not here"
		log, ok := perform(t, next, runs.PhasePerform)
		if ok || !strings.HasSuffix(string(log), "terraform_data.x\non main\n") {
			t.Errorf("task: %v\n%s", ok, log)
		}

		mustPerform(t, next, runs.PhaseDestroy)
		if info, err := ReadState(read(t, next.StateFile())); err != nil || info.Resources != 0 || info.Serial == 0 {
			t.Errorf("destroyed: %+v, %v", info, err)
		}
	})
}

// Whatever backend the code has, managed state wins.
func TestManagedStateWins(t *testing.T) {
	for name, backend := range map[string]string{
		"s3":           `terraform { backend "s3" { ` + "\n" + `bucket = "b"` + "\n" + `key = "k"` + "\n" + `region = "eu-west-1"` + "\n}\n}",
		"http":         "terraform {\n backend \"http\" {\n address = \"http://127.0.0.1:1\"\n}\n}",
		"local":        "terraform {\n backend \"local\" {\n path = \"elsewhere.tfstate\"\n}\n}",
		"cloud":        "terraform {\n cloud {\n organization = \"o\"\n workspaces {\n name = \"w\"\n}\n}\n}",
		"none at all":  "",
		"old override": "",
	} {
		t.Run(name, func(t *testing.T) {
			eachTool(t, func(t *testing.T, b Binary) {
				w := newWork(t, b, map[string]string{"main.tf": oneResource, "backend.tf": strings.ReplaceAll(backend, "{ backend", "{\nbackend")})
				if name == "old override" {
					write(t, w.Root, map[string]string{overrideName: "broken {"})
				}
				write(t, filepath.Join(w.Root, ".terraform"), map[string]string{"terraform.tfstate": "{}", "environment": "other"})
				mustPrepare(t, w, nil)
				mustPerform(t, w, runs.PhasePlan)
				mustPerform(t, w, runs.PhaseApply)
				if info, err := ReadState(read(t, w.StateFile())); err != nil || info.Resources != 1 {
					t.Errorf("state %+v, %v", info, err)
				}
				if _, err := os.Stat(filepath.Join(w.Root, ".terraform")); err == nil {
					t.Error("the committed .terraform is still there")
				}
			})
		})
	}
}

func TestOwnBackendIsLeftAlone(t *testing.T) {
	eachTool(t, func(t *testing.T, b Binary) {
		w := newWork(t, b, map[string]string{"main.tf": oneResource, "b_override.tf": "terraform {\nbackend \"local\" {\npath = \"own.tfstate\"\n}\n}"})
		w.Managed, w.Speculative = false, true
		mustPrepare(t, w, nil)
		mustPerform(t, w, runs.PhasePlan)
		mustPerform(t, w, runs.PhaseApply)
		if info, err := ReadState(read(t, filepath.Join(w.Root, "own.tfstate"))); err != nil || info.Resources != 1 {
			t.Errorf("state %+v, %v", info, err)
		}
		if _, err := os.Stat(w.StateFile()); err == nil {
			t.Error("there is a managed state")
		}
	})
}

func TestFirstErrorOfRealTools(t *testing.T) {
	for name, tt := range map[string]struct{ code, want string }{
		"argument": {"resource \"terraform_data\" \"x\" {\n  inptu = 1\n}", `Error: Unsupported argument (on main.tf line 2, in resource "terraform_data" "x")`},
		"syntax":   {"resource \"terraform_data\" {\n", `Error: Unclosed configuration block (on main.tf line 1, in resource "terraform_data")`},
		"apply":    {"resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"echo Error; exit 3\"\n  }\n}", `Error: local-exec provisioner error (on main.tf line 2, in resource "terraform_data" "x")`},
		"two":      {"output \"a\" {\n  value = var.none\n}\noutput \"b\" {\n  value = var.none\n}", `Error: Reference to undeclared input variable (on main.tf line 2, in output "a")`},
		"provider": {"terraform {\n  required_providers {\n    x = {\n      source = \"127.0.0.1:1/a/x\"\n    }\n  }\n}", `Error: `},
		"none":     {"output \"fine\" {\n  value = \"Error: not one\"\n}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			eachTool(t, func(t *testing.T, b Binary) {
				w := newWork(t, b, map[string]string{"main.tf": tt.code})
				mustPrepare(t, w, nil)
				log, ok := perform(t, w, runs.PhasePlan)
				if ok && name == "apply" {
					log, ok = perform(t, w, runs.PhaseApply)
				}
				got := FirstError(log)
				if ok != (tt.want == "") || !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
					t.Errorf("FirstError = %q, want %q, ended well %v, in:\n%s", got, tt.want, ok, log)
				}
			})
		})
	}
}

func TestFirstError(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"all is well\nNo Error: here":   "",
		"Error: plain":                  "Error: plain",
		"\x1b[31mError: \x1b[0mred\r\n": "Error: red",
		"│ Error: boxed\n│ \n│ details\n╵\n│   on a.tf line 9, in x:\n": "Error: boxed",
		"Error: one\nError: two\n  on a.tf line 1:\n":                   "Error: one",
		"Error: one\n\n  with a.b,\n  on dir/a.tf line 12:\n  12: x\n":  "Error: one (on dir/a.tf line 12)",
		"Error: " + strings.Repeat("ü", 600):                            "Error: " + strings.Repeat("ü", 492) + "…",
		"\x1b]8;;http://x\x07Error: linked\x1b]8;;\x07 \xff\n":          "Error: linked ?",
	} {
		if got := FirstError([]byte(in)); got != want {
			t.Errorf("FirstError(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	backend := "terraform {\n  backend \"s3\" {}\n}"
	for name, files := range map[string]map[string]string{
		"override":          {"override.tf": backend},
		"later override":    {"zz_override.tf": backend},
		"tofu override":     {"zz_override.tofu": backend},
		"cloud":             {"a_override.tf": "terraform {\n  cloud {\n  }\n}"},
		"bare label":        {"a_override.tf": "terraform {\n  backend s3 {\n  }\n}"},
		"behind comments":   {"a_override.tf": "# x\n/* y */ terraform {\n /* z */ backend /* \" */ \"s3\" { // q\n}\n}"},
		"after strings":     {"a_override.tf": "locals {\n a = \"# ${\"}\"} /*\"\n b = <<EOT\n \" /* \nEOT\n}\n" + backend},
		"json":              {"a_override.tf.json": `{"terraform":{"backend":{"s3":{}}}}`},
		"json list":         {"override.tofu.json": `{"terraform":[{},{"cloud":{}}]}`},
		"our own name":      {"groundcrew_override.tofu": "locals {}"},
		"our own json name": {"groundcrew_override.tf.json": "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWork(t, Binary{Tool: runs.OpenTofu, Path: "/bin/true"}, files)
			err := Prepare(w, nil)
			for file := range files {
				if err == nil || !strings.Contains(err.Error(), file) {
					t.Errorf("%s: %v", file, err)
				}
			}
		})
	}
}

func TestHarmlessOverrides(t *testing.T) {
	for name, text := range map[string]string{
		"a_override.tf":      "# backend \"s3\" {\nlocals {\n a = \"\n\" \n b = <<-X\n  backend \"s3\" {\n  X\n backend = { a = 1 }\n}",
		"override.tf":        "resource \"x\" \"backend\" {\n backends {\n }\n}",
		"b_override.tf.json": `{"terraform":{"required_version":">= 1"}}`,
		"overrides.tf":       "terraform {\n  backend \"s3\" {}\n}",
		"c_override.tf.json": `broken`,
	} {
		w := newWork(t, Binary{Tool: runs.OpenTofu, Path: "/bin/true"}, map[string]string{name: text})
		if err := Prepare(w, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Links in the checkout lead nowhere: S26.
func TestPrepareFollowsNoLinks(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "groundcrew.db")
	write(t, outside, map[string]string{"groundcrew.db": "precious", "other_override.tf": "terraform {\n backend \"s3\" {\n}\n}"})
	b := Binary{Tool: runs.OpenTofu, Path: "/bin/true"}

	w := newWork(t, b, nil)
	for name, to := range map[string]string{overrideName: victim, ".terraform": outside} {
		if err := os.Symlink(to, filepath.Join(w.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	mustPrepare(t, w, []byte("state"))
	if got := string(read(t, victim)); got != "precious" {
		t.Errorf("outside: %q", got)
	}

	w = newWork(t, b, nil)
	if err := os.Symlink(filepath.Join(outside, "other_override.tf"), filepath.Join(w.Root, "x_override.tf")); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(w, nil); err == nil || !strings.Contains(err.Error(), "x_override.tf cannot be read") {
		t.Errorf("an override that is a link: %v", err)
	}

	w = newWork(t, b, nil)
	if err := os.Symlink(outside, filepath.Join(w.Root, "sub")); err != nil {
		t.Fatal(err)
	}
	w.Root = filepath.Join(w.Root, "sub")
	if err := Prepare(w, nil); err == nil || !strings.Contains(err.Error(), "leads out of the project") {
		t.Errorf("a root that is a link: %v", err)
	}
	w.Root = filepath.Join(filepath.Dir(w.Root), "missing")
	if err := Prepare(w, nil); err == nil || !strings.Contains(err.Error(), "no folder “missing”") {
		t.Errorf("a root that is not there: %v", err)
	}

	// What a former attempt left in Aux is replaced, not followed.
	w = newWork(t, b, nil)
	mustPrepare(t, w, []byte("state"))
	for _, name := range []string{stateName, configName, planName} {
		_ = os.Remove(filepath.Join(w.Aux, name))
		if err := os.Symlink(victim, filepath.Join(w.Aux, name)); err != nil {
			t.Fatal(err)
		}
	}
	mustPrepare(t, w, []byte("state again"))
	if got := string(read(t, victim)); got != "precious" {
		t.Errorf("outside: %q", got)
	}
	if got := string(read(t, w.StateFile())); got != "state again" {
		t.Errorf("state: %q", got)
	}
}

func TestCLIConfig(t *testing.T) {
	mirror := t.TempDir()
	if err := os.MkdirAll(filepath.Join(mirror, "registry.terraform.io", "hashicorp", "time", "0.14.2"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		w    Work
		want string
	}{
		"none":   {Work{}, "disable_checkpoint = true\n"},
		"mirror": {Work{Mirror: mirror}, "disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = \"" + mirror + "\"\n  }\n  direct {\n    exclude = [\"registry.terraform.io/hashicorp/time\"]\n  }\n}\n"},
		"sealed": {Work{Mirror: mirror, Sealed: true}, "disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = \"" + mirror + "\"\n  }\n}\n"},
		"quoted": {Work{Mirror: `/a"b${c}\`, Sealed: true}, "disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = \"/a\\\"b$${c}\\\\\"\n  }\n}\n"},
	} {
		got, err := cliConfig(tt.w)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The real tools understand the configuration, and a sealed mirror keeps them off the network.
func TestSealedMirror(t *testing.T) {
	eachTool(t, func(t *testing.T, b Binary) {
		w := newWork(t, b, map[string]string{"main.tf": "terraform {\n required_providers {\n x = {\n source = \"example.invalid/a/x\"\n}\n}\n}"})
		w.Mirror, w.Sealed = t.TempDir(), true
		mustPrepare(t, w, nil)
		log, ok := perform(t, w, runs.PhasePlan)
		if ok || !strings.Contains(string(log), "was not found in any of") || strings.Contains(string(log), "no such host") {
			t.Errorf("ok %v\n%s", ok, log)
		}
	})
}

func TestCommands(t *testing.T) {
	w := Work{Binary: Binary{Tool: runs.Terraform, Path: "/t"}, Root: "/r", Aux: "/a", Command: "do it"}
	custom := runs.Commands{Plan: "p", Apply: "a"}
	all := runs.Commands{Init: "i", Plan: "p", Show: "s", Apply: "a", Destroy: "d"}
	sh := func(name string, state runs.State, script, stdout string) Command {
		return Command{Name: name, Phase: state, Args: []string{"/bin/sh", "-ec", script}, Stdout: stdout}
	}
	first := Command{Name: "init", Phase: runs.Initializing, Args: []string{"/t", "init", "-input=false"}}
	for name, tt := range map[string]struct {
		change func(*Work)
		phase  runs.Phase
		want   []Command
		err    string
	}{
		"plan": {nil, runs.PhasePlan, []Command{
			first,
			{Name: "plan", Phase: runs.Planning, Args: []string{"/t", "plan", "-input=false", lockTimeout, "-out=/a/tfplan"}},
			{Name: "show", Phase: runs.Planning, Args: []string{"/t", "show", "-json", "/a/tfplan"}, Stdout: "/a/plan.json"},
		}, ""},
		"speculative": {func(w *Work) { w.Speculative = true }, runs.PhasePlan, []Command{
			first,
			{Name: "plan", Phase: runs.Planning, Args: []string{"/t", "plan", "-input=false", "-lock=false", "-out=/a/tfplan"}},
			{Name: "show", Phase: runs.Planning, Args: []string{"/t", "show", "-json", "/a/tfplan"}, Stdout: "/a/plan.json"},
		}, ""},
		"apply":   {nil, runs.PhaseApply, []Command{{Name: "apply", Phase: runs.Applying, Args: []string{"/t", "apply", "-input=false", lockTimeout, "/a/tfplan"}, Dump: true}}, ""},
		"destroy": {nil, runs.PhaseDestroy, []Command{first, {Name: "destroy", Phase: runs.Destroying, Args: []string{"/t", "destroy", "-input=false", lockTimeout, "-auto-approve"}, Dump: true}}, ""},
		"perform": {nil, runs.PhasePerform, []Command{first, sh("task", runs.Performing, "do it", "")}, ""},
		"no task": {func(w *Work) { w.Command = "" }, runs.PhasePerform, nil, "no command"},
		"no tool": {func(w *Work) { w.Binary.Path = "" }, runs.PhasePlan, nil, "No tool was chosen"},
		"unknown": {nil, "dance", nil, "no phase “dance”"},

		"custom plan":       {func(w *Work) { w.Stack.Tool, w.Stack.Commands = runs.Custom, custom }, runs.PhasePlan, []Command{sh("plan", runs.Planning, "p", "")}, ""},
		"custom plan, all":  {func(w *Work) { w.Stack.Tool, w.Stack.Commands = runs.Custom, all }, runs.PhasePlan, []Command{sh("init", runs.Initializing, "i", ""), sh("plan", runs.Planning, "p", ""), sh("show", runs.Planning, "s", "/a/plan.json")}, ""},
		"custom apply":      {func(w *Work) { w.Stack.Tool, w.Stack.Commands = runs.Custom, all }, runs.PhaseApply, []Command{sh("apply", runs.Applying, "a", "")}, ""},
		"custom destroy":    {func(w *Work) { w.Stack.Tool, w.Stack.Commands = runs.Custom, all }, runs.PhaseDestroy, []Command{sh("init", runs.Initializing, "i", ""), sh("destroy", runs.Destroying, "d", "")}, ""},
		"custom no destroy": {func(w *Work) { w.Stack.Tool, w.Stack.Commands = runs.Custom, custom }, runs.PhaseDestroy, nil, "no command for destroy"},
		"custom perform":    {func(w *Work) { w.Stack.Tool, w.Stack.Commands = runs.Custom, custom }, runs.PhasePerform, []Command{sh("task", runs.Performing, "do it", "")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := w
			if tt.change != nil {
				tt.change(&w)
			}
			got, err := Commands(w, tt.phase)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCustomTool(t *testing.T) {
	w := newWork(t, Binary{}, nil)
	w.Stack.Tool = runs.Custom
	w.Stack.Commands = runs.Commands{
		Plan:  `echo "plan of $GROUNDCREW_STACK" > "$GROUNDCREW_PLAN"`,
		Show:  `echo '{"format_version":"1.2"}'`,
		Apply: `cat "$GROUNDCREW_STATE" "$GROUNDCREW_PLAN" > new; mv new "$GROUNDCREW_STATE"`,
	}
	mustPrepare(t, w, []byte("old state\n"))
	mustPerform(t, w, runs.PhasePlan)
	if _, d := planOf(t, w); !d.Empty() {
		t.Errorf("delta %+v", d)
	}
	mustPerform(t, w, runs.PhaseApply)
	if got := string(read(t, w.StateFile())); got != "old state\nplan of net\n" {
		t.Errorf("state %q", got)
	}
	if _, err := os.Stat(filepath.Join(w.Root, overrideName)); err == nil {
		t.Error("a custom tool got an override file")
	}
}

func TestEnv(t *testing.T) {
	t.Setenv("SERVER_SECRET", "x")
	w := Work{Stack: runs.Stack{Slug: "net", Tool: runs.OpenTofu}, Aux: "/a", Managed: true, Run: "R", Commit: "C", Branch: "B", Path: "/p", Proxy: []string{"HTTPS_PROXY=http://proxy"}, Memory: 4 << 30}
	got := Env(w, []runs.Variable{{Name: "A", Value: "1"}, {Name: "LANG", Value: "de"}, {Name: "A", Value: "2=3"}})
	want := []string{
		"PATH=/a/bin:/p", "HOME=/a/home", "TMPDIR=/a/tmp", "TF_IN_AUTOMATION=1", "TF_INPUT=0", "TF_DATA_DIR=/a/data",
		"TF_CLI_CONFIG_FILE=/a/cli.tfrc", "CHECKPOINT_DISABLE=1", "GIT_CONFIG_NOSYSTEM=1", "GROUNDCREW_STACK=net", "GROUNDCREW_RUN=R", "GROUNDCREW_COMMIT=C",
		"GROUNDCREW_BRANCH=B", "GROUNDCREW_TOOL=opentofu", "GROUNDCREW_PLAN=/a/tfplan", "GROUNDCREW_PLAN_JSON=/a/plan.json",
		"GROUNDCREW_STATE=/a/terraform.tfstate", "GOGC=200", "GOMEMLIMIT=3221225472", "HTTPS_PROXY=http://proxy", "LANG=de", "A=2=3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
