package runs

import (
	"fmt"
	"log/slog"
)

// A Secret is a value that must not be shown. It prints as [secret] in fmt, slog and JSON; package
// store seals it before it reaches the disk, and [Secret.Reveal] is the only way to its text. Hold it in exported
// fields: fmt asks no methods of unexported ones, so those would be printed as they are.
type Secret string

const hidden = "[secret]"

// Reveal returns the text. Callers hand it to the one place that needs it and never log it.
func (s Secret) Reveal() string { return string(s) }

// String hides the text from whoever asks for it as a [fmt.Stringer].
func (s Secret) String() string { return hidden }

// Format hides the text from every verb but %p, which go vet refuses; without it %d and other wrong verbs show it.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(hidden)) // fmt buffers: its writer cannot fail
}

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the text from encoding/json and its kin.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
