package sim

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A call is one API request on its way through authentication, parameters, the project and a handler. Handlers run
// under the server's mu and leave their answer here; it is sent after mu is free.
type call struct {
	*Server
	w       http.ResponseWriter
	r       *http.Request
	segment map[string]string // the named segments of the path, decoded
	in      input
	token   *token   // nil for anonymous requests
	user    *User    // nil for anonymous requests
	project *project // nil outside projects/:id

	status int
	header http.Header
	body   any                               // nil for none
	stream func(w http.ResponseWriter) error // instead of body; runs without mu
}

// ServeHTTP answers the API, git over HTTP and the pages, below the relative root.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), s.opt.RelativeRoot)
	if !ok || (rest != "" && rest[0] != '/') {
		http.NotFound(w, r)
		return
	}
	rec := &recorder{ResponseWriter: w, index: s.logRequest(r), s: s}
	defer rec.finish()
	s.withFaults(rec, r, func(w http.ResponseWriter) {
		switch path := strings.TrimPrefix(rest, "/"); {
		case path == "api/v4" || strings.HasPrefix(path, "api/"):
			s.serveAPI(w, r, rec, strings.TrimPrefix(path, "api/v4/"))
		case isGit(path):
			s.serveGit(w, r, rec, path)
		case isOAuth(path):
			s.serveOAuth(w, r, path)
		default:
			s.servePage(w, r, path)
		}
	})
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, rec *recorder, path string) {
	c := &call{Server: s, w: w, r: r, header: http.Header{}, status: http.StatusOK}
	if err := c.serve(rec, path); err != nil {
		c.refuse(err)
	}
	c.send()
}

// serve finds the route and runs it; the order of the checks is GitLab's: token, scope, parameters, project, role.
func (c *call) serve(rec *recorder, path string) error {
	body, err := readBody(c.w, c.r, maxBody)
	if err != nil {
		return err
	}
	c.noteBody(rec, body)
	rt, err := c.match(path)
	if err != nil {
		return err
	}
	if c.in, err = readInput(c.r, body); err != nil {
		return err
	}
	release, err := c.admit(rec, rt)
	if err != nil {
		return err
	}
	defer release()
	c.mu.Lock()
	defer c.mu.Unlock()
	return rt.do(c)
}

// admit checks everything a route asks for and takes the status lease; release gives the lease back.
func (c *call) admit(rec *recorder, rt *route) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.authenticate(rt); err != nil {
		return nil, err
	}
	c.noteToken(rec, c.token)
	if err := validate(c.in, rt.params); err != nil {
		return nil, err
	}
	if _, ok := c.segment["id"]; ok && strings.HasPrefix(rt.path, "projects/") {
		if err := c.findProject(); err != nil {
			return nil, err
		}
		if err := c.authorize(rt.access); err != nil {
			return nil, err
		}
	}
	if !rt.lease {
		return func() {}, nil
	}
	return c.takeLease(fmt.Sprintf("%d/%s", c.project.id, c.segment["sha"]))
}

// match finds the route of the escaped path, segment by segment, so that an encoded slash stays inside its segment.
func (c *call) match(path string) (*route, error) {
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, raw := range segments {
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil, noRoute()
		}
		segments[i] = text
	}
	known := false
	for i := range c.routes {
		named, ok := c.routes[i].match(segments)
		if !ok {
			continue
		}
		known = true
		if c.routes[i].method == c.r.Method || c.r.Method == http.MethodHead && c.routes[i].method == http.MethodGet {
			c.segment = named
			return &c.routes[i], nil
		}
	}
	if known {
		return nil, message(http.StatusMethodNotAllowed, "405 Method Not Allowed")
	}
	return nil, noRoute()
}

// answer leaves an answer; a nil body sends none.
func (c *call) answer(status int, body any) error {
	c.status, c.body = status, body
	return nil
}

func (c *call) refuse(err error) {
	var no *refusal
	if !errors.As(err, &no) {
		c.log.Error("the simulated GitLab failed", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
		no = message(http.StatusInternalServerError, "500 Internal Server Error")
	}
	c.status, c.body, c.stream = no.status, no.body, nil
	if no.text != "" {
		c.stream = func(w http.ResponseWriter) error {
			w.WriteHeader(no.status)
			_, err := io.WriteString(w, no.text)
			return err
		}
	}
	for k, v := range no.header {
		c.header.Set(k, v)
	}
}

func (c *call) send() {
	maps.Copy(c.w.Header(), c.header)
	requestID := rand.Text()
	h := c.w.Header()
	h.Set("X-Request-Id", requestID)
	h.Set("X-Gitlab-Meta", `{"correlation_id":"`+requestID+`","version":"1"}`)
	h.Set("X-Runtime", "0.010000")
	h.Set("Vary", "Origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	if c.stream != nil {
		if err := c.stream(c.w); err != nil {
			c.log.Error("a stream ended early", "path", c.r.URL.Path, "error", err)
			panic(http.ErrAbortHandler) // the status is sent: only a cut connection tells the client (§3)
		}
		return
	}
	c.sendJSON(h)
}

func (c *call) sendJSON(h http.Header) {
	if c.body == nil {
		c.w.WriteHeader(c.status)
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c.body); err != nil {
		c.log.Error("encode an answer", "path", c.r.URL.Path, "error", err)
		c.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "max-age=0, private, must-revalidate")
	if c.status == http.StatusOK && c.r.Method == http.MethodGet && c.unchanged(h, text) {
		return
	}
	c.w.WriteHeader(c.status)
	if c.status != http.StatusNoContent {
		_, _ = c.w.Write(text) // the client went away
	}
}

// unchanged sets the weak ETag and answers a matching conditional request (§0.7).
func (c *call) unchanged(h http.Header, text []byte) bool {
	sum := sha256.Sum256(text)
	etag := `W/"` + hex.EncodeToString(sum[:16]) + `"`
	h.Set("ETag", etag)
	if c.r.Header.Get("If-None-Match") != etag {
		return false
	}
	c.w.WriteHeader(http.StatusNotModified)
	return true
}

// limited counts one use of key and says whether it was one too many.
func (s *Server) limited(key string, most int, per time.Duration) bool {
	now := s.now()
	var recent []time.Time
	for _, at := range s.limits[key] {
		if now.Sub(at) < per {
			recent = append(recent, at)
		}
	}
	if len(recent) >= most {
		s.limits[key] = recent
		return true
	}
	s.limits[key] = append(recent, now)
	return false
}

func isoTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
