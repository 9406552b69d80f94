package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"groundcrew/store"
)

// TestBackupNeedsATicket: no session and no key opens it, and a ticket is good for one backup within its time.
func TestBackupNeedsATicket(t *testing.T) {
	s := newSite(t)
	ask := func(b *http.Client, token string) answer {
		t.Helper()
		req, err := http.NewRequest(get, s.srv.URL+backupPath, http.NoBody)
		must(t, err)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return s.do(b, req)
	}
	late, err := store.WriteBackupTicket(s.st.Dir(), time.Now().Add(-time.Second))
	must(t, err)
	if got := ask(http.DefaultClient, late); got.status != 401 {
		t.Errorf("too late: status %d", got.status)
	}
	token, err := store.WriteBackupTicket(s.st.Dir(), time.Now().Add(time.Minute))
	must(t, err)
	for _, bad := range []string{"", "x", late, s.key(store.Admin)} {
		if got := ask(s.signedIn(store.Admin), bad); got.status != 401 {
			t.Errorf("an admin with %q: status %d", bad, got.status)
		}
	}
	got := ask(http.DefaultClient, token)
	if got.status != 200 || got.header.Get("Content-Type") != "application/zstd" {
		t.Fatalf("with the ticket: status %d, %v", got.status, got.header)
	}
	if _, err := store.CheckBackup(strings.NewReader(got.body), t.TempDir()); err != nil {
		t.Error(err)
	}
	if got := ask(http.DefaultClient, token); got.status != 401 {
		t.Errorf("twice: status %d", got.status)
	}
	system := func() string { return s.get(s.signedIn(store.Admin), "/settings/system").body }
	if !strings.Contains(system(), "none yet") {
		t.Error("a backup that nobody tried counts")
	}
	must(t, store.NoteBackup(s.st.Dir(), store.LastBackup{Made: time.Now(), Size: 412_000_000}))
	if page := system(); !strings.Contains(page, "Last backup") || strings.Contains(page, "none yet") || !strings.Contains(page, "412.0 MB") {
		t.Error("the system page does not say that a backup was made")
	}
}
