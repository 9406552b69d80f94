package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/store"
)

// once calls the API with an idempotency key.
func (s *site) once(bearer, key, method, path, body string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.srv.URL+"/api/v1"+path, strings.NewReader(body))
	must(s.t, err)
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set(onceHeader, key)
	return s.do(noFollow, req)
}

func (s *site) runsOf(stack string) int {
	s.t.Helper()
	return len(s.apiOK(200, get, "/stacks/"+stack+"/runs", "")["items"].([]any))
}

// tracked gives a stack a commit to run.
func (s *site) tracked(name string) runs.Stack {
	st := s.stack(name)
	st.TrackedCommit = runs.Commit{SHA: strings.Repeat("a", 40)}
	s.update(func(tx *store.Tx) error { return tx.PutStack(st) })
	return st
}

func TestARequestWithAnIdempotencyKeyIsDoneOnce(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.tracked("a")
	const body = `{"type":"task","command":"true"}`
	first := s.once(bootstrap, "key-1", post, "/stacks/a/runs", body)
	if first.status != 201 || first.header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%d %s", first.status, first.body)
	}
	again := s.once(bootstrap, `"key-1"`, post, "/stacks/a/runs", body)
	if again.status != 201 || again.body != first.body || again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("sent again: %d %v\n%s", again.status, again.header, again.body)
	}
	if n := s.runsOf("a"); n != 1 {
		t.Errorf("%d runs", n)
	}
	if a := s.once(bootstrap, "key-1", post, "/stacks/a/runs", `{"type":"task","command":"false"}`); a.status != 409 || !strings.Contains(a.body, "another request") {
		t.Errorf("another request with the same key: %d %s", a.status, a.body)
	}
	for range 2 { // two API keys, of the same name
		if a := s.once(s.key(store.Writer), "key-1", post, "/stacks/a/runs", body); a.status != 201 || a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("the same key of somebody else: %d %s", a.status, a.body)
		}
	}
	if a := s.once(bootstrap, strings.Repeat("k", 256), post, "/stacks/a/runs", body); a.status != 422 {
		t.Errorf("a key that is too long: %d %s", a.status, a.body)
	}
	// An API key is answered once more by its idempotency key, and is kept sealed until then.
	made := s.once(bootstrap, "key-2", post, "/api-keys", `{"name":"ci","role":"reader"}`)
	if twice := s.once(bootstrap, "key-2", post, "/api-keys", `{"name":"ci","role":"reader"}`); made.status != 201 || twice.body != made.body {
		t.Errorf("%s\n%s", made.body, twice.body)
	}
}

func TestARefusedRequestMayBeSentAgain(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	for range 2 {
		if a := s.once(bootstrap, "key", post, "/stacks/a/runs", "{}"); a.status != 404 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	s.tracked("a")
	if a := s.once(bootstrap, "key", post, "/stacks/a/runs", "{}"); a.status != 201 {
		t.Errorf("after the mend: %d %s", a.status, a.body)
	}
}

// TestACutOffRequestIsNotRepeatedByGuess stops at the two places where a server may die.
func TestACutOffRequestIsNotRepeatedByGuess(t *testing.T) {
	s := newSite(t)
	done := 0
	r := route{method: post, doc: &operation{}, handle: func(c *request) error {
		done++
		if done == 1 {
			return errors.New("the disk is full") // after something was done, for all we know
		}
		return c.JSON(http.StatusCreated, done)
	}}
	call := func() error {
		req := httptest.NewRequest(post, "/api/v1/x", strings.NewReader("{}"))
		req.Header.Set(onceHeader, "key")
		return s.web.once(&request{Context: echo.New().NewContext(req, httptest.NewRecorder()), who: actor{Name: "ann"}}, r)
	}
	if err := call(); statusOf(err) != 500 {
		t.Fatal(err)
	}
	if err := call(); !errors.Is(err, runs.ErrConflict) || !strings.Contains(err.Error(), "can't say what came of it") || done != 1 {
		t.Errorf("%v, done %d times", err, done)
	}
}

func TestOneOfManyEqualRequestsIsDone(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.tracked("a")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a := s.once(bootstrap, "key", post, "/stacks/a/runs", "{}")
			var v map[string]any
			if err := json.Unmarshal([]byte(a.body), &v); err != nil || a.status != 201 && a.status != 409 {
				t.Errorf("%d %v %s", a.status, err, a.body)
			}
		})
	}
	wg.Wait()
	if n := s.runsOf("a"); n != 1 {
		t.Errorf("%d runs", n)
	}
}
