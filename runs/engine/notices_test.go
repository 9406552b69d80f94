package engine

import (
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

func TestTokenNotices(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	for name, c := range map[string]struct {
		health      store.TokenHealth
		kind, title string
	}{
		"well":          {store.TokenHealth{Active: true}, "", ""},
		"far away":      {store.TokenHealth{Active: true, ExpiresAt: in(31 * 24 * time.Hour)}, "", ""},
		"in 29 days":    {store.TokenHealth{Active: true, ExpiresAt: in(29*24*time.Hour + time.Hour)}, "warn", "expires in 29 days"},
		"in a day":      {store.TokenHealth{Active: true, ExpiresAt: in(25 * time.Hour)}, "warn", "expires in 1 day"},
		"today":         {store.TokenHealth{Active: true, ExpiresAt: in(time.Hour)}, "bad", "within a day"},
		"this moment":   {store.TokenHealth{Active: true, ExpiresAt: in(0)}, "bad", "has expired"},
		"long ago":      {store.TokenHealth{Active: true, ExpiresAt: in(-100 * time.Hour)}, "bad", "has expired"},
		"revoked":       {store.TokenHealth{Trouble: "revoked", Cause: "revoked"}, "bad", "does not work with the token"},
		"GitLab is off": {store.TokenHealth{Active: true, Trouble: "no answer"}, "warn", "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tokenNotices(store.Integration{Linked: true, Health: c.health}, now)
			if c.title == "" {
				if len(got) != 0 {
					t.Errorf("trouble: %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Kind != c.kind || !strings.Contains(got[0].Text, c.title) || got[0].LinkURL == "" || got[0].Cause == "" || got[0].Mend == "" {
				t.Errorf("got %+v, want %s: %s", got, c.kind, c.title)
			}
		})
	}
}

// A token's end is told once at each step, thirty days before it and on: what was dismissed comes back at the next step and
// not before, and at the end it is dead.
func TestTokenEndIsToldOncePerStep(t *testing.T) {
	inBubble(t, func(w *world) {
		end := time.Now().Add(32 * 24 * time.Hour).Truncate(24 * time.Hour)
		w.relink(func(in *store.Integration) { in.Health.ExpiresAt = &end })
		var told []string
		for day := 33; day >= 0; day-- {
			time.Sleep(time.Until(end.AddDate(0, 0, -day).Add(-time.Hour)))
			for range 3 { // looked at again the same day, and after a restart
				if _, err := w.e.remember(w.t.Context()); err != nil {
					t.Fatal(err)
				}
				var list []store.Notice
				if err := w.st.View(func(tx *store.Tx) (err error) { list, err = Notices(tx, nil, runs.Room{}); return err }); err != nil {
					t.Fatal(err)
				}
				for _, n := range list {
					if n.Dismissed.IsZero() {
						told = append(told, n.Key)
						if err := w.e.DismissNotice(n.Key, "ada"); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		time.Sleep(2 * time.Hour)
		var list []store.Notice
		if err := w.st.View(func(tx *store.Tx) (err error) { list, err = Notices(tx, nil, runs.Room{}); return err }); err != nil {
			t.Fatal(err)
		}
		want := "token-expires-30 token-expires-14 token-expires-7 token-expires-3 token-expires-1"
		if got := strings.Join(told, " "); got != want || len(list) != 1 || list[0].Key != "token" || list[0].Kind != "bad" {
			t.Errorf("told %s, at the end %+v", got, list)
		}
	})
}
