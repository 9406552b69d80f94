// Package store keeps everything in one bbolt file and the blob folders beside it. It is the only place
// where state changes: after [Tx.Apply] returns nil and the transaction commits, the new state of a run and
// all its consequences are on disk; otherwise none are.
//
// The buckets ("/" joins the parts of a key; values are JSON unless said otherwise):
//
//	meta            schema → decimal version, keycheck → sealed text, setup → hash of the set-up token,
//	                restored → Restored until the first start after it
//	settings        system → Settings
//	integration     gitlab → Integration (token and webhook secrets sealed)
//	users           id → User                   user_names      lower-case name → id
//	sessions        sha256 of token → Session   api_keys        sha256 of key → APIKey
//	stacks          slug → runs.Stack           project_stacks  project/slug → ""
//	variables       scope/name → variable (secret values sealed); a scope is a stack's slug, module:slug or context:slug
//	files           scope/path → runs.File          file_contents   scope/path → its bytes, sealed; 512 KiB at most
//	contexts        slug → runs.Context
//	attachments     stack/context → Attachment      context_stacks  context/stack → ""
//	policies        slug → runs.Policy          policy_samples  policy/id → Sample (the inputs are sealed files in samples/)
//	runs            id → runs.Run               stack_runs      slug/id → ""
//	                                            mr_runs         project/iid/id → ""
//	                                            active          id → slug, of runs that have not ended
//	                                            run_keys        slug/type/sha → id of the newest such run
//	                                            latest          slug/type → id and state of the newest such run
//	                                            ended           state/id → ""
//	                                            proposals       slug/fork/branch/id → "", of proposed runs that have not ended
//	                                            typed           type/id → "", but for proposed runs
//	                                            project_runs    project/id → state
//	hours           hour → Hour, counts of its runs
//	jobs            run/phase → Job
//	deliveries      id → Delivery               delivery_keys   key → id
//	bodies          id → raw bytes, up to 128 KiB; larger ones are files in deliveries/
//	inbox           id → "" of deliveries waiting to be processed
//	reports         target → Report             due             target → when it was marked, of reports not yet in GitLab
//	                                            parked          target → "" of reports that wait for a person
//	merge_requests  project/iid → MergeRequest
//	heads           project/branch → commit id last seen there
//	tags            project/tag → id last seen there
//	watches         project → Watch, how far it was compared with GitLab
//	projects        project → Project, settings of a GitLab project
//	hooks           project → Hook, what is known and owed of its webhook
//	notices         key → Notice, since when and who dismissed it
//	channels        id → Channel (address, password and signing secret sealed)
//	notifications   channel/id → Notification that is still to be told, or was given up
//	states          slug/version → StateVersion (the bytes are sealed files in states/)
//	audit           id → AuditEntry
//	modules         slug → runs.Module          project_modules project/slug → ""
//	module_versions slug/number → runs.ModuleVersion (the archives are files in modules/)
//	checks          id → runs.Check             module_checks   slug/id → ""
//	                                            check_keys      slug/sha → id of the newest check
//	                                            open_checks     id → "" of checks that go on by themselves
//	follows         id → Follow, of ended runs of which trigger policies are still to be asked
//	reviews         stack/fingerprint/person → runs.Review, of what waits or may wait
//	module_uses     slug/stack → runs.ModuleUse, learned from the init of the stack's tracked runs
//	onces           sha256 of sender and idempotency key → Once (the answer sealed)
//
// Lists come in pages: a limit (at least 1), and a cursor, "" for the first page and the next of the page before
// for the others. Rows that are added meanwhile neither double nor hide others.
//
// Numbers in keys are ten decimal digits, ids are ULIDs, so keys sort by number and time.
// Stored JSON may gain fields and never renames them (golden files guard it). Whoever changes this tree
// appends a migration (migrate.go) and a golden database.
package store
