package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/gitlab/sim/spec"
	"groundcrew/runs/logs"
	"groundcrew/runs/policy"
)

// TestMain lets the test binary be the program: as the shim and sandbox of runs, as what policies are asked in, and, when asked, as a server
// that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "shim", "sandbox", "serve", policy.ChildCommand:
			os.Exit(dispatch(os.Args[1:]))
		}
	}
	os.Unsetenv("TF_CLI_CONFIG_FILE")
	os.Exit(m.Run())
}

const (
	bootstrap = "bootstrap-token-of-the-whole-test-0123456789"
	adminPW   = "correct horse battery staple"
	projectAt = "platform/network"
)

// A rig is GitLab (simulated), a project with code, and a place for a server's data.
type rig struct {
	t       testing.TB
	sim     *sim.Server
	gitlab  *httptest.Server
	project sim.Project
	author  sim.User
	bot     sim.User
	token   string
	dir     string        // data folder
	url     string        // of the server, once there is one
	client  *http.Client  // calls the API; nil = the default one
	exe     string        // the program; the test binary unless set
	set     func(*config) // settings of a server in this process; nil = as they are
	env     []string      // more environment of a spawned server

	inside *server   // a server in this process
	proc   *exec.Cmd // or one that can be killed
	out    *bytes.Buffer
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOn(t, httptest.NewServer)
}

// newRigOn lets the test say how GitLab listens.
func newRigOn(t testing.TB, listen func(http.Handler) *httptest.Server, with ...func(*sim.Options)) *rig {
	t.Helper()
	o := sim.Options{Dir: t.TempDir(), RelativeRoot: "/scm"}
	for _, set := range with {
		set(&o)
	}
	s, err := sim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, sim: s, gitlab: listen(watched(t, s, "/scm")), dir: dataDir(t)}
	t.Cleanup(r.reap)
	t.Cleanup(func() {
		r.gitlab.CloseClientConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		r.gitlab.Close()
	})
	s.SetURL(r.gitlab.URL)
	r.author = s.AddUser("ada", "Ada Lind", false)
	r.bot = s.AddUser("groundcrew-bot", "Groundcrew", false)
	r.token = s.AddToken(r.bot.ID, "groundcrew", []string{"api"}, time.Now().AddDate(0, 6, 0))
	r.project, err = s.AddProject(projectAt, "main", map[string]string{"README.md": "# Network\n"})
	if err != nil {
		t.Fatal(err)
	}
	s.AddMember(r.project.ID, r.author.ID, sim.Maintainer)
	s.AddMember(r.project.ID, r.bot.ID, sim.Maintainer)
	return r
}

// watched holds every request of the product, and every answer of the simulated GitLab, to what GitLab publishes.
func watched(t testing.TB, s *sim.Server, root string) http.Handler {
	t.Helper()
	table, err := spec.New()
	if err != nil {
		t.Fatal(err)
	}
	return table.Watch(s, root, true, func(wrong string) { t.Error("not as GitLab publishes: " + wrong) })
}

// dataDir is a folder that other users, who runs may be executed as, can get to.
func dataDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// reap ends what runs of a test have left at work, so that the data folder can be removed: runs outlive their
// server, as they should.
func (r *rig) reap() {
	for range 100 {
		left := processesOf(r.t, r.dir)
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			pid, _, _ := strings.Cut(p, " ")
			if n, err := strconv.Atoi(pid); err == nil {
				_ = syscall.Kill(n, syscall.SIGKILL) // it may have ended by itself
			}
		}
		time.Sleep(10 * time.Millisecond) // the kernel needs a moment to end them; there is nothing to wait on
	}
}

func (r *rig) config() config {
	listen := "127.0.0.1:0"
	if r.url != "" { // the address stays the same over restarts, as it does in life
		listen = strings.TrimPrefix(r.url, "http://")
	}
	l := defaultLimits
	l.time, l.silence = time.Minute, time.Minute
	return config{
		dataDir: r.dir, listen: listen, workers: 2, limits: l, initCache: defaultInitCache, logFormat: "text",
		adminPassword: adminPW, bootstrapToken: bootstrap, toolPath: os.Getenv("PATH"),
	}
}

// serve starts a server in this process.
func (r *rig) serve() *rig {
	r.t.Helper()
	c := r.config()
	if r.set != nil {
		r.set(&c)
	}
	var s *server
	var err error
	until(r.t, "the address", func() bool { // of a server that was here before: some other socket may have it for a moment
		s, err = open(c, slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
		return !errors.Is(err, syscall.EADDRINUSE)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.inside, r.url = s, s.url
	r.t.Cleanup(func() { r.halt() })
	return r
}

func (r *rig) halt() {
	if r.inside == nil {
		return
	}
	if err := r.inside.close(); err != nil {
		r.t.Error(err)
	}
	r.inside = nil
}

var listens = regexp.MustCompile(`listens on (http://\S+)`)

// spawn starts a server as a process of its own, which kill can end at any moment. The address stays the same
// over restarts, as it does in life.
func (r *rig) spawn() {
	r.t.Helper()
	listen := "127.0.0.1:0"
	if r.url != "" {
		listen = strings.TrimPrefix(r.url, "http://")
	}
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(cmp.Or(r.exe, exe), "serve", "--data-dir", r.dir, "--listen", listen)
	cmd.Env = append(os.Environ(), "GROUNDCREW_ADMIN_PASSWORD="+adminPW, "GROUNDCREW_BOOTSTRAP_TOKEN="+bootstrap)
	cmd.Env = append(cmd.Env, r.env...)
	r.out = &bytes.Buffer{}
	cmd.Stderr = r.out
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.proc = cmd
	r.t.Cleanup(func() { r.kill() })
	var said strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if m := listens.FindStringSubmatch(said.String()); m != nil {
			r.url = m[1]
			break
		}
		if err != nil {
			_ = cmd.Wait()
			r.t.Fatalf("the server did not start: %v\n%s%s", err, said.String(), r.out)
		}
	}
	go io.Copy(io.Discard, out)
}

// kill ends the spawned server with SIGKILL.
func (r *rig) kill() {
	if r.proc == nil {
		return
	}
	_ = r.proc.Process.Signal(syscall.SIGKILL) // it may be gone already
	_ = r.proc.Wait()
	r.proc = nil
}

// link connects the server with GitLab through its API and makes one stack with the hook installed.
func (r *rig) link() *rig {
	r.t.Helper()
	r.must("PUT", "/integration", map[string]any{"api_url": r.gitlab.URL + "/scm", "token": r.token}, 200)
	return r
}

func (r *rig) stack(name, root string, more map[string]any) map[string]any {
	r.t.Helper()
	body := map[string]any{"name": name, "project": r.project.Path, "project_root": root, "tool": tool(r.t), "install_hook": true}
	maps.Copy(body, more)
	return r.must("POST", "/stacks", body, 201)
}

// tool is the tool on the PATH.
func tool(t testing.TB) string {
	if _, err := exec.LookPath("terraform"); err == nil {
		return "terraform"
	}
	if _, err := exec.LookPath("tofu"); err == nil {
		return "opentofu"
	}
	t.Fatal("neither terraform nor tofu is on the PATH; `make test` builds one")
	return ""
}

// api calls the REST API as the bootstrap admin.
func (r *rig) api(method, path string, body any) (int, []byte) {
	r.t.Helper()
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, r.url+"/api/v1"+path, reader)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bootstrap)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := cmp.Or(r.client, http.DefaultClient).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, raw
}

func (r *rig) must(method, path string, body any, status int) map[string]any {
	r.t.Helper()
	code, raw := r.api(method, path, body)
	if code != status {
		r.t.Fatalf("%s %s: %d, want %d: %s", method, path, code, status, raw)
	}
	out := map[string]any{}
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			r.t.Fatalf("%s %s: %v: %s", method, path, err, raw)
		}
	}
	return out
}

func (r *rig) items(path string) []map[string]any {
	r.t.Helper()
	var out []map[string]any
	for _, it := range r.must("GET", path, nil, 200)["items"].([]any) {
		out = append(out, it.(map[string]any))
	}
	return out
}

// until polls for three minutes, as slow machines are slow; what it waits for is asked of GitLab or the API, never of inner state.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not come", what)
		case <-tick.C:
		}
	}
}

// run waits until the newest run of a type is in one of the states.
func (r *rig) run(typ string, states ...string) map[string]any {
	r.t.Helper()
	var last map[string]any
	until(r.t, fmt.Sprintf("a %s run that is %v", typ, states), func() bool {
		list := r.items("/runs?type=" + typ + "&limit=1")
		if len(list) == 0 {
			return false
		}
		last = list[0]
		for _, s := range states {
			if last["state"] == s {
				return true
			}
		}
		if last["state"] == "failed" {
			r.t.Fatalf("the run failed: %v\n%s", last["reason"], r.logs(last["id"].(string)))
		}
		return false
	})
	return last
}

// logs are all logs of a run, for a test that fails.
func (r *rig) logs(id string) string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(r.dir, "logs", id, "*.log*"))
	seen := "" // a log that is being compressed is there twice
	for _, f := range files {
		path, _, _ := strings.Cut(f, ".log")
		if path == seen {
			continue
		}
		seen = path
		log, err := logs.Open(path + ".log")
		if err != nil {
			continue
		}
		raw, _ := io.ReadAll(io.NewSectionReader(log, 0, log.Size()))
		log.Close()
		fmt.Fprintf(&b, "--- %s.log\n%s\n", filepath.Base(path), raw)
	}
	return b.String()
}

func (r *rig) push(branch, message string, files map[string]string) string {
	r.t.Helper()
	sha, err := r.sim.Push(r.project.ID, branch, message, files)
	if err != nil {
		r.t.Fatal(err)
	}
	return sha
}

func (r *rig) openMR(branch, title string) int64 {
	r.t.Helper()
	iid, err := r.sim.OpenMergeRequest(r.project.ID, branch, "main", title, r.author.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return iid
}

// status waits until the commit's status of a name is in a state, and returns it as GitLab shows it.
func (r *rig) status(sha, name, state string) sim.Status {
	r.t.Helper()
	var found sim.Status
	until(r.t, "status "+name+" "+state, func() bool {
		for _, s := range r.sim.Statuses(r.project.ID, sha) {
			if s.Name == name && !s.Retried {
				found = s
			}
		}
		return found.State == state
	})
	return found
}

// quiet waits until GitLab has been told everything.
func (r *rig) quiet() {
	r.t.Helper()
	until(r.t, "the last report", func() bool { return len(r.items("/reports?state=waiting")) == 0 })
}

// unrefused fails when GitLab had to refuse a request. That there is no merge result yet is an answer.
func (r *rig) unrefused() {
	r.t.Helper()
	for _, q := range r.sim.Refused() {
		if strings.HasSuffix(q.Path, "/merge_ref") && q.Status == http.StatusBadRequest {
			continue
		}
		r.t.Errorf("GitLab refused %s %s: %d (%s)", q.Method, q.Path, q.Status, q.Body)
	}
}

// our notes on a merge request, without GitLab's own.
func (r *rig) notes(iid int64) []sim.Note {
	var out []sim.Note
	for _, n := range r.sim.Notes(r.project.ID, iid) {
		if !n.System && n.Author == r.bot.Username {
			out = append(out, n)
		}
	}
	return out
}

func resource(name, value string) string {
	return fmt.Sprintf("resource \"terraform_data\" %q {\n  input = %q\n}\n", name, value)
}
