package web

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
	"groundcrew/store"
)

func TestRunFilters(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	s.stack("b")
	proposed := s.request("a", runs.Proposed, "c1")
	s.apply(proposed.ID, runs.LearnedMR{Meta: now(), MR: runs.MergeRequest{IID: 4}})
	tracked := s.planned(s.request("a", runs.Tracked, "c2").ID)
	other := s.request("b", runs.Tracked, "c3")
	for query, want := range map[string][]string{
		"":                            {other.ID, tracked.ID, proposed.ID},
		"stack=a":                     {tracked.ID, proposed.ID},
		"type=proposed":               {proposed.ID},
		"type=proposed,tracked":       {other.ID, tracked.ID, proposed.ID},
		"state=queued":                {other.ID, proposed.ID},
		"state=queued&state=planning": {other.ID, proposed.ID},
		"state=unconfirmed&stack=a":   {tracked.ID},
		"merge_request=4":             {proposed.ID},
		"merge_request=4&project=7":   {proposed.ID},
		"merge_request=4&project=8":   nil,
		"stack=none":                  nil,
	} {
		var got []string
		for _, it := range s.apiOK(200, get, "/runs?"+query, "")["items"].([]any) {
			got = append(got, it.(map[string]any)["id"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
}

func TestRunAPI(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("a")
	first := s.request("a", runs.Tracked, "c1")
	second := s.request("a", runs.Tracked, "c2")
	fresh := s.apiOK(200, get, "/runs/"+first.ID, "")
	for name, want := range map[string]any{
		"id": first.ID, "stack": "a", "type": "tracked", "state": "queued", "commit": "c1", "commit_title": "Open port 443", "branch": "main",
		"merge_request": nil, "delta": nil, "blocked_by": nil, "reason": "waits for a worker (0 of 2 busy)", "prioritized_by": nil, "trigger": "person", "ended_at": nil, "url": s.srv.URL + "/runs/" + first.ID,
	} {
		if v, ok := fresh[name]; !ok || !cmp.Equal(v, want) {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if b := s.apiOK(200, get, "/runs/"+second.ID, ""); b["blocked_by"] != first.ID || !strings.Contains(b["reason"].(string), first.ID) {
		t.Errorf("blocked by %v: %v", b["blocked_by"], b["reason"])
	}
	s.problemOf(409, post, "/runs/"+first.ID+"/confirm", "")
	s.problemOf(409, post, "/runs/"+first.ID+"/retry", "")
	s.problemOf(409, post, "/runs/"+first.ID+"/promote", "")
	for _, verb := range []string{"confirm", "discard", "stop", "retry", "promote"} {
		s.problemOf(404, post, "/runs/01HZZZZZZZZZZZZZZZZZZZZZZZ/"+verb, "")
	}
	s.problemOf(404, post, "/runs/"+first.ID+"/explode", "")

	s.planned(first.ID)
	planned := s.apiOK(200, get, "/runs/"+first.ID, "")
	wantDelta := map[string]any{"add": 1.0, "change": 0.0, "destroy": 0.0, "import": 0.0, "move": 0.0, "forget": 0.0, "outputs": 0.0}
	if !cmp.Equal(planned["delta"], any(wantDelta)) || planned["state"] != "unconfirmed" {
		t.Errorf("planned: %v %v", planned["state"], planned["delta"])
	}
	tr := planned["transitions"].([]any)
	last := tr[len(tr)-1].(map[string]any)
	if at, err := time.Parse(time.RFC3339, last["at"].(string)); err != nil || at.Location() != time.UTC || last["by"] != "system" {
		t.Errorf("last transition: %v", last)
	}
	if p := s.problemOf(409, post, "/runs/"+first.ID+"/confirm", `{"fingerprint":"another"}`); !strings.Contains(p.Detail, "made again") {
		t.Errorf("detail: %s", p.Detail)
	}
	confirmed := s.apiOK(200, post, "/runs/"+first.ID+"/confirm", `{"fingerprint":"f1"}`)
	if confirmed["state"] != "confirmed" {
		t.Errorf("confirmed: %v", confirmed["state"])
	}
	ct := confirmed["transitions"].([]any)
	if by := ct[len(ct)-1].(map[string]any)["by"]; by != "bootstrap token" {
		t.Errorf("confirmed by %v", by)
	}
	for _, act := range []string{"/runs/" + second.ID + "/discard", "/runs/" + second.ID + "/stop", "/stacks/" + second.Stack + "/lock"} {
		for _, note := range []string{strings.Repeat("x", runs.MaxNote+1), `\u001b[31m`} {
			if p := s.problemOf(422, post, act, `{"note":"`+note+`"}`); p.Field != "note" {
				t.Errorf("%s %.10s…: field %q", act, note, p.Field)
			}
		}
	}
	if d := s.apiOK(200, post, "/runs/"+second.ID+"/discard", `{"note":"not today"}`); d["state"] != "discarded" || d["reason"] != "not today" {
		t.Errorf("discarded: %v %v", d["state"], d["reason"])
	}
	if p := s.problemOf(409, post, "/runs/"+second.ID+"/stop", ""); p.Detail != "The run is discarded, so it cannot be stopped." {
		t.Errorf("a run that has ended is stopped: %s", p.Detail)
	}
	again := s.api(bootstrap, post, "/runs/"+second.ID+"/retry", "")
	if again.status != 201 || again.json(t)["retry_of"] != second.ID || again.header.Get("Location") != "/api/v1/runs/"+again.json(t)["id"].(string) {
		t.Errorf("retried: %d %s\n%s", again.status, again.header.Get("Location"), again.body)
	}
	if again.json(t)["trigger"] != "api" {
		t.Errorf("trigger %v", again.json(t)["trigger"])
	}
}

func TestTriggerAPI(t *testing.T) {
	s, _ := linked(t)
	s.apiOK(201, post, "/stacks", `{"name":"a","project":"infra/network","run_promotion":true}`)
	a := s.api(bootstrap, post, "/stacks/a/runs", `{"type":"proposed"}`)
	if a.status != 201 || a.json(t)["type"] != "proposed" || len(a.json(t)["commit"].(string)) != 40 {
		t.Fatalf("status %d\n%s", a.status, a.body)
	}
	if r := s.apiOK(201, post, "/stacks/a/runs", ""); r["type"] != "tracked" {
		t.Errorf("nothing given: %v", r["type"])
	}
	if r := s.apiOK(201, post, "/stacks/a/runs", `{"type":"task","command":"terraform output"}`); r["command"] != "terraform output" {
		t.Errorf("task: %v", r)
	}
	if p := s.problemOf(422, post, "/stacks/a/runs", `{"type":"task"}`); p.Field != "command" {
		t.Errorf("field %q", p.Field)
	}
	if p := s.problemOf(422, post, "/stacks/a/runs", `{"type":"nonsense"}`); p.Field != "type" {
		t.Errorf("field %q", p.Field)
	}
	s.problemOf(404, post, "/stacks/nothing/runs", `{}`)
}

// writeLog puts a phase's log where the engine keeps it.
func (s *site) writeLog(id string, phase runs.State, text string) {
	s.t.Helper()
	path := s.eng.LogFile(id, phase)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o700))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	_, err = f.WriteString(text)
	must(s.t, err)
	must(s.t, f.Close())
}

func TestLogs(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	other := s.request("a", runs.Proposed, "c2")
	s.writeLog(r.ID, runs.Planning, "one\ntwo\nthree\n")
	path := "/runs/" + r.ID + "/logs/planning"
	got := s.api(bootstrap, get, path, "")
	if got.status != 200 || got.body != "one\ntwo\nthree\n" || got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %s %q", got.status, got.header.Get("Content-Type"), got.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), get, s.srv.URL+"/api/v1"+path, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+bootstrap)
	req.Header.Set("Range", "bytes=4-6")
	if got := s.do(noFollow, req); got.status != 206 || got.body != "two" {
		t.Errorf("range: %d %q", got.status, got.body)
	}
	req.Header.Set("Range", "bytes=99-")
	if got := s.do(noFollow, req); got.status != 416 || got.header.Get("Content-Type") != "application/problem+json" ||
		got.header.Get("Content-Range") != "bytes */14" || got.header.Get("Cache-Control") != "no-store" || got.json(t)["detail"] == "" {
		t.Errorf("a range that is not there: %d %v %q", got.status, got.header, got.body)
	}
	req.Header.Set("If-Match", `"another"`)
	if got := s.do(noFollow, req); got.status != 412 || !strings.Contains(got.body, "If-Match or If-Unmodified-Since") {
		t.Errorf("a condition that does not hold: %d %q", got.status, got.body)
	}
	s.problemOf(404, get, "/runs/"+other.ID+"/logs/planning", "")
	s.problemOf(404, get, "/runs/"+r.ID+"/logs/applying", "")
	s.problemOf(404, get, "/runs/"+r.ID+"/logs/..%2f..%2fmaster.key", "")
	s.problemOf(404, get, "/runs/..%2fx/logs/planning", "")
	s.problemOf(404, get, "/runs/"+r.ID+"/changes", "")
	if got := s.get(s.signedIn(store.Reader), path+"?download=1"); got.status != 200 || !strings.Contains(got.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("page: %d %v", got.status, got.header)
	}
}
