package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim/spec"
)

// A world is a running instance with one project, a user of every role and a token for each.
type world struct {
	t       *testing.T
	s       *Server
	url     string // with the relative root
	project Project
	users   map[string]User   // by username: root, owner, maintainer, developer, reporter, guest, stranger
	tokens  map[string]string // by username; scope api
}

var someFiles = map[string]string{
	"README.md":               "# Infra\n",
	"stacks/network/main.tf":  "resource \"terraform_data\" \"a\" {}\n",
	"stacks/network/old.tf":   "# old\n",
	"stacks/dns/main.tf":      "resource \"terraform_data\" \"b\" {}\n",
	"modules/vpc/variables.t": "x\n",
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	o := Options{Dir: t.TempDir()}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	table, err := spec.New()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(table.Watch(s, s.opt.RelativeRoot, false, func(wrong string) { t.Error(wrong) }))
	s.SetURL(srv.URL)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		srv.CloseClientConnections()
		srv.Close()
	})
	w := &world{t: t, s: s, url: s.URL(), users: map[string]User{}, tokens: map[string]string{}}
	for _, name := range []string{"root", "maintainer", "developer", "reporter", "guest", "stranger"} {
		u := s.AddUser(name, title(name), name == "root")
		w.users[name] = u
		w.tokens[name] = s.AddToken(u.ID, name+"-token", []string{"api"}, time.Time{})
	}
	p, err := s.AddProject("acme/platform/infra-stack", "main", someFiles)
	if err != nil {
		t.Fatal(err)
	}
	w.project = p
	for name, level := range map[string]int{"maintainer": Maintainer, "developer": Developer, "reporter": Reporter, "guest": Guest} {
		s.AddMember(p.ID, w.users[name].ID, level)
	}
	return w
}

// An answer of the API.
type answer struct {
	status int
	header http.Header
	body   any
	raw    string
}

func (a answer) object() map[string]any { o, _ := a.body.(map[string]any); return o }
func (a answer) list() []any            { l, _ := a.body.([]any); return l }
func (a answer) id() int64              { f, _ := a.object()["id"].(float64); return int64(f) }

// as sends a request as a user (by name, "" for nobody); path is below /api/v4.
func (w *world) as(who, method, path string, body any) answer {
	w.t.Helper()
	req := w.request(method, w.url+"/api/v4"+path, body)
	if who != "" {
		req.Header.Set("PRIVATE-TOKEN", w.tokens[who])
	}
	return w.do(req)
}

func (w *world) request(method, address string, body any) *http.Request {
	w.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, address, in)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (w *world) do(req *http.Request) answer {
	w.t.Helper()
	res, err := noRedirects.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			w.t.Fatalf("%s %s: %v in %q", req.Method, req.URL, err, raw)
		}
	}
	return a
}

// want sends a request as a user and fails unless it has the status.
func (w *world) want(status int, who, method, path string, body any) answer {
	w.t.Helper()
	a := w.as(who, method, path, body)
	if a.status != status {
		w.t.Fatalf("%s %s as %q: %d %s, want %d", method, path, who, a.status, a.raw, status)
	}
	return a
}

// in is a path inside the world's project.
func (w *world) in(format string, args ...any) string {
	return fmt.Sprintf("/projects/%d", w.project.ID) + fmt.Sprintf(format, args...)
}

func (w *world) push(branch string, files map[string]string, opts ...PushOption) string {
	w.t.Helper()
	sha, err := w.s.Push(w.project.ID, branch, "Change "+branch, files, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return sha
}

func (w *world) openMR(branch string) int64 {
	w.t.Helper()
	iid, err := w.s.OpenMergeRequest(w.project.ID, branch, "main", "Merge "+branch, w.users["developer"].ID)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s.WaitHooks()
	return iid
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually polls until ok, for ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within ten seconds", what)
		}
	}
}

// sample reads a recorded answer: status and body.
func sample(t *testing.T, name string) (status int, body any) {
	t.Helper()
	text, err := os.ReadFile("testdata/responses/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Status string
		Body   any
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(f.Status, &status); err != nil {
		t.Fatal(err)
	}
	return status, f.Body
}

// keys flattens a JSON value to its key paths; of lists only the first item counts.
func keys(prefix string, v any, into map[string]bool) map[string]bool {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			into[prefix+k] = true
			keys(prefix+k+".", inner, into)
		}
	case []any:
		if len(v) > 0 {
			keys(prefix+"[].", v[0], into)
		}
	}
	return into
}

func esc(path string) string { return url.PathEscape(path) }
