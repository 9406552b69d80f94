package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"groundcrew/static"
)

// A wrongHost is a browser that came by a name that is not this server's.
type wrongHost struct{ name, right string }

func (e wrongHost) Error() string {
	return fmt.Sprintf("You came by the name %s, and this server is %s. Open that address. If %s should work too, let the reverse proxy send people on, or change --external-url.", e.name, e.right, e.name)
}

// ownName refuses browsers that come by a name of somebody else: a page elsewhere can let its own name lead to this server's
// address (DNS rebinding), and would then be of the same origin as we for the browser. What brings a key or a secret is not
// asked, because a foreign page has neither; an address instead of a name cannot be made to lead elsewhere, nor can a name
// without a dot or localhost, which nobody else can own; and for a trusted proxy its own configuration decides.
func (s *Server) ownName(next echo.HandlerFunc) echo.HandlerFunc {
	u, err := url.Parse(s.o.ExternalURL)
	if err != nil || u.Hostname() == "" || !s.o.StrictHost {
		return next
	}
	return func(c echo.Context) error {
		r := c.Request()
		if name := hostname(r.Host); name != strings.ToLower(u.Hostname()) && !nobodyElses(name) && !forMachines(r) && !s.byProxy(r) {
			s.log.Warn("a browser came by another name than --external-url", "host", cut(r.Host, 200), "address", c.RealIP())
			return wrongHost{cut(name, 200), s.o.ExternalURL}
		}
		return next(c)
	}
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

func nobodyElses(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost")
}

// forMachines reports whether a request brings a key or goes where one, a secret or nothing at all is asked, as for the style
// of the page that says so.
func forMachines(r *http.Request) bool {
	p := r.URL.Path
	return r.Header.Get("Authorization") != "" || p == "/healthz" || p == "/readyz" || p == "/.well-known/terraform.json" ||
		slices.ContainsFunc([]string{static.Prefix, "/webhooks/", "/registry/", "/git/"}, func(dir string) bool { return strings.HasPrefix(p, dir) })
}

// byProxy reports whether the peer is one of the proxies that somebody named.
func (s *Server) byProxy(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && slices.ContainsFunc(s.o.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) })
}
