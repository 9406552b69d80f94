package web

import (
	"net/http"

	"groundcrew/store"
)

// A projectSettingsInput changes what is set of a project. Fields that are not given keep what they are.
type projectSettingsInput struct {
	// PassUntouched is on, off, or "" for what the integration says.
	PassUntouched *string `json:"pass_untouched"`
}

// A projectSettingsJSON is what is set of a project.
type projectSettingsJSON struct {
	ID            int64  `json:"id"`
	PassUntouched string `json:"pass_untouched"`
}

// project finds the project that an address names, by its path with escaped slashes or by its id.
func (s *Server) project(c *request) (int64, error) {
	text, err := unescaped(c, "project")
	if err != nil {
		return 0, err
	}
	return s.eng.ProjectID(c.Request().Context(), text)
}

func (s *Server) apiPatchProject(c *request) error {
	var in projectSettingsInput
	if err := decode(c, &in); err != nil {
		return err
	}
	id, err := s.project(c)
	if err != nil {
		return err
	}
	p, err := s.eng.SetProject(id, func(p *store.Project) { give(&p.PassUntouched, in.PassUntouched) }, c.who.Name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, projectSettingsJSON{p.ID, p.PassUntouched})
}

func (s *Server) postProjectSettings(c *request) error {
	id, err := number(c, "project")
	if err != nil {
		return err
	}
	_, err = s.eng.SetProject(id, func(p *store.Project) { p.PassUntouched = c.FormValue("pass_untouched") }, c.who.Name)
	return s.after(c, err, "/settings/vcs/gitlab", "The project's settings are saved.")
}
