package bottle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A review is what a person said of what a run would do, as it was sent and answered.
type review struct {
	who                *reviewer
	stack, fingerprint string
	decision           runs.Decision
	sent, done         time.Time // done zero: no answer yet
	status             int       // 0: it was lost, so nobody knows
}

func (v review) counted() bool { return v.status/100 == 2 }
func (v review) refused() bool { return v.status/100 == 4 }

// A spend is what used reviews up: the run that went on with them, was discarded, or was refused by a policy.
type spend struct {
	stack, fingerprint, run string
	at                      time.Time
}

// of reports whether the spend may have used up a review by a moment, before another run goes on.
func (s spend) of(v review, run string, at time.Time) bool {
	return s.run != run && s.stack == v.stack && s.fingerprint == v.fingerprint && !s.at.Before(v.sent) && !s.at.After(at)
}

func (w *world) approve() {
	p, _ := one(w, w.guard.people)
	late := w.chance(15)
	list := w.runsIn(func(r runs.Run) bool { return r.Reviewable() == nil && (r.NeedsPerson() || r.State.Terminal()) })
	if waiting := keep(list, func(r runs.Run) bool { return r.NeedsPerson() }); len(waiting) > 0 {
		list = waiting // what has ended is approved before it waits, at times
	}
	r, ok := one(w, list)
	if !ok {
		return
	}
	if seen, known := w.guard.old[r.ID]; known && late {
		r = seen
	}
	w.guard.old[r.ID] = r
	w.review(p, r, runs.Approve)
}

func keep[T any](list []T, which func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return !which(x) })
}

func (w *world) reject() {
	p, _ := one(w, w.guard.people)
	r, ok := one(w, w.runsIn(func(r runs.Run) bool { return r.Reviewable() == nil && r.NeedsPerson() }))
	if ok {
		w.review(p, r, runs.Reject)
	}
}

// review lets a person say what they think of the run as they saw it.
func (w *world) review(p *reviewer, r runs.Run, d runs.Decision) int {
	w.mu.Lock()
	i := len(w.guard.reviews)
	w.guard.reviews = append(w.guard.reviews, review{who: p, stack: r.Stack, fingerprint: r.Fingerprint, decision: d, sent: time.Now()})
	w.mu.Unlock()
	status, out := w.apiAs(p.key, "POST", "/runs/"+r.ID+"/"+string(d), map[string]any{"fingerprint": r.Fingerprint})
	w.mu.Lock()
	w.guard.reviews[i].done, w.guard.reviews[i].status = time.Now(), status
	w.mu.Unlock()
	w.didBy(p.by, status, "run."+string(d), r.ID)
	w.trace(p.name, "%ss %s: %d %v", d, w.name(r.ID), status, out["error"])
	return status
}

// movedGuarded looks at one transition of a run for what approvals and policies allow. The caller holds mu.
func (w *world) movedGuarded(l *life, tx *store.Tx, r runs.Run, i int) {
	if !w.guarded() {
		return
	}
	t, before, since := r.Transitions[i], runs.None, time.Time{}
	for _, o := range r.Transitions[:i] {
		if before = o.State; o.State == runs.Planning {
			since = o.At
		}
	}
	if before == runs.Planning && (t.State == runs.Unconfirmed || t.State == runs.Applying || t.State == runs.Finished) {
		w.passedPlan(l, r, t, since)
	}
	atOnce := r.Type == runs.Task || r.Type == runs.Destroy
	goesOn := t.State == runs.Confirmed || t.State == runs.Applying && before != runs.Confirmed || t.State == runs.Preparing && atOnce
	if goesOn {
		w.mayGoOn(tx, r, since, t.At)
	}
	refused := t.State == runs.Failed && (before == runs.Unconfirmed || before == runs.Queued) && strings.HasPrefix(t.Note, "The policy “")
	if goesOn || refused || t.State == runs.Discarded {
		w.guard.spends = append(w.guard.spends, spend{r.Stack, r.Fingerprint, r.ID, t.At})
	}
}

// mayGoOn checks that a run which goes on to what changes the world has the approvals it needs, and that nobody is against it.
func (w *world) mayGoOn(tx *store.Tx, r runs.Run, since, at time.Time) {
	w.allApprove(r, since, at)
	need := least(w.guard.needs[r.Stack], at)
	if need == 0 {
		return
	}
	authors, unknown := w.authors(tx, r)
	var approved []string
	for _, p := range w.guard.people {
		if !slices.Contains(authors, p) && w.mayApprove(p, r, at) {
			approved = append(approved, p.name)
		}
		if v := w.against(p, r, at); v != nil {
			w.broken = append(w.broken, fmt.Sprintf("%s goes on, and %s rejected it at %s", w.names[r.ID], p.name, v.sent.Sub(w.began)))
		}
	}
	if len(approved) < need+unknown {
		w.broken = append(w.broken, fmt.Sprintf("%s goes on with approvals of %v, and %d and %d more are needed", w.names[r.ID], approved, need, unknown))
	}
}

// authors are those who started a run and those it repeats, and whether there is one that nobody knows.
func (w *world) authors(tx *store.Tx, r runs.Run) (list []*reviewer, unknown int) {
	for {
		if p := w.personOf(r.TriggeredBy); p != nil {
			list = append(list, p)
		} else if r.TriggeredBy == person {
			unknown = 1
		}
		id := r.RetryOf + r.PromotedOf
		if id == "" {
			return list, unknown
		}
		var err error
		if r, err = tx.Run(id); err != nil {
			w.broken = append(w.broken, fmt.Sprintf("a run that is repeated cannot be read: %v", err))
			return list, unknown
		}
	}
}

// mayApprove reports whether an approval of a person may be there that counts for the run at a moment.
func (w *world) mayApprove(p *reviewer, r runs.Run, at time.Time) bool {
	if least(p.gone, at) > 0 && !slices.ContainsFunc(p.gone, func(s span) bool { return s.from.Equal(at) || s.until.Equal(at) }) {
		return false
	}
	return slices.ContainsFunc(w.guard.reviews, func(v review) bool {
		return v.who == p && v.decision == runs.Approve && v.stack == r.Stack && v.fingerprint == r.Fingerprint && !v.sent.After(at) && !v.refused() && !w.over(v, r, at)
	})
}

// over reports whether a review surely does not count any more.
func (w *world) over(v review, r runs.Run, at time.Time) bool {
	if v.done.IsZero() {
		return false
	}
	return slices.ContainsFunc(w.guard.spends, func(s spend) bool { return s.of(v, r.ID, at) && s.at.After(v.done) && s.at.Before(at) }) ||
		slices.ContainsFunc(w.guard.reviews, func(o review) bool {
			return o.who == v.who && o.stack == v.stack && o.fingerprint == v.fingerprint && o.decision != v.decision && o.counted() && o.sent.After(v.done) && o.done.Before(at)
		})
}

// against is a rejection of a person that surely stands.
func (w *world) against(p *reviewer, r runs.Run, at time.Time) *review {
	for i, v := range w.guard.reviews {
		if v.who == p && v.decision == runs.Reject && v.stack == r.Stack && v.fingerprint == r.Fingerprint && v.counted() && v.done.Before(at) && w.stands(v, r.ID, at) {
			return &w.guard.reviews[i]
		}
	}
	return nil
}

// stands reports whether nothing can have taken the place of a review by a moment.
func (w *world) stands(v review, run string, at time.Time) bool {
	return !slices.ContainsFunc(w.guard.spends, func(s spend) bool { return s.of(v, run, at) }) &&
		!slices.ContainsFunc(w.guard.reviews, func(o review) bool {
			return o != v && o.who == v.who && o.stack == v.stack && o.fingerprint == v.fingerprint && !o.refused() && !o.sent.Before(v.sent) && !o.sent.After(at)
		})
}

// remembered: what a person said, and was told that it counts, need not be said again, whatever dies meanwhile.
func (w *world) remembered() {
	if !w.guarded() {
		return
	}
	w.view(func(tx *store.Tx) error {
		active, err := tx.Active("")
		for _, r := range active {
			if err != nil || !r.NeedsPerson() {
				continue
			}
			st, errStack := tx.Stack(r.Stack)
			if errStack != nil {
				continue
			}
			kept, errReviews := tx.Reviews(r.Stack, r.Fingerprint)
			if err = errReviews; err == nil {
				w.lost(st, *r, append(kept, r.Reviews...))
			}
		}
		return err
	})
}

func (w *world) lost(st runs.Stack, r runs.Run, kept []runs.Review) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.guard.reviews {
		if v.stack != r.Stack || v.fingerprint != r.Fingerprint || !v.counted() || v.sent.Before(st.CreatedAt) || !w.stands(v, "", time.Now()) {
			continue
		}
		there := slices.ContainsFunc(kept, func(k runs.Review) bool { return k.Person.User == v.who.id && k.Decision == v.decision })
		if !there {
			w.broken = append(w.broken, fmt.Sprintf("what %s said of %s at %s is forgotten", v.who.name, w.names[r.ID], v.sent.Sub(w.began)))
		}
	}
}

// ring remembers a message about what waits.
func (w *world) ring(id, body string) {
	var m struct {
		Type string
		Data struct{ Run, Title string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || m.Type != string(runs.OnWaiting) {
		w.breakf("a message is none: %s", body)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := told{m.Data.Run, m.Data.Title}
	if was, known := w.guard.told[id]; known && was != now {
		w.broken = append(w.broken, fmt.Sprintf("a message says %q, and then %q", was.title, now.title))
	}
	w.guard.told[id] = now
	w.tracef("bell", "%s: %s", w.names[now.run], now.title)
}

// asks: people are asked for each plan that waits, and for their approval once.
func (w *world) asks(tx *store.Tx) error {
	if !w.guarded() {
		return nil
	}
	list, err := all(tx)
	w.followed(list)
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, approvals := map[string]int{}, map[string]int{}
	for _, m := range w.guard.told {
		asked[m.run]++
		if strings.Contains(m.title, "waits for approval") {
			approvals[m.run]++
		}
	}
	for _, r := range list {
		waited, begun := 0, 0
		for _, t := range r.Transitions {
			switch t.State {
			case runs.Unconfirmed:
				waited++
			case runs.Queued:
				begun++
			}
		}
		if r.Type == runs.Proposed {
			begun = 0
		}
		if asked[r.ID] < waited || approvals[r.ID] > waited+begun {
			w.broken = append(w.broken, fmt.Sprintf("%s waited %d times for people, and they were told %d times, %d of them to approve", w.names[r.ID], waited, asked[r.ID], approvals[r.ID]))
		}
	}
	return err
}

// settleGuarded lets people approve what waits for that.
func (w *world) settleGuarded() {
	for _, r := range w.runsIn(func(r runs.Run) bool { return r.NeedsPerson() && r.Reviewable() == nil }) {
		if r.State == runs.Queued && w.chance(30) {
			status, _ := w.api("POST", "/runs/"+r.ID+"/discard", map[string]any{})
			w.did(status, "run.discarded", r.ID)
			continue
		}
		for _, p := range w.guard.people {
			w.review(p, r, runs.Approve)
		}
	}
}
