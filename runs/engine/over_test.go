package engine

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// remembering does what the notices pump does, for some minutes.
func (w *world) remembering(minutes int) {
	w.t.Helper()
	for range minutes {
		if _, err := w.e.remember(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
}

// health sets what is known of the token.
func (w *world) health(h store.TokenHealth) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		in.Linked, in.Health = true, h
		return tx.PutIntegration(in)
	})
}

// types lists what a host was told, in order.
func (b *mailbox) types(t *testing.T, host string) (list []string) {
	t.Helper()
	for _, s := range b.at(host) {
		var body struct {
			Type string
			Data struct{ Was, Title string }
		}
		if err := json.Unmarshal([]byte(s.body), &body); err != nil {
			t.Fatal(err)
		}
		list = append(list, strings.TrimSuffix(body.Type+" "+body.Data.Was, " "))
		if body.Data.Was != "" && !strings.HasPrefix(body.Data.Title, "Over: ") {
			t.Errorf("the end is called %q", body.Data.Title)
		}
	}
	return list
}

var (
	deadToken = store.TokenHealth{Trouble: "GitLab says 401.", Cause: "revoked", Username: "bot"}
	wellToken = store.TokenHealth{Active: true, Username: "bot"}
)

// TestOverIsToldOnceToWhoWasTold: who heard of trouble hears of its end, once; others hear nothing, and trouble that comes back
// within a moment was not over.
func TestOverIsToldOnceToWhoWasTold(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("all")
		w.channel("runs-only", func(c *store.Channel) { c.Topics = []runs.Topic{runs.OnFailed} })
		late := w.channel("late", func(c *store.Channel) { c.Off = true })
		quits := w.channel("quits")
		w.health(deadToken)
		w.remembering(2)
		late.Off = false
		if _, err := w.e.SaveChannel(late, "anna"); err != nil {
			t.Fatal(err)
		}
		quits.Off = true
		if _, err := w.e.SaveChannel(quits, "anna"); err != nil {
			t.Fatal(err)
		}
		w.health(wellToken)
		if _, err := w.e.remember(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		w.health(deadToken) // it was not over
		w.remembering(3)
		if got := strings.Join(b.types(t, "all.example"), ", "); got != "token.trouble" {
			t.Errorf("while it lasts: %s", got)
		}
		w.health(wellToken)
		w.remembering(5)
		for host, want := range map[string]string{"all": "token.trouble, trouble.over token.trouble", "runs-only": "", "late": "", "quits": "token.trouble"} {
			if got := strings.Join(b.types(t, host+".example"), ", "); got != want {
				t.Errorf("%s was told %q, want %q", host, got, want)
			}
		}
		w.health(deadToken)
		w.remembering(2)
		if got := b.types(t, "all.example"); len(got) != 3 {
			t.Errorf("the same trouble again, later: %v", got)
		}
	})
}

// TestOverComesAfterTheTrouble: a channel that was in trouble itself is told in order, both.
func TestOverComesAfterTheTrouble(t *testing.T) {
	var mu sync.Mutex
	away := true
	telling(t, func(*http.Request, int) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return response(503, ""), nil
		}
		return nil, nil
	}, func(w *world, b *mailbox) {
		c := w.channel("chat")
		w.health(deadToken)
		w.remembering(8)
		w.health(wellToken)
		w.remembering(4)
		if n, _ := w.waiting(c); n != 2 {
			t.Fatalf("%d wait", n)
		}
		mu.Lock()
		tried := len(b.at("chat.example"))
		away = false
		mu.Unlock()
		time.Sleep(30 * time.Minute)
		if got := strings.Join(b.types(t, "chat.example")[tried:], ", "); got != "token.trouble, trouble.over token.trouble" {
			t.Errorf("told %s", got)
		}
	})
}

// TestWhatIsNoEnd: a token that expires sooner or dies, an unlinked GitLab, and a request that was met end no trouble.
func TestWhatIsNoEnd(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("all")
		end := time.Now().Add(20 * 24 * time.Hour)
		expires := wellToken
		expires.ExpiresAt = &end
		w.health(expires)
		w.remembering(2)
		time.Sleep(8 * 24 * time.Hour) // the next step
		w.remembering(4)
		w.health(deadToken)
		w.remembering(4)
		if got := strings.Join(b.types(t, "all.example"), ", "); got != "token.expires, token.expires, token.trouble" {
			t.Errorf("told %s", got)
		}
		w.update(func(tx *store.Tx) error {
			in, _, err := tx.Integration()
			in.Linked = false
			if err == nil {
				err = tx.PutIntegration(in)
			}
			return err
		})
		w.remembering(4)
		if got := b.types(t, "all.example"); len(got) != 3 {
			t.Errorf("unlinked: %v", got)
		}
	})
}

// TestParkedIsToldAtOnce: the commit that parks the first report wakes who tells of it; nobody waits for the minute.
func TestParkedIsToldAtOnce(t *testing.T) {
	telling(t, nil, func(w *world, b *mailbox) {
		w.channel("all")
		w.health(wellToken)
		w.remembering(1)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { w.e.pump(ctx, "notices", w.e.noticesWake, w.e.remember) })
		time.Sleep(10 * time.Second)
		park := func(sha string) {
			w.update(func(tx *store.Tx) error {
				return tx.PutReport(store.Report{Kind: store.ReportStatus, Target: "status/7/" + sha + "/x", Project: 7, SHA: sha, State: store.ReportParked, LastError: "403"})
			})
		}
		park("a")
		time.Sleep(2 * time.Second)
		if got := strings.Join(b.types(t, "all.example"), ", "); got != "report.parked" {
			t.Errorf("two seconds later: %q", got)
		}
		park("b")
		time.Sleep(2 * time.Minute)
		if got := b.types(t, "all.example"); len(got) != 1 {
			t.Errorf("more of the same: %v", got)
		}
		w.update(func(tx *store.Tx) error {
			for _, sha := range []string{"a", "b"} {
				r, _, err := tx.Report("status/7/" + sha + "/x")
				if err != nil {
					return err
				}
				r.State, r.DeliveredAt = store.ReportDelivered, tx.Now()
				if err := tx.PutReport(r); err != nil {
					return err
				}
			}
			return nil
		})
		time.Sleep(4 * time.Minute)
		if got := strings.Join(b.types(t, "all.example"), ", "); got != "report.parked, trouble.over report.parked" {
			t.Errorf("delivered: %q", got)
		}
	})
}
