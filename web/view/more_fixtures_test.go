package view

import (
	"strings"
	"time"

	"github.com/a-h/templ"

	"groundcrew/runs"
)

// asReader is the page of somebody who only looks.
func asReader(title, nav string, crumbs ...Crumb) Page {
	p := shell(title, nav, crumbs...)
	p.User = &User{Name: "cleo", Role: "reader", Initials: "C"}
	return p
}

func off(verb string) Act {
	return Act{WhyNot: "Only a Maintainer of infra/network in GitLab can " + verb + "; you are a Reporter there."}
}

// readerSamples are the pages as somebody sees them who may do nothing: every button there is off and says why beside it.
func readerSamples() []sample {
	i, all := integrationFixture(), versionFixtures()
	head := stackHeadFixture(TabRuns)
	head.Trigger, head.Sync, head.Lock = off("trigger a run"), off("sync"), off("unlock a stack")
	at := func(tab string) StackHead {
		h := head
		h.Tab = tab
		return h
	}
	held := MRRow{
		MR:      runs.MergeRequest{IID: 219, Title: "Typo in the edge's description", SourceBranch: "patch-1", TargetBranch: "main"},
		HeadSHA: "99aa91c0de55aa09", ForkPath: "stranger/network", Held: true, Release: off("release a commit from a fork"),
	}
	module := moduleHeadFixture(TabModule)
	module.Check = off("check a module")
	checks := module
	checks.Tab = TabChecks
	settings := module
	settings.Tab = TabModuleOf
	gitlab := integrationModel()
	gitlab.CanAdmin = false
	bare := gitlab
	bare.Projects, bare.Pager = nil, Pager{}
	many := integrationModel()
	many.Pager = Pager{FirstURL: "/settings/vcs/gitlab", NextURL: "/settings/vcs/gitlab?cursor=45", Shown: 4, Total: 2000}
	inbox := inboxModel()
	inbox.Dismiss = Act{WhyNot: "Only a writer or an admin can dismiss a notice."}
	stack := asReader("network-prod", NavStacks, Crumb{"Stacks", "/stacks"}, Crumb{"network-prod", ""})
	vars := []runs.Variable{{Name: "AWS_SECRET_ACCESS_KEY", Secret: true, UpdatedAt: ago(800 * time.Hour), UpdatedBy: "anna.lind"}}
	run := func(m RunModel) templ.Component {
		return RunPage(asReader(title(m.Run), NavRuns, Crumb{"Stacks", "/stacks"}, Crumb{m.StackName, "/stacks/x"}, Crumb{"run", ""}), m)
	}
	return []sample{
		{"reader-start-new", StartPage(asReader("Start", NavStart), StartModel{Steps: &FirstSteps{NotMine: "Only an admin can do this.", Plan: off("trigger a run")}})},
		{"reader-start-steps", StartPage(asReader("Start", NavStart), StartModel{Steps: &FirstSteps{GitLab: true, Stack: true, FirstSlug: "x", NotMine: "Only an admin can do this.", Plan: off("trigger a run")}})},
		{"reader-stacks-none", StacksPage(asReader("Stacks", NavStacks), StacksModel{})},
		{"reader-stack-runs", StackRunsPage(stack, StackRunsModel{Head: head, Rows: rows()[:2]})},
		{"reader-stack-mrs", StackMRsPage(stack, StackMRsModel{Head: at(TabMergeRequests), Rows: []MRRow{held}})},
		{"reader-stack-environment", EnvironmentPage(stack, EnvironmentModel{Head: at(TabEnvironment), Entries: EntriesModel{At: StackEntriesAt("network-prod"), Variables: runs.Resolve([]runs.Source{{Variables: vars}}).Variables, Origins: true, Edit: off("change variables and files")}})},
		{"reader-stack-state", StatePage(stack, StateModel{Head: at(TabState), Resources: 4, Versions: []StateVersion{{Version: 3, Serial: 9, By: "anna.lind", Note: "imported", CreatedAt: ago(time.Hour), Size: 912}}, Download: Act{WhyNot: "Only an admin can download a state: it can hold secrets."}})},
		{"reader-stack-settings", StackSettingsPage(stack, StackSettingsModel{Head: at(TabSettings), Values: NewStackForm(), Edit: Act{WhyNot: "Only an admin can change settings."}, Delete: Act{WhyNot: "Only an admin can delete a stack."}, Destroy: off("destroy a stack")})},
		{"reader-run-queued", run(RunModel{Run: queuedRun(), StackName: "network-prod", Waiting: "waits for a worker", Discard: off("discard a run"), Prioritize: off("put a run first"), LiveURL: "/runs/y/live"})},
		{"reader-run-applying", run(RunModel{Run: applyingRun(), StackName: "edge", Changes: planChanges(), Logs: logs("applying"), Stop: off("stop a run"), LiveURL: "/runs/x/live"})},
		{"reader-run-finished", run(RunModel{Run: finishedRun(), StackName: "network-prod", Changes: planChanges(), Retry: off("start a run"), Promote: off("promote a run")})},
		{"reader-modules-none", ModulesPage(asReader("Modules", NavModules), ModulesModel{})},
		{"reader-module", ModulePage(asReader("vpc", NavModules), ModuleModel{Head: module, Shown: &all[3], Versions: all, Failed: true, Yank: off("yank a version"), Start: off("start runs"), Users: []runs.ModuleUse{{Module: "vpc", Stack: "network-prod", Version: "1.9.1", At: ago(time.Hour)}}})},
		{"reader-module-checks", ModuleChecksPage(asReader("vpc", NavModules), ModuleChecksModel{Head: checks, Held: []HeldMR{{IID: 4, Title: "x", SHA: "99aa91c0de55aa09"}}})},
		{"reader-module-settings", ModuleFormPage(asReader("vpc", NavModules), ModuleFormModel{Head: &settings, Values: NewModuleForm(), Edit: Act{WhyNot: "Only an admin can change settings."}, Delete: Act{WhyNot: "Only an admin can delete a module."}, Import: Act{WhyNot: "Only an admin can import tags."}, Variable: off("change variables"), Variables: vars, Connected: true, GitLabHost: "gitlab.corp.example"})},
		{"reader-vcs-none", VCSPage(asReader("VCS providers", NavSettings), VCSModel{})},
		{"reader-vcs", VCSPage(asReader("VCS providers", NavSettings), VCSModel{GitLab: &i, Projects: 12, Stacks: 31})},
		{"reader-gitlab", IntegrationPage(asReader("GitLab", NavSettings), gitlab)},
		{"gitlab-many", IntegrationPage(shell("GitLab", NavSettings), many)},
		{"reader-gitlab-bare", IntegrationPage(asReader("GitLab", NavSettings), bare)},
		{"reader-inbox", InboxPage(asReader("Inbox", NavInbox), inbox)},
		{"reader-delivery", DeliveryPage(asReader("Delivery", NavSettings), DeliveryModel{Delivery: Delivery{"01JDD", "Push Hook", "infra/network", ago(3 * time.Hour), DeliveryRefused, "refused: wrong secret", nil}, Replay: Act{WhyNot: "It was refused, so its body was not kept."}})},
		{"reader-reports", ReportsPage(asReader("Reports", NavSettings), ReportsModel{Any: true, Rows: []Report{
			{Key: "a", Kind: "status", Target: "groundcrew/network-prod on 3f2a91c0", State: ReportParked, LastError: "403 Forbidden", Retry: off("try a report again")},
			{Key: "b", Kind: "comment", Target: "dns on !14", State: ReportWaiting, LastError: "502 Bad Gateway", Retry: Act{WhyNot: "Only a Maintainer of infra/dns in GitLab can try a report again; you are a Developer there."}},
		}})},
		{"reader-system", SystemPage(asReader("System", NavSettings), SystemModel{Version: "0.9.2", Listen: ":8080", ExternalURL: "https://gc.corp.example", DataDir: "/var/lib/groundcrew", DeliveryDays: "7", ReportDays: "30", Started: ago(time.Hour), Limits: []LimitRow{{Name: "workers", Label: "Workers", Help: "runs at work at once", Value: "2", Start: "2", Flag: "--workers"}}, Tools: present()})},
		{"reader-users", UsersPage(asReader("Users", NavSettings), UsersModel{Rows: usersFixture().Rows})},
	}
}

// moreSamples are states of pages beside the rich and the empty one.
func moreSamples() []sample {
	door := Page{Title: "Sign in", Now: now}
	settings := func(title string) Page { return shell(title, NavSettings) }
	task := lived(runs.Run{ID: "01JDA7Z3K8Q4W9R2T5Y7XNM6T1", Stack: "network-prod", Type: runs.Task, Command: "tofu state list", Branch: "main", Commit: commit3f()}, ago(time.Hour), to(runs.Queued, runs.Preparing, runs.Initializing, runs.Performing, runs.Finished)...)
	destroy := trackedRun()
	destroy.ID, destroy.Type, destroy.Delta = "01JDA7Z3K8Q4W9R2T5Y7XNM6D1", runs.Destroy, nil
	destroy = lived(destroy, ago(time.Minute), to(runs.Queued, runs.Preparing, runs.Initializing, runs.Destroying)...)
	same := trackedRun()
	same.ID, same.Delta, same.Warnings = "01JDA7Z3K8Q4W9R2T5Y7XNM6S1", &runs.Delta{}, []string{"The lock file has no entry for hashicorp/random."}
	same = lived(same, ago(time.Hour), to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Finished)...)
	planning := trackedRun()
	planning.ID, planning.Delta, planning.Fingerprint, planning.StopAsked = "01JDA7Z3K8Q4W9R2T5Y7XNM6L1", nil, "", "bo.ek"
	planning = lived(planning, ago(time.Minute), to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning)...)
	signIn := SignInModel{Linked: true, RedirectURL: "https://gc.corp.example/login/gitlab/callback", AppsURL: "https://gitlab.corp.example/scm/admin/applications", GitLab: true, ClientID: "7c1f", HasSecret: true, Groups: "platform\ninfra/network", Role: "writer", Idle: "12", Life: "14"}
	wrong := signIn
	wrong.Errors = map[string]string{"client_secret": "GitLab does not know this secret (invalid_client). Copy it again from the application.", "session_idle_hours": "Between 1 and 720."}
	self := UserModel{Row: usersFixture().Rows[0], Sessions: sessionsFixture(), Self: true}
	out := func(status int, what, why, back string) sample {
		p := shell(what, "")
		return sample{strings.ToLower("error-" + strings.ReplaceAll(what, " ", "-")), ErrorPage(p, ErrorModel{Status: status, What: what, Why: why, Back: back})}
	}
	filter := auditFixture()
	filter.By, filter.Since = "anna", "2026-11-01"
	none := AuditModel{Days: 730, By: "nobody", Errors: map[string]string{"filter": "“yesterday” is no date. Write it like 2026-03-14."}}
	own := stackHeadFixture(TabState)
	own.Stack.State = runs.StateOwn
	trouble := bareHead(TabRuns)
	trouble.Detached, trouble.ProjectTrouble, trouble.ProjectMend, trouble.Trigger = false, "GitLab does not know the project any more", "It was deleted, or the token's user was taken out of it. Delete the stack, or give the user access again", can()
	chat := ChannelFormModel{ID: "01B", Kind: kindChat, Name: "#infra", On: true, Host: "chat.corp.example", Labels: "prod", Events: usualEvents, Errors: map[string]string{"events": "Choose at least one.", "labels": "A label has no blanks."}}
	mail := NewChannelForm(kindEmail)
	mail.ID, mail.Name, mail.HasPassword, mail.Errors = "01A", "On call", true, map[string]string{"smtp_host": "mail.corp.example has no address in the DNS.", "to": "“oncall” is no e-mail address."}
	return []sample{
		{"login-plain", LoginPage(door, LoginModel{})},
		{"login-gitlab", LoginPage(door, LoginModel{GitLab: true, Next: "/runs/x"})},
		{"login-gitlab-only", LoginPage(door, LoginModel{GitLab: true, PasswordOff: true, Error: "GitLab did not let you in: access_denied."})},
		{"welcome-errors", WelcomePage(Page{Title: "Choose a password", Now: now}, WelcomeModel{Token: "abc", Name: "bo.ek", Errors: map[string]string{"password": "It has 8 characters and needs at least 12."}})},
		{"sign-in", SignInPage(settings("Sign-in"), signIn)},
		{"sign-in-errors", SignInPage(settings("Sign-in"), wrong)},
		{"sign-in-none", SignInPage(settings("Sign-in"), SignInModel{Idle: "12", Life: "14"})},
		{"users-search", UsersPage(settings("Users"), UsersModel{Rows: usersFixture().Rows[1:3], CanAdmin: true, Role: "writer", Any: true, Q: "e", Pager: Pager{Shown: 2, Total: 120, FirstURL: "/settings/users?q=e", NextURL: "/settings/users?q=e&cursor=01U3"}})},
		{"users-nobody-matches", UsersPage(settings("Users"), UsersModel{CanAdmin: true, Role: "writer", Any: true, Q: "zacharias"})},
		{"users-errors", UsersPage(settings("Users"), UsersModel{Rows: usersFixture().Rows[:1], CanAdmin: true, Name: "a b", Role: "admin", Errors: map[string]string{"name": "“a b” cannot be a name: letters, digits, and . - _ only."}})},
		{"users-no-password", UsersPage(settings("Users"), UsersModel{Rows: usersFixture().Rows[1:2], CanAdmin: true, PasswordOff: true})},
		{"user-self", UserPage(settings("anna.lind"), self)},
		{"user-disabled", UserPage(settings("dan"), UserModel{Row: usersFixture().Rows[3]})},
		{"account-gitlab", AccountPage(shell("Your account", ""), AccountModel{Row: usersFixture().Rows[1], Sessions: sessionsFixture()[:1]})},
		{"account-errors", AccountPage(shell("Your account", ""), AccountModel{Row: usersFixture().Rows[0], Sessions: sessionsFixture()[:1], Password: true, Errors: map[string]string{"old": "That is not the present password."}})},
		{"keys-empty", KeysPage(settings("API keys"), KeysModel{Role: "reader"})},
		{"keys-made", KeysPage(settings("API keys"), KeysModel{Role: "reader", Rows: keysFixture().Rows, Key: "gck_" + strings.Repeat("x4T", 14), KeyName: "ci of platform/network"})},
		{"audit-filter", AuditPage(settings("Audit"), filter)},
		{"audit-no-match", AuditPage(settings("Audit"), none)},
		{"deliveries-no-match", DeliveriesPage(settings("Deliveries"), DeliveriesModel{Any: true, State: DeliveryFailed, Project: "infra"})},
		{"reports-no-match", ReportsPage(settings("Reports"), ReportsModel{Any: true, State: ReportParked})},
		{"channel-chat-errors", ChannelFormPage(settings("#infra"), chat)},
		{"channel-email-errors", ChannelFormPage(settings("On call"), mail)},
		{"stack-trouble", StackRunsPage(stackShell(), StackRunsModel{Head: trouble, Type: string(runs.Task)})},
		{"stack-environment-none", EnvironmentPage(stackShell(), EnvironmentModel{Head: stackHeadFixture(TabEnvironment), Entries: EntriesModel{At: StackEntriesAt("network-prod"), Origins: true, Edit: can()}})},
		{"stack-state-own", StatePage(stackShell(), StateModel{Head: own})},
		{"run-task", runPage(RunModel{Run: task, StackName: "network-prod", Logs: logs("performing"), Retry: can()})},
		{"run-destroy", runPage(RunModel{Run: destroy, StackName: "network-prod", Logs: logs("destroying"), Stop: can(), LiveURL: "/runs/d/live"})},
		{"run-no-changes", runPage(RunModel{Run: same, StackName: "network-prod", LogsRemoved: "They were removed 2 days ago, as Settings › System says.", Retry: Act{WhyNot: "GitLab is not linked."}})},
		{"run-stopping", runPage(RunModel{Run: planning, StackName: "network-prod", Logs: logs("initializing", "planning"), LiveURL: "/runs/p/live"})},
		out(403, "Not allowed", "Only a Maintainer of infra/network in GitLab can confirm; you are a Reporter there.", "/runs/x"),
		out(409, "That is not possible now", "The run is applying already: bo.ek confirmed it 3s ago.", "/runs/x"),
		out(413, "Too large", "The request is too large.", ""),
		out(500, "Something failed", "Something failed inside Groundcrew. The server's log says what, under the request's id.", "/stacks"),
		out(502, "GitLab did not do that", "GitLab refused: 403 Forbidden (POST /api/v4/projects/42/hooks).", "/settings/vcs/gitlab"),
	}
}
