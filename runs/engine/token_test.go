package engine

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

func (w *world) integration() store.Integration {
	w.t.Helper()
	var in store.Integration
	if err := w.st.View(func(tx *store.Tx) (err error) { in, _, err = tx.Integration(); return err }); err != nil {
		w.t.Fatal(err)
	}
	return in
}

// expiring gives the world's token ten days to live, and asks for its renewal.
func (w *world) expiring() {
	w.t.Helper()
	w.token = w.sim.AddToken(w.bot.ID, "short", []string{"api"}, time.Now().AddDate(0, 0, 10))
	w.update(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err != nil {
			return err
		}
		in.Token, in.AutoRotate = runs.Secret(w.token), true
		return tx.PutIntegration(in)
	})
	if _, err := w.e.TestIntegration(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func rotations(w *world) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, line := range w.log {
		if strings.HasPrefix(line, "POST") && strings.Contains(line, "rotate") {
			n++
		}
	}
	return n
}

func TestTokenRenewal(t *testing.T) {
	w := newWorld(t)
	w.expiring()
	if err := w.e.rotateToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := w.integration()
	if in.Rotation.State != store.RotationDone || in.Token.Reveal() == w.token || in.Health.ExpiresAt == nil {
		t.Fatalf("rotation %+v", in.Rotation)
	}
	if checks, err := w.e.TestIntegration(t.Context()); err != nil || !checks[len(checks)-1].OK {
		t.Errorf("the new token does not work: %v %v", checks, err)
	}
}

// TestTokenRenewalWithALostAnswer: the old token is dead, the new one is unknown; no second attempt, and a person is told.
func TestTokenRenewalWithALostAnswer(t *testing.T) {
	w := newWorld(t)
	w.expiring()
	w.cut = func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.URL.Path, "/rotate") {
			return nil
		}
		w.sim.ServeHTTP(httptest.NewRecorder(), r)
		return &http.Response{StatusCode: 502, Header: http.Header{}, Body: http.NoBody, Request: r}
	}
	if err := w.e.rotateToken(t.Context()); err == nil {
		t.Error("the lost answer is no error")
	}
	for range 3 {
		if err := w.e.rotateToken(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.e.RotateToken(t.Context(), "ann"); err == nil {
			t.Error("a second attempt was made by hand")
		}
	}
	if n := rotations(w); n != 1 {
		t.Errorf("%d attempts", n)
	}
	in := w.integration()
	if in.Rotation.State != store.RotationLost {
		t.Errorf("rotation %+v", in.Rotation)
	}
	found := tokenNotices(in, time.Now())
	if len(found) == 0 || found[len(found)-1].Key != "token-rotation" {
		t.Errorf("notices %+v", found)
	}
}

// TestTokenRenewalCutByACrash: the attempt is on disk and the call never went out; the old token is found alive.
func TestTokenRenewalCutByACrash(t *testing.T) {
	w := newWorld(t)
	w.expiring()
	if _, err := w.e.beginRotation("system"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.e.guard(t.Context()); err != nil {
		t.Fatal(err)
	}
	if in := w.integration(); in.Rotation.State != store.RotationRefused || in.Token.Reveal() != w.token || rotations(w) != 0 {
		t.Errorf("rotation %+v after %d attempts", in.Rotation, rotations(w))
	}
}

// FuzzReact hands arbitrary deliveries to the whole reaction: no panic, always a verdict.
func FuzzReact(f *testing.F) {
	for _, seed := range []string{
		`{"object_kind":"push","ref":"refs/heads/main","before":"` + nowhere + `","after":"` + strings.Repeat("a", 40) + `","project_id":1,"commits":[]}`,
		`{"object_kind":"push","ref":"refs/heads/main","before":"` + strings.Repeat("a", 40) + `","after":"` + nowhere + `","project_id":1}`,
		`{"object_kind":"tag_push","ref":"refs/tags/v1","before":"` + nowhere + `","after":"` + strings.Repeat("b", 40) + `","project_id":1}`,
		`{"object_kind":"merge_request","project":{"id":1},"object_attributes":{"iid":1,"state":"opened","action":"open","source_branch":"x","target_branch":"main","source_project_id":2,"target_project_id":1,"last_commit":{"id":"` + strings.Repeat("c", 40) + `"}}}`,
		`{"object_kind":"merge_request","project":{"id":1},"object_attributes":{"iid":1,"state":"closed","action":"close","target_project_id":1,"source_project_id":1}}`,
		`{"object_kind":"note","project_id":1,"object_attributes":{"id":1,"noteable_type":"Commit"}}`, `{}`, `[]`, ``,
	} {
		f.Add(seed)
	}
	raw, err := os.ReadFile("../../gitlab/testdata/captures.json") // they are of project 1
	if err != nil {
		f.Fatal(err)
	}
	captures := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &captures); err != nil {
		f.Fatal(err)
	}
	for _, body := range captures {
		f.Add(string(body))
	}
	st, err := store.Open(store.Options{Dir: f.TempDir(), NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = st.Close() })
	src, err := gitlab.NewSource(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	e, err := New(Options{Store: st, Source: src, Runner: noRunner{}, ExternalURL: "https://gc.example", Transport: forbidden{}})
	if err != nil {
		f.Fatal(err)
	}
	err = st.Update(func(tx *store.Tx) error {
		if err := tx.PutIntegration(store.Integration{APIURL: "http://gitlab.invalid", Linked: true, Token: "t", Secret: "s"}); err != nil {
			return err
		}
		for _, s := range []runs.Stack{{Name: "a"}, {Name: "b", ReleaseTags: "v*", ProjectRoot: "infra"}} {
			s.Project, s.ProjectPath, s.Branch, s.Tool, s.State, s.Plan = 1, "g/p", "main", runs.Custom, runs.StateOwn, runs.PlanHead
			s.Commands = runs.Commands{Plan: "true", Apply: "true"}
			if _, err := tx.AddStack(s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		d, _, err := st.AddDelivery(store.Delivery{Event: "Push Hook"}, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.process(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
		err = st.View(func(tx *store.Tx) (err error) { d, err = tx.Delivery(d.ID); return err })
		if err != nil || d.State == store.DeliveryWaiting || d.Verdict == "" {
			t.Errorf("%+v %v", d, err)
		}
	})
}

// forbidden is a GitLab that refuses everything, so that nothing waits for it.
type forbidden struct{}

func (forbidden) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 404, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}
