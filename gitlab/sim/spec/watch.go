package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// Watch lets every exchange with the API below root pass to next and reports what is wrong with it. strict is for clients
// that should know GitLab: parameters it does not have are reported too. Exchanges that end in a cut connection, in trouble of
// the server (500 and above) or in a redirect are not looked at.
func (t *Table) Watch(next http.Handler, root string, strict bool, report func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, api := strings.CutPrefix(r.URL.EscapedPath(), root+"/api/v4/")
		if !api {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		for _, wrong := range t.exchange(r, path, body, rec, strict) {
			report(fmt.Sprintf("%s %s (%d): %s", r.Method, path, rec.status, wrong))
		}
	})
}

func (t *Table) exchange(r *http.Request, path string, sent []byte, rec *recorder, strict bool) []string {
	if rec.status >= 500 || rec.status >= 300 && rec.status < 400 {
		return nil
	}
	refused := rec.status >= 400
	_, op := t.Find(r.Method, path)
	if r.Method == http.MethodHead || op == nil && (refused && !strict || unpublished(r.Method, path)) {
		return nil
	}
	if op == nil {
		return []string{"GitLab publishes no such operation"}
	}
	var wrong []string
	if !refused || strict {
		wrong = op.Request(inputs(r, sent), strict)
	}
	var body any
	if rec.isJSON() {
		if err := json.Unmarshal(rec.body.Bytes(), &body); err != nil {
			return append(wrong, "the answer says it is JSON and is not")
		}
	}
	if !refused {
		return append(wrong, t.Answer(op, rec.status, body)...)
	}
	if rec.isJSON() {
		wrong = append(wrong, Refusal(body)...)
	}
	return wrong
}

func unpublished(method, path string) bool {
	for name := range Unpublished {
		verb, pattern, _ := strings.Cut(name, " ")
		before, _, _ := strings.Cut(pattern[strings.LastIndexByte(pattern, '/')+1:], "{}")
		last, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
		if err == nil && verb == method && strings.Count(pattern, "/") == strings.Count(path, "/") && strings.HasPrefix(last, before) {
			return true
		}
	}
	return false
}

// inputs are the parameters of query and body together; lists are a[]=1, hashes a[k]=1 (§0.8).
func inputs(r *http.Request, body []byte) map[string]any {
	in := map[string]any{}
	addValues(in, r.URL.Query())
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/json":
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		fields := map[string]any{}
		_ = d.Decode(&fields) // what is no object has no parameters
		for k, v := range fields {
			if v != nil {
				in[k] = v
			}
		}
	case "application/x-www-form-urlencoded":
		if values, err := url.ParseQuery(string(body)); err == nil {
			addValues(in, values)
		}
	}
	return in
}

func addValues(in map[string]any, values url.Values) {
	for k, all := range values {
		name, rest, nested := strings.Cut(k, "[")
		switch {
		case !nested:
			in[k] = all[len(all)-1]
		case rest == "]":
			list := make([]any, len(all))
			for i, v := range all {
				list[i] = v
			}
			in[name] = list
		default:
			in[name] = map[string]any{}
		}
	}
}

// A recorder keeps what was answered. A stream is not JSON and is not kept.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorder) isJSON() bool {
	return strings.HasPrefix(r.Header().Get("Content-Type"), "application/json")
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.isJSON() {
		r.body.Write(p)
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
