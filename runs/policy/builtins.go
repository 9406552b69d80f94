package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// allowed are the built-in functions there are. All of them say the same of the same arguments, reach nothing outside, and need time and
// memory in proportion to what they are given and give back; those in guards are made so here.
var allowed = strings.Fields(`
	abs all and any array.concat array.flatten array.reverse array.slice assign base64.decode base64.encode base64.is_valid base64url.decode
	base64url.encode base64url.encode_no_pad bits.and bits.negate bits.or bits.rsh bits.xor ceil concat contains count crypto.md5 crypto.sha1
	crypto.sha256 div endswith eq equal floor format_int glob.match glob.quote_meta graph.reachable gt gte hex.decode hex.encode indexof
	indexof_n internal.member_2 internal.member_3 internal.print internal.template_string intersection is_array is_boolean is_null
	is_number is_object is_set is_string json.filter json.is_valid json.marshal json.patch json.remove json.unmarshal lower lt lte max min
	minus mul neq net.cidr_contains net.cidr_contains_matches net.cidr_intersects net.cidr_is_valid net.cidr_merge numbers.range
	numbers.range_step object.filter object.get object.keys object.remove object.subset object.union object.union_n or plus print regex.find_n
	regex.is_valid regex.match regex.replace regex.split rem replace round semver.compare semver.is_valid sort split
	sprintf startswith strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse substring sum
	time.add_date time.clock time.date time.diff time.format time.parse_duration_ns time.parse_ns time.parse_rfc3339_ns time.weekday
	to_number trim trim_left trim_prefix trim_right trim_space trim_suffix type_name union units.parse units.parse_bytes upper
	urlquery.decode urlquery.encode walk yaml.is_valid yaml.marshal yaml.unmarshal
`)

// capabilities are what the compiler lets a text use.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1))
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool { return !slices.Contains(allowed, b.Name) })
	c.AllowNet = []string{}
	return c
}

const (
	maxText   = 16 << 20  // bytes a function may make of texts, or read
	maxDigits = 1000      // of a number that is calculated with
	maxNodes  = 2_000_000 // of a value that is written or walked as a whole
	maxRegex  = 1 << 20   // bytes a pattern is matched against
)

// A guard refuses arguments that would make a function work out of proportion. Between two looks at its limits the evaluation
// cannot be cut off, so no single call may take long.
type guard func(args []*ast.Term) error

// guards stand before these functions.
var guards = map[string]guard{
	"replace":                  replaceGuard,
	"strings.replace_n":        replaceNGuard,
	"concat":                   concatGuard,
	"sprintf":                  sprintfGuard,
	"internal.template_string": sizeGuard,
	"json.marshal":             sizeGuard,
	"yaml.marshal":             sizeGuard,
	"json.patch":               sizeGuard,
	"object.subset":            sizeGuard,
	"yaml.unmarshal":           sizeGuard,
	"yaml.is_valid":            sizeGuard,
	"walk":                     sizeGuard,
	"json.unmarshal":           sizeGuard,
	"regex.match":              regexGuard,
	"regex.find_n":             regexGuard,
	"regex.replace":            regexReplaceGuard,
	"regex.split":              regexGuard,
	"glob.match":               regexGuard,
	"mul":                      numberGuard,
	"plus":                     numberGuard,
	"minus":                    numberGuard,
	"div":                      numberGuard,
	"rem":                      numberGuard,
	"abs":                      numberGuard,
	"ceil":                     numberGuard,
	"floor":                    numberGuard,
	"round":                    numberGuard,
	"sum":                      numbersGuard,
	"format_int":               numberGuard,
	"bits.and":                 numberGuard,
	"bits.or":                  numberGuard,
	"bits.xor":                 numberGuard,
	"bits.rsh":                 numberGuard,
	"bits.negate":              numberGuard,
	"numbers.range":            numberGuard,
	"numbers.range_step":       numberGuard,
}

// The evaluator looks its functions up in one table of the whole program, so that is where the guarded ones go, once, before anything
// is evaluated.
func init() {
	for name, g := range guards {
		f := topdown.GetBuiltin(name)
		topdown.RegisterBuiltinFunc(name, func(b topdown.BuiltinContext, args []*ast.Term, iter func(*ast.Term) error) error {
			if err := g(args); err != nil {
				return topdown.Halt{Err: &topdown.Error{Code: topdown.BuiltinErr, Message: name + ": " + err.Error(), Location: b.Location}}
			}
			return f(b, args, iter)
		})
	}
}

func textOf(t *ast.Term) string {
	s, _ := t.Value.(ast.String)
	return string(s)
}

func tooLong(n int) error {
	if n > maxText {
		return fmt.Errorf("the result would have %d bytes; %d is the most", n, maxText)
	}
	return nil
}

func replaceGuard(args []*ast.Term) error {
	s, old, with := textOf(args[0]), textOf(args[1]), textOf(args[2])
	return tooLong(len(s) + (strings.Count(s, old)+1)*len(with))
}

func replaceNGuard(args []*ast.Term) error {
	patterns, ok := args[0].Value.(ast.Object)
	if !ok {
		return nil
	}
	longest, s := 0, textOf(args[1])
	patterns.Foreach(func(_, v *ast.Term) { longest = max(longest, len(textOf(v))) })
	return tooLong(len(s) + (len(s)+1)*longest)
}

func concatGuard(args []*ast.Term) error {
	n := 0
	each(args[1], func(t *ast.Term) { n += len(textOf(t)) + len(textOf(args[0])) })
	return tooLong(n)
}

// sprintfGuard refuses formats that name one argument many times or fill up to a great width.
func sprintfGuard(args []*ast.Term) error {
	format := textOf(args[0])
	if strings.ContainsAny(format, "[*") {
		for i := range len(format) - 1 {
			if format[i] == '%' && (strings.IndexByte("[*", format[i+1]) >= 0) {
				return fmt.Errorf("the format may not choose arguments or widths by %%[n] or %%*")
			}
		}
	}
	digits := 0
	for i := range len(format) {
		if format[i] < '0' || format[i] > '9' {
			digits = 0
			continue
		}
		if digits++; digits > 3 && inVerb(format[:i]) {
			return fmt.Errorf("a width in the format has more than 3 digits")
		}
	}
	return sizeGuard(args[1:])
}

// inVerb reports whether what follows the text belongs to a verb that began in it.
func inVerb(before string) bool {
	i := strings.LastIndexByte(before, '%')
	return i >= 0 && strings.Trim(before[i+1:], "0123456789.+-# ") == ""
}

func regexGuard(args []*ast.Term) error {
	for _, a := range args {
		if n := len(textOf(a)); n > maxRegex {
			return fmt.Errorf("a text has %d bytes; %d is the most that a pattern is matched against", n, maxRegex)
		}
	}
	return nil
}

func regexReplaceGuard(args []*ast.Term) error {
	if err := regexGuard(args); err != nil {
		return err
	}
	s, with := textOf(args[0]), textOf(args[2])
	return tooLong((len(s) + 1) * (len(with) + 1) * (1 + strings.Count(with, "$")))
}

func numberGuard(args []*ast.Term) error {
	for _, a := range args {
		if n, ok := a.Value.(ast.Number); ok && (len(n) > maxDigits || far(string(n))) {
			return fmt.Errorf("a number has more than %d digits", maxDigits)
		}
	}
	return nil
}

// far reports an exponent of more than 3 digits.
func far(n string) bool {
	i := strings.IndexAny(n, "eE")
	return i >= 0 && len(strings.TrimLeft(n[i+1:], "+-0")) > 3
}

func numbersGuard(args []*ast.Term) (err error) {
	each(args[0], func(t *ast.Term) {
		if err == nil {
			err = numberGuard([]*ast.Term{t})
		}
	})
	return err
}

// each calls f for the elements of an array or a set.
func each(t *ast.Term, f func(*ast.Term)) {
	switch v := t.Value.(type) {
	case *ast.Array:
		v.Foreach(f)
	case ast.Set:
		v.Foreach(f)
	}
}

// sizeGuard refuses values that are large when everything in them is written out, however often the same part is in them.
func sizeGuard(args []*ast.Term) error {
	nodes, bytes := maxNodes, maxText
	for _, a := range args {
		if !fits(a, &nodes, &bytes) {
			return fmt.Errorf("the value is too large: more than %d parts or %d bytes", maxNodes, maxText)
		}
	}
	return nil
}

// fits takes what a value has off what is left, and stops when nothing is.
func fits(t *ast.Term, nodes, bytes *int) bool {
	*nodes--
	*bytes -= len(textOf(t))
	if *nodes < 0 || *bytes < 0 {
		return false
	}
	inside := func(t *ast.Term) bool { return !fits(t, nodes, bytes) }
	switch v := t.Value.(type) {
	case *ast.Array:
		return !v.Until(inside)
	case ast.Set:
		return !v.Until(inside)
	case ast.Object:
		return !v.Until(func(k, v *ast.Term) bool { return inside(k) || inside(v) })
	case ast.Number:
		*bytes -= len(v)
	}
	return *bytes >= 0
}
