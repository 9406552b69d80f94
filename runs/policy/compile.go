package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"groundcrew/runs"
)

// What a rule's value is.
type kind int

const (
	messages kind = iota // a set of texts
	yes                  // true or false
)

type rule struct {
	name string
	kind kind
}

// rules are those that each type knows, in the order of the package comment.
var rules = map[runs.PolicyType][]rule{
	runs.PolicyPush:         {{"ignore", messages}, {"track", yes}, {"propose", yes}},
	runs.PolicyPlan:         {{"deny", messages}, {"warn", messages}},
	runs.PolicyApproval:     {{"approve", yes}, {"reject", messages}},
	runs.PolicyTrigger:      {{"trigger", messages}},
	runs.PolicyNotification: {{"mute", yes}, {"channel", messages}},
}

// Rules names the rules that policies of the type may have.
func Rules(t runs.PolicyType) []string {
	var names []string
	for _, r := range rules[t] {
		names = append(names, r.name)
	}
	return names
}

const (
	pkg       = "groundcrew"
	maxErrors = 10  // that are told of one text
	maxDepth  = 200 // of brackets in a text
)

// A Policy is one that can be asked. It may be used from several goroutines.
type Policy struct {
	of       runs.Policy
	compiler *ast.Compiler
	rules    []rule // those the text has
	queries  []ast.Body
}

// Compile reads a policy. What is wrong with its text is an ErrInvalid on the field “body” with a line for each error, at most ten:
// line:column and what is wrong there.
func Compile(p runs.Policy) (compiled *Policy, err error) {
	defer func() {
		if r := recover(); r != nil {
			compiled, err = nil, runs.Invalidf("body", "The text cannot be compiled: it breaks the compiler. Write it in another way.")
		}
	}()
	if err := p.Validate(); err != nil {
		return nil, err
	}
	module, err := parse(p.Body)
	if err != nil {
		return nil, bodyError(err)
	}
	out := &Policy{of: p}
	if out.rules, err = known(p.Type, module); err != nil {
		return nil, err
	}
	out.compiler = ast.NewCompiler().SetErrorLimit(maxErrors).WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1)
	out.compiler.Compile(map[string]*ast.Module{"": module})
	if out.compiler.Failed() {
		return nil, bodyError(out.compiler.Errors)
	}
	return out, out.prepare()
}

// parse reads the text. The first reading bounds how deep it is nested: a parser that calls itself too often ends the program.
func parse(body string) (*ast.Module, error) {
	caps := capabilities()
	_, _, errs := ast.NewParser().WithReader(strings.NewReader(body)).WithCapabilities(caps).WithRegoVersion(ast.RegoV1).
		WithMaxRecursionDepth(maxDepth).Parse()
	if len(errs) > 0 {
		return nil, errs
	}
	return ast.ParseModuleWithOpts("", body, ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
}

// known finds the rules of the type in the text. A text without any decides nothing and is refused.
func known(t runs.PolicyType, m *ast.Module) (found []rule, err error) {
	if path := m.Package.Path; len(path) != 2 || path[1].Value.Compare(ast.String(pkg)) != 0 {
		return nil, runs.Invalidf("body", "%sThe text must begin with “package %s”: that is where its rules are looked for.", at(m.Package.Location), pkg)
	}
	for _, r := range rules[t] {
		i := slices.IndexFunc(m.Rules, func(m *ast.Rule) bool { return nameOf(m) == r.name })
		if i < 0 {
			continue
		}
		if len(m.Rules[i].Head.Args) > 0 {
			return nil, runs.Invalidf("body", "%s%s is a function here. A policy of type %s is asked for the rule %s, without arguments.", at(m.Rules[i].Location), r.name, t, r.name)
		}
		found = append(found, r)
	}
	if len(found) == 0 {
		return nil, runs.Invalidf("body", "The text has no rule that a policy of type %s is asked for. Those are: %s.", t, strings.Join(Rules(t), ", "))
	}
	return found, nil
}

func nameOf(r *ast.Rule) string {
	switch v := r.Head.Ref()[0].Value.(type) {
	case ast.Var:
		return string(v)
	case ast.String:
		return string(v)
	default:
		return ""
	}
}

const answer = ast.Var("answer")

// prepare makes the question for each rule: answer = data.groundcrew.<rule>.
func (p *Policy) prepare() error {
	for _, r := range p.rules {
		ref := ast.Ref{ast.DefaultRootDocument, ast.StringTerm(pkg), ast.StringTerm(r.name)}
		q, err := p.compiler.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(answer), ast.NewTerm(ref))))
		if err != nil {
			return bodyError(err)
		}
		p.queries = append(p.queries, q)
	}
	return nil
}

// bodyError says in words what the parser or the compiler found.
func bodyError(err error) error {
	list, ok := errors.AsType[ast.Errors](err)
	if !ok {
		one, ok := errors.AsType[*ast.Error](err)
		if !ok {
			return runs.Invalidf("body", "The text cannot be compiled: %s", runs.BoundMessages([]string{err.Error()})[0])
		}
		list = ast.Errors{one}
	}
	list.Sort()
	var lines []string
	for _, e := range list {
		line := at(e.Location) + runs.BoundMessages([]string{e.Message + details(e)})[0] + hint(e.Message)
		if !slices.Contains(lines, line) && len(lines) < maxErrors {
			lines = append(lines, line)
		}
	}
	return runs.Invalidf("body", "%s", strings.Join(lines, "\n"))
}

// details are what the compiler adds to some errors, like the types that do not fit.
func details(e *ast.Error) string {
	if e.Details == nil {
		return ""
	}
	return " (" + strings.Join(e.Details.Lines(), ", ") + ")"
}

// hint says of a function that is Rego's why it is not there.
func hint(message string) string {
	name, is := strings.CutPrefix(message, "undefined function ")
	_, regos := ast.BuiltinMap[name]
	switch {
	case !is || !regos:
		return ""
	case name == ast.NowNanos.Name:
		return ": the time is in input.request.time, so that the same input always gets the same answer"
	default:
		return ": policies here cannot reach outside, and the same input always gets the same answer"
	}
}

// at says a place in the text as line:column, "" for none.
func at(l *ast.Location) string {
	if l == nil || l.Row == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%d: ", l.Row, l.Col)
}
