// Package runs says what may happen to a run and what must follow, and does nothing.
//
// It is pure: no clock, no I/O, no goroutine, only the standard library. Everything that changes a run
// is an [Event]; [Step] maps a run and an event to the next run and the [Effect]s that must follow, or to a
// conflict. package store commits both in one transaction; package engine makes the effects happen.
//
// Read run.go (the nouns), event.go (what can happen), step.go (the whole machine), then status.go
// (what GitLab is told about a run) and plan.go (what a plan would change).
package runs
