package engine

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"groundcrew/gitlab"
	"groundcrew/gitlab/sim"
	"groundcrew/gitlab/sim/spec"
	"groundcrew/runs"
	"groundcrew/store"
)

// A world is a GitLab in memory, a real store and the engine's outbox between them, without sockets, so that it
// fits into a bubble. Runs are moved by the test, event by event, as the jobs pump would.
type world struct {
	t       *testing.T
	sim     *sim.Server
	door    http.Handler // to it, watched
	project sim.Project
	bot     sim.User
	token   string
	st      *store.Store
	e       *Engine
	stop    func()

	mu  sync.Mutex
	cut func(*http.Request) *http.Response // the network's trouble; nil goes on to GitLab
	say func() http.Header                 // more headers of GitLab's answers
	log []string                           // "POST statuses", … of every request
}

// inBubble runs a test in a world of its own, where time costs nothing.
func inBubble(t *testing.T, f func(w *world), with ...func(*sim.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, with...)
		w.start()
		f(w)
	})
}

// newWorld lets the test say how its GitLab is.
func newWorld(t *testing.T, with ...func(*sim.Options)) *world {
	t.Helper()
	w := &world{t: t}
	o := sim.Options{Dir: t.TempDir(), HookClient: &http.Client{Transport: letterbox{w}}}
	for _, set := range with {
		set(&o)
	}
	g, err := sim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	published, err := spec.New()
	if err != nil {
		t.Fatal(err)
	}
	w.sim, w.door = g, published.Watch(g, "", true, func(wrong string) { t.Error("not as GitLab publishes: " + wrong) })
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	g.SetURL("http://gitlab.invalid")
	w.bot = g.AddUser("groundcrew-bot", "Groundcrew", false)
	w.token = g.AddToken(w.bot.ID, "groundcrew", []string{"api"}, time.Now().AddDate(0, 11, 0))
	if w.project, err = g.AddProject("platform/network", "main", map[string]string{"README.md": "# Network\n"}); err != nil {
		t.Fatal(err)
	}
	g.AddMember(w.project.ID, w.bot.ID, sim.Maintainer)
	if w.st, err = store.Open(store.Options{Dir: t.TempDir(), NoSync: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.halt()
		if err := w.st.Close(); err != nil {
			t.Error(err)
		}
	})
	w.update(func(tx *store.Tx) error {
		return tx.PutIntegration(store.Integration{APIURL: g.URL(), Linked: true, Token: runs.Secret(w.token), Secret: "hook", Health: store.TokenHealth{UserID: w.bot.ID, Active: true}})
	})
	src, err := gitlab.NewSource(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Options{
		Store: w.st, Source: src, Runner: noRunner{}, Transport: w,
		ExternalURL: "https://gc.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.e = e
	return w
}

// A letterbox stores what GitLab delivers to hooks, as the web server does.
type letterbox struct{ w *world }

func (l letterbox) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	event := r.Header.Get("X-Gitlab-Event")
	_, _, err = l.w.st.AddDelivery(store.Delivery{
		Key: gitlab.DeliveryKey(r.Header, body), Event: event, Headers: map[string]string{"X-Gitlab-Event": event},
	}, body)
	if err != nil {
		return nil, err
	}
	resp := response(http.StatusOK, "{}")
	resp.Request = r
	return resp, nil
}

type noRunner struct{}

func (noRunner) Run(ctx context.Context, _ Job) (Result, error) {
	<-ctx.Done()
	return Result{}, ctx.Err()
}

// start starts the outbox alone.
func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.e.pump(ctx, "outbox", w.e.reportsWake, w.e.outbox)
	}()
	w.stop = func() { cancel(); <-done; w.e.wg.Wait() }
}

func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// RoundTrip hands a request to GitLab, or to what is in the way.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	cut, say := w.cut, w.say
	w.log = append(w.log, r.Method+" "+endpoint.ReplaceAllString(r.URL.Path, "$1"))
	w.mu.Unlock()
	if cut != nil {
		if resp := cut(r); resp != nil {
			if resp.StatusCode == 0 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}
			resp.Request = r
			return resp, nil
		}
	}
	type answer struct {
		resp *http.Response
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		rec := httptest.NewRecorder()
		defer func() {
			if recover() != nil { // http.ErrAbortHandler: the connection was cut
				got <- answer{err: io.ErrUnexpectedEOF}
			}
		}()
		if r.Body == nil {
			r.Body = http.NoBody
		}
		w.door.ServeHTTP(rec, r)
		resp := rec.Result()
		if say != nil {
			maps.Copy(resp.Header, say())
		}
		resp.Request = r
		got <- answer{resp: resp}
	}()
	select {
	case a := <-got:
		return a.resp, a.err
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// endpoint shortens a path to what kind of thing it is about.
var endpoint = regexp.MustCompile(`^.*/(statuses|notes|deployments|environments|merge_requests|user)(/.*)?$`)

// trouble puts something in the way of each request; nil takes it away.
func (w *world) trouble(f func(*http.Request) *http.Response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = f
}

// also makes GitLab send more headers.
func (w *world) also(header func() http.Header) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say = header
}

// calls counts requests like "POST statuses" and forgets them.
func (w *world) calls() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for _, l := range w.log {
		n[l]++
	}
	w.log = nil
	return n
}

func response(status int, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1}
}

var refused = &http.Response{} // a connection that is refused

func (w *world) update(f func(*store.Tx) error) {
	w.t.Helper()
	if err := w.st.Update(f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stack(name string) runs.Stack {
	w.t.Helper()
	var st runs.Stack
	w.update(func(tx *store.Tx) (err error) {
		st, err = tx.AddStack(runs.Stack{
			Name: name, Project: w.project.ID, ProjectPath: w.project.Path, ProjectURL: w.project.WebURL, Branch: "main", Tool: runs.Terraform, State: runs.StateManaged, Plan: runs.PlanHead,
		})
		return err
	})
	return st
}

func (w *world) push(branch string) string {
	w.t.Helper()
	sha, err := w.sim.Push(w.project.ID, branch, "Change "+branch, map[string]string{"x.tf": branch + time.Now().String()})
	if err != nil {
		w.t.Fatal(err)
	}
	return sha
}

// openMR opens a merge request from a branch, past GitLab's preparing.
func (w *world) openMR(branch string) *runs.MergeRequest {
	w.t.Helper()
	iid, err := w.sim.OpenMergeRequest(w.project.ID, branch, "main", "Merge "+branch, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sim.WaitHooks()
	return &runs.MergeRequest{IID: iid, SourceBranch: branch, TargetBranch: "main"}
}

// request asks for a run.
func (w *world) request(r runs.Run) runs.Run {
	w.t.Helper()
	r.Project = w.project.ID
	w.update(func(tx *store.Tx) (err error) {
		r, err = tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now()}, Run: r})
		return err
	})
	return r
}

// apply moves a run through events.
func (w *world) apply(id string, events ...runs.Event) runs.Run {
	w.t.Helper()
	var r runs.Run
	for _, ev := range events {
		w.update(func(tx *store.Tx) (err error) {
			r, err = tx.Apply(id, ev)
			return err
		})
	}
	return r
}

// planned are the events up to a plan with the delta.
func planned(d runs.Delta, auto bool) []runs.Event {
	return []runs.Event{
		runs.Claimed{},
		runs.PhaseStarted{State: runs.Initializing},
		runs.PhaseStarted{State: runs.Planning},
		runs.Planned{Delta: d, Fingerprint: "f", Autodeploy: auto},
	}
}

// quiet waits, for a day at most, until nothing waits to be told.
func (w *world) quiet() {
	w.t.Helper()
	for range 24 * 3600 {
		if len(w.due()) == 0 {
			return
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("%d reports still wait: %+v", len(w.due()), w.due()[0])
}

func (w *world) due() (list []store.Report) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) (err error) { list, err = tx.DueReports(); return err }); err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) run(id string) (r runs.Run) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) (err error) { r, err = tx.Run(id); return err }); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// statuses are the records GitLab shows of a commit, by name and pipeline.
func (w *world) statuses(sha string) (list []sim.Status) {
	for _, s := range w.sim.Statuses(w.project.ID, sha) {
		if !s.Retried {
			list = append(list, s)
		}
	}
	return list
}

func (w *world) status(sha, name string) sim.Status {
	w.t.Helper()
	list := w.statuses(sha)
	i := slices.IndexFunc(list, func(s sim.Status) bool { return s.Name == name })
	if i < 0 {
		w.t.Fatalf("no status %s of %s among %v", name, sha, list)
	}
	return list[i]
}

// notes are ours on a merge request.
func (w *world) notes(iid int64) (list []sim.Note) {
	for _, n := range w.sim.Notes(w.project.ID, iid) {
		if !n.System && n.Author == w.bot.Username {
			list = append(list, n)
		}
	}
	return list
}

// unrefused fails when GitLab had to refuse a request.
func (w *world) unrefused() {
	w.t.Helper()
	for _, q := range w.sim.Refused() {
		w.t.Errorf("GitLab refused %s", q)
	}
}
