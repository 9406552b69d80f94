package web

import (
	"strings"

	"groundcrew/runs"
)

// modulePages are the pages of modules.
func (s *Server) modulePages() []route { return nil }

func moduleMatches(m runs.Module, q string) bool {
	text := strings.ToLower(m.Name + " " + m.Slug + " " + m.Provider + " " + m.Namespace + " " + m.ProjectPath + " " + m.ProjectRoot)
	for word := range strings.FieldsSeq(strings.ToLower(q)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
