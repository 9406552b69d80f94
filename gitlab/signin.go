package gitlab

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// SignInOptions say which GitLab people sign in with, and as which of its applications.
type SignInOptions struct {
	APIURL      string // where this server reaches GitLab
	BrowserURL  string // where people reach it; "" is the same
	CA          []byte // PEM bundle added to the system pool
	ClientID    string
	Secret      Token // of the application
	RedirectURL string
	Transport   http.RoundTripper // nil: our own
	Now         func() time.Time  // nil: time.Now
}

// A SignIn is the OpenID Connect provider of one GitLab, as it describes itself (CONTRACT §9). It is safe for concurrent use
// and doesn't change.
type SignIn struct {
	issuer   string
	client   *http.Client
	config   oauth2.Config
	provider *oidc.Provider
	now      func() time.Time
}

// An Identity is who signed in. Only Issuer and ID together name a person for ever; everything else may change hands.
type Identity struct {
	Issuer   string
	ID       int64
	Username string
	Name     string
	Groups   []string // full paths, inherited ones included
}

// skew is how far GitLab's clock and ours may differ. The ID token comes straight from GitLab and lives two minutes only,
// so that without it two clocks that differ by so much would let nobody in.
const skew = 5 * time.Minute

// signInScopes are what the application must have ticked.
var signInScopes = []string{oidc.ScopeOpenID, "profile", "email"}

// NewSignIn reads GitLab's description of itself. The people's browsers go to BrowserURL, this server's own requests to
// APIURL and nowhere else, whichever of the two the description names. Errors are for people.
func NewSignIn(ctx context.Context, o SignInOptions) (*SignIn, error) {
	base, err := parseBase(o.APIURL)
	if err != nil {
		return nil, err
	}
	browser := strings.TrimRight(o.BrowserURL, "/")
	if browser == "" {
		browser = base.String()
	}
	pool, err := certificates(o.CA)
	if err != nil {
		return nil, err
	}
	transport := o.Transport
	if transport == nil {
		transport = newTransport(pool)
	}
	s := &SignIn{now: o.Now, client: &http.Client{
		Transport: guard{next: transport, origin: base, limit: maxAnswer}, CheckRedirect: checkRedirect, Timeout: callTimeout,
	}}
	if s.now == nil {
		s.now = time.Now
	}
	d, err := s.describe(ctx, base.String())
	if err != nil {
		return nil, err
	}
	if d.IssuerURL != browser && d.IssuerURL != base.String() {
		return nil, invalidf("GitLab calls itself %s, which is neither the API host URL nor the user facing host URL; set the user facing host URL to it", flatten(d.IssuerURL))
	}
	s.issuer = d.IssuerURL
	roots := []string{browser, base.String(), d.IssuerURL}
	for _, e := range []struct {
		url  *string
		root string
	}{{&d.AuthURL, browser}, {&d.TokenURL, base.String()}, {&d.JWKSURL, base.String()}, {&d.UserInfoURL, base.String()}} {
		if *e.url, err = moved(*e.url, roots, e.root); err != nil {
			return nil, err
		}
	}
	d.Algorithms = []string{oidc.RS256}
	s.provider = d.NewProvider(s.context(context.WithoutCancel(ctx))) // it fetches keys later, with the client it got here
	s.config = oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.Secret.Reveal(), RedirectURL: o.RedirectURL, Scopes: signInScopes,
		Endpoint: oauth2.Endpoint{AuthURL: d.AuthURL, TokenURL: d.TokenURL, AuthStyle: oauth2.AuthStyleInHeader},
	}
	return s, nil
}

func (s *SignIn) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.client)
}

// describe reads the discovery document.
func (s *SignIn) describe(ctx context.Context, base string) (oidc.ProviderConfig, error) {
	var d oidc.ProviderConfig
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/.well-known/openid-configuration", nil)
	if err != nil {
		return d, invalidf("the address of GitLab's sign-in can't be used: %v", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return d, failure(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := resp.Body.(keptBody)
		e := refusal(resp, body.text)
		e.Method, e.Path = http.MethodGet, req.URL.Path
		return d, e
	}
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || d.IssuerURL == "" {
		return d, &Error{Kind: KindNotGitLab, Method: http.MethodGet, Path: req.URL.Path, Message: "no description of a sign-in", cause: err}
	}
	return d, nil
}

// moved puts an address that begins with one of the roots below another one.
func moved(address string, roots []string, to string) (string, error) {
	for _, r := range roots {
		if rest, ok := strings.CutPrefix(address, r+"/"); ok {
			return to + "/" + rest, nil
		}
	}
	return "", invalidf("GitLab's description of its sign-in leads elsewhere (%s); set the user facing host URL to the address GitLab has for people", flatten(address))
}

// A Challenge is what one sign-in is bound to. State and Nonce come back; Verifier proves that who began it ends it (PKCE).
type Challenge struct{ State, Nonce, Verifier string }

// NewChallenge makes the secrets of one sign-in.
func NewChallenge() Challenge {
	return Challenge{oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()}
}

// URL is where the browser goes.
func (s *SignIn) URL(c Challenge) string {
	return s.config.AuthCodeURL(c.State, oidc.Nonce(c.Nonce), oauth2.S256ChallengeOption(c.Verifier))
}

// Identify trades the code that GitLab's redirect brought for who signed in. Errors are for people.
func (s *SignIn) Identify(ctx context.Context, code string, c Challenge) (Identity, error) {
	ctx = s.context(ctx)
	token, err := s.config.Exchange(ctx, code, oauth2.VerifierOption(c.Verifier))
	if err != nil {
		return Identity{}, exchangeError(err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return Identity{}, invalidf("GitLab sent no ID token: the application lacks the scope openid")
	}
	now := s.now()
	id, err := s.provider.Verifier(&oidc.Config{
		ClientID: s.config.ClientID, SupportedSigningAlgs: []string{oidc.RS256}, Now: func() time.Time { return now.Add(-skew) },
	}).Verify(ctx, raw)
	if expired, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return Identity{}, invalidf("GitLab's clock and this server's differ by more than %d minutes: GitLab's token ended at %s and it is %s here; set both by NTP",
			int(skew.Minutes()), expired.Expiry.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	switch {
	case err != nil:
		return Identity{}, tokenFailure(err)
	case id.IssuedAt.After(now.Add(skew)):
		return Identity{}, invalidf("GitLab's clock and this server's differ by more than %d minutes: GitLab says %s and it is %s here; set both by NTP",
			int(skew.Minutes()), id.IssuedAt.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case c.Nonce == "" || id.Nonce != c.Nonce:
		return Identity{}, invalidf("GitLab's answer belongs to another sign-in; begin again")
	}
	return s.details(ctx, token, id.Subject)
}

// details reads what the ID token doesn't hold (GOTCHAS 93).
func (s *SignIn) details(ctx context.Context, token *oauth2.Token, subject string) (Identity, error) {
	who := Identity{Issuer: s.issuer}
	var err error
	if who.ID, err = strconv.ParseInt(subject, 10, 64); err != nil || who.ID < 1 {
		return who, &Error{Kind: KindNotGitLab, Message: "the user's number is " + flatten(subject)}
	}
	info, err := s.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return who, tokenFailure(err)
	}
	if info.Subject != subject {
		return who, &Error{Kind: KindNotGitLab, Message: "two answers are about two different users"}
	}
	var claims struct {
		Name     string   `json:"name"`
		Username string   `json:"preferred_username"`
		Nickname string   `json:"nickname"`
		Groups   []string `json:"groups"`
	}
	if err := info.Claims(&claims); err != nil {
		return who, &Error{Kind: KindNotGitLab, Message: "no JSON of the expected form", cause: err}
	}
	who.Name, who.Groups, who.Username = claims.Name, claims.Groups, claims.Username
	if who.Username == "" {
		who.Username = claims.Nickname
	}
	if who.Username == "" {
		return who, invalidf("GitLab did not say the user's name: the application lacks the scope profile")
	}
	return who, nil
}

// exchangeError says what GitLab's refusal of a code means. Its body is never shown: it is not written for this.
func exchangeError(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return tokenFailure(err)
	}
	switch refused.ErrorCode {
	case "invalid_client":
		return invalidf("GitLab does not know the application, or its secret is wrong; an admin sets both under Settings › Sign-in")
	case "invalid_grant":
		return invalidf("GitLab does not accept the code: it was used already, is older than ten minutes, or belongs to another redirect URL; begin again")
	case "":
		return &Error{Kind: KindNotGitLab, Status: refused.Response.StatusCode, Message: "no answer of a sign-in", cause: err}
	default:
		return invalidf("GitLab refuses the sign-in (%s)", flatten(refused.ErrorCode))
	}
}

// tokenFailure tells trouble on the way from a token that is wrong.
func tokenFailure(err error) error {
	e := failure(err)
	if e.Kind == KindNetwork && e.Method == "" {
		return &Error{Kind: KindNotGitLab, Message: "the ID token is not good: " + flatten(err.Error()), cause: err}
	}
	return e
}

// UserActive asks whether a user may use GitLab: one who is blocked, deactivated, banned or gone may not.
func (c *Client) UserActive(ctx context.Context, id int64) (bool, error) {
	var u struct{ State string }
	err := c.get(ctx, at("users", id), nil, &u)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == KindNotFound {
		return false, nil
	}
	return u.State == "active", err
}
