package runs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidatePolicy(t *testing.T) {
	good := Policy{Name: "No destroys", Type: PolicyPlan, Body: "package groundcrew", Labels: []string{"team", "autoattach:prod"}, Stacks: []string{"a"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Policy)
		field  string
	}{
		"no name":          {func(p *Policy) { p.Name = " " }, "name"},
		"the form's name":  {func(p *Policy) { p.Name = "New" }, "name"},
		"no letter":        {func(p *Policy) { p.Name = "…" }, "name"},
		"long description": {func(p *Policy) { p.Description = strings.Repeat("x", 2001) }, "description"},
		"empty label":      {func(p *Policy) { p.Labels = []string{"autoattach: "} }, "labels"},
		"many labels":      {func(p *Policy) { p.Labels = make([]string, 51) }, "labels"},
		"no type":          {func(p *Policy) { p.Type = "login" }, "type"},
		"no text":          {func(p *Policy) { p.Body = "\n" }, "body"},
		"long text":        {func(p *Policy) { p.Body = strings.Repeat("x", MaxPolicyBody+1) }, "body"},
		"not UTF-8":        {func(p *Policy) { p.Body = "\xff" }, "body"},
		"NUL":              {func(p *Policy) { p.Body = "a\x00" }, "body"},
		"many stacks":      {func(p *Policy) { p.Stacks = make([]string, MaxPolicyStacks+1) }, "stacks"},
	} {
		p := good
		tt.change(&p)
		err := p.Validate()
		if e, ok := errors.AsType[*Error](err); !ok || e.Field != tt.field || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want one about %s", name, err, tt.field)
		}
	}
}

func TestPolicyConcerns(t *testing.T) {
	st := Stack{Slug: "net", Labels: []string{"prod", "eu"}}
	for _, tt := range []struct {
		p   Policy
		why string
		ok  bool
	}{
		{Policy{}, "", false},
		{Policy{Stacks: []string{"net"}, Labels: []string{"autoattach:prod"}}, "", true},
		{Policy{Labels: []string{"prod"}}, "", false},
		{Policy{Labels: []string{"autoattach: eu"}}, "eu", true},
		{Policy{Labels: []string{"autoattach:us", "autoattach:*"}, Off: true}, "*", true},
	} {
		if why, ok := tt.p.Concerns(st); why != tt.why || ok != tt.ok {
			t.Errorf("%v: %q %v", tt.p.Labels, why, ok)
		}
	}
}

func TestBoundMessages(t *testing.T) {
	if got := BoundMessages(nil); got != nil {
		t.Errorf("nothing: %q", got)
	}
	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprint(i))
	}
	if got := BoundMessages(many[:20]); len(got) != 20 || got[19] != "19" {
		t.Errorf("as many as fit: %q", got)
	}
	if got := BoundMessages(many); len(got) != 20 || got[18] != "18" || got[19] != "… and 6 more." {
		t.Errorf("more: %q", got)
	}
	got := BoundMessages([]string{" a\n\tb\x00\xff ", strings.Repeat("ü", 300)})
	if got[0] != "a b��" || len(got[1]) > MaxPolicyMessage || !utf8.ValidString(got[1]) || !strings.HasSuffix(got[1], "ü…") {
		t.Errorf("%q", got)
	}
}
