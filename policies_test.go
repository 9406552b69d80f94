package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A text over which the compiler would sit for ever is refused, and the server that was asked to take it goes on: it lets the program
// itself compile in a process of its own.
func TestAServerSurvivesAPolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	var forever strings.Builder
	forever.WriteString("package groundcrew\nx0 := [input.a, input.a]\n")
	for i := range 60 {
		fmt.Fprintf(&forever, "x%d := [x%d, x%d]\n", i+1, i, i)
	}
	forever.WriteString("track if x60\n")
	status, raw := r.api("POST", "/policies", map[string]any{"name": "for ever", "type": "push", "body": forever.String()})
	if status != 422 || !strings.Contains(string(raw), "cut off after") {
		t.Errorf("%d %s", status, raw)
	}
	r.must("POST", "/policies", map[string]any{"name": "deep", "type": "push", "body": "package groundcrew\nf0(x) := x + 1\n" + calls(40) + "track if f40(1) == 1\n"}, 201)
	got := r.must("POST", "/policies/deep/try", map[string]any{"input": map[string]any{}}, 200)
	if got["outcome"] != "error" || !strings.Contains(fmt.Sprint(got["messages"]), "cut off") {
		t.Errorf("calls in calls: %v", got)
	}
	r.must("GET", "/policies", nil, 200)
}

// calls are functions of which each calls the one before twice: an evaluation's stack doubles with each.
func calls(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "f%d(x) := z if { y := f%d(x); z := f%d(y + 1) }\n", i+1, i, i)
	}
	return b.String()
}

func TestPoliciesFromTheCommandLine(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.rego", "package groundcrew\n\ndeny contains $\"{input.n} is too many\" if input.n > 2\n")
	bad := file("bad.rego", "package groundcrew\n\ndeny contains msg if {\n\tmsg := 1 +\n}\n")
	few, many := file("few.json", `{"n":1}`), file("many.json", `{"n":3}`)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{good, "--type", "plan"}, exitOK, "It compiles."},
		{[]string{good, "--type", "plan", "--input", few}, exitOK, "allow"},
		{[]string{good, "--type", "plan", "--input", many}, exitFailed, "deny\n  3 is too many"},
		{[]string{good, "--type", "plan", "--input", many, "--json"}, exitFailed, `"outcome": "deny"`},
		{[]string{bad, "--type", "plan"}, exitFailed, "5:1: unexpected } token"},
		{[]string{good, "--type", "push"}, exitFailed, "Those are: ignore, track, propose."},
		{[]string{good}, exitUsage, "--type must be one of push, plan"},
		{[]string{filepath.Join(dir, "none"), "--type", "plan"}, exitUsage, "cannot be read"},
		{[]string{good, "--type", "plan", "--input", good}, exitUsage, "is not JSON"},
		{[]string{"--type", "plan"}, exitUsage, "accepts 1 arg"},
	} {
		out, notes, code := r.types(append([]string{"policies", "check"}, tt.args...)...)
		if code != tt.code || !strings.Contains(out+notes, tt.want) {
			t.Errorf("%q: %d, want %d and %q\n%s%s", tt.args, code, tt.code, tt.want, out, notes)
		}
	}
	r.must("POST", "/policies", map[string]any{"name": "Few", "type": "plan", "body": "package groundcrew\ndeny contains \"x\"", "labels": []string{"autoattach:*"}}, 201)
	if out, _, code := r.types("policies"); code != exitOK || !strings.Contains(out, "few     plan  0       on") {
		t.Errorf("policies: %d\n%s", code, out)
	}
}
