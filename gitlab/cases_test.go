package gitlab

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestS23PagesElsewhereAreNotAskedFor: a Link header that leads to another host is not followed, with or without the token.
func TestS23PagesElsewhereAreNotAskedFor(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	for _, to := range []string{other.URL + "/api/v4/x?page=2", "//" + other.Listener.Addr().String() + "/x?page=2"} {
		f, c := newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") == "2" {
				fmt.Fprint(w, `[{"id":2}]`)
				return
			}
			w.Header().Set("Link", "<"+to+`>; rel="next"`)
			fmt.Fprint(w, `[{"id":1}]`)
		})
		notes, err := c.Notes(t.Context(), 42, 12)
		if len(f.requests()) == 0 || len(notes) == 0 && err == nil {
			t.Errorf("%s: %d requests, %d notes, %v", to, len(f.requests()), len(notes), err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}
