package static

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func ask(method, url, encoding string) *http.Response {
	r := httptest.NewRequest(method, url, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryFileIsServedUnderItsName(t *testing.T) {
	named := regexp.MustCompile(`^/static/[a-z]+\.[0-9a-f]{8}\.(css|js|svg)$`)
	for name, url := range catalog().urls {
		if !named.MatchString(url) || Path(name) != url {
			t.Errorf("%s is at %s", name, url)
		}
		plain, zipped := ask("GET", url, ""), ask("GET", url, "br, gzip")
		if plain.StatusCode != 200 || !strings.Contains(plain.Header.Get("Cache-Control"), "immutable") || plain.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %s %v", name, plain.Status, plain.Header)
		}
		want, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body(t, plain), want) {
			t.Errorf("%s comes changed", name)
		}
		got := body(t, zipped)
		if zipped.Header.Get("Content-Encoding") == "gzip" {
			r, err := gzip.NewReader(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			if got, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s comes changed through gzip", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, url := range []string{"/static/app.css", "/static/app.00000000.css", "/static/", "/static/../static.go"} {
		if res := ask("GET", url, ""); res.StatusCode != 404 {
			t.Errorf("%s: %s", url, res.Status)
		}
	}
	if res := ask("POST", Path("app.css"), ""); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s %v", res.Status, res.Header)
	}
	if res := ask("HEAD", Path("app.css"), ""); res.StatusCode != 200 || len(body(t, res)) != 0 {
		t.Errorf("HEAD: %s", res.Status)
	}
}

func TestPathOfNothingPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a page may name a file that is not there")
		}
	}()
	Path("jquery.js")
}

// TestWeight keeps what every page loads small, and free of anything from elsewhere.
func TestWeight(t *testing.T) {
	for name, limit := range map[string]int{"app.css": 52_000, "app.js": 12_000, "run.js": 12_000, "live.js": 12_000, "form.js": 12_000, "theme.js": 1_000, "icons.svg": 8_000} {
		b, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > limit {
			t.Errorf("%s weighs %d bytes, more than %d", name, len(b), limit)
		}
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", "url(", "@import", "eval(", "sourceMappingURL"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %q", name, bad)
			}
		}
	}
}
