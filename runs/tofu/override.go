package tofu

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
)

// backendBlock matches the head of a backend or cloud block in code without comments and strings. A block
// inside a block begins its line in HCL.
var backendBlock = regexp.MustCompile(`(?m)^[ \t]*(backend[ \t]*("[^"\n]*"|[ \t][\w-]+)|cloud)[ \t]*\{`)

// setsBackend reports whether an override file sets a backend or cloud block. When a file cannot be
// understood, it does not: the tool will refuse it.
func setsBackend(name string, b []byte) bool {
	if !strings.HasSuffix(name, ".json") {
		return backendBlock.MatchString(bareCode(string(b)))
	}
	var file struct {
		Terraform json.RawMessage `json:"terraform"`
	}
	if json.Unmarshal(b, &file) != nil {
		return false
	}
	var one map[string]any
	var many []map[string]any // HCL's JSON allows a list wherever a block may stand
	if json.Unmarshal(file.Terraform, &one) == nil {
		many = append(many, one)
	} else if json.Unmarshal(file.Terraform, &many) != nil {
		return false
	}
	for _, block := range many {
		if block["backend"] != nil || block["cloud"] != nil {
			return true
		}
	}
	return false
}

// heredoc is made when it is needed: it takes longer than all other patterns here, and this program starts with every run.
var heredoc = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^<<-?([\pL_][\pL\pN_-]*)\r?\n`)
})

// bareCode removes comments, heredocs and the contents of strings from HCL, so that words can be looked for.
func bareCode(s string) string {
	var b strings.Builder
	for s != "" {
		skip := 1
		switch {
		case s[0] == '#' || strings.HasPrefix(s, "//"):
			skip = indexOr(s, "\n", len(s))
		case strings.HasPrefix(s, "/*"):
			skip = indexOr(s[2:], "*/", len(s)-4) + 4
			b.WriteByte(' ')
		case s[0] == '"':
			skip = stringEnd(s)
			b.WriteString(`""`)
		case strings.HasPrefix(s, "<<") && heredoc().MatchString(s):
			m := heredoc().FindStringSubmatch(s)
			end := regexp.MustCompile(`(?m)^[ \t]*` + regexp.QuoteMeta(m[1]) + `[ \t]*\r?$`).FindStringIndex(s[len(m[0]):])
			skip = len(s)
			if end != nil {
				skip = len(m[0]) + end[1]
			}
		default:
			b.WriteByte(s[0])
		}
		s = s[min(skip, len(s)):]
	}
	return b.String()
}

func indexOr(s, sub string, otherwise int) int {
	if i := strings.Index(s, sub); i >= 0 {
		return i
	}
	return otherwise
}

// stringEnd returns the length of the quoted string at the beginning of s. Strings inside ${…} are part of
// it; a string does not go over its line.
func stringEnd(s string) int {
	depth := 0
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '\n' && depth == 0:
			return i
		case (s[i] == '$' || s[i] == '%') && strings.HasPrefix(s[i+1:], "{"):
			depth++
			i++
		case s[i] == '}' && depth > 0:
			depth--
		case s[i] == '"' && depth > 0:
			i += stringEnd(s[i:]) - 1
		case s[i] == '"':
			return i + 1
		}
	}
	return len(s)
}
