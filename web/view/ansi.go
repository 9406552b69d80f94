package view

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Pen is the graphic state of a terminal between two pieces of a log. The zero value is plain.
type Pen struct {
	bold, dim, italic, underline, inverse bool
	fg, bg                                int8 // 0 none, else colour 0–15 plus 1
}

// LogLines renders a piece of a phase's log as list items with ids ({phase}-L{number}), numbered from first,
// and returns the pen to go on with. The piece should consist of whole lines: a last one without a line end
// becomes an item as well. Colours become classes; every other escape sequence (cursor moves, links, titles)
// is dropped, and so are control characters; characters that reorder text become visible; the text is escaped.
func LogLines(phase string, text []byte, first int, pen Pen) (string, Pen) {
	var b strings.Builder
	rest := strings.TrimSuffix(string(text), "\n")
	if len(text) == 0 {
		return "", pen
	}
	for line := range strings.SplitSeq(rest, "\n") {
		b.WriteString(`<li id="` + escape(phase) + `-L` + strconv.Itoa(first) + `">`)
		shown, missing := shortened(overwritten(line))
		pen = writeLine(&b, shown, pen)
		b.WriteString(missing)
		b.WriteString("</li>\n")
		first++
	}
	return b.String(), pen
}

// LogGap is the list item that stands for a part of a log that a page leaves out; next is the number of the line after it.
func LogGap(bytes int64, next int) string {
	return `<li class="gap soft" value="` + strconv.Itoa(max(0, next-1)) + `">… ` + escape(Size(bytes)) + " are not shown here. They are in the raw log.</li>\n"
}

// longest is how many bytes of a line a page shows: some tools print a whole document in one.
const longest = 16 << 10

// shortened cuts a line that is too long for a page and says what is missing.
func shortened(line string) (string, string) {
	if len(line) <= longest {
		return line, ""
	}
	cut := longest
	for cut > 0 && !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut], `<span class="soft"> … ` + escape(Size(int64(len(line)-cut))) + " more of this line in the raw log</span>"
}

// overwritten is what a terminal would still show of a line that goes back to its beginning, as progress
// bars do.
func overwritten(line string) string {
	line = strings.TrimRight(line, "\r")
	return line[strings.LastIndexByte(line, '\r')+1:]
}

// writeLine writes one line, a span for each stretch with the same pen.
func writeLine(b *strings.Builder, line string, pen Pen) Pen {
	open := false
	for i := 0; i < len(line); {
		if n := escapeLen(line[i:]); n > 0 {
			if next := pen.after(line[i : i+n]); next != pen {
				pen = next
				if open {
					b.WriteString("</span>")
					open = false
				}
			}
			i += n
			continue
		}
		n, text := plainLen(line[i:]), ""
		if n > 0 {
			text = line[i : i+n]
		} else {
			var r rune
			r, n = utf8.DecodeRuneInString(line[i:])
			text = printable(r)
		}
		if text != "" && !open && pen != (Pen{}) {
			b.WriteString(`<span class="` + pen.classes() + `">`)
			open = true
		}
		b.WriteString(text)
		i += n
	}
	if open {
		b.WriteString("</span>")
	}
	return pen
}

// plainLen is how many bytes s begins with that stand in a page as they are: nearly all of most logs.
func plainLen(s string) int {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '&' || c == '<' || c == '>' || c == '"' || c == '\'' {
			return i
		}
	}
	return len(s)
}

// printable is what stands in the page for a character of a log; nothing for a control character.
func printable(r rune) string {
	switch {
	case r == '&':
		return "&amp;"
	case r == '<':
		return "&lt;"
	case r == '>':
		return "&gt;"
	case r == '"':
		return "&#34;"
	case r == '\'':
		return "&#39;"
	case r == '\t':
		return "\t"
	case unicode.Is(unicode.Bidi_Control, r):
		return "\uFFFD" // would let a log show other words than it holds
	case unicode.IsControl(r):
		return ""
	default:
		return string(r)
	}
}

func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteString(printable(r))
	}
	return b.String()
}

// escapeLen is the length of the escape sequence s begins with, 0 when it begins with none. A sequence that is
// not complete ends with the line. The forms are those of ECMA-48: CSI, the strings (OSC, DCS, SOS, PM, APC)
// and the short ones.
func escapeLen(s string) int {
	if len(s) == 0 || s[0] != 0x1b {
		return 0
	}
	if len(s) == 1 {
		return 1
	}
	switch s[1] {
	case '[':
		return finalByte(s, 2, 0x20, 0x3f)
	case ']', 'P', 'X', '^', '_':
		return stringEnd(s)
	default:
		return finalByte(s, 1, 0x20, 0x2f)
	}
}

// finalByte skips the bytes lo–hi from at and includes the one after them, when it can end a sequence.
func finalByte(s string, at int, lo, hi byte) int {
	for at < len(s) && s[at] >= lo && s[at] <= hi {
		at++
	}
	if at < len(s) && s[at] > hi && s[at] < 0x7f {
		at++
	}
	return at
}

// stringEnd finds the end of an escape string: BEL or ESC \.
func stringEnd(s string) int {
	for i := 2; i < len(s); i++ {
		if s[i] == 0x07 {
			return i + 1
		}
		if s[i] == 0x1b {
			if i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
			return i
		}
	}
	return len(s)
}

// after is the pen after an escape sequence; only "select graphic rendition" changes it.
func (p Pen) after(seq string) Pen {
	if len(seq) < 3 || seq[1] != '[' || seq[len(seq)-1] != 'm' {
		return p
	}
	codes := strings.FieldsFunc(seq[2:len(seq)-1], func(r rune) bool { return r == ';' || r == ':' })
	if len(codes) == 0 {
		return Pen{}
	}
	for i := 0; i < len(codes); i++ {
		n, err := strconv.Atoi(codes[i])
		if err != nil {
			return p // a private form such as CSI ? 1 m
		}
		if n == 38 || n == 48 {
			colour, used := extended(codes[i+1:])
			i += used
			if n == 38 {
				p.fg = colour
			} else {
				p.bg = colour
			}
			continue
		}
		p = p.with(n)
	}
	return p
}

// with is the pen after one plain code.
func (p Pen) with(n int) Pen {
	switch {
	case n == 0:
		return Pen{}
	case n == 1:
		p.bold = true
	case n == 2:
		p.dim = true
	case n == 3:
		p.italic = true
	case n == 4:
		p.underline = true
	case n == 7:
		p.inverse = true
	case n == 22:
		p.bold, p.dim = false, false
	case n == 23:
		p.italic = false
	case n == 24:
		p.underline = false
	case n == 27:
		p.inverse = false
	case n >= 30 && n <= 37:
		p.fg = int8(n - 29)
	case n == 39:
		p.fg = 0
	case n >= 40 && n <= 47:
		p.bg = int8(n - 39)
	case n == 49:
		p.bg = 0
	case n >= 90 && n <= 97:
		p.fg = int8(n - 81)
	case n >= 100 && n <= 107:
		p.bg = int8(n - 91)
	}
	return p
}

// extended reads the colour after code 38 or 48 (5;n or 2;r;g;b) as the nearest of the sixteen, and says how
// many codes it took.
func extended(codes []string) (colour int8, used int) {
	var n [4]int
	for i := range min(4, len(codes)) {
		n[i], _ = strconv.Atoi(codes[i]) // what is no number counts as 0
	}
	switch {
	case len(codes) >= 2 && n[0] == 5:
		return palette(n[1]), 2
	case len(codes) >= 4 && n[0] == 2:
		return nearest(n[1], n[2], n[3]), 4
	default:
		return 0, len(codes)
	}
}

// palette maps one of the 256 colours to one of the sixteen.
func palette(n int) int8 {
	switch {
	case n < 0 || n > 255:
		return 0
	case n < 16:
		return int8(n + 1)
	case n >= 232:
		grey := 8 + 10*(n-232)
		return nearest(grey, grey, grey)
	default:
		n -= 16
		step := func(i int) int { return i * 255 / 5 }
		return nearest(step(n/36), step(n/6%6), step(n%6))
	}
}

func nearest(r, g, b int) int8 {
	top := max(r, g, b)
	switch {
	case top < 64:
		return 1 // black
	case top-min(r, g, b) < 40 && top < 160:
		return 9 // grey
	}
	var c int8 = 1
	for i, v := range []int{r, g, b} {
		if v*2 > top {
			c += 1 << i
		}
	}
	if top > 220 {
		c += 8
	}
	return c
}

// classes are the CSS classes of the pen, "" for a plain one.
func (p Pen) classes() string {
	if p == (Pen{}) {
		return ""
	}
	var c []string
	for _, f := range []struct {
		on   bool
		name string
	}{{p.bold, "a-b"}, {p.dim, "a-d"}, {p.italic, "a-i"}, {p.underline, "a-u"}, {p.inverse, "a-v"}} {
		if f.on {
			c = append(c, f.name)
		}
	}
	if p.fg > 0 {
		c = append(c, "fg"+strconv.Itoa(int(p.fg-1)))
	}
	if p.bg > 0 {
		c = append(c, "bg"+strconv.Itoa(int(p.bg-1)))
	}
	return strings.Join(c, " ")
}
