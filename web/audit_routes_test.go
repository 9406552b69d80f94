package web

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// An act is one call of a route that does its work. Words in braces stand for what before made.
type act struct {
	route  string
	path   string // "" is the route's own, filled in
	before func(a *acting) names
	body   string // of the API: JSON; of a page: a query
	action string // of the one entry that it leaves
	says   string // something the entry's changes or note hold
}

// unaudited are the routes that change something, or may, and leave no entry of the one who calls, with the reason.
var unaudited = map[string]string{
	"POST /webhooks/gitlab": "GitLab's deliveries are kept with their verdict, and what follows from them is audited as the system's",
	"POST /git/*":           "it only reads: git's way to ask is a POST, and the run's log names it",
}

// acting is a linked site with a person who acts.
type acting struct {
	*site
	f   *forge
	n   int
	iid int64
}

// fresh is a name nobody had.
func (a *acting) fresh() string { a.n++; return fmt.Sprintf("s%d", a.n) }

func (a *acting) aStack() runs.Stack {
	var st runs.Stack
	a.update(func(tx *store.Tx) (err error) {
		st, err = tx.AddStack(runs.Stack{
			Name: a.fresh(), Project: a.f.project.ID, ProjectPath: a.f.project.Path, ProjectURL: a.f.project.WebURL, Branch: "main", ProjectRoot: "live",
			Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanHead, Promotion: true,
		})
		return err
	})
	return st
}

// with makes a stack, after somebody did something to it.
func with(edit func(st *runs.Stack)) func(a *acting) names {
	return func(a *acting) names {
		st := a.aStack()
		edit(&st)
		a.update(func(tx *store.Tx) error { return tx.PutStack(st) })
		return names{"slug": st.Slug}
	}
}

var plain = with(func(*runs.Stack) {})

// aRun makes a run of a new stack and brings it on its way.
func aRun(t runs.Type, evs ...runs.Event) func(a *acting) names {
	return func(a *acting) names {
		st := a.aStack()
		var r runs.Run
		a.update(func(tx *store.Tx) (err error) {
			r, err = tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now(), By: "ann"}, Run: runs.Run{
				Stack: st.Slug, Project: st.Project, Type: t, Trigger: runs.ByPerson, TriggeredBy: "ann", Branch: "main", Commit: runs.Commit{SHA: strings.Repeat("c", 40)},
			}})
			return err
		})
		n := names{"id": r.ID, "slug": st.Slug}
		n["fingerprint"] = a.apply(r.ID, evs...).Fingerprint
		return n
	}
}

func toPlan() []runs.Event {
	return []runs.Event{
		runs.Claimed{Meta: now()},
		runs.PhaseStarted{Meta: now(), State: runs.Initializing},
		runs.PhaseStarted{Meta: now(), State: runs.Planning},
		runs.Planned{Meta: now(), Delta: runs.Delta{Add: 1}, Fingerprint: "f1"},
	}
}

// aModule makes a module with a version 1.0.0 in a state.
func aModule(state runs.VersionState) func(a *acting) names {
	return func(a *acting) names {
		st := a.aStack()
		var m runs.Module
		a.update(func(tx *store.Tx) (err error) {
			m, err = tx.AddModule(runs.Module{
				Name: a.fresh(), Provider: "aws", Namespace: "platform", Project: a.f.project.ID, ProjectPath: a.f.project.Path, ProjectURL: a.f.project.WebURL, Branch: "main",
				Release: runs.ReleaseByTag, Tool: runs.OpenTofu,
			})
			return cmpErr(err,
				tx.PutModuleVersion(runs.ModuleVersion{Module: m.Slug, Number: "1.0.0", State: state, Commit: runs.Commit{SHA: strings.Repeat("c", 40)}, Check: "c1"}),
				tx.PutModuleUses(st.Slug, []runs.ModuleUse{{Module: m.Slug, Stack: st.Slug, Version: "0.9.0"}}),
				tx.PutVariable(m.Scope(), runs.Variable{Name: "OLD", Value: "was"}))
		})
		return names{"name": m.Slug, "version": "1.0.0", "title": m.Name}
	}
}

// aFork opens a merge request of which a commit waits for its release.
func aFork(of func(a *acting) names) func(a *acting) names {
	return func(a *acting) names {
		n := of(a)
		sha := strings.Repeat("e", 40)
		a.update(func(tx *store.Tx) error {
			return tx.PutMergeRequest(store.MergeRequest{Project: a.f.project.ID, MergeRequest: runs.MergeRequest{IID: a.mr(), Title: "x"}, State: "opened", Held: sha})
		})
		n["iid"], n["sha"] = fmt.Sprint(a.mr()), sha
		return n
	}
}

// mr is a merge request of the forge.
func (a *acting) mr() int64 {
	a.t.Helper()
	if a.iid == 0 {
		_, err := a.f.Push(a.f.project.ID, "feature", "Change", map[string]string{"live/main.tf": "# changed\n"})
		must(a.t, err)
		a.iid, err = a.f.OpenMergeRequest(a.f.project.ID, "feature", "main", "Change", a.f.AddUser("author", "Author", false).ID)
		must(a.t, err)
		until(a.t, "GitLab to have prepared the merge request", func() bool {
			mr, err := a.f.MergeRequest(a.f.project.ID, a.iid)
			return err == nil && mr.DetailedMergeStatus != "preparing"
		})
	}
	return a.iid
}

func aReport(a *acting) names {
	target := "status/1/" + a.fresh()
	a.update(func(tx *store.Tx) error {
		return tx.PutReport(store.Report{Kind: store.ReportStatus, Target: target, Project: a.f.project.ID, State: store.ReportParked, LastError: "403"})
	})
	a.web.forgetParked()
	return names{"key": target, "id": base64.RawURLEncoding.EncodeToString([]byte(target))}
}

func aNotice(a *acting) names {
	n := with(func(st *runs.Stack) { st.Flag = "cut off" })(a)
	a.web.forgetNeeds()
	return names{"key": "apply/" + n["slug"], "id": noticeID("apply/" + n["slug"])}
}

func aDelivery(a *acting) names {
	d, _, err := a.st.AddDelivery(store.Delivery{Event: "Push Hook", Key: a.fresh(), ProjectID: a.f.project.ID, ReceivedAt: time.Now()}, []byte(`{}`))
	must(a.t, err)
	d.State = store.DeliveryDone
	a.update(func(tx *store.Tx) error { return tx.PutDelivery(d) })
	return names{"id": d.ID}
}

func aChannel(a *acting) names {
	to := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	a.t.Cleanup(to.Close)
	c, err := a.eng.SaveChannel(store.Channel{Name: a.fresh(), Kind: store.ChannelChat, URL: runs.Secret(to.URL), AllowLocal: true, Topics: runs.Topics[:1]}, "ann")
	must(a.t, err)
	return names{"id": c.ID, "title": c.Name, "url": to.URL}
}

func aPerson(a *acting) names {
	u := a.user(a.fresh(), store.Reader)
	session := ""
	a.update(func(tx *store.Tx) error {
		token, err := tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
		session = store.SessionID(token)
		return err
	})
	return names{"id": u.ID, "session": session}
}

func connected(a *acting) names {
	n := aPerson(a)
	a.update(func(tx *store.Tx) error {
		u, err := tx.User(n["id"])
		u.GitLabID, u.GitLabURL = int64(100000+a.n), a.f.URL()
		if err == nil {
			_, err = tx.PutUser(u)
		}
		return err
	})
	return n
}

func disabled(a *acting) names {
	n := aPerson(a)
	a.apiOK(200, patch, "/users/"+n["id"], `{"disabled":true}`)
	return n
}

func aKey(a *acting) names {
	var k store.APIKey
	a.update(func(tx *store.Tx) (err error) {
		k, _, err = tx.AddAPIKey(store.APIKey{Name: a.fresh(), Role: store.Reader})
		return err
	})
	return names{"id": k.ID}
}

func aVariable(a *acting) names {
	n := plain(a)
	a.update(func(tx *store.Tx) error { return tx.PutVariable(n["slug"], runs.Variable{Name: "OLD", Value: "was"}) })
	return n
}

// aContext makes a context that holds something, and a stack, which it is attached to or not.
func aContext(attached bool) func(a *acting) names {
	return func(a *acting) names {
		n := plain(a)
		stack := n["slug"]
		c, err := a.eng.CreateContext(runs.Context{Name: a.fresh()}, "ann")
		must(a.t, err)
		if attached {
			must(a.t, a.eng.AttachContext(stack, c.Slug, 3, "ann"))
		}
		for _, scope := range []string{stack, c.Scope()} {
			must(a.t, a.eng.PutVariable(scope, runs.Variable{Name: "OLD", Value: "was"}, "ann"))
			must(a.t, a.eng.PutFile(scope, runs.Mount{File: runs.File{Path: "a/old.txt"}, Content: []byte("was")}, "ann"))
		}
		return names{"stack": stack, "slug": c.Slug, "context": c.Slug, "title": c.Name}
	}
}

const anyPolicy = "package groundcrew\n\ndeny contains \"no\" if input.bad"

// aPolicy makes a policy with one evaluation, and a stack.
func aPolicy(a *acting) names {
	n := plain(a)
	p, err := a.eng.CreatePolicy(a.t.Context(), runs.Policy{Name: a.fresh(), Type: runs.PolicyPlan, Body: anyPolicy, Stacks: []string{n["slug"]}}, "ann")
	must(a.t, err)
	must(a.t, a.st.AddSample(store.Sample{Policy: p.Slug, Stack: n["slug"], Result: runs.PolicyResult{Outcome: runs.OutcomeAllow}}, []byte("{}")))
	return names{"slug": p.Slug, "stack": n["slug"], "title": p.Name}
}

func aProject(a *acting) names { return names{"project": fmt.Sprint(a.f.project.ID)} }

// aHookThatWorks puts our hook into the project, for a test of it.
func aHookThatWorks(a *acting) names {
	plain(a)
	a.apiOK(200, post, fmt.Sprintf("/projects/%d/hook", a.f.project.ID), "")
	return aProject(a)
}

const (
	stackForm  = "name={fresh}&project=infra/network&branch=main&project_root=live&tool=opentofu&state=managed&plan=head"
	moduleForm = "name={fresh}&provider=aws&namespace=platform&project=infra/network&branch=main&release=tag&tool=opentofu&description=now"
)

// acts has a row for every route that changes something.
func acts() []act {
	running := aRun(runs.Tracked, runs.Claimed{})
	waits, proposed := aRun(runs.Tracked, toPlan()...), aRun(runs.Proposed, toPlan()...)
	first := aRun(runs.Tracked, runs.Prioritize{Meta: runs.Meta{By: "ann"}})
	held := aContext(false)
	reviewed := func(a *acting) names {
		n := waits(a)
		a.update(func(tx *store.Tx) error {
			st, err := tx.Stack(n["slug"])
			st.Approvals = 1
			return cmpErr(err, tx.PutStack(st))
		})
		return n
	}
	locked := with(func(st *runs.Stack) { st.LockedBy = "ann" })
	active, failed := aModule(runs.VersionActive), aModule(runs.VersionFailed)
	return []act{
		{route: "POST /stacks", body: stackForm, action: "stack.create"},
		{route: "POST /api/v1/stacks", body: `{"name":"{fresh}","project":"infra/network","project_root":"live","tool":"opentofu"}`, action: "stack.create"},
		{route: "POST /stacks/:slug/settings", before: plain, body: stackForm + "&description=now", action: "stack.update", says: "now"},
		{route: "PATCH /api/v1/stacks/:slug", before: plain, body: `{"description":"now"}`, action: "stack.update", says: "now"},
		{route: "POST /stacks/:slug/delete", before: plain, body: "slug={slug}", action: "stack.delete"},
		{route: "DELETE /api/v1/stacks/:slug", before: plain, action: "stack.delete"},
		{route: "POST /stacks/:slug/lock", before: plain, body: "note=why", action: "stack.lock", says: "why"},
		{route: "POST /api/v1/stacks/:slug/lock", before: plain, body: `{"note":"why"}`, action: "stack.lock", says: "why"},
		{route: "POST /stacks/:slug/unlock", before: locked, action: "stack.unlock"},
		{route: "POST /api/v1/stacks/:slug/unlock", before: locked, action: "stack.unlock"},
		{route: "POST /stacks/:slug/sync", before: plain, action: "stack.sync", says: "{head}"},
		{route: "POST /api/v1/stacks/:slug/sync", before: plain, action: "stack.sync", says: "{head}"},
		{route: "POST /stacks/:slug/merge-requests/:iid/release", before: aFork(plain), body: "sha={sha}", action: "merge_request.release", says: "{sha}"},
		{route: "POST /stacks/:slug/environment", before: aVariable, body: "name=OLD&value=is", action: "variable.set", says: "was is"},
		{route: "PUT /api/v1/stacks/:slug/variables/:name", path: "/api/v1/stacks/{slug}/variables/OLD", before: aVariable, body: `{"value":"is"}`, action: "variable.set", says: "was is"},
		{route: "POST /stacks/:slug/environment/delete", before: aVariable, body: "name=OLD", action: "variable.delete", says: "was"},
		{route: "DELETE /api/v1/stacks/:slug/variables/:name", path: "/api/v1/stacks/{slug}/variables/OLD", before: aVariable, action: "variable.delete", says: "was"},
		{route: "POST /stacks/:slug/runs", before: plain, body: "type=tracked&commit=main", action: "run.queued"},
		{route: "POST /api/v1/stacks/:slug/runs", before: plain, body: `{"type":"tracked","commit":"main"}`, action: "run.queued"},
		{route: "POST /stacks/:slug/destroy", before: with(func(st *runs.Stack) { st.TrackedCommit = runs.Commit{SHA: strings.Repeat("c", 40)} }), body: "confirm={slug}", action: "run.queued"},

		{route: "POST /runs/:id/confirm", before: waits, body: "fingerprint={fingerprint}", action: "run.confirmed"},
		{route: "POST /api/v1/runs/:id/confirm", before: waits, body: `{"fingerprint":"{fingerprint}"}`, action: "run.confirmed"},
		{route: "POST /runs/:id/approve", before: reviewed, body: "fingerprint={fingerprint}&note=fine", action: "run.approve", says: "fine"},
		{route: "POST /api/v1/runs/:id/approve", before: reviewed, body: `{"note":"fine"}`, action: "run.approve", says: "fine"},
		{route: "POST /runs/:id/reject", before: reviewed, body: "note=later", action: "run.reject", says: "later"},
		{route: "POST /api/v1/runs/:id/reject", before: reviewed, body: `{"note":"not now"}`, action: "run.reject", says: "not now"},
		{route: "POST /runs/:id/discard", before: waits, body: "note=why", action: "run.discarded", says: "why"},
		{route: "POST /api/v1/runs/:id/discard", before: waits, body: `{"note":"why"}`, action: "run.discarded", says: "why"},
		{route: "POST /runs/:id/stop", before: running, body: "note=why", action: "run.stop", says: "why"},
		{route: "POST /api/v1/runs/:id/stop", before: running, body: `{"note":"why"}`, action: "run.stop", says: "why"},
		{route: "POST /runs/:id/prioritize", before: aRun(runs.Tracked), action: "run.prioritize"},
		{route: "POST /api/v1/runs/:id/prioritize", before: aRun(runs.Tracked), action: "run.prioritize"},
		{route: "POST /runs/:id/putback", before: first, action: "run.put_back"},
		{route: "DELETE /api/v1/runs/:id/prioritize", before: first, action: "run.put_back"},
		{route: "POST /runs/:id/retry", before: proposed, action: "run.queued"},
		{route: "POST /api/v1/runs/:id/retry", before: proposed, action: "run.queued"},
		{route: "POST /runs/:id/promote", before: proposed, action: "run.queued"},
		{route: "POST /api/v1/runs/:id/promote", before: proposed, action: "run.queued"},

		{route: "POST /settings/vcs/gitlab", body: "api_url={gitlab}&token={token}&status_prefix={fresh}", action: "integration.save", says: "status_prefix"},
		{route: "POST /settings/vcs/gitlab/edit", body: "api_url={gitlab}&status_prefix={fresh}", action: "integration.save", says: "status_prefix"},
		{route: "PUT /api/v1/integration", body: `{"status_prefix":"{fresh}"}`, action: "integration.save", says: "status_prefix"},
		{route: "POST /settings/vcs/gitlab/test", action: "integration.test"},
		{route: "POST /api/v1/integration/test", action: "integration.test"},
		{route: "POST /settings/vcs/gitlab/secret", action: "integration.reveal_secret"},
		{route: "POST /settings/vcs/gitlab/secret/rotate", action: "integration.rotate_secret", says: "digest:"},
		{route: "POST /api/v1/integration/secret/rotate", action: "integration.rotate_secret", says: "digest:"},
		{route: "POST /settings/vcs/gitlab/hooks", before: plain, action: "hook.install_all"},
		{route: "POST /settings/vcs/gitlab/hooks/test", before: plain, action: "hook.test_all"},
		{route: "POST /api/v1/projects/hooks/test", before: plain, action: "hook.test_all"},
		{route: "POST /settings/vcs/gitlab/projects/:project/hook", before: aProject, action: "hook.install"},
		{route: "POST /api/v1/projects/:project/hook", before: aProject, action: "hook.install"},
		{route: "POST /settings/vcs/gitlab/projects/:project/hook/test", before: aHookThatWorks, action: "hook.test"},
		{route: "POST /api/v1/projects/:project/hook/test", before: aHookThatWorks, action: "hook.test"},
		{route: "POST /settings/vcs/gitlab/projects/:project/settings", before: aProject, body: "pass_untouched=on", action: "project.update", says: "on"},
		{route: "PATCH /api/v1/projects/:project", before: aProject, body: `{"pass_untouched":"off"}`, action: "project.update", says: "off"},
		{route: "POST /settings/vcs/gitlab/deliveries/:id/replay", before: aDelivery, action: "delivery.replay"},
		{route: "POST /api/v1/deliveries/:id/replay", before: aDelivery, action: "delivery.replay"},
		{route: "POST /settings/vcs/gitlab/reports/retry", before: aReport, body: "key={key}", action: "report.retry"},
		{route: "POST /api/v1/reports/:id/retry", before: aReport, action: "report.retry"},
		{route: "POST /inbox/dismiss", before: aNotice, body: "key={key}", action: "notice.dismiss"},
		{route: "POST /api/v1/inbox/:id/dismiss", before: aNotice, action: "notice.dismiss"},

		{route: "POST /settings/notifications", body: "kind=chat&name={fresh}&on=on&events=run.failed&url=https://chat.test/SECRET", action: "notification.create", says: "run.failed"},
		{route: "POST /api/v1/notifications", body: `{"kind":"chat","name":"{fresh}","events":["run.failed"],"url":"https://chat.test/SECRET"}`, action: "notification.create", says: "run.failed"},
		{route: "POST /settings/notifications/:id", before: aChannel, body: "kind=chat&name={fresh}&on=on&events=run.finished&url=https://chat.test/SECRET", action: "notification.change", says: "run.finished"},
		{route: "PATCH /api/v1/notifications/:id", before: aChannel, body: `{"events":["run.finished"],"url":"https://chat.test/SECRET"}`, action: "notification.change", says: "run.finished"},
		{route: "POST /settings/notifications/:id/test", before: aChannel, action: "notification.test", says: "it arrived"},
		{route: "POST /api/v1/notifications/:id/test", before: aChannel, action: "notification.test", says: "it arrived"},
		{route: "POST /settings/notifications/:id/delete", before: aChannel, action: "notification.delete"},
		{route: "DELETE /api/v1/notifications/:id", before: aChannel, action: "notification.delete"},

		{route: "POST /settings/system", body: "workers=3", action: "settings.change", says: "workers"},
		{route: "POST /settings/system/retention", body: "delivery_days=8&report_days=91", action: "settings.change", says: "delivery_days"},
		{route: "PATCH /api/v1/settings", body: `{"report_days":92}`, action: "settings.change", says: "report_days"},
		{route: "POST /settings/sessions", body: "session_idle_hours=5&session_life_days=6", action: "settings.change", says: "session_idle_hours"},
		{route: "POST /settings/audit", body: "audit_days=50", action: "settings.change", says: "audit_days"},
		{route: "POST /settings/sign-in", body: "default_role=reader", action: "settings.sign_in", says: "reader"},
		{route: "PATCH /api/v1/sign-in", body: `{"client_id":"x","client_secret":"SECRET"}`, action: "settings.sign_in", says: "digest:"},
		{route: "POST /settings/system/modules", body: "public_modules=registry.opentofu.org", action: "settings.modules", says: "registry.opentofu.org"},
		{route: "PUT /api/v1/settings/modules", body: `{"public_modules":["registry.terraform.io"],"git_projects":[]}`, action: "settings.modules", says: "registry.terraform.io"},

		{route: "POST /settings/users", body: "name={fresh}&role=reader", action: "user.add", says: "reader"},
		{route: "POST /api/v1/users", body: `{"name":"{fresh}","role":"reader"}`, action: "user.add", says: "reader"},
		{route: "POST /settings/users/:id/role", before: aPerson, body: "role=writer", action: "user.role", says: "reader writer"},
		{route: "PATCH /api/v1/users/:id", before: aPerson, body: `{"role":"writer"}`, action: "user.change", says: "reader writer"},
		{route: "POST /settings/users/:id/disable", before: aPerson, action: "user.disable", says: "disabled_at"},
		{route: "POST /settings/users/:id/enable", before: disabled, action: "user.enable", says: "disabled_at"},
		{route: "POST /settings/users/:id/link", before: aPerson, action: "user.link"},
		{route: "POST /api/v1/users/:id/link", before: aPerson, action: "user.link"},
		{route: "POST /settings/users/:id/gitlab/disconnect", before: connected, action: "user.disconnect", says: "gitlab_id"},
		{route: "DELETE /api/v1/users/:id/gitlab", before: connected, action: "user.disconnect", says: "gitlab_id"},
		{route: "POST /settings/users/:id/sessions/end", before: aPerson, action: "session.end_all"},
		{route: "DELETE /api/v1/users/:id/sessions", before: aPerson, action: "session.end_all"},
		{route: "POST /settings/users/:id/sessions/:session/end", before: aPerson, action: "session.end", says: "{session}"},
		{route: "DELETE /api/v1/users/:id/sessions/:session", before: aPerson, action: "session.end", says: "{session}"},
		{route: "POST /settings/keys", body: "name={fresh}&role=reader", action: "api_key.create", says: "reader"},
		{route: "POST /api/v1/api-keys", body: `{"name":"{fresh}","role":"reader"}`, action: "api_key.create", says: "reader"},
		{route: "POST /settings/keys/:id/delete", before: aKey, action: "api_key.delete"},
		{route: "DELETE /api/v1/api-keys/:id", before: aKey, action: "api_key.delete"},

		{route: "POST /account/sessions/:session/end", before: func(a *acting) names {
			id := ""
			a.update(func(tx *store.Tx) error {
				u, _, err := tx.UserByName("acts")
				if err != nil {
					return err
				}
				token, err := tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
				id = store.SessionID(token)
				return err
			})
			return names{"session": id}
		}, action: "session.end", says: "{session}"},
		{route: "POST /account/gitlab", before: func(a *acting) names {
			a.openDoor(a.f, "")
			return nil
		}, body: "current=correct horse", action: "user.connect_begin"},
		{route: "POST /account/gitlab/disconnect", before: func(a *acting) names {
			a.update(func(tx *store.Tx) error {
				u, _, err := tx.UserByName("acts")
				u.GitLabID, u.GitLabURL = 77, a.f.URL()
				if err == nil {
					_, err = tx.PutUser(u)
				}
				return err
			})
			return nil
		}, body: "current=correct horse", action: "user.disconnect", says: "77"},
		{route: "POST /account/password", body: "old=correct horse&password=battery staple&again=battery staple", action: "user.password"},

		{route: "POST /modules", body: moduleForm, action: "module.create"},
		{route: "POST /api/v1/modules", body: `{"name":"{fresh}","provider":"aws","namespace":"platform","project":"infra/network"}`, action: "module.create"},
		{route: "POST /modules/:name/settings", before: active, body: moduleForm, action: "module.update", says: "now"},
		{route: "PATCH /api/v1/modules/:name", before: active, body: `{"description":"now"}`, action: "module.update", says: "now"},
		{route: "POST /modules/:name/delete", before: active, body: "slug={name}", action: "module.delete"},
		{route: "DELETE /api/v1/modules/:name", before: active, action: "module.delete"},
		{route: "POST /modules/:name/import", before: active, action: "module.import"},
		{route: "POST /api/v1/modules/:name/import", before: active, action: "module.import"},
		{route: "POST /modules/:name/checks", before: active, action: "module.check"},
		{route: "POST /api/v1/modules/:name/checks", before: active, action: "module.check"},
		{route: "POST /modules/:name/versions/:version/tests", before: failed, action: "module.check", says: "1.0.0"},
		{route: "POST /api/v1/modules/:name/versions/:version/tests", before: failed, action: "module.check", says: "1.0.0"},
		{route: "POST /modules/:name/versions/:version/yank", before: active, body: "note=why", action: "module.yank", says: "why"},
		{route: "POST /api/v1/modules/:name/versions/:version/yank", before: active, body: `{"note":"why"}`, action: "module.yank", says: "why"},
		{route: "POST /modules/:name/users", before: active, action: "run.queued"},
		{route: "POST /api/v1/modules/:name/users/runs", before: active, action: "run.queued"},
		{route: "POST /modules/:name/merge-requests/:iid/release", before: aFork(active), body: "sha={sha}", action: "merge_request.release", says: "{sha}"},
		{route: "POST /modules/:name/variables", before: active, body: "variable=OLD&value=is", action: "variable.set", says: "was is"},
		{route: "PUT /api/v1/modules/:name/variables/:variable", path: "/api/v1/modules/{name}/variables/OLD", before: active, body: `{"value":"is"}`, action: "variable.set", says: "was is"},
		{route: "POST /modules/:name/variables/delete", before: active, body: "name=OLD", action: "variable.delete", says: "was"},
		{route: "DELETE /api/v1/modules/:name/variables/:variable", path: "/api/v1/modules/{name}/variables/OLD", before: active, action: "variable.delete", says: "was"},

		{route: "POST /contexts", body: "name={fresh}&labels=x", action: "context.create"},
		{route: "POST /api/v1/contexts", body: `{"name":"{fresh}"}`, action: "context.create"},
		{route: "POST /contexts/:slug/settings", before: held, body: "name={title}&description=now", action: "context.update", says: "now"},
		{route: "PATCH /api/v1/contexts/:slug", before: held, body: `{"description":"now"}`, action: "context.update", says: "now"},
		{route: "POST /contexts/:slug/delete", before: held, body: "slug={slug}", action: "context.delete"},
		{route: "DELETE /api/v1/contexts/:slug", before: held, action: "context.delete"},
		{route: "POST /contexts/:slug/variables", before: held, body: "name=OLD&value=is", action: "variable.set", says: "was is"},
		{route: "PUT /api/v1/contexts/:slug/variables/:name", path: "/api/v1/contexts/{slug}/variables/OLD", before: held, body: `{"value":"is"}`, action: "variable.set", says: "was is"},
		{route: "POST /contexts/:slug/variables/delete", before: held, body: "name=OLD", action: "variable.delete", says: "was"},
		{route: "DELETE /api/v1/contexts/:slug/variables/:name", path: "/api/v1/contexts/{slug}/variables/OLD", before: held, action: "variable.delete", says: "was"},
		{route: "POST /contexts/:slug/files", before: held, body: "path=a/old.txt&content=SECRET", action: "file.set", says: "a/old.txt"},
		{route: "PUT /api/v1/contexts/:slug/files/*", path: "/api/v1/contexts/{slug}/files/a/old.txt", before: held, body: `{"content":"SECRET"}`, action: "file.set", says: "a/old.txt"},
		{route: "POST /contexts/:slug/files/delete", before: held, body: "path=a/old.txt", action: "file.delete", says: "a/old.txt"},
		{route: "DELETE /api/v1/contexts/:slug/files/*", path: "/api/v1/contexts/{slug}/files/a/old.txt", before: held, action: "file.delete", says: "a/old.txt"},
		{route: "POST /stacks/:slug/environment/files", path: "/stacks/{stack}/environment/files", before: held, body: "path=a/old.txt&content=SECRET", action: "file.set", says: "a/old.txt"},
		{route: "PUT /api/v1/stacks/:slug/files/*", path: "/api/v1/stacks/{stack}/files/a/old.txt", before: held, body: `{"content":"SECRET"}`, action: "file.set", says: "a/old.txt"},
		{route: "POST /stacks/:slug/environment/files/delete", path: "/stacks/{stack}/environment/files/delete", before: held, body: "path=a/old.txt", action: "file.delete", says: "a/old.txt"},
		{route: "DELETE /api/v1/stacks/:slug/files/*", path: "/api/v1/stacks/{stack}/files/a/old.txt", before: held, action: "file.delete", says: "a/old.txt"},
		{route: "POST /policies", body: "name={fresh}&type=push&body=package groundcrew\ntrack := true", action: "policy.create", says: "track"},
		{route: "POST /api/v1/policies", body: `{"name":"{fresh}","type":"push","body":"package groundcrew\ntrack := true"}`, action: "policy.create", says: "track"},
		{route: "POST /policies/:slug", before: aPolicy, body: "name={title}&body=package groundcrew\ndeny contains \"now\"&stacks={stack}", action: "policy.update", says: "now"},
		{route: "PATCH /api/v1/policies/:slug", before: aPolicy, body: `{"description":"now"}`, action: "policy.update", says: "now"},
		{route: "POST /policies/:slug/switch", before: aPolicy, body: "off=on", action: "policy.update", says: "off"},
		{route: "POST /policies/:slug/try", before: aPolicy, body: "name={title}&body=package groundcrew\ndeny contains \"now\"&input={}", action: "policy.try"},
		{route: "POST /api/v1/policies/:slug/try", before: aPolicy, body: `{"input":{"bad":true}}`, action: "policy.try"},
		{route: "POST /api/v1/policies/check", body: `{"type":"push","body":"package groundcrew\ntrack := true"}`, action: "policy.check"},
		{route: "POST /policies/:slug/delete", before: aPolicy, body: "slug={slug}", action: "policy.delete", says: "input.bad"},
		{route: "DELETE /api/v1/policies/:slug", before: aPolicy, action: "policy.delete", says: "input.bad"},
		{route: "POST /stacks/:slug/contexts", path: "/stacks/{stack}/contexts", before: held, body: "context={slug}&priority=7", action: "context.attach", says: "7"},
		{route: "PUT /api/v1/stacks/:slug/contexts/:context", path: "/api/v1/stacks/{stack}/contexts/{context}", before: held, body: `{"priority":7}`, action: "context.attach", says: "7"},
		{route: "POST /stacks/:slug/contexts/detach", path: "/stacks/{stack}/contexts/detach", before: aContext(true), body: "context={slug}", action: "context.detach", says: "3"},
		{route: "DELETE /api/v1/stacks/:slug/contexts/:context", path: "/api/v1/stacks/{stack}/contexts/{context}", before: aContext(true), action: "context.detach", says: "3"},

		// Those who come in: nobody acts before.
		{route: "POST /login", body: "username=acts&password=battery staple", action: "user.sign_in"},
		{route: "POST /welcome", before: func(a *acting) names {
			u := a.user(a.fresh(), store.Reader)
			n := names{}
			a.update(func(tx *store.Tx) (err error) {
				n["invite"], err = tx.Invite(u, tx.Now().Add(time.Hour))
				return err
			})
			return n
		}, body: "token={invite}&password=correct horse&again=correct horse", action: "user.password"},
		{route: "POST /setup", before: func(a *acting) names {
			n := names{}
			a.update(func(tx *store.Tx) (err error) { n["setup"], err = tx.NewSetupToken(); return err })
			return n
		}, body: "token={setup}&name={fresh}&password=correct horse&again=correct horse", action: "user.add"},
		{route: "POST /settings/vcs/gitlab/unlink", body: "host={host}", action: "integration.unlink"},
		{route: "DELETE /api/v1/integration", before: func(a *acting) names {
			a.apiOK(200, put, "/integration", `{"api_url":"`+a.f.URL()+`","token":"`+a.f.token+`"}`)
			return nil
		}, action: "integration.unlink"},
		{route: "POST /logout", action: "user.sign_out"},
	}
}

// TestEveryActLeavesOneEntry calls every route that changes something so that it does: one entry of the one who acts, with the
// address, the session and what it was before and after, and no secret in it. A new route without a row fails.
func TestEveryActLeavesOneEntry(t *testing.T) {
	s, f := linked(t)
	a := &acting{site: s, f: f}
	s.user("acts", store.Admin)
	b := s.byPassword("acts")
	rows := map[string]bool{}
	head := f.Head(f.project.ID, "main")
	for _, x := range acts() {
		rows[x.route] = true
		method, route, _ := strings.Cut(x.route, " ")
		n := names{}
		if x.before != nil {
			n = x.before(a)
		}
		words := []string{"{fresh}", a.fresh(), "{gitlab}", f.URL(), "{token}", f.token, "{host}", hostOf(f.URL()), "{head}", head}
		path := x.path
		if path == "" {
			path = route
		}
		for k, v := range n {
			words = append(words, "{"+k+"}", v)
			if x.path == "" {
				path = strings.ReplaceAll(path, ":"+k, v)
			}
		}
		fill := strings.NewReplacer(words...).Replace
		s.web.logins = newLoginLimiter()
		before := len(s.audit())
		got := s.do(b, a.request(method, fill(path), fill(x.body)))
		if got.status >= 400 {
			t.Errorf("%s: status %d %.300s", x.route, got.status, got.body)
			continue
		}
		all := s.audit()
		var mine []store.AuditEntry
		for _, e := range all[:len(all)-before] {
			if e.By != runs.System {
				mine = append(mine, e)
			}
		}
		if comesIn := x.action == "user.password" || x.action == "user.add"; comesIn && len(mine) == 2 && mine[0].Action == "user.sign_in" {
			mine = mine[1:] // who gets a password or an account is signed in with it
		}
		if len(mine) != 1 {
			t.Errorf("%s: %d entries, want one: %+v", x.route, len(mine), mine)
			continue
		}
		e := mine[0]
		var said strings.Builder
		said.WriteString(e.Note + " " + e.Target)
		for _, c := range e.Changes {
			said.WriteString(" " + c.Field + " " + c.Before + " " + c.After)
		}
		if e.Action != x.action || e.By == "" || e.Address != "127.0.0.1" || !strings.Contains(said.String(), fill(x.says)) {
			t.Errorf("%s: %+v, want %s saying %q", x.route, e, x.action, fill(x.says))
		}
		if comesIn := e.Action == "user.sign_in" || route == "/welcome" || route == "/setup"; !comesIn && !strings.HasPrefix(e.Via, "session ") {
			t.Errorf("%s: by which session? %+v", x.route, e)
		}
		if raw, err := json.Marshal(e); err != nil || strings.Contains(string(raw), "SECRET") || strings.Contains(string(raw), f.token) || strings.Contains(string(raw), "staple") {
			t.Errorf("%s: a secret stands in %s %v", x.route, raw, err)
		}
	}
	for _, r := range s.web.table {
		name := r.method + " " + r.path
		if why := unaudited[name]; r.method != get && !rows[name] && why == "" {
			t.Errorf("%s has no row in acts: what entry does it leave?", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s is not there", name)
	}
}

// request is a call of the API, or a form whose body is a query.
func (a *acting) request(method, path, body string) *http.Request {
	var pairs []string
	if !strings.HasPrefix(path, "/api/") && body != "" {
		for part := range strings.SplitSeq(body, "&") {
			k, v, _ := strings.Cut(part, "=")
			pairs = append(pairs, k, v)
		}
	}
	req := a.form(path, pairs...)
	req.Method = method
	if strings.HasPrefix(path, "/api/") {
		req, _ = http.NewRequestWithContext(a.t.Context(), method, a.srv.URL+path, strings.NewReader(body)) // the same address
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}
