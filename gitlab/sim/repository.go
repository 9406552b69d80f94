package sim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) commitURL(p *project, sha string) string { return s.webURL(p) + "/-/commit/" + sha }

func commitDate(t time.Time) string { return t.Format("2006-01-02T15:04:05.000-07:00") }

func (s *Server) commitEntity(p *project, c *commit) object {
	parents := c.parents
	if parents == nil {
		parents = []string{}
	}
	return object{
		"id": c.sha, "short_id": c.sha[:8], "created_at": commitDate(c.committed), "parent_ids": parents,
		"title": c.title(), "message": c.message, "author_name": c.author, "author_email": c.authorEmail,
		"authored_date": commitDate(c.authored), "committer_name": c.committer, "committer_email": c.committerEmail,
		"committed_date": commitDate(c.committed), "trailers": object{}, "extended_trailers": object{}, "web_url": s.commitURL(p, c.sha),
	}
}

func (c *call) commitItem(v *commit) any { return c.commitEntity(c.project, v) }

// refNames lists branches ("refs/heads/") or tags ("refs/tags/"), sorted.
func (c *call) refNames(prefix string) ([]string, error) {
	refs, err := c.project.repo.refs()
	if err != nil {
		return nil, err
	}
	var names []string
	for full := range refs {
		if name, ok := strings.CutPrefix(full, prefix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// matchesName is the search of branches and tags: ^x for the beginning, x$ for the end (§3).
func matchesName(name, search string) bool {
	start, atStart := strings.CutPrefix(search, "^")
	end, atEnd := strings.CutSuffix(search, "$")
	switch {
	case atStart:
		return strings.HasPrefix(name, start)
	case atEnd:
		return strings.HasSuffix(name, end)
	default:
		return strings.Contains(name, search)
	}
}

func (c *call) listBranches() error {
	names, err := c.refNames("refs/heads/")
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !matchesName(n, c.in.text("search")) })
	return page(c, names, func(n string) any { return c.branchEntity(n) })
}

func (c *call) getBranch() error {
	name := c.segment["branch"]
	if strings.ContainsAny(name, " ~^:?*[\\") || strings.Contains(name, "..") {
		return message(http.StatusBadRequest, "The branch refname is invalid")
	}
	if c.project.repo.ref("refs/heads/"+name) == "" {
		return notFound("Branch")
	}
	return c.answer(http.StatusOK, c.branchEntity(name))
}

func (c *call) branchEntity(name string) any {
	p := c.project
	head := p.commitAt("refs/heads/" + name)
	merged := name != p.defaultBranch && p.repo.ancestor(head.sha, "refs/heads/"+p.defaultBranch)
	return object{
		"name": name, "commit": c.commitEntity(p, head), "merged": merged, "protected": p.protected(name),
		"developers_can_push": false, "developers_can_merge": false, "can_push": p.mayPush(c.user, name),
		"default": name == p.defaultBranch, "web_url": c.webURL(p) + "/-/tree/" + name,
	}
}

func (c *call) listTags() error {
	names, err := c.refNames("refs/tags/")
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !matchesName(n, c.in.text("search")) })
	return page(c, names, func(n string) any { return c.tagEntity(n) })
}

func (c *call) getTag() error {
	if c.project.repo.ref("refs/tags/"+c.segment["tag"]) == "" {
		return notFound("Tag")
	}
	return c.answer(http.StatusOK, c.tagEntity(c.segment["tag"]))
}

// tagEntity has the tag object as target of an annotated tag, else the commit (responses/tag.json).
func (c *call) tagEntity(name string) any {
	text, made := c.project.repo.tagMessage(name)
	e := object{
		"name": name, "message": text, "target": c.project.repo.ref("refs/tags/" + name),
		"commit": c.commitEntity(c.project, c.project.commitAt("refs/tags/"+name)), "release": nil, "protected": false, "created_at": nil,
	}
	if !made.IsZero() {
		e["created_at"] = commitDate(made)
	}
	return e
}

// listCommits takes a branch, tag, sha or range; it has no totals (§3).
func (c *call) listCommits() error {
	ref := c.in.textOr("ref_name", c.project.defaultBranch)
	args := []string{ref}
	if c.in.flag("all") {
		args = []string{"--all"}
	} else if strings.HasPrefix(ref, "-") || !strings.Contains(ref, "..") && c.project.repo.resolve(ref) == "" {
		return c.answer(http.StatusOK, []any{})
	}
	for name, option := range map[string]string{"since": "--since=", "until": "--until=", "author": "--author="} {
		if c.in.has(name) {
			args = append(args, option+c.in.text(name))
		}
	}
	if c.in.flag("first_parent") {
		args = append(args, "--first-parent")
	}
	commits, err := c.project.repo.log(append(append(args, "--"), nonEmpty(c.in.text("path"))...)...)
	if err != nil {
		return notFound("Commit")
	}
	return openPage(c, commits, c.commitItem)
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// wantedCommit is the commit of the path, which may be a branch or tag too.
func (c *call) wantedCommit() (*commit, error) {
	found := c.project.commitAt(c.segment["sha"])
	if found == nil {
		return nil, notFound("Commit")
	}
	return found, nil
}

func (c *call) getCommit() error {
	found, err := c.wantedCommit()
	if err != nil {
		return err
	}
	e := c.commitEntity(c.project, found)
	e["stats"], e["project_id"] = c.project.repo.stats(found.sha), c.project.id
	e["status"], e["last_pipeline"] = nil, nil
	if pl := c.project.newestPipeline(found.sha, ""); pl != nil {
		e["status"], e["last_pipeline"] = pl.status(), c.pipelineBasics(c.project, pl)
	}
	return c.answer(http.StatusOK, e)
}

func (c *call) listCommitRefs() error {
	found, err := c.wantedCommit()
	if err != nil {
		return err
	}
	out, err := c.project.repo.git("for-each-ref", "--contains", found.sha, "--format=%(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return err
	}
	var refs []object
	for full := range strings.Lines(out) {
		kind, name := "branch", strings.TrimPrefix(strings.TrimSpace(full), "refs/heads/")
		if tag, ok := strings.CutPrefix(name, "refs/tags/"); ok {
			kind, name = "tag", tag
		}
		if wanted := c.in.textOr("type", "all"); wanted == "all" || wanted == kind {
			refs = append(refs, object{"type": kind, "name": name})
		}
	}
	return page(c, refs, func(o object) any { return o })
}

func (c *call) listTree() error {
	p := c.project
	sha := p.repo.resolve(c.in.textOr("ref", p.defaultBranch))
	if sha == "" {
		return notFound("Tree")
	}
	args := []string{"ls-tree", "-z", "--full-tree"}
	if c.in.flag("recursive") {
		args = append(args, "-r", "-t")
	}
	folder := strings.Trim(c.in.text("path"), "/")
	if folder != "" && p.repo.kind(sha, folder) != "tree" {
		return notFound("invalid revision or path")
	}
	out, err := p.repo.git(append(args, sha+":"+folder)...)
	if err != nil {
		return notFound("Tree")
	}
	var entries []object
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		head, name, ok := strings.Cut(line, "\t")
		f := strings.Fields(head)
		if ok && len(f) == 3 {
			full := path.Join(folder, name)
			entries = append(entries, object{"id": f[2], "name": path.Base(full), "type": f[1], "path": full, "mode": f[0]})
		}
	}
	slices.SortStableFunc(entries, func(a, b object) int { return cmp.Compare(b["type"].(string), a["type"].(string)) }) // trees first
	return page(c, entries, func(o object) any { return o })
}

// A file of a commit with what both file endpoints tell.
type file struct {
	name, path, ref, blob, commit, last, content string
	executable                                   bool
}

func (c *call) findFile() (*file, error) {
	p, name := c.project, c.segment["path"]
	ref := c.in.textOr("ref", "HEAD")
	at := p.commitAt(ref)
	if at == nil {
		return nil, notFound("Commit")
	}
	entry, err := p.repo.git("ls-tree", "--full-tree", at.sha, "--", name)
	head, _, _ := strings.Cut(entry, "\t")
	f := strings.Fields(head)
	if err != nil || len(f) != 3 || f[1] != "blob" {
		return nil, notFound("File")
	}
	content, err := p.repo.blob(f[2])
	if err != nil {
		return nil, err
	}
	last, err := p.repo.git("log", "-1", "--format=%H", at.sha, "--", name)
	if err != nil {
		return nil, err
	}
	return &file{
		name: path.Base(name), path: name, ref: ref, blob: f[2], commit: at.sha, last: last, content: content, executable: f[0] == "100755",
	}, nil
}

func (f *file) sum() string {
	sum := sha256.Sum256([]byte(f.content))
	return hex.EncodeToString(sum[:])
}

func (c *call) getFile() error {
	f, err := c.findFile()
	if err != nil {
		return err
	}
	c.fileHeaders(f)
	return c.answer(http.StatusOK, object{
		"file_name": f.name, "file_path": f.path, "size": len(f.content), "encoding": "base64",
		"content": base64.StdEncoding.EncodeToString([]byte(f.content)), "content_sha256": f.sum(), "ref": f.ref, "blob_id": f.blob,
		"commit_id": f.commit, "last_commit_id": f.last, "execute_filemode": f.executable,
	})
}

func (c *call) getRawFile() error {
	f, err := c.findFile()
	if err != nil {
		return err
	}
	c.fileHeaders(f)
	c.header.Set("Content-Type", "text/plain")
	c.header.Set("Content-Disposition", `inline; filename="`+f.name+`"`)
	c.stream = func(w http.ResponseWriter) error {
		_, err := w.Write([]byte(f.content))
		return err
	}
	return nil
}

func (c *call) fileHeaders(f *file) {
	for k, v := range map[string]string{
		"File-Name": f.name, "File-Path": f.path, "Size": strconv.Itoa(len(f.content)), "Encoding": "base64", "Ref": f.ref, "Blob-Id": f.blob,
		"Commit-Id": f.commit, "Last-Commit-Id": f.last, "Content-Sha256": f.sum(), "Execute-Filemode": strconv.FormatBool(f.executable),
	} {
		c.header.Set("X-Gitlab-"+k, v)
	}
}

// compare is from the merge base unless straight (§3).
func (c *call) compare() error {
	p := c.project
	from, to := p.commitAt(c.in.text("from")), p.commitAt(c.in.text("to"))
	if from == nil {
		return notFound("Ref " + c.in.text("from"))
	}
	if to == nil {
		return notFound("Ref " + c.in.text("to"))
	}
	start := from.sha
	if base := p.repo.mergeBase(from.sha, to.sha); !c.in.flag("straight") && base != "" {
		start = base
	}
	commits, err := p.repo.log("--reverse", start+".."+to.sha)
	if err != nil {
		return err
	}
	diffs, err := p.repo.diff(start, to.sha)
	if err != nil {
		return err
	}
	var newest any
	if len(commits) > 0 {
		newest = c.commitItem(commits[len(commits)-1])
	}
	return c.answer(http.StatusOK, object{
		"commit": newest, "commits": renderAll(commits, c.commitItem), "diffs": renderAll(diffs, fileDiff.entity), "compare_timeout": false,
		"compare_same_ref": from.sha == to.sha, "web_url": c.webURL(p) + "/-/compare/" + from.sha + "..." + to.sha,
	})
}

func (c *call) mergeBase() error {
	refs := c.in.list("refs")
	if len(refs) != 2 {
		return parameter(http.StatusBadRequest, "refs is missing")
	}
	a, b := c.project.commitAt(refs[0]), c.project.commitAt(refs[1])
	if a == nil || b == nil {
		return message(http.StatusBadRequest, "400 Bad request - Could not find ref: "+strings.Join(refs, " or "))
	}
	base := c.project.repo.mergeBase(a.sha, b.sha)
	if base == "" {
		return notFound("Merge Base")
	}
	return c.answer(http.StatusOK, c.commitItem(c.project.commitAt(base)))
}
