package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

const noDatabases = `package groundcrew

deny contains msg if {
	some rc in input.plan.resource_changes
	rc.type == "db"
	msg := sprintf("%s would go", [rc.address])
}
`

// text is a text as JSON.
func text(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func (s *site) sample(slug, stack string, outcome runs.PolicyOutcome, input string, said ...string) (id string) {
	s.t.Helper()
	must(s.t, s.st.AddSample(store.Sample{Policy: slug, Stack: stack, Result: runs.PolicyResult{Policy: slug, Type: runs.PolicyPlan, Outcome: outcome, Messages: said}}, []byte(input)))
	must(s.t, s.st.View(func(tx *store.Tx) error {
		list, err := tx.Samples(slug)
		id = list[0].ID
		return err
	}))
	return id
}

func TestPoliciesOverTheAPI(t *testing.T) {
	s := newSite(t)
	s.stack("net")
	s.stack("edge")
	p := s.apiOK(201, post, "/policies", `{"name":"No databases","type":"plan","body":`+text(noDatabases)+`,"stacks":["net"],"labels":["safety","autoattach:*"]}`)
	if p["slug"] != "no-databases" || fmt.Sprint(p["stacks"], p["autoattach"], p["concerns"], p["off"]) != "[net] [*] 2 false" || p["body"] != noDatabases {
		t.Errorf("created %v", p)
	}
	for body, want := range map[string]string{
		`{"name":"x","type":"plan","body":"package groundcrew\ndeny contains msg if {\n\tmsg := 1 +\n}"}`: `4:1: unexpected } token`,
		`{"name":"x","type":"push","body":"package groundcrew\ndeny contains \"x\""}`:                     `Those are: ignore, track, propose.`,
		`{"name":"x","type":"login","body":"package groundcrew"}`:                                         `is no type of policy`,
		`{"name":"x","type":"plan","body":` + text(noDatabases) + `,"stacks":["none"]}`:                   `There is no stack “none”`,
	} {
		s.api(bootstrap, post, "/policies", body).wantTexts(t, 422, []string{want})
	}
	s.apiOK(409, post, "/policies", `{"name":"no DATABASES","type":"plan","body":`+text(noDatabases)+`}`)
	s.apiOK(422, patch, "/policies/no-databases", `{"type":"push"}`)
	s.api(bootstrap, patch, "/policies/no-databases", `{"body":"package groundcrew\ndeny contains x"}`).wantTexts(t, 422, []string{"var x is unsafe"})
	if got := s.apiOK(200, patch, "/policies/no-databases", `{"labels":["safety"],"off":true}`); got["concerns"] != 1.0 || got["off"] != true || got["body"] != noDatabases {
		t.Errorf("changed %v", got)
	}
	s.apiOK(200, patch, "/policies/no-databases", `{"off":false}`)
	s.api(bootstrap, get, "/stacks/net/policies", "").wantTexts(t, 200, []string{`{"policy":"no-databases","name":"No databases","type":"plan","attached":"person","label":null,"off":false}`})
	s.api(bootstrap, get, "/stacks/edge/policies", "").wantTexts(t, 200, []string{`"items":[]`})
	s.api(bootstrap, get, "/policies?search=safety&type=plan", "").wantTexts(t, 200, []string{`"slug":"no-databases"`, `"body":null`})
	s.api(bootstrap, get, "/policies?type=push", "").wantTexts(t, 200, []string{`"items":[]`})

	// What it said, and what another text would say of the same.
	id := s.sample("no-databases", "net", runs.OutcomeDeny, `{"plan":{"resource_changes":[{"address":"db.a","type":"db"},{"address":"vm.a","type":"vm"}]}}`, "db.a would go")
	s.api(bootstrap, get, "/policies/no-databases/samples", "").wantTexts(t, 200, []string{`"stack":"net"`, `"outcome":"deny"`, `"messages":["db.a would go"]`, `"kept":true`})
	s.api(bootstrap, get, "/policies/no-databases/samples/"+id, "").wantTexts(t, 200, []string{`{"address":"db.a","type":"db"}`})
	s.apiOK(404, get, "/policies/no-databases/samples/none", "")
	s.api(bootstrap, post, "/policies/no-databases/try", `{"sample":"`+id+`"}`).wantTexts(t, 200, []string{`"outcome":"deny","messages":["db.a would go"],"answer":{"deny":["db.a would go"]}`})
	changed := text(strings.Replace(noDatabases, `"db"`, `"vm"`, 1))
	s.api(bootstrap, post, "/policies/no-databases/try", `{"sample":"`+id+`","body":`+changed+`}`).wantTexts(t, 200, []string{`["vm.a would go"]`})
	s.api(bootstrap, post, "/policies/no-databases/try", `{"input":{"plan":{"resource_changes":[]}}}`).wantTexts(t, 200, []string{`"outcome":"allow","messages":[]`})
	s.api(bootstrap, post, "/policies/no-databases/try", `{"input":{},"body":"package groundcrew\ndeny := 1"}`).wantTexts(t, 200, []string{`"outcome":"error"`, `deny must be a set of texts, and is a number`})
	s.apiOK(422, post, "/policies/no-databases/try", `{}`)
	s.api(bootstrap, post, "/policies/no-databases/try", `{"input":{},"body":"package groundcrew\ndeny :="}`).wantTexts(t, 422, []string{"2:"})
	if got := s.apiOK(200, get, "/policies/no-databases", ""); got["body"] != noDatabases {
		t.Errorf("trying changed it: %v", got)
	}

	// A check of a text that is no policy yet, for pipelines.
	s.api(bootstrap, post, "/policies/check", `{"type":"plan","body":`+text(noDatabases)+`}`).wantTexts(t, 200, []string{`{"outcome":null,"messages":[],"answer":null}`})
	s.api(bootstrap, post, "/policies/check", `{"type":"push","body":"package groundcrew\ntrack := input.a","input":{"a":true}}`).wantTexts(t, 200, []string{`"outcome":"track"`, `{"track":true}`})
	s.apiOK(422, post, "/policies/check", `{"type":"push","body":"package groundcrew"}`)

	s.sample("no-databases", "net", runs.OutcomeError, `{}`, "3:1: div: divide by zero")
	if got := s.apiOK(200, get, "/policies/no-databases", ""); got["last_error"] != "3:1: div: divide by zero" || got["last_error_at"] == nil {
		t.Errorf("after an error: %v", got)
	}
	if got := s.apiOK(200, patch, "/policies/no-databases", `{"body":`+changed+`}`); got["last_error"] != "" || got["last_error_at"] != nil {
		t.Errorf("after the text changed: %v", got)
	}
	s.apiOK(204, remove, "/policies/no-databases", "")
	s.apiOK(404, get, "/policies/no-databases", "")
}

// The pages, without scripts: an error keeps what was typed, trying saves nothing, deleting asks.
func TestPolicyPages(t *testing.T) {
	s := newSite(t)
	s.stack("net")
	b := s.signedIn(store.Admin)
	s.get(b, "/policies").wantTexts(t, 200, []string{"No policies yet", `href="/policies/new"`})
	for _, of := range runs.PolicyTypes {
		s.get(b, "/policies/new?type="+string(of)).wantTexts(t, 200, []string{"package groundcrew", `name="type" value="` + string(of) + `"`})
	}
	broken := strings.Replace(noDatabases, "some rc in", "some rc im", 1)
	s.post(b, "/policies", "type", "plan", "name", "No databases", "body", broken, "stacks", "net").wantTexts(t, 422, []string{"<code>4:", "some rc im", `value="No databases"`, `value="net"`})
	if got := s.post(b, "/policies", "type", "plan", "name", "No databases", "body", strings.ReplaceAll(noDatabases, "\n", "\r\n"), "stacks", "net", "labels", "safety"); got.status != 303 {
		t.Fatalf("status %d %s", got.status, got.body)
	}
	page := "/policies/no-databases"
	s.get(b, page).wantTexts(t, 200, []string{"The policy is there.", "It was not asked yet", "Switch off", `href="/stacks/net/policies"`})
	s.get(b, "/stacks/net/policies").wantTexts(t, 200, []string{"No databases", "attached by hand"})
	s.get(b, "/policies?q=safety").wantTexts(t, 200, []string{"No databases"})
	s.get(b, "/policies?type=push").wantTexts(t, 200, []string{"No policy matches"})
	s.get(b, "/ui/find?q=databases").wantTexts(t, 200, []string{`"/policies/no-databases"`})

	id := s.sample("no-databases", "net", runs.OutcomeError, `{"plan":{"resource_changes":[{"address":"vm.a","type":"vm"}]}}`, "it was cut off")
	s.get(b, page).wantTexts(t, 200, []string{"it was cut off. When it cannot be evaluated, nothing is applied.", `href="/api/v1/policies/no-databases/samples/` + id})
	changed := strings.Replace(noDatabases, `"db"`, `"vm"`, 1)
	form := func(more ...string) []string {
		return append([]string{"name", "Another name", "body", changed, "stacks", "net"}, more...)
	}
	s.post(b, page+"/try", form("sample", id)...).wantTexts(t, 200, []string{"denied", "vm.a would go", "Another name", `rc.type == &#34;vm&#34;`})
	s.post(b, page+"/try", form("sample", id, "input", `{"plan":`)...).wantTexts(t, 200, []string{"the input is not JSON"})
	s.post(b, page+"/try", form("sample", "none")...).wantTexts(t, 422, []string{"There is no evaluation", "Another name"})
	s.post(b, page+"/try", form()...).wantTexts(t, 422, []string{"There is nothing to ask about.", "Another name"})
	s.post(b, page+"/try", "name", "x", "body", broken, "input", "{}").wantTexts(t, 422, []string{"<code>4:", "some rc im"})
	if got := s.apiOK(200, get, page, ""); got["name"] != "No databases" || got["body"] != noDatabases {
		t.Errorf("trying saved something: %v", got)
	}

	s.post(b, page, "name", "No databases", "body", broken).wantTexts(t, 422, []string{"<code>4:", "some rc im"})
	if got := s.post(b, page, form()...); got.status != 303 {
		t.Fatalf("status %d", got.status)
	}
	if got := s.post(b, page+"/switch", "off", "on"); got.status != 303 {
		t.Fatalf("status %d", got.status)
	}
	s.get(b, page).wantTexts(t, 200, []string{"Another name", "Switch on"}, "it was cut off. When")
	s.post(b, page+"/delete", "slug", "wrong").wantTexts(t, 422, []string{"That is not the policy"})
	reader := s.signedIn(store.Reader)
	s.get(reader, page).wantTexts(t, 200, []string{"Only an admin can change a policy.", "readonly"}, `action="/policies/no-databases/delete"`, "Try it", "/samples/")
	if got := s.post(b, page+"/delete", "slug", "no-databases"); got.status != 303 {
		t.Fatalf("status %d", got.status)
	}
	if got := s.get(b, page); got.status != 404 {
		t.Errorf("after it was deleted: status %d", got.status)
	}
}

// Every text that the form begins with compiles, and says something sensible of an input of its type.
func TestStarters(t *testing.T) {
	st := runs.Stack{Slug: "net", Labels: []string{"sandbox", "prod"}}
	about := policy.Input{Stack: policy.StackOf(st)}.About(runs.Run{Type: runs.Tracked, State: runs.Finished, Delta: &runs.Delta{Destroy: 9}})
	about.Plan = json.RawMessage(`{"resource_changes":[{"address":"db.a","type":"aws_db_instance","change":{"actions":["delete"]}}]}`)
	about.Push = &policy.Push{Files: []string{"README.md"}}
	about.Reviews = &policy.Reviews{Approvals: []policy.Review{{By: "a"}, {By: "b"}}, Rejections: []policy.Review{}}
	about.Stacks = []policy.Stack{{Slug: "edge", Labels: []string{"after:net"}}, {Slug: "dns", Labels: []string{}}}
	about.Event = &policy.Event{Topic: runs.OnFailed}
	input, err := json.Marshal(about)
	must(t, err)
	for of, want := range map[runs.PolicyType]policy.Answer{
		runs.PolicyPush:         {Ignore: []string{"only documents changed"}},
		runs.PolicyPlan:         {Deny: []string{"db.a would be destroyed"}, Warn: []string{"9 resources would be destroyed"}},
		runs.PolicyApproval:     {Approve: true},
		runs.PolicyTrigger:      {Trigger: []string{"edge"}},
		runs.PolicyNotification: {Mute: true, Channels: []string{"on-call"}},
	} {
		got, err := policy.Court{}.Ask(t.Context(), runs.Policy{Name: "p", Type: of, Body: policy.Starter(of)}, input)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v %v, want %+v", of, got, err, want)
		}
	}
}
