package gitlab

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// The requests of git when somebody reads a repository (gitprotocol-http).
const (
	uploadPack       = "git-upload-pack"
	maxPackRequest   = 32 << 20 // bytes of one request: what git wants and has
	maxPackAnswer    = 4 << 30
	packRequestType  = "application/x-git-upload-pack-request"
	advertisedRefs   = "/info/refs"
	advertisedFor    = "service"
	protocolVersion  = "Git-Protocol"
	contentEncodings = "Content-Encoding"
)

// RefsOf asks, for somebody else's git, which refs a repository has, for reading it. path is the project's full path; protocol is that git's
// Git-Protocol header. The caller closes the answer's body. Refusals are [Error]s.
func (c *Client) RefsOf(ctx context.Context, path, protocol string) (*http.Response, error) {
	return c.git(ctx, http.MethodGet, path, advertisedRefs+"?"+url.Values{advertisedFor: {uploadPack}}.Encode(), http.Header{protocolVersion: {protocol}}, http.NoBody)
}

// PackOf hands on what somebody else's git wants of a repository, and what it gets. encoding is the body's Content-Encoding.
func (c *Client) PackOf(ctx context.Context, path, protocol, encoding string, body io.Reader) (*http.Response, error) {
	h := http.Header{protocolVersion: {protocol}, "Content-Type": {packRequestType}}
	if encoding == "gzip" {
		h.Set(contentEncodings, encoding)
	}
	return c.git(ctx, http.MethodPost, path, "/"+uploadPack, h, io.LimitReader(body, maxPackRequest))
}

func (c *Client) git(ctx context.Context, method, path, what string, h http.Header, body io.Reader) (*http.Response, error) {
	repo, err := c.repository(path, maxPackAnswer)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, repo.url+what, body)
	if err != nil {
		return nil, invalidf("the request can't be made: %v", err)
	}
	for name, values := range h {
		if values[0] != "" {
			req.Header[name] = values
		}
	}
	req.SetBasicAuth(gitUser, c.token.Reveal())
	resp, err := c.httpClient(maxPackAnswer).Do(req)
	if err != nil {
		e := failure(err)
		e.Method, e.Path = method, req.URL.Path
		return nil, e
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		kept, _ := resp.Body.(keptBody)
		e := refusal(resp, kept.text)
		e.Method, e.Path = method, req.URL.Path
		return nil, e
	}
	return resp, nil
}
