package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/labstack/echo/v4"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// A problem is an error as scripts see it (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Field     string `json:"field,omitempty"` // the JSON field at fault
	RequestID string `json:"request_id"`
}

// errUnauthorized is answered to a request that needs somebody and names nobody.
var errUnauthorized = errors.New("unauthorized")

// errRefusedKey is answered to a key that opens nothing. It does not tell which keys there are or were.
var errRefusedKey = &runs.Error{Kind: errUnauthorized, Message: "The API key is not accepted: it is wrong, has expired or was ended, or the account of who made it is disabled. Send a valid one as “Authorization: Bearer …”; keys are made under Settings › API keys."}

// statusOf maps every error to its HTTP status. It is the only place that does.
func statusOf(err error) int {
	var he *echo.HTTPError
	var big *http.MaxBytesError
	switch {
	case errors.Is(err, errUnauthorized):
		return http.StatusUnauthorized
	case isA[wrongHost](err):
		return http.StatusMisdirectedRequest
	case errors.Is(err, runs.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, runs.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, runs.ErrInvalid):
		return http.StatusUnprocessableEntity
	case errors.Is(err, runs.ErrForbidden):
		return http.StatusForbidden
	case errors.As(err, &big):
		return http.StatusRequestEntityTooLarge
	case errors.As(err, &he):
		return he.Code
	case gitlab.KindOf(err) != "":
		return http.StatusBadGateway
	case errors.Is(err, os.ErrDeadlineExceeded): // GitLab's aside, only bodies of requests have one
		return http.StatusRequestTimeout
	case store.Full(err):
		return http.StatusInsufficientStorage
	default:
		return http.StatusInternalServerError
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// messageOf is what may be shown of an error: the text of our own four kinds and of a refusal by GitLab, and
// for anything else a sentence that says nothing of the inside.
func messageOf(err error, status int) string {
	var own *runs.Error
	var refused *gitlab.Error
	switch {
	case errors.As(err, &own):
		return own.Message
	case errors.As(err, &refused):
		return refused.Error()
	case isA[wrongHost](err):
		return err.Error()
	}
	switch status {
	case http.StatusUnauthorized:
		return "Sign in, or send a valid API key as “Authorization: Bearer …”."
	case http.StatusNotFound:
		return "There is nothing at this address."
	case http.StatusMethodNotAllowed:
		return "This address does not take that method."
	case http.StatusRequestEntityTooLarge:
		return "The request is too large."
	case http.StatusRequestedRangeNotSatisfiable:
		return "The range that was asked for is not there. The header Content-Range says how many bytes there are."
	case http.StatusPreconditionFailed:
		return "What is here is not what the request's condition (If-Match or If-Unmodified-Since) asks for, so nothing was sent. Ask again without the condition."
	case http.StatusRequestTimeout:
		return "The request did not arrive in time, so nothing was done. Try again."
	case http.StatusInsufficientStorage:
		return "Nothing was stored, because the disk of this server's data folder is full. Whoever runs the server makes room on it; then try again."
	case http.StatusInternalServerError:
		return "Something failed inside Groundcrew. The server's log says what, under the request's id."
	default:
		return "The request could not be understood."
	}
}

// fail answers a request with its error: a page for people, a problem document for scripts.
func (s *Server) fail(err error, c echo.Context) {
	status := statusOf(err)
	if status == http.StatusInternalServerError || status == http.StatusInsufficientStorage {
		s.log.Error("request failed", "method", c.Request().Method, "path", c.Request().URL.Path,
			"id", c.Response().Header().Get(echo.HeaderXRequestID), "error", err)
	}
	if c.Response().Committed {
		return // part of the answer is out: nothing can be mended
	}
	var werr error
	if forScripts(c.Request()) {
		werr = s.failScript(c, status, err)
	} else {
		werr = s.failPage(c, status, err)
	}
	if werr != nil {
		s.log.Warn("the answer to a failed request could not be written", "error", werr)
	}
}

func forScripts(r *http.Request) bool {
	p := r.URL.Path
	return strings.HasPrefix(p, "/api/") || p == metricsPath || p == backupPath || strings.HasPrefix(p, "/webhooks/") || strings.HasPrefix(p, "/ui/") || strings.HasPrefix(p, "/registry/") || strings.HasPrefix(p, "/git/") ||
		strings.Contains(r.Header.Get("Accept"), "application/json") || wantsEvents(r)
}

func (s *Server) failScript(c echo.Context, status int, err error) error {
	p := problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: messageOf(err, status),
		RequestID: c.Response().Header().Get(echo.HeaderXRequestID),
	}
	var own *runs.Error
	if errors.As(err, &own) {
		p.Field = own.Field
	}
	if status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="groundcrew"`)
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	return c.JSON(status, p)
}

func (s *Server) failPage(c echo.Context, status int, err error) error {
	if status == http.StatusUnauthorized {
		return c.Redirect(http.StatusSeeOther, "/login?next="+url.QueryEscape(wanted(c.Request())))
	}
	m := view.ErrorModel{Status: status, What: whatOf(status), Why: messageOf(err, status), Back: localReferer(c.Request())}
	if status == http.StatusInternalServerError {
		m.Do = "Tell an admin the request's id: " + c.Response().Header().Get(echo.HeaderXRequestID)
	}
	who, _ := c.Get(whoKey).(actor)
	p, perr := s.page(&request{Context: c, who: who}, m.What, "")
	if perr != nil { // the store cannot be read: a page without its frame is better than none
		s.log.Error("the frame of an error page failed", "error", perr)
	}
	return render(c, status, view.ErrorPage(p, m))
}

func whatOf(status int) string {
	return cmp.Or(map[int]string{
		http.StatusForbidden:             "Not allowed",
		http.StatusNotFound:              "Not found",
		http.StatusConflict:              "That is not possible now",
		http.StatusUnprocessableEntity:   "Something is not right with that",
		http.StatusRequestEntityTooLarge: "Too large",
		http.StatusRequestTimeout:        "Too slow",
		http.StatusMisdirectedRequest:    "This server has another name",
		http.StatusBadGateway:            "GitLab did not do that",
		http.StatusInternalServerError:   "Something failed",
		http.StatusInsufficientStorage:   "The disk is full",
	}[status], http.StatusText(status))
}
