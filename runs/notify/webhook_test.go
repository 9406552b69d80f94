package notify

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"groundcrew/runs"
)

var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func sender() Sender { return Sender{Agent: "Groundcrew/test", Now: func() time.Time { return noon }} }

func plan() Message {
	return Message{
		ID: "01JNEWS", Topic: "run.waiting", At: noon, Title: "network-prod: 1 to add · waits for confirmation",
		Fields: []Field{{"Stack", "network-prod"}, {"Commit", "3f2a91c0 Open port 443"}, {"Author", "Anna Lind"}},
		URL:    "https://gc.example/runs/01JRUN", LinkFor: "Review the plan", Tone: "warn", Data: map[string]any{"stack": "network-prod"},
	}
}

// A receiver is an HTTP server that takes what comes.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*http.Request
	body []string
}

func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(r.take(answer))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got, r.body = append(r.got, req), append(r.body, string(raw))
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
	})
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *receiver) target() Target {
	return Target{URL: runs.Secret(r.URL + "/hooks/secret-path"), Signing: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", AllowLocal: true}
}

// TestSignature is the example of the Standard Webhooks specification's libraries.
func TestSignature(t *testing.T) {
	got, err := Signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want || err != nil {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for _, bad := range []runs.Secret{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_%%%"} {
		if _, err := Signature(bad, "x", noon, nil); err == nil {
			t.Errorf("%q signs", bad.Reveal())
		}
	}
	first, second := NewSigning(), NewSigning()
	if err := CheckSigning(first); err != nil || first == second {
		t.Errorf("a made secret: %v", err)
	}
}

func TestWebhook(t *testing.T) {
	r := newReceiver(t, nil)
	if err := sender().Webhook(t.Context(), r.target(), plan()); err != nil {
		t.Fatal(err)
	}
	req, raw := r.got[0], r.body[0]
	sig, err := Signature(r.target().Signing, "01JNEWS", noon, []byte(raw))
	if err != nil || req.Header.Get("webhook-signature") != sig || req.Header.Get("webhook-id") != "01JNEWS" ||
		req.Header.Get("webhook-timestamp") != strconv.FormatInt(noon.Unix(), 10) || req.Header.Get("Content-Type") != "application/json" || req.Method != "POST" {
		t.Errorf("%s %v (%v)", req.Method, req.Header, err)
	}
	if want := `{"data":{"stack":"network-prod"},"timestamp":"2027-03-01T12:00:00Z","type":"run.waiting"}`; raw != want {
		t.Errorf("body %s", raw)
	}
}

// TestChat: readable in Slack and Mattermost, and nothing from outside rings or formats.
func TestChat(t *testing.T) {
	r := newReceiver(t, nil)
	m := plan()
	m.Text = "<!channel> @all <https://evil.example|click> [x](https://evil.example) `rm`\x1b[31m"
	if err := sender().Chat(t.Context(), r.target(), m); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Text        string
		Attachments []attachment
	}
	if err := json.Unmarshal([]byte(r.body[0]), &got); err != nil {
		t.Fatal(err)
	}
	a := got.Attachments[0]
	if got.Text != m.Title || a.TitleLink != m.URL || a.Fallback == "" || len(a.Fields) != 3 || a.Fields[1].Value != "3f2a91c0 Open port 443" || a.Color == "" {
		t.Errorf("%+v", got)
	}
	for _, live := range []string{"<", ">", "@all", "](", "`", "\x1b"} {
		if strings.Contains(a.Text, live) {
			t.Errorf("%q is alive in %q", live, a.Text)
		}
	}
}

// TestHTTPTrouble: every way not to arrive, in words that name neither the address nor what the peer's body holds.
func TestHTTPTrouble(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	status := func(code int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		words  string
		want   Error
	}{
		"500":                  {status(500, "stack trace with secrets"), "answered 500 Internal Server Error.", Error{Peer: true}},
		"a chat's own word":    {status(403, "invalid_token"), "“invalid_token”", Error{}},
		"410":                  {status(410, ""), "answered 410 Gone.", Error{Gone: true}},
		"429 with seconds":     {status(429, "", "Retry-After", "17"), "429", Error{Peer: true, RetryAfter: 17 * time.Second}},
		"429 with a date":      {status(429, "", "Retry-After", noon.Add(time.Minute).Format(http.TimeFormat)), "429", Error{Peer: true, RetryAfter: time.Minute}},
		"429 for a year":       {status(429, "", "Retry-After", "31536000"), "429", Error{Peer: true, RetryAfter: time.Hour}},
		"503 with a past date": {status(503, "", "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), "503", Error{Peer: true}},
		"a redirect":           {status(302, "", "Location", "http://169.254.169.254/"), "redirects are not followed", Error{}},
		"a cut connection":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "could not be reached", Error{Peer: true}},
		"a large answer":       {status(400, strings.Repeat("x", 1<<20)), "answered 400 Bad Request.", Error{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, c.answer)
			err := sender().Webhook(t.Context(), r.target(), plan())
			e, ok := err.(*Error)
			if !ok || !strings.Contains(e.Words, c.words) || e.Gone != c.want.Gone || e.Peer != c.want.Peer || e.RetryAfter != c.want.RetryAfter {
				t.Fatalf("%#v, want %q %+v", err, c.words, c.want)
			}
			if strings.Contains(e.Words, "secret") || r.count() != 1 {
				t.Errorf("%d requests, words %q", r.count(), e.Words)
			}
		})
	}
}

// TestS22WhereNobodyGoes: this machine unless allowed, link-local addresses never, whatever name they hide behind.
func TestS22WhereNobodyGoes(t *testing.T) {
	r := newReceiver(t, nil)
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[fd00:ec2::254]"} {
		for _, allow := range []bool{false, true} {
			if allow && !strings.Contains(host, "254") && !strings.Contains(host, "a9fe") {
				continue
			}
			target := r.target()
			target.URL, target.AllowLocal = runs.Secret("http://"+host+port+"/secret"), allow
			e, ok := sender().Webhook(t.Context(), target, plan()).(*Error)
			if !ok || strings.Contains(e.Words, "secret") || !strings.Contains(e.Words, "was not called") && !strings.Contains(e.Words, "could not be reached") {
				t.Errorf("%s: %v", host, e)
			}
		}
	}
	if r.count() != 0 {
		t.Errorf("%d requests arrived", r.count())
	}
	for _, bad := range []string{"", "ftp://x/", "file:///etc/passwd", "gopher://x", "http://", "https://user:pw@x/", "http://x/#frag", "//x"} {
		if CheckURL(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestPrivateCA(t *testing.T) {
	conf, ca := authority(t, "localhost")
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(r.take(nil))
	r.TLS = &tls.Config{Certificates: conf.Certificates}
	r.StartTLS()
	t.Cleanup(r.Close)
	target := r.target()
	if e, ok := sender().Webhook(t.Context(), target, plan()).(*Error); !ok || !strings.Contains(e.Words, "certificate is not trusted") {
		t.Errorf("without the CA: %v", e)
	}
	target.CA = ca
	if err := sender().Webhook(t.Context(), target, plan()); err != nil {
		t.Error(err)
	}
	if _, err := Certificates("no PEM"); err == nil {
		t.Error("a broken CA is taken")
	}
}

func TestPlain(t *testing.T) {
	want := `network-prod: 1 to add · waits for confirmation

  Stack   network-prod
  Commit  3f2a91c0 Open port 443
  Author  Anna Lind

Review the plan:
https://gc.example/runs/01JRUN
`
	if got := Plain(plan()); got != want {
		t.Errorf("%s", got)
	}
}
