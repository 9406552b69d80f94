package gitlab

import (
	"errors"
	"net/http"
)

// Options of a [Client].
type Options struct {
	BaseURL   string // any http or https URL, sub-path installs too; a trailing slash or /api/v4 is tolerated
	Token     Token
	CA        []byte // PEM bundle added to the system pool; TLS is never switched off
	UserAgent string
	Transport http.RoundTripper // nil: our own, with time-outs, CA pool and the proxy from the environment
}

// A Client calls one GitLab with one token. It is safe for concurrent use and holds no state of its own.
type Client struct {
	base string
}

// New makes a client; it calls nobody. The error is for people.
func New(o Options) (*Client, error) { return nil, errors.ErrUnsupported }

// BaseURL returns the address of the GitLab, without a trailing slash and without /api/v4.
func (c *Client) BaseURL() string { return c.base }
