package web

import (
	"strings"
	"testing"

	"groundcrew/store"
)

func TestLimitsOnThePage(t *testing.T) {
	s := newSite(t)
	b := s.signedIn(store.Admin)
	page := s.get(b, "/settings/system").body
	for _, want := range []string{`name="run_memory"`, `name="run_processes"`, `name="log_age"`, "--run-file-size", `name="silence"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	got := s.post(b, "/settings/system", "run_memory", "5", "silence", "3m")
	if got.status != 422 || !strings.Contains(got.body, "use 64MiB or more") || !strings.Contains(got.body, `value="3m"`) {
		t.Errorf("a memory of five bytes: %d", got.status)
	}
	if l := s.eng.Limits(); l != s.eng.StartLimits() {
		t.Errorf("half of a refused form was kept: %+v", l)
	}
	s.flashed(b, s.post(b, "/settings/system", "run_memory", "1GiB", "silence", "3m", "log_total", "off"), "/settings/system", "Saved.")
	if l := s.eng.Limits(); l.Memory != 1<<30 || l.Silence != 180e9 || l.Workers != s.eng.StartLimits().Workers {
		t.Errorf("%+v", l)
	}
	if page := s.get(s.signedIn(store.Reader), "/settings/system").body; !strings.Contains(page, "1GiB") || strings.Contains(page, `name="run_memory"`) {
		t.Error("a reader sees no limits, or may change them")
	}
	s.flashed(b, s.post(b, "/settings/system", "run_memory", ""), "/settings/system", "Saved.")
	if l := s.eng.Limits(); l.Memory != s.eng.StartLimits().Memory {
		t.Errorf("an empty field left %d", l.Memory)
	}
	err := s.st.View(func(tx *store.Tx) error {
		list, _, err := tx.AuditLog("", 2)
		for _, e := range list {
			if e.Action != "settings.change" || len(e.Changes) == 0 {
				t.Errorf("audit %+v", e)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
