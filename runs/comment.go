package runs

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// What a comment on a merge request can ask for (PRODUCT §8).
const (
	CommandPlan    = "plan"
	CommandApply   = "apply"
	CommandDiscard = "discard"
	CommandUnlock  = "unlock"
	CommandHelp    = "help"
)

// A Command is what a comment asks for. Its words are a stranger's: they are at most maxCommandWord characters long.
type Command struct {
	Verb  string // in lower case, one of the Command constants or a word that is none
	Stack string // "" when none is named
	Name  string // hexadecimal digits that name a plan (see [PlanName]) or the beginning of a commit's id; "" when there are none
	Extra bool   // there are more words than a command has
	More  bool   // further commands stand in the comment; they do not count
}

const (
	maxCommentRead = 64 << 10 // bytes of a comment that are looked at
	maxCommandWord = 100      // characters
	minName        = 8        // digits
	maxName        = 64       // a whole commit id of SHA-256
)

// ParseCommand finds the first command of a comment: a line that begins with a slash and the word, as it is or in other
// case, outside of code, quotes and what GitLab does not show. Without words behind it, it asks for help.
func ParseCommand(text, word string) (c Command, found bool) {
	if len(text) > maxCommentRead {
		text = text[:strings.LastIndexByte(text[:maxCommentRead], '\n')+1] // half a line would say something else
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	var b block
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if b.inside(line) {
			continue
		}
		rest, is := commandLine(line, word)
		switch {
		case is && found:
			c.More = true
			return c, true
		case is:
			c, found = commandOf(rest), true
		}
	}
	return c, found
}

// commandLine returns what follows the slash and the word that begin a line.
func commandLine(line, word string) (rest string, is bool) {
	begin := "/" + word
	if word == "" || len(line) < len(begin) || !strings.EqualFold(line[:len(begin)], begin) {
		return "", false
	}
	rest = line[len(begin):]
	return rest, rest == "" || rest[0] == ' ' || rest[0] == '\t'
}

func commandOf(rest string) Command {
	words := strings.Fields(rest)
	if len(words) == 0 {
		return Command{Verb: CommandHelp}
	}
	c := Command{Verb: strings.ToLower(shortWord(words[0]))}
	for _, w := range words[1:] {
		switch {
		case c.Name == "" && isName(w):
			c.Name = strings.ToLower(w)
		case c.Stack == "":
			c.Stack = shortWord(w)
		default:
			c.Extra = true
		}
	}
	return c
}

func shortWord(w string) string {
	if r := []rune(w); len(r) > maxCommandWord {
		return string(r[:maxCommandWord])
	}
	return w
}

func isName(w string) bool {
	return len(w) >= minName && len(w) <= maxName && strings.Trim(strings.ToLower(w), "0123456789abcdef") == ""
}

// A block is what the lines of a comment stand in: a fence of code, a quote of several lines, HTML that is not shown or is
// shown as it is.
type block struct {
	end   string // what ends it; "" is outside of all
	fence bool
}

// quoteFence begins and ends a quote of several lines in GitLab.
const quoteFence = ">>>"

// rawHTML are the beginnings of HTML in which nothing is Markdown, and their ends.
var rawHTML = [][2]string{{"<pre", "</pre>"}, {"<script", "</script>"}, {"<style", "</style>"}, {"<textarea", "</textarea>"}}

// inside takes in one more line and reports whether no command can stand there.
func (b *block) inside(line string) bool {
	if b.end != "" {
		if b.ends(line) {
			b.end = ""
		}
		return true
	}
	lower := strings.ToLower(line)
	b.fence = false
	switch mark := fenceOf(line); {
	case mark != "":
		b.end, b.fence = mark, true
	case line == quoteFence:
		b.end = quoteFence
	case strings.LastIndex(line, "<!--") > strings.LastIndex(line, "-->"):
		b.end = "-->"
		return strings.HasPrefix(line, "<!--")
	default:
		for _, h := range rawHTML {
			if strings.HasPrefix(lower, h[0]) && !strings.Contains(lower, h[1]) {
				b.end = h[1]
			}
		}
	}
	return b.end != ""
}

func (b *block) ends(line string) bool {
	switch {
	case b.fence:
		mark := fenceOf(line)
		return strings.HasPrefix(mark, b.end) && strings.TrimSpace(line) == mark
	case b.end == quoteFence:
		return line == quoteFence
	default:
		return strings.Contains(strings.ToLower(line), b.end)
	}
}

// fenceOf is the run of backticks or tildes that a line of a fence begins with, or "".
func fenceOf(line string) string {
	text := strings.TrimLeft(line, " ")
	if len(line)-len(text) > 3 {
		return ""
	}
	for _, c := range []string{"`", "~"} {
		rest := strings.TrimLeft(text, c)
		if run := len(text) - len(rest); run >= 3 && (c == "~" || !strings.Contains(rest, c)) {
			return text[:run]
		}
	}
	return ""
}

// PlanName names the very plan that waits in a run, in eight digits: a plan that is made again has another name.
func PlanName(r Run) string {
	sum := sha256.Sum256([]byte(r.ID + "\n" + r.Fingerprint + "\n" + r.Entered().UTC().Format(time.RFC3339Nano)))
	return hex.EncodeToString(sum[:])[:minName]
}

// SamePlan reports whether two runs would do the same, as far as their plans say what they do at all: those of a tool that
// doesn't list its changes do not.
func SamePlan(a, b Run) bool { return a.Fingerprint != "" && a.Fingerprint == b.Fingerprint }
