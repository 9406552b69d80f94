package web

import (
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/static"
)

// csp lets a page load from this server only, and nothing inline.
const csp = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// hsts keeps browsers that came once over TLS from being led to plain HTTP, for a year. It says nothing of other hosts of the
// domain, which are not ours to decide about; but browsers take it for every port of this one.
const hsts = "max-age=31536000"

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]+$`) // of at most 64 bytes

// observe names the request and logs its end. Queries are never logged: the set-up link holds a token.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		begin := time.Now()
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if len(id) > 64 || !requestID.MatchString(id) {
			id = s.st.NewID()
		}
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		if err := next(c); err != nil {
			c.Error(err) // writes the answer, so that its status is known here
		}
		path, res := c.Request().URL.Path, c.Response()
		level := slog.LevelInfo
		if strings.HasPrefix(path, static.Prefix) || path == "/healthz" || path == "/readyz" || path == metricsPath {
			level = slog.LevelDebug
		}
		s.log.Log(c.Request().Context(), level, "request", "method", c.Request().Method, "path", path,
			"status", res.Status, "bytes", res.Size, "ms", time.Since(begin).Milliseconds(), "id", id)
		return nil
	}
}

// ownsName reports whether an external URL is https at the port of its own: who has a port beside others shares the name with
// them, and does not decide that they speak TLS.
func ownsName(externalURL string) bool {
	u, err := url.Parse(externalURL)
	return err == nil && u.Scheme == "https" && u.Port() == ""
}

// secure sets the headers that hold for every answer.
func (s *Server) secure(next echo.HandlerFunc) echo.HandlerFunc {
	insist := ownsName(s.o.ExternalURL)
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // static files set their own
		if insist {
			h.Set("Strict-Transport-Security", hsts)
		}
		if len(c.Request().TransferEncoding) > 0 {
			// There may have been a length as well, which a proxy before us went by: what follows on the connection is nobody's
			// request then (RFC 9112, 6.3). It can't be seen here, so every body in chunks is the last of its connection.
			h.Set("Connection", "close")
		}
		return next(c)
	}
}

// sameOrigin refuses what another site makes a browser send. Webhooks and scripts name no origin and pass.
func (s *Server) sameOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.cop.Check(c.Request()); err != nil {
			return runs.Forbiddenf("The request came from another site, so it was refused. Open Groundcrew itself and try again.")
		}
		return next(c)
	}
}
