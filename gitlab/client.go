//lint:file-ignore SA1019 go-gitlab is frozen and says so; it is the client this product stands on, and stays behind this package.

package gitlab

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	gogitlab "github.com/xanzy/go-gitlab"
)

// Options of a [Client].
type Options struct {
	BaseURL   string // any http or https URL, sub-path installs too; a trailing slash or /api/v4 is tolerated
	Token     Token
	CA        []byte // PEM bundle added to the system pool; TLS is never switched off
	UserAgent string
	Transport http.RoundTripper // nil: our own, with time-outs, CA pool and the proxy from the environment
	Limits    func(Limits)      // optional: told of each answer that speaks of a rate limit; from many goroutines
	Exchanged func(Exchange)    // optional: told of each request after its end; from many goroutines
}

// A Client calls one GitLab with one token. It is safe for concurrent use; nothing of it changes after New.
type Client struct {
	base      *url.URL // scheme, host and the path of the install
	token     Token
	transport http.RoundTripper
	limits    func(Limits)
	exchanged func(Exchange)
	api       *gogitlab.Client
}

// New makes a client; it calls nobody. Errors are of KindInvalid and for people: a wrong URL, CA bundle or token form.
// Loopback and private addresses are allowed, link-local ones never.
func New(o Options) (*Client, error) {
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, err
	}
	if err := checkToken(o.Token); err != nil {
		return nil, err
	}
	pool, err := certificates(o.CA)
	if err != nil {
		return nil, err
	}
	c := &Client{base: base, token: o.Token, transport: o.Transport, limits: o.Limits, exchanged: o.Exchanged}
	if c.transport == nil {
		c.transport = newTransport(pool)
	}
	c.api, err = newAPI(c.base, o.Token, o.UserAgent, c.httpClient(maxAnswer))
	return c, err
}

// BaseURL returns the address of the GitLab, without a trailing slash and without /api/v4.
func (c *Client) BaseURL() string { return c.base.String() }

// httpClient talks to this GitLab and to nobody else.
func (c *Client) httpClient(limit int64) *http.Client {
	return &http.Client{Transport: guard{next: c.transport, origin: c.base, limit: limit, limits: c.limits, exchanged: c.exchanged}, CheckRedirect: checkRedirect}
}

func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return nil, invalidf("the API host URL can't be read; write it like https://gitlab.example.com")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, invalidf("the API host URL has to begin with http:// or https://, like https://gitlab.example.com")
	case u.Hostname() == "":
		return nil, invalidf("the API host URL has no host; write it like https://gitlab.example.com")
	case u.User != nil:
		return nil, invalidf("the API host URL holds a user name or password; leave them out, the token has its own field")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, invalidf("the API host URL holds a query or fragment (? or #); leave it out")
	case linkLocal(u.Hostname()):
		return nil, invalidf("the API host URL can't be %s: %v", u.Hostname(), errLinkLocal)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/api/v4"), "/")
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).Parse(path)
}

func checkToken(t Token) error {
	if t == "" {
		return invalidf("the token is empty")
	}
	if strings.ContainsFunc(t.Reveal(), func(r rune) bool { return r > unicode.MaxASCII || r <= ' ' || r == 0x7f }) {
		return invalidf("the token holds a space, a line break or a letter that can't be in a token; paste it again")
	}
	return nil
}
