package view

import (
	"strings"
	"time"

	"groundcrew/runs"
)

func contextFixture() runs.Context {
	return runs.Context{
		Slug: "aws-production", Name: "AWS production", Description: "The production account: credentials of the deploy role, region, the company's CA.",
		Labels: []string{"cloud", "autoattach:prod"}, CreatedAt: ago(900 * time.Hour), UpdatedAt: ago(5 * time.Hour), UpdatedBy: "anna.lind",
	}
}

var (
	fromAWS = runs.Origin{Context: "aws-production", Name: "AWS production", Auto: true, Label: "prod"}
	fromPKI = runs.Origin{Context: "pki", Name: "Company certificates", Priority: 10}
)

func variable(name, value string, secret bool, from runs.Origin, over ...runs.Origin) runs.Entry[runs.Variable] {
	return runs.Entry[runs.Variable]{Value: runs.Variable{Name: name, Value: value, Secret: secret, UpdatedAt: ago(80 * time.Hour), UpdatedBy: "anna.lind"}, From: from, Over: over}
}

func mounted(path string, secret, binary bool, size int, from runs.Origin, over ...runs.Origin) runs.Entry[runs.File] {
	return runs.Entry[runs.File]{Value: runs.File{Path: path, Secret: secret, Binary: binary, Size: size, UpdatedAt: ago(80 * time.Hour), UpdatedBy: "bo.ek"}, From: from, Over: over}
}

func stackEntries() EntriesModel {
	return EntriesModel{
		At: StackEntriesAt("network-prod"), Origins: true, Edit: can(),
		Variables: []runs.Entry[runs.Variable]{
			variable("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE", false, fromAWS),
			variable("AWS_SECRET_ACCESS_KEY", "", true, fromAWS),
			variable("TF_VAR_region", "eu-north-1", false, runs.Origin{}, fromPKI, fromAWS),
			variable("TF_VAR_a_rather_long_name_of_a_variable_that_somebody_chose", strings.Repeat("value ", 20), false, fromPKI, fromAWS),
		},
		Files: []runs.Entry[runs.File]{
			mounted("certs/company-root-ca.pem", false, false, 2148, fromPKI),
			mounted("keys/deploy.json", true, false, 2300, runs.Origin{}, fromAWS),
			mounted("source/envs/prod/prod.auto.tfvars", false, false, 120, runs.Origin{}),
			mounted("trust.p12", false, true, 9_000, fromPKI),
		},
	}
}

func contextSamples() []sample {
	at := func() Page {
		return shell("AWS production", NavContexts, Crumb{"Contexts", "/contexts"}, Crumb{"AWS production", "/contexts/aws-production"})
	}
	head := func(tab string) ContextHead { return ContextHead{Context: contextFixture(), Tab: tab, Stacks: 12} }
	refused := stackEntries()
	refused.Values, refused.Errors = VariableForm{Name: "TF_VAR_9x y", Value: "1"}, map[string]string{"name": "“TF_VAR_9x y” cannot be a variable's name: letters, digits and _ only, not beginning with a digit."}
	refused.File, refused.FileErr = FileForm{Path: "../ca.pem", Content: "x"}, map[string]string{"path": "“../ca.pem” leads out of the run's folder. Leave “..” out."}
	reading := stackEntries()
	reading.Edit, reading.Shown = Act{WhyNot: "Only a writer or an admin can change variables and files."}, &ShownFile{"certs/company-root-ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}
	held := stackEntries()
	held.At, held.Origins = ContextEntriesAt("aws-production"), false
	for i := range held.Variables {
		held.Variables[i].From, held.Variables[i].Over = runs.Origin{}, nil
	}
	for i := range held.Files {
		held.Files[i].From, held.Files[i].Over = runs.Origin{}, nil
	}
	form := ContextForm{Name: "AWS production", Description: contextFixture().Description, Labels: "cloud, autoattach:prod"}
	settings := head(TabContextSettings)
	moved := noNewer(unconfirmedModel())
	moved.Changed = []string{"AWS_SECRET_ACCESS_KEY", "TF_VAR_region", "a", "b", "certs/company-root-ca.pem", "keys/deploy.json", "source/envs/prod/prod.auto.tfvars"}
	return []sample{
		{"run-environment-changed", runPage(moved)},
		{"stack-environment", EnvironmentPage(stackShell(), EnvironmentModel{Head: stackHeadFixture(TabEnvironment), Entries: refused})},
		{"stack-environment-reader", EnvironmentPage(stackShell(), EnvironmentModel{Head: stackHeadFixture(TabEnvironment), Entries: reading})},
		{"stack-environment-edit", EnvironmentPage(stackShell(), EnvironmentModel{Head: bareHead(TabEnvironment), Entries: EntriesModel{
			At: StackEntriesAt("network-prod"), Origins: true, Edit: can(), Values: VariableForm{Name: "AWS_SECRET_ACCESS_KEY", Secret: true, Editing: true}, File: FileForm{Path: "trust.p12", Binary: true, Editing: true},
		}})},
		{"stack-contexts", StackContextsPage(stackShell(), StackContextsModel{
			Head: stackHeadFixture(TabContexts), Attach: can(), Priority: "0", Choices: []Option{{"aws-production", "AWS production"}, {"dns", "DNS"}},
			Rows: []StackContextRow{{From: fromPKI, By: "anna.lind", Files: 2}, {From: fromAWS, Variables: 4, Files: 1}, {From: runs.Origin{Context: "all", Name: "Everybody's", Auto: true, Label: "*"}}},
		})},
		{"stack-contexts-errors", StackContextsPage(stackShell(), StackContextsModel{
			Head: bareHead(TabContexts), Attach: can(), Priority: "first", Context: "dns", Choices: []Option{{"aws-production", "AWS production"}, {"dns", "DNS"}},
			Errors: map[string]string{"priority": "“first” is no whole number. The lowest wins; 0 will do for one context."},
		})},
		{"stack-contexts-none", StackContextsPage(stackShell(), StackContextsModel{Head: bareHead(TabContexts), Attach: Act{WhyNot: "Only an admin can attach a context."}})},
		{"contexts", ContextsPage(shell("Contexts", NavContexts), ContextsModel{Any: true, CanCreate: true, Pager: Pager{NextURL: "/contexts?cursor=x", Shown: 3, Total: 60}, Rows: []ContextRow{
			{Context: contextFixture(), Variables: 4, Files: 1, Stacks: 12},
			{Context: runs.Context{Slug: "all", Name: "Everybody's", Labels: []string{"autoattach:*"}, UpdatedAt: ago(time.Minute)}, Variables: 1, Stacks: 340},
			{Context: runs.Context{Slug: "pki", Name: "Company certificates", UpdatedAt: ago(9000 * time.Hour)}},
		}})},
		{"contexts-none", ContextsPage(shell("Contexts", NavContexts), ContextsModel{CanCreate: true})},
		{"contexts-none-reader", ContextsPage(shell("Contexts", NavContexts), ContextsModel{})},
		{"contexts-no-match", ContextsPage(shell("Contexts", NavContexts), ContextsModel{Any: true, Q: "gcp"})},
		{"context", ContextPage(at(), ContextModel{Head: head(TabContext), Entries: held})},
		{"context-empty", ContextPage(at(), ContextModel{Head: ContextHead{Context: runs.Context{Slug: "dns", Name: "DNS"}}, Entries: EntriesModel{At: ContextEntriesAt("dns"), Edit: can()}})},
		{"context-stacks", ContextStacksPage(at(), ContextStacksModel{Head: head(TabContextStacks), Pager: Pager{NextURL: "/contexts/aws-production/stacks?cursor=x", Shown: 2, Total: 12}, Rows: []ContextStackRow{
			{"network-prod", "network-prod", "infra/network", fromAWS}, {"dns", "dns", "infra/dns", runs.Origin{Context: "aws-production", Priority: 3}},
		}})},
		{"context-stacks-none", ContextStacksPage(at(), ContextStacksModel{Head: ContextHead{Context: contextFixture(), Tab: TabContextStacks}})},
		{"context-new", ContextFormPage(shell("New context", NavContexts, Crumb{"Contexts", "/contexts"}, Crumb{"New context", ""}), ContextFormModel{Values: ContextForm{Name: "New"}, Errors: map[string]string{"name": "A context cannot be called “New”: that address is taken. Choose another name."}})},
		{"context-settings", ContextFormPage(at(), ContextFormModel{Head: &settings, Values: form, Edit: can(), Delete: Act{WhyNot: "It is attached to 12 stacks. Detach it there, or take the label away that attaches it, first."}})},
		{"context-settings-delete", ContextFormPage(at(), ContextFormModel{Head: &settings, Values: form, Edit: can(), Delete: can(), DeleteError: "That is not the context's address."})},
		{"context-settings-reader", ContextFormPage(at(), ContextFormModel{Head: &settings, Values: form, Edit: Act{WhyNot: "Only an admin can change a context."}})},
	}
}

// filledContexts are the pages of contexts with a text in every field that comes from outside.
func filledContexts(p Page, head StackHead, payload string) []sample {
	e := poisonedWith(stackEntries(), payload)
	e.Edit, e.Values, e.Errors, e.FileErr = can(), VariableForm{payload, payload, true, true}, map[string]string{"value": payload}, map[string]string{"content": payload}
	e.File = FileForm{Path: payload, Content: payload, Editing: true}
	shown := poisonedWith(stackEntries(), payload)
	shown.Edit, shown.Shown = Act{}, &ShownFile{payload, payload}
	ctx := poisonedWith(ContextHead{Context: contextFixture()}, payload)
	return []sample{
		{"environment", EnvironmentPage(p, EnvironmentModel{Head: head, Entries: e})},
		{"environment-shown", EnvironmentPage(p, EnvironmentModel{Head: head, Entries: shown})},
		{"stack-contexts", StackContextsPage(p, StackContextsModel{Head: head, Attach: can(), Priority: payload, Choices: []Option{{payload, payload}}, Errors: map[string]string{"context": payload}, Rows: []StackContextRow{poisonedWith(StackContextRow{From: fromPKI}, payload)}})},
		{"contexts", ContextsPage(p, ContextsModel{Any: true, Q: payload, Rows: []ContextRow{poisonedWith(ContextRow{Context: contextFixture()}, payload)}})},
		{"context", ContextPage(p, ContextModel{Head: ctx, Entries: e})},
		{"context-stacks", ContextStacksPage(p, ContextStacksModel{Head: ctx, Rows: []ContextStackRow{poisonedWith(ContextStackRow{}, payload)}})},
		{"context-settings", ContextFormPage(p, ContextFormModel{Head: &ctx, Values: poisonedWith(ContextForm{}, payload), Errors: map[string]string{"name": payload}, Error: payload, Edit: can(), Delete: can(), DeleteError: payload})},
	}
}
