package sim

import (
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/gitlab/sim/spec"
)

// input holds a request's parameters from query, form and JSON body together (§0.8). Unknown ones are ignored, as in GitLab.
type input map[string]any

// maxBody is far above what GitLab's API takes in practice.
const maxBody = 8 << 20

// readInput merges the parameters; those of the body win.
func readInput(r *http.Request, body []byte) (input, error) {
	in := input{}
	in.addValues(r.URL.Query())
	if len(body) == 0 {
		return in, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = r.Header.Get("Content-Type")
	}
	switch kind {
	case "application/json":
		return in, in.addJSON(body)
	case "application/x-www-form-urlencoded", "":
		values, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, parameter(http.StatusBadRequest, "Invalid form data")
		}
		in.addValues(values)
		return in, nil
	default:
		return nil, parameter(http.StatusUnsupportedMediaType, "The provided content-type '"+kind+"' is not supported.")
	}
}

func (in input) addJSON(body []byte) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		return parameter(http.StatusBadRequest, "message body does not match declared format")
	}
	for k, v := range fields {
		if v != nil {
			in[k] = v
		}
	}
	return nil
}

// addValues takes a=1, lists a[]=1 and hashes a[k]=1.
func (in input) addValues(values url.Values) {
	for key, all := range values {
		name, rest, nested := strings.Cut(key, "[")
		inner := strings.TrimSuffix(rest, "]")
		switch {
		case !nested:
			in[name] = all[len(all)-1]
		case inner == "":
			in[name] = toAny(all)
		default:
			hash, ok := in[name].(map[string]any)
			if !ok {
				hash = map[string]any{}
				in[name] = hash
			}
			hash[inner] = all[len(all)-1]
		}
	}
}

func toAny(texts []string) []any {
	list := make([]any, len(texts))
	for i, t := range texts {
		list[i] = t
	}
	return list
}

func (in input) has(name string) bool { _, ok := in[name]; return ok }

func (in input) text(name string) string {
	switch v := in[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	default:
		return ""
	}
}

// textOr is a parameter or what stands for it when it is not sent.
func (in input) textOr(name, other string) string {
	if in.has(name) {
		return in.text(name)
	}
	return other
}

func (in input) number(name string) int64 {
	n, _ := strconv.ParseInt(in.text(name), 10, 64) // checked by the route's parameters
	return n
}

func (in input) flag(name string) bool {
	v, _ := parseFlag(in.text(name))
	return v
}

// list takes a JSON array, a[]=1 or a comma list.
func (in input) list(name string) []string {
	if all, ok := in[name].([]any); ok {
		var texts []string
		for _, v := range all {
			texts = append(texts, input{"v": v}.text("v"))
		}
		return texts
	}
	if in.text(name) == "" {
		return nil
	}
	return strings.Split(in.text(name), ",")
}

func (in input) hash(name string) input {
	h, _ := in[name].(map[string]any)
	return input(h)
}

// parseFlag knows Grape's spellings of a boolean.
func parseFlag(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "t", "1", "yes", "y", "on":
		return true, true
	case "false", "f", "0", "no", "n", "off", "":
		return false, true
	default:
		return false, false
	}
}

// A param is what Grape checks before an endpoint runs.
type param struct {
	name     string
	required bool
	kind     string   // as in package spec: "integer", "number", "boolean" and "date" are checked
	values   []string // allowed ones; nil allows all
}

// paramsOf is what GitLab publishes of an operation's parameters, by name; nothing for one it does not publish. What
// lists and hashes hold is not looked at.
func paramsOf(o *spec.Operation) []param {
	if o == nil {
		return nil
	}
	var params []param
	for _, name := range slices.Sorted(maps.Keys(o.Params)) {
		typ := spec.Read(o.Params[name])
		p := param{name: name, required: typ.Required}
		if !typ.List {
			p.kind, p.values = typ.Name, typ.Values
		}
		params = append(params, p)
	}
	return params
}

func (p param) allows(text string) bool { return p.values == nil || slices.Contains(p.values, text) }

func (p param) problem(in input, what string) bool {
	text := in.text(p.name)
	switch what {
	case "is missing":
		return p.required && !in.has(p.name)
	case "is invalid":
		return in.has(p.name) && !parses(p.kind, text)
	default:
		return (p.required || in.has(p.name)) && !p.allows(text)
	}
}

func parses(kind, text string) bool {
	var err error
	switch kind {
	case "integer":
		_, err = strconv.ParseInt(text, 10, 64)
	case "number":
		_, err = strconv.ParseFloat(text, 64)
	case "boolean":
		_, ok := parseFlag(text)
		return ok
	case "date":
		_, err = time.Parse(time.DateOnly, text)
	}
	return err == nil
}

// validate answers all problems in one text, joined with ", " (§0.3).
func validate(in input, params []param) error {
	var problems []string
	for _, p := range params {
		for _, what := range []string{"is missing", "is invalid", "does not have a valid value"} {
			if p.problem(in, what) {
				problems = append(problems, p.name+" "+what)
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return parameter(http.StatusBadRequest, strings.Join(problems, ", "))
}

// readBody reads at most limit bytes of a request.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, message(http.StatusRequestEntityTooLarge, "413 Request Entity Too Large")
	}
	return body, nil
}
