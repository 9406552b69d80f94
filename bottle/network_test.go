package bottle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"
)

// A wire is the way from one server to GitLab. It implements [http.RoundTripper].
type wire struct{ l *life }

type answer struct {
	resp *http.Response
	err  error
}

// RoundTrip lets GitLab do its work even when the one who asked dies meanwhile.
func (c wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := c.l.step(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	got := serve(c.l.w.sim, r)
	select {
	case a := <-got:
		if err := c.l.step(); err != nil {
			return nil, err
		}
		return a.resp, a.err
	case <-c.l.dead:
		return nil, errDead
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// serve lets a handler answer a request in a goroutine of its own.
func serve(h http.Handler, r *http.Request) <-chan answer {
	got := make(chan answer, 1)
	go func() {
		rec := httptest.NewRecorder()
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler { //nolint:errorlint // panics are compared as they are
					panic(p)
				}
				got <- answer{err: io.ErrUnexpectedEOF}
			}
		}()
		h.ServeHTTP(rec, r)
		resp := rec.Result()
		resp.Request = r
		got <- answer{resp: resp}
	}()
	return got
}

// A weather is what happens to deliveries on their way.
type weather struct{ lost, late int } // in a hundred

// A post is the way from GitLab to whichever server runs. It implements [http.RoundTripper].
type post struct{ w *world }

// RoundTrip loses or delays deliveries as the weather is, each by what it holds.
func (p post) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	dice := p.w.dice(body)
	p.w.mu.Lock()
	now := p.w.weather
	p.w.mu.Unlock()
	if dice%100 < uint64(now.lost) {
		p.w.trace("network", "loses a %s", r.Header.Get("X-Gitlab-Event"))
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	if dice/100%100 < uint64(now.late) {
		time.Sleep(time.Duration(dice/10000%240) * time.Second)
	}
	r = r.Clone(context.Background()) // GitLab's patience counts from when the request is sent
	r.Body = io.NopCloser(bytes.NewReader(body))
	return p.w.call(r)
}

// dice is a number that depends on a delivery's content and how often it came.
func (w *world) dice(body []byte) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, w.seed)
	h.Write(body)
	w.mu.Lock()
	w.seen[h.Sum64()]++
	fmt.Fprint(h, w.seen[h.Sum64()])
	w.mu.Unlock()
	x := h.Sum64() * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// call sends a request to the server that runs, over a connection that breaks when it dies.
func (w *world) call(r *http.Request) (*http.Response, error) {
	l := w.alive()
	if l == nil || l.step() != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	r.RemoteAddr, r.RequestURI = "192.0.2.7:4711", r.URL.RequestURI()
	select {
	case a := <-serve(l.web.Handler(), r):
		if l.step() != nil {
			return nil, io.ErrUnexpectedEOF
		}
		if a.err == nil && r.URL.Path == "/webhooks/gitlab" && a.resp.StatusCode < 300 {
			w.accept(a.resp)
		}
		return a.resp, a.err
	case <-l.dead:
		return nil, io.ErrUnexpectedEOF
	}
}

// accept remembers what the server has taken on.
func (w *world) accept(resp *http.Response) {
	raw, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	var said struct{ ID string }
	if json.Unmarshal(raw, &said) == nil && said.ID != "" {
		w.mu.Lock()
		w.accepted[said.ID] = true
		w.mu.Unlock()
	}
}
