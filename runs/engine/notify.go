package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/notify"
	"groundcrew/runs/redact"
	"groundcrew/store"
)

// Notifications are rows like reports, but messages, not levels: each says what happened, once. A channel is a lane of its
// own, so that one in trouble delays no other; within a lane the oldest that is due goes first. What was told is gone; what
// could not be told for as long as the channel says is kept as failed, and the inbox says so with the peer's words.

// A tell is a channel's lane in memory: whether something is on its way, and how long the peer wants to be left alone.
type tell struct {
	busy  bool
	until time.Time
	fails int
}

// news tells what is due over the channels that are free. It returns when the next one will be.
func (e *Engine) news(ctx context.Context) (time.Duration, error) {
	now, next := e.now(), idle
	err := e.st.View(func(tx *store.Tx) error {
		channels, err := tx.Channels()
		for _, c := range channels {
			if err != nil {
				return err
			}
			var n store.Notification
			var wait time.Duration
			if n, wait, err = due(tx, c, now); err != nil || n.ID == "" {
				next = min(next, wait)
				continue
			}
			if wait := e.enterTell(c.ID, now); wait > 0 {
				next = min(next, wait)
				continue
			}
			e.wg.Go(func() {
				defer e.leaveTell(c.ID)
				if err := e.tell(ctx, c, n); err != nil && ctx.Err() == nil {
					e.log.Error("what became of a notification could not be recorded", "channel", c.Name, "error", err)
				}
			})
		}
		return err
	})
	return next, err
}

// due finds a channel's oldest notification that may be tried now, or says how long there is none.
func due(tx *store.Tx, c store.Channel, now time.Time) (found store.Notification, wait time.Duration, err error) {
	wait = idle
	if c.Off {
		return found, wait, nil
	}
	before := map[string]bool{}
	err = tx.EachNotification(c.ID, func(n store.Notification) bool {
		if n.State != store.NotificationWaiting {
			return true
		}
		before[n.ID] = true
		switch {
		case before[n.After]: // its turn comes
		case n.NextAttempt.After(now):
			wait = min(wait, n.NextAttempt.Sub(now))
		default:
			found = n
		}
		return found.ID == ""
	})
	return found, wait, err
}

// enterTell takes a channel's lane, or says how long to wait for it; its end wakes the pump.
func (e *Engine) enterTell(id string, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tells[id]
	if t == nil {
		t = &tell{}
		e.tells[id] = t
	}
	switch {
	case t.busy:
		return idle
	case t.until.After(now):
		return t.until.Sub(now)
	}
	t.busy = true
	return 0
}

func (e *Engine) leaveTell(id string) {
	e.mu.Lock()
	if t := e.tells[id]; t != nil {
		t.busy = false
	}
	e.mu.Unlock()
	wake(e.newsWake)
}

// rest leaves a channel's peer alone for a while, or no longer.
func (e *Engine) rest(id string, until time.Time, again bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tells[id]
	if t == nil {
		return
	}
	if t.until = until; again {
		t.fails++
	} else {
		t.fails = 0
	}
}

func (e *Engine) failsOf(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tells[id]; t != nil {
		return t.fails
	}
	return 0
}

// tell sends one notification and records what came of it.
func (e *Engine) tell(ctx context.Context, c store.Channel, n store.Notification) error {
	if is, err := e.stillDue(n); err != nil || !is {
		return err
	}
	muted, err := e.muted(ctx, c, n)
	if ctx.Err() != nil {
		return nil // as below
	}
	if err == nil && muted {
		return e.st.Update(func(tx *store.Tx) error { return tx.Muted(n) })
	}
	var m notify.Message
	if err == nil {
		m, err = e.messageOf(n)
	}
	if err == nil {
		err = e.say(ctx, c, m)
	}
	if ctx.Err() != nil {
		return nil // the row stands: the next start says it, with the same id
	}
	now := e.now()
	words, wait, gone := "", time.Duration(0), false
	if err != nil {
		var own *notify.Error
		peer := false
		words = "it could not be made; the server's log says why"
		if errors.As(err, &own) {
			words, gone, peer = own.Words, own.Gone, own.Peer
		}
		fails := n.Attempts + 1
		if peer {
			fails = max(fails, e.failsOf(c.ID)+1)
		}
		wait = backOff(fails)
		if own != nil && own.RetryAfter > 0 {
			wait = own.RetryAfter + rand.N(time.Second)
		}
		if peer {
			e.rest(c.ID, now.Add(wait), true)
		}
		e.log.Warn("a notification could not be sent", "channel", c.Name, "attempt", n.Attempts+1, "error", words)
	} else {
		e.rest(c.ID, time.Time{}, false)
	}
	return e.st.Update(func(tx *store.Tx) error { return settleTell(tx, c, n, words, wait, gone) })
}

// stillDue reports whether a notification is as it was when the pump chose it: the lane may have been another's then, who
// told it meanwhile.
func (e *Engine) stillDue(n store.Notification) (is bool, err error) {
	err = e.st.View(func(tx *store.Tx) error {
		now, ok, err := tx.Notification(n.Channel, n.ID)
		is = ok && now.State == n.State && now.Attempts == n.Attempts
		return err
	})
	return is, err
}

// settleTell writes what came of an attempt: words is what went wrong, "" for nothing.
func settleTell(tx *store.Tx, c store.Channel, n store.Notification, words string, wait time.Duration, gone bool) error {
	is, err := tx.Channel(c.ID)
	if errors.Is(err, runs.ErrNotFound) {
		return nil // deleted meanwhile, with what it was to tell
	}
	if err != nil {
		return err
	}
	if words == "" {
		is.ToldAt, is.LastError, is.GivenUp = tx.Now(), "", false
		if err := tx.Told(n); err != nil {
			return err
		}
		return tx.PutChannel(is)
	}
	is.FailedAt, is.LastError = tx.Now(), words
	n.Attempts++
	n.LastError, n.NextAttempt = words, tx.Now().Add(wait)
	if gone {
		is.Off = true // it will never take anything again: a person must look
	}
	// A notification whose next attempt would come after the end of patience is tried then, once more.
	end := n.At.Add(is.Patience())
	if gone || !tx.Now().Before(end) {
		is.GivenUp = true
		if err := tx.GiveUp(n); err != nil {
			return err
		}
		return tx.PutChannel(is)
	}
	if n.NextAttempt.After(end) {
		n.NextAttempt = end
	}
	if err := tx.TriedInVain(n); err != nil {
		return err
	}
	return tx.PutChannel(is)
}

// backOff doubles from two seconds to ten minutes, with jitter.
func backOff(attempt int) time.Duration {
	d := min(time.Second<<min(max(attempt, 1), 10), 10*time.Minute)
	return d/2 + rand.N(d/2+1)
}

// say sends a message over a channel.
func (e *Engine) say(ctx context.Context, c store.Channel, m notify.Message) error {
	s := notify.Sender{Transport: e.o.Notify, Agent: "Groundcrew/" + orWord(e.o.Version, "dev"), Now: e.now}
	t := notify.Target{
		Kind: c.Kind, URL: c.URL, Signing: c.Signing, CA: c.CA, AllowLocal: c.AllowLocal,
		Mail: notify.Mail{
			Host: c.SMTP.Host, Port: c.SMTP.Port, Security: c.SMTP.Security, Username: c.SMTP.Username, Password: c.Password,
			From: c.SMTP.From, To: c.SMTP.To,
		},
	}
	switch c.Kind {
	case store.ChannelEmail:
		return s.Mail(ctx, t, m)
	case store.ChannelWebhook:
		return s.Webhook(ctx, t, m)
	default:
		return s.Chat(ctx, t, m)
	}
}

// minOwnSecret is the least length of our own secrets that are looked for in a message; shorter ones are of tests.
const minOwnSecret = 12

// messageOf makes the message of a notification, without any secret of its stack.
func (e *Engine) messageOf(n store.Notification) (notify.Message, error) {
	s := n.Said
	var secrets []string
	err := e.st.View(func(tx *store.Tx) error {
		var err error
		secrets, err = secretsAround(tx, s.Stack)
		in, _, errIn := tx.Integration()
		for _, x := range []runs.Secret{in.Token, in.Secret, in.OldSecret, in.SigningSecret, in.OldSigningSecret} {
			if len(x) >= minOwnSecret {
				secrets = append(secrets, x.Reveal())
			}
		}
		return errors.Join(err, errIn)
	})
	if err != nil {
		return notify.Message{}, err
	}
	hide := redact.New(secrets)
	for _, f := range []*string{&s.Title, &s.Text, &s.Mend, &s.Name, &s.Delta, &s.Head, &s.Author, &s.Branch, &s.By} {
		*f = hide.String(*f)
	}
	m := notify.Message{
		ID: n.ID, Topic: string(n.Topic), At: n.At, Title: orWord(s.Title, titleOf(n.Topic, s)), Text: s.Text, Mend: s.Mend,
		Tone: toneOf(n.Topic, s), URL: e.o.ExternalURL + orWord(s.Path, "/inbox"), LinkFor: "Look at it",
	}
	switch {
	case s.Run != "":
		m.URL, m.LinkFor = e.runURL(s.Run), "The run"
	case s.Stack != "" && s.Path == "":
		m.URL = e.o.ExternalURL + "/stacks/" + s.Stack
	}
	if n.Topic == runs.OnWaiting {
		m.LinkFor, m.Text = "Review the plan", ""
		if s.Delta == "" {
			m.LinkFor = "Review the run"
		}
	}
	m.Fields = factsOf(s)
	m.Data = dataOf(n, s, m)
	return m, nil
}

// titleOf says in one line what happened to a run.
func titleOf(t runs.Topic, s store.Said) string {
	what := orWord(s.Name, s.Stack)
	kind := ""
	if s.Type != runs.Tracked {
		kind = " (" + string(s.Type) + ")"
	}
	switch t {
	case runs.OnWaiting:
		wanted := "confirmation"
		if s.Unapproved {
			wanted = "approval"
		}
		return what + kind + suffix(": ", s.Delta) + " · waits for " + wanted
	case runs.OnFailed:
		return what + ": run failed" + kind
	case runs.OnFinished:
		return what + ": finished" + kind + suffix(" · ", s.Delta)
	case runs.OnDiscarded:
		return what + ": discarded" + suffix(" by ", s.By) + kind
	default:
		return what + ": " + string(t)
	}
}

func suffix(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

func toneOf(t runs.Topic, s store.Said) string {
	switch t {
	case runs.OnFinished, runs.OnOver:
		return "good"
	case runs.OnDiscarded:
		return "info"
	case runs.OnFailed, runs.OnFlagged:
		return "bad"
	default:
		if s.State == "bad" || s.State == "info" { // of a notice
			return s.State
		}
		return "warn"
	}
}

func factsOf(s store.Said) []notify.Field {
	commit := runs.ShortSHA(s.Commit)
	if s.Head != "" {
		commit += " " + s.Head
	}
	var out []notify.Field
	for _, f := range []notify.Field{
		{Name: "Stack", Value: orWord(s.Name, s.Stack)},
		{Name: "Plan", Value: s.Delta},
		{Name: "Commit", Value: strings.TrimSpace(commit)},
		{Name: "Author", Value: s.Author},
		{Name: "Branch", Value: s.Branch},
		{Name: "By", Value: s.By},
	} {
		if f.Value != "" {
			out = append(out, f)
		}
	}
	return out
}

// dataOf is what a webhook's receiver gets. Fields may be added, never renamed.
func dataOf(n store.Notification, s store.Said, m notify.Message) map[string]any {
	data := map[string]any{"title": m.Title, "url": m.URL}
	for k, v := range map[string]string{
		"text": s.Text, "mend": s.Mend, "stack": s.Stack, "stack_name": s.Name, "run": s.Run, "run_type": string(s.Type), "changes": s.Delta,
		"commit": s.Commit, "commit_title": s.Head, "author": s.Author, "branch": s.Branch, "by": s.By, "was": string(s.Was),
	} {
		if v != "" {
			data[k] = v
		}
	}
	if s.Run != "" {
		data["run_state"] = s.State
	} else if s.State != "" {
		data["severity"] = s.State
	}
	return maps.Clone(data)
}

// TestChannel sends a message of its own at once; its error is the peer's words.
func (e *Engine) TestChannel(ctx context.Context, id, by string) error {
	var c store.Channel
	err := e.st.View(func(tx *store.Tx) (err error) {
		c, err = tx.Channel(id)
		return err
	})
	if err != nil {
		return err
	}
	m := notify.Message{
		ID: e.st.NewID(), Topic: "test", At: e.now(), Title: "This is a test of “" + c.Name + "”", Text: "Groundcrew can reach you here. Nothing happened, and there is nothing to do.",
		Fields: []notify.Field{{Name: "Asked by", Value: by}}, URL: e.o.ExternalURL + "/settings/notifications", LinkFor: "The settings", Tone: "info",
	}
	m.Data = map[string]any{"title": m.Title, "url": m.URL, "by": by}
	sayErr := e.say(ctx, c, m)
	outcome := "it arrived"
	var own *notify.Error
	switch {
	case errors.As(sayErr, &own):
		outcome = own.Words
		sayErr = runs.Conflictf("%s", own.Words)
	case sayErr != nil && message(sayErr) != "":
		outcome = message(sayErr)
	}
	err = e.st.Update(func(tx *store.Tx) error {
		is, err := tx.Channel(id)
		if err != nil {
			return err
		}
		if sayErr == nil {
			is.ToldAt, is.LastError, is.GivenUp = tx.Now(), "", false
		} else {
			is.FailedAt, is.LastError = tx.Now(), outcome
		}
		if err := tx.PutChannel(is); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "notification.test", Target: c.Name, Note: outcome})
	})
	return errors.Join(sayErr, err)
}

// noticeTopics are the topics of the inbox's notices, by the beginning of their keys.
var noticeTopics = []struct {
	key   string
	topic runs.Topic
}{
	{"token-expires", runs.OnExpiry},
	{"token", runs.OnToken},
	{"gitlab", runs.OnGitLab},
	{"hook/", runs.OnHook},
	{"reports", runs.OnReport},
	{"apply/", ""},        // told with its cause: stack.flagged
	{"notification/", ""}, // what does not work is not told that way
	{"", runs.OnTrouble},
}

// newsOf tells of a notice when it is new or became worse, in the transaction that remembers it. That more of the same
// follows is no news.
func newsOf(tx *store.Tx, n *store.Notice, known []store.Notice) error {
	for _, o := range known {
		if o.Key == n.Key && (o.Kind == n.Kind || n.Kind != "bad") {
			return nil
		}
	}
	for _, t := range noticeTopics {
		if !strings.HasPrefix(n.Key, t.key) {
			continue
		}
		if t.topic == "" {
			return nil
		}
		told, err := tx.NotifyAll(t.topic, store.Said{Title: n.Text, Text: n.Cause, Mend: n.Mend, Path: n.LinkURL, Stack: n.Stack, State: n.Kind})
		n.Topic, n.Told = t.topic, append(n.Told, told...)
		return err
	}
	return nil
}

// channelNotices are the channels that gave something up since they last worked.
func channelNotices(tx *store.Tx, _ following) ([]store.Notice, error) {
	list, err := tx.Channels()
	var out []store.Notice
	for _, c := range list {
		if !c.GivenUp {
			continue
		}
		out = append(out, store.Notice{
			Key: "notification/" + c.ID, Kind: "warn", Text: "Notifications over “" + c.Name + "” do not arrive", Cause: c.LastError,
			Mend:     fmt.Sprintf("What was tried for %s was given up. Mend the channel and test it; a test that arrives ends this.", span(c.Patience())),
			LinkText: "Open the channel", LinkURL: "/settings/notifications/" + c.ID,
		})
	}
	return out, err
}

// span says a duration in whole hours or minutes.
func span(d time.Duration) string {
	if d%time.Hour == 0 {
		n := int(d.Hours())
		return fmt.Sprintf("%d %s", n, plural(n, "hour"))
	}
	n := int(d.Minutes())
	return fmt.Sprintf("%d %s", n, plural(n, "minute"))
}
