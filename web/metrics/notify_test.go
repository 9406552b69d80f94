package metrics

import (
	"testing"
	"testing/synctest"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestNotifications: what is told, fails and is given up is counted; what waits has an age, but over a channel that is off.
func TestNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, st := newMetrics(t, Options{})
		var news []store.Notification
		update(t, st, func(tx *store.Tx) error {
			for _, c := range []store.Channel{{ID: "on", Topics: runs.Topics}, {ID: "off", Topics: runs.Topics}} {
				if err := tx.PutChannel(c); err != nil {
					return err
				}
			}
			for range 3 {
				if err := tx.Notify(runs.OnTrouble, store.Said{Title: "x"}); err != nil {
					return err
				}
			}
			if err := tx.EachNotification("on", func(n store.Notification) bool { news = append(news, n); return true }); err != nil {
				return err
			}
			off, err := tx.Channel("off")
			off.Off = true
			if err == nil {
				err = tx.PutChannel(off)
			}
			return err
		})
		time.Sleep(time.Minute)
		has(t, scrape(t, m), `groundcrew_notifications{state="waiting"} 3`, `groundcrew_notifications{state="failed"} 0`, "groundcrew_notifications_oldest_age_seconds 60",
			`groundcrew_notifications_total{outcome="sent"} 0`)
		update(t, st, func(tx *store.Tx) error { return tx.Told(news[0]) })
		update(t, st, func(tx *store.Tx) error { return tx.TriedInVain(news[1]) })
		update(t, st, func(tx *store.Tx) error { return tx.GiveUp(news[1]) })
		time.Sleep(busyAge)
		has(t, scrape(t, m), `groundcrew_notifications{state="waiting"} 1`, `groundcrew_notifications{state="failed"} 1`, "groundcrew_notifications_oldest_age_seconds 65",
			`groundcrew_notifications_total{outcome="sent"} 1`, `groundcrew_notifications_total{outcome="failed"} 1`, `groundcrew_notifications_total{outcome="given_up"} 1`)
		update(t, st, func(tx *store.Tx) error { return tx.Told(news[2]) })
		time.Sleep(busyAge)
		has(t, scrape(t, m), `groundcrew_notifications{state="waiting"} 0`, "groundcrew_notifications_oldest_age_seconds 0")
	})
}
