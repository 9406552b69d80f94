package view

import (
	"time"

	"groundcrew/runs"
)

func moduleFixture() runs.Module {
	return runs.Module{
		Slug: "vpc", Name: "vpc", Provider: "aws", Namespace: "platform", Description: "Networks as the platform team wants them.", Project: 7,
		ProjectPath: "platform/terraform-aws-vpc", ProjectURL: "https://gitlab.corp.example/platform/terraform-aws-vpc", Branch: "main", Release: runs.ReleaseByTag,
		Tool: runs.OpenTofu, ToolVersion: "~> 1.9", Labels: []string{"network"},
	}
}

func versionFixtures() []runs.ModuleVersion {
	c := runs.Commit{SHA: "3f2a91c0de55aa093f2a91c0de55aa093f2a91c0", Title: "Let callers choose the zones"}
	in := &runs.Interface{
		Inputs: []runs.Input{
			{Name: "cidr", Type: "string", Description: "The network, like 10.0.0.0/16.", Required: true},
			{Name: "subnets", Type: "map(object({ cidr = string, zone = string, public = optional(bool, false) }))", Description: "What it is divided into.", Required: true},
			{Name: "tags", Type: "map(string)", Default: `{"team":"platform"}`},
			{Name: "flow_logs", Default: "true"},
		},
		Outputs:   []runs.Output{{Name: "id", Description: "Of the network."}, {Name: "key", Sensitive: true}},
		Resources: []string{"aws_flow_log.this", "aws_subnet.this", "aws_vpc.this", "data.aws_availability_zones.here"},
		Providers: []runs.ProviderReq{{Name: "aws", Source: "hashicorp/aws", Versions: []string{">= 5.0", "< 7.0"}}},
		Modules:   []runs.ModuleCall{{Name: "labels", Source: "gc.corp.example/platform/labels/null", Version: "~> 1.0"}},
		Requires:  []string{">= 1.5"},
	}
	v := func(number string, state runs.VersionState, at time.Duration) runs.ModuleVersion {
		return runs.ModuleVersion{
			Module: "vpc", Number: number, State: state, Commit: c, Tag: "v" + number, Check: "01JDA7Z3K8Q4W9R2T5Y7XNM6P9", Interface: in,
			Digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Size: 18_220, Files: 14, CreatedAt: ago(at), ActiveAt: ago(at - time.Minute),
		}
	}
	next, latest, bad, failed := v("2.1.0", runs.VersionPending, time.Minute), v("2.0.0", runs.VersionActive, 50*time.Hour), v("1.9.1", runs.VersionActive, 900*time.Hour), v("1.9.0", runs.VersionFailed, 901*time.Hour)
	latest.Breaking, latest.Against = []string{"input zones: removed", "output id: is sensitive now"}, "1.9.1"
	bad.YankedAt, bad.YankedBy, bad.YankNote = ago(800*time.Hour), "anna.lind", "routes leak between environments"
	failed.Reason = "Test “Two zones” failed: tests/zones.tftest.hcl, run “spreads” (fail): Test assertion failed: subnets are not spread over the zones"
	return []runs.ModuleVersion{next, latest, bad, failed}
}

func moduleCheckFixture() runs.Check {
	return runs.Check{
		ID: "01JDA7Z3K8Q4W9R2T5Y7XNM6P9", Module: "vpc", Commit: runs.Commit{SHA: "77aa91c0de55aa093f2a91c0de55aa093f2a91c0", Title: "Drop zones"}, Branch: "zones",
		MR: &runs.MergeRequest{IID: 31, Title: "Drop the input zones"}, State: runs.CheckFailed, Reason: "Test “Test files” failed: tests/zones.tftest.hcl, run “spreads” (fail): Test assertion failed: subnets are not spread over the zones",
		Cases: []runs.CheckCase{
			{TestCase: runs.TestCase{ID: "test-files", Name: "Test files"}, State: runs.CaseFailed, Run: "01JDA7Z3K8Q4W9R2T5Y7XNM6P1", Reason: "tests/zones.tftest.hcl, run “spreads” (fail): Test assertion failed: subnets are not spread over the zones"},
			{TestCase: runs.TestCase{ID: "basic", Name: "Basic example"}, State: runs.CasePassed, Run: "01JDA7Z3K8Q4W9R2T5Y7XNM6P2"},
			{TestCase: runs.TestCase{ID: "bad", Name: "Nonsense is refused", Negative: true}, State: runs.CaseRunning, Run: "01JDA7Z3K8Q4W9R2T5Y7XNM6P3"},
			{TestCase: runs.TestCase{ID: "full", Name: "Everything at once"}, State: runs.CaseSkipped, Reason: "“Test files” did not pass"},
			{TestCase: runs.TestCase{ID: "late", Name: "Late"}, State: runs.CaseWaiting},
		},
		Against: "2.0.0", Changes: []runs.InterfaceChange{{Breaking: true, What: "input", Name: "zones", How: "removed"}, {What: "input", Name: "tags", How: "added, optional"}},
		Notes: []string{"After the merge this becomes version 2.1.0."}, CreatedAt: ago(20 * time.Minute), EndedAt: ago(18 * time.Minute),
	}
}

func moduleHeadFixture(tab string) ModuleHead {
	latest := versionFixtures()[1]
	return ModuleHead{Module: moduleFixture(), Address: "gc.corp.example/platform/vpc/aws", Latest: &latest, Tab: tab, Check: can()}
}

func moduleSamples() []sample {
	all, latest, check := versionFixtures(), versionFixtures()[1], moduleCheckFixture()
	shellOf := func() Page {
		return shell("vpc", NavModules, Crumb{"Modules", "/modules"}, Crumb{"vpc", "/modules/vpc"})
	}
	bare := ModuleHead{Module: moduleFixture(), Address: "gc.corp.example/platform/vpc/aws", Check: Act{WhyNot: "Only a writer or an admin can check a module."}}
	page := ModuleModel{
		Head: moduleHeadFixture(TabModule), Shown: &latest, Versions: all[:3], Hidden: 1, Yank: can(), Start: can(),
		Readme: "# VPC\n\nMakes a **network** with `subnets`.\n\n| Zone | Price |\n|---|---|\n| a | 1 |\n\n```hcl\nmodule \"net\" {\n  source = \"gc.corp.example/platform/vpc/aws\"\n}\n```\n\n- one\n- two\n\nSee [the wiki](https://wiki.corp.example/vpc).\n",
		Users: []runs.ModuleUse{
			{Module: "vpc", Stack: "network-prod", Version: "1.9.1", Calls: []string{"net", "net_dr"}, Run: "01JDA7Z3K8Q4W9R2T5Y7XNM6P9", At: ago(30 * time.Hour)},
			{Module: "vpc", Stack: "network-test", Version: "2.0.0", Calls: []string{"net"}, Run: "01JDA7Z3K8Q4W9R2T5Y7XNM6P9", At: ago(3 * time.Hour)},
		},
	}
	yanked, failed := page, page
	yanked.Shown, failed.Shown, failed.Versions, failed.Hidden = &all[2], &all[3], all, 0
	head := moduleHeadFixture(TabModuleOf)
	form := ModuleForm{Name: "vpc", Provider: "aws", Namespace: "platform", Project: "platform/terraform-aws-vpc", Branch: "main", Release: runs.ReleaseByTag, Tool: runs.OpenTofu, ToolVersion: "~> 1.9", Labels: "network"}
	other := check
	other.State, other.Reason, other.Cases, other.Tag, other.MR = runs.CheckRefused, "Version 2.0.0 was published from commit 3f2a91c0 and never changes. Use a new number.", nil, "v2.0.0", nil
	return []sample{
		{"modules", ModulesPage(shell("Modules", NavModules), ModulesModel{Any: true, Connected: true, CanCreate: true, Rows: []ModuleRow{{Module: moduleFixture(), Address: head.Address, Latest: &latest, Last: &check, Users: 4}, {Module: moduleFixture(), Address: head.Address}}})},
		{"modules-none", ModulesPage(shell("Modules", NavModules), ModulesModel{Connected: true, CanCreate: true})},
		{"modules-no-gitlab", ModulesPage(shell("Modules", NavModules), ModulesModel{})},
		{"modules-no-match", ModulesPage(shell("Modules", NavModules), ModulesModel{Any: true, Connected: true, Q: "nothing"})},
		{"module", ModulePage(shellOf(), page)},
		{"module-yanked", ModulePage(shellOf(), yanked)},
		{"module-failed", ModulePage(shellOf(), failed)},
		{"module-none", ModulePage(shellOf(), ModuleModel{Head: bare})},
		{"module-checks", ModuleChecksPage(shellOf(), ModuleChecksModel{Head: moduleHeadFixture(TabChecks), Rows: []runs.Check{check, other}, Held: []HeldMR{{IID: 4, Title: "x", SHA: "99aa91c0de55aa09"}}})},
		{"module-checks-none", ModuleChecksPage(shellOf(), ModuleChecksModel{Head: bare})},
		{"module-check", ModuleCheckPage(shellOf(), ModuleCheckModel{Head: moduleHeadFixture(TabChecks), Check: check, Results: map[string][]runs.TestResult{"test-files": {{File: "tests/zones.tftest.hcl", Run: "one", Status: "pass"}, {File: "tests/zones.tftest.hcl", Run: "spreads", Status: "fail", Message: "Test assertion failed: subnets are not spread over the zones"}, {File: "tests/zones.tftest.hcl", Run: "later", Status: "skip"}}}})},
		{"module-new", ModuleFormPage(shell("Add a module", NavModules), ModuleFormModel{Values: NewModuleForm(), Connected: true, GitLabHost: "gitlab.corp.example", Tools: present()})},
		{"module-new-errors", ModuleFormPage(shell("Add a module", NavModules), ModuleFormModel{Values: form, Errors: map[string]string{"name": "“a b” cannot be a module's name.", "project": "GitLab says: project “x” was not found."}, Connected: true, GitLabHost: "gitlab.corp.example"})},
		{"module-new-no-gitlab", ModuleFormPage(shell("Add a module", NavModules), ModuleFormModel{})},
		{"module-settings", ModuleFormPage(shellOf(), ModuleFormModel{Head: &head, Values: form, Edit: can(), Delete: can(), Import: can(), Variable: can(), Connected: true, GitLabHost: "gitlab.corp.example", Tools: present(), Variables: []runs.Variable{{Name: "AWS_SECRET_ACCESS_KEY", Secret: true}, {Name: "AWS_REGION", Value: "eu-north-1"}}, DeleteError: "That is not the module's address."})},
		{"module-settings-reader", ModuleFormPage(shellOf(), ModuleFormModel{Head: &head, Values: form, Edit: Act{WhyNot: "Only an admin can."}, Delete: Act{WhyNot: "Only an admin can delete a module."}, Connected: true, GitLabHost: "gitlab.corp.example"})},
	}
}
