package gitlab

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
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
	cutAt  atomic.Int64 // when sent reaches it the connection breaks; 0: never
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
		backend.ServeHTTP(&countingWriter{ResponseWriter: w, s: s}, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/scm"
	return s
}

type countingWriter struct {
	http.ResponseWriter
	s *gitServer
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if sent, cut := w.s.sent.Add(int64(len(p))), w.s.cutAt.Load(); cut > 0 && sent > cut {
		panic(http.ErrAbortHandler)
	}
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
