// Package sim is a GitLab in memory: the REST API, git over HTTP, web hooks and a few pages, for tests and for the demo.
// Its one-sentence contract: it refuses what GitLab refuses. Where GitLab's behaviour is odd (a second "running" is a 400,
// a revoked token has its own body, a project nobody may see is a 404), so is this one; nothing is made convenient.
//
// Everything but the repositories lives in memory and is gone after Close. Repositories are real bare git repositories
// below Options.Dir, made and served by the git binary. Comments cite the contract it was written from by section ("§4", "§W2"
// for web hooks) and its list of pitfalls by number ("GOTCHAS 13").
//
// There is no sign-in for the pages and no separation between who may click what: bind it to the loopback address only.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"groundcrew/gitlab/sim/spec"
)

// Options of a Server. Dir is required; the zero value of everything else is a stock self-managed instance.
type Options struct {
	Dir          string           // where the bare repositories live; made if absent
	RelativeRoot string           // "" or a relative URL root such as "/scm"
	Version      string           // default "19.2.1"
	Now          func() time.Time // default time.Now
	Logger       *slog.Logger     // default: discards
	HookClient   *http.Client     // sends web hooks; the default has GitLab's time-out of 10 s

	// RefuseLocalHooks refuses hook URLs of the local network, as GitLab does until an administrator allows them (§W2).
	RefuseLocalHooks bool
	// AutoDisableHooks pauses a hook after 4 failures in a row and disables it after 40 (§W2; off by default on self-managed).
	AutoDisableHooks bool
	// PrepareDelay is how long a new merge request stays "preparing", without diff_refs (§5). Default 20 ms.
	PrepareDelay time.Duration
	// StatusHold is how long a status write keeps its lease on project and commit beside its own work (§4). Default 0.
	StatusHold time.Duration
}

// A Server is one simulated GitLab instance and an http.Handler. All methods are safe for concurrent use.
//
// mu guards every field below it and everything reachable from there, and is held while a write runs, git included;
// reads hold it only to look things up. The goroutines that deliver hooks and prepare merge requests belong to the
// Server: Close stops new ones and waits for the rest.
type Server struct {
	opt    Options
	log    *slog.Logger
	routes []route
	pages  *pages

	ctx    context.Context // ends with Close; releases hanging faults and pauses
	cancel context.CancelFunc

	mu           sync.Mutex
	idle         *sync.Cond // active fell to zero
	active       int        // hook deliveries under way and merge requests being prepared
	closed       bool
	base         string // scheme and host, no relative root, no trailing slash
	lastID       map[string]int64
	users        []*User
	tokens       []*token
	namespaces   []*namespace
	projects     []*project
	deleted      []*project
	faults       []*fault
	requests     []Request
	limits       map[string][]time.Time
	leases       map[string]bool
	visitor      int64
	deliverTwice bool
	oauth        oauth
}

// New makes an empty instance: no users, no projects. It fails when the git binary is missing or Dir cannot be made.
func New(o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("sim: Options.Dir is empty: say where the repositories may live")
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("sim: the simulated GitLab needs the git binary for its repositories; install git: %w", err)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("sim: the folder of the repositories: %w", err)
	}
	o.Dir = dir
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("sim: make the folder of the repositories: %w", err)
	}
	fillDefaults(&o)
	s := &Server{
		opt: o, log: o.Logger, base: "http://gitlab.invalid",
		lastID: map[string]int64{}, limits: map[string][]time.Time{}, leases: map[string]bool{},
	}
	s.idle = sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	published, err := spec.New()
	if err != nil {
		return nil, err
	}
	s.routes = apiRoutes(published)
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	s.pages = pages
	return s, nil
}

func fillDefaults(o *Options) {
	if o.RelativeRoot = strings.Trim(o.RelativeRoot, "/"); o.RelativeRoot != "" {
		o.RelativeRoot = "/" + o.RelativeRoot
	}
	if o.Version == "" {
		o.Version = "19.2.1"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HookClient == nil {
		o.HookClient = &http.Client{Timeout: 10 * time.Second}
	}
	if o.PrepareDelay == 0 {
		o.PrepareDelay = 20 * time.Millisecond
	}
}

// SetURL tells the instance its own external address, known only after listening. The relative root may be
// part of base or not; links, clone addresses and hooks have it in any case.
func (s *Server) SetURL(base string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = strings.TrimSuffix(strings.TrimSuffix(base, "/"), s.opt.RelativeRoot)
}

// URL is the external address with the relative root and without a trailing slash.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url()
}

// Close refuses new work, releases hanging requests and waits for the hooks under way. It never fails today;
// the error is there for callers that close things.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.WaitHooks()
	return nil
}

// WaitHooks waits until no hook delivery and no preparing merge request is under way.
func (s *Server) WaitHooks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.active > 0 {
		s.idle.Wait()
	}
}

// spawn runs f in a goroutine that Close and WaitHooks wait for. The caller holds mu.
func (s *Server) spawn(f func()) {
	if s.closed {
		return
	}
	s.active++
	go func() {
		defer s.done()
		f()
	}()
}

func (s *Server) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 {
		s.idle.Broadcast()
	}
}

// pause waits for d or until Close.
func (s *Server) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

func (s *Server) now() time.Time { return s.opt.Now().UTC() }

func (s *Server) url() string { return s.base + s.opt.RelativeRoot }

// id counts up by kind, from starts that keep the kinds apart when an id is used for the wrong thing.
func (s *Server) id(kind string) int64 {
	if s.lastID[kind] == 0 {
		s.lastID[kind] = map[string]int64{
			"project": 40, "namespace": 10, "merge_request": 1000, "note": 5500, "pipeline": 3300, "job": 88000,
			"hook": 300, "delivery": 90000, "environment": 50, "deployment": 640, "token": 20, "label": 200, "version": 2100,
		}[kind]
	}
	s.lastID[kind]++
	return s.lastID[kind]
}
