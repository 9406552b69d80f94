package runs

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseCommand(t *testing.T) {
	const a40 = "0123456789abcdef0123456789abcdef01234567"
	for text, want := range map[string]Command{
		"/groundcrew plan":                                   {Verb: "plan"},
		"/groundcrew":                                        {Verb: "help"},
		"/Groundcrew PLAN  network-prod \r\n":                {Verb: "plan", Stack: "network-prod"},
		"Looks good.\n\n/groundcrew\tapply network\nThanks":  {Verb: "apply", Stack: "network"},
		"/groundcrew apply network 1A2B3C4D":                 {Verb: "apply", Stack: "network", Name: "1a2b3c4d"},
		"/groundcrew plan " + a40:                            {Verb: "plan", Name: a40},
		"/groundcrew plan 1234567":                           {Verb: "plan", Stack: "1234567"},
		"/groundcrew plan a b":                               {Verb: "plan", Stack: "a", Extra: true},
		"/groundcrew plan a 11111111 22222222":               {Verb: "plan", Stack: "a", Name: "11111111", Extra: true},
		"/groundcrew plan 11111111 22222222":                 {Verb: "plan", Stack: "22222222", Name: "11111111"},
		"/groundcrew discard\n/groundcrew apply":             {Verb: "discard", More: true},
		"/groundcrew frobnicate":                             {Verb: "frobnicate"},
		"> quoted\n\n/groundcrew plan":                       {Verb: "plan"},
		"```\n/groundcrew apply\n```\n/groundcrew help":      {Verb: "help"},
		"````\n```\n/groundcrew apply\n````\n/groundcrew x":  {Verb: "x"},
		"~~~ sh\n/groundcrew apply\n~~~\n/groundcrew help":   {Verb: "help"},
		"```not a fence`\n/groundcrew help":                  {Verb: "help"},
		"<!-- hidden\n/groundcrew apply\n-->\n/groundcrew x": {Verb: "x"},
		"<!-- one line -->\n/groundcrew help":                {Verb: "help"},
		"<pre>\n/groundcrew apply\n</pre>\n/groundcrew x":    {Verb: "x"},
		">>>\n/groundcrew apply\n>>>\n/groundcrew x":         {Verb: "x"},
		"/groundcrew " + strings.Repeat("é", 200):            {Verb: strings.Repeat("é", maxCommandWord)},
	} {
		if got, found := ParseCommand(text, "groundcrew"); !found || got != want {
			t.Errorf("%q is %+v, %v, want %+v", text, got, found, want)
		}
	}
}

func TestParseCommandFindsNone(t *testing.T) {
	for _, text := range []string{
		"", "/", "groundcrew plan", " /groundcrew plan", "    /groundcrew plan", "> /groundcrew apply", "Say /groundcrew plan", "`/groundcrew plan`",
		"/groundcrewplan", "/groundcrews plan", "/ground", "/other plan", "/merge", "```\n/groundcrew apply", "- ```\n/other", "<!--\n/groundcrew apply",
		"<PRE>\n/groundcrew apply\n", "<!-- /groundcrew -->", strings.Repeat("x", maxCommentRead) + "\n/groundcrew apply",
	} {
		if got, found := ParseCommand(text, "groundcrew"); found {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
	if c, found := ParseCommand("/acme/infra plan", "acme/infra"); !found || c.Verb != "plan" {
		t.Errorf("with another word: %+v, %v", c, found)
	}
	if c, found := ParseCommand("/groundcrew plan", "acme"); found {
		t.Errorf("another installation's command is taken for %+v", c)
	}
	if c, found := ParseCommand("/ plan", ""); found {
		t.Errorf("without a word, %+v", c)
	}
}

// FuzzParseCommand: nothing breaks it, its words are bounded, and what is quoted, indented or fenced is never a command.
func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"/groundcrew plan", "```\n/groundcrew apply\n```", "a\n/groundcrew apply x 12345678\n", ">>>\n/groundcrew\n>>>", "<!--\n/groundcrew -->", "/groundcrew \xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, found := ParseCommand(text, "groundcrew")
		if found != (c.Verb != "") || !utf8.ValidString(c.Verb+c.Stack+c.Name) {
			t.Errorf("%q is %+v, %v", text, c, found)
		}
		if n := utf8.RuneCountInString(c.Verb + c.Stack + c.Name); n > 2*maxCommandWord+maxName+20 {
			t.Errorf("%d characters of words", n)
		}
		if found && !strings.Contains(strings.ToLower(text), "/groundcrew") {
			t.Errorf("%q holds no command", text)
		}
		lines := strings.Split(text, "\n")
		fence := strings.Repeat("~", len(text)+3)
		for how, hidden := range map[string]string{
			"quoted": "> " + strings.Join(lines, "\n> "), "indented": "    " + strings.Join(lines, "\n    "), "fenced": fence + "\n" + text + "\n" + fence,
		} {
			if c, found := ParseCommand(hidden, "groundcrew"); found {
				t.Errorf("%s, %q is taken for %+v", how, text, c)
			}
		}
	})
}

func TestPlansHaveNames(t *testing.T) {
	r := Run{ID: "01A", Fingerprint: "f", Transitions: []Transition{{State: Unconfirmed, At: time.Unix(1, 0)}}}
	again := r
	again.Transitions = []Transition{{State: Unconfirmed, At: time.Unix(2, 0)}}
	other := r
	other.ID = "01B"
	names := map[string]bool{PlanName(r): true, PlanName(again): true, PlanName(other): true}
	if len(names) != 3 || !isName(PlanName(r)) {
		t.Errorf("names of three plans: %v", names)
	}
	if !SamePlan(r, other) || SamePlan(r, Run{Fingerprint: "g"}) || SamePlan(Run{}, Run{}) {
		t.Error("plans are the same by what they do")
	}
	unknown := Run{Fingerprint: Changes{}.Fingerprint(nil)}
	if SamePlan(unknown, unknown) {
		t.Error("plans that do not say what they do are taken to do the same")
	}
}
