package gitlab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

// A fetch that breaks off half-way leaves nothing that the next one trips over.
func TestSourceGoesOnAfterAFetchThatBrokeOff(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	first := g.commit("main", map[string]string{"main.tf": "one"})
	for i, name := range []string{"first fetch", "update"} {
		if name == "update" {
			mustFetch(t, s, g.client(), first)
		}
		noise := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{byte(i + 1)}).Read(noise)
		sha := g.commit("main", map[string]string{"noise.bin": string(noise)})
		g.cutAt.Store(g.sent.Load() + 300<<10)
		if err := s.Fetch(t.Context(), g.client(), 42, testProject, sha); KindOf(err) != KindNetwork {
			t.Errorf("%s: %v", name, err)
		}
		g.cutAt.Store(0)
		mustFetch(t, s, g.client(), sha)
		if files, _ := checkedOut(t, s, sha); files["noise.bin"] != string(noise) {
			t.Errorf("%s: the file is not right", name)
		}
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

// A mirror whose branches are known asks for a commit at once: that request, a POST, may be redirected as well.
func TestSourceNamesTheTargetOfARedirectedFetch(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	mustFetch(t, s, g.client(), g.commit("main", map[string]string{"main.tf": "x"}))
	elsewhere := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://other.invalid"+r.URL.String(), http.StatusFound)
	})
	g.inject.Store(&elsewhere)
	err := s.Fetch(t.Context(), g.client(), 42, testProject, strings.Repeat("ab", 20))
	if KindOf(err) != KindRedirect || !strings.Contains(fmt.Sprint(err), "to http://other.invalid/scm/"+testProject) {
		t.Errorf("%q: %v", KindOf(err), err)
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
		write(t, filepath.Join(s.mirror(42).dir, "fetched-"+bootID(), fmt.Sprintf("%040d", i)), "")
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
	var stream strings.Builder
	stream.WriteString("commit refs/heads/many\ncommitter J <j@e> 0 +0000\ndata 0\n")
	for i := range 10_000 {
		text := fmt.Sprintf("# %d\n", i)
		fmt.Fprintf(&stream, "M 644 inline stacks/%d/%d.tf\ndata %d\n%s\n", i%100, i, len(text), text)
	}
	g.pipe(stream.String(), "fast-import", "--quiet")
	sha := g.pipe("", "rev-parse", "refs/heads/many")
	start := time.Now()
	mustFetch(t, s, g.client(), sha)
	fetched := time.Now()
	got, _ := checkedOut(t, s, sha)
	t.Logf("fetch %v, checkout and read back %v", fetched.Sub(start), time.Since(fetched))
	maps.DeleteFunc(got, func(_, v string) bool { return v == "/" })
	if len(got) != 10_000 || got["stacks/7/7.tf"] != "# 7\n" {
		t.Errorf("%d files", len(got))
	}
}

// What lay in the mirror when the power failed may be half of what was written, so nothing of it is built on.
func TestSourceBeginsAnewAfterABoot(t *testing.T) {
	g := newGitServer(t)
	dir := t.TempDir()
	s, err := NewSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	sha := g.commit("main", map[string]string{"main.tf": "one"})
	mustFetch(t, s, g.client(), sha)
	objects, err := filepath.Glob(filepath.Join(dir, "42.git", "objects", "pack", "*"))
	if err != nil || len(objects) == 0 {
		t.Fatal("no pack was kept", err)
	}
	for _, o := range objects {
		if err := os.Truncate(o, 0); err != nil {
			t.Fatal(err)
		}
	}
	again, err := NewSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.boot = "another"
	mustFetch(t, again, g.client(), sha)
	if files, _ := checkedOut(t, again, sha); files["main.tf"] != "one" {
		t.Error(files)
	}
}
