package spec

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func table(t testing.TB) *Table {
	t.Helper()
	table, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFind(t *testing.T) {
	for _, c := range []struct{ method, path, want string }{
		{"GET", "projects/7", "GET projects/{}"},
		{"GET", "projects/platform%2Fnetwork", "GET projects/{}"},
		{"GET", "projects/platform/network", ""}, // GitLab takes the path of a project as one word
		{"GET", "projects/7/members/all", "GET projects/{}/members/all"},
		{"GET", "projects/7/members/8", "GET projects/{}/members/{}"},
		{"POST", "projects/7/hooks", "POST projects/{}/hooks"},
		{"PATCH", "projects/7/hooks", ""},
		{"GET", "projects//hooks", ""},
		{"GET", "", ""},
	} {
		name, op := table(t).Find(c.method, c.path)
		if name != c.want || (op != nil) != (c.want != "") {
			t.Errorf("%s %s is %q, want %q", c.method, c.path, name, c.want)
		}
	}
}

func TestRequest(t *testing.T) {
	o := &Operation{Params: map[string]string{
		"url": "!string", "id": "!integer", "on": "boolean", "level": "integer|10,20", "state": "!string|pending,running", "list": "[]string|a,b", "scale": "number", "more": "object",
	}}
	good := func(change map[string]any) map[string]any {
		in := map[string]any{"url": "x", "id": "7", "state": "pending"}
		for k, v := range change {
			if in[k] = v; v == nil {
				delete(in, k)
			}
		}
		return in
	}
	for _, c := range []struct {
		change map[string]any
		strict bool
		want   string
	}{
		{nil, true, ""},
		{map[string]any{"on": "true", "level": 20, "list": []any{"a", "b"}, "scale": "1.5", "more": map[string]any{}}, true, ""},
		{map[string]any{"url": nil, "id": nil}, true, "id is missing; url is missing"},
		{map[string]any{"id": "seven"}, true, "id is seven and no !integer"},
		{map[string]any{"id": 7.5}, true, "id is 7.5 and no !integer"},
		{map[string]any{"on": "maybe"}, true, "on is maybe and no boolean"},
		{map[string]any{"level": 30}, true, "level is 30 and no integer|10,20"},
		{map[string]any{"state": "done"}, true, "state is done and no !string|pending,running"},
		{map[string]any{"list": []any{"a", "c"}}, true, "list is [a c] and no []string|a,b"},
		{map[string]any{"url": []any{"x"}}, true, "url is [x] and no !string"},
		{map[string]any{"scale": "much"}, true, "scale is much and no number"},
		{map[string]any{"more": "x"}, true, "more is x and no object"},
		{map[string]any{"odd": 1}, true, "odd is no parameter of it"},
		{map[string]any{"odd": 1}, false, ""},
	} {
		if got := strings.Join(o.Request(good(c.change), c.strict), "; "); got != c.want {
			t.Errorf("%v, strict %v: %q, want %q", c.change, c.strict, got, c.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	of := &Table{Shapes: map[string]map[string]string{
		"Hook": {"id": "integer", "url": "string", "on": "boolean", "tags": "[]string", "user": "User", "any": "any"},
		"User": {"name": "string"},
	}}
	o := &Operation{Answers: map[string]string{"200": "Hook", "201": "[]Hook", "204": ""}}
	hook := func(k string, v any) any { return map[string]any{"id": 1.0, k: v} }
	for _, c := range []struct {
		status int
		body   any
		want   string
	}{
		{200, hook("url", "x"), ""},
		{200, hook("url", nil), ""},
		{200, hook("any", []any{1}), ""},
		{200, hook("tags", []any{"a"}), ""},
		{200, hook("user", map[string]any{"name": "ada"}), ""},
		{204, nil, ""},
		{201, []any{hook("on", true)}, ""},
		{404, nil, "status 404 is none of its answers"},
		{200, hook("id", "1"), ".id is string and no integer"},
		{200, hook("id", 1.5), ".id is float64 and no integer"},
		{200, hook("on", "true"), ".on is string and no boolean"},
		{200, hook("tags", "a"), ".tags is no list"},
		{200, hook("tags", []any{"a", 2.0}), ".tags[1] is float64 and no string"},
		{200, hook("user", "ada"), ".user is no User"},
		{200, hook("user", map[string]any{"mail": "x"}), ".user.mail: User has no such property"},
		{200, hook("secret", "x"), ".secret: Hook has no such property"},
		{200, []any{}, " is no Hook"},
		{201, hook("on", true), " is no list"},
	} {
		if got := strings.Join(of.Answer(o, c.status, c.body), "; "); got != c.want {
			t.Errorf("%d %v: %q, want %q", c.status, c.body, got, c.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		body any
		want string
	}{
		{map[string]any{"message": "404 Project Not Found"}, ""},
		{map[string]any{"error": "insufficient_scope", "error_description": "x", "scope": "api"}, ""},
		{map[string]any{}, "a refusal has a message or an error"},
		{map[string]any{"message": "x", "detail": "y"}, "a refusal has no detail"},
		{"no", "a refusal without an object"},
		{nil, "a refusal without an object"},
	} {
		if got := strings.Join(Refusal(c.body), "; "); got != c.want {
			t.Errorf("%v: %q, want %q", c.body, got, c.want)
		}
	}
}

// What goes through is unchanged, what is wrong with it is said with method, path and status, and what is none of the API's is
// nobody's business.
func TestWatch(t *testing.T) {
	answer := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if kind != "" {
				w.Header().Set("Content-Type", kind)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const (
		asJSON = "application/json"
		form   = "application/x-www-form-urlencoded"
	)
	for _, c := range []struct {
		method, path, kind, body string
		next                     http.HandlerFunc
		strict                   bool
		want                     []string
	}{
		{"GET", "/scm/api/v4/projects/7/hooks", "", "", answer(200, asJSON, `[{"id":1,"url":"x"}]`), true, nil},
		{"GET", "/scm/api/v4/projects/7/hooks", "", "", answer(200, asJSON, `{`), true, []string{"GET projects/7/hooks (200): the answer says it is JSON and is not"}},
		{"GET", "/scm/api/v4/projects/7/hooks", "", "", answer(200, asJSON, `[{"ident":1}]`), true, []string{"GET projects/7/hooks (200): [0].ident: ProjectHook has no such property"}},
		{"GET", "/scm/api/v4/projects/7/hooks?colour=red", "", "", answer(200, asJSON, `[]`), true, []string{"GET projects/7/hooks (200): colour is no parameter of it"}},
		{"GET", "/scm/api/v4/projects/7/hooks?colour=red", "", "", answer(200, asJSON, `[]`), false, nil},
		{"POST", "/scm/api/v4/projects/7/statuses/abc", asJSON, `{"state":"done"}`, answer(400, asJSON, `{"error":"state does not have a valid value"}`), false, nil},
		{"POST", "/scm/api/v4/projects/7/statuses/abc", form, `name=x`, answer(400, asJSON, `{"oops":1}`), false, []string{"POST projects/7/statuses/abc (400): a refusal has no oops"}},
		{"GET", "/scm/api/v4/no/such/thing", "", "", answer(404, asJSON, `{"error":"404 Not Found"}`), false, nil},
		{"GET", "/scm/api/v4/no/such/thing", "", "", answer(404, asJSON, `{"error":"404 Not Found"}`), true, []string{"GET no/such/thing (404): GitLab publishes no such operation"}},
		{"GET", "/scm/api/v4/projects/7/hooks", "", "", answer(502, "text/html", "<h1>"), true, nil},
		{"GET", "/scm/api/v4/projects/7/repository/archive.tar.gz", "", "", answer(200, "application/octet-stream", "x"), true, nil},
		{"GET", "/scm/platform/network", "", "", answer(200, "text/html", "page"), true, nil},
	} {
		var wrong []string
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		plain := httptest.NewRecorder()
		c.next(plain, r)
		table(t).Watch(c.next, "/scm", c.strict, func(w string) { wrong = append(wrong, w) }).ServeHTTP(rec, r)
		if rec.Code != plain.Code || rec.Body.String() != plain.Body.String() {
			t.Errorf("%s %s: %d %s", c.method, c.path, rec.Code, rec.Body)
		}
		if !slices.Equal(wrong, c.want) {
			t.Errorf("%s %s, strict %v: %q, want %q", c.method, c.path, c.strict, wrong, c.want)
		}
	}
}

// A fix that meets nothing is an error, so that none outlives what it was for.
func TestFixesMeetSomething(t *testing.T) {
	whole := table(t)
	if len(whole.Operations) == 0 || len(whole.Shapes) == 0 {
		t.Fatal("the table is empty")
	}
	if err := whole.mend(); err == nil {
		t.Error("a table that knows it all by itself was mended again")
	}
	for name, o := range whole.Operations {
		for status, text := range o.Answers {
			if n := Read(text).Name; strings.ToLower(n) != n && whole.Shapes[n] == nil {
				t.Errorf("%s answers %s with %s, which is not in the table", name, status, n)
			}
		}
	}
}
