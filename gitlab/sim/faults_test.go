package sim

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	statuses := regexp.MustCompile(`/statuses/`)
	for _, c := range []struct {
		fault  Fault
		status int
		kind   string
		retry  string
	}{
		{RateLimitedJSON(), 429, "application/json", ""},
		{Throttled(30 * time.Second), 429, "text/plain", "30"},
		{Conflict(), 409, "application/json", ""},
		{Unavailable502HTML(), 502, "text/html", ""},
	} {
		c.fault.Times, c.fault.Path, c.fault.Method = 1, statuses, "POST"
		w.s.Fault(c.fault)
		w.want(200, "developer", "GET", "/user", nil) // another path
		got := w.post(c.status, "developer", sha, "success", nil)
		if got.header.Get("Content-Type") != c.kind || got.header.Get("Retry-After") != c.retry {
			t.Errorf("%d: headers %v", c.status, got.header)
		}
		w.post(201, "developer", sha, "success", nil) // used up
	}
	if len(w.s.Refused()) != 0 {
		t.Errorf("faults count as refused: %v", w.s.Refused())
	}
	clear := w.s.Fault(Unavailable502HTML())
	w.want(502, "developer", "GET", "/user", nil)
	w.want(502, "developer", "GET", "/user", nil)
	clear()
	clear()
	w.want(200, "developer", "GET", "/user", nil)
}

func TestCutAfterWork(t *testing.T) {
	w := newWorld(t)
	sha := w.push("feature", map[string]string{"a.tf": "1\n"})
	w.s.Fault(Fault{Times: 1, Method: "POST", CutAfterWork: true})
	req := w.request("POST", w.url+"/api/v4"+w.in("/statuses/%s", sha), map[string]any{"state": "success"})
	req.Header.Set("PRIVATE-TOKEN", w.tokens["developer"])
	if res, err := noRedirects.Do(req); err == nil {
		res.Body.Close()
		t.Fatalf("answered %d, want a cut connection", res.StatusCode)
	}
	if got := w.s.Statuses(w.project.ID, sha); len(got) != 1 || got[0].State != "success" {
		t.Errorf("the work was not done: %+v", got)
	}
}

func TestCutInTheBody(t *testing.T) {
	w := newWorld(t)
	w.s.Fault(Fault{Times: 1, Path: regexp.MustCompile(`archive`), CutAt: 100})
	req := w.request("GET", w.url+"/api/v4"+w.in("/repository/archive"), nil)
	req.Header.Set("PRIVATE-TOKEN", w.tokens["developer"])
	res, err := noRedirects.Do(req)
	w.check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != 200 || len(body) != 100 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %d bytes, %v; want 200, 100 bytes and a cut", res.StatusCode, len(body), err)
	}
}

func TestHangAndDelay(t *testing.T) {
	w := newWorld(t)
	clear := w.s.Fault(Fault{Hang: true, Path: regexp.MustCompile(`/user$`)})
	ended := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v4/user", nil)
		res, err := noRedirects.Do(req)
		if err == nil {
			res.Body.Close()
		}
		ended <- err
	}()
	hangs := func() bool {
		return slices.ContainsFunc(w.s.Requests(), func(r Request) bool { return r.Faulted && strings.HasSuffix(r.Path, "/user") })
	}
	eventually(t, "the request hangs", hangs)
	w.want(401, "", "GET", "/version", nil) // others go on
	select {
	case err := <-ended:
		t.Errorf("the hanging request ended: %v", err)
	default:
	}
	clear()
	if err := <-ended; err == nil {
		t.Error("a released request was answered; it must be cut")
	}
	w.s.Fault(Fault{Times: 1, Delay: 60 * time.Millisecond})
	start := time.Now()
	w.want(200, "guest", "GET", "/version", nil)
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("a delayed request took %s", took)
	}
}

func TestRequestLog(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RelativeRoot = "/scm" })
	w.want(200, "developer", "GET", "/projects/acme%2Fplatform%2Finfra-stack?x=1", nil)
	w.want(400, "maintainer", "POST", w.in("/hooks"), map[string]any{"token": "shown"})
	all := w.s.Requests()
	got := all[len(all)-2]
	if got.Path != "/scm/api/v4/projects/acme%2Fplatform%2Finfra-stack" || got.Query != "x=1" || got.Token != "developer-token" || got.Status != 200 {
		t.Errorf("logged %+v", got)
	}
	refused := w.s.Refused()
	if len(refused) != 1 || refused[0].Status != 400 || refused[0].Body != `{"token":"shown"}` {
		t.Errorf("refused %v", refused)
	}
	if got := w.do(w.request("GET", w.url[:len(w.url)-len("/scm")]+"/api/v4/version", nil)); got.status != 404 {
		t.Errorf("outside the relative root: %d, want 404", got.status)
	}
}
