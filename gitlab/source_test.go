package gitlab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	testToken   = "glpat-sEcReT0123456789"
	testProject = "acme/platform/infra-stack"
)

// A gitServer is real git behind real HTTP: git http-backend under the path of a project on a sub-path install.
type gitServer struct {
	t      *testing.T
	repo   string // bare
	work   string
	url    string // of the GitLab
	posts  atomic.Int64
	sent   atomic.Int64 // bytes of packs
	inject atomic.Pointer[http.HandlerFunc]
	refuse atomic.Pointer[string] // a commit that is not given out by its id
}

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	root := t.TempDir()
	s := &gitServer{t: t, repo: filepath.Join(root, "scm", testProject+".git"), work: t.TempDir()}
	s.run(root, "init", "-q", "--bare", "-b", "main", s.repo)
	s.run(s.repo, "config", "uploadpack.allowAnySHA1InWant", "true")
	s.run(s.work, "init", "-q", "-b", "main")
	s.run(s.work, "remote", "add", "origin", s.repo)
	execPath := strings.TrimSpace(s.run(root, "--exec-path"))
	backend := &cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"), Root: "/",
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.inject.Load(); f != nil {
			(*f)(w, r)
			return
		}
		if user, password, _ := r.BasicAuth(); user != "oauth2" || password != testToken {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, "HTTP Basic: Access denied. If a token was provided, it was either incorrect, expired, or improperly scoped.")
			return
		}
		if r.Method == http.MethodPost {
			s.posts.Add(1)
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if no := s.refuse.Load(); no != nil && bytes.Contains(body, []byte("want "+*no)) {
				fmt.Fprintf(w, "%04xERR upload-pack: not our ref %s", 4+len("ERR upload-pack: not our ref ")+len(*no), *no)
				return
			}
		}
		backend.ServeHTTP(&countingWriter{ResponseWriter: w, n: &s.sent}, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/scm"
	return s
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}

func (s *gitServer) run(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=Jane", "GIT_AUTHOR_EMAIL=j@example.com",
		"GIT_COMMITTER_NAME=Jane", "GIT_COMMITTER_EMAIL=j@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// commit writes files into the work tree, commits and pushes them and returns the commit.
func (s *gitServer) commit(branch string, files map[string]string) string {
	s.t.Helper()
	for name, content := range files {
		path := filepath.Join(s.work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.push(branch)
}

func (s *gitServer) push(branch string) string {
	s.t.Helper()
	s.run(s.work, "add", "-A")
	s.run(s.work, "commit", "-q", "--allow-empty", "-m", "change")
	s.run(s.work, "push", "-q", "-f", "origin", "HEAD:refs/heads/"+branch)
	return strings.TrimSpace(s.run(s.work, "rev-parse", "HEAD"))
}

// tree makes a commit of raw entries ("100644 name" → content) that a work tree could not hold.
func (s *gitServer) tree(entries map[string]string) string {
	s.t.Helper()
	var list bytes.Buffer
	for entry, content := range entries {
		mode, name, _ := strings.Cut(entry, " ")
		kind := map[string]string{"160000": "commit", "040000": "tree"}[mode]
		if kind == "" {
			kind = "blob"
			content = s.pipe(content, "hash-object", "-w", "--stdin")
		}
		fmt.Fprintf(&list, "%s %s %s\t%s\x00", mode, kind, content, name)
	}
	tree := s.pipe(list.String(), "mktree", "-z", "--missing")
	commit := s.pipe("", "commit-tree", "-m", "raw", tree)
	s.run(s.repo, "update-ref", "refs/heads/raw", commit)
	return commit
}

func (s *gitServer) pipe(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = s.repo
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=J", "GIT_AUTHOR_EMAIL=j@e", "GIT_COMMITTER_NAME=J", "GIT_COMMITTER_EMAIL=j@e")
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func (s *gitServer) client() *Client {
	s.t.Helper()
	c, err := New(Options{BaseURL: s.url, Token: testToken})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func newSource(t *testing.T) *Source {
	t.Helper()
	s, err := NewSource(filepath.Join(t.TempDir(), "sources"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustFetch(t *testing.T, s *Source, c *Client, sha string, refs ...string) {
	t.Helper()
	if err := s.Fetch(t.Context(), c, 42, testProject, sha, refs...); err != nil {
		t.Fatal(err)
	}
}

// content reads a folder: name → content, or → "-> target", or → "/".
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir():
			found[name] = "/"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(path)
			found[name] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func checkedOut(t *testing.T, s *Source, sha string) (map[string]string, []string) {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "new", "work")
	warnings, err := s.Checkout(t.Context(), 42, sha, dest)
	if err != nil {
		t.Fatal(err)
	}
	return content(t, dest), warnings
}

func TestSourceFetchesAndUpdates(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	big := strings.Repeat("0123456789abcdef", 64<<10)
	noise := make([]byte, 400<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	first := g.commit("main", map[string]string{"main.tf": "one", "net/vpc.tf": "vpc", "big.txt": big, "noise.bin": string(noise)})
	mustFetch(t, s, g.client(), first)
	cost := g.sent.Swap(0)
	files, warnings := checkedOut(t, s, first)
	want := map[string]string{"main.tf": "one", "net": "/", "net/vpc.tf": "vpc", "big.txt": big, "noise.bin": string(noise)}
	if diff := cmp.Diff(want, files); diff != "" || warnings != nil {
		t.Error(diff, warnings)
	}
	second := g.commit("feature", map[string]string{"main.tf": "two"})
	mustFetch(t, s, g.client(), second)
	if update := g.sent.Swap(0); update > 2000 {
		t.Errorf("the update took %d bytes after %d: it is not incremental", update, cost)
	}
	files, _ = checkedOut(t, s, second)
	want["main.tf"] = "two"
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	if files, _ = checkedOut(t, s, first); files["main.tf"] != "one" {
		t.Error("the first commit is gone after the update")
	}
	before := g.posts.Load()
	mustFetch(t, s, g.client(), first)
	if g.posts.Load() != before {
		t.Error("a commit that is there was fetched again")
	}
}

func TestSourceFetchesCommitOffTheTips(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	old := g.commit("main", map[string]string{"main.tf": "old"})
	for i := range 5 {
		g.commit("main", map[string]string{"main.tf": fmt.Sprint(i)})
	}
	mustFetch(t, s, g.client(), old)
	if files, _ := checkedOut(t, s, old); files["main.tf"] != "old" {
		t.Error(files)
	}
}

func TestSourceFallsBackToRefs(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	old := g.commit("main", map[string]string{"main.tf": "old"})
	g.refuse.Store(&old)
	g.commit("main", map[string]string{"main.tf": "new"})
	err := s.Fetch(t.Context(), g.client(), 42, testProject, old)
	if KindOf(err) != KindNotFound {
		t.Errorf("without refs: %v", err)
	}
	mustFetch(t, s, g.client(), old, "refs/merge-requests/7/head", "refs/heads/main")
	if files, _ := checkedOut(t, s, old); files["main.tf"] != "old" {
		t.Error(files)
	}
	missing := strings.Repeat("ab", 20)
	err = s.Fetch(t.Context(), g.client(), 42, testProject, missing, "refs/heads/main")
	if KindOf(err) != KindNotFound || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing commit: %v", err)
	}
}

func TestSourceFetchesOnceForManyStacks(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.commit("main", map[string]string{"main.tf": "x"})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := s.Fetch(t.Context(), g.client(), 42, testProject, sha); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := g.posts.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestSourceErrors(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.commit("main", map[string]string{"main.tf": "x"})
	for name, c := range map[string]struct {
		token   Token
		path    string
		sha     string
		handler http.HandlerFunc
		kind    Kind
		words   string
	}{
		"bad token":    {token: "glpat-wrong", kind: KindUnauthorized, words: "Access denied"},
		"no project":   {path: "acme/none", kind: KindNotFound},
		"bad path":     {path: "acme/../x", kind: KindInvalid},
		"short id":     {sha: "abc", kind: KindInvalid},
		"sha256":       {sha: strings.Repeat("ab", 32), kind: KindInvalid, words: "SHA-256"},
		"unknown":      {sha: strings.Repeat("ab", 20), kind: KindNotFound},
		"server error": {handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, kind: KindServer},
		"busy":         {handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, kind: KindRateLimited},
		"elsewhere": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://other.invalid"+r.URL.String(), http.StatusFound)
		}, kind: KindRedirect, words: "other.invalid"},
		"no git": {handler: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Sign in") }, kind: KindNetwork},
		"cut off": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "001e# service=git-upload-pack\n")
		}, kind: KindNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			if c.handler != nil {
				g.inject.Store(&c.handler)
				defer g.inject.Store(nil)
			}
			client, err := New(Options{BaseURL: g.url, Token: firstOfTokens(c.token, testToken)})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Fetch(t.Context(), client, 42, firstOf(c.path, testProject), firstOf(c.sha, sha))
			if KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.words) {
				t.Errorf("%q: %v", KindOf(err), err)
			}
			if strings.Contains(fmt.Sprint(err), "glpat-") {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}

func firstOfTokens(a, b Token) Token {
	if a != "" {
		return a
	}
	return b
}

func TestSourceHoldsNoToken(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.commit("main", map[string]string{"main.tf": "x"})
	mustFetch(t, s, g.client(), sha)
	files := content(t, s.dir)
	if len(files) < 5 {
		t.Fatalf("no mirror in %v", slices.Collect(maps.Keys(files)))
	}
	for name, text := range files {
		if strings.Contains(text, testToken) || strings.Contains(text, g.url) {
			t.Errorf("%s holds token or address", name)
		}
	}
}

func TestSourceHealsDamage(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, mirror string){
		"empty packs": func(t *testing.T, m string) {
			eachPack(t, m, "*.pack", func(f string) error { return os.Truncate(f, 0) })
		},
		"empty indexes": func(t *testing.T, m string) {
			eachPack(t, m, "*.idx", func(f string) error { return os.Truncate(f, 0) })
		},
		"no packs":      func(t *testing.T, m string) { eachPack(t, m, "pack-*", os.Remove) },
		"no pack files": func(t *testing.T, m string) { eachPack(t, m, "*.pack", os.Remove) },
		"half the packs": func(t *testing.T, m string) {
			eachPack(t, m, "*.pack", func(f string) error { return os.Truncate(f, 60) })
		},
		"leftovers": func(t *testing.T, m string) { write(t, filepath.Join(m, packDir, "tmp_pack_123"), "PACK") },
		"no mirror": func(t *testing.T, m string) { must(t, os.RemoveAll(m)) },
		"no head":   func(t *testing.T, m string) { must(t, os.RemoveAll(filepath.Join(m, "HEAD"))) },
	} {
		t.Run(name, func(t *testing.T) {
			g, s := newGitServer(t), newSource(t)
			first := g.commit("main", map[string]string{"main.tf": "one", "other.tf": "same"})
			mustFetch(t, s, g.client(), first)
			harm(t, s.mirror(42).dir)
			s, err := NewSource(s.dir) // as after a restart
			must(t, err)
			second := g.commit("main", map[string]string{"main.tf": "two"})
			mustFetch(t, s, g.client(), second)
			mustFetch(t, s, g.client(), first)
			for sha, want := range map[string]string{first: "one", second: "two"} {
				files := content(t, checkoutTwice(t, s, g.client(), sha))
				if files["main.tf"] != want || files["other.tf"] != "same" {
					t.Errorf("%s: %v", sha, files)
				}
			}
		})
	}
}

// checkoutTwice tries again once, as the message asks for.
func checkoutTwice(t *testing.T, s *Source, c *Client, sha string) string {
	t.Helper()
	dest := t.TempDir()
	_, err := s.Checkout(t.Context(), 42, sha, dest)
	if err != nil {
		mustFetch(t, s, c, sha)
		_, err = s.Checkout(t.Context(), 42, sha, dest)
	}
	must(t, err)
	return dest
}

// A file whose bytes are bad shows only when it is read.
func TestSourceHealsAfterACheckoutThatFoundDamage(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	noise := make([]byte, 100<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	sha := g.commit("main", map[string]string{"a.bin": string(noise)})
	mustFetch(t, s, g.client(), sha)
	eachPack(t, s.mirror(42).dir, "*.pack", func(f string) error {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		copy(b[len(b)/2:], make([]byte, 4<<10))
		must(t, os.Remove(f))
		return os.WriteFile(f, b, 0o600)
	})
	dest := t.TempDir()
	_, err := s.Checkout(t.Context(), 42, sha, dest)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("a damaged file was written: %v", err)
	}
	if left := content(t, dest); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	mustFetch(t, s, g.client(), sha)
	if files, _ := checkedOut(t, s, sha); files["a.bin"] != string(noise) {
		t.Error("not healed")
	}
}

func TestSourceIsBegunAnewAfterManyFetches(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	first := g.commit("main", map[string]string{"main.tf": "one"})
	mustFetch(t, s, g.client(), first)
	for i := range maxCommits {
		write(t, filepath.Join(s.mirror(42).dir, fetchedDir, fmt.Sprintf("%040d", i)), "")
	}
	second := g.commit("main", map[string]string{"main.tf": "two"})
	mustFetch(t, s, g.client(), second)
	for sha, want := range map[string]string{first: "one", second: "two"} {
		if files, _ := checkedOut(t, s, sha); files["main.tf"] != want {
			t.Errorf("%s: %v", sha, files)
		}
	}
	if n := len(s.mirror(42).fetched()); n != 1 {
		t.Errorf("%d commits in the new mirror", n)
	}
}

func TestCheckoutKeepsWhatIsHarmless(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	module := g.pipe("", "mktree")
	inner := g.pipe("100644 blob "+g.pipe("x", "hash-object", "-w", "--stdin")+"\tx\n", "mktree")
	sha := g.tree(map[string]string{
		"100644 main.tf": "main", "100755 run.sh": "#!/bin/sh", "100664 old.tf": "old mode",
		"120000 same": "main.tf", "120000 below": "sub/x", "120000 dangling": "not/there", "120000 dir": "sub", "120000 via": "dir/x",
		"040000 sub": inner, "040000 empty": module, "160000 vendored": strings.Repeat("ab", 20),
		"100644 .terraform.lock.hcl": "lock", "040000 .terraform": inner, "100644 big.iso": lfsHeader + "oid sha256:0\nsize 1\n",
		"100644 .gitmodules": "[submodule]",
	})
	mustFetch(t, s, g.client(), sha)
	dest := t.TempDir()
	warnings, err := s.Checkout(t.Context(), 42, sha, dest)
	must(t, err)
	want := map[string]string{
		"main.tf": "main", "run.sh": "#!/bin/sh", "old.tf": "old mode", "same": "-> main.tf", "below": "-> sub/x", "dangling": "-> not/there",
		"dir": "-> sub", "via": "-> dir/x", "sub": "/", "sub/x": "x", "empty": "/", "vendored": "/", ".terraform.lock.hcl": "lock",
		"big.iso": lfsHeader + "oid sha256:0\nsize 1\n", ".gitmodules": "[submodule]",
	}
	if diff := cmp.Diff(want, content(t, dest)); diff != "" {
		t.Error(diff)
	}
	wantWarnings := []string{
		"left out, because a run makes its own: .terraform",
		"submodules are not fetched, their folders are empty: vendored",
		"Git LFS files are not fetched, only their pointers are there: big.iso",
	}
	if diff := cmp.Diff(wantWarnings, warnings); diff != "" {
		t.Error(diff)
	}
	for name, perm := range map[string]fs.FileMode{"main.tf": 0o644, "run.sh": 0o755, "old.tf": 0o644, "sub": 0o755} {
		if info, err := os.Stat(filepath.Join(dest, name)); err != nil || info.Mode().Perm() != perm {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestCheckoutRefusesWhatLeadsOutside(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	blob := g.pipe("x", "hash-object", "-w", "--stdin")
	deep := g.pipe("120000 blob "+g.pipe("../..", "hash-object", "-w", "--stdin")+"\tup\n", "mktree")
	deep = g.pipe("040000 tree "+deep+"\tb\n", "mktree")
	for name, c := range map[string]struct {
		entries map[string]string
		words   string
	}{
		"absolute link":       {map[string]string{"120000 l": "/etc/passwd"}, "l → /etc/passwd"},
		"link above":          {map[string]string{"120000 l": "../x"}, "l → ../x"},
		"link to the parent":  {map[string]string{"120000 l": ".."}, "l → .."},
		"link in the middle":  {map[string]string{"120000 l": "a/../../x"}, "l → a/../../x"},
		"through other links": {map[string]string{"040000 a": deep, "120000 out": "a/b/up/../etc"}, "out → a/b/up/../etc"},
		"loop":                {map[string]string{"120000 l": "l"}, "l → l"},
		"empty link":          {map[string]string{"120000 l": ""}, "l → "},
		"backslash":           {map[string]string{`100644 a\..\b`: "x"}, "safely"},
		"parent":              {map[string]string{"100644 ..": "x"}, "safely"},
		"dot":                 {map[string]string{"040000 .": g.pipe("", "mktree")}, "safely"},
		"link and folder":     {map[string]string{"120000 a": "sub", "040000 a": g.pipe("100644 blob "+blob+"\tb\n", "mktree")}, "twice"},
		"file and link":       {map[string]string{"100644 ok": "x", "120000 a": "ok", "100755 a": "y"}, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			sha := g.tree(c.entries)
			mustFetch(t, s, g.client(), sha)
			outer := t.TempDir()
			write(t, filepath.Join(outer, "x"), "secret")
			dest := filepath.Join(outer, "dest")
			_, err := s.Checkout(t.Context(), 42, sha, dest)
			if KindOf(err) != KindInvalid || !strings.Contains(err.Error(), c.words) {
				t.Errorf("err = %v", err)
			}
			if diff := cmp.Diff(map[string]string{"x": "secret", "dest": "/"}, content(t, outer)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheckoutLeavesGitFoldersOut(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	hooks := g.pipe("100755 blob "+g.pipe("evil", "hash-object", "-w", "--stdin")+"\thook\n", "mktree")
	sha := g.tree(map[string]string{"040000 .GIT": hooks, "040000 .Terraform": hooks, "100644 a": "x"})
	mustFetch(t, s, g.client(), sha)
	if files, warnings := checkedOut(t, s, sha); len(files) != 1 || len(warnings) != 1 {
		t.Error(files, warnings)
	}
}

func TestCheckoutLimits(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.commit("main", map[string]string{"a": "12345", "b/c": "12345"})
	mustFetch(t, s, g.client(), sha)
	for name, c := range map[string]struct {
		bytes int64
		files int
		words string
	}{
		"bytes": {9, 10, "9 bytes"},
		"files": {100, 2, "2 files"},
	} {
		s.MaxBytes, s.MaxFiles = c.bytes, c.files
		dest := t.TempDir()
		_, err := s.Checkout(t.Context(), 42, sha, dest)
		if KindOf(err) != KindInvalid || !strings.Contains(err.Error(), c.words) || len(content(t, dest)) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.MaxBytes, s.MaxFiles = 10, 3
	if files, _ := checkedOut(t, s, sha); len(files) != 3 {
		t.Error(files)
	}
	full := t.TempDir()
	write(t, filepath.Join(full, "there"), "")
	if _, err := s.Checkout(t.Context(), 42, sha, full); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder that is not empty: %v", err)
	}
	if _, err := s.Checkout(t.Context(), 42, strings.Repeat("cd", 20), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a commit that was not fetched: %v", err)
	}
}

// A tree that holds itself many times over is tiny in git and endless on disk.
func TestCheckoutStopsAtATreeBomb(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	tree := g.pipe("100644 blob "+g.pipe("x", "hash-object", "-w", "--stdin")+"\tx\n", "mktree")
	for range 10 {
		var list strings.Builder
		for i := range 10 {
			fmt.Fprintf(&list, "040000 tree %s\td%d\n", tree, i)
		}
		tree = g.pipe(list.String(), "mktree")
	}
	sha := g.tree(map[string]string{"040000 bomb": tree})
	mustFetch(t, s, g.client(), sha)
	s.MaxFiles = 500
	if _, err := s.Checkout(t.Context(), 42, sha, t.TempDir()); KindOf(err) != KindInvalid || !strings.Contains(err.Error(), "500") {
		t.Errorf("err = %v", err)
	}
}

func TestReadFile(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.tree(map[string]string{
		"100644 a.yml": "hello", "120000 l": "a.yml", "040000 d": g.pipe("100644 blob "+g.pipe("x", "hash-object", "-w", "--stdin")+"\tx\n", "mktree"),
	})
	mustFetch(t, s, g.client(), sha)
	if got, err := s.ReadFile(42, sha, "a.yml", 5); err != nil || string(got) != "hello" {
		t.Error(string(got), err)
	}
	if got, err := s.ReadFile(42, sha, "d/x", 5); err != nil || string(got) != "x" {
		t.Error(string(got), err)
	}
	for _, name := range []string{"none", "d/none", "none/x", "a.yml/x", ""} {
		if _, err := s.ReadFile(42, sha, name, 5); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, limit := range map[string]int64{"a.yml": 4, "l": 100, "d": 100} {
		if _, err := s.ReadFile(42, sha, name, limit); KindOf(err) != KindInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSourceWithTenThousandFiles(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	files := map[string]string{}
	for i := range 10_000 {
		files[fmt.Sprintf("stacks/%d/%d/main.tf", i%100, i)] = fmt.Sprintf("# %d\n", i)
	}
	sha := g.commit("main", files)
	start := time.Now()
	mustFetch(t, s, g.client(), sha)
	fetched := time.Now()
	got, _ := checkedOut(t, s, sha)
	t.Logf("fetch %v, checkout and read back %v", fetched.Sub(start), time.Since(fetched))
	maps.DeleteFunc(got, func(_, v string) bool { return v == "/" })
	if len(got) != len(files) || got["stacks/7/7/main.tf"] != "# 7\n" {
		t.Errorf("%d files", len(got))
	}
}

func eachPack(t *testing.T, mirror, pattern string, f func(string) error) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(mirror, packDir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, mirror, err)
	}
	for _, n := range names {
		must(t, os.Chmod(n, 0o600))
		must(t, f(n))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
