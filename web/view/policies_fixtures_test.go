package view

import (
	"strings"
	"time"

	"groundcrew/runs"
)

const policyBody = `package groundcrew

# No plan destroys a database.
deny contains msg if {
	some rc in input.plan.resource_changes
	"delete" in rc.change.actions
	rc.type == "aws_db_instance"
	msg := sprintf("%s would be destroyed, and it is the only one that holds what nobody can bring back", [rc.address])
}
`

func policyFixture() runs.Policy {
	return runs.Policy{
		Slug: "no-destroyed-databases", Name: "No destroyed databases", Type: runs.PolicyPlan, Description: "What nobody can bring back is not destroyed by a plan.",
		Body: policyBody, Labels: []string{"safety", "autoattach:prod"}, Stacks: []string{"dns"}, CreatedAt: ago(900 * time.Hour), UpdatedAt: ago(5 * time.Hour), UpdatedBy: "anna.lind",
	}
}

func policySampleFixtures() (list []PolicySample) {
	for i, o := range runs.PolicyOutcomes {
		var said []string
		if i%2 == 1 {
			said = []string{"aws_db_instance.customers would be destroyed", "module.data[\"eu-north-1\"].aws_db_instance.a_rather_long_name_of_a_resource would be destroyed"}
		}
		list = append(list, PolicySample{
			ID: "01JSAMPLE" + string(o), Stack: "network-prod", Run: "01JRUN", Kept: i%3 != 0,
			Result: runs.PolicyResult{Policy: "no-destroyed-databases", Name: "No destroyed databases", Type: runs.PolicyPlan, Outcome: o, Messages: said, At: ago(time.Duration(i) * time.Hour)},
		})
	}
	list[3].Run, list[4].Stack, list[4].Run = "", "", ""
	return list
}

func policyModel() PolicyModel {
	p := policyFixture()
	return PolicyModel{
		Policy: p, Rules: []string{"deny", "warn"}, Total: 23, Stacks: []PolicyStack{{"dns", ""}, {"network-prod", "prod"}, {"cluster-a", "prod"}},
		Values:  PolicyForm{Name: p.Name, Description: p.Description, Labels: strings.Join(p.Labels, ", "), Stacks: "dns", Body: p.Body},
		Samples: policySampleFixtures(), Edit: can(), Switch: can(), Delete: can(), Try: PolicyTry{Sample: "01JSAMPLEwarn"},
	}
}

func policySamples() []sample {
	at := shell("No destroyed databases", NavPolicies, Crumb{"Policies", "/policies"}, Crumb{"No destroyed databases", "/policies/no-destroyed-databases"})
	failing := policyModel()
	failing.Policy.LastError, failing.Policy.LastErrorAt = "7:2: startswith: operand 1 must be string but got null", ago(3*time.Minute)
	refused := policyModel()
	refused.Values.Body = strings.Replace(policyBody, "some rc in", "some rc im", 1)
	refused.Errors = map[string]string{"body": "5:10: unexpected identifier token: expected \\n or ; or }\n6:14: var rc is unsafe", "stacks": "There is no stack “dnss”. Give the addresses of stacks, with commas between them."}
	tried := policyModel()
	tried.Try.Input, tried.Try.Result = `{"plan": {"resource_changes": []}}`, &runs.PolicyResult{Outcome: runs.OutcomeDeny, Messages: []string{"aws_db_instance.customers would be destroyed", "aws_db_instance.orders would be destroyed"}}
	reading := policyModel()
	reading.Edit, reading.Switch, reading.Delete = Act{WhyNot: "Only an admin can change a policy."}, Act{WhyNot: "Only an admin can switch a policy."}, Act{WhyNot: "Only an admin can delete a policy."}
	bare := policyModel()
	bare.Samples, bare.Stacks, bare.Total, bare.Policy.Off, bare.Try = nil, nil, 0, true, PolicyTry{Errors: map[string]string{"input": "There is nothing to ask about. Choose an evaluation that was kept, or give an input."}}
	off, fails, push := policyFixture(), policyFixture(), policyFixture()
	off.Off, fails.LastError = true, "x"
	push.Type, push.Name, push.Labels = runs.PolicyPush, "Documents start nothing", []string{"autoattach:*"}
	list := shell("Policies", NavPolicies)
	form := shell("New policy", NavPolicies, Crumb{"Policies", "/policies"}, Crumb{"New policy", ""})
	return []sample{
		{"policies", PoliciesPage(list, PoliciesModel{Any: true, CanCreate: true, Rows: []PolicyRow{{policyFixture(), 23}, {off, 1}, {fails, 23}, {push, 400}}})},
		{"policies-none", PoliciesPage(list, PoliciesModel{CanCreate: true})},
		{"policies-none-reader", PoliciesPage(list, PoliciesModel{})},
		{"policies-no-match", PoliciesPage(list, PoliciesModel{Any: true, Q: "zzz", Type: "push"})},
		{"policy-new", PolicyNewPage(form, PolicyNewModel{Type: runs.PolicyPlan, Rules: []string{"deny", "warn"}, Values: PolicyForm{Body: policyBody}})},
		{"policy-new-refused", PolicyNewPage(form, PolicyNewModel{Type: runs.PolicyPush, Rules: []string{"ignore", "track", "propose"}, Values: PolicyForm{Body: "package x"}, Errors: map[string]string{"body": "1:1: The text must begin with “package groundcrew”: that is where its rules are looked for.", "name": "Give the policy a name."}})},
		{"policy", PolicyPage(at, failing)},
		{"policy-refused", PolicyPage(at, refused)},
		{"policy-tried", PolicyPage(at, tried)},
		{"policy-reader", PolicyPage(at, reading)},
		{"policy-bare", PolicyPage(at, bare)},
		{"stack-policies", StackPoliciesPage(stackShell(), StackPoliciesModel{Head: stackHeadFixture(TabPolicies), CanCreate: true, Rows: []StackPolicyRow{{policyFixture(), "prod"}, {push, "*"}, {off, ""}}})},
		{"stack-policies-none", StackPoliciesPage(stackShell(), StackPoliciesModel{Head: bareHead(TabPolicies), CanCreate: true})},
	}
}

func filledPolicies(p Page, head StackHead, payload string) []sample {
	m := poisonedWith(policyModel(), payload)
	m.Edit, m.Delete, m.Switch = can(), can(), can()
	m.Policy.LastError, m.Try.Result = payload, &runs.PolicyResult{Outcome: runs.OutcomeDeny, Messages: []string{payload}}
	m.Errors, m.Try.Errors = map[string]string{"body": "2:1: " + payload, "name": payload}, map[string]string{"sample": payload, "input": payload}
	row := poisonedWith(policyFixture(), payload)
	return []sample{
		{"policies", PoliciesPage(p, PoliciesModel{Any: true, Q: payload, Type: payload, Rows: []PolicyRow{{row, 2}}})},
		{"policy", PolicyPage(p, m)},
		{"policy-new", PolicyNewPage(p, PolicyNewModel{Type: runs.PolicyPlan, Values: poisonedWith(PolicyForm{}, payload), Errors: map[string]string{"body": payload}, Error: payload})},
		{"stack-policies", StackPoliciesPage(p, StackPoliciesModel{Head: head, Rows: []StackPolicyRow{{row, payload}}})},
	}
}
