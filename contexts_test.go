package main

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

const contextCode = `
variable "groundcrew_mount" {}
variable "region" {}
variable "who" {}
variable "auto" {}
variable "tfvars" {}
variable "token" {}
locals {
  said = "${var.region}, ${var.who}, ${var.auto}, ${var.tfvars}, ${trimspace(file("${var.groundcrew_mount}/certs/ca.pem"))}"
}
output "said" {
  value = local.said
}
resource "terraform_data" "x" {
  input = "${local.said}, ${var.token}, ${trimspace(file("${var.groundcrew_mount}/keys/deploy.json"))}"
  provisioner "local-exec" {
    command = "echo applied with $TF_VAR_who and $(cat $GROUNDCREW_MOUNT/certs/ca.pem); printenv TF_VAR_token; cat $GROUNDCREW_MOUNT/keys/deploy.json; base64 < $GROUNDCREW_MOUNT/keys/deploy.json; stat -c '%a %U' $GROUNDCREW_MOUNT/keys/deploy.json"
  }
}
`

const (
	contextToken = "s3cret-t0ken-of-a-context"
	contextKey   = `{"private_key": "-----BEGIN KEY-----\nMIIEvQIBADANBgkq"}`
)

// contexts makes three contexts: two attached by hand, one by a label; and a stack whose own variable wins.
func (r *rig) contexts() {
	r.t.Helper()
	set := func(context, name, value string, secret bool) {
		r.must("PUT", "/contexts/"+context+"/variables/"+name, map[string]any{"value": value, "secret": secret}, 200)
	}
	mount := func(context, path, content string, secret bool) {
		r.must("PUT", "/contexts/"+context+"/files/"+path, map[string]any{"content": content, "secret": secret}, 200)
	}
	for _, c := range []map[string]any{{"name": "aws"}, {"name": "base"}, {"name": "auto", "labels": []string{"autoattach:prod"}}} {
		r.must("POST", "/contexts", c, 201)
	}
	set("aws", "TF_VAR_region", "region of aws", false)
	set("aws", "TF_VAR_who", "aws", false)
	set("aws", "TF_VAR_token", contextToken, true)
	mount("aws", "keys/deploy.json", contextKey, true)
	set("base", "TF_VAR_who", "base", false)
	set("base", "TF_VAR_auto", "auto of base", false)
	set("auto", "TF_VAR_who", "auto", false)
	set("auto", "TF_VAR_auto", "auto of auto", false)
	mount("auto", "certs/ca.pem", "the first CA\n", false)
	mount("auto", "source/net/over.auto.tfvars", "tfvars = \"of the tfvars\"\n", false)
	r.stack("network", "net", map[string]any{"labels": []string{"prod"}})
	r.must("PUT", "/stacks/network/variables/TF_VAR_region", map[string]any{"value": "own region"}, 200)
	r.must("PUT", "/stacks/network/contexts/aws", map[string]any{"priority": 1}, 200)
	r.must("PUT", "/stacks/network/contexts/base", map[string]any{"priority": 2}, 200)
}

// TestContextsReachTheTool: a real tool gets variables and files of the stack and its contexts with the right ones winning; what it
// was planned with it is applied with, whatever changes meanwhile and whoever kills the server; secrets are nowhere to be read.
func TestContextsReachTheTool(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link()
	r.contexts()
	r.push("main", "Read what is given", map[string]string{"net/main.tf": contextCode})
	run := r.run("tracked", "unconfirmed")
	id := run["id"].(string)
	const said = "own region, aws, auto of base, of the tfvars, the first CA"
	if _, raw := r.api("GET", "/runs/"+id+"/changes", nil); !strings.Contains(string(raw), said) {
		t.Errorf("the plan does not say %q: %s", said, raw)
	}
	if log := r.logs(id); !strings.Contains(log, "Environment: 4 variables, 3 mounted files; among them from the contexts aws, base, auto\n") {
		t.Errorf("the log does not say where from: %s", log)
	}
	r.nothingMounted(id)
	r.secretFree(id)

	// The contexts change, and the server dies, while the plan waits. The apply gets what was planned, and says so.
	r.must("PUT", "/contexts/aws/variables/TF_VAR_who", map[string]any{"value": "somebody else"}, 200)
	r.must("PUT", "/contexts/auto/files/certs/ca.pem", map[string]any{"content": "the second CA\n"}, 200)
	r.must("DELETE", "/contexts/aws/files/keys/deploy.json", nil, 204)
	if code, raw := r.api("DELETE", "/contexts/aws", nil); code != 409 || !strings.Contains(string(raw), "network") {
		t.Errorf("an attached context is deleted: %d %s", code, raw)
	}
	if page := r.page(r.admin(), "/runs/"+id); !strings.Contains(page, "Changed since this plan was made: TF_VAR_who, certs/ca.pem, keys/deploy.json.") {
		t.Errorf("the page of the run that waits does not say so:\n%.3000s", page)
	}
	r.kill()
	r.spawn()
	r.must("POST", "/runs/"+id+"/confirm", map[string]any{}, 200)
	r.run("tracked", "finished")
	log := r.logs(id)
	for _, want := range []string{
		"Changed since the plan: TF_VAR_who, certs/ca.pem, keys/deploy.json. This apply gets what the plan was made with",
		"applied with aws and the first CA", "[secret]", "600 ",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	r.secretFree(id)
	until(t, "the end of the workspace", func() bool {
		_, err := os.Stat(filepath.Join(r.dir, "work", id))
		return errors.Is(err, fs.ErrNotExist)
	})
	if left, err := filepath.Glob(filepath.Join(r.dir, "plans", "*")); err != nil || len(left) > 0 {
		t.Errorf("kept of an ended run: %v, %v", left, err)
	}

	// The next run gets what there is now: on a merge request the same as on the tracked branch.
	r.must("PUT", "/contexts/aws/files/keys/deploy.json", map[string]any{"content": contextKey, "secret": true}, 200)
	sha := r.push("feature", "Say it again", map[string]string{"net/main.tf": contextCode + "\n# again\n"})
	iid := r.openMR("feature", "Say it again")
	proposed := r.run("proposed", "finished")
	if _, raw := r.api("GET", "/runs/"+proposed["id"].(string)+"/changes", nil); !strings.Contains(string(raw), "own region, somebody else, auto of base, of the tfvars, the second CA") {
		t.Errorf("the proposed run has something else: %s", raw)
	}
	r.secretFree(proposed["id"].(string))
	r.quiet()
	until(t, "the comment", func() bool { return len(r.notes(iid)) > 0 })
	var text strings.Builder
	text.WriteString(r.notes(iid)[0].Body)
	for _, s := range r.sim.Statuses(r.project.ID, sha) {
		text.WriteString(s.Description)
	}
	if strings.Contains(text.String(), contextToken) || strings.Contains(text.String(), "MIIEvQIBADANBgkq") {
		t.Errorf("GitLab is told a secret: %s", text.String())
	}
	r.unrefused()

	// What was planned before environments were kept is applied with what there is now.
	r.must("POST", "/stacks/network/runs", map[string]any{"type": "tracked"}, 201)
	again := r.run("tracked", "unconfirmed")["id"].(string)
	if err := os.Remove(filepath.Join(r.dir, "plans", again+".env.sealed")); err != nil {
		t.Fatal(err)
	}
	r.must("POST", "/runs/"+again+"/confirm", map[string]any{}, 200)
	r.run("tracked", "finished")
	if log := r.logs(again); strings.Contains(log, "Changed since the plan") {
		t.Errorf("it says what nobody can know: %s", log)
	}
	r.secretFree(again)

	out, _, code := r.types("environment", "network")
	if code != exitOK || !strings.Contains(out, "own region") || !strings.Contains(out, "aws (priority 1)") || !strings.Contains(out, "(secret)") || strings.Contains(out, contextToken) {
		t.Errorf("environment: %d\n%s", code, out)
	}
	if out, _, code := r.types("contexts"); code != exitOK || !strings.Contains(out, "auto     1       autoattach:prod") {
		t.Errorf("contexts: %d\n%s", code, out)
	}
}

// nothingMounted makes sure that a run that waits has no mounted file in clear in its workspace.
func (r *rig) nothingMounted(id string) {
	r.t.Helper()
	until(r.t, "the end of the plan's tidying", func() bool {
		left := 0
		err := filepath.WalkDir(filepath.Join(r.dir, "work", id), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (strings.HasSuffix(path, "ca.pem") || strings.HasSuffix(path, "deploy.json") || strings.HasSuffix(path, ".auto.tfvars")) {
				left++
			}
			return err
		})
		return err == nil && left == 0
	})
}

// secretFree makes sure that no log and no stored change of a run holds a secret of its context, in no form.
func (r *rig) secretFree(id string) {
	r.t.Helper()
	_, changes := r.api("GET", "/runs/"+id+"/changes", nil)
	_, told := r.api("GET", "/runs/"+id, nil)
	text := r.logs(id) + string(changes) + string(told)
	for _, secret := range []string{contextToken, "MIIEvQIBADANBgkq", base64.StdEncoding.EncodeToString([]byte(contextKey))[:40]} {
		if strings.Contains(text, secret) {
			r.t.Errorf("of run %s the secret %q can be read:\n%s", id, secret, text)
		}
	}
}

// TestContextsInABrowser: an admin without scripts makes a context, puts a file from the disk into it and attaches it; the stack's table
// says where things come from.
func TestContextsInABrowser(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "net", nil)
	key := filepath.Join(t.TempDir(), "deploy.json")
	if err := os.WriteFile(key, []byte(contextKey), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, r.url, "data:", "about:", "chrome")
	b.signIn(r.url)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.do("new", chromedp.Navigate(r.url+"/contexts"), chromedp.Click(`.empty a.btn`), chromedp.WaitVisible(`#f-name`), chromedp.SendKeys(`#f-name`, "AWS"),
		chromedp.Click(`main form button[type=submit]`), chromedp.WaitVisible(`#edit`))
	b.look("context-made")
	b.do("variable", chromedp.SendKeys(`#edit #f-name`, "TF_VAR_region"), chromedp.SendKeys(`#edit #f-value`, "eu-north-1"), chromedp.Click(`#edit button`), chromedp.WaitVisible(`table.vars`))
	b.do("file", chromedp.Click(`#edit-file summary`), chromedp.WaitVisible(`#f-path`), chromedp.SendKeys(`#f-path`, "keys/deploy.json"), chromedp.SetUploadFiles(`#f-upload`, []string{key}),
		chromedp.Click(`#f-secret_file`), chromedp.Click(`#edit-file button`), chromedp.WaitVisible(`#files-head ~ table.vars`))
	b.look("context-filled")
	b.do("attach", chromedp.Navigate(r.url+"/stacks/network/contexts"), chromedp.WaitVisible(`#f-priority`), chromedp.Click(`form.box button`), chromedp.WaitVisible(`.flash`),
		chromedp.Click(`a[href="/stacks/network/environment"]`), chromedp.WaitVisible(`td.origin a[href="/contexts/aws"]`))
	b.look("context-environment")
	env := r.must("GET", "/stacks/network/environment", nil, 200)
	file := env["files"].([]any)[0].(map[string]any)
	if file["path"] != "keys/deploy.json" || file["size"] != float64(len(contextKey)) || file["secret"] != true || len(env["variables"].([]any)) != 1 {
		t.Errorf("%v", env)
	}
}
