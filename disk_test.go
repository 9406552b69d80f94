package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"groundcrew/store"
)

// inNamespace names the variable that tells a test that it is alone in a namespace of its own, where it may mount.
const inNamespace = "GROUNDCREW_TEST_NAMESPACE"

// smallDisk gives the rig a data folder on a disk of its own. Where mounting is not permitted the test is run again, by itself,
// in a user and mount namespace; mine is false then, and the test has been made.
func (r *rig) smallDisk(size string) (mine bool) {
	r.t.Helper()
	err := syscall.Mount("none", r.dir, "tmpfs", 0, "mode=711,size="+size)
	if errors.Is(err, syscall.EPERM) && os.Getenv(inNamespace) == "" {
		inner := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^"+strings.ReplaceAll(r.t.Name(), "/", "$/^")+"$")
		inner.Env = append(os.Environ(), inNamespace+"=1", "GROUNDCREW_RUN_USER=root")
		inner.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
		out, err := inner.CombinedOutput()
		r.t.Logf("in a namespace of its own:\n%s", out)
		if err != nil {
			r.t.Fatal(err)
		}
		return false
	}
	if err != nil {
		r.t.Fatalf("no disk of its own can be mounted, here or in a namespace: %v", err)
	}
	r.t.Cleanup(func() {
		if err := syscall.Unmount(r.dir, syscall.MNT_DETACH); err != nil {
			r.t.Error(err)
		}
	})
	was := r.set
	r.set = func(c *config) {
		if was != nil {
			was(c)
		}
		c.limits.user = os.Getenv("GROUNDCREW_RUN_USER")
		if c.limits.minFree == defaultLimits.minFree {
			c.limits.minFree = -1 // runs begin on a full disk too
		}
	}
	return true
}

// fill leaves no room on the disk of the data folder.
func (r *rig) fill() {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.dir, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []int{1 << 20, 4 << 10, 1} {
		block := make([]byte, n)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			r.t.Fatal(err)
		}
	}
}

// makeRoom undoes fill.
func (r *rig) makeRoom() {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.dir, "ballast")); err != nil {
		r.t.Fatal(err)
	}
}

// whole opens what the server left, as the next one would, and lets every page of the database be read.
func (r *rig) whole() {
	r.t.Helper()
	r.halt()
	st, err := store.Open(store.Options{Dir: r.dir})
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	if err := st.Check(); err != nil {
		r.t.Error(err)
	}
}

// TestDiskFullForDeliveries: what can't be stored is refused with a word, not lost: GitLab shows it as failed, and it is found
// by comparison as soon as there is room, without anybody's doing.
func TestDiskFullForDeliveries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if !r.smallDisk("24m") {
		return
	}
	r.serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "First", map[string]string{"infra/main.tf": resource("a", "a")})
	r.run("tracked", "unconfirmed")
	r.quiet()
	r.fill()
	large := `{"object_kind":"push","x":"` + strings.Repeat("x", 200<<10) + `"}`
	if got := r.deliver("Push Hook", r.secret(), []byte(large)); got != http.StatusInsufficientStorage {
		t.Errorf("a large delivery on a full disk: %d", got)
	}
	n := 0
	until(t, "the end of the room within the database", func() bool {
		n++
		return r.deliver("Push Hook", r.secret(), fmt.Appendf(nil, `{"object_kind":"push","n":%d,"x":%q}`, n, large[:8<<10])) == http.StatusInsufficientStorage
	})
	sha := r.push("main", "Second", map[string]string{"infra/main.tf": resource("a", "b")})
	for _, path := range []string{"/stacks", "/runs", "/deliveries", "/settings"} { // what is there can be read
		r.must("GET", path, nil, 200)
	}
	code, raw := r.api("PUT", "/stacks/network/variables/LONG", map[string]any{"value": large[:60<<10]})
	if code != http.StatusInsufficientStorage || !bytes.Contains(raw, []byte("Whoever runs the server makes room on it")) {
		t.Errorf("a variable on a full disk: %d %s", code, raw)
	}
	if n := len(r.items("/runs?type=tracked")); n != 1 {
		t.Fatalf("%d runs on a full disk", n)
	}
	began := time.Now()
	r.makeRoom()
	until(t, "the run of what was refused", func() bool {
		list := r.items("/runs?type=tracked")
		return len(list) == 2 && list[0]["commit"] == sha
	})
	t.Logf("found %v after there was room", time.Since(began).Round(time.Millisecond))
	r.must("PUT", "/stacks/network/variables/LONG", map[string]any{"value": large[:60<<10]}, 200)
	r.whole()
}

// gate lets a command of a run wait in the project root until it is opened.
const gate = "touch begun; while [ ! -e go ]; do sleep 0.02; done; "

// atGate waits until a run is at its gate, and returns what opens it, which takes no room on the disk.
func (r *rig) atGate(run string) (open func()) {
	r.t.Helper()
	root := filepath.Join(r.dir, "work", run, "src", "infra")
	until(r.t, "the gate", func() bool { _, err := os.Stat(filepath.Join(root, "begun")); return err == nil })
	return func() {
		r.t.Helper()
		if err := os.Rename(filepath.Join(root, "begun"), filepath.Join(root, "go")); err != nil {
			r.t.Fatal(err)
		}
	}
}

// toolGone waits until the shim of a run's job has nothing at work. The tool may leave room for a little when it ends (the lock
// of its state goes): then the shim has ended, too.
func (r *rig) toolGone(run, job string) {
	r.t.Helper()
	children := fmt.Sprintf("/proc/%d/task/*/children", r.shim(run, job))
	until(r.t, "the end of the tool", func() bool {
		files, err := filepath.Glob(children)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, f := range files {
			if raw, err := os.ReadFile(f); err == nil && len(raw) > 0 {
				return false
			}
		}
		return true
	})
}

// TestDiskFullWhilePlanning: the run's end waits in its process, the log says what it lacks, and all of it is readable.
func TestDiskFullWhilePlanning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if !r.smallDisk("24m") {
		return
	}
	r.serve().link()
	r.stack("network", "infra", map[string]any{"tool": "custom", "commands": map[string]any{
		"plan": "yes 0123456 | head -c 2000000; " + gate + "yes lost | head -c 100000; head -c 4M /dev/zero > big; echo not here", "apply": "true",
	}})
	sha := r.push("feature", "Plan", map[string]string{"infra/main.tf": resource("a", "b")})
	run := r.run("proposed", "planning")["id"].(string)
	open := r.atGate(run)
	r.fill()
	open()
	r.toolGone(run, "plan-1")
	if s, why := r.state(run), r.must("GET", "/runs/"+run, nil, 200)["reason"]; s != "planning" || !strings.Contains(fmt.Sprint(why), "is kept by its process and stored when there is room") {
		t.Errorf("it is %s: %v", s, why)
	}
	r.makeRoom()
	why := fmt.Sprint(r.ended(run, "failed")["reason"])
	if !strings.Contains(why, "The log of planning is incomplete") || !strings.Contains(why, "The disk seems to be full: make room") {
		t.Errorf("the reason: %s", why)
	}
	r.status(sha, "groundcrew/network", "failed")
	if log := r.log(run, "planning"); strings.Count(log, "0123456\n") != 250_000 || strings.Contains(log, "\nnot here\n") {
		t.Errorf("the log has %d bytes: %.200s … %s", len(log), log, log[len(log)-200:])
	}
	r.must("POST", "/runs/"+run+"/retry", nil, 201)
	r.whole()
}

// TestDiskFullWhileApplying: the tool can write its state nowhere, nor its shim the result, and the server is killed meanwhile.
// What was applied is on record nonetheless once there is room, and in no log.
func TestDiskFullWhileApplying(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if !r.smallDisk("24m") {
		return
	}
	r.env = []string{"GROUNDCREW_MIN_FREE=off"}
	r.spawn()
	r.link()
	r.stack("network", "infra", map[string]any{"autodeploy": true})
	first := "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" {\n    command = \"" + gate + "true\"\n  }\n}\n"
	sha := r.push("main", "Apply", map[string]string{"infra/main.tf": first + `
resource "terraform_data" "b" {
  depends_on = [terraform_data.a]
  input = join("", [for i in range(1000) : "line ${i} of much"])
}`})
	run := r.run("tracked", "applying")["id"].(string)
	open := r.atGate(run)
	r.fill()
	open()
	r.toolGone(run, "apply-1")
	r.kill()
	r.spawn() // on the full disk
	if s := r.state(run); s != "applying" {
		t.Errorf("it is %s", s)
	}
	r.makeRoom()
	why := fmt.Sprint(r.ended(run, "failed")["reason"])
	if !strings.Contains(why, "could write its state nowhere and printed it, and that was kept as the stack's newest state") {
		t.Errorf("the reason: %s", why)
	}
	kept := r.items("/stacks/network/state/versions")
	if len(kept) != 1 || kept[0]["run"] != run {
		t.Fatalf("state versions %v", kept)
	}
	next := "1 to add, 0 to change, 0 to destroy" // Terraform stops at the first resource that it could not write down
	if kept[0]["resources"] == 2.0 {
		next = "0 to add, 1 to change, 0 to destroy" // OpenTofu goes on
	}
	if log := r.logs(run); strings.Contains(log, "lineage") || strings.Contains(log, "line 7 of") && strings.Contains(log, `"value"`) {
		t.Errorf("the state is in the log:\n%.3000s", log)
	}
	if flag := fmt.Sprint(r.must("GET", "/stacks/network", nil, 200)["flag"]); !strings.Contains(flag, "look at a fresh plan") {
		t.Errorf("flag %q", flag)
	}
	r.status(sha, "groundcrew/network", "failed")
	r.push("main", "Again", map[string]string{"infra/other.tf": "\n", "infra/main.tf": first + "resource \"terraform_data\" \"b\" {}\n"})
	until(t, "another run", func() bool { return r.items("/runs?type=tracked&limit=1")[0]["id"] != run })
	again := r.run("tracked", "unconfirmed")["id"].(string) // nothing deploys by itself while it is not known what was applied
	r.must("POST", "/runs/"+again+"/confirm", nil, 200)
	until(t, "the flag to go", func() bool { return fmt.Sprint(r.must("GET", "/stacks/network", nil, 200)["flag"]) == "" })
	if log := r.logs(r.items("/runs?type=tracked&limit=1")[0]["id"].(string)); !strings.Contains(log, next) {
		t.Errorf("the state that was kept is not what is there:\n%s", log)
	}
	r.kill()
	r.whole()
}

// TestDiskFullWhenTheStateIsStored: the apply went well and the server has no room for the new state: it tries until it has.
func TestDiskFullWhenTheStateIsStored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if !r.smallDisk("24m") {
		return
	}
	r.serve().link()
	r.stack("network", "infra", map[string]any{"autodeploy": true, "tool": "custom", "commands": map[string]any{
		"plan":  `echo x > $GROUNDCREW_PLAN; echo '{"format_version":"1.2","resource_changes":[{"address":"a","change":{"actions":["create"]}}]}' > $GROUNDCREW_PLAN_JSON`,
		"apply": `{ printf '{"version":4,"serial":1,"lineage":"l","resources":[],"outputs":{"o":{"value":"'; head -c 600000 /dev/zero | tr '\0' x; printf '"}}}'; } > $GROUNDCREW_STATE; ` + gate + "echo applied",
	}})
	sha := r.push("main", "Apply", map[string]string{"infra/main.tf": "x"})
	run := r.run("tracked", "applying")["id"].(string)
	open := r.atGate(run)
	r.fill()
	ballast := filepath.Join(r.dir, "ballast")
	info, err := os.Stat(ballast)
	if err == nil {
		err = os.Truncate(ballast, info.Size()-400<<10) // for the shim's result, and for a row
	}
	if err != nil {
		t.Fatal(err)
	}
	open()
	until(t, "a word about the disk", func() bool {
		return strings.Contains(fmt.Sprint(r.must("GET", "/runs/"+run, nil, 200)["reason"]), "what this run came to can't be stored, because the disk of the data folder is full")
	})
	if v := r.items("/stacks/network/state/versions"); len(v) != 0 || r.state(run) != "applying" {
		t.Errorf("%s with the versions %v", r.state(run), v)
	}
	r.makeRoom()
	r.ended(run, "finished")
	if v := r.items("/stacks/network/state/versions"); len(v) != 1 || v[0]["size"].(float64) < 600_000 {
		t.Errorf("state versions %v", v)
	}
	r.status(sha, "groundcrew/network", "success")
	r.whole()
}

// TestRunsWaitForRoom: before the disk is full no run begins, which is said everywhere, and they begin by themselves.
func TestRunsWaitForRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set = func(c *config) { c.limits.minFree = 2 << 30 }
	if !r.smallDisk("24m") {
		return
	}
	r.serve().link()
	r.stack("network", "infra", nil)
	r.push("main", "Wait", map[string]string{"infra/main.tf": resource("a", "a")})
	run := r.run("tracked", "queued")["id"].(string)
	until(t, "why it waits", func() bool {
		why := fmt.Sprint(r.must("GET", "/runs/"+run, nil, 200)["reason"])
		return strings.Contains(why, "waits for room on the disk of the data folder, which has less than 2GiB left (--min-free)")
	})
	var out bytes.Buffer
	c := r.config()
	c.limits.minFree, c.listen = 2<<30, strings.TrimPrefix(r.url, "http://")
	if err := examine(t.Context(), c, &out); err == nil || !strings.Contains(out.String(), "so no run begins until it has 2GiB") {
		t.Errorf("the doctor: %v\n%s", err, &out)
	}
	browser := r.admin()
	for _, path := range []string{"/", "/settings/system"} {
		if page := r.page(browser, path); !strings.Contains(page, "so no run begins until it has 2GiB (--min-free, also under Settings › System)") {
			t.Errorf("%s says nothing of the disk", path)
		}
	}
	if code, raw := r.api("PATCH", "/settings", map[string]any{"min_free": "lots"}); code != 422 {
		t.Errorf("%d %s", code, raw)
	}
	if s := r.state(run); s != "queued" {
		t.Fatalf("it is %s", s)
	}
	r.must("PATCH", "/settings", map[string]any{"min_free": "1MiB"}, 200)
	r.run("tracked", "unconfirmed")
}
