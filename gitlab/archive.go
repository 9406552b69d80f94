package gitlab

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// GitLab lets a user have five archives of a project in a minute.
const (
	archivesPerMinute = 5
	archiveWarning    = "GitLab refuses git over HTTP, so the files come from its archive of the commit: what .gitattributes marks as export-ignore is missing, and submodules are empty"
	sha256Warning     = "the repository uses SHA-256 commit ids, so the files come from GitLab's archive of the commit: what .gitattributes marks as export-ignore is missing, and submodules are empty"
)

// gitRefused reports whether GitLab answered that git over HTTP is not for us, which an instance can be set to.
func gitRefused(err error) bool {
	kind := KindOf(err)
	return kind == KindForbidden || kind == KindScope
}

// fetchArchive brings a commit's files into the mirror from GitLab's archive endpoint. They are kept as git objects, so
// that everything a checkout refuses is refused of them too. The caller has the turn.
func (m *mirror) fetchArchive(ctx context.Context, c *Client, project int64, sha string, limits limits) error {
	now := time.Now()
	m.archives = slices.DeleteFunc(m.archives, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(m.archives) >= archivesPerMinute {
		return &Error{
			Kind: KindRateLimited, RetryAfter: time.Minute - now.Sub(m.archives[0]),
			Message: "the files come from GitLab's archive of the commit, of which it gives out five a minute for a project",
		}
	}
	m.archives = append(m.archives, now)
	body, err := c.archive(ctx, project, sha, limits.bytes)
	if err != nil {
		return err
	}
	defer body.Close()
	st := open(m.dir)
	defer st.Close()
	if err := st.Init(); err != nil {
		return fmt.Errorf("the mirror %s can't be made: %w", m.dir, err)
	}
	tree, err := st.unpack(ctx, body, sha, limits)
	if err != nil {
		return err
	}
	return m.mark(sha, tree.String())
}

// archive asks for the archive of a commit.
func (c *Client) archive(ctx context.Context, project int64, sha string, limit int64) (io.ReadCloser, error) {
	address := c.BaseURL() + "/api/v4/" + at("projects", project, "repository", "archive.tar.gz") + "?" + url.Values{"sha": {sha}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, invalidf("the request for the archive can't be made: %v", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	resp, err := c.httpClient(limit).Do(req)
	if err != nil {
		e := failure(err)
		e.Method, e.Path = req.Method, req.URL.Path
		return nil, e
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		kept, _ := resp.Body.(keptBody)
		e := refusal(resp, kept.text)
		e.Method, e.Path = req.Method, req.URL.Path
		return nil, e
	}
	return resp.Body, nil
}

// limits bound what one archive may hold.
type limits struct {
	bytes int64
	files int
}

// A folder is a folder of an archive while it is read.
type folder struct {
	entries map[string]object.TreeEntry
	folders map[string]*folder
}

func newFolder() *folder {
	return &folder{entries: map[string]object.TreeEntry{}, folders: map[string]*folder{}}
}

// unpack stores the files of an archive as objects and returns their tree. An archive that is cut off, of another commit,
// larger than the limits, or with entries that no checkout makes, is refused.
func (st store) unpack(ctx context.Context, packed io.Reader, sha string, l limits) (plumbing.Hash, error) {
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return plumbing.ZeroHash, damagedArchive(err)
	}
	r, root, files, bytes, of := tar.NewReader(unzipped), newFolder(), 0, int64(0), ""
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return plumbing.ZeroHash, damagedArchive(err)
		}
		if err := ctx.Err(); err != nil {
			return plumbing.ZeroHash, failure(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			of = h.PAXRecords["comment"]
			continue
		}
		if files++; files > l.files {
			return plumbing.ZeroHash, invalidf("the repository has more than the %d files and folders allowed", l.files)
		}
		if bytes += max(h.Size, 0); bytes > l.bytes {
			return plumbing.ZeroHash, invalidf("the files of the repository have more than the %d bytes allowed", l.bytes)
		}
		if err := st.add(root, h, r); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	// What follows the archive in the stream is padding; its end holds the checksum, which says that nothing was cut off.
	if _, err := io.Copy(io.Discard, io.LimitReader(unzipped, 1<<20)); err != nil {
		return plumbing.ZeroHash, damagedArchive(err)
	}
	if of != sha {
		return plumbing.ZeroHash, &Error{Kind: KindNotGitLab, Message: "the archive is not of commit " + sha}
	}
	return st.putFolder(root)
}

func damagedArchive(err error) error {
	e := failure(err)
	e.Kind, e.Message = KindNetwork, flatten("the archive is cut off or damaged: "+err.Error())
	return e
}

// add puts one entry of the archive where it belongs. The topmost folder is GitLab's own invention.
func (st store) add(root *folder, h *tar.Header, content io.Reader) error {
	parts := strings.Split(strings.TrimSuffix(h.Name, "/"), "/")[1:]
	if len(parts) == 0 {
		return nil
	}
	if len(parts) > maxDepth {
		return invalidf("the repository has more than %d folders inside each other, at %s", maxDepth, flatten(h.Name))
	}
	for _, p := range parts {
		if err := checkName(p, h.Name); err != nil {
			return err
		}
	}
	at, base := root, parts[len(parts)-1]
	for _, p := range parts[:len(parts)-1] {
		if at.folders[p] == nil {
			at.folders[p] = newFolder()
		}
		at = at.folders[p]
	}
	if h.Typeflag == tar.TypeDir {
		if at.folders[base] == nil {
			at.folders[base] = newFolder()
		}
		return nil
	}
	if _, there := at.entries[base]; there {
		return twice(path.Join(parts...))
	}
	e := object.TreeEntry{Name: base}
	var err error
	switch h.Typeflag {
	case tar.TypeReg:
		e.Mode = filemode.Regular
		if h.Mode&0o100 != 0 {
			e.Mode = filemode.Executable
		}
		e.Hash, err = st.putBlob(content, h.Size)
	case tar.TypeSymlink:
		e.Mode = filemode.Symlink
		e.Hash, err = st.putBlob(strings.NewReader(h.Linkname), int64(len(h.Linkname)))
	default:
		return invalidf("the archive holds %s, which is neither file, folder nor symbolic link", flatten(h.Name))
	}
	at.entries[base] = e
	return err
}

// putBlob streams a file into the mirror.
func (st store) putBlob(content io.Reader, size int64) (plumbing.Hash, error) {
	w, err := dotgit.New(osfs.New(st.dir)).NewObject()
	if err != nil {
		return plumbing.ZeroHash, localError{fmt.Errorf("the mirror can't be written: %w", err)}
	}
	from := &reading{Reader: content}
	err = w.WriteHeader(plumbing.BlobObject, size)
	if err == nil {
		_, err = io.Copy(w, from)
	}
	switch err = errors.Join(err, w.Close()); {
	case from.err != nil:
		return plumbing.ZeroHash, damagedArchive(from.err)
	case err != nil:
		return plumbing.ZeroHash, localError{fmt.Errorf("the mirror can't be written: %w", err)}
	}
	return w.Hash(), nil
}

// A reading tells trouble with the archive from trouble with the mirror.
type reading struct {
	io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// putFolder stores a folder and all below it.
func (st store) putFolder(f *folder) (plumbing.Hash, error) {
	tree := &object.Tree{}
	for name, e := range f.entries {
		if f.folders[name] != nil {
			return plumbing.ZeroHash, twice(name)
		}
		tree.Entries = append(tree.Entries, e)
	}
	for name, sub := range f.folders {
		hash, err := st.putFolder(sub)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: hash})
	}
	sort.Sort(object.TreeEntrySorter(tree.Entries))
	o := st.NewEncodedObject()
	if err := tree.Encode(o); err != nil {
		return plumbing.ZeroHash, invalidf("the archive can't be kept: %v", err)
	}
	return st.SetEncodedObject(o)
}
