package sim

import "net/http"

type pages struct{}

func newPages() (*pages, error) { return &pages{}, nil }

func (s *Server) servePage(w http.ResponseWriter, r *http.Request, path string) { http.NotFound(w, r) }
