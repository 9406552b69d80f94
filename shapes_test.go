package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
)

// use makes a project of another shape the one of the test.
func (r *rig) use(p sim.Project, err error) *rig {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	r.project = p
	r.sim.AddMember(p.ID, r.author.ID, sim.Maintainer)
	r.sim.AddMember(p.ID, r.bot.ID, sim.Maintainer)
	return r
}

// again stops the server and starts it, which compares all projects with GitLab.
func (r *rig) again() {
	r.t.Helper()
	r.halt()
	r.serve()
}

// untroubled waits until the inbox holds nothing of the kind.
func (r *rig) untroubled(words string) {
	r.t.Helper()
	until(r.t, "the end of “"+words+"”", func() bool { return !r.trouble(words) })
}

// confirmed lets the newest tracked run be applied, and returns it.
func (r *rig) confirmed() map[string]any {
	r.t.Helper()
	run := r.run("tracked", "unconfirmed")
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	return r.run("tracked", "finished")
}

// TestDeepGroups: a project below five groups, from the hook to the applied run.
func TestDeepGroups(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.use(r.sim.AddProject("acme/emea/platform/core/edge/network", "main", map[string]string{"README.md": "x"}))
	if st := r.stack("network", "infra", nil); st["project"] != r.project.Path {
		t.Errorf("the stack is %v", st)
	}
	sha := r.push("feature/nat", "NAT", map[string]string{"infra/main.tf": resource("a", "1")})
	iid := r.openMR("feature/nat", "NAT")
	r.status(sha, "groundcrew/network", "success")
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	run := r.run("proposed", "finished")
	if run["commit_url"] != r.project.WebURL+"/-/commit/"+sha {
		t.Errorf("the run links to %v", run["commit_url"])
	}
	if _, err := r.sim.MergeMergeRequest(r.project.ID, iid, r.author.ID); err != nil {
		t.Fatal(err)
	}
	r.confirmed()
	r.quiet()
	r.unrefused()
}

// TestMovedProjectKeepsItsNumber: renamed, then moved to another group; deliveries that were sent under the old path are
// understood, and the hook, the links and the stack's page know the new one.
func TestMovedProjectKeepsItsNumber(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "Before", map[string]string{"infra/main.tf": resource("a", "1")})
	r.confirmed()
	old := r.sim.HookDeliveries(r.project.ID)
	for _, path := range []string{"platform/edge-network", "elsewhere/deeper/net"} {
		if err := r.sim.MoveProject(r.project.ID, path); err != nil {
			t.Fatal(err)
		}
		r.again()
		until(t, "the new path", func() bool { return r.must("GET", "/stacks/network", nil, 200)["project"] == path })
	}
	// what was sent before the move arrives once more, under its old path
	for _, d := range old {
		if err := r.sim.Redeliver(d.ID); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "verdicts", func() bool { return len(r.items("/deliveries?state=waiting")) == 0 })
	if got := r.must("GET", "/stacks/network", nil, 200); got["project"] != "elsewhere/deeper/net" || got["project_id"] != float64(r.project.ID) {
		t.Errorf("an old delivery took the stack back: %v", got)
	}
	if n := len(r.items("/runs?type=tracked")); n != 1 {
		t.Errorf("%d runs of one commit", n)
	}
	sha := r.push("main", "After", map[string]string{"infra/main.tf": resource("a", "2")})
	r.confirmed()
	r.status(sha, "groundcrew/network", "success")
	p := r.items("/projects")[0]
	if p["path"] != "elsewhere/deeper/net" || p["hook"].(map[string]any)["state"] != "ok" {
		t.Errorf("the project is %v", p)
	}
	r.quiet()
	r.unrefused()
}

// TestArchivedProject: a run may still plan, what GitLab refuses waits without end and without asking again, everybody is told
// why, and it is sent when the project is taken out of the archive.
func TestArchivedProject(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	sha := r.push("feature", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	r.run("proposed", "finished")
	r.quiet()
	archive := func(yes bool) {
		if err := r.sim.Configure(r.project.ID, func(s *sim.Settings) { s.Archived = yes }); err != nil {
			t.Fatal(err)
		}
	}
	archive(true)
	run := r.must("POST", "/stacks/network/runs", map[string]any{"type": "proposed", "commit": sha}, 201)
	until(t, "the end of the run", func() bool { return r.state(run["id"]) == "finished" })
	until(t, "the refusal", func() bool { return len(r.items("/reports?state=parked")) > 0 })
	until(t, "the trouble", func() bool { return r.trouble("The project " + projectAt + " is archived") })
	refused := len(r.sim.Refused())
	r.again() // a start asks once more at most
	until(t, "the trouble", func() bool { return r.trouble("is archived") })
	if n := len(r.sim.Refused()) - refused; n > 2 {
		t.Errorf("%d requests were refused after the first", n)
	}
	archive(false)
	r.again()
	r.untroubled("is archived")
	until(t, "what was refused", func() bool { return len(r.items("/reports?state=parked")) == 0 })
	r.status(sha, "groundcrew/network", "success")
	r.quiet()
}

// TestRenamedDefaultBranch: the stack that tracks the old name says that it is gone and what the default is now; with the new
// name it goes on, and so do merge requests.
func TestRenamedDefaultBranch(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	r.confirmed()
	if err := r.sim.RenameBranch(r.project.ID, "main", "trunk"); err != nil {
		t.Fatal(err)
	}
	until(t, "the trouble", func() bool { return r.trouble("The branch main of " + projectAt + " is not there") })
	var mend strings.Builder
	for _, it := range r.items("/inbox") {
		mend.WriteString(it["mend"].(string))
	}
	if !strings.Contains(mend.String(), "default branch is trunk") {
		t.Errorf("what to do is %q", mend.String())
	}
	r.must("PATCH", "/stacks/network", map[string]any{"branch": "trunk"}, 200)
	r.untroubled("The branch main")
	sha := r.push("topic", "Two", map[string]string{"infra/b.tf": resource("b", "1")})
	iid, err := r.sim.OpenMergeRequest(r.project.ID, "topic", "trunk", "Two", r.author.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.status(sha, "groundcrew/network", "success")
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	if _, err := r.sim.MergeMergeRequest(r.project.ID, iid, r.author.ID); err != nil {
		t.Fatal(err)
	}
	r.confirmed()
	r.quiet()
}

// TestEmptyRepositoryIsAStackBeforeItsFirstPush: a stack can be made before there is any code, which says so, and the first push starts it.
func TestEmptyRepositoryIsAStackBeforeItsFirstPush(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.use(r.sim.AddProject("platform/new", "main", nil))
	body := map[string]any{"name": "fresh", "project": "platform/new", "project_root": "infra", "tool": tool(t), "install_hook": true}
	if code, raw := r.api("POST", "/stacks", body); code != 422 || !strings.Contains(string(raw), "The project is empty: it has no branch yet. Name the branch") {
		t.Errorf("without a branch: %d %s", code, raw)
	}
	body["branch"] = "main"
	r.must("POST", "/stacks", body, 201)
	until(t, "the trouble", func() bool { return r.trouble("The repository of platform/new is empty") })
	if code, raw := r.api("POST", "/stacks/fresh/runs", map[string]any{"type": "tracked"}); code < 400 || code >= 500 || !strings.Contains(string(raw), "main") {
		t.Errorf("a run of nothing: %d %s", code, raw)
	}
	sha := r.push("main", "First", map[string]string{"infra/main.tf": resource("a", "1")})
	run := r.confirmed()
	if run["commit"] != sha {
		t.Errorf("the run is of %v", run["commit"])
	}
	r.again()
	r.untroubled("is empty")
}

// TestDeletedProject: the stack says that GitLab does not show it any more, a run says so too, and all goes on when the project
// is restored.
func TestDeletedProject(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	r.confirmed()
	r.quiet()
	if err := r.sim.DeleteProject(r.project.ID); err != nil {
		t.Fatal(err)
	}
	r.again()
	until(t, "the trouble", func() bool { return r.trouble("GitLab does not show the project " + projectAt) })
	if st := r.must("GET", "/stacks/network", nil, 200); !strings.Contains(st["project_trouble"].(string), "does not show") {
		t.Errorf("the stack says nothing: %v", st)
	}
	lost := r.must("POST", "/stacks/network/runs", map[string]any{"type": "proposed", "commit": "main"}, 404)
	if !strings.Contains(fmt.Sprint(lost["detail"]), "GitLab") {
		t.Errorf("a run of a deleted project: %v", lost)
	}
	if err := r.sim.RestoreProject(r.project.ID); err != nil {
		t.Fatal(err)
	}
	r.again()
	r.untroubled("does not show")
	r.push("main", "Two", map[string]string{"infra/main.tf": resource("a", "2")})
	r.confirmed()
	r.quiet()
}

// TestSHA256Repository: ids of 64 digits go through the hook, the store, the API, GitLab's statuses, comments and deployments;
// the files come as GitLab's archive, which the log says.
func TestSHA256Repository(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.use(r.sim.AddSHA256Project("platform/long", "main", map[string]string{"README.md": "x"}))
	r.stack("long", "infra", nil)
	sha := r.push("feature", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	iid := r.openMR("feature", "One")
	if len(sha) != 64 {
		t.Fatalf("the simulated id is %s", sha)
	}
	st := r.status(sha, "groundcrew/long", "success")
	if st.Description != "1 to add, 0 to change, 0 to destroy" {
		t.Errorf("status %+v", st)
	}
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	run := r.run("proposed", "finished")
	if run["commit"] != sha || !strings.Contains(r.logs(run["id"].(string)), "SHA-256 commit ids, so the files come from GitLab's archive") {
		t.Errorf("the run is %v\n%s", run, r.logs(run["id"].(string)))
	}
	merged, err := r.sim.MergeMergeRequest(r.project.ID, iid, r.author.ID)
	if err != nil {
		t.Fatal(err)
	}
	if run := r.confirmed(); run["commit"] != merged {
		t.Errorf("the tracked run is of %v", run["commit"])
	}
	until(t, "the deployment", func() bool {
		d := r.sim.Deployments(r.project.ID)
		return len(d) == 1 && d[0].SHA == merged && d[0].Status == "success"
	})
	if st := r.must("GET", "/stacks/long", nil, 200); !strings.Contains(fmt.Sprint(st), merged) {
		t.Errorf("the stack tracks another commit than %s: %v", merged, st)
	}
	// missed while nobody listened, a branch deleted (64 zeros), a tag
	r.halt()
	missed := r.push("main", "Missed", map[string]string{"infra/main.tf": resource("a", "2")})
	r.serve()
	until(t, "the missed push", func() bool { return r.items("/runs?type=tracked&limit=1")[0]["commit"] == missed })
	if err := r.sim.DeleteBranch(r.project.ID, "feature"); err != nil {
		t.Fatal(err)
	}
	r.verdict("ignored: the branch feature was deleted")
	r.confirmed()
	r.quiet()
	r.unrefused()
}

// TestThrottledGitLab: an administrator's limits hold up a run and its reports, and lose neither; also where even the archive
// is limited.
func TestThrottledGitLab(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	throttled := sim.Throttled(time.Second)
	throttled.Times, throttled.Path = 6, regexp.MustCompile(`/api/v4/`)
	r.sim.Fault(throttled)
	sha := r.push("one", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	iid := r.openMR("one", "One")
	r.status(sha, "groundcrew/network", "success")
	until(t, "the comment", func() bool { return len(r.notes(iid)) == 1 })
	r.quiet()
	r.sim.Fault(sim.Fault{Path: regexp.MustCompile(`\.git/`), Status: 403, Body: "Git access over HTTP is not allowed"})
	limited := sim.RateLimitedJSON()
	limited.Times, limited.Path = 2, regexp.MustCompile(`/repository/archive`)
	r.sim.Fault(limited)
	sha = r.push("two", "Two", map[string]string{"infra/main.tf": resource("a", "1")})
	r.status(sha, "groundcrew/network", "success")
	run := r.run("proposed", "finished")
	if log := r.logs(run["id"].(string)); strings.Count(log, "Trying again in") != 2 {
		t.Error(log)
	}
	r.quiet()
	r.unrefused()
}

// TestWhatACheckoutLeavesOutIsSaid: pointers of Git LFS and submodules, in the log of the run.
func TestWhatACheckoutLeavesOutIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	dir := filepath.Join(t.TempDir(), "work")
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = filepath.Dir(dir)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@e", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@e")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "topic", dir)
	for name, text := range map[string]string{
		"infra/main.tf": resource("a", "1"), "infra/big.zip": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
		".gitmodules": "[submodule \"modules\"]\n\tpath = infra/modules\n\turl = ../modules.git\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("-C", dir, "add", "-A")
	git("-C", dir, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("ab", 20)+",infra/modules")
	git("-C", dir, "commit", "-q", "-m", "A submodule and a large file")
	git("-C", dir, "push", "-q", strings.Replace(r.gitlab.URL, "http://", "http://oauth2:"+r.token+"@", 1)+"/scm/"+projectAt+".git", "HEAD:refs/heads/topic")
	r.status(git("-C", dir, "rev-parse", "HEAD"), "groundcrew/network", "success")
	log := r.logs(r.run("proposed", "finished")["id"].(string))
	for _, words := range []string{"submodules are not fetched, their folders are empty: infra/modules", "Git LFS files are not fetched, only their pointers are there: infra/big.zip"} {
		if !strings.Contains(log, words) {
			t.Errorf("the log lacks %q:\n%s", words, log)
		}
	}
}
