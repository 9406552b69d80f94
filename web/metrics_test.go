package web

import (
	"net/http"
	"strings"
	"testing"

	"groundcrew/store"
)

const scrapeToken = "a-token-that-opens-the-metrics-and-nothing-else"

func (s *site) scrape(key string) answer {
	req, err := http.NewRequestWithContext(s.t.Context(), get, s.srv.URL+"/metrics", nil)
	must(s.t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return s.do(noFollow, req)
}

// TestWhoReadsMetrics: nobody without a key, and the token for scrapers opens nothing else.
func TestWhoReadsMetrics(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		key  string
		want int
	}{
		"nobody": {"", 401}, "a wrong key": {"nothing", 401}, "a reader's key": {s.key(store.Reader), 200},
		"the metrics token": {scrapeToken, 200}, "nearly the token": {scrapeToken + "x", 401}, "the bootstrap token": {bootstrap, 200},
	} {
		got := s.scrape(c.key)
		if got.status != c.want || c.want == 200 != strings.Contains(got.body, "groundcrew_build_info{") {
			t.Errorf("%s: status %d, want %d\n%.200s", name, got.status, c.want, got.body)
		}
	}
	if got := s.get(s.signedIn(store.Reader), "/metrics"); got.status != 200 {
		t.Errorf("a reader's browser: status %d", got.status)
	}
	for _, path := range []string{"/stacks", "/users", "/metrics"} {
		if got := s.api(scrapeToken, get, path, ""); got.status == 200 || path != "/metrics" && got.status != 401 {
			t.Errorf("the metrics token at /api/v1%s: status %d", path, got.status)
		}
	}
	short := New(Options{Store: s.st, Engine: s.eng, ExternalURL: s.srv.URL, BootstrapToken: bootstrap, MetricsToken: "short"})
	s.srv.Config.Handler = short.Handler()
	if got := s.scrape("short"); got.status != 401 {
		t.Errorf("a short token: status %d", got.status)
	}
	if got := s.scrape(bootstrap); got.status != 404 {
		t.Errorf("without metrics: status %d", got.status)
	}
}

// TestRefusedHooksAreCounted: also those that are not stored, because too many come.
func TestRefusedHooksAreCounted(t *testing.T) {
	s := newSite(t)
	s.hook("x", "{}")
	s.link("https://gitlab.test")
	for range 5 {
		s.hook("wrong", "{}")
	}
	s.hook("hook-secret", `{"object_kind":"push"}`)
	text := s.scrape(scrapeToken).body
	for _, line := range []string{
		`groundcrew_deliveries_refused_total{reason="secret"} 5`, `groundcrew_deliveries_refused_total{reason="unlinked"} 1`, `groundcrew_deliveries_received_total 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	for _, secret := range []string{"hook-secret", "glpat-very-secret", scrapeToken, bootstrap} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics hold %q", secret)
		}
	}
}
