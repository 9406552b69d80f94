package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// archiveFormats maps GitLab's names to git's; the bzip2 ones need a bzip2 beside git.
var archiveFormats = map[string]string{
	"": "tar.gz", "tar.gz": "tar.gz", "tgz": "tar.gz", "gz": "tar.gz", "tar": "tar", "zip": "zip",
}

// archivesPerMinute is the limit for one user and project (§0.6).
const archivesPerMinute = 5

// getArchive streams one top folder named <project>-<ref>-<sha>; every failure is the same 404 (§3).
func (c *call) getArchive() error {
	p, caller := c.project, "anonymous"
	if c.user != nil {
		caller = c.user.Username
	}
	if c.limited(fmt.Sprintf("archive/%d/%s", p.id, caller), archivesPerMinute, time.Minute) {
		return tooMany("archive")
	}
	named := c.segment["format"]
	if named == "" {
		named = c.in.text("format")
	}
	format, known := archiveFormats[named]
	ref := c.in.textOr("sha", p.defaultBranch)
	at := p.commitAt(ref)
	folder := strings.Trim(c.in.text("path"), "/")
	if !known || at == nil || folder != "" && p.repo.kind(at.sha, folder) == "" {
		return notFound("File")
	}
	stem := strings.ReplaceAll(strings.Join(append([]string{p.slug(), ref, at.sha}, nonEmpty(folder)...), "-"), "/", "-")
	c.header.Set("Content-Type", "application/octet-stream")
	c.header.Set("Content-Disposition", `attachment; filename="`+stem+"."+format+`"`)
	c.header.Set("ETag", `W/"`+at.sha+format+folder+`"`)
	c.header.Set("Cache-Control", "max-age=0, private, must-revalidate")
	if c.r.Header.Get("If-None-Match") == c.header.Get("ETag") {
		return c.answer(http.StatusNotModified, nil)
	}
	repo, ctx := p.repo, c.r.Context()
	args := append([]string{"archive", "--format=" + format, "--prefix=" + stem + "/", at.sha}, nonEmpty(folder)...)
	c.stream = func(w http.ResponseWriter) error { return repo.stream(ctx, w, nil, args...) }
	return nil
}

// stream runs git with its output going straight to w.
func (r repo) stream(ctx context.Context, w io.Writer, stdin io.Reader, args ...string) error {
	cmd := r.command(ctx, args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, w, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("sim: git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// kind is "tree", "blob" or "" for what a path is in a commit.
func (r repo) kind(sha, path string) string {
	out, err := r.git("cat-file", "-t", sha+":"+path)
	if err != nil {
		return ""
	}
	return out
}

// blob is the exact content of a file, by its id or as commit:path.
func (r repo) blob(id string) (string, error) {
	var out strings.Builder
	if err := r.stream(context.Background(), &out, nil, "cat-file", "blob", id); err != nil {
		return "", err
	}
	return out.String(), nil
}

// tagMessage is the text and time of an annotated tag, zero for a lightweight one.
func (r repo) tagMessage(name string) (text string, made time.Time) {
	out, err := r.git("for-each-ref", "--format=%(objecttype)%00%(taggerdate:iso-strict)%00%(contents)", "refs/tags/"+name)
	f := strings.Split(out, "\x00")
	if err != nil || len(f) != 3 || f[0] != "tag" {
		return "", time.Time{}
	}
	made, _ = time.Parse(time.RFC3339, f[1]) // git's own format
	return strings.TrimSpace(f[2]), made
}
