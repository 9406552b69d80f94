// Package logs keeps the log of a phase after its run has ended: compressed, and still readable at any place.
// It knows no run; it is the only package that knows zstd.
//
// A compressed log is <name>.zst beside where <name> was: independent zstd frames of [frameBytes] each, so that a reader
// unpacks only what it shows, and behind them a skippable frame with the index: where each frame begins and how many
// lines it holds. `zstd -d` reads the file too.
package logs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

const (
	suffix     = ".zst"
	frameBytes = 256 << 10
	// smallest is the size below which compressing saves no block of the disk.
	smallest = 4 << 10

	skippable  = 0x184D2A5E // RFC 8878 §3.1.2
	headBytes  = 8          // of a skippable frame: magic number, length
	entryBytes = 8          // of the index: packed length, line ends
	tailBytes  = 16         // of the index: whole size, frames, magic again
)

// A Reader reads a log, compressed or not. It is for one goroutine at a time.
type Reader struct {
	f      *os.File
	size   int64
	frames []frame // nil: the file is as it was written
	dec    *zstd.Decoder
	at     int // the frame in text, -1: none
	text   []byte
}

// A frame is one piece of a compressed log.
type frame struct {
	offset, length int64 // in the file
	before         int   // lines before its first byte
}

// Open opens the log at path, wherever it is by now. A log that is not there is [fs.ErrNotExist]. While it is being
// written, what was there when it was opened can be read.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = os.Open(path + suffix); err == nil {
			return compressed(f)
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Reader{f: f, size: info.Size()}, nil
}

func compressed(f *os.File) (*Reader, error) {
	r := &Reader{f: f, at: -1}
	err := r.readIndex()
	if err == nil {
		r.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*frameBytes), zstd.WithDecoderLowmem(true))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the compressed log %s is damaged: %w", f.Name(), err), f.Close())
	}
	return r, nil
}

func (r *Reader) readIndex() error {
	info, err := r.f.Stat()
	if err != nil {
		return err
	}
	tail := make([]byte, tailBytes)
	if _, err := r.f.ReadAt(tail, info.Size()-tailBytes); err != nil {
		return err
	}
	r.size = int64(binary.LittleEndian.Uint64(tail))
	n := int64(binary.LittleEndian.Uint32(tail[8:]))
	start := info.Size() - tailBytes - n*entryBytes
	if binary.LittleEndian.Uint32(tail[12:]) != skippable || start < headBytes || (r.size+frameBytes-1)/frameBytes != n {
		return errors.New("its index is not whole")
	}
	index := make([]byte, n*entryBytes)
	if _, err := r.f.ReadAt(index, start); err != nil {
		return err
	}
	r.frames = make([]frame, n)
	offset, lines := int64(0), 0
	for i := range r.frames {
		e := index[i*entryBytes:]
		length := int64(binary.LittleEndian.Uint32(e))
		r.frames[i] = frame{offset, length, lines}
		offset += length
		lines += int(binary.LittleEndian.Uint32(e[4:]))
	}
	if offset != start-headBytes {
		return errors.New("its index does not fit it")
	}
	return nil
}

// Size is how many bytes the log has, unpacked.
func (r *Reader) Size() int64 { return r.size }

// Close closes the file.
func (r *Reader) Close() error {
	if r.dec != nil {
		r.dec.Close()
	}
	return r.f.Close()
}

// ReadAt is [io.ReaderAt] of the unpacked log.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if r.frames == nil {
		return r.f.ReadAt(p, off)
	}
	n := 0
	for n < len(p) {
		if off < 0 || off >= r.size {
			return n, io.EOF
		}
		i := int(off / frameBytes)
		if err := r.load(i); err != nil {
			return n, err
		}
		k := copy(p[n:], r.text[off-int64(i)*frameBytes:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

// load unpacks frame i, unless it is the one at hand.
func (r *Reader) load(i int) error {
	if r.at == i {
		return nil
	}
	r.at = -1
	fr := r.frames[i]
	packed := make([]byte, fr.length)
	if _, err := r.f.ReadAt(packed, fr.offset); err != nil {
		return err
	}
	text, err := r.dec.DecodeAll(packed, r.text[:0])
	want := min(frameBytes, r.size-int64(i)*frameBytes)
	if err == nil && int64(len(text)) != want {
		err = fmt.Errorf("%d bytes instead of %d", len(text), want)
	}
	if err != nil {
		return fmt.Errorf("piece %d of the compressed log %s is damaged: %w", i, r.f.Name(), err)
	}
	r.at, r.text = i, text
	return nil
}

// Lines counts the line ends before off. Of a compressed log it reads one frame at most; of another one everything from
// the place that is known: known lines end before from.
func (r *Reader) Lines(off, from int64, known int) (int, error) {
	if r.frames != nil {
		i := min(off/frameBytes, int64(len(r.frames))-1)
		if i < 0 {
			return 0, nil
		}
		from, known = i*frameBytes, r.frames[i].before
	}
	buf := make([]byte, 64<<10)
	for s := io.NewSectionReader(r, from, off-from); ; {
		n, err := s.Read(buf)
		known += bytes.Count(buf[:n], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return known, nil
		}
		if err != nil {
			return known, err
		}
	}
}

// Compress replaces the log at path, to which nobody writes any more, by its compressed form. Readers that have it open
// go on; a crash in the middle leaves the log as it was. Logs that would not become smaller on the disk stay, and one
// that is not there, or compressed already, is well.
func Compress(path string) (err error) {
	r, err := Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if r.frames != nil || r.size < smallest {
		return nil
	}
	temp := path + suffix + ".tmp"
	if err := pack(r, temp); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := os.Rename(temp, path+suffix); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.Remove(path)
}

// pack writes the compressed form to a new file.
func pack(r *Reader, to string) (err error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(frameBytes), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, enc.Close()) }()
	w := bufio.NewWriter(f)
	var index, packed []byte
	text := make([]byte, frameBytes)
	for off := int64(0); off < r.size; off += frameBytes {
		part := text[:min(frameBytes, r.size-off)]
		if _, err := io.ReadFull(io.NewSectionReader(r, off, int64(len(part))), part); err != nil {
			return err
		}
		packed = enc.EncodeAll(part, packed[:0])
		index = binary.LittleEndian.AppendUint32(index, uint32(len(packed)))
		index = binary.LittleEndian.AppendUint32(index, uint32(bytes.Count(part, []byte("\n"))))
		if _, err := w.Write(packed); err != nil {
			return err
		}
	}
	n := len(index) / entryBytes
	head := binary.LittleEndian.AppendUint32(nil, skippable)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(index)+tailBytes))
	index = binary.LittleEndian.AppendUint64(index, uint64(r.size))
	index = binary.LittleEndian.AppendUint32(index, uint32(n))
	index = binary.LittleEndian.AppendUint32(index, skippable)
	_, err = w.Write(append(head, index...))
	return errors.Join(err, w.Flush(), f.Sync())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
