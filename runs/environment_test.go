package runs

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrecedence(t *testing.T) {
	contexts := []Context{
		{Slug: "aws", Name: "AWS", Labels: []string{"cloud", "autoattach:prod"}},
		{Slug: "base", Name: "Base", Labels: []string{"autoattach:*"}},
		{Slug: "dns", Name: "DNS"},
		{Slug: "edge", Name: "Edge", Labels: []string{"autoattach:edge", "autoattach:prod"}},
		{Slug: "pki", Name: "PKI", Labels: []string{"prod"}},
	}
	for name, c := range map[string]struct {
		labels   []string
		attached []Attachment
		want     []Origin
	}{
		"only what is for everybody": {want: []Origin{{Context: "base", Name: "Base", Auto: true, Label: "*"}}},
		"by label, by slug": {labels: []string{"prod"}, want: []Origin{
			{Context: "aws", Name: "AWS", Auto: true, Label: "prod"}, {Context: "base", Name: "Base", Auto: true, Label: "*"}, {Context: "edge", Name: "Edge", Auto: true, Label: "prod"},
		}},
		"people first, the lowest priority first, then the slug": {
			attached: []Attachment{{Context: "aws", Priority: 2}, {Context: "dns", Priority: -1}, {Context: "pki", Priority: 2}},
			want: []Origin{
				{Context: "dns", Name: "DNS", Priority: -1},
				{Context: "aws", Name: "AWS", Priority: 2},
				{Context: "pki", Name: "PKI", Priority: 2},
				{Context: "base", Name: "Base", Auto: true, Label: "*"},
			},
		},
		"in both ways it counts once, as attached by a person": {
			labels: []string{"prod"}, attached: []Attachment{{Context: "edge", Priority: 9}},
			want: []Origin{{Context: "edge", Name: "Edge", Priority: 9}, {Context: "aws", Name: "AWS", Auto: true, Label: "prod"}, {Context: "base", Name: "Base", Auto: true, Label: "*"}},
		},
		"of one that is gone nothing": {attached: []Attachment{{Context: "gone"}}, want: []Origin{{Context: "base", Name: "Base", Auto: true, Label: "*"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Precedence(c.labels, c.attached, contexts)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// An entryRow is one line of what is resolved: name or path, value, where from, what it wins against.
type entryRow struct{ name, value, from, over string }

func rowsOf(env Environment) []entryRow {
	over := func(list []Origin) string {
		var names []string
		for _, o := range list {
			names = append(names, o.Context)
		}
		return strings.Join(names, ",")
	}
	var out []entryRow
	for _, v := range env.Variables {
		out = append(out, entryRow{v.Value.Name, v.Value.Value, v.From.Context, over(v.Over)})
	}
	for _, f := range env.Files {
		out = append(out, entryRow{f.Value.Path, "", f.From.Context, over(f.Over)})
	}
	return out
}

func TestResolve(t *testing.T) {
	vars := func(pairs ...string) (list []Variable) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, Variable{Name: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	files := func(paths ...string) (list []File) {
		for _, p := range paths {
			list = append(list, File{Path: p})
		}
		return list
	}
	from := func(slug string) Origin { return Origin{Context: slug} }
	for name, c := range map[string]struct {
		sources []Source
		want    []entryRow
	}{
		"nothing":            {},
		"nobody's":           {sources: []Source{{}}},
		"by name":            {[]Source{{Variables: vars("B", "2", "A", "1")}}, []entryRow{{"A", "1", "", ""}, {"B", "2", "", ""}}},
		"the stack's wins":   {[]Source{{Variables: vars("A", "own")}, {Origin: from("x"), Variables: vars("A", "x", "B", "x")}}, []entryRow{{"A", "own", "", "x"}, {"B", "x", "x", ""}}},
		"an empty one too":   {[]Source{{Variables: vars("A", "")}, {Origin: from("x"), Variables: vars("A", "x")}}, []entryRow{{"A", "", "", "x"}}},
		"the first context":  {[]Source{{}, {Origin: from("x"), Variables: vars("A", "x")}, {Origin: from("y"), Variables: vars("A", "y")}, {Origin: from("z"), Variables: vars("A", "z")}}, []entryRow{{"A", "x", "x", "y,z"}}},
		"names have a case":  {[]Source{{Variables: vars("a", "1")}, {Origin: from("x"), Variables: vars("A", "2")}}, []entryRow{{"A", "2", "x", ""}, {"a", "1", "", ""}}},
		"files by path":      {[]Source{{Files: files("k/b")}, {Origin: from("x"), Files: files("k/b", "k/a")}}, []entryRow{{"k/a", "", "x", ""}, {"k/b", "", "", "x"}}},
		"a file is in a way": {[]Source{{Files: files("k")}, {Origin: from("x"), Files: files("k/a", "k/b", "kk")}}, []entryRow{{"k", "", "", "x"}, {"kk", "", "x", ""}}},
		"a folder is too":    {[]Source{{Files: files("k/a", "k/b")}, {Origin: from("x"), Files: files("k")}}, []entryRow{{"k/a", "", "", "x"}, {"k/b", "", "", "x"}}},
		"no loser takes another along": {
			[]Source{{Files: files("k")}, {Origin: from("x"), Files: files("k/a")}, {Origin: from("y"), Files: files("k/a/b", "z")}},
			[]entryRow{{"k", "", "", "x,y"}, {"z", "", "y", ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rowsOf(Resolve(c.sources)), cmp.AllowUnexported(entryRow{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestValidateFile(t *testing.T) {
	long := strings.Repeat("a/", 150) + "b"
	for path, good := range map[string]bool{
		"ca.pem": true, "keys/deploy.json": true, "source/prod/prod.auto.tfvars": true, "source/.terraform.lock.hcl": true, "ünïcode ok": true, "..a/b..": true,
		"": false, ".": false, "..": false, "/etc/passwd": false, "~/x": false, "a/../b": false, "../a": false, "a/..": false, "a//b": false, "./a": false, "a/": false,
		`a\b`: false, "a\x00b": false, "a\nb": false, "a\x7f": false, "\xff": false, "source": false, "source/": false,
		".terraform/x": false, "source/x/.terraform/providers": false, "source/.git/config": false, "source/groundcrew_override.tf": false, "groundcrew_override.tf.json": false,
		long: false, strings.Repeat("x", 201): false,
	} {
		err := ValidateFile(path, nil, false)
		var e *Error
		if good != (err == nil) || err != nil && (!errors.As(err, &e) || e.Field != "path" || !errors.Is(err, ErrInvalid)) {
			t.Errorf("%.60q: %v", path, err)
		}
	}
	for _, c := range []struct {
		size   int
		secret bool
		good   bool
	}{{MaxFile, false, true}, {MaxFile + 1, false, false}, {MaxSecretFile, true, true}, {MaxSecretFile + 1, true, false}} {
		if err := ValidateFile("a", make([]byte, c.size), c.secret); (err == nil) != c.good {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzMountPath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "source/a", "a//b", "/a", "a/./b", "a/..", "\x00", "source/../../x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if ValidateFile(path, nil, false) != nil {
			return
		}
		for part := range strings.SplitSeq(path, "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\\\n") {
				t.Errorf("%q was taken", path)
			}
		}
	})
}

func TestSecretsOfFile(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"just-one-secret", "just-one-secret"},
		{"AWS_KEY=AKIA12345678\nX=1\n", "AKIA12345678"},
		{"users:\n- token: eyJhbGciOiJ9.x\n", "eyJhbGciOiJ9.x"},
		{"password = \"correct horse\"\n", "correct horse"},
		{`{"private_key":"-----BEGIN KEY-----\nMIIabc","id":"123456789"}`, "123456789"},
	} {
		if got := SecretsOfFile([]byte(c.content)); !slices.Contains(got, c.want) || !slices.Contains(got, c.content) {
			t.Errorf("%q: %q", c.content, got)
		}
	}
	if got := SecretsOfFile([]byte("a: yes\nb = no\n")); len(got) != 1 {
		t.Errorf("short words are looked for: %q", got)
	}
	raw := append([]byte{0xff, 0}, strings.Repeat("key", 60)...)
	got := SecretsOfFile(raw)
	if !slices.Contains(got, base64.RawStdEncoding.EncodeToString(raw)) || !strings.Contains(got[0], "\n") {
		t.Errorf("of a binary file: %q", got)
	}
}

func TestContextValidate(t *testing.T) {
	for name, c := range map[string]struct {
		c     Context
		field string
	}{
		"good":            {Context{Name: "AWS prod", Labels: []string{"autoattach:prod", "autoattach:*", "x"}}, ""},
		"no name":         {Context{Name: " "}, "name"},
		"a form's":        {Context{Name: "New"}, "name"},
		"no letter":       {Context{Name: "…"}, "name"},
		"a line":          {Context{Name: "a\nb"}, "name"},
		"a long one":      {Context{Name: strings.Repeat("a", 101)}, "name"},
		"an empty label":  {Context{Name: "a", Labels: []string{" "}}, "labels"},
		"attached to all": {Context{Name: "a", Labels: []string{"autoattach:"}}, "labels"},
	} {
		err := c.c.Validate()
		var e *Error
		if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &e) || e.Field != c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Attachment{Priority: MaxPriority + 1}).Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a priority out of reach: %v", err)
	}
	if s := (Context{Slug: "aws"}).Scope(); ContextOf(s) != "aws" || ContextOf("aws") != "" || ModuleOf(s) != "" {
		t.Errorf("scope %q", s)
	}
}
