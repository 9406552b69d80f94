package runs

import (
	"errors"
	"fmt"
)

// The four kinds of error a person or a script can meet. web/errors.go maps them to HTTP once:
// 404, 409, 422 and 403. Test with [errors.Is]. Any other error is internal and its text is never shown.
var (
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("conflict")
	ErrInvalid   = errors.New("invalid")
	ErrForbidden = errors.New("forbidden")
)

// An Error is one of the four kinds with a message for people: what happened, why, and what to do.
type Error struct {
	Kind    error  // one of the four kinds above
	Message string // safe to show
	Field   string // the form or JSON field at fault, when there is one
}

func (e *Error) Error() string { return e.Message }

// Unwrap makes errors.Is(err, ErrConflict) and its kin work.
func (e *Error) Unwrap() error { return e.Kind }

// NotFoundf makes an ErrNotFound with a message for people.
func NotFoundf(format string, args ...any) error {
	return &Error{Kind: ErrNotFound, Message: fmt.Sprintf(format, args...)}
}

// Conflictf makes an ErrConflict with a message for people.
func Conflictf(format string, args ...any) error {
	return &Error{Kind: ErrConflict, Message: fmt.Sprintf(format, args...)}
}

// Forbiddenf makes an ErrForbidden with a message for people.
func Forbiddenf(format string, args ...any) error {
	return &Error{Kind: ErrForbidden, Message: fmt.Sprintf(format, args...)}
}

// Invalidf makes an ErrInvalid about one field ("" where no single field is at fault).
func Invalidf(field, format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}
