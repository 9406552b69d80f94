package tofu

import (
	"bytes"
	"regexp"
	"strings"
)

// maxError is how much of an error is shown, in characters.
const maxError = 500

var (
	escapeCode = regexp.MustCompile(`\x1b(\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_])`)
	// preamble matches the headline that both tools put before the errors of code that is not valid.
	preamble = regexp.MustCompile(`encountered problems during initiali[sz]ation`)
	location = regexp.MustCompile(`^on .+ line [0-9]+`)
)

// FirstError returns the first error in a log of OpenTofu or Terraform as one line of plain text: its
// headline, and where in the code it is if that is known. It returns "" when there is none.
func FirstError(log []byte) string {
	headline := ""
	for line := range bytes.Lines(log) {
		text := plain(line)
		begins := strings.HasPrefix(text, "Error: ")
		switch {
		case begins && (headline == "" || preamble.MatchString(headline)):
			headline = text
		case headline == "" || preamble.MatchString(headline):
		case location.MatchString(text):
			return cut(headline+" ("+strings.TrimSuffix(text, ":")+")", maxError)
		case begins || bytes.Contains(line, []byte("╵")):
			return cut(headline, maxError)
		}
	}
	return cut(headline, maxError)
}

// plain removes colours, the box around messages and white space.
func plain(line []byte) string {
	text := strings.ToValidUTF8(string(escapeCode.ReplaceAll(line[:min(len(line), 4096)], nil)), "?")
	return strings.TrimSpace(strings.TrimLeft(text, " \t│╷╵|"))
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
