package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"groundcrew/runs"
	"groundcrew/store"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("groundcrew_"+name, help, labels, nil)
}

// What is read when somebody asks.
var (
	descBuild    = desc("build_info", "Always 1; the labels say which Groundcrew this is.", "version", "goversion")
	descRuns     = desc("runs", "Runs that have not ended, by type and state.", "type", "state")
	descBusy     = desc("workers_busy", "Workers that have a job.")
	descWorkers  = desc("workers", "Runs that may be at work at once.")
	descInbox    = desc("deliveries_waiting", "Webhook deliveries that are stored and not yet processed.")
	descReports  = desc("reports", "Things GitLab does not show yet, by state: waiting are sent by themselves, parked need a person.", "state")
	descOldest   = desc("reports_oldest_age_seconds", "Age of the oldest waiting report; 0 when none waits.")
	descExpiry   = desc("gitlab_token_expiry_timestamp_seconds", "When the GitLab token expires, in seconds since 1970; absent when it does not expire.")
	descDays     = desc("gitlab_token_days_left", "Days until the GitLab token expires, negative after it; absent when it does not expire.")
	descToken    = desc("gitlab_token_state", "1 for the state of the GitLab token, 0 for the others.", "state")
	descChecked  = desc("gitlab_token_checked_timestamp_seconds", "When the GitLab token was last checked, in seconds since 1970.")
	descNews     = desc("notifications", "Notifications, by state: waiting are sent by themselves, failed were given up and are kept to be looked at.", "state")
	descNewsAge  = desc("notifications_oldest_age_seconds", "Age of the oldest notification that waits for a channel which is switched on; 0 when none waits.")
	descHooks    = desc("hooks", "Webhooks of used projects, by state.", "state")
	descNotices  = desc("inbox_notices", "Trouble that needs a person and nobody dismissed, by severity and topic.", "severity", "topic")
	descStore    = desc("store_size_bytes", "Size of the database file.")
	descBackup   = desc("last_backup_timestamp_seconds", "When the newest backup was made, in seconds since 1970; 0 when there is none.")
	descFolder   = desc("folder_size_bytes", "Size of a folder in the data folder; added up every quarter of an hour at most.", "folder")
	descUnlinked = desc("gitlab_linked", "1 when a GitLab is set up, else 0.")
)

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descBuild, descRuns, descBusy, descWorkers, descInbox, descReports, descOldest, descExpiry, descDays, descToken, descChecked,
		descNews, descNewsAge, descHooks, descNotices, descStore, descBackup, descFolder, descUnlinked,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ch <- buildInfo(m.o.Version)
	m.runs(gauge)
	if m.o.Workers != nil {
		busy, total := m.o.Workers()
		gauge(descBusy, float64(busy))
		gauge(descWorkers, float64(total))
	}
	gauge(descStore, float64(m.o.Store.Size()))
	m.folders(gauge)
	err := m.o.Store.View(func(tx *store.Tx) error {
		last, ok, err := m.o.Store.LastBackup()
		if err != nil {
			return err
		}
		made := 0.0
		if ok {
			made = float64(last.Made.Unix())
		}
		gauge(descBackup, made)
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		token(gauge, in, tx.Now())
		gauge(descInbox, float64(tx.Count("inbox")))
		gauge(descReports, float64(tx.Count("due")), store.ReportWaiting)
		gauge(descReports, float64(tx.Count("parked")), store.ReportParked)
		if err := notices(gauge, tx); err != nil {
			return err
		}
		return m.slowly(gauge, tx)
	})
	if err != nil {
		m.o.Log.Error("metrics could not be read", "error", err)
		ch <- prometheus.NewInvalidMetric(descStore, err)
	}
}

type gaugeFunc func(d *prometheus.Desc, v float64, labels ...string)

func (m *Metrics) runs(gauge gaugeFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range runs.Types {
		for _, s := range runs.States {
			if !s.Terminal() {
				gauge(descRuns, float64(m.active[runKind{t, s}]), string(t), string(s))
			}
		}
	}
}

// tokenStates are the causes of trouble as the token check names them, and what is said of them.
var tokenStates = []string{"active", "revoked", "expired", "blocked", "scope", "unauthorized", "unreachable", "none"}

// TokenState is the state of the token of an integration, one of a closed list.
func TokenState(in store.Integration) string {
	h := in.Health
	switch {
	case !in.Linked:
		return "none"
	case h.Trouble == "":
		return "active"
	}
	for _, s := range tokenStates {
		if h.Cause == s {
			return s
		}
	}
	return "unreachable" // network, TLS, an answer that is not GitLab's: nothing is wrong with the token
}

func token(gauge gaugeFunc, in store.Integration, now time.Time) {
	is := TokenState(in)
	for _, s := range tokenStates {
		gauge(descToken, one(s == is), s)
	}
	gauge(descUnlinked, one(in.Linked))
	if !in.Linked {
		return
	}
	if at := in.Health.CheckedAt; !at.IsZero() {
		gauge(descChecked, float64(at.Unix()))
	}
	if at := in.Health.ExpiresAt; at != nil {
		gauge(descExpiry, float64(at.Unix()))
		gauge(descDays, at.Sub(now).Hours()/24)
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// notices counts the inbox as it is remembered, at most a minute old.
func notices(gauge gaugeFunc, tx *store.Tx) error {
	list, err := tx.Notices()
	n := map[[2]string]int{}
	for _, x := range list {
		if x.Dismissed.IsZero() && x.Gone.IsZero() {
			n[[2]string{x.Kind, topic(x.Key)}]++
		}
	}
	for k, v := range n {
		gauge(descNotices, float64(v), k[0], k[1])
	}
	return err
}

// topic is what a notice's key is about, without which one: of "hook/7" hook, of "token-expires-14" token-expires.
func topic(key string) string {
	key, _, _ = strings.Cut(key, "/")
	return strings.TrimRight(key, "-0123456789")
}
