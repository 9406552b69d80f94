package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A mailbox takes webhooks in memory, so that it fits into a bubble.
type mailbox struct {
	mu     sync.Mutex
	got    map[string][]sent // by host
	answer func(r *http.Request, n int) (*http.Response, error)
}

type sent struct {
	id, body string
	at       time.Time
}

func (b *mailbox) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.got[r.URL.Host] = append(b.got[r.URL.Host], sent{r.Header.Get("webhook-id"), string(raw), time.Now()})
	n := len(b.got[r.URL.Host])
	answer := b.answer
	b.mu.Unlock()
	if answer != nil {
		if resp, err := answer(r, n); resp != nil || err != nil {
			return resp, err
		}
	}
	return response(204, ""), nil
}

func (b *mailbox) at(host string) []sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got[host]
}

// telling is a world in which only notifications are at work.
func telling(t *testing.T, answer func(r *http.Request, n int) (*http.Response, error), f func(w *world, b *mailbox)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := &mailbox{got: map[string][]sent{}, answer: answer}
		w.e.o.Notify = b
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { w.e.pump(ctx, "notifications", w.e.newsWake, w.e.news) })
		defer func() { // also when the test fails
			cancel()
			wg.Wait()
			w.e.wg.Wait()
		}()
		f(w, b)
	})
}

func (w *world) channel(name string, more ...func(*store.Channel)) store.Channel {
	w.t.Helper()
	c := store.Channel{Name: name, Kind: store.ChannelWebhook, URL: runs.Secret("https://" + name + ".example/hooks/s3cret"), Topics: runs.Topics}
	for _, m := range more {
		m(&c)
	}
	c, err := w.e.SaveChannel(c, "anna")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) waiting(c store.Channel) (waiting, failed int) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) error {
		return tx.EachNotification(c.ID, func(n store.Notification) bool {
			if n.State == store.NotificationWaiting {
				waiting++
			} else {
				failed++
			}
			return true
		})
	}); err != nil {
		w.t.Fatal(err)
	}
	return waiting, failed
}

// tracked plans a tracked run up to a delta.
func (w *world) tracked(stack, sha string) runs.Run {
	r := w.request(runs.Run{Stack: stack, Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: sha, Title: "Open port 443", Author: "Anna"}})
	return w.apply(r.ID, planned(runs.Delta{Add: 1}, false)...)
}

// TestEachOnceToWhomItConcerns: topics, labels, stacks, types of run and the switch decide; each is told once.
func TestEachOnceToWhomItConcerns(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("all")
		w.channel("also-proposed", func(c *store.Channel) { c.Proposed = true })
		w.channel("failures", func(c *store.Channel) { c.Topics = []runs.Topic{runs.OnFailed} })
		w.channel("prod", func(c *store.Channel) { c.Labels = []string{"prod"} })
		w.channel("by-name", func(c *store.Channel) { c.Stacks = []string{"network"} })
		w.channel("off", func(c *store.Channel) { c.Off = true })
		w.stack("Network")
		dns := w.stack("DNS")
		dns.Labels = []string{"prod"}
		w.update(func(tx *store.Tx) error { return tx.PutStack(dns) })
		a := w.tracked("network", "aaaa")
		w.apply(a.ID, runs.Confirm{Meta: runs.Meta{By: "bo"}}, runs.Claimed{}, runs.Done{})
		d := w.tracked("dns", "bbbb")
		w.apply(d.ID, runs.Discard{Meta: runs.Meta{By: "bo"}})
		p := w.request(runs.Run{Stack: "dns", Type: runs.Proposed, Commit: runs.Commit{SHA: "cccc"}})
		w.apply(p.ID, runs.Claimed{}, runs.Fail{Meta: runs.Meta{Note: "unsupported argument"}})
		time.Sleep(time.Minute)
		for host, want := range map[string]string{
			"all": "run.waiting run.finished run.waiting run.discarded", "also-proposed": "run.waiting run.finished run.waiting run.discarded run.failed",
			"failures": "", "prod": "run.waiting run.discarded", "by-name": "run.waiting run.finished", "off": "",
		} {
			var topics []string
			ids := map[string]bool{}
			for _, s := range b.at(host + ".example") {
				var body struct{ Type string }
				if err := json.Unmarshal([]byte(s.body), &body); err != nil {
					t.Fatal(err)
				}
				topics = append(topics, body.Type)
				ids[s.id] = true
			}
			if got := strings.Join(topics, " "); got != want || len(ids) != len(topics) {
				t.Errorf("%s was told %q, want %q", host, got, want)
			}
		}
	})
}

// TestTroubleOfOneDelaysNoOther: while one peer hangs and another answers 500, a third is told at once; those in trouble
// are asked less and less, and are told everything once they are back, each once more with the same id.
func TestTroubleOfOneDelaysNoOther(t *testing.T) {
	back := time.Time{}
	telling(t, func(r *http.Request, _ int) (*http.Response, error) {
		switch {
		case r.URL.Host == "well.example" || time.Now().After(back):
			return nil, nil
		case r.URL.Host == "hangs.example":
			<-r.Context().Done()
			return nil, r.Context().Err()
		default:
			return response(500, ""), nil
		}
	}, func(w *world, b *mailbox) {
		start := time.Now()
		back = start.Add(3 * time.Hour)
		hangs, broken, well := w.channel("hangs"), w.channel("broken"), w.channel("well")
		w.stack("Network")
		for _, sha := range []string{"a", "b", "c"} {
			r := w.tracked("network", sha)
			w.apply(r.ID, runs.Discard{})
		}
		time.Sleep(2 * time.Second)
		if n, _ := w.waiting(well); n != 0 || len(b.at("well.example")) != 6 {
			t.Fatalf("%d wait for the one that is well, %d were told", n, len(b.at("well.example")))
		}
		time.Sleep(3*time.Hour - 2*time.Second)
		for host, c := range map[string]store.Channel{"hangs.example": hangs, "broken.example": broken} {
			if n := len(b.at(host)); n < 15 || n > 60 {
				t.Errorf("%s was asked %d times in three hours", host, n)
			}
			if n, _ := w.waiting(c); n != 6 {
				t.Errorf("%d wait for %s", n, host)
			}
		}
		time.Sleep(30 * time.Minute)
		for host, c := range map[string]store.Channel{"hangs.example": hangs, "broken.example": broken} {
			if n, failed := w.waiting(c); n+failed != 0 {
				t.Errorf("%s: %d wait, %d given up", host, n, failed)
			}
			arrived := map[string]int{}
			for _, s := range b.at(host) {
				if s.at.After(back) {
					arrived[s.id]++
				}
			}
			if len(arrived) != 6 {
				t.Errorf("%s was told %d things", host, len(arrived))
			}
		}
	})
}

// TestRetryAfterIsHeeded: not a moment sooner than the peer asks, and soon after.
func TestRetryAfterIsHeeded(t *testing.T) {
	telling(t, func(_ *http.Request, n int) (*http.Response, error) {
		if n == 1 {
			return response(429, "", "Retry-After", "120"), nil
		}
		return nil, nil
	}, func(w *world, b *mailbox) {
		w.channel("chat")
		w.stack("Network")
		w.tracked("network", "a")
		time.Sleep(10 * time.Minute)
		got := b.at("chat.example")
		if len(got) != 2 || got[0].id != got[1].id {
			t.Fatalf("%d requests", len(got))
		}
		if d := got[1].at.Sub(got[0].at); d < 2*time.Minute || d > 2*time.Minute+5*time.Second {
			t.Errorf("asked again after %s", d)
		}
	})
}

// TestGivenUp: after its time a notification is kept as failed, the inbox says so in the peer's words, and a test that
// arrives ends it. Its own trouble is not told over it.
func TestGivenUp(t *testing.T) {
	var mu sync.Mutex
	well := false
	telling(t, func(*http.Request, int) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if well {
			return nil, nil
		}
		return response(403, "invalid_token"), nil
	}, func(w *world, b *mailbox) {
		c := w.channel("chat", func(c *store.Channel) { c.GiveUp = 60 })
		w.stack("Network")
		w.tracked("network", "a")
		time.Sleep(61 * time.Minute)
		if n, failed := w.waiting(c); n != 0 || failed != 1 {
			t.Fatalf("%d wait, %d given up", n, failed)
		}
		if _, err := w.e.remember(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		notices := w.notices()
		if len(notices) != 1 || notices[0].Key != "notification/"+c.ID || !strings.Contains(notices[0].Cause, "“invalid_token”") || strings.Contains(notices[0].Cause, "s3cret") {
			t.Fatalf("inbox %+v", notices)
		}
		time.Sleep(time.Minute)
		if n, _ := w.waiting(c); n != 0 {
			t.Errorf("its own trouble is to be told over it")
		}
		if err := w.e.TestChannel(w.t.Context(), c.ID, "anna"); err == nil || !strings.Contains(err.Error(), "invalid_token") {
			t.Errorf("the test says %v", err)
		}
		mu.Lock()
		well = true
		mu.Unlock()
		if err := w.e.TestChannel(w.t.Context(), c.ID, "anna"); err != nil {
			t.Error(err)
		}
		if n := w.notices(); len(n) != 0 {
			t.Errorf("inbox after a good test: %+v", n)
		}
	})
}

func (w *world) notices() (list []store.Notice) {
	w.t.Helper()
	if err := w.st.View(func(tx *store.Tx) (err error) { list, err = Notices(tx, nil, runs.Room{}); return err }); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// TestGone: who says 410 is asked nothing more until a person switches the channel on again.
func TestGone(t *testing.T) {
	telling(t, func(*http.Request, int) (*http.Response, error) { return response(410, ""), nil }, func(w *world, b *mailbox) {
		c := w.channel("chat")
		w.stack("Network")
		r := w.tracked("network", "a")
		time.Sleep(time.Minute)
		w.apply(r.ID, runs.Discard{})
		time.Sleep(24 * time.Hour)
		if n := len(b.at("chat.example")); n != 1 {
			t.Errorf("%d requests", n)
		}
		if n, failed := w.waiting(c); n != 0 || failed != 1 || len(w.notices()) != 1 {
			t.Errorf("%d wait, %d given up, inbox %+v", n, failed, w.notices())
		}
	})
}

// TestOneBadApple: a message the peer does not take is tried again by itself; those after it pass.
func TestOneBadApple(t *testing.T) {
	var mu sync.Mutex
	bad := ""
	telling(t, func(r *http.Request, n int) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if n == 1 {
			bad = r.Header.Get("webhook-id")
		}
		if r.Header.Get("webhook-id") == bad {
			return response(400, ""), nil
		}
		return nil, nil
	}, func(w *world, b *mailbox) {
		c := w.channel("chat")
		w.stack("Network")
		for _, sha := range []string{"a", "b", "c"} {
			r := w.tracked("network", sha)
			w.apply(r.ID, runs.Discard{})
		}
		time.Sleep(5 * time.Second)
		if n, _ := w.waiting(c); n != 1 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestNoSecretIsTold: values of secret variables and the link's own secrets do not leave, wherever a run carries them.
func TestNoSecretIsTold(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("chat", func(c *store.Channel) { c.Proposed = true })
		w.stack("Network")
		w.update(func(tx *store.Tx) error {
			return tx.PutVariable("network", runs.Variable{Name: "TF_VAR_key", Value: "canary-5f1c9d", Secret: true})
		})
		r := w.request(runs.Run{Stack: "network", Type: runs.Tracked, Branch: "canary-5f1c9d", Commit: runs.Commit{SHA: "a", Title: "Use canary-5f1c9d", Author: "canary-5f1c9d"}})
		w.apply(r.ID, runs.Claimed{}, runs.Fail{Meta: runs.Meta{Note: "bad value Y2FuYXJ5LTVmMWM5ZA== or " + w.token}})
		time.Sleep(time.Minute)
		got := b.at("chat.example")
		if len(got) != 1 || !strings.Contains(got[0].body, "bad value") {
			t.Fatalf("%+v", got)
		}
		for _, secret := range []string{"canary-5f1c9d", "Y2FuYXJ5LTVmMWM5ZA", w.token} {
			if strings.Contains(got[0].body, secret) {
				t.Errorf("%s was told: %s", secret, got[0].body)
			}
		}
	})
}

// TestTroubleIsToldOnce: the token's end by its steps, its death, and a hook that breaks; the same again is no news.
func TestTroubleIsToldOnce(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("ops", func(c *store.Channel) { c.Stacks = []string{"elsewhere"} }) // a filter of stacks hides nothing that concerns all
		w.stack("Network")
		look := func(change func(in *store.Integration, now time.Time)) {
			t.Helper()
			w.update(func(tx *store.Tx) error {
				in, _, err := tx.Integration()
				if err != nil {
					return err
				}
				change(&in, tx.Now())
				return tx.PutIntegration(in)
			})
			for range 3 {
				if _, err := w.e.remember(w.t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, days := range []int{40, 29, 28, 13, 6, 2} {
			look(func(in *store.Integration, now time.Time) { in.Health.ExpiresAt = new(now.AddDate(0, 0, days)) })
		}
		look(func(in *store.Integration, _ time.Time) {
			in.Health.Trouble, in.Health.Cause = "The token was revoked.", "revoked"
		})
		look(func(in *store.Integration, _ time.Time) {
			in.Health.Trouble, in.Health.Cause, in.Health.ExpiresAt = "", "", nil
		})
		w.update(func(tx *store.Tx) error { return tx.PutHook(store.Hook{Project: w.project.ID, State: HookMissing}) })
		look(func(*store.Integration, time.Time) {})
		w.update(func(tx *store.Tx) error { return tx.PutHook(store.Hook{Project: w.project.ID, State: HookDisabled}) })
		look(func(*store.Integration, time.Time) {})
		time.Sleep(time.Minute)
		var got []string
		for _, s := range b.at("ops.example") {
			var body struct {
				Type string
				Data struct{ Title string }
			}
			if err := json.Unmarshal([]byte(s.body), &body); err != nil {
				t.Fatal(err)
			}
			got = append(got, body.Type+" "+body.Data.Title)
		}
		want := []string{
			"token.expires The GitLab token expires in 29 days", "token.expires The GitLab token expires in 13 days", "token.expires The GitLab token expires in 6 days",
			"token.expires The GitLab token expires in 2 days", "token.trouble GitLab does not work with the token",
			"hook.broken The webhook of platform/network is missing", "hook.broken GitLab switched the webhook of platform/network off",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Names that an earlier version took do not stand in the way of another change.
func TestOldWordsStay(t *testing.T) {
	telling(t, nil, func(w *world, _ *mailbox) {
		long := strings.Repeat("x", 3000)
		c := w.channel("chat")
		c.Name = "a\tb"
		st := w.stack("network")
		st.Description = long
		w.update(func(tx *store.Tx) error { return errors.Join(tx.PutChannel(c), tx.PutStack(st)) })

		c.Off = true
		got, err := w.e.SaveChannel(c, "anna")
		if err != nil || !got.Off || got.Name != "a\tb" {
			t.Errorf("%+v, %v", got, err)
		}
		c.Name = "a\tc"
		if _, err := w.e.SaveChannel(c, "anna"); !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("a new name that cannot be printed: %v", err)
		}
		project := fmt.Sprint(w.project.ID)
		st.Autodeploy = true
		if st, err = w.e.UpdateStack(w.t.Context(), st, project, "anna"); err != nil || !st.Autodeploy || st.Description != long {
			t.Errorf("autodeploy %v, %v", st.Autodeploy, err)
		}
		st.Description += "x"
		if _, err := w.e.UpdateStack(w.t.Context(), st, project, "anna"); !errors.Is(err, runs.ErrInvalid) {
			t.Errorf("a new description that is too long: %v", err)
		}
	})
}

// TestChannelsAreAudited: who changed what, secrets as digests; blank secrets stay, and a password stays with its server.
func TestChannelsAreAudited(t *testing.T) {
	telling(t, nil, func(w *world, _ *mailbox) {
		c := w.channel("chat")
		mail := store.Channel{
			Name: "Mail", Kind: store.ChannelEmail, Topics: runs.Topics, Password: "hunter2-hunter2",
			SMTP: store.SMTP{Host: "smtp.example", Port: 587, Security: "starttls", Username: "gc", From: "gc@example.com", To: []string{"a@example.com"}},
		}
		mail, err := w.e.SaveChannel(mail, "anna")
		if err != nil {
			t.Fatal(err)
		}
		change := mail
		change.Password, change.Name = "", "Mail 2"
		if got, err := w.e.SaveChannel(change, "anna"); err != nil || got.Password != "hunter2-hunter2" {
			t.Errorf("the password did not stay: %v", err)
		}
		change.SMTP.Host = "evil.example"
		if got, err := w.e.SaveChannel(change, "anna"); err != nil || got.Password != "" {
			t.Errorf("the password went to another server: %v", err)
		}
		if _, err := w.e.SaveChannel(store.Channel{ID: c.ID, Name: "mail 2", Topics: runs.Topics}, "anna"); err == nil {
			t.Error("a name is taken twice")
		}
		if err := w.e.DeleteChannel(c.ID, "bo"); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		if err := w.st.View(func(tx *store.Tx) error {
			list, _, err := tx.AuditLog("", 100)
			for _, e := range list {
				log.WriteString(e.Action + " " + e.Target + " by " + e.By + ": " + e.Note + "\n")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"notification.create chat by anna", "address none → sha256:", "password none → sha256:", "notification.delete chat by bo", "notification.change Mail 2"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, log.String())
			}
		}
		for _, secret := range []string{"s3cret", "hunter2", "whsec_"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log holds %s", secret)
			}
		}
	})
}
