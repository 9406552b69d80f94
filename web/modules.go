package web

import (
	"net/http"
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// modulePages are the pages of modules.
func (s *Server) modulePages() []route {
	p := func(method, path string, n need, h handler) route {
		return route{method: method, path: path, need: n, handle: h}
	}
	return []route{
		p(get, "/modules", reader, s.getModules),
		p(get, "/modules/new", admin, s.getNewModule),
		p(post, "/modules", admin, s.postNewModule),
		p(get, "/modules/:name", reader, s.getModule),
		p(get, "/modules/:name/versions/:version", reader, s.getModule),
		named("module.check", p(post, "/modules/:name/versions/:version/tests", writer, s.postTestVersion)),
		p(post, "/modules/:name/versions/:version/yank", writer, s.postYank),
		p(get, "/modules/:name/checks", reader, s.getModuleChecks),
		p(get, "/modules/:name/checks/:check", reader, s.getModuleCheck),
		named("module.check", p(post, "/modules/:name/checks", writer, s.postModuleCheck)),
		p(post, "/modules/:name/users", writer, s.postModuleUsers),
		p(post, "/modules/:name/merge-requests/:iid/release", writer, s.postReleaseForModule),
		p(get, "/modules/:name/settings", reader, s.getModuleSettings),
		p(post, "/modules/:name/settings", admin, s.postModuleSettings),
		p(post, "/modules/:name/import", admin, s.postImportTags),
		p(post, "/modules/:name/delete", admin, s.postDeleteModule),
		p(post, "/modules/:name/variables", writer, s.postModuleVariable),
		p(post, "/modules/:name/variables/delete", writer, s.postDeleteModuleVariable),
		p(post, "/settings/system/modules", admin, s.postModuleDoors),
	}
}

func moduleMatches(m runs.Module, q string) bool {
	text := strings.ToLower(m.Name + " " + m.Slug + " " + m.Provider + " " + m.Namespace + " " + m.ProjectPath + " " + m.ProjectRoot)
	for word := range strings.FieldsSeq(strings.ToLower(q)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func (s *Server) getModules(c *request) error {
	p, err := s.page(c, "Modules", view.NavModules)
	if err != nil {
		return err
	}
	m := view.ModulesModel{Q: c.QueryParam("q"), CanCreate: c.who.has(store.Admin)}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	if err := s.st.View(func(tx *store.Tx) error { return s.fillModules(tx, &m, c.QueryParam("cursor"), reads) }); err != nil {
		return err
	}
	if c.QueryParam("cursor") != "" {
		m.Pager.FirstURL = more(c, "")
	}
	if m.Pager.NextURL != "" {
		m.Pager.NextURL = more(c, m.Pager.NextURL)
	}
	return render(c, http.StatusOK, view.ModulesPage(p, m))
}

// fillModules finds the rows of the list; Pager.NextURL becomes the cursor of the next page.
func (s *Server) fillModules(tx *store.Tx, m *view.ModulesModel, cursor string, reads func(int64) bool) error {
	in, _, err := tx.Integration()
	if err != nil {
		return err
	}
	all, err := tx.Modules()
	if err != nil {
		return err
	}
	m.Connected = in.Linked
	for _, mod := range all {
		if !reads(mod.Project) {
			continue
		}
		m.Any = true
		if !moduleMatches(mod, m.Q) {
			continue
		}
		m.Pager.Total++
		switch {
		case mod.Slug <= cursor:
		case len(m.Rows) < pageRows:
			row, err := s.moduleRow(tx, mod, reads)
			if err != nil {
				return err
			}
			m.Rows = append(m.Rows, row)
		default:
			m.Pager.NextURL = m.Rows[pageRows-1].Module.Slug
		}
	}
	m.Pager.Shown = len(m.Rows)
	return nil
}

func (s *Server) moduleRow(tx *store.Tx, m runs.Module, reads func(int64) bool) (row view.ModuleRow, err error) {
	row.Module, row.Address = m, m.Address(s.eng.RegistryHost())
	if latest, ok, err := tx.LatestModuleVersion(m.Slug); err != nil {
		return row, err
	} else if ok {
		row.Latest = &latest
	}
	uses, err := usesOf(tx, m.Slug, reads)
	if err != nil {
		return row, err
	}
	row.Users = len(uses)
	page, _, err := tx.Checks(m.Slug, "", 1)
	if len(page) > 0 {
		row.Last = &page[0]
	}
	return row, err
}

// moduleFrame makes the frame of a module's page and what stands above its tabs.
func (s *Server) moduleFrame(c *request, tab string) (view.Page, view.ModuleHead, error) {
	h := view.ModuleHead{Tab: tab, Check: c.who.may(store.Writer, "check a module")}
	err := s.st.View(func(tx *store.Tx) error {
		m, err := tx.Module(c.Param("name"))
		if err != nil {
			return err
		}
		h.Module, h.Address = m, m.Address(s.eng.RegistryHost())
		latest, ok, err := tx.LatestModuleVersion(m.Slug)
		if ok {
			h.Latest = &latest
		}
		in, _, errIn := tx.Integration()
		if errIn == nil && !in.Linked && h.Check.Can {
			h.Check = view.Act{WhyNot: "GitLab is not linked, so nothing can run."}
		}
		if err != nil {
			return err
		}
		return errIn
	})
	if err != nil {
		return view.Page{}, h, err
	}
	title := "Module " + h.Module.Name
	if number := c.Param("version"); number != "" {
		title += " " + number
	}
	if tab == view.TabChecks {
		title = "Checks · " + h.Module.Name
	} else if tab == view.TabModuleOf {
		title = "Settings · " + h.Module.Name
	}
	p, err := s.page(c, title, view.NavModules, view.Crumb{Text: "Modules", URL: "/modules"}, view.Crumb{Text: h.Module.Name, URL: "/modules/" + h.Module.Slug})
	return p, h, err
}

func (s *Server) getModule(c *request) error { return s.modulePage(c, http.StatusOK, "") }

func (s *Server) modulePage(c *request, status int, trouble string) error {
	p, head, err := s.moduleFrame(c, view.TabModule)
	if err != nil {
		return err
	}
	m := view.ModuleModel{
		Head: head, Shown: head.Latest, Failed: c.QueryParam("failed") != "", Error: trouble,
		Yank: c.who.may(store.Writer, "yank a version"), Start: c.who.may(store.Writer, "start runs"),
	}
	if number := c.Param("version"); number != "" {
		v, err := s.version(c)
		if err != nil {
			return err
		}
		m.Shown = &v
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		all, err := tx.ModuleVersions(head.Module.Slug)
		if err != nil {
			return err
		}
		for _, v := range all {
			if v.State == runs.VersionFailed && !m.Failed {
				m.Hidden++
				continue
			}
			m.Versions = append(m.Versions, v)
		}
		m.Users, err = usesOf(tx, head.Module.Slug, reads)
		return err
	})
	if err == nil && m.Shown != nil {
		m.Readme, err = s.readmeOf(*m.Shown)
	}
	if err != nil {
		return err
	}
	return render(c, status, view.ModulePage(p, m))
}

// readmeOf is the readme of a version, as it was when it was checked.
func (s *Server) readmeOf(v runs.ModuleVersion) (string, error) {
	doc, _, err := s.eng.CheckDoc(runs.Check{ID: v.Check, Module: v.Module})
	return doc.Readme, err
}

func (s *Server) getModuleChecks(c *request) error {
	p, head, err := s.moduleFrame(c, view.TabChecks)
	if err != nil {
		return err
	}
	m := view.ModuleChecksModel{Head: head}
	next := ""
	err = s.st.View(func(tx *store.Tx) error {
		if m.Rows, next, err = tx.Checks(head.Module.Slug, c.QueryParam("cursor"), pageRows); err != nil {
			return err
		}
		mrs, err := tx.MergeRequests(head.Module.Project)
		for _, mr := range mrs {
			if mr.Held != "" {
				m.Held = append(m.Held, view.HeldMR{IID: mr.IID, Title: mr.Title, SHA: mr.Held})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	m.Pager = pager(c, len(m.Rows), next)
	return render(c, http.StatusOK, view.ModuleChecksPage(p, m))
}

func (s *Server) getModuleCheck(c *request) error {
	p, head, err := s.moduleFrame(c, view.TabChecks)
	if err != nil {
		return err
	}
	m := view.ModuleCheckModel{Head: head, Results: map[string][]runs.TestResult{}}
	err = s.st.View(func(tx *store.Tx) error {
		if m.Check, err = tx.Check(c.Param("check")); err != nil {
			return err
		}
		if m.Check.Module != head.Module.Slug {
			return runs.NotFoundf("There is no check %q of this module.", c.Param("check"))
		}
		for _, k := range m.Check.Cases {
			if k.Run == "" {
				continue
			}
			r, err := tx.Run(k.Run)
			if err != nil {
				return err
			}
			if r.Test != nil {
				m.Results[k.ID] = r.Test.Results
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.Title = view.CheckTitle(m.Check) + " · " + head.Module.Name
	return render(c, http.StatusOK, view.ModuleCheckPage(p, m))
}

func (s *Server) postModuleCheck(c *request) error {
	k, err := s.eng.TestModule(c.Request().Context(), c.Param("name"), "", c.who.Name, c.who.trigger())
	return s.after(c, err, "/modules/"+c.Param("name")+"/checks/"+k.ID, "The check is on its way.")
}

// postReleaseForModule lets a commit of a fork be tested, after a person has read it.
func (s *Server) postReleaseForModule(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	iid, err := number(c, "iid")
	if err != nil {
		return err
	}
	_, err = s.eng.Release(c.Request().Context(), m.Project, iid, c.FormValue("sha"), c.who.Name)
	return s.after(c, err, "/modules/"+m.Slug+"/checks", "The commit is released and being checked.")
}

func (s *Server) postTestVersion(c *request) error {
	k, err := s.eng.TestModule(c.Request().Context(), c.Param("name"), c.Param("version"), c.who.Name, c.who.trigger())
	return s.after(c, err, "/modules/"+c.Param("name")+"/checks/"+k.ID, "The version is tested once more.")
}

func (s *Server) postYank(c *request) error {
	_, err := s.eng.Yank(c.Param("name"), c.Param("version"), c.who.Name, c.FormValue("note"))
	if _, _, ok := formErrors(err); ok {
		return s.modulePage(c, http.StatusUnprocessableEntity, messageOf(err, http.StatusUnprocessableEntity))
	}
	return s.after(c, err, "/modules/"+c.Param("name")+"/versions/"+c.Param("version"), "Version "+c.Param("version")+" is yanked: no constraint chooses it any more.")
}

func (s *Server) postModuleUsers(c *request) error {
	started, warnings, err := s.startUsers(c, "")
	if err != nil {
		return err
	}
	text := "Started " + view.Count(len(started), "run", "runs") + "."
	if len(warnings) > 0 {
		return s.flashTo(c, "/modules/"+c.Param("name"), view.KindWarn, text+" "+strings.Join(warnings, " "))
	}
	return s.flashTo(c, "/modules/"+c.Param("name"), view.KindGood, text)
}

func (s *Server) postImportTags(c *request) error {
	n, err := s.eng.ImportTags(c.Request().Context(), c.Param("name"), c.who.Name)
	return s.after(c, err, "/modules/"+c.Param("name"), view.Count(n, "version is", "versions are")+" being checked.")
}

func (s *Server) postModuleDoors(c *request) error {
	public, projects := split(c.FormValue("public_modules"), "\n"), split(c.FormValue("git_projects"), "\n")
	err := s.eng.SetModules(public, projects, c.who.Name)
	if field, message, ok := fieldError(err); ok {
		m := view.SystemModel{PublicModules: c.FormValue("public_modules"), GitProjects: c.FormValue("git_projects"), Errors: map[string]string{field: message}}
		return s.systemPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/settings/system", "Saved. It holds from the next run on.")
}

func readModuleForm(c *request) view.ModuleForm {
	on := func(name string) bool { return c.FormValue(name) != "" }
	return view.ModuleForm{
		Name: c.FormValue("name"), Provider: c.FormValue("provider"), Namespace: c.FormValue("namespace"), Description: script(c, "description"),
		Project: c.FormValue("project"), Branch: c.FormValue("branch"), ProjectRoot: c.FormValue("project_root"),
		Release: c.FormValue("release"), TagPrefix: c.FormValue("tag_prefix"), Tool: c.FormValue("tool"), ToolVersion: c.FormValue("tool_version"),
		Labels: c.FormValue("labels"), PerCase: on("case_statuses"), Protect: on("protect"), InstallHook: on("install_hook"), ImportTags: on("import_tags"),
	}
}

// fillModule puts the form's fields into a module.
func fillModule(m *runs.Module, f view.ModuleForm) {
	trim := strings.TrimSpace
	m.Name, m.Provider, m.Namespace, m.Description = trim(f.Name), trim(f.Provider), trim(f.Namespace), f.Description
	m.Branch, m.ProjectRoot, m.Release, m.TagPrefix = trim(f.Branch), trim(f.ProjectRoot), f.Release, trim(f.TagPrefix)
	m.Tool, m.ToolVersion, m.Labels, m.PerCase, m.Protect = f.Tool, trim(f.ToolVersion), split(f.Labels, ","), f.PerCase, f.Protect
}

func moduleFormOf(m runs.Module) view.ModuleForm {
	return view.ModuleForm{
		Name: m.Name, Provider: m.Provider, Namespace: m.Namespace, Description: m.Description, Project: m.ProjectPath, Branch: m.Branch, ProjectRoot: m.ProjectRoot,
		Release: m.Release, TagPrefix: m.TagPrefix, Tool: m.Tool, ToolVersion: m.ToolVersion, Labels: strings.Join(m.Labels, ", "), PerCase: m.PerCase, Protect: m.Protect,
	}
}

func (s *Server) getNewModule(c *request) error {
	v := view.NewModuleForm()
	v.Project = c.QueryParam("project")
	return s.newModulePage(c, http.StatusOK, view.ModuleFormModel{Values: v})
}

func (s *Server) newModulePage(c *request, status int, m view.ModuleFormModel) error {
	p, err := s.page(c, "Add a module", view.NavModules, view.Crumb{Text: "Modules", URL: "/modules"}, view.Crumb{Text: "Add a module"})
	if err != nil {
		return err
	}
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	m.Connected, m.GitLabHost, m.Tools = linked, hostOf(in.BrowserURL()), s.toolList(c)
	return render(c, status, view.ModuleFormPage(p, m))
}

func (s *Server) postNewModule(c *request) error {
	f := view.ModuleFormModel{Values: readModuleForm(c)}
	var m runs.Module
	fillModule(&m, f.Values)
	m, warnings, err := s.eng.CreateModule(c.Request().Context(), m, f.Values.Project, c.who.Name, f.Values.InstallHook, f.Values.ImportTags)
	if fields, text, ok := formErrors(err); ok {
		f.Errors, f.Error = fields, text
		return s.newModulePage(c, http.StatusUnprocessableEntity, f)
	}
	if err != nil {
		return err
	}
	if len(warnings) > 0 {
		return s.flashTo(c, "/modules/"+m.Slug, view.KindWarn, strings.Join(warnings, " "))
	}
	return s.flashTo(c, "/modules/"+m.Slug, view.KindGood, "The module is there.")
}

func (s *Server) getModuleSettings(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	return s.moduleSettingsPage(c, http.StatusOK, view.ModuleFormModel{Values: moduleFormOf(m)})
}

func (s *Server) moduleSettingsPage(c *request, status int, m view.ModuleFormModel) error {
	p, head, err := s.moduleFrame(c, view.TabModuleOf)
	if err != nil {
		return err
	}
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if m.Variables, err = s.moduleVariables(c); err != nil {
		return err
	}
	m.Head, m.Tools, m.Connected, m.GitLabHost = &head, s.toolList(c), linked, hostOf(in.BrowserURL())
	m.Edit, m.Delete, m.Import = c.who.may(store.Admin, "change these settings"), c.who.may(store.Admin, "delete a module"), c.who.may(store.Admin, "import tags")
	m.Variable = c.who.may(store.Writer, "change variables")
	if head.Module.Protect && m.Delete.Can {
		m.Delete = view.Act{WhyNot: "The module is protected from deletion. Switch the protection off first."}
	}
	return render(c, status, view.ModuleFormPage(p, m))
}

func (s *Server) postModuleSettings(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	f := view.ModuleFormModel{Values: readModuleForm(c)}
	project := typedProject(f.Values.Project, m.ProjectPath, m.Project)
	fillModule(&m, f.Values)
	_, err = s.eng.UpdateModule(c.Request().Context(), m, project, c.who.Name)
	if fields, text, ok := formErrors(err); ok {
		f.Errors, f.Error = fields, text
		return s.moduleSettingsPage(c, http.StatusUnprocessableEntity, f)
	}
	return s.after(c, err, "/modules/"+m.Slug+"/settings", "The settings are saved.")
}

func (s *Server) postDeleteModule(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	f := view.ModuleFormModel{Values: moduleFormOf(m)}
	if c.FormValue("slug") != m.Slug {
		f.DeleteError = "That is not the module's address. Type " + m.Slug + " to delete it."
		return s.moduleSettingsPage(c, http.StatusUnprocessableEntity, f)
	}
	err = s.eng.DeleteModule(m.Slug, c.who.Name)
	if _, text, ok := formErrors(err); ok {
		f.DeleteError = text
		return s.moduleSettingsPage(c, http.StatusConflict, f)
	}
	return s.after(c, err, "/modules", "The module "+m.Name+" is deleted, with all its versions.")
}

func (s *Server) postModuleVariable(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	v := runs.Variable{Name: strings.TrimSpace(c.FormValue("variable")), Value: c.FormValue("value"), Secret: c.FormValue("secret") != ""}
	err = s.eng.PutVariable(m.Scope(), v, c.who.Name)
	if fields, text, ok := formErrors(err); ok {
		return s.moduleSettingsPage(c, http.StatusUnprocessableEntity, view.ModuleFormModel{Values: moduleFormOf(m), VarErrors: fields, Error: text})
	}
	return s.after(c, err, "/modules/"+m.Slug+"/settings", v.Name+" is set for the tests to come.")
}

func (s *Server) postDeleteModuleVariable(c *request) error {
	m, err := s.module(c.Param("name"))
	if err != nil {
		return err
	}
	return s.after(c, s.eng.DeleteVariable(m.Scope(), c.FormValue("name"), c.who.Name), "/modules/"+m.Slug+"/settings", c.FormValue("name")+" is deleted.")
}
