package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// A run gets modules from this server: those of the registry, and those that its code names by a git address of our
// GitLab. For both it has a token of its own, which is good for reading, for this run, and as long as it is at work. The
// token of GitLab never leaves the server: git in a run is sent to the server's own, read-only address of the repository,
// which asks GitLab on its behalf.

const (
	runTicket = "run"
	runPrefix = "gcr_" // of a run's token
)

// runToken makes the token of a run; nothing is stored for it.
func (e *Engine) runToken(r runs.Run) string { return runPrefix + e.st.Ticket(runTicket, r.ID) }

// RunOfToken returns the run whose token a text is. A token of a run that is not at work is nobody's.
func (e *Engine) RunOfToken(text string) (r runs.Run, ok bool, err error) {
	ticket, is := strings.CutPrefix(text, runPrefix)
	if !is {
		return r, false, nil
	}
	id, ok := e.st.ReadTicket(runTicket, ticket)
	if !ok {
		return r, false, nil
	}
	err = e.st.View(func(tx *store.Tx) error { r, err = tx.Run(id); return err })
	if errors.Is(err, runs.ErrNotFound) {
		return r, false, nil
	}
	return r, err == nil && r.State.Working(), err
}

// RegistryPath is where the module registry protocol is served.
const RegistryPath = "/registry/modules/v1/"

// GitPath is where runs read repositories.
const GitPath = "/git/"

// RegistryHost is the host that code names to get modules from here, with the port where it is not the usual one.
func (e *Engine) RegistryHost() string {
	u, err := url.Parse(e.o.ExternalURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// registryHosts are the hosts whose module addresses lead here inside runs.
func (e *Engine) registryHosts(tx *store.Tx) ([]string, error) {
	s, err := tx.Settings()
	return append([]string{e.RegistryHost()}, s.PublicModules...), err
}

// openDoors gives a run what it needs to fetch modules: where they are, its token, and whom to trust.
func (t *task) openDoors(w *tofu.Work) error {
	var public []string
	err := t.e.st.View(func(tx *store.Tx) error {
		s, err := tx.Settings()
		public = s.PublicModules
		return err
	})
	if err != nil || t.stack.Tool == runs.Custom && t.e.RegistryHost() == "" {
		return err
	}
	w.Config = t.e.registryConfig(t.token, public, w.Mirror != "")
	w.Git = t.e.gitConfig(t.token, t.in)
	if more := strings.TrimSpace(t.e.o.TrustCA + "\n" + t.in.CA); more != "" {
		w.CA = append(systemCAs(), []byte("\n"+more+"\n")...)
	}
	return nil
}

// registryConfig is the part of the tools' configuration that leads modules here. A server without TLS is named outright,
// because the tools look for services over TLS only.
func (e *Engine) registryConfig(token string, public []string, mirrored bool) string {
	service := strings.TrimRight(e.o.ExternalURL, "/") + RegistryPath
	var b strings.Builder
	host := func(name string, services string) {
		if services != "" {
			fmt.Fprintf(&b, "host %q {\n  services = {\n%s  }\n}\n", name, services)
		}
		fmt.Fprintf(&b, "credentials %q {\n  token = %q\n}\n", name, token)
	}
	modules := fmt.Sprintf("    \"modules.v1\" = %q\n", service)
	if strings.HasPrefix(service, "https://") {
		host(e.RegistryHost(), "")
	} else {
		host(e.RegistryHost(), modules)
	}
	for _, name := range public {
		services := modules
		if !mirrored { // a host that is named outright has these services and no others
			services += fmt.Sprintf("    \"providers.v1\" = %q\n", "https://"+name+"/v1/providers/")
		}
		host(name, services)
	}
	return b.String()
}

// gitConfig makes git in a run read repositories of our GitLab through this server, whichever way the code writes their
// address. It stands in the environment and in no file.
func (e *Engine) gitConfig(token string, in store.Integration) []string {
	door := strings.TrimRight(e.o.ExternalURL, "/") + GitPath
	var values [][2]string
	values = append(values, [2]string{"http." + door + ".extraHeader", "Authorization: Bearer " + token})
	seen := map[string]bool{}
	for _, base := range []string{in.APIURL, in.ExternalURL} {
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || seen[base] {
			continue
		}
		seen[base] = true
		for _, from := range []string{strings.TrimRight(base, "/") + "/", "ssh://git@" + u.Hostname() + "/", "git@" + u.Hostname() + ":"} {
			values = append(values, [2]string{"url." + door + ".insteadOf", from})
		}
	}
	env := []string{"GIT_TERMINAL_PROMPT=0", fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(values))}
	for i, kv := range values {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return env
}

// caFiles are where systems keep the certificates they trust, as Go looks for them.
var caFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

func systemCAs() []byte {
	for _, f := range caFiles {
		if raw, err := os.ReadFile(f); err == nil {
			return raw
		}
	}
	return nil // a machine that trusts nobody
}

// readable says whether a run may read a project over git: its own, those of modules, and those a setting names.
func readable(tx *store.Tx, r runs.Run, path string) (bool, error) {
	sources, err := tx.SourcesOf(r.Project)
	if err != nil {
		return false, err
	}
	modules, err := tx.Modules()
	if err != nil {
		return false, err
	}
	for _, m := range modules {
		sources = append(slices.Clip(sources), m.Source())
	}
	if slices.ContainsFunc(sources, func(st runs.Stack) bool { return strings.EqualFold(st.ProjectPath, path) }) {
		return true, nil
	}
	s, err := tx.Settings()
	return slices.ContainsFunc(s.GitProjects, func(p string) bool { return glob(strings.ToLower(p), strings.ToLower(path)) }), err
}

// A GitRequest is one request of git in a run.
type GitRequest struct {
	Project  string // full path
	Refs     bool   // which refs there are; else a pack is wanted
	Protocol string // the Git-Protocol header
	Encoding string // of Body
	Body     io.Reader
}

// ReadGit asks GitLab for what git in a run wants to read. The caller closes the body.
func (e *Engine) ReadGit(ctx context.Context, r runs.Run, q GitRequest) (*http.Response, error) {
	err := e.st.View(func(tx *store.Tx) error {
		ok, err := readable(tx, r, q.Project)
		if err == nil && !ok {
			err = runs.Forbiddenf("Runs may not read the project %s over git. An admin can allow it under Settings › System.", q.Project)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := e.linkedClient()
	if err != nil {
		return nil, err
	}
	var resp *http.Response
	if q.Refs {
		resp, err = c.RefsOf(ctx, q.Project, q.Protocol)
	} else {
		resp, err = c.PackOf(ctx, q.Project, q.Protocol, q.Encoding, q.Body)
	}
	if gitlab.KindOf(err) == gitlab.KindNotFound {
		return nil, runs.NotFoundf("GitLab has no project %s, or the token's user may not read it.", q.Project)
	}
	return resp, err
}

// SetModules changes which public registries' module addresses lead here inside runs, and which projects runs may read over git.
func (e *Engine) SetModules(public, projects []string, by string) error {
	for _, h := range public {
		u, err := url.Parse("https://" + h)
		if err != nil || u.Host != h || u.Hostname() == "" || strings.ContainsAny(h, "\"\\$ ") {
			return runs.Invalidf("public_modules", "“%s” is no host. Write one per line, like registry.terraform.io.", runs.Shorten(h, 80))
		}
	}
	for _, p := range projects {
		if !validPattern(p) {
			return runs.Invalidf("git_projects", "“%s” is no pattern of project paths. Use one like platform/** per line.", runs.Shorten(p, 80))
		}
	}
	return e.st.Update(func(tx *store.Tx) error {
		s, err := tx.Settings()
		if err != nil {
			return err
		}
		s.PublicModules, s.GitProjects = public, projects
		if err := tx.PutSettings(s); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "settings.modules", Note: strings.Join(public, ", ") + "; " + strings.Join(projects, ", ")})
	})
}

func validPattern(p string) bool {
	return p != "" && len(p) <= 200 && doublestar.ValidatePattern(p) && !strings.ContainsAny(p, "\x00\n")
}
