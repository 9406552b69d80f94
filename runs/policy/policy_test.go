package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

// TestMain lets this program be the process that a Court starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func with(t runs.PolicyType, body string) runs.Policy {
	return runs.Policy{Slug: "p", Name: "p", Type: t, Body: "package groundcrew\n\n" + body}
}

func ask(t *testing.T, p runs.Policy, input string) (Answer, error) {
	t.Helper()
	compiled, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Ask(t.Context(), json.RawMessage(input))
}

func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		of          runs.PolicyType
		body, input string
		want        Answer
	}{
		"deny, in order and once": {
			runs.PolicyPlan, `deny contains msg if { some r in input.plan; msg := sprintf("%s must not go", [r]) }`, `{"plan":["b","a","b"]}`,
			Answer{Deny: []string{"a must not go", "b must not go"}},
		},
		"says nothing":           {runs.PolicyPlan, `deny contains "x" if input.a == 2`, `{"a":1}`, Answer{}},
		"warn beside deny":       {runs.PolicyPlan, "deny contains \"d\"\nwarn contains \"w\"", `{}`, Answer{Deny: []string{"d"}, Warn: []string{"w"}}},
		"simply true":            {runs.PolicyPlan, `deny if input.a == 1`, `{"a":1}`, Answer{Deny: []string{"denied"}}},
		"simply false":           {runs.PolicyPlan, `deny := input.a == 1`, `{"a":2}`, Answer{}},
		"one text":               {runs.PolicyPlan, `warn := "look"`, `{}`, Answer{Warn: []string{"look"}}},
		"a list":                 {runs.PolicyPlan, `warn := ["b", "a"]`, `{}`, Answer{Warn: []string{"a", "b"}}},
		"by a helper":            {runs.PolicyPlan, "deny contains m if { m := bad[_] }\nbad := [x | some x in input.l; startswith(x, \"a\")]", `{"l":["ab","b"]}`, Answer{Deny: []string{"ab"}}},
		"with rego.v1 imported":  {runs.PolicyPlan, "import rego.v1\ndeny contains \"x\" if input.a", `{"a":true}`, Answer{Deny: []string{"x"}}},
		"print is left out":      {runs.PolicyPlan, `deny contains "x" if { print("hello", input); input.a }`, `{"a":true}`, Answer{Deny: []string{"x"}}},
		"metadata are comments":  {runs.PolicyPlan, "# METADATA\n# title: x\ndeny contains \"x\" if input.a", `{"a":true}`, Answer{Deny: []string{"x"}}},
		"a template string":      {runs.PolicyPlan, `deny contains $"{input.a} is bad"`, `{"a":"it"}`, Answer{Deny: []string{"it is bad"}}},
		"ignore":                 {runs.PolicyPush, `ignore contains "docs" if input.a`, `{"a":true}`, Answer{Ignore: []string{"docs"}}},
		"track and propose":      {runs.PolicyPush, "track if input.a\npropose := true", `{"a":true}`, Answer{Track: true, Propose: true}},
		"not track":              {runs.PolicyPush, "default track := false\ntrack if input.a", `{}`, Answer{}},
		"approve":                {runs.PolicyApproval, `approve if count(input.l) > 1`, `{"l":[1,2]}`, Answer{Approve: true}},
		"reject":                 {runs.PolicyApproval, `reject contains "no"`, `{}`, Answer{Reject: []string{"no"}}},
		"trigger":                {runs.PolicyTrigger, `trigger contains s if some s in ["b", "a"]`, `{}`, Answer{Trigger: []string{"a", "b"}}},
		"mute":                   {runs.PolicyNotification, `mute if input.a`, `{"a":true}`, Answer{Mute: true}},
		"channel":                {runs.PolicyNotification, `channel contains "ops"`, `{}`, Answer{Channels: []string{"ops"}}},
		"rules of other types":   {runs.PolicyPush, "track := true\ndeny contains \"x\"", `{}`, Answer{Track: true}},
		"the time of the input":  {runs.PolicyPlan, `deny contains "late" if { [h, _, _] := time.clock(time.parse_rfc3339_ns(input.request.time)); h > 17 }`, `{"request":{"time":"2026-11-28T18:00:00Z"}}`, Answer{Deny: []string{"late"}}},
		"large numbers are kept": {runs.PolicyPlan, `deny contains sprintf("%d", [input.a + 1])`, `{"a":12345678901234567890}`, Answer{Deny: []string{"12345678901234567891"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ask(t, with(tt.of, tt.body), tt.input)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextsThatAreRefused(t *testing.T) {
	plan := runs.PolicyPlan
	for name, tt := range map[string]struct {
		p    runs.Policy
		want string
	}{
		"another package":   {runs.Policy{Name: "p", Type: plan, Body: "package spacelift\ndeny contains \"x\""}, "1:1: The text must begin with “package groundcrew”"},
		"no package":        {runs.Policy{Name: "p", Type: plan, Body: "deny contains \"x\""}, "1:1: package expected"},
		"no rule":           {with(plan, "allow := true"), "no rule that a policy of type plan is asked for. Those are: deny, warn."},
		"only a comment":    {with(plan, "# later"), "no rule"},
		"a function":        {with(plan, `deny(x) := "y" if x == 1`), "3:1: deny is a function"},
		"version 0":         {with(plan, `deny[msg] { msg = "x" }`), "3:1: `if` keyword is required before rule body"},
		"a slip":            {with(plan, "deny contains msg if {\n\tmsg := 1 +\n}"), "5:1: unexpected } token"},
		"unsafe":            {with(plan, "deny contains msg if x == 1"), "3:"},
		"recursion":         {with(plan, "deny contains x if x := a\na := b\nb := a"), "rule data.groundcrew.a is recursive"},
		"the network":       {with(plan, `deny contains "x" if http.send({"url": "http://localhost"})`), "undefined function http.send: policies here cannot reach outside"},
		"the clock":         {with(plan, `deny contains "x" if time.now_ns() > 1`), "3:22: undefined function time.now_ns: the time is in input.request.time"},
		"types":             {with(plan, `deny contains "x" if 1 + "a" == 2`), "3:22: plus: invalid argument(s)"},
		"too deep":          {with(plan, "deny contains "+strings.Repeat("[", 5000)), "max parsing recursion depth exceeded"},
		"deep by operator":  {with(plan, "deny contains x if x := "+strings.Repeat("1+", 20000)+"1"), "max parsing recursion depth exceeded"},
		"too long":          {with(plan, "deny contains \"x\" # "+strings.Repeat("x", runs.MaxPolicyBody)), "65536 is the most"},
		"not UTF-8":         {with(plan, "deny contains \"\xff\""), "not UTF-8"},
		"an endless number": {with(plan, "deny contains \"x\" if input.a == 1e999999999"), "number too big"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(tt.p)
			if e, ok := errors.AsType[*runs.Error](err); !ok || e.Field != "body" || !errors.Is(err, runs.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q about body", err, tt.want)
			}
		})
	}
	_, err := Compile(with(plan, strings.Repeat("deny contains x\n", 50)))
	if n := strings.Count(err.Error(), "\n") + 1; n != maxErrors {
		t.Errorf("%d lines of errors: %v", n, err)
	}
}

func TestEvaluationsThatFail(t *testing.T) {
	for name, tt := range map[string]struct{ body, input, want string }{
		"number":          {`deny := 1`, `{}`, "deny must be a set of texts, and is a number"},
		"object":          {`deny[x] := y if some x, y in {"a": "b"}`, `{}`, "deny must be a set of texts, and is an object"},
		"numbers":         {`warn contains 1`, `{}`, "warn must be a set of texts, and one in it is a number"},
		"null":            {`warn contains null`, `{}`, "one in it is null"},
		"contradiction":   {"deny := \"a\" if input.a\ndeny := \"b\" if input.b", `{"a":true,"b":true}`, "rule data.groundcrew.deny produced conflicting values"},
		"division":        {`deny contains "x" if 1 / input.zero > 1`, `{"zero":0}`, "3:22: div: divide by zero"},
		"wrong type":      {`deny contains "x" if startswith(input.a, "b")`, `{"a":1}`, "startswith: operand 1 must be string but got number"},
		"not JSON":        {`deny contains "x"`, `{"a":`, "the input is not JSON"},
		"more after JSON": {`deny contains "x"`, `{} {}`, "the input is not JSON"},
		"no input":        {`deny contains "x"`, ``, "the input is not JSON"},
		"endless number":  {`deny contains "x" if floor(input.a) > 1`, `{"a":1e999999999}`, "the input cannot be used"},
		"large number":    {`deny contains "x" if floor(input.a) > 1`, `{"a":1e9999}`, "floor: a number has more than 1000 digits"},
		"many messages":   {`deny contains sprintf("%d", [i]) if some i in numbers.range(1, 20000)`, `{}`, "deny holds more than 10000 texts"},
		"long messages":   {`deny contains concat("x", [sprintf("%999d", [i]) | some i in numbers.range(1, 2000)])`, `{}`, "1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // no time passes there, however slow the machine
				if a, err := ask(t, with(runs.PolicyPlan, tt.body), tt.input); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v %v, want %q", a, err, tt.want)
				}
			})
		})
	}
	for _, tt := range []struct {
		of         runs.PolicyType
		body, want string
	}{
		{runs.PolicyPush, `track := "yes"`, "track must be true or false, and is a string"},
		{runs.PolicyTrigger, `trigger := true`, "trigger must be a set of texts, and is a boolean"},
		{runs.PolicyNotification, `channel := {"a": 1}`, "channel must be a set of texts, and is an object"},
	} {
		if a, err := ask(t, with(tt.of, tt.body), `{}`); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v %v, want %q", tt.body, a, err, tt.want)
		}
	}
}

// What was said by whom, and what it comes to.
func TestJudge(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	broken := errors.New("3:1: div: divide by zero")
	for name, tt := range map[string]struct {
		of    runs.PolicyType
		asked []Asked
		want  runs.PolicyOutcome
		each  string
	}{
		"no plan policy":            {runs.PolicyPlan, nil, runs.OutcomeAllow, ""},
		"allow":                     {runs.PolicyPlan, []Asked{{}}, runs.OutcomeAllow, "allow"},
		"warn over allow":           {runs.PolicyPlan, []Asked{{}, {Answer: Answer{Warn: []string{"w"}}}, {}}, runs.OutcomeWarn, "allow warn allow"},
		"deny over warn":            {runs.PolicyPlan, []Asked{{Answer: Answer{Warn: []string{"w"}}}, {Answer: Answer{Deny: []string{"d"}}}}, runs.OutcomeDeny, "warn deny"},
		"a broken one denies":       {runs.PolicyPlan, []Asked{{}, {Err: broken}}, runs.OutcomeDeny, "allow error"},
		"no push policy":            {runs.PolicyPush, nil, runs.OutcomeUndecided, ""},
		"ignore over track":         {runs.PolicyPush, []Asked{{Answer: Answer{Track: true}}, {Answer: Answer{Ignore: []string{"i"}}}}, runs.OutcomeIgnore, "track ignore"},
		"track over propose":        {runs.PolicyPush, []Asked{{Answer: Answer{Propose: true}}, {Answer: Answer{Track: true}}}, runs.OutcomeTrack, "propose track"},
		"propose over nothing":      {runs.PolicyPush, []Asked{{}, {Answer: Answer{Propose: true}}}, runs.OutcomePropose, "undecided propose"},
		"a broken one is left out":  {runs.PolicyPush, []Asked{{Err: broken}, {Answer: Answer{Propose: true}}}, runs.OutcomePropose, "error propose"},
		"only a broken one":         {runs.PolicyPush, []Asked{{Err: broken}}, runs.OutcomeUndecided, "error"},
		"no approval policy":        {runs.PolicyApproval, nil, runs.OutcomeUndecided, ""},
		"all approve":               {runs.PolicyApproval, []Asked{{Answer: Answer{Approve: true}}, {Answer: Answer{Approve: true}}}, runs.OutcomeApprove, "approve approve"},
		"one does not":              {runs.PolicyApproval, []Asked{{Answer: Answer{Approve: true}}, {}}, runs.OutcomeUndecided, "approve undecided"},
		"one is broken":             {runs.PolicyApproval, []Asked{{Answer: Answer{Approve: true}}, {Err: broken}}, runs.OutcomeUndecided, "approve error"},
		"one rejects":               {runs.PolicyApproval, []Asked{{Answer: Answer{Approve: true}}, {Answer: Answer{Reject: []string{"r"}, Approve: true}}, {}}, runs.OutcomeReject, "approve reject undecided"},
		"trigger":                   {runs.PolicyTrigger, []Asked{{}, {Answer: Answer{Trigger: []string{"b", "a"}}}, {Answer: Answer{Trigger: []string{"a"}}}}, runs.OutcomeTrigger, "undecided trigger trigger"},
		"a broken trigger":          {runs.PolicyTrigger, []Asked{{Err: broken}}, runs.OutcomeUndecided, "error"},
		"told":                      {runs.PolicyNotification, []Asked{{}}, runs.OutcomeAllow, "allow"},
		"muted":                     {runs.PolicyNotification, []Asked{{}, {Answer: Answer{Mute: true}}}, runs.OutcomeMute, "allow mute"},
		"a broken one is told over": {runs.PolicyNotification, []Asked{{Err: broken}}, runs.OutcomeAllow, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tt.asked {
				tt.asked[i].Policy = runs.Policy{Slug: "p", Name: "P", Type: tt.of}
			}
			v := Judge(tt.of, tt.asked, at)
			var each []string
			for _, r := range v.Results {
				each = append(each, string(r.Outcome))
				if r.Policy != "p" || r.Name != "P" || r.Type != tt.of || r.At != at {
					t.Errorf("result %+v", r)
				}
			}
			if v.Outcome != tt.want || strings.Join(each, " ") != tt.each {
				t.Errorf("%s of %v, want %s of %s", v.Outcome, each, tt.want, tt.each)
			}
		})
	}
	v := Judge(runs.PolicyTrigger, []Asked{{Policy: runs.Policy{Name: "P"}, Answer: Answer{Trigger: []string{"b", "a"}}}, {Answer: Answer{Trigger: []string{"a"}}}}, at)
	if diff := cmp.Diff([]string{"a", "b"}, v.Trigger); diff != "" {
		t.Error(diff)
	}
	v = Judge(runs.PolicyPlan, []Asked{{Policy: runs.Policy{Name: "P", Type: runs.PolicyPlan}, Err: broken}}, at)
	if diff := cmp.Diff([]string{"P: 3:1: div: divide by zero"}, v.Messages); diff != "" {
		t.Error(diff)
	}
}

// Every outcome that a policy can have is in the order of its type, so that none is passed over.
func TestEveryOutcomeCounts(t *testing.T) {
	for _, of := range runs.PolicyTypes {
		for _, a := range []Answer{{}, {Deny: []string{"x"}}, {Warn: []string{"x"}}, {Ignore: []string{"x"}}, {Reject: []string{"x"}}, {Trigger: []string{"x"}}, {Channels: []string{"x"}}, {Approve: true}, {Propose: true}, {Track: true}, {Mute: true}} {
			if !said(of, a) {
				continue
			}
			v := Judge(of, []Asked{{Policy: runs.Policy{Type: of}, Answer: a}}, time.Time{})
			if got := v.Results[0].Outcome; got != v.Outcome || !slices.Contains(order[of], got) {
				t.Errorf("%s %+v: %s, and together %s", of, a, got, v.Outcome)
			}
		}
	}
}

// said reports whether a policy of the type can give the answer.
func said(of runs.PolicyType, a Answer) bool {
	for _, r := range rules[of] {
		if r.kind == yes {
			*a.yes(r.name) = false
		} else {
			*a.texts(r.name) = nil
		}
	}
	return cmp.Equal(a, Answer{})
}

// A bubble has no clock of its own and counts goroutines: an evaluation leaves none.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := Compile(with(runs.PolicyPlan, `deny contains "x" if count([i | some i in numbers.range(1, 20000)]) == 20000`))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			go func() {
				if a, err := p.Ask(context.Background(), json.RawMessage(`{}`)); err != nil || len(a.Deny) != 1 {
					t.Errorf("%v %v", a, err)
				}
			}()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
	})
}

// BenchmarkAsk asks about a plan of 1 MB, in this process and in one of its own.
func BenchmarkAsk(b *testing.B) {
	p := with(runs.PolicyPlan, `deny contains msg if {
	some rc in input.plan.resource_changes
	"delete" in rc.change.actions
	rc.type == "aws_db_instance"
	msg := sprintf("%s would be destroyed", [rc.address])
}`)
	var list []string
	for i := range 1500 {
		list = append(list, fmt.Sprintf(`{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","index":%d,"provider_name":"registry.opentofu.org/hashicorp/aws","change":{"actions":["create"],"before":null,"after":{"ami":"ami-0123456789abcdef0","instance_type":"t3.micro","tags":{"Name":"web-%d","team":"platform","cost-centre":"4711"},"root_block_device":[{"volume_size":20,"volume_type":"gp3","encrypted":true}],"user_data":"#!/bin/sh\necho hello world from cloud-init\n"},"after_unknown":{"id":true,"arn":true,"private_ip":true,"public_ip":true},"after_sensitive":{}}}`, i, i, i))
	}
	input := json.RawMessage(`{"plan":{"format_version":"1.2","resource_changes":[` + strings.Join(list, ",") + `]}}`)
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]Court{"here": {}, "own process": NewCourt(exe, func() int { return 1 })} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(input)))
			for b.Loop() {
				if _, err := c.Ask(b.Context(), p, input); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("small, own process", func(b *testing.B) {
		for b.Loop() {
			if _, err := NewCourt(exe, func() int { return 1 }).Ask(b.Context(), p, json.RawMessage(`{"plan":{}}`)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var example = regexp.MustCompile("(?s)```rego\n(# An? ([a-z]+) policy.*?)```")

// The README's examples compile as they stand there and say what the text around them says.
func TestExamplesOfTheReadme(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	at := runs.Stack{Slug: "network", Labels: []string{"prod"}}
	in := Input{Stack: StackOf(at)}.About(runs.Run{Type: runs.Tracked, State: runs.Finished, Delta: &runs.Delta{Destroy: 6}})
	in.Plan = json.RawMessage(`{"resource_changes":[{"address":"aws_db_instance.a","type":"aws_db_instance","change":{"actions":["delete","create"]}},{"address":"x.y","type":"x","change":{"actions":["delete"]}}]}`)
	in.Push = &Push{Files: []string{"docs/a.md"}}
	in.Reviews = &Reviews{Approvals: []Review{{By: "ann"}, {By: "bo"}}, Rejections: []Review{}}
	in.Stacks = []Stack{StackOf(runs.Stack{Slug: "edge", Labels: []string{"after:network"}}), StackOf(runs.Stack{Slug: "dns"})}
	in.Event = &Event{Topic: runs.OnFailed}
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[runs.PolicyType]Answer{
		runs.PolicyPush:         {Ignore: []string{"only documents changed"}},
		runs.PolicyPlan:         {Deny: []string{"aws_db_instance.a would be destroyed"}, Warn: []string{"6 resources would be destroyed"}},
		runs.PolicyApproval:     {Approve: true},
		runs.PolicyTrigger:      {Trigger: []string{"edge"}},
		runs.PolicyNotification: {Channels: []string{"on-call"}},
	}
	for _, m := range example.FindAllStringSubmatch(string(raw), -1) {
		of := runs.PolicyType(m[2])
		got, err := ask(t, runs.Policy{Name: "p", Type: of, Body: m[1]}, string(input))
		if diff := cmp.Diff(want[of], got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", of, err, diff)
		}
		delete(want, of)
	}
	if len(want) > 0 || strings.Count(string(raw), "```rego") != len(runs.PolicyTypes) {
		t.Errorf("no example of %v, or one that says no type", want)
	}
}
