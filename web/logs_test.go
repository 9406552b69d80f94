package web

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/logs"
	"groundcrew/store"
)

// TestCompressedLogsAreServedAsBefore: whole, in ranges, on the page and in streams, an ended run's log reads as it did.
func TestCompressedLogsAreServedAsBefore(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "line %d of the plan\n", i+1)
	}
	s.writeLog(r.ID, runs.Planning, text.String())
	s.apply(r.ID, runs.Discard{Meta: now()})
	path := s.eng.LogFile(r.ID, runs.Planning)
	must(t, logs.Compress(path))
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the log is not compressed")
	}
	b := s.signedIn(store.Reader)
	raw := "/runs/" + r.ID + "/logs/planning"
	if got := s.get(b, raw); got.status != 200 || got.body != text.String() {
		t.Errorf("the whole log: %d, %d bytes of %d", got.status, len(got.body), text.Len())
	}
	req := s.form(raw)
	req.Method, req.Body = http.MethodGet, http.NoBody
	req.Header.Set("Range", "bytes=300000-300099")
	if got := s.do(b, req); got.status != http.StatusPartialContent || got.body != text.String()[300_000:300_100] {
		t.Errorf("a range: %d %q", got.status, got.body)
	}
	page := s.get(b, "/runs/"+r.ID).body
	for _, want := range []string{"line 20000 of the plan", `id="planning-L20000"`, "are not shown here"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	key := s.key(store.Reader)
	req, err := http.NewRequest("GET", s.srv.URL+"/api/v1/runs/"+r.ID+"/events", http.NoBody)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Last-Event-ID", fmt.Sprintf("0-.planning-%d-%d", text.Len()-len("line 20000 of the plan\n"), 19_999))
	if got := s.do(http.DefaultClient, req); strings.Count(got.body, "event: log") != 1 || !strings.Contains(got.body, `"text":"line 20000 of the plan\n"`) {
		t.Errorf("the resumed stream:\n%.500s", got.body)
	}
}

// TestAHugeLogStallsNothing: 200 MB in one line or in many, of a run at work, are shown and followed without the server's
// memory growing by them, and what comes after the first look costs only what is new.
func TestAHugeLogStallsNothing(t *testing.T) {
	for name, line := range map[string]string{"one line": strings.Repeat("x", 1<<20), "many": strings.Repeat("y", 99) + "\n"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.stack("a")
			r := s.request("a", runs.Proposed, "c1")
			s.apply(r.ID, runs.Claimed{Meta: now()}, runs.PhaseStarted{Meta: now(), State: runs.Initializing}, runs.PhaseStarted{Meta: now(), State: runs.Planning})
			piece := strings.Repeat(line, (1<<20)/len(line))
			for range 200 {
				s.writeLog(r.ID, runs.Planning, piece)
			}
			b := s.signedIn(store.Reader)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			page := s.get(b, "/runs/"+r.ID)
			first := time.Since(start)
			if page.status != 200 || len(page.body) > 1<<20 || !bytes.Contains([]byte(page.body), []byte("raw log")) && !strings.Contains(page.body, "The whole log") {
				t.Errorf("the page: %d, %d bytes", page.status, len(page.body))
			}
			start = time.Now()
			s.get(b, "/runs/"+r.ID)
			second := time.Since(start)
			ch := s.events(b, "/runs/"+r.ID+"/live", "")
			await(t, ch, func(e event) bool { return e.name == "log" && strings.Contains(e.data, "not shown here") })
			runtime.ReadMemStats(&after)
			t.Logf("first look %v, second %v", first, second)
			if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			if second > 500*time.Millisecond {
				t.Errorf("the second look took %v", second)
			}
		})
	}
}

func TestRemovedLogsAreSaid(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	s.writeLog(r.ID, runs.Planning, "a line")
	s.apply(r.ID, runs.Discard{Meta: now()})
	path := s.eng.LogFile(r.ID, runs.Planning)
	must(t, os.Remove(path))
	must(t, os.WriteFile(strings.TrimSuffix(path, "planning.log")+"removed", []byte("Removed on 2026-01-01 after 90d."), 0o600))
	b := s.signedIn(store.Reader)
	if page := s.get(b, "/runs/"+r.ID); page.status != 200 || !strings.Contains(page.body, "not kept any more. Removed on 2026-01-01 after 90d.") {
		t.Errorf("the page, %d, does not say where the logs are", page.status)
	}
	if raw := s.get(b, "/runs/"+r.ID+"/logs/planning"); raw.status != 404 || !strings.Contains(raw.body, "after 90d") {
		t.Errorf("the log: %d", raw.status)
	}
}
