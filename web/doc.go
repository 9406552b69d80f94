// Package web shows what the store says and turns a person's click into one event.
//
// routes.go holds every address on one screen, with the role it needs. A request passes the middlewares
// (middleware.go: request id, access log, headers, cross-origin check), then its route's guard (auth.go: who is it,
// is the role enough), then the handler of its noun: webhook.go, the pages (start.go, stacks.go, run.go …), the REST
// API (api_*.go) and the event streams (live.go). Handlers return errors; errors.go maps the four kinds of
// package runs to HTTP in one place, as a page or as a problem document (RFC 9457). Text from inside is logged
// and never shown. Pages are rendered into a buffer first, so that a failed rendering is still a clean 500.
//
// Nothing here decides about runs or talks to GitLab: package engine does, package store keeps.
package web
