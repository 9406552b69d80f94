package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// keep makes the copy that was asked for. What hinders it is said on the shim's error output: it is no reason to end a job.
func (s *shim) keep(c Command) {
	if c.Keep == nil {
		return
	}
	if err := c.Keep.copy(); err != nil {
		fmt.Fprintf(s.stderr, "what %s left could not be kept: %v\n", c.Name, err)
	}
}

// copy copies into a folder beside To, which then becomes To.
func (k Keep) copy() error {
	temp := k.To + ".tmp"
	if err := errors.Join(os.RemoveAll(temp), os.MkdirAll(temp, 0o700)); err != nil {
		return err
	}
	to, err := os.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer to.Close()
	for _, file := range k.Files {
		if err := copyTree(to, filepath.Dir(file), filepath.Base(file)); err != nil {
			return errors.Join(err, os.RemoveAll(temp))
		}
	}
	return os.Rename(temp, k.To)
}

// copyTree copies name from a folder that a command could write: no link in it is followed, and only files, folders and
// links are taken. Nothing of it is owned by the command's user afterwards, and no file is another name of its.
func copyTree(to *os.Root, dir, name string) error {
	from, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	return fs.WalkDir(from.FS(), name, func(path string, d fs.DirEntry, err error) error {
		switch {
		case path == name && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return to.Mkdir(path, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := from.Readlink(path)
			if err != nil {
				return err
			}
			return to.Symlink(target, path)
		case d.Type().IsRegular():
			return copyFile(to, from, path)
		default:
			return fmt.Errorf("%s is a %s", path, d.Type())
		}
	})
}

func copyFile(to, from *os.Root, path string) error {
	in, err := from.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	out, err := to.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
