package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/store"
)

// admin is a browser in which the admin has signed in.
func (r *rig) admin() *http.Client {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	resp, err := browser.PostForm(r.url+"/login", url.Values{"username": {"admin"}, "password": {adminPW}})
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return browser
}

// page is a page of the server.
func (r *rig) page(browser *http.Client, path string) string {
	r.t.Helper()
	resp, err := browser.Get(r.url + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		r.t.Fatal(resp.StatusCode, err)
	}
	return string(body)
}

// Whatever is wrong with the token or the way to GitLab is told apart by GitLab's own answers within one check, stands on the
// pages and in the inbox with what mends it, and when it is mended everything that waited is delivered.
func TestTokenTroubles(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.quiet()
	admin := r.admin()
	says := func(status int, body string) func() func() {
		return func() func() { return r.sim.Fault(sim.Fault{Status: status, Body: body}) }
	}
	renew := func() {
		r.token = r.sim.AddToken(r.bot.ID, "fresh", []string{"api"}, time.Now().AddDate(0, 6, 0))
		r.must("PUT", "/integration", map[string]any{"token": r.token}, 200)
	}
	const dead, away = "does not work with the token", "does not answer as it should"
	for i, c := range []struct {
		name, cause, title, mend string
		happens                  func() (over func())
	}{
		{"revoked", "revoked", dead, "Find out who revoked it", func() func() { r.sim.RevokeToken(r.token); return renew }},
		{"expired", "expired", dead, "Make a new token", func() func() { r.sim.ExpireToken(r.token); return renew }},
		{"unknown", "unauthorized", dead, "It was deleted", says(401, `{"message":"401 Unauthorized"}`)},
		{"blocked", "blocked", dead, "unblocks", says(403, `{"message":"403 Forbidden - Your account has been blocked."}`)},
		{"deactivated", "blocked", dead, "reactivates", says(403, `{"message":"403 Forbidden - Your account has been deactivated by your administrator. Please log back in to reactivate your account."}`)},
		{"terms not accepted", "blocked", dead, "accept the terms", says(403, `{"message":"403 Forbidden - You must accept the Terms of Service in order to perform this action. Please access GitLab from a web browser to accept these terms."}`)},
		{"scope lost", "scope", dead, "scope api", says(403, `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api"}`)},
		{"booting", "server", away, "when GitLab is back", says(502, "<html><body>502</body></html>")},
		{"a login page", "not_gitlab", away, "when GitLab is back", says(200, "<html><body>Sign in</body></html>")},
		{"connection cut", "network", away, "when GitLab is back", func() func() { return r.sim.Fault(sim.Fault{CutAt: 3}) }},
	} {
		over := c.happens()
		// Something is to be told: the tier of the stack's environment.
		tier := []string{"staging", "production"}[i%2]
		r.labels("network", "tier:"+tier)
		r.must("POST", "/integration/test", nil, 200)
		if got := r.must("GET", "/integration", nil, 200)["token"].(map[string]any); got["cause"] != c.cause || got["username"] != r.bot.Username {
			t.Errorf("%s: the cause is %v of @%v", c.name, got["cause"], got["username"])
		}
		mend := ""
		for _, it := range r.items("/inbox") {
			if strings.Contains(it["title"].(string), c.title) {
				mend = it["mend"].(string)
			}
		}
		if !strings.Contains(mend, c.mend) {
			t.Errorf("%s: the inbox says to mend it: %q", c.name, mend)
		}
		if !strings.Contains(r.page(admin, "/runs"), c.title) {
			t.Errorf("%s: no banner", c.name)
		}
		over()
		r.must("POST", "/integration/test", nil, 200)
		r.quiet()
		for _, env := range r.sim.Environments(r.project.ID) {
			if env.Tier != tier {
				t.Errorf("%s: GitLab shows the tier %s, want %s", c.name, env.Tier, tier)
			}
		}
		if r.trouble(c.title) {
			t.Errorf("%s is over and still shown", c.name)
		}
	}
}

// labels sets the labels of a stack past the API, which would ask GitLab about its project first.
func (r *rig) labels(slug string, labels ...string) {
	r.t.Helper()
	err := r.inside.store.Update(func(tx *store.Tx) error {
		st, err := tx.Stack(slug)
		if err != nil {
			return err
		}
		st.Labels = labels
		return tx.PutStack(st)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// A certificate that is not trusted any more is the way to GitLab's trouble and not the token's; what waits is sent when it is.
func TestCertificateTrouble(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	secure := httptest.NewUnstartedServer(r.sim)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	r.must("PUT", "/integration", map[string]any{"api_url": secure.URL + "/scm", "token": r.token, "ca_pem": ca}, 200)
	r.stack("network", "infra", nil)
	r.quiet()
	trust := func(ca string) {
		t.Helper()
		err := r.inside.store.Update(func(tx *store.Tx) error {
			in, _, err := tx.Integration()
			if err != nil {
				return err
			}
			in.CA = ca
			return tx.PutIntegration(in)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	trust("")
	r.labels("network", "tier:staging")
	r.must("POST", "/integration/test", nil, 200)
	if got := r.must("GET", "/integration", nil, 200)["token"].(map[string]any); got["cause"] != "tls" || !strings.Contains(got["trouble"].(string), "certificate") {
		t.Errorf("token %v", got)
	}
	if !r.trouble("does not answer as it should") || r.trouble("does not work with the token") {
		t.Error("the inbox blames the wrong thing")
	}
	trust(ca)
	r.must("POST", "/integration/test", nil, 200)
	r.quiet()
	if env := r.sim.Environments(r.project.ID); len(env) != 1 || env[0].Tier != "staging" || r.trouble("does not answer") {
		t.Errorf("environments %+v", env)
	}
}
