package sim

import (
	"strconv"
	"strings"
	"time"
)

// A commit as read from git. Merges list their files against the first parent, as GitLab's hooks do.
type commit struct {
	sha                       string
	parents                   []string
	author, authorEmail       string
	committer, committerEmail string
	authored, committed       time.Time
	message                   string
	added, modified, removed  []string
}

func (c *commit) title() string {
	first, _, _ := strings.Cut(c.message, "\n")
	return first
}

const logFormat = "%x01%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00"

// log reads the commits of `git log` with args, newest first. Renames count as added and removed (§W3).
func (r repo) log(args ...string) ([]*commit, error) {
	all := append([]string{"log", "--format=" + logFormat, "--name-status", "--no-renames", "--diff-merges=first-parent"}, args...)
	out, err := r.git(all...)
	if err != nil {
		return nil, err
	}
	var commits []*commit
	for entry := range strings.SplitSeq(out, "\x01") {
		if entry != "" {
			commits = append(commits, parseCommit(strings.Split(entry, "\x00")))
		}
	}
	return commits, nil
}

func parseCommit(f []string) *commit {
	c := &commit{
		sha: f[0], parents: strings.Fields(f[1]), author: f[2], authorEmail: f[3], committer: f[5], committerEmail: f[6], message: f[8],
	}
	c.authored, _ = time.Parse(time.RFC3339, f[4]) // git's own format
	c.committed, _ = time.Parse(time.RFC3339, f[7])
	for line := range strings.Lines(f[9]) {
		kind, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case !ok:
		case kind == "A":
			c.added = append(c.added, path)
		case kind == "D":
			c.removed = append(c.removed, path)
		default:
			c.modified = append(c.modified, path)
		}
	}
	return c
}

// commitAt is the commit a name stands for, nil when there is none. Commits never change, so they are kept.
func (p *project) commitAt(rev string) *commit {
	if c := p.commits[rev]; c != nil {
		return c
	}
	sha := p.repo.resolve(rev)
	if sha == "" {
		return nil
	}
	if c := p.commits[sha]; c != nil {
		return c
	}
	commits, err := p.repo.log("-1", sha)
	if err != nil || len(commits) == 0 {
		return nil
	}
	p.commits[sha] = commits[0]
	return commits[0]
}

// A fileDiff is one file of a comparison.
type fileDiff struct {
	oldPath, newPath, oldMode, newMode string
	status                             byte // A, D, M, R, T
	text                               string
	tooLarge                           bool
}

// maxPatch is GitLab's default limit of one file's diff; larger ones come without text (§5).
const maxPatch = 200 << 10

// diff compares two commits file by file, with renames found.
func (r repo) diff(from, to string) ([]fileDiff, error) {
	out, err := r.git("diff", "--no-color", "--raw", "-z", "-M", from, to)
	if err != nil {
		return nil, err
	}
	files := parseRaw(strings.Split(out, "\x00"))
	patch, err := r.git("diff", "--no-color", "-M", from, to)
	if err != nil {
		return nil, err
	}
	sections := strings.Split("\n"+patch+"\n", "\ndiff --git ")[1:]
	for i := range files {
		if i < len(sections) {
			files[i].setText(strings.TrimSuffix(sections[i], "\n") + "\n")
		}
	}
	return files, nil
}

// setText keeps the hunks of one section of a patch, without git's headers.
func (f *fileDiff) setText(section string) {
	start := strings.Index(section, "\n@@ ")
	if start < 0 {
		return
	}
	f.text = section[start+1:]
	if len(f.text) > maxPatch {
		f.text, f.tooLarge = "", true
	}
}

// parseRaw reads ":100644 100644 sha sha M", path, and for renames a second path.
func parseRaw(fields []string) []fileDiff {
	var files []fileDiff
	for i := 0; i+1 < len(fields); {
		head := strings.Fields(strings.TrimPrefix(fields[i], ":"))
		if len(head) < 5 {
			break
		}
		f := fileDiff{oldMode: mode(head[0]), newMode: mode(head[1]), status: head[4][0], oldPath: fields[i+1], newPath: fields[i+1]}
		i += 2
		if f.status == 'R' && i < len(fields) {
			f.newPath = fields[i]
			i++
		}
		files = append(files, f)
	}
	return files
}

func mode(text string) string {
	if strings.Trim(text, "0") == "" {
		return "0"
	}
	return text
}

func (f fileDiff) entity() any {
	return object{
		"diff": f.text, "collapsed": false, "too_large": f.tooLarge, "new_path": f.newPath, "old_path": f.oldPath,
		"a_mode": f.oldMode, "b_mode": f.newMode, "new_file": f.status == 'A', "renamed_file": f.status == 'R',
		"deleted_file": f.status == 'D', "generated_file": false,
	}
}

// stats counts the lines a commit adds and deletes.
func (r repo) stats(sha string) object {
	out, err := r.git("show", "--numstat", "--format=", "--diff-merges=first-parent", sha)
	if err != nil {
		out = ""
	}
	additions, deletions := 0, 0
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 {
			a, _ := strconv.Atoi(f[0]) // "-" for binary files counts as 0
			d, _ := strconv.Atoi(f[1])
			additions, deletions = additions+a, deletions+d
		}
	}
	return object{"additions": additions, "deletions": deletions, "total": additions + deletions}
}
