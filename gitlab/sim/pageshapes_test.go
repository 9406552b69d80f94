package sim

import (
	"net/http"
	"strings"
	"testing"
)

// walk gets the pages a person would click through, and fails on one that is not there or shows a hole in its template.
func (w *world) walk(paths ...string) {
	w.t.Helper()
	for _, path := range paths {
		got := w.do(w.request("GET", w.url+"/"+w.project.Path+path, nil))
		if got.status != http.StatusOK {
			w.t.Errorf("%s%s: %d %s", w.project.Path, path, got.status, got.raw)
		}
		for _, hole := range []string{"<no value>", "%!", "<nil>"} {
			if strings.Contains(got.raw, hole) {
				w.t.Errorf("%s%s shows %s:\n%s", w.project.Path, path, hole, got.raw)
			}
		}
	}
}

// TestPagesOfEveryShape: repositories with long ids, empty ones and archived ones have their pages like others, and a deleted
// project has none.
func TestPagesOfEveryShape(t *testing.T) {
	w := newWorld(t)
	long, err := w.s.AddSHA256Project("acme/a/b/c/d/long", "main", someFiles)
	w.check(err)
	w.project = long
	w.s.AddMember(long.ID, w.users["developer"].ID, Developer)
	sha := w.push("feature", map[string]string{"a.tf": "one\n"})
	iid := w.openMR("feature")
	pipeline := w.post(201, "developer", sha, "running", map[string]any{"name": "groundcrew/net", "description": "Planning", "target_url": "https://gc.example.com/runs/1"}).object()["pipeline_id"]
	deploy := map[string]any{"environment": "production/net", "sha": sha, "ref": "feature", "tag": false, "status": "success"}
	w.want(201, "developer", "POST", w.in("/deployments"), deploy)
	pages := []string{"", "/-/merge_requests", "/-/pipelines", "/-/environments", "/-/hooks"}
	mr := "/-/merge_requests/" + itoa(iid)
	w.walk(append(pages, mr, "/-/pipelines/"+itoa(int64(pipeline.(float64))), "/-/commit/"+sha)...)
	w.page(mr, `data-name="groundcrew/net" data-status="running"`, `href="https://gc.example.com/runs/1"`, "&#43;one")
	w.page("/-/environments", `data-testid="deployment" data-status="success" data-sha="`+sha)
	w.check(w.s.Configure(long.ID, func(s *Settings) { s.Archived = true }))
	w.walk(append(pages, mr)...)
	w.check(w.s.RenameBranch(long.ID, "main", "trunk"))
	w.walk(append(pages, mr)...)
	w.check(w.s.DeleteProject(long.ID))
	if got := w.do(w.request("GET", w.url+"/"+long.Path, nil)); got.status != http.StatusNotFound {
		t.Errorf("a deleted project's page: %d", got.status)
	}
	w.want(404, "developer", "GET", w.in(""), nil)
	w.check(w.s.RestoreProject(long.ID))
	w.walk(append(pages, mr)...)
	if w.project, err = w.s.AddProject("acme/empty", "main", nil); err != nil {
		t.Fatal(err)
	}
	w.walk(pages...)
}

// TestSHA256Ids: ids and zeros of such a repository have 64 digits in answers and deliveries alike (§W3).
func TestSHA256Ids(t *testing.T) {
	w := newWorld(t)
	long, err := w.s.AddSHA256Project("acme/long", "main", someFiles)
	w.check(err)
	w.project = long
	w.s.AddMember(long.ID, w.users["maintainer"].ID, Maintainer)
	rc := w.receiver("push_events", "tag_push_events")
	sha := w.push("feature", map[string]string{"a.tf": "one\n"})
	zeros := strings.Repeat("0", 64)
	if b := rc.next(t, "Push Hook").body; b["before"] != zeros || b["after"] != sha || b["checkout_sha"] != sha {
		t.Errorf("a new branch is %v..%v", b["before"], b["after"])
	}
	w.check(w.s.CreateTag(long.ID, "v1", sha, "One"))
	if b := rc.next(t, "Tag Push Hook").body; b["before"] != zeros || b["checkout_sha"] != sha || len(b["after"].(string)) != 64 {
		t.Errorf("a tag is %v", b)
	}
	w.check(w.s.DeleteBranch(long.ID, "feature"))
	if b := rc.next(t, "Push Hook").body; b["after"] != zeros || b["checkout_sha"] != nil {
		t.Errorf("a deleted branch is %v..%v", b["before"], b["after"])
	}
	if got := w.want(200, "maintainer", "GET", w.in(""), nil).object()["repository_object_format"]; got != "sha256" {
		t.Errorf("the format is %v", got)
	}
}
