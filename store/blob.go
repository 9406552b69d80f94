package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".tmp-"

// writeFile writes a file so that after a power cut it is there whole or not at all: temp, fsync, rename,
// fsync of the folder. Mode 0600.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// inside refuses parts that do not name something inside the data folder: an empty or climbing part would
// reach what is not meant.
func inside(parts []string) error {
	for _, p := range parts {
		if !filepath.IsLocal(p) || filepath.Clean(p) == "." {
			return fmt.Errorf("%q does not name a file in the data folder", filepath.Join(parts...))
		}
	}
	return nil
}

// WriteFile durably writes a plain file at a path inside the data folder. After it returns nil the file is on
// disk whole; otherwise what was there before is.
func (s *Store) WriteFile(data []byte, parts ...string) error {
	if err := inside(parts); err != nil {
		return err
	}
	return diskError(writeFile(s.Path(parts...), data))
}

// Seal durably writes a sealed file. The parts are its path inside the data folder and the record it is
// bound to: moved elsewhere it does not open.
func (s *Store) Seal(plain []byte, parts ...string) error {
	return s.WriteFile(s.seal.lock(filepath.Join(parts...), plain), parts...)
}

// Unseal reads a file written by [Store.Seal].
func (s *Store) Unseal(parts ...string) ([]byte, error) {
	if err := inside(parts); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(s.Path(parts...))
	if err != nil {
		return nil, fmt.Errorf("a sealed file is gone: %w", err)
	}
	return s.seal.open(filepath.Join(parts...), raw)
}

// Remove deletes a file or folder inside the data folder; that it is absent is no error.
func (s *Store) Remove(parts ...string) error {
	if err := inside(parts); err != nil {
		return err
	}
	return os.RemoveAll(s.Path(parts...))
}
