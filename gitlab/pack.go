package gitlab

import (
	"io"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// write stores a pack.
func (st store) write(pack io.Reader, thin bool) error {
	if thin {
		return st.writeLoose(pack)
	}
	if err := packfile.WritePackfileToObjectStorage(st, pack); err != nil {
		return err
	}
	st.Reindex()
	return nil
}

// writeLoose hides go-git's lazy writer, which keeps one file open for each object.
func (st store) writeLoose(pack io.Reader) error {
	plain := struct{ storer.EncodedObjectStorer }{st}
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(pack), plain)
	if err != nil {
		return err
	}
	_, err = parser.Parse()
	return err
}
