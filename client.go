package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"groundcrew/runs"
)

// A client speaks the REST API of a server for the commands people and scripts type.
type client struct {
	base  string // https://groundcrew.example.com, without /api/v1
	token runs.Secret
	http  *http.Client
}

// A login is where a client finds its server, as `groundcrew login` keeps it for one user of one machine.
type login struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	CA    string `json:"ca_file,omitempty"`
}

// clientTimeout bounds a request of a client, streams excepted.
const clientTimeout = 30 * time.Second

// errNoLogin is said when nothing tells where the server is.
var errNoLogin = usageError{exitUsage, "it is not known which server to ask. Set GROUNDCREW_URL and GROUNDCREW_TOKEN (or GROUNDCREW_TOKEN_FILE), " +
	"or let `groundcrew login https://…` remember them. Keys are made under Settings › API keys."}

// newClient makes a client from the environment, or else from what login kept.
func newClient(getenv func(string) string) (*client, error) {
	l := login{URL: getenv("GROUNDCREW_URL"), CA: getenv("GROUNDCREW_CA_FILE")}
	token, err := secret("GROUNDCREW_TOKEN", getenv)
	if err != nil {
		return nil, err
	}
	l.Token = token.Reveal()
	if l.URL == "" && l.Token == "" {
		if l, err = readLogin(getenv); err != nil {
			return nil, err
		}
	}
	if l.URL == "" || l.Token == "" {
		return nil, errNoLogin
	}
	return l.client()
}

func (l login) client() (*client, error) {
	u, err := url.Parse(l.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usageError{exitUsage, fmt.Sprintf("the server's address %q can't be used: write http://host or https://host", l.URL)}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if l.CA != "" {
		pem, err := os.ReadFile(l.CA)
		if err != nil {
			return nil, usageError{exitUsage, fmt.Sprintf("the CA certificate can't be read: %v", err)}
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, usageError{exitUsage, l.CA + " holds no certificate in PEM form"}
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &client{
		base: strings.TrimRight(l.URL, "/"), token: runs.Secret(l.Token),
		// A redirect would carry the key to another host.
		http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// loginFile is where a login is kept: XDG_CONFIG_HOME or ~/.config, in groundcrew/login.json.
func loginFile(getenv func(string) string) (string, error) {
	dir := getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return "", usageError{exitUsage, "neither XDG_CONFIG_HOME nor HOME is set, so there is no place for a login"}
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "groundcrew", "login.json"), nil
}

func readLogin(getenv func(string) string) (login, error) {
	var l login
	path, err := loginFile(getenv)
	if err != nil {
		return l, errNoLogin
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, errNoLogin
	}
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil {
		return l, usageError{exitUsage, fmt.Sprintf("the login in %s can't be read: %v. `groundcrew login` writes a new one.", path, err)}
	}
	return l, nil
}

// write keeps the login for this user alone.
func (l login) write(path string) error {
	raw, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// An apiError is the server's refusal in its own words.
type apiError struct {
	status int // 0: of another program below 500
	detail string
}

func (e *apiError) Error() string { return e.detail }

// request makes a request of the API; body is marshalled unless it is nil.
func (c *client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		raw, ok := body.([]byte)
		if !ok {
			var err error
			if raw, err = json.Marshal(body); err != nil {
				return nil, err
			}
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, reader)
	if err != nil {
		return nil, usageError{exitUsage, err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	req.Header.Set("User-Agent", "groundcrew/"+version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// send makes the request and returns an answer of the 2xx kind, whose body the caller closes; any other is an
// *apiError, and no answer an *unreachable.
func (c *client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &unreachable{c.base, err}
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// An unreachable server gave no answer.
type unreachable struct {
	base string
	err  error
}

func (e *unreachable) Error() string { return fmt.Sprintf("%s does not answer: %v", e.base, e.err) }
func (e *unreachable) Unwrap() error { return e.err }

// refusal reads the problem document of an answer, or says what kind of answer it is.
func refusal(resp *http.Response) error {
	e := &apiError{status: resp.StatusCode}
	var problem struct {
		Detail string `json:"detail"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case resp.StatusCode < 400:
		e.detail = fmt.Sprintf("the server answers %s to %s: is the address right?", resp.Status, resp.Header.Get("Location"))
	case err != nil || json.Unmarshal(raw, &problem) != nil || problem.Detail == "":
		e.detail = fmt.Sprintf("the server answers %s, but not as Groundcrew does: is the address right?", resp.Status)
		if e.status < http.StatusInternalServerError {
			e.status = 0 // somebody else's word on what is there and who may come in
		}
	case e.status == http.StatusUnauthorized:
		e.detail = "the server does not accept the API key: it is wrong, has expired or was ended, or the account of who made it is disabled. Give a valid one by GROUNDCREW_TOKEN or `groundcrew login`; keys are made under Settings › API keys"
	default:
		e.detail = problem.Detail
	}
	return e
}

// call makes a request and decodes the answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s is not what this version understands: %w", path, err)
	}
	return nil
}

// list reads the items of a list, page by page, at most as many as asked for.
func (c *client) list(ctx context.Context, path string, query url.Values, atMost int) ([]json.RawMessage, error) {
	items := []json.RawMessage{}
	for {
		query.Set("limit", fmt.Sprint(min(200, max(1, atMost-len(items)))))
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.NextCursor == "" || len(items) >= atMost {
			return items[:min(len(items), atMost)], nil
		}
		query.Set("cursor", page.NextCursor)
	}
}
