package main

import (
	"fmt"
	"strings"
	"testing"
)

// One status for all stacks of a commit, and a passing one for merge requests that concern none, as set by the API.
func TestAggregatedAndUntouchedThroughTheAPI(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	in := r.must("PUT", "/integration", map[string]any{"api_url": r.gitlab.URL + "/scm", "token": r.token, "aggregate": true, "pass_untouched": true}, 200)
	if in["aggregate"] != true || in["pass_untouched"] != true {
		t.Errorf("the integration answers %v", in)
	}
	if in = r.must("PUT", "/integration", map[string]any{"external_url": ""}, 200); in["aggregate"] != true {
		t.Error("what was not given changed")
	}
	r.stack("network", "infra", nil)
	r.stack("dns", "dns", nil)
	sha := r.push("feature", "Both", map[string]string{"infra/main.tf": resource("a", "1"), "dns/main.tf": resource("b", "1")})
	iid := r.openMR("feature", "Both")
	st := r.status(sha, "groundcrew/proposed", "success")
	if st.Description != "2 succeeded: 2 to add, 0 to change, 0 to destroy" {
		t.Errorf("the status says %q", st.Description)
	}
	until(t, "both comments", func() bool { return len(r.notes(iid)) == 2 })
	for _, s := range r.sim.Statuses(r.project.ID, sha) {
		if s.Name != "groundcrew/proposed" {
			t.Errorf("beside the one status there is %s", s.Name)
		}
	}
	docs := r.push("docs", "Words", map[string]string{"docs/x.md": "words"})
	r.openMR("docs", "Words")
	if st := r.status(docs, "groundcrew", "success"); !strings.Contains(st.Description, "No stack") {
		t.Errorf("the passing status says %q", st.Description)
	}
	r.quiet()
	r.unrefused()
}

// What is set of one project and of retention goes through the API, and wrong values are named.
func TestProjectAndRetentionSettingsThroughTheAPI(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve().link()
	r.stack("network", "infra", nil)
	r.push("docs", "Words", map[string]string{"docs/x.md": "words"})
	iid := r.openMR("docs", "Words")
	until(t, "the merge request", func() bool { return len(r.items("/deliveries?event=Merge+Request+Hook")) > 0 })
	project := fmt.Sprintf("/projects/%d", r.project.ID)
	if code, raw := r.api("PATCH", project, map[string]any{"pass_untouched": "maybe"}); code != 422 || !strings.Contains(string(raw), "pass_untouched") {
		t.Errorf("a wrong choice: %d %s", code, raw)
	}
	if got := r.must("PATCH", project, map[string]any{"pass_untouched": "on"}, 200); got["pass_untouched"] != "on" {
		t.Errorf("the project answers %v", got)
	}
	if got := r.items("/projects")[0]["pass_untouched"]; got != "on" {
		t.Errorf("the list says %v", got)
	}
	mr, err := r.sim.MergeRequest(r.project.ID, iid)
	if err != nil {
		t.Fatal(err)
	}
	r.status(mr.SHA, "groundcrew", "success")
	if got := r.must("GET", "/settings", nil, 200); got["delivery_days"] != 7.0 || got["report_days"] != 90.0 {
		t.Errorf("settings %v", got)
	}
	if code, _ := r.api("PATCH", "/settings", map[string]any{"report_days": 0}); code != 422 {
		t.Errorf("no days at all: %d", code)
	}
	if got := r.must("PATCH", "/settings", map[string]any{"delivery_days": 30, "report_days": 365}, 200); got["delivery_days"] != 30.0 || got["report_days"] != 365.0 {
		t.Errorf("settings %v", got)
	}
	for query, want := range map[string]int{
		"text=IGNORED&event=Push+Hook": 1, "text=nothing-like-it": 0, "project=platform/": 2, "project=elsewhere": 0, "until=2020-01-01": 0, "since=2020-01-01": 2, "state=done": 2, "state=failed": 0,
		"since=2020-01-01T00:00:00Z&until=2999-01-01": 2,
	} {
		until(t, query, func() bool { return len(r.items("/deliveries?"+query)) == want })
	}
	if code, raw := r.api("GET", "/deliveries?since=yesterday", nil); code != 422 || !strings.Contains(string(raw), "2026-03-14") {
		t.Errorf("a wrong date: %d %s", code, raw)
	}
	r.unrefused()
}
