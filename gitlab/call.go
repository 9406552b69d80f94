//lint:file-ignore SA1019 go-gitlab is frozen and says so; it is the client this product stands on, and stays behind this package.

package gitlab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	gogitlab "github.com/xanzy/go-gitlab"
)

const (
	callTimeout = 30 * time.Second // of one request, when the context has no deadline
	maxAnswer   = 64 << 20         // bytes of one answer; the largest are pages of merge request diffs
	perPage     = 100              // GitLab's maximum
	maxPages    = 500              // GitLab's own limit for offset pages is 50,000 records
)

// noLimit replaces go-gitlab's limiter, which would sleep by the first answer's RateLimit-Limit.
type noLimit struct{}

func (noLimit) Wait(context.Context) error { return nil }

// newAPI sets go-gitlab up so that one call is one request: no retries (it would repeat POSTs), no limiter,
// Bearer instead of PRIVATE-TOKEN (which net/http carries to other hosts).
func newAPI(base *url.URL, token Token, userAgent string, client *http.Client) (*gogitlab.Client, error) {
	api, err := gogitlab.NewOAuthClient(token.Reveal(),
		gogitlab.WithBaseURL(base.String()),
		gogitlab.WithHTTPClient(client),
		gogitlab.WithoutRetries(),
		gogitlab.WithCustomRetryMax(0),
		gogitlab.WithCustomLimiter(noLimit{}))
	if err != nil {
		return nil, invalidf("the API host URL can't be used: %v", err)
	}
	if userAgent != "" {
		api.UserAgent = userAgent
	}
	return api, nil
}

// at joins path segments, each escaped once as a whole: "group/project" becomes group%2Fproject (CONTRACT §0.1).
func at(segments ...any) string {
	escaped := apply(segments, func(s any) string { return gogitlab.PathEscape(fmt.Sprint(s)) })
	return strings.Join(escaped, "/")
}

// get reads one thing.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	_, err := c.call(ctx, http.MethodGet, path, query, nil, out)
	return err
}

// send writes one thing; out may be nil. It is one request and is never repeated.
func (c *Client) send(ctx context.Context, method, path string, body, out any) error {
	_, err := c.call(ctx, method, path, nil, body, out)
	return err
}

// call makes one request. Answers are decoded into small structs of our own rather than into go-gitlab's, which are
// frozen: a field that changes its type in a later GitLab and doesn't concern us must not break a call.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, out any) (*gogitlab.Response, error) {
	if strings.Contains("/"+path+"/", "//") {
		return nil, invalidf("an empty name in the address /%s", path)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	req, err := c.api.NewRequest(method, path, body, []gogitlab.RequestOptionFunc{gogitlab.WithContext(ctx)})
	if err != nil {
		return nil, invalidf("the request %s /%s can't be made: %v", method, path, err)
	}
	req.URL.RawQuery = query.Encode()
	resp, err := c.api.Do(req, out)
	if err == nil {
		return resp, nil
	}
	return nil, c.translate(err, resp, req.Request)
}

// translate makes an [Error] of what go-gitlab returns; it hides the text of a 404, so the kept body is read instead.
func (c *Client) translate(err error, resp *gogitlab.Response, req *http.Request) error {
	var e *Error
	switch _, cutOff := errors.AsType[readError](err); {
	case resp == nil || cutOff:
		e = failure(err)
	case resp.StatusCode >= 300:
		body, _ := resp.Body.(keptBody)
		e = refusal(resp.Response, body.text)
	default:
		e = &Error{Kind: KindNotGitLab, Status: resp.StatusCode, Message: flatten("no JSON of the expected form: " + err.Error()), cause: err}
	}
	e.Method, e.Path = req.Method, req.URL.Path
	e.Message = strings.ReplaceAll(e.Message, c.token.Reveal(), hidden)
	return e
}

// list reads pages of a list until limit elements (0: all). complete is false when there would have been more.
func list[T any](ctx context.Context, c *Client, path string, query url.Values, limit int) (all []T, complete bool, err error) {
	q := url.Values{}
	maps.Copy(q, query)
	size := perPage
	if limit > 0 {
		size = min(limit, perPage)
	}
	q.Set("per_page", strconv.Itoa(size))
	for page := 1; page != 0; {
		if page > maxPages {
			return all, false, nil
		}
		q.Set("page", strconv.Itoa(page))
		var items []T
		resp, err := c.call(ctx, http.MethodGet, path, q, nil, &items)
		if err != nil {
			return nil, false, err
		}
		all = append(all, items...)
		next := nextPage(resp, page)
		if limit > 0 && len(all) >= limit {
			return all[:limit], len(all) == limit && next == 0, nil
		}
		page = next
	}
	return all, true, nil
}

// nextPage returns the number of the next page, 0 when there is none. Only the number is taken from the Link header,
// never its address: that could lead to another host.
func nextPage(resp *gogitlab.Response, page int) int {
	next := resp.NextPage
	if link, err := url.Parse(resp.NextLink); next == 0 && err == nil {
		next, _ = strconv.Atoi(link.Query().Get("page"))
	}
	if next <= page {
		return 0
	}
	return next
}
