package gitlab

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Kind says what went wrong with a call, for code that has to act on it.
type Kind string

// The kinds of error.
const (
	KindNetwork      Kind = "network"      // no answer: refused, unknown host, time-out, cut off
	KindTLS          Kind = "tls"          // the certificate is not trusted, or the port doesn't speak TLS
	KindNotGitLab    Kind = "not_gitlab"   // an answer, but not GitLab's
	KindRedirect     Kind = "redirect"     // a redirect that is not followed
	KindUnauthorized Kind = "unauthorized" // 401: no such token
	KindRevoked      Kind = "revoked"      // 401: the token was revoked
	KindExpired      Kind = "expired"      // 401: the token has expired
	KindScope        Kind = "scope"        // 403: the token lacks a scope
	KindBlocked      Kind = "blocked"      // 403: the token's user may not use GitLab at all: blocked, deactivated, terms not accepted
	KindForbidden    Kind = "forbidden"    // 403: the token's user lacks a right
	KindNotFound     Kind = "not_found"    // 404: absent, or not visible to the token's user (the same answer)
	KindConflict     Kind = "conflict"     // 409: somebody else is at it
	KindRateLimited  Kind = "rate_limited" // 429
	KindServer       Kind = "server"       // 5xx
	KindInvalid      Kind = "invalid"      // any other refusal: the request is wrong, again it would be refused again
	KindTransition   Kind = "transition"   // 400 "Cannot transition …": the state is that already, or can't follow
)

// Temporary reports whether the same call may succeed later without anybody doing anything. A certificate that is
// renewed and a maintenance page answered with 200 count: what must reach GitLab waits for them.
func (k Kind) Temporary() bool {
	switch k {
	case KindNetwork, KindTLS, KindNotGitLab, KindServer, KindRateLimited, KindConflict:
		return true
	}
	return false
}

// TokenTrouble reports whether the call has to wait for another token.
func (k Kind) TokenTrouble() bool {
	switch k {
	case KindUnauthorized, KindRevoked, KindExpired, KindScope, KindBlocked:
		return true
	}
	return false
}

// words say, for each kind, what happened and what to do.
var words = map[Kind][2]string{
	KindNetwork:      {"GitLab could not be reached", "Check the address and that this server can reach it."},
	KindTLS:          {"GitLab's certificate could not be verified", "Check the address, or add the CA certificate that signed it."},
	KindNotGitLab:    {"The answer is not GitLab's", "Check the address: it may lead to a login page or another program."},
	KindRedirect:     {"GitLab answered with a redirect that is not followed", "Set the API host URL to where GitLab really is."},
	KindUnauthorized: {"GitLab does not accept the token", "Set a valid token."},
	KindRevoked:      {"The token was revoked", "Set a new token."},
	KindExpired:      {"The token has expired", "Set a new token."},
	KindScope:        {"The token lacks a scope", "Set a token with the scope api."},
	KindBlocked:      {"GitLab does not let the token's user in", "A GitLab admin must unblock or reactivate the user (Admin area › Users), or set a token of another user."},
	KindForbidden:    {"GitLab forbids it", "Give the token's user a higher role in the project."},
	KindNotFound:     {"GitLab does not find it", "It is not there, or the token's user may not see it."},
	KindConflict:     {"GitLab is busy with the same thing", "Try again."},
	KindRateLimited:  {"GitLab asks for fewer requests", "Try again later."},
	KindServer:       {"GitLab failed", "Try again later, or look at GitLab's own log."},
	KindInvalid:      {"GitLab refuses the request", ""},
	KindTransition:   {"GitLab does not change the state", "It is in that state already, or can't go there."},
}

// An Error is a call that failed. It never holds a token.
type Error struct {
	Kind       Kind
	Status     int           // HTTP status, 0 without an answer
	Method     string        // of the request, "" when none was made
	Path       string        // of the request, without host and query
	Message    string        // GitLab's or the network's words, flattened, at most 500 characters
	RetryAfter time.Duration // how long GitLab asks to wait, 0 when it doesn't say
	cause      error
}

// Error says for people what happened, why, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Kind == KindInvalid && e.Method == "" && e.Message != "" { // GitLab was not asked, so it refused nothing
		return strings.ToUpper(e.Message[:1]) + strings.TrimRight(e.Message[1:], ". ") + "."
	}
	b.WriteString(words[e.Kind][0])
	if e.Message != "" {
		b.WriteString(": " + strings.TrimRight(e.Message, ". "))
	}
	if e.Method != "" {
		fmt.Fprintf(&b, " (%s %s)", e.Method, e.Path)
	}
	b.WriteString(".")
	if hint := words[e.Kind][1]; hint != "" {
		b.WriteString(" " + hint)
	}
	return b.String()
}

// Unwrap gives the cause, such as context.Canceled.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of the [Error] in err's chain, "" when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

func invalidf(format string, args ...any) error {
	return &Error{Kind: KindInvalid, Message: fmt.Sprintf(format, args...)}
}
