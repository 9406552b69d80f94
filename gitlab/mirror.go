package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	maxCommits   = 500      // with more, the mirror is begun anew
	maxHaves     = 32       // newest fetched commits that are named to the server, so that it sends only what is new
	bigObject    = 8 << 20  // bytes from which a file is streamed rather than held
	objectCache  = 32 << 20 // bytes of objects kept while one mirror is read
	packDir      = "objects/pack"
	setAsideName = ".old"
)

// A mirror is the bare repository of one project. Commits are fetched without their history; for each one that is
// wholly there a folder holds a file of its name, written after its pack. A crash of the server in between leaves an
// unmarked pack, which does no harm. Nothing is forced to disk, since all of it can be fetched again: the folder is
// named by this boot of the machine, and a mirror from before a power cut is begun anew.
type mirror struct {
	dir        string
	fetchedDir string
	turn       chan struct{} // holds one element while somebody fetches
	// speaks is what the server said it can do when it was last asked, nil before; for whoever has the turn.
	speaks   *capability.List
	archives []time.Time  // when the last archives were asked for; for whoever has the turn
	files    sync.RWMutex // held for reading by whoever reads objects, for writing by whoever moves or removes the folder
}

// A store is an open repository folder.
type store struct {
	*filesystem.Storage
	dir string
}

func open(dir string) store {
	return store{filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(objectCache),
		filesystem.Options{KeepDescriptors: true, LargeObjectThreshold: bigObject}), dir}
}

// dirs are where a commit may be: the mirror, and the one before it was begun anew.
func (m *mirror) dirs() []string { return []string{m.dir, m.dir + setAsideName} }

func (m *mirror) has(sha string) bool {
	return m.read(sha, func(store, *object.Tree) error { return nil }) == nil
}

// read calls f with the tree of a commit that was fetched.
func (m *mirror) read(sha string, f func(store, *object.Tree) error) error {
	m.files.RLock()
	defer m.files.RUnlock()
	err := fmt.Errorf("commit %s was not fetched: %w", sha, fs.ErrNotExist)
	for _, dir := range m.dirs() {
		mark, markErr := os.ReadFile(filepath.Join(dir, m.fetchedDir, sha))
		if markErr != nil {
			continue
		}
		st := open(dir)
		defer st.Close()
		tree, treeErr := st.markedTree(sha, string(mark))
		if treeErr == nil {
			return f(st, tree)
		}
		err = damagedError{treeErr}
	}
	return err
}

// markedTree is the tree of a commit, or what its mark names instead.
func (st store) markedTree(sha, mark string) (*object.Tree, error) {
	if mark == "" {
		return st.tree(plumbing.NewHash(sha))
	}
	return object.GetTree(st, plumbing.NewHash(mark))
}

// isArchive reports whether a commit that was fetched came as an archive.
func (m *mirror) isArchive(sha string) bool {
	info, err := os.Stat(filepath.Join(m.dir, m.fetchedDir, sha))
	return err == nil && info.Size() > 0
}

func (st store) tree(hash plumbing.Hash) (*object.Tree, error) {
	commit, err := object.GetCommit(st, hash)
	if err != nil {
		return nil, err
	}
	return commit.Tree()
}

// discardIdle removes the mirror unless somebody is fetching into it, who will find the damage or meet it later.
func (m *mirror) discardIdle() error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
		return m.discard()
	default:
		return nil
	}
}

// discard removes the mirror; the caller has the turn.
func (m *mirror) discard() error {
	m.files.Lock()
	defer m.files.Unlock()
	var errs []error
	for _, dir := range m.dirs() {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// fetch is called by whoever has the turn. A mirror in which the new commit is not whole is damaged and begun anew.
func (m *mirror) fetch(ctx context.Context, r *repository, hash plumbing.Hash, refs []string) error {
	known, err := m.prepare()
	if err != nil {
		return err
	}
	err = m.fetchInto(ctx, r, hash, refs, known)
	if _, damaged := errors.AsType[damagedError](err); !damaged {
		return err
	}
	if err := m.setAside(); err != nil {
		return err
	}
	return m.fetchInto(ctx, r, hash, refs, nil)
}

func (m *mirror) fetchInto(ctx context.Context, r *repository, hash plumbing.Hash, refs []string, known []plumbing.Hash) error {
	st := open(m.dir)
	defer st.Close()
	if err := st.Init(); err != nil {
		return fmt.Errorf("the mirror %s can't be made: %w", m.dir, err)
	}
	if err := st.HasEncodedObject(plumbing.ZeroHash); !errors.Is(err, plumbing.ErrObjectNotFound) {
		return damagedError{fmt.Errorf("its index can't be read: %w", err)}
	}
	ok, err := r.quickly(ctx, st, hash, known, m.speaks)
	if err == nil && !ok {
		m.speaks, err = r.fetch(ctx, st, hash, refs, known)
	}
	if err != nil {
		return err
	}
	if err := st.whole(hash); err != nil {
		return damagedError{err}
	}
	return m.mark(hash.String(), "")
}

// prepare clears what a crash left behind, sets a mirror aside that has grown many commits, and names the newest that
// are whole in it.
func (m *mirror) prepare() ([]plumbing.Hash, error) {
	if _, err := os.Stat(filepath.Join(m.dir, m.fetchedDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, m.discard()
	}
	leftovers, err := filepath.Glob(filepath.Join(m.dir, packDir, "tmp_*"))
	if err != nil {
		return nil, err
	}
	for _, f := range leftovers {
		if err := os.Remove(f); err != nil {
			return nil, err
		}
	}
	known := m.fetched()
	if len(known) < maxCommits {
		return known[:min(len(known), maxHaves)], nil
	}
	return nil, m.setAside()
}

// setAside makes room for a new mirror. Commits can still be read from the old one until the next time.
func (m *mirror) setAside() error {
	m.files.Lock()
	defer m.files.Unlock()
	if err := os.RemoveAll(m.dir + setAsideName); err != nil {
		return err
	}
	return os.Rename(m.dir, m.dir+setAsideName)
}

// fetched names the commits that are whole in the mirror, newest first.
func (m *mirror) fetched() []plumbing.Hash {
	entries, err := os.ReadDir(filepath.Join(m.dir, m.fetchedDir))
	if err != nil {
		return nil // nothing fetched yet; without names the server just sends everything
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return modified(b).Compare(modified(a)) })
	var known []plumbing.Hash
	for _, e := range entries {
		if m.isArchive(e.Name()) {
			continue // git has nothing to build on
		}
		known = append(known, plumbing.NewHash(e.Name()))
	}
	return known
}

func modified(e fs.DirEntry) time.Time {
	info, err := e.Info()
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// whole checks that every file of the commit is there. A folder that occurs many times is looked at once.
func (st store) whole(hash plumbing.Hash) error {
	tree, err := st.tree(hash)
	if err != nil {
		return err
	}
	return st.wholeTree(tree, map[plumbing.Hash]bool{})
}

func (st store) wholeTree(tree *object.Tree, seen map[plumbing.Hash]bool) error {
	for _, e := range tree.Entries {
		if seen[e.Hash] || e.Mode == filemode.Submodule {
			continue
		}
		seen[e.Hash] = true
		if e.Mode != filemode.Dir {
			if err := st.HasEncodedObject(e.Hash); err != nil {
				return fmt.Errorf("%s: %w", e.Name, err)
			}
			continue
		}
		sub, err := object.GetTree(st, e.Hash)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if err := st.wholeTree(sub, seen); err != nil {
			return err
		}
	}
	return nil
}

// mark notes that a commit is whole. tree is where its files are, when they came without the commit itself.
func (m *mirror) mark(sha, tree string) error {
	dir := filepath.Join(m.dir, m.fetchedDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, sha), []byte(tree), 0o600)
}
