package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command calls the program as a shell on the server would.
func command(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var said bytes.Buffer
	err := run(t.Context(), args, &shell{getenv: func(string) string { return "" }, in: strings.NewReader(""), out: &said, err: &said})
	if err != nil {
		said.WriteString(err.Error())
	}
	return exitCode(err), said.String()
}

// TestBackupAndRestore is the way of a server to another machine: backed up while it runs and a plan waits, restored with its key,
// planned again, and applied.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", map[string]any{"autodeploy": true})
	r.push("main", "First", map[string]string{"infra/main.tf": resource("x", "1")})
	first := r.run("tracked", "finished")["id"].(string)
	r.must("PATCH", "/stacks/network", map[string]any{"autodeploy": false}, 200)
	r.push("main", "Second", map[string]string{"infra/main.tf": resource("x", "2")})
	waits := r.run("tracked", "unconfirmed")["id"].(string)
	r.quiet()

	file := filepath.Join(t.TempDir(), "groundcrew.backup")
	address := strings.TrimPrefix(r.url, "http://")
	if code, out := command(t, "backup", "--data-dir", r.dir, "--listen", "127.0.0.1:1", file); code == 0 || !strings.Contains(out, "does not answer at 127.0.0.1:1") {
		t.Errorf("with a wrong address: %d, %s", code, out)
	}
	if code, out := command(t, "backup", file, "--data-dir", r.dir, "--listen", address); code != 0 || !strings.Contains(out, "restored on trial") || !strings.Contains(out, "master.key") {
		t.Fatalf("%d: %s", code, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if code, out := command(t, "backup", file, "--data-dir", r.dir, "--listen", address); code != exitUsage || !strings.Contains(out, "is there already") {
		t.Errorf("over a file: %d, %s", code, out)
	}
	if got := r.items("/audit?action=backup.make"); len(got) != 1 {
		t.Errorf("the audit log: %v", got)
	}
	if text := r.metrics(); !strings.Contains(text, "\ngroundcrew_last_backup_timestamp_seconds 1") {
		t.Error("the metrics do not say when the backup was made")
	}
	r.kill()
	stopped := file + "-stopped"
	if code, out := command(t, "backup", stopped, "--data-dir", r.dir); code != 0 {
		t.Errorf("of a server that is stopped: %d, %s", code, out)
	}

	old := r.dir
	r.dir = dataDir(t)
	if code, out := command(t, "restore", file, "--data-dir", r.dir); code == 0 || !strings.Contains(out, "master key") {
		t.Errorf("without the key: %d, %s", code, out)
	}
	bringKey(t, old, r.dir)
	if code, out := command(t, "restore", "--data-dir", r.dir, file); code != 0 || !strings.Contains(out, "is restored") {
		t.Fatalf("%d: %s", code, out)
	}
	if code, out := command(t, "restore", file, "--data-dir", r.dir); code == 0 || !strings.Contains(out, "never overwritten") {
		t.Errorf("over data: %d, %s", code, out)
	}
	r.spawn()
	until(t, "the fresh plan", func() bool {
		run := r.must("GET", "/runs/"+waits, nil, 200)
		return run["state"] == "unconfirmed" && len(run["transitions"].([]any)) > 5
	})
	if st := r.must("GET", "/stacks/network", nil, 200); !strings.Contains(st["flag"].(string), "restored from a backup") {
		t.Errorf("the stack: %v", st["flag"])
	}
	r.must("POST", "/runs/"+waits+"/confirm", nil, 200)
	r.run("tracked", "finished")
	if st := r.must("GET", "/stacks/network", nil, 200); st["flag"] != nil && st["flag"] != "" {
		t.Errorf("the flag stays: %v", st["flag"])
	}
	if !strings.Contains(r.logs(first), "Apply complete") {
		t.Error("the log of the first run is not there")
	}
	r.quiet()
	r.unrefused()
}

// bringKey puts the master key of one data folder into another.
func bringKey(t *testing.T, from, to string) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(from, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "master.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreOfAnApplyAtWork: its process and workspace are not in the backup, so it is cut off, and a fresh plan waits.
func TestRestoreOfAnApplyAtWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", map[string]any{"autodeploy": true})
	r.push("main", "First", map[string]string{"infra/main.tf": strings.ReplaceAll(slowCode, "sleep 0.7", "sleep 60")})
	applying := r.run("tracked", "applying")["id"].(string)
	file := filepath.Join(t.TempDir(), "groundcrew.backup")
	if code, out := command(t, "backup", file, "--data-dir", r.dir, "--listen", strings.TrimPrefix(r.url, "http://")); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	r.must("POST", "/runs/"+applying+"/stop", nil, 200)
	r.run("tracked", "failed", "stopped")
	r.kill()
	old := r.dir
	r.dir = dataDir(t)
	bringKey(t, old, r.dir)
	if code, out := command(t, "restore", file, "--data-dir", r.dir); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	r.spawn()
	if cut := r.must("GET", "/runs/"+applying, nil, 200); cut["state"] != "failed" || !strings.Contains(cut["reason"].(string), "Some of the changes may have been made") {
		t.Errorf("the apply is %v: %v", cut["state"], cut["reason"])
	}
	again := r.run("tracked", "unconfirmed")
	if again["id"] == applying {
		t.Error("no fresh plan was made")
	}
	if st := r.must("GET", "/stacks/network", nil, 200); st["flag"] == "" {
		t.Error("the stack is not flagged")
	}
	r.quiet()
}
