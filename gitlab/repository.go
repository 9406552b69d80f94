package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// gitUser goes with any kind of access token.
const gitUser = "oauth2"

// A repository is the remote side of a mirror: git over HTTP at the address the API is called at, not at the one GitLab
// believes to have (GOTCHAS 76).
type repository struct {
	url      string
	token    Token
	client   *http.Client
	recorder *recorder
}

// repository prepares git access to a project; nobody is called.
func (c *Client) repository(path string, limit int64) (*repository, error) {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if p == "" || p == "." || p == ".." || len(parts) < 2 {
			return nil, invalidf("%q is no full path of a project", flatten(path))
		}
		parts[i] = url.PathEscape(p)
	}
	client := c.httpClient(limit)
	rec := &recorder{next: client.Transport}
	client.Transport = rec
	return &repository{
		url:   c.BaseURL() + "/" + strings.Join(parts, "/") + ".git",
		token: c.token, client: client, recorder: rec,
	}, nil
}

// A recorder remembers the last refusal: go-git turns answers into errors that have lost status and text.
// It belongs to one fetch, whose requests come one after another.
type recorder struct {
	next    http.RoundTripper
	refused *http.Response
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	r.refused = nil
	if err == nil && resp.StatusCode >= 300 {
		r.refused = resp
	}
	return resp, err
}

// fetch brings hash into st. known are commits that st holds whole. When the server doesn't give out the commit by its
// id, the tips of refs are fetched with their history.
func (r *repository) fetch(ctx context.Context, st store, hash plumbing.Hash, refs []string, known []plumbing.Hash) error {
	session, refsThere, err := r.connect(ctx)
	if err != nil {
		return r.failed(err)
	}
	defer session.Close()
	err = r.receive(ctx, session, st, request(refsThere, hash, known))
	if err == nil || !refused(err) {
		return r.failed(err)
	}
	tips := tipsOf(refsThere, refs)
	if len(tips) == 0 {
		return notThere(hash)
	}
	again := packp.NewUploadPackRequestFromCapabilities(refsThere.Capabilities)
	again.Wants = tips
	if err := r.receive(ctx, session, st, again); err != nil {
		return r.failed(err)
	}
	st.Reindex()
	if st.HasEncodedObject(hash) != nil {
		return notThere(hash)
	}
	return nil
}

func notThere(hash plumbing.Hash) error {
	return &Error{Kind: KindNotFound, Message: fmt.Sprintf("commit %s is not in the repository any more; it was replaced by a forced push, or its branch was deleted", hash)}
}

func (r *repository) connect(ctx context.Context) (transport.UploadPackSession, *packp.AdvRefs, error) {
	endpoint, err := transport.NewEndpoint(r.url)
	if err != nil {
		return nil, nil, err
	}
	auth := &githttp.BasicAuth{Username: gitUser, Password: r.token.Reveal()}
	session, err := githttp.NewClient(r.client).NewUploadPackSession(endpoint, auth)
	if err != nil {
		return nil, nil, err
	}
	refs, err := session.AdvertisedReferencesContext(ctx)
	return session, refs, err
}

// request asks for one commit without its history, naming what is there already so that only the rest is sent.
func request(there *packp.AdvRefs, hash plumbing.Hash, known []plumbing.Hash) *packp.UploadPackRequest {
	req := packp.NewUploadPackRequestFromCapabilities(there.Capabilities)
	req.Wants = []plumbing.Hash{hash}
	if !there.Capabilities.Supports(capability.Shallow) {
		return req
	}
	_ = req.Capabilities.Set(capability.Shallow) // fails only for capabilities that take an argument
	req.Depth = packp.DepthCommits(1)
	for _, k := range known {
		if k != hash {
			req.Haves = append(req.Haves, k)
			req.Shallows = append(req.Shallows, k)
		}
	}
	return req
}

// A refusedError is an answer of git before any object was sent: it doesn't give out what was wanted.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

func refused(err error) bool {
	_, ok := errors.AsType[refusedError](err)
	return ok
}

func (r *repository) receive(ctx context.Context, session transport.UploadPackSession, st store, req *packp.UploadPackRequest) error {
	answer, err := session.UploadPack(ctx, req)
	if err != nil && r.recorder.refused == nil && ctx.Err() == nil && !isTransport(err) {
		return refusedError{err}
	}
	if err != nil {
		return err
	}
	defer answer.Close()
	var pack io.Reader = answer
	if req.Capabilities.Supports(capability.Sideband64k) {
		pack = sideband.NewDemuxer(sideband.Sideband64k, answer)
	}
	err = packfile.UpdateObjectStorage(st.Storage, pack)
	if path, ok := errors.AsType[*fs.PathError](err); ok && !isTransport(err) {
		return localError{fmt.Errorf("the mirror can't be written: %w", path)}
	}
	return err
}

// A localError is trouble with our own disk, which is not GitLab's fault.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// isTransport reports whether the connection is at fault rather than git's answer.
func isTransport(err error) bool {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return true
	}
	if unexpected, ok := errors.AsType[*plumbing.UnexpectedError](err); ok {
		_, ok = errors.AsType[*url.Error](unexpected.Err)
		return ok
	}
	_, ok := errors.AsType[readError](err)
	return ok
}

func tipsOf(there *packp.AdvRefs, refs []string) []plumbing.Hash {
	var tips []plumbing.Hash
	for _, ref := range refs {
		if tip, ok := there.References[ref]; ok {
			tips = append(tips, tip)
		}
	}
	return tips
}

// failed translates an error of go-git.
func (r *repository) failed(err error) error {
	if err == nil {
		return nil
	}
	if local, ok := errors.AsType[localError](err); ok {
		return local
	}
	var e *Error
	if resp := r.recorder.refused; resp != nil {
		body, _ := resp.Body.(keptBody)
		e = refusal(resp, body.text)
	} else if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		e = &Error{Kind: KindNotFound, Message: "the repository is empty"}
	} else if unexpected, ok := errors.AsType[*plumbing.UnexpectedError](err); ok {
		e = failure(unexpected.Err)
	} else {
		e = failure(err)
	}
	if e.Path == "" {
		if u, parseErr := url.Parse(r.url); parseErr == nil {
			e.Method, e.Path = "GET", u.Path
		}
	}
	e.Message = strings.ReplaceAll(e.Message, r.token.Reveal(), hidden)
	return e
}
