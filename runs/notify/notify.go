// Package notify says one message over one channel and what came of it: by e-mail, as a signed webhook, or as a chat
// message. It knows no run and keeps nothing; when to try again is its caller's business.
//
// Webhooks are signed as Standard Webhooks are: webhook-id, webhook-timestamp and webhook-signature, which is "v1," and
// the base64 of HMAC-SHA256 over "id.timestamp.body" with the secret's bytes (its text after whsec_, from base64).
package notify

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"groundcrew/runs"
)

// How long one attempt may take, dialling included.
const (
	WebhookTime = 10 * time.Second
	MailTime    = 30 * time.Second
)

// A Message is what is said. Fields are shown as a list, in order.
type Message struct {
	ID      string // the same at every attempt
	Topic   string // for programs, like run.waiting
	At      time.Time
	Title   string
	Text    string
	Fields  []Field
	Mend    string // what to do
	URL     string // where to look
	LinkFor string // what the link is, like "Review the plan"
	Tone    string // good, warn, bad or info
	Data    any    // for programs, as JSON
}

// A Field is one fact of a message.
type Field struct{ Name, Value string }

// A Target is where a message goes. Kinds are those of package store.
type Target struct {
	Kind       string
	URL        runs.Secret // of webhooks and chats
	Signing    runs.Secret // of webhooks
	CA         string      // PEM, added to the system's certificates
	AllowLocal bool        // the receiver may be on this machine
	Mail       Mail
}

// Mail says how e-mail is sent.
type Mail struct {
	Host, Security, Username string
	Port                     int
	Password                 runs.Secret
	From                     string
	To                       []string
}

// An Error is a message that did not arrive.
type Error struct {
	Words      string        // for people, with the peer's own; names no secret
	RetryAfter time.Duration // what the peer asks to wait, 0 when it does not
	Gone       bool          // the peer says that it will never take anything again
	Peer       bool          // the trouble is the peer's or the way to it, not this message's: others would fail too
	cause      error
}

// Error implements error.
func (e *Error) Error() string { return e.Words }

// Unwrap returns what was behind it, for the log.
func (e *Error) Unwrap() error { return e.cause }

// A Sender sends messages. It is safe for concurrent use; nothing of it changes after it is made.
type Sender struct {
	Transport http.RoundTripper // nil: our own; simulations hand one in
	Agent     string            // of webhooks: Groundcrew/1.2.3
	Now       func() time.Time  // of signatures
}

// errNear is an address that is refused unless the channel allows it: what listens on this machine often trusts whoever
// is on it. errLinkLocal is refused always: there live the metadata services of clouds.
var (
	errNear      = errors.New("it is on this machine, and the channel does not allow that. Switch on “The receiver is on this machine” if it is meant")
	errLinkLocal = errors.New("link-local addresses (169.254.0.0/16, fe80::/10) and metadata services are never called")
)

// Metadata services that are not at a link-local address, and the prefix through which one can be reached all the same (NAT64).
var (
	metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254")}
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
)

// dialer looks at the address that is really dialled, after the name was resolved.
func dialer(allowLocal bool) *net.Dialer {
	return &net.Dialer{Timeout: WebhookTime, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		ip := at.Addr().WithZone("").Unmap()
		if nat64.Contains(ip) {
			b := ip.As16()
			ip = netip.AddrFrom4([4]byte(b[12:]))
		}
		switch {
		case slices.Contains(metadata, ip), ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast():
			return errLinkLocal
		case !allowLocal && (ip.IsLoopback() || ip.IsUnspecified()):
			return errNear
		default:
			return nil
		}
	}}
}

// Certificates returns the system's certificates with the given PEM text added, nil for the system's alone.
func Certificates(pem string) (*x509.CertPool, error) {
	if strings.TrimSpace(pem) == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // no system pool on this machine: the given ones alone decide
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, runs.Invalidf("ca_pem", "The CA certificate can't be read. Paste the whole PEM file, with its BEGIN CERTIFICATE lines.")
	}
	return pool, nil
}

func tlsConfig(t Target, name string) (*tls.Config, error) {
	pool, err := Certificates(t.CA)
	return &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}, err
}

// unreachable makes an Error of trouble on the way to host. Errors of net/http begin with the whole address, which is a
// secret, so only what is inside is told.
func unreachable(host string, err error) *Error {
	for _, own := range []error{errNear, errLinkLocal} {
		if errors.Is(err, own) {
			return &Error{Words: fmt.Sprintf("%s was not called: %s.", host, strings.TrimSuffix(own.Error(), ".")), Peer: true, cause: own}
		}
	}
	var op *net.OpError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	words := "the connection broke off"
	switch {
	case errors.As(err, &cert):
		words = "its certificate is not trusted (" + cert.Err.Error() + "). Give the CA certificate that signed it"
	case errors.As(err, &dns):
		words = "its name is not known"
	case timedOut(err):
		words = "it did not answer in time"
	case errors.As(err, &op):
		words = op.Err.Error()
	}
	return &Error{Words: fmt.Sprintf("%s could not be reached: %s.", host, words), Peer: true, cause: errors.New(words)}
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
