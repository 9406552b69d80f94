package engine

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// read processes deliveries with the inbox pump until the test ends.
func (w *world) read() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.e.pump(ctx, "inbox", w.e.inboxWake, w.e.inbox)
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// pushed delivers a push of a new commit whose files only GitLab can tell.
func (w *world) pushed(branch, before, after string) store.Delivery {
	w.t.Helper()
	body := fmt.Sprintf(`{"object_kind":"push","ref":"refs/heads/%s","before":%q,"after":%q,"project_id":%d,"total_commits_count":40,"commits":[]}`, branch, before, after, w.project.ID)
	d, _, err := w.st.AddDelivery(store.Delivery{Event: "Push Hook", Headers: map[string]string{"X-Gitlab-Event": "Push Hook"}}, []byte(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) delivery(id string) (d store.Delivery) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) (err error) { d, err = tx.Delivery(id); return err }); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func sha(c string, n int) string { return fmt.Sprintf("%s%039x", c, n) }

// slowly makes every comparison of commits take a while, and counts those under way.
func (w *world) slowly(d time.Duration, most *atomic.Int64) {
	var now atomic.Int64
	w.trouble(func(r *http.Request) *http.Response {
		if !strings.Contains(r.URL.Path, "/compare") {
			return nil
		}
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(d) // GitLab thinks
		return response(200, `{"diffs":[{"old_path":"a.tf","new_path":"a.tf"}]}`)
	})
}

// Deliveries of many branches wait for GitLab beside each other, within bounds.
func TestDeliveriesWaitForGitLabBesideEachOther(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		var most atomic.Int64
		w.slowly(time.Second, &most)
		var last store.Delivery
		for i := range 200 {
			last = w.pushed(fmt.Sprint("branch-", i), sha("a", i), sha("b", i))
		}
		begin := time.Now()
		w.read()
		for w.delivery(last.ID).State == store.DeliveryWaiting && time.Since(begin) < time.Hour {
			time.Sleep(time.Second)
		}
		if took := time.Since(begin); took > 200/readers*time.Second+10*time.Second {
			t.Errorf("200 seconds of GitLab took %s", took)
		}
		if most.Load() != readers {
			t.Errorf("%d at once", most.Load())
		}
		if d := w.delivery(last.ID); d.State != store.DeliveryDone || len(d.Runs) != 1 {
			t.Errorf("the last: %+v", d)
		}
	})
}

// Pushes of one branch keep their order also while GitLab can't say what the first changed, and hold up nobody else.
func TestDeliveriesOfABranchKeepTheirOrder(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		w.trouble(func(r *http.Request) *http.Response {
			if strings.Contains(r.URL.Path, "/compare") && r.URL.Query().Get("from") == sha("a", 1) {
				return response(503, `{}`)
			}
			return response(200, `{"diffs":[{"old_path":"a.tf","new_path":"a.tf"}]}`)
		})
		first := w.pushed("feature", sha("a", 1), sha("a", 2))
		second := w.pushed("feature", sha("a", 2), sha("a", 3))
		other := w.pushed("other", sha("c", 1), sha("c", 2))
		w.read()
		time.Sleep(time.Minute)
		if d := w.delivery(other.ID); d.State != store.DeliveryDone {
			t.Errorf("the other branch waits: %+v", d)
		}
		if d := w.delivery(second.ID); d.State != store.DeliveryWaiting {
			t.Errorf("the second push went first: %+v", d)
		}
		time.Sleep(patience)
		one, two := w.delivery(first.ID), w.delivery(second.ID)
		if len(one.Runs) != 1 || len(two.Runs) != 1 {
			t.Fatalf("verdicts %q and %q", one.Verdict, two.Verdict)
		}
		if r := w.run(one.Runs[0]); r.State != runs.Canceled {
			t.Errorf("the older run is %s", r.State)
		}
		if r := w.run(two.Runs[0]); r.State != runs.Queued {
			t.Errorf("the newer run is %s", r.State)
		}
		if n := len(w.e.letters.order) + len(w.e.letters.due) + len(w.e.letters.atWork); n != 0 {
			t.Errorf("%d entries are left of what was processed", n)
		}
	})
}

func TestWhatIsKeptInOrder(t *testing.T) {
	mr := func(source int64) *gitlab.MergeRequestHook {
		return &gitlab.MergeRequestHook{MergeRequest: gitlab.MergeRequest{IID: 3, SourceBranch: "x", SourceProject: source, TargetProject: 7}}
	}
	for _, tt := range []struct {
		hook gitlab.Hook
		want letterLine
	}{
		{gitlab.Hook{ProjectID: 7, Push: &gitlab.Push{Ref: "refs/heads/x"}}, letterLine{project: 7, name: "refs/heads/x"}},
		{gitlab.Hook{ProjectID: 7, MR: mr(7)}, letterLine{project: 7, name: "refs/heads/x"}},
		{gitlab.Hook{ProjectID: 7, MR: mr(8)}, letterLine{project: 7, name: "fork/3"}},
		{gitlab.Hook{ProjectID: 7, Push: &gitlab.Push{Ref: "refs/tags/x"}}, letterLine{project: 7, name: "refs/tags/x"}},
		{gitlab.Hook{ProjectID: 7, Note: &gitlab.NoteHook{MR: &gitlab.MergeRequestHook{MergeRequest: gitlab.MergeRequest{IID: 3}}}}, letterLine{project: 7, name: "3", comments: true}},
		{gitlab.Hook{ProjectID: 7}, letterLine{}},
	} {
		if got := lineOf(tt.hook); got != tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.hook, got, tt.want)
		}
	}
}
