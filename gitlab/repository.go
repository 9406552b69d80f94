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

// quickly is fetch without asking first what the server can do and which refs it has: speaks is what it said another time.
// It is half the requests. ok is false when the server wants to be asked after all.
func (r *repository) quickly(ctx context.Context, st store, hash plumbing.Hash, known []plumbing.Hash, speaks *capability.List) (ok bool, err error) {
	if speaks == nil {
		return false, nil
	}
	session, err := r.session()
	if err != nil {
		return false, err
	}
	defer session.Close()
	only, err := request(speaks, hash, known)
	if err != nil {
		return false, err
	}
	err = r.receive(ctx, session, st, only)
	_, damaged := errors.AsType[damagedError](err)
	_, local := errors.AsType[localError](err)
	if err == nil || damaged || local || isTransport(err) || ctx.Err() != nil {
		return true, r.failed(err)
	}
	return false, nil
}

// fetch brings hash into st and returns what the server can do. known are commits that st holds
// whole. When the server doesn't give out the commit by its id, the tips of refs are fetched with their history.
func (r *repository) fetch(ctx context.Context, st store, hash plumbing.Hash, refs []string, known []plumbing.Hash) (*capability.List, error) {
	session, err := r.session()
	if err != nil {
		return nil, r.failed(err)
	}
	defer session.Close()
	there, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, r.failed(err)
	}
	return there.Capabilities, r.fetchFrom(ctx, session, there, st, hash, refs, known)
}

func (r *repository) fetchFrom(ctx context.Context, session transport.UploadPackSession, there *packp.AdvRefs, st store, hash plumbing.Hash, refs []string, known []plumbing.Hash) error {
	first, err := request(there.Capabilities, hash, known)
	if err != nil {
		return err
	}
	err = r.receive(ctx, session, st, first)
	if _, refused := errors.AsType[refusedError](err); !refused {
		return r.failed(err)
	}
	tips := tipsOf(there, refs)
	if len(tips) == 0 {
		return notThere(hash)
	}
	again := packp.NewUploadPackRequestFromCapabilities(there.Capabilities)
	again.Wants = tips
	err = r.receive(ctx, session, st, again)
	if err != nil {
		return r.failed(err)
	}
	if st.HasEncodedObject(hash) != nil {
		return notThere(hash)
	}
	return nil
}

func notThere(hash plumbing.Hash) error {
	return &Error{Kind: KindNotFound, Message: fmt.Sprintf("commit %s is not in the repository any more; it was replaced by a forced push, or its branch was deleted", hash)}
}

func (r *repository) session() (transport.UploadPackSession, error) {
	endpoint, err := transport.NewEndpoint(r.url)
	if err != nil {
		return nil, err
	}
	auth := &githttp.BasicAuth{Username: gitUser, Password: r.token.Reveal()}
	return githttp.NewClient(r.client).NewUploadPackSession(endpoint, auth)
}

// request asks for one commit without its history, naming what is there already so that only the rest is sent.
func request(speaks *capability.List, hash plumbing.Hash, known []plumbing.Hash) (*packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequestFromCapabilities(speaks)
	req.Wants = []plumbing.Hash{hash}
	if !speaks.Supports(capability.Shallow) {
		return req, nil
	}
	req.Depth = packp.DepthCommits(1)
	wish := []capability.Capability{capability.Shallow}
	if len(known) > 0 { // without history git finds what is new only when it may send differences to what is known
		wish = append(wish, capability.ThinPack)
	}
	for _, w := range wish {
		if err := req.Capabilities.Set(w); err != nil {
			return nil, err
		}
	}
	for _, k := range known {
		if k != hash {
			req.Haves = append(req.Haves, k)
			req.Shallows = append(req.Shallows, k)
		}
	}
	return req, nil
}

// A refusedError is an answer of git before any object was sent: it doesn't give out what was wanted.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// receive makes the request and stores what comes: a first pack as it is, a thin one object by object, since it counts on
// objects that are there.
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
	thin := req.Capabilities.Supports(capability.ThinPack)
	err = st.write(pack, thin)
	if err == nil || isTransport(err) || ctx.Err() != nil {
		return err
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return localError{fmt.Errorf("the mirror can't be written: %w", path)}
	}
	if thin { // what it counts on is not there
		return damagedError{err}
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
	if damaged, ok := errors.AsType[damagedError](err); ok {
		return damaged
	}
	if unexpected, ok := errors.AsType[*plumbing.UnexpectedError](err); ok {
		err = unexpected.Err
	}
	e := failure(err)
	if resp := r.recorder.refused; resp != nil && e.Kind != KindRedirect {
		body, _ := resp.Body.(keptBody)
		e = refusal(resp, body.text)
	} else if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		e.Kind, e.Message = KindNotFound, "the repository is empty"
	}
	if e.Path == "" {
		if u, parseErr := url.Parse(r.url); parseErr == nil {
			e.Method, e.Path = "GET", u.Path
		}
	}
	e.Message = strings.ReplaceAll(e.Message, r.token.Reveal(), hidden)
	return e
}
