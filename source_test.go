package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"groundcrew/gitlab/sim"
)

// providerTime is the provider the mirror is tested with. It is built from the module proxy, once.
const providerTime = "github.com/hashicorp/terraform-provider-time"

// buildProvider puts the provider into a mirror folder, unpacked.
func buildProvider(t *testing.T, mirror string) {
	t.Helper()
	cmd := exec.Command("go", "-C", "tools/provider-time", "list", "-m", "-f", "{{.Version}}", providerTime)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
	platform := strings.TrimSpace(goEnv(t, "GOOS")) + "_" + strings.TrimSpace(goEnv(t, "GOARCH"))
	to := filepath.Join(mirror, "registry.terraform.io", "hashicorp", "time", version, platform, "terraform-provider-time_v"+version)
	cmd = exec.Command("go", "-C", "tools/provider-time", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, providerTime)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	readable(t, mirror)
}

// readable lets the users of runs read a mirror.
func readable(t *testing.T, mirror string) {
	t.Helper()
	if err := filepath.Walk(mirror, func(p string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(p, 0o755)
	}); err != nil {
		t.Fatal(err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A provider in the mirror is used without any network, down to a real apply through its plugin; one that is not there
// is refused. The data folder is as deep as folders get, which sockets of plugins do not like.
func TestProvidersComeFromTheMirrorAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.dir = filepath.Join(r.dir, strings.Repeat("deep-folder/", 8), "data")
	buildProvider(t, filepath.Join(r.dir, "mirror"))
	r.serve().link().stack("network", "infra", nil)
	source := "terraform {\n  required_providers {\n    time = { source = \"registry.terraform.io/hashicorp/time\" }\n  }\n}\n"
	r.push("main", "Wait", map[string]string{"infra/main.tf": source + "resource \"time_sleep\" \"a\" {\n  create_duration = \"50ms\"\n}\n"})
	id := r.run("tracked", "unconfirmed", "failed")["id"].(string)
	if state := r.state(id); state != "unconfirmed" {
		t.Fatalf("%s\n%s", state, r.logs(id))
	}
	r.must("POST", "/runs/"+id+"/confirm", nil, 200)
	until(t, "the apply", func() bool { s := r.state(id); return s == "finished" || s == "failed" })
	if log := r.logs(id); r.state(id) != "finished" || !strings.Contains(log, "time_sleep.a: Creation complete") {
		t.Fatalf("the run is %s: %s", r.state(id), log)
	}
	until(t, "nothing left behind", func() bool {
		left, err := filepath.Glob("/tmp/groundcrew-" + id)
		return left == nil && err == nil
	})
	sha := r.push("other", "Another provider", map[string]string{"infra/main.tf": "resource \"random_id\" \"a\" {\n  byte_length = 2\n}\n"})
	r.status(sha, "groundcrew/network", "failed")
	failed := r.run("proposed", "failed")
	if reason, _ := failed["reason"].(string); !strings.Contains(reason, "the mirror in the data folder does not hold") {
		t.Errorf("reason %q\n%s", reason, r.logs(failed["id"].(string)))
	}
}

// The version that the code requires is respected beside the stack's own constraint, and what cannot be met says both.
func TestRequiredVersionIsRespected(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.link().stack("network", "infra", map[string]any{"tool_version": ">= 0.12"})
	sha := r.push("old", "Old", map[string]string{"infra/main.tf": "terraform {\n  required_version = \"< 0.13\"\n}\n" + resource("a", "1")})
	st := r.status(sha, "groundcrew/network", "failed")
	run := r.run("proposed", "failed")
	reason, _ := run["reason"].(string)
	for _, want := range []string{"“< 0.13” (infra/main.tf)", "“>= 0.12”", "Present: "} {
		if !strings.Contains(reason, want) {
			t.Errorf("%q does not say %s", reason, want)
		}
	}
	if !strings.Contains(st.Description, "The code requires") {
		t.Errorf("GitLab shows %q", st.Description)
	}
}

// A branch that lacks commits of its target says so: on the run, in the log and in the comment.
func TestBehindIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.link().stack("network", "infra", nil)
	r.push("topic", "Topic", map[string]string{"infra/main.tf": resource("a", "1")})
	for _, n := range []string{"1", "2", "3"} {
		r.push("main", "Aside "+n, map[string]string{"docs/" + n + ".md": n})
	}
	iid := r.openMR("topic", "Topic")
	until(t, "the run that knows its merge request", func() bool {
		list := r.items("/runs?type=proposed")
		return len(list) > 0 && list[0]["merge_request"] != nil
	})
	sha := r.push("topic", "More", map[string]string{"infra/more.tf": resource("b", "1")})
	r.status(sha, "groundcrew/network", "success")
	run := r.run("proposed", "finished")
	if basis, _ := run["basis"].(map[string]any); basis["behind"] != 3.0 || basis["kind"] != "merge_result" {
		t.Errorf("basis %v", basis)
	}
	if log := r.logs(run["id"].(string)); !strings.Contains(log, "which is 3 commits behind main") {
		t.Error(log)
	}
	until(t, "the comment", func() bool {
		n := r.notes(iid)
		return len(n) == 1 && strings.Contains(n[0].Body, "3 commits")
	})
	r.unrefused()
}

// fetches counts the packs that GitLab handed out, and archives the archives it was asked for.
func (r *rig) fetches() (packs, archives int) {
	for _, q := range r.sim.Requests() {
		switch {
		case q.Method == "POST" && strings.HasSuffix(q.Path, "/git-upload-pack"):
			packs++
		case strings.Contains(q.Path, "/repository/archive"):
			archives++
		}
	}
	return packs, archives
}

// However many stacks a commit concerns, its files come here once.
func TestACommitIsFetchedOnceForAllStacks(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	names := []string{"a", "b", "c", "d"}
	for _, n := range names {
		r.stack(n, "infra", nil)
	}
	sha := r.push("topic", "All", map[string]string{"infra/main.tf": resource("a", "1")})
	for _, n := range names {
		r.status(sha, "groundcrew/"+n, "success")
	}
	if packs, archives := r.fetches(); packs != 1 || archives != 0 {
		t.Errorf("%d packs and %d archives for one commit", packs, archives)
	}
	sha = r.push("topic", "Again", map[string]string{"infra/main.tf": resource("a", "2")})
	for _, n := range names {
		r.status(sha, "groundcrew/"+n, "success")
	}
	if packs, _ := r.fetches(); packs != 2 {
		t.Errorf("%d packs for two commits", packs)
	}
	r.unrefused()
}

// Where an administrator has switched git over HTTP off, the archive of the commit is planned, and the log says so.
func TestTheArchiveIsPlannedWhereGitIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.link().stack("network", "infra", nil)
	r.sim.Fault(sim.Fault{Path: regexp.MustCompile(`\.git/`), Status: 403, Body: "Git access over HTTP is not allowed"})
	sha := r.push("topic", "Archived", map[string]string{"infra/main.tf": resource("a", "1")})
	r.status(sha, "groundcrew/network", "success")
	if packs, archives := r.fetches(); archives != 1 {
		t.Errorf("%d packs, %d archives", packs, archives)
	}
	run := r.run("proposed", "finished")
	if log := r.logs(run["id"].(string)); !strings.Contains(log, "GitLab refuses git over HTTP") {
		t.Error(log)
	}
}

// A commit whose links or whose project root lead out of the checkout is refused, with what is wrong, and so is a stack
// with such a root.
func TestNothingLeadsOutOfTheCheckout(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.link().stack("network", "infra", nil)
	for _, root := range []string{"../x", "a/../../b", "~root", "a\\b"} {
		body := map[string]any{"name": "out", "project": projectAt, "project_root": root, "tool": tool(t)}
		if code, raw := r.api("POST", "/stacks", body); code != 422 || !strings.Contains(string(raw), "project_root") {
			t.Errorf("root %q: %d %s", root, code, raw)
		}
	}
	for _, archived := range []bool{false, true} {
		if archived {
			r.sim.Fault(sim.Fault{Path: regexp.MustCompile(`git-upload-pack`), Status: 403, Body: "Git access over HTTP is not allowed"})
		}
		for name, target := range map[string]string{"file": "../../../../etc/passwd", "root": "/etc"} {
			branch := name + strings.Repeat("-archive", map[bool]int{true: 1}[archived])
			sha := r.linked(branch, "infra/"+name, target)
			st := r.status(sha, "groundcrew/network", "failed")
			if !strings.Contains(st.Description, "symbolic links that lead outside") {
				t.Errorf("%s: %q", branch, st.Description)
			}
		}
	}
	if _, archives := r.fetches(); archives != 2 {
		t.Errorf("%d archives", archives)
	}
}

// linked pushes a symbolic link, over git as a person does.
func (r *rig) linked(branch, name, target string) string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "work")
	address := strings.Replace(r.gitlab.URL, "http://", "http://oauth2:"+r.token+"@", 1) + "/scm/" + projectAt + ".git"
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@e", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@e")
		out, err := cmd.CombinedOutput()
		if err != nil {
			r.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", branch, dir)
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		r.t.Fatal(err)
	}
	git("-C", dir, "add", "-A")
	git("-C", dir, "commit", "-q", "-m", "A link on "+branch)
	git("-C", dir, "push", "-q", address, "HEAD:refs/heads/"+branch)
	return git("-C", dir, "rev-parse", "HEAD")
}
