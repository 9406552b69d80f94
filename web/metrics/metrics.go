// Package metrics says in Prometheus' words what was counted and what the rows say.
//
// What happens is counted as it is committed ([store.Change]); what is there is read from indexes when somebody asks. A
// scrape never reads all runs, all reports or a folder: what takes long is remembered for a while. No label has a value
// that somebody outside can choose, but for a stack's address where that was asked for.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// Options wire a [Metrics].
type Options struct {
	Store    *store.Store
	Version  string
	PerStack bool                     // also count ended runs by stack: one series for each stack, type and state
	Workers  func() (busy, total int) // optional
	Log      *slog.Logger             // optional: nothing
}

// Metrics counts from New on. Its methods may be called from any goroutine. It owns the goroutine that now and then adds
// up the sizes of folders; Close waits for it.
type Metrics struct {
	o        Options
	registry *prometheus.Registry

	wait, phase, confirm *prometheus.HistogramVec
	ended, perStack      *prometheus.CounterVec
	received             prometheus.Counter
	processed, refused   *prometheus.CounterVec
	requests, told       *prometheus.CounterVec
	took                 *prometheus.HistogramVec
	limit, remaining     prometheus.Gauge

	mu      sync.Mutex // guards what follows
	active  map[runKind]int
	links   bool      // hooks may have changed since they were read
	reports bool      // reports may have
	news    bool      // notifications may have
	slow    slowFacts // of the last time
	sizes   map[string]int64
	sizedAt time.Time
	sizing  bool
	closed  bool
	wg      sync.WaitGroup
	done    chan struct{}
}

type runKind struct {
	typ   runs.Type
	state runs.State
}

// Buckets in seconds: queues and phases last from a moment to hours, requests from milliseconds to their time-out.
var (
	phaseBuckets   = []float64{.1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}
	requestBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

// New counts what is there and listens to the store's changes, so it must be called before the store is used by others.
func New(o Options) (*Metrics, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Metrics{o: o, registry: prometheus.NewRegistry(), active: map[runKind]int{}, links: true, reports: true, done: make(chan struct{})}
	err := o.Store.View(func(tx *store.Tx) error {
		list, err := tx.Active("")
		for _, r := range list {
			m.active[runKind{r.Type, r.State}]++
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	m.counters()
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m, m.ended, m.wait, m.phase, m.confirm, m.received, m.processed, m.refused, m.told, m.requests, m.took, m.limit, m.remaining)
	if o.PerStack {
		m.registry.MustRegister(m.perStack)
	}
	o.Store.Listen(m.changed)
	return m, nil
}

func (m *Metrics) counters() {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "groundcrew", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "groundcrew", Name: name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "groundcrew", Name: name, Help: help})
	}
	m.ended = counter("runs_ended_total", "Runs that ended, by type and terminal state.", "type", "state")
	m.perStack = counter("stack_runs_ended_total", "Runs that ended, by stack, type and terminal state; only with --metrics-per-stack.", "stack", "type", "state")
	m.wait = histogram("run_queue_wait_seconds", "Time runs waited for their turn and a worker, by type.", phaseBuckets, "type")
	m.phase = histogram("run_phase_duration_seconds", "Time runs were at work, by type and phase.", phaseBuckets, "type", "phase")
	m.confirm = histogram("run_confirmation_wait_seconds", "Time runs waited for a person's yes or no, by type.", []float64{10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600}, "type")
	m.received = counter("deliveries_received_total", "Webhook deliveries that were taken.").WithLabelValues()
	m.processed = counter("deliveries_processed_total", "Webhook deliveries that were processed, by what became of them: runs, ignored, failed.", "verdict")
	m.refused = counter("deliveries_refused_total", "Webhook requests that were refused, by reason.", "reason")
	m.told = counter("notifications_total", "Attempts to tell people and programs, by what came of them: sent, failed (tried again), given_up.", "outcome")
	m.requests = counter("gitlab_requests_total", "Requests to GitLab, by method and status code; code 0 is no answer.", "method", "code")
	m.took = histogram("gitlab_request_duration_seconds", "Time GitLab took to answer, by method.", requestBuckets, "method")
	m.limit = gauge("gitlab_rate_limit", "Requests a minute that GitLab last said it allows; 0 when it never said.")
	m.remaining = gauge("gitlab_rate_limit_remaining", "Requests left in the present window, as GitLab last said; -1 when it never said.")
	m.remaining.Set(-1)
	for _, v := range []string{store.ProcessedRuns, store.ProcessedIgnored, store.ProcessedFailed} {
		m.processed.WithLabelValues(v) // there from the beginning, so that the first one is seen as a rise
	}
	for _, r := range []string{RefusedSecret, RefusedSignature, RefusedSize, RefusedUnlinked} {
		m.refused.WithLabelValues(r)
	}
	for _, o := range []string{store.ToldSent, store.ToldFailed, store.ToldGivenUp} {
		m.told.WithLabelValues(o)
	}
	for _, t := range runs.Types {
		for _, s := range runs.States {
			if s.Terminal() {
				m.ended.WithLabelValues(string(t), string(s))
			}
		}
	}
}

// changed is the store's listener: it counts and must not block.
func (m *Metrics) changed(c store.Change) {
	m.received.Add(float64(c.Received))
	for _, v := range c.Processed {
		m.processed.WithLabelValues(v).Inc()
	}
	for _, o := range c.Told {
		m.told.WithLabelValues(o).Inc()
	}
	for _, mv := range c.Moves {
		m.moved(mv)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.links = m.links || c.Links
	m.reports = m.reports || c.Reports
	m.news = m.news || c.News
	for _, mv := range c.Moves {
		if mv.From != runs.None {
			m.active[runKind{mv.Type, mv.From}]--
		}
		if !mv.To.Terminal() {
			m.active[runKind{mv.Type, mv.To}]++
		}
	}
}

// moved counts one step of a run's life.
func (m *Metrics) moved(mv store.Move) {
	switch typ, took := string(mv.Type), mv.Took.Seconds(); {
	case mv.From == runs.Queued, mv.From == runs.Confirmed:
		m.wait.WithLabelValues(typ).Observe(took)
	case mv.From == runs.Unconfirmed:
		m.confirm.WithLabelValues(typ).Observe(took)
	case mv.From.Working():
		m.phase.WithLabelValues(typ, string(mv.From)).Observe(took)
	}
	if mv.To.Terminal() {
		m.ended.WithLabelValues(string(mv.Type), string(mv.To)).Inc()
		if m.o.PerStack {
			m.perStack.WithLabelValues(mv.Stack, string(mv.Type), string(mv.To)).Inc()
		}
	}
}

// Why a webhook request was refused.
const (
	RefusedUnlinked  = "unlinked"  // GitLab is not set up
	RefusedSecret    = "secret"    // none, or a wrong one
	RefusedSignature = "signature" // it does not fit, or is too old
	RefusedSize      = "size"      // the body is too large
)

// Refused counts a refused webhook request by one of the Refused reasons.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// methods are the label's values; others there are none.
var methods = map[string]string{"GET": "GET", "HEAD": "HEAD", "POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE"}

// Exchanged counts a request to GitLab.
func (m *Metrics) Exchanged(x gitlab.Exchange) {
	method := methods[x.Method]
	m.requests.WithLabelValues(method, strconv.Itoa(x.Status)).Inc()
	m.took.WithLabelValues(method).Observe(x.Took.Seconds())
	if x.Limits == nil {
		return
	}
	if x.Limits.Limit > 0 {
		m.limit.Set(float64(x.Limits.Limit))
	}
	if x.Limits.Remaining >= 0 {
		m.remaining.Set(float64(x.Limits.Remaining))
	}
}

// Handler answers a scrape. Who may ask is the caller's business.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(m.o.Log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, EnableOpenMetrics: true,
	})
}

// Close waits for what is still being added up. Counters stay readable.
func (m *Metrics) Close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.done)
	}
	m.mu.Unlock()
	m.wg.Wait()
}

func buildInfo(version string) prometheus.Metric {
	return prometheus.MustNewConstMetric(descBuild, prometheus.GaugeValue, 1, version, runtime.Version())
}
