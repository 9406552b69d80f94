package gitlab

import (
	"net/http"
	"strconv"
	"time"
)

// Limits is what one answer says of GitLab's rate limits, which count all requests of a user (CONTRACT §0.6).
type Limits struct {
	Refused   bool          // the answer is a 429
	Limit     int           // requests a minute, 0 when not said
	Remaining int           // requests left in the present window, -1 when not said
	Wait      time.Duration // what GitLab asks to wait, or until the window ends; 0 when not said
}

// limitsOf reads the headers. ok is false for an answer that says nothing of limits, as a stock GitLab's (GOTCHAS 68).
func limitsOf(resp *http.Response, now time.Time) (l Limits, ok bool) {
	l = Limits{Refused: resp.StatusCode == http.StatusTooManyRequests, Remaining: -1, Wait: retryAfter(resp, now)}
	l.Limit, _ = strconv.Atoi(resp.Header.Get("RateLimit-Limit")) // 0: not said
	if n, err := strconv.Atoi(resp.Header.Get("RateLimit-Remaining")); err == nil && n >= 0 {
		l.Remaining = n
	}
	if reset, err := strconv.ParseInt(resp.Header.Get("RateLimit-Reset"), 10, 64); err == nil && l.Wait == 0 {
		l.Wait = min(max(time.Unix(reset, 0).Sub(answered(resp, now)), 0), maxRetryAfter)
	}
	return l, l.Refused || l.Remaining >= 0
}

// answered is the answer's own time, so that a wrong clock here does no harm.
func answered(resp *http.Response, now time.Time) time.Time {
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return date
	}
	return now
}
