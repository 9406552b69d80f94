package web

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/static"
)

// pages are the addresses for browsers and for GitLab. package view's doc.go says what their forms send.
func (s *Server) pages() []route {
	p := func(method, path string, n need, h handler) route {
		return route{method: method, path: path, need: n, handle: h}
	}
	return []route{
		p(get, "/healthz", public, s.getHealth),
		p(get, "/readyz", public, s.getReady),
		p(get, metricsPath, reader, s.getMetrics),
		{method: get, path: backupPath, need: bearer, handle: s.getBackup, stream: true},
		p(get, "/static/*", public, fromHTTP(static.Handler())),
		p(get, "/favicon.ico", public, getFavicon),
		{method: post, path: "/webhooks/gitlab", need: public, handle: s.postWebhook, raw: true},

		p(get, "/setup", public, s.getSetup),
		p(post, "/setup", public, s.postSetup),
		p(get, "/login", public, s.getLogin),
		p(post, "/login", public, s.postLogin),
		p(get, "/login/gitlab", public, s.getGitLabLogin),
		p(get, callbackPath, public, s.getGitLabCallback),
		p(post, "/logout", session, s.postLogout),
		p(get, "/welcome", public, s.getWelcome),
		p(post, "/welcome", public, s.postWelcome),

		p(get, "/", reader, s.getStart),
		p(get, "/stacks", reader, s.getStacks),
		p(get, "/stacks/new", admin, s.getNewStack),
		p(post, "/stacks", admin, s.postNewStack),
		p(get, "/stacks/:slug", reader, s.getStack),
		forProposals(p(post, "/stacks/:slug/runs", writer, s.postTrigger)),
		p(post, "/stacks/:slug/lock", writer, s.postLock),
		p(post, "/stacks/:slug/unlock", writer, s.postUnlock),
		p(post, "/stacks/:slug/sync", writer, s.postSync),
		p(get, "/stacks/:slug/merge-requests", reader, s.getMergeRequests),
		p(post, "/stacks/:slug/merge-requests/:iid/release", writer, s.postRelease),
		p(get, "/stacks/:slug/state", reader, s.getState),
		p(get, "/stacks/:slug/state/:version/download", admin, s.getStateDownload),
		p(get, "/stacks/:slug/settings", reader, s.getStackSettings),
		p(post, "/stacks/:slug/settings", admin, s.postStackSettings),
		p(post, "/stacks/:slug/destroy", writer, s.postDestroy),
		p(post, "/stacks/:slug/delete", admin, s.postDeleteStack),

		p(get, "/runs", reader, s.getRuns),
		p(get, "/runs/:id", reader, s.getRun),
		{method: get, path: "/runs/:id/live", need: reader, handle: s.getLive, stream: true},
		p(get, "/runs/:id/logs/:phase", reader, s.getLog),
		p(get, "/runs/:id/logs/:phase/earlier", reader, s.getEarlier),
		p(get, "/runs/:id/changes.json", reader, s.apiChanges),
		forApplies(p(post, "/runs/:id/confirm", writer, s.postConfirm)),
		forApplies(p(post, "/runs/:id/approve", writer, s.postApprove)),
		forApplies(p(post, "/runs/:id/reject", writer, s.postReject)),
		p(post, "/runs/:id/discard", writer, s.postDiscard),
		p(post, "/runs/:id/stop", writer, s.postStop),
		p(post, "/runs/:id/prioritize", writer, s.postPrioritize),
		p(post, "/runs/:id/putback", writer, s.postPutBack),
		p(post, "/runs/:id/retry", writer, s.postRetry),
		forApplies(p(post, "/runs/:id/promote", writer, s.postPromote)),

		p(get, "/settings", reader, redirectTo("/settings/vcs")),
		p(get, "/settings/vcs", reader, s.getVCS),
		p(get, "/settings/vcs/gitlab", reader, s.getIntegration),
		p(post, "/settings/vcs/gitlab", admin, s.postIntegration),
		p(get, "/settings/vcs/gitlab/edit", admin, s.getIntegrationEdit),
		p(post, "/settings/vcs/gitlab/edit", admin, s.postIntegration),
		named("integration.test", p(post, "/settings/vcs/gitlab/test", admin, s.postTestIntegration)),
		p(post, "/settings/vcs/gitlab/unlink", admin, s.postUnlinkIntegration),
		p(post, "/settings/vcs/gitlab/secret", admin, s.postReveal),
		p(post, "/settings/vcs/gitlab/secret/rotate", admin, s.postRotate),
		named("hook.install_all", p(post, "/settings/vcs/gitlab/hooks", admin, s.postInstallHooks)),
		named("hook.test_all", p(post, "/settings/vcs/gitlab/hooks/test", admin, s.postTestHooks)),
		p(get, "/inbox", reader, s.getInbox),
		p(post, "/inbox/dismiss", writer, s.postDismiss),
		p(post, "/settings/vcs/gitlab/projects/:project/hook", admin, s.postInstallHook),
		named("hook.test", p(post, "/settings/vcs/gitlab/projects/:project/hook/test", admin, s.postTestHook)),
		p(post, "/settings/vcs/gitlab/projects/:project/settings", admin, s.postProjectSettings),
		p(get, "/settings/vcs/gitlab/deliveries", reader, s.getDeliveries),
		p(get, "/settings/vcs/gitlab/deliveries/:id", reader, s.getDelivery),
		p(post, "/settings/vcs/gitlab/deliveries/:id/replay", admin, s.postReplay),
		p(get, "/settings/vcs/gitlab/reports", reader, s.getReports),
		p(post, "/settings/vcs/gitlab/reports/retry", writer, s.postRetryReport),
		p(get, "/settings/notifications", admin, s.getNotifications),
		p(post, "/settings/notifications", admin, s.postChannel),
		p(get, "/settings/notifications/new", admin, s.getNewChannel),
		p(get, "/settings/notifications/:id", admin, s.getChannel),
		p(post, "/settings/notifications/:id", admin, s.postChannel),
		p(post, "/settings/notifications/:id/test", admin, s.postTestChannel),
		p(post, "/settings/notifications/:id/delete", admin, s.postDeleteChannel),
		p(get, "/settings/system", reader, s.getSystem),
		p(post, "/settings/system", admin, s.postSystem),
		p(post, "/settings/system/retention", admin, s.postRetention),
		p(get, "/settings/users", reader, s.getUsers),
		p(post, "/settings/users", admin, s.postUser),
		p(get, "/settings/users/:id", admin, s.getUser),
		p(post, "/settings/users/:id/role", admin, s.postUserRole),
		p(post, "/settings/users/:id/disable", admin, s.postUserDisable),
		p(post, "/settings/users/:id/enable", admin, s.postUserEnable),
		p(post, "/settings/users/:id/link", admin, s.postUserLink),
		p(post, "/settings/users/:id/gitlab/disconnect", admin, s.postUserDisconnect),
		p(post, "/settings/users/:id/sessions/end", admin, s.postUserSessionsEnd),
		p(post, "/settings/users/:id/sessions/:session/end", admin, s.postUserSessionEnd),
		p(get, "/settings/sign-in", admin, s.getSignIn),
		p(post, "/settings/sign-in", admin, s.postSignIn),
		p(post, "/settings/sessions", admin, s.postSessions),
		p(get, "/settings/keys", admin, s.getKeys),
		p(post, "/settings/keys", admin, s.postKey),
		p(post, "/settings/keys/:id/delete", admin, s.postDeleteKey),
		p(get, "/settings/audit", admin, s.getAudit),
		p(post, "/settings/audit", admin, s.postAudit),
		{method: get, path: "/settings/audit/export", need: admin, handle: s.getAuditExport, stream: true},
		p(get, "/account", session, s.getAccount),
		p(post, "/account/password", session, s.postPassword),
		named("user.connect_begin", p(post, "/account/gitlab", session, s.postConnect)),
		p(post, "/account/gitlab/disconnect", session, s.postDisconnect),
		p(post, "/account/sessions/:session/end", session, s.postOwnSessionEnd),

		p(get, "/ui/projects", admin, s.uiProjects),
		p(get, "/ui/branches", admin, s.uiBranches),
		p(get, "/ui/stacks", reader, s.uiStacks),
		p(get, "/ui/find", reader, s.uiFind),
	}
}

func fromHTTP(h http.Handler) handler {
	return func(c *request) error { return echo.WrapHandler(h)(c.Context) }
}

func redirectTo(path string) handler {
	return func(c *request) error { return c.Redirect(http.StatusSeeOther, path) }
}

func getFavicon(c *request) error {
	return c.Redirect(http.StatusMovedPermanently, static.Path("favicon.svg"))
}

// api are the routes of the REST API (PRODUCT §10).
func (s *Server) api() []route {
	const v1 = "/api/v1"
	r := func(method, path string, n need, h handler, doc operation) route {
		return route{method: method, path: v1 + path, need: n, handle: h, doc: &doc}
	}
	page := []string{"cursor", "limit"}
	auditQuery := []string{"by", "action", "target", "since", "until"}
	runQuery := append([]string{"q", "type", "state", "merge_request", "project"}, page...)
	return []route{
		r(get, "/openapi.json", public, s.getOpenAPI, operation{summary: "This document", out: map[string]any{}}),

		r(get, "/integration", reader, s.apiIntegration, operation{summary: "The GitLab of this installation", out: integrationJSON{}}),
		r(put, "/integration", admin, s.apiPutIntegration, operation{summary: "Set up or change the integration, after checking it", in: integrationInput{}, out: integrationJSON{}}),
		r(remove, "/integration", admin, s.apiUnlink, operation{summary: "Unlink GitLab; stacks become detached", status: 204}),
		named("integration.test", r(post, "/integration/test", admin, s.apiTestIntegration, operation{summary: "Check the integration", out: testJSON{}})),
		r(post, "/integration/secret/rotate", admin, s.apiRotateSecret, operation{summary: "Make a new webhook secret; the old one stays valid for a while", out: integrationJSON{}}),
		r(get, "/projects", reader, s.apiProjects, operation{summary: "Projects a stack can be made of, those in use first, with their hooks; all unless limit or cursor is given", out: list[projectJSON]{}, query: append([]string{"search"}, page...)}),
		r(patch, "/projects/:project", admin, s.apiPatchProject, operation{summary: "Change the given settings of a project", in: projectSettingsInput{}, out: projectSettingsJSON{}}),
		r(post, "/projects/:project/hook", admin, s.apiInstallHook, operation{summary: "Install or repair a project's hook", out: projectHookJSON{}}),
		named("hook.test_all", r(post, "/projects/hooks/test", admin, s.apiTestHooks, operation{summary: "Test the webhooks of all used projects, one after the other", out: list[hookTestJSON]{}})),
		named("hook.test", r(post, "/projects/:project/hook/test", admin, s.apiTestHook, operation{summary: "Make GitLab send a test delivery", out: hookTestJSON{}})),

		r(get, "/stacks", reader, s.apiStacks, operation{summary: "Stacks by slug", out: list[stackJSON]{}, query: page}),
		r(post, "/stacks", admin, s.apiCreateStack, operation{summary: "Create a stack", in: stackInput{}, out: stackJSON{}, status: 201}),
		r(get, "/stacks/:slug", reader, s.apiStack, operation{summary: "A stack", out: stackJSON{}}),
		r(patch, "/stacks/:slug", admin, s.apiPatchStack, operation{summary: "Change the given settings of a stack", in: stackInput{}, out: stackJSON{}}),
		r(remove, "/stacks/:slug", admin, s.apiDeleteStack, operation{summary: "Delete a stack; what it manages stays", status: 204}),
		r(post, "/stacks/:slug/lock", writer, s.apiLock, operation{summary: "Stop applies, not plans", in: noteInput{}, out: stackJSON{}}),
		r(post, "/stacks/:slug/unlock", writer, s.apiUnlock, operation{summary: "End a lock", out: stackJSON{}}),
		r(post, "/stacks/:slug/sync", writer, s.apiSync, operation{summary: "Set the tracked commit to the branch's head", out: stackJSON{}}),
		r(get, "/stacks/:slug/variables", reader, s.apiVariables, operation{summary: "Variables; values of secrets are null", out: list[variableJSON]{}}),
		r(get, "/stacks/:slug/variables/:name", reader, s.apiVariable, operation{summary: "A variable", out: variableJSON{}}),
		r(put, "/stacks/:slug/variables/:name", writer, s.apiPutVariable, operation{summary: "Set a variable", in: variableInput{}, out: variableJSON{}}),
		r(remove, "/stacks/:slug/variables/:name", writer, s.apiDeleteVariable, operation{summary: "Delete a variable", status: 204}),
		r(get, "/stacks/:slug/state", admin, s.apiState, operation{summary: "The bytes of the newest managed state", text: "application/json"}),
		r(get, "/stacks/:slug/state/versions", reader, s.apiStateVersions, operation{summary: "Versions of the managed state, newest first", out: list[stateVersionJSON]{}, query: page}),
		r(get, "/stacks/:slug/runs", reader, s.apiStackRuns, operation{summary: "Runs of a stack, newest first", out: list[runJSON]{}, query: runQuery}),
		forProposals(r(post, "/stacks/:slug/runs", writer, s.apiTrigger, operation{summary: "Ask for a run", in: runInput{}, out: runJSON{}, status: 201})),

		r(get, "/runs", reader, s.apiRuns, operation{summary: "Runs, newest first", out: list[runJSON]{}, query: append([]string{"stack"}, runQuery...)}),
		r(get, "/runs/:id", reader, s.apiRun, operation{summary: "A run", out: runJSON{}}),
		forApplies(r(post, "/runs/:id/confirm", writer, s.apiConfirm, operation{summary: "Yes to the plan shown", in: confirmInput{}, out: runJSON{}})),
		forApplies(r(post, "/runs/:id/approve", writer, s.apiApprove, operation{summary: "Approve what a run would do; who wrote or started it cannot", in: reviewInput{}, out: runJSON{}})),
		forApplies(r(post, "/runs/:id/reject", writer, s.apiReject, operation{summary: "Reject what a run would do, until the same person approves it", in: reviewInput{}, out: runJSON{}})),
		r(post, "/runs/:id/discard", writer, s.apiDiscard, operation{summary: "No to a plan, or to a run that waits", in: noteInput{}, out: runJSON{}}),
		r(post, "/runs/:id/stop", writer, s.apiStop, operation{summary: "End a run at work", in: noteInput{}, out: runJSON{}}),
		r(remove, "/runs/:id/prioritize", writer, s.apiPutBack, operation{summary: "Let a run that was put first wait for its turn again", out: runJSON{}}),
		r(post, "/runs/:id/prioritize", writer, s.apiPrioritize, operation{summary: "Take a waiting run before all that have not begun; blocking runs of a stack keep their order", out: runJSON{}}),
		r(post, "/runs/:id/retry", writer, s.apiRetry, operation{summary: "The same run again", out: runJSON{}, status: 201}),
		forApplies(r(post, "/runs/:id/promote", writer, s.apiPromote, operation{summary: "Make a tracked run of a finished proposed one", out: runJSON{}, status: 201})),
		r(get, "/runs/:id/changes", reader, s.apiChanges, operation{summary: "The plan made readable", out: runs.Changes{}}),
		r(get, "/runs/:id/logs/:phase", reader, s.getLog, operation{summary: "The log of a phase; ranges work", text: "text/plain"}),
		{method: get, path: v1 + "/runs/:id/events", need: reader, handle: s.apiEvents, stream: true, doc: &operation{summary: "Server-sent events state, log and end; Last-Event-ID resumes", text: "text/event-stream"}},

		r(get, "/deliveries", reader, s.apiDeliveries, operation{summary: "Webhook deliveries, newest first", out: list[deliveryJSON]{}, query: append([]string{"state", "event", "project", "text", "since", "until"}, page...)}),
		r(post, "/deliveries/:id/replay", admin, s.apiReplay, operation{summary: "Process a delivery again", out: deliveryJSON{}}),
		r(get, "/reports", reader, s.apiReports, operation{summary: "What GitLab is to be told", out: list[reportJSON]{}, query: append([]string{"state"}, page...)}),
		r(post, "/reports/:id/retry", writer, s.apiRetryReport, operation{summary: "Try a report again at once", out: reportJSON{}}),
		r(post, "/inbox/:id/dismiss", writer, s.apiDismiss, operation{summary: "Take a notice out of sight until it changes", status: 204}),
		r(get, "/inbox", reader, s.apiInbox, operation{summary: "What waits for a person; all unless limit or cursor is given", out: list[inboxJSON]{}, query: page}),
		r(get, "/audit", admin, s.apiAudit, operation{summary: "Who did what, newest first", out: list[auditJSON]{}, query: append(slices.Clone(auditQuery), page...)}),
		{method: get, path: v1 + "/audit/export", need: admin, handle: s.getAuditExport, stream: true, doc: &operation{summary: "Everything the filter chooses, newest first, as CSV or JSON lines", text: "application/jsonl", query: append([]string{"format"}, auditQuery...)}},
		r(get, "/settings", admin, s.apiSettings, operation{summary: "Time-outs of sessions, and how long things are kept", out: settingsJSON{}}),
		r(get, "/sign-in", admin, s.apiSignIn, operation{summary: "How people sign in", out: signInJSON{}}),
		r(patch, "/sign-in", admin, s.apiPatchSignIn, operation{summary: "Change how people sign in, after asking GitLab", in: signInInput{}, out: signInJSON{}}),
		r(patch, "/settings", admin, s.apiPatchSettings, operation{summary: "Change the given settings; limits hold from the next phase of a run on", in: settingsInput{}, out: settingsJSON{}}),

		r(get, "/notifications", admin, s.apiChannels, operation{summary: "Ways people and programs are told; all unless limit or cursor is given", out: list[channelJSON]{}, query: page}),
		r(post, "/notifications", admin, s.apiCreateChannel, operation{summary: "Add a channel; a webhook's signing secret is answered once", in: channelInput{}, out: channelJSON{}, status: 201}),
		r(get, "/notifications/:id", admin, s.apiChannel, operation{summary: "A channel, without its secrets", out: channelJSON{}}),
		r(patch, "/notifications/:id", admin, s.apiPatchChannel, operation{summary: "Change the given settings of a channel; what waits is tried at once", in: channelInput{}, out: channelJSON{}}),
		r(remove, "/notifications/:id", admin, s.apiDeleteChannel, operation{summary: "Delete a channel with what it still was to tell", status: 204}),
		r(post, "/notifications/:id/test", admin, s.apiTestChannel, operation{summary: "Send a test message now and say what came of it", out: channelTestJSON{}}),
		r(get, "/api-keys", admin, s.apiKeys, operation{summary: "API keys; all unless limit or cursor is given", out: list[keyJSON]{}, query: page}),
		r(post, "/api-keys", admin, s.apiCreateKey, operation{summary: "Make an API key; its text is answered once", in: keyInput{}, out: keyJSON{}, status: 201}),
		r(remove, "/api-keys/:id", admin, s.apiDeleteKey, operation{summary: "End an API key", status: 204}),
		r(get, "/users", admin, s.apiUsers, operation{summary: "People with an account; all unless limit or cursor is given", out: list[userJSON]{}, query: page}),
		r(patch, "/users/:id", admin, s.apiPatchUser, operation{summary: "Change a person's role, or disable the account, which also refuses the keys they made", in: userInput{}, out: userJSON{}}),
		r(post, "/users", admin, s.apiCreateUser, operation{summary: "Add a person; the one-time link is answered once", in: newUserInput{}, out: userJSON{}, status: 201}),
		r(post, "/users/:id/link", admin, s.apiUserLink, operation{summary: "Make a new one-time link to choose a password with", out: userJSON{}}),
		r(remove, "/users/:id/gitlab", admin, s.apiDisconnect, operation{summary: "Disconnect a person's account in GitLab and sign them out everywhere; connecting takes the person, on the account page", status: 204}),
		r(get, "/users/:id/sessions", admin, s.apiSessions, operation{summary: "Where a person is signed in", out: list[sessionJSON]{}}),
		r(remove, "/users/:id/sessions", admin, s.apiEndSessions, operation{summary: "Sign a person out everywhere", status: 204}),
		r(remove, "/users/:id/sessions/:session", admin, s.apiEndSession, operation{summary: "End one session of a person", status: 204}),
	}
}
