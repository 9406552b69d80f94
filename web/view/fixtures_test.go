package view

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"

	"groundcrew/runs"
)

// A sample is one page with one set of arguments.
type sample struct {
	Name string // file name of its picture
	Page templ.Component
}

var now = time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func shell(title, nav string, crumbs ...Crumb) Page {
	return Page{
		Title: title, Nav: nav, Crumbs: crumbs, Now: now, NeedCount: 3, Version: "0.9.2",
		User: &User{Name: "anna.lind", Role: "admin", Initials: "AL"},
	}
}

func networkStack() runs.Stack {
	return runs.Stack{
		Slug: "network-prod", Name: "network-prod", Description: "The production network: subnets, listeners, edge rules.",
		Project: 42, ProjectPath: "infra/network", ProjectURL: "https://gitlab.corp.example/scm/infra/network", Branch: "main",
		ProjectRoot: "envs/prod", Globs: []string{"modules/network/**"}, Tool: runs.OpenTofu, ToolVersion: "~> 1.12", State: runs.StateManaged,
		Plan: runs.PlanMergeResult, Labels: []string{"prod", "network"}, LockedBy: "bo.ek", LockNote: "Migration of the edge until Friday",
		TrackedCommit: commit3f(), CreatedAt: ago(900 * time.Hour), UpdatedAt: ago(5 * time.Hour),
	}
}

func commit3f() runs.Commit {
	return runs.Commit{
		SHA: "3f2a91c0de55aa0913bb0d2c6d8a6b3ce0f41177", Title: "Open port 443 for the new edge", Author: "Anna Lind",
		URL: "https://gitlab.corp.example/scm/infra/network/-/commit/3f2a91c0de55aa0913bb0d2c6d8a6b3ce0f41177",
	}
}

func lived(r runs.Run, at time.Time, steps ...runs.Transition) runs.Run {
	r.CreatedAt = at
	for _, t := range steps {
		t.At = at
		at = at.Add(3100 * time.Millisecond)
		r.Transitions = append(r.Transitions, t)
		r.State, r.Reason = t.State, t.Note
		if t.By == "" {
			r.Transitions[len(r.Transitions)-1].By = runs.System
		}
	}
	if r.State.Terminal() {
		r.EndedAt = r.Entered()
	}
	return r
}

func to(states ...runs.State) []runs.Transition {
	var out []runs.Transition
	for _, s := range states {
		out = append(out, runs.Transition{State: s})
	}
	return out
}

func trackedRun() runs.Run {
	return runs.Run{
		ID: "01JDA7Z3K8Q4W9R2T5Y7XNM6P1", Stack: "network-prod", Project: 42, Type: runs.Tracked, Trigger: runs.ByWebhook,
		Commit: commit3f(), Branch: "main", Tool: runs.OpenTofu, ToolVersion: "1.12.6", StateVersion: 17,
		Fingerprint: "9f14c0de55aa0913bb0d2c6d8a6b3ce0", Delta: &runs.Delta{Add: 2, Change: 2, Destroy: 1, Import: 1, Outputs: 1},
	}
}

func unconfirmedRun() runs.Run {
	return lived(trackedRun(), ago(12*time.Minute), to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed)...)
}

func proposedRun() runs.Run {
	r := trackedRun()
	r.ID, r.Type, r.Branch = "01JDA7Z3K8Q4W9R2T5Y7XNM6P2", runs.Proposed, "feature/edge"
	r.MR = &runs.MergeRequest{IID: 214, Title: "Open port 443 for the new edge", SourceBranch: "feature/edge", TargetBranch: "main", URL: "https://gitlab.corp.example/scm/infra/network/-/merge_requests/214"}
	r.Basis = &runs.Basis{SHA: "aa90f1c0de55aa0913bb0d2c6d8a6b3ce0f41177", Kind: runs.PlanMergeResult, Behind: 2}
	return lived(r, ago(40*time.Minute), to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Finished)...)
}

func failedRun() runs.Run {
	r := trackedRun()
	r.ID, r.Stack, r.Delta, r.Fingerprint, r.StateVersion = "01JDA7Z3K8Q4W9R2T5Y7XNM6P3", "dns", nil, "", 0
	r.Commit.Title = "Add the records of the new mail relay"
	steps := append(to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning), runs.Transition{State: runs.Failed, Note: `Unsupported argument: an argument named "tll" is not expected here (dns.tf line 14)`})
	return lived(r, ago(2*time.Hour), steps...)
}

func applyingRun() runs.Run {
	r := trackedRun()
	r.ID, r.Stack = "01JDA7Z3K8Q4W9R2T5Y7XNM6P4", "edge"
	steps := append(to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed), runs.Transition{State: runs.Confirmed, By: "anna.lind"}, runs.Transition{State: runs.Applying})
	return lived(r, ago(100*time.Second), steps...)
}

func queuedRun() runs.Run {
	r := trackedRun()
	r.ID, r.Delta = "01JDA7Z3K8Q4W9R2T5Y7XNM6P5", nil
	r.Commit.Title = "Lower the TTL of the edge record"
	return lived(r, ago(3*time.Minute), to(runs.Queued)...)
}

func finishedRun() runs.Run {
	r := trackedRun()
	r.ID, r.NewVersion = "01JDA7Z3K8Q4W9R2T5Y7XNM6P6", 18
	steps := append(to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed), runs.Transition{State: runs.Confirmed, By: "anna.lind"}, runs.Transition{State: runs.Applying}, runs.Transition{State: runs.Finished})
	return lived(r, ago(26*time.Hour), steps...)
}

func discardedRun() runs.Run {
	r := trackedRun()
	r.ID, r.Delta = "01JDA7Z3K8Q4W9R2T5Y7XNM6P7", &runs.Delta{}
	steps := append(to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed), runs.Transition{State: runs.Discarded, By: "bo.ek", Note: "not today"})
	return lived(r, ago(70*time.Hour), steps...)
}

func rows() []RunRow {
	return []RunRow{
		{Run: unconfirmedRun(), StackName: "network-prod"},
		{Run: queuedRun(), StackName: "network-prod", Blocker: &RunRef{ID: unconfirmedRun().ID, Title: "Open port 443 for the new edge", State: runs.Unconfirmed}},
		{Run: applyingRun(), StackName: "edge", Progress: "4 of 9"},
		{Run: proposedRun(), StackName: "network-prod"},
		{Run: failedRun(), StackName: "dns"},
		{Run: finishedRun(), StackName: "network-prod"},
		{Run: discardedRun(), StackName: "network-prod"},
	}
}

func planChanges() *runs.Changes {
	policy := func(port int) string {
		return fmt.Sprintf(`"version: 1\nrules:\n  - from: any\n    port: %d\n  - from: vpn\n    port: 22\n"`, port)
	}
	return &runs.Changes{
		Resources: []runs.ResourceChange{
			{Address: "aws_lb_listener.edge", Type: "aws_lb_listener", Action: runs.ActChange, Attributes: []runs.AttributeChange{
				{Path: "port", Before: "80", After: "443"},
				{Path: "protocol", Before: `"HTTP"`, After: `"HTTPS"`},
				{Path: "certificate_arn", Before: "null", Unknown: true},
				{Path: "default_action[0].secret", Sensitive: true},
			}},
			{Address: "aws_network_acl.edge", Type: "aws_network_acl", Action: runs.ActChange, Attributes: []runs.AttributeChange{
				{Path: "policy", Before: policy(80), After: policy(443)},
			}},
			{Address: "aws_security_group_rule.edge_443", Type: "aws_security_group_rule", Action: runs.ActAdd, Attributes: []runs.AttributeChange{
				{Path: "from_port", After: "443"}, {Path: "to_port", After: "443"}, {Path: "id", Unknown: true}, {Path: "cidr_blocks", After: `["0.0.0.0/0"]`},
			}},
			{Address: `module.edge["eu-north-1"].aws_instance.proxy[0]`, Type: "aws_instance", Action: runs.ActReplace, Reason: "an attribute that cannot be changed in place differs", Attributes: []runs.AttributeChange{
				{Path: "ami", Before: `"ami-0a1"`, After: `"ami-0b2"`, Replaces: true}, {Path: "id", Before: `"i-0123"`, Unknown: true},
			}},
			{Address: "aws_route53_zone.corp", Type: "aws_route53_zone", Action: runs.ActImport, ImportID: "Z0123456789"},
			{Address: "data.aws_ami.proxy", Type: "aws_ami", Action: runs.ActRead, Reason: "its configuration depends on changes of this plan"},
		},
		Outputs: []runs.OutputChange{{Name: "edge_url", Action: runs.ActChange, Before: `"http://edge.corp.example"`, After: `"https://edge.corp.example"`}},
		Drift: []runs.ResourceChange{{Address: "aws_lb.edge", Type: "aws_lb", Action: runs.ActChange, Attributes: []runs.AttributeChange{
			{Path: "tags.owner", Before: `"platform"`, After: `"somebody"`},
		}}},
	}
}

const planLog = "\x1b[2m$ tofu plan -input=false -out=tfplan\x1b[0m\n" +
	"\x1b[0m\x1b[1maws_lb.edge: Refreshing state... [id=arn:aws:elasticloadbalancing:eu-north-1:0123456789:loadbalancer/app/edge/50dc6c495c0c9188]\x1b[0m\n" +
	"\n" +
	"OpenTofu used the selected providers to generate the following execution\nplan. Resource actions are indicated with the following symbols:\n" +
	"  \x1b[32m+\x1b[0m create\n  \x1b[33m~\x1b[0m update in-place\n\x1b[31m-\x1b[0m/\x1b[32m+\x1b[0m destroy and then create replacement\n\n" +
	"OpenTofu will perform the following actions:\n\n" +
	"\x1b[1m  # aws_lb_listener.edge\x1b[0m will be updated in-place\n" +
	"  \x1b[33m~\x1b[0m resource \"aws_lb_listener\" \"edge\" {\n      \x1b[33m~\x1b[0m port     = 80 \x1b[33m->\x1b[0m 443\n      \x1b[33m~\x1b[0m protocol = \"HTTP\" \x1b[33m->\x1b[0m \"HTTPS\"\n    }\n\n" +
	"\x1b[1mPlan:\x1b[0m 2 to add, 2 to change, 1 to destroy.\n" +
	"\x1b[33m╷\x1b[0m\n\x1b[33m│\x1b[0m \x1b[1m\x1b[33mWarning: \x1b[0m\x1b[1mDeprecated argument\x1b[0m\n\x1b[33m│\x1b[0m   on edge.tf line 3\n\x1b[33m╵\x1b[0m\n"

const planError = "Error: Unsupported argument\n\n  on dns.tf line 14, in resource \"aws_route53_record\" \"relay\":\n  14:   tll = 300\n\nAn argument named \"tll\" is not expected here. Did you mean \"ttl\"?"

func logs(phases ...string) []PhaseLog {
	var out []PhaseLog
	for _, p := range phases {
		out = append(out, PhaseLog{Phase: p, Text: []byte(planLog), FirstLine: 1, Size: int64(len(planLog))})
	}
	return out
}

func can() Act { return Act{Can: true} }

func unconfirmedModel() RunModel {
	newer := runs.Commit{SHA: "77aa91c0de55aa0913bb0d2c6d8a6b3ce0f41177", Title: "Name the edge's owner"}
	return RunModel{
		Run: unconfirmedRun(), StackName: "network-prod", ProjectURL: "https://gitlab.corp.example/scm/infra/network",
		Changes: planChanges(), Logs: logs("initializing", "planning"), Confirm: can(), Discard: can(), Newer: &newer,
		Isolation: []string{"memory limits (no cgroup is delegated to this server)"}, LiveURL: "/runs/01JDA7Z3K8Q4W9R2T5Y7XNM6P1/live",
	}
}

func noNewer(m RunModel) RunModel {
	m.Newer = nil
	return m
}

func runPage(m RunModel) templ.Component {
	p := shell(title(m.Run), NavRuns, Crumb{"Stacks", "/stacks"}, Crumb{m.StackName, "/stacks/" + m.Run.Stack}, Crumb{"run " + ShortID(m.Run.ID), ""})
	return RunPage(p, m)
}

func runSamples() []sample {
	failed := RunModel{Run: failedRun(), StackName: "dns", Logs: logs("initializing", "planning"), Retry: can(), ErrorText: planError}
	applying := RunModel{Run: applyingRun(), StackName: "edge", Progress: "4 of 9", Changes: planChanges(), Logs: logs("initializing", "planning", "applying"), Stop: can(), LiveURL: "/runs/x/live"}
	applying.Logs[2].CutBytes, applying.Logs[2].FirstLine, applying.Logs[2].Size = 480_000, 6021, 544_000
	queued := RunModel{Run: queuedRun(), StackName: "network-prod", Discard: can(), LiveURL: "/runs/y/live", Blocker: rows()[1].Blocker}
	reader := unconfirmedModel()
	reader.Confirm, reader.Discard, reader.Newer = Act{WhyNot: "A writer or an admin confirms; you are a reader."}, Act{}, nil
	reader.Locked = lockText(networkStack())
	return []sample{
		{"run-unconfirmed", runPage(noNewer(unconfirmedModel()))},
		{"run-moved", runPage(unconfirmedModel())},
		{"run-failed", runPage(failed)},
		{"run-applying", runPage(applying)},
		{"run-queued", runPage(queued)},
		{"run-proposed", runPage(RunModel{Run: proposedRun(), StackName: "network-prod", Changes: planChanges(), Logs: logs("initializing", "planning"), Promote: can(), Retry: can()})},
		{"run-finished", runPage(RunModel{Run: finishedRun(), StackName: "network-prod", Changes: planChanges(), Logs: logs("initializing", "planning", "applying"), Retry: can()})},
		{"run-discarded", runPage(RunModel{Run: discardedRun(), StackName: "network-prod", StackGone: true})},
		{"run-reader", runPage(reader)},
		{"run-bare", runPage(RunModel{StackName: "edge", Run: runs.Run{ID: "01JDA7Z3K8Q4W9R2T5Y7XNM6P0", Stack: "edge"}})},
	}
}

func startSamples() []sample {
	m := StartModel{
		Needs: []RunRow{rows()[0], rows()[4]}, Work: rows()[1:3],
		Trouble: []Trouble{{Key: "token", Kind: KindWarn, Title: "GitLab token expires in 6 days", Detail: "groundcrew-bot", LinkText: "Change token", LinkURL: "/settings/vcs/gitlab/edit"}},
		Day:     Day{Total: 31, Finished: 28, Failed: 2, Discarded: 1, Hours: [24]int{0, 0, 1, 0, 0, 2, 1, 3, 4, 2, 1, 0, 0, 1, 2, 5, 3, 2, 1, 1, 0, 1, 0, 1}},
	}
	banner := shell("Start", NavStart)
	banner.Banners = []Banner{DetachedBanner(7)}
	banner.Flash = &Flash{KindGood, "The run was confirmed."}
	return []sample{
		{"start", StartPage(shell("Start", NavStart), m)},
		{"start-quiet", StartPage(banner, StartModel{})},
		{"start-new", StartPage(shell("Start", NavStart), StartModel{Steps: &FirstSteps{}})},
		{"start-steps", StartPage(shell("Start", NavStart), StartModel{Steps: &FirstSteps{GitLab: true, Stack: true, FirstSlug: "network-prod", Plan: can()}})},
	}
}

func stackHeadFixture(tab string) StackHead {
	last := unconfirmedRun()
	ahead := runs.Commit{SHA: "77aa91c0de55aa0913bb0d2c6d8a6b3ce0f41177", Title: "Name the edge's owner"}
	return StackHead{Stack: networkStack(), Last: &last, Tab: tab, OpenMRs: 2, HeldForks: 1, Ahead: &ahead, Trigger: can(), Lock: can(), Sync: can()}
}

func bareHead(tab string) StackHead {
	return StackHead{Stack: runs.Stack{Slug: "edge", Name: "edge", ProjectPath: "infra/edge", Branch: "main", Tool: runs.Terraform, State: runs.StateManaged, Flag: "the run was cut off; 4 of 9 resources were applied"}, Tab: tab, Detached: true, Trigger: Act{WhyNot: "The stack is detached, so nothing can be triggered."}, Lock: can()}
}

func stackShell() Page {
	return shell("network-prod", NavStacks, Crumb{"Stacks", "/stacks"}, Crumb{"network-prod", ""})
}

func present() []ToolVersion {
	return []ToolVersion{
		{Tool: runs.OpenTofu, Version: "1.12.6", Path: "/var/lib/groundcrew/bin/tofu"},
		{Tool: runs.Terraform, Version: "1.9.8", Path: "/usr/local/bin/terraform"},
		{Tool: runs.Terraform, Path: "/usr/local/bin/terraform-old", Broken: "it does not start: exec format error"},
	}
}

func stackForms() (StackForm, map[string]string) {
	v := StackForm{
		Name: "network prod", Project: "infra/network", Branch: "main", ProjectRoot: "../prod", Globs: "modules/network/**\nshared/*.tf", Tool: runs.Custom, ToolVersion: "~> 1.12",
		State: runs.StateManaged, Plan: runs.PlanHead, Labels: "prod, network", Protect: true, InstallHook: true, Commands: runs.Commands{Plan: "make plan"},
	}
	return v, map[string]string{"project_root": "“../prod” is not a folder inside the project. Give a path like infra/network, without “..”.", "commands": "A custom tool needs at least a plan and an apply command."}
}

func stackSamples() []sample {
	list := StacksModel{Any: true, Connected: true, CanCreate: true, Labels: []string{"network", "prod"}, Pager: Pager{NextURL: "/stacks?cursor=x", FirstURL: "/stacks", Shown: 4, Total: 12}}
	for i, r := range []runs.Run{unconfirmedRun(), failedRun(), applyingRun(), finishedRun()} {
		s := networkStack()
		if i > 0 {
			s.Name, s.Slug, s.ProjectPath, s.ProjectRoot, s.LockedBy = r.Stack, r.Stack, "platform/infrastructure/networking/production-"+r.Stack, "", ""
		}
		list.Rows = append(list.Rows, StackRow{Stack: s, Last: &r, Detached: i == 3})
	}
	list.Rows = append(list.Rows, StackRow{Stack: bareHead("").Stack})
	values, errs := stackForms()
	held, mrRun := runs.MergeRequest{IID: 219, Title: "Typo in the edge's description", SourceBranch: "patch-1", TargetBranch: "main", URL: "https://gitlab.corp.example/x/y/-/merge_requests/219"}, proposedRun()
	return []sample{
		{"stacks", StacksPage(shell("Stacks", NavStacks), list)},
		{"stacks-none", StacksPage(shell("Stacks", NavStacks), StacksModel{Connected: true, CanCreate: true})},
		{"stacks-no-gitlab", StacksPage(shell("Stacks", NavStacks), StacksModel{CanCreate: true})},
		{"stacks-no-match", StacksPage(shell("Stacks", NavStacks), StacksModel{Any: true, Q: "nothing", State: "failed"})},
		{"stack-new", StackNewPage(shell("Create a stack", NavStacks, Crumb{"Stacks", "/stacks"}), StackNewModel{Values: NewStackForm(), Connected: true, GitLabHost: "gitlab.corp.example", Tools: present()})},
		{"stack-new-errors", StackNewPage(shell("Create a stack", NavStacks), StackNewModel{Values: values, Errors: errs, Connected: true, GitLabHost: "gitlab.corp.example"})},
		{"stack-new-no-gitlab", StackNewPage(shell("Create a stack", NavStacks), StackNewModel{})},
		{"stack-runs", StackRunsPage(stackShell(), StackRunsModel{Head: stackHeadFixture(TabRuns), Rows: rows(), Pager: Pager{NextURL: "?cursor=x", Shown: 7}})},
		{"stack-runs-none", StackRunsPage(stackShell(), StackRunsModel{Head: bareHead(TabRuns)})},
		{"stack-mrs", StackMRsPage(stackShell(), StackMRsModel{Head: stackHeadFixture(TabMergeRequests), Rows: []MRRow{
			{MR: *mrRun.MR, HeadSHA: mrRun.Commit.SHA, Run: &mrRun, Updated: ago(40 * time.Minute)},
			{MR: held, HeadSHA: "99aa91c0de55aa09", ForkPath: "stranger/network", Held: true, Release: can(), Updated: ago(3 * time.Hour)},
		}})},
		{"stack-mrs-none", StackMRsPage(stackShell(), StackMRsModel{Head: bareHead(TabMergeRequests)})},
		{"stack-state", StatePage(stackShell(), StateModel{Head: stackHeadFixture(TabState), Resources: 84, TerraformVersion: "1.12.6", Download: can(), Outputs: []StateOutput{{"edge_url", `"https://edge.corp.example"`, false}, {"db_password", "", true}}, Versions: []StateVersion{
			{Version: 18, Serial: 104, Lineage: "9b2f", RunID: finishedRun().ID, RunTitle: "Open port 443 for the new edge", CreatedAt: ago(26 * time.Hour), Size: 48_120},
			{Version: 17, Serial: 101, Lineage: "9b2f", RunID: "01JDA7Z3K8Q4W9R2T5Y7XNM6P9", RunTitle: "Move the edge", Note: "rescued after the run was cut off", CreatedAt: ago(300 * time.Hour), Size: 47_001},
			{Version: 16, Serial: 100, Lineage: "9b2f", By: "anna.lind", Note: "imported", CreatedAt: ago(3000 * time.Hour), Size: 912},
		}})},
		{"stack-state-none", StatePage(stackShell(), StateModel{Head: bareHead(TabState)})},
		{"stack-settings", StackSettingsPage(stackShell(), StackSettingsModel{Head: stackHeadFixture(TabSettings), Values: values, Errors: errs, Edit: can(), Delete: can(), Destroy: can(), DestroyError: "That is not the slug of this stack.", StateKept: 18, Tools: present(), DeleteError: "That is not the slug of this stack."})},
		{"stack-settings-reader", StackSettingsPage(stackShell(), StackSettingsModel{Head: bareHead(TabSettings), Values: NewStackForm(), Edit: Act{WhyNot: "An admin or a writer changes settings."}, Delete: Act{WhyNot: "It is protected from deletion. Switch that off above and save first."}})},
	}
}

func integrationFixture() Integration {
	return Integration{
		APIURL: "https://gitlab.corp.example/scm", Version: "18.5.1-ee", State: Connected, StatusPrefix: "groundcrew", HasCA: true,
		Token: Token{Name: "groundcrew", Username: "groundcrew-bot", Scopes: []string{"api"}, ExpiresAt: now.Add(41 * 24 * time.Hour), CheckedAt: ago(3 * time.Minute), Active: true},
	}
}

func integrationModel() IntegrationModel {
	return IntegrationModel{
		Integration: integrationFixture(), Endpoint: "https://gc.corp.example/webhooks/gitlab", CanAdmin: true, Stacks: 7, Refused: 2, ReportsWaiting: 3, ReportsParked: 1,
		EndpointWarning: "GitLab may refuse a private address until its admin allows requests to the local network.", PreviousUntil: now.Add(23 * time.Hour), HooksOwed: 2,
		Pager: Pager{Shown: 4, Total: 4},
		Projects: []HookRow{
			{42, "infra/network", "https://gitlab.corp.example/scm/infra/network", HookInstalled, "push, tags, comments, merge requests", ago(4 * time.Minute), 2, ago(time.Hour), true, "It arrived.", "on"},
			{43, "infra/dns", "https://gitlab.corp.example/scm/infra/dns", HookMissing, "GitLab says nothing of pushes to this project.", time.Time{}, 1, time.Time{}, false, "", ""},
			{44, "infra/edge", "https://gitlab.corp.example/scm/infra/edge", HookDuplicate, "One is enough; both work, and nothing runs twice.", ago(50 * time.Hour), 1, ago(time.Minute), false, "GitLab does not allow itself to call gc.corp.example.", "off"},
			{45, "infra/old", "https://gitlab.corp.example/scm/infra/old", HookUnknown, "GitLab did not answer.", ago(5000 * time.Hour), 1, time.Time{}, false, "", ""},
		},
	}
}

func checkFixture() []Check {
	return []Check{
		{"Reachable", true, false, "gitlab.corp.example answers in 14 ms."},
		{"TLS", true, false, "The certificate is valid until 3 Mar 2027."},
		{"Token", false, false, "GitLab refused the token (expired on 1 March). Make a new one and give it here."},
		{"Scope", false, true, "Needs a valid token."},
	}
}

func inboxModel() InboxModel {
	return InboxModel{
		Dismiss: can(),
		Notices: []Notice{
			{"token", KindBad, "GitLab does not work with the token", "The token was revoked (GET /api/v4/user). Set a new token.", "Find out who revoked it, make a new token and set it here. Until then reports wait and nothing is lost.", "Change token", "/settings/vcs/gitlab/edit", ago(time.Hour), "", Act{}},
			{"hook/43", KindWarn, "The webhook of infra/dns is missing", "GitLab does not tell Groundcrew of pushes here.", "Install it, then test it.", "Look at the hooks", "/settings/vcs/gitlab", ago(4 * time.Minute), "", Act{}},
			{"fork/1", KindInfo, "Merge request !7 from a fork waits for its release", "Open a port", "A Maintainer reads it.", "", "", ago(time.Minute), "", Act{WhyNot: "Only a Maintainer of infra/network in GitLab can dismiss a notice; you are a Developer there."}},
		},
		Dismissed: []Notice{{"token-expires-30", KindWarn, "The GitLab token expires in 29 days", "It belongs to @bot.", "Make a new one.", "Change token", "/settings/vcs/gitlab/edit", ago(30 * time.Hour), "anna", Act{}}},
	}
}

func settingsSamples() []sample {
	p := shell("GitLab", NavSettings, Crumb{"Settings", "/settings/vcs"}, Crumb{"VCS providers", "/settings/vcs"}, Crumb{"GitLab", ""})
	i := integrationFixture()
	dead := integrationModel()
	dead.State, dead.Detail, dead.Token.Active, dead.Token.Human, dead.Projects, dead.Secret = TokenDead, "GitLab refused the token (expired on 1 March). Change it here. 14 reports wait and will be sent then.", false, true, nil, "s3cr3t-shown-once"
	dead.Checks, dead.UnlinkError = checkFixture(), "That is not the host."
	delivery := Delivery{"01JDB", "Push Hook", "infra/network", ago(12 * time.Minute), DeliveryDone, "started 2 runs", []string{unconfirmedRun().ID, failedRun().ID}}
	ignored := Delivery{"01JDC", "Merge Request Hook", "infra/network", ago(14 * time.Minute), DeliveryIgnored, "ignored: nothing under infra/", nil}
	command := Delivery{"01JDE", "Note Hook", "infra/network", ago(16 * time.Minute), DeliveryDone, "command apply by @rolf.ek (GitLab 118): refused: Only a Maintainer of infra/network in GitLab can do this; you are a Reporter there.", nil}
	refused := Delivery{"01JDD", "", "", ago(3 * time.Hour), DeliveryRefused, "refused: wrong secret", nil}
	return []sample{
		{"vcs-none", VCSPage(p, VCSModel{})},
		{"vcs", VCSPage(p, VCSModel{GitLab: &i, Projects: 12, Stacks: 31})},
		{"gitlab-form", IntegrationFormPage(p, IntegrationFormModel{StatusPrefix: "groundcrew"})},
		{"gitlab-form-errors", IntegrationFormPage(p, IntegrationFormModel{Edit: true, APIURL: "https://gitlab.corp.example/scm", StatusPrefix: "gc", Aggregate: true, Checks: checkFixture(), Errors: map[string]string{"token": "GitLab refused it (401)."}})},
		{"gitlab", IntegrationPage(p, integrationModel())},
		{"gitlab-dead", IntegrationPage(p, dead)},
		{"inbox", InboxPage(shell("Inbox", NavInbox), inboxModel())},
		{"inbox-none", InboxPage(shell("Inbox", NavInbox), InboxModel{})},
		{"deliveries", DeliveriesPage(p, DeliveriesModel{Rows: []Delivery{delivery, ignored, command, refused}, Any: true, Pager: Pager{NextURL: "?cursor=x", Shown: 4}})},
		{"deliveries-none", DeliveriesPage(p, DeliveriesModel{})},
		{"delivery", DeliveryPage(p, DeliveryModel{Delivery: delivery, Headers: []Header{{"X-Gitlab-Event", "Push Hook"}, {"User-Agent", "GitLab/18.5.1-ee"}}, Body: "{\n  \"object_kind\": \"push\",\n  \"after\": \"3f2a91c0\"\n}", BodyCut: 1200, Replay: can()})},
		{"reports", ReportsPage(p, ReportsModel{Any: true, Retry: can(), Rows: []Report{
			{"status/42/3f2a/gc", "status", "groundcrew/network-prod on 3f2a91c0", "https://gitlab.corp.example/x", unconfirmedRun().ID, ReportParked, 4, time.Time{}, "GitLab forbids it: 403 Forbidden (POST /api/v4/projects/42/statuses/3f2a91c0).", ago(time.Hour), "The branch is protected and the token's user may not push or merge there.", "Make the token's user a Maintainer of the project. Then try again here.", Act{}},
			{"note/42/214/network-prod", "comment", "network-prod on !214", "", "", ReportWaiting, 2, now.Add(40 * time.Second), "502 Bad Gateway", ago(time.Minute), "", "", Act{WhyNot: "Only a Maintainer of infra/dns in GitLab can try a report again; you are a Developer there."}},
			{"reply/42/214/0000005501", "reply", "answer to a comment on !214", "https://gitlab.corp.example/x", "", ReportWaiting, 0, time.Time{}, "", ago(time.Second), "", "", can()},
			{"deployment/x", "deployment", "groundcrew/network-prod", "", "", ReportDelivered, 1, time.Time{}, "", ago(time.Minute), "", "", Act{}},
		}})},
		{"reports-none", ReportsPage(p, ReportsModel{})},
		{"system", SystemPage(shell("System", NavSettings), SystemModel{Version: "0.9.2", Commit: "3f2a91c0de55", GoVersion: "go1.26", Started: ago(400 * time.Hour), Listen: "127.0.0.1:8080", ExternalURL: "https://gc.corp.example", DataDir: "/var/lib/groundcrew", DBBytes: 12_400_000, FreeBytes: 88_000_000_000, BackupAt: ago(9 * time.Hour), BackupBytes: 412_000_000, Limits: []LimitRow{{Name: "workers", Label: "Workers", Help: "runs at work at once", Value: "many", Start: "2", Flag: "--workers"}, {Name: "log_age", Label: "Logs are kept for", Help: "a run says when its logs were removed", Off: "for ever", Value: "365d", Start: "365d", Flag: "--log-age"}}, Errors: map[string]string{"workers": "“many” is no number. Give one from 1 to 64."}, Working: 2, QueuedRuns: 1, Tools: present(), ToolDirs: []string{"/var/lib/groundcrew/bin", "/usr/local/bin"}, Isolation: []string{"memory limits (no cgroup is delegated to this server)"}, Received: 812, Refused: 2, CanAdmin: true})},
		{"system-bare", SystemPage(shell("System", NavSettings), SystemModel{})},
		{"users", UsersPage(shell("Users", NavSettings), usersFixture())},
		{"user", UserPage(shell("Anna", NavSettings), UserModel{Row: usersFixture().Rows[0], Sessions: sessionsFixture(), Link: "https://gc.example/welcome?token=abc"})},
		{"account", AccountPage(shell("Your account", ""), AccountModel{Row: usersFixture().Rows[1], Sessions: sessionsFixture(), Password: true, Connect: true})},
		{"account-connect", AccountPage(shell("Your account", ""), AccountModel{Row: usersFixture().Rows[1], Sessions: sessionsFixture(), Password: true, ContinueURL: "https://gitlab.example/oauth/authorize?x=y", ConnectError: "This is not your present password."})},
		{"welcome", WelcomePage(Page{Title: "Choose a password", Now: now}, WelcomeModel{Token: "abc", Name: "bo.ek"})},
		{"keys", KeysPage(shell("API keys", NavSettings), keysFixture())},
		{"keys-none", KeysPage(shell("API keys", NavSettings), KeysModel{Role: "reader", Key: "gck_abc", KeyName: "ci"})},
		{"audit", AuditPage(shell("Audit", NavSettings), auditFixture())},
		{"audit-none", AuditPage(shell("Audit", NavSettings), AuditModel{Days: 730})},
		{"notifications", NotificationsPage(shell("Notifications", NavSettings), NotificationsModel{
			Channels: []ChannelRow{
				{"01A", "On call", kindEmail, "oncall@corp.example, platform@corp.example", "7 events", "every stack", false, 0, "", ago(4 * time.Minute), time.Time{}},
				{"01B", "#infra", kindChat, "chat.corp.example", "4 events", "stacks labelled prod", false, 3, "chat.corp.example answered 503 Service Unavailable.", ago(50 * time.Hour), ago(time.Minute)},
				{"01C", "Incident tool", kindWebhook, "incidents.corp.example", "2 events", "every stack", true, 0, "", time.Time{}, time.Time{}},
			},
			Failures: []NotificationRow{{"network-prod: 1 to add · waits for confirmation", "#infra", "chat.corp.example could not be reached: connection refused.", ago(26 * time.Hour)}},
		})},
		{"notifications-none", NotificationsPage(shell("Notifications", NavSettings), NotificationsModel{})},
		{"channel-email", ChannelFormPage(shell("New channel", NavSettings), NewChannelForm(kindEmail))},
		{"channel-webhook", ChannelFormPage(shell("New channel", NavSettings), func() ChannelFormModel {
			m := NewChannelForm(kindWebhook)
			m.Signing, m.Errors = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq=", map[string]string{"url": "That is not an address."}
			return m
		}())},
		{"channel-chat", ChannelFormPage(shell("#infra", NavSettings), ChannelFormModel{ID: "01B", Kind: kindChat, Name: "#infra", On: true, Host: "chat.corp.example", Labels: "prod", Events: usualEvents, GiveUp: "120"})},
	}
}

func doorSamples() []sample {
	out := Page{Title: "Sign in", Now: now}
	return []sample{
		{"setup", SetupPage(out, SetupModel{Token: "t", Name: "anna", Errors: map[string]string{"again": "The two passwords are not the same."}})},
		{"login", LoginPage(out, LoginModel{Next: "/runs/x", Username: "anna", Error: "Name or password is wrong. After five tries the sign-in waits a minute."})},
		{"error", ErrorPage(shell("Not found", ""), ErrorModel{Status: 404, What: "There is no such run.", Why: "It never existed, or its record was cleaned up.", Back: "/runs"})},
		{"error-out", ErrorPage(out, ErrorModel{Status: 500, What: "Something went wrong inside."})},
	}
}

// samples is every page, rich and empty.
func samples() []sample {
	var all []sample
	for _, s := range [][]sample{startSamples(), stackSamples(), {{"runs", RunsPage(shell("Runs", NavRuns), RunsModel{Rows: rows(), Any: true, Stacks: []Option{{"network-prod", "network-prod"}}, State: "failed", Pager: Pager{NextURL: "/runs?cursor=x", Shown: 7}})}, {"runs-none", RunsPage(shell("Runs", NavRuns), RunsModel{})}, {"runs-no-match", RunsPage(shell("Runs", NavRuns), RunsModel{Any: true, Type: "task"})}}, runSamples(), settingsSamples(), doorSamples(), moduleSamples(), readerSamples(), moreSamples(), contextSamples(), policySamples()} {
		all = append(all, s...)
	}
	return all
}

// payload is what a stranger would put into a commit message, a branch or a log.
const payload = `javascript:alert(1)//"'><script>alert(1)</script><img src=x onerror=alert(1)><style>*{}</style></textarea></title></pre>`

// poison puts a text into every plain string reachable from v. Named string types (states, types,
// actions) are words of our own and stay.
func poison(v reflect.Value, payload string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && v.Kind() == reflect.Pointer {
			poison(v.Elem(), payload)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				poison(v.Field(i), payload)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("\x1b[31m" + payload + "\n\x1b]8;;" + payload + "\x07x"))
			return
		}
		for i := range v.Len() {
			poison(v.Index(i), payload)
		}
	case reflect.Map:
		if v.Type().Elem().Kind() != reflect.String {
			return
		}
		for _, k := range v.MapKeys() {
			v.SetMapIndex(k, reflect.ValueOf(payload))
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(payload)
		}
	}
}

func poisonedWith[M any](m M, payload string) M {
	poison(reflect.ValueOf(&m).Elem(), payload)
	return m
}

// hostile is every page with the payload in every field, the shell's too.
func hostile() []sample { return filled(payload) }

// filled is every page with a text in every field that comes from outside.
func filled(payload string) []sample {
	p := poisonedWith(shell("x", "x", Crumb{"x", "x"}), payload)
	p.User.Initials, p.Live = "WM", "" // never more than two letters; no stream, for which there is no server
	p.Banners, p.Flash = []Banner{poisonedWith(DetachedBanner(1), payload)}, &Flash{payload, payload}
	run, rowsX := poisonedWith(unconfirmedModel(), payload), poisonedWith(rows(), payload)
	run.LiveURL, run.Logs = "/runs/x/live", logs("planning")
	run.Logs[0].Text = []byte("\x1b[31m" + payload + "\n\x1b]8;;" + payload + "\x07x\n" + payload)
	failed := run
	failed.Run.State, failed.ErrorText = runs.Failed, payload
	head := poisonedWith(stackHeadFixture(TabRuns), payload)
	values, errs := stackForms()
	module, versions, check, moduleHead := poisonedWith(moduleFixture(), payload), poisonedWith(versionFixtures(), payload), poisonedWith(moduleCheckFixture(), payload), poisonedWith(moduleHeadFixture(TabModule), payload)
	head.Stack.Labels = slices.Repeat([]string{payload}, 40)
	return append([]sample{
		{"start", StartPage(p, StartModel{Needs: rowsX, Work: rowsX, Trouble: []Trouble{{payload, payload, payload, payload, payload, payload}}})},
		{"steps", StartPage(p, StartModel{Steps: &FirstSteps{GitLab: true, Stack: true, FirstSlug: payload, Plan: can()}})},
		{"stacks", StacksPage(p, StacksModel{Any: true, Q: payload, State: payload, Label: payload, Labels: []string{payload}, Rows: []StackRow{{Stack: head.Stack, Last: head.Last}}, Pager: Pager{payload, payload, 1, 2}})},
		{"new", StackNewPage(p, StackNewModel{Values: poisonedWith(values, payload), Errors: poisonedWith(errs, payload), Error: payload, Connected: true, GitLabHost: payload, Tools: poisonedWith(present(), payload)})},
		{"stack-runs", StackRunsPage(p, StackRunsModel{Head: head, Rows: rowsX, Type: payload})},
		{"stack-mrs", StackMRsPage(p, StackMRsModel{Head: head, Rows: []MRRow{poisonedWith(MRRow{Held: true, Release: can(), Run: head.Last}, payload)}})},
		{"state", StatePage(p, poisonedWith(StateModel{Head: StackHead{Stack: networkStack()}, Versions: []StateVersion{{}}, Outputs: []StateOutput{{}}, Download: can()}, payload))},
		{"settings", StackSettingsPage(p, StackSettingsModel{Head: head, Values: poisonedWith(values, payload), Errors: poisonedWith(errs, payload), Edit: can(), Delete: can(), Destroy: can(), DestroyError: payload, DeleteError: payload})},
		{"runs", RunsPage(p, RunsModel{Rows: rowsX, Stacks: []Option{{payload, payload}}, Stack: payload, Type: payload, State: payload})},
		{"run", runPageIn(p, run)},
		{"run-failed", runPageIn(p, failed)},
		{"vcs", VCSPage(p, poisonedWith(VCSModel{GitLab: &Integration{}}, payload))},
		{"form", IntegrationFormPage(p, poisonedWith(IntegrationFormModel{Checks: checkFixture(), Errors: map[string]string{"token": "", "api_url": ""}}, payload))},
		{"gitlab", IntegrationPage(p, poisonedWith(integrationModel(), payload))},
		{"inbox", InboxPage(p, poisonedWith(inboxModel(), payload))},
		{"deliveries", DeliveriesPage(p, poisonedWith(DeliveriesModel{Rows: []Delivery{{Runs: []string{""}}}}, payload))},
		{"delivery", DeliveryPage(p, poisonedWith(DeliveryModel{Headers: []Header{{}}, Replay: can()}, payload))},
		{"reports", ReportsPage(p, poisonedWith(ReportsModel{Rows: []Report{{}}, Retry: can()}, payload))},
		{"system", SystemPage(p, named(poisonedWith(SystemModel{Limits: []LimitRow{{Name: "workers"}}, Tools: present(), ToolDirs: []string{""}, Isolation: []string{""}, CanAdmin: true, Errors: map[string]string{"workers": ""}}, payload)))},
		{"users", UsersPage(p, UsersModel{Any: true, Q: payload, Rows: []UserRow{{ID: payload, Name: payload, Display: payload + "x", Role: payload}}, CanAdmin: true, Name: payload, Errors: map[string]string{"name": payload}})},
		{"user", UserPage(p, UserModel{Row: UserRow{ID: payload, Name: payload, Display: payload, Role: payload}, Link: payload, Sessions: []SessionRow{{ID: payload, Agent: payload, Address: payload, Via: payload}}})},
		{"account", AccountPage(p, AccountModel{Row: UserRow{ID: payload, Name: payload, Display: payload, Role: payload, GitLab: true, Password: true}, ConnectError: payload, ContinueURL: payload})},
		{"keys", KeysPage(p, KeysModel{Rows: []KeyRow{{ID: payload, Name: payload, Role: payload, CreatedBy: payload}}, Name: payload, Key: payload, KeyName: payload})},
		{"audit", AuditPage(p, AuditModel{By: payload, Action: payload, Target: payload, Since: payload, Rows: []AuditRow{{By: payload, Action: "run.confirm", Target: payload, Stack: payload, Note: payload, Address: payload, Via: payload, Changes: []AuditChange{{payload, payload, payload}}}}})},
		{"setup", SetupPage(Page{Title: payload, Now: now}, SetupModel{Token: payload, Name: payload, Error: payload})},
		{"login", LoginPage(Page{Now: now}, LoginModel{payload, payload, payload, true, false})},
		{"error", ErrorPage(p, ErrorModel{404, payload, payload, payload, payload})},
		{"modules", ModulesPage(p, ModulesModel{Any: true, Q: payload, Rows: []ModuleRow{{Module: module, Address: payload, Latest: &versions[1], Last: &check, Users: 3}}})},
		{"module", ModulePage(p, ModuleModel{Head: moduleHead, Shown: &versions[1], Versions: versions, Readme: payload, Yank: can(), Start: can(), Users: poisonedWith([]runs.ModuleUse{{Calls: []string{""}}}, payload)})},
		{"module-checks", ModuleChecksPage(p, ModuleChecksModel{Head: moduleHead, Rows: []runs.Check{check}, Held: []HeldMR{{IID: 4, Title: payload, SHA: payload}}})},
		{"module-check", ModuleCheckPage(p, ModuleCheckModel{Head: moduleHead, Check: check})},
		{"module-settings", ModuleFormPage(p, ModuleFormModel{Head: &moduleHead, Values: poisonedWith(ModuleForm{}, payload), Edit: can(), Delete: can(), Import: can(), Variable: can(), Connected: true, GitLabHost: payload, Tools: poisonedWith(present(), payload), Variables: poisonedWith([]runs.Variable{{}}, payload), DeleteError: payload})},
		{"notifications", NotificationsPage(p, poisonedWith(NotificationsModel{Channels: []ChannelRow{{}}, Failures: []NotificationRow{{}}}, payload))},
		{"channel", ChannelFormPage(p, poisonedWith(ChannelFormModel{Errors: map[string]string{"name": "", "labels": ""}}, payload))},
		{"account", AccountPage(p, AccountModel{Row: UserRow{Name: payload, Display: payload, Role: payload, GitLab: true}, Sessions: poisonedWith(sessionsFixture(), payload)})},
		{"welcome", WelcomePage(Page{Title: payload, Now: now}, WelcomeModel{Token: payload, Name: payload})},
		{"sign-in", SignInPage(p, poisonedWith(SignInModel{Linked: true, Errors: map[string]string{"client_id": ""}}, payload))},
	}, append(filledContexts(p, head, payload), filledPolicies(p, head, payload)...)...)
}

func runPageIn(p Page, m RunModel) templ.Component { return RunPage(p, m) }

func render(c templ.Component) (string, error) {
	var b strings.Builder
	err := c.Render(context.Background(), &b)
	return b.String(), err
}

// named gives the limits of a poisoned model back their names, which are never anybody's input.
func named(m SystemModel) SystemModel {
	for i := range m.Limits {
		m.Limits[i].Name = "workers"
	}
	return m
}
