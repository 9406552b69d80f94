package web

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
	"groundcrew/web/view"
)

// policyPages are the pages of policies.
func (s *Server) policyPages() []route {
	p := func(method, path string, n need, h handler) route {
		return route{method: method, path: path, need: n, handle: h}
	}
	return []route{
		p(get, "/policies", reader, s.getPolicies),
		p(get, "/policies/new", admin, s.getNewPolicy),
		p(post, "/policies", admin, s.postNewPolicy),
		p(get, "/policies/:slug", reader, s.getPolicy),
		p(post, "/policies/:slug", admin, s.postPolicy),
		named("policy.try", p(post, "/policies/:slug/try", admin, s.postTryPolicy)),
		p(post, "/policies/:slug/switch", admin, s.postSwitchPolicy),
		p(post, "/policies/:slug/delete", admin, s.postDeletePolicy),
		p(get, "/stacks/:slug/policies", reader, s.getStackPolicies),
	}
}

func (s *Server) getPolicies(c *request) error {
	p, err := s.page(c, "Policies", view.NavPolicies)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	m := view.PoliciesModel{Q: c.QueryParam("q"), Type: c.QueryParam("type"), CanCreate: c.who.has(store.Admin)}
	next := ""
	err = s.st.View(func(tx *store.Tx) (err error) {
		next, err = s.fillPolicies(tx, c, &m, reads)
		return err
	})
	if err != nil {
		return err
	}
	total := m.Pager.Total
	m.Pager = pager(c, len(m.Rows), next)
	m.Pager.Total = total
	return render(c, http.StatusOK, view.PoliciesPage(p, m))
}

// fillPolicies finds the rows of the list, and the cursor of the next page.
func (s *Server) fillPolicies(tx *store.Tx, c *request, m *view.PoliciesModel, reads func(int64) bool) (next string, err error) {
	all, err := tx.Policies()
	if err != nil {
		return "", err
	}
	cursor := c.QueryParam("cursor")
	for _, p := range all {
		onPage := policyMatches(p, m.Q, m.Type) && p.Slug > cursor && len(m.Rows) < pageRows
		v := policyView{policy: p}
		if onPage || c.who.restricted() {
			var seen bool
			if v, seen, err = s.seenPolicy(c, tx, p, reads); err != nil {
				return "", err
			}
			if !seen {
				continue
			}
		}
		m.Any = true
		if !policyMatches(p, m.Q, m.Type) {
			continue
		}
		m.Pager.Total++
		switch {
		case onPage:
			m.Rows = append(m.Rows, view.PolicyRow{Policy: v.policy, Stacks: len(v.uses)})
		case p.Slug > cursor:
			next = m.Rows[pageRows-1].Policy.Slug
		}
	}
	return next, nil
}

// getNewPolicy shows the form of a type, with a text to begin with.
func (s *Server) getNewPolicy(c *request) error {
	t := runs.PolicyType(c.QueryParam("type"))
	if !slices.Contains(runs.PolicyTypes, t) {
		t = runs.PolicyPlan
	}
	return s.newPolicyPage(c, http.StatusOK, view.PolicyNewModel{Type: t, Values: view.PolicyForm{Body: policy.Starter(t)}})
}

func (s *Server) newPolicyPage(c *request, status int, m view.PolicyNewModel) error {
	p, err := s.page(c, "New policy", view.NavPolicies, view.Crumb{Text: "Policies", URL: "/policies"}, view.Crumb{Text: "New policy"})
	if err != nil {
		return err
	}
	m.Rules = policy.Rules(m.Type)
	return render(c, status, view.PolicyNewPage(p, m))
}

func readPolicyForm(c *request) view.PolicyForm {
	return view.PolicyForm{
		Name: c.FormValue("name"), Description: unixLines(c.FormValue("description")), Labels: c.FormValue("labels"), Stacks: c.FormValue("stacks"),
		Body: unixLines(c.FormValue("body")),
	}
}

func fillPolicy(p *runs.Policy, f view.PolicyForm) {
	p.Name, p.Description, p.Labels, p.Stacks, p.Body = f.Name, f.Description, split(f.Labels, ","), split(f.Stacks, ","), f.Body
}

func policyForm(p runs.Policy) view.PolicyForm {
	return view.PolicyForm{Name: p.Name, Description: p.Description, Labels: strings.Join(p.Labels, ", "), Stacks: strings.Join(p.Stacks, ", "), Body: p.Body}
}

func (s *Server) postNewPolicy(c *request) error {
	m := view.PolicyNewModel{Type: runs.PolicyType(c.FormValue("type")), Values: readPolicyForm(c)}
	p := runs.Policy{Type: m.Type}
	fillPolicy(&p, m.Values)
	p, err := s.eng.CreatePolicy(c.Request().Context(), p, c.who.Name)
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.newPolicyPage(c, http.StatusUnprocessableEntity, m)
	}
	return s.after(c, err, "/policies/"+p.Slug, "The policy is there. It is asked from now on about the stacks it concerns.")
}

func (s *Server) getPolicy(c *request) error {
	return s.policyPage(c, http.StatusOK, nil, view.PolicyModel{})
}

// shownStacks is how many of the stacks that a policy concerns its page names.
const shownStacks = 20

// policyPage shows a policy, with the form as it was typed where it was.
func (s *Server) policyPage(c *request, status int, typed *view.PolicyForm, m view.PolicyModel) error {
	v, err := s.policy(c)
	if err != nil {
		return err
	}
	m.Policy, m.Total, m.Rules, m.Values = v.policy, len(v.uses), policy.Rules(v.policy.Type), policyForm(v.policy)
	if typed != nil {
		m.Values = *typed
	}
	for _, u := range v.uses[:min(shownStacks, len(v.uses))] {
		m.Stacks = append(m.Stacks, view.PolicyStack{Slug: u.Stack, Label: u.Label})
	}
	samples, err := s.samplesSeen(c, v.policy.Slug)
	if err != nil {
		return err
	}
	for _, sm := range samples {
		m.Samples = append(m.Samples, view.PolicySample{ID: sm.ID, Stack: sm.Stack, Run: sm.Run, Kept: sm.Kept, Result: sm.Result})
	}
	if m.Try.Sample == "" && m.Try.Input == "" && len(samples) > 0 && samples[0].Kept {
		m.Try.Sample = samples[0].ID
	}
	m.Edit, m.Switch, m.Delete = c.who.may(store.Admin, "change a policy"), c.who.may(store.Admin, "switch a policy"), c.who.may(store.Admin, "delete a policy")
	p, err := s.page(c, v.policy.Name+" · Policy", view.NavPolicies, view.Crumb{Text: "Policies", URL: "/policies"}, view.Crumb{Text: v.policy.Name, URL: "/policies/" + v.policy.Slug})
	if err != nil {
		return err
	}
	return render(c, status, view.PolicyPage(p, m))
}

func (s *Server) postPolicy(c *request) error {
	typed := readPolicyForm(c)
	_, err := s.eng.EditPolicy(c.Request().Context(), c.Param("slug"), c.who.Name, func(p *runs.Policy) { fillPolicy(p, typed) })
	if fields, text, ok := formErrors(err); ok {
		return s.policyPage(c, http.StatusUnprocessableEntity, &typed, view.PolicyModel{Errors: fields, Error: text})
	}
	return s.after(c, err, "/policies/"+c.Param("slug"), "The policy is saved. It is asked like this from now on.")
}

// postTryPolicy asks the text of the form and keeps nothing of it.
func (s *Server) postTryPolicy(c *request) error {
	v, err := s.policy(c)
	if err != nil {
		return err
	}
	typed := readPolicyForm(c)
	m := view.PolicyModel{Try: view.PolicyTry{Sample: c.FormValue("sample"), Input: unixLines(c.FormValue("input"))}}
	input, err := s.inputFor(v.policy.Slug, m.Try.Sample, json.RawMessage(strings.TrimSpace(m.Try.Input)))
	if fields, text, ok := formErrors(err); ok {
		if m.Try.Errors = fields; text != "" {
			m.Try.Errors = map[string]string{"sample": text}
		}
		return s.policyPage(c, http.StatusUnprocessableEntity, &typed, m)
	}
	if err != nil {
		return err
	}
	v.policy.Body = typed.Body
	_, result, err := s.eng.TryPolicy(c.Request().Context(), v.policy, input)
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		return s.policyPage(c, http.StatusUnprocessableEntity, &typed, m)
	}
	if err != nil {
		return err
	}
	m.Try.Result = &result
	return s.policyPage(c, http.StatusOK, &typed, m)
}

func (s *Server) postSwitchPolicy(c *request) error {
	off, slug := c.FormValue("off") != "", c.Param("slug")
	_, err := s.eng.EditPolicy(c.Request().Context(), slug, c.who.Name, func(p *runs.Policy) { p.Off = off })
	text := "The policy is on. It is asked from now on."
	if off {
		text = "The policy is off. It is not asked until it is switched on."
	}
	return s.after(c, err, "/policies/"+slug, text)
}

func (s *Server) postDeletePolicy(c *request) error {
	v, err := s.policy(c)
	if err != nil {
		return err
	}
	if c.FormValue("slug") != v.policy.Slug {
		text := "That is not the policy's address. Type " + v.policy.Slug + " to delete it."
		return s.policyPage(c, http.StatusUnprocessableEntity, nil, view.PolicyModel{DeleteError: text})
	}
	return s.after(c, s.eng.DeletePolicy(v.policy.Slug, c.who.Name), "/policies", "The policy "+v.policy.Name+" is deleted.")
}

func (s *Server) getStackPolicies(c *request) error {
	p, head, err := s.stackPage(c, view.TabPolicies)
	if err != nil {
		return err
	}
	m := view.StackPoliciesModel{Head: head, CanCreate: c.who.has(store.Admin)}
	err = s.st.View(func(tx *store.Tx) (err error) {
		m.Rows, err = policiesOf(tx, head.Stack)
		return err
	})
	if err != nil {
		return err
	}
	if c.who.restricted() {
		for i := range m.Rows {
			m.Rows[i].Policy.LastError = "" // it may be of another project's run
		}
	}
	return render(c, http.StatusOK, view.StackPoliciesPage(p, m))
}

// policiesOf are the policies that concern a stack in the order they are asked, and why; those that are off come last.
func policiesOf(tx *store.Tx, st runs.Stack) (rows []view.StackPolicyRow, err error) {
	list, err := tx.PoliciesOf(st)
	if err != nil {
		return nil, err
	}
	all, err := tx.Policies()
	list = append(list, slices.DeleteFunc(all, func(p runs.Policy) bool { return !p.Off })...)
	for _, p := range list {
		if label, concerns := p.Concerns(st); concerns {
			rows = append(rows, view.StackPolicyRow{Policy: p, Label: label})
		}
	}
	return rows, err
}

// policiesFound are the policies that the palette offers.
func (s *Server) policiesFound(c *request, tx *store.Tx, q string, reads func(int64) bool) (out []suggestion, err error) {
	all, err := tx.Policies()
	for _, p := range all {
		if err != nil || len(out) == findPolicies {
			break
		}
		if !policyMatches(p, q, "") {
			continue
		}
		var seen bool
		if _, seen, err = s.seenPolicy(c, tx, p, reads); seen {
			out = append(out, suggestion{"/policies/" + p.Slug, p.Name, "policy · " + string(p.Type)})
		}
	}
	return out, err
}
