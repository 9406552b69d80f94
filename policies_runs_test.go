package main

import (
	"fmt"
	"strings"
	"testing"
)

// policy makes a policy for every stack.
func (r *rig) policy(name, typ, body string) {
	r.t.Helper()
	r.must("POST", "/policies", map[string]any{"name": name, "type": typ, "body": "package groundcrew\n" + body, "labels": []string{"autoattach:*"}}, 201)
}

// TestPoliciesDecide: with the real tool and a process of their own, policies keep a push from running, fail a plan with their words in GitLab, and
// hold an apply that would have gone on by itself. What is sensitive in a plan they never see.
func TestPoliciesDecide(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", map[string]any{"autodeploy": true})
	r.policy("No documents", "push", `
ignore contains "only documents" if { count(input.push.files) > 0; every f in input.push.files { endswith(f, ".md") } }`)
	r.policy("Names", "plan", `
deny contains msg if { some rc in input.plan.resource_changes; startswith(rc.name, "bad"); msg := sprintf("%s is a bad name", [rc.address]) }
warn contains "somebody looks at what is called odd" if { some rc in input.plan.resource_changes; startswith(rc.name, "odd"); "create" in rc.change.actions }
warn contains sprintf("seen: %v", [rc.change.after.input]) if { some rc in input.plan.resource_changes; rc.name == "odd_secret" }`)

	r.push("main", "Write", map[string]string{"infra/README.md": "# Words"})
	r.verdict("ignored for network: a policy says so")
	r.verdict("No documents: only documents")
	if n := len(r.items("/runs")); n != 0 {
		t.Errorf("%d runs of a push that a policy ignores", n)
	}

	sha := r.push("feature", "Name it badly", map[string]string{"infra/main.tf": resource("bad_one", "1")})
	iid := r.openMR("feature", "Name it badly")
	if st := r.status(sha, "groundcrew/network", "failed"); !strings.Contains(st.Description, "A policy forbids it. Names: terraform_data.bad_one is a bad name") {
		t.Errorf("status: %q", st.Description)
	}
	until(t, "the comment", func() bool {
		notes := r.notes(iid)
		return len(notes) == 1 && strings.Contains(notes[0].Body, "network: a policy forbids the plan") && strings.Contains(notes[0].Body, "| + | `terraform_data.bad_one` | add |")
	})
	denied := r.run("proposed", "failed")
	if denied["delta"] == nil || !strings.Contains(r.logs(denied["id"].(string)), " 1 to add, 0 to change") {
		t.Errorf("what was forbidden is not on the run: %v", denied)
	}

	r.push("main", "Something odd", map[string]string{"infra/main.tf": resource("odd", "1")})
	waits := r.run("tracked", "unconfirmed")
	if w := waits["warnings"].([]any); len(w) != 1 || w[0] != "Names: somebody looks at what is called odd" {
		t.Errorf("warnings: %v", w)
	}
	r.must("POST", "/runs/"+waits["id"].(string)+"/confirm", nil, 200)
	until(t, "the apply", func() bool { return r.state(waits["id"]) == "finished" })
	r.push("main", "Nothing odd", map[string]string{"infra/main.tf": resource("fine", "1")})
	until(t, "the apply without a person", func() bool {
		list := r.items("/runs?type=tracked")
		return len(list) == 2 && list[0]["state"] == "finished"
	})

	r.push("main", "A secret", map[string]string{"infra/main.tf": `variable "pw" {
  sensitive = true
  default   = "hunter2-hunter2"
}
resource "terraform_data" "odd_secret" { input = var.pw }
`})
	waits = r.run("tracked", "unconfirmed")
	found := false
	for _, w := range waits["warnings"].([]any) {
		found = found || strings.Contains(w.(string), "seen: (sensitive)")
		if strings.Contains(w.(string), "hunter2") {
			t.Errorf("a policy was shown what is sensitive: %v", w)
		}
	}
	if !found {
		t.Errorf("warnings: %v", waits["warnings"])
	}
	sample := r.items("/policies/names/samples")[0]
	_, input := r.api("GET", "/policies/names/samples/"+sample["id"].(string), nil)
	if !strings.Contains(string(input), "odd_secret") || strings.Contains(string(input), "hunter2") {
		t.Errorf("the kept input: %.300s", input)
	}
	r.quiet()
}

// TestAHostilePolicyHurtsNobody: a policy that would compute for ever fails the plans of its stacks in words; the server answers all the while.
func TestAHostilePolicyHurtsNobody(t *testing.T) {
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.policy("Endless", "plan", `deny contains "never" if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == -1 }`)
	r.push("main", "Begin", map[string]string{"infra/main.tf": resource("a", "1")})
	failed := r.run("tracked", "failed")
	if reason := failed["reason"].(string); !strings.Contains(reason, "Endless: it was cut off after 10s") {
		t.Errorf("reason: %s", reason)
	}
	until(t, "the notice", func() bool {
		for _, n := range r.items("/inbox") {
			if strings.Contains(fmt.Sprint(n), "The policy “Endless” could not be asked") {
				return true
			}
		}
		return false
	})
	r.quiet()
}
