package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groundcrew/gitlab"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// FuzzWebhook holds the whole endpoint to never answering 500 or above, whatever the body and the headers, and to keeping what it
// answered with 200.
func FuzzWebhook(f *testing.F) {
	for i, body := range knownBodies(f) {
		f.Add("hook-secret", "Merge Request Hook", fmt.Sprint("d8a1-", i), "", "", body)
	}
	f.Add("hook-secret", "Push Hook", "d8a1", "1700000000", "v1,AAAA", []byte(`{"object_kind":"push"}`))
	f.Add("hook-secret", "Push Hook", strings.Repeat("k", 5000), "-1", "v1, v2,", []byte("["))
	f.Add("wrong", "System Hook", "", "x", "v1,"+strings.Repeat("=", 3000), []byte{})
	f.Add("", "\xff", "\x00", "9e99", ",,", []byte("\xff\xfe"))
	st, err := store.Open(store.Options{Dir: f.TempDir(), NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	src, err := gitlab.NewSource(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	eng, err := engine.New(engine.Options{Store: st, Source: src, Runner: noRunner{}, ExternalURL: "http://gc.test"})
	if err != nil {
		f.Fatal(err)
	}
	s := New(Options{Store: st, Engine: eng, Version: "test", ExternalURL: "http://gc.test", BootstrapToken: bootstrap})
	f.Cleanup(func() { s.Close(); _ = st.Close() })
	err = st.Update(func(tx *store.Tx) error {
		return tx.PutIntegration(store.Integration{APIURL: "http://gitlab.invalid", Linked: true, Token: "t", Secret: "hook-secret", SigningSecret: "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="})
	})
	if err != nil {
		f.Fatal(err)
	}
	handler := s.Handler()
	f.Fuzz(func(t *testing.T, secret, event, key, stamp, signature string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/webhooks/gitlab", strings.NewReader(string(body)))
		r.Host = "gc.test"
		for name, value := range map[string]string{
			"X-Gitlab-Token": secret, "X-Gitlab-Event": event, "Idempotency-Key": key, "Webhook-Id": key, "Webhook-Timestamp": stamp,
			"Webhook-Signature": signature, "X-Gitlab-Instance": event, "X-Gitlab-Event-Uuid": key, "Content-Type": "application/json",
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		if rec.Code >= 500 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if rec.Code != http.StatusOK {
			return
		}
		var kept hookAnswer
		if err := json.Unmarshal(rec.Body.Bytes(), &kept); err != nil {
			t.Fatalf("%v: %s", err, rec.Body)
		}
		if kept.Duplicate {
			return
		}
		err := st.View(func(tx *store.Tx) error {
			d, err := tx.Delivery(kept.ID)
			if err != nil {
				return err
			}
			_, err = tx.DeliveryBody(d)
			return err
		})
		if err != nil {
			t.Errorf("answered with 200 and not kept: %v", err)
		}
	})
}

// knownBodies are the payloads of every kind, and the forms of captured ones.
func knownBodies(t testing.TB) (all [][]byte) {
	t.Helper()
	files, err := filepath.Glob("../gitlab/testdata/payloads/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, body)
	}
	raw, err := os.ReadFile("../gitlab/testdata/captures.json")
	if err != nil {
		t.Fatal(err)
	}
	captures := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &captures); err != nil {
		t.Fatal(err)
	}
	for _, body := range captures {
		all = append(all, body)
	}
	return all
}
