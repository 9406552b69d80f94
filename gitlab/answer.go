package gitlab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	maxMessage    = 500       // characters of GitLab's words that are kept
	maxRetryAfter = time.Hour // a longer wish, or a wrong clock, is cut to this
)

// refusal translates an answer that is not a success.
func refusal(resp *http.Response, body []byte) *Error {
	message, code := errorText(body)
	if message == "" {
		message = http.StatusText(resp.StatusCode)
	}
	e := &Error{
		Kind: kindOf(resp.StatusCode, code, message), Status: resp.StatusCode, Message: flatten(message),
		RetryAfter: retryAfter(resp, time.Now()),
	}
	if to, err := resp.Location(); err == nil && e.Kind == KindRedirect {
		e.Message = flatten(fmt.Sprintf("to %s://%s%s", to.Scheme, to.Host, to.EscapedPath()))
	}
	if resp.Request != nil {
		e.Method, e.Path = resp.Request.Method, resp.Request.URL.Path
	}
	return e
}

// kindOf knows the answers of CONTRACT §0.2, §0.3, §0.6 and §4.
func kindOf(status int, code, message string) Kind {
	lower := strings.ToLower(message)
	switch {
	case status == http.StatusUnauthorized && code == "invalid_token" && strings.Contains(lower, "revoked"):
		return KindRevoked
	case status == http.StatusUnauthorized && code == "invalid_token" && strings.Contains(lower, "expired"):
		return KindExpired
	case status == http.StatusUnauthorized:
		return KindUnauthorized
	case status == http.StatusForbidden && code == "insufficient_scope":
		return KindScope
	case status == http.StatusForbidden && shutOut(lower):
		return KindBlocked
	case status == http.StatusForbidden:
		return KindForbidden
	case status == http.StatusNotFound:
		return KindNotFound
	case status == http.StatusConflict:
		return KindConflict
	case status == http.StatusTooManyRequests:
		return KindRateLimited
	case status == http.StatusBadRequest && strings.Contains(lower, "cannot transition"):
		return KindTransition
	case status == http.StatusRequestTimeout, status >= 500:
		return KindServer
	case status >= 300 && status < 400:
		return KindRedirect
	}
	return KindInvalid
}

// shutOut knows GitLab's words for a user who may not use it at all (lib/api/api_guard.rb): such a refusal has nothing to
// do with the thing that was asked for, and ends when the user is let in again.
func shutOut(lower string) bool {
	for _, words := range []string{"account has been blocked", "account is blocked", "account has been deactivated", "account is pending approval", "must accept the terms of service", "password expired"} {
		if strings.Contains(lower, words) {
			return true
		}
	}
	return false
}

// errorText reads the four shapes of an error body (CONTRACT §0.3) and plain text; code is the OAuth error code.
func errorText(body []byte) (message, code string) {
	var shape struct {
		Message     any `json:"message"`
		Error       any `json:"error"`
		Description any `json:"error_description"`
	}
	if err := json.Unmarshal(body, &shape); err != nil {
		return plainText(body), ""
	}
	code, _ = shape.Error.(string)
	switch {
	case shape.Description != nil:
		return say(shape.Description), code
	case shape.Message != nil:
		return say(shape.Message), code
	default:
		return say(shape.Error), code
	}
}

// say writes nested messages as one sentence: {"name":["is too long"]} becomes "name is too long".
func say(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		return strings.Join(apply(v, say), ", ")
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		return strings.Join(apply(keys, func(k string) string {
			if k == "error" || k == "base" {
				return say(v[k])
			}
			return k + " " + say(v[k])
		}), ", ")
	default:
		return fmt.Sprint(v)
	}
}

// plainText keeps a short text as it is and says so when it is a page.
func plainText(body []byte) string {
	text := strings.TrimSpace(string(body))
	if strings.HasPrefix(text, "<") {
		return "an HTML page"
	}
	return text
}

// flatten makes one line of it, without control characters and of bounded length.
func flatten(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxMessage {
		return string(runes[:maxMessage-1]) + "…"
	}
	return s
}

// retryAfter reads Retry-After (seconds or a date) and, for a 429 without it, RateLimit-Reset (Unix seconds).
// Dates are measured against the answer's own Date, so that a wrong clock here does no harm.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	now = answered(resp, now)
	header := resp.Header.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	} else if reset, err := strconv.ParseInt(resp.Header.Get("RateLimit-Reset"), 10, 64); err == nil && resp.StatusCode == http.StatusTooManyRequests {
		wait = time.Unix(reset, 0).Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

func apply[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}
