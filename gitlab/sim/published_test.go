package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"groundcrew/gitlab/sim/spec"
)

func publishedTable(t *testing.T) *spec.Table {
	t.Helper()
	table, err := spec.New()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// example is an address of the route, with a number for every variable.
func (rt *route) example() string { return "/" + variable.ReplaceAllString(rt.path, "1") }

// TestRoutesArePublished: what is served here is what GitLab serves, and the table holds nothing else.
func TestRoutesArePublished(t *testing.T) {
	table := publishedTable(t)
	served := map[string]bool{}
	for _, rt := range apiRoutes(table) {
		name := rt.operation()
		served[name] = true
		if table.Operations[name] == nil && spec.Unpublished[name] == "" {
			t.Errorf("GitLab publishes no %s: mend the route, or name it with a reason", name)
		}
	}
	for name := range table.Operations {
		if !served[name] {
			t.Errorf("the table holds %s, which is not served", name)
		}
	}
	for name := range spec.Unpublished {
		if !served[name] {
			t.Errorf("%s has a reason and is not served", name)
		}
	}
}

// TestParametersAreHeldToThePublished: on every route a required parameter that is missing, a value that is none of the
// published ones and a text where a number or truth belongs are refused in Grape's words.
func TestParametersAreHeldToThePublished(t *testing.T) {
	w := newWorld(t)
	table := publishedTable(t)
	checked := 0
	refuse := func(rt route, sent map[string]any, words string) {
		t.Helper()
		checked++
		got := w.as("root", rt.method, rt.example(), nil)
		if len(sent) > 0 {
			got = w.sendParams("root", rt.method, rt.example(), sent)
		}
		text, _ := got.object()["error"].(string)
		if got.status != http.StatusBadRequest || !slices.Contains(strings.Split(text, ", "), words) {
			t.Errorf("%s with %v: %d %s, want 400 and %q", rt.operation(), sent, got.status, got.raw, words)
		}
	}
	for _, rt := range apiRoutes(table) {
		op := table.Operations[rt.operation()]
		if op == nil {
			continue
		}
		for name, text := range op.Params {
			typ := spec.Read(text)
			if typ.Required {
				refuse(rt, nil, name+" is missing")
			}
			switch {
			case typ.List, strings.Contains(name, "["): // what is inside of lists and hashes is not looked at
			case typ.Values != nil && typ.Name == "string":
				refuse(rt, map[string]any{name: "moon"}, name+" does not have a valid value")
			case typ.Name == "integer", typ.Name == "boolean":
				refuse(rt, map[string]any{name: "moon"}, name+" is invalid")
			}
		}
	}
	if checked < 250 {
		t.Errorf("only %d refusals were looked at", checked)
	}
}

// sendParams sends parameters where the method has them: in the query of a GET, else in the body.
func (w *world) sendParams(who, method, path string, sent map[string]any) answer {
	w.t.Helper()
	if method != http.MethodGet {
		return w.as(who, method, path, sent)
	}
	for k, v := range sent {
		path += fmt.Sprintf("?%s=%v", k, v)
	}
	return w.as(who, method, path, nil)
}

// TestTheWatcherSees tests the test: an answer with a name, a type or a status that GitLab does not have is seen, and so is
// a parameter it does not know.
func TestTheWatcherSees(t *testing.T) {
	table := publishedTable(t)
	name, op := table.Find("GET", "projects/acme%2Finfra/environments/1")
	if name != "GET projects/{}/environments/{}" {
		t.Fatalf("found %q", name)
	}
	for body, want := range map[string]string{
		`{"id":1,"name":"a"}`:                "",
		`{"id":"1"}`:                         ".id is string and no integer",
		`{"id":1.5}`:                         ".id is float64 and no integer",
		`{"Name":"a"}`:                       ".Name: Environment has no such property",
		`{"project":{"topics":[1]}}`:         ".project.topics[0] is float64 and no string",
		`{"project":[]}`:                     ".project is no BasicProjectDetails",
		`{"name":null,"last_deployment":{}}`: "",
		`[]`:                                 " is no Environment",
	} {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(table.Answer(op, 200, v), "; "); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	if got := table.Answer(op, 201, nil); len(got) != 1 {
		t.Errorf("201: %v", got)
	}
	if name, _ := table.Find("GET", "projects/1/members/all"); name != "GET projects/{}/members/all" {
		t.Errorf("all members are %q", name)
	}
	_, op = table.Find("POST", "projects/1/deployments")
	sent := map[string]any{"environment": "a", "sha": "b", "ref": "c", "tag": "perhaps", "status": "done", "stattus": "x"}
	want := "stattus is no parameter of it; status is done and no !string|running,success,failed,canceled; tag is perhaps and no !boolean"
	if got := strings.Join(op.Request(sent, true), "; "); got != want {
		t.Errorf("%q", got)
	}
	if got := spec.Refusal(map[string]any{"errors": 1}); len(got) != 1 {
		t.Errorf("a refusal of another form: %v", got)
	}
}
