package bottle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
)

// A law is a policy as the driver knows it: from when until when it surely was what it is. Each change of a policy is another law,
// and its text says which.
type law struct {
	slug  string
	of    runs.PolicyType
	n     int
	off   bool
	from  time.Time // when the change was answered
	until time.Time // when the next change was sent; zero: it was not
	sure  bool      // it was answered
}

// covers reports whether the law surely was in force at a moment, and had been since another.
func (b law) covers(since, at time.Time) bool {
	return b.sure && !b.off && b.from.Before(since) && (b.until.IsZero() || b.until.After(at))
}

// An answered is what a process said of a run.
type answered struct {
	life    *life
	slug    string
	law     int
	of      runs.PolicyType
	run     string
	at      time.Time
	outcome runs.PolicyOutcome // an error is what it must lead to
}

var lawMark = regexp.MustCompile(`(?m)^# law (\d+) takes (\S+)(?: and (\S+))?$`)

// court is the process that policies are asked in, on this server's machine: the text says how long it takes and whether it breaks.
func (l *life) court(ctx context.Context, question io.Reader, reply io.Writer) error {
	raw, err := io.ReadAll(question)
	if err != nil {
		return err
	}
	dead := func() error {
		<-ctx.Done()
		return ctx.Err()
	}
	if l.step() != nil {
		return dead()
	}
	head, input, _ := bytes.Cut(raw, []byte("\n"))
	var q struct {
		Policy runs.Policy
		Ask    bool
	}
	var in struct{ Run struct{ ID string } }
	if err := json.Unmarshal(head, &q); err != nil {
		return err
	}
	if !q.Ask {
		return policy.Respond(bytes.NewReader(raw), reply)
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return err
	}
	mark := lawMark.FindStringSubmatch(q.Policy.Body)
	n, _ := strconv.Atoi(mark[1])
	takes, _ := time.ParseDuration(mark[2])
	said := answered{life: l, slug: q.Policy.Slug, law: n, of: q.Policy.Type, run: in.Run.ID}
	select {
	case <-ctx.Done():
		said.outcome = broken(said.of)
		l.w.heard(said)
		return ctx.Err()
	case <-time.After(takes):
	}
	var out bytes.Buffer
	said.outcome = broken(said.of)
	switch mark[3] {
	case "breaks":
		err = errors.New("exit status 2")
	case "babbles":
		out.WriteString(`{"answer":`)
	default:
		err = policy.Respond(bytes.NewReader(raw), &out)
		said.outcome = decided(said.of, out.Bytes())
	}
	if l.step() != nil {
		return dead()
	}
	l.w.heard(said)
	if err == nil {
		_, err = reply.Write(out.Bytes())
	}
	return err
}

// broken is what a policy that cannot be asked must lead to.
func broken(of runs.PolicyType) runs.PolicyOutcome {
	if of == runs.PolicyPlan {
		return runs.OutcomeDeny
	}
	return runs.OutcomeUndecided
}

// decided is what an answer must lead to.
func decided(of runs.PolicyType, raw []byte) runs.PolicyOutcome {
	var r struct {
		Answer         policy.Answer
		Error, Invalid string
	}
	switch err := json.Unmarshal(raw, &r); {
	case err != nil, r.Error != "", r.Invalid != "":
		return broken(of)
	case len(r.Answer.Deny) > 0:
		return runs.OutcomeDeny
	case len(r.Answer.Warn) > 0:
		return runs.OutcomeWarn
	case len(r.Answer.Reject) > 0:
		return runs.OutcomeReject
	case r.Answer.Approve:
		return runs.OutcomeApprove
	case of == runs.PolicyPlan:
		return runs.OutcomeAllow
	}
	return runs.OutcomeUndecided
}

func (w *world) heard(a answered) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.at = time.Now()
	w.guard.answers = append(w.guard.answers, a)
	w.tracef("policy", "%s of law %d says %s of %s", a.slug, a.law, a.outcome, w.names[a.run])
}

// rules are what policies of a type may say.
var rules = map[runs.PolicyType][]string{
	runs.PolicyPlan: {
		`deny contains "never" if input.delta.destroy > 1000`,
		`deny contains "no changes" if input.delta.change > 0`,
		`deny contains "nothing is destroyed" if input.delta.destroy > 0`,
		`warn contains "look at it" if input.delta.add + input.delta.change > 0`,
		`deny contains 1`,
	},
	runs.PolicyApproval: {
		`approve if true`,
		`approve if count(input.reviews.approvals) >= 1`,
		`approve if count(input.reviews.approvals) >= 2`,
		"approve if count(input.reviews.rejections) == 0\nreject contains \"somebody is against it\" if count(input.reviews.rejections) > 0",
		`approve if input.delta.add > 1000`,
		`approve contains 1`,
	},
	runs.PolicyTrigger: {
		`trigger contains "site" if input.stack.slug == "net"`,
		`trigger contains stack.slug if some stack in input.stacks`,
		`trigger contains "nowhere"`,
	},
}

var lawTypes = []runs.PolicyType{runs.PolicyPlan, runs.PolicyPlan, runs.PolicyPlan, runs.PolicyApproval, runs.PolicyApproval, runs.PolicyTrigger}

// text is one that a policy may have: the number of its law, how it behaves, and what it says.
func (w *world) text(n int, of runs.PolicyType) string {
	rule, _ := one(w, rules[of])
	takes, how := w.upTo(2*time.Second), ""
	switch d := w.rng.IntN(20); {
	case d == 0:
		takes = time.Minute // it is cut off
	case d == 1:
		how = " and breaks"
	case d == 2:
		how = " and babbles"
	case d < 8:
		takes = time.Millisecond
	}
	return lawText(n, takes, how, rule)
}

func lawText(n int, takes time.Duration, how, rule string) string {
	return fmt.Sprintf("package groundcrew\n\n# law %d takes %s%s\n%s\n", n, takes, how, rule)
}

// legislate makes, changes or deletes a policy.
func (w *world) legislate() {
	of, _ := one(w, lawTypes)
	w.legislateOf(of)
}

// overtake lets somebody say yes just as an approval policy is changed: it has to be asked again first.
func (w *world) overtake() {
	w.legislateOf(runs.PolicyApproval)
	w.sleep(time.Millisecond) // so that it is known which came first
	w.confirm()
}

func (w *world) legislateOf(of runs.PolicyType) {
	w.guard.laws++
	n := w.guard.laws
	body, off, byHand, deletes := w.text(n, of), w.chance(15), w.chance(20), w.chance(15)
	slug := string(of) + "-" + strconv.Itoa(w.rng.IntN(2))
	st, _ := one(w, w.stacks())
	in := map[string]any{"body": body, "off": off, "labels": []string{runs.AutoAttach + "*"}, "stacks": []string{}}
	if byHand && st != nil {
		in["labels"], in["stacks"] = []string{}, []string{st.Slug}
	}
	b := law{slug: slug, of: of, n: n, off: off || byHand} // of what is attached by hand nothing is sure
	switch {
	case deletes:
		b.off = true
		w.enact(b, "DELETE", "/policies/"+slug, nil, "policy.delete")
	case w.policyThere(slug):
		w.enact(b, "PATCH", "/policies/"+slug, in, "policy.update")
	default:
		in["name"], in["type"] = slug, of
		w.enact(b, "POST", "/policies", in, "policy.create")
	}
}

func (w *world) policyThere(slug string) bool {
	status, _ := w.api("GET", "/policies/"+slug, nil)
	return status == 200
}

// enact changes a policy, and remembers from when until when what holds.
func (w *world) enact(b law, method, path string, in map[string]any, action string) {
	sent := time.Now()
	w.mu.Lock()
	last := slices.IndexFunc(w.guard.law, func(o law) bool { return o.slug == b.slug && o.until.IsZero() })
	if last >= 0 {
		w.guard.law[last].until = sent
	}
	w.mu.Unlock()
	var body any
	if in != nil {
		body = in
	}
	status, _ := w.api(method, path, body)
	w.did(status, action, b.slug)
	w.trace("person", "%s %s as law %d, off %v: %d: %v", method, path, b.n, b.off, status, in["body"])
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case status/100 == 2:
		b.from, b.sure = time.Now(), true
		w.guard.law = append(w.guard.law, b)
	case status/100 == 4 && last >= 0: // it is as it was
		old := w.guard.law[last]
		old.from, old.until = time.Now(), time.Time{}
		w.guard.law = append(w.guard.law, old)
	}
}

// repeal makes all policies harmless, each in its way.
func (w *world) repeal() {
	for _, of := range []runs.PolicyType{runs.PolicyPlan, runs.PolicyApproval, runs.PolicyTrigger} {
		for i := range 2 {
			slug := string(of) + "-" + strconv.Itoa(i)
			if !w.policyThere(slug) {
				continue
			}
			w.guard.laws++
			n := w.guard.laws
			rule := map[runs.PolicyType]string{runs.PolicyPlan: rules[of][0], runs.PolicyApproval: rules[of][1], runs.PolicyTrigger: rules[of][2]}[of]
			in := map[string]any{"body": lawText(n, time.Second, "", rule), "off": false, "labels": []string{runs.AutoAttach + "*"}, "stacks": []string{}}
			w.enact(law{slug: slug, of: of, n: n}, "PATCH", "/policies/"+slug, in, "policy.update")
		}
	}
}

// passedPlan checks what plan policies said of a plan that the server took in: all that surely concern it were asked, none of
// them forbids it, and where one warns no machine says yes. The caller holds mu.
func (w *world) passedPlan(l *life, r runs.Run, t runs.Transition, since time.Time) {
	if t.State == runs.Failed {
		return
	}
	last := map[string]answered{}
	for _, a := range w.guard.answers {
		if a.life == l && a.run == r.ID && a.of == runs.PolicyPlan && !a.at.Before(since) && !a.at.After(t.At) {
			last[a.slug] = a
		}
	}
	for slug, a := range last {
		if a.outcome == runs.OutcomeDeny {
			w.broken = append(w.broken, fmt.Sprintf("%s is %s although %s forbids it", w.names[r.ID], t.State, slug))
		}
		if a.outcome == runs.OutcomeWarn && t.State == runs.Applying {
			w.broken = append(w.broken, fmt.Sprintf("%s applies by itself although %s warns", w.names[r.ID], slug))
		}
	}
	for _, b := range w.guard.law {
		if b.of == runs.PolicyPlan && b.covers(since, t.At) && last[b.slug].law != b.n {
			w.broken = append(w.broken, fmt.Sprintf("%s is %s, and law %d of %s was not asked of its plan", w.names[r.ID], t.State, b.n, b.slug))
		}
	}
}

// allApprove checks that every approval policy that surely concerned a run as it went on had approved the plan it had. What a policy says
// later may be about how things were before. The caller holds mu.
func (w *world) allApprove(r runs.Run, since, at time.Time) {
	for _, b := range w.guard.law {
		if b.of != runs.PolicyApproval || !b.covers(at, at) {
			continue
		}
		approved := slices.ContainsFunc(w.guard.answers, func(a answered) bool {
			return a.slug == b.slug && a.law == b.n && a.run == r.ID && a.outcome == runs.OutcomeApprove && !a.at.Before(since) && !a.at.After(at)
		})
		if !approved {
			w.broken = append(w.broken, fmt.Sprintf("%s goes on, and law %d of %s does not approve it", w.names[r.ID], b.n, b.slug))
		}
	}
}

// followed: of each run that ended, trigger policies started another stack's run once at most.
func (w *world) followed(list []runs.Run) {
	begun := map[string]bool{}
	for _, r := range list {
		note := r.Transitions[0].Note
		if r.Trigger != runs.ByPolicy || !strings.HasPrefix(note, "a trigger policy asks") {
			continue
		}
		key := r.Stack + " " + note
		if begun[key] {
			w.breakf("%s is a second run that follows one and the same: %s", w.name(r.ID), w.plain(note))
		}
		begun[key] = true
	}
}
