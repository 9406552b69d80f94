package sim

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Starting git takes longer than all else that is done for a request. So what can't change is asked once, and a ref is
// read from its file.

// A memo keeps what git said.
type memo struct {
	mu   sync.Mutex
	said map[string]said
}

type said struct {
	out string
	err error
}

// objects are commits named by their ids, alone or as a range.
var objects = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{40,64}(\^\{commit\}|\.{2,3}[0-9a-f]{40,64})?$`)
})

// eternal reports whether a command always says the same: it looks at nothing but commits given by their ids.
func eternal(args []string) bool {
	if !slices.Contains([]string{"log", "diff", "merge-base", "merge-tree", "rev-parse"}, args[0]) {
		return false
	}
	ids := 0
	for _, a := range args[1:] {
		switch {
		case objects().MatchString(a):
			ids++
		case !strings.HasPrefix(a, "-") || a == "--":
			return false
		}
	}
	return ids > 0
}

// ask remembers an answer: also a no, which git says with exit code 1, but not that a commit is not there yet.
func (m *memo) ask(what string, git func() (string, error)) (string, error) {
	m.mu.Lock()
	a, known := m.said[what]
	m.mu.Unlock()
	if known {
		return a.out, a.err
	}
	a.out, a.err = git()
	no, isExit := errors.AsType[*exec.ExitError](a.err)
	if a.err == nil || isExit && no.ExitCode() == 1 && !strings.HasPrefix(what, "rev-parse") {
		m.mu.Lock()
		m.said[what] = a
		m.mu.Unlock()
	}
	return a.out, a.err
}

// loose reads a ref by its full name from its file; known is false when only git can tell.
func (r repo) loose(name string) (sha string, known bool) {
	if !strings.HasPrefix(name, "refs/") || !filepath.IsLocal(name) {
		return "", false
	}
	raw, err := os.ReadFile(filepath.Join(r.dir, name))
	text := strings.TrimSpace(string(raw))
	if err == nil && len(text) >= 40 && !strings.HasPrefix(text, "ref:") {
		return text, true
	}
	for _, other := range []string{"packed-refs", "reftable"} {
		if _, err := os.Stat(filepath.Join(r.dir, other)); err == nil {
			return "", false
		}
	}
	return "", errors.Is(err, os.ErrNotExist)
}

// branch is the commit of a branch by its short name; known is false when a tag might be meant, or something else.
func (r repo) branch(name string) (sha string, known bool) {
	if _, is := r.loose("refs/tags/" + name); !is {
		return "", false
	}
	if tag, _ := r.loose("refs/tags/" + name); tag != "" {
		return "", false
	}
	sha, known = r.loose("refs/heads/" + name)
	return sha, known && sha != ""
}
