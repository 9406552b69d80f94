package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"groundcrew/runs"
)

// An Answer is what one policy says of one input. Only the fields of its type's rules are ever set; texts are sorted and none is
// twice in a list.
type Answer struct {
	Deny     []string `json:"deny,omitempty"`
	Warn     []string `json:"warn,omitempty"`
	Ignore   []string `json:"ignore,omitempty"`
	Reject   []string `json:"reject,omitempty"`
	Trigger  []string `json:"trigger,omitempty"` // slugs of stacks, as the policy names them
	Channels []string `json:"channels,omitempty"`
	Approve  bool     `json:"approve,omitempty"`
	Propose  bool     `json:"propose,omitempty"`
	Track    bool     `json:"track,omitempty"`
	Mute     bool     `json:"mute,omitempty"`
}

// Ask evaluates the policy against the input, a JSON document. One evaluation is made at a time in this process; ctx ends the
// waiting for it, and the evaluation. An error says in words why there is no answer: they are safe to show to whoever may read the
// policy, since they may hold what the policy said.
func (p *Policy) Ask(ctx context.Context, input json.RawMessage) (a Answer, err error) {
	select {
	case inside <- struct{}{}:
		defer func() { <-inside }()
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	defer func() {
		if r := recover(); r != nil {
			a, err = Answer{}, errors.New("it breaks the evaluator. Write it in another way")
		}
	}()
	m := newMeter(ctx, timeFor(p.of.Type))
	doc, err := readInput(input)
	if err != nil {
		return Answer{}, err
	}
	for i, r := range p.rules {
		value, err := p.ask(m, p.queries[i], doc)
		if err == nil {
			err = a.take(r, value)
		}
		if err != nil {
			return Answer{}, err
		}
	}
	return a, nil
}

func readInput(input json.RawMessage) (*ast.Term, error) {
	if len(input) > MaxInput {
		return nil, tooLarge(len(input))
	}
	var x any
	if err := util.UnmarshalJSON(input, &x); err != nil {
		return nil, fmt.Errorf("the input is not JSON: %w", err)
	}
	v, err := ast.InterfaceToValue(x)
	if err != nil {
		return nil, fmt.Errorf("the input cannot be used: %w", err)
	}
	return ast.NewTerm(v), nil
}

func tooLarge(n int) error { return fmt.Errorf("the input has %d bytes; %d is the most", n, MaxInput) }

// ask evaluates one rule; nil is a rule that says nothing.
func (p *Policy) ask(m *meter, q ast.Body, input *ast.Term) (value *ast.Term, err error) {
	db := inmem.New() // the evaluator wants one; nothing is in it
	err = storage.Txn(m.ctx, db, storage.TransactionParams{}, func(txn storage.Transaction) error {
		return topdown.NewQuery(q).WithCompiler(p.compiler).WithStore(db).WithTransaction(txn).WithInput(input).WithCancel(m).
			WithStrictBuiltinErrors(true).WithIndexing(false). // an index passes over errors that it makes irrelevant
			WithTime(m.until).WithSeed(strings.NewReader("")).
			Iter(m.ctx, func(r topdown.QueryResult) error {
				value = r[answer]
				return nil
			})
	})
	switch {
	case m.cut != nil:
		return nil, m.cut
	case err != nil:
		return nil, told(err)
	}
	return value, nil
}

// told says an error of the evaluation in words.
func told(err error) error {
	e, ok := errors.AsType[*topdown.Error](err)
	if !ok {
		e = &topdown.Error{Message: err.Error()}
	}
	return errors.New(at(e.Location) + runs.BoundMessages([]string{e.Message})[0])
}

// take puts what a rule said where it belongs.
func (a *Answer) take(r rule, value *ast.Term) error {
	if value == nil {
		return nil
	}
	if r.kind == yes {
		b, ok := value.Value.(ast.Boolean)
		if !ok {
			return fmt.Errorf("%s must be true or false, and is %s", r.name, article(value))
		}
		*a.yes(r.name) = bool(b)
		return nil
	}
	list, err := texts(r.name, value)
	*a.texts(r.name) = list
	return err
}

func (a *Answer) yes(rule string) *bool {
	return map[string]*bool{"approve": &a.Approve, "propose": &a.Propose, "track": &a.Track, "mute": &a.Mute}[rule]
}

func (a *Answer) texts(rule string) *[]string {
	return map[string]*[]string{
		"deny": &a.Deny, "warn": &a.Warn, "ignore": &a.Ignore, "reject": &a.Reject, "trigger": &a.Trigger, "channel": &a.Channels,
	}[rule]
}

// done are the words for a rule that is simply true.
var done = map[string]string{"deny": "denied", "warn": "warned", "ignore": "ignored", "reject": "rejected"}

// texts reads the value of a rule that collects texts.
func texts(name string, value *ast.Term) (list []string, err error) {
	size := 0
	add := func(t *ast.Term) bool {
		s, ok := t.Value.(ast.String)
		size += len(s)
		switch {
		case !ok:
			err = fmt.Errorf("%s must be a set of texts, and one in it is %s", name, article(t))
		case len(list) == maxMessages || size > maxAnswer:
			err = fmt.Errorf("%s holds more than %d texts or %d bytes of them", name, maxMessages, maxAnswer)
		default:
			list = append(list, string(s))
		}
		return err != nil
	}
	switch v := value.Value.(type) {
	case ast.Boolean:
		word, ok := done[name]
		switch {
		case !bool(v):
			return nil, nil
		case ok:
			return []string{word}, nil
		}
		return nil, fmt.Errorf("%s must be a set of texts, and is %s", name, article(value))
	case ast.String:
		add(value)
	case ast.Set:
		v.Until(add)
	case *ast.Array:
		v.Until(add)
	default:
		return nil, fmt.Errorf("%s must be a set of texts, and is %s", name, article(value))
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

// article names the type of a value.
func article(t *ast.Term) string {
	switch name := ast.ValueName(t.Value); name {
	case "array", "object":
		return "an " + name
	case "null":
		return name
	default:
		return "a " + name
	}
}

// outcome says what an answer to one question of the type comes to, and its messages.
func outcome(t runs.PolicyType, a Answer) (runs.PolicyOutcome, []string) {
	switch {
	case len(a.Deny) > 0:
		return runs.OutcomeDeny, slices.Concat(a.Deny, a.Warn)
	case len(a.Warn) > 0:
		return runs.OutcomeWarn, a.Warn
	case len(a.Ignore) > 0:
		return runs.OutcomeIgnore, a.Ignore
	case a.Track:
		return runs.OutcomeTrack, nil
	case a.Propose:
		return runs.OutcomePropose, nil
	case len(a.Reject) > 0:
		return runs.OutcomeReject, a.Reject
	case a.Approve:
		return runs.OutcomeApprove, nil
	case len(a.Trigger) > 0:
		return runs.OutcomeTrigger, a.Trigger
	case a.Mute:
		return runs.OutcomeMute, nil
	case t == runs.PolicyPlan || t == runs.PolicyNotification:
		return runs.OutcomeAllow, a.Channels
	default:
		return runs.OutcomeUndecided, nil
	}
}
