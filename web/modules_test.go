package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// evilModule makes a module whose every text is evil, with a version called 1 and a check under the run's id.
func (s *site) evilModule(evil string, run runs.Run) {
	check := runs.Check{
		ID: run.ID, Module: "vpc", Project: 7, Commit: runs.Commit{SHA: "c0ffee00", Title: evil}, Branch: evil, State: runs.CheckFailed, Reason: evil,
		MR:    &runs.MergeRequest{IID: 3, Title: evil},
		Cases: []runs.CheckCase{{TestCase: runs.TestCase{ID: "a", Name: evil}, State: runs.CaseFailed, Run: run.ID, Reason: evil}},
		Notes: []string{evil}, Against: evil, Changes: []runs.InterfaceChange{{Breaking: true, What: "input", Name: evil, How: evil}}, EndedAt: time.Now(),
	}
	doc, err := json.Marshal(engine.CheckDoc{Readme: "# " + evil + "\n\n![" + evil + "](https://evil.test/pixel.png) [x](javascript:alert(1)) <script>alert(2)</script>\n\n<img src=x onerror=alert(3)>"})
	must(s.t, err)
	must(s.t, s.st.WriteFile(doc, store.CheckPath(check)...))
	s.update(func(tx *store.Tx) error {
		m, err := tx.AddModule(runs.Module{Name: "vpc", Provider: "aws", Namespace: "platform", Description: "x", Project: 7, ProjectPath: evil, Branch: "main", Release: runs.ReleaseByTag, Tool: runs.Terraform})
		if err != nil {
			return err
		}
		m.Description, m.Labels = evil, []string{evil}
		in := &runs.Interface{
			Inputs: []runs.Input{{Name: evil, Type: evil, Default: evil, Description: evil}}, Outputs: []runs.Output{{Name: evil, Description: evil}},
			Resources: []string{evil}, Providers: []runs.ProviderReq{{Name: evil, Source: evil, Versions: []string{evil}}}, Modules: []runs.ModuleCall{{Name: evil, Source: evil, Version: evil}}, Requires: []string{evil},
		}
		return cmpErr(tx.PutModule(m), tx.PutCheck(check),
			tx.PutModuleVersion(runs.ModuleVersion{Module: m.Slug, Number: "1", State: runs.VersionActive, Check: check.ID, Commit: check.Commit, Interface: in, Breaking: []string{evil}, Against: evil, Digest: "d", Files: 1, YankedAt: time.Now(), YankedBy: evil, YankNote: evil}),
			tx.PutModuleVersion(runs.ModuleVersion{Module: m.Slug, Number: "2", State: runs.VersionFailed, Reason: evil, Tag: evil}),
			tx.PutModuleUses("a", []runs.ModuleUse{{Module: m.Slug, Stack: "a", Version: evil, Calls: []string{evil}, Run: run.ID}}),
			tx.PutVariable(m.Scope(), runs.Variable{Name: "A", Value: evil}))
	})
}

// A readme of somebody else shows its words and nothing it could act with.
func TestReadmesAreTame(t *testing.T) {
	s, _, _ := evilSite(t)
	body := s.get(s.signedIn(store.Reader), "/modules/vpc/versions/1").body
	for _, bad := range []string{"evil.test/pixel", "javascript:", "<script>alert", "onerror=alert(3)>"} {
		if _, readme, ok := strings.Cut(body, `class="readme"`); !ok || strings.Contains(readme, "<img") || strings.Contains(strings.Split(readme, "</section>")[0], bad) {
			t.Errorf("the readme holds %s:\n%.2000s", bad, readme)
		}
	}
}

// The registry opens to keys of every role, and to nobody else: no session, no key, a wrong key.
func TestRegistryAsksForAKey(t *testing.T) {
	s := newSite(t)
	s.update(func(tx *store.Tx) error {
		m, err := tx.AddModule(runs.Module{Name: "vpc", Provider: "aws", Namespace: "platform", Project: 7, ProjectPath: "p/x", Branch: "main", Release: runs.ReleaseByTag, Tool: runs.Terraform})
		for _, v := range []runs.ModuleVersion{
			{Number: "1.0.0", State: runs.VersionActive, Digest: "d"},
			{Number: "1.1.0", State: runs.VersionFailed},
			{Number: "1.2.0", State: runs.VersionActive, Digest: "e", YankedAt: time.Now()},
			{Number: "1.3.0", State: runs.VersionPending},
		} {
			v.Module = m.Slug
			err = cmpErr(err, tx.PutModuleVersion(v))
		}
		return err
	})
	must(t, s.st.WriteFile([]byte("the archive"), "modules", "vpc", "d.tar.gz"))
	ask := func(key, path string) *http.Response {
		req, err := http.NewRequest(get, s.srv.URL+path, http.NoBody)
		must(t, err)
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := s.srv.Client().Do(req)
		must(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	const at = engine.RegistryPath + "platform/vpc/aws"
	for _, key := range []string{"", "wrong", "gcr_wrong"} {
		for _, path := range []string{at + "/versions", at + "/1.0.0/download"} {
			if got := ask(key, path).StatusCode; got != http.StatusUnauthorized {
				t.Errorf("%s with key %q: %d", path, key, got)
			}
		}
	}
	key := s.key(store.Reader)
	var list struct {
		Modules []struct{ Versions []struct{ Version string } }
	}
	must(t, json.NewDecoder(ask(key, at+"/versions").Body).Decode(&list))
	if len(list.Modules) != 1 || len(list.Modules[0].Versions) != 1 || list.Modules[0].Versions[0].Version != "1.0.0" {
		t.Errorf("listed %+v", list)
	}
	for path, want := range map[string]int{at + "/1.1.0/download": 404, at + "/9.9.9/download": 404, engine.RegistryPath + "platform/other/aws/versions": 404, at + "/1.2.0/download": 204} {
		if got := ask(key, path).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	got := ask(key, at+"/1.0.0/download")
	where := got.Header.Get("X-Terraform-Get")
	if got.StatusCode != http.StatusNoContent || !strings.Contains(where, "checksum=sha256%3Ad") {
		t.Fatalf("%d %q", got.StatusCode, where)
	}
	if archive := ask("", where); archive.StatusCode != 200 {
		t.Errorf("the archive: %d", archive.StatusCode)
	}
	path, _, _ := strings.Cut(where, "?")
	for _, bad := range []string{path, path + "?ticket=", path + "?ticket=" + s.st.Ticket(archiveTicket, "vpc 1.0.0 1"), path + "?ticket=" + s.st.Ticket("run", "vpc 1.0.0 99999999999")} {
		if got := ask(key, bad).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%s: %d", bad, got)
		}
	}
}

// A run's token is good for the run that is at work, read-only, and for nothing else of this server.
func TestARunsTokenOpensTheRegistryOnly(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	r := s.request("a", runs.Tracked, "c1")
	token := "gcr_" + s.st.Ticket("run", r.ID)
	if _, ok, err := s.eng.RunOfToken(token); ok || err != nil {
		t.Errorf("a run that waits: %v %v", ok, err)
	}
	s.apply(r.ID, runs.Claimed{Meta: now()})
	if got, ok, err := s.eng.RunOfToken(token); !ok || err != nil || got.ID != r.ID {
		t.Errorf("a run at work: %v %v", ok, err)
	}
	for _, path := range []string{"/stacks", "/runs", "/integration", "/modules"} {
		if got := s.api(token, get, path, ""); got.status != http.StatusUnauthorized {
			t.Errorf("%s with a run's token: %d", path, got.status)
		}
	}
	for path, want := range map[string]int{
		"/git/infra/secret.git/info/refs?service=git-upload-pack":   403, // nobody allowed it
		"/git/infra/network.git/info/refs?service=git-receive-pack": 403,
		"/git/infra/network.git/HEAD":                               403,
	} {
		req, err := http.NewRequest(get, s.srv.URL+path, http.NoBody)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := s.srv.Client().Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	s.apply(r.ID, runs.Fail{Meta: now()})
	if _, ok, err := s.eng.RunOfToken(token); ok || err != nil {
		t.Errorf("a run that ended: %v %v", ok, err)
	}
}

// A run may show its own token and no other key, wherever it found one, and may ask for modules and nothing else.
func TestARunShowsItsOwnTokenOnly(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	mine, other := s.request("a", runs.Tracked, "c1"), s.request("a", runs.Proposed, "c2")
	s.apply(mine.ID, runs.Claimed{Meta: now()})
	s.apply(other.ID, runs.Claimed{Meta: now()})
	token := func(r runs.Run) string { return "gcr_" + s.st.Ticket("run", r.ID) }
	for name, tc := range map[string]struct {
		key  string
		want int
	}{"its own": {token(mine), 404}, "another run's": {token(other), 401}, "an admin's key": {s.key(store.Admin), 401}, "none": {"", 401}} {
		req := httptest.NewRequest(get, engine.RegistryPath+"platform/vpc/aws/versions", http.NoBody)
		req.Header.Set("Authorization", "Bearer "+tc.key)
		rec := httptest.NewRecorder()
		s.web.Handler().ServeHTTP(rec, req.WithContext(FromRun(req.Context(), mine.ID)))
		if rec.Code != tc.want {
			t.Errorf("%s: %d, want %d", name, rec.Code, tc.want)
		}
	}
	for path, want := range map[string]bool{
		"/.well-known/terraform.json": true, engine.RegistryPath + "a/b/c/versions": true, archivePath + "x.tar.gz": true, "/git/a/b.git/info/refs": true,
		"/": false, "/api/v1/runs": false, "/registry/": false, "/webhooks/gitlab": false, "/metrics": false, "/modules": false,
	} {
		if got := ForRuns(httptest.NewRequest(get, path, http.NoBody)); got != want {
			t.Errorf("%s for runs: %v", path, got)
		}
	}
}
