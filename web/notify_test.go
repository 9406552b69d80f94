package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"groundcrew/store"
)

// TestChannelsByAPI: made, read, changed, tested and deleted; secrets go in and never come out again.
func TestChannelsByAPI(t *testing.T) {
	s := newSite(t)
	got := 0
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if got++; got > 1 {
			http.Error(w, "channel_not_found", http.StatusNotFound)
		}
	}))
	t.Cleanup(peer.Close)
	made := s.apiOK(201, post, "/notifications", `{"name":"Ops","kind":"webhook","url":"`+peer.URL+`/hooks/s3cret","events":["run.failed"],"allow_local":true,"give_up_minutes":30}`)
	id := made["id"].(string)
	if !strings.HasPrefix(made["signing_secret"].(string), "whsec_") || made["enabled"] != true || made["give_up_minutes"] != 30.0 || made["url_host"] != strings.TrimPrefix(peer.URL, "http://") {
		t.Errorf("made %v", made)
	}
	if ok := s.apiOK(200, post, "/notifications/"+id+"/test", ""); ok["ok"] != true {
		t.Errorf("test %v", ok)
	}
	if ok := s.apiOK(200, post, "/notifications/"+id+"/test", ""); ok["ok"] != false || !strings.Contains(ok["message"].(string), "404 Not Found: “channel_not_found”") {
		t.Errorf("failing test %v", ok)
	}
	changed := s.apiOK(200, patch, "/notifications/"+id, `{"enabled":false,"labels":["prod"]}`)
	if changed["enabled"] != false || changed["name"] != "Ops" || changed["url_host"] == "" || changed["last_error"] == "" {
		t.Errorf("changed %v", changed)
	}
	for _, path := range []string{"/notifications", "/notifications/" + id, "/audit"} {
		if a := s.api(bootstrap, get, path, ""); strings.Contains(a.body, "s3cret") || strings.Contains(a.body, "whsec_") {
			t.Errorf("%s shows a secret: %s", path, a.body)
		}
	}
	for body, field := range map[string]string{
		`{"name":"x","kind":"webhook","url":"file:///etc","events":["run.failed"]}`:                                          "url",
		`{"name":"x","kind":"pigeon","events":["run.failed"]}`:                                                               "kind",
		`{"name":"x","kind":"chat","url":"http://x","events":[]}`:                                                            "events",
		`{"name":"x","kind":"chat","url":"http://x","events":["run.exploded"]}`:                                              "events",
		`{"name":"","kind":"chat","url":"http://x","events":["run.failed"]}`:                                                 "name",
		`{"name":"x\r\nBcc: y","kind":"chat","url":"http://x","events":["run.failed"]}`:                                      "name",
		`{"name":"x","kind":"chat","url":"http://x","events":["run.failed"],"give_up_minutes":1}`:                            "give_up_minutes",
		`{"name":"x","kind":"chat","url":"http://x","events":["run.failed"],"ca_pem":"no"}`:                                  "ca_pem",
		`{"name":"x","kind":"email","events":["run.failed"],"smtp":{"host":"h","port":25,"security":"none","from":"a@b.c"}}`: "to",
	} {
		if a := s.api(bootstrap, post, "/notifications", body); a.status != 422 || a.json(t)["field"] != field {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := s.api(bootstrap, post, "/notifications", `{"name":"ops","kind":"chat","url":"http://x","events":["run.failed"]}`); a.status != 409 {
		t.Errorf("a name twice: %d", a.status)
	}
	if a := s.api(bootstrap, patch, "/notifications/"+id, `{"kind":"chat"}`); a.status != 409 {
		t.Errorf("another kind: %d", a.status)
	}
	s.apiOK(204, remove, "/notifications/"+id, "")
	if a := s.api(bootstrap, get, "/notifications/"+id, ""); a.status != 404 {
		t.Errorf("deleted: %d", a.status)
	}
}

// TestChannelsByForm: what was refused comes back as typed, without secrets; a blank address keeps the present one.
func TestChannelsByForm(t *testing.T) {
	s := newSite(t)
	b := s.signedIn(store.Admin)
	mail := []string{
		"kind", "email", "name", "On call", "events", "run.waiting", "events", "run.failed", "on", "on", "to", "a@corp.example, b@corp.example", "from", "gc@corp.example",
		"smtp_host", "smtp.corp.example", "smtp_port", "587", "smtp_security", "starttls", "smtp_username", "gc", "smtp_password", "hunter2-hunter2", "labels", "prod, edge",
	}
	if got := s.post(b, "/settings/notifications", append(mail, "give_up_minutes", "soon")...); got.status != 422 || !strings.Contains(got.body, "smtp.corp.example") || strings.Contains(got.body, "hunter2") {
		t.Errorf("refused: %d", got.status)
	}
	if got := s.post(b, "/settings/notifications", mail...); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := s.post(b, "/settings/notifications", "kind", "chat", "name", "Chat", "events", "run.failed", "on", "on", "url", "https://chat.example/hooks/s3cret"); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var list []store.Channel
	read := func() {
		t.Helper()
		must(t, s.st.View(func(tx *store.Tx) (err error) { list, err = tx.Channels(); return err }))
	}
	read()
	if len(list) != 2 || len(list[0].SMTP.To) != 2 || len(list[0].Labels) != 2 || list[0].Password != "hunter2-hunter2" || list[1].URL != "https://chat.example/hooks/s3cret" {
		t.Fatalf("%+v", list)
	}
	for _, path := range []string{"/settings/notifications", "/settings/notifications/" + list[0].ID, "/settings/notifications/" + list[1].ID} {
		if got := s.get(b, path); got.status != 200 || strings.Contains(got.body, "s3cret") || strings.Contains(got.body, "hunter2") {
			t.Errorf("%s: %d, or a secret is shown", path, got.status)
		}
	}
	chat := "/settings/notifications/" + list[1].ID
	if got := s.post(b, chat, "kind", "chat", "name", "Chat 2", "events", "run.failed", "url", ""); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	read()
	if list[1].Name != "Chat 2" || list[1].URL != "https://chat.example/hooks/s3cret" || !list[1].Off {
		t.Errorf("%+v", list[1])
	}
	page := s.get(b, "/settings/notifications/new?kind=webhook")
	if !strings.Contains(page.body, "whsec_") {
		t.Error("a new webhook has no signing secret to copy")
	}
	if got := s.post(b, chat+"/test"); got.status != 303 {
		t.Errorf("test: %d", got.status)
	}
	if got := s.get(b, "/settings/notifications"); !strings.Contains(got.body, "did not arrive. chat.example could not be reached") {
		t.Error("the page does not say what came of the test")
	}
	if got := s.post(b, chat+"/delete"); got.status != 303 {
		t.Errorf("delete: %d", got.status)
	}
}
