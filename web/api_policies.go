package web

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// policyAPI are the routes of the REST API that concern policies. They hold for the whole installation, so admins write them;
// whoever checks a text before it is merged needs no more than a writer's key.
func (s *Server) policyAPI() []route {
	const v1 = "/api/v1"
	r := func(method, path string, n need, h handler, doc operation) route {
		return route{method: method, path: v1 + path, need: n, handle: h, doc: &doc}
	}
	page := []string{"cursor", "limit"}
	return []route{
		r(get, "/policies", reader, s.apiPolicies, operation{summary: "Policies by slug; body is null here", out: list[policyJSON]{}, query: append([]string{"search", "type"}, page...)}),
		r(post, "/policies", admin, s.apiCreatePolicy, operation{summary: "Create a policy; a label autoattach:prod attaches it to stacks with the label prod, autoattach:* to all", in: policyInput{}, out: policyJSON{}, status: 201}),
		named("policy.check", r(post, "/policies/check", writer, s.apiCheckPolicy, operation{summary: "Compile a text, and with an input say what it answers; nothing is kept", in: checkInput{}, out: triedJSON{}})),
		r(get, "/policies/:slug", reader, s.apiPolicy, operation{summary: "A policy", out: policyJSON{}}),
		r(patch, "/policies/:slug", admin, s.apiPatchPolicy, operation{summary: "Change the given settings of a policy; its type never changes", in: policyInput{}, out: policyJSON{}}),
		r(remove, "/policies/:slug", admin, s.apiDeletePolicy, operation{summary: "Delete a policy and what is kept of its evaluations", status: 204}),
		named("policy.try", r(post, "/policies/:slug/try", admin, s.apiTryPolicy, operation{summary: "Ask the policy, or a changed text of it, about a kept evaluation's input or a given one; nothing is kept", in: tryInput{}, out: triedJSON{}})),
		r(get, "/policies/:slug/samples", reader, s.apiSamples, operation{summary: "The last evaluations of a policy, newest first, without their inputs", out: list[sampleJSON]{}}),
		r(get, "/policies/:slug/samples/:sample", admin, s.getSample, operation{summary: "What a policy was asked about", text: "application/json"}),
		r(get, "/stacks/:slug/policies", reader, s.apiStackPolicies, operation{summary: "Policies of a stack, in the order they are asked, those that are off last", out: list[stackPolicyJSON]{}}),
	}
}

// A policyJSON is a policy as the API answers it.
type policyJSON struct {
	Slug        string          `json:"slug"`
	Name        string          `json:"name"`
	Type        runs.PolicyType `json:"type"`
	Description string          `json:"description"`
	Body        *string         `json:"body"` // Rego; null in lists
	Labels      []string        `json:"labels"`
	AutoAttach  []string        `json:"autoattach"` // labels of stacks it attaches itself to, from its own labels; “*” is every stack
	Stacks      []string        `json:"stacks"`     // it is attached to by hand, as far as one may see them
	Concerns    int             `json:"concerns"`   // how many stacks, by hand and by label, as far as one may see them
	Off         bool            `json:"off"`
	LastError   string          `json:"last_error"` // why the last evaluation failed
	LastErrorAt *time.Time      `json:"last_error_at"`
	URL         string          `json:"url"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
	UpdatedBy   string          `json:"updated_by"`
}

func (s *Server) policyOut(v policyView) policyJSON {
	p := v.policy
	out := policyJSON{
		Slug: p.Slug, Name: p.Name, Type: p.Type, Description: p.Description, Body: &p.Body, Labels: orEmpty(p.Labels), AutoAttach: orEmpty(p.AutoLabels()),
		Stacks: orEmpty(p.Stacks), Concerns: len(v.uses), Off: p.Off, LastError: p.LastError, URL: s.o.ExternalURL + "/policies/" + p.Slug,
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), UpdatedBy: p.UpdatedBy,
	}
	if !p.LastErrorAt.IsZero() {
		at := p.LastErrorAt.UTC()
		out.LastErrorAt = &at
	}
	return out
}

// A policyInput is what a policy is made or changed with. Fields that are not given keep what they are.
type policyInput struct {
	Name        *string          `json:"name"`
	Type        *runs.PolicyType `json:"type"`
	Description *string          `json:"description"`
	Body        *string          `json:"body"`
	Labels      *[]string        `json:"labels"`
	Stacks      *[]string        `json:"stacks"`
	Off         *bool            `json:"off"`
}

func (in policyInput) apply(p *runs.Policy) {
	give(&p.Name, in.Name)
	give(&p.Type, in.Type)
	give(&p.Description, in.Description)
	give(&p.Body, in.Body)
	give(&p.Labels, in.Labels)
	give(&p.Stacks, in.Stacks)
	give(&p.Off, in.Off)
}

// A policyView is a policy as the one who asks may see it.
type policyView struct {
	policy runs.Policy
	uses   []store.PolicyUse
}

// seenPolicy is what of a policy the one who asks may see. Somebody from GitLab sees a policy when a stack they may read has it, and
// of the stacks it is attached to only those; what it said of others, its last error too, is not there for them.
func (s *Server) seenPolicy(c *request, tx *store.Tx, p runs.Policy, reads func(int64) bool) (v policyView, seen bool, err error) {
	v.policy = p
	if v.uses, err = tx.PolicyUses(p); err != nil || !c.who.restricted() {
		return v, true, err
	}
	may, err := readableStacks(tx, reads)
	if err != nil {
		return v, false, err
	}
	v.uses = slices.DeleteFunc(v.uses, func(u store.PolicyUse) bool { return !may(u.Stack) })
	v.policy.Stacks = slices.DeleteFunc(slices.Clone(p.Stacks), func(slug string) bool { return !may(slug) })
	v.policy.LastError, v.policy.LastErrorAt = "", time.Time{}
	return v, len(v.uses) > 0, nil
}

// readableStacks says of the slug of a stack whether the stack is there and may be read.
func readableStacks(tx *store.Tx, reads func(int64) bool) (func(slug string) bool, error) {
	stacks, err := tx.Stacks()
	return func(slug string) bool {
		i, there := store.FindStack(stacks, slug)
		return there && reads(stacks[i].Project)
	}, err
}

// policy is the policy of the path.
func (s *Server) policy(c *request) (v policyView, err error) {
	reads, err := s.reads(c)
	if err != nil {
		return v, err
	}
	err = s.st.View(func(tx *store.Tx) error {
		p, err := tx.Policy(c.Param("slug"))
		if err != nil {
			return err
		}
		var seen bool
		if v, seen, err = s.seenPolicy(c, tx, p, reads); err == nil && !seen {
			err = runs.NotFoundf("There is no policy %q.", p.Slug)
		}
		return err
	})
	return v, err
}

func policyMatches(p runs.Policy, q, of string) bool {
	return (of == "" || of == string(p.Type)) && (q == "" || holdsAll(p.Name+" "+p.Slug+" "+p.Description+" "+string(p.Type)+" "+strings.Join(p.Labels, " "), q))
}

func (s *Server) apiPolicies(c *request) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	var items []policyJSON
	next := ""
	err = s.st.View(func(tx *store.Tx) error {
		all, err := tx.Policies()
		for _, p := range all {
			if err != nil {
				return err
			}
			if p.Slug <= cursor || !policyMatches(p, c.QueryParam("search"), c.QueryParam("type")) {
				continue
			}
			v, seen, seenErr := s.seenPolicy(c, tx, p, reads)
			if err = seenErr; err != nil || !seen {
				continue
			}
			if len(items) == limit {
				next = items[limit-1].Slug
				return nil
			}
			out := s.policyOut(v)
			out.Body = nil
			items = append(items, out)
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, next)
}

func (s *Server) apiPolicy(c *request) error {
	v, err := s.policy(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.policyOut(v))
}

func (s *Server) apiCreatePolicy(c *request) error {
	var in policyInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var p runs.Policy
	in.apply(&p)
	p, err := s.eng.CreatePolicy(c.Request().Context(), p, c.who.Name)
	if err != nil {
		return err
	}
	v := policyView{policy: p}
	err = s.st.View(func(tx *store.Tx) error {
		v.uses, err = tx.PolicyUses(p)
		return err
	})
	if err != nil {
		return err
	}
	return created(c, "/api/v1/policies/"+p.Slug, s.policyOut(v))
}

func (s *Server) apiPatchPolicy(c *request) error {
	var in policyInput
	if err := decode(c, &in); err != nil {
		return err
	}
	if _, err := s.eng.EditPolicy(c.Request().Context(), c.Param("slug"), c.who.Name, in.apply); err != nil {
		return err
	}
	return s.apiPolicy(c)
}

func (s *Server) apiDeletePolicy(c *request) error {
	if err := s.eng.DeletePolicy(c.Param("slug"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A checkInput is a text that is compiled and, with an input, asked.
type checkInput struct {
	Type  runs.PolicyType `json:"type"`
	Body  string          `json:"body"`
	Input json.RawMessage `json:"input"`
}

// A triedJSON is what a policy said of an input; outcome and answer are null where it was only compiled.
type triedJSON struct {
	Outcome  *runs.PolicyOutcome `json:"outcome"`
	Messages []string            `json:"messages"`
	Answer   *policy.Answer      `json:"answer"`
}

func triedOut(a policy.Answer, r runs.PolicyResult) triedJSON {
	return triedJSON{Outcome: &r.Outcome, Messages: orEmpty(r.Messages), Answer: &a}
}

func (s *Server) apiCheckPolicy(c *request) error {
	var in checkInput
	if err := decode(c, &in); err != nil {
		return err
	}
	p := runs.Policy{Name: "check", Type: in.Type, Body: in.Body}
	if in.Input == nil {
		if err := s.eng.CheckPolicy(c.Request().Context(), p); err != nil {
			return err
		}
		return c.JSON(http.StatusOK, triedJSON{Messages: []string{}})
	}
	answer, result, err := s.eng.TryPolicy(c.Request().Context(), p, in.Input)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, triedOut(answer, result))
}

// A tryInput says what a policy is asked about: the input of a kept evaluation, or a given one.
type tryInput struct {
	Body   *string         `json:"body"` // instead of the policy's own
	Sample string          `json:"sample"`
	Input  json.RawMessage `json:"input"`
}

func (s *Server) apiTryPolicy(c *request) error {
	var in tryInput
	if err := decode(c, &in); err != nil {
		return err
	}
	v, err := s.policy(c)
	if err != nil {
		return err
	}
	give(&v.policy.Body, in.Body)
	input, err := s.inputFor(v.policy.Slug, in.Sample, in.Input)
	if err != nil {
		return err
	}
	answer, result, err := s.eng.TryPolicy(c.Request().Context(), v.policy, input)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, triedOut(answer, result))
}

// inputFor is what a policy is tried on: the given input, else that of a kept evaluation.
func (s *Server) inputFor(slug, id string, given json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(given) > 0:
		return given, nil
	case id == "":
		return nil, runs.Invalidf("input", "There is nothing to ask about. Choose an evaluation that was kept, or give an input.")
	}
	var sm store.Sample
	err := s.st.View(func(tx *store.Tx) (err error) {
		sm, err = tx.Sample(slug, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.st.SampleInput(sm)
}

// getSample answers what a policy was asked about.
func (s *Server) getSample(c *request) error {
	input, err := s.inputFor(c.Param("slug"), c.Param("sample"), nil)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/json; charset=utf-8", input)
}

// A sampleJSON is one evaluation of a policy.
type sampleJSON struct {
	ID       string             `json:"id"`
	Stack    string             `json:"stack"`
	Run      *string            `json:"run"`
	At       time.Time          `json:"at"`
	Outcome  runs.PolicyOutcome `json:"outcome"`
	Messages []string           `json:"messages"`
	Size     int                `json:"size"` // bytes of the input
	Kept     bool               `json:"kept"` // the input is there to be tried on
}

// samplesSeen are the evaluations of a policy that the one who asks may see.
func (s *Server) samplesSeen(c *request, slug string) (list []store.Sample, err error) {
	reads, err := s.reads(c)
	if err != nil {
		return nil, err
	}
	err = s.st.View(func(tx *store.Tx) error {
		if list, err = tx.Samples(slug); err != nil || !c.who.restricted() {
			return err
		}
		may, err := readableStacks(tx, reads)
		list = slices.DeleteFunc(list, func(sm store.Sample) bool { return !may(sm.Stack) })
		return err
	})
	return list, err
}

func (s *Server) apiSamples(c *request) error {
	v, err := s.policy(c)
	if err != nil {
		return err
	}
	list, err := s.samplesSeen(c, v.policy.Slug)
	if err != nil {
		return err
	}
	var items []sampleJSON
	for _, sm := range list {
		items = append(items, sampleJSON{sm.ID, sm.Stack, orNil(sm.Run), sm.At.UTC(), sm.Result.Outcome, orEmpty(sm.Result.Messages), sm.Size, sm.Kept})
	}
	return listed(c, items, "")
}

// A stackPolicyJSON is a policy of a stack.
type stackPolicyJSON struct {
	Policy   string          `json:"policy"` // slug
	Name     string          `json:"name"`
	Type     runs.PolicyType `json:"type"`
	Attached string          `json:"attached"` // person or label
	Label    *string         `json:"label"`    // of one by label; “*” is every stack
	Off      bool            `json:"off"`
}

func (s *Server) apiStackPolicies(c *request) error {
	var items []stackPolicyJSON
	err := s.st.View(func(tx *store.Tx) error {
		st, err := tx.Stack(c.Param("slug"))
		if err != nil {
			return err
		}
		rows, err := policiesOf(tx, st)
		for _, r := range rows {
			item := stackPolicyJSON{Policy: r.Policy.Slug, Name: r.Policy.Name, Type: r.Policy.Type, Attached: "person", Label: orNil(r.Label), Off: r.Policy.Off}
			if r.Label != "" {
				item.Attached = "label"
			}
			items = append(items, item)
		}
		return err
	})
	if err != nil {
		return err
	}
	return listed(c, items, "")
}
