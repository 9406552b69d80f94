package web

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
)

// An operation is what the OpenAPI document says of a route.
type operation struct {
	summary string
	in, out any      // values whose types describe the JSON bodies; nil: there is none
	status  int      // of success; 0 is 200
	text    string   // media type of an answer that is not JSON
	query   []string // names of query parameters
}

var pathParam = regexp.MustCompile(`:([a-z]+)`)

// documented is a route's path as the document writes it; the rest of a path, slashes and all, is called path.
func documented(path string) string {
	return strings.Replace(pathParam.ReplaceAllString(path, "{$1}"), "*", "{path}", 1)
}

// openapi describes the API routes as an OpenAPI 3.1 document. It is made from the same table that mounts
// them, and the schemas from the types that are encoded and decoded.
func openapi(table []route, version string) map[string]any {
	schemas := map[string]any{}
	paths := map[string]any{}
	for _, r := range table {
		if r.doc == nil {
			continue
		}
		p := documented(r.path)
		item, ok := paths[p].(map[string]any)
		if !ok {
			item = map[string]any{}
			paths[p] = item
		}
		item[strings.ToLower(r.method)] = describe(r, schemas)
	}
	schemaOf(reflect.TypeFor[problem](), schemas)
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "Groundcrew", "version": version},
		"paths":   paths,
		"components": map[string]any{
			"schemas":         schemas,
			"securitySchemes": map[string]any{"bearer": map[string]any{"type": "http", "scheme": "bearer"}},
		},
		"security": []any{map[string]any{"bearer": []any{}}},
	}
}

func describe(r route, schemas map[string]any) map[string]any {
	op := map[string]any{
		"summary":     r.doc.summary,
		"description": "Needs the role " + string(r.need) + ".",
		"x-role":      string(r.need),
		"responses":   responses(r.doc, schemas),
	}
	if r.need == public {
		op["description"], op["security"] = "Needs no role.", []any{}
	}
	var params []any
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
	}
	if strings.HasSuffix(r.path, "*") {
		params = append(params, map[string]any{"name": "path", "in": "path", "required": true, "schema": map[string]any{"type": "string"}, "description": "May hold slashes."})
	}
	for _, q := range r.doc.query {
		params = append(params, map[string]any{"name": q, "in": "query", "schema": map[string]any{"type": "string"}})
	}
	if takesOnce(r) {
		params = append(params, map[string]any{
			"name": onceHeader, "in": "header", "schema": map[string]any{"type": "string", "maxLength": 255},
			"description": "With a key the request is done once for its sender: sent again within a day, it is answered as before, with the header Idempotency-Replayed.",
		})
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if r.doc.in != nil {
		op["requestBody"] = map[string]any{"content": body("application/json", schemaOf(reflect.TypeOf(r.doc.in), schemas))}
	}
	return op
}

func responses(doc *operation, schemas map[string]any) map[string]any {
	good := map[string]any{"description": "It is done."}
	switch {
	case doc.out != nil:
		good["content"] = body("application/json", schemaOf(reflect.TypeOf(doc.out), schemas))
	case doc.text != "":
		good["content"] = body(doc.text, map[string]any{"type": "string"})
	}
	status := doc.status
	if status == 0 {
		status = http.StatusOK
	}
	return map[string]any{
		strconv.Itoa(status): good,
		"default":            map[string]any{"description": "It was refused.", "content": body("application/problem+json", ref("Problem"))},
	}
}

func body(media string, schema any) map[string]any {
	return map[string]any{media: map[string]any{"schema": schema}}
}

func ref(name string) map[string]any { return map[string]any{"$ref": "#/components/schemas/" + name} }

// words are the texts a named type can hold.
var words = map[reflect.Type][]string{
	reflect.TypeFor[runs.State]():   asTexts(runs.States),
	reflect.TypeFor[runs.Type]():    asTexts(runs.Types),
	reflect.TypeFor[runs.Trigger](): {"webhook", "person", "schedule", "drift", "dependency", "api", "comparison", "comment", "policy"},

	reflect.TypeFor[runs.PolicyType]():    asTexts(runs.PolicyTypes),
	reflect.TypeFor[runs.PolicyOutcome](): asTexts(runs.PolicyOutcomes),
}

func asTexts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// schemaOf describes a type as encoding/json writes it. Structs go into schemas by name.
func schemaOf(t reflect.Type, schemas map[string]any) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[projectRef]():
		return map[string]any{"type": []any{"string", "integer"}, "description": "path or numeric id"}
	case t == reflect.TypeFor[runs.Secret]():
		return map[string]any{"type": "string", "writeOnly": true}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{"description": "any JSON"}
	case words[t] != nil:
		return map[string]any{"type": "string", "enum": words[t]}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map, reflect.Interface:
		return map[string]any{"type": "object"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Struct:
		return structSchema(t, schemas)
	default:
		return map[string]any{"type": "string"}
	}
}

var typeArg = regexp.MustCompile(`^list\[.*[./]([A-Za-z]+)\]$`)

// schemaName is what a type is called in the document: runJSON is Run, runInput RunInput, list[runJSON] RunList.
func schemaName(t reflect.Type) string {
	name := typeArg.ReplaceAllString(t.Name(), "${1}List")
	name = strings.Replace(name, "JSON", "", 1)
	return strings.ToUpper(name[:min(1, len(name))]) + name[min(1, len(name)):]
}

func structSchema(t reflect.Type, schemas map[string]any) map[string]any {
	name := schemaName(t)
	if name == "" {
		return map[string]any{"type": "object", "properties": properties(t, schemas)}
	}
	if _, ok := schemas[name]; !ok {
		schemas[name] = map[string]any{} // before its fields, for types that hold themselves
		schemas[name] = map[string]any{"type": "object", "properties": properties(t, schemas)}
	}
	return ref(name)
}

func properties(t reflect.Type, schemas map[string]any) map[string]any {
	props := map[string]any{}
	for _, f := range reflect.VisibleFields(t) {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" || tag == "-" || !f.IsExported() {
			continue
		}
		s := schemaOf(f.Type, schemas)
		if f.Type.Kind() == reflect.Pointer && !slices.Contains(strings.Split(opts, ","), "omitempty") {
			s = map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
		}
		props[tag] = s
	}
	return props
}

func (s *Server) getOpenAPI(c *request) error { return c.JSON(http.StatusOK, s.document) }
