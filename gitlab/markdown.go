package gitlab

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The helpers below make text that comes from plans, commits and people safe in what we post. GitLab executes lines that
// begin with a slash (/merge, /approve) with our token's rights, mails everybody who is @mentioned, and renders links,
// images and HTML. Versions before its Markdown-based parser look for such lines with a pattern that ends a code block
// at the first inner line of three backticks, so no helper ever returns a line that begins with a slash, fenced or not.

// joiner is an invisible character without width. Between a sign and a word it keeps GitLab from seeing a reference.
const joiner = "\u2060"

// Inline returns s as a code span on one line, for a sentence or a table cell. Pipes are escaped for the table. Cutting to
// a length is the caller's, before the call.
func Inline(s string) string {
	s = escapePipes(oneLine(s))
	if s == "" {
		return "` `"
	}
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

// Fence returns s as a fenced code block that ends with a line break, with a fence longer than any inside. A line that
// begins with a slash gets a space in front. Of lang only letters, digits, + and - are kept.
func Fence(lang, s string) string {
	lang = strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '+' || r == '-') {
			return r
		}
		return -1
	}, lang)
	s = strings.TrimRight(visible(s), "\n")
	if strings.HasPrefix(s, "/") {
		s = " " + s
	}
	s = strings.ReplaceAll(s, "\n/", "\n /")
	fence := strings.Repeat("`", max(3, longestRun(s, '`')+1))
	return fence + lang + "\n" + s + "\n" + fence + "\n"
}

// Text returns s as plain words on one line: no mention, reference, quick action, HTML, link, image or formatting.
func Text(s string) string {
	s = strings.TrimSpace(oneLine(s))
	s = strings.ReplaceAll(s, "://", ":"+joiner+"//")
	var b strings.Builder
	for i, r := range s {
		switch {
		case strings.ContainsRune("\\`*_{}[]<>()+|\"'=", r):
			b.WriteString("\\" + string(r))
		case strings.ContainsRune("@#!$~%&^", r): // also GitLab's signs for people, issues, merge requests, labels …
			b.WriteString("\\" + string(r) + joiner)
		case r == '.' && strings.HasSuffix(strings.ToLower(s[:i]), "www"):
			b.WriteString(joiner + ".")
		case startsLine(s, i, r):
			b.WriteString("\\" + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// startsLine reports whether r at i would make a quick action, a list or a rule of the line.
func startsLine(s string, i int, r rune) bool {
	switch r {
	case '/', '-', ':':
		return i == 0
	case '.':
		return i > 0 && strings.Trim(s[:i], "0123456789") == ""
	}
	return false
}

// oneLine puts s on one line, without characters that don't show.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, visible(s))
}

// visible makes line breaks uniform and drops what doesn't show or changes the direction of writing, which could make a
// plan look like another one.
func visible(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n", "\v", "\n", "\f", "\n").Replace(s)
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.Is(unicode.Cc, r) && !unicode.Is(unicode.Cf, r) {
			return r
		}
		return -1
	}, s)
}

// escapePipes puts an odd number of backslashes before each pipe: parsers differ in whether two backslashes before one
// are an escaped backslash, and either way an odd number keeps the cell together.
func escapePipes(s string) string {
	var b strings.Builder
	backslashes := 0
	for _, r := range s {
		if r == '|' && backslashes%2 == 1 {
			b.WriteByte('\\')
		}
		if r == '|' {
			b.WriteByte('\\')
		}
		if r == '\\' {
			backslashes++
		} else {
			backslashes = 0
		}
		b.WriteRune(r)
	}
	return b.String()
}

func longestRun(s string, of rune) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != of {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}
