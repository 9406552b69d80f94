package sim

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
)

// TestConcurrentUse lets people, an integration, a browser and git work at once; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver("push_events", "merge_requests_events", "note_events", "pipeline_events", "deployment_events")
	const branches, pushes = 4, 4
	dir := t.TempDir()
	var wg sync.WaitGroup
	report := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for i := range branches {
		branch := fmt.Sprintf("feature/%d", i)
		wg.Go(func() {
			for n := range pushes {
				sha, err := w.s.Push(w.project.ID, branch, "Change", map[string]string{fmt.Sprintf("f%d.tf", i): fmt.Sprint(n)})
				report(err)
				if n == 0 {
					_, err := w.s.OpenMergeRequest(w.project.ID, branch, "main", branch, 0)
					report(err)
				}
				body := map[string]any{"state": "success", "name": branch, "ref": branch}
				if got := w.as("developer", "POST", w.in("/statuses/%s", sha), body); got.status != http.StatusCreated {
					t.Errorf("status: %d %s", got.status, got.raw)
				}
			}
		})
		wg.Go(func() {
			for range pushes {
				w.page("/-/merge_requests")
				w.as("developer", "GET", w.in("/repository/branches"), nil)
				body := map[string]any{"environment": "prod", "sha": "main", "ref": "main", "tag": false, "status": "success"}
				w.as("developer", "POST", w.in("/deployments"), body)
			}
		})
		wg.Go(func() {
			if out, err := gitIn(t, dir, "clone", "--quiet", w.clone("reporter"), filepath.Join(dir, fmt.Sprint(i))); err != nil {
				t.Errorf("clone: %v %s", err, out)
			}
		})
	}
	wg.Wait()
	rc.rest(w)
	for i := range branches {
		iid := int64(i + 1)
		if _, err := w.s.MergeMergeRequest(w.project.ID, iid, 0); err != nil {
			t.Error(err)
		}
	}
	if got := rc.rest(w); len(got) != 2*branches {
		t.Errorf("%d hooks of %d merges, want a push and a merge of each", len(got), branches)
	}
	if len(w.s.Refused()) != 0 {
		t.Errorf("refused: %v", w.s.Refused())
	}
}
