package tofu

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	tfjson "github.com/hashicorp/terraform-json"

	"groundcrew/runs"
)

const (
	maxValue = 2000 // characters of a value that are shown
	maxDepth = 12   // levels of nesting that are told apart; below, a value is shown whole
)

// A value is one place in a resource: before and after, and what the plan marks about both. A mark is true
// for all of the value, or has its structure with true somewhere inside, or false, or null.
type value struct {
	path          string
	before, after any
	unknown       any // known only after apply
	wasSensitive  any
	isSensitive   any
	depth         int
}

// diff lists the attributes that differ, by path.
func diff(c tfjson.Change) []runs.AttributeChange {
	d := differ{replaces: replacePaths(c.ReplacePaths)}
	d.collect(c.Before, c.BeforeSensitive)
	d.collect(c.After, c.AfterSensitive)
	d.walk(value{before: c.Before, after: c.After, unknown: c.AfterUnknown, wasSensitive: c.BeforeSensitive, isSensitive: c.AfterSensitive})
	return d.found
}

type differ struct {
	replaces []string
	secrets  []string // texts that are sensitive somewhere in the resource
	found    []runs.AttributeChange
}

// minSecret is how many bytes a sensitive text must have to be looked for in other attributes.
const minSecret = 4

// collect notes the sensitive texts in a value. The tools forget that a value is sensitive when a provider
// copies it into another attribute, so it is looked for there too.
func (d *differ) collect(v, mark any) {
	if !anyTrue(mark) {
		return
	}
	switch parts := mark.(type) {
	case map[string]any:
		if m, is := v.(map[string]any); is {
			for k := range m {
				d.collect(m[k], parts[k])
			}
			return
		}
	case []any:
		if l, is := v.([]any); is {
			for i := range l {
				d.collect(l[i], part(parts, i))
			}
			return
		}
	}
	for s := range texts(v) { // all of it, also where the mark has another shape
		if len(s) >= minSecret {
			d.secrets = append(d.secrets, s)
		}
	}
}

// holdsSecret reports whether a sensitive text is part of any text in v.
func (d *differ) holdsSecret(v any) bool {
	if len(d.secrets) == 0 {
		return false
	}
	for s := range texts(v) {
		if d.isSecret(s) {
			return true
		}
	}
	return false
}

// texts yields all texts in a value, keys of maps included.
func texts(v any) iter.Seq[string] {
	return func(yield func(string) bool) { eachText(v, yield) }
}

func eachText(v any, yield func(string) bool) bool {
	switch v := v.(type) {
	case string:
		return yield(v)
	case map[string]any:
		for k, e := range v {
			if !yield(k) || !eachText(e, yield) {
				return false
			}
		}
	case []any:
		for _, e := range v {
			if !eachText(e, yield) {
				return false
			}
		}
	}
	return true
}

func (d *differ) walk(v value) {
	switch {
	case v.unknown == true:
		d.add(v, true)
	case reflect.DeepEqual(v.before, v.after) && !anyTrue(v.unknown):
		// Unchanged, sensitive or not.
	case v.wasSensitive == true || v.isSensitive == true || v.depth >= maxDepth:
		d.add(v, anyTrue(v.unknown))
	case v.kind() == reflect.Map:
		for _, k := range keys(v.before, v.after, v.unknown) {
			d.walk(v.child(k))
		}
	case v.kind() == reflect.Slice && !v.leafList():
		for i := range longest(v.before, v.after, v.unknown) {
			d.walk(v.child(i))
		}
	default:
		d.add(v, anyTrue(v.unknown))
	}
}

// child is the part of v at a key or index.
func (v value) child(key any) value {
	return value{
		path: join(v.path, key), before: part(v.before, key), after: part(v.after, key), unknown: part(v.unknown, key),
		wasSensitive: part(v.wasSensitive, key), isSensitive: part(v.isSensitive, key), depth: v.depth + 1,
	}
}

func part(in, key any) any {
	switch k := key.(type) {
	case string:
		m, _ := in.(map[string]any)
		return m[k]
	case int:
		if l, _ := in.([]any); k < len(l) {
			return l[k]
		}
	}
	return nil
}

// kind is the kind that the values and marks share. It is Invalid if they differ: then v is taken as a whole,
// so that no mark is lost on the way down.
func (v value) kind() reflect.Kind {
	k := reflect.Invalid
	for _, x := range []any{v.before, v.after, v.unknown, v.wasSensitive, v.isSensitive} {
		if x == nil {
			continue
		}
		switch t := reflect.TypeOf(x).Kind(); {
		case k == reflect.Invalid:
			k = t
		case t == k || x == false:
		default:
			return reflect.Invalid
		}
	}
	return k
}

// leafList reports whether a list is best shown whole: nothing but plain values, none of them special.
func (v value) leafList() bool {
	if anyTrue(v.unknown) || anyTrue(v.wasSensitive) || anyTrue(v.isSensitive) {
		return false
	}
	for _, list := range []any{v.before, v.after} {
		items, _ := list.([]any)
		for _, i := range items {
			switch i.(type) {
			case map[string]any, []any:
				return false
			}
		}
	}
	return true
}

func (d *differ) add(v value, unknown bool) {
	a := runs.AttributeChange{Path: v.path, Unknown: unknown, Replaces: d.forces(v.path), Effect: effect(v.before, v.after, v.unknown)}
	if a.Path == "" {
		a.Path = "(everything)"
	}
	if anyTrue(v.wasSensitive) || anyTrue(v.isSensitive) || d.holdsSecret(v.before) || d.holdsSecret(v.after) {
		a.Sensitive = true
	} else {
		a.Before = shown(v.before)
		if !unknown {
			a.After = shown(v.after)
		}
	}
	d.found = append(d.found, a)
}

// forces reports whether a path is, contains or lies in one that forces the replacement.
func (d *differ) forces(path string) bool {
	return slices.ContainsFunc(d.replaces, func(r string) bool { return within(path, r) || within(r, path) })
}

// within reports whether path is parent or below it.
func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// replacePaths brings paths to the form of AttributeChange.Path.
func replacePaths(paths []any) []string {
	var list []string
	for _, p := range paths {
		steps, _ := p.([]any)
		path := ""
		for _, s := range steps {
			if n, ok := s.(json.Number); ok {
				i, err := strconv.Atoi(n.String())
				if err != nil {
					break
				}
				s = i
			}
			path = join(path, s)
		}
		if path != "" {
			list = append(list, path)
		}
	}
	return list
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// join writes a.b, a[0] or a["any key"].
func join(path string, step any) string {
	switch s := step.(type) {
	case string:
		switch {
		case !plainKey.MatchString(s):
			return path + "[" + strconv.Quote(s) + "]"
		case path == "":
			return s
		default:
			return path + "." + s
		}
	default:
		return fmt.Sprintf("%s[%v]", path, s)
	}
}

func keys(values ...any) []string {
	all := map[string]bool{}
	for _, v := range values {
		m, _ := v.(map[string]any)
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func longest(values ...any) int {
	n := 0
	for _, v := range values {
		l, _ := v.([]any)
		n = max(n, len(l))
	}
	return n
}

// anyTrue reports whether a mark says true anywhere.
func anyTrue(mark any) bool {
	switch m := mark.(type) {
	case bool:
		return m
	case map[string]any:
		for _, v := range m {
			if anyTrue(v) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(m, anyTrue)
	}
	return false
}

// shown writes a value for people: compact JSON, "" for null. One longer than maxValue characters is cut, with its length and
// a digest of all of it, so that two plans that differ only beyond the cut are told apart, by people and by fingerprint.
func shown(v any) string {
	if v == nil {
		return ""
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "" // what came from JSON goes back to it
	}
	text := strings.TrimSuffix(b.String(), "\n")
	n := utf8.RuneCountInString(text)
	if n <= maxValue {
		return text
	}
	return fmt.Sprintf("%s (%d characters, sha256 %.6x)", cut(text, maxValue), n, sha256.Sum256([]byte(text)))
}

// effect is a digest of values as JSON, the same for the same values.
func effect(values ...any) string {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(values); err != nil {
		return "" // what came from JSON goes back to it
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// compact removes white space from JSON.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return ""
	}
	return b.String()
}
