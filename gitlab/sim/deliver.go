package sim

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
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An event is what hooks may be told of.
type event struct {
	flag   string // the hook's flag that wants it
	name   string // X-Gitlab-Event
	branch string // for branch filters; "" passes
	body   object
}

// A delivery is one request to a hook with everything needed to send it again.
type delivery struct {
	HookDelivery
	hook      *hook
	eventUUID string
}

// hookTimeout is GitLab's webhook_timeout, for the whole request (§W2).
const hookTimeout = 10 * time.Second

// fire sends an event to the hooks that want it, each in a goroutine of its own, so in no particular order (§W2).
func (s *Server) fire(p *project, e event) {
	eventUUID := newUUID()
	for _, h := range p.hooks {
		if !h.flags[e.flag] || !h.passes(e.branch) || h.paused(s.now()) {
			continue
		}
		d := s.newDelivery(h, e, eventUUID)
		twice := s.deliverTwice
		s.spawn(func() {
			s.deliver(p, d)
			if twice {
				s.deliver(p, d)
			}
		})
	}
}

// newDelivery freezes the body now, whatever changes before it is sent.
func (s *Server) newDelivery(h *hook, e event, eventUUID string) delivery {
	body, err := json.Marshal(e.body)
	if err != nil {
		s.log.Error("encode a hook", "event", e.name, "error", err)
	}
	return delivery{
		hook: h, eventUUID: eventUUID,
		HookDelivery: HookDelivery{HookID: h.id, Event: e.name, URL: h.url, IdempotencyKey: newUUID(), Body: body},
	}
}

// newUUID is a random one, version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// deliver sends once, without mu, and records the outcome; GitLab does not try again (§W2).
func (s *Server) deliver(p *project, d delivery) HookDelivery {
	s.mu.Lock()
	d.At = s.now()
	d.Header = s.hookHeader(d)
	s.mu.Unlock()

	status, answer, err := s.send(d)
	d.Status, d.ResponseBody = status, answer
	if err != nil {
		d.Error = err.Error()
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	d.Duration = s.now().Sub(d.At)
	d.ID = s.id("delivery")
	p.deliveries = append(p.deliveries, &d)
	d.hook.count(status >= 200 && status < 400, s.opt.AutoDisableHooks, s.now())
	return d.HookDelivery
}

func (s *Server) hookHeader(d delivery) http.Header {
	h := http.Header{}
	for k, v := range d.hook.headers { // under GitLab's own (§W1)
		h.Set(k, v)
	}
	stamp := itoa(s.now().Unix())
	for k, v := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "GitLab/" + s.opt.Version, "X-Gitlab-Event": d.Event,
		"X-Gitlab-Instance": s.base, "X-Gitlab-Webhook-UUID": newUUID(), "X-Gitlab-Event-UUID": d.eventUUID,
		"Idempotency-Key": d.IdempotencyKey, "webhook-id": d.IdempotencyKey, "webhook-timestamp": stamp,
	} {
		h.Set(k, v)
	}
	if d.hook.token != "" {
		h.Set("X-Gitlab-Token", strings.NewReplacer("\n", "", "\r", "").Replace(d.hook.token))
	}
	if d.hook.signingKey != nil {
		h.Set("webhook-signature", sign(d.hook.signingKey, d.IdempotencyKey, stamp, d.Body))
	}
	return h
}

// sign is the Standard Webhooks signature (§W1).
func sign(key []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// maxAnswer is how much of the receiver's answer is kept (§W2).
const maxAnswer = 8 << 10

func (s *Server) send(d delivery) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), hookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Body))
	if err != nil {
		return 0, "", err
	}
	req.Header = d.Header.Clone()
	res, err := s.opt.HookClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, string(text), err
}

// count keeps the failures in a row; with auto-disabling 4 pause for a minute, doubling to a day, and 40 end it (§W2).
func (h *hook) count(ok, autoDisable bool, now time.Time) {
	if ok {
		h.failures, h.disabledUntil = 0, time.Time{}
		return
	}
	h.failures++
	if autoDisable && h.failures >= 4 {
		h.disabledUntil = now.Add(min(time.Minute<<min(h.failures-4, 11), 24*time.Hour))
	}
}

const hookFailuresForGood = 40

func (h *hook) paused(now time.Time) bool {
	return !h.disabledUntil.IsZero() && (now.Before(h.disabledUntil) || h.failures >= hookFailuresForGood)
}

func (h *hook) alertStatus(now time.Time) string {
	switch {
	case !h.paused(now):
		return "executable"
	case h.failures >= hookFailuresForGood:
		return "disabled"
	default:
		return "temporarily_disabled"
	}
}

// passes applies the branch filter: all branches, a wildcard or a regular expression (§7).
func (h *hook) passes(branch string) bool {
	switch {
	case branch == "" || h.branchFilter == "" || h.strategy == "all_branches":
		return true
	case h.strategy == "regex":
		ok, err := regexp.MatchString(h.branchFilter, branch)
		return err == nil && ok
	default:
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(h.branchFilter), `\*`, ".*") + "$"
		ok, err := regexp.MatchString(pattern, branch)
		return err == nil && ok
	}
}

// DeliverTwice makes every hook arrive twice, with the same keys, as after a restart of GitLab's workers (§W2).
func (s *Server) DeliverTwice(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliverTwice = on
}

// Redeliver sends a delivery again, with the same Idempotency-Key, and waits for the answer. Like GitLab it does not
// fail when the receiver refuses: the outcome is in HookDeliveries.
func (s *Server) Redeliver(id int64) error {
	s.mu.Lock()
	p, d := s.deliveryByID(id)
	s.mu.Unlock()
	if d == nil {
		return fmt.Errorf("sim: there is no delivery %d", id)
	}
	s.deliver(p, *d)
	return nil
}

func (s *Server) deliveryByID(id int64) (*project, *delivery) {
	for _, p := range s.projects {
		for _, d := range p.deliveries {
			if d.ID == id {
				return p, d
			}
		}
	}
	return nil, nil
}

// HookDeliveries lists the finished deliveries of a project's hooks, in the order they ended.
func (s *Server) HookDeliveries(project int64) []HookDelivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return nil
	}
	var all []HookDelivery
	for _, d := range p.deliveries {
		view := d.HookDelivery
		view.Header, view.Body = d.Header.Clone(), slices.Clone(d.Body)
		all = append(all, view)
	}
	return all
}

// localHost says whether a host is loopback, private or link-local by its text; names are not looked up.
func localHost(host string) bool {
	if host == "localhost" || path.Ext(host) == ".localhost" {
		return true
	}
	ip, ok := parseIP(host)
	return ok && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}
