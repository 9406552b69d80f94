package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/metrics"
)

// A site is a whole server over a real store and a real engine at rest: nothing runs by itself, so tests say
// what happens.
type site struct {
	t   *testing.T
	st  *store.Store
	eng *engine.Engine
	web *Server
	srv *httptest.Server
}

const bootstrap = "bootstrap-token-of-32-characters-or-more"

type noRunner struct{}

func (noRunner) Run(ctx context.Context, _ engine.Job) (engine.Result, error) {
	<-ctx.Done()
	return engine.Result{}, ctx.Err()
}

func newSite(t *testing.T) *site {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, st.Close()) })
	src, err := gitlab.NewSource(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	addr := "http://" + srv.Listener.Addr().String()
	eng, err := engine.New(engine.Options{Store: st, Source: src, Runner: noRunner{}, ExternalURL: addr, ToolDirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, st: st, eng: eng, srv: srv}
	m, err := metrics.New(metrics.Options{Store: st, Version: "test"})
	must(t, err)
	t.Cleanup(m.Close)
	s.web = New(Options{Store: st, Engine: eng, Version: "test", ExternalURL: addr, BootstrapToken: bootstrap, Metrics: m, MetricsToken: scrapeToken})
	srv.Config.Handler = s.web.Handler()
	srv.Start()
	t.Cleanup(func() { s.web.Close(); srv.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// update changes the store under the server.
func (s *site) update(fn func(tx *store.Tx) error) {
	s.t.Helper()
	must(s.t, s.st.Update(fn))
}

// link sets up an integration without asking anybody.
func (s *site) link(url string) {
	s.update(func(tx *store.Tx) error {
		return tx.PutIntegration(store.Integration{
			APIURL: url, Linked: true, Token: "glpat-very-secret", Secret: "hook-secret", CreatedAt: tx.Now(),
			Health: store.TokenHealth{CheckedAt: tx.Now(), Active: true, Name: "gc", Username: "gc-bot", Scopes: []string{"api"}},
		})
	})
}

// stack puts a stack into the store.
func (s *site) stack(name string) runs.Stack {
	var out runs.Stack
	s.update(func(tx *store.Tx) (err error) {
		out, err = tx.AddStack(runs.Stack{
			Name: name, Project: 7, ProjectPath: "infra/network", ProjectURL: "https://gitlab.test/infra/network", Branch: "main",
			ProjectRoot: "live", Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult,
		})
		return err
	})
	return out
}

// request brings a run of a stack into being.
func (s *site) request(slug string, t runs.Type, sha string) runs.Run {
	var r runs.Run
	s.update(func(tx *store.Tx) (err error) {
		r, err = tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now(), By: "ann"}, Run: runs.Run{
			Stack: slug, Project: 7, Type: t, Trigger: runs.ByPerson, TriggeredBy: "ann", Branch: "main",
			Commit: runs.Commit{SHA: sha, Title: "Open port 443", Author: "Ann"},
		}})
		return err
	})
	return r
}

// apply sends events to a run.
func (s *site) apply(id string, evs ...runs.Event) runs.Run {
	s.t.Helper()
	var r runs.Run
	for _, ev := range evs {
		s.update(func(tx *store.Tx) (err error) {
			r, err = tx.Apply(id, ev)
			return err
		})
	}
	return r
}

func now() runs.Meta { return runs.Meta{At: time.Now().UTC()} }

// planned brings a queued run to its plan: of one add.
func (s *site) planned(id string) runs.Run {
	return s.apply(id, runs.Claimed{Meta: now()},
		runs.PhaseStarted{Meta: now(), State: runs.Initializing}, runs.PhaseStarted{Meta: now(), State: runs.Planning},
		runs.Planned{Meta: now(), Delta: runs.Delta{Add: 1}, Fingerprint: "f1"})
}

// user makes a person with the password "correct horse".
func (s *site) user(name string, role store.Role) store.User {
	var u store.User
	s.update(func(tx *store.Tx) (err error) {
		u, err = tx.PutUser(store.User{Name: name, Role: role, PasswordHash: hashPassword("correct horse")})
		return err
	})
	return u
}

// key makes an API key, as a new admin would.
func (s *site) key(role store.Role) string {
	var text string
	s.update(func(tx *store.Tx) error {
		u, err := tx.PutUser(store.User{Name: "maker-" + tx.NewID(), Role: store.Admin})
		if err != nil {
			return err
		}
		_, text, err = tx.AddAPIKey(store.APIKey{Name: "of a " + string(role), Role: role, Owner: u.ID})
		return err
	})
	return text
}

// An answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("status %d, no JSON object: %v\n%s", a.status, err, a.body)
	}
	return v
}

func (s *site) do(c *http.Client, req *http.Request) answer {
	s.t.Helper()
	res, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// api calls the REST API with a key; the body is JSON text.
func (s *site) api(key, method, path, body string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.srv.URL+"/api/v1"+path, strings.NewReader(body))
	must(s.t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return s.do(noFollow, req)
}

// apiOK calls the API as admin and wants a status.
func (s *site) apiOK(want int, method, path, body string) map[string]any {
	s.t.Helper()
	a := s.api(bootstrap, method, path, body)
	if a.status != want {
		s.t.Fatalf("%s %s: status %d, want %d\n%s", method, path, a.status, want, a.body)
	}
	if a.body == "" {
		return nil
	}
	return a.json(s.t)
}

var noFollow = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// browser is a client with a cookie jar that does not follow redirects.
func (s *site) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	return &http.Client{Jar: jar, CheckRedirect: noFollow.CheckRedirect}
}

// signedIn is a browser of a new person with a role. It skips the password, which has its own tests.
func (s *site) signedIn(role store.Role) *http.Client {
	name := fmt.Sprintf("%s-%s", role, s.st.NewID())
	var token string
	s.update(func(tx *store.Tx) error {
		u, err := tx.PutUser(store.User{Name: name, Role: role})
		if err != nil {
			return err
		}
		token, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
		return err
	})
	b := s.browser()
	req, err := http.NewRequestWithContext(s.t.Context(), get, s.srv.URL, nil)
	must(s.t, err)
	b.Jar.SetCookies(req.URL, []*http.Cookie{{Name: sessionCookie, Value: token}})
	return b
}

func (s *site) get(b *http.Client, path string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), get, s.srv.URL+path, nil)
	must(s.t, err)
	return s.do(b, req)
}

// post sends a form: pairs of names and values.
func (s *site) post(b *http.Client, path string, pairs ...string) answer {
	s.t.Helper()
	return s.do(b, s.form(path, pairs...))
}

func (s *site) form(path string, pairs ...string) *http.Request {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v[pairs[i]] = append(v[pairs[i]], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(s.t.Context(), post, s.srv.URL+path, strings.NewReader(v.Encode()))
	must(s.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	must(t, err)
	return u
}
