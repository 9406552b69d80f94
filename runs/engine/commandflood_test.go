package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// flood lets people comment in turns without a pause, and counts the answers by their kind.
func (w *forum) flood(n int, people ...sim.User) (answered, told int) {
	w.t.Helper()
	var ids []int64
	for i := range n {
		ids = append(ids, w.write(people[i%len(people)], "/groundcrew help"))
	}
	w.settle()
	for _, id := range ids {
		if a := w.answer(id); strings.Contains(a, "commands on this merge request within a minute") {
			told++
		} else if a != "" {
			answered++
		}
	}
	return answered, told
}

// asked is how often GitLab was asked for a comment since it was last looked at.
func (w *forum) asked() int { return w.calls()["GET notes"] }

// One person's flood is bounded, costs GitLab nothing beyond, and keeps nobody else from being heard.
func TestCommandFloodOfOne(t *testing.T) {
	speaking(t, func(w *forum) {
		w.calls()
		if answered, told := w.flood(30, w.rob); answered != maxOwn || told != 1 {
			t.Errorf("%d of 30 answered, %d told that there were too many", answered, told)
		}
		if n := w.asked(); n > maxOwn+2 {
			t.Errorf("GitLab was asked for %d comments", n)
		}
		for _, who := range []sim.User{w.dan, w.ann} {
			id := w.write(who, "/groundcrew help")
			w.settle()
			says(t, w.answer(id), "Write a command")
		}
		time.Sleep(2 * time.Minute)
		says(t, w.say(w.rob, "/groundcrew help"), "Write a command")
	})
}

// A crowd of Reporters fills a merge request's share, and who works there is heard all the same, as long as they write little.
func TestCommandFloodOfMany(t *testing.T) {
	speaking(t, func(w *forum) {
		var crowd []sim.User
		for i := range 6 {
			u := w.sim.AddUser(fmt.Sprintf("reporter%d", i), "Reporter", false)
			w.sim.AddMember(w.project.ID, u.ID, sim.Reporter)
			crowd = append(crowd, u)
		}
		if answered, told := w.flood(54, crowd...); answered != maxCrowd || told != 1 {
			t.Errorf("%d of 54 answered, %d told that there were too many", answered, told)
		}
		w.calls()
		if answered, told := w.flood(20, w.rob); answered != 0 || told != 0 {
			t.Errorf("%d answered and %d told beyond the share", answered, told)
		}
		if n := w.asked(); n > maxInVain {
			t.Errorf("GitLab was asked for %d comments of somebody who is not heard", n)
		}
		for _, who := range []sim.User{w.dan, w.ann} {
			if answered, told := w.flood(few+3, who); answered != few || told != 0 {
				t.Errorf("%s is answered %d times, told %d times", who.Username, answered, told)
			}
		}
	})
}

// Who has no role is not answered, and soon not asked about any more; with a role they are heard within a minute.
func TestCommandFloodOfAStranger(t *testing.T) {
	speaking(t, func(w *forum) {
		w.calls()
		if answered, told := w.flood(30, w.eve); answered+told != 0 {
			t.Errorf("%d answered, %d told", answered, told)
		}
		if n := w.asked(); n > maxInVain {
			t.Errorf("GitLab was asked for %d comments", n)
		}
		says(t, w.verdict(), "not a member")
		w.sim.AddMember(w.project.ID, w.eve.ID, sim.Reporter)
		time.Sleep(time.Minute)
		says(t, w.say(w.eve, "/groundcrew help"), "Write a command")
		if len(w.e.vain) != 0 {
			t.Errorf("remembered for ever: %v", w.e.vain)
		}
	})
}

// However many answers wait, what runs came to is told first.
func TestAnswersWaitForPlans(t *testing.T) {
	inBubble(t, func(w *world) {
		const limit, answers, plans = 30, 100, 10
		var mrs []*runs.MergeRequest
		sha := w.push("feature")
		mrs = append(mrs, w.openMR("feature"))
		for i := range 9 {
			branch := fmt.Sprintf("other-%d", i)
			w.push(branch)
			mrs = append(mrs, w.openMR(branch))
		}
		w.quiet()
		w.e.budget.mu.Lock()
		w.e.budget.notes = limit
		w.e.budget.mu.Unlock()
		w.update(func(tx *store.Tx) error {
			for i := range int64(answers) {
				if err := tx.Reply(w.project.ID, mrs[1+i%9].IID, 1_000_000+i, i, "", "an answer"); err != nil {
					return err
				}
			}
			return nil
		})
		time.Sleep(5 * time.Second) // answers took what they may have by now
		var list []runs.Run
		for i := range plans {
			slug := fmt.Sprintf("s%03d", i)
			w.stack(slug)
			r := w.propose(slug, "feature", sha, mrs[0])
			list = append(list, w.apply(r.ID, planned(runs.Delta{}, false)...))
		}
		time.Sleep(10 * time.Second)
		w.truth(list)
		w.quiet() // and no answer is lost
		n := 0
		for _, mr := range mrs {
			for _, note := range w.notes(mr.IID) {
				if strings.HasPrefix(note.Body, ownMarks+"-reply") {
					n++
				}
			}
		}
		if n != answers {
			t.Errorf("%d answers, want %d", n, answers)
		}
	})
}
