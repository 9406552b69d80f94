package runs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-cmp/cmp"
)

func glob(pattern, file string) bool { return doublestar.MatchUnvalidated(pattern, file) }

func TestConcerns(t *testing.T) {
	for _, tc := range []struct {
		name  string
		root  string
		globs []string
		files []string
		want  bool
	}{
		{"under the root", "infra", nil, []string{"infra/main.tf"}, true},
		{"deep under the root", "infra", nil, []string{"infra/a/b/c.tf"}, true},
		{"only at a path boundary", "infra", nil, []string{"infrastructure/x"}, false},
		{"not the same name elsewhere", "infra", nil, []string{"modules/infra/x.tf"}, false},
		{"not a name with the root as its beginning", "infra", nil, []string{"infra.tf", "infra-old/x.tf"}, false},
		{"the root itself, as a submodule shows", "infra", nil, []string{"infra"}, true},
		{"a root of two folders", "infra/net", nil, []string{"infra/network/x.tf", "infra/db/x.tf"}, false},
		{"a root with slashes", "/infra//net/", nil, []string{"infra/net/x.tf"}, true},
		{"a file with a leading slash", "infra", nil, []string{"/infra/x.tf"}, true},
		{"a file with dots", "infra", nil, []string{"infra/../other/x.tf"}, false},
		{"letter case counts", "infra", nil, []string{"Infra/x.tf"}, false},
		{"one of many", "infra", nil, []string{"README.md", "docs/a.md", "infra/x.tf"}, true},
		{"none of many", "infra", nil, []string{"README.md", "docs/a.md"}, false},
		{"the top takes every file", "", nil, []string{"README.md"}, true},
		{"a dot is the top", ".", nil, []string{"README.md"}, true},
		{"files not known: when in doubt, concerned", "infra", nil, nil, true},
		{"no file changed", "infra", nil, []string{}, false},
		{"no file changed, at the top", "", nil, []string{}, false},
		{"a glob", "infra", []string{"modules/**"}, []string{"modules/vpc/main.tf"}, true},
		{"a glob of one level", "infra", []string{"modules/*.tf"}, []string{"modules/vpc/main.tf"}, false},
		{"a glob anywhere", "infra", []string{"**/*.yaml"}, []string{"x/y.yaml"}, true},
		{"a glob at a boundary", "infra", []string{"modules/**"}, []string{"modules2/x"}, false},
		{"the second glob", "infra", []string{"a/*", "b/*"}, []string{"b/x"}, true},
		{"a broken glob matches nothing", "infra", []string{"[a"}, []string{"[a", "a"}, false},
		{"a file name in another script", "infra", []string{"モジュール/**"}, []string{"モジュール/x.tf"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Stack{ProjectRoot: tc.root, Globs: tc.globs}
			if got := s.Concerns(tc.files, glob); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestCleanRoot(t *testing.T) {
	for in, want := range map[string]string{
		"": "", ".": "", "/": "", "./": "", "//": "",
		"infra": "infra", "/infra": "infra", "infra/": "infra", "./infra": "infra", "a//b": "a/b", "a/./b": "a/b", "/etc": "etc",
		"..": "", "../..": "", "../etc": "etc", "a/../../b": "b", // whatever Validate would let through, it stays inside
	} {
		if got := CleanRoot(in); got != want {
			t.Errorf("CleanRoot(%q) = %q, want %q", in, got, want)
		}
		if again := CleanRoot(CleanRoot(in)); again != CleanRoot(in) {
			t.Errorf("CleanRoot(%q) is not stable: %q", in, again)
		}
	}
}

// valid is a stack that Validate takes.
func valid() Stack {
	return Stack{Name: "Network", Project: 7, Branch: "main", ProjectRoot: "infra", Tool: Terraform, State: StateManaged, Plan: PlanHead}
}

var hostileRoots = []string{
	"/etc", "//x", "//", "///", "/infra", "..", "../..", "../../etc", "a/..", "a/../../b", "a/../b", `a\..\b`, `..\..`, "/../etc", "infra/..", "a\x00b", "a\nb", "a\rb", "a\x1b[2Jb",
	"a\xffb", "~", "~root", "~/x", ".git", ".git/hooks", "a/.git", "a/.git/b", ".terraform", "a/.terraform/x", strings.Repeat("a/", 300),
}

func TestValidate(t *testing.T) {
	type change = func(*Stack)
	name := func(v string) change { return func(s *Stack) { s.Name = v } }
	root := func(v string) change { return func(s *Stack) { s.ProjectRoot = v } }
	branch := func(v string) change { return func(s *Stack) { s.Branch = v } }
	cases := map[string][]change{
		"": {
			func(*Stack) {}, name("Net 🌍 1"), name(strings.Repeat("x", 100)), root(""), root("."), root("infra/"), root("a b/c"), root("..."),
			root("a..b"), root(".github"), root("infra/.gitops"), branch("feature/x-1"), branch("v1.2"), branch("ünï"),
			func(s *Stack) { s.Tool, s.Commands = Custom, Commands{Plan: "make plan", Apply: "make apply"} },
			func(s *Stack) { s.Description = "first\n\tsecond\r\n" + strings.Repeat("x", 1900) },
			func(s *Stack) { s.Plan, s.State, s.Labels = PlanMergeResult, StateOwn, []string{"prod"} },
		},
		"name":   {name(""), name("  "), name("🌍"), name("..."), name(strings.Repeat("x", 101)), name("a\nb"), name("a\xff"), name("New"), name(" new ")},
		"branch": {branch(""), branch("a b"), branch("a..b"), branch("-x"), branch("--upload-pack=id"), branch("a\x00"), branch("a\nb"), branch("a:b"), branch(`a\b`), branch("a@{1}"), branch("a*"), branch("\x7f"), branch(strings.Repeat("a", 300))},
		"tool":   {func(s *Stack) { s.Tool = "" }, func(s *Stack) { s.Tool = "pulumi" }},
		"state":  {func(s *Stack) { s.State = "" }},
		"plan":   {func(s *Stack) { s.Plan = "both" }},
		"project": {
			func(s *Stack) { s.Project = 0 }, func(s *Stack) { s.Project = -1 },
		},
		"commands": {
			func(s *Stack) { s.Tool = Custom }, func(s *Stack) { s.Tool, s.Commands.Plan = Custom, "make plan" },
		},
		"description": {
			func(s *Stack) { s.Description = strings.Repeat("x", 2001) }, func(s *Stack) { s.Description = "a\x1b[31m" },
		},
		"labels": {func(s *Stack) { s.Labels = []string{" "} }, func(s *Stack) { s.Labels = []string{strings.Repeat("x", 101)} }},
	}
	for _, r := range hostileRoots {
		cases["project_root"] = append(cases["project_root"], root(r))
	}
	for field, changes := range cases {
		for i, change := range changes {
			s := valid()
			change(&s)
			wantField(t, s.Validate(), field, "%s %d: %+v", field, i, s)
		}
	}
}

// What an earlier version took may stay, and nothing else of its kind.
func TestValidateChange(t *testing.T) {
	old := valid()
	old.Name, old.Description = "a\x1bb"+strings.Repeat("x", 200), "first\n"+strings.Repeat("x", 3000)
	for i, c := range []struct {
		field  string
		change func(*Stack)
	}{
		{"", func(s *Stack) { s.Autodeploy = true }},
		{"", func(s *Stack) { s.Name, s.Description = "Network", "short" }},
		{"name", func(s *Stack) { s.Name += "x" }},
		{"name", func(s *Stack) { s.Name = "" }},
		{"description", func(s *Stack) { s.Description += "x" }},
		{"branch", func(s *Stack) { s.Branch = "a b" }},
	} {
		s := old
		c.change(&s)
		wantField(t, s.ValidateChange(old), c.field, "change %d", i)
	}
	wantField(t, Stack{}.ValidateChange(Stack{}), "name", "nothing at all")
}

// wantField checks that err is an ErrInvalid about the field and says something; "" means no error.
func wantField(t *testing.T, err error, field, format string, args ...any) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf(format+": "+err.Error(), args...)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, ErrInvalid) || e.Field != field || len(e.Message) < 10 {
		t.Errorf(format+": got %+v", append(args, err)...)
	}
}

// FuzzRoot: no root that Validate takes leads out of a checkout, whatever lies in it, nor into .git.
func FuzzRoot(f *testing.F) {
	for _, r := range append(hostileRoots, "infra", "a b/c", "...", "/etc", "CON", "%2e%2e", "%2e%2e/x", "․․/x", "a/ .. /b") {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, root string) {
		s := valid()
		s.ProjectRoot = root
		if s.Validate() != nil {
			return
		}
		clean := CleanRoot(root)
		if clean == "" {
			return
		}
		if !filepath.IsLocal(clean) || !fs.ValidPath(clean) || !utf8.ValidString(clean) {
			t.Fatalf("%q is accepted and becomes %q", root, clean)
		}
		base := filepath.FromSlash("/work/checkout")
		if rel, err := filepath.Rel(base, filepath.Join(base, root)); err != nil || rel != filepath.Clean(clean) {
			t.Fatalf("%q joins to %q, cleaned %q (%v)", root, rel, clean, err)
		}
		for part := range strings.SplitSeq(clean, "/") {
			if part == ".git" || part == ".terraform" {
				t.Fatalf("%q is accepted", root)
			}
		}
	})
}

// TestRootThroughSymlink shows the other half of S26: a symbolic link inside the repository is stopped by os.Root,
// which the checkout is read through, not by Validate, which has no files.
func TestRootThroughSymlink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/", filepath.Join(dir, "infra")); err != nil {
		t.Fatal(err)
	}
	checkout, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer checkout.Close()
	if _, err := checkout.Stat(CleanRoot("infra") + "/etc"); err == nil {
		t.Error("a link led out of the checkout")
	}
}

func TestSlug(t *testing.T) {
	for in, want := range map[string]string{
		"Network": "network", "Prod / EU-West 1": "prod-eu-west-1", "  a  ": "a", "a__b": "a-b", "..": "", "": "", "🌍": "", "🌍 earth": "earth",
		"CON": "con", "%2e%2e": "2e-2e", "a/b": "a-b", "a\x00b": "a-b", "Ünïcode": "n-code", "--x--": "x",
		strings.Repeat("x", 300): strings.Repeat("x", 60), strings.Repeat("x", 59) + " y": strings.Repeat("x", 59),
	} {
		if got := Slug(in); got != want {
			t.Errorf("Slug(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzSlug: a slug is safe in an address, a key and a path (S29), and making it again changes nothing.
func FuzzSlug(f *testing.F) {
	for _, s := range []string{"Network", "..", "CON", "%2e%2e", "emoji 🌍", "a/b", "İstanbul", strings.Repeat("-x", 99)} {
		f.Add(s)
	}
	safe := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	f.Fuzz(func(t *testing.T, name string) {
		s := Slug(name)
		if s != "" && (!safe.MatchString(s) || len(s) > 60) || Slug(s) != s {
			t.Fatalf("Slug(%q) = %q, again %q", name, s, Slug(s))
		}
	})
}

func TestValidateVariable(t *testing.T) {
	for _, tc := range []struct{ name, value, field string }{
		{"TF_VAR_region", "eu", ""},
		{"_x", "", ""},
		{"A1", "two\nlines\tand tabs", ""},
		{"A", strings.Repeat("x", 64<<10), ""},
		{"", "x", "name"},
		{"1A", "x", "name"},
		{"A-B", "x", "name"},
		{"A=B", "x", "name"},
		{"A\n", "x", "name"},
		{"Ä", "x", "name"},
		{"A B", "x", "name"},
		{strings.Repeat("A", 201), "x", "name"},
		{"PATH", "x", "name"},
		{"LD_PRELOAD", "x", "name"},
		{"GROUNDCREW_MASTER_KEY", "x", "name"},
		{"TF_CLI_CONFIG_FILE", "x", "name"},
		{"TF_DATA_DIR", "x", "name"},
		{"A", "a\x00b", "value"},
		{"A", "a\xffb", "value"},
		{"A", strings.Repeat("x", 64<<10+1), "value"},
	} {
		err := ValidateVariable(tc.name, tc.value)
		wantField(t, err, tc.field, "%q", tc.name)
		if err != nil && len(tc.value) > 3 && strings.Contains(err.Error(), tc.value) {
			t.Errorf("the error shows the value: %v", err)
		}
	}
}

func TestBlocker(t *testing.T) {
	run := func(id string, typ Type, s State) Run { return Run{ID: id, Stack: "net", Type: typ, State: s} }
	other := run("01", Tracked, Applying)
	other.Stack = "db"
	for _, tc := range []struct {
		name   string
		r      Run
		active []Run
		want   string
	}{
		{"alone", run("05", Tracked, Queued), nil, ""},
		{"itself", run("05", Tracked, Queued), []Run{run("05", Tracked, Queued)}, ""},
		{"an older one waits", run("05", Tracked, Queued), []Run{run("04", Task, Queued), run("03", Destroy, Queued)}, "03"},
		{"a younger one waits", run("05", Tracked, Queued), []Run{run("06", Tracked, Queued)}, ""},
		{"a younger one has started", run("05", Tracked, Queued), []Run{run("04", Tracked, Queued), run("06", Task, Performing)}, "06"},
		{"two have started", run("05", Tracked, Queued), []Run{run("06", Task, Performing), run("02", Tracked, Unconfirmed)}, "02"},
		{"one waits for a person", run("05", Destroy, Queued), []Run{run("04", Tracked, Unconfirmed)}, "04"},
		{"one has ended", run("05", Tracked, Queued), []Run{run("04", Tracked, Finished), run("03", Tracked, Discarded)}, ""},
		{"proposed runs block nobody", run("05", Tracked, Queued), []Run{run("04", Proposed, Planning)}, ""},
		{"proposed runs wait for nobody", run("05", Proposed, Queued), []Run{run("04", Tracked, Applying)}, ""},
		{"another stack's", run("05", Tracked, Queued), []Run{other}, ""},
		{"it has started itself", run("05", Tracked, Preparing), []Run{run("04", Tracked, Queued)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, active := range [][]Run{tc.active, reversed(tc.active)} {
				got, ok := Blocker(tc.r, refs(active))
				if got.ID != tc.want || ok != (tc.want != "") {
					t.Errorf("blocked by %q (%v), want %q", got.ID, ok, tc.want)
				}
			}
		})
	}
}

func refs(list []Run) (out []*Run) {
	for i := range list {
		out = append(out, &list[i])
	}
	return out
}

func reversed(list []Run) []Run {
	var out []Run
	for _, r := range list {
		out = append([]Run{r}, out...)
	}
	return out
}

// TestAtMostOneBlockingRunStarts lets any number of blocking runs wait at once: exactly one may go.
func TestAtMostOneBlockingRunStarts(t *testing.T) {
	var active []Run
	for _, id := range []string{"07", "03", "09", "04"} {
		active = append(active, Run{ID: id, Stack: "net", Type: Tracked, State: Queued})
	}
	for len(active) > 0 {
		var free []int
		for i, r := range active {
			if _, blocked := Blocker(r, refs(active)); !blocked {
				free = append(free, i)
			}
		}
		if len(free) != 1 {
			t.Fatalf("%d of %d may start", len(free), len(active))
		}
		active[free[0]].State = Planning
		for i, r := range active {
			if _, blocked := Blocker(r, refs(active)); i != free[0] && !blocked {
				t.Fatalf("run %s starts beside %s", r.ID, active[free[0]].ID)
			}
		}
		active = append(active[:free[0]], active[free[0]+1:]...)
	}
}

func TestRunQuestions(t *testing.T) {
	for typ, want := range map[Type]Phase{Proposed: PhasePlan, Tracked: PhasePlan, Test: PhasePlan, Task: PhasePerform, Destroy: PhaseDestroy} {
		if got := (Run{Type: typ}).FirstPhase(); got != want {
			t.Errorf("first phase of a %s run: %s", typ, got)
		}
		if typ.Blocking() != (typ == Tracked || typ == Task || typ == Destroy) {
			t.Errorf("%s blocking: %v", typ, typ.Blocking())
		}
	}
	working, terminal := "", ""
	for _, s := range every {
		if s.Working() {
			working += string(s) + " "
		}
		if s.Terminal() {
			terminal += string(s) + " "
		}
	}
	got := []string{working, terminal, ShortSHA("0123456789"), ShortSHA("01"), Commit{SHA: ""}.Short()}
	want := []string{
		"preparing initializing planning applying performing destroying ", "finished failed stopped discarded canceled skipped ", "01234567", "01", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := (Run{CreatedAt: noon}); r.Entered() != noon || r.Passed(Queued) {
		t.Error("a run without transitions entered its state when it was made")
	}
}
