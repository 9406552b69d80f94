package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/store"
)

// onceHeader is the header of the IETF's draft on idempotency keys.
const onceHeader = "Idempotency-Key"

// onceKey is a key, of at most onceKeyMost bytes. The length is no part of the expression: Go writes out every
// repetition, at each start of the program, and runs start it several times.
var onceKey = regexp.MustCompile(`^[!-~]+$`)

const onceKeyMost = 255

// takesOnce reports whether the requests of a route may carry an idempotency key: those of the API that are no
// repeatable by themselves.
func takesOnce(r route) bool { return r.doc != nil && r.method == http.MethodPost }

// once does what the route does, but a request with an idempotency key only once for this sender: sent again, it is
// answered as it was. What was cut off by the end of the server is not done again by guess; it is said.
func (s *Server) once(c *request, r route) error {
	key := strings.Trim(c.Request().Header.Get(onceHeader), `"`)
	if key == "" || !takesOnce(r) {
		return r.handle(c)
	}
	if len(key) > onceKeyMost || !onceKey.MatchString(key) {
		return runs.Invalidf("", "The idempotency key is not usable. Use 1 to 255 visible ASCII characters, a UUID for example.")
	}
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	c.Request().Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(append([]byte(c.Request().Method+" "+c.Request().URL.RequestURI()+"\n"), body...))
	digest := hex.EncodeToString(sum[:])

	sender := c.who.Name + "\x00" + c.who.User + c.who.Key // names of keys repeat
	row := sender + "\x00" + key
	if _, busy := s.onces.LoadOrStore(row, struct{}{}); busy {
		return runs.Conflictf("A request with this idempotency key is at work. Ask again in a moment.")
	}
	defer s.onces.Delete(row)

	var before store.Once
	var known bool
	err = s.st.Update(func(tx *store.Tx) (err error) {
		before, known, err = tx.BeginOnce(sender, key, digest)
		return err
	})
	switch {
	case err != nil:
		return err
	case known && before.Digest != digest:
		return runs.Conflictf("This idempotency key was used for another request. Every request needs a key of its own.")
	case known && !before.Done:
		return runs.Conflictf("The server was stopped while it did this request, or failed at it, so it can't say what came of it. Look whether it was done; if not, send it with a new idempotency key.")
	case known:
		return replay(c, before)
	}
	return s.firstTime(c, r, sender, key)
}

// firstTime does the request and remembers its answer. One that was refused did nothing and is forgotten; one that
// failed inside stays remembered as not known.
func (s *Server) firstTime(c *request, r route, sender, key string) error {
	answer := &recorder{ResponseWriter: c.Response().Writer}
	c.Response().Writer = answer
	failed := r.handle(c)
	if failed != nil && statusOf(failed) == http.StatusInternalServerError {
		return failed
	}
	err := s.st.Update(func(tx *store.Tx) error {
		if failed != nil {
			return tx.ForgetOnce(sender, key)
		}
		return tx.EndOnce(sender, key, c.Response().Status, c.Response().Header().Get(echo.HeaderLocation), answer.body.String())
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		s.log.Error("the answer to a request with an idempotency key could not be kept", "error", err)
	}
	return nil
}

func replay(c *request, o store.Once) error {
	h := c.Response().Header()
	h.Set("Idempotency-Replayed", "true")
	if o.Location != "" {
		h.Set(echo.HeaderLocation, o.Location)
	}
	if o.Body == "" {
		return c.NoContent(o.Status)
	}
	return c.JSONBlob(o.Status, []byte(o.Body))
}

// A recorder keeps what is answered. It is owned by one request.
type recorder struct {
	http.ResponseWriter
	body bytes.Buffer
}

// Write keeps and sends.
func (r *recorder) Write(p []byte) (int, error) {
	r.body.Write(p)
	return r.ResponseWriter.Write(p)
}

// Unwrap lets [http.ResponseController] find what it needs.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
