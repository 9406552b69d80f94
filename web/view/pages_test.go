package view

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"groundcrew/runs"
)

func TestPages(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.Name, func(t *testing.T) { checkPage(t, s) })
	}
}

// TestHostilePages puts an attack into every field that comes from outside: the pages must show it as text.
func TestHostilePages(t *testing.T) {
	for _, s := range hostile() {
		t.Run(s.Name, func(t *testing.T) {
			checkPage(t, s)
			page := mustRender(t, s)
			for _, bad := range []string{"<script>alert", "<img", "<style", `href="javascript:`, `action="javascript:`} {
				if strings.Contains(page, bad) {
					t.Errorf("the page holds %q unescaped", bad)
				}
			}
			if !strings.Contains(page, "&lt;script&gt;alert(1)") {
				t.Error("the payload is nowhere to be seen, so the test proves nothing")
			}
		})
	}
}

func mustRender(t *testing.T, s sample) string {
	t.Helper()
	page, err := render(s.Page)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// checkPage holds a page to what every page promises.
func checkPage(t *testing.T, s sample) {
	page := mustRender(t, s)
	if again := mustRender(t, s); page != again {
		t.Error("the same arguments gave other bytes")
	}
	if len(page) > 100_000 {
		t.Errorf("the page weighs %d bytes", len(page))
	}
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(written(page), parsed(doc)); diff != "" {
		t.Errorf("a browser would build another tree than the one written (-written +built):\n%s", diff)
	}
	nodes := elements(doc)
	ids := checkIDs(t, nodes)
	heads := 0
	for _, n := range nodes {
		if n.Data == "h1" {
			heads++
		}
		checkAttributes(t, n, ids)
		checkControl(t, n, nodes)
	}
	if heads != 1 {
		t.Errorf("%d headings of the first rank", heads)
	}
}

func elements(doc *html.Node) []*html.Node {
	var out []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			out = append(out, n)
		}
	}
	return out
}

var void = []string{"meta", "link", "input", "br", "hr", "img", "wbr"}

// written lists "parent>child" for every element as the text of the page nests them.
func written(page string) []string {
	var out, open []string
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return out
		case html.StartTagToken:
			tag := z.Token().Data
			parent := ""
			if len(open) > 0 {
				parent = open[len(open)-1]
			}
			out = append(out, parent+">"+tag)
			if !slices.Contains(void, tag) {
				open = append(open, tag)
			}
		case html.SelfClosingTagToken:
			out = append(out, open[len(open)-1]+">"+z.Token().Data)
		case html.EndTagToken:
			open = open[:len(open)-1]
		}
	}
}

// parsed lists the same of the tree a browser builds.
func parsed(doc *html.Node) []string {
	var out []string
	for _, n := range elements(doc) {
		out = append(out, n.Parent.Data+">"+strings.ToLower(n.Data))
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

func checkIDs(t *testing.T, nodes []*html.Node) map[string]bool {
	ids := map[string]bool{}
	for _, n := range nodes {
		id := attr(n, "id")
		if id != "" && ids[id] {
			t.Errorf("id %q stands twice", id)
		}
		if strings.ContainsAny(id, " \t\n") {
			t.Errorf("id %q holds a blank", id)
		}
		ids[id] = true
	}
	return ids
}

// checkAttributes refuses what the content security policy refuses, addresses that run code, and references
// that lead nowhere.
func checkAttributes(t *testing.T, n *html.Node, ids map[string]bool) {
	for _, a := range n.Attr {
		switch {
		case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
			t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
		case slices.Contains([]string{"href", "action", "src"}, a.Key):
			u, err := url.Parse(a.Val)
			if err != nil || !slices.Contains([]string{"", "http", "https", "about"}, u.Scheme) {
				t.Errorf("<%s %s=%q> leads astray", n.Data, a.Key, a.Val)
			}
			if n.Data != "a" && u != nil && u.Host != "" && u.Scheme != "about" {
				t.Errorf("<%s %s=%q> loads from elsewhere", n.Data, a.Key, a.Val)
			}
		case slices.Contains([]string{"for", "aria-labelledby", "aria-describedby", "list"}, a.Key):
			for id := range strings.FieldsSeq(a.Val) {
				if !ids[id] {
					t.Errorf("<%s %s=%q> names nothing", n.Data, a.Key, a.Val)
				}
			}
		case a.Key == "class" && strings.Contains(a.Val, "%!"):
			t.Errorf("class %q", a.Val)
		}
	}
	if n.Data == "script" && (!strings.HasPrefix(attr(n, "src"), "/static/") || n.FirstChild != nil) {
		t.Error("a script that is not a file of ours")
	}
	if n.Data == "style" || n.Data == "img" || n.Data == "iframe" || n.Data == "base" {
		t.Errorf("<%s> has no place in a page", n.Data)
	}
}

// checkControl wants a name on everything that can be used.
func checkControl(t *testing.T, n *html.Node, all []*html.Node) {
	switch n.Data {
	case "input", "select", "textarea":
		if attr(n, "type") == "hidden" {
			return
		}
		labelled := slices.ContainsFunc(all, func(l *html.Node) bool {
			return l.Data == "label" && attr(l, "for") == attr(n, "id") && text(l) != ""
		})
		if attr(n, "name") == "" || !labelled {
			t.Errorf("<%s id=%q name=%q> has no name or label", n.Data, attr(n, "id"), attr(n, "name"))
		}
	case "button", "a", "summary":
		if text(n) == "" && attr(n, "aria-label") == "" {
			t.Errorf("<%s %v> has no name", n.Data, n.Attr)
		}
		if n.Data == "a" && !has(n, "href") {
			t.Errorf("<a>%s</a> leads nowhere", text(n))
		}
		if n.Data == "button" && has(n, "disabled") {
			checkReason(t, n, all)
		}
	case "form":
		if !slices.Contains([]string{"post", "get", "dialog"}, attr(n, "method")) {
			t.Errorf("form with method %q", attr(n, "method"))
		}
	case "th":
		if attr(n, "scope") == "" {
			t.Errorf("<th>%s</th> has no scope", text(n))
		}
	}
}

// checkReason wants the reason of a button that is off in words: in what the button is described by, or right after it.
func checkReason(t *testing.T, button *html.Node, all []*html.Node) {
	said := ""
	for _, n := range all {
		if id := attr(n, "id"); id != "" && id == attr(button, "aria-describedby") || n.Parent == button.Parent && attr(n, "class") == "whynot" {
			said = text(n)
		}
	}
	sentence, verb := splitReason(attr(button, "title"))
	who, rest, _ := strings.Cut(sentence, actMark)
	if sentence == "" || !strings.Contains(said, who) || !strings.Contains(said, verb) || !strings.Contains(said, rest) {
		t.Errorf("the button %q is off because of %q, and the page says %q beside it", text(button), attr(button, "title"), said)
	}
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// TestWords holds the pages to their tone.
func TestWords(t *testing.T) {
	for _, s := range samples() {
		doc, err := html.Parse(strings.NewReader(mustRender(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Type != html.TextNode {
				continue
			}
			low := strings.ToLower(n.Data)
			for _, bad := range []string{"please", "oops", "sorry", "successfully"} {
				if strings.Contains(low, bad) {
					t.Errorf("%s says %q", s.Name, n.Data)
				}
			}
			if words := strings.TrimSpace(strings.ReplaceAll(n.Data, "!2", "")); strings.HasSuffix(words, "!") {
				t.Errorf("%s shouts %q", s.Name, n.Data)
			}
		}
	}
}

// TestBigPlan shows a plan of 20,000 resources and a full log: the page stays light and says what it leaves out.
func TestBigPlan(t *testing.T) {
	m := noNewer(unconfirmedModel())
	m.Changes.Resources = nil
	for i := range 20_000 {
		c := runs.ResourceChange{Address: fmt.Sprintf("module.fleet.aws_instance.node[%d]", i), Type: "aws_instance", Action: runs.ActAdd}
		for j := range 30 {
			c.Attributes = append(c.Attributes, runs.AttributeChange{Path: fmt.Sprintf("tags.t%d", j), After: `"` + strings.Repeat("v", 120) + `"`})
		}
		m.Changes.Resources = append(m.Changes.Resources, c)
	}
	m.Run.Delta = &runs.Delta{Add: 20_000}
	page := mustRender(t, sample{"big", runPage(m)})
	if len(page) >= 100_000 {
		t.Errorf("the page weighs %d bytes", len(page))
	}
	for _, want := range []string{"The first 100 of 20000 resources", "Apply 20000 changes", "/changes.json", "node[99]"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "node[100]") {
		t.Error("the page shows more resources than it says")
	}
}

// TestWhatARunOffers: what can be done stands in the page as a form that works by itself.
func TestWhatARunOffers(t *testing.T) {
	m := unconfirmedModel()
	if page := mustRender(t, sample{"", runPage(m)}); !strings.Contains(page, "Plan again at 77aa91c0") || strings.Contains(page, "Apply 5 changes") {
		t.Error("the branch moved on, and the button promises to apply the old plan")
	}
	m.Newer = nil
	page := mustRender(t, sample{"", runPage(m)})
	for _, want := range []string{
		`action="/runs/01JDA7Z3K8Q4W9R2T5Y7XNM6P1/confirm"`, `name="fingerprint" value="9f14c0de55aa0913bb0d2c6d8a6b3ce0"`,
		"Apply 5 changes, destroy 1", `action="/runs/01JDA7Z3K8Q4W9R2T5Y7XNM6P1/discard"`, "(known after apply)", "(sensitive)", "forces replacement",
		"port 80 → 443, protocol",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	reader := unconfirmedModel()
	reader.Confirm, reader.Discard = Act{WhyNot: "You are a reader."}, Act{}
	page = mustRender(t, sample{"", runPage(reader)})
	if !strings.Contains(page, "disabled") || !strings.Contains(page, "You are a reader.") || strings.Contains(page, "/discard") || strings.Contains(page, `data-key="c"`) {
		t.Error("a reader is not told why they cannot confirm, or is offered what they cannot do")
	}
}

// TestFragmentsAreTheirElements: what the event stream sends replaces the element of that id.
func TestFragmentsAreTheirElements(t *testing.T) {
	p, m := shell("x", NavRuns), unconfirmedModel()
	for id, s := range map[string]sample{
		"run-head": {"", RunHead(p, m)}, "run-plan": {"", RunPlan(p, m)}, "run-timeline": {"", RunTimeline(p, m)},
		"run-details": {"", RunDetails(p, m)}, "log-head-planning": {"", LogHead(p, m, "planning")},
	} {
		frag := mustRender(t, s)
		if i := strings.Index(frag, ">"); i < 0 || !strings.Contains(frag[:i], `id="`+id+`"`) {
			t.Errorf("fragment %s begins %.80q", id, frag)
		}
		if !strings.Contains(mustRender(t, sample{"", runPage(m)}), `id="`+id+`"`) {
			t.Errorf("the page has no %s to be replaced", id)
		}
	}
}

func TestReasonsOfSeveralButtons(t *testing.T) {
	got := reasons([]Act{
		{WhyNot: "Only an admin can sync."},
		can(),
		{WhyNot: "GitLab is not linked."},
		{WhyNot: "Only an admin can unlock a stack."},
		{},
		{WhyNot: "Only a Maintainer of a/b in GitLab can confirm; you are a Reporter there."},
		{WhyNot: "Only an admin can sync."},
		{WhyNot: "Only an admin can download a state: it can hold secrets."},
	})
	want := []string{
		"Only an admin can sync or unlock a stack.", "GitLab is not linked.", "Only a Maintainer of a/b in GitLab can confirm; you are a Reporter there.",
		"Only an admin can download a state: it can hold secrets.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
