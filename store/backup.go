package store

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

// A backup is a tar archive compressed with zstd: the database, the files its rows name, and in the end a note with the
// digest of each, without which it was cut off. `tar --zstd -tf` lists one.
const (
	databaseFile = "groundcrew.db"
	noteFile     = "backup.json"
	backupFormat = 1
)

// backedUp are the folders whose files rows name. What can be had again (tools, mirrors, what an init made), the workspaces of
// runs and the master key are no part of a backup.
var backedUp = []string{"logs", "states", "plans", "deliveries", "changes", "modules", "samples"}

// A BackupNote says what a backup is of.
type BackupNote struct {
	Format  int       `json:"format"`
	Made    time.Time `json:"made"`    // as the database was at this moment
	Version string    `json:"version"` // of the Groundcrew that made it
	Schema  int       `json:"schema"`
	Files   int       `json:"files"`
	Size    int64     `json:"size"`   // bytes of all files together
	SHA256  string    `json:"sha256"` // of what a tally gathers of them
}

// A tally gathers what files a backup holds, in their order, in little memory however many there are.
type tally struct {
	files int
	size  int64
	sum   hash.Hash
}

func newTally() *tally { return &tally{sum: sha256.New()} }

func (t *tally) add(path string, size int64, sum []byte) {
	t.files++
	t.size += size
	fmt.Fprintf(t.sum, "%q %d %x\n", path, size, sum)
}

func (t *tally) digest() string { return hex.EncodeToString(t.sum.Sum(nil)) }

// Backup writes a backup of the data folder as it is at one moment, while everything goes on. One at a time: a second is a
// conflict. What the writer gets is whole only when the error is nil; where it stops too early, reading it says so. It takes
// as much room as the database for as long as it lasts.
func (s *Store) Backup(ctx context.Context, version string, w io.Writer) (BackupNote, error) {
	if !s.backingUp.CompareAndSwap(false, true) {
		return BackupNote{}, runs.Conflictf("A backup is being made. Try again when it is done.")
	}
	defer s.backingUp.Store(false)
	note := BackupNote{Format: backupFormat, Version: version}
	if err := s.roomFor(s.Size()); err != nil {
		return note, err
	}
	dir, err := os.MkdirTemp(s.dir, stagePrefix)
	if err != nil {
		return note, diskError(err)
	}
	defer os.RemoveAll(dir)
	if err := s.stage(dir, &note); err != nil {
		return note, diskError(err)
	}
	return note, pack(ctx, dir, &note, w)
}

// roomFor refuses a copy that would fill the disk that the server works on.
func (s *Store) roomFor(size int64) error {
	const spare = 64 << 20
	free, err := s.Free()
	if err == nil && free < size+spare {
		err = runs.Conflictf("A backup needs a copy of the database, and of what lies on another disk: %d MB more, and the disk of the data folder has %d MB left. Make room on it.", (size+spare)>>20, free>>20)
	}
	return err
}

// BackupOf is [Store.Backup] of a folder whose server is stopped. It changes no data there and does not need the key.
// running is true when a server has the folder, which must make the backup itself.
func BackupOf(ctx context.Context, dir, version string, w io.Writer) (note BackupNote, running bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); err != nil {
		return note, false, fmt.Errorf("there is no Groundcrew in %s: %w. Name its folder with --data-dir", dir, err)
	}
	db, err := openFile(filepath.Join(dir, databaseFile), false)
	if isRunning(err) {
		return note, true, nil
	}
	if err != nil {
		return note, false, fmt.Errorf("the database of %s cannot be opened: %w", dir, err)
	}
	s := &Store{db: db, dir: dir, now: time.Now}
	note, err = s.Backup(ctx, version, w)
	return note, false, errors.Join(err, db.Close())
}

// stagePrefix begins the names of folders in which a backup is laid out.
const stagePrefix = ".backup-"

// dropStages removes what backups left behind that were cut off.
func (s *Store) dropStages() error {
	left, err := filepath.Glob(s.Path(stagePrefix + "*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// stage lays out a copy of the database and links to all files it names. Files come to be before their rows and go after them,
// so those there before and those there after the copy are, together, all that it names.
func (s *Store) stage(dir string, note *BackupNote) error {
	if err := s.linkAll(dir); err != nil {
		return err
	}
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		note.Made = s.now().UTC()
		if note.Schema, err = schemaOf(tx); err != nil {
			return err
		}
		return tx.CopyFile(filepath.Join(dir, databaseFile), 0o600)
	})
	if err != nil {
		return err
	}
	return s.linkAll(dir)
}

func (s *Store) linkAll(dir string) error {
	for _, folder := range backedUp {
		err := walkFiles(s.Path(folder), "", func(path string) error {
			if strings.HasPrefix(filepath.Base(path), tempPrefix) {
				return nil // it is being written
			}
			return s.linkFile(s.Path(folder, path), filepath.Join(dir, folder, path))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// walkFiles hands on the plain files below a folder by their paths in it, a few names at a time: a folder may hold millions.
// What goes meanwhile is passed over. The folder itself may be a link, where an admin put it on another disk.
func walkFiles(folder, below string, do func(path string) error) error {
	d, err := os.Open(filepath.Join(folder, below))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1000)
		for _, e := range entries {
			path := filepath.Join(below, e.Name())
			var err error
			switch {
			case e.IsDir():
				err = walkFiles(folder, path, do)
			case e.Type().IsRegular():
				err = do(path)
			}
			if err != nil {
				return err
			}
		}
		if err != nil {
			return eofIsNil(err)
		}
	}
}

func eofIsNil(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// linkFile gives a file a second name, or copies it where that can't be. What is there already, or went meanwhile, is passed over.
func (s *Store) linkFile(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(to), 0o700); err == nil {
			err = os.Link(from, to)
		}
	}
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.copyFile(from, to)
}

// copyFile is for a file on another disk. It leaves room on the disk that the server works on.
func (s *Store) copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil {
		return err
	} else if err := s.roomFor(info.Size()); err != nil {
		return err
	}
	return unpackFile(to, in)
}

// pack writes what is laid out in a folder, and the note.
func pack(ctx context.Context, dir string, note *BackupNote, w io.Writer) error {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	out, all := tar.NewWriter(enc), newTally()
	err = walkFiles(dir, "", func(path string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return packFile(out, all, dir, path, note.Made)
	})
	if err != nil {
		return errors.Join(err, enc.Close())
	}
	note.Files, note.Size, note.SHA256 = all.files, all.size, all.digest()
	raw, err := json.Marshal(note)
	if err == nil {
		err = out.WriteHeader(&tar.Header{Name: noteFile, Mode: 0o600, Size: int64(len(raw)), ModTime: note.Made})
	}
	if err == nil {
		_, err = out.Write(raw)
	}
	return errors.Join(err, out.Close(), enc.Close())
}

// packFile writes one file as long as it is now: a log may be growing.
func packFile(out *tar.Writer, all *tally, dir, path string, made time.Time) error {
	f, err := os.Open(filepath.Join(dir, path))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.ToSlash(path)
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: made}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, sum), f, info.Size()); err != nil {
		return fmt.Errorf("%s could not be read: %w", name, err)
	}
	all.add(name, info.Size(), sum.Sum(nil))
	return nil
}

// readBackup reads a backup to its end and hands its files to take, which reads each whole. It is what was written, to the
// last byte, only when the error is nil.
func readBackup(r io.Reader, take func(path string, r io.Reader) error) (note BackupNote, err error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return note, err
	}
	defer dec.Close()
	in, all := tar.NewReader(dec), newTally()
	for {
		h, err := in.Next()
		switch {
		case err != nil:
			return note, damaged(err)
		case h.Name == noteFile:
			return note, readNote(in, &note, all)
		case h.Typeflag != tar.TypeReg || !mayBeIn(h.Name):
			return note, fmt.Errorf("it is no backup of Groundcrew: it holds %q", h.Name)
		}
		sum := sha256.New()
		if err := take(h.Name, io.TeeReader(in, sum)); err != nil {
			return note, damaged(err)
		}
		all.add(h.Name, h.Size, sum.Sum(nil))
	}
}

// readNote reads the note at the end and compares it with what was found.
func readNote(in *tar.Reader, note *BackupNote, all *tally) error {
	if err := json.NewDecoder(in).Decode(note); err != nil {
		return damaged(err)
	}
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		return errors.New("it is damaged: it goes on after its end")
	}
	switch {
	case note.Format > backupFormat:
		return fmt.Errorf("it was made by the newer Groundcrew %s. Use that version", note.Version)
	case note.Schema > len(migrations):
		return fmt.Errorf("its data has schema %d and this Groundcrew knows up to %d. Use the Groundcrew that the data is of, or a newer one", note.Schema, len(migrations))
	case note.Files != all.files || note.Size != all.size || note.SHA256 != all.digest():
		return errors.New("it is damaged: its files are not what was written")
	}
	return nil
}

func damaged(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it is cut off: its end is not there")
	case errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, tar.ErrHeader):
		return errors.New("it is no backup of Groundcrew")
	case isDisk(err):
		return diskError(err)
	}
	return fmt.Errorf("it is damaged: %w", err)
}

func isDisk(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe)
}

// mayBeIn reports whether a backup may hold a file at this path of the data folder.
func mayBeIn(path string) bool {
	folder, _, below := strings.Cut(path, "/")
	return path == databaseFile || below && slices.Contains(backedUp, folder) && filepath.IsLocal(path) && filepath.Clean(path) == path
}
