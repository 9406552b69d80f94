// Package pack turns the files of a module into an archive whose bytes depend on nothing but them, or says why they may
// not be published.
package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The limits of a module.
const (
	MaxFiles  = 10_000
	MaxBytes  = 64 << 20 // of all files together
	MaxPacked = 32 << 20
)

// A File is one thing that lies in the module's folder.
type File struct {
	Path       string // relative, with slashes; not yet judged
	Regular    bool
	Executable bool
	What       string // for people, what it is when it is not regular
	Size       int64  // as announced; what is read counts
	Open       func() (io.ReadCloser, error)
}

// An Archive is a module made ready to be published.
type Archive struct {
	Bytes   []byte // gzipped tar
	Digest  string // sha256 of Bytes, hexadecimal
	Files   int
	LeftOut []string // files that were not packed, because nobody who uses the module needs them
}

// A Refusal is why a module may not be published, in words for its authors.
type Refusal struct{ msg string }

func (r *Refusal) Error() string { return r.msg }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// TooMany is the refusal of a folder that holds more than [MaxFiles].
func TooMany() error {
	return refuse("The module's folder holds more than %d files and folders, which is the most a version may have.", MaxFiles)
}

// A Packer gathers files one by one, so that nothing needs to be held that is refused in the end.
type Packer struct {
	files   []kept
	folded  map[string]string // names in lower case
	bytes   int64
	leftOut []string
}

type kept struct {
	path       string
	executable bool
	content    []byte
}

// Add judges one file and takes it. Its error is a *[Refusal], or that of reading the file.
func (p *Packer) Add(f File) error {
	if err := judge(f); err != nil {
		return err
	}
	if isTfvars(f.Path) {
		p.leftOut = append(p.leftOut, f.Path)
		return nil
	}
	if p.folded == nil {
		p.folded = map[string]string{}
	}
	lower := strings.ToLower(f.Path)
	if other, twice := p.folded[lower]; twice {
		return refuse("The module holds %s and %s, which are one file on some systems. Rename one.", show(other), show(f.Path))
	}
	p.folded[lower] = f.Path
	if len(p.files) >= MaxFiles {
		return TooMany()
	}
	if f.Size > MaxBytes-p.bytes {
		return tooLarge()
	}
	content, err := read(f, MaxBytes-p.bytes)
	if err != nil {
		return err
	}
	p.bytes += int64(len(content))
	if holdsKey(content) {
		return refuse("%s holds a private key. Whoever uses the module could read it: take it out of the repository, and replace the key.", show(f.Path))
	}
	p.files = append(p.files, kept{f.Path, f.Executable, content})
	return nil
}

func tooLarge() error {
	return refuse("The module's files have more than %d MiB, which is the most a version may have.", MaxBytes>>20)
}

func read(f File, left int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, left+1))
	err = errors.Join(err, r.Close())
	if err == nil && int64(len(content)) > left {
		err = tooLarge()
	}
	return content, err
}

// Content returns a file that was added, nil for none.
func (p *Packer) Content(name string) []byte {
	if i := slices.IndexFunc(p.files, func(k kept) bool { return k.path == name }); i >= 0 {
		return p.files[i].content
	}
	return nil
}

// Names lists the files that were added.
func (p *Packer) Names() []string {
	var out []string
	for _, k := range p.files {
		out = append(out, k.path)
	}
	return out
}

// Archive packs what was added. The same files give the same bytes, in whatever order they came.
func (p *Packer) Archive() (Archive, error) {
	slices.SortFunc(p.files, func(a, b kept) int { return strings.Compare(a.path, b.path) })
	code := slices.ContainsFunc(p.files, func(k kept) bool {
		return !strings.Contains(k.path, "/") && (strings.HasSuffix(k.path, ".tf") || strings.HasSuffix(k.path, ".tf.json") || strings.HasSuffix(k.path, ".tofu") || strings.HasSuffix(k.path, ".tofu.json"))
	})
	if !code {
		return Archive{}, refuse("The module's folder holds no .tf file. Correct the folder in the module's settings, or push the code.")
	}
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	w := tar.NewWriter(zip)
	for _, k := range p.files {
		mode := int64(0o644)
		if k.executable {
			mode = 0o755
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: k.path, Mode: mode, Size: int64(len(k.content)), ModTime: epoch, Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return Archive{}, err
		}
		if _, err := w.Write(k.content); err != nil {
			return Archive{}, err
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		return Archive{}, err
	}
	if buf.Len() > MaxPacked {
		return Archive{}, refuse("The module's archive has more than %d MiB, which is the most a version may have.", MaxPacked>>20)
	}
	sum := sha256.Sum256(buf.Bytes())
	return Archive{Bytes: buf.Bytes(), Digest: hex.EncodeToString(sum[:]), Files: len(p.files), LeftOut: p.leftOut}, nil
}

// epoch is the time of every file: when it was packed is nobody's business.
var epoch = time.Unix(0, 0).UTC()

// maxPath is the longest path of a file, maxName that of one part of it.
const (
	maxPath = 400
	maxName = 200
)

// judge refuses what must not be published, by its name and kind.
func judge(f File) error {
	if err := judgePath(f.Path); err != nil {
		return err
	}
	if !f.Regular {
		return refuse("%s is a %s, and a version holds plain files only. Put the file itself there.", show(f.Path), f.What)
	}
	for part := range strings.SplitSeq(strings.ToLower(f.Path), "/") {
		if part == ".git" || part == ".terraform" {
			return refuse("%s lies in %s/, which belongs to one machine. Take the folder out of the repository.", show(f.Path), part)
		}
	}
	name := strings.ToLower(path.Base(f.Path))
	switch {
	case strings.Contains(name, ".tfstate"):
		return refuse("%s is a state, which holds secrets in clear. Take it out of the repository, and replace what it held.", show(f.Path))
	case name == ".env" || strings.HasPrefix(name, ".env.") && name != ".env.example" && name != ".env.sample":
		return refuse("%s holds somebody's environment. Take it out of the repository.", show(f.Path))
	case slices.Contains(private, name):
		return refuse("%s holds somebody's credentials. Take it out of the repository, and replace them.", show(f.Path))
	}
	return nil
}

// private are names of files that hold credentials.
var private = []string{
	"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", ".git-credentials", ".terraformrc", ".tofurc", "terraform.rc", "credentials.tfrc.json", ".npmrc", ".pgpass",
}

func judgePath(p string) error {
	bad := p == "" || len(p) > maxPath || strings.HasPrefix(p, "/") || strings.Contains(p, `\`) || !utf8.ValidString(p) ||
		strings.ContainsFunc(p, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) })
	for part := range strings.SplitSeq(p, "/") {
		bad = bad || part == "" || part == "." || part == ".." || len(part) > maxName
	}
	if bad {
		return refuse("The module holds a file called %s, which cannot be unpacked safely everywhere. Rename it.", show(p))
	}
	return nil
}

// isTfvars reports values for a root module, which only tests and examples have.
func isTfvars(p string) bool {
	return strings.HasSuffix(p, ".tfvars") || strings.HasSuffix(p, ".tfvars.json")
}

var privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----`)

// holdsKey looks for a private key in text; larger files are no keys.
func holdsKey(content []byte) bool { return len(content) < 1<<20 && privateKey.Match(content) }

// show quotes a name that may be anything.
func show(p string) string {
	if r := []rune(p); len(r) > 100 {
		p = string(r[:100]) + "…"
	}
	return fmt.Sprintf("%q", p)
}
