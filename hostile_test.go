package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deliver sends a body to the webhook endpoint.
func (r *rig) deliver(event, secret string, body []byte) int {
	r.t.Helper()
	req, err := http.NewRequest("POST", r.url+"/webhooks/gitlab", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Gitlab-Event", event)
	if secret != "" {
		req.Header.Set("X-Gitlab-Token", secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatalf("%s with %d bytes: %v", event, len(body), err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestHostileDeliveriesGetAnAnswerAndAVerdict(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "", nil)
	secret := r.secret()
	if got := r.deliver("Push Hook", "wrong", []byte(`{}`)); got != http.StatusUnauthorized {
		t.Errorf("wrong secret: %d", got)
	}
	if got := r.deliver("Push Hook", "", []byte(`{}`)); got != http.StatusUnauthorized {
		t.Errorf("no secret: %d", got)
	}
	if got := r.deliver("Push Hook", secret, bytes.Repeat([]byte("x"), 30<<20)); got != http.StatusRequestEntityTooLarge {
		t.Errorf("30 MB: %d", got)
	}
	project := fmt.Sprintf(`"project_id":%d,"project":{"id":%d}`, r.project.ID, r.project.ID)
	bodies := map[string][]string{
		"Push Hook": {
			"null", "[]", "", "{", `"text"`, "0", `{"object_kind":"push"}`, strings.Repeat("[", 100_000),
			`{"object_kind":"push",` + project + `,"ref":17}`, `{"object_kind":"push",` + project + `,"ref":"refs/heads/x","before":"","after":"zz","commits":null}`,
		},
		"Merge Request Hook": {"null", `{"object_kind":"merge_request",` + project + `}`, `{"object_kind":"merge_request",` + project + `,"object_attributes":{"action":"open","iid":-3}}`},
		"Tag Push Hook":      {`{"object_kind":"tag_push",` + project + `,"ref":"refs/tags/\u0000"}`},
		"Wiki Page Hook":     {`{"object_kind":"wiki_page",` + project + `}`},
		"":                   {`{}`},
		"No Such Hook":       {`{"object_kind":"\u001b[31m"}`},
	}
	sent := 0
	for event, list := range bodies {
		for _, body := range list {
			if got := r.deliver(event, secret, []byte(body)); got >= 500 {
				t.Errorf("%s %.60s: %d", event, body, got)
			}
			sent++
		}
	}
	files, err := filepath.Glob("gitlab/testdata/payloads/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no payloads: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var kind struct {
			ObjectKind string `json:"object_kind"`
		}
		_ = json.Unmarshal(raw, &kind) // some are lists of headers: hostile enough
		event := map[string]string{"push": "Push Hook", "tag_push": "Tag Push Hook", "merge_request": "Merge Request Hook", "note": "Note Hook"}[kind.ObjectKind]
		ours := bytes.ReplaceAll(raw, []byte(`"id": 42`), fmt.Appendf(nil, `"id": %d`, r.project.ID))
		ours = bytes.ReplaceAll(ours, []byte(`"project_id": 42`), fmt.Appendf(nil, `"project_id": %d`, r.project.ID))
		for _, body := range [][]byte{raw, ours} {
			if got := r.deliver(event, secret, body); got >= 500 {
				t.Errorf("%s: %d", f, got)
			}
			sent++
		}
	}
	until(t, "all verdicts", func() bool { return len(r.items("/deliveries?state=waiting")) == 0 })
	seen := 0
	path := "/deliveries?limit=200"
	for _, d := range r.items(path) {
		if d["verdict"] == "" {
			t.Errorf("no verdict: %v", d)
		}
		seen++
	}
	if seen < sent/2 {
		t.Errorf("%d deliveries kept of %d sent", seen, sent)
	}
	r.must("GET", "/stacks", nil, 200)
}

// canary is looked for in everything the server keeps, shows and sends.
const canary = "s3cr3t-Canary/Value+42"

func TestNoSecretShowsAnywhere(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.must("PUT", "/stacks/network/variables/TF_VAR_password", map[string]any{"value": canary, "secret": true}, 200)
	code := `variable "password" { type = string }
resource "terraform_data" "leak" {
  input = var.password
  provisioner "local-exec" {
    command = "echo plain $TF_VAR_password; echo $TF_VAR_password | base64; env"
  }
}
output "leak" { value = var.password }
`
	r.push("feature", "Leak", map[string]string{"infra/main.tf": code})
	iid := r.openMR("feature", "Leak")
	r.run("proposed", "finished")
	r.push("main", "Leak", map[string]string{"infra/main.tf": code})
	run := r.run("tracked", "unconfirmed")
	r.must("POST", "/runs/"+run["id"].(string)+"/confirm", nil, 200)
	r.run("tracked", "finished")
	r.quiet()
	applied := r.logs(run["id"].(string))
	if !strings.Contains(applied, "plain [secret]") {
		t.Fatalf("the provisioner did not print what it was to print:\n%s", applied)
	}
	for _, name := range []string{r.token, bootstrap, adminPW, "GROUNDCREW_BOOTSTRAP_TOKEN", "GROUNDCREW_ADMIN_PASSWORD"} {
		if strings.Contains(applied, name) {
			t.Errorf("the run saw %q of the server's environment", name)
		}
	}
	secrets := []string{canary, "czNjcjN0LUNhbmFyeS9WYWx1ZSs0Mg", r.token, bootstrap, adminPW}
	look := func(where string, raw []byte) {
		for _, s := range secrets {
			if bytes.Contains(raw, []byte(s)) {
				t.Errorf("%s holds %q", where, s)
			}
		}
	}
	for _, path := range []string{"/runs", "/stacks", "/stacks/network/variables", "/reports", "/deliveries", "/audit", "/runs/" + run["id"].(string) + "/changes"} {
		_, raw := r.api("GET", path, nil)
		look(path, raw)
	}
	for _, q := range r.sim.Requests() {
		look("request "+q.Path, []byte(q.Path+q.Query+q.Body))
	}
	for _, n := range r.notes(iid) {
		look("comment", []byte(n.Body))
	}
	r.halt()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		look(path, raw)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
