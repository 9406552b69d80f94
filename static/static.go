// Package static holds the style sheet, the script and the icons: a URL names a content for ever.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

// Prefix is where [Handler] is to be mounted.
const Prefix = "/static/"

//go:embed *.css *.js *.svg
var files embed.FS

// An asset is one file, ready to be sent.
type asset struct {
	kind   string // Content-Type
	plain  []byte
	zipped []byte
}

// catalog is the embedded files by name and by URL. It is made when first asked for and never changes: this binary
// also starts beside every run, where no page is ever sent.
var catalog = sync.OnceValue(func() shelf { return load(files) })

// A shelf finds files: their URLs by name, their contents by URL.
type shelf struct {
	urls  map[string]string
	byURL map[string]asset
}

func load(fsys fs.FS) shelf {
	urls, byURL := map[string]string{}, map[string]asset{}
	names, err := fs.Glob(fsys, "*")
	if err != nil {
		panic(err) // the pattern is constant and right
	}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			panic(err) // embedded files can be read
		}
		sum := sha256.Sum256(b)
		ext := path.Ext(name)
		url := Prefix + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:4]) + ext
		urls[name] = url
		byURL[url] = asset{kind: kinds[ext], plain: b, zipped: zip(b)}
	}
	return shelf{urls, byURL}
}

var kinds = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func zip(b []byte) []byte {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is constant and right
	}
	if _, err := w.Write(b); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// Path returns the URL of a file by its name: "app.css" → "/static/app.1a2b3c4d.css". A name that is not
// there is a mistake in a page and panics, so that the first test of the page finds it.
func Path(name string) string {
	url, ok := catalog().urls[name]
	if !ok {
		panic("static: no file " + name)
	}
	return url
}

// Handler answers requests below [Prefix]. Contents never change under their URL, so they may be cached for
// ever; a URL of another version is 404.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := catalog().byURL[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Only GET and HEAD work here.", http.StatusMethodNotAllowed)
			return
		}
		send(w, r, a)
	})
}

func send(w http.ResponseWriter, r *http.Request, a asset) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && len(a.zipped) < len(a.plain) {
		h.Set("Content-Encoding", "gzip")
		body = a.zipped
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) // a reader that left needs no answer
}
