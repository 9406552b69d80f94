package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"groundcrew/web/view"
)

// render sends a page after it was rendered whole: an error on the way can still become a 500.
func render(c echo.Context, status int, page templ.Component) error {
	var buf bytes.Buffer
	// net/http ends the request's context when its body never comes whole; that is to be said, too.
	if err := page.Render(context.WithoutCancel(c.Request().Context()), &buf); err != nil {
		return err
	}
	return c.Blob(status, "text/html; charset=utf-8", buf.Bytes())
}

const flashCookie = "groundcrew_flash"

// flashCookie is bound to this host where that is possible: another host of the domain must not put words in our mouth.
func (s *Server) flashCookie() string {
	if s.o.Secure {
		return "__Host-" + flashCookie
	}
	return flashCookie
}

// flashTo answers a form that did its work: to the next page, which says so once.
func (s *Server) flashTo(c *request, to, kind, text string) error {
	c.SetCookie(s.cookie(s.flashCookie(), base64.RawURLEncoding.EncodeToString([]byte(kind+"|"+text)), 60))
	return c.Redirect(http.StatusSeeOther, to)
}

// takeFlash returns what the last act did, once.
func (s *Server) takeFlash(c *request) *view.Flash {
	ck, err := c.Cookie(s.flashCookie())
	if err != nil {
		return nil
	}
	c.SetCookie(s.cookie(s.flashCookie(), "", -1))
	raw, err := base64.RawURLEncoding.DecodeString(ck.Value)
	if err != nil {
		return nil
	}
	kind, text, ok := strings.Cut(string(raw), "|")
	if !ok || text == "" {
		return nil
	}
	return &view.Flash{Kind: kind, Text: text}
}

// localPath returns p when it is an address of this server, else "/" (S24).
func localPath(p string) string {
	u, err := url.Parse(p)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(p, "/") ||
		strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t\x00") {
		return "/"
	}
	return p
}

// wanted is the address a person wanted to see: of the page, or of the page whose form was posted.
func wanted(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.URL.RequestURI()
	}
	return localReferer(r)
}

// localReferer is the page of this server the request came from, "/" when that is not known.
func localReferer(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host != r.Host || r.Referer() == "" {
		return "/"
	}
	return localPath(u.RequestURI())
}

// page makes the frame of a page.
func (s *Server) page(c *request, title, nav string, crumbs ...view.Crumb) (view.Page, error) {
	p := view.Page{Title: title, Nav: nav, Crumbs: crumbs, Now: time.Now().UTC(), Version: s.o.Version}
	if c.who.Role == "" {
		return p, nil
	}
	p.User = &view.User{Name: c.who.Name, Role: string(c.who.Role), Initials: view.Initials(c.who.Name)}
	p.Flash = s.takeFlash(c)
	return p, s.fillNeeds(c, &p)
}

// serveContent is [http.ServeContent], but that what it refuses, like a range that is not there, is an error as all others.
func serveContent(c *request, modified time.Time, content io.ReadSeeker) error {
	w := &tellsRefusal{ResponseWriter: c.Response()}
	http.ServeContent(w, c.Request(), "", modified, content)
	if w.status == 0 {
		return nil
	}
	c.Response().Header().Set("Cache-Control", "no-store") // ServeContent takes it away
	c.Response().Header().Del("Content-Disposition")       // a refusal is no file
	return echo.NewHTTPError(w.status)
}

// A tellsRefusal holds an answer that refuses back and remembers its status. It is owned by one request.
type tellsRefusal struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the status of what is not refused.
func (w *tellsRefusal) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.status = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends what is not part of a refusal.
func (w *tellsRefusal) Write(p []byte) (int, error) {
	if w.status != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}
