package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// doctor runs the command on the rig's folder, and returns what it prints.
func (r *rig) doctor(c config) (string, error) {
	var out strings.Builder
	err := examine(r.t.Context(), c, &out)
	return out.String(), err
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.config()
	expect := func(when string, wantErr bool, lines ...string) {
		t.Helper()
		out, err := r.doctor(c)
		if (err != nil) != wantErr {
			t.Errorf("%s: %v\n%s", when, err, out)
		}
		for _, want := range lines {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", when, want, out)
			}
		}
	}
	expect("before the first start", false, "can be written", "is not there yet; the first start makes it", "ok    tools        "+tool(t), "ok    clock", "ok    run user")
	if files, err := os.ReadDir(r.dir); err != nil || len(files) > 0 {
		t.Errorf("it left %v, %v", files, err)
	}

	r.serve()
	c.listen = strings.TrimPrefix(r.url, "http://")
	expect("beside a server", false, "ok    server       runs on "+c.listen)
	c.listen = "127.0.0.1:1"
	expect("beside a server elsewhere", true, "was it started with another --listen?")
	r.halt()
	expect("not linked", false, "the master key fits", "warn  GitLab       not set up yet")

	r.serve().link()
	r.halt()
	expect("linked", false, "ok    GitLab       ")
	r.gitlab.CloseClientConnections()
	r.gitlab.Close()
	expect("GitLab away", true, "fail  GitLab       ")

	key := filepath.Join(r.dir, "master.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	expect("an open key", true, "others may read or write "+key)
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	expect("no key", true, "sealed with a key that is not there")
	c.toolPath = "/nowhere"
	expect("no tool", true, "neither tofu nor terraform")
	if err := os.WriteFile(filepath.Join(r.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.dataDir = filepath.Join(r.dir, "file")
	expect("a file as folder", true, "is no folder")
}
