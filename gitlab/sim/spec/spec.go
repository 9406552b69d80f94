// Package spec says what is wrong with an exchange with GitLab's API, by what GitLab itself publishes of it. Tests hold the
// simulated GitLab and our requests to it, so that neither drifts into what no GitLab does.
//
// published.json is our own table, made from GitLab's OpenAPI description (17.10, with what came until 19.2): of each operation
// the simulator serves the parameters and answers, of each entity the names and types of its properties. In a type "!" means
// required, "[]" a list of, and what follows "|" are the only values. Where the description is known to be wrong, fixes.go says
// so. Nothing in it says which properties are always there: recorded answers do (testdata/responses of the simulator).
package spec

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed published.json
var published []byte

// A Table is what is known of the API. It does not change after New.
type Table struct {
	Operations map[string]*Operation        // by method and path, as "GET projects/{}/hooks"
	Shapes     map[string]map[string]string // entity → property → type
}

// An Operation is one method of one path.
type Operation struct {
	Params  map[string]string // name → type
	Answers map[string]string // status of a success → type of its body, "" where nothing is said
}

// New reads the table and mends what is known to be wrong in it.
func New() (*Table, error) {
	t := &Table{}
	if err := json.Unmarshal(published, t); err != nil {
		return nil, fmt.Errorf("the table of GitLab's API can't be read: %w", err)
	}
	return t, t.mend()
}

// Find is the operation of a path below /api/v4/, escaped as it was sent, with its name; nil when GitLab publishes none.
// Fixed words win over variables: projects/{}/members/all is not a member.
func (t *Table) Find(method, path string) (string, *Operation) {
	best, parts := "", strings.Split(path, "/")
	for name := range t.Operations {
		verb, pattern, _ := strings.Cut(name, " ")
		if verb == method && fits(strings.Split(pattern, "/"), parts) && (best == "" || strings.Count(name, "{}") < strings.Count(best, "{}")) {
			best = name
		}
	}
	return best, t.Operations[best]
}

func fits(pattern, parts []string) bool {
	if len(pattern) != len(parts) {
		return false
	}
	for i, p := range pattern {
		if p != "{}" && p != parts[i] || parts[i] == "" {
			return false
		}
	}
	return true
}

// A Type is a type of the table, taken apart.
type Type struct {
	Required bool
	List     bool
	Name     string   // string, integer, number, boolean, object, any or a shape
	Values   []string // the only ones; nil for all
}

// Read takes a type apart.
func Read(text string) (t Type) {
	text, t.Required = strings.CutPrefix(text, "!")
	text, t.List = strings.CutPrefix(text, "[]")
	name, values, limited := strings.Cut(text, "|")
	t.Name = name
	if limited {
		t.Values = strings.Split(values, ",")
	}
	return t
}

// Request says what is wrong with the parameters of a request; strict also names those GitLab does not know, which it would
// ignore in silence (GOTCHAS 74).
func (o *Operation) Request(sent map[string]any, strict bool) (wrong []string) {
	for name, text := range o.Params {
		typ := Read(text)
		value, there := sent[name]
		switch {
		case !there && typ.Required:
			wrong = append(wrong, name+" is missing")
		case there && !typ.takes(value):
			wrong = append(wrong, fmt.Sprintf("%s is %v and no %s", name, value, text))
		}
	}
	for name := range sent {
		if _, known := o.Params[name]; !known && strict {
			wrong = append(wrong, name+" is no parameter of it")
		}
	}
	slices.Sort(wrong)
	return wrong
}

// takes accepts what Grape would: numbers and booleans as text too.
func (t Type) takes(v any) bool {
	if list, is := v.([]any); is {
		one := t
		one.List = false
		return t.List && !slices.ContainsFunc(list, func(v any) bool { return !one.takes(v) })
	}
	text := fmt.Sprint(v)
	var err error
	switch t.Name {
	case "integer":
		_, err = strconv.ParseInt(text, 10, 64)
	case "number":
		_, err = strconv.ParseFloat(text, 64)
	case "boolean":
		_, err = strconv.ParseBool(text)
	case "object":
		_, is := v.(map[string]any)
		return is
	}
	return err == nil && (t.Values == nil || slices.Contains(t.Values, text) || t.List)
}

// Answer says what is wrong with a successful answer: its status, or properties with unknown names or of other types.
func (t *Table) Answer(o *Operation, status int, body any) []string {
	text, known := o.Answers[strconv.Itoa(status)]
	switch {
	case !known:
		return []string{fmt.Sprintf("status %d is none of its answers", status)}
	case text == "" || body == nil:
		return nil
	}
	return t.conforms("", Read(text), body)
}

func (t *Table) conforms(at string, typ Type, v any) (wrong []string) {
	shape := t.Shapes[typ.Name]
	switch {
	case v == nil, typ.Name == "any" && !typ.List: // GitLab sends null in many places the description does not admit
		return nil
	case typ.List:
		list, is := v.([]any)
		if !is {
			return []string{fmt.Sprintf("%s is no list", at)}
		}
		typ.List = false
		for i, item := range list {
			wrong = append(wrong, t.conforms(fmt.Sprintf("%s[%d]", at, i), typ, item)...)
		}
	case shape != nil:
		return t.fields(at, typ.Name, shape, v)
	case !is(typ.Name, v):
		return []string{fmt.Sprintf("%s is %T and no %s", at, v, typ.Name)}
	}
	return wrong
}

func (t *Table) fields(at, name string, shape map[string]string, v any) (wrong []string) {
	o, isObject := v.(map[string]any)
	if !isObject {
		return []string{fmt.Sprintf("%s is no %s", at, name)}
	}
	for k, inner := range o {
		text, known := shape[k]
		if !known {
			wrong = append(wrong, fmt.Sprintf("%s.%s: %s has no such property", at, k, name))
			continue
		}
		wrong = append(wrong, t.conforms(at+"."+k, Read(text), inner)...)
	}
	return wrong
}

func is(name string, v any) bool {
	var ok bool
	switch name {
	case "string":
		_, ok = v.(string)
	case "boolean":
		_, ok = v.(bool)
	case "number":
		_, ok = v.(float64)
	case "integer":
		f, number := v.(float64)
		ok = number && f == float64(int64(f))
	case "object":
		_, ok = v.(map[string]any)
	default:
		ok = true
	}
	return ok
}

// Refusal says what is wrong with the body of an answer of 400 and above: it has one of four shapes (§0.3).
func Refusal(body any) []string {
	o, ok := body.(map[string]any)
	if !ok {
		return []string{"a refusal without an object"}
	}
	for k := range o {
		if !slices.Contains([]string{"message", "error", "error_description", "scope"}, k) {
			return []string{"a refusal has no " + k}
		}
	}
	if o["message"] == nil && o["error"] == nil {
		return []string{"a refusal has a message or an error"}
	}
	return nil
}
