package main

import (
	"strings"
	"testing"
)

// TestLimitsChangeWithoutARestart lowers a limit while the server runs: the next run is held to it, and a refused change
// changes nothing.
func TestLimitsChangeWithoutARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("noisy", "", map[string]any{"tool": "custom", "commands": map[string]any{"plan": "yes 'a line' | head -c 200000; sleep 300", "apply": "true"}})
	was := r.must("GET", "/settings", nil, 200)
	if was["run_log_size"] != "256MiB" || was["started_with"].(map[string]any)["run_memory"] != "4GiB" {
		t.Errorf("before: %v", was)
	}
	for _, bad := range []map[string]any{
		{"run_log_size": "1"},
		{"run_memory": "lots"},
		{"workers": "0"},
		{"silence": "-1s"},
		{"log_age": "1s"},
		{"run_time": "off"},
		{"no_such": "1"},
		{"workers": "4", "run_memory": "1"},
	} {
		if code, raw := r.api("PATCH", "/settings", bad); code != 422 && code != 400 {
			t.Errorf("%v: %d %s", bad, code, raw)
		}
	}
	now := r.must("PATCH", "/settings", map[string]any{"run_log_size": "16KiB", "workers": "3"}, 200)
	if now["run_log_size"] != "16KiB" || now["workers"] != "3" || now["silence"] != was["silence"] {
		t.Errorf("after: %v", now)
	}
	r.push("feature", "Print", map[string]string{"main.tf": resource("a", "a")})
	if why := r.failed("noisy"); !strings.Contains(why, "--run-log-size") {
		t.Errorf("the run ended with %q", why)
	}
	if now = r.must("PATCH", "/settings", map[string]any{"run_log_size": ""}, 200); now["run_log_size"] != "256MiB" {
		t.Errorf("back to the start: %v", now)
	}
}
