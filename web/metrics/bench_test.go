package metrics

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// BenchmarkScrape asks again and again with 100,000 ended runs, 1,000 that wait and 2,000 reports to be sent in the store.
func BenchmarkScrape(b *testing.B) {
	m, st := newMetrics(b, Options{})
	for done := 0; done < 100_000; {
		update(b, st, func(tx *store.Tx) error {
			for range 1000 {
				id := tx.NewID()
				r := runs.Run{Stack: fmt.Sprint("s", done%50), Project: 1, Type: runs.Proposed, Commit: runs.Commit{SHA: fmt.Sprintf("%040d", done)}}
				if _, err := tx.Apply(id, runs.Requested{Run: r}); err != nil {
					return err
				}
				if done++; done > 99_000 {
					continue
				}
				if _, err := tx.Apply(id, runs.Cancel{}); err != nil {
					return err
				}
				rep, _, err := tx.Report(store.StatusTarget(1, r.Commit.SHA, "groundcrew/"+r.Stack))
				if rep.State = store.ReportDelivered; err != nil || done%100 == 0 {
					continue
				}
				if err := tx.PutReport(rep); err != nil {
					return err
				}
			}
			return nil
		})
	}
	scrape(b, m)
	m.wg.Wait()
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		scrape(b, m)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
	m.mu.Lock()
	m.slow.at = time.Time{}
	m.mu.Unlock()
	begin := time.Now()
	scrape(b, m)
	b.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "afresh-ms")
	b.ReportMetric(0, "ns/op")
}
