package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

// migrations bring the file from schema n to n+1, one transaction each. Append only: a released migration
// is never edited.
var migrations = []func(*bolt.Tx) error{
	func(tx *bolt.Tx) error { // 1: the first tree
		for _, name := range []string{
			"meta", "settings", "integration", "users", "user_names", "sessions", "api_keys",
			"stacks", "project_stacks", "variables", "runs", "stack_runs", "mr_runs", "active", "run_keys", "jobs",
			"deliveries", "delivery_keys", "bodies", "inbox", "reports", "due",
			"merge_requests", "heads", "states", "audit",
		} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	},
	func(tx *bolt.Tx) error { // webhooks, what was compared with GitLab, trouble
		for _, name := range []string{"hooks", "watches", "tags", "notices"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	},
	func(tx *bolt.Tx) error { // an index of the reports that wait for a person
		parked, err := tx.CreateBucketIfNotExists([]byte("parked"))
		if err != nil {
			return err
		}
		return tx.Bucket([]byte("reports")).ForEach(func(target, raw []byte) error {
			var r Report
			if err := json.Unmarshal(raw, &r); err != nil || r.State != ReportParked {
				return err
			}
			return parked.Put(target, []byte{})
		})
	},
	func(tx *bolt.Tx) error { // requests that are done once
		_, err := tx.CreateBucketIfNotExists([]byte("onces"))
		return err
	},
	func(tx *bolt.Tx) error { // what finds runs without reading them
		for _, name := range []string{"latest", "ended", "typed", "hours"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte("runs")).ForEach(func(_, raw []byte) error {
			var r runs.Run
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			return indexRun(tx, runs.Run{}, r)
		})
	},
	func(tx *bolt.Tx) error { // settings of projects; hooks that are owed a secret are reports
		if _, err := tx.CreateBucketIfNotExists([]byte("projects")); err != nil {
			return err
		}
		return tx.Bucket([]byte("hooks")).ForEach(func(_, raw []byte) error {
			var h Hook
			if err := json.Unmarshal(raw, &h); err != nil || !h.Owed {
				return err
			}
			r := Report{
				Kind: ReportHook, Target: HookTarget(h.Project), Project: h.Project, Seq: 1, State: ReportWaiting,
				Attempts: h.Attempts, LastError: h.LastError, MarkedAt: h.CheckedAt,
			}
			row, err := json.Marshal(r)
			if err != nil {
				return err
			}
			return errors.Join(tx.Bucket([]byte("reports")).Put([]byte(r.Target), row), tx.Bucket([]byte("due")).Put([]byte(r.Target), []byte{}))
		})
	},
	func(tx *bolt.Tx) error { // modules
		for _, name := range []string{
			"modules", "project_modules", "module_versions", "checks", "module_checks", "check_keys", "open_checks", "module_uses",
		} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	},
	func(tx *bolt.Tx) error { // who is told of what, and what is to be told
		for _, name := range []string{"channels", "notifications"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	},
	func(tx *bolt.Tx) error { // the proposed runs of a branch that a newer push ends
		if _, err := tx.CreateBucketIfNotExists([]byte("proposals")); err != nil {
			return err
		}
		return tx.Bucket([]byte("active")).ForEach(func(id, _ []byte) error {
			var r runs.Run
			if err := json.Unmarshal(tx.Bucket([]byte("runs")).Get(id), &r); err != nil {
				return err
			}
			return indexProposal(tx, runs.Run{}, r)
		})
	},
	func(tx *bolt.Tx) error { // contexts and mounted files
		for _, name := range []string{"contexts", "attachments", "context_stacks", "files", "file_contents"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	},
	func(tx *bolt.Tx) error { // who approved what, policies, what they said, and what they are still to be asked
		for _, name := range []string{"reviews", "policies", "policy_samples", "follows"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	},
	func(tx *bolt.Tx) error { // what finds the runs of the projects that somebody may read
		if _, err := tx.CreateBucketIfNotExists([]byte("project_runs")); err != nil {
			return err
		}
		return indexProjects(tx)
	},
}

// indexProjects writes the runs of each project in the order of their keys: one before others would move all of those, and of a
// million runs that takes hours.
func indexProjects(tx *bolt.Tx) error {
	type row struct {
		Project int64      `json:"project"`
		State   runs.State `json:"state"`
		id      string
	}
	var rows []row
	err := tx.Bucket([]byte("runs")).ForEach(func(id, raw []byte) error {
		r := row{id: string(id)}
		err := json.Unmarshal(raw, &r)
		rows = append(rows, r)
		return err
	})
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.Project, b.Project) })
	for _, r := range rows {
		if err == nil {
			err = indexProject(tx, runs.Run{}, runs.Run{ID: r.id, Project: r.Project, State: r.State})
		}
	}
	return err
}

// checkSchema refuses data of a newer version.
func (s *Store) checkSchema() error {
	have, err := s.schema()
	if err == nil && have > len(migrations) {
		err = fmt.Errorf("the data has schema %d and this Groundcrew knows up to %d. Nothing was changed; use the newer version, or restore the backup made before the upgrade", have, len(migrations))
	}
	return err
}

func (s *Store) migrate() error {
	have, err := s.schema()
	if err != nil {
		return err
	}
	for n := have; n < len(migrations); n++ {
		err := s.db.Update(func(b *bolt.Tx) error {
			if err := migrations[n](b); err != nil {
				return err
			}
			return b.Bucket([]byte("meta")).Put([]byte("schema"), []byte(strconv.Itoa(n+1)))
		})
		if err != nil {
			return fmt.Errorf("bringing the data to schema %d failed, and it was left at %d: %w", n+1, n, err)
		}
	}
	return nil
}

func (s *Store) schema() (have int, err error) {
	err = s.db.View(func(b *bolt.Tx) error { have, err = schemaOf(b); return err })
	return have, err
}

// schemaOf is the number of migrations that a database has seen; 0 for an empty one.
func schemaOf(b *bolt.Tx) (int, error) {
	meta := b.Bucket([]byte("meta"))
	if meta == nil {
		return 0, nil
	}
	have, err := strconv.Atoi(string(meta.Get([]byte("schema"))))
	if err != nil {
		return 0, fmt.Errorf("the data's schema number is damaged: %w. Restore a backup", err)
	}
	return have, nil
}
