package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type environment struct {
	id               int64
	name, slug       string
	description      string
	externalURL      string
	tier             string
	stopped          bool
	created, updated time.Time
}

func (e *environment) state() string {
	if e.stopped {
		return "stopped"
	}
	return "available"
}

// environmentForm is GitLab's rule of names, beside "not a slash at either end" (§8, GOTCHAS 86).
var environmentForm = regexp.MustCompile(`^[a-zA-Z0-9 _/$\{}.-]+$`)

func checkEnvironmentName(name string) error {
	if len([]rune(name)) > maxStatusText {
		return invalid(http.StatusBadRequest, "name", "is too long (maximum is 255 characters)")
	}
	if strings.TrimSpace(name) == "" {
		return invalid(http.StatusBadRequest, "name", "can't be blank")
	}
	if !environmentForm.MatchString(name) || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") {
		return invalid(http.StatusBadRequest, "name",
			"can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot start or end with '/'")
	}
	return nil
}

// tiers are guessed from the name in this order (§8).
var tiers = []struct {
	tier string
	form *regexp.Regexp
}{
	{"development", regexp.MustCompile(`(?i)(dev|review|trunk)`)},
	{"testing", regexp.MustCompile(`(?i)(test|tst|int|ac(ce|)pt|qa|qc|control|quality)`)},
	{"staging", regexp.MustCompile(`(?i)(st(a|)g|mod(e|)l|pre|demo|non)`)},
	{"production", regexp.MustCompile(`(?i)(pr(o|)d|live)`)},
}

func guessTier(name string) string {
	for _, t := range tiers {
		if t.form.MatchString(name) {
			return t.tier
		}
	}
	return "other"
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slugOf is at most 24 characters; where the name had to change, an ending keeps it unique.
func slugOf(name string, id int64) string {
	slug := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if slug == name && len(slug) <= 24 {
		return slug
	}
	ending := "-" + strconv.FormatInt(id*7919%60466176+60466176, 36)
	return strings.TrimRight(slug[:min(len(slug), 24-len(ending))], "-") + ending
}

func (p *project) environment(name string) *environment {
	for _, e := range p.environments {
		if e.name == name {
			return e
		}
	}
	return nil
}

// newEnvironment is not checked: createEnvironment and createDeployment do that.
func (s *Server) newEnvironment(p *project, name string) *environment {
	id := s.id("environment")
	e := &environment{id: id, name: name, slug: slugOf(name, id), tier: guessTier(name), created: s.now(), updated: s.now()}
	p.environments = append(p.environments, e)
	return e
}

func (c *call) environmentEntity(e *environment) object {
	return object{
		"id": e.id, "name": e.name, "slug": e.slug, "description": orNull(e.description), "external_url": orNull(e.externalURL),
		"created_at": isoTime(e.created), "updated_at": isoTime(e.updated), "tier": e.tier, "state": e.state(), "auto_stop_at": nil,
		"auto_stop_setting": "always", "kubernetes_namespace": nil, "flux_resource_path": nil, "cluster_agent": nil,
	}
}

func (c *call) listEnvironments() error {
	search := c.in.text("search")
	if c.in.has("search") && len(search) < 3 {
		return message(http.StatusBadRequest, "400 Bad request - Search query is less than 3 characters")
	}
	var found []*environment
	for _, e := range c.project.environments {
		if strings.Contains(e.name, search) && (!c.in.has("name") || c.in.text("name") == e.name) &&
			(!c.in.has("states") || c.in.text("states") == e.state()) {
			found = append(found, e)
		}
	}
	return page(c, found, func(e *environment) any { return c.environmentEntity(e) })
}

func (c *call) createEnvironment() error {
	name := c.in.text("name")
	if err := checkEnvironmentName(name); err != nil {
		return err
	}
	if c.project.environment(name) != nil {
		return &refusal{status: http.StatusBadRequest, body: object{"message": object{
			"name": []string{"has already been taken"}, "slug": []string{"has already been taken"},
		}}}
	}
	if err := c.checkExternalURL(); err != nil {
		return err
	}
	e := c.newEnvironment(c.project, name)
	c.fillEnvironment(e)
	return c.answer(http.StatusCreated, c.environmentEntity(e))
}

func (c *call) checkExternalURL() error {
	text := c.in.text("external_url")
	switch {
	case text == "" || strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://"):
		return tooLong("external_url", text)
	default:
		return invalid(http.StatusBadRequest, "external_url", "is blocked: Only allowed schemes are http, https")
	}
}

func (c *call) fillEnvironment(e *environment) {
	e.externalURL = c.in.textOr("external_url", e.externalURL)
	e.description = c.in.textOr("description", e.description)
	e.tier = c.in.textOr("tier", e.tier)
	e.updated = c.now()
}

func (c *call) wantedEnvironment() (*environment, error) {
	id, _ := strconv.ParseInt(c.segment["env"], 10, 64) // 0 is none
	for _, e := range c.project.environments {
		if e.id == id {
			return e, nil
		}
	}
	return nil, noRecord()
}

// getEnvironment adds the last successful deployment.
func (c *call) getEnvironment() error {
	e, err := c.wantedEnvironment()
	if err != nil {
		return err
	}
	entity := c.environmentEntity(e)
	entity["last_deployment"] = nil
	if d := c.project.current(e); d != nil {
		entity["last_deployment"] = c.deploymentEntity(d)
	}
	return c.answer(http.StatusOK, entity)
}

// editEnvironment cannot change the name (§8).
func (c *call) editEnvironment() error {
	e, err := c.wantedEnvironment()
	if err != nil {
		return err
	}
	if err := c.checkExternalURL(); err != nil {
		return err
	}
	c.fillEnvironment(e)
	return c.answer(http.StatusOK, c.environmentEntity(e))
}

func (c *call) stopEnvironment() error {
	e, err := c.wantedEnvironment()
	if err != nil {
		return err
	}
	e.stopped, e.updated = true, c.now()
	return c.answer(http.StatusOK, c.environmentEntity(e))
}

// deleteEnvironment wants it stopped first (GOTCHAS 90).
func (c *call) deleteEnvironment() error {
	e, err := c.wantedEnvironment()
	if err != nil {
		return err
	}
	if !e.stopped {
		return forbidden("")
	}
	c.project.environments = slices.DeleteFunc(c.project.environments, func(other *environment) bool { return other == e })
	return c.answer(http.StatusNoContent, nil)
}

// Environments lists the environments of a project by id.
func (s *Server) Environments(project int64) []Environment {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return nil
	}
	var all []Environment
	for _, e := range p.environments {
		all = append(all, Environment{
			ID: e.id, Name: e.name, Slug: e.slug, ExternalURL: e.externalURL, Tier: e.tier, State: e.state(), Description: e.description,
			CreatedAt: e.created, UpdatedAt: e.updated,
		})
	}
	return all
}

// String names the environment in messages.
func (e Environment) String() string { return fmt.Sprintf("%s (%s, %s)", e.Name, e.Tier, e.State) }
