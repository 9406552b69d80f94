package engine

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// A throttle counts requests by the minute as GitLab's own does, and says so in its headers (CONTRACT §0.6).
type throttle struct {
	mu      sync.Mutex
	limit   int
	begin   time.Time
	used    int
	refused int
}

// admit counts a request.
func (h *throttle) admit() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.begin) >= time.Minute {
		h.begin, h.used = now.Truncate(time.Second), 0
	}
	if h.used++; h.used > h.limit {
		h.refused++
		return false
	}
	return true
}

func (h *throttle) header() http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	return http.Header{
		"Date":                {time.Now().UTC().Format(http.TimeFormat)},
		"Ratelimit-Limit":     {strconv.Itoa(h.limit)},
		"Ratelimit-Observed":  {strconv.Itoa(h.used)},
		"Ratelimit-Remaining": {strconv.Itoa(max(h.limit-h.used, 0))},
		"Ratelimit-Reset":     {strconv.FormatInt(h.begin.Add(time.Minute).Unix(), 10)},
	}
}

// One day without GitLab, with 500 runs ending in it: afterwards each target is written once, right, within limits.
func TestADayOfOutage(t *testing.T) {
	inBubble(t, func(w *world) {
		const stacks, commits = 25, 10 // of merge requests and of the tracked branch, each
		rng := rand.New(rand.NewPCG(4, 4))
		for i := range stacks {
			w.stack(fmt.Sprintf("stack %02d", i))
		}
		var proposed, tracked []runs.Run
		for i := range commits {
			branch := fmt.Sprintf("feature-%d", i)
			sha := w.push(branch)
			mr := w.openMR(branch)
			head := w.push("main")
			for s := range stacks {
				slug := fmt.Sprintf("stack-%02d", s)
				proposed = append(proposed, runs.Run{Stack: slug, Type: runs.Proposed, Commit: runs.Commit{SHA: sha}, Branch: branch, MR: mr})
				tracked = append(tracked, runs.Run{Stack: slug, Type: runs.Tracked, Commit: runs.Commit{SHA: head}, Branch: "main"})
			}
		}
		const early = 40 // of each were asked for before
		for i := range early {
			proposed[i], tracked[i] = w.request(proposed[i]), w.request(tracked[i])
		}
		w.quiet()
		w.calls()

		h := &throttle{limit: 600}
		w.trouble(func(*http.Request) *http.Response { return refused })
		began := time.Now()
		todo := append(slices.Clone(proposed), tracked...)
		rng.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
		for i, r := range todo {
			if r.ID == "" {
				r = w.request(r)
			}
			time.Sleep(time.Duration(rng.Int64N(int64(5 * time.Minute))))
			r = w.apply(r.ID, planned(runs.Delta{Add: 1 + i%3}, true)...)
			if r.Type == runs.Tracked {
				switch i % 5 {
				case 0:
					r = w.apply(r.ID, runs.Fail{Meta: runs.Meta{Note: "no such bucket"}})
				default:
					r = w.apply(r.ID, runs.Done{})
				}
			}
			todo[i] = r
		}
		time.Sleep(24*time.Hour - time.Since(began))
		probes := 0
		for _, n := range w.calls() {
			probes += n
		}
		waiting := w.due()
		if probes > 6000 || len(waiting) < 1000 {
			t.Errorf("%d requests in a day without GitLab, %d reports wait", probes, len(waiting))
		}

		w.trouble(func(*http.Request) *http.Response {
			if !h.admit() {
				return response(429, "Retry later\n", "Retry-After", "60")
			}
			return nil
		})
		w.also(h.header)
		back := time.Now()
		w.quiet()
		took := time.Since(back)
		calls := w.calls()
		t.Logf("%d requests in the outage; then %d reports drained in %v of GitLab's time: %v", probes, len(waiting), took, calls)
		if h.refused > 0 {
			t.Errorf("GitLab had to say 429 %d times", h.refused)
		}
		w.unrefused()
		writes := calls["POST statuses"] + calls["POST notes"] + calls["POST deployments"]
		if want := 500 + 250 + 250; writes != want || calls["PUT notes"]+calls["PUT deployments"] > 0 {
			t.Errorf("%d writes for %d targets: %v", writes, want, calls)
		}
		w.truth(todo)
	})
}

// truth checks that GitLab shows what is, and each thing once.
func (w *world) truth(list []runs.Run) {
	w.t.Helper()
	notes := map[string]int{}
	deployments := map[string][]sim.Deployment{}
	for _, d := range w.sim.Deployments(w.project.ID) {
		deployments[d.Environment+d.SHA] = append(deployments[d.Environment+d.SHA], d)
	}
	for _, r := range list {
		r = w.run(r.ID)
		state, text := runs.CommitStatus(r)
		if got := w.status(r.Commit.SHA, "groundcrew/"+r.Stack); got.State != string(state) || got.Description != text {
			w.t.Errorf("%s: GitLab shows %s %q, want %s %q", r.Stack, got.State, got.Description, state, text)
		}
		if want, ok := runs.Deployment(r); ok {
			if got := deployments["groundcrew/"+r.Stack+r.Commit.SHA]; len(got) != 1 || got[0].Status != string(want) {
				w.t.Errorf("%s: deployments %v, want one that is %s", r.Stack, got, want)
			}
		}
		if runs.Comments(r) {
			notes[fmt.Sprint(r.MR.IID)]++
		}
	}
	for iid, want := range notes {
		n, _ := strconv.ParseInt(iid, 10, 64)
		if got := len(w.notes(n)); got != want {
			w.t.Errorf("!%s: %d comments, want %d", iid, got, want)
		}
	}
	for _, s := range w.hanging() {
		w.t.Errorf("%s of %s hangs: %s %q", s.Name, s.SHA, s.State, s.Description)
	}
}

// hanging are our records that say pending or running of a run that has ended.
func (w *world) hanging() (list []sim.Status) {
	w.t.Helper()
	active := map[string]bool{}
	var all []runs.Run
	err := w.st.View(func(tx *store.Tx) (err error) {
		if all, _, err = tx.Runs(store.RunFilter{}, "", 10000); err != nil {
			return err
		}
		open, err := tx.Active("")
		for _, r := range open {
			active[r.Commit.SHA+"groundcrew/"+r.Stack] = true
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.Commit.SHA] {
			continue
		}
		seen[r.Commit.SHA] = true
		for _, s := range w.statuses(r.Commit.SHA) {
			if (s.State == "pending" || s.State == "running") && !active[s.SHA+s.Name] {
				list = append(list, s)
			}
		}
	}
	return list
}
