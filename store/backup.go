package store

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
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
	Format  int                   `json:"format"`
	Made    time.Time             `json:"made"`    // as the database was at this moment
	Version string                `json:"version"` // of the Groundcrew that made it
	Schema  int                   `json:"schema"`
	Files   map[string]BackedFile `json:"files"` // by path in the data folder
}

// A BackedFile is what a backup must hold.
type BackedFile struct {
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Size is that of all files together, in bytes.
func (n BackupNote) Size() (sum int64) {
	for _, f := range n.Files {
		sum += f.Size
	}
	return sum
}

// Backup writes a backup of the data folder as it is at one moment, while everything goes on. One at a time: a second is a
// conflict. What the writer gets is whole only when the error is nil; where it stops too early, reading it says so. It takes
// as much room as the database for as long as it lasts.
func (s *Store) Backup(ctx context.Context, version string, w io.Writer) (BackupNote, error) {
	if !s.backingUp.CompareAndSwap(false, true) {
		return BackupNote{}, runs.Conflictf("A backup is being made. Try again when it is done.")
	}
	defer s.backingUp.Store(false)
	note := BackupNote{Format: backupFormat, Version: version, Files: map[string]BackedFile{}}
	if err := s.roomForCopy(); err != nil {
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
	if err := pack(ctx, dir, &note, w); err != nil {
		return note, err
	}
	return note, s.db.Update(func(b *bolt.Tx) error {
		return put(&Tx{b: b}, "meta", lastBackupRow, LastBackup{Made: note.Made, Size: note.Size()})
	})
}

// roomForCopy refuses a backup that would fill the disk that the server works on.
func (s *Store) roomForCopy() error {
	free, err := s.Free()
	if need := s.Size() + s.Size()/4; err == nil && free < need {
		err = runs.Conflictf("A backup needs a copy of the database, %d MB, and the disk of the data folder has %d MB left. Make room on it.", need>>20, free>>20)
	}
	return err
}

// A LastBackup says that a backup was made and handed over whole.
type LastBackup struct {
	Made time.Time `json:"made"`
	Size int64     `json:"size"` // bytes, before they are compressed
}

const lastBackupRow = "backup"

// LastBackup is the newest backup; ok is false when there is none yet.
func (tx *Tx) LastBackup() (l LastBackup, ok bool, err error) {
	ok, err = get(tx, "meta", lastBackupRow, &l)
	return l, ok, err
}

// BackupOf is [Store.Backup] of a folder whose server is stopped. It changes nothing there and does not need the key.
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
		from := os.DirFS(s.Path(folder)) // follows a link, where an admin put a folder on another disk
		err := fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil // it went meanwhile
			case err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), tempPrefix):
				return err
			}
			return linkFile(s.Path(folder, path), filepath.Join(dir, folder, path))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// linkFile gives a file a second name, or copies it where that can't be. What is there already, or went meanwhile, is passed over.
func linkFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// pack writes what is laid out in a folder, and the note.
func pack(ctx context.Context, dir string, note *BackupNote, w io.Writer) error {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	out := tar.NewWriter(enc)
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		defer f.Close()
		note.Files[path], err = packFile(out, path, note.Made, f)
		return err
	})
	if err != nil {
		return errors.Join(err, enc.Close())
	}
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
func packFile(out *tar.Writer, path string, made time.Time, f *os.File) (b BackedFile, err error) {
	info, err := f.Stat()
	if err != nil {
		return b, err
	}
	if err := out.WriteHeader(&tar.Header{Name: path, Mode: 0o600, Size: info.Size(), ModTime: made}); err != nil {
		return b, err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, sum), f, info.Size()); err != nil {
		return b, fmt.Errorf("%s could not be read: %w", path, err)
	}
	return BackedFile{Size: info.Size(), SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// readBackup reads a backup to its end and hands its files to take, which reads each whole. It is what was written, to the
// last byte, only when the error is nil.
func readBackup(r io.Reader, take func(path string, r io.Reader) error) (note BackupNote, err error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return note, err
	}
	defer dec.Close()
	in := tar.NewReader(dec)
	found := map[string]BackedFile{}
	for {
		h, err := in.Next()
		switch {
		case err != nil:
			return note, damaged(err)
		case h.Name == noteFile:
			return note, readNote(in, &note, found)
		}
		if _, twice := found[h.Name]; twice || h.Typeflag != tar.TypeReg || !mayBeIn(h.Name) {
			return note, fmt.Errorf("it is no backup of Groundcrew: it holds %q", h.Name)
		}
		sum := sha256.New()
		if err := take(h.Name, io.TeeReader(in, sum)); err != nil {
			return note, damaged(err)
		}
		found[h.Name] = BackedFile{Size: h.Size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	}
}

// readNote reads the note at the end and compares it with what was found.
func readNote(in *tar.Reader, note *BackupNote, found map[string]BackedFile) error {
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
		return fmt.Errorf("its data has schema %d and this Groundcrew knows up to %d. Use Groundcrew %s or a newer one", note.Schema, len(migrations), note.Version)
	case found[databaseFile].Size == 0:
		return errors.New("it holds no database")
	case !maps.Equal(found, note.Files):
		return fmt.Errorf("it is damaged: %s is not what was written", odd(found, note.Files))
	}
	return nil
}

// odd is the first path that is not the same in both.
func odd(a, b map[string]BackedFile) string {
	for _, path := range slices.Sorted(maps.Keys(b)) {
		if a[path] != b[path] {
			return path
		}
	}
	return "a file"
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
