package web

import (
	"crypto/sha256"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/metrics"
)

// Options wire a [Server]. Log defaults to nothing.
type Options struct {
	Store   *store.Store
	Engine  *engine.Engine
	Log     *slog.Logger
	Version string
	// ExternalURL is where people and GitLab find this server, without a trailing slash. Where it is https and names no port,
	// browsers are told to come by TLS alone.
	ExternalURL string
	// BootstrapToken is an admin's API key for set-up by scripts. One shorter than [MinBootstrapToken] never fits.
	BootstrapToken runs.Secret
	// Metrics answers /metrics; nil: nothing is there.
	Metrics *metrics.Metrics
	// MetricsToken opens /metrics and nothing else. One shorter than [MinBootstrapToken] never fits.
	MetricsToken runs.Secret
	// Secure marks cookies for https only: set it when ExternalURL is https.
	Secure bool
	// StrictHost refuses browsers that come by another name than that of ExternalURL: set it when somebody chose that.
	StrictHost bool
	// TrustedProxies are the only peers whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Facts are what the page about this server shows beside what can be asked of store and engine.
	Facts Facts
}

// Facts of the running server, for the system page.
type Facts struct {
	Commit    string
	Listen    string
	ToolDirs  []string
	Isolation []string // what this kernel cannot give a run, in words
}

// MinBootstrapToken is the least length of a bootstrap token, in bytes (PRODUCT §10).
const MinBootstrapToken = 32

// A Server answers requests. Event streams live in the goroutines of their requests and end with [Server.Close], as do the
// few goroutines that ask GitLab what people may do.
type Server struct {
	st      *store.Store
	eng     *engine.Engine
	log     *slog.Logger
	o       Options
	started time.Time

	echo      *echo.Echo
	table     []route
	document  map[string]any // OpenAPI
	cop       *http.CrossOriginProtection
	bootstrap [sha256.Size]byte // of the token; zero: there is none
	scraper   [sha256.Size]byte // of the metrics token; zero: there is none
	logins    *loginLimiter
	asked     asked         // of GitLab: what people may do
	flows     *flows        // sign-ins with GitLab on their way
	refusals  *rate.Limiter // of stored refused deliveries
	hashing   chan struct{} // bounds the memory of password checks
	hub       *hub
	turns     chan struct{} // of pages that change by themselves: who has put something in has the turn
	needed    needsCache
	countedTo lineCounter
	onces     sync.Map // idempotency keys at work: a request of a sender is done by one at a time

	closeOnce sync.Once
	done      chan struct{} // closed by Close: event streams end
}

// New makes a server over an open store. It listens to the store's changes, so it must be called before the
// store is used by others.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		st: o.Store, eng: o.Engine, log: o.Log, o: o, started: time.Now(),
		cop:      http.NewCrossOriginProtection(),
		logins:   newLoginLimiter(),
		flows:    newFlows(),
		refusals: rate.NewLimiter(1, 1),
		hashing:  make(chan struct{}, 4),
		hub:      newHub(),
		turns:    make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
	if t := o.BootstrapToken.Reveal(); len(t) >= MinBootstrapToken {
		s.bootstrap = sha256.Sum256([]byte(t))
	}
	if t := o.MetricsToken.Reveal(); len(t) >= MinBootstrapToken {
		s.scraper = sha256.Sum256([]byte(t))
	}
	if u, err := url.Parse(o.ExternalURL); err == nil && u.Host != "" {
		if err := s.cop.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			s.log.Warn("the external URL is no origin for browsers", "error", err)
		}
	}
	o.Store.Listen(s.hub.changed)
	s.table = s.routes()
	s.document = openapi(s.table, o.Version)
	s.echo = s.mount()
	return s
}

// Handler answers every request of the server.
func (s *Server) Handler() http.Handler { return s.echo }

// Close ends the event streams, so that the HTTP server can shut down, and what asks GitLab. Other requests are not affected.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		s.asked.mu.Lock() // no more is begun
		defer s.asked.mu.Unlock()
		close(s.done)
	})
	s.asked.busy.Wait()
}

func (s *Server) mount() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = clientAddress(s.o.TrustedProxies)
	e.HTTPErrorHandler = s.fail
	e.Use(s.observe, s.secure, s.ownName, s.sameOrigin)
	for _, r := range s.table {
		h := s.guard(r)
		e.Add(r.method, r.path, h)
		if r.method == http.MethodGet && !r.stream {
			e.Add(http.MethodHead, r.path, h)
		}
	}
	return e
}

// clientAddress finds who asks: the peer, or behind trusted proxies the last address of X-Forwarded-For that is none of
// them. What anybody else writes into that header is not looked at (S25). How people reach the server (scheme and host) is
// never taken from a header: the external URL says it.
func clientAddress(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		options = append(options, echo.TrustIPRange(&net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}
