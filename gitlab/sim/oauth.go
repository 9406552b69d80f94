package sim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// codeLife is how long an authorization code may be traded for a token (§9).
const codeLife = 10 * time.Minute

// An application is what people sign in with elsewhere.
type application struct {
	id, secret string
	name       string
	redirects  []string
	scopes     []string
	trusted    bool
}

// A grant is a code on its way, and after that the access token made of it.
type grant struct {
	app       *application
	user      *User
	code      string
	redirect  string
	scope     string
	nonce     string
	challenge string
	at        time.Time
	used      bool
	token     string
	until     time.Time
}

// oauth is the provider's part of a Server; the Server's mu guards it.
type oauth struct {
	key    *rsa.PrivateKey
	apps   []*application
	grants []*grant
	groups map[int64][]string
	skew   time.Duration
}

// AddApplication registers an application and returns its id and secret. The redirect URLs must match exactly; a trusted one
// skips the page that asks the person.
func (s *Server) AddApplication(name string, trusted bool, scopes []string, redirects ...string) (id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &application{id: strings.ToLower(rand.Text() + rand.Text()), secret: "gloas-" + rand.Text(), name: name, trusted: trusted, scopes: scopes, redirects: redirects}
	s.oauth.apps = append(s.oauth.apps, a)
	return a.id, a.secret
}

// SetGroups says which groups a user is a member of, by full paths.
func (s *Server) SetGroups(user int64, paths ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oauth.groups == nil {
		s.oauth.groups = map[int64][]string{}
	}
	s.oauth.groups[user] = paths
}

// SetTokenSkew makes ID tokens look as if this instance's clock was off.
func (s *Server) SetTokenSkew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oauth.skew = d
}

// BlockUser blocks a user or ends that: no page, no API request and no sign-in works (§1).
func (s *Server) BlockUser(id int64, blocked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.userByID(id); u != nil {
		u.blocked = blocked
	}
}

// RenameUser gives a user another username, as people may do themselves.
func (s *Server) RenameUser(id int64, username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.userByID(id); u != nil {
		u.Username = username
	}
}

func isOAuth(path string) bool {
	return strings.HasPrefix(path, "oauth/") || path == ".well-known/openid-configuration"
}

func (s *Server) serveOAuth(w http.ResponseWriter, r *http.Request, path string) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method + " " + path {
	case "GET .well-known/openid-configuration":
		s.answerOAuth(w, http.StatusOK, s.discovery())
	case "GET oauth/discovery/keys":
		s.answerOAuth(w, http.StatusOK, s.keys())
	case "GET oauth/authorize", "POST oauth/authorize":
		s.authorizePage(w, r)
	case "POST oauth/token":
		s.token(w, r)
	case "GET oauth/userinfo", "POST oauth/userinfo":
		s.userinfo(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) answerOAuth(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away
}

func (s *Server) refuseOAuth(w http.ResponseWriter, status int, code, text string) {
	s.answerOAuth(w, status, object{"error": code, "error_description": text})
}

func (s *Server) discovery() object {
	u := s.url()
	return object{
		"issuer": u, "authorization_endpoint": u + "/oauth/authorize", "token_endpoint": u + "/oauth/token",
		"revocation_endpoint": u + "/oauth/revoke", "introspection_endpoint": u + "/oauth/introspect",
		"userinfo_endpoint": u + "/oauth/userinfo", "jwks_uri": u + "/oauth/discovery/keys",
		"scopes_supported":         []string{"api", "read_api", "read_user", "openid", "profile", "email"},
		"response_types_supported": []string{"code"}, "response_modes_supported": []string{"query", "fragment", "form_post"},
		"grant_types_supported":                 []string{"authorization_code", "refresh_token"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"subject_types_supported":               []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"claim_types_supported": []string{"normal"}, "code_challenge_methods_supported": []string{"plain", "S256"},
	}
}

// signingKey is made when it is first asked for: most tests need none.
func (s *Server) signingKey() *rsa.PrivateKey {
	if s.oauth.key == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err) // the system has no randomness
		}
		s.oauth.key = key
	}
	return s.oauth.key
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func (s *Server) keys() object {
	pub := s.signingKey().PublicKey
	return object{"keys": []object{{
		"kty": "RSA", "kid": "sim-1", "use": "sig", "alg": "RS256",
		"n": b64(pub.N.Bytes()), "e": b64(big.NewInt(int64(pub.E)).Bytes()),
	}}}
}

// authorizePage asks the person, or sends a trusted application's person back at once. What is wrong with application or
// redirect URL is a page: nobody is sent to an address that is not registered.
func (s *Server) authorizePage(w http.ResponseWriter, r *http.Request) {
	q := r.Form
	i := slices.IndexFunc(s.oauth.apps, func(a *application) bool { return a.id == q.Get("client_id") })
	if i < 0 {
		http.Error(w, "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.", http.StatusUnauthorized)
		return
	}
	app := s.oauth.apps[i]
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !slices.Contains(app.redirects, q.Get("redirect_uri")) {
		http.Error(w, "The redirect URI included is not valid.", http.StatusBadRequest)
		return
	}
	who, err := s.someone()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if who.blocked {
		http.Error(w, "Your account has been blocked. If you believe this is in error, contact a staff member.", http.StatusForbidden)
		return
	}
	send := func(values url.Values) {
		values.Set("state", q.Get("state"))
		back.RawQuery = values.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
	}
	for scope := range strings.FieldsSeq(q.Get("scope")) {
		if !slices.Contains(app.scopes, scope) {
			send(url.Values{"error": {"invalid_scope"}, "error_description": {"The requested scope is invalid, unknown, or malformed."}})
			return
		}
	}
	switch {
	case q.Get("response_type") != "code":
		send(url.Values{"error": {"unsupported_response_type"}, "error_description": {"The authorization server does not support this response type."}})
	case r.Method == http.MethodGet && !app.trusted:
		s.pageOAuth(w, app, who, q)
	case r.Method == http.MethodPost && q.Get("answer") != "yes":
		send(url.Values{"error": {"access_denied"}, "error_description": {"The resource owner or authorization server denied the request."}})
	default:
		g := &grant{
			app: app, user: who, code: rand.Text() + rand.Text(), redirect: q.Get("redirect_uri"), scope: q.Get("scope"), nonce: q.Get("nonce"), at: s.now(),
		}
		if q.Get("code_challenge_method") == "S256" {
			g.challenge = q.Get("code_challenge")
		}
		s.oauth.grants = append(s.oauth.grants, g)
		send(url.Values{"code": {g.code}})
	}
}

func (s *Server) pageOAuth(w http.ResponseWriter, app *application, who *User, q url.Values) {
	fields := map[string]string{}
	for name := range q {
		fields[name] = q.Get(name)
	}
	s.render(w, http.StatusOK, "authorize", frame{
		Root: s.opt.RelativeRoot, Title: "Authorize " + app.name, Data: object{"App": app.name, "User": who.Username, "Fields": fields, "Action": s.opt.RelativeRoot + "/oauth/authorize"},
	})
}

// token trades a code, once.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if basic { // both parts are form-encoded inside (RFC 6749 §2.3.1)
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	i := slices.IndexFunc(s.oauth.apps, func(a *application) bool {
		return a.id == id && subtle.ConstantTimeCompare([]byte(a.secret), []byte(secret)) == 1
	})
	if i < 0 {
		s.refuseOAuth(w, http.StatusUnauthorized, "invalid_client", "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.")
		return
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		s.refuseOAuth(w, http.StatusBadRequest, "unsupported_grant_type", "The authorization grant type is not supported by the authorization server.")
		return
	}
	g := s.tradable(s.oauth.apps[i], r.PostForm)
	if g == nil {
		s.refuseOAuth(w, http.StatusBadRequest, "invalid_grant", "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.")
		return
	}
	g.used, g.token, g.until = true, rand.Text()+rand.Text(), s.now().Add(2*time.Hour)
	body := object{
		"access_token": g.token, "token_type": "Bearer", "expires_in": 7200, "refresh_token": rand.Text() + rand.Text(),
		"scope": g.scope, "created_at": s.now().Unix(),
	}
	if slices.Contains(strings.Fields(g.scope), "openid") {
		body["id_token"] = s.idToken(g)
	}
	s.answerOAuth(w, http.StatusOK, body)
}

// tradable is the grant of a code that is good for a token, nil when it is not.
func (s *Server) tradable(app *application, form url.Values) *grant {
	for _, g := range s.oauth.grants {
		if g.code != form.Get("code") || g.app != app || g.used || s.now().Sub(g.at) > codeLife || g.redirect != form.Get("redirect_uri") || g.user.blocked {
			continue
		}
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if g.challenge != "" && b64(sum[:]) != g.challenge {
			return nil
		}
		return g
	}
	return nil
}

func (s *Server) idToken(g *grant) string {
	now := s.now().Add(s.oauth.skew)
	claims := object{
		"iss": s.url(), "sub": strconv.FormatInt(g.user.ID, 10), "aud": g.app.id, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"auth_time": now.Unix(), "sub_legacy": "0", "groups_direct": s.oauth.groups[g.user.ID],
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	head, _ := json.Marshal(object{"typ": "JWT", "kid": "sim-1", "alg": "RS256"}) // plain values
	text, _ := json.Marshal(claims)
	signed := b64(head) + "." + b64(text)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, s.signingKey(), crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // the key is ours and long enough
	}
	return signed + "." + b64(sig)
}

func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) {
	value, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	i := slices.IndexFunc(s.oauth.grants, func(g *grant) bool {
		return value != "" && g.token == value && s.now().Before(g.until) && !g.user.blocked
	})
	if i < 0 {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Protected by OAuth 2.0", error="invalid_token"`)
		s.refuseOAuth(w, http.StatusUnauthorized, "invalid_token", "The access token is invalid")
		return
	}
	g := s.oauth.grants[i]
	u, scopes := g.user, strings.Fields(g.scope)
	body := object{"sub": strconv.FormatInt(u.ID, 10), "sub_legacy": "0", "groups": append([]string{}, s.oauth.groups[u.ID]...)}
	if slices.Contains(scopes, "profile") {
		body["name"], body["nickname"], body["preferred_username"] = u.Name, u.Username, u.Username
		body["profile"], body["picture"], body["website"] = s.url()+"/"+u.Username, s.avatar(u), ""
	}
	if slices.Contains(scopes, "email") {
		body["email"], body["email_verified"] = u.email(), true
	}
	s.answerOAuth(w, http.StatusOK, body)
}
