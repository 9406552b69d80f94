package web

import (
	"net/http"

	"groundcrew/store"
)

// getHealth says that the server answers.
func (s *Server) getHealth(c *request) error { return c.String(http.StatusOK, "ok\n") }

// getReady says whether the server can do its work: the store can be read.
func (s *Server) getReady(c *request) error {
	if err := s.st.View(func(tx *store.Tx) error { _, err := tx.Settings(); return err }); err != nil {
		s.log.Error("not ready", "error", err)
		return c.String(http.StatusServiceUnavailable, "the store cannot be read\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
