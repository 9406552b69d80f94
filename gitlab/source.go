package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	defaultMaxBytes = 2 << 30
	defaultMaxFiles = 200_000
	fetchTimeout    = 15 * time.Minute // of one fetch, when the context has no deadline
)

// A Source keeps a bare mirror of each project under one folder, over git and without a git binary, and writes commits of
// it out as files. The token goes in a header and nowhere else. Mirrors are a cache: they may be deleted while nothing
// runs, and one that is found damaged is thrown away and fetched again. A Source is safe for concurrent use by one process.
type Source struct {
	MaxBytes int64 // most bytes of one checkout, and of one answer of git; 2 GiB unless set before use
	MaxFiles int   // most files and folders of one checkout; 200,000 unless set before use

	dir     string
	boot    string     // names this boot of the machine
	mu      sync.Mutex // guards mirrors
	mirrors map[int64]*mirror
}

// NewSource opens the folder, making it if needed.
func NewSource(dir string) (*Source, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder for sources can't be made: %w", err)
	}
	return &Source{MaxBytes: defaultMaxBytes, MaxFiles: defaultMaxFiles, dir: dir, boot: bootID(), mirrors: map[int64]*mirror{}}, nil
}

// bootID names this boot of the machine. Where that can't be known, each start of the server counts as one.
func bootID() string {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil && len(id) >= 36 {
		return string(id[:36])
	}
	return strconv.FormatInt(time.Now().UnixNano(), 10)
}

func (s *Source) mirror(project int64) *mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mirrors[project]
	if m == nil {
		m = &mirror{dir: filepath.Join(s.dir, strconv.FormatInt(project, 10)+".git"), fetchedDir: "fetched-" + s.boot, turn: make(chan struct{}, 1)}
		s.mirrors[project] = m
	}
	return m
}

// Fetch brings one commit into the project's mirror; when it returns nil every file of the commit is on disk. path is the
// project's path_with_namespace. One fetch per project runs at a time: callers who want the same commit wait for the
// first and find it there. Where GitLab refuses git over HTTP, and of a repository with SHA-256 commit ids, GitLab's archive of
// the commit is taken instead. refs (like refs/merge-requests/7/head) are where to look for the commit on a server that
// doesn't hand out commits by id; GitLab does. Errors of the network and of GitLab are [Error]s.
func (s *Source) Fetch(ctx context.Context, c *Client, project int64, path, sha string, refs ...string) error {
	if !isSHA(sha) {
		return notACommit(sha)
	}
	remote, err := c.repository(path, s.MaxBytes)
	if err != nil {
		return err
	}
	m := s.mirror(project)
	if m.has(sha) {
		return nil
	}
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return failure(ctx.Err())
	}
	if m.has(sha) {
		return nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
	}
	bounds := limits{s.MaxBytes, s.MaxFiles}
	if isSHA256(sha) { // go-git does not speak it
		if _, err := m.prepare(); err != nil {
			return err
		}
		return m.fetchArchive(ctx, c, project, sha, bounds)
	}
	err = m.fetch(ctx, remote, plumbing.NewHash(sha), refs)
	if !gitRefused(err) {
		return err
	}
	instead := m.fetchArchive(ctx, c, project, sha, bounds)
	if KindOf(instead) == KindNotFound || gitRefused(instead) {
		return err // neither way is open: the first refusal says more
	}
	return instead
}

// Checkout writes the tree of a fetched commit to dest, which must be empty or new; on an error it is left empty.
// Nothing is written outside dest and no link in it leads outside. Warnings, for people, say what was left out: .git and
// .terraform, the contents of submodules and of Git LFS files.
func (s *Source) Checkout(ctx context.Context, project int64, sha, dest string) (warnings []string, err error) {
	err = s.read(project, sha, func(st store, tree *object.Tree) error {
		w, err := newCheckout(st, dest, s.MaxBytes, s.MaxFiles)
		if err != nil {
			return err
		}
		defer w.root.Close()
		if err := w.write(ctx, tree); err != nil {
			return errors.Join(err, w.empty())
		}
		warnings = w.warnings()
		return nil
	})
	switch {
	case err != nil:
	case isSHA256(sha):
		warnings = append(warnings, sha256Warning)
	case s.mirror(project).isArchive(sha):
		warnings = append(warnings, archiveWarning)
	}
	return warnings, err
}

// ReadFile reads one file of a fetched commit, at most max bytes of it. An absent file is [fs.ErrNotExist]; a larger file, a
// folder or a link is an error for people.
func (s *Source) ReadFile(project int64, sha, path string, max int64) ([]byte, error) {
	var content []byte
	err := s.read(project, sha, func(st store, tree *object.Tree) (err error) {
		content, err = st.readFile(tree, path, max)
		return err
	})
	return content, err
}

func (st store) readFile(tree *object.Tree, path string, limit int64) ([]byte, error) {
	entry, err := st.find(tree, path)
	if err != nil {
		return nil, err
	}
	if !isRegular(entry.Mode) {
		return nil, invalidf("%s is no regular file", path)
	}
	file, err := tree.TreeEntryFile(&entry)
	if err != nil {
		return nil, damagedError{err}
	}
	if file.Size > limit {
		return nil, invalidf("%s has %d bytes, more than the %d allowed", path, file.Size, limit)
	}
	r, err := file.Reader()
	if err != nil {
		return nil, damagedError{err}
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, damagedError{err}
	}
	return content, nil
}

// find walks down to one entry.
func (st store) find(tree *object.Tree, path string) (object.TreeEntry, error) {
	name, rest, deeper := strings.Cut(path, "/")
	for _, e := range tree.Entries {
		if e.Name != name || deeper && e.Mode != filemode.Dir {
			continue
		}
		if !deeper {
			return e, nil
		}
		sub, err := object.GetTree(st, e.Hash)
		if err != nil {
			return object.TreeEntry{}, damagedError{err}
		}
		return st.find(sub, rest)
	}
	return object.TreeEntry{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
}

// read calls f with the tree of a fetched commit. A mirror that turns out to be damaged is thrown away, so that the next
// Fetch brings it anew.
func (s *Source) read(project int64, sha string, f func(store, *object.Tree) error) error {
	if !isSHA(sha) {
		return notACommit(sha)
	}
	m := s.mirror(project)
	err := m.read(sha, f)
	if _, damaged := errors.AsType[damagedError](err); damaged {
		return errors.Join(err, m.discardIdle())
	}
	return err
}

// A damagedError is a mirror that doesn't hold what it should.
type damagedError struct{ error }

func (e damagedError) Error() string {
	return fmt.Sprintf("the local copy of the repository was damaged (%v) and was thrown away; try again, it is fetched anew", e.error)
}

func (e damagedError) Unwrap() error { return e.error }

func notACommit(sha string) error { return invalidf("%q is no full commit id", flatten(sha)) }
