package store

import (
	"fmt"
	"slices"
	"testing"

	"groundcrew/runs"
)

func ids(list []runs.Run) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.ID)
	}
	return out
}

// The proposed runs of one branch are found, and no others: of a branch whose name begins the same, of a fork's branch of
// the same name, of other types and stacks, or ended.
func TestProposals(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "a")
	addStack(t, s, "b")
	on := func(branch string, mr *runs.MergeRequest) func(*runs.Run) {
		return func(r *runs.Run) { r.Branch, r.MR = branch, mr }
	}
	fork := &runs.MergeRequest{IID: 7, Fork: true}
	one := request(t, s, "a", runs.Proposed, "1", on("x", nil))
	two := request(t, s, "a", runs.Proposed, "2", on("x", &runs.MergeRequest{IID: 3}))
	deep := request(t, s, "a", runs.Proposed, "3", on("x/y", nil))
	theirs := request(t, s, "a", runs.Proposed, "4", on("x", fork))
	gone := request(t, s, "a", runs.Proposed, "5", on("x", fork))
	apply(t, s, gone.ID, runs.Cancel{})
	request(t, s, "a", runs.Tracked, "6", on("x", nil))
	request(t, s, "b", runs.Proposed, "7", on("x", nil))
	apply(t, s, one.ID, runs.LearnedMR{MR: runs.MergeRequest{IID: 3}})
	view(t, s, func(tx *Tx) error {
		for _, c := range []struct {
			branch string
			fork   int64
			want   []string
		}{{"x", 0, []string{one.ID, two.ID}}, {"x/y", 0, []string{deep.ID}}, {"x", 7, []string{theirs.ID}}, {"x", 8, nil}, {"", 0, nil}} {
			got, err := tx.Proposals("a", c.branch, c.fork)
			if err != nil || !slices.Equal(ids(got), c.want) {
				t.Errorf("%s of %d: %v, %v; want %v", c.branch, c.fork, ids(got), err, c.want)
			}
		}
		for iid, want := range map[int64][]string{3: {one.ID, two.ID}, 7: {theirs.ID}, 9: nil} {
			got, err := tx.ActiveIn(7, iid)
			if err != nil || !slices.Equal(ids(got), want) {
				t.Errorf("in !%d: %v, %v; want %v", iid, ids(got), err, want)
			}
		}
		return nil
	})
}

// BenchmarkProposals is what a push looks at when its stack has very many runs of other branches that have not ended.
func BenchmarkProposals(b *testing.B) {
	s := open(b, quick)
	addStack(b, s, "a")
	update(b, s, func(tx *Tx) error {
		for i := range 1000 {
			ask := runs.Run{Stack: "a", Project: 7, Type: runs.Proposed, Trigger: runs.ByWebhook, Commit: runs.Commit{SHA: fmt.Sprint(i)}, Branch: fmt.Sprint("topic-", i)}
			if _, err := tx.Apply(tx.NewID(), runs.Requested{Meta: runs.Meta{At: tx.Now()}, Run: ask}); err != nil {
				return err
			}
		}
		return nil
	})
	for name, look := range map[string]func(*Tx) error{
		"branch": func(tx *Tx) error { _, err := tx.Proposals("a", "topic-500", 0); return err },
		"stack":  func(tx *Tx) error { _, err := tx.scanActive("a"); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				view(b, s, look)
			}
		})
	}
}
