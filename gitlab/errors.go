package gitlab

import (
	"errors"
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
	KindForbidden    Kind = "forbidden"    // 403: the token's user lacks a right
	KindNotFound     Kind = "not_found"    // 404: absent, or not visible to the token's user (the same answer)
	KindConflict     Kind = "conflict"     // 409: somebody else is at it
	KindRateLimited  Kind = "rate_limited" // 429
	KindServer       Kind = "server"       // 5xx
	KindInvalid      Kind = "invalid"      // any other refusal: the request is wrong, again it would be refused again
	KindTransition   Kind = "transition"   // 400: "Cannot transition status": the state is that already, or can't follow
)

// Temporary reports whether the same call may succeed later without anybody doing anything.
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
	case KindUnauthorized, KindRevoked, KindExpired, KindScope:
		return true
	}
	return false
}

// An Error is a call that failed. It never holds a token.
type Error struct {
	Kind       Kind
	Status     int    // HTTP status, 0 without an answer
	Method     string // of the request
	Path       string // of the request, without host and query
	Message    string // GitLab's words, flattened, at most 500 characters
	RetryAfter time.Duration
	cause      error
}

// Error is a sentence for people.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause, such as context.Canceled.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of the [Error] in err's chain, "" when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}
