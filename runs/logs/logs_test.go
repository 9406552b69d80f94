package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

func write(t testing.TB, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "planning.log")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func prose(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "aws_instance.web[%d]: Still creating... [%ds elapsed]\n", i, i*10)
	}
	return b.Bytes()[:n]
}

func TestCompressedLogsReadAsBefore(t *testing.T) {
	noise := make([]byte, 3*frameBytes+17)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for name, text := range map[string][]byte{
		"prose": prose(5 * frameBytes / 2), "whole frames": prose(2 * frameBytes), "one line": bytes.Repeat([]byte("x"), frameBytes+5),
		"noise": noise, "smallest": prose(smallest),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, text)
			early := open(t, path)
			if err := Compress(path); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the plain log: %v", err)
			}
			r := open(t, path)
			if r.Size() != int64(len(text)) || r.frames == nil {
				t.Fatalf("%d bytes in %d frames, want %d bytes", r.Size(), len(r.frames), len(text))
			}
			if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), text); err != nil {
				t.Error(err)
			}
			for range 50 {
				off := rnd.Int64N(int64(len(text)))
				got, err := r.Lines(off, 0, 0)
				if want := bytes.Count(text[:off], []byte("\n")); err != nil || got != want {
					t.Fatalf("%d lines before %d, want %d (%v)", got, off, want, err)
				}
				if plain, err := early.Lines(off, 0, 0); err != nil || plain != got {
					t.Fatalf("%d lines in the plain log, %v", plain, err)
				}
			}
			if err := Compress(path); err != nil {
				t.Errorf("a second time: %v", err)
			}
			f, err := os.Open(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			dec, err := zstd.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			defer dec.Close()
			if all, err := io.ReadAll(dec); err != nil || !bytes.Equal(all, text) {
				t.Errorf("another zstd reads %d bytes, %v", len(all), err)
			}
		})
	}
}

func TestWhatIsNotCompressed(t *testing.T) {
	if err := Compress(filepath.Join(t.TempDir(), "nothing.log")); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	small := write(t, prose(smallest-1))
	if err := Compress(small); err != nil {
		t.Fatal(err)
	}
	if r := open(t, small); r.frames != nil {
		t.Error("a small log was compressed")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "nothing.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder is no log")
	}
}

// TestACrashWhileCompressing: both forms may lie there, or half of the new one; the log reads as it was.
func TestACrashWhileCompressing(t *testing.T) {
	text := prose(frameBytes * 2)
	path := write(t, text)
	for _, half := range []string{path + suffix, path + suffix + ".tmp"} {
		if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := open(t, path); r.Size() != int64(len(text)) {
		t.Errorf("%d bytes", r.Size())
	}
	if err := Compress(path); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(io.NewSectionReader(open(t, path), 0, 1<<30)); err != nil || !bytes.Equal(all, text) {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

func TestDamagedLogsAreSaid(t *testing.T) {
	path := write(t, prose(frameBytes*3))
	if err := Compress(path); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path + suffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, tailBytes, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path+suffix, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil {
			t.Errorf("cut to %d of %d bytes it opens", n, len(whole))
		}
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 { // whatever is wrong, there is an error or text, and no panic
		bad := bytes.Clone(whole)
		bad[rnd.IntN(len(bad))] ^= byte(1 + rnd.IntN(255))
		if err := os.WriteFile(path+suffix, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
		_ = r.Close()
	}
}

// TestMemoryStaysSmall: neither compressing a large log of one line nor reading it takes memory by its size.
func TestMemoryStaysSmall(t *testing.T) {
	path := write(t, bytes.Repeat([]byte("0123456789abcdef"), 4<<20)) // 64 MiB
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Compress(path); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	if n, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size())); err != nil || n != 64<<20 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if mb := (int64(after.HeapSys) - int64(before.HeapSys)) >> 20; mb > 24 { // it may have shrunk
		t.Errorf("the heap grew by %d MiB", mb)
	}
}

func BenchmarkCompress(b *testing.B) {
	text := prose(16 << 20)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		path := write(b, text)
		if err := Compress(path); err != nil {
			b.Fatal(err)
		}
		info, err := os.Stat(path + suffix)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(text))/float64(info.Size()), "times-smaller")
	}
}
