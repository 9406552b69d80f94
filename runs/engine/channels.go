package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/notify"
	"groundcrew/store"
)

// SaveChannel checks and stores a channel; one without id is new. Secrets that are "" keep what was there; a webhook
// without a signing secret gets one. The channel comes back with its secrets, so that a made one can be shown once.
func (e *Engine) SaveChannel(c store.Channel, by string) (store.Channel, error) {
	c.Name = strings.TrimSpace(c.Name)
	c.URL = runs.Secret(strings.TrimSpace(c.URL.Reveal()))
	c.Signing = runs.Secret(strings.TrimSpace(c.Signing.Reveal()))
	err := e.st.Update(func(tx *store.Tx) error {
		action := "notification.create"
		var old store.Channel
		if c.ID == "" {
			c.ID, c.CreatedAt, c.CreatedBy = tx.NewID(), tx.Now(), by
		} else {
			var err error
			if old, err = tx.Channel(c.ID); err != nil {
				return err
			}
			action = "notification.change"
			c = keepSecrets(c, old)
		}
		if c.Kind == store.ChannelWebhook && c.Signing == "" {
			c.Signing = notify.NewSigning()
		}
		if err := checkChannel(c, old); err != nil {
			return err
		}
		if taken, err := tx.ChannelNamed(c.Name, c.ID); err != nil {
			return err
		} else if taken {
			return &runs.Error{Kind: runs.ErrConflict, Field: "name", Message: "Another channel has that name."}
		}
		if err := tx.PutChannel(c); err != nil {
			return err
		}
		if err := retryChannel(tx, c.ID); err != nil { // what waits is tried with the new settings at once
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: action, Target: c.Name, Note: channelNote(old, c)})
	})
	if err == nil {
		e.rest(c.ID, e.now(), false)
	}
	return c, err
}

// keepSecrets completes what was typed with what a form never shows, and what only the engine writes.
func keepSecrets(c, old store.Channel) store.Channel {
	c.Kind, c.CreatedAt, c.CreatedBy = old.Kind, old.CreatedAt, old.CreatedBy
	c.ToldAt, c.FailedAt, c.LastError, c.GivenUp = old.ToldAt, old.FailedAt, old.LastError, old.GivenUp
	for _, f := range []struct{ now, old *runs.Secret }{{&c.URL, &old.URL}, {&c.Signing, &old.Signing}} {
		if *f.now == "" {
			*f.now = *f.old
		}
	}
	// A password goes with its server: it is not shown to another one that somebody types in.
	if same := c.SMTP.Host == old.SMTP.Host && c.SMTP.Username == old.SMTP.Username; c.Password == "" && same && c.SMTP.Username != "" {
		c.Password = old.Password
	}
	return c
}

// checkChannel checks a channel that is stored as old, of its name only a new one: an earlier version took other names.
func checkChannel(c, old store.Channel) error {
	if c.Name != old.Name || c.Name == "" {
		if err := runs.CheckName(c.Name, "Give the channel a name of 1 to 100 bytes that says who is told."); err != nil {
			return err
		}
	}
	switch {
	case len(c.Topics) == 0:
		return runs.Invalidf("events", "Choose at least one event.")
	case c.GiveUp != 0 && (c.GiveUp < 5 || c.GiveUp > 7*24*60):
		return runs.Invalidf("give_up_minutes", "Give 5 minutes to 7 days (10080 minutes).")
	case len(c.Stacks) > 500 || len(c.Labels) > 100:
		return runs.Invalidf("stacks", "That is too many; use labels.")
	}
	for _, t := range c.Topics {
		if !slices.Contains(runs.Topics, t) {
			return runs.Invalidf("events", "“%s” is no event. There are %v.", t, runs.Topics)
		}
	}
	if _, err := notify.Certificates(c.CA); err != nil {
		return err
	}
	switch c.Kind {
	case store.ChannelEmail:
		s := c.SMTP
		return notify.CheckMail(notify.Mail{Host: s.Host, Port: s.Port, Security: s.Security, Username: s.Username, Password: c.Password, From: s.From, To: s.To})
	case store.ChannelWebhook:
		if err := notify.CheckSigning(c.Signing); err != nil {
			return err
		}
		return notify.CheckURL(c.URL.Reveal())
	case store.ChannelChat:
		return notify.CheckURL(c.URL.Reveal())
	default:
		return runs.Invalidf("kind", "“%s” is no kind of channel. Use email, webhook or chat.", c.Kind)
	}
}

// channelNote says what was set, secrets as digests.
func channelNote(old, c store.Channel) string {
	parts := []string{c.Kind}
	if c.Off {
		parts = append(parts, "off")
	}
	if c.Kind == store.ChannelEmail {
		parts = append(parts, fmt.Sprintf("%s:%d to %s", c.SMTP.Host, c.SMTP.Port, strings.Join(c.SMTP.To, ", ")))
	}
	parts = append(parts, fmt.Sprintf("events %v", c.Topics))
	if len(c.Stacks)+len(c.Labels) > 0 {
		parts = append(parts, fmt.Sprintf("stacks %v, labels %v", c.Stacks, c.Labels))
	}
	for _, f := range []struct {
		name     string
		old, now runs.Secret
	}{{"address", old.URL, c.URL}, {"signing secret", old.Signing, c.Signing}, {"password", old.Password, c.Password}} {
		if f.old != f.now {
			parts = append(parts, f.name+" "+secretDigest(f.old)+" → "+secretDigest(f.now))
		}
	}
	return strings.Join(parts, " · ")
}

func secretDigest(s runs.Secret) string {
	if s == "" {
		return "none"
	}
	sum := sha256.Sum256([]byte(s.Reveal()))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// retryChannel lets everything that a channel still has to tell be tried at once.
func retryChannel(tx *store.Tx, id string) error {
	var list []store.Notification
	err := tx.EachNotification(id, func(n store.Notification) bool {
		if n.State == store.NotificationWaiting && !n.NextAttempt.IsZero() {
			list = append(list, n)
		}
		return true
	})
	for _, n := range list {
		n.NextAttempt = n.At // long ago
		if err == nil {
			err = tx.PutNotification(n)
		}
	}
	return err
}

// DeleteChannel removes a channel with what it still was to tell.
func (e *Engine) DeleteChannel(id, by string) error {
	err := e.st.Update(func(tx *store.Tx) error {
		c, err := tx.Channel(id)
		if err != nil {
			return err
		}
		if err := tx.DeleteChannel(id); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "notification.delete", Target: c.Name})
	})
	if err == nil {
		e.mu.Lock()
		delete(e.tells, id)
		e.mu.Unlock()
	}
	return err
}
