package engine

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// takes plans a run that destroys the addresses.
func (w *world) takes(r runs.Run, addresses ...string) {
	w.t.Helper()
	var c runs.Changes
	for _, a := range addresses {
		c.Resources = append(c.Resources, runs.ResourceChange{Address: a, Type: "t", Action: runs.ActDestroy})
	}
	raw, err := json.Marshal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.st.WriteFile(raw, "changes", r.ID+".json"); err != nil {
		w.t.Fatal(err)
	}
	w.apply(r.ID, planned(runs.Delta{Add: 1, Destroy: len(addresses)}, false)...)
}

// threads are ours on a merge request: the first notes of discussions that can be resolved.
func (w *world) threads(iid int64) (list []sim.Note) {
	seen := map[string]bool{}
	for _, n := range w.notes(iid) {
		if n.Resolvable && !seen[n.Discussion] {
			seen[n.Discussion] = true
			list = append(list, n)
		}
	}
	return list
}

// thread is the one thread of the merge request.
func (w *world) thread(iid int64) sim.Note {
	w.t.Helper()
	list := w.threads(iid)
	if len(list) != 1 {
		w.t.Fatalf("%d threads, want one", len(list))
	}
	return list[0]
}

// plan pushes, and plans what takes the addresses away.
func (w *world) plan(slug string, mr *runs.MergeRequest, addresses ...string) runs.Run {
	w.t.Helper()
	r := w.propose(slug, mr.SourceBranch, w.push(mr.SourceBranch), mr)
	w.takes(r, addresses...)
	w.quiet()
	return r
}

// The life of a thread: none without destroys, one with them, edited in place, opened again for other ones, resolved by us
// when there are none any more, opened again when they come back.
func TestThreadsForDestroys(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		w.push("feature")
		mr := w.openMR("feature")
		w.plan("network", mr, "a.a")
		if n := len(w.threads(mr.IID)); n != 0 {
			t.Fatalf("%d threads that nobody asked for", n)
		}
		w.relink(func(in *store.Integration) { in.DestroyThreads = true })
		w.plan("network", mr)
		if n := len(w.threads(mr.IID)); n != 0 {
			t.Fatalf("%d threads although nothing is destroyed", n)
		}
		w.plan("network", mr, "a.a")
		first := w.thread(mr.IID)
		if first.Resolved || !strings.Contains(first.Body, "destroys 1 resource") || !strings.Contains(first.Body, "a.a") {
			t.Errorf("the thread says %s", first.Body)
		}
		w.plan("network", mr, "a.a", "b.b")
		if got := w.thread(mr.IID); got.ID != first.ID || got.Resolved || !strings.Contains(got.Body, "b.b") {
			t.Errorf("edited: %+v", got)
		}
		last := w.plan("network", mr)
		if got := w.thread(mr.IID); !got.Resolved || got.ResolvedBy != w.bot.Username || !strings.Contains(got.Body, "nothing is destroyed or replaced any more") || !strings.Contains(got.Body, last.Commit.Short()) {
			t.Errorf("without destroys: %+v", got)
		}
		w.plan("network", mr, "a.a", "b.b")
		if got := w.thread(mr.IID); got.ID != first.ID || got.Resolved {
			t.Errorf("the destroys are back: %+v", got)
		}
		w.unrefused()
	})
}

// People are right: who resolved the thread for these destroys is not asked again, who reopened it is not overruled, and
// what was deleted is made anew.
func TestThreadsRespectPeople(t *testing.T) {
	inBubble(t, func(w *world) {
		w.relink(func(in *store.Integration) { in.DestroyThreads = true })
		w.stack("network")
		ada := w.sim.AddUser("ada", "Ada", false)
		w.sim.AddMember(w.project.ID, ada.ID, sim.Developer)
		w.push("feature")
		mr := w.openMR("feature")
		w.plan("network", mr, "a.a")
		resolve := func(resolved bool) {
			t.Helper()
			if err := w.sim.ResolveThread(w.project.ID, mr.IID, ada.ID, w.thread(mr.IID).ID, resolved); err != nil {
				t.Fatal(err)
			}
		}
		resolve(true)
		w.plan("network", mr, "a.a")
		if got := w.thread(mr.IID); got.ResolvedBy != "ada" || got.Edits == 0 {
			t.Errorf("a person resolved it for these destroys: %+v", got)
		}
		w.plan("network", mr, "b.b")
		if got := w.thread(mr.IID); got.Resolved {
			t.Error("other destroys ask again")
		}
		w.plan("network", mr)
		resolve(false)
		w.plan("network", mr)
		if got := w.thread(mr.IID); got.Resolved {
			t.Error("a person reopened it")
		}
		if err := w.sim.DeleteNote(w.project.ID, mr.IID, w.thread(mr.IID).ID); err != nil {
			t.Fatal(err)
		}
		w.plan("network", mr)
		if n := len(w.threads(mr.IID)); n != 0 {
			t.Errorf("%d threads although there is nothing to ask", n)
		}
		w.plan("network", mr, "a.a")
		if got := w.thread(mr.IID); got.Resolved {
			t.Error("made anew, it is open")
		}
		if err := w.sim.DeleteNote(w.project.ID, mr.IID, w.thread(mr.IID).ID); err != nil {
			t.Fatal(err)
		}
		w.plan("network", mr, "b.b")
		w.thread(mr.IID)
	})
}

// What switches threads off ends those that are open: they would block the merge for ever.
func TestThreadsEndWithWhatTheyAreAbout(t *testing.T) {
	for name, end := range map[string]func(*world, *runs.MergeRequest){
		"the stack is deleted": func(w *world, _ *runs.MergeRequest) {
			w.update(func(tx *store.Tx) error { return tx.DeleteStack("network") })
		},
		"switched off": func(w *world, _ *runs.MergeRequest) {
			w.relink(func(in *store.Integration) { in.DestroyThreads = false })
			w.update(func(tx *store.Tx) error { return tx.ReportThreads("") })
		},
		"the stack says no": func(w *world, _ *runs.MergeRequest) {
			if _, err := w.e.editStack("network", "ada", "stack.update", "", func(st *runs.Stack) error { st.DestroyThreads = runs.ThreadsOff; return nil }); err != nil {
				w.t.Fatal(err)
			}
		},
		"the newest commit does not concern it": func(w *world, mr *runs.MergeRequest) {
			w.update(func(tx *store.Tx) error {
				st, err := tx.Stack("network")
				if err != nil {
					return err
				}
				st.ProjectRoot = "infra"
				if err := tx.PutStack(st); err != nil {
					return err
				}
				row := store.MergeRequest{Project: w.project.ID, MergeRequest: *mr, State: "opened", Head: strings.Repeat("a", 40)}
				return w.e.propose(tx, &verdict{}, row, []string{"README.md"}, nil, runs.Person{})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.relink(func(in *store.Integration) { in.DestroyThreads = true })
				w.stack("network")
				w.push("feature")
				mr := w.openMR("feature")
				w.update(func(tx *store.Tx) error {
					return tx.PutMergeRequest(store.MergeRequest{Project: w.project.ID, MergeRequest: *mr, State: "opened", Head: strings.Repeat("b", 40)})
				})
				w.plan("network", mr, "a.a")
				end(w, mr)
				w.quiet()
				if got := w.thread(mr.IID); !got.Resolved || !strings.Contains(got.Body, "nothing is destroyed") {
					t.Errorf("the thread is %+v", got)
				}
			})
		})
	}
}

// Switching threads on asks about what was planned before.
func TestThreadsComeWhenSwitchedOn(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stack("network")
		w.push("feature")
		mr := w.openMR("feature")
		w.update(func(tx *store.Tx) error {
			return tx.PutMergeRequest(store.MergeRequest{Project: w.project.ID, MergeRequest: *mr, State: "opened"})
		})
		w.plan("network", mr, "a.a")
		_, err := w.e.editStack("network", "ada", "stack.update", "", func(st *runs.Stack) error { st.DestroyThreads = runs.ThreadsOn; return nil })
		if err != nil {
			t.Fatal(err)
		}
		w.quiet()
		if got := w.thread(mr.IID); got.Resolved {
			t.Errorf("the thread is %+v", got)
		}
	})
}

// Whatever happens to whichever request: one thread, as it should be.
func TestThreadsThroughFaults(t *testing.T) {
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(w *world) {
				w.relink(func(in *store.Integration) { in.DestroyThreads = true })
				for i, at := range []struct{ method, path string }{{"POST", "/discussions"}, {"GET", "/discussions"}, {"PUT", "/discussions/"}, {"", ""}} {
					w.push(fmt.Sprintf("feature-%d", i))
					mr := w.openMR(fmt.Sprintf("feature-%d", i))
					slug := fmt.Sprintf("s%d", i)
					w.stack(slug)
					f := trouble.fault
					f.Method, f.Path = at.method, regexp.MustCompile(regexp.QuoteMeta(at.path))
					clear := w.sim.Fault(f)
					w.plan(slug, mr, "a.a")
					if got := w.thread(mr.IID); got.Resolved || !strings.Contains(got.Body, "a.a") {
						t.Errorf("%s %s: opened %+v", at.method, at.path, got)
					}
					w.plan(slug, mr, "b.b")
					w.plan(slug, mr)
					if got := w.thread(mr.IID); !got.Resolved || !strings.Contains(got.Body, "nothing is destroyed") {
						t.Errorf("%s %s: ended %+v", at.method, at.path, got)
					}
					w.plan(slug, mr, "c.c")
					if got := w.thread(mr.IID); got.Resolved || !strings.Contains(got.Body, "c.c") {
						t.Errorf("%s %s: again %+v", at.method, at.path, got)
					}
					clear()
				}
			})
		})
	}
}

// A crash after GitLab made the thread and before we knew: it is found again, and a person who resolved it meanwhile is right.
func TestThreadsAreFoundAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.relink(func(in *store.Integration) { in.DestroyThreads = true })
		w.stack("network")
		ada := w.sim.AddUser("ada", "Ada", false)
		w.sim.AddMember(w.project.ID, ada.ID, sim.Maintainer)
		sha := w.push("feature")
		mr := w.openMR("feature")
		w.sim.Fault(sim.Fault{Method: "POST", Path: regexp.MustCompile("/discussions$"), CutAfterWork: true, Times: 1})
		mend := w.sim.Fault(sim.Fault{Method: "GET", Path: regexp.MustCompile("/discussions"), Status: 502})
		r := w.propose("network", "feature", sha, mr)
		w.takes(r, "a.a")
		for len(w.threads(mr.IID)) == 0 {
			time.Sleep(time.Second)
		}
		if err := w.sim.ResolveThread(w.project.ID, mr.IID, ada.ID, w.thread(mr.IID).ID, true); err != nil {
			t.Fatal(err)
		}
		mend()
		w.quiet()
		if got := w.thread(mr.IID); got.ResolvedBy != "ada" {
			t.Errorf("the thread is %+v", got)
		}
	})
}

// TestMergeRequestsKnowTheirStacks: what a merge request's newest commit concerns is kept with it, for the stacks' lists.
func TestMergeRequestsKnowTheirStacks(t *testing.T) {
	inBubble(t, func(w *world) {
		for slug, root := range map[string]string{"network": "infra", "dns": "dns", "docs": "docs"} {
			st := w.stack(slug)
			st.ProjectRoot = root
			w.update(func(tx *store.Tx) error { return tx.PutStack(st) })
		}
		w.push("feature")
		row := store.MergeRequest{Project: w.project.ID, MergeRequest: *w.openMR("feature"), State: "opened"}
		for _, c := range []struct {
			files, want []string
		}{
			{[]string{"infra/a.tf", "dns/a.tf"}, []string{"dns", "network"}},
			{[]string{"docs/a.md"}, []string{"docs"}},
			{[]string{"README.md"}, nil},
		} {
			row.Head = w.push("feature")
			w.update(func(tx *store.Tx) error {
				if err := w.e.propose(tx, &verdict{}, row, c.files, nil, runs.Person{}); err != nil {
					return err
				}
				got, _, err := tx.MergeRequest(row.Project, row.IID)
				if !slices.Equal(got.Stacks, c.want) {
					t.Errorf("%v concern %v, want %v", c.files, got.Stacks, c.want)
				}
				return err
			})
		}
	})
}
