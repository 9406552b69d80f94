package tofu

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
)

// A kitchen is a workspace whose recipe is asked for after each change.
type kitchen struct {
	t    *testing.T
	w    Work
	vars []runs.Variable
}

const needs = "terraform {\n  required_providers {\n    time = { source = \"hashicorp/time\", version = \"~> 0.14\" }\n  }\n}\n"

func newKitchen(t *testing.T) *kitchen {
	dir := t.TempDir()
	tool := filepath.Join(dir, "terraform")
	write(t, dir, map[string]string{"terraform": "the tool"})
	k := &kitchen{t: t, w: newWork(t, Binary{Tool: runs.Terraform, Version: "1.11.4", Path: tool}, map[string]string{
		"main.tf":             needs + "resource \"time_sleep\" \"a\" {}\nmodule \"net\" {\n  source = \"../net\"\n  size = 1\n}\n",
		".terraform.lock.hcl": "provider \"registry.terraform.io/hashicorp/time\" {\n  version = \"0.14.2\"\n}\n",
	})}
	k.w.Stack.Tool, k.w.Mirror, k.w.Sealed = runs.Terraform, filepath.Join(dir, "mirror"), true
	write(t, k.w.Mirror, map[string]string{"a.zip": "a"})
	write(t, filepath.Join(k.w.Root, "..", "net"), map[string]string{"net.tf": "variable \"size\" {}\n"})
	if err := os.MkdirAll(k.w.Aux, 0o700); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kitchen) code(files map[string]string) { write(k.t, k.w.Root, files) }

// What init reads decides, and nothing else: each change is made to the same code, and either keeps the recipe, or gives
// another one, or leaves none.
func TestRecipe(t *testing.T) {
	const same, other = "same", "other"
	main := needs + "resource \"time_sleep\" \"a\" {}\nmodule \"net\" {\n  source = \"../net\"\n  size = 1\n}\n"
	for name, tt := range map[string]struct {
		change func(k *kitchen)
		want   string // same, other, or words of why there is none
	}{
		"nothing":     {func(*kitchen) {}, same},
		"another run": {func(k *kitchen) { k.w.Run, k.w.Commit, k.w.Branch, k.w.Speculative = "02", "def", "topic", true }, same},
		"a resource's arguments": {func(k *kitchen) {
			k.code(map[string]string{"main.tf": strings.Replace(main, "\"a\" {}", "\"b\" { create_duration = \"1s\" }", 1)})
		}, same},
		"one more of the same type": {func(k *kitchen) { k.code(map[string]string{"more.tf": "resource \"time_sleep\" \"c\" {}\n"}) }, same},
		"variables, locals, outputs": {func(k *kitchen) {
			k.code(map[string]string{"v.tf": "variable \"x\" {}\nlocals {\n a = 1\n}\noutput \"o\" {\n value = 1\n}\n"})
		}, same},
		"arguments of a module": {func(k *kitchen) {
			k.code(map[string]string{"main.tf": strings.Replace(main, "size = 1", "size = 2", 1)})
		}, same},
		"values of variables": {func(k *kitchen) { k.code(map[string]string{"x.auto.tfvars": "x = 1\n"}) }, same},
		"a variable of the code": {func(k *kitchen) {
			k.vars = []runs.Variable{{Name: "TF_VAR_x", Value: "1"}, {Name: "AWS_REGION", Value: "x"}}
		}, same},
		"arguments of plan":          {func(k *kitchen) { k.vars = []runs.Variable{{Name: "TF_CLI_ARGS_plan", Value: "-parallelism=3"}} }, same},
		"what is beside the code":    {func(k *kitchen) { k.code(map[string]string{"README.md": "x", "files.json": "{}"}) }, same},
		"another stack":              {func(k *kitchen) { k.w.Stack.Slug = "other" }, other},
		"the lock file":              {func(k *kitchen) { k.code(map[string]string{".terraform.lock.hcl": "# changed\n"}) }, other},
		"the lock file goes":         {func(k *kitchen) { os.Remove(filepath.Join(k.w.Root, ".terraform.lock.hcl")) }, other},
		"a provider's constraint":    {func(k *kitchen) { k.code(map[string]string{"main.tf": strings.Replace(main, "~> 0.14", "~> 0.13", 1)}) }, other},
		"a constraint in the module": {func(k *kitchen) { write(k.t, filepath.Join(k.w.Root, "..", "net"), map[string]string{"net.tf": needs}) }, other},
		"another type of resource":   {func(k *kitchen) { k.code(map[string]string{"more.tf": "resource \"random_id\" \"c\" {}\n"}) }, other},
		"another provider's": {func(k *kitchen) {
			k.code(map[string]string{"more.tf": "resource \"time_sleep\" \"c\" {\n  provider = other\n}\n"})
		}, other},
		"a type goes": {func(k *kitchen) { k.code(map[string]string{"main.tf": needs}) }, other},
		"an import": {func(k *kitchen) {
			k.code(map[string]string{"i.tf": "import {\n  to = time_sleep.a\n  id = \"x\"\n}\n"})
		}, other},
		"a block nobody knows":  {func(k *kitchen) { k.code(map[string]string{"i.tf": "future \"x\" {}\n"}) }, other},
		"one more module":       {func(k *kitchen) { k.code(map[string]string{"m.tf": "module \"b\" {\n  source = \"../net\"\n}\n"}) }, other},
		"a module's source":     {func(k *kitchen) { k.code(map[string]string{"main.tf": strings.Replace(main, "../net", "./net", 1)}) }, other},
		"a backend in the code": {func(k *kitchen) { k.code(map[string]string{"b.tf": "terraform {\n  backend \"s3\" {}\n}\n"}) }, other},
		"an override": {func(k *kitchen) {
			k.code(map[string]string{"x_override.tf": "resource \"time_sleep\" \"a\" {\n  provider = x\n}\n"})
		}, other},
		"code in JSON":       {func(k *kitchen) { k.code(map[string]string{"x.tf.json": "{\"locals\":{}}"}) }, other},
		"the tool's version": {func(k *kitchen) { k.w.Binary.Version = "1.11.5" }, other},
		"the tool's binary": {func(k *kitchen) {
			write(k.t, filepath.Dir(k.w.Binary.Path), map[string]string{"terraform": "another tool"})
		}, other},
		"a package in the mirror": {func(k *kitchen) { write(k.t, k.w.Mirror, map[string]string{"b.zip": "b"}) }, other},
		"a package newly written": {func(k *kitchen) { k.aged("a.zip") }, other},
		"no mirror":               {func(k *kitchen) { k.w.Mirror = "" }, other},
		"the root":                {func(k *kitchen) { os.Rename(k.w.Root, k.w.Root+"2"); k.w.Root += "2" }, other},
		"its own backend":         {func(k *kitchen) { k.w.Managed = false }, "own backend"},
		"a custom tool":           {func(k *kitchen) { k.w.Stack.Tool = runs.Custom }, "custom tool"},
		"arguments of init":       {func(k *kitchen) { k.vars = []runs.Variable{{Name: "TF_CLI_ARGS_init", Value: "-upgrade"}} }, "TF_CLI_ARGS_init"},
		"arguments of all":        {func(k *kitchen) { k.vars = []runs.Variable{{Name: "TF_CLI_ARGS", Value: "-x"}} }, "TF_CLI_ARGS"},
		"a plugin setting":        {func(k *kitchen) { k.vars = []runs.Variable{{Name: "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"}} }, "TF_PLUGIN"},
		"a module from a registry": {func(k *kitchen) {
			k.code(map[string]string{"m.tf": "module \"b\" {\n  source = \"a/b/c\"\n  version = \"1.0.0\"\n}\n"})
		}, "comes from elsewhere"},
		"a module by a variable": {func(k *kitchen) { k.code(map[string]string{"m.tf": "module \"b\" {\n  source = \"./${var.x}\"\n}\n"}) }, "comes from elsewhere"},
		"a module in JSON":       {func(k *kitchen) { k.code(map[string]string{"m.tf.json": "{\"module\":{\"b\":{\"source\":\"x\"}}}"}) }, "modules in JSON"},
		"code nobody can read":   {func(k *kitchen) { k.code(map[string]string{"m.tf": "module {{{"}) }, "can't be understood"},
		"a module out of the checkout": {func(k *kitchen) {
			k.code(map[string]string{"m.tf": "module \"b\" {\n  source = \"../../../etc\"\n}\n"})
		}, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKitchen(t)
			before, err := Recipe(k.w, k.vars)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(k)
			after, err := Recipe(k.w, k.vars)
			switch {
			case tt.want == same && (err != nil || after != before):
				t.Errorf("it is another one: %v", err)
			case tt.want == other && (err != nil || after == before):
				t.Errorf("it is the same, or none: %v", err)
			case tt.want != same && tt.want != other && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// aged gives a file of the mirror another time.
func (k *kitchen) aged(name string) {
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(k.w.Mirror, name), then, then); err != nil {
		k.t.Fatal(err)
	}
}

// What init makes is laid out in another workspace, where the tool plans the same without an init; and what fits no more
// is said in words that lead to one.
func TestMadeIsLaidOut(t *testing.T) {
	eachTool(t, func(t *testing.T, b Binary) {
		code := map[string]string{"main.tf": oneResource + "module \"m\" {\n  source = \"./m\"\n}\n"}
		make := func() Work {
			w := newWork(t, b, code)
			write(t, filepath.Join(w.Root, "m"), map[string]string{"m.tf": "output \"x\" {\n  value = 1\n}\n"})
			if err := Prepare(w, nil); err != nil {
				t.Fatal(err)
			}
			return w
		}
		cold, warm := make(), make()
		if log, ok := perform(t, cold, runs.PhasePlan); !ok {
			t.Fatalf("%s", log)
		}
		copied := t.TempDir()
		if err := os.Rename(filepath.Join(cold.Aux, dataName), filepath.Join(copied, dataName)); err != nil {
			t.Fatal(err)
		}
		made, err := ReadMade(cold, copied, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(made.Files) != 2 || made.Lock != nil || len(made.Packages) != 0 {
			t.Errorf("made %v", maps.Collect(maps.All(made.Files)))
		}
		if err := made.LayOut(warm); err != nil {
			t.Fatal(err)
		}
		warm.Made = &made
		if log, ok := perform(t, warm, runs.PhasePlan); !ok || strings.Contains(string(log), "Initializing") {
			t.Errorf("%s", log)
		}
		write(t, warm.Root, map[string]string{"more.tf": "module \"n\" {\n  source = \"./m\"\n}\n"})
		if log, ok := perform(t, warm, runs.PhasePlan); ok || !SaysInit(log) {
			t.Errorf("ok %v\n%s", ok, log)
		}
	})
}

// What is not known to be the same wherever init is run is not kept.
func TestReadMadeRefuses(t *testing.T) {
	backend := func(w Work) string {
		at, err := w.statePath()
		if err != nil {
			t.Fatal(err)
		}
		return `{"backend":{"type":"local","config":{"path":"` + at + `"}}}`
	}
	const lock = "provider \"registry.terraform.io/hashicorp/time\" {\n  version = \"0.14.2\"\n}\n"
	const at = "providers/registry.terraform.io/hashicorp/time/0.14.2/linux_amd64"
	for name, tt := range map[string]struct {
		lay  func(w *Work, dir string)
		lock string
		want string // "" = it is kept
	}{
		"what it usually makes": {func(*Work, string) {}, "", ""},
		"another backend":       {func(_ *Work, d string) { write(t, d, map[string]string{backendName: `{"backend":{"type":"s3"}}`}) }, "", "another backend"},
		"another place of the state": {func(_ *Work, d string) {
			write(t, d, map[string]string{backendName: `{"backend":{"type":"local","config":{"path":"/x"}}}`})
		}, "", "another backend"},
		"a fetched module": {func(_ *Work, d string) {
			write(t, filepath.Join(d, "modules"), map[string]string{"modules.json": `{"Modules":[{"Key":"m","Source":"git::x","Dir":"m"}]}`})
		}, "", "comes from elsewhere"},
		"something else":           {func(_ *Work, d string) { write(t, d, map[string]string{"environment": "x"}) }, "", "not known here"},
		"a link out":               {func(w *Work, d string) { w.Mirror = "/mirror"; link(t, "/etc", filepath.Join(d, at)) }, lock, "out of the mirror"},
		"a link into the mirror":   {func(w *Work, d string) { w.Mirror = "/mirror"; link(t, "/mirror/x", filepath.Join(d, at)) }, "", ""},
		"a package that is locked": {func(_ *Work, d string) { write(t, filepath.Join(d, at), map[string]string{"p": "x"}) }, lock, ""},
		"the empty lock of an installer": {func(_ *Work, d string) {
			write(t, filepath.Join(d, at), map[string]string{"p": "x"})
			write(t, filepath.Dir(filepath.Join(d, at)), map[string]string{"linux_amd64.lock": ""})
		}, lock, ""},
		"a lock that holds something": {func(_ *Work, d string) {
			write(t, filepath.Dir(filepath.Join(d, at)), map[string]string{"linux_amd64.lock": "x"})
		}, "", "not known here"},
		"a package that nobody locked": {func(_ *Work, d string) { write(t, filepath.Join(d, at), map[string]string{"p": "x"}) }, "", "does not hold the version"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWork(t, Binary{}, nil)
			if err := os.MkdirAll(w.Aux, 0o700); err != nil {
				t.Fatal(err)
			}
			copied := t.TempDir()
			data := filepath.Join(copied, dataName)
			write(t, data, map[string]string{backendName: backend(w)})
			write(t, copied, map[string]string{lockName: lock})
			tt.lay(&w, data)
			_, err := ReadMade(w, copied, []byte(tt.lock))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// A state whose providers are not all there is not covered: init would get them.
func TestMadeCovers(t *testing.T) {
	m := Made{Packages: map[string]string{"providers/registry.terraform.io/hashicorp/time/0.14.2/linux_amd64": "/x"}}
	resource := func(p string) string {
		return `{"version":4,"resources":[{"provider":"provider[\"` + p + `\"]"}]}`
	}
	for state, want := range map[string]bool{
		"":              true,
		`{"version":4}`: true,
		resource("terraform.io/builtin/terraform"):         true,
		resource("registry.terraform.io/hashicorp/time"):   true,
		resource("registry.terraform.io/hashicorp/timer"):  false,
		resource("registry.terraform.io/hashicorp/random"): false,
		`{"version":4,"resources":[{"provider":"x"}]}`:     false,
		`{"version":5}`: false,
		`no state`:      false,
	} {
		if got := m.Covers([]byte(state)); got != want {
			t.Errorf("%s: %v", state, got)
		}
	}
}
