package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// The kinds of [Entry].
const (
	EntryFile       = "file"
	EntryExecutable = "executable file"
	EntryLink       = "symbolic link"
	EntrySubmodule  = "submodule"
)

// An Entry is one thing in a folder of a fetched commit, folders aside. Nothing of it has been judged: the name may be anything.
type Entry struct {
	Path string // relative to the folder that is walked, with slashes
	Kind string
	Size int64 // of a file, in bytes
	Open func() (io.ReadCloser, error)
}

// errEnough ends a walk that its visitor wants no more of.
var errEnough = errors.New("enough")

// Walk visits everything below a folder ("" for the top) of a fetched commit, in the order of git's trees, without writing
// anything. It ends with the visitor's first error. A commit without the folder is [fs.ErrNotExist]. max bounds how
// many entries, folders too, are looked at: past it the walk ends with more = true.
func (s *Source) Walk(ctx context.Context, project int64, sha, folder string, most int, visit func(Entry) error) (more bool, err error) {
	left := most
	err = s.read(project, sha, func(st store, tree *object.Tree) error {
		for part := range strings.SplitSeq(folder, "/") {
			if part == "" {
				continue
			}
			e, err := st.find(tree, part)
			if err != nil {
				return err
			}
			if e.Mode != filemode.Dir {
				return fmt.Errorf("%s is no folder: %w", folder, fs.ErrNotExist)
			}
			if tree, err = object.GetTree(st, e.Hash); err != nil {
				return damagedError{err}
			}
		}
		return st.walk(ctx, tree, "", &left, visit)
	})
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

func (st store) walk(ctx context.Context, tree *object.Tree, at string, left *int, visit func(Entry) error) error {
	if strings.Count(at, "/") > maxDepth {
		return invalidf("there are more than %d folders inside each other, at %s", maxDepth, flatten(at))
	}
	for _, e := range tree.Entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if *left--; *left < 0 {
			return errEnough
		}
		name := e.Name
		if at != "" {
			name = at + "/" + e.Name // not path.Join, which would hide what a name does
		}
		if e.Mode == filemode.Dir {
			sub, err := object.GetTree(st, e.Hash)
			if err != nil {
				return damagedError{fmt.Errorf("%s: %w", name, err)}
			}
			if err := st.walk(ctx, sub, name, left, visit); err != nil {
				return err
			}
			continue
		}
		entry, err := st.entry(tree, e, name)
		if err != nil {
			return err
		}
		if err := visit(entry); err != nil {
			return err
		}
	}
	return nil
}

func (st store) entry(tree *object.Tree, e object.TreeEntry, name string) (Entry, error) {
	out := Entry{Path: name, Open: func() (io.ReadCloser, error) { return nil, invalidf("%s is no file", flatten(name)) }}
	switch {
	case e.Mode == filemode.Submodule:
		out.Kind = EntrySubmodule
		return out, nil
	case e.Mode == filemode.Symlink:
		out.Kind = EntryLink
		return out, nil
	case e.Mode == filemode.Executable:
		out.Kind = EntryExecutable
	case isRegular(e.Mode):
		out.Kind = EntryFile
	default:
		out.Kind = "entry of mode " + e.Mode.String()
		return out, nil
	}
	file, err := tree.TreeEntryFile(&e)
	if err != nil {
		return out, damagedError{fmt.Errorf("%s: %w", path.Clean(name), err)}
	}
	out.Size, out.Open = file.Size, file.Reader
	return out, nil
}
