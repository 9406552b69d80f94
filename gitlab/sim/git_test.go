package sim

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gitIn runs the real git in a folder, as a person would.
func gitIn(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Jane", "GIT_AUTHOR_EMAIL=jane@example.com", "GIT_COMMITTER_NAME=Jane", "GIT_COMMITTER_EMAIL=jane@example.com")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := gitIn(t, dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

// clone is the project's address with a user's token.
func (w *world) clone(who string) string {
	return strings.Replace(w.url, "://", "://any:"+w.tokens[who]+"@", 1) + "/" + w.project.Path + ".git"
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGitCloneAndPush(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RelativeRoot = "scm" })
	got := w.receiver("push_events", "merge_requests_events")
	dir := t.TempDir()
	mustGit(t, dir, "clone", "--quiet", w.clone("developer"), "work")
	work := filepath.Join(dir, "work")
	if text, err := os.ReadFile(filepath.Join(work, "stacks/network/main.tf")); err != nil || string(text) != someFiles["stacks/network/main.tf"] {
		t.Fatalf("cloned %q, %v", text, err)
	}
	mustGit(t, work, "checkout", "--quiet", "-b", "feature/by-hand")
	write(t, work, "new file.tf", "# new\n")
	mustGit(t, work, "add", ".")
	mustGit(t, work, "commit", "--quiet", "-m", "By hand")
	mustGit(t, work, "push", "--quiet", "origin", "feature/by-hand")
	sha := mustGit(t, work, "rev-parse", "HEAD")
	if head := w.s.Head(w.project.ID, "feature/by-hand"); head != sha {
		t.Errorf("head %s, want %s", head, sha)
	}
	push := got.next(t, "Push Hook")
	if push.body["after"] != sha || push.body["user_username"] != "developer" || push.body["ref"] != "refs/heads/feature/by-hand" {
		t.Errorf("push hook %v %v %v", push.body["after"], push.body["user_username"], push.body["ref"])
	}
	iid := w.openMR("feature/by-hand")
	got.next(t, "Merge Request Hook")
	mustGit(t, work, "commit", "--quiet", "--amend", "-m", "By hand again")
	mustGit(t, work, "push", "--quiet", "--force", "origin", "feature/by-hand")
	update := got.next(t, "Merge Request Hook")
	attributes := update.body["object_attributes"].(map[string]any)
	if attributes["oldrev"] != sha || attributes["iid"] != float64(iid) {
		t.Errorf("update hook: oldrev %v of !%v", attributes["oldrev"], attributes["iid"])
	}
	if out, err := gitIn(t, work, "push", "origin", "HEAD:main"); err == nil {
		t.Errorf("a Developer pushed to the protected branch: %s", out)
	}
	if out, err := gitIn(t, work, "push", w.clone("reporter"), "HEAD:other"); err == nil {
		t.Errorf("a Reporter pushed: %s", out)
	}
	mustGit(t, work, "push", "--quiet", w.clone("maintainer"), "HEAD:main")
	mr, err := w.s.MergeRequest(w.project.ID, iid)
	w.check(err)
	if mr.State != "merged" {
		t.Errorf("the merge request is %s after its commits were pushed to main by hand, want merged", mr.State)
	}
}

func TestGitFetchesAnyCommitAndMergeRequestRefs(t *testing.T) {
	w := newWorld(t)
	first := w.push("feature", map[string]string{"a.tf": "1\n"})
	iid := w.openMR("feature")
	w.check(w.s.ForcePush(w.project.ID, "feature", "main"))
	second := w.push("feature", map[string]string{"a.tf": "2\n"})
	dir := t.TempDir()
	mustGit(t, dir, "init", "--quiet", "--bare", ".")
	mustGit(t, dir, "fetch", "--quiet", "--depth=1", w.clone("reporter"), first) // no ref has it any more
	mustGit(t, dir, "fetch", "--quiet", w.clone("reporter"), "refs/merge-requests/"+itoa(iid)+"/head:head", "refs/merge-requests/"+itoa(iid)+"/merge:merge")
	if head := mustGit(t, dir, "rev-parse", "head"); head != second {
		t.Errorf("merge request head %s, want %s", head, second)
	}
	parents := mustGit(t, dir, "rev-list", "--parents", "-1", "merge")
	if want := w.s.Head(w.project.ID, "main") + " " + second; !strings.HasSuffix(parents, want) {
		t.Errorf("the merge ref has %q, want parents %q", parents, want)
	}
	got := w.want(200, "developer", "GET", w.in("/merge_requests/%d/merge_ref", iid), nil)
	if got.object()["commit_id"] != strings.Fields(parents)[0] {
		t.Errorf("merge_ref %v, want %s", got.object()["commit_id"], parents)
	}
}

func TestGitRefusals(t *testing.T) {
	w := newWorld(t)
	w.tokens["read_api"] = w.s.AddToken(w.users["developer"].ID, "x", []string{"read_api"}, time.Time{})
	w.tokens["read_repository"] = w.s.AddToken(w.users["developer"].ID, "y", []string{"read_repository"}, time.Time{})
	w.tokens["unknown"] = "glpat-nope"
	w.tokens["revoked"] = w.s.AddToken(w.users["developer"].ID, "z", []string{"api"}, time.Time{})
	w.s.RevokeToken(w.tokens["revoked"])
	for _, c := range []struct {
		who, service string
		status       int
	}{
		{"", "git-upload-pack", 401},
		{"unknown", "git-upload-pack", 401},
		{"revoked", "git-upload-pack", 401},
		{"stranger", "git-upload-pack", 404},
		{"guest", "git-upload-pack", 403},
		{"read_api", "git-upload-pack", 403},
		{"read_repository", "git-upload-pack", 200},
		{"read_repository", "git-receive-pack", 403},
		{"reporter", "git-receive-pack", 403},
		{"developer", "git-receive-pack", 200},
	} {
		req := w.request("GET", w.url+"/"+w.project.Path+".git/info/refs?service="+c.service, nil)
		if c.who != "" {
			req.SetBasicAuth("oauth2", w.tokens[c.who])
		}
		got := w.do(req)
		if got.status != c.status {
			t.Errorf("%s as %q: %d %s, want %d", c.service, c.who, got.status, got.raw, c.status)
		}
		if got.status == 401 && got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s as %q: a 401 without a challenge, so git will not send its token", c.service, c.who)
		}
	}
	for _, r := range w.s.Refused() {
		if r.Token == "" {
			t.Errorf("git's first request without credentials counts as refused: %v", r)
		}
	}
}

func TestEmptyRepository(t *testing.T) {
	w := newWorld(t)
	p, err := w.s.AddProject("acme/empty", "trunk", nil)
	w.check(err)
	got := w.want(200, "root", "GET", "/projects/"+itoa(p.ID), nil)
	if got.object()["default_branch"] != nil || got.object()["empty_repo"] != true {
		t.Errorf("default_branch %v, empty_repo %v", got.object()["default_branch"], got.object()["empty_repo"])
	}
	_, err = w.s.Push(p.ID, "trunk", "First", map[string]string{"a.tf": "x"})
	w.check(err)
	got = w.want(200, "root", "GET", "/projects/"+itoa(p.ID), nil)
	if got.object()["default_branch"] != "trunk" {
		t.Errorf("default_branch %v after the first push, want trunk", got.object()["default_branch"])
	}
}

func TestArchive(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now } })
	sha := w.s.Head(w.project.ID, "main")
	got := w.want(200, "developer", "GET", w.in("/repository/archive.tar.gz?sha=%s", sha), nil)
	top := "infra-stack-" + sha + "-" + sha
	if d := got.header.Get("Content-Disposition"); d != `attachment; filename="`+top+`.tar.gz"` {
		t.Errorf("Content-Disposition %q", d)
	}
	files := untar(t, got.raw)
	if files[top+"/stacks/dns/main.tf"] != someFiles["stacks/dns/main.tf"] {
		t.Errorf("the archive holds %v", files)
	}
	got = w.want(200, "developer", "GET", w.in("/repository/archive?path=stacks/dns"), nil)
	if files := untar(t, got.raw); len(files) != 1 {
		t.Errorf("the archive of one folder holds %v", files)
	}
	for range archivesPerMinute - 2 {
		w.want(200, "developer", "GET", w.in("/repository/archive"), nil)
	}
	got = w.want(429, "developer", "GET", w.in("/repository/archive"), nil)
	if _, want := sample(t, "archive_rate_limited"); got.raw == "" || want == nil || !strings.Contains(got.raw, "This archive has been requested too many times") {
		t.Errorf("body %s", got.raw)
	}
	w.want(200, "reporter", "GET", w.in("/repository/archive"), nil) // the limit is per user
	now = now.Add(time.Minute)
	w.want(200, "developer", "GET", w.in("/repository/archive"), nil)
}

func untar(t *testing.T, raw string) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = string(text)
		}
	}
}

func TestRepositoryReads(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature/x", map[string]string{"stacks/network/main.tf": "changed\n", "new.tf": "1\n"}, Deleting("stacks/network/old.tf"))
	got := w.want(200, "developer", "GET", w.in("/repository/compare?from=main&to=%s", sha), nil)
	var paths []string
	for _, d := range got.object()["diffs"].([]any) {
		paths = append(paths, d.(map[string]any)["new_path"].(string))
	}
	if want := "new.tf stacks/network/main.tf stacks/network/old.tf"; strings.Join(paths, " ") != want {
		t.Errorf("diffs of %v, want %s", paths, want)
	}
	diff := got.object()["diffs"].([]any)[0].(map[string]any)
	if diff["diff"] != "@@ -0,0 +1 @@\n+1\n" || diff["new_file"] != true || diff["a_mode"] != "0" {
		t.Errorf("diff %v", diff)
	}
	got = w.want(200, "developer", "GET", w.in("/repository/branches/%s", esc("feature/x")), nil)
	if got.object()["name"] != "feature/x" || got.object()["can_push"] != true {
		t.Errorf("branch %s", got.raw)
	}
	w.want(404, "developer", "GET", w.in("/repository/branches/feature/x"), nil)
	got = w.want(200, "developer", "GET", w.in("/repository/files/%s/raw?ref=feature/x", esc("stacks/network/main.tf")), nil)
	if got.raw != "changed\n" || got.header.Get("X-Gitlab-Last-Commit-Id") != sha {
		t.Errorf("raw %q, last commit %s", got.raw, got.header.Get("X-Gitlab-Last-Commit-Id"))
	}
	got = w.want(200, "developer", "GET", w.in("/repository/tree?recursive=true&path=stacks&ref=feature/x"), nil)
	if len(got.list()) != 4 {
		t.Errorf("tree %s", got.raw)
	}
	w.want(404, "developer", "GET", w.in("/repository/tree?path=nothing"), nil)
	w.want(404, "developer", "GET", w.in("/repository/compare?from=main&to=nothing"), nil)
	got = w.want(200, "developer", "GET", w.in("/repository/commits?ref_name=feature/x&path=new.tf"), nil)
	if len(got.list()) != 1 {
		t.Errorf("commits of one path: %s", got.raw)
	}
}

func TestMissingGitIsSaid(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := New(Options{Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "install git") {
		t.Errorf("error %v, want one that says to install git", err)
	}
}

func TestGzippedUploadPack(t *testing.T) {
	w := newWorld(t)
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	_, err := z.Write([]byte("0032want " + w.s.Head(w.project.ID, "main") + "\n00000009done\n"))
	w.check(errors.Join(err, z.Close()))
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/"+w.project.Path+".git/git-upload-pack", &body)
	w.check(err)
	req.Header.Set("Content-Encoding", "gzip")
	req.SetBasicAuth("x", w.tokens["developer"])
	if got := w.do(req); got.status != 200 || !strings.Contains(got.raw, "PACK") {
		t.Errorf("%d %q", got.status, got.raw)
	}
}
