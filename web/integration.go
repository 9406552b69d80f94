package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

// patience is how long a page waits for GitLab before it is shown without its answer.
const patience = 10 * time.Second

var vcsCrumbs = []view.Crumb{{Text: "Settings", URL: "/settings/vcs"}, {Text: "VCS providers", URL: "/settings/vcs"}}

func (s *Server) settingsPage(c *request, title string, more ...view.Crumb) (view.Page, error) {
	return s.page(c, title, view.NavSettings, append(vcsCrumbs[:len(vcsCrumbs):len(vcsCrumbs)], more...)...)
}

// integrationView is the integration as pages show it.
func integrationView(in store.Integration) view.Integration {
	h := in.Health
	v := view.Integration{
		APIURL: in.APIURL, ExternalURL: in.ExternalURL, Version: h.Version, State: view.Connected, Detail: h.Trouble,
		StatusPrefix: in.Prefix(), Aggregate: in.Aggregate, HasCA: in.CA != "",
		Token: view.Token{
			Name: h.Name, Username: h.Username, Scopes: h.Scopes, CheckedAt: h.CheckedAt, Active: h.Active,
			Kind: tokenKind(h.Username), Human: h.Username != "" && !machine.MatchString(h.Username),
		},
	}
	if h.ExpiresAt != nil {
		v.Token.ExpiresAt = *h.ExpiresAt
	}
	switch {
	case engine.TokenDead(h), h.Trouble != "" && h.Cause == "" && !h.Active:
		v.State = view.TokenDead
	case h.Trouble != "":
		v.State = view.Unreachable
	}
	v.AutoRotate = in.AutoRotate
	if in.Rotation != nil {
		v.RotationText = in.Rotation.Text
	}
	return v
}

// machine matches the names GitLab gives the users of project, group and service account tokens, and what people
// call such users.
var machine = regexp.MustCompile(`(?i)(^|[_.-])(bot|robot|ci|automation|machine|service|groundcrew|terraform|svc)([_.-]|$)|_bot`)

// tokenUser matches the names GitLab gives the users behind tokens that are no person's (CONTRACT §1).
var tokenUser = regexp.MustCompile(`^(?:(project|group)_[0-9]+_bot|(service_account)_)`)

// tokenKind is what kind of token a user's name tells of; "" when no name is known.
func tokenKind(username string) string {
	m := tokenUser.FindStringSubmatch(username)
	switch {
	case username == "":
		return ""
	case m == nil:
		return "personal"
	default:
		return m[1] + m[2]
	}
}

func (s *Server) getVCS(c *request) error {
	p, err := s.page(c, "VCS providers", view.NavSettings, view.Crumb{Text: "Settings"}, view.Crumb{Text: "VCS providers"})
	if err != nil {
		return err
	}
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var m view.VCSModel
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		stacks = readable(stacks, reads)
		m.Stacks, m.Projects = len(stacks), projectsOf(stacks)
		return err
	})
	if err != nil {
		return err
	}
	if linked {
		v := integrationView(in)
		m.GitLab = &v
	}
	return render(c, http.StatusOK, view.VCSPage(p, m))
}

// projectsOf counts the projects of stacks.
func projectsOf(stacks []*runs.Stack) int {
	seen := map[int64]bool{}
	for _, st := range stacks {
		seen[st.Project] = true
	}
	return len(seen)
}

func (s *Server) getIntegration(c *request) error {
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if !linked && !c.who.has(store.Admin) {
		return c.Redirect(http.StatusSeeOther, "/settings/vcs") // it says that there is none
	}
	if !linked {
		return s.integrationForm(c, http.StatusOK, view.IntegrationFormModel{APIURL: in.APIURL, ExternalURL: in.ExternalURL, CAPEM: in.CA, StatusPrefix: in.StatusPrefix, Aggregate: in.Aggregate, PassUntouched: in.PassUntouched, DestroyThreads: in.DestroyThreads, RequireSigned: in.RequireSigned})
	}
	return s.integrationPage(c, http.StatusOK, view.IntegrationModel{})
}

// integrationPage completes the model with everything that is there anyway, and sends the page.
func (s *Server) integrationPage(c *request, status int, m view.IntegrationModel) error {
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if !linked {
		return runs.Conflictf("No GitLab is set up. Set it up under Settings › VCS providers.")
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	if err := s.fillProjects(c, &m, reads); err != nil {
		return err
	}
	m.Integration = integrationView(in)
	m.Endpoint, m.EndpointWarning = s.eng.WebhookURL(), endpointWarning(s.eng.WebhookURL(), in.APIURL)
	m.CanAdmin = c.who.has(store.Admin)
	if in.OldSecret != "" && time.Now().Before(in.OldSecretUntil) {
		m.PreviousUntil = in.OldSecretUntil
	}
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		if err != nil {
			return err
		}
		m.Stacks = len(readable(stacks, reads))
		m.HooksOwed, err = engine.HookProgress(tx, reads)
		return err
	})
	if err != nil {
		return err
	}
	n, err := s.countRecords(c, reads)
	if err != nil {
		return err
	}
	m.Refused, m.ReportsWaiting, m.ReportsParked = n.refused, n.waiting, n.parked
	p, err := s.settingsPage(c, "GitLab", view.Crumb{Text: "GitLab"})
	if err != nil {
		return err
	}
	return render(c, status, view.IntegrationPage(p, m))
}

// fillProjects asks GitLab how the hooks of a page of projects stand. When it cannot be asked they are shown all the same.
func (s *Server) fillProjects(c *request, m *view.IntegrationModel, reads func(project int64) bool) error {
	after, _ := strconv.ParseInt(c.QueryParam("cursor"), 10, 64) // what is no number of a project begins at the first
	list, total, next, err := s.eng.ProjectsPage(reads, after, pageRows)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), patience)
	defer cancel()
	unknown := s.eng.AskProjects(ctx, list)
	for _, p := range list {
		m.Projects = append(m.Projects, hookRow(p, unknown))
	}
	m.Pager = view.Pager{Shown: len(list), Total: total}
	if c.QueryParam("cursor") != "" {
		m.Pager.FirstURL = integrationURL
	}
	if next != 0 { // the page may be the answer to a form with another address
		m.Pager.NextURL = integrationURL + "?cursor=" + strconv.FormatInt(next, 10)
	}
	return nil
}

// hookRow shows a project; unknown is why GitLab could not be asked.
func hookRow(p engine.Project, unknown error) view.HookRow {
	row := view.HookRow{
		ID: p.ID, Path: p.Path, WebURL: p.WebURL, State: hookWords[p.Hook.State], Detail: p.Hook.Detail,
		LastDelivery: p.Hook.LastDelivery, PassUntouched: p.PassUntouched, Stacks: len(p.Stacks),
		TestedAt: p.Hook.TestedAt, TestOK: p.Hook.TestOK, TestText: p.Hook.TestText,
	}
	if unknown != nil {
		row.State, row.Detail = view.HookUnknown, messageOf(unknown, statusOf(unknown))
	}
	return row
}

var hookWords = map[string]string{
	engine.HookOK: view.HookInstalled, engine.HookMissing: view.HookMissing, engine.HookDuplicate: view.HookDuplicate,
	engine.HookEvents: view.HookEvents, engine.HookURL: view.HookURL, engine.HookSecret: view.HookSecret, engine.HookMoving: view.HookMoving,
	engine.HookDisabled: view.HookDisabled, engine.HookWaits: view.HookWaits, engine.HookUnknown: view.HookUnknown,
}

// endpointWarning says why GitLab may not reach the endpoint, as far as the addresses tell.
func endpointWarning(endpoint, gitlab string) string {
	e, err1 := url.Parse(endpoint)
	g, err2 := url.Parse(gitlab)
	switch {
	case err1 != nil || err2 != nil || e.Host == "":
		return "This server does not know its own address. Start it with --external-url, so that GitLab can reach it."
	case loopback(e.Hostname()) && !loopback(g.Hostname()):
		return "GitLab cannot reach " + e.Host + ", because that address means “this machine”. Start the server with --external-url and the address GitLab can reach."
	default:
		return ""
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Server) integrationForm(c *request, status int, m view.IntegrationFormModel) error {
	p, err := s.settingsPage(c, m.Title(), view.Crumb{Text: "GitLab", URL: "/settings/vcs/gitlab"})
	if err != nil {
		return err
	}
	return render(c, status, view.IntegrationFormPage(p, m))
}

func (s *Server) getIntegrationEdit(c *request) error {
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if !linked {
		return c.Redirect(http.StatusSeeOther, "/settings/vcs/gitlab")
	}
	return s.integrationForm(c, http.StatusOK, view.IntegrationFormModel{
		Edit: true, APIURL: in.APIURL, ExternalURL: in.ExternalURL, CAPEM: in.CA, StatusPrefix: in.StatusPrefix, Aggregate: in.Aggregate, PassUntouched: in.PassUntouched, AutoRotate: in.AutoRotate, DestroyThreads: in.DestroyThreads, RequireSigned: in.RequireSigned,
	})
}

// postIntegration checks what was typed against GitLab and keeps it, or shows the form with what is wrong.
func (s *Server) postIntegration(c *request) error {
	m := view.IntegrationFormModel{
		Edit:   strings.HasSuffix(c.Path(), "/edit"),
		APIURL: c.FormValue("api_url"), ExternalURL: c.FormValue("external_url"), CAPEM: c.FormValue("ca_pem"),
		StatusPrefix: c.FormValue("status_prefix"), Aggregate: c.FormValue("aggregate") != "",
		PassUntouched: c.FormValue("pass_untouched") != "", AutoRotate: c.FormValue("auto_rotate") != "",
		DestroyThreads: c.FormValue("destroy_threads") != "", RequireSigned: c.FormValue("require_signed"),
	}
	var checks []engine.Check
	checks, err := s.eng.SaveIntegration(c.Request().Context(), engine.Link{
		APIURL: m.APIURL, ExternalURL: m.ExternalURL, CA: m.CAPEM, StatusPrefix: m.StatusPrefix,
		Aggregate: m.Aggregate, PassUntouched: m.PassUntouched, AutoRotate: m.AutoRotate, DestroyThreads: m.DestroyThreads, RequireSigned: m.RequireSigned, Token: runs.Secret(c.FormValue("token")),
	}, c.who.Name)
	m.Checks = checksView(checks)
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.integrationForm(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/settings/vcs/gitlab", "GitLab is connected.")
}

func checksView(list []engine.Check) []view.Check {
	var out []view.Check
	for _, ch := range list {
		out = append(out, view.Check{Name: ch.Name, OK: ch.OK, Message: ch.Message})
	}
	return out
}

func (s *Server) postTestIntegration(c *request) error {
	checks, err := s.eng.TestIntegration(c.Request().Context())
	if err != nil {
		return err
	}
	return s.integrationPage(c, http.StatusOK, view.IntegrationModel{Checks: checksView(checks)})
}

func (s *Server) postUnlinkIntegration(c *request) error {
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if typed := strings.TrimSpace(c.FormValue("host")); linked && typed != hostOf(in.APIURL) {
		return s.integrationPage(c, http.StatusUnprocessableEntity, view.IntegrationModel{UnlinkError: "That is not it. Type " + hostOf(in.APIURL) + " to unlink it."})
	}
	return s.after(c, s.eng.Unlink(c.who.Name), "/settings/vcs", "GitLab is unlinked. Token and secret are gone; stacks are detached.")
}

// postReveal answers the webhook secret: to the page's script, or on the page itself without scripts.
func (s *Server) postReveal(c *request) error {
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if !linked {
		return errNoIntegration
	}
	err = s.st.Update(func(tx *store.Tx) error {
		return tx.Audit(store.AuditEntry{By: c.who.Name, Action: "integration.reveal_secret", Target: in.APIURL})
	})
	if err != nil {
		return err
	}
	if strings.Contains(c.Request().Header.Get("Accept"), "application/json") {
		return c.JSON(http.StatusOK, map[string]string{"value": in.Secret.Reveal()})
	}
	return s.integrationPage(c, http.StatusOK, view.IntegrationModel{Secret: in.Secret.Reveal()})
}

func (s *Server) postRotate(c *request) error {
	return s.after(c, s.eng.RotateSecret(c.who.Name), "/settings/vcs/gitlab", "There is a new webhook secret. It is being brought to the hooks that Groundcrew made; hooks made by hand must be changed before the old one ends.")
}

func (s *Server) postInstallHook(c *request) error {
	id, err := number(c, "project")
	if err != nil {
		return err
	}
	_, err = s.eng.InstallHook(c.Request().Context(), id, c.who.Name)
	return s.after(c, err, "/settings/vcs/gitlab", "The hook is installed.")
}

func (s *Server) postTestHook(c *request) error {
	id, err := number(c, "project")
	if err != nil {
		return err
	}
	text, err := s.eng.TestHook(c.Request().Context(), id)
	var own *runs.Error
	if errors.As(err, &own) {
		return s.flashTo(c, "/settings/vcs/gitlab", view.KindBad, cut(own.Message, 1000))
	}
	return s.after(c, err, "/settings/vcs/gitlab", text)
}

// postTestHooks tests all hooks and says which failed; the page shows what came of each.
func (s *Server) postTestHooks(c *request) error {
	found, err := s.eng.TestHooks(c.Request().Context())
	if err != nil {
		return err
	}
	var failed []string
	for _, t := range found {
		if t.Err != nil {
			failed = append(failed, t.Project.Path)
		}
	}
	if len(failed) > 0 {
		return s.flashTo(c, "/settings/vcs/gitlab", view.KindBad, cut("The test of "+view.Count(len(failed), "hook", "hooks")+" did not arrive: "+strings.Join(failed, ", ")+". What came of each stands in the list.", 1000))
	}
	return s.flashTo(c, "/settings/vcs/gitlab", view.KindGood, view.Count(len(found), "test", "tests")+" arrived.")
}

// postInstallHooks puts the hook right wherever it is not, and says where that failed.
func (s *Server) postInstallHooks(c *request) error {
	list, err := s.eng.Projects(c.Request().Context())
	if err != nil {
		return err
	}
	done := 0
	var failed []string
	for _, p := range list {
		if !p.Hook.Mendable() {
			continue
		}
		var own *runs.Error
		_, err := s.eng.InstallHook(c.Request().Context(), p.ID, c.who.Name)
		switch {
		case err == nil:
			done++
		case errors.As(err, &own):
			failed = append(failed, p.Path+": "+own.Message)
		default:
			return err
		}
	}
	text := view.Count(done, "hook is", "hooks are") + " installed."
	if len(failed) > 0 {
		return s.flashTo(c, "/settings/vcs/gitlab", view.KindWarn, cut(text+" "+strings.Join(failed, " "), 1000))
	}
	return s.flashTo(c, "/settings/vcs/gitlab", view.KindGood, text)
}
