package main

import (
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
