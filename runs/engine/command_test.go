package engine

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// A forum is a world whose GitLab delivers comments, with people of each role.
type forum struct {
	*world
	ann, dan, rob, eve sim.User // Maintainer, Developer, Reporter, nobody
	st                 runs.Stack
	mr                 *runs.MergeRequest
	head               string
}

// speaking runs a test in a forum with a planned merge request. People sign in with GitLab.
func speaking(t *testing.T, f func(w *forum)) {
	t.Helper()
	inBubble(t, func(w *world) {
		w.listen()
		q := &forum{world: w}
		for user, level := range map[string]int{"ann": sim.Maintainer, "dan": sim.Developer, "rob": sim.Reporter, "eve": 0} {
			u := w.sim.AddUser(user, strings.ToUpper(user), false)
			if level > 0 {
				w.sim.AddMember(w.project.ID, u.ID, level)
			}
			*map[string]*sim.User{"ann": &q.ann, "dan": &q.dan, "rob": &q.rob, "eve": &q.eve}[user] = u
		}
		q.update(func(tx *store.Tx) error { return tx.PutSignIn(store.SignIn{GitLab: true, ClientID: "c"}) })
		q.st = w.stack("network")
		if _, err := w.e.InstallHook(w.t.Context(), w.project.ID, "admin"); err != nil {
			t.Fatal(err)
		}
		q.head = w.push("edge")
		q.mr = w.openMR("edge")
		q.settle()
		q.finish("network", runs.Proposed, "same")
		f(q)
		w.sim.WaitHooks()
		q.harmless()
	})
}

// settle waits until what was delivered is processed and told.
func (w *forum) settle() {
	w.t.Helper()
	w.sim.WaitHooks()
	time.Sleep(time.Second)
	for range 600 {
		var waiting []string
		w.do(w.world.st.View(func(tx *store.Tx) (err error) { waiting, err = tx.Inbox(1); return err }))
		if len(waiting) == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	w.quiet()
}

// finish lets the newest run of a stack be planned, with the fingerprint; a tracked one then waits.
func (w *forum) finish(slug string, typ runs.Type, fingerprint string) runs.Run {
	w.t.Helper()
	var r runs.Run
	w.do(w.world.st.View(func(tx *store.Tx) (err error) { r, _, err = tx.LatestRun(slug, typ); return err }))
	events := planned(runs.Delta{Add: 1}, false)
	events[3] = runs.Planned{Meta: runs.Meta{At: time.Now()}, Delta: runs.Delta{Add: 1}, Fingerprint: fingerprint}
	r = w.apply(r.ID, events...)
	w.settle()
	return r
}

// merged merges the merge request and plans what is tracked then.
func (w *forum) merged(fingerprint string) runs.Run {
	w.t.Helper()
	if _, err := w.sim.MergeMergeRequest(w.project.ID, w.mr.IID, w.ann.ID); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	return w.finish("network", runs.Tracked, fingerprint)
}

// write lets somebody comment, and returns the comment.
func (w *forum) write(who sim.User, text string) int64 {
	w.t.Helper()
	id, err := w.sim.AddNote(w.project.ID, w.mr.IID, who.ID, text)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sim.WaitHooks()
	return id
}

// say comments and returns the answer, "" when there is none.
func (w *forum) say(who sim.User, text string) string {
	w.t.Helper()
	time.Sleep(10 * time.Second) // people are no flood
	id := w.write(who, text)
	w.settle()
	return w.answer(id)
}

// answers are those to a comment.
func (w *forum) answers(id int64) (list []sim.Note) {
	for _, n := range w.notes(w.mr.IID) {
		if strings.HasPrefix(n.Body, replyMarker(store.ReplyTarget(w.project.ID, w.mr.IID, id))+"\n") {
			list = append(list, n)
		}
	}
	return list
}

func (w *forum) answer(id int64) string {
	w.t.Helper()
	switch list := w.answers(id); len(list) {
	case 0:
		return ""
	case 1:
		return list[0].Body
	default:
		w.t.Fatalf("%d answers to one comment: %v", len(list), list)
		return ""
	}
}

// verdict is what the newest delivery of a comment came to.
func (w *forum) verdict() string {
	w.t.Helper()
	var list []store.Delivery
	w.do(w.world.st.View(func(tx *store.Tx) (err error) {
		list, _, err = tx.DeliveriesWhere(time.Time{}, time.Time{}, "", 1, func(d store.Delivery) bool {
			return d.Event == "Note Hook" && !strings.Contains(d.Verdict, "written by Groundcrew")
		})
		return err
	}))
	if len(list) == 0 {
		w.t.Fatal("no comment was delivered")
	}
	return list[0].Verdict
}

// harmless: nothing that was written is a command to GitLab or to ourselves, or names somebody.
func (w *forum) harmless() {
	w.t.Helper()
	for _, n := range w.notes(w.mr.IID) {
		if c, found := runs.ParseCommand(n.Body, "groundcrew"); found || len(n.QuickActions) > 0 || strings.Contains(n.Body, " @") {
			w.t.Errorf("a comment of ours is a command (%v, %v) or a mention:\n%s", c, n.QuickActions, n.Body)
		}
	}
}

func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	text = strings.NewReplacer("\\", "", "\u2060", "").Replace(text) // as a reader sees it
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func (w *forum) audited(action string) (list []store.AuditEntry) {
	w.t.Helper()
	w.do(w.world.st.View(func(tx *store.Tx) (err error) {
		list, _, err = tx.AuditSearch(store.AuditFilter{Action: action}, "", 100)
		return err
	}))
	return list
}

// plan makes a new run of the same commit, for the stack that is named or all that are concerned; one at work is not doubled.
func TestCommandPlan(t *testing.T) {
	speaking(t, func(w *forum) {
		says(t, w.say(w.dan, "Again, please:\n\n/groundcrew plan"), "Commit "+w.head[:8], "network` is being planned ([run](https://gc.example/runs/")
		list := w.runsOf(runs.Proposed)
		r := list[len(list)-1]
		if len(list) != 2 || r.Trigger != runs.ByComment || r.TriggeredBy != fmt.Sprintf("@dan (GitLab %d)", w.dan.ID) || r.RetryOf != list[0].ID || r.Commit.SHA != w.head || r.In(w.mr.IID) == nil {
			t.Errorf("%d runs, the last %+v", len(list), r)
		}
		if v := w.verdict(); !strings.HasPrefix(v, "command plan by @dan (GitLab ") || !strings.HasSuffix(v, ": started 1 run") {
			t.Errorf("verdict: %s", v)
		}
		says(t, w.say(w.dan, "/groundcrew plan NETWORK "+w.head[:10]), "is being planned already")
		says(t, w.say(w.dan, "/groundcrew plan elsewhere"), "There is no stack “elsewhere”")
		says(t, w.say(w.dan, "/groundcrew plan network 0123456789"), "and you named 0123456789")
		if n := len(w.runsOf(runs.Proposed)); n != 2 {
			t.Errorf("%d runs", n)
		}
		if e := w.audited("run.queued"); len(e) == 0 || !strings.Contains(e[0].Via, fmt.Sprintf("on platform/network!%d by @dan (GitLab %d)", w.mr.IID, w.dan.ID)) {
			t.Errorf("audit log: %+v", e)
		}
		w.do(w.sim.CloseMergeRequest(w.project.ID, w.mr.IID, w.ann.ID))
		w.settle()
		says(t, w.say(w.dan, "/groundcrew plan"), "The merge request is closed")
	})
}

// plan checks the modules that are concerned as well, or the one that is named; no other command is for modules.
func TestCommandPlanOfModules(t *testing.T) {
	speaking(t, func(w *forum) {
		w.update(func(tx *store.Tx) error {
			_, err := tx.AddModule(runs.Module{
				Name: "vpc", Provider: "aws", Namespace: "platform", Project: w.project.ID, ProjectPath: w.project.Path, Branch: "main", Release: runs.ReleaseByTag, Tool: runs.Terraform,
			})
			return err
		})
		slug := ""
		w.do(w.world.st.View(func(tx *store.Tx) error {
			list, err := tx.ModulesOf(w.project.ID)
			slug = list[0].Slug
			return err
		}))
		says(t, w.say(w.dan, "/groundcrew plan"), "network` is being planned", "The module `"+slug+"` is being checked")
		says(t, w.say(w.dan, "/groundcrew plan "+slug), "is being checked already")
		says(t, w.say(w.ann, "/groundcrew discard "+slug), "There is no stack “"+slug+"”")
		w.do(w.world.st.View(func(tx *store.Tx) error {
			c, ok, err := tx.NewestCheck(slug, w.head)
			if !ok || c.Trigger != runs.ByComment || c.By != fmt.Sprintf("@dan (GitLab %d)", w.dan.ID) || c.MR == nil || c.MR.IID != w.mr.IID {
				t.Errorf("%+v, %v", c, ok)
			}
			return err
		}))
	})
}

// apply says yes to the plan that was shown in the merge request, once; a yes to another plan has to name it.
func TestCommandApply(t *testing.T) {
	speaking(t, func(w *forum) {
		says(t, w.say(w.ann, "/groundcrew apply"), "is not merged")
		r := w.merged("same")
		id := w.write(w.ann, "/groundcrew apply")
		w.settle()
		says(t, w.answer(id), "network` is being applied", "1 to add", r.Commit.Short())
		if r = w.run(r.ID); r.State != runs.Confirmed || lastStep(r).By != fmt.Sprintf("@ann (GitLab %d)", w.ann.ID) {
			t.Fatalf("%s, %+v", r.State, r.Transitions)
		}
		if e := w.audited("run.confirmed"); len(e) != 1 || !strings.Contains(e[0].Via, fmt.Sprintf("comment %d on platform/network!%d", id, w.mr.IID)) {
			t.Errorf("audit log: %+v", e)
		}
		says(t, w.say(w.ann, "/groundcrew apply network"), "No run waits for a yes: network (Confirmed by")
	})
	speaking(t, func(w *forum) { // another plan than the one shown
		r := w.merged("other")
		asked := w.say(w.ann, "/groundcrew apply")
		name := runs.PlanName(r)
		says(t, asked, "Nothing was applied", "not the one that this merge request showed", "1 to add", "`/groundcrew apply network "+name+"`")
		says(t, w.say(w.ann, "/groundcrew apply network 00000000"), "not the one that you named")
		if w.run(r.ID).State != runs.Unconfirmed {
			t.Fatalf("%+v", w.run(r.ID))
		}
		says(t, w.say(w.ann, "/groundcrew apply network "+name), "is being applied")
	})
}

// A plan whose state or commit has moved is made again instead, as by the button.
func TestCommandApplyOfAMovedPlan(t *testing.T) {
	speaking(t, func(w *forum) {
		r := w.merged("same")
		w.update(func(tx *store.Tx) error {
			st, err := tx.Stack("network")
			if err != nil {
				return err
			}
			st.TrackedCommit = runs.Commit{SHA: strings.Repeat("a", 40)}
			return tx.PutStack(st)
		})
		w.apply(r.ID, runs.Discard{})
		moved := w.request(runs.Run{Stack: "network", Type: runs.Tracked, Commit: r.Commit, Branch: "main"})
		moved = w.apply(moved.ID, runs.Claimed{}, runs.PhaseStarted{State: runs.Initializing, Basis: &runs.Basis{Kind: runs.PlanHead}, TrackedAt: r.Commit.SHA}, runs.PhaseStarted{State: runs.Planning}, runs.Planned{Delta: runs.Delta{Add: 1}, Fingerprint: "same"})
		says(t, w.say(w.ann, "/groundcrew apply"), "Not applied", "main moved to aaaaaaaa")
		if got := w.run(moved.ID); got.State != runs.Queued {
			t.Errorf("%s", got.State)
		}
	})
}

// With several stacks, none is guessed; discard and unlock say what they did.
func TestCommandDiscardAndUnlock(t *testing.T) {
	speaking(t, func(w *forum) {
		w.stack("edge")
		w.say(w.dan, "/groundcrew plan")
		w.finish("edge", runs.Proposed, "same")
		r := w.merged("same")
		other := w.finish("edge", runs.Tracked, "same")
		says(t, w.say(w.ann, "/groundcrew apply"), "Several stacks have a run that waits for a yes: edge, network. Name one")
		says(t, w.say(w.ann, "/groundcrew discard"), "Name one")
		says(t, w.say(w.ann, "/groundcrew discard edge"), "edge` was discarded")
		if w.run(other.ID).State != runs.Discarded || w.run(r.ID).State != runs.Unconfirmed {
			t.Errorf("%s, %s", w.run(other.ID).State, w.run(r.ID).State)
		}
		says(t, w.say(w.ann, "/groundcrew discard edge"), "No run waits: edge (its newest tracked run is discarded)")
		says(t, w.say(w.ann, "/groundcrew unlock"), "No stack of this merge request is locked")
		if _, err := w.e.Lock("network", "ada", "*moving* /merge"); err != nil {
			t.Fatal(err)
		}
		says(t, w.say(w.ann, "/groundcrew apply"), "ada locked the stack")
		says(t, w.say(w.rob, "/groundcrew help"), "/groundcrew apply [stack]", "locked by ada", "Waiting for confirmation")
		says(t, w.say(w.ann, "/groundcrew unlock"), "`network` is unlocked")
		says(t, w.say(w.ann, "/groundcrew unlock network"), "The stack network is not locked")
		says(t, w.say(w.ann, "/groundcrew apply"), "network` is being applied")
	})
}

// One comment is carried out once, however often it is delivered or processed, and answered once when GitLab's answer is lost.
func TestCommandOnce(t *testing.T) {
	speaking(t, func(w *forum) {
		w.sim.DeliverTwice(true)
		fault := w.sim.Fault(sim.Fault{Method: "POST", Path: regexp.MustCompile("/notes$"), CutAfterWork: true, Times: 1})
		defer fault()
		id := w.write(w.dan, "/groundcrew plan")
		w.settle()
		w.sim.DeliverTwice(false)
		says(t, w.answer(id), "is being planned")
		var list []store.Delivery
		w.do(w.world.st.View(func(tx *store.Tx) (err error) {
			list, _, err = tx.DeliveriesWhere(time.Time{}, time.Time{}, "", 10, func(d store.Delivery) bool { return strings.HasPrefix(d.Verdict, "command plan") })
			return err
		}))
		if len(list) != 1 {
			t.Fatalf("%d deliveries carried out", len(list))
		}
		w.finish("network", runs.Proposed, "same")
		w.do(w.e.Replay(list[0].ID, "admin"))
		w.settle()
		if v := w.delivery(list[0].ID).Verdict; v != "ignored: this comment has its answer already" {
			t.Errorf("verdict: %s", v)
		}
		if n := len(w.runsOf(runs.Proposed)); n != 2 || len(w.answers(id)) != 1 {
			t.Errorf("%d runs, %d answers", n, len(w.answers(id)))
		}
	})
}

// While GitLab is away a command waits; then it is carried out, or it came too late.
func TestCommandWaitsForGitLab(t *testing.T) {
	for _, c := range []struct {
		away  time.Duration
		text  string
		who   string
		after string
	}{
		{10 * time.Minute, "/groundcrew apply", "ann", "is being applied"},
		{16 * time.Minute, "/groundcrew apply", "ann", "got here too late"},
		{3 * time.Hour, "/groundcrew help", "rob", "Write a command"},
	} {
		speaking(t, func(w *forum) {
			r := w.merged("same")
			w.trouble(func(*http.Request) *http.Response { return refused })
			who := map[string]sim.User{"ann": w.ann, "rob": w.rob}[c.who]
			id := w.write(who, c.text)
			time.Sleep(c.away)
			if got := w.answer(id); got != "" || w.verdict() != "" {
				t.Errorf("while GitLab is away: %s, %s", got, w.verdict())
			}
			w.trouble(nil)
			w.settle()
			says(t, w.answer(id), c.after)
			if got := w.run(r.ID).State; (got == runs.Confirmed) != (c.after == "is being applied") {
				t.Errorf("after %s %s: %s", c.away, c.text, got)
			}
		})
	}
}

// A dead token is GitLab being away; a delivery that comes late is told by the time GitLab gives the comment.
func TestCommandWithADeadToken(t *testing.T) {
	speaking(t, func(w *forum) {
		r := w.merged("same")
		w.sim.RevokeToken(w.token)
		id := w.write(w.ann, "/groundcrew discard")
		time.Sleep(5 * time.Minute)
		w.token = w.sim.AddToken(w.bot.ID, "new", []string{"api"}, time.Now().AddDate(0, 1, 0))
		w.relink(func(in *store.Integration) { in.Token = runs.Secret(w.token) })
		w.settle()
		says(t, w.answer(id), "was discarded")
		if w.run(r.ID).State != runs.Discarded {
			t.Errorf("%s", w.run(r.ID).State)
		}
	})
}

// A bot that lost its role for a while is no proof that a comment is not there.
func TestCommandWithoutARole(t *testing.T) {
	speaking(t, func(w *forum) {
		w.sim.AddMember(w.project.ID, w.bot.ID, 0)
		id := w.write(w.rob, "/groundcrew help")
		time.Sleep(time.Hour)
		if v := w.verdict(); v != "" {
			t.Errorf("verdict: %s", v)
		}
		w.sim.AddMember(w.project.ID, w.bot.ID, sim.Maintainer)
		w.settle()
		says(t, w.answer(id), "Write a command")
	})
}

// The answer goes into the thread of a comment that stands in one, and beside a comment that does not: a reply would make a
// thread of it, and threads can block a merge.
func TestCommandAnswersWhereItWasAsked(t *testing.T) {
	speaking(t, func(w *forum) {
		w.say(w.rob, "/groundcrew help")
		for _, n := range w.sim.Notes(w.project.ID, w.mr.IID) {
			if n.Resolvable {
				t.Errorf("%q became a thread", n.Body)
			}
		}
		opened := w.by(w.dan, "POST", "/discussions", map[string]any{"body": "/groundcrew frobnicate"})
		w.settle()
		var answer sim.Note
		for _, n := range w.notes(w.mr.IID) {
			if n.Discussion == fmt.Sprint(opened["id"]) {
				answer = n
			}
		}
		says(t, answer.Body, "“frobnicate” is no command here", "/groundcrew plan [stack]")
		for status, why := range map[int]string{404: "404 Discussion Not Found", 400: "400 Bad request", 403: "403 Forbidden"} {
			gone := w.sim.Fault(sim.Fault{Method: "POST", Path: regexp.MustCompile("/discussions/[0-9a-f]+/notes$"), Status: status, Body: `{"message":"` + why + `"}`})
			opened = w.by(w.dan, "POST", "/discussions", map[string]any{"body": "/groundcrew help"})
			w.settle()
			gone()
			first := opened["notes"].([]any)[0].(map[string]any)["id"].(float64)
			says(t, w.answer(int64(first)), "Write a command") // beside it, because its thread takes no answer
		}
		says(t, w.say(w.dan, "/groundcrew plan a b c"), "too many words")
		says(t, w.say(w.dan, "/groundcrew help\n/groundcrew plan"), "Only the first command of a comment counts")
	})
}

// Another prefix is another installation's word.
func TestCommandWordFollowsThePrefix(t *testing.T) {
	speaking(t, func(w *forum) {
		w.relink(func(in *store.Integration) { in.StatusPrefix = "acme/infra" })
		if got := w.say(w.rob, "/groundcrew help"); got != "" {
			t.Errorf("another installation's command is answered: %s", got)
		}
		says(t, w.say(w.rob, "/acme/infra help"), "`/acme/infra plan [stack]`")
	})
}
