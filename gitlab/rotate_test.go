package gitlab

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tokens of projects and groups are renewed at an address of their own where GitLab wants that, and nothing is asked for
// twice: a second renewal with a used token would be taken for a theft.
func TestRotateTokensOfEveryKind(t *testing.T) {
	const self = "personal_access_tokens/self/rotate"
	good := `{"id":1,"name":"gc","scopes":["api"],"active":true,"created_at":"2026-01-01T00:00:00Z","expires_at":"2026-12-01","token":"glpat-new"}`
	for name, c := range map[string]struct {
		user   string
		status map[string]int // of paths; others are 200
		want   []string
		kind   Kind
	}{
		"personal":                       {"ada", nil, []string{self}, ""},
		"project":                        {"project_7_bot_ab12", nil, []string{self}, ""},
		"project, at its own address":    {"project_7_bot_ab12", map[string]int{self: 405}, []string{self, "projects/7/access_tokens/self/rotate"}, ""},
		"group, at its own address":      {"group_12_bot", map[string]int{self: 405}, []string{self, "groups/12/access_tokens/self/rotate"}, ""},
		"a person whom GitLab refuses":   {"ada", map[string]int{self: 405}, []string{self}, KindInvalid},
		"a service account":              {"service_account_group_3_ab", nil, []string{self}, ""},
		"no right to":                    {"project_7_bot_ab12", map[string]int{self: 403}, []string{self}, KindForbidden},
		"an answer that nobody can read": {"project_7_bot_ab12", map[string]int{self: 502}, []string{self}, KindServer},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path := strings.TrimPrefix(r.URL.Path, "/api/v4/")
				asked = append(asked, path)
				w.Header().Set("Content-Type", "application/json")
				if status := c.status[path]; status != 0 {
					w.WriteHeader(status)
					_, _ = w.Write([]byte(`{"message":"no"}`))
					return
				}
				_, _ = w.Write([]byte(good))
			}))
			t.Cleanup(srv.Close)
			client, err := New(Options{BaseURL: srv.URL, Token: "glpat-old"})
			if err != nil {
				t.Fatal(err)
			}
			token, info, err := client.RotateToken(t.Context(), c.user, time.Now().AddDate(0, 6, 0))
			if KindOf(err) != c.kind || !slices.Equal(asked, c.want) {
				t.Errorf("asked %v, %v", asked, err)
			}
			if c.kind == "" && (token.Reveal() != "glpat-new" || info.ExpiresAt == nil) {
				t.Errorf("got %+v", info)
			}
		})
	}
}
