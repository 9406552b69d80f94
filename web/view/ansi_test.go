package view

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"
)

func TestLogLines(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "one\ntwo\n", `<li id="planning-L7">one</li>|<li id="planning-L8">two</li>`},
		{"empty line", "a\n\nb", `<li id="planning-L7">a</li>|<li id="planning-L8"></li>|<li id="planning-L9">b</li>`},
		{"colour", "\x1b[1;31mErr\x1b[0mok", `<li id="planning-L7"><span class="a-b fg1">Err</span>ok</li>`},
		{"colour over lines", "\x1b[32ma\nb\x1b[m\nc", `<li id="planning-L7"><span class="fg2">a</span></li>|<li id="planning-L8"><span class="fg2">b</span></li>|<li id="planning-L9">c</li>`},
		{"256 and true colours", "\x1b[38;5;196mr\x1b[38;2;0;0;255mb\x1b[48;5;2mg", `<li id="planning-L7"><span class="fg9">r</span><span class="fg12">b</span><span class="fg12 bg2">g</span></li>`},
		{"same pen twice", "\x1b[1ma\x1b[1mb", `<li id="planning-L7"><span class="a-b">ab</span></li>`},
		{"bright", "\x1b[90mgrey", `<li id="planning-L7"><span class="fg8">grey</span></li>`},
		{"markup", `<b>"&'`, `<li id="planning-L7">&lt;b&gt;&#34;&amp;&#39;</li>`},
		{"link", "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x07!", `<li id="planning-L7">click!</li>`},
		{"title to the line's end", "\x1b]0;evil\nnext", `<li id="planning-L7"></li>|<li id="planning-L8">next</li>`},
		{"cursor and screen", "\x1b[2J\x1b[1;1H\x1b[?25lx\x1b(B\x1bcy", `<li id="planning-L7">xy</li>`},
		{"device control", "a\x1bP1;2|data\x1b\\b\x1b_app\x1b\\c", `<li id="planning-L7">abc</li>`},
		{"progress", "10%\r50%\r100%\r\nnext\r\n", `<li id="planning-L7">100%</li>|<li id="planning-L8">next</li>`},
		{"control characters", "a\x00\x07\x08b\tc\x7f\u009bd", "<li id=\"planning-L7\">ab\tcd</li>"},
		{"reordered text", "a\u202eb", "<li id=\"planning-L7\">a\uFFFDb</li>"},
		{"broken text", "a\xff\xfeb", "<li id=\"planning-L7\">a\uFFFD\uFFFDb</li>"},
		{"cut off", "a\x1b[31", `<li id="planning-L7">a</li>`},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _ := LogLines("planning", []byte(c.in), 7, Pen{})
			if got = strings.ReplaceAll(strings.TrimSuffix(got, "\n"), "\n", "|"); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestLogLinesInPieces: a log sent line by line looks as one sent whole.
func TestLogLinesInPieces(t *testing.T) {
	whole, _ := LogLines("p", []byte(planLog), 1, Pen{})
	var pieces strings.Builder
	pen, n := Pen{}, 1
	for line := range strings.Lines(planLog) {
		var out string
		out, pen = LogLines("p", []byte(line), n, pen)
		pieces.WriteString(out)
		n++
	}
	if pieces.String() != whole {
		t.Errorf("in pieces:\n%s\nwhole:\n%s", pieces.String(), whole)
	}
}

var lineShape = regexp.MustCompile(`^<li id="p-L\d+">(<span class="[a-z0-9 -]+">[^<>]*</span>|[^<>]*)*</li>$`)

// FuzzLogLines: whatever a process prints, the page gets whole list items of text and spans, and nothing else.
func FuzzLogLines(f *testing.F) {
	for _, seed := range []string{planLog, payload, "\x1b[38;5;300;1m\x1b[999999999999999999999m", "\x1b]8;;\x1b", "\x1b[48;2;1;2", "\r\r\n\x1b"} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, text []byte, first int) {
		if first < 0 || first > 1<<40 {
			return
		}
		out, _ := LogLines("p", text, first, Pen{})
		if !utf8.ValidString(out) {
			t.Fatalf("%q is no text", out)
		}
		if len(text) == 0 {
			return
		}
		items := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if want := strings.Count(strings.TrimSuffix(string(text), "\n"), "\n") + 1; len(items) != want {
			t.Fatalf("%d items for %d lines", len(items), want)
		}
		for i, item := range items {
			if !lineShape.MatchString(item) || !strings.HasPrefix(item, fmt.Sprintf(`<li id="p-L%d">`, first+i)) {
				t.Fatalf("%q", item)
			}
			if strings.ContainsRune(html.UnescapeString(item), 0x1b) {
				t.Fatalf("an escape came through: %q", item)
			}
		}
	})
}

func BenchmarkLogLines(b *testing.B) {
	text := []byte(strings.Repeat(planLog, 80))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		LogLines("planning", text, 1, Pen{})
	}
}
