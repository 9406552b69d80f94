package bottle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// again asks for a run that is made of another.
func (w *world) again(path string, which func(runs.Run) bool) {
	r, ok := one(w, w.runsIn(which))
	if !ok {
		return
	}
	status, out := w.api("POST", "/runs/"+r.ID+"/"+path, map[string]any{})
	w.did(status, "run.queued", fmt.Sprint(out["id"]))
	w.trace("person", "%s %s: %d", path, w.name(r.ID), status)
}

func (w *world) retry() { w.again("retry", func(r runs.Run) bool { return r.State.Terminal() }) }

func (w *world) promote() {
	w.again("promote", func(r runs.Run) bool { return r.Type == runs.Proposed && r.State == runs.Finished })
}

// stacks lists the stacks by slug.
func (w *world) stacks() (list []*runs.Stack) {
	w.view(func(tx *store.Tx) (err error) {
		list, err = tx.Stacks()
		return err
	})
	return list
}

func (w *world) createStack(p *project, root string) {
	body := map[string]any{
		"name": root, "project": p.Path, "project_root": root, "tool": "custom", "install_hook": true, "run_promotion": true, "plan": runs.PlanHead,
		"commands": map[string]any{"init": "init", "plan": "plan", "show": "show", "apply": "apply", "destroy": "destroy"},
	}
	if w.chance(30) {
		body["plan"] = runs.PlanMergeResult
	}
	if root == "site" && w.seed%3 == 0 {
		body["release_tags"] = "v*"
	}
	send := func() int {
		status, _ := w.api("POST", "/stacks", body)
		w.did(status, "stack.create", root)
		return status
	}
	status := 0
	if w.guarded() {
		n := w.rng.IntN(3)
		body["approvals"], body["autodeploy"] = n, w.chance(40)
		w.setNeed(root, n, func() int { status = send(); return status })
	} else {
		status = send()
	}
	w.trace("person", "makes the stack %s: %d", root, status)
}

// changeStack deletes one of the stacks or makes one that is not there.
func (w *world) changeStack() {
	have := map[string]bool{}
	for _, st := range w.stacks() {
		have[st.Slug] = true
	}
	for _, p := range w.projects {
		for _, root := range p.roots {
			if !have[root] && w.alive() != nil {
				w.createStack(p, root)
				return
			}
		}
	}
	st, ok := one(w, w.stacks())
	if !ok || w.chance(50) {
		return
	}
	status, _ := w.api("DELETE", "/stacks/"+st.Slug, nil)
	w.did(status, "stack.delete", st.Slug)
	w.trace("person", "deletes the stack %s: %d", st.Slug, status)
}

func (w *world) autodeploy() {
	st, ok := one(w, w.stacks())
	if !ok {
		return
	}
	w.mu.Lock()
	w.names["auto "+st.Slug] = "asked for"
	w.mu.Unlock()
	status, _ := w.api("PATCH", "/stacks/"+st.Slug, map[string]any{"autodeploy": !st.Autodeploy})
	w.did(status, "stack.update", st.Slug)
	w.trace("person", "switches autodeploy of %s to %v: %d", st.Slug, !st.Autodeploy, status)
}

func (w *world) lock() {
	st, ok := one(w, w.stacks())
	if !ok {
		return
	}
	path := "lock"
	if st.LockedBy != "" {
		path = "unlock"
	}
	status, _ := w.api("POST", "/stacks/"+st.Slug+"/"+path, map[string]any{})
	w.did(status, "stack."+path, st.Slug)
	w.trace("person", "%ss %s: %d", path, st.Slug, status)
}

func (w *world) ask(body map[string]any) {
	st, ok := one(w, w.stacks())
	if !ok {
		return
	}
	status, out := w.api("POST", "/stacks/"+st.Slug+"/runs", body)
	w.did(status, "run.queued", fmt.Sprint(out["id"]))
	w.trace("person", "asks for a run of %s %v: %d", st.Slug, body, status)
}

func (w *world) trigger() {
	body := map[string]any{"type": "tracked"}
	if w.chance(30) {
		body["commit"] = "main"
	}
	if w.chance(10) {
		body = map[string]any{"type": "destroy"}
	}
	w.ask(body)
}

func (w *world) task() { w.ask(map[string]any{"type": "task", "command": "task"}) }

func (w *world) replay() {
	var list []store.Delivery
	w.view(func(tx *store.Tx) (err error) {
		list, _, err = tx.Deliveries(store.DeliveryDone, "", 5)
		return err
	})
	d, ok := one(w, list)
	if !ok {
		return
	}
	status, _ := w.api("POST", "/deliveries/"+d.ID+"/replay", nil)
	w.did(status, "delivery.replay", d.ID)
	w.trace("person", "processes a %s of %s again: %d", d.Event, d.ReceivedAt.Sub(w.began), status)
}

func (w *world) workers() {
	n := 1 + w.rng.IntN(3)
	l := w.alive()
	if l == nil {
		return
	}
	err := l.e.SetWorkers(n, person)
	if err == nil {
		w.did(http.StatusOK, "settings.change", "")
	}
	w.trace("person", "sets %d workers: %v", n, err == nil)
}

// forge sends what GitLab did not send.
func (w *world) forge() {
	p := w.anyProject()
	body := fmt.Appendf(nil, `{"object_kind":"push","project":{"id":%d},"ref":"refs/heads/main","after":"%040d"}`, p.ID, w.rng.Uint32())
	r := httptest.NewRequest("POST", address+"/webhooks/gitlab", bytes.NewReader(body))
	r.Header.Set("X-Gitlab-Event", "Push Hook")
	r.Header.Set("X-Gitlab-Token", "guessed")
	resp, err := w.call(r)
	if err == nil && resp.StatusCode != http.StatusUnauthorized {
		w.breakf("a forged delivery is answered %d", resp.StatusCode)
	}
	w.trace("stranger", "forges a delivery")
}

func (w *world) turnWeather() {
	wt := []weather{{}, {lost: 30}, {late: 60}, {lost: 20, late: 40}, {lost: 100}}[w.rng.IntN(5)]
	twice := w.chance(20)
	w.sim.DeliverTwice(twice)
	w.mu.Lock()
	w.weather = wt
	w.mu.Unlock()
	w.trace("network", "loses %d%%, delays %d%%, doubles %v", wt.lost, wt.late, twice)
}

// troubles are what GitLab can do to a request.
var troubles = map[string]sim.Fault{
	"hangs":             {Hang: true},
	"is away":           {Status: 502, Header: sim.Unavailable502HTML().Header, Body: sim.Unavailable502HTML().Body},
	"fails":             {Status: 500, Body: `{"message":"500 Internal Server Error"}`, Header: http.Header{"Content-Type": {"application/json"}}},
	"is busy":           sim.Conflict(),
	"throttles":         sim.Throttled(40 * time.Second),
	"limits":            sim.RateLimitedJSON(),
	"works and cuts":    {CutAfterWork: true},
	"cuts the answer":   {CutAt: 20},
	"is slow":           {Delay: 20 * time.Second},
	"misses a scope":    {Status: 403, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api"}`},
	"does not know":     {Status: 401, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"message":"401 Unauthorized"}`},
	"works, then fails": {CutAfterWork: true},
}

var places = []string{"", "/api/v4/", "/statuses/", "/notes", "/deployments", "/environments", "/merge_requests", "/hooks", `\.git/`, "/repository/"}

// outage is trouble with GitLab, for some requests or for some time.
func (w *world) outage() {
	how, _ := one(w, sortedKeys(troubles))
	where, _ := one(w, places)
	f := troubles[how]
	f.Path = regexp.MustCompile(where)
	if w.chance(40) {
		f.Method, _ = one(w, []string{"GET", "POST", "PUT"})
	}
	times, lasts := 1+w.rng.IntN(6), w.upTo(25*time.Minute)
	if w.chance(50) {
		f.Times = times
		lasts = 2 * time.Hour
	}
	end := w.sim.Fault(f)
	w.trace("gitlab", "%s at %q %s, %d times or %s", how, where, f.Method, f.Times, lasts)
	time.AfterFunc(lasts, end)
	w.ends = append(w.ends, end)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// loseToken revokes the token; somebody brings another one after a while.
func (w *world) loseToken() {
	w.sim.RevokeToken(w.token)
	w.trace("gitlab", "revokes the token")
	w.sleep(w.upTo(20 * time.Minute))
	w.mendToken()
}

func (w *world) mendToken() {
	w.newToken()
	status, _ := w.api("PUT", "/integration", map[string]any{"token": w.token})
	w.did(status, "integration.save", "")
	w.trace("person", "brings a new token: %d", status)
}

// loseMember takes the bot's role in a project away for a while.
func (w *world) loseMember() {
	p := w.anyProject()
	w.sim.AddMember(p.ID, w.bot.ID, 0)
	w.trace("gitlab", "the bot is no member of %s any more", p.Path)
	time.AfterFunc(w.upTo(20*time.Minute), func() { w.sim.AddMember(p.ID, w.bot.ID, sim.Maintainer) })
}

// loseHook lets a person delete our hook in GitLab.
func (w *world) loseHook() {
	p := w.anyProject()
	for _, h := range w.sim.Hooks(p.ID) {
		r := httptest.NewRequest("DELETE", fmt.Sprintf("/api/v4/projects/%d/hooks/%d", p.ID, h.ID), http.NoBody)
		r.Header.Set("Authorization", "Bearer "+w.hers)
		a := <-serve(w.sim, r)
		if a.err == nil {
			w.trace("git", "deletes the hook of %s: %d", p.Path, a.resp.StatusCode)
		}
	}
}

func (w *world) rotateSecret() {
	status, _ := w.api("POST", "/integration/secret/rotate", nil)
	w.did(status, "integration.rotate_secret", "")
	w.trace("person", "rotates the secret: %d", status)
}

// crash lets the server die after some more contacts with the world, or the whole machine.
func (w *world) crash() {
	how := death{machine: w.chance(35), down: w.upTo(2 * time.Minute)}
	if w.chance(20) {
		how.down = w.upTo(20 * time.Minute)
	}
	after := 1 + w.rng.IntN(60)
	w.trace("fate", "lets the server die in %d contacts, machine %v, for %s", after, how.machine, how.down)
	w.kill(after, how)
}

// heal mends everything that is broken, and waits until nothing is owed any more.
func (w *world) heal() {
	w.trace("fate", "mends everything")
	w.mu.Lock()
	w.weather = weather{}
	w.mu.Unlock()
	w.sim.DeliverTwice(false)
	for _, end := range w.ends {
		end()
	}
	w.kill(0, death{})
	for w.alive() == nil {
		w.sleep(time.Minute)
	}
	w.kill(0, death{})
	for _, p := range w.projects {
		w.sim.AddMember(p.ID, w.bot.ID, sim.Maintainer)
	}
	w.mendToken()
	w.healModes()
	w.healGuard()
	for _, p := range w.projects {
		status, _ := w.api("POST", fmt.Sprintf("/projects/%d/hook", p.ID), nil)
		w.did(status, "hook.install", "")
	}
	for _, st := range w.stacks() {
		if st.LockedBy != "" {
			w.api("POST", "/stacks/"+st.Slug+"/unlock", map[string]any{})
		}
	}
	for range 2 { // the second time after everything was compared once more
		w.settle()
		w.sleep(21 * time.Minute)
	}
	w.settle()
}

// settle says yes or no to what waits for a person, and waits for the end of everything.
func (w *world) settle() {
	owed := ""
	for range 12 * 60 {
		if w.isBroken() {
			return
		}
		if w.guarded() {
			w.settleGuarded()
		}
		for _, r := range w.runsIn(in(runs.Unconfirmed)) {
			if w.chance(70) {
				w.say(r)
			} else {
				status, _ := w.api("POST", "/runs/"+r.ID+"/discard", map[string]any{})
				w.did(status, "run.discarded", r.ID)
			}
		}
		for _, r := range w.list("/reports?state=parked") {
			w.api("POST", "/reports/"+fmt.Sprint(r["id"])+"/retry", nil)
			w.trace("person", "tries %v again: %v", w.plain(fmt.Sprint(r["target"])), r["last_error"])
		}
		if owed = w.owed(); owed == "" {
			return
		}
		w.sleep(time.Minute)
	}
	w.breakf("it does not come to rest: %s", owed)
}

func (w *world) list(path string) (items []map[string]any) {
	_, out := w.api("GET", path, nil)
	raw, _ := json.Marshal(out["items"])
	_ = json.Unmarshal(raw, &items) // what is no list is empty
	return items
}

// owed says what is still to be done, "" when nothing is.
func (w *world) owed() (what string) {
	w.view(func(tx *store.Tx) error {
		active, err := tx.Active("")
		if err != nil {
			return err
		}
		for _, r := range active {
			what = fmt.Sprintf("%s is %s", w.name(r.ID), r.State)
		}
		ids, err := tx.Inbox(1)
		if len(ids) > 0 {
			what = fmt.Sprintf("delivery %s waits", ids[0])
		}
		if err != nil {
			return err
		}
		due, err := tx.DueReports()
		if len(due) > 0 {
			what = fmt.Sprintf("%d reports wait: %s: %s", len(due), w.plain(due[0].Target), due[0].LastError)
		}
		parked, _, err2 := tx.Reports(store.ReportParked, "", 10)
		if len(parked) > 0 {
			what = fmt.Sprintf("%d reports are parked: %s: %s", len(parked), w.plain(parked[0].Target), parked[0].LastError)
		}
		if err == nil {
			err = err2
		}
		return err
	})
	return what
}
