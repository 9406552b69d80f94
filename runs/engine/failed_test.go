package engine

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// silences are ways in which GitLab does not say what an event needs, each for all requests.
var silences = map[string]func(*http.Request) *http.Response{
	"refused":    func(*http.Request) *http.Response { return refused },
	"broken":     func(*http.Request) *http.Response { return response(500, `{"message":"500 Internal Server Error"}`) },
	"forbidden":  func(*http.Request) *http.Response { return response(403, `{"message":"403 Forbidden"}`) },
	"not seen":   func(*http.Request) *http.Response { return response(404, `{"message":"404 Project Not Found"}`) },
	"dead token": func(*http.Request) *http.Response { return response(401, `{"message":"401 Unauthorized"}`) },
}

// TestWhatGitLabDidNotAnswerInTimeIsFound: an event that needed GitLab, and could not have it for longer than its patience, leads to what it
// would have led to, once, when GitLab is back, and holds nothing up.
func TestWhatGitLabDidNotAnswerInTimeIsFound(t *testing.T) {
	for name, trouble := range silences {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.stack("network")
				w.listen()
				if _, err := w.e.InstallHook(w.t.Context(), w.project.ID, "admin"); err != nil {
					t.Fatal(err)
				}
				w.push("feature")
				mr := w.openMR("feature")
				first := w.push("main")
				w.push("main")
				w.later()
				w.update(func(tx *store.Tx) error { return tx.PutHead(w.project.ID, "main", first) }) // as if the second never came
				tracked, proposed := len(w.runsOf(runs.Tracked)), len(w.runsOf(runs.Proposed))

				w.trouble(trouble)
				w.push("main")
				w.push("feature")
				w.push("other")
				other, err := w.sim.OpenMergeRequest(w.project.ID, "other", "main", "Other", 0)
				w.do(err)
				w.sim.WaitHooks()
				time.Sleep(patience + 2*time.Minute)
				w.idle()
				if n := w.failures(); (n != 1) != (name == "not seen") { // of a branch that is not seen nothing has to be asked
					t.Errorf("%d deliveries failed", n)
				}
				w.trouble(nil)
				_, err = w.e.TestIntegration(w.t.Context())
				w.do(err)
				w.later()
				w.later()
				for range 6 {
					w.once(runs.Tracked, "main", 0)
					w.once(runs.Proposed, "feature", mr.IID)
					w.once(runs.Proposed, "other", other)
					time.Sleep(watchEvery)
				}
				w.idle()
				if n, m := len(w.runsOf(runs.Tracked))-tracked, len(w.runsOf(runs.Proposed))-proposed; n != 1 || m != 2 {
					t.Errorf("%d tracked and %d proposed runs more", n, m)
				}
			})
		})
	}
}

func (w *world) failures() (n int) {
	w.t.Helper()
	w.do(w.st.View(func(tx *store.Tx) error {
		failed, err := tx.FailedDeliveries(10)
		n = len(failed)
		return err
	}))
	return n
}

// idle holds the inbox to having nothing that waits.
func (w *world) idle() {
	w.t.Helper()
	w.do(w.st.View(func(tx *store.Tx) error {
		ids, err := tx.Inbox(10)
		for _, id := range ids {
			d, err := tx.Delivery(id)
			w.t.Errorf("still waiting: %+v, %v", d, err)
		}
		return err
	}))
}

// once holds the head of a branch to one run of a type, in the merge request.
func (w *world) once(typ runs.Type, branch string, iid int64) {
	w.t.Helper()
	n, in := 0, 0
	for _, r := range w.runsOf(typ) {
		if r.Commit.SHA == w.sim.Head(w.project.ID, branch) {
			n++
			if iid != 0 && r.In(iid) != nil {
				in++
			}
		}
	}
	if n != 1 || iid != 0 && in != 1 {
		w.t.Errorf("the head of %s has %d runs, %d in !%d", branch, n, in, iid)
	}
}

// TestWhatWaitsHoldsUpNoOtherProject: comparisons wait for what was delivered of the same project, and not for comments, which may wait a day.
func TestWhatWaitsHoldsUpNoOtherProject(t *testing.T) {
	for _, kind := range []string{"a comment", "a push of another project"} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.stack("network")
				other, err := w.sim.AddProject("platform/other", "main", map[string]string{"README.md": "# Other\n"})
				w.do(err)
				w.sim.AddMember(other.ID, w.bot.ID, 40)
				w.update(func(tx *store.Tx) error {
					_, err := tx.AddStack(runs.Stack{Name: "other", Project: other.ID, ProjectPath: other.Path, Branch: "main", Tool: runs.Terraform, State: runs.StateManaged, Plan: runs.PlanHead})
					return err
				})
				w.listen()
				w.later()
				before := len(w.runsOf(runs.Tracked))
				of := fmt.Sprintf("/api/v4/projects/%d/", other.ID)
				w.trouble(func(r *http.Request) *http.Response {
					if len(r.URL.Path) >= len(of) && r.URL.Path[:len(of)] == of {
						return response(500, "{}")
					}
					return nil
				})
				stop := make(chan struct{})
				go func() {
					for i := 0; ; i++ { // one that waits at each moment
						w.letter(kind, other.ID, i)
						select {
						case <-stop:
							return
						case <-time.After(4 * time.Minute):
						}
					}
				}()
				w.push("main")
				time.Sleep(30 * time.Minute)
				if n := len(w.runsOf(runs.Tracked)) - before; n != 1 {
					t.Errorf("%d runs of a push that nobody delivered", n)
				}
				close(stop)
				w.trouble(nil)
			})
		})
	}
}

// letter delivers something of a project that needs GitLab.
func (w *world) letter(kind string, project int64, i int) {
	event := "Push Hook"
	body := fmt.Sprintf(`{"object_kind":"push","ref":"refs/heads/main","before":%q,"after":%q,"checkout_sha":%[2]q,"project_id":%[3]d,"project":{"id":%[3]d,"path_with_namespace":"platform/other","default_branch":"main"},"total_commits_count":1,"commits":[{"id":%[2]q,"title":"t","added":["x.tf"]}]}`,
		fmt.Sprintf("%040x", i+1), fmt.Sprintf("%040x", i+2), project)
	if kind == "a comment" {
		event = "Note Hook"
		body = fmt.Sprintf(`{"object_kind":"note","event_type":"note","user":{"id":5,"username":"ann"},"project_id":%d,"object_attributes":{"id":%d,"note":"/groundcrew help","noteable_type":"MergeRequest","author_id":5,"action":"create"},"merge_request":{"iid":1,"state":"opened","target_project_id":%[1]d,"source_project_id":%[1]d}}`, project, i+1)
	}
	_, _, err := w.st.AddDelivery(store.Delivery{Event: event, Headers: map[string]string{"X-Gitlab-Event": event}}, []byte(body))
	if err != nil {
		w.t.Error(err)
	}
}
