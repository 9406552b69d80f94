package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

func newMetrics(t testing.TB, o Options) (*Metrics, *store.Store) {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Store = st
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, st
}

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, "\n"+l+"\n") {
			t.Errorf("there is no line %s", l)
		}
	}
}

func update(t testing.TB, st *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := st.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// TestLifeOfARun follows runs by their events: what is there is a gauge, what ended a counter, how long it took a
// histogram; and a restart counts what is there anew.
func TestLifeOfARun(t *testing.T) {
	m, st := newMetrics(t, Options{PerStack: true, Version: "1.2.3", Workers: func() (int, int) { return 1, 4 }})
	begin := time.Now().UTC()
	after := func(s int) runs.Meta { return runs.Meta{At: begin.Add(time.Duration(s) * time.Second)} }
	run := func(evs ...runs.Event) {
		update(t, st, func(tx *store.Tx) error {
			id := tx.NewID()
			for _, ev := range evs {
				if _, err := tx.Apply(id, ev); err != nil {
					return err
				}
			}
			return nil
		})
	}
	asked := runs.Requested{Meta: after(0), Run: runs.Run{Stack: "network", Project: 1, Type: runs.Tracked, Commit: runs.Commit{SHA: "abc"}}}
	planned := []runs.Event{
		asked,
		runs.Claimed{Meta: after(20)},
		runs.PhaseStarted{Meta: after(21), State: runs.Initializing},
		runs.PhaseStarted{Meta: after(25), State: runs.Planning},
		runs.Planned{Meta: after(85), Delta: runs.Delta{Add: 1}},
	}
	run(planned...)
	run(append(planned, runs.Confirm{Meta: after(1000)}, runs.Claimed{Meta: after(1001)}, runs.Done{Meta: after(1031)})...)
	run(asked)
	want := []string{
		`groundcrew_runs{state="unconfirmed",type="tracked"} 1`, `groundcrew_runs{state="queued",type="tracked"} 1`, `groundcrew_runs{state="applying",type="tracked"} 0`,
	}
	text := scrape(t, m)
	has(t, text, want...)
	has(t, text,
		`groundcrew_runs_ended_total{state="finished",type="tracked"} 1`, `groundcrew_runs_ended_total{state="failed",type="task"} 0`,
		`groundcrew_stack_runs_ended_total{stack="network",state="finished",type="tracked"} 1`,
		`groundcrew_run_queue_wait_seconds_count{type="tracked"} 3`, `groundcrew_run_queue_wait_seconds_sum{type="tracked"} 41`,
		`groundcrew_run_phase_duration_seconds_sum{phase="planning",type="tracked"} 120`, `groundcrew_run_phase_duration_seconds_sum{phase="applying",type="tracked"} 30`,
		`groundcrew_run_confirmation_wait_seconds_sum{type="tracked"} 915`,
		`groundcrew_workers_busy 1`, `groundcrew_workers 4`)
	if !strings.Contains(text, `groundcrew_build_info{goversion="go1.`) || !strings.Contains(text, `version="1.2.3"} 1`) {
		t.Error("no build info")
	}
	again, err := New(Options{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	text = scrape(t, again)
	has(t, text, want...)
	if strings.Contains(text, `stack="`) {
		t.Error("a stack's name without having been asked for")
	}
	again.Close()
}

// TestWhatGitLabIsTold: deliveries, reports, requests, the token and the hooks.
func TestWhatGitLabIsTold(t *testing.T) {
	m, st := newMetrics(t, Options{})
	has(t, scrape(t, m), `groundcrew_gitlab_linked 0`, `groundcrew_gitlab_token_state{state="none"} 1`, `groundcrew_reports_oldest_age_seconds 0`, `groundcrew_gitlab_rate_limit_remaining -1`)
	in := store.Integration{APIURL: "https://gitlab.test", Linked: true, Token: "t", Health: store.TokenHealth{Active: true, ExpiresAt: new(time.Now().Add(240 * time.Hour)), CheckedAt: time.Unix(1_900_000_000, 0)}}
	var d store.Delivery
	for _, state := range []string{store.DeliveryDone, store.DeliveryFailed, "runs", store.DeliveryWaiting} {
		got, _, err := st.AddDelivery(store.Delivery{Event: "Push Hook"}, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if d = got; state == "runs" {
			d.Runs, state = []string{"01J"}, store.DeliveryDone
		}
		d.State = state
		update(t, st, func(tx *store.Tx) error { return tx.PutDelivery(d) })
	}
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutIntegration(in), tx.PutHook(store.Hook{Project: 1, State: "missing"}), tx.PutHook(store.Hook{Project: 2}),
			tx.PutReport(store.Report{Target: "status/1/a/b", Kind: store.ReportStatus, State: store.ReportWaiting, MarkedAt: tx.Now().Add(-time.Hour)}),
			tx.PutReport(store.Report{Target: "status/1/a/c", Kind: store.ReportStatus, State: store.ReportWaiting, MarkedAt: tx.Now()}),
			tx.PutReport(store.Report{Target: "note/1/1/c", Kind: store.ReportNote, State: store.ReportParked}),
			tx.PutNotice(store.Notice{Key: "hook/1", Kind: "warn"}), tx.PutNotice(store.Notice{Key: "hook/2", Kind: "warn"}),
			tx.PutNotice(store.Notice{Key: "token-expires-14", Kind: "warn"}), tx.PutNotice(store.Notice{Key: "apply/x", Kind: "bad", Dismissed: tx.Now()}))
	})
	m.Refused(RefusedSecret)
	m.Exchanged(gitlab.Exchange{Method: "POST", Status: 201, Took: 30 * time.Millisecond, Limits: &gitlab.Limits{Limit: 600, Remaining: 417}})
	m.Exchanged(gitlab.Exchange{Method: "GET", Took: time.Second})
	m.mu.Lock()
	m.slow.at = time.Time{} // as five seconds later
	m.mu.Unlock()
	text := scrape(t, m)
	has(t, text,
		`groundcrew_deliveries_received_total 4`, `groundcrew_deliveries_waiting 1`, `groundcrew_deliveries_processed_total{verdict="runs"} 1`,
		`groundcrew_deliveries_processed_total{verdict="ignored"} 1`, `groundcrew_deliveries_processed_total{verdict="failed"} 1`,
		`groundcrew_deliveries_refused_total{reason="secret"} 1`, `groundcrew_reports{state="waiting"} 2`, `groundcrew_reports{state="parked"} 1`,
		`groundcrew_gitlab_requests_total{code="201",method="POST"} 1`, `groundcrew_gitlab_requests_total{code="0",method="GET"} 1`,
		`groundcrew_gitlab_rate_limit 600`, `groundcrew_gitlab_rate_limit_remaining 417`, `groundcrew_gitlab_token_state{state="active"} 1`,
		`groundcrew_hooks{state="missing"} 1`, `groundcrew_hooks{state="unknown"} 1`, `groundcrew_hooks{state="ok"} 0`,
		`groundcrew_inbox_notices{severity="warn",topic="hook"} 2`, `groundcrew_inbox_notices{severity="warn",topic="token-expires"} 1`,
		`groundcrew_gitlab_token_checked_timestamp_seconds 1.9e+09`)
	if strings.Contains(text, `topic="apply"`) {
		t.Error("a dismissed notice is counted")
	}
	for _, name := range []string{"groundcrew_reports_oldest_age_seconds 360", "groundcrew_gitlab_token_days_left 9.9"} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no %s…", name)
		}
	}
	for cause, state := range map[string]string{"revoked": "revoked", "blocked": "blocked", "network": "unreachable", "tls": "unreachable", "not_gitlab": "unreachable", "": "unreachable"} {
		in.Health.Trouble, in.Health.Cause = "trouble", cause
		if got := TokenState(in); got != state {
			t.Errorf("cause %q is the state %s, want %s", cause, got, state)
		}
	}
}

// TestFolders: sizes are added up in the background, and not again for a while.
func TestFolders(t *testing.T) {
	m, st := newMetrics(t, Options{})
	for _, f := range []string{"logs/01J/planning.log", "logs/01K/applying.log"} {
		path := st.Path(filepath.FromSlash(f))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, 1000), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	scrape(t, m)
	m.wg.Wait()
	has(t, scrape(t, m), `groundcrew_folder_size_bytes{folder="logs"} 2000`, `groundcrew_folder_size_bytes{folder="work"} 0`)
	if err := os.WriteFile(st.Path("logs", "more"), make([]byte, 50), 0o600); err != nil {
		t.Fatal(err)
	}
	scrape(t, m)
	m.wg.Wait()
	has(t, scrape(t, m), `groundcrew_folder_size_bytes{folder="logs"} 2000`)
}

// TestLint holds names, help and types to Prometheus' conventions. The token's days are what people ask for; its date
// stands beside them in the base unit.
func TestLint(t *testing.T) {
	m, st := newMetrics(t, Options{PerStack: true, Workers: func() (int, int) { return 0, 2 }})
	update(t, st, func(tx *store.Tx) error {
		in := store.Integration{APIURL: "https://gitlab.test", Linked: true, Health: store.TokenHealth{ExpiresAt: new(tx.Now()), CheckedAt: tx.Now()}}
		return errors.Join(tx.PutIntegration(in), tx.PutNotice(store.Notice{Key: "token", Kind: "bad"}))
	})
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !own(p) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func own(p promlint.Problem) bool {
	return p.Metric == "groundcrew_gitlab_token_days_left" || !strings.HasPrefix(p.Metric, "groundcrew_")
}

// TestConcurrent scrapes while runs move; the race detector watches.
func TestConcurrent(t *testing.T) {
	m, st := newMetrics(t, Options{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			scrape(t, m)
		}
	}()
	for range 20 {
		update(t, st, func(tx *store.Tx) error {
			_, err := tx.Apply(tx.NewID(), runs.Requested{Run: runs.Run{Stack: "s", Type: runs.Proposed}})
			return err
		})
	}
	<-done
	has(t, scrape(t, m), `groundcrew_runs{state="queued",type="proposed"} 20`)
}
