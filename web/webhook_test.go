package web

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// hook sends a delivery. Pairs are further headers.
func (s *site) hook(secret, body string, pairs ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), post, s.srv.URL+"/webhooks/gitlab", strings.NewReader(body))
	must(s.t, err)
	req.Header.Set("X-Gitlab-Event", "Push Hook")
	if secret != "" {
		req.Header.Set("X-Gitlab-Token", secret)
	}
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	return s.do(noFollow, req)
}

func (s *site) deliveries() []store.Delivery {
	s.t.Helper()
	var list []store.Delivery
	must(s.t, s.st.View(func(tx *store.Tx) (err error) {
		list, _, err = tx.Deliveries("", "", 1000)
		return err
	}))
	return list
}

func TestWebhookStoresBeforeItAnswers(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	for _, body := range []string{`{"a":1}`, `[]`, `null`, ``, `not json`, strings.Repeat("[", 100000), `{"big":"` + strings.Repeat("x", 300<<10) + `"}`} {
		got := s.hook("hook-secret", body, "Webhook-Signature", "v1,x", "X-Gitlab-Instance", "https://gitlab.test")
		if got.status != 200 {
			t.Fatalf("body of %d bytes: status %d\n%s", len(body), got.status, got.body)
		}
		id, _ := got.json(t)["id"].(string)
		must(t, s.st.View(func(tx *store.Tx) error {
			d, err := tx.Delivery(id)
			if err != nil {
				return err
			}
			raw, err := tx.DeliveryBody(d)
			if string(raw) != body {
				t.Errorf("body of %d bytes was kept as %d bytes", len(body), len(raw))
			}
			if d.State != store.DeliveryWaiting || d.Event != "Push Hook" {
				t.Errorf("kept as %+v", d)
			}
			if d.Headers["X-Gitlab-Token"] != "" || d.Headers["Webhook-Signature"] != "" || d.Headers["X-Gitlab-Instance"] == "" {
				t.Errorf("headers kept: %v", d.Headers)
			}
			return err
		}))
	}
}

func TestWebhookTakesEveryKnownPayload(t *testing.T) {
	files, err := filepath.Glob("../gitlab/testdata/payloads/*.json")
	must(t, err)
	if len(files) < 10 {
		t.Fatalf("only %d payloads found", len(files))
	}
	s := newSite(t)
	s.link("https://gitlab.test")
	for _, f := range files {
		raw, err := os.ReadFile(f)
		must(t, err)
		if got := s.hook("hook-secret", string(raw), "Idempotency-Key", f); got.status != 200 {
			t.Errorf("%s: status %d", f, got.status)
		}
	}
}

func TestSameDeliveryOnce(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	var wg sync.WaitGroup
	fresh := make(chan bool, 50)
	for range 50 {
		wg.Go(func() { fresh <- s.hook("hook-secret", `{"x":1}`, "Idempotency-Key", "k1").json(t)["id"] != nil })
	}
	wg.Wait()
	close(fresh)
	n := 0
	for f := range fresh {
		if f {
			n++
		}
	}
	if n != 1 || len(s.deliveries()) != 1 {
		t.Errorf("%d answers were new and %d deliveries kept, want 1 and 1", n, len(s.deliveries()))
	}
}

func TestWebhookRefusesStrangers(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(s *site)
		secret  string
		verdict string
	}{
		"wrong secret": {func(s *site) { s.link("https://gitlab.test") }, "hook-secreT", "refused: wrong secret"},
		"no secret":    {func(s *site) { s.link("https://gitlab.test") }, "", "refused: no secret"},
		"not set up":   {func(*site) {}, "hook-secret", "refused: GitLab is not set up here"},
		"unlinked": {func(s *site) {
			s.link("https://gitlab.test")
			must(s.t, s.eng.Unlink("ann"))
		}, "hook-secret", "refused: GitLab is not set up here"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c.set(s)
			got := s.hook(c.secret, `{"secret":"of the body"}`)
			if got.status != 401 || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("status %d %s", got.status, got.header.Get("Content-Type"))
			}
			list := s.deliveries()
			if len(list) != 1 || list[0].Verdict != c.verdict || list[0].State != store.DeliveryRefused || list[0].Size != 0 {
				t.Fatalf("kept: %+v", list)
			}
			if c.secret != "" && strings.Contains(got.body, c.secret) {
				t.Error("the answer repeats the secret (S41)")
			}
			for range 20 {
				s.hook(c.secret, `{}`)
			}
			if n := len(s.deliveries()); n > 3 {
				t.Errorf("20 more strangers within a moment left %d rows", n)
			}
		})
	}
}

func TestBothSecretsDuringRotation(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	must(t, s.eng.RotateSecret("ann"))
	in, _, err := s.web.integration()
	must(t, err)
	for _, secret := range []runs.Secret{"hook-secret", in.Secret} {
		if got := s.hook(secret.Reveal(), `{"n":"`+secret.Reveal()[:4]+`"}`); got.status != 200 {
			t.Errorf("status %d", got.status)
		}
	}
	s.update(func(tx *store.Tx) error {
		in.OldSecretUntil = tx.Now().Add(-time.Second)
		return tx.PutIntegration(in)
	})
	if got := s.hook("hook-secret", `{}`); got.status != 401 {
		t.Errorf("after the grace period: status %d, want 401", got.status)
	}
}

func TestWebhookTooLarge(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	got := s.hook("hook-secret", strings.Repeat("x", 30<<20))
	if got.status != 413 {
		t.Fatalf("status %d, want 413", got.status)
	}
	list := s.deliveries()
	if len(list) != 1 || list[0].State != store.DeliveryRefused || !strings.Contains(list[0].Verdict, "25 MB") {
		t.Errorf("kept: %+v", list)
	}
	if got := s.hook("hook-secret", strings.Repeat("x", maxHook)); got.status != 200 {
		t.Errorf("exactly 25 MB: status %d, want 200", got.status)
	}
	if got := s.hook("wrong", strings.Repeat("x", 100)); got.status != 401 {
		t.Errorf("status %d, want 401", got.status)
	}
}
