package web

import (
	"net/http"

	"groundcrew/runs"
	"groundcrew/store"
)

// getHealth says that the server answers.
func (s *Server) getHealth(c *request) error { return c.String(http.StatusOK, "ok\n") }

// metricsPath is where Prometheus asks, with an API key, the metrics token or a session.
const metricsPath = "/metrics"

func (s *Server) getMetrics(c *request) error {
	if c.who.restricted() {
		return runs.Forbiddenf("Metrics are about all projects, so they are for admins, people with a password, API keys and the metrics token.")
	}
	if s.o.Metrics == nil {
		return runs.NotFoundf("This server keeps no metrics.")
	}
	s.o.Metrics.Handler().ServeHTTP(c.Response(), c.Request())
	return nil
}

// refusedHook counts a webhook request that was refused.
func (s *Server) refusedHook(reason string) {
	if s.o.Metrics != nil {
		s.o.Metrics.Refused(reason)
	}
}

// getReady says whether the server can do its work: the store can be read.
func (s *Server) getReady(c *request) error {
	if err := s.st.View(func(tx *store.Tx) error { _, err := tx.Settings(); return err }); err != nil {
		s.log.Error("not ready", "error", err)
		return c.String(http.StatusServiceUnavailable, "the store cannot be read\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
