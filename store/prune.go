package store

import (
	"errors"
	"time"

	"groundcrew/runs"
)

// pruneBatch bounds how many reports one transaction looks at, so that nobody waits for it.
const pruneBatch = 2000

// PruneReports forgets reports that GitLab has shown for longer than keep and that nothing can come of any more, and returns
// how many. What is needed to edit in place, to close or to look up stays: comments and threads of open merge requests,
// statuses and deployments of runs that have not ended or in which GitLab shows something unfinished, the deployments that
// a lost answer is compared with, and environments of stacks that exist. Answers to comments go with their age. What GitLab refused is forgotten after the same time,
// and at once when its run or project is gone; each of these leaves an entry in the audit log.
func (s *Store) PruneReports(keep time.Duration) (n int, err error) {
	oldest := map[string]string{}
	for cursor := ""; ; {
		var drop []Report
		next := ""
		err := s.View(func(tx *Tx) error {
			limit := tx.now.Add(-keep)
			page, more, err := tx.Reports("", cursor, pruneBatch)
			next = more
			for _, r := range page {
				if err != nil {
					return err
				}
				var over bool
				if over, err = tx.over(r, limit, oldest); over {
					drop = append(drop, r)
				}
			}
			return err
		})
		if err == nil && len(drop) > 0 {
			err = s.Update(func(tx *Tx) error { return tx.dropReports(drop, tx.now.Add(-keep), oldest, &n) })
		}
		if err != nil || next == "" {
			return n, err
		}
		cursor = next
	}
}

// dropReports forgets reports that are over still.
func (tx *Tx) dropReports(list []Report, limit time.Time, oldest map[string]string, n *int) error {
	for _, r := range list {
		now, ok, err := tx.Report(r.Target)
		if err != nil {
			return err
		}
		over := false
		if ok {
			if over, err = tx.over(now, limit, oldest); err != nil {
				return err
			}
		}
		if !over {
			continue
		}
		if now.Kind == ReportNote || now.Kind == ReportThread {
			p, err := tx.Project(now.Project)
			if err == nil && p.PrunedMR < now.MR {
				p.PrunedMR = now.MR
				err = tx.PutProject(p)
			}
			if err != nil {
				return err
			}
		}
		if now.State == ReportParked {
			if err := tx.Audit(AuditEntry{Action: "report.forget", Target: now.Target, Stack: now.Stack, Note: "GitLab had refused it: " + now.LastError}); err != nil {
				return err
			}
		}
		if err := errors.Join(unmark(tx, "reports", now.Target), unmark(tx, "parked", now.Target)); err != nil {
			return err
		}
		*n++
	}
	return nil
}

// over reports whether nothing can come of a report any more. oldest keeps, by stack, the oldest tracked run whose deployment
// is still looked at.
func (tx *Tx) over(r Report, limit time.Time, oldest map[string]string) (bool, error) {
	if r.State == ReportParked {
		return tx.refusedForGood(r, limit)
	}
	if r.State != ReportDelivered || r.DeliveredAt.IsZero() || !r.DeliveredAt.Before(limit) || r.hangs() {
		return false, nil
	}
	switch r.Kind {
	case ReportStatus:
		ended, err := tx.ended(r.Run)
		return ended, err
	case ReportNote, ReportThread:
		_, open, err := tx.MergeRequest(r.Project, r.MR)
		return !open, err
	case ReportDeployment:
		ended, err := tx.ended(r.Run)
		if err != nil || !ended {
			return false, err
		}
		if _, known := oldest[r.Stack]; !known {
			newest, _, err := tx.Runs(RunFilter{Stack: r.Stack, Types: []runs.Type{runs.Tracked}}, "", LookedUpDeployments)
			if err != nil {
				return false, err
			}
			oldest[r.Stack] = ""
			if len(newest) == LookedUpDeployments {
				oldest[r.Stack] = newest[len(newest)-1].ID
			}
		}
		return r.Run < oldest[r.Stack], nil
	case ReportEnvironment:
		return r.Gone, nil
	case ReportReply: // a comment this old asks for nothing any more
		return true, nil
	default:
		return false, nil
	}
}

// refusedForGood reports whether nobody will try a parked report again: its project or run is gone, or it was parked for too
// long while its run ended. The webhook of a used project stays owed.
func (tx *Tx) refusedForGood(r Report, limit time.Time) (bool, error) {
	used, err := tx.uses(r.Project)
	switch {
	case err != nil || !used:
		return err == nil, err
	case r.Kind == ReportHook:
		return false, nil
	case r.Run != "" && r.Check == "" && !has(tx, "runs", r.Run):
		return true, nil
	case !r.MarkedAt.Before(limit):
		return false, nil
	}
	return tx.ended(r.Run)
}

// uses reports whether a stack or module is of the project.
func (tx *Tx) uses(project int64) (bool, error) {
	stacks, err := tx.StacksOf(project)
	if err != nil || len(stacks) > 0 {
		return len(stacks) > 0, err
	}
	modules, err := tx.ModulesOf(project)
	return len(modules) > 0, err
}

// LookedUpDeployments is how many of a stack's newest tracked runs a deployment whose answer was lost is told from.
const LookedUpDeployments = 100

// ended reports whether a run has ended, or is not there.
func (tx *Tx) ended(id string) (bool, error) {
	if id == "" {
		return true, nil
	}
	var r runs.Run
	ok, err := get(tx, "runs", id, &r)
	return !ok || r.State.Terminal(), err
}

// forgotten reports whether what stands on a merge request may have been forgotten, so that it is to be looked for.
func (tx *Tx) forgotten(r Report) (bool, error) {
	if r.Kind != ReportNote && r.Kind != ReportThread {
		return false, nil
	}
	p, err := tx.Project(r.Project)
	return r.MR <= p.PrunedMR, err
}

// KeepDeliveries is how long processed deliveries are kept.
func (s Settings) KeepDeliveries() time.Duration { return days(s.DeliveryDays, DefaultDeliveryDays) }

// KeepReports is how long reports that nothing can come of any more are kept.
func (s Settings) KeepReports() time.Duration { return days(s.ReportDays, DefaultReportDays) }

// How many days are kept when nothing is set.
const (
	DefaultDeliveryDays = 7
	DefaultReportDays   = 90
)

func days(set, otherwise int) time.Duration {
	if set == 0 {
		set = otherwise
	}
	return time.Duration(set) * 24 * time.Hour
}
