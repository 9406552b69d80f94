package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs/engine"
	"groundcrew/runs/policy"
	"groundcrew/runs/proc"
	"groundcrew/store"
	"groundcrew/web"
	"groundcrew/web/metrics"
)

// A server is the whole program in one value: opened in reading order, closed in the opposite one.
type server struct {
	url      string
	listener net.Listener
	store    *store.Store
	metrics  *metrics.Metrics
	proc     *proc.Runner
	engine   *engine.Engine
	web      *web.Server
	http     *http.Server
	scraped  *http.Server // answers /metrics at its own address; nil when there is none
	guard    *guard
	served   chan error
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, c config, stdout io.Writer) error {
	s, err := open(c, logger(c, os.Stderr))
	if err != nil {
		return err
	}
	debug.FreeOSMemory()                  // what opening took once (hashing a password, reading rows) is not needed while nothing happens
	if err := proc.Settle(); err != nil { // and nor are the pages of the program that only starting needs
		logger(c, os.Stderr).Debug("the pages that starting needed are kept", "error", err)
	}
	fmt.Fprintf(stdout, "Groundcrew %s listens on %s\n", version, s.url)
	if link, fresh, err := s.web.SetupLink(); err != nil {
		return errors.Join(err, s.close())
	} else if fresh {
		fmt.Fprintf(stdout, "Nobody can sign in yet. Make the first admin here, once:\n  %s\n", link)
	}
	select {
	case <-ctx.Done():
	case err = <-s.served:
	}
	return errors.Join(err, s.close())
}

func logger(c config, w io.Writer) *slog.Logger {
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// open brings the server up, listening. On an error nothing is left open.
func open(c config, log *slog.Logger) (_ *server, err error) {
	s := &server{served: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.store, err = store.Open(store.Options{Dir: c.dataDir, MasterKeyFile: c.masterKeyFile, Log: log}); err != nil {
		return s, err
	}
	if s.listener, err = listen(c); err != nil {
		return s, err
	}
	s.url = strings.TrimRight(c.externalURL, "/")
	if s.url == "" {
		s.url = scheme(c) + "://" + s.listener.Addr().String()
	}
	source, err := gitlab.NewSource(s.store.Path("sources"))
	if err != nil {
		return s, err
	}
	exe, err := os.Executable()
	if err != nil {
		return s, err
	}
	account, err := s.account(c)
	if err != nil {
		return s, err
	}
	s.metrics, err = metrics.New(metrics.Options{
		Store: s.store, Version: version, PerStack: c.metricsPerStack, Log: log,
		Workers: func() (busy, total int) { return s.engine.Busy(), s.engine.Workers() },
	})
	if err != nil {
		return s, err
	}
	var atWork atomic.Int64
	s.guard = &guard{account: account, atWork: &atWork, settled: time.Now().Add(settling), logs: s.store.Path("logs"), log: log}
	trust, err := trusted(c)
	if err != nil {
		return s, err
	}
	s.proc = &proc.Runner{Exe: exe}
	toolDirs := []string{s.store.Path("bin")}
	s.engine, err = engine.New(engine.Options{
		Store: s.store, Source: source, Runner: runner{s.proc, s.store.Path(), c.limits, account, &atWork, ownPorts(s.url)}, Log: log, Workers: c.workers, TrustCA: trust,
		ExternalURL: s.url, Version: version, ToolDirs: toolDirs, ToolPath: c.toolPath, Proxy: c.proxy,
		Limits: c.limits.bounds(), RunTime: c.limits.time, Silence: c.limits.silence, Exchanged: s.metrics.Exchanged, InitCache: initCache(c, account, log),
		Court: policy.NewCourt(exe, func() int { return min(runtime.GOMAXPROCS(0), s.engine.Workers()) }),
	})
	if err != nil {
		return s, err
	}
	s.web = web.New(web.Options{
		Store: s.store, Engine: s.engine, Log: log, Version: version, ExternalURL: s.url,
		Metrics: s.metrics, MetricsToken: c.metricsToken, BootstrapToken: c.bootstrapToken, Secure: strings.HasPrefix(s.url, "https://"),
		TrustedProxies: c.trusted, StrictHost: c.externalURL != "",
		Facts: web.Facts{Listen: s.listener.Addr().String(), ToolDirs: toolDirs, Isolation: proc.Isolation(account.own())},
	})
	if pw := c.adminPassword.Reveal(); pw != "" {
		if err := s.web.EnsureAdmin(pw); err != nil {
			return s, fmt.Errorf("GROUNDCREW_ADMIN_PASSWORD cannot be used: %w", err)
		}
	}
	if err := s.listenMetrics(c.metricsListen); err != nil {
		return s, err
	}
	if err := proc.ClearGroups(); err != nil {
		log.Warn("left-over control groups of runs could not be removed", "error", err)
	}
	s.engine.Start()
	s.start()
	return s, nil
}

// trusted are the certificates that runs trust beside the system's: what --run-ca names, and this server's own.
func trusted(c config) (string, error) {
	var all []string
	for flag, file := range map[string]string{"--run-ca": c.runCA, "--tls-cert": c.tlsCert} {
		if file == "" {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s cannot be read: %w", flag, err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(raw) {
			return "", fmt.Errorf("%s %s holds no certificate in PEM", flag, file)
		}
		all = append(all, string(raw))
	}
	return strings.Join(all, "\n"), nil
}

// ownPorts is the port under which runs find this server.
func ownPorts(external string) []uint16 {
	u, err := url.Parse(external)
	if err != nil {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	return []uint16{uint16(n)}
}

// settling is how long after a start runs may be at work that this server has not found again yet.
const settling = 10 * time.Second

// account finds who runs are executed as, and makes sure that they can get to their workspaces.
func (s *server) account(c config) (account, error) {
	a, err := c.limits.account()
	if err != nil || !a.own() {
		return a, err
	}
	work := s.store.Path("work")
	if err := a.open(s.store.Path(), nil, []string{work, filepath.Join(work, "any")}); err != nil {
		return a, err
	}
	dir, err := filepath.Abs(work)
	if err != nil {
		return a, err
	}
	return a, a.of("any").Enterable(dir)
}

// bounded is a server that no client holds for long, nor fills. There is no write time-out: event streams last as long as
// somebody watches, and bound each write themselves.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// start answers requests.
func (s *server) start() {
	s.http = bounded(s.guard.wrap(s.web.Handler()))
	s.http.ConnContext = s.guard.connContext
	go func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.served <- err
		}
	}()
}

// listenMetrics answers /metrics, and nothing else, at an address of its own.
func (s *server) listenMetrics(addr string) error {
	if addr == "" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("the address %s cannot be listened on: %w. Choose another with --metrics-listen", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	s.scraped = &http.Server{
		Addr: l.Addr().String(), Handler: s.guard.wrap(mux), ConnContext: s.guard.connContext,
		ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	go func() {
		if err := s.scraped.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.served <- err
		}
	}()
	return nil
}

func scheme(c config) string {
	if c.tlsCert != "" {
		return "https"
	}
	return "http"
}

func listen(c config) (net.Listener, error) {
	l, err := net.Listen("tcp", c.listen)
	if err != nil {
		return nil, fmt.Errorf("the address %s cannot be listened on: %w. Choose another with --listen", c.listen, err)
	}
	if c.tlsCert == "" {
		return l, nil
	}
	cert, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the certificate cannot be used: %w", err), l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}), nil
}

// drain is how long requests that are being answered may take at the end.
const drain = 10 * time.Second

// close ends what is open, last opened first. Processes of runs live on and are found again at the next start.
func (s *server) close() error {
	var errs []error
	switch {
	case s.http != nil:
		s.web.Close()
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		errs = append(errs, s.http.Shutdown(ctx))
	case s.listener != nil:
		errs = append(errs, s.listener.Close())
	}
	if s.scraped != nil {
		errs = append(errs, s.scraped.Close())
	}
	if s.engine != nil {
		s.engine.Close()
	}
	if s.proc != nil {
		s.proc.Close()
	}
	if s.metrics != nil {
		s.metrics.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// healthcheck asks a running server whether it answers.
func healthcheck(ctx context.Context, c config) error { return ask(ctx, c, "/healthz") }

// ask asks a running server on the address of the settings; nil means that it answered with 200.
func ask(ctx context.Context, c config, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme(c)+"://"+c.listen+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := ownClient(c).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	return nil
}

// initCache is how much of what init makes is kept for later runs: nothing where runs could change it.
func initCache(c config, a account, log *slog.Logger) uint64 {
	if err := proc.CanProtect(); err != nil && !a.own() && c.initCache > 0 {
		log.Warn("nothing of an init is kept for later runs, because runs could change it", "reason", err)
		return 0
	}
	return uint64(c.initCache)
}
