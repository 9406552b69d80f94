package web

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestS21AddressesOfGitLab: what is no address of a GitLab is refused with words, and nothing is kept; this server is none.
func TestS21AddressesOfGitLab(t *testing.T) {
	s := newSite(t)
	for _, address := range []string{"http://169.254.169.254", "http://[fe80::1]", "file:///etc/passwd", "gopher://x", "http://user:pw@x", "javascript:alert(1)", s.srv.URL} {
		p := s.problemOf(422, put, "/integration", fmt.Sprintf(`{"api_url":%q,"token":"glpat-canary"}`, address))
		if strings.Contains(p.Detail, "canary") || strings.Contains(p.Detail, "pw@") {
			t.Errorf("%s: the answer repeats a secret: %s", address, p.Detail)
		}
	}
	must(t, s.st.View(func(tx *store.Tx) error {
		if in, known, err := tx.Integration(); known || err != nil {
			t.Errorf("kept: %+v, %v", in.APIURL, err)
		}
		return nil
	}))
}

// TestS34StateIsForAdmins: who only reads, or writes, gets neither the state nor what is sensitive in it, in no page or list.
func TestS34StateIsForAdmins(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.planned(s.request("a", runs.Tracked, "c1").ID)
	v, err := s.st.WriteState("a", []byte(`{"version":4,"serial":3,"outputs":{"p":{"value":"s3cret","sensitive":true}}}`))
	must(t, err)
	v.Serial, v.Lineage, v.By = 3, "l", "ann"
	s.update(func(tx *store.Tx) error { _, err := tx.AddStateVersion("a", v); return err })
	for _, role := range []store.Role{store.Reader, store.Writer} {
		b, key := s.signedIn(role), s.key(role)
		for _, path := range []string{"/stacks/a/state/1/download", "/api/v1/stacks/a/state"} {
			if got := s.get(b, path); got.status != 403 || strings.Contains(got.body, "s3cret") {
				t.Errorf("%s as %s: status %d", path, role, got.status)
			}
		}
		if got := s.api(key, get, "/stacks/a/state", ""); got.status != 403 {
			t.Errorf("the state with the key of a %s: status %d", role, got.status)
		}
		for _, path := range []string{"/stacks/a/state", "/stacks/a", "/runs/" + r.ID, "/runs/" + r.ID + "/changes.json", "/ui/find?q=s3", "/api/v1/stacks/a/state/versions"} {
			if got := s.get(b, path); got.status >= 500 || strings.Contains(got.body, "s3cret") {
				t.Errorf("%s as %s shows what is sensitive", path, role)
			}
		}
	}
	if got := s.get(s.signedIn(store.Admin), "/settings/audit"); strings.Contains(got.body, "s3cret") {
		t.Error("the audit log shows what is sensitive")
	}
}

// TestS41WhatWasSentIsNotSaidAgain: whatever secret comes with a request that is refused, the answer does not hold it.
func TestS41WhatWasSentIsNotSaidAgain(t *testing.T) {
	const canary = "canary-7f3a9c"
	s := newSite(t)
	s.link("https://gitlab.test")
	s.user("ann", store.Admin)
	answers := map[string]answer{
		"a hook":             s.hook(canary, `{"object_kind":"push","token":"`+canary+`"}`),
		"a key":              s.api(canary, get, "/stacks", ""),
		"a key to write":     s.api(canary, post, "/stacks", `{"name":"`+canary+`"}`),
		"a password":         s.post(s.browser(), "/login", "username", "ann", "password", canary),
		"a set-up token":     s.get(s.browser(), "/setup?token="+canary),
		"an invitation":      s.get(s.browser(), "/welcome?token="+canary),
		"an answer of OAuth": s.get(s.browser(), callbackPath+"?code="+canary+"&state=x"),
		"GitLab's token":     s.api(bootstrap, put, "/integration", `{"api_url":"http://127.0.0.1:1","token":"`+canary+`"}`),
		"broken JSON":        s.api(bootstrap, put, "/integration", `{"token":"`+canary+`"`),
		"a wrong type":       s.api(bootstrap, put, "/integration", `{"token":["`+canary+`"]}`),
		"a variable":         s.api(bootstrap, put, "/stacks/nothing/variables/X", `{"value":"`+canary+`","secret":true}`),
	}
	for what, got := range answers {
		if got.status < 400 {
			t.Errorf("%s: status %d", what, got.status)
		}
		if strings.Contains(got.body+fmt.Sprint(got.header), canary) {
			t.Errorf("%s is said again:\n%s", what, got.body)
		}
	}
}

// TestS42LogsAndStreamsAskForTheRightToTheRun: neither nobody nor who may not see the project gets a log or a stream, however the
// address is put together.
func TestS42LogsAndStreamsAskForTheRightToTheRun(t *testing.T) {
	g := newGuild(t)
	g.writeLog(g.secret.ID, runs.Planning, "the hidden log\n")
	for _, path := range []string{
		"/runs/%s/logs/planning", "/runs/%s/live", "/runs/%s/changes.json", "/api/v1/runs/%s/logs/planning", "/api/v1/runs/%s/events", "/api/v1/runs/%s/changes",
	} {
		hidden := fmt.Sprintf(path, g.secret.ID)
		if got := g.get(g.people["maintainer"], hidden); got.status != 404 || strings.Contains(got.body, "hidden log") {
			t.Errorf("%s as a Maintainer of another project: status %d", hidden, got.status)
		}
		if got := g.gate(g.browser(), "", get, hidden); got != '?' {
			t.Errorf("%s as nobody: %c", hidden, got)
		}
	}
	for _, path := range []string{
		"/runs/" + g.waiting.ID + "/logs/..%2f" + g.secret.ID + "%2fplanning", "/runs/" + g.waiting.ID + "%2f..%2f" + g.secret.ID + "/logs/planning",
		"/runs/" + g.waiting.ID + "/logs/../../" + g.secret.ID + "/logs/planning", "/runs/" + g.waiting.ID + "/logs/nothing",
	} {
		if got := g.get(g.people["maintainer"], path); got.status < 300 || strings.Contains(got.body, "hidden log") {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
}

// TestS45KeysAreHashedAndBounded: a reader's key confirms nothing, a deleted key is dead, and no key is in the store as it is.
func TestS45KeysAreHashedAndBounded(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.planned(s.request("a", runs.Tracked, "c1").ID)
	reader, writer := s.key(store.Reader), s.key(store.Writer)
	for _, act := range []string{"confirm", "discard", "stop", "promote", "prioritize", "retry"} {
		if got := s.api(reader, post, "/runs/"+r.ID+"/"+act, `{"fingerprint":"f1"}`); got.status != http.StatusForbidden {
			t.Errorf("%s with a reader's key: status %d", act, got.status)
		}
	}
	if got := s.apiOK(200, get, "/runs/"+r.ID, "")["state"]; got != "unconfirmed" {
		t.Errorf("the run is %v", got)
	}
	list := s.apiOK(200, get, "/api-keys", "")["items"].([]any)
	for _, k := range list {
		s.apiOK(204, remove, "/api-keys/"+k.(map[string]any)["id"].(string), "")
	}
	if got := s.api(writer, post, "/runs/"+r.ID+"/confirm", `{"fingerprint":"f1"}`); got.status != http.StatusUnauthorized {
		t.Errorf("a deleted key confirms: status %d", got.status)
	}
	s.user("stays", store.Admin)
	maker, kept := s.user("maker", store.Admin), ""
	s.update(func(tx *store.Tx) (err error) {
		_, kept, err = tx.AddAPIKey(store.APIKey{Name: "kept", Role: store.Admin, Owner: maker.ID})
		return err
	})
	for _, disabled := range []bool{false, true, false} {
		s.apiOK(200, patch, "/users/"+maker.ID, fmt.Sprintf(`{"disabled":%t}`, disabled))
		if got := s.api(kept, get, "/users", ""); (got.status == http.StatusUnauthorized) != disabled {
			t.Errorf("its maker is disabled: %t, and a key is answered %d", disabled, got.status)
		} else if disabled && !strings.Contains(got.body, "or the account of who made it is disabled") {
			t.Errorf("a key of somebody disabled is answered %s", got.body)
		}
		if k := s.apiOK(200, get, "/api-keys", "")["items"].([]any)[0].(map[string]any); k["refused"] != disabled {
			t.Errorf("its maker is disabled: %t, and the list says %v", disabled, k)
		}
	}
	must(t, filepath.WalkDir(s.st.Dir(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), reader) || strings.Contains(string(raw), writer) {
			t.Errorf("%s holds a key as it is", path)
		}
		return err
	}))
}
