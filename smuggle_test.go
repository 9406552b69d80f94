package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAmbiguousRequestsAreRefused: what a proxy before us might read in another way than we do is not answered as a request, and
// nothing after it on the connection either (request smuggling); nor is what is too large. Others are served meanwhile.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	host := strings.TrimPrefix(r.url, "http://")
	smuggled := "GET /healthz HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	form := "POST /login HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for name, raw := range map[string]string{
		"two lengths":              form + "Content-Length: 5\r\nContent-Length: 6\r\n\r\naaaaa" + smuggled,
		"a length and an encoding": form + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a list of lengths":        form + "Content-Length: 5, 6\r\n\r\naaaaa" + smuggled,
		"a signed length":          form + "Content-Length: +5\r\n\r\naaaaa" + smuggled,
		"a negative length":        form + "Content-Length: -1\r\n\r\n" + smuggled,
		"a hexadecimal length":     form + "Content-Length: 0x5\r\n\r\naaaaa" + smuggled,
		"a blank before a colon":   form + "Content-Length : 5\r\n\r\naaaaa" + smuggled,
		"an unknown encoding":      form + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"two encodings":            form + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"a chunk of nonsense":      form + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + smuggled,
		"a chunk too large":        form + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + smuggled,
		"a header without a name":  form + ": x\r\n\r\n" + smuggled,
		"NUL in a header":          form + "X-A: a\x00b\r\n\r\n" + smuggled,
		"a folded header":          " x\r\n" + smuggled,
		"no host":                  "GET /login HTTP/1.1\r\n\r\n" + smuggled,
		"two hosts":                "GET /login HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.test\r\n\r\n" + smuggled,
		"another protocol":         "GET /login HTTP/9.9\r\nHost: " + host + "\r\n\r\n" + smuggled,
		"no protocol":              "GET /login\r\nHost: " + host + "\r\n\r\n" + smuggled,
		"a line feed in the path":  "GET /lo\ngin HTTP/1.1\r\nHost: " + host + "\r\n\r\n" + smuggled,
		"ten thousand headers":     "GET /login HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Repeat("X-Many: value\r\n", 10000) + "\r\n" + smuggled,
		"a header of a megabyte":   "GET /login HTTP/1.1\r\nHost: " + host + "\r\nX-Large: " + strings.Repeat("x", 1<<20) + "\r\n\r\n" + smuggled,
		"a query of a megabyte":    "GET /login?next=" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n" + smuggled,
	} {
		if got := rawAnswers(t, host, raw); len(got) > 1 || len(got) == 1 && got[0] < 400 {
			t.Errorf("%s: answered %v", name, got)
		}
		if resp, err := http.Get(r.url + "/healthz"); err != nil || resp.StatusCode != 200 {
			t.Fatalf("after %s: %v %v", name, resp, err)
		} else {
			resp.Body.Close()
		}
	}
	if got := rawAnswers(t, host, strings.Replace(smuggled, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)); len(got) != 1 || got[0] != 200 {
		t.Errorf("a request like any: %v", got)
	}
	long := "GET /runs?q=" + strings.Repeat("a+", 20000) + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
	if got := rawAnswers(t, host, long); len(got) != 1 || got[0] >= 500 {
		t.Errorf("a query of 40 kB: %v", got)
	}
}

// rawAnswers sends bytes and reads the statuses of what comes back, until the server closes or is silent.
func rawAnswers(t *testing.T, host, raw string) (statuses []int) {
	t.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c, raw) }() // the server may close before it is all sent
	in := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		statuses = append(statuses, resp.StatusCode)
	}
}

// pipes hands out one end of each connection in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestNobodyHoldsAConnection: headers or a body that come byte by byte, and a connection on which nothing comes, end in time.
func TestNobodyHoldsAConnection(t *testing.T) {
	for name, c := range map[string]struct {
		begin string
		drip  bool
		most  time.Duration
	}{
		"headers that never end": {"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", true, 15 * time.Second},
		"a body that never ends": {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", true, 65 * time.Second},
		"chunks that never end":  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", true, 65 * time.Second},
		"nothing":                {"", false, 15 * time.Second},
		"nothing after one":      {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, 125 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						w.WriteHeader(http.StatusBadRequest)
						return
					}
					fmt.Fprintln(w, "ok")
				}))
				l := &pipes{make(chan net.Conn), make(chan struct{})}
				go func() { _ = srv.Serve(l) }()
				ours, theirs := net.Pipe()
				l.conns <- theirs
				begin := time.Now()
				go func() { _, _ = io.Copy(io.Discard, ours) }()
				_, err := io.WriteString(ours, c.begin)
				for err == nil && time.Since(begin) < 10*time.Minute {
					time.Sleep(time.Second)
					if c.drip {
						_, err = io.WriteString(ours, "a")
					} else {
						err = gone(ours)
					}
				}
				if took := time.Since(begin); took > c.most {
					t.Errorf("the connection was held for %v", took)
				}
				ours.Close()
				srv.Close()
				synctest.Wait()
			})
		})
	}
}

// gone reports whether the other end of a pipe is closed: nobody reads an empty line there otherwise.
func gone(c net.Conn) error {
	_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Write([]byte{})
	return err
}
