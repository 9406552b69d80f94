package sim

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestOAuthIsStrict: what GitLab refuses is refused (§9): unknown applications and redirect URLs get a page and no redirect;
// a code is good once, for ten minutes, for its application, redirect URL and verifier.
func TestOAuthIsStrict(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s, err := New(Options{Dir: t.TempDir(), RelativeRoot: "/scm", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.Close(); _ = s.Close() })
	s.SetURL(srv.URL)
	u := s.AddUser("ada", "Ada Lind", false)
	const back = "https://gc.test/login/gitlab/callback"
	id, secret := s.AddApplication("Groundcrew", true, []string{"openid", "profile"}, back)
	other, otherSecret := s.AddApplication("Other", true, []string{"openid"}, back)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	sum := sha256.Sum256([]byte("the-verifier"))
	authorize := func(change ...string) *http.Response {
		t.Helper()
		q := url.Values{"client_id": {id}, "redirect_uri": {back}, "response_type": {"code"}, "state": {"st"}, "nonce": {"no"}, "scope": {"openid profile"}, "code_challenge": {b64(sum[:])}, "code_challenge_method": {"S256"}}
		for i := 0; i < len(change); i += 2 {
			q.Set(change[i], change[i+1])
		}
		res, err := client.Get(srv.URL + "/scm/oauth/authorize?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	code := func() string {
		t.Helper()
		to, err := authorize().Location()
		if err != nil || to.Query().Get("state") != "st" || !strings.HasPrefix(to.String(), back+"?") {
			t.Fatal(to, err)
		}
		return to.Query().Get("code")
	}
	trade := func(code string, change ...string) (int, map[string]any) {
		t.Helper()
		q := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {back}, "client_id": {id}, "client_secret": {secret}, "code_verifier": {"the-verifier"}}
		for i := 0; i < len(change); i += 2 {
			q.Set(change[i], change[i+1])
		}
		res, err := http.PostForm(srv.URL+"/scm/oauth/token", q)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, _ := io.ReadAll(res.Body)
		var body map[string]any
		if err := json.Unmarshal(raw, &body); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		return res.StatusCode, body
	}
	for name, c := range map[string]struct {
		change []string
		status int
		error  string
	}{
		"another redirect":  {[]string{"redirect_uri", back + "/"}, 400, ""},
		"no redirect":       {[]string{"redirect_uri", ""}, 400, ""},
		"unknown client":    {[]string{"client_id", "nobody"}, 401, ""},
		"scope not ticked":  {[]string{"scope", "openid api"}, 302, "invalid_scope"},
		"no code asked for": {[]string{"response_type", "token"}, 302, "unsupported_response_type"},
	} {
		res := authorize(c.change...)
		to, _ := res.Location()
		if res.StatusCode != c.status || c.error == "" && to != nil || c.error != "" && to.Query().Get("error") != c.error {
			t.Errorf("%s: %d to %v", name, res.StatusCode, to)
		}
	}
	for name, c := range map[string]struct {
		change []string
		status int
		error  string
	}{
		"wrong secret":         {[]string{"client_secret", "no"}, 401, "invalid_client"},
		"another application":  {[]string{"client_id", other, "client_secret", otherSecret}, 400, "invalid_grant"},
		"no verifier":          {[]string{"code_verifier", ""}, 400, "invalid_grant"},
		"wrong verifier":       {[]string{"code_verifier", "x"}, 400, "invalid_grant"},
		"another redirect URL": {[]string{"redirect_uri", "https://evil.test/"}, 400, "invalid_grant"},
		"password grant":       {[]string{"grant_type", "password"}, 400, "unsupported_grant_type"},
		"unknown code":         {[]string{"code", "x"}, 400, "invalid_grant"},
	} {
		if status, body := trade(code(), c.change...); status != c.status || body["error"] != c.error {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
	once := code()
	status, body := trade(once)
	if status != 200 || body["id_token"] == nil || body["token_type"] != "Bearer" {
		t.Fatalf("%d %v", status, body)
	}
	if status, body := trade(once); status != 400 || body["error"] != "invalid_grant" {
		t.Errorf("the code twice: %d %v", status, body)
	}
	late := code()
	now = now.Add(codeLife + time.Second)
	if status, _ := trade(late); status != 400 {
		t.Errorf("a code after ten minutes: %d", status)
	}
	s.BlockUser(u.ID, true)
	if res := authorize(); res.StatusCode != 403 {
		t.Errorf("a blocked user: %d", res.StatusCode)
	}
}
