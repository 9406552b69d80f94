package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
)

// chain is a text in which each line uses the one before twice.
func chain(n int, first, line string) string {
	var b strings.Builder
	b.WriteString(first + "\n")
	for i := 1; i <= n; i++ {
		b.WriteString(strings.NewReplacer("$i", fmt.Sprint(i), "$p", fmt.Sprint(i-1)).Replace(line) + "\n")
	}
	return b.String()
}

// Policies that would need all time or memory are cut off, and the program goes on.
func TestHostilePolicies(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"loops": {
			`mute if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == -1 }`, "cut off after 3s",
		},
		"a cross product":  {`mute if count([[i, j] | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000)]) == 1`, "cut off"},
		"a long range":     {`mute if count(numbers.range(1, 1000000000000)) == 1`, "cut off"},
		"calls in calls":   {chain(40, "f0(x) := x + 1", "f$i(x) := z if { y := f$p(x); z := f$p(y + 1) }") + "mute if f40(1) == 1", "cut off"},
		"doubled texts":    {"mute if { x0 := \"aaaaaaaaaa\";" + chain(20, "", "x$i := replace(x$p, \"a\", x$p);") + "x20 == input }", "replace: the result would have"},
		"doubled by join":  {"mute if { x0 := \"aaaaaaaaaa\";" + chain(40, "", "x$i := concat(x$p, [x$p, x$p, x$p]);") + "x40 == input }", "concat: the result would have"},
		"by pattern":       {"mute if { x0 := \"aaaaaaaaaa\";" + chain(20, "", "x$i := regex.replace(x$p, \"a\", x$p);") + "x20 == input }", "regex.replace: the result would have"},
		"by template":      {"mute if { x0 := \"aaaaaaaaaa\";" + chain(30, "", "x$i := sprintf(\"%s%s%s\", [x$p, x$p, x$p]);") + "x30 == input }", "sprintf: the value is too large"},
		"by index":         {"mute if sprintf(\"%[1]s%[1]s\", [\"x\"]) == \"\"", "sprintf: the format may not choose"},
		"by width":         {"mute if sprintf(\"%0999999999d\", [1]) == \"\"", "sprintf: a width"},
		"squared numbers":  {"mute if { x0 := 1234567890;" + chain(40, "", "x$i := x$p * x$p;") + "x40 == input }", "mul: a number has more than 1000 digits"},
		"shared parts":     {"mute if { x0 := input;" + chain(21, "", "x$i := [x$p, x$p];") + "json.marshal(x21) == `` }", "json.marshal: the value is too large"},
		"YAML that swells": {`mute if yaml.unmarshal(concat("\n", ["a: &a [1,1,1,1,1,1,1,1,1]", "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]", "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]", "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]", "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]", "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]", "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]"])) == 1`, "excessive aliasing"},
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := ask(t, with(runs.PolicyNotification, tt.body), `{}`); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v %v, want %q", a, err, tt.want)
			}
		})
	}
}

func court(t *testing.T) Court {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return NewCourt(exe, func() int { return 2 })
}

// A text over which the compiler or one comparison would sit for ever ends with the process it is evaluated in.
func TestCourtEndsWhatNothingElseEnds(t *testing.T) {
	c := court(t)
	forever := chain(60, "x0 := [input.a, input.a]", "x$i := [x$p, x$p]")
	if err := c.Check(t.Context(), with(runs.PolicyPush, forever+"track if x60")); !errors.Is(err, runs.ErrInvalid) || !strings.Contains(err.Error(), "cut off after 8s") {
		t.Errorf("compiled for ever: %v", err)
	}
	twins := "track if { x0 := input; y0 := input;" + chain(60, "", "x$i := [x$p, x$p]; y$i := [y$p, y$p];") + "x60 == y60 }"
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := c.Ask(ctx, with(runs.PolicyPush, twins), json.RawMessage(`{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("compared for ever: %v", err)
	}
	if a, err := c.Ask(t.Context(), with(runs.PolicyPush, "track if input.a"), json.RawMessage(`{"a":true}`)); err != nil || !a.Track {
		t.Errorf("after that: %v %v", a, err)
	}
}

// In its own process a policy says and fails the same as here.
func TestCourtSaysTheSame(t *testing.T) {
	c, here := court(t), Court{}
	for _, tt := range []struct{ body, input string }{
		{`deny contains "ä\n\u0000" if input.a`, `{"a":true}`},
		{`deny contains "x" if 1 / input.a > 0`, `{"a":0}`},
		{`deny contains "x"`, `{"a":`},
		{`deny contains "x`, `{}`},
		{`deny contains "x"`, `"` + strings.Repeat("x", MaxInput) + `"`},
	} {
		p := with(runs.PolicyPlan, tt.body)
		a, err := c.Ask(t.Context(), p, json.RawMessage(tt.input))
		b, other := here.Ask(t.Context(), p, json.RawMessage(tt.input))
		if fmt.Sprint(a, err) != fmt.Sprint(b, other) || errors.Is(err, runs.ErrInvalid) != errors.Is(other, runs.ErrInvalid) {
			t.Errorf("%s: %v %v, here %v %v", tt.body, a, err, b, other)
		}
		if err, other := c.Check(t.Context(), p), here.Check(t.Context(), p); fmt.Sprint(err) != fmt.Sprint(other) {
			t.Errorf("%s: %v, here %v", tt.body, err, other)
		}
	}
	if _, err := NewCourt("/nowhere/groundcrew", func() int { return 0 }).Ask(t.Context(), with(runs.PolicyPlan, `deny contains "x"`), json.RawMessage(`{}`)); err == nil {
		t.Error("a program that is not there answered")
	}
}

func FuzzCompile(f *testing.F) {
	for _, body := range []string{
		"package groundcrew\ndeny contains msg if { some r in input.plan.resource_changes; msg := r.address }",
		"package groundcrew\nimport data.x\ndefault track := false\ntrack if { not input.a; every x in [1] { x > 0 } }",
		"package groundcrew\nf(x) := {x: y | some y in [1, 2]} if x\nwarn := f(1)",
		"package groundcrew\ndeny contains `raw` if { input with input.a as 1 }", "package a.b", "", "\x00", "package groundcrew\ndeny[",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, of := range []runs.PolicyType{runs.PolicyPlan, runs.PolicyPush} {
			p, err := Compile(runs.Policy{Name: "p", Type: of, Body: body})
			if err != nil {
				if !errors.Is(err, runs.ErrInvalid) || len(err.Error()) > maxErrors*(runs.MaxPolicyMessage+200) {
					t.Errorf("%q: %v", body, err)
				}
				continue
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			a, err := p.Ask(ctx, json.RawMessage(`{"plan":{"resource_changes":[{"address":"a.b"}]},"a":1}`))
			stop()
			if err == nil && len(a.Deny) > maxMessages {
				t.Errorf("%q: %v", body, a)
			}
		}
	})
}
