// Groundcrew runs Terraform and OpenTofu for teams with their own GitLab: one program, one data folder.
//
// # What to read, in order
//
//  1. runs/run.go, runs/event.go, runs/step.go: the nouns, what can happen, and the whole state machine.
//  2. store/doc.go (every bucket, drawn) and store/apply.go: the one door through which a run changes.
//  3. runs/engine/engine.go: the pumps that make come true what the rows say is owed.
//  4. web/routes.go: every address on one screen.
//  5. main.go and serve.go: how the parts are opened and closed; commands.go: every command. Those of client.go only
//     know the API.
//
// bottle/bottle_test.go runs all of it with a simulated GitLab in one bubble without a clock, a random day for each seed:
// `go test ./bottle -seed 17 -v` lets one happen again and prints its trace.
//
// An afternoon is enough. What each test is for stands on the test; whole_test.go tells the story from outside.
//
// # The packages, and what each promises
//
//   - runs: says what may happen to a run and what must follow, and does nothing.
//   - store: after Apply returns nil and the transaction commits, the new state and all its consequences are on
//     disk; otherwise none are.
//   - runs/engine: whatever the store says is owed will be done, at least once, or visibly fail.
//   - runs/proc: runs commands bounded in time and output, leaving no child behind; it knows no run.
//   - runs/tofu: knows how OpenTofu, Terraform and custom tools are called and what they answer.
//   - runs/redact: removes known secret values from text, in whatever form they were written.
//   - runs/pack: makes of a module's files the same archive always, or says why they may not be published.
//   - runs/repofile: reads what a repository says of itself in .groundcrew.yml.
//   - runs/logs: keeps the log of an ended phase compressed, and still readable at any place.
//   - runs/policy: asks a policy in Rego what it says of an input, bounded in time and memory, with nothing of the outside in reach.
//   - gitlab: speaks GitLab's language and none of ours; it translates, it never decides.
//   - gitlab/sim: a GitLab in memory that refuses what GitLab refuses, for tests and the demo.
//   - gitlab/sim/spec: says what is wrong with a request to GitLab or its answer, by what GitLab publishes of its API.
//   - runs/notify: says one message over one channel, by e-mail, webhook or chat, and what came of it; it knows no run.
//   - web/metrics: says in Prometheus' words what was counted and what the rows say, at a cost that does not grow with history.
//   - web: shows what the store says and turns a person's click into one event.
//   - web/view: the pages; the same arguments give the same bytes.
//   - static: style sheet, script and icons; a URL names a content for ever.
//
// Who may import whom is a table in imports_test.go, and so is the one package each outside library lives in.
//
// # The way of a webhook
//
// GitLab posts to /webhooks/gitlab. web/webhook.go checks the secret, caps the body and hands the raw request to
// [store.Store.AddDelivery]; when that returns, the delivery is on disk, and only then the answer is given. The commit
// wakes the inbox pump (runs/engine/inbox.go): gitlab.ReadHook understands the body, events.go (pushes,
// tags) and mergerequests.go ask which stacks the changed files concern, and [store.Tx.Apply] brings a run into being. In that one transaction are the run, its job, a
// mark for each thing GitLab must be told, the entry in the audit log, and the delivery's verdict.
//
// The same commit wakes two more pumps. The outbox (outbox.go) renders each marked report from the run as it is at that
// moment, sends it, and clears the mark only if nothing was marked meanwhile. The jobs pump (jobs.go) claims the job,
// lays out a workspace (prepare.go; what an earlier init made of the same is reused, warm.go) and has runs/proc start a
// shim: this program again, in a session of its own, which
// runs init, plan and show and needs no living server. What comes of it is kept (keep.go), the stack's
// policies are asked of it (asking_plan.go), and it is applied as an event, Planned. A person's yes is the event Confirm, once as many
// have approved as the stack asks for (review.go); then a second job applies exactly the plan that was stored.
//
// A comment on a merge request goes the same way: runs.ParseCommand finds the command in it, commandcheck.go asks GitLab who
// wrote it and what they may do, command.go does it, and the answer is a report like any other (reply.go).
//
// # When the power fails
//
// Between any two of these steps it may; the next start does nothing special, because the rows say what is owed:
//
//   - before the delivery's commit: GitLab got no answer, and nothing is known of it. Afterwards: it is in the inbox.
//   - while a delivery is processed: its verdict and its runs are one commit, so it is processed once, then or later.
//   - while a report is sent: its mark stands. What was about to be made in GitLab was announced in its row first, and
//     is looked up before it is sent again.
//   - the server died and the shim lives: the job is claimed, its folder names the shim, and the server watches again.
//   - the machine died while planning: the run is queued again, [runs.MaxLosses] times at most.
//   - the machine died while applying: an apply is never repeated by guess. The state left in the workspace is kept as
//     a version, the run fails saying so, the stack is flagged, and a fresh plan waits for a person.
//
// States, plans and large bodies are files, written aside, synced and renamed before the row that names them, so a row
// never names half a file. kill_test.go and store/kill_test.go kill the process at these places and look.
//
// A backup (store/backup.go) is the database at one moment and those files. Data that was restored from one is older than the
// world, so the next start takes its plans back (runs/engine/restored.go).
package main
