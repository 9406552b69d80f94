package sim

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Fault is trouble on purpose for requests whose method and path match. Of several matching faults the oldest acts.
type Fault struct {
	Method       string         // "" matches all
	Path         *regexp.Regexp // against the escaped path as sent, relative root included; nil matches all
	Times        int            // 0: until cleared
	Status       int            // answer with this; 0 goes on to the real work
	Header       http.Header
	Body         string
	Hang         bool          // never answer, until cleared, Close or the client goes away
	CutAfterWork bool          // do the work, then drop the connection without an answer
	CutAt        int           // do the work, send this many bytes of the body, then drop the connection
	Delay        time.Duration // wait first
}

type fault struct {
	Fault
	left    int           // uses left; -1 for no end
	cleared chan struct{} // closed by clear
}

// RateLimitedJSON is an application limit: 429 in JSON without Retry-After (§0.6).
func RateLimitedJSON() Fault {
	return Fault{
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`,
	}
}

// Throttled is a Rack::Attack throttle: 429 in plain text with Retry-After in whole seconds (§0.6).
func Throttled(retryAfter time.Duration) Fault {
	return Fault{
		Status: http.StatusTooManyRequests,
		Header: http.Header{
			"Content-Type":        {"text/plain"},
			"Retry-After":         {strconv.Itoa(int(retryAfter.Seconds()))},
			"Ratelimit-Name":      {"throttle_authenticated_api"},
			"Ratelimit-Limit":     {"120"},
			"Ratelimit-Observed":  {"121"},
			"Ratelimit-Remaining": {"0"},
		},
		Body: "Retry later\n",
	}
}

// Conflict is a lost lock of a commit status: 409 (§4, GOTCHAS 5).
func Conflict() Fault {
	return Fault{
		Status: http.StatusConflict,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   `{"message":"409 Conflict: Resource lock"}`,
	}
}

// Unavailable502HTML is a GitLab that is starting: 502 with a page (GOTCHAS 75).
func Unavailable502HTML() Fault {
	return Fault{
		Status: http.StatusBadGateway,
		Header: http.Header{"Content-Type": {"text/html"}},
		Body:   "<!DOCTYPE html><html><head><title>GitLab is not responding (502)</title></head><body><h1>502</h1></body></html>",
	}
}

// Fault adds trouble; clear ends it and releases what hangs in it, and may be called more than once.
func (s *Server) Fault(f Fault) (clear func()) {
	added := &fault{Fault: f, left: f.Times, cleared: make(chan struct{})}
	if f.Times == 0 {
		added.left = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, added)
	return func() { s.clearFault(added) }
}

func (s *Server) clearFault(f *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.cleared:
	default:
		close(f.cleared)
		f.left = 0
	}
}

// takeFault uses up one turn of the first fault that matches.
func (s *Server) takeFault(r *http.Request, index int) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.left == 0 || f.Method != "" && f.Method != r.Method || f.Path != nil && !f.Path.MatchString(r.URL.EscapedPath()) {
			continue
		}
		if f.left > 0 {
			f.left--
		}
		s.requests[index].Faulted = f.Status != 0 || f.Hang || f.CutAfterWork || f.CutAt > 0
		return f
	}
	return nil
}

// withFaults runs next as the matching fault lets it, or not at all.
func (s *Server) withFaults(rec *recorder, r *http.Request, next func(http.ResponseWriter)) {
	f := s.takeFault(r, rec.index)
	if f == nil {
		next(rec)
		return
	}
	s.wait(r, f, f.Delay)
	switch {
	case f.Hang:
		s.wait(r, f, -1)
		panic(http.ErrAbortHandler)
	case f.CutAfterWork, f.CutAt > 0:
		s.cut(rec, f, next)
	case f.Status != 0:
		maps.Copy(rec.Header(), f.Header)
		rec.WriteHeader(f.Status)
		_, _ = rec.Write([]byte(f.Body)) // the client went away
	default:
		next(rec)
	}
}

// wait waits for d, or without end when d is negative; the client, Close and clear end it early.
func (s *Server) wait(r *http.Request, f *fault, d time.Duration) {
	if d == 0 {
		return
	}
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
	case <-f.cleared:
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
}

// cut does the work into the air and drops the connection, before any answer or within the body.
func (s *Server) cut(rec *recorder, f *fault, next func(http.ResponseWriter)) {
	air := &air{header: http.Header{}, status: http.StatusOK}
	next(air)
	if f.CutAt > 0 {
		maps.Copy(rec.Header(), air.header)
		rec.Header().Del("Content-Length")
		rec.WriteHeader(air.status)
		body := air.body.Bytes()
		_, _ = rec.Write(body[:min(f.CutAt, len(body))])
		_ = http.NewResponseController(rec.ResponseWriter).Flush() // the client went away: cut either way
	}
	panic(http.ErrAbortHandler)
}

// air takes an answer that is never sent whole.
type air struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *air) Header() http.Header         { return a.header }
func (a *air) WriteHeader(status int)      { a.status = status }
func (a *air) Write(p []byte) (int, error) { return a.body.Write(p) }

// A recorder notes the status of an answer in the log of requests.
type recorder struct {
	http.ResponseWriter
	s      *Server
	index  int
	status int
}

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return rec.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

func (rec *recorder) finish() {
	rec.s.mu.Lock()
	defer rec.s.mu.Unlock()
	rec.s.requests[rec.index].Status = rec.status
}

func (s *Server) logRequest(r *http.Request) (index int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{
		At: s.now(), Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
	})
	return len(s.requests) - 1
}

// maxLoggedBody keeps a long demo's log small.
const maxLoggedBody = 64 << 10

func (c *call) noteBody(rec *recorder, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[rec.index].Body = string(body[:min(len(body), maxLoggedBody)])
}

// noteToken names the token in the log. The caller holds mu.
func (s *Server) noteToken(rec *recorder, t *token) {
	if t != nil {
		s.requests[rec.index].Token = t.name
	}
}

// Requests lists every request received, pages and git included.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Refused lists the requests GitLab would have refused: answers of 400 to 499 by the API or to a git client that sent
// a token, none of them made by a Fault. A correct client has none, save where it asks whether something exists.
func (s *Server) Refused() []Request {
	var refused []Request
	for _, r := range s.Requests() {
		if r.Status < 400 || r.Status > 499 || r.Faulted || !s.counts(r) {
			continue
		}
		refused = append(refused, r)
	}
	return refused
}

// counts leaves out pages, and git's first request, which never has a token.
func (s *Server) counts(r Request) bool {
	path := strings.TrimPrefix(r.Path, s.opt.RelativeRoot)
	return strings.HasPrefix(path, "/api/") || isGit(strings.TrimPrefix(path, "/")) && r.Token != ""
}

// String is the request as a test prints it.
func (r Request) String() string {
	return fmt.Sprintf("%d %s %s?%s %s", r.Status, r.Method, r.Path, r.Query, r.Body)
}
