package main

import (
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
	"groundcrew/runs/notify"
)

// A listener takes signed webhooks and remembers them by their ids.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string]map[string]any
	tries  int
	bad    []string      // requests whose signature does not fit
	hold   chan struct{} // while open, nobody is answered; nil: everybody is
	secret runs.Secret
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{bodies: map[string]map[string]any{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.tries++
		hold := l.hold
		l.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return // the sender is gone, and nothing was taken
			}
		}
		l.take(r, raw)
	}))
	t.Cleanup(func() { l.CloseClientConnections(); l.Close() })
	return l
}

func (l *listener) take(r *http.Request, raw []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := r.Header.Get("webhook-id")
	seconds, err := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
	want, errSig := notify.Signature(l.secret, id, time.Unix(seconds, 0), raw)
	var body map[string]any
	if errBody := json.Unmarshal(raw, &body); err != nil || errSig != nil || errBody != nil || want != r.Header.Get("webhook-signature") {
		l.bad = append(l.bad, string(raw))
	}
	l.bodies[id] = body
}

// told returns the messages of a topic, by id each once.
func (l *listener) told(topic string) (list []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.bodies {
		if b["type"] == topic {
			list = append(list, b["data"].(map[string]any))
		}
	}
	return list
}

func (l *listener) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tries
}

// TestToldAfterAKill: the server is killed between cause and delivery; the next one tells it, once and signed.
func TestToldAfterAKill(t *testing.T) {
	t.Parallel()
	r, l := newRig(t), newListener(t)
	r.spawn()
	r.link().stack("network", "infra", map[string]any{"labels": []string{"prod"}})
	made := r.must("POST", "/notifications", map[string]any{
		"name": "Incidents", "kind": "webhook", "url": l.URL + "/hooks/s3cret-path", "allow_local": true,
		"events": runs.Topics, "labels": []string{"prod"},
	}, 201)
	l.secret = runs.Secret(made["signing_secret"].(string))
	id := made["id"].(string)
	if got := r.must("POST", "/notifications/"+id+"/test", nil, 200); got["ok"] != true || len(l.told("test")) != 1 {
		t.Fatalf("test: %v", got)
	}
	asked := l.asked()
	l.mu.Lock()
	l.hold = make(chan struct{})
	l.mu.Unlock()
	r.push("main", "Open port 443", map[string]string{"infra/main.tf": resource("a", "1")})
	run := r.run("tracked", "unconfirmed")
	until(t, "the first try", func() bool { return l.asked() > asked })
	r.kill()
	l.CloseClientConnections()
	l.mu.Lock()
	l.hold = nil
	l.mu.Unlock()
	r.spawn()
	until(t, "the notification", func() bool { return len(l.told("run.waiting")) > 0 })
	r.must("POST", "/runs/"+run["id"].(string)+"/discard", nil, 200)
	until(t, "the second one", func() bool { return len(l.told("run.discarded")) > 0 })
	got := l.told("run.waiting")
	if len(got) != 1 || got[0]["run"] != run["id"] || got[0]["stack"] != "network" || got[0]["url"] != r.url+"/runs/"+run["id"].(string) ||
		got[0]["commit_title"] != "Open port 443" || got[0]["changes"] != "1 to add, 0 to change, 0 to destroy" {
		t.Errorf("told %v", got)
	}
	if len(l.bad) > 0 || len(l.told("run.discarded")) != 1 {
		t.Errorf("not signed: %v; discarded: %v", l.bad, l.told("run.discarded"))
	}
	code, raw := r.api("GET", "/notifications", nil)
	if code != 200 || strings.Contains(string(raw), "s3cret") || strings.Contains(string(raw), "whsec_") || !strings.Contains(string(raw), `"last_error":""`) {
		t.Errorf("%d %s", code, raw)
	}
}

// TestTokenTroubleIsTold: a revoked token reaches people although GitLab cannot be told anything any more.
func TestTokenTroubleIsTold(t *testing.T) {
	t.Parallel()
	r, l := newRig(t).serve().link(), newListener(t)
	made := r.must("POST", "/notifications", map[string]any{
		"name": "Ops", "kind": "chat", "url": l.URL, "allow_local": true, "events": []string{"token.trouble"},
	}, 201)
	r.sim.RevokeToken(r.token)
	r.must("POST", "/integration/test", nil, 200)
	until(t, "the message", func() bool { return l.asked() > 0 })
	until(t, "its record", func() bool { return r.must("GET", "/notifications/"+made["id"].(string), nil, 200)["told_at"] != nil })
	if l.asked() != 1 {
		t.Errorf("told %d times", l.asked())
	}
}
