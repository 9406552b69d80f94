package web

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// benchGitLab is where nobody answers.
const benchGitLab = "http://127.0.0.1:1"

// How large the data set of the benchmark is.
const (
	manyStacksThere = 10_000
	manyRunsThere   = 1_000_000
)

// BenchmarkPages asks for every kind of page with 10,000 stacks and 1,000,000 runs in the store, while runs go on: each
// round a run moves, so that nothing can be answered from the round before. It reports the median, the 99th
// percentile, the same of the processor time they took, the weight of each page, and what the server allocated to answer. GROUNDCREW_SCALE makes the data set smaller: 100 is a hundredth of it. Making the
// whole one takes some minutes; it is kept in the folder GROUNDCREW_SCALE_DIR, if that is set.
func BenchmarkPages(b *testing.B) {
	s, l := openLarge(b)
	for _, path := range []string{
		"/", "/stacks", "/stacks?q=s0999", "/stacks?state=failed", "/stacks?label=team-3", "/stacks/" + l.stack, "/stacks/" + l.stack + "/settings",
		"/runs", "/runs?state=failed", "/runs?state=unconfirmed", "/runs?type=task", "/runs?state=failed&type=task", "/runs?stack=" + l.stack,
		"/runs/" + l.run, "/runs/" + l.ended(b, s.st), "/stacks/" + l.stack + "/merge-requests", "/modules", "/contexts", "/inbox",
		"/settings/system", "/settings/audit", "/settings/vcs/gitlab", "/settings/vcs/gitlab/deliveries", "/settings/vcs/gitlab/reports",
		"/ui/find?q=s0999", "/ui/find?q=number+77", "/api/v1/stacks", "/api/v1/runs", "/api/v1/runs?state=failed", "/api/v1/inbox",
	} {
		b.Run(path, func(b *testing.B) { benchPage(b, s, l, path, bootstrap, func() {}) })
	}
}

// BenchmarkPagesOfFew asks for the pages as somebody who signed in with GitLab and may read 1, 100 or 1,000 of the 2,000 projects
// there. What GitLab says of that is known already, as it is to somebody who goes on reading.
func BenchmarkPagesOfFew(b *testing.B) {
	s, l := openLarge(b)
	projects, err := s.allProjects()
	if err != nil {
		b.Fatal(err)
	}
	l.session = l.visitor(b, s.st)
	for _, n := range []int{1, 100, 1000} {
		n = min(n, len(projects))
		know := func() { s.knowLevels(projects, len(projects)/n) }
		for _, path := range []string{
			"/", "/stacks", "/stacks?q=s0999", "/stacks?state=failed", "/stacks?label=team-19", "/stacks/" + l.stack,
			"/runs", "/runs?state=failed", "/runs?state=unconfirmed", "/runs?type=task", "/runs?state=failed&type=task", "/runs?stack=" + l.stack,
			"/runs/" + l.run, "/stacks/" + l.stack + "/merge-requests", "/modules", "/contexts", "/policies", "/inbox", "/ui/find?q=s0999", "/ui/find?q=number+77",
		} {
			b.Run(fmt.Sprint(n, path), func(b *testing.B) { benchPage(b, s, l, path, "", know) })
		}
	}
}

// benchVisitor is the number of the visitor's account in GitLab.
const benchVisitor = 4711

// knowLevels lets GitLab have said just now that the visitor may read every step-th project, the last one among them.
func (s *Server) knowLevels(projects []int64, step int) {
	s.asked.put(askedKey{user: benchVisitor}, 1)
	for i, p := range projects {
		level := 0
		if (len(projects)-1-i)%step == 0 {
			level = levelReporter
		}
		s.asked.put(askedKey{benchVisitor, p}, level)
	}
}

// visitor is the session of somebody who signed in with GitLab.
func (l large) visitor(b *testing.B, st *store.Store) (session string) {
	b.Helper()
	err := st.Update(func(tx *store.Tx) error {
		u, there, err := tx.UserByName("visitor")
		if err == nil && !there {
			u, err = tx.PutUser(store.User{Name: "visitor", Role: store.Reader, GitLabID: benchVisitor, GitLabURL: benchGitLab})
		}
		if err != nil {
			return err
		}
		session, err = tx.AddSession(store.Session{User: u.ID, Via: "gitlab", ExpiresAt: tx.Now().Add(24 * time.Hour)})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return session
}

// openLarge is a server with the large data set.
func openLarge(b *testing.B) (*Server, large) {
	b.Helper()
	part := 1
	if text := os.Getenv("GROUNDCREW_SCALE"); text != "" {
		var err error
		if part, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	st, err := store.Open(store.Options{Dir: cmp.Or(os.Getenv("GROUNDCREW_SCALE_DIR"), b.TempDir()), NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	l, have := findLarge(b, st)
	if l.stack == "" {
		l = largeStacks(b, st, manyStacksThere/part)
	}
	largeRuns(b, st, &l, manyStacksThere/part, have, manyRunsThere/part)
	surround(b, st, manyStacksThere/part/5)
	b.Logf("%d MB of store", st.Size()>>20)
	src, err := gitlab.NewSource(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	eng, err := engine.New(engine.Options{Store: st, Source: src, Runner: noRunner{}, ExternalURL: "http://groundcrew.test", ToolDirs: []string{b.TempDir()}})
	if err != nil {
		b.Fatal(err)
	}
	s := New(Options{Store: st, Engine: eng, Version: "bench", ExternalURL: "http://groundcrew.test", BootstrapToken: bootstrap})
	b.Cleanup(s.Close)
	return s, l
}

// benchPage asks for one page, with a key where there is one. know is called now and then, out of the time that is taken.
func benchPage(b *testing.B, s *Server, l large, path, key string, know func()) {
	runtime.LockOSThread() // so that what the thread worked is what the page took
	defer runtime.UnlockOSThread()
	var took, worked []time.Duration
	weight, garbage := 0, uint64(0)
	var knew time.Time
	for b.Loop() {
		if time.Since(knew) > askedAge/4 {
			know()
			knew = time.Now()
		}
		l.move(b, s.st)
		w := &weigher{header: http.Header{}}
		req, err := http.NewRequestWithContext(b.Context(), get, path, nil)
		if err != nil {
			b.Fatal(err)
		}
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		req.AddCookie(&http.Cookie{Name: sessionCookie, Value: l.session})
		before, start, work := allocated(), time.Now(), threadTime(b)
		s.Handler().ServeHTTP(w, req)
		took, worked = append(took, time.Since(start)), append(worked, threadTime(b)-work)
		garbage += allocated() - before
		if w.status != 200 {
			b.Fatalf("%s: status %d", path, w.status)
		}
		weight = w.bytes
	}
	ms := func(list []time.Duration, p float64) float64 {
		slices.Sort(list)
		return float64(list[min(len(list)-1, int(float64(len(list))*p))].Microseconds()) / 1000
	}
	b.ReportMetric(ms(took, 0.5), "p50-ms")
	b.ReportMetric(ms(took, 0.99), "p99-ms")
	b.ReportMetric(ms(worked, 0.5), "work-p50-ms")
	b.ReportMetric(ms(worked, 0.99), "work-p99-ms")
	b.ReportMetric(float64(weight)/1000, "kB")
	b.ReportMetric(float64(garbage)/1000/float64(len(took)), "alloc-kB")
	b.ReportMetric(0, "ns/op")
}

// threadTime is how long this thread worked, which does not grow while others have the processor.
func threadTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// allocated is how many bytes of heap were ever handed out.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A weigher is a response that nobody reads.
type weigher struct {
	header http.Header
	status int
	bytes  int
}

func (w *weigher) Header() http.Header  { return w.header }
func (w *weigher) WriteHeader(code int) { w.status = code }
func (w *weigher) Write(p []byte) (int, error) {
	w.bytes += len(p)
	return io.Discard.Write(p)
}

// A large data set, and something in it that goes on.
type large struct {
	session    string
	stack, run string
}

// move lets a run begin and end.
func (l large) move(b *testing.B, st *store.Store) {
	err := st.Update(func(tx *store.Tx) error {
		meta := runs.Meta{At: tx.Now(), By: "ann"}
		r, err := tx.Apply(tx.NewID(), runs.Requested{Meta: meta, Run: runs.Run{
			Stack: l.stack, Project: 1, Type: runs.Proposed, TriggeredBy: "ann", Branch: "feature", Commit: runs.Commit{SHA: fmt.Sprintf("%040d", 1), Title: "Move on"},
		}})
		if err == nil {
			_, err = tx.Apply(r.ID, runs.Cancel{Meta: meta})
		}
		if err != nil {
			return err
		}
		s, err := tx.Stack(l.stack) // as a push to the tracked branch does
		if err != nil {
			return err
		}
		return tx.PutStack(s)
	})
	if err != nil {
		b.Fatal(err)
	}
}

// ended is a run that went all its way.
func (l large) ended(b *testing.B, st *store.Store) (id string) {
	b.Helper()
	err := st.View(func(tx *store.Tx) error {
		page, _, err := tx.Runs(store.RunFilter{States: []runs.State{runs.Finished}}, "", 1)
		if err == nil {
			id = page[0].ID
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// findLarge finds a data set that was kept, and how many runs of it there are.
func findLarge(b *testing.B, st *store.Store) (l large, have int) {
	b.Helper()
	err := st.Update(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		if err != nil || len(stacks) == 0 {
			return err
		}
		hours, err := tx.Hours(24 * 365)
		if err != nil {
			return err
		}
		for _, h := range hours {
			have += h.Begun
		}
		page, _, err := tx.Runs(store.RunFilter{States: []runs.State{runs.Unconfirmed}}, "", 1)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			l.run = page[0].ID
		}
		l.stack = stacks[len(stacks)-1].Slug
		u, _, err := tx.UserByName("ann")
		if err != nil {
			return err
		}
		l.session, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(24 * time.Hour)})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return l, have
}

// largeStacks makes the stacks, and somebody to look at them.
func largeStacks(b *testing.B, st *store.Store, stacks int) (l large) {
	b.Helper()
	err := st.Update(func(tx *store.Tx) error {
		for i := range stacks {
			s, err := tx.AddStack(runs.Stack{
				Name: fmt.Sprintf("s%05d", i), Project: int64(1 + i/5), ProjectPath: fmt.Sprintf("group-%d/project-%d", i%40, i/5), ProjectURL: "https://gitlab.test/x",
				Branch: "main", ProjectRoot: fmt.Sprintf("live/%d", i%5), Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult,
				Labels: []string{"team-" + strconv.Itoa(i%20)}, TrackedCommit: runs.Commit{SHA: fmt.Sprintf("%040d", i)},
			})
			if err != nil {
				return err
			}
			l.stack = s.Slug
		}
		u, err := tx.PutUser(store.User{Name: "ann", Role: store.Admin})
		if err != nil {
			return err
		}
		l.session, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(24 * time.Hour)})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// largeRuns makes the runs that are not there yet: of a hundred 80 are proposed, 15 tracked, 4 failed tracked ones and one
// a task; two hundred at the end wait for somebody.
func largeRuns(b *testing.B, st *store.Store, l *large, stacks, done, total int) {
	b.Helper()
	begin := time.Now()
	for had := done; done < total; {
		err := st.Update(func(tx *store.Tx) (err error) {
			for range min(2000, total-done) {
				if l.run, err = largeRun(tx, done, stacks, done >= total-200); err != nil {
					return err
				}
				done++
			}
			return told(tx)
		})
		if err != nil {
			b.Fatal(err)
		}
		if done == total {
			b.Logf("%d runs in %s", total-had, time.Since(begin).Round(time.Second))
		}
	}
}

// What an installation of that size has beside stacks and runs.
const (
	manyDeliveries = 5000 // of a day
	mrsOfEach      = 3    // of each project
)

// surround links GitLab and puts there what comes with it, unless it is there: of each project a hook, how far it was
// compared and open merge requests, and the deliveries of a day.
func surround(b *testing.B, st *store.Store, projects int) {
	b.Helper()
	err := st.Update(func(tx *store.Tx) error {
		if in, _, err := tx.Integration(); err != nil || in.Linked {
			return err
		}
		for i := range projects {
			if err := surroundProject(tx, int64(i+1)); err != nil {
				return err
			}
		}
		for i := range manyDeliveries {
			d := store.Delivery{
				ID: tx.NewID(), Event: "Push Hook", ProjectID: int64(1 + i%projects), Project: fmt.Sprintf("group/project-%d", i%projects), ReceivedAt: tx.Now(),
				State: store.DeliveryDone, Verdict: "It concerns no stack.", Size: 5000, Headers: map[string]string{"User-Agent": "GitLab/18.0", "X-Gitlab-Event": "Push Hook"},
			}
			if err := tx.PutDelivery(d); err != nil {
				return err
			}
		}
		return tx.PutIntegration(store.Integration{APIURL: benchGitLab, Linked: true, Token: "glpat-none", Secret: "none"})
	})
	if err != nil {
		b.Fatal(err)
	}
}

func surroundProject(tx *store.Tx, project int64) error {
	err := errors.Join(
		tx.PutHook(store.Hook{Project: project, ID: project, State: engine.HookOK, CheckedAt: tx.Now(), WrittenAt: tx.Now()}),
		tx.PutWatch(store.Watch{Project: project, Since: tx.Now(), CheckedAt: tx.Now(), TagsKnown: true}),
	)
	for i := range mrsOfEach {
		mr := store.MergeRequest{
			Project: project, State: "opened", Head: fmt.Sprintf("%040x", i), HeadTitle: "Make it larger", Stacks: []string{"s00001", "s00002"},
			MergeRequest: runs.MergeRequest{IID: int64(i + 1), Title: "Make the cluster larger", URL: "https://gitlab.test/x/-/merge_requests/1", TargetBranch: "main"},
		}
		err = errors.Join(err, tx.PutMergeRequest(mr))
	}
	return err
}

func largeRun(tx *store.Tx, n, stacks int, stay bool) (string, error) {
	meta := runs.Meta{At: tx.Now(), By: "ann"}
	r := runs.Run{
		Stack: fmt.Sprintf("s%05d", n%stacks), Project: int64(1 + n%stacks/5), Type: runs.Proposed, TriggeredBy: "ann", Branch: "feature/" + strconv.Itoa(n%97),
		Trigger: runs.ByWebhook, Commit: runs.Commit{SHA: fmt.Sprintf("%040x", n), Title: "Change number " + strconv.Itoa(n), Author: "Ann Lind", URL: "https://gitlab.test/x"},
	}
	planned := []runs.Event{
		runs.Claimed{Meta: meta},
		runs.PhaseStarted{Meta: meta, State: runs.Initializing},
		runs.PhaseStarted{Meta: meta, State: runs.Planning},
		runs.Planned{Meta: meta, Delta: runs.Delta{Add: 1}, Fingerprint: "f"},
	}
	events := planned
	switch kind := n % 100; {
	case stay:
		r.Type = runs.Tracked
	case kind < 80:
	case kind < 95:
		r.Type = runs.Tracked
		events = append(planned, runs.Discard{Meta: meta})
	case kind < 99:
		r.Type = runs.Tracked
		events = append(planned[:3:3], runs.Fail{Meta: meta})
	default:
		r.Type, r.Command = runs.Task, "true"
		events = []runs.Event{runs.Claimed{Meta: meta}, runs.Fail{Meta: meta}}
	}
	id := tx.NewID()
	for _, ev := range append([]runs.Event{runs.Requested{Meta: meta, Run: r}}, events...) {
		if _, err := tx.Apply(id, ev); err != nil {
			return "", fmt.Errorf("run %d: %w", n, err)
		}
	}
	return id, nil
}

// told lets GitLab have been told of everything.
func told(tx *store.Tx) error {
	due, err := tx.DueReports()
	for _, r := range due {
		if err == nil {
			r.State = store.ReportDelivered
			err = tx.PutReport(r)
		}
	}
	return err
}
