package engine

import (
	"context"
	"slices"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// muted reports whether notification policies keep a notification from a channel. They are asked before the first attempt, and only
// of what is about a stack; where they cannot be asked it is told.
func (e *Engine) muted(ctx context.Context, c store.Channel, n store.Notification) (bool, error) {
	if n.Said.Stack == "" || n.Attempts > 0 {
		return false, nil
	}
	m := matter{run: n.Said.Run}
	var r runs.Run
	err := e.st.View(func(tx *store.Tx) (err error) {
		if m.stack, err = tx.Stack(n.Said.Stack); err != nil {
			return notGone(err)
		}
		if m.policies, err = policiesOf(tx, m.stack, runs.PolicyNotification); err != nil || len(m.policies) == 0 || m.run == "" {
			return err
		}
		r, err = tx.Run(m.run)
		return err
	})
	if err != nil || len(m.policies) == 0 {
		return false, err
	}
	if r.ID != "" {
		m.input = m.input.About(r)
	}
	said, err := e.messageOf(n) // as it would be told: without secrets
	if err != nil {
		return false, err
	}
	m.input.Event = &policy.Event{Topic: n.Topic, Title: said.Title, Text: said.Text, Channel: c.Name}
	v, err := e.ask(ctx, runs.PolicyNotification, m)
	return v.Outcome == runs.OutcomeMute || len(v.Channels) > 0 && !slices.Contains(v.Channels, c.Name), err
}
