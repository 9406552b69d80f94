package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// typed runs a command as a person with these variables types it, and returns what it prints and ends with.
func typed(ctx context.Context, env map[string]string, stdin string, args ...string) (out, notes string, code int) {
	var o, e bytes.Buffer
	err := run(ctx, args, &shell{getenv: func(name string) string { return env[name] }, in: strings.NewReader(stdin), out: &o, err: &e})
	if err != nil {
		fmt.Fprintln(&e, err)
	}
	return o.String(), e.String(), exitCode(err)
}

// A person is at a shell, with the bootstrap key.
func (r *rig) person() map[string]string {
	return map[string]string{"GROUNDCREW_URL": r.url, "GROUNDCREW_TOKEN": bootstrap}
}

func (r *rig) types(args ...string) (out, notes string, code int) {
	r.t.Helper()
	return typed(r.t.Context(), r.person(), "", args...)
}

func TestARunFromTheCommandLine(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "Lay out", map[string]string{"infra/main.tf": resource("net", "a")})

	_, notes, code := r.types("logs", "-f", "network")
	for code == exitNotFound { // the push is on its way
		_, notes, code = r.types("logs", "-f", "network")
	}
	if code != exitWaits || !strings.Contains(notes, "◆ unconfirmed") || !strings.Contains(notes, "groundcrew confirm ") {
		t.Fatalf("logs -f of a run that waits: %d\n%s", code, notes)
	}
	out, _, code := r.types("changes", "network")
	if code != exitOK || !strings.Contains(out, "+ terraform_data.net  add") {
		t.Errorf("changes: %d\n%s", code, out)
	}
	if _, notes, code = r.types("confirm", "network"); code != exitUsage || !strings.Contains(notes, "--yes") {
		t.Errorf("confirm without anybody to ask: %d %s", code, notes)
	}
	out, notes, code = r.types("confirm", "network", "--yes", "-f")
	if code != exitOK || !strings.Contains(notes, "● finished") || !strings.Contains(out, "Apply complete!") {
		t.Errorf("confirm: %d\n%s\n%s", code, out, notes)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours where there is no terminal")
	}
	if _, notes, code = r.types("confirm", "network"); code != exitNotFound || !strings.Contains(notes, "no run that is unconfirmed") {
		t.Errorf("a second confirm: %d %s", code, notes)
	}
	out, _, code = r.types("runs", "--stack", "network", "--json")
	var list []remoteRun
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitOK || len(list) != 1 || list[0].State != "finished" {
		t.Errorf("runs --json: %d %v\n%s", code, err, out)
	}
	if _, notes, code = r.types("discard", list[0].ID); code != exitConflict {
		t.Errorf("discard of a finished run: %d %s", code, notes)
	}
	out, _, _ = r.types("logs", list[0].ID, "applying")
	if !strings.Contains(out, "Apply complete!") || strings.Contains(out, "Plan: 1 to add") {
		t.Errorf("the log of one phase:\n%s", out)
	}
	out, _, code = r.types("stacks")
	if code != exitOK || !strings.Contains(out, "network  ● finished") {
		t.Errorf("stacks: %d\n%s", code, out)
	}
	if _, notes, code = r.types("trigger", "network", "--type", "task", "--command", "exit 3", "-f"); code != exitRunFailed {
		t.Errorf("a task that fails: %d %s", code, notes)
	}
	if out, _, code = r.types("api", "get", "/inbox"); code != exitOK || !strings.Contains(out, `"items"`) {
		t.Errorf("api: %d %s", code, out)
	}
	if out, _, _ = r.types("__complete", "logs", "net"); !strings.Contains(out, "network\tplatform/network") {
		t.Errorf("completion: %s", out)
	}
}

func TestTheCommandLineSaysWhatIsWrong(t *testing.T) {
	r := newRig(t).serve()
	with := func(more map[string]string) map[string]string {
		env := r.person()
		maps.Copy(env, more)
		return env
	}
	dead := httptest.NewServer(nil)
	dead.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler("https://sso.example.com/", http.StatusFound))
	defer elsewhere.Close()
	website := httptest.NewServer(http.NotFoundHandler())
	defer website.Close()
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		say  string
	}{
		{"no server", map[string]string{}, []string{"stacks"}, exitUsage, "GROUNDCREW_URL"},
		{"wrong key", with(map[string]string{"GROUNDCREW_TOKEN": "nonsense"}), []string{"stacks"}, exitForbidden, "does not accept the API key: it is wrong, has expired or was ended, or the account of who made it is disabled"},
		{"no answer", with(map[string]string{"GROUNDCREW_URL": dead.URL}), []string{"stacks"}, exitUnreachable, "does not answer"},
		{"something else answers", with(map[string]string{"GROUNDCREW_URL": elsewhere.URL}), []string{"stacks"}, exitFailed, "sso.example.com"},
		{"a page elsewhere", with(map[string]string{"GROUNDCREW_URL": website.URL}), []string{"runs", "network"}, exitFailed, "404 Not Found, but not as Groundcrew"},
		{"the version", map[string]string{}, []string{"-v"}, exitOK, ""},
		{"no address", with(map[string]string{"GROUNDCREW_URL": "groundcrew"}), []string{"stacks"}, exitUsage, "http://host"},
		{"no such CA file", with(map[string]string{"GROUNDCREW_CA_FILE": "/nonexistent.pem"}), []string{"stacks"}, exitUsage, "CA certificate"},
		{"no such stack", with(nil), []string{"runs", "nowhere"}, exitNotFound, "nowhere"},
		{"no such run", with(nil), []string{"logs", "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, exitNotFound, "no run"},
		{"no such phase", with(nil), []string{"logs", "network", "breakfast"}, exitUsage, "planning"},
		{"no such command", with(nil), []string{"stack"}, exitUsage, "stacks"},
		{"no such flag", with(nil), []string{"stacks", "--frob"}, exitUsage, "--frob"},
		{"an argument is missing", with(nil), []string{"confirm"}, exitUsage, "confirm --help"},
		{"no such method", with(nil), []string{"api", "BREW", "/stacks"}, exitUsage, "BREW"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, notes, code := typed(t.Context(), c.env, "", c.args...)
			if code != c.code || !strings.Contains(notes, c.say) {
				t.Errorf("exit %d, want %d: %s", code, c.code, notes)
			}
		})
	}
}

func TestLoginIsKeptForThisUserAlone(t *testing.T) {
	r := newRig(t).serve()
	inner, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(inner) }})
	defer front.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	if err := os.WriteFile(ca, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	if _, notes, code := typed(t.Context(), env, bootstrap+"\n", "login", front.URL); code != exitUnreachable || !strings.Contains(notes, "certificate") {
		t.Errorf("a server with an unknown CA: %d %s", code, notes)
	}
	if _, notes, code := typed(t.Context(), env, "wrong\n", "login", r.url); code != exitForbidden {
		t.Errorf("a wrong key: %d %s", code, notes)
	}
	kept := filepath.Join(home, ".config", "groundcrew", "login.json")
	if _, err := os.Stat(kept); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a login that does not work was kept: %v", err)
	}
	if _, notes, code := typed(t.Context(), env, bootstrap+"\n", "login", "--ca-file", ca, front.URL); code != exitOK {
		t.Fatalf("login: %d %s", code, notes)
	}
	info, err := os.Stat(kept)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if _, notes, code := typed(t.Context(), env, "", "runs", "nowhere"); code != exitNotFound {
		t.Errorf("a command after the login: %d %s", code, notes)
	}
}

// TestALostStreamIsTakenUp breaks the connection after each event; nothing may be missing or shown twice.
func TestALostStreamIsTakenUp(t *testing.T) {
	all := []string{
		`event: state` + "\n" + `data: {"state":"planning"}`,
		`event: log` + "\n" + `data: {"phase":"planning","text":"one\n"}`,
		`event: log` + "\n" + `data: {"phase":"planning","text":"two\n"}`,
		`event: state` + "\n" + `data: {"state":"finished"}`,
		`event: end` + "\n" + `data: {}`,
	}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		id := req.Header.Get("Last-Event-ID")
		asked = append(asked, id)
		var at int
		if id != "" {
			fmt.Sscan(id, &at)
		}
		if len(asked) == 2 {
			w.WriteHeader(http.StatusBadGateway) // a proxy, while the server restarts
			return
		}
		fmt.Fprintf(w, ": open\n\n%s\nid: %d\n\n", all[at], at+1)
	}))
	defer s.Close()
	c, err := login{URL: s.URL, Token: "key"}.client()
	if err != nil {
		t.Fatal(err)
	}
	var out, notes bytes.Buffer
	if err := c.follow(t.Context(), &follower{run: "01ARZ3NDEKTSV4RRFFQ69G5FAV", out: &plainWriter{to: &out}, notes: &notes}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"", "1", "1", "2", "3", "4"}, asked); d != "" {
		t.Error(d)
	}
	if out.String() != "one\ntwo\n" || notes.String() != "◐ planning\n● finished\n" {
		t.Errorf("%q %q", out.String(), notes.String())
	}
}

func TestALogCannotActOnTheTerminal(t *testing.T) {
	for _, c := range []struct{ in, colours, without string }{
		{"plain\ttext\n", "plain\ttext\n", "plain\ttext\n"},
		{"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m", "red"},
		{"\x1b]0;title\x07after", "after", "after"},
		{"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link", "link"},
		{"\x1b[2J\x1b[Hgone", "gone", "gone"},
		{"\x1b[6n\x1b[5i\x1bcafter", "after", "after"},
		{"a\rb\x08c\x00d\x7f", "abcd", "abcd"},
		{"\u009b2Jx\u0085é", "2Jxé", "2Jxé"},
		{"\x1bPq#0\x1b\\sixel", "sixel", "sixel"},
		{"\x1b]52;c;ZXZpbA==\x07copied", "copied", "copied"},
	} {
		for _, step := range []int{1, 3, len(c.in)} {
			for want, colours := range map[string]bool{c.colours: true, c.without: false} {
				var out bytes.Buffer
				w := plainWriter{to: &out, colours: colours || c.colours == c.without}
				for rest := c.in; rest != ""; rest = rest[min(step, len(rest)):] {
					if _, err := w.Write([]byte(rest[:min(step, len(rest))])); err != nil {
						t.Fatal(err)
					}
				}
				if out.String() != want {
					t.Errorf("%q by %d bytes, colours %v: %q", c.in, step, w.colours, out.String())
				}
			}
		}
	}
}
