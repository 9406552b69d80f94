package main

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/runs/proc"
)

// failed waits for the newest run of a stack to fail and returns why.
func (r *rig) failed(stack string) string {
	r.t.Helper()
	var last map[string]any
	until(r.t, "the failed run of "+stack, func() bool {
		list := r.items("/runs?stack=" + stack + "&limit=1")
		if len(list) == 0 {
			return false
		}
		last = list[0]
		if s := last["state"]; s == "finished" || s == "unconfirmed" || s == "stopped" {
			r.t.Fatalf("%s is %s\n%.2000s", stack, s, r.logs(last["id"].(string)))
		}
		return last["state"] == "failed"
	})
	return fmt.Sprint(last["reason"])
}

// TestARunFindsNothing lets a run look for everything that is not its own: the server's secrets, memory, files
// and port, other runs, the machine's.
func TestARunFindsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link()
	pid := r.proc.Process.Pid
	at, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(r.dir, "work", "OTHER")
	if err := os.MkdirAll(filepath.Join(other, "src"), 0o700); err != nil {
		t.Fatal(err)
	}
	denied := denied(r.dir, pid)
	var script strings.Builder
	for name, probe := range denied {
		fmt.Fprintf(&script, "if (%s) 2>/dev/null; then echo 'FOUND %s'; fi\n", probe, name)
	}
	fmt.Fprintf(&script, `
env
id -u
bash -c 'exec 3<>/dev/tcp/%s/%s; printf "GET /api/v1/stacks HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n" >&3; cat <&3' | head -n 1
echo looked everywhere > "$GROUNDCREW_PLAN"; cat "$GROUNDCREW_PLAN"; sleep 0.3; exit 7
`, at.Hostname(), at.Port(), bootstrap)
	r.stack("curious", "", map[string]any{"tool": "custom", "commands": map[string]any{"plan": script.String(), "apply": "true"}})
	r.push("feature", "Look", map[string]string{"main.tf": resource("a", "a")})
	if why := r.failed("curious"); !strings.Contains(why, "exit code 7") {
		t.Errorf("the run ended otherwise: %s", why)
	}
	id := r.items("/runs?stack=curious")[0]["id"].(string)
	log := r.logs(id)
	_, out, _ := strings.Cut(log, "--- planning.log")
	_, out, _ = strings.Cut(out, "exit 7\n'") // the prompt repeats the script
	if !strings.Contains(out, "looked everywhere") || strings.Contains(out, "FOUND") {
		t.Errorf("what it saw:\n%s", out)
	}
	for _, secret := range []string{adminPW, r.token, "GROUNDCREW_BOOTSTRAP", "GROUNDCREW_ADMIN"} {
		if strings.Contains(out, secret) {
			t.Errorf("it saw %q:\n%s", secret, out)
		}
	}
	if !strings.Contains(out, "403 Forbidden") || !strings.Contains(out, "Blocked: a process of this run dialed Groundcrew itself") {
		t.Errorf("its call of the server:\n%s", log)
	}
	if os.Geteuid() == 0 && strings.Contains(out, "\n0\n") {
		t.Error("it was executed as root")
	}
	// From outside, as root may: nothing there either.
	for _, file := range []string{"environ", "cmdline"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil && os.Geteuid() == 0 {
			t.Error(err)
		}
		if strings.Contains(string(raw), bootstrap) || strings.Contains(string(raw), adminPW) {
			t.Errorf("%s of the server holds a secret", file)
		}
	}
	r.must("GET", "/stacks", nil, 200)
}

// denied are commands that must fail in a run: what each looks for, in words. The data folder and the process are the server's.
func denied(dir string, pid int) map[string]string {
	other := filepath.Join(dir, "work", "OTHER")
	return map[string]string{
		"environment of the server": fmt.Sprintf("cat /proc/%d/environ", pid),
		"memory of the server":      fmt.Sprintf("head -c 1 /proc/%d/mem", pid),
		"map of the server":         fmt.Sprintf("head -c 1 /proc/%d/maps", pid),
		"files of the server":       fmt.Sprintf("ls /proc/%d/fd", pid),
		"environment of the shim":   "cat /proc/$PPID/environ",
		"any environment":           "cat /proc/[0-9]*/environ",
		"list of processes":         "ls /proc",
		"database":                  "head -c 1 " + dir + "/groundcrew.db",
		"master key":                "cat " + dir + "/master.key",
		"data folder":               "ls " + dir,
		"other workspaces":          "ls " + dir + "/work",
		"another workspace":         "ls " + other + "/src",
		"logs":                      "ls " + dir + "/logs",
		"sources":                   "ls " + dir + "/sources",
		"own job":                   "ls " + dir + "/work/$GROUNDCREW_RUN/plan-1",
		"kept inits":                "ls " + dir + "/warm",
		"sealed states":             "ls " + dir + "/states",
		"ssh keys":                  "ls /root/.ssh",
		"home":                      "ls /root",
		"shadow":                    "cat /etc/shadow",
		"write the data folder":     "touch " + dir + "/x",
		"write /tmp":                "touch /tmp/groundcrew-hostile",
		"write /etc":                "touch /etc/groundcrew-hostile",
		"write the tools":           "touch /usr/bin/groundcrew-hostile",
		"leave by a link":           "ln -s " + dir + "/master.key k && cat k",
		"signal the server":         fmt.Sprintf("kill -0 %d", pid),
		"signal the shim":           "kill -0 $PPID",
	}
}

// TestCommittedSettingsDoNotWin brings what a merge request could try to lead the tool elsewhere with.
func TestCommittedSettingsDoNotWin(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	elsewhere := "terraform {\n  backend \"s3\" {\n    bucket = \"evil\"\n    key = \"x\"\n    region = \"x\"\n  }\n}\n"
	r.push("main", "Lead astray", map[string]string{
		"infra/main.tf":                         resource("a", "a"),
		"infra/backend.tf":                      elsewhere,
		"infra/.terraformrc":                    "provider_installation {\n  filesystem_mirror {\n    path = \"/evil\"\n  }\n}\n",
		"infra/terraform.rc":                    "this is no configuration {",
		"infra/.env":                            "TF_CLI_ARGS=-evil\nTF_CLI_ARGS_plan=-evil\n",
		"infra/.terraform/environment":          "evil",
		"infra/.terraform/terraform.tfstate":    `{"version":3,"backend":{"type":"s3","config":{"bucket":"evil"},"hash":1}}`,
		"infra/.terraform/modules/modules.json": `{"Modules":[{"Key":"evil","Source":"/","Dir":"/etc"}]}`,
	})
	run := r.run("tracked", "unconfirmed")["id"].(string)
	r.must("POST", "/runs/"+run+"/confirm", nil, 200)
	r.run("tracked", "finished")
	if log := r.logs(run); strings.Contains(log, "evil") || !strings.Contains(log, `Successfully configured the backend "local"`) {
		t.Errorf("the log:\n%s", log)
	}
	if v := r.items("/stacks/network/state/versions"); len(v) != 1 {
		t.Errorf("state versions %v", v)
	}
	for name, text := range map[string]string{"terraform.tfstate": `{"version":4}`, "z_override.tf": elsewhere, "override.tf.json": `{"terraform":{"cloud":{"organization":"evil"}}}`} {
		sha := r.push("with-"+strings.ReplaceAll(name, ".", "-"), "Override by "+name, map[string]string{"infra/" + name: text})
		if st := r.status(sha, "groundcrew/network", "failed"); !strings.Contains(st.Description, "sets a backend") && !strings.Contains(st.Description, "The code contains a terraform.tfstate") {
			t.Errorf("%s: %s", name, st.Description)
		}
	}
}

// TestLimitsHold runs what would take the machine down, all of it at once, while the server has to answer.
func TestLimitsHold(t *testing.T) {
	r := newRig(t)
	r.set = func(c *config) {
		c.workers = 3
		c.limits.time, c.limits.silence = heavier*30*time.Second, heavier*4*time.Second
		c.limits.memory, c.limits.fileSize, c.limits.logSize, c.limits.processes = heavier*256<<20, 64<<20, 1<<20, 64
	}
	r.serve().link()
	marker := fmt.Sprintf("98765.%d", os.Getpid())
	hostile := map[string]struct{ script, says, value string }{
		"forkbomb": {"bomb() { bomb | bomb & bomb; }; bomb", "--run-processes", "64 processes and threads"},
		"bigfile":  {"head -c 10G /dev/zero > big", "--run-file-size", "64 MiB"},
		"loop":     {"while :; do :; done", "--silence", fmt.Sprintf("nothing for %s", heavier*4*time.Second)},
		"lines":    {"yes 'a line of a gigabyte'", "--run-log-size", "1 MiB"},
		"line":     {"head -c 1G /dev/zero | tr '\\0' x", "--run-log-size", "1 MiB"},
		"hog":      {fmt.Sprintf("for i in 1 2 3 4; do head -c %dM /dev/zero | tail -c %dM | (sleep 60; cat) & done; wait", heavier*120, heavier*110), "--run-memory", fmt.Sprintf("%d MiB", heavier*256)},
		"daemon":   {"setsid sh -c '(setsid sleep " + marker + " </dev/null >/dev/null 2>&1 &)'; sleep 0.2; exit 7", "exit code 7", ""},
	}
	if os.Geteuid() == 0 { // else the limit would be that of everything this user runs
		if a, err := defaultLimits.account(); err != nil || !a.own() {
			t.Fatalf("runs would be executed as root: %v", err)
		}
	} else {
		delete(hostile, "forkbomb")
	}
	for name, h := range hostile {
		r.stack(name, "", map[string]any{"tool": "custom", "commands": map[string]any{"plan": h.script, "apply": "true"}})
	}
	done := make(chan struct{})
	slow := make(chan []time.Duration)
	person := r.admin()
	go func() { slow <- answers(r.url+"/healthz", done) }()
	r.push("feature", "Attack", map[string]string{"main.tf": resource("a", "a")})
	for name, h := range hostile {
		why := r.failed(name)
		id := r.items("/runs?stack=" + name + "&limit=1")[0]["id"].(string)
		if !strings.Contains(why, h.says) || !strings.Contains(why, h.value) || h.value != "" && !strings.Contains(why, "also under Settings › System") {
			t.Errorf("%s: %q, want something of %s and %s\n%.4000s", name, why, h.says, h.value, r.logs(id))
		}
		if page := html.UnescapeString(r.page(person, "/runs/"+id)); !strings.Contains(page, why) {
			t.Errorf("the page of %s does not say %q", name, why)
		}
	}
	close(done)
	took := <-slow
	slices.Sort(took)
	late := slices.IndexFunc(took, func(d time.Duration) bool { return d > heavier*200*time.Millisecond })
	t.Logf("%d answers, median %s, worst %s", len(took), took[len(took)/2], took[len(took)-1])
	if late >= 0 && len(took)-late > len(took)/100 {
		t.Errorf("%d of %d answers took more than 200 ms, the worst %s", len(took)-late, len(took), took[len(took)-1])
	}
	if left := processesWith(t, marker); len(left) > 0 {
		t.Errorf("daemons live: %v", left)
	}
	if left := r.tracesOf().left(t); len(left) > 0 {
		t.Errorf("they left\n%s", strings.Join(left, "\n"))
	}
	r.must("GET", "/stacks", nil, 200)
}

// answers asks an address over new connections until done, and returns how long each answer took.
func answers(address string, done <-chan struct{}) []time.Duration {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var took []time.Duration
	for {
		select {
		case <-done:
			return took
		case <-tick.C:
		}
		begin := time.Now()
		resp, err := client.Get(address)
		if err != nil {
			took = append(took, time.Hour)
			continue
		}
		resp.Body.Close()
		took = append(took, time.Since(begin))
	}
}

// processesWith lists the command lines that hold the text.
func processesWith(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && strings.Contains(string(raw), text) {
			found = append(found, strings.ReplaceAll(string(raw), "\x00", " "))
		}
	}
	return found
}

// TestWhatIsMissingIsSaid: what isolation can't be, because this kernel lacks it, is said where a run is shown.
func TestWhatIsMissingIsSaid(t *testing.T) {
	if a, err := (limits{user: "root"}).account(); err != nil || a.own() {
		t.Fatalf("%+v, %v", a, err)
	}
	said := strings.Join(proc.Isolation(false), " ")
	if os.Geteuid() == 0 && !strings.Contains(said, "executed as root") {
		t.Errorf("runs as root: %q", said)
	}
	if os.Geteuid() == 0 && strings.Contains(strings.Join(proc.Isolation(true), " "), "as root") {
		t.Error("own user")
	}
}
