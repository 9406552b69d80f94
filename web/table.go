package web

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/static"
)

// pages are the addresses for browsers and for GitLab. package view's doc.go says what their forms send.
func (s *Server) pages() []route {
	return []route{
		{get, "/healthz", public, s.getHealth, false, false, nil},
		{get, "/readyz", public, s.getReady, false, false, nil},
		{get, "/static/*", public, fromHTTP(static.Handler()), false, false, nil},
		{get, "/favicon.ico", public, getFavicon, false, false, nil},
		{post, "/webhooks/gitlab", public, s.postWebhook, false, true, nil},

		{get, "/setup", public, s.getSetup, false, false, nil},
		{post, "/setup", public, s.postSetup, false, false, nil},
		{get, "/login", public, s.getLogin, false, false, nil},
		{post, "/login", public, s.postLogin, false, false, nil},
		{post, "/logout", session, s.postLogout, false, false, nil},
	}
}

func fromHTTP(h http.Handler) handler {
	return func(c *request) error { return echo.WrapHandler(h)(c.Context) }
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
	runQuery := append([]string{"type", "state", "merge_request", "project"}, page...)
	return []route{
		r(get, "/openapi.json", public, s.getOpenAPI, operation{summary: "This document", out: map[string]any{}}),

		r(get, "/integration", reader, s.apiIntegration, operation{summary: "The GitLab of this installation", out: integrationJSON{}}),
		r(put, "/integration", admin, s.apiPutIntegration, operation{summary: "Set up or change the integration, after checking it", in: integrationInput{}, out: integrationJSON{}}),
		r(remove, "/integration", admin, s.apiUnlink, operation{summary: "Unlink GitLab; stacks become detached", status: 204}),
		r(post, "/integration/test", admin, s.apiTestIntegration, operation{summary: "Check the integration", out: testJSON{}}),
		r(post, "/integration/secret/rotate", admin, s.apiRotateSecret, operation{summary: "Make a new webhook secret; the old one stays valid for a while", out: integrationJSON{}}),
		r(get, "/projects", reader, s.apiProjects, operation{summary: "Projects that stacks use, with their hooks", out: list[projectJSON]{}}),
		r(post, "/projects/:project/hook", admin, s.apiInstallHook, operation{summary: "Install or repair a project's hook", out: projectHookJSON{}}),
		r(post, "/projects/:project/hook/test", admin, s.apiTestHook, operation{summary: "Make GitLab send a test delivery", out: okJSON{}}),

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
		r(post, "/stacks/:slug/runs", writer, s.apiTrigger, operation{summary: "Ask for a run", in: runInput{}, out: runJSON{}, status: 201}),

		r(get, "/runs", reader, s.apiRuns, operation{summary: "Runs, newest first", out: list[runJSON]{}, query: append([]string{"stack"}, runQuery...)}),
		r(get, "/runs/:id", reader, s.apiRun, operation{summary: "A run", out: runJSON{}}),
		r(post, "/runs/:id/confirm", writer, s.apiConfirm, operation{summary: "Yes to the plan shown", in: confirmInput{}, out: runJSON{}}),
		r(post, "/runs/:id/discard", writer, s.apiDiscard, operation{summary: "No to a plan, or to a run that waits", in: noteInput{}, out: runJSON{}}),
		r(post, "/runs/:id/stop", writer, s.apiStop, operation{summary: "End a run at work", in: noteInput{}, out: runJSON{}}),
		r(post, "/runs/:id/retry", writer, s.apiRetry, operation{summary: "The same run again", out: runJSON{}, status: 201}),
		r(post, "/runs/:id/promote", writer, s.apiPromote, operation{summary: "Make a tracked run of a finished proposed one", out: runJSON{}, status: 201}),
		r(get, "/runs/:id/changes", reader, s.apiChanges, operation{summary: "The plan made readable", out: runs.Changes{}}),
		r(get, "/runs/:id/logs/:phase", reader, s.getLog, operation{summary: "The log of a phase; ranges work", text: "text/plain"}),
		{get, v1 + "/runs/:id/events", reader, s.apiEvents, true, false, &operation{summary: "Server-sent events state, log and end; Last-Event-ID resumes", text: "text/event-stream"}},

		r(get, "/deliveries", reader, s.apiDeliveries, operation{summary: "Webhook deliveries, newest first", out: list[deliveryJSON]{}, query: append([]string{"state"}, page...)}),
		r(post, "/deliveries/:id/replay", admin, s.apiReplay, operation{summary: "Process a delivery again", out: deliveryJSON{}}),
		r(get, "/reports", reader, s.apiReports, operation{summary: "What GitLab is to be told", out: list[reportJSON]{}, query: append([]string{"state"}, page...)}),
		r(post, "/reports/:id/retry", writer, s.apiRetryReport, operation{summary: "Try a report again at once", out: reportJSON{}}),
		r(get, "/inbox", reader, s.apiInbox, operation{summary: "What waits for a person", out: list[inboxJSON]{}}),
		r(get, "/audit", admin, s.apiAudit, operation{summary: "Who did what, newest first", out: list[auditJSON]{}, query: page}),

		r(get, "/api-keys", admin, s.apiKeys, operation{summary: "API keys", out: list[keyJSON]{}}),
		r(post, "/api-keys", admin, s.apiCreateKey, operation{summary: "Make an API key; its text is answered once", in: keyInput{}, out: keyJSON{}, status: 201}),
		r(remove, "/api-keys/:id", admin, s.apiDeleteKey, operation{summary: "End an API key", status: 204}),
		r(get, "/users", admin, s.apiUsers, operation{summary: "People with an account", out: list[userJSON]{}}),
		r(patch, "/users/:id", admin, s.apiPatchUser, operation{summary: "Change a person's role", in: userInput{}, out: userJSON{}}),
	}
}
