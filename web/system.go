package web

import (
	"cmp"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

func (s *Server) getSystem(c *request) error {
	return s.systemPage(c, http.StatusOK, view.SystemModel{})
}

func (s *Server) systemPage(c *request, status int, m view.SystemModel) error {
	p, err := s.page(c, "System", view.NavSettings, view.Crumb{Text: "Settings"}, view.Crumb{Text: "System"})
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	f := s.o.Facts
	m.Version, m.Commit, m.GoVersion, m.Started = s.o.Version, f.Commit, runtime.Version(), s.started
	m.Listen, m.ExternalURL = f.Listen, s.o.ExternalURL
	if !c.who.restricted() { // sizes tell of what others do
		room := s.eng.Room()
		m.DataDir, m.DBBytes, m.FreeBytes, m.Room = s.st.Dir(), s.st.Size(), room.Free, room.Words()
	}
	m.Limits = s.limitRows(m.Typed)
	m.Tools, m.ToolDirs, m.Isolation = s.toolList(c), f.ToolDirs, f.Isolation
	m.CanAdmin = c.who.has(store.Admin)
	last, _, err := s.st.LastBackup()
	if err != nil {
		return err
	}
	m.BackupAt, m.BackupBytes = last.Made, last.Size
	err = s.st.View(func(tx *store.Tx) error {
		set, err := tx.Settings()
		if err != nil {
			return err
		}
		m.PublicModules = cmp.Or(m.PublicModules, strings.Join(set.PublicModules, "\n"))
		m.GitProjects = cmp.Or(m.GitProjects, strings.Join(set.GitProjects, "\n"))
		m.DeliveryDays = cmp.Or(m.DeliveryDays, strconv.Itoa(int(set.KeepDeliveries().Hours()/24)))
		m.ReportDays = cmp.Or(m.ReportDays, strconv.Itoa(int(set.KeepReports().Hours()/24)))
		active, err := tx.Active("")
		if err != nil {
			return err
		}
		for _, r := range active {
			switch {
			case !reads(r.Project):
			case r.State.Working():
				m.Working++
			case r.State == runs.Queued:
				m.QueuedRuns++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	n, err := s.countRecords(c, reads)
	if err != nil {
		return err
	}
	m.Received, m.Refused, m.ReportsWaiting, m.ReportsParked = n.received, n.refused, n.waiting, n.parked
	return render(c, status, view.SystemPage(p, m))
}

func (s *Server) postRetention(c *request) error {
	m := view.SystemModel{DeliveryDays: c.FormValue("delivery_days"), ReportDays: c.FormValue("report_days")}
	deliveries, err := formDays("delivery_days", m.DeliveryDays)
	if err == nil {
		var reports int
		if reports, err = formDays("report_days", m.ReportDays); err == nil {
			_, err = s.changeSettings(c, settingsInput{DeliveryDays: &deliveries, ReportDays: &reports})
		}
	}
	if field, message, ok := fieldError(err); ok {
		m.Errors = map[string]string{field: message}
		return s.systemPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/settings/system", "The retention is saved.")
}

func formDays(name, text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, runs.Invalidf(name, "“%s” is no number.", text)
	}
	return n, nil
}
