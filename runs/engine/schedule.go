package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/robfig/cron/v3"

	"groundcrew/store"
)

// A chore is something done by the clock. Its times come from a cron line; that it was done is not stored,
// because doing it once more does no harm.
type chore struct {
	line string
	do   func(context.Context) error
	name string
}

func (e *Engine) chores() []chore {
	return []chore{
		{"37 * * * *", e.rotateToken, "token rotation"},
		{"7 * * * *", e.checkToken, "token check"},
		{"23 3 * * *", e.prune, "retention"},
		{"29 3 * * *", e.pruneChecks, "retention of checks"},
		{"41 * * * *", e.pruneLogs, "retention of logs"},
		{"31 * * * *", e.trimAudit, "retention of the audit log"},
		{"53 * * * *", func(context.Context) error { return e.tidyWarm() }, "tidying what init made"},
	}
}

// prune forgets what nobody needs any more, as long as the settings say.
func (e *Engine) prune(ctx context.Context) error {
	var keep store.Settings
	err := e.st.View(func(tx *store.Tx) (err error) {
		keep, err = tx.Settings()
		return err
	})
	for err == nil && ctx.Err() == nil {
		var n int
		if n, err = e.st.PruneDeliveries(keep.KeepDeliveries()); n == 0 {
			break
		}
	}
	if err == nil {
		_, err = e.st.PruneReports(keep.KeepReports())
	}
	_, old := e.st.PruneReviews()
	return errors.Join(err, old, e.st.PruneOnces())
}

// schedule does the chores at their times until ctx ends.
func (e *Engine) schedule(ctx context.Context) {
	c := cron.New()
	for _, ch := range e.chores() {
		_, err := c.AddFunc(ch.line, func() {
			if err := ch.do(ctx); err != nil && ctx.Err() == nil {
				e.log.Error("chore failed", "chore", ch.name, "error", err)
			}
		})
		if err != nil {
			e.log.Error("chore has no time", "chore", ch.name, "error", err) // a wrong line in the list above
		}
	}
	c.Start()
	<-ctx.Done()
	<-c.Stop().Done()
}

// checkToken asks GitLab about the token, when there is an integration.
func (e *Engine) checkToken(ctx context.Context) error {
	if _, _, err := e.attached(""); err != nil {
		return nil // nothing is set up, so there is nothing to check
	}
	_, err := e.TestIntegration(ctx)
	return err
}

// trimmed is how many entries of the audit log one transaction removes at most, so that nobody waits for it.
const trimmed = 5000

// trimAudit removes the entries of the audit log that are older than the settings keep them, and says so in it.
func (e *Engine) trimAudit(ctx context.Context) error {
	for ctx.Err() == nil {
		n := 0
		err := e.st.Update(func(tx *store.Tx) error {
			set, err := tx.Settings()
			if err != nil {
				return err
			}
			if n, err = tx.TrimAudit(tx.Now().Add(-set.AuditFor()), trimmed); err != nil || n == 0 {
				return err
			}
			return tx.Audit(store.AuditEntry{Action: "audit.trim", Note: fmt.Sprintf("%d entries older than %d days", n, int(set.AuditFor().Hours()/24))})
		})
		if err != nil || n < trimmed {
			return err
		}
	}
	return ctx.Err()
}
