package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

var metricName = regexp.MustCompile(`\b(groundcrew|go|process)_[a-z_]+`)

// known are the names of all series this server has when everything happened once.
func known(t *testing.T) map[string]bool {
	t.Helper()
	m, st := newMetrics(t, Options{Workers: func() (int, int) { return 0, 2 }, PerStack: true})
	update(t, st, func(tx *store.Tx) error {
		if err := tx.PutNotice(store.Notice{Key: "token", Kind: "bad"}); err != nil {
			return err
		}
		return tx.PutIntegration(store.Integration{Linked: true, Health: store.TokenHealth{CheckedAt: tx.Now(), ExpiresAt: new(tx.Now())}})
	})
	m.Exchanged(gitlab.Exchange{Method: "GET", Status: 200})
	for _, from := range []runs.State{runs.Queued, runs.Planning, runs.Unconfirmed} {
		m.moved(store.Move{Type: runs.Tracked, From: from, To: runs.Failed})
	}
	scrape(t, m)
	m.wg.Wait() // the folders are added up
	names := map[string]bool{}
	for line := range strings.SplitSeq(scrape(t, m), "\n") {
		if !strings.HasPrefix(line, "#") {
			names[metricName.FindString(line)] = true
		}
	}
	return names
}

func check(t *testing.T, names map[string]bool, where, expr string) {
	t.Helper()
	used := metricName.FindAllString(expr, -1)
	if len(used) == 0 && !strings.HasPrefix(expr, "up{") {
		t.Errorf("%s asks for nothing of this server: %s", where, expr)
	}
	for _, n := range used {
		if !names[n] {
			t.Errorf("%s names %s, which there is not", where, n)
		}
	}
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") || strings.Count(expr, `"`)%2 != 0 {
		t.Errorf("%s is not balanced: %s", where, expr)
	}
}

// TestDashboard reads the dashboard as Grafana does and looks for every metric it names.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID          int
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	names, ids, place := known(t), map[int]bool{}, map[[2]int]string{}
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Panels) < 20 {
		t.Errorf("%q %q %d with %d panels", d.Title, d.UID, d.SchemaVersion, len(d.Panels))
	}
	shown := map[string]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no target, or another one's id", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := place[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q or the edge", p.Title, other)
				}
				place[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			check(t, names, p.Title, target.Expr)
			for _, n := range metricName.FindAllString(target.Expr, -1) {
				shown[n] = true
			}
		}
	}
	for n := range names {
		name := strings.TrimSuffix(strings.TrimSuffix(n, "_sum"), "_count")
		other := name == "groundcrew_gitlab_linked" || name == "groundcrew_stack_runs_ended_total" || name == "groundcrew_gitlab_token_expiry_timestamp_seconds"
		if strings.HasPrefix(n, "groundcrew_") && !shown[n] && !shown[name+"_bucket"] && !other {
			t.Errorf("no panel shows %s", n)
		}
	}
}

// TestAlerts reads the rules as Prometheus does.
func TestAlerts(t *testing.T) {
	raw, err := os.ReadFile("../../docs/prometheus-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(raw, &f); err != nil {
		t.Fatal(err)
	}
	names, seen := known(t), map[string]bool{}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			check(t, names, r.Alert, r.Expr)
			if seen[r.Alert] || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s is there twice, or says too little", r.Alert)
			}
			seen[r.Alert] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d rules", len(seen))
	}
}
