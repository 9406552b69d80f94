package web

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/store"
)

// wantTexts holds an answer to what it must and must not hold.
func (a answer) wantTexts(t *testing.T, status int, want []string, not ...string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d\n%.2000s", a.status, status, a.body)
	}
	for _, w := range want {
		if !strings.Contains(a.body, w) {
			t.Errorf("it lacks %q:\n%.3000s", w, a.body)
		}
	}
	for _, w := range not {
		if strings.Contains(a.body, w) {
			t.Errorf("it holds %q:\n%.3000s", w, a.body)
		}
	}
}

func TestContextsOverTheAPI(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("net")
	s.stack("edge")
	c := s.apiOK(201, post, "/contexts", `{"name":"AWS prod","description":"The account","labels":["cloud","autoattach:edge"]}`)
	if c["slug"] != "aws-prod" || fmt.Sprint(c["autoattach"]) != "[edge]" || c["stacks"] != 0.0 {
		t.Errorf("created %v", c)
	}
	s.apiOK(409, post, "/contexts", `{"name":"aws PROD"}`)
	s.apiOK(422, post, "/contexts", `{"name":"…"}`)
	s.apiOK(422, post, "/contexts", `{"name":"x","labels":["autoattach:"]}`)
	s.apiOK(422, post, "/contexts", `{"name":"x","nonsense":1}`)
	s.apiOK(201, post, "/contexts", `{"name":"Base"}`)

	s.apiOK(200, put, "/contexts/aws-prod/variables/AWS_KEY", `{"value":"hush-hush-hush","secret":true}`)
	s.apiOK(200, put, "/contexts/aws-prod/variables/REGION", `{"value":"eu"}`)
	s.apiOK(200, put, "/contexts/base/variables/REGION", `{"value":"us"}`)
	s.apiOK(422, put, "/contexts/base/variables/PATH", `{"value":"x"}`)
	s.apiOK(422, put, "/contexts/base/variables/X", `{}`)
	s.apiOK(404, put, "/contexts/none/variables/X", `{"value":"x"}`)
	s.apiOK(200, put, "/contexts/aws-prod/files/keys/deploy%20key.json", `{"content":"{\"k\": \"hush-hush-hush\"}","secret":true}`)
	raw := base64.StdEncoding.EncodeToString([]byte{0xff, 0, 1})
	f := s.apiOK(200, put, "/stacks/net/files/100%25.bin", `{"encoding":"base64","content":"`+raw+`"}`)
	if f["path"] != "100%.bin" || f["content"] != raw || f["encoding"] != "base64" || f["size"] != 3.0 {
		t.Errorf("a binary file: %v", f)
	}
	for _, path := range []string{"..%2f..%2fetc%2fpasswd", "a/../../b", "%2fetc/passwd", "a%00b", ".terraform/x", "source/.git/config", "a%5cb", "x%0a"} {
		a := s.api(bootstrap, put, "/stacks/net/files/"+path, `{"content":"x"}`)
		if a.status != 422 && a.status != 404 && a.status != 400 {
			t.Errorf("the path %s: status %d %s", path, a.status, a.body)
		}
	}
	s.apiOK(422, put, "/stacks/net/files/a", `{"encoding":"base64","content":"?"}`)
	s.apiOK(422, put, "/stacks/net/files/a", `{"encoding":"rot13","content":"x"}`)
	s.apiOK(422, put, "/stacks/net/files/a", `{}`)
	s.apiOK(422, put, "/stacks/net/files/a", `{"secret":true,"content":"`+strings.Repeat("x", runs.MaxSecretFile+1)+`"}`)
	if got := s.apiOK(200, get, "/stacks/net/files", "")["items"].([]any); len(got) != 1 {
		t.Errorf("files %v", got)
	}

	// Attached by hand with priorities, and by label.
	s.apiOK(200, put, "/stacks/net/contexts/base", `{"priority":5}`)
	got := s.apiOK(200, put, "/stacks/net/contexts/aws-prod", `{"priority":2}`)
	if got["context"] != "aws-prod" || got["attached"] != "person" || got["priority"] != 2.0 || got["label"] != nil {
		t.Errorf("attached %v", got)
	}
	s.apiOK(422, put, "/stacks/net/contexts/aws-prod", `{"priority":99999999}`)
	s.apiOK(404, put, "/stacks/net/contexts/none", `{}`)
	s.update(func(tx *store.Tx) error {
		st, err := tx.Stack("edge")
		st.Labels = []string{"edge"}
		return errors.Join(err, tx.PutStack(st))
	})
	s.apiOK(200, put, "/stacks/net/variables/REGION", `{"value":"own"}`)
	region := func() (out string) {
		for _, v := range s.apiOK(200, get, "/stacks/net/environment", "")["variables"].([]any) {
			if v := v.(map[string]any); v["name"] == "REGION" {
				out = fmt.Sprint(v["value"], " from ", v["from"].(map[string]any)["context"])
				for _, o := range v["overrides"].([]any) {
					out += " over " + fmt.Sprint(o.(map[string]any)["context"])
				}
			}
		}
		return out
	}
	if got := region(); got != "own from <nil> over aws-prod over base" {
		t.Error(got)
	}
	s.apiOK(204, remove, "/stacks/net/variables/REGION", "")
	if got := region(); got != "eu from aws-prod over base" {
		t.Error(got)
	}
	s.apiOK(200, put, "/stacks/net/contexts/base", `{"priority":-1}`)
	if got := region(); got != "us from base over aws-prod" {
		t.Error(got)
	}
	s.api(bootstrap, get, "/contexts/aws-prod/stacks", "").wantTexts(t, 200, []string{`{"stack":"edge","attached":"label","priority":null,"label":"edge"}`, `{"stack":"net","attached":"person","priority":2,"label":null}`})
	s.api(bootstrap, get, "/stacks/edge/contexts", "").wantTexts(t, 200, []string{`"attached":"label"`, `"label":"edge"`})

	// Secrets are nowhere to be read, nor in the audit log; of plain values there is everything.
	for _, path := range []string{
		"/contexts/aws-prod/variables", "/contexts/aws-prod/variables/AWS_KEY", "/contexts/aws-prod/files", "/contexts/aws-prod/files/keys/deploy%20key.json",
		"/stacks/net/environment", "/stacks/edge/environment", "/audit?limit=200", "/contexts", "/contexts/aws-prod",
	} {
		s.api(bootstrap, get, path, "").wantTexts(t, 200, nil, "hush-hush-hush")
	}
	audit := s.api(bootstrap, get, "/audit?limit=200", "")
	audit.wantTexts(t, 200, []string{"context.create", "context.attach", "file.set", "variable.set", "digest:", "context:aws-prod/keys/deploy key.json"})

	// What is attached is not deleted.
	s.api(bootstrap, remove, "/contexts/aws-prod", "").wantTexts(t, 409, []string{"edge, net", "Detach"})
	s.apiOK(204, remove, "/stacks/net/contexts/aws-prod", "")
	s.apiOK(404, remove, "/stacks/net/contexts/aws-prod", "")
	s.apiOK(200, patch, "/contexts/aws-prod", `{"labels":[]}`)
	s.apiOK(204, remove, "/contexts/aws-prod", "")
	s.apiOK(404, get, "/contexts/aws-prod", "")
	s.apiOK(404, get, "/contexts/aws-prod/variables", "")
	if got := region(); got != "us from base" {
		t.Error(got)
	}
}

func TestContextsComeInPages(t *testing.T) {
	s := newSite(t)
	s.update(func(tx *store.Tx) error {
		for i := range 120 {
			if _, err := tx.AddContext(runs.Context{Name: fmt.Sprintf("c %03d", i), Description: []string{"even", "odd"}[i%2]}); err != nil {
				return err
			}
		}
		return nil
	})
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := s.apiOK(200, get, "/contexts?limit=50&search=odd&cursor="+cursor, "")
		for _, c := range page["items"].([]any) {
			seen[c.(map[string]any)["slug"].(string)] = true
		}
		if cursor = page["next_cursor"].(string); cursor == "" {
			break
		}
	}
	if len(seen) != 60 || !seen["c-119"] {
		t.Errorf("%d contexts", len(seen))
	}
	b := s.signedIn(store.Reader)
	s.get(b, "/contexts").wantTexts(t, 200, []string{"50 of 120", "c 049", "cursor=c-049"}, "c 050<")
	s.get(b, "/contexts?cursor=c-099").wantTexts(t, 200, []string{"20 of 120", "c 119", "To the beginning"}, "Next page")
	s.get(b, "/contexts?q=c+119").wantTexts(t, 200, []string{"c 119"}, "c 118")
	s.get(b, "/contexts?q=nothing").wantTexts(t, 200, []string{"No context matches"})
	s.get(b, "/ui/find?q=c+07").wantTexts(t, 200, []string{`"/contexts/c-070"`})
	s.get(b, "/ui/find?q=contexts").wantTexts(t, 200, []string{`"/contexts"`})
}

// upload sends the form of a file as a browser does.
func (s *site) upload(b *http.Client, path string, fields map[string]string, name string, content []byte) answer {
	s.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for k, v := range fields {
		must(s.t, w.WriteField(k, v))
	}
	f, err := w.CreateFormFile("upload", name)
	must(s.t, err)
	_, err = f.Write(content)
	must(s.t, errors.Join(err, w.Close()))
	req, err := http.NewRequestWithContext(s.t.Context(), post, s.srv.URL+path, &body)
	must(s.t, err)
	req.Header.Set("Content-Type", w.FormDataContentType())
	return s.do(b, req)
}

func TestContextPages(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("net")
	b := s.signedIn(store.Admin)
	s.get(b, "/contexts").wantTexts(t, 200, []string{"No contexts yet", `href="/contexts/new"`})
	s.post(b, "/contexts", "name", "New").wantTexts(t, 422, []string{"cannot be called"})
	if a := s.post(b, "/contexts", "name", "AWS", "labels", "cloud, autoattach:prod", "description", "The account"); a.status != 303 || a.header.Get("Location") != "/contexts/aws" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	s.get(b, "/contexts/aws").wantTexts(t, 200, []string{"No variables yet", "No files yet", "attached to stacks labelled prod"})
	s.get(b, "/contexts/aws/stacks").wantTexts(t, 200, []string{"Attached to no stack"})

	s.post(b, "/contexts/aws/variables", "name", "9", "value", "x").wantTexts(t, 422, []string{"cannot be a variable&#39;s name"})
	s.post(b, "/contexts/aws/variables", "name", "KEY", "value", "hush-hush-hush", "secret", "on").wantTexts(t, 303, nil)
	s.post(b, "/contexts/aws/variables", "name", "REGION", "value", "eu").wantTexts(t, 303, nil)
	s.get(b, "/contexts/aws?edit=KEY").wantTexts(t, 200, []string{"Change KEY"}, "hush-hush-hush")
	s.post(b, "/contexts/aws/variables", "name", "KEY", "value", "", "secret", "on").wantTexts(t, 422, []string{"cannot be read back"})

	s.upload(b, "/contexts/aws/files", map[string]string{"path": "../x", "secret_file": "on", "content": "hush-hush-hush"}, "", nil).wantTexts(t, 422, []string{"leads out of"}, "hush-hush-hush")
	s.upload(b, "/contexts/aws/files", map[string]string{"path": "ca.pem", "content": "line 1\r\nline 2\r\n"}, "", nil).wantTexts(t, 303, nil)
	s.upload(b, "/contexts/aws/files", map[string]string{"path": "trust.p12", "content": "not this"}, "trust.p12", []byte{0xff, 1, 2, 3}).wantTexts(t, 303, nil)
	s.upload(b, "/contexts/aws/files", map[string]string{"path": "key", "secret_file": "on"}, "key", []byte("hush-hush-hush")).wantTexts(t, 303, nil)
	s.upload(b, "/contexts/aws/files", map[string]string{"path": "key", "secret_file": "on"}, "", nil).wantTexts(t, 422, []string{"Enter the file&#39;s content again"})
	s.upload(b, "/contexts/aws/files", map[string]string{"path": "big"}, "big", make([]byte, 2<<20)).wantTexts(t, 413, nil)
	s.upload(b, "/contexts/aws/files", map[string]string{"path": "big"}, "big", make([]byte, runs.MaxFile+1)).wantTexts(t, 422, []string{"524288 is the most"})
	if f := s.apiOK(200, get, "/contexts/aws/files/ca.pem", ""); f["content"] != "line 1\nline 2\n" {
		t.Errorf("browsers' line ends stay: %q", f["content"])
	}
	s.get(b, "/contexts/aws?file=ca.pem").wantTexts(t, 200, []string{"line 1\nline 2", "Change ca.pem"})
	s.get(b, "/contexts/aws?file=key").wantTexts(t, 200, []string{"Change key"}, "hush-hush-hush")
	s.get(b, "/contexts/aws?file=trust.p12").wantTexts(t, 200, []string{"not text"})

	s.get(b, "/stacks/net/contexts").wantTexts(t, 200, []string{"No context is attached", "Attach a context", `value="aws"`})
	s.post(b, "/stacks/net/contexts", "context", "aws", "priority", "first").wantTexts(t, 422, []string{"is no whole number"})
	s.post(b, "/stacks/net/contexts", "context", "aws", "priority", "7").wantTexts(t, 303, nil)
	s.get(b, "/stacks/net/contexts").wantTexts(t, 200, []string{"attached with priority 7", "2 variables, 3 files"})
	s.get(b, "/stacks/net/environment").wantTexts(t, 200, []string{"priority 7", `href="/contexts/aws"`, "Override", "REGION"}, "hush-hush-hush")
	s.get(b, "/stacks/net/environment?edit=REGION").wantTexts(t, 200, []string{"Add a variable", `value="REGION"`})
	s.post(b, "/stacks/net/environment", "name", "REGION", "value", "own").wantTexts(t, 303, nil)
	s.get(b, "/stacks/net/environment").wantTexts(t, 200, []string{"this stack", "overrides", "Runs that start after this get that of AWS"})
	s.upload(b, "/stacks/net/environment/files", map[string]string{"path": "ca.pem", "content": "own"}, "", nil).wantTexts(t, 303, nil)
	s.post(b, "/stacks/net/environment/files/delete", "path", "ca.pem").wantTexts(t, 303, nil)
	s.get(b, "/contexts/aws/stacks").wantTexts(t, 200, []string{"attached with priority 7", "infra/"})
	s.get(b, "/contexts/aws/settings").wantTexts(t, 200, []string{"It is attached to 1 stack"})
	s.post(b, "/contexts/aws/delete", "slug", "aws").wantTexts(t, 409, []string{"attached to net"})
	s.post(b, "/stacks/net/contexts/detach", "context", "aws").wantTexts(t, 303, nil)
	s.post(b, "/contexts/aws/delete", "slug", "awz").wantTexts(t, 422, []string{"not the context&#39;s address"})
	s.post(b, "/contexts/aws/settings", "name", "AWS 2", "labels", "").wantTexts(t, 303, nil)

	r := s.signedIn(store.Reader)
	s.get(r, "/contexts/aws?file=ca.pem").wantTexts(t, 200, []string{"AWS 2", "line 1\nline 2", "Only an admin can change"}, "<textarea", "hush-hush-hush")
	s.post(b, "/contexts/aws/files/delete", "path", "key").wantTexts(t, 303, nil)
	s.post(b, "/contexts/aws/variables/delete", "name", "KEY").wantTexts(t, 303, nil)
	s.post(b, "/contexts/aws/delete", "slug", "aws").wantTexts(t, 303, nil)
	s.get(b, "/contexts/aws").wantTexts(t, 404, nil)
}

// People from GitLab see the contexts of the stacks that they may read, and of their users only those stacks.
func TestContextsFollowGitLab(t *testing.T) {
	g := newGuild(t)
	g.update(func(tx *store.Tx) error {
		for _, name := range []string{"shared", "theirs", "nobody's"} {
			if _, err := tx.AddContext(runs.Context{Name: name}); err != nil {
				return err
			}
		}
		return errors.Join(tx.Attach(runs.Attachment{Stack: "a", Context: "shared"}), tx.Attach(runs.Attachment{Stack: "hidden", Context: "shared"}),
			tx.Attach(runs.Attachment{Stack: "hidden", Context: "theirs"}))
	})
	b := g.people["reporter"]
	g.get(b, "/stacks/a") // GitLab is asked for the page; the list then shows what it said
	g.get(b, "/contexts").wantTexts(t, 200, []string{"shared", "1 stack"}, "theirs", "nobody")
	g.get(b, "/contexts/shared/stacks").wantTexts(t, 200, []string{`href="/stacks/a/contexts"`}, "/stacks/hidden")
	g.get(b, "/contexts/theirs").wantTexts(t, 404, []string{"There is no context"})
	g.get(b, "/ui/find?q=theirs").wantTexts(t, 200, nil, "theirs")
	g.post(g.people["maintainer"], "/stacks/a/contexts", "context", "theirs", "priority", "0").wantTexts(t, 403, nil)
	g.get(b, "/stacks/hidden/environment").wantTexts(t, 404, nil)
}
