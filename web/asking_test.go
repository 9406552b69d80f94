package web

import (
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

// TestListsDoNotWaitForGitLab: with many projects and a slow GitLab a list comes within its time, shows what is known, says what
// is not, and is whole soon after; then it is answered from memory. A program gets no half list.
func TestListsDoNotWaitForGitLab(t *testing.T) {
	const projects = 500
	g := newGuild(t)
	g.update(func(tx *store.Tx) error {
		for i := range projects {
			if _, err := tx.AddStack(runs.Stack{
				Name: fmt.Sprintf("far-%d", i), Project: int64(9000 + i), ProjectPath: fmt.Sprintf("far/p%d", i), ProjectURL: "https://gitlab.test/far",
				Branch: "main", ProjectRoot: "live", Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult,
			}); err != nil {
				return err
			}
		}
		return nil
	})
	g.f.Fault(sim.Fault{Path: regexp.MustCompile(`/members/all/`), Delay: 50 * time.Millisecond})
	b := g.people["reporter"]
	begin := time.Now()
	got := g.get(b, "/stacks")
	cold := time.Since(begin)
	if got.status != 200 || !strings.Contains(got.body, "not asked yet") {
		t.Errorf("status %d, or the page does not say that it is not whole", got.status)
	}
	if cold > 5*time.Second { // asking first would take as long as GitLab likes
		t.Errorf("the first page took %v", cold)
	}
	if got := g.get(b, "/api/v1/stacks"); got.status != 200 || !strings.Contains(got.body, `"a"`) {
		t.Errorf("a program that waits: status %d %.200s", got.status, got.body)
	}
	var warm []time.Duration
	for range 9 {
		begin = time.Now()
		got = g.get(b, "/stacks")
		warm = append(warm, time.Since(begin))
	}
	slices.Sort(warm)
	t.Logf("%d projects: cold %v, warm %v", projects, cold, warm[4])
	if got.status != 200 || strings.Contains(got.body, "not asked yet") || !strings.Contains(got.body, "/stacks/a\"") || strings.Contains(got.body, "far-1") {
		t.Errorf("status %d, or the page is not whole:\n%.300s", got.status, got.body)
	}
	if n := len(g.web.asked.pending) + len(g.web.asked.lines); n != 0 {
		t.Errorf("%d questions are left over", n)
	}
}

// TestOldAnswersSayWhatToAskFirst: who may read few of many projects sees them after a moment, also after a long pause; a program
// waits for everything, and an old answer opens nothing.
func TestOldAnswersSayWhatToAskFirst(t *testing.T) {
	const projects = 500
	g := newGuild(t)
	b, all := g.people["reporter"], []int64{}
	for i := range projects {
		all = append(all, int64(9000+i))
	}
	all = append(all, g.f.project.ID)
	g.update(func(tx *store.Tx) error {
		for i, p := range all[:projects] {
			if _, err := tx.AddStack(runs.Stack{
				Name: fmt.Sprintf("far-%d", i), Project: p, ProjectPath: fmt.Sprintf("far/p%d", i), ProjectURL: "https://gitlab.test/far",
				Branch: "main", ProjectRoot: "live", Tool: runs.OpenTofu, State: runs.StateManaged, Plan: runs.PlanMergeResult,
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if got := g.get(b, "/api/v1/stacks"); got.status != 200 {
		t.Fatalf("status %d", got.status)
	}
	g.age(10 * time.Minute)
	g.f.Fault(sim.Fault{Path: regexp.MustCompile(`/members/all/`), Delay: 50 * time.Millisecond})
	begin := time.Now()
	got := g.get(b, "/stacks")
	took := time.Since(begin)
	if got.status != 200 || !strings.Contains(got.body, "/stacks/a\"") || strings.Contains(got.body, "not asked yet") {
		t.Errorf("status %d, or the page is not whole", got.status)
	}
	t.Logf("%d projects, one of them readable, after ten minutes: %v", projects, took)
	s := g.web.asked.survey(g.ids["reporter"], all, time.Now(), askedAge)
	if s.unknown == 0 || s.unknown != s.old || s.levels[g.f.project.ID] != sim.Reporter {
		t.Errorf("the page waited for what could not be read before: %d unknown, %d of them old", s.unknown, s.old)
	}
	if got := g.get(b, "/api/v1/stacks"); got.status != 200 || !strings.Contains(got.body, `"a"`) {
		t.Errorf("a program: status %d", got.status)
	}
	if s := g.web.asked.survey(g.ids["reporter"], all, time.Now(), askedAge); s.unknown != 0 {
		t.Errorf("a program got its answer with %d projects not asked", s.unknown)
	}
	g.f.AddMember(g.f.project.ID, g.ids["reporter"], 0)
	g.age(2 * askedAge)
	if got := g.get(b, "/stacks"); strings.Contains(got.body, "/stacks/a\"") {
		t.Error("an answer that is too old opened a stack")
	}
}

// TestAnswersAreAskedAnewBeforeTheyAreOld: a page within the second half of the minute uses what is known and asks again.
func TestAnswersAreAskedAnewBeforeTheyAreOld(t *testing.T) {
	g := newGuild(t)
	b := g.people["reporter"]
	sees := func() bool { return strings.Contains(g.get(b, "/stacks").body, "/stacks/a\"") }
	if !sees() {
		t.Fatal("a Reporter does not see the stack")
	}
	g.f.AddMember(g.f.project.ID, g.ids["reporter"], 0)
	g.age(askedAge/2 + time.Second)
	if !sees() {
		t.Error("an answer that is not too old was not used")
	}
	deadline := time.Now().Add(2 * time.Minute)
	for sees() {
		if time.Now().After(deadline) {
			t.Fatal("GitLab was not asked again")
		}
	}
	clear := g.f.Fault(sim.Fault{Status: 502, Body: "<html>"})
	defer clear()
	g.age(askedAge)
	if got := g.get(b, "/stacks"); got.status != 403 || !strings.Contains(got.body, "GitLab cannot be asked") {
		t.Errorf("GitLab is down for longer than a minute: status %d", got.status)
	}
}

// age makes GitLab's answers older.
func (g *guild) age(by time.Duration) {
	g.web.asked.mu.Lock()
	defer g.web.asked.mu.Unlock()
	for k, v := range g.web.asked.known {
		v.at = v.at.Add(-by)
		g.web.asked.known[k] = v
	}
}
