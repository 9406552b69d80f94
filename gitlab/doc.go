// Package gitlab speaks GitLab's language and none of ours: it translates, it never decides. It holds the API
// client, the reader of webhook deliveries, the source mirror and the helpers that make foreign text safe in Markdown.
//
// The client stands on xanzy/go-gitlab, which is frozen; nothing of it leaves this package. Its own retries and rate
// limiter are off, because it re-sends POSTs and ignores Retry-After: when to try again is the caller's decision, and
// [Kind.Temporary] and [Error.RetryAfter] are what it needs for that. Every call ends in time, also with a context that
// has no deadline; TLS is never switched off; a redirect to another origin and any redirect of a write are refused, so
// a token is never carried to another host and no write is silently turned into a read.
package gitlab
