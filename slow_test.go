package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSlowAndLargeRequestsEnd: a client that never finishes its headers is cut off, one that sends too much is refused, and
// others are served meanwhile.
func TestSlowAndLargeRequestsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(r.url+"/login", "application/x-www-form-urlencoded", strings.NewReader("username="+strings.Repeat("x", 2<<20)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("two megabytes of form: status %d", resp.StatusCode)
	}
	if err := c.SetReadDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("unfinished headers keep a connection for longer than 40 seconds")
	}
}
