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

// troubles are what can happen to a request, each for a while.
var troubles = []struct {
	name  string
	fault sim.Fault
	token bool // it is about the token
}{
	{"500", sim.Fault{Status: 500, Body: `{"message":"500 Internal Server Error"}`, Times: 3}, false},
	{"502 HTML", times(sim.Unavailable502HTML(), 3), false},
	{"hang", sim.Fault{Hang: true, Times: 2}, false},
	{"cut after the work", sim.Fault{CutAfterWork: true, Times: 2}, false},
	{"cut within the answer", sim.Fault{CutAt: 7, Times: 1}, false},
	{"409", times(sim.Conflict(), 3), false},
	{"429 Retry-After", times(sim.Throttled(40*time.Second), 2), false},
	{"429 RateLimit-Reset", sim.Fault{Status: 429, Header: http.Header{"Ratelimit-Reset": {"4102444800"}, "Ratelimit-Remaining": {"0"}}, Body: "Retry later\n", Times: 1}, false},
	{"429 without headers", times(sim.RateLimitedJSON(), 2), false},
	{"401 revoked", sim.Fault{Status: 401, Body: `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`, Times: 4}, true},
	{"403 scope", sim.Fault{Status: 403, Body: `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api"}`, Times: 4}, true},
}

func times(f sim.Fault, n int) sim.Fault { f.Times = n; return f }

// endpoints are the calls the outbox makes.
var endpoints = []struct{ method, path string }{
	{"POST", "/statuses/"},
	{"GET", "/merge_requests/"},
	{"POST", "/notes"},
	{"PUT", "/notes/"},
	{"GET", "/notes"},
	{"POST", "/deployments"},
	{"PUT", "/deployments/"},
	{"GET", "/deployments"},
	{"GET", "/environments"},
	{"POST", "/environments"},
	{"", ""}, // everything
}

// Whatever happens to whichever request: nothing lost, nothing doubled, nothing left pending.
func TestFaultsByMethodAndPath(t *testing.T) {
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(w *world) {
				one := w.push("feature")
				mr := w.openMR("feature")
				two, head := w.push("feature"), w.push("main")
				for i, at := range endpoints {
					f := trouble.fault
					f.Method, f.Path = at.method, regexp.MustCompile(regexp.QuoteMeta(at.path))
					w.through(f, fmt.Sprintf("stack-%02d", i), one, two, head, mr)
					if t.Failed() {
						t.Fatalf("at %s %s", at.method, at.path)
					}
				}
			})
		})
	}
}

// through leads a merge request's runs and a tracked run of a stack of its own through a fault.
func (w *world) through(f sim.Fault, slug, one, two, head string, mr *runs.MergeRequest) {
	w.t.Helper()
	defer w.sim.Fault(f)()
	w.stack(slug)
	p, tr := w.propose(slug, "feature", one, mr), w.track(slug, head)
	time.Sleep(time.Second)
	w.apply(p.ID, planned(runs.Delta{Add: 1}, false)...)
	w.apply(tr.ID, planned(runs.Delta{Add: 1}, true)...)
	time.Sleep(time.Minute)
	w.apply(tr.ID, runs.Done{})
	again := w.propose(slug, "feature", two, mr)
	w.apply(again.ID, planned(runs.Delta{Change: 1}, false)...)
	w.quiet()
	var parked []store.Report
	if err := w.st.View(func(tx *store.Tx) (err error) { parked, _, err = tx.Reports(store.ReportParked, "", 10); return err }); err != nil {
		w.t.Fatal(err)
	}
	for _, r := range parked {
		w.t.Errorf("%s is parked: %s", r.Target, r.LastError)
	}
	for _, r := range []runs.Run{p, tr, again} {
		r = w.run(r.ID)
		state, text := runs.CommitStatus(r)
		if got := w.status(r.Commit.SHA, "groundcrew/"+slug); got.State != string(state) || got.Description != text {
			w.t.Errorf("GitLab shows %s %q, want %s %q", got.State, got.Description, state, text)
		}
	}
	n := 0
	for _, d := range w.sim.Deployments(w.project.ID) {
		if d.Environment == "groundcrew/"+slug {
			if n++; d.Status != "success" {
				w.t.Errorf("the deployment is %s", d.Status)
			}
		}
	}
	environments := 0
	for _, e := range w.sim.Environments(w.project.ID) {
		if e.Name == "groundcrew/"+slug && e.ExternalURL == "https://gc.example/stacks/"+slug {
			environments++
		}
	}
	comments := 0
	for _, note := range w.notes(mr.IID) {
		if strings.Contains(note.Body, marker(slug)) {
			comments++
		}
	}
	if n != 1 || environments != 1 || comments != 1 {
		w.t.Errorf("%d deployments, %d environments, %d comments, want one each", n, environments, comments)
	}
	for _, s := range w.hanging() {
		w.t.Errorf("%s hangs: %s", s.Name, s.State)
	}
}

// A dead token is asked once in a while, by one report, and a new one lets everything go at once.
func TestADeadTokenIsLeftAloneAndANewOneResumesAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		var list []runs.Run
		head := w.push("main")
		for i := range 40 {
			w.stack(fmt.Sprintf("s%02d", i))
			list = append(list, w.track(fmt.Sprintf("s%02d", i), head))
		}
		w.quiet()
		w.sim.RevokeToken(w.token)
		for i, r := range list {
			w.apply(r.ID, planned(runs.Delta{}, false)...)
			list[i] = w.run(r.ID)
		}
		w.calls()
		time.Sleep(time.Hour)
		n := 0
		for _, c := range w.calls() {
			n += c
		}
		if n > 300 {
			t.Errorf("%d requests in an hour with a dead token", n)
		}
		due := w.due()
		if len(due) != 40 || due[0].LastKind != "" && due[0].Mend == "" {
			t.Errorf("%d reports wait; the first: %+v", len(due), due[0])
		}
		w.token = w.sim.AddToken(w.bot.ID, "new", []string{"api"}, time.Now().AddDate(0, 6, 0))
		began := time.Now()
		w.relink(func(in *store.Integration) { in.Token = runs.Secret(w.token) })
		w.quiet()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("resumed after %v", took)
		}
		w.truth(list)
	})
}

// One target's trouble never delays another's.
func TestOneTargetsTroubleStaysItsOwn(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("a")
		w.stack("b")
		bad, good := w.push("main"), w.push("main")
		w.quiet()
		w.sim.Fault(sim.Fault{Hang: true, Path: regexp.MustCompile(bad)})
		w.track("a", bad)
		time.Sleep(10 * time.Minute)
		r := w.track("b", good)
		time.Sleep(2 * time.Second)
		if got := w.status(good, "groundcrew/b"); got.State != "pending" {
			t.Errorf("the other status is %q", got.State)
		}
		_ = r
	})
}

// Comments stay within the limit, however many wait, and statuses do not wait for them.
func TestCommentsAreWithinTheLimit(t *testing.T) {
	inBubble(t, func(w *world) {
		const n, limit = 70, 30
		var list []runs.Run
		sha := w.push("feature")
		mr := w.openMR("feature")
		w.quiet()
		w.e.budget.mu.Lock()
		w.e.budget.notes = limit
		w.e.budget.mu.Unlock()
		w.trouble(func(*http.Request) *http.Response { return refused })
		for i := range n {
			slug := fmt.Sprintf("s%03d", i)
			w.stack(slug)
			r := w.propose(slug, "feature", sha, mr)
			list = append(list, w.apply(r.ID, planned(runs.Delta{}, false)...))
		}
		w.trouble(nil)
		time.Sleep(40 * time.Second)
		for _, r := range list {
			if got := w.status(sha, "groundcrew/"+r.Stack); got.State != "success" {
				t.Fatalf("%s waits for comments", r.Stack)
			}
		}
		w.quiet()
		w.truth(list)
		notes := w.notes(mr.IID)
		for i := limit; i < len(notes); i++ {
			if d := notes[i].CreatedAt.Sub(notes[i-limit].CreatedAt); d < time.Minute {
				t.Errorf("%d comments within %v", limit+1, d)
			}
		}
	})
}

// What GitLab refuses for good is parked with its words, the likely cause and what mends it, and goes when tried again.
func TestRefusalsAreParkedWithWhatMendsThem(t *testing.T) {
	for name, c := range map[string]struct {
		fault              sim.Fault
		target, says, mend string
	}{
		"protected branch":      {sim.Fault{Method: "POST", Path: regexp.MustCompile("/statuses/"), Status: 403, Body: `{"message":"403 Forbidden"}`}, "status", "403", "Protected branches"},
		"job limit":             {sim.Fault{Method: "POST", Path: regexp.MustCompile("/statuses/"), Status: 422, Body: `{"message":"The number of jobs has exceeded the limit"}`}, "status", "jobs has exceeded", "aggregated"},
		"name taken":            {sim.Fault{Method: "POST", Path: regexp.MustCompile("/statuses/"), Status: 400, Body: `{"message":{"name":["has already been taken"]}}`}, "status", "already been taken", "Rename that job"},
		"protected environment": {sim.Fault{Method: "POST", Path: regexp.MustCompile("/deployments"), Status: 403, Body: `{"message":"403 Forbidden"}`}, "deployment", "403", "Protected environments"},
		"locked discussion":     {sim.Fault{Method: "POST", Path: regexp.MustCompile("/notes"), Status: 403, Body: `{"message":"403 Forbidden"}`}, "note", "403", "Unlock the discussion"},
		"environment name":      {sim.Fault{Method: "POST", Path: regexp.MustCompile("/environments"), Status: 400, Body: `{"message":{"name":["can contain only letters"]}}`}, "environment", "only letters", "prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				clear := w.sim.Fault(c.fault)
				w.stack("network")
				sha := w.push("feature")
				p := w.propose("network", "feature", sha, w.openMR("feature"))
				tr := w.track("network", w.push("main"))
				w.apply(p.ID, planned(runs.Delta{Add: 1}, false)...)
				w.apply(tr.ID, planned(runs.Delta{Add: 1}, true)...)
				w.quiet()
				var parked []store.Report
				find := func() {
					w.update(func(tx *store.Tx) (err error) { parked, _, err = tx.Reports(store.ReportParked, "", 10); return err })
				}
				find()
				if len(parked) == 0 {
					t.Fatal("nothing is parked")
				}
				for _, r := range parked {
					if r.Kind != c.target || !strings.Contains(r.LastError, c.says) || r.Cause == "" || !strings.Contains(r.Mend, c.mend) {
						t.Errorf("parked: %+v", r)
					}
				}
				clear()
				for _, r := range parked {
					w.update(func(tx *store.Tx) error { _, err := tx.RetryReport(r.Target); return err })
				}
				w.quiet()
				if find(); len(parked) != 0 {
					t.Errorf("after another try: %+v", parked)
				}
			})
		})
	}
}
