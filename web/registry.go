package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// The module registry protocol (Terraform, “Module Registry Protocol”, with remote service discovery), and git for runs.
// Whoever asks has an API key of any role, or is a run with its own token.

func (s *Server) registry() []route {
	r := func(method, path string, h handler) route {
		return route{method: method, path: path, need: bearer, handle: h, raw: true}
	}
	const at = engine.RegistryPath + ":namespace/:name/:provider"
	return []route{
		{method: get, path: "/.well-known/terraform.json", need: public, handle: getDiscovery},
		r(get, at+"/versions", s.getModuleVersions),
		r(get, at+"/:version/download", s.getModuleDownload),
		r(get, archivePath+":file", s.getModuleArchive),
		r(get, engine.GitPath+"*", s.getGit),
		r(post, engine.GitPath+"*", s.postGit),
	}
}

// archivePath is where archives lie. Who fetches one shows the ticket that the download answered: the tools send no
// credentials there.
const archivePath = "/registry/archives/"

// ForRuns reports whether an address is one of the few that runs may ask this server for.
func ForRuns(r *http.Request) bool {
	p := r.URL.Path
	return p == "/.well-known/terraform.json" && r.Method == http.MethodGet ||
		strings.HasPrefix(p, engine.RegistryPath) && r.Method == http.MethodGet ||
		strings.HasPrefix(p, archivePath) && r.Method == http.MethodGet ||
		strings.HasPrefix(p, engine.GitPath)
}

type fromRunKey struct{}

// FromRun marks a request as one that a process of a run sent; run is its id, "" when it is not known which.
func FromRun(ctx context.Context, run string) context.Context {
	return context.WithValue(ctx, fromRunKey{}, run)
}

func getDiscovery(c *request) error {
	return c.JSON(http.StatusOK, map[string]string{"modules.v1": engine.RegistryPath})
}

// mayFetch finds out who asks for a module. A run has its own token and nothing else, wherever else it may have found one.
func (s *Server) mayFetch(c *request) (run runs.Run, err error) {
	c.Response().Header().Set("Cache-Control", "no-store")
	scheme, text, _ := strings.Cut(c.Request().Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return run, errUnauthorized
	}
	text = strings.TrimSpace(text)
	run, ok, err := s.eng.RunOfToken(text)
	if err != nil {
		return run, err
	}
	sender, isRun := c.Request().Context().Value(fromRunKey{}).(string)
	switch {
	case ok && isRun && sender != "" && sender != run.ID:
		return run, errUnauthorized // somebody else's token
	case ok:
		return run, nil
	case isRun:
		return run, errUnauthorized
	}
	_, err = s.keyHolder(text)
	return run, err
}

func (s *Server) moduleAt(tx *store.Tx, c *request) (runs.Module, error) {
	m, ok, err := tx.ModuleAt(c.Param("namespace"), c.Param("name"), c.Param("provider"))
	if err == nil && !ok {
		err = runs.NotFoundf("There is no module %s/%s/%s here.", c.Param("namespace"), c.Param("name"), c.Param("provider"))
	}
	return m, err
}

// registryVersion is one version as the protocol lists it.
type registryVersion struct {
	Version string `json:"version"`
}

func (s *Server) getModuleVersions(c *request) error {
	if _, err := s.mayFetch(c); err != nil {
		return err
	}
	list := []registryVersion{}
	err := s.st.View(func(tx *store.Tx) error {
		m, err := s.moduleAt(tx, c)
		if err != nil {
			return err
		}
		versions, err := tx.ModuleVersions(m.Slug)
		for _, v := range versions {
			if v.Usable() && !v.Yanked() {
				list = append(list, registryVersion{v.Number})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"modules": []any{map[string]any{"versions": list}}})
}

const (
	archiveTicket = "archive"
	ticketLife    = 15 * time.Minute
)

func (s *Server) getModuleDownload(c *request) error {
	if _, err := s.mayFetch(c); err != nil {
		return err
	}
	var v runs.ModuleVersion
	err := s.st.View(func(tx *store.Tx) error {
		m, err := s.moduleAt(tx, c)
		if err != nil {
			return err
		}
		v, err = tx.ModuleVersion(m.Slug, c.Param("version"))
		if err == nil && !v.Usable() {
			err = runs.NotFoundf("Version %s is %s, so it is not served. %s", v.Number, v.State, v.Reason)
		}
		return err
	})
	if err != nil {
		return err
	}
	ticket := s.st.Ticket(archiveTicket, fmt.Sprintf("%s %s %d", v.Module, v.Number, time.Now().Add(ticketLife).Unix()))
	// A path on this very host, so that it is right behind every proxy. The tools verify the checksum.
	c.Response().Header().Set("X-Terraform-Get", archivePath+url.PathEscape(v.Module+"-"+v.Number)+".tar.gz?"+url.Values{"ticket": {ticket}, "checksum": {"sha256:" + v.Digest}}.Encode())
	return c.NoContent(http.StatusNoContent)
}

// getModuleArchive hands out the archive that a ticket names.
func (s *Server) getModuleArchive(c *request) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	what, ok := s.st.ReadTicket(archiveTicket, c.QueryParam("ticket"))
	parts := strings.Fields(what)
	if !ok || len(parts) != 3 {
		return errUnauthorized
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || time.Now().Unix() > until {
		return errUnauthorized
	}
	var v runs.ModuleVersion
	if err := s.st.View(func(tx *store.Tx) error { v, err = tx.ModuleVersion(parts[0], parts[1]); return err }); err != nil {
		return err
	}
	f, err := os.Open(s.eng.ArchiveFile(v))
	if err != nil {
		return fmt.Errorf("the archive of %s %s: %w", v.Module, v.Number, err)
	}
	defer f.Close()
	c.Response().Header().Set("Content-Type", "application/gzip")
	return serveContent(c, v.ActiveAt, f)
}

// gitRequest reads what git in a run asks for; only reading is there at all.
func (s *Server) gitRequest(c *request, suffix string) (runs.Run, engine.GitRequest, error) {
	run, err := s.mayFetch(c)
	if err == nil && run.ID == "" {
		err = runs.Forbiddenf("Repositories are read here by runs only. Ask GitLab itself.")
	}
	if err != nil {
		return run, engine.GitRequest{}, err
	}
	path, ok := strings.CutSuffix(strings.TrimPrefix(c.Request().URL.Path, engine.GitPath), suffix)
	if !ok {
		return run, engine.GitRequest{}, runs.Forbiddenf("Runs can read repositories and nothing else.")
	}
	return run, engine.GitRequest{
		Project: strings.TrimSuffix(path, ".git"), Protocol: c.Request().Header.Get("Git-Protocol"),
		Encoding: c.Request().Header.Get("Content-Encoding"), Body: c.Request().Body,
	}, nil
}

func (s *Server) getGit(c *request) error {
	run, q, err := s.gitRequest(c, "/info/refs")
	if err != nil {
		return err
	}
	if c.QueryParam("service") != "git-upload-pack" {
		return runs.Forbiddenf("Runs can read repositories, not write to them.")
	}
	q.Refs = true
	return s.handOn(c, run, q)
}

func (s *Server) postGit(c *request) error {
	run, q, err := s.gitRequest(c, "/git-upload-pack")
	if err != nil {
		return err
	}
	return s.handOn(c, run, q)
}

// handOn answers git with what GitLab answers.
func (s *Server) handOn(c *request, run runs.Run, q engine.GitRequest) error {
	resp, err := s.eng.ReadGit(c.Request().Context(), run, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	c.Response().Header().Set("Content-Type", cmp.Or(resp.Header.Get("Content-Type"), "application/octet-stream"))
	c.Response().Header().Set("Cache-Control", "no-cache")
	c.Response().WriteHeader(resp.StatusCode)
	if _, err := io.Copy(c.Response(), resp.Body); err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("what a run's git was to get broke off", "run", run.ID, "project", q.Project, "error", err)
		panic(http.ErrAbortHandler) // so that git does not take half for the whole
	}
	return nil
}
