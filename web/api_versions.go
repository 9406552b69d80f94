package web

import (
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A versionJSON is a version of a module as the API answers it.
type versionJSON struct {
	Version   string          `json:"version"`
	State     string          `json:"state"` // pending, active or failed
	Reason    string          `json:"reason"`
	Commit    string          `json:"commit"`
	Tag       string          `json:"tag"`
	Digest    string          `json:"digest"` // sha256 of the archive
	Size      int64           `json:"size"`
	Files     int             `json:"files"`
	Breaking  []string        `json:"breaking"`
	Against   string          `json:"compared_with"`
	Yanked    bool            `json:"yanked"`
	YankNote  string          `json:"yank_note"`
	YankedBy  string          `json:"yanked_by"`
	Check     string          `json:"check"`
	CreatedAt time.Time       `json:"created_at"`
	ActiveAt  *time.Time      `json:"active_at"`
	Interface *runs.Interface `json:"interface,omitempty"` // of a single version
}

func toVersionJSON(v runs.ModuleVersion) versionJSON {
	return versionJSON{
		Version: v.Number, State: string(v.State), Reason: v.Reason, Commit: v.Commit.SHA, Tag: v.Tag, Digest: v.Digest, Size: v.Size, Files: v.Files,
		Breaking: orEmpty(v.Breaking), Against: v.Against, Yanked: v.Yanked(), YankNote: v.YankNote, YankedBy: v.YankedBy, Check: v.Check,
		CreatedAt: v.CreatedAt.UTC(), ActiveAt: at(v.ActiveAt),
	}
}

func (s *Server) apiModuleVersions(c *request) error {
	var items []versionJSON
	err := s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Module(c.Param("name")); err != nil {
			return err
		}
		all, err := tx.ModuleVersions(c.Param("name"))
		for _, v := range all {
			items = append(items, toVersionJSON(v))
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, "")
}

func (s *Server) version(c *request) (v runs.ModuleVersion, err error) {
	err = s.st.View(func(tx *store.Tx) error { v, err = tx.ModuleVersion(c.Param("name"), c.Param("version")); return err })
	return v, err
}

func (s *Server) apiModuleVersion(c *request) error {
	v, err := s.version(c)
	if err != nil {
		return err
	}
	j := toVersionJSON(v)
	j.Interface = v.Interface
	return c.JSON(http.StatusOK, j)
}

// A checkJSON is a check of a module at a commit.
type checkJSON struct {
	ID        string                 `json:"id"`
	Commit    string                 `json:"commit"`
	Branch    string                 `json:"branch"`
	Tag       string                 `json:"tag"`
	Version   string                 `json:"version"`
	State     string                 `json:"state"`
	Reason    string                 `json:"reason"`
	Tests     []caseJSON             `json:"tests"`
	Against   string                 `json:"compared_with"`
	Changes   []runs.InterfaceChange `json:"changes"`
	Notes     []string               `json:"notes"`
	CreatedAt time.Time              `json:"created_at"`
	EndedAt   *time.Time             `json:"ended_at"`
}

type caseJSON struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	State   string            `json:"state"`
	Reason  string            `json:"reason"`
	Run     *string           `json:"run"`
	Results []runs.TestResult `json:"results,omitempty"` // of test files
}

func checkToJSON(tx *store.Tx, k runs.Check) (checkJSON, error) {
	j := checkJSON{
		ID: k.ID, Commit: k.Commit.SHA, Branch: k.Branch, Tag: k.Tag, Version: k.Version, State: string(k.State), Reason: k.Reason,
		Tests: []caseJSON{}, Against: k.Against, Changes: k.Changes, Notes: orEmpty(k.Notes), CreatedAt: k.CreatedAt.UTC(), EndedAt: at(k.EndedAt),
	}
	if j.Changes == nil {
		j.Changes = []runs.InterfaceChange{}
	}
	for _, one := range k.Cases {
		t := caseJSON{ID: one.ID, Name: one.Name, State: string(one.State), Reason: one.Reason, Run: orNil(one.Run)}
		if one.Run != "" {
			r, err := tx.Run(one.Run)
			if err != nil {
				return j, err
			}
			if r.Test != nil {
				t.Results = r.Test.Results
			}
		}
		j.Tests = append(j.Tests, t)
	}
	return j, nil
}

func (s *Server) answerCheck(c *request, status int, id string) error {
	var j checkJSON
	err := s.st.View(func(tx *store.Tx) error {
		k, err := tx.Check(id)
		if err != nil {
			return err
		}
		j, err = checkToJSON(tx, k)
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(status, j)
}

func (s *Server) apiVersionTests(c *request) error {
	v, err := s.version(c)
	if err != nil {
		return err
	}
	return s.answerCheck(c, http.StatusOK, v.Check)
}

func (s *Server) apiTestVersion(c *request) error {
	k, err := s.eng.TestModule(c.Request().Context(), c.Param("name"), c.Param("version"), c.who.Name, c.who.trigger())
	if err != nil {
		return err
	}
	return s.answerCheck(c, http.StatusCreated, k.ID)
}

func (s *Server) apiStartCheck(c *request) error {
	k, err := s.eng.TestModule(c.Request().Context(), c.Param("name"), "", c.who.Name, c.who.trigger())
	if err != nil {
		return err
	}
	return s.answerCheck(c, http.StatusCreated, k.ID)
}

func (s *Server) apiYank(c *request) error {
	var in noteInput
	if err := decode(c, &in); err != nil {
		return err
	}
	v, err := s.eng.Yank(c.Param("name"), c.Param("version"), c.who.Name, in.Note)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, toVersionJSON(v))
}

type importJSON struct {
	Begun int `json:"begun"` // versions that are being checked now
}

func (s *Server) apiImportTags(c *request) error {
	n, err := s.eng.ImportTags(c.Request().Context(), c.Param("name"), c.who.Name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, importJSON{n})
}

func (s *Server) apiChecks(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	var items []checkJSON
	next := ""
	err = s.st.View(func(tx *store.Tx) error {
		if _, err := tx.Module(c.Param("name")); err != nil {
			return err
		}
		page, more, err := tx.Checks(c.Param("name"), cursor, limit)
		next = more
		for _, k := range page {
			if err != nil {
				break
			}
			var j checkJSON
			j, err = checkToJSON(tx, k)
			items = append(items, j)
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}
