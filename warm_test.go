package main

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeded pushes code to the tracked branch, waits until it is applied, and until what its init made is kept. It returns
// the run.
func (r *rig) seeded(files map[string]string) string {
	r.t.Helper()
	before := r.kept()
	sha := r.push("main", "Code", files)
	r.status(sha, "groundcrew/network", "success")
	id := r.run("tracked", "finished")["id"].(string)
	until(r.t, "what its init made", func() bool { return !slices.Equal(before, r.kept()) })
	return id
}

// kept lists what is kept of inits.
func (r *rig) kept() []string {
	r.t.Helper()
	found, err := filepath.Glob(filepath.Join(r.dir, "warm", "entries", "*.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// proposed pushes code to a branch of its own and returns the run that came of it, ended, with its log.
func (r *rig) proposed(branch string, files map[string]string) (run map[string]any, log string) {
	r.t.Helper()
	sha := r.push(branch, "Topic "+branch, files) // the same commit made twice within a second would be one
	until(r.t, "the run of "+branch, func() bool {
		for _, one := range r.items("/runs?type=proposed&limit=20") {
			if one["commit"] == sha && (one["state"] == "finished" || one["state"] == "failed") {
				run = one
				return true
			}
		}
		return false
	})
	return run, r.logs(run["id"].(string))
}

const reusedWords = "Reused what the init of run "

// warmRun checks that a run ended well, and whether it reused an init.
func warmRun(t *testing.T, run map[string]any, log, reused string) {
	t.Helper()
	inits := strings.Count(log, "terraform init -input=false") + strings.Count(log, "tofu init -input=false")
	if run["state"] != "finished" || run["reused"] != reused || strings.Contains(log, reusedWords+reused) != (reused != "") || (inits == 0) != (reused != "") {
		t.Fatalf("the run is %v, reused %v (want %q), with %d inits:\n%s", run["state"], run["reused"], reused, inits, log)
	}
}

// The first run of a stack does its init, later ones of the same code that init reads have none and plan the same; what
// init reads changes, and they do their own. All of it may go away at any time.
func TestInitIsReused(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.link().stack("network", "infra", map[string]any{"autodeploy": true})
	module := map[string]string{"infra/main.tf": resource("a", "1") + "module \"m\" {\n  source = \"./m\"\n}\n", "infra/m/m.tf": resource("inner", "1")}
	first := r.seeded(module)

	next := map[string]string{"infra/main.tf": strings.Replace(module["infra/main.tf"], `"1"`, `"2"`, 1) + resource("b", "1")}
	warm, log := r.proposed("one", next)
	warmRun(t, warm, log, first)
	more, log := r.proposed("two", map[string]string{"infra/main.tf": next["infra/main.tf"] + "module \"n\" {\n  source = \"./m\"\n}\n"})
	warmRun(t, more, log, "")
	if list := r.kept(); len(list) != 1 {
		t.Errorf("a proposed run was kept from: %v", list)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "warm")); err != nil {
		t.Fatal(err)
	}
	cold, log := r.proposed("three", next)
	warmRun(t, cold, log, "")
	changes := func(run map[string]any) any { return r.must("GET", "/runs/"+run["id"].(string)+"/changes", nil, 200) }
	if diff := cmp.Diff(changes(cold), changes(warm)); diff != "" || cold["fingerprint"] != warm["fingerprint"] {
		t.Errorf("with and without an init the plans differ:\n%s", diff)
	}
	second := r.seeded(map[string]string{"infra/main.tf": next["infra/main.tf"]})
	warm, log = r.proposed("four", map[string]string{"infra/main.tf": strings.Replace(next["infra/main.tf"], `"2"`, `"3"`, 1)})
	warmRun(t, warm, log, second)

	// A tracked run reuses and applies; variables that steer init do not let anything be reused.
	sha := r.push("main", "More", map[string]string{"infra/more.tf": resource("c", "1")})
	r.status(sha, "groundcrew/network", "success")
	tracked := r.run("tracked", "finished")
	warmRun(t, tracked, r.logs(tracked["id"].(string)), second)
	r.must("PUT", "/stacks/network/variables/TF_CLI_ARGS_init", map[string]any{"value": "-lockfile=readonly"}, 200)
	steered, log := r.proposed("five", map[string]string{"infra/more.tf": resource("c", "2")})
	warmRun(t, steered, log, "")
	if !strings.Contains(log, "Init is run in full, because the variable TF_CLI_ARGS_init") {
		t.Error(log)
	}
}

// With --init-cache 0 every run does its init, and nothing is kept.
func TestInitCacheCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set = func(c *config) { c.initCache = 0 }
	r.serve().link().stack("network", "infra", map[string]any{"autodeploy": true})
	sha := r.push("main", "Code", map[string]string{"infra/main.tf": resource("a", "1")})
	r.status(sha, "groundcrew/network", "success")
	run, log := r.proposed("one", map[string]string{"infra/main.tf": resource("a", "2")})
	warmRun(t, run, log, "")
	if _, err := os.Stat(filepath.Join(r.dir, "warm")); err == nil {
		t.Error("something is kept")
	}
}

// packed makes a mirror of a packed provider: init has to unpack it, so that what it makes is more than a link.
func packed(t *testing.T, mirror string) {
	t.Helper()
	unpacked := t.TempDir()
	buildProvider(t, unpacked)
	found, err := filepath.Glob(filepath.Join(unpacked, "*", "*", "*", "*", "*", "*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	platform := filepath.Dir(found[0])
	version := filepath.Dir(platform)
	dir, err := filepath.Rel(unpacked, filepath.Dir(version))
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(mirror, dir, fmt.Sprintf("terraform-provider-time_%s_%s.zip", filepath.Base(version), filepath.Base(platform)))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(out)
	header := zip.FileHeader{Name: filepath.Base(found[0])}
	header.SetMode(0o755)
	w, err := z.CreateHeader(&header)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(found[0])
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := io.Copy(w, in); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// attacker is put before the tool: it executes what a commit brings while the plan is made, as a provider or a data source
// could.
const attacker = "#!/bin/sh\ncase $1 in plan) [ ! -f attack.sh ] || sh ./attack.sh;; esac\nexec %s \"$@\"\n"

// attack tries to change everything that another run could come to use. Each attempt says so when it worked.
const attack = `
data=$(cd "$TF_DATA_DIR/../../../.." && pwd)
worked() { echo "ATTACK WORKED: $*"; }
for p in "$TF_DATA_DIR"/providers/*/*/*/*/*; do
  real=$(readlink -f "$p")
  for f in "$real"/* "$p"/*; do
    chmod u+w "$f" && worked chmod "$f"
    echo evil >> "$f" && worked append "$f"
    rm -f "$f" && worked remove "$f"
    ln -f "$f" "$TF_DATA_DIR/hard" && worked link "$f" && echo evil >> "$TF_DATA_DIR/hard" && worked write the link
  done
  mv "$real" "$TF_DATA_DIR/moved" && worked move "$real"
  rm -f "$p"; mkdir -p "$p" && printf '#!/bin/sh\nexit 1\n' > "$p/terraform-provider-time_v9" # its own workspace: that is its business
done
echo "{}" > "$TF_DATA_DIR/terraform.tfstate"
for f in "$data"/warm/entries/*.json "$data"/warm/entries/x.json "$data"/warm/packages/x "$data/warm/new/$GROUNDCREW_RUN" "$data"/warm/x; do
  echo evil > "$f" && worked write "$f"
done
mkdir "$data/warm/new/$GROUNDCREW_RUN" && worked mkdir
ls "$data/warm/entries" && worked list
cat "$data"/warm/entries/*.json && worked read
true
`

func TestNoRunCanPoisonAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	packed(t, filepath.Join(r.dir, "mirror"))
	real, err := exec.LookPath(map[string]string{"terraform": "terraform", "opentofu": "tofu"}[tool(t)])
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(r.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, filepath.Base(real)), fmt.Appendf(nil, attacker, real), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	r.serve().link().stack("network", "infra", map[string]any{"autodeploy": true})
	code := func(wait string) map[string]string {
		return map[string]string{"infra/main.tf": "terraform {\n  required_providers {\n    time = { source = \"registry.terraform.io/hashicorp/time\" }\n  }\n}\nresource \"time_sleep\" \"a\" {\n  create_duration = \"" + wait + "\"\n}\n"}
	}
	// The run that is kept from attacks too: the copy is of what init left, not of what its plan made of it.
	with := code("1ms")
	with["infra/attack.sh"] = attack
	sha := r.push("main", "Attack", with)
	until(t, "the end of the attacking tracked run", func() bool {
		list := r.items("/runs?type=tracked&limit=1")
		return len(list) == 1 && (list[0]["state"] == "finished" || list[0]["state"] == "failed")
	})
	first := r.items("/runs?type=tracked&limit=1")[0]["id"].(string)
	until(t, "what its init made", func() bool { return len(r.kept()) == 1 })
	until(t, "the copy's end", func() bool {
		left, err := os.ReadDir(filepath.Join(r.dir, "warm", "new"))
		return err == nil && len(left) == 0
	})
	before := digests(t, filepath.Join(r.dir, "warm"))
	if len(before) < 2 {
		t.Fatalf("kept: %v", before)
	}
	for i, branch := range []string{"evil", "evil-again"} {
		sha = r.push(branch, "Attack", map[string]string{"infra/attack.sh": attack + fmt.Sprintf("# %d\n", i)})
		until(t, "the attack's end", func() bool {
			s := r.sim.Statuses(r.project.ID, sha)
			return len(s) == 1 && (s[0].State == "failed" || s[0].State == "success")
		})
	}
	for _, run := range r.items("/runs?limit=20") {
		log := r.logs(run["id"].(string))
		for line := range strings.Lines(log) {
			// The providers of the first run are its own still, in its workspace.
			if strings.Contains(line, "ATTACK WORKED") && (run["type"] == "proposed" || strings.Contains(line, "/warm/")) {
				t.Errorf("run %v: %s", run["id"], line)
			}
		}
		if !strings.Contains(log, "warm/entries/x.json: Permission denied") || run["type"] == "proposed" && !strings.Contains(log, reusedWords+first) {
			t.Errorf("run %v made no attempt, or had an init of its own:\n%s", run["id"], log)
		}
	}
	if diff := cmp.Diff(before, digests(t, filepath.Join(r.dir, "warm"))); diff != "" {
		t.Fatalf("what is kept has changed:\n%s", diff)
	}
	clean := code("2ms")
	clean["infra/attack.sh"] = "true\n"
	run, log := r.proposed("clean", clean)
	warmRun(t, run, log, first)
}

// digests are the contents and modes of all files below a folder.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		found[path] = fmt.Sprintf("%v %d %x", info.Mode(), len(raw), raw[:min(len(raw), 64)])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A real provider is reused: unpacked once, and then only read. A package that was damaged leads to one attempt more with an
// init of its own, and to a new package; one that is gone when the plan is applied, to an init before the apply.
func TestKeptProviders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	packed(t, filepath.Join(r.dir, "mirror"))
	r.serve().link().stack("network", "infra", nil)
	code := func(wait string) map[string]string {
		return map[string]string{"infra/main.tf": "terraform {\n  required_providers {\n    time = { source = \"registry.terraform.io/hashicorp/time\" }\n  }\n}\nresource \"time_sleep\" \"a\" {\n  create_duration = \"" + wait + "\"\n}\n"}
	}
	r.push("main", "Wait", code("1ms"))
	first := r.run("tracked", "unconfirmed")["id"].(string)
	until(t, "what its init made", func() bool { return len(r.kept()) == 1 })
	run, log := r.proposed("one", code("2ms"))
	warmRun(t, run, log, first)

	found, err := filepath.Glob(filepath.Join(r.dir, "warm", "packages", "*", "terraform-provider-time*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	damage := func() {
		if err := os.Chmod(found[0], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(found[0], 1000); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	run, log = r.proposed("two", code("3ms"))
	if run["state"] != "finished" || run["reused"] != "" || strings.Count(log, reusedWords) != 1 || strings.Count(log, "init -input=false") != 1 {
		t.Fatalf("%v\n%s", run, log)
	}
	if len(r.kept()) != 1 {
		t.Error("a proposed run removed what is kept")
	}
	r.must("POST", "/runs/"+first+"/discard", nil, 200)
	r.push("main", "Wait longer", code("4ms"))
	second := r.run("tracked", "unconfirmed")["id"].(string)
	if log := r.logs(second); second == first || strings.Count(log, reusedWords) != 1 || strings.Count(log, "init -input=false") != 1 {
		t.Fatal(log)
	}
	until(t, "the package anew", func() bool { info, err := os.Stat(found[0]); return err == nil && info.Size() > 1000 })
	until(t, "what its init made", func() bool { return len(r.kept()) == 1 })
	run, log = r.proposed("three", code("5ms"))
	warmRun(t, run, log, second)

	r.must("POST", "/runs/"+second+"/discard", nil, 200)
	r.push("main", "Apply", code("6ms"))
	third := r.run("tracked", "unconfirmed")
	warmRun(t, map[string]any{"state": "finished", "reused": third["reused"]}, r.logs(third["id"].(string)), second)
	if err := os.RemoveAll(filepath.Join(r.dir, "warm")); err != nil {
		t.Fatal(err)
	}
	id := third["id"].(string)
	r.must("POST", "/runs/"+id+"/confirm", nil, 200)
	until(t, "the apply", func() bool { s := r.state(id); return s == "finished" || s == "failed" })
	if log := r.logs(id); r.state(id) != "finished" || !strings.Contains(log, "so init is run before the apply") || strings.Count(log, "init -input=false") != 1 || !strings.Contains(log, "Creation complete") {
		t.Fatalf("the run is %s\n%s", r.state(id), log)
	}
}

// The server is killed while a tracked run does its init: the copy is made without it and taken in by the next one, which
// also removes what earlier ones left half done.
func TestInitIsKeptOverAKill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", map[string]any{"autodeploy": true})
	r.push("main", "Code", map[string]string{"infra/main.tf": resource("a", "1")})
	until(t, "the init", func() bool {
		log, _ := filepath.Glob(filepath.Join(r.dir, "logs", "*", "initializing.log"))
		return len(log) == 1
	})
	r.kill()
	until(t, "the copy, made by the shim alone", func() bool {
		done, _ := filepath.Glob(filepath.Join(r.dir, "warm", "new", "*", "data"))
		results, _ := filepath.Glob(filepath.Join(r.dir, "work", "*", "*", "result.json"))
		return len(done) == 1 && len(results) == 1
	})
	left := []string{"new/01AAAAAAAAAAAAAAAAAAAAAAAA/data/x", "new/01AAAAAAAAAAAAAAAAAAAAAAAB.tmp/data/x", "packages/half/x", "entries/.tmp-123", "entries/half.json"}
	for _, name := range left {
		path := filepath.Join(r.dir, "warm", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{ha"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.spawn()
	first := r.run("tracked", "finished")["id"].(string)
	until(t, "what its init made", func() bool { return len(r.kept()) == 1 })
	for _, name := range left {
		if _, err := os.Lstat(filepath.Join(r.dir, "warm", name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	for i := range 4 { // at once, on two workers
		r.push(fmt.Sprintf("topic-%d", i), "Topic", map[string]string{"infra/main.tf": resource("a", fmt.Sprint("x", i))})
	}
	until(t, "four runs", func() bool {
		done := 0
		for _, run := range r.items("/runs?type=proposed&limit=20") {
			if run["state"] == "finished" && run["reused"] == first {
				done++
			}
		}
		return done == 4
	})
}

// A stack that releases from tags keeps what the init of a release made, and reuses it as others do: for the next release,
// and for the merge request before it.
func TestInitIsReusedByReleases(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.link().stack("network", "infra", map[string]any{"autodeploy": true, "release_tags": "v*"})
	release := func(tag, value string) map[string]any {
		sha := r.push("main", "Release "+tag, map[string]string{"infra/main.tf": resource("a", value)})
		if err := r.sim.CreateTag(r.project.ID, tag, sha, ""); err != nil {
			t.Fatal(err)
		}
		r.status(sha, "groundcrew/network", "success")
		var run map[string]any
		until(t, "the end of "+tag, func() bool {
			run = r.items("/runs?type=tracked&limit=1")[0]
			return run["commit"] == sha && run["state"] == "finished"
		})
		return run
	}
	first := release("v1", "1")
	warmRun(t, first, r.logs(first["id"].(string)), "")
	until(t, "what its init made", func() bool { return len(r.kept()) == 1 })
	id := first["id"].(string)
	proposed, log := r.proposed("topic", map[string]string{"infra/main.tf": resource("a", "2")})
	warmRun(t, proposed, log, id)
	second := release("v2", "2")
	warmRun(t, second, r.logs(second["id"].(string)), id)
}
