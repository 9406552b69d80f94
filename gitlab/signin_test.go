package gitlab_test

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/gitlab/sim"
)

const callback = "https://gc.test/login/gitlab/callback"

// A door is a simulated GitLab behind TLS with its own CA, on a sub-path, that people and servers reach by different names.
type door struct {
	sim     *sim.Server
	srv     *httptest.Server
	ca      []byte
	user    sim.User
	id, key string
	browser string // address for people
}

func newDoor(t *testing.T, browser string) *door {
	t.Helper()
	s, err := sim.New(sim.Options{Dir: t.TempDir(), RelativeRoot: "/scm"})
	if err != nil {
		t.Fatal(err)
	}
	d := &door{sim: s, srv: httptest.NewTLSServer(s)}
	t.Cleanup(func() { d.srv.Close(); _ = s.Close() })
	d.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.srv.Certificate().Raw})
	if d.browser = browser; browser == "" {
		d.browser = d.srv.URL + "/scm"
	}
	s.SetURL(d.browser)
	d.user = s.AddUser("ada", "Ada Lind", false)
	s.SetGroups(d.user.ID, "platform", "platform/network")
	d.id, d.key = s.AddApplication("Groundcrew", true, []string{"openid", "profile", "email"}, callback)
	return d
}

func (d *door) signIn(t *testing.T, change func(*gitlab.SignInOptions)) (*gitlab.SignIn, error) {
	t.Helper()
	o := gitlab.SignInOptions{APIURL: d.srv.URL + "/scm", BrowserURL: d.browser, CA: d.ca, ClientID: d.id, Secret: gitlab.Token(d.key), RedirectURL: callback}
	if change != nil {
		change(&o)
	}
	return gitlab.NewSignIn(t.Context(), o)
}

// code is what the browser brings back.
func (d *door) code(t *testing.T, s *gitlab.SignIn, c gitlab.Challenge) string {
	t.Helper()
	client := d.srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	to := s.URL(c)
	if !strings.HasPrefix(to, d.browser+"/oauth/authorize?") {
		t.Fatalf("the browser goes to %s", to)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	if q := u.Query(); q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == c.Verifier || q.Get("nonce") != c.Nonce || q.Get("state") != c.State {
		t.Errorf("the request is not bound: %v", q)
	}
	res, err := client.Get(d.srv.URL + "/scm/oauth/authorize?" + u.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	back, err := res.Location()
	if err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	return back.Query().Get("code")
}

func TestSignIn(t *testing.T) {
	for name, browser := range map[string]string{"one address": "", "people elsewhere": "https://gitlab.corp.test/scm"} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, browser)
			s, err := d.signIn(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := gitlab.NewChallenge()
			code := d.code(t, s, c)
			who, err := s.Identify(t.Context(), code, c)
			if err != nil {
				t.Fatal(err)
			}
			if who.ID != d.user.ID || who.Issuer != d.browser || who.Username != "ada" || who.Name != "Ada Lind" || !slices.Equal(who.Groups, []string{"platform", "platform/network"}) {
				t.Errorf("%+v", who)
			}
			if _, err := s.Identify(t.Context(), code, c); err == nil || !strings.Contains(err.Error(), "used already") {
				t.Errorf("the code twice: %v", err)
			}
		})
	}
}

func TestSignInRefuses(t *testing.T) {
	d := newDoor(t, "")
	for name, c := range map[string]struct {
		change func(*gitlab.SignInOptions)
		spoil  func(*gitlab.Challenge)
		skew   time.Duration
		want   string
	}{
		"wrong secret":      {change: func(o *gitlab.SignInOptions) { o.Secret = "no" }, want: "its secret is wrong"},
		"another verifier":  {spoil: func(c *gitlab.Challenge) { c.Verifier = gitlab.NewChallenge().Verifier }, want: "does not accept the code"},
		"another nonce":     {spoil: func(c *gitlab.Challenge) { c.Nonce = "x" }, want: "belongs to another sign-in"},
		"no nonce":          {spoil: func(c *gitlab.Challenge) { c.Nonce = "" }, want: "belongs to another sign-in"},
		"clock far behind":  {skew: -10 * time.Minute, want: "clock"},
		"clock far ahead":   {skew: 10 * time.Minute, want: "clock"},
		"a little behind":   {skew: -4 * time.Minute},
		"a little ahead":    {skew: 4 * time.Minute},
		"nothing is wrong":  {},
		"not its own issue": {change: func(o *gitlab.SignInOptions) { o.Now = func() time.Time { return time.Now().AddDate(0, 0, 1) } }, want: "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			d.sim.SetTokenSkew(c.skew)
			s, err := d.signIn(t, c.change)
			if err != nil {
				t.Fatal(err)
			}
			ch := gitlab.NewChallenge()
			code := d.code(t, s, ch)
			if c.spoil != nil {
				c.spoil(&ch)
			}
			_, err = s.Identify(context.Background(), code, ch)
			if (c.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), code)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestSignInNeedsTheRightAddress(t *testing.T) {
	d := newDoor(t, "https://gitlab.corp.test/scm")
	for name, c := range map[string]struct {
		change func(*gitlab.SignInOptions)
		want   string
	}{
		"people are sent elsewhere": {func(o *gitlab.SignInOptions) { o.BrowserURL = "" }, "calls itself https://gitlab.corp.test/scm"},
		"unknown CA":                {func(o *gitlab.SignInOptions) { o.CA = nil }, "certificate"},
		"not GitLab":                {func(o *gitlab.SignInOptions) { o.APIURL = d.srv.URL }, ""},
	} {
		if _, err := d.signIn(t, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
