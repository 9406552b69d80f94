package web

import (
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// moduleAPI are the routes of the REST API that concern modules.
func (s *Server) moduleAPI() []route {
	r := func(method, path string, n need, h handler, doc operation) route {
		return route{method: method, path: "/api/v1/modules" + path, need: n, handle: h, doc: &doc}
	}
	page := []string{"cursor", "limit"}
	return []route{
		r(get, "", reader, s.apiModules, operation{summary: "Modules by slug", out: list[moduleJSON]{}, query: append([]string{"search"}, page...)}),
		r(post, "", admin, s.apiCreateModule, operation{summary: "Create a module; name and provider are taken from the project's name terraform-<provider>-<name>", in: moduleInput{}, out: moduleJSON{}, status: 201}),
		r(get, "/:name", reader, s.apiModule, operation{summary: "A module", out: moduleJSON{}}),
		r(patch, "/:name", admin, s.apiPatchModule, operation{summary: "Change the given settings of a module", in: moduleInput{}, out: moduleJSON{}}),
		r(remove, "/:name", admin, s.apiDeleteModule, operation{summary: "Delete a module with all its versions", status: 204}),
		r(get, "/:name/versions", reader, s.apiModuleVersions, operation{summary: "Versions of a module, the highest first", out: list[versionJSON]{}}),
		r(get, "/:name/versions/:version", reader, s.apiModuleVersion, operation{summary: "A version with what its users see", out: versionJSON{}}),
		r(get, "/:name/versions/:version/tests", reader, s.apiVersionTests, operation{summary: "The tests of a version", out: checkJSON{}}),
		named("module.check", r(post, "/:name/versions/:version/tests", writer, s.apiTestVersion, operation{summary: "Test a version that failed once more", out: checkJSON{}, status: 201})),
		r(post, "/:name/versions/:version/yank", writer, s.apiYank, operation{summary: "Mark a version as bad, for good: constraints do not choose it any more", in: noteInput{}, out: versionJSON{}}),
		r(post, "/:name/import", admin, s.apiImportTags, operation{summary: "Make versions of the tags that are there already", out: importJSON{}}),
		r(get, "/:name/checks", reader, s.apiChecks, operation{summary: "Checks of commits, newest first", out: list[checkJSON]{}, query: page}),
		named("module.check", r(post, "/:name/checks", writer, s.apiStartCheck, operation{summary: "Check the head of the tracked branch", out: checkJSON{}, status: 201})),
		r(get, "/:name/users", reader, s.apiModuleUsers, operation{summary: "Stacks that use the module, and which version", out: list[runs.ModuleUse]{}}),
		r(post, "/:name/users/runs", writer, s.apiStartUsers, operation{summary: "Ask for a tracked run of each stack that uses an older version", out: startedJSON{}}),
		r(get, "/:name/variables", reader, s.apiModuleVariables, operation{summary: "Variables of the tests; values of secrets are null", out: list[variableJSON]{}}),
		r(put, "/:name/variables/:variable", writer, s.apiPutModuleVariable, operation{summary: "Set a variable of the tests", in: variableInput{}, out: variableJSON{}}),
		r(remove, "/:name/variables/:variable", writer, s.apiDeleteModuleVariable, operation{summary: "Delete a variable of the tests", status: 204}),
		{method: get, path: "/api/v1/settings/modules", need: admin, handle: s.apiModuleSettings, doc: &operation{summary: "Where module addresses lead inside runs, and what git in runs may read", out: moduleSettingsJSON{}}},
		{method: put, path: "/api/v1/settings/modules", need: admin, handle: s.apiPutModuleSettings, doc: &operation{summary: "Change where module addresses lead inside runs, and what git in runs may read", in: moduleSettingsJSON{}, out: moduleSettingsJSON{}}},
	}
}

// A moduleJSON is a module as the API answers it.
type moduleJSON struct {
	Slug         string    `json:"slug"`
	Name         string    `json:"name"`
	Provider     string    `json:"provider"`
	Namespace    string    `json:"namespace"`
	Source       string    `json:"source"` // how code names it
	Description  string    `json:"description"`
	Project      string    `json:"project"` // path
	ProjectID    int64     `json:"project_id"`
	Branch       string    `json:"branch"`
	ProjectRoot  string    `json:"project_root"`
	Release      string    `json:"release"` // tag or file
	TagPrefix    string    `json:"tag_prefix"`
	Tool         string    `json:"tool"`
	ToolVersion  string    `json:"tool_version"`
	CaseStatuses bool      `json:"case_statuses"`
	Protect      bool      `json:"protect"`
	Labels       []string  `json:"labels"`
	Latest       *string   `json:"latest"` // the version people should use
	URL          string    `json:"url"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
	Warnings     []string  `json:"warnings,omitempty"` // of the creation
}

func (s *Server) moduleJSON(tx *store.Tx, m runs.Module) (moduleJSON, error) {
	latest, _, err := tx.LatestModuleVersion(m.Slug)
	return moduleJSON{
		Slug: m.Slug, Name: m.Name, Provider: m.Provider, Namespace: m.Namespace, Source: m.Address(s.eng.RegistryHost()), Description: m.Description,
		Project: m.ProjectPath, ProjectID: m.Project, Branch: m.Branch, ProjectRoot: m.ProjectRoot, Release: m.Release, TagPrefix: m.TagPrefix,
		Tool: m.Tool, ToolVersion: m.ToolVersion, CaseStatuses: m.PerCase, Protect: m.Protect, Labels: orEmpty(m.Labels), Latest: orNil(latest.Number),
		URL: s.o.ExternalURL + "/modules/" + m.Slug, CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC(),
	}, err
}

// A moduleInput is what a module is made or changed with. Fields that are not given keep what they are.
type moduleInput struct {
	Name         *string     `json:"name"`
	Provider     *string     `json:"provider"`
	Namespace    *string     `json:"namespace"`
	Description  *string     `json:"description"`
	Project      *projectRef `json:"project"`
	Branch       *string     `json:"branch"`
	ProjectRoot  *string     `json:"project_root"`
	Release      *string     `json:"release"`
	TagPrefix    *string     `json:"tag_prefix"`
	Tool         *string     `json:"tool"`
	ToolVersion  *string     `json:"tool_version"`
	CaseStatuses *bool       `json:"case_statuses"`
	Protect      *bool       `json:"protect"`
	Labels       *[]string   `json:"labels"`
	InstallHook  *bool       `json:"install_hook"` // only when a module is made
	ImportTags   *bool       `json:"import_tags"`  // only when a module is made
}

// apply sets what is given, and answers which project is asked for.
func (in moduleInput) apply(m *runs.Module) string {
	give(&m.Name, in.Name)
	give(&m.Provider, in.Provider)
	give(&m.Namespace, in.Namespace)
	give(&m.Description, in.Description)
	give(&m.Branch, in.Branch)
	give(&m.ProjectRoot, in.ProjectRoot)
	give(&m.Release, in.Release)
	give(&m.TagPrefix, in.TagPrefix)
	give(&m.Tool, in.Tool)
	give(&m.ToolVersion, in.ToolVersion)
	give(&m.PerCase, in.CaseStatuses)
	give(&m.Protect, in.Protect)
	give(&m.Labels, in.Labels)
	return givenProject(in.Project, m.Project)
}

func (s *Server) apiModules(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var items []moduleJSON
	next := ""
	err = s.st.View(func(tx *store.Tx) error {
		all, err := tx.Modules()
		for _, m := range all {
			if err != nil || m.Slug <= cursor || !reads(m.Project) || !moduleMatches(m, c.QueryParam("search")) {
				continue
			}
			if len(items) == limit {
				next = items[limit-1].Slug
				break
			}
			var j moduleJSON
			j, err = s.moduleJSON(tx, m)
			items = append(items, j)
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

func (s *Server) apiCreateModule(c *request) error {
	var in moduleInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var m runs.Module
	project := in.apply(&m)
	yes := func(b *bool) bool { return b != nil && *b }
	m, warnings, err := s.eng.CreateModule(c.Request().Context(), m, project, c.who.Name, yes(in.InstallHook), yes(in.ImportTags))
	if err != nil {
		return err
	}
	var j moduleJSON
	if err := s.st.View(func(tx *store.Tx) error { j, err = s.moduleJSON(tx, m); return err }); err != nil {
		return err
	}
	j.Warnings = warnings
	return created(c, "/api/v1/modules/"+m.Slug, j)
}

func (s *Server) apiModule(c *request) error {
	var j moduleJSON
	err := s.st.View(func(tx *store.Tx) error {
		m, err := tx.Module(c.Param("name"))
		if err != nil {
			return err
		}
		j, err = s.moduleJSON(tx, m)
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, j)
}

func (s *Server) apiPatchModule(c *request) error {
	var in moduleInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if in.InstallHook != nil || in.ImportTags != nil {
		return runs.Invalidf("install_hook", "Hooks and tags are for the making of a module; later there are POST /api/v1/projects/{id}/hook and POST /api/v1/modules/{name}/import.")
	}
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	project := in.apply(&m)
	if _, err := s.eng.UpdateModule(c.Request().Context(), m, project, c.who.Name); err != nil {
		return err
	}
	return s.apiModule(c)
}

func (s *Server) module(slug string) (m runs.Module, err error) {
	err = s.st.View(func(tx *store.Tx) error { m, err = tx.Module(slug); return err })
	return m, err
}

func (s *Server) apiDeleteModule(c *request) error {
	if err := s.eng.DeleteModule(c.Param("name"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) apiModuleUsers(c *request) error {
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var items []runs.ModuleUse
	err = s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Module(c.Param("name")); err != nil {
			return err
		}
		var err error
		items, err = usesOf(tx, c.Param("name"), reads)
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, "")
}

type startedJSON struct {
	Runs     []string `json:"runs"`
	Warnings []string `json:"warnings"` // stacks that could not be started
}

func (s *Server) apiStartUsers(c *request) error {
	started, warnings, err := s.startUsers(c, c.QueryParam("version"))
	if err != nil {
		return err
	}
	out := startedJSON{Runs: []string{}, Warnings: orEmpty(warnings)}
	for _, r := range started {
		out.Runs = append(out.Runs, r.ID)
	}
	return c.JSON(http.StatusOK, out)
}

type moduleSettingsJSON struct {
	PublicModules []string `json:"public_modules"` // hosts of registries whose module addresses lead here inside runs
	GitProjects   []string `json:"git_projects"`   // patterns of projects that every run may read over git
}

func (s *Server) apiModuleSettings(c *request) error {
	var j moduleSettingsJSON
	err := s.st.View(func(tx *store.Tx) error {
		set, err := tx.Settings()
		j = moduleSettingsJSON{orEmpty(set.PublicModules), orEmpty(set.GitProjects)}
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, j)
}

func (s *Server) apiPutModuleSettings(c *request) error {
	var in moduleSettingsJSON
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := s.eng.SetModules(in.PublicModules, in.GitProjects, c.who.Name); err != nil {
		return err
	}
	return s.apiModuleSettings(c)
}

func (s *Server) moduleVariables(c *request) (vars []runs.Variable, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		m, err := tx.Module(c.Param("name"))
		if err != nil {
			return err
		}
		vars, err = tx.Variables(m.Scope())
		return err
	})
	return vars, err
}

func (s *Server) apiModuleVariables(c *request) error {
	vars, err := s.moduleVariables(c)
	if err != nil {
		return err
	}
	var items []variableJSON
	for _, v := range vars {
		items = append(items, variableOut(v))
	}
	return listed(c, items, "")
}

func (s *Server) apiPutModuleVariable(c *request) error {
	var in variableInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if in.Value == nil {
		return runs.Invalidf("value", "Give the variable a value.")
	}
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	if err := s.eng.PutVariable(m.Scope(), runs.Variable{Name: c.Param("variable"), Value: *in.Value, Secret: in.Secret}, c.who.Name); err != nil {
		return err
	}
	vars, err := s.moduleVariables(c)
	if err != nil {
		return err
	}
	for _, v := range vars {
		if v.Name == c.Param("variable") {
			return c.JSON(http.StatusOK, variableOut(v))
		}
	}
	return runs.NotFoundf("The variable was deleted meanwhile.")
}

func (s *Server) apiDeleteModuleVariable(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	if err := s.eng.DeleteVariable(m.Scope(), c.Param("variable"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
