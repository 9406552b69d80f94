package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A repo is one bare repository on disk.
type repo struct {
	dir    string
	format string // of its ids: "sha1" or "sha256"
	memo   *memo
}

func newRepo(dir, format string) repo { return repo{dir, format, &memo{said: map[string]said{}}} }

// zero stands for the side of a change that is not there.
func (r repo) zero() string {
	if r.format == "sha256" {
		return strings.Repeat("0", 64)
	}
	return strings.Repeat("0", 40)
}

func isZero(sha string) bool { return strings.Trim(sha, "0") == "" }

// nonZero is an id, "" for zeros.
func nonZero(sha string) string {
	if isZero(sha) {
		return ""
	}
	return sha
}

// command prepares git in the repository, free of the machine's and the user's configuration.
func (r repo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }),
		"GIT_DIR="+r.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "TZ=UTC")
	return cmd
}

// git runs one command and returns what it prints, without the last line break. What can't change is asked once.
func (r repo) git(args ...string) (string, error) {
	if !eternal(args) {
		return r.feed(nil, args...)
	}
	return r.memo.ask(strings.Join(args, "\x00"), func() (string, error) { return r.feed(nil, args...) })
}

func (r repo) feed(stdin io.Reader, args ...string) (string, error) {
	cmd := r.command(context.Background(), args...)
	cmd.Stdin = stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("sim: git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// init makes the bare repository; any commit may be fetched by its id, as GitLab allows.
func (r repo) init(branch string) error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return fmt.Errorf("sim: make a repository: %w", err)
	}
	if _, err := r.git("init", "--quiet", "--bare", "--template=", "--initial-branch="+branch, "--object-format="+r.format, r.dir); err != nil {
		return err
	}
	config := `
[core]
	quotePath = false
[gc]
	auto = 0
[uploadpack]
	allowAnySHA1InWant = true
	allowReachableSHA1InWant = true
	allowFilter = true
[http]
	receivepack = true
[receive]
	autogc = false
	advertisePushOptions = true
`
	f, err := os.OpenFile(r.dir+"/config", os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("sim: configure a repository: %w", err)
	}
	_, err = f.WriteString(config)
	return errors.Join(err, f.Close())
}

// resolve is the commit a branch, tag or (short) id names, or "".
func (r repo) resolve(rev string) string {
	if rev == "" || strings.HasPrefix(rev, "-") {
		return ""
	}
	if sha, known := r.branch(rev); known {
		return sha
	}
	sha, err := r.git("rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		return ""
	}
	return sha
}

// ref is what a full ref name points at, tag objects unpeeled, or "".
func (r repo) ref(name string) string {
	if sha, known := r.loose(name); known {
		return sha
	}
	sha, err := r.git("rev-parse", "--verify", "--quiet", name)
	if err != nil {
		return ""
	}
	return sha
}

// refs maps the full names of branches and tags to what they point at.
func (r repo) refs() (map[string]string, error) {
	out, err := r.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		name, sha, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[name] = sha
	}
	return refs, nil
}

// setRef creates or moves a ref; an empty sha deletes it.
func (r repo) setRef(name, sha string) error {
	args := []string{"update-ref", name, sha}
	if sha == "" {
		args = []string{"update-ref", "-d", name}
	}
	_, err := r.git(args...)
	return err
}

// commit appends commits to a branch, from a commit or (from "") as a root, and returns the last one.
func (r repo) commit(branch, from string, commits []Commit, author *User, at time.Time) (string, error) {
	var in bytes.Buffer
	for i, c := range commits {
		fmt.Fprintf(&in, "commit refs/heads/%s\nmark :%d\n", branch, i+1)
		fmt.Fprintf(&in, "committer %s <%s> %d +0000\n", author.Name, author.email(), at.Unix()+int64(i))
		data(&in, strings.TrimSuffix(c.Message, "\n")+"\n")
		if i == 0 && from != "" {
			fmt.Fprintf(&in, "from %s\n", from)
		}
		for path, content := range c.Files {
			fmt.Fprintf(&in, "M 100644 inline %s\n", quotePath(path))
			data(&in, content)
		}
		for _, path := range c.Delete {
			fmt.Fprintf(&in, "D %s\n", quotePath(path))
		}
	}
	fmt.Fprintf(&in, "get-mark :%d\n", len(commits))
	return r.feed(&in, "fast-import", "--quiet", "--force")
}

func data(w io.Writer, text string) { fmt.Fprintf(w, "data %d\n%s\n", len(text), text) }

// quotePath is git's C-style quoting, needed for spaces, quotes and line breaks.
func quotePath(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

// ancestor says whether old is reachable from (or equal to) sha.
func (r repo) ancestor(old, sha string) bool {
	_, err := r.git("merge-base", "--is-ancestor", old, sha)
	return err == nil
}

// behind counts the commits of a branch that are not in a commit's history.
func (r repo) behind(sha, branch string) int {
	out, err := r.git("rev-list", "--count", sha+"..refs/heads/"+branch)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(out) // git prints a number
	return n
}

func (r repo) mergeBase(a, b string) string {
	out, err := r.git("merge-base", a, b)
	if err != nil {
		return ""
	}
	return out
}

// mergeTree is the tree of merging source into target; ok is false when they conflict.
func (r repo) mergeTree(target, source string) (tree string, ok bool) {
	out, err := r.git("merge-tree", "--write-tree", target, source)
	if err != nil {
		return "", false
	}
	return out, true
}

// commitTree makes a merge commit without moving any ref.
func (r repo) commitTree(tree, text string, author *User, at time.Time, parents ...string) (string, error) {
	args := []string{"commit-tree", tree, "-F", "-"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	cmd := r.command(context.Background(), args...)
	stamp := fmt.Sprintf("%d +0000", at.Unix())
	cmd.Env = append(cmd.Env,
		"GIT_AUTHOR_NAME="+author.Name, "GIT_AUTHOR_EMAIL="+author.email(), "GIT_AUTHOR_DATE="+stamp,
		"GIT_COMMITTER_NAME="+author.Name, "GIT_COMMITTER_EMAIL="+author.email(), "GIT_COMMITTER_DATE="+stamp)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("sim: git commit-tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
