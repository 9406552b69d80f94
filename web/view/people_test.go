package view

import (
	"testing"
	"time"
)

func usersFixture() UsersModel {
	return UsersModel{CanAdmin: true, Role: "writer", Any: true, Rows: []UserRow{
		{ID: "01U1", Name: "anna.lind", Display: "anna.lind", Role: "admin", CreatedAt: ago(900 * time.Hour), LastSeen: ago(time.Minute)},
		{ID: "01U2", Name: "bo.ek", Display: "Bo Ek", Role: "writer", CreatedAt: ago(100 * time.Hour), LastSeen: ago(time.Hour), GitLab: true},
		{ID: "01U3", Name: "cleo", Display: "cleo", Role: "reader", CreatedAt: ago(time.Hour), InvitedUntil: ago(-time.Hour)},
		{ID: "01U4", Name: "dan", Display: "dan", Role: "reader", CreatedAt: ago(800 * time.Hour), LastSeen: ago(700 * time.Hour), Disabled: true},
	}}
}

func sessionsFixture() []SessionRow {
	return []SessionRow{
		{ID: "0123456789abcdef", Agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Address: "10.2.0.7", Via: "password", Since: ago(30 * time.Hour), LastSeen: ago(time.Minute), Own: true},
		{ID: "fedcba9876543210", Agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1", Address: "2001:db8::7", Via: "gitlab", Since: ago(3 * time.Hour), LastSeen: ago(time.Hour)},
	}
}

func keysFixture() KeysModel {
	return KeysModel{Role: "reader", Rows: []KeyRow{
		{ID: "01K1", Name: "ci of platform/network", Role: "writer", CreatedBy: "anna.lind", CreatedAt: ago(300 * time.Hour), LastUsed: ago(time.Minute)},
		{ID: "01K2", Name: "old laptop", Role: "admin", CreatedBy: "anna.lind", CreatedAt: ago(3000 * time.Hour), Expires: ago(time.Hour), Expired: true},
		{ID: "01K3", Name: "nightly drift report of the platform team", Role: "reader", CreatedBy: "peter.oldenburg", CreatedAt: ago(2000 * time.Hour), LastUsed: ago(50 * time.Hour), MakerDisabled: true},
	}}
}

func auditFixture() AuditModel {
	return AuditModel{Days: 730, Rows: []AuditRow{
		{ID: "01A1", At: ago(time.Minute), By: "anna.lind", Action: "stack.update", Target: "network-prod", Stack: "network-prod", Address: "10.2.0.7", Via: "session 0123456789abcdef", Changes: []AuditChange{{"autodeploy", "false", "true"}, {"branch", "main", "release"}}},
		{ID: "01A2", At: ago(time.Hour), By: "system", Action: "audit.trim", Note: "12 entries older than 730 days"},
		{ID: "01A4", At: ago(90 * time.Minute), By: "@ann.lind (GitLab 42)", Action: "run.confirmed", Target: "01J0000000000000000000000B", Stack: "network-prod", Via: "comment 5501 on infra/network!214 by @ann.lind (GitLab 42)"},
		{ID: "01A3", At: ago(2 * time.Hour), By: "API key ci", Action: "run.confirm", Target: "01J0000000000000000000000A", Stack: "network-prod", Address: "10.2.0.9", Via: "key 01K1"},
	}}
}

func TestAgentNames(t *testing.T) {
	for agent, want := range map[string]string{
		"": "a client without a name", sessionsFixture()[0].Agent: "Firefox on Linux", sessionsFixture()[1].Agent: "Safari on iPhone",
		"curl/8.9": "curl", "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0": "Edge on Windows", "<script>": "another client",
	} {
		if got := agentName(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}
