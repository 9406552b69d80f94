package web

import (
	"net/http/httptest"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/gitlab/sim/spec"
)

// A forge is a simulated GitLab with one project, infra/network, and a token of its Maintainer.
type forge struct {
	*sim.Server
	project sim.Project
	token   string
}

func newForge(t *testing.T) *forge {
	t.Helper()
	s, err := sim.New(sim.Options{Dir: t.TempDir()})
	must(t, err)
	published, err := spec.New()
	must(t, err)
	srv := httptest.NewServer(published.Watch(s, "", true, func(wrong string) { t.Error("not as GitLab publishes: " + wrong) }))
	s.SetURL(srv.URL)
	t.Cleanup(func() {
		must(t, s.Close())
		srv.CloseClientConnections()
		srv.Close()
	})
	bot := s.AddUser("groundcrew-bot", "Groundcrew", false)
	p, err := s.AddProject("infra/network", "main", map[string]string{"live/main.tf": "resource \"terraform_data\" \"a\" {}\n"})
	must(t, err)
	s.AddMember(p.ID, bot.ID, sim.Maintainer)
	return &forge{s, p, s.AddToken(bot.ID, "gc", []string{"api"}, time.Time{})}
}

// linked is a site that is set up with a forge.
func linked(t *testing.T) (*site, *forge) {
	t.Helper()
	s, f := newSite(t), newForge(t)
	s.apiOK(200, put, "/integration", `{"api_url":"`+f.URL()+`","token":"`+f.token+`"}`)
	return s, f
}
