package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestPagesOfferWhatMayBeDone: no page has a link or a button that is on for somebody whose role is then refused. What is off says
// why beside it, which the pages' own tests hold to.
func TestPagesOfferWhatMayBeDone(t *testing.T) {
	s, run, delivery := evilSite(t)
	fresh := newSite(t) // nothing is set up: the way there is offered to those who can go it
	for _, role := range []store.Role{store.Reader, store.Writer, store.Admin} {
		check := func(s *site) func(route, string, string) {
			return func(_ route, path, body string) {
				for _, o := range offers(t, body) {
					if r := s.routeOf(o.method, o.address); r != nil && rank[store.Role(r.need)] > rank[role] {
						t.Errorf("%s offers a %s %s %s, for which one must be %s", path, role, o.method, o.address, r.need)
					}
				}
			}
		}
		s.eachPage(role, run, delivery, check(s))
		b := fresh.signedIn(role)
		for _, path := range []string{"/", "/stacks", "/runs", "/modules", "/inbox", "/settings/vcs", "/settings/users", "/settings/system"} {
			check(fresh)(route{}, path, fresh.get(b, path).body)
		}
	}
}

// An offer is something a page lets a person do.
type offer struct{ method, address string }

// offers are the links of a page, and its forms with a button that is on.
func offers(t *testing.T, body string) []offer {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	must(t, err)
	var out []offer
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		at := attributes(n)
		switch {
		case n.Data == "a":
			out = append(out, offer{get, cleanAddress(at["href"])})
		case n.Data == "form" && at["method"] == "post" && usable(n):
			out = append(out, offer{post, cleanAddress(at["action"])})
		}
	}
	return out
}

func usable(form *html.Node) bool {
	for n := range form.Descendants() {
		if _, off := attributes(n)["disabled"]; n.Type == html.ElementNode && n.Data == "button" && !off {
			return true
		}
	}
	return false
}

func attributes(n *html.Node) map[string]string {
	out := map[string]string{}
	for _, a := range n.Attr {
		out[a.Key] = a.Val
	}
	return out
}

func cleanAddress(a string) string {
	a, _, _ = strings.Cut(a, "?")
	a, _, _ = strings.Cut(a, "#")
	return a
}

// routeOf is the route behind an address of ours, nil for others.
func (s *site) routeOf(method, address string) *route {
	if !strings.HasPrefix(address, "/") {
		return nil
	}
	c := s.web.echo.NewContext(nil, nil)
	s.web.echo.Router().Find(method, address, c)
	i := slices.IndexFunc(s.web.table, func(r route) bool { return r.method == method && r.path == c.Path() })
	if i < 0 {
		return nil
	}
	return &s.web.table[i]
}

// TestEveryPageSaysWhereOneIs: a title of its own for each page, which names what the page is about; one heading, the language, and
// a way past the sidebar.
func TestEveryPageSaysWhereOneIs(t *testing.T) {
	s, run, delivery := evilSite(t)
	titles := map[string]string{}
	check := func(r route, path, body string) {
		doc, err := html.Parse(strings.NewReader(body))
		must(t, err)
		var title, lang string
		heads, skips := 0, 0
		for n := range doc.Descendants() {
			at := attributes(n)
			switch {
			case n.Type != html.ElementNode:
			case n.Data == "html":
				lang = at["lang"]
			case n.Data == "title" && n.Parent.Data == "head":
				title = n.FirstChild.Data
			case n.Data == "h1":
				heads++
			case n.Data == "a" && at["class"] == "skip" && at["href"] == "#main":
				skips++
			}
		}
		inside := r.need != public
		if heads != 1 || lang != "en" || inside && skips != 1 {
			t.Errorf("%s: %d headings of the first rank, language %q, %d ways past the sidebar", path, heads, lang, skips)
		}
		if other := titles[title]; other != "" || !strings.HasSuffix(title, " · Groundcrew") {
			t.Errorf("%s has the title %q, as %s", path, title, other)
		}
		titles[title] = path
		for part, name := range map[string]string{":slug": "a", ":name": "vpc", "users/:id": s.nameOf(path), "/runs/:id": " · a ·", "deliveries/:id": runs.ShortSHA(delivery), ":check": "Check of"} {
			if strings.Contains(r.path, part) && !strings.Contains(title, name) {
				t.Errorf("%s has the title %q, which does not name %q", path, title, name)
			}
		}
	}
	s.eachPage(store.Admin, run, delivery, check)
	for _, path := range []string{"/login", "/nowhere"} {
		check(route{need: public}, path, s.get(s.browser(), path).body)
	}
	refused := s.get(s.signedIn(store.Reader), "/stacks/new")
	if refused.status != http.StatusForbidden {
		t.Fatal(refused.status)
	}
	check(route{need: reader}, "/stacks/new as a reader", refused.body)
}

// nameOf is the name of the user whose page it is.
func (s *site) nameOf(path string) string {
	name := ""
	_ = s.st.View(func(tx *store.Tx) error {
		u, err := tx.User(path[strings.LastIndex(path, "/")+1:])
		name = u.Name
		return err
	})
	return name
}
