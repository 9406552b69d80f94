package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func text(path, content string) File {
	return File{Path: path, Regular: true, Size: int64(len(content)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func packAll(files ...File) (Archive, error) {
	var p Packer
	for _, f := range files {
		if err := p.Add(f); err != nil {
			return Archive{}, err
		}
	}
	return p.Archive()
}

func names(t *testing.T, a Archive) (out []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(a.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Uid != 0 || h.Uname != "" || !h.ModTime.Equal(epoch) {
			t.Errorf("%+v", h)
		}
		out = append(out, fmt.Sprintf("%s %o", h.Name, h.Mode))
	}
}

func TestTheSameFilesGiveTheSameBytes(t *testing.T) {
	var files []File
	for i := range 50 {
		files = append(files, text(fmt.Sprintf("sub%d/file%d.tf", i%7, i), strings.Repeat("x", i*100)))
	}
	run := text("run.sh", "#!/bin/sh\n")
	run.Executable = true
	files = append(files, text("main.tf", "a"), run, text("examples/basic/terraform.tfvars", "a = 1"))
	first, err := packAll(files...)
	if err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	again, err := packAll(files...)
	if err != nil || !bytes.Equal(first.Bytes, again.Bytes) || first.Digest != again.Digest {
		t.Errorf("%v: %s and %s", err, first.Digest, again.Digest)
	}
	list := strings.Join(names(t, first), "\n")
	if !strings.Contains(list, "main.tf 644\nrun.sh 755\nsub0/file0.tf 644") || strings.Contains(list, "tfvars") || len(first.LeftOut) != 1 || first.Files != 52 {
		t.Errorf("%d files, left out %v:\n%s", first.Files, first.LeftOut, list)
	}
}

// What must never be published is refused, with the file's name and what to do (S27, S28, S29).
func TestHostileFilesAreRefused(t *testing.T) {
	link := File{Path: "x.tf", What: "symbolic link"}
	for name, f := range map[string]File{
		"climbing": text("../x.tf", ""), "climbing inside": text("a/../../x.tf", ""), "absolute": text("/etc/passwd", ""), "empty part": text("a//b.tf", ""),
		"dot": text("./a.tf", ""), "backslash": text(`a\..\b.tf`, ""), "control": text("a\nb.tf", ""), "not text": text("a\xff.tf", ""), "direction": text("a\u202eb.tf", ""),
		"long": text(strings.Repeat("a", 300), ""), "deep": text(strings.Repeat("a/", 300)+"b", ""), "no name": text("", ""),
		"link": link, "device": {Path: "x", What: "device"}, "submodule": {Path: "x", What: "submodule"},
		"state": text("terraform.tfstate", "{}"), "old state": text("a/terraform.tfstate.backup", "{}"), "state in capitals": text("X.TFSTATE", ""),
		"environment": text("a/.env", "A=1"), "environment of production": text(".env.prod", "A=1"), "tool data": text("a/.terraform/modules/modules.json", "{}"),
		"git": text(".git/config", ""), "git in capitals": text(".GIT/config", ""), "key": text("id_rsa", ""), "netrc": text("a/.netrc", ""),
		"pem": text("a/tls.pem", "-----BEGIN EC PRIVATE KEY-----\nabc"), "hidden key": text("a/readme.txt", "x\n-----BEGIN OPENSSH PRIVATE KEY-----\n"),
		"sparse": {Path: "big", Regular: true, Size: 4 << 30}, "liar": {Path: "big", Regular: true, Size: 1, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.LimitReader(zeros{}, MaxBytes+10)), nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := packAll(text("main.tf", ""), f)
			var no *Refusal
			if !errors.As(err, &no) || a.Bytes != nil {
				t.Fatalf("%v, %d bytes", err, len(a.Bytes))
			}
			if len(err.Error()) > 500 || !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\u202e") {
				t.Errorf("%q", err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLimitsOfAModule(t *testing.T) {
	if _, err := packAll(text("main.tf", ""), text("MAIN.tf", "")); err == nil {
		t.Error("one name in two writings was taken")
	}
	if _, err := packAll(text("README.md", "")); err == nil {
		t.Error("a folder without code was taken")
	}
	var p Packer
	var err error
	for i := 0; err == nil && i < MaxFiles+2; i++ {
		err = p.Add(text(fmt.Sprint(i), ""))
	}
	if err == nil || err.Error() != TooMany().Error() {
		t.Errorf("too many: %v", err)
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a.tf", "../a", "a/./b", "a\\b", ".env", "x.tfstate"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		a, err := packAll(text("main.tf", ""), text(p, "x"))
		if err != nil {
			return
		}
		for _, n := range names(t, a) {
			n = strings.TrimSuffix(n, " 644")
			if strings.HasPrefix(n, "/") || n == ".." || strings.HasPrefix(n, "../") || strings.Contains(n, "/../") || strings.HasSuffix(n, "/..") || strings.Contains(strings.ToLower(n), ".tfstate") {
				t.Errorf("%q was packed", n)
			}
		}
	})
}
