package web

import (
	"bytes"
	"encoding/base64"
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
	if err := page.Render(c.Request().Context(), &buf); err != nil {
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
