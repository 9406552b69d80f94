package web

import (
	"net/http"
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/store"
)

// A panel is a linked site with a stack that asks for approvals and a plan of it that ann made.
type panel struct {
	*site
	run   runs.Run
	admin *http.Client
}

func newPanel(t *testing.T, need int) *panel {
	s, f := linked(t)
	p := &panel{site: s}
	ann := s.user("ann", store.Admin)
	a := &acting{site: s, f: f}
	st := a.aStack()
	s.update(func(tx *store.Tx) (err error) {
		st.Approvals = need
		if err := tx.PutStack(st); err != nil {
			return err
		}
		p.run, err = tx.Apply(tx.NewID(), runs.Requested{Meta: now(), Run: runs.Run{
			Stack: st.Slug, Project: st.Project, Type: runs.Tracked, Branch: "main", Commit: runs.Commit{SHA: strings.Repeat("c", 40), Title: "Open a port"}, TriggeredBy: "ann",
			Author: runs.Person{User: ann.ID},
		}})
		return err
	})
	p.run = s.apply(p.run.ID, toPlan()...)
	p.admin = s.byPassword("ann")
	return p
}

func (p *panel) page(b *http.Client) string {
	p.t.Helper()
	return p.get(b, "/runs/"+p.run.ID).body
}

// The page shows who approved, who may, and why the plan cannot be confirmed yet.
func TestReviewsOnThePage(t *testing.T) {
	p := newPanel(t, 1)
	p.user("bob", store.Writer)
	bob := p.byPassword("bob")
	page := p.page(bob)
	for _, want := range []string{"Approvals: 0 of 1", "/approve", "/reject", "It is not approved yet"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	own := p.page(p.admin)
	if strings.Contains(own, ">Approve<") || !strings.Contains(own, ">Reject<") || !strings.Contains(own, "You started this") {
		t.Error("who started it is offered to approve it, or not to reject it")
	}
	if got := p.post(p.admin, "/runs/"+p.run.ID+"/approve"); got.status != http.StatusForbidden {
		t.Errorf("the author approves: %d", got.status)
	}
	if got := p.post(bob, "/runs/"+p.run.ID+"/approve", "fingerprint", "other"); got.status != http.StatusConflict {
		t.Errorf("another plan than was shown: %d", got.status)
	}
	if got := p.post(bob, "/runs/"+p.run.ID+"/approve", "fingerprint", "f1", "note", "<b>looks</b> good"); got.status != http.StatusSeeOther {
		t.Fatalf("approve: %d %s", got.status, got.body)
	}
	page = p.page(p.admin)
	for _, want := range []string{"bob", "&lt;b&gt;looks&lt;/b&gt; good", ">approved<"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if got := p.post(p.admin, "/runs/"+p.run.ID+"/confirm", "fingerprint", "f1"); got.status != http.StatusSeeOther {
		t.Errorf("confirm: %d %s", got.status, got.body)
	}
	if page := p.page(bob); !strings.Contains(page, "Approved by 1 person") {
		t.Error("a run that went on does not say who approved it")
	}
}

// A key's review is the review of the person who made the key; what nobody made cannot review.
func TestWhoseReviewAKeysIs(t *testing.T) {
	p := newPanel(t, 2)
	bob := p.user("bob", store.Admin)
	key := func(owner string) string {
		t.Helper()
		var text string
		p.update(func(tx *store.Tx) (err error) {
			_, text, err = tx.AddAPIKey(store.APIKey{Name: "ci", Role: store.Writer, CreatedBy: "bob", Owner: owner})
			return err
		})
		return text
	}
	approve := func(token string) answer {
		t.Helper()
		return p.api(token, post, "/runs/"+p.run.ID+"/approve", `{}`)
	}
	if got := approve(bootstrap); got.status != http.StatusForbidden || !strings.Contains(got.body, "A review is a person") {
		t.Errorf("the bootstrap token: %d %s", got.status, got.body)
	}
	if got := approve(key("")); got.status != http.StatusForbidden {
		t.Errorf("a key that nobody made: %d", got.status)
	}
	for range 2 {
		got := approve(key(bob.ID))
		if got.status != http.StatusOK || !strings.Contains(got.body, `"text":"1 of 2 approvals (API key ci)"`) || !strings.Contains(got.body, "waits for approval") {
			t.Errorf("a key of bob's: %d %s", got.status, got.body)
		}
	}
	p.update(func(tx *store.Tx) error {
		bob.DisabledAt = tx.Now()
		_, err := tx.PutUser(bob)
		return err
	})
	if got := approve(key(bob.ID)); got.status != http.StatusUnauthorized {
		t.Errorf("a key of somebody who may not sign in: %d", got.status)
	}
}

// A stack's approvals are set in its form and by the API, within bounds.
func TestApprovalsAreASetting(t *testing.T) {
	p := newPanel(t, 0)
	for body, want := range map[string]string{`{"approvals":11}`: "11 approvals cannot be asked for", `{"approvals":-1}`: "-1 approvals cannot be asked for"} {
		if got := p.api(bootstrap, "PATCH", "/stacks/"+p.run.Stack, body); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := p.post(p.admin, "/stacks/"+p.run.Stack+"/settings", "name", "s1", "project", "infra/network", "branch", "main", "project_root", "live", "tool", "opentofu", "plan", "head", "approvals", "two"); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "“two” is no number") {
		t.Errorf("a word: %d", got.status)
	}
	if got := p.api(bootstrap, "PATCH", "/stacks/"+p.run.Stack, `{"approvals":2}`); !strings.Contains(got.body, `"approvals":2`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := p.api(bootstrap, "GET", "/runs/"+p.run.ID, ""); !strings.Contains(got.body, "0 of 2 approvals") || !strings.Contains(got.body, `"reason":"waits for approval`) {
		t.Errorf("the run that waited before: %s", got.body)
	}
}
