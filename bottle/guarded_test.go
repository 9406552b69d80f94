package bottle

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// Days of the fourth kind, with seeds from guardedKind on, are of the third kind, and stacks ask for approvals, policies judge, and
// people are told what waits.
const guardedKind = 3_000_000

func (w *world) guarded() bool { return w.seed >= guardedKind }

// guardedActs happen on days of the fourth kind only.
func guardedActs() []act {
	return []act{
		{160, "approve", (*world).approve},
		{25, "reject", (*world).reject},
		{60, "confirm", (*world).confirm},
		{40, "push", (*world).push},
		{25, "merge", (*world).moveMR},
		{40, "start", (*world).start},
		{20, "needs", (*world).changeNeed},
		{50, "policy", (*world).legislate},
		{40, "overtake", (*world).overtake},
		{8, "leave", (*world).leave},
		{8, "autodeploy", (*world).autodeploy},
		{35, "crash while asking", (*world).crashSoon},
	}
}

// A guard is what the driver knows of approvals and policies. What servers and people use of it at once is guarded by world.mu.
type guard struct {
	people  []*reviewer
	reviews []review
	needs   map[string][]span   // of stacks
	spends  []spend             // what used reviews up
	laws    int                 // how many there were
	law     []law               // oldest first
	answers []answered          // oldest first
	told    map[string]told     // by id of the message
	old     map[string]runs.Run // as somebody saw them, to be approved late
}

// A reviewer is a person with an account here, or the program that has their key.
type reviewer struct {
	name  string // of the person
	by    string // as the product calls the key
	key   string
	id    string
	gone  []span // when they were disabled, as far as is known
	inLab int64  // their account in GitLab
}

// A span is a value that something may have had from one moment to another.
type span struct {
	value       int
	from, until time.Time // until zero: to this day
}

func (s span) covers(at time.Time) bool {
	return !s.from.After(at) && (s.until.IsZero() || !s.until.Before(at))
}

// least is the smallest value there may have been at a moment.
func least(list []span, at time.Time) int {
	n := -1
	for _, s := range list {
		if s.covers(at) && (n < 0 || s.value < n) {
			n = s.value
		}
	}
	return max(n, 0)
}

// setNeed sends what changes how many approvals a stack asks for, and remembers what it may be from when on.
func (w *world) setNeed(slug string, n int, send func() int) {
	w.mu.Lock()
	before := len(w.guard.needs[slug])
	w.guard.needs[slug] = append(w.guard.needs[slug], span{value: n, from: time.Now()})
	w.mu.Unlock()
	status := send()
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.guard.needs[slug]
	switch {
	case status/100 == 2:
		for i := range list[:before] {
			if list[i].until.IsZero() {
				list[i].until = time.Now()
			}
		}
	case status/100 == 4:
		list[before].until = time.Now()
	}
}

// appoint brings the people who review, and the channel that tells them.
func (w *world) appoint() {
	if !w.guarded() {
		return
	}
	w.guard.needs, w.guard.told, w.guard.old = map[string][]span{}, map[string]told{}, map[string]runs.Run{}
	lab := w.sim.AddUser("cai", "Cai Roth", false)
	for _, p := range w.projects {
		w.sim.AddMember(p.ID, lab.ID, sim.Maintainer)
	}
	for _, p := range []*reviewer{{name: "ada", inLab: w.ada.ID}, {name: "bea"}, {name: "cai", inLab: lab.ID}, {name: "dov"}, {name: "eli"}} {
		p.by = "API key of-" + p.name
		err := w.alive().st.Update(func(tx *store.Tx) error {
			u, err := tx.PutUser(store.User{Name: p.name, Role: store.Writer, GitLabID: p.inLab})
			if err != nil {
				return err
			}
			p.id = u.ID
			_, p.key, err = tx.AddAPIKey(store.APIKey{Name: "of-" + p.name, Role: store.Writer, Owner: u.ID})
			return err
		})
		if err != nil {
			w.breakf("%s cannot be appointed: %v", p.name, err)
		}
		w.guard.people = append(w.guard.people, p)
	}
	w.must("POST", "/notifications", map[string]any{
		"name": "all", "kind": "webhook", "url": "https://bell.invalid/", "enabled": true, "events": []runs.Topic{runs.OnWaiting}, "give_up_minutes": 7 * 24 * 60,
	})
}

// start lets one of the people ask for a run or for one more like an earlier one, so that they have no say in it.
func (w *world) start() {
	p, _ := one(w, w.guard.people)
	st, ok := one(w, w.stacks())
	r, ended := one(w, w.runsIn(func(r runs.Run) bool { return r.State.Terminal() && r.Type != runs.Proposed }))
	again := w.chance(40)
	body := map[string]any{"type": "tracked"}
	if w.chance(15) {
		body = map[string]any{"type": "task", "command": "task"}
	}
	if !ok {
		return
	}
	path := "/stacks/" + st.Slug + "/runs"
	if again && ended {
		path, body = "/runs/"+r.ID+"/retry", map[string]any{}
	}
	status, out := w.apiAs(p.key, "POST", path, body)
	w.didBy(p.by, status, "run.queued", fmt.Sprint(out["id"]))
	w.trace(p.name, "starts %s: %d", w.plain(path), status)
}

// changeNeed changes how many approvals a stack asks for.
func (w *world) changeNeed() {
	st, ok := one(w, w.stacks())
	n := w.rng.IntN(4)
	if !ok {
		return
	}
	w.setNeed(st.Slug, n, func() int {
		status, _ := w.api("PATCH", "/stacks/"+st.Slug, map[string]any{"approvals": n})
		w.did(status, "stack.update", st.Slug)
		w.trace("person", "lets %s ask for %d approvals: %d", st.Slug, n, status)
		return status
	})
}

// leave lets a person leave, or come back.
func (w *world) leave() {
	p := w.guard.people[1+w.rng.IntN(len(w.guard.people)-1)]
	away := len(p.gone) > 0 && p.gone[len(p.gone)-1].until.IsZero()
	w.letIn(p, away)
}

func (w *world) letIn(p *reviewer, back bool) {
	if n := len(p.gone); n > 0 && back {
		w.mu.Lock()
		p.gone[n-1].until = time.Now()
		w.mu.Unlock()
	}
	status, _ := w.api("PATCH", "/users/"+p.id, map[string]any{"disabled": !back})
	w.trace("person", "lets %s in %v: %d", p.name, back, status)
	if status/100 == 2 && !back {
		w.mu.Lock()
		p.gone = append(p.gone, span{value: 1, from: time.Now()})
		w.mu.Unlock()
	}
}

// crashSoon lets the server die in the next few contacts, with or without its machine: where a policy is asked, most likely.
func (w *world) crashSoon() {
	how := death{machine: w.chance(20), down: w.upTo(time.Minute)}
	after := 1 + w.rng.IntN(12)
	w.trace("fate", "lets the server die in %d contacts, machine %v, for %s", after, how.machine, how.down)
	w.kill(after, how)
}

// A told is a message about what waits.
type told struct{ run, title string }

// A bell is the way to people. It implements [http.RoundTripper] and loses some of what it carries, or the answer.
type bell struct{ l *life }

func (b bell) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := b.l.step(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w := b.l.w
	dice := w.dice(append(body, r.Header.Get("webhook-id")...)) % 10
	status := http.StatusNoContent
	if dice == 0 {
		status = http.StatusServiceUnavailable
	} else {
		w.ring(r.Header.Get("webhook-id"), string(body))
	}
	if err := b.l.step(); err != nil || dice == 1 {
		return nil, io.ErrUnexpectedEOF // it arrived, and nobody here knows
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: http.NoBody, Request: r, Header: http.Header{}}, nil
}

// heal of the fourth kind: everybody is back, policies are harmless, and what waits can be approved.
func (w *world) healGuard() {
	if !w.guarded() {
		return
	}
	for _, p := range w.guard.people {
		w.letIn(p, true)
	}
	w.repeal()
}

func (w *world) personOf(by string) *reviewer {
	for _, p := range w.guard.people {
		if by == p.by || p.inLab != 0 && (by == p.name || strings.HasPrefix(by, "@"+p.name+" ")) {
			return p
		}
	}
	return nil
}
