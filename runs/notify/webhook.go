package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
)

// signingPrefix begins a signing secret, as Standard Webhooks has it.
const signingPrefix = "whsec_"

// NewSigning makes a signing secret of 32 bytes.
func NewSigning() runs.Secret {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return runs.Secret(signingPrefix + base64.StdEncoding.EncodeToString(b))
}

// CheckSigning refuses a signing secret that is none, or too short to be one.
func CheckSigning(s runs.Secret) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Reveal(), signingPrefix))
	if err != nil || len(key) < 24 || len(key) > 64 || !strings.HasPrefix(s.Reveal(), signingPrefix) {
		return runs.Invalidf("signing_secret", "A signing secret is whsec_ and 24 to 64 bytes in base64. Leave it blank to have one made.")
	}
	return nil
}

// CheckURL refuses what is no address of a webhook.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(text) > 2000 {
		return runs.Invalidf("url", "That is not an address like https://chat.example.com/hooks/… (http or https, without user and password).")
	}
	return nil
}

// Signature is the value of webhook-signature.
func Signature(secret runs.Secret, id string, at time.Time, body []byte) (string, error) {
	if err := CheckSigning(secret); err != nil {
		return "", err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), signingPrefix))
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// Webhook posts the message for programs: {"type", "timestamp", "data"}, signed.
func (s Sender) Webhook(ctx context.Context, t Target, m Message) error {
	body, err := json.Marshal(map[string]any{"type": m.Topic, "timestamp": m.At.UTC().Format(time.RFC3339), "data": m.Data})
	if err != nil {
		return err
	}
	now := s.Now()
	sig, err := Signature(t.Signing, m.ID, now, body)
	if err != nil {
		return err
	}
	return s.post(ctx, t, body, map[string]string{
		"webhook-id": m.ID, "webhook-timestamp": strconv.FormatInt(now.Unix(), 10), "webhook-signature": sig,
	})
}

// post sends one request and nothing more: a redirect is refused, because it could lead anywhere.
func (s Sender) post(ctx context.Context, t Target, body []byte, headers map[string]string) error {
	target := t.URL.Reveal()
	u, err := url.Parse(target)
	if err != nil || CheckURL(target) != nil {
		return &Error{Words: "The address is none.", Peer: true}
	}
	ctx, cancel := context.WithTimeout(ctx, WebhookTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return &Error{Words: "The address is none.", Peer: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.Agent)
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	client, done, err := s.client(t)
	if err != nil {
		return err
	}
	defer done()
	resp, err := client.Do(req)
	if err != nil {
		return unreachable(u.Host, err)
	}
	defer resp.Body.Close()
	words, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // read so that the peer sees an orderly end; the status counts
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	return refused(u.Host, resp, words, s.Now())
}

func (s Sender) client(t Target) (*http.Client, func(), error) {
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if s.Transport != nil {
		return &http.Client{Transport: s.Transport, CheckRedirect: noRedirect}, func() {}, nil
	}
	conf, err := tlsConfig(t, "")
	if err != nil {
		return nil, nil, err
	}
	tr := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer(t.AllowLocal).DialContext, TLSClientConfig: conf,
		TLSHandshakeTimeout: WebhookTime, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &http.Client{Transport: tr, CheckRedirect: noRedirect}, tr.CloseIdleConnections, nil
}

// code is how chats say what is wrong: invalid_token, channel_not_found. Anything longer a peer answers is not shown,
// because a wrong address could make this server read out what only it may see.
var code = regexp.MustCompile(`^[a-z]+(_[a-z]+){0,6}$`)

func refused(host string, resp *http.Response, body []byte, now time.Time) *Error {
	e := &Error{
		Words: fmt.Sprintf("%s answered %d %s.", host, resp.StatusCode, http.StatusText(resp.StatusCode)),
		Gone:  resp.StatusCode == http.StatusGone,
		Peer:  resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout,
	}
	if said := strings.TrimSpace(string(body)); len(said) < 60 && code.MatchString(said) {
		e.Words = fmt.Sprintf("%s answered %d %s: “%s”.", host, resp.StatusCode, http.StatusText(resp.StatusCode), said)
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		e.Words += " It leads elsewhere, and redirects are not followed: give the address it leads to."
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	return e
}

// retryAfter reads both forms of the header; what is longer than an hour counts as an hour.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil {
		return min(max(time.Duration(min(n, 3600))*time.Second, 0), time.Hour)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), time.Hour)
	}
	return 0
}
