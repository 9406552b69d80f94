package gitlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	maxNamed      = 5    // names that a message lists
	maxDepth      = 200  // folders inside each other; each is held open while it is written
	maxLinkTarget = 4096 // PATH_MAX
	lfsHeader     = "version https://git-lfs.github.com/spec/v1\n"
	maxLFSPointer = 1024
)

// A checkout writes one tree below root. Links are made last, so nothing is ever written through one.
type checkout struct {
	from  store
	root  *os.Root
	bytes int64 // still allowed
	files int   // still allowed

	maxBytes int64
	maxFiles int

	links      []link
	leftOut    []string // .git, .terraform
	submodules []string
	pointers   []string // Git LFS
}

type link struct{ name, target string }

func newCheckout(from store, dest string, maxBytes int64, maxFiles int) (*checkout, error) {
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dest)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("the folder %s is not empty: %w", dest, fs.ErrExist)
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return nil, err
	}
	return &checkout{from: from, root: root, bytes: maxBytes, files: maxFiles, maxBytes: maxBytes, maxFiles: maxFiles}, nil
}

func (w *checkout) write(ctx context.Context, tree *object.Tree) error {
	if err := w.folder(ctx, w.root, tree, ""); err != nil {
		return err
	}
	return w.writeLinks()
}

// empty removes everything that was written.
func (w *checkout) empty() error {
	entries, err := fs.ReadDir(w.root.FS(), ".")
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, w.root.RemoveAll(e.Name()))
	}
	return errors.Join(errs...)
}

// folder writes one folder of the tree into dir; at is its path, for messages and links.
func (w *checkout) folder(ctx context.Context, dir *os.Root, tree *object.Tree, at string) error {
	if strings.Count(at, "/") > maxDepth {
		return invalidf("the repository has more than %d folders inside each other, at %s", maxDepth, flatten(at))
	}
	for _, e := range tree.Entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(at, e.Name)
		if err := checkName(e.Name, name); err != nil {
			return err
		}
		if strings.EqualFold(e.Name, ".git") || strings.EqualFold(e.Name, ".terraform") {
			w.leftOut = append(w.leftOut, name)
			continue
		}
		if err := w.count(name); err != nil {
			return err
		}
		if err := w.entry(ctx, dir, tree, e, name); err != nil {
			return err
		}
	}
	return nil
}

func (w *checkout) entry(ctx context.Context, dir *os.Root, tree *object.Tree, e object.TreeEntry, name string) error {
	switch {
	case e.Mode == filemode.Dir:
		return w.subfolder(ctx, dir, e, name)
	case e.Mode == filemode.Submodule:
		w.submodules = append(w.submodules, name)
		return mkdir(dir, e.Name, name)
	case e.Mode == filemode.Symlink:
		return w.link(tree, e, name)
	case isRegular(e.Mode):
		return w.file(dir, tree, e, name)
	}
	return invalidf("%s has the unknown mode %s", name, e.Mode)
}

func isRegular(m filemode.FileMode) bool {
	return m == filemode.Regular || m == filemode.Deprecated || m == filemode.Executable
}

func checkName(name, full string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
		return invalidf("the repository holds the name %q, which can't be written to disk safely; rename it", flatten(full))
	}
	return nil
}

// count makes each entry count, folders too: a tree that contains itself a thousand times over is small in git.
func (w *checkout) count(name string) error {
	if w.files--; w.files < 0 {
		return invalidf("the repository has more than the %d files and folders allowed, at %s", w.maxFiles, name)
	}
	return nil
}

func (w *checkout) subfolder(ctx context.Context, dir *os.Root, e object.TreeEntry, name string) error {
	tree, err := object.GetTree(w.from, e.Hash)
	if err != nil {
		return damagedError{fmt.Errorf("%s: %w", name, err)}
	}
	if err := mkdir(dir, e.Name, name); err != nil {
		return err
	}
	sub, err := dir.OpenRoot(e.Name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return w.folder(ctx, sub, tree, name)
}

func mkdir(dir *os.Root, base, name string) error {
	err := dir.Mkdir(base, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return twice(name)
	}
	return err
}

func twice(name string) error {
	return invalidf("the repository holds %s twice, perhaps written differently in upper and lower case; rename one", name)
}

func (w *checkout) file(dir *os.Root, tree *object.Tree, e object.TreeEntry, name string) error {
	file, err := tree.TreeEntryFile(&e)
	if err != nil {
		return damagedError{fmt.Errorf("%s: %w", name, err)}
	}
	if w.bytes -= file.Size; w.bytes < 0 {
		return invalidf("the files of the repository have more than the %d bytes allowed, at %s", w.maxBytes, name)
	}
	r, err := file.Reader()
	if err != nil {
		return damagedError{fmt.Errorf("%s: %w", name, err)}
	}
	defer r.Close()
	out, err := dir.OpenFile(e.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm(e.Mode))
	if errors.Is(err, fs.ErrExist) {
		return twice(name)
	}
	if err != nil {
		return err
	}
	src := &source{Reader: io.LimitReader(r, file.Size), name: name}
	_, err = io.Copy(out, src)
	if err == nil && src.read != file.Size {
		err = damagedError{fmt.Errorf("%s is cut off", name)}
	}
	if src.pointer && file.Size <= maxLFSPointer {
		w.pointers = append(w.pointers, name)
	}
	return errors.Join(err, out.Close())
}

// perm knows two modes; the umask may narrow them.
func perm(m filemode.FileMode) fs.FileMode {
	if m == filemode.Executable {
		return 0o755
	}
	return 0o644
}

// A source tells trouble with the mirror from trouble with the disk that is written to, and looks at the first bytes.
type source struct {
	io.Reader
	name    string
	read    int64
	pointer bool // begins like a Git LFS pointer
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if s.read == 0 {
		s.pointer = bytes.HasPrefix(p[:n], []byte(lfsHeader))
	}
	s.read += int64(n)
	if err != nil && err != io.EOF {
		err = damagedError{fmt.Errorf("%s: %w", s.name, err)}
	}
	return n, err
}

func (w *checkout) link(tree *object.Tree, e object.TreeEntry, name string) error {
	target, err := readLink(tree, e)
	if err != nil {
		return damagedError{fmt.Errorf("%s: %w", name, err)}
	}
	w.links = append(w.links, link{name, target})
	return nil
}

func readLink(tree *object.Tree, e object.TreeEntry) (string, error) {
	file, err := tree.TreeEntryFile(&e)
	if err != nil {
		return "", err
	}
	r, err := file.Reader()
	if err != nil {
		return "", err
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, maxLinkTarget+1))
	return string(target), err
}

// writeLinks refuses links that lead outside: first by their text, then, when all are made, by following each one, since a
// harmless-looking path may go through another link.
func (w *checkout) writeLinks() error {
	if err := refuseLinks(w.links, link.leadsOut); err != nil {
		return err
	}
	for _, l := range w.links {
		err := w.root.Symlink(l.target, l.name)
		if errors.Is(err, fs.ErrExist) {
			return twice(l.name)
		}
		if err != nil {
			return err
		}
	}
	return refuseLinks(w.links, func(l link) bool {
		_, err := w.root.Stat(l.name)
		return err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
	})
}

func (l link) leadsOut() bool {
	if l.target == "" || len(l.target) > maxLinkTarget || path.IsAbs(l.target) || strings.ContainsRune(l.target, 0) {
		return true
	}
	end := path.Join(path.Dir(l.name), l.target)
	return end == ".." || strings.HasPrefix(end, "../")
}

func refuseLinks(links []link, bad func(link) bool) error {
	var names []string
	for _, l := range links {
		if bad(l) {
			names = append(names, fmt.Sprintf("%s → %s", l.name, flatten(l.target)))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return invalidf("the repository holds symbolic links that lead outside of it or can't be followed: %s; remove them or point them inside", named(names))
}

func (w *checkout) warnings() []string {
	var all []string
	for _, kind := range []struct {
		names []string
		text  string
	}{
		{w.leftOut, "left out, because a run makes its own: "},
		{w.submodules, "submodules are not fetched, their folders are empty: "},
		{w.pointers, "Git LFS files are not fetched, only their pointers are there: "},
	} {
		if len(kind.names) > 0 {
			all = append(all, kind.text+named(kind.names))
		}
	}
	return all
}

// named lists the first few names.
func named(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return strings.Join(slices.Clone(names[:maxNamed]), ", ") + fmt.Sprintf(" and %d more", len(names)-maxNamed)
}
