package gitlab

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestInline(t *testing.T) {
	for in, want := range map[string]string{
		"main.tf":         "`main.tf`",
		"":                "` `",
		"a|b":             "`a\\|b`",
		`a\|b`:            "`a\\\\\\|b`",
		`a\\|b`:           "`a\\\\\\|b`",
		"a`b":             "``a`b``",
		"`a`":             "`` `a` ``",
		"a``b`c":          "```a``b`c```",
		" a ":             "`  a  `",
		"a\nb\r\nc\u2028": "`a b c `",
		"a\x00\x1b[31mb":  "`a[31mb`",
		"a\u202Eb":        "`ab`",
		"\xff":            "`\uFFFD`",
		"/merge":          "`/merge`",
		"@all":            "`@all`",
	} {
		if in == "a\nb\r\nc\u2028" {
			want = "` a b c  `"
		}
		if got := Inline(in); got != want {
			t.Errorf("Inline(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFence(t *testing.T) {
	for _, c := range []struct{ lang, in, want string }{
		{"diff", "+ a", "```diff\n+ a\n```\n"},
		{"", "", "```\n\n```\n"},
		{"di`ff\n/merge", "x", "```diffmerge\nx\n```\n"},
		{"", "a\n```\n/merge\n```\nb\n\n", "````\na\n```\n /merge\n```\nb\n````\n"},
		{"", "/close\r/approve\r\n/merge", "```\n /close\n /approve\n /merge\n```\n"},
		{"", "`````", "``````\n`````\n``````\n"},
		{"", "\x00/merge", "```\n /merge\n```\n"},
		{"", "a\v/merge", "```\na\n /merge\n```\n"},
	} {
		if got := Fence(c.lang, c.in); got != c.want {
			t.Errorf("Fence(%q, %q) = %q, want %q", c.lang, c.in, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"Add a gateway":           "Add a gateway",
		"/merge":                  `\/merge`,
		"x\n/merge":               `x /merge`,
		"@all":                    "\\@\u2060all",
		"fix #12 and !3":          "fix \\#\u206012 and \\!\u20603",
		"<img src=x>":             `\<img src\=x\>`,
		"![a](http://evil/x.png)": "\\!\u2060\\[a\\]\\(http:\u2060//evil/x.png\\)",
		"see https://evil":        "see https:\u2060//evil",
		"WWW.evil.com":            "WWW\u2060.evil.com",
		"- item":                  `\- item`,
		"12. item":                `12\. item`,
		"v1.2":                    "v1.2",
		"a_b*c`d`|e":              "a\\_b\\*c\\`d\\`\\|e",
		"aws_vpc.main[\"x\"]":     `aws\_vpc.main\[\"x\"\]`,
		"::include{file=x}":       `\::include\{file\=x\}`,
		"jane@example.com":        "jane\\@\u2060example.com",
		"$`x`$":                   "\\$\u2060\\`x\\`\\$\u2060",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzMarkdown holds what must be true of every text: nothing for GitLab to execute, and no way out.
func FuzzMarkdown(f *testing.F) {
	for _, s := range []string{"", "/merge", "\n/merge", "```\n/merge", "a|b\\|c", "@all", "`", "\r/close", "<b>", "\u2028/x", "~~~\n/x"} {
		f.Add(s)
	}
	quickAction := regexp.MustCompile(`(?m)^\s*/[a-z]`)
	fenceLine := regexp.MustCompile("(?m)^ {0,3}(`{3,})")
	mention := regexp.MustCompile(`[@#!~%&^$][0-9A-Za-z_]`)
	f.Fuzz(func(t *testing.T, s string) {
		for name, out := range map[string]string{"Inline": Inline(s), "Text": Text(s)} {
			if strings.ContainsAny(out, "\r\n\v\f\u2028\u2029\u0085") || quickAction.MatchString(out) || !utf8.ValidString(out) {
				t.Errorf("%s(%q) = %q", name, s, out)
			}
		}
		inline := Inline(s)
		ticks := inline[:len(inline)-len(strings.TrimLeft(inline, "`"))]
		inner := inline[len(ticks) : len(inline)-len(ticks)]
		if len(ticks) == 0 || !strings.HasSuffix(inline, ticks) || longestRun(inner, '`') >= len(ticks) || strings.HasSuffix(inner, "`") {
			t.Errorf("Inline(%q) = %q: the span ends early", s, inline)
		}
		for _, m := range regexp.MustCompile(`\\*\|`).FindAllString(inline, -1) {
			if len(m)%2 == 1 {
				t.Errorf("Inline(%q) = %q: the cell ends early", s, inline)
			}
		}
		if text := Text(s); mention.MatchString(text) || strings.Contains(text, "://") || regexp.MustCompile(`(^|[^\\])[<\[\x60]`).MatchString(text) {
			t.Errorf("Text(%q) = %q", s, text)
		}
		fence := Fence("x", s)
		open := fenceLine.FindString(fence)
		body := strings.TrimSuffix(strings.TrimPrefix(fence, open+"x\n"), open+"\n")
		if longestRun(body, '`') >= len(open) || regexp.MustCompile(`(?m)^/`).MatchString(fence) || strings.Contains(body, "\r") {
			t.Errorf("Fence(%q) = %q", s, fence)
		}
	})
}
