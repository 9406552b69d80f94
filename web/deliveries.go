package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// deliveryView is a delivery as pages show it: what was processed and started nothing is "ignored".
func deliveryView(d store.Delivery) view.Delivery {
	v := view.Delivery{
		ID: d.ID, Event: d.Event, Project: d.Project, ReceivedAt: d.ReceivedAt, State: d.State, Verdict: d.Verdict, Runs: d.Runs,
	}
	if d.State == store.DeliveryDone && strings.HasPrefix(d.Verdict, "ignored") {
		v.State = view.DeliveryIgnored
	}
	return v
}

func (s *Server) getDeliveries(c *request) error {
	p, err := s.settingsPage(c, "Deliveries", view.Crumb{Text: "GitLab", URL: "/settings/vcs/gitlab"}, view.Crumb{Text: "Deliveries"})
	if err != nil {
		return err
	}
	f, err := s.deliveryFilterOf(c)
	if err != nil {
		return err
	}
	m := view.DeliveriesModel{
		State: f.state, Event: f.event, Project: f.project, Text: f.text, Since: c.QueryParam("since"), Until: c.QueryParam("until"),
	}
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		any, _, err := tx.DeliveriesWhere(time.Time{}, time.Time{}, "", 1, func(d store.Delivery) bool { return f.reads(d.ProjectID) })
		if err != nil {
			return err
		}
		m.Any = len(any) > 0
		page, n, err := tx.DeliveriesWhere(f.since, f.until, c.QueryParam("cursor"), pageRows, f.match)
		next = n
		for _, d := range page {
			m.Rows = append(m.Rows, deliveryView(d))
		}
		return err
	})
	if err != nil {
		return err
	}
	m.Pager = pager(c, len(m.Rows), next)
	return render(c, http.StatusOK, view.DeliveriesPage(p, m))
}

// A deliveryFilter is what the query asks for, of the page and of the API.
type deliveryFilter struct {
	state, event, project, text string
	since, until                time.Time
	reads                       func(project int64) bool // whose deliveries may be seen
	stored                      bool                     // ignored deliveries are done as well, as the API says it
}

// deliveryFilterOf reads state (also "ignored": processed, and nothing followed), event, a part of the project's path, a part
// of the verdict, and since and until, each a date or a time of RFC 3339; a date as until is included.
func (s *Server) deliveryFilterOf(c *request) (f deliveryFilter, err error) {
	if f.reads, err = s.reads(c); err != nil {
		return f, err
	}
	if f.state, err = oneOf(c, "state", append([]string{view.DeliveryIgnored}, deliveryStates...)); err != nil {
		return f, err
	}
	f.event, f.project, f.text = cut(c.QueryParam("event"), 100), cut(c.QueryParam("project"), 200), strings.ToLower(cut(c.QueryParam("text"), 200))
	if f.since, err = momentOf(c, "since", 0); err == nil {
		f.until, err = momentOf(c, "until", 1)
	}
	return f, err
}

// momentOf reads a date, or days after it, or a moment from the query; zero when nothing is given.
func momentOf(c *request, name string, days int) (time.Time, error) {
	text := strings.TrimSpace(c.QueryParam(name))
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at.AddDate(0, 0, days), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, runs.Invalidf(name, "“%s” is no date. Write it like 2026-03-14, or a moment like 2026-03-14T09:30:00Z.", cut(text, 40))
	}
	return at, nil
}

func (f deliveryFilter) match(d store.Delivery) bool {
	shown := deliveryView(d).State
	return f.reads(d.ProjectID) && (f.state == "" || f.state == shown || f.stored && f.state == d.State) && (f.event == "" || f.event == d.Event) &&
		strings.Contains(d.Project, f.project) && (f.text == "" || strings.Contains(strings.ToLower(d.Verdict), f.text))
}

// shownBody is how much of a delivery's body the page shows.
const shownBody = 256 << 10

func (s *Server) getDelivery(c *request) error {
	m := view.DeliveryModel{Replay: c.who.may(store.Admin, "process a delivery again")}
	var d store.Delivery
	var raw []byte
	err := s.st.View(func(tx *store.Tx) (err error) {
		if d, err = tx.Delivery(c.Param("id")); err != nil || d.State == store.DeliveryRefused {
			return err
		}
		raw, err = tx.DeliveryBody(d)
		return err
	})
	if err != nil {
		return err
	}
	m.Delivery = deliveryView(d)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		m.Headers = append(m.Headers, view.Header{Name: name, Value: d.Headers[name]})
	}
	m.Body, m.BodyCut = bodyText(raw)
	switch {
	case d.State == store.DeliveryRefused:
		m.Replay = view.Act{WhyNot: "It was refused, so its body was not kept."}
	case d.State == store.DeliveryWaiting:
		m.Replay = view.Act{}
	}
	p, err := s.settingsPage(c, "Delivery "+d.ID, view.Crumb{Text: "GitLab", URL: "/settings/vcs/gitlab"},
		view.Crumb{Text: "Deliveries", URL: "/settings/vcs/gitlab/deliveries"}, view.Crumb{Text: d.ID})
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, view.DeliveryPage(p, m))
}

// bodyText makes a body readable: indented when it is JSON, and cut.
func bodyText(raw []byte) (text string, cutBytes int64) {
	var buf bytes.Buffer
	if json.Valid(raw) && json.Indent(&buf, raw, "", "  ") == nil {
		raw = buf.Bytes()
	}
	text = string(raw)
	if !utf8.Valid(raw) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	shown := cut(text, shownBody)
	return shown, int64(len(text) - len(shown))
}

func (s *Server) postReplay(c *request) error {
	return s.after(c, s.eng.Replay(c.Param("id"), c.who.Name), "/settings/vcs/gitlab/deliveries/"+c.Param("id"), "The delivery is being processed again.")
}

func (s *Server) getReports(c *request) error {
	p, err := s.settingsPage(c, "Reports", view.Crumb{Text: "GitLab", URL: "/settings/vcs/gitlab"}, view.Crumb{Text: "Reports"})
	if err != nil {
		return err
	}
	state, err := oneOf(c, "state", reportStates)
	if err != nil {
		return err
	}
	m := view.ReportsModel{State: state, Retry: c.who.may(store.Writer, "try a report again")}
	var next string
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		theirs := func(r store.Report) bool { return reads(r.Project) }
		page, n, err := tx.ReportsWhere(state, c.QueryParam("cursor"), pageRows, theirs)
		if err != nil {
			return err
		}
		next = n
		for _, r := range page {
			st, known, err := tx.FirstStackOf(r.Project)
			if err != nil {
				return err
			}
			if !known {
				st.ProjectPath = fmt.Sprintf("project %d", r.Project)
			}
			row := reportView(st, r)
			row.Retry = s.rowAct(c, r.Project, st.ProjectPath, "try a report again")
			m.Rows = append(m.Rows, row)
		}
		any, _, err := tx.ReportsWhere("", "", 1, theirs)
		m.Any = len(any) > 0
		return err
	})
	if err != nil {
		return err
	}
	m.Pager = pager(c, len(m.Rows), next)
	return render(c, http.StatusOK, view.ReportsPage(p, m))
}

// reportView is a report as pages show it; st is a stack of its project, which knows where that is in GitLab.
func reportView(st runs.Stack, r store.Report) view.Report {
	v := view.Report{
		Key: r.Target, Kind: r.Kind, RunID: r.Run, State: r.State, Attempts: r.Attempts, NextAttempt: r.NextAttempt,
		LastError: r.LastError, Cause: r.Cause, Mend: r.Mend, Since: r.MarkedAt,
	}
	base := strings.TrimSuffix(st.ProjectURL, "/")
	v.Target, v.URL = targetWords(r, base)
	if r.Kind == store.ReportHook {
		v.Target = "webhook of " + st.ProjectPath
	}
	if base == "" {
		v.URL = ""
	}
	return v
}

// targetWords says what a report is about, and where that is in GitLab below the project's address.
func targetWords(r store.Report, base string) (text, address string) {
	switch r.Kind {
	case store.ReportStatus:
		return r.Name + " on " + runs.ShortSHA(r.SHA), base + "/-/commit/" + r.SHA
	case store.ReportNote:
		return fmt.Sprintf("comment of %s on !%d", r.Stack, r.MR), fmt.Sprintf("%s/-/merge_requests/%d", base, r.MR)
	case store.ReportReply:
		return fmt.Sprintf("answer to a comment on !%d", r.MR), fmt.Sprintf("%s/-/merge_requests/%d", base, r.MR)
	case store.ReportHook:
		return "webhook of project " + strconv.FormatInt(r.Project, 10), base + "/-/hooks"
	case store.ReportThread:
		return fmt.Sprintf("thread of %s on !%d", r.Stack, r.MR), fmt.Sprintf("%s/-/merge_requests/%d", base, r.MR)
	case store.ReportDeployment:
		return "deployment of " + runs.ShortSHA(r.SHA) + " to " + r.Name, base + "/-/environments"
	default:
		return "environment " + r.Name, base + "/-/environments"
	}
}

func (s *Server) postRetryReport(c *request) error {
	_, err := s.retryReport(c.FormValue("key"), c.who.Name)
	return s.after(c, err, "/settings/vcs/gitlab/reports", "The report is tried again.")
}

// records counts what pages say about deliveries and reports; of parked reports, parkedLimit at most.
type records struct{ received, refused, waiting, parked int }

// counted bounds how many deliveries are counted.
const counted = 5000

func (s *Server) countRecords(c *request, reads func(project int64) bool) (n records, err error) {
	if !c.who.restricted() {
		return n, s.st.View(n.countAll)
	}
	err = s.st.View(func(tx *store.Tx) error {
		list, _, err := tx.DeliveriesWhere(tx.Now().Add(-24*time.Hour), time.Time{}, "", counted, func(d store.Delivery) bool { return reads(d.ProjectID) })
		if err != nil {
			return err
		}
		for _, d := range list {
			n.received++
			if d.State == store.DeliveryRefused {
				n.refused++
			}
		}
		due, err := tx.DueReports()
		if err != nil {
			return err
		}
		theirs := func(r store.Report) bool { return reads(r.Project) }
		n.waiting = len(keep(due, theirs))
		parked, _, err := tx.ReportsWhere(store.ReportParked, "", parkedLimit, theirs)
		n.parked = len(parked)
		return err
	})
	return n, err
}

// countAll counts everybody's, mostly without reading them.
func (n *records) countAll(tx *store.Tx) (err error) {
	if n.received, n.refused, err = tx.CountDeliveries(tx.Now().Add(-24*time.Hour), counted); err != nil {
		return err
	}
	n.waiting = tx.Count("due")
	parked, _, err := tx.Reports(store.ReportParked, "", parkedLimit)
	n.parked = len(parked)
	return err
}
