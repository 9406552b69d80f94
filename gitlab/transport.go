package gitlab

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxErrorBody  = 64 << 10 // bytes of an error answer that are read
	maxRedirects  = 5
	dialTimeout   = 10 * time.Second
	headerTimeout = time.Minute // for git, whose first byte may take long; API calls end sooner by their context
)

// newTransport is the way out when Options brings none: proxy from the environment, no link-local addresses,
// and the system's certificates together with the given ones.
func newTransport(pool *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: refuseLinkLocal}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}
}

// CheckCertificates says why certificates in PEM form cannot be used, nil when they can or there are none.
func CheckCertificates(bundle []byte) error {
	_, err := certificates(bundle)
	return err
}

// certificates returns the system pool with the given PEM bundle added.
func certificates(bundle []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil { // no system pool on this machine: the bundle alone decides
		pool = x509.NewCertPool()
	}
	rest := bytes.TrimSpace(bundle)
	for len(rest) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, invalidf("the CA certificate is not in PEM form; it has to consist of blocks that begin with -----BEGIN CERTIFICATE-----")
		}
		if block.Type != "CERTIFICATE" {
			return nil, invalidf("the CA certificate holds a block %q; only CERTIFICATE blocks belong there", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, invalidf("the CA certificate can't be read (%v); paste the whole file again", err)
		}
		pool.AddCert(cert)
		rest = bytes.TrimSpace(rest)
	}
	return pool, nil
}

// errLinkLocal is refused always: there live the metadata services of clouds, which hand out credentials.
var errLinkLocal = errors.New("link-local addresses (169.254.0.0/16, fe80::/10) and metadata services are never called")

// Metadata services that are not at a link-local address, and the prefix through which one can be reached all the same (NAT64).
var (
	metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254")}
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
)

// refuseLinkLocal looks at the address that is really dialled, after the name was resolved.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if linkLocal(host) {
		return errLinkLocal
	}
	return nil
}

func linkLocal(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.WithZone("").Unmap()
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	return slices.Contains(metadata, addr) || addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast()
}

// A guard lets requests through to one origin only and bounds what comes back, so that neither a library nor a
// redirect can carry the token elsewhere and no answer can fill the memory.
type guard struct {
	next   http.RoundTripper
	origin *url.URL
	limit  int64 // bytes of a success; error answers are cut at maxErrorBody
	limits func(Limits)

	exchanged func(Exchange)
}

// An Exchange is one request and how it was answered.
type Exchange struct {
	Method string
	Status int           // of HTTP, 0 when no answer came
	Took   time.Duration // until the answer's headers were here
	Limits *Limits       // nil: the answer says nothing of rate limits
}

// RoundTrip implements [http.RoundTripper]. The body of an answer that is no success is read at once and kept.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if !sameOrigin(r.URL, g.origin) {
		return nil, &redirectError{method: r.Method, to: r.URL}
	}
	begin := time.Now()
	resp, err := g.next.RoundTrip(r)
	x := Exchange{Method: r.Method, Took: time.Since(begin)}
	if err != nil {
		g.tell(x)
		return nil, err
	}
	x.Status = resp.StatusCode
	if l, ok := limitsOf(resp, time.Now()); ok {
		x.Limits = &l
		if g.limits != nil {
			g.limits(l)
		}
	}
	g.tell(x)
	if resp.StatusCode >= 300 {
		resp.Body = keep(resp.Body)
		return resp, nil
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: g.limit, limit: g.limit}
	return resp, nil
}

func (g guard) tell(x Exchange) {
	if g.exchanged != nil {
		g.exchanged(x)
	}
}

// A keptBody can still be looked at after a library has read or closed it.
type keptBody struct {
	io.Reader
	text []byte
}

func keep(body io.ReadCloser) keptBody {
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody)) // the status is what counts; a cut text is still a text
	_ = body.Close()
	return keptBody{Reader: bytes.NewReader(text), text: text}
}

func (keptBody) Close() error { return nil }

// A readError is trouble with the connection while an answer is read, as against an answer that makes no sense.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// A boundedBody fails once more than limit bytes have come.
type boundedBody struct {
	io.ReadCloser
	left, limit int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, readError{fmt.Errorf("the answer is larger than %d bytes", b.limit)}
	}
	if err != nil && err != io.EOF {
		err = readError{err}
	}
	return n, err
}

// A redirectError is a redirect that was not followed.
type redirectError struct {
	method string // of the first request
	to     *url.URL
}

func (e *redirectError) Error() string {
	return fmt.Sprintf("%s was redirected to %s://%s%s", e.method, e.to.Scheme, e.to.Host, e.to.EscapedPath())
}

// checkRedirect follows a GET within the same origin and nothing else: net/http would repeat a redirected POST as a GET
// without body and the caller would take the answer for success (GOTCHAS 66).
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || via[0].Method != http.MethodGet || !sameOrigin(r.URL, via[0].URL) {
		return &redirectError{method: via[0].Method, to: r.URL}
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// failure translates an error that is not an answer of GitLab.
func failure(err error) *Error {
	e := &Error{Kind: KindNetwork, cause: err}
	if u, ok := errors.AsType[*url.Error](err); ok {
		e.Method, err = strings.ToUpper(u.Op), u.Err
		if target, parseErr := url.Parse(u.URL); parseErr == nil {
			e.Path = target.Path
		}
	}
	e.Message = flatten(err.Error())
	if _, ok := errors.AsType[*redirectError](err); ok {
		e.Kind = KindRedirect
	} else if errors.Is(err, errLinkLocal) {
		e.Kind = KindInvalid
	} else if isTLS(err) {
		e.Kind = KindTLS
	}
	return e
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "HTTP response to HTTPS client")
}
