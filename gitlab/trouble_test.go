package gitlab

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestErrorKinds(t *testing.T) {
	for name, want := range map[string]struct {
		kind  Kind
		words string
	}{
		"error_400_missing_param":            {KindInvalid, "is missing"},
		"error_401_expired":                  {KindExpired, "Token is expired"},
		"error_401_revoked":                  {KindRevoked, "Token was revoked"},
		"error_401_no_or_bad_token":          {KindUnauthorized, "401 Unauthorized"},
		"error_403_forbidden":                {KindForbidden, "403 Forbidden"},
		"error_403_ip_or_admin_mode":         {KindForbidden, ""},
		"error_403_insufficient_scope":       {KindScope, "higher privileges"},
		"error_404_project":                  {KindNotFound, "404 Project Not Found"},
		"error_404_route":                    {KindNotFound, "404 Not Found"},
		"error_404_branch":                   {KindNotFound, "Branch"},
		"error_404_resource":                 {KindNotFound, ""},
		"error_405":                          {KindInvalid, "405"},
		"error_429_throttle":                 {KindRateLimited, "Retry later"},
		"archive_rate_limited":               {KindRateLimited, "too many times"},
		"error_502_booting":                  {KindServer, "not responding"},
		"error_503_maintenance":              {KindServer, "read-only instance"},
		"commit_status_same_pending":         {KindTransition, "Cannot transition status via :enqueue from :pending"},
		"commit_status_same_running":         {KindTransition, ""},
		"commit_status_running_to_pending":   {KindTransition, ""},
		"commit_status_running_to_skipped":   {KindTransition, ""},
		"deployment_update_same_status":      {KindTransition, `status cannot transition via "succeed"`},
		"commit_status_conflict":             {KindConflict, "Another update"},
		"terraform_state_lock_conflict":      {KindConflict, ""},
		"commit_status_long_description":     {KindInvalid, "description is too long (maximum is 255 characters)"},
		"commit_status_bad_state":            {KindInvalid, "state does not have a valid value"},
		"commit_status_name_of_ci_job":       {KindInvalid, "name has already been taken"},
		"commit_status_no_branch_has_commit": {KindNotFound, "References for commit"},
		"commit_status_reporter":             {KindForbidden, ""},
		"environment_bad_name":               {KindInvalid, "can contain only letters"},
		"hook_url_local":                     {KindInvalid, "Invalid url given"},
		"hook_test_no_data":                  {KindInvalid, "Ensure the project has merge requests"},
		"hook_forbidden":                     {KindForbidden, ""},
		"note_empty":                         {KindInvalid, "can't be blank"},
		"note_only_quick_actions":            {KindInvalid, "only quick actions"},
		"project_moved_write":                {KindInvalid, "Non GET methods"},
		"deployment_bad_ref":                 {KindInvalid, "branch or tag does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := answers(t, name)
			_, err := c.CreateNote(t.Context(), 42, 12, "hi")
			if KindOf(err) != want.kind || !strings.Contains(err.Error(), want.words) {
				t.Errorf("%q: %v", KindOf(err), err)
			}
			if n := len(f.requests()); n != 1 {
				t.Errorf("the POST was sent %d times", n)
			}
		})
	}
}

func TestErrorFields(t *testing.T) {
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"message":{"base":["a\n%s"],"name":["is bad",["x"]],"n":5}}`, strings.Repeat("é", 600)+testToken)
	})
	err := c.DeleteHook(t.Context(), 42, 7)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != 400 || e.Method != "DELETE" || e.Path != "/scm/api/v4/projects/42/hooks/7" || len([]rune(e.Message)) > maxMessage || strings.Contains(e.Message, "\n") {
		t.Errorf("%+v", e)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "your token "+testToken+" is funny")
	})
	if err := c.DeleteHook(t.Context(), 42, 7); strings.Contains(err.Error(), testToken) || !strings.Contains(err.Error(), hidden) {
		t.Errorf("the token is in %v", err)
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(502)
		fmt.Fprint(w, "<!DOCTYPE html><html><h1>Whoops")
	})
	if err := c.DeleteHook(t.Context(), 42, 7); KindOf(err) != KindServer || strings.Contains(err.Error(), "<") {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	date := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status  int
		headers map[string]string
		want    time.Duration
	}{
		"none":           {429, nil, 0},
		"seconds":        {429, map[string]string{"Retry-After": "30", "RateLimit-Reset": "1772528460"}, 30 * time.Second},
		"date":           {503, map[string]string{"Retry-After": date.Add(time.Minute).Format(http.TimeFormat)}, time.Minute},
		"reset":          {429, map[string]string{"RateLimit-Reset": strconv.FormatInt(date.Unix()+90, 10)}, 90 * time.Second},
		"reset of a 403": {403, map[string]string{"RateLimit-Reset": strconv.FormatInt(date.Unix()+90, 10)}, 0},
		"past":           {429, map[string]string{"RateLimit-Reset": "5"}, 0},
		"negative":       {429, map[string]string{"Retry-After": "-5"}, 0},
		"endless":        {429, map[string]string{"Retry-After": "2000000000"}, maxRetryAfter},
		"nonsense":       {429, map[string]string{"Retry-After": "soon"}, 0},
	} {
		_, client := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", date.Format(http.TimeFormat))
			for k, v := range c.headers {
				w.Header().Set(k, v)
			}
			w.WriteHeader(c.status)
		})
		_, err := client.Version(t.Context())
		if e, ok := errors.AsType[*Error](err); !ok || e.RetryAfter != c.want {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestKinds(t *testing.T) {
	for k := range words {
		if strings.TrimSpace((&Error{Kind: k}).Error()) == "." {
			t.Errorf("%s has no words", k)
		}
		if k.Temporary() && k.TokenTrouble() {
			t.Errorf("%s is both", k)
		}
	}
	if KindOf(fmt.Errorf("x: %w", &Error{Kind: KindScope})) != KindScope || KindOf(io.EOF) != "" || KindOf(nil) != "" {
		t.Error("KindOf")
	}
}

func TestAnswersThatAreNotGitLabs(t *testing.T) {
	for name, body := range map[string]string{
		"HTML": "<html>Sign in</html>", "empty": "", "other JSON": `{"hello":1}`, "a list": `[]`, "null": "null", "wrong type": `{"version":19}`, "half": `{"version":"19`,
	} {
		_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if _, err := c.Version(t.Context()); KindOf(err) != KindNotGitLab {
			t.Errorf("%s: %q %v", name, KindOf(err), err)
		}
	}
}

func TestNetworkTrouble(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	if _, err := newClient(t, closed.URL).Version(t.Context()); KindOf(err) != KindNetwork {
		t.Errorf("nobody there: %v", err)
	}
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"version":`)
	})
	if _, err := c.Version(t.Context()); KindOf(err) != KindNetwork {
		t.Errorf("cut off: %v", err)
	}
	_, c = newFake(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := c.CreateNote(t.Context(), 1, 1, "x"); KindOf(err) != KindNetwork {
		t.Errorf("aborted: %v", err)
	}
	release := make(chan struct{})
	_, c = newFake(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Version(ctx); KindOf(err) != KindNetwork || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too slow: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// deadlineTransport tells whether a request would end by itself.
type deadlineTransport struct{ found bool }

func (d *deadlineTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	until, ok := r.Context().Deadline()
	d.found = ok && time.Until(until) <= callTimeout
	return nil, io.ErrUnexpectedEOF
}

func TestEveryCallHasATimeout(t *testing.T) {
	d := &deadlineTransport{}
	c, err := New(Options{BaseURL: "http://gitlab.invalid", Token: testToken, Transport: d})
	must(t, err)
	if _, err := c.Version(t.Context()); KindOf(err) != KindNetwork || !d.found {
		t.Error(err, d.found)
	}
}

func TestS21RedirectsTakeNoTokenElsewhere(t *testing.T) {
	var leaked sync.Map
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked.Store(r.URL.Path, r.Header) }))
	defer other.Close()
	post := func(c *Client) error { _, err := c.CreateNote(t.Context(), 42, 12, "hi"); return err }
	get := func(c *Client) error { _, err := c.Version(t.Context()); return err }
	for name, c := range map[string]struct {
		call   func(*Client) error
		status int
		to     string
		kind   Kind
	}{
		"GET elsewhere":                 {get, 302, other.URL + "/x", KindRedirect},
		"GET to another scheme":         {get, 301, "https", KindRedirect},
		"POST elsewhere":                {post, 307, other.URL + "/x", KindRedirect},
		"POST 301 here":                 {post, 301, "/moved", KindRedirect},
		"POST 302 here":                 {post, 302, "/moved", KindRedirect},
		"POST 308 here":                 {post, 308, "/moved", KindRedirect},
		"GET here":                      {get, 301, "/moved", ""},
		"GET in a circle":               {get, 302, "/scm/api/v4/version", KindRedirect},
		"GET without a place to go":     {get, 301, "", KindRedirect},
		"GET 300":                       {get, 300, "", KindRedirect},
		"GET to the same host by //":    {get, 302, "//elsewhere.invalid/x", KindRedirect},
		"GET to a user at another host": {get, 302, "http://gitlab@elsewhere.invalid/x", KindRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			f, client := newFake(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/moved" {
					fmt.Fprint(w, `{"version":"19.2.1","id":1}`)
					return
				}
				to := c.to
				if to == "https" {
					to = "https://" + r.Host + r.URL.Path
				}
				if to != "" {
					w.Header().Set("Location", to)
				}
				w.WriteHeader(c.status)
			})
			if err := c.call(client); KindOf(err) != c.kind {
				t.Errorf("%q: %v", KindOf(err), err)
			}
			if c.kind == "" && f.last.Header.Get("Authorization") == "" {
				t.Error("the token was lost on the way within GitLab")
			}
		})
	}
	leaked.Range(func(path, header any) bool {
		t.Errorf("%s was asked elsewhere with %v", path, header)
		return true
	})
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"19.2.1"}`) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer server.Close()
	_, err := newClient(t, server.URL).Version(t.Context())
	if KindOf(err) != KindTLS || !strings.Contains(err.Error(), "CA certificate") {
		t.Errorf("an unknown CA: %v", err)
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := New(Options{BaseURL: server.URL, Token: testToken, CA: append([]byte("\n"), bundle...)})
	must(t, err)
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("a known CA: %v", err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if _, err := newClient(t, strings.Replace(plain.URL, "http:", "https:", 1)).Version(t.Context()); KindOf(err) != KindTLS {
		t.Errorf("plain HTTP behind https: %v", err)
	}
	for name, bad := range map[string]string{
		"no PEM": "hello", "a key": "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", "no certificate": "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
		"rubbish after": string(bundle) + "hello",
	} {
		if _, err := New(Options{BaseURL: server.URL, Token: testToken, CA: []byte(bad)}); KindOf(err) != KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNew(t *testing.T) {
	for raw, want := range map[string]string{
		"https://host":                  "https://host",
		" https://host/ ":               "https://host",
		"https://host/scm/":             "https://host/scm",
		"https://host/scm/api/v4":       "https://host/scm",
		"https://host/scm/api/v4/":      "https://host/scm",
		"http://127.0.0.1:8080/api/v4/": "http://127.0.0.1:8080",
		"http://10.1.2.3/a/b//":         "http://10.1.2.3/a/b",
		"http://[::1]:80":               "http://[::1]:80",
		"https://host/gitlab%20x":       "https://host/gitlab%20x",
	} {
		c, err := New(Options{BaseURL: raw, Token: testToken})
		if err != nil || c.BaseURL() != want {
			t.Errorf("%q: %v, %v", raw, c, err)
		}
	}
	for _, raw := range []string{
		"", "host", "host:80", "ftp://host", "file:///etc/passwd", "gopher://host", "https://", "https://user:pw@host", "https://host?x=1", "https://host/?",
		"https://host/#x", "http://169.254.169.254", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[::ffff:169.254.1.1]", "https://ho st", "%zz",
	} {
		if _, err := New(Options{BaseURL: raw, Token: testToken}); KindOf(err) != KindInvalid {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, token := range []Token{"", "a b", "a\nb", "glpat-x\n", "tökén"} {
		if _, err := New(Options{BaseURL: "https://host", Token: token}); KindOf(err) != KindInvalid {
			t.Errorf("token %q: %v", token.Reveal(), err)
		}
	}
}

// The name of a host may lead to a link-local address only when it is resolved.
func TestS21LinkLocalIsRefusedWhenDialled(t *testing.T) {
	for _, address := range []string{"169.254.169.254:80", "[fe80::1]:443", "[fe80::1%eth0]:443", "[::ffff:169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80", "[fd00:ec2::254]:80", "[fd20:ce::254]:80"} {
		if err := refuseLinkLocal("tcp", address, nil); !errors.Is(err, errLinkLocal) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"127.0.0.1:80", "10.0.0.1:80", "192.168.1.1:80", "[::1]:80", "[fd00::1]:80", "[64:ff9b::5db8:d822]:443", "93.184.216.34:443"} {
		if err := refuseLinkLocal("tcp", address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	transport := newTransport(nil)
	transport.Proxy = nil
	conn, err := transport.DialContext(t.Context(), "tcp", "169.254.169.254:80")
	if !errors.Is(err, errLinkLocal) {
		t.Errorf("%v, %v", conn, err)
	}
	c, newErr := New(Options{BaseURL: "http://metadata.invalid", Token: testToken, Transport: dialing{err}})
	must(t, newErr)
	if _, err := c.Version(t.Context()); KindOf(err) != KindInvalid || KindOf(err).Temporary() {
		t.Errorf("%q: %v", KindOf(err), err)
	}
}

type dialing struct{ err error }

func (d dialing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: d.err}
}

func TestAnswersAreBounded(t *testing.T) {
	_, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 2000)) })
	for limit, fits := range map[int64]bool{1999: false, 2000: true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.BaseURL(), nil)
		must(t, err)
		resp, err := c.httpClient(limit).Do(req)
		must(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, resp.Body.Close())
		if (err == nil) != fits || !fits && !strings.Contains(err.Error(), "larger than 1999 bytes") {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		for range 1 << 10 {
			if _, err := fmt.Fprint(w, strings.Repeat("no ", 1<<10)); err != nil {
				return
			}
		}
	})
	if _, err := c.Version(t.Context()); KindOf(err) != KindServer {
		t.Errorf("an endless error: %v", err)
	}
}

func TestEmptyNamesAreNotLists(t *testing.T) {
	f, c := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	if _, err := c.Branch(t.Context(), 42, ""); KindOf(err) != KindInvalid {
		t.Error(err)
	}
	if _, err := c.Project(t.Context(), ""); KindOf(err) != KindInvalid {
		t.Error(err)
	}
	if len(f.requests()) != 0 {
		t.Error(f.requests())
	}
}

func TestTokenIsNotShown(t *testing.T) {
	token := Token("glpat-x")
	asJSON, err := json.Marshal(map[string]any{"t": token, "h": HookSpec{Token: token}})
	must(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "t", token, "o", Options{Token: token})
	all := fmt.Sprintf("%v %s %q %#v %+v %s %s", token, token, token, token, Options{Token: token}, asJSON, log.String())
	if strings.Contains(all, "glpat") || token.Reveal() != "glpat-x" {
		t.Error(all)
	}
}
