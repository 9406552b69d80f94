package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// trouble reports whether the inbox holds trouble whose title contains the words.
func (r *rig) trouble(words string) bool {
	r.t.Helper()
	for _, it := range r.items("/inbox") {
		if it["kind"] == "trouble" && strings.Contains(it["title"].(string), words) && it["mend"] != "" {
			return true
		}
	}
	return false
}

// metrics are what a scraper sees.
func (r *rig) metrics() string {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bootstrap)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		r.t.Fatalf("%s, %v: %s", resp.Status, err, raw)
	}
	return string(raw)
}

// TestMissedEventsAreFound: what was pushed and opened while nobody listened is found at start, and is run once.
func TestMissedEventsAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", nil)
	r.push("main", "Heard", map[string]string{"infra/main.tf": resource("a", "1")})
	first := r.run("tracked", "unconfirmed")
	r.quiet()
	r.kill()
	missed := r.push("main", "Missed", map[string]string{"infra/main.tf": resource("a", "2")})
	r.push("feature", "Also missed", map[string]string{"infra/b.tf": resource("b", "1")})
	r.openMR("feature", "Also missed")
	r.sim.WaitHooks()
	r.spawn()
	r.run("proposed", "finished")
	until(t, "the tracked run", func() bool { return r.items("/runs?type=tracked&limit=1")[0]["commit"] == missed })
	found := 0
	for _, d := range r.items("/deliveries") {
		if d["event"] == "Reconciliation" {
			found++
			if !strings.Contains(d["verdict"].(string), "GitLab did not deliver this") || !strings.Contains(d["verdict"].(string), "started 1 run") {
				t.Errorf("verdict %q", d["verdict"])
			}
		}
	}
	if found != 2 {
		t.Errorf("%d events were found, want the push and the merge request", found)
	}
	// The real deliveries come late: nothing is doubled.
	for _, d := range r.sim.HookDeliveries(r.project.ID) {
		if d.Status == 0 {
			if err := r.sim.Redeliver(d.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "verdicts", func() bool { return len(r.items("/deliveries?state=waiting")) == 0 })
	if n := len(r.items("/runs")); n != 3 {
		t.Errorf("%d runs, want 3", n)
	}
	r.must("POST", "/runs/"+first["id"].(string)+"/discard", nil, 200)
}

// TestTokenDiesAndComesBack: a token revoked between push and report is seen at once, nothing is lost, and a new token
// brings everything to GitLab.
func TestTokenDiesAndComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("feature", "Before", map[string]string{"infra/main.tf": resource("a", "1")})
	run := r.run("proposed", "finished")
	r.quiet()
	r.sim.RevokeToken(r.token)
	r.must("POST", "/runs/"+run["id"].(string)+"/retry", nil, 201)
	until(t, "the inbox", func() bool { return r.trouble("does not work with the token") })
	if m := r.metrics(); !strings.Contains(m, `groundcrew_gitlab_token_state{state="revoked"} 1`) || !strings.Contains(m, `groundcrew_gitlab_requests_total{code="401",method="GET"}`) {
		t.Errorf("the check that filled the inbox is not in the metrics:\n%s", m)
	}
	in := r.must("GET", "/integration", nil, 200)["token"].(map[string]any)
	if in["cause"] != "revoked" || in["username"] != r.bot.Username {
		t.Errorf("token %v", in)
	}
	fresh := r.sim.AddToken(r.bot.ID, "fresh", []string{"api"}, time.Now().AddDate(0, 6, 0))
	r.must("PUT", "/integration", map[string]any{"token": fresh}, 200)
	r.quiet()
	if r.trouble("token") {
		t.Error("the trouble is over and still shown")
	}
}

// TestHookDoctor: test with echo, rotation that moves the hooks, a hook deleted in GitLab shown and repaired.
func TestHookDoctor(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	test := fmt.Sprintf("/projects/%d/hook/test", r.project.ID)
	if got := r.must("POST", test, nil, 200); !strings.Contains(got["message"].(string), "arrived") {
		t.Errorf("test %v", got)
	}
	if n := len(r.items("/runs")); n != 0 {
		t.Fatalf("a test started %d runs", n)
	}
	// From the first signed delivery on the secret alone is not enough, also while it is rotated.
	until(t, "the hook that is known to sign", func() bool {
		return strings.Contains(r.items("/projects")[0]["hook"].(map[string]any)["detail"].(string), "unsigned is refused")
	})
	if code := r.deliverUnsigned(); code != 401 {
		t.Errorf("an unsigned delivery of a hook that signs: %d", code)
	}
	before := r.secret()
	r.must("POST", "/integration/secret/rotate", nil, 200)
	until(t, "the new secret at the hook", func() bool {
		return r.must("GET", "/integration", nil, 200)["webhook"].(map[string]any)["hooks_owed"] == 0.0
	})
	if r.secret() == before {
		t.Error("the secret did not change")
	}
	r.must("POST", test, nil, 200)
	sent := r.sim.HookDeliveries(r.project.ID)
	if last := sent[len(sent)-1]; last.Header.Get("X-Gitlab-Token") != r.secret() || last.Header.Get("Webhook-Signature") == "" {
		t.Error("the hook does not send the new secret, signed")
	}
	hook := r.sim.Hooks(r.project.ID)[0]
	req, err := http.NewRequest("DELETE", fmt.Sprintf("%s/scm/api/v4/projects/%d/hooks/%d", r.gitlab.URL, r.project.ID, hook.ID), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 204 {
		t.Fatal(err, resp)
	}
	resp.Body.Close()
	state := func() any { return r.items("/projects")[0]["hook"].(map[string]any)["state"] }
	if got := state(); got != "missing" {
		t.Errorf("state %v", got)
	}
	until(t, "the notice", func() bool { return r.trouble("webhook of " + projectAt + " is missing") })
	r.must("POST", fmt.Sprintf("/projects/%d/hook", r.project.ID), nil, 200)
	if got := state(); got != "ok" {
		t.Errorf("state after the repair %v", got)
	}
}

// deliverUnsigned sends a delivery of the project with the right secret and no signature.
func (r *rig) deliverUnsigned() int {
	r.t.Helper()
	body := fmt.Sprintf(`{"object_kind":"push","ref":"refs/heads/main","before":"%040d","after":"%040d","project_id":%d,"project":{"id":%d}}`, 1, 2, r.project.ID, r.project.ID)
	req, err := http.NewRequest("POST", r.url+"/webhooks/gitlab", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("X-Gitlab-Event", "Push Hook")
	req.Header.Set("X-Gitlab-Token", r.secret())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestProjectMoves: a moved project keeps its stacks, and they learn where it is.
func TestProjectMoves(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	if err := r.sim.MoveProject(r.project.ID, "elsewhere/deeper/net"); err != nil {
		t.Fatal(err)
	}
	r.push("main", "After the move", map[string]string{"infra/main.tf": resource("a", "1")})
	r.run("tracked", "unconfirmed")
	if got := r.must("GET", "/stacks/network", nil, 200)["project"]; got != "elsewhere/deeper/net" {
		t.Errorf("the stack's project is %v", got)
	}
}
