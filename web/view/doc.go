// Package view holds the pages: templ components that are pure functions of their arguments. The same
// arguments give the same bytes; the time "now" comes in with [Page]. It knows neither the store nor the
// web framework, so every page can be rendered, parsed and looked at in a test.
//
// A page is a function XPage(Page, XModel). Package web fills the model, renders, and answers the addresses
// the pages link to and post to:
//
//	GET  /setup?token=                      POST /setup            token, name, password, again
//	GET  /login?next=                       POST /login            username, password, next
//	                                        POST /logout
//	GET  /inbox                             POST /inbox/dismiss    key
//	                                        POST /settings/vcs/gitlab/hooks/test
//	GET  /                                  start page
//	GET  /stacks?q=&state=&label=&cursor=   POST /stacks           the fields of StackForm
//	GET  /stacks/new
//	GET  /stacks/{slug}?type=&cursor=       POST /stacks/{slug}/runs            type=tracked
//	                                        POST /stacks/{slug}/lock            note
//	                                        POST /stacks/{slug}/unlock
//	                                        POST /stacks/{slug}/sync
//	GET  /stacks/{slug}/merge-requests      POST /stacks/{slug}/merge-requests/{iid}/release   sha
//	GET  /stacks/{slug}/environment?edit=&file=   POST /stacks/{slug}/environment          name, value, secret
//	                                        POST /stacks/{slug}/environment/delete   name
//	                                        POST /stacks/{slug}/environment/files    path, content, upload (a file), secret_file;  …/delete   path
//	GET  /stacks/{slug}/contexts            POST /stacks/{slug}/contexts             context, priority;  …/detach   context
//	GET  /stacks/{slug}/policies
//	GET  /stacks/{slug}/state?cursor=
//	GET  /stacks/{slug}/state/{version}/download
//	GET  /stacks/{slug}/settings            POST /stacks/{slug}/settings   the fields of StackForm
//	                                        POST /stacks/{slug}/delete     slug (typed by the person)
//	GET  /runs?stack=&type=&state=&cursor=
//	GET  /runs/{id}                         POST /runs/{id}/confirm|discard|stop|retry|promote   fingerprint on confirm
//	GET  /runs/{id}/live                    server-sent events, see below
//	GET  /runs/{id}/logs/{phase}            plain text; phase is a state: initializing, planning, applying, …
//	GET  /runs/{id}/changes.json            runs.Changes, whole
//	GET  /modules?q=&cursor=                POST /modules          the fields of ModuleForm
//	GET  /modules/new
//	GET  /modules/{name}?failed=            POST /modules/{name}/users            starts runs of those on an older version
//	GET  /modules/{name}/versions/{version} POST /modules/{name}/versions/{version}/yank   note;  …/tests
//	GET  /modules/{name}/checks?cursor=     POST /modules/{name}/checks
//	GET  /modules/{name}/checks/{id}        POST /modules/{name}/merge-requests/{iid}/release   sha
//	GET  /modules/{name}/settings           POST /modules/{name}/settings         the fields of ModuleForm
//	                                        POST /modules/{name}/variables        variable, value, secret;  …/delete   name
//	                                        POST /modules/{name}/import;  …/delete   slug (typed by the person)
//	GET  /contexts?q=&cursor=               POST /contexts        the fields of ContextForm
//	GET  /contexts/new
//	GET  /contexts/{slug}?edit=&file=       POST /contexts/{slug}/variables       name, value, secret;  …/delete   name
//	                                        POST /contexts/{slug}/files           path, content, upload (a file), secret_file;  …/delete   path
//	GET  /contexts/{slug}/stacks?cursor=
//	GET  /contexts/{slug}/settings          POST /contexts/{slug}/settings        the fields of ContextForm
//	                                        POST /contexts/{slug}/delete          slug (typed by the person)
//	GET  /policies?q=&type=&cursor=         POST /policies        type, the fields of PolicyForm
//	GET  /policies/new?type=
//	GET  /policies/{slug}                   POST /policies/{slug}                 the fields of PolicyForm;  …/try   body, sample, input
//	                                        POST /policies/{slug}/switch          off=on, or nothing to switch it on
//	                                        POST /policies/{slug}/delete          slug (typed by the person)
//	GET  /settings/vcs
//	GET  /settings/vcs/gitlab               POST /settings/vcs/gitlab      api_url, external_url, token, ca_pem, status_prefix, aggregate, pass_untouched, destroy_threads, auto_rotate
//	GET  /settings/vcs/gitlab/edit          POST /settings/vcs/gitlab/edit the same; an empty token keeps the one there
//	                                        POST /settings/vcs/gitlab/test
//	                                        POST /settings/vcs/gitlab/unlink          host (typed by the person)
//	                                        POST /settings/vcs/gitlab/secret          JSON {"value"} when JSON is accepted, else the page with the secret shown
//	                                        POST /settings/vcs/gitlab/secret/rotate
//	                                        POST /settings/vcs/gitlab/hooks           install in every project that lacks it
//	                                        POST /settings/vcs/gitlab/projects/{id}/hook        install or repair
//	                                        POST /settings/vcs/gitlab/projects/{id}/hook/test
//	                                        POST /settings/vcs/gitlab/projects/{id}/settings    pass_untouched
//	GET  /settings/vcs/gitlab/deliveries?state=&event=&project=&text=&since=&until=&cursor=
//	GET  /settings/vcs/gitlab/deliveries/{id}    POST /settings/vcs/gitlab/deliveries/{id}/replay
//	GET  /settings/vcs/gitlab/reports?state=&cursor=   POST /settings/vcs/gitlab/reports/retry   key
//	GET  /settings/system                   POST /settings/system          workers
//	                                        POST /settings/system/retention           delivery_days, report_days
//	GET  /settings/users?q=&cursor=
//	GET  /ui/projects?q=                    JSON [{"value","label","hint"}]; value and label the path, hint the default branch
//	GET  /ui/branches?project=&q=           JSON, the same shape
//	GET  /ui/stacks?q=                      JSON, the same shape; value the slug
//
// Every form posts and is answered with a redirect, or with the same page, the values kept and the errors
// beside their fields (status 422).
//
// Pages that change by themselves carry in data-live the address of their events. The run page's is GET /runs/{id}/live; that of a
// [Moving] page is its own address, asked for as text/event-stream. They send
//
//	event: fragment   data: {"id": "run-head", "html": "…", "held": false}               replaces the element of that id; held: rows keep their places
//	event: say        data: {"text": "network-prod waits for confirmation"}              is said aloud to who does not see the page
//	event: log        data: {"phase": "planning", "html": "<li …>…", "offset": 4711}     is appended to #log-planning ol
//	event: end        data: {}                                                           nothing follows; the page closes the stream
//
// Fragments are [RunHead] (run-head), [RunPlan] (run-plan), [RunTimeline] (run-timeline), [RunDetails]
// (run-details) and [LogHead] (log-head-{phase}) of the run page, [Moving].Parts of the others, and [Places] (places) and [Banners] (banners) of all; log lines
// come from [LogLines]. The stream starts where the page ended: after= in its address and the events' ids let it resume. For the
// lists of a page (data-rows) shown-{list}= names the rows there (data-key), which then stay where they are; fresh= lets them move.
package view

//go:generate go tool templ generate -include-version=false
