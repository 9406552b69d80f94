package web

import (
	"net/http"
	"strconv"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// An integrationJSON is the integration as the API answers it. The token is never part of it, the webhook secret
// only for admins.
type integrationJSON struct {
	APIURL       string `json:"api_url"`
	ExternalURL  string `json:"external_url"`
	CAPEM        string `json:"ca_pem"`
	StatusPrefix string `json:"status_prefix"`
	Aggregate    bool   `json:"aggregate"`
	// PassUntouched gives merge requests that concern no stack a passing status.
	PassUntouched bool `json:"pass_untouched"`
	// RequireSigned says when unsigned deliveries are refused: always, never, or "" for as soon as a project's hook has delivered signed.
	RequireSigned string `json:"require_signed"`
	// DestroyThreads opens a thread for what a plan destroys or replaces, unless a stack says otherwise.
	DestroyThreads bool        `json:"destroy_threads"`
	AutoRotate     bool        `json:"auto_rotate"` // let GitLab renew the token before it expires
	Linked         bool        `json:"linked"`
	Webhook        webhookJSON `json:"webhook"`
	Token          tokenJSON   `json:"token"`
}

type webhookJSON struct {
	Endpoint string  `json:"endpoint"`
	Secret   *string `json:"secret"`
	// OldSecretUntil is how long the secret before a rotation stays valid.
	OldSecretUntil *time.Time `json:"old_secret_until"`
	// HooksOwed is how many hooks are still to get the present secret.
	HooksOwed int `json:"hooks_owed"`
}

type tokenJSON struct {
	Name      string     `json:"name"`
	Username  string     `json:"username"`
	Kind      string     `json:"kind"` // personal, project, group or service_account, by GitLab's names for their users
	Scopes    []string   `json:"scopes"`
	ExpiresAt *time.Time `json:"expires_at"`
	Active    bool       `json:"active"`
	CheckedAt *time.Time `json:"checked_at"`
	Trouble   string     `json:"trouble"`
	Cause     string     `json:"cause"` // of trouble: revoked, expired, unauthorized, blocked, scope; network, tls, server and the like say nothing of the token
	// Rotation is the last attempt to let GitLab renew the token: "", trying, done, refused, lost.
	Rotation     string `json:"rotation"`
	RotationText string `json:"rotation_text"`
}

func (s *Server) integrationJSON(in store.Integration, owed int, who actor) integrationJSON {
	j := integrationJSON{
		APIURL: in.APIURL, ExternalURL: in.BrowserURL(), CAPEM: in.CA, StatusPrefix: in.Prefix(), Aggregate: in.Aggregate, PassUntouched: in.PassUntouched, DestroyThreads: in.DestroyThreads, RequireSigned: in.RequireSigned, AutoRotate: in.AutoRotate, Linked: in.Linked,
		Webhook: webhookJSON{Endpoint: s.eng.WebhookURL()},
		Token: tokenJSON{
			Name: in.Health.Name, Username: in.Health.Username, Kind: tokenKind(in.Health.Username), Scopes: orEmpty(in.Health.Scopes),
			Active: in.Health.Active, CheckedAt: at(in.Health.CheckedAt), Trouble: in.Health.Trouble, Cause: in.Health.Cause,
		},
	}
	if in.Rotation != nil {
		j.Token.Rotation, j.Token.RotationText = in.Rotation.State, in.Rotation.Text
	}
	if in.Health.ExpiresAt != nil {
		j.Token.ExpiresAt = at(*in.Health.ExpiresAt)
	}
	if in.OldSecret != "" && time.Now().Before(in.OldSecretUntil) {
		j.Webhook.OldSecretUntil = at(in.OldSecretUntil)
	}
	j.Webhook.HooksOwed = owed
	if who.has(store.Admin) {
		j.Webhook.Secret = orNil(in.Secret.Reveal())
	}
	return j
}

var errNoIntegration = runs.NotFoundf("No GitLab is set up. Set it up with PUT /api/v1/integration or under Settings › VCS providers.")

func (s *Server) apiIntegration(c *request) error { return s.answerIntegration(c) }

func (s *Server) answerIntegration(c *request) error {
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if !linked {
		return errNoIntegration
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	owed := 0
	err = s.st.View(func(tx *store.Tx) (err error) {
		owed, err = engine.HookProgress(tx, reads)
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.integrationJSON(in, owed, c.who))
}

// An integrationInput sets up or changes the integration. Fields that are not given keep what they are.
type integrationInput struct {
	APIURL         *string      `json:"api_url"`
	ExternalURL    *string      `json:"external_url"`
	Token          *runs.Secret `json:"token"`
	CAPEM          *string      `json:"ca_pem"`
	StatusPrefix   *string      `json:"status_prefix"`
	Aggregate      *bool        `json:"aggregate"`
	PassUntouched  *bool        `json:"pass_untouched"`
	DestroyThreads *bool        `json:"destroy_threads"`
	RequireSigned  *string      `json:"require_signed"`
	AutoRotate     *bool        `json:"auto_rotate"`
}

func (s *Server) apiPutIntegration(c *request) error {
	var body integrationInput
	if err := decode(c, &body); err != nil {
		return err
	}
	in, _, err := s.integration()
	if err != nil {
		return err
	}
	l := engine.Link{APIURL: in.APIURL, ExternalURL: in.ExternalURL, CA: in.CA, StatusPrefix: in.StatusPrefix, Aggregate: in.Aggregate, PassUntouched: in.PassUntouched, DestroyThreads: in.DestroyThreads, RequireSigned: in.RequireSigned, AutoRotate: in.AutoRotate}
	give(&l.APIURL, body.APIURL)
	give(&l.ExternalURL, body.ExternalURL)
	give(&l.CA, body.CAPEM)
	give(&l.StatusPrefix, body.StatusPrefix)
	give(&l.Token, body.Token)
	give(&l.Aggregate, body.Aggregate)
	give(&l.PassUntouched, body.PassUntouched)
	give(&l.AutoRotate, body.AutoRotate)
	give(&l.DestroyThreads, body.DestroyThreads)
	give(&l.RequireSigned, body.RequireSigned)
	if _, err := s.eng.SaveIntegration(c.Request().Context(), l, c.who.Name); err != nil {
		return err
	}
	return s.answerIntegration(c)
}

func (s *Server) apiUnlink(c *request) error {
	if err := s.linkedOr404(); err != nil {
		return err
	}
	if err := s.eng.Unlink(c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) linkedOr404() error {
	_, linked, err := s.integration()
	if err == nil && !linked {
		err = errNoIntegration
	}
	return err
}

// A testJSON is the result of a test of the integration.
type testJSON struct {
	OK     bool           `json:"ok"`
	Checks []engine.Check `json:"checks"`
}

func (s *Server) apiTestIntegration(c *request) error {
	if err := s.linkedOr404(); err != nil {
		return err
	}
	checks, err := s.eng.TestIntegration(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, testJSON{OK: allGood(checks), Checks: checks})
}

func allGood(checks []engine.Check) bool {
	for _, ch := range checks {
		if !ch.OK {
			return false
		}
	}
	return true
}

func (s *Server) apiRotateSecret(c *request) error {
	if err := s.eng.RotateSecret(c.who.Name); err != nil {
		return err
	}
	return s.answerIntegration(c)
}

// A projectJSON is a GitLab project that stacks use.
type projectJSON struct {
	ID            int64    `json:"id"`
	Path          string   `json:"path"`
	DefaultBranch string   `json:"default_branch"`
	WebURL        string   `json:"web_url"`
	Stacks        []string `json:"stacks"`
	// PassUntouched says whether merge requests that concern no stack get a passing status: on, off, or "" for what the integration says.
	PassUntouched string   `json:"pass_untouched"`
	Hook          hookJSON `json:"hook"`
}

type hookJSON struct {
	State          string     `json:"state"`
	Detail         string     `json:"detail"`
	LastDeliveryAt *time.Time `json:"last_delivery_at"`
	Signed         bool       `json:"signed"` // GitLab signs its deliveries (19.0 and later)
	TestedAt       *time.Time `json:"tested_at"`
	TestOK         bool       `json:"test_ok"`
	TestMessage    string     `json:"test_message"`
}

// A projectHookJSON is a project's hook after it was installed.
type projectHookJSON struct {
	ID   int64    `json:"id"`
	Hook hookJSON `json:"hook"`
}

func hookOut(h engine.Hook) hookJSON {
	return hookJSON{h.State, h.Detail, at(h.LastDelivery), h.Signed, at(h.TestedAt), h.TestOK, h.TestText}
}

func (s *Server) apiProjects(c *request) error {
	list, err := s.eng.Catalog(c.Request().Context(), c.QueryParam("search"))
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var items []projectJSON
	for _, p := range list {
		if !reads(p.ID) {
			continue
		}
		items = append(items, projectJSON{p.ID, p.Path, p.DefaultBranch, p.WebURL, orEmpty(p.Stacks), p.PassUntouched, hookOut(p.Hook)})
	}
	return paged(c, items, func(p projectJSON) string { return strconv.FormatInt(p.ID, 10) })
}

func (s *Server) apiInstallHook(c *request) error {
	id, err := s.project(c)
	if err != nil {
		return err
	}
	h, err := s.eng.InstallHook(c.Request().Context(), id, c.who.Name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, projectHookJSON{id, hookOut(h)})
}

func (s *Server) apiTestHook(c *request) error {
	id, err := s.project(c)
	if err != nil {
		return err
	}
	text, err := s.eng.TestHook(c.Request().Context(), id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, hookTestJSON{ID: id, OK: true, Message: text})
}

// A hookTestJSON says what came of the test of a project's hook.
type hookTestJSON struct {
	ID      int64  `json:"id"`
	Path    string `json:"path"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// apiTestHooks tests the hooks of all used projects.
func (s *Server) apiTestHooks(c *request) error {
	found, err := s.eng.TestHooks(c.Request().Context())
	if err != nil {
		return err
	}
	var items []hookTestJSON
	for _, t := range found {
		item := hookTestJSON{t.Project.ID, t.Project.Path, t.Err == nil, t.Text}
		if t.Err != nil {
			item.Message = messageOf(t.Err, statusOf(t.Err))
		}
		items = append(items, item)
	}
	return listed(c, items, "")
}
