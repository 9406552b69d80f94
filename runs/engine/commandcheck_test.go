package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// Rights are GitLab's at that moment, and an account here bounds them.
func TestCommandRights(t *testing.T) {
	speaking(t, func(w *forum) {
		says(t, w.say(w.rob, "/groundcrew plan"), "Only a Developer of platform/network in GitLab can do this; you are a Reporter there.")
		says(t, w.say(w.dan, "/groundcrew unlock"), "Only a Maintainer")
		if v := w.verdict(); !strings.Contains(v, "refused: Only a Maintainer") {
			t.Errorf("verdict: %s", v)
		}
		if got := w.say(w.eve, "/groundcrew help"); got != "" {
			t.Errorf("somebody outside is answered: %s", got)
		}
		says(t, w.verdict(), "refused: @eve (GitLab", "not a member")
		r := w.merged("same")
		account := func(role store.Role, gone time.Time, how store.SignIn) {
			w.update(func(tx *store.Tx) error {
				u, _, err := tx.UserByName("anna")
				if err != nil {
					return err
				}
				u.Name, u.Role, u.GitLabID, u.GitLabURL, u.DisabledAt = "anna", role, w.ann.ID, "http://gitlab.invalid", gone
				if _, err := tx.PutUser(u); err != nil {
					return err
				}
				return tx.PutSignIn(how)
			})
		}
		on := store.SignIn{GitLab: true, ClientID: "c"}
		account(store.Reader, time.Time{}, on)
		says(t, w.say(w.ann, "/groundcrew apply"), "you are a reader")
		says(t, w.say(w.ann, "/groundcrew help"), "Write a command")
		account(store.Admin, time.Now(), on)
		says(t, w.say(w.ann, "/groundcrew help"), "Your account in Groundcrew is disabled")
		account(store.Writer, time.Time{}, on)
		w.sim.AddMember(w.project.ID, w.ann.ID, sim.Developer)
		says(t, w.say(w.ann, "/groundcrew apply"), "Only a Maintainer")
		w.sim.AddMember(w.project.ID, w.ann.ID, sim.Maintainer)

		// Somebody without an account, as the installation lets people in.
		mia := w.sim.AddUser("mia", "Mia", false)
		w.sim.AddMember(w.project.ID, mia.ID, sim.Maintainer)
		for _, c := range []struct {
			how store.SignIn
			why string
		}{
			{store.SignIn{}, "People do not sign in to this Groundcrew with GitLab"},
			{store.SignIn{GitLab: true, ClientID: "c", Groups: []string{"ops"}}, "Sign in there with GitLab once"},
			{store.SignIn{GitLab: true, ClientID: "c", Role: store.Reader}, "you are a reader"},
		} {
			w.update(func(tx *store.Tx) error { return tx.PutSignIn(c.how) })
			says(t, w.say(mia, "/groundcrew apply"), c.why)
		}
		// An account counts as long as its owner could come in.
		groups := on
		groups.Groups = []string{"ops"}
		for _, how := range []store.SignIn{{}, groups} {
			account(store.Writer, time.Time{}, how)
			says(t, w.say(w.ann, "/groundcrew unlock"), "Sign in to Groundcrew once, then comment again.")
			says(t, w.say(w.ann, "/groundcrew plan"), "is merged. Only an open one can be planned")
		}
		w.update(func(tx *store.Tx) error {
			u, _, err := tx.UserByName("anna")
			if err == nil {
				_, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
			}
			return err
		})
		says(t, w.say(w.ann, "/groundcrew unlock"), "No stack of this merge request is locked")
		bot := w.sim.AddBot("robot", "Robot")
		w.sim.AddMember(w.project.ID, bot.ID, sim.Maintainer)
		account(store.Writer, time.Time{}, on)
		says(t, w.say(bot, "/groundcrew apply"), "a yes or no is a person")
		if w.run(r.ID).State != runs.Unconfirmed {
			t.Fatalf("%s", w.run(r.ID).State)
		}
		says(t, w.say(w.ann, "/groundcrew apply"), "is being applied")
		if got := lastStep(w.run(r.ID)).By; got != "anna" {
			t.Errorf("confirmed by %s", got)
		}
		w.sim.BlockUser(w.ann.ID, true)
		if got := w.say(w.ann, "/groundcrew help"); got != "" {
			t.Errorf("somebody blocked is answered: %s", got)
		}
	})
}

// What the delivery says is not believed: GitLab has to show the same comment by the same author.
func TestCommandForgedAndChanged(t *testing.T) {
	speaking(t, func(w *forum) {
		r := w.merged("same")
		id := w.write(w.ann, "Looks good")
		w.settle()
		if v := w.verdict(); v != "ignored: a comment without a command" {
			t.Errorf("verdict: %s", v)
		}
		theirs := w.write(w.dan, "/groundcrew unlock")
		w.settle()
		for _, c := range []struct {
			note, author int64
			text, action string
			verdict      string
		}{
			{id, w.ann.ID, "/groundcrew apply", "create", "refused: the comment in GitLab says something else"},
			{theirs + 1000, w.ann.ID, "/groundcrew apply", "create", "refused: GitLab shows no such comment"},
			{id, w.ann.ID, "/groundcrew apply", "update", "ignored: a comment that was changed"},
			{id, w.bot.ID, "/groundcrew apply", "create", "ignored: written by Groundcrew"},
			{id, w.ann.ID, "<!-- groundcrew:x -->\n/groundcrew apply", "create", "ignored: written by Groundcrew"},
			{id, w.ann.ID, "/groundcrew apply", "internal", "ignored: an internal comment"},
			{id, w.ann.ID, "/groundcrew apply", "Commit", "ignored: a comment on something else"},
		} {
			d := w.forge(c.note, c.author, c.text, c.action)
			w.settle()
			if v := w.delivery(d.ID).Verdict; !strings.Contains(v, c.verdict) {
				t.Errorf("%+v: verdict %s", c, v)
			}
		}
		edited := w.write(w.ann, "Hm")
		w.edit(w.ann, edited, "/groundcrew apply")
		w.settle()
		if v := w.verdict(); !strings.HasPrefix(v, "ignored: a comment that was changed") {
			t.Errorf("verdict of an edit: %s", v)
		}
		time.Sleep(time.Minute)
		late := w.write(w.ann, "Hm")
		time.Sleep(5 * time.Second)
		w.edit(w.ann, late, "/groundcrew apply")
		w.forge(late, w.ann.ID, "/groundcrew apply", "create")
		w.settle()
		says(t, w.answer(late), "The comment was changed after it was written")
		if w.run(r.ID).State != runs.Unconfirmed {
			t.Errorf("%s", w.run(r.ID).State)
		}
	})
}

// What GitLab refuses for good is refused at once: a command does not wait a day for it. Who is no account there is no person.
func TestCommandRefusedForGood(t *testing.T) {
	speaking(t, func(w *forum) {
		for status, body := range map[int]string{403: `{"message":"403 Forbidden"}`, 400: `{"message":"400 Bad request"}`} {
			clear := w.sim.Fault(sim.Fault{Method: "GET", Path: regexp.MustCompile(`/notes/\d+$`), Status: status, Body: body})
			if got := w.say(w.ann, "/groundcrew unlock"); got != "" {
				t.Errorf("%d: answered %s", status, got)
			}
			clear()
			if v := w.verdict(); !strings.HasPrefix(v, "refused: GitLab ") {
				t.Errorf("%d: verdict %s", status, v)
			}
		}
		clear := w.sim.Fault(sim.Fault{Method: "GET", Path: regexp.MustCompile(fmt.Sprintf("/users/%d$", w.ann.ID)), Status: 404, Body: `{"message":"404 User Not Found"}`})
		defer clear()
		says(t, w.say(w.ann, "/groundcrew unlock"), "GitLab does not show your account")
	})
}

// A plan that names no stack asks the push policies as a push does: what they ignore is left out, unless it is named or was planned.
func TestCommandPlanAsksPolicies(t *testing.T) {
	speaking(t, func(w *forum) {
		w.stack("edge")
		w.stack("docs")
		w.policy("Quiet", runs.PolicyPush, `ignore contains "not now" if input.stack.name != "none"`, "edge", "network")
		says(t, w.say(w.dan, "/groundcrew plan"), "network` is being planned", "docs` is being planned", "edge` is left out: a policy says so")
		says(t, w.say(w.dan, "/groundcrew plan edge"), "edge` is being planned")
	})
}

// forge stores the delivery of a comment that GitLab did not send.
func (w *forum) forge(note, author int64, text, action string) store.Delivery {
	w.t.Helper()
	attributes := map[string]any{"id": note, "note": text, "noteable_type": "MergeRequest", "author_id": author, "action": action, "internal": action == "internal"}
	switch action {
	case "internal":
		attributes["action"] = "create"
	case "Commit":
		attributes["action"], attributes["noteable_type"] = "create", "Commit"
	}
	body, err := json.Marshal(map[string]any{
		"object_kind": "note", "event_type": "note", "user": map[string]any{"id": author, "username": "ann"}, "project_id": w.project.ID,
		"object_attributes": attributes,
		"merge_request":     map[string]any{"iid": w.mr.IID, "state": "merged", "target_project_id": w.project.ID, "source_project_id": w.project.ID},
	})
	w.do(err)
	d, _, err := w.world.st.AddDelivery(store.Delivery{Event: "Note Hook", Headers: map[string]string{"X-Gitlab-Event": "Note Hook"}}, body)
	w.do(err)
	return d
}

// by makes a request to GitLab's API as a person.
func (w *forum) by(who sim.User, method, path string, body map[string]any) map[string]any {
	w.t.Helper()
	raw, err := json.Marshal(body)
	w.do(err)
	token := w.sim.AddToken(who.ID, "hers", []string{"api"}, time.Now().AddDate(0, 1, 0))
	r := httptest.NewRequest(method, fmt.Sprintf("/api/v4/projects/%d/merge_requests/%d%s", w.project.ID, w.mr.IID, path), bytes.NewReader(raw))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.sim.ServeHTTP(rec, r)
	var out map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code >= 300 {
		w.t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	w.sim.WaitHooks()
	return out
}

func (w *forum) edit(who sim.User, note int64, text string) {
	w.by(who, "PUT", fmt.Sprintf("/notes/%d", note), map[string]any{"body": text})
}

// A fork's commit runs after a Maintainer named it, and no other.
func TestCommandReleasesForks(t *testing.T) {
	speaking(t, func(w *forum) {
		fork, err := w.sim.AddFork(w.project.ID, "eve/network")
		w.do(err)
		head, err := w.sim.Push(fork.ID, "theirs", "From outside", map[string]string{"x.tf": "theirs"})
		w.do(err)
		iid, err := w.sim.OpenForkMergeRequest(w.project.ID, fork.ID, "theirs", "main", "From outside", w.ann.ID)
		w.do(err)
		w.settle()
		w.mr, w.head = &runs.MergeRequest{IID: iid}, head
		before := len(w.runsOf(runs.Proposed))
		says(t, w.say(w.dan, "/groundcrew plan "+head[:8]), "A Maintainer has to release commit "+head[:8])
		says(t, w.say(w.ann, "/groundcrew plan"), "by its whole id", "/groundcrew plan "+head)
		says(t, w.say(w.ann, "/groundcrew plan "+head[:8]), "by its whole id", "/groundcrew plan "+head)
		says(t, w.say(w.ann, "/groundcrew plan "+head[:39]), "by its whole id", "/groundcrew plan "+head)
		says(t, w.say(w.ann, "/groundcrew plan 0123456789abcdef"), "and you named 0123456789abcdef")
		if n := len(w.runsOf(runs.Proposed)); n != before {
			t.Fatalf("%d runs more", n-before)
		}
		says(t, w.say(w.ann, "/groundcrew plan network "+head), "is being planned")
		if e := w.audited("merge_request.release"); len(e) != 1 || e[0].Note != head || e[0].By != fmt.Sprintf("@ann (GitLab %d)", w.ann.ID) {
			t.Errorf("audit log: %+v", e)
		}
		w.finish("network", runs.Proposed, "f")
		says(t, w.say(w.dan, "/groundcrew plan"), "is being planned")
		next, err := w.sim.Push(fork.ID, "theirs", "More", map[string]string{"x.tf": "more"})
		w.do(err)
		w.settle()
		says(t, w.say(w.dan, "/groundcrew plan"), "A Maintainer has to release commit "+next[:8])
	})
}

// A release is for the commit that waits, also when another one comes while GitLab is asked what it changes.
func TestReleaseOfACommitThatMoves(t *testing.T) {
	speaking(t, func(w *forum) {
		fork, err := w.sim.AddFork(w.project.ID, "eve/network")
		w.do(err)
		head, err := w.sim.Push(fork.ID, "theirs", "From outside", map[string]string{"x.tf": "theirs"})
		w.do(err)
		iid, err := w.sim.OpenForkMergeRequest(w.project.ID, fork.ID, "theirs", "main", "From outside", w.ann.ID)
		w.do(err)
		w.settle()
		before := len(w.runsOf(runs.Proposed))
		clear := w.sim.Fault(sim.Fault{Method: "GET", Path: regexp.MustCompile("/diffs$"), Delay: 20 * time.Second})
		defer clear()
		moved := make(chan error)
		go func() {
			time.Sleep(time.Second)
			_, err := w.sim.Push(fork.ID, "theirs", "More", map[string]string{"x.tf": "more"})
			moved <- err
		}()
		if _, err := w.e.Release(w.t.Context(), w.project.ID, iid, head, "ann"); err == nil || !strings.Contains(err.Error(), "does not wait for a release") {
			t.Errorf("released: %v", err)
		}
		w.do(<-moved)
		if n := len(w.runsOf(runs.Proposed)); n != before || len(w.audited("merge_request.release")) != 0 {
			t.Errorf("%d runs more, or a release in the audit log", n-before)
		}
	})
}
