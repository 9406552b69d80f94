package engine

import (
	"strings"
	"testing"
	"time"

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
