// Package engine makes recorded intentions happen: whatever the store says is owed will be done, at least
// once, or visibly fail.
//
// Pumps run over the store, each woken by commits and by the clock, so that a missed wake costs a
// minute and never correctness: the inbox (inbox.go: delivery → runs), the jobs (jobs.go: job → process →
// event), the outbox (outbox.go: report → GitLab), the notifications (notify.go: row → channel), the policies
// (asking_pump.go: approvals they are asked for; asking_follow.go: what follows a run) and the schedule (schedule.go). People's acts
// (acts.go, review.go, stacks.go, link.go) are events for the same machine. After a crash there is nothing special to do:
// the rows say what is owed, and a job that was claimed is found again by its folder.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// A Job is what the engine asks of a [Runner]. Dir is the job's private folder: a Runner that finds an
// earlier start of the job there goes on with it instead of starting it again.
type Job struct {
	Dir     string
	Spec    func() (Spec, error)     // called only when the job must be started
	Stop    <-chan struct{}          // closed when the job is to end
	Started func(phase, name string) // each command as it starts, at least once, in order
}

// A Spec is what a job's process does. It holds secrets.
type Spec struct {
	WorkDir, LogDir     string
	Env                 []string
	Commands            []tofu.Command
	Secrets             []string
	ReadOnly, ReadWrite []string
	Time, Silence       time.Duration
	Limits              runs.Limits // all that bounds a run, those two included
}

// A Result is how a job's process ended.
type Result struct {
	OK      bool
	Command string // the one that failed
	Message string // for people
	Stopped bool   // it ended because it was asked to
	Limited bool   // it was ended because it passed a limit; Message says which
	Hint    string // the limit a command that failed by itself seems to have run into, for people
	Blocked []string
	State   []byte // that the tool printed because it could write it nowhere
}

// ErrLost is what a Runner returns for a job that was started, left no result, and of which nothing is alive.
var ErrLost = errors.New("the process is gone and left no result")

// A Runner brings a job to its end. When ctx ends first it returns ctx's error and leaves the process alone.
type Runner interface {
	Run(ctx context.Context, j Job) (Result, error)
}

// Options wire an Engine. Zero values of the optional ones have the defaults named.
type Options struct {
	Store       *store.Store
	Source      *gitlab.Source
	Runner      Runner
	Log         *slog.Logger      // optional: nothing
	Transport   http.RoundTripper // optional: the client's own; simulations hand one in
	Workers     int               // optional: 2
	ExternalURL string            // where people and GitLab find this server
	Version     string
	ToolDirs    []string    // folders with tool binaries, beside PATH
	ToolPath    string      // PATH to look for tools
	Proxy       []string    // proxy variables for runs, NAME=value
	Limits      runs.Limits // what no setting changes; RunTime, Silence and Workers win where they are given
	TrustCA     string      // PEM of certificates that runs trust beside the system's, so that they find this server
	RunTime     time.Duration
	Silence     time.Duration
	InitCache   uint64                // bytes of providers kept for runs to come, so that they need no init; 0 = init is always run
	RotateGrace time.Duration         // optional: 24 h, in which the old webhook secret stays valid
	Notify      http.RoundTripper     // optional: the way of webhooks and chats; simulations hand one in
	Exchanged   func(gitlab.Exchange) // optional: told of each request to GitLab; from many goroutines
	Court       policy.Court          // where policies are asked; its zero value asks them in this process

	// Jitter spreads what is tried again: at random, below the given time. Optional; simulations that are to repeat
	// themselves hand in another.
	Jitter func(below time.Duration) time.Duration
}

// An Engine owns its pumps' goroutines: Start starts them, Close stops them and waits. Its other methods may be
// called from any goroutine while it is open.
type Engine struct {
	o      Options
	st     *store.Store
	log    *slog.Logger
	prober *tofu.Prober
	larder *larder

	budget budget           // of the outbox
	tries  map[string]tried // of the modules pump

	inboxWake, jobsWake, reportsWake, watchWake, tokenWake, noticesWake, newsWake, modulesWake, policiesWake chan struct{}

	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu         sync.Mutex             // guards what follows
	desk       desk                   // the jobs that a worker of this process has
	letters    letters                // the deliveries that wait or are at work
	sending    map[string]bool        // project/sha lanes the outbox writes to at the moment
	tells      map[string]*tell       // by channel
	client     *gitlab.Client         // for clientOf; nil until asked for
	clientKey  string                 // the settings client was made from
	echoes     map[int64]*echo        // by project: tests of hooks that wait for their delivery
	unseen     map[int64]bool         // projects to be compared with GitLab before their time
	unseenAll  bool                   // all of them: at start, and when the token works again
	inRotation bool                   // the one attempt is under way in this process
	suspected  bool                   // GitLab refused the token since it was last checked
	hitches    map[string]string      // by run: why what its job came to could not be stored yet
	unstored   bool                   // a delivery was refused because it could not be stored
	vain       map[looked][]time.Time // when GitLab was asked about people whose commands are not answered, in the last minute
	weighAnew  bool                   // policies or reviews changed since approval policies were last looked at
}

// New checks the options, settles what restored data owes, and returns an engine at rest.
func New(o Options) (*Engine, error) {
	if o.Store == nil || o.Runner == nil || o.Source == nil {
		return nil, errors.New("engine: Store, Source and Runner are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers < 1 {
		o.Workers = 2
	}
	if o.RotateGrace == 0 {
		o.RotateGrace = 24 * time.Hour
	}
	if o.Jitter == nil {
		o.Jitter = rand.N[time.Duration]
	}
	e := &Engine{
		o: o, budget: budget{jitter: o.Jitter}, st: o.Store, log: o.Log, prober: &tofu.Prober{}, larder: &larder{st: o.Store, max: o.InitCache},
		inboxWake: make(chan struct{}, 1), jobsWake: make(chan struct{}, 1), reportsWake: make(chan struct{}, 1),
		watchWake: make(chan struct{}, 1), tokenWake: make(chan struct{}, 1), noticesWake: make(chan struct{}, 1), newsWake: make(chan struct{}, 1), modulesWake: make(chan struct{}, 1), policiesWake: make(chan struct{}, 1),
		desk: newDesk(), sending: map[string]bool{}, tells: map[string]*tell{},
		letters: letters{atWork: map[string]bool{}, order: map[string]letterLine{}, due: map[string]time.Time{}},
		tries:   map[string]tried{}, echoes: map[int64]*echo{}, unseen: map[int64]bool{}, hitches: map[string]string{}, vain: map[looked][]time.Time{}, weighAnew: true,
	}
	o.Store.Listen(e.changed)
	return e, e.restored()
}

// changed wakes the pumps whose work a commit touched.
func (e *Engine) changed(c store.Change) {
	if c.Inbox {
		wake(e.inboxWake)
	}
	if c.Jobs {
		wake(e.jobsWake)
	}
	if c.Modules {
		wake(e.modulesWake)
	}
	if c.Reports {
		wake(e.reportsWake)
	}
	if c.Policies {
		e.mu.Lock()
		e.weighAnew = true
		e.mu.Unlock()
	}
	if c.Policies || slices.ContainsFunc(c.Moves, func(m store.Move) bool { return m.To == runs.Unconfirmed || m.To == runs.Queued }) {
		wake(e.policiesWake)
	}
	if c.News {
		wake(e.newsWake)
	}
	if c.Links || c.Parked {
		wake(e.noticesWake)
	}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it is awake already
	}
}

// Start goes on with everything the store says is owed. It returns at once.
func (e *Engine) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.tidy()
	e.audit()
	e.lookAll()
	e.wg.Go(func() { e.pump(ctx, "inbox", e.inboxWake, e.inbox) })
	e.wg.Go(func() { e.pump(ctx, "jobs", e.jobsWake, e.jobs) })
	e.wg.Go(func() { e.pump(ctx, "outbox", e.reportsWake, e.outbox) })
	e.wg.Go(func() { e.pump(ctx, "token", e.tokenWake, e.guard) })
	e.wg.Go(func() { e.pump(ctx, "modules", e.modulesWake, e.modules) })
	e.wg.Go(func() { e.pump(ctx, "policies", e.policiesWake, e.askAll) })
	e.wg.Go(func() { e.pump(ctx, "notices", e.noticesWake, e.remember) })
	e.wg.Go(func() { e.pump(ctx, "notifications", e.newsWake, e.news) })
	e.wg.Go(func() { e.pump(ctx, "watch", e.watchWake, e.watch) })
	e.wg.Go(func() { e.schedule(ctx) })
}

// Close stops the pumps and waits for them. Processes of runs live on; the next Start finds them again.
func (e *Engine) Close() {
	if e.cancel != nil {
		e.cancel()
	}
	e.wg.Wait()
}

// idle is how long a pump sleeps at most: a missed wake costs a minute, never correctness.
const idle = time.Minute

// pump does the work whenever it is woken or its own next moment comes. work returns how long it may sleep.
func (e *Engine) pump(ctx context.Context, name string, wake <-chan struct{}, work func(context.Context) (time.Duration, error)) {
	var said string
	var at time.Time
	for {
		next, err := work(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if text := err.Error(); text != said || time.Since(at) >= idle { // what lasts, like a full disk, does not fill the log
				e.log.Error("pump failed and tries again", "pump", name, "error", err)
				said, at = text, time.Now()
			}
			next = time.Second
		}
		timer := time.NewTimer(min(max(next, time.Millisecond), idle))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (e *Engine) now() time.Time {
	var t time.Time
	_ = e.st.View(func(tx *store.Tx) error { t = tx.Now(); return nil }) // the store's clock is the only one; a closed store gives zero
	return t
}
