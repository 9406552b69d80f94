package web

import (
	"strings"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// A namedPage is a page that can be found by typing.
type namedPage struct {
	name, words, path string
	need              store.Role
}

// namedPages are the pages that are not about one thing, by what people call them.
var namedPages = []namedPage{
	{"Start", "home what needs you", "/", store.Reader},
	{"Stacks", "list", "/stacks", store.Reader},
	{"Create a stack", "new add", "/stacks/new", store.Admin},
	{"Runs", "list history", "/runs", store.Reader},
	{"Runs that wait for a yes", "confirm unconfirmed", "/runs?state=unconfirmed", store.Reader},
	{"Runs that failed", "errors", "/runs?state=failed", store.Reader},
	{"Modules", "registry versions", "/modules", store.Reader},
	{"Contexts", "variables files environment secrets shared", "/contexts", store.Reader},
	{"New context", "create add", "/contexts/new", store.Admin},
	{"Policies", "rego opa rules approve deny push trigger", "/policies", store.Reader},
	{"New policy", "create add rego", "/policies/new", store.Admin},
	{"Inbox", "trouble warnings", "/inbox", store.Reader},
	{"GitLab", "vcs provider integration token webhook secret settings", "/settings/vcs/gitlab", store.Reader},
	{"Deliveries", "webhooks received", "/settings/vcs/gitlab/deliveries", store.Reader},
	{"Reports", "outbox statuses comments refused parked", "/settings/vcs/gitlab/reports", store.Reader},
	{"Notifications", "e-mail webhooks slack mattermost settings", "/settings/notifications", store.Admin},
	{"System", "workers limits version settings", "/settings/system", store.Reader},
	{"Users", "people accounts roles settings", "/settings/users", store.Reader},
	{"Sign-in", "gitlab oidc password settings", "/settings/sign-in", store.Admin},
	{"API keys", "tokens script settings", "/settings/keys", store.Admin},
	{"Audit", "log who did what export settings", "/settings/audit", store.Admin},
	{"Your account", "password sessions", "/account", store.Reader},
}

// How many of a kind are offered.
const (
	findPages    = 5
	findStacks   = 8
	findContexts = 4
	findPolicies = 4
	findRuns     = 8
)

// uiFind finds pages, stacks, contexts, policies and runs for the palette: the value of a suggestion is an address.
func (s *Server) uiFind(c *request) error {
	q := strings.TrimSpace(c.QueryParam("q"))
	out := findNamed(c.who, q)
	reads, err := s.reads(c)
	if err != nil {
		return err
	}
	f, err := s.seen(c, store.RunFilter{Text: q, AtMost: lookAt})
	if err != nil {
		return err
	}
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		if err != nil {
			return err
		}
		out = append(out, stacksFound(stacks, q, reads)...)
		contexts, err := s.contextsFound(c, tx, q, reads)
		out = append(out, contexts...)
		if q == "" || err != nil {
			return err
		}
		policies, err := s.policiesFound(c, tx, q, reads)
		out = append(out, policies...)
		if err != nil {
			return err
		}
		page, _, err := tx.Runs(f, "", findRuns)
		for _, r := range page {
			out = append(out, runFound(r))
		}
		return err
	})
	if err != nil {
		return err
	}
	return suggest(c, out)
}

// stacksFound are stacks that fit what was typed, those whose names begin with it first.
func stacksFound(stacks []*runs.Stack, q string, reads func(project int64) bool) []suggestion {
	var first, other []suggestion
	for _, st := range stacks {
		if !reads(st.Project) || !stackMatches(st, q, "") {
			continue
		}
		found := suggestion{"/stacks/" + st.Slug, st.Name, "stack · " + st.ProjectPath}
		if strings.HasPrefix(strings.ToLower(st.Name), strings.ToLower(q)) {
			first = append(first, found)
		} else {
			other = append(other, found)
		}
	}
	list := append(first, other...)
	return list[:min(findStacks, len(list))]
}

func findNamed(who actor, q string) (out []suggestion) {
	for _, p := range namedPages {
		if len(out) < findPages && who.has(p.need) && holdsAll(p.name+" "+p.words, q) {
			out = append(out, suggestion{p.path, p.name, "page"})
		}
	}
	return out
}

// holdsAll reports whether all words of q are in the text, letter case aside.
func holdsAll(text, q string) bool {
	text = strings.ToLower(text)
	for word := range strings.FieldsSeq(strings.ToLower(q)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func runFound(r runs.Run) suggestion {
	title := r.Commit.Title
	if title == "" {
		title = string(r.Type) + " run"
	}
	return suggestion{"/runs/" + r.ID, title, strings.Join([]string{"run", r.Stack, r.Commit.Short(), view.StateWord(r.State)}, " · ")}
}
