package web

import (
	"net/http"
	"strings"

	"groundcrew/runs"
	"groundcrew/web/view"
)

// A limitsJSON holds the limits as the API writes them: counts, sizes like "4GiB", times like "70m" or "90d", "off" where
// one is switched off, all in quotes. The names are those of [runs.LimitDefs].
type limitsJSON struct {
	Workers   string `json:"workers"`
	Time      string `json:"run_time"`
	Silence   string `json:"silence"`
	Memory    string `json:"run_memory"`
	FileSize  string `json:"run_file_size"`
	OpenFiles string `json:"run_open_files"`
	Processes string `json:"run_processes"`
	LogSize   string `json:"run_log_size"`
	LogAge    string `json:"log_age"`
	LogTotal  string `json:"log_total"`
	MinFree   string `json:"min_free"`
}

// A limitsInput changes limits. Those that are not given keep what they are, "" goes back to what the server was started
// with.
type limitsInput struct {
	Workers   *string `json:"workers"`
	Time      *string `json:"run_time"`
	Silence   *string `json:"silence"`
	Memory    *string `json:"run_memory"`
	FileSize  *string `json:"run_file_size"`
	OpenFiles *string `json:"run_open_files"`
	Processes *string `json:"run_processes"`
	LogSize   *string `json:"run_log_size"`
	LogAge    *string `json:"log_age"`
	LogTotal  *string `json:"log_total"`
	MinFree   *string `json:"min_free"`
}

// limits are the changes by name.
func (in limitsInput) limits() map[string]string {
	out := map[string]string{}
	for name, text := range map[string]*string{
		"workers": in.Workers, "run_time": in.Time, "silence": in.Silence, "run_memory": in.Memory, "run_file_size": in.FileSize,
		"run_open_files": in.OpenFiles, "run_processes": in.Processes, "run_log_size": in.LogSize, "log_age": in.LogAge, "log_total": in.LogTotal, "min_free": in.MinFree,
	} {
		if text != nil {
			out[name] = *text
		}
	}
	return out
}

func writeLimits(l runs.Limits) limitsJSON {
	text := limitTexts(l)
	return limitsJSON{
		text["workers"], text["run_time"], text["silence"], text["run_memory"], text["run_file_size"], text["run_open_files"],
		text["run_processes"], text["run_log_size"], text["log_age"], text["log_total"], text["min_free"],
	}
}

func limitTexts(l runs.Limits) map[string]string {
	out := map[string]string{}
	for _, d := range runs.LimitDefs() {
		out[d.Name] = d.Text(*d.At(&l))
	}
	return out
}

// limitRows are the limits as the form shows them; typed are the words of one that was refused.
func (s *Server) limitRows(typed map[string]string) []view.LimitRow {
	now, start := limitTexts(s.eng.Limits()), limitTexts(s.eng.StartLimits())
	var out []view.LimitRow
	for _, d := range runs.LimitDefs() {
		r := view.LimitRow{Name: d.Name, Label: d.Label, Help: d.Help, Off: d.Off, Value: now[d.Name], Start: start[d.Name], Flag: "--" + strings.ReplaceAll(d.Name, "_", "-")}
		if text, ok := typed[d.Name]; ok {
			r.Value = text
		}
		out = append(out, r)
	}
	return out
}

// postSystem changes those limits that the form holds.
func (s *Server) postSystem(c *request) error {
	form, err := c.FormParams()
	if err != nil {
		return runs.Invalidf("", "The form could not be read.")
	}
	typed := map[string]string{}
	var in limitsInput
	for name, to := range map[string]**string{
		"workers": &in.Workers, "run_time": &in.Time, "silence": &in.Silence, "run_memory": &in.Memory, "run_file_size": &in.FileSize,
		"run_open_files": &in.OpenFiles, "run_processes": &in.Processes, "run_log_size": &in.LogSize, "log_age": &in.LogAge, "log_total": &in.LogTotal, "min_free": &in.MinFree,
	} {
		if form.Has(name) {
			text := strings.TrimSpace(form.Get(name))
			typed[name], *to = text, &text
		}
	}
	_, err = s.changeSettings(c, settingsInput{limitsInput: in})
	if field, message, ok := fieldError(err); ok {
		return s.systemPage(c, http.StatusUnprocessableEntity, view.SystemModel{Typed: typed, Errors: map[string]string{field: message}})
	}
	return s.after(c, err, "/settings/system", "Saved. Workers change at once, other limits with the next phase of a run.")
}
