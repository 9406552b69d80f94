package store

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
)

// The kinds of channel.
const (
	ChannelEmail   = "email"   // SMTP
	ChannelWebhook = "webhook" // signed, for programs
	ChannelChat    = "chat"    // an incoming webhook of Slack, Mattermost or one that takes the same
)

// A Channel is a way to tell people of what they chose. Its secrets are sealed on disk and open in memory; the address of
// a webhook is one of them, because who knows it can post there.
type Channel struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`
	Off      bool         `json:"off,omitempty"`
	Topics   []runs.Topic `json:"topics"`
	Stacks   []string     `json:"stacks,omitempty"`   // slugs; together with Labels: which stacks' news, none for all
	Labels   []string     `json:"labels,omitempty"`   // a stack with one of them
	Proposed bool         `json:"proposed,omitempty"` // also of runs of branches and merge requests

	URL        runs.Secret `json:"-"`
	Signing    runs.Secret `json:"-"` // of a webhook: whsec_ and base64
	Password   runs.Secret `json:"-"` // of an SMTP account
	CA         string      `json:"ca_pem,omitempty"`
	AllowLocal bool        `json:"allow_local,omitempty"` // the receiver may be on this machine
	SMTP       SMTP        `json:"smtp,omitzero"`
	// GiveUp is how long a notification is tried before it is given up, in minutes; 0 is [DefaultGiveUp].
	GiveUp int `json:"give_up_minutes,omitempty"`

	SealedURL      string `json:"sealed_url,omitempty"`
	SealedSigning  string `json:"sealed_signing,omitempty"`
	SealedPassword string `json:"sealed_password,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty"`
	UpdatedAt time.Time `json:"updated_at"`

	ToldAt    time.Time `json:"told_at,omitzero"`     // when it last worked
	FailedAt  time.Time `json:"failed_at,omitzero"`   // when it last did not
	LastError string    `json:"last_error,omitempty"` // the peer's words then; "" while it works
	GivenUp   bool      `json:"given_up,omitempty"`   // something was given up since it last worked
}

// SMTP says how an e-mail channel sends.
type SMTP struct {
	Host     string   `json:"host"`
	Port     int      `json:"port"`
	Security string   `json:"security"` // starttls, tls or none
	Username string   `json:"username,omitempty"`
	From     string   `json:"from"`
	To       []string `json:"to"`
}

// DefaultGiveUp is how long a notification is tried unless the channel says otherwise.
const DefaultGiveUp = 24 * time.Hour

// Patience is how long a notification of the channel is tried.
func (c Channel) Patience() time.Duration {
	return cmp.Or(time.Duration(c.GiveUp)*time.Minute, DefaultGiveUp)
}

// wants reports whether the channel tells of a topic. st is nil for what concerns no stack.
func (c Channel) wants(t runs.Topic, typ runs.Type, st *runs.Stack) bool {
	switch {
	case c.Off, !slices.Contains(c.Topics, t):
		return false
	case !c.Proposed && (typ == runs.Proposed || typ == runs.Test):
		return false
	case st == nil || len(c.Stacks)+len(c.Labels) == 0:
		return true
	}
	return slices.Contains(c.Stacks, st.Slug) || slices.ContainsFunc(c.Labels, func(l string) bool { return slices.Contains(st.Labels, l) })
}

// Said is what a notification tells, as it was when it happened.
type Said struct {
	Title  string    `json:"title"`          // one line
	Text   string    `json:"text,omitempty"` // why, or what follows
	Mend   string    `json:"mend,omitempty"` // what to do
	Path   string    `json:"path,omitempty"` // on this server, when there is no run
	Stack  string    `json:"stack,omitempty"`
	Name   string    `json:"name,omitempty"` // of the stack
	Run    string    `json:"run,omitempty"`
	Type   runs.Type `json:"type,omitempty"`
	State  string    `json:"state,omitempty"` // of the run
	Delta  string    `json:"delta,omitempty"`
	Commit string    `json:"commit,omitempty"`
	Head   string    `json:"head,omitempty"` // first line of the commit's message
	Author string    `json:"author,omitempty"`
	Branch string    `json:"branch,omitempty"`
	By     string    `json:"by,omitempty"` // who acted, "" for nobody

	Unapproved bool `json:"unapproved,omitempty"` // the run waits for approvals

	Was runs.Topic `json:"was,omitempty"` // of trouble that is over
}

// The states of a notification. One that was told is gone.
const (
	NotificationWaiting = "waiting"
	NotificationFailed  = "failed" // given up
)

// A Notification is one thing to be told over one channel. Its id is the receiver's idempotency.
type Notification struct {
	ID          string     `json:"id"`
	Channel     string     `json:"channel"`
	Topic       runs.Topic `json:"topic"`
	At          time.Time  `json:"at"`
	Said        Said       `json:"said"`
	State       string     `json:"state"`
	Attempts    int        `json:"attempts,omitempty"`
	NextAttempt time.Time  `json:"next_attempt_at,omitzero"`
	LastError   string     `json:"last_error,omitempty"`
	// After is the id of a notification of the same channel that is told before this one.
	After string `json:"after,omitempty"`
}

// keptFailures is how many given-up notifications of a channel are kept to be looked at.
const keptFailures = 20

// Notify writes one row for each channel that wants to tell of it, in the transaction of its cause.
func (tx *Tx) Notify(t runs.Topic, s Said) error {
	_, err := tx.NotifyAll(t, s)
	return err
}

// NotifyAll is Notify and says over which channels it is told.
func (tx *Tx) NotifyAll(t runs.Topic, s Said) (told []Told, err error) {
	channels, err := tx.sealedChannels()
	if err != nil || len(channels) == 0 {
		return nil, err
	}
	var st *runs.Stack
	if s.Stack != "" {
		found, err := tx.Stack(s.Stack)
		switch {
		case err == nil:
			st, s.Name = &found, found.Name
		case !errors.Is(err, runs.ErrNotFound):
			return nil, err
		}
	}
	for _, c := range channels {
		if !c.wants(t, s.Type, st) {
			continue
		}
		n := Notification{ID: tx.NewID(), Channel: c.ID, Topic: t, At: tx.now, Said: s, State: NotificationWaiting}
		if err := tx.PutNotification(n); err != nil {
			return told, err
		}
		told = append(told, Told{c.ID, n.ID})
	}
	return told, nil
}

// NotifyOver tells that trouble is over, once over each channel that was told of it and is still switched on, and not before
// it was told there.
func (tx *Tx) NotifyOver(told []Told, s Said) error {
	channels, err := tx.sealedChannels()
	for _, c := range channels {
		last := ""
		for _, t := range told {
			if t.Channel == c.ID {
				last = max(last, t.ID)
			}
		}
		if last == "" || c.Off || err != nil {
			continue
		}
		err = tx.PutNotification(Notification{ID: tx.NewID(), Channel: c.ID, Topic: runs.OnOver, At: tx.now, Said: s, State: NotificationWaiting, After: last})
	}
	return err
}

// notifyRun tells of a run's move.
func (tx *Tx) notifyRun(t runs.Topic, r runs.Run) error {
	s := Said{
		Stack: r.Stack, Run: r.ID, Type: r.Type, State: string(r.State), Text: r.Reason,
		Commit: r.Commit.SHA, Head: r.Commit.Title, Author: r.Commit.Author, Branch: r.Branch,
		Unapproved: r.Unapproved,
	}
	if n := len(r.Transitions); n > 0 && r.Transitions[n-1].By != runs.System {
		s.By = r.Transitions[n-1].By
	}
	if r.Delta != nil {
		s.Delta = r.Delta.String()
	}
	return tx.Notify(t, s)
}

// PutNotification writes a notification's row.
func (tx *Tx) PutNotification(n Notification) error {
	tx.changed.News = true
	return put(tx, "notifications", n.Channel+"/"+n.ID, n)
}

// Notification returns a notification, or ok false when it was told or its channel is gone.
func (tx *Tx) Notification(channel, id string) (n Notification, ok bool, err error) {
	ok, err = get(tx, "notifications", channel+"/"+id, &n)
	return n, ok, err
}

// What became of an attempt to tell, or of a notification.
const (
	ToldSent    = "sent"     // the peer took it
	ToldFailed  = "failed"   // one attempt; it is tried again
	ToldGivenUp = "given_up" // it is not tried again
	ToldMuted   = "muted"    // a policy kept it back
)

// Told removes a notification that was told.
func (tx *Tx) Told(n Notification) error {
	tx.changed.Told = append(tx.changed.Told, ToldSent)
	return tx.dropNotification(n)
}

// Muted removes a notification that a policy kept back.
func (tx *Tx) Muted(n Notification) error {
	tx.changed.Told = append(tx.changed.Told, ToldMuted)
	return tx.dropNotification(n)
}

func (tx *Tx) dropNotification(n Notification) error {
	tx.changed.News = true
	return unmark(tx, "notifications", n.Channel+"/"+n.ID)
}

// TriedInVain writes a notification that is tried again later.
func (tx *Tx) TriedInVain(n Notification) error {
	tx.changed.Told = append(tx.changed.Told, ToldFailed)
	return tx.PutNotification(n)
}

// WaitingNews counts what waits to be told over the channels that are switched on and what was given up, and says since when
// the oldest waits, the zero time when none does.
func (tx *Tx) WaitingNews() (waiting, failed int, oldest time.Time, err error) {
	channels, err := tx.sealedChannels()
	for _, c := range channels {
		if err != nil {
			break
		}
		err = tx.EachNotification(c.ID, func(n Notification) bool {
			switch {
			case n.State == NotificationFailed:
				failed++
			case !c.Off:
				waiting++
				if oldest.IsZero() || n.At.Before(oldest) {
					oldest = n.At
				}
			}
			return true
		})
	}
	return waiting, failed, oldest, err
}

// EachNotification visits a channel's notifications, oldest first, until fn returns false.
func (tx *Tx) EachNotification(channel string, fn func(Notification) bool) error {
	return each(tx, "notifications", channel+"/", func(k string, _ []byte) (bool, error) {
		var n Notification
		_, err := get(tx, "notifications", k, &n)
		return err == nil && fn(n), err
	})
}

// GiveUp keeps a notification as failed, and of the channel's failed ones the newest.
func (tx *Tx) GiveUp(n Notification) error {
	n.State = NotificationFailed
	tx.changed.Told = append(tx.changed.Told, ToldGivenUp)
	if err := tx.PutNotification(n); err != nil {
		return err
	}
	var failed []Notification
	err := tx.EachNotification(n.Channel, func(o Notification) bool {
		if o.State == NotificationFailed {
			failed = append(failed, o)
		}
		return true
	})
	for i := 0; i < len(failed)-keptFailures && err == nil; i++ {
		err = tx.dropNotification(failed[i])
	}
	return err
}

// Channel returns a channel with its secrets, or ErrNotFound.
func (tx *Tx) Channel(id string) (Channel, error) {
	var c Channel
	ok, err := get(tx, "channels", id, &c)
	if err == nil && !ok {
		err = notFound("notification channel", id)
	}
	if err != nil {
		return c, err
	}
	return c, tx.openChannel(&c)
}

func (tx *Tx) openChannel(c *Channel) error {
	for _, f := range c.sealedFields() {
		plain, err := tx.s.seal.openText("channels/"+c.ID+"/"+f.name, *f.sealed)
		if err != nil {
			return err
		}
		*f.plain = runs.Secret(plain)
	}
	return nil
}

// Channels returns all channels with their secrets, oldest first.
func (tx *Tx) Channels() ([]Channel, error) {
	list, err := tx.sealedChannels()
	for i := range list {
		if err == nil {
			err = tx.openChannel(&list[i])
		}
	}
	return list, err
}

func (tx *Tx) sealedChannels() ([]Channel, error) { return all[Channel](tx, "channels", "") }

// PutChannel seals and stores a channel under its id.
func (tx *Tx) PutChannel(c Channel) error {
	for _, f := range c.sealedFields() {
		*f.sealed = tx.s.seal.lockText("channels/"+c.ID+"/"+f.name, f.plain.Reveal())
	}
	c.UpdatedAt = tx.now
	tx.changed.News = true
	return put(tx, "channels", c.ID, c)
}

// ChannelNamed reports whether another channel has the name, letter case aside.
func (tx *Tx) ChannelNamed(name, but string) (bool, error) {
	list, err := tx.sealedChannels()
	return slices.ContainsFunc(list, func(c Channel) bool { return c.ID != but && strings.EqualFold(c.Name, name) }), err
}

// DeleteChannel removes a channel with everything that it was to tell.
func (tx *Tx) DeleteChannel(id string) error {
	if !has(tx, "channels", id) {
		return notFound("notification channel", id)
	}
	if err := tx.dropPrefix("notifications", id+"/"); err != nil {
		return err
	}
	tx.changed.News = true
	return unmark(tx, "channels", id)
}

func (c *Channel) sealedFields() []sealedField {
	return []sealedField{
		{"url", &c.URL, &c.SealedURL},
		{"signing", &c.Signing, &c.SealedSigning},
		{"password", &c.Password, &c.SealedPassword},
	}
}
