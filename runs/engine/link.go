package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// A Link is what an admin enters to connect GitLab.
type Link struct {
	APIURL         string
	ExternalURL    string      // "" = the same as APIURL
	CA             string      // PEM
	StatusPrefix   string      // "" = groundcrew
	Aggregate      bool        // one status for each kind of run and commit
	AutoRotate     bool        // let GitLab renew the token before it expires
	PassUntouched  bool        // a passing status for merge requests that concern no stack
	DestroyThreads bool        // a thread for what a plan destroys or replaces
	RequireSigned  string      // of store.Integration
	Token          runs.Secret // "" keeps the present one
}

// A Check is one thing that was looked at, and what was found in words.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// check asks GitLab everything a working integration needs, stopping at the first thing that is wrong.
func (e *Engine) check(ctx context.Context, in store.Integration) ([]Check, store.TokenHealth) {
	health := store.TokenHealth{CheckedAt: e.now()}
	var out []Check
	add := func(name string, ok bool, format string, args ...any) bool {
		out = append(out, Check{name, ok, fmt.Sprintf(format, args...)})
		if !ok {
			health.Trouble = out[len(out)-1].Message
		}
		return ok
	}
	if err := checkLink(in); err != nil {
		add("address", false, "%s", err.Error())
		return out, health
	}
	c, err := e.clientOf(in)
	if err != nil {
		add("address", false, "%s", message(err))
		return out, health
	}
	user, err := c.CurrentUser(ctx)
	kind := gitlab.KindOf(err)
	reached := kind != "network" && kind != "tls" && kind != "redirect" && kind != "server" && kind != "not_gitlab"
	if err != nil {
		health.Cause = string(kind)
	}
	if !add("reachable", reached, "%s", orElse(err, reached, "GitLab answers at "+in.APIURL+".")) {
		return out, health
	}
	info, tokenErr := c.TokenSelf(ctx)
	if err != nil && kind == "scope" && tokenErr == nil {
		add("token", true, "The token is valid.")
		add("scope", false, "%s", scopeWords(info.Scopes))
		health.Name, health.Scopes, health.ExpiresAt, health.CreatedAt = info.Name, info.Scopes, info.ExpiresAt, info.CreatedAt
		return out, health
	}
	if !add("token", err == nil, "%s", orElse(err, err == nil, "The token is valid and belongs to @"+user.Username+".")) {
		return out, health
	}
	health.Active, health.Username, health.UserID = true, user.Username, user.ID
	if version, err := c.Version(ctx); err == nil {
		health.Version = version.Version
		add("version", true, "It is GitLab %s.", version.Version)
	} else {
		add("version", false, "The address answers, but it does not say which GitLab it is: %s", message(err))
		return out, health
	}
	if user.IsAdmin && tokenErr == nil && !slices.Contains(info.Scopes, "admin_mode") {
		add("admin mode", true, "@%s is a GitLab administrator. Where admin mode is on, the token sees only the projects its user is a member of. A machine user without admin rights is the safer choice.", user.Username)
	}
	if tokenErr != nil {
		add("scope", true, "The token's scopes cannot be read (%s); writing will show whether api is among them.", message(tokenErr))
		return out, health
	}
	health.Name, health.Scopes, health.ExpiresAt, health.CreatedAt = info.Name, info.Scopes, info.ExpiresAt, info.CreatedAt
	if !slices.Contains(info.Scopes, "api") && !slices.Contains(info.Scopes, "granular") {
		health.Cause = string(gitlab.KindScope)
	}
	if !add("scope", slices.Contains(info.Scopes, "api") || slices.Contains(info.Scopes, "granular"),
		"%s", scopeWords(info.Scopes)) {
		return out, health
	}
	if info.ExpiresAt == nil {
		add("expiry", true, "The token does not expire.")
	} else {
		days := int(info.ExpiresAt.Sub(e.now()).Hours() / 24)
		add("expiry", true, "The token expires on %s at 00:00 UTC, in %d days.", info.ExpiresAt.Format("2 January 2006"), days)
	}
	return out, health
}

func scopeWords(scopes []string) string {
	if slices.Contains(scopes, "api") || slices.Contains(scopes, "granular") {
		return "The token has the scope api."
	}
	return fmt.Sprintf("The token has the scopes %s, but api is needed to write statuses, comments and deployments. Make a token with the scope api.", strings.Join(scopes, ", "))
}

func orElse(err error, ok bool, good string) string {
	if ok || err == nil {
		return good
	}
	return message(err)
}

// checkLink checks what can be known without the network.
func checkLink(in store.Integration) error {
	for _, f := range []struct{ name, value string }{{"api_url", in.APIURL}, {"external_url", in.ExternalURL}} {
		if f.name == "external_url" && f.value == "" {
			continue
		}
		u, err := url.Parse(f.value)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return runs.Invalidf(f.name, "That is not an address like https://gitlab.example.com (http or https, no user, no query).") // not said again: it may hold a password
		}
	}
	if in.Token == "" {
		return runs.Invalidf("token", "Enter an API token with the scope api.")
	}
	if !slices.Contains([]string{"", store.SignedAlways, store.SignedNever}, in.RequireSigned) {
		return runs.Invalidf("require_signed", "“%s” is no choice. Use always, never, or nothing for as soon as a project's hook signs.", in.RequireSigned)
	}
	if err := gitlab.CheckCertificates([]byte(in.CA)); err != nil {
		return runs.Invalidf("ca_pem", "%s", message(err))
	}
	if len(in.StatusPrefix) > 50 || strings.Trim(in.StatusPrefix, "/") != in.StatusPrefix || strings.ContainsFunc(in.StatusPrefix, notInNames) {
		return runs.Invalidf("status_prefix", "“%s” cannot begin the name of an environment in GitLab: letters, digits, spaces and -_/${}. are allowed, up to 50, with no slash at either end.", runs.Shorten(in.StatusPrefix, 50))
	}
	return nil
}

// notInNames reports what GitLab takes in no environment's name.
func notInNames(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !letter && !strings.ContainsRune(" -_/${}.", r)
}

// SaveIntegration checks what was entered against GitLab and keeps it only when everything is right. The
// error of a failed check is ErrInvalid and names it; what was there before stays.
func (e *Engine) SaveIntegration(ctx context.Context, l Link, by string) ([]Check, error) {
	var in store.Integration
	err := e.st.View(func(tx *store.Tx) error {
		var err error
		in, _, err = tx.Integration()
		return err
	})
	if err != nil {
		return nil, err
	}
	prefix := in.Prefix()
	in.APIURL = strings.TrimSuffix(strings.TrimRight(strings.TrimSpace(l.APIURL), "/"), "/api/v4")
	in.ExternalURL = strings.TrimRight(strings.TrimSpace(l.ExternalURL), "/")
	in.CA, in.StatusPrefix = strings.TrimSpace(l.CA), strings.TrimSpace(l.StatusPrefix)
	passes := l.PassUntouched && !in.PassUntouched
	in.Aggregate, in.PassUntouched = l.Aggregate, l.PassUntouched
	in.AutoRotate, in.RequireSigned = l.AutoRotate, l.RequireSigned
	threads := in.DestroyThreads != l.DestroyThreads
	in.DestroyThreads = l.DestroyThreads
	if l.Token != "" {
		in.Token = runs.Secret(strings.TrimSpace(l.Token.Reveal()))
	}
	if err := checkLink(in); err != nil {
		return nil, err
	}
	checks, health := e.check(ctx, in)
	if i := slices.IndexFunc(checks, func(c Check) bool { return !c.OK }); i >= 0 {
		return checks, runs.Invalidf(checkField(checks[i].Name), "%s: %s", checks[i].Name, checks[i].Message)
	}
	err = e.st.Update(func(tx *store.Tx) error {
		old, _, err := tx.Integration()
		if err != nil {
			return err
		}
		in.Health = health
		in.Rotation = nil
		if !in.Linked || in.Secret == "" {
			in.Linked, in.Secret, in.CreatedAt = true, runs.Secret(store.NewToken()), tx.Now()
			in.SigningSecret = newSigningSecret()
		}
		if err := tx.PutIntegration(in); err != nil {
			return err
		}
		if err := tx.ResumeReports(); err != nil {
			return err
		}
		if err := tx.ReportActive(); err != nil {
			return err
		}
		if in.Prefix() != prefix {
			if err := tx.RenameEnvironments(); err != nil {
				return err
			}
		}
		if passes {
			stacks, err := tx.Sources()
			if err != nil {
				return err
			}
			for _, st := range stacks { // a project twice is marked twice and sent once
				if err := tx.ReportAllUntouched(st.Project); err != nil {
					return err
				}
			}
		}
		if threads {
			if err := tx.ReportThreads(""); err != nil {
				return err
			}
		}
		return auditIntegration(tx, by, "integration.save", old, in)
	})
	if err == nil {
		e.lookAll()
	}
	return checks, err
}

// checkField is the form field a failed check belongs to.
func checkField(check string) string {
	switch check {
	case "token", "scope", "expiry":
		return "token"
	default:
		return "api_url"
	}
}

// TestIntegration asks GitLab everything again and remembers what it said of the token.
func (e *Engine) TestIntegration(ctx context.Context) ([]Check, error) {
	_, in, err := e.attached("")
	if err != nil {
		return nil, err
	}
	checks, health := e.check(ctx, in)
	reached := health.Cause == "" || tokenDead(health) // a network failure says nothing of the token
	revived := false
	err = e.st.Update(func(tx *store.Tx) error {
		now, ok, err := tx.Integration()
		if err != nil || !ok || !now.Linked || now.Token != in.Token {
			return err // changed meanwhile: this is old news
		}
		if !reached {
			health.Active, health.Name, health.Username, health.UserID = now.Health.Active, now.Health.Name, now.Health.Username, now.Health.UserID
			health.Scopes, health.ExpiresAt, health.Version = now.Health.Scopes, now.Health.ExpiresAt, now.Health.Version
			health.CreatedAt = now.Health.CreatedAt
		} else if health.Name == "" && !health.Active { // dead: whose it was is worth knowing
			health.Name, health.Username, health.UserID = now.Health.Name, now.Health.Username, now.Health.UserID
			health.Scopes, health.ExpiresAt, health.Version = now.Health.Scopes, now.Health.ExpiresAt, now.Health.Version
		}
		revived = now.Health.Trouble != "" && health.Trouble == ""
		now.Health = health
		if err := tx.PutIntegration(now); err != nil {
			return err
		}
		if revived {
			return tx.ResumeReports()
		}
		return nil
	})
	if revived && err == nil {
		e.lookAll()
	}
	return checks, err
}

// Unlink forgets the token and the webhook secret. Stacks become detached: nothing runs until an
// integration is set up again.
func (e *Engine) Unlink(by string) error {
	return e.editIntegration(by, "integration.unlink", func(in *store.Integration, _ time.Time) {
		*in = store.Integration{APIURL: in.APIURL, ExternalURL: in.ExternalURL, CA: in.CA, StatusPrefix: in.StatusPrefix, CreatedAt: in.CreatedAt}
	})
}

func (e *Engine) editIntegration(by, action string, edit func(*store.Integration, time.Time)) error {
	return e.st.Update(func(tx *store.Tx) error {
		in, ok, err := tx.Integration()
		if err != nil {
			return err
		}
		if !ok || !in.Linked {
			return errDetached
		}
		old := in
		edit(&in, tx.Now())
		if err := tx.PutIntegration(in); err != nil {
			return err
		}
		return auditIntegration(tx, by, action, old, in)
	})
}

// auditIntegration writes down what changed of the link to GitLab; tokens and secrets as digests.
func auditIntegration(tx *store.Tx, by, action string, old, in store.Integration) error {
	changes, err := store.Changed(old, in)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name          string
		before, after runs.Secret
	}{{"token", old.Token, in.Token}, {"webhook_secret", old.Secret, in.Secret}, {"signing_secret", old.SigningSecret, in.SigningSecret}} {
		if f.before != f.after {
			changes = append(changes, store.AuditChange{Field: f.name, Before: tx.Digest(f.name, f.before), After: tx.Digest(f.name, f.after)})
		}
	}
	return tx.Audit(store.AuditEntry{By: by, Action: action, Target: in.APIURL, Changes: changes})
}

// linkedClient is the client of the present integration.
func (e *Engine) linkedClient() (*gitlab.Client, error) {
	_, in, err := e.attached("")
	if err != nil {
		return nil, err
	}
	return e.clientOf(in)
}

// clientOf makes the client for an integration's settings, and keeps it as long as they stay the same, so that
// connections are reused.
func (e *Engine) clientOf(in store.Integration) (*gitlab.Client, error) {
	key := settingsKey(in)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil && e.clientKey == key {
		return e.client, nil
	}
	c, err := gitlab.New(gitlab.Options{
		BaseURL: in.APIURL, Token: gitlab.Token(in.Token.Reveal()), CA: []byte(in.CA),
		UserAgent: "Groundcrew/" + cmp.Or(e.o.Version, "dev"), Transport: e.o.Transport,
		Limits: func(l gitlab.Limits) { e.budget.saw(l, e.now()) }, Exchanged: e.o.Exchanged,
	})
	if err != nil {
		return nil, runs.Invalidf("api_url", "%s", err.Error())
	}
	e.client, e.clientKey = c, key
	return c, nil
}

// settingsKey tells one set of settings from another.
func settingsKey(in store.Integration) string {
	return in.APIURL + "\x00" + in.CA + "\x00" + in.Token.Reveal()
}

// gitlabError makes GitLab's refusal one of the four kinds, in words. absent says what a 404 means here.
func gitlabError(err error, absent string) error {
	if err == nil {
		return nil
	}
	kind := gitlab.KindOf(err)
	switch {
	case kind == "not_found":
		return runs.NotFoundf("GitLab says: %s.", absent)
	case kind.TokenTrouble():
		return runs.Conflictf("GitLab refused the token: %s Change the token under VCS providers.", sentence(err.Error()))
	case kind == "":
		return err
	default:
		return runs.Conflictf("GitLab could not be asked: %s", sentence(err.Error()))
	}
}

// message is an error's text for people. Texts from inside are not shown.
func message(err error) string {
	var e *runs.Error
	if errors.As(err, &e) {
		return e.Message
	}
	if gitlab.KindOf(err) != "" {
		return err.Error()
	}
	return "an internal error; the server's log has it"
}

func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}
