package sim

import (
	"fmt"
	"net/http"
	"strings"
)

// object is a JSON object on its way out, or one that came in.
type object = map[string]any

// A refusal is an answer of GitLab that is not a success, in one of the four shapes of §0.3.
type refusal struct {
	status int
	body   object
	text   string // instead of body: plain text
	header map[string]string
}

func (e *refusal) Error() string {
	for _, key := range []string{"message", "error_description", "error"} {
		if v, ok := e.body[key]; ok {
			return fmt.Sprintf("GitLab answers %d: %v", e.status, v)
		}
	}
	return fmt.Sprintf("GitLab answers %d", e.status)
}

// message is the first shape: an application error.
func message(status int, text string) *refusal {
	return &refusal{status: status, body: object{"message": text}}
}

// invalid is the second shape: a model that does not validate.
func invalid(status int, field string, problems ...string) *refusal {
	return &refusal{status: status, body: object{"message": object{field: problems}}}
}

// parameter is the third shape: what Grape says of a parameter.
func parameter(status int, text string) *refusal {
	return &refusal{status: status, body: object{"error": text}}
}

// tokenError is the fourth shape; the OAuth-style 401s carry a challenge (§0.2).
func tokenError(description string) *refusal {
	return &refusal{
		status: http.StatusUnauthorized,
		body:   object{"error": "invalid_token", "error_description": description},
		header: map[string]string{
			"WWW-Authenticate": `Bearer realm="Protected by OAuth 2.0", error="invalid_token", error_description="` + description + `"`,
		},
	}
}

func insufficientScope(enough []string) *refusal {
	return &refusal{status: http.StatusForbidden, body: object{
		"error":             "insufficient_scope",
		"error_description": "The request requires higher privileges than provided by the access token.",
		"scope":             strings.Join(enough, " "),
	}}
}

func unauthorized() *refusal { return message(http.StatusUnauthorized, "401 Unauthorized") }

// forbidden has a reason or none.
func forbidden(reason string) *refusal {
	if reason != "" {
		reason = " - " + reason
	}
	return message(http.StatusForbidden, "403 Forbidden"+reason)
}

// notFound names what is missing, as not_found! does.
func notFound(what string) *refusal {
	return message(http.StatusNotFound, "404 "+what+" Not Found")
}

// noRecord is an absent record, with the lower-case f.
func noRecord() *refusal { return message(http.StatusNotFound, "404 Not found") }

// noRoute is an address GitLab does not have, or has only in the Enterprise Edition.
func noRoute() *refusal { return parameter(http.StatusNotFound, "404 Not Found") }

// tooMany is an application limit (§0.6); subject is "endpoint" or "archive".
func tooMany(subject string) *refusal {
	text := "This " + subject + " has been requested too many times. Try again later."
	return &refusal{status: http.StatusTooManyRequests, body: object{"message": object{"error": text}}}
}

// badNote is a note that does not validate; Ruby's hash shows through (§0.3).
func badNote(problem string) *refusal {
	return message(http.StatusBadRequest, `400 Bad request - Note {:note=>["`+problem+`"]}`)
}
