package gitlab

import (
	"io"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// write stores a pack and returns the files it made.
func (st store) write(pack io.Reader, thin bool) ([]string, error) {
	if thin {
		return st.writeLoose(pack)
	}
	before := st.packFiles()
	if err := packfile.WritePackfileToObjectStorage(st, pack); err != nil {
		return nil, err
	}
	st.Reindex()
	return slices.DeleteFunc(st.packFiles(), func(f string) bool { return slices.Contains(before, f) }), nil
}

func (st store) packFiles() []string {
	names, _ := filepath.Glob(filepath.Join(st.dir, packDir, "pack-*")) // fails only for a bad pattern
	return names
}

func (st store) writeLoose(pack io.Reader) ([]string, error) {
	w := &looseWriter{EncodedObjectStorer: st, dir: st.dir}
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(pack), w)
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse()
	return w.written, err
}

// A looseWriter remembers the files it makes. It hides go-git's lazy writer, which keeps one file open for each object.
type looseWriter struct {
	storer.EncodedObjectStorer
	dir     string
	written []string
}

// SetEncodedObject implements [storer.EncodedObjectStorer].
func (w *looseWriter) SetEncodedObject(o plumbing.EncodedObject) (plumbing.Hash, error) {
	hash, err := w.EncodedObjectStorer.SetEncodedObject(o)
	if err == nil {
		name := hash.String()
		w.written = append(w.written, filepath.Join(w.dir, "objects", name[:2], name[2:]))
	}
	return hash, err
}
