package web

import (
	"encoding/json"
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestFind: what a person types leads to pages, stacks and runs; a reader is not led to what is for admins.
func TestFind(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	s.stack("edge-prod")
	s.stack("dns")
	r := s.request("dns", runs.Tracked, "abcdef0123456789abcdef0123456789abcdef01")
	admin, reader := s.signedIn(store.Admin), s.signedIn(store.Reader)
	for _, c := range []struct{ q, want string }{
		{"webhook secret", "/settings/vcs/gitlab"},
		{"EDGE", "/stacks/edge-prod"},
		{"network dns", "/stacks/dns"},
		{"abcdef01", "/runs/" + r.ID},
		{r.ID[:20], "/runs/" + r.ID},
		{strings.ToLower(r.ID), "/runs/" + r.ID},
		{"port 443", "/runs/" + r.ID},
		{"", "/"},
	} {
		got := s.get(reader, "/ui/find?q="+strings.ReplaceAll(c.q, " ", "+"))
		var list []suggestion
		if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != 200 {
			t.Fatalf("%q: %d %v", c.q, got.status, err)
		}
		found := false
		for _, it := range list {
			found = found || it.Value == c.want
		}
		if !found {
			t.Errorf("%q does not lead to %s: %v", c.q, c.want, list)
		}
	}
	for _, q := range []string{"zzz", "%00%ff", strings.Repeat("a", 5000), "<script>"} {
		if got := s.get(reader, "/ui/find?q="+q); got.status != 200 || strings.TrimSpace(got.body) != "[]" {
			t.Errorf("%.20q: %d %.200s", q, got.status, got.body)
		}
	}
	if got := s.get(reader, "/ui/find?q=create"); strings.Contains(got.body, "/stacks/new") {
		t.Error("a reader is led to the form of an admin")
	}
	if got := s.get(admin, "/ui/find?q=create"); !strings.Contains(got.body, "/stacks/new") {
		t.Error("an admin is not led to the form")
	}
	for _, p := range namedPages {
		if got := s.get(admin, p.path); got.status != 200 {
			t.Errorf("%s leads to %s: %d", p.name, p.path, got.status)
		}
	}
	if got := s.get(reader, "/runs?q=port"); !strings.Contains(got.body, r.ID) {
		t.Error("the list of runs does not find the run by its title")
	}
	if got := s.get(reader, "/runs?q=nothing"); strings.Contains(got.body, r.ID) || !strings.Contains(got.body, "No run matches") {
		t.Error("the list of runs finds what does not match")
	}
}

// TestFindPutsNamesFirst: a stack whose name begins with what is typed comes before one that only has it in it.
func TestFindPutsNamesFirst(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"cabinets", "kubernetes", "network"} {
		s.stack(name)
	}
	got := s.get(s.signedIn(store.Reader), "/ui/find?q=Net").body
	if !inOrder(got, "/stacks/network", "/stacks/cabinets", "/stacks/kubernetes") {
		t.Errorf("found: %s", got)
	}
}
