package gitlab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refuseGit makes the server one whose administrator has switched git over HTTP off; archives are of the work tree.
func (s *gitServer) refuseGit(sha string, change func([]byte) []byte) *int {
	asked := 0
	f := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/repository/archive.tar.gz") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "Git access over HTTP is not allowed")
			return
		}
		asked++
		if r.Header.Get("Authorization") != "Bearer "+testToken || r.URL.Query().Get("sha") != sha {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		out := s.run(s.repo, "archive", "--format=tar.gz", "--prefix=infra-"+sha+"/", sha)
		_, _ = w.Write(change([]byte(out)))
	})
	s.inject.Store((*http.HandlerFunc)(&f))
	return &asked
}

func same(b []byte) []byte { return b }

func TestArchiveWhereGitIsRefused(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	must(t, os.Symlink("main.tf", filepath.Join(g.work, "link")))
	must(t, os.WriteFile(filepath.Join(g.work, "run.sh"), []byte("#!/bin/sh\n"), 0o755))
	long := strings.Repeat("long-name-", 12) + "/" + strings.Repeat("file-", 30) + ".tf"
	sha := g.commit("main", map[string]string{"main.tf": "one", "net/vpc.tf": "vpc", long: "x", "empty": ""})
	asked := g.refuseGit(sha, same)
	for range 3 {
		mustFetch(t, s, g.client(), sha)
	}
	if *asked != 1 {
		t.Errorf("asked %d times", *asked)
	}
	dest := filepath.Join(t.TempDir(), "work")
	warnings, err := s.Checkout(t.Context(), 42, sha, dest)
	must(t, err)
	want := map[string]string{
		"main.tf": "one", "net": "/", "net/vpc.tf": "vpc", "link": "-> main.tf", "run.sh": "#!/bin/sh\n", "empty": "",
		filepath.Dir(long): "/", long: "x",
	}
	if diff := cmp.Diff(want, content(t, dest)); diff != "" {
		t.Error(diff)
	}
	if len(warnings) != 1 || warnings[0] != archiveWarning {
		t.Error(warnings)
	}
	if info, err := os.Stat(filepath.Join(dest, "run.sh")); err != nil || info.Mode()&0o100 == 0 {
		t.Error(info.Mode(), err)
	}
	// When git is allowed again, what came as an archive is nothing it builds on.
	g.inject.Store(nil)
	next := g.commit("main", map[string]string{"main.tf": "two"})
	mustFetch(t, s, g.client(), next)
	if files, _ := checkedOut(t, s, next); files["main.tf"] != "two" {
		t.Error(files)
	}
}

func TestArchiveThatIsNotWholeIsRefused(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"cut":         func(b []byte) []byte { return b[:len(b)-6] },
		"half":        func(b []byte) []byte { return b[:len(b)/2] },
		"nothing":     func([]byte) []byte { return nil },
		"no archive":  func([]byte) []byte { return []byte("<html>Sign in</html>") },
		"bit flipped": func(b []byte) []byte { b[len(b)-5] ^= 1; return b },
	} {
		g, s := newGitServer(t), newSource(t)
		sha := g.commit("main", map[string]string{"main.tf": strings.Repeat("one ", 5000)})
		g.refuseGit(sha, change)
		if err := s.Fetch(t.Context(), g.client(), 42, testProject, sha); KindOf(err) != KindNetwork {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Checkout(t.Context(), 42, sha, filepath.Join(t.TempDir(), "w")); err == nil {
			t.Errorf("%s was checked out", name)
		}
		g.refuseGit(sha, same)
		mustFetch(t, s, g.client(), sha)
	}
}

func TestArchivesAreAskedForFiveTimesAMinute(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	for i := range archivesPerMinute + 1 {
		sha := g.commit("main", map[string]string{"main.tf": fmt.Sprint(i)})
		asked := g.refuseGit(sha, same)
		err := s.Fetch(t.Context(), g.client(), 42, testProject, sha)
		if i < archivesPerMinute {
			must(t, err)
		} else if !KindOf(err).Temporary() || *asked != 0 {
			t.Errorf("the sixth: %v, asked %d times", err, *asked)
		}
		g.inject.Store(nil)
	}
}

func TestNeitherGitNorArchive(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	sha := g.commit("main", map[string]string{"main.tf": "x"})
	g.refuseGit("another", same)
	err := s.Fetch(t.Context(), g.client(), 42, testProject, sha)
	if err == nil || !strings.Contains(err.Error(), "Git access over HTTP is not allowed") {
		t.Error(err)
	}
}

const aCommit = "0123456789abcdef0123456789abcdef01234567"

func archiveOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": aCommit}}); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		e.Size = int64(len(e.Uname)) // the content, for short
		text := e.Uname
		e.Uname = ""
		if err := w.WriteHeader(&e); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpacked unpacks an archive and checks it out, and says what was refused.
func unpacked(t testing.TB, raw []byte) (string, error) {
	t.Helper()
	dir := t.TempDir()
	m := &mirror{dir: filepath.Join(dir, "42.git"), fetchedDir: "fetched", turn: make(chan struct{}, 1)}
	st := open(m.dir)
	defer st.Close()
	if err := st.Init(); err != nil {
		t.Fatal(err)
	}
	hash, err := st.unpack(t.Context(), bytes.NewReader(raw), aCommit, limits{1 << 20, 200})
	if err != nil {
		return "", err
	}
	if err := m.mark(aCommit, hash.String()); err != nil {
		t.Fatal(err)
	}
	s := &Source{MaxBytes: 1 << 20, MaxFiles: 200, dir: dir, mirrors: map[int64]*mirror{42: m}}
	dest := filepath.Join(dir, "inner", "work")
	_, err = s.Checkout(t.Context(), 42, aCommit, dest)
	return dest, err
}

func TestArchivesThatWantOutAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		entries []tar.Header
		want    string
	}{
		"parent":       {[]tar.Header{{Name: "top/../../x", Uname: "x"}}, "can't be written to disk safely"},
		"deep parent":  {[]tar.Header{{Name: "top/a/../../../x", Uname: "x"}}, "can't be written to disk safely"},
		"absolute":     {[]tar.Header{{Name: "top//etc/x", Uname: "x"}}, "can't be written to disk safely"},
		"backslash":    {[]tar.Header{{Name: `top/..\x`, Uname: "x"}}, "can't be written to disk safely"},
		"link out":     {[]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "../../secret"}}, "lead outside"},
		"link to root": {[]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "/etc/passwd"}}, "lead outside"},
		"through link": {[]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "d"}, {Name: "top/l/x", Uname: "x"}}, "twice"},
		"hard link":    {[]tar.Header{{Typeflag: tar.TypeLink, Name: "top/l", Linkname: "/etc/passwd"}}, "neither file"},
		"device":       {[]tar.Header{{Typeflag: tar.TypeChar, Name: "top/d"}}, "neither file"},
		"pipe":         {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "top/p"}}, "neither file"},
		"twice":        {[]tar.Header{{Name: "top/a", Uname: "1"}, {Name: "top/a", Uname: "2"}}, "twice"},
		"large":        {[]tar.Header{{Name: "top/a", Uname: strings.Repeat("x", 1<<20+1)}}, "more than the 1048576 bytes"},
		"deep":         {[]tar.Header{{Name: "top/" + strings.Repeat("d/", maxDepth+1) + "f", Uname: "x"}}, "inside each other"},
	} {
		if _, err := unpacked(t, archiveOf(t, c.entries...)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := make([]tar.Header, 201)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprintf("top/%d", i)}
	}
	if _, err := unpacked(t, archiveOf(t, many...)); err == nil || !strings.Contains(err.Error(), "more than the 200 files") {
		t.Error(err)
	}
}

// FuzzArchive gives the unpacking any bytes: nothing may be written outside of the folder it is given, and no link in it may
// lead out.
func FuzzArchive(f *testing.F) {
	f.Add("top/a", "x", byte(tar.TypeReg), "top/b", "")
	f.Add("top/l", "../x", byte(tar.TypeSymlink), "top/l/x", "y")
	f.Add("../a", "/etc/passwd", byte(tar.TypeLink), "/b", "")
	f.Add("top/.git/hooks/x", "x", byte(tar.TypeReg), "top/.terraform/x", "y")
	f.Fuzz(func(t *testing.T, name, target string, kind byte, second, text string) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": aCommit}})
		_ = w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: target})
		if w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: second, Size: int64(len(text))}) == nil {
			_, _ = w.Write([]byte(text))
		}
		_ = w.Close()
		_ = z.Close()
		dest, err := unpacked(t, b.Bytes())
		if err != nil {
			return
		}
		around, err := os.ReadDir(filepath.Dir(filepath.Dir(dest)))
		if err != nil || len(around) != 2 { // the mirror and inner
			t.Fatalf("beside the checkout lies %v (%v)", around, err)
		}
		root, err := os.OpenRoot(dest)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		for path, what := range content(t, dest) {
			if _, err := root.Stat(path); err != nil && !os.IsNotExist(err) && !strings.Contains(err.Error(), "not a directory") {
				t.Errorf("%s is %q and leads out: %v", path, what, err)
			}
		}
	})
}

// Of a repository with SHA-256 ids, which the git library does not speak, GitLab's archive is taken without asking git first.
func TestArchiveOfASHA256Repository(t *testing.T) {
	g, s := newGitServer(t), newSource(t)
	repo := filepath.Join(t.TempDir(), "long")
	must(t, os.MkdirAll(repo, 0o755))
	g.run(repo, "init", "-q", "--object-format=sha256", "-b", "main")
	must(t, os.WriteFile(filepath.Join(repo, "main.tf"), []byte("one"), 0o600))
	g.run(repo, "add", "-A")
	g.run(repo, "commit", "-q", "-m", "One")
	sha := strings.TrimSpace(g.run(repo, "rev-parse", "HEAD"))
	var asked []string
	f := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		_, _ = w.Write([]byte(g.run(repo, "archive", "--format=tar.gz", "--prefix=infra-"+sha+"/", sha)))
	})
	g.inject.Store((*http.HandlerFunc)(&f))
	for range 2 {
		mustFetch(t, s, g.client(), sha)
	}
	files, warnings := checkedOut(t, s, sha)
	if files["main.tf"] != "one" || len(warnings) != 1 || warnings[0] != sha256Warning {
		t.Errorf("%v, %v", files, warnings)
	}
	if len(asked) != 1 || !strings.HasSuffix(asked[0], "/repository/archive.tar.gz") {
		t.Errorf("asked for %v", asked)
	}
	if text, err := s.ReadFile(42, sha, "main.tf", 10); string(text) != "one" {
		t.Errorf("%q, %v", text, err)
	}
}
