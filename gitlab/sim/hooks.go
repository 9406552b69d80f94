package sim

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A hook of a project. Its secrets are written, never shown.
type hook struct {
	id                     int64
	url, name, description string
	token                  string
	signingKey             []byte
	flags                  map[string]bool
	verifySSL              bool
	branchFilter, strategy string
	headers                map[string]string
	created                time.Time
	failures               int // in a row
	disabledUntil          time.Time
}

// hookFlags are the events of a project hook (§7).
var hookFlags = []string{
	"push_events", "tag_push_events", "merge_requests_events", "repository_update_events", "issues_events", "confidential_issues_events",
	"note_events", "confidential_note_events", "pipeline_events", "wiki_page_events", "deployment_events", "feature_flag_events",
	"job_events", "releases_events", "milestone_events", "emoji_events", "resource_access_token_events", "vulnerability_events",
}

func (c *call) hookEntity(h *hook) object {
	e := object{
		"id": h.id, "url": h.url, "name": h.name, "description": h.description, "created_at": isoTime(h.created),
		"enable_ssl_verification": h.verifySSL, "alert_status": h.alertStatus(c.now()), "disabled_until": nil, "url_variables": []any{},
		"push_events_branch_filter": h.branchFilter, "branch_filter_strategy": h.strategy, "custom_webhook_template": nil,
		"custom_headers": renderAll(sortedKeys(h.headers), func(k string) any { return object{"key": k} }),
		"token_present":  h.token != "", "signing_token_present": h.signingKey != nil, "project_id": c.project.id,
	}
	for _, flag := range hookFlags {
		e[flag] = h.flags[flag]
	}
	if h.alertStatus(c.now()) == "temporarily_disabled" {
		e["disabled_until"] = isoTime(h.disabledUntil)
	}
	return e
}

func (c *call) listHooks() error {
	return page(c, c.project.hooks, func(h *hook) any { return c.hookEntity(h) })
}

func (c *call) wantedHook() (*hook, error) {
	id, _ := strconv.ParseInt(c.segment["hook"], 10, 64) // 0 is none
	for _, h := range c.project.hooks {
		if h.id == id {
			return h, nil
		}
	}
	return nil, noRecord()
}

func (c *call) getHook() error {
	h, err := c.wantedHook()
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.hookEntity(h))
}

// maxHooks is the default limit of a project (§7).
const maxHooks = 100

func (c *call) createHook() error {
	h := &hook{flags: map[string]bool{"push_events": true}, verifySSL: true, strategy: "wildcard", headers: map[string]string{}, created: c.now()}
	if err := c.fillHook(h); err != nil {
		return err
	}
	if len(c.project.hooks) >= maxHooks {
		return invalid(http.StatusUnprocessableEntity, "base", "Maximum number of project hooks (100) exceeded")
	}
	h.id = c.id("hook")
	c.project.hooks = append(c.project.hooks, h)
	return c.answer(http.StatusCreated, c.hookEntity(h))
}

// editHook resets the secret token when the URL changes, unless it is sent again (GOTCHAS 44).
func (c *call) editHook() error {
	h, err := c.wantedHook()
	if err != nil {
		return err
	}
	if len(c.in) == 0 {
		return parameter(http.StatusBadRequest, "No parameters provided")
	}
	changed := *h
	changed.flags, changed.headers = cloneMap(h.flags), cloneMap(h.headers)
	if c.in.has("url") && c.in.text("url") != h.url {
		changed.token = ""
	}
	if err := c.fillHook(&changed); err != nil {
		return err
	}
	*h = changed
	return c.answer(http.StatusOK, c.hookEntity(h))
}

func cloneMap[V any](m map[string]V) map[string]V {
	clone := map[string]V{}
	maps.Copy(clone, m)
	return clone
}

// fillHook takes what was sent; custom headers merge with the stored ones (§7).
func (c *call) fillHook(h *hook) error {
	for name, field := range map[string]*string{
		"url": &h.url, "name": &h.name, "description": &h.description, "token": &h.token,
		"push_events_branch_filter": &h.branchFilter, "branch_filter_strategy": &h.strategy,
	} {
		*field = c.in.textOr(name, *field)
	}
	for _, flag := range hookFlags {
		if c.in.has(flag) {
			h.flags[flag] = c.in.flag(flag)
		}
	}
	if c.in.has("enable_ssl_verification") {
		h.verifySSL = c.in.flag("enable_ssl_verification")
	}
	if !c.validHookURL(h.url) {
		return parameter(http.StatusUnprocessableEntity, "Invalid url given")
	}
	if _, err := regexp.Compile(h.branchFilter); h.strategy == "regex" && err != nil {
		return parameter(http.StatusUnprocessableEntity, "Invalid branch filter given")
	}
	if err := c.fillSigningKey(h); err != nil {
		return err
	}
	return c.fillHeaders(h)
}

func (c *call) fillSigningKey(h *hook) error {
	if !c.in.has("signing_token") {
		return nil
	}
	text, ok := strings.CutPrefix(c.in.text("signing_token"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) != 32 {
		return invalid(http.StatusUnprocessableEntity, "signing_token", "is invalid")
	}
	h.signingKey = key
	return nil
}

var headerForm = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// maxHeaders is how many custom headers a hook may have (§7).
const maxHeaders = 20

func (c *call) fillHeaders(h *hook) error {
	all, _ := c.in["custom_headers"].([]any)
	for _, v := range all {
		pair, _ := v.(map[string]any)
		key := input(pair).text("key")
		if !headerForm.MatchString(key) {
			return parameter(http.StatusUnprocessableEntity, "Custom headers validation failed")
		}
		h.headers[key] = input(pair).text("value")
	}
	if len(h.headers) > maxHeaders {
		return parameter(http.StatusUnprocessableEntity, "Custom headers validation failed")
	}
	return nil
}

// validHookURL wants http(s) and a host, which must not be local where local hooks are refused (§W2, GOTCHAS 43).
func (s *Server) validHookURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(text, " \n") {
		return false
	}
	own, _ := url.Parse(s.base) // base was a URL when it was set
	return !s.opt.RefuseLocalHooks || !localHost(u.Hostname()) && (own == nil || own.Host != u.Host)
}

func parseIP(host string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(host)
	return ip, err == nil
}

func (c *call) deleteHook() error {
	h, err := c.wantedHook()
	if err != nil {
		return err
	}
	c.project.hooks = slices.DeleteFunc(c.project.hooks, func(other *hook) bool { return other == h })
	return c.answer(http.StatusNoContent, nil)
}

// outside runs f without mu, for handlers that wait for somebody who may call back.
func (c *call) outside(f func()) {
	c.mu.Unlock()
	defer c.mu.Lock()
	f()
}

// testHook sends a sample of real data and waits for the receiver: 422 without data or when it did not answer well (§7).
func (c *call) testHook() error {
	h, err := c.wantedHook()
	if err != nil {
		return err
	}
	if c.limited("hooktest/"+itoa(c.project.id)+"/"+itoa(c.user.ID), 5, time.Minute) {
		return tooMany("endpoint")
	}
	e, missing, err := c.sample(c.segment["trigger"])
	if err != nil {
		return err
	}
	if missing != "" {
		return message(http.StatusUnprocessableEntity, missing)
	}
	d := c.newDelivery(h, e, newUUID())
	var done HookDelivery
	c.outside(func() { done = c.deliver(c.project, d) })
	if done.Status < 200 || done.Status > 299 {
		reason := done.Error
		if reason == "" {
			reason = "Hook execution failed: the receiver answered " + strconv.Itoa(done.Status)
		}
		return message(http.StatusUnprocessableEntity, reason)
	}
	return c.answer(http.StatusCreated, object{"message": "201 Created"})
}

// sample is an event made of real data, or what is missing for one.
func (c *call) sample(trigger string) (e event, missing string, err error) {
	p := c.project
	switch {
	case trigger == "push_events" && p.defaultBranch != "":
		head := p.commitAt(p.defaultBranch)
		from := append(slices.Clone(head.parents), c.project.repo.zero())[0]
		e, err = c.pushEvent(p, c.user, refChange{ref: "refs/heads/" + p.defaultBranch, before: from, after: head.sha})
		return e, "", err
	case trigger == "push_events":
		return e, "Ensure the project has at least one commit.", nil
	case trigger == "merge_requests_events" && len(p.mergeRequests) > 0:
		e = c.mergeRequestEvent(p.mergeRequests[len(p.mergeRequests)-1], c.user, "", "", object{})
		return e, "", nil
	case trigger == "merge_requests_events":
		return e, "Ensure the project has merge requests.", nil
	default:
		return e, "Ensure the project has data for " + trigger + ".", nil
	}
}

func (c *call) deliveriesOf(h *hook) []*delivery {
	var found []*delivery
	for _, d := range slices.Backward(c.project.deliveries) {
		if d.hook == h {
			found = append(found, d)
		}
	}
	return found
}

func (c *call) listHookEvents() error {
	h, err := c.wantedHook()
	if err != nil {
		return err
	}
	return page(c, c.deliveriesOf(h), func(d *delivery) any {
		status := strconv.Itoa(d.Status)
		if d.Status == 0 {
			status = "internal error"
		}
		sent := d.Header.Clone()
		if sent.Get("X-Gitlab-Token") != "" {
			sent.Set("X-Gitlab-Token", "[REDACTED]")
		}
		return object{
			"id": d.ID, "url": d.URL, "trigger": strings.ReplaceAll(strings.ToLower(d.Event), " ", "_"), "request_headers": sent,
			"request_data": string(d.Body), "response_headers": object{}, "response_body": d.ResponseBody,
			"execution_duration": d.Duration.Seconds(), "response_status": status,
		}
	})
}

func (c *call) resendHookEvent() error {
	h, err := c.wantedHook()
	if err != nil {
		return err
	}
	if c.limited("hookresend/"+itoa(c.project.id)+"/"+itoa(c.user.ID), 5, time.Minute) {
		return tooMany("endpoint")
	}
	for _, d := range c.deliveriesOf(h) {
		if itoa(d.ID) != c.segment["event"] {
			continue
		}
		var done HookDelivery
		c.outside(func() { done = c.deliver(c.project, *d) })
		return c.answer(http.StatusCreated, object{"response_status": done.Status})
	}
	return noRecord()
}

// Hooks lists the hooks of a project by id.
func (s *Server) Hooks(project int64) []Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByID(project)
	if err != nil {
		return nil
	}
	var all []Hook
	for _, h := range p.hooks {
		all = append(all, s.hookView(h))
	}
	return all
}

func (s *Server) hookView(h *hook) Hook {
	view := Hook{ID: h.id, URL: h.url, Name: h.name, HasToken: h.token != "", Failures: h.failures, AlertStatus: h.alertStatus(s.now())}
	for flag, on := range h.flags {
		if on {
			view.Events = append(view.Events, flag)
		}
	}
	slices.Sort(view.Events)
	return view
}
