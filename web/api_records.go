package web

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A deliveryJSON is a webhook delivery.
type deliveryJSON struct {
	ID         string    `json:"id"`
	Event      string    `json:"event"`
	Project    string    `json:"project"`
	ReceivedAt time.Time `json:"received_at"`
	State      string    `json:"state"`
	Verdict    string    `json:"verdict"`
	Runs       []string  `json:"runs"`
}

func deliveryOut(d store.Delivery) deliveryJSON {
	return deliveryJSON{d.ID, d.Event, d.Project, d.ReceivedAt.UTC(), d.State, d.Verdict, orEmpty(d.Runs)}
}

var deliveryStates = []string{store.DeliveryWaiting, store.DeliveryDone, store.DeliveryFailed, store.DeliveryRefused}

// oneOf reads a query parameter that must be "" or one of the words.
func oneOf(c *request, name string, words []string) (string, error) {
	v := c.QueryParam(name)
	if v != "" && !slices.Contains(words, v) {
		return "", runs.Invalidf(name, "“%s” is no %s here. Use one of %v.", v, name, words)
	}
	return v, nil
}

func (s *Server) apiDeliveries(c *request) error {
	cursor, limit, err := idWindow(c)
	if err != nil {
		return err
	}
	f, err := s.deliveryFilterOf(c)
	if err != nil {
		return err
	}
	f.stored = true
	var items []deliveryJSON
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		page, n, err := tx.DeliveriesWhere(f.since, f.until, cursor, limit, f.match)
		for _, d := range page {
			items = append(items, deliveryOut(d))
		}
		next = n
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

func (s *Server) apiReplay(c *request) error {
	if err := s.eng.Replay(c.Param("id"), c.who.Name); err != nil {
		return err
	}
	var d store.Delivery
	err := s.st.View(func(tx *store.Tx) (err error) {
		d, err = tx.Delivery(c.Param("id"))
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, deliveryOut(d))
}

// A reportJSON is something GitLab must be told. Its id stands for its target in addresses.
type reportJSON struct {
	ID            string     `json:"id"`
	Kind          string     `json:"kind"`
	Target        string     `json:"target"`
	Stack         string     `json:"stack"`
	Run           *string    `json:"run"`
	State         string     `json:"state"`
	Attempts      int        `json:"attempts"`
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	LastError     string     `json:"last_error"`
	Cause         string     `json:"cause"` // of a refusal, as far as known
	Mend          string     `json:"mend"`  // what a person can do about it
}

// reportID makes a target, which has slashes, one part of an address.
func reportID(target string) string { return base64.RawURLEncoding.EncodeToString([]byte(target)) }

func reportOut(r store.Report) reportJSON {
	return reportJSON{reportID(r.Target), r.Kind, r.Target, r.Stack, orNil(r.Run), r.State, r.Attempts, at(r.NextAttempt), r.LastError, r.Cause, r.Mend}
}

var reportStates = []string{store.ReportWaiting, store.ReportDelivered, store.ReportParked}

func (s *Server) apiReports(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	state, err := oneOf(c, "state", reportStates)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var items []reportJSON
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		page, n, err := tx.ReportsWhere(state, cursor, limit, func(r store.Report) bool { return reads(r.Project) })
		for _, r := range page {
			items = append(items, reportOut(r))
		}
		next = n
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

func (s *Server) apiRetryReport(c *request) error {
	target, err := base64.RawURLEncoding.DecodeString(c.Param("id"))
	if err != nil {
		return runs.NotFoundf("There is no report %q.", c.Param("id"))
	}
	r, err := s.retryReport(string(target), c.who.Name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, reportOut(r))
}

// retryReport lets a report try again at once.
func (s *Server) retryReport(target, by string) (r store.Report, err error) {
	err = s.st.Update(func(tx *store.Tx) (err error) {
		if r, err = tx.RetryReport(target); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "report.retry", Target: target, Stack: r.Stack})
	})
	s.forgetParked()
	return r, err
}

// An inboxJSON is something that waits for a person.
type inboxJSON struct {
	Kind   string `json:"kind"` // waiting, failed, trouble
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Stack  string `json:"stack"`
	Run    string `json:"run"`
	URL    string `json:"url"`
	// Of trouble: what to do, since when, whether somebody dismissed it, and the id to dismiss it with.
	ID        string     `json:"id"`
	Severity  string     `json:"severity"` // bad, warn, info
	Mend      string     `json:"mend"`
	Since     *time.Time `json:"since"`
	Dismissed bool       `json:"dismissed"`
}

func (s *Server) apiInbox(c *request) error {
	n, err := s.needsOf(c)
	if err != nil {
		return err
	}
	var items []inboxJSON
	add := func(kind string, list []runs.Run) {
		for _, r := range list {
			items = append(items, inboxJSON{
				Kind: kind, Title: r.Commit.Title, Detail: r.Reason, Stack: r.Stack, Run: r.ID, URL: s.o.ExternalURL + "/runs/" + r.ID, Since: at(r.Entered()),
			})
		}
	}
	add("waiting", n.waiting)
	add("failed", n.failed)
	for _, t := range n.notices {
		items = append(items, inboxJSON{
			Kind: "trouble", Title: t.Text, Detail: t.Cause, Stack: t.Stack, URL: s.o.ExternalURL + t.LinkURL,
			ID: noticeID(t.Key), Severity: t.Kind, Mend: t.Mend, Since: at(t.Since), Dismissed: !t.Dismissed.IsZero(),
		})
	}
	return paged(c, items, func(n inboxJSON) string { return n.Kind + "/" + cmp.Or(n.ID, n.Run) })
}

// An auditJSON says who did what, from where, and what it was before and after; secrets are digests.
type auditJSON struct {
	ID      string              `json:"id"`
	At      time.Time           `json:"at"`
	By      string              `json:"by"`
	Action  string              `json:"action"`
	Target  string              `json:"target"`
	Stack   string              `json:"stack"`
	Note    string              `json:"note"`
	Address string              `json:"address"`
	Via     string              `json:"via"` // the session or key it was made with
	Changes []store.AuditChange `json:"changes"`
}

func auditOut(e store.AuditEntry) auditJSON {
	changes := e.Changes
	if changes == nil {
		changes = []store.AuditChange{}
	}
	return auditJSON{e.ID, e.At.UTC(), e.By, e.Action, e.Target, e.Stack, e.Note, e.Address, e.Via, changes}
}

func (s *Server) apiAudit(c *request) error {
	cursor, limit, err := idWindow(c)
	if err != nil {
		return err
	}
	f, err := auditFilter(c)
	if err != nil {
		return err
	}
	var page []store.AuditEntry
	var next string
	err = s.st.View(func(tx *store.Tx) (err error) {
		page, next, err = tx.AuditSearch(f, cursor, limit)
		return err
	})
	if err != nil {
		return err
	}
	var items []auditJSON
	for _, e := range page {
		items = append(items, auditOut(e))
	}
	return listed(c, items, next)
}
