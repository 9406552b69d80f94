package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// auditFilter reads which entries are asked for. Days are whole days in UTC; until includes its day.
func auditFilter(c *request) (store.AuditFilter, error) {
	f := store.AuditFilter{By: c.QueryParam("by"), Action: c.QueryParam("action"), Target: c.QueryParam("target")}
	var err error
	if f.Since, err = momentOf(c, "since", 0); err == nil {
		f.Until, err = momentOf(c, "until", 1)
	}
	return f, err
}

func (s *Server) getAudit(c *request) error { return s.auditPage(c, http.StatusOK, nil) }

func (s *Server) auditPage(c *request, status int, errs map[string]string) error {
	p, err := s.page(c, "Audit", view.NavSettings, view.Crumb{Text: "Settings", URL: "/settings"}, view.Crumb{Text: "Audit"})
	if err != nil {
		return err
	}
	m := view.AuditModel{
		By: c.QueryParam("by"), Action: c.QueryParam("action"), Target: c.QueryParam("target"),
		Since: c.QueryParam("since"), Until: c.QueryParam("until"), Errors: errs,
	}
	f, err := auditFilter(c)
	if _, text, ok := fieldError(err); ok {
		m.Errors, status = map[string]string{"filter": text}, http.StatusUnprocessableEntity
	}
	var next string
	err = s.st.View(func(tx *store.Tx) error {
		set, err := tx.Settings()
		if err != nil {
			return err
		}
		m.Days = int(set.AuditFor().Hours() / 24)
		var page []store.AuditEntry
		page, next, err = tx.AuditSearch(f, c.QueryParam("cursor"), pageRows)
		for _, e := range page {
			m.Rows = append(m.Rows, auditRow(e))
		}
		return err
	})
	if err != nil {
		return err
	}
	m.Pager = pager(c, len(m.Rows), next)
	return render(c, status, view.AuditPage(p, m))
}

func auditRow(e store.AuditEntry) view.AuditRow {
	r := view.AuditRow{
		ID: e.ID, At: e.At, By: e.By, Action: e.Action, Target: e.Target, Stack: e.Stack, Note: e.Note, Address: e.Address, Via: e.Via,
	}
	for _, ch := range e.Changes {
		r.Changes = append(r.Changes, view.AuditChange(ch))
	}
	return r
}

// postAudit changes how long entries are kept.
func (s *Server) postAudit(c *request) error {
	text := strings.TrimSpace(c.FormValue("audit_days"))
	n, err := strconv.Atoi(text)
	if err != nil {
		err = runs.Invalidf("audit_days", "“%s” is no number.", cut(text, 40))
	} else {
		_, err = s.changeSettings(c, settingsInput{AuditDays: &n})
	}
	if field, message, ok := fieldError(err); ok {
		return s.auditPage(c, http.StatusUnprocessableEntity, map[string]string{field: message})
	}
	return s.after(c, err, "/settings/audit", "Entries are kept for "+view.Count(n, "day", "days")+".")
}

// exportRows is how many entries one read of an export takes: the database is never held open for a slow reader.
const exportRows = 500

// getAuditExport streams every entry the filter chooses, newest first, as CSV or as one JSON object a line.
func (s *Server) getAuditExport(c *request) error {
	f, err := auditFilter(c)
	if err != nil {
		return err
	}
	format, err := oneOf(c, "format", []string{"csv", "jsonl"})
	if err != nil {
		return err
	}
	h := c.Response().Header()
	var write func(store.AuditEntry) error
	flush := func() error { return nil }
	if format == "csv" {
		h.Set("Content-Type", "text/csv; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="groundcrew-audit.csv"`)
		w := csv.NewWriter(c.Response())
		if err := w.Write([]string{"id", "at", "by", "action", "target", "stack", "note", "address", "via", "changes"}); err != nil {
			return err
		}
		write, flush = csvEntry(w), func() error { w.Flush(); return w.Error() }
	} else {
		h.Set("Content-Type", "application/jsonl; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="groundcrew-audit.jsonl"`)
		write = jsonEntry(c.Response())
	}
	for cursor, more := "", true; more; more = cursor != "" {
		var page []store.AuditEntry
		err := s.st.View(func(tx *store.Tx) (err error) {
			page, cursor, err = tx.AuditSearch(f, cursor, exportRows)
			return err
		})
		for _, e := range page {
			if err == nil {
				err = write(e)
			}
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
		c.Response().Flush()
	}
	return nil
}

func jsonEntry(w io.Writer) func(store.AuditEntry) error {
	enc := json.NewEncoder(w)
	return func(e store.AuditEntry) error { return enc.Encode(auditOut(e)) }
}

func csvEntry(w *csv.Writer) func(store.AuditEntry) error {
	return func(e store.AuditEntry) error {
		var changes []string
		for _, ch := range e.Changes {
			changes = append(changes, fmt.Sprintf("%s: %s → %s", ch.Field, ch.Before, ch.After))
		}
		row := []string{e.ID, e.At.UTC().Format(time.RFC3339), e.By, e.Action, e.Target, e.Stack, e.Note, e.Address, e.Via, strings.Join(changes, "\n")}
		for i := range row {
			row[i] = noFormula(row[i])
		}
		return w.Write(row)
	}
}

// noFormula keeps a spreadsheet from taking a text that somebody chose for a formula.
func noFormula(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// A settingsInput changes the installation's own settings. Fields that are not given keep what they are.
type settingsInput struct {
	SessionIdle  *int `json:"session_idle_hours"`
	SessionLife  *int `json:"session_life_days"`
	AuditDays    *int `json:"audit_days"`
	DeliveryDays *int `json:"delivery_days"`
	ReportDays   *int `json:"report_days"`
	limitsInput
}

// A settingsJSON is the installation's own settings, defaults filled in.
type settingsJSON struct {
	SessionIdle  int `json:"session_idle_hours"`
	SessionLife  int `json:"session_life_days"`
	AuditDays    int `json:"audit_days"`
	DeliveryDays int `json:"delivery_days"` // processed webhook deliveries are kept
	ReportDays   int `json:"report_days"`   // reports that GitLab shows and nothing can come of any more are kept
	limitsJSON
	Start limitsJSON `json:"started_with"` // by flags and variables; a limit set to "" goes back to it
}

func (s *Server) settingsOut(set store.Settings) settingsJSON {
	return settingsJSON{
		int(set.Idle().Hours()), int(set.Life().Hours() / 24), int(set.AuditFor().Hours() / 24),
		int(set.KeepDeliveries().Hours() / 24), int(set.KeepReports().Hours() / 24),
		writeLimits(s.eng.LimitsOf(set)), writeLimits(s.eng.StartLimits()),
	}
}

func (in settingsInput) apply(set *store.Settings) error {
	for _, f := range []struct {
		name        string
		given       *int
		to          *int
		least, most int
	}{
		{"session_idle_hours", in.SessionIdle, &set.SessionIdle, 1, 24 * 365},
		{"session_life_days", in.SessionLife, &set.SessionLife, 1, 365},
		{"audit_days", in.AuditDays, &set.AuditDays, 30, 36500},
		{"delivery_days", in.DeliveryDays, &set.DeliveryDays, 1, 3650},
		{"report_days", in.ReportDays, &set.ReportDays, 1, 3650},
	} {
		if f.given == nil {
			continue
		}
		if *f.given < f.least || *f.given > f.most {
			return runs.Invalidf(f.name, "%d is not possible here. Use %d to %d.", *f.given, f.least, f.most)
		}
		*f.to = *f.given
	}
	return nil
}

func (s *Server) changeSettings(c *request, in settingsInput) (set store.Settings, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		old, err := tx.Settings()
		if err != nil {
			return err
		}
		set = old
		if err := in.apply(&set); err != nil {
			return err
		}
		if _, err := s.eng.ChangeLimits(&set, in.limits()); err != nil {
			return err
		}
		if err := tx.PutSettings(set); err != nil {
			return err
		}
		changes, err := store.Changed(s.settingsOut(old), s.settingsOut(set))
		if err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "settings.change", Changes: changes})
	})
	return set, err
}

func (s *Server) apiSettings(c *request) error {
	var set store.Settings
	err := s.st.View(func(tx *store.Tx) (err error) {
		set, err = tx.Settings()
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.settingsOut(set))
}

func (s *Server) apiPatchSettings(c *request) error {
	var in settingsInput
	if err := decode(c, &in); err != nil {
		return err
	}
	set, err := s.changeSettings(c, in)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.settingsOut(set))
}
